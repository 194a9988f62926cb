package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math"
	"net"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/sluicegate/sluice/loadtest/judge"
	"github.com/sluicegate/sluice/loadtest/k6"
	"github.com/sluicegate/sluice/loadtest/metric"
	"github.com/sluicegate/sluice/loadtest/run"
	"github.com/sluicegate/sluice/loadtest/script"
	"github.com/sluicegate/sluice/loadtest/summary"
	"github.com/sluicegate/sluice/loadtest/visitor"
)

func TestWhatK6SummarisesIsRead(t *testing.T) {
	data, err := os.ReadFile("testdata/k6.json") // of k6 v1.8.1
	if err != nil {
		t.Fatal(err)
	}
	m, err := read(data)
	if err != nil {
		t.Fatal(err)
	}
	if m.total.requests != 24 || m.iterations != 5 || m.joined != 4 || m.admitted != 5 || m.dropped != 0 || m.failed != 0 || m.sent != 9665 || m.received != 144804 {
		t.Errorf("read as %+v", m)
	}
	sum := 0.
	for _, s := range steps {
		p := m.steps[s]
		if sum += p.requests; !(0 < p.p50 && p.p50 <= p.p95 && p.p95 <= p.p99) {
			t.Errorf("%s: %+v", s, p)
		}
	}
	if sum != m.total.requests {
		t.Errorf("the steps have %v requests, of %v", sum, m.total.requests)
	}
}

// ours is what the native harness exports after a run of compare.yaml.
func ours(t *testing.T, fill func(r *metric.Registry)) []byte {
	t.Helper()
	text, err := k6.Scripts.ReadFile("compare.yaml")
	if err != nil {
		t.Fatal(err)
	}
	b := &bench{o: flagless()}
	env := map[string]string{}
	for _, s := range b.settings("http://127.0.0.1:1", "") {
		name, value, _ := strings.Cut(s, "=")
		env[name] = value
	}
	rehearsal, err := run.Load(script.Source{File: "compare.yaml", Data: text, Env: func(name string) (string, bool) { v, ok := env[name]; return v, ok }})
	if err != nil {
		t.Fatal(err)
	}
	r := metric.NewRegistry()
	metric.Builtin(r)
	judge.Define(r)
	for _, name := range []string{visitor.Joined, visitor.LetIn} {
		r.New(name, metric.Counter, metric.Default)
	}
	fill(r)
	r.Finish(time.Second)
	data, err := summary.JSON(summary.Run{
		Registry: r, Results: rehearsal.Script.Thresholds.Evaluate(r), TrendStats: rehearsal.Script.SummaryTrendStats,
	})
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// flagless are the options of a command line without flags.
func flagless() *options {
	o := &options{}
	flags(o, io.Discard)
	return o
}

func TestWhatOursExportsIsRead(t *testing.T) {
	m, err := read(ours(t, func(r *metric.Registry) {
		add := func(name string, v float64, tags ...string) { r.Lookup(name).With(metric.NewTags(tags...)).Add(v) }
		for i, s := range steps {
			for n := range 100 {
				add(metric.HTTPReqs, 1, "step", s)
				add(metric.HTTPReqFailed, 0, "step", s)
				add(metric.HTTPReqDuration, float64(100*i+n+1), "step", s)
			}
		}
		add(metric.HTTPReqFailed, 1)
		add(metric.Iterations, 100)
		add(metric.DroppedIterations, 3)
		add(visitor.Joined, 90)
		add(visitor.LetIn, 80)
		add(metric.DataSent, 1000)
		add(metric.DataReceived, 2000)
	}))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ got, want part }{{m.total, part{500, 250, 475, 495}}, {m.steps["poll"], part{100, 150, 195, 199}}} {
		near := func(got, want float64) bool { return math.Abs(got/want-1) <= .001 } // a histogram has three digits
		if c.got.requests != c.want.requests || !near(c.got.p50, c.want.p50) || !near(c.got.p95, c.want.p95) || !near(c.got.p99, c.want.p99) {
			t.Errorf("read as %+v, want %+v", c.got, c.want)
		}
	}
	m.total, m.steps = part{}, nil
	want := measured{iterations: 100, dropped: 3, failed: 1, joined: 90, admitted: 80, sent: 1000, received: 2000}
	if !reflect.DeepEqual(m, want) {
		t.Errorf("read as %+v, want %+v", m, want)
	}
}

func TestARunWithoutPollsIsReadToo(t *testing.T) {
	m, err := read(ours(t, func(r *metric.Registry) { // everybody was let in on the spot
		for _, name := range []string{metric.HTTPReqs, metric.HTTPReqFailed, metric.HTTPReqDuration, metric.Iterations, metric.DataSent, metric.DataReceived} {
			r.Lookup(name).With(metric.NewTags("step", "join")).Add(1)
		}
	}))
	if err != nil || m.steps["poll"] != (part{}) || m.steps["join"] != (part{1, 1, 1, 1}) {
		t.Errorf("%v, %+v", err, m)
	}
}

