// Package crowd fills a room with visitors who poll as they are asked to, for
// measurements of what a line costs its store.
//
// A filled room looks as if its visitors had waited for long: they poll in no order
// of place, evenly spread over time, and each counts as present until somewhat after
// the next poll. Nobody is called.
package crowd

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/sluicegate/sluice/queue"
)

const (
	// MarkBatch is how many presence marks a gate sends at once, JoinBatch how many
	// newcomers: see queue.Line.
	MarkBatch = 2000
	JoinBatch = 256
	// perSecond is the rate that everybody in a room goes by who expects a turn.
	perSecond = 10
)

// Room is a filled room. Its methods are for one goroutine.
type Room struct {
	Store queue.Store
	Call  queue.Call
	every time.Duration // between two polls of one visitor
	line  []queue.Arrival
	turns []time.Duration // when each expects to be called
	next  int             // who polls next, and
	at    queue.Time      // when
	place queue.Time      // of who comes now
	out   []queue.Standing
}

// Fill puts n visitors in the line of a new room. Room time is moved past the time
// that it takes.
func Fill(ctx context.Context, store queue.Store, name string, n int) (*Room, error) {
	s := queue.Defaults()
	s.Rate = queue.Rate{N: perSecond, Per: queue.PerSecond}
	s.Mode = queue.ModeHold
	s = s.Fit()
	r := &Room{Store: store, Call: queue.Call{Room: name, Settings: &s}, line: make([]queue.Arrival, n), turns: make([]time.Duration, n)}
	if err := r.Tick(ctx, nil); err != nil {
		return nil, err
	}
	begin := r.Call.Told.Add(time.Duration(n)*100*time.Microsecond + time.Second)
	r.every = queue.PollAfter(0, int64(n), &s, 0.5)

	// The store last looked after each when their deadline of then was over; they
	// have polled since.
	for from := 0; from < n; from += JoinBatch {
		batch := r.line[from:min(from+JoinBatch, n)]
		turn := time.Duration(from) * time.Second / perSecond
		some := begin.Add(time.Duration(rand.Int64N(int64(queue.MarkUntil(0, r.every, turn))+1)) * time.Microsecond)
		for i := range batch {
			seen := some.Add(rand.N(4 * time.Second))
			batch[i] = queue.Arrival{
				ID: queue.ID(rand.Uint64()), Place: r.Call.Told + queue.Time(i), Deadline: seen, Newcomer: true, Join: true,
			}
		}
		if err := r.send(ctx, batch); err != nil {
			return nil, err
		}
		for i := range batch {
			batch[i].Place, batch[i].Newcomer, batch[i].Join = r.out[i].Place, false, false
		}
	}
	for r.Call.Told < begin {
		// In steps: a gate that was told of much later is one whose store has forgotten.
		r.Call.Told = min(begin, r.Call.Told.Add(queue.MaxStep/2))
		if err := r.Tick(ctx, nil); err != nil {
			return nil, err
		}
	}
	r.at = begin
	for i := range r.turns {
		r.turns[i] = time.Duration(i+1) * time.Second / perSecond
	}
	rand.Shuffle(n, func(i, j int) {
		r.line[i], r.line[j] = r.line[j], r.line[i]
		r.turns[i], r.turns[j] = r.turns[j], r.turns[i]
	})
	for i := range r.line {
		polled := begin.Add(-r.every + r.gap(i))
		a := &r.line[i]
		if a.Deadline = queue.MarkUntil(polled, r.every, r.turns[i]); a.Deadline > queue.PresentUntil(polled, r.every) && i%2 == 0 {
			a.Deadline = a.Deadline.Add(-r.every) // marked by the poll before
		}
	}
	for from := 0; from < n; from += MarkBatch {
		if err := r.send(ctx, r.line[from:min(from+MarkBatch, n)]); err != nil {
			return nil, err
		}
	}
	return r, nil
}

// Gate returns the same room seen by another gate, for newcomers: the line stays as
// it was filled.
func (r *Room) Gate() *Room {
	other := *r
	other.out = nil
	return &other
}

