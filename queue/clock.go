package queue

import (
	"sync"
	"sync/atomic"
	"time"
)

// MaxStep is how far room time moves at most between two calls of a store: rooms are
// ticked at least once a second, so what takes longer is an outage, or a clock that
// jumped. It is less than what is left of anybody's deadline who polls when asked to
// (presenceGrace, and half of the interval). So after an outage nobody is absent
// before every gate, which tries again at least once a second, has said whom it saw.
const MaxStep = 2 * time.Second

const (
	// maxAhead is how far a gate takes room time to have gone since it last heard of
	// it. Nothing ages further while the store is away.
	maxAhead = MaxStep - 500*time.Millisecond
	// maxWrong is how far the clock of a machine may be ahead of what tokens tell and still
	// be believed: they are as old as an outage, or as a ticket may get.
	maxWrong = time.Hour
)

// roomClock is a gate's estimate of room time: what it was last told, carried on
// by its own monotonic clock. It is never ahead of the store by more than the two
// clocks drift while an answer is awaited or under way, since an answer tells of an
// instant already past.
//
// Places are by a clock of their own, place time, which gates are told with room time
// and which does not stand: over an outage each of them carries it on, and all give
// places as if they heard the store. Each call tells the store how far it is; so it goes
// on also where the store had forgotten it, or a clock was set.
type roomClock struct {
	now func() time.Time // monotonic

	known atomic.Pointer[heard] // read by every request; nil: nothing
	mu    sync.Mutex            // of whoever changes it
	last  atomic.Int64          // latest place given
}

// heard is what a roomClock knows of room time. It does not change.
type heard struct {
	told  Time      // highest that the store is known to have reached
	stamp Time      // highest stamp of a token
	at    time.Time // when the store last told one; zero: never
	base  Time      // the estimate for at
	last  Time      // highest that the store told

	generation uint32 // of the store, the newest in a token

	place  Time      // place time, at placed
	placed time.Time // zero: neither the store nor a token told of it
}

// hear takes what the store answered to a call that began at sent.
func (c *roomClock) hear(m Moment, sent time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := c.now()
	h := c.heard()
	if h.at.IsZero() {
		c.last.Store(0) // the places so far were by the machine's clock, which may be hours ahead
	}
	// What the gate reckoned is nearer than an answer that was under way for long, or
	// was overtaken by another.
	h.place, h.placed = max(m.Place, h.placeAt(now)), now
	h.told, h.last = max(h.told, m.Time), max(h.last, m.Time)
	t := h.last
	// Of room time it is not passed on as told: the store would take it for its own, and
	// go as fast as the fastest clock of a gate.
	if !h.at.IsZero() {
		t = max(t, min(h.estimate(now), t.Add(now.Sub(sent))))
	}
	h.base, h.at = t, now
	c.known.Store(&h)
}

// hearToken takes the stamp and the place of a token that verified, and the generation
// that its gate knew. A gate's estimate is at most maxAhead later than what the store
// told; one that had heard of no store (generation 0) went by its machine's clock, which
// tells nothing.
func (c *roomClock) hearToken(stamp, place Time, generation uint32) {
	if generation == 0 {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	h := c.heard()
	h.stamp = max(h.stamp, stamp)
	h.told = max(h.told, stamp.Add(-maxAhead))
	h.generation = max(h.generation, generation)
	if now := c.now(); place > h.placeAt(now) {
		h.place, h.placed = place, now
	}
	c.known.Store(&h)
}

func (c *roomClock) heard() heard {
	if h := c.known.Load(); h != nil {
		return *h
	}
	return heard{}
}

// highest returns the highest room time that the store is known to have reached.
func (c *roomClock) highest() Time { return c.heard().told }

// time returns room time as far as this gate knows it. Before the store was ever
// heard that is the highest stamp of a token, or else the machine's clock: what a
// store would begin with.
func (c *roomClock) time() Time { return c.timeAt(c.now()) }

func (c *roomClock) timeAt(now time.Time) Time {
	h := c.known.Load()
	switch {
	case h == nil || h.at.IsZero() && h.stamp == 0:
		return Time(now.UnixMicro())
	case h.at.IsZero():
		return h.stamp
	}
	return h.estimate(now)
}

// timesAt is room time and, as far as it was told of, place time.
func (c *roomClock) timesAt(now time.Time) (room, place Time) {
	if h := c.known.Load(); h != nil {
		place = h.placeAt(now)
	}
	return c.timeAt(now), place
}

// estimate goes on from base, and no further than maxAhead from what the store told:
// others take a stamp for word of that.
func (h *heard) estimate(now time.Time) Time {
	return min(h.base.Add(now.Sub(h.at)), h.last.Add(maxAhead))
}

// placeAt is place time as the store or tokens told of it; 0: neither did.
func (h *heard) placeAt(now time.Time) Time {
	if h.placed.IsZero() {
		return 0
	}
	return h.place.Add(now.Sub(h.placed))
}

// placeTime is the place of somebody who comes now. Until the store is heard it is by
// the machine's clock, as the store would begin; tokens tell whether that may be right.
func (c *roomClock) placeTime(now time.Time) Time {
	h := c.known.Load()
	if h == nil {
		return Time(now.UnixMicro())
	}
	t := h.placeAt(now)
	if machine := Time(now.UnixMicro()); h.at.IsZero() && (t == 0 || machine > t && machine < t.Add(maxWrong)) {
		return machine
	}
	return t
}

// newPlace returns a place that this gate has not given before.
func (c *roomClock) newPlace() Time {
	now := int64(c.placeTime(c.now()))
	for {
		last := c.last.Load()
		next := max(last+1, now)
		if c.last.CompareAndSwap(last, next) {
			return Time(next)
		}
	}
}

// tells returns what a call says of place time, and whether the store was not heard yet.
func (c *roomClock) tells() (place Time, deaf bool) {
	h := c.heard()
	return h.placeAt(c.now()), h.at.IsZero()
}
