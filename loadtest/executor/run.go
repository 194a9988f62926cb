package executor

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

// Options say which part of a scenario runs, and from when.
type Options struct {
	Segment Segment
	Start   time.Time // of the whole run; zero: now
	Seed    uint64
}

// Run runs the segment of a scenario and returns when its last iteration has.
// When ctx ends, so do the iterations' contexts and the run, with the cause as
// its error.
//
// An iteration's context ends when the scenario's time and its gracefulStop are
// over, or for a user that was ramped down, gracefulRampDown after that.
func Run(ctx context.Context, s *Scenario, o Options, it Iteration, in Instruments) error {
	if err := o.Segment.check(); err != nil {
		return fmt.Errorf("executor: segment %+v: %w", o.Segment, err)
	}
	now := time.Now()
	if o.Start.IsZero() {
		o.Start = now
	}
	// A start told by another process has no monotonic clock: give it ours.
	begin := now.Add(o.Start.Sub(now)).Add(s.StartTime)
	r := &runner{s: s, o: o, it: it, in: in, begin: begin, over: begin.Add(s.Length())}
	if r.sleep(ctx, begin); ctx.Err() != nil {
		return context.Cause(ctx)
	}
	bounded, cancel := context.WithDeadline(ctx, r.over.Add(s.GracefulStop))
	defer cancel()
	r.ctx = bounded
	switch s.Kind {
	case ConstantVUs, PerVUIterations, SharedIterations:
		r.loops()
	case RampingVUs:
		r.ramp()
	case ConstantArrivalRate, RampingArrivalRate:
		r.arrivals()
	default:
		panic("BUG: executor: no kind " + s.Kind)
	}
	r.wg.Wait()
	return context.Cause(ctx)
}

type runner struct {
	s     *Scenario
	o     Options
	it    Iteration
	in    Instruments
	begin time.Time
	over  time.Time       // no iteration begins from here on
	ctx   context.Context // ends with gracefulStop
	wg    sync.WaitGroup
	timer *time.Timer
}

// sleep returns at the instant, or earlier when ctx ends. It is for the one
// goroutine that keeps the schedule.
func (r *runner) sleep(ctx context.Context, until time.Time) {
	wait := time.Until(until)
	if wait <= 0 {
		return
	}
	if r.timer == nil {
		r.timer = time.NewTimer(wait)
	} else {
		r.timer.Reset(wait)
	}
	select {
	case <-r.timer.C:
	case <-ctx.Done():
		r.timer.Stop()
	}
}

// do runs one iteration.
func (r *runner) do(ctx context.Context, vu *VU, began, intended time.Time) {
	live := r.in.Live
	live.Begun.Add(1)
	r.it(ctx, vu, intended)
	vu.Iter++
	if ctx.Err() != nil {
		live.Interrupted.Add(1)
		r.in.Interrupted.Add(1)
		return
	}
	live.Done.Add(1)
	r.in.Iterations.Add(1)
	r.in.Duration.Time(time.Since(began))
}

func (r *runner) drop(n int64) {
	if n > 0 {
		r.in.Live.Dropped.Add(n)
		r.in.Dropped.Add(float64(n))
	}
}

// loops runs users that begin an iteration as soon as the one before ended.
func (r *runner) loops() {
	s := r.s
	slots := r.o.Segment.Slots(s.VUs)
	r.in.Live.Ready.Add(int64(len(slots)))
	var shared atomic.Int64 // iterations left for this segment
	for _, slot := range slots {
		// Iteration i belongs to the segment that owns user i modulo their number.
		shared.Add((s.Iterations - slot + s.VUs - 1) / s.VUs)
	}
	next := func(done int64) bool {
		switch s.Kind {
		case PerVUIterations:
			return done < s.Iterations
		case SharedIterations:
			for {
				left := shared.Load()
				if left <= 0 {
					return false
				}
				if shared.CompareAndSwap(left, left-1) {
					return true
				}
			}
		}
		return true
	}
	for _, slot := range slots {
		vu := newVU(s, slot, r.o.Seed)
		r.wg.Go(func() {
			r.in.Live.VUs.Add(1)
			defer r.in.Live.VUs.Add(-1)
			for r.ctx.Err() == nil {
				now := time.Now()
				if !now.Before(r.over) {
					if s.Kind == PerVUIterations {
						r.drop(s.Iterations - vu.Iter)
					}
					return
				}
				if !next(vu.Iter) {
					return
				}
				r.do(r.ctx, vu, now, now)
			}
			if s.Kind == PerVUIterations && !time.Now().Before(r.over) {
				r.drop(s.Iterations - vu.Iter)
			}
		})
	}
	r.wg.Wait()
	if s.Kind == SharedIterations && !time.Now().Before(r.over) {
		r.drop(shared.Load())
	}
}

