package metric

import (
	"math"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// Values is what a selection of series amounts to. Which fields mean something
// depends on the Kind; all are 0 where nothing was measured.
type Values struct {
	Kind     Kind
	Contains Contains
	Samples  int64 // how many there were, of any kind

	Count float64 // Counter: the sum. Trend: how many samples
	// Rate is a Counter's sum per second of the run, and a Rate's share of
	// samples that were not zero.
	Rate          float64
	Passes, Fails int64   // Rate: samples that were not zero, and that were
	Value         float64 // Gauge: the last
	Min, Max      float64 // Gauge, Trend
	Avg, Med, Sum float64 // Trend

	hist *hdrhistogram.Histogram
}

// P returns a percentile of a Trend, such as P(99.9), never outside Min and Max.
// It is 0 without samples.
func (v Values) P(q float64) float64 {
	if v.hist == nil || v.hist.TotalCount() == 0 {
		return 0
	}
	if q >= 100 {
		return v.Max
	}
	return min(max(float64(v.hist.ValueAtPercentile(q))/thousandths, v.Min), v.Max)
}

// Select merges every series whose tags contain these; the zero Tags select all.
// Gauges of several series add up, since each speaks for another part of the
// whole: their Max is therefore at least the largest sum there was, and their
// Min at most the smallest.
func (m *Metric) Select(t Tags) Values {
	v := Values{Kind: m.Kind, Contains: m.Contains}
	var nonzero int64
	v.Min, v.Max = math.Inf(1), math.Inf(-1)
	var gauges struct{ min, max float64 }
	for _, s := range m.matching(t) {
		s.settle()
		s.mu.Lock()
		v.Samples += s.count
		nonzero += s.nonzero
		v.Sum += s.sum
		v.Value += s.last
		if s.count > 0 {
			v.Min, v.Max = min(v.Min, s.min), max(v.Max, s.max)
			gauges.min += s.min
			gauges.max += s.max
		}
		if s.hist != nil {
			if v.hist == nil {
				v.hist = newHistogram()
			}
			v.hist.Merge(s.hist)
		}
		s.mu.Unlock()
	}
	if v.Samples == 0 {
		v.Min, v.Max = 0, 0
	}
	switch m.Kind {
	case Counter:
		v.Count, v.Min, v.Max = v.Sum, 0, 0
		if d := m.registry.Duration().Seconds(); d > 0 {
			v.Rate = v.Count / d
		}
	case Gauge:
		v.Min, v.Max = gauges.min, gauges.max
	case Rate:
		v.Passes, v.Fails, v.Min, v.Max = nonzero, v.Samples-nonzero, 0, 0
		if v.Samples > 0 {
			v.Rate = float64(nonzero) / float64(v.Samples)
		}
	case Trend:
		v.Count = float64(v.Samples)
		if v.Samples > 0 {
			v.Avg = v.Sum / float64(v.Samples)
		}
		v.Med = v.P(50)
	}
	return v
}