func TestASummaryThatTellsTooLittleIsRefused(t *testing.T) {
	for _, test := range []struct{ data, want string }{
		{"", "read the summary: unexpected end"},
		{"k6", "read the summary: invalid character"},
		{"{}", "does not tell count of http_reqs"},
		{`{"metrics": {"http_reqs": {"values": {"count": 3}}}}`, "does not tell med of http_req_duration"},
		{`{"metrics": {"http_reqs": {"values": {"count": 0}}}}`, "does not tell count of http_reqs{step:join}"},
	} {
		if _, err := read([]byte(test.data)); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%q: %v, want %s", test.data, err, test.want)
		}
	}
}

// like is a run in which everything is as it is.
func like(change func(m *measured)) measured {
	m := measured{total: part{5000, 90, 2000, 2010}, steps: map[string]part{}, iterations: 1000, joined: 900, admitted: 1000}
	for _, s := range steps {
		m.steps[s] = part{1000, 90, 100, 110}
	}
	if change != nil {
		change(&m)
	}
	return m
}

func TestTheVerdict(t *testing.T) {
	same := round{like(nil), like(nil)}
	step := func(name string, p part) round {
		return round{like(nil), like(func(m *measured) { m.steps[name] = p })}
	}
	for _, test := range []struct {
		why    string
		rounds []round
		agree  bool
		says   string
	}{
		{"who measures the same agrees", []round{same}, true, "they agree: 15 of 15 measures are within 10 % (medians of 1 round)"},
		{"a tenth more is within", []round{step("join", part{1100, 90, 110, 110})}, true, "they agree"},
		{"more than that is not", []round{step("join", part{1101, 90, 100, 110})}, false, "join requests: sluice loadtest has 1.101 times"},
		{"nor is less", []round{step("poll", part{1000, 90, 89, 110})}, false, "poll p95 ms: sluice loadtest has 0.890 times"},
		{"p50 and p99 are not judged", []round{step("poll", part{1000, 1, 100, 999})}, true, "they agree"},
		{"one round of three may be disturbed", []round{same, step("poll", part{1000, 90, 300, 310}), same}, true, "medians of 3 rounds"},
		{"two may not", []round{step("poll", part{1000, 90, 300, 310}), same, step("poll", part{1000, 90, 300, 310})}, false, "1 of 15 measures are not within"},
		{"of few requests nothing is said", []round{{
			like(func(m *measured) { m.steps["page"] = part{299, 90, 100, 110} }), like(func(m *measured) { m.steps["page"] = part{200, 90, 300, 310} }),
		}}, true, "13 of 13"},
		{"few against many is said", []round{step("page", part{3, 90, 100, 110})}, false, "page requests"},
		{"nobody against somebody is said", []round{{like(func(m *measured) { m.joined = 0 }), like(nil)}}, false, "visitors joined: sluice loadtest has +Inf times"},
		{"who was dropped cannot be compared", []round{{like(nil), like(func(m *measured) { m.dropped = 2 })}}, false, "round 1: sluice loadtest dropped 2 visitors: the load is too high"},
		{"nor who failed", []round{same, {like(func(m *measured) { m.failed = 7 }), like(nil)}}, false, "round 2: 7 requests of k6 failed"},
		{"a busy machine is told", []round{same, {like(nil), like(func(m *measured) { m.busy = .7 })}}, true, "more than 60 % busy in 1 round of 2: run this again"},
	} {
		v := newVerdict(test.rounds, .1)
		if text := v.text(); v.agree() != test.agree || !strings.Contains(text, test.says) {
			t.Errorf("%s: %v: %s, want %v: %s", test.why, v.agree(), text, test.agree, test.says)
		}
	}
}

func TestTheTableTellsMediansAndTheirSpread(t *testing.T) {
	at := func(p95 float64) measured {
		return like(func(m *measured) { m.steps["join"] = part{1000, 90, p95, 500} })
	}
	table := newVerdict([]round{{at(100), at(105)}, {at(110), at(90)}, {at(90), at(91)}}, .1).table()
	for _, want := range []string{
		"join     requests           1000        1000   1.000   1.000 to 1.000   within\n",
		"         p95 ms            100.0        91.0   1.011   0.818 to 1.050   within\n",
		"         p99 ms            500.0       500.0   1.000   1.000 to 1.000\n",
	} {
		if !strings.Contains(table, want) {
			t.Errorf("%q is not in\n%s", want, table)
		}
	}
}

