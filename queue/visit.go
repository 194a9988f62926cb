package queue

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sluicegate/sluice/metrics"
)

const (
	// reportEvery is how often presence marks and the use of passes are sent.
	reportEvery = time.Second
	reportSize  = 2000
	// claimWait is how long the first uses of passes given on the spot are gathered.
	claimWait = 50 * time.Millisecond
	// goneSweep is how often the visitors who left are looked through.
	goneSweep = 30 * time.Second
	// maxMarks bounds the marks kept while the store is away. Visitors whose mark
	// is dropped are marked by their next poll.
	maxMarks = 100_000
)

// marks are the visitors whose polls were answered without the store.
type marks struct {
	mu    sync.Mutex
	items []mark
	spare []mark
}

// mark is one of them. Until is the arrival's deadline by the gate's own clock, since it
// began: while the gate hears no store, room time may go on at others.
type mark struct {
	Arrival
	until time.Duration
}

// mark has the store told, within a second or as soon as it answers, of somebody who
// is present from now on for so long.
func (l *Line) mark(a Arrival, now time.Time, present time.Duration) {
	m := &l.marks
	m.mu.Lock()
	if len(m.items) < maxMarks {
		m.items = append(m.items, mark{a, now.Sub(l.begun) + present})
		l.marked.note(a.ID, a.Deadline)
	}
	m.mu.Unlock()
}

// take returns what was gathered, until it is given back.
func (m *marks) take() []mark {
	m.mu.Lock()
	defer m.mu.Unlock()
	taken := m.items
	m.items, m.spare = m.spare[:0], nil
	return taken
}

// giveBack ends the use of what was taken, and keeps what could not be sent.
func (m *marks) giveBack(taken, unsent []mark) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.items = append(m.items, unsent[:min(len(unsent), maxMarks-len(m.items))]...)
	m.spare = taken[:0]
}

// visits are the sessions whose passes were used since a quarter of them was
// spent, and what the store said of them.
type visits struct {
	mu       sync.Mutex
	known    map[ID]*visited
	gone     map[ID]Time   // until the last copy of the pass expires by itself
	swept    Time          // when gone was last looked through
	admitted int64         // by this gate, since the latest snapshot
	soon     chan struct{} // a slot waits for the word that its visitor came
	asking   atomic.Int32  // uses that wait for the store
	any      atomic.Bool   // gone is not empty: what the hot path looks at
}

type visited struct {
	Visit
	wanted    bool      // to be sent
	used      time.Time // by this gate's clock; Visit.At is room time, as it was known then
	asked     Time      // when it was last wanted
	confirmed Time      // latest instant that a pass may be valid to
	admitted  bool      // by this gate, while the store did not answer
	untold    bool      // let in on the spot, and the store has yet to confirm that they came
}

func (v *visits) init() {
	v.known = make(map[ID]*visited)
	v.gone = make(map[ID]Time)
	v.soon = make(chan struct{}, 1)
}

// MaxExtend is the longest idle time that an origin can ask for one visitor.
const MaxExtend = time.Hour

// Pass is what a visitor shows who was let in.
type Pass struct {
	ID          ID
	Place       Time
	Called      Time
	Issued      Time // when the pass was made: the store was asked of the session then
	Until       Time // until when it is valid
	Provisional bool // given on the spot and not shown before
}

// Use records that a valid pass was used. It returns until when a new pass may be
// valid if one should be issued now, else 0; or that the session is over and the
// pass void. Most uses cost nothing: the store is asked, in the background, once a
// quarter of a session has passed since the pass was made. However long the pass is
// good for, so it is refused that long after its visitor left by another gate.
//
// Whose pass is half over, and not confirmed for longer here, may come to another gate each
// time, or not again before it and the cookie are over: for them the store is asked at once.
//
// While the store does not answer, every use is noted: room time may go on at other
// gates, and whoever was busy here all the while is not to be taken for idle.
func (l *Line) Use(p Pass) (renewed Time, gone bool) { return l.UseAt(l.now(), p) }

// UseAt is Use where the gate's clock was looked at a moment ago.
func (l *Line) UseAt(used time.Time, p Pass) (renewed Time, gone bool) {
	renewed, gone, ask := l.use(used, p)
	if ask.ID == 0 {
		return renewed, gone
	}
	defer l.visits.asking.Add(-1)
	if l.visits.asking.Add(1) > mostAsking {
		return renewed, gone // the next report tells of it
	}
	out, err := l.sendRenew([]Visit{ask}, nil)
	switch {
	case err == nil && out[0].Gone:
		return 0, true
	case err != nil || out[0].Until <= p.Until:
		return 0, false
	}
	return out[0].Until, false
}

