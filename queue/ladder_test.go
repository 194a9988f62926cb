package queue

import (
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// take returns the ladder of a line, as a store takes it.
func take(line []Time, last Time) Ladder {
	l := Ladder{Last: last}
	for i := 0; Rung(i) < int64(len(line)); i++ {
		l.Places = append(l.Places, line[Rung(i)])
	}
	return l
}

func TestRungs(t *testing.T) {
	for i := range int64(64) {
		if Rung(int(i)) != i {
			t.Errorf("rung %d is at rank %d", i, Rung(int(i)))
		}
	}
	r := int64(0)
	for i := range len(rungs) - 1 {
		if Rung(i) != r {
			t.Fatalf("rung %d is at rank %d, want %d", i, Rung(i), r)
		}
		next := NextRung(r)
		if next <= r || next > r+1 && (next-r)*32 > r {
			t.Fatalf("the rung after rank %d is at %d", r, next)
		}
		r = next
	}
	if r < 10_000_000 {
		t.Errorf("the last rung is at rank %d", r)
	}
	for _, row := range [][2]int64{{0, 0}, {1, 1}, {63, 63}, {64, 64}, {65, 66}, {66, 66}, {67, 68}, {96, 96}, {97, 99}, {98, 99}, {99, 99}} {
		if got := RungAtOrAfter(row[0]); got != row[1] {
			t.Errorf("the rung at or after rank %d is %d, want %d", row[0], got, row[1])
		}
	}
}

func TestPosition(t *testing.T) {
	line := make([]Time, 1000)
	for i := range line {
		line[i] = Time(1000 + 10*i)
	}
	l := take(line, 20_000)
	for _, row := range []struct {
		why   string
		place Time
		want  int64
	}{
		{"the first in line", 1000, 1},
		{"the second", 1010, 2},
		{"somebody earlier than the first is next, once back", 7, 1},
		{"somebody between the first two comes after the first", 1005, 2},
		{"the last of those with a rung each", 1630, 64},
		{"on a rung behind them", 1000 + 10*66, 67},
		{"between two rungs", 1000 + 10*65, 66},
		{"the latest place given stands at the rung behind the line", 20_000, Rung(len(l.Places)) + 1},
		{"a place given after the ladder was taken", 20_001, 0},
	} {
		if got := l.Position(row.place); got != row.want {
			t.Errorf("%s: position %d, want %d", row.why, got, row.want)
		}
	}
	empty := Ladder{Last: 5}
	if got := empty.Position(5); got != 1 {
		t.Errorf("nobody waits: position %d, want 1", got)
	}
	if got := empty.At(10); got != 0 {
		t.Errorf("nobody waits: the place at rank 10 is %d", got)
	}
}

// places are as far apart as they are in a real line, in a rush, or hours.
var gaps = rapid.OneOf(rapid.Int64Range(1, 3), rapid.Int64Range(1, 1000), rapid.Int64Range(1, 10_000_000_000))

func drawLine(t *rapid.T) (line []Time) {
	at := Time(1_782_900_000_000_000)
	n := rapid.SampledFrom([]int{1, 3, 63, 64, 65, 66, 67, 70, 131, 400, 1500}).Draw(t, "waiting")
	gap := Time(1)
	for i := range n {
		if i%16 == 0 {
			gap = Time(gaps.Draw(t, "gap"))
		}
		at += gap
		line = append(line, at)
	}
	return line
}

func TestPositionsAreExactInFrontAndCloseBehind(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		line := drawLine(t)
		l := take(line, line[len(line)-1]+Time(rapid.Int64Range(0, 1_000_000).Draw(t, "last")))
		before := int64(0)
		for i, p := range line {
			exact, got := int64(i+1), l.Position(p)
			switch {
			case exact <= 64 && got != exact:
				t.Fatalf("number %d is shown %d", exact, got)
			case (got-exact)*32 > exact:
				t.Fatalf("number %d is shown %d, more than a thirty-second too high", exact, got)
			case (exact-got)*32 > exact:
				t.Fatalf("number %d is shown %d, more than a thirty-second too low", exact, got)
			case got < before:
				t.Fatalf("number %d is shown %d, the one before %d", exact, got, before)
			}
			before = got
			if told := RungAtOrAfter(int64(i)) + 1; told < exact || told < got {
				t.Fatalf("number %d is told %d before there is a ladder, which then shows %d", exact, told, got)
			}
		}
	})
}

// The place at a rank is one whose visitor has at most that rank, and it is the
// latest such that the ladder knows.
func TestPlaceAtRank(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		line := drawLine(t)
		l := take(line, line[len(line)-1])
		rank := rapid.Int64Range(0, int64(len(line))+100).Draw(t, "rank")
		got := l.At(rank)
		i, found := slices.BinarySearch(line, got)
		if !found || int64(i) > rank {
			t.Fatalf("the place at rank %d is that of rank %d (%v)", rank, i, found)
		}
		if j := int64(i); j < min(rank, 63) && j < int64(len(line))-1 || NextRung(j) <= min(rank, int64(len(line))-1) {
			t.Fatalf("the place at rank %d is that of rank %d", rank, j)
		}
	})
}

// Nobody's position grows while people are called, leave and arrive; only when
// somebody earlier comes back.
func TestPositionsNeverGrow(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		line := drawLine(t)
		last := line[len(line)-1]
		l := take(line, last)
		shown := make(map[Time]int64)
		for i, p := range line {
			shown[p] = l.Position(p)
			if rapid.IntRange(0, 1).Draw(t, "told before the ladder") == 1 {
				shown[p] = RungAtOrAfter(int64(i)) + 1
			}
			if len(line) > 70 {
				break // drawing for each of a thousand is slow
			}
		}
		for i, p := range line {
			if shown[p] == 0 {
				shown[p] = RungAtOrAfter(int64(i)) + 1
			}
		}
		for range rapid.IntRange(1, 10).Draw(t, "ladders") {
			switch rapid.IntRange(0, 3).Draw(t, "what happens") {
			case 0: // calls
				line = line[rapid.IntRange(0, len(line)).Draw(t, "called"):]
			case 1: // some leave, here and there
				from := rapid.IntRange(0, len(line)).Draw(t, "from")
				to := rapid.IntRange(from, len(line)).Draw(t, "to")
				line = slices.Concat(line[:from], line[to:])
			case 2: // every so many leave
				nth := rapid.IntRange(2, 40).Draw(t, "every")
				var rest []Time
				for i, p := range line {
					if i%nth != 0 {
						rest = append(rest, p)
					}
				}
				line = rest
			case 3:
				line = slices.Clone(line)
				for range rapid.IntRange(1, 200).Draw(t, "arrive") {
					last += Time(1 + rapid.Int64Range(0, 1).Draw(t, "apart")*1_000_000)
					line = append(line, last)
				}
			}
			l := take(line, last)
			for i, p := range line {
				got := l.Position(p)
				if before, ok := shown[p]; ok && got > before {
					t.Fatalf("rank %d was shown %d and now %d", i, before, got)
				}
				shown[p] = got
			}
		}
	})
}
