package main

import (
	"context"
	"runtime"
	"time"
	"unsafe"

	"github.com/sluicegate/sluice/queue"
	"github.com/sluicegate/sluice/queue/queuetest/cost/crowd"
)

const (
	rounds    = 5
	markBatch = crowd.MarkBatch
	joinBatch = crowd.JoinBatch

	marksARound = 50_000
	joinsARound = 10 * joinBatch
	ticksARound = 12 // three seconds of room time: nobody becomes absent in that
	againARound = 100
	pollsARound = 20_000
)

// measured is a store whose costs can be read.
type measured struct {
	store  func() queue.Store      // another client of the same store
	cpu    func() (float64, error) // seconds of processor time so far
	memory func() (float64, error) // bytes in use
	sent   func() (float64, error) // bytes of answers so far; nil: none are sent
	ownRAM bool                    // the crowd lies in the same memory
	idle   float64                 // what asking for the processor time costs
}

// spent is the processor time that something costs the store.
func (m *measured) spent(do func() error) (float64, error) {
	before, err := m.cpu()
	if err != nil {
		return 0, err
	}
	if err := do(); err != nil {
		return 0, err
	}
	after, err := m.cpu()
	return max(0, after-before-m.idle), err
}

// room measures one with n visitors.
func (m *measured) room(ctx context.Context, n int, c *config, say func(string)) (f figures, err error) {
	store := m.store()
	defer store.Close()
	if m.idle, err = median(ctx, func() (float64, error) { return m.spent(func() error { return nil }) }); err != nil {
		return f, err
	}
	say("filling")
	before, err := m.memory()
	if err != nil {
		return f, err
	}
	r, err := crowd.Fill(ctx, store, "cost", n)
	if err != nil {
		return f, err
	}
	after, err := m.memory()
	if err != nil {
		return f, err
	}
	if m.ownRAM {
		after -= float64(n) * float64(unsafe.Sizeof(queue.Arrival{})+unsafe.Sizeof(time.Duration(0)))
	}
	f.bytes = (after - before) / float64(n)
	f.polls = r.PollsPerSecond()

	say("marks")
	polls, told := 0, 0
	cost, err := median(ctx, func() (cost float64, err error) {
		marks := 0
		for marks < marksARound && err == nil {
			in := r.Marks(min(marksARound, n)) // not measured: a gate has them
			var more float64
			more, err = m.spent(func() error { return r.Enter(ctx, in, markBatch) })
			marks += len(in)
			polls += min(marksARound, n)
			cost += more
		}
		told += marks
		return cost / float64(marks), err
	})
	if err != nil {
		return f, err
	}
	f.mark, f.marks = duration(cost), f.polls*float64(told)/float64(polls)

	say("ticks")
	if cost, err = median(ctx, func() (float64, error) {
		if err := catchUp(ctx, r); err != nil {
			return 0, err
		}
		cost, err := m.spent(func() error {
			for range ticksARound {
				r.Call.Told = r.Call.Told.Add(time.Second / ticksPerSecond)
				if err := r.Tick(ctx, nil); err != nil {
					return err
				}
			}
			return nil
		})
		return cost / ticksARound, err
	}); err != nil {
		return f, err
	}
	f.tick = duration(cost)
	var s queue.Snapshot
	if cost, err = median(ctx, func() (float64, error) {
		cost, err := m.spent(func() error {
			for range againARound {
				if err := r.Tick(ctx, &s); err != nil {
					return err
				}
			}
			return nil
		})
		return cost / againARound, err
	}); err != nil {
		return f, err
	}
	f.tickAgain = duration(cost)
	f.rungs = len(s.Ladder.Places)
	if m.sent != nil {
		if f.snapshot, err = m.answer(ctx, r); err != nil {
			return f, err
		}
	}

	say("newcomers")
	if cost, err = median(ctx, func() (float64, error) {
		in := r.Newcomers(joinsARound)
		cost, err := m.spent(func() error { return r.Enter(ctx, in, joinBatch) })
		if err == nil {
			err = r.Leave(ctx, in)
		}
		return cost / joinsARound, err
	}); err != nil {
		return f, err
	}
	f.newcomer = duration(cost)

	say("polls")
	if err = poll(ctx, m, r, &f); err != nil {
		return f, err
	}
	if m.sent != nil && n >= budgetAt && c.paced > 0 {
		say("marks and ticks at their pace")
		err = pace(ctx, m, r, c, &f)
	}
	return f, err
}

// catchUp has everything done that is due.
func catchUp(ctx context.Context, r *crowd.Room) error {
	for range 3 { // time goes on meanwhile
		if err := r.Enter(ctx, r.Marks(r.Due(r.Call.Told)), markBatch); err != nil {
			return err
		}
		if err := r.Tick(ctx, nil); err != nil {
			return err
		}
	}
	return nil
}

// answer is the size of what a tick sends, in bytes.
func (m *measured) answer(ctx context.Context, r *crowd.Room) (int, error) {
	read := func(ticks int) (float64, error) {
		before, err := m.sent()
		if err != nil {
			return 0, err
		}
		for range ticks {
			if err := r.Tick(ctx, nil); err != nil {
				return 0, err
			}
		}
		after, err := m.sent()
		return after - before, err
	}
	none, err := read(0)
	if err != nil {
		return 0, err
	}
	some, err := read(10)
	return int(some-none) / 10, err
}

// poll measures polls of a visitor far back. They are answered by a gate that has
// heard the store a moment ago; what it does in the background is not measured.
func poll(ctx context.Context, m *measured, r *crowd.Room, f *figures) error {
	id, place := r.Somebody()
	var took, allocations []float64
	for range rounds {
		line := queue.NewLine(queue.LineConfig{Room: r.Call.Room, Settings: *r.Call.Settings, Store: m.store()})
		running, stop := context.WithCancel(ctx)
		done := make(chan struct{})
		go func() { defer close(done); _ = line.Run(running) }()
		for line.Waiting() == 0 && ctx.Err() == nil {
			time.Sleep(time.Millisecond)
		}
		stop()
		<-done
		if err := ctx.Err(); err != nil {
			return err
		}
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		began := time.Now()
		for range pollsARound {
			if a := line.Poll(id, place, false, nil); a.Position == 0 {
				return errNoPosition
			}
		}
		took = append(took, time.Since(began).Seconds()/pollsARound)
		runtime.ReadMemStats(&after)
		allocations = append(allocations, float64(after.Mallocs-before.Mallocs)/pollsARound)
	}
	f.poll, f.pollAllocs = duration(middle(took)), middle(allocations)
	return nil
}
