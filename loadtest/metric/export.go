package metric

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// The form in which registries travel is JSON; distributions in it are
// HdrHistogram's own compressed form (V2).
const exportVersion = 1

type exported struct {
	Version  int              `json:"version"`
	Start    time.Time        `json:"start"`
	Duration time.Duration    `json:"duration_ns"`
	Metrics  []exportedMetric `json:"metrics"`
}

type exportedMetric struct {
	Name     string           `json:"name"`
	Kind     string           `json:"kind"`
	Contains string           `json:"contains"`
	Series   []exportedSeries `json:"series,omitempty"`
}

type exportedSeries struct {
	Tags    map[string]string `json:"tags,omitempty"`
	Count   int64             `json:"count"`
	Nonzero int64             `json:"nonzero,omitempty"`
	Sum     float64           `json:"sum,omitempty"`
	Last    float64           `json:"last,omitempty"`
	Min     float64           `json:"min,omitempty"`
	Max     float64           `json:"max,omitempty"`
	Hist    string            `json:"hist,omitempty"`
	Seconds []exportedSecond  `json:"seconds,omitempty"`
}

type exportedSecond struct {
	Second int      `json:"s"`
	Count  int64    `json:"n,omitempty"`
	Sum    float64  `json:"sum,omitempty"`
	Min    float64  `json:"min,omitempty"`
	Max    float64  `json:"max,omitempty"`
	First  int      `json:"first,omitempty"`
	Steps  []uint32 `json:"steps,omitempty"`
}

// Export returns everything in the registry for [Registry.Merge] in another
// process. It may be called while samples come in, and then has those of some
// instant for each series.
func (r *Registry) Export() ([]byte, error) { return r.export(true) }

// ExportTotals is Export without timelines: what thresholds need, small enough
// to send every second.
func (r *Registry) ExportTotals() ([]byte, error) { return r.export(false) }

func (r *Registry) export(timelines bool) ([]byte, error) {
	out := exported{Version: exportVersion, Start: r.Started(), Duration: r.Duration()}
	for _, m := range r.Metrics() {
		em := exportedMetric{Name: m.Name, Kind: m.Kind.String(), Contains: m.Contains.String()}
		for _, s := range m.matching(Tags{}) {
			es, err := s.export(timelines)
			if err != nil {
				return nil, fmt.Errorf("metric: export %s{%s}: %w", m.Name, s.tags, err)
			}
			em.Series = append(em.Series, es)
		}
		out.Metrics = append(out.Metrics, em)
	}
	return json.Marshal(out)
}

func (s *Series) export(timelines bool) (exportedSeries, error) {
	s.settle()
	s.mu.Lock()
	defer s.mu.Unlock()
	out := exportedSeries{Tags: s.tags.Map(), Count: s.count, Nonzero: s.nonzero, Sum: s.sum, Last: s.last}
	if s.count > 0 {
		out.Min, out.Max = s.min, s.max
	}
	if s.hist != nil {
		data, err := s.hist.Encode(hdrhistogram.V2CompressedEncodingCookieBase)
		if err != nil {
			return out, err
		}
		out.Hist = string(data)
	}
	if !timelines {
		return out, nil
	}
	if s.metric.Kind == Gauge {
		s.fill(len(s.seconds))
	}
	for i, sec := range s.seconds {
		if sec == nil {
			continue
		}
		e := exportedSecond{Second: i, Count: sec.count, Sum: sec.sum, First: sec.coarse.first, Steps: sec.coarse.counts}
		if s.metric.Kind == Gauge {
			e.Min, e.Max = sec.min, sec.max
		}
		out.Seconds = append(out.Seconds, e)
	}
	return out, nil
}

// fill gives a gauge every second up to n: where nothing was said it stayed as
// it was. The series is locked.
func (s *Series) fill(n int) {
	last := 0.0
	for i := range n {
		if i < len(s.seconds) && s.seconds[i] != nil {
			last = s.seconds[i].sum
			continue
		}
		sec := s.second(i)
		sec.sum, sec.min, sec.max = last, last, last
	}
}

