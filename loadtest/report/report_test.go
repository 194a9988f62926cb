package report

import (
	"bytes"
	"fmt"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/html"

	"github.com/sluicegate/sluice/loadtest/judge"
	"github.com/sluicegate/sluice/loadtest/metric"
	"github.com/sluicegate/sluice/loadtest/origin"
	"github.com/sluicegate/sluice/loadtest/visitor"
)

var began = time.Date(2026, 11, 27, 9, 30, 0, 0, time.UTC)

// quiet returns a run in which nothing happened yet.
func quiet(length time.Duration) Data {
	r := metric.NewRegistry()
	metric.Builtin(r)
	judge.Define(r)
	for _, name := range []string{visitor.JoinDuration, visitor.WaitDuration, visitor.PollLateness} {
		r.New(name, metric.Trend, metric.Time)
	}
	for _, name := range []string{visitor.Joined, visitor.LetIn, visitor.LeftShop, visitor.GaveUp} {
		r.New(name, metric.Counter, metric.Default)
	}
	r.Start(began)
	r.Finish(length)
	return Data{Name: "sale.yaml", Began: began, Registry: r, Verdict: &judge.Verdict{OvershootWindow: -1}}
}

// add takes samples in a second of the run.
func (d Data) add(name string, second int, vs ...float64) {
	s := d.Registry.Lookup(name).With(metric.NewTags("scenario", "spike"))
	for _, v := range vs {
		s.AddAt(began.Add(time.Duration(second)*time.Second+time.Second/2), v)
	}
}

// request is one that was answered after so many milliseconds.
func (d Data) request(second int, step, state string, failed bool, ms float64) {
	tags := metric.NewTags("scenario", "spike", "step", step, "status", "200", "state", state)
	at := began.Add(time.Duration(second)*time.Second + time.Second/2)
	bad := 0.0
	if failed {
		bad = 1
	}
	d.Registry.Lookup(metric.HTTPReqs).With(tags).AddAt(at, 1)
	d.Registry.Lookup(metric.HTTPReqFailed).With(tags).AddAt(at, bad)
	d.Registry.Lookup(metric.HTTPReqDuration).With(tags).AddAt(at, ms)
}

// sale is a small run: 110 people come, ten of them are let in on the spot, five
// walk away and ten are still in line when it is over. Four bots come too.
func sale() Data {
	d := quiet(5 * time.Second)
	d.add(visitor.Joined, 0, 70)
	d.add(visitor.Joined, 1, 30)
	for i := range 14 {
		d.request(0, "join", "shop", false, float64(i+1))
	}
	for range 100 {
		d.request(1, "join", "waiting", false, 340)
	}
	d.add(visitor.LetIn, 0, 10)
	d.add(visitor.LetIn, 2, 40)
	d.add(visitor.LetIn, 3, 45)
	d.add(visitor.GaveUp, 3, 5)
	d.request(2, "poll", "waiting", false, 1200)
	d.request(3, "poll", "waiting", true, 1900)
	d.add(visitor.WaitDuration, 3, 1000, 2000, 3000, 4000, 92_000)
	d.add(visitor.PollLateness, 3, 2, 2, 2, 12)
	d.Verdict = &judge.Verdict{
		Events: 500, Visitors: 114, Admitted: 99, OnSpot: 14, WalkedAway: 5, NotAdmitted: 10,
		InsideMax: 61, Early: 10, Within: 70, Late: 20, Findings: []string{"visitor 12 stayed and was not let in"},
	}
	d.Limits = judge.Options{Rate: 40, Burst: 10, Session: time.Minute}
	d.Shop = &origin.Stats{Requests: 1200, Visitors: 99, MostAtOnce: 50}
	return d
}

