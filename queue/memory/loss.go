package memory

import (
	"time"

	"github.com/sluicegate/sluice/queue"
)

// loss is what a room knows of the loss that its generation began with.
type loss struct {
	queue.Loss
	until         queue.Time // when it no longer matters
	before        queue.Time // room time of the latest call that was not lost
	barrier, held queue.Time
	since         queue.Time // of earlier tickets it is not known how many there are
	blank         bool       // perhaps it is the first start: no gate remembers another one
	active        int64      // by the gates, who were inside
	called        int64
	seated        int64 // of those, who are known again
}

// lose begins a new generation. Of a room that was there before everything fits
// together; it is only too old.
func (r *room) lose(c *queue.Call, found queue.Found) {
	s := c.Settings
	l := loss{Loss: queue.Loss{Found: found, Waiting: r.count[waiting], Slots: r.count[called] + r.count[active]}}
	l.seated = l.Slots
	inside, hold := l.Slots+r.ghosts(s), max(c.Hold, queue.LeastHold)
	r.calls = 0
	if found == queue.FoundNothing && c.Told == 0 {
		l.blank = true
		l.since = r.time.Add(-c.Running)
		r.generation = uint32(r.time.Millis() / 1000)
		r.credit = queue.NewCredit(r.time, s, true)
	} else {
		if found == queue.FoundNothing {
			r.time = c.Told.Add(queue.MaxStep)
			r.credit = queue.NewCredit(r.time, s, false)
		} else {
			l.before = r.before
			if c.Told.Sub(r.before) <= queue.MaxStep {
				l.barrier = r.last
			}
			if was := r.loss; was != nil && (r.isHeld() || was.blank && c.Generation > r.generation) { // not all are back who were lost before
				l.barrier = min(l.barrier, was.barrier)
				hold = max(hold, was.held.Sub(r.time))
			}
			r.time = max(r.time, c.Told)
			r.credit.Units, r.credit.At = 0, r.time.Millis()
		}
		l.called = c.Called
		l.active = max(c.Active, inside-l.called)
		r.generation = queue.NextGeneration(max(r.generation, c.Generation), r.wall)
	}
	if l.barrier == 0 {
		r.front = 0
	}
	l.Born, r.born = r.time, r.placed
	l.until = r.time.Add(max(s.Session+queue.SlotMargin, 2*s.ReturnWithin()))
	r.ladderAt, r.most = 0, 0
	r.loss = &l
	if !l.blank {
		r.holdBack(hold)
	}
}

// hear takes what a gate says that remembers an older generation.
func (r *room) hear(c *queue.Call) {
	l := r.loss
	if l == nil || c.Generation == 0 || c.Generation >= r.generation {
		return
	}
	if l.barrier > 0 && c.Told > r.before && c.Told.Sub(l.before) > queue.MaxStep {
		l.barrier, r.front = 0, 0 // more was lost than the first gate knew of
	}
	switch {
	case l.blank:
		r.remember()
		r.holdBack(max(c.Hold, queue.LeastHold))
	case r.isHeld():
		r.holdBack(c.Hold)
	}
	if r.isHeld() {
		l.active, l.called = max(l.active, c.Active), max(l.called, c.Called)
	}
}

// catchUp moves room time to what a gate of another generation was told. Nothing is
// earned by it, and nobody has had the time to come back.
func (r *room) catchUp(told queue.Time) {
	gone := told - r.time
	r.credit.At += told.Millis() - r.time.Millis()
	r.time = told
	if l := r.loss; l != nil {
		l.Born, l.until = l.Born+gone, l.until+gone
		if l.held > 0 {
			l.held += gone
		}
	}
}

// isHeld tells whether nobody with a place after the barrier may be called.
func (r *room) isHeld() bool { return r.loss != nil && r.time < r.loss.held }

func (r *room) holdBack(d time.Duration) {
	r.loss.held = max(r.loss.held, r.time.Add(d))
	r.loss.until = max(r.loss.until, r.loss.held)
}

// remember notes that it was not the first start.
func (r *room) remember() {
	r.loss.blank = false
	r.credit.Units, r.credit.At = min(r.credit.Units, 0), r.time.Millis()
}

// cameBack is for a visitor from before an instant whom the room does not know: of room
// time or of place time, which begin as one.
func (r *room) cameBack(c *queue.Call, instant queue.Time) {
	within := c.Settings.ReturnWithin()
	if l := r.loss; l != nil && l.blank && instant < l.since && r.time < l.Born.Add(2*within) {
		r.remember()
		r.holdBack(within)
	}
}

// ghosts counts the slots of visitors who were inside before the loss and have not
// been heard of since.
func (r *room) ghosts(s *queue.Settings) (n int64) {
	l := r.loss
	if l == nil {
		return 0
	}
	if r.time < l.Born.Add(s.Session+queue.SlotMargin) {
		n = l.active
	}
	if r.time < l.Born.Add(s.ClaimWithin) {
		n += l.called
	}
	return max(n-l.seated, 0)
}

// seat is for a slot of somebody who was called at an instant, and of whose slot the
// room did not know: if it was before the loss, they have been heard of now.
func (r *room) seat(called queue.Time) {
	if r.loss != nil && called < r.loss.Born {
		r.loss.seated++
	}
}

// callable is how many visitors may be called now. How many are inside is only known
// after a loss when every gate was heard.
func (r *room) callable(s *queue.Settings) int64 {
	if l := r.loss; s.MaxActive > 0 && l != nil && !l.blank && r.time < l.Born.Add(queue.LeastHold) {
		return 0
	}
	return r.credit.Callable(s, r.count[called], r.count[active]+r.ghosts(s))
}
