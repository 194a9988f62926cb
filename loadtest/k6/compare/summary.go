package main

import (
	"encoding/json"
	"fmt"
	"time"
)

// steps are what visitors' requests are for, in the order of a visit.
var steps = []string{"join", "poll", "reload", "page", "leave"}

// measured is what a harness says of a run.
type measured struct {
	total      part
	steps      map[string]part
	iterations float64
	dropped    float64
	failed     float64 // requests
	joined     float64
	admitted   float64
	waited     float64 // p95 of wait_duration, milliseconds
	sent       float64 // bytes
	received   float64
	cpu        time.Duration // of the harness
	busy       float64       // share of the machine, whoever used it
}

// part are requests, and http_req_duration of them in milliseconds.
type part struct{ requests, p50, p95, p99 float64 }

// read reads the data that k6 hands to handleSummary, which is also what sluice
// loadtest exports.
func read(data []byte) (m measured, err error) {
	var summary struct {
		Metrics map[string]struct {
			Values map[string]float64 `json:"values"`
		} `json:"metrics"`
	}
	if err := json.Unmarshal(data, &summary); err != nil {
		return m, fmt.Errorf("read the summary: %w", err)
	}
	must := func(metric, value string) float64 {
		v, ok := summary.Metrics[metric].Values[value]
		if !ok && err == nil {
			err = fmt.Errorf("read the summary: it does not tell %s of %s", value, metric)
		}
		return v
	}
	// A counter to which nothing was added is not in k6's summary.
	may := func(metric string) float64 { return summary.Metrics[metric].Values["count"] }
	take := func(of string) (p part) {
		if p.requests = must("http_reqs"+of, "count"); p.requests > 0 {
			duration := "http_req_duration" + of
			p.p50, p.p95, p.p99 = must(duration, "med"), must(duration, "p(95)"), must(duration, "p(99)")
		}
		return p
	}
	m.total = take("")
	m.steps = map[string]part{}
	for _, s := range steps {
		m.steps[s] = take("{step:" + s + "}")
	}
	m.iterations = must("iterations", "count")
	m.failed = must("http_req_failed", "passes") // a failed request passes as a failure
	m.sent, m.received = must("data_sent", "count"), must("data_received", "count")
	m.dropped = may("dropped_iterations")
	m.joined, m.admitted = may("sluice_joined"), may("sluice_admitted")
	m.waited = summary.Metrics["wait_duration"].Values["p(95)"]
	return m, err
}