func render(t *testing.T, d Data) (*html.Node, string) {
	t.Helper()
	b, err := HTML(d)
	if err != nil {
		t.Fatal(err)
	}
	doc, err := html.Parse(bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	return doc, string(b)
}

func attr(n *html.Node, name string) string {
	for _, a := range n.Attr {
		if a.Key == name {
			return a.Val
		}
	}
	return ""
}

// all returns the elements of this name, in order; "": every one.
func all(n *html.Node, name string) (out []*html.Node) {
	for c := range n.Descendants() {
		if c.Type == html.ElementNode && (name == "" || c.Data == name) {
			out = append(out, c)
		}
	}
	return out
}

func byID(t *testing.T, n *html.Node, id string) *html.Node {
	t.Helper()
	for _, c := range all(n, "") {
		if attr(c, "id") == id {
			return c
		}
	}
	t.Fatalf("nothing has the id %q", id)
	return nil
}

func byClass(t *testing.T, n *html.Node, class string) *html.Node {
	t.Helper()
	for _, c := range all(n, "") {
		if slices.Contains(strings.Fields(attr(c, "class")), class) {
			return c
		}
	}
	t.Fatalf("nothing has the class %q", class)
	return nil
}

// text is what is read of an element, with single spaces.
func text(n *html.Node) string {
	var b strings.Builder
	for c := range n.Descendants() {
		switch {
		case c.Type == html.TextNode && c.Parent.Data != "style":
			b.WriteString(c.Data)
		case c.Type == html.ElementNode && slices.Contains([]string{"small", "li", "p", "td", "th", "tr", "dd"}, c.Data):
			b.WriteString(" ")
		}
	}
	return strings.Join(strings.Fields(strings.ReplaceAll(b.String(), thin, " ")), " ")
}

func first(n *html.Node, name string) *html.Node { return all(n, name)[0] }

// rows are the cells of a section's first table.
func rows(t *testing.T, doc *html.Node, section string) (out [][]string) {
	t.Helper()
	for _, tr := range all(first(byID(t, doc, section).Parent, "table"), "tr")[1:] {
		var cells []string
		for c := range tr.ChildNodes() {
			if c.Type == html.ElementNode {
				cells = append(cells, text(c))
			}
		}
		out = append(out, cells)
	}
	return out
}

func expect(t *testing.T, what, got, want string) {
	t.Helper()
	if got != want {
		t.Errorf("%s:\n got %q\nwant %q", what, got, want)
	}
}

func TestTheFiguresAreThoseThatWereMeasured(t *testing.T) {
	doc, _ := render(t, sale())
	got := map[string]string{}
	for _, div := range all(byClass(t, doc, "figures"), "div") {
		got[text(first(div, "dt"))] = text(first(div, "dd"))
	}
	for label, want := range map[string]string{
		"Visitors who came":        "110 beside 4 visits by bots and copied tickets",
		"Let in":                   "95 10 of them on the spot",
		"Walked away":              "5",
		"Still waiting at the end": "10",
		"Most let in per second":   "45 at 3 s; the room's limit is 40 per second and 10 at once",
		"Half waited at most":      "3 s",
		"95 of 100 waited at most": "1 min 32 s",
		"Longest wait":             "1 min 32 s",
		"Most inside at once":      "61",
		"Failed requests":          "1 of 116 requests, 0.86 %",
		"Lateness of the rehearsal itself": "12 ms 99 of 100 visitors and polls left no later than this after their time; " +
			"at worst 12 ms",
	} {
		expect(t, label, got[label], want)
	}
	for id, want := range map[string]string{
		"arrivals-text": "110 people came, at most 80 in one second (at 0 s).",
		"waiting-text":  "At most 100 people waited (at 2 s); 10 at the end.",
		"letin-text":    "95 people were let in, at most 45 in one second (at 3 s). The room's limit is 40 per second and 10 at once.",
		"poll-text": "2 polls: half were answered within 1.2 s, 95 of 100 within 1.9 s, 99 of 100 within 1.9 s, the slowest in 1.9 s. " +
			"The slowest second was at 3 s, with 99 of 100 within 1.9 s.",
		"requests-text": "116 requests, at most 100 in one second (at 1 s). 1 failed, at most 1 in one second (at 3 s).",
	} {
		expect(t, id, text(byID(t, doc, id)), want)
	}
	estimates := rows(t, doc, "estimates")
	if want := [][]string{{"Let in sooner than told", "10", "10 %"}, {"Let in within the range told", "70", "70 %"}, {"Let in later than told", "20", "20 %"}}; !slices.EqualFunc(estimates, want, slices.Equal) {
		t.Errorf("estimates: %q", estimates)
	}
	latency := rows(t, doc, "latency")
	expect(t, "latency of polls", strings.Join(latency[1], " | "), "poll is it my turn | 1.6 s | 1.2 s | 1.9 s | 1.9 s | 1.9 s | 2 | 1")
	seconds := rows(t, doc, "time")
	expect(t, "the fourth second", strings.Join(seconds[3], " | "), "3 s | 0 | 10 | 45 | 1 | 1 | – | 1.9 s")
}

func TestWhoWaitsIsNeitherInNorGone(t *testing.T) {
	for _, c := range []struct {
		name     string
		run      func() Data
		arrivals []float64
		waiting  []float64
	}{
		{"with people let in on the spot, bots among them", sale, []float64{80, 30, 0, 0, 0}, []float64{70, 100, 60, 10, 10}},
		{"with the answer and the count of it in two seconds", func() Data {
			d := quiet(3 * time.Second)
			d.request(0, "join", "shop", false, 1)
			d.add(visitor.LetIn, 1, 1)
			d.Verdict.Visitors, d.Verdict.Admitted = 1, 1
			return d
		}, []float64{1, 0, 0}, []float64{0, 0, 0}},
		{"with more let in than were given a place", func() Data {
			d := quiet(2 * time.Second)
			d.add(visitor.Joined, 0, 2)
			d.add(visitor.LetIn, 1, 5)
			return d
		}, []float64{2, 0}, []float64{2, 0}},
		{"with a first request that the shop refused", func() Data {
			d := quiet(2 * time.Second)
			d.request(0, "join", "shop", true, 1)
			d.Verdict = nil
			return d
		}, []float64{0, 0}, []float64{0, 0}},
		{"with places lost, whose owners join again", func() Data {
			d := quiet(4 * time.Second)
			d.request(0, "join", "shop", false, 1)
			d.add(visitor.LetIn, 0, 1)
			d.add(visitor.Joined, 1, 1)
			d.add(visitor.Joined, 2, 1)
			d.add(visitor.LetIn, 3, 1)
			d.Verdict.PlacesLost = 1
			return d
		}, []float64{1, 1, 1, 0}, []float64{0, 1, 2, 1}},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := c.run()
			line := newTimeline(&d)
			if !slices.Equal(line.arrivals, c.arrivals) || !slices.Equal(line.waiting, c.waiting) {
				t.Errorf("came %v, waiting %v; want %v and %v", line.arrivals, line.waiting, c.arrivals, c.waiting)
			}
		})
	}
}

