package queue

import (
	"context"
	"math"
	"math/rand/v2"
	"time"

	"github.com/sluicegate/sluice/metrics"
)

const (
	tickIdle  = 900 * time.Millisecond // so that a change made elsewhere is in force within a second
	tickLeast = 20 * time.Millisecond
	tickMost  = 250 * time.Millisecond
	retryMost = time.Second
)

// tickEvery is how often a room is ticked where somebody waits: often enough that
// its credit never reaches the burst by waiting for a tick.
func tickEvery(s *Settings) time.Duration {
	perHour := s.Rate.PerHour()
	if perHour <= 0 {
		return tickMost / 4
	}
	return min(max(time.Duration(s.EffectiveBurst())*time.Hour/2/time.Duration(perHour), tickLeast), tickMost)
}

// tickForever ticks until ctx ends, whatever the store does.
func (l *Line) tickForever(ctx context.Context) {
	timer := newAlarm(0)
	defer timer.stop()
	var last, due time.Time
	failures := 0
	next := func(wait time.Duration) {
		due = l.now().Add(wait)
		timer.reset(wait)
	}
	for {
		select {
		case <-ctx.Done():
			return
		case <-l.kick:
			if soon := last.Add(tickEvery(l.Settings())); failures == 0 && soon.Before(due) {
				next(max(0, soon.Sub(l.now())))
			}
			continue
		case <-timer.rings:
		}
		last = l.now()
		again, err := l.tick()
		switch {
		case err != nil:
			l.contact.note(last.Sub(l.begun))
			failures++
			wait := min(tickMost<<min(failures-1, 3), retryMost)
			next(wait/2 + rand.N(wait/2))
		case again:
			failures = 0
			next(0)
		default:
			failures = 0
			wait := tickIdle
			if v := l.view.Load(); v.Waiting+v.Called > 0 {
				wait = tickEvery(&v.Settings)
			}
			next(wait)
		}
	}
}

// tick has the store do what time brings, and keeps what it tells. It reports
// whether to tick again at once.
func (l *Line) tick() (again bool, err error) {
	if l.isDown() {
		// First something that changes nothing: where answers are lost on the way, the
		// time would go on at the store unheard, and people be absent who are not.
		if err := l.reach(); err != nil {
			return false, err
		}
		// Nothing is asked but the time, which may have gone on at other gates. It
		// tells how long ago was what is reported next.
		if _, err := l.renew(nil, nil); err != nil {
			return false, err
		}
		// Whoever polled meanwhile is present: the store must know before it looks at
		// who is absent, and calls somebody else.
		if err := l.sendMarks(l.enter); err != nil {
			return false, err
		}
		if err := l.sendVisits(l.renew); err != nil { // who was let in takes a slot before others do
			return false, err
		}
	}
	var s Snapshot
	sent, joined := l.now(), l.joining.known()
	err = l.do(metrics.Tick, 0, func(ctx context.Context, c *Call) (Moment, error) {
		s, err = l.store.Tick(ctx, c)
		return s.Moment, err
	})
	l.reached(err)
	if err != nil {
		return false, err
	}
	again = l.see(s, sent, joined)
	if s.Overrides != nil {
		l.keepOverrides(s.Overrides.Version)
	}
	front := s.Front
	if l.Settings().Mode == ModeOpen {
		front = math.MaxInt64 // nobody is called, everybody is let in who asks
	}
	l.answerHeld(front)
	return again, nil
}

// reach tells whether the store can be asked.
func (l *Line) reach() error {
	ctx, cancel := context.WithTimeout(context.Background(), storeTimeout)
	defer cancel()
	_, err := l.store.Overrides(ctx, l.name)
	return err
}

// reached notes whether the store answers, and says so when that changed.
func (l *Line) reached(err error) {
	changed := l.down.Swap(err != nil) != (err != nil)
	l.metrics.StoreUp(err == nil)
	switch {
	case changed && err != nil:
		meanwhile := "nobody is let in until it does"
		if l.admits.Load() {
			meanwhile = "visitors are let in as it last stood"
		}
		l.log.Error("the store does not answer; places are kept, "+meanwhile, "error", err)
	case changed:
		l.log.Info("the store answers again")
	}
}

// keepOverrides brings the store the latest overrides that this gate saw, if those
// of the store are older.
func (l *Line) keepOverrides(stored int64) {
	l.mu.Lock()
	latest := l.override
	l.mu.Unlock()
	if stored >= latest.Version {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), storeTimeout)
	defer cancel()
	if err := l.bringOverrides(ctx, stored, latest); err != nil {
		return // another gate was faster, or the next tick tries again
	}
	l.log.Warn("the store had lost the overrides of the room and was given them again", "version", latest.Version)
}

// see keeps a snapshot. It reports whether there is a reason to tick again at once.
func (l *Line) see(s Snapshot, sent time.Time, joined int64) (again bool) {
	again = s.More
	l.mu.Lock()
	defer l.mu.Unlock()
	if s.Overrides != nil && s.Overrides.Version > l.override.Version {
		l.adopt(*s.Overrides)
		again = true // nobody was called: this gate did not know the limits
	}
	v := *l.view.Load()
	l.pace.Observe(&s, &v.Settings)
	if v.Generation != 0 && s.Generation != v.Generation {
		l.lost(&s)
	}
	if s.Full != v.Full {
		l.tellMemory(s.Full)
	}
	rebuilt := s.Held > s.Time && s.Barrier == 0
	if rebuilt {
		v.crowd = max(s.Waiting, v.crowd)
		s.Ladder = v.Ladder
	} else {
		v.crowd = s.Waiting
	}
	if !rebuilt || v.numbers.IsZero() {
		v.numbers = sent
	}
	l.marked.fit(v.crowd)
	v.growth = growth(&v, &s)
	v.joined = joined
	v.Snapshot, v.received, v.pace, v.rebuilt = s, sent, l.pace, rebuilt
	l.welcomed.Store(0)
	l.visits.mu.Lock()
	l.visits.admitted = 0
	l.visits.mu.Unlock()
	l.view.Store(&v)
	l.counts.SetCounts(s.Waiting, s.Away, s.Called, s.Active)
	l.counts.LastTick(float64(l.now().UnixMilli()) / 1000)
	l.counts.NoShow.Add(s.NoShows)
	l.counts.Abandoned.Add(s.Abandoned)
	return again
}

// tellMemory says that the store has no memory left, or has some again.
func (l *Line) tellMemory(full bool) {
	if full {
		l.log.Error("the store has no memory left: newcomers are told that the room is full; whoever waits or is inside goes on",
			"hint", "raise maxmemory, or lower max_waiting: a visitor who waits takes up to 400 bytes")
		return
	}
	l.log.Info("the store has memory again: newcomers get places")
}

// lost notes that the store lost something. What this gate gave and saw is told again.
func (l *Line) lost(s *Snapshot) {
	l.given.lost()
	l.marked.forget()
	args := []any{"generation", s.Generation}
	if s.Loss != nil {
		args = append(args, "found", s.Loss.Found.String(), "waiting_kept", s.Loss.Waiting, "slots_kept", s.Loss.Slots)
	}
	if s.Held > s.Time {
		args = append(args, "held_for", s.Held.Sub(s.Time).Round(time.Second), "all_are_held", s.Barrier == 0)
	}
	l.log.Error("the store lost what it knew of the room, or part of it; places come back with their tickets", args...)
}
