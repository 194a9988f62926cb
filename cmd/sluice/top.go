package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/sluicegate/sluice/loadtest/summary"
)

// newTopCommand shows the rooms, over and over, while an operator looks on.
func newTopCommand() *cobra.Command {
	var flags adminFlags
	interval, once := time.Second, false
	cmd := &cobra.Command{
		Use:   "top",
		Short: "Watch the rooms in the terminal",
		Long: `Watch the rooms in the terminal: who waits, who is inside, how many are let in
a minute, and how long whoever comes now would wait at that pace. End it with
Ctrl-C. Where the output is no terminal, the rooms are printed once.`,
		Example: `  sluice top
  sluice top --interval 5s --admin 10.0.0.7:9090 --token-file token`,
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if interval < 100*time.Millisecond {
				return usageError("--interval %s: want 100ms or more", interval)
			}
			c, err := flags.client(max(interval, 3*time.Second))
			if err != nil {
				return err
			}
			t := top{client: c, interval: interval}
			if once || !isTerminal(cmd.OutOrStdout()) {
				return t.once(cmd.Context(), cmd.OutOrStdout())
			}
			return t.watch(cmd.Context(), cmd.OutOrStdout())
		},
	}
	flags.register(cmd)
	cmd.Flags().DurationVar(&interval, "interval", interval, "time between two looks")
	cmd.Flags().BoolVar(&once, "once", false, "print the rooms once: after two looks, so that the pace is known")
	return strict(cmd)
}

// top looks at the rooms of a gate.
type top struct {
	client   *adminClient
	interval time.Duration
	rooms    []adminRoom     // by the latest look that succeeded
	paces    map[string]pace // of the rooms
}

// pace is how fast a room lets people in, by what it has called between two looks.
type pace struct {
	calls     int64
	at        time.Time
	perMinute float64 // below 0: not known yet
}

func (t *top) once(ctx context.Context, w io.Writer) error {
	for look := range 2 {
		if look > 0 && !pause(ctx, t.interval) {
			return ctx.Err()
		}
		if err := t.look(ctx); err != nil {
			return err
		}
	}
	for _, line := range t.lines() {
		if _, err := fmt.Fprintln(w, line); err != nil {
			return err
		}
	}
	return nil
}

// watch looks again and again until ctx ends. A gate that does not answer may be
// restarting: the latest numbers stay, and it is said that they are the latest.
func (t *top) watch(ctx context.Context, w io.Writer) error {
	screen := summary.NewScreen(w, true)
	var seen time.Time
	for {
		err := t.look(ctx)
		if ctx.Err() != nil {
			return nil
		}
		note := ""
		switch {
		case err == nil:
			seen = time.Now()
		case seen.IsZero():
			return err
		default:
			note = fmt.Sprintf("  no answer for %s: %v", time.Since(seen).Round(time.Second), err)
		}
		head := fmt.Sprintf("sluice top  %s  %s%s", t.client.base, time.Now().Format("15:04:05"), note)
		if err := screen.Show(append([]string{head, ""}, t.lines()...)); err != nil {
			return err
		}
		if !pause(ctx, t.interval) {
			return nil
		}
	}
}

// pause waits, or reports that ctx has ended.
func pause(ctx context.Context, d time.Duration) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(d):
		return true
	}
}

// look asks the gate, and finds out the pace of its rooms.
func (t *top) look(ctx context.Context) error {
	rooms, _, err := t.client.Rooms(ctx)
	if err != nil {
		return err
	}
	paces := make(map[string]pace)
	for i := range rooms {
		r := &rooms[i]
		if r.Counts == nil || r.At == nil {
			continue
		}
		paces[r.Name] = t.paces[r.Name].next(r.Counts.Calls, *r.At)
	}
	t.rooms, t.paces = rooms, paces
	return nil
}

// next takes another look into account. A count that fell is a line begun anew.
func (p pace) next(calls int64, at time.Time) pace {
	switch {
	case p.at.IsZero() || calls < p.calls:
		return pace{calls, at, -1}
	case !at.After(p.at):
		return p
	}
	return pace{calls, at, float64(calls-p.calls) / at.Sub(p.at).Minutes()}
}

func (t *top) lines() []string {
	if len(t.rooms) == 0 {
		return []string{"There are no rooms."}
	}
	var b bytes.Buffer
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "WAITING\tABSENT\tCALLED\tACTIVE\tMOST\tLET IN/MIN\tRATE\tWAIT\tMODE\t  ROOM")
	var late []string
	for i := range t.rooms {
		r := &t.rooms[i]
		waiting, absent, called, active, letIn, wait := "-", "-", "-", "-", "-", "-"
		if c := r.Counts; c != nil {
			waiting, absent, called, active = count(c.Waiting), count(c.Absent), count(c.Called), count(c.Active)
			if p, ok := t.paces[r.Name]; ok && p.perMinute >= 0 {
				letIn = fmt.Sprintf("%.0f", p.perMinute)
				wait = waitAt(c.Waiting, p.perMinute)
			}
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t  %s\n", waiting, absent, called, active, text(r.Settings.MaxActive),
			letIn, printable(r.Settings.Rate), wait, printable(r.Settings.Mode), r.Name)
		if l := r.late(); l != "" {
			late = append(late, r.Name+": "+l)
		}
	}
	_ = w.Flush() // into memory
	return append(strings.Split(strings.TrimRight(b.String(), "\n"), "\n"), late...)
}

// waitAt is how long so many take at a pace.
func waitAt(waiting int64, perMinute float64) string {
	switch {
	case waiting == 0:
		return "0s"
	case perMinute <= 0:
		return "-"
	}
	d := time.Duration(float64(waiting) / perMinute * float64(time.Minute))
	switch {
	case d < time.Minute:
		return d.Round(time.Second).String()
	case d < time.Hour:
		return fmt.Sprintf("%dm", int(d.Round(time.Minute).Minutes()))
	}
	return fmt.Sprintf("%dh%02dm", int(d.Hours()), int(d.Minutes())%60)
}
