package queue

import (
	"math"
	"time"
)

// Pace is how fast a line moves: the calls counted over the last minute, while
// somebody waited all the time. What happened before the line formed, or under
// other limits, says nothing about those who wait now.
type Pace struct {
	samples [61]paceSample // a ring, about a second apart
	first   int
	n       int
	limits  paceLimits
}

type paceSample struct {
	at    Time
	calls int64
}

type paceLimits struct {
	generation     uint32
	perHour, burst int64
	maxActive      int64
	mode           Mode
}

const (
	paceStep   = time.Second
	paceKnown  = 3 * time.Second  // shortest time that tells a rate
	paceRecent = 10 * time.Second // what counts as recent
)

// Observe takes the state of the room after a Tick under those settings.
func (p *Pace) Observe(s *Snapshot, set *Settings) {
	limits := paceLimits{s.Generation, s.PerHour, s.Burst, set.MaxActive, set.Mode}
	if limits != p.limits || s.Waiting == 0 {
		p.n, p.limits = 0, limits
	}
	if p.n > 0 && s.Time.Sub(p.at(p.n-1).at) < paceStep {
		return
	}
	if p.n == len(p.samples) {
		p.first = (p.first + 1) % len(p.samples)
		p.n--
	}
	p.samples[(p.first+p.n)%len(p.samples)] = paceSample{s.Time, s.Calls}
	p.n++
}

func (p *Pace) at(i int) *paceSample { return &p.samples[(p.first+i)%len(p.samples)] }

// rates returns calls per second over the recent past and over the last minute;
// 0 is unknown, or nobody was called. What a burst once added to the rate will not
// come again while somebody waits.
func (p *Pace) rates() (recent, minute float64) {
	if p.n < 2 {
		return 0, 0
	}
	most := math.Inf(1)
	if p.limits.perHour > 0 {
		most = float64(p.limits.perHour) / 3600
	}
	last := p.at(p.n - 1)
	since := func(from *paceSample) float64 {
		span := last.at.Sub(from.at)
		if span < paceKnown {
			return 0
		}
		return min(float64(last.calls-from.calls)/span.Seconds(), most)
	}
	from := p.n - 1
	for from > 0 && last.at.Sub(p.at(from).at) < paceRecent {
		from--
	}
	return since(p.at(from)), since(p.at(0))
}

// Estimate is the wait of somebody at a position, as a range in seconds. The ends
// are what the slower and the faster of the two paces promise, and an eighth more
// either way, for the visitors who leave and the ones who come back.
type Estimate struct{ Low, High int64 }

// Estimate returns the range for a position, or false while the pace is unknown.
func (p *Pace) Estimate(position int64) (Estimate, bool) {
	recent, minute := p.rates()
	slow, fast := min(recent, minute), max(recent, minute)
	if slow <= 0 || position < 1 || p.limits.mode != ModeAuto {
		return Estimate{}, false
	}
	n := float64(position)
	return Estimate{int64(n / fast * 7 / 8), int64(math.Ceil(n/slow*9/8)) + 1}, true
}

// turn is when the visitor at a position is expected to be called, by the pace
// or, before it is known, by the rate; 0 when neither tells.
func (p *Pace) turn(position int64, s *Settings) time.Duration {
	_, rate := p.rates()
	if rate <= 0 {
		rate = float64(s.Rate.PerHour()) / 3600
	}
	if rate <= 0 {
		return 0
	}
	return time.Duration(min(float64(position)/rate, float64(24*time.Hour/time.Second)) * float64(time.Second))
}
