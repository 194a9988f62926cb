package main

import "github.com/spf13/cobra"

func newRootCommand() *cobra.Command {
	root := &cobra.Command{
		Use:   "sluice",
		Short: "A waiting room in front of your site",
		Long: `Sluice stands in front of a shop, lets visitors through at the rate the shop can
bear, and keeps everybody else in a fair, visible line.

Try it:      sluice demo
Use it:      sluice serve --origin http://127.0.0.1:3000 --rate 10/s`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.AddCommand(newServeCommand(), newDemoCommand(), newValidateCommand(), newRoomCommand(),
		newHealthcheckCommand(), newVersionCommand())
	root.InitDefaultCompletionCmd()
	return strict(root)
}
