package memory

import (
	"fmt"
	"sync"
	"time"

	"github.com/tidwall/btree"

	"github.com/sluicegate/sluice/queue"
)

const (
	// maxWork bounds what one Tick ends, moves and calls, each.
	maxWork = 1000
	// ladderAge is how old a ladder may be before it is taken anew.
	ladderAge = 200 * time.Millisecond
)

type state uint8

const (
	waiting state = iota
	away
	called
	active
)

// visitor is somebody the room knows.
type visitor struct {
	id    queue.ID
	state state
	heard bool // of, since they came
	place queue.Time
	since queue.Time // called and active: when called
	// deadline ends the state: presence, claim, session, or keeping the place.
	deadline queue.Time
	due      queue.Time // when the visitor is looked at: the entry in room.agenda that counts
}

// room is the line and the slots of one room.
type room struct {
	mu sync.Mutex

	started    bool
	time       queue.Time // room time of the latest call
	before     queue.Time // that of the call before
	wall       int64      // clock at the latest call, microseconds
	placed     queue.Time // place time of the latest call
	generation uint32

	visitors map[queue.ID]*visitor
	line     *btree.BTreeG[*visitor] // those waiting, by place
	absent   *btree.BTreeG[*visitor] // those away, by deadline
	agenda   agenda                  // everybody, by due
	count    [active + 1]int64

	used      map[int64]*usedUp // by the minute of the place
	left      map[queue.ID]queue.Time
	leftOrder agenda

	credit    queue.Credit
	most      int64      // see settleMost
	loss      *loss      // nil: none that still matters
	born      queue.Time // place time when this generation began
	calls     int64
	front     queue.Time // latest place called
	last      queue.Time // latest place given
	ladder    queue.Ladder
	ladderAt  queue.Time
	overrides queue.Overrides
}

// usedUp holds the used tickets whose places lie in one minute.
type usedUp struct {
	ids   map[queue.ID]struct{}
	until queue.Time
}

func newRoom() *room {
	return &room{
		visitors: make(map[queue.ID]*visitor),
		line: btree.NewBTreeGOptions(func(a, b *visitor) bool {
			return a.place < b.place || a.place == b.place && a.id < b.id
		}, btree.Options{NoLocks: true}),
		absent: btree.NewBTreeGOptions(func(a, b *visitor) bool {
			return a.deadline < b.deadline || a.deadline == b.deadline && a.id < b.id
		}, btree.Options{NoLocks: true}),
		used: make(map[int64]*usedUp),
		left: make(map[queue.ID]queue.Time),
	}
}

// begin moves room time to now and settles the credit. It reports whether the
// caller knows the latest overrides, so that its limits count.
func (r *room) begin(now time.Time, c *queue.Call) (fresh bool) {
	wall := now.UnixMicro()
	before := r.wall
	r.wall = wall
	if !r.started {
		r.started = true
		r.time = queue.Time(wall)
		r.placed = c.Place
		if c.Deaf || c.Place == 0 {
			r.placed = max(c.Place, c.Told.Add(queue.MaxStep), queue.Time(wall))
		}
		r.lose(c, queue.FoundNothing)
	} else {
		r.before = r.time
		passed := max(time.Duration(wall-before)*time.Microsecond, 0)
		step := min(passed, queue.MaxStep)
		r.time = r.time.Add(step)
		if c.Deaf {
			step = passed
		}
		r.placed = max(r.placed.Add(step), c.Place)
		if r.loss != nil && r.time >= r.loss.until {
			r.loss = nil
		}
		if c.Generation > r.generation || c.Generation == r.generation && c.Told > r.before {
			r.lose(c, queue.FoundBehind)
		} else {
			if c.Told > r.time {
				r.catchUp(c.Told)
			}
			r.hear(c)
		}
	}
	fresh = c.Version >= r.overrides.Version
	if fresh {
		r.credit = r.credit.Settle(r.time, c.Settings)
	}
	return fresh
}

func (r *room) moment() queue.Moment {
	return queue.Moment{Time: r.time, Generation: r.generation, Place: r.placed}
}

