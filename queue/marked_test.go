package queue_test

import (
	"testing"
	"time"

	"github.com/sluicegate/sluice/queue"
)

// held is a room that calls nobody for now, and one a second then.
func held() queue.Settings {
	set := perSecond(1)
	set.Mode = queue.ModeHold
	return set
}

// far is somebody who joined behind many.
type far struct {
	s     *site
	g     *gate
	id    queue.ID
	place queue.Time
	after time.Duration // until the next poll
}

func (s *site) behind(waiting int) *far {
	s.t.Helper()
	s.fill(waiting)
	time.Sleep(time.Second)
	f := &far{s: s, g: s.gates[0], id: somebody()}
	a := f.g.Join(f.id, true)
	if a.State != queue.Waiting {
		s.t.Fatalf("told %+v", a)
	}
	f.place, f.after = a.Place, a.PollAfter-time.Second
	time.Sleep(time.Second) // the store is told
	return f
}

func (f *far) poll() {
	f.s.t.Helper()
	time.Sleep(f.after)
	a := f.g.Poll(f.id, f.place, true, nil)
	if a.State != queue.Waiting {
		f.s.t.Fatalf("told %+v", a)
	}
	f.after = a.PollAfter
}

// marks counts how often the store was told that they are there.
func (f *far) marks() (n int) {
	for _, in := range f.s.store.sent() {
		for _, a := range in {
			if a.ID == f.id {
				n++
			}
		}
	}
	return n
}

func (f *far) isAbsent() bool {
	f.s.t.Helper()
	set := f.s.set
	snapshot, err := f.s.store.Tick(f.s.t.Context(), &queue.Call{Room: "drop", Settings: &set, Version: 1 << 40})
	if err != nil {
		f.s.t.Fatal(err)
	}
	return snapshot.Away > 0
}

func TestTheStoreHearsOfEverySecondPollOfThoseFarBack(t *testing.T) {
	at(t, 1, held(), func(t *testing.T, s *site) {
		f := s.behind(2000)
		s.store.forget()
		const polls = 40 // of 20 seconds: their turn is still far off
		for i := range polls {
			f.poll()
			time.Sleep(f.after - time.Millisecond)
			if f.isAbsent() {
				t.Fatalf("absent before poll %d", i+2)
			}
			f.after = time.Millisecond
		}
		time.Sleep(2 * time.Second)
		if n := f.marks(); n != polls/2 {
			t.Errorf("the store was told %d times of %d polls, want every second time", n, polls)
		}
		time.Sleep(3*s.set.PollMax + 5*time.Second)
		if !f.isAbsent() {
			t.Error("present though they ceased to poll")
		}
	})
}

func TestTheStoreHearsOfEveryPollOfThoseWhoseTurnIsNear(t *testing.T) {
	at(t, 1, held(), func(t *testing.T, s *site) {
		f := s.behind(120)
		s.store.forget()
		for range 3 {
			f.poll()
		}
		time.Sleep(2 * time.Second)
		if n := f.marks(); n != 3 {
			t.Errorf("the store was told %d times of 3 polls", n)
		}
	})
}

func TestWhoWasMarkedInVainIsMarkedAgain(t *testing.T) {
	at(t, 1, held(), func(t *testing.T, s *site) {
		f := s.behind(2000)
		s.store.forget()
		f.poll()
		s.store.set(broken)
		time.Sleep(1500 * time.Millisecond)
		s.store.set(none)
		tried := f.marks()
		f.after = 2 * time.Second
		f.poll()
		time.Sleep(2 * time.Second)
		if n := f.marks(); n != tried+2 { // the mark that was kept, and the new one
			t.Errorf("the store was told %d times since it answers again, want 2", n-tried)
		}
	})
}

func TestEverybodyIsToldOfToAStoreThatForgot(t *testing.T) {
	at(t, 1, held(), func(t *testing.T, s *site) {
		s.fill(500)
		time.Sleep(time.Second)
		var all []*far
		for range 200 {
			f := &far{s: s, g: s.gates[0], id: somebody()}
			a := f.g.Join(f.id, true)
			f.place = a.Place
			all = append(all, f)
		}
		for _, f := range all {
			f.after = 100 * time.Millisecond
			f.poll()
		}
		time.Sleep(2 * time.Second)
		s.store.wipe()
		time.Sleep(2 * time.Second)
		for _, f := range all {
			f.after = 10 * time.Millisecond
			f.poll()
		}
		time.Sleep(2 * time.Second)
		if n := s.gates[0].Waiting(); n != int64(len(all)) {
			t.Errorf("%d of %d came back with their first poll", n, len(all))
		}
	})
}

func TestWhoSharesAWordWithAnotherIsToldOf(t *testing.T) {
	at(t, 1, held(), func(t *testing.T, s *site) {
		one := s.behind(2000)
		other := &far{s: s, g: one.g, id: one.id ^ 1<<63, after: one.after}
		other.place = other.g.Join(other.id, true).Place
		time.Sleep(time.Second)
		s.store.forget()
		one.after, other.after = time.Second, time.Second
		one.poll()
		other.poll()
		time.Sleep(2 * time.Second)
		if one.marks() != 1 || other.marks() != 1 {
			t.Errorf("the store was told %d times of one and %d times of the other", one.marks(), other.marks())
		}
	})
}

func TestNobodyIsCalledWhoLeftLongBeforeALineTenTimesAsFast(t *testing.T) {
	at(t, 1, perSecond(1), func(t *testing.T, s *site) {
		f := s.behind(400)
		f.poll()
		last := time.Now()
		time.Sleep(30 * time.Second)
		set := s.set
		set.Rate = queue.Rate{N: 10, Per: queue.PerSecond}
		f.g.SetFile(set)
		for range 300 {
			time.Sleep(200 * time.Millisecond)
			for _, v := range s.store.lines.Load().Visitors("drop", nil) {
				if v.ID == f.id && v.State == "called" {
					t.Fatalf("called %v after the last poll", time.Since(last))
				}
			}
		}
	})
}

func TestTheStoreHearsOfEveryPollWhereNothingSaysWhenATurnComes(t *testing.T) {
	set := queue.Defaults()
	set.MaxActive = 5
	set.Rate, set.Burst = queue.NoRate, 0
	set = set.Fit()
	at(t, 1, set, func(t *testing.T, s *site) {
		f := s.behind(2000)
		s.store.forget()
		for range 4 {
			f.poll()
		}
		time.Sleep(2 * time.Second)
		if n := f.marks(); n != 4 {
			t.Errorf("the store was told %d times of 4 polls", n)
		}
	})
}
