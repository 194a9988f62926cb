package run

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sluicegate/sluice/gate"
	"github.com/sluicegate/sluice/gate/config"
	"github.com/sluicegate/sluice/gate/door"
	"github.com/sluicegate/sluice/loadtest/judge"
	"github.com/sluicegate/sluice/loadtest/metric"
	"github.com/sluicegate/sluice/loadtest/script"
	"github.com/sluicegate/sluice/loadtest/summary"
	"github.com/sluicegate/sluice/loadtest/visitor"
	"github.com/sluicegate/sluice/queue/memory"
)

func listen(t *testing.T) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// openGate opens a gate with a room that lets everybody in, and returns its address
// and the listener on which its origin is to be served.
func openGate(t *testing.T) (target string, shop net.Listener) {
	t.Helper()
	shop = listen(t)
	c, err := config.Load(config.Source{File: "sluice.yaml", Data: fmt.Appendf(nil,
		"origin: {url: \"http://%s\"}\nsecret: %s\nrooms: [{name: drop, match: [{path: /drop}], rate: none, max_active: none}]\n",
		shop.Addr(), strings.Repeat("s", 40))})
	if err != nil {
		t.Fatal(err)
	}
	g, err := gate.New(c, gate.Options{Store: memory.New(memory.Options{}), MaxHeld: 100})
	if err != nil {
		t.Fatal(err)
	}
	l, server := listen(t), gate.NewServer(g, door.Limits{Conns: 1000})
	ctx, stop := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { _ = server.Serve(l) })
	wg.Go(func() { _ = g.Run(ctx) })
	g.SetReady(true)
	t.Cleanup(func() {
		end, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := server.Shutdown(end); err != nil {
			t.Error(err)
		}
		stop()
		wg.Wait()
	})
	return "http://" + l.Addr().String(), shop
}

