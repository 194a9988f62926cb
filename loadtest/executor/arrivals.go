package executor

import (
	"fmt"
	"math"
	"math/bits"
	"time"
)

// Arrivals are the instants at which the iterations of an open model are due. A
// rate that changes in straight lines is the derivative of how many are due so
// far; arrival i is due at the last instant at which that number is still i, so
// that at a constant 10/s they come at 0, 100 ms, 200 ms, and none at the end
// itself. Each is computed from i alone, to the nanosecond.
type Arrivals struct {
	lines []line
	unit2 uint64 // twice the time unit, in nanoseconds
	total int64
}

// line is a stretch in which the rate goes straight from one value to another.
// Areas under it are doubled, which keeps them whole numbers: in iterations per
// time unit, times nanoseconds, times 2.
type line struct {
	begin, length time.Duration
	from, to      uint64
	before, area  uint128
}

// NewArrivals returns those of a scenario with an arrival rate.
func NewArrivals(s *Scenario) *Arrivals {
	var stages []Stage
	rate := s.StartRate
	switch s.Kind {
	case ConstantArrivalRate:
		rate, stages = s.Rate, []Stage{{s.Duration, s.Rate}}
	case RampingArrivalRate:
		stages = s.Stages
	default:
		panic(fmt.Sprintf("BUG: executor: %s has no arrivals", s.Kind))
	}
	a := &Arrivals{unit2: 2 * uint64(s.TimeUnit)}
	var at time.Duration
	var sum uint128
	for _, st := range stages {
		l := line{begin: at, length: st.Duration, from: uint64(rate), to: uint64(st.Target), before: sum}
		l.area = multiply(l.from+l.to, uint64(l.length))
		if l.area != (uint128{}) {
			a.lines = append(a.lines, l)
		}
		sum = sum.plus(l.area)
		at += st.Duration
		rate = st.Target
	}
	a.total = sum.dividedUp(a.unit2)
	return a
}

// Total is how many there are.
func (a *Arrivals) Total() int64 { return a.total }

// At returns when arrival i, from 0, is due, since the scenario's start.
func (a *Arrivals) At(i int64) time.Duration {
	if i < 0 || i >= a.total {
		panic(fmt.Sprintf("BUG: executor: arrival %d of %d", i, a.total))
	}
	area := multiply(uint64(i), a.unit2)
	for _, l := range a.lines {
		if area.less(l.before.plus(l.area)) {
			return l.begin + l.reaches(area.minus(l.before))
		}
	}
	panic("BUG: executor: an arrival behind the last")
}

// reaches returns how far into the line the doubled area below it is y: the x in
// 2*from*x + (to-from)*x*x/length = y. Of the ways to write the root the one in
// which nothing cancels out is taken, and a falling line is measured from its
// end, where it is a rising one.
func (l line) reaches(y uint128) time.Duration {
	if l.from == l.to {
		x, _ := bits.Div64(y.hi, y.lo, 2*l.from) // y < 2*from*length
		return time.Duration(x)
	}
	low, rise := l.from, l.to-l.from
	falling := l.to < l.from
	if falling {
		low, rise, y = l.to, l.from-l.to, l.area.minus(y)
	}
	x := 0.0
	if v := y.float(); v > 0 {
		x = v / (float64(low) + math.Sqrt(float64(low)*float64(low)+float64(rise)*v/float64(l.length)))
	}
	at := time.Duration(x)
	if falling {
		at = l.length - time.Duration(math.Ceil(x))
	}
	return min(max(0, at), l.length)
}

// uint128 holds areas, which an int64 does not.
type uint128 struct{ hi, lo uint64 }

func multiply(a, b uint64) uint128 {
	hi, lo := bits.Mul64(a, b)
	return uint128{hi, lo}
}

func (a uint128) plus(b uint128) uint128 {
	lo, carry := bits.Add64(a.lo, b.lo, 0)
	hi, _ := bits.Add64(a.hi, b.hi, carry)
	return uint128{hi, lo}
}

func (a uint128) minus(b uint128) uint128 {
	lo, borrow := bits.Sub64(a.lo, b.lo, 0)
	hi, _ := bits.Sub64(a.hi, b.hi, borrow)
	return uint128{hi, lo}
}

func (a uint128) less(b uint128) bool { return a.hi < b.hi || a.hi == b.hi && a.lo < b.lo }

func (a uint128) float() float64 { return float64(a.hi)*(1<<64) + float64(a.lo) }

// dividedUp rounds up, and returns the largest int64 for what is more.
func (a uint128) dividedUp(by uint64) int64 {
	if a.hi >= by {
		return math.MaxInt64
	}
	q, rest := bits.Div64(a.hi, a.lo, by)
	if rest > 0 {
		q++
	}
	return int64(min(q, math.MaxInt64))
}
