package queue_test

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/sluicegate/sluice/queue"
	"github.com/sluicegate/sluice/queue/memory"
)

// watched is a store that notes what it is asked, and can be made to fail.
type watched struct {
	lines atomic.Pointer[memory.Store]

	mu      sync.Mutex
	enters  [][]queue.Arrival
	renews  [][]queue.Visit
	leaves  [][]queue.Departure
	ticks   atomic.Int64
	noShows atomic.Int64
	most    atomic.Int64 // called and active at once
	fault   fault
	losing  bool // carries out what it is asked, and the answer is lost
	slow    time.Duration
	late    time.Duration // until the answer to a change
}

type fault int

const (
	none fault = iota
	broken
	hanging
)

func newWatched() *watched {
	w := &watched{}
	w.wipe()
	return w
}

// wipe has the store forget everything.
func (w *watched) wipe() { w.lines.Store(memory.New(memory.Options{})) }

func (w *watched) set(f fault) {
	w.mu.Lock()
	w.fault = f
	w.mu.Unlock()
}

// meet is what becomes of a call before the store is reached.
func (w *watched) meet(ctx context.Context) error {
	w.mu.Lock()
	f, slow := w.fault, w.slow
	w.mu.Unlock()
	switch f {
	case broken:
		return fmt.Errorf("%w: broken", queue.ErrUnavailable)
	case hanging:
		<-ctx.Done()
		return fmt.Errorf("%w: %w", queue.ErrUnavailable, ctx.Err())
	}
	time.Sleep(slow)
	return nil
}

func (w *watched) lost() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.losing {
		return fmt.Errorf("%w: the answer was lost", queue.ErrUnavailable)
	}
	return nil
}

func (w *watched) Enter(ctx context.Context, c *queue.Call, in []queue.Arrival, out []queue.Standing) ([]queue.Standing, queue.Moment, error) {
	w.mu.Lock()
	w.enters = append(w.enters, slices.Clone(in))
	w.mu.Unlock()
	if err := w.meet(ctx); err != nil {
		return out, queue.Moment{}, err
	}
	out, m, err := w.lines.Load().Enter(ctx, c, in, out)
	return out, m, cmp.Or(w.lost(), err)
}

func (w *watched) Renew(ctx context.Context, c *queue.Call, in []queue.Visit, out []queue.Renewal) ([]queue.Renewal, queue.Moment, error) {
	w.mu.Lock()
	w.renews = append(w.renews, slices.Clone(in))
	w.mu.Unlock()
	if err := w.meet(ctx); err != nil {
		return out, queue.Moment{}, err
	}
	out, m, err := w.lines.Load().Renew(ctx, c, in, out)
	return out, m, cmp.Or(w.lost(), err)
}

func (w *watched) Leave(ctx context.Context, c *queue.Call, in []queue.Departure, out []queue.Departed) ([]queue.Departed, queue.Moment, error) {
	w.mu.Lock()
	w.leaves = append(w.leaves, slices.Clone(in))
	w.mu.Unlock()
	if err := w.meet(ctx); err != nil {
		return out, queue.Moment{}, err
	}
	out, m, err := w.lines.Load().Leave(ctx, c, in, out)
	return out, m, cmp.Or(w.lost(), err)
}

func (w *watched) Tick(ctx context.Context, c *queue.Call) (queue.Snapshot, error) {
	if err := w.meet(ctx); err != nil {
		return queue.Snapshot{}, err
	}
	s, err := w.lines.Load().Tick(ctx, c)
	w.ticks.Add(1)
	w.noShows.Add(s.NoShows)
	for most := w.most.Load(); s.Called+s.Active > most && !w.most.CompareAndSwap(most, s.Called+s.Active); {
		most = w.most.Load()
	}
	return s, cmp.Or(w.lost(), err)
}

func (w *watched) Overrides(ctx context.Context, room string) (queue.Overrides, error) {
	if err := w.meet(ctx); err != nil {
		return queue.Overrides{}, err
	}
	o, err := w.lines.Load().Overrides(ctx, room)
	return o, cmp.Or(w.lost(), err)
}

func (w *watched) Override(ctx context.Context, room string, o queue.Overrides) error {
	if err := w.meet(ctx); err != nil {
		return err
	}
	err := w.lines.Load().Override(ctx, room, o)
	w.mu.Lock()
	late := w.late
	w.mu.Unlock()
	time.Sleep(late)
	return err
}

func (w *watched) Close() error { return nil }

// asked counts the visitors who were asked for, and the calls that it took.
func (w *watched) asked() (visitors, calls int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, in := range w.enters {
		visitors += len(in)
	}
	return visitors, len(w.enters)
}

// sent returns what Enter was asked.
func (w *watched) sent() [][]queue.Arrival {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.enters)
}

func (w *watched) forget() {
	w.mu.Lock()
	w.enters, w.renews, w.leaves = nil, nil, nil
	w.mu.Unlock()
}

// site is one room on one store, and the gates in front of it.
type site struct {
	t     *testing.T
	set   queue.Settings
	store *watched
	gates []*gate
	log   lines
}

// lines is a log.
type lines struct {
	mu sync.Mutex
	b  strings.Builder
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// gate is a Line that runs.
type gate struct {
	*queue.Line
	stop func() // and wait until it has
}

// perSecond are the settings of a room with that rate.
func perSecond(n int64) queue.Settings {
	s := queue.Defaults()
	s.Rate = queue.Rate{N: n, Per: queue.PerSecond}
	return s
}

// at runs a test in virtual time, in front of a room that has so many gates, all
// of which have heard of the store.
func at(t *testing.T, gates int, set queue.Settings, test func(t *testing.T, s *site)) {
	t.Helper()
	if problems := set.Check(); problems != nil {
		t.Fatal(problems)
	}
	synctest.Test(t, func(t *testing.T) {
		s := &site{t: t, set: set, store: newWatched()}
		for range gates {
			s.open(1000)
		}
		synctest.Wait()
		defer func() {
			for _, g := range s.gates {
				g.stop()
			}
		}()
		test(t, s)
	})
	goleak.VerifyNone(t)
}

func (s *site) open(maxHeld int) *gate {
	return s.openWith(func(c *queue.LineConfig) { c.MaxHeld = maxHeld })
}

func (s *site) openWith(change func(*queue.LineConfig)) *gate {
	c := queue.LineConfig{
		Room: "drop", Settings: s.set, Store: s.store, MaxHeld: 1000,
		Log: slog.New(slog.NewTextHandler(&s.log, nil)),
	}
	change(&c)
	l := queue.NewLine(c)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		_ = l.Run(ctx)
		close(done)
	}()
	g := &gate{l, func() { cancel(); <-done }}
	s.gates = append(s.gates, g)
	return g
}

