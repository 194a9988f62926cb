package queue_test

import (
	"cmp"
	"slices"
	"testing"
	"time"

	"github.com/sluicegate/sluice/queue"
	"github.com/sluicegate/sluice/queue/memory"
)

// ordered are people who come one after the other, each to another gate than the one
// before.
type ordered struct {
	*site
	ids    []queue.ID
	places []queue.Time
	at     []int
}

// come has them come every quarter of a second for so long.
func (o *ordered) come(d time.Duration) {
	o.t.Helper()
	for ; d > 0; d -= 250 * time.Millisecond {
		time.Sleep(250 * time.Millisecond)
		id, gate := somebody(), len(o.ids)%len(o.gates)
		place := o.gates[gate].Join(id, true).Place
		if n := len(o.ids); n > 0 && place <= o.places[n-1] {
			o.t.Fatalf("visitor %d came to gate %d, and stands %s before the one who came to gate %d a quarter of a second earlier",
				n, gate, o.places[n-1].Sub(place), o.at[n-1])
		}
		o.ids, o.places, o.at = append(o.ids, id), append(o.places, place), append(o.at, gate)
	}
}

// judge has all of them poll, and looks whether they stand in the order in which they came.
func (o *ordered) judge() {
	o.t.Helper()
	for i, id := range o.ids {
		o.gates[i%len(o.gates)].Poll(id, o.places[i], false, nil)
	}
	time.Sleep(2 * time.Second)
	var line []memory.Visitor
	for _, v := range o.store.lines.Load().Visitors("drop", nil) {
		if v.State == "waiting" && slices.Contains(o.ids, v.ID) {
			line = append(line, v)
		}
	}
	slices.SortFunc(line, func(a, b memory.Visitor) int { return cmp.Compare(a.Place, b.Place) })
	if len(line) != len(o.ids) {
		o.t.Fatalf("%d of %d are in line", len(line), len(o.ids))
	}
	for i, v := range line {
		if v.ID != o.ids[i] {
			o.t.Fatalf("visitor %d stands at position %d", slices.Index(o.ids, v.ID), i)
		}
	}
}

// openCut opens a gate that will not reach the store before the others do, with a clock
// that is wrong by so much.
func (s *site) openCut(wrong time.Duration) *gate {
	l := &link{watched: s.store, cut: true}
	time.AfterFunc(34*time.Second, func() { l.set(false) })
	return s.openWith(func(c *queue.LineConfig) {
		c.Store = l
		c.Now = func() time.Time { return time.Now().Add(wrong) }
	})
}

// show has somebody come to a gate, and show the ticket to another.
func (g *gate) show(other *gate) {
	a := g.Join(somebody(), true)
	other.HearToken(g.Time(), a.Place, g.Generation())
}

