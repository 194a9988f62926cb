package queue

import (
	"sync"
	"sync/atomic"
	"time"
)

// maxAhead is how far a gate takes room time to have gone since it last heard of
// it. Nothing ages further while the store is away.
const maxAhead = 10 * time.Second

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
	told Time      // highest room time told by anybody
	at   time.Time // when the store last told one; zero: never
	base Time      // the estimate for at
}

// hear takes what the store answered to a call that began at sent.
func (c *roomClock) hear(t Time, sent time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := c.now()
	h := c.heard()
	h.told = max(h.told, t)
	// An estimate from before may be nearer than this answer, which was under way
	// for up to its round trip. It is not passed on as told: the store would take
	// it for its own, and go as fast as the fastest clock of a gate.
	if !h.at.IsZero() {
		t = max(t, min(h.estimate(now), t.Add(now.Sub(sent))))
	}
	h.base, h.at = t, now
	c.known.Store(&h)
}

// hearToken takes a stamp of a token that verified.
func (c *roomClock) hearToken(t Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	h := c.heard()
	h.told = max(h.told, t)
	c.known.Store(&h)
}

func (c *roomClock) heard() heard {
	if h := c.known.Load(); h != nil {
		return *h
	}
	return heard{}
}

// highest returns the highest room time told.
func (c *roomClock) highest() Time { return c.heard().told }

// time returns room time as far as this gate knows it. Before the store was ever
// heard that is the highest stamp of a token, or else the machine's clock: what a
// store would begin with.
func (c *roomClock) time() Time { return c.timeAt(c.now()) }

func (c *roomClock) timeAt(now time.Time) Time {
	h := c.known.Load()
	switch {
	case h == nil || h.at.IsZero() && h.told == 0:
		return Time(now.UnixMicro())
	case h.at.IsZero():
		return h.told
	}
	return h.estimate(now)
}

func (h *heard) estimate(now time.Time) Time {
	return h.base.Add(min(now.Sub(h.at), maxAhead))
}

// place returns room time as a place that this gate has not given before.
func (c *roomClock) place() Time {
	now := int64(c.time())
	for {
		last := c.last.Load()
		next := max(last+1, now)
		if c.last.CompareAndSwap(last, next) {
			return Time(next)
		}
	}
}