var visitors atomic.Uint64

// somebody is a visitor's id.
func somebody() queue.ID { return queue.ID(visitors.Add(1) * 0x9e3779b97f4a7c15) }

// fill has so many visitors join who never poll but count as present for an hour.
func (s *site) fill(n int) (ids []queue.ID, places []queue.Time) {
	s.t.Helper()
	set := s.set
	c := queue.Call{Room: "drop", Settings: &set, Version: 1 << 40}
	for n > 0 {
		var in []queue.Arrival
		now := queue.Time(time.Now().UnixMicro())
		for range min(n, 5000) {
			n--
			a := queue.Arrival{ID: somebody(), Place: now, Deadline: now.Add(time.Hour), Newcomer: false}
			now++
			ids, places = append(ids, a.ID), append(places, a.Place)
			in = append(in, a)
		}
		time.Sleep(time.Duration(len(in)) * time.Microsecond)
		if _, _, err := s.store.lines.Load().Enter(s.t.Context(), &c, in, nil); err != nil {
			s.t.Fatal(err)
		}
	}
	return ids, places
}

// let is a visitor who was let in.
type let struct {
	queue.Answer
	at      time.Time // when told
	visitor int
}

// refused is a poll in vain.
type refused struct {
	sent    time.Time
	place   queue.Time
	visitor int
}

// crowd are visitors who do as they are told.
type crowd struct {
	*site
	rng *rand.Rand

	mu      sync.Mutex
	let     []let
	refused []refused
	gone    int // who left or walked away
	grew    []string
	wg      sync.WaitGroup
}

func (s *site) crowd() *crowd { return &crowd{site: s, rng: rand.New(rand.NewPCG(1, 1))} }

func (c *crowd) chance(p float64) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.rng.Float64() < p
}

// visitor joins at one gate and polls at any, as asked to, until let in; before
// each poll they leave, or walk away without a word, with a probability.
func (c *crowd) visitor(i int, leave float64) {
	c.wg.Go(func() {
		g := func() *gate {
			c.mu.Lock()
			defer c.mu.Unlock()
			return c.gates[c.rng.IntN(len(c.gates))]
		}
		id := somebody()
		a := g().Join(id, true)
		place, position := a.Place, int64(0)
		for a.State != queue.Admitted {
			if a.State != queue.Waiting && a.State != queue.Closed || a.PollAfter <= 0 {
				c.t.Errorf("visitor %d is told %+v", i, a)
				return
			}
			if a.Place != place {
				c.t.Errorf("visitor %d had the place %d and has %d", i, place, a.Place)
			}
			c.mu.Lock()
			if position > 0 && a.Position > position {
				c.grew = append(c.grew, fmt.Sprintf("visitor %d: from %d to %d", i, position, a.Position))
			}
			c.mu.Unlock()
			position = cmp.Or(a.Position, position)
			time.Sleep(a.PollAfter)
			if leave > 0 && c.chance(leave) {
				c.mu.Lock()
				c.gone++
				word := c.gone%2 == 0
				c.mu.Unlock()
				if word {
					if err := g().Leave(id, place, 0); err != nil {
						c.t.Errorf("visitor %d leaves: %v", i, err)
					}
				}
				return
			}
			sent := time.Now()
			a = g().Poll(id, place, true, nil)
			if a.State == queue.Waiting {
				c.mu.Lock()
				c.refused = append(c.refused, refused{sent, a.Place, i})
				c.mu.Unlock()
			}
		}
		c.mu.Lock()
		c.let = append(c.let, let{a, time.Now(), i})
		c.mu.Unlock()
		if a.Provisional {
			g().Use(queue.Pass{ID: id, Place: a.Place, Called: a.Called, Issued: a.Called, Until: a.Until, Provisional: true})
		}
	})
}

// wait returns when the crowd has gone, and the most visitors who were absent at
// any time.
func (c *crowd) wait() (absent int64) {
	done := make(chan struct{})
	go func() { c.wg.Wait(); close(done) }()
	for {
		select {
		case <-done:
			return absent
		case <-time.After(50 * time.Millisecond):
			for _, g := range c.gates {
				absent = max(absent, g.Status().Snapshot.Away)
			}
		}
	}
}

// judge checks the promises that can be seen from outside.
func (c *crowd) judge() {
	t := c.t
	t.Helper()
	calls := slices.Clone(c.let)
	slices.SortFunc(calls, func(a, b let) int { return cmp.Compare(a.Place, b.Place) })
	for i := 1; i < len(calls); i++ {
		// Whoever comes within two milliseconds of another, at another gate, may reach
		// the store first.
		if calls[i].Called < calls[i-1].Called && calls[i].Place > calls[i-1].Place.Add(2*time.Millisecond) {
			t.Errorf("visitor %d was called before visitor %d, who came earlier", calls[i].visitor, calls[i-1].visitor)
		}
	}
	c.judgeRate(calls, c.set)

	// P1: nobody is refused at a poll sent after somebody was let in whose place is later.
	slices.SortFunc(calls, func(a, b let) int { return a.at.Compare(b.at) })
	latest := make([]queue.Time, len(calls)) // place let in by then
	for i, l := range calls {
		latest[i] = l.Place
		if i > 0 {
			latest[i] = max(latest[i], latest[i-1])
		}
	}
	passed := 0
	for _, r := range c.refused {
		n, _ := slices.BinarySearchFunc(calls, r.sent, func(l let, sent time.Time) int { return l.at.Compare(sent) })
		if n > 0 && latest[n-1] >= r.place.Add(50*time.Millisecond) {
			passed++
		}
	}
	if passed > 0 {
		t.Errorf("%d polls of %d were refused after somebody with a later place had been let in", passed, len(c.refused))
	}
}

