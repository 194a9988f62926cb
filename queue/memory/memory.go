// Package memory keeps lines in the memory of one gate. They end with the
// process: their tickets do not, so visitors who come back to a restarted gate
// that has the same secret are put back at their places.
package memory

import (
	"context"
	"maps"
	"sync"
	"time"

	"github.com/sluicegate/sluice/queue"
)

// Options of a store. The zero value is right for a gate.
type Options struct {
	// Now is the clock; tests move it. nil: the monotonic clock of the machine.
	Now func() time.Time
}

// Store implements queue.Store. An operation holds the room's lock from its first
// look to its last change: that is the atomic step of the contract.
type Store struct {
	now   func() time.Time
	mu    sync.Mutex
	rooms map[string]*room
}

// New returns an empty store.
func New(o Options) *Store {
	if o.Now == nil {
		start := time.Now()
		o.Now = func() time.Time { return start.Add(time.Since(start)) }
	}
	return &Store{now: o.Now, rooms: make(map[string]*room)}
}

// Close does nothing: there is nothing to give back.
func (s *Store) Close() error { return nil }

// lock returns the room, made when it is new, with its lock held.
func (s *Store) lock(name string) *room {
	s.mu.Lock()
	r, ok := s.rooms[name]
	if !ok {
		r = newRoom()
		s.rooms[name] = r
	}
	s.mu.Unlock()
	r.mu.Lock()
	return r
}

// Enter implements queue.Store.
func (s *Store) Enter(ctx context.Context, c *queue.Call, in []queue.Arrival, out []queue.Standing) ([]queue.Standing, queue.Moment, error) {
	if err := ctx.Err(); err != nil {
		return out, queue.Moment{}, unavailable("enter", c.Room, err)
	}
	r := s.lock(c.Room)
	defer r.mu.Unlock()
	fresh := r.begin(s.now(), c)
	for i := range in {
		out = append(out, r.enter(c, &in[i], fresh))
	}
	return out, r.moment(), nil
}

// Renew implements queue.Store.
func (s *Store) Renew(ctx context.Context, c *queue.Call, in []queue.Visit, out []queue.Renewal) ([]queue.Renewal, queue.Moment, error) {
	if err := ctx.Err(); err != nil {
		return out, queue.Moment{}, unavailable("renew", c.Room, err)
	}
	r := s.lock(c.Room)
	defer r.mu.Unlock()
	if r.begin(s.now(), c) {
		r.settleMost(c.Settings)
	}
	for i := range in {
		out = append(out, r.renew(c, &in[i]))
	}
	return out, r.moment(), nil
}

// Leave implements queue.Store.
func (s *Store) Leave(ctx context.Context, c *queue.Call, in []queue.Departure, out []queue.Departed) ([]queue.Departed, queue.Moment, error) {
	if err := ctx.Err(); err != nil {
		return out, queue.Moment{}, unavailable("leave", c.Room, err)
	}
	r := s.lock(c.Room)
	defer r.mu.Unlock()
	r.begin(s.now(), c)
	for i := range in {
		out = append(out, r.leave(c, &in[i]))
	}
	return out, r.moment(), nil
}

// Tick implements queue.Store.
func (s *Store) Tick(ctx context.Context, c *queue.Call) (queue.Snapshot, error) {
	if err := ctx.Err(); err != nil {
		return queue.Snapshot{}, unavailable("tick", c.Room, err)
	}
	r := s.lock(c.Room)
	defer r.mu.Unlock()
	fresh := r.begin(s.now(), c)
	return r.tick(c, fresh), nil
}

// Overrides implements queue.Store.
func (s *Store) Overrides(ctx context.Context, name string) (queue.Overrides, error) {
	if err := ctx.Err(); err != nil {
		return queue.Overrides{}, unavailable("overrides of", name, err)
	}
	r := s.lock(name)
	defer r.mu.Unlock()
	return copied(r.overrides), nil
}

// Override implements queue.Store.
func (s *Store) Override(ctx context.Context, name string, o queue.Overrides) error {
	if err := ctx.Err(); err != nil {
		return unavailable("override", name, err)
	}
	r := s.lock(name)
	defer r.mu.Unlock()
	if o.Version != r.overrides.Version+1 {
		return queue.ErrConflict
	}
	r.overrides = copied(o)
	return nil
}

// copied returns overrides that share nothing that a caller may change.
func copied(o queue.Overrides) queue.Overrides {
	o.Keys = maps.Clone(o.Keys)
	return o
}
