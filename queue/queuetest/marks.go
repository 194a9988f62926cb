package queuetest

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/sluicegate/sluice/queue"
)

// marks: presence told in batches, most of what a store is asked.
func marks(t *testing.T, open Open) {
	mark := func(l *line, name string) queue.Arrival {
		a := l.ticket(name)
		a.Claim = false
		return a
	}
	hold := func(s *queue.Settings) { s.Mode = queue.ModeHold }

	t.Run("one batch of marks may tell of visitors wherever they stand", func(t *testing.T) {
		for _, mode := range []queue.Mode{queue.ModeAuto, queue.ModeHold, queue.ModeOpen, queue.ModeClosed} {
			t.Run(mode.String(), func(t *testing.T) {
				l := newLine(t, open, nil)
				l.inside("active", "used")
				l.leave("used")
				l.join("called")
				l.tick()
				l.present = 3 * time.Second
				l.join("away")
				l.present = time.Hour
				l.join("ann", "bob")
				l.set.Mode = queue.ModeHold
				l.pass(4 * time.Second)
				l.counts(l.tick(), 2, 1, 1, 1)
				l.set.Mode = mode
				unknown := l.newcomer("unknown")
				unknown.Newcomer, unknown.Join, unknown.Claim = false, false, false
				unknown.Place = l.now.Add(-time.Minute)
				in := []queue.Arrival{
					mark(l, "ann"), mark(l, "active"), mark(l, "called"), mark(l, "away"), mark(l, "used"), unknown, unknown, mark(l, "bob"), mark(l, "away"),
				}
				out := l.enter(in...)
				waits := "waiting"
				if mode == queue.ModeClosed {
					waits = "closed"
				}
				for i, want := range []string{waits, "admitted", "waiting", waits, "used", waits + " restored", waits, waits, waits} {
					l.wants(out[i], want)
					if want != "used" {
						equal(t, fmt.Sprint("place in answer ", i), out[i].Place, in[i].Place)
					} else {
						equal(t, "place of a used ticket", out[i].Place, 0)
					}
				}
				l.set.Mode = queue.ModeHold
				l.counts(l.tick(), 4, 0, 1, 1)
				l.behind("unknown", 0)
				l.behind("away", 1)
				l.behind("ann", 2)
				l.behind("bob", 3)
			})
		}
	})

	t.Run("thousands of marks at once keep everybody present", func(t *testing.T) {
		l := newLine(t, open, hold)
		l.present = 5 * time.Second
		names := l.crowd(5000)
		l.join("gone")
		l.present = time.Minute
		var in []queue.Arrival
		for _, name := range names {
			in = append(in, mark(l, name))
		}
		stranger := l.newcomer("stranger")
		stranger.Newcomer, stranger.Claim = false, false
		stranger.Place = l.given[names[0]].place - 1
		in = slices.Insert(in, 4321, stranger)
		for i, s := range l.enter(in...) {
			want := "waiting"
			if i == 4321 {
				want = "waiting restored"
			}
			l.wants(s, want)
			equal(t, "place", s.Place, in[i].Place)
		}
		l.pass(6 * time.Second)
		l.counts(l.tick(), 5001, 1, 0, 0)
		l.behind(names[4999], 5000)
	})

	t.Run("a visitor who is marked twice in a batch is present until the later deadline", func(t *testing.T) {
		for _, first := range []time.Duration{3 * time.Second, 9 * time.Second} {
			for _, claims := range []bool{false, true} { // a poll among them
				l := newLine(t, open, hold)
				l.present = time.Second
				l.join("ann")
				a, b := mark(l, "ann"), mark(l, "ann")
				a.Deadline, b.Deadline = l.now.Add(first), l.now.Add(12*time.Second-first)
				b.Claim = claims
				for _, s := range l.enter(a, b) {
					l.wants(s, "waiting")
				}
				l.pass(max(a.Deadline, b.Deadline).Sub(l.now) - 100*time.Millisecond)
				l.counts(l.tick(), 1, 0, 0, 0)
				l.pass(100 * time.Millisecond)
				l.counts(l.tick(), 0, 1, 0, 0)
			}
		}
	})

	t.Run("a batch of older marks makes nobody absent sooner", func(t *testing.T) {
		l := newLine(t, open, hold)
		l.present = 20 * time.Second
		names := l.crowd(300)
		l.present = 2 * time.Second
		var in []queue.Arrival
		for _, name := range names {
			in = append(in, mark(l, name))
		}
		l.enter(in...)
		l.pass(19 * time.Second)
		l.counts(l.tick(), 300, 0, 0, 0)
		l.pass(time.Second)
		l.counts(l.tick(), 0, 300, 0, 0)
	})

	t.Run("visitors who go on polling stay, those who stop go, each in their time", func(t *testing.T) {
		l := newLine(t, open, hold)
		l.present = 3 * time.Second
		names := l.crowd(1200)
		// The first thousand poll on, each for one more second than the hundred before.
		for second := range 10 {
			l.pass(time.Second)
			var in []queue.Arrival
			for _, name := range names[second*100 : 1000] {
				in = append(in, mark(l, name))
			}
			l.enter(in...)
			gone := 0
			switch {
			case second >= 3:
				gone = (second-2)*100 + 200
			case second == 2:
				gone = 200
			}
			l.pass(time.Microsecond) // after the marks of three seconds ago
			s := l.tick()
			if int(s.Away) < gone || int(s.Away) > gone+100 || s.Waiting+s.Away != 1200 {
				t.Fatalf("after %d s %d wait and %d are absent, want about %d absent", second+1, s.Waiting, s.Away, gone)
			}
		}
		l.pass(4 * time.Second)
		l.counts(l.tick(), 0, 1200, 0, 0)
	})

	t.Run("who comes back after being absent is looked after as before", func(t *testing.T) {
		l := newLine(t, open, func(s *queue.Settings) { s.MaxActive, s.ClaimWithin = 1, 5*time.Second })
		l.present = 4 * time.Second
		l.join("ann")
		for range 4 { // called and not there, or absent in line, in turns
			l.tick()
			l.pass(6 * time.Second)
			s := l.tick()
			l.counts(s, 0, 1, 0, 0)
			l.present = 30 * time.Second
			l.wants(l.mark("ann"), "waiting")
			l.set.Mode = queue.ModeHold
			l.pass(29 * time.Second)
			l.counts(l.tick(), 1, 0, 0, 0)
			l.pass(time.Second)
			l.counts(l.tick(), 0, 1, 0, 0)
			l.present = 4 * time.Second
			l.wants(l.mark("ann"), "waiting")
			l.set.Mode = queue.ModeAuto
		}
		l.set.Mode = queue.ModeHold
		l.pass(5 * time.Second)
		l.counts(l.tick(), 0, 1, 0, 0)
	})
}

