package visitor

import (
	"math/rand/v2"
	"time"
)

// Span is a random duration.
type Span struct {
	Min, Max     time.Duration
	Distribution Distribution
}

// Distribution is how the draws of a Span lie between its ends.
type Distribution uint8

const (
	Uniform     Distribution = iota
	Exponential              // most near Min: a third of the width above it on average
	Normal                   // around the middle, the ends being three deviations away
)

var distributions = []string{"uniform", "exponential", "normal"}

func (d Distribution) String() string { return distributions[d] }

// Draw returns one duration, never outside of the span.
func (s Span) Draw(r *rand.Rand) time.Duration {
	width := float64(s.Max - s.Min)
	if width <= 0 {
		return s.Min
	}
	for {
		var x float64 // of the width
		switch s.Distribution {
		case Exponential:
			x = r.ExpFloat64() / 3
		case Normal:
			x = .5 + r.NormFloat64()/6
		default:
			x = r.Float64()
		}
		if x >= 0 && x <= 1 { // else draw again
			return s.Min + time.Duration(x*width)
		}
	}
}
