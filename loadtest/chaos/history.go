package main

import (
	"bytes"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/sluicegate/sluice/loadtest/judge"
)

var deeds = map[judge.Kind]string{
	judge.Joined: "joined", judge.Refused: "waits", judge.Admitted: "in", judge.Left: "left", judge.Vanished: "vanished",
	judge.WalkedAway: "walked away", judge.Forgotten: "forgotten", judge.Expelled: "put out", judge.Copied: "a copy is in",
}

// readEvents finds out from what visitors saw who came when, and which gates answered
// them. It counts them as a judge does: by who appears first.
func (e *evidence) readEvents() error {
	numbers := make(map[uint64]int)
	e.answers, e.spot = make(map[int][]answer), make(map[int]time.Time)
	err := judge.Read(bytes.NewReader(e.events), func(x *judge.Event) {
		n, ok := numbers[x.Visitor]
		if !ok {
			n = len(numbers) + 1
			numbers[x.Visitor] = n
			if x.Kind == judge.Admitted {
				e.spot[n] = time.Unix(0, x.Sent)
			}
		}
		if x.Kind == judge.Joined {
			e.came = append(e.came, time.Unix(0, x.Answered))
		}
		if x.Gate > 0 {
			e.answers[n] = append(e.answers[n], answer{int(x.Gate), time.Unix(0, x.Sent), time.Unix(0, x.Answered)})
		}
	})
	slices.SortFunc(e.came, time.Time.Compare)
	return err
}

// met tells whether the gate that a fault broke answered somebody meanwhile, or until it
// was whole again; or may have, where others' fronts led to it.
func (e *evidence) met(f *fault, visitor int) bool {
	return slices.ContainsFunc(e.answers[visitor], func(a answer) bool {
		return (a.gate == f.gate || e.led[a.gate]&(1<<f.gate) != 0) && a.answered.After(f.began) && a.sent.Before(f.ended.Add(reconnect))
	})
}

// onSpot tells whether somebody was let in on the spot, since an instant.
func (e *evidence) onSpot(visitor int, since time.Time) bool {
	at, ok := e.spot[visitor]
	return ok && !at.Before(since)
}

// writeHistories writes what some visitors saw, or with nil all of them.
func (e *evidence) writeHistories(out io.Writer, visitors []int) {
	numbers := make(map[uint64]int) // as a judge counts: by who appears first
	told := make(map[int]*strings.Builder)
	err := judge.Read(bytes.NewReader(e.events), func(x *judge.Event) {
		n, ok := numbers[x.Visitor]
		if !ok {
			n = len(numbers) + 1
			numbers[x.Visitor] = n
		}
		if visitors == nil || slices.Contains(visitors, n) {
			if told[n] == nil {
				told[n] = &strings.Builder{}
			}
			e.writeEvent(told[n], x)
		}
	})
	if err != nil {
		fmt.Fprintf(out, "what visitors saw cannot be read: %v\n", err)
	}
	if visitors == nil {
		visitors = slices.Sorted(maps.Keys(told))
	}
	for _, n := range visitors {
		if b := told[n]; b != nil {
			fmt.Fprintf(out, "\nVisitor %d\n%s", n, b)
			delete(told, n)
		}
	}
}

func (e *evidence) writeEvent(out io.Writer, x *judge.Event) {
	sent, answered := time.Unix(0, x.Sent), time.Unix(0, x.Answered)
	fmt.Fprintf(out, "  %7.3fs to %7.3fs %s", sent.Sub(e.start).Seconds(), answered.Sub(e.start).Seconds(), deeds[x.Kind])
	part := func(name string, value any, is bool) {
		if is {
			fmt.Fprintf(out, ", %s %v", name, value)
		}
	}
	part("gate", x.Gate, x.Gate > 0)
	part("position", x.Position, x.Position > 0)
	part("of", fmt.Sprintf("%v ago", time.Duration(x.Age)), x.Age > 0)
	part("again in", time.Duration(x.After).Round(time.Millisecond), x.After > 0)
	part("place", e.since(time.UnixMicro(x.Place)), x.Place > 0)
	part("called", e.since(time.UnixMilli(x.Called)), x.Called > 0)
	fmt.Fprintln(out)
}
