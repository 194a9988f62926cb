package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/sluicegate/sluice/loadtest/stage"
	"github.com/sluicegate/sluice/queue/queuetest/cost/crowd"
	"github.com/sluicegate/sluice/queue/queuetest/proc"
)

// spared is how much more than before the flood Redis may have when it is over, for
// each of the people and at all: the used tickets of those let in meanwhile, and what
// the allocator keeps.
const (
	sparedEach = 400
	spared     = 2 << 20
)

// house is what the flood comes to.
type house struct {
	proc.T
	redis *redis.Client
	gates []*stage.Gate
}

// row is how things stand at one time.
type row struct {
	redis, rss, live                   float64 // bytes; of the largest gate: what the system gave it, and what its heap holds
	waiting, absent, joined, abandoned float64
}

// run floods the house and tells what came of it. It is false when it should not have.
func (o options) run(t proc.T, out io.Writer) (good bool) {
	t.Helper()
	sluice := stage.Sluice(t)
	shop, store := stage.FreeAddress(t), proc.Redis(t)
	h := &house{T: t, redis: redis.NewClient(&redis.Options{Addr: store})}
	t.Cleanup(func() { _ = h.redis.Close() })
	h.gates = stage.Gates(t, sluice, o.gates, stage.Config{Store: store, Origin: shop,
		Room: fmt.Sprintf("rate: %s\nburst: %d\nmax_waiting: %s\npoll: %s", o.rate, o.burst, o.maxWaiting, o.poll)})
	fmt.Fprintf(out, "%d gates with one redis-server on %d cores; the room calls %s; %d people in line, then %d programs a minute for %v; max_waiting %s\n\n",
		o.gates, runtime.NumCPU(), o.rate, o.people, o.bots, o.length, o.maxWaiting)

	judged := o.begin(t, sluice, shop, h.gates)
	h.await("the people are in line", 5*time.Minute, func(r row) bool { return r.joined >= float64(o.people) })

	b := &bots{gates: hosts(h.gates)}
	before := h.look()
	fmt.Fprintf(out, "%8s %12s %12s %12s %9s %9s %9s %9s\n", "time", "redis", "a gate", "its heap", "waiting", "absent", "joined", "forgotten")
	tell := func(when string, r row) {
		fmt.Fprintf(out, "%8s %8.1f MiB %8.1f MiB %8.1f MiB %9.0f %9.0f %9.0f %9.0f\n", when, r.redis/(1<<20), r.rss/(1<<20), r.live/(1<<20), r.waiting, r.absent, r.joined, r.abandoned)
	}
	tell("before", before)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	over := make(chan struct{})
	go func() {
		defer close(over)
		b.come(ctx, o.bots, o.length)
	}()
	began := time.Now()
	rows := time.NewTicker(o.every)
	defer rows.Stop()
	for coming := true; coming; {
		select {
		case <-over:
			coming = false
		case <-rows.C:
			tell(time.Since(began).Round(time.Second).String(), h.look())
		}
	}
	fmt.Fprintf(out, "\n%d programs came: %d were given a place, %d were told that the room is full, %d something else, %d got no answer; one in a hundred waited longer than %v\n",
		b.sent.Load(), b.waiting.Load(), b.full.Load(), b.other.Load(), b.failed.Load(), b.slowest().Round(time.Millisecond))
	after := h.await("the programs are forgotten", 5*time.Minute, func(r row) bool {
		return r.abandoned >= float64(b.waiting.Load()) || r.waiting+r.absent <= float64(o.people)
	})
	tell(time.Since(began).Round(time.Second).String(), after)
	good = true
	if most := before.redis + float64(o.people*sparedEach+spared); after.redis > most {
		fmt.Fprintf(out, "Redis has not given back what they took: %.1f MiB, %.1f before\n", after.redis/(1<<20), before.redis/(1<<20))
		good = false
	}
	code, said := judged()
	fmt.Fprintf(out, "\nThe people:\n\n%s", said)
	for i, g := range h.gates {
		select {
		case <-g.Done():
			fmt.Fprintf(out, "gate %d did not survive\n", i+1)
			good = false
		default:
		}
	}
	return good && code == 0
}

