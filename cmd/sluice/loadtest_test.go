package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/sluicegate/sluice/gate/config"
	"github.com/sluicegate/sluice/loadtest/judge"
	metrics "github.com/sluicegate/sluice/loadtest/metric"
	"github.com/sluicegate/sluice/loadtest/visitor"
	"github.com/sluicegate/sluice/queue/queuetest/proc"
)

// A rehearsedGate is a gate to rehearse with, whose shop is served by whoever rehearses.
type rehearsedGate struct{ visitors, shop string }

func openRehearsal(t *testing.T, room string) rehearsedGate {
	t.Helper()
	shop := net.JoinHostPort("127.0.0.1", strconv.Itoa(proc.FreePort(t)))
	c, err := config.Load(config.Source{File: "sale", Data: fmt.Appendf(nil, `
listen: 127.0.0.1:0
admin: {listen: 127.0.0.1:0}
store: memory
secret: %q
origin: {url: "http://%s"}
shutdown: {delay: 0s, timeout: 5s}
rooms:
  - name: drop
    match: [{path: /drop}]
    poll: {min: 1s, max: 5s}
    session: 20s
    claim_within: 5s
%s`, secret, shop, room)})
	if err != nil {
		t.Fatal(err)
	}
	p, err := newProcess(c, slog.New(slog.NewTextHandler(io.Discard, nil)), nil)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- p.run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("the gate ended with %v", err)
		}
	})
	operators := "http://" + p.operators.Addr().String()
	await(t, "the gate knows its room", func() error {
		_, err := roomCounts(operators, "drop")
		return err
	})
	return rehearsedGate{"http://" + p.visitors[0].Addr().String(), shop}
}

const hundred = `room: drop
path: /drop
scenarios:
  spike:
    executor: constant-arrival-rate
    rate: 100
    duration: 1s
    preAllocatedVUs: 100
    gracefulStop: 30s
`

func writeScript(t *testing.T, text string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "spike.yaml")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// loadtest runs a command line and returns what it prints and its exit code.
func loadtest(t *testing.T, ctx context.Context, args ...string) (out string, code int, message string) {
	t.Helper()
	cmd := newLoadtestCommand()
	var b bytes.Buffer
	cmd.SetArgs(args)
	cmd.SetOut(&b)
	cmd.SetErr(io.Discard)
	err := cmd.ExecuteContext(ctx)
	if err != nil {
		message = err.Error()
	}
	return b.String(), exitCode(err), message
}

func contains(t *testing.T, text string, parts ...string) {
	t.Helper()
	for _, part := range parts {
		if !strings.Contains(text, part) {
			t.Errorf("%q is not in\n%s", part, text)
		}
	}
}

func TestAHundredVisitorsRehearseASale(t *testing.T) {
	t.Parallel()
	g := openRehearsal(t, "    rate: 50/s\n    burst: 5\n    max_active: none\n")
	file := writeScript(t, hundred+`
thresholds:
  http_req_failed: ["rate==0"]
  http_reqs: ["count>=200"]
  "http_req_duration{step:join}": ["p(99)<20000"]
  sluice_admitted: ["count==100"]
  sluice_overtaken: ["count==0"]
  sluice_overshoot_window: ["value==0"]
  sluice_unadmitted_at_origin: ["count==0"]
  sluice_not_admitted: ["count==0"]
`)
	dir := t.TempDir()
	export, points := filepath.Join(dir, "summary.json"), filepath.Join(dir, "points.json")
	out, code, message := loadtest(t, t.Context(), "run", file, "--target", g.visitors, "--serve-origin", g.shop,
		"--room-rate", "50/s", "--room-burst", "5", "--seed", "7", "--summary-export", export, "--out", "json="+points)
	if code != 0 {
		t.Errorf("exit %d: %s", code, message)
	}
	contains(t, out, "targets: "+g.visitors, "seed: 7", "✓ 'p(99)<20000'", "✓ 'count==100'", "█ TOTAL RESULTS", "PROMISES", "VISITORS",
		"100 visitors had a place or were let in: 100 let in", "0 came past the gate",
		metrics.HTTPReqs, metrics.Iterations, visitor.JoinDuration, visitor.WaitDuration, judge.Overtaken, judge.OvershootWindow, judge.InsideMax)
	if t.Failed() {
		t.Log(out)
	}

	data, err := os.ReadFile(export)
	if err != nil {
		t.Fatal(err)
	}
	var exported struct {
		Metrics map[string]struct {
			Values     map[string]float64
			Thresholds map[string]struct{ OK bool }
		}
	}
	if err := json.Unmarshal(data, &exported); err != nil {
		t.Fatal(err)
	}
	if m := exported.Metrics[visitor.LetIn]; m.Values["count"] != 100 || !m.Thresholds["count==100"].OK {
		t.Errorf("the export says of %s: %+v", visitor.LetIn, m)
	}
	sums := sumPoints(t, points)
	for name, want := range map[string]float64{
		visitor.LetIn: 100, metrics.Iterations: 100, metrics.HTTPReqs: exported.Metrics[metrics.HTTPReqs].Values["count"],
	} {
		if sums[name] != want {
			t.Errorf("the points of %s add up to %v, want %v", name, sums[name], want)
		}
	}
}