// Gates that last heard the store a second apart give places as one would, however long
// the store is away, and whatever it has become in the meantime.
func TestWhoComesWhileTheStoreIsAwayStandsWhereTheyCame(t *testing.T) {
	clockOf := func(wrong time.Duration) func() time.Time { return func() time.Time { return time.Now().Add(wrong) } }
	for name, row := range map[string]struct {
		meanwhile func(s *site, before *memory.Store)
	}{
		"it comes back as it was":     {},
		"it comes back empty":         {func(s *site, _ *memory.Store) { s.store.wipe() }},
		"it comes back from a copy":   {func(s *site, before *memory.Store) { s.store.lines.Store(before.Copy(time.Now)) }},
		"its clock is an hour behind": {func(s *site, before *memory.Store) { s.store.lines.Store(before.Copy(clockOf(-time.Hour))) }},
		"its clock is an hour ahead":  {func(s *site, before *memory.Store) { s.store.lines.Store(before.Copy(clockOf(time.Hour))) }},
		"it is empty, and its clock an hour behind": {func(s *site, _ *memory.Store) {
			s.store.lines.Store(memory.New(memory.Options{Now: clockOf(-time.Hour)}))
		}},
		"another gate starts meanwhile, and reaches it": {func(s *site, _ *memory.Store) { s.openLinked(0) }},
		"another gate starts meanwhile":                 {func(s *site, _ *memory.Store) { s.openCut(0) }},
		"another gate starts meanwhile, its clock an hour ahead, and sees a ticket": {func(s *site, _ *memory.Store) {
			s.gates[0].show(s.openCut(time.Hour))
		}},
		"another gate starts meanwhile, its clock an hour behind, and sees a ticket": {func(s *site, _ *memory.Store) {
			s.gates[1].show(s.openCut(-time.Hour))
		}},
	} {
		t.Run(name, func(t *testing.T) {
			set := perSecond(1)
			set.Mode, set.KeepPlace = queue.ModeHold, time.Hour
			set.PollMin, set.PollMax = time.Minute, 2*time.Minute // all are there in the end
			at(t, 0, set, func(t *testing.T, s *site) {
				links := make([]*link, 2)
				for i := range links {
					_, links[i] = s.openLinked(0)
				}
				o := &ordered{site: s}
				o.come(4 * time.Second)
				before := s.store.lines.Load().Copy(time.Now)
				o.come(3 * time.Second)
				links[0].set(true)
				o.come(time.Second)
				links[1].set(true)
				o.come(30 * time.Second)
				if row.meanwhile != nil {
					row.meanwhile(s, before)
				}
				o.come(30 * time.Second)
				links[1].set(false) // each finds out for itself
				o.come(3 * time.Second)
				links[0].set(false)
				o.come(10 * time.Second)
				o.judge()
			})
		})
	}
}

// A gate that has only just started, and is the first to reach the store again, knows
// nothing of how long it was away. The store's clock does.
func TestWhoComesAfterAnOutageByANewGateStandsBehindWhoCameMeanwhile(t *testing.T) {
	set := perSecond(1)
	set.Mode = queue.ModeHold
	at(t, 0, set, func(t *testing.T, s *site) {
		old, l := s.openLinked(0)
		time.Sleep(3 * time.Second)
		l.set(true)
		time.Sleep(time.Minute)
		ann := old.Join(somebody(), true)
		time.Sleep(10 * time.Millisecond)
		fresh, _ := s.openLinked(-time.Hour)
		time.Sleep(240 * time.Millisecond)
		bob := fresh.Join(somebody(), true)
		if behind := bob.Place.Sub(ann.Place); behind < 200*time.Millisecond || behind > 300*time.Millisecond {
			t.Errorf("bob came a quarter of a second after ann, and stands %s behind her", behind)
		}
	})
}

func TestNobodyIsAbsentWhoPolledWhileTheAnswersOfTheStoreWereLost(t *testing.T) {
	set := perSecond(1)
	set.PollMax = 3 * time.Second
	at(t, 3, set, func(t *testing.T, s *site) {
		const people = 90
		over, gone := make(chan struct{}), make(chan struct{}, people)
		for i := range people {
			g := s.gates[i%3]
			go func() {
				defer func() { gone <- struct{}{} }()
				id := somebody()
				for a := g.Join(id, true); a.State == queue.Waiting; a = g.Poll(id, a.Place, false, nil) {
					select {
					case <-over:
						return
					case <-time.After(a.PollAfter):
					}
				}
			}()
		}
		defer func() {
			close(over)
			for range people {
				<-gone
			}
		}()
		lose := func(answers bool) {
			s.store.mu.Lock()
			s.store.losing = answers
			s.store.mu.Unlock()
		}
		time.Sleep(12 * time.Second)
		lose(true)
		time.Sleep(12 * time.Second)
		lose(false)
		for range 300 {
			time.Sleep(10 * time.Millisecond)
			absent := 0
			for _, v := range s.store.lines.Load().Visitors("drop", nil) {
				if v.State == "away" {
					absent++
				}
			}
			if absent > 0 {
				t.Fatalf("%d who polled when they were asked to are absent", absent)
			}
		}
	})
}
