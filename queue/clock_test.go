package queue

import (
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"
)

// watch is a monotonic clock that tests move.
type watch struct{ t time.Time }

func newWatch() *watch                { return &watch{time.Date(2026, 7, 1, 9, 0, 0, 0, time.UTC)} }
func (w *watch) now() time.Time       { return w.t }
func (w *watch) pass(d time.Duration) { w.t = w.t.Add(d) }

func TestBeforeTheStoreIsHeardRoomTimeIsTheMachinesClock(t *testing.T) {
	w := newWatch()
	c := roomClock{now: w.now}
	for range 3 {
		if got, want := c.time(), Time(w.t.UnixMicro()); got != want {
			t.Errorf("room time %d, want the machine's %d", got, want)
		}
		w.pass(time.Hour)
	}
	if c.highest() != 0 {
		t.Errorf("told %d, want nothing: the machine's clock is no word of the store's", c.highest())
	}
}

func TestBeforeTheStoreIsHeardRoomTimeIsTheHighestStampOfAToken(t *testing.T) {
	w := newWatch()
	c := roomClock{now: w.now}
	const stamp = Time(1e15)
	c.hearToken(stamp, stamp-7, 1)
	c.hearToken(stamp-5, stamp-8, 1)
	w.pass(time.Hour)
	if c.time() != stamp {
		t.Errorf("room time %d, want the highest stamp %d", c.time(), stamp)
	}
	if c.highest() != stamp.Add(-maxAhead) {
		t.Errorf("told %d: the gate that made the stamp may have reckoned it from %d", c.highest(), stamp.Add(-maxAhead))
	}
	first, second := c.newPlace(), c.newPlace()
	if want := (stamp - 7).Add(time.Hour); first < want || first > want+1 || second <= first {
		t.Errorf("places %d and %d, want them to go on from a token's, an hour ago, %d", first, second, stamp-7)
	}

	c.hear(Moment{Time: stamp + 1000}, w.t)
	w.pass(time.Second)
	if got := c.time(); got != stamp+1000+1e6 {
		t.Errorf("room time %d, want the store's and one second", got)
	}
	c.hearToken(stamp+9e6, stamp, 1) // of a gate that knows more
	if got := c.time(); got != stamp+1000+1e6 {
		t.Errorf("room time %d, want the store's word to stand against a stamp's", got)
	}
	if c.highest() != (stamp + 9e6).Add(-maxAhead) {
		t.Errorf("told %d, want what the stamp was reckoned from: the store should know of it", c.highest())
	}
	before := c.newPlace()
	c.hearToken(stamp+9e9, stamp+9e9, 0) // of a gate that knows no store
	if got := c.newPlace(); got != before+1 {
		t.Errorf("place %d after %d: a machine's clock moved it", got, before)
	}
	if c.highest() != (stamp + 9e6).Add(-maxAhead) {
		t.Errorf("told %d, want no machine's clock to count", c.highest())
	}
}

func TestRoomTimeStopsSoonAfterTheLastAnswer(t *testing.T) {
	w := newWatch()
	c := roomClock{now: w.now}
	const told = Time(1e15)
	c.hear(Moment{Time: told, Place: told}, w.t)
	for _, s := range []int{0, 1, 4, 4, 1, 1, 100, 1e6} {
		w.pass(time.Duration(s) * time.Second)
		passed := w.t.Sub(newWatch().t)
		if got, want := c.time().Sub(told), min(passed, maxAhead); got != want {
			t.Errorf("%s after the last answer room time went on by %s, want %s", passed, got, want)
		}
	}
	if c.highest() != told {
		t.Errorf("told %d, want %d: nobody told the rest", c.highest(), told)
	}
	a, b := c.newPlace(), c.newPlace()
	if a != told.Add(w.t.Sub(newWatch().t)) || b != a+1 {
		t.Errorf("places %d and %d, want them to go on at full pace while room time stands", a, b)
	}
}