// judgeRate checks that no window holds more calls than rate and burst allow (P2).
func (c *crowd) judgeRate(calls []let, set queue.Settings) {
	c.t.Helper()
	times := make([]int64, len(calls))
	for i, l := range calls {
		times[i] = l.Called.Millis()
	}
	slices.Sort(times)
	perHour, burst := set.Rate.PerHour(), set.EffectiveBurst()
	worst := int64(0) // least of i - rate*time so far
	for i, at := range times {
		at -= times[0]
		earned := at * perHour
		if i == 0 || int64(i)*3_600_000-earned < worst {
			worst = int64(i)*3_600_000 - earned
		}
		if n := int64(i+1)*3_600_000 - earned - worst; n > burst*3_600_000 {
			c.t.Errorf("after %d ms one more was called than rate and burst allow", at)
			return
		}
	}
}

func TestFiveHundredObedientVisitorsAtTwoGates(t *testing.T) {
	at(t, 2, perSecond(1), func(t *testing.T, s *site) {
		c := s.crowd()
		begin := time.Now()
		rng := rand.New(rand.NewPCG(2, 2))
		for i := range 500 {
			time.Sleep(3*time.Millisecond + time.Duration(rng.ExpFloat64()*float64(4*time.Millisecond)))
			c.visitor(i, 0)
		}
		if absent := c.wait(); absent > 0 {
			t.Errorf("%d visitors who polled as asked to were absent", absent)
		}
		c.judge()
		if len(c.let) != 500 || s.store.noShows.Load() > 0 {
			t.Errorf("%d of 500 visitors were let in, %d missed their call", len(c.let), s.store.noShows.Load())
		}
		if took := time.Since(begin); took < 499*time.Second || took > 505*time.Second {
			t.Errorf("500 visitors at one a second took %s", took)
		}
		for _, g := range c.grew {
			t.Errorf("a position grew: %s", g)
		}
		late := 0
		for _, l := range c.let {
			if l.at.Sub(time.UnixMicro(int64(l.Called))) > 300*time.Millisecond {
				late++
			}
		}
		if late > 0 {
			t.Errorf("%d of 500 visitors heard of their call more than 300 ms later", late)
		}
		time.Sleep(10*time.Minute - time.Since(begin))
		synctest.Wait()
		if v := s.gates[0].Status().Snapshot; v.Waiting+v.Away+v.Called != 0 {
			t.Errorf("then there are %d waiting, %d absent, %d called", v.Waiting, v.Away, v.Called)
		}
	})
}

func TestOneInTwentyLeavesAndNobodyIsHeldUp(t *testing.T) {
	set := perSecond(1)
	set.MaxActive = 20
	set.Session, set.ClaimWithin = 10*time.Second, 10*time.Second
	at(t, 2, set, func(t *testing.T, s *site) {
		c := s.crowd()
		for i := range 500 {
			time.Sleep(5 * time.Millisecond)
			c.visitor(i, 0.05)
		}
		absent := c.wait()
		if absent > int64(c.gone) {
			t.Errorf("%d visitors were absent, and only %d left", absent, c.gone)
		}
		c.judge()
		if len(c.let)+c.gone != 500 {
			t.Errorf("of 500 visitors %d were let in and %d left", len(c.let), c.gone)
		}
		if s.store.most.Load() > set.MaxActive {
			t.Errorf("%d were inside at once, of at most %d", s.store.most.Load(), set.MaxActive)
		}
		for _, g := range c.grew {
			t.Errorf("a position grew: %s", g)
		}
	})
}

func TestNobodyIsRefusedAfterSomebodyWhoCameLaterWasLetIn(t *testing.T) {
	tests := []struct {
		name        string
		rate, burst int64
		active      int64
		visitors    int
		spacing     time.Duration
		gates       int
		leave       float64
	}{
		{"at 50 a second", 50, 50, 0, 3000, time.Millisecond, 2, 0},
		{"at a small burst", 1000, 40, 0, 12_000, 100 * time.Microsecond, 2, 0},
		{"at three gates, and some leave", 100, 10, 0, 4000, time.Millisecond, 3, 0.05},
		{"with a limit inside", 200, 200, 300, 3000, time.Millisecond, 2, 0.05},
	}
	for _, c := range tests {
		t.Run(c.name, func(t *testing.T) {
			set := perSecond(c.rate)
			set.Burst, set.MaxActive = c.burst, c.active
			set.Session, set.ClaimWithin = 10*time.Second, 10*time.Second
			at(t, c.gates, set, func(t *testing.T, s *site) {
				for _, g := range s.gates[1:] { // their ticks are not in step
					g.stop()
				}
				s.gates = s.gates[:1]
				for range c.gates - 1 {
					time.Sleep(37 * time.Millisecond)
					s.open(100_000)
				}
				crowd := s.crowd()
				begin := time.Now()
				for i := range c.visitors {
					time.Sleep(c.spacing)
					crowd.visitor(i, c.leave)
				}
				crowd.wait()
				crowd.judge()
				if len(crowd.let)+crowd.gone != c.visitors {
					t.Errorf("%d of %d were let in, %d left", len(crowd.let), c.visitors, crowd.gone)
				}
				polls, calls := s.store.asked()
				t.Logf("%d visitors let in %s, %d left; %d refused polls, %d items in %d calls of the store",
					len(crowd.let), time.Since(begin), crowd.gone, len(crowd.refused), polls, calls)
			})
		})
	}
}

