package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"github.com/sluicegate/sluice/gate/config"
	"github.com/sluicegate/sluice/gate/page"
)

func newValidateCommand() *cobra.Command {
	var file, format string
	cmd := &cobra.Command{
		Use:   "validate -c FILE",
		Short: "Check a configuration and list everything wrong with it",
		Args:  noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if format != "text" && format != "json" {
				return usageError("--format %q: want text or json", format)
			}
			file = configFile(file)
			if file == "" {
				return usageError("name the file to check: sluice validate -c FILE")
			}
			c, err := config.Load(config.Source{File: file, Env: os.LookupEnv})
			if err == nil {
				err = checkTemplates(c)
			}
			var problems config.Problems
			if err != nil && !errors.As(err, &problems) {
				return exitError{exitUsage, err}
			}
			out := cmd.OutOrStdout()
			if format == "json" {
				if problems == nil {
					problems = config.Problems{}
				}
				_ = json.NewEncoder(out).Encode(map[string]any{"valid": len(problems) == 0, "problems": problems})
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
				fmt.Fprintf(out, "%s is valid: %d rooms\n", file, len(c.Rooms))
			}
			return nil
		},
	}
	cmd.Flags().StringVarP(&file, "config", "c", "", "`FILE` to check; env SLUICE_CONFIG")
	cmd.Flags().StringVar(&format, "format", "text", "text or json")
	return cmd
}

// checkTemplates compiles the rooms' own pages, which a start would refuse.
func checkTemplates(c *config.Config) error {
	var problems config.Problems
	for i, r := range c.Rooms {
		if r.Page.Template == "" {
			continue
		}
		if _, err := page.New(page.Config{Room: r.Name, Template: r.Page.Template}); err != nil {
			problems = append(problems, config.Problem{
				File: r.Page.Template, Key: fmt.Sprintf("rooms[%d].page.template", i), Message: err.Error(),
			})
		}
	}
	if problems != nil {
		return problems
	}
	return nil
}

// configFile is the file that a command was given, by flag or environment.
func configFile(flag string) string {
	if flag != "" {
		return flag
	}
	return os.Getenv("SLUICE_CONFIG")
}
