package queuetest

import (
	"fmt"
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
		for _, polls := range []bool{true, false} {
			a := l.newcomer(fmt.Sprint("polls ", polls))
			a.Deadline = l.now.Add(5 * time.Second)
			l.enter(a)
			if polls {
				a.Newcomer, a.Claim = false, false
				l.enter(a)
			}
			l.pass(a.Deadline.Sub(l.now) - time.Microsecond)
			equal(t, "waiting", l.tick().Waiting, 1)
			l.pass(time.Microsecond)
			equal(t, "waiting", l.tick().Waiting, 0)
		}
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
		for _, polled := range []bool{true, false} {
			l := newLine(t, open, func(s *queue.Settings) { s.MaxActive = 3 })
			l.inside("zoe")
			l.present = 5 * time.Second
			kept := int64(0)
			if polled {
				kept = int64(len(l.crowd(6000)))
			} else {
				l.bots(6000)
			}
			l.present = time.Hour
			l.join("ann", "bob", "cat")
			l.pass(6 * time.Second)
			s := l.tick()
			l.counts(s, 1, kept, 2, 1)
			equal(t, "calls, abandoned", [2]int64{s.NewCalls, s.Abandoned}, [2]int64{2, 6000 - kept})
			l.polls("ann", "admitted claimed")
			l.polls("bob", "admitted claimed")
			l.polls("cat", "waiting")
		}
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
		l.look()
		l.pass(2 * time.Second)
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
		l.polls("ann", "waiting")
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

	t.Run("who never polls is forgotten, and comes back at their place as one who was never lost", func(t *testing.T) {
		l := newLine(t, open, func(s *queue.Settings) { s.Rate, s.Burst = queue.Rate{N: 1, Per: queue.PerSecond}, 1 })
		l.look()
		l.pass(5 * time.Second)
		l.set.Mode = queue.ModeHold
		l.present = 5 * time.Second
		l.wants(l.arrive("ann"), "waiting joined")
		l.present = time.Hour
		l.join("bob")
		l.pass(5 * time.Second)
		s := l.tick()
		l.counts(s, 1, 0, 0, 0)
		equal(t, "abandoned, no-shows", [2]int64{s.Abandoned, s.NoShows}, [2]int64{1, 0})
		l.behind("bob", 0)
		s2 := l.poll("ann")
		l.wants(s2, "waiting")
		equal(t, "place", s2.Place, l.given["ann"].place)
		equal(t, "rank", s2.Rank, 0)
		l.behind("bob", 1)
		l.set.Mode = queue.ModeAuto
		s = l.tick()
		l.counts(s, 1, 0, 1, 0)
		equal(t, "held", s.Held, 0)
		l.polls("ann", "admitted claimed")
	})

	t.Run("who comes back is heard of, and kept when they go again", func(t *testing.T) {
		l := newLine(t, open, func(s *queue.Settings) { s.Mode = queue.ModeHold })
		l.look()
		l.pass(2 * time.Second)
		l.present = 5 * time.Second
		l.wants(l.arrive("ann"), "waiting joined")
		l.pass(5 * time.Second)
		l.counts(l.tick(), 0, 0, 0, 0)
		l.polls("ann", "waiting")
		l.pass(5 * time.Second)
		l.counts(l.tick(), 0, 1, 0, 0)
	})

	t.Run("one poll is enough to be kept, however soon it promises the next", func(t *testing.T) {
		l := newLine(t, open, func(s *queue.Settings) { s.Mode = queue.ModeHold })
		for _, name := range []string{"ann", "bob", "cat", "dan"} {
			l.present = 10 * time.Second
			l.wants(l.arrive(name), "waiting joined")
		}
		l.present = time.Second
		l.wants(l.poll("ann"), "waiting")
		l.wants(l.mark("bob"), "waiting")
		mark := l.ticket("cat")
		mark.Claim = false
		l.enter(mark, mark, mark)
		l.pass(10 * time.Second)
		s := l.tick()
		l.counts(s, 0, 3, 0, 0)
		equal(t, "abandoned", s.Abandoned, 1)
	})

	t.Run("a called visitor who never polled is forgotten when the slot is free again", func(t *testing.T) {
		l := newLine(t, open, func(s *queue.Settings) { s.MaxActive, s.ClaimWithin = 4, 10*time.Second })
		l.look()
		l.pass(2 * time.Second)
		l.set.Mode = queue.ModeHold
		l.wants(l.arrive("bot"), "waiting joined")
		l.wants(l.arrive("ann"), "waiting joined")
		l.join("bob")
		l.set.Mode = queue.ModeAuto
		l.counts(l.tick(), 0, 0, 3, 0)
		l.wants(l.arrive("spot"), "admitted joined claimed provisional")
		l.pass(time.Second)
		l.wants(l.mark("ann"), "waiting") // who left before the next poll
		l.pass(10 * time.Second)
		s := l.tick()
		equal(t, "no-shows, abandoned", [2]int64{s.NoShows, s.Abandoned}, [2]int64{4, 2})
		l.counts(s, 0, 2, 0, 0)
		for _, name := range []string{"spot", "bot"} {
			s := l.poll(name)
			l.wants(s, "waiting")
			equal(t, name+"'s place", s.Place, l.given[name].place)
		}
		equal(t, "calls", l.tick().NewCalls, 2)
		l.polls("bot", "admitted claimed")
	})

	t.Run("who was let in on the spot and asked once more is kept", func(t *testing.T) {
		l := newLine(t, open, func(s *queue.Settings) { s.ClaimWithin = 10 * time.Second })
		a := l.newcomer("ann")
		l.wants(l.arriveAs("ann", a), "admitted joined claimed provisional")
		a.Again = true
		l.wants(l.arriveAs("ann", a), "admitted provisional")
		l.pass(10 * time.Second)
		l.counts(l.tick(), 0, 1, 0, 0)
	})

	t.Run("newcomers of any number who never poll are forgotten, in steps", func(t *testing.T) {
		l := newLine(t, open, func(s *queue.Settings) { s.Mode, s.MaxWaiting = queue.ModeHold, 4000 })
		l.present = time.Hour
		people := l.crowd(100)
		for minute := range 3 {
			l.present = 30 * time.Second
			joined := int64(0)
			for range 10 {
				var in []queue.Arrival
				for i := range 500 {
					in = append(in, l.newcomer(fmt.Sprint("bot ", minute, len(l.given), i)))
				}
				for _, s := range l.enter(in...) {
					if s.Joined {
						joined++
					}
				}
			}
			equal(t, "joined", joined, 3900)
			l.behind(people[99], 99)
			l.pass(30 * time.Second)
			s := l.tick()
			equal(t, "abandoned", s.Abandoned, 3900)
			l.counts(s, 100, 0, 0, 0)
		}
		l.present = time.Hour
		l.behind(people[99], 99)
	})

	t.Run("a forgotten visitor from before a loss is restored", func(t *testing.T) {
		l := newLine(t, still(open), func(s *queue.Settings) { s.Mode = queue.ModeHold })
		l.look()
		l.pass(2 * time.Second)
		l.present = 5 * time.Second
		l.wants(l.arrive("ann"), "waiting joined")
		l.pass(5 * time.Second)
		l.counts(l.tick(), 0, 0, 0, 0)
		l.Told = l.now.Add(time.Second) // it had told of what it does not know
		l.polls("ann", "waiting restored")
		l.pass(2 * time.Second)
		l.present = 5 * time.Second
		l.wants(l.arrive("bob"), "waiting joined")
		l.pass(5 * time.Second)
		l.tick()
		l.polls("bob", "waiting")
	})

	t.Run("no more absent visitors are remembered than may wait, and the others keep their places too", func(t *testing.T) {
		l := newLine(t, open, func(s *queue.Settings) { s.Mode = queue.ModeHold })
		l.look()
		l.pass(2 * time.Second)
		l.present = 5 * time.Second
		first := l.crowd(3000)
		l.pass(3 * time.Second)
		l.crowd(50)
		l.pass(3 * time.Second)
		l.set.MaxWaiting = 100
		s := l.tick()
		l.counts(s, 50, 100, 0, 0)
		equal(t, "abandoned", s.Abandoned, 2900)
		l.pass(3 * time.Second)
		s = l.tick()
		l.counts(s, 0, 100, 0, 0)
		equal(t, "abandoned", s.Abandoned, 50)
		l.leave(first[0])
		for i, name := range first[1:] {
			if i%500 > 0 {
				continue
			}
			s := l.poll(name)
			l.wants(s, "waiting")
			equal(t, name+"'s place", s.Place, l.given[name].place)
		}
		l.present = time.Hour
		l.behind(first[1], 0)
	})
}
