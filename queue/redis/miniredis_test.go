//go:build !race

package redis_test

import (
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	client "github.com/redis/go-redis/v9"

	"github.com/sluicegate/sluice/queue/queuetest"
	"github.com/sluicegate/sluice/queue/redis"
)

// The imitation runs scripts in Go, which takes minutes under the race detector. A
// redis-server, where there is one, is tested with it.

func TestStore(t *testing.T) { queuetest.Run(t, inMiniredis) }

func TestStateMachine(t *testing.T) { queuetest.StateMachine(t, inMiniredis) }

// inMiniredis opens stores in the Go imitation of Redis, whose clock can be moved.
func inMiniredis(t testing.TB) queuetest.Harness {
	server := miniredis.RunT(t)
	now := begin
	server.SetTime(now)
	move := func(d time.Duration) {
		now = now.Add(d)
		server.SetTime(now)
	}
	prefix := prefix()
	// It runs scripts in Go: thousands of marks take it seconds on a busy machine.
	c := client.NewClient(&client.Options{Addr: server.Addr(), MaxRetries: -1, ReadTimeout: time.Minute, ContextTimeoutEnabled: true})
	store := redis.New(c, redis.Options{Prefix: prefix})
	h := losing(t, closed(t, store), c, prefix)
	h.Advance, h.Jump = move, move
	return h
}
