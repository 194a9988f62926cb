// Command peers measures what a request costs at a gate, beside nginx, HAProxy and
// the platform's floor, all on this machine in one run:
//
//	go run ./loadtest/peers --rounds 7 --budget
//
// Three paths are measured: the poll of a visitor far from the front, a newcomer's
// waiting page, and an admitted visitor's request through to the origin. Beside
// each stand programs that do the same or less: two bare fasthttp programs, a
// fixed answer of as many bytes and a reverse proxy, which are the floor that our
// gate stands on; nginx's return 200 and its proxy_pass; HAProxy.
//
// The result is a table of ratios. Client, servers and origin share the cores, and
// others may use the machine: so the rows are measured in turn, round after round
// and in changing order, ratios are taken within a round, and the median is given
// with the spread.
//
// It needs redis-server. Rows whose program is not installed are listed as not
// measured.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"github.com/sluicegate/sluice/loadtest/peers/floor"
	"github.com/sluicegate/sluice/loadtest/stage"
	"github.com/sluicegate/sluice/queue/queuetest/proc"
)

// The exit codes.
const (
	exitFailed = 1 // the run failed, or a budget was not kept
	exitUsage  = 2
)

func main() { os.Exit(command(os.Args[1:], os.Stdout, os.Stderr)) }

// command is the whole program. The bare programs are it as well, run by itself.
func command(args []string, out, log io.Writer) int {
	if len(args) == 3 {
		switch args[0] {
		case "bare-answer":
			size, err := strconv.Atoi(args[2])
			if err == nil {
				err = floor.Answer(args[1], size)
			}
			fmt.Fprintln(log, "peers: bare-answer:", err)
			return exitFailed
		case "bare-proxy":
			fmt.Fprintln(log, "peers: bare-proxy:", floor.Proxy(args[1], args[2]))
			return exitFailed
		}
	}
	o, err := parse(args, log)
	switch {
	case errors.Is(err, pflag.ErrHelp):
		return 0
	case err != nil:
		fmt.Fprintln(log, "peers:", err)
		return exitUsage
	}
	kept := true
	code := proc.Main("peers", log, func(t proc.T) {
		r := run(t, o)
		r.Command = strings.Join(append([]string{"go run ./loadtest/peers"}, args...), " ")
		r.markdown(out)
		if o.json != "" {
			if err := r.writeJSON(o.json); err != nil {
				t.Fatal(err)
			}
		}
		if !o.budget {
			return
		}
		for _, what := range broken(r.Rows) {
			kept = false
			fmt.Fprintln(log, "peers: budget:", what)
		}
	})
	if code == 0 && !kept {
		return exitFailed
	}
	return code
}

type options struct {
	origin      string
	rounds      int
	duration    time.Duration
	connections int
	rows        []key
	json        string
	budget      bool
}

func parse(args []string, log io.Writer) (o options, err error) {
	f := pflag.NewFlagSet("peers", pflag.ContinueOnError)
	f.SetOutput(log)
	f.SortFlags = false
	f.StringVar(&o.origin, "origin", "", "`HOST:PORT` of a shop that answers "+stage.Path+" with 200 (default: one of its own, 1 KiB)")
	f.IntVar(&o.rounds, "rounds", 7, "how often each row is measured")
	f.DurationVar(&o.duration, "duration", 3*time.Second, "of a measurement, after a third of it to warm up; in whole seconds, since a gate sends presence marks once a second")
	f.IntVar(&o.connections, "connections", 64, "kept open to a server, each with one request under way")
	var only []string
	f.StringSliceVar(&only, "only", nil, "`LIST` of what to measure: paths, as poll,pass, or rows, as poll/sluice,poll/bare (default: everything)")
	f.StringVar(&o.json, "json", "", "write everything, every round too, to `FILE`")
	f.BoolVar(&o.budget, "budget", false, "exit with 1 when a path measured is over its budget, or its floor was not measured")
	f.Usage = func() {
		fmt.Fprintf(log, "Measure what a request costs at a gate, beside nginx, HAProxy and bare fasthttp.\n\nUsage: peers [flags]\n\n%s", f.FlagUsages())
	}
	if err := f.Parse(args); err != nil {
		return o, err
	}
	switch {
	case f.NArg() > 0:
		err = fmt.Errorf("%q is an argument too many", f.Arg(0))
	case o.rounds < 1:
		err = fmt.Errorf("--rounds %d: at least one is needed", o.rounds)
	case o.duration < 10*time.Millisecond || o.duration > 5*time.Minute:
		err = fmt.Errorf("--duration %v is not between 10ms and 5m", o.duration)
	case o.connections < 1 || o.connections > 1024:
		err = fmt.Errorf("--connections %d is not between 1 and 1024", o.connections)
	default:
		o.rows, err = chosen(only)
	}
	return o, err
}

// run starts what is needed and measures the rows, round after round.
func run(t proc.T, o options) *report {
	proc.Need(t, "redis-server") // a gate's cost without its store is not what visitors cost
	s := &scene{t: t, origin: o.origin, connections: o.connections, began: map[string]*begun{}, running: map[key]target{}}
	s.binary = stage.Sluice(t)
	if s.origin == "" {
		s.origin = startOrigin(t)
	}
	a, err := ask(t.Context(), "GET", s.origin, stage.Path, pageFields, "")
	if err != nil {
		t.Fatalf("the origin: %v", err)
	}
	if a.status != 200 {
		t.Fatalf("the origin %s answers %s with status %d, and not with 200", s.origin, stage.Path, a.status)
	}
	s.page = int64(len(a.body))

	missing := map[key]string{}
	var present []key
	for _, k := range o.rows {
		if (k.server == nginx || k.server == haproxy) && find(k.server) == "" {
			missing[k] = k.server + " is not installed"
			continue
		}
		present = append(present, k)
	}
	measured := map[key][]figures{}
	fine := true
	for round := range o.rounds {
		t.Logf("round %d of %d", round+1, o.rounds)
		for _, k := range inOrder(present, round) {
			f, err := s.measure(k, o.duration/3, o.duration)
			if errors.Is(err, context.Canceled) {
				t.Fatal("interrupted")
			}
			if err != nil {
				t.Fatalf("%s: %v", k, err)
			}
			measured[k] = append(measured[k], f)
			fine = fine && f.Fine
		}
	}
	r := &report{
		Date: time.Now(), Machine: machine(), Versions: versions(s.binary),
		Rounds: o.rounds, During: o.duration.Seconds(), Conns: o.connections,
		Clock: "schedstat, in nanoseconds", Sizes: map[string]int64{},
		Rows: lines(o.rows, measured, missing),
	}
	if !fine {
		r.Clock = "stat, in part or all, in ticks of 10 ms"
	}
	for path, b := range s.began {
		r.Sizes[path] = int64(b.size)
		if path == pass {
			r.Sizes[path] = s.page
		}
	}
	return r
}

// inOrder is the order of rows in a round: paths one after the other, since ratios
// are taken within a path and the less time passes between its rows the better.
func inOrder(keys []key, round int) []key {
	byPath := map[string][]key{}
	for _, k := range keys {
		byPath[k.path] = append(byPath[k.path], k)
	}
	var out []key
	for _, p := range order(len(paths), round) {
		own := byPath[paths[p]]
		for _, i := range order(len(own), round) {
			out = append(out, own[i])
		}
	}
	return out
}

var mapKeys = maps.Keys[map[string]string]
