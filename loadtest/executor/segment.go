package executor

import (
	"cmp"
	"fmt"
	"math/bits"
	"slices"
	"strconv"
	"strings"
)

// Segment is a share of a run: from From/Of to To/Of. The zero value is the
// whole. Segments that share borders but no part own every slot exactly once
// between them, whatever their denominators.
type Segment struct {
	From, To, Of int64
}

// maxOf bounds into how many parts a run is cut.
const maxOf = 1 << 20

// Split cuts the segment into n equal parts.
func (g Segment) Split(n int) ([]Segment, error) {
	g = g.whole()
	if n < 1 || int64(n) > maxOf/g.Of {
		return nil, fmt.Errorf("executor: cannot cut %s into %d segments", g, n)
	}
	out := make([]Segment, n)
	for i := range out {
		width := g.To - g.From
		out[i] = Segment{g.From*int64(n) + int64(i)*width, g.From*int64(n) + int64(i+1)*width, g.Of * int64(n)}
	}
	return out, nil
}

// ParseSegment reads a share as k6 writes it: 1/4 for the first quarter, 1/4:1/2
// for the next. 0 and 1 are borders too.
func ParseSegment(s string) (Segment, error) {
	from, to, found := strings.Cut(s, ":")
	if !found {
		from, to = "0", s
	}
	a, b, err := parseFraction(from)
	if err != nil {
		return Segment{}, fmt.Errorf("segment %q: %w", s, err)
	}
	c, d, err := parseFraction(to)
	if err != nil {
		return Segment{}, fmt.Errorf("segment %q: %w", s, err)
	}
	g := between(a, b, c, d)
	if err := g.check(); err != nil {
		return Segment{}, fmt.Errorf("segment %q: %w", s, err)
	}
	return g, nil
}

func parseFraction(s string) (above, below int64, err error) {
	top, bottom, found := strings.Cut(s, "/")
	above, err = strconv.ParseInt(top, 10, 32)
	if err == nil && found {
		below, err = strconv.ParseInt(bottom, 10, 32)
	} else {
		below = 1
	}
	if err != nil || above < 0 || below < 1 || below > maxOf {
		return 0, 0, fmt.Errorf("%q is no fraction such as 1/4", s)
	}
	return above, below, nil
}

func gcd(a, b int64) int64 {
	for b != 0 {
		a, b = b, a%b
	}
	return a
}

func (g Segment) check() error {
	if g == (Segment{}) {
		return nil
	}
	if g.From < 0 || g.From >= g.To || g.To > g.Of || g.Of > maxOf {
		return fmt.Errorf("expected a share from 0 to 1 that begins before it ends, in at most %d parts", maxOf)
	}
	return nil
}

func (g Segment) whole() Segment {
	if g == (Segment{}) {
		return Segment{0, 1, 1}
	}
	return g
}

// Part tells whether it is less than the whole.
func (g Segment) Part() bool {
	g = g.whole()
	return g.From > 0 || g.To < g.Of
}

// Overlaps tells whether the two share some part.
func (g Segment) Overlaps(h Segment) bool {
	g, h = g.whole(), h.whole()
	return g.From*h.Of < h.To*g.Of && h.From*g.Of < g.To*h.Of
}

// Missing returns what is in none of the segments, in order.
func Missing(of []Segment) []Segment {
	of = slices.Clone(of)
	for i := range of {
		of[i] = of[i].whole()
	}
	slices.SortFunc(of, func(a, b Segment) int { return cmp.Compare(a.From*b.Of, b.From*a.Of) })
	var out []Segment
	from, below := int64(0), int64(1) // covered up to here
	for _, g := range of {
		if from*g.Of < g.From*below {
			out = append(out, between(from, below, g.From, g.Of))
		}
		if g.To*below > from*g.Of {
			from, below = g.To, g.Of
		}
	}
	if from < below {
		out = append(out, between(from, below, 1, 1))
	}
	return out
}

// between is the segment from a/b to c/d.
func between(a, b, c, d int64) Segment {
	g := Segment{a * d, c * b, b * d}
	by := gcd(gcd(g.From, g.To), g.Of)
	return Segment{g.From / by, g.To / by, g.Of / by}
}

// String is what ParseSegment reads.
func (g Segment) String() string {
	g = g.whole()
	border := func(n int64) string {
		if n == 0 {
			return "0"
		}
		if n == g.Of {
			return "1"
		}
		by := gcd(n, g.Of)
		return fmt.Sprintf("%d/%d", n/by, g.Of/by)
	}
	return border(g.From) + ":" + border(g.To)
}

// Owns tells whether the slot, counted from 0, is of this segment. Slots are
// dealt out by the van der Corput sequence, which puts neighbours far apart: any
// segment's slots are spread evenly, and equal segments take turns.
func (g Segment) Owns(slot int64) bool {
	g = g.whole()
	at := bits.Reverse64(uint64(slot))
	low, _ := bits.Div64(uint64(g.From), 0, uint64(g.Of))
	if at < low {
		return false
	}
	if g.To == g.Of {
		return true
	}
	high, _ := bits.Div64(uint64(g.To), 0, uint64(g.Of))
	return at < high
}

// Slots returns those below n that the segment owns.
func (g Segment) Slots(n int64) []int64 {
	var out []int64
	for slot := range n {
		if g.Owns(slot) {
			out = append(out, slot)
		}
	}
	return out
}
