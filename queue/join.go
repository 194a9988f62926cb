package queue

import (
	"context"
	"math"
	"slices"
	"sync"
	"time"
)

const (
	// joinWait is how long newcomers to a long line are gathered before the store is
	// told of them: a call of hundreds costs it half as much a visitor as one of twenty.
	joinWait = 100 * time.Millisecond
	// joinGroup is how many need not wait for more to come.
	joinGroup = reportSize
	// joinReach is what the line may move in before they are told of: joinWait, the call
	// itself, and what a busy machine adds.
	joinReach = time.Second
	// growthOver is the time over which a line's growth is taken.
	growthOver = 500 * time.Millisecond
	// joinFresh is the age of a snapshot from which on newcomers ask the store.
	joinFresh = time.Second
)

// Join asks for somebody who has nothing in hand. With join they take a place if
// they cannot be let in on the spot; without, they are let in or get None.
//
// A place is an instant, which this gate knows. So a newcomer to a long line is told
// it at once, and the store a moment later; and when it cannot be asked, a place is
// given all the same: the ticket brings it to the store.
func (l *Line) Join(id ID, join bool) Answer {
	v := l.view.Load()
	now := l.now()
	if !join && !l.mayAdmit(v, now) {
		state := None
		if v.Settings.Mode == ModeClosed {
			state = Closed
		}
		return l.answer(v, now, Standing{State: state, Rank: -1}, 0)
	}
	after := PollAfter(v.pace.turn(v.crowd+1, &v.Settings), v.crowd, &v.Settings, chance())
	place := l.clock.newPlace()
	a := Arrival{ID: id, Place: place, Deadline: PresentUntil(l.clock.timeAt(now), after), Newcomer: true, Join: join}
	if ahead, ok := l.farBehind(v, now); ok && join && l.joining.add(a, now) {
		return l.answer(v, now, Standing{State: Waiting, Place: place, Rank: ahead, Joined: true}, after)
	}
	a.Claim = true
	s, err := l.entering.ask(a)
	if err != nil {
		s = Standing{State: None, Rank: -1}
		if join {
			s = Standing{State: Waiting, Place: place, Rank: -1}
		}
		if v.Settings.Mode == ModeClosed {
			s = Standing{State: Closed, Rank: -1}
		}
	}
	if s.State == Waiting && s.Rank >= 0 && s.Rank <= reach(&v.Settings) {
		after = v.soon(s.Rank) // their slot would be called and wait for their first poll
	}
	return l.answer(l.view.Load(), l.now(), s, after)
}

// mayAdmit tells whether a visitor might be let in on the spot, as far as the
// snapshot tells.
func (l *Line) mayAdmit(v *view, now time.Time) bool {
	switch {
	case v.Settings.Mode == ModeOpen:
		return true
	case v.Settings.Mode != ModeAuto:
		return false
	}
	return v.received.IsZero() || now.Sub(v.received) > staleAfter || v.crowd == 0
}

// farBehind tells whether a newcomer gets a place so far back that the store may be
// told of it later: whoever it knows of, and calls next, was there before them and is
// not all called by then. Ahead is how many they are at most, those included of whom
// it was not told yet by this gate and, as far as the line's growth tells, by others.
func (l *Line) farBehind(v *view, now time.Time) (ahead int64, far bool) {
	s := &v.Settings
	age := now.Sub(v.received)
	switch {
	case v.received.IsZero() || age > joinFresh || v.Held > v.Time || v.Full:
		return 0, false
	case s.Mode != ModeAuto && s.Mode != ModeHold:
		return 0, false
	}
	given, lag := l.joining.state(now)
	enough := s.EffectiveBurst() + nearFront
	switch perHour := s.Rate.PerHour(); {
	case perHour >= 0:
		enough += perHour * (age + ladderAge + joinReach + 2*lag).Milliseconds() / 3_600_000
	case s.MaxActive == 0:
		return 0, false
	default: // max_active alone decides, and may do so at once
		enough = s.MaxActive + nearFront
	}
	ahead = v.crowd + max(given-v.joined, int64(v.growth*(age+joinWait+ladderAge).Seconds()))
	if s.MaxWaiting > 0 && ahead+max(groupSize, int64(v.growth*joinReach.Seconds())) >= s.MaxWaiting {
		return 0, false // whether there is room the store decides
	}
	return ahead, v.crowd > enough
}

