package queue_test

import (
	"math"
	"strings"
	"testing"
	"time"

	"github.com/sluicegate/sluice/queue"
)

// TestAWipedStoreIsRebuiltInOrder: everybody polls as asked to, at any of three gates,
// while all that the store knew is lost, twice.
func TestAWipedStoreIsRebuiltInOrder(t *testing.T) {
	at(t, 3, perSecond(2), func(t *testing.T, s *site) {
		c := s.crowd()
		for i := range 300 {
			time.Sleep(5 * time.Millisecond)
			c.visitor(i, 0)
		}
		go func() {
			for range 2 {
				time.Sleep(31300 * time.Millisecond)
				s.store.wipe()
			}
		}()
		c.wait()
		if n := len(c.let); n != 300 {
			t.Errorf("%d of 300 visitors were let in", n)
		}
		c.judge()
		if n := strings.Count(s.log.String(), "the store lost what it knew"); n != 6 {
			t.Errorf("three gates told of two losses %d times:\n%s", n, s.log.String())
		}
		if !strings.Contains(s.log.String(), `found="nothing of the room was left"`) || !strings.Contains(s.log.String(), "held_for=") {
			t.Errorf("the log does not say what was found:\n%s", s.log.String())
		}
	})
}

func TestWhileALineIsRebuiltPositionsAreThoseFromBefore(t *testing.T) {
	at(t, 2, perSecond(1), func(t *testing.T, s *site) {
		ids, places := s.fill(2000)
		time.Sleep(2 * time.Second)
		before := s.gates[0].Poll(ids[1500], places[1500], false, nil)
		s.store.wipe()
		time.Sleep(2 * time.Second)
		a := s.gates[0].Poll(ids[1500], places[1500], false, nil)
		if a.State != queue.Waiting || a.Position != before.Position || a.Waiting < 1900 {
			t.Errorf("position %d of %d, before the loss %d of %d", a.Position, a.Waiting, before.Position, before.Waiting)
		}
		if a.Age < 2*time.Second || a.Age > 3*time.Second {
			t.Errorf("two seconds after the loss the numbers are said to be %s old", a.Age)
		}
		if v := s.gates[0].Status().Snapshot; v.Held.Sub(v.Time) < before.PollAfter-4*time.Second {
			t.Errorf("the line is held for %s more, and visitors were told to ask after %s", v.Held.Sub(v.Time), before.PollAfter)
		}
		if n := s.gates[1].Join(somebody(), true); n.State != queue.Waiting || n.Position != 0 {
			t.Errorf("a newcomer is told position %d (%s); nobody knows it", n.Position, n.State)
		}
		late := s.open(10)
		time.Sleep(time.Second)
		if a := late.Poll(ids[1400], places[1400], false, nil); a.Position != 0 {
			t.Errorf("a gate that knows no ladder tells position %d", a.Position)
		}
	})
}

// TestACopyOfAUsedTicketIsDeadAfterAWipe as long as the gate lives that gave the pass.
func TestACopyOfAUsedTicketIsDeadAfterAWipe(t *testing.T) {
	set := shortSession()
	set.MaxActive = 5
	at(t, 2, set, func(t *testing.T, s *site) {
		g, other := s.gates[0], s.gates[1]
		in, out := s.inside(g), s.inside(g)
		if err := g.Leave(out.id, out.Place, out.Until); err != nil {
			t.Fatal(err)
		}
		over := s.inside(g)
		time.Sleep(set.Session + queue.SlotMargin + time.Second)
		in2 := s.inside(g)
		s.store.wipe()
		time.Sleep(3 * time.Second)
		for name, p := range map[string]*pass{"who left": out, "whose session is over": over, "who never came back": in} {
			if a := other.Poll(p.id, p.Place, false, nil); a.State != queue.Used {
				t.Errorf("the ticket of one %s: %+v", name, a)
			}
		}
		if a := other.Poll(in2.id, in2.Place, false, nil); a.State != queue.Admitted || a.Claimed {
			t.Errorf("the ticket of one inside: %+v", a)
		}
		if v := g.Status().Snapshot; v.Active != 1 {
			t.Errorf("%d are inside, want one", v.Active)
		}
	})
}

