package metric

import (
	"encoding/json"
	"fmt"
	"math"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

func near(got, want, share float64) bool { return math.Abs(got-want) <= math.Abs(want)*share+1e-9 }

func TestWhatAMetricMakesOfItsSamples(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := NewRegistry()
		add := func(kind Kind, name string, vs ...float64) Values {
			s := r.New(name, kind, Default).With(Tags{})
			for _, v := range vs {
				s.Add(v)
			}
			return r.Lookup(name).Select(Tags{})
		}
		r.Finish(2 * time.Second)
		if v := add(Counter, "c", 1, 2, 4); v.Count != 7 || v.Rate != 3.5 || v.Samples != 3 {
			t.Errorf("counter %+v", v)
		}
		if v := add(Gauge, "g", 5, -1, 3); v.Value != 3 || v.Min != -1 || v.Max != 5 {
			t.Errorf("gauge %+v", v)
		}
		if v := add(Rate, "r", 1, 0, 0, 0.5); v.Rate != 0.5 || v.Passes != 2 || v.Fails != 2 {
			t.Errorf("rate %+v", v)
		}
		if v := add(Trend, "t", 4, 1, 2.5); v.Count != 3 || v.Sum != 7.5 || v.Avg != 2.5 || v.Min != 1 || v.Max != 4 || !near(v.Med, 2.5, .001) || v.P(100) != 4 {
			t.Errorf("trend %+v", v)
		}
		if v := add(Trend, "one", 0.7777); v.P(0) != 0.7777 || v.P(50) != 0.7777 || v.P(99.9) != 0.7777 {
			t.Errorf("the percentiles of one sample are %v %v %v", v.P(0), v.P(50), v.P(99.9))
		}
		if v := add(Trend, "odd", -5, 1e12, math.NaN(), math.Inf(1)); v.Min != -5 || v.Max != 1e12 || v.Samples != 2 || v.P(99) < 1.4e7 {
			t.Errorf("odd values %+v, p99 %v", v, v.P(99))
		}
		for _, k := range []Kind{Counter, Gauge, Rate, Trend} {
			v := add(k, "empty_"+k.String())
			v.Kind, v.Contains = 0, 0
			if !reflect.DeepEqual(v, Values{}) || v.P(99) != 0 {
				t.Errorf("a %s without samples is %+v", k, v)
			}
		}
	})
}

func TestPercentilesAreRightToThreeDigits(t *testing.T) {
	s := NewRegistry().New("t", Trend, Time).With(Tags{})
	rnd := rand.New(rand.NewPCG(1, 2))
	var all []float64
	for range 100_000 {
		v := math.Exp(rnd.NormFloat64() * 3)
		all = append(all, v)
		s.Add(v)
	}
	slices.Sort(all)
	v := s.metric.Select(Tags{})
	for _, p := range []float64{1, 50, 90, 95, 99, 99.9, 99.99} {
		want := all[int(math.Ceil(p*float64(len(all))/100))-1]
		if got := v.P(p); math.Abs(got-want) > want*.001+.001 {
			t.Errorf("p(%v) is %v, want %v", p, got, want)
		}
	}
	if v.Max != all[len(all)-1] || v.Min != all[0] {
		t.Errorf("from %v to %v", v.Min, v.Max)
	}
}

func TestSelecting(t *testing.T) {
	r := NewRegistry()
	m := r.New("waits", Trend, Time)
	m.With(NewTags("step", "join", "scenario", "spike")).Add(1)
	m.With(NewTags("scenario", "spike", "step", "poll")).Add(3)
	m.With(NewTags("step", "join", "scenario", "calm")).Add(8)
	for _, c := range []struct {
		tags  Tags
		count float64
		max   float64
	}{
		{Tags{}, 3, 8}, {NewTags("step", "join"), 2, 8}, {NewTags("scenario", "spike"), 2, 3},
		{NewTags("scenario", "spike", "step", "join"), 1, 1}, {NewTags("step", "leave"), 0, 0}, {NewTags("other", ""), 0, 0},
	} {
		if v := m.Select(c.tags); v.Count != c.count || v.Max != c.max {
			t.Errorf("{%s} has %v up to %v, want %v up to %v", c.tags, v.Count, v.Max, c.count, c.max)
		}
	}
	t.Run("tags in another order are the same series", func(t *testing.T) {
		if m.With(NewTags("a", "1", "b", "2")) != m.With(NewTags("b", "2", "a", "1")) {
			t.Error("they are not")
		}
	})
	t.Run("a prefix of a value or a value as a name is another tag", func(t *testing.T) {
		if NewTags("step", "joined").Contain(NewTags("step", "join")) || NewTags("step", "a", "b", "c").Contain(NewTags("a", "b")) {
			t.Error("they are taken for the same")
		}
	})
	t.Run("gauges of several series add up", func(t *testing.T) {
		g := r.New("inside", Gauge, Default)
		g.With(NewTags("gate", "a")).Add(5)
		g.With(NewTags("gate", "a")).Add(2)
		g.With(NewTags("gate", "b")).Add(4)
		if v := g.Select(Tags{}); v.Value != 6 || v.Max != 9 || v.Min != 6 {
			t.Errorf("%+v", v)
		}
	})
}

