package memory

import (
	"cmp"
	"maps"
	"slices"
	"time"

	"github.com/sluicegate/sluice/queue"
)

// What tests of the protocol do to a store beyond its contract: they keep a copy to
// bring back later, take away a part, and look.

// Copy returns a store of its own that knows what s knows, by another clock.
func (s *Store) Copy(now func() time.Time) *Store {
	c := New(Options{Now: now})
	s.mu.Lock()
	defer s.mu.Unlock()
	for name, r := range s.rooms {
		r.mu.Lock()
		c.rooms[name] = r.copy()
		r.mu.Unlock()
	}
	return c
}

func (r *room) copy() *room {
	c := newRoom()
	c.started, c.time, c.before, c.placed, c.born = r.started, r.time, r.before, r.placed, r.born
	c.wall, c.generation = r.wall, r.generation
	c.count, c.credit, c.calls, c.front, c.last = r.count, r.credit, r.calls, r.front, r.last
	c.most = r.most
	c.ladder, c.ladderAt, c.overrides = r.ladder, r.ladderAt, copied(r.overrides)
	c.agenda.items, c.leftOrder.items = slices.Clone(r.agenda.items), slices.Clone(r.leftOrder.items)
	c.left = maps.Clone(r.left)
	for id, v := range r.visitors {
		same := *v
		c.visitors[id] = &same
		switch v.state {
		case waiting:
			c.line.Set(&same)
		case away:
			c.absent.Set(&same)
		}
	}
	for minute, u := range r.used {
		c.used[minute] = &usedUp{ids: maps.Clone(u.ids), until: u.until}
	}
	if r.loss != nil {
		same := *r.loss
		c.loss = &same
	}
	return c
}

// Lose has a room find at the beginning of a call that something was lost: its line,
// those waiting, or its slots, those called and active, as a store does where keys can
// be lost; or neither of them, as one that was started anew from an older copy.
func (s *Store) Lose(c *queue.Call, line, slots bool) {
	r := s.lock(c.Room)
	defer r.mu.Unlock()
	generation := r.generation
	r.begin(s.now(), c)
	found := queue.FoundRestarted
	if line || slots {
		found = queue.FoundParts
	} else if r.generation != generation {
		return // it has been found already, as one that is behind
	}
	for _, v := range r.visitors {
		if line && v.state == waiting || slots && v.state >= called {
			r.remove(v)
		}
	}
	r.lose(c, found)
	if line {
		r.loss.barrier, r.front = 0, 0
	}
}

// Visitor is somebody whom a store knows.
type Visitor struct {
	ID       queue.ID
	State    string // waiting, away, called, active
	Place    queue.Time
	Since    queue.Time // when called
	Deadline queue.Time // when the state is over
}

// Visitors appends those of a room, by id.
func (s *Store) Visitors(name string, out []Visitor) []Visitor {
	r := s.lock(name)
	defer r.mu.Unlock()
	for _, v := range r.visitors {
		out = append(out, Visitor{v.id, [...]string{"waiting", "away", "called", "active"}[v.state], v.place, v.since, v.deadline})
	}
	slices.SortFunc(out, func(a, b Visitor) int { return cmp.Compare(a.ID, b.ID) })
	return out
}

// Moment returns that of the latest call.
func (s *Store) Moment(name string) queue.Moment {
	r := s.lock(name)
	defer r.mu.Unlock()
	return r.moment()
}

// Note tells all that a room knows, in the same order for the same knowledge: instants,
// places, of which only the order matters, and other numbers.
func (s *Store) Note(name string, instant, place func(queue.Time), number func(int64)) {
	r := s.lock(name)
	defer r.mu.Unlock()
	if !r.started {
		return
	}
	instant(r.time)
	instant(r.before)
	instant(queue.Time(r.wall))
	place(r.placed)
	place(r.born)
	number(int64(r.generation))
	ids := slices.Sorted(maps.Keys(r.visitors))
	for _, id := range ids {
		v := r.visitors[id]
		number(int64(id))
		number(int64(v.state))
		if v.heard {
			number(1)
		}
		place(v.place)
		instant(v.since)
		instant(v.deadline)
		instant(v.due)
	}
	for _, minute := range slices.Sorted(maps.Keys(r.used)) {
		instant(r.used[minute].until)
		for _, id := range slices.Sorted(maps.Keys(r.used[minute].ids)) {
			number(int64(id))
		}
	}
	for _, id := range slices.Sorted(maps.Keys(r.left)) {
		number(int64(id))
		instant(r.left[id])
	}
	if r.credit.PerHour > 0 {
		number(r.credit.Units)
		instant(queue.Time(r.credit.At * 1000))
	}
	number(r.most)
	place(r.front)
	place(r.last)
	place(r.ladder.Last)
	for _, p := range r.ladder.Places {
		place(p)
	}
	instant(r.ladderAt)
	if l := r.loss; l != nil {
		for _, n := range []int64{int64(l.Found), l.Waiting, l.Slots, l.active, l.called, l.seated} {
			number(n)
		}
		instant(l.Born)
		instant(l.until)
		instant(l.held)
		instant(l.before)
		place(l.barrier)
		if l.blank {
			number(1)
			place(l.since)
		}
	}
}
