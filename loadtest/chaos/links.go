package main

import (
	"math/rand/v2"
	"time"

	"github.com/sluicegate/sluice/loadtest/chaos/relay"
)

// Faults of connections: between gates and store, gates and shop, visitors and gates.
func init() {
	links := []part{theLinks}
	moment := span{time.Second, 5 * time.Second}
	// weather is a fault of all that relays of one gate, or of all gates, have between
	// them.
	weather := func(pick func(*world, *rand.Rand) []*gate, of func(*gate) *relay.Relay, bad relay.Weather) func(*world, *rand.Rand) func() {
		return func(w *world, r *rand.Rand) func() {
			gates := pick(w, r)
			set := func(now relay.Weather) {
				for _, g := range gates {
					if err := of(g).Set(now); err != nil {
						w.t.Fatal(err)
					}
				}
			}
			set(bad)
			return func() { set(relay.Weather{}) }
		}
	}
	one := func(w *world, r *rand.Rand) []*gate { return []*gate{w.any(r)} }
	all := func(w *world, _ *rand.Rand) []*gate { return w.gates }
	toStore := func(g *gate) *relay.Relay { return g.toStore }
	toShop := func(g *gate) *relay.Relay { return g.toShop }
	front := func(g *gate) *relay.Relay { return g.front }

	register(kind{
		name: "link-gone", about: "one gate is cut off from the store: connections are refused",
		takes: links, lasts: moment, rest: 3 * time.Second,
		begin: weather(one, toStore, relay.Weather{Gone: true}),
	}, kind{
		name: "link-half-open", about: "one gate's connections to the store stay open, and nothing goes over them",
		takes: links, lasts: moment, rest: 4 * time.Second,
		begin: weather(one, toStore, relay.Weather{LoseUp: true, LoseDown: true}),
	}, kind{
		name: "link-answers", about: "what one gate asks is done, and the store's answers are lost",
		takes: links, lasts: moment, rest: 4 * time.Second,
		begin: weather(one, toStore, relay.Weather{LoseDown: true}),
	}, kind{
		name: "link-answers-all", about: "what all gates ask is done, and the store's answers are lost",
		takes: links, lasts: moment, rest: 4 * time.Second,
		begin: weather(all, toStore, relay.Weather{LoseDown: true}),
	}, kind{
		name: "link-slow", about: "the store is 50 ms away from every gate, each way",
		takes: links, lasts: moment,
		begin: weather(all, toStore, relay.Weather{Delay: 50 * time.Millisecond}),
	}, kind{
		name: "link-gone-all", about: "no gate reaches the store: connections are refused",
		takes: links, lasts: moment, rest: 3 * time.Second,
		begin: weather(all, toStore, relay.Weather{Gone: true}),
	}, kind{
		name: "link-gone-long", about: "one gate is cut off from the store for longer than a session lasts",
		takes: links, lasts: span{22 * time.Second, 30 * time.Second}, rest: 4 * time.Second,
		begin: weather(one, toStore, relay.Weather{Gone: true}),
	}, kind{
		name: "link-drip", about: "what one gate and the store tell each other arrives at 2 kB a second",
		takes: links, lasts: moment, rest: 4 * time.Second,
		begin: weather(one, toStore, relay.Weather{Rate: 2000}),
	}, kind{
		name: "link-cut", about: "every gate's connections to the store are reset",
		takes: links,
		begin: func(w *world, _ *rand.Rand) func() {
			for _, g := range w.gates {
				g.toStore.Cut()
			}
			return nil
		},
	}, kind{
		name: "front-cut", about: "visitors' connections to one gate are reset",
		takes: []part{theFronts},
		begin: func(w *world, r *rand.Rand) func() {
			w.any(r).front.Cut()
			return nil
		},
	}, kind{
		name: "front-answers", about: "answers to visitors of one gate are lost",
		takes: []part{theFronts}, lasts: moment, rest: 6 * time.Second,
		begin: weather(one, front, relay.Weather{LoseDown: true}),
	}, kind{
		name: "front-half-open", about: "connections of one gate's visitors stay open, and nothing goes over them",
		takes: []part{theFronts}, lasts: moment, rest: 6 * time.Second,
		begin: weather(one, front, relay.Weather{LoseUp: true, LoseDown: true}),
	}, kind{
		name: "front-gone", about: "one gate cannot be reached by visitors: connections are refused",
		takes: []part{theFronts}, lasts: moment, rest: 2 * time.Second,
		begin: weather(one, front, relay.Weather{Gone: true}),
	}, kind{
		name: "front-far", about: "visitors are 400 ms away from every gate, each way",
		takes: []part{theFronts}, lasts: moment, rest: 2 * time.Second,
		begin: weather(all, front, relay.Weather{Delay: 400 * time.Millisecond}),
	}, kind{
		name: "front-slow", about: "visitors of one gate have 2 kB a second",
		takes: []part{theFronts}, lasts: moment, rest: 6 * time.Second,
		begin: weather(one, front, relay.Weather{Rate: 2000}),
	}, kind{
		name: "shop-gone", about: "nobody listens at the shop",
		takes: []part{theShop}, lasts: moment, rest: 3 * time.Second,
		begin: weather(all, toShop, relay.Weather{Gone: true}),
	}, kind{
		name: "shop-silent", about: "connections to the shop stay open, and nothing goes over them",
		takes: []part{theShop}, lasts: moment, rest: 6 * time.Second,
		begin: weather(all, toShop, relay.Weather{LoseUp: true, LoseDown: true}),
	}, kind{
		name: "shop-drip", about: "the shop's answers arrive at 2 kB a second",
		takes: []part{theShop}, lasts: moment, rest: 3 * time.Second,
		begin: weather(all, toShop, relay.Weather{Rate: 2000}),
	})
}