func result(selector, expression string, value float64, ok bool) metric.Result {
	name, tags, err := metric.ParseSelector(selector)
	if err != nil {
		panic(err)
	}
	e, err := metric.ParseExpression(expression)
	if err != nil {
		panic(err)
	}
	return metric.Result{Threshold: metric.Threshold{Selector: selector, Metric: name, Tags: tags, Expression: e}, Value: value, Samples: 1, OK: ok}
}

func TestTheFirstSentenceSaysWhetherItHeld(t *testing.T) {
	good := func() Data {
		d := sale()
		d.Verdict.NotAdmitted = 0
		d.add(visitor.LetIn, 4, 10)
		d.Results = []metric.Result{result("http_req_failed", "rate<0.1", .0086, true)}
		return d
	}
	slow := result("http_req_duration{step:join}", "p(99)<200", 340, false)
	for _, c := range []struct {
		name  string
		run   func() Data
		class string
		title string
		says  []string
	}{
		{"all thresholds and promises hold", good, "held", "It held: sale.yaml", []string{
			"✓ It held 110 people came, 105 were let in, and it took 5 s.", "The only threshold holds. No promise was broken.",
		}},
		{"a threshold is crossed", func() Data {
			d := good()
			d.Results = append(d.Results, slow)
			return d
		}, "failed", "It did not hold: sale.yaml", []string{
			"✗ It did not hold 110 people came",
			"A threshold was crossed: time until the answer was there (step:join), 99 % of them within: 340 ms, and should be below 200 ms.",
			"1 of 2 thresholds crossed. No promise was broken.",
		}},
		{"a promise is broken that no threshold is about", func() Data {
			d := good()
			d.Verdict.Overtaken, d.Verdict.OvertakenPolls = 2, 3
			return d
		}, "failed", "It did not hold: sale.yaml", []string{
			"The line was not fair: 2 people had to wait although somebody who came later was in already.",
			"The only threshold holds. 1 promise was broken.",
		}},
		{"a promise and the threshold about it are told once", func() Data {
			d := good()
			d.Verdict.PlacesLost = 1
			d.Results = []metric.Result{result(judge.PlacesLost, "count==0", 1, false)}
			return d
		}, "failed", "It did not hold: sale.yaml", []string{
			"it took 5 s. 1 person went back in the line, or lost what they had. 1 of 1 threshold crossed.",
		}},
		{"people were left in line", sale, "failed", "It did not hold: sale.yaml", []string{
			"110 people came, 95 were let in, 10 were still waiting, and it took 5 s.",
			"10 people stayed and were not let in before the script's time was over",
		}},
		{"interrupted", func() Data {
			d := sale()
			d.Interrupted = true
			return d
		}, "cut", "Interrupted: sale.yaml", []string{
			"! Interrupted The run was stopped before its script was over. Until then: 110 people came",
		}},
		{"interrupted, and crossed until then", func() Data {
			d := sale()
			d.Interrupted = true
			d.Results = []metric.Result{slow}
			return d
		}, "failed", "Interrupted, and it did not hold: sale.yaml", []string{"✗ Interrupted, and it did not hold", "A threshold was crossed"}},
		{"ended by a threshold that holds again at the end", func() Data {
			d := sale()
			d.Aborted = &slow
			after := slow
			after.Value, after.OK = 150, true
			d.Results = []metric.Result{after}
			return d
		}, "failed", "It did not hold: sale.yaml", []string{
			"The run was ended early by a threshold: time until the answer was there (step:join), 99 % of them within: 340 ms, and should be below 200 ms.",
		}},
		{"some could not be started", func() Data {
			d := good()
			d.add(metric.DroppedIterations, 1, 1500)
			return d
		}, "held", "It held: sale.yaml", []string{"1,500 visitors were due and could not be started"}},
		{"nobody came", func() Data { return quiet(2 * time.Second) }, "cut", "It shows nothing: sale.yaml", []string{
			"! It shows nothing Nobody came in 2 s. The script sets no thresholds.",
		}},
		{"nobody was answered", func() Data {
			d := quiet(2 * time.Second)
			d.request(0, "join", "", true, 10)
			d.Results = []metric.Result{result("http_req_failed", "rate==0", 1, false)}
			return d
		}, "failed", "It did not hold: sale.yaml", []string{
			"Nobody was given a place or let in, with 1 request in 2 s. A threshold was crossed: failed requests: 100 %, and should be 0 %.",
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			doc, _ := render(t, c.run())
			box := byClass(t, doc, "outcome")
			expect(t, "class", attr(box, "class"), "outcome "+c.class)
			expect(t, "title", text(first(doc, "title")), c.title)
			for _, want := range c.says {
				if got := text(box); !strings.Contains(got, want) {
					t.Errorf("does not say %q:\n%s", want, got)
				}
			}
		})
	}
}