// gap is the time in which so many polls come.
func (r *Room) gap(polls int) time.Duration {
	return time.Duration(float64(r.every) * float64(polls) / float64(len(r.line)))
}

// after is when a visitor is to poll again.
func (r *Room) after() time.Duration {
	return queue.PollAfter(0, int64(len(r.line)), r.Call.Settings, rand.Float64())
}

// Waiting is how many there are.
func (r *Room) Waiting() int { return len(r.line) }

// PollsPerSecond is how many of them poll in a second.
func (r *Room) PollsPerSecond() float64 { return float64(len(r.line)) / r.every.Seconds() }

// Somebody returns the id and place of one in the line.
func (r *Room) Somebody() (queue.ID, queue.Time) {
	a := &r.line[rand.IntN(len(r.line))]
	return a.ID, a.Place
}

// Marks returns what a gate tells the store of the next n polls.
func (r *Room) Marks(polls int) []queue.Arrival {
	marks := make([]queue.Arrival, 0, polls)
	for i := range polls {
		a, turn := &r.line[r.next], r.turns[r.next]
		at, after := r.at.Add(r.gap(i)), r.after()
		if !queue.Covers(a.Deadline, at, after) {
			a.Deadline = queue.MarkUntil(at, after, turn)
			marks = append(marks, *a)
		}
		r.next = (r.next + 1) % len(r.line)
	}
	r.at = r.at.Add(r.gap(polls))
	return marks
}

// Due is how many have polled by an instant that Marks was not asked for yet.
func (r *Room) Due(now queue.Time) int {
	return max(0, int(now.Sub(r.at).Seconds()*r.PollsPerSecond()))
}

// Newcomers returns n visitors who asked for the first time, a moment ago.
func (r *Room) Newcomers(n int) []queue.Arrival {
	in := make([]queue.Arrival, n)
	for i := range in {
		in[i] = queue.Arrival{
			ID: queue.ID(rand.Uint64()), Place: r.place - queue.Time(n-i), Deadline: queue.PresentUntil(r.Call.Told, r.after()),
			Newcomer: true, Join: true, Claim: true,
		}
	}
	return in
}

// Enter sends visitors in batches.
func (r *Room) Enter(ctx context.Context, in []queue.Arrival, batch int) error {
	for from := 0; from < len(in); from += batch {
		if err := r.send(ctx, in[from:min(from+batch, len(in))]); err != nil {
			return err
		}
	}
	return nil
}

func (r *Room) send(ctx context.Context, in []queue.Arrival) error {
	out, m, err := r.Store.Enter(ctx, &r.Call, in, r.out[:0])
	r.out = out
	if err != nil {
		return err
	}
	for i := range out {
		if out[i].State != queue.Waiting {
			return fmt.Errorf("a visitor who waits is told %+v", out[i])
		}
	}
	r.hear(m)
	return nil
}

// Leave sends visitors away again.
func (r *Room) Leave(ctx context.Context, in []queue.Arrival) error {
	for from := 0; from < len(in); from += JoinBatch {
		var gone []queue.Departure
		for _, a := range in[from:min(from+JoinBatch, len(in))] {
			gone = append(gone, queue.Departure{ID: a.ID, Place: a.Place})
		}
		if _, _, err := r.Store.Leave(ctx, &r.Call, gone, nil); err != nil {
			return err
		}
	}
	return nil
}

// Tick ticks until the store has nothing more to do. It fails when somebody went
// absent.
func (r *Room) Tick(ctx context.Context, s *queue.Snapshot) error {
	var ticked queue.Snapshot
	if s == nil {
		s = &ticked
	}
	for s.More = true; s.More; {
		var err error
		if *s, err = r.Store.Tick(ctx, &r.Call); err != nil {
			return err
		}
		if s.Away > 0 {
			return fmt.Errorf("%d visitors who polled in time are absent", s.Away)
		}
		r.hear(s.Moment)
	}
	return nil
}

func (r *Room) hear(m queue.Moment) {
	r.Call.Told, r.Call.Generation, r.place = max(r.Call.Told, m.Time), m.Generation, m.Place
}
