package queue

import "time"

// alarm rings once, some time after it was set: a time.Timer without the runtime's
// timer channel. A select over one of those in a synctest bubble crashes the runtime
// now and then under the race detector (Go 1.26.8, in maybeRunChan), and what keeps
// the promises is tested so.
type alarm struct {
	rings chan struct{}
	timer *time.Timer
}

func newAlarm(after time.Duration) *alarm {
	a := &alarm{rings: make(chan struct{}, 1)}
	a.timer = time.AfterFunc(after, a.ring)
	return a
}

func (a *alarm) ring() {
	select {
	case a.rings <- struct{}{}:
	default: // rang already
	}
}

// reset sets it anew. One that rings at the same moment may ring twice.
func (a *alarm) reset(after time.Duration) {
	a.stop()
	select {
	case <-a.rings:
	default:
	}
	a.timer.Reset(after)
}

func (a *alarm) stop() { a.timer.Stop() }
