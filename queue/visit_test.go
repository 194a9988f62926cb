package queue_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/sluicegate/sluice/queue"
)

// pass is what an admitted visitor shows.
type pass struct {
	queue.Answer
	id     queue.ID
	issued queue.Time
}

// shown is the pass as the gate reads it.
func (p *pass) shown() queue.Pass {
	return queue.Pass{ID: p.id, Place: p.Place, Called: p.Called, Issued: p.issued, Until: p.Until, Provisional: p.Provisional}
}

// inside is a visitor who waited, was called and came.
func (s *site) inside(g *gate) *pass {
	s.t.Helper()
	id := somebody()
	a := g.Join(id, true)
	if a.Provisional { // in on the spot: the first use takes the slot
		first := queue.Pass{ID: id, Place: a.Place, Called: a.Called, Issued: a.Called, Until: a.Until, Provisional: true}
		g.Use(first)
		time.Sleep(1001 * time.Millisecond)
		a.Until, _ = g.Use(first)
		a.Provisional = false
	}
	for a.State == queue.Waiting {
		time.Sleep(a.PollAfter)
		a = g.Poll(id, a.Place, true, nil)
	}
	if a.State != queue.Admitted || a.Until.Sub(g.Time()) < s.set.Session-2*time.Second {
		s.t.Fatalf("not inside for a session: %+v", a)
	}
	return &pass{a, id, g.Time()}
}

// use shows the pass, and takes a new one when it is given.
func (p *pass) use(g *gate) (renewed, gone bool) {
	until, gone := g.Use(p.shown())
	if until > 0 {
		p.Until, p.Provisional, p.issued = until, false, g.Time()
	}
	return until > 0, gone
}

func (w *watched) renewed() (n int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, in := range w.renews {
		n += len(in)
	}
	return n
}

func shortSession() queue.Settings {
	set := perSecond(10)
	set.Session = 2 * time.Minute
	return set
}

func TestAPassInItsFirstQuarterCostsNothing(t *testing.T) {
	at(t, 1, shortSession(), func(t *testing.T, s *site) {
		g := s.gates[0]
		s.line(g, 11) // so that the visitor waits for the turn
		p := s.inside(g)
		s.store.forget()
		begin := time.Now()
		for time.Since(begin) < 28*time.Second {
			if renewed, gone := p.use(g); renewed || gone {
				t.Fatalf("after %s the pass was renewed (%t) or refused (%t)", time.Since(begin), renewed, gone)
			}
			time.Sleep(100 * time.Millisecond)
		}
		if n := s.store.renewed(); n != 0 {
			t.Errorf("the store was told %d times", n)
		}
		if used, gone := g.Remembered(); used+gone > 0 {
			t.Errorf("the gate remembers %d and %d", used, gone)
		}
	})
}

func TestALaterUseRenewsThePassOnce(t *testing.T) {
	at(t, 1, shortSession(), func(t *testing.T, s *site) {
		g := s.gates[0]
		p := s.inside(g)
		s.store.forget()
		time.Sleep(40 * time.Second)
		old := *p
		for range 20 { // a page and what is on it
			if renewed, gone := p.use(g); renewed || gone {
				t.Fatalf("renewed (%t) before the store has said so, or refused (%t)", renewed, gone)
			}
		}
		used := g.Time()
		time.Sleep(1001 * time.Millisecond)
		if n := s.store.renewed(); n != 1 {
			t.Errorf("the store was told of %d visits, want 1", n)
		}
		if renewed, _ := p.use(g); !renewed || p.Until != used.Add(2*time.Minute) {
			t.Errorf("renewed: %t, until %s after the use, want 2m", renewed, p.Until.Sub(used))
		}
		// Another tab still shows the old one.
		for range 20 {
			again := old
			if renewed, _ := again.use(g); !renewed || again.Until != p.Until {
				t.Fatalf("the old pass is renewed: %t, to %d", renewed, again.Until)
			}
			if renewed, _ := p.use(g); renewed {
				t.Fatal("the new pass is renewed")
			}
			time.Sleep(time.Second)
		}
		if n := s.store.renewed(); n != 1 {
			t.Errorf("the store was told of %d visits, want 1", n)
		}
	})
}

