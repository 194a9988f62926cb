package redis_test

import (
	"fmt"
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

// dropper deletes the keys of a room whose names match, and counts them.
func dropper(t testing.TB, c *client.Client, prefix string) func(room, pattern string) int {
	return func(room, pattern string) int {
		keys, err := c.Keys(t.Context(), prefix+":{"+room+"}:"+pattern).Result()
		if err == nil && len(keys) > 0 {
			err = c.Del(t.Context(), keys...).Err()
		}
		if err != nil {
			t.Fatal(err)
		}
		return len(keys)
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
		drop := dropper(t, c, prefix)
		return queuetest.Harness{Store: closed(t, store), Advance: move, Jump: move, Wipe: func(room string) { drop(room, "*") }, Drop: drop}
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
