package main

import (
	"bytes"
	"encoding/json"
	"maps"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sluicegate/sluice/queue/queuetest/proc"
)

// The bare programs are this one run by itself, and so this test.
func TestMain(m *testing.M) {
	if len(os.Args) == 4 && strings.HasPrefix(os.Args[1], "bare-") {
		os.Exit(command(os.Args[1:], os.Stdout, os.Stderr))
	}
	os.Exit(m.Run())
}

func TestSpread(t *testing.T) {
	for _, c := range []struct {
		values []float64
		want   spread
	}{
		{nil, spread{}},
		{[]float64{3}, spread{3, 3, 3}},
		{[]float64{4, 1}, spread{2.5, 1, 4}},
		{[]float64{9, 1, 2}, spread{2, 1, 9}},
		{[]float64{8, 2, 4, 100}, spread{6, 2, 100}},
	} {
		before := slices.Clone(c.values)
		if got := spreadOf(c.values); got != c.want {
			t.Errorf("%v: %v, want %v", c.values, got, c.want)
		}
		if !slices.Equal(before, c.values) {
			t.Errorf("the rounds were put in another order: %v, %v", before, c.values)
		}
	}
}

// round is a measurement of 1,000 requests that cost so many microseconds each.
func round(server, store int) figures {
	return figures{
		Requests: 1000, Elapsed: 100 * time.Millisecond,
		Server: time.Duration(server) * time.Millisecond, Store: time.Duration(store) * time.Millisecond,
	}
}

func TestRatiosAreTakenWithinARound(t *testing.T) {
	// The machine was pressed in the second round: all costs doubled there. The
	// medians by themselves would say 20 to 10, 30 to 15; each round says 1.5.
	floor := []figures{round(10, 0), round(20, 0), round(12, 0)}
	ours := []figures{round(15, 0), round(30, 0), round(18, 0)}
	if got, want := ratios(ours, (*figures).server, floor, (*figures).server), (spread{1.5, 1.5, 1.5}); got != want {
		t.Errorf("ratio %v, want %v", got, want)
	}
	uneven := []figures{round(20, 0), round(20, 0), round(36, 0)}
	if got, want := ratios(uneven, (*figures).server, floor, (*figures).server), (spread{2, 1, 3}); got != want {
		t.Errorf("ratio %v, want %v", got, want)
	}
}

func TestFiguresAreForARequest(t *testing.T) {
	f := round(15, 3)
	if got := []float64{f.server(), f.store(), f.perSecond()}; !slices.Equal(got, []float64{15, 3, 10_000}) {
		t.Errorf("%v us of the server, of Redis, requests a second, want 15, 3, 10000", got)
	}
	for k, want := range map[key]float64{
		{poll, sluice}: 15, {pass, sluice}: 15, {newcomer, sluice}: 18, {newcomer, nginx}: 15,
	} {
		if got := k.cost(&f); got != want {
			t.Errorf("%v is compared by %v, want %v: only a newcomer waits for the store", k, got, want)
		}
	}
}

func TestNobodyIsAlwaysFirst(t *testing.T) {
	first, pairs := map[int]int{}, map[[2]int]int{}
	for r := range 8 {
		o := order(4, r)
		if got := slices.Sorted(slices.Values(o)); !slices.Equal(got, []int{0, 1, 2, 3}) {
			t.Fatalf("round %d measures %v", r, o)
		}
		first[o[0]]++
		for i := range 3 {
			pairs[[2]int{o[i], o[i+1]}]++
		}
	}
	if !maps.Equal(first, map[int]int{0: 2, 1: 2, 2: 2, 3: 2}) {
		t.Errorf("first in a round: %v", first)
	}
	if pairs[[2]int{0, 1}] != pairs[[2]int{1, 0}] {
		t.Errorf("one follows the other unevenly: %v", pairs)
	}
	for r := range 6 {
		o := inOrder(rows, r)
		if len(o) != len(rows) {
			t.Fatalf("round %d measures %v", r, o)
		}
		var seen []string
		for _, k := range o {
			if len(seen) == 0 || seen[len(seen)-1] != k.path {
				seen = append(seen, k.path)
			}
		}
		if len(seen) != len(paths) {
			t.Errorf("round %d does not keep the rows of a path together: %v", r, o)
		}
	}
}