func TestAVisitorWhoKeepsBusyKeepsThePass(t *testing.T) {
	at(t, 2, shortSession(), func(t *testing.T, s *site) {
		p := s.inside(s.gates[0])
		s.store.forget()
		begin := time.Now()
		for i := 0; time.Since(begin) < time.Hour; i++ {
			for range 3 {
				if _, gone := p.use(s.gates[i%2]); gone || p.Until <= s.gates[i%2].Time() {
					t.Fatalf("after %s the pass is refused", time.Since(begin))
				}
				time.Sleep(7 * time.Second)
			}
		}
		if n := s.store.renewed(); n > 4*60 || n < 30 {
			t.Errorf("in an hour the store was told of %d visits", n)
		}
		if n := s.gates[0].Status().Snapshot.Active; n != 1 {
			t.Errorf("%d are active", n)
		}
		time.Sleep(3 * time.Minute)
		synctest.Wait()
		for i, g := range s.gates {
			if used, gone := g.Remembered(); used+gone > 0 || g.Status().Snapshot.Active != 0 {
				t.Errorf("when the session is over gate %d remembers %d and %d", i, used, gone)
			}
		}
	})
}

func TestWhoComesToAnotherGateEachTimeKeepsThePass(t *testing.T) {
	at(t, 12, shortSession(), func(t *testing.T, s *site) {
		p := s.inside(s.gates[0])
		s.store.forget()
		for i, g := range s.gates[1:] {
			time.Sleep(55 * time.Second) // a long page, but less than half of a session
			if p.Until <= g.Time() {
				t.Fatalf("at visit %d the pass is over", i+1)
			}
			if _, gone := p.use(g); gone {
				t.Fatalf("at visit %d the pass is refused", i+1)
			}
		}
		if n := s.store.renewed(); n > 2*len(s.gates) {
			t.Errorf("the store was told %d times of %d visits", n, len(s.gates))
		}
	})
}

func TestAPassThatIsHalfOverIsRefusedWhereItsOwnerLeft(t *testing.T) {
	at(t, 2, shortSession(), func(t *testing.T, s *site) {
		p := s.inside(s.gates[0])
		if err := s.gates[0].Leave(p.id, p.Place, p.Until); err != nil {
			t.Fatal(err)
		}
		time.Sleep(70 * time.Second)
		if renewed, gone := p.use(s.gates[1]); renewed || !gone {
			t.Errorf("renewed: %t, refused: %t", renewed, gone)
		}
	})
}

func TestAPassOfWhoLeftIsRefused(t *testing.T) {
	at(t, 2, shortSession(), func(t *testing.T, s *site) {
		here, there := s.gates[0], s.gates[1]
		p := s.inside(here)
		old := *p
		time.Sleep(40 * time.Second)
		p.use(here)
		time.Sleep(1001 * time.Millisecond)
		if renewed, _ := p.use(here); !renewed {
			t.Fatal("the pass was not renewed")
		}
		if err := here.Leave(old.id, old.Place, old.Until); err != nil {
			t.Fatal(err)
		}
		for _, copied := range []pass{old, *p} {
			if _, gone := copied.use(here); !gone {
				t.Error("the gate where they left takes the pass")
			}
		}
		// Another gate hears of it when it says that the pass is used.
		time.Sleep(31 * time.Second)
		if _, gone := p.use(there); gone {
			t.Error("another gate refuses the pass before it could know")
		}
		time.Sleep(1001 * time.Millisecond)
		if _, gone := p.use(there); !gone {
			t.Error("another gate takes the pass a second later")
		}
		// As long as any pass is good.
		for there.Time() < p.Until.Add(-time.Second) {
			for i, g := range s.gates {
				if _, gone := p.use(g); !gone {
					t.Fatalf("gate %d takes the pass %s before its end", i, p.Until.Sub(g.Time()))
				}
			}
			time.Sleep(500 * time.Millisecond)
		}
		time.Sleep(queue.MaxExtend + time.Minute) // another gate may have lengthened one
		for i, g := range s.gates {
			if used, gone := g.Remembered(); used+gone > 0 {
				t.Errorf("then gate %d remembers %d and %d", i, used, gone)
			}
		}
	})
}

