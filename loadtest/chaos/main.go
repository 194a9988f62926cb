// Command chaos breaks things while people wait: it starts gates, a redis-server and a
// shop that writes down who came, sends visitors, and plays faults that are drawn from
// a seed. Then the line drains, and the judges say which promises were kept.
//
//	go run ./loadtest/chaos                               # one minute, another seed each time
//	go run ./loadtest/chaos --seed 7 --for 60s            # the same faults at the same times again
//	go run ./loadtest/chaos --seed 7 --only 'store-*'     # some kinds of faults only
//	go run ./loadtest/chaos --race                        # gates with the race detector
//	go run ./loadtest/chaos --list                        # the kinds that there are
//	go run ./loadtest/chaos --found                       # the runs that have broken something, all again
//	go run ./loadtest/chaos --table                       # each kind by itself: the rows of docs/reliability.md
//
// It ends with 0 when every promise was kept, with 1 when one was broken, and says how to
// repeat it. Where the machine was too busy to tell, it ends with 3: what was seen while
// this process itself was not run for a quarter of a second is in doubt.
// Faults come at the same times again with the same seed; what gates and visitors were
// just then doing differs a little each time.
//
// What a fault may do to visitors without a promise being broken stands in
// allowances.go, all of it, with the reason. How to add a kind of fault: see kind.
package main

import (
	"bytes"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"strings"
	"time"

	"github.com/sluicegate/sluice/loadtest/stage"
	"github.com/sluicegate/sluice/queue/queuetest/proc"
)

// usualGates is how many gates there are.
const usualGates = 3

func main() {
	c := trial{room: defaultRoom(), empty: true}
	var only, sluice string
	var race, list, table, repeat bool
	flag.Uint64Var(&c.seed, "seed", 0, "`NUMBER` that the faults are drawn from; 0: one of its own")
	flag.DurationVar(&c.length, "for", time.Minute, "how long people arrive and things break")
	flag.IntVar(&c.gates, "gates", usualGates, "gates that share the store")
	flag.StringVar(&only, "only", "", "kinds of faults, with commas between; 'store-*' is all that begin so")
	flag.BoolVar(&race, "race", false, "gates with the race detector")
	flag.StringVar(&sluice, "sluice", "", "`FILE` of the gates' program, built already; none: it is built")
	flag.BoolVar(&list, "list", false, "name the kinds of faults, and do nothing")
	flag.BoolVar(&table, "table", false, "each kind by itself, and in the end a table in Markdown")
	flag.BoolVar(&repeat, "found", false, "the runs that have broken something, all again; a quarter of an hour and more")
	flag.StringVar(&c.logs, "logs", "", "`FOLDER` for the gates' logs and what every visitor saw")
	flag.Parse()
	names := strings.FieldsFunc(only, func(r rune) bool { return r == ',' })
	var err error
	if c.kinds, err = choose(names); err != nil || flag.NArg() > 0 || c.gates < 1 || c.length < quietAtFirst {
		if err == nil {
			err = fmt.Errorf("at least one gate, at least %v, and nothing but flags", quietAtFirst)
		}
		fmt.Fprintln(os.Stderr, "chaos:", err)
		os.Exit(2)
	}
	if list {
		for _, k := range c.kinds {
			fmt.Printf("%-18s %s\n", k.name, k.about)
		}
		return
	}
	if c.seed == 0 {
		c.seed = 1 + rand.Uint64N(1<<32)
	}
	if !table && len(plan(c.seed, c.length, c.kinds)) == 0 {
		fmt.Fprintf(os.Stderr, "chaos: none of these faults is over within %v: nothing would be tried\n", c.length)
		os.Exit(2)
	}
	var more []string
	if only != "" {
		more = append(more, fmt.Sprintf("--only '%s'", only))
	}
	if race {
		more = append(more, "--race")
	}
	came := kept
	code := proc.Main("chaos", os.Stderr, func(t proc.T) {
		switch {
		case sluice != "":
		case race:
			sluice = stage.RacingSluice(t)
		default:
			sluice = stage.Sluice(t)
		}
		switch {
		case table:
			came = c.rows(t, sluice, os.Stdout)
		case repeat:
			came = c.again(t, sluice, os.Stdout)
		default:
			came = c.tell(t, sluice, os.Stdout, more...)
		}
	})
	switch {
	case code == 0 && came == broken:
		code = 1
	case code == 0 && came == doubt:
		code = 3
	}
	os.Exit(code)
}

