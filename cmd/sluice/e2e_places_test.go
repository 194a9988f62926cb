package main

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sluicegate/sluice/gate/token"
)

// What visitors do to their places, and what they do not.
func TestPlaces(t *testing.T) {
	t.Parallel()
	t.Run("reload keeps the place", func(t *testing.T) {
		t.Parallel()
		s := openSite(t, "", "")
		ann, bob := s.visitor(), s.visitor()
		place := ann.joins()
		bob.joins()
		for range 3 {
			if got := ann.joins(); got.ID != place.ID || got.Place != place.Place {
				t.Errorf("ann's place is %+v after a reload, was %+v", got, place)
			}
		}
		s.counts(counts{Waiting: 2})
		if got := ann.polls(); got.Position == nil || *got.Position != 1 {
			t.Errorf("ann's position is %v", got.Position)
		}
	})

	t.Run("a second tab has the same place", func(t *testing.T) {
		t.Parallel()
		s := openSite(t, "", "")
		ann := s.visitor()
		place := ann.joins()
		tab := ann.copy()
		if got := tab.joins(); got.ID != place.ID || got.Place != place.Place {
			t.Errorf("the tab's place is %+v, the other's %+v", got, place)
		}
		s.counts(counts{Waiting: 1})
		s.patch(`{"mode": "auto", "max_active": 1}`)
		ann.enters()
		if r := tab.opens("/drop/"); r.status != http.StatusOK || tab.token().Kind != token.Pass {
			t.Errorf("the tab got status %d and holds %+v", r.status, tab.token())
		}
		s.counts(counts{Active: 1})
	})

	t.Run("a position never grows while those before wait or go", func(t *testing.T) {
		t.Parallel()
		s := openSite(t, "rate: 10/s\nburst: 1\nmode: auto\n", "")
		var wg sync.WaitGroup
		for i := range 30 {
			v := s.visitor()
			if r := v.opens("/drop/"); r.status == http.StatusOK {
				continue
			}
			wg.Go(func() {
				least := int64(1000)
				for n := 0; ; n++ {
					_, a, err := v.ask(context.Background(), "GET")
					switch {
					case err != nil || a.State != "waiting" && a.State != "admitted":
						t.Errorf("visitor %d: state %q, %v", i, a.State, err)
						return
					case a.State == "admitted":
						return
					case a.Position == nil || *a.Position < 1 || *a.Position > least:
						t.Errorf("visitor %d moved from position %d to %v", i, least, a.Position)
						return
					case i%5 == 4 && n == 1:
						if err := v.leave(context.Background()); err != nil {
							t.Error(err)
						}
						return
					}
					least = *a.Position
					time.Sleep(100 * time.Millisecond) // sooner than asked to, and that takes nothing from anybody
				}
			})
		}
		wg.Wait()
	})

	t.Run("one ticket used by a hundred clients holds one slot", func(t *testing.T) {
		t.Parallel()
		s := openSite(t, "max_active: 50\n", "")
		ann := s.visitor()
		place := ann.joins()
		s.patch(`{"mode": "auto"}`)
		var wg sync.WaitGroup
		for i := range 100 {
			thief := ann.copy()
			wg.Go(func() {
				for thief.token().Kind != token.Pass {
					var err error
					if i%2 == 0 {
						_, err = thief.open(context.Background(), "/drop/")
					} else {
						_, _, err = thief.ask(context.Background(), "POST")
					}
					if err != nil {
						t.Error(err)
						return
					}
				}
				if got := thief.token(); got.ID != place.ID {
					t.Errorf("a copy of the ticket %x got the pass %x", place.ID, got.ID)
				}
			})
		}
		wg.Wait()
		s.counts(counts{Active: 1})
		if n := metric(t, "sluice_joined_total", "drop", s.operators); n != 1 {
			t.Errorf("%v joined", n)
		}
	})

	t.Run("a replayed ticket after its session ended is a newcomer", func(t *testing.T) {
		t.Parallel()
		for name, end := range map[string]func(*guest){
			"left":               func(v *guest) { v.leaves() },
			"released by origin": func(v *guest) { v.opens("/drop/thanks") },
		} {
			s := openSite(t, "max_active: 5\n", "")
			ann, bob := s.visitor(), s.visitor()
			old := ann.joins()
			replay := ann.copy()
			s.patch(`{"mode": "auto"}`)
			ann.enters()
			s.patch(`{"mode": "hold"}`)
			bob.joins()
			end(ann)
			if ann.jar(false) != "" {
				t.Errorf("%s: ann still holds %q", name, ann.jar(false))
			}
			again := replay.joins()
			if again.ID == old.ID || again.Place <= bob.ticket().Place {
				t.Errorf("%s: the replayed ticket %+v became %+v, want a new place behind %+v", name, old, again, bob.ticket())
			}
			s.counts(counts{Waiting: 2})
		}
	})

	t.Run("a ticket that was left with is a newcomer's", func(t *testing.T) {
		t.Parallel()
		s := openSite(t, "", "")
		ann := s.visitor()
		old := ann.joins()
		replay := ann.copy()
		ann.leaves()
		s.counts(counts{})
		if got := replay.polls(); got.State != "none" {
			t.Errorf("a poll with the ticket says %q", got.State)
		}
		if again := replay.joins(); again.ID == old.ID || again.Place <= old.Place {
			t.Errorf("the replayed ticket %+v became %+v", old, again)
		}
	})

	t.Run("a pass that was left with lets nobody in", func(t *testing.T) {
		t.Parallel()
		s := openSite(t, "mode: auto\nmax_active: 1\n", "")
		ann := s.visitor()
		if r := ann.opens("/drop/"); r.status != http.StatusOK {
			t.Fatalf("status %d", r.status)
		}
		s.shop.asked()
		copied := ann.copy()
		ann.leaves()
		s.patch(`{"mode": "hold"}`)
		if r := copied.opens("/drop/"); r.status != http.StatusTooManyRequests {
			t.Errorf("status %d with a pass that was given back", r.status)
		}
		if asked := s.shop.asked(); len(asked) > 0 {
			t.Errorf("the shop was asked %+v", asked)
		}
	})

	t.Run("a newcomer never takes a freed slot before the line", func(t *testing.T) {
		t.Parallel()
		s := openSite(t, "max_active: 1\nmode: auto\n", "")
		ann, bob := s.visitor(), s.visitor()
		if r := ann.opens("/drop/"); r.status != http.StatusOK {
			t.Fatalf("status %d", r.status)
		}
		bob.joins()
		var wg sync.WaitGroup
		done := make(chan struct{})
		for i := range 4 {
			wg.Go(func() {
				for n := 0; ; n++ {
					select {
					case <-done:
						return
					default:
					}
					r, err := s.visitor().do(context.Background(), "GET", "/drop/", []http.Header{navigation, script}[(n+i)%2], "")
					if err != nil || r.status != http.StatusTooManyRequests {
						t.Errorf("a newcomer got %+v, %v", r, err)
						return
					}
				}
			})
		}
		ann.leaves()
		bob.enters()
		close(done)
		wg.Wait()
	})

	t.Run("people who left at the front block nobody", func(t *testing.T) {
		t.Parallel()
		s := openSite(t, "max_active: 1\npoll: {min: 500ms, max: 1s}\n", "")
		told, vanished, cat := s.visitor(), s.visitor(), s.visitor()
		told.joins()
		vanished.joins()
		vanished.polls() // who never asks again is not known for long
		cat.joins()
		told.leaves()
		s.patch(`{"mode": "auto"}`)
		began := time.Now()
		cat.enters() // once the slot of whoever vanished has waited long enough
		if took, most := time.Since(began), 10*time.Second; took > most {
			t.Errorf("that took %v", took)
		}
		s.counts(counts{Active: 1, Absent: 1})
		if got := vanished.polls(); got.State != "waiting" {
			t.Errorf("who comes back is told %q", got.State)
		}
	})

	t.Run("leaving twice is fine, and so is leaving with nothing", func(t *testing.T) {
		t.Parallel()
		s := openSite(t, "", "")
		ann := s.visitor()
		ann.joins()
		tab := ann.copy()
		ann.leaves()
		ann.leaves()
		tab.leaves()
		s.counts(counts{})
	})

	t.Run("modes do what they say", func(t *testing.T) {
		t.Parallel()
		s := openSite(t, "mode: auto\nmax_active: 2\n", "")
		in, ann := s.visitor(), s.visitor()
		if r := in.opens("/drop/"); r.status != http.StatusOK {
			t.Fatalf("status %d", r.status)
		}
		s.patch(`{"mode": "hold"}`)
		place := ann.joins() // though there is a free slot
		if got := ann.polls(); got.State != "waiting" {
			t.Errorf("hold: ann is told %q", got.State)
		}
		if r := in.opens("/drop/"); r.status != http.StatusOK {
			t.Errorf("hold: status %d for who is in", r.status)
		}

		s.patch(`{"mode": "closed", "message": "back at <eight>"}`)
		late := s.visitor()
		r := late.opens("/drop/")
		if r.status != http.StatusTooManyRequests || r.header.Get("Sluice-State") != "closed" || late.jar(false) != "" {
			t.Errorf("closed: a newcomer got status %d, state %q and holds %q", r.status, r.header.Get("Sluice-State"), late.jar(false))
		}
		if !strings.Contains(string(r.body), "back at &lt;eight&gt;") {
			t.Errorf("closed: the page lacks the message: %s", r.body)
		}
		got := ann.polls()
		if got.State != "closed" || ann.ticket().Place != place.Place || got.Message == nil || *got.Message != "back at <eight>" {
			t.Errorf("closed: ann is told %+v and holds %+v, had %+v", got, ann.ticket(), place)
		}
		if r := in.opens("/drop/"); r.status != http.StatusOK {
			t.Errorf("closed: status %d for who is in", r.status)
		}

		s.patch(`{"mode": "open"}`)
		for range 5 {
			anybody := s.visitor()
			if r := anybody.opens("/drop/"); r.status != http.StatusOK || anybody.token().Kind != token.Pass {
				t.Errorf("open: status %d, holds %+v", r.status, anybody.token())
			}
		}
		if r := ann.opens("/drop/"); r.status != http.StatusOK || ann.token().ID != place.ID {
			t.Errorf("open: status %d for who waited, holds %+v", r.status, ann.token())
		}
		if n := metric(t, "sluice_overshoot_total", "drop", s.operators); n != 0 {
			t.Errorf("sluice_overshoot_total is %v", n)
		}

		s.patch(`{"mode": null, "message": null}`)
		if r := s.visitor().opens("/drop/"); r.header.Get("Sluice-State") != "waiting" {
			t.Errorf("auto, and more inside than may be: status %d, state %q", r.status, r.header.Get("Sluice-State"))
		}
	})

	t.Run("a full line gives no place", func(t *testing.T) {
		t.Parallel()
		s := openSite(t, "max_waiting: 1\n", "")
		ann, bob := s.visitor(), s.visitor()
		place := ann.joins()
		r := bob.opens("/drop/")
		if r.status != http.StatusTooManyRequests || r.header.Get("Sluice-State") != "full" || bob.jar(false) != "" {
			t.Errorf("status %d, state %q, holds %q", r.status, r.header.Get("Sluice-State"), bob.jar(false))
		}
		if got := ann.joins(); got.Place != place.Place {
			t.Errorf("ann's place is %v, was %v", got.Place, place.Place)
		}
		ann.leaves()
		bob.joins()
	})

	t.Run("the best of several cookies counts", func(t *testing.T) {
		t.Parallel()
		s := openSite(t, "max_active: 5\n", "")
		ann, bob := s.visitor(), s.visitor()
		ann.joins()
		bob.joins()
		first, second := ann.cookie("sluice-drop"), bob.cookie("sluice-drop")
		for _, jar := range []string{
			"sluice-drop=" + first + "; sluice-drop=" + second,
			"sluice-drop=" + second + "; a=b; sluice-drop=" + first,
			"sluice-drop=x; sluice-drop=" + second + "; sluice-drop=; sluice-drop=" + first,
		} {
			s.visitor().with(http.Header{"Cookie": {jar}}).standsFirst(t, jar)
		}
		s.patch(`{"mode": "auto"}`)
		bob.enters()
		pass := bob.cookie("sluice-drop")
		s.patch(`{"mode": "hold"}`)
		for _, jar := range []string{
			"sluice-drop=" + first + "; sluice-drop=" + pass,
			"sluice-drop=" + pass + "; sluice-drop=" + first,
		} {
			s.shop.asked()
			r := s.visitor().with(http.Header{"Cookie": {jar}}).opens("/drop/")
			asked := s.shop.asked()
			if r.status != http.StatusOK || len(asked) != 1 {
				t.Fatalf("%s: status %d, the shop was asked %+v", jar, r.status, asked)
			}
			if got, want := asked[0].header.Get("Sluice-Visitor"), fmt.Sprintf("%016x", uint64(bob.token().ID)); got != want {
				t.Errorf("%s: went on as %s, want %s", jar, got, want)
			}
		}
	})
}

// standsFirst checks that a Cookie header is that of the first in line.
func (g *guest) standsFirst(t *testing.T, jar string) {
	t.Helper()
	r := g.opens("/drop/")
	if r.status != http.StatusTooManyRequests || len(r.header["Set-Cookie"]) > 0 {
		t.Errorf("%s: status %d, cookies %q", jar, r.status, r.header["Set-Cookie"])
	}
	if got := g.polls(); got.State != "waiting" || got.Position == nil || *got.Position != 1 {
		t.Errorf("%s: stands at %+v, want the first place", jar, got)
	}
}