func TestWithAdmitTheLineGoesOnByTheLastSnapshot(t *testing.T) {
	set := perSecond(10)
	set.MaxActive = 30
	at(t, 2, set, func(t *testing.T, s *site) {
		g := s.gates[0]
		ids, places := s.fill(1000)
		time.Sleep(time.Second)
		free := set.MaxActive - g.Status().Snapshot.Called - g.Status().Snapshot.Active
		first := int(1000 - g.Status().Snapshot.Waiting)
		if free < 10 {
			t.Fatalf("BUG: only %d slots are free", free)
		}
		s.store.set(broken)
		time.Sleep(time.Second)
		if a := g.Poll(ids[first], places[first], true, nil); a.State != queue.Waiting {
			t.Errorf("with hold who is next is told %+v", a)
		}
		g.SetAdmit(true)
		gone := g.Status().Age
		if a := g.Poll(ids[first], places[first], true, nil); a.State != queue.Admitted || !a.Claimed || a.Until.Sub(a.Called) < set.Session {
			t.Errorf("who is next is told %+v after %s", a, gone)
		}
		if a := g.Poll(ids[first+500], places[first+500], true, nil); a.State != queue.Waiting || a.Position < 490 {
			t.Errorf("who is far back is told %+v", a)
		}
		if a := g.Join(somebody(), true); a.State != queue.Waiting || a.Place == 0 {
			t.Errorf("a newcomer is told %+v", a)
		}
		time.Sleep(5 * time.Minute)
		let := 0
		for i := range 200 {
			a := g.Poll(ids[first+i], places[first+i], true, nil)
			if a.State == queue.Admitted {
				let++
			}
			if in := a.State == queue.Admitted; in != (int64(i) < free) {
				t.Fatalf("number %d in line, where %d were free: let in %t", i, free, in)
			}
		}
		if a := g.Poll(somebody(), places[first], true, nil); a.State != queue.Waiting {
			t.Errorf("one who was absent, and comes when all slots are taken, is told %+v", a)
		}
		if a := g.Poll(ids[first], places[first], true, nil); a.State != queue.Admitted || a.Claimed {
			t.Errorf("who comes again with the same ticket is told %+v", a)
		}
		s.store.set(none)
		time.Sleep(2 * time.Second)
		v := g.Status().Snapshot
		if v.Active != int64(let) || v.Called+v.Active > set.MaxActive {
			t.Errorf("%d were let in meanwhile; then %d are inside and %d called, of %d", let, v.Active, v.Called, set.MaxActive)
		}
		if a := s.gates[1].Poll(ids[first], places[first], true, nil); a.State != queue.Admitted || a.Claimed {
			t.Errorf("at another gate their ticket gives %+v", a)
		}
		if front := v.Front; front == math.MaxInt64 {
			t.Error("BUG: no front")
		}
	})
}

func TestAStoreThatHangsCostsNobodyMoreThanOneTimeout(t *testing.T) {
	at(t, 1, perSecond(1), func(t *testing.T, s *site) {
		g := s.gates[0]
		ids, places := s.fill(50)
		time.Sleep(2 * time.Second)
		s.store.set(hanging)
		sent := time.Now()
		for i := range 50 {
			a := g.Poll(ids[i], places[i], false, nil)
			if took := time.Since(sent); took > 2100*time.Millisecond {
				t.Fatalf("visitor %d was answered %s after the store began to hang", i, took)
			}
			if a.State != queue.Waiting || a.Place != places[i] {
				t.Errorf("visitor %d is told %+v", i, a)
			}
		}
	})
}
