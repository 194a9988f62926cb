package queuetest

import (
	"cmp"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/sluicegate/sluice/queue"
)

// model is the contract of a store once more, for one room, without any care for
// what it costs: maps, and a line that is sorted whenever somebody asks. It shares
// no code with the stores, nor with the arithmetic of credit and ladders.
type model struct {
	started    bool
	now, wall  queue.Time
	placed     queue.Time // place time
	before     queue.Time // room time of the call before
	known      uint32     // generation then
	generation uint32
	people     map[queue.ID]*person
	used       map[queue.ID]queue.Time // until when a store must remember
	minute     map[queue.ID]int64      // of the place of a used ticket
	left       map[queue.ID]queue.Time // likewise
	version    int64
	limit      limit
	front      queue.Time
	last       queue.Time
	calls      int64
	legal      int64 // most who may be inside, 0 any number

	loss    loss
	torn    *torn      // what the next call finds gone; nil: nothing
	loose   bool       // something is gone that a tick finds, sooner or later
	sure    bool       // and it is the next one
	anew    bool       // the store was started anew since the last call
	born    queue.Time // place time when the generation began
	skipped int64      // milliseconds of room time in which nothing was earned

	stamps  []int64 // milliseconds of all calls within the limits in force
	limits  int     // how often these changed
	wasThen *model  // what was called in a history that was lost since the last call

	moves    int      // operations so far
	joins    []join   // everybody who was put in line, and in which operation
	pictures []ladder // the line after each operation
}

// torn is a key that is gone, and what was kept of what belonged to it.
type torn struct {
	key         string
	last        bool // nothing else is left
	line, slots bool
}

// join is a place that was put in line.
type join struct {
	move  int
	place queue.Time
	last  bool // it is later than every place given before
}

// ladder is what an exact ladder showed after an operation.
type ladder struct {
	move   int
	at     queue.Time
	places []queue.Time
	last   queue.Time
}

type person struct {
	id       queue.ID
	is       where
	place    queue.Time
	deadline queue.Time
	called   queue.Time
	heard    bool // of, since they came
}

// where somebody is whom the store knows.
type where string

const (
	inLine where = "waiting"
	absent where = "away"
	called where = "called"
	active where = "active"
)

func newModel() *model {
	return &model{people: make(map[queue.ID]*person), used: make(map[queue.ID]queue.Time), left: make(map[queue.ID]queue.Time), minute: make(map[queue.ID]int64)}
}

// limit knows a rate and a burst by the windows that they allow: in any window
// that ends now there are no more calls than the rate gives and the burst adds.
type limit struct {
	perHour, burst int64
	from           int64   // milliseconds since when these limits are in force
	start          int64   // credit at from, in visitors times milliseconds in an hour
	calls          []int64 // milliseconds of each call since then
}

const hour = 3_600_000 // milliseconds

// credit is the least that any window ending now leaves.
func (l *limit) credit(now int64) int64 {
	if l.perHour < 0 {
		return min(l.start, 0)
	}
	least := l.burst * hour // the window that has just begun
	least = min(least, l.start+l.perHour*(now-l.from)-int64(len(l.calls))*hour)
	for i, at := range l.calls {
		least = min(least, l.burst*hour+l.perHour*(now-at)-int64(len(l.calls)-i)*hour)
	}
	return least
}

// adopt puts limits in force, and tells whether they are others.
func (l *limit) adopt(now, perHour, burst int64) bool {
	if perHour != l.perHour || burst != l.burst {
		*l = limit{perHour: perHour, burst: burst, from: now, start: min(l.credit(now), burst*hour)}
		return true
	}
	return false
}

