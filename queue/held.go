package queue

import (
	"cmp"
	"slices"
	"sync"
	"time"
)

// heldPolls are polls near the front that are kept back until their visitor is
// called: then the call, the claim and the answer are one moment, the shop sees
// the regulated calls instead of the phases of polls, and nobody sees a later
// visitor go in first.
type heldPolls struct {
	mu  sync.Mutex
	set map[*heldPoll]struct{}
}

type heldPoll struct {
	arrival Arrival
	alive   func() bool // nil: unknown
	result  chan Standing
}

func (h *heldPolls) init() { h.set = make(map[*heldPoll]struct{}) }

func (h *heldPolls) add(p *heldPoll, limit int) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.set) >= limit {
		return false
	}
	h.set[p] = struct{}{}
	return true
}

func (h *heldPolls) remove(p *heldPoll) {
	h.mu.Lock()
	delete(h.set, p)
	h.mu.Unlock()
}

// upTo returns the polls of visitors whose place is not after the front, in order
// of place.
func (h *heldPolls) upTo(front Time) []*heldPoll {
	h.mu.Lock()
	var due []*heldPoll
	for p := range h.set {
		if p.arrival.Place <= front {
			due = append(due, p)
		}
	}
	h.mu.Unlock()
	slices.SortFunc(due, func(a, b *heldPoll) int { return cmp.Compare(a.arrival.Place, b.arrival.Place) })
	return due
}

// hold keeps a poll back until its visitor is let in, or for heldFor. ok is false
// when the visitor still waits.
func (l *Line) hold(a Arrival, alive func() bool) (s Standing, ok bool) {
	p := &heldPoll{arrival: a, alive: alive, result: make(chan Standing, 1)}
	if !l.held.add(p, l.maxHeld) {
		return s, false
	}
	l.wake()
	timer := time.NewTimer(heldFor)
	defer timer.Stop()
	select {
	case s = <-p.result:
		return s, true
	case <-timer.C:
	}
	l.held.remove(p)
	select {
	case s = <-p.result: // let in just now
		return s, true
	default:
		return s, false
	}
}

// answerHeld asks for the held visitors who may have been called, and answers
// those who were, in order of place.
func (l *Line) answerHeld(front Time) {
	due := l.held.upTo(front)
	due = slices.DeleteFunc(due, func(p *heldPoll) bool {
		if p.alive == nil || p.alive() {
			return false
		}
		l.held.remove(p) // went away while held: takes no slot
		return true
	})
	var in []Arrival
	var out []Standing
	for batch := range batches(due) {
		in, out = in[:0], out[:0]
		for _, p := range batch {
			in = append(in, p.arrival)
		}
		var err error
		if out, err = l.sendEnter(in, out); err != nil {
			return
		}
		for i, p := range batch {
			if out[i].State != Waiting {
				l.held.remove(p)
				p.result <- out[i]
			}
		}
	}
}