// Merge adds what another registry exported: counters, rates and gauges add up,
// distributions and timelines are merged second by second, each relative to its
// own run's start, and the longer run's length counts. It takes all or nothing.
func (r *Registry) Merge(data []byte) error {
	var in exported
	d := json.NewDecoder(bytes.NewReader(data))
	if err := d.Decode(&in); err != nil {
		return fmt.Errorf("metric: merge: %w", err)
	}
	if in.Version != exportVersion {
		return fmt.Errorf("metric: merge: version %d, expected %d", in.Version, exportVersion)
	}
	type incoming struct {
		series exportedSeries
		hist   *hdrhistogram.Histogram
	}
	type target struct {
		name     string
		kind     Kind
		contains Contains
		series   []incoming
	}
	var targets []target
	for _, em := range in.Metrics {
		kind, err1 := indexOf(kinds[:], em.Kind)
		contains, err2 := indexOf(contents[:], em.Contains)
		if err := errors.Join(err1, err2); err != nil {
			return fmt.Errorf("metric: merge %s: %w", em.Name, err)
		}
		t := target{em.Name, Kind(kind), Contains(contains), nil}
		if m := r.Lookup(em.Name); !validName(em.Name) || m != nil && (m.Kind != t.kind || m.Contains != t.contains) {
			return fmt.Errorf("metric: merge %q: a %s of %s has no place here", em.Name, em.Kind, em.Contains)
		}
		for _, es := range em.Series {
			hist, err := es.check(t.kind)
			if err != nil {
				return fmt.Errorf("metric: merge %s: %w", em.Name, err)
			}
			t.series = append(t.series, incoming{es, hist})
		}
		targets = append(targets, t)
	}
	for _, t := range targets {
		m, err := r.define(t.name, t.kind, t.contains)
		if err != nil {
			return err
		}
		for _, s := range t.series {
			m.With(TagsOf(s.series.Tags)).merge(s.series, s.hist)
		}
	}
	for {
		old := r.duration.Load()
		if int64(in.Duration) <= old || r.duration.CompareAndSwap(old, int64(in.Duration)) {
			return nil
		}
	}
}

func indexOf(words []string, word string) (int, error) {
	for i, w := range words {
		if w == word {
			return i, nil
		}
	}
	return 0, fmt.Errorf("%q is none of %q", word, words)
}

// check refuses what could not have been exported and decodes the distribution.
func (e exportedSeries) check(kind Kind) (h *hdrhistogram.Histogram, err error) {
	for name, value := range e.Tags {
		if bytes.IndexByte([]byte(name+value), 0) >= 0 {
			return nil, errors.New("a tag with a zero byte")
		}
	}
	if e.Count < 0 || e.Nonzero < 0 || e.Nonzero > e.Count {
		return nil, fmt.Errorf("%d of %d samples", e.Nonzero, e.Count)
	}
	for _, s := range e.Seconds {
		if s.Second < 0 || s.Second >= maxSeconds || s.First < 0 || s.First+len(s.Steps) > step(math.MaxInt64) || s.Count < 0 {
			return nil, fmt.Errorf("second %d is damaged", s.Second)
		}
	}
	if kind != Trend || e.Count == 0 {
		if e.Hist != "" {
			return nil, errors.New("a distribution where there is none")
		}
		return nil, nil
	}
	defer func() {
		if p := recover(); p != nil { // damaged bytes, on which the decoder does not always return
			h, err = nil, fmt.Errorf("a damaged distribution: %v", p)
		}
	}()
	h, err = hdrhistogram.Decode([]byte(e.Hist))
	if err != nil {
		return nil, err
	}
	if h.TotalCount() != e.Count {
		return nil, fmt.Errorf("a distribution of %d samples, not %d", h.TotalCount(), e.Count)
	}
	return h, nil
}

func (s *Series) merge(e exportedSeries, h *hdrhistogram.Histogram) {
	s.settle()
	s.mu.Lock()
	defer s.mu.Unlock()
	if e.Count > 0 {
		if s.metric.Kind == Gauge && s.count > 0 { // each speaks for its part of the whole
			s.min, s.max = s.min+e.Min, s.max+e.Max
		} else {
			s.min, s.max = min(s.min, e.Min), max(s.max, e.Max)
		}
	}
	s.count += e.Count
	s.nonzero += e.Nonzero
	s.sum += e.Sum
	s.last += e.Last
	if h != nil {
		if s.hist == nil {
			s.hist = newHistogram()
		}
		s.hist.Merge(h)
	}
	if s.metric.Kind == Gauge {
		s.mergeGauge(e.Seconds)
		return
	}
	for _, x := range e.Seconds {
		sec := s.second(x.Second)
		sec.count += x.Count
		sec.sum += x.Sum
		sec.coarse.merge(&coarse{x.First, x.Steps})
	}
}

// mergeGauge adds a timeline to that of a gauge, where either goes on as it was
// behind its end.
func (s *Series) mergeGauge(in []exportedSecond) {
	if len(in) == 0 {
		return
	}
	other := &Series{metric: s.metric}
	for _, x := range in {
		sec := other.second(x.Second)
		sec.count, sec.sum, sec.min, sec.max = x.Count, x.Sum, x.Min, x.Max
	}
	n := max(len(s.seconds), len(other.seconds))
	s.fill(n)
	other.fill(n)
	for i, x := range other.seconds {
		sec := s.seconds[i]
		sec.count += x.count
		sec.sum += x.sum
		sec.min += x.min
		sec.max += x.max
	}
}
