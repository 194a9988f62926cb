package summary

import (
	"encoding/json"
	"os"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/sluicegate/sluice/loadtest/executor"
	"github.com/sluicegate/sluice/loadtest/metric"
)

func threshold(t *testing.T, selector, expression string) metric.Threshold {
	t.Helper()
	name, tags, err := metric.ParseSelector(selector)
	if err != nil {
		t.Fatal(err)
	}
	e, err := metric.ParseExpression(expression)
	if err != nil {
		t.Fatal(err)
	}
	return metric.Threshold{Selector: selector, Metric: name, Tags: tags, Expression: e}
}

// sale is a run of ten seconds: 40 people join, 160 polls, one of them failed.
func sale(t *testing.T) Run {
	t.Helper()
	r := metric.NewRegistry()
	metric.Builtin(r)
	join, poll := metric.NewTags("step", "join"), metric.NewTags("step", "poll")
	request := func(tags metric.Tags, ms float64, failed float64) {
		r.Lookup(metric.HTTPReqs).With(tags).Add(1)
		r.Lookup(metric.HTTPReqDuration).With(tags).Add(ms)
		r.Lookup(metric.HTTPReqWaiting).With(tags).Add(ms / 2)
		r.Lookup(metric.HTTPReqFailed).With(tags).Add(failed)
		r.Lookup(metric.DataReceived).With(tags).Add(2600)
		r.Lookup(metric.DataSent).With(tags).Add(49)
	}
	for i := range 40 {
		request(join, float64(i+1), 0)
		r.Lookup(metric.Checks).With(metric.NewTags("check", "a ticket came")).Add(1)
		r.Lookup(metric.Iterations).With(metric.Tags{}).Add(1)
		r.Lookup(metric.IterationDuration).With(metric.Tags{}).Add(5000)
	}
	for i := range 160 {
		failed, ok := 0.0, 1.0
		if i == 7 {
			failed, ok = 1, 0
		}
		request(poll, 0.5, failed)
		r.Lookup(metric.Checks).With(metric.NewTags("check", "the poll was answered")).Add(ok)
	}
	for _, n := range []float64{1, 40, 3} {
		r.Lookup(metric.VUs).With(metric.Tags{}).Add(n)
	}
	r.Lookup(metric.VUsMax).With(metric.Tags{}).Add(40)
	r.New("people_overtaken", metric.Counter, metric.Default).With(metric.Tags{}).Add(2)
	r.New("estimate_error", metric.Trend, metric.Time).With(metric.Tags{}).Add(61_500)
	r.New("basket", metric.Trend, metric.Default).With(metric.Tags{}).Add(2.25)
	r.Finish(10 * time.Second)
	ts := metric.Thresholds{
		threshold(t, "http_req_duration", "p(95)<1500"),
		threshold(t, "http_req_failed", "rate==0"),
		threshold(t, "http_req_duration{step:join}", "max<=40"),
		threshold(t, "http_req_duration{step:leave}", "avg<5"),
		threshold(t, "people_overtaken", "count==0"),
		threshold(t, "http_req_duration", "avg < 1"),
		threshold(t, "iterations", "rate>=4"),
		threshold(t, "data_received", "count>1000"),
		threshold(t, "basket", "count>0"),
	}
	if errs := ts.Check(r); errs != nil {
		t.Fatal(errs)
	}
	return Run{Registry: r, Results: ts.Evaluate(r), TrendStats: []string{"avg", "min", "max", "p(95)"}, Group: func(name string) string {
		if name == "people_overtaken" || name == "estimate_error" {
			return "PROMISES"
		}
		return ""
	}}
}

func golden(t *testing.T, file, got string) {
	t.Helper()
	want, err := os.ReadFile("testdata/" + file)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s: got\n%s\nwant\n%s", file, got, want)
	}
}