// begin sends the people. What it returns waits for the verdict.
func (o options) begin(t proc.T, sluice, shop string, gates []*stage.Gate) (judged func() (code int, said []byte)) {
	t.Helper()
	args := []string{"loadtest", "run", o.script, "--workers", strconv.Itoa(o.workers), "--serve-origin", shop,
		"--room-rate", o.rate, "--room-burst", strconv.Itoa(o.burst), "--room-session", "10m"}
	for _, g := range gates {
		args = append(args, "--target", g.URL)
	}
	c := exec.CommandContext(t.Context(), sluice, args...)
	c.Cancel = func() error { return c.Process.Signal(os.Interrupt) }
	said := new(bytes.Buffer)
	c.Stdout, c.Stderr = said, said
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- c.Wait() }()
	waited := false
	wait := func() error {
		if waited {
			return nil
		}
		waited = true
		return <-ended
	}
	t.Cleanup(func() {
		if !waited {
			_ = c.Process.Signal(os.Interrupt)
			_ = wait()
		}
	})
	return func() (int, []byte) {
		err := wait()
		var exit *exec.ExitError
		if err != nil && !errors.As(err, &exit) {
			t.Fatal(err)
		}
		return c.ProcessState.ExitCode(), said.Bytes()
	}
}

// await looks until it is so.
func (h *house) await(what string, patience time.Duration, is func(row) bool) row {
	h.Helper()
	for deadline := time.Now().Add(patience); ; {
		r := h.look()
		if is(r) {
			return r
		}
		if time.Now().After(deadline) {
			h.Fatalf("after %v it is not so that %s: %+v", patience, what, r)
		}
		select {
		case <-h.Context().Done():
			h.Fatal(h.Context().Err())
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// look asks Redis, the kernel and the gates.
func (h *house) look() (r row) {
	h.Helper()
	var err error
	if r.redis, err = crowd.Info(h.Context(), h.redis, "memory", "used_memory"); err != nil {
		h.Fatal(err)
	}
	for _, g := range h.gates {
		statm, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", g.Pid()))
		if err != nil {
			h.Fatalf("memory cannot be judged, which is not told here: %v", err)
		}
		pages, err := strconv.Atoi(strings.Fields(string(statm))[1])
		if err != nil {
			h.Fatal(err)
		}
		r.rss = max(r.rss, float64(pages*os.Getpagesize()))
		numbers := h.numbers(g)
		r.live = max(r.live, numbers["go_memstats_next_gc_bytes"]/2) // GOGC is 100
		r.waiting = max(r.waiting, numbers["sluice_visitors_waiting"])
		r.absent = max(r.absent, numbers["sluice_visitors_absent"])
		r.joined += numbers["sluice_joined_total"]
		r.abandoned += numbers["sluice_abandoned_total"]
	}
	return r
}

var operators = &http.Client{Timeout: 30 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}

// numbers are a gate's metrics without labels, or with the room.
func (h *house) numbers(g *stage.Gate) map[string]float64 {
	h.Helper()
	resp, err := operators.Get("http://" + g.Admin + "/metrics")
	if err != nil {
		h.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		h.Fatal(err)
	}
	all := make(map[string]float64)
	for line := range strings.Lines(string(text)) {
		name, value, ok := strings.Cut(strings.TrimSpace(strings.Replace(line, `{room="`+stage.Room+`"}`, "", 1)), " ")
		if !ok || strings.ContainsAny(name, "#{") {
			continue
		}
		if all[name], err = strconv.ParseFloat(value, 64); err != nil {
			h.Fatal(err)
		}
	}
	return all
}
