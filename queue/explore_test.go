package queue_test

import (
	"flag"
	"fmt"
	"hash/maphash"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sluicegate/sluice/queue"
)

// step is how a world was reached.
type step struct {
	from *step
	move move
}

func (s *step) moves() (all []move) {
	for ; s.from != nil; s = s.from {
		all = append([]move{s.move}, all...)
	}
	return all
}

// explored is what was looked at.
type explored struct {
	worlds, moves, depth int
	whole                bool // nothing is left to explore
	wrong                string
	trace                []move
}

// explore tries all orders of moves, the shortest first, until a promise is broken, all
// was tried, or depth moves were made.
func explore(s *scope, depth, most int) explored {
	type node struct {
		w *world
		*step
	}
	seed := maphash.MakeSeed()
	first := newWorld(s)
	level := []node{{first, &step{}}}
	seen := map[uint64]struct{}{first.key(seed): {}}
	var e explored
	var scratch []move
	for e.depth = 0; e.depth < depth && len(level) > 0; e.depth++ {
		var next []node
		for i, n := range level {
			level[i].w = nil
			scratch = n.w.moves(scratch[:0])
			for k, m := range scratch {
				w := n.w
				if k < len(scratch)-1 {
					w = n.w.clone()
				}
				w.take(m)
				e.moves++
				if w.wrong != "" {
					e.wrong = w.wrong
					e.trace = (&step{n.step, m}).moves()
					e.worlds = len(seen)
					return e
				}
				key := w.key(seed)
				if _, known := seen[key]; known {
					continue
				}
				seen[key] = struct{}{}
				next = append(next, node{w, &step{n.step, m}})
				if len(seen) >= most {
					e.worlds = len(seen)
					return e
				}
			}
		}
		level = next
	}
	e.worlds = len(seen)
	e.whole = len(level) == 0
	return e
}

// walk makes moves at random, and returns those that led to a broken promise, as few of
// them as will do.
func walk(s *scope, r *rand.Rand, length int) []move {
	w := newWorld(s)
	var trace, scratch []move
	for range length {
		if scratch = w.moves(scratch[:0]); len(scratch) == 0 {
			return nil
		}
		m := scratch[r.IntN(len(scratch))]
		if r.IntN(4) == 0 {
			m = scratch[0]
		}
		trace = append(trace, m)
		if w.take(m); w.wrong != "" {
			return shorten(s, trace, w.wrong)
		}
	}
	return nil
}

// walks makes histories of 80 moves until one breaks a promise.
func walks(s *scope, n int) (seed int, trace []move) {
	for seed := range n {
		if trace := walk(s, rand.New(rand.NewPCG(1, uint64(seed))), 80); trace != nil {
			return seed, trace
		}
	}
	return 0, nil
}

// shorten leaves out moves as long as the same promise is broken.
func shorten(s *scope, trace []move, wrong string) []move {
	for again := true; again; {
		again = false
		for i := range trace {
			without := slices.Delete(slices.Clone(trace), i, i+1)
			if got := replay(s, without); got != "" && got[:2] == wrong[:2] {
				trace, again = without, true
				break
			}
		}
	}
	return trace
}

// replay makes moves, if they can be made, and returns the promise that they break.
func replay(s *scope, trace []move) string {
	w := newWorld(s)
	for _, m := range trace {
		if !slices.Contains(w.moves(nil), m) {
			return ""
		}
		if w.take(m); w.wrong != "" {
			return w.wrong
		}
	}
	return ""
}

// retell tells a history move by move.
func retell(s *scope, trace []move) string {
	var b strings.Builder
	w := newWorld(s)
	w.tell = func(format string, args ...any) { fmt.Fprintf(&b, "         "+format+"\n", args...) }
	for i, m := range trace {
		fmt.Fprintf(&b, "%3d. %s\n", i+1, m)
		w.take(m)
		fmt.Fprintf(&b, "         [%s ]\n", w.picture())
	}
	fmt.Fprintf(&b, "     %s\n", w.wrong)
	return b.String()
}

var (
	exploreDepth = flag.Int("explore.depth", 0, "explore every order of so many moves; 0: of some thousand worlds")
	exploreWalks = flag.Int("explore.walks", 60, "histories of 80 moves at random, in each scope")
	exploreOnly  = flag.String("explore.scope", "", "the one scope to explore")
)

// scopes are what is explored. Each is small, and has all that there is of one kind.
func scopes() []*scope {
	all := []*scope{
		{name: "answers", visitors: 2, gates: 2, rate: queue.NoRate, maxActive: 1, seconds: 10, faults: 2,
			nets: []fate{onceLost, allLost, tooLate, unheard}},
		{name: "gates", visitors: 2, gates: 2, rate: queue.NoRate, maxActive: 1, seconds: 10, faults: 2,
			kinds: []deed{crash, pause, cut}},
		{name: "losses", visitors: 2, gates: 2, rate: queue.NoRate, maxActive: 1, seconds: 10, faults: 2, saves: 1,
			kinds: []deed{crash, wipe, save, restore, tearLine, tearSlots}},
		{name: "slow polls", visitors: 2, gates: 2, rate: queue.NoRate, maxActive: 1, seconds: 10, faults: 2, saves: 1, poll: 5 * time.Second,
			kinds: []deed{wipe, save, restore, tearLine}},
		{name: "rate", visitors: 3, gates: 2, rate: queue.Rate{N: 1, Per: queue.PerSecond}, seconds: 10, faults: 2, saves: 1,
			kinds: []deed{crash, wipe, save, restore}},
		{name: "everything", visitors: 3, gates: 2, rate: queue.Rate{N: 1, Per: queue.PerSecond}, maxActive: 2, seconds: 10, faults: 2, saves: 1,
			kinds: []deed{crash, pause, cut, wipe, save, restore, tearLine, tearSlots}, nets: []fate{onceLost, allLost, tooLate, unheard}},
	}
	return slices.DeleteFunc(all, func(s *scope) bool { return *exploreOnly != "" && s.name != *exploreOnly })
}

