package main

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/sluicegate/sluice/loadtest/judge"
	"github.com/sluicegate/sluice/loadtest/origin"
)

// evidence is all that was seen of a run.
type evidence struct {
	room     room
	start    time.Time
	faults   []*fault
	failures []failure   // in order of time
	admitted []time.Time // likewise
	verdict  *judge.Verdict
	shop     origin.Stats
	events   []byte            // what visitors saw, a judge.Log
	came     []time.Time       // when they were given their places, in order
	answers  map[int][]answer  // that visitors had, as the judge counts them
	spot     map[int]time.Time // when they were let in who did not wait, as the judge counts them
	led      map[int]uint64    // by the number of a gate: bit n is set where its front led to gate n

	overshoot []rise   // by the gates' own count
	restored  float64  // likewise
	left      counts   // who was in line or had a slot when all were gone
	broken    []string // gates that died, races that were found

	stalls []stall
	late   time.Duration // by how much this process was at most
}

// failure is a request that failed.
type failure struct {
	at   time.Time
	step string
	why  string
}

// answer is one that a visitor had.
type answer struct {
	gate           int // whose front they came to
	sent, answered time.Time
}

// promise is what one of them came to.
type promise struct {
	name    string // P1
	text    string
	broken  []string // none: it was kept, unless there is a doubt
	doubted []string // what would have broken it, had the machine run everything in time
	allowed []string // what would have broken it, had no fault explained it
}

// findings are by which of the judges' findings each promise is broken.
var findings = map[judge.What]string{
	judge.Overtook: "P1",
	judge.TooMany:  "P2", judge.TooFull: "P2",
	judge.Forgot: "P3", judge.Replaced: "P3", judge.Grew: "P3", judge.LeftWaiting: "P3",
	judge.TwiceIn: "P4",
	judge.PutOut:  "P6",
}

// counted is what gates find themselves: overshot rose.
const counted judge.What = "counted too many"

// timeless findings do not depend on how fast anything runs: no stall explains them.
var timeless = []judge.What{judge.Forgot, judge.Replaced, judge.TwiceIn, judge.LeftWaiting}

// insideSteps are what only those do who were let in.
var insideSteps = []string{"page", "asset", "order", "leave"}

// result is what the evidence comes to.
type result struct {
	promises []*promise
	seen     map[*fault][]failure // by the fault that explains them
	wronged  []int                // some visitors whose promises were broken, as the judge counts them
}

// maxHistories is of how many visitors it is told what they saw.
const maxHistories = 4

// verdict is what became of a promise, or of all of them.
type verdict string

const (
	kept   verdict = "kept"
	broken verdict = "BROKEN"
	doubt  verdict = "in doubt" // the machine was too busy to tell
)

func (p *promise) verdict() verdict {
	switch {
	case len(p.broken) > 0:
		return broken
	case len(p.doubted) > 0:
		return doubt
	}
	return kept
}

func (r *result) verdict() verdict {
	all := kept
	for _, p := range r.promises {
		switch v := p.verdict(); v {
		case broken:
			return v
		case doubt:
			all = v
		}
	}
	return all
}

// broken is how often a promise was.
func (r *result) broken(name string) (n int) {
	for _, p := range r.promises {
		if p.name == name {
			n += len(p.broken)
		}
	}
	return n
}

