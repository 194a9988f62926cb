package proxy

import (
	"fmt"
	"time"
)

// pace bounds how long a body may wait for the visitor, who sends or takes it. Only
// the time spent waiting counts, not what the origin takes, and every byte moved buys
// some more: a phone may be slow, or away in a tunnel for a while, and a stream may be
// silent for hours. What is slower than the rate for good comes to an end, however
// small the steps in which it moves.
type pace struct {
	pause time.Duration // without a byte; and what the rate is measured over, at first
	rate  int           // bytes a second; 0: any
	until time.Time     // in total; zero: no limit
	spent time.Duration // waiting
	moved int64
}

// left is how long the next byte may take. It is not positive once time is over.
func (p *pace) left(now time.Time) time.Duration {
	d := p.pause
	if p.rate > 0 {
		d = min(d, p.pause+time.Duration(float64(p.moved)/float64(p.rate)*float64(time.Second))-p.spent)
	}
	if !p.until.IsZero() {
		d = min(d, p.until.Sub(now))
	}
	return d
}

// waited counts n bytes that were waited for.
func (p *pace) waited(d time.Duration, n int) {
	p.spent += d
	p.moved += int64(n)
	if p.rate > 0 {
		// No credit for ever: who was fast for an hour may not drip for the next.
		p.moved = min(p.moved, int64((p.spent.Seconds()+paceCredit)*float64(p.rate)))
	}
}

// paceCredit is how many seconds' worth of bytes count that came early.
const paceCredit = 60

// deadline is the time for the next step, and whether it has to be set: as with move,
// one that is set already does where time is plenty.
func (p *pace) deadline(set *time.Time, now time.Time) (changed, over bool) {
	left := p.left(now)
	switch {
	case left <= 0:
		return false, true
	case left == p.pause:
		return move(set, now, left), false
	}
	*set = now.Add(left)
	return true, false
}

// slow says that the visitor was slower than that.
func (p *pace) slow() error {
	return fmt.Errorf("%w: waited for %v", ErrSlow, p.spent.Round(time.Second))
}
