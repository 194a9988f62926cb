package queue

import (
	"math"
	"time"
)

// SetAdmit says whether this gate lets visitors in while the store does not answer:
// on_store_loss.
func (l *Line) SetAdmit(admit bool) { l.admits.Store(admit) }

// admit lets in a visitor whose turn has come by the last snapshot, while the store
// does not answer. All gates hold nearly the same snapshot, so what each lets in by
// it is in order over all of them, and no share has to be agreed on.
func (l *Line) admit(v *view, now time.Time, id ID, place Time) (Standing, bool) {
	if l.contact.isOld(now.Sub(l.begun)) {
		return Standing{}, false // the process stood still: the store may be back for long
	}
	position := v.Ladder.Position(place)
	most := turnsSince(v, now)
	if position == 0 || position > most {
		return Standing{}, false
	}
	at := l.clock.timeAt(now)
	vs := &l.visits
	vs.mu.Lock()
	defer vs.mu.Unlock()
	e := vs.known[id]
	claimed := e == nil || !e.admitted
	if claimed {
		if vs.admitted >= most {
			return Standing{}, false
		}
		vs.admitted++
		set := &v.Settings
		until := at.Add(set.Session)
		if set.MaxSession > 0 {
			until = at.Add(min(set.Session, set.MaxSession))
		}
		called := at - at%1000
		e = &visited{
			Visit:  Visit{ID: id, Place: place, Called: called, Until: until, At: at},
			wanted: true, used: now, asked: at, confirmed: until, admitted: true,
		}
		vs.known[id] = e
	}
	return Standing{State: Admitted, Place: place, Rank: -1, Called: e.Called, Until: e.Until, Claimed: claimed}, true
}

// turnsSince is how many of those who waited when a snapshot was taken have had
// their turn since: by the rate, without its burst, and as far as there was room.
func turnsSince(v *view, now time.Time) int64 {
	switch {
	case v.received.IsZero() || v.Held > v.Time: // nobody knows who is first
		return 0
	case v.Settings.Mode == ModeOpen:
		return math.MaxInt64
	case v.Settings.Mode != ModeAuto:
		return 0
	}
	n := int64(math.MaxInt64)
	if v.PerHour > 0 {
		n = v.PerHour * now.Sub(v.received).Milliseconds() / time.Hour.Milliseconds()
	}
	if v.Settings.MaxActive > 0 {
		n = min(n, v.Settings.MaxActive-v.Called-v.Active)
	}
	return max(n, 0)
}
