package main

import (
	"fmt"
	"math/rand/v2"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

func init() {
	register(kind{
		name: "gate-files", about: "a gate may open no more files, nor take connections",
		takes: []part{theGates}, lasts: span{time.Second, 4 * time.Second}, rest: 3 * time.Second,
		begin: func(w *world, r *rand.Rand) func() {
			g := w.any(r)
			open, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", g.Pid()))
			if err != nil {
				w.t.Fatal(err)
			}
			var before unix.Rlimit
			set := func(to, was *unix.Rlimit) {
				if err := unix.Prlimit(g.Pid(), unix.RLIMIT_NOFILE, to, was); err != nil {
					w.t.Fatalf("file limit of gate %d: %v", g.number, err)
				}
			}
			set(nil, &before)
			set(&unix.Rlimit{Cur: uint64(len(open)), Max: before.Max}, nil)
			return func() { set(&before, nil) }
		},
	})
}
