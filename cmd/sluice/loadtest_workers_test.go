package main

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	metrics "github.com/sluicegate/sluice/loadtest/metric"
	"github.com/sluicegate/sluice/loadtest/visitor"
)

const everybodyIn = `
thresholds:
  http_req_failed: ["rate==0"]
  iterations: ["count==100"]
  sluice_admitted: ["count==100"]
  sluice_overtaken: ["count==0"]
  sluice_overshoot_window: ["value==0"]
  sluice_places_lost: ["count==0"]
  sluice_unadmitted_at_origin: ["count==0"]
`

const fifty = "    rate: 50/s\n    burst: 5\n    max_active: none\n"

// summaryOf reads what --summary-export wrote.
func summaryOf(t *testing.T, file string) map[string]map[string]float64 {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var s struct {
		Metrics map[string]struct{ Values map[string]float64 }
	}
	if err := json.Unmarshal(data, &s); err != nil {
		t.Fatal(err)
	}
	out := map[string]map[string]float64{}
	for name, m := range s.Metrics {
		out[name] = m.Values
	}
	return out
}

func TestWorkersShareTheVisitorsOfARehearsal(t *testing.T) {
	t.Parallel()
	g := openRehearsal(t, fifty)
	file, dir := writeScript(t, hundred+everybodyIn), t.TempDir()
	export, points, page := filepath.Join(dir, "summary.json"), filepath.Join(dir, "points.json"), filepath.Join(dir, "report.html")
	out, code, message := loadtest(t, t.Context(), "run", file, "--workers", "3", "--target", g.visitors, "--serve-origin", g.shop,
		"--room-rate", "50/s", "--room-burst", "5", "--summary-export", export, "--out", "json="+points, "--report", page)
	if code != 0 {
		t.Fatalf("exit %d: %s\n%s", code, message, out)
	}
	contains(t, out, "100 visitors had a place or were let in: 100 let in", "0 came past the gate")
	// Three processes measured, and nothing of it is lost or counted twice.
	values, sums := summaryOf(t, export), sumPoints(t, points)
	for _, name := range []string{visitor.LetIn, metrics.Iterations, metrics.HTTPReqs, metrics.DataReceived} {
		if sums[name] == 0 || sums[name] != values[name]["count"] {
			t.Errorf("%s: %v in the summary, %v in the points", name, values[name]["count"], sums[name])
		}
	}
	html, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	contains(t, string(html), "<svg", "spike.yaml", "--workers 3")
}

func TestAThresholdEndsTheWorkOfAllWorkers(t *testing.T) {
	t.Parallel()
	g := openRehearsal(t, "    rate: 1/s\n    max_active: none\n")
	// No worker alone has so many.
	file := writeScript(t, hundred+"thresholds: {sluice_joined: [{threshold: 'count<80', abortOnFail: true}]}\n")
	_, code, message := loadtest(t, t.Context(), "run", file, "--workers", "3", "--target", g.visitors, "--serve-origin", g.shop)
	if code != exitCrossed || message != "ended early by the threshold sluice_joined: count<80; crossed: sluice_joined" {
		t.Errorf("exit %d: %s", code, message)
	}
}

func TestASignalEndsTheWorkOfAllWorkers(t *testing.T) {
	t.Parallel()
	g := openRehearsal(t, "    rate: 1/s\n    max_active: none\n")
	file := writeScript(t, hundred+"thresholds: {http_reqs: ['count>0']}\n")
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
	defer cancel()
	out, code, message := loadtest(t, ctx, "run", file, "--workers", "2", "--target", g.visitors, "--serve-origin", g.shop)
	if code != exitInterrupted || message != "interrupted: the summary is of what was done until then" {
		t.Errorf("exit %d: %s", code, message)
	}
	contains(t, out, "✓ 'count>0'", metrics.InterruptedIterations)
}

// Two machines each run a half, and a third one judges both.
func TestPartsOfARunAreJudgedTogether(t *testing.T) {
	t.Parallel()
	g := openRehearsal(t, fifty)
	file, dir := writeScript(t, hundred+everybodyIn), t.TempDir()
	limits := []string{"--room-rate", "50/s", "--room-burst", "5"}
	part := func(name, segment string, more ...string) string {
		out := filepath.Join(dir, name)
		args := append([]string{"run", file, "--target", g.visitors, "--seed", "7", "--segment", segment, "--part", out}, limits...)
		text, code, message := loadtest(t, t.Context(), append(args, more...)...)
		if code != exitCrossed || message != "thresholds were crossed: iterations, sluice_admitted" { // it has but fifty
			t.Fatalf("exit %d: %s\n%s", code, message, text)
		}
		contains(t, text, "50 visitors had a place or were let in: 50 let in")
		return out
	}
	merge := func(parts ...string) (string, int, string) {
		return loadtest(t, t.Context(), append(append([]string{"merge", file}, parts...), limits...)...)
	}
	first := part("first.part", "0:1/2", "--serve-origin", g.shop)
	out, code, message := merge(first)
	if code != exitCrossed || !strings.Contains(message, "parts are missing: nobody tells of the visitors 1/2:1") {
		t.Errorf("half of it: exit %d: %s\n%s", code, message, out)
	}
	second := part("second.part", "1/2:1", "--serve-origin", g.shop)
	out, code, message = merge(second, first)
	if code != 0 {
		t.Errorf("exit %d: %s\n%s", code, message, out)
	}
	contains(t, out, "seed: 7", "100 visitors had a place or were let in: 100 let in", "of 100 visitors")

	other := writeScript(t, hundred)
	for want, args := range map[string][]string{
		"some of whom are in " + first:            {file, first, first},
		"is a part of another script than":        {other, first},
		"is not a part that loadtest run":         {file, file},
		"nothing.part: no such file or directory": {file, filepath.Join(dir, "nothing.part")},
		"name the script and the parts":           {file},
	} {
		if _, code, message := loadtest(t, t.Context(), append([]string{"merge"}, args...)...); code != exitUsage || !strings.Contains(message, want) {
			t.Errorf("%q: exit %d: %s, want %s", args, code, message, want)
		}
	}
}
