package queue

import (
	"encoding/json"
	"math"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestRateIsReadAsItIsWritten(t *testing.T) {
	for _, c := range []struct {
		text    string
		want    Rate
		perHour int64
	}{
		{"600/m", Rate{600, PerMinute}, 36_000},
		{"10/s", Rate{10, PerSecond}, 36_000},
		{"1/h", Rate{1, PerHour}, 1},
		{"1000000/s", Rate{1_000_000, PerSecond}, 3_600_000_000},
		{"60000000/m", Rate{60_000_000, PerMinute}, 3_600_000_000},
		{"none", NoRate, -1},
	} {
		r, err := ParseRate(c.text)
		if err != nil || r != c.want || r.PerHour() != c.perHour || r.String() != c.text {
			t.Errorf("%s: got %#v (%d an hour, %s), %v", c.text, r, r.PerHour(), r, err)
		}
	}
	for text, want := range map[string]string{
		"":                       "want N/s",
		"600":                    "want N/s",
		"600/":                   "want N/s",
		"600/d":                  "want N/s",
		"600/min":                "want N/s",
		"/s":                     "want N/s",
		"+1/s":                   "want N/s",
		"1.5/s":                  "want N/s",
		" 1/s":                   "want N/s",
		"1/s ":                   "want N/s",
		"None":                   "want N/s",
		"99999999999999999999/s": "want N/s",
		"0":                      "say mode: hold",
		"0/m":                    "say mode: hold",
		"-1/s":                   "is negative",
		"1000001/s":              "over the most",
		"60000001/m":             "over the most",
		"3600000001/h":           "over the most",
		"9223372036854775807/s":  "over the most",
	} {
		if r, err := ParseRate(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: got %v, %v, want an error with %q", text, r, err, want)
		}
	}
}

func TestSpansHaveAUnitAndNoSign(t *testing.T) {
	for text, want := range map[string]time.Duration{
		"10m": 10 * time.Minute, "90s": 90 * time.Second, "1h30m": 90 * time.Minute, "500ms": 500 * time.Millisecond,
		"0s": 0, "1.5s": 1500 * time.Millisecond,
	} {
		if d, err := ParseSpan(text); err != nil || d != want {
			t.Errorf("%q: got %s, %v", text, d, err)
		}
	}
	for _, text := range []string{"", "0", "10", "-1s", "-0s", "+1s", "7d", "10 m", "ten", "1e3s"} {
		if d, err := ParseSpan(text); err == nil || !strings.Contains(err.Error(), "want a number with a unit") {
			t.Errorf("%q: got %s, %v", text, d, err)
		}
	}
}

func TestSpanIsWrittenAsInTheFile(t *testing.T) {
	for d, want := range map[time.Duration]string{
		0: "0s", 10 * time.Minute: "10m", time.Hour: "1h", 20 * time.Hour: "20h", 70 * time.Minute: "1h10m", 90 * time.Second: "1m30s",
		time.Hour + time.Second: "1h0m1s", 1500 * time.Millisecond: "1.5s", 250 * time.Millisecond: "250ms",
	} {
		if got := Span(d); got != want {
			t.Errorf("%d: got %s, want %s", d, got, want)
		}
	}
}

func TestCounts(t *testing.T) {
	for _, c := range []struct {
		v      any
		orNone bool
		want   int64
	}{
		{"300", true, 300}, {json.Number("300"), true, 300}, {300, false, 300}, {"none", true, 0}, {"007", false, 7},
	} {
		if n, err := ParseCount(c.v, c.orNone); err != nil || n != c.want {
			t.Errorf("%v: got %d, %v", c.v, n, err)
		}
	}
	for _, c := range []struct {
		v      any
		orNone bool
		want   string
	}{
		{"none", false, "want a whole number"}, {"many", true, "want a whole number or none"}, {"", true, "want a whole"},
		{"+3", true, "want a whole"}, {json.Number("1e3"), true, "want a whole"}, {1.5, true, "want a whole"}, {true, true, "want a whole"},
		{nil, true, "want a whole"}, {"0", true, "say mode: hold"}, {json.Number("0"), true, "say mode: hold"},
		{"-3", true, "is negative"}, {"9223372036854775808", true, "want a whole"},
	} {
		if n, err := ParseCount(c.v, c.orNone); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%v: got %d, %v, want an error with %q", c.v, n, err, c.want)
		}
	}
}

func TestModesAreReadAsTheyAreWritten(t *testing.T) {
	for _, m := range []Mode{ModeAuto, ModeHold, ModeOpen, ModeClosed} {
		if got, err := ParseMode(m.String()); err != nil || got != m {
			t.Errorf("%s: got %v, %v", m, got, err)
		}
	}
	if _, err := ParseMode("Auto"); err == nil {
		t.Error("Auto is taken for a mode")
	}
}