// sumPoints adds the values of each metric up, each of which must be defined before.
func sumPoints(t *testing.T, file string) map[string]float64 {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	sums := map[string]float64{}
	defined := map[string]bool{}
	for line := range bytes.Lines(data) {
		var p struct {
			Type, Metric string
			Data         struct {
				Time  time.Time
				Value float64
			}
		}
		if err := json.Unmarshal(line, &p); err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		switch {
		case p.Type == "Metric":
			defined[p.Metric] = true
		case p.Type != "Point" || !defined[p.Metric]:
			t.Fatalf("not a point of a known metric: %s", line)
		default:
			sums[p.Metric] += p.Data.Value
		}
	}
	return sums
}

func TestACrossedThresholdEndsARehearsalWith99(t *testing.T) {
	t.Parallel()
	g := openRehearsal(t, "    rate: none\n    max_active: none\n")
	file := writeScript(t, hundred+"thresholds: {sluice_admitted: ['count<100'], http_reqs: ['count>0']}\n")
	out, code, message := loadtest(t, t.Context(), "run", file, "--target", g.visitors, "--serve-origin", g.shop)
	if code != exitCrossed || message != "thresholds were crossed: sluice_admitted" {
		t.Errorf("exit %d: %s", code, message)
	}
	contains(t, out, "✗ 'count<100' count=100", "✓ 'count>0'")
}

func TestAThresholdMayEndARehearsalEarly(t *testing.T) {
	t.Parallel()
	g := openRehearsal(t, "    rate: 1/s\n    max_active: none\n")
	file := writeScript(t, hundred+"thresholds: {sluice_joined: [{threshold: 'count<10', abortOnFail: true}]}\n")
	began := time.Now()
	out, code, message := loadtest(t, t.Context(), "run", file, "--target", g.visitors, "--serve-origin", g.shop)
	if code != exitCrossed || message != "ended early by the threshold sluice_joined: count<10; crossed: sluice_joined" {
		t.Errorf("exit %d: %s", code, message)
	}
	if took := time.Since(began); took > 20*time.Second {
		t.Errorf("it took %v, although it was to end after a second or two", took)
	}
	contains(t, out, "✗ 'count<10'")
}

func TestASignalEndsARehearsalWithASummaryAnd105(t *testing.T) {
	t.Parallel()
	g := openRehearsal(t, "    rate: 1/s\n    max_active: none\n")
	file := writeScript(t, hundred+"thresholds: {http_req_failed: ['rate==0'], http_reqs: ['count>0']}\n")
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	out, code, message := loadtest(t, ctx, "run", file, "--target", g.visitors, "--serve-origin", g.shop)
	if code != exitInterrupted || message != "interrupted: the summary is of what was done until then" {
		t.Errorf("exit %d: %s", code, message)
	}
	contains(t, out, "✓ 'count>0'", "✓ 'rate==0'", metrics.InterruptedIterations)
}

