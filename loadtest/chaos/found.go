package main

import (
	"fmt"
	"io"
	"time"

	"github.com/sluicegate/sluice/queue/queuetest/proc"
)

// found are runs that have broken something, at a gate, in a store or in a judge's eyes,
// and what came of each: a test that needs no luck stands in the package named. Their
// faults are the same again only while no kind is added.
var found = []struct {
	seed   uint64
	length time.Duration
	what   string
}{
	{1, time.Minute, "sluice_overshoot_total counted who was inside before a limit was lowered (queue/queuetest)"},
	{12, 40 * time.Second, "places of one outage were ordered by which gate had heard the store last (queue: clock)"},
	{310, time.Minute, "who found the session over and came again was taken for somebody who came later (loadtest/visitor)"},
	{403, time.Minute, "a change of the room that hung at a gate came to pass after the next one (queue: overrides)"},
	{409, time.Minute, "of two times with looser limits only the first counted (loadtest/judge)"},
	{410, time.Minute, "who was let in to a shop that had trouble was not taken for inside (loadtest/visitor)"},
	{415, time.Minute, "who came to another gate each time was put out of a session in use (queue)"},
}

// again plays them all once more.
func (c *trial) again(t proc.T, sluice string, out io.Writer) verdict {
	t.Helper()
	all := kept
	for i, f := range found {
		one := *c
		one.seed, one.length = f.seed, f.length
		fmt.Fprintf(out, "%d of %d: %s\n", i+1, len(found), f.what)
		var v verdict
		proc.Part(t, func(t proc.T) { v = one.tell(t, sluice, out) })
		fmt.Fprintln(out)
		if v == broken || all == kept {
			all = v
		}
	}
	return all
}
