package queue

import (
	"math/bits"
	"slices"
)

// Ladder reads positions off places without asking the store: it holds the
// places found at fixed ranks (Rung), every one near the front, then further
// apart by a thirty-second each.
//
// The ranks are fixed so that the position read for a place never grows while
// nobody comes back: calls and departures before a place only ever move the
// places at its two neighbouring rungs later, and both movements lower the
// position interpolated between them. Beyond the last rung the latest place ever
// given stands for the next one, which can only turn out to be later.
type Ladder struct {
	Places []Time // by rung, ascending
	Last   Time   // the latest place ever given in this room
}

// denseRungs is how many ranks have a rung each.
const denseRungs = 64

// NextRung returns the rank of the rung after the one at rank r.
func NextRung(r int64) int64 {
	if r < denseRungs {
		return r + 1
	}
	return r + r/32
}

// rungs holds the rank of each rung, up to more visitors than a store can hold.
var rungs = func() (ranks []int64) {
	for r := int64(0); r < 1<<33; r = NextRung(r) {
		ranks = append(ranks, r)
	}
	return ranks
}()

// Rung returns the rank of rung i.
func Rung(i int) int64 { return rungs[i] }

// RungAtOrAfter returns the rank of the first rung that is not before rank r: the
// position to tell to a visitor whose rank is known before a ladder knows them.
// No ladder taken later shows them further back.
func RungAtOrAfter(r int64) int64 {
	i, _ := slices.BinarySearch(rungs, r)
	return rungs[i]
}

// Position returns the position of a place, 1 for the next to be called, or 0
// when the ladder was taken before the place was given. It is exact for the first
// denseRungs and at most a thirty-second too high behind them.
func (l *Ladder) Position(p Time) int64 {
	if p > l.Last {
		return 0
	}
	i, found := slices.BinarySearch(l.Places, p)
	if found || i == 0 {
		return Rung(i) + 1
	}
	low, high := l.Places[i-1], l.Last
	if i < len(l.Places) {
		high = l.Places[i]
	}
	gap := Rung(i) - Rung(i-1)
	return Rung(i-1) + 1 + mulDivUp(gap, int64(p-low), int64(high-low))
}

// At returns the latest place that the ladder knows to have at most that rank, or
// 0 when nobody waits.
func (l *Ladder) At(rank int64) Time {
	if len(l.Places) == 0 {
		return 0
	}
	i, found := slices.BinarySearch(rungs, rank)
	if !found {
		i--
	}
	if i >= len(l.Places) {
		return l.Last
	}
	return l.Places[max(0, i)]
}

// mulDivUp returns a*b/c rounded up, for 0 <= b <= c.
func mulDivUp(a, b, c int64) int64 {
	hi, lo := bits.Mul64(uint64(a), uint64(b))
	q, rem := bits.Div64(hi, lo, uint64(c))
	if rem > 0 {
		q++
	}
	return int64(q)
}