// mostAsking is how many uses of passes wait for the store at a time.
const mostAsking = 16

// use notes a use, and returns the visit that the store is to be asked of at once, if any.
func (l *Line) use(used time.Time, p Pass) (renewed Time, gone bool, ask Visit) {
	now := l.clock.timeAt(used)
	session := l.Settings().Session
	if l.visits.any.Load() && l.visits.isGone(p.ID) {
		return 0, true, ask
	}
	quarter := session / 4
	down := l.isDown()
	if !p.Provisional && now.Sub(p.Issued) < quarter && p.Until.Sub(now) >= session-quarter && !down {
		return 0, false, ask
	}
	v := &l.visits
	v.mu.Lock()
	defer v.mu.Unlock()
	e := v.known[p.ID]
	if e == nil {
		e = &visited{}
		v.known[p.ID] = e
	}
	due := e.asked == 0 || now.Sub(e.asked) >= quarter || down
	if due {
		e.asked, e.wanted = now, true
	}
	e.untold = e.untold || p.Provisional && e.confirmed == 0
	if e.wanted {
		e.Visit = Visit{ID: p.ID, Place: p.Place, Called: p.Called, Until: max(p.Until, e.confirmed), At: now}
		e.used = used
	}
	if due && p.Provisional {
		select {
		case v.soon <- struct{}{}:
		default:
		}
	}
	if e.confirmed > p.Until {
		return e.confirmed, false, ask
	}
	if due && !p.Provisional && !down && p.Until.Sub(now) < session/2 {
		ask = e.Visit
	}
	return 0, false, ask
}

// Stays tells whether a visitor whose pass looks expired is inside all the same: it was
// used while it was good, and the store has not been asked yet or has confirmed it.
func (l *Line) Stays(id ID) bool {
	v := &l.visits
	v.mu.Lock()
	defer v.mu.Unlock()
	e := v.known[id]
	return e != nil && (e.wanted || e.confirmed > l.clock.time())
}

func (v *visits) isGone(id ID) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	_, gone := v.gone[id]
	return gone
}

// Extend asks now for a session that may idle longer, and returns until when a
// new pass may be valid.
func (l *Line) Extend(id ID, place, called, until Time, extend time.Duration) (Time, error) {
	in := []Visit{{ID: id, Place: place, Called: called, Until: until, At: l.clock.time(), Extend: extend}}
	out, err := l.sendRenew(in, nil)
	if err != nil {
		return 0, err
	}
	return out[0].Until, nil
}

// Leave frees a visitor's slot or place now. Until is the pass's, 0 for a ticket.
func (l *Line) Leave(id ID, place, until Time) error {
	l.joining.remove(id)
	_, err := l.leaving.ask(Departure{ID: id, Place: place, Until: until})
	if err == nil {
		l.visits.mu.Lock()
		l.visits.void(id, l.lastCopy())
		l.visits.mu.Unlock()
	}
	return err
}

// lastCopy is when the last copy of a pass expires that any gate may have made: a
// moment ago, extended as far as can be.
func (l *Line) lastCopy() Time { return l.clock.time().Add(max(l.Settings().Session, MaxExtend)) }

// void makes this gate refuse every pass of a visitor. v.mu is held.
func (v *visits) void(id ID, until Time) {
	delete(v.known, id)
	v.gone[id] = until
	v.any.Store(true)
}

func (l *Line) sendRenew(in []Visit, out []Renewal) ([]Renewal, error) {
	if l.isDown() {
		return out, errDown
	}
	return l.renew(in, out)
}

// renew asks whether the store is thought to answer or not.
func (l *Line) renew(in []Visit, out []Renewal) ([]Renewal, error) {
	out, err := l.tell(in, out)
	if err != nil {
		return out, err
	}
	l.visits.mu.Lock()
	defer l.visits.mu.Unlock()
	for i := range out {
		if out[i].Gone {
			l.visits.void(in[i].ID, l.lastCopy())
		}
	}
	return out, nil
}

