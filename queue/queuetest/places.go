package queuetest

import (
	"fmt"
	"testing"
	"time"

	"github.com/sluicegate/sluice/queue"
)

// places: nobody loses theirs.
func places(t *testing.T, open Open) {
	t.Run("reload keeps the place", func(t *testing.T) {
		l := newLine(t, open, nil)
		l.join("ann", "bob", "cat")
		l.set.Mode = queue.ModeHold
		want := l.given["ann"].place
		l.pass(time.Second)
		for range 3 {
			s := l.poll("ann")
			l.wants(s, "waiting")
			equal(t, "place", s.Place, want)
			equal(t, "rank", s.Rank, 0)
		}
		l.behind("bob", 1)
		l.behind("cat", 2)
	})

	t.Run("a place is the instant of the first request, not of its arrival at the store", func(t *testing.T) {
		l := newLine(t, still(open), func(s *queue.Settings) { s.Mode = queue.ModeHold })
		for _, row := range []struct {
			name      string
			age, want time.Duration
		}{
			{"right now", 0, 0},
			{"a microsecond ago", time.Microsecond, time.Microsecond},
			{"two seconds ago", queue.MaxLate, queue.MaxLate},
			{"a microsecond too early", queue.MaxLate + time.Microsecond, queue.MaxLate},
			{"an hour ago", time.Hour, queue.MaxLate},
			{"later than now", -time.Microsecond, 0},
			{"tomorrow", -24 * time.Hour, 0},
		} {
			a := l.newcomer(row.name)
			a.Place = l.now.Add(-row.age)
			equal(t, row.name, l.arriveAs(row.name, a).Place, l.now.Add(-row.want))
		}
	})

	t.Run("a newcomer who was answered before takes a place, not a slot", func(t *testing.T) {
		for _, mode := range []queue.Mode{queue.ModeAuto, queue.ModeOpen} {
			l := newLine(t, open, func(s *queue.Settings) { s.Mode = mode })
			a := l.newcomer("ann")
			a.Claim = false
			s := l.arriveAs("ann", a)
			l.wants(s, "waiting joined")
			equal(t, "rank", s.Rank, -1)
			if mode == queue.ModeOpen {
				l.polls("ann", "admitted claimed")
				continue
			}
			l.wants(l.arrive("bob"), "waiting joined")
			equal(t, "calls", l.tick().NewCalls, 2)
			a.Again = true
			l.wants(l.arriveAs("ann", a), "waiting") // sent twice, when she was called already
			l.polls("ann", "admitted claimed")
		}
	})

	t.Run("a request that is sent again has one place", func(t *testing.T) {
		l := newLine(t, open, func(s *queue.Settings) { s.Mode = queue.ModeHold })
		a := l.newcomer("ann")
		a.Place -= 5
		first := l.arriveAs("ann", a)
		l.wants(l.arrive("bob"), "waiting joined")
		l.pass(7 * time.Second)
		a.Again = true
		again := l.arriveAs("ann", a)
		equal(t, "state", again.State, queue.Waiting)
		equal(t, "place", again.Place, first.Place)
		equal(t, "rank", again.Rank, 0)
		l.behind("bob", 1)
		l.counts(l.tick(), 2, 0, 0, 0)
	})

	t.Run("a request that is carried out only after it was sent again changes nothing", func(t *testing.T) {
		for what, later := range map[string]func(l *line){
			"waiting": func(*line) {},
			"admitted": func(l *line) {
				l.set.Mode = queue.ModeOpen
				l.polls("ann", "admitted claimed")
				l.set.Mode = queue.ModeHold
			},
			"used": func(l *line) { l.leave("ann") },
		} {
			l := newLine(t, still(open), func(s *queue.Settings) { s.Mode = queue.ModeHold })
			l.look()
			slow, lost := *l, l.newcomer("ann") // the store hangs with it
			a := lost
			a.Again = true
			l.wants(l.arriveAs("ann", a), "waiting joined")
			later(l)
			l.wants(l.arrive("bob"), "waiting joined")
			l.pass(queue.LateCall + time.Millisecond)
			before := l.tick()
			l.wants(slow.enter(lost)[0], what)
			after := l.tick()
			l.counts(after, before.Waiting, before.Away, before.Called, before.Active)
			equal(t, "generation", after.Generation, before.Generation)
			if what == "waiting" {
				equal(t, "place", l.poll("ann").Place, l.given["ann"].place)
				l.behind("bob", 1)
			}
		}
	})

	t.Run("a request that is sent again and was let in on the spot holds one slot", func(t *testing.T) {
		l := newLine(t, open, func(s *queue.Settings) { s.MaxActive = 2 })
		a := l.newcomer("ann")
		first := l.arriveAs("ann", a)
		l.pass(3 * time.Second)
		a.Again = true
		again := l.arriveAs("ann", a)
		equal(t, "state", again.State, queue.Admitted)
		equal(t, "provisional", again.Provisional, true)
		equal(t, "place", again.Place, first.Place)
		equal(t, "called", again.Called, first.Called)
		equal(t, "until", again.Until, first.Until)
		s := l.tick()
		l.counts(s, 0, 0, 1, 0)
		equal(t, "calls", s.Calls, 1)
	})

	t.Run("a request that is sent again after its visitor was called gets a pass that is good", func(t *testing.T) {
		l := newLine(t, open, func(s *queue.Settings) { s.MaxActive = 1 })
		l.inside("zoe")
		l.present = 6 * time.Second
		a := l.newcomer("ann")
		l.wants(l.arriveAs("ann", a), "waiting joined")
		l.leave("zoe")
		equal(t, "calls", l.tick().NewCalls, 1)
		l.pass(time.Second)
		a.Again = true
		s := l.arriveAs("ann", a)
		equal(t, "state", s.State, queue.Admitted)
		if s.Until < l.now.Add(5*time.Second) {
			t.Fatalf("the pass is good until %s from now", s.Until.Sub(l.now))
		}
		// The slot outlives the pass.
		l.pass(s.Until.Sub(l.now))
		sn := l.tick()
		equal(t, "called and active", sn.Called+sn.Active, 1)
	})

	t.Run("a ticket that the store does not know returns to its place", func(t *testing.T) {
		l := newLine(t, open, func(s *queue.Settings) { s.Mode = queue.ModeHold })
		l.join("bob")
		for _, row := range []struct {
			name string
			age  time.Duration
			rank int64
		}{{"an hour old", time.Hour, 0}, {"a day old", 24 * time.Hour, 0}, {"two hours old", 2 * time.Hour, 1}} {
			a := l.newcomer(row.name)
			a.Newcomer, a.Join = false, false
			a.Place = l.now.Add(-row.age)
			s := l.arriveAs(row.name, a)
			l.wants(s, "waiting restored")
			equal(t, row.name+": place", s.Place, a.Place)
			equal(t, row.name+": rank", s.Rank, row.rank)
			l.polls(row.name, "waiting")
		}
		l.behind("bob", 3)
		l.counts(l.tick(), 4, 0, 0, 0)
	})

	t.Run("a ticket from the future returns no later than a moment from now", func(t *testing.T) {
		l := newLine(t, open, func(s *queue.Settings) { s.Mode = queue.ModeHold })
		a := l.newcomer("ann")
		a.Newcomer = false
		a.Place = l.now.Add(time.Hour)
		s := l.arriveAs("ann", a)
		l.wants(s, "waiting")
		equal(t, "place", s.Place, l.now.Add(queue.MaxStep))
	})

	t.Run("tickets from a moment ahead of a store that forgot it stay in order", func(t *testing.T) {
		l := newLine(t, still(open), func(s *queue.Settings) { s.Mode = queue.ModeHold })
		l.look()
		var tickets []queue.Arrival
		for i := range 3 {
			tickets = append(tickets, queue.Arrival{ID: queue.ID(9 - i), Place: l.now.Add(time.Second) + queue.Time(i), Deadline: l.now.Add(time.Hour), Claim: true})
		}
		l.enter(tickets[2], tickets[0], tickets[1])
		for i, a := range tickets {
			s := l.enter(a)[0]
			equal(t, fmt.Sprint("place of ticket ", i), s.Place, a.Place)
			equal(t, fmt.Sprint("those before ticket ", i), s.Rank, int64(i))
		}
	})

	t.Run("what the store knows wins over a later place in the ticket", func(t *testing.T) {
		l := newLine(t, open, func(s *queue.Settings) { s.Mode = queue.ModeHold })
		l.join("ann", "bob")
		a := l.ticket("ann")
		a.Place = l.given["bob"].place + 1
		s := l.enter(a)[0]
		equal(t, "place", s.Place, l.given["ann"].place)
		equal(t, "rank", s.Rank, 0)
	})

	t.Run("a place that was moved because the store heard of it late goes back to what the ticket says", func(t *testing.T) {
		for _, away := range []bool{false, true} {
			l := newLine(t, still(open), func(s *queue.Settings) { s.Mode = queue.ModeHold })
			l.join("ann")
			l.pass(10 * time.Second)
			l.join("bob")
			a := l.newcomer("late")
			ticket := l.given["ann"].place + 1
			a.Place, a.Deadline = ticket, l.now.Add(4*time.Second)
			l.present = 4 * time.Second
			l.wants(l.arriveAs("late", a), "waiting joined")
			equal(t, "place at first", l.given["late"].place, l.now.Add(-queue.MaxLate))
			if away {
				l.mark("late")
				l.pass(5 * time.Second)
				l.counts(l.tick(), 2, 1, 0, 0)
			}
			a = l.ticket("late")
			a.Place = ticket
			s := l.enter(a)[0]
			equal(t, "place", s.Place, ticket)
			equal(t, "rank", s.Rank, 1)
			l.behind("bob", 2)
			l.counts(l.tick(), 3, 0, 0, 0)
		}
	})

	t.Run("a first call that is carried out after its second try, or later, does nothing", func(t *testing.T) {
		for name, row := range map[string]struct {
			change func(*queue.Settings)
			then   func(l *line)
			age    time.Duration
			says   string
		}{
			"waiting":                   {func(s *queue.Settings) { s.Mode = queue.ModeHold }, func(*line) {}, 5 * time.Second, "waiting"},
			"let in on the spot":        {func(s *queue.Settings) { s.MaxActive = 1 }, func(*line) {}, 0, "admitted provisional"},
			"let in on the spot, later": {func(s *queue.Settings) { s.MaxActive = 1 }, func(*line) {}, 5 * time.Second, "admitted provisional"},
			"inside":                    {func(s *queue.Settings) { s.MaxActive = 1 }, func(l *line) { l.use("ann") }, 0, "admitted"},
			"inside, later":             {func(s *queue.Settings) { s.MaxActive = 1 }, func(l *line) { l.use("ann") }, 5 * time.Second, "admitted"},
			"absent":                    {func(s *queue.Settings) { s.Mode = queue.ModeHold }, func(l *line) { l.mark("ann"); l.pass(61 * time.Second); l.tick() }, 0, "waiting"},
			"left":                      {nil, func(l *line) { l.leave("ann") }, 5 * time.Second, "used"},
		} {
			l := newLine(t, still(open), row.change)
			l.present = time.Minute
			first := l.newcomer("ann")
			again := first
			again.Again = true
			sent := l.Call
			l.arriveAs("ann", again)
			row.then(l)
			l.pass(row.age)
			before := l.tick()
			late, call := l.Call, l.Call
			late.Told = sent.Told
			l.Call = late
			answer := l.enter(first)[0]
			l.Call = call
			if got := says(answer); got != row.says {
				t.Errorf("%s: the late call is told %q, want %q", name, got, row.says)
			}
			s := l.tick()
			l.pass(time.Second)
			if got, want := s.Waiting+s.Away+s.Called+s.Active, before.Waiting+before.Away+before.Called+before.Active; got != want {
				t.Errorf("%s: %d are known, before the late call %d", name, got, want)
			}
			if s := l.tick(); s.Generation != before.Generation {
				t.Errorf("%s: the store finds a loss: %+v", name, s.Loss)
			}
		}
	})

	t.Run("two visitors never get one number after a retry", func(t *testing.T) {
		l := newLine(t, open, func(s *queue.Settings) { s.Mode = queue.ModeHold })
		a, b := l.newcomer("ann"), l.newcomer("bob")
		b.Place = a.Place
		l.enter(a)
		a.Again = true
		out := l.enter(b, a)
		equal(t, "places", out[0].Place, out[1].Place) // the same instant
		equal(t, "ranks", [2]int64{out[0].Rank, out[1].Rank}, [2]int64{1, 0})
	})

	t.Run("places of sixteen digits are exact to the microsecond", func(t *testing.T) {
		l := newLine(t, open, func(s *queue.Settings) { s.Mode = queue.ModeHold })
		// Room time as late as it may get, so that no rounding goes unseen.
		l.look()
		l.Generation = 0
		l.Told = 1<<53 - 1 - queue.Time(48*time.Hour/time.Microsecond)
		l.Place = l.Told
		l.present = 47 * time.Hour
		l.look()
		if l.now != l.Told {
			t.Fatalf("room time is %d, want %d", l.now, l.Told)
		}
		names := []string{"a", "b", "c", "d", "e", "f", "g"}
		for i, name := range names {
			a := l.newcomer(name)
			a.Place = l.Told - queue.Time(len(names)-i)
			s := l.arriveAs(name, a)
			equal(t, name, s.Place, a.Place)
			equal(t, name, s.Rank, int64(i))
		}
		s := l.tick()
		for i, name := range names {
			equal(t, "ladder", s.Ladder.Places[i], l.given[name].place)
		}
		equal(t, "last", s.Ladder.Last, l.given["g"].place)
		l.set.Mode, l.set.MaxActive = queue.ModeAuto, 3
		s = l.tick()
		equal(t, "front", s.Front, l.given["c"].place)
		equal(t, "room time", s.Time, l.now)
		got := l.poll("b")
		equal(t, "place", got.Place, l.given["b"].place)
		equal(t, "until", got.Until, l.now.Add(l.set.Session))
		old := l.newcomer("old")
		old.Newcomer = false
		old.Place = l.Told - 6
		got = l.arriveAs("old", old)
		equal(t, "a restored place", got.Place, old.Place)
	})
}

