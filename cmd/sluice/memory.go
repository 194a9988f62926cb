package main

import (
	"errors"
	"log/slog"
	"math"
	"os"

	"github.com/KimMachineGun/automemlimit/memlimit"
)

// limitMemory has memory collected in time to stay within nine tenths of what the
// container or unit may have, which the runtime does not know of by itself: it would let
// the heap grow to twice of what is in use, and the kernel would end the gate.
// GOMEMLIMIT is the runtime's own business and wins.
func limitMemory(log *slog.Logger, from memlimit.Provider) {
	limit, err := memlimit.Set(memlimit.WithProvider(from))
	switch {
	case errors.Is(err, memlimit.ErrNoCgroup), errors.Is(err, memlimit.ErrCgroupsNotSupported), errors.Is(err, os.ErrNotExist):
	case err != nil:
		log.Warn("it is not known how much memory there is; GOMEMLIMIT can say it", "error", err)
	case limit < math.MaxInt64:
		log.Info("memory", "limit", limit)
	}
}
