package executor

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sluicegate/sluice/loadtest/metric"
)

// seen is an iteration as it was run, in time since the run's start.
type seen struct {
	id, iter               int64
	intended, began, ended time.Duration
	cut                    bool
}

// run runs a scenario in virtual time, each iteration taking as long as it says.
func run(t *testing.T, s Scenario, g Segment, takes func(vu *VU) time.Duration) ([]seen, *metric.Registry, time.Duration) {
	t.Helper()
	var all []seen
	var reg *metric.Registry
	var took time.Duration
	synctest.Test(t, func(t *testing.T) {
		reg = metric.NewRegistry()
		start := time.Now()
		var mu sync.Mutex
		in := NewInstruments(reg, s.Name, metric.Tags{})
		err := Run(t.Context(), &s, Options{Segment: g, Seed: 1}, func(ctx context.Context, vu *VU, intended time.Time) {
			x := seen{id: vu.ID, iter: vu.Iter, intended: intended.Sub(start), began: time.Since(start)}
			select {
			case <-time.After(takes(vu)):
			case <-ctx.Done():
				x.cut = true
			}
			x.ended = time.Since(start)
			mu.Lock()
			all = append(all, x)
			mu.Unlock()
		}, in)
		if err != nil {
			t.Error(err)
		}
		took = time.Since(start)
		if n := in.Live.VUs.Load(); n != 0 {
			t.Errorf("%d users are still at it", n)
		}
		reg.Finish(max(1, took))
	})
	slices.SortFunc(all, func(a, b seen) int { return int(a.began-b.began)*1000 + int(a.id-b.id) })
	return all, reg, took
}

func say(all []seen) string {
	var b strings.Builder
	for _, x := range all {
		fmt.Fprintf(&b, "%d/%d %v-%v", x.id, x.iter, x.began, x.ended)
		if x.intended != x.began {
			fmt.Fprintf(&b, " due %v", x.intended)
		}
		if x.cut {
			b.WriteString(" cut")
		}
		b.WriteString("; ")
	}
	return b.String()
}