// judge holds a run to the promises.
func (e *evidence) judge() *result {
	r := &result{seen: make(map[*fault][]failure), promises: []*promise{
		{name: "P1", text: "first come, first served"},
		{name: "P2", text: "never over the limit"},
		{name: "P3", text: "nobody loses their place"},
		{name: "P4", text: "one ticket, one slot"},
		{name: "P5", text: "no way around"},
		{name: "P6", text: "the admitted are left alone"},
		{name: "P8", text: "people who left cost nobody"},
		{name: "--", text: "whoever asks is answered"},
		{name: "--", text: "gates live, without races"},
	}}
	of := func(name string) *promise {
		return r.promises[slices.IndexFunc(r.promises, func(p *promise) bool { return p.name == name })]
	}
	answers, gates := r.promises[len(r.promises)-2], r.promises[len(r.promises)-1]

	breaks := func(p *promise, from, to time.Time, text string, timely bool) {
		if timely && e.inDoubt(from, to) {
			p.doubted = append(p.doubted, text)
		} else {
			p.broken = append(p.broken, text)
		}
	}
	many := make(map[judge.What]int)
	for i := range e.verdict.Cases {
		c := &e.verdict.Cases[i]
		if many[c.What]++; many[c.What] == judge.MaxCases {
			p := of(findings[c.What])
			p.broken = append(p.broken, fmt.Sprintf("%d and more cases: %s; not all were looked at", judge.MaxCases, c.What))
		}
		from, to := time.Unix(0, c.From), time.Unix(0, c.To)
		text := fmt.Sprintf("%s to %s: %s", e.since(from), e.since(to), c.Text)
		p := of(findings[c.What])
		if f := e.explain(from, to, c.Number, c.Visitor, func(a *allowance) bool { return a.what == c.What }); f != nil {
			p.allowed = append(p.allowed, text+" ("+f.name+")")
		} else {
			breaks(p, from, to, text, !slices.Contains(timeless, c.What))
			if c.Visitor > 0 && len(r.wronged) < maxHistories && !slices.Contains(r.wronged, c.Visitor) {
				r.wronged = append(r.wronged, c.Visitor)
			}
		}
	}
	for _, x := range e.failures {
		f := e.explain(x.at, x.at, 1, 0, func(a *allowance) bool {
			return slices.Contains(a.errors, x.why) && (len(a.steps) == 0 || slices.Contains(a.steps, x.step))
		})
		if f != nil {
			r.seen[f] = append(r.seen[f], x)
			continue
		}
		p := answers
		if slices.Contains(insideSteps, x.step) {
			p = of("P6")
		}
		breaks(p, x.at, x.at, fmt.Sprintf("%s: %s: %s", e.since(x.at), x.step, x.why), true)
	}
	for _, x := range e.overshoot {
		text := fmt.Sprintf("%s to %s: %s of gate %d rose by %g", e.since(x.from), e.since(x.to), overshot, x.gate, x.by)
		if f := e.explain(x.from, x.to, int64(x.by), 0, func(a *allowance) bool { return a.what == counted }); f != nil {
			of("P2").allowed = append(of("P2").allowed, text+" ("+f.name+")")
		} else {
			breaks(of("P2"), x.from, x.to, text, true)
		}
	}
	if n := e.shop.Unadmitted + e.shop.Leaked; n > 0 {
		of("P5").broken = append(of("P5").broken, fmt.Sprintf("%d requests reached the shop that should not have: %s", n, strings.Join(e.shop.Examples, "; ")))
	}
	if n := e.left; n.Waiting+n.Called+n.Active > 0 {
		of("P8").broken = append(of("P8").broken, fmt.Sprintf("all were gone, and %d were waiting, %d called, %d active", n.Waiting, n.Called, n.Active))
	}
	gates.broken = e.broken
	return r
}

// newcomers is how many were given a place while a fault lasted, and until gates asked
// the store again.
func (e *evidence) newcomers(f *fault) int64 {
	from, _ := slices.BinarySearchFunc(e.came, f.began, time.Time.Compare)
	to, _ := slices.BinarySearchFunc(e.came, f.ended.Add(reconnect), time.Time.Compare)
	return int64(to - from)
}

// since is an instant as a time since the start.
func (e *evidence) since(t time.Time) string { return fmt.Sprintf("%.1fs", t.Sub(e.start).Seconds()) }

// admission is how letting in went on around a fault.
type admission struct {
	stood   time.Duration // the longest that nobody was let in, from the fault's beginning until it went on
	resumed time.Duration // the same, as far as it was after the fault's end
	went    bool          // on, before the run was over
}

func (e *evidence) admission(f *fault) (a admission) {
	last := f.began
	for _, t := range e.admitted {
		if t.Before(f.began) {
			continue
		}
		if last.After(f.ended.Add(calledBefore)) {
			break
		}
		a.stood = max(a.stood, t.Sub(last))
		if !t.Before(f.ended) {
			a.went = true
			from := f.ended
			if last.After(from) {
				from = last
			}
			a.resumed = max(a.resumed, t.Sub(from))
		}
		last = t
	}
	return a
}

// moving is how long people were let in for between two instants. However long nobody was,
// that counts for a second.
func (e *evidence) moving(from, to time.Time) (d time.Duration) {
	last := from
	for _, t := range append(slices.Clone(e.admitted), to) {
		if t.Before(from) || t.After(to) {
			continue
		}
		d += min(t.Sub(last), time.Second)
		last = t
	}
	return d
}

// calledBefore is until when people come in who were called before a fault.
const calledBefore = time.Second

// tally says how many of each there are, the most frequent first.
func tally(failures []failure) string {
	if len(failures) == 0 {
		return "no failed request"
	}
	n := map[string]int{}
	for _, x := range failures {
		n[x.step+": "+x.why]++
	}
	keys := make([]string, 0, len(n))
	for k := range n {
		keys = append(keys, k)
	}
	slices.SortFunc(keys, func(a, b string) int { return cmp.Or(cmp.Compare(n[b], n[a]), cmp.Compare(a, b)) })
	for i, k := range keys {
		keys[i] = fmt.Sprintf("%dx %s", n[k], k)
	}
	return strings.Join(keys, ", ")
}
