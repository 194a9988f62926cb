package script

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/sluicegate/sluice/loadtest/executor"
	"github.com/sluicegate/sluice/loadtest/metric"
)

// Plan is what a script comes to, with every default filled in. Its JSON has the
// shape of k6's inspect with the requirements in it.
type Plan struct {
	Targets       []string                      `json:"targets,omitempty"`
	Room          string                        `json:"room,omitempty"`
	Path          string                        `json:"path,omitempty"`
	Scenarios     map[string]PlannedScenario    `json:"scenarios"`
	Thresholds    map[string][]PlannedThreshold `json:"thresholds,omitempty"`
	Tags          map[string]string             `json:"tags,omitempty"`
	TrendStats    []string                      `json:"summaryTrendStats"`
	TimeUnit      string                        `json:"summaryTimeUnit,omitempty"`
	TotalDuration string                        `json:"totalDuration"`
	MaxVUs        int64                         `json:"maxVUs"`

	Duration time.Duration `json:"-"` // TotalDuration
	order    []string
	said     map[string]string
}

// PlannedScenario has the options of its executor and no others.
type PlannedScenario struct {
	Executor         string            `json:"executor"`
	StartTime        string            `json:"startTime"`
	GracefulStop     string            `json:"gracefulStop"`
	Exec             string            `json:"exec,omitempty"`
	Env              map[string]string `json:"env,omitempty"`
	Tags             map[string]string `json:"tags,omitempty"`
	VUs              int64             `json:"vus,omitempty"`
	Iterations       int64             `json:"iterations,omitempty"`
	Duration         string            `json:"duration,omitempty"`
	MaxDuration      string            `json:"maxDuration,omitempty"`
	StartVUs         *int64            `json:"startVUs,omitempty"`
	GracefulRampDown string            `json:"gracefulRampDown,omitempty"`
	StartRate        *int64            `json:"startRate,omitempty"`
	Rate             int64             `json:"rate,omitempty"`
	TimeUnit         string            `json:"timeUnit,omitempty"`
	PreAllocatedVUs  *int64            `json:"preAllocatedVUs,omitempty"`
	MaxVUs           int64             `json:"maxVUs,omitempty"`
	Stages           []PlannedStage    `json:"stages,omitempty"`
	// Arrivals is how many iterations an open model has due; k6 does not say.
	Arrivals int64 `json:"arrivals,omitempty"`
}

// PlannedStage is a stage with its duration in words.
type PlannedStage struct {
	Duration string `json:"duration"`
	Target   int64  `json:"target"`
}

// PlannedThreshold is a threshold as k6 spells it out.
type PlannedThreshold struct {
	Threshold      string `json:"threshold"`
	AbortOnFail    bool   `json:"abortOnFail"`
	DelayAbortEval string `json:"delayAbortEval,omitempty"`
}

// Plan consolidates the script.
func (s *Script) Plan() Plan {
	p := Plan{Targets: s.Targets, Room: s.Room, Path: s.Path, Scenarios: map[string]PlannedScenario{},
		TrendStats: s.SummaryTrendStats, TimeUnit: s.SummaryTimeUnit, MaxVUs: s.MaxVUs(), said: map[string]string{}}
	if s.Tags != (metric.Tags{}) {
		p.Tags = s.Tags.Map()
	}
	p.Duration = s.Duration()
	p.TotalDuration = p.Duration.String()
	for i := range s.Scenarios {
		sc := &s.Scenarios[i]
		p.order = append(p.order, sc.Name)
		p.Scenarios[sc.Name] = planned(sc)
		p.said[sc.Name] = sc.Scenario.String()
	}
	for _, t := range s.Thresholds {
		pt := PlannedThreshold{Threshold: t.Source, AbortOnFail: t.AbortOnFail}
		if t.DelayAbortEval > 0 {
			pt.DelayAbortEval = t.DelayAbortEval.String()
		}
		if p.Thresholds == nil {
			p.Thresholds = map[string][]PlannedThreshold{}
		}
		p.Thresholds[t.Selector] = append(p.Thresholds[t.Selector], pt)
	}
	return p
}

func planned(s *Scenario) PlannedScenario {
	p := PlannedScenario{Executor: string(s.Kind), StartTime: s.StartTime.String(), GracefulStop: s.GracefulStop.String(), Exec: s.Exec, Env: s.Env}
	if s.Tags != (metric.Tags{}) {
		p.Tags = s.Tags.Map()
	}
	switch s.Kind {
	case executor.ConstantVUs:
		p.VUs, p.Duration = s.VUs, s.Duration.String()
	case executor.RampingVUs:
		p.StartVUs, p.GracefulRampDown = &s.StartVUs, s.GracefulRampDown.String()
	case executor.PerVUIterations, executor.SharedIterations:
		p.VUs, p.Iterations, p.MaxDuration = s.VUs, s.Iterations, s.MaxDuration.String()
	case executor.ConstantArrivalRate, executor.RampingArrivalRate:
		p.TimeUnit, p.PreAllocatedVUs, p.MaxVUs = s.TimeUnit.String(), &s.PreAllocatedVUs, s.MaxVUs
		p.Arrivals = executor.NewArrivals(&s.Scenario).Total()
		if s.Kind == executor.ConstantArrivalRate {
			p.Rate, p.Duration = s.Rate, s.Duration.String()
		} else {
			p.StartRate = &s.StartRate
		}
	}
	for _, st := range s.Stages {
		p.Stages = append(p.Stages, PlannedStage{st.Duration.String(), st.Target})
	}
	return p
}

