package redis_test

import (
	"fmt"
	"sync"
	"testing"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"github.com/sluicegate/sluice/queue/queuetest/cost/crowd"
	"github.com/sluicegate/sluice/queue/queuetest/proc"
	"github.com/sluicegate/sluice/queue/redis"
)

// For costs against the length of the line, a poll's among them, run
// ./queue/queuetest/cost.

// benchRoom is a room in which n visitors wait and nobody is called.
func benchRoom(b *testing.B, n int) (*goredis.Client, *crowd.Room) {
	client := goredis.NewClient(&goredis.Options{Addr: proc.Redis(b), ContextTimeoutEnabled: true})
	store := redis.New(client, redis.Options{})
	b.Cleanup(func() { _ = store.Close() })
	r, err := crowd.Fill(b.Context(), store, "bench", n)
	if err != nil {
		b.Fatal(err)
	}
	return client, r
}

func info(b *testing.B, client *goredis.Client, section string, names ...string) float64 {
	b.Helper()
	n, err := crowd.Info(b.Context(), client, section, names...)
	if err != nil {
		b.Fatal(err)
	}
	return n
}

// BenchmarkEnter is 100,000 visitors who join one room by one gate or two, whose
// newcomers' places lie among one another: how many a second, what a newcomer costs
// Redis in processor time and in memory.
func BenchmarkEnter(b *testing.B) {
	const visitors = 100_000
	for _, gates := range []int{1, 2} {
		b.Run(fmt.Sprintf("gates=%d", gates), func(b *testing.B) {
			for b.Loop() {
				b.StopTimer()
				client, r := benchRoom(b, crowd.JoinBatch) // scripts are loaded, connections are there
				before, cpu := info(b, client, "memory", "used_memory"), info(b, client, "cpu", crowd.CPU...)
				b.StartTimer()
				started := time.Now()
				var all sync.WaitGroup
				for range gates {
					all.Go(func() { join(b, r, visitors/gates) })
				}
				all.Wait()
				took := time.Since(started)
				b.StopTimer()
				b.ReportMetric(visitors/took.Seconds(), "tickets/s")
				b.ReportMetric((info(b, client, "cpu", crowd.CPU...)-cpu)*1e6/visitors, "redis-us/ticket")
				b.ReportMetric((info(b, client, "memory", "used_memory")-before)/visitors, "redis-B/visitor")
				b.StartTimer()
			}
		})
	}
}

// join has newcomers come by a gate of their own until so many more wait.
func join(b *testing.B, r *crowd.Room, n int) {
	gate := r.Gate()
	for n > 0 {
		in := gate.Newcomers(min(n, crowd.JoinBatch))
		if err := gate.Enter(b.Context(), in, crowd.JoinBatch); err != nil {
			b.Error(err)
			return
		}
		n -= len(in)
	}
}

// BenchmarkMarks is what a presence mark costs Redis.
func BenchmarkMarks(b *testing.B) {
	client, r := benchRoom(b, 100_000)
	var cpu float64
	marks := 0
	for b.Loop() {
		b.StopTimer()
		in := r.Marks(r.Waiting())
		before := info(b, client, "cpu", crowd.CPU...)
		b.StartTimer()
		if err := r.Enter(b.Context(), in, crowd.MarkBatch); err != nil {
			b.Fatal(err)
		}
		cpu += info(b, client, "cpu", crowd.CPU...) - before
		marks += len(in)
	}
	b.ReportMetric(cpu*1e6/float64(marks), "redis-us/mark")
}

// BenchmarkTick is what keeping a room going costs Redis, a ladder each time.
func BenchmarkTick(b *testing.B) {
	for _, waiting := range []int{1_000, 100_000, 1_000_000} {
		b.Run(fmt.Sprintf("waiting=%d", waiting), func(b *testing.B) {
			client, r := benchRoom(b, waiting)
			var cpu float64
			ticks := 0
			for b.Loop() {
				b.StopTimer()
				if err := r.Enter(b.Context(), r.Marks(r.Due(r.Call.Told)), crowd.MarkBatch); err != nil {
					b.Fatal(err)
				}
				r.Call.Told = r.Call.Told.Add(200 * time.Millisecond) // so that the ladder is old
				before := info(b, client, "cpu", crowd.CPU...)
				b.StartTimer()
				if err := r.Tick(b.Context(), nil); err != nil {
					b.Fatal(err)
				}
				cpu += info(b, client, "cpu", crowd.CPU...) - before
				ticks++
			}
			b.ReportMetric(cpu*1e6/float64(ticks), "redis-us/tick")
		})
	}
}

// BenchmarkEnterFew is what a newcomer costs Redis where few come in one call.
func BenchmarkEnterFew(b *testing.B) {
	for _, few := range []int{1, 8, 20, 64, 256} {
		b.Run(fmt.Sprintf("newcomers=%d", few), func(b *testing.B) {
			client, r := benchRoom(b, 10_000)
			gate := r.Gate()
			cpu, came := info(b, client, "cpu", crowd.CPU...), 0
			for b.Loop() {
				if err := gate.Enter(b.Context(), gate.Newcomers(few), few); err != nil {
					b.Fatal(err)
				}
				came += few
			}
			b.ReportMetric((info(b, client, "cpu", crowd.CPU...)-cpu)*1e6/float64(came), "redis-us/newcomer")
		})
	}
}
