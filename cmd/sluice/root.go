package main

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"
)

func newRootCommand() *cobra.Command {
	root := &cobra.Command{
		Use:   "sluice",
		Short: "A waiting room in front of your site",
		Long: `Sluice stands in front of a shop, lets visitors through at the rate the shop can
bear, and keeps everybody else in a fair, visible line.

Try it:      sluice demo
Use it:      sluice serve --origin http://127.0.0.1:3000 --rate 10/s`,
		Args: noSuchCommand,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.AddCommand(newServeCommand(), newDemoCommand(), newValidateCommand(), newRoomCommand(),
		newTopCommand(), newLoadtestCommand(), newHealthcheckCommand(), newVersionCommand())
	root.InitDefaultCompletionCmd()
	root.InitDefaultHelpCmd()
	for _, cmd := range root.Commands() {
		switch cmd.Name() {
		case "completion":
			cmd.Args = noSuchCommand
			cmd.RunE = func(cmd *cobra.Command, _ []string) error { return cmd.Help() }
			for _, shell := range cmd.Commands() {
				shell.Args = noArguments
			}
		case "help":
			cmd.Args = func(_ *cobra.Command, args []string) error {
				found, rest, err := root.Find(args)
				if err != nil {
					return err
				}
				return noSuchCommand(found, rest)
			}
		}
	}
	return strict(root)
}

// noSuchCommand refuses what should have been the name of a command under cmd.
func noSuchCommand(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	cmd.SuggestionsMinimumDistance = 2
	hint := fmt.Sprintf("See %s --help", cmd.CommandPath())
	if near := cmd.SuggestionsFor(args[0]); len(near) > 0 {
		hint = "Did you mean " + strings.Join(near, " or ") + "?"
	}
	return usageError("there is no command \"%s %s\"\n%s", cmd.CommandPath(), printable(args[0]), hint)
}

// noArguments is for commands that take flags only.
func noArguments(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	hint := "See " + cmd.CommandPath() + " --help"
	if cmd.Flags().Lookup("config") != nil {
		hint = "A file is named with -c: " + cmd.CommandPath() + " -c FILE"
	}
	return usageError("%q is an argument too many: %s takes flags only\n%s", args[0], cmd.CommandPath(), hint)
}
