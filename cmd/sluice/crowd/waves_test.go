package crowd

import (
	"slices"
	"testing"
	"time"
)

// until collects the arrivals before end.
func until(seed uint64, end time.Duration) []time.Duration {
	var out []time.Duration
	for at := range Arrivals(seed) {
		if at >= end {
			break
		}
		out = append(out, at)
	}
	return out
}

func TestArrivals(t *testing.T) {
	for _, seed := range []uint64{0, 1, 2, 42, 1 << 63} {
		hour := until(seed, time.Hour)
		if !slices.IsSorted(hour) {
			t.Errorf("seed %d: somebody arrives before an earlier visitor", seed)
		}
		if hour[0] < 0 {
			t.Errorf("seed %d: somebody arrives at %v", seed, hour[0])
		}
		first := until(seed, 20*time.Second)
		if n := len(first); n < 110 || n > 130 {
			t.Errorf("seed %d: the first crowd is %d visitors, want about 120", seed, n)
		}
		if last := first[len(first)-1]; last > 6*time.Second {
			t.Errorf("seed %d: the first crowd takes until %v, want 6s", seed, last)
		}
		if n := len(hour) - len(first); n < 30*3600/40-60 || n > 60*3600/20 {
			t.Errorf("seed %d: %d visitors in an hour of ripples", seed, n)
		}
		if !slices.Equal(hour, until(seed, time.Hour)) {
			t.Errorf("seed %d gave two schedules", seed)
		}
	}
	if slices.Equal(until(1, time.Minute), until(2, time.Minute)) {
		t.Error("two seeds gave one schedule")
	}
}

func TestRipplesComeEveryTwentyToFortySecondsAndEndBeforeTheNext(t *testing.T) {
	var before Wave
	n := 0
	for w := range Waves(7) {
		if n++; n > 1000 {
			break
		}
		if n > 1 {
			if gap := w.Start - before.Start; gap < 20*time.Second || gap > 40*time.Second {
				t.Errorf("wave %d comes %v after the one before", n, gap)
			}
			if w.Visitors < 30 || w.Visitors > 60 {
				t.Errorf("wave %d has %d visitors", n, w.Visitors)
			}
			if before.Start+before.Length > w.Start {
				t.Errorf("wave %d begins before the one in front of it ended", n)
			}
		}
		before = w
	}
}
