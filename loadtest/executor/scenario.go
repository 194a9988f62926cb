package executor

import (
	"fmt"
	"time"
)

// Kind is one of k6's executors, by its name there.
type Kind string

const (
	ConstantVUs         Kind = "constant-vus"
	RampingVUs          Kind = "ramping-vus"
	ConstantArrivalRate Kind = "constant-arrival-rate"
	RampingArrivalRate  Kind = "ramping-arrival-rate"
	PerVUIterations     Kind = "per-vu-iterations"
	SharedIterations    Kind = "shared-iterations"
)

// Kinds are all executors.
var Kinds = []Kind{ConstantVUs, RampingVUs, ConstantArrivalRate, RampingArrivalRate, PerVUIterations, SharedIterations}

// Open tells whether iterations begin when they are due, however long those
// before them take.
func (k Kind) Open() bool { return k == ConstantArrivalRate || k == RampingArrivalRate }

// Stage leads in a straight line from where the one before ended to Target.
type Stage struct {
	Duration time.Duration // 0: at once
	Target   int64         // virtual users, or iterations per TimeUnit
}

// Scenario is one schedule, with k6's options. Those that its Kind does not have
// are zero.
type Scenario struct {
	Name         string
	Kind         Kind
	StartTime    time.Duration // since the run's start
	GracefulStop time.Duration // for iterations under way when the time is over

	VUs         int64
	Iterations  int64 // of each virtual user, or shared by all
	Duration    time.Duration
	MaxDuration time.Duration // of scenarios that end by their iterations

	StartVUs         int64
	GracefulRampDown time.Duration // for an iteration whose virtual user is ramped down

	Rate, StartRate int64 // iterations per TimeUnit
	TimeUnit        time.Duration
	PreAllocatedVUs int64
	MaxVUs          int64

	Stages []Stage

	// FirstID is one less than the ID of the first virtual user.
	FirstID int64
}

// Length is how long new iterations begin, at most.
func (s *Scenario) Length() time.Duration {
	switch s.Kind {
	case RampingVUs, RampingArrivalRate:
		var sum time.Duration
		for _, st := range s.Stages {
			sum += st.Duration
		}
		return sum
	case PerVUIterations, SharedIterations:
		return s.MaxDuration
	}
	return s.Duration
}

// End is the latest instant, since the run's start, at which anything of it goes
// on.
func (s *Scenario) End() time.Duration { return s.StartTime + s.Length() + s.GracefulStop }

// Slots is how many virtual users there may be at once.
func (s *Scenario) Slots() int64 {
	switch s.Kind {
	case ConstantArrivalRate, RampingArrivalRate:
		return max(s.MaxVUs, s.PreAllocatedVUs)
	case RampingVUs:
		most := s.StartVUs
		for _, st := range s.Stages {
			most = max(most, st.Target)
		}
		return most
	}
	return s.VUs
}

// String says in a line what it does, as people would.
func (s *Scenario) String() string {
	switch s.Kind {
	case ConstantVUs:
		return fmt.Sprintf("%d looping VUs for %s", s.VUs, s.Duration)
	case RampingVUs:
		return fmt.Sprintf("up to %d looping VUs for %s over %d stages", s.Slots(), s.Length(), len(s.Stages))
	case ConstantArrivalRate:
		return fmt.Sprintf("%d iterations/%s for %s (maxVUs: %d)", s.Rate, unit(s.TimeUnit), s.Duration, s.Slots())
	case RampingArrivalRate:
		most := s.StartRate
		for _, st := range s.Stages {
			most = max(most, st.Target)
		}
		return fmt.Sprintf("up to %d iterations/%s for %s over %d stages (maxVUs: %d)", most, unit(s.TimeUnit), s.Length(), len(s.Stages), s.Slots())
	case PerVUIterations:
		return fmt.Sprintf("%d iterations for each of %d VUs (maxDuration: %s)", s.Iterations, s.VUs, s.MaxDuration)
	case SharedIterations:
		return fmt.Sprintf("%d iterations shared among %d VUs (maxDuration: %s)", s.Iterations, s.VUs, s.MaxDuration)
	}
	panic("BUG: executor: no kind " + s.Kind)
}

func unit(d time.Duration) string {
	switch d {
	case time.Second:
		return "s"
	case time.Minute:
		return "m"
	case time.Hour:
		return "h"
	}
	return d.String()
}
