// Package cpu reads the processor time that the processes of a group have used
// from /proc.
//
// The scheduler's own count of each thread is in nanoseconds
// (/proc/PID/task/TID/schedstat) but goes with the thread when it ends; the
// process's count (utime and stime of /proc/PID/stat) keeps what ended threads
// used, in ticks of 10 ms. So both are read: the fine one counts, unless a thread
// ended in between or the kernel keeps none.
package cpu

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"time"
)

// tick is the unit of utime and stime: USER_HZ is 100 wherever Go runs.
const tick = 10 * time.Millisecond

// Group are the processes of a process group: a server and its workers.
type Group struct {
	proc string // /proc
	pids []int
}

// Find returns the processes that are in a group now.
func Find(group int) (*Group, error) { return find("/proc", group) }

func find(proc string, group int) (*Group, error) {
	entries, err := os.ReadDir(proc)
	if err != nil {
		return nil, err
	}
	g := &Group{proc: proc}
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		text, err := os.ReadFile(filepath.Join(proc, e.Name(), "stat"))
		if err != nil {
			continue // ended meanwhile
		}
		s, err := parseStat(text)
		if err != nil {
			return nil, fmt.Errorf("process %d: %w", pid, err)
		}
		if s.group == group {
			g.pids = append(g.pids, pid)
		}
	}
	if len(g.pids) == 0 {
		return nil, fmt.Errorf("no process is in group %d", group)
	}
	return g, nil
}

// Sample is what each process had used at one moment.
type Sample map[int]usage

type usage struct {
	coarse  time.Duration
	threads map[int]time.Duration // nil: the kernel does not count them
}

// Read takes a sample. A process that has ended is an error: a server that loses
// a worker is not measured.
func (g *Group) Read() (Sample, error) {
	s := make(Sample, len(g.pids))
	for _, pid := range g.pids {
		dir := filepath.Join(g.proc, strconv.Itoa(pid))
		text, err := os.ReadFile(filepath.Join(dir, "stat"))
		if err != nil {
			return nil, fmt.Errorf("a process of the server has ended: %w", err)
		}
		st, err := parseStat(text)
		if err != nil {
			return nil, fmt.Errorf("process %d: %w", pid, err)
		}
		threads, err := readThreads(filepath.Join(dir, "task"))
		if err != nil {
			return nil, fmt.Errorf("process %d: %w", pid, err)
		}
		s[pid] = usage{st.used, threads}
	}
	return s, nil
}

func readThreads(dir string) (map[int]time.Duration, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	threads := make(map[int]time.Duration, len(entries))
	for _, e := range entries {
		tid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		if _, err := os.Stat(filepath.Join(dir, e.Name())); err != nil {
			continue // ended since the folder was read
		}
		text, err := os.ReadFile(filepath.Join(dir, e.Name(), "schedstat"))
		if errors.Is(err, fs.ErrNotExist) {
			return nil, nil
		}
		if err != nil {
			continue // the same: it ended
		}
		if threads[tid], err = parseSchedstat(text); err != nil {
			return nil, err
		}
	}
	return threads, nil
}

// Used returns the processor time from one sample of a group to a later one, and
// whether all of it was counted in nanoseconds.
func Used(from, to Sample) (d time.Duration, fine bool) {
	fine = true
	for pid, after := range to {
		before := from[pid]
		n, ok := threadsUsed(before.threads, after.threads)
		if !ok {
			n, fine = after.coarse-before.coarse, false
		}
		d += n
	}
	return d, fine
}

// threadsUsed is false when a thread ended in between: what it used is not known.
func threadsUsed(before, after map[int]time.Duration) (d time.Duration, ok bool) {
	if before == nil || after == nil {
		return 0, false
	}
	for tid := range before {
		if _, there := after[tid]; !there {
			return 0, false
		}
	}
	for tid, n := range after {
		d += n - before[tid] // a new thread began at 0
	}
	return d, true
}

type stat struct {
	group int
	used  time.Duration
}

// parseStat reads /proc/PID/stat (proc(5)). The second field is the name of the
// program in parentheses, and may itself contain blanks and parentheses.
func parseStat(text []byte) (stat, error) {
	bad := func() (stat, error) { return stat{}, fmt.Errorf("stat reads %.200q", text) }
	end := bytes.LastIndexByte(text, ')')
	if end < 0 {
		return bad()
	}
	const state = 3 // number of the first field after the name
	fields := bytes.Fields(text[end+1:])
	var numbers [3]int64
	for i, field := range []int{5, 14, 15} { // pgrp, utime, stime
		if field-state >= len(fields) {
			return bad()
		}
		var err error
		if numbers[i], err = strconv.ParseInt(string(fields[field-state]), 10, 64); err != nil {
			return bad()
		}
	}
	return stat{int(numbers[0]), time.Duration(numbers[1]+numbers[2]) * tick}, nil
}

// parseSchedstat reads the time on a processor, which comes first.
func parseSchedstat(text []byte) (time.Duration, error) {
	fields := bytes.Fields(text)
	if len(fields) == 0 {
		return 0, fmt.Errorf("schedstat reads %.200q", text)
	}
	n, err := strconv.ParseInt(string(fields[0]), 10, 64)
	if err != nil {
		return 0, fmt.Errorf("schedstat reads %.200q", text)
	}
	return time.Duration(n), nil
}
