package report

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/sluicegate/sluice/loadtest/judge"
	"github.com/sluicegate/sluice/loadtest/metric"
	"github.com/sluicegate/sluice/loadtest/summary"
	"github.com/sluicegate/sluice/loadtest/visitor"
)

// outcome is the first sentence.
type outcome struct {
	Class    string // held, failed or cut
	Sign     string // for who does not see the colour
	Word     string
	Sentence string
	Reasons  []string
	Note     string
}

// status is what became of a promise or a threshold.
type status struct{ Class, Sign, Word string }

var (
	kept      = status{"held", "✓", "kept"}
	broken    = status{"failed", "✗", "broken"}
	notJudged = status{"cut", "–", "not judged"}
)

// promise is one that the gate makes to visitors, or to the shop.
type promise struct {
	Name     string
	Promised string
	Measured string
	Means    string
	Status   status

	metric string // that a threshold may be about
}

type threshold struct {
	Selector, Expression, Value, Note string
	Status                            status
}

func newOutcome(d *Data, c crowd, ps []promise) outcome {
	o := outcome{Class: "held", Sign: "✓", Word: "It held"}
	judgedToo := 0
	var brokenOnes []string // metrics
	if a := d.Aborted; a != nil {
		o.Reasons = append(o.Reasons, "The run was ended early by a threshold: "+plain(d, *a)+".")
	}
	for _, p := range ps {
		switch p.Status {
		case broken:
			o.Reasons = append(o.Reasons, p.Means)
			brokenOnes = append(brokenOnes, p.metric)
		case notJudged:
			judgedToo++
		}
	}
	crossed := 0
	for _, res := range d.Results {
		if res.OK {
			continue
		}
		crossed++
		if a := d.Aborted; a != nil && a.Selector == res.Selector && a.Source == res.Source || slices.Contains(brokenOnes, res.Metric) {
			continue // said already
		}
		o.Reasons = append(o.Reasons, "A threshold was crossed: "+plain(d, res)+".")
	}

	took := span(float64(d.Registry.Duration()) / float64(time.Millisecond))
	said := fmt.Sprintf("%s came, %s %s let in, and it took %s.", people(c.came), count(c.letIn), was(c.letIn), took)
	if c.left > 0 {
		said = fmt.Sprintf("%s came, %s %s let in, %s %s still waiting, and it took %s.", people(c.came), count(c.letIn), was(c.letIn), count(c.left), was(c.left), took)
	}
	asked := values(d.Registry, metric.HTTPReqs).Count
	if c.came == 0 {
		said = fmt.Sprintf("Nobody came in %s.", took)
		if asked > 0 {
			said = fmt.Sprintf("Nobody was given a place or let in, with %s in %s.", plural(int64(asked), "request", "requests"), took)
		}
	}
	switch {
	case d.Interrupted:
		o.Class, o.Sign, o.Word = "cut", "!", "Interrupted"
		said = "The run was stopped before its script was over. Until then: " + said
		if len(o.Reasons) > 0 {
			o.Class, o.Sign, o.Word = "failed", "✗", "Interrupted, and it did not hold"
		}
	case len(o.Reasons) > 0:
		o.Class, o.Sign, o.Word = "failed", "✗", "It did not hold"
	case c.came == 0:
		o.Class, o.Sign, o.Word = "cut", "!", "It shows nothing"
	}
	o.Sentence = said

	var notes []string
	switch n := int64(len(d.Results)); {
	case n == 0:
		notes = append(notes, "The script sets no thresholds.")
	case crossed == 0 && n == 1:
		notes = append(notes, "The only threshold holds.")
	case crossed == 0:
		notes = append(notes, fmt.Sprintf("All %s thresholds hold.", count(n)))
	default:
		notes = append(notes, fmt.Sprintf("%s of %s crossed.", count(int64(crossed)), plural(n, "threshold", "thresholds")))
	}
	if c.came > 0 {
		note := "No promise was broken"
		if n := len(brokenOnes); n > 0 {
			note = plural(int64(n), "promise was", "promises were") + " broken"
		}
		if judgedToo > 0 {
			note += fmt.Sprintf(", %d of %d %s not judged", judgedToo, len(ps), was(int64(judgedToo)))
		}
		notes = append(notes, note+".")
	}
	if n := int64(values(d.Registry, metric.DroppedIterations).Count); n > 0 {
		notes = append(notes, fmt.Sprintf("%s due and could not be started, since the rehearsal had too few virtual users.", capital(plural(n, "visitor was", "visitors were"))))
	}
	o.Note = strings.Join(notes, " ")
	return o
}

