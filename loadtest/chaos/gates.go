package main

import (
	"fmt"
	"math/rand/v2"
	"syscall"
	"time"

	"github.com/sluicegate/sluice/loadtest/stage"
)

// Faults of gates: their processes and what they are told.
func init() {
	one := []part{theGates}
	register(kind{
		name: "gate-kill", about: "a gate is killed, and started again",
		takes: one, lasts: span{time.Second, 4 * time.Second}, rest: 2 * time.Second,
		begin: func(w *world, r *rand.Rand) func() {
			g := w.any(r)
			g.kill()
			return func() { g.restart(w.t) }
		},
	}, kind{
		name: "gate-stop", about: "a gate is stopped as for an update, and started again",
		takes: one, lasts: span{2 * time.Second, 4 * time.Second}, rest: 2 * time.Second,
		begin: func(w *world, r *rand.Rand) func() {
			g := w.any(r)
			g.stop(w.t)
			return func() { g.restart(w.t) }
		},
	}, kind{
		name: "gate-freeze", about: "a gate hangs for a moment (SIGSTOP)",
		takes: one, lasts: span{time.Second, 5 * time.Second}, rest: 2 * time.Second,
		begin: func(w *world, r *rand.Rand) func() {
			g := w.any(r)
			g.signal(w, syscall.SIGSTOP)
			return func() { g.signal(w, syscall.SIGCONT) }
		},
	}, kind{
		name: "gate-freeze-long", about: "a gate hangs for longer than a session lasts (SIGSTOP)",
		takes: one, lasts: span{22 * time.Second, 30 * time.Second}, rest: 4 * time.Second,
		begin: func(w *world, r *rand.Rand) func() {
			g := w.any(r)
			g.signal(w, syscall.SIGSTOP)
			return func() { g.signal(w, syscall.SIGCONT) }
		},
	}, kind{
		name: "gate-kill-all", about: "all gates are killed at once, and started again",
		takes: one, lasts: span{500 * time.Millisecond, 3 * time.Second}, rest: 4 * time.Second,
		begin: func(w *world, _ *rand.Rand) func() {
			for _, g := range w.gates {
				g.kill()
			}
			return func() {
				for _, g := range w.gates {
					g.restart(w.t)
				}
			}
		},
	}, kind{
		name: "gate-power", about: "all gates and redis-server are killed at once, and started again, redis-server with nothing",
		takes: []part{theGates, theStore}, lasts: span{500 * time.Millisecond, 3 * time.Second}, rest: 10 * time.Second,
		begin: func(w *world, _ *rand.Rand) func() {
			for _, g := range w.gates {
				g.kill()
			}
			w.store.Kill()
			return func() {
				w.store.startFrom(nil)
				for _, g := range w.gates {
					g.restart(w.t)
				}
			}
		},
	}, kind{
		name: "gate-update", about: "one gate after the other is stopped, and started with another configuration",
		takes: one, rest: 3 * time.Second,
		begin: func(w *world, _ *rand.Rand) func() {
			for _, g := range w.gates {
				g.config.Room = w.room.yaml() + fmt.Sprintf("message: since %v\n", time.Now().Unix())
				g.Configure(w.t, g.config)
				g.stop(w.t)
				g.restart(w.t)
				g.awaitVisitors(w.t)
			}
			return nil
		},
	}, kind{
		name: "gate-reload", about: "a gate gets another configuration, and the old one again (SIGHUP)",
		takes: one, lasts: span{time.Second, 3 * time.Second},
		begin: func(w *world, r *rand.Rand) func() {
			g := w.any(r)
			before := g.config
			changed := before
			changed.Room += "message: we are on it\n"
			changed.Proxy += "\nqueue: {max: 512}"
			g.reload(w.t, changed)
			return func() { g.reload(w.t, before) }
		},
	}, kind{
		name: "gate-secret", about: "the secret is rotated at every gate: a new one comes, signs, and the old one still verifies",
		takes: one, lasts: span{2 * time.Second, 3 * time.Second},
		begin: func(w *world, _ *rand.Rand) func() {
			all := func(secrets ...string) {
				for _, g := range w.gates {
					c := g.config
					c.Secrets = secrets
					g.reload(w.t, c)
				}
			}
			const fresh = "another secret, as well known as the first"
			all(stage.Secret, fresh)
			return func() { all(fresh, stage.Secret) }
		},
	})
}

// any is one of the gates, the one that a fault picks.
func (w *world) any(r *rand.Rand) *gate {
	g := w.gates[r.IntN(len(w.gates))]
	w.picked = g.number
	return g
}

func (g *gate) signal(w *world, s syscall.Signal) {
	if err := g.Signal(s); err != nil {
		w.t.Fatalf("signal %v to gate %d: %v", s, g.number, err)
	}
}
