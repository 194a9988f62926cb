package queuetest

import (
	"context"
	"testing"
	"time"

	"github.com/sluicegate/sluice/queue"
)

// slots: one ticket, one slot.
func slots(t *testing.T, open Open) {
	t.Run("a called visitor's poll takes the slot and says until when", func(t *testing.T) {
		l := newLine(t, open, nil)
		l.join("ann")
		l.pass(1500 * time.Microsecond)
		l.tick()
		called := l.now - l.now%1000
		l.pass(3 * time.Second)
		s := l.poll("ann")
		l.wants(s, "admitted claimed")
		equal(t, "place", s.Place, l.given["ann"].place)
		equal(t, "called", s.Called, called)
		equal(t, "until", s.Until, l.now.Add(l.set.Session))
		l.pass(time.Second)
		s = l.poll("ann") // in another tab
		l.wants(s, "admitted")
		equal(t, "called", s.Called, called)
		equal(t, "until", s.Until, l.now.Add(l.set.Session))
		l.counts(l.tick(), 0, 0, 0, 1)
	})

	t.Run("one ticket used by a hundred is one slot", func(t *testing.T) {
		l := newLine(t, open, func(s *queue.Settings) { s.MaxActive = 10 })
		l.join("ann")
		l.tick()
		var in []queue.Arrival
		for range 100 {
			in = append(in, l.ticket("ann"))
		}
		claimed := 0
		for _, s := range l.enter(in...) {
			equal(t, "state", s.State, queue.Admitted)
			if s.Claimed {
				claimed++
			}
		}
		equal(t, "claimed", claimed, 1)
		l.counts(l.tick(), 0, 0, 0, 1)
	})

	t.Run("a claim whose answer was lost is one slot, whoever asks again, and gives the pass", func(t *testing.T) {
		l := newLine(t, open, func(s *queue.Settings) { s.MaxActive = 2 })
		unheard := func(in queue.Arrival) {
			call := l.Call // which stays as it is: the gate learns nothing
			if _, _, err := l.Store.Enter(context.Background(), &call, []queue.Arrival{in}, nil); err != nil {
				t.Fatal(err)
			}
		}
		l.join("ann")
		called := l.tick()
		equal(t, "calls", called.NewCalls, 1)
		unheard(l.ticket("ann"))
		other := l.gate()
		other.look()
		again := l.ticket("ann")
		again.Again = true
		for _, s := range []queue.Standing{l.enter(again)[0], other.poll("ann"), l.poll("ann")} {
			l.wants(s, "admitted")
			equal(t, "called", s.Called.Millis(), called.Time.Millis())
			if left := s.Until.Sub(l.now); left < l.set.Session-time.Minute {
				t.Fatalf("the pass is good for %s", left)
			}
		}
		l.counts(l.tick(), 0, 0, 0, 1)

		first := l.newcomer("bob") // and one let in on the spot
		unheard(first)
		first.Again = true
		s := l.arriveAs("bob", first)
		l.wants(s, "admitted provisional")
		l.counts(l.tick(), 0, 0, 1, 1)
		call := l.Call
		if _, _, err := l.Store.Renew(context.Background(), &call, []queue.Visit{l.visit("bob")}, nil); err != nil {
			t.Fatal(err)
		}
		other.look()
		for _, g := range []*line{l, other} {
			r := g.use("bob")
			equal(t, "gone, claimed, restored", [3]bool{r.Gone, r.Claimed, r.Restored}, [3]bool{})
		}
		end := l.tick()
		l.counts(end, 0, 0, 0, 2)
		equal(t, "calls", end.Calls, 2)
		l.leave("ann")
		l.leave("bob")
		l.counts(l.tick(), 0, 0, 0, 0)
		l.polls("ann", "used")
		l.polls("bob", "used")
	})

	t.Run("a newcomer's second try has the place that the first was moved to", func(t *testing.T) {
		for mode, told := range map[queue.Mode][2]string{
			queue.ModeHold: {"waiting joined", "waiting"},
			queue.ModeAuto: {"admitted joined claimed provisional", "admitted provisional"},
		} {
			l := newLine(t, open, func(s *queue.Settings) { s.Mode = mode })
			a := l.newcomer("ann")
			a.Place = l.now.Add(-2 * queue.MaxLate)
			first := l.arriveAs("ann", a)
			l.wants(first, told[0])
			a.Again = true
			second := l.enter(a)[0]
			l.wants(second, told[1])
			equal(t, "place", second.Place, first.Place)
		}
	})

	t.Run("a gate that tells of an old pass ends no session that was renewed since", func(t *testing.T) {
		l := newLine(t, open, func(s *queue.Settings) { s.Session = time.Minute })
		l.inside("ann")
		old := l.visit("ann")
		l.pass(40 * time.Second)
		l.use("ann")
		l.pass(40 * time.Second)
		equal(t, "gone", l.renew(old)[0].Gone, false)
		l.counts(l.tick(), 0, 0, 0, 1)
	})

	t.Run("used tickets are told apart, however alike their ids are", func(t *testing.T) {
		l := newLine(t, open, nil)
		l.look()
		place := l.now // of one minute, and the ids are of one part
		ask := func(id queue.ID) queue.Standing {
			return l.enter(queue.Arrival{ID: id, Place: place, Deadline: l.now.Add(time.Hour), Claim: true})[0]
		}
		ids := []queue.ID{0x0201_0101_0101_0101, 0x0102_0202_0202_0101}
		for _, id := range ids {
			l.wants(ask(id), "waiting")
			l.tick()
			l.wants(ask(id), "admitted claimed")
		}
		l.pass(l.set.Session + queue.SlotMargin)
		equal(t, "ended", l.tick().Ended, 2)
		across := queue.ID(0x0101_0101_0101_0101) // the end of one and the beginning of the other
		l.wants(ask(across), "waiting")
		l.tick()
		l.wants(ask(across), "admitted claimed")
		l.pass(l.set.Session + queue.SlotMargin)
		l.tick()
		for _, id := range append(ids, across) {
			l.wants(ask(id), "used")
		}
	})

	t.Run("used tickets of one minute are remembered as long as the one that was used last", func(t *testing.T) {
		l := newLine(t, open, func(s *queue.Settings) { s.Session, s.KeepPlace = 10*time.Second, 3*time.Minute })
		l.join("ann", "bob")
		l.set.Mode = queue.ModeOpen
		l.polls("ann", "admitted claimed")
		l.set.Mode = queue.ModeHold
		l.pass(time.Minute)
		l.tick()
		l.set.Mode = queue.ModeOpen
		l.polls("bob", "admitted claimed")
		l.set.Mode = queue.ModeHold
		l.pass(l.set.UsedFor() - time.Second)
		l.tick()
		l.polls("bob", "used")
	})

	t.Run("who left stays away as long as the longest pass, also when they leave again", func(t *testing.T) {
		l := newLine(t, open, func(s *queue.Settings) { s.Session, s.KeepPlace = 10*time.Second, 3*time.Minute })
		l.inside("ann", "bob")
		ann := l.visit("ann")
		ann.Extend = time.Hour
		ann.Until = l.renew(ann)[0].Until
		bob := l.visit("bob") // whose ticket is of the same minute
		bob.Until = ann.Until
		for _, d := range []queue.Departure{
			{ID: ann.ID, Place: ann.Place, Until: ann.Until}, {ID: ann.ID, Place: ann.Place},
			{ID: bob.ID, Place: bob.Place}, {ID: bob.ID, Place: bob.Place, Until: bob.Until},
		} {
			if _, _, err := l.Store.Leave(context.Background(), &l.Call, []queue.Departure{d}, nil); err != nil {
				t.Fatal(err)
			}
		}
		l.pass(l.set.UsedFor() + 2*time.Minute)
		l.tick()
		for _, v := range []queue.Visit{ann, bob} {
			v.At = l.now
			equal(t, "gone", l.renew(v)[0].Gone, true)
		}
		l.polls("ann", "used")
		l.polls("bob", "used")
	})

	t.Run("a used ticket holds no slot once its session ended", func(t *testing.T) {
		l := newLine(t, open, func(s *queue.Settings) { s.MaxActive = 1 })
		l.join("ann")
		l.tick()
		l.polls("ann", "admitted claimed")
		l.pass(l.set.Session + queue.SlotMargin)
		equal(t, "ended", l.tick().Ended, 1)
		for range 3 {
			s := l.poll("ann")
			l.wants(s, "used")
			equal(t, "place", s.Place, 0)
			l.counts(l.tick(), 0, 0, 0, 0)
		}
		mark := l.mark("ann")
		l.wants(mark, "used")
		l.set.Mode = queue.ModeOpen
		l.polls("ann", "used")
		l.set.Mode = queue.ModeClosed
		l.polls("ann", "used")
	})

	t.Run("a used ticket is remembered until its last copy has expired, and then forgotten", func(t *testing.T) {
		l := newLine(t, open, func(s *queue.Settings) { s.Session, s.KeepPlace = 10*time.Second, 3*time.Minute })
		l.inside("ann")
		used := l.now
		l.pass(30 * time.Second)
		l.counts(l.tick(), 0, 0, 0, 0)
		l.pass(l.set.UsedFor() - l.now.Sub(used) - time.Second)
		l.tick()
		l.polls("ann", "used")
		for range 20 { // the memory of it need not end on the second
			l.pass(10 * time.Second)
			l.tick()
		}
		l.polls("ann", "waiting restored")
	})

	t.Run("a ticket whose id is made of pieces of used ones is not used", func(t *testing.T) {
		l := newLine(t, open, func(s *queue.Settings) { s.Mode = queue.ModeHold })
		l.look()
		place := l.now - 1
		for _, id := range []queue.ID{0x0101_0101_0202_0001, 0x0303_0001_0909_0001, 0x0000_0000_0000_0001, 0xffff_ffff_ffff_ff01} {
			_, m, err := l.Store.Leave(t.Context(), &l.Call, []queue.Departure{{ID: id, Place: place}}, nil)
			l.heard(m, err)
			l.wants(l.enter(queue.Arrival{ID: id, Place: place, Deadline: l.now, Claim: true})[0], "used")
		}
		for _, id := range []queue.ID{0x0202_0001_0303_0001, 0x0909_0001_0000_0001, 0x0000_0001_ffff_0001, 0x0001_0000_0000_0001, 0xffff_ffff_ffff_0001} {
			l.wants(l.enter(queue.Arrival{ID: id, Place: place, Deadline: l.now, Claim: true})[0], "waiting restored")
		}
	})

	t.Run("a slot lives a margin longer than its pass says", func(t *testing.T) {
		l := newLine(t, open, nil)
		l.inside("ann")
		l.pass(l.given["ann"].until.Sub(l.now) + queue.SlotMargin - time.Microsecond)
		l.counts(l.tick(), 0, 0, 0, 1)
		l.pass(time.Microsecond)
		s := l.tick()
		l.counts(s, 0, 0, 0, 0)
		equal(t, "ended", s.Ended, 1)
		equal(t, "no-shows", s.NoShows, 0)
	})

	t.Run("polling keeps a session alive", func(t *testing.T) {
		l := newLine(t, open, nil)
		l.inside("ann")
		for range 3 {
			l.pass(l.set.Session)
			l.tick()
			l.polls("ann", "admitted")
		}
	})

	t.Run("a session ends with max_session, however busy", func(t *testing.T) {
		l := newLine(t, open, func(s *queue.Settings) { s.Session, s.MaxSession = time.Minute, 90*time.Second })
		l.join("ann")
		l.tick()
		s := l.poll("ann")
		equal(t, "until", s.Until, l.now.Add(time.Minute))
		end := s.Called.Add(90 * time.Second)
		l.pass(50 * time.Second)
		equal(t, "until, by a poll", l.poll("ann").Until, end)
		equal(t, "until, by a use", l.use("ann").Until, end)
		v := l.visit("ann")
		v.Extend = time.Hour
		equal(t, "until, extended", l.renew(v)[0].Until, end)
		l.pass(end.Sub(l.now) + queue.SlotMargin - time.Microsecond)
		l.counts(l.tick(), 0, 0, 0, 1)
		l.pass(time.Microsecond)
		l.counts(l.tick(), 0, 0, 0, 0)
	})

	t.Run("a claim late in a short max_session does not outlive it", func(t *testing.T) {
		l := newLine(t, open, func(s *queue.Settings) { s.Session, s.MaxSession = time.Minute, 40*time.Second })
		l.join("ann")
		l.tick()
		l.pass(20 * time.Second)
		s := l.poll("ann")
		l.wants(s, "admitted claimed")
		equal(t, "until", s.Until, s.Called.Add(40*time.Second))
	})

	t.Run("a shorter session does not take back what was promised", func(t *testing.T) {
		l := newLine(t, open, nil)
		l.inside("ann")
		until := l.given["ann"].until
		l.set.Session = 10 * time.Second
		equal(t, "until, by a poll", l.poll("ann").Until, until)
		equal(t, "until, by a use", l.use("ann").Until, until)
		l.set.MaxSession = time.Minute
		equal(t, "until, by a use", l.use("ann").Until, until)
	})

	t.Run("a visitor let in on the spot who is heard of holds a session", func(t *testing.T) {
		l := newLine(t, open, nil)
		l.arrive("ann")
		l.pass(2 * time.Second)
		r := l.use("ann")
		equal(t, "renewal", r, queue.Renewal{Until: l.now.Add(l.set.Session), Claimed: true})
		l.pass(l.set.ClaimWithin)
		l.counts(l.tick(), 0, 0, 0, 1)
	})

	t.Run("who was let in on the spot and came gets no second session", func(t *testing.T) {
		l := newLine(t, open, nil)
		l.arrive("ann")
		l.use("ann")
		l.pass(l.set.Session + queue.SlotMargin)
		equal(t, "ended", l.tick().Ended, 1)
		l.polls("ann", "used")
	})

	t.Run("a visitor let in on the spot who polls holds a session", func(t *testing.T) {
		l := newLine(t, open, nil)
		first := l.arrive("ann")
		l.pass(2 * time.Second)
		s := l.poll("ann")
		l.wants(s, "admitted claimed")
		equal(t, "called", s.Called, first.Called)
		equal(t, "until", s.Until, l.now.Add(l.set.Session))
	})

	t.Run("a used ticket is not let in again as a newcomer's second try", func(t *testing.T) {
		l := newLine(t, open, nil)
		a := l.newcomer("ann")
		l.wants(l.arriveAs("ann", a), "admitted joined claimed provisional")
		l.use("ann")
		l.leave("ann")
		a.Again = true
		l.wants(l.enter(a)[0], "used")
		l.counts(l.tick(), 0, 0, 0, 0)
	})
}
