package queue_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/sluicegate/sluice/queue"
)

// link is one gate's way to a store that it shares with others.
type link struct {
	*watched
	mu     sync.Mutex
	cut    bool
	frozen chan struct{} // closed when the gate's process goes on; nil: it runs
	early  bool          // calls are carried out before the process stands still, not after
	over   int           // answers that told of an overshoot
}

func (l *link) set(cut bool) {
	l.mu.Lock()
	l.cut = cut
	l.mu.Unlock()
}

// freeze has every call stand still, whatever its deadline, until the gate is let go on.
func (l *link) freeze(early bool) (goOn func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	frozen := make(chan struct{})
	l.frozen, l.early = frozen, early
	return func() {
		l.mu.Lock()
		l.frozen = nil
		l.mu.Unlock()
		close(frozen)
	}
}

func (l *link) meet(ctx context.Context, early bool) error {
	l.mu.Lock()
	cut, frozen := l.cut, l.frozen
	early = early == l.early
	l.mu.Unlock()
	if frozen != nil && early {
		<-frozen
		if err := ctx.Err(); err != nil && !l.early {
			return fmt.Errorf("%w: %w", queue.ErrUnavailable, err)
		}
	}
	if cut {
		return fmt.Errorf("%w: cut off", queue.ErrUnavailable)
	}
	return nil
}

func (l *link) Enter(ctx context.Context, c *queue.Call, in []queue.Arrival, out []queue.Standing) ([]queue.Standing, queue.Moment, error) {
	if err := l.meet(ctx, false); err != nil {
		return out, queue.Moment{}, err
	}
	out, m, err := l.watched.Enter(ctx, c, in, out)
	_ = l.meet(ctx, true)
	return out, m, err
}

func (l *link) Renew(ctx context.Context, c *queue.Call, in []queue.Visit, out []queue.Renewal) ([]queue.Renewal, queue.Moment, error) {
	if err := l.meet(ctx, false); err != nil {
		return out, queue.Moment{}, err
	}
	out, m, err := l.watched.Renew(ctx, c, in, out)
	_ = l.meet(ctx, true)
	l.mu.Lock()
	defer l.mu.Unlock()
	for i := range out {
		if out[i].Overshoot {
			l.over++
		}
	}
	return out, m, err
}

func (l *link) Tick(ctx context.Context, c *queue.Call) (queue.Snapshot, error) {
	if err := l.meet(ctx, false); err != nil {
		return queue.Snapshot{}, err
	}
	s, err := l.watched.Tick(ctx, c)
	_ = l.meet(ctx, true)
	return s, err
}

// openLinked opens a gate whose way to the store can be cut, with a clock that is wrong
// by so much.
func (s *site) openLinked(wrong time.Duration) (*gate, *link) {
	l := &link{watched: s.store}
	g := s.openWith(func(c *queue.LineConfig) {
		c.Store = l
		c.Now = func() time.Time { return time.Now().Add(wrong) }
	})
	return g, l
}

func TestWhoIsBusyAtAGateThatIsCutOffStaysInside(t *testing.T) {
	set := shortSession()
	set.Session, set.MaxActive = 30*time.Second, 1
	at(t, 1, set, func(t *testing.T, s *site) {
		g, l := s.openLinked(0)
		time.Sleep(time.Second)
		ann := s.inside(g)
		l.set(true)
		for range 30 { // three sessions long
			time.Sleep(3 * time.Second)
			if _, gone := ann.use(g); gone || ann.Until <= g.Time() {
				t.Fatalf("while her gate is cut off ann's pass is void: until %d, gone %t", ann.Until, gone)
			}
		}
		other := s.inside(s.gates[0]) // her slot was free
		l.set(false)
		for range 30 {
			time.Sleep(3 * time.Second)
			if ann.Until <= g.Time() && !g.Stays(ann.id) {
				t.Fatal("ann was busy all the time, and is not inside any more")
			}
			if _, gone := ann.use(g); gone {
				t.Fatal("ann was busy all the time, and her pass is void")
			}
			other.use(s.gates[0])
		}
		if v := s.gates[0].Status().Snapshot; v.Active != 2 {
			t.Errorf("%d are inside, want ann and the other", v.Active)
		}
		if l.over != 1 {
			t.Errorf("the gate was told of an overshoot %d times, want once: ann is one more than may be", l.over)
		}
	})
}

