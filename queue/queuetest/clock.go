package queuetest

import (
	"testing"
	"time"

	"github.com/sluicegate/sluice/queue"
)

// clocks: room time is the only clock.
func clocks(t *testing.T, open Open) {
	jump := func(l *line, d time.Duration) {
		if l.Jump == nil {
			l.Skip("the clock of this store cannot jump")
		}
		l.Jump(d)
	}

	t.Run("room time goes with the clock", func(t *testing.T) {
		l := newLine(t, open, nil)
		l.look()
		for _, d := range []time.Duration{time.Microsecond, 0, time.Millisecond, 10 * time.Second} {
			before := l.now
			l.pass(d)
			l.look()
			equal(t, "passed", l.now.Sub(before), d)
		}
	})

	t.Run("room time starts at the store's clock", func(t *testing.T) {
		l := newLine(t, open, nil)
		l.look()
		if year := time.UnixMicro(int64(l.now)).Year(); year < 2020 || year > 2100 {
			t.Errorf("room time starts in the year %d", year)
		}
		other := l.gate()
		other.Room = "another"
		other.look()
		if d := other.now.Sub(l.now); d < 0 || d > time.Minute {
			t.Errorf("two rooms start %s apart", d)
		}
	})

	t.Run("a clock that jumps ahead takes nobody's place or session", func(t *testing.T) {
		l := newLine(t, open, nil)
		l.inside("ann")
		l.present = 20 * time.Second
		l.join("bob")
		l.set.Mode = queue.ModeHold
		before := l.now
		jump(l, 1000*time.Hour)
		s := l.tick()
		equal(t, "passed", l.now.Sub(before), queue.MaxStep)
		l.counts(s, 1, 0, 0, 1)
		l.pass(time.Second)
		equal(t, "passed", l.now.Sub(before), queue.MaxStep+time.Second)
	})

	t.Run("a clock that jumps back stops nothing", func(t *testing.T) {
		l := newLine(t, open, func(s *queue.Settings) { s.Rate = queue.Rate{N: 1, Per: queue.PerSecond} })
		l.crowd(5)
		l.tick()
		before := l.now
		jump(l, -1000*time.Hour)
		l.Told = 0 // a gate that remembers nothing
		equal(t, "calls", l.tick().NewCalls, 0)
		equal(t, "passed", l.now.Sub(before), 0)
		l.pass(time.Second)
		equal(t, "passed", l.now.Sub(before), time.Second)
		equal(t, "calls", l.tick().NewCalls, 1)
	})

	t.Run("every operation moves room time", func(t *testing.T) {
		l := newLine(t, open, nil)
		l.inside("ann")
		for name, op := range map[string]func(){
			"enter": func() { l.poll("ann") },
			"renew": func() { l.use("ann") },
			"leave": func() { l.look() },
			"tick":  func() { l.tick() },
		} {
			before := l.now
			if l.Advance == nil {
				t.Skip("the clock of this store cannot be moved")
			}
			l.Advance(1900 * time.Millisecond)
			op()
			equal(t, name, l.now.Sub(before), 1900*time.Millisecond)
		}
	})

	t.Run("a gate that was told a later time raises it", func(t *testing.T) {
		l := newLine(t, open, nil)
		l.look()
		want := l.now.Add(42 * time.Second)
		l.Told = want
		l.look()
		equal(t, "room time", l.now, want)
		l.pass(time.Second)
		equal(t, "room time", l.now, want.Add(time.Second))
		other := l.gate()
		other.look()
		equal(t, "room time for a gate that was told nothing", other.now, l.now)
	})

	t.Run("who comes after an outage stands behind who came while it lasted", func(t *testing.T) {
		l := newLine(t, still(open), func(s *queue.Settings) { s.Mode = queue.ModeHold })
		l.join("ann")
		room, place := l.now, l.place
		l.Advance(time.Minute)
		l.Place = place.Add(time.Minute) // by the gate's clock
		bob := l.newcomer("bob")
		bob.Place, bob.Newcomer = place.Add(50*time.Second), false // has a ticket
		cat := l.newcomer("cat")
		cat.Place = l.Place
		s := l.enter(cat, bob)
		equal(t, "room time passed", l.now.Sub(room), queue.MaxStep)
		equal(t, "place time passed", l.place.Sub(place), time.Minute)
		l.wants(s[0], "waiting joined")
		l.wants(s[1], "waiting")
		equal(t, "cat's place", s[0].Place, cat.Place)
		equal(t, "bob's place", s[1].Place, bob.Place)
		l.behind("ann", 0)
		equal(t, "bob's rank", l.enter(bob)[0].Rank, 1)
		cat.Newcomer = false
		equal(t, "cat's rank", l.enter(cat)[0].Rank, 2)

		// From then on all of it goes on together.
		l.Place = 0
		l.pass(10 * time.Second)
		equal(t, "place time passed", l.place.Sub(place), 70*time.Second)
		other := l.gate()
		other.join("dee")
		if dee := other.given["dee"].place; dee < place.Add(69*time.Second) {
			t.Errorf("dee stands %s behind cat", dee.Sub(cat.Place))
		}
	})

	t.Run("after an outage a gate that heard nobody goes by the store's clock", func(t *testing.T) {
		l := newLine(t, still(open), nil)
		l.look()
		room, place := l.now, l.place
		l.Advance(time.Minute)
		l.Deaf, l.Place = true, place.Add(7*time.Second) // of some ticket
		l.look()
		equal(t, "room time passed", l.now.Sub(room), queue.MaxStep)
		equal(t, "place time passed", l.place.Sub(place), time.Minute)
		l.Place = place.Add(time.Hour) // of another
		l.look()
		equal(t, "place time passed", l.place.Sub(place), time.Hour)
	})

	t.Run("a clock that jumps moves nobody's place who comes to a gate that knows better", func(t *testing.T) {
		l := newLine(t, still(open), nil)
		l.look()
		room, place := l.now, l.place
		for i, d := range []time.Duration{1000 * time.Hour, -1000 * time.Hour, -time.Second} {
			jump(l, d)
			l.Place = place.Add(time.Duration(i+1) * 10 * time.Second)
			l.look()
			if i > 0 { // nothing but the jump ahead is taken for time
				equal(t, "place time passed", l.place, l.Place)
			}
		}
		equal(t, "room time passed", l.now.Sub(room), queue.MaxStep)
	})

	t.Run("a room that was lost goes on giving places where gates know it to have been", func(t *testing.T) {
		for _, off := range []time.Duration{-1000 * time.Hour, 1000 * time.Hour} {
			l := newLine(t, wiping(open), nil)
			l.join("ann")
			l.Wipe(l.Room)
			l.Place = l.place.Add(off)
			l.place = 0
			l.look()
			equal(t, "place time", l.place, l.Place)
			fresh := l.gate()
			fresh.Deaf = true
			fresh.look()
			equal(t, "place time for a gate that has just started", fresh.place, l.place)
		}
	})

	t.Run("a room that was lost begins with the store's clock where no gate knows better", func(t *testing.T) {
		l := newLine(t, wiping(open), nil)
		l.look()
		place := l.place
		l.Wipe(l.Room)
		l.Advance(time.Minute)
		l.Told, l.Generation, l.Deaf, l.Place = l.now.Add(-time.Hour), 0, true, place.Add(-time.Hour) // of a ticket
		l.now = 0
		l.look()
		equal(t, "place time passed", l.place.Sub(place), time.Minute)
	})

	t.Run("the first visitors of all are let in at once", func(t *testing.T) {
		l := newLine(t, open, func(s *queue.Settings) { s.Rate, s.Burst = queue.Rate{N: 1, Per: queue.PerSecond}, 2 })
		a := queue.Arrival{ID: 7, Place: 1, Deadline: 2, Newcomer: true, Claim: true}
		l.wants(l.enter(a)[0], "admitted joined claimed provisional")
		first := l.Generation
		if first == 0 {
			t.Error("there is no generation")
		}
		equal(t, "generation", l.tick().Generation, first)
		a.ID++
		l.wants(l.enter(a)[0], "admitted joined claimed provisional")
		a.ID++
		l.wants(l.enter(a)[0], "none")
	})

	t.Run("a room that a gate has heard of before and that is empty was lost: a new generation starts without credit", func(t *testing.T) {
		for name, op := range map[string]func(l *line){
			"enter": func(l *line) {
				l.wants(l.enter(queue.Arrival{ID: 7, Place: l.Told, Deadline: l.Told, Newcomer: true, Claim: true})[0], "none")
			},
			"renew": func(l *line) { l.renew(queue.Visit{ID: 8, Called: l.Told, At: l.Told}) },
			"leave": func(l *line) { l.look() },
			"tick":  func(l *line) { l.tick() },
		} {
			l := newLine(t, open, func(s *queue.Settings) { s.Rate, s.Burst = queue.Rate{N: 1, Per: queue.PerSecond}, 5 })
			l.Told, l.Generation = queue.Time(time.Date(2077, 1, 1, 0, 0, 0, 0, time.UTC).UnixMicro()), 41
			told := l.Told
			op(l)
			later(t, l.Generation, 41)
			generation := l.Generation
			// Gates have reckoned a little further, and given places by it.
			equal(t, name+": room time", l.now, told.Add(queue.MaxStep))
			l.crowd(10)
			equal(t, name+": calls at first", l.tick().NewCalls, 0)
			l.pass(4 * time.Second)
			s := l.tick()
			equal(t, name+": calls after four seconds", s.NewCalls, 4)
			equal(t, name+": generation", s.Generation, generation)
			other := l.gate() // which remembers less
			other.Told, other.Generation = 5, 3
			other.look()
			equal(t, name+": generation for another gate", other.Generation, generation)
		}
	})
}