func TestRun(t *testing.T) {
	second := func(*VU) time.Duration { return time.Second }
	for _, c := range []struct {
		name                             string
		s                                Scenario
		takes                            func(*VU) time.Duration
		want                             string
		iterations, interrupted, dropped float64
		took                             time.Duration
	}{
		{"constant users loop until the time is over, and end what they began",
			Scenario{Kind: ConstantVUs, VUs: 2, Duration: 1500 * ms, GracefulStop: time.Minute}, second,
			"1/0 0s-1s; 2/0 0s-1s; 1/1 1s-2s; 2/1 1s-2s; ", 4, 0, 0, 2 * time.Second},
		{"what a graceful stop does not wait for is cut off",
			Scenario{Kind: ConstantVUs, VUs: 1, Duration: 1500 * ms, GracefulStop: 200 * ms}, second,
			"1/0 0s-1s; 1/1 1s-1.7s cut; ", 1, 1, 0, 1700 * ms},
		{"a scenario begins at its startTime",
			Scenario{Kind: ConstantVUs, VUs: 1, StartTime: 5 * time.Second, Duration: 1500 * ms, GracefulStop: time.Minute}, second,
			"1/0 5s-6s; 1/1 6s-7s; ", 2, 0, 0, 7 * time.Second},
		{"each user does so many iterations",
			Scenario{Kind: PerVUIterations, VUs: 2, Iterations: 2, MaxDuration: time.Minute},
			func(vu *VU) time.Duration { return time.Duration(vu.ID) * time.Second },
			"1/0 0s-1s; 2/0 0s-2s; 1/1 1s-2s; 2/1 2s-4s; ", 4, 0, 0, 4 * time.Second},
		{"iterations that the longest duration leaves no time for are dropped",
			Scenario{Kind: PerVUIterations, VUs: 1, Iterations: 5, MaxDuration: 1500 * ms, GracefulStop: time.Second}, second,
			"1/0 0s-1s; 1/1 1s-2s; ", 2, 0, 3, 2 * time.Second},
		{"users take of the shared iterations as they are free",
			Scenario{Kind: SharedIterations, VUs: 2, Iterations: 4, MaxDuration: time.Minute},
			func(vu *VU) time.Duration { return time.Duration(2*vu.ID-1) * time.Second },
			"1/0 0s-1s; 2/0 0s-3s; 1/1 1s-2s; 1/2 2s-3s; ", 4, 0, 0, 3 * time.Second},
		{"shared iterations that were never begun are dropped",
			Scenario{Kind: SharedIterations, VUs: 1, Iterations: 4, MaxDuration: 1500 * ms, GracefulStop: 100 * ms}, second,
			"1/0 0s-1s; 1/1 1s-1.6s cut; ", 1, 1, 2, 1600 * ms},
		{"an open model does not wait for those before",
			Scenario{Kind: ConstantArrivalRate, Rate: 4, TimeUnit: time.Second, Duration: time.Second, MaxVUs: 10, GracefulStop: time.Minute}, second,
			"1/0 0s-1s; 2/0 250ms-1.25s; 3/0 500ms-1.5s; 4/0 750ms-1.75s; ", 4, 0, 0, 1750 * ms},
		{"an arrival takes a user who is free, or none and is dropped",
			Scenario{Kind: ConstantArrivalRate, Rate: 4, TimeUnit: time.Second, Duration: time.Second, MaxVUs: 2, GracefulStop: time.Minute},
			func(*VU) time.Duration { return 600 * ms },
			"1/0 0s-600ms; 2/0 250ms-850ms; 1/1 750ms-1.35s; ", 3, 0, 1, 1350 * ms},
		{"arrivals on a ramp come when they are due",
			Scenario{Kind: RampingArrivalRate, TimeUnit: time.Second, Stages: []Stage{{4 * time.Second, 2}}, PreAllocatedVUs: 9},
			func(*VU) time.Duration { return ms },
			"1/0 0s-1ms; 1/1 2s-2.001s; 1/2 2.828427124s-2.829427124s; 1/3 3.464101615s-3.465101615s; ", 4, 0, 0, 3465101615},
		{"who is ramped down ends the iteration under way and begins no other",
			Scenario{Kind: RampingVUs, StartVUs: 2, Stages: []Stage{{1500 * ms, 2}, {0, 1}, {1500 * ms, 1}}, GracefulRampDown: time.Minute, GracefulStop: time.Minute}, second,
			"1/0 0s-1s; 2/0 0s-1s; 1/1 1s-2s; 2/1 1s-2s; 1/2 2s-3s; ", 5, 0, 0, 3 * time.Second},
		{"who is ramped down gets gracefulRampDown and no more",
			Scenario{Kind: RampingVUs, StartVUs: 1, Stages: []Stage{{500 * ms, 1}, {0, 0}, {5 * time.Second, 0}}, GracefulRampDown: 100 * ms, GracefulStop: time.Minute}, second,
			"1/0 0s-600ms cut; ", 0, 1, 0, 5500 * ms},
		{"without gracefulRampDown it is cut off at once",
			Scenario{Kind: RampingVUs, StartVUs: 1, Stages: []Stage{{500 * ms, 1}, {0, 0}, {5 * time.Second, 0}}, GracefulStop: time.Minute}, second,
			"1/0 0s-500ms cut; ", 0, 1, 0, 5500 * ms},
		{"who is wanted again before the iteration ended goes on as if nothing had been",
			Scenario{Kind: RampingVUs, StartVUs: 1, Stages: []Stage{{200 * ms, 1}, {0, 0}, {200 * ms, 0}, {0, 1}, {1500 * ms, 1}}, GracefulRampDown: 300 * ms, GracefulStop: time.Minute}, second,
			"1/0 0s-1s; 1/1 1s-2s; ", 2, 0, 0, 2 * time.Second},
		{"who is wanted again and then not gets the whole gracefulRampDown once more",
			Scenario{Kind: RampingVUs, StartVUs: 1, Stages: []Stage{{200 * ms, 1}, {0, 0}, {200 * ms, 0}, {0, 1}, {50 * ms, 1}, {0, 0}, {time.Second, 0}}, GracefulRampDown: 300 * ms, GracefulStop: time.Minute}, second,
			"1/0 0s-750ms cut; ", 0, 1, 0, 1450 * ms},
		{"who is wanted again later is the same user",
			Scenario{Kind: RampingVUs, StartVUs: 1, Stages: []Stage{{200 * ms, 1}, {0, 0}, {2 * time.Second, 0}, {0, 1}, {900 * ms, 1}}, GracefulRampDown: time.Minute, GracefulStop: time.Minute}, second,
			"1/0 0s-1s; 1/1 2.2s-3.2s; ", 2, 0, 0, 3200 * ms},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.s.Name = "s"
			all, reg, took := run(t, c.s, Segment{}, c.takes)
			if got := say(all); got != c.want {
				t.Errorf("got  %s\nwant %s", got, c.want)
			}
			if took > c.took {
				t.Errorf("took %v, want %v", took, c.took)
			}
			for name, want := range map[string]float64{metric.Iterations: c.iterations, metric.InterruptedIterations: c.interrupted, metric.DroppedIterations: c.dropped} {
				if got := reg.Lookup(name).Select(metric.NewTags("scenario", "s")).Count; got != want {
					t.Errorf("%s is %v, want %v", name, got, want)
				}
			}
			if got := reg.Lookup(metric.IterationDuration).Select(metric.Tags{}).Count; got != c.iterations {
				t.Errorf("%v durations", got)
			}
		})
	}
}

