package queuetest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/sluicegate/sluice/queue"
)

// modes: auto, hold, open, closed.
func modes(t *testing.T, open Open) {
	t.Run("who comes to an open room takes no credit from those who come later", func(t *testing.T) {
		l := newLine(t, open, func(s *queue.Settings) {
			s.Mode, s.Rate, s.Burst = queue.ModeOpen, queue.Rate{N: 1, Per: queue.PerHour}, 2
		})
		for _, name := range []string{"ann", "bob", "cat"} {
			l.wants(l.arrive(name), "admitted joined claimed provisional")
		}
		l.set.Mode = queue.ModeAuto
		for _, name := range []string{"dee", "eve"} {
			l.wants(l.arrive(name), "admitted joined claimed provisional")
		}
		l.wants(l.arrive("fay"), "waiting joined")
	})

	t.Run("hold: nobody is called, places are given, the called may come", func(t *testing.T) {
		l := newLine(t, open, nil)
		l.join("ann")
		l.tick()
		l.join("bob")
		l.set.Mode = queue.ModeHold
		equal(t, "calls", l.tick().NewCalls, 0)
		l.wants(l.arrive("cat"), "waiting joined")
		a := l.newcomer("image")
		a.Join = false
		l.wants(l.arriveAs("image", a), "none")
		l.polls("bob", "waiting")
		l.polls("ann", "admitted claimed")
		equal(t, "ann's pass is good", l.use("ann").Gone, false)
	})

	t.Run("hold: nobody is let in on the spot, though nobody waits", func(t *testing.T) {
		l := newLine(t, open, func(s *queue.Settings) { s.Mode = queue.ModeHold })
		l.wants(l.arrive("ann"), "waiting joined")
	})

	t.Run("closed: nobody joins, places are kept, the admitted go on", func(t *testing.T) {
		l := newLine(t, open, nil)
		l.inside("ann")
		l.join("bob")
		l.tick()
		l.join("cat")
		l.present = 5 * time.Second
		l.join("dan")
		l.set.Mode = queue.ModeClosed
		s := l.arrive("eve")
		l.wants(s, "closed")
		equal(t, "a newcomer's place", s.Place, 0)
		equal(t, "calls", l.tick().NewCalls, 0)
		l.polls("ann", "admitted")
		l.polls("bob", "admitted claimed")
		equal(t, "ann's pass is good", l.use("ann").Gone, false)
		want := l.given["cat"].place
		s = l.poll("cat")
		l.wants(s, "closed")
		equal(t, "cat's place", s.Place, want)

		l.pass(6 * time.Second)
		l.counts(l.tick(), 1, 1, 0, 2)
		s = l.poll("dan")
		l.wants(s, "closed")
		equal(t, "dan's place", s.Place, l.given["dan"].place)
		l.counts(l.tick(), 2, 0, 0, 2)
		old := l.newcomer("old")
		old.Newcomer = false
		old.Place = l.now.Add(-time.Minute)
		s = l.arriveAs("old", old)
		l.wants(s, "closed restored")
		equal(t, "an unknown ticket's place", s.Place, old.Place)
		l.counts(l.tick(), 3, 0, 0, 2)

		l.set.Mode = queue.ModeHold
		l.behind("old", 0)
		l.behind("cat", 1)
		l.behind("dan", 2)
	})

	t.Run("closed: polling counts as present", func(t *testing.T) {
		l := newLine(t, open, nil)
		l.present = 8 * time.Second
		l.join("ann")
		l.set.Mode = queue.ModeClosed
		for range 3 {
			l.pass(5 * time.Second)
			l.polls("ann", "closed")
		}
		l.set.Mode = queue.ModeAuto
		equal(t, "calls", l.tick().NewCalls, 1)
	})

	t.Run("open: everybody passes as they ask, whatever the limits", func(t *testing.T) {
		l := newLine(t, open, func(s *queue.Settings) {
			s.MaxActive, s.MaxWaiting, s.Rate = 1, 1, queue.Rate{N: 1, Per: queue.PerHour}
		})
		l.inside("ann")
		l.join("bob")
		l.set.Mode = queue.ModeOpen
		for _, name := range []string{"cat", "dan", "eve"} {
			a := l.newcomer(name)
			a.Join = name == "eve"
			l.wants(l.arriveAs(name, a), "admitted joined claimed provisional")
		}
		s := l.poll("bob")
		l.wants(s, "admitted claimed")
		equal(t, "called", s.Called, l.now-l.now%1000)
		equal(t, "until", s.Until, l.now.Add(l.set.Session))
		sn := l.tick()
		equal(t, "calls by tick", sn.NewCalls, 0)
		l.counts(sn, 0, 0, 3, 2)
	})

	t.Run("open: a mark alone lets nobody in", func(t *testing.T) {
		l := newLine(t, open, nil)
		l.join("ann")
		l.set.Mode = queue.ModeOpen
		l.wants(l.mark("ann"), "waiting")
		l.counts(l.tick(), 1, 0, 0, 0)
		l.polls("ann", "admitted claimed")
	})

	t.Run("what open let in is no overshoot; it falls first", func(t *testing.T) {
		l := newLine(t, still(open), func(s *queue.Settings) { s.MaxActive, s.Mode = 1, queue.ModeOpen })
		l.wants(l.arrive("ann"), "admitted joined claimed provisional")
		l.wants(l.arrive("bob"), "admitted joined claimed provisional")
		l.set.Mode = queue.ModeAuto
		l.wants(l.arrive("cat"), "waiting joined")
		equal(t, "bob's first use", l.use("bob"), queue.Renewal{Until: l.now.Add(l.set.Session), Claimed: true})
		l.leave("ann")
		equal(t, "calls", l.tick().NewCalls, 0)
		l.leave("bob")
		equal(t, "calls", l.tick().NewCalls, 1)
	})
}