// begin is what every operation begins with. It tells whether the gate knows the
// latest overrides.
func (m *model) begin(wall queue.Time, c *queue.Call) (knows bool) {
	perHour, burst := c.Settings.Rate.PerHour(), c.Settings.EffectiveBurst()
	m.moves++
	was := m.wall
	m.wall = wall
	if m.started {
		before := m.now
		m.before, m.known = before, m.generation
		step := wall - was
		if step < 0 {
			step = 0
		}
		if c.Deaf {
			m.placed += step
		}
		if step > 2_000_000 {
			step = 2_000_000
		}
		m.now += step
		if !c.Deaf {
			m.placed += step
		}
		if c.Place > m.placed {
			m.placed = c.Place
		}
		if m.now >= m.loss.until {
			m.loss = loss{}
		}
		if t := m.torn; t != nil {
			m.torn = nil
			m.lose(c, queue.FoundParts, before, t)
		} else if c.Generation > m.generation || c.Generation == m.generation && c.Told > before {
			m.lose(c, queue.FoundBehind, before, whole)
		} else if m.anew {
			m.lose(c, queue.FoundRestarted, before, whole)
		} else {
			if gone := c.Told - m.now; gone > 0 {
				m.skipped += int64(c.Told)/1000 - int64(m.now)/1000
				m.now = c.Told
				if l := &m.loss; l.until > 0 {
					l.Born += gone
					l.until += gone
					if l.held > 0 {
						l.held += gone
					}
				}
			}
			m.hear(c, before)
		}
	} else {
		m.started = true
		m.now, m.known = wall, 0
		switch {
		case c.Place > 0 && !c.Deaf:
			m.placed = c.Place
		default:
			m.placed = max(wall, c.Told+2_000_000, c.Place)
		}
		m.limit = limit{perHour: perHour, burst: burst}
		t := m.torn
		if m.torn = nil; t == nil {
			t = whole
		}
		m.lose(c, queue.FoundNothing, 0, t)
	}
	m.anew, m.wasThen = false, nil
	knows = c.Version >= m.version
	if knows && m.limit.adopt(m.earned(), perHour, burst) {
		m.stamps = nil
		m.limits++
	}
	return knows
}

// earned is the time that credit is earned in, milliseconds.
func (m *model) earned() int64 { return int64(m.now)/1000 - m.skipped }

// loss is what is known of one, as long as it matters; the zero loss is none.
type loss struct {
	queue.Loss
	until, since   queue.Time
	barrier, held  queue.Time
	before         queue.Time // the loss
	blank          bool
	active, called int64
	seated         int64
}

// whole is a loss of nothing that would not fit together.
var whole = &torn{last: true, line: true, slots: true}

// lose begins a generation.
func (m *model) lose(c *queue.Call, found queue.Found, before queue.Time, t *torn) {
	inside := m.count(called) + m.count(active) + m.ghosts(c.Settings)
	first := found == queue.FoundNothing && c.Told == 0 && t.last
	for id, p := range m.people {
		if !t.line && p.is == inLine || !t.slots && (p.is == called || p.is == active) {
			delete(m.people, id)
		}
	}
	// What had been called counts in windows of the limits still, as far as the gate
	// was told of the time.
	if w := m.wasThen; w != nil {
		m.stamps = w.stamps
		if w.limits != m.limits || w.limit.perHour != m.limit.perHour || w.limit.burst != m.limit.burst {
			m.stamps, m.limits = nil, w.limits+1
		}
	}
	if first {
		m.stamps = nil
		m.limits++
	}
	m.stamps = slices.DeleteFunc(slices.Clone(m.stamps), func(at int64) bool { return at > max(c.Told, before).Millis() })
	slots := m.count(called) + m.count(active)
	l := loss{Loss: queue.Loss{Found: found, Waiting: m.count(inLine), Slots: slots}, seated: slots, before: before}
	held := max(c.Hold, 3*time.Second)
	m.calls, m.legal = 0, 0
	start := int64(0)
	if first {
		l.blank, l.since = true, m.now.Add(-c.Running)
		m.generation = uint32(m.now / 1_000_000)
		start = m.limit.burst * hour
	} else {
		unheardOf := c.Generation > m.known // a later one, of which nothing is left
		m.generation = max(m.known, c.Generation) + 1 + uint32(m.wall%1021)
		if found == queue.FoundNothing && c.Told == 0 { // but what is left tells that it is not the first start
			held = max(held, c.Settings.PollMax*3/2+4*time.Second)
			m.generation = max(m.generation, uint32(m.now/1_000_000)+1+uint32(m.wall%1021))
		} else if found == queue.FoundNothing {
			m.now = c.Told + 2_000_000
		} else {
			if c.Told-before <= 2_000_000 && t.line {
				l.barrier = m.last
			}
			if w := &m.loss; w.until > 0 && (m.now < w.held || w.blank && unheardOf) {
				// Whoever has not come back since the loss before was not there to survive.
				l.barrier = min(l.barrier, w.barrier)
				held = max(held, w.held.Sub(m.now))
			}
			m.now = max(m.now, c.Told)
		}
		l.called = c.Called
		l.active = max(c.Active, inside-c.Called)
	}
	m.limit = limit{perHour: m.limit.perHour, burst: m.limit.burst, from: m.earned(), start: start}
	if l.barrier == 0 {
		m.front = 0
	}
	l.Born, m.born = m.now, m.placed
	within := c.Settings.PollMax*3/2 + 4*time.Second
	l.until = m.now.Add(max(c.Settings.Session+10*time.Second, 2*within))
	if !l.blank {
		l.hold(m.now.Add(held))
	}
	m.loss = l
}

