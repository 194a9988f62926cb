package visitor

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sluicegate/sluice/gate"
	"github.com/sluicegate/sluice/gate/config"
	"github.com/sluicegate/sluice/gate/door"
	"github.com/sluicegate/sluice/loadtest/executor"
	"github.com/sluicegate/sluice/loadtest/judge"
	"github.com/sluicegate/sluice/loadtest/metric"
	"github.com/sluicegate/sluice/loadtest/origin"
	"github.com/sluicegate/sluice/queue"
	"github.com/sluicegate/sluice/queue/memory"
)

// realGate opens gates over one store in memory, in front of a recording origin,
// and returns their addresses.
func realGate(t *testing.T, gates int, room string) ([]string, *origin.Origin) {
	t.Helper()
	shop := origin.New(origin.Config{Gated: "/drop", PageSize: 2000, AssetSize: 500, Assets: "/drop/assets/", Order: "/drop/order"})
	l := listen(t)
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := shop.Serve(l); err != nil {
			t.Error(err)
		}
	})
	text := fmt.Sprintf("origin: {url: \"http://%s\"}\nsecret: \"%s\"\nshutdown: {delay: 0s, timeout: 5s}\nrooms:\n  - name: drop\n    match: [{path: /drop}]\n%s",
		l.Addr(), strings.Repeat("s", 40), room)
	c, err := config.Load(config.Source{File: "sluice.yaml", Data: []byte(text)})
	if err != nil {
		t.Fatal(err)
	}
	var store queue.Store = memory.New(memory.Options{})
	var targets []string
	ctx, stop := context.WithCancel(context.Background())
	var servers []*gate.Server
	for range gates {
		g, err := gate.New(c, gate.Options{Store: store, MaxHeld: 1000})
		if err != nil {
			t.Fatal(err)
		}
		s := gate.NewServer(g, door.Limits{Conns: 10_000})
		servers = append(servers, s)
		gl := listen(t)
		targets = append(targets, "http://"+gl.Addr().String())
		wg.Go(func() {
			if err := s.Serve(gl); err != nil {
				t.Error(err)
			}
		})
		wg.Go(func() { _ = g.Run(ctx) })
		g.SetReady(true)
	}
	t.Cleanup(func() {
		end, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		for _, s := range servers {
			if err := s.Shutdown(end); err != nil {
				t.Error(err)
			}
		}
		stop()
		if err := shop.Close(); err != nil {
			t.Error(err)
		}
		wg.Wait()
	})
	return targets, shop
}

func listen(t testing.TB) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// A rehearsed is what a run of visitors came to.
type rehearsed struct {
	*metric.Registry
	crowd *Crowd
	log   bytes.Buffer
}

// rehearse lets visitors come, evenly, and returns when all are gone.
func rehearse(t *testing.T, targets []string, n int, over time.Duration, j Journey) *rehearsed {
	t.Helper()
	r := &rehearsed{Registry: metric.NewRegistry()}
	log := judge.NewLog(&r.log)
	var err error
	r.crowd, err = New(Config{
		Targets: targets, Room: "drop", Path: "/drop/", Journey: j, Scenario: "sale", Metrics: r.Registry, Log: log,
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	start := time.Now()
	var wg sync.WaitGroup
	for i := range n {
		due := start.Add(over * time.Duration(i) / time.Duration(n))
		wg.Go(func() {
			if sleep(ctx, time.Until(due)) {
				r.crowd.Visit(ctx, &executor.VU{ID: int64(i + 1), Scenario: "sale", Rand: rand.New(rand.NewPCG(1, uint64(i)))}, due)
			}
		})
	}
	wg.Wait()
	if err := log.Flush(); err != nil {
		t.Fatal(err)
	}
	if err := ctx.Err(); err != nil {
		t.Error("not everybody was gone in time")
	}
	return r
}

// sum returns a counter's sum over what is selected.
func (r *rehearsed) sum(name string, tags ...string) float64 {
	m := r.Lookup(name)
	if m == nil {
		return -1
	}
	return m.Select(metric.NewTags(tags...)).Sum
}

// failed is how many requests failed.
func (r *rehearsed) failed() int64 {
	return r.Lookup(metric.HTTPReqFailed).Select(metric.Tags{}).Passes
}

func (r *rehearsed) verdict(t *testing.T, o judge.Options) *judge.Verdict {
	t.Helper()
	j := judge.New(o)
	if err := j.Add(bytes.NewReader(r.log.Bytes())); err != nil {
		t.Fatal(err)
	}
	return j.Verdict()
}

func TestARealGateKeepsItsPromisesToTwoHundredVisitors(t *testing.T) {
	targets, shop := realGate(t, 2, "    rate: 60/s\n    burst: 5\n    max_active: 150\n    session: 10s\n    claim_within: 5s\n    poll: {min: 1s, max: 5s}\n")
	j := Defaults()
	j.Spread = true
	j.Pages, j.Assets = Loads{Count: 2}, Loads{Paths: []string{"/drop/assets/a.css"}}
	j.Think = Span{Min: 50 * time.Millisecond, Max: 200 * time.Millisecond}
	j.Order.Share, j.Order.Path = .5, "/drop/order"
	j.Leave = .9
	j.Abandon.Share, j.Abandon.After = .1, Span{Min: 500 * time.Millisecond, Max: 2 * time.Second}
	j.Reload.Share = .1
	j.Tabs = .1
	j.Cheats.Share = .1
	j.Post.Share = .1
	r := rehearse(t, targets, 200, time.Second, j)
	v := r.verdict(t, judge.Options{Rate: 60, Burst: 5, Session: 10 * time.Second, Grace: 50 * time.Millisecond})
	s := shop.Stats()
	t.Logf("%+v", *v)
	t.Logf("%+v", s)
	t.Logf("joined %v, in %v, gave up %v, left %v, released %v, vanished %v", r.sum(Joined), r.sum(LetIn), r.sum(GaveUp),
		r.sum(LeftShop, "how", "left"), r.sum(LeftShop, "how", "released"), r.sum(LeftShop, "how", "vanished"))
	for _, m := range []string{metric.HTTPReqDuration, JoinDuration, WaitDuration, PollLateness, metric.HTTPReqConnecting} {
		x := r.Lookup(m).Select(metric.Tags{})
		t.Logf("%-20s %d: median %.1f p99 %.1f max %.1f", m, x.Samples, x.Med, x.P(99), x.Max)
	}
	for what, n := range r.crowd.Errors() {
		t.Errorf("%dx %s", n, what)
	}
	for _, f := range v.Findings {
		t.Error(f)
	}
	if v.UnknownCalls != 0 || v.NotAdmitted != 0 || s.Unadmitted != 0 || s.Leaked != 0 {
		t.Errorf("the origin: %v", s.Examples)
	}
}
