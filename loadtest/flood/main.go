// Command flood has programs join a line that people wait in, on this machine alone:
// a hundred thousand a minute, each of them new, from many addresses, without cookies,
// and never to be seen again. It tells what that does to the memory of the gates and of
// Redis, and the judges say what people noticed.
//
//	go run ./loadtest/flood
//	go run ./loadtest/flood --max-waiting 40000 --for 1m
//
// Limits per address are off: what is looked at is what the line itself bears.
//
// It ends with 1 when people noticed anything, or when Redis had not given back what
// the programs took of it.
package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/spf13/pflag"

	"github.com/sluicegate/sluice/queue/queuetest/proc"
)

const (
	exitFailed = 1
	exitUsage  = 2
)

// options say what is tried.
type options struct {
	script     string
	people     int // that the script has in line before the flood
	bots       int // a minute
	length     time.Duration
	every      time.Duration // a row
	gates      int
	workers    int
	rate       string // of the room
	burst      int
	maxWaiting string
	poll       string // the room's poll
}

func main() { os.Exit(command(os.Args[1:], os.Stdout, os.Stderr)) }

func command(args []string, out, log io.Writer) int {
	o, err := parse(args, log)
	switch {
	case errors.Is(err, pflag.ErrHelp):
		return 0
	case err != nil:
		fmt.Fprintln(log, "flood:", err)
		return exitUsage
	}
	bad := false
	code := proc.Main("flood", log, func(t proc.T) { bad = !o.run(t, out) })
	if code == 0 && bad {
		return exitFailed
	}
	return code
}

func parse(args []string, log io.Writer) (o options, err error) {
	f := pflag.NewFlagSet("flood", pflag.ContinueOnError)
	f.SetOutput(log)
	f.SortFlags = false
	f.StringVar(&o.script, "script", "loadtest/scripts/flood.yaml", "`FILE` of the rehearsal: the people")
	f.IntVar(&o.people, "people", 10_000, "so many of them are in line when the flood begins")
	f.IntVar(&o.bots, "bots", 100_000, "programs that join, a minute")
	f.DurationVar(&o.length, "for", 150*time.Second, "how long they come")
	f.DurationVar(&o.every, "every", 10*time.Second, "how often a row is printed")
	f.IntVar(&o.gates, "gates", 2, "gates that share the Redis")
	f.IntVar(&o.workers, "workers", 2, "processes that share the people")
	f.StringVar(&o.rate, "rate", "40/s", "rate of the room")
	f.IntVar(&o.burst, "burst", 40, "burst of the room")
	f.StringVar(&o.maxWaiting, "max-waiting", "none", "max_waiting of the room")
	f.StringVar(&o.poll, "poll", "{min: 2s, max: 30s}", "poll of the room")
	f.Usage = func() {
		fmt.Fprintf(log, "Have programs join a line that people wait in.\n\nUsage: flood [flags]\n\n%s", f.FlagUsages())
	}
	if err := f.Parse(args); err != nil {
		return o, err
	}
	switch {
	case f.NArg() > 0:
		return o, fmt.Errorf("%q: want flags only", f.Arg(0))
	case o.bots < 1 || o.people < 0 || o.gates < 1 || o.workers < 1 || o.length <= 0 || o.every <= 0:
		return o, errors.New("--bots, --gates, --workers, --for and --every must be more than 0")
	}
	return o, nil
}