func TestWhoWasIdleAtAGateThatIsCutOffIsNotInsideAfterwards(t *testing.T) {
	set := shortSession()
	set.Session = 30 * time.Second
	at(t, 1, set, func(t *testing.T, s *site) {
		g, l := s.openLinked(0)
		time.Sleep(time.Second)
		ann := s.inside(g)
		l.set(true)
		time.Sleep(3 * time.Second)
		ann.use(g)
		time.Sleep(90 * time.Second)
		l.set(false)
		time.Sleep(3 * time.Second)
		if ann.Until > g.Time() || g.Stays(ann.id) {
			t.Error("ann is still inside, though nobody has heard of her for three sessions")
		}
		if v := g.Status().Snapshot; v.Active != 0 {
			t.Errorf("%d are inside", v.Active)
		}
	})
}

// No token of another gate tells the one that is cut off how late it is there.
func TestNewcomersOfAGateThatIsCutOffStandInOrderWithThoseOfOthers(t *testing.T) {
	set := perSecond(1)
	set.Mode = queue.ModeHold
	at(t, 1, set, func(t *testing.T, s *site) {
		other := s.gates[0]
		g, l := s.openLinked(0)
		time.Sleep(time.Second)
		l.set(true)
		var before queue.Time
		for i := range 40 {
			time.Sleep(3 * time.Second)
			first := other.Join(somebody(), true)
			time.Sleep(100 * time.Millisecond)
			second := g.Join(somebody(), true)
			if first.Place <= before || second.Place < first.Place {
				t.Fatalf("pair %d: one who came to the other gate stands at %d, a tenth of a second later one at the gate that is cut off at %d; before them %d", i, first.Place, second.Place, before)
			}
			if late := placeTime(other.Line).Sub(second.Place); late.Abs() > 10*time.Millisecond {
				t.Fatalf("pair %d: the place is %s ago", i, late)
			}
			before = second.Place
		}
	})
}

func TestAGateWhoseProcessStoodStillFindsOutForHowLongBeforeItGoesByThat(t *testing.T) {
	for name, early := range map[string]bool{"a call was not sent yet": false, "an answer was under way": true} {
		t.Run(name, func(t *testing.T) {
			set := shortSession()
			set.Session = 30 * time.Second
			at(t, 1, set, func(t *testing.T, s *site) {
				g, l := s.openLinked(0)
				time.Sleep(5 * time.Second)
				goOn := l.freeze(early)
				time.Sleep(time.Minute)
				told := make(chan queue.Time, 1)
				go func() { told <- g.Time() }()
				time.Sleep(time.Second)
				if len(told) > 0 {
					t.Errorf("it does not ask, and says that it is %s earlier than it is", s.gates[0].Time().Sub(<-told))
				}
				goOn()
				time.Sleep(4 * time.Second)
				select {
				case now := <-told:
					if late := s.gates[0].Time().Sub(now); late > 5*time.Second {
						t.Errorf("then it says that it is %s earlier than it is", late)
					}
				default:
					t.Error("it does not find out how late it is")
				}
			})
		})
	}
}

func TestAGateWhoseProcessStoodStillLetsNobodyInByWhatItKnewBefore(t *testing.T) {
	set := perSecond(2)
	at(t, 1, set, func(t *testing.T, s *site) {
		g, l := s.openLinked(0)
		g.SetAdmit(true)
		ids, places := s.fill(500)
		time.Sleep(2 * time.Second)
		l.set(true)
		time.Sleep(10 * time.Second)
		goOn := l.freeze(false)
		time.Sleep(time.Minute)
		l.set(false)
		if a := g.Poll(ids[100], places[100], false, nil); a.State != queue.Waiting {
			t.Errorf("with a picture of the line from before it stood still, it lets one in who stands at 100: %+v", a)
		}
		goOn()
	})
}

