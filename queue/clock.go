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
	// it. Nothing ages further while the store is away. It is less than MaxStep: the
	// store moves places that are later than its own time, and those given meanwhile
	// are not to be moved.
	maxAhead = MaxStep - 500*time.Millisecond
	// standingPace is how much slower places go on while room time stands, so that
	// they sort over all gates for as long as an outage may be.
	standingPace = 30_000
)

// roomClock is a gate's estimate of room time: what it was last told, carried on
// by its own monotonic clock. It is never ahead of the store by more than the two
// clocks drift while an answer is awaited or under way, since an answer tells of an
// instant already past.
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
	// The highest stamp of a gate that hears the store, and when it was seen: where
	// this one does not, room time may go on all the same.
	others   Time
	othersAt time.Time
}

// hear takes what the store answered to a call that began at sent.
func (c *roomClock) hear(t Time, sent time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := c.now()
	h := c.heard()
	if h.at.IsZero() {
		c.last.Store(0) // the places so far were by the machine's clock, which may be hours ahead
	}
	h.told, h.last = max(h.told, t), max(h.last, t)
	t = h.last // an answer may be overtaken by a later one
	// An estimate from before may be nearer than this answer, which was under way
	// for up to its round trip. It is not passed on as told: the store would take
	// it for its own, and go as fast as the fastest clock of a gate.
	if !h.at.IsZero() {
		t = max(t, min(h.estimate(now), t.Add(now.Sub(sent))))
	}
	h.base, h.at = t, now
	c.known.Store(&h)
}

// hearToken takes the stamp of a token that verified, and the generation that its
// gate knew. A gate's estimate is at most maxAhead later than what the store told;
// one that had heard of no store (generation 0) went by its machine's clock.
func (c *roomClock) hearToken(t Time, generation uint32) {
	c.mu.Lock()
	defer c.mu.Unlock()
	h := c.heard()
	h.stamp = max(h.stamp, t)
	if generation > 0 {
		h.told = max(h.told, t.Add(-maxAhead))
		h.generation = max(h.generation, generation)
		if t > h.others {
			h.others, h.othersAt = t, c.now()
		}
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

// estimate goes on from base, and no further than maxAhead from what the store told:
// others take a stamp for word of that.
func (h *heard) estimate(now time.Time) Time {
	return min(h.base.Add(now.Sub(h.at)), h.last.Add(maxAhead))
}

// placeAt is the place of somebody who comes now. Over an outage it goes on, ever so
// little; and where other gates' tokens are later than what this one knows, it goes by
// those: then it alone is cut off, and would give places from before everybody who
// came to the others.
func (h *heard) placeAt(now time.Time) Time {
	beyond := max(0, now.Sub(h.at)-maxAhead) / standingPace
	t := h.estimate(now).Add(beyond)
	if h.others <= t {
		return t
	}
	since := now.Sub(h.othersAt)
	if h.others.Sub(h.base) > 2*maxAhead { // more than gates are apart that all hear nothing
		return h.others.Add(min(since, maxAhead) + max(0, since-maxAhead)/standingPace)
	}
	return h.others.Add(since / standingPace)
}

// place returns room time as a place that this gate has not given before.
func (c *roomClock) place() Time {
	t := c.now()
	now := int64(c.timeAt(t))
	if h := c.known.Load(); h != nil && !h.at.IsZero() {
		now = int64(h.placeAt(t))
	}
	for {
		last := c.last.Load()
		next := max(last+1, now)
		if c.last.CompareAndSwap(last, next) {
			return Time(next)
		}
	}
}
