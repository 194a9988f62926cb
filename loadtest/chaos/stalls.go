package main

import (
	"context"
	"slices"
	"time"
)

// stall is a time for which this process was not given a processor. The others of the
// run were hardly better off: what visitors saw then may be because of the machine.
type stall struct{ from, to time.Time }

const (
	// lookEvery is how often it is looked whether this process runs.
	lookEvery = 20 * time.Millisecond
	// leastStall is how late it has to be: as much as judges let pass, see judge.Options.
	leastStall = 250 * time.Millisecond
)

// watch gathers stalls until ctx ends, and how late this process was at most.
func watch(ctx context.Context) (stalls []stall, worst time.Duration) {
	ticker := time.NewTicker(lookEvery)
	defer ticker.Stop()
	for last := time.Now(); ; {
		select {
		case <-ctx.Done():
			return stalls, worst
		case <-ticker.C:
		}
		now := time.Now()
		late := now.Sub(last) - lookEvery
		worst = max(worst, late)
		if late >= leastStall {
			stalls = append(stalls, stall{last, now})
		}
		last = now
	}
}

// inDoubt tells whether what showed between two instants may be because of a stall:
// one then, or while the requests of which it tells were under way.
func (e *evidence) inDoubt(from, to time.Time) bool {
	from = from.Add(-visitorTimeout)
	return slices.ContainsFunc(e.stalls, func(s stall) bool { return s.to.After(from) && s.from.Before(to) })
}
