package main

import (
	"errors"
	"log/slog"
	"math"
	"os"
	"runtime/debug"
	"slices"

	"github.com/KimMachineGun/automemlimit/memlimit"

	"github.com/sluicegate/sluice/gate/config"
	"github.com/sluicegate/sluice/gate/door"
)

// limitMemory has memory collected in time to stay within nine tenths of what the
// container or unit may have, which the runtime does not know of by itself: it would let
// the heap grow to twice of what is in use, and the kernel would end the gate.
// GOMEMLIMIT is the runtime's own business and wins.
func limitMemory(log *slog.Logger, from memlimit.Provider) {
	_, err := memlimit.Set(memlimit.WithProvider(from))
	switch {
	case errors.Is(err, memlimit.ErrNoCgroup), errors.Is(err, memlimit.ErrCgroupsNotSupported), errors.Is(err, os.ErrNotExist):
	case err != nil:
		log.Warn("it is not known how much memory there is; GOMEMLIMIT can say it", "error", err)
	}
}

// memoryLimit is what the process keeps to, math.MaxInt64 when there is no limit.
func memoryLimit() int64 { return debug.SetMemoryLimit(-1) }

// memoryConns is how many connections of visitors the memory is enough for.
func memoryConns(c *config.Config) int {
	tls := slices.ContainsFunc(c.Listen, func(l config.Listener) bool { return l.TLS })
	return door.MemoryConns(memoryLimit(), c.Limits.Header, tls)
}

// visitorConns is how many connections visitors have: as configured, else as many as
// files and memory are enough for.
func visitorConns(c *config.Config, f door.Files) int {
	if c.Visitors.MaxConns > 0 {
		return f.Visitor
	}
	return min(f.Visitor, memoryConns(c))
}

// tellMemory writes how much memory there is, and whether that is little.
func (p *process) tellMemory(c *config.Config, conns int) {
	limit, fit := memoryLimit(), memoryConns(c)
	switch {
	case limit == math.MaxInt64:
	case conns > fit:
		p.log.Warn("memory is too little for visitors.max_conns: with so many the gate would do little but look for memory, or be ended",
			"limit", limit, "visitors", conns, "enough_for", fit,
			"hint", "lower the number, or leave it out; or give the gate more memory (the container's limit, or GOMEMLIMIT)")
	case fit < fewConns:
		p.log.Warn("memory", "limit", limit, "enough_for", fit,
			"hint", "a crowd needs more connections: give the gate more memory (the container's limit, or GOMEMLIMIT)")
	default:
		p.log.Info("memory", "limit", limit, "enough_for", fit)
	}
}

// fewConns is how many connections a gate should have room for, at least.
const fewConns = 8192
