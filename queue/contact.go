package queue

import (
	"sync/atomic"
	"time"
)

// oldContact is when what a gate knows of its store is older than it can be while the
// process runs: the tick asks at least once a second, and gives up after storeTimeout,
// or three times that where it has more to tell first. It is less than SlotMargin, for
// which the slot of a pass that is over is still free.
const oldContact = 8 * time.Second

// contact is when the store was last asked to an end: by a call that was answered, or
// by a tick that was not. A process that was stopped, or a machine that slept, finds it
// old: what it knows then of the store, even that it does not answer, is from before.
// Instants are by the gate's own clock, since it began.
type contact struct {
	at      atomic.Int64                  // when the call began; 0: none has ended yet
	waiting atomic.Int64                  // how many wait for a newer one
	next    atomic.Pointer[chan struct{}] // closed when at is moved and somebody waits
}

func (c *contact) init() {
	next := make(chan struct{})
	c.next.Store(&next)
}

// note takes when a call began that has ended. One from before the process stood still
// tells nothing of the time since.
func (c *contact) note(began time.Duration) {
	for {
		known := c.at.Load()
		if int64(began) <= known {
			return
		}
		if c.at.CompareAndSwap(known, int64(began)) {
			break
		}
	}
	if c.waiting.Load() > 0 {
		next := make(chan struct{})
		close(*c.next.Swap(&next))
	}
}

func (c *contact) isOld(now time.Duration) bool {
	at := c.at.Load()
	return at > 0 && int64(now)-at > int64(oldContact)
}

// await returns when the store was asked since, or after as long as that may take.
func (c *contact) await(now time.Duration) {
	c.waiting.Add(1)
	defer c.waiting.Add(-1)
	over := newAlarm(oldContact)
	defer over.stop()
	for {
		next := *c.next.Load()
		if !c.isOld(now) {
			return
		}
		select {
		case <-next:
		case <-over.rings:
			return
		}
	}
}