func TestTheSummaryIsLaidOutAsThatOfK6(t *testing.T) {
	run := sale(t)
	golden(t, "sale.txt", Text(run))
	t.Run("in full it has the parts of a request too", func(t *testing.T) {
		run := run
		run.Full = true
		got := Text(run)
		line := "    http_req_waiting...................: avg=2.25ms min=250µs  max=20ms   p(95)=15.01ms\n"
		if !strings.Contains(got, line) || strings.Replace(got, line, "", 1) != Text(sale(t)) {
			t.Error(got)
		}
	})
	t.Run("colour changes nothing else", func(t *testing.T) {
		run := run
		run.Color = true
		got := Text(run)
		if !strings.Contains(got, "\x1b[32m✓\x1b[0m 'p(95)<1500'") || !strings.Contains(got, "\x1b[31m✗\x1b[0m 'rate==0'") {
			t.Errorf("%q", got)
		}
		plain := got
		for _, code := range []string{"0", bold, green, red, cyan, faint} {
			plain = strings.ReplaceAll(plain, "\x1b["+code+"m", "")
		}
		var lines []string
		for l := range strings.Lines(plain) {
			lines = append(lines, strings.TrimRight(l, " \n")+"\n")
		}
		golden(t, "sale.txt", strings.Join(lines, ""))
	})
	t.Run("a run in which nothing happened says so briefly", func(t *testing.T) {
		if got, want := Text(Run{Registry: metric.NewRegistry()}), "\n  █ TOTAL RESULTS\n\n"; got != want {
			t.Errorf("%q", got)
		}
	})
}

func TestTheJSONHasTheShapeOfHandleSummary(t *testing.T) {
	run := sale(t)
	run.StderrTerminal = true
	got, err := JSON(run)
	if err != nil {
		t.Fatal(err)
	}
	want, err := os.ReadFile("testdata/sale.json")
	if err != nil {
		t.Fatal(err)
	}
	var a, b any
	if err := json.Unmarshal(got, &a); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(want, &b); err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(a, b) {
		t.Errorf("got\n%s", got)
	}
	if !strings.Contains(string(got), `"p(95)<1500": {`) {
		t.Error("expressions are not as they were written")
	}
	t.Run("without checks and metrics the lists are empty and not null", func(t *testing.T) {
		got, err := JSON(Run{Registry: metric.NewRegistry()})
		if err != nil || strings.Contains(string(got), "null") {
			t.Errorf("%s, %v", got, err)
		}
	})
}

func TestAmounts(t *testing.T) {
	for _, c := range []struct {
		ms   float64
		unit string
		want string
	}{
		{0, "", "0s"}, {0.0005, "", "500ns"}, {0.25, "", "250µs"}, {0.00137, "", "1.37µs"}, {0.999, "", "999µs"}, {0.999999, "", "1ms"},
		{1, "", "1ms"}, {148.213, "", "148.21ms"}, {999.994, "", "999.99ms"}, {999.999, "", "1s"}, {1040, "", "1.04s"}, {59_999, "", "1m0s"},
		{123_456, "", "2m3.46s"}, {3_600_000, "", "1h0m0s"}, {-5, "", "-5ms"},
		{1500, "s", "1.50s"}, {1500, "ms", "1500.00ms"}, {1.5, "us", "1500.00µs"},
	} {
		if got := Duration(c.ms, c.unit); got != c.want {
			t.Errorf("%v ms in %q is %s, want %s", c.ms, c.unit, got, c.want)
		}
	}
	for v, want := range map[float64]string{0: "0 B", 830: "830 B", 999.6: "1.0 kB", 4900: "4.9 kB", 9960: "10 kB", 63_000: "63 kB", 1_300_000: "1.3 MB", 2e12: "2.0 TB", -5: "-5 B"} {
		if got := Bytes(v); got != want {
			t.Errorf("%v bytes are %s, want %s", v, got, want)
		}
	}
	for v, want := range map[float64]string{1: "100.00%", 0.99999: "99.99%", 0: "0.00%", 0.005: "0.50%", 0.29: "29.00%"} {
		if got := percent(v); got != want {
			t.Errorf("%v is %s, want %s", v, got, want)
		}
	}
	for v, want := range map[float64]string{45: "45", 13.1221791: "13.122179", 0.1: "0.1", -0.0000001: "0", 1e9: "1000000000"} {
		if got := number(v); got != want {
			t.Errorf("%v is %s, want %s", v, got, want)
		}
	}
}

