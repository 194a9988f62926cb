package run

import (
	"bufio"
	"encoding/json"
	"io"
	"sync"
	"time"

	"github.com/sluicegate/sluice/loadtest/metric"
)

// points writes samples as k6's JSON output does: a line about each metric, then
// one for each of its samples.
type points struct {
	mu    sync.Mutex
	w     *bufio.Writer
	lines *json.Encoder // its error is the writer's, which keeps it
}

type definition struct {
	Type   string        `json:"type"`
	Data   definedMetric `json:"data"`
	Metric string        `json:"metric"`
}

type definedMetric struct {
	Name       string   `json:"name"`
	Type       string   `json:"type"`
	Contains   string   `json:"contains"`
	Thresholds []string `json:"thresholds"`
}

type point struct {
	Metric string `json:"metric"`
	Type   string `json:"type"`
	Data   sample `json:"data"`
}

type sample struct {
	Time  time.Time         `json:"time"`
	Value float64           `json:"value"`
	Tags  map[string]string `json:"tags"`
}

func newPoints(w io.Writer) *points {
	p := &points{w: bufio.NewWriterSize(w, 1<<20)}
	p.lines = json.NewEncoder(p.w)
	return p
}

// define writes what metrics there are, before the first sample.
func (p *points) define(r *metric.Registry) {
	for _, m := range r.Metrics() {
		_ = p.lines.Encode(definition{"Metric", definedMetric{m.Name, m.Kind.String(), m.Contains.String(), []string{}}, m.Name})
	}
}

func (p *points) add(m *metric.Metric, t metric.Tags, v float64, at time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	_ = p.lines.Encode(point{m.Name, "Point", sample{at, v, t.Map()}})
}

// copy takes over the samples that another process wrote, line by line, up to the
// end. It reads on when they cannot be written, so that the other can go on.
func (p *points) copy(from io.Reader) {
	lines := bufio.NewReaderSize(from, 1<<16)
	for {
		line, err := lines.ReadBytes('\n')
		if err != nil {
			return
		}
		p.mu.Lock()
		_, _ = p.w.Write(line)
		p.mu.Unlock()
	}
}

func (p *points) flush() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.w.Flush()
}