func TestANameHasOneKind(t *testing.T) {
	r := NewRegistry()
	m := r.New("m", Counter, Data)
	if r.New("m", Counter, Data) != m {
		t.Error("asked twice, got two")
	}
	defer func() {
		if p := recover(); p == nil || !strings.HasPrefix(fmt.Sprint(p), "BUG: metric: m is a counter of data") {
			t.Errorf("panicked with %v", p)
		}
	}()
	r.New("m", Trend, Data)
}

func TestSamplesFromManyGoroutinesAreAllThere(t *testing.T) {
	r := NewRegistry()
	trend := r.New("t", Trend, Time).With(Tags{})
	counter := r.New("c", Counter, Default).With(Tags{})
	var wg sync.WaitGroup
	const each, n = 10_000, 8
	for range n {
		wg.Go(func() {
			for i := range each {
				trend.Add(float64(i))
				counter.Add(1)
				if i%1000 == 0 {
					trend.metric.Select(Tags{})
					trend.metric.Timeline(Tags{})
				}
			}
		})
	}
	wg.Wait()
	if v := trend.metric.Select(Tags{}); v.Count != each*n || v.Sum != n*each*(each-1)/2 || v.Max != each-1 {
		t.Errorf("%+v", v)
	}
	if v := counter.metric.Select(Tags{}); v.Count != each*n {
		t.Errorf("%+v", v)
	}
}

func TestTimeline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := NewRegistry()
		r.Start(time.Now().Add(time.Second))
		c := r.New("c", Counter, Default)
		g := r.New("g", Gauge, Default)
		f := r.New("f", Rate, Default)
		w := r.New("w", Trend, Time)
		all := func(v float64) {
			for _, m := range []*Metric{c, g, f, w} {
				m.With(NewTags("k", "v")).Add(v)
			}
		}
		all(7) // before the start: counts for the first second
		time.Sleep(1999 * time.Millisecond)
		all(0)
		time.Sleep(2 * time.Millisecond)
		all(100)
		time.Sleep(2 * time.Second)
		g.With(Tags{}).Add(1)
		all(300)
		all(200)
		check := func(m *Metric, tags Tags, want ...Bucket) {
			t.Helper()
			got := m.Timeline(tags)
			for i := range got {
				for _, p := range []struct{ got, want *float64 }{{&got[i].P50, &want[i].P50}, {&got[i].P95, &want[i].P95}, {&got[i].P99, &want[i].P99}} {
					if near(*p.got, *p.want, .008) {
						*p.got = *p.want
					}
				}
			}
			if !reflect.DeepEqual(got, want) {
				t.Errorf("%s:\ngot  %+v\nwant %+v", m.Name, got, want)
			}
		}
		sel := NewTags("k", "v")
		check(c, sel, Bucket{N: 2, Count: 7}, Bucket{Second: 1, N: 1, Count: 100}, Bucket{Second: 2}, Bucket{Second: 3, N: 2, Count: 500})
		check(f, sel, Bucket{N: 2, Count: 2, Passes: 1, Rate: .5}, Bucket{Second: 1, N: 1, Count: 1, Passes: 1, Rate: 1}, Bucket{Second: 2}, Bucket{Second: 3, N: 2, Count: 2, Passes: 2, Rate: 1})
		check(g, Tags{}, Bucket{N: 2, Count: 2, Value: 0, Min: 0, Max: 7}, Bucket{Second: 1, N: 1, Count: 1, Value: 100, Min: 100, Max: 100},
			Bucket{Second: 2, Value: 100, Min: 100, Max: 100}, Bucket{Second: 3, N: 3, Count: 3, Value: 201, Min: 201, Max: 301})
		check(w, sel, Bucket{N: 2, Count: 2, Avg: 3.5, P50: 0, P95: 7, P99: 7}, Bucket{Second: 1, N: 1, Count: 1, Avg: 100, P50: 100, P95: 100, P99: 100},
			Bucket{Second: 2}, Bucket{Second: 3, N: 2, Count: 2, Avg: 250, P50: 200, P95: 300, P99: 300})
	})
}

