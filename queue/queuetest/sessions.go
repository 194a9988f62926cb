package queuetest

import (
	"testing"
	"time"

	"github.com/sluicegate/sluice/queue"
)

// renewals: the admitted are left alone.
func renewals(t *testing.T, open Open) {
	t.Run("a session goes on for a session from its last use", func(t *testing.T) {
		l := newLine(t, open, nil)
		l.inside("ann")
		l.pass(5 * time.Minute)
		v := l.visit("ann")
		v.At = l.now.Add(-time.Minute)
		want := queue.Renewal{Until: v.At.Add(l.set.Session)}
		equal(t, "renewal", l.renew(v)[0], want)
		equal(t, "the same once more", l.renew(v)[0], want)
		v.At = l.now.Add(-2 * time.Minute)
		equal(t, "an earlier use, told later", l.renew(v)[0], want)
		l.pass(want.Until.Sub(l.now) + queue.SlotMargin - time.Microsecond)
		l.counts(l.tick(), 0, 0, 0, 1)
		l.pass(time.Microsecond)
		l.counts(l.tick(), 0, 0, 0, 0)
	})

	t.Run("a use in the future is a use now", func(t *testing.T) {
		l := newLine(t, open, nil)
		l.inside("ann")
		v := l.visit("ann")
		v.At = l.now.Add(time.Hour)
		equal(t, "until", l.renew(v)[0].Until, l.now.Add(l.set.Session))
	})

	t.Run("the origin may extend a session, not shorten it", func(t *testing.T) {
		l := newLine(t, open, nil)
		l.inside("ann")
		v := l.visit("ann")
		v.Extend = time.Minute
		equal(t, "until", l.renew(v)[0].Until, l.now.Add(l.set.Session))
		v.Extend = 20 * time.Minute
		equal(t, "until", l.renew(v)[0].Until, l.now.Add(20*time.Minute))
		v.Extend = 0
		equal(t, "until, by the next use", l.renew(v)[0].Until, l.now.Add(20*time.Minute))
	})

	t.Run("a session that the store does not know is taken on the pass's word", func(t *testing.T) {
		l := newLine(t, open, nil)
		l.look()
		v := queue.Visit{ID: 0xff00_00ff, Place: l.now - 9, Called: l.now - 8, Until: l.now.Add(time.Minute), At: l.now}
		want := queue.Renewal{Until: l.now.Add(l.set.Session), Restored: true}
		equal(t, "renewal", l.renew(v)[0], want)
		want.Restored = false
		equal(t, "the same once more", l.renew(v)[0], want)
		l.counts(l.tick(), 0, 0, 0, 1)
		s := l.enter(queue.Arrival{ID: v.ID, Place: v.Place, Deadline: l.now, Claim: true})[0]
		l.wants(s, "admitted")
		equal(t, "place", s.Place, v.Place)
		equal(t, "called", s.Called, v.Called)
		l.pass(l.set.Session + queue.SlotMargin)
		l.counts(l.tick(), 0, 0, 0, 0)
		l.wants(l.enter(queue.Arrival{ID: v.ID, Place: v.Place, Deadline: l.now, Claim: true})[0], "used")
	})

	t.Run("the slot of a pass that is taken on its word outlives the pass", func(t *testing.T) {
		for _, known := range []string{"nowhere", "in line", "absent", "called"} {
			l := newLine(t, open, nil)
			l.present = 3 * time.Second
			if known != "absent" {
				l.present = time.Hour
			}
			l.join("ann")
			switch known {
			case "nowhere":
				l.leave("ann")
				a := l.newcomer("bea")
				l.given["ann"] = pos{id: a.ID, place: l.now}
			case "absent":
				l.pass(4 * time.Second)
				l.set.Mode = queue.ModeHold
				l.tick()
			case "called":
				l.tick()
			}
			v := l.visit("ann")
			v.Called, v.Until = l.now.Add(-time.Hour), l.now.Add(40*time.Minute) // the origin had extended it
			v.At = l.now.Add(-time.Minute)
			r := l.renew(v)[0]
			if r.Until < v.Until {
				t.Errorf("%s: the pass is good until %s from now, its slot ends a margin after %s", known, v.Until.Sub(l.now), r.Until.Sub(l.now))
			}
		}
	})

	t.Run("a pass whose visitor is back in line takes them out of it", func(t *testing.T) {
		l := newLine(t, open, func(s *queue.Settings) { s.MaxActive = 9 })
		l.present = 3 * time.Second
		l.join("away")
		l.present = time.Hour
		l.join("called")
		l.pass(4 * time.Second)
		l.set.MaxActive = 1
		l.counts(l.tick(), 0, 1, 1, 0)
		l.join("waiting")
		l.set.MaxActive, l.set.Mode = 9, queue.ModeHold
		for i, name := range []string{"away", "called", "waiting"} {
			v := l.visit(name)
			v.Called, v.Until = l.now-5, l.now.Add(time.Minute)
			want := queue.Renewal{Until: l.now.Add(l.set.Session), Claimed: true}
			equal(t, name, l.renew(v)[0], want)
			want.Claimed = false
			equal(t, name+" once more", l.renew(v)[0], want)
			s := l.poll(name)
			l.wants(s, "admitted")
			equal(t, name+": place", s.Place, l.given[name].place)
			if name != "called" {
				equal(t, name+": called", s.Called, v.Called)
			}
			equal(t, "active", l.tick().Active, int64(i+1))
		}
		l.counts(l.tick(), 0, 0, 0, 3)
		l.pass(l.set.Session + queue.SlotMargin)
		l.counts(l.tick(), 0, 0, 0, 0)
		for _, name := range []string{"away", "called", "waiting"} {
			l.polls(name, "used")
		}
	})

	t.Run("a pass beyond max_session is gone", func(t *testing.T) {
		l := newLine(t, open, func(s *queue.Settings) { s.MaxSession = time.Hour })
		l.inside("ann")
		l.look()
		unknown := queue.Visit{ID: 77, Place: l.now.Add(-2 * time.Hour), Called: l.now.Add(-time.Hour), Until: l.now, At: l.now}
		equal(t, "renewal", l.renew(unknown)[0], queue.Renewal{Gone: true})
		unknown.Called++
		r := l.renew(unknown)[0]
		equal(t, "a microsecond before", r.Gone, false)
		equal(t, "restored", r.Restored, true)
		called := l.given["ann"].called
		for l.now < called.Add(time.Hour-time.Minute) {
			l.pass(30 * time.Second)
			equal(t, "ann is gone", l.use("ann").Gone, false)
		}
		l.pass(called.Add(time.Hour).Sub(l.now))
		equal(t, "ann's renewal", l.use("ann"), queue.Renewal{Gone: true})
	})

	t.Run("what raises the room above max_active is told, once", func(t *testing.T) {
		l := newLine(t, open, func(s *queue.Settings) { s.MaxActive = 2 })
		l.join("called", "waiting", "last")
		l.set.MaxActive = 1
		equal(t, "calls", l.tick().NewCalls, 1)
		l.set.MaxActive = 2
		pass := func(name string) queue.Visit {
			v := l.visit(name)
			v.Called, v.Until = l.now, l.now.Add(time.Minute)
			return v
		}
		until := l.now.Add(l.set.Session)
		out := l.renew(pass("waiting"), pass("called"), pass("last"), pass("last"))
		equal(t, "within the cap", out[0], queue.Renewal{Until: until, Claimed: true})
		equal(t, "a called one, who counted before", out[1], queue.Renewal{Until: until, Claimed: true})
		equal(t, "beyond the cap", out[2], queue.Renewal{Until: until, Claimed: true, Overshoot: true})
		equal(t, "the same once more", out[3], queue.Renewal{Until: until})
		unknown := queue.Visit{ID: 99, Place: l.now, Called: l.now, Until: until, At: l.now}
		equal(t, "an unknown one", l.renew(unknown)[0], queue.Renewal{Until: until, Restored: true, Overshoot: true})
		unknown.ID++
		l.set.MaxActive = 0
		equal(t, "without a cap", l.renew(unknown)[0].Overshoot, false)
		unknown.ID++
		l.set.MaxActive = 1
		for _, mode := range []queue.Mode{queue.ModeOpen} {
			unknown.ID++
			l.set.Mode = mode
			equal(t, "in "+mode.String(), l.renew(unknown)[0].Overshoot, false)
		}
	})

	t.Run("who was inside when max_active was lowered is no overshoot; who comes beyond them is", func(t *testing.T) {
		l := newLine(t, open, func(s *queue.Settings) { s.MaxActive = 3 })
		l.join("ann", "bob", "cat", "dee", "eve")
		equal(t, "calls", l.tick().NewCalls, 3)
		pass := func(name string) queue.Visit {
			v := l.visit(name)
			v.Called, v.Until = l.now, l.now.Add(time.Minute)
			return v
		}
		l.set.MaxActive = 1
		l.tick()
		equal(t, "ann, who was called before", l.renew(pass("ann"))[0].Overshoot, false)
		l.leave("bob")
		equal(t, "dee, where ann and cat are inside", l.renew(pass("dee"))[0].Overshoot, true)
		l.leave("dee")
		l.leave("ann")
		l.tick()
		equal(t, "eve, where cat alone is inside", l.renew(pass("eve"))[0].Overshoot, true)
	})

	t.Run("renewals take neither credit nor count as calls", func(t *testing.T) {
		l := newLine(t, open, func(s *queue.Settings) { s.Rate = queue.Rate{N: 1, Per: queue.PerHour} })
		l.join("ann", "bob")
		l.use("ann")
		s := l.tick()
		equal(t, "calls", s.NewCalls, 1)
		equal(t, "calls", s.Calls, 1)
	})
}