// tell has the store know of visits. That one of them is over does not say that of
// passes which other gates have given since.
func (l *Line) tell(in []Visit, out []Renewal) ([]Renewal, error) {
	err := l.do(metrics.Renew, len(in), func(ctx context.Context, c *Call) (m Moment, err error) {
		out, m, err = l.store.Renew(ctx, c, in, out)
		return m, err
	})
	if err != nil {
		return out, err
	}
	v := &l.visits
	v.mu.Lock()
	defer v.mu.Unlock()
	for i := range out {
		if out[i].Gone {
			continue
		}
		came := out[i].Claimed
		if e := v.known[in[i].ID]; e != nil {
			e.confirmed = max(e.confirmed, out[i].Until)
			e.wanted = e.wanted && e.At > in[i].At
			came = came || e.untold // told before, and the answer was lost
			e.untold = false
		}
		if came {
			l.give(in[i], false)
		}
		if out[i].Restored {
			l.counts.Restored.Add(1)
		}
		if out[i].Overshoot {
			l.counts.Overshoot.Add(1)
		}
	}
	return out, nil
}

// due returns the visits to be sent, and drops what is over. A pass was used at the
// room time that this gate knew then, or as long ago as its clock says, whichever is
// later: over an outage room time stands, or it went on without this gate.
func (v *visits) due(now Time, clock time.Time, in []Visit) []Visit {
	v.mu.Lock()
	defer v.mu.Unlock()
	for id, e := range v.known {
		switch {
		case e.wanted:
			e.At = max(e.At, now.Add(-clock.Sub(e.used)))
			in = append(in, e.Visit)
		case e.confirmed < now:
			delete(v.known, id)
		}
	}
	if now < v.swept.Add(goneSweep) {
		return in
	}
	v.swept = now
	for id, until := range v.gone {
		if until < now {
			delete(v.gone, id)
		}
	}
	v.any.Store(len(v.gone) > 0)
	return in
}

// reportForever sends marks and visits once a second, and what is left at the end.
func (l *Line) reportForever(ctx context.Context) {
	second := newAlarm(reportEvery)
	defer second.stop()
	gathered := newAlarm(0)
	defer gathered.stop()
	for {
		select {
		case <-second.rings:
			second.reset(reportEvery)
			l.report()
		case <-l.visits.soon:
			gathered.reset(claimWait)
		case <-gathered.rings:
			_ = l.sendVisits(l.sendRenew)
		case <-ctx.Done():
			l.report()
			return
		}
	}
}

func (l *Line) report() {
	// What could not be sent is kept for the next time.
	l.sendJoining() // or their marks would tell of them first
	_ = l.handOver()
	_ = l.sendMarks(l.sendEnter)
	_ = l.sendVisits(l.sendRenew)
}

// sendVisits sends the use of passes gathered so far.
func (l *Line) sendVisits(renew func([]Visit, []Renewal) ([]Renewal, error)) error {
	var renewals []Renewal
	now := l.now()
	for batch := range batches(l.visits.due(l.clock.timeAt(now), now, nil)) {
		var err error
		if renewals, err = renew(batch, renewals[:0]); err != nil {
			return err
		}
	}
	return nil
}

// sendMarks sends the marks gathered so far. A visitor is present until the room time
// that this gate took for the end of it then, or until its own clock says so, whichever
// is later: over an outage room time stands, or it went on without this gate.
func (l *Line) sendMarks(enter func([]Arrival, []Standing) ([]Standing, error)) error {
	marks := l.marks.take()
	unsent := marks
	var arrivals []Arrival
	var standings []Standing
	var err error
	for batch := range batches(marks) {
		now := l.now()
		room := l.clock.timeAt(now)
		arrivals = arrivals[:0]
		for i := range batch {
			a := batch[i].Arrival
			a.Deadline = max(a.Deadline, room.Add(batch[i].until-now.Sub(l.begun)))
			arrivals = append(arrivals, a)
		}
		if standings, err = enter(arrivals, standings[:0]); err != nil {
			l.marked.forget()
			break
		}
		unsent = unsent[len(batch):]
	}
	l.marks.giveBack(marks, unsent)
	return err
}

// batches cuts items into calls of bounded size.
func batches[T any](items []T) func(func([]T) bool) {
	return func(yield func([]T) bool) {
		for len(items) > 0 {
			n := min(len(items), reportSize)
			if !yield(items[:n]) {
				return
			}
			items = items[n:]
		}
	}
}
