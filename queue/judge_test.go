package queue_test

import (
	"fmt"
	"time"

	"github.com/sluicegate/sluice/metrics"
	"github.com/sluicegate/sluice/queue"
)

var discard = metrics.Discard()

// fail notes the first promise that was broken.
func (w *world) fail(format string, args ...any) {
	if w.wrong == "" {
		w.wrong = fmt.Sprintf(format, args...)
	}
}

// bucket says by all clocks what a rate and a burst allow, whatever a store forgets.
type bucket struct {
	units, perHour, burst int64
	at                    time.Duration
}

const visitor = int64(3_600_000)

func newBucket(s *queue.Settings) bucket {
	b := bucket{perHour: s.Rate.PerHour(), burst: s.EffectiveBurst()}
	b.units = b.burst * visitor
	return b
}

// spend takes one visitor's worth out, if there is as much.
func (b *bucket) spend(now time.Duration) bool {
	if b.perHour < 0 {
		return true
	}
	b.units = min(b.units+(now-b.at).Milliseconds()*b.perHour, b.burst*visitor)
	b.at = now
	b.units -= visitor
	return b.units >= -b.perHour // a call is told in whole milliseconds
}

// loses notes what the store will have to be told again.
func (w *world) loses() {
	w.strange = true
	w.now += 100 * time.Microsecond // no two losses are at the same moment
	for i := range w.guests {
		g := &w.guests[i]
		g.lost = g.lost || g.in || g.left
	}
	for i := range w.gates {
		w.gates[i].well = 0
	}
}

// meets notes who makes a call. After a loss everything is as at a first start for a
// gate that remembers nothing, until one is heard of that does; what it lets in until
// then is no broken promise.
func (w *world) meets(c *queue.Call) {
	knows := c.Told > 0 || c.Generation > 0
	if w.strange {
		w.strange, w.blank = false, !knows
	} else if knows && c.Generation < w.store.Moment("drop").Generation {
		w.blank = false
	}
}

// stateOf is where a visitor stood before or after the call.
func (w *world) stateOf(who int) (before, after string) {
	for _, v := range w.before {
		if v.ID == idOf(who) {
			before = v.State
		}
	}
	for _, v := range w.after {
		if v.ID == idOf(who) {
			after = v.State
		}
	}
	return before, after
}

func hasSlot(state string) bool { return state == "called" || state == "active" }

// judge looks at what a call did.
func (w *world) judge(at int, in []queue.Arrival) {
	now := w.store.Moment("drop").Time
	for _, v := range w.after {
		if v.State == "called" && v.Deadline > v.Since.Add(w.settings.ClaimWithin+time.Millisecond) {
			w.fail("P8: a slot waits for %s for longer than claim_within", names[v.ID-1])
		}
	}
	for x := range w.guests {
		before, after := w.stateOf(x)
		if w.tell != nil && before != after {
			w.tell("%s: %s -> %s", names[x], before, after)
		}
		if before == "called" && after == "away" { // did not come
			w.guests[x].known = 0
		}
		if after != "called" || hasSlot(before) {
			continue
		}
		w.called(x, before == "", now)
	}
}

// called judges that x was called, or let in on the spot.
func (w *world) called(x int, onTheSpot bool, now queue.Time) {
	g := &w.guests[x]
	if !onTheSpot && g.known <= now {
		w.fail("P8: %s was called and is absent", names[x])
	}
	if g.left && !g.lost {
		w.fail("P8: %s was called and has left", names[x])
	}
	place := g.ticket.Place
	for _, v := range w.after {
		if v.ID == idOf(x) {
			place = v.Place
		}
	}
	for y := range w.guests {
		if y != x && !w.blank && w.isOwed(y, now) && w.guests[y].ticket.Place < place {
			w.fail("P1: %s was called before %s, who came earlier and is here", names[x], names[y])
		}
	}
	if !w.bucket.spend(w.now) {
		if w.blank {
			w.bucket.units = 0
			return
		}
		w.fail("P2: %s was called beyond rate and burst", names[x])
	}
	inside := int64(0)
	for y := range w.guests {
		if _, after := w.stateOf(y); hasSlot(after) || w.isInside(y, now) {
			inside++
		}
	}
	if w.maxActive > 0 && !w.blank && inside > w.maxActive {
		w.fail("P2: %s was called and %d are called or inside", names[x], inside)
	}
}

