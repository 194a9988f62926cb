// Command sluice is a waiting room in front of a site.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"
)

func main() { os.Exit(execute()) }

// execute returns the exit code. The first signal asks to stop, the second ends
// the process at once.
func execute() int {
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	go func() {
		<-signals
		stop()
		<-signals
		fmt.Fprintln(os.Stderr, "sluice: a second signal: ended at once, without waiting for visitors' requests")
		os.Exit(exitFailed)
	}()
	err := newRootCommand().ExecuteContext(ctx)
	switch {
	case errors.Is(err, context.Canceled) && ctx.Err() != nil:
		fmt.Fprintln(os.Stderr, "sluice: interrupted")
	case err != nil:
		fmt.Fprintln(os.Stderr, "sluice:", err)
	}
	return exitCode(err)
}
