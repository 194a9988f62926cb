package main

import (
	"bytes"
	"testing"
	"time"

	"github.com/sluicegate/sluice/queue/queuetest/proc"
)

// Programs that join and never come back, ten times as many as the people in line:
// these notice nothing, and nothing of the programs stays in Redis.
func TestAFlood(t *testing.T) {
	if testing.Short() {
		t.Skip("not tested: a flood of half a minute")
	}
	t.Parallel()
	proc.Need(t, "redis-server")
	o := options{
		script: "../scripts/flood-small.yaml", people: 300, bots: 24_000, length: 8 * time.Second, every: 5 * time.Second,
		gates: 2, workers: 1, rate: "20/s", burst: 20, maxWaiting: "2000", poll: "{min: 500ms, max: 1s}",
	}
	var out bytes.Buffer
	if !o.run(t, &out) {
		t.Errorf("%s", out.Bytes())
	}
	t.Logf("%s", out.Bytes())
}