func TestNobodyStaysLongerThanMaxSession(t *testing.T) {
	set := shortSession()
	set.MaxSession = 5 * time.Minute
	at(t, 1, set, func(t *testing.T, s *site) {
		g := s.gates[0]
		p := s.inside(g)
		begin := time.UnixMicro(int64(p.Called))
		for p.Until > g.Time() {
			if _, gone := p.use(g); gone {
				break
			}
			time.Sleep(5 * time.Second)
		}
		if took := time.Since(begin); took < 295*time.Second || took > 306*time.Second {
			t.Errorf("somebody busy was inside for %s, want 5m", took)
		}
	})
}

func TestAPassGivenOnTheSpotIsMadeGoodAtItsFirstUse(t *testing.T) {
	at(t, 1, shortSession(), func(t *testing.T, s *site) {
		g := s.gates[0]
		id := somebody()
		a := g.Join(id, true)
		p := &pass{a, id, a.Called}
		if !a.Provisional || a.Until.Sub(g.Time()) > 30*time.Second {
			t.Fatalf("a newcomer is told %+v", a)
		}
		s.store.forget()
		if renewed, gone := p.use(g); renewed || gone {
			t.Errorf("at the first use it is renewed (%t) or refused (%t)", renewed, gone)
		}
		used := g.Time()
		time.Sleep(1001 * time.Millisecond)
		if v := g.Status().Snapshot; s.store.renewed() != 1 {
			t.Errorf("the store was told of %d visits; %d called, %d active", s.store.renewed(), v.Called, v.Active)
		}
		if renewed, _ := p.use(g); !renewed || p.Until != used.Add(2*time.Minute) {
			t.Errorf("renewed: %t, for %s after the use", renewed, p.Until.Sub(used))
		}
		time.Sleep(time.Second)
		if v := g.Status().Snapshot; v.Called != 0 || v.Active != 1 {
			t.Errorf("%d called, %d active", v.Called, v.Active)
		}
		if n := s.store.renewed(); n != 1 {
			t.Errorf("the store was told of %d visits", n)
		}

		// One that is never used frees the slot soon.
		g.Join(somebody(), true)
		time.Sleep(32 * time.Second)
		if v := g.Status().Snapshot; v.Called != 0 || v.Active != 1 {
			t.Errorf("then %d called, %d active", v.Called, v.Active)
		}
	})
}

func TestARenewalThatFailedIsTriedAgain(t *testing.T) {
	for name, f := range map[string]fault{"refusing": broken, "hanging": hanging} {
		t.Run(name, func(t *testing.T) {
			at(t, 1, shortSession(), func(t *testing.T, s *site) {
				g := s.gates[0]
				p := s.inside(g)
				time.Sleep(40 * time.Second)
				s.store.set(f)
				p.use(g)
				used := g.Time()
				time.Sleep(time.Minute)
				// While the store is gone passes work and do not age.
				if left := p.Until.Sub(g.Time()); left < 65*time.Second {
					t.Errorf("after a minute without the store the pass has %s left", left)
				}
				if renewed, gone := p.use(g); renewed || gone {
					t.Errorf("renewed (%t) or refused (%t)", renewed, gone)
				}
				used = max(used, g.Time())
				s.store.forget()
				s.store.set(none)
				time.Sleep(5 * time.Second)
				if n := s.store.renewed(); n != 1 {
					t.Errorf("the store was told of %d visits, want 1", n)
				}
				if renewed, gone := p.use(g); !renewed || gone || p.Until.Sub(used) < 2*time.Minute-time.Second {
					t.Errorf("renewed: %t, refused: %t, for %s", renewed, gone, p.Until.Sub(used))
				}
			})
		})
	}
}