// growth is how many newcomers a second the line gets, of late.
func growth(v *view, s *Snapshot) float64 {
	span := s.Time.Sub(v.Time).Seconds()
	if v.received.IsZero() || s.Generation != v.Generation || span <= 0 {
		return v.growth
	}
	came := s.Waiting - v.Waiting + s.Away - v.Away + s.Calls - v.Calls
	old := math.Exp(-span / growthOver.Seconds())
	return v.growth*old + float64(max(came, 0))/span*(1-old)
}

// joinForever tells the store of newcomers until ctx ends.
func (l *Line) joinForever(ctx context.Context) {
	gathered := newAlarm(joinWait)
	defer gathered.stop()
	for {
		select {
		case <-l.joining.soon:
			if !l.joining.full() {
				gathered.reset(joinWait)
				continue
			}
		case <-gathered.rings:
		case <-ctx.Done():
			return
		}
		l.sendJoining()
	}
}

// joining are the newcomers who were given a place of which the store is yet to be told.
type joining struct {
	turn chan struct{} // to tell the store: one at a time, so that who had it knows them told

	mu    sync.Mutex
	items []Arrival
	spare []Arrival
	given int64 // so many altogether
	told  int64 // of them the store knows

	first  time.Time     // when the first of items came
	sent   time.Time     // when the first of those came who were taken; zero: nobody is
	lagged time.Duration // how long it took lately from the first one's coming
	soon   chan struct{}
}

func (j *joining) init() {
	j.turn, j.soon = make(chan struct{}, 1), make(chan struct{}, 1)
}

// add takes one more, unless there are too many.
func (j *joining) add(a Arrival, now time.Time) bool {
	j.mu.Lock()
	n := len(j.items)
	if n >= maxMarks {
		j.mu.Unlock()
		return false
	}
	if n == 0 {
		j.first = now
	}
	j.items = append(j.items, a)
	j.given++
	j.mu.Unlock()
	if n == 0 || n == joinGroup-1 {
		j.signal()
	}
	return true
}

// signal says that there is somebody, or that there are enough.
func (j *joining) signal() {
	select {
	case j.soon <- struct{}{}:
	default:
	}
}

// full tells whether there are as many as need not wait for more.
func (j *joining) full() bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	return len(j.items) >= joinGroup
}

// remove takes one out of whom the store was not told. They are among the last.
func (j *joining) remove(id ID) bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	for i := len(j.items) - 1; i >= 0; i-- {
		if j.items[i].ID == id {
			j.items = slices.Delete(j.items, i, i+1)
			j.told++
			return true
		}
	}
	return false
}

// take returns those of whom the store is to be told, until they are given back.
func (j *joining) take() []Arrival {
	j.mu.Lock()
	defer j.mu.Unlock()
	taken := j.items
	j.items, j.spare = j.spare[:0], nil
	if len(taken) > 0 {
		j.sent = j.first
	}
	return taken
}

// giveBack says that the store was told of everybody who was taken, or never will be
// of them as newcomers.
func (j *joining) giveBack(taken []Arrival, now time.Time) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.told += int64(len(taken))
	j.spare = taken[:0]
	if len(taken) > 0 {
		j.lagged, j.sent = now.Sub(j.sent), time.Time{}
	}
}

// known returns how many the store was told of.
func (j *joining) known() int64 {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.told
}

// state returns how many were given places so far, and how long it takes until the
// store is told: a busy machine, or a slow store, may take a multiple of joinWait.
func (j *joining) state(now time.Time) (given int64, lag time.Duration) {
	j.mu.Lock()
	defer j.mu.Unlock()
	lag = j.lagged
	switch {
	case !j.sent.IsZero():
		lag = max(lag, now.Sub(j.sent))
	case len(j.items) > 0:
		lag = max(lag, now.Sub(j.first))
	}
	return j.given, lag
}

// sendJoining tells the store of the newcomers gathered so far. Those who could not
// be told of in time come as whoever has a ticket does: as newcomers their places
// would be moved.
func (l *Line) sendJoining() {
	l.joining.turn <- struct{}{}
	defer func() { <-l.joining.turn }()
	taken := l.joining.take()
	defer func() { l.joining.giveBack(taken, l.now()) }()
	var standings []Standing
	for batch := range batches(taken) {
		err := errDown
		if l.clock.placeTime(l.now()).Sub(batch[0].Place) < MaxLate/2 {
			standings, err = l.sendEnter(batch, standings[:0])
		}
		if err == nil {
			continue
		}
		now := l.now()
		for _, a := range batch {
			a.Newcomer, a.Join = false, false
			l.mark(a, now, a.Deadline.Sub(l.clock.timeAt(now)))
		}
	}
}
