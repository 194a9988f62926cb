package run

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/sluicegate/sluice/loadtest/judge"
	"github.com/sluicegate/sluice/loadtest/metric"
	"github.com/sluicegate/sluice/loadtest/summary"
)

// Crossed returns the selectors of the thresholds that do not hold, each once.
func (o *Outcome) Crossed() []string {
	var out []string
	for _, res := range o.Results {
		if !res.OK && !slices.Contains(out, res.Selector) {
			out = append(out, res.Selector)
		}
	}
	// What ended the run may hold again by its end, and has been crossed all the same.
	if a := o.Aborted; a != nil && !slices.Contains(out, a.Selector) {
		out = append(out, a.Selector)
	}
	return out
}

// Summary is the outcome for package summary.
func (o *Outcome) Summary() summary.Run {
	return summary.Run{
		Registry: o.Registry, Results: o.Results,
		TrendStats: o.rehearsal.Script.SummaryTrendStats, TimeUnit: o.rehearsal.Script.SummaryTimeUnit,
		Group: group,
	}
}

var promises = func() []string {
	r := metric.NewRegistry()
	judge.Define(r)
	var names []string
	for _, m := range r.Metrics() {
		names = append(names, m.Name)
	}
	return names
}()

// group is where the summary shows a metric that is none of k6's.
func group(name string) string {
	if slices.Contains(promises, name) {
		return "PROMISES"
	}
	return "VISITORS"
}

// maxFailures is how many kinds of failed requests are told.
const maxFailures = 10

// Findings tells, for people, what the judges found and why requests failed.
func (o *Outcome) Findings() string {
	var b strings.Builder
	v := o.Verdict
	fmt.Fprintf(&b, "  █ JUDGES\n\n")
	line := func(format string, args ...any) { fmt.Fprintf(&b, "    "+format+"\n", args...) }
	line("%d visitors had a place or were let in: %d let in (%d of them on the spot), %d walked away, %d not let in",
		v.Visitors, v.Admitted, v.OnSpot, v.WalkedAway, v.NotAdmitted)
	if v.OvershootWindow < 0 {
		line("how many were called in any window was not judged: the room's limits were not told")
	}
	if o.Judged.Session <= 0 {
		line("who vanished counts as inside until their last answer only: the room's session was not told")
	}
	if v.UnknownCalls > 0 {
		line("%d were let in without saying when they were called", v.UnknownCalls)
	}
	if s := o.Shop; s != nil {
		line("the origin had %d requests of %d visitors, at most %d of them at once; %d came past the gate", s.Requests, s.Visitors, s.MostAtOnce, s.Unadmitted)
		for _, e := range s.Examples {
			line("%s", e)
		}
	} else {
		line("what reached the shop was not judged: no recording origin was served")
	}
	for _, f := range v.Findings {
		line("%s", f)
	}
	if len(o.Failures) > 0 {
		fmt.Fprintf(&b, "\n  █ FAILED REQUESTS\n\n")
		for i, f := range o.Failures.Lines() {
			if i == maxFailures {
				line("and %d other kinds", len(o.Failures)-i)
				break
			}
			line("%s", f)
		}
	}
	return b.String()
}

// Failures are why requests failed, and how often.
type Failures map[string]int64

func (f Failures) add(more Failures) {
	for what, n := range more {
		f[what] += n
	}
}

// Lines tells each in a line, the most frequent first.
func (f Failures) Lines() []string {
	keys := slices.SortedFunc(maps.Keys(f), func(a, b string) int { return cmp.Or(cmp.Compare(f[b], f[a]), cmp.Compare(a, b)) })
	for i, k := range keys {
		keys[i] = fmt.Sprintf("%dx %s", f[k], k)
	}
	return keys
}
