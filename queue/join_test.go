package queue_test

import (
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sluicegate/sluice/queue"
)

// arrivals returns what the store was asked of a visitor.
func (w *watched) arrivals(id queue.ID) (all []queue.Arrival) {
	for _, in := range w.sent() {
		for _, a := range in {
			if a.ID == id {
				all = append(all, a)
			}
		}
	}
	return all
}

// farBack is a room of a gate with a thousand who wait.
func farBack(t *testing.T, gates int, set queue.Settings, test func(t *testing.T, s *site)) {
	at(t, gates, set, func(t *testing.T, s *site) {
		s.fill(1000)
		time.Sleep(2 * time.Second)
		s.store.forget()
		test(t, s)
	})
}

func TestANewcomerToALongLineDoesNotWaitForTheStore(t *testing.T) {
	farBack(t, 1, perSecond(10), func(t *testing.T, s *site) {
		g := s.gates[0]
		sent := time.Now()
		var ids []queue.ID
		var last queue.Answer
		for range 300 {
			id := somebody()
			a := g.Join(id, true)
			if a.State != queue.Waiting || a.Place <= last.Place || a.Position < last.Position || a.Position < 970 || a.Position > 1350 || a.Waiting < a.Position || a.PollAfter <= 0 {
				t.Fatalf("the newcomer after %+v is told %+v", last, a)
			}
			ids, last = append(ids, id), a
		}
		if n, _ := s.store.asked(); n != 0 || time.Since(sent) > 0 {
			t.Errorf("for their answers the store was asked for %d visitors, and they took %s", n, time.Since(sent))
		}
		time.Sleep(101 * time.Millisecond)
		n, calls := s.store.asked()
		if n != 300 || calls != 1 {
			t.Fatalf("a moment later the store was told of %d, in %d calls", n, calls)
		}
		for i, a := range s.store.sent()[0] {
			if a.ID != ids[i] || !a.Newcomer || !a.Join || a.Claim || a.Again {
				t.Fatalf("of the %dth it was told %+v", i+1, a)
			}
		}
		time.Sleep(time.Second)
		if w := g.Status().Snapshot.Waiting; w < 1250 {
			t.Errorf("then %d wait", w)
		}
		if a := g.Join(somebody(), true); a.Position < 1250 || a.Position > 1450 {
			t.Errorf("one more is told %+v", a)
		}
		if a := g.Poll(ids[299], last.Place, false, nil); a.Position == 0 || a.Position > last.Position {
			t.Errorf("who was told %+v polls and is told %+v", last, a)
		}
	})
}

