package run

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sluicegate/sluice/loadtest/executor"
	"github.com/sluicegate/sluice/loadtest/judge"
	"github.com/sluicegate/sluice/loadtest/metric"
	"github.com/sluicegate/sluice/loadtest/origin"
	"github.com/sluicegate/sluice/loadtest/summary"
	"github.com/sluicegate/sluice/loadtest/visitor"
)

// Options say how a script is run.
type Options struct {
	Targets []string // addresses of the gates; none: the script's
	Seed    uint64   // of all that visitors draw
	Judge   judge.Options

	Origin net.Listener // a recording origin is served here, and closed in the end; nil: none
	Points io.Writer    // gets every sample as a line of JSON; nil: nothing does

	// Progress is told each second how far the scenarios are, and when they are
	// over; nil: nobody is.
	Progress func(elapsed time.Duration, scenarios []summary.Progress)
}

// Outcome is what a run came to.
type Outcome struct {
	Registry *metric.Registry // finished
	Results  []metric.Result  // of the thresholds
	Verdict  *judge.Verdict
	Shop     *origin.Stats // nil: no recording origin was served
	Failures []string      // of requests, by scenario

	Interrupted bool           // the context ended before the scenarios
	Aborted     *metric.Result // the threshold that ended the run; nil: none did

	rehearsal *Rehearsal
	judged    judge.Options
}

// errAborted is why scenarios end when a threshold with abortOnFail is crossed.
var errAborted = errors.New("run: a threshold ended the run")

// part is a scenario that runs.
type part struct {
	scenario    *executor.Scenario
	crowd       *visitor.Crowd
	instruments executor.Instruments
	over        atomic.Bool
}

// Run carries the script out and judges it. When ctx ends, visitors stop what they
// do and the outcome is of what was done until then. Its error is script.Problems
// when the script asks for what the options do not give. With another error the
// outcome may be there all the same: then it is whole, but its points are not.
func (r *Rehearsal) Run(ctx context.Context, o Options) (*Outcome, error) {
	if o.Origin != nil {
		defer o.Origin.Close() // of a run that never begins; the origin closes it otherwise
	}
	if err := r.check(&o); err != nil {
		return nil, err
	}
	out := &Outcome{Registry: newRegistry(), rehearsal: r, judged: o.Judge}
	log, err := newLogFile()
	if err != nil {
		return nil, err
	}
	defer log.file.Close()
	parts, err := r.parts(out.Registry, log.Log, &o)
	if err != nil {
		return nil, err
	}
	var points *points
	if o.Points != nil {
		points = newPoints(o.Points, out.Registry)
		out.Registry.Tap(points.add)
	}

	running, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	closeShop := func() (*origin.Stats, error) { return nil, nil }
	if o.Origin != nil {
		closeShop = serveShop(o.Origin, cmp.Or(r.Script.Path, defaultPath), stop)
	}
	start := time.Now()
	out.Registry.Start(start)
	cut := r.runAll(running, stop, parts, out, start, &o)
	out.Registry.Finish(time.Since(start))
	shop, err := closeShop()
	if err != nil {
		return nil, err
	}
	out.Interrupted = cut && out.Aborted == nil && ctx.Err() != nil
	out.Shop = shop

	unadmitted := int64(-1)
	if shop != nil {
		unadmitted = shop.Unadmitted
	}
	if out.Verdict, err = log.verdict(o.Judge); err != nil {
		return nil, err
	}
	out.Verdict.Record(out.Registry, unadmitted)
	if points != nil {
		out.Registry.Tap(nil)
		if err = points.flush(); err != nil {
			err = fmt.Errorf("write points: %w", err)
		}
	}
	for _, p := range parts {
		for _, f := range p.crowd.Errors() {
			out.Failures = append(out.Failures, p.scenario.Name+": "+f)
		}
	}
	out.Results = r.Script.Thresholds.Evaluate(out.Registry)
	return out, err
}