func TestCoarseStepsAreCloseToWhatIsInThem(t *testing.T) {
	last := -1
	for n := int64(0); n < 1<<40; n += 1 + n/50 {
		s := step(n)
		if s < last || math.Abs(middle(s)-float64(n)) > .008*float64(n) {
			t.Fatalf("%d is in step %d behind %d, whose middle is %v", n, s, last, middle(s))
		}
		last = s
	}
	var c coarse
	for _, n := range []int64{1000, 10, 100_000, 10} {
		c.record(n, 1)
	}
	if a, b := c.percentile(50), c.percentile(99); a != .01 || !near(b, 100, .008) {
		t.Errorf("p50 %v, p99 %v", a, b)
	}
}

// everything of a registry that can be read back.
func everything(r *Registry) string {
	var b strings.Builder
	for _, m := range r.Metrics() {
		for _, tags := range append(m.Tags(), Tags{}) {
			v := m.Select(tags)
			fmt.Fprintln(&b, m.Name, m.Kind, m.Contains, tags, v.Samples, v.Count, v.Rate, v.Passes, v.Fails, v.Value, v.Min, v.Max, v.Avg, v.Med, v.P(99), v.P(99.9))
			fmt.Fprintln(&b, m.Timeline(tags))
		}
	}
	fmt.Fprintln(&b, r.Duration())
	return b.String()
}

func TestRegistriesOfWorkersAreMergedAndNotAveraged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rnd := rand.New(rand.NewPCG(3, 4))
		whole := NewRegistry()
		parts := []*Registry{NewRegistry(), NewRegistry(), NewRegistry()}
		for range 3 * 60 {
			time.Sleep(time.Second / 6)
			for w, part := range parts {
				for _, r := range []*Registry{part, whole} {
					Builtin(r)
				}
				// The second worker is slower by far, the third does little.
				for range []int{20, 5, 1}[w] {
					v := float64(rnd.IntN(1000)*(1+w*w*10)) / 8
					tags := NewTags("step", []string{"join", "poll"}[rnd.IntN(2)])
					failed := float64(rnd.IntN(2))
					for _, r := range []*Registry{part, whole} {
						r.Lookup(HTTPReqs).With(tags).Add(1)
						r.Lookup(HTTPReqDuration).With(tags).Add(v)
						r.Lookup(HTTPReqFailed).With(tags).Add(failed)
					}
				}
				v := float64(rnd.IntN(50))
				part.Lookup(VUs).With(Tags{}).Add(v)
				// A registry that saw every worker would have them apart.
				whole.Lookup(VUs).With(NewTags("worker", fmt.Sprint(w))).Add(v)
			}
		}
		for _, r := range append(parts, whole) {
			r.Finish(30 * time.Second)
		}
		merged := NewRegistry()
		for _, part := range parts {
			data, err := part.Export()
			if err != nil {
				t.Fatal(err)
			}
			if err := merged.Merge(data); err != nil {
				t.Fatal(err)
			}
		}
		for _, tags := range []Tags{{}, NewTags("step", "join")} {
			for _, name := range []string{HTTPReqs, HTTPReqDuration, HTTPReqFailed, VUs} {
				got, want := merged.Lookup(name), whole.Lookup(name)
				a, b := got.Select(tags), want.Select(tags)
				if a.P(99) != b.P(99) || a.Med != b.Med {
					t.Errorf("%s{%s}: p99 %v, want %v", name, tags, a.P(99), b.P(99))
				}
				a.hist, b.hist = nil, nil
				a.Sum, a.Avg = math.Round(a.Sum), math.Round(a.Avg*1e6)
				b.Sum, b.Avg = math.Round(b.Sum), math.Round(b.Avg*1e6)
				if a != b {
					t.Errorf("%s{%s}:\ngot  %+v\nwant %+v", name, tags, a, b)
				}
				x, y := got.Timeline(tags), want.Timeline(tags)
				for i := range x {
					x[i].Avg = math.Round(x[i].Avg * 1e6)
					y[i].Avg = math.Round(y[i].Avg * 1e6)
				}
				if !reflect.DeepEqual(x, y) {
					t.Errorf("%s{%s}: timelines\n%v\n%v", name, tags, x, y)
				}
			}
		}
		again := NewRegistry()
		data, err := merged.Export()
		if err != nil {
			t.Fatal(err)
		}
		if err := again.Merge(data); err != nil {
			t.Fatal(err)
		}
		if a, b := everything(again), everything(merged); a != b {
			t.Errorf("sent on, it is\n%s\nnot\n%s", a, b)
		}
		totals, _ := merged.ExportTotals()
		if len(totals) >= len(data)/2 {
			t.Errorf("totals alone take %d bytes, everything %d", len(totals), len(data))
		}
	})
}