func TestEveryPromiseIsKeptBrokenOrSaidNotToBeJudged(t *testing.T) {
	const fair, limit, place, ticket, around, stayed = 0, 1, 2, 3, 4, 5
	for _, c := range []struct {
		name    string
		change  func(*Data)
		promise int
		want    string // its result, and a part of the rest
		because string
	}{
		{"fair", func(d *Data) {}, fair, "✓ kept", "0 people overtaken"},
		{"overtaken", func(d *Data) { d.Verdict.Overtaken, d.Verdict.OvertakenPolls = 3, 7 }, fair, "✗ broken", "3 people overtaken, seen at 7 polls"},
		{"within the limit", func(d *Data) {}, limit, "✓ kept", "0 calls beyond 40 per second and 10 at once"},
		{"over the limit", func(d *Data) { d.Verdict.OvershootWindow = 12 }, limit, "✗ broken", "12 calls too many"},
		{"limit not told", func(d *Data) { d.Verdict.OvershootWindow = -1; d.Limits = judge.Options{} }, limit, "– not judged", "The room's rate was not told."},
		{"limit told to nobody who judged", func(d *Data) { d.Verdict.OvershootWindow = -1 }, limit, "– not judged", "The room's rate was not told."},
		{"no call has a stamp", func(d *Data) { d.Verdict.UnknownCalls = 99 }, limit, "– not judged", "Nobody was told when they were called."},
		{"some calls have none", func(d *Data) { d.Verdict.UnknownCalls = 9 }, limit, "✓ kept", "9 people let in without saying when they were called"},
		{"a place lost", func(d *Data) { d.Verdict.PlacesLost = 1 }, place, "✗ broken", "1 person lost what they had"},
		{"a ticket used twice", func(d *Data) { d.Verdict.DoubleAdmissions = 1 }, ticket, "✗ broken", "1 ticket let in twice"},
		{"nobody around the gate", func(d *Data) {}, around, "✓ kept", "0 of 1,200 requests past the gate"},
		{"somebody around the gate", func(d *Data) { d.Shop.Unadmitted = 4 }, around, "✗ broken", "4 requests reached the shop past the gate."},
		{"no origin served", func(d *Data) { d.Shop = nil }, around, "– not judged", "No recording origin was served"},
		{"an origin that stands elsewhere", func(d *Data) { d.Shop = &origin.Stats{} }, around, "– not judged", "does not stand behind the gate"},
		{"people left in line", func(d *Data) {}, stayed, "✗ broken", "10 people stayed"},
		{"people left in line by an interrupt", func(d *Data) { d.Interrupted = true }, stayed, "– not judged", "The run was interrupted while they waited."},
		{"people left in line by a threshold", func(d *Data) { d.Aborted = new(result("iterations", "count>5", 1, false)) }, stayed, "– not judged", "A threshold ended the run"},
		{"nobody left in line", func(d *Data) { d.Verdict.NotAdmitted = 0 }, stayed, "✓ kept", "0 people stayed"},
		{"nobody came", func(d *Data) { *d.Verdict = judge.Verdict{} }, fair, "– not judged", "Nobody came."},
		{"no judge", func(d *Data) { d.Verdict = nil }, ticket, "– not judged", "No judge heard what happened."},
		{"no judge, but a shop", func(d *Data) { d.Verdict = nil }, around, "✓ kept", "0 of 1,200"},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := sale()
			c.change(&d)
			doc, _ := render(t, d)
			got := rows(t, doc, "promises")
			if len(got) != 6 {
				t.Fatalf("%d promises, want 6", len(got))
			}
			row := got[c.promise]
			expect(t, row[0], row[1], c.want)
			if rest := row[2] + " " + row[3]; !strings.Contains(rest, c.because) {
				t.Errorf("%q does not say %q", rest, c.because)
			}
		})
	}
}

