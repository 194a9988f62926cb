package queuetest

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/sluicegate/sluice/queue"
)

// gates: several at once.
func gates(t *testing.T, open Open) {
	// together runs n gates at once, each with its own view of the room.
	together := func(l *line, n int, gate func(g *line, i int)) {
		l.Helper()
		var done sync.WaitGroup
		for i := range n {
			g := l.gate()
			g.given, g.lastID, g.lastPlace = make(map[string]pos), new(queue.ID), new(queue.Time)
			*g.lastID = queue.ID(i+1) << 32
			done.Go(func() {
				defer func() {
					if r := recover(); r != nil {
						l.Errorf("gate %d: %v", i, r)
					}
				}()
				gate(g, i)
			})
		}
		done.Wait()
	}
	must := func(l *line, err error) {
		if err != nil {
			l.Error(err)
		}
	}

	t.Run("ten gates ticking call no more than one", func(t *testing.T) {
		l := newLine(t, open, func(s *queue.Settings) { s.Rate, s.Burst = queue.Rate{N: 100, Per: queue.PerHour}, 7 })
		l.crowd(50)
		var mu sync.Mutex
		calls := int64(0)
		together(l, 10, func(g *line, _ int) {
			for range 10 {
				s, err := g.Store.Tick(context.Background(), &g.Call)
				must(g, err)
				mu.Lock()
				calls += s.NewCalls
				mu.Unlock()
			}
		})
		equal(t, "calls", calls, 7)
		equal(t, "calls", l.tick().Calls, 7)
	})

	t.Run("gates do not race over the cap", func(t *testing.T) {
		const limit = 5
		l := newLine(t, open, func(s *queue.Settings) { s.MaxActive = limit })
		var mu sync.Mutex
		inside := make(map[queue.ID]bool)
		together(l, 8, func(g *line, i int) {
			ctx := context.Background()
			for round := range 10 {
				a := g.newcomer(fmt.Sprint(round))
				a.ID += queue.ID(i) << 48
				out, _, err := g.Store.Enter(ctx, &g.Call, []queue.Arrival{a}, nil)
				must(g, err)
				s, err := g.Store.Tick(ctx, &g.Call)
				must(g, err)
				if s.Called+s.Active > limit {
					g.Errorf("%d called and %d active, at most %d are allowed", s.Called, s.Active, limit)
				}
				a.Newcomer, a.Place = false, out[0].Place
				out, _, err = g.Store.Enter(ctx, &g.Call, []queue.Arrival{a}, out[:0])
				must(g, err)
				if out[0].State == queue.Admitted {
					mu.Lock()
					inside[a.ID] = true
					mu.Unlock()
				}
			}
		})
		s := l.tick()
		equal(t, "called and active", s.Called+s.Active, limit)
		equal(t, "waiting", s.Waiting, 80-limit)
		if len(inside) > limit {
			t.Errorf("%d were told that they are in", len(inside))
		}
	})

	t.Run("one ticket at ten gates at once is handed over once", func(t *testing.T) {
		l := newLine(t, open, nil)
		l.join("ann")
		l.tick()
		a := l.ticket("ann")
		var mu sync.Mutex
		claimed := 0
		together(l, 10, func(g *line, _ int) {
			out, _, err := g.Store.Enter(context.Background(), &g.Call, []queue.Arrival{a}, nil)
			must(g, err)
			if out[0].Claimed {
				mu.Lock()
				claimed++
				mu.Unlock()
			}
		})
		equal(t, "claimed", claimed, 1)
		l.counts(l.tick(), 0, 0, 0, 1)
	})

	t.Run("two gates that try a newcomer again give one place", func(t *testing.T) {
		l := newLine(t, open, func(s *queue.Settings) { s.Mode = queue.ModeHold })
		a := l.newcomer("ann")
		a.Again = true
		var mu sync.Mutex
		places := make(map[queue.Time]int)
		together(l, 8, func(g *line, _ int) {
			out, _, err := g.Store.Enter(context.Background(), &g.Call, []queue.Arrival{a}, nil)
			must(g, err)
			mu.Lock()
			places[out[0].Place]++
			mu.Unlock()
		})
		equal(t, "places", len(places), 1)
		l.counts(l.tick(), 1, 0, 0, 0)
	})

	t.Run("of operators at eight gates one changes a version", func(t *testing.T) {
		l := newLine(t, open, nil)
		var mu sync.Mutex
		won := 0
		together(l, 8, func(g *line, _ int) {
			err := g.Store.Override(context.Background(), g.Room, queue.Overrides{Version: 1})
			if err != nil && !errors.Is(err, queue.ErrConflict) {
				g.Error(err)
			}
			if err == nil {
				mu.Lock()
				won++
				mu.Unlock()
			}
		})
		equal(t, "changes", won, 1)
	})

	t.Run("everything at once keeps the counts right", func(t *testing.T) {
		l := newLine(t, open, func(s *queue.Settings) { s.MaxActive = 20 })
		together(l, 6, func(g *line, i int) {
			ctx := context.Background()
			for round := range 15 {
				a := g.newcomer(fmt.Sprint(round))
				out, m, err := g.Store.Enter(ctx, &g.Call, []queue.Arrival{a}, nil)
				must(g, err)
				switch round % 3 {
				case 0:
					_, _, err = g.Store.Leave(ctx, &g.Call, []queue.Departure{{ID: a.ID, Place: out[0].Place}}, nil)
				case 1:
					_, _, err = g.Store.Renew(ctx, &g.Call, []queue.Visit{{ID: a.ID, Place: out[0].Place, Called: m.Time, Until: m.Time, At: m.Time}}, nil)
				default:
					_, err = g.Store.Overrides(ctx, g.Room)
				}
				must(g, err)
				_, err = g.Store.Tick(ctx, &g.Call)
				must(g, err)
			}
		})
		s := l.tick()
		equal(t, "everybody who did not leave", s.Waiting+s.Away+s.Called+s.Active, 6*10)
	})

	t.Run("after an outage nobody is absent whose gate has yet to tell of them", func(t *testing.T) {
		for _, outage := range []time.Duration{3 * time.Second, 45 * time.Second, 10 * time.Hour} {
			l := newLine(t, still(open), func(s *queue.Settings) { s.Mode = queue.ModeHold })
			l.present = queue.PresentUntil(0, l.set.PollMin).Sub(0)
			l.join("ann", "bob")
			other := l.gate()
			other.look()
			l.pass(l.set.PollMin) // both poll at the other gate, which keeps their marks for up to a second
			l.pass(time.Second)
			l.Advance(outage)
			l.counts(l.tick(), 2, 0, 0, 0)
			l.pass(900 * time.Millisecond) // the other gate tries again once a second
			l.counts(l.tick(), 2, 0, 0, 0)
			other.now = l.now
			other.mark("ann")
			other.mark("bob")
			l.pass(5 * time.Second)
			l.counts(l.tick(), 2, 0, 0, 0)
		}
	})

	t.Run("a gate that has given up waits for no answer", func(t *testing.T) {
		l := newLine(t, open, nil)
		l.inside("ann")
		a := l.newcomer("bob")
		ctx := cancelled()
		calls := map[string]func() error{
			"enter": func() error { _, _, err := l.Store.Enter(ctx, &l.Call, []queue.Arrival{a}, nil); return err },
			"renew": func() error {
				_, _, err := l.Store.Renew(ctx, &l.Call, []queue.Visit{l.visit("ann")}, nil)
				return err
			},
			"leave": func() error {
				_, _, err := l.Store.Leave(ctx, &l.Call, []queue.Departure{{ID: l.given["ann"].id}}, nil)
				return err
			},
			"tick":      func() error { _, err := l.Store.Tick(ctx, &l.Call); return err },
			"overrides": func() error { _, err := l.Store.Overrides(ctx, l.Room); return err },
			"override":  func() error { return l.Store.Override(ctx, l.Room, queue.Overrides{Version: 1}) },
		}
		for name, call := range calls {
			start := time.Now()
			err := call()
			if !errors.Is(err, queue.ErrUnavailable) || !errors.Is(err, context.Canceled) {
				t.Errorf("%s: %v, want ErrUnavailable because the context is cancelled", name, err)
			}
			if d := time.Since(start); d > 5*time.Second {
				t.Errorf("%s took %s", name, d)
			}
		}
		l.counts(l.tick(), 0, 0, 0, 1)
	})
}
