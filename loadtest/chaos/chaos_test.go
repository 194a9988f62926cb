package main

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sluicegate/sluice/loadtest/judge"
	"github.com/sluicegate/sluice/loadtest/stage"
	"github.com/sluicegate/sluice/queue/queuetest/proc"
)

// trials are the runs of every day.
var trials = []struct {
	name   string
	seed   uint64
	length time.Duration
	gates  int
	race   bool // gates with the race detector
	only   []string
}{
	{"gates come and go", 1, 12 * time.Second, usualGates, true, []string{"gate-kill", "gate-reload", "gate-secret", "store-scripts", "front-cut", "link-cut"}},
	{"ten gates, some with clocks an hour apart", 2, 14 * time.Second, 10, false, []string{"gate-kill", "gate-clock", "gate-freeze", "link-gone"}},
}

func TestPromisesHoldWhileThingsBreak(t *testing.T) {
	if testing.Short() {
		t.Skip("not tested: half a minute of faults, with gates that have to be built")
	}
	proc.Need(t, "redis-server")
	plain, racing := stage.Sluice(t), stage.RacingSluice(t)
	for _, c := range trials {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			sluice := plain
			if c.race {
				sluice = racing
			}
			ks, err := choose(c.only)
			if err != nil {
				t.Fatal(err)
			}
			run := trial{seed: c.seed, length: c.length, gates: c.gates, kinds: ks, room: defaultRoom()}
			var out bytes.Buffer
			is := doubt
			for range 3 { // where the machine was too busy to tell
				if is == doubt {
					out.Reset()
					is = run.tell(t, sluice, &out, "--only "+strings.Join(c.only, ","))
				}
			}
			if is != kept {
				t.Errorf("%v: %s", is, out.Bytes())
			}
		})
	}
}

func everyKind(t *testing.T) []*kind {
	t.Helper()
	ks, err := choose(nil)
	if err != nil {
		t.Fatal(err)
	}
	return ks
}

func TestPlan(t *testing.T) {
	ks := everyKind(t)
	text := func(faults []*fault) string {
		var b strings.Builder
		for _, f := range faults {
			fmt.Fprintln(&b, f.at, f.name, f.lasts, f.seed)
		}
		return b.String()
	}
	t.Run("a seed gives the same faults again, and another seed others", func(t *testing.T) {
		first := text(plan(7, time.Minute, ks))
		if again := text(plan(7, time.Minute, ks)); again != first {
			t.Errorf("first\n%s\nthen\n%s", first, again)
		}
		if other := text(plan(8, time.Minute, ks)); other == first {
			t.Errorf("seeds 7 and 8 both give\n%s", first)
		}
	})
	t.Run("nothing is broken twice at one time, and all is mended in the end", func(t *testing.T) {
		for seed := range uint64(100) {
			busy := map[part]time.Duration{}
			for _, f := range plan(seed, time.Minute, ks) {
				for _, p := range f.takes {
					if f.at < busy[p] {
						t.Fatalf("seed %d: %s breaks %s at %v, which is broken until %v", seed, f.name, p, f.at, busy[p])
					}
					busy[p] = f.at + f.lasts
				}
				if f.at+f.lasts > time.Minute {
					t.Fatalf("seed %d: %s is mended at %v", seed, f.name, f.at+f.lasts)
				}
			}
		}
	})
	t.Run("every kind comes before any comes again", func(t *testing.T) {
		var seen []string
		for _, f := range plan(1, time.Hour, ks) {
			if seen = append(seen, f.name); len(seen) == len(ks)/2 { // the others may wait for parts that are broken
				break
			}
		}
		slices.Sort(seen)
		if n := len(slices.Compact(seen)); n != len(ks)/2 {
			t.Errorf("%d kinds among the first %d faults", n, len(ks)/2)
		}
	})
}

func TestChoose(t *testing.T) {
	for _, c := range []struct {
		names string
		want  string
	}{
		{"gate-kill", "gate-kill"},
		{"link-answers*", "link-answers link-answers-all"},
		{"gate-kill nothing", `no kind of fault is named "nothing": --list names them`},
	} {
		ks, err := choose(strings.Fields(c.names))
		var got []string
		for _, k := range ks {
			got = append(got, k.name)
		}
		if err != nil {
			got = []string{err.Error()}
		}
		if text := strings.Join(got, " "); text != c.want {
			t.Errorf("%s: %q, want %q", c.names, text, c.want)
		}
	}
}

