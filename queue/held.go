package queue

import (
	"cmp"
	"slices"
	"sync"
)

// heldPolls are polls near the front that are kept back until their visitor is
// called: then the call, the claim and the answer are one moment, the shop sees
// the regulated calls instead of the phases of polls, and nobody sees a later
// visitor go in first.
type heldPolls struct {
	mu  sync.Mutex
	set map[*heldPoll]struct{}
}

// heldPoll is held by the goroutine of its request, which lends it to a tick for as
// long as that asks the store about it: until the tick gives it back, the request is
// not answered, so that its connection may be looked at, and nobody is let in
// without being told.
type heldPoll struct {
	arrival Arrival
	alive   func() bool // nil: unknown
	result  chan heldResult

	lent bool // to a tick
	late bool // its time was over while it was lent
}

type heldResult struct {
	standing Standing
	in       bool // else the visitor still waits
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

// giveUp is for a poll whose time is over. It is false for one that is lent: that
// gets a result soon.
func (h *heldPolls) giveUp(p *heldPoll) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if p.lent {
		p.late = true
		return false
	}
	delete(h.set, p)
	return true
}

// lend returns the polls of visitors whose place is not after the front, in order
// of place. Each is to be given back or ended.
func (h *heldPolls) lend(front Time) []*heldPoll {
	h.mu.Lock()
	var due []*heldPoll
	for p := range h.set {
		if p.arrival.Place <= front {
			p.lent = true
			due = append(due, p)
		}
	}
	h.mu.Unlock()
	slices.SortFunc(due, func(a, b *heldPoll) int { return cmp.Compare(a.arrival.Place, b.arrival.Place) })
	return due
}

// giveBack is for a lent poll whose visitor still waits.
func (h *heldPolls) giveBack(p *heldPoll) {
	h.mu.Lock()
	p.lent = false
	late := p.late
	h.mu.Unlock()
	if late {
		h.end(p, heldResult{})
	}
}

// endAll answers every poll that is held: those that are lent once they are given back.
func (h *heldPolls) endAll() {
	h.mu.Lock()
	defer h.mu.Unlock()
	for p := range h.set {
		if p.lent {
			p.late = true
			continue
		}
		delete(h.set, p)
		p.result <- heldResult{}
	}
}

// end answers a lent poll.
func (h *heldPolls) end(p *heldPoll, r heldResult) {
	h.mu.Lock()
	delete(h.set, p)
	h.mu.Unlock()
	p.result <- r
}

// AnswerHeld answers the polls that are held, early: their connections are wanted.
func (l *Line) AnswerHeld() { l.held.endAll() }

// hold keeps a poll back until its visitor is let in, or for heldFor. in is false
// when the visitor still waits.
func (l *Line) hold(a Arrival, alive func() bool) (s Standing, in bool) {
	p := &heldPoll{arrival: a, alive: alive, result: make(chan heldResult, 1)}
	if !l.held.add(p, l.maxHeld) {
		return s, false
	}
	l.wake()
	over := newAlarm(heldFor)
	defer over.stop()
	select {
	case r := <-p.result:
		return r.standing, r.in
	case <-over.rings:
	}
	if l.held.giveUp(p) {
		return s, false
	}
	r := <-p.result
	return r.standing, r.in
}

// answerHeld asks for the held visitors who may have been called, and answers
// those who were, in order of place.
func (l *Line) answerHeld(front Time) {
	due := slices.DeleteFunc(l.held.lend(front), func(p *heldPoll) bool {
		if p.alive == nil || p.alive() {
			return false
		}
		l.held.end(p, heldResult{}) // went away while held: takes no slot
		return true
	})
	var in []Arrival
	var out []Standing
	var err error
	for batch := range batches(due) {
		if err == nil {
			in, out = in[:0], out[:0]
			for _, p := range batch {
				in = append(in, p.arrival)
			}
			out, err = l.sendEnter(in, out)
		}
		for i, p := range batch {
			if err != nil || out[i].State == Waiting {
				l.held.giveBack(p)
			} else {
				l.held.end(p, heldResult{out[i], true})
			}
		}
	}
}
