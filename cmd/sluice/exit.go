package main

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"
)

// The exit codes.
const (
	exitFailed = 1 // the run failed
	exitUsage  = 2 // bad usage or configuration
)

// exitError is an error that says with which code the program ends.
type exitError struct {
	code int
	err  error
}

func (e exitError) Error() string { return e.err.Error() }
func (e exitError) Unwrap() error { return e.err }

// usageError is an error of whoever typed the command.
func usageError(format string, args ...any) error {
	return exitError{exitUsage, fmt.Errorf(format, args...)}
}

// exitCode is the code that err ends the program with.
func exitCode(err error) int {
	var e exitError
	switch {
	case err == nil:
		return 0
	case errors.As(err, &e):
		return e.code
	default:
		return exitFailed
	}
}

// strict makes what cobra says about the flags and arguments of cmd, and of the
// commands under it, a usageError. Printing is left to main.
func strict(cmd *cobra.Command) *cobra.Command {
	cmd.SilenceErrors, cmd.SilenceUsage = true, true
	cmd.SetFlagErrorFunc(func(c *cobra.Command, err error) error {
		return usageError("%w\nSee %s --help", err, c.CommandPath())
	})
	if check := cmd.Args; check != nil {
		cmd.Args = func(c *cobra.Command, args []string) error {
			if err := check(c, args); err != nil && exitCode(err) != exitUsage {
				return usageError("%w\nUsage: %s", err, c.UseLine())
			} else if err != nil {
				return err
			}
			return nil
		}
	}
	for _, sub := range cmd.Commands() {
		strict(sub)
	}
	return cmd
}
