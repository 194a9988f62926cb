package main

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/sluicegate/sluice/loadtest/judge"
	"github.com/sluicegate/sluice/loadtest/run"
	scripts "github.com/sluicegate/sluice/loadtest/script"
	"github.com/sluicegate/sluice/loadtest/summary"
	"github.com/sluicegate/sluice/queue"
)

// The exit codes of a rehearsal, which are k6's.
const (
	exitCrossed     = 99  // a threshold was crossed
	exitBadScript   = 104 // the script is wrong
	exitInterrupted = 105 // ended by a signal
)

// newLoadtestCommand sends visitors to a gate, to see what it does on the day.
func newLoadtestCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "loadtest",
		Short: "Rehearse: send visitors to a gate and judge what it does",
		Long: `Rehearse: send visitors to a gate, as many and as fast as a script says, and judge
from outside whether it kept its promises. Scripts have k6's option names.`,
		Example: `  sluice loadtest inspect spike.yaml
  sluice loadtest run spike.yaml --summary-export summary.json`,
		Args: noSuchCommand,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newLoadtestRunCommand(), newLoadtestInspectCommand())
	return strict(cmd)
}

func newLoadtestInspectCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "inspect FILE",
		Short: "Check a script and print its plan, without sending anything",
		Args:  oneScript,
		RunE: func(cmd *cobra.Command, args []string) error {
			r, err := loadScript(args[0])
			if err != nil {
				return err
			}
			plan := r.Script.Plan()
			if asJSON {
				_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s\n", strings.TrimSpace(string(plan.JSON())))
				return err
			}
			_, err = io.WriteString(cmd.OutOrStdout(), plan.Text())
			return err
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print the plan as JSON, in the shape of k6's inspect")
	return cmd
}

