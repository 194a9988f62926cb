//go:build !race

package queue_test

import (
	"testing"
	"time"

	"github.com/sluicegate/sluice/queue"
)

func TestAPollFarFromTheFrontAllocatesNothing(t *testing.T) {
	at(t, 1, perSecond(10), func(t *testing.T, s *site) {
		g := s.gates[0]
		ids, places := s.fill(2000)
		for range 2 { // room for the marks
			for range 5000 {
				g.Poll(ids[1500], places[1500], true, nil)
			}
			time.Sleep(2 * time.Second)
		}
		if n := testing.AllocsPerRun(1000, func() {
			if a := g.Poll(ids[1500], places[1500], true, nil); a.State != queue.Waiting {
				t.Fatalf("told %+v", a)
			}
		}); n != 0 {
			t.Errorf("a poll allocates %v times, want 0", n)
		}
	})
}

func TestTheUseOfAPassAllocatesNothing(t *testing.T) {
	at(t, 1, perSecond(10), func(t *testing.T, s *site) {
		g := s.gates[0]
		p := s.inside(g)
		if n := testing.AllocsPerRun(1000, func() {
			if renewed, gone := g.Use(p.shown()); renewed != 0 || gone {
				t.Fatal("a fresh pass is renewed or refused")
			}
		}); n != 0 {
			t.Errorf("the use of a pass allocates %v times, want 0", n)
		}
	})
}
