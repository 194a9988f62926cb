package queuetest

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/sluicegate/sluice/queue"
)

// crowd puts n visitors in line, in batches, who then poll, and returns their names in
// order.
func (l *line) crowd(n int) (names []string) {
	l.Helper()
	names = l.bots(n)
	var in []queue.Arrival
	for _, name := range names {
		mark := l.ticket(name)
		mark.Claim = false
		if in = append(in, mark); len(in) == 500 {
			l.enter(in...)
			in = in[:0]
		}
	}
	l.enter(in...)
	return names
}

// bots puts n newcomers in line who may never poll.
func (l *line) bots(n int) (names []string) {
	l.Helper()
	mode := l.set.Mode
	l.set.Mode = queue.ModeHold
	for len(names) < n {
		var batch []queue.Arrival
		for range min(500, n-len(names)) {
			name := fmt.Sprint("visitor ", len(l.given))
			batch, names = append(batch, l.newcomer(name)), append(names, name)
		}
		for i, s := range l.enter(batch...) {
			l.wants(s, "waiting joined")
			l.keep(names[len(names)-len(batch)+i], s)
		}
	}
	l.set.Mode = mode
	return names
}

// limits: never over the rate, never over max_active.
func limits(t *testing.T, open Open) {
	t.Run("after a quiet time a burst is called, and no more", func(t *testing.T) {
		l := newLine(t, open, func(s *queue.Settings) { s.Rate, s.Burst = queue.Rate{N: 1, Per: queue.PerSecond}, 5 })
		l.crowd(20)
		equal(t, "calls", l.tick().NewCalls, 5)
		equal(t, "calls at once afterwards", l.tick().NewCalls, 0)
		l.pass(time.Hour)
		equal(t, "calls after an hour", l.tick().NewCalls, 5)
	})

	t.Run("calls follow the rate to the millisecond", func(t *testing.T) {
		l := newLine(t, open, func(s *queue.Settings) { s.Rate, s.Burst = queue.Rate{N: 4, Per: queue.PerSecond}, 1 })
		l.crowd(20)
		l.pass(time.Duration(999-l.now%1000) * time.Microsecond) // the last microsecond of a millisecond
		equal(t, "calls at first", l.tick().NewCalls, 1)
		l.pass(249 * time.Millisecond)
		equal(t, "calls after 249 ms", l.tick().NewCalls, 0)
		l.pass(time.Microsecond)
		equal(t, "calls after 249.001 ms, which is 250 by the clock that visitors see", l.tick().NewCalls, 1)
		l.pass(249 * time.Millisecond)
		equal(t, "calls 249 ms later", l.tick().NewCalls, 0)
		l.pass(time.Millisecond)
		equal(t, "calls 250 ms later", l.tick().NewCalls, 1)
	})

	t.Run("rates that a millisecond does not divide lose nothing", func(t *testing.T) {
		l := newLine(t, open, func(s *queue.Settings) { s.Rate, s.Burst = queue.Rate{N: 7, Per: queue.PerMinute}, 2 })
		l.crowd(30)
		equal(t, "calls at first", l.tick().NewCalls, 2)
		for range 900 { // 120 s, but for what is cut off
			l.pass(2 * time.Second / 15)
			l.tick()
		}
		l.pass(2 * time.Millisecond)
		equal(t, "calls in 120 s at 7/m, the burst included", l.tick().Calls, 16)
	})

	t.Run("one visitor an hour is one visitor an hour", func(t *testing.T) {
		l := newLine(t, open, func(s *queue.Settings) { s.Rate = queue.Rate{N: 1, Per: queue.PerHour} })
		l.crowd(3)
		equal(t, "calls at first", l.tick().NewCalls, 1)
		l.pass(time.Hour - time.Millisecond)
		equal(t, "calls a millisecond before the hour", l.tick().NewCalls, 0)
		l.pass(time.Millisecond)
		equal(t, "calls after an hour", l.tick().NewCalls, 1)
	})

	t.Run("who is let in on the spot takes from the same credit", func(t *testing.T) {
		l := newLine(t, open, func(s *queue.Settings) { s.Rate, s.Burst = queue.Rate{N: 1, Per: queue.PerSecond}, 3 })
		out := l.enter(l.newcomer("ann"), l.newcomer("bob"))
		l.wants(out[0], "admitted joined claimed provisional")
		l.wants(out[1], "admitted joined claimed provisional")
		l.crowd(5)
		equal(t, "calls", l.tick().NewCalls, 1)
	})

	t.Run("without credit nobody is let in on the spot", func(t *testing.T) {
		l := newLine(t, open, func(s *queue.Settings) { s.Rate = queue.Rate{N: 1, Per: queue.PerSecond} })
		l.wants(l.arrive("ann"), "admitted joined claimed provisional")
		a := l.newcomer("image")
		a.Join = false
		l.wants(l.arriveAs("image", a), "none")
		l.pass(time.Second)
		l.wants(l.arrive("bob"), "admitted joined claimed provisional")
		l.wants(l.arrive("cat"), "waiting joined")
	})

	t.Run("there are never more called and active than max_active", func(t *testing.T) {
		l := newLine(t, open, func(s *queue.Settings) { s.MaxActive = 4 })
		l.inside("ann", "bob")
		names := l.crowd(10)
		s := l.tick()
		equal(t, "calls", s.NewCalls, 2)
		l.counts(s, 8, 0, 2, 2)
		l.polls(names[0], "admitted claimed")
		l.counts(l.tick(), 8, 0, 1, 3)
		l.leave("ann")
		l.counts(l.tick(), 7, 0, 2, 2)
	})

	t.Run("a called visitor counts, so a newcomer finds the room full", func(t *testing.T) {
		l := newLine(t, open, func(s *queue.Settings) { s.MaxActive = 1 })
		l.wants(l.arrive("ann"), "admitted joined claimed provisional")
		l.wants(l.arrive("bob"), "waiting joined")
	})

	t.Run("lowering max_active throws nobody out and lets nobody in until the count is below it", func(t *testing.T) {
		l := newLine(t, open, func(s *queue.Settings) { s.MaxActive = 4 })
		l.inside("a", "b", "c", "d")
		l.join("e", "f")
		l.set.MaxActive = 2
		l.counts(l.tick(), 2, 0, 0, 4)
		l.leave("a")
		l.leave("b")
		l.counts(l.tick(), 2, 0, 0, 2)
		l.leave("c")
		l.counts(l.tick(), 1, 0, 1, 1)
		l.polls("e", "admitted claimed")
		equal(t, "d's pass is good", l.use("d").Gone, false)
	})

	t.Run("changing the rate neither gives nor takes what was earned before", func(t *testing.T) {
		l := newLine(t, open, func(s *queue.Settings) { s.Rate, s.Burst = queue.Rate{N: 1, Per: queue.PerSecond}, 10 })
		l.crowd(100)
		equal(t, "calls at first", l.tick().NewCalls, 10)
		l.pass(3 * time.Second)
		l.set.Rate = queue.Rate{N: 100, Per: queue.PerSecond}
		equal(t, "calls for 3 s at the old rate", l.tick().NewCalls, 3)
		l.pass(50 * time.Millisecond)
		equal(t, "calls for 50 ms at the new rate", l.tick().NewCalls, 5)
		l.pass(time.Second)
		l.set.Burst = 2
		s := l.tick()
		equal(t, "calls after the burst was lowered", s.NewCalls, 2)
		equal(t, "burst in force", s.Burst, 2)
		equal(t, "rate in force", s.PerHour, 360_000)
	})

	t.Run("a limit set where there was none starts without credit", func(t *testing.T) {
		l := newLine(t, open, nil)
		l.inside("ann")
		s := l.tick()
		equal(t, "rate in force", s.PerHour, -1)
		equal(t, "burst in force", s.Burst, 0)
		l.pass(time.Hour)
		l.crowd(10)
		l.set.Rate, l.set.Burst = queue.Rate{N: 2, Per: queue.PerSecond}, 5
		equal(t, "calls at once", l.tick().NewCalls, 0)
		l.pass(time.Second)
		equal(t, "calls in the first second", l.tick().NewCalls, 2)
		l.set.Rate, l.set.Burst = queue.NoRate, 0
		equal(t, "calls without a rate", l.tick().NewCalls, 8)
	})

	t.Run("hold earns up to a burst, which is what comes after it", func(t *testing.T) {
		l := newLine(t, open, func(s *queue.Settings) {
			s.Rate, s.Burst, s.Mode = queue.Rate{N: 1, Per: queue.PerSecond}, 3, queue.ModeHold
		})
		l.crowd(10)
		equal(t, "calls in hold", l.tick().NewCalls, 0)
		l.pass(time.Minute)
		equal(t, "calls in hold", l.tick().NewCalls, 0)
		l.set.Mode = queue.ModeAuto
		equal(t, "calls after hold", l.tick().NewCalls, 3)
	})

	t.Run("max_waiting refuses a place to who comes later, and to nobody else", func(t *testing.T) {
		l := newLine(t, open, func(s *queue.Settings) { s.MaxWaiting, s.Mode = 2, queue.ModeHold })
		l.present = 5 * time.Second
		l.join("ann")
		l.present = time.Hour
		l.wants(l.arrive("bob"), "waiting joined")
		s := l.arrive("cat")
		l.wants(s, "full")
		equal(t, "place", s.Place, 0)
		l.polls("bob", "waiting")
		retry := l.ticket("bob")
		retry.Newcomer, retry.Again, retry.Join = true, true, true
		l.wants(l.enter(retry)[0], "waiting")
		old := l.newcomer("old") // a ticket of whom the store knows nothing
		old.Newcomer = false
		old.Place = l.now.Add(-time.Minute)
		l.wants(l.arriveAs("old", old), "waiting restored")
		l.pass(6 * time.Second)
		l.counts(l.tick(), 2, 1, 0, 0)
		l.wants(l.arrive("dan"), "full")
		l.leave("old")
		l.wants(l.arrive("eve"), "waiting joined")
		l.polls("ann", "waiting")
	})

	t.Run("a line of thousands is called in steps, in order", func(t *testing.T) {
		l := newLine(t, open, nil)
		names := l.crowd(3500)
		called := int64(0)
		for range 100 {
			s, err := l.Store.Tick(context.Background(), &l.Call)
			l.heard(s.Moment, err)
			if s.NewCalls > 2000 {
				t.Fatalf("one tick called %d: its work must be bounded", s.NewCalls)
			}
			called += s.NewCalls
			equal(t, "front", s.Front, l.given[names[called-1]].place)
			if !s.More {
				break
			}
		}
		equal(t, "called", called, 3500)
	})
}
