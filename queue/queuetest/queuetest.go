// Package queuetest holds every store of lines to the contract in package queue.
//
// Run has a test for each rule; its names are sentences about visitors.
// StateMachine runs random histories against a plain model of the same rules and
// compares every answer.
package queuetest

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/sluicegate/sluice/queue"
)

// Harness is one store under test, with its clock.
type Harness struct {
	Store queue.Store
	// Advance moves the store's clock. nil: it cannot be moved, and the rules that
	// need time are left out.
	Advance func(time.Duration)
	// Jump sets the store's clock without time passing, either way. nil: impossible.
	Jump func(time.Duration)
	// Wipe has the store forget all of a room. nil: impossible.
	Wipe func(room string)
	// Drop deletes the keys of a room whose names match, and counts them. nil: the
	// store has no keys.
	Drop func(room, pattern string) int
	// Keys names the keys of a room. nil: likewise.
	Keys func(room string) []string
	// Copy keeps a copy of all of a room. The function that it returns puts that in the
	// place of what is there by then, as often as it is called. nil: impossible.
	Copy func(room string) (back func())
	// Anew has the next call of a room find that the store was started anew. nil: it
	// cannot tell.
	Anew func(room string)
}

// Open returns an empty store for one test, which closes it in its cleanup.
type Open func(t testing.TB) Harness

// Run tests the rules one by one.
func Run(t *testing.T, open Open) {
	t.Run("order", func(t *testing.T) { order(t, open) })
	t.Run("limits", func(t *testing.T) { limits(t, still(open)) })
	t.Run("modes", func(t *testing.T) { modes(t, open) })
	t.Run("overrides", func(t *testing.T) { overrides(t, open) })
	t.Run("places", func(t *testing.T) { places(t, open) })
	t.Run("slots", func(t *testing.T) { slots(t, open) })
	t.Run("renewals", func(t *testing.T) { renewals(t, still(open)) })
	t.Run("departures", func(t *testing.T) { departures(t, open) })
	t.Run("absence", func(t *testing.T) { absence(t, open) })
	t.Run("marks", func(t *testing.T) { marks(t, open) })
	t.Run("crowds", func(t *testing.T) { crowds(t, open) })
	t.Run("clock", func(t *testing.T) { clocks(t, open) })
	t.Run("snapshot", func(t *testing.T) { snapshots(t, open) })
	t.Run("batches", func(t *testing.T) { batches(t, open) })
	t.Run("losses", func(t *testing.T) { losses(t, open) })
	t.Run("gates", func(t *testing.T) { gates(t, open) })
}

// still opens stores whose clock stands still unless it is moved, for rules that
// are exact to the microsecond.
func still(open Open) Open {
	return func(t testing.TB) Harness {
		h := open(t)
		if h.Advance == nil {
			t.Skip("the clock of this store cannot be made to stand still")
		}
		return h
	}
}

// wiping opens stores that can be made to forget everything.
func wiping(open Open) Open {
	return func(t testing.TB) Harness {
		h := still(open)(t)
		if h.Wipe == nil {
			t.Fatal("the store has to be able to forget all of a room, or this is not tested")
		}
		return h
	}
}

// line is a room whose visitors have names, seen through one gate.
type line struct {
	testing.TB
	Harness
	queue.Call
	set       *queue.Settings
	now       queue.Time     // room time of the latest answer
	place     queue.Time     // place time, likewise
	present   time.Duration  // how long an Arrival counts as present
	given     map[string]pos // what each visitor was given
	lastID    *queue.ID
	lastPlace *queue.Time // newcomers come one after the other
}

type pos struct {
	id     queue.ID
	place  queue.Time
	called queue.Time
	until  queue.Time
}

// newLine opens a room without limits; change sets some.
func newLine(t testing.TB, open Open, change func(*queue.Settings)) *line {
	s := queue.Defaults()
	s.Rate = queue.NoRate
	if change != nil {
		change(&s)
	}
	return &line{
		TB: t, Harness: open(t), Call: queue.Call{Room: "drop", Settings: &s}, set: &s,
		present: 24 * time.Hour, given: make(map[string]pos), lastID: new(queue.ID), lastPlace: new(queue.Time),
	}
}

