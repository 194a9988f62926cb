package queue

import (
	"math"
	"math/big"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestCallable(t *testing.T) {
	const week = 7 * 24 * time.Hour
	perSecond := func(n int64) Rate { return Rate{n, PerSecond} }
	for _, row := range []struct {
		why            string
		rate           Rate
		burst          int64
		credit         float64 // visitors
		quiet          time.Duration
		cap            int64
		called, active int64
		mode           Mode
		want           int64
	}{
		{why: "a full bucket lets a burst in at once", rate: perSecond(1), burst: 5, credit: 5, want: 5},
		{why: "an empty one lets nobody in", rate: perSecond(1), burst: 5, want: 0},
		{why: "nine tenths of a visitor are nobody", rate: perSecond(1), burst: 5, credit: 0.9, want: 0},
		{why: "a millisecond before the next is earned it is nobody", rate: perSecond(1), burst: 5, quiet: 999 * time.Millisecond, want: 0},
		{why: "at the millisecond it is one", rate: perSecond(1), burst: 5, quiet: time.Second, want: 1},
		{why: "what was left over counts", rate: perSecond(1), burst: 5, credit: 0.5, quiet: 500 * time.Millisecond, want: 1},
		{why: "600 a minute are ten a second", rate: Rate{600, PerMinute}, burst: 50, quiet: time.Second, want: 10},
		{why: "one an hour takes the hour", rate: Rate{1, PerHour}, burst: 1, quiet: time.Hour - time.Millisecond, want: 0},
		{why: "one an hour comes after the hour", rate: Rate{1, PerHour}, burst: 1, quiet: time.Hour, want: 1},
		{why: "seven an hour lose nothing to rounding", rate: Rate{7, PerHour}, burst: 10, quiet: 3 * time.Hour / 7, want: 2},
		{why: "and get the third a millisecond later", rate: Rate{7, PerHour}, burst: 10, quiet: 3*time.Hour/7 + time.Millisecond, want: 3},
		{why: "a quiet hour earns no more than a burst", rate: perSecond(10), burst: 15, quiet: time.Hour, want: 15},
		{why: "the highest rate through the longest quiet does not overflow", rate: perSecond(1_000_000), burst: maxBurst, quiet: 52 * week, want: maxBurst},
		{why: "nor through a millisecond", rate: perSecond(1_000_000), burst: maxBurst, quiet: time.Millisecond, want: 1000},
		{why: "a burst left out is a second's worth", rate: perSecond(30), credit: 30, want: 30},
		{why: "but at least one visitor", rate: Rate{1, PerHour}, credit: 1, want: 1},
		{why: "a debt is nobody, not less", rate: perSecond(1), burst: 5, credit: -3, want: 0},
		{why: "a debt is paid off first", rate: perSecond(1), burst: 5, credit: -3, quiet: 5 * time.Second, want: 2},
		{why: "without a rate and a cap there is no limit", rate: NoRate, want: math.MaxInt64},
		{why: "without a rate the cap is the limit", rate: NoRate, cap: 20, called: 3, active: 4, want: 13},
		{why: "the called count as the active do", rate: NoRate, cap: 5, called: 5, want: 0},
		{why: "the cap limits what credit allows", rate: perSecond(1), burst: 5, credit: 5, cap: 10, active: 8, want: 2},
		{why: "credit limits what the cap allows", rate: perSecond(1), burst: 5, credit: 5, cap: 10, active: 2, want: 5},
		{why: "a cap lowered below what is inside lets nobody in", rate: NoRate, cap: 5, active: 9, want: 0},
		{why: "hold calls nobody", rate: NoRate, mode: ModeHold, want: 0},
		{why: "open calls nobody: they come by themselves", rate: NoRate, mode: ModeOpen, want: 0},
		{why: "closed calls nobody", rate: NoRate, mode: ModeClosed, want: 0},
	} {
		t.Run(row.why, func(t *testing.T) {
			s := Settings{Rate: row.rate, Burst: row.burst, MaxActive: row.cap, Mode: row.mode}
			const start = Time(1_782_900_000_123_456)
			c := NewCredit(start, &s, false)
			c.Units = int64(row.credit * visitorUnits)
			c = c.Settle(start.Add(row.quiet), &s)
			if got := c.Callable(&s, row.called, row.active); got != row.want {
				t.Errorf("%d may be called, want %d (%+v)", got, row.want, c)
			}
		})
	}
}

func TestCreditSettles(t *testing.T) {
	slow := Settings{Rate: Rate{1, PerSecond}, Burst: 10}
	fast := Settings{Rate: Rate{100, PerSecond}, Burst: 20}
	none := Settings{Rate: NoRate}
	type step struct {
		after time.Duration
		s     *Settings
	}
	for _, row := range []struct {
		why   string
		full  bool
		first *Settings
		spend int64
		steps []step
		want  float64 // visitors
	}{
		{"a room starts with a full bucket", true, &slow, 0, nil, 10},
		{"after a loss it starts with an empty one", false, &slow, 0, nil, 0},
		{"spending takes what was spent", true, &slow, 4, nil, 6},
		{"ten settles in a second earn what one does", false, &slow, 0, []step{
			{100 * time.Millisecond, &slow}, {100 * time.Millisecond, &slow}, {300 * time.Millisecond, &slow}, {500 * time.Millisecond, &slow}}, 1},
		{"time before a change counts at the old rate", true, &slow, 10, []step{{2 * time.Second, &fast}}, 2},
		{"time after it at the new one", true, &slow, 10, []step{{2 * time.Second, &fast}, {50 * time.Millisecond, &fast}}, 7},
		{"a higher burst gives nothing by itself", true, &slow, 0, []step{{0, &fast}}, 10},
		{"a lower burst cuts", true, &fast, 0, []step{{0, &slow}}, 10},
		{"a limit where there was none starts empty", true, &none, 5, []step{{time.Hour, &slow}}, 0},
		{"a limit taken away and put back starts empty", true, &slow, 0, []step{{time.Second, &none}, {time.Hour, &slow}}, 0},
		{"a clock that goes back earns nothing, twice", true, &slow, 10, []step{{2 * time.Second, &slow}, {-time.Hour, &slow}, {time.Hour, &slow}}, 2},
		{"microseconds that make no millisecond earn nothing yet", true, &fast, 20, []step{{500 * time.Microsecond, &fast}}, 0},
		{"and are not lost", true, &fast, 20, []step{{500 * time.Microsecond, &fast}, {500 * time.Microsecond, &fast}}, 0.1},
	} {
		t.Run(row.why, func(t *testing.T) {
			now := Time(1_782_900_000_000_000)
			c := NewCredit(now, row.first, row.full).Spend(row.spend)
			for _, step := range row.steps {
				now = now.Add(step.after)
				c = c.Settle(now, step.s)
			}
			if got := float64(c.Units) / visitorUnits; got != row.want {
				t.Errorf("credit for %v visitors, want %v", got, row.want)
			}
		})
	}
}

// The arithmetic stays within a double, and is what it would be without limits to
// the size of numbers.
func TestCreditIsExact(t *testing.T) {
	settings := rapid.Custom(func(t *rapid.T) *Settings {
		s := &Settings{Rate: NoRate}
		if rapid.IntRange(0, 9).Draw(t, "has a rate") > 0 {
			s.Rate = Rate{rapid.OneOf(rapid.Int64Range(1, 100), rapid.Int64Range(1, 1_000_000)).Draw(t, "rate"),
				rapid.SampledFrom([]Unit{PerSecond, PerMinute, PerHour}).Draw(t, "per")}
			s.Burst = rapid.OneOf(rapid.Just(int64(0)), rapid.Int64Range(1, 100), rapid.Int64Range(1, maxBurst)).Draw(t, "burst")
		}
		return s
	})
	rapid.Check(t, func(t *rapid.T) {
		s := settings.Draw(t, "settings")
		now := Time(rapid.Int64Range(1, 1<<52).Draw(t, "start"))
		full := rapid.Bool().Draw(t, "full")
		c := NewCredit(now, s, full)

		unit := big.NewInt(visitorUnits)
		worth := func(visitors int64) *big.Int { return new(big.Int).Mul(big.NewInt(visitors), unit) }
		units, at := new(big.Int), now.Millis()
		if full {
			units = worth(s.EffectiveBurst())
		}
		for range rapid.IntRange(1, 30).Draw(t, "steps") {
			next := s
			if rapid.IntRange(0, 4).Draw(t, "change") == 4 {
				next = settings.Draw(t, "settings")
			}
			now += Time(rapid.OneOf(rapid.Int64Range(0, 2000), rapid.Int64Range(-10_000_000, 100_000_000), rapid.Int64Range(0, 1<<45)).Draw(t, "passes"))
			if gone := now.Millis() - at; gone > 0 {
				if s.Rate.PerHour() > 0 {
					units.Add(units, new(big.Int).Mul(big.NewInt(gone), big.NewInt(s.Rate.PerHour())))
					if most := worth(s.EffectiveBurst()); units.Cmp(most) > 0 {
						units = most
					}
				}
				at = now.Millis()
			}
			if most := worth(next.EffectiveBurst()); units.Cmp(most) > 0 {
				units = most
			}
			c, s = c.Settle(now, next), next

			n := c.Callable(s, 0, 0)
			if s.Rate.PerHour() > 0 {
				want := new(big.Int).Div(units, unit).Int64() // rounds down, below zero too
				if n != max(want, 0) {
					t.Fatalf("%d may be called, want %d", n, want)
				}
				spent := rapid.Int64Range(0, n).Draw(t, "called")
				c = c.Spend(spent)
				units.Sub(units, worth(spent))
			}
			if c.Units != units.Int64() || !units.IsInt64() {
				t.Fatalf("credit %d, want %s", c.Units, units)
			}
			if c.Units >= 1<<53 || c.Burst*visitorUnits >= 1<<53 {
				t.Fatalf("credit %d is not exact in a double", c.Units)
			}
		}
	})
}

// Whatever is called by it, no window holds more than rate and burst allow.
func TestNoWindowHoldsMoreThanRateAndBurst(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := Settings{Rate: Rate{rapid.Int64Range(1, 2000).Draw(t, "rate"), rapid.SampledFrom([]Unit{PerSecond, PerMinute, PerHour}).Draw(t, "per")},
			Burst: rapid.Int64Range(1, 20).Draw(t, "burst")}
		now := Time(1_782_900_000_000_000)
		c := NewCredit(now, &s, true)
		var stamps []int64
		for range rapid.IntRange(1, 40).Draw(t, "ticks") {
			now += Time(rapid.OneOf(rapid.Int64Range(0, 3000), rapid.Int64Range(0, 5_000_000)).Draw(t, "passes"))
			c = c.Settle(now, &s)
			n := c.Callable(&s, 0, 0)
			c = c.Spend(n)
			for range n {
				stamps = append(stamps, now.Millis())
			}
		}
		for i := range stamps {
			for j := i; j < len(stamps); j++ {
				if calls, ms := int64(j-i+1), stamps[j]-stamps[i]; (calls-s.Burst)*visitorUnits > ms*s.Rate.PerHour() {
					t.Fatalf("%d calls in %d ms", calls, ms)
				}
			}
		}
	})
}
