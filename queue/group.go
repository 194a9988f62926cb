package queue

import (
	"context"
	"sync"
	"time"
)

const (
	groupWait = time.Millisecond
	groupSize = 256
)

// group gathers single items for about a millisecond, and for as long as the call
// before is under way, and sends them as one batch.
type group[In, Out any] struct {
	send func(in []In, out []Out) ([]Out, error)

	mu      sync.Mutex
	pending []*asked[In, Out]
	stopped bool
	ready   chan struct{}
	pool    sync.Pool
}

// asked is one item under way.
type asked[In, Out any] struct {
	in   In
	out  Out
	err  error
	done chan struct{}
}

func (g *group[In, Out]) init(send func([]In, []Out) ([]Out, error)) {
	g.send = send
	g.ready = make(chan struct{}, 1)
	g.pool.New = func() any { return &asked[In, Out]{done: make(chan struct{}, 1)} }
}

// ask sends one item with the next batch and waits for its answer.
func (g *group[In, Out]) ask(in In) (Out, error) {
	a := g.pool.Get().(*asked[In, Out])
	a.in = in
	g.mu.Lock()
	if g.stopped {
		g.mu.Unlock()
		var zero Out
		return zero, ErrUnavailable
	}
	g.pending = append(g.pending, a)
	first := len(g.pending) == 1
	full := len(g.pending) == groupSize
	g.mu.Unlock()
	if first || full {
		select {
		case g.ready <- struct{}{}:
		default:
		}
	}
	<-a.done
	out, err := a.out, a.err
	g.pool.Put(a)
	return out, err
}

// run sends batches until ctx ends and nobody waits for an answer.
func (g *group[In, Out]) run(ctx context.Context) {
	var in []In
	var out []Out
	for g.wait(ctx) {
		batch := g.take()
		if len(batch) == 0 {
			continue
		}
		in, out = in[:0], out[:0]
		for _, a := range batch {
			in = append(in, a.in)
		}
		var err error
		out, err = g.send(in, out)
		for i, a := range batch {
			a.err = err
			if err == nil {
				a.out = out[i]
			}
			a.done <- struct{}{}
		}
	}
}

// wait returns when a batch should be sent, or false when the group has ended.
func (g *group[In, Out]) wait(ctx context.Context) bool {
	g.mu.Lock()
	n := len(g.pending)
	g.mu.Unlock()
	if n == 0 {
		select {
		case <-g.ready:
		case <-ctx.Done():
			g.mu.Lock()
			defer g.mu.Unlock()
			g.stopped = len(g.pending) == 0
			return !g.stopped
		}
	}
	if n < groupSize {
		timer := time.NewTimer(groupWait)
		defer timer.Stop()
		for {
			select {
			case <-timer.C:
				return true
			case <-g.ready:
				g.mu.Lock()
				n = len(g.pending)
				g.mu.Unlock()
				if n >= groupSize {
					return true
				}
			}
		}
	}
	return true
}

// take removes the next batch.
func (g *group[In, Out]) take() []*asked[In, Out] {
	g.mu.Lock()
	defer g.mu.Unlock()
	n := min(len(g.pending), groupSize)
	batch := g.pending[:n:n]
	g.pending = g.pending[n:]
	return batch
}