// tell carries the run out, writes what became of it, and returns what became of the
// promises.
func (c *trial) tell(t proc.T, sluice string, out io.Writer, more ...string) verdict {
	t.Helper()
	fmt.Fprintf(out, "seed %d: %v, %d gates on one redis-server, %d kinds of faults\n\n", c.seed, c.length, c.gates, len(c.kinds))
	e := c.try(t, sluice, out)
	r := e.judge()
	e.write(out, r)
	all := r.verdict()
	if all != kept {
		if len(r.wronged) > 0 {
			e.writeHistories(out, r.wronged)
		}
		said := "Promises were broken."
		if all == doubt {
			said = "The machine was too busy to tell whether promises were broken."
		}
		fmt.Fprintf(out, "\n%s Again: %s\n", said, c.command(more...))
	}
	return all
}

// command is what does the same again.
func (c *trial) command(more ...string) string {
	words := []string{"go run ./loadtest/chaos", fmt.Sprintf("--seed %d --for %v", c.seed, c.length)}
	if c.gates != usualGates {
		words = append(words, fmt.Sprintf("--gates %d", c.gates))
	}
	return strings.Join(append(words, more...), " ")
}

// maxTold is how many cases of a promise are told.
const maxTold = 10

func (e *evidence) write(out io.Writer, r *result) {
	v := e.verdict
	fmt.Fprintf(out, "\nFaults, what visitors saw of each, and how letting in went on\n\n")
	for _, f := range e.faults {
		if f.began.IsZero() {
			continue
		}
		a := e.admission(f)
		went := "nobody was let in after it"
		if a.went {
			went = fmt.Sprintf("stood %s, on %s after its end", seconds(a.stood), seconds(a.resumed))
		}
		fmt.Fprintf(out, "%7s  %-18s for %-5s %s; %s\n", e.since(f.began), f.name, seconds(f.ended.Sub(f.began)), went, tally(r.seen[f]))
	}
	fmt.Fprintf(out, "\n%d visitors: %d let in (%d on the spot), %d walked away; most inside at once %d of %d; %g tickets and passes came back\n",
		v.Visitors, v.Admitted, v.OnSpot, v.WalkedAway, v.InsideMax, e.room.maxActive, e.restored)
	fmt.Fprintf(out, "This process was late by at most %v, and %d times by %v or more\n\n", e.late.Round(time.Millisecond), len(e.stalls), leastStall)
	for _, p := range r.promises {
		fmt.Fprintf(out, "  %s  %-32s %s\n", p.name, p.text, p.verdict())
		list := func(what string, texts []string) {
			for i, text := range texts {
				if i == maxTold {
					fmt.Fprintf(out, "        and %d more\n", len(texts)-i)
					break
				}
				fmt.Fprintf(out, "        %s%s\n", what, text)
			}
		}
		list("", p.broken)
		list("in doubt: ", p.doubted)
		list("allowed: ", p.allowed)
	}
}

func seconds(d time.Duration) string { return fmt.Sprintf("%.1fs", d.Seconds()) }

// rows runs each kind by itself and writes a row of the table for it.
func (c *trial) rows(t proc.T, sluice string, out io.Writer) verdict {
	t.Helper()
	fmt.Fprintln(out, "| fault | what visitors saw | letting in went on | places lost | double admissions | overshoot | |")
	fmt.Fprintln(out, "| --- | --- | --- | --- | --- | --- | --- |")
	all := kept
	for _, k := range c.kinds {
		one := *c
		one.kinds = []*kind{k}
		one.length = max(c.length, quietAtFirst+k.lasts.max)
		var text bytes.Buffer
		var e *evidence
		proc.Part(t, func(t proc.T) { e = one.try(t, sluice, &text) })
		r := e.judge()
		if v := r.verdict(); v != kept {
			if all != broken {
				all = v
			}
			e.write(&text, r)
			fmt.Fprintf(os.Stderr, "%s: promises: %s\n%s", k.name, v, text.Bytes())
		}
		fmt.Fprintln(out, e.row(k, r, one.command("--only "+k.name)))
	}
	return all
}

// row is what one kind of fault did, the worst of its times.
func (e *evidence) row(k *kind, r *result, command string) string {
	var seen []failure
	var worst time.Duration
	n := 0
	for _, f := range e.faults {
		if f.began.IsZero() {
			continue
		}
		n++
		seen = append(seen, r.seen[f]...)
		worst = max(worst, e.admission(f).resumed)
	}
	on := "at once"
	if worst >= time.Second {
		on = "after " + seconds(worst)
	}
	return fmt.Sprintf("| %s | %s | %s | %d | %d | %d | `%s` |", k.about, tally(seen), on, r.broken("P3"), r.broken("P4"), r.broken("P2"), command)
}