func TestProgress(t *testing.T) {
	spike := &executor.Scenario{Name: "spike", Kind: executor.ConstantArrivalRate, Rate: 8000, Duration: 10 * time.Second}
	staff := &executor.Scenario{Name: "staff_b", Kind: executor.ConstantVUs, Duration: 2 * time.Hour, StartTime: time.Minute}
	each := &executor.Scenario{Name: "each", Kind: executor.PerVUIterations, VUs: 4, Iterations: 5, MaxDuration: 10 * time.Minute}
	for _, c := range []struct {
		name      string
		elapsed   time.Duration
		scenarios []Progress
		width     int
		want      string
	}{
		{"scenarios that run and that wait", 5240 * time.Millisecond, []Progress{
			{Scenario: spike, VUs: 1234, Ready: 80000, Begun: 41920, Done: 45},
			{Scenario: staff},
			{Scenario: each, VUs: 4, Ready: 4, Done: 10}}, 0, `
running (5.2s), 1238/80004 VUs, 55 complete and 0 interrupted iterations
spike   ↓ [===========>----------] 1234/80000 VUs  5.2s/10.0s  41920 begun
staff_b • [----------------------] waiting 54.7s
each    ↓ [===========>----------] 4/4 VUs  5.2s/10m00.0s  10/20 iters`},
		{"what has ended, well or not, and what is ending", 65 * time.Second, []Progress{
			{Scenario: spike, VUs: 3, Ready: 80000, Begun: 79990, Done: 79987, Dropped: 10},
			{Scenario: staff, VUs: 2, Ready: 2, Done: 7},
			{Scenario: each, Ready: 4, Done: 20, Over: true},
			{Scenario: each, Done: 11, Dropped: 9, Over: true},
			{Scenario: spike, Begun: 80000, Done: 79999, Interrupted: 1, Over: true}}, 0, `
running (1m05.0s), 5/80006 VUs, 160024 complete and 1 interrupted iterations
spike   ↓ ending [======================] 3/80000 VUs  10.0s/10.0s  79990 begun, 10 dropped
staff_b ↓ [>---------------------] 2/2 VUs  5.0s/2h00m00s  7 iters
each    ✓ [======================] 0/4 VUs  1m05.0s/10m00.0s  20/20 iters
each    ✗ [============>---------] 0/0 VUs  1m05.0s/10m00.0s  11/20 iters, 9 dropped
spike   ✗ [======================] 0/0 VUs  10.0s/10.0s  80000 begun`},
		{"lines are as long as the terminal is wide", 5 * time.Second, []Progress{{Scenario: spike}}, 20, `
running (5.0s), 0/0…
spike ↓ [==========…`},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := "\n" + strings.Join(Lines(c.elapsed, c.scenarios, c.width), "\n"); got != c.want {
				t.Errorf("got%s\nwant%s", got, c.want)
			}
		})
	}
	t.Run("on a terminal it stays in place, elsewhere it is silent", func(t *testing.T) {
		var b strings.Builder
		s := NewScreen(&b, true)
		s.Clear()
		s.Show([]string{"a", "b"})
		s.Show([]string{"c"})
		s.Clear()
		s.Clear()
		if want := "a\nb\n\x1b[2A\x1b[Jc\n\x1b[1A\x1b[J"; b.String() != want {
			t.Errorf("%q", b.String())
		}
		b.Reset()
		s = NewScreen(&b, false)
		s.Show([]string{"a"})
		s.Clear()
		if b.Len() > 0 {
			t.Errorf("%q", b.String())
		}
	})
}
