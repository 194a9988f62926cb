package executor

import (
	"sync/atomic"

	"github.com/sluicegate/sluice/loadtest/metric"
)

// Instruments are what a scenario measures of itself.
type Instruments struct {
	Iterations  *metric.Series // brought to their end
	Interrupted *metric.Series // cut off
	Dropped     *metric.Series // intended, never begun
	Duration    *metric.Series // of those brought to their end
	Lateness    *metric.Series // begin after the intended instant, of open models
	Live        *Live
}

// NewInstruments resolves them in a registry, under the tags and scenario:NAME.
func NewInstruments(r *metric.Registry, scenario string, tags metric.Tags) Instruments {
	metric.Builtin(r)
	tags = tags.With("scenario", scenario)
	with := func(name string) *metric.Series { return r.Lookup(name).With(tags) }
	return Instruments{
		Iterations:  with(metric.Iterations),
		Interrupted: with(metric.InterruptedIterations),
		Dropped:     with(metric.DroppedIterations),
		Duration:    with(metric.IterationDuration),
		Lateness:    with(metric.IterationLateness),
		Live:        &Live{},
	}
}

// Live is how far a scenario is, for progress lines.
type Live struct {
	VUs         atomic.Int64 // in an iteration, or looping
	Ready       atomic.Int64 // virtual users there are
	Begun       atomic.Int64 // iterations
	Done        atomic.Int64
	Interrupted atomic.Int64
	Dropped     atomic.Int64
}

// Observe sets the gauges vus and vus_max to what the scenarios of this process
// come to now. It is meant to be called once a second and at the end.
func Observe(r *metric.Registry, scenarios ...*Live) {
	var vus, ready int64
	for _, l := range scenarios {
		vus += l.VUs.Load()
		ready += l.Ready.Load()
	}
	r.New(metric.VUs, metric.Gauge, metric.Default).With(metric.Tags{}).Add(float64(vus))
	r.New(metric.VUsMax, metric.Gauge, metric.Default).With(metric.Tags{}).Add(float64(ready))
}
