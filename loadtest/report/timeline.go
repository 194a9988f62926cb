package report

import (
	"math"
	"time"

	"github.com/sluicegate/sluice/loadtest/metric"
	"github.com/sluicegate/sluice/loadtest/visitor"
)

// timeline is the run by seconds. Every slice has one entry for each.
type timeline struct {
	length   int
	step     int // seconds that one point of a chart stands for
	arrivals []float64
	waiting  []float64 // at the end of the second
	letIn    []float64
	requests []float64
	failed   []float64
	crowd    crowd
	join     latencies
	poll     latencies
}

// crowd is how many visitors there were, without bots and copies of tickets.
type crowd struct{ came, letIn, onSpot, walked, left int64 }

// latencies are percentiles in milliseconds; NaN where nothing was answered.
type latencies struct{ p50, p95, p99 []float64 }

// maxPoints is how many points a line has at most: more than that nobody sees, and
// an hour of seconds would make the file large.
const maxPoints = 240

func newTimeline(d *Data) *timeline {
	r := d.Registry
	joined := buckets(r, visitor.Joined)
	letIn := buckets(r, visitor.LetIn)
	gaveUp := buckets(r, visitor.GaveUp)
	onSpot := buckets(r, metric.HTTPReqFailed, "step", "join", "state", "shop")
	requests := buckets(r, metric.HTTPReqs)
	failed := buckets(r, metric.HTTPReqFailed)
	join := buckets(r, metric.HTTPReqDuration, "step", "join")
	poll := buckets(r, metric.HTTPReqDuration, "step", "poll")

	t := &timeline{length: max(1, int((r.Duration()+time.Second-1)/time.Second))}
	t.length = min(t.length, 24*3600) // as long as a registry remembers seconds
	for _, b := range [][]metric.Bucket{joined, letIn, gaveUp, onSpot, requests, failed, join, poll} {
		t.length = max(t.length, len(b))
	}
	for _, step := range []int{1, 2, 5, 10, 15, 30, 60, 120, 300, 600} {
		if t.step = step; (t.length+step-1)/step <= maxPoints {
			break
		}
	}
	each := func(b []metric.Bucket, of func(metric.Bucket) float64) []float64 {
		out := make([]float64, t.length)
		for i := range b {
			out[i] = of(b[i])
		}
		return out
	}
	sum := func(b metric.Bucket) float64 { return b.Count }
	t.letIn = each(letIn, sum)
	t.requests = each(requests, sum)
	t.failed = each(failed, func(b metric.Bucket) float64 { return float64(b.Passes) })
	t.join, t.poll = t.latencies(join), t.latencies(poll)
	t.line(d, each(joined, sum), each(gaveUp, sum), each(onSpot, func(b metric.Bucket) float64 { return float64(b.N - b.Passes) }))
	return t
}

func (t *timeline) latencies(b []metric.Bucket) latencies {
	of := func(f func(metric.Bucket) float64) []float64 {
		out := make([]float64, t.length)
		for i := range out {
			out[i] = math.NaN()
			if i < len(b) && b[i].N > 0 {
				out[i] = f(b[i])
			}
		}
		return out
	}
	return latencies{
		of(func(b metric.Bucket) float64 { return b.P50 }),
		of(func(b metric.Bucket) float64 { return b.P95 }),
		of(func(b metric.Bucket) float64 { return b.P99 }),
	}
}

