package cpu

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// statOf is /proc/PID/stat of a program that used so many ticks.
func statOf(pid int, name string, group, utime, stime int) string {
	return fmt.Sprintf("%d (%s) S 1 %d %d 0 -1 4194560 900 0 0 0 %d %d 77 77 20 0 3 0 100 1000 10 18446744073709551615\n",
		pid, name, group, group, utime, stime)
}

func TestProgramsHaveNamesOfAnyKind(t *testing.T) {
	for _, name := range []string{"nginx", "nginx: worker process", "a) S 1 7 (b", ")", "((", "", "tab\tnewline\n) R 2"} {
		got, err := parseStat([]byte(statOf(41, name, 40, 12, 30)))
		if want := (stat{40, 420 * time.Millisecond}); err != nil || got != want {
			t.Errorf("%q: %v, %v, want %v", name, got, err, want)
		}
	}
	for _, text := range []string{"", "41", "41 (nginx", "41 (nginx)", "41 (nginx) S 1 x", "41 (nginx) S 1 40 40 0 -1 4 9 0 0 0 12"} {
		if got, err := parseStat([]byte(text)); err == nil {
			t.Errorf("%q reads as %v", text, got)
		}
	}
}

// fakeProc is a /proc made of files.
type fakeProc struct {
	*testing.T
	dir string
}

func (f fakeProc) write(text string, path ...string) {
	f.Helper()
	file := filepath.Join(append([]string{f.dir}, path...)...)
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		f.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		f.Fatal(err)
	}
}

// process has a process with so many ticks, whose threads used so many nanoseconds.
func (f fakeProc) process(pid, group, ticks int, threads map[int]int) {
	f.Helper()
	if err := os.RemoveAll(filepath.Join(f.dir, strconv.Itoa(pid))); err != nil {
		f.Fatal(err)
	}
	f.write(statOf(pid, "server", group, ticks, 0), strconv.Itoa(pid), "stat")
	for tid, n := range threads {
		f.write(fmt.Sprintf("%d 5 6\n", n), strconv.Itoa(pid), "task", strconv.Itoa(tid), "schedstat")
	}
}

func TestAGroupIsCountedAsAWhole(t *testing.T) {
	p := fakeProc{t, t.TempDir()}
	p.write("", "uptime")
	p.process(10, 10, 5, map[int]int{10: 1000, 11: 2000})
	p.process(12, 10, 5, map[int]int{12: 3000})
	p.process(20, 20, 5, map[int]int{20: 9000})
	g, err := find(p.dir, 10)
	if err != nil {
		t.Fatal(err)
	}
	read := func() Sample {
		t.Helper()
		s, err := g.Read()
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	first := read()
	p.process(20, 20, 50, map[int]int{20: 90000})
	if d, fine := Used(first, read()); d != 0 || !fine {
		t.Errorf("what others used counts: %v, %v", d, fine)
	}

	p.process(10, 10, 6, map[int]int{10: 1500, 11: 2000, 13: 40})
	p.process(12, 10, 6, map[int]int{12: 3007})
	second := read()
	if d, fine := Used(first, second); d != 547 || !fine {
		t.Errorf("500 of an old thread, 40 of a new one, 7 of a worker: %v, %v", d, fine)
	}

	p.process(10, 10, 9, map[int]int{10: 1600, 13: 40})
	p.process(12, 10, 6, map[int]int{12: 3008})
	if d, fine := Used(second, read()); d != 30*time.Millisecond+1 || fine {
		t.Errorf("a thread ended, so its process is counted in ticks, 3 here, and the worker is not: %v, %v", d, fine)
	}

	if err := os.RemoveAll(filepath.Join(p.dir, "12")); err != nil {
		t.Fatal(err)
	}
	if _, err := g.Read(); err == nil || !strings.Contains(err.Error(), "has ended") {
		t.Errorf("a worker that ended: %v", err)
	}
	if _, err := find(p.dir, 30); err == nil {
		t.Error("a group without a process was found")
	}
}

func TestAKernelThatCountsNoThreads(t *testing.T) {
	p := fakeProc{t, t.TempDir()}
	p.process(10, 10, 5, nil)
	if err := os.MkdirAll(filepath.Join(p.dir, "10", "task", "10"), 0o700); err != nil {
		t.Fatal(err)
	}
	g, err := find(p.dir, 10)
	if err != nil {
		t.Fatal(err)
	}
	first, err := g.Read()
	if err != nil {
		t.Fatal(err)
	}
	p.write(statOf(10, "server", 10, 5, 2), "10", "stat")
	second, err := g.Read()
	if err != nil {
		t.Fatal(err)
	}
	if d, fine := Used(first, second); d != 20*time.Millisecond || fine {
		t.Errorf("two ticks: %v, %v", d, fine)
	}
}

func TestThisMachineCounts(t *testing.T) {
	if _, err := os.Stat("/proc/self/stat"); err != nil {
		t.Skip("not tested: the real /proc, which is not here")
	}
	g, err := Find(syscall.Getpgrp())
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Contains(g.pids, os.Getpid()) {
		t.Fatalf("this process is not among its group, %v", g.pids)
	}
	g.pids = []int{os.Getpid()} // other tests of the group come and go
	first, err := g.Read()
	if err != nil {
		t.Fatal(err)
	}
	for { // work until it shows
		second, err := g.Read()
		if err != nil {
			t.Fatal(err)
		}
		if d, _ := Used(first, second); d > 0 {
			return
		}
	}
}