func (r *Rehearsal) parts(registry *metric.Registry, log *judge.Log, o *Options) ([]*part, error) {
	open, err := visitor.NewConnections(0)
	if err != nil {
		return nil, err
	}
	targets := o.Targets
	if len(targets) == 0 {
		targets = r.Script.Targets
	}
	var parts []*part
	for i := range r.Script.Scenarios {
		s := &r.Script.Scenarios[i]
		crowd, err := visitor.New(visitor.Config{
			Targets: targets, Room: cmp.Or(r.Script.Room, defaultRoom), Path: cmp.Or(r.Script.Path, defaultPath),
			Journey: r.journeys[i], Scenario: s.Name, Tags: s.Tags, Metrics: registry, Log: log, Open: open,
		})
		if err != nil {
			return nil, fmt.Errorf("scenario %s: %w", s.Name, err)
		}
		parts = append(parts, &part{scenario: &s.Scenario, crowd: crowd, instruments: executor.NewInstruments(registry, s.Name, s.Tags)})
	}
	return parts, nil
}

// runAll runs the scenarios side by side and tells whether any was cut short.
func (r *Rehearsal) runAll(ctx context.Context, stop context.CancelCauseFunc, parts []*part, out *Outcome, start time.Time, o *Options) bool {
	var wg sync.WaitGroup
	var cut atomic.Bool
	lives := make([]*executor.Live, len(parts))
	for i, p := range parts {
		lives[i] = p.instruments.Live
		wg.Go(func() {
			defer p.over.Store(true)
			if executor.Run(ctx, p.scenario, executor.Options{Start: start, Seed: o.Seed}, p.crowd.Visit, p.instruments) != nil {
				cut.Store(true)
			}
		})
	}
	over := make(chan struct{})
	go func() {
		wg.Wait()
		close(over)
	}()
	tell := func() {
		executor.Observe(out.Registry, lives...)
		if o.Progress == nil {
			return
		}
		progress := make([]summary.Progress, len(parts))
		for i, p := range parts {
			progress[i] = summary.ProgressOf(p.scenario, lives[i], p.over.Load())
		}
		o.Progress(time.Since(start), progress)
	}
	ticker := time.NewTicker(time.Second)
	defer ticker.Stop()
	for {
		select {
		case <-over:
			tell()
			return cut.Load()
		case <-ticker.C:
		}
		tell()
		if out.Aborted == nil && r.Script.Thresholds.AnyAbort() {
			if crossed, ok := r.Script.Thresholds.Abort(out.Registry, time.Since(start)); ok {
				out.Aborted = &crossed
				stop(errAborted)
			}
		}
	}
}

// serveShop serves a recording origin, and ends the run should that fail. What it
// returns closes the origin.
func serveShop(l net.Listener, gated string, stop context.CancelCauseFunc) func() (*origin.Stats, error) {
	shop := origin.New(origin.Config{Gated: gated})
	failed := make(chan error, 1)
	go func() {
		err := shop.Serve(l)
		if err != nil {
			err = fmt.Errorf("serve the origin: %w", err)
			stop(err)
		}
		failed <- err
	}()
	return func() (*origin.Stats, error) {
		closed := shop.Close()
		if err := <-failed; err != nil {
			return nil, err
		}
		if closed != nil {
			return nil, fmt.Errorf("close the origin: %w", closed)
		}
		stats := shop.Stats()
		return &stats, nil
	}
}

// logFile keeps what happened to visitors until it is judged. A million visitors
// write more than should stay in memory.
type logFile struct {
	*judge.Log
	file *os.File
}

func newLogFile() (*logFile, error) {
	f, err := os.CreateTemp("", "sluice-loadtest-*")
	if err != nil {
		return nil, fmt.Errorf("keep what visitors see: %w", err)
	}
	// It has no name from here on, so that nothing is left of a run that is killed.
	if err := os.Remove(f.Name()); err != nil {
		f.Close()
		return nil, fmt.Errorf("keep what visitors see: %w", err)
	}
	return &logFile{judge.NewLog(f), f}, nil
}

func (l *logFile) verdict(o judge.Options) (*judge.Verdict, error) {
	err := l.Flush()
	if err == nil {
		_, err = l.file.Seek(0, io.SeekStart)
	}
	j := judge.New(o)
	if err == nil {
		err = j.Add(l.file)
	}
	if err != nil {
		return nil, fmt.Errorf("judge what visitors saw: %w", err)
	}
	return j.Verdict(), nil
}
