package executor

import (
	"iter"
	"math/bits"
	"time"
)

// Step is a virtual user that comes or goes.
type Step struct {
	At   time.Duration // since the scenario's start
	Slot int64         // which user, from 0
	Up   bool
}

// Ramp yields the steps of a ramping-vus scenario in the order of their time.
// Within a stage that adds n users in a time d, the j-th of them comes at j*d/n,
// so that the target is reached with the stage's end. The highest slot goes
// first. That all go at the end is not among the steps.
func Ramp(s *Scenario) iter.Seq[Step] {
	return func(yield func(Step) bool) {
		for slot := range s.StartVUs {
			if !yield(Step{0, slot, true}) {
				return
			}
		}
		now := s.StartVUs
		var begin time.Duration
		for _, st := range s.Stages {
			n := st.Target - now
			up := n > 0
			if !up {
				n = -n
			}
			for j := int64(1); j <= n; j++ {
				hi, lo := bits.Mul64(uint64(j), uint64(st.Duration))
				at, _ := bits.Div64(hi, lo, uint64(n)) // j <= n: the quotient is at most the duration
				slot := now + j - 1
				if !up {
					slot = now - j
				}
				if !yield(Step{begin + time.Duration(at), slot, up}) {
					return
				}
			}
			now = st.Target
			begin += st.Duration
		}
	}
}
