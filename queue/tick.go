package queue

import (
	"context"
	"math/rand/v2"
	"time"

	"github.com/sluicegate/sluice/metrics"
)

const (
	tickIdle  = time.Second
	tickLeast = 20 * time.Millisecond
	tickMost  = 250 * time.Millisecond
	retryMost = 2 * time.Second
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
	timer := time.NewTimer(0)
	defer timer.Stop()
	var last time.Time
	failures := 0
	for {
		select {
		case <-ctx.Done():
			return
		case <-l.kick:
			if failures == 0 {
				timer.Reset(max(0, tickEvery(l.Settings())-l.now().Sub(last)))
			}
			continue
		case <-timer.C:
		}
		last = l.now()
		again, err := l.tick()
		switch {
		case err != nil:
			failures++
			wait := min(tickMost<<min(failures-1, 3), retryMost)
			timer.Reset(wait/2 + rand.N(wait/2))
		case again:
			failures = 0
			timer.Reset(0)
		default:
			failures = 0
			wait := tickIdle
			if v := l.view.Load(); v.Waiting+v.Called > 0 {
				wait = tickEvery(&v.Settings)
			}
			timer.Reset(wait)
		}
	}
}

// tick has the store do what time brings, and keeps what it tells. It reports
// whether to tick again at once.
func (l *Line) tick() (again bool, err error) {
	var s Snapshot
	sent := l.now()
	err = l.do(metrics.Tick, 0, func(ctx context.Context, c *Call) (Moment, error) {
		s, err = l.store.Tick(ctx, c)
		return s.Moment, err
	})
	l.reached(err)
	if err != nil {
		return false, err
	}
	again = l.see(s, sent)
	l.answerHeld(s.Front)
	return again, nil
}

// reached notes whether the store answers, and says so when that changed.
func (l *Line) reached(err error) {
	l.mu.Lock()
	changed := l.down != (err != nil)
	l.down = err != nil
	l.mu.Unlock()
	l.metrics.StoreUp(err == nil)
	switch {
	case changed && err != nil:
		l.log.Error("the store does not answer; places are kept, nobody is let in until it does", "error", err)
	case changed:
		l.log.Info("the store answers again")
	}
}

// see keeps a snapshot. It reports whether there is a reason to tick again at once.
func (l *Line) see(s Snapshot, sent time.Time) (again bool) {
	again = s.More
	l.mu.Lock()
	defer l.mu.Unlock()
	if s.Overrides != nil && s.Overrides.Version > l.override.Version {
		l.adopt(*s.Overrides)
		again = true // nobody was called: this gate did not know the limits
	}
	v := *l.view.Load()
	l.pace.Observe(&s, &v.Settings)
	v.Snapshot, v.received, v.pace = s, sent, l.pace
	l.view.Store(&v)
	l.counts.SetCounts(s.Waiting, s.Away, s.Called, s.Active)
	l.counts.LastTick(float64(l.now().UnixMilli()) / 1000)
	l.counts.NoShow.Add(s.NoShows)
	l.counts.Abandoned.Add(s.Abandoned)
	return again
}