// isOwed tells whether a visitor waits, has polled when asked to, and the store was
// told so.
func (w *world) isOwed(y int, now queue.Time) bool {
	g := &w.guests[y]
	if g.ticket.ID == 0 || g.late || g.in || g.left || g.pass.ID != 0 || g.known <= now || w.now > g.due {
		return false
	}
	_, after := w.stateOf(y)
	return !hasSlot(after)
}

// isInside tells whether a visitor has a pass that is good.
func (w *world) isInside(y int, now queue.Time) bool {
	g := &w.guests[y]
	return !g.left && g.until > now
}

// isOver tells whether a visitor's one session has ended.
func (w *world) isOver(g *guest, now queue.Time) bool {
	return g.left || g.in && g.until.Add(queue.SlotMargin) <= now
}

// isRemembered tells whether a gate had the time to tell the store of a used ticket
// again.
func (w *world) isRemembered(g *guest) bool {
	for i := range w.gates {
		if g.keepers&(1<<i) != 0 && w.gates[i].well >= timeToTell {
			return true
		}
	}
	return false
}

// timeToTell is how many seconds a gate takes at most to tell a store of what it lost.
const timeToTell = 3

// entered judges what a store answered, whether a gate hears it or not.
func (w *world) entered(in []queue.Arrival, out []queue.Standing) {
	now := w.store.Moment("drop").Time
	for i, a := range in {
		g := &w.guests[a.ID-1]
		s := &out[i]
		if s.State == queue.Waiting || s.State == queue.Admitted {
			g.known = max(g.known, a.Deadline)
			g.late = g.ticket.ID != 0 && s.Place > g.ticket.Place
		}
		if s.State == queue.Admitted && !s.Provisional {
			if s.Claimed && !w.blank && w.isOver(g, now) && (!g.lost || w.isRemembered(g)) {
				w.fail("P4: %s is let in once more by a ticket that was used", names[a.ID-1])
			}
			g.in = true
		}
		if s.State == queue.Used && !g.in && !g.used && !g.left {
			w.fail("P3: the ticket of %s is taken for a used one", names[a.ID-1])
		}
	}
}

func (w *world) heardEnter(at int, in []queue.Arrival, out []queue.Standing) {
	for i, a := range in {
		if g := &w.guests[a.ID-1]; out[i].State == queue.Admitted && !out[i].Provisional {
			if out[i].Claimed || a.Again {
				g.keepers |= 1 << at
			}
			g.until = max(g.until, out[i].Until)
		}
	}
}

func (w *world) renewed(in []queue.Visit, out []queue.Renewal) {
	for i, v := range in {
		g := &w.guests[v.ID-1]
		g.lost = false
		if !out[i].Gone {
			g.in = true
		}
	}
}

func (w *world) heardRenew(at int, in []queue.Visit, out []queue.Renewal) {
	for i, v := range in {
		if g := &w.guests[v.ID-1]; !out[i].Gone && (out[i].Claimed || g.pass.Provisional) {
			g.keepers |= 1 << at
		}
	}
}

// departed notes who left, whether they hear that it is so or not.
func (w *world) departed(in []queue.Departure) {
	for _, d := range in {
		g := &w.guests[d.ID-1]
		g.left, g.lost, g.here = true, false, false
	}
}

// kept judges what a visitor with a ticket is told.
func (w *world) kept(who int, a *queue.Answer) {
	g := &w.guests[who]
	switch {
	case a.State == queue.Used && !g.in && !g.used && !g.left:
		w.fail("P3: %s is told that the ticket was used", names[who])
	case a.Place > g.ticket.Place:
		w.fail("P3: %s has a later place than before", names[who])
	case a.Place > 0 && a.Place.Add(queue.MaxStep) < g.ticket.Place: // a gate's clock is ahead by less
		w.fail("P3: %s has an earlier place than before", names[who])
	}
}

// check looks at everybody after a move.
func (w *world) check() {}
