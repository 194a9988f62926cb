package run

import (
	"cmp"
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sluicegate/sluice/loadtest/executor"
	"github.com/sluicegate/sluice/loadtest/judge"
	"github.com/sluicegate/sluice/loadtest/metric"
	"github.com/sluicegate/sluice/loadtest/summary"
	"github.com/sluicegate/sluice/loadtest/visitor"
)

// share is what one process does of a run: some of the visitors of every scenario.
type share struct {
	registry *metric.Registry
	options  executor.Options
	parts    []*part
}

// part is a scenario that runs.
type part struct {
	scenario    *executor.Scenario
	crowd       *visitor.Crowd
	instruments executor.Instruments
	over        atomic.Bool
}

func (r *Rehearsal) share(registry *metric.Registry, log *judge.Log, targets []string, o executor.Options) (*share, error) {
	open, err := visitor.NewConnections(0)
	if err != nil {
		return nil, err
	}
	s := &share{registry: registry, options: o}
	for i := range r.Script.Scenarios {
		sc := &r.Script.Scenarios[i]
		crowd, err := visitor.New(visitor.Config{
			Targets: targets, Room: cmp.Or(r.Script.Room, defaultRoom), Path: cmp.Or(r.Script.Path, defaultPath),
			Journey: r.journeys[i], Scenario: sc.Name, Tags: sc.Tags, Metrics: registry, Log: log, Open: open,
		})
		if err != nil {
			return nil, fmt.Errorf("scenario %s: %w", sc.Name, err)
		}
		s.parts = append(s.parts, &part{scenario: &sc.Scenario, crowd: crowd, instruments: executor.NewInstruments(registry, sc.Name, sc.Tags)})
	}
	return s, nil
}

// run runs the scenarios side by side, calls tell once a second and when they are
// over, and returns whether any was cut short.
func (s *share) run(ctx context.Context, tell func()) bool {
	s.registry.Start(s.options.Start)
	var wg sync.WaitGroup
	var cut atomic.Bool
	lives := make([]*executor.Live, len(s.parts))
	for i, p := range s.parts {
		lives[i] = p.instruments.Live
		wg.Go(func() {
			defer p.over.Store(true)
			if executor.Run(ctx, p.scenario, s.options, p.crowd.Visit, p.instruments) != nil {
				cut.Store(true)
			}
		})
	}
	over := make(chan struct{})
	go func() {
		wg.Wait()
		close(over)
	}()
	ticker := time.NewTicker(time.Second)
	defer ticker.Stop()
	for {
		select {
		case <-over:
			executor.Observe(s.registry, lives...)
			tell()
			s.registry.Finish(time.Since(s.options.Start))
			return cut.Load()
		case <-ticker.C:
			executor.Observe(s.registry, lives...)
			tell()
		}
	}
}

// progress is how far each scenario is.
func (s *share) progress() []summary.Progress {
	out := make([]summary.Progress, len(s.parts))
	for i, p := range s.parts {
		out[i] = summary.ProgressOf(p.scenario, p.instruments.Live, p.over.Load())
	}
	return out
}

// failures is why requests failed.
func (s *share) failures() Failures {
	out := Failures{}
	for _, p := range s.parts {
		for what, n := range p.crowd.Errors() {
			out[p.scenario.Name+": "+what] += n
		}
	}
	return out
}
