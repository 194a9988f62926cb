package queue_test

import (
	"cmp"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sluicegate/sluice/queue"
)

// waitingAt are visitors in line in a room on hold.
type waitingAt struct {
	id    queue.ID
	place queue.Time
}

func (s *site) line(g *gate, n int) (out []waitingAt) {
	for range n {
		id := somebody()
		out = append(out, waitingAt{id, g.Join(id, true).Place})
	}
	return out
}

// onHold are the settings of a room that calls nobody until it is told to.
func onHold(rate, burst int64) queue.Settings {
	set := perSecond(rate)
	set.Burst, set.Mode = burst, queue.ModeHold
	return set
}

// start has the room call people, and waits until the gates know.
func (s *site) start() {
	s.t.Helper()
	override(s.t, s.gates[0], "mode", "auto")
}

func TestAHeldPollIsAnsweredWhenAnotherGateCallsTheVisitor(t *testing.T) {
	at(t, 2, perSecond(1), func(t *testing.T, s *site) {
		caller, holder := s.gates[0], s.gates[1]
		s.line(caller, 1) // in on the spot
		v := s.line(caller, 3)[2]
		time.Sleep(1400 * time.Millisecond) // two are called in the next two seconds
		begin := time.Now()
		a := holder.Poll(v.id, v.place, true, nil)
		if took := time.Since(begin); a.State != queue.Admitted || took < time.Second || took > 2*time.Second {
			t.Fatalf("after %s the visitor is told %+v", took, a)
		}
		if late := time.Since(time.UnixMicro(int64(a.Called))); late > 252*time.Millisecond {
			t.Errorf("they heard of their call %s later", late)
		}
	})
}

func TestHeldPollsAreAnsweredInOrderOfPlace(t *testing.T) {
	at(t, 1, onHold(100, 200), func(t *testing.T, s *site) {
		g := s.gates[0]
		line := s.line(g, 150)
		time.Sleep(3 * time.Second)
		s.start()
		s.store.forget()
		var mu sync.Mutex
		var answers []let
		var wg sync.WaitGroup
		for i := range line {
			v := line[(i*67)%len(line)]
			wg.Go(func() {
				a := g.Poll(v.id, v.place, true, nil)
				mu.Lock()
				defer mu.Unlock()
				answers = append(answers, let{Answer: a, at: time.Now()})
			})
		}
		wg.Wait()
		for _, a := range answers {
			if a.State != queue.Admitted {
				t.Fatalf("a visitor is told %+v", a)
			}
		}
		for _, in := range s.store.sent()[1:] { // the first are polls of who was called already
			if !slices.IsSortedFunc(in, func(a, b queue.Arrival) int { return cmp.Compare(a.Place, b.Place) }) {
				t.Error("held visitors were asked for out of order")
			}
		}
		slices.SortFunc(answers, func(a, b let) int { return cmp.Compare(a.Place, b.Place) })
		if !slices.IsSortedFunc(answers, func(a, b let) int { return a.at.Compare(b.at) }) {
			t.Error("somebody was told of their turn after somebody who came later")
		}
	})
}

func TestAGateHoldsOnlySoManyPolls(t *testing.T) {
	set := perSecond(1)
	set.Burst = 20
	at(t, 1, set, func(t *testing.T, s *site) {
		s.gates[0].stop()
		s.gates = nil
		g := s.open(5)
		synctest.Wait()
		s.line(g, 20) // in on the spot
		line := s.line(g, 20)
		time.Sleep(300 * time.Millisecond)
		begin := time.Now()
		var wg sync.WaitGroup
		var atOnce atomic.Int64
		for _, v := range line[5:] {
			wg.Go(func() {
				a := g.Poll(v.id, v.place, true, nil)
				if a.State != queue.Waiting || a.PollAfter < 250*time.Millisecond || a.PollAfter > 2*time.Second {
					t.Errorf("a visitor is told %+v", a)
				}
				if time.Since(begin) < 100*time.Millisecond {
					atOnce.Add(1)
				}
			})
		}
		time.Sleep(time.Second)
		if n := g.Held(); n != 5 {
			t.Errorf("%d polls are held, want 5", n)
		}
		wg.Wait()
		if n := atOnce.Load(); n != 10 {
			t.Errorf("%d of 15 were answered at once, want all but five", n)
		}
		if n := g.Held(); n != 0 {
			t.Errorf("then %d polls are held", n)
		}
	})
}

