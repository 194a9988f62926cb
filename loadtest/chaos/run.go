package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/sluicegate/sluice/loadtest/judge"
	"github.com/sluicegate/sluice/loadtest/metric"
	"github.com/sluicegate/sluice/loadtest/run"
	"github.com/sluicegate/sluice/loadtest/script"
	"github.com/sluicegate/sluice/loadtest/stage"
	"github.com/sluicegate/sluice/loadtest/visitor"
	"github.com/sluicegate/sluice/queue"
	"github.com/sluicegate/sluice/queue/queuetest/proc"
)

// trial is one run.
type trial struct {
	seed   uint64
	length time.Duration // of people arriving and faults; then the line drains
	gates  int
	kinds  []*kind
	room   room
	empty  bool   // wait until every slot is free again, for P8
	logs   string // folder that gets the gates' logs, and what visitors saw; "": none
}

const usualBurst = 5

// defaultRoom lets a few hundred people in within a minute. Its times are short, so
// that everything that can happen in an hour's sale happens in that minute.
func defaultRoom() room {
	return room{
		rate: 10, burst: usualBurst, maxActive: 50, session: 20 * time.Second, claim: 5 * time.Second,
		pollMin: time.Second, pollMax: 2 * time.Second,
	}
}

// longestDrain is until when the line has to be empty once the faults are over.
const longestDrain = 3 * time.Minute

// people are the script of who comes: a crowd at once, and more than the room calls on
// average, some of whom come to a gate of their own and others to any each time.
func (c *trial) people() []byte {
	return fmt.Appendf(nil, `room: %s
path: %s
journeys:
  steady: {keep_alive: true, leave: 85%%, order: {share: 30%%, path: %s}, pages: 3, %[4]s,
    reload: {share: 5%%, every: {min: 1s, max: 3s}}, tabs: 5%%, cheats: {share: 10%%, copies: 1}}
  roaming: {spread: true, leave: 85%%, order: {share: 30%%, path: %[3]s}, pages: 3, %[4]s,
    abandon: {share: 10%%, after: {min: 1s, max: 8s}, return: {share: 50%%, after: {min: 1s, max: 8s}}}, cheats: {share: 10%%, copies: 1}}
scenarios:
  crowd: {executor: constant-arrival-rate, rate: %[5]d, duration: 2s, %[6]s, exec: steady}
  roaming: {executor: constant-arrival-rate, rate: %[7]d, timeUnit: 10s, duration: %[8]v, %[6]s, exec: roaming}
  steady: {executor: constant-arrival-rate, rate: %[7]d, timeUnit: 10s, duration: %[8]v, %[6]s, exec: steady}
`, stage.Room, stage.Path, orderPath,
		fmt.Sprintf("think: {min: 200ms, max: 1s}, timeouts: {connect: 2s, page: %v, poll: %v}", visitorTimeout, visitorTimeout-time.Second),
		4*c.room.rate, fmt.Sprintf("preAllocatedVUs: 4000, gracefulStop: %v", longestDrain), 4*c.room.rate, c.length)
}