// promises are those that a rehearsal can see.
func promises(d *Data) []promise {
	v := d.Verdict
	if v == nil {
		v = &judge.Verdict{}
	}
	out := []promise{
		{
			Name: "Nobody is overtaken", Promised: "Who came first is let in first.", metric: judge.Overtaken,
			Measured: fmt.Sprintf("%s overtaken", people(v.Overtaken)),
		},
		{Name: "Never over the limit", Promised: "In no stretch of time are more called than the room's rate and burst allow.", metric: judge.OvershootWindow},
		{
			Name: "Nobody loses their place", Promised: "Through reloads, closed tabs and lost connections.", metric: judge.PlacesLost,
			Measured: fmt.Sprintf("%s lost what they had", people(v.PlacesLost)),
		},
		{
			Name: "One ticket, one slot", Promised: "A ticket that is copied or used again lets in one.", metric: judge.DoubleAdmissions,
			Measured: fmt.Sprintf("%s let in twice", plural(v.DoubleAdmissions, "ticket", "tickets")),
		},
		{Name: "Nobody gets around the gate", Promised: "No request reaches the shop without having been let in.", metric: judge.UnadmittedAtOrigin},
		{
			Name: "Everybody who stayed was let in", Promised: "Who does not walk away comes in.", metric: judge.NotAdmitted,
			Measured: fmt.Sprintf("%s stayed and %s not let in", people(v.NotAdmitted), was(v.NotAdmitted)),
		},
	}
	overtaken, calls, place, ticket, around, stayed := &out[0], &out[1], &out[2], &out[3], &out[4], &out[5]
	decide := func(p *promise, bad int64, good, wrong string) {
		p.Status, p.Means = kept, good
		if bad > 0 {
			p.Status, p.Means = broken, wrong
		}
	}
	skip := func(p *promise, why string) { p.Status, p.Means = notJudged, why }

	if v.OvertakenPolls > 0 {
		overtaken.Measured += ", seen at " + plural(v.OvertakenPolls, "poll", "polls")
	}
	decide(overtaken, v.Overtaken, "The line was fair.",
		fmt.Sprintf("The line was not fair: %s had to wait although somebody who came later was in already.", people(v.Overtaken)))
	decide(place, v.PlacesLost, "Reloading or coming back cost nobody anything.",
		fmt.Sprintf("%s went back in the line, or lost what they had.", capital(people(v.PlacesLost))))
	decide(ticket, v.DoubleAdmissions, "Copies and replays gained nothing.",
		fmt.Sprintf("%s let in more than once: cheating pays.", capital(plural(v.DoubleAdmissions, "ticket was", "tickets were"))))

	switch {
	case v.OvershootWindow < 0 || d.Limits.Rate <= 0:
		calls.Measured = "–"
		skip(calls, "The room's rate was not told.")
	case v.UnknownCalls > 0 && v.UnknownCalls >= v.Admitted:
		calls.Measured = "–"
		skip(calls, "Nobody was told when they were called.")
	default:
		calls.Measured = fmt.Sprintf("%s beyond %s", plural(v.OvershootWindow, "call", "calls"), limit(d))
		decide(calls, v.OvershootWindow, "The shop was never sent more than it was said to bear.",
			fmt.Sprintf("The shop was sent more than it was said to bear: %s too many in the worst stretch.", plural(v.OvershootWindow, "call", "calls")))
		if v.UnknownCalls > 0 {
			calls.Measured += fmt.Sprintf("; %s let in without saying when they were called", people(v.UnknownCalls))
		}
	}
	switch s := d.Shop; {
	case s == nil:
		around.Measured = "–"
		skip(around, "No recording origin was served, so nobody saw what reached the shop.")
	case s.Requests == 0:
		around.Measured = "–"
		skip(around, "The recording origin had no request: nobody got there, or it does not stand behind the gate.")
	default:
		around.Measured = fmt.Sprintf("%s of %s past the gate", count(s.Unadmitted), plural(s.Requests, "request", "requests"))
		decide(around, s.Unadmitted, "All that the shop saw came through the gate.",
			fmt.Sprintf("%s reached the shop past the gate.", capital(plural(s.Unadmitted, "request", "requests"))))
	}
	switch {
	case v.NotAdmitted > 0 && d.Interrupted:
		skip(stayed, "The run was interrupted while they waited.")
	case v.NotAdmitted > 0 && d.Aborted != nil:
		skip(stayed, "A threshold ended the run while they waited.")
	default:
		decide(stayed, v.NotAdmitted, "Everybody who wanted in came in.",
			fmt.Sprintf("%s stayed and %s not let in before the script's time was over: it was too short for the room's rate, or the line stood still.", capital(people(v.NotAdmitted)), was(v.NotAdmitted)))
	}

	for i := range out {
		p := &out[i]
		switch {
		case p.Status == broken || p == around: // the shop speaks for itself
		case d.Verdict == nil:
			p.Measured = "–"
			skip(p, "No judge heard what happened.")
		case v.Visitors == 0 && p.Status == kept:
			p.Measured = "–"
			skip(p, "Nobody came.")
		}
	}
	return out
}