func TestThresholdsStandWithTheirValues(t *testing.T) {
	d := sale()
	nothing := result("http_req_duration{step:leave}", "avg<5", 0, true)
	nothing.Samples = 0
	aborted := result("http_req_failed", "rate<0.001", .25, false)
	d.Aborted = &aborted
	d.Results = []metric.Result{
		result("http_req_duration{step:poll}", "max<=1500", 1900, false), nothing,
		result("http_req_failed", "rate<0.001", .0004, true), result("data_received", "count>1000", 520_000, true), result("http_reqs", "rate>=20", 23.2, true),
	}
	doc, _ := render(t, d)
	for i, want := range []string{
		"http_req_duration{step:poll} | ✗ crossed | max<=1500 | 1.9 s",
		"http_req_duration{step:leave} nothing was measured | ✓ holds | avg<5 | 0 ms",
		"http_req_failed ended the run, at 25 % | ✗ crossed | rate<0.001 | 0.04 %",
		"data_received | ✓ holds | count>1000 | 520 kB",
		"http_reqs | ✓ holds | rate>=20 | 23.2 per second",
	} {
		expect(t, "threshold", strings.Join(rows(t, doc, "thresholds")[i], " | "), want)
	}
}

func TestNothingIsAskedOfAnybodyAndNothingRuns(t *testing.T) {
	d := sale()
	d.Targets = []string{"http://127.0.0.1:8080"}
	doc, source := render(t, d)
	for _, n := range all(doc, "") {
		if slices.Contains([]string{"script", "link", "img", "iframe", "object", "embed", "image", "use", "base", "form", "audio", "video", "source", "a"}, n.Data) {
			t.Errorf("there is a <%s>", n.Data)
		}
		for _, a := range n.Attr {
			if slices.Contains([]string{"src", "srcset", "href", "data", "action", "poster", "background"}, a.Key) || strings.HasPrefix(a.Key, "on") ||
				strings.Contains(a.Val, "://") || strings.Contains(a.Val, "url(") {
				t.Errorf("<%s %s=%q>", n.Data, a.Key, a.Val)
			}
		}
	}
	for _, s := range []string{"url(", "@import", "@font-face", "https://"} {
		if strings.Contains(source, s) {
			t.Errorf("there is %q in it", s)
		}
	}
}