func TestAnIterationThatBeginsLateKeepsItsIntendedInstantAndSaysSo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		reg := metric.NewRegistry()
		s := Scenario{Name: "s", Kind: ConstantArrivalRate, Rate: 1, TimeUnit: time.Second, Duration: 3 * time.Second, MaxVUs: 5, GracefulStop: time.Minute}
		start := time.Now().Add(-1500 * ms) // the process came up too late for the first two
		var mu sync.Mutex
		var due []time.Duration
		err := Run(t.Context(), &s, Options{Start: start}, func(_ context.Context, _ *VU, intended time.Time) {
			mu.Lock()
			due = append(due, intended.Sub(start))
			mu.Unlock()
		}, NewInstruments(reg, "s", metric.Tags{}))
		if err != nil {
			t.Fatal(err)
		}
		slices.Sort(due)
		if want := []time.Duration{0, time.Second, 2 * time.Second}; !slices.Equal(due, want) {
			t.Errorf("due at %v, want %v", due, want)
		}
		v := reg.Lookup(metric.IterationLateness).Select(metric.Tags{})
		if v.Min != 0 || v.Max != 1500 || v.Sum != 2000 {
			t.Errorf("late by %v to %v, together %v", v.Min, v.Max, v.Sum)
		}
	})
}

func TestARunThatIsInterruptedEndsAtOnceWithTheCause(t *testing.T) {
	cause := errors.New("the operator has seen enough")
	for _, kind := range Kinds {
		t.Run(string(kind), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				reg := metric.NewRegistry()
				ctx, cancel := context.WithCancelCause(t.Context())
				time.AfterFunc(2500*ms, func() { cancel(cause) })
				start := time.Now()
				s := Scenario{Name: "s", Kind: kind, VUs: 3, StartVUs: 3, Iterations: 100, Duration: time.Hour, MaxDuration: time.Hour,
					Rate: 3, StartRate: 3, TimeUnit: time.Second, MaxVUs: 50, Stages: []Stage{{time.Hour, 3}}, GracefulStop: time.Hour, GracefulRampDown: time.Hour}
				err := Run(ctx, &s, Options{}, func(ctx context.Context, _ *VU, _ time.Time) {
					select {
					case <-ctx.Done():
					case <-time.After(2 * time.Second):
					}
				}, NewInstruments(reg, "s", metric.Tags{}))
				if !errors.Is(err, cause) || time.Since(start) != 2500*ms {
					t.Errorf("ended after %v with %v", time.Since(start), err)
				}
				if n := reg.Lookup(metric.InterruptedIterations).Select(metric.Tags{}).Count; n < 3 {
					t.Errorf("%v iterations were cut off", n)
				}
				if n := reg.Lookup(metric.DroppedIterations).Select(metric.Tags{}).Count; n != 0 {
					t.Errorf("%v iterations count as dropped", n)
				}
			})
		})
	}
}