func TestHowBusyTheMachineWas(t *testing.T) {
	before, err := readTicks("cpu  100 10 50 1000 20 5 5 10 7 3\ncpu0 1 2\n")
	if err != nil {
		t.Fatal(err)
	}
	// 40 of user, 5 of system and 5 of steal out of 100; what guests use is in user's.
	after, err := readTicks("cpu  140 10 55 1040 30 5 5 15 40 3\n")
	if err != nil || after.since(before) != .5 {
		t.Errorf("%v: %v, want half of it", err, after.since(before))
	}
	if got := before.since(before); got != 0 {
		t.Errorf("in no time %v", got)
	}
	for _, text := range []string{"", "cpu 1 2 3", "intr 1 2 3 4 5 6 7 8 9", "cpu 1 2 3 4 5 6 7 x"} {
		if _, err := readTicks(text); err == nil {
			t.Errorf("%q was read", text)
		}
	}
}

func TestBadFlagsAreTold(t *testing.T) {
	for line, want := range map[string]string{
		"--rounds 0":                  "--rounds 0: want 1 to 50",
		"--rate 0":                    "--rate 0: want visitors per second",
		"--duration 10ms":             "--duration 10ms: want 1s or more",
		"--rate 1":                    "--rate 1 for --duration 20s are 20 visitors: want 300",
		"--rate 1000":                 "are 20000 visitors",
		"--room-rate fast":            `--room-rate "fast"`,
		"--room-rate 1/s":             "--room-rate 1/s: the last visitor would wait for 13m0s",
		"--distance 2s":               "--distance 2s: want 0s to 1s",
		"--shop -1s":                  "--shop -1s: want 0s to 5s",
		"--within 0":                  "--within 0: want a percentage",
		"--rounds 0 --within 100":     "--within 100",
		"now":                         `"now" is an argument too many`,
		"--thorough":                  "flag provided but not defined: -thorough",
		"--rounds many":               `invalid value "many"`,
		"--k6 nowhere/k6 --rounds -1": "--rounds -1",
	} {
		var out, log bytes.Buffer
		if code := command(strings.Fields(line), &out, &log); code != 2 || out.Len() > 0 || !strings.Contains(log.String(), want) {
			t.Errorf("%s: exit %d: %s%s, want %s", line, code, out.String(), log.String(), want)
		}
	}
}

func TestAK6ThatIsNotThereIsToldHowToGet(t *testing.T) {
	var out, log bytes.Buffer
	if code := command([]string{"--k6", filepath.Join(t.TempDir(), "k6")}, &out, &log); code != 1 || !strings.Contains(log.String(), "--k6: ") {
		t.Errorf("exit %d: %s", code, log.String())
	}
	log.Reset()
	t.Setenv("PATH", t.TempDir())
	t.Setenv("GOPATH", t.TempDir())
	t.Setenv("HOME", t.TempDir())
	t.Setenv("XDG_CACHE_HOME", t.TempDir())
	if code := command(nil, &out, &log); code != 1 || !strings.Contains(log.String(), "--install, or run: go install go.k6.io/k6@") {
		t.Errorf("exit %d: %s", code, log.String())
	}
}

func TestHelpIsNoError(t *testing.T) {
	var log bytes.Buffer
	if code := command([]string{"--help"}, io.Discard, &log); code != 0 || !strings.Contains(log.String(), "-within PERCENT") {
		t.Errorf("exit %d: %s", code, log.String())
	}
}

func TestOverAWayBytesArriveWholeAndLate(t *testing.T) {
	l := listenTest(t)
	go func() { // sends back what it got, in one piece, once all is there
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				all, _ := io.ReadAll(c)
				_, _ = c.Write(all)
			}()
		}
	}()
	const delay = 20 * time.Millisecond
	w := newWay(listenTest(t), l.Addr().String(), delay)
	defer w.Close()
	c, err := (&net.Dialer{}).DialContext(context.Background(), "tcp", w.Addr())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
		t.Fatal(err)
	}
	sent := bytes.Repeat([]byte("0123456789"), 100_000)
	began := time.Now()
	if _, err := c.Write(sent); err != nil {
		t.Fatal(err)
	}
	if err := c.(*net.TCPConn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(c)
	if took := time.Since(began); err != nil || !bytes.Equal(got, sent) || took < 2*delay {
		t.Errorf("%v: %d bytes of %d came back after %v, want %v at least", err, len(got), len(sent), took, 2*delay)
	}
}

func TestAWayThatIsClosedLeavesNothingOpen(t *testing.T) {
	l := listenTest(t)
	w := newWay(listenTest(t), l.Addr().String(), time.Millisecond)
	near, err := net.Dial("tcp", w.Addr())
	if err != nil {
		t.Fatal(err)
	}
	defer near.Close()
	far, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer far.Close()
	w.Close() // returns only when all its goroutines have
	for _, c := range []net.Conn{near, far} {
		if err := c.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
			t.Fatal(err)
		}
		if n, err := c.Read(make([]byte, 1)); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("%d bytes came over a way that is closed: %v", n, err)
		}
	}
}

func listenTest(t *testing.T) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}
