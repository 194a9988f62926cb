package main

import (
	"math/rand/v2"
	"syscall"
	"time"
)

// Faults of the store: its process, and what it holds.
func init() {
	store := []part{theStore}
	// After a loss the line is held for so long that everybody can have polled.
	const held = 8 * time.Second
	register(kind{
		name: "store-kill", about: "redis-server is killed, and started on what it had written down",
		takes: store, lasts: span{500 * time.Millisecond, 3 * time.Second}, rest: held,
		begin: func(w *world, _ *rand.Rand) func() {
			w.store.Kill()
			return func() { w.store.start() }
		},
	}, kind{
		name: "store-empty", about: "redis-server is killed, and started with nothing",
		takes: store, lasts: span{0, 2 * time.Second}, rest: held,
		begin: func(w *world, _ *rand.Rand) func() {
			w.store.Kill()
			return func() { w.store.startFrom(nil) }
		},
	}, kind{
		name: "store-older", about: "redis-server is killed, and started on a copy that is some seconds old",
		takes: store, lasts: span{500 * time.Millisecond, 6 * time.Second}, rest: held,
		begin: func(w *world, _ *rand.Rand) func() {
			dump := w.store.dump()
			return func() {
				w.store.Kill()
				w.store.startFrom(dump)
			}
		},
	}, kind{
		name: "store-freeze", about: "redis-server hangs (SIGSTOP)",
		takes: store, lasts: span{500 * time.Millisecond, 5 * time.Second}, rest: 3 * time.Second,
		begin: func(w *world, _ *rand.Rand) func() {
			w.store.signal(syscall.SIGSTOP)
			return func() { w.store.signal(syscall.SIGCONT) }
		},
	}, kind{
		name: "store-flush", about: "FLUSHALL",
		takes: store, rest: held,
		begin: func(w *world, _ *rand.Rand) func() {
			w.store.must("FLUSHALL")
			return nil
		},
	}, kind{
		name: "store-scripts", about: "SCRIPT FLUSH",
		takes: store,
		begin: func(w *world, _ *rand.Rand) func() {
			w.store.must("SCRIPT", "FLUSH")
			return nil
		},
	}, kind{
		name: "store-clients", about: "CLIENT KILL: every connection to redis-server is closed",
		takes: store,
		begin: func(w *world, _ *rand.Rand) func() {
			w.store.must("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
			return nil
		},
	})
	for _, name := range []string{
		"meta", "waiting", "present", "agenda", "soon", "away", "called", "active", "since", "left", "used", "ladder", "overrides",
	} {
		register(kind{
			name: "key-" + name, about: "the room's key " + name + " is deleted by hand",
			takes: store, rest: held,
			begin: func(w *world, _ *rand.Rand) func() {
				w.store.must("DEL", key(name))
				return nil
			},
		})
	}
}

func (s *store) signal(sig syscall.Signal) {
	if err := s.Signal(sig); err != nil {
		s.t.Fatalf("signal %v to redis-server: %v", sig, err)
	}
}
