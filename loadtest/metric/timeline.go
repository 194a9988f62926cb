package metric

import (
	"math"
	"math/bits"
)

// maxSeconds bounds a timeline at a day; what comes later counts for its end.
const maxSeconds = 24 * 3600

// second is what a series took in during one second of the run.
type second struct {
	count    int64
	sum      float64 // of a Counter or Trend; non-zero samples of a Rate; last of a Gauge
	min, max float64 // of a Gauge
	coarse   coarse  // of a Trend
}

// second returns the one of this number, made if there is none. The series is
// locked.
func (s *Series) second(n int) *second {
	for len(s.seconds) <= n {
		s.seconds = append(s.seconds, nil)
	}
	if s.seconds[n] == nil {
		s.seconds[n] = &second{min: math.Inf(1), max: math.Inf(-1)}
	}
	return s.seconds[n]
}

// Bucket is one second of a timeline.
type Bucket struct {
	Second int   // since the run's start
	N      int64 // samples
	// Count is a Counter's sum in this second, and otherwise the samples.
	Count         float64
	Rate          float64 // Rate: share of samples that were not zero
	Passes        int64   // Rate: samples that were not zero
	Value         float64 // Gauge: the last one, of this second or the ones before
	Min, Max      float64 // Gauge: within this second
	Avg           float64 // Trend
	P50, P95, P99 float64 // Trend, exact to 1 %
}

// Timeline returns every second from the first to the last that has a sample, in
// series with these tags. Seconds in which nothing happened are there and empty.
func (m *Metric) Timeline(t Tags) []Bucket {
	series := m.matching(t)
	length := 0
	for _, s := range series {
		s.settle()
		s.mu.Lock()
		length = max(length, len(s.seconds))
		s.mu.Unlock()
	}
	out := make([]Bucket, length)
	var merged []coarse
	if m.Kind == Trend {
		merged = make([]coarse, length)
	}
	sums := make([]float64, length)
	for _, s := range series {
		s.mu.Lock()
		last := 0.0
		for i := range out {
			b := &out[i]
			b.Second = i
			var sec *second
			if i < len(s.seconds) {
				sec = s.seconds[i]
			}
			if m.Kind == Gauge {
				low, high := last, last
				if sec != nil {
					last, low, high = sec.sum, sec.min, sec.max
				}
				b.Value += last
				b.Min += low
				b.Max += high
			}
			if sec == nil {
				continue
			}
			b.N += sec.count
			sums[i] += sec.sum
			if m.Kind == Trend {
				merged[i].merge(&sec.coarse)
			}
		}
		s.mu.Unlock()
	}
	for i := range out {
		b := &out[i]
		b.Count = float64(b.N)
		switch {
		case m.Kind == Counter:
			b.Count = sums[i]
		case b.N == 0:
		case m.Kind == Rate:
			b.Passes = int64(sums[i])
			b.Rate = sums[i] / float64(b.N)
		case m.Kind == Trend:
			b.Avg = sums[i] / float64(b.N)
			b.P50, b.P95, b.P99 = merged[i].percentile(50), merged[i].percentile(95), merged[i].percentile(99)
		}
	}
	return out
}

// coarse is a small distribution: 64 steps to a doubling, so that the middle of
// a step is within 0.8 % of all in it. Only the stretch from the first to the
// last step in use is held: a second of one series is a few hundred bytes to a
// few kB.
type coarse struct {
	first  int
	counts []uint32
}

const stepBits = 6

// step of a value below 128 is the value itself.
func step(n int64) int {
	u := uint64(max(0, n))
	shift := max(0, bits.Len64(u)-stepBits-1)
	return shift<<stepBits + int(u>>shift)
}

// middle of a step.
func middle(step int) float64 {
	shift := max(0, step>>stepBits-1)
	low := float64(uint64(step-shift<<stepBits) << shift)
	return low + float64(uint64(1)<<shift-1)/2
}

func (c *coarse) record(n int64, times uint32) { c.add(step(n), times) }

func (c *coarse) add(at int, times uint32) {
	switch {
	case len(c.counts) == 0:
		c.first, c.counts = at, append(c.counts, 0)
	case at < c.first:
		grown := make([]uint32, c.first-at+len(c.counts))
		copy(grown[c.first-at:], c.counts)
		c.first, c.counts = at, grown
	}
	for at-c.first >= len(c.counts) {
		c.counts = append(c.counts, 0)
	}
	c.counts[at-c.first] += times
}

func (c *coarse) merge(from *coarse) {
	for i, n := range from.counts {
		if n > 0 {
			c.add(from.first+i, n)
		}
	}
}

// percentile returns the value below or at which q of 100 samples are.
func (c *coarse) percentile(q float64) float64 {
	var total uint64
	for _, n := range c.counts {
		total += uint64(n)
	}
	want := max(1, uint64(math.Ceil(float64(total)*q/100)))
	var seen uint64
	for i, n := range c.counts {
		if seen += uint64(n); seen >= want {
			return middle(c.first+i) / thousandths
		}
	}
	return 0
}