func load(t *testing.T, text string) *Rehearsal {
	t.Helper()
	r, err := Load(script.Source{File: "two.yaml", Data: []byte(text)})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

const two = `
room: drop
path: /drop
journeys:
  buyer: {leave: 100%}
scenarios:
  first: {executor: per-vu-iterations, vus: 5, iterations: 1, exec: buyer, tags: {wave: one}}
  second: {executor: constant-arrival-rate, rate: 20, duration: 1s, preAllocatedVUs: 20, startTime: 1s}
`

func TestScenariosRunSideBySideEachFromItsTimeOn(t *testing.T) {
	target, shop := openGate(t)
	var last []summary.Progress
	out, err := load(t, two).Run(t.Context(), Options{
		Targets: []string{target}, Origin: shop,
		Progress: func(elapsed time.Duration, p []summary.Progress) { last = p },
	})
	if err != nil {
		t.Fatal(err)
	}
	letIn := func(tags ...string) float64 {
		return out.Registry.Lookup(visitor.LetIn).Select(metric.NewTags(tags...)).Count
	}
	if letIn("scenario", "first", "wave", "one") != 5 || letIn("scenario", "second") != 20 || letIn() != 25 {
		t.Errorf("let in: %v first, %v second, %v together", letIn("scenario", "first", "wave", "one"), letIn("scenario", "second"), letIn())
	}
	buckets := out.Registry.Lookup(visitor.LetIn).Timeline(metric.NewTags("scenario", "second"))
	if len(buckets) < 2 || buckets[0].N != 0 {
		t.Errorf("the second scenario begins before its startTime: %+v", buckets)
	}
	if len(last) != 2 || !last[0].Over || !last[1].Over || last[1].Done != 20 {
		t.Errorf("the last progress is %+v", last)
	}
	if out.Shop == nil || out.Shop.Visitors != 25 || out.Shop.Unadmitted != 0 || out.Verdict.Admitted != 25 || len(out.Failures) > 0 {
		t.Errorf("shop %+v, verdict %+v, failures %v", out.Shop, out.Verdict, out.Failures)
	}
	if out.Interrupted || out.Aborted != nil || len(out.Crossed()) > 0 {
		t.Errorf("interrupted %v, aborted %v, crossed %q", out.Interrupted, out.Aborted, out.Crossed())
	}
	if n := out.Registry.Lookup(judge.UnadmittedAtOrigin).Select(metric.Tags{}).Samples; n != 1 {
		t.Errorf("%d verdicts about the shop, want 1", n)
	}
}

// fullDisk is where nothing can be written.
type fullDisk struct{}

var errFull = errors.New("disk full")

func (fullDisk) Write([]byte) (int, error) { return 0, errFull }

func TestARunWhosePointsAreLostHasItsOutcome(t *testing.T) {
	target, shop := openGate(t)
	out, err := load(t, two).Run(t.Context(), Options{Targets: []string{target}, Origin: shop, Points: fullDisk{}})
	if !errors.Is(err, errFull) || out == nil || out.Verdict.Admitted != 25 {
		t.Errorf("%v, %+v", err, out)
	}
}

func TestNobodyAtTheTargetIsToldAsFailedRequests(t *testing.T) {
	l := listen(t)
	nobody := "http://" + l.Addr().String()
	l.Close()
	out, err := load(t, `
journey: {timeouts: {connect: 1s}}
scenarios:
  brief: {executor: constant-vus, vus: 3, duration: 1s, gracefulStop: 1s}
thresholds: {http_req_failed: ['rate==0']}
`).Run(t.Context(), Options{Targets: []string{nobody}})
	if err != nil {
		t.Fatal(err)
	}
	if got := out.Crossed(); len(got) != 1 || got[0] != metric.HTTPReqFailed {
		t.Errorf("crossed: %q", got)
	}
	if text := out.Findings(); !strings.Contains(text, "FAILED REQUESTS") || !strings.Contains(text, "join: connection refused") {
		t.Errorf("the findings do not say why:\n%s", text)
	}
}

func TestAWorkerThatDoesNotWorkEndsTheRun(t *testing.T) {
	for name, c := range map[string]struct{ script, want string }{
		"it ends at once":         {"echo no memory left >&2; exit 3", "it ended in the middle of its work\nno memory left"},
		"it says what is wrong":   {`echo '{"error":"the limit on open files"}'; cat >/dev/null`, "the limit on open files"},
		"it dies in mid-run":      {`echo '{"ready":true}'; read job; read begin; echo oh dear >&2`, "it ended in the middle of its work\noh dear"},
		"it says something else":  {"echo hello; cat >/dev/null", "invalid character"},
		"it brings no metrics":    {`echo '{"ready":true}'; read job; read begin; echo '{"done":true,"metrics":{}}'; cat >/dev/null`, "metric: merge"},
		"it ends well with a fit": {`echo '{"ready":true}'; read job; read begin; echo '{"done":true}'; cat >/dev/null; exit 4`, "exit status 4"},
	} {
		t.Run(name, func(t *testing.T) {
			out, err := load(t, two).Run(t.Context(), Options{
				Targets: []string{"http://127.0.0.1:1"}, Workers: 2,
				Worker: func() *exec.Cmd { return exec.Command("sh", "-c", c.script) },
			})
			if out != nil || err == nil || !strings.Contains(err.Error(), "worker ") || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v, want %s", err, c.want)
			}
		})
	}
}

func TestProblemsOfASharedJourneyAreToldOnceAndFromTopToBottom(t *testing.T) {
	_, err := Load(script.Source{File: "two.yaml", Data: []byte(
		"thresholds: {nonsense: ['count>0']}\njourney: {thnik: 1s}\nscenarios:\n" +
			"  a: {executor: constant-vus, vus: 1, duration: 1s}\n  b: {executor: constant-vus, vus: 1, duration: 1s}\n")})
	var ps script.Problems
	if !errors.As(err, &ps) || len(ps) != 2 || ps[0].Line != 1 || ps[1].Line != 2 {
		t.Errorf("%v", err)
	}
}