// judged tells what the verdict leaves out, and what the shop saw.
func judged(d *Data) []string {
	var out []string
	v := d.Verdict
	if v == nil {
		return nil
	}
	say := func(format string, args ...any) { out = append(out, fmt.Sprintf(format, args...)) }
	say("How many may be inside at once was not judged: the room's cap was not told. At most %s surely inside at one time.", people(v.InsideMax)+" "+was(v.InsideMax))
	if d.Limits.Session <= 0 && v.Visitors > 0 {
		say("Who vanished counts as inside until their last answer only: the room's session was not told.")
	}
	if s := d.Shop; s != nil {
		say("The shop had %s of %s, at most %s of them at once.", plural(s.Requests, "request", "requests"), plural(s.Visitors, "visitor", "visitors"), count(s.MostAtOnce))
		if s.Leaked > 0 {
			say("%s reached the shop with cookies or headers that are the gate's own.", capital(plural(s.Leaked, "request", "requests")))
		}
		for _, e := range s.Examples {
			say("At the shop: %s", e)
		}
	}
	return out
}

// limit tells the room's.
func limit(d *Data) string {
	if d.Limits.Burst <= 0 {
		return number(d.Limits.Rate) + " per second"
	}
	return fmt.Sprintf("%s per second and %s at once", number(d.Limits.Rate), number(d.Limits.Burst))
}

func estimates(d *Data) []row {
	v := d.Verdict
	if v == nil || v.Early+v.Within+v.Late == 0 {
		return nil
	}
	sum := v.Early + v.Within + v.Late
	line := func(name string, n int64) row {
		return row{Name: name, Cells: []string{count(n), percent(float64(n) / float64(sum))}}
	}
	return []row{line("Let in sooner than told", v.Early), line("Let in within the range told", v.Within), line("Let in later than told", v.Late)}
}

