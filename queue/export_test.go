package queue

import (
	"cmp"
	"maps"
	"slices"
	"time"
)

// Remembered is how many sessions a gate keeps in mind: those used of late, and
// those that are over while a pass for them may still be about.
func (l *Line) Remembered() (used, gone int) {
	l.visits.mu.Lock()
	defer l.visits.mu.Unlock()
	return len(l.visits.known), len(l.visits.gone)
}

// Held is how many polls are held.
func (l *Line) Held() int {
	l.held.mu.Lock()
	defer l.held.mu.Unlock()
	return len(l.held.set)
}

// What follows drives a Line without its goroutines, one step at a time.

// Tick and Report do what a Line does by itself as time passes.
func (l *Line) Tick() {
	began := l.now().Sub(l.begun)
	if _, err := l.tick(); err != nil {
		l.contact.note(began)
	}
}

// Report sends marks and the use of passes.
func (l *Line) Report() { l.report() }

// Ask runs f, which asks the line, and sends what it asks for.
func (l *Line) Ask(f func()) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		f()
	}()
	for {
		select {
		case <-l.entering.ready:
			l.entering.flush(nil, nil)
		case <-l.leaving.ready:
			l.leaving.flush(nil, nil)
		case <-done:
			return
		}
	}
}

// SetNear sets how far behind the front a visitor is answered without the store.
func (l *Line) SetNear(near int64) { l.nearer = nearFront - near }

// Clone returns a line that knows what l knows, at another store. Nobody may be
// asking. It does not know the pace.
func (l *Line) Clone(store Store, now func() time.Time) *Line {
	c := &Line{
		name: l.name, store: store, now: now, log: l.log, begun: l.begun, metrics: l.metrics, counts: l.counts, nearer: l.nearer,
		file: l.file, override: l.override, kick: l.kick,
	}
	c.clock.now = now
	c.clock.known.Store(l.clock.known.Load())
	c.clock.last.Store(l.clock.last.Load())
	v := *l.view.Load()
	v.pace = Pace{}
	c.view.Store(&v)
	c.entering.init(c.sendEnter)
	c.entering.order = l.entering.order
	c.leaving.init(c.sendLeave)
	c.marks.items = slices.Clone(l.marks.items)
	c.visits.init()
	for id, e := range l.visits.known {
		same := *e
		c.visits.known[id] = &same
	}
	maps.Copy(c.visits.gone, l.visits.gone)
	c.visits.swept, c.visits.admitted = l.visits.swept, l.visits.admitted
	c.visits.any.Store(l.visits.any.Load())
	c.given.items = slices.Clone(l.given.items[l.given.first:])
	c.given.due = slices.Clone(l.given.due)
	c.down.Store(l.down.Load())
	c.admits.Store(l.admits.Load())
	c.horizon.Store(l.horizon.Load())
	c.welcomed.Store(l.welcomed.Load())
	c.held.init()
	c.joining.init()
	c.joining.items = slices.Clone(l.joining.items)
	c.joining.given, c.joining.told = l.joining.given, l.joining.told
	c.contact.init()
	c.contact.at.Store(l.contact.at.Load())
	return c
}

// Note tells all that the line knows, but for its pace and settings, in the same order
// for the same knowledge: instants of room time and of the machine's, places, of which
// only the order matters, and other numbers.
func (l *Line) Note(instant, place func(Time), machine func(time.Time), number func(int64)) {
	flag := func(b bool) {
		if b {
			number(1)
		} else {
			number(0)
		}
	}
	h := l.clock.heard()
	instant(h.told)
	instant(h.stamp)
	instant(h.base)
	instant(h.last)
	machine(h.at)
	number(int64(h.generation))
	place(h.placeAt(l.now()))
	if last := Time(l.clock.last.Load()); last < l.clock.placeTime(l.now()) {
		place(0)
	} else {
		place(last)
	}
	v := l.view.Load()
	machine(v.received)
	if !v.received.IsZero() {
		instant(v.Time)
		number(int64(v.Generation))
		for _, n := range []int64{v.Waiting, v.Away, v.Called, v.Active, v.crowd} {
			number(n)
		}
		place(v.Front)
		place(v.Ladder.Last)
		for _, p := range v.Ladder.Places {
			place(p)
		}
		instant(v.Held)
		place(v.Barrier)
		flag(v.rebuilt)
	}
	machine(l.begun)
	place(Time(l.begun.UnixMicro()))
	machine(l.begun.Add(time.Duration(l.horizon.Load())))
	machine(l.begun.Add(time.Duration(l.contact.at.Load())))
	number(l.welcomed.Load())
	flag(l.down.Load())
	for _, a := range l.marks.items {
		number(int64(a.ID))
		place(a.Place)
		instant(a.Deadline)
	}
	visit := func(v *Visit) {
		number(int64(v.ID))
		place(v.Place)
		for _, t := range []Time{v.Called, v.Until, v.At} {
			instant(t)
		}
	}
	for _, id := range slices.Sorted(maps.Keys(l.visits.known)) {
		e := l.visits.known[id]
		visit(&e.Visit)
		flag(e.wanted)
		flag(e.admitted)
		flag(e.untold)
		machine(e.used)
		instant(e.asked)
		instant(e.confirmed)
	}
	for _, id := range slices.Sorted(maps.Keys(l.visits.gone)) {
		number(int64(id))
		instant(l.visits.gone[id])
	}
	number(l.visits.admitted)
	for _, gifts := range [][]gift{l.given.items[l.given.first:], l.given.due} {
		number(int64(len(gifts)))
		gifts = slices.Clone(gifts)
		slices.SortStableFunc(gifts, func(a, b gift) int { return cmp.Compare(a.ID, b.ID) })
		for i := range gifts {
			visit(&gifts[i].Visit)
			flag(gifts[i].left)
		}
	}
}