func TestAPollFarFromTheFrontAsksNothingOfTheStore(t *testing.T) {
	at(t, 1, perSecond(10), func(t *testing.T, s *site) {
		g := s.gates[0]
		ids, places := s.fill(1000)
		time.Sleep(2 * time.Second)
		s.store.forget()
		var last int64
		for i := 100; i < 1000; i++ {
			a := g.Poll(ids[i], places[i], true, nil)
			if a.State != queue.Waiting || a.Position < last || a.Position < 60 || a.Waiting < 900 || a.Age > 300*time.Millisecond {
				t.Fatalf("the %dth is told %+v", i, a)
			}
			last = a.Position
		}
		if n, _ := s.store.asked(); n != 0 {
			t.Errorf("the store was asked for %d visitors", n)
		}
		// All of them are marked present by one call, within a second.
		time.Sleep(1001 * time.Millisecond)
		n, calls := s.store.asked()
		if n != 900 || calls != 1 {
			t.Errorf("a second later %d were marked present, in %d calls", n, calls)
		}
		for _, in := range s.store.sent() {
			for _, a := range in {
				if a.Claim || a.Newcomer || a.Join {
					t.Fatalf("a mark claims or joins: %+v", a)
				}
			}
		}
	})
}

func TestAPollNearTheFrontAsksTheStore(t *testing.T) {
	at(t, 1, perSecond(10), func(t *testing.T, s *site) {
		g := s.gates[0]
		ids, places := s.fill(1000)
		time.Sleep(2 * time.Second)
		synctest.Wait()
		v := g.Status().Snapshot
		called := int(v.Calls)
		if called < 20 || called > 40 || v.Front != places[called-1] {
			t.Fatalf("after two seconds %d were called, the latest place is %d", called, v.Front)
		}
		s.store.forget()
		if a := g.Poll(ids[5], places[5], false, nil); a.State != queue.Admitted || !a.Claimed || a.PollAfter <= 0 {
			t.Errorf("who was called is told %+v", a)
		}
		if a := g.Poll(ids[called+10], places[called+10], false, nil); a.State != queue.Waiting || a.Rank != 10 || a.Position < 1 {
			t.Errorf("the eleventh is told %+v", a)
		}
		if n, calls := s.store.asked(); n != 2 || calls != 2 {
			t.Errorf("the store was asked for %d visitors in %d calls", n, calls)
		}
	})
}

// TestNobodyAtTheFrontMissesTheirCallHoweverManyWait has so many behind them that
// the budget of polls asks for longer than a call waits.
func TestNobodyAtTheFrontMissesTheirCallHoweverManyWait(t *testing.T) {
	set := perSecond(10)
	set.ClaimWithin = 5 * time.Second
	at(t, 2, set, func(t *testing.T, s *site) {
		c := s.crowd()
		for i := range 600 {
			time.Sleep(time.Millisecond)
			c.visitor(i, 0)
		}
		s.fill(300_000)
		if absent := c.wait(); absent > 0 || s.store.noShows.Load() > 0 {
			t.Errorf("%d visitors were absent, %d missed their call", absent, s.store.noShows.Load())
		}
		c.judge()
	})
}

