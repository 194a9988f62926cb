package main

import (
	"bytes"
	"errors"
	"log/slog"
	"math"
	"runtime/debug"
	"strings"
	"testing"

	"github.com/KimMachineGun/automemlimit/memlimit"
)

// The gate stays below what its container may have, unless GOMEMLIMIT says something else.
func TestAGateKeepsToTheMemoryThatThereIs(t *testing.T) {
	before := debug.SetMemoryLimit(-1)
	t.Cleanup(func() { debug.SetMemoryLimit(before) })
	for _, row := range []struct {
		name, gomemlimit string
		from             memlimit.Provider
		want             int64
		says             string
	}{
		{"a container of 1000 MB", "", memlimit.Limit(1_000_000_000), 900_000_000, "level=INFO msg=memory limit=900000000\n"},
		{"a machine", "", unlimited, math.MaxInt64, ""},
		{"no containers here", "", broken(memlimit.ErrCgroupsNotSupported), before, ""},
		{"what cannot be read", "", broken(errors.New("parse memory.max: \"?\"")), before,
			"level=WARN msg=\"it is not known how much memory there is; GOMEMLIMIT can say it\" error=\"failed to set GOMEMLIMIT: parse memory.max: \\\"?\\\"\"\n"},
		{"GOMEMLIMIT", "123MiB", memlimit.Limit(1_000_000_000), before, ""},
	} {
		debug.SetMemoryLimit(before)
		if row.gomemlimit != "" {
			t.Setenv("GOMEMLIMIT", row.gomemlimit)
		}
		var said bytes.Buffer
		limitMemory(slog.New(slog.NewTextHandler(&said, nil)), row.from)
		if got := debug.SetMemoryLimit(-1); got != row.want {
			t.Errorf("%s: the limit is %d, want %d", row.name, got, row.want)
		}
		_, text, _ := strings.Cut(said.String(), " ")
		if text != row.says {
			t.Errorf("%s: the log says\n%swant\n%s", row.name, text, row.says)
		}
	}
}

func unlimited() (uint64, error) { return 0, memlimit.ErrNoLimit }

func broken(err error) memlimit.Provider {
	return func() (uint64, error) { return 0, err }
}
