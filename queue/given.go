package queue

import "sync"

// given are the visitors whom this gate gave passes to, or saw leave, for as long as
// a copy of their ticket may be good: a store that lost its memory is told of them
// again, before it lets anybody in by such a copy.
type given struct {
	mu    sync.Mutex
	items []gift // oldest first
	first int    // of those that still count
	due   []gift // to be told to a store that lost something
}

type gift struct {
	Visit
	left bool
}

// maxGiven bounds the memory that this takes. The oldest are forgotten first.
const maxGiven = 1 << 17

// add remembers one more, and forgets those from before an instant.
func (g *given) add(v gift, before Time) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.items = append(g.items, v)
	for len(g.items)-g.first > maxGiven || g.items[g.first].At < before {
		g.first++
	}
	if g.first > len(g.items)/2 && g.first > 1000 {
		g.items = append(g.items[:0], g.items[g.first:]...)
		g.first = 0
	}
}

// lost has everything told again.
func (g *given) lost() {
	g.mu.Lock()
	g.due = append([]gift(nil), g.items[g.first:]...)
	g.mu.Unlock()
}

// take returns what is to be told; keep has it told later.
func (g *given) take() []gift {
	g.mu.Lock()
	defer g.mu.Unlock()
	due := g.due
	g.due = nil
	return due
}

func (g *given) keep(due []gift) {
	g.mu.Lock()
	if g.due == nil {
		g.due = due
	}
	g.mu.Unlock()
}

// give remembers a visitor who got a pass, or left.
func (l *Line) give(v Visit, left bool) {
	v.At = l.clock.time()
	l.given.add(gift{v, left}, v.At.Add(-l.Settings().UsedFor()))
}

// handOver tells a store that lost something whose tickets are used. Those whose
// sessions go on have them again.
func (l *Line) handOver() error {
	if l.isDown() {
		return errDown
	}
	due := l.given.take()
	var visits []Visit
	var leaves []Departure
	var renewed []Renewal
	var departed []Departed
	for rest := due; len(rest) > 0; {
		n := min(len(rest), reportSize)
		visits, leaves = visits[:0], leaves[:0]
		l.visits.mu.Lock()
		for _, v := range rest[:n] {
			_, gone := l.visits.gone[v.ID]
			if v.left || gone {
				leaves = append(leaves, Departure{ID: v.ID, Place: v.Place, Until: v.Until})
				continue
			}
			if e := l.visits.known[v.ID]; e != nil {
				v.Until, v.At = max(v.Until, e.confirmed), max(v.At, e.At)
			}
			visits = append(visits, v.Visit)
		}
		l.visits.mu.Unlock()
		var err error
		if len(visits) > 0 {
			renewed, err = l.tell(visits, renewed[:0])
		}
		if err == nil && len(leaves) > 0 {
			departed, err = l.leave(leaves, departed[:0])
		}
		if err != nil {
			l.given.keep(rest)
			return err
		}
		rest = rest[n:]
	}
	return nil
}
