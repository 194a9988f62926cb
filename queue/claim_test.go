package queue_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/sluicegate/sluice/queue"
)

// lose has the store carry out what it is asked, and the answers lost, or not.
func (w *watched) lose(losing bool) {
	w.mu.Lock()
	w.losing = losing
	w.mu.Unlock()
}

// loseOne has the answer lost of the call that is made next.
func (w *watched) loseOne() {
	w.mu.Lock()
	w.losing, w.slow = true, time.Millisecond
	w.mu.Unlock()
	go func() {
		time.Sleep(2500 * time.Microsecond) // a call is gathered for a millisecond and takes another
		w.mu.Lock()
		w.losing, w.slow = false, 0
		w.mu.Unlock()
	}()
}

// wantOne wants one visitor to be inside, who was called once.
func (s *site) wantOne() {
	s.t.Helper()
	time.Sleep(2 * time.Second)
	for _, g := range s.gates {
		if v := g.Status().Snapshot; v.Calls != 1 || v.Called+v.Active != 1 {
			s.t.Errorf("%d were called, %d are and %d are inside, want one who was called once", v.Calls, v.Called, v.Active)
		}
	}
}

// wantUsed wants a ticket to be dead when the session is over and the store has
// forgotten everything: the gates that gave the pass tell of it.
func (s *site) wantUsed(id queue.ID, place queue.Time) {
	s.t.Helper()
	time.Sleep(s.set.Session + queue.SlotMargin + time.Second)
	if n := s.gates[0].Status().Snapshot.Active; n != 0 {
		s.t.Errorf("%d are inside after the session", n)
	}
	s.store.wipe()
	time.Sleep(3 * time.Second)
	for i, g := range s.gates {
		if a := g.Poll(id, place, false, nil); a.State != queue.Used {
			s.t.Errorf("gate %d tells who brings a copy of the ticket %s: %+v", i, a.State, a)
		}
	}
}

func TestAClaimWhoseAnswerIsLostIsOneAdmission(t *testing.T) {
	for _, test := range []struct {
		name  string
		first bool // the gate's own second try is answered
		again int  // the gate that the visitor asks then
	}{
		{"the gate asks again", true, 0},
		{"the visitor asks again", false, 0},
		{"the visitor asks another gate", false, 1},
	} {
		t.Run(test.name, func(t *testing.T) {
			set := onHold(10, 1)
			set.MaxActive, set.Session, set.ClaimWithin = 5, time.Minute, 30*time.Second
			at(t, 2, set, func(t *testing.T, s *site) {
				v := s.line(s.gates[0], 1)[0]
				s.start()
				time.Sleep(time.Second)
				if n := s.gates[0].Status().Snapshot.Called; n != 1 {
					t.Fatalf("%d are called", n)
				}
				var a queue.Answer
				if test.first {
					s.store.loseOne()
					a = s.gates[0].Poll(v.id, v.place, false, nil)
				} else {
					s.store.lose(true)
					a = s.gates[0].Poll(v.id, v.place, false, nil)
					if a.State != queue.Waiting || a.Place != v.place {
						t.Errorf("without an answer the visitor is told %+v, want to wait at the place", a)
					}
					s.store.lose(false)
					time.Sleep(a.PollAfter)
					a = s.gates[test.again].Poll(v.id, v.place, false, nil)
				}
				if a.State != queue.Admitted || a.Provisional || a.Until.Sub(s.gates[0].Time()) < set.Session-10*time.Second {
					t.Fatalf("the visitor is told %+v, want a pass for a session", a)
				}
				s.wantOne()
				for _, g := range s.gates {
					if b := g.Poll(v.id, v.place, false, nil); b.State != queue.Admitted || b.Called != a.Called || b.Claimed {
						t.Errorf("and in another tab %+v, want the same session", b)
					}
				}
				s.wantOne()
				s.gates[1-test.again].stop() // only the gate that gave the pass lives
				s.gates = []*gate{s.gates[test.again]}
				s.wantUsed(v.id, v.place)
			})
		})
	}
}

func TestWhoCameWhileTheAnswerWasLostIsOneAdmission(t *testing.T) {
	for _, test := range []struct {
		name  string
		again int // the gate where the pass is used next
	}{{"at the same gate", 0}, {"at another gate", 1}} {
		t.Run(test.name, func(t *testing.T) {
			set := perSecond(10)
			set.MaxActive, set.Session = 5, time.Minute
			at(t, 2, set, func(t *testing.T, s *site) {
				id := somebody()
				a := s.gates[0].Join(id, true)
				if a.State != queue.Admitted || !a.Provisional {
					t.Fatalf("the newcomer is told %+v", a)
				}
				p := &pass{a, id, s.gates[0].Time()}
				s.store.lose(true)
				p.use(s.gates[0])
				time.Sleep(100 * time.Millisecond) // the store is told, and nobody hears what it says
				s.store.lose(false)
				if test.again == 1 {
					s.gates[0].stop()
					s.gates = s.gates[1:]
				}
				g := s.gates[0]
				p.use(g)
				time.Sleep(2 * time.Second)
				if renewed, gone := p.use(g); !renewed || gone || p.Until.Sub(g.Time()) < set.Session-10*time.Second {
					t.Fatalf("renewed %t, gone %t, until %s from now, want a pass for a session", renewed, gone, p.Until.Sub(g.Time()))
				}
				s.wantOne()
				synctest.Wait()
				s.wantUsed(id, p.Place)
			})
		})
	}
}
