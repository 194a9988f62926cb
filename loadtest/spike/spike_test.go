package main

import (
	"bytes"
	"testing"

	"github.com/sluicegate/sluice/queue/queuetest/proc"
)

// Eight thousand people within ten seconds, and every promise kept: see the script's
// thresholds.
func TestASaleIsRehearsed(t *testing.T) {
	if testing.Short() {
		t.Skip("not tested: a sale of half a minute")
	}
	proc.Need(t, "redis-server")
	s := sale{script: "../scripts/spike-8k.yaml", rate: "400/s", burst: 40, gates: 2, workers: 2}
	var out bytes.Buffer
	if code := s.rehearse(t, &out); code != 0 {
		t.Errorf("exit %d\n%s", code, out.Bytes())
	}
}
