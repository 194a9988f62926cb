package executor

import (
	"fmt"
	"math/big"
	"reflect"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"
)

const ms = time.Millisecond

func dues(a *Arrivals) []time.Duration {
	var out []time.Duration
	for i := range a.Total() {
		out = append(out, a.At(i))
	}
	return out
}

func TestArrivals(t *testing.T) {
	for _, c := range []struct {
		name string
		s    Scenario
		want []time.Duration
	}{
		{"a constant rate begins at once and has none at the end",
			Scenario{Kind: ConstantArrivalRate, Rate: 4, TimeUnit: time.Second, Duration: time.Second},
			[]time.Duration{0, 250 * ms, 500 * ms, 750 * ms}},
		{"a rate that is no whole fraction of a second does not drift",
			Scenario{Kind: ConstantArrivalRate, Rate: 3, TimeUnit: time.Second, Duration: 2 * time.Second},
			[]time.Duration{0, 333333333, 666666666, time.Second, 1333333333, 1666666666}},
		{"a rate is per time unit",
			Scenario{Kind: ConstantArrivalRate, Rate: 2, TimeUnit: time.Minute, Duration: time.Minute + time.Second},
			[]time.Duration{0, 30 * time.Second, time.Minute}},
		{"a ramp from nothing comes closer and closer",
			Scenario{Kind: RampingArrivalRate, TimeUnit: time.Second, Stages: []Stage{{4 * time.Second, 2}}},
			[]time.Duration{0, 2 * time.Second, 2828427124, 3464101615}},
		{"a ramp to nothing is its mirror image",
			Scenario{Kind: RampingArrivalRate, TimeUnit: time.Second, StartRate: 2, Stages: []Stage{{4 * time.Second, 0}}},
			[]time.Duration{0, 4*time.Second - 3464101616, 4*time.Second - 2828427125, 2 * time.Second}},
		{"nobody is due while the rate is nothing",
			Scenario{Kind: RampingArrivalRate, TimeUnit: time.Second, Stages: []Stage{{time.Hour, 0}, {0, 2}, {time.Second, 2}}},
			[]time.Duration{time.Hour, time.Hour + 500*ms}},
		{"a pause keeps what was begun",
			Scenario{Kind: RampingArrivalRate, TimeUnit: time.Second, StartRate: 1, Stages: []Stage{
				{1500 * ms, 1}, {0, 0}, {10 * time.Second, 0}, {0, 1}, {1500 * ms, 1}}},
			[]time.Duration{0, time.Second, 12 * time.Second}},
		{"who is due just when a pause begins is due when it ends",
			Scenario{Kind: RampingArrivalRate, TimeUnit: time.Second, StartRate: 1, Stages: []Stage{
				{time.Second, 1}, {0, 0}, {10 * time.Second, 0}, {0, 1}, {time.Second, 1}}},
			[]time.Duration{0, 11 * time.Second}},
		{"numbers too large for 64 bits are none",
			Scenario{Kind: RampingArrivalRate, TimeUnit: time.Hour, StartRate: 1_000_000, Stages: []Stage{{240 * time.Hour, 1_000_000}, {0, 0}, {time.Hour, 0}, {0, 1}, {time.Hour, 1}}},
			nil},
		{"a rate of nothing has no arrivals", Scenario{Kind: RampingArrivalRate, TimeUnit: time.Second, Stages: []Stage{{time.Hour, 0}}}, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			a := NewArrivals(&c.s)
			if a.Total() > 1000 {
				if first, last := a.At(10), a.At(a.Total()-1); a.Total() != 240_000_001 || first != 36*ms || last != 241*time.Hour {
					t.Errorf("%d arrivals, number 10 at %v, the last at %v", a.Total(), first, last)
				}
				return
			}
			if got := dues(a); !reflect.DeepEqual(got, c.want) {
				t.Errorf("got %v\nwant %v", got, c.want)
			}
		})
	}
	t.Run("80,000 visitors in ten seconds are 80,000, the last just before the end", func(t *testing.T) {
		a := NewArrivals(&Scenario{Kind: ConstantArrivalRate, Rate: 8000, TimeUnit: time.Second, Duration: 10 * time.Second})
		if a.Total() != 80_000 || a.At(79_999) != 10*time.Second-125*time.Microsecond {
			t.Errorf("%d, the last at %v", a.Total(), a.At(a.Total()-1))
		}
	})
}

