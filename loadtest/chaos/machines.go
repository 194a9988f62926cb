package main

import (
	"math/rand/v2"
	"time"
)

// Faults of machines that gates run on.
func init() {
	register(kind{
		name: "gate-clock", about: "a gate is killed, and started again on a machine whose clock is an hour wrong",
		takes: []part{theGates}, lasts: span{3 * time.Second, 8 * time.Second}, rest: 2 * time.Second,
		begin: func(w *world, r *rand.Rand) func() {
			g := w.any(r)
			g.kill()
			g.Environment = []string{"SLUICE_WRONG_CLOCK=" + []string{"1h", "-1h"}[r.IntN(2)]}
			g.restart(w.t)
			return func() {
				g.stop(w.t)
				g.Environment = nil
				g.restart(w.t)
			}
		},
	})
}