// arrivals begins iterations when they are due.
func (r *runner) arrivals() {
	slots := r.s.Slots()
	p := &pool{runner: r}
	p.unused = r.o.Segment.Slots(slots)
	for _, slot := range p.unused {
		if slot < r.s.PreAllocatedVUs {
			p.ready++
		}
	}
	r.in.Live.Ready.Add(p.ready)
	due := NewArrivals(r.s)
	for i := range due.Total() {
		// As with loops: a segment without users has no arrivals either.
		if !r.o.Segment.Owns(i % slots) {
			continue
		}
		intended := r.begin.Add(due.At(i))
		if r.sleep(r.ctx, intended); r.ctx.Err() != nil {
			return
		}
		vu := p.take()
		if vu == nil {
			r.drop(1)
			continue
		}
		r.in.Live.VUs.Add(1)
		r.wg.Go(func() {
			began := time.Now()
			r.in.Lateness.Time(max(0, began.Sub(intended)))
			r.do(r.ctx, vu, began, intended)
			r.in.Live.VUs.Add(-1)
			p.put(vu)
		})
	}
}

// pool holds the users that wait for an iteration. A new one costs next to
// nothing here, so nothing is dropped while it is made.
type pool struct {
	*runner
	mu     sync.Mutex
	idle   []*VU
	unused []int64 // slots of users who do not exist yet
	made   int64
	ready  int64
}

// take returns a user, nil when all are busy.
func (p *pool) take() *VU {
	p.mu.Lock()
	defer p.mu.Unlock()
	if n := len(p.idle); n > 0 {
		vu := p.idle[n-1]
		p.idle = p.idle[:n-1]
		return vu
	}
	if len(p.unused) == 0 {
		return nil
	}
	slot := p.unused[0]
	p.unused = p.unused[1:]
	if p.made++; p.made > p.ready {
		p.ready++
		p.in.Live.Ready.Add(1)
	}
	return newVU(p.s, slot, p.o.Seed)
}

func (p *pool) put(vu *VU) {
	p.mu.Lock()
	p.idle = append(p.idle, vu)
	p.mu.Unlock()
}

// ramp lets users come and go.
func (r *runner) ramp() {
	loopers := map[int64]*looper{}
	for step := range Ramp(r.s) {
		if !r.o.Segment.Owns(step.Slot) {
			continue
		}
		if r.sleep(r.ctx, r.begin.Add(step.At)); r.ctx.Err() != nil {
			return
		}
		l := loopers[step.Slot]
		if l == nil {
			l = &looper{runner: r, vu: newVU(r.s, step.Slot, r.o.Seed)}
			loopers[step.Slot] = l
			r.in.Live.Ready.Add(1)
		}
		if step.Up {
			l.up()
		} else {
			l.down()
		}
	}
}

// looper is a user who may be ramped down, and up again before the iteration
// under way has ended.
type looper struct {
	*runner
	vu *VU

	mu      sync.Mutex
	wanted  bool
	running bool
	cancel  context.CancelFunc // of the iteration under way
	timer   *time.Timer        // until which it may go on although not wanted
}

func (l *looper) up() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.wanted = true
	if l.timer != nil {
		l.timer.Stop()
	}
	if !l.running {
		l.running = true
		l.in.Live.VUs.Add(1)
		l.wg.Go(l.loop)
	}
}

func (l *looper) down() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.wanted = false
	if !l.running {
		return
	}
	if l.s.GracefulRampDown <= 0 {
		l.stop()
		return
	}
	l.timer = time.AfterFunc(l.s.GracefulRampDown, func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		if !l.wanted {
			l.stop()
		}
	})
}

func (l *looper) stop() {
	if l.cancel != nil {
		l.cancel()
	}
}

func (l *looper) loop() {
	for {
		l.mu.Lock()
		now := time.Now()
		if !l.wanted || l.ctx.Err() != nil || !now.Before(l.over) {
			l.running, l.cancel = false, nil
			if l.timer != nil {
				l.timer.Stop()
			}
			l.in.Live.VUs.Add(-1)
			l.mu.Unlock()
			return
		}
		ctx, cancel := context.WithCancel(l.ctx)
		l.cancel = cancel
		l.mu.Unlock()
		l.do(ctx, l.vu, now, now)
		cancel()
	}
}
