package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"github.com/sluicegate/sluice/queue"
	"github.com/sluicegate/sluice/queue/memory"
	"github.com/sluicegate/sluice/queue/queuetest/cost/crowd"
	"github.com/sluicegate/sluice/queue/queuetest/proc"
	"github.com/sluicegate/sluice/queue/redis"
)

var errNoPosition = errors.New("a visitor far back has no position")

// inMemory is a new store in this process.
func inMemory() *measured {
	s := memory.New(memory.Options{})
	return &measured{
		store: func() queue.Store { return s },
		cpu: func() (float64, error) {
			var u syscall.Rusage
			err := syscall.Getrusage(syscall.RUSAGE_SELF, &u)
			return float64(u.Utime.Nano()+u.Stime.Nano()) / 1e9, err
		},
		memory: func() (float64, error) {
			var stats runtime.MemStats
			runtime.GC()
			runtime.GC() // what the first one found to be over
			runtime.ReadMemStats(&stats)
			return float64(stats.HeapAlloc), nil
		},
		ownRAM: true,
	}
}

// inRedis is a new redis-server.
func inRedis(t proc.T) *measured {
	addr := proc.Redis(t)
	client := goredis.NewClient(&goredis.Options{Addr: addr})
	t.Cleanup(func() { _ = client.Close() })
	info := func(section string, names ...string) func() (float64, error) {
		return func() (float64, error) { return crowd.Info(t.Context(), client, section, names...) }
	}
	return &measured{
		store: func() queue.Store {
			return redis.New(goredis.NewClient(&goredis.Options{Addr: addr, ContextTimeoutEnabled: true, ReadTimeout: time.Minute}), redis.Options{})
		},
		cpu:    info("cpu", crowd.CPU...),
		memory: info("memory", "used_memory"),
		sent:   info("stats", "total_net_output_bytes"),
	}
}

// pace sends the marks and ticks of a room for a while as its gates would: every
// gate its share of the marks once a second, and a tick four times. It measures the
// share of one core that the store spends.
func pace(ctx context.Context, m *measured, r *crowd.Room, c *config, f *figures) error {
	if err := catchUp(ctx, r); err != nil {
		return err
	}
	type gate struct {
		store queue.Store
		call  queue.Call
		marks []queue.Arrival
		share int // of them, that are sent at once
	}
	gates := make([]*gate, c.gates)
	for i := range gates {
		gates[i] = &gate{store: m.store(), call: r.Call}
		defer gates[i].store.Close()
	}
	var failed error
	var mu sync.Mutex
	fail := func(err error) {
		mu.Lock()
		failed = errors.Join(failed, err)
		mu.Unlock()
	}
	quarters := int(c.paced / (time.Second / ticksPerSecond))
	for _, g := range gates {
		g.marks = r.Marks(int(f.polls) / len(gates) * quarters / ticksPerSecond)
		g.share = (len(g.marks)*ticksPerSecond + quarters - 1) / quarters
	}
	marks, ticks := 0, 0
	before, err := m.cpu()
	if err != nil {
		return err
	}
	began := time.Now()
	var wg sync.WaitGroup
	for i, g := range gates {
		wg.Go(func() {
			// Gates did not start together.
			due := began.Add(time.Duration(i) * time.Second / ticksPerSecond / time.Duration(len(gates)))
			sentMarks, sentTicks := 0, 0
			for q := range quarters {
				select {
				case <-ctx.Done():
					return
				case <-time.After(time.Until(due)):
				}
				due = due.Add(time.Second / ticksPerSecond)
				for more := true; more; {
					s, err := g.store.Tick(ctx, &g.call)
					if err == nil && s.Away > 0 {
						err = fmt.Errorf("%d visitors who polled in time are absent", s.Away)
					}
					if err != nil {
						fail(err)
						return
					}
					more = s.More
					g.call.Told = max(g.call.Told, s.Time)
					sentTicks++
				}
				if q%ticksPerSecond != i%ticksPerSecond {
					continue
				}
				in := g.marks[:min(g.share, len(g.marks))]
				g.marks = g.marks[len(in):]
				for len(in) > 0 {
					n := min(markBatch, len(in))
					if _, _, err := g.store.Enter(ctx, &g.call, in[:n], nil); err != nil {
						fail(err)
						return
					}
					sentMarks += n
					in = in[n:]
				}
			}
			mu.Lock()
			marks, ticks = marks+sentMarks, ticks+sentTicks
			mu.Unlock()
		})
	}
	wg.Wait()
	took := time.Since(began).Seconds()
	after, err := m.cpu()
	if err := errors.Join(failed, err, ctx.Err()); err != nil {
		return err
	}
	f.paced = (after - before) / took
	f.pacedMarks, f.pacedTicks, f.pacedSeconds = float64(marks)/took, float64(ticks)/took, took
	return nil
}

// bareRedis is what the machine is worth just now: single ZADD calls of 16 clients.
func bareRedis(t proc.T) string {
	const clients, calls = 16, 2000
	client := goredis.NewClient(&goredis.Options{Addr: proc.Redis(t), PoolSize: clients})
	defer client.Close()
	cpu := func() float64 {
		v, err := crowd.Info(t.Context(), client, "cpu", crowd.CPU...)
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	before, began := cpu(), time.Now()
	var wg sync.WaitGroup
	for c := range clients {
		wg.Go(func() {
			for i := range calls {
				_ = client.ZAdd(t.Context(), "bare", goredis.Z{Score: float64(i), Member: c*calls + i}).Err()
			}
		})
	}
	wg.Wait()
	took := time.Since(began).Seconds()
	return fmt.Sprintf("bare single ZADD calls of %d clients: %.0f/s, %.1f µs of Redis each", clients, clients*calls/took, (cpu()-before)*1e6/(clients*calls))
}

// machine names what was measured on.
func machine(t proc.T, stores []string) string {
	model := "unknown processor"
	if text, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		for line := range strings.Lines(string(text)) {
			if name, value, _ := strings.Cut(line, ":"); strings.TrimSpace(name) == "model name" {
				model = strings.TrimSpace(value)
				break
			}
		}
	}
	words := []string{strconv.Itoa(runtime.NumCPU()) + " x " + model, runtime.GOOS + "/" + runtime.GOARCH, runtime.Version()}
	for _, s := range stores {
		if s != "redis" {
			continue
		}
		if text, err := exec.CommandContext(t.Context(), proc.Need(t, "redis-server"), "--version").Output(); err == nil {
			for _, word := range strings.Fields(string(text)) {
				if v, ok := strings.CutPrefix(word, "v="); ok {
					words = append(words, "redis-server "+v)
				}
			}
		}
	}
	return strings.Join(words, ", ")
}