func TestChosenRows(t *testing.T) {
	for _, c := range []struct{ list, want string }{
		{"", "poll/bare poll/nginx poll/sluice newcomer/bare newcomer/nginx newcomer/sluice pass/bare pass/nginx pass/haproxy pass/sluice"},
		{"poll", "poll/bare poll/nginx poll/sluice"},
		{"pass/sluice,poll/bare", "poll/bare pass/sluice"},
		{"pass,pass/bare", "pass/bare pass/nginx pass/haproxy pass/sluice"},
	} {
		var list []string
		if c.list != "" {
			list = strings.Split(c.list, ",")
		}
		keys, err := chosen(list)
		var got []string
		for _, k := range keys {
			got = append(got, k.String())
		}
		if err != nil || strings.Join(got, " ") != c.want {
			t.Errorf("%q measures %v, %v", c.list, got, err)
		}
	}
	if _, err := chosen([]string{"poll", "apache"}); err == nil || !strings.Contains(err.Error(), `"apache"`) {
		t.Errorf("an unknown row: %v", err)
	}
}

func TestBudgets(t *testing.T) {
	measured := func(costs map[key]int) map[key][]figures {
		m := map[key][]figures{}
		for k, n := range costs {
			m[k] = []figures{round(n, 0), round(2*n, 0), round(n, 0)}
		}
		return m
	}
	kept := map[key]int{
		{poll, bare}: 100, {poll, sluice}: 115,
		{newcomer, bare}: 100, {newcomer, sluice}: 250,
		{pass, bare}: 100, {pass, sluice}: 120,
	}
	for _, c := range []struct {
		name    string
		rows    []key
		change  map[key]int // 0: not measured
		missing map[key]string
		want    []string // how each complaint begins
	}{
		{"all at their limits", rows, nil, nil, nil},
		{"a poll over its own", rows, map[key]int{{poll, sluice}: 116}, nil, []string{"poll: 1.16 x"}},
		{"all over", rows, map[key]int{{poll, sluice}: 120, {newcomer, sluice}: 251, {pass, sluice}: 240}, nil, []string{"poll: 1.20 x", "newcomer: 2.51 x", "pass: 2.40 x"}},
		{"a floor that was not chosen", []key{{poll, sluice}}, map[key]int{{poll, bare}: 0}, nil, []string{"poll: its floor"}},
		{"our own path missing", []key{{poll, sluice}}, map[key]int{{poll, sluice}: 0}, map[key]string{{poll, sluice}: "it is not installed"}, []string{"poll: not measured: it is"}},
		{"only others", []key{{poll, bare}, {poll, nginx}}, nil, nil, []string{"no path with a budget"}},
	} {
		costs := maps.Clone(kept)
		for k, n := range c.change {
			if costs[k] = n; n == 0 {
				delete(costs, k)
			}
		}
		got := broken(lines(c.rows, measured(costs), c.missing))
		if len(got) != len(c.want) {
			t.Errorf("%s: %q, want %d complaints", c.name, got, len(c.want))
			continue
		}
		for i, want := range c.want {
			if !strings.HasPrefix(got[i], want) {
				t.Errorf("%s: %q, want it to begin with %q", c.name, got[i], want)
			}
		}
	}
}

func TestWhatANewcomerCostsCountsTheStore(t *testing.T) {
	l := lines([]key{{newcomer, sluice}, {newcomer, bare}, {newcomer, nginx}}, map[key][]figures{
		{newcomer, sluice}: {round(20, 10)}, {newcomer, bare}: {round(10, 0)}, {newcomer, nginx}: {round(5, 0)},
	}, nil)
	ours, floor := l[0], l[1]
	if ours.Cost.Median != 20 || ours.Store.Median != 10 || ours.Sum.Median != 30 || ours.ToFloor.Median != 3 || ours.ToNginx.Median != 6 {
		t.Errorf("%+v", ours)
	}
	if *ours.Kept {
		t.Error("three times the floor is within a budget of 2.5")
	}
	if floor.ToFloor != nil || floor.ToNginx.Median != 2 || floor.Store != nil || floor.Budget != 0 {
		t.Errorf("the floor: %+v", floor)
	}
}

func TestTheTableListsWhatIsMissing(t *testing.T) {
	keys := []key{{pass, bare}, {pass, haproxy}, {pass, sluice}}
	r := report{Command: "peers", Machine: "2 cores", Clock: "schedstat", Versions: map[string]string{"nginx": "1", "HAProxy": "2"}, Rows: lines(keys,
		map[key][]figures{{pass, bare}: {round(10, 0)}, {pass, sluice}: {round(11, 0)}},
		map[key]string{{pass, haproxy}: "haproxy is not installed"})}
	var out bytes.Buffer
	r.markdown(&out)
	for _, want := range []string{
		"| pass | HAProxy, keep-alive | not measured: haproxy is not installed | | | | | | |  |\n",
		"| pass | **Sluice: an admitted visitor's request** | 11.00 | 0.00 | 10000 | 0.00 | 0.00 | 1.10 (1.10 to 1.10) |  | 1.20: kept |\n",
		"HAProxy 2, nginx 1.\n",
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in\n%s", want, &out)
		}
	}
	columns := 0
	for line := range strings.Lines(out.String()) {
		if n := strings.Count(line, "|"); n > 0 {
			if columns == 0 {
				columns = n
			}
			if n != columns {
				t.Errorf("%d columns instead of %d in %q", n-1, columns-1, line)
			}
		}
	}
}