func TestAnOperatorIsToldEverythingWrongAtOnce(t *testing.T) {
	check := func(name string, change func(*Settings), want ...string) {
		t.Helper()
		s := Defaults()
		s.Rate = Rate{600, PerMinute}
		change(&s)
		var got []string
		for _, p := range s.Check() {
			got = append(got, p.Error())
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s: got\n\t%s\nwant\n\t%s", name, strings.Join(got, "\n\t"), strings.Join(want, "\n\t"))
		}
	}
	check("a room with nothing but its rate is fine", func(*Settings) {})
	check("no rate", func(s *Settings) { s.Rate = Rate{} }, "rate: a room must have a rate; say none for no limit")
	check("a burst as small as 40 ms of the rate", func(s *Settings) { s.Rate, s.Burst = Rate{1000, PerSecond}, 40 })
	check("a smaller one", func(s *Settings) { s.Rate, s.Burst = Rate{1000, PerSecond}, 39 },
		"burst: 39 is under 40 ms of the rate 1000/s, which it would throttle: use at least 40")
	check("one that is a fraction too small", func(s *Settings) { s.Rate, s.Burst = Rate{1001, PerSecond}, 40 },
		"burst: 40 is under 40 ms of the rate 1001/s, which it would throttle: use at least 41")
	check("a burst without a rate", func(s *Settings) { s.Rate, s.Burst = NoRate, 5 }, "burst: has no meaning with rate none")
	check("counts out of range", func(s *Settings) {
		s.Burst, s.MaxActive, s.MaxWaiting = -1, -2, math.MaxInt32+1
	}, "burst: -1 is negative", "max_active: -2 is not between 1 and 2147483647", "max_waiting: 2147483648 is not between 1 and 2147483647")
	check("times out of range", func(s *Settings) {
		s.Session, s.MaxSession, s.ClaimWithin, s.KeepPlace = 900*time.Millisecond, 900*time.Millisecond, 900*time.Millisecond, 900*time.Millisecond
	},
		"session: 900ms is not between 1s and 24h",
		"max_session: 900ms is not between 1s and 720h",
		"claim_within: 900ms is not between 1s and 1h",
		"keep_place: 900ms is not between 1s and 168h")
	check("polls the wrong way round", func(s *Settings) { s.PollMin, s.PollMax = 20*time.Second, 10*time.Second },
		"poll.max: 10s is below poll.min 20s")
	check("a long message", func(s *Settings) { s.Message = strings.Repeat("x", 2001) }, "message: 2001 bytes are more than 2000")
}

func TestBurstFollowsTheRate(t *testing.T) {
	for _, c := range []struct {
		rate  Rate
		burst int64
		want  int64
	}{
		{Rate{600, PerMinute}, 0, 10}, {Rate{1, PerHour}, 0, 1}, {Rate{90, PerMinute}, 0, 1}, {Rate{600, PerMinute}, 3, 3}, {NoRate, 0, 0},
	} {
		s := Settings{Rate: c.rate, Burst: c.burst}
		if got := s.EffectiveBurst(); got != c.want {
			t.Errorf("rate %s, burst %d: got %d, want %d", c.rate, c.burst, got, c.want)
		}
	}
}

func TestALiveSettingThatWasReadCanBeSetAgain(t *testing.T) {
	values := map[string][]any{
		"rate":        {"600/m", "none"},
		"burst":       {json.Number("40")},
		"max_active":  {json.Number("300"), "none"},
		"max_waiting": {json.Number("80000"), "none"},
		"session":     {"5m", "1h30m"},
		"mode":        {"hold", "closed"},
		"message":     {"", "sold out soon"},
	}
	for _, key := range LiveKeys() {
		for _, v := range values[key] {
			s := Defaults()
			s.Rate = Rate{100, PerSecond}
			if err := s.Set(key, v); err != nil {
				t.Errorf("%s %v: %v", key, v, err)
				continue
			}
			raw, err := json.Marshal(s.Get(key))
			if err != nil {
				t.Fatal(err)
			}
			again := Defaults()
			again.Rate = Rate{100, PerSecond}
			again, err = Overrides{Keys: map[string]Override{key: {Value: raw}}}.Apply(again)
			if err != nil || again != s {
				t.Errorf("%s %v: written as %s, read as %+v, %v, want %+v", key, v, raw, again, err, s)
			}
		}
	}
}

func TestALiveSettingIsRefusedByItsName(t *testing.T) {
	for _, c := range []struct {
		key   string
		value any
		want  string
	}{
		{"rate", json.Number("600"), "rate: 600: want a string"},
		{"rate", "600", `rate: rate "600": want N/s, N/m, N/h or none, such as 600/m`},
		{"max_active", json.Number("0"), "max_active: 0 lets nobody in: say mode: hold"},
		{"max_waiting", json.Number("0"), "max_waiting: 0 lets nobody join: say mode: closed"},
		{"session", "0", `session: duration "0": want a number with a unit, such as 90s or 10m`},
		{"poll", "2s", "poll: cannot be changed while the room runs; what can: rate, burst, max_active, max_waiting, session, mode, message"},
	} {
		s := Defaults()
		if err := s.Set(c.key, c.value); err == nil || err.Error() != c.want {
			t.Errorf("%s %v: got %v, want %s", c.key, c.value, err, c.want)
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{"600/m", "none", "0/s", "10m", "1h0m1s", "300", "-1", "9223372036854775807/h"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if r, err := ParseRate(s); err == nil {
			if again, err := ParseRate(r.String()); err != nil || again != r || r.PerHour() == 0 {
				t.Errorf("rate %q: %v is written as %q and read as %v, %v", s, r, r.String(), again, err)
			}
		}
		if d, err := ParseSpan(s); err == nil {
			if again, err := ParseSpan(Span(d)); err != nil || again != d || d < 0 {
				t.Errorf("span %q: %d is written as %q and read as %d, %v", s, d, Span(d), again, err)
			}
		}
		if n, err := ParseCount(s, true); err == nil && (n < 0 || n == 0 && s != "none") {
			t.Errorf("count %q: %d", s, n)
		}
	})
}
