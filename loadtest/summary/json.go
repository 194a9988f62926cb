package summary

import (
	"bytes"
	"crypto/md5"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"time"

	"github.com/sluicegate/sluice/loadtest/metric"
)

// Data is what k6 hands to handleSummary.
type Data struct {
	RootGroup Group             `json:"root_group"`
	Options   Options           `json:"options"`
	State     State             `json:"state"`
	Metrics   map[string]Metric `json:"metrics"`
}

// Group holds the checks; there is only the root.
type Group struct {
	Name   string  `json:"name"`
	Path   string  `json:"path"`
	ID     string  `json:"id"`
	Groups []Group `json:"groups"`
	Checks []Check `json:"checks"`
}

// Check is how often one passed and failed.
type Check struct {
	Name   string `json:"name"`
	Path   string `json:"path"`
	ID     string `json:"id"`
	Passes int64  `json:"passes"`
	Fails  int64  `json:"fails"`
}

// Options are those of the script that k6 tells.
type Options struct {
	SummaryTrendStats []string `json:"summaryTrendStats"`
	SummaryTimeUnit   string   `json:"summaryTimeUnit"`
	NoColor           bool     `json:"noColor"`
}

// State is about the run itself.
type State struct {
	IsStdOutTTY       bool    `json:"isStdOutTTY"`
	IsStdErrTTY       bool    `json:"isStdErrTTY"`
	TestRunDurationMs float64 `json:"testRunDurationMs"`
}

// Metric is a metric, or a selection that a threshold makes of one.
type Metric struct {
	Type       string               `json:"type"`
	Contains   string               `json:"contains"`
	Values     map[string]float64   `json:"values"`
	Thresholds map[string]Threshold `json:"thresholds,omitempty"`
}

// Threshold is whether one holds.
type Threshold struct {
	OK bool `json:"ok"`
}

// Summarise returns the run in the shape of k6's handleSummary data.
func Summarise(r Run) Data {
	d := Data{
		RootGroup: Group{ID: id(""), Groups: []Group{}, Checks: []Check{}},
		Options:   Options{r.stats(), r.TimeUnit, !r.Color},
		State:     State{r.StdoutTerminal, r.StderrTerminal, float64(r.Registry.Duration()) / float64(time.Millisecond)},
		Metrics:   map[string]Metric{},
	}
	if m := r.Registry.Lookup(metric.Checks); m != nil {
		for _, c := range checksOf(m) {
			path := "::" + c.Name
			d.RootGroup.Checks = append(d.RootGroup.Checks, Check{c.Name, path, id(path), c.Passes, c.Fails})
		}
	}
	for _, e := range r.entries() {
		name := e.metric.Name
		if e.selector != "" {
			name = e.selector
		}
		out := Metric{Type: e.metric.Kind.String(), Contains: e.metric.Contains.String(), Values: r.values(e.metric, e.metric.Select(e.tags))}
		for _, res := range e.results {
			if out.Thresholds == nil {
				out.Thresholds = map[string]Threshold{}
			}
			out.Thresholds[res.Source] = Threshold{res.OK}
		}
		d.Metrics[name] = out
	}
	return d
}

// JSON returns Summarise as a file has it.
func JSON(r Run) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	if err := e.Encode(Summarise(r)); err != nil {
		return nil, fmt.Errorf("summary: %w", err)
	}
	return b.Bytes(), nil
}

func (r Run) values(m *metric.Metric, v metric.Values) map[string]float64 {
	switch m.Kind {
	case metric.Counter:
		return map[string]float64{"count": v.Count, "rate": v.Rate}
	case metric.Gauge:
		return map[string]float64{"value": v.Value, "min": v.Min, "max": v.Max}
	case metric.Rate:
		return map[string]float64{"rate": v.Rate, "passes": float64(v.Passes), "fails": float64(v.Fails)}
	}
	out := map[string]float64{}
	for _, stat := range r.stats() {
		value, err := v.Stat(stat)
		if err != nil {
			panic("BUG: summary: " + err.Error())
		}
		out[stat] = value
	}
	return out
}

// id is how k6 names groups and checks: the MD5 of their path.
func id(path string) string {
	sum := md5.Sum([]byte(path))
	return hex.EncodeToString(sum[:])
}