func TestAPollIsNotHeldForLongerThanTwoSeconds(t *testing.T) {
	set := perSecond(1)
	set.Burst = 20
	at(t, 1, set, func(t *testing.T, s *site) {
		g := s.gates[0]
		s.line(g, 20)
		line := s.line(g, 20)
		time.Sleep(300 * time.Millisecond)
		for _, c := range []struct {
			i         int
			low, high time.Duration // of when to ask again
		}{
			{2, 250 * time.Millisecond, 500 * time.Millisecond}, // called a second later
			{19, time.Second, 2 * time.Second},
		} {
			begin := time.Now()
			a := g.Poll(line[c.i].id, line[c.i].place, true, nil)
			if took := time.Since(begin); a.State != queue.Waiting || took < 2*time.Second || took > 2100*time.Millisecond {
				t.Errorf("after %s the %dth is told %+v", took, c.i+1, a)
			}
			if a.PollAfter < c.low || a.PollAfter > c.high {
				t.Errorf("the %dth is told to ask again after %s, want %s to %s", c.i+1, a.PollAfter, c.low, c.high)
			}
			if a.Age > 300*time.Millisecond {
				t.Errorf("the numbers are %s old", a.Age)
			}
		}
		begin := time.Now()
		if a := g.Poll(line[10].id, line[10].place, false, nil); a.State != queue.Waiting || time.Since(begin) > 5*time.Millisecond {
			t.Errorf("who is not to be held is told %+v after %s", a, time.Since(begin))
		}
	})
}

func TestWhoWentAwayWhileHeldTakesNoSlot(t *testing.T) {
	set := perSecond(1)
	set.MaxActive = 5
	at(t, 2, set, func(t *testing.T, s *site) {
		s.line(s.gates[0], 1)
		v := s.line(s.gates[0], 1)[0]
		var alive atomic.Bool
		alive.Store(true)
		go func() {
			time.Sleep(300 * time.Millisecond)
			alive.Store(false)
		}()
		a := s.gates[1].Poll(v.id, v.place, true, alive.Load)
		if a.State != queue.Waiting {
			t.Errorf("a connection that died is told %+v", a)
		}
		if n := s.gates[1].Status().Snapshot; n.Active != 0 || n.Called != 2 || n.Calls != 2 {
			t.Errorf("then %d are active and %d called of %d", n.Active, n.Called, n.Calls)
		}
		if n := s.gates[1].Held(); n != 0 {
			t.Errorf("%d polls are held", n)
		}
		// On a new connection their turn has come.
		if a := s.gates[0].Poll(v.id, v.place, true, nil); a.State != queue.Admitted {
			t.Errorf("on a new connection they are told %+v", a)
		}
	})
}

func TestAPollIsNotAnsweredWhileItsConnectionIsLookedAt(t *testing.T) {
	at(t, 1, perSecond(1), func(t *testing.T, s *site) {
		g := s.gates[0]
		s.line(g, 1)
		v := s.line(g, 1)[0]
		var looks, looking atomic.Int64
		look := func() bool { // longer than a poll is held
			looks.Add(1)
			looking.Add(1)
			defer looking.Add(-1)
			time.Sleep(5 * time.Second)
			return true
		}
		a := g.Poll(v.id, v.place, true, look)
		if n := looks.Load(); n != 1 || looking.Load() != 0 {
			t.Errorf("%d looks at the connection, %d of them when the answer was given", n, looking.Load())
		}
		if a.State != queue.Admitted {
			t.Errorf("whose slot was taken is told %+v", a)
		}
		time.Sleep(5 * time.Second)
		if n := looks.Load(); n != 1 || g.Held() != 0 {
			t.Errorf("%d looks, the last ones after the answer; %d polls are held", n, g.Held())
		}
	})
}

func TestTwoTabsOfOneVisitorAreLetInOnOneSlot(t *testing.T) {
	at(t, 2, perSecond(1), func(t *testing.T, s *site) {
		s.line(s.gates[0], 1)
		v := s.line(s.gates[0], 1)[0]
		var wg sync.WaitGroup
		answers := make([]queue.Answer, 4)
		for i := range answers {
			wg.Go(func() { answers[i] = s.gates[i%2].Poll(v.id, v.place, true, nil) })
		}
		wg.Wait()
		claimed := 0
		for _, a := range answers {
			if a.State != queue.Admitted || a.Called != answers[0].Called {
				t.Errorf("a tab is told %+v", a)
			}
			if a.Claimed {
				claimed++
			}
		}
		time.Sleep(time.Second)
		if n := s.gates[0].Status().Snapshot; claimed != 1 || n.Active != 1 || n.Calls != 2 {
			t.Errorf("%d tabs claimed; %d active, %d called so far", claimed, n.Active, n.Calls)
		}
	})
}

