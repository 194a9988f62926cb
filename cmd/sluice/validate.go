package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/sluicegate/sluice/gate/config"
)

func newValidateCommand() *cobra.Command {
	var file, format string
	cmd := &cobra.Command{
		Use:   "validate -c FILE",
		Short: "Check a configuration and list everything wrong with it",
		Long: `Check a configuration and list everything wrong with it, each problem with its
line and column. The environment counts as it does for sluice serve. Exit 0 when
all is well, 2 when not.`,
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if format != "text" && format != "json" {
				return usageError("--format %q: want text or json", format)
			}
			named := file
			file = configFile(file)
			if file == "" {
				return usageError("name the file to check: sluice validate -c FILE")
			}
			c, err := config.Load(config.Source{File: file, Env: os.LookupEnv})
			var problems config.Problems
			if err != nil && !errors.As(err, &problems) {
				if format == "text" {
					return exitError{exitUsage, whence(named, err)}
				}
				problems = config.Problems{{File: file, Message: err.Error()}}
			}
			out := cmd.OutOrStdout()
			if format == "json" {
				if problems == nil {
					problems = config.Problems{}
				}
				answer := map[string]any{"valid": len(problems) == 0, "problems": problems}
				if c != nil && len(c.Warnings) > 0 {
					answer["warnings"] = c.Warnings
				}
				_ = json.NewEncoder(out).Encode(answer)
			} else {
				for _, p := range problems {
					fmt.Fprintln(out, p)
				}
			}
			switch n := len(problems); {
			case n == 1:
				return usageError("%s has 1 problem", file)
			case n > 1:
				return usageError("%s has %d problems", file, n)
			}
			if format == "text" {
				for _, w := range c.Warnings {
					fmt.Fprintln(out, "warning:", w)
				}
				names := make([]string, len(c.Rooms))
				for i, r := range c.Rooms {
					names[i] = r.Name
				}
				fmt.Fprintf(out, "%s is valid; its rooms: %s\n", file, strings.Join(names, ", "))
			}
			return nil
		},
	}
	cmd.Flags().StringVarP(&file, "config", "c", "", "`FILE` to check; env SLUICE_CONFIG")
	cmd.Flags().StringVar(&format, "format", "text", "text or json")
	return cmd
}

// configFile is the file that a command was given, by flag or environment.
func configFile(flag string) string {
	if flag != "" {
		return flag
	}
	return os.Getenv("SLUICE_CONFIG")
}

// whence adds that the file was named by the environment, where it was.
func whence(flag string, err error) error {
	if flag == "" {
		return fmt.Errorf("SLUICE_CONFIG: %w", err)
	}
	return err
}