func (l *loss) hold(until queue.Time) {
	l.held = max(l.held, until)
	l.until = max(l.until, l.held)
}

// hear takes what a gate says that remembers what was before the loss.
func (m *model) hear(c *queue.Call, before queue.Time) {
	l := &m.loss
	if l.until == 0 || c.Generation == 0 || c.Generation >= m.generation {
		return
	}
	if l.barrier > 0 && c.Told > before && c.Told > l.before+2_000_000 {
		l.barrier, m.front = 0, 0
	}
	if l.blank {
		m.notTheFirst()
		l.hold(m.now.Add(max(c.Hold, 3*time.Second)))
	} else if m.now < l.held {
		l.hold(m.now.Add(c.Hold))
	}
	if m.now < l.held {
		l.active, l.called = max(l.active, c.Active), max(l.called, c.Called)
	}
}

// copy is what a store knows that is kept to be put back later.
func (m *model) copy() *model {
	c := *m
	c.people = make(map[queue.ID]*person, len(m.people))
	for id, p := range m.people {
		same := *p
		c.people[id] = &same
	}
	c.used, c.left, c.minute = maps.Clone(m.used), maps.Clone(m.left), maps.Clone(m.minute)
	c.limit.calls = slices.Clone(m.limit.calls)
	c.stamps, c.joins, c.pictures = slices.Clone(m.stamps), slices.Clone(m.joins), slices.Clone(m.pictures)
	return &c
}

// forget takes what a store knew by one key.
func (m *model) forget(key string) {
	name, part, _ := strings.Cut(key, ":")
	switch {
	case name == "meta":
		m.started, m.generation, m.now, m.last, m.front, m.loss = false, 0, 0, 0, 0, loss{}
	case name == "overrides":
		m.version = 0
	case name == "left":
		clear(m.left)
	case name == "away":
		maps.DeleteFunc(m.people, func(_ queue.ID, p *person) bool { return p.is == absent })
	case name == "used" && part != "":
		for id, minute := range m.minute {
			if strconv.FormatInt(minute, 10) == part {
				delete(m.used, id)
			}
		}
	}
}

func (m *model) notTheFirst() {
	m.loss.blank = false
	m.limit = limit{perHour: m.limit.perHour, burst: m.limit.burst, from: m.earned(), start: min(m.limit.credit(m.earned()), 0)}
}

// cameBack is for somebody unknown who was here before an instant.
func (m *model) cameBack(c *queue.Call, before queue.Time) {
	within := c.Settings.PollMax*3/2 + 4*time.Second
	if l := &m.loss; l.blank && before < l.since && m.now < l.Born.Add(2*within) {
		m.notTheFirst()
		l.hold(m.now.Add(within))
	}
}

// ghosts are slots of people who were inside before the loss.
func (m *model) ghosts(s *queue.Settings) (n int64) {
	l := &m.loss
	if l.until == 0 {
		return 0
	}
	if m.now < l.Born.Add(s.Session+10*time.Second) {
		n += l.active
	}
	if m.now < l.Born.Add(s.ClaimWithin) {
		n += l.called
	}
	return max(0, n-l.seated)
}