// overrides: live settings, and gates that have not heard of them.
func overrides(t *testing.T, open Open) {
	ctx := context.Background()
	change := func(version int64) queue.Overrides {
		return queue.Overrides{Version: version, Keys: map[string]queue.Override{
			"message": {Value: json.RawMessage(fmt.Sprintf(`"version %d \u0000 \"ü\""`, version)), By: "ops", At: time.Unix(1_750_000_000, 0).UTC()},
		}}
	}

	t.Run("a room has none until they are set", func(t *testing.T) {
		l := newLine(t, open, nil)
		o, err := l.Store.Overrides(ctx, l.Room)
		if err != nil || o.Version != 0 || len(o.Keys) != 0 {
			t.Fatalf("overrides of a new room: %+v, %v", o, err)
		}
	})

	t.Run("what was set is read back, byte for byte", func(t *testing.T) {
		l := newLine(t, open, nil)
		for v := range int64(3) {
			if err := l.Store.Override(ctx, l.Room, change(v+1)); err != nil {
				t.Fatal(err)
			}
		}
		o, err := l.Store.Overrides(ctx, l.Room)
		if err != nil {
			t.Fatal(err)
		}
		want := change(3)
		equal(t, "version", o.Version, 3)
		equal(t, "keys", len(o.Keys), 1)
		equal(t, "value", string(o.Keys["message"].Value), string(want.Keys["message"].Value))
		equal(t, "by", o.Keys["message"].By, "ops")
		equal(t, "at", o.Keys["message"].At.Equal(want.Keys["message"].At), true)
	})

	t.Run("of two operators who change one version, one is told", func(t *testing.T) {
		l := newLine(t, open, nil)
		if err := l.Store.Override(ctx, l.Room, change(1)); err != nil {
			t.Fatal(err)
		}
		for _, version := range []int64{0, 1, 3} {
			if err := l.Store.Override(ctx, l.Room, change(version)); !errors.Is(err, queue.ErrConflict) {
				t.Errorf("version %d after version 1: %v, want ErrConflict", version, err)
			}
		}
		if o, _ := l.Store.Overrides(ctx, l.Room); o.Version != 1 {
			t.Errorf("version %d after conflicts, want 1", o.Version)
		}
	})

	t.Run("preparing a change changes nothing", func(t *testing.T) {
		l := newLine(t, open, nil)
		first := change(1)
		if err := l.Store.Override(ctx, l.Room, first); err != nil {
			t.Fatal(err)
		}
		first.Keys["rate"] = queue.Override{Value: json.RawMessage(`"1/s"`)}
		o, err := l.Store.Overrides(ctx, l.Room)
		if err != nil || len(o.Keys) != 1 {
			t.Fatalf("after the caller changed its own: %+v, %v", o, err)
		}
		o.Keys["rate"] = queue.Override{Value: json.RawMessage(`"2/s"`)}
		if o, err = l.Store.Overrides(ctx, l.Room); err != nil || len(o.Keys) != 1 {
			t.Fatalf("after the reader changed its own: %+v, %v", o, err)
		}
		delete(o.Keys, "message")
		l.Version = 0
		if o := l.tick().Overrides; o == nil || len(o.Keys) != 1 {
			t.Fatalf("the tick tells %+v", o)
		}
	})

	t.Run("a tick tells them to a gate that has others", func(t *testing.T) {
		l := newLine(t, open, nil)
		if s := l.tick(); s.Overrides != nil {
			t.Fatalf("a new room has overrides %+v", s.Overrides)
		}
		if err := l.Store.Override(ctx, l.Room, change(1)); err != nil {
			t.Fatal(err)
		}
		s := l.tick()
		if s.Overrides == nil || s.Overrides.Version != 1 || string(s.Overrides.Keys["message"].Value) != string(change(1).Keys["message"].Value) {
			t.Fatalf("the tick tells %+v", s.Overrides)
		}
		l.Version = 1
		if s := l.tick(); s.Overrides != nil {
			t.Fatalf("a gate that knows them is told %+v", s.Overrides)
		}
		l.Version = 2 // as after a loss
		if s := l.tick(); s.Overrides == nil || s.Overrides.Version != 1 {
			t.Fatalf("a gate with newer ones is told %+v", s.Overrides)
		}
	})

	t.Run("nobody is called or let in by limits that were changed meanwhile", func(t *testing.T) {
		for _, mode := range []queue.Mode{queue.ModeAuto, queue.ModeOpen} {
			l := newLine(t, open, nil)
			l.join("ann")
			l.tick()
			if err := l.Store.Override(ctx, l.Room, change(1)); err != nil {
				t.Fatal(err)
			}
			l.set.Mode = mode
			l.wants(l.arrive("bob "), "waiting joined")
			a := l.newcomer("image")
			a.Join = false
			l.wants(l.arriveAs("image", a), "none")
			l.polls("bob ", "waiting")
			equal(t, "calls", l.tick().NewCalls, 0)
			l.polls("ann", "admitted claimed") // called before
			equal(t, "ann's pass is good", l.use("ann").Gone, false)
			l.Version = 1
			l.polls("bob ", map[queue.Mode]string{queue.ModeAuto: "waiting", queue.ModeOpen: "admitted claimed"}[mode])
		}
	})

	t.Run("a gate with old limits does not put them back in force", func(t *testing.T) {
		l := newLine(t, open, func(s *queue.Settings) { s.Rate, s.Burst = queue.Rate{N: 10, Per: queue.PerSecond}, 10 })
		l.crowd(50)
		equal(t, "calls at first", l.tick().NewCalls, 10)
		old := l.gate()
		if err := l.Store.Override(ctx, l.Room, change(1)); err != nil {
			t.Fatal(err)
		}
		l.Version, l.set.Rate, l.set.Burst = 1, queue.Rate{N: 1, Per: queue.PerSecond}, 1
		l.tick()
		l.pass(time.Second)
		s := old.tick()
		equal(t, "calls by the old limits", s.NewCalls, 0)
		equal(t, "rate in force", s.PerHour, 3600)
		equal(t, "burst in force", s.Burst, 1)
		equal(t, "calls by the new limits", l.tick().NewCalls, 1)
	})
}
