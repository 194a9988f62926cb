package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/sluicegate/sluice/loadtest/executor"
	"github.com/sluicegate/sluice/loadtest/run"
	scripts "github.com/sluicegate/sluice/loadtest/script"
	"github.com/sluicegate/sluice/loadtest/summary"
)

// rehearsalFlags are those of sluice loadtest run.
type rehearsalFlags struct {
	roomFlags
	outputFlags
	targets []string
	seed    uint64
	out     []string
	origin  string
	workers int
	segment string
	startAt string
	part    string
}

func newLoadtestRunCommand() *cobra.Command {
	var f rehearsalFlags
	cmd := &cobra.Command{
		Use:   "run FILE",
		Short: "Run a script and judge what the gate did",
		Long: `Run a script and judge what the gate did. It ends with 0 when all thresholds hold,
99 when one was crossed, 104 when the script is wrong, 105 when a signal ended it
early; the summary is printed then too.

The judges need no help but for two things: how many may be called in any time
follows from the room's limits (--room-rate, --room-burst), and who reached the
shop is seen by a shop that writes it down (--serve-origin, which the gate is to
have as its origin).

A process may have so many files open, and so many connections. --workers spreads
the visitors over several. --segment has some of them come from this machine and
leaves the others to further ones, which are given the same --seed and --start-at;
"sluice loadtest merge" judges what each wrote by --part.`,
		Example: `  sluice loadtest run spike.yaml --workers 4 --report spike.html
  sluice loadtest run spike.yaml --segment 0:1/2 --seed 7 --start-at 2026-11-27T09:00:00Z --part first.part`,
		Args: oneScript,
		RunE: func(cmd *cobra.Command, args []string) error { return f.run(cmd, args[0]) },
	}
	flags := cmd.Flags()
	flags.StringArrayVar(&f.targets, "target", nil, "`URL` of a gate, instead of the script's; may be given several times")
	flags.Uint64Var(&f.seed, "seed", 0, "`NUMBER` from which visitors draw what they do; without it, one at random, which is printed")
	flags.StringArrayVar(&f.out, "out", nil, "json=`FILE`: write every sample there, a line each")
	flags.StringVar(&f.origin, "serve-origin", "", "serve a shop at `ADDR` that records who came, while the script runs")
	flags.IntVar(&f.workers, "workers", 1, "processes that share the visitors")
	flags.StringVar(&f.segment, "segment", "", "`SHARE` of the visitors who come from here, such as 0:1/2 and 1/2:1")
	flags.StringVar(&f.startAt, "start-at", "", "`TIME` at which to start, such as 2026-11-27T09:00:00Z")
	flags.StringVar(&f.part, "part", "", "write what was seen to `FILE`, for loadtest merge")
	f.outputFlags.add(flags)
	f.roomFlags.add(flags)
	return cmd
}

