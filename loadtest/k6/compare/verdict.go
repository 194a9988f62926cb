package main

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
)

// minSamples is how many requests a step needs to be judged: of fewer, the 95th
// percentile stands on a handful.
const minSamples = 300

// round is one run of either harness, next to each other in time.
type round struct{ k6, ours measured }

// disturbed tells whether the machine had too much else to do.
func (r *round) disturbed() bool { return max(r.k6.busy, r.ours.busy) > tooBusy }

// row is one measure, over all rounds.
type row struct {
	of, name    string
	k6, ours    float64 // medians
	ratio       float64 // ours to k6's: the median of the rounds' ratios
	least, most float64 // of those
	judged, ok  bool
	time        bool
}

// verdict is what the rounds come to.
type verdict struct {
	within    float64
	rounds    int
	rows      []row
	problems  []string // why a run says nothing
	disturbed int
	cpu       [2]time.Duration
}

// newVerdict compares. A measure is within when its ratio differs from 1 by at most so
// much. Judged are the visitors, the requests and their p95, in total and of every
// step that either harness has enough of; p50 and p99 are only told.
func newVerdict(rounds []round, within float64) *verdict {
	v := &verdict{within: within, rounds: len(rounds)}
	add := func(of, name string, judged, time bool, value func(m *measured) float64) {
		r := row{of: of, name: name, judged: judged, time: time}
		var k6, ours, ratios []float64
		for i := range rounds {
			a, b := value(&rounds[i].k6), value(&rounds[i].ours)
			k6, ours, ratios = append(k6, a), append(ours, b), append(ratios, ratio(b, a))
		}
		r.k6, r.ours, r.ratio = median(k6), median(ours), median(ratios)
		r.least, r.most = slices.Min(ratios), slices.Max(ratios)
		r.ok = math.Abs(r.ratio-1) <= within+1e-9 // 1.1 is a tenth more than 1
		v.rows = append(v.rows, r)
	}
	parts := func(of string, take func(m *measured) part) {
		var n []float64
		for i := range rounds {
			n = append(n, max(take(&rounds[i].k6).requests, take(&rounds[i].ours).requests))
		}
		judged := median(n) >= minSamples
		add(of, "requests", judged, false, func(m *measured) float64 { return take(m).requests })
		add(of, "p50 ms", false, true, func(m *measured) float64 { return take(m).p50 })
		add(of, "p95 ms", judged, true, func(m *measured) float64 { return take(m).p95 })
		add(of, "p99 ms", false, true, func(m *measured) float64 { return take(m).p99 })
	}
	parts("all", func(m *measured) part { return m.total })
	for _, s := range steps {
		parts(s, func(m *measured) part { return m.steps[s] })
	}
	add("visitors", "iterations", true, false, func(m *measured) float64 { return m.iterations })
	add("visitors", "joined", true, false, func(m *measured) float64 { return m.joined })
	add("visitors", "admitted", true, false, func(m *measured) float64 { return m.admitted })
	add("visitors", "wait p95", false, true, func(m *measured) float64 { return m.waited })
	add("visitors", "dropped", false, false, func(m *measured) float64 { return m.dropped })
	add("bytes", "sent", false, false, func(m *measured) float64 { return m.sent })
	add("bytes", "received", false, false, func(m *measured) float64 { return m.received })

	for i := range rounds {
		if rounds[i].disturbed() {
			v.disturbed++
		}
		for _, h := range []struct {
			name string
			*measured
		}{{"k6", &rounds[i].k6}, {"sluice loadtest", &rounds[i].ours}} {
			if h.dropped > 0 {
				v.problems = append(v.problems, fmt.Sprintf("round %d: %s dropped %.0f visitors: the load is too high to compare at, lower --rate", i+1, h.name, h.dropped))
			}
			if h.failed > 0 {
				v.problems = append(v.problems, fmt.Sprintf("round %d: %.0f requests of %s failed", i+1, h.failed, h.name))
			}
		}
		v.cpu[0] += rounds[i].k6.cpu / time.Duration(len(rounds))
		v.cpu[1] += rounds[i].ours.cpu / time.Duration(len(rounds))
	}
	return v
}

// ratio is 1 where both are nothing.
func ratio(ours, k6 float64) float64 {
	if ours == k6 {
		return 1
	}
	return ours / k6
}

func median(x []float64) float64 {
	x = slices.Sorted(slices.Values(x))
	if n := len(x); n%2 == 0 {
		return (x[n/2-1] + x[n/2]) / 2
	}
	return x[len(x)/2]
}

func (v *verdict) agree() bool {
	return len(v.problems) == 0 && !slices.ContainsFunc(v.rows, func(r row) bool { return r.judged && !r.ok })
}

func (v *verdict) table() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%-9s%-11s%12s%12s%8s   %s\n", "", "", "k6", "sluice", "ratio", "of the rounds")
	of := ""
	for _, r := range v.rows {
		name := ""
		if r.of != of {
			name, of = r.of, r.of
		}
		number := func(x float64) string {
			if r.time {
				return milliseconds(x)
			}
			return strconv.FormatFloat(x, 'f', -1, 64)
		}
		line := fmt.Sprintf("%-9s%-11s%12s%12s%8.3f   %.3f to %.3f", name, r.name, number(r.k6), number(r.ours), r.ratio, r.least, r.most)
		switch {
		case r.judged && r.ok:
			line += "   within"
		case r.judged:
			line += "   OUTSIDE"
		}
		b.WriteString(line + "\n")
	}
	fmt.Fprintf(&b, "%-9s%-11s%12s%12s%8.3f\n", "harness", "cpu s", seconds(v.cpu[0]), seconds(v.cpu[1]), ratio(float64(v.cpu[1]), float64(v.cpu[0])))
	return b.String()
}

// text is the verdict in words.
func (v *verdict) text() string {
	var b strings.Builder
	percent := strconv.FormatFloat(v.within*100, 'f', -1, 64)
	for _, p := range v.problems {
		fmt.Fprintf(&b, "no comparison: %s\n", p)
	}
	judged, outside := 0, 0
	for _, r := range v.rows {
		if !r.judged {
			continue
		}
		if judged++; !r.ok {
			outside++
			fmt.Fprintf(&b, "%s %s: sluice loadtest has %.3f times what k6 has\n", r.of, r.name, r.ratio)
		}
	}
	if v.disturbed > 0 {
		fmt.Fprintf(&b, "the machine was more than %.0f %% busy in %s of %d: run this again when it has less to do\n",
			tooBusy*100, plural(v.disturbed, "round"), v.rounds)
	}
	if v.agree() {
		fmt.Fprintf(&b, "they agree: %d of %d measures are within %s %% (medians of %s)\n", judged, judged, percent, plural(v.rounds, "round"))
	} else {
		fmt.Fprintf(&b, "they do not agree: %d of %d measures are not within %s %% (medians of %s)\n", outside, judged, percent, plural(v.rounds, "round"))
	}
	return b.String()
}

func plural(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

func milliseconds(x float64) string { return strconv.FormatFloat(x, 'f', 1, 64) }

func seconds(d time.Duration) string { return strconv.FormatFloat(d.Seconds(), 'f', 1, 64) }
