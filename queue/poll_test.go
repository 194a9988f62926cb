package queue

import (
	"math"
	"math/rand/v2"
	"testing"
	"time"
)

func TestVisitorsAskAgainWithinTheLimitsOfTheRoom(t *testing.T) {
	for _, limits := range [][2]time.Duration{
		{2 * time.Second, 30 * time.Second},
		{500 * time.Millisecond, time.Second},
		{5 * time.Second, 5 * time.Second},
		{time.Minute, 10 * time.Minute},
	} {
		s := Settings{PollMin: limits[0], PollMax: limits[1]}
		for _, turn := range []time.Duration{0, time.Millisecond, time.Second, 3 * time.Second, time.Minute, time.Hour, 24 * time.Hour} {
			for _, waiting := range []int64{0, 1, 9000} {
				for _, chance := range []float64{0, 0.3, math.Nextafter(1, 0)} {
					if d := PollAfter(turn, waiting, &s, chance); d < s.PollMin || d > s.PollMax {
						t.Errorf("within %s and %s, turn in %s, %d waiting: asks again after %s", s.PollMin, s.PollMax, turn, waiting, d)
					}
				}
			}
		}
	}
}

func TestVisitorsAskAgainWhenHalfOfTheirWaitIsOver(t *testing.T) {
	s := Defaults()
	for _, turn := range []time.Duration{5 * time.Second, 20 * time.Second, 59 * time.Second} {
		if d := PollAfter(turn, 100, &s, 1); d != turn/2 {
			t.Errorf("turn in %s: asks again after %s at the latest, want half of it", turn, d)
		}
	}
}

func TestTenMillionWhoWaitAskTwentyThousandTimesASecond(t *testing.T) {
	s := Defaults()
	tests := []struct {
		waiting   int64
		low, high time.Duration
	}{
		{600_000, 30 * time.Second, 36 * time.Second}, // where poll.max and the budget meet
		{2_000_000, 100 * time.Second, 120 * time.Second},
		{10_000_000, 500 * time.Second, 600 * time.Second},
		{1 << 33, 429496 * time.Second, 515396 * time.Second},
	}
	for _, c := range tests {
		rate := 0.0
		for i := range 1000 {
			d := PollAfter(0, c.waiting, &s, float64(i)/1000)
			if far := PollAfter(2*c.high, c.waiting, &s, float64(i)/1000); far != d {
				t.Fatalf("%d waiting: asks again after %s, and %s when the turn is known", c.waiting, d, far)
			}
			if d < c.low || d > c.high {
				t.Fatalf("%d waiting: asks again after %s, want %s to %s", c.waiting, d, c.low, c.high)
			}
			rate += float64(c.waiting) / 1000 / d.Seconds()
		}
		if rate > pollBudget || rate < pollBudget*0.85 {
			t.Errorf("%d waiting ask %.0f times a second", c.waiting, rate)
		}
	}
}

func TestNobodyNearTheFrontIsSentAwayPastTheirTurn(t *testing.T) {
	s := Defaults()
	for _, turn := range []time.Duration{time.Second, 4 * time.Second, time.Minute, 10 * time.Minute} {
		if d := PollAfter(turn, 10_000_000, &s, 1); d > max(turn/2, s.PollMin+s.PollMin/10) {
			t.Errorf("10,000,000 waiting, turn in %s: asks again after %s", turn, d)
		}
	}
}

func TestVisitorsWhoCameTogetherDoNotStayTogether(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	s := Defaults()
	for _, waiting := range []int64{10_000, 10_000_000} {
		at := make([]time.Duration, 10_000)
		for range 6 { // polls
			for i := range at {
				at[i] += PollAfter(time.Hour, waiting, &s, rng.Float64())
			}
		}
		mean := PollAfter(time.Hour, waiting, &s, 0.5)
		buckets := make(map[time.Duration]int)
		most := 0
		for _, d := range at {
			buckets[d/(mean/10)]++
			most = max(most, buckets[d/(mean/10)])
		}
		if most > len(at)/2 {
			t.Errorf("%d waiting: after six polls %d of %d still ask in one tenth of the interval", waiting, most, len(at))
		}
	}
}

func TestWhoeverMayHaveBeenCalledAsksTheStore(t *testing.T) {
	heard := newWatch().t
	room := func(change func(*view)) *view {
		v := &view{Settings: Defaults(), received: heard}
		v.Settings.Rate = Rate{1000, PerSecond}
		v.PerHour, v.Burst, v.Front = 1000*3600, 40, 500
		if change != nil {
			change(v)
		}
		return v
	}
	tests := []struct {
		name     string
		view     *view
		age      time.Duration
		place    Time
		position int64
		far      bool
	}{
		// The ladder may be 200 ms old: 200 places, then 20 for the age, and the burst.
		{"far back", room(nil), 20 * time.Millisecond, 1000, 293, true},
		{"called since, at most", room(nil), 20 * time.Millisecond, 1000, 292, false},
		{"far back, a second later", room(nil), time.Second, 1000, 1273, true},
		{"called since, a second later", room(nil), time.Second, 1000, 1272, false},
		{"not after the front", room(nil), 0, 500, 100_000, false},
		{"unknown to the ladder", room(nil), 0, 1000, 0, false},
		{"an old snapshot", room(nil), 3*time.Second + 1, 1000, 100_000, false},
		{"the store was never heard", room(func(v *view) { v.received = time.Time{} }), 0, 1000, 100_000, false},
		{"on hold", room(func(v *view) { v.Settings.Mode = ModeHold }), 0, 1000, 1, true},
		{"on hold, called before", room(func(v *view) { v.Settings.Mode = ModeHold }), 0, 499, 1, false},
		{"closed", room(func(v *view) { v.Settings.Mode = ModeClosed }), 0, 1000, 1, true},
		{"open", room(func(v *view) { v.Settings.Mode = ModeOpen }), 0, 1000, 100_000, false},
		{"no rate, no limit inside", room(func(v *view) { v.PerHour = -1 }), 0, 1000, 100_000, false},
		{"no rate, further back than may be inside", room(func(v *view) { v.PerHour, v.Settings.MaxActive = -1, 300 }), 0, 1000, 333, true},
		{"no rate, all who may be inside", room(func(v *view) { v.PerHour, v.Settings.MaxActive = -1, 300 }), 0, 1000, 332, false},
	}
	var l Line
	for _, c := range tests {
		if got := l.far(c.view, heard.Add(c.age), c.place, c.position); got != c.far {
			t.Errorf("%s: answered from the snapshot: %t", c.name, got)
		}
	}
}

func TestPresenceCoversWhatWasPromised(t *testing.T) {
	for _, after := range []time.Duration{0, 500 * time.Millisecond, 2 * time.Second, 30 * time.Second, 600 * time.Second} {
		told := Time(1e15)
		until := PresentUntil(told, after).Sub(told)
		// Whoever asks when told, half as late again and three seconds on the way.
		if want := after + after/2 + 3*time.Second; until != want {
			t.Errorf("told to ask after %s: present for %s, want %s", after, until, want)
		}
		// Answer, mark and network take their time.
		if slack := until - after; slack < reportEvery+time.Second {
			t.Errorf("told to ask after %s: only %s more until absent", after, slack)
		}
	}
}
