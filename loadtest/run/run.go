package run

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os/exec"
	"time"

	"github.com/sluicegate/sluice/loadtest/executor"
	"github.com/sluicegate/sluice/loadtest/judge"
	"github.com/sluicegate/sluice/loadtest/metric"
	"github.com/sluicegate/sluice/loadtest/origin"
	"github.com/sluicegate/sluice/loadtest/summary"
)

// Options say how a script is run.
type Options struct {
	Targets []string // addresses of the gates; none: the script's
	Seed    uint64   // of all that visitors draw
	Judge   judge.Options

	Segment executor.Segment // the visitors who come from here; zero: all
	Start   time.Time        // of the run; zero: as soon as all are ready
	Workers int              // processes that share them; at most 1: this one does it alone
	// Worker is the command of a worker, whose main calls Work; used where there are
	// several.
	Worker func() *exec.Cmd

	Origin net.Listener // a recording origin is served here, and closed in the end; nil: none
	Points io.Writer    // gets every sample as a line of JSON; nil: nothing does
	Part   io.Writer    // gets what Merge reads; nil: nothing does
	Events io.Writer    // gets what visitors saw, as judge.Read reads it, without workers; nil: nothing does

	// Progress is told each second how far the scenarios are, and when they are
	// over; nil: nobody is.
	Progress func(elapsed time.Duration, scenarios []summary.Progress)
}

// Outcome is what a run came to.
type Outcome struct {
	Began    time.Time
	Registry *metric.Registry // finished
	Results  []metric.Result  // of the thresholds
	Verdict  *judge.Verdict
	Shop     *origin.Stats // nil: no recording origin was served
	Failures Failures      // of requests

	Interrupted bool           // the context ended before the scenarios
	Aborted     *metric.Result // the threshold that ended the run; nil: none did

	Judged judge.Options // what the judges knew of the room

	rehearsal *Rehearsal
}

// errAborted is why scenarios end when a threshold with abortOnFail is crossed.
var errAborted = errors.New("run: a threshold ended the run")

// crew is who carries a run out: this process, or workers.
type crew interface {
	// run returns when all is done, or soon after ctx ended, and tells whether
	// anything was cut short. It tells each second how far it is.
	run(ctx context.Context, tell func([]summary.Progress)) (cut bool, err error)
	// totals puts what was measured so far into the registry.
	totals() (*metric.Registry, error)
	// result is for after run.
	result() (*result, error)
	close() error
}

// result is what a crew brings home.
type result struct {
	registry *metric.Registry
	logs     []io.Reader // what visitors saw, process by process
	failures Failures
}

// Run carries the script out and judges it. When ctx ends, visitors stop what they
// do and the outcome is of what was done until then. Its error is script.Problems
// when the script asks for what the options do not give. With another error the
// outcome may be there all the same: then it is whole, but its points or its part
// are not.
func (r *Rehearsal) Run(ctx context.Context, o Options) (*Outcome, error) {
	if o.Origin != nil {
		defer o.Origin.Close() // of a run that never begins; the origin closes it otherwise
	}
	if err := r.check(&o); err != nil {
		return nil, err
	}
	if len(o.Targets) == 0 {
		o.Targets = r.Script.Targets
	}
	var points *points
	if o.Points != nil {
		points = newPoints(o.Points)
		points.define(newRegistry())
	}
	running, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	closeShop := serveShop(o.Origin, cmp.Or(r.Script.Path, defaultPath), stop)
	var c crew
	var err error
	if o.Workers > 1 {
		c, err = r.hire(running, &o, points)
	} else {
		c, err = r.alone(&o, points)
	}
	if err != nil {
		_, _ = closeShop()
		return nil, err
	}
	defer c.close()

	out := &Outcome{Began: o.Start, rehearsal: r, Judged: o.Judge}
	cut, failed := c.run(running, func(p []summary.Progress) {
		elapsed := time.Since(o.Start)
		if o.Progress != nil {
			o.Progress(elapsed, p)
		}
		if out.Aborted == nil && r.Script.Thresholds.AnyAbort() {
			if out.Aborted = r.abort(c, elapsed); out.Aborted != nil {
				stop(errAborted)
			}
		}
	})
	out.Shop, err = closeShop()
	if err := errors.Join(failed, err); err != nil {
		return nil, err
	}
	out.Interrupted = cut && out.Aborted == nil && ctx.Err() != nil
	res, err := c.result()
	if err != nil {
		return nil, err
	}
	out.Registry, out.Failures = res.registry, res.failures
	if o.Part != nil {
		if err = r.writePart(o.Part, &o, out, res.logs); err == nil {
			res, err = c.result() // its logs were read
		}
		if err != nil {
			err = fmt.Errorf("write the part: %w", err)
		}
	}
	if points != nil {
		if e := points.flush(); e != nil {
			err = errors.Join(err, fmt.Errorf("write points: %w", e))
		}
	}
	if o.Events != nil && len(res.logs) == 1 {
		res.logs[0] = io.TeeReader(res.logs[0], o.Events)
	}
	if e := out.judge(res.logs); e != nil {
		return nil, e
	}
	return out, err
}

// judge finds the verdict and what becomes of the thresholds.
func (o *Outcome) judge(logs []io.Reader) (err error) {
	if o.Verdict, err = verdict(o.Judged, logs); err != nil {
		return err
	}
	unadmitted := int64(-1)
	if o.Shop != nil {
		unadmitted = o.Shop.Unadmitted
	}
	o.Verdict.Record(o.Registry, unadmitted)
	o.Results = o.rehearsal.Script.Thresholds.Evaluate(o.Registry)
	return nil
}

// abort returns the threshold for which the run is to end, nil when there is none.
func (r *Rehearsal) abort(c crew, elapsed time.Duration) *metric.Result {
	registry, err := c.totals()
	if err != nil {
		return nil // told by the run's end, where everything is merged
	}
	if crossed, ok := r.Script.Thresholds.Abort(registry, elapsed); ok {
		return &crossed
	}
	return nil
}

// alone is a crew of this process.
type alone struct {
	*share
	log    *judge.Log
	events events
	points *points
}

func (r *Rehearsal) alone(o *Options, p *points) (*alone, error) {
	if o.Start.IsZero() {
		o.Start = time.Now()
	}
	events, err := newEvents()
	if err != nil {
		return nil, err
	}
	a := &alone{log: judge.NewLog(events.file), events: events, points: p}
	registry := newRegistry()
	if a.share, err = r.share(registry, a.log, o.Targets, o.executor()); err != nil {
		return nil, errors.Join(err, events.file.Close())
	}
	if p != nil {
		registry.Tap(p.add)
	}
	return a, nil
}

func (o *Options) executor() executor.Options {
	return executor.Options{Segment: o.Segment, Start: o.Start, Seed: o.Seed}
}

func (a *alone) run(ctx context.Context, tell func([]summary.Progress)) (bool, error) {
	cut := a.share.run(ctx, func() { tell(a.progress()) })
	if a.points != nil {
		a.registry.Tap(nil)
	}
	return cut, a.log.Flush()
}

func (a *alone) totals() (*metric.Registry, error) { return a.registry, nil }

func (a *alone) result() (*result, error) {
	log, err := a.events.rewind()
	return &result{a.registry, []io.Reader{log}, a.failures()}, err
}

func (a *alone) close() error { return closeAll([]events{a.events}) }
