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

	"github.com/sluicegate/sluice/gate/config"
	"github.com/sluicegate/sluice/gate/door"
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
		{"a container of 1000 MB", "", memlimit.Limit(1_000_000_000), 900_000_000, ""},
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

// As many visitors are taken as memory is enough for, and the operator is told when
// those are few.
func TestMemoryBoundsTheConnections(t *testing.T) {
	before := debug.SetMemoryLimit(-1)
	t.Cleanup(func() { debug.SetMemoryLimit(before) })
	files := door.Files{Limit: 100_000, Visitor: 90_000}
	for _, row := range []struct {
		memory int64
		conns  int // configured
		want   int
		says   string
	}{
		{math.MaxInt64, 0, 90_000, ""},
		{64 << 30, 0, 90_000, "level=INFO msg=memory limit=68719476736 enough_for=1047893"},
		{1 << 30, 0, 15701, "level=INFO msg=memory limit=1073741824 enough_for=15701"},
		{128 << 20, 0, 1365, "level=WARN msg=memory limit=134217728 enough_for=1365 hint="},
		{16 << 20, 0, 256, "level=WARN msg=memory limit=16777216 enough_for=256 hint="},
		{128 << 20, 5000, 5000, `level=WARN msg="memory is too little for visitors.max_conns`},
	} {
		debug.SetMemoryLimit(row.memory)
		c := &config.Config{Listen: []config.Listener{{}}, Limits: config.Limits{Header: 16 << 10}}
		c.Visitors.MaxConns = row.conns
		f := files
		if row.conns > 0 {
			f.Visitor = row.conns
		}
		conns := visitorConns(c, f)
		if conns != row.want {
			t.Errorf("%d bytes: %d connections, want %d", row.memory, conns, row.want)
		}
		var said bytes.Buffer
		p := &process{log: slog.New(slog.NewTextHandler(&said, nil))}
		p.tellMemory(c, conns)
		_, text, _ := strings.Cut(said.String(), " ")
		if !strings.HasPrefix(text, row.says) || row.says == "" && text != "" {
			t.Errorf("%d bytes: the log says\n%swant\n%s", row.memory, text, row.says)
		}
		c.Listen = append(c.Listen, config.Listener{TLS: true})
		if n := visitorConns(c, f); row.memory < 1<<31 && row.memory > 32<<20 && row.conns == 0 && n >= conns {
			t.Errorf("%d bytes: with TLS %d, without %d", row.memory, n, conns)
		}
	}
}
