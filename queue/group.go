package queue

import (
	"context"
	"slices"
	"sync"
	"time"
)

const (
	groupWait = time.Millisecond
	// groupSize is how many need not wait for more to come.
	groupSize = 256
	// groupMost is how many one call takes when they piled up: on a machine with more
	// to do than it can, each round trip takes long, and few a call would be a limit
	// of its own. The store is busy with so many for some milliseconds.
	groupMost = 2048
)

// group gathers single items for about a millisecond, and for as long as the call
// before is under way, and sends them as one batch.
type group[In, Out any] struct {
	send  func(in []In, out []Out) ([]Out, error)
	order func(a, b In) int // of the items in a batch; nil: as they asked

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
		g.signal()
	}
	<-a.done
	out, err := a.out, a.err
	g.pool.Put(a)
	return out, err
}

// run sends batches until ctx ends. Whoever asks from then on is refused; whoever
// asked before is answered.
func (g *group[In, Out]) run(ctx context.Context) {
	defer context.AfterFunc(ctx, g.stop)()
	var in []In
	var out []Out
	for g.wait() {
		in, out = g.flush(in[:0], out[:0])
	}
}

// flush sends the next batch. In and out are what it may use for that, and are given
// back.
func (g *group[In, Out]) flush(in []In, out []Out) ([]In, []Out) {
	batch := g.take()
	if g.order != nil {
		slices.SortStableFunc(batch, func(a, b *asked[In, Out]) int { return g.order(a.in, b.in) })
	}
	for _, a := range batch {
		in = append(in, a.in)
	}
	out, err := g.send(in, out)
	for i, a := range batch {
		a.err = err
		if err == nil {
			a.out = out[i]
		}
		a.done <- struct{}{}
	}
	return in, out
}

// stop has everybody refused who asks from now on.
func (g *group[In, Out]) stop() {
	g.mu.Lock()
	g.stopped = true
	g.mu.Unlock()
	g.signal()
}

// signal says that there is something to look at.
func (g *group[In, Out]) signal() {
	select {
	case g.ready <- struct{}{}:
	default:
	}
}

// state returns how many wait to be sent, and whether nobody will come any more.
func (g *group[In, Out]) state() (n int, stopped bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return len(g.pending), g.stopped
}

// wait returns when a batch should be sent, or false when the group has ended.
func (g *group[In, Out]) wait() bool {
	n, stopped := g.state()
	for n == 0 {
		if stopped {
			return false
		}
		<-g.ready
		n, stopped = g.state()
	}
	if n >= groupSize || stopped {
		return true
	}
	gathered := newAlarm(groupWait)
	defer gathered.stop()
	for {
		select {
		case <-gathered.rings:
			return true
		case <-g.ready:
			if n, stopped = g.state(); n >= groupSize || stopped {
				return true
			}
		}
	}
}

// take removes the next batch.
func (g *group[In, Out]) take() []*asked[In, Out] {
	g.mu.Lock()
	defer g.mu.Unlock()
	n := min(len(g.pending), groupMost)
	batch := g.pending[:n:n]
	g.pending = g.pending[n:]
	return batch
}