// departures: leaving frees at once.
func departures(t *testing.T, open Open) {
	t.Run("leaving frees the slot or the place, once", func(t *testing.T) {
		l := newLine(t, open, nil)
		l.inside("active")
		l.present = 3 * time.Second
		l.join("away")
		l.present = time.Hour
		l.join("called")
		l.pass(4 * time.Second)
		l.tick()
		l.join("waiting")
		l.set.Mode = queue.ModeHold
		l.counts(l.tick(), 1, 1, 1, 1)
		for _, row := range []struct {
			name string
			want queue.Departed
		}{{"active", queue.Departed{Slot: true}}, {"called", queue.Departed{Slot: true}}, {"waiting", queue.Departed{Place: true}}, {"away", queue.Departed{Place: true}}} {
			equal(t, row.name, l.leave(row.name), row.want)
			equal(t, row.name+" twice", l.leave(row.name), queue.Departed{})
			l.polls(row.name, "used")
		}
		s := l.tick()
		l.counts(s, 0, 0, 0, 0)
		equal(t, "ended, no-shows, abandoned", [3]int64{s.Ended, s.NoShows, s.Abandoned}, [3]int64{})
		l.pass(2 * time.Hour)
		s = l.tick()
		equal(t, "ended, no-shows, abandoned two hours later", [3]int64{s.Ended, s.NoShows, s.Abandoned}, [3]int64{})
	})

	t.Run("a freed slot goes to the next in line at the next tick", func(t *testing.T) {
		l := newLine(t, open, func(s *queue.Settings) { s.MaxActive = 1 })
		l.inside("ann")
		l.join("bob")
		l.leave("ann")
		equal(t, "calls", l.tick().NewCalls, 1)
	})

	t.Run("who leaves lets the others move up", func(t *testing.T) {
		l := newLine(t, open, func(s *queue.Settings) { s.Mode = queue.ModeHold })
		l.join("ann", "bob", "cat")
		l.leave("ann")
		l.behind("bob", 0)
		l.behind("cat", 1)
	})

	t.Run("a pass of somebody who left is gone as long as it would have been good", func(t *testing.T) {
		l := newLine(t, open, func(s *queue.Settings) { s.Session, s.KeepPlace = time.Hour, time.Minute })
		l.inside("ann", "bob")
		v := l.visit("ann")
		// The tab that leaves may have an older token than the pass that another uses.
		out, m, err := l.Store.Leave(t.Context(), &l.Call, []queue.Departure{{ID: v.ID, Place: v.Place}}, nil)
		l.heard(m, err)
		equal(t, "departed", out[0], queue.Departed{Slot: true})
		l.leave("bob")
		equal(t, "twice", l.leave("bob"), queue.Departed{})
		for l.now < v.Until {
			for _, name := range []string{"ann", "bob"} {
				equal(t, name+"'s renewal", l.use(name), queue.Renewal{Gone: true})
			}
			l.pass(10 * time.Minute)
			l.tick()
		}
	})

	t.Run("who left is forgotten once every token of theirs has expired", func(t *testing.T) {
		l := newLine(t, open, func(s *queue.Settings) { s.Session, s.KeepPlace = 10*time.Second, time.Minute })
		l.inside("ann")
		l.leave("ann")
		for l.now < l.given["ann"].until.Add(l.set.UsedFor()+3*time.Minute) {
			l.pass(10 * time.Second)
			l.tick()
		}
		equal(t, "ann's renewal", l.use("ann").Restored, true)
	})

	t.Run("a pass that was given on the spot is gone after leaving with the ticket", func(t *testing.T) {
		l := newLine(t, open, func(s *queue.Settings) { s.ClaimWithin, s.KeepPlace = time.Hour, time.Minute })
		l.arrive("ann")
		v := l.visit("ann")
		_, m, err := l.Store.Leave(t.Context(), &l.Call, []queue.Departure{{ID: v.ID, Place: v.Place}}, nil)
		l.heard(m, err)
		l.pass(50 * time.Minute)
		l.tick()
		equal(t, "ann's renewal", l.use("ann"), queue.Renewal{Gone: true})
	})

	t.Run("a stranger's departure uses up the ticket all the same", func(t *testing.T) {
		l := newLine(t, open, func(s *queue.Settings) { s.Mode = queue.ModeHold })
		a := l.newcomer("ann")
		l.given["ann"] = pos{id: a.ID, place: a.Place}
		equal(t, "departed", l.leave("ann"), queue.Departed{})
		l.polls("ann", "used")
		equal(t, "ann's pass is gone", l.use("ann").Gone, true)
	})
}
