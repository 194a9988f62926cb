package main

import (
	_ "embed"
	"encoding/binary"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/sluicegate/sluice/queue/queuetest/proc"
)

func init() {
	register(kind{
		name: "store-clock", about: "the clock of redis-server jumps by an hour, forward or back, and then back again",
		takes: []part{theStore}, lasts: span{500 * time.Millisecond, 4 * time.Second}, rest: 3 * time.Second,
		needs: "gcc", clock: true,
		begin: func(w *world, r *rand.Rand) func() {
			w.store.jump(int64(time.Hour/time.Second) * []int64{1, -1}[r.IntN(2)])
			return func() { w.store.jump(0) }
		},
	})
}

//go:embed testdata/clock.c
var clockSource []byte

// wrongClock is the clock of a program that was started with its environment.
type wrongClock struct {
	library, file string
}

func newWrongClock(t proc.T) *wrongClock {
	t.Helper()
	dir := t.TempDir()
	source := filepath.Join(dir, "clock.c")
	c := &wrongClock{library: filepath.Join(dir, "clock.so"), file: filepath.Join(dir, "ahead")}
	if err := os.WriteFile(source, clockSource, 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.CommandContext(t.Context(), proc.Need(t, "gcc"), "-shared", "-fPIC", "-O1", "-o", c.library, source).CombinedOutput(); err != nil {
		t.Fatalf("compile a wrong clock: %v\n%s", err, out)
	}
	c.set(t, 0)
	return c
}

func (c *wrongClock) environment() []string {
	return append(os.Environ(), "LD_PRELOAD="+c.library, "WRONG_CLOCK="+c.file)
}

func (c *wrongClock) set(t proc.T, ahead int64) {
	t.Helper()
	f, err := os.OpenFile(c.file, os.O_CREATE|os.O_WRONLY, 0o600) // the same file: the program looks into it
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteAt(binary.NativeEndian.AppendUint64(nil, uint64(ahead)), 0); err != nil {
		t.Fatal(err)
	}
}

// jump sets the server's clock to so many seconds ahead of the machine's.
func (s *store) jump(ahead int64) {
	s.t.Helper()
	s.clock.set(s.t, ahead)
}