// enter decides for one visitor who asks.
func (r *room) enter(c *queue.Call, a *queue.Arrival, fresh bool) queue.Standing {
	v := r.visitors[a.ID]
	switch {
	case v == nil && r.isUsed(a.ID, a.Place):
		return queue.Standing{State: queue.Used, Rank: -1}
	case v == nil && a.Newcomer:
		return r.welcome(c, a, fresh)
	case v == nil:
		r.cameBack(c, a.Place)
		v = r.add(a.ID, min(a.Place, r.placed.Add(queue.MaxStep)), waiting, a.Deadline)
		v.heard = true
		s := r.inLine(c, a, v, fresh)
		s.Restored = a.Place < r.born // else it was forgotten, not lost
		return s
	}
	v.heard = true
	switch v.state {
	case active:
		r.setDeadline(v, max(v.deadline, r.sessionEnd(c.Settings, v.since, r.time, c.Settings.Session)))
		return r.admitted(v)
	case called:
		if a.Claim && !a.Newcomer {
			return r.claim(c, v)
		}
		if a.Claim {
			// The answer to the first request was lost. The slot waits as for one let
			// in on the spot, so that the pass is good also when a tick called them.
			r.setDeadline(v, max(v.deadline, v.since.Add(c.Settings.ClaimWithin)))
			return r.provisional(c, v)
		}
		r.setDeadline(v, min(max(v.deadline, a.Deadline), v.since.Add(c.Settings.ClaimWithin)))
		return queue.Standing{State: queue.Waiting, Place: v.place, Rank: -1}
	case away:
		r.goBack(v, a)
		r.move(v, waiting, a.Deadline)
		return r.inLine(c, a, v, fresh)
	default:
		if a.Claim {
			r.goBack(v, a)
		}
		r.setDeadline(v, max(v.deadline, a.Deadline))
		return r.inLine(c, a, v, fresh)
	}
}

// goBack is for a visitor whose ticket has an earlier place than the room, which heard
// of their first request so late that it moved the place.
func (r *room) goBack(v *visitor, a *queue.Arrival) {
	if a.Newcomer || a.Place == 0 || a.Place >= v.place {
		return
	}
	if v.state == waiting {
		r.line.Delete(v)
	}
	v.place = a.Place
	if v.state == waiting {
		r.line.Set(v)
	}
}

// welcome decides for a newcomer: in on the spot, a place, or nothing.
func (r *room) welcome(c *queue.Call, a *queue.Arrival, fresh bool) queue.Standing {
	s := c.Settings
	place := min(max(a.Place, r.placed.Add(-queue.MaxLate)), r.placed)
	switch {
	case s.Mode == queue.ModeClosed:
		return queue.Standing{State: queue.Closed, Rank: -1}
	case fresh && s.Mode == queue.ModeOpen && a.Claim,
		fresh && a.Claim && r.count[waiting] == 0 && !r.isHeld() && r.callable(s) > 0:
		if s.Mode != queue.ModeOpen {
			r.credit = r.credit.Spend(1)
			r.most = s.MaxActive
		}
		v := r.add(a.ID, place, called, 0)
		r.call(v, r.time.Add(s.ClaimWithin))
		out := r.provisional(c, v)
		out.Joined, out.Claimed = true, true
		return out
	case !a.Join:
		return queue.Standing{State: queue.None, Rank: -1}
	case s.MaxWaiting > 0 && r.count[waiting] >= s.MaxWaiting:
		return queue.Standing{State: queue.Full, Rank: -1}
	}
	v := r.add(a.ID, place, waiting, a.Deadline)
	out := r.inLine(c, a, v, fresh)
	out.Joined = true
	return out
}

// inLine answers a visitor who waits; in an open room they need not.
func (r *room) inLine(c *queue.Call, a *queue.Arrival, v *visitor, fresh bool) queue.Standing {
	switch {
	case fresh && c.Settings.Mode == queue.ModeOpen && a.Claim:
		r.call(v, 0)
		return r.claim(c, v)
	case c.Settings.Mode == queue.ModeClosed:
		return queue.Standing{State: queue.Closed, Place: v.place, Rank: -1}
	}
	out := queue.Standing{State: queue.Waiting, Place: v.place, Rank: -1}
	if a.Claim {
		out.Rank = r.rank(v)
	}
	return out
}

