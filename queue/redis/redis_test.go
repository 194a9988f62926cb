package redis_test

import (
	"fmt"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	client "github.com/redis/go-redis/v9"

	"github.com/sluicegate/sluice/queue/queuetest"
	"github.com/sluicegate/sluice/queue/queuetest/proc"
	"github.com/sluicegate/sluice/queue/redis"
)

// begin is where clocks start: at the end of a minute, within a millisecond.
var begin = time.Date(2026, 7, 1, 9, 59, 59, 123_456_000, time.UTC)

var prefixes atomic.Int64

// prefix returns one that no other test has used on the same server.
func prefix() string { return fmt.Sprintf("test%d", prefixes.Add(1)) }

func closed(t testing.TB, s *redis.Store) *redis.Store {
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// losing is what happens to a store by its server: keys are deleted, and older copies
// of them come back.
func losing(t testing.TB, store *redis.Store, c *client.Client, prefix string) queuetest.Harness {
	names := func(pattern string) []string {
		keys, err := c.Keys(t.Context(), pattern).Result()
		if err != nil {
			t.Fatal(err)
		}
		slices.Sort(keys)
		return keys
	}
	base := func(room string) string { return prefix + ":{" + room + "}:" }
	drop := func(room, pattern string) int {
		keys := names(base(room) + pattern)
		if len(keys) > 0 {
			if err := c.Del(t.Context(), keys...).Err(); err != nil {
				t.Fatal(err)
			}
		}
		return len(keys)
	}
	return queuetest.Harness{
		Store: store,
		Wipe:  func(room string) { drop(room, "*") },
		Drop:  drop,
		Keys: func(room string) []string {
			keys := names(base(room) + "*")
			for i := range keys {
				keys[i] = keys[i][len(base(room)):]
			}
			return keys
		},
		Copy: func(room string) func() {
			into := fmt.Sprintf("copy%d-", prefixes.Add(1))
			copyAll := func(keys []string, name func(string) string) {
				for _, key := range keys {
					if err := c.Copy(t.Context(), key, name(key), 0, true).Err(); err != nil {
						t.Fatal(err)
					}
				}
			}
			copyAll(names(base(room)+"*"), func(key string) string { return into + key })
			return func() {
				drop(room, "*")
				copyAll(names(into+"*"), func(key string) string { return key[len(into):] })
			}
		},
		Anew: func(room string) {
			if err := c.HSet(t.Context(), base(room)+"meta", "run", "another").Err(); err != nil {
				t.Fatal(err)
			}
		},
	}
}

// inRedis opens stores in one redis-server. Its clock cannot be moved, so the test
// brings its own.
func inRedis(t *testing.T) queuetest.Open {
	addr := proc.Redis(t)
	return func(t testing.TB) queuetest.Harness {
		var now atomic.Int64
		now.Store(begin.UnixNano())
		move := func(d time.Duration) { now.Add(int64(d)) }
		c := client.NewClient(&client.Options{Addr: addr, MaxRetries: -1, ContextTimeoutEnabled: true})
		prefix := prefix()
		store := redis.New(c, redis.Options{Prefix: prefix, Now: func() time.Time { return time.Unix(0, now.Load()) }})
		h := losing(t, closed(t, store), c, prefix)
		h.Advance, h.Jump = move, move
		return h
	}
}

func TestStoreInRedis(t *testing.T) { queuetest.Run(t, inRedis(t)) }

func TestStoreByTheClockOfRedis(t *testing.T) {
	addr := proc.Redis(t)
	queuetest.Run(t, func(t testing.TB) queuetest.Harness {
		store, err := redis.Open("redis://" + addr + "/0?prefix=" + prefix())
		if err != nil {
			t.Fatal(err)
		}
		return queuetest.Harness{Store: closed(t, store)}
	})
}

func TestStateMachineInRedis(t *testing.T) { queuetest.StateMachine(t, inRedis(t)) }
