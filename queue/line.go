package queue

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sluicegate/sluice/metrics"
)

// Line is a gate's side of one room. It gathers what visitors ask into few calls
// of the store, keeps the latest snapshot, and answers from that whoever is far
// from the front, so that a poll costs the same however many wait.
//
// Its methods may be called from any goroutine once Run was started.
type Line struct {
	name    string
	store   Store
	now     func() time.Time
	log     *slog.Logger
	begun   time.Time
	metrics *metrics.Metrics
	counts  *metrics.Room
	maxHeld int
	nearer  int64 // by how much less nearFront is, in tests of few visitors

	clock roomClock
	view  atomic.Pointer[view]

	mu       sync.Mutex // guards what follows: changed rarely, read through view
	file     Settings
	override Overrides
	pace     Pace

	entering group[Arrival, Standing]
	joining  joining
	leaving  group[Departure, Departed]
	marks    marks
	marked   marked
	visits   visits
	given    given
	down     atomic.Bool // the latest Tick failed
	contact  contact
	admits   atomic.Bool  // whether visitors are let in meanwhile
	horizon  atomic.Int64 // until when everybody has asked again who was told to; see promise
	welcomed atomic.Int64 // let in on the spot since the snapshot
	held     heldPolls
	kick     chan struct{} // somebody waits: tick soon
}

// view is what a gate knows of a room at one time; it never changes.
type view struct {
	Snapshot
	Settings Settings
	version  int64
	received time.Time // zero: the store was never heard
	pace     Pace
	// While a line is rebuilt, Ladder is the one from before the loss, if there was
	// one, and crowd how many waited then; else it is Waiting. numbers is of when they are.
	rebuilt bool
	crowd   int64
	numbers time.Time
	joined  int64   // newcomers of this gate of whom the snapshot knows
	growth  float64 // of the line, newcomers a second
}

// LineConfig says what a Line works with.
type LineConfig struct {
	Room     string
	Settings Settings // by the configuration, without overrides
	Store    Store
	Metrics  *metrics.Metrics // nil: nobody counts
	Log      *slog.Logger     // nil: nobody listens
	Now      func() time.Time // nil: time.Now, whose readings are monotonic
	MaxHeld  int              // most polls held at once; 0: none
	Admit    bool             // visitors are let in while the store does not answer: see SetAdmit
}