// A doubled area, times the length of its line, in big numbers.
func exactly(l line, x int64) *big.Int {
	b := func(n int64) *big.Int { return big.NewInt(n) }
	x = min(max(0, x), int64(l.length))
	sum := new(big.Int).Mul(b(2*int64(l.from)), b(x))
	sum.Mul(sum, b(int64(l.length)))
	bent := new(big.Int).Mul(b(int64(l.to)-int64(l.from)), b(x))
	return sum.Add(sum, bent.Mul(bent, b(x)))
}

func TestEveryArrivalIsDueToTheNanosecond(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := Scenario{Kind: RampingArrivalRate, TimeUnit: rapid.SampledFrom([]time.Duration{ms, time.Second, time.Minute, 7777777}).Draw(t, "unit")}
		s.StartRate = rapid.Int64Range(0, 1_000_000_000).Draw(t, "start")
		for range rapid.IntRange(1, 5).Draw(t, "stages") {
			s.Stages = append(s.Stages, Stage{
				rapid.OneOf(rapid.Just(time.Duration(0)), rapid.Custom(func(t *rapid.T) time.Duration {
					return time.Duration(rapid.Int64Range(0, int64(48*time.Hour)).Draw(t, "length"))
				})).Draw(t, "duration"),
				rapid.Int64Range(0, 1_000_000_000).Draw(t, "target")})
		}
		a := NewArrivals(&s)
		if a.Total() == 0 {
			return
		}
		at := rapid.SliceOfN(rapid.Int64Range(0, a.Total()-1), 1, 50).Draw(t, "arrivals")
		slices.Sort(at)
		checkDue(t, &s, append([]int64{0}, append(at, a.Total()-1)...))
	})
}

func TestAreasThatDoNotFit64BitsAreExactToo(t *testing.T) {
	s := Scenario{Kind: RampingArrivalRate, TimeUnit: time.Minute, StartRate: 123_456_789}
	for i := range 20 {
		s.Stages = append(s.Stages, Stage{time.Duration(i%7+1) * 1234567891011, int64(i%5) * 200_000_003})
	}
	total := NewArrivals(&s).Total()
	var at []int64
	for i := range int64(1000) {
		at = append(at, i*(total/1000)+i*i)
	}
	checkDue(t, &s, at)
}

// checkDue compares with sums in big numbers.
func checkDue(t interface{ Fatalf(string, ...any) }, s *Scenario, arrivals []int64) {
	a := NewArrivals(s)
	var lines []line
	var bases []*big.Int
	base, begin, from := big.NewInt(0), time.Duration(0), s.StartRate
	for _, st := range s.Stages {
		lines = append(lines, line{begin: begin, length: st.Duration, from: uint64(from), to: uint64(st.Target)})
		bases = append(bases, new(big.Int).Set(base))
		area := new(big.Int).Mul(big.NewInt(from+st.Target), big.NewInt(int64(st.Duration)))
		base.Add(base, area)
		begin += st.Duration
		from = st.Target
	}
	var before time.Duration
	for _, i := range arrivals {
		due := a.At(i)
		if due < before || due > s.Length() {
			t.Fatalf("arrival %d is due at %v of %v, one before it at %v", i, due, s.Length(), before)
		}
		before = due
		y := new(big.Int).Mul(big.NewInt(i), big.NewInt(2*int64(s.TimeUnit)))
		found := false
		for n, l := range lines {
			x := int64(due - l.begin)
			if x < 0 || x > int64(l.length) || l.length == 0 {
				continue
			}
			want := new(big.Int).Sub(y, bases[n])
			want.Mul(want, big.NewInt(int64(l.length)))
			if exactly(l, x-1).Cmp(want) <= 0 && exactly(l, x+2).Cmp(want) >= 0 {
				found = true
			}
		}
		if !found {
			t.Fatalf("arrival %d is not due at %v", i, due)
		}
	}
}

