package queue

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

// paced is a line whose pace is observed.
type paced struct {
	Pace
	set Settings
	s   Snapshot
}

func newPaced(rate Rate) *paced {
	p := &paced{set: Defaults()}
	p.set.Rate = rate
	p.s = Snapshot{Moment: Moment{Time: 1e15, Generation: 1}, PerHour: rate.PerHour(), Burst: p.set.EffectiveBurst(), Waiting: 10_000}
	return p
}

// seconds has a number of calls made at the first quarter of each second, and looks
// at every quarter.
func (p *paced) seconds(n int, calls int64) {
	for range 4 * n {
		p.s.Time = p.s.Time.Add(250 * time.Millisecond)
		if p.s.Time%1e6 == 250_000 {
			p.s.Calls += calls
		}
		p.Observe(&p.s, &p.set)
	}
}

func (p *paced) known() bool {
	_, known := p.Estimate(100)
	return known
}

func TestTheWaitIsUnknownUntilThreeSecondsWereSeen(t *testing.T) {
	p := newPaced(Rate{10, PerSecond})
	if p.known() {
		t.Error("known before anything was seen")
	}
	p.Observe(&p.s, &p.set)
	for i := range 5 {
		if known := p.known(); known != (i >= 3) {
			t.Errorf("known after %d seconds: %t", i, known)
		}
		p.seconds(1, 10)
	}
	if e, _ := p.Estimate(0); e != (Estimate{}) {
		t.Errorf("the wait at no position is %v", e)
	}
}

func TestTheWaitIsTheSlowerAndTheFasterOfTwoPacesAndAnEighthMore(t *testing.T) {
	p := newPaced(Rate{10, PerSecond})
	p.seconds(50, 5)
	p.seconds(10, 10)
	// The last minute holds 50 s at 5/s and 10 s at 10/s.
	minute := (49*5 + 10*10) / 59.0
	e, known := p.Estimate(1000)
	want := Estimate{87, int64(1000/minute*9/8) + 2}
	if !known || e != want {
		t.Errorf("the wait of the 1000th is %v, want %v", e, want)
	}
	for i := int64(1); i < 100; i++ {
		a, _ := p.Estimate(i)
		b, _ := p.Estimate(i + 1)
		if a.Low > a.High || b.Low < a.Low || b.High < a.High {
			t.Errorf("position %d: %v, the next: %v", i, a, b)
		}
	}
	p.seconds(120, 10)
	if e, _ := p.Estimate(1000); e != (Estimate{87, 114}) {
		t.Errorf("two minutes later the wait of the 1000th is %v", e)
	}
}

func TestNobodyIsToldThatTheLineMovesFasterThanItsRate(t *testing.T) {
	p := newPaced(Rate{10, PerSecond})
	p.s.Burst, p.set.Burst = 500, 500
	p.Observe(&p.s, &p.set)
	p.seconds(1, 500)
	p.seconds(9, 10)
	if e, _ := p.Estimate(1000); e.Low < 87 || e.High > 114 {
		t.Errorf("after a burst the wait of the 1000th is %v, at 10/s", e)
	}
}

func TestWhatHappenedBeforeSaysNothingAboutThoseWhoWait(t *testing.T) {
	changes := map[string]func(p *paced){
		"the rate changes":         func(p *paced) { p.s.PerHour = 7200 },
		"the burst changes":        func(p *paced) { p.s.Burst = 20 },
		"max_active changes":       func(p *paced) { p.set.MaxActive = 5 },
		"the mode changes":         func(p *paced) { p.set.Mode = ModeHold },
		"the line empties":         func(p *paced) { p.s.Waiting = 0 },
		"a new generation begins":  func(p *paced) { p.s.Generation, p.s.Calls = 2, 0 },
		"the mode changes forth":   func(p *paced) { p.set.Mode = ModeHold; p.Observe(&p.s, &p.set); p.set.Mode = ModeAuto },
		"the line empties at once": func(p *paced) { p.s.Waiting = 0; p.Observe(&p.s, &p.set); p.s.Waiting = 10 },
	}
	for name, change := range changes {
		t.Run("when "+name, func(t *testing.T) {
			p := newPaced(Rate{10, PerSecond})
			p.seconds(90, 10)
			if !p.known() {
				t.Fatal("unknown after 90 seconds")
			}
			change(p)
			p.seconds(2, 1)
			if p.known() {
				t.Error("the pace from before is still in force")
			}
			p.s.Waiting, p.set.Mode = 10, ModeAuto
			p.seconds(5, 1)
			if e, known := p.Estimate(100); !known || e.Low < 80 {
				t.Errorf("then the wait of the 100th at one a second is %v (known: %t)", e, known)
			}
		})
	}
}