// end notes what the line looks like.
func (m *model) end() {
	l := ladder{move: m.moves, at: m.now, last: m.last}
	line := m.line()
	for rank := 0; rank < len(line); {
		l.places = append(l.places, line[rank].place)
		if rank < 64 {
			rank++
		} else {
			rank += rank / 32
		}
	}
	m.pictures = append(m.pictures, l)
}

func (m *model) moment() queue.Moment {
	return queue.Moment{Time: m.now, Generation: m.generation, Place: m.placed}
}

func (m *model) count(is where) (n int64) {
	for _, p := range m.people {
		if p.is == is {
			n++
		}
	}
	return n
}

// those returns everybody who is there, in order.
func (m *model) those(is where) (list []*person) {
	for _, p := range m.people {
		if p.is == is {
			list = append(list, p)
		}
	}
	slices.SortFunc(list, func(a, b *person) int { return cmp.Or(cmp.Compare(a.place, b.place), cmp.Compare(a.id, b.id)) })
	return list
}

func (m *model) line() []*person { return m.those(inLine) }

// free is how many visitors the limits allow to call now.
func (m *model) free(c *queue.Call, knows bool) int64 {
	if c.Settings.Mode != queue.ModeAuto || !knows {
		return 0
	}
	n := int64(1 << 40)
	if m.limit.perHour >= 0 {
		n = m.limit.credit(m.earned()) / hour
	}
	if c.Settings.MaxActive > 0 {
		if l := m.loss; l.until > 0 && !l.blank && m.now < l.Born+3_000_000 {
			return 0
		}
		n = min(n, c.Settings.MaxActive-m.count(called)-m.count(active)-m.ghosts(c.Settings))
	}
	return max(n, 0)
}

func (m *model) add(id queue.ID, place queue.Time) *person {
	p := &person{id: id, place: place}
	m.people[id] = p
	return p
}

// lineUp puts somebody in line.
func (m *model) lineUp(p *person, deadline queue.Time) {
	p.is, p.deadline = inLine, deadline
	m.joins = append(m.joins, join{m.moves, p.place, p.place > m.last})
	m.last = max(m.last, p.place)
}

// call gives somebody a slot that waits for them.
func (m *model) call(p *person, deadline queue.Time) {
	p.is, p.deadline, p.called = called, deadline, m.now/1000*1000
	m.front = max(m.front, p.place)
	m.calls++
}

// activate gives somebody a session.
func (m *model) activate(c *queue.Call, p *person, end queue.Time) {
	p.is, p.deadline = active, end
	m.useUp(p.id, p.place, m.now.Add(c.Settings.UsedFor()))
}

// useUp has a ticket give nothing any more.
func (m *model) useUp(id queue.ID, place, until queue.Time) {
	m.used[id], m.minute[id] = max(m.used[id], until), int64(place)/60_000_000
}

