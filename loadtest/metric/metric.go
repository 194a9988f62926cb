package metric

import (
	"cmp"
	"fmt"
	"math"
	"math/rand/v2"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// Kind is what a metric makes of its samples.
type Kind uint8

const (
	Counter Kind = iota // adds them up
	Gauge               // keeps the last, the smallest and the largest
	Rate                // keeps the share of those that are not zero
	Trend               // keeps their distribution
)

var kinds = [...]string{"counter", "gauge", "rate", "trend"}

// String returns k6's word.
func (k Kind) String() string { return kinds[k] }

// Contains is what the samples are, which says how to print them.
type Contains uint8

const (
	Default Contains = iota // plain numbers
	Time                    // milliseconds
	Data                    // bytes
)

var contents = [...]string{"default", "time", "data"}

// String returns k6's word.
func (c Contains) String() string { return contents[c] }

// Registry holds the metrics of one run, or of one process's share of it. All
// its methods, and those of what it hands out, are safe for concurrent use.
type Registry struct {
	start    atomic.Pointer[time.Time]
	duration atomic.Int64 // of the whole run in nanoseconds, 0 while it lasts
	tap      atomic.Pointer[func(*Metric, Tags, float64, time.Time)]

	mu      sync.RWMutex
	metrics map[string]*Metric
}

// NewRegistry returns an empty registry whose run starts now.
func NewRegistry() *Registry {
	r := &Registry{metrics: map[string]*Metric{}}
	r.Start(time.Now())
	return r
}

// Start says when the run begins. Samples before it count for its first second.
func (r *Registry) Start(at time.Time) { r.start.Store(&at) }

// Started is when the run began.
func (r *Registry) Started() time.Time { return *r.start.Load() }

// Finish says how long the run was. Until then its length is the time since its
// start.
func (r *Registry) Finish(duration time.Duration) { r.duration.Store(int64(max(1, duration))) }

// Duration is how long the run was, or has been so far.
func (r *Registry) Duration() time.Duration {
	if d := r.duration.Load(); d > 0 {
		return time.Duration(d)
	}
	return max(0, time.Since(r.Started()))
}

// Tap has every further sample handed to f, at the instant and in the goroutine
// of whoever adds it; nil ends that. It costs what f costs.
func (r *Registry) Tap(f func(m *Metric, t Tags, v float64, at time.Time)) {
	if f == nil {
		r.tap.Store(nil)
		return
	}
	r.tap.Store(&f)
}

// New returns the metric of this name, made if there is none. Asking for one
// that there is with another kind or content is a bug.
func (r *Registry) New(name string, kind Kind, contains Contains) *Metric {
	m, err := r.define(name, kind, contains)
	if err != nil {
		panic("BUG: " + err.Error())
	}
	return m
}

func (r *Registry) define(name string, kind Kind, contains Contains) (*Metric, error) {
	if !validName(name) {
		return nil, fmt.Errorf("metric: %q is no name of a metric", name)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	m := r.metrics[name]
	if m == nil {
		m = &Metric{Name: name, Kind: kind, Contains: contains, registry: r, series: map[Tags]*Series{}}
		r.metrics[name] = m
	}
	if m.Kind != kind || m.Contains != contains {
		return nil, fmt.Errorf("metric: %s is a %s of %s, not a %s of %s", name, m.Kind, m.Contains, kind, contains)
	}
	return m, nil
}

// Lookup returns the metric of this name, nil when there is none.
func (r *Registry) Lookup(name string) *Metric {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.metrics[name]
}

// Metrics returns all of them by name.
func (r *Registry) Metrics() []*Metric {
	r.mu.RLock()
	defer r.mu.RUnlock()
	out := make([]*Metric, 0, len(r.metrics))
	for _, m := range r.metrics {
		out = append(out, m)
	}
	slices.SortFunc(out, func(a, b *Metric) int { return cmp.Compare(a.Name, b.Name) })
	return out
}

// Metric is one name with all its series. Its fields are not to be changed.
type Metric struct {
	Name     string
	Kind     Kind
	Contains Contains

	registry *Registry
	mu       sync.RWMutex
	series   map[Tags]*Series
}

// With returns the series with exactly these tags, made if there is none. It is
// meant to be called once and kept.
func (m *Metric) With(t Tags) *Series {
	m.mu.RLock()
	s := m.series[t]
	m.mu.RUnlock()
	if s != nil {
		return s
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if s = m.series[t]; s == nil {
		s = &Series{metric: m, tags: t}
		s.min, s.max = math.Inf(1), math.Inf(-1)
		if m.Kind != Gauge { // the last of two values is known only in one place
			s.shards = make([]shard, shards())
		}
		m.series[t] = s
	}
	return s
}

// Tags returns those of every series there is, sorted as text.
func (m *Metric) Tags() []Tags {
	var out []Tags
	for _, s := range m.matching(Tags{}) {
		out = append(out, s.tags)
	}
	return out
}

// matching returns the series that have the tags, in a fixed order.
func (m *Metric) matching(t Tags) []*Series {
	m.mu.RLock()
	defer m.mu.RUnlock()
	var out []*Series
	for tags, s := range m.series {
		if tags.Contain(t) {
			out = append(out, s)
		}
	}
	slices.SortFunc(out, func(a, b *Series) int { return cmp.Compare(a.tags.s, b.tags.s) })
	return out
}

// Series is a metric with fixed tags. Samples go into one of several small
// buffers, whichever is free, and from there, many at once, into the one sum,
// distribution and timeline: two cores meet on a lock only once in a while, and
// a distribution is held once, not once a core.
type Series struct {
	metric *Metric
	tags   Tags
	shards []shard // none for a gauge

	mu       sync.Mutex
	count    int64   // samples
	nonzero  int64   // of a Rate
	sum      float64 // of all
	last     float64 // of a Gauge
	min, max float64
	hist     *hdrhistogram.Histogram // of a Trend with samples
	seconds  []*second               // by second of the run; nil: nothing then
}

const perShard = 128

type sample struct {
	value  float64
	second int32
}

type shard struct {
	mu      sync.Mutex
	samples []sample
	_       [64]byte // own cache line
}

// shards is a power of two, so that a random number picks one by its bits.
func shards() int {
	n := 2
	for n < 2*runtime.GOMAXPROCS(0) && n < 16 {
		n *= 2
	}
	return n
}

// Add takes a sample: a Counter adds it, a Gauge becomes it, a Rate counts it as
// true when it is not zero, a Trend takes it into its distribution.
func (s *Series) Add(v float64) { s.AddAt(time.Now(), v) }

// AddAt is Add for a caller who knows what time it is: reading the clock is half
// of what a sample costs.
func (s *Series) AddAt(now time.Time, v float64) {
	r := s.metric.registry
	if tap := r.tap.Load(); tap != nil {
		(*tap)(s.metric, s.tags, v, now)
	}
	age := now.Sub(*r.start.Load())
	x := sample{v, int32(min(max(0, age)/time.Second, maxSeconds-1))}
	if s.shards == nil {
		s.mu.Lock()
		s.take(x)
		s.mu.Unlock()
		return
	}
	sh := &s.shards[rand.Uint32()&uint32(len(s.shards)-1)]
	if !sh.mu.TryLock() {
		sh = &s.shards[rand.Uint32()&uint32(len(s.shards)-1)]
		sh.mu.Lock()
	}
	if sh.samples == nil {
		sh.samples = make([]sample, 0, perShard)
	}
	sh.samples = append(sh.samples, x)
	if len(sh.samples) == perShard {
		s.drain(sh)
	}
	sh.mu.Unlock()
}

// Time adds a duration in milliseconds.
func (s *Series) Time(d time.Duration) { s.TimeAt(time.Now(), d) }

// TimeAt is Time for a caller who knows what time it is.
func (s *Series) TimeAt(now time.Time, d time.Duration) {
	s.AddAt(now, float64(d)/float64(time.Millisecond))
}

// drain moves what a locked shard holds into the sums.
func (s *Series) drain(sh *shard) {
	s.mu.Lock()
	for _, x := range sh.samples {
		s.take(x)
	}
	s.mu.Unlock()
	sh.samples = sh.samples[:0]
}

// settle moves what every shard holds into the sums.
func (s *Series) settle() {
	for i := range s.shards {
		sh := &s.shards[i]
		sh.mu.Lock()
		if len(sh.samples) > 0 {
			s.drain(sh)
		}
		sh.mu.Unlock()
	}
}

// take counts one sample. The series is locked.
func (s *Series) take(x sample) {
	if math.IsNaN(x.value) || math.IsInf(x.value, 0) {
		return // would poison the sum, and has no place in a distribution
	}
	s.count++
	s.min, s.max = min(s.min, x.value), max(s.max, x.value)
	sec := s.second(int(x.second))
	sec.count++
	switch s.metric.Kind {
	case Counter:
		s.sum += x.value
		sec.sum += x.value
	case Gauge:
		s.last = x.value
		sec.sum = x.value
		sec.min, sec.max = min(sec.min, x.value), max(sec.max, x.value)
	case Rate:
		if x.value != 0 {
			s.nonzero++
			sec.sum++
		}
	case Trend:
		s.sum += x.value
		sec.sum += x.value
		if s.hist == nil {
			s.hist = newHistogram()
		}
		n := units(x.value)
		if err := s.hist.RecordValue(n); err != nil {
			panic(fmt.Sprintf("BUG: metric: %s takes no %v: %v", s.metric.Name, x.value, err))
		}
		sec.coarse.record(n, 1)
	}
}

// A distribution has values in thousandths, from 0.001 to 4 hours when the unit
// is the millisecond. What is smaller or larger counts as the smallest or the
// largest; the smallest, largest and sum of a Trend are kept besides, exactly.
const (
	thousandths = 1000
	highest     = 4 * 3600 * 1000 * thousandths
)

func newHistogram() *hdrhistogram.Histogram { return hdrhistogram.New(1, highest, 3) }

func units(v float64) int64 {
	switch u := v * thousandths; {
	case !(u > 0):
		return 0
	case u >= highest:
		return highest
	default:
		return int64(u + 0.5)
	}
}