// crowds: newcomers in batches, at any place.
func crowds(t *testing.T, open Open) {
	hold := func(s *queue.Settings) { s.Mode = queue.ModeHold }

	t.Run("newcomers of one batch are told their ranks, in whatever order they come", func(t *testing.T) {
		for name, sorted := range map[string]bool{"in order": true, "in any order": false} {
			for _, apart := range []int64{2, 40} { // newcomers of another gate between every so many
				t.Run(fmt.Sprintf("%s, one in %d", name, apart), func(t *testing.T) {
					l := newLine(t, open, hold)
					l.look()
					base := l.now.Add(-time.Second)
					rng := rand.New(rand.NewPCG(1, uint64(apart)))
					var line []queue.Time // places so far, ascending
					ask := func(places []queue.Time) {
						var in []queue.Arrival
						for i, p := range places {
							*l.lastID += 0x0100_0000_0000_0101
							in = append(in, queue.Arrival{ID: *l.lastID, Place: p, Deadline: l.now.Add(time.Hour), Newcomer: true, Join: true, Claim: i%3 > 0})
						}
						for i, s := range l.enter(in...) {
							at, _ := slices.BinarySearch(line, places[i])
							l.wants(s, "waiting joined")
							equal(t, "place", s.Place, places[i])
							rank := int64(at)
							if i%3 == 0 { // nobody awaits the answer
								rank = -1
							}
							equal(t, fmt.Sprint("rank of newcomer ", i), s.Rank, rank)
							line = slices.Insert(line, at, places[i])
						}
					}
					for round := range 6 {
						var places []queue.Time
						for i := range 150 { // rounds overlap by a half
							places = append(places, base.Add(time.Duration(int64(round*75+i)*apart*6+int64(round))*time.Microsecond))
						}
						if !sorted {
							rng.Shuffle(len(places), func(i, j int) { places[i], places[j] = places[j], places[i] })
						}
						ask(places)
					}
					ask([]queue.Time{base - 1}) // before everybody
					s := l.tick()
					equal(t, "waiting", s.Waiting, int64(len(line)))
					equal(t, "last", s.Ladder.Last, line[len(line)-1])
				})
			}
		}
	})

	t.Run("places out of bounds are moved, and ranks are those of the moved", func(t *testing.T) {
		l := newLine(t, still(open), hold)
		l.join("ann") // a second ago
		var in []queue.Arrival
		for i, age := range []time.Duration{0, time.Hour, -time.Hour, queue.MaxLate, 500 * time.Millisecond, queue.MaxLate + time.Minute} {
			a := l.newcomer(fmt.Sprint("newcomer ", i))
			a.Place = l.now.Add(-age)
			in = append(in, a)
		}
		out := l.enter(in...)
		for i, want := range []struct {
			age  time.Duration
			rank int64
		}{{0, 1}, {queue.MaxLate, 0}, {0, 3}, {queue.MaxLate, 1}, {500 * time.Millisecond, 3}, {queue.MaxLate, 2}} {
			equal(t, fmt.Sprint("place of ", i), out[i].Place, l.now.Add(-want.age))
			equal(t, fmt.Sprint("rank of ", i), out[i].Rank, want.rank)
		}
	})

	t.Run("thousands of newcomers at once each get their own place", func(t *testing.T) {
		l := newLine(t, open, hold)
		var in []queue.Arrival
		for i := range 5000 {
			in = append(in, l.newcomer(fmt.Sprint(i)))
		}
		for i, s := range l.enter(in...) {
			l.wants(s, "waiting joined")
			equal(t, "rank", s.Rank, int64(i))
		}
		l.counts(l.tick(), 5000, 0, 0, 0)
		for i := range in { // then thousands of marks, and polls among them
			in[i].Newcomer, in[i].Join, in[i].Claim = false, false, i%100 == 0
		}
		for i, s := range l.enter(in...) {
			l.wants(s, "waiting")
			equal(t, "place", s.Place, in[i].Place)
			if in[i].Claim {
				equal(t, "rank", s.Rank, int64(i))
			}
		}
	})

	t.Run("a newcomer and their second try in one batch have one place", func(t *testing.T) {
		l := newLine(t, open, hold)
		a, b := l.newcomer("ann"), l.newcomer("bob")
		again := a
		again.Again = true
		again.Deadline = l.now.Add(time.Second)
		out := l.enter(a, b, again)
		for i, want := range []string{"waiting joined", "waiting joined", "waiting"} {
			l.wants(out[i], want)
		}
		equal(t, "place", out[2].Place, out[0].Place)
		equal(t, "ranks", [3]int64{out[0].Rank, out[1].Rank, out[2].Rank}, [3]int64{0, 1, 0})
		l.pass(2 * time.Second)
		l.counts(l.tick(), 2, 0, 0, 0)
	})

	t.Run("newcomers, polls and marks in one batch are each told how it is at their turn", func(t *testing.T) {
		l := newLine(t, open, hold)
		l.join("ann")
		*l.lastPlace += 10
		l.join("bob", "cat")
		late, early := l.newcomer("late"), l.newcomer("early")
		early.Place = l.given["bob"].place - 5
		mark := l.ticket("cat")
		mark.Claim = false
		out := l.enter(l.ticket("bob"), late, early, mark, l.ticket("bob"), l.ticket("cat"), l.ticket("late"))
		for i, want := range []int64{1, 3, 1, 0, 2, 3, 0} {
			switch i {
			case 3: // the mark is answered to nobody
			case 6: // late's ticket says no place yet
				l.wants(out[i], "waiting")
				equal(t, "place", out[i].Place, late.Place)
				equal(t, "rank", out[i].Rank, 4)
			default:
				equal(t, fmt.Sprint("rank in answer ", i), out[i].Rank, want)
			}
		}
	})
}