func (m *model) enter(c *queue.Call, a queue.Arrival, knows bool) queue.Standing {
	s := c.Settings
	p := m.people[a.ID]
	_, used := m.used[a.ID]
	open := s.Mode == queue.ModeOpen && knows
	out := queue.Standing{Rank: -1}

	if _, left := m.left[a.ID]; p == nil && (used || left) {
		out.State = queue.Used
		return out
	}
	if p != nil {
		p.heard = true
	} else if a.Newcomer {
		place := min(max(a.Place, m.placed-2_000_000), m.placed)
		switch {
		case s.Mode == queue.ModeClosed:
			out.State = queue.Closed
			return out
		case open && a.Claim, a.Claim && len(m.line()) == 0 && m.now >= m.loss.held && m.free(c, knows) > 0:
			if !open && m.limit.perHour >= 0 {
				m.limit.calls = append(m.limit.calls, m.earned())
			}
			if !open {
				m.legal = s.MaxActive
			}
			p = m.add(a.ID, place)
			m.call(p, m.now.Add(s.ClaimWithin))
			out.Joined, out.Claimed = true, true
			return provisional(s, p, out)
		case !a.Join:
			out.State = queue.None
			return out
		case s.MaxWaiting > 0 && m.count(inLine) >= s.MaxWaiting:
			out.State = queue.Full
			return out
		}
		p = m.add(a.ID, place)
		m.lineUp(p, a.Deadline)
		out.Joined = true
	} else {
		m.cameBack(c, a.Place)
		p = m.add(a.ID, min(a.Place, m.placed+2_000_000))
		p.heard = true
		m.lineUp(p, a.Deadline)
		out.Restored = a.Place < m.born
	}

	switch p.is {
	case active:
		p.deadline = max(p.deadline, sessionEnd(s, p.called, m.now.Add(s.Session)))
		return admitted(p, out)
	case called:
		switch {
		case a.Newcomer && a.Claim:
			p.deadline = max(p.deadline, p.called.Add(s.ClaimWithin))
			return provisional(s, p, out)
		case a.Claim:
			m.activate(c, p, sessionEnd(s, p.called, m.now.Add(s.Session)))
			out.Claimed = true
			return admitted(p, out)
		}
		p.deadline = min(max(p.deadline, a.Deadline), p.called.Add(s.ClaimWithin))
		out.State, out.Place = queue.Waiting, p.place
		return out
	case absent:
		if !a.Newcomer && a.Place > 0 {
			p.place = min(p.place, a.Place)
		}
		m.lineUp(p, a.Deadline)
	case inLine:
		if a.Claim && !a.Newcomer && a.Place > 0 && a.Place < p.place {
			p.place = a.Place
			m.joins = append(m.joins, join{m.moves, p.place, false})
		}
		p.deadline = max(p.deadline, a.Deadline)
	}
	out.State, out.Place = queue.Waiting, p.place
	switch {
	case open && a.Claim:
		m.call(p, 0)
		m.activate(c, p, sessionEnd(s, p.called, m.now.Add(s.Session)))
		out.Claimed = true
		return admitted(p, out)
	case s.Mode == queue.ModeClosed:
		out.State = queue.Closed
	case a.Claim:
		out.Rank = int64(slices.Index(m.line(), p))
	}
	return out
}

func admitted(p *person, out queue.Standing) queue.Standing {
	out.State, out.Place, out.Called, out.Until = queue.Admitted, p.place, p.called, p.deadline-10_000_000
	return out
}

func provisional(s *queue.Settings, p *person, out queue.Standing) queue.Standing {
	margin := min(10*time.Second, s.ClaimWithin/2)
	out.State, out.Place, out.Called, out.Until = queue.Admitted, p.place, p.called, p.deadline.Add(-margin)
	out.Provisional = true
	return out
}

func sessionEnd(s *queue.Settings, called, end queue.Time) queue.Time {
	if s.MaxSession > 0 {
		end = min(end, called.Add(s.MaxSession))
	}
	return end + 10_000_000
}

// fall lowers the most who may be inside to max_active, as people leave.
func (m *model) fall(c *queue.Call, knows bool) {
	s := c.Settings
	if !knows {
		return
	}
	if s.MaxActive == 0 || s.Mode == queue.ModeOpen {
		m.legal = 0
	}
	if inside := m.count(called) + m.count(active) + m.ghosts(s); m.legal > s.MaxActive {
		m.legal = min(m.legal, max(inside, s.MaxActive))
	} else if m.legal > 0 {
		m.legal = s.MaxActive
	}
}

