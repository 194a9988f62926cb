package redis

import (
	"encoding/binary"
	"fmt"

	"github.com/sluicegate/sluice/queue"
)

// How visitors who ask are told to the script and answered; lua/enter.lua has the
// other end. Redis spends more on reading many small arguments and on writing many
// small answers than on what it does with them.

const (
	arrivalSize = 33
	placeDigits = 16
	maxTime     = 1<<53 - 1
	unheard     = 1 << 56 // in a deadline: nothing was heard of its visitor before
)

// isMark tells whether an arrival is a presence mark, whose answer nobody awaits.
func isMark(a *queue.Arrival) bool { return !a.Newcomer && !a.Claim }

func appendArrival(b []byte, a *queue.Arrival) []byte {
	b = binary.BigEndian.AppendUint64(b, uint64(a.ID))
	deadline := uint64(fit(a.Deadline))
	if a.Newcomer && !a.Again {
		deadline |= unheard
	}
	b = binary.BigEndian.AppendUint64(b, deadline)
	var digits [placeDigits]byte
	for i, n := placeDigits-1, fit(a.Place); i >= 0; i, n = i-1, n/10 {
		digits[i] = '0' + byte(n%10)
	}
	b = append(b, digits[:]...)
	return append(b, byte(flags(a.Newcomer, a.Again, a.Join, a.Claim)))
}

func fit(t queue.Time) queue.Time { return min(max(t, 0), maxTime) }

// standings reads the answers to arrivals.
func standings(c *queue.Call, in []queue.Arrival, marks bool, r []int64, out []queue.Standing) []queue.Standing {
	next := func() int64 {
		if len(r) == 0 {
			panic("BUG: enter answered too few numbers")
		}
		n := r[0]
		r = r[1:]
		return n
	}
	one := func(a *queue.Arrival) queue.Standing {
		what := next()
		s := queue.Standing{
			State:       queue.State(what & 7),
			Rank:        -1,
			Joined:      what&8 != 0,
			Claimed:     what&16 != 0,
			Provisional: what&32 != 0,
			Restored:    what&64 != 0,
		}
		if what&128 != 0 {
			s.Place = fit(a.Place)
		}
		if what&256 != 0 {
			s.Place = queue.Time(next())
		}
		if what&512 != 0 {
			s.Rank = next()
		}
		if what&1024 != 0 {
			s.Called = queue.Time(next())
			s.Until = queue.Time(next())
		}
		return s
	}
	if marks {
		// Only those who do not simply wait are told of.
		state := queue.Waiting
		if c.Settings.Mode == queue.ModeClosed {
			state = queue.Closed
		}
		told := len(out)
		for i := range in {
			out = append(out, queue.Standing{State: state, Place: in[i].Place, Rank: -1})
		}
		for len(r) > 0 {
			i := next()
			out[told+int(i)] = one(&in[i])
		}
		return out
	}
	for i := range in {
		out = append(out, one(&in[i]))
	}
	if len(r) != 0 {
		panic(fmt.Sprintf("BUG: enter answered %d numbers too many", len(r)))
	}
	return out
}