// batches: each item is decided for itself.
func batches(t *testing.T, open Open) {
	t.Run("five hundred newcomers at once each get their own place", func(t *testing.T) {
		l := newLine(t, open, func(s *queue.Settings) { s.Mode = queue.ModeHold })
		names := l.crowd(500)
		var in []queue.Arrival
		for _, name := range names {
			in = append(in, l.ticket(name))
		}
		for i, s := range l.enter(in...) {
			l.wants(s, "waiting")
			equal(t, "rank", s.Rank, int64(i))
			equal(t, "place", s.Place, in[i].Place)
		}
	})

	t.Run("a batch may mix everybody", func(t *testing.T) {
		l := newLine(t, open, func(s *queue.Settings) { s.MaxActive = 3 })
		l.inside("active", "gone")
		l.leave("gone")
		l.join("called", "marked")
		l.tick()
		l.join("waiting")
		unknown := l.newcomer("unknown")
		unknown.Newcomer = false
		unknown.Place -= 1000
		mark := l.ticket("marked")
		mark.Claim = false
		out := l.enter(l.ticket("waiting"), l.newcomer("new"), l.ticket("active"), l.ticket("called"), mark, l.ticket("gone"), unknown)
		for i, want := range []string{"waiting", "waiting joined", "admitted", "admitted claimed", "waiting", "used", "waiting restored"} {
			l.wants(out[i], want)
		}
		l.counts(l.tick(), 3, 0, 1, 2)
	})

	t.Run("answers are appended to what the caller has", func(t *testing.T) {
		l := newLine(t, open, nil)
		mine := queue.Standing{Rank: 42}
		out, _, err := l.Store.Enter(t.Context(), &l.Call, []queue.Arrival{l.newcomer("ann")}, []queue.Standing{mine})
		if err != nil || len(out) != 2 || out[0] != mine {
			t.Fatalf("answers: %+v, %v", out, err)
		}
		l.keep("ann", out[1])
		renewals, _, err := l.Store.Renew(t.Context(), &l.Call, []queue.Visit{l.visit("ann")}, []queue.Renewal{{Until: 42}})
		if err != nil || len(renewals) != 2 || renewals[0].Until != 42 || !renewals[1].Claimed {
			t.Fatalf("answers: %+v, %v", renewals, err)
		}
		departed, _, err := l.Store.Leave(t.Context(), &l.Call, []queue.Departure{{ID: l.given["ann"].id}}, []queue.Departed{{Place: true}})
		if err != nil || len(departed) != 2 || !departed[0].Place || !departed[1].Slot {
			t.Fatalf("answers: %+v, %v", departed, err)
		}
	})

	t.Run("a store serves hundreds of renewals and departures at once", func(t *testing.T) {
		l := newLine(t, still(open), nil)
		var in []queue.Arrival
		for range 500 {
			in = append(in, l.newcomer(string(rune('A'+len(in)))))
		}
		var visits []queue.Visit
		var leaving []queue.Departure
		for i, s := range l.enter(in...) {
			l.wants(s, "admitted joined claimed provisional")
			visits = append(visits, queue.Visit{ID: in[i].ID, Place: s.Place, Called: s.Called, Until: s.Until, At: l.now})
			leaving = append(leaving, queue.Departure{ID: in[i].ID, Place: s.Place, Until: s.Until})
		}
		for _, r := range l.renew(visits...) {
			equal(t, "renewal", r, queue.Renewal{Until: l.now.Add(l.set.Session), Claimed: true})
		}
		l.counts(l.tick(), 0, 0, 0, 500)
		out, m, err := l.Store.Leave(t.Context(), &l.Call, leaving, nil)
		l.heard(m, err)
		for _, d := range out {
			equal(t, "departed", d, queue.Departed{Slot: true})
		}
		l.counts(l.tick(), 0, 0, 0, 0)
	})

	t.Run("an empty batch is no error", func(t *testing.T) {
		l := newLine(t, open, nil)
		l.enter()
		l.renew()
		if _, _, err := l.Store.Leave(t.Context(), &l.Call, nil, nil); err != nil {
			t.Fatal(err)
		}
	})
}
