package queue

import (
	"math/bits"
	"sync/atomic"
	"time"
)

// In a long line nearly everybody polls time and again long before their turn, and
// that they are still there is all that the store hears of it. So a mark of somebody
// whose turn is far off holds over the next poll too, of which the store then hears
// nothing. Who leaves in the meantime counts for another interval or two, and is
// absent long before they would be called, also if the line went ten times as fast.

// farOff is how many times as long as their mark holds it is until the turn of
// somebody, at least, of whom the store hears with every second poll.
const farOff = 10

// MarkUntil is until when somebody is marked present whose poll is answered at an
// instant: they are to poll again after a time, and expect their turn (0: nobody
// knows) in another.
func MarkUntil(now Time, pollAfter, turn time.Duration) Time {
	if long := present(2 * pollAfter); turn > farOff*long {
		return now.Add(long)
	}
	return PresentUntil(now, pollAfter)
}

// soonest is when the limits of a room let somebody in at a position, though the pace of
// late be slower; 0 where nothing but who leaves decides.
func (s *Settings) soonest(position int64) time.Duration {
	perHour := s.Rate.PerHour()
	if perHour <= 0 {
		return 0
	}
	return time.Duration(min(float64(position)/float64(perHour), 24) * float64(time.Hour))
}

// Covers tells whether a mark that holds until then does for somebody who polls now.
func Covers(until, now Time, pollAfter time.Duration) bool {
	return until >= PresentUntil(now, pollAfter)
}

// marked is what the store was told of late: who is present until when. It is a table
// without chains or locks, of a word for every visitor: the newest of those who share
// one is known, the others are marked once more often. A visitor is told by 44 bits and
// more of the id.
type marked struct {
	words atomic.Pointer[[]atomic.Uint64]
	noted atomic.Bool // something, since all was forgotten
}

const (
	// leastMarked and mostMarked bound the table: 32 kB to 32 MB.
	leastMarked, mostMarked = 1 << 12, 1 << 22
	// markedUnit is 2^16 us, in which a word counts.
	markedUnit = 16
)

// fit makes the table one for as many who wait. What it held is forgotten where it must
// grow or shrink.
func (m *marked) fit(waiting int64) {
	want := min(max(1<<bits.Len64(uint64(4*waiting)), leastMarked), mostMarked)
	if have := m.words.Load(); have == nil || want > len(*have) || want < len(*have)/4 {
		words := make([]atomic.Uint64, want)
		m.words.Store(&words)
	}
}

// forget is for a store that may not know any more what it was told.
func (m *marked) forget() {
	if have := m.words.Load(); have != nil && m.noted.Swap(false) {
		words := make([]atomic.Uint64, len(*have))
		m.words.CompareAndSwap(have, &words)
	}
}

// until is until when the store knows somebody to be present, 0 if nobody knows.
func (m *marked) until(id ID, now Time) Time {
	words := m.words.Load()
	if words == nil {
		return 0
	}
	w := (*words)[uint64(id)%uint64(len(*words))].Load()
	if w == 0 || uint32(w>>32) != uint32(id>>32) {
		return 0
	}
	ahead := int32(uint32(w) - uint32(now>>markedUnit)) // in units; wraps around once in nine years
	return (now>>markedUnit + Time(ahead)) << markedUnit
}

// note keeps that the store is told.
func (m *marked) note(id ID, until Time) {
	if words := m.words.Load(); words != nil {
		if !m.noted.Load() {
			m.noted.Store(true)
		}
		(*words)[uint64(id)%uint64(len(*words))].Store(uint64(id>>32)<<32 | uint64(uint32(until>>markedUnit)))
	}
}
