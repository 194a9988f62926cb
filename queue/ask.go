package queue

import (
	"time"

	"github.com/sluicegate/sluice/metrics"
)

// Answer is what a visitor is told.
type Answer struct {
	Standing
	Position  int64 // 1 is next; 0 unknown. Only for Waiting
	Waiting   int64
	Estimate  Estimate
	Estimated bool
	PollAfter time.Duration
	Age       time.Duration // how old the numbers are
}

const (
	// staleAfter is the age of a snapshot from which on every poll asks the store.
	staleAfter = 3 * time.Second
	// nearFront is added to what may have been called since a snapshot: whoever is
	// not further back asks the store.
	nearFront = 32
	// ladderAge is how old a ladder may be when it is told.
	ladderAge = 200 * time.Millisecond
	// heldAgain is the soonest that a visitor asks again whose turn is so near that
	// the poll will be held.
	heldAgain = 250 * time.Millisecond
)

// Poll asks for the holder of a ticket. Whoever is far from the front is answered
// from the snapshot and marked present in the background; the others ask the
// store; and of both those whose turn is near are held until it comes, if hold
// says so.
// alive may tell whether a held visitor's connection still stands.
func (l *Line) Poll(id ID, place Time, hold bool, alive func() bool) Answer {
	v := l.view.Load()
	now := l.now()
	if l.admits.Load() && l.isDown() {
		if s, ok := l.admit(v, now, id, place); ok {
			if s.Claimed {
				l.count(&s)
				l.give(Visit{ID: id, Place: place, Called: s.Called, Until: s.Until}, false)
			}
			return l.answer(v, now, s, 0)
		}
	}
	position := v.Ladder.Position(place)
	turn, at := v.pace.turn(max(position, 1), &v.Settings), l.clock.timeAt(now)
	after := PollAfter(turn, v.crowd, &v.Settings, chance())
	a := Arrival{ID: id, Place: place, Deadline: PresentUntil(at, after)}
	if l.far(v, now, place, position) {
		if !Covers(l.marked.until(id, at), at, after) {
			far := a
			far.Deadline = MarkUntil(at, after, min(turn, v.Settings.soonest(position)))
			l.mark(far, now, far.Deadline.Sub(at))
		}
		s := Standing{State: Waiting, Place: place, Rank: -1}
		if v.Settings.Mode == ModeClosed {
			s.State = Closed
		}
		if hold && position <= reach(&v.Settings) {
			a.Claim = true
			if held, ok := l.hold(a, alive); ok {
				s = held
			} else {
				after = l.soonAfterHold(place)
			}
			v, now = l.view.Load(), l.now()
		}
		return l.answer(v, now, s, after)
	}
	a.Claim = true
	if l.joining.remove(id) { // they joined a moment ago, and the store does not know yet
		a.Newcomer, a.Join = true, true
	}
	s, err := l.entering.ask(a)
	if err == nil && a.Newcomer && s.Place == 0 { // full or closed meanwhile, but they were given a place
		a.Newcomer, a.Join = false, false
		s, err = l.entering.ask(a)
	}
	if err != nil {
		a.Newcomer, a.Join, a.Claim = false, false, false
		l.mark(a, l.now(), present(after)) // as soon as the store can be told
		return l.answer(l.view.Load(), l.now(), Standing{State: Waiting, Place: place, Rank: -1}, after)
	}
	if s.State == Waiting && hold && s.Rank <= reach(&v.Settings) {
		// Who has waited long for the store is not kept back as well:
		// browsers and proxies give up at some time.
		if l.now().Sub(now) > heldFor/2 {
			after = l.soonAfterHold(place)
		} else if held, ok := l.hold(a, alive); ok {
			s = held
		} else {
			after = l.soonAfterHold(place)
		}
	}
	return l.answer(l.view.Load(), l.now(), s, after)
}

// Later is when somebody should ask again who has no place to lose.
func (l *Line) Later() time.Duration { return l.view.Load().later() }

func (v *view) later() time.Duration {
	return PollAfter(v.Settings.PollMax*2, v.crowd, &v.Settings, chance())
}

// soon is when somebody should ask again whose turn comes within the time that a
// poll is held: who just joined, was held in vain, or found no room to be held.
func (v *view) soon(rank int64) time.Duration {
	return min(max(v.pace.turn(rank, &v.Settings)/2, heldAgain), v.Settings.PollMin)
}

// soonAfterHold is soon by what is known now: the line moved while the poll was held.
func (l *Line) soonAfterHold(place Time) time.Duration {
	v := l.view.Load()
	return v.soon(max(v.Ladder.Position(place)-1, 0))
}

// far tells whether a visitor cannot have been called, by what the snapshot says.
func (l *Line) far(v *view, now time.Time, place Time, position int64) bool {
	age := now.Sub(v.received)
	if v.received.IsZero() || age > staleAfter || position == 0 || place <= v.Front {
		return false
	}
	switch v.Settings.Mode {
	case ModeOpen:
		return false
	case ModeHold, ModeClosed:
		return true
	}
	perHour, burst := v.PerHour, v.Burst
	if perHour < 0 { // max_active alone decides, and may do so at once
		return v.Settings.MaxActive > 0 && position > v.Settings.MaxActive+nearFront-l.nearer
	}
	return position > perHour*(age+ladderAge).Milliseconds()/3_600_000+burst+nearFront-l.nearer
}

// reach is the rank up to which polls are held: whoever is expected to be called
// while the poll is.
func reach(s *Settings) int64 {
	switch {
	case s.Mode != ModeAuto:
		return -1
	case s.Rate.PerHour() < 0:
		return denseRungs
	}
	return s.Rate.PerHour()*heldFor.Milliseconds()/3_600_000 + s.EffectiveBurst()
}

// answer adds the numbers to a standing.
func (l *Line) answer(v *view, now time.Time, s Standing, after time.Duration) Answer {
	a := Answer{Standing: s, Waiting: v.crowd, PollAfter: after}
	if !v.numbers.IsZero() {
		a.Age = max(0, now.Sub(v.numbers))
	}
	if after == 0 || s.Place == 0 && s.State != Full {
		a.PollAfter = v.later()
	}
	if s.Place == 0 || s.State == Admitted {
		return a
	}
	l.promise(now, a.PollAfter)
	a.Position = v.Ladder.Position(s.Place)
	if (a.Position == 0 || s.Joined) && s.Rank >= 0 && !v.rebuilt { // came after the ladder was taken
		a.Position = max(a.Position, RungAtOrAfter(s.Rank)+1)
	}
	if a.Position > 0 {
		a.Waiting = max(a.Waiting, a.Position)
		a.Estimate, a.Estimated = v.pace.Estimate(a.Position)
	}
	return a
}

// JudgeEstimate counts whether a visitor who was let in was told the truth when
// first told how long it would take: between low and high seconds after their
// place. A high of 0 says that they were told nothing.
func (l *Line) JudgeEstimate(low, high int64, s *Standing) {
	if high == 0 {
		return
	}
	waited := int64(l.waited(s) / time.Second)
	switch {
	case waited < low:
		l.counts.Estimate(metrics.Early)
	case waited > high:
		l.counts.Estimate(metrics.Late)
	default:
		l.counts.Estimate(metrics.Within)
	}
}