func (f *rehearsalFlags) run(cmd *cobra.Command, file string) (err error) {
	o, err := f.options(cmd.Flags())
	if err != nil {
		return err
	}
	r, err := loadScript(file)
	if err != nil {
		return err
	}
	if f.origin != "" {
		if o.Origin, err = net.Listen("tcp", f.origin); err != nil {
			return cannotListen("the origin", f.origin, "--serve-origin", err)
		}
		defer o.Origin.Close()
	}
	created := func(flag, name string) *os.File {
		if err != nil || name == "" {
			return nil
		}
		var to *os.File
		if to, err = os.Create(name); err != nil {
			err = fmt.Errorf("%s: %w", flag, err)
		}
		return to
	}
	closing := func(flag string, to *os.File) {
		if e := to.Close(); e != nil && err == nil {
			err = fmt.Errorf("%s: %w", flag, e)
		}
	}
	for _, text := range f.out {
		_, name, _ := strings.Cut(text, "=")
		if points := created("--out", name); points != nil {
			defer closing("--out", points)
			o.Points = points
		}
	}
	if part := created("--part", f.part); part != nil {
		defer closing("--part", part)
		o.Part = part
	}
	if err != nil {
		return err
	}

	out := cmd.OutOrStdout()
	plan := r.Script.Plan()
	if len(f.targets) > 0 {
		plan.Targets = f.targets
	}
	fmt.Fprintf(out, "%s%11s: %d\n\n", plan.Text(), "seed", o.Seed)
	screen := summary.NewScreen(out, isTerminal(out))
	o.Progress = func(elapsed time.Duration, scenarios []summary.Progress) {
		_ = screen.Show(summary.Lines(elapsed, scenarios, columns()))
	}
	outcome, failed := r.Run(cmd.Context(), o)
	_ = screen.Clear()
	var problems scripts.Problems
	switch {
	case errors.As(failed, &problems):
		return exitError{exitBadScript, failed}
	case outcome == nil && errors.Is(failed, context.Canceled) && cmd.Context().Err() != nil:
		return exitError{exitInterrupted, errors.New("interrupted before anybody came")}
	case outcome == nil:
		return failed
	}
	err = f.tell(cmd, outcome, told{file: file, plan: plan.Text(), targets: plan.Targets, seed: o.Seed, command: repeated(cmd, file, o.Seed)})
	if err := errors.Join(failed, err); err != nil {
		return err
	}
	return verdict(outcome)
}

// options are what the flags ask for, but for what has to be opened.
func (f *rehearsalFlags) options(flags *pflag.FlagSet) (o run.Options, err error) {
	o = run.Options{Targets: f.targets, Seed: f.seed, Workers: f.workers, Worker: workerCommand}
	if !flags.Changed("seed") {
		o.Seed = rand.Uint64()
	}
	if len(f.out) > 1 {
		return o, usageError("--out is given %d times: once is all it can do", len(f.out))
	}
	for _, text := range f.out {
		if kind, name, _ := strings.Cut(text, "="); kind != "json" || name == "" {
			return o, usageError("--out %q: want json=FILE", text)
		}
	}
	if f.workers < 1 || f.workers > maxWorkers {
		return o, usageError("--workers %d: want 1 to %d", f.workers, maxWorkers)
	}
	if f.segment != "" {
		if o.Segment, err = executor.ParseSegment(f.segment); err != nil {
			return o, usageError("--segment: %w", err)
		}
		if o.Segment.Part() && !flags.Changed("seed") {
			return o, usageError("--segment needs --seed beside it, the same for all machines, so that each has its own visitors of one run")
		}
	}
	if f.startAt != "" {
		if o.Start, err = time.Parse(time.RFC3339, f.startAt); err != nil {
			return o, usageError("--start-at %q: want a time such as 2026-11-27T09:00:00Z", f.startAt)
		}
		if o.Start.Before(time.Now()) {
			return o, usageError("--start-at %s is over", f.startAt)
		}
	}
	o.Judge, err = f.roomFlags.judge()
	return o, err
}

// maxWorkers bounds how many processes a slip of the finger starts.
const maxWorkers = 64

// repeated is the command line that runs the same again.
func repeated(cmd *cobra.Command, file string, seed uint64) string {
	words := []string{cmd.CommandPath(), file}
	cmd.Flags().Visit(func(f *pflag.Flag) {
		if f.Name == "seed" || f.Name == "start-at" {
			return
		}
		values := []string{f.Value.String()}
		if list, ok := f.Value.(pflag.SliceValue); ok {
			values = list.GetSlice()
		}
		for _, v := range values {
			words = append(words, "--"+f.Name, v)
		}
	})
	return strings.Join(append(words, "--seed", strconv.FormatUint(seed, 10)), " ")
}

// columns is how wide the terminal is as far as the environment says.
func columns() int {
	if n, err := strconv.Atoi(os.Getenv("COLUMNS")); err == nil && n > 0 {
		return n
	}
	return 80
}

// workerCommand is this program as a worker.
func workerCommand() *exec.Cmd {
	self, err := os.Executable()
	if err != nil {
		self = os.Args[0]
	}
	return &exec.Cmd{Path: self, Args: []string{"sluice", "loadtest", "worker"}}
}