func TestAGaugeOfAWorkerThatEndsEarlyStaysAsItWas(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := NewRegistry(), NewRegistry()
		ga, gb := a.New("g", Gauge, Default).With(Tags{}), b.New("g", Gauge, Default).With(Tags{})
		ga.Add(5)
		time.Sleep(2 * time.Second)
		gb.Add(1)
		time.Sleep(time.Second)
		gb.Add(2)
		a.Finish(time.Second)
		b.Finish(3 * time.Second)
		for _, order := range [][]*Registry{{a, b}, {b, a}} {
			merged := NewRegistry()
			for _, r := range order {
				data, _ := r.Export()
				if err := merged.Merge(data); err != nil {
					t.Fatal(err)
				}
			}
			var got []float64
			for _, x := range merged.Lookup("g").Timeline(Tags{}) {
				got = append(got, x.Value)
			}
			if want := []float64{5, 5, 6, 7}; !slices.Equal(got, want) {
				t.Errorf("%v, want %v", got, want)
			}
			if d := merged.Duration(); d != 3*time.Second {
				t.Errorf("the run took %v", d)
			}
		}
	})
}

func TestWhatIsDamagedIsNotMerged(t *testing.T) {
	src := NewRegistry()
	src.New("t", Trend, Time).With(NewTags("a", "b")).Add(5)
	src.New("c", Counter, Default).With(Tags{}).Add(5)
	data, err := src.Export()
	if err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(string) string{
		"cut off":         func(s string) string { return s[:len(s)/2] },
		"version":         func(s string) string { return strings.Replace(s, `"version":1`, `"version":2`, 1) },
		"kind":            func(s string) string { return strings.Replace(s, `"trend"`, `"mood"`, 1) },
		"another kind":    func(s string) string { return strings.Replace(s, `"trend"`, `"counter"`, 1) },
		"name":            func(s string) string { return strings.Replace(s, `"name":"t"`, `"name":"a b"`, 1) },
		"distribution":    func(s string) string { return strings.Replace(s, `"hist":"`, `"hist":"AAAA`, 1) },
		"no distribution": func(s string) string { return strings.Replace(s, `"hist":"`, `"mist":"`, 1) },
		"count":           func(s string) string { return strings.Replace(s, `"count":1`, `"count":7`, 2) },
		"second":          func(s string) string { return strings.Replace(s, `"s":0`, `"s":-1`, 1) },
		"far second":      func(s string) string { return strings.Replace(s, `"s":0`, `"s":99999999`, 1) },
		"step":            func(s string) string { return strings.Replace(s, `"first":`, `"first":9`, 1) },
		"tag":             func(s string) string { return strings.Replace(s, `"a":"b"`, `"a":"\u0000"`, 1) },
	} {
		t.Run(name, func(t *testing.T) {
			bad := change(string(data))
			if bad == string(data) {
				t.Fatal("nothing was changed")
			}
			r := NewRegistry()
			if err := r.Merge([]byte(bad)); err == nil {
				t.Error("merged")
			}
			if n := len(r.Metrics()); n != 0 {
				t.Errorf("left %d metrics", n)
			}
		})
	}
}

func FuzzMerge(f *testing.F) {
	src := NewRegistry()
	src.New("t", Trend, Time).With(NewTags("a", "b")).Add(5)
	src.New("g", Gauge, Default).With(Tags{}).Add(5)
	data, err := src.Export()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(data)
	f.Fuzz(func(t *testing.T, data []byte) {
		if len(data) > 4096 {
			return
		}
		r := NewRegistry()
		if err := r.Merge(data); err != nil {
			return
		}
		everything(r)
		out, err := r.Export()
		if err != nil {
			t.Skip() // numbers that a run does not have, such as infinite sums
		}
		if !json.Valid(out) {
			t.Error("exported what is no JSON")
		}
	})
}

func TestTap(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := NewRegistry()
		s := r.New("c", Counter, Default).With(NewTags("a", "b"))
		var got []string
		r.Tap(func(m *Metric, tags Tags, v float64, at time.Time) {
			got = append(got, fmt.Sprint(m.Name, " ", tags, " ", v, " ", at.Sub(r.Started())))
		})
		time.Sleep(time.Second)
		s.Add(3)
		r.Tap(nil)
		s.Add(4)
		if want := []string{"c a:b 3 1s"}; !slices.Equal(got, want) {
			t.Errorf("%q", got)
		}
	})
}

func BenchmarkAdd(b *testing.B) {
	for _, kind := range []Kind{Counter, Rate, Trend} {
		b.Run(kind.String(), func(b *testing.B) {
			s := NewRegistry().New("m", kind, Time).With(NewTags("step", "join"))
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				v := 0.5
				for pb.Next() {
					v += .01
					if v > 300 {
						v = .5
					}
					s.Add(v)
				}
			})
		})
	}
}