func TestTheStoreIsAskedForANewcomer(t *testing.T) {
	full := perSecond(10)
	full.MaxWaiting = 900
	soonFull := perSecond(10)
	soonFull.MaxWaiting = 1200
	held := func(rate int64) queue.Settings {
		set := perSecond(rate)
		set.Mode = queue.ModeHold
		return set
	}
	open := perSecond(10)
	open.Mode = queue.ModeOpen
	for name, c := range map[string]struct {
		set    queue.Settings
		before func(s *site)
		want   queue.State
	}{
		"who might be called soon": {perSecond(300), func(s *site) {}, queue.Waiting},
		"where max_active alone decides, and might let all in": {func() queue.Settings {
			set := queue.Defaults()
			set.Rate, set.MaxActive = queue.NoRate, 490
			return set
		}(), func(s *site) {}, queue.Waiting},
		"whom the store would be told of late, as of the one before": {held(300), func(s *site) {
			slow := func(d time.Duration) {
				s.store.mu.Lock()
				s.store.slow = d
				s.store.mu.Unlock()
			}
			slow(900 * time.Millisecond)
			before := somebody()
			s.gates[0].Join(before, true)
			time.Sleep(1100 * time.Millisecond)
			if in := s.store.arrivals(before); len(in) != 1 || in[0].Claim {
				s.t.Errorf("of the one before the store was told %+v", in)
			}
			slow(0)
			time.Sleep(2 * time.Second)
			s.store.forget()
		}, queue.Waiting},
		"to a room that is full":    {full, func(s *site) {}, queue.Full},
		"to a room soon full":       {soonFull, func(s *site) {}, queue.Waiting},
		"to a room where all pass":  {open, func(s *site) {}, queue.Admitted},
		"to a line that is rebuilt": {perSecond(10), func(s *site) { s.store.wipe(); s.fill(1000); time.Sleep(time.Second); s.store.forget() }, queue.Waiting},
		"by a gate that has not heard of the store for a while": {perSecond(10), func(s *site) {
			s.store.mu.Lock()
			s.store.slow = 1500 * time.Millisecond
			s.store.mu.Unlock()
			time.Sleep(1400 * time.Millisecond)
			s.store.forget()
		}, queue.Waiting},
	} {
		t.Run(name, func(t *testing.T) {
			farBack(t, 1, c.set, func(t *testing.T, s *site) {
				c.before(s)
				id := somebody()
				a := s.gates[0].Join(id, true)
				if a.State != c.want {
					t.Errorf("they are told %+v", a)
				}
				if in := s.store.arrivals(id); len(in) != 1 || !in[0].Claim {
					t.Errorf("the store was asked %+v", in)
				}
			})
		})
	}
}

func TestWhoWasGivenAPlaceHasItHoweverFullTheRoomGets(t *testing.T) {
	set := perSecond(10)
	set.MaxWaiting = 1500
	farBack(t, 1, set, func(t *testing.T, s *site) {
		g := s.gates[0]
		soon, later := somebody(), somebody()
		a, b := g.Join(soon, true), g.Join(later, true)
		if n, _ := s.store.asked(); n != 0 {
			t.Fatalf("the store was asked for %d", n)
		}
		s.fill(700) // by others, in the moment before it is told
		if c := g.Poll(soon, a.Place, false, nil); c.State != queue.Waiting || c.Place != a.Place {
			t.Errorf("who was told %+v polls and is told %+v", a, c)
		}
		time.Sleep(time.Second)
		if c := g.Poll(later, b.Place, false, nil); c.State != queue.Waiting || c.Place != b.Place {
			t.Errorf("who was told %+v polls a second later and is told %+v", b, c)
		}
		if c := g.Join(somebody(), true); c.State != queue.Full {
			t.Errorf("one more is told %+v", c)
		}
	})
}

func TestANewcomerWhoComesBackAtOnceIsStillANewcomer(t *testing.T) {
	farBack(t, 1, perSecond(10), func(t *testing.T, s *site) {
		g := s.gates[0]
		first, second := somebody(), somebody()
		a := g.Join(first, true)
		b := g.Join(second, true)
		time.Sleep(50 * time.Millisecond)
		again := g.Poll(first, a.Place, true, nil) // its place is newer than the ladder
		if again.State != queue.Waiting || again.Place != a.Place || again.Restored || !again.Joined {
			t.Errorf("who reloads is told %+v", again)
		}
		time.Sleep(time.Second)
		if again := g.Poll(second, b.Place, true, nil); again.State != queue.Waiting || again.Restored {
			t.Errorf("who polls a second later is told %+v", again)
		}
		time.Sleep(1100 * time.Millisecond)
		if in := s.store.arrivals(first); len(in) != 1 || !in[0].Newcomer {
			t.Errorf("of the first the store was told %+v", in)
		}
		if in := s.store.arrivals(second); len(in) != 2 || !in[0].Newcomer || in[1].Newcomer {
			t.Errorf("of the second the store was told %+v", in)
		}
	})
}

func TestAStopTellsTheStoreOfNewcomers(t *testing.T) {
	farBack(t, 1, perSecond(10), func(t *testing.T, s *site) {
		id := somebody()
		s.gates[0].Join(id, true)
		s.gates[0].stop()
		if in := s.store.arrivals(id); len(in) != 1 || !in[0].Newcomer {
			t.Errorf("the store was told %+v", in)
		}
	})
}