func TestABadScriptIsRefusedWith104(t *testing.T) {
	t.Parallel()
	nobody := "http://127.0.0.1:1"
	for _, test := range []struct {
		name, script, want string
		args               []string
	}{
		{"an option that there is not", hundred + "vsu: 3\n", ":10:1: vsu: ", nil},
		{"a journey that nobody knows", hundred + "journey: {thnik: 2s}\n", ":10:11: journey", nil},
		{"a threshold about nothing", hundred + "thresholds: {nonsense: ['count>0']}\n", ":10:25: thresholds.nonsense[0]: no metric", nil},
		{"no target", hundred, "spike.yaml: target: is required", nil},
		{"a window without limits", hundred + "thresholds: {sluice_overshoot_window: ['value==0']}\n",
			"cannot be judged without the room's limits", []string{"--target", nobody}},
		{"a shop that nobody watches", hundred + "thresholds: {sluice_unadmitted_at_origin: ['count==0']}\n",
			"cannot be judged without a recording origin", []string{"--target", nobody}},
	} {
		t.Run(test.name, func(t *testing.T) {
			file := writeScript(t, test.script)
			_, code, message := loadtest(t, t.Context(), append([]string{"run", file}, test.args...)...)
			if code != exitBadScript || !strings.Contains(message, test.want) || !strings.HasPrefix(message, file) {
				t.Errorf("exit %d: %s, want %d and %s", code, message, exitBadScript, test.want)
			}
		})
	}
}

func TestInspectPrintsThePlan(t *testing.T) {
	t.Parallel()
	file := writeScript(t, hundred)
	out, code, message := loadtest(t, t.Context(), "inspect", file)
	if code != 0 {
		t.Fatalf("exit %d: %s", code, message)
	}
	contains(t, out, "room drop, path /drop", "at most 100 VUs", "100 iterations due")
	out, _, _ = loadtest(t, t.Context(), "inspect", "--json", file)
	var plan struct {
		TotalDuration string
		MaxVUs        int64
	}
	if err := json.Unmarshal([]byte(out), &plan); err != nil || plan.TotalDuration != "31s" || plan.MaxVUs != 100 {
		t.Errorf("%v: %+v of %s", err, plan, out)
	}
}

func TestTheSmokeScriptIsWellFormed(t *testing.T) {
	t.Parallel()
	if out, code, message := loadtest(t, t.Context(), "inspect", "../../loadtest/scripts/smoke.yaml"); code != 0 {
		t.Errorf("exit %d: %s %s", code, message, out)
	}
}

func TestFlagsOfARehearsalAreChecked(t *testing.T) {
	t.Parallel()
	file := writeScript(t, hundred)
	for want, args := range map[string][]string{
		`--out "csv=x": want json=FILE`:           {"run", file, "--out", "csv=x"},
		"--room-burst needs --room-rate":          {"run", file, "--room-burst", "3"},
		`--room-rate "fast"`:                      {"run", file, "--room-rate", "fast"},
		"--workers 0: want 1 to 64":               {"run", file, "--workers", "0"},
		`--segment: segment "2:1"`:                {"run", file, "--segment", "2:1"},
		"--segment needs --seed":                  {"run", file, "--segment", "0:1/2"},
		`--start-at "soon"`:                       {"run", file, "--start-at", "soon"},
		"--start-at 2020-01-01T00:00:00Z is over": {"run", file, "--start-at", "2020-01-01T00:00:00Z"},
		"name the script: loadtest run FILE":      {"run"},
		"is an argument too many":                 {"inspect", file, file},
		`there is no command "loadtest rehearse"`: {"rehearse"},
	} {
		if _, code, message := loadtest(t, t.Context(), args...); code != exitUsage || !strings.Contains(message, want) {
			t.Errorf("%q: exit %d: %s, want %s", args, code, message, want)
		}
	}
}