func TestNobodyIsToldAWaitWhereNobodyIsCalled(t *testing.T) {
	p := newPaced(Rate{10, PerSecond})
	p.set.Mode = ModeHold
	p.seconds(60, 0)
	if p.known() {
		t.Error("there is an estimate in a room on hold")
	}
	p = newPaced(Rate{10, PerSecond})
	p.set.MaxActive = 100 // and all of them inside
	p.seconds(60, 0)
	if p.known() {
		t.Error("there is an estimate while nobody leaves")
	}
}

func TestATurnIsExpectedByThePaceOrElseByTheRate(t *testing.T) {
	p := newPaced(Rate{10, PerSecond})
	if d := p.turn(100, &p.set); d != 10*time.Second {
		t.Errorf("before the pace is known, the 100th is expected to wait %s, want 10s by the rate", d)
	}
	p.seconds(90, 5)
	if d := p.turn(100, &p.set); d != 20*time.Second {
		t.Errorf("at 5 a second the 100th is expected to wait %s", d)
	}
	p = newPaced(NoRate)
	if d := p.turn(100, &p.set); d != 0 {
		t.Errorf("without rate and pace the 100th is expected to wait %s, want 0: nobody knows", d)
	}
	p.set.Rate = Rate{1, PerHour}
	if d := p.turn(1<<40, &p.set); d != 24*time.Hour {
		t.Errorf("the last of very many is expected to wait %s", d)
	}
}

// told is what became of visitors' first estimates.
type told struct{ early, within, late, none, rises int }

// simulate runs a room for a time: visitors arrive, some leave the line, those
// called stay for a while. Each remembers the first estimate, as a ticket does,
// and compares each with the one before.
func simulate(set Settings, length time.Duration, arrivals func(second int) int, stay func() time.Duration, leave float64) (out told) {
	rng := rand.New(rand.NewPCG(7, 7))
	type visitor struct {
		place       Time
		first, last Estimate
		next        Time // poll
		known       bool
	}
	var (
		p      Pace
		line   []*visitor
		inside []Time // ends
		now    = Time(1e15)
		begin  = now
		credit = NewCredit(now, &set, true)
		s      = Snapshot{Moment: Moment{Time: now, Generation: 1}}
	)
	step := tickEvery(&set)
	for second := 0; now.Sub(begin) < length; {
		now = now.Add(step)
		if int(now.Sub(begin)/time.Second) > second {
			second++
			for range arrivals(second) {
				line = append(line, &visitor{place: now, next: now})
			}
			line = slices.DeleteFunc(line, func(*visitor) bool { return rng.Float64() < leave })
		}
		inside = slices.DeleteFunc(inside, func(end Time) bool { return end <= now })
		credit = credit.Settle(now, &set)
		n := min(credit.Callable(&set, 0, int64(len(inside))), int64(len(line)))
		credit = credit.Spend(n)
		for _, v := range line[:n] {
			inside = append(inside, now.Add(stay()))
			waited := int64(now.Sub(v.place) / time.Second)
			switch {
			case !v.known:
				out.none++
			case waited < v.first.Low:
				out.early++
			case waited > v.first.High:
				out.late++
			default:
				out.within++
			}
		}
		line = line[n:]
		s.Time, s.Waiting, s.PerHour, s.Burst = now, int64(len(line)), credit.PerHour, credit.Burst
		s.Calls += n
		p.Observe(&s, &set)
		for i, v := range line {
			if v.next > now {
				continue
			}
			e, known := p.Estimate(int64(i + 1))
			waited := int64(now.Sub(v.place) / time.Second)
			if known && !v.known {
				v.known = true
				v.first = Estimate{waited + e.Low, waited + e.High}
			} else if known && v.last.High > 0 && (e.High > v.last.High || e.Low > v.last.Low) {
				out.rises++
			}
			v.last = e
			v.next = now.Add(PollAfter(p.turn(int64(i+1), &set), s.Waiting, &set, rng.Float64()))
		}
	}
	return out
}

