package metric

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// Expression is a k6 threshold expression: an aggregation, a comparison and a
// number, such as p(99)<500, rate<0.01 or count==0.
type Expression struct {
	Source      string  // as it was written
	Aggregation string  // avg, min, max, med, p, count, rate or value
	Percentile  float64 // of p
	Operator    string  // < <= > >= == !=
	Bound       float64
}

var operators = []string{"===", "==", "!=", "<=", ">=", "<", ">"} // the longer ones first

// ParseExpression reads a threshold expression.
func ParseExpression(source string) (Expression, error) {
	e := Expression{Source: source}
	fail := func(format string, args ...any) (Expression, error) {
		return Expression{}, fmt.Errorf("threshold %q: %s", source, fmt.Sprintf(format, args...))
	}
	at := strings.IndexAny(source, "<>=!")
	if at < 0 {
		return fail("has no comparison: expected one of < <= > >= == !=")
	}
	rest := source[at:]
	for _, op := range operators {
		if after, ok := strings.CutPrefix(rest, op); ok {
			e.Operator, rest = op, after
			break
		}
	}
	switch e.Operator {
	case "":
		return fail("%q is no comparison: expected one of < <= > >= == !=", rest[:1])
	case "===": // k6 takes both
		e.Operator = "=="
	}
	left := strings.TrimSpace(source[:at])
	var err error
	if e.Aggregation, e.Percentile, err = parseAggregation(left); err != nil {
		return fail("%s", err)
	}
	bound := strings.TrimSpace(rest)
	if bound == "" {
		return fail("has no number after %s", e.Operator)
	}
	e.Bound, err = strconv.ParseFloat(bound, 64)
	if err != nil || math.IsNaN(e.Bound) || math.IsInf(e.Bound, 0) || strings.ContainsAny(bound, "xXpP_") {
		return fail("%q is no number; times are in milliseconds, without a unit", bound)
	}
	return e, nil
}

// parseAggregation reads what stands left of the comparison, or an entry of
// summaryTrendStats.
func parseAggregation(s string) (name string, percentile float64, err error) {
	switch s {
	case "avg", "min", "max", "med", "count", "rate", "value":
		return s, 0, nil
	case "":
		return "", 0, fmt.Errorf("begins with nothing to compare: expected avg, min, max, med, p(N), count, rate or value")
	}
	inner, isP := strings.CutPrefix(s, "p(")
	inner, closed := strings.CutSuffix(inner, ")")
	if !isP || !closed {
		return "", 0, fmt.Errorf("%q is unknown: expected avg, min, max, med, p(N), count, rate or value", s)
	}
	p, err := strconv.ParseFloat(strings.TrimSpace(inner), 64)
	if err != nil || !(p >= 0 && p <= 100) {
		return "", 0, fmt.Errorf("p(%s): expected a percentile from 0 to 100", inner)
	}
	return "p", p, nil
}

// ParseTrendStat checks an entry of summaryTrendStats: avg, min, med, max, count
// or p(N).
func ParseTrendStat(s string) error {
	name, _, err := parseAggregation(s)
	if err != nil && strings.HasPrefix(s, "p(") {
		return err
	}
	if err != nil || name == "rate" || name == "value" {
		return fmt.Errorf("a trend has no %q: expected avg, min, med, max, count or p(N)", s)
	}
	return nil
}

var aggregations = map[Kind]string{
	Counter: "count or rate",
	Gauge:   "value, min or max",
	Rate:    "rate",
	Trend:   "avg, min, max, med, count or p(N)",
}

// Fits tells why a metric of this kind cannot be judged by the expression.
func (e Expression) Fits(k Kind) error {
	ok := false
	switch e.Aggregation {
	case "count":
		ok = k == Counter || k == Trend
	case "rate":
		ok = k == Counter || k == Rate
	case "value":
		ok = k == Gauge
	case "min", "max":
		ok = k == Gauge || k == Trend
	default:
		ok = k == Trend
	}
	if !ok {
		return fmt.Errorf("threshold %q: a %s has no %s, only %s", e.Source, k, e.Name(), aggregations[k])
	}
	return nil
}