// claim turns a called visitor into an active one.
func (r *room) claim(c *queue.Call, v *visitor) queue.Standing {
	r.move(v, active, r.sessionEnd(c.Settings, v.since, r.time, c.Settings.Session))
	r.useUp(v.id, v.place, r.time.Add(c.Settings.UsedFor()))
	s := r.admitted(v)
	s.Claimed = true
	return s
}

func (r *room) admitted(v *visitor) queue.Standing {
	return queue.Standing{State: queue.Admitted, Place: v.place, Rank: -1,
		Called: v.since, Until: v.deadline.Add(-queue.SlotMargin)}
}

func (r *room) provisional(c *queue.Call, v *visitor) queue.Standing {
	return queue.Standing{State: queue.Admitted, Place: v.place, Rank: -1, Called: v.since,
		Until: v.deadline.Add(-c.Settings.ClaimMargin()), Provisional: true}
}

// sessionEnd is until when the slot of a session last used at an instant lives.
func (r *room) sessionEnd(s *queue.Settings, since, used queue.Time, idle time.Duration) queue.Time {
	end := used.Add(idle)
	if s.MaxSession > 0 {
		end = min(end, since.Add(s.MaxSession))
	}
	return end.Add(queue.SlotMargin)
}

// renew keeps one session alive.
func (r *room) renew(c *queue.Call, in *queue.Visit) queue.Renewal {
	var out queue.Renewal
	s := c.Settings
	since := in.Called
	v := r.visitors[in.ID]
	if v != nil && v.state >= called {
		since = v.since
	}
	_, left := r.left[in.ID]
	if v == nil && left || s.MaxSession > 0 && since.Add(s.MaxSession) <= r.time {
		return queue.Renewal{Gone: true}
	}
	at := min(in.At, r.time)
	idle := max(s.Session, in.Extend)
	if v == nil || v.state < called {
		if max(in.Until.Add(queue.SlotMargin), r.sessionEnd(s, since, at, idle)) <= r.time {
			// Long over: a gate tells of it so that the ticket gives no second session.
			if v != nil {
				r.remove(v)
			}
			r.useUp(in.ID, in.Place, r.time.Add(s.UsedFor()))
			return queue.Renewal{Gone: true}
		}
		out.Overshoot = s.Mode == queue.ModeAuto && r.most > 0 && r.count[called]+r.count[active] >= r.most
	}
	switch {
	case v == nil:
		out.Restored = true
		r.cameBack(c, in.Called)
		r.seat(in.Called)
		v = r.add(in.ID, in.Place, active, 0)
		v.since = in.Called
	case v.state != active:
		out.Claimed = true
		if v.state != called {
			r.seat(in.Called)
			v.since = in.Called
		}
		r.move(v, active, 0)
	}
	if out.Restored || out.Claimed {
		r.useUp(v.id, v.place, r.time.Add(s.UsedFor()))
		v.deadline = in.Until.Add(queue.SlotMargin) // what was promised holds
	}
	r.setDeadline(v, max(v.deadline, r.sessionEnd(s, v.since, at, idle)))
	out.Until = v.deadline.Add(-queue.SlotMargin)
	return out
}

// leave frees what one visitor holds.
func (r *room) leave(c *queue.Call, d *queue.Departure) queue.Departed {
	var out queue.Departed
	end := d.Until
	if v := r.visitors[d.ID]; v != nil {
		out = queue.Departed{Slot: v.state >= called, Place: v.state < called}
		if v.state >= called { // there may be a pass that is good as long as the slot
			end = max(end, v.deadline)
		}
		r.remove(v)
	}
	until := max(r.time.Add(c.Settings.UsedFor()), end.Add(time.Minute))
	r.useUp(d.ID, d.Place, until)
	if until > r.left[d.ID] {
		r.left[d.ID] = until
		r.leftOrder.push(until, d.ID)
	}
	return out
}

