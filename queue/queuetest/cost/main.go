// Command cost measures what a line costs against its length, in each store, and
// prints a table.
//
//	go run ./queue/queuetest/cost
//
// Every room is filled with visitors who poll as they are asked to. Costs are
// processor time: of redis-server by its INFO, of this process for the memory store.
// Each is the median of some rounds. With Redis the last column is also measured
// directly where it matters: see paced.
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"math"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/sluicegate/sluice/queue/queuetest/proc"
)

// budget is the share of one core that marks and ticks of a room may take from
// Redis, at a million visitors who wait.
const (
	budget   = 0.1
	budgetAt = 1_000_000
)

type config struct {
	sizes  []int
	stores []string
	paced  time.Duration
	gates  int
	check  bool
}

func main() {
	c, code := parse(os.Args[1:], os.Stderr)
	if c == nil {
		os.Exit(code)
	}
	held := true
	code = proc.Main("cost", os.Stderr, func(t proc.T) { held = c.run(t, os.Stdout, os.Stderr) })
	if code == 0 && c.check && !held {
		code = 1
	}
	os.Exit(code)
}

// parse reads the flags. Without a configuration the program ends with the code.
func parse(args []string, stderr io.Writer) (*config, int) {
	f := flag.NewFlagSet("cost", flag.ContinueOnError)
	f.SetOutput(stderr)
	c := &config{}
	sizes := f.String("sizes", "1000,10000,100000,1000000,5000000", "how many wait in the room, one after the other")
	stores := f.String("stores", "memory,redis", "which stores")
	f.DurationVar(&c.paced, "paced", 10*time.Second, "how long marks are sent at their real pace where a million or more wait in Redis; 0: not")
	f.IntVar(&c.gates, "gates", 4, "gates that send them, and tick, each")
	f.BoolVar(&c.check, "check", false, "exit 1 when a million visitors who wait cost more than a tenth of a core of Redis")
	switch err := f.Parse(args); {
	case err == flag.ErrHelp:
		return nil, 0
	case err != nil:
		return nil, 2
	}
	var problems []string
	wrong := func(format string, a ...any) { problems = append(problems, fmt.Sprintf(format, a...)) }
	if f.NArg() > 0 {
		wrong("unknown argument %q", f.Arg(0))
	}
	for word := range strings.SplitSeq(*sizes, ",") {
		n, err := strconv.Atoi(strings.TrimSpace(word))
		if err != nil || n < 1000 {
			wrong("--sizes: %q is not a number from 1000 on", word)
			continue
		}
		c.sizes = append(c.sizes, n)
	}
	for word := range strings.SplitSeq(*stores, ",") {
		word = strings.TrimSpace(word)
		if word != "memory" && word != "redis" {
			wrong("--stores: %q is neither memory nor redis", word)
		}
		c.stores = append(c.stores, word)
	}
	if c.gates < 1 {
		wrong("--gates: %d, want 1 or more", c.gates)
	}
	if c.paced < 0 {
		wrong("--paced: %s, want 0 or more", c.paced)
	}
	if c.check && (!slices.Contains(c.sizes, budgetAt) || !slices.Contains(c.stores, "redis")) {
		wrong("--check needs %d among the --sizes and redis among the --stores", budgetAt)
	}
	if len(problems) > 0 {
		for _, p := range problems {
			fmt.Fprintln(stderr, "cost:", p)
		}
		return nil, 2
	}
	return c, 0
}

// row is what was measured in one room.
type row struct {
	store   string
	waiting int
	figures
}

type figures struct {
	poll         time.Duration
	pollAllocs   float64
	mark         time.Duration
	newcomer     time.Duration
	tick         time.Duration // a quarter of a second after the one before: with a new ladder
	tickAgain    time.Duration // at once
	bytes        float64       // of memory, per visitor
	rungs        int
	snapshot     int     // bytes of its answer; 0: it is not sent anywhere
	polls        float64 // per second
	marks        float64 // that come of them
	paced        float64 // share of a core, measured; 0: not
	pacedMarks   float64 // per second, reached
	pacedTicks   float64
	pacedSeconds float64
}

const ticksPerSecond = 4 // of one gate, where the rate is not high

// share of one core that marks and ticks take, computed.
func (f *figures) share(gates int) float64 {
	return f.mark.Seconds()*f.marks + ticksPerSecond*(f.tick+time.Duration(gates-1)*f.tickAgain).Seconds()
}