func TestWhatComesFromOutsideIsText(t *testing.T) {
	const evil = `</pre></style><script>alert(1)</script><img src=x onerror="a()">'&amp;`
	d := sale()
	d.Name, d.Plan, d.Targets, d.Command, d.Version = "name"+evil, "plan"+evil, []string{"target" + evil}, "command"+evil, "version"+evil
	d.Verdict.Findings, d.Failures = []string{"finding" + evil}, []string{"failure" + evil}
	d.Shop.Examples = []string{"example" + evil}
	r := result("http_req_failed", "rate==0", .01, false)
	r.Selector, r.Source, r.Tags = "selector"+evil, "expression"+evil, metric.NewTags("scenario", "tag"+evil)
	d.Results = []metric.Result{r}
	d.Registry.Lookup(metric.HTTPReqDuration).With(metric.NewTags("step", "step"+evil)).AddAt(began, 1)
	doc, _ := render(t, d)
	if n := len(all(doc, "script")) + len(all(doc, "img")); n > 0 {
		t.Errorf("%d elements came in", n)
	}
	for _, what := range []string{"name", "plan", "target", "command", "version", "finding", "failure", "example", "selector", "expression", "tag", "step"} {
		if !strings.Contains(text(doc), what+evil) {
			t.Errorf("the %s does not stand there as it was", what)
		}
	}
}

func TestOnlyTheMostFrequentFailuresAreTold(t *testing.T) {
	d := sale()
	for i := range 13 {
		d.Failures = append(d.Failures, fmt.Sprintf("spike: %dx join: kind %d", 50-i, i))
	}
	doc, _ := render(t, d)
	got := text(byID(t, doc, "latency").Parent)
	if !strings.Contains(got, "50x join: kind 0") || !strings.Contains(got, "41x join: kind 9 and 3 other kinds") || strings.Contains(got, "kind 10") {
		t.Error(got)
	}
}

var notNumbers = regexp.MustCompile(`NaN|Inf|-?9223372036854775808|%!`)

func TestEveryRunHasAReport(t *testing.T) {
	one := func() Data {
		d := quiet(time.Millisecond)
		d.request(0, "join", "shop", false, .0001)
		d.add(visitor.LetIn, 0, 1)
		return d
	}
	for name, d := range map[string]Data{
		"nothing happened": quiet(2 * time.Second), "over at once": quiet(0), "one request": one(), "a sale": sale(),
		"nothing was to be measured": {Registry: finished()},
		"a day":                      quiet(24 * time.Hour), "a week": quiet(7 * 24 * time.Hour),
	} {
		t.Run(name, func(t *testing.T) {
			doc, source := render(t, d)
			if bad := notNumbers.FindString(source); bad != "" {
				t.Errorf("there is %s in it", bad)
			}
			ids := map[string]bool{}
			for _, n := range all(doc, "") {
				if id := attr(n, "id"); id != "" && ids[id] {
					t.Errorf("two elements have the id %s", id)
				} else {
					ids[id] = true
				}
			}
			pictures := 0
			for _, n := range all(doc, "svg") {
				if attr(n, "role") != "img" {
					continue
				}
				pictures++
				for id := range strings.FieldsSeq(attr(n, "aria-labelledby")) {
					if text(byID(t, doc, id)) == "" {
						t.Errorf("%s says nothing", id)
					}
				}
				inPicture(t, n)
			}
			if pictures != 12 {
				t.Errorf("%d pictures, want six charts twice", pictures)
			}
			for _, n := range all(doc, "table") {
				if heads := all(first(n, "thead"), "th"); len(heads) == 0 || attr(heads[0], "scope") != "col" {
					t.Error("a table has no header")
				}
			}
		})
	}
	if _, err := HTML(Data{}); err == nil {
		t.Error("there is a report of nothing")
	}
}

func finished() *metric.Registry {
	r := metric.NewRegistry()
	r.Finish(time.Second)
	return r
}

