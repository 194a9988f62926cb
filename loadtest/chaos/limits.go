package main

import (
	"math/rand/v2"
	"time"
)

// Faults of the room's settings: what operators change while an event runs. They only
// ever lower a limit, so that the judges can go by the file's.
func init() {
	live := func(name, about, change, back string) kind {
		return kind{
			name: name, about: about, takes: []part{theLimits}, lasts: span{time.Second, 4 * time.Second},
			begin: func(w *world, _ *rand.Rand) func() {
				w.change(change)
				return func() { w.change(back) }
			},
		}
	}
	register(
		live("limit-rate", "the rate is halved live, and reset", `{"rate": "5/s", "burst": 2}`, `{"rate": null, "burst": null}`),
		live("limit-active", "max_active is lowered live below what is inside, and reset", `{"max_active": 5}`, `{"max_active": null}`),
		live("limit-hold", "the room is held live, and let go on", `{"mode": "hold"}`, `{"mode": null}`),
	)
}
