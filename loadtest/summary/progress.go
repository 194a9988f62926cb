package summary

import (
	"fmt"
	"io"
	"math"
	"strings"
	"time"

	"github.com/sluicegate/sluice/loadtest/executor"
)

// Progress is how far a scenario is, over all who share the run.
type Progress struct {
	Scenario                          *executor.Scenario
	VUs, Ready                        int64
	Begun, Done, Interrupted, Dropped int64
	Over                              bool // its last iteration ended
}

// ProgressOf reads what a scenario of this process says of itself.
func ProgressOf(s *executor.Scenario, l *executor.Live, over bool) Progress {
	return Progress{s, l.VUs.Load(), l.Ready.Load(), l.Begun.Load(), l.Done.Load(), l.Interrupted.Load(), l.Dropped.Load(), over}
}

// bar is how many characters a bar of progress has between its brackets.
const bar = 22

// Lines returns the progress after so much of the run: one line about all, then
// one for each scenario, none longer than width characters (0: any).
func Lines(elapsed time.Duration, scenarios []Progress, width int) []string {
	var sum Progress
	name := 0
	for _, p := range scenarios {
		sum.VUs += p.VUs
		sum.Ready += p.Ready
		sum.Done += p.Done
		sum.Interrupted += p.Interrupted
		name = max(name, len(p.Scenario.Name))
	}
	out := []string{fmt.Sprintf("running (%s), %d/%d VUs, %d complete and %d interrupted iterations",
		clock(elapsed), sum.VUs, sum.Ready, sum.Done, sum.Interrupted)}
	for _, p := range scenarios {
		out = append(out, fmt.Sprintf("%-*s %s", name, p.Scenario.Name, p.line(elapsed)))
	}
	if width > 0 {
		for i, l := range out {
			if r := []rune(l); len(r) > width {
				out[i] = string(r[:max(0, width-1)]) + "…"
			}
		}
	}
	return out
}

func (p Progress) line(elapsed time.Duration) string {
	s := p.Scenario
	at := elapsed - s.StartTime
	if at < 0 {
		return fmt.Sprintf("• [%s] waiting %s", strings.Repeat("-", bar), clock(-at))
	}
	length := s.Length()
	share := 1.0
	if length > 0 {
		share = float64(at) / float64(length)
	}
	var of string
	switch s.Kind {
	case executor.PerVUIterations, executor.SharedIterations:
		total := s.Iterations
		if s.Kind == executor.PerVUIterations {
			total *= s.VUs
		}
		share = float64(p.Done) / float64(total)
		of = fmt.Sprintf("%d/%d iters", p.Done, total)
	case executor.ConstantArrivalRate, executor.RampingArrivalRate:
		of = fmt.Sprintf("%d begun", p.Begun)
	default:
		of = fmt.Sprintf("%d iters", p.Done)
	}
	sign := "↓"
	switch {
	case p.Over && p.Dropped+p.Interrupted > 0:
		sign = failed
	case p.Over:
		sign = passed
	case at >= length:
		sign = "↓ ending"
	}
	if p.Dropped > 0 {
		of += fmt.Sprintf(", %d dropped", p.Dropped)
	}
	return fmt.Sprintf("%s [%s] %d/%d VUs  %s/%s  %s", sign, fill(share), p.VUs, p.Ready, clock(min(at, length)), clock(length), of)
}

func fill(share float64) string {
	n := int(math.Floor(min(max(share, 0), 1) * bar))
	if n == bar {
		return strings.Repeat("=", bar)
	}
	return strings.Repeat("=", n) + ">" + strings.Repeat("-", bar-n-1)
}

// clock is 5.2s below a minute, 1m05.2s above.
func clock(d time.Duration) string {
	d = d.Truncate(100 * time.Millisecond)
	if d < time.Minute {
		return fmt.Sprintf("%.1fs", d.Seconds())
	}
	rest := d % time.Minute
	if d < time.Hour {
		return fmt.Sprintf("%dm%04.1fs", d/time.Minute, rest.Seconds())
	}
	return fmt.Sprintf("%dh%02dm%02ds", d/time.Hour, d%time.Hour/time.Minute, rest/time.Second)
}

// Screen shows lines of progress in place on a terminal. On anything else it
// writes nothing.
type Screen struct {
	w        io.Writer
	terminal bool
	lines    int
}

// NewScreen returns one that writes to w.
func NewScreen(w io.Writer, terminal bool) *Screen { return &Screen{w: w, terminal: terminal} }

// Show replaces the lines shown before.
func (s *Screen) Show(lines []string) error {
	if !s.terminal {
		return nil
	}
	var b strings.Builder
	s.erase(&b)
	for _, l := range lines {
		b.WriteString(l)
		b.WriteByte('\n')
	}
	s.lines = len(lines)
	_, err := io.WriteString(s.w, b.String())
	return err
}

// Clear takes away what is shown, before something else is printed.
func (s *Screen) Clear() error {
	if !s.terminal || s.lines == 0 {
		return nil
	}
	var b strings.Builder
	s.erase(&b)
	s.lines = 0
	_, err := io.WriteString(s.w, b.String())
	return err
}

func (s *Screen) erase(b *strings.Builder) {
	if s.lines > 0 {
		fmt.Fprintf(b, "\x1b[%dA\x1b[J", s.lines)
	}
}
