package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/sluicegate/sluice/loadtest/run"
	scripts "github.com/sluicegate/sluice/loadtest/script"
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
	cmd.AddCommand(newLoadtestRunCommand(), newLoadtestInspectCommand(), newLoadtestMergeCommand(), newLoadtestWorkerCommand())
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
