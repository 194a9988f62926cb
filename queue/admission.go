package queue

import "math"

// visitorUnits is the credit that calling one visitor takes. A millisecond earns
// as many units as the rate has visitors per hour, so all of it is whole numbers,
// and sums stay exact in a double (MaxCredit is below 2^53).
//
// Credit is counted in whole milliseconds of room time because that is what a
// visitor is told of their call: by those stamps, too, no window holds more calls
// than rate and burst allow.
const visitorUnits = 3_600_000

// Credit is a room's right to call visitors, a token bucket in room time.
type Credit struct {
	Units   int64 // visitorUnits for each visitor who may be called at once
	At      int64 // milliseconds of room time up to which Units are counted
	PerHour int64 // the rate in force since At; -1: no limit
	Burst   int64 // most visitors that Units may be worth
}

// NewCredit starts a bucket that is full, or empty after a loss: nobody knows
// then how much of it was spent.
func NewCredit(now Time, s *Settings, full bool) Credit {
	c := Credit{At: now.Millis(), PerHour: s.Rate.PerHour(), Burst: s.EffectiveBurst()}
	if full {
		c.Units = c.Burst * visitorUnits
	}
	return c
}

// Settle earns what the time since At is worth at the limits in force until now,
// and puts the limits of s in force from now on.
func (c Credit) Settle(now Time, s *Settings) Credit {
	if gone := now.Millis() - c.At; gone > 0 {
		c.At += gone
		if c.PerHour > 0 {
			room := c.Burst*visitorUnits - c.Units
			if gone >= room/c.PerHour+1 {
				c.Units += room
			} else {
				c.Units = min(c.Units+gone*c.PerHour, c.Units+room)
			}
		}
	}
	c.PerHour, c.Burst = s.Rate.PerHour(), s.EffectiveBurst()
	c.Units = min(c.Units, c.Burst*visitorUnits)
	return c
}

// Spend pays for n visitors.
func (c Credit) Spend(n int64) Credit {
	if c.PerHour > 0 {
		c.Units -= n * visitorUnits
	}
	return c
}

// Callable is how many visitors may be called now, with this many called and
// active: the one place where the limits of a room meet.
func (c Credit) Callable(s *Settings, called, active int64) int64 {
	if s.Mode != ModeAuto {
		return 0
	}
	n := int64(math.MaxInt64)
	if c.PerHour > 0 {
		n = c.Units / visitorUnits
	}
	if s.MaxActive > 0 {
		n = min(n, s.MaxActive-called-active)
	}
	return max(n, 0)
}