func TestVersionsAreNumbers(t *testing.T) {
	for said, want := range map[string]string{
		"nginx version: nginx/1.22.1":                                        "1.22.1",
		"HAProxy version 2.6.12-1+deb12u4 2026/10/17":                        "2.6.12-1+deb12u4",
		"Redis server v=7.0.15 sha=00000000:0 malloc=jemalloc-5.3.0 bits=64": "7.0.15",
		"exit status 1": "exit status 1",
	} {
		if got := number(said); got != want {
			t.Errorf("%q is version %q, want %q", said, got, want)
		}
	}
}

func TestBadUsage(t *testing.T) {
	for args, want := range map[string]string{
		"--rounds 0":          "--rounds 0",
		"--duration 1ms":      "--duration 1ms",
		"--connections 99999": "--connections 99999",
		"--only pol":          `no "pol"`,
		"everything":          `"everything"`,
		"--fast":              "--fast",
	} {
		var out, log bytes.Buffer
		if code := command(strings.Fields(args), &out, &log); code != exitUsage || !strings.Contains(log.String(), want) || out.Len() > 0 {
			t.Errorf("peers %s: code %d, prints %q and %q", args, code, &log, &out)
		}
	}
	var out, log bytes.Buffer
	if code := command([]string{"--help"}, &out, &log); code != 0 || !strings.Contains(log.String(), "--only LIST") {
		t.Errorf("--help: code %d, prints %q", code, &log)
	}
}

func TestAnOriginThatIsNoneIsSaid(t *testing.T) {
	if testing.Short() {
		t.Skip("not tested: the whole command, for which a gate has to be built")
	}
	proc.Need(t, "redis-server")
	var out, log bytes.Buffer
	if code := command([]string{"--origin", "127.0.0.1:1"}, &out, &log); code != exitFailed || !strings.Contains(log.String(), "the origin") || out.Len() > 0 {
		t.Errorf("code %d, prints %q and %q", code, &log, &out)
	}
}

// One short round of everything: the figures mean nothing, but each server answers
// what it should, or the run fails.
func TestOneRound(t *testing.T) {
	if testing.Short() {
		t.Skip("not tested: the whole command, for which a gate has to be built")
	}
	proc.Need(t, "redis-server")
	proc.Need(t, "nginx")
	file := filepath.Join(t.TempDir(), "peers.json")
	var out, log bytes.Buffer
	if code := command([]string{"--rounds", "1", "--duration", "100ms", "--connections", "8", "--json", file}, &out, &log); code != 0 {
		t.Fatalf("code %d\n%s", code, &log)
	}
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var r report
	if err := json.Unmarshal(text, &r); err != nil {
		t.Fatal(err)
	}
	if len(r.Rows) != len(rows) {
		t.Fatalf("%d rows, want %d", len(r.Rows), len(rows))
	}
	for i, l := range r.Rows {
		k := rows[i]
		if k.server == haproxy && find(haproxy) == "" {
			if l.Missing == "" || len(l.Rounds) > 0 {
				t.Errorf("%v is not installed: %+v", k, l)
			}
			continue
		}
		if l.Path != k.path || l.Server != k.server || len(l.Rounds) != 1 || l.Rounds[0].Requests == 0 || l.Cost.Median <= 0 {
			t.Errorf("%v: %+v", k, l)
		}
		if (l.ToFloor == nil) != (k.server == bare) || (l.ToNginx == nil) != (k.server == nginx) {
			t.Errorf("%v: ratios %v and %v", k, l.ToFloor, l.ToNginx)
		}
		if got, want := l.Budget, budgets[k.path]; k.server == sluice && (got != want || l.Kept == nil) || math.IsNaN(got) {
			t.Errorf("%v: budget %v, want %v", k, got, want)
		}
	}
	if r.Sizes[pass] != 1024 || r.Sizes[poll] == 0 || r.Sizes[newcomer] < 4096 {
		t.Errorf("bodies of %v bytes", r.Sizes)
	}
	if !strings.Contains(out.String(), "| poll | **Sluice") {
		t.Errorf("prints\n%s", &out)
	}
}
