package main

import (
	"fmt"
	"os"
	"strconv"
	"strings"
)

// tooBusy is how busy the machine may be in a round that is to count. Both harnesses
// and their targets together make two cores a quarter busy; where others make it much
// more, a p95 is a measure of them.
const tooBusy = .6

// ticks are processor time since the machine started, of all cores.
type ticks struct{ busy, all float64 }

// machineTicks reads what Linux counts; elsewhere nothing is known.
func machineTicks() ticks {
	text, err := os.ReadFile("/proc/stat")
	if err != nil {
		return ticks{}
	}
	t, err := readTicks(string(text))
	if err != nil {
		return ticks{}
	}
	return t
}

// readTicks reads /proc/stat (proc_stat(5)): user, nice, system, idle, iowait, irq,
// softirq, steal. What follows is counted in the first two already.
func readTicks(text string) (t ticks, err error) {
	line, _, _ := strings.Cut(text, "\n")
	fields := strings.Fields(line)
	if len(fields) < 9 || fields[0] != "cpu" {
		return ticks{}, fmt.Errorf("/proc/stat begins with %.40q", line)
	}
	for i, f := range fields[1:9] {
		x, err := strconv.ParseFloat(f, 64)
		if err != nil {
			return ticks{}, fmt.Errorf("/proc/stat: %w", err)
		}
		t.all += x
		if i != 3 && i != 4 {
			t.busy += x
		}
	}
	return t, nil
}

// since is the share of the machine that was busy since an earlier reading, 0 where
// that is unknown.
func (t ticks) since(before ticks) float64 {
	if !(t.all > before.all) {
		return 0
	}
	return (t.busy - before.busy) / (t.all - before.all)
}