func TestRamp(t *testing.T) {
	for _, c := range []struct {
		name string
		s    Scenario
		want string
	}{
		{"users come evenly and the target is reached with the stage's end",
			Scenario{Stages: []Stage{{3 * time.Second, 3}}},
			"1s+0 2s+1 3s+2 "},
		{"those that there are at the start come at once, the last to come goes first",
			Scenario{StartVUs: 2, Stages: []Stage{{4 * time.Second, 0}}},
			"0s+0 0s+1 2s-1 4s-0 "},
		{"a stage without length is a jump",
			Scenario{StartVUs: 1, Stages: []Stage{{time.Second, 1}, {0, 3}, {time.Second, 3}, {0, 0}}},
			"0s+0 1s+1 1s+2 2s-2 2s-1 2s-0 "},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.s.Kind = RampingVUs
			got := ""
			for step := range Ramp(&c.s) {
				sign := "-"
				if step.Up {
					sign = "+"
				}
				got += fmt.Sprint(step.At, sign, step.Slot, " ")
			}
			if got != c.want {
				t.Errorf("got %s, want %s", got, c.want)
			}
		})
	}
}

func TestSegmentsShareARunWithoutRestAndWithoutOverlap(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		// Borders with denominators of their own: 0, 1/3, 1/2, 4/5, 1.
		type border struct{ n, d int64 }
		borders := []border{{0, 1}, {1, 1}}
		for range rapid.IntRange(0, 6).Draw(t, "cuts") {
			d := rapid.Int64Range(2, 1000).Draw(t, "below")
			borders = append(borders, border{rapid.Int64Range(1, d-1).Draw(t, "above"), d})
		}
		slices.SortFunc(borders, func(a, b border) int { return int(a.n*b.d - b.n*a.d) })
		borders = slices.CompactFunc(borders, func(a, b border) bool { return a.n*b.d == b.n*a.d })
		var segments []Segment
		for i := range len(borders) - 1 {
			a, b := borders[i], borders[i+1]
			g, err := ParseSegment(fmt.Sprintf("%d/%d:%d/%d", a.n, a.d, b.n, b.d))
			if err != nil {
				t.Fatal(err)
			}
			again, err := ParseSegment(g.String())
			if err != nil || again != g {
				t.Fatalf("%+v is written %s and read %+v, %v", g, g, again, err)
			}
			parts, err := g.Split(rapid.IntRange(1, 4).Draw(t, "workers"))
			if err != nil {
				parts = []Segment{g}
			}
			segments = append(segments, parts...)
		}
		first := rapid.Int64Range(0, 1<<40).Draw(t, "slot")
		for slot := first; slot < first+200; slot++ {
			owners := 0
			for _, g := range segments {
				if g.Owns(slot) {
					owners++
				}
			}
			if owners != 1 {
				t.Fatalf("slot %d is of %d segments among %v", slot, owners, segments)
			}
		}
	})
}

func TestSegments(t *testing.T) {
	t.Run("equal segments take turns", func(t *testing.T) {
		parts, _ := Segment{}.Split(4)
		for n := int64(4); n < 100; n += 4 {
			for _, g := range parts {
				if got := len(g.Slots(n)); got != int(n/4) {
					t.Errorf("%v has %d of %d", g, got, n)
				}
			}
		}
	})
	t.Run("any segment has its share, give or take a few", func(t *testing.T) {
		for n := range 20 {
			parts, _ := Segment{}.Split(n + 1)
			for _, g := range parts {
				if got, want := len(g.Slots(80_000)), 80_000/(n+1); got < want-8 || got > want+8 {
					t.Errorf("%v has %d, not about %d", g, got, want)
				}
			}
		}
	})
	for _, c := range []struct{ in, want string }{
		{"1/4", "0:1/4"}, {"1/4:1/2", "1/4:1/2"}, {"2/4:1", "1/2:1"}, {"0:1", "0:1"}, {"1", "0:1"},
	} {
		if g, err := ParseSegment(c.in); err != nil || g.String() != c.want {
			t.Errorf("%s is %v, %v, want %s", c.in, g, err, c.want)
		}
	}
	for _, bad := range []string{"", "0", "1/2:1/2", "1/2:1/4", "2", "1/0", "-1/2", "1/2:3/2", "a", "0.5", ":", "1/9999999"} {
		if g, err := ParseSegment(bad); err == nil {
			t.Errorf("%q is a segment: %v", bad, g)
		}
	}
}