func TestTheEstimateIsHonest(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 3))
	settings := func(rate Rate, burst, active int64) Settings {
		s := Defaults()
		s.Rate, s.Burst, s.MaxActive = rate, burst, active
		return s
	}
	steady := func(n int) func(int) int { return func(int) int { return n } }
	sale := func(n int) func(int) int { // all in the first ten seconds
		return func(second int) int {
			if second <= 10 {
				return n / 10
			}
			return 0
		}
	}
	minutes := func(low, high float64) func() time.Duration {
		return func() time.Duration { return time.Duration((low + (high-low)*rng.Float64()) * float64(time.Minute)) }
	}
	tests := []struct {
		name     string
		set      Settings
		length   time.Duration
		arrivals func(int) int
		stay     func() time.Duration
		leave    float64 // a second
		within   float64 // of those who were told anything, at least
		late     float64 // at most
		rises    bool    // estimates may rise
	}{
		{"a sale at 600 a minute", settings(Rate{600, PerMinute}, 10, 0), 15 * time.Minute, sale(6000), minutes(0, 1), 0, 1, 0, false},
		{"a sale at 50 a second", settings(Rate{50, PerSecond}, 0, 0), 15 * time.Minute, sale(20000), minutes(0, 1), 0, 1, 0, false},
		{"a sale at one a second", settings(Rate{1, PerSecond}, 1, 0), 15 * time.Minute, sale(800), minutes(0, 1), 0, 1, 0, false},
		{"a line that grows", settings(Rate{10, PerSecond}, 10, 0), 15 * time.Minute, steady(15), minutes(0, 1), 0, 1, 0, false},
		{"a sale that one in twenty leaves", settings(Rate{600, PerMinute}, 10, 0), 15 * time.Minute, sale(6000), minutes(0, 1), 0.0001, 0.95, 0, false},
		{"300 inside for three minutes or so", settings(Rate{200, PerSecond}, 0, 300), 40 * time.Minute, steady(3), minutes(1, 5), 0, 0.7, 0.25, true},
		{"300 inside, no rate", settings(NoRate, 0, 300), 40 * time.Minute, steady(3), minutes(1, 5), 0, 0.7, 0.25, true},
		{"arrivals in bursts", settings(Rate{10, PerSecond}, 100, 0), 30 * time.Minute, func(s int) int {
			if s%60 == 0 {
				return 550
			}
			return 0
		}, minutes(0, 1), 0, 1, 0, false},
		{"everybody inside for just two minutes", settings(Rate{20, PerSecond}, 20, 300), 40 * time.Minute, steady(3), minutes(2, 2), 0, 0, 1, true},
	}
	for _, c := range tests {
		t.Run(c.name, func(t *testing.T) {
			got := simulate(c.set, c.length, c.arrivals, c.stay, c.leave)
			all := float64(got.early + got.within + got.late)
			t.Logf("early %d, within %d, late %d, told nothing %d; rose %d times", got.early, got.within, got.late, got.none, got.rises)
			if float64(got.within) < c.within*all || float64(got.late) > c.late*all {
				t.Errorf("of %.0f visitors %d were called within their estimate, %d late", all, got.within, got.late)
			}
			if got.rises > 0 && !c.rises {
				t.Errorf("an estimate rose %d times", got.rises)
			}
		})
	}
}