func TestAnExtendedPassOfWhoLeftIsRefused(t *testing.T) {
	at(t, 2, shortSession(), func(t *testing.T, s *site) {
		here, there := s.gates[0], s.gates[1]
		p := s.inside(here)
		old := *p
		until, err := here.Extend(p.id, p.Place, p.Called, p.Until, time.Hour)
		if err != nil {
			t.Fatal(err)
		}
		p.Until, p.issued = until, here.Time()
		if err := here.Leave(old.id, old.Place, old.Until); err != nil {
			t.Fatal(err)
		}
		time.Sleep(31 * time.Second) // a quarter of a session
		p.use(there)
		time.Sleep(1001 * time.Millisecond)
		for here.Time() < p.Until.Add(-time.Minute) {
			for i, g := range s.gates {
				if _, gone := p.use(g); !gone {
					t.Fatalf("gate %d takes the pass %s before its end", i, p.Until.Sub(g.Time()))
				}
			}
			time.Sleep(time.Minute)
		}
	})
}

func TestAnOriginMayExtendASession(t *testing.T) {
	at(t, 1, shortSession(), func(t *testing.T, s *site) {
		g := s.gates[0]
		p := s.inside(g)
		until, err := g.Extend(p.id, p.Place, p.Called, p.Until, 20*time.Minute)
		if err != nil || until != g.Time().Add(20*time.Minute) {
			t.Fatalf("extended by %s, %v", until.Sub(g.Time()), err)
		}
		p.Until, p.issued = until, g.Time()
		s.store.forget()
		time.Sleep(15 * time.Minute)
		if renewed, gone := p.use(g); renewed || gone || g.Status().Snapshot.Active != 1 {
			t.Errorf("a quarter of an hour later the pass is renewed (%t) or refused (%t)", renewed, gone)
		}
		time.Sleep(time.Second)
		if n := s.store.renewed(); n != 1 {
			t.Errorf("the store was asked %d times whether they left meanwhile, want once", n)
		}
		s.store.set(broken)
		time.Sleep(2 * time.Second)
		if _, err := g.Extend(p.id, p.Place, p.Called, p.Until, time.Hour); err == nil {
			t.Error("extended without the store")
		}
		if err := g.Leave(p.id, p.Place, p.Until); err == nil {
			t.Error("left without the store")
		}
		if _, gone := p.use(g); gone {
			t.Error("who could not leave is refused")
		}
	})
}

func TestASessionThatTheStoreForgotIsTakenOnItsPassesWord(t *testing.T) {
	at(t, 1, shortSession(), func(t *testing.T, s *site) {
		g := s.gates[0]
		p := s.inside(g)
		before := g.Generation()
		s.store.wipe()
		time.Sleep(40 * time.Second)
		p.use(g)
		time.Sleep(2 * time.Second)
		if renewed, gone := p.use(g); !renewed || gone {
			t.Errorf("renewed: %t, refused: %t", renewed, gone)
		}
		if v := g.Status().Snapshot; v.Active != 1 || v.Generation == before {
			t.Errorf("%d active in generation %d", v.Active, v.Generation)
		}
	})
}

func TestAPassGivenOnTheSpotIsReportedHoweverLongItIsGoodFor(t *testing.T) {
	set := perSecond(10)
	set.Session, set.ClaimWithin = time.Minute, time.Minute
	at(t, 1, set, func(t *testing.T, s *site) {
		g := s.gates[0]
		id := somebody()
		a := g.Join(id, true)
		p := &pass{a, id, a.Called}
		p.use(g)
		time.Sleep(1001 * time.Millisecond)
		synctest.Wait()
		time.Sleep(time.Second)
		if v := g.Status().Snapshot; v.Called != 0 || v.Active != 1 {
			t.Errorf("after the first use %d called, %d active", v.Called, v.Active)
		}
	})
}