// Duration is how long the script takes at most: until the last graceful stop is
// over.
func (s *Script) Duration() time.Duration {
	var d time.Duration
	for i := range s.Scenarios {
		d = max(d, s.Scenarios[i].End())
	}
	return d
}

// MaxVUs is how many virtual users there may be at once over all scenarios,
// with those that are given time to end.
func (s *Script) MaxVUs() int64 {
	type event struct {
		at time.Duration
		by int64
	}
	var events []event
	for i := range s.Scenarios {
		sc := &s.Scenarios[i]
		if sc.Kind != executor.RampingVUs {
			events = append(events, event{sc.StartTime, sc.Slots()}, event{sc.End(), -sc.Slots()})
			continue
		}
		// A user counts from coming until the time to end is over; one who comes back
		// before that was there all along.
		type stay struct{ from, until time.Duration }
		stays := map[int64]stay{}
		leave := func(x stay) { events = append(events, event{sc.StartTime + x.from, 1}, event{x.until, -1}) }
		for step := range executor.Ramp(&sc.Scenario) {
			x, there := stays[step.Slot]
			at := sc.StartTime + step.At
			switch {
			case !step.Up:
				x.until = min(at+sc.GracefulRampDown, sc.End())
			case there && x.until >= at:
				x.until = sc.End()
			default:
				if there {
					leave(x)
				}
				x = stay{step.At, sc.End()}
			}
			stays[step.Slot] = x
		}
		for _, x := range stays {
			leave(x)
		}
	}
	slices.SortFunc(events, func(a, b event) int { return cmp.Or(cmp.Compare(a.at, b.at), cmp.Compare(a.by, b.by)) })
	var now, most int64
	for _, e := range events {
		now += e.by
		most = max(most, now)
	}
	return most
}

// Text returns the plan as people read it.
func (p Plan) Text() string {
	var b strings.Builder
	line := func(name, format string, args ...any) {
		fmt.Fprintf(&b, "%11s: %s\n", name, fmt.Sprintf(format, args...))
	}
	if len(p.Targets) > 0 {
		line("targets", "%s", strings.Join(p.Targets, ", "))
	}
	if p.Room != "" || p.Path != "" {
		var parts []string
		for _, part := range []struct{ name, value string }{{"room ", p.Room}, {"path ", p.Path}} {
			if part.value != "" {
				parts = append(parts, part.name+part.value)
			}
		}
		line("visitors", "%s", strings.Join(parts, ", "))
	}
	line("scenarios", "%d, at most %d VUs, at most %s with graceful stops", len(p.order), p.MaxVUs, p.TotalDuration)
	for _, name := range p.order {
		s := p.Scenarios[name]
		fmt.Fprintf(&b, "%11s * %s: %s", "", name, p.said[name])
		if s.Arrivals > 0 {
			fmt.Fprintf(&b, ", %d iterations due", s.Arrivals)
		}
		if s.StartTime != "0s" {
			fmt.Fprintf(&b, ", startTime: %s", s.StartTime)
		}
		if s.GracefulRampDown != "" {
			fmt.Fprintf(&b, ", gracefulRampDown: %s", s.GracefulRampDown)
		}
		fmt.Fprintf(&b, ", gracefulStop: %s", s.GracefulStop)
		if s.Exec != "" {
			fmt.Fprintf(&b, ", exec: %s", s.Exec)
		}
		b.WriteByte('\n')
		for _, st := range s.Stages {
			fmt.Fprintf(&b, "%11s     %s to %d\n", "", st.Duration, st.Target)
		}
	}
	if len(p.Thresholds) > 0 {
		line("thresholds", "%d", func() (n int) {
			for _, ts := range p.Thresholds {
				n += len(ts)
			}
			return n
		}())
		for _, name := range sortedKeys(p.Thresholds) {
			for _, t := range p.Thresholds[name] {
				fmt.Fprintf(&b, "%11s * %s: %s", "", name, t.Threshold)
				if t.AbortOnFail {
					b.WriteString(", ends the run")
					if t.DelayAbortEval != "" {
						fmt.Fprintf(&b, " after %s", t.DelayAbortEval)
					}
				}
				b.WriteByte('\n')
			}
		}
	}
	return b.String()
}

func sortedKeys[V any](m map[string]V) []string {
	out := make([]string, 0, len(m))
	for k := range m {
		out = append(out, k)
	}
	slices.Sort(out)
	return out
}

// JSON returns the plan as inspect prints it, for programs.
func (p Plan) JSON() []byte {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false) // p(99)<500, not p(99)\u003c500
	e.SetIndent("", "  ")
	if err := e.Encode(p); err != nil {
		panic("BUG: script: " + err.Error())
	}
	return b.Bytes()
}
