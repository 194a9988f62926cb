// Command restart restarts a gate under load, on this machine alone, and tells what
// visitors noticed:
//
//	go run ./loadtest/restart
//	go run ./loadtest/restart --way systemd --rate 2000 --for 10s
//
// Pages, forms, polls and newcomers come at an even pace whatever the gate does, most
// of them over connections that are kept, while one gate follows another at the same
// address: beside it (reuse_port), or after it in a socket that outlives both, as
// systemd holds it. A connection that the gate ended between two requests is opened
// anew, as browsers do; a request that was sent and got no right answer has failed,
// and none is sent twice.
//
// It ends with 1 when any request failed, or when the pace was not reached.
package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"github.com/sluicegate/sluice/loadtest/stage"
	"github.com/sluicegate/sluice/queue/queuetest/proc"
)

// The exit codes.
const (
	exitFailed = 1
	exitUsage  = 2
)

// options say what is tried.
type options struct {
	ways        []string
	rate        int // requests a second
	length      time.Duration
	restarts    int
	connections int
	delay       time.Duration // shutdown.delay of the gates
	memory      bool
}

func main() { os.Exit(command(os.Args[1:], os.Stdout, os.Stderr)) }

func command(args []string, out, log io.Writer) int {
	o, err := parse(args, log)
	switch {
	case errors.Is(err, pflag.ErrHelp):
		return 0
	case err != nil:
		fmt.Fprintln(log, "restart:", err)
		return exitUsage
	}
	bad := false
	code := proc.Main("restart", log, func(t proc.T) {
		sluice := stage.Sluice(t)
		for _, way := range o.ways {
			r := run(t, sluice, way, o)
			r.tell(out, o)
			bad = bad || len(r.failures) > 0 || !r.keptPace(o)
		}
	})
	if code == 0 && bad {
		return exitFailed
	}
	return code
}

func parse(args []string, log io.Writer) (o options, err error) {
	f := pflag.NewFlagSet("restart", pflag.ContinueOnError)
	f.SetOutput(log)
	f.SortFlags = false
	f.StringSliceVar(&o.ways, "way", []string{reusePort, systemd}, "`LIST` of how one gate follows another: "+reusePort+", "+systemd)
	f.IntVar(&o.rate, "rate", 10_000, "requests a second")
	f.DurationVar(&o.length, "for", 20*time.Second, "how long they come")
	f.IntVar(&o.restarts, "restarts", 1, "how many, evenly")
	f.IntVar(&o.connections, "connections", 256, "most requests under way, each over a connection that is kept")
	f.DurationVar(&o.delay, "delay", 2*time.Second, "shutdown.delay of the gates")
	f.BoolVar(&o.memory, "memory", false, "each gate has a line of its own, in memory")
	f.Usage = func() {
		fmt.Fprintf(log, "Restart a gate under load and tell what visitors noticed.\n\nUsage: restart [flags]\n\n%s", f.FlagUsages())
	}
	if err := f.Parse(args); err != nil {
		return o, err
	}
	for _, way := range o.ways {
		if way != reusePort && way != systemd {
			return o, fmt.Errorf("--way %s: want %s or %s", way, reusePort, systemd)
		}
	}
	switch {
	case f.NArg() > 0:
		return o, fmt.Errorf("%q is no flag", f.Arg(0))
	case o.rate < 1 || o.connections < 1 || o.restarts < 1:
		return o, errors.New("--rate, --connections and --restarts want at least 1")
	case o.length/time.Duration(o.restarts+1) < time.Second:
		return o, errors.New("--for wants a second at least before, between and after restarts")
	}
	return o, nil
}

// tell writes the result for people.
func (r *result) tell(out io.Writer, o options) {
	ms := func(q float64) string { return fmt.Sprintf("%.1f", float64(r.took.ValueAtQuantile(q))/1e6) }
	fmt.Fprintf(out, "%s: %d requests in %v (%.0f a second of %d wanted) by %d connections, %d of them for newcomers; %d restarts\n",
		r.way, r.sent, r.elapsed.Round(100*time.Millisecond), float64(r.sent)/r.elapsed.Seconds(), o.rate, r.opened, r.single, o.restarts)
	fmt.Fprintf(out, "  failed: %d\n", r.failed())
	for _, what := range r.kinds() {
		fmt.Fprintf(out, "    %d: %s\n", r.failures[what], what)
	}
	fmt.Fprintf(out, "  ended by the gate between two requests: %d connections\n", r.ended)
	fmt.Fprintf(out, "  from when a request was due to its answer: median %s ms, p99 %s ms, longest %s ms\n", ms(50), ms(99), ms(100))
	for _, s := range r.stops {
		fmt.Fprintf(out, "  a stop took %v, the next gate %v to be ready\n", s.stop.Round(10*time.Millisecond), s.start.Round(10*time.Millisecond))
	}
	if !r.keptPace(o) {
		fmt.Fprintln(out, "  not shown: this machine is too busy for the pace")
	}
	fmt.Fprintln(out)
}

// keptPace tells whether visitors came as fast as they should.
func (r *result) keptPace(o options) bool {
	return float64(r.sent)/r.elapsed.Seconds() >= .95*float64(o.rate)
}

func (r *result) failed() (n int) {
	for _, k := range r.failures {
		n += k
	}
	return n
}

// kinds are the failures, the most frequent first.
func (r *result) kinds() []string {
	var out []string
	for what := range r.failures {
		out = append(out, what)
	}
	slices.SortFunc(out, func(a, b string) int {
		if d := r.failures[b] - r.failures[a]; d != 0 {
			return d
		}
		return strings.Compare(a, b)
	})
	return out
}
