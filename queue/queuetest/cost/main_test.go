package main

import (
	"bytes"
	"io"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/sluicegate/sluice/queue"
	"github.com/sluicegate/sluice/queue/queuetest/cost/crowd"
)

func TestTheTableHasARowForEachStoreAndSize(t *testing.T) {
	c, _ := parse([]string{"--sizes", "1000,3000"}, io.Discard)
	var out bytes.Buffer
	if !c.run(t, &out, io.Discard) {
		t.Error("a budget was missed that was not measured")
	}
	rows := regexp.MustCompile(`(?m)^\| (memory|redis) \| (\d+) \| (\d+) ns \| ([\d.]+) \| ([\d.]+) µs \| ([\d.]+) µs \| (\d+) µs \| (\d+) µs \| (\d+) B \| (\d+) \|`).FindAllStringSubmatch(out.String(), -1)
	if len(rows) != 4 {
		t.Fatalf("%d rows:\n%s", len(rows), &out)
	}
	for i, want := range [][2]string{{"memory", "1000"}, {"memory", "3000"}, {"redis", "1000"}, {"redis", "3000"}} {
		if rows[i][1] != want[0] || rows[i][2] != want[1] {
			t.Errorf("row %d is of %s with %s waiting, want %s with %s", i+1, rows[i][1], rows[i][2], want[0], want[1])
		}
		waiting, _ := strconv.ParseInt(want[1], 10, 64)
		rungs := 0
		for queue.Rung(rungs) < waiting {
			rungs++
		}
		if rows[i][10] != strconv.Itoa(rungs) {
			t.Errorf("row %d has a ladder of %s rungs, want %d", i+1, rows[i][10], rungs)
		}
		for column, what := range map[int]string{3: "poll", 5: "presence mark", 6: "newcomer", 9: "memory of a visitor"} {
			if strings.Trim(rows[i][column], "0.") == "" {
				t.Errorf("row %d: a %s is free", i+1, what)
			}
		}
	}
}

func TestMarksAtTheirPaceAreMeasured(t *testing.T) {
	m := inRedis(t)
	store := m.store()
	defer store.Close()
	r, err := crowd.Fill(t.Context(), store, "cost", 2000)
	if err != nil {
		t.Fatal(err)
	}
	f := figures{polls: r.PollsPerSecond()}
	if err := pace(t.Context(), m, r, &config{gates: 2, paced: time.Second}, &f); err != nil {
		t.Fatal(err)
	}
	// Every gate sends its share of a second once, and ticks. Those of the first 900 to
	// 960 places, whose turn is within 90 to 96 s, are told of with every poll, the
	// others with every second one.
	if marks := f.pacedMarks * f.pacedSeconds; marks < 0.70*f.polls || marks > 0.77*f.polls {
		t.Errorf("%.0f marks were sent in a second, want three quarters of %.0f", marks, f.polls)
	}
	if ticks := f.pacedTicks * f.pacedSeconds; ticks < 2 || f.paced <= 0 {
		t.Errorf("%.0f ticks were sent by two gates and took %v of a core", ticks, f.paced)
	}
}

func TestTheBudgetIsMissedWhereMarksCostTooMuch(t *testing.T) {
	f := figures{mark: 4 * time.Microsecond, marks: 20_000, tick: 2 * time.Millisecond, tickAgain: time.Millisecond}
	if got, want := f.share(4), 0.08+4*0.005; got < want-1e-9 || got > want+1e-9 {
		t.Errorf("marks and ticks take %v of a core, want %v", got, want)
	}
}

func TestBadFlagsAreNamed(t *testing.T) {
	for args, want := range map[string]string{
		"--sizes 10":               `--sizes: "10" is not a number from 1000 on`,
		"--sizes 1e6":              `--sizes: "1e6" is not a number from 1000 on`,
		"--stores memory,etcd":     `--stores: "etcd" is neither memory nor redis`,
		"--gates 0":                `--gates: 0, want 1 or more`,
		"--paced -1s":              `--paced: -1s, want 0 or more`,
		"--check --sizes 1000":     `--check needs 1000000 among the --sizes and redis among the --stores`,
		"--check --stores memory":  `--check needs 1000000`,
		"--sizes 1000 and another": `unknown argument "and"`,
		"--frequency 3":            `flag provided but not defined: -frequency`,
	} {
		var stderr bytes.Buffer
		if c, code := parse(strings.Fields(args), &stderr); c != nil || code != 2 || !strings.Contains(stderr.String(), want) {
			t.Errorf("%s: code %d and %q, want 2 and %q", args, code, stderr.String(), want)
		}
	}
}
