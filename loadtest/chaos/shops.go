package main

import (
	"math/rand/v2"
	"time"
)

// Faults of the shop itself.
func init() {
	ill := func(name, about string, m mood) kind {
		return kind{
			name: name, about: about,
			takes: []part{theShop}, lasts: span{time.Second, 5 * time.Second}, rest: 3 * time.Second,
			begin: func(w *world, _ *rand.Rand) func() {
				w.shop.mood.Store(&m)
				return func() { w.shop.mood.Store(&mood{}) }
			},
		}
	}
	register(
		ill("shop-500", "the shop answers 500", mood{status: 500}),
		ill("shop-resets", "the shop resets connections in place of an answer", mood{reset: true}),
		ill("shop-halves", "the shop's answers end in the middle", mood{half: true}),
		ill("shop-slow", "the shop takes two seconds for an answer", mood{late: 2 * time.Second}),
	)
}