// gate returns the same line seen through a gate that has only just started.
func (l *line) gate() *line {
	other := *l
	s := *l.set
	other.set, other.Settings = &s, &s
	other.Told, other.Generation, other.Place = 0, 0, 0
	return &other
}

func (l *line) heard(m queue.Moment, err error) {
	l.Helper()
	if err != nil {
		l.Fatal(err)
	}
	if m.Time < l.now {
		l.Fatalf("room time ran backwards, from %d to %d", l.now, m.Time)
	}
	if m.Place < l.place {
		l.Fatalf("place time ran backwards, from %d to %d", l.place, m.Place)
	}
	l.now, l.place = m.Time, m.Place
	l.Told, l.Generation = max(l.Told, m.Time), m.Generation
}

// pass lets time pass, in steps that the store takes for time.
func (l *line) pass(d time.Duration) {
	l.Helper()
	if l.Advance == nil {
		l.Skip("the clock of this store cannot be moved")
	}
	for d > 0 {
		step := min(d, queue.MaxStep)
		l.Advance(step)
		l.look()
		d -= step
	}
}

// look learns the room time and changes nothing.
func (l *line) look() {
	l.Helper()
	_, m, err := l.Store.Leave(context.Background(), &l.Call, []queue.Departure{{ID: 1}}, nil)
	l.heard(m, err)
}

func (l *line) enter(in ...queue.Arrival) []queue.Standing {
	l.Helper()
	out, m, err := l.Store.Enter(context.Background(), &l.Call, in, nil)
	l.heard(m, err)
	if len(out) != len(in) {
		l.Fatalf("%d answers to %d visitors", len(out), len(in))
	}
	return out
}

// newcomer returns the first request of somebody new.
func (l *line) newcomer(name string) queue.Arrival {
	l.Helper()
	if _, known := l.given[name]; known {
		l.Fatalf("BUG: %s is no newcomer", name)
	}
	if l.now == 0 {
		l.look()
	}
	*l.lastID += 0x0100_0000_0000_0101
	l.given[name] = pos{id: *l.lastID}
	// Up to a second ago, so that many can come one after the other in no time.
	*l.lastPlace = max(*l.lastPlace+1, l.place.Add(-time.Second))
	return queue.Arrival{ID: *l.lastID, Place: *l.lastPlace, Deadline: l.now.Add(l.present), Newcomer: true, Join: true, Claim: true}
}

// arrive sends the first request of somebody new.
func (l *line) arrive(name string) queue.Standing {
	l.Helper()
	return l.arriveAs(name, l.newcomer(name))
}

func (l *line) arriveAs(name string, a queue.Arrival) queue.Standing {
	l.Helper()
	s := l.enter(a)[0]
	l.keep(name, s)
	return s
}

func (l *line) keep(name string, s queue.Standing) {
	p := l.given[name]
	if s.Place != 0 {
		p.place = s.Place
	}
	if s.State == queue.Admitted {
		p.called, p.until = s.Called, s.Until
	}
	l.given[name] = p
}

// join puts newcomers in line, whatever the mode, who then poll.
func (l *line) join(names ...string) {
	l.Helper()
	mode := l.set.Mode
	l.set.Mode = queue.ModeHold
	for _, name := range names {
		if s := l.arrive(name); s.State != queue.Waiting || !s.Joined {
			l.Fatalf("%s did not get a place: %+v", name, s)
		}
		l.wants(l.mark(name), "waiting")
	}
	l.set.Mode = mode
}

// ticket returns a poll.
func (l *line) ticket(name string) queue.Arrival {
	p := l.given[name]
	return queue.Arrival{ID: p.id, Place: p.place, Deadline: l.now.Add(l.present), Claim: true}
}

// poll sends a poll that waits for its answer.
func (l *line) poll(name string) queue.Standing {
	l.Helper()
	s := l.enter(l.ticket(name))[0]
	l.keep(name, s)
	return s
}

// mark tells that a visitor polled.
func (l *line) mark(name string) queue.Standing {
	l.Helper()
	a := l.ticket(name)
	a.Claim = false
	return l.enter(a)[0]
}

