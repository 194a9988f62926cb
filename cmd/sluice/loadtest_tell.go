package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/sluicegate/sluice/loadtest/judge"
	"github.com/sluicegate/sluice/loadtest/report"
	"github.com/sluicegate/sluice/loadtest/run"
	"github.com/sluicegate/sluice/loadtest/summary"
	"github.com/sluicegate/sluice/queue"
)

// roomFlags tell the judges what they cannot see from outside.
type roomFlags struct {
	rate    string
	burst   int64
	session time.Duration
}

func (f *roomFlags) add(flags *pflag.FlagSet) {
	flags.StringVar(&f.rate, "room-rate", "", "`RATE` of the room, such as 50/s, for the judges")
	flags.Int64Var(&f.burst, "room-burst", 0, "burst of the room; 0: a second's worth of the rate")
	flags.DurationVar(&f.session, "room-session", 0, "session of the room: for so long vanished visitors count as inside")
}

func (f *roomFlags) judge() (o judge.Options, err error) {
	if f.burst < 0 || f.session < 0 {
		return o, usageError("--room-burst and --room-session cannot be negative")
	}
	o.Session = f.session
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
		o.Rate, o.Burst = float64(rate.PerHour())/3600, float64(s.EffectiveBurst())
	}
	return o, nil
}

// outputFlags say where the outcome of a rehearsal goes beside the terminal.
type outputFlags struct {
	export string
	report string
}

func (f *outputFlags) add(flags *pflag.FlagSet) {
	flags.StringVar(&f.export, "summary-export", "", "write the summary to `FILE`, in the shape of k6's handleSummary data")
	flags.StringVar(&f.report, "report", "", "write an HTML page with charts to `FILE`, for whoever has to decide")
}

// told is what a report says of how it was made.
type told struct {
	file    string // of the script
	plan    string
	targets []string
	seed    uint64
	command string
}

// tell prints the summary and what the judges found, and writes the files asked for.
func (f *outputFlags) tell(cmd *cobra.Command, outcome *run.Outcome, t told) error {
	out := cmd.OutOrStdout()
	s := outcome.Summary()
	s.StdoutTerminal, s.StderrTerminal = isTerminal(out), isTerminal(cmd.ErrOrStderr())
	s.Color = s.StdoutTerminal && os.Getenv("NO_COLOR") == ""
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
	if f.report != "" {
		page, err := report.HTML(report.Data{
			Name: filepath.Base(t.file), Began: outcome.Began, Plan: t.plan, Seed: t.seed, Targets: t.targets, Command: t.command, Version: thisBuild().Version,
			Registry: outcome.Registry, Results: outcome.Results, Verdict: outcome.Verdict, Limits: outcome.Judged,
			Shop: outcome.Shop, Failures: outcome.Failures.Lines(), Interrupted: outcome.Interrupted, Aborted: outcome.Aborted,
		})
		if err != nil {
			return fmt.Errorf("--report: %w", err)
		}
		if err := os.WriteFile(f.report, page, 0o644); err != nil {
			return fmt.Errorf("--report: %w", err)
		}
	}
	return nil
}