// wide is a scope in which more happens than can be explored.
func wide(s *scope) *scope {
	w := *s
	w.seconds, w.faults, w.saves = 40, 3, 3
	return &w
}

// TestExplore tries every order in which visitors, gates and faults may come.
func TestExplore(t *testing.T) {
	for _, s := range scopes() {
		t.Run(s.name, func(t *testing.T) {
			t.Parallel()
			depth, most := *exploreDepth, math.MaxInt
			if depth == 0 {
				depth, most = 100, 3000
			}
			begun := time.Now()
			e := explore(s, depth, most)
			t.Logf("%d worlds, %d moves, every order of %d, in %s", e.worlds, e.moves, e.depth, time.Since(begun).Round(time.Millisecond))
			if e.wrong != "" {
				t.Errorf("after %d moves\n%s", len(e.trace), retell(s, e.trace))
			}
		})
	}
}

// TestWalk makes long histories at random.
func TestWalk(t *testing.T) {
	for _, s := range scopes() {
		t.Run(s.name, func(t *testing.T) {
			t.Parallel()
			if seed, trace := walks(wide(s), *exploreWalks); trace != nil {
				t.Errorf("history %d, after %d moves\n%s", seed, len(trace), retell(s, trace))
			}
		})
	}
}

// TestHistories are those that once broke a promise.
func TestHistories(t *testing.T) {
	const ann, gateA, gateB = 0, 0, 1
	of := func(do deed, who, gate int8) []move { return []move{{do: do, who: who, gate: gate}} }
	seconds := func(n int) []move { return slices.Repeat(of(second, -1, -1), n) }
	for name, moves := range map[string][][]move{
		"a pass was used at another gate for longer than a session, and the store was wiped": {
			of(join, ann, gateA), seconds(1), of(poll, ann, gateB), seconds(25), of(wipe, -1, -1), seconds(3), of(use, ann, gateA),
		},
		"two losses at once, each noticed by another gate": {
			of(tearSlots, -1, -1), of(tick, -1, gateB), of(join, ann, gateA), of(leave, ann, gateB), of(wipe, -1, -1), of(tick, -1, gateA),
			seconds(3), of(poll, ann, gateA), seconds(4), of(poll, ann, gateA),
		},
	} {
		t.Run(name, func(t *testing.T) {
			all := slices.Concat(moves...)
			s := &scope{visitors: 2, gates: 2, rate: queue.NoRate, maxActive: 1, seconds: 60, faults: 5,
				kinds: []deed{wipe, tearSlots}}
			w := newWorld(s)
			for i, m := range all {
				if !slices.Contains(w.moves(nil), m) {
					t.Fatalf("move %d, %q, cannot be made:\n%s", i+1, m, retell(s, all[:i]))
				}
				if w.take(m); w.wrong != "" {
					t.Fatal(retell(s, all[:i+1]))
				}
			}
		})
	}
}

// TestTheJudgeFindsWhatIsBroken: a gate that leaves out what it has to say breaks a
// promise, and the shortest way there is found.
func TestTheJudgeFindsWhatIsBroken(t *testing.T) {
	scope := func(name string) *scope {
		all := scopes()
		return all[slices.IndexFunc(all, func(s *scope) bool { return s.name == name })]
	}
	for name, row := range map[string]struct {
		scope   string
		spoil   spoil
		promise string
	}{
		"says nothing of who is inside":                 {"losses", spoil{call: func(c *queue.Call) { c.Called, c.Active = 0, 0 }}, "P2"},
		"says nothing of when visitors will have asked": {"slow polls", spoil{call: func(c *queue.Call) { c.Hold = 0 }}, "P1"},
		"remembers nothing":                             {"rate", spoil{call: func(c *queue.Call) { c.Told, c.Generation = 0, 0 }}, "P2"},
		"takes everybody for present":                   {"rate", spoil{arrival: func(a *queue.Arrival) { a.Deadline += 3600e6 }}, "P8"},
	} {
		t.Run(name, func(t *testing.T) {
			if *exploreOnly != "" {
				t.Skip("one scope was asked for")
			}
			t.Parallel()
			s := wide(scope(row.scope))
			s.spoil = row.spoil
			if row.scope == "losses" { // of more gates one remembers who is inside
				s.gates, s.kinds = 1, []deed{crash, wipe}
			}
			_, trace := walks(s, 5000)
			if trace == nil {
				t.Fatal("nothing was found")
			}
			told := retell(s, trace)
			t.Logf("%d moves\n%s", len(trace), told)
			if !strings.Contains(told, "     "+row.promise) {
				t.Errorf("want %s to be broken", row.promise)
			}
		})
	}
}
