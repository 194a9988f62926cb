package main

import (
	"bytes"
	"testing"
	"time"

	"github.com/sluicegate/sluice/loadtest/stage"
	"github.com/sluicegate/sluice/queue/queuetest/proc"
)

func TestNoRequestFailsThoughTheGateIsRestarted(t *testing.T) {
	if testing.Short() {
		t.Skip("not tested: gates, which have to be built")
	}
	proc.Need(t, "redis-server")
	sluice := stage.Sluice(t)
	for name, o := range map[string]options{
		"beside the old one":                       {ways: []string{reusePort}, delay: 500 * time.Millisecond},
		"in systemd's socket":                      {ways: []string{systemd}, delay: 500 * time.Millisecond},
		"in systemd's socket, as fast as possible": {ways: []string{systemd}},
		"with a line in memory":                    {ways: []string{systemd}, memory: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o.rate, o.length, o.restarts, o.connections = 200, 4*time.Second, 1, 64
			r := run(t, sluice, o.ways[0], o)
			var out bytes.Buffer
			r.tell(&out, o)
			t.Logf("%s", out.Bytes())
			if r.failed() > 0 || r.sent != 800 {
				t.Errorf("of %d requests %d failed, want none of 800", r.sent, r.failed())
			}
		})
	}
}

func TestArguments(t *testing.T) {
	for _, args := range [][]string{
		{"--way", "magic"}, {"--rate", "0"}, {"--for", "1s"}, {"more"}, {"--no-such-flag"},
	} {
		var out, log bytes.Buffer
		if code := command(args, &out, &log); code != exitUsage || out.Len() > 0 || log.Len() == 0 {
			t.Errorf("%q: exit %d, printed %q, said %q", args, code, out.Bytes(), log.Bytes())
		}
	}
}
