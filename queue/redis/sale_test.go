package redis_test

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sluicegate/sluice/queue"
	"github.com/sluicegate/sluice/queue/redis"
)

// sale is a room at two gates, and visitors who do as they are told, while
// something happens to the store.
type sale struct {
	*testing.T
	set   queue.Settings
	gates []*queue.Line
	log   logged

	wg       sync.WaitGroup
	inside   atomic.Int64
	most     atomic.Int64 // inside at once
	mu       sync.Mutex
	visitors []*visitor
}

type visitor struct {
	id     queue.ID
	place  queue.Time
	sent   time.Time    // the first request
	joined time.Time    // when that was answered
	let    queue.Answer // once let in
	at     time.Time    // when told
}

type logged struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logged) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logged) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// openSale opens a room that lets in twenty a second, and ten at once. Everybody
// stays for a moment.
func openSale(t *testing.T, address string) *sale {
	s := &sale{T: t, set: queue.Defaults()}
	s.set.Rate, s.set.Burst, s.set.MaxActive = queue.Rate{N: 20, Per: queue.PerSecond}, 1, 10
	s.set.ClaimWithin, s.set.PollMin, s.set.PollMax = 10*time.Second, 200*time.Millisecond, time.Second
	if problems := s.set.Check(); problems != nil {
		t.Fatal(problems)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	t.Cleanup(func() {
		cancel()
		running.Wait()
		if t.Failed() {
			t.Logf("the gates wrote:\n%s", s.log.String())
		}
	})
	for range 2 {
		store, err := redis.Open(address)
		if err != nil {
			t.Fatal(err)
		}
		closed(t, store)
		l := queue.NewLine(queue.LineConfig{
			Room: "drop", Settings: s.set, Store: store, MaxHeld: 1000, Log: slog.New(slog.NewTextHandler(&s.log, nil)),
		})
		s.gates = append(s.gates, l)
		running.Go(func() { _ = l.Run(ctx) })
	}
	for _, l := range s.gates {
		s.await("the gates have heard their store", func() bool { return l.Status().Age >= 0 })
	}
	return s
}

func (s *sale) await(what string, is func() bool) {
	s.Helper()
	for end := time.Now().Add(time.Minute); !is(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			s.Fatalf("not so after a minute: %s", what)
		}
	}
}

// gate is any of them: load balancers send each poll elsewhere.
func (s *sale) gate() *queue.Line { return s.gates[rand.IntN(len(s.gates))] }

// come has so many visitors come, one after the other.
func (s *sale) come(n int) {
	for range n {
		v := &visitor{id: queue.ID(rand.Uint64())}
		s.mu.Lock()
		s.visitors = append(s.visitors, v)
		s.mu.Unlock()
		s.wg.Go(func() { s.visit(v) })
		time.Sleep(5 * time.Millisecond)
	}
}

func (s *sale) visit(v *visitor) {
	v.sent = time.Now()
	a := s.gate().Join(v.id, true)
	v.place, v.joined = a.Place, time.Now()
	for end := time.Now().Add(time.Minute); a.State != queue.Admitted; a = s.gate().Poll(v.id, v.place, true, nil) {
		if a.State != queue.Waiting || a.Place != v.place || a.PollAfter <= 0 {
			s.Errorf("%x, whose place is %d, is told %+v", v.id, v.place, a)
			return
		}
		if time.Now().After(end) {
			s.Errorf("%x is not let in", v.id)
			return
		}
		time.Sleep(a.PollAfter)
	}
	s.inside.Add(1)
	for now := s.inside.Load(); ; {
		if known := s.most.Load(); now <= known || s.most.CompareAndSwap(known, now) {
			break
		}
	}
	s.mu.Lock()
	v.let, v.at = a, time.Now()
	s.mu.Unlock()
	if a.Provisional {
		s.gate().Use(queue.Pass{ID: v.id, Place: a.Place, Called: a.Called, Issued: a.Called, Until: a.Until, Provisional: true})
	}
	time.Sleep(300 * time.Millisecond)
	s.inside.Add(-1)
	for end := time.Now().Add(time.Minute); s.gate().Leave(v.id, a.Place, a.Until) != nil; time.Sleep(100 * time.Millisecond) {
		if time.Now().After(end) {
			s.Errorf("%x cannot leave", v.id)
			return
		}
	}
}

// let returns those let in so far, by when they were told.
func (s *sale) let() []visitor {
	s.mu.Lock()
	defer s.mu.Unlock()
	var in []visitor
	for _, v := range s.visitors {
		if !v.at.IsZero() {
			in = append(in, *v)
		}
	}
	slices.SortFunc(in, func(a, b visitor) int { return a.at.Compare(b.at) })
	return in
}

// awaitLet waits until so many more are in.
func (s *sale) awaitLet(more int) {
	s.Helper()
	n := len(s.let()) + more
	s.await(fmt.Sprintf("%d are let in", n), func() bool { return len(s.let()) >= n })
}

// judge waits for everybody, and checks what was promised to them. It returns the
// longest time in which nobody was let in.
func (s *sale) judge() (pause time.Duration) {
	s.Helper()
	s.wg.Wait()
	in := s.let()
	if len(in) != len(s.visitors) {
		s.Errorf("%d of %d were let in", len(in), len(s.visitors))
	}
	for i := 1; i < len(in); i++ {
		pause = max(pause, in[i].at.Sub(in[i-1].at))
	}
	if s.most.Load() > s.set.MaxActive {
		s.Errorf("%d were inside at once, at most %d may be", s.most.Load(), s.set.MaxActive)
	}
	// Of two who come at once, at two gates, either may reach the store first; and what
	// gates take for room time differs by what an answer was under way, which is much
	// on a busy machine.
	const atOnce = 250 * time.Millisecond
	for _, first := range in {
		for _, later := range in {
			if later.sent.Sub(first.joined) > atOnce && (later.let.Called < first.let.Called || later.place <= first.place) {
				s.Errorf("%d was called at %d, and %d, who came later, at %d", first.place, first.let.Called, later.place, later.let.Called)
			}
		}
	}
	slices.SortFunc(in, func(a, b visitor) int { return cmp.Compare(a.let.Called, b.let.Called) })
	apart := time.Second / 20
	for i := 1; i < len(in); i++ {
		if in[i].let.Called.Sub(in[i-1].let.Called) < apart-time.Millisecond {
			s.Errorf("two were called %s apart, the rate is one in %s", in[i].let.Called.Sub(in[i-1].let.Called), apart)
		}
	}
	// A copy of a ticket is worth nothing.
	for _, v := range in {
		if a := s.gate().Poll(v.id, v.place, false, nil); a.State == queue.Admitted || a.State == queue.Waiting {
			s.Errorf("a ticket that gave a session is told %+v", a)
			break
		}
	}
	return pause
}

// losses is how many were noticed, by both gates together.
func (s *sale) losses() int { return strings.Count(s.log.String(), "the store lost what it knew") }

// outages is how often a gate wrote that the store does not answer.
func (s *sale) outages() int { return strings.Count(s.log.String(), "the store does not answer") }

// returns is how often a gate wrote that it answers again.
func (s *sale) returns() int { return strings.Count(s.log.String(), "the store answers again") }
