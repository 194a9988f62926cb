package metric

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestParseExpression(t *testing.T) {
	for source, want := range map[string]Expression{
		"p(99)<500":      {Aggregation: "p", Percentile: 99, Operator: "<", Bound: 500},
		"p(99.9) <= 1.5": {Aggregation: "p", Percentile: 99.9, Operator: "<=", Bound: 1.5},
		"p( 0 )>=-1":     {Aggregation: "p", Operator: ">=", Bound: -1},
		"rate<0.01":      {Aggregation: "rate", Operator: "<", Bound: .01},
		"count==0":       {Aggregation: "count", Operator: "=="},
		"count===0":      {Aggregation: "count", Operator: "=="},
		" value != 1e3 ": {Aggregation: "value", Operator: "!=", Bound: 1000},
		"med>2":          {Aggregation: "med", Operator: ">", Bound: 2},
		"avg<.5":         {Aggregation: "avg", Operator: "<", Bound: .5},
		"min > +1":       {Aggregation: "min", Operator: ">", Bound: 1},
		"max<200":        {Aggregation: "max", Operator: "<", Bound: 200},
	} {
		want.Source = source
		if got, err := ParseExpression(source); err != nil || got != want {
			t.Errorf("%q is %+v, %v", source, got, err)
		}
	}
	for source, want := range map[string]string{
		"":            "has no comparison",
		"p(99)":       "has no comparison",
		"<500":        "begins with nothing to compare",
		"p(99)<":      "has no number after <",
		"p(99)<500ms": `"500ms" is no number; times are in milliseconds`,
		"p(101)<5":    "expected a percentile from 0 to 100",
		"p(x)<5":      "expected a percentile from 0 to 100",
		"p99<5":       `"p99" is unknown: expected avg`,
		"mean<5":      `"mean" is unknown: expected avg`,
		"avg=5":       `"=" is no comparison`,
		"avg!5":       `"!" is no comparison`,
		"avg<>5":      `">5" is no number`,
		"avg<NaN":     `"NaN" is no number`,
		"avg<Inf":     `"Inf" is no number`,
		"avg<0x10":    `"0x10" is no number`,
		"avg<5<6":     `"5<6" is no number`,
		"rate<1_000":  `"1_000" is no number`,
		"p(99<5":      `"p(99" is unknown`,
		"p(NaN)<5":    "expected a percentile from 0 to 100",
	} {
		if got, err := ParseExpression(source); err == nil || !strings.Contains(err.Error(), want) || got != (Expression{}) {
			t.Errorf("%q is %+v, %v; want %s", source, got, err, want)
		}
	}
}

func FuzzParseExpression(f *testing.F) {
	for _, s := range []string{"p(99)<500", "rate<0.01", "count==0", "avg >= 1e3", "p(99.9)!=-1", "value===1", "p(", "<", "avg<>1"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		e, err := ParseExpression(s)
		if err != nil {
			if len(err.Error()) < 10 || e != (Expression{}) {
				t.Errorf("%q: %+v, %v", s, e, err)
			}
			return
		}
		e.Holds(e.Of(Values{}))
		for _, k := range []Kind{Counter, Gauge, Rate, Trend} {
			e.Fits(k)
		}
		again, err := ParseExpression(e.Name() + e.Operator + "1")
		if err != nil || again.Aggregation != e.Aggregation || again.Percentile != e.Percentile {
			t.Errorf("%q is named %s: %+v, %v", s, e.Name(), again, err)
		}
	})
}

func FuzzParseSelector(f *testing.F) {
	for _, s := range []string{"http_reqs", "a{b:c}", `a{b:"c,d", e: f }`, "a{", "a{b}"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		name, tags, err := ParseSelector(s)
		if err != nil {
			return
		}
		if strings.ContainsAny(s, `"`) || tags == (Tags{}) {
			return
		}
		n, again, err := ParseSelector(name + "{" + tags.String() + "}")
		if err != nil || n != name || again != tags {
			t.Errorf("%q is %s{%s}, and that is %s{%s}, %v", s, name, tags, n, again, err)
		}
	})
}