// visit returns the use of a visitor's pass now.
func (l *line) visit(name string) queue.Visit {
	p := l.given[name]
	return queue.Visit{ID: p.id, Place: p.place, Called: p.called, Until: p.until, At: l.now}
}

func (l *line) renew(in ...queue.Visit) []queue.Renewal {
	l.Helper()
	out, m, err := l.Store.Renew(context.Background(), &l.Call, in, nil)
	l.heard(m, err)
	if len(out) != len(in) {
		l.Fatalf("%d answers to %d visits", len(out), len(in))
	}
	return out
}

func (l *line) use(name string) queue.Renewal {
	l.Helper()
	r := l.renew(l.visit(name))[0]
	p := l.given[name]
	p.until = max(p.until, r.Until)
	l.given[name] = p
	return r
}

func (l *line) leave(name string) queue.Departed {
	l.Helper()
	p := l.given[name]
	out, m, err := l.Store.Leave(context.Background(), &l.Call, []queue.Departure{{ID: p.id, Place: p.place, Until: p.until}}, nil)
	l.heard(m, err)
	return out[0]
}

// tick ticks once, or as often as the store asks for, and adds up what was done.
func (l *line) tick() queue.Snapshot {
	l.Helper()
	var sum queue.Snapshot
	for range 10_000 {
		s, err := l.Store.Tick(context.Background(), &l.Call)
		l.heard(s.Moment, err)
		s.NewCalls += sum.NewCalls
		s.NoShows += sum.NoShows
		s.Abandoned += sum.Abandoned
		s.Ended += sum.Ended
		if !s.More {
			return s
		}
		sum = s
	}
	l.Fatal("the store asks for another tick without end")
	return sum
}

// inside lets people in who go on to use the room.
func (l *line) inside(names ...string) {
	l.Helper()
	l.join(names...)
	mode, cap, rate := l.set.Mode, l.set.MaxActive, l.set.Rate
	l.set.Mode = queue.ModeOpen
	for _, name := range names {
		l.wants(l.poll(name), "admitted claimed")
	}
	l.set.Mode, l.set.MaxActive, l.set.Rate = mode, cap, rate
}

// says puts a standing in words: state, then what the call did.
func says(s queue.Standing) string {
	text := map[queue.State]string{queue.None: "none", queue.Waiting: "waiting", queue.Admitted: "admitted",
		queue.Full: "full", queue.Closed: "closed", queue.Used: "used"}[s.State]
	for _, flag := range []struct {
		set  bool
		word string
	}{{s.Joined, "joined"}, {s.Claimed, "claimed"}, {s.Provisional, "provisional"}, {s.Restored, "restored"}} {
		if flag.set {
			text += " " + flag.word
		}
	}
	return text
}

func (l *line) wants(s queue.Standing, words string) {
	l.Helper()
	if got := says(s); got != words {
		l.Fatalf("the answer is %q, want %q: %+v", got, words, s)
	}
}

func (l *line) polls(name, words string) {
	l.Helper()
	s := l.poll(name)
	if got := says(s); got != words {
		l.Fatalf("%s polls: %q, want %q: %+v", name, got, words, s)
	}
}

// behind wants a visitor who polls to wait behind so many others.
func (l *line) behind(name string, rank int64) {
	l.Helper()
	s := l.poll(name)
	if s.State != queue.Waiting || s.Rank != rank {
		l.Fatalf("%s stands behind %d (%s), want waiting behind %d", name, s.Rank, says(s), rank)
	}
}

func equal[T comparable](t testing.TB, what string, got, want T) {
	t.Helper()
	if got != want {
		t.Fatalf("%s: got %+v, want %+v", what, got, want)
	}
}

// counts wants a snapshot to count this many waiting, away, called and active.
func (l *line) counts(s queue.Snapshot, waiting, away, called, active int64) {
	l.Helper()
	equal(l, "waiting, away, called, active", [4]int64{s.Waiting, s.Away, s.Called, s.Active}, [4]int64{waiting, away, called, active})
}

func cancelled() context.Context {
	ctx, cancel := context.WithCancelCause(context.Background())
	cancel(errors.New("the visitor went away"))
	return ctx
}
