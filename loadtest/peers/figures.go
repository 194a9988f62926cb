package main

import (
	"slices"
	"time"
)

// figures are what one measurement of one row found.
type figures struct {
	Requests   int64         `json:"requests"`
	Elapsed    time.Duration `json:"elapsed_nanoseconds"`
	Server     time.Duration `json:"server_nanoseconds"` // processor time of the server's processes, without the store's
	Store      time.Duration `json:"redis_nanoseconds"`
	Fine       bool          `json:"counted_in_nanoseconds"` // both; else in ticks
	P50        time.Duration `json:"p50_nanoseconds"`
	P99        time.Duration `json:"p99_nanoseconds"`
	Reconnects int64         `json:"reconnects"`
}

// server is what the server's processes used for a request, in microseconds.
func (f *figures) server() float64 { return perRequest(f.Server, f.Requests) }

// store is what Redis used for a request, in microseconds.
func (f *figures) store() float64 { return perRequest(f.Store, f.Requests) }

func (f *figures) perSecond() float64 { return float64(f.Requests) / f.Elapsed.Seconds() }

func perRequest(d time.Duration, n int64) float64 {
	return float64(d) / float64(time.Microsecond) / float64(n)
}

// spread is what the rounds made of one figure.
type spread struct {
	Median float64 `json:"median"`
	Least  float64 `json:"least"`
	Most   float64 `json:"most"`
}

// over returns the spread of a figure over the rounds.
func over(rounds []figures, figure func(*figures) float64) spread {
	values := make([]float64, len(rounds))
	for i := range rounds {
		values[i] = figure(&rounds[i])
	}
	return spreadOf(values)
}

// ratios returns the spread of a figure's ratio to that of another row in the same
// round: what presses on the machine for a while presses on both.
func ratios(rounds []figures, figure func(*figures) float64, to []figures, other func(*figures) float64) spread {
	values := make([]float64, min(len(rounds), len(to)))
	for i := range values {
		values[i] = figure(&rounds[i]) / other(&to[i])
	}
	return spreadOf(values)
}

func spreadOf(values []float64) spread {
	if len(values) == 0 {
		return spread{}
	}
	v := slices.Sorted(slices.Values(values))
	n := len(v)
	return spread{Median: (v[(n-1)/2] + v[n/2]) / 2, Least: v[0], Most: v[n-1]}
}

// order is the order of n in a round: each comes first in turn, and when all have
// the order is turned round, so that none always follows the same one.
func order(n, round int) []int {
	step := 1
	if n > 0 && round/n%2 == 1 {
		step = n - 1
	}
	at := make([]int, n)
	for i := range at {
		at[i] = (round + i*step) % n
	}
	return at
}