var points = regexp.MustCompile(`[ML] (-?\d+) (-?\d+)`)

// inPicture finds lines that leave their picture.
func inPicture(t *testing.T, svg *html.Node) {
	t.Helper()
	var width, height int
	if _, err := fmt.Sscanf(attr(svg, "viewbox")+attr(svg, "viewBox"), "0 0 %d %d", &width, &height); err != nil {
		t.Fatal(err)
	}
	for _, path := range all(svg, "path") {
		found := points.FindAllStringSubmatch(attr(path, "d"), -1)
		if len(found) < 2 {
			t.Errorf("a path %s without a line: %s", attr(path, "class"), attr(path, "d"))
		}
		for _, m := range found {
			x, _ := strconv.Atoi(m[1])
			y, _ := strconv.Atoi(m[2])
			if x < 0 || x > width || y < 0 || y > height {
				t.Fatalf("a path leaves the picture: %v", m[0])
			}
		}
	}
}

func TestAnHourIsASmallFile(t *testing.T) {
	d := quiet(time.Hour)
	for s := range 3600 {
		wave := 500 + 400*math.Sin(float64(s)) // no two seconds alike
		d.add(visitor.Joined, s, wave)
		d.add(visitor.LetIn, s, wave/2)
		for i := range 3 {
			d.request(s, "join", "waiting", i == 1, wave*float64(i+1))
			d.request(s, "poll", "waiting", i == 1, wave/float64(i+1))
		}
	}
	if _, source := render(t, d); len(source) > 300_000 {
		t.Errorf("%d bytes", len(source))
	}
}

func TestASpikeStaysInALongRun(t *testing.T) {
	d := quiet(time.Hour)
	d.add(visitor.Joined, 1234, 8000)
	d.add(visitor.LetIn, 1236, 8000)
	d.request(1234, "join", "waiting", false, 4800)
	doc, _ := render(t, d)
	expect(t, "arrivals", text(byID(t, doc, "arrivals-text")), "8,000 people came, at most 8,000 in one second (at 20:34 min).")
	expect(t, "waiting", text(byID(t, doc, "waiting-text")), "At most 8,000 people waited (at 20:35 min); 0 at the end.")
	for id, top := range map[string]string{"arrivals": "8,000", "waiting": "8,000", "letin": "8,000", "join": "5 s"} {
		highest, label := math.MaxInt, ""
		for _, n := range all(byID(t, doc, id), "text") {
			if y, _ := strconv.Atoi(attr(n, "y")); y < highest {
				highest, label = y, text(n)
			}
		}
		expect(t, "the highest mark of "+id, label, top)
	}
	line := newTimeline(&d)
	if line.step == 1 {
		t.Fatal("an hour is not thinned out")
	}
	for name, vs := range map[string][]float64{"arrivals": line.arrivals, "waiting": line.waiting, "join": line.join.p99} {
		want, _ := peak(vs)
		if got, _ := peak(largest(vs, line.step)); got != want || want < 4700 {
			t.Errorf("%s: the peak is %v, and %v when thinned out", name, want, got)
		}
	}
	if got := total(average(line.arrivals, line.step)) * float64(line.step); math.Abs(got-8000) > 1e-6 {
		t.Errorf("the mean accounts for %v people", got)
	}
}

func TestNumbersAreWrittenForPeople(t *testing.T) {
	for got, want := range map[string]string{
		count(80_000): "80,000", count(999): "999", count(-1_234_567): "-1,234,567",
		number(23.2): "23.2", number(1e6): "1,000,000", number(.5): "0.5", number(-.001): "-0.001", number(math.NaN()): "–", number(0): "0", number(1234.567): "1,234.57",
		span(340): "340 ms", span(1200): "1.2 s", span(0): "0 ms", span(.42): "0.42 ms", span(.0004): "under 0.01 ms", span(9.949): "9.9 ms", span(9.96): "10 ms",
		span(999.6): "1 s", span(59_949): "59.9 s", span(59_960): "1 min", span(92_000): "1 min 32 s", span(3_599_600): "1 h", span(3_720_000): "1 h 2 min", span(-5): "-5 ms",
		percent(.005): "0.5 %", percent(1): "100 %", percent(.999999): "99.99 %", percent(.00000001): "under 0.01 %", percent(0): "0 %",
		people(1): "1 person", people(1200): "1,200 people",
	} {
		expect(t, "number", strings.ReplaceAll(got, thin, " "), want)
	}
}