// line finds out who came and who waited.
//
// Who came was given a place or was let in on the spot. Waiting are those with a
// place who were neither let in after it nor walked away for good; who is away for
// a while and comes back is among them. The counter of those let in does not tell
// who of them had waited; the first requests that the shop itself answered do. Bots
// make such requests too, and are no visitors, so that their part is taken off
// again: as many are let in on the spot as those let in and those still waiting at
// the end leave over. That sum is off where places were lost, since their owners
// were given two, and is not made then.
func (t *timeline) line(d *Data, joined, gaveUp, onSpot []float64) {
	places, admitted, gone, spot := total(joined), total(t.letIn), total(gaveUp), total(onSpot)
	t.crowd = crowd{letIn: int64(admitted), walked: int64(gone)}
	share := 1.0
	if v := d.Verdict; v != nil {
		t.crowd.left = v.NotAdmitted
		if visitors := admitted - places + gone + float64(v.NotAdmitted); v.PlacesLost == 0 && visitors >= 0 && visitors < spot {
			share = visitors / spot
		}
	}
	t.crowd.onSpot = int64(math.Round(min(spot*share, admitted)))
	t.crowd.came = int64(places) + t.crowd.onSpot
	t.arrivals = make([]float64, t.length)
	t.waiting = make([]float64, t.length)
	var waited, in, spots float64
	for i := range t.length {
		t.arrivals[i] = joined[i] + onSpot[i]*share
		in += t.letIn[i]
		spots += onSpot[i] * share
		waited += joined[i] - gaveUp[i]
		// The answer and the count of it may fall into two seconds.
		t.waiting[i] = max(0, math.Round(waited-in+min(spots, in)))
	}
}

func buckets(r *metric.Registry, name string, tags ...string) []metric.Bucket {
	m := r.Lookup(name)
	if m == nil {
		return nil
	}
	return m.Timeline(metric.NewTags(tags...))
}

// values selects from a registry that may not have the metric.
func values(r *metric.Registry, name string, tags ...string) metric.Values {
	m := r.Lookup(name)
	if m == nil {
		return metric.Values{}
	}
	return m.Select(metric.NewTags(tags...))
}

func total(vs []float64) (sum float64) {
	for _, v := range vs {
		sum += v
	}
	return sum
}

// peak returns the largest value and its second; -1 without values.
func peak(vs []float64) (largest float64, second int) {
	second = -1
	for i, v := range vs {
		if v > largest || second < 0 && v == v {
			largest, second = v, i
		}
	}
	return largest, second
}

// average thins out: the mean of the values of each stretch.
func average(vs []float64, step int) []float64 {
	return stretches(vs, step, func(part []float64) float64 { return total(part) / float64(len(part)) })
}

// largest thins out: the largest value of each stretch, NaN where there is none.
func largest(vs []float64, step int) []float64 {
	return stretches(vs, step, func(part []float64) float64 {
		out := math.NaN()
		for _, v := range part {
			if v == v && !(out >= v) {
				out = v
			}
		}
		return out
	})
}

// stretches makes one value of those of each stretch.
func stretches(vs []float64, step int, of func([]float64) float64) []float64 {
	out := make([]float64, 0, len(vs)/step+1)
	for i := 0; i < len(vs); i += step {
		out = append(out, of(vs[i:min(i+step, len(vs))]))
	}
	return out
}

// table tells the charts in numbers, in at most tableRows rows.
func (t *timeline) table() *table {
	if total(t.requests)+total(t.arrivals)+total(t.letIn) == 0 {
		return nil
	}
	const tableRows = 24
	step := 1
	for _, step = range []int{1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 1800, 3600} {
		if (t.length+step-1)/step <= tableRows {
			break
		}
	}
	out := &table{Head: []string{"from", "came", "most waiting", "let in", "requests", "failed", "join, p95 at worst", "poll, p95 at worst"}}
	arrivals, letIn := sums(t.arrivals, step), sums(t.letIn, step)
	requests, failed := sums(t.requests, step), sums(t.failed, step)
	waiting, join, poll := largest(t.waiting, step), largest(t.join.p95, step), largest(t.poll.p95, step)
	maybe := func(ms float64) string {
		if math.IsNaN(ms) {
			return "–"
		}
		return span(ms)
	}
	n := func(v float64) string { return count(int64(math.Round(v))) }
	for i := range arrivals {
		out.Rows = append(out.Rows, row{Name: instant(i*step, t.length), Cells: []string{
			n(arrivals[i]), n(waiting[i]), n(letIn[i]), n(requests[i]), n(failed[i]), maybe(join[i]), maybe(poll[i]),
		}})
	}
	return out
}

func sums(vs []float64, step int) []float64 { return stretches(vs, step, total) }