// run measures and prints. It reports whether the budget is kept; true when that
// was not measured.
func (c *config) run(t proc.T, out, progress io.Writer) bool {
	began := time.Now()
	var rows []row
	say := func(format string, a ...any) { fmt.Fprintf(progress, "cost: "+format+"\n", a...) }
	bare := ""
	if slices.Contains(c.stores, "redis") {
		say("bare Redis")
		bare = bareRedis(t)
	}
	for _, store := range c.stores {
		for _, n := range c.sizes {
			m := inMemory()
			if store == "redis" {
				m = inRedis(t)
			}
			f, err := m.room(t.Context(), n, c, func(what string) { say("%s, %d waiting: %s", store, n, what) })
			if err != nil {
				t.Fatal(fmt.Sprintf("%s, %d waiting: %v", store, n, err))
			}
			rows = append(rows, row{store, n, f})
		}
	}
	c.print(out, rows, machine(t, c.stores), bare, time.Since(began))
	held := true
	for _, r := range rows {
		if r.store == "redis" && r.waiting == budgetAt {
			held = max(r.share(c.gates), r.paced) <= budget
		}
	}
	return held
}

func (c *config) print(out io.Writer, rows []row, machine, bare string, took time.Duration) {
	fmt.Fprintf(out, "Cost of one room against the number of visitors who wait in it.\n\n")
	fmt.Fprintf(out, "| store | waiting | poll | allocations | presence mark | newcomer | tick | tick at once | memory/visitor | rungs | snapshot | polls/s | marks/s | marks and ticks of a core |\n")
	fmt.Fprintf(out, "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | --- |\n")
	for _, r := range rows {
		snapshot := "not sent"
		if r.snapshot > 0 {
			snapshot = fmt.Sprintf("%d B", r.snapshot)
		}
		share := fmt.Sprintf("%.1f %%", 100*r.share(c.gates))
		if r.paced > 0 {
			share += fmt.Sprintf(", at its pace %.1f %%", 100*r.paced)
		}
		fmt.Fprintf(out, "| %s | %d | %d ns | %.2f | %.2f µs | %.2f µs | %.0f µs | %.0f µs | %.0f B | %d | %s | %.0f | %.0f | %s |\n",
			r.store, r.waiting, r.poll.Nanoseconds(), r.pollAllocs, micros(r.mark), micros(r.newcomer), micros(r.tick), micros(r.tickAgain),
			r.bytes, r.rungs, snapshot, r.polls, r.marks, share)
	}
	fmt.Fprintf(out, `
- poll: a visitor far back, answered by the gate alone. mark, newcomer, tick: processor time of the store, of
  redis-server or of the process; marks %d at a time, newcomers %d at a time. Medians of %d rounds.
- tick: a quarter of a second after the one before, with a new ladder and a look at those whose time to be present
  might be over. tick at once: by another gate, with the ladder that is there.
- polls/s: of visitors who are asked to poll no more often than the budget of 20,000 allows, in a room that calls 10 a
  second. marks/s: what the store hears of that, since a mark of somebody whose turn is far off holds over two polls.
- of a core: marks and ticks of %d gates in a second, computed from the columns before; "at its pace": measured
  while they were sent for so long as stated below.
`, markBatch, joinBatch, rounds, c.gates)
	for _, r := range rows {
		if r.paced > 0 {
			fmt.Fprintf(out, "- at its pace, %d waiting: %.1f s, %.0f marks/s and %.1f ticks/s reached.\n", r.waiting, r.pacedSeconds, r.pacedMarks, r.pacedTicks)
		}
	}
	for _, r := range rows {
		if r.store != "redis" || r.waiting != budgetAt {
			continue
		}
		most := max(r.share(c.gates), r.paced)
		verdict := "held"
		if most > budget {
			verdict = "NOT held"
		}
		fmt.Fprintf(out, "- a tenth of a core at %d waiting: %s, %.1f %%.\n", r.waiting, verdict, 100*most)
	}
	fmt.Fprintf(out, "\n%s", machine)
	if bare != "" {
		fmt.Fprintf(out, "; %s", bare)
	}
	fmt.Fprintf(out, "; %s; took %s\n`go run ./queue/queuetest/cost %s`\n", time.Now().UTC().Format("2006-01-02 15:04 MST"), took.Round(time.Second), c.flags())
}

func (c *config) flags() string {
	var sizes []string
	for _, n := range c.sizes {
		sizes = append(sizes, strconv.Itoa(n))
	}
	check := ""
	if c.check {
		check = " --check"
	}
	return fmt.Sprintf("--sizes %s --stores %s --paced %s --gates %d%s", strings.Join(sizes, ","), strings.Join(c.stores, ","), c.paced, c.gates, check)
}

func micros(d time.Duration) float64 { return float64(d) / float64(time.Microsecond) }

// median of some rounds.
func median(ctx context.Context, round func() (float64, error)) (float64, error) {
	var all []float64
	for range rounds {
		if err := ctx.Err(); err != nil {
			return 0, err
		}
		v, err := round()
		if err != nil {
			return 0, err
		}
		all = append(all, v)
	}
	return middle(all), nil
}

func middle(all []float64) float64 {
	slices.Sort(all)
	return all[len(all)/2]
}

func duration(seconds float64) time.Duration {
	return time.Duration(math.Round(seconds * float64(time.Second)))
}
