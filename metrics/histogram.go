package metrics

import (
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
)

var (
	// A held poll takes two seconds, the origin's header_timeout is 30 s.
	requestBounds = []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30}
	storeBounds   = []float64{.00025, .0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5}
	batchBounds   = []float64{1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000}
	waitBounds    = []float64{1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1200, 1800, 3600, 7200}
)

// histogram is a Prometheus histogram with two atomic additions per
// observation where the library's has four, one of them a loop over a float.
// The price: a scrape may see the sum of an observation whose count it has not
// seen yet. BenchmarkRequest and BenchmarkLibraryHistogram compare the two.
type histogram struct {
	desc   *prometheus.Desc
	labels []string
	bounds []float64
	// cells are the sum, in billionths of the unit, and one count for each bound
	// and one beyond. They lie together, away from what only is read, so that two
	// processors pass one cache line to and fro and not three.
	cells []atomic.Uint64
}

func newHistogram(desc *prometheus.Desc, bounds []float64, labels ...string) *histogram {
	return &histogram{desc: desc, labels: labels, bounds: bounds, cells: make([]atomic.Uint64, len(bounds)+2)}
}

// observe records v. A clock that went back is no reason to lose the request:
// less than nothing, and what is no number, count as 0.
func (h *histogram) observe(v float64) {
	if !(v > 0) {
		v = 0
	}
	i := 0
	for i < len(h.bounds) && v > h.bounds[i] {
		i++
	}
	h.cells[i+1].Add(1)
	h.cells[0].Add(uint64(v * 1e9))
}

// histograms are those of one name.
type histograms []*histogram

func (hs histograms) Describe(out chan<- *prometheus.Desc) { out <- hs[0].desc }

func (hs histograms) Collect(out chan<- prometheus.Metric) {
	for _, h := range hs {
		buckets := make(map[float64]uint64, len(h.bounds))
		var n uint64
		for i, bound := range h.bounds {
			n += h.cells[i+1].Load()
			buckets[bound] = n
		}
		n += h.cells[len(h.bounds)+1].Load()
		out <- prometheus.MustNewConstHistogram(h.desc, n, float64(h.cells[0].Load())/1e9, buckets, h.labels...)
	}
}
