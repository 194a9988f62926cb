package redis_test

import (
	"context"
	"testing"
	"time"

	"github.com/sluicegate/sluice/queue"
	"github.com/sluicegate/sluice/queue/redis"
)

// room is one as a gate sees it that asks its store without a pause for thought.
type room struct {
	t    *testing.T
	call queue.Call
	set  *queue.Settings
	*redis.Store
}

// newRoom is a room without a rate; change may set more.
func newRoom(t *testing.T, store *redis.Store, change func(*queue.Settings)) *room {
	t.Cleanup(func() { _ = store.Close() })
	s := queue.Defaults()
	s.Rate = queue.NoRate
	if change != nil {
		change(&s)
	}
	return &room{t: t, set: &s, Store: store, call: queue.Call{Room: "drop", Settings: &s, Hold: 10 * time.Second}}
}

// heard takes what the store tells about itself.
func (r *room) heard(m queue.Moment) {
	r.call.Told, r.call.Generation = max(r.call.Told, m.Time), m.Generation
}

// tick ticks as soon as the store answers.
func (r *room) tick() queue.Snapshot {
	r.t.Helper()
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		s, err := r.Tick(r.t.Context(), &r.call)
		if err == nil {
			r.heard(s.Moment)
			r.call.Called, r.call.Active = s.Called, s.Active
			return s
		}
		if time.Now().After(end) {
			r.t.Fatal(err)
		}
	}
}

// enter has one visitor ask, who stays for an hour unless they say otherwise.
func (r *room) enter(a queue.Arrival) queue.Standing {
	r.t.Helper()
	if a.Deadline == 0 {
		a.Deadline = r.call.Told.Add(time.Hour)
	}
	out, m, err := r.Enter(context.Background(), &r.call, []queue.Arrival{a}, nil)
	if err != nil {
		r.t.Fatal(err)
	}
	r.heard(m)
	return out[0]
}

// join is the first request of a visitor.
func (r *room) join(id queue.ID) queue.Standing {
	r.t.Helper()
	return r.enter(queue.Arrival{ID: id, Place: r.call.Told, Newcomer: true, Join: true, Claim: true})
}

// poll is a later one.
func (r *room) poll(id queue.ID, place queue.Time) queue.Standing {
	r.t.Helper()
	return r.enter(queue.Arrival{ID: id, Place: place, Claim: true})
}
