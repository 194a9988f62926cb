package executor

import (
	"context"
	"hash/fnv"
	"math/rand/v2"
	"time"
)

// VU is a virtual user. It does one iteration at a time; its fields belong to
// the iteration while it runs.
type VU struct {
	ID       int64 // from 1, unique over all scenarios and segments of a run
	Scenario string
	Iter     int64 // from 0, counts this user's iterations
	// Rand is seeded from the run's seed, the scenario and the ID: the same user
	// draws the same numbers in every run, whatever process it is in.
	Rand *rand.Rand
}

// Iteration does one journey. It was due at intended, which in a closed model is
// the instant it begins. When ctx ends, time is up: it must return soon.
type Iteration func(ctx context.Context, vu *VU, intended time.Time)

func newVU(s *Scenario, slot int64, seed uint64) *VU {
	h := fnv.New64a()
	h.Write([]byte(s.Name))
	id := s.FirstID + slot + 1
	return &VU{ID: id, Scenario: s.Name, Rand: rand.New(rand.NewPCG(seed^h.Sum64(), uint64(id)))}
}
