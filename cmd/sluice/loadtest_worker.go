package main

import (
	"os"
	"os/signal"

	"github.com/spf13/cobra"

	"github.com/sluicegate/sluice/loadtest/run"
)

// newLoadtestWorkerCommand does a share of a run for the process that starts it.
func newLoadtestWorkerCommand() *cobra.Command {
	return &cobra.Command{
		Use:    "worker",
		Short:  "Do a share of a run, for loadtest run --workers",
		Hidden: true,
		Args:   noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			// A terminal sends an interrupt to all at once; who started this says when to stop.
			signal.Ignore(os.Interrupt)
			return run.Work(cmd.InOrStdin(), cmd.OutOrStdout(), os.LookupEnv)
		},
	}
}
