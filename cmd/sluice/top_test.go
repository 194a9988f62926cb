package main

import (
	"bytes"
	"context"
	"strings"
	"testing"
	"time"

	"github.com/sluicegate/sluice/gate/admin"
)

func TestTopTellsHowFastARoomLetsPeopleIn(t *testing.T) {
	start := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	var p pace
	for _, look := range []struct {
		calls int64
		after time.Duration
		want  float64
	}{
		{1000, 0, -1},                        // nothing to compare with
		{1010, time.Second, 600},             // ten in a second
		{1010, time.Second, 600},             // the same numbers once more
		{1010, 2 * time.Second, 0},           // nobody
		{5, 3 * time.Second, -1},             // a line begun anew
		{65, 33 * time.Second, 120},          // sixty in half a minute
		{66, 33 * time.Second, 120},          // numbers of the same moment
		{125, 33*time.Second + time.Hour, 1}, // sixty in an hour
	} {
		p = p.next(look.calls, start.Add(look.after))
		if p.perMinute != look.want {
			t.Errorf("%d calls after %s: %v a minute, want %v", look.calls, look.after, p.perMinute, look.want)
		}
	}
}

func TestTopTellsHowLongAWaitIs(t *testing.T) {
	for _, c := range []struct {
		waiting   int64
		perMinute float64
		want      string
	}{
		{0, 0, "0s"}, {0, 600, "0s"}, {10, 0, "-"}, {100, 600, "10s"}, {599, 600, "1m0s"}, {6000, 600, "10m"}, {80213, 600, "2h13m"},
	} {
		if got := waitAt(c.waiting, c.perMinute); got != c.want {
			t.Errorf("%d at %v a minute: %s, want %s", c.waiting, c.perMinute, got, c.want)
		}
	}
}

func TestTopPrintsTheRoomsOnceWhereThereIsNoTerminal(t *testing.T) {
	g := openGate(t, nil)
	out, err := runCommand(t, newTopCommand(), "--admin", g.url, "--interval", "100ms")
	if err != nil {
		t.Fatal(err)
	}
	if i := strings.Index(out, "LET IN"); i < 0 {
		t.Fatal(out)
	}
	lines := strings.Split(out, "\n")
	for i, want := range []string{
		"WAITING ABSENT CALLED ACTIVE MOST LET IN/MIN RATE WAIT MODE ROOM",
		"80213 12 7 291 300 0 600/m - auto drop",
		"- - - - none - none - auto vip",
		"vip: This gate has not heard its store yet: there are no numbers.",
	} {
		if got := strings.Join(strings.Fields(lines[i]), " "); got != want {
			t.Errorf("line %d: %q, want %q", i+1, got, want)
		}
	}
}

func TestTopRefusesWhatItCannotDo(t *testing.T) {
	t.Setenv("SLUICE_ADMIN", "")
	for _, args := range [][]string{{"--interval", "1ms"}, {"drop"}, {"--admin", "nowhere"}} {
		if _, err := runCommand(t, newTopCommand(), args...); exitCode(err) != 2 {
			t.Errorf("sluice top %q: exit %d, %v", args, exitCode(err), err)
		}
	}
	if _, err := runCommand(t, newTopCommand(), "--admin", "127.0.0.1:1"); exitCode(err) != 1 {
		t.Errorf("a gate that is not there: exit %d, %v", exitCode(err), err)
	}
}

func TestTopKeepsTheLatestNumbersWhileAGateIsAway(t *testing.T) {
	g := openGate(t, nil)
	t.Setenv("SLUICE_ADMIN", g.url)
	flags := adminFlags{admin: g.url}
	c, err := flags.client(time.Second)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	var out looker
	looks := 0
	out.shown = func(string) {
		switch looks++; looks {
		case 2:
			c.base = "http://127.0.0.1:1"
		case 4:
			g.rooms.Edit("drop", func(r *admin.Room) { r.Snapshot.Waiting = 79000 })
			c.base = g.url
		case 5:
			stop()
		}
	}
	if err := (&top{client: c, interval: time.Millisecond}).watch(ctx, &out); err != nil {
		t.Fatal(err)
	}
	shots := out.shots
	if len(shots) != 5 {
		t.Fatalf("%d pictures: %q", len(shots), shots)
	}
	if !strings.Contains(shots[2], "no answer for") || !strings.Contains(shots[2], "80213") {
		t.Errorf("while the gate is away: %s", shots[2])
	}
	if strings.Contains(shots[4], "no answer") || !strings.Contains(shots[4], "79000") {
		t.Errorf("when it is back: %s", shots[4])
	}
}

// looker keeps every picture that is shown.
type looker struct {
	shots []string
	shown func(string)
}

func (l *looker) Write(p []byte) (int, error) {
	l.shots = append(l.shots, string(bytes.Clone(p)))
	l.shown(string(p))
	return len(p), nil
}
