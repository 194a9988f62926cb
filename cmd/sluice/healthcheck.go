package main

import (
	"fmt"
	"time"

	"github.com/spf13/cobra"
)

// newHealthcheckCommand asks a gate whether it is ready, for containers that
// have no other program to ask with.
func newHealthcheckCommand() *cobra.Command {
	var flags adminFlags
	timeout := 3 * time.Second
	cmd := &cobra.Command{
		Use:   "healthcheck",
		Short: "Ask a gate whether it is ready; exit 1 when it is not",
		Long: `Ask a gate's /readyz. Exit 0 when it is ready, 1 when it is not or cannot be
reached. A gate is ready while its listeners are up; neither the store nor the
origin makes it unready.`,
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := flags.client(timeout)
			if err != nil {
				return err
			}
			if err := c.Ready(cmd.Context()); err != nil {
				return err
			}
			_, err = fmt.Fprintln(cmd.OutOrStdout(), "ready")
			return err
		},
	}
	flags.register(cmd)
	cmd.Flags().DurationVar(&timeout, "timeout", timeout, "longest to wait for the answer")
	return strict(cmd)
}