// try carries the run out.
func (c *trial) try(t proc.T, sluice string, tell io.Writer) *evidence {
	t.Helper()
	if c.logs != "" {
		if err := os.MkdirAll(c.logs, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	clock := slices.ContainsFunc(c.kinds, func(k *kind) bool { return k.clock })
	e := &evidence{room: c.room, faults: plan(c.seed, c.length, c.kinds)}
	for _, k := range c.kinds {
		if k.needs != "" {
			proc.Need(t, k.needs)
		}
	}
	w := newWorld(t, sluice, c.gates, c.room, clock)
	rehearsal, err := run.Load(script.Source{File: "people", Data: c.people()})
	if err != nil {
		t.Fatal(err)
	}
	samples, events := &samples{}, &bytes.Buffer{}
	o := run.Options{
		Seed: c.seed, Start: time.Now(), Points: samples, Events: events,
		Judge: judge.Options{
			Rate: float64(c.room.rate), Burst: float64(c.room.burst), MaxActive: int64(c.room.maxActive),
			Session: c.room.session,
			Idle:    c.room.session / 2, // what those have for sure who come to another gate each time
			Unshown: shownWithin, Early: queue.MaxStep,
		},
	}
	for _, g := range w.gates {
		o.Targets = append(o.Targets, "http://"+g.front.Addr())
	}
	e.start = o.Start

	type ended struct {
		out *run.Outcome
		err error
	}
	over := make(chan ended, 1)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	go func() {
		out, err := rehearsal.Run(ctx, o)
		over <- ended{out, err}
	}()
	looking, stop := context.WithCancel(ctx)
	looked := make(chan struct{})
	go func() {
		defer close(looked)
		e.stalls, e.late = watch(looking)
	}()
	defer func() {
		stop()
		<-looked
	}()
	var rest ended
	wait := func(until time.Duration) bool { // false: the visitors are gone already
		timer := time.NewTimer(time.Until(e.start.Add(until)))
		defer timer.Stop()
		select {
		case <-timer.C:
			return true
		case rest = <-over:
			return false
		}
	}
	held := time.Duration(0) // by how much faults that took their time have held up the rest
	for _, m := range moments(w, e.faults) {
		gone := rest.out != nil || rest.err != nil || !wait(m.at+held)
		held = max(held, time.Since(e.start)-m.at)
		if gone && m.begins {
			continue // nobody would see it, but what was broken is mended
		}
		m.do()
		if m.begins {
			fmt.Fprintf(tell, "%7s  %-18s %s\n", e.since(m.fault.began), m.fault.name, m.fault.about)
		}
	}
	if rest.out == nil && rest.err == nil {
		rest = <-over
	}
	if rest.err != nil {
		t.Fatal(rest.err)
	}
	if t.Context().Err() != nil {
		t.Fatal("interrupted")
	}
	e.verdict = rest.out.Verdict
	e.failures, e.admitted = samples.read(t)
	e.events = events.Bytes()
	if err := w.operator.wait(); err != nil {
		t.Fatal(err)
	}
	if len(w.looser) > 0 { // which was not known before
		o.Judge.Looser = w.looser
		j := judge.New(o.Judge)
		if err := j.Add(bytes.NewReader(e.events)); err != nil {
			t.Fatal(err)
		}
		e.verdict = j.Verdict()
	}
	if err := e.readEvents(); err != nil {
		t.Fatal(err)
	}
	e.led = make(map[int]uint64)
	for _, g := range w.gates {
		e.led[g.number] = g.led.Load()
	}
	e.left = w.leftovers(c.empty)
	for _, g := range w.gates {
		g.read()
	}
	e.overshoot, e.restored = w.rises(overshot), w.total("sluice_restored_total")
	e.shop = w.shop.origin.Stats()
	e.broken = w.died()
	for _, g := range w.gates {
		g.examine()
		e.broken = append(e.broken, g.races...)
	}
	if c.logs != "" {
		w.keepLogs(c.logs)
		var saw bytes.Buffer
		e.writeHistories(&saw, nil)
		if err := os.WriteFile(filepath.Join(c.logs, "visitors.txt"), saw.Bytes(), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return e
}

// leftovers is who is in line or has a slot though everybody is gone, once all their
// deadlines are over; or, where there is no time for that, once nobody is called.
func (w *world) leftovers(all bool) (left counts) {
	w.t.Helper()
	// A session, its margin, and what a loss keeps free for those not heard of.
	end := time.Now().Add(w.room.session + w.room.claim + 20*time.Second)
	for {
		var page bytes.Buffer
		if err := w.gates[0].get("/api/v1/rooms/"+stage.Room, 10*time.Second, &page); err != nil {
			w.t.Fatalf("gate 1 does not tell how the room is: %v", err)
		}
		var is struct {
			Counts struct{ Waiting, Absent, Called, Active int64 }
		}
		if err := json.Unmarshal(page.Bytes(), &is); err != nil {
			w.t.Fatal(err)
		}
		left = is.Counts
		if !all {
			left.Active = 0
		}
		if left.Waiting+left.Called+left.Active == 0 || time.Now().After(end) || w.t.Context().Err() != nil {
			return left
		}
		time.Sleep(100 * time.Millisecond)
	}
}

func (w *world) keepLogs(dir string) {
	for _, g := range w.gates {
		if err := os.WriteFile(filepath.Join(dir, fmt.Sprintf("gate-%d.log", g.number)), g.Output(), 0o600); err != nil {
			w.t.Fatal(err)
		}
	}
}

// samples keeps what visitors measured, as they write it.
type samples struct{ bytes.Buffer }

// read returns the requests that failed, and when visitors were let in.
func (s *samples) read(t proc.T) (failures []failure, admitted []time.Time) {
	t.Helper()
	lines := bufio.NewScanner(&s.Buffer)
	lines.Buffer(nil, 1<<20)
	failed, letIn := []byte(`"`+metric.HTTPReqFailed+`"`), []byte(`"`+visitor.LetIn+`"`)
	for lines.Scan() {
		isFailed, isIn := bytes.Contains(lines.Bytes(), failed), bytes.Contains(lines.Bytes(), letIn)
		if !isFailed && !isIn {
			continue
		}
		var p struct {
			Type string
			Data struct {
				Time  time.Time
				Value float64
				Tags  map[string]string
			}
		}
		if err := json.Unmarshal(lines.Bytes(), &p); err != nil {
			t.Fatal(err)
		}
		switch d := &p.Data; {
		case p.Type != "Point" || d.Value == 0:
		case isIn:
			admitted = append(admitted, d.Time)
		default:
			failures = append(failures, failure{d.Time, d.Tags["step"], d.Tags["error"]})
		}
	}
	slices.SortFunc(admitted, time.Time.Compare)
	slices.SortFunc(failures, func(a, b failure) int { return a.at.Compare(b.at) })
	return failures, admitted
}
