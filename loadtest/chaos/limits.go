package main

import (
	"math/rand/v2"
	"time"

	"github.com/sluicegate/sluice/loadtest/judge"
)

// Faults of the room's settings: what operators change while an event runs.
func init() {
	kindOf := func(name, about string, begin func(*world) func()) kind {
		return kind{
			name: name, about: about, takes: []part{theLimits}, lasts: span{time.Second, 4 * time.Second},
			begin: func(w *world, _ *rand.Rand) func() { return begin(w) },
		}
	}
	tighter := func(name, about, change, back string) kind {
		return kindOf(name, about, func(w *world) func() {
			w.operator.change(change, func() {})
			return func() { w.operator.change(back, func() {}) }
		})
	}
	looser := func(name, about, change, back string, limits judge.Looser) kind {
		return kindOf(name, about, func(w *world) func() {
			limits.From = time.Now().UnixNano()
			w.operator.change(change, func() {})
			return func() {
				w.operator.change(back, func() {
					limits.To = time.Now().Add(w.room.claim + visitorTimeout).UnixNano() // whoever was called comes until then
					w.looser = append(w.looser, limits)
				})
			}
		})
	}
	r := defaultRoom()
	register(
		tighter("limit-rate", "the rate is halved live, and reset", `{"rate": "5/s", "burst": 2}`, `{"rate": null, "burst": null}`),
		tighter("limit-active", "max_active is lowered live below what is inside, and reset", `{"max_active": 5}`, `{"max_active": null}`),
		tighter("limit-hold", "the room is held live, and let go on", `{"mode": "hold"}`, `{"mode": null}`),
		tighter("limit-closed", "the room is closed live, and opened as before", `{"mode": "closed"}`, `{"mode": null}`),
		looser("limit-rate-up", "the rate is doubled live, and reset", `{"rate": "20/s", "burst": 10}`, `{"rate": null, "burst": null}`,
			judge.Looser{Rate: 20, Burst: 10, MaxActive: int64(r.maxActive)}),
		looser("limit-open", "the room lets everybody in for a while (mode: open)", `{"mode": "open"}`, `{"mode": null}`,
			judge.Looser{Rate: judge.Unlimited}),
	)
}
