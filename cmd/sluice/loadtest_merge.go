package main

import (
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
)

// newLoadtestMergeCommand judges what several machines saw.
func newLoadtestMergeCommand() *cobra.Command {
	var f struct {
		roomFlags
		outputFlags
	}
	cmd := &cobra.Command{
		Use:   "merge FILE PART...",
		Short: "Judge together what several machines wrote by loadtest run --part",
		Long: `Judge together what several machines wrote by "sluice loadtest run --part". FILE is
the script that all of them ran. Distributions are merged, not averaged, and the
judges see every visitor. The machines' clocks have to agree to a tenth of a second.
Exit codes are those of "sluice loadtest run".`,
		Example: `  sluice loadtest merge spike.yaml first.part second.part --room-rate 600/m --report spike.html`,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) < 2 {
				return usageError("name the script and the parts: %s", cmd.UseLine())
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			limits, err := f.roomFlags.judge()
			if err != nil {
				return err
			}
			r, err := loadScript(args[0])
			if err != nil {
				return err
			}
			merged, err := r.Merge(args[1:], limits)
			if err != nil {
				return exitError{exitUsage, err}
			}
			plan := r.Script.Plan()
			plan.Targets = merged.Targets
			fmt.Fprintf(cmd.OutOrStdout(), "%s%11s: %d\n\n", plan.Text(), "seed", merged.Seed)
			if err := f.tell(cmd, merged.Outcome, told{file: args[0], plan: plan.Text(), targets: merged.Targets, seed: merged.Seed}); err != nil {
				return err
			}
			if len(merged.Missing) > 0 {
				var shares []string
				for _, g := range merged.Missing {
					shares = append(shares, g.String())
				}
				err = fmt.Errorf("parts are missing: nobody tells of the visitors %s", strings.Join(shares, ", "))
			}
			return errors.Join(verdict(merged.Outcome), err)
		},
	}
	f.outputFlags.add(cmd.Flags())
	f.roomFlags.add(cmd.Flags())
	return cmd
}