// NewLine returns the line of a room. It does nothing until Run is called.
func NewLine(c LineConfig) *Line {
	if c.Metrics == nil {
		c.Metrics = metrics.Discard()
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	l := &Line{
		name: c.Room, store: c.Store, now: c.Now, log: c.Log.With("room", c.Room),
		metrics: c.Metrics, counts: c.Metrics.Room(c.Room), maxHeld: c.MaxHeld,
		file: c.Settings, kick: make(chan struct{}, 1),
	}
	l.clock.now = c.Now
	l.begun = l.now()
	l.admits.Store(c.Admit)
	l.entering.init(l.sendEnter)
	// Whoever came first is first, also where there is room for one: requests of one
	// moment are taken up in any order. A store is also faster at it.
	l.entering.order = func(a, b Arrival) int { return cmp.Compare(a.Place, b.Place) }
	l.leaving.init(l.sendLeave)
	l.joining.init()
	l.contact.init()
	l.visits.init()
	l.held.init()
	l.view.Store(&view{Settings: c.Settings.Fit()})
	l.countLimits(&c.Settings)
	return l
}

// Run keeps the line going until ctx ends: it ticks, and sends what was gathered.
// What was gathered last is sent before it returns.
func (l *Line) Run(ctx context.Context) error {
	var wg sync.WaitGroup
	for _, part := range []func(context.Context){l.entering.run, l.leaving.run, l.joinForever, l.tickForever, l.reportForever} {
		wg.Go(func() { part(ctx) })
	}
	wg.Wait()
	return ctx.Err()
}

// Settings returns what is in force.
func (l *Line) Settings() *Settings { return &l.view.Load().Settings }

// Time returns room time, as far as this gate knows it. Where its process stood still
// for a while, it finds out first how long that was, which may take as long as a call
// of the store: others went on meanwhile, and passes ended.
func (l *Line) Time() Time {
	t, _ := l.TimesAt(l.now())
	return t
}

// TimesAt returns room time, as Time does, and place time, where the gate's clock was
// looked at a moment ago. Place time, which is the place of somebody who comes now, is 0
// until the store or a token told of it.
func (l *Line) TimesAt(now time.Time) (room, place Time) {
	if l.contact.isOld(now.Sub(l.begun)) {
		l.contact.await(now.Sub(l.begun))
		now = l.now()
	}
	return l.clock.timesAt(now)
}

// Waiting returns how many present visitors wait.
func (l *Line) Waiting() int64 { return l.view.Load().Waiting }

// Generation returns the latest generation of the store that this gate knows, from
// tokens while it has not heard the store. 0: none.
func (l *Line) Generation() uint32 { return l.generation(l.view.Load()) }

func (l *Line) generation(v *view) uint32 {
	if v.received.IsZero() {
		return l.clock.heard().generation
	}
	return v.Generation
}

// HearToken takes the stamp and the place of a token that verified: before the store was
// heard, they are the best that a gate knows of its times. Generation is the token's.
func (l *Line) HearToken(stamp, place Time, generation uint32) {
	l.clock.hearToken(stamp, place, generation)
}

// Away is how long the store has not answered; 0 while it does, and before it was
// ever heard.
func (l *Line) Away() time.Duration {
	if !l.isDown() {
		return 0
	}
	v := l.view.Load()
	if v.received.IsZero() {
		return 0
	}
	return l.now().Sub(v.received)
}

// Status is a room as an operator sees it.
type Status struct {
	Settings  Settings // in force
	File      Settings // without the overrides
	Overrides Overrides
	Snapshot  Snapshot
	Age       time.Duration // of the snapshot; negative: the store was never heard
}

// Status returns how the room stands.
func (l *Line) Status() Status {
	v := l.view.Load()
	l.mu.Lock()
	defer l.mu.Unlock()
	s := Status{Settings: v.Settings, File: l.file, Overrides: l.override, Snapshot: v.Snapshot, Age: -1}
	if !v.received.IsZero() {
		s.Age = l.now().Sub(v.received)
	}
	return s
}

// SetFile takes the settings of a changed configuration. Overrides stay in force.
func (l *Line) SetFile(s Settings) {
	l.mu.Lock()
	l.file = s
	l.adopt(l.override)
	l.mu.Unlock()
	l.wake()
}

// Change replaces the overrides of the room: decide makes the new ones from those
// stored, and is called again when somebody else was faster.
func (l *Line) Change(ctx context.Context, decide func(file Settings, stored Overrides) (Overrides, error)) error {
	for {
		stored, err := l.store.Overrides(ctx, l.name)
		if err != nil {
			return err
		}
		l.mu.Lock()
		file, latest := l.file, l.override
		l.mu.Unlock()
		if stored.Version < latest.Version { // lost
			if err := l.bringOverrides(ctx, stored.Version, latest); err != nil && !errors.Is(err, ErrConflict) {
				return err
			}
			if err := ctx.Err(); err != nil {
				return err
			}
			continue
		}
		next, err := decide(file, stored)
		if err != nil {
			return err
		}
		if next.Version == stored.Version { // nothing to change
			return nil
		}
		next.Version = stored.Version + 1
		err = l.store.Override(ctx, l.name, next)
		if errors.Is(err, ErrConflict) && ctx.Err() == nil {
			continue
		}
		if err != nil {
			return err
		}
		l.mu.Lock()
		l.adopt(next)
		l.mu.Unlock()
		l.wake()
		return nil
	}
}

// bringOverrides gives a store that lost its overrides the latest ones that this
// gate saw. Their version must not fall, or gates that saw them would not listen
// to a change; so they are stored under every version up to their own.
func (l *Line) bringOverrides(ctx context.Context, version int64, latest Overrides) error {
	for version < latest.Version {
		version++
		if err := l.store.Override(ctx, l.name, Overrides{Version: version, Keys: latest.Keys}); err != nil {
			return err
		}
	}
	return nil
}

// adopt puts overrides in force, unless newer ones are. l.mu is held.
func (l *Line) adopt(o Overrides) {
	if o.Version < l.override.Version {
		return
	}
	set, problems := o.InForce(l.file)
	for _, p := range problems {
		l.log.Error("an override does not fit the configuration and is left out", "version", o.Version, "error", p)
	}
	l.override = o
	v := *l.view.Load()
	set = set.Fit()
	v.Settings, v.version = set, o.Version
	l.view.Store(&v)
	l.countLimits(&set)
}

func (l *Line) countLimits(s *Settings) {
	l.counts.SetLimits(float64(s.Rate.PerHour())/3600, float64(s.MaxActive))
}

// call is what this gate says with every operation.
func (l *Line) call(v *view) Call {
	place, deaf := l.clock.tells()
	return Call{
		Room: l.name, Settings: &v.Settings, Version: v.version,
		Told: l.clock.highest(), Generation: l.generation(v), Place: place, Deaf: deaf, Hold: l.outstanding(v),
		Called: v.Called + l.welcomed.Load(), Active: v.Active, Running: l.now().Sub(l.begun),
	}
}

// promise notes that a visitor was told to ask again.
func (l *Line) promise(now time.Time, after time.Duration) {
	until := int64(now.Sub(l.begun) + returnWithin(after))
	for {
		known := l.horizon.Load()
		if until <= known || l.horizon.CompareAndSwap(known, until) {
			return
		}
	}
}

// outstanding is how long it may take from now until everybody has asked again who
// was told to by this gate; one that has only just started knows nothing of that.
func (l *Line) outstanding(v *view) time.Duration {
	if v.received.IsZero() {
		return v.Settings.ReturnWithin()
	}
	return max(0, time.Duration(l.horizon.Load())-l.now().Sub(l.begun))
}

// storeTimeout bounds one call of the store.
const storeTimeout = 2 * time.Second

// do makes one call of the store: with a deadline, measured, and its moment heard.
func (l *Line) do(op metrics.Op, batch int, f func(context.Context, *Call) (Moment, error)) error {
	ctx, cancel := context.WithTimeout(context.Background(), storeTimeout)
	defer cancel()
	c := l.call(l.view.Load())
	sent := l.now()
	m, err := f(ctx, &c)
	l.metrics.StoreCall(op, storeResult(err), l.now().Sub(sent).Seconds(), batch)
	if err == nil {
		l.clock.hear(m, sent)
		l.contact.note(sent.Sub(l.begun))
	}
	return err
}

func storeResult(err error) metrics.Result {
	switch {
	case err == nil:
		return metrics.OK
	case errors.Is(err, ErrConflict):
		return metrics.Conflict
	case errors.Is(err, context.DeadlineExceeded):
		return metrics.Timeout
	case errors.Is(err, ErrUnavailable):
		return metrics.Unavailable
	}
	return metrics.Failed
}

// errDown is what everybody meets while the store does not answer the tick, which
// goes on trying: each would have to wait as long to learn the same.
var errDown = fmt.Errorf("%w: it did not answer the latest tick", ErrUnavailable)

// sendEnter is one group of visitors who ask.
func (l *Line) sendEnter(in []Arrival, out []Standing) ([]Standing, error) {
	if l.isDown() {
		return out, errDown
	}
	return l.enter(in, out)
}

// enter asks for visitors, whether the store is thought to answer or not. An
// answer that was lost is asked for once more, under the same ids.
func (l *Line) enter(in []Arrival, out []Standing) ([]Standing, error) {
	kept := out
	send := func() error {
		return l.do(metrics.Enter, len(in), func(ctx context.Context, c *Call) (m Moment, err error) {
			out, m, err = l.store.Enter(ctx, c, in, kept)
			return m, err
		})
	}
	err := send()
	if errors.Is(err, context.DeadlineExceeded) {
		l.reached(err) // the others need not find out, each as slowly
	}
	if err != nil && !l.isDown() {
		for i := range in {
			in[i].Again = true
		}
		err = send()
	}
	if err != nil {
		return kept, err
	}
	waiting := false
	for i := range out {
		s := &out[i]
		waiting = waiting || s.State == Waiting
		l.count(s)
		switch {
		case s.Provisional:
			if s.Claimed {
				l.welcomed.Add(1)
			}
		case s.Claimed, s.State == Admitted && l.mayHaveClaimed(s):
			l.give(Visit{ID: in[i].ID, Place: s.Place, Called: s.Called, Until: s.Until}, false)
		}
	}
	if waiting {
		l.wake()
	}
	return out, nil
}

// mayHaveClaimed tells whether somebody who is inside may be so by a claim of whose
// answer no gate heard: it was sent again, or the visitor asked again, here or elsewhere.
// Then this is the first gate that gives the pass.
func (l *Line) mayHaveClaimed(s *Standing) bool {
	set := l.Settings()
	return l.clock.time().Sub(s.Called) < set.ClaimWithin+set.ReturnWithin()
}

func (l *Line) count(s *Standing) {
	if s.Joined {
		l.counts.Joined.Add(1)
	}
	if s.Claimed {
		l.counts.Admitted.Add(1)
		l.counts.Wait(max(0, l.waited(s).Seconds()))
	}
	if s.Restored {
		l.counts.Restored.Add(1)
	}
}

// waited is how long it took from somebody's first request until they were called, by
// place time, which went on also over outages. It is asked for when they come.
func (l *Line) waited(s *Standing) time.Duration {
	now := l.now()
	since := l.clock.timeAt(now).Sub(s.Called)
	return l.clock.placeTime(now).Sub(s.Place) - since
}

func (l *Line) sendLeave(in []Departure, out []Departed) ([]Departed, error) {
	if l.isDown() {
		return out, errDown
	}
	out, err := l.leave(in, out)
	if err == nil {
		for i := range in {
			l.give(Visit{ID: in[i].ID, Place: in[i].Place, Until: in[i].Until}, true)
		}
	}
	return out, err
}

// leave asks once more where the connection broke: to leave twice is to leave once.
func (l *Line) leave(in []Departure, out []Departed) ([]Departed, error) {
	kept := out
	send := func() error {
		return l.do(metrics.Leave, len(in), func(ctx context.Context, c *Call) (m Moment, err error) {
			out, m, err = l.store.Leave(ctx, c, in, kept)
			return m, err
		})
	}
	err := send()
	if err != nil && !errors.Is(err, context.DeadlineExceeded) && !l.isDown() {
		err = send()
	}
	if err == nil {
		for i := range out {
			if out[i].Place {
				l.counts.Abandoned.Add(1)
			}
		}
	}
	return out, err
}

func (l *Line) isDown() bool { return l.down.Load() }

// wake asks for a Tick soon.
func (l *Line) wake() {
	select {
	case l.kick <- struct{}{}:
	default:
	}
}