// tick does what time brings.
func (r *room) tick(c *queue.Call, fresh bool) queue.Snapshot {
	out := queue.Snapshot{}
	r.expire(c, &out)
	r.forget()
	if fresh {
		r.settleMost(c.Settings)
		r.callNext(c, &out)
		r.forgetAbsent(c.Settings, &out)
	}
	out.Moment = r.moment()
	out.Waiting, out.Away, out.Called, out.Active = r.count[waiting], r.count[away], r.count[called], r.count[active]
	out.Ladder = r.takeLadder()
	out.Front = r.front
	out.Calls = r.calls
	if l := r.loss; l != nil {
		out.Barrier = l.barrier
		if r.isHeld() {
			out.Held = l.held
		}
		if c.Generation < r.generation {
			known := l.Loss
			out.Loss = &known
		}
	}
	out.PerHour, out.Burst = r.credit.PerHour, r.credit.Burst
	if r.overrides.Version != c.Version {
		o := copied(r.overrides)
		out.Overrides = &o
	}
	return out
}

// expire ends the states whose deadline is over.
func (r *room) expire(c *queue.Call, out *queue.Snapshot) {
	for range 4 * maxWork {
		v := r.nextDue()
		if v == nil {
			return
		}
		switch v.state {
		case active:
			out.Ended++
			r.remove(v)
		case called:
			out.NoShows++
			r.goAway(c, v, out)
		case waiting:
			r.goAway(c, v, out)
		case away:
			out.Abandoned++
			r.remove(v)
		}
	}
	out.More = true
}

// goAway keeps the place of an absent visitor. Who was never heard of since they came,
// as a program that took no cookie, is forgotten: the place stands in the ticket, if
// there is anybody who has it.
func (r *room) goAway(c *queue.Call, v *visitor, out *queue.Snapshot) {
	if !v.heard {
		out.Abandoned++
		r.remove(v)
		return
	}
	r.move(v, away, r.time.Add(c.Settings.KeepPlace))
}

// forgetAbsent has no more absent visitors remembered than may wait: of the others, who
// are absent longest, the tickets are enough.
func (r *room) forgetAbsent(s *queue.Settings, out *queue.Snapshot) {
	if s.MaxWaiting == 0 {
		return
	}
	for n := 0; r.count[away] > s.MaxWaiting; n++ {
		if n == maxWork {
			out.More = true
			return
		}
		v, _ := r.absent.Min()
		r.remove(v)
		out.Abandoned++
	}
}

// nextDue returns a visitor whose deadline is over.
func (r *room) nextDue() *visitor {
	for {
		id, at, ok := r.agenda.popBefore(r.time)
		if !ok {
			return nil
		}
		v := r.visitors[id]
		if v == nil || v.due != at {
			continue // an entry that no longer counts
		}
		if v.deadline <= r.time {
			v.due = 0
			return v
		}
		v.due = v.deadline
		r.agenda.push(v.due, v.id)
	}
}

// callNext calls as many present visitors as may be called, in order of place.
func (r *room) callNext(c *queue.Call, out *queue.Snapshot) {
	n := r.callable(c.Settings)
	if n > maxWork && r.count[waiting] > maxWork {
		out.More = true
	}
	n = min(n, maxWork)
	for looked := 0; n > 0; looked++ {
		v, ok := r.line.Min()
		if !ok || r.isHeld() && v.place > r.loss.barrier {
			return
		}
		if looked == 2*maxWork {
			out.More = true
			return
		}
		if v.deadline <= r.time { // left, and expire did not get this far
			r.goAway(c, v, out)
			continue
		}
		r.credit = r.credit.Spend(1)
		r.call(v, min(v.deadline, r.time.Add(c.Settings.ClaimWithin)))
		r.most = c.Settings.MaxActive
		out.NewCalls++
		n--
	}
}

// settleMost keeps the most who may be inside: max_active, but as many as were inside
// when it was lowered, as far as they still are. 0 is any number: there is no limit, or
// the room is open, or something was lost; and whoever comes back was inside before, until
// somebody is called by the limit again.
func (r *room) settleMost(s *queue.Settings) {
	switch {
	case s.MaxActive == 0 || s.Mode == queue.ModeOpen:
		r.most = 0
	case r.most > 0:
		r.most = max(s.MaxActive, min(r.most, r.count[called]+r.count[active]+r.ghosts(s)))
	}
}