// remote is the store's side of room time: see DESIGN 4.1.
type remote struct {
	time Time
	wall time.Time // of its own machine
}

func (r *remote) call(wall time.Time, told Time) Time {
	r.time = max(r.time.Add(min(max(wall.Sub(r.wall), 0), MaxStep)), told)
	r.wall = wall
	return r.time
}

// Else the next call after an outage would tell the store that it is behind, and it
// would take itself for one that lost what it knew.
func TestAStampTellsOfNoMoreThanTheStoreTold(t *testing.T) {
	w := newWatch()
	own, other := roomClock{now: w.now}, roomClock{now: w.now}
	const start = Time(1e15)
	own.hear(Moment{Time: start, Place: start}, w.t)
	w.pass(time.Second)
	sent := w.t
	w.pass(400 * time.Millisecond) // the answer is long under way
	told := start.Add(time.Second)
	own.hear(Moment{Time: told, Place: told}, sent)
	for range 5 { // then the store is away
		other.hearToken(own.time(), own.newPlace(), 1)
		if got := other.highest(); got > told {
			t.Fatalf("another gate takes the store to have told %s more than it did", got.Sub(told))
		}
		w.pass(time.Second)
	}
}

func TestAnAnswerThatWasLongUnderWayTurnsNothingBack(t *testing.T) {
	w := newWatch()
	c := roomClock{now: w.now}
	const start = Time(1e15)
	c.hear(Moment{Time: start}, w.t)
	w.pass(time.Second)
	sent := w.t
	answer := start.Add(time.Second) // the store answers at once, and the answer takes long
	w.pass(400 * time.Millisecond)
	c.hear(Moment{Time: answer}, sent)
	if got := c.time().Sub(start); got != 1400*time.Millisecond {
		t.Errorf("room time went by %s, want 1.4s", got)
	}
	if got := c.highest(); got != answer {
		t.Errorf("told %s after the start, want 1s: what the gate reckons is nobody's word", got.Sub(start))
	}
	// One that is older than another, heard already.
	c.hear(Moment{Time: start}, sent)
	if got := c.time().Sub(start); got < time.Second || got > 1400*time.Millisecond {
		t.Errorf("room time went by %s, want no less than 1s", got)
	}
}

// TestRoomTimeIsNeverAheadOfTheStore has two gates call a store at random, with
// answers and questions that take up to two seconds and overtake each other, while
// the store's machine has its clock set. Nobody's clock runs faster than another.
func TestRoomTimeIsNeverAheadOfTheStore(t *testing.T) {
	for seed := range uint64(10) {
		rng := rand.New(rand.NewPCG(seed, 1))
		w := newWatch()
		start := w.t
		jumped := time.Duration(0) // the store's clock against ours
		var ahead time.Duration    // by which jumps took room time ahead
		store := remote{Time(w.t.UnixMicro()), w.t}
		begin := store.time
		type flight struct {
			at     time.Duration // when the next thing happens
			gate   int
			sent   time.Time
			told   Time
			answer Time
		}
		clocks := [2]roomClock{{now: w.now}, {now: w.now}}
		var last [2]Time
		var flights []*flight
		under := func() time.Duration { return time.Duration(rng.IntN(1000)) * time.Millisecond }
		jumps := seed%2 == 1
		for step := range 60_000 {
			now := time.Duration(step) * time.Millisecond
			w.t = start.Add(now)
			if jumps && rng.IntN(5000) == 0 {
				d := time.Duration(rng.Int64N(int64(time.Hour))) - 30*time.Minute
				jumped += d
				ahead += 10 * time.Second // at most
			}
			for g := range clocks {
				if rng.IntN(300) == 0 {
					flights = append(flights, &flight{at: now + under(), gate: g, sent: w.t, told: clocks[g].highest()})
				}
			}
			flights = slices.DeleteFunc(flights, func(f *flight) bool {
				switch {
				case f.at > now:
					return false
				case f.answer == 0:
					f.answer = store.call(w.t.Add(jumped), f.told)
					f.at = now + under()
					return false
				}
				clocks[f.gate].hear(Moment{Time: f.answer, Place: f.answer}, f.sent)
				return true
			})
			for g := range clocks {
				c := &clocks[g]
				if c.heard().at.IsZero() {
					continue
				}
				p := c.newPlace()
				if p <= last[g] {
					t.Fatalf("seed %d: place %d after %d", seed, p, last[g])
				}
				last[g] = p
				if jumps {
					continue
				}
				if now := begin.Add(now); c.time() > now || c.time() < now.Add(-maxAhead) {
					t.Fatalf("seed %d, %s: a gate takes room time to be %s from the store's", seed, time.Duration(step)*time.Millisecond, c.time().Sub(now))
				}
			}
			if passed := store.time.Sub(begin); passed > now+ahead {
				t.Fatalf("seed %d, %s: gates drove room time to %s", seed, now, passed)
			}
		}
	}
}

