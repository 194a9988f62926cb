package main

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"
)

// kind is a kind of fault. Kinds are listed in the files named after the part of the
// world that they break (gates.go, store.go, links.go, ...), each of which hands its
// own to register from an init function. What visitors may see of a kind stands in
// the table of allowances.
type kind struct {
	name  string // for --only: the part of the world first, as in store-kill
	about string // what happens, as the table says it to operators

	// takes are the parts of the world that the fault has for itself, from its
	// beginning until it is over and has rested.
	takes []part
	lasts span          // how long it lasts; 0: over at once
	rest  time.Duration // how long it takes for what it broke to be whole again; 0: a second

	// needs is a program without which there is no such fault; "": none.
	needs string
	// clock: the redis-server has to run by a clock of its own, see store.jump.
	clock bool

	// begin breaks something, now, and returns what mends it when its time is over;
	// nil: nothing is to be done. What it draws comes from r alone. Both run on the
	// goroutine of w.t, and a Fatal of theirs ends the run: the world is not what it
	// should be. Neither waits for longer than it has to.
	begin func(w *world, r *rand.Rand) (mend func())
}

// part is something that only one fault at a time may break.
type part string

const (
	theGates  part = "gates"  // one of them, or all
	theStore  part = "store"  // the server and what it holds
	theLinks  part = "links"  // between gates and store
	theShop   part = "shop"   // and the way to it
	theFronts part = "fronts" // visitors' connections
	theLimits part = "limits" // settings of the room
)

// span is a range of times.
type span struct{ min, max time.Duration }

func (s span) draw(r *rand.Rand) time.Duration {
	if s.max <= s.min {
		return s.min
	}
	return s.min + time.Duration(r.Int64N(int64(s.max-s.min)))
}

// kinds are all of them, by name.
var kinds = map[string]*kind{}

func register(ks ...kind) {
	for _, k := range ks {
		if kinds[k.name] != nil || k.begin == nil || len(k.takes) == 0 {
			panic("BUG: chaos: kind " + k.name)
		}
		kinds[k.name] = &k
	}
}

// choose returns the kinds that are named, in order of name: all of them where none
// is. A name may end with * for all that begin so.
func choose(names []string) ([]*kind, error) {
	var out []*kind
	for _, k := range kinds {
		if len(names) == 0 || slices.ContainsFunc(names, func(n string) bool { return matches(n, k.name) }) {
			out = append(out, k)
		}
	}
	for _, n := range names {
		if !slices.ContainsFunc(out, func(k *kind) bool { return matches(n, k.name) }) {
			return nil, fmt.Errorf("no kind of fault is named %q: --list names them", n)
		}
	}
	slices.SortFunc(out, func(a, b *kind) int { return cmp.Compare(a.name, b.name) })
	return out, nil
}

func matches(pattern, name string) bool {
	if begin, ok := strings.CutSuffix(pattern, "*"); ok {
		return strings.HasPrefix(name, begin)
	}
	return pattern == name
}

// fault is one that is planned, and then what became of it.
type fault struct {
	*kind
	at, lasts time.Duration // since the start of the run
	seed      uint64        // of what it draws itself

	began, ended time.Time // of its breaking and its mending; zero: it did not come to that
	gate         int       // the one that it broke, from 1; 0: none, or all
}

const (
	// quiet is before the first fault, so that there is a line.
	quietAtFirst = 4 * time.Second
	// between is from one fault's beginning to the next's, at least and on average beyond.
	leastBetween, meanBetween = 500 * time.Millisecond, 2500 * time.Millisecond
)

// plan draws the faults of a run: every kind before any comes again, each when the
// parts that it takes are free. The same arguments give the same faults.
func plan(seed uint64, length time.Duration, kinds []*kind) []*fault {
	r := rand.New(rand.NewPCG(seed, 0x5105e))
	var out []*fault
	var turn []*kind // who is next
	free := map[part]time.Duration{}
	fits := func(k *kind, at time.Duration) bool {
		return at+k.lasts.max <= length && !slices.ContainsFunc(k.takes, func(p part) bool { return free[p] > at })
	}
	for at := quietAtFirst; at < length; {
		if len(turn) < len(kinds) { // those who wait for a part keep their turn
			more := slices.Clone(kinds)
			r.Shuffle(len(more), func(i, j int) { more[i], more[j] = more[j], more[i] })
			turn = append(turn, more...)
		}
		i := slices.IndexFunc(turn, func(k *kind) bool { return fits(k, at) })
		if i < 0 {
			at += leastBetween
			continue
		}
		k := turn[i]
		turn = slices.Delete(turn, i, i+1)
		f := &fault{kind: k, at: at, lasts: k.lasts.draw(r), seed: r.Uint64()}
		out = append(out, f)
		for _, p := range k.takes {
			free[p] = at + f.lasts + cmp.Or(k.rest, time.Second)
		}
		at += leastBetween + min(time.Duration(r.ExpFloat64()*float64(meanBetween)), 4*meanBetween).Round(time.Millisecond)
	}
	return out
}

// moment is when a fault begins or is mended.
type moment struct {
	*fault
	at     time.Duration
	begins bool
	do     func()
}

// moments are what the world goes through, in order of time.
func moments(w *world, faults []*fault) []moment {
	var out []moment
	for _, f := range faults {
		var mend func()
		over := func() {
			if mend != nil {
				mend()
			}
			f.ended = time.Now()
		}
		out = append(out, moment{f, f.at, true, func() {
			f.began, w.picked = time.Now(), 0
			mend = f.begin(w, rand.New(rand.NewPCG(f.seed, 0)))
			f.gate = w.picked
			if f.lasts == 0 {
				over()
			}
		}})
		if f.lasts > 0 {
			out = append(out, moment{f, f.at + f.lasts, false, func() {
				if !f.began.IsZero() {
					over()
				}
			}})
		}
	}
	slices.SortStableFunc(out, func(a, b moment) int { return cmp.Compare(a.at, b.at) })
	return out
}