// override changes one setting through a gate.
func override(t *testing.T, g *gate, key, value string) {
	t.Helper()
	err := g.Change(t.Context(), func(file queue.Settings, stored queue.Overrides) (queue.Overrides, error) {
		next, _, err := queue.ApplyPatch(file, stored, map[string]any{key: value}, "ann", time.Now())
		return next, err
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestALimitChangedAtOneGateHoldsAtAllWithinASecond(t *testing.T) {
	t.Run("while nobody waits", func(t *testing.T) {
		at(t, 2, perSecond(10), func(t *testing.T, s *site) {
			time.Sleep(10*time.Second + 300*time.Millisecond)
			override(t, s.gates[0], "rate", "1/s")
			if got := s.gates[0].Settings().Rate.N; got != 1 {
				t.Errorf("the rate at the gate that changed it is %d", got)
			}
			time.Sleep(time.Second)
			synctest.Wait()
			if got := s.gates[1].Settings().Rate.N; got != 1 {
				t.Errorf("a second later the rate at the other gate is %d", got)
			}
			if v := s.gates[1].Status(); v.File.Rate.N != 10 || v.Overrides.Version != 1 {
				t.Errorf("the other gate's file says %d, its overrides have version %d", v.File.Rate.N, v.Overrides.Version)
			}
		})
	})
	for _, c := range []struct {
		key, value  string
		rate, burst int64 // most called from then on
	}{
		{"mode", "hold", 0, 0},
		{"mode", "closed", 0, 0},
		{"rate", "1/s", 1, 3},
		{"burst", "1", 10, 1},
	} {
		t.Run("while a crowd waits: "+c.key+" "+c.value, func(t *testing.T) {
			set := perSecond(10)
			set.Burst = 20
			at(t, 2, set, func(t *testing.T, s *site) {
				s.gates[1].stop() // out of step with the first
				s.gates = s.gates[:1]
				time.Sleep(111 * time.Millisecond)
				other := s.open(1000)
				crowd := s.crowd()
				for i := range 300 {
					time.Sleep(time.Millisecond)
					crowd.visitor(i, 0)
				}
				time.Sleep(10 * time.Second)
				override(t, s.gates[0], c.key, c.value)
				changed := s.gates[0].Time()
				time.Sleep(time.Second)
				if got := other.Status().Overrides.Version; got != 1 {
					t.Errorf("a second later the other gate has version %d", got)
				}
				time.Sleep(9 * time.Second)
				crowd.mu.Lock()
				var after []let
				for _, l := range crowd.let {
					if l.Called > changed {
						after = append(after, l)
					}
				}
				crowd.mu.Unlock()
				slices.SortFunc(after, func(a, b let) int { return cmp.Compare(a.Called, b.Called) })
				if int64(len(after)) > c.rate*10+c.burst || c.rate > 0 && int64(len(after)) < c.rate*8 {
					t.Errorf("in the ten seconds after the change %d were called", len(after))
				}
				if c.rate > 0 {
					set.Rate.N, set.Burst = c.rate, c.burst
					crowd.judgeRate(after, set)
				}
				override(t, other, "mode", "open")
				crowd.wg.Wait()
			})
		})
	}
}

func TestOfTwoChangesAtOnceNoneIsLost(t *testing.T) {
	at(t, 2, perSecond(10), func(t *testing.T, s *site) {
		var wg sync.WaitGroup
		var tries atomic.Int32
		for i, key := range []string{"session", "message", "rate", "max_active"} {
			value := []string{"5m", "soon", "3/s", "7"}[i]
			wg.Go(func() {
				err := s.gates[i%2].Change(t.Context(), func(file queue.Settings, stored queue.Overrides) (queue.Overrides, error) {
					tries.Add(1)
					next, _, err := queue.ApplyPatch(file, stored, map[string]any{key: value}, "ann", time.Now())
					time.Sleep(time.Duration(i) * time.Millisecond)
					return next, err
				})
				if err != nil {
					t.Errorf("%s: %v", key, err)
				}
			})
		}
		wg.Wait()
		if n := tries.Load(); n < 6 {
			t.Errorf("%d decisions: the changes did not meet", n)
		}
		time.Sleep(time.Second)
		synctest.Wait()
		for i, g := range s.gates {
			set := g.Settings()
			if set.Session != 5*time.Minute || set.Message != "soon" || set.Rate.N != 3 || set.MaxActive != 7 {
				t.Errorf("gate %d goes by %+v", i, set)
			}
		}
	})
}

func TestAChangeThatWasOvertakenIsNotPutInForce(t *testing.T) {
	at(t, 2, perSecond(10), func(t *testing.T, s *site) {
		late := func(d time.Duration) {
			s.store.mu.Lock()
			s.store.late = d
			s.store.mu.Unlock()
		}
		late(5 * time.Second)
		go func() {
			time.Sleep(time.Second)
			late(0)
			override(t, s.gates[1], "rate", "2/s")
		}()
		override(t, s.gates[0], "rate", "1/s")
		for i, g := range s.gates {
			if got := g.Settings().Rate.N; got != 2 {
				t.Errorf("gate %d goes by the rate %d, want the later change", i, got)
			}
		}
	})
}

func TestAChangeThatIsRefusedOrChangesNothingIsNotStored(t *testing.T) {
	at(t, 1, perSecond(10), func(t *testing.T, s *site) {
		g := s.gates[0]
		no := errors.New("no")
		err := g.Change(t.Context(), func(queue.Settings, queue.Overrides) (queue.Overrides, error) {
			return queue.Overrides{Version: 9}, no
		})
		if !errors.Is(err, no) {
			t.Errorf("a change that was refused returns %v", err)
		}
		err = g.Change(t.Context(), func(_ queue.Settings, o queue.Overrides) (queue.Overrides, error) { return o, nil })
		if stored, _ := s.store.Overrides(t.Context(), "drop"); err != nil || stored.Version != 0 {
			t.Errorf("a change of nothing returns %v and leaves version %d", err, stored.Version)
		}
		// Somebody is always faster: the operator may give up.
		ctx, cancel := context.WithCancel(t.Context())
		tries := 0
		err = g.Change(ctx, func(file queue.Settings, o queue.Overrides) (queue.Overrides, error) {
			if tries++; tries == 5 {
				cancel()
			}
			if err := s.store.Override(t.Context(), "drop", queue.Overrides{Version: o.Version + 1}); err != nil {
				t.Fatal(err)
			}
			return queue.Overrides{Version: o.Version + 1}, nil
		})
		if err == nil || tries != 5 {
			t.Errorf("after %d tries the change returns %v", tries, err)
		}
	})
}

func TestAChangedFileLeavesOverridesInForce(t *testing.T) {
	at(t, 1, perSecond(10), func(t *testing.T, s *site) {
		g := s.gates[0]
		override(t, g, "rate", "3/s")
		file := perSecond(20)
		file.MaxActive = 50
		g.SetFile(file)
		if set := g.Settings(); set.Rate.N != 3 || set.MaxActive != 50 {
			t.Errorf("the gate goes by %+v", set)
		}
		err := g.Change(t.Context(), func(file queue.Settings, stored queue.Overrides) (queue.Overrides, error) {
			next, _, err := queue.ApplyPatch(file, stored, map[string]any{"rate": nil}, "ann", time.Now())
			return next, err
		})
		if set := g.Settings(); err != nil || set.Rate.N != 20 {
			t.Errorf("%v; after the reset the rate is %d, want the new file's 20", err, set.Rate.N)
		}
		time.Sleep(2 * time.Second)
		if got := g.Status().Snapshot.PerHour; got != 20*3600 {
			t.Errorf("the store goes by %d an hour", got)
		}
	})
}

func TestAnOverrideOfANewerGateIsLeftOutAndSaidOnce(t *testing.T) {
	at(t, 1, perSecond(10), func(t *testing.T, s *site) {
		err := s.store.Override(t.Context(), "drop", queue.Overrides{Version: 1, Keys: map[string]queue.Override{
			"mode": {Value: json.RawMessage(`"hold"`)}, "colour": {Value: json.RawMessage(`"red"`)},
		}})
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		if got := s.gates[0].Settings().Mode; got != queue.ModeHold {
			t.Errorf("the mode is %s", got)
		}
		if n := strings.Count(s.log.String(), "colour"); n != 1 {
			t.Errorf("said %d times:\n%s", n, s.log.String())
		}
	})
}

func TestAStoreThatLostTheOverridesCanBeGivenNewOnes(t *testing.T) {
	at(t, 2, perSecond(10), func(t *testing.T, s *site) {
		for _, value := range []string{"1/s", "2/s", "3/s"} {
			override(t, s.gates[0], "rate", value)
		}
		override(t, s.gates[0], "session", "5m")
		time.Sleep(2 * time.Second)
		s.store.wipe()
		time.Sleep(2 * time.Second)
		for i, g := range s.gates {
			if set := g.Settings(); set.Rate.N != 3 || set.Session != 5*time.Minute {
				t.Errorf("after the loss gate %d goes by %s and %s", i, set.Rate, set.Session)
			}
		}
		if o, err := s.store.Overrides(t.Context(), "drop"); err != nil || o.Version != 4 || len(o.Keys) != 2 {
			t.Errorf("the store has %+v, %v: the gates did not give it back what it lost", o, err)
		}
		override(t, s.gates[1], "rate", "7/s")
		time.Sleep(2 * time.Second)
		for i, g := range s.gates {
			if set := g.Settings(); set.Rate.N != 7 || set.Session != 5*time.Minute {
				t.Errorf("after the loss and a change gate %d goes by %s and %s", i, set.Rate, set.Session)
			}
		}
		late := s.open(10) // which remembers nothing
		time.Sleep(2 * time.Second)
		if set := late.Settings(); set.Rate.N != 7 || set.Session != 5*time.Minute {
			t.Errorf("a gate that came later goes by %s and %s", set.Rate, set.Session)
		}

		s.store.wipe() // and somebody changes a setting before any gate has noticed
		override(t, s.gates[0], "rate", "8/s")
		time.Sleep(2 * time.Second)
		for i, g := range s.gates {
			if set := g.Settings(); set.Rate.N != 8 || set.Session != 5*time.Minute {
				t.Errorf("after a loss that nobody had noticed gate %d goes by %s and %s", i, set.Rate, set.Session)
			}
		}
	})
}

func TestModes(t *testing.T) {
	with := func(m queue.Mode) queue.Settings {
		s := perSecond(10)
		s.Mode = m
		return s
	}
	t.Run("on hold people take places and nobody is called", func(t *testing.T) {
		at(t, 1, with(queue.ModeHold), func(t *testing.T, s *site) {
			g := s.gates[0]
			a := g.Join(somebody(), true)
			if a.State != queue.Waiting || a.Place == 0 || a.Position != 1 || a.Estimated {
				t.Errorf("a newcomer is told %+v", a)
			}
			if a := g.Join(somebody(), false); a.State != queue.None || a.PollAfter <= 0 {
				t.Errorf("who does not join is told %+v", a)
			}
			id := somebody()
			b := g.Join(id, true)
			time.Sleep(time.Minute)
			if b = g.Poll(id, b.Place, true, nil); b.State != queue.Waiting {
				t.Errorf("a minute later they are told %+v", b)
			}
			override(t, g, "mode", "auto")
			if b = g.Poll(id, b.Place, true, nil); b.State != queue.Admitted {
				t.Errorf("when the room goes on they are told %+v", b)
			}
		})
	})
	t.Run("closed, nobody joins and places are kept", func(t *testing.T) {
		at(t, 1, with(queue.ModeHold), func(t *testing.T, s *site) {
			g := s.gates[0]
			id := somebody()
			a := g.Join(id, true)
			time.Sleep(time.Second)
			override(t, g, "mode", "closed")
			for _, join := range []bool{true, false} {
				if a := g.Join(somebody(), join); a.State != queue.Closed || a.Place != 0 || a.PollAfter <= 0 {
					t.Errorf("a newcomer (join: %t) is told %+v", join, a)
				}
			}
			for range 5 {
				if b := g.Poll(id, a.Place, true, nil); b.State != queue.Closed || b.Place != a.Place || b.PollAfter <= 0 {
					t.Errorf("who had a place is told %+v", b)
				}
				time.Sleep(2 * time.Second)
			}
			override(t, g, "mode", "auto")
			if b := g.Poll(id, a.Place, true, nil); b.State != queue.Admitted || b.Place != a.Place {
				t.Errorf("when the room opens they are told %+v", b)
			}
		})
	})
	t.Run("open, everybody passes", func(t *testing.T) {
		at(t, 2, with(queue.ModeAuto), func(t *testing.T, s *site) {
			ids, places := s.fill(500)
			time.Sleep(time.Second)
			override(t, s.gates[0], "mode", "open")
			time.Sleep(time.Second)
			for i, id := range ids {
				if a := s.gates[i%2].Poll(id, places[i], true, nil); a.State != queue.Admitted {
					t.Fatalf("the %dth is told %+v", i, a)
				}
			}
			for _, join := range []bool{true, false} {
				if a := s.gates[1].Join(somebody(), join); a.State != queue.Admitted || !a.Provisional {
					t.Errorf("a newcomer (join: %t) is told %+v", join, a)
				}
			}
		})
	})
	t.Run("where nobody waits a newcomer is let in on the spot", func(t *testing.T) {
		at(t, 1, with(queue.ModeAuto), func(t *testing.T, s *site) {
			for range 10 {
				if a := s.gates[0].Join(somebody(), false); a.State != queue.Admitted || !a.Provisional || a.Until == 0 {
					t.Errorf("a newcomer is told %+v", a)
				}
			}
			if a := s.gates[0].Join(somebody(), false); a.State != queue.None {
				t.Errorf("beyond the burst a newcomer is told %+v", a)
			}
		})
	})
	t.Run("where people wait nobody without a place asks the store", func(t *testing.T) {
		at(t, 1, with(queue.ModeAuto), func(t *testing.T, s *site) {
			s.fill(500)
			time.Sleep(time.Second)
			s.store.forget()
			for range 100 {
				if a := s.gates[0].Join(somebody(), false); a.State != queue.None || a.Waiting == 0 {
					t.Fatalf("an image is told %+v", a)
				}
			}
			if n, _ := s.store.asked(); n != 0 {
				t.Errorf("the store was asked %d times", n)
			}
		})
	})
}

func TestWhileTheStoreIsGone(t *testing.T) {
	for name, f := range map[string]fault{"refusing": broken, "hanging": hanging} {
		t.Run(name, func(t *testing.T) {
			at(t, 2, perSecond(10), func(t *testing.T, s *site) {
				g := s.gates[0]
				ids, places := s.fill(1000)
				time.Sleep(5 * time.Second)
				s.store.set(f)
				gone := time.Now()
				time.Sleep(5 * time.Second)

				type newcomer struct {
					id queue.ID
					a  queue.Answer
				}
				var newcomers []newcomer
				var mu sync.Mutex
				var wg sync.WaitGroup
				sent := time.Now()
				for range 5000 {
					wg.Go(func() {
						id := somebody()
						a := g.Join(id, true)
						mu.Lock()
						defer mu.Unlock()
						newcomers = append(newcomers, newcomer{id, a})
						if a.State != queue.Waiting || a.Place == 0 || a.Position != 0 || a.Estimated || a.PollAfter <= 0 {
							t.Errorf("a newcomer is told %+v", a)
						}
					})
				}
				wg.Wait()
				if took := time.Since(sent); took > 100*time.Millisecond {
					t.Errorf("5000 newcomers got their places only after %s", took)
				}
				before := time.Duration(0)
				for range 10 {
					time.Sleep(3 * time.Second)
					a := g.Poll(ids[500], places[500], true, nil)
					if a.State != queue.Waiting || a.Place != places[500] || a.Position == 0 {
						t.Errorf("who waits is told %+v", a)
					}
					if a.Age < time.Since(gone) || a.Age > time.Since(gone)+3*time.Second || a.Age <= before {
						t.Errorf("%s after the store went, the numbers are said to be %s old, before: %s", time.Since(gone), a.Age, before)
					}
					before = a.Age
					if a := g.Join(somebody(), false); a.State != queue.None {
						t.Errorf("who does not join is told %+v", a)
					}
				}
				if n := strings.Count(s.log.String(), "\n"); n != 2 {
					t.Errorf("two gates wrote %d lines:\n%s", n, s.log.String())
				}

				s.store.set(none)
				time.Sleep(4 * time.Second)
				if age := g.Status().Age; age > time.Second {
					t.Errorf("four seconds after the store came back the numbers are %s old", age)
				}
				if n := strings.Count(s.log.String(), "\n"); n != 4 {
					t.Errorf("two gates wrote %d lines:\n%s", n, s.log.String())
				}
				calls := g.Status().Snapshot.Calls
				time.Sleep(2 * time.Second)
				if more := g.Status().Snapshot.Calls - calls; more < 15 {
					t.Errorf("two seconds later %d more were called", more)
				}
				// Tickets given meanwhile bring their places to the store.
				slices.SortFunc(newcomers, func(a, b newcomer) int { return cmp.Compare(a.a.Place, b.a.Place) })
				for i, n := range newcomers {
					if i > 0 && n.a.Place == newcomers[i-1].a.Place {
						t.Errorf("two newcomers have the place %d", n.a.Place)
					}
					if i%1000 == 0 {
						a := g.Poll(n.id, n.a.Place, false, nil)
						if a.State != queue.Waiting || a.Place != n.a.Place || a.Restored {
							t.Errorf("a ticket given meanwhile: %+v", a)
						}
					}
				}
			})
		})
	}
}

func TestAGateThatStartsWithoutItsStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &site{t: t, set: perSecond(10), store: newWatched()}
		s.store.set(hanging)
		g := s.open(10)
		defer g.stop()
		sent := time.Now()
		id := somebody()
		a := g.Join(id, true)
		if a.State != queue.Waiting || a.Place == 0 || a.Position != 0 || time.Since(sent) > 3*time.Second {
			t.Errorf("after %s a newcomer is told %+v", time.Since(sent), a)
		}
		if age := g.Status().Age; age >= 0 {
			t.Errorf("the numbers are %s old, want never heard", age)
		}
		if b := g.Poll(id, a.Place, true, nil); b.State != queue.Waiting || b.Place != a.Place || b.Position != 0 {
			t.Errorf("then they are told %+v", b)
		}
		s.store.set(none)
		time.Sleep(5 * time.Second)
		if b := g.Poll(id, a.Place, true, nil); b.State != queue.Admitted || b.Place != a.Place {
			t.Errorf("when the store has come they are told %+v", b)
		}
	})
}