func thresholds(d *Data) []threshold {
	var out []threshold
	for _, res := range d.Results {
		t := threshold{Selector: res.Selector, Expression: res.Source, Value: measured(d, res, res.Value), Status: status{"held", "✓", "holds"}}
		if !res.OK {
			t.Status = status{"failed", "✗", "crossed"}
		}
		if res.Samples == 0 {
			t.Note = "nothing was measured"
		}
		if a := d.Aborted; a != nil && a.Selector == res.Selector && a.Source == res.Source {
			t.Note = fmt.Sprintf("ended the run, at %s", measured(d, *a, a.Value))
			t.Status = status{"failed", "✗", "crossed"}
		}
		out = append(out, t)
	}
	return out
}

// measured is a value of a threshold with its unit.
func measured(d *Data, res metric.Result, value float64) string {
	m := d.Registry.Lookup(res.Metric)
	switch {
	case m == nil:
		return number(value)
	case m.Kind == metric.Rate:
		return percent(value)
	case m.Kind == metric.Trend && res.Aggregation == "count":
		return number(value)
	}
	out := number(value)
	switch m.Contains {
	case metric.Time:
		out = span(value)
	case metric.Data:
		out = summary.Bytes(value)
	}
	if res.Aggregation == "rate" {
		out += " per second"
	}
	return out
}

// subjects are what metrics are about, for people.
var subjects = map[string]string{
	metric.HTTPReqs: "requests", metric.HTTPReqFailed: "failed requests", metric.HTTPReqDuration: "time until the answer was there",
	metric.Iterations: "visits brought to their end", metric.DroppedIterations: "visitors who could not be started",
	metric.InterruptedIterations: "visits that were cut off", metric.IterationLateness: "lateness of visitors",
	metric.Checks:        "passed checks",
	visitor.JoinDuration: "time from when a visitor was due to their first answer", visitor.WaitDuration: "time until a visitor was let in",
	visitor.PollLateness: "lateness of polls", visitor.Joined: "visitors given a place", visitor.LetIn: "visitors let in",
	visitor.GaveUp: "visitors who walked away", visitor.LeftShop: "visitors who were inside and went",
	judge.Overtaken: "people overtaken", judge.OvershootWindow: "calls beyond the limit", judge.InsideMax: "most people inside at once",
	judge.PlacesLost: "people who lost their place", judge.DoubleAdmissions: "tickets let in twice",
	judge.UnadmittedAtOrigin: "requests past the gate", judge.Estimates: "estimates", judge.NotAdmitted: "people who stayed and were not let in",
}

var operators = map[string]string{"<": "below", "<=": "at most", ">": "above", ">=": "at least", "==": "", "!=": "not"}

// plain tells a threshold and what it met in words, without a full stop.
func plain(d *Data, res metric.Result) string {
	subject := subjects[res.Metric]
	if subject == "" {
		subject = res.Metric
	}
	if res.Tags != (metric.Tags{}) {
		subject += " (" + strings.ReplaceAll(res.Tags.String(), ",", ", ") + ")"
	}
	m := d.Registry.Lookup(res.Metric)
	value := measured(d, res, res.Value)
	switch agg := res.Aggregation; {
	case agg == "p":
		subject += ", " + number(res.Percentile) + thin + "% of them within"
	case agg == "avg":
		subject += ", on average"
	case agg == "med":
		subject += ", half of them within"
	case agg == "min":
		subject += ", the least"
	case agg == "max":
		subject += ", the most"
	case agg == "count" && m != nil && m.Kind == metric.Trend:
		subject += ", how many"
	}
	out := fmt.Sprintf("%s: %s, and should be %s", subject, value, strings.TrimSpace(operators[res.Operator]+" "+measured(d, res, res.Bound)))
	if res.Samples == 0 {
		out += " (nothing was measured)"
	}
	return out
}