func TestAClockThatRunsFastGetsAheadOnlyBetweenTwoAnswers(t *testing.T) {
	w := newWatch()
	c := roomClock{now: w.now}
	store := remote{Time(w.t.UnixMicro()), w.t}
	for range 3600 {
		wall := store.wall.Add(time.Second)
		w.pass(time.Second - 50*time.Millisecond)
		sent := w.t
		w.pass(50*time.Millisecond + 100*time.Microsecond) // 100 ppm
		now := store.call(wall, c.highest())
		if ahead := c.time().Sub(now); !c.heard().at.IsZero() && ahead > 50*time.Millisecond+time.Millisecond {
			t.Fatalf("%s ahead of the store", ahead)
		}
		c.hear(Moment{Time: now, Place: now}, sent)
	}
	if passed := store.time.Sub(Time(newWatch().t.UnixMicro())); passed != time.Hour {
		t.Errorf("in an hour the gate drove room time on by %s", passed)
	}
}

func TestAStoreWhoseClockJumpsMovesNoPlaceBack(t *testing.T) {
	for _, jump := range []time.Duration{-1000 * time.Hour, -time.Second, time.Second, 1000 * time.Hour} {
		w := newWatch()
		c := roomClock{now: w.now}
		store := remote{Time(w.t.UnixMicro()), w.t}
		var jumped time.Duration
		ask := func() {
			now := store.call(w.t.Add(jumped), c.highest())
			c.hear(Moment{Time: now, Place: now}, w.t)
		}
		ask()
		var last Time
		for i := range 100 {
			w.pass(100 * time.Millisecond)
			if i == 50 {
				jumped = jump
			}
			before := c.time()
			if i%10 == 0 {
				ask()
			}
			if d := c.time().Sub(before); d < -time.Second || d > 10*time.Second {
				t.Errorf("jump %s: room time moved by %s", jump, d)
			}
			if c.time() > store.time.Add(time.Second) {
				t.Errorf("jump %s: %s ahead of the store", jump, c.time().Sub(store.time))
			}
			p := c.newPlace()
			if p <= last {
				t.Fatalf("jump %s: place %d after %d", jump, p, last)
			}
			last = p
		}
	}
}

func TestNoTwoVisitorsOfOneGateGetOnePlace(t *testing.T) {
	w := newWatch() // stands still
	c := roomClock{now: w.now}
	c.hear(Moment{Time: 1e15, Place: 1e15}, w.t)
	var wg sync.WaitGroup
	places := make([][]Time, 8)
	for g := range places {
		wg.Go(func() {
			for range 1000 {
				places[g] = append(places[g], c.newPlace())
			}
		})
	}
	wg.Wait()
	all := slices.Concat(places...)
	slices.Sort(all)
	if got := len(slices.Compact(all)); got != 8000 {
		t.Errorf("%d places for 8000 visitors", got)
	}
	for g, p := range places {
		if !slices.IsSorted(p) {
			t.Errorf("who asked %d got places out of order", g)
		}
	}
}