// TestNobodyIsAbsentBecauseTheStoreWasGoneForAWhile: marks that could not be sent
// are sent later, before anything else is asked. Of two gates one is back first,
// and cannot know whom the other has seen.
func TestNobodyIsAbsentBecauseTheStoreWasGoneForAWhile(t *testing.T) {
	for _, c := range []struct {
		gates int
		fault fault
	}{{1, broken}, {1, hanging}, {2, broken}, {2, hanging}} {
		for _, gap := range []time.Duration{500 * time.Millisecond, 4 * time.Second, 9 * time.Second, 45 * time.Second} {
			t.Run(fmt.Sprintf("%d gates, %s of %s", c.gates, gap, []string{"", "refusing", "hanging"}[c.fault]), func(t *testing.T) {
				at(t, c.gates, perSecond(1), func(t *testing.T, s *site) {
					crowd := s.crowd()
					for i := range 300 {
						time.Sleep(5 * time.Millisecond)
						crowd.visitor(i, 0)
					}
					go func() {
						for range 3 {
							time.Sleep(61300 * time.Millisecond)
							s.store.set(c.fault)
							time.Sleep(gap)
							s.store.set(none)
						}
					}()
					absent := crowd.wait()
					if n := len(crowd.let); n != 300 {
						t.Errorf("%d of 300 visitors were let in", n)
					}
					if absent > 0 || s.store.noShows.Load() > 0 {
						t.Errorf("%d visitors who polled as asked to were absent, %d missed their call", absent, s.store.noShows.Load())
					}
					crowd.judge()
				})
			})
		}
	}
}