func (m *model) renew(c *queue.Call, v queue.Visit) (out queue.Renewal) {
	s := c.Settings
	p := m.people[v.ID]
	since := v.Called
	slot := p != nil && (p.is == called || p.is == active)
	if slot {
		since = p.called
	}
	_, left := m.left[v.ID]
	if p == nil && left || s.MaxSession > 0 && m.now >= since.Add(s.MaxSession) {
		out.Gone = true
		return out
	}
	if end := sessionEnd(s, since, min(v.At, m.now).Add(max(s.Session, v.Extend))); !slot && max(end, v.Until+10_000_000) <= m.now {
		delete(m.people, v.ID)
		m.useUp(v.ID, v.Place, m.now.Add(s.UsedFor()))
		out.Gone = true
		return out
	}
	if !slot && s.Mode == queue.ModeAuto {
		out.Overshoot = m.legal > 0 && m.count(called)+m.count(active)+1 > m.legal
	}
	end := sessionEnd(s, since, min(v.At, m.now).Add(max(s.Session, v.Extend)))
	if !slot && v.Called < m.loss.Born { // a slot from before the loss is heard of
		defer func() { m.loss.seated++ }()
	}
	switch {
	case p == nil:
		m.cameBack(c, v.Called)
		p = m.add(v.ID, v.Place)
		out.Restored = true
	case p.is == active:
		p.deadline = max(p.deadline, end)
		if _, known := m.used[v.ID]; !known { // it was lost that the ticket is used
			m.useUp(v.ID, v.Place, m.now.Add(s.UsedFor()))
		}
	default:
		out.Claimed = true
	}
	p.called = since
	if p.is != active {
		m.activate(c, p, max(end, v.Until+10_000_000))
	}
	out.Until = p.deadline - 10_000_000
	return out
}

func (m *model) leave(c *queue.Call, d queue.Departure) (out queue.Departed) {
	until := d.Until
	if p := m.people[d.ID]; p != nil {
		out.Slot = p.is == called || p.is == active
		out.Place = !out.Slot
		if out.Slot {
			until = max(until, p.deadline)
		}
		delete(m.people, d.ID)
	}
	until = max(until.Add(time.Minute), m.now.Add(c.Settings.UsedFor()))
	m.left[d.ID] = max(m.left[d.ID], until)
	m.useUp(d.ID, d.Place, until)
	return out
}

// goAway keeps the place of somebody who was heard of since they came.
func (m *model) goAway(s *queue.Settings, p *person, out *queue.Snapshot) {
	if p.heard {
		p.is, p.deadline = absent, m.now.Add(s.KeepPlace)
		return
	}
	delete(m.people, p.id)
	out.Abandoned++
}

// tick returns what a store must tell, but for the ladder.
func (m *model) tick(c *queue.Call, knows bool) (out queue.Snapshot, justCalled []*person) {
	s := c.Settings
	for _, p := range m.those(active) {
		if p.deadline <= m.now {
			delete(m.people, p.id)
			out.Ended++
		}
	}
	for _, p := range m.those(absent) {
		if p.deadline <= m.now {
			delete(m.people, p.id)
			out.Abandoned++
		}
	}
	for _, p := range m.those(called) {
		if p.deadline <= m.now {
			m.goAway(s, p, &out)
			out.NoShows++
		}
	}
	for _, p := range m.line() {
		if p.deadline <= m.now {
			m.goAway(s, p, &out)
		}
	}
	m.fall(c, knows)
	for _, p := range m.line() {
		if m.free(c, knows) == 0 || m.now < m.loss.held && p.place > m.loss.barrier {
			break
		}
		if m.limit.perHour >= 0 {
			m.limit.calls = append(m.limit.calls, m.earned())
		}
		m.call(p, min(p.deadline, m.now.Add(s.ClaimWithin)))
		m.legal = s.MaxActive
		justCalled = append(justCalled, p)
	}
	if s.MaxWaiting > 0 && knows {
		gone := m.those(absent)
		slices.SortFunc(gone, func(a, b *person) int { return cmp.Or(cmp.Compare(a.deadline, b.deadline), cmp.Compare(a.id, b.id)) })
		for _, p := range gone[:max(int64(len(gone))-s.MaxWaiting, 0)] {
			delete(m.people, p.id)
			out.Abandoned++
		}
	}
	out.NewCalls = int64(len(justCalled))
	out.Moment = m.moment()
	out.Waiting, out.Away, out.Called, out.Active = m.count(inLine), m.count(absent), m.count(called), m.count(active)
	out.Front, out.Calls = m.front, m.calls
	if l := m.loss; l.until > 0 {
		out.Barrier = l.barrier
		if m.now < l.held {
			out.Held = l.held
		}
		if c.Generation < m.generation {
			out.Loss = &l.Loss
		}
	}
	out.PerHour, out.Burst = m.limit.perHour, m.limit.burst
	return out, justCalled
}
