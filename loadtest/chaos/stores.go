package main

import (
	"context"
	"math/rand/v2"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/sluicegate/sluice/queue/queuetest/proc"
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
		name: "store-moved", about: "redis-server is killed, and its address leads to a replica that lacks the last writes",
		takes: store, lasts: span{500 * time.Millisecond, 3 * time.Second}, rest: held,
		begin: func(w *world, _ *rand.Rand) func() {
			promote := w.store.replica()
			return func() {
				w.store.Kill()
				promote()
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
	register(kind{
		name: "store-flush-slowly", about: "FLUSHDB ASYNC",
		takes: store, rest: held,
		begin: func(w *world, _ *rand.Rand) func() {
			w.store.must("FLUSHDB", "ASYNC")
			return nil
		},
	}, kind{
		name: "store-evicts", about: "redis-server has not enough memory, and evicts some key",
		takes: store, rest: held,
		begin: func(w *world, _ *rand.Rand) func() {
			w.store.evict()
			return nil
		},
	}, kind{
		name: "store-full", about: "redis-server has no memory left and takes no writes (OOM)",
		takes: store, lasts: span{500 * time.Millisecond, 4 * time.Second}, rest: 3 * time.Second,
		begin: func(w *world, _ *rand.Rand) func() {
			w.store.must("CONFIG", "SET", "maxmemory", "1")
			return func() { w.store.must("CONFIG", "SET", "maxmemory", "0") }
		},
	}, kind{
		name: "store-pause", about: "CLIENT PAUSE for three seconds",
		takes: store, lasts: span{3 * time.Second, 3 * time.Second}, rest: 3 * time.Second,
		begin: func(w *world, _ *rand.Rand) func() {
			w.store.must("CLIENT", "PAUSE", "3000", "ALL")
			return func() { w.store.must("PING") } // answered once it is over
		},
	}, kind{
		name: "store-busy", about: "somebody's script does not end (BUSY), until SCRIPT KILL",
		takes: store, lasts: span{500 * time.Millisecond, 4 * time.Second}, rest: 3 * time.Second,
		begin: func(w *world, _ *rand.Rand) func() {
			w.store.must("CONFIG", "SET", "lua-time-limit", "100")
			ended := make(chan error, 1)
			go func() { ended <- w.store.do("EVAL", "while true do end", "0") }()
			return func() {
				for {
					err := w.store.do("SCRIPT", "KILL")
					select {
					case <-ended: // with the error that it was killed
						return
					case <-time.After(50 * time.Millisecond):
						if err != nil && w.t.Context().Err() != nil {
							w.t.Fatal(err)
						}
					}
				}
			}
		},
	}, kind{
		name: "store-readonly", about: "redis-server is made a replica of nobody (READONLY), and a master again",
		takes: store, lasts: span{500 * time.Millisecond, 4 * time.Second}, rest: 3 * time.Second,
		begin: func(w *world, _ *rand.Rand) func() {
			w.store.must("REPLICAOF", "127.0.0.1", strconv.Itoa(proc.FreePort(w.t)))
			return func() { w.store.must("REPLICAOF", "NO", "ONE") }
		},
	}, kind{
		name: "store-alone", about: "redis-server wants a replica before it takes writes (NOREPLICAS)",
		takes: store, lasts: span{500 * time.Millisecond, 4 * time.Second}, rest: 3 * time.Second,
		begin: func(w *world, _ *rand.Rand) func() {
			w.store.must("CONFIG", "SET", "min-replicas-to-write", "1")
			return func() { w.store.must("CONFIG", "SET", "min-replicas-to-write", "0") }
		},
	}, kind{
		name: "store-locked", about: "redis-server wants a password that gates do not have (NOAUTH), and closes their connections",
		takes: store, lasts: span{500 * time.Millisecond, 4 * time.Second}, rest: 3 * time.Second,
		begin: func(w *world, _ *rand.Rand) func() { return w.store.shut("requirepass", "another secret", "") },
	}, kind{
		name: "store-crowded", about: "redis-server takes no more clients, and closes the gates' connections",
		takes: store, lasts: span{500 * time.Millisecond, 4 * time.Second}, rest: 3 * time.Second,
		begin: func(w *world, _ *rand.Rand) func() { return w.store.shut("maxclients", "1", "10000") },
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

// shut has a setting keep everybody out who is not connected yet, closes everybody's
// connections but the one that it keeps, and returns what sets it back over that one.
func (s *store) shut(setting, value, back string) (mend func()) {
	s.t.Helper()
	own := s.db.Conn()
	do := func(args ...any) {
		s.t.Helper()
		if err := own.Do(context.Background(), args...).Err(); err != nil {
			s.t.Fatalf("%v: %v", args, err)
		}
	}
	do("CONFIG", "SET", setting, value)
	do("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
	return func() {
		do("CONFIG", "SET", setting, back)
		_ = own.Close()
	}
}

// replica starts a server that has what the store holds now, and nothing of what is
// written to it from now on. promote makes it the store.
func (s *store) replica() (promote func()) {
	s.t.Helper()
	port, dir := proc.FreePort(s.t), s.t.TempDir()
	s.must("CONFIG", "SET", "repl-diskless-sync-delay", "0")
	p := s.server(port, dir, "--replicaof", "127.0.0.1 "+strconv.FormatInt(s.port.Load(), 10))
	c := redis.NewClient(&redis.Options{Addr: "127.0.0.1:" + strconv.Itoa(port), MaxRetries: -1})
	defer c.Close()
	ctx := context.Background()
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		if text, err := c.Info(ctx, "replication").Result(); err == nil && strings.Contains(text, "master_link_status:up") {
			break
		} else if time.Now().After(end) {
			s.t.Fatalf("a replica has not got the store's data: %v\n%s", err, text)
		}
	}
	if err := c.Do(ctx, "REPLICAOF", "NO", "ONE").Err(); err != nil {
		s.t.Fatal(err)
	}
	return func() {
		s.Process, s.dir = p, dir
		s.port.Store(int64(port))
	}
}

// evict has the server evict at least one key, whichever it takes.
func (s *store) evict() {
	s.t.Helper()
	number := func(section, name string) int64 {
		s.t.Helper()
		text, err := s.db.Info(context.Background(), section).Result()
		if err != nil {
			s.t.Fatal(err)
		}
		_, text, _ = strings.Cut(text, name+":")
		text, _, _ = strings.Cut(text, "\r")
		n, err := strconv.ParseInt(text, 10, 64)
		if err != nil {
			s.t.Fatalf("INFO %s: %s: %v", section, name, err)
		}
		return n
	}
	before := number("stats", "evicted_keys")
	s.must("CONFIG", "SET", "maxmemory-policy", "allkeys-random")
	for limit := number("memory", "used_memory"); number("stats", "evicted_keys") == before; limit -= limit / 100 {
		s.must("CONFIG", "SET", "maxmemory", limit)
		s.must("PING")
	}
	s.must("CONFIG", "SET", "maxmemory", "0")
	s.must("CONFIG", "SET", "maxmemory-policy", "noeviction")
}

func (s *store) signal(sig syscall.Signal) {
	if err := s.Signal(sig); err != nil {
		s.t.Fatalf("signal %v to redis-server: %v", sig, err)
	}
}
