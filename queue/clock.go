package queue

import (
	"sync"
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

	mu    sync.Mutex
	told  Time      // highest room time told by anybody
	heard time.Time // when the store last told one; zero: never
	base  Time      // the estimate for heard
	last  Time      // latest place given
}

// hear takes what the store answered to a call that began at sent.
func (c *roomClock) hear(t Time, sent time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := c.now()
	c.told = max(c.told, t)
	// An estimate from before may be nearer than this answer, which was under way
	// for up to its round trip. It is not passed on as told: the store would take
	// it for its own, and go as fast as the fastest clock of a gate.
	if !c.heard.IsZero() {
		t = max(t, min(c.estimate(now), t.Add(now.Sub(sent))))
	}
	c.base, c.heard = t, now
}

// hearToken takes a stamp of a token that verified.
func (c *roomClock) hearToken(t Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.told = max(c.told, t)
}

// highest returns the highest room time told.
func (c *roomClock) highest() Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.told
}

// time returns room time as far as this gate knows it. Before the store was ever
// heard that is the highest stamp of a token, or else the machine's clock: what a
// store would begin with.
func (c *roomClock) time() Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.current()
}

func (c *roomClock) current() Time {
	now := c.now()
	switch {
	case !c.heard.IsZero():
		return c.estimate(now)
	case c.told > 0:
		return c.told
	}
	return Time(now.UnixMicro())
}

func (c *roomClock) estimate(now time.Time) Time {
	return c.base.Add(min(now.Sub(c.heard), maxAhead))
}

// place returns room time as a place that this gate has not given before.
func (c *roomClock) place() Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.last = max(c.last+1, c.current())
	return c.last
}