// figures are the numbers on top.
func figures(d *Data, t *timeline) []figure {
	c, r := t.crowd, d.Registry
	var out []figure
	add := func(label, value, note string) { out = append(out, figure{label, value, note}) }
	none := func(samples int64, value string) string {
		if samples == 0 {
			return "–"
		}
		return value
	}

	note := ""
	if n := int64(values(r, metric.DroppedIterations).Count); n > 0 {
		note = fmt.Sprintf("%s more could not be started", count(n))
	}
	if v := d.Verdict; v != nil && v.PlacesLost == 0 && v.Visitors > c.came {
		note = strings.TrimPrefix(note+fmt.Sprintf("; beside %s by bots and copied tickets", plural(v.Visitors-c.came, "visit", "visits")), "; ")
	}
	add("Visitors who came", count(c.came), note)
	note = ""
	if c.onSpot > 0 {
		note = fmt.Sprintf("%s of them on the spot", count(c.onSpot))
	}
	add("Let in", count(c.letIn), note)
	add("Walked away", count(c.walked), "")
	if c.left > 0 {
		add("Still waiting at the end", count(c.left), "")
	}
	most, second := peak(t.letIn)
	note = ""
	if most > 0 {
		note = "at " + instant(second, t.length)
	}
	if d.Limits.Rate > 0 {
		note = strings.TrimPrefix(note+"; the room's limit is "+limit(d), "; ")
	}
	add("Most let in per second", count(int64(math.Round(most))), note)
	wait := values(r, visitor.WaitDuration)
	add("Half waited at most", none(wait.Samples, span(wait.Med)), "")
	add("95 of 100 waited at most", none(wait.Samples, span(wait.P(95))), "")
	add("Longest wait", none(wait.Samples, span(wait.Max)), "")
	if d.Verdict != nil {
		add("Most inside at once", count(d.Verdict.InsideMax), "")
	}
	failed := values(r, metric.HTTPReqFailed)
	note = ""
	if failed.Samples > 0 {
		note = fmt.Sprintf("of %s, %s", plural(failed.Samples, "request", "requests"), percent(failed.Rate))
	}
	add("Failed requests", count(failed.Passes), note)
	begun, polls := values(r, metric.IterationLateness), values(r, visitor.PollLateness)
	late := max(begun.P(99), polls.P(99))
	note = fmt.Sprintf("99 of 100 visitors and polls left no later than this after their time; at worst %s", span(max(begun.Max, polls.Max)))
	if begun.Samples+polls.Samples == 0 {
		note = ""
	} else if late > maxLate {
		note += ". The machine that played the crowd was too busy: read the times with that in mind"
	}
	add("Lateness of the rehearsal itself", none(begun.Samples+polls.Samples, span(late)), note)
	return out
}

// maxLate is from where on the lateness of the harness shows in what it measures,
// in milliseconds.
const maxLate = 250

// latency tells exact percentiles, by what requests were for.
func latency(d *Data) []row {
	var out []row
	add := func(name, note string, v metric.Values, failed string) {
		if v.Samples == 0 {
			return
		}
		out = append(out, row{name, note, []string{span(v.Avg), span(v.Med), span(v.P(95)), span(v.P(99)), span(v.Max), count(v.Samples), failed}})
	}
	known := []string{"join", "poll", "reload", "page", "asset", "order", "leave", "replay", "post"}
	notes := map[string]string{
		"join": "first request", "poll": "is it my turn", "reload": "the page again", "page": "inside", "asset": "inside", "order": "inside",
		"leave": "telling the gate", "replay": "a copied ticket", "post": "a form while waiting",
	}
	if m := d.Registry.Lookup(metric.HTTPReqDuration); m != nil {
		for _, t := range m.Tags() {
			if step, ok := t.Get("step"); ok && !slices.Contains(known, step) {
				known = append(known, step)
			}
		}
	}
	for _, step := range known {
		add(step, notes[step], values(d.Registry, metric.HTTPReqDuration, "step", step), count(values(d.Registry, metric.HTTPReqFailed, "step", step).Passes))
	}
	add("all requests", "", values(d.Registry, metric.HTTPReqDuration), count(values(d.Registry, metric.HTTPReqFailed).Passes))
	add("until a place", "from when a visitor was due", values(d.Registry, visitor.JoinDuration), "–")
	add("until let in", "from when a visitor was due", values(d.Registry, visitor.WaitDuration), "–")
	return out
}