func TestWorkersTogetherRunTheWholeSchedule(t *testing.T) {
	for _, s := range []Scenario{
		{Kind: ConstantVUs, VUs: 7, Duration: 3 * time.Second},
		{Kind: RampingVUs, StartVUs: 2, Stages: []Stage{{3 * time.Second, 9}, {2 * time.Second, 1}, {time.Second, 1}}, GracefulRampDown: time.Minute},
		{Kind: ConstantArrivalRate, Rate: 13, TimeUnit: time.Second, Duration: 3 * time.Second, MaxVUs: 50},
		{Kind: RampingArrivalRate, StartRate: 3, TimeUnit: time.Second, Stages: []Stage{{3 * time.Second, 20}}, PreAllocatedVUs: 50},
		{Kind: PerVUIterations, VUs: 5, Iterations: 3, MaxDuration: time.Minute},
		{Kind: SharedIterations, VUs: 5, Iterations: 23, MaxDuration: time.Minute},
		{Kind: SharedIterations, VUs: 1, Iterations: 4, MaxDuration: time.Minute},
		{Kind: ConstantArrivalRate, Rate: 13, TimeUnit: time.Second, Duration: 3 * time.Second, MaxVUs: 1},
	} {
		s.Name, s.GracefulStop, s.FirstID = "s", time.Minute, 100
		takes := func(*VU) time.Duration { return 70 * ms }
		// Which user takes an arrival, and how many iterations one gets, depends on
		// who is free; when they are due does not.
		count := func(all []seen) map[time.Duration]int {
			m := map[time.Duration]int{}
			for _, x := range all {
				m[x.intended]++
			}
			return m
		}
		ids := func(all []seen) map[int64]bool {
			m := map[int64]bool{}
			for _, x := range all {
				m[x.id] = true
			}
			return m
		}
		whole, _, _ := run(t, s, Segment{}, takes)
		if s.Kind == SharedIterations && len(whole) != int(s.Iterations) {
			t.Errorf("%d iterations of %d", len(whole), s.Iterations)
		}
		for n := 2; n <= 5; n++ {
			t.Run(fmt.Sprintf("%s over %d", s.Kind, n), func(t *testing.T) {
				parts, _ := Segment{}.Split(n)
				var all []seen
				used := map[int64]bool{}
				for _, g := range parts {
					part, reg, _ := run(t, s, g, takes)
					for id := range ids(part) {
						if used[id] {
							t.Errorf("user %d is in two workers", id)
						}
						used[id] = true
					}
					all = append(all, part...)
					if d := reg.Lookup(metric.DroppedIterations).Select(metric.Tags{}).Count; d != 0 {
						t.Errorf("worker %v dropped %v", g, d)
					}
				}
				if len(all) != len(whole) {
					t.Fatalf("%d iterations, alone %d", len(all), len(whole))
				}
				if s.Kind != SharedIterations && !maps.Equal(count(all), count(whole)) {
					t.Errorf("due at\n%v\nalone at\n%v", count(all), count(whole))
				}
			})
		}
	}
}

func TestAUserDrawsTheSameNumbersInWhateverWorkerTheyAre(t *testing.T) {
	s := Scenario{Name: "s", Kind: ConstantVUs, VUs: 8, FirstID: 5}
	draw := func(name string, slot int64, seed uint64) uint64 {
		s := s
		s.Name = name
		return newVU(&s, slot, seed).Rand.Uint64()
	}
	a, again := draw("s", 3, 1), draw("s", 3, 1)
	if a != again {
		t.Error("the same user drew another number")
	}
	if a == draw("s", 4, 1) || a == draw("s", 3, 2) || a == draw("other", 3, 1) {
		t.Error("another user, seed or scenario drew the same number")
	}
	if id := newVU(&s, 0, 1).ID; id != 6 {
		t.Errorf("the first user behind five others is %d", id)
	}
}
