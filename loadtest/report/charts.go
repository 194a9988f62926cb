package report

import (
	"fmt"
	"math"
	"strings"
)

// charts are what happened over time.
func charts(d *Data, t *timeline) ([]chart, error) {
	var out []chart
	var failed error
	add := func(c chart, p plot) {
		p.end = t.length
		if p.ticks == nil {
			p.ticks, p.label = wholes, number
		}
		var err error
		if c.Wide, c.Narrow, err = p.draw(c.ID); err != nil && failed == nil {
			failed = err
		}
		out = append(out, c)
	}
	at := func(second int) string { return instant(second, t.length) }
	n := func(v float64) string { return count(int64(math.Round(v))) }

	// perSecond draws what is counted. Where a point stands for several seconds the
	// busiest of them is drawn as well: a mean would hide a spike.
	perSecond := func(vs []float64, name string) (lines []line, keys []key) {
		lines = []line{steps("s1", true, average(vs, t.step), t.step, t.length)}
		keys = []key{{"s1", name}}
		if t.step > 1 {
			lines = append(lines, steps("s2", false, largest(vs, t.step), t.step, t.length))
			keys = []key{{"s1", name + ", mean of " + stretch(t.step)}, {"s2", "busiest second of them"}}
		}
		return lines, keys
	}

	lines, keys := perSecond(t.arrivals, "came")
	text := "Nobody came."
	if most, second := peak(t.arrivals); most > 0 {
		text = fmt.Sprintf("%s came, at most %s in one second (at %s).", people(int64(math.Round(total(t.arrivals)))), n(most), at(second))
	}
	add(chart{
		ID: "arrivals", Title: "Arrivals", Unit: "people per second", Keys: keys, Text: text,
		Note: "Everybody who was given a place or let in on the spot, when they had that answer.",
	}, plot{lines: lines})

	text = "Nobody was in line at the end of any second."
	if most, second := peak(t.waiting); most > 0 {
		text = fmt.Sprintf("At most %s waited (at %s); %s at the end.", people(int64(most)), at(second+1), n(t.waiting[t.length-1]))
	}
	note := "People with a place who were neither let in nor gone for good. Who walked away and comes back later is among them."
	if v := d.Verdict; v != nil && v.PlacesLost > 0 {
		note += " Who lost a place and was given another counts twice."
	}
	add(chart{
		ID: "waiting", Title: "Waiting", Unit: "people in line", Keys: []key{{"s1", "waiting"}}, Text: text, Note: note,
	}, plot{lines: []line{states("s1", largest(t.waiting, t.step), t.step, t.length)}})

	lines, keys = perSecond(t.letIn, "let in")
	text, note = "Nobody was let in.", ""
	if most, second := peak(t.letIn); most > 0 {
		text = fmt.Sprintf("%s let in, at most %s in one second (at %s).", capital(people(int64(total(t.letIn)))+" "+was(int64(total(t.letIn)))), n(most), at(second))
	}
	if rate := d.Limits.Rate; rate > 0 {
		lines = append(lines, level("limit", rate, t.length))
		keys = append(keys, key{"limit", "the room's limit"})
		text += fmt.Sprintf(" The room's limit is %s.", limit(d))
		note = "Single seconds may lie above the line: after a quiet time some come at once, and a person is let in when they next ask. The limit is for the calls, and is judged below by when they were made."
	}
	add(chart{ID: "letin", Title: "Let in", Unit: "people per second", Keys: keys, Text: text, Note: note}, plot{lines: lines})

	percentiles := func(id, title, what, none, note string, l latencies) {
		c := chart{ID: id, Title: title, Unit: "time until the answer was there", Text: none, Note: note}
		c.Keys = []key{{"s1", "half were faster (p50)"}, {"s2", "95 of 100 (p95)"}, {"s3", "99 of 100 (p99)"}}
		if v := values(d.Registry, "http_req_duration", "step", id); v.Samples > 0 {
			worst, second := peak(largest(l.p99, 1))
			c.Text = fmt.Sprintf("%s: half were answered within %s, 95 of 100 within %s, 99 of 100 within %s, the slowest in %s. The slowest second was at %s, with 99 of 100 within %s.",
				plural(v.Samples, what, what+"s"), span(v.Med), span(v.P(95)), span(v.P(99)), span(v.Max), at(second), span(worst))
		}
		if t.step > 1 {
			c.Note = strings.TrimSpace(note + " Each point is the slowest second of " + stretch(t.step) + ".")
		}
		add(c, plot{ticks: times, label: mark, lines: []line{
			steps("s1", false, largest(l.p50, t.step), t.step, t.length),
			steps("s2", false, largest(l.p95, t.step), t.step, t.length),
			steps("s3", false, largest(l.p99, t.step), t.step, t.length),
		}})
	}
	percentiles("join", "First requests", "first request", "No first request was answered.", "", t.join)
	percentiles("poll", "Polls of those who wait", "poll", "No poll was answered.",
		"A gate keeps the poll of somebody who is nearly there until it is their turn, for up to two seconds. That is no slowness.", t.poll)

	lines, keys = perSecond(t.requests, "requests")
	bad := total(t.failed)
	text = "No request was sent."
	if most, second := peak(t.requests); most > 0 {
		text = fmt.Sprintf("%s, at most %s in one second (at %s).", plural(int64(total(t.requests)), "request", "requests"), n(most), at(second))
		text += " None failed."
		if bad > 0 {
			most, second = peak(t.failed)
			text = text[:len(text)-len("None failed.")] + fmt.Sprintf("%s failed, at most %s in one second (at %s).", n(bad), n(most), at(second))
		}
	}
	if bad > 0 {
		lines = append(lines, steps("bad", true, largest(t.failed, t.step), t.step, t.length))
		name := "failed"
		if t.step > 1 {
			name = "failed, in the worst second"
		}
		keys = append(keys, key{"bad", name})
	}
	add(chart{ID: "requests", Title: "Requests", Unit: "requests per second", Keys: keys, Text: text}, plot{lines: lines})
	return out, failed
}

// stretch tells the length of one.
func stretch(seconds int) string { return span(float64(seconds) * 1000) }
