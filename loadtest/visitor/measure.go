package visitor

import (
	"strconv"
	"sync"
	"time"

	"github.com/sluicegate/sluice/loadtest/metric"
)

// Names of what visitors measure beside k6's own.
const (
	// JoinDuration is a Trend: from when a visitor was due to the answer that gave
	// them a place or let them in, whatever held them up.
	JoinDuration = "join_duration"
	// WaitDuration is a Trend: from when a visitor was due to the answer that let
	// them in.
	WaitDuration = "wait_duration"
	// PollLateness is a Trend: how much later than planned a poll left. It says how
	// busy the harness is.
	PollLateness = "poll_lateness"

	Joined   = "sluice_joined"    // Counter: visitors who were given a place
	LetIn    = "sluice_admitted"  // Counter: visitors who were let in
	LeftShop = "sluice_left"      // Counter: visitors who were inside and went, tagged how: left, released, vanished, expelled
	GaveUp   = "sluice_abandoned" // Counter: visitors who walked away while waiting, for good
)

// Define makes the metrics known, so that a threshold or a summary finds them even
// where nobody came.
func Define(r *metric.Registry) {
	metric.Builtin(r)
	for _, name := range []string{JoinDuration, WaitDuration, PollLateness} {
		r.New(name, metric.Trend, metric.Time)
	}
	for _, name := range []string{Joined, LetIn, LeftShop, GaveUp} {
		r.New(name, metric.Counter, metric.Default)
	}
}

// step is what a request is for.
type step uint8

const (
	stepJoin step = iota
	stepPoll
	stepPage
	stepAsset
	stepOrder
	stepLeave
	stepReload
	stepReplay
	stepPost
	numSteps
)

var stepNames = [numSteps]string{"join", "poll", "page", "asset", "order", "leave", "reload", "replay", "post"}

func (s step) String() string { return stepNames[s] }

// gauges are the series of one scenario.
type gauges struct {
	registry *metric.Registry
	tags     metric.Tags

	join, wait, late              *metric.Series
	joined, letIn, gaveUp         *metric.Series
	left, released, vanished, put *metric.Series

	parts [numSteps]parts

	mu      sync.RWMutex
	outcome map[outcome]*ends
}

// parts are the timings that are told by step only.
type parts struct{ blocked, connecting, handshaking, sending, receiving *metric.Series }

// outcome is what a request came to.
type outcome struct {
	step   step
	status int16 // 0: no answer
	state  string
	err    string // why it failed; "": it did not
}

type ends struct{ requests, failed, duration, waiting, out, in *metric.Series }

func newGauges(r *metric.Registry, tags metric.Tags) *gauges {
	Define(r)
	with := func(name string, t metric.Tags) *metric.Series { return r.Lookup(name).With(t) }
	g := &gauges{
		registry: r, tags: tags, outcome: make(map[outcome]*ends),
		join: with(JoinDuration, tags), wait: with(WaitDuration, tags), late: with(PollLateness, tags),
		joined: with(Joined, tags), letIn: with(LetIn, tags), gaveUp: with(GaveUp, tags),
		left: with(LeftShop, tags.With("how", "left")), released: with(LeftShop, tags.With("how", "released")),
		vanished: with(LeftShop, tags.With("how", "vanished")), put: with(LeftShop, tags.With("how", "expelled")),
	}
	for s := range numSteps {
		t := tags.With("step", s.String())
		g.parts[s] = parts{
			with(metric.HTTPReqBlocked, t), with(metric.HTTPReqConnecting, t), with(metric.HTTPReqTLS, t),
			with(metric.HTTPReqSending, t), with(metric.HTTPReqReceiving, t),
		}
	}
	return g
}

func (g *gauges) ends(o outcome) *ends {
	g.mu.RLock()
	e := g.outcome[o]
	g.mu.RUnlock()
	if e != nil {
		return e
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if e = g.outcome[o]; e == nil {
		t := g.tags.With("step", o.step.String(), "status", strconv.Itoa(int(o.status)), "state", o.state)
		if o.err != "" {
			t = t.With("error", o.err)
		}
		with := func(name string) *metric.Series { return g.registry.Lookup(name).With(t) }
		e = &ends{
			with(metric.HTTPReqs), with(metric.HTTPReqFailed), with(metric.HTTPReqDuration), with(metric.HTTPReqWaiting),
			with(metric.DataSent), with(metric.DataReceived),
		}
		g.outcome[o] = e
	}
	return e
}

// request counts a request that was tried, and why it failed if it did. One that got
// no answer has no duration unless it was sent.
func (g *gauges) request(s step, a *answer, state, failed string) {
	now := time.Now()
	p := &g.parts[s]
	p.blocked.TimeAt(now, a.blocked)
	p.connecting.TimeAt(now, a.connecting)
	p.handshaking.TimeAt(now, a.handshaking)
	e := g.ends(outcome{s, int16(a.status), state, failed})
	e.requests.AddAt(now, 1)
	e.out.AddAt(now, float64(a.out))
	e.in.AddAt(now, float64(a.in))
	bad := 0.
	if failed != "" {
		bad = 1
	}
	e.failed.AddAt(now, bad)
	if a.sent.IsZero() {
		return
	}
	p.sending.TimeAt(now, a.sending)
	p.receiving.TimeAt(now, a.receiving)
	e.waiting.TimeAt(now, a.waiting)
	e.duration.TimeAt(now, a.duration())
}

// check is k6's: something that should hold, counted.
func (g *gauges) check(name string, ok bool) {
	v := 0.
	if ok {
		v = 1
	}
	g.registry.Lookup(metric.Checks).With(g.tags.With("check", name)).Add(v)
}

func since(t time.Time, at time.Time) time.Duration { return max(0, at.Sub(t)) }
