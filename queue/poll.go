package queue

import (
	"math/rand/v2"
	"time"
)

const (
	// pollBudget is how many polls a second all gates may get from one room.
	pollBudget = 20_000
	// presenceGrace is what a visitor may be late by, beyond half of the interval.
	presenceGrace = 3 * time.Second
	// heldFor is how long a poll near the front is kept back.
	heldFor = 2 * time.Second
	// pollJitter is how much of an interval is left to chance, so that visitors who
	// came together do not stay together.
	pollJitter = 0.2
)

// PresentUntil is until when a visitor counts as present who was told at an
// instant to ask again after a time.
func PresentUntil(told Time, pollAfter time.Duration) Time { return told.Add(present(pollAfter)) }

// present is for how long.
func present(pollAfter time.Duration) time.Duration { return pollAfter + pollAfter/2 + presenceGrace }

// PollAfter is when a visitor should ask again whose turn is expected in a time (0:
// nobody knows): half of it, within the room's limits, and not so soon that all of
// those who wait ask more often than the budget allows. But nobody is sent away
// past half of the time, however many wait: they would miss their call. Those near
// the front are few. chance is between 0 and 1.
func PollAfter(turn time.Duration, waiting int64, s *Settings, chance float64) time.Duration {
	high := min(max(turn/2, s.PollMin+s.PollMin/10), s.PollMax)
	low := max(high-time.Duration(float64(high)*pollJitter), s.PollMin)
	d := low + time.Duration(float64(high-low)*chance)
	budget := time.Duration(waiting) * time.Second / pollBudget
	budget += time.Duration(float64(budget) * pollJitter * chance)
	if turn > 0 {
		budget = min(budget, turn/2)
	}
	return max(d, budget)
}

func chance() float64 { return rand.Float64() }