func TestParseSelector(t *testing.T) {
	for s, want := range map[string]string{
		"http_reqs":                            "http_reqs {}",
		"http_reqs{step:join}":                 "http_reqs {step:join}",
		" http_reqs { step : join , a:b:c } ":  "http_reqs {a:b:c,step:join}",
		`checks{check:"a, b", step: "x" }`:     "checks {check:a, b,step:x}",
		"http_reqs{url:http://127.0.0.1:80/d}": "http_reqs {url:http://127.0.0.1:80/d}",
		"http_reqs{empty:}":                    "http_reqs {empty:}",
	} {
		name, tags, err := ParseSelector(s)
		if got := name + " {" + tags.String() + "}"; err != nil || got != want {
			t.Errorf("%q is %s, %v", s, got, err)
		}
	}
	for s, want := range map[string]string{
		"":           "no name of a metric",
		"a b":        "no name of a metric",
		"9a":         "no name of a metric",
		"a{b:c":      "a { without a }",
		"a{}":        "expected tag:value",
		"a{b}":       "expected tag:value",
		"a{:c}":      "expected tag:value",
		"a{b:c,}":    "expected tag:value",
		"a{b:c,b:d}": "gives tag b twice",
		`a{b:"c}`:    "quote is not closed",
		`a{b:"c"d}`:  "expected a comma",
	} {
		if name, tags, err := ParseSelector(s); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q is %s{%s}, %v; want %s", s, name, tags, err, want)
		}
	}
}

func threshold(t *testing.T, selector, expression string) Threshold {
	t.Helper()
	name, tags, err := ParseSelector(selector)
	if err != nil {
		t.Fatal(err)
	}
	e, err := ParseExpression(expression)
	if err != nil {
		t.Fatal(err)
	}
	return Threshold{Selector: selector, Metric: name, Tags: tags, Expression: e}
}

func TestThresholds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := NewRegistry()
		Builtin(r)
		join := NewTags("step", "join")
		for i := range 100 {
			r.Lookup(HTTPReqDuration).With(join).Add(float64(i + 1))
			r.Lookup(HTTPReqFailed).With(join).Add(float64(i % 2))
			r.Lookup(HTTPReqs).With(join).Add(1)
		}
		r.Lookup(VUs).With(Tags{}).Add(7)
		r.Finish(10 * time.Second)
		for _, c := range []struct {
			selector, expression string
			ok                   bool
			value                float64
		}{
			{"http_req_duration", "avg<=50.5", true, 50.5},
			{"http_req_duration", "min==1", true, 1},
			{"http_req_duration", "max>=100", true, 100},
			{"http_req_duration", "max<100", false, 100},
			{"http_req_duration", "max!=100", false, 100},
			{"http_req_duration{step:join}", "count>99", true, 100},
			{"http_req_duration{step:poll}", "count>99", false, 0},
			{"http_req_failed", "rate<0.5", false, .5},
			{"http_reqs", "rate==10", true, 10},
			{"http_reqs{step:join}", "count>100", false, 100},
			{"vus", "value==7", true, 7},
			{"dropped_iterations", "count==0", true, 0},
		} {
			th := threshold(t, c.selector, c.expression)
			if err := th.Check(r); err != nil {
				t.Fatal(err)
			}
			if res := (Thresholds{th}).Evaluate(r)[0]; res.OK != c.ok || res.Value != c.value {
				t.Errorf("%s %s: %v with %v", c.selector, c.expression, res.OK, res.Value)
			}
		}
		for _, c := range []struct{ selector, expression, want string }{
			{"http_rekwests", "count>0", "no metric is named http_rekwests"},
			{"http_reqs", "p(99)<1", "a counter has no p(99), only count or rate"},
			{"vus", "avg<1", "a gauge has no avg, only value, min or max"},
			{"checks", "count<1", "a rate has no count, only rate"},
			{"http_req_duration", "rate<1", "a trend has no rate, only avg"},
		} {
			if err := threshold(t, c.selector, c.expression).Check(r); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%s %s: %v, want %s", c.selector, c.expression, err, c.want)
			}
		}
	})
}

func TestAThresholdEndsARunOnlyAfterItsDelayAndWithSamples(t *testing.T) {
	r := NewRegistry()
	Builtin(r)
	r.Lookup(HTTPReqFailed).With(Tags{}).Add(1)
	harmless := threshold(t, "http_req_failed", "rate<0.1")
	empty := threshold(t, "http_req_duration", "avg>1")
	empty.AbortOnFail = true
	holds := threshold(t, "http_req_failed", "rate<2")
	holds.AbortOnFail = true
	fatal := harmless
	fatal.AbortOnFail, fatal.DelayAbortEval = true, 10*time.Second
	ts := Thresholds{harmless, empty, holds, fatal}
	if res, abort := ts.Abort(r, 9*time.Second); abort {
		t.Errorf("ended early by %+v", res)
	}
	if res, abort := ts.Abort(r, 10*time.Second); !abort || res.Threshold != fatal || res.Value != 1 {
		t.Errorf("ended: %v by %+v", abort, res)
	}
	if !ts.AnyAbort() || (Thresholds{harmless}).AnyAbort() {
		t.Error("who may end a run is not known")
	}
	if results := ts.Evaluate(r); Passed(results) || !Passed(results[2:3]) {
		t.Errorf("%+v", results)
	}
}