func TestALostAnswerIsAskedForAgainUnderTheSameID(t *testing.T) {
	at(t, 1, perSecond(10), func(t *testing.T, s *site) {
		id := somebody()
		lose := func(losing bool, slow time.Duration) {
			s.store.mu.Lock()
			s.store.losing, s.store.slow = losing, slow
			s.store.mu.Unlock()
		}
		lose(true, time.Millisecond)
		go func() {
			time.Sleep(2500 * time.Microsecond)
			lose(false, time.Millisecond)
		}()
		a := s.gates[0].Join(id, true)
		if a.State != queue.Admitted {
			t.Errorf("the newcomer is told %+v", a)
		}
		if n := len(s.store.sent()); n != 2 {
			t.Fatalf("the store was asked %d times", n)
		}
		first, second := s.store.sent()[0][0], s.store.sent()[1][0]
		if first.Again || !second.Again || second.ID != id || first.ID != id || second.Place != first.Place {
			t.Errorf("asked %+v, then %+v", first, second)
		}
		lose(false, 0)
		time.Sleep(time.Second)
		if v := s.gates[0].Status().Snapshot; v.Called != 1 || v.Calls != 1 {
			t.Errorf("then %d are called, %d were", v.Called, v.Calls)
		}
	})
}

func TestAFarewellWhoseAnswerIsLostIsSaidAgain(t *testing.T) {
	set := perSecond(10)
	set.Mode = queue.ModeHold
	at(t, 1, set, func(t *testing.T, s *site) {
		ids, places := s.fill(10)
		lose := func(losing bool, slow time.Duration) {
			s.store.mu.Lock()
			s.store.losing, s.store.slow = losing, slow
			s.store.mu.Unlock()
		}
		lose(true, time.Millisecond)
		go func() {
			time.Sleep(2500 * time.Microsecond)
			lose(false, time.Millisecond)
		}()
		if err := s.gates[0].Leave(ids[3], places[3], 0); err != nil {
			t.Error(err)
		}
		s.store.mu.Lock()
		defer s.store.mu.Unlock()
		if n := len(s.store.leaves); n != 2 {
			t.Errorf("the store was told %d times", n)
		}
	})
}

