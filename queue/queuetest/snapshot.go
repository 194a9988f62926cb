package queuetest

import (
	"fmt"
	"testing"
	"time"

	"github.com/sluicegate/sluice/queue"
)

// snapshots: what a tick tells.
func snapshots(t *testing.T, open Open) {
	t.Run("an empty room has an empty ladder", func(t *testing.T) {
		l := newLine(t, open, nil)
		s := l.tick()
		l.counts(s, 0, 0, 0, 0)
		equal(t, "rungs", len(s.Ladder.Places), 0)
		equal(t, "last", s.Ladder.Last, 0)
		equal(t, "front", s.Front, 0)
		equal(t, "calls", s.Calls, 0)
		equal(t, "what it did", [4]int64{s.NewCalls, s.NoShows, s.Abandoned, s.Ended}, [4]int64{})
	})

	t.Run("the ladder holds the places at its ranks", func(t *testing.T) {
		for _, n := range []int{1, 2, 63, 64, 65, 66, 67, 68, 70, 500} {
			t.Run(fmt.Sprint(n), func(t *testing.T) {
				l := newLine(t, open, func(s *queue.Settings) { s.Mode = queue.ModeHold })
				names := l.crowd(n)
				s := l.tick()
				i := 0
				for ; queue.Rung(i) < int64(n); i++ {
					equal(t, fmt.Sprint("rung ", i), s.Ladder.Places[i], l.given[names[queue.Rung(i)]].place)
				}
				equal(t, "rungs", len(s.Ladder.Places), i)
				equal(t, "last", s.Ladder.Last, l.given[names[n-1]].place)
			})
		}
	})

	t.Run("absent and called visitors are on no rung", func(t *testing.T) {
		l := newLine(t, open, func(s *queue.Settings) { s.MaxActive = 1 })
		l.present = 3 * time.Second
		l.join("away")
		l.present = time.Hour
		l.join("called", "ann", "bob")
		l.pass(4 * time.Second)
		s := l.tick()
		l.counts(s, 2, 1, 1, 0)
		equal(t, "rungs", len(s.Ladder.Places), 2)
		equal(t, "first", s.Ladder.Places[0], l.given["ann"].place)
		equal(t, "second", s.Ladder.Places[1], l.given["bob"].place)
		equal(t, "last", s.Ladder.Last, l.given["bob"].place)
	})

	t.Run("the latest place ever given stays the last, though its visitor left", func(t *testing.T) {
		l := newLine(t, open, func(s *queue.Settings) { s.Mode = queue.ModeHold })
		l.join("ann", "bob")
		l.leave("bob")
		s := l.tick()
		equal(t, "rungs", len(s.Ladder.Places), 1)
		equal(t, "last", s.Ladder.Last, l.given["bob"].place)
	})

	t.Run("a ladder is at most 200 ms old", func(t *testing.T) {
		l := newLine(t, open, func(s *queue.Settings) { s.Mode = queue.ModeHold })
		l.join("ann")
		l.tick()
		l.join("bob")
		l.pass(200 * time.Millisecond)
		equal(t, "rungs", len(l.tick().Ladder.Places), 2)
	})

	t.Run("the front is the latest place called, calls are all of them", func(t *testing.T) {
		l := newLine(t, open, func(s *queue.Settings) { s.MaxActive = 2 })
		l.inside("zoe")
		l.present = 5 * time.Second
		l.join("away")
		l.present = time.Hour
		l.join("ann", "bob", "cat")
		l.pass(5 * time.Second)
		s := l.tick()
		equal(t, "front", s.Front, l.given["ann"].place)
		l.polls("away", "waiting")
		l.leave("zoe")
		s = l.tick()
		equal(t, "calls", s.NewCalls, 1)
		equal(t, "front after an earlier one was called", s.Front, l.given["ann"].place)
		l.leave("away")
		s = l.tick()
		equal(t, "front", s.Front, l.given["bob"].place)
		l.leave("bob")
		l.leave("cat")
		l.pass(time.Second)
		l.wants(l.arrive("dan"), "admitted joined claimed provisional")
		s = l.tick()
		equal(t, "front with one let in on the spot", s.Front, l.given["dan"].place)
		equal(t, "calls: zoe, ann, away, bob, dan", s.Calls, 5)
	})
}