func TestGatesWithClocksAnHourApart(t *testing.T) {
	at(t, 0, perSecond(2), func(t *testing.T, s *site) {
		for _, wrong := range []time.Duration{0, time.Hour, -time.Hour} {
			s.openLinked(wrong)
		}
		time.Sleep(time.Second)
		c := s.crowd()
		for i := range 200 {
			time.Sleep(5 * time.Millisecond)
			c.visitor(i, 0)
		}
		go func() {
			time.Sleep(30 * time.Second)
			s.store.set(broken)
			time.Sleep(20 * time.Second)
			s.store.set(none)
			time.Sleep(20 * time.Second)
			s.store.wipe()
		}()
		c.wait()
		if n := len(c.let); n != 200 {
			t.Errorf("%d of 200 visitors were let in", n)
		}
		c.judge()
	})
}

// placeTime is the place of somebody who comes to a gate now.
func placeTime(g *queue.Line) queue.Time {
	_, place := g.TimesAt(time.Now())
	return place
}

func TestAGateWhoseClockIsAheadGivesRightPlacesOnceItHearsItsStore(t *testing.T) {
	set := perSecond(1)
	set.Mode = queue.ModeHold
	at(t, 1, set, func(t *testing.T, s *site) {
		s.store.set(broken)
		g, _ := s.openLinked(time.Hour)
		g.Join(somebody(), true) // by the machine's clock
		s.store.set(none)
		time.Sleep(5 * time.Second)
		s.store.set(broken)
		time.Sleep(3 * time.Second)
		a := g.Join(somebody(), true)
		if off := a.Place.Sub(placeTime(s.gates[0].Line)); off.Abs() > 10*time.Millisecond {
			t.Errorf("in the next outage its places are off by %s", off)
		}
	})
}

// Who waits at a gate that is cut off is absent to the others after a while. They are
// back with the gate, not each with their next poll.
func TestWhoWaitsAtAGateThatWasCutOffIsPresentAsSoonAsItIsBack(t *testing.T) {
	set := perSecond(1)
	set.Mode = queue.ModeHold
	at(t, 1, set, func(t *testing.T, s *site) {
		g, l := s.openLinked(0)
		time.Sleep(time.Second)
		ids, places := make([]queue.ID, 100), make([]queue.Time, 100)
		for i := range ids {
			ids[i] = somebody()
			places[i] = g.Join(ids[i], true).Place
		}
		time.Sleep(2 * time.Second)
		poll := func() {
			for i := range ids {
				g.Poll(ids[i], places[i], false, nil)
			}
		}
		poll()
		time.Sleep(time.Second)
		l.set(true)
		for range 6 {
			time.Sleep(10 * time.Second)
			poll()
		}
		waiting := func() int64 { return s.gates[0].Status().Snapshot.Waiting }
		if n := waiting(); n != 0 {
			t.Fatalf("after a minute %d of those who wait at the gate that is cut off count as present at the other", n)
		}
		time.Sleep(2 * time.Second)
		l.set(false)
		time.Sleep(3 * time.Second)
		if n := waiting(); n != 100 {
			t.Errorf("three seconds after the gate was back %d of 100 are present", n)
		}
	})
}

// As in a rolling restart: some gates have the new file and others the old one.
func TestGatesWithDifferentFilesCallNoMoreThanTheHigherLimits(t *testing.T) {
	at(t, 0, perSecond(4), func(t *testing.T, s *site) {
		for _, limits := range []struct{ rate, burst, active int64 }{{4, 3, 20}, {2, 6, 12}} {
			s.openWith(func(c *queue.LineConfig) {
				c.Settings.Rate, c.Settings.Burst = queue.Rate{N: limits.rate, Per: queue.PerSecond}, limits.burst
				c.Settings.MaxActive, c.Settings.Session = limits.active, 10*time.Second
			})
		}
		time.Sleep(time.Second)
		c := s.crowd()
		for i := range 150 {
			time.Sleep(5 * time.Millisecond)
			c.visitor(i, 0)
		}
		c.wait()
		if n := len(c.let); n != 150 {
			t.Errorf("%d of 150 visitors were let in", n)
		}
		highest := s.set
		highest.Burst = 6
		c.judgeRate(c.let, highest)
		if most := s.store.most.Load(); most > 20 {
			t.Errorf("%d were called and active at once, and 20 may be", most)
		}
	})
}