func TestWhoLeavesInAnotherTabIsNotLetIn(t *testing.T) {
	at(t, 1, perSecond(1), func(t *testing.T, s *site) {
		g := s.gates[0]
		s.line(g, 1)
		line := s.line(g, 2)
		go func() {
			time.Sleep(200 * time.Millisecond)
			if err := g.Leave(line[0].id, line[0].place, 0); err != nil {
				t.Error(err)
			}
		}()
		if a := g.Poll(line[0].id, line[0].place, true, nil); a.State != queue.Used {
			t.Errorf("who left is told %+v", a)
		}
		if a := g.Poll(line[1].id, line[1].place, true, nil); a.State != queue.Admitted {
			t.Errorf("the next is told %+v", a)
		}
	})
}

func TestHeldPollsOutliveAStoreThatIsGoneForAMoment(t *testing.T) {
	for name, f := range map[string]fault{"refusing": broken, "hanging": hanging} {
		t.Run(name, func(t *testing.T) {
			at(t, 1, perSecond(1), func(t *testing.T, s *site) {
				g := s.gates[0]
				s.line(g, 1)
				v := s.line(g, 1)[0]
				time.Sleep(500 * time.Millisecond)
				go func() {
					time.Sleep(200 * time.Millisecond)
					s.store.set(f)
					time.Sleep(500 * time.Millisecond)
					s.store.set(none)
				}()
				begin := time.Now()
				a := g.Poll(v.id, v.place, true, nil)
				if took := time.Since(begin); took > 2500*time.Millisecond {
					t.Errorf("the poll was held for %s", took)
				}
				for a.State != queue.Admitted && time.Since(begin) < 10*time.Second {
					time.Sleep(a.PollAfter)
					a = g.Poll(v.id, v.place, true, nil)
				}
				if took := time.Since(begin); a.State != queue.Admitted || took > 5*time.Second {
					t.Errorf("after %s the visitor is told %+v", took, a)
				}
			})
		})
	}
}

func TestAStopAnswersHeldPolls(t *testing.T) {
	set := perSecond(1)
	set.Burst = 20
	at(t, 1, set, func(t *testing.T, s *site) {
		g := s.gates[0]
		s.line(g, 20)
		var wg sync.WaitGroup
		for _, v := range s.line(g, 20) {
			wg.Go(func() {
				if a := g.Poll(v.id, v.place, true, nil); a.State != queue.Waiting && a.State != queue.Admitted {
					t.Errorf("a visitor is told %+v", a)
				}
			})
		}
		time.Sleep(500 * time.Millisecond)
		begin := time.Now()
		g.stop()
		wg.Wait()
		if took := time.Since(begin); took > 2*time.Second {
			t.Errorf("the last was answered %s after the stop", took)
		}
	})
}

func TestARoomThatOpensLetsInWhoIsHeld(t *testing.T) {
	set := perSecond(1)
	set.Burst = 20
	at(t, 1, set, func(t *testing.T, s *site) {
		g := s.gates[0]
		s.line(g, 20)
		line := s.line(g, 20)
		time.Sleep(300 * time.Millisecond)
		go func() {
			time.Sleep(300 * time.Millisecond)
			override(t, g, "mode", "open")
		}()
		begin := time.Now()
		if a := g.Poll(line[15].id, line[15].place, true, nil); a.State != queue.Admitted || time.Since(begin) > 600*time.Millisecond {
			t.Errorf("after %s the visitor is told %+v", time.Since(begin), a)
		}
	})
}

// A browser or proxy gives up at some time, and the store may take its own.
func TestAPollThatWaitedForASlowStoreIsNotHeldAsWell(t *testing.T) {
	set := perSecond(1)
	at(t, 1, set, func(t *testing.T, s *site) {
		g := s.gates[0]
		set.Mode = queue.ModeHold
		g.SetFile(set)
		var ids []queue.ID
		var places []queue.Time
		for range 10 {
			ids = append(ids, somebody())
			places = append(places, g.Join(ids[len(ids)-1], true).Place)
		}
		set.Mode = queue.ModeAuto
		g.SetFile(set)
		time.Sleep(time.Second)
		s.store.mu.Lock()
		s.store.slow = 1900 * time.Millisecond // each call
		s.store.mu.Unlock()
		time.Sleep(5 * time.Second)
		var wg sync.WaitGroup
		for i := range ids {
			time.Sleep(300 * time.Millisecond)
			wg.Go(func() {
				asked := time.Now()
				a := g.Poll(ids[i], places[i], true, nil)
				if took := time.Since(asked); took > 4*time.Second {
					t.Errorf("visitor %d, who is %s, was answered after %s", i, a.State, took)
				}
			})
		}
		wg.Wait()
	})
}
