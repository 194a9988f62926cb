package queuetest

import (
	"fmt"
	"testing"
	"time"

	"github.com/sluicegate/sluice/queue"
)

// order: first come, first served.
func order(t *testing.T, open Open) {
	t.Run("visitors are called in the order they came", func(t *testing.T) {
		l := newLine(t, open, func(s *queue.Settings) { s.MaxActive = 1 })
		l.inside("ann")
		l.join("bob", "cat", "dan")
		last := "ann"
		for _, next := range []string{"bob", "cat", "dan"} {
			l.leave(last)
			equal(t, "calls", l.tick().NewCalls, 1)
			l.polls(next, "admitted claimed")
			last = next
		}
	})

	t.Run("who asked first stands first, whichever request arrives first", func(t *testing.T) {
		l := newLine(t, open, nil)
		l.set.Mode = queue.ModeHold
		late, early := l.newcomer("late"), l.newcomer("early")
		early.Place = late.Place - 1
		l.arriveAs("late", late)
		l.arriveAs("early", early)
		l.behind("early", 0)
		l.behind("late", 1)
	})

	t.Run("who came in the same microsecond stand in the order of their ids", func(t *testing.T) {
		l := newLine(t, open, func(s *queue.Settings) { s.MaxActive = 1 })
		l.inside("ann")
		// As signed numbers, as doubles and as text that ends at a zero byte these
		// would sort otherwise.
		ids := []queue.ID{2, 0x7fff_ffff_ffff_ffff, 0x8000_0000_0000_0000, 0x8000_0000_0000_0001, 0xff00_0000_0000_0000, 0xff00_0000_0000_00ff, 0xffff_ffff_ffff_ffff}
		now := l.now
		for _, i := range []int{4, 0, 6, 2, 1, 5, 3} {
			a := queue.Arrival{ID: ids[i], Place: now, Deadline: now.Add(time.Hour), Newcomer: true, Join: true, Claim: true}
			l.wants(l.enter(a)[0], "waiting joined")
		}
		l.leave("ann")
		for i, id := range ids {
			for rank, waiting := range ids[i:] {
				s := l.enter(queue.Arrival{ID: waiting, Place: now, Deadline: now.Add(time.Hour), Claim: true})[0]
				equal(t, fmt.Sprintf("rank of %x", waiting), s.Rank, int64(rank))
			}
			equal(t, "calls", l.tick().NewCalls, 1)
			s := l.enter(queue.Arrival{ID: id, Place: now, Deadline: now.Add(time.Hour), Claim: true})[0]
			l.wants(s, "admitted claimed")
			equal(t, "place", s.Place, now)
			_, m, err := l.Store.Leave(t.Context(), &l.Call, []queue.Departure{{ID: id, Place: now}}, nil)
			l.heard(m, err)
		}
	})

	t.Run("a newcomer does not take a freed slot before the line", func(t *testing.T) {
		l := newLine(t, open, func(s *queue.Settings) { s.MaxActive = 1 })
		l.inside("ann")
		l.join("bob")
		l.leave("ann")
		l.wants(l.arrive("cat"), "waiting joined")
		equal(t, "calls", l.tick().NewCalls, 1)
		l.polls("cat", "waiting")
		l.polls("bob", "admitted claimed")
	})

	t.Run("nobody overtakes the line when a session ends", func(t *testing.T) {
		l := newLine(t, open, func(s *queue.Settings) { s.MaxActive = 1 })
		l.inside("ann")
		l.join("bob")
		l.pass(l.set.Session + queue.SlotMargin)
		l.wants(l.arrive("cat"), "waiting joined")
		s := l.tick()
		equal(t, "ended", s.Ended, 1)
		equal(t, "calls", s.NewCalls, 1)
		l.polls("bob", "admitted claimed")
		l.polls("cat", "waiting")
	})

	t.Run("while somebody waits, a newcomer who does not join is turned away", func(t *testing.T) {
		l := newLine(t, open, nil)
		l.join("ann")
		a := l.newcomer("image")
		a.Join = false
		s := l.arriveAs("image", a)
		l.wants(s, "none")
		equal(t, "place", s.Place, 0)
		l.counts(l.tick(), 0, 0, 1, 0)
	})

	t.Run("when nobody waits a newcomer is let in on the spot, joining or not", func(t *testing.T) {
		l := newLine(t, open, nil)
		a := l.newcomer("ann")
		a.Join = false
		s := l.arriveAs("ann", a)
		l.wants(s, "admitted joined claimed provisional")
		equal(t, "place", s.Place, a.Place)
		equal(t, "called", s.Called, l.now-l.now%1000)
		equal(t, "until", s.Until, l.now.Add(l.set.ClaimWithin-l.set.ClaimMargin()))
		l.wants(l.arrive("bob"), "admitted joined claimed provisional")
		sn := l.tick()
		l.counts(sn, 0, 0, 2, 0)
		equal(t, "calls", sn.Calls, 2)
	})

	t.Run("in one batch the first asked is the first served", func(t *testing.T) {
		l := newLine(t, open, func(s *queue.Settings) { s.MaxActive = 1 })
		out := l.enter(l.newcomer("ann"), l.newcomer("bob"), l.newcomer("cat"))
		l.wants(out[0], "admitted joined claimed provisional")
		l.wants(out[1], "waiting joined")
		l.wants(out[2], "waiting joined")
		equal(t, "cat's rank", out[2].Rank, 1)
	})

	t.Run("an earlier visitor who comes back is called before later ones", func(t *testing.T) {
		l := newLine(t, open, func(s *queue.Settings) { s.MaxActive = 1 })
		l.inside("zoe")
		l.present = 5 * time.Second
		l.join("ann")
		l.present = time.Hour
		l.join("bob")
		l.pass(6 * time.Second)
		l.counts(l.tick(), 1, 1, 0, 1)
		l.polls("bob", "waiting")
		l.polls("ann", "waiting")
		l.behind("bob", 1)
		l.leave("zoe")
		equal(t, "calls", l.tick().NewCalls, 1)
		l.polls("bob", "waiting")
		l.polls("ann", "admitted claimed")
	})

	t.Run("a called visitor is let in at the next poll, at any gate", func(t *testing.T) {
		l := newLine(t, open, nil)
		l.join("ann", "bob", "cat")
		equal(t, "calls", l.tick().NewCalls, 3)
		other := l.gate()
		other.now = l.now
		for _, name := range []string{"cat", "bob", "ann"} {
			other.wants(other.poll(name), "admitted claimed")
		}
	})

	t.Run("lines of two rooms do not touch", func(t *testing.T) {
		l := newLine(t, open, nil)
		l.join("ann")
		other := l.gate()
		other.Room = "drop2"
		other.wants(other.arrive("bob"), "admitted joined claimed provisional")
		other.counts(other.tick(), 0, 0, 1, 0)
		l.counts(l.tick(), 0, 0, 1, 0)
		other.wants(other.poll("ann"), "waiting restored")
	})
}