func TestAStopSendsWhatWasGathered(t *testing.T) {
	at(t, 1, perSecond(10), func(t *testing.T, s *site) {
		g := s.gates[0]
		ids, places := s.fill(1000)
		time.Sleep(2 * time.Second)
		s.store.forget()
		time.Sleep(300 * time.Millisecond)
		for i := 200; i < 1000; i++ {
			g.Poll(ids[i], places[i], true, nil)
		}
		g.stop()
		if n, _ := s.store.asked(); n != 800 {
			t.Errorf("%d of 800 marks were sent", n)
		}
		if a := g.Join(somebody(), true); a.State != queue.Waiting || a.Place == 0 {
			t.Errorf("after the stop a newcomer is told %+v", a)
		}
		if err := g.Leave(ids[300], places[300], 0); !errors.Is(err, queue.ErrUnavailable) {
			t.Errorf("after the stop leaving says %v", err)
		}
	})
}

func TestARoomThatIsIdleIsTickedAboutOnceASecond(t *testing.T) {
	at(t, 1, perSecond(10), func(t *testing.T, s *site) {
		before := s.store.ticks.Load()
		time.Sleep(time.Minute)
		if n := s.store.ticks.Load() - before; n < 66 || n > 68 {
			t.Errorf("an idle room was ticked %d times in a minute", n)
		}
		s.fill(2000)
		time.Sleep(2 * time.Second)
		before = s.store.ticks.Load()
		time.Sleep(time.Minute)
		if n := s.store.ticks.Load() - before; n < 230 || n > 245 {
			t.Errorf("where people wait it was ticked %d times in a minute, want every 250 ms", n)
		}
	})
}

func TestThePositionToldToANewcomerNeverGrows(t *testing.T) {
	set := perSecond(10)
	set.Mode = queue.ModeHold // no calls that would make up for it
	at(t, 2, set, func(t *testing.T, s *site) {
		rng := rand.New(rand.NewPCG(4, 4))
		type told struct {
			waitingAt
			position int64
		}
		var line []told
		for range 500 {
			time.Sleep(2*time.Millisecond + time.Duration(rng.ExpFloat64()*float64(5*time.Millisecond)))
			id := somebody()
			a := s.gates[rng.IntN(2)].Join(id, true)
			if a.Position == 0 {
				t.Fatalf("a newcomer is told %+v", a)
			}
			line = append(line, told{waitingAt{id, a.Place}, a.Position})
		}
		for round := range 3 {
			time.Sleep(time.Second)
			for i := range line {
				a := s.gates[rng.IntN(2)].Poll(line[i].id, line[i].place, false, nil)
				if a.Position > line[i].position {
					t.Fatalf("round %d: the position of the %dth grew from %d to %d", round, i+1, line[i].position, a.Position)
				}
				line[i].position = a.Position
			}
		}
	})
}

func TestMarksThatWereSentAreNotSentAgain(t *testing.T) {
	at(t, 1, perSecond(10), func(t *testing.T, s *site) {
		g := s.gates[0]
		ids, places := s.fill(2000)
		time.Sleep(2 * time.Second)
		s.store.forget()
		for i := 500; i < 2000; i++ {
			g.Poll(ids[i], places[i], true, nil)
		}
		s.store.mu.Lock()
		s.store.slow = 100 * time.Millisecond
		s.store.mu.Unlock()
		for n := 0; n == 0; _, n = s.store.asked() { // the first group is under way
			time.Sleep(time.Millisecond)
		}
		s.store.set(broken)
		time.Sleep(time.Second)
		s.store.set(none)
		time.Sleep(5 * time.Second)
		times := make(map[queue.ID]int)
		for _, in := range s.store.sent() {
			for _, a := range in {
				times[a.ID]++
			}
		}
		for _, a := range s.store.sent()[0] {
			if times[a.ID] != 1 {
				t.Fatalf("a visitor of the group that arrived was sent %d times", times[a.ID])
			}
		}
		if len(times) != 1500 {
			t.Errorf("%d of 1500 were sent", len(times))
		}
	})
}

func TestTheSecondWhoComesToAnIdleRoomDoesNotWaitForItsTick(t *testing.T) {
	set := perSecond(10)
	set.Burst = 1
	at(t, 1, set, func(t *testing.T, s *site) {
		g := s.gates[0]
		for before := s.store.ticks.Load(); s.store.ticks.Load() == before; {
			time.Sleep(time.Millisecond)
		}
		if a := g.Join(somebody(), true); a.State != queue.Admitted {
			t.Fatalf("the first is told %+v", a)
		}
		id := somebody()
		begin := time.Now()
		a := g.Join(id, true)
		for a.State == queue.Waiting {
			time.Sleep(a.PollAfter)
			a = g.Poll(id, a.Place, true, nil)
		}
		if took := time.Since(begin); a.State != queue.Admitted || took > 400*time.Millisecond {
			t.Errorf("after %s the second is told %+v", took, a)
		}
	})
}

func TestOneWhoComesToAnIdleRoomIsCalledAtOnce(t *testing.T) {
	set := perSecond(10)
	set.Mode = queue.ModeHold
	at(t, 2, set, func(t *testing.T, s *site) {
		time.Sleep(10*time.Second + 400*time.Millisecond)
		id := somebody()
		a := s.gates[0].Join(id, true)
		override(t, s.gates[0], "mode", "auto")
		sent := time.Now()
		if a = s.gates[0].Poll(id, a.Place, true, nil); a.State != queue.Admitted || time.Since(sent) > 300*time.Millisecond {
			t.Errorf("after %s the visitor is told %+v", time.Since(sent), a)
		}
	})
}