func TestAxesHaveRoundMarks(t *testing.T) {
	for _, c := range []struct {
		end, most int
		want      string
	}{
		{1, 9, "0 1 s"}, {45, 9, "0 5 s 10 s 15 s 20 s 25 s 30 s 35 s 40 s 45 s"}, {45, 4, "0 10 s 20 s 30 s 40 s"}, {45, 3, "0 15 s 30 s 45 s"},
		{200, 4, "0 1 min 2 min 3 min"}, {150, 9, "0 0:30 min 1:00 min 1:30 min 2:00 min 2:30 min"}, {3600, 6, "0 10 min 20 min 30 min 40 min 50 min 60 min"},
		{4 * 3600, 4, "0 1 h 2 h 3 h 4 h"}, {3 * 3600, 9, "0 0:30 h 1:00 h 1:30 h 2:00 h 2:30 h 3:00 h"}, {24 * 3600, 4, "0 6 h 12 h 18 h 24 h"},
	} {
		marks := instants(c.end, c.most)
		var got []string
		for _, m := range marks {
			got = append(got, brief(m, marks, c.end))
		}
		expect(t, fmt.Sprintf("%d seconds", c.end), strings.ReplaceAll(strings.Join(got, " "), thin, " "), c.want)
	}
	for _, c := range []struct {
		ticks func(float64, int) []float64
		top   float64
		want  []float64
	}{
		{wholes, 0, []float64{0, 1}}, {wholes, 3, []float64{0, 1, 2, 3}}, {wholes, 105, []float64{0, 50, 100, 150}}, {wholes, 320_288, []float64{0, 100_000, 200_000, 300_000, 400_000}},
		{times, 0, []float64{0, .01}}, {times, 12, []float64{0, 5, 10, 15}}, {times, 92_000, []float64{0, 30_000, 60_000, 90_000, 120_000}},
	} {
		if got := c.ticks(c.top, 5); !slices.Equal(got, c.want) {
			t.Errorf("up to %v: %v, want %v", c.top, got, c.want)
		}
	}
}

var colour = regexp.MustCompile(`--([a-z]+):#([0-9a-f]{3,6})`)

// Text needs 4.5 to 1, lines 3 to 1 (WCAG 2.2, 1.4.3 and 1.4.11).
func TestColoursAreLegibleInTheLightAndInTheDark(t *testing.T) {
	light, dark, ok := strings.Cut(style, "prefers-color-scheme:dark")
	if !ok {
		t.Fatal("there is no dark scheme")
	}
	dark, _, _ = strings.Cut(dark, "\n}\n")
	for name, css := range map[string]string{"light": light, "dark": dark} {
		luminance := map[string]float64{}
		for _, m := range colour.FindAllStringSubmatch(css, -1) {
			hex := m[2]
			if len(hex) == 3 {
				hex = string([]byte{hex[0], hex[0], hex[1], hex[1], hex[2], hex[2]})
			}
			v, _ := strconv.ParseUint(hex, 16, 32)
			linear := func(c uint64) float64 {
				s := float64(c&255) / 255
				if s <= .04045 {
					return s / 12.92
				}
				return math.Pow((s+.055)/1.055, 2.4)
			}
			luminance[m[1]] = .2126*linear(v>>16) + .7152*linear(v>>8) + .0722*linear(v)
		}
		check := func(front, back string, least float64) {
			a, b := luminance[front], luminance[back]
			if ratio := (max(a, b) + .05) / (min(a, b) + .05); ratio < least || luminance[back] == 0 && back != "ink" {
				t.Errorf("%s: %s on %s is %.2f to 1", name, front, back, ratio)
			}
		}
		for _, back := range []string{"ground", "panel"} {
			check("ink", back, 4.5)
			check("soft", back, 4.5)
		}
		for _, c := range []string{"held", "failed", "cut"} {
			check(c, c+"bg", 4.5)
			check(c, "panel", 4.5)
			check("ink", c+"bg", 4.5)
		}
		for _, c := range []string{"one", "two", "three", "bad"} {
			check(c, "panel", 3)
		}
	}
}
