package crowd

import (
	"iter"
	"math/rand/v2"
	"slices"
	"time"
)

// A Wave is a number of visitors who arrive within Length of Start, counted
// from the beginning of the run.
type Wave struct {
	Start    time.Duration
	Length   time.Duration
	Visitors int
}

// Waves is the schedule of the demo: about 120 visitors within six seconds,
// then for ever 30 to 60 more every 20 to 40 seconds. It depends on the seed alone,
// and no wave begins before the one in front of it has ended.
func Waves(seed uint64) iter.Seq[Wave] {
	return func(yield func(Wave) bool) {
		r := rand.New(rand.NewPCG(seed, 0x77617665)) // "wave"
		w := Wave{Length: 6 * time.Second, Visitors: 115 + r.IntN(11)}
		for yield(w) {
			w.Start += between(r, 20*time.Second, 40*time.Second)
			w.Length = between(r, 5*time.Second, 15*time.Second)
			w.Visitors = 30 + r.IntN(31)
		}
	}
}

// Arrivals gives the instant of every single arrival of Waves, in order and
// without end.
func Arrivals(seed uint64) iter.Seq[time.Duration] {
	return func(yield func(time.Duration) bool) {
		for w := range Waves(seed) {
			for at := range w.arrivals(seed) {
				if !yield(at) {
					return
				}
			}
		}
	}
}

// arrivals spreads the visitors over the wave: most of them early, as after an
// announcement, in order.
func (w Wave) arrivals(seed uint64) iter.Seq[time.Duration] {
	r := rand.New(rand.NewPCG(seed, uint64(w.Start)))
	at := make([]time.Duration, w.Visitors)
	for i := range at {
		u := r.Float64()
		at[i] = w.Start + time.Duration(u*u*float64(w.Length))
	}
	slices.Sort(at)
	return slices.Values(at)
}

func between(r *rand.Rand, low, high time.Duration) time.Duration {
	if high <= low {
		return low
	}
	return low + time.Duration(r.Int64N(int64(high-low)))
}