func TestANewcomerWhoLeavesAtOnceIsNotInLine(t *testing.T) {
	farBack(t, 1, perSecond(10), func(t *testing.T, s *site) {
		g := s.gates[0]
		id := somebody()
		a := g.Join(id, true)
		if err := g.Leave(id, a.Place, 0); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		if in := s.store.arrivals(id); len(in) != 0 {
			t.Errorf("the store was told %+v", in)
		}
		if a := g.Poll(id, a.Place, false, nil); a.State != queue.Used {
			t.Errorf("the ticket gives %+v", a)
		}
	})
}

// The store goes before it was told of newcomers: their tickets bring their places.
func TestNewcomersOfWhomTheStoreWasNotToldKeepTheirPlaces(t *testing.T) {
	for name, f := range map[string]fault{"refusing": broken, "hanging": hanging} {
		t.Run(name, func(t *testing.T) {
			set := perSecond(10)
			set.Mode = queue.ModeHold
			farBack(t, 2, set, func(t *testing.T, s *site) {
				type newcomer struct {
					id queue.ID
					a  queue.Answer
				}
				var line []newcomer
				join := func() {
					for i := range 20 {
						id := somebody()
						line = append(line, newcomer{id, s.gates[i%2].Join(id, true)})
						time.Sleep(time.Millisecond)
					}
				}
				join()
				s.store.set(f)
				join()
				time.Sleep(10 * time.Second)
				s.store.set(none)
				time.Sleep(3 * time.Second)
				join()
				time.Sleep(time.Second)
				if w := s.gates[0].Status().Snapshot.Waiting; w != 1060 {
					t.Errorf("%d wait", w)
				}
				for i, n := range line {
					if i > 0 && n.a.Place <= line[i-1].a.Place {
						t.Errorf("the %dth got the place %d, after %d", i+1, n.a.Place, line[i-1].a.Place)
					}
					told := s.store.arrivals(n.id)
					if len(told) == 0 || told[len(told)-1].Newcomer == (i < 40) { // a newcomer's place may be moved
						t.Errorf("the store was told %+v of the %dth, whose place is %d", told, i+1, n.a.Place)
					}
				}
				for i, n := range line {
					a := s.gates[1].Poll(n.id, n.a.Place, false, nil)
					if ahead := int64(1000 + i); a.Position <= ahead*31/32 || a.Position > queue.RungAtOrAfter(ahead)+1 {
						t.Errorf("the %dth, of whom %d are ahead, is told %+v", i+1, ahead, a)
					}
				}
			})
		})
	}
}

// Nobody is overtaken by somebody whom the store knew sooner: people arrive at two
// gates faster than they are called, so that the line grows long, all of them poll
// when told to, and the operator lets many in at once.
func TestNobodyIsOvertakenBecauseTheStoreWasToldLater(t *testing.T) {
	set := perSecond(20)
	at(t, 2, set, func(t *testing.T, s *site) {
		rng := rand.New(rand.NewPCG(7, 7))
		c := s.crowd()
		for i := range 800 {
			c.wg.Go(func() { c.visitor(i, 0) })
			time.Sleep(time.Duration(rng.ExpFloat64() * float64(4*time.Millisecond)))
		}
		synctest.Wait()
		override(t, s.gates[0], "rate", "400/s")
		c.wait()
		s.set = perSecond(400) // the most that was ever allowed
		c.judge()
		if len(c.let) != 800 {
			t.Errorf("%d of 800 were let in", len(c.let))
		}
		later := 0
		for _, in := range s.store.sent() {
			for _, a := range in {
				if a.Newcomer && !a.Claim {
					later++
				}
			}
		}
		if later < 300 {
			t.Errorf("the store was told later of %d only", later)
		}
	})
}
