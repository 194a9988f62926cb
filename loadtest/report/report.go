// Package report makes one HTML file of a finished rehearsal: a page for whoever
// has to decide whether the event may come.
//
// The file needs nothing else: no script, no font, no picture, no request. It is
// read on a phone, on paper and aloud, in the light and in the dark. What it says
// comes in the order in which it is asked: did it hold, with how many people, what
// happened when, which promises were kept, and how all that was found out.
package report

import (
	"bytes"
	_ "embed"
	"errors"
	"fmt"
	"html/template"
	"time"

	"github.com/sluicegate/sluice/loadtest/judge"
	"github.com/sluicegate/sluice/loadtest/metric"
	"github.com/sluicegate/sluice/loadtest/origin"
)

// Data is a finished run.
type Data struct {
	Name     string // of the script's file, such as spike-80k.yaml
	Began    time.Time
	Plan     string // what sluice loadtest inspect prints
	Seed     uint64
	Targets  []string
	Command  string           // the command line that repeats it; "": not known
	Version  string           // of sluice
	Registry *metric.Registry // finished
	Results  []metric.Result  // of the thresholds
	Verdict  *judge.Verdict   // nil: nothing was judged
	Limits   judge.Options    // what the judges knew of the room: rate, burst, session
	Shop     *origin.Stats    // nil: no recording origin was served
	Failures []string         // kinds of failed requests, most frequent first

	Interrupted bool
	Aborted     *metric.Result // the threshold that ended the run; nil: none did
}

// HTML returns the report. It is an error to ask for one without a registry.
func HTML(d Data) ([]byte, error) {
	if d.Registry == nil {
		return nil, errors.New("report: a run without a registry")
	}
	v, err := newView(&d)
	if err != nil {
		return nil, fmt.Errorf("report: %w", err)
	}
	var b bytes.Buffer
	if err := page.Execute(&b, v); err != nil {
		return nil, fmt.Errorf("report: %w", err)
	}
	return b.Bytes(), nil
}

//go:embed report.html
var pageText string

//go:embed report.css
var style string

var page = template.Must(template.New("report").Parse(pageText))

// view is the report as the template puts it down.
type view struct {
	Style      template.CSS
	Name       string
	When       string
	Outcome    outcome
	Figures    []figure
	Charts     []chart
	Seconds    *table // the charts in numbers; nil: nothing to tell
	Promises   []promise
	Judged     []string // what was left out, and what the shop saw
	Findings   []string
	Estimates  []row
	Thresholds []threshold
	Latency    []row
	Failures   []string
	Made       []fact
	Plan       string
}

// table has a header for every column, and rows that begin with their own.
type table struct {
	Head []string
	Rows []row
}

type row struct {
	Name  string
	Note  string
	Cells []string
}

// figure is one of the numbers on top.
type figure struct{ Label, Value, Note string }

// fact is something about how the run was made.
type fact struct{ Name, Value string }

// maxFailures is how many kinds of failed requests are told.
const maxFailures = 10

func newView(d *Data) (*view, error) {
	if d.Name == "" {
		d.Name = "A rehearsal"
	}
	t := newTimeline(d)
	v := &view{
		Style: template.CSS(style), //nolint:gosec // our own file
		Name:  d.Name, When: when(d.Began), Plan: d.Plan,
		Promises: promises(d), Judged: judged(d), Estimates: estimates(d),
		Thresholds: thresholds(d), Latency: latency(d), Failures: d.Failures, Made: made(d),
		Figures: figures(d, t), Seconds: t.table(),
	}
	v.Outcome = newOutcome(d, t.crowd, v.Promises)
	if d.Verdict != nil {
		v.Findings = d.Verdict.Findings
	}
	if more := len(d.Failures) - maxFailures; more > 0 {
		v.Failures = append(d.Failures[:maxFailures:maxFailures], fmt.Sprintf("and %s", plural(int64(more), "other kind", "other kinds")))
	}
	var err error
	v.Charts, err = charts(d, t)
	return v, err
}

// when tells a time for people.
func when(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.Format("2 January 2006, 15:04:05 MST")
}

// made tells how to make the run again.
func made(d *Data) []fact {
	var out []fact
	add := func(name, value string) {
		if value != "" {
			out = append(out, fact{name, value})
		}
	}
	add("Script", d.Name)
	add("Began", when(d.Began))
	add("Took", span(float64(d.Registry.Duration())/1e6))
	for _, target := range d.Targets {
		add("Gate", target)
	}
	if d.Limits.Rate > 0 {
		add("Room, as the judges were told", limit(d))
	}
	if d.Limits.Session > 0 {
		add("Its session", span(float64(d.Limits.Session)/1e6))
	}
	add("Seed", fmt.Sprint(d.Seed))
	add("Sluice", d.Version)
	return append(out, fact{"Command", d.Command})
}