// Name is the left side: p(99), rate.
func (e Expression) Name() string {
	if e.Aggregation == "p" {
		return "p(" + strconv.FormatFloat(e.Percentile, 'f', -1, 64) + ")"
	}
	return e.Aggregation
}

// Of returns what is compared.
func (e Expression) Of(v Values) float64 { return v.stat(e.Aggregation, e.Percentile) }

// Stat returns a value by its name in summaryTrendStats or in a threshold. It is
// an error to ask for one there is not.
func (v Values) Stat(name string) (float64, error) {
	agg, p, err := parseAggregation(name)
	if err != nil {
		return 0, err
	}
	return v.stat(agg, p), nil
}

func (v Values) stat(name string, percentile float64) float64 {
	switch name {
	case "avg":
		return v.Avg
	case "min":
		return v.Min
	case "max":
		return v.Max
	case "med":
		return v.Med
	case "count":
		return v.Count
	case "rate":
		return v.Rate
	case "value":
		return v.Value
	case "p":
		return v.P(percentile)
	}
	panic("BUG: metric: no aggregation " + name)
}

// Holds tells whether the value is as the expression wants it.
func (e Expression) Holds(value float64) bool {
	switch e.Operator {
	case "<":
		return value < e.Bound
	case "<=":
		return value <= e.Bound
	case ">":
		return value > e.Bound
	case ">=":
		return value >= e.Bound
	case "==":
		return value == e.Bound
	case "!=":
		return value != e.Bound
	}
	panic("BUG: metric: no operator " + e.Operator)
}

// Threshold is an expression about a metric or a selection of it.
type Threshold struct {
	Selector string // as it was written: http_req_duration{step:join}
	Metric   string
	Tags     Tags
	Expression
	AbortOnFail    bool
	DelayAbortEval time.Duration // no abort before this much of the run is over
}

// Result is what became of a threshold.
type Result struct {
	Threshold
	Value   float64
	Samples int64 // 0: nothing was measured, and Value is 0
	OK      bool
}

// Thresholds are those of a run, all about metrics that there are.
type Thresholds []Threshold

// Check tells every threshold whose metric the registry does not have, or whose
// expression does not suit it.
func (ts Thresholds) Check(r *Registry) []error {
	var errs []error
	for _, t := range ts {
		if err := t.Check(r); err != nil {
			errs = append(errs, err)
		}
	}
	return errs
}

// Check tells why the threshold cannot be judged with this registry.
func (t Threshold) Check(r *Registry) error {
	m := r.Lookup(t.Metric)
	if m == nil {
		return fmt.Errorf("no metric is named %s", t.Metric)
	}
	return t.Fits(m.Kind)
}

// Evaluate judges all of them. A metric with no samples is judged by zeros, and
// its result says so. A threshold that does not pass Check is a bug.
func (ts Thresholds) Evaluate(r *Registry) []Result {
	out := make([]Result, len(ts))
	for i, t := range ts {
		out[i] = t.evaluate(r)
	}
	return out
}

func (t Threshold) evaluate(r *Registry) Result {
	if err := t.Check(r); err != nil {
		panic("BUG: metric: " + err.Error())
	}
	v := r.Lookup(t.Metric).Select(t.Tags)
	value := t.Of(v)
	return Result{t, value, v.Samples, t.Holds(value)}
}

// Abort returns the first threshold for which a run that has lasted this long is
// to end: one with AbortOnFail, past its delay, that does not hold. One without
// samples waits for them.
func (ts Thresholds) Abort(r *Registry, elapsed time.Duration) (Result, bool) {
	for _, t := range ts {
		if !t.AbortOnFail || elapsed < t.DelayAbortEval {
			continue
		}
		if res := t.evaluate(r); !res.OK && res.Samples > 0 {
			return res, true
		}
	}
	return Result{}, false
}

// AnyAbort tells whether one of them can end a run, so that it is worth judging
// while it lasts.
func (ts Thresholds) AnyAbort() bool {
	for _, t := range ts {
		if t.AbortOnFail {
			return true
		}
	}
	return false
}

// Passed tells whether all hold.
func Passed(results []Result) bool {
	for _, r := range results {
		if !r.OK {
			return false
		}
	}
	return true
}
