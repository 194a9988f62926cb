package redis_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"github.com/sluicegate/sluice/queue"
	"github.com/sluicegate/sluice/queue/queuetest/proc"
	"github.com/sluicegate/sluice/queue/redis"
)

const benchBatch = 256

// benchRoom is a room in which nobody is called.
func benchRoom(tb testing.TB) (*redis.Store, *goredis.Client, *queue.Call) {
	addr := proc.Redis(tb)
	client := goredis.NewClient(&goredis.Options{Addr: addr})
	store := redis.New(client, redis.Options{})
	tb.Cleanup(func() { _ = store.Close() })
	settings := queue.Defaults()
	settings.Rate = queue.Rate{N: 1, Per: queue.PerHour}
	settings.Mode = queue.ModeHold
	return store, client, &queue.Call{Room: "bench", Settings: &settings}
}

// join sends newcomers in batches until so many more wait.
func join(tb testing.TB, store queue.Store, c *queue.Call, n int) {
	tb.Helper()
	in := make([]queue.Arrival, 0, benchBatch)
	var out []queue.Standing
	for n > 0 {
		in = in[:0]
		for range min(n, benchBatch) {
			in = append(in, queue.Arrival{
				ID: queue.ID(rand.Uint64()), Place: c.Told + queue.Time(len(in)), Deadline: 1 << 52,
				Newcomer: true, Join: true, Claim: true,
			})
		}
		var m queue.Moment
		var err error
		out, m, err = store.Enter(context.Background(), c, in, out[:0])
		if err != nil {
			tb.Fatal(err)
		}
		c.Told = m.Time
		n -= len(in)
	}
}

// info reads one number of the server's INFO.
func info(tb testing.TB, client *goredis.Client, section, name string) float64 {
	tb.Helper()
	text, err := client.Info(context.Background(), section).Result()
	if err != nil {
		tb.Fatal(err)
	}
	for line := range strings.Lines(text) {
		if value, ok := strings.CutPrefix(strings.TrimSpace(line), name+":"); ok {
			n, err := strconv.ParseFloat(value, 64)
			if err != nil {
				tb.Fatal(err)
			}
			return n
		}
	}
	tb.Fatalf("no %s in INFO %s", name, section)
	return 0
}

// BenchmarkEnter is 100,000 visitors who join one room by two gates: how many a second, what a
// newcomer costs Redis in processor time and in memory.
func BenchmarkEnter(b *testing.B) {
	const visitors = 100_000
	for b.Loop() {
		b.StopTimer()
		store, client, c := benchRoom(b)
		join(b, store, c, benchBatch) // scripts are loaded, connections are there
		before, cpu := info(b, client, "memory", "used_memory"), busy(b, client)
		b.StartTimer()
		started := time.Now()
		var gates sync.WaitGroup // two, so that Redis does not wait for one to write
		for range 2 {
			call := *c
			gates.Go(func() { join(b, store, &call, visitors/2) })
		}
		gates.Wait()
		took := time.Since(started)
		b.StopTimer()
		b.ReportMetric(visitors/took.Seconds(), "tickets/s")
		b.ReportMetric((busy(b, client)-cpu)*1e6/visitors, "redis-us/ticket")
		b.ReportMetric((info(b, client, "memory", "used_memory")-before)/visitors, "redis-B/visitor")
		b.StartTimer()
	}
}

func busy(tb testing.TB, client *goredis.Client) float64 {
	return info(tb, client, "cpu", "used_cpu_user") + info(tb, client, "cpu", "used_cpu_sys")
}

// BenchmarkMarks is what a presence mark costs Redis.
func BenchmarkMarks(b *testing.B) {
	store, client, c := benchRoom(b)
	const visitors = 100_000
	ids := make([]queue.ID, visitors)
	in := make([]queue.Arrival, 0, visitors)
	for i := range ids {
		ids[i] = queue.ID(rand.Uint64())
		in = append(in, queue.Arrival{ID: ids[i], Deadline: 1 << 51, Newcomer: true, Join: true})
	}
	send := func(in []queue.Arrival) {
		for len(in) > 0 {
			n := min(500, len(in))
			if _, _, err := store.Enter(context.Background(), c, in[:n], nil); err != nil {
				b.Fatal(err)
			}
			in = in[n:]
		}
	}
	send(in)
	cpu, marks := busy(b, client), 0
	for b.Loop() {
		for i := range in {
			in[i].Newcomer, in[i].Join = false, false
			in[i].Deadline++
		}
		send(in)
		marks += len(in)
	}
	b.ReportMetric((busy(b, client)-cpu)*1e6/float64(marks), "redis-us/mark")
}

// BenchmarkPoll is a waiting visitor's poll far from the front, at growing
// lengths of the line. It asks the store nothing, so the lengths should cost alike.
func BenchmarkPoll(b *testing.B) {
	for _, waiting := range []int{1_000, 100_000, 1_000_000} {
		b.Run(fmt.Sprintf("waiting=%d", waiting), func(b *testing.B) {
			store, _, c := benchRoom(b)
			join(b, store, c, waiting)
			line := queue.NewLine(queue.LineConfig{Room: c.Room, Settings: *c.Settings, Store: store})
			ctx, cancel := context.WithCancel(context.Background())
			done := make(chan struct{})
			go func() { defer close(done); _ = line.Run(ctx) }()
			defer func() { cancel(); <-done }()
			for line.Waiting() != int64(waiting) { // the first snapshot
				time.Sleep(time.Millisecond)
			}
			ladder := line.Status().Snapshot.Ladder
			middle := ladder.Places[len(ladder.Places)/2]
			b.ReportAllocs()
			for b.Loop() {
				if a := line.Poll(1, middle, false, nil); a.Position == 0 {
					b.Fatal("no position")
				}
			}
		})
	}
}

// BenchmarkTick is what keeping a room going costs Redis, a ladder each time.
func BenchmarkTick(b *testing.B) {
	for _, waiting := range []int{1_000, 100_000, 1_000_000} {
		b.Run(fmt.Sprintf("waiting=%d", waiting), func(b *testing.B) {
			store, client, c := benchRoom(b)
			join(b, store, c, waiting)
			cpu, ticks := busy(b, client), 0
			for b.Loop() {
				s, err := store.Tick(context.Background(), c)
				if err != nil {
					b.Fatal(err)
				}
				c.Told = s.Time + 200_000 // so that the ladder is old
				ticks++
			}
			b.ReportMetric((busy(b, client)-cpu)*1e6/float64(ticks), "redis-us/tick")
		})
	}
}
