package queuetest

import (
	"testing"
	"time"

	"github.com/sluicegate/sluice/queue"
)

// absence: people who left cost nobody.
func absence(t *testing.T, open Open) {
	t.Run("who is not seen in time is in no position and keeps the place", func(t *testing.T) {
		l := newLine(t, open, func(s *queue.Settings) { s.Mode = queue.ModeHold })
		l.present = 5 * time.Second
		l.join("ann")
		l.present = time.Hour
		l.join("bob")
		l.pass(4 * time.Second)
		l.counts(l.tick(), 2, 0, 0, 0)
		l.behind("bob", 1)
		l.pass(time.Second)
		s := l.tick()
		l.counts(s, 1, 1, 0, 0)
		equal(t, "no-shows", s.NoShows, 0)
		l.behind("bob", 0)
		s2 := l.poll("ann")
		l.wants(s2, "waiting")
		equal(t, "place", s2.Place, l.given["ann"].place)
		equal(t, "rank", s2.Rank, 0)
		l.counts(l.tick(), 2, 0, 0, 0)
	})

	t.Run("the deadline of presence is exact", func(t *testing.T) {
		l := newLine(t, open, func(s *queue.Settings) { s.Mode = queue.ModeHold })
		a := l.newcomer("ann")
		a.Deadline = l.now.Add(5 * time.Second)
		l.arriveAs("ann", a)
		l.pass(a.Deadline.Sub(l.now) - time.Microsecond)
		l.counts(l.tick(), 1, 0, 0, 0)
		l.pass(time.Microsecond)
		l.counts(l.tick(), 0, 1, 0, 0)
	})

	t.Run("a mark moves the deadline later, never earlier", func(t *testing.T) {
		l := newLine(t, open, func(s *queue.Settings) { s.Mode = queue.ModeHold })
		l.present = 8 * time.Second
		l.join("ann")
		l.present = 2 * time.Second
		l.mark("ann")
		l.pass(5 * time.Second)
		l.counts(l.tick(), 1, 0, 0, 0)
		l.present = 6 * time.Second
		l.mark("ann")
		l.pass(5 * time.Second)
		l.counts(l.tick(), 1, 0, 0, 0)
		l.pass(time.Second)
		l.counts(l.tick(), 0, 1, 0, 0)
	})

	t.Run("visitors who left block nobody at the front", func(t *testing.T) {
		l := newLine(t, open, func(s *queue.Settings) { s.MaxActive = 2 })
		l.inside("zoe")
		l.present = 5 * time.Second
		l.crowd(50)
		l.present = time.Hour
		l.join("ann")
		l.pass(5 * time.Second)
		s := l.tick()
		equal(t, "calls", s.NewCalls, 1)
		l.counts(s, 0, 50, 1, 1)
		l.polls("ann", "admitted claimed")
	})

	t.Run("not one of thousands who left is called, in however many steps the store works", func(t *testing.T) {
		l := newLine(t, open, func(s *queue.Settings) { s.MaxActive = 3 })
		l.inside("zoe")
		l.present = 5 * time.Second
		l.crowd(6000)
		l.present = time.Hour
		l.join("ann", "bob", "cat")
		l.pass(6 * time.Second)
		s := l.tick()
		l.counts(s, 1, 6000, 2, 1)
		equal(t, "calls", s.NewCalls, 2)
		l.polls("ann", "admitted claimed")
		l.polls("bob", "admitted claimed")
		l.polls("cat", "waiting")
	})

	t.Run("a called visitor who does not come frees the slot and keeps the place", func(t *testing.T) {
		l := newLine(t, open, func(s *queue.Settings) { s.MaxActive, s.ClaimWithin = 1, 10*time.Second })
		l.join("ann", "bob")
		equal(t, "calls", l.tick().NewCalls, 1)
		l.pass(10*time.Second - time.Microsecond)
		l.counts(l.tick(), 1, 0, 1, 0)
		l.pass(time.Microsecond)
		s := l.tick()
		equal(t, "no-shows", s.NoShows, 1)
		equal(t, "calls", s.NewCalls, 1)
		l.counts(s, 0, 1, 1, 0)
		s2 := l.poll("ann")
		l.wants(s2, "waiting")
		equal(t, "place", s2.Place, l.given["ann"].place)
		equal(t, "rank", s2.Rank, 0)
		l.leave("bob")
		equal(t, "calls", l.tick().NewCalls, 1)
		l.polls("ann", "admitted claimed")
	})

	t.Run("the slot of a called visitor waits no longer than they said they would poll", func(t *testing.T) {
		l := newLine(t, open, func(s *queue.Settings) { s.MaxActive = 1 })
		l.present = 6 * time.Second
		l.join("ann")
		l.present = time.Hour
		l.join("bob")
		l.tick()
		l.pass(6*time.Second - 2*time.Microsecond)
		l.counts(l.tick(), 1, 0, 1, 0)
		l.pass(2 * time.Microsecond)
		s := l.tick()
		equal(t, "no-shows", s.NoShows, 1)
		equal(t, "calls", s.NewCalls, 1)
	})

	t.Run("a mark keeps the slot of a called visitor, at most for claim_within", func(t *testing.T) {
		l := newLine(t, open, func(s *queue.Settings) { s.MaxActive, s.ClaimWithin = 1, 10*time.Second })
		l.present = 6 * time.Second
		l.join("ann")
		l.pass(time.Second)
		l.tick()
		called := l.now
		for range 4 {
			l.pass(2 * time.Second)
			l.tick()
			l.wants(l.mark("ann"), "waiting") // a mark is answered to nobody
		}
		l.pass(called.Add(10*time.Second).Sub(l.now) - time.Millisecond)
		l.counts(l.tick(), 0, 0, 1, 0)
		l.pass(time.Millisecond)
		l.counts(l.tick(), 0, 1, 0, 0)
	})

	t.Run("a poll that comes after the claim was over, but before anybody noticed, gets the slot", func(t *testing.T) {
		l := newLine(t, open, func(s *queue.Settings) { s.MaxActive, s.ClaimWithin = 1, 10*time.Second })
		l.join("ann", "bob")
		l.tick()
		l.pass(11 * time.Second)
		l.polls("ann", "admitted claimed")
		l.counts(l.tick(), 1, 0, 0, 1)
	})

	t.Run("a visitor let in on the spot who never comes back holds the slot for claim_within", func(t *testing.T) {
		l := newLine(t, open, func(s *queue.Settings) { s.MaxActive = 1 })
		l.present = time.Second // the page is open for as long as it likes
		l.arrive("bot")
		l.present = time.Hour
		l.wants(l.arrive("ann"), "waiting joined")
		l.pass(l.set.ClaimWithin - time.Microsecond)
		equal(t, "calls", l.tick().NewCalls, 0)
		l.pass(time.Microsecond)
		s := l.tick()
		equal(t, "no-shows", s.NoShows, 1)
		equal(t, "calls", s.NewCalls, 1)
	})

	t.Run("an absent visitor's place is kept for keep_place, by the store; for longer, by the ticket", func(t *testing.T) {
		l := newLine(t, open, func(s *queue.Settings) { s.KeepPlace, s.Mode = 5*time.Minute, queue.ModeHold })
		l.present = 5 * time.Second
		l.join("ann")
		l.pass(5 * time.Second)
		l.counts(l.tick(), 0, 1, 0, 0)
		l.pass(5*time.Minute - time.Microsecond)
		s := l.tick()
		l.counts(s, 0, 1, 0, 0)
		equal(t, "abandoned", s.Abandoned, 0)
		l.pass(time.Microsecond)
		s = l.tick()
		l.counts(s, 0, 0, 0, 0)
		equal(t, "abandoned", s.Abandoned, 1)
		l.polls("ann", "waiting restored")
	})

	t.Run("absent visitors of any number go in steps", func(t *testing.T) {
		l := newLine(t, open, func(s *queue.Settings) { s.KeepPlace, s.Mode = time.Minute, queue.ModeHold })
		l.present = time.Second
		l.crowd(5000)
		l.pass(2 * time.Second)
		l.counts(l.tick(), 0, 5000, 0, 0)
		l.pass(2 * time.Minute)
		s := l.tick()
		l.counts(s, 0, 0, 0, 0)
		equal(t, "abandoned", s.Abandoned, 5000)
	})

	t.Run("sessions of any number end in steps, and their slots are used at once", func(t *testing.T) {
		l := newLine(t, open, func(s *queue.Settings) { s.MaxActive = 3000 })
		names := l.crowd(3000)
		l.tick()
		for len(names) > 0 {
			var in []queue.Arrival
			for _, name := range names[:500] {
				in = append(in, l.ticket(name))
			}
			for _, s := range l.enter(in...) {
				l.wants(s, "admitted claimed")
			}
			names = names[500:]
		}
		l.crowd(3000)
		l.pass(l.set.Session + queue.SlotMargin)
		s := l.tick()
		l.counts(s, 0, 0, 3000, 0)
		equal(t, "ended", s.Ended, 3000)
	})
}
