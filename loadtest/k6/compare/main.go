// Command compare runs the real k6 and sluice loadtest against like targets with the
// same visitors, in alternating rounds, and says whether they measure the same: how
// many requests there were and how long they took.
//
//	go run ./loadtest/k6/compare
//
// It ends with 0 when they agree, with 1 when they do not or something went wrong,
// with 2 when a flag is wrong.
package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"runtime"
	"time"

	"github.com/sluicegate/sluice/queue"
	"github.com/sluicegate/sluice/queue/queuetest/proc"
)

func main() { os.Exit(command(os.Args[1:], os.Stdout, os.Stderr)) }

// options are the command's flags.
type options struct {
	k6       string // path; "": wherever it is found
	install  bool
	rounds   int
	rate     int
	duration time.Duration
	roomRate string
	distance time.Duration
	shop     time.Duration
	within   float64 // percent
	seed     uint64
}

// maxVisitors is how many k6 virtual users there may be: one for each visitor, so
// that none is dropped, at some hundred kB each.
const maxVisitors = 5000

func (o *options) check() error {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if o.rounds < 1 || o.rounds > 50 {
		bad("--rounds %d: want 1 to 50", o.rounds)
	}
	if o.rate < 1 {
		bad("--rate %d: want visitors per second, 1 or more", o.rate)
	}
	if o.duration < time.Second {
		bad("--duration %v: want 1s or more", o.duration)
	}
	if n := o.visitors(); o.rate >= 1 && o.duration >= time.Second && (n > maxVisitors || n < minSamples) {
		bad("--rate %d for --duration %v are %d visitors: want %d, for percentiles to mean something, to %d, which k6 has memory for",
			o.rate, o.duration, n, minSamples, maxVisitors)
	}
	if rate, err := queue.ParseRate(o.roomRate); err != nil {
		bad("--room-rate %q: %w", o.roomRate, err)
	} else if rate != queue.NoRate && o.rate >= 1 {
		if wait := o.drain(); wait > maxDrain {
			bad("--room-rate %s: the last visitor would wait for %v: want %v at most", o.roomRate, wait.Round(time.Second), maxDrain)
		}
	}
	if o.distance < 0 || o.distance > time.Second {
		bad("--distance %v: want 0s to 1s", o.distance)
	}
	if o.shop < 0 || o.shop > 5*time.Second {
		bad("--shop %v: want 0s to 5s", o.shop)
	}
	if !(o.within > 0 && o.within < 100) {
		bad("--within %v: want a percentage above 0 and below 100", o.within)
	}
	return errors.Join(errs...)
}

// visitors is how many come in a run.
func (o *options) visitors() int { return int(float64(o.rate) * o.duration.Seconds()) }

const maxDrain = 5 * time.Minute

// drain is about how long the last visitors wait: what the room lets in more slowly
// than it comes.
func (o *options) drain() time.Duration {
	rate, err := queue.ParseRate(o.roomRate)
	if err != nil || rate == queue.NoRate {
		return 0
	}
	all := float64(o.visitors()) / (float64(rate.PerHour()) / 3600)
	return max(0, time.Duration(all*float64(time.Second))-o.duration)
}

// flags have their defaults in o.
func flags(o *options, log io.Writer) *flag.FlagSet {
	f := flag.NewFlagSet("compare", flag.ContinueOnError)
	f.SetOutput(log)
	f.StringVar(&o.k6, "k6", "", "`PATH` of k6; else it is looked for in PATH, in $(go env GOPATH)/bin, and where --install puts it")
	f.BoolVar(&o.install, "install", false, "install k6 "+version+" with go install where it is not found; takes minutes")
	f.IntVar(&o.rounds, "rounds", 3, "`N` rounds, each with one run of either")
	f.IntVar(&o.rate, "rate", 40, "`N` visitors come per second")
	f.DurationVar(&o.duration, "duration", 20*time.Second, "for how long they come")
	f.StringVar(&o.roomRate, "room-rate", "25/s", "admission `RATE` of the room")
	f.DurationVar(&o.distance, "distance", 40*time.Millisecond, "what the way to the gate and back adds to an answer")
	f.DurationVar(&o.shop, "shop", 50*time.Millisecond, "what the shop takes to answer")
	f.Float64Var(&o.within, "within", 10, "`PERCENT` by which the two may differ")
	f.Uint64Var(&o.seed, "seed", 1, "seed of what our visitors draw; k6 has none")
	f.Usage = func() {
		fmt.Fprint(log, "Compare sluice loadtest with the real k6 on like targets.\n\nUsage: go run ./loadtest/k6/compare [flags]\n\n")
		f.PrintDefaults()
	}
	return f
}

func command(args []string, out, log io.Writer) int {
	var o options
	f := flags(&o, log)
	switch err := f.Parse(args); {
	case errors.Is(err, flag.ErrHelp):
		return 0
	case err != nil:
		return 2
	}
	if f.NArg() > 0 {
		fmt.Fprintf(log, "compare: %q is an argument too many: there are only flags\n", f.Arg(0))
		return 2
	}
	if err := o.check(); err != nil {
		fmt.Fprintf(log, "compare: %v\n", err)
		return 2
	}
	same := false
	code := proc.Main("compare", log, func(t proc.T) { same = compare(t, &o, out) })
	if code == 0 && !same {
		code = 1
	}
	return code
}

// compare runs the rounds, prints what came of them and tells whether the two agree.
func compare(t proc.T, o *options, out io.Writer) bool {
	k6, name := findK6(t, o)
	b := newBench(t, o, k6)
	fmt.Fprintf(out, "%s and sluice loadtest, %s, %d cores\n", name, runtime.Version(), runtime.NumCPU())
	fmt.Fprintf(out, "%d visitors/s for %v at a room with %s; the way there and back takes %v, the shop %v; seed %d\n\n",
		o.rate, o.duration, o.roomRate, o.distance, o.shop, o.seed)
	var rounds []round
	again := o.rounds // times that a round may be repeated
	for i := 0; len(rounds) < o.rounds; i++ {
		var r round
		for turn := range 2 { // who goes first alternates, should the machine's state drift
			which, name, begin := &r.ours, "sluice", b.ours
			if turn == i%2 {
				which, name, begin = &r.k6, "k6", b.k6run
			}
			*which = b.run(name, begin)
			fmt.Fprintf(out, "round %d: %-6s %6.0f requests, p95 %s ms, %s s of processor time; the machine %.0f %% busy\n",
				len(rounds)+1, name, which.total.requests, milliseconds(which.total.p95), seconds(which.cpu), which.busy*100)
		}
		if r.disturbed() && again > 0 {
			again--
			fmt.Fprintf(out, "round %d is repeated: the machine was busy with something else\n", len(rounds)+1)
			continue
		}
		rounds = append(rounds, r)
	}
	v := newVerdict(rounds, o.within/100)
	fmt.Fprintf(out, "\n%s\n%s", v.table(), v.text())
	return v.agree()
}