// call gives a visitor a slot that waits for them until a deadline.
func (r *room) call(v *visitor, deadline queue.Time) {
	r.move(v, called, deadline)
	v.since = r.time - r.time%1000
	r.calls++
	r.front = max(r.front, v.place)
}

func (r *room) takeLadder() queue.Ladder {
	if r.ladderAt == 0 || r.time >= r.ladderAt.Add(ladderAge) {
		r.ladderAt = r.time
		places := make([]queue.Time, 0, len(r.ladder.Places)+1)
		for i := 0; queue.Rung(i) < int64(r.line.Len()); i++ {
			v, _ := r.line.GetAt(int(queue.Rung(i)))
			places = append(places, v.place)
		}
		r.ladder = queue.Ladder{Places: places, Last: r.last}
	}
	return r.ladder
}

// rank counts the visitors before v in line.
func (r *room) rank(v *visitor) int64 {
	low, high := 0, r.line.Len()-1
	for low < high {
		mid := (low + high) / 2
		m, _ := r.line.GetAt(mid)
		if m.place < v.place || m.place == v.place && m.id < v.id {
			low = mid + 1
		} else {
			high = mid
		}
	}
	return int64(low)
}

// isUsed tells whether a ticket was used up.
func (r *room) isUsed(id queue.ID, place queue.Time) bool {
	u := r.used[usedMinute(place)]
	if u == nil {
		return false
	}
	_, used := u.ids[id]
	return used
}

func (r *room) useUp(id queue.ID, place, until queue.Time) {
	u := r.used[usedMinute(place)]
	if u == nil {
		u = &usedUp{ids: make(map[queue.ID]struct{})}
		r.used[usedMinute(place)] = u
	}
	u.ids[id] = struct{}{}
	u.until = max(u.until, until)
}

func usedMinute(place queue.Time) int64 { return int64(place) / int64(time.Minute/time.Microsecond) }

// forget drops used tickets of which every copy has expired.
func (r *room) forget() {
	for minute, u := range r.used {
		if u.until <= r.time {
			delete(r.used, minute)
		}
	}
	for range maxWork {
		id, at, ok := r.leftOrder.popBefore(r.time)
		if !ok {
			return
		}
		if r.left[id] == at {
			delete(r.left, id)
		}
	}
}

// add makes a visitor known.
func (r *room) add(id queue.ID, place queue.Time, s state, deadline queue.Time) *visitor {
	v := &visitor{id: id, place: place, state: s}
	r.visitors[id] = v
	r.count[s]++
	if s == waiting {
		r.line.Set(v)
		r.last = max(r.last, place)
	}
	r.setDeadline(v, deadline)
	return v
}

// move puts a known visitor into another state.
func (r *room) move(v *visitor, s state, deadline queue.Time) {
	r.takeOut(v)
	v.state = s
	r.count[s]++
	if s == waiting {
		r.line.Set(v)
		r.last = max(r.last, v.place)
	}
	r.setDeadline(v, deadline)
	if s == away {
		r.absent.Set(v)
	}
}

func (r *room) remove(v *visitor) {
	r.takeOut(v)
	delete(r.visitors, v.id)
}

// takeOut takes a visitor out of the state they are in.
func (r *room) takeOut(v *visitor) {
	switch v.state {
	case waiting:
		r.line.Delete(v)
	case away:
		r.absent.Delete(v)
	}
	r.count[v.state]--
}

// setDeadline keeps one entry a visitor in the agenda, at the deadline or before
// it: a deadline that moves later costs nothing until the entry is reached.
func (r *room) setDeadline(v *visitor, deadline queue.Time) {
	v.deadline = deadline
	if v.due == 0 || deadline < v.due {
		v.due = deadline
		r.agenda.push(deadline, v.id)
	}
}

func unavailable(op, name string, err error) error {
	return fmt.Errorf("%s room %q: %w: %w", op, name, queue.ErrUnavailable, err)
}