// Evidence of one fault of a kind, ten seconds into the run and for three seconds.
func someEvidence(t *testing.T, kind string) *evidence {
	t.Helper()
	ks, err := choose([]string{kind})
	if err != nil {
		t.Fatal(err)
	}
	start := time.Unix(1_800_000_000, 0)
	return &evidence{
		room: defaultRoom(), start: start, verdict: &judge.Verdict{},
		faults: []*fault{{kind: ks[0], began: start.Add(10 * time.Second), ended: start.Add(13 * time.Second)}},
	}
}

// brokenPromises names what the evidence shows to be broken.
func (e *evidence) brokenPromises() string {
	var out []string
	for _, p := range e.judge().promises {
		switch p.verdict() {
		case broken:
			out = append(out, p.name)
		case doubt:
			out = append(out, p.name+"?")
		}
	}
	return strings.Join(out, " ")
}

func TestVerdict(t *testing.T) {
	after := func(e *evidence, d time.Duration) time.Time { return e.start.Add(d) }
	for _, c := range []struct {
		name string
		kind string
		see  func(e *evidence)
		want string // promises
	}{
		{"nothing was seen", "gate-kill", func(*evidence) {}, ""},
		{"a killed gate breaks off a request", "gate-kill", func(e *evidence) {
			e.failures = []failure{{after(e, 10100*time.Millisecond), "page", "unexpected EOF"}}
		}, ""},
		{"a request is broken off before any gate was killed", "gate-kill", func(e *evidence) {
			e.failures = []failure{{after(e, 9*time.Second), "page", "unexpected EOF"}}
		}, "P6"},
		{"a poll is broken off long after a gate was killed", "gate-kill", func(e *evidence) {
			e.failures = []failure{{after(e, 13*time.Second), "poll", "unexpected EOF"}}
		}, "--"},
		{"a killed gate has visitors see an error page", "gate-kill", func(e *evidence) {
			e.failures = []failure{{after(e, 10100*time.Millisecond), "page", "status 500"}}
		}, "P6"},
		{"the same a second after nothing ran on the machine", "gate-kill", func(e *evidence) {
			e.failures = []failure{{after(e, 10100*time.Millisecond), "page", "status 500"}}
			e.stalls = []stall{{after(e, 9*time.Second), after(e, 9500*time.Millisecond)}}
		}, "P6?"},
		{"the same long before nothing ran", "gate-kill", func(e *evidence) {
			e.failures = []failure{{after(e, 10100*time.Millisecond), "page", "status 500"}}
			e.stalls = []stall{{after(e, 11*time.Second), after(e, 12*time.Second)}}
		}, "P6"},
		{"somebody was overtaken while nothing ran, and somebody came past the gate", "shop-500", func(e *evidence) {
			e.verdict.Cases = []judge.Case{{What: judge.Overtook, From: after(e, 20*time.Second).UnixNano(), To: after(e, 21*time.Second).UnixNano(), Number: 1}}
			e.stalls = []stall{{after(e, 20*time.Second), after(e, 20500*time.Millisecond)}}
			e.shop.Unadmitted = 1
		}, "P1? P5"},
		{"somebody was forgotten, let in twice and not let in while nothing ran", "shop-500", func(e *evidence) {
			for _, what := range []judge.What{judge.Forgot, judge.TwiceIn, judge.LeftWaiting} {
				e.verdict.Cases = append(e.verdict.Cases, judge.Case{What: what, From: after(e, 11*time.Second).UnixNano(), To: after(e, 12*time.Second).UnixNano(), Number: 1})
			}
			e.stalls = []stall{{after(e, 11*time.Second), after(e, 12*time.Second)}}
		}, "P3 P4"},
		{"who was let in on the spot just before a flush is asked to wait", "store-flush", func(e *evidence) {
			e.spot = map[int]time.Time{7: after(e, 9*time.Second)}
			e.verdict.Cases = []judge.Case{{What: judge.PutOut, Visitor: 7, From: after(e, 10*time.Second).UnixNano(), To: after(e, 11*time.Second).UnixNano(), Number: 1}}
		}, ""},
		{"who was let in on the spot long before a flush is asked to wait, and so is who had waited", "store-flush", func(e *evidence) {
			e.spot = map[int]time.Time{7: after(e, 7*time.Second)}
			for _, who := range []int{7, 8} {
				e.verdict.Cases = append(e.verdict.Cases, judge.Case{What: judge.PutOut, Visitor: who, From: after(e, 10*time.Second).UnixNano(), To: after(e, 11*time.Second).UnixNano(), Number: 1})
			}
		}, "P6"},
		{"somebody is overtaken who asked the gate that was cut off", "link-gone", func(e *evidence) {
			e.faults[0].gate = 2
			e.answers = map[int][]answer{7: {{2, after(e, 12*time.Second), after(e, 12100*time.Millisecond)}}}
			e.verdict.Cases = []judge.Case{{What: judge.Overtook, Visitor: 7, From: after(e, 12*time.Second).UnixNano(), To: after(e, 13*time.Second).UnixNano(), Number: 1}}
		}, ""},
		{"somebody is overtaken who asked another gate, and that one long before", "link-gone", func(e *evidence) {
			e.faults[0].gate = 2
			e.answers = map[int][]answer{
				7: {{2, after(e, 9*time.Second), after(e, 9100*time.Millisecond)}, {1, after(e, 12*time.Second), after(e, 12100*time.Millisecond)}},
				8: {{2, after(e, 12*time.Second), after(e, 12100*time.Millisecond)}},
			}
			e.verdict.Cases = []judge.Case{{What: judge.Overtook, Visitor: 7, From: after(e, 12*time.Second).UnixNano(), To: after(e, 13*time.Second).UnixNano(), Number: 1}}
		}, "P1"},
		{"a poll meets the shop's error", "shop-500", func(e *evidence) {
			e.failures = []failure{{after(e, 11*time.Second), "poll", "status 500"}}
		}, "--"},
		{"everything that judges find", "shop-500", func(e *evidence) {
			for what := range findings {
				e.verdict.Cases = append(e.verdict.Cases, judge.Case{What: what, From: after(e, 11*time.Second).UnixNano(), To: after(e, 12*time.Second).UnixNano(), Number: 1})
			}
		}, "P1 P2 P3 P4 P6"},
		{"a gate counts too many", "shop-500", func(e *evidence) { e.overshoot = []rise{{by: 1}} }, "P2"},
		{"a gate counts too many after nobody remembered who was inside, and max_active was as ever", "gate-power", func(e *evidence) {
			e.overshoot = []rise{{from: after(e, 20*time.Second), to: after(e, 21*time.Second), by: 1}}
		}, "P2"},
		{"a gate counts too many after nobody remembered who was inside, and max_active was lowered", "gate-power", func(e *evidence) {
			ks, _ := choose([]string{"limit-active"})
			e.faults = append(e.faults, &fault{kind: ks[0], began: after(e, 19*time.Second), ended: after(e, 22*time.Second)})
			e.overshoot = []rise{{from: after(e, 20*time.Second), to: after(e, 21*time.Second), by: 1}}
		}, ""},
		{"the same before that", "gate-power", func(e *evidence) {
			e.overshoot = []rise{{from: after(e, 8*time.Second), to: after(e, 9*time.Second), by: 1}}
		}, "P2"},
		{"who was let in on the spot is asked to wait while a gate is cut off, and so is who had waited", "link-gone", func(e *evidence) {
			e.spot = map[int]time.Time{7: after(e, 9*time.Second)}
			for _, who := range []int{7, 8} {
				e.verdict.Cases = append(e.verdict.Cases, judge.Case{What: judge.PutOut, Visitor: who, From: after(e, 9*time.Second).UnixNano(), To: after(e, 12*time.Second).UnixNano(), Number: 1})
			}
		}, "P6"},
		{"who used the session while the store was away is asked to wait", "store-kill", func(e *evidence) {
			e.verdict.Cases = []judge.Case{{What: judge.PutOut, Visitor: 7, From: after(e, 11*time.Second).UnixNano(), To: after(e, 12*time.Second).UnixNano(), Number: 1}}
		}, ""},
		{"whose last use was before the store was away is asked to wait", "store-kill", func(e *evidence) {
			e.verdict.Cases = []judge.Case{{What: judge.PutOut, Visitor: 7, From: after(e, 9*time.Second).UnixNano(), To: after(e, 12*time.Second).UnixNano(), Number: 1}}
		}, "P6"},
		{"somebody came past the gate", "shop-500", func(e *evidence) { e.shop.Unadmitted = 1 }, "P5"},
		{"a slot is not free again", "shop-500", func(e *evidence) { e.left.Called = 1 }, "P8"},
		{"a gate dies by itself", "shop-500", func(e *evidence) { e.broken = []string{"gate 1 ended by itself"} }, "--"},
		{"a used ticket lets in again after a flush, with the gate that knew restarted before", "store-flush", func(e *evidence) {
			ks, _ := choose([]string{"gate-kill"})
			e.faults = append(e.faults, &fault{kind: ks[0], began: after(e, 6*time.Second), ended: after(e, 7*time.Second)})
			e.verdict.Cases = []judge.Case{{What: judge.TwiceIn, From: after(e, 5*time.Second).UnixNano(), To: after(e, 15*time.Second).UnixNano(), Number: 1}}
		}, ""},
		{"the same with the gate restarted before it let anybody in", "store-flush", func(e *evidence) {
			ks, _ := choose([]string{"gate-kill"})
			e.faults = append(e.faults, &fault{kind: ks[0], began: after(e, 4*time.Second), ended: after(e, 5*time.Second)})
			e.verdict.Cases = []judge.Case{{What: judge.TwiceIn, From: after(e, 5*time.Second).UnixNano(), To: after(e, 15*time.Second).UnixNano(), Number: 1}}
		}, "P4"},
		{"who was called at the moment of a flush is let in after others", "store-flush", func(e *evidence) {
			e.verdict.Cases = []judge.Case{{What: judge.Overtook, From: after(e, 9*time.Second).UnixNano(), To: after(e, 18*time.Second).UnixNano(), Number: 1}}
		}, ""},
		{"somebody overtaken while the store was away still waits when others were let in for long", "store-kill", func(e *evidence) {
			for at := 14 * time.Second; at < time.Minute; at += 100 * time.Millisecond {
				e.admitted = append(e.admitted, after(e, at))
			}
			e.verdict.Cases = []judge.Case{{What: judge.Overtook, From: after(e, 12*time.Second).UnixNano(), To: after(e, 30*time.Second).UnixNano(), Number: 1}}
		}, "P1"},
		{"the same, and nobody was let in meanwhile", "store-kill", func(e *evidence) {
			e.admitted = []time.Time{after(e, 14*time.Second), after(e, 29*time.Second)}
			e.verdict.Cases = []judge.Case{{What: judge.Overtook, From: after(e, 12*time.Second).UnixNano(), To: after(e, 30*time.Second).UnixNano(), Number: 1}}
		}, ""},
		{"a position has grown when those of a cut-off gate were back, and the line had stood until then", "link-gone-long", func(e *evidence) {
			e.admitted = []time.Time{after(e, 14*time.Second), after(e, 23*time.Second)}
			e.verdict.Cases = []judge.Case{{What: judge.Grew, From: after(e, 20*time.Second).UnixNano(), To: after(e, 24*time.Second).UnixNano(), Number: 1}}
		}, ""},
		{"the same where the line had gone on", "link-gone-long", func(e *evidence) {
			for at := 13 * time.Second; at < 24*time.Second; at += 100 * time.Millisecond {
				e.admitted = append(e.admitted, after(e, at))
			}
			e.verdict.Cases = []judge.Case{{What: judge.Grew, From: after(e, 20*time.Second).UnixNano(), To: after(e, 24*time.Second).UnixNano(), Number: 1}}
		}, "P3"},
		{"who was called long before is let in after others", "store-flush", func(e *evidence) {
			e.verdict.Cases = []judge.Case{{What: judge.Overtook, From: after(e, 7*time.Second).UnixNano(), To: after(e, 18*time.Second).UnixNano(), Number: 1}}
		}, "P1"},
		{"somebody is overtaken after a flush", "store-flush", func(e *evidence) {
			e.verdict.Cases = []judge.Case{{What: judge.Overtook, From: after(e, 15*time.Second).UnixNano(), To: after(e, 18*time.Second).UnixNano(), Number: 1}}
		}, "P1"},
	} {
		t.Run(c.name, func(t *testing.T) {
			e := someEvidence(t, c.kind)
			c.see(e)
			if got := e.brokenPromises(); got != c.want {
				t.Errorf("broken: %q, want %q", got, c.want)
			}
		})
	}
	t.Run("every allowance is for kinds that there are, and says why", func(t *testing.T) {
		for _, a := range allowances {
			for _, list := range []string{a.kinds, a.following, a.with} {
				if _, err := choose(strings.Fields(list)); err != nil {
					t.Error(err)
				}
			}
			if a.why == "" || (a.what == "") == (len(a.errors) == 0) {
				t.Errorf("%+v", a)
			}
		}
	})
}

func TestLettingInWentOn(t *testing.T) {
	e := someEvidence(t, "store-kill") // from 10 s to 13 s
	at := func(seconds ...float64) {
		e.admitted = nil
		for _, s := range seconds {
			e.admitted = append(e.admitted, e.start.Add(time.Duration(s*float64(time.Second))))
		}
	}
	at(9, 10.5, 12, 15, 16)
	if got, want := e.admission(e.faults[0]), (admission{stood: 3 * time.Second, resumed: 2 * time.Second, went: true}); got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
	at(9, 11)
	if got := e.admission(e.faults[0]); got.went {
		t.Errorf("nobody came in after it: %+v", got)
	}
}