// rehearsalFlags are those of sluice loadtest run.
type rehearsalFlags struct {
	targets     []string
	seed        uint64
	out         []string
	export      string
	origin      string
	rate        string
	burst       int64
	session     time.Duration
	seedChanged bool
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
have as its origin).`,
		Args: oneScript,
		RunE: func(cmd *cobra.Command, args []string) error {
			f.seedChanged = cmd.Flags().Changed("seed")
			return f.run(cmd, args[0])
		},
	}
	flags := cmd.Flags()
	flags.StringArrayVar(&f.targets, "target", nil, "`URL` of a gate, instead of the script's; may be given several times")
	flags.Uint64Var(&f.seed, "seed", 0, "`NUMBER` from which visitors draw what they do; without it, one at random, which is printed")
	flags.StringArrayVar(&f.out, "out", nil, "json=`FILE`: write every sample there, a line each")
	flags.StringVar(&f.export, "summary-export", "", "write the summary to `FILE`, in the shape of k6's handleSummary data")
	flags.StringVar(&f.origin, "serve-origin", "", "serve a shop at `ADDR` that records who came, while the script runs")
	flags.StringVar(&f.rate, "room-rate", "", "`RATE` of the room, such as 50/s, for the judges")
	flags.Int64Var(&f.burst, "room-burst", 0, "burst of the room; 0: a second's worth of the rate")
	flags.DurationVar(&f.session, "room-session", 0, "session of the room: for so long vanished visitors count as inside")
	return cmd
}

func oneScript(cmd *cobra.Command, args []string) error {
	switch {
	case len(args) == 0:
		return usageError("name the script: %s", cmd.UseLine())
	case len(args) > 1:
		return usageError("%q is an argument too many: %s takes one script", args[1], cmd.CommandPath())
	}
	return nil
}

func loadScript(file string) (*run.Rehearsal, error) {
	r, err := run.Load(scripts.Source{File: file, Env: os.LookupEnv})
	if err != nil {
		return nil, exitError{exitBadScript, err}
	}
	return r, nil
}

func (f *rehearsalFlags) run(cmd *cobra.Command, file string) (err error) {
	o, err := f.options()
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
	for _, text := range f.out {
		_, name, _ := strings.Cut(text, "=")
		points, e := os.Create(name)
		if e != nil {
			return fmt.Errorf("--out: %w", e)
		}
		defer func() {
			if e := points.Close(); e != nil && err == nil {
				err = fmt.Errorf("--out: %w", e)
			}
		}()
		o.Points = points
	}

	out := cmd.OutOrStdout()
	terminal := isTerminal(out)
	plan := r.Script.Plan()
	if len(f.targets) > 0 {
		plan.Targets = f.targets
	}
	fmt.Fprintf(out, "%s%11s: %d\n\n", plan.Text(), "seed", o.Seed)
	screen := summary.NewScreen(out, terminal)
	o.Progress = func(elapsed time.Duration, scenarios []summary.Progress) {
		_ = screen.Show(summary.Lines(elapsed, scenarios, columns()))
	}
	outcome, failed := r.Run(cmd.Context(), o)
	_ = screen.Clear()
	var problems scripts.Problems
	switch {
	case errors.As(failed, &problems):
		return exitError{exitBadScript, failed}
	case outcome == nil:
		return failed
	}
	s := outcome.Summary()
	s.StdoutTerminal, s.StderrTerminal = terminal, isTerminal(cmd.ErrOrStderr())
	s.Color = terminal && os.Getenv("NO_COLOR") == ""
	fmt.Fprintf(out, "%s\n\n%s\n", strings.TrimRight(summary.Text(s), "\n"), outcome.Findings())
	if f.export != "" {
		data, err := summary.JSON(s)
		if err != nil {
			return fmt.Errorf("--summary-export: %w", err)
		}
		if err := os.WriteFile(f.export, data, 0o644); err != nil {
			return fmt.Errorf("--summary-export: %w", err)
		}
	}
	if failed != nil {
		return failed
	}
	return verdict(outcome)
}

// verdict is the error that says how a run ended.
func verdict(o *run.Outcome) error {
	crossed := strings.Join(o.Crossed(), ", ")
	switch {
	case o.Interrupted && crossed != "":
		return exitError{exitInterrupted, fmt.Errorf("interrupted: the summary is of what was done until then; crossed by then: %s", crossed)}
	case o.Interrupted:
		return exitError{exitInterrupted, errors.New("interrupted: the summary is of what was done until then")}
	case o.Aborted != nil:
		return exitError{exitCrossed, fmt.Errorf("ended early by the threshold %s: %s; crossed: %s", o.Aborted.Selector, o.Aborted.Source, crossed)}
	case crossed != "":
		return exitError{exitCrossed, fmt.Errorf("thresholds were crossed: %s", crossed)}
	}
	return nil
}

// options are what the flags ask for, but for what has to be opened.
func (f *rehearsalFlags) options() (run.Options, error) {
	o := run.Options{Targets: f.targets, Seed: f.seed, Judge: judge.Options{Session: f.session}}
	if !f.seedChanged {
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
	if f.burst < 0 || f.session < 0 {
		return o, usageError("--room-burst and --room-session cannot be negative")
	}
	if f.rate == "" {
		if f.burst != 0 {
			return o, usageError("--room-burst needs --room-rate beside it")
		}
		return o, nil
	}
	rate, err := queue.ParseRate(f.rate)
	if err != nil {
		return o, usageError("--room-rate %q: %w", f.rate, err)
	}
	if rate != queue.NoRate {
		s := queue.Settings{Rate: rate, Burst: f.burst}
		o.Judge.Rate, o.Judge.Burst = float64(rate.PerHour())/3600, float64(s.EffectiveBurst())
	}
	return o, nil
}

// columns is how wide the terminal is as far as the environment says.
func columns() int {
	if n, err := strconv.Atoi(os.Getenv("COLUMNS")); err == nil && n > 0 {
		return n
	}
	return 80
}
