package metrics

import (
	"io"
	"math"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
)

// names is the list that dashboards, alerts and manuals are written against.
var names = []string{
	"sluice_abandoned_total",
	"sluice_active_limit",
	"sluice_admission_rate_limit",
	"sluice_admitted_total",
	"sluice_build_info",
	"sluice_config_last_reload_success_timestamp_seconds",
	"sluice_config_last_reload_successful",
	"sluice_connections",
	"sluice_connections_limit",
	"sluice_estimates_total",
	"sluice_http_request_duration_seconds",
	"sluice_http_requests_total",
	"sluice_joined_total",
	"sluice_last_tick_timestamp_seconds",
	"sluice_no_show_total",
	"sluice_open_connections",
	"sluice_open_tunnels",
	"sluice_origin_connections",
	"sluice_origin_errors_total",
	"sluice_origin_request_duration_seconds",
	"sluice_origin_retries_total",
	"sluice_origin_servers",
	"sluice_origin_waiting",
	"sluice_overshoot_total",
	"sluice_refused_total",
	"sluice_restored_total",
	"sluice_store_batch_size",
	"sluice_store_call_duration_seconds",
	"sluice_store_calls_total",
	"sluice_store_up",
	"sluice_tls_handshakes_total",
	"sluice_tunnels_total",
	"sluice_visitors_absent",
	"sluice_visitors_active",
	"sluice_visitors_called",
	"sluice_visitors_waiting",
	"sluice_wait_seconds",
}

func TestEveryMetricIsThereFromTheStartAndNoOther(t *testing.T) {
	m := New("1.2.3", []string{"drop"})
	m.SetOrigins(func() []Origin { return make([]Origin, 1) })
	families, err := m.registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	labels := map[string]bool{}
	goCollector, process := false, false
	for _, f := range families {
		switch name := f.GetName(); {
		case strings.HasPrefix(name, "sluice_"):
			got = append(got, name)
			for _, l := range f.Metric[0].Label {
				labels[l.GetName()] = true
			}
		case strings.HasPrefix(name, "go_"):
			goCollector = true
		case strings.HasPrefix(name, "process_"):
			process = true
		default:
			t.Errorf("%s is of no known family", name)
		}
	}
	if !slices.Equal(got, names) {
		t.Errorf("got  %q\nwant %q", got, names)
	}
	if !goCollector || !process {
		t.Errorf("go collector %v, process collector %v, want both", goCollector, process)
	}
	for l := range labels {
		if !slices.Contains([]string{"room", "outcome", "code", "op", "result", "kind", "reason", "origin", "state", "version", "goversion"}, l) {
			t.Errorf("label %q is not one of those agreed", l)
		}
	}
}

func TestTheLinterOfPrometheusHasNothingToSay(t *testing.T) {
	m := New("1.2.3", []string{"drop", "vip"})
	m.SetOrigins(func() []Origin { return make([]Origin, 2) })
	problems, err := testutil.GatherAndLint(m.registry, names...)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		t.Errorf("%s: %s", p.Metric, p.Text)
	}
}

func TestWhatIsCountedIsWhatAScrapeReads(t *testing.T) {
	m := New("1.2.3", []string{"drop"})
	r := m.Room("drop")
	r.SetCounts(4, 3, 2, 1)
	r.SetLimits(10, 0)
	r.Joined.Add(7)
	r.Joined.Add(-3) // never falls
	r.Admitted.Add(6)
	r.Abandoned.Add(5)
	r.NoShow.Add(4)
	r.Restored.Add(3)
	r.Overshoot.Add(2)
	r.Wait(3)
	r.Estimate(Late)
	r.LastTick(1.5e9)
	m.Request(Wait, 429)
	m.Request(Wait, 429)
	m.Request(Pass, 304)
	m.Request(Pass, 0)
	m.Request(Pass, 600)
	m.Request(Error, 599)
	m.Request(Error, 100)
	m.RequestDuration(Admit, .0005)
	m.RequestDuration(Admit, .3)
	m.RequestDuration(Admit, 31)
	m.RequestDuration(Admit, -1)
	m.OriginDuration(.02)
	m.OriginError(OriginTimeout)
	m.OriginError("no such kind")
	m.OriginRetry()
	m.SetOrigins(func() []Origin {
		return []Origin{{Up: 3, Idle: 7, Used: 2, Waiting: 5}, {Out: 1, Down: 2, Tunnels: 4}}
	})
	m.OriginError("client_body")
	m.StoreUp(true)
	m.StoreCall(Enter, OK, .001, 200)
	m.StoreCall(Tick, Unavailable, .2, 0)
	m.Connection(ConnNew, 3)
	m.Connection(ConnNew, -2)
	m.Connection(ConnAdmitted, 1)
	m.ConnectionsLimit(900)
	m.Refused(RefusedCrowded)
	m.ConfigReload(true, time.UnixMilli(1_700_000_000_500))
	m.ConfigReload(false, time.UnixMilli(1_800_000_000_000))

	page := scrape(m)
	for _, line := range []string{
		`sluice_origin_retries_total 1`,
		`sluice_origin_servers{origin="1",state="up"} 3`,
		`sluice_origin_servers{origin="1",state="out"} 0`,
		`sluice_origin_servers{origin="2",state="out"} 1`,
		`sluice_origin_servers{origin="2",state="down"} 2`,
		`sluice_origin_connections{origin="1",state="idle"} 7`,
		`sluice_origin_connections{origin="1",state="used"} 2`,
		`sluice_origin_connections{origin="2",state="tunnel"} 4`,
		`sluice_origin_waiting{origin="1"} 5`,
		`sluice_visitors_waiting{room="drop"} 4`,
		`sluice_visitors_absent{room="drop"} 3`,
		`sluice_visitors_called{room="drop"} 2`,
		`sluice_visitors_active{room="drop"} 1`,
		`sluice_admission_rate_limit{room="drop"} 10`,
		`sluice_active_limit{room="drop"} +Inf`,
		`sluice_joined_total{room="drop"} 7`,
		`sluice_admitted_total{room="drop"} 6`,
		`sluice_abandoned_total{room="drop"} 5`,
		`sluice_no_show_total{room="drop"} 4`,
		`sluice_restored_total{room="drop"} 3`,
		`sluice_overshoot_total{room="drop"} 2`,
		`sluice_wait_seconds_bucket{room="drop",le="1"} 0`,
		`sluice_wait_seconds_bucket{room="drop",le="5"} 1`,
		`sluice_wait_seconds_bucket{room="drop",le="7200"} 1`,
		`sluice_estimates_total{result="late",room="drop"} 1`,
		`sluice_estimates_total{result="early",room="drop"} 0`,
		`sluice_last_tick_timestamp_seconds{room="drop"} 1.5e+09`,
		`sluice_http_requests_total{code="429",outcome="wait"} 2`,
		`sluice_http_requests_total{code="304",outcome="pass"} 1`,
		`sluice_http_requests_total{code="200",outcome="pass"} 0`,
		`sluice_http_requests_total{code="other",outcome="pass"} 2`,
		`sluice_http_requests_total{code="599",outcome="error"} 1`,
		`sluice_http_requests_total{code="100",outcome="error"} 1`,
		`sluice_http_request_duration_seconds_bucket{outcome="admit",le="0.0005"} 2`,
		`sluice_http_request_duration_seconds_bucket{outcome="admit",le="0.25"} 2`,
		`sluice_http_request_duration_seconds_bucket{outcome="admit",le="0.5"} 3`,
		`sluice_http_request_duration_seconds_bucket{outcome="admit",le="30"} 3`,
		`sluice_http_request_duration_seconds_bucket{outcome="admit",le="+Inf"} 4`,
		`sluice_http_request_duration_seconds_sum{outcome="admit"} 31.3005`,
		`sluice_http_request_duration_seconds_count{outcome="admit"} 4`,
		`sluice_origin_request_duration_seconds_count 1`,
		`sluice_origin_errors_total{kind="timeout"} 1`,
		`sluice_origin_errors_total{kind="other"} 1`,
		`sluice_store_up 1`,
		`sluice_store_calls_total{op="enter",result="ok"} 1`,
		`sluice_store_calls_total{op="tick",result="unavailable"} 1`,
		`sluice_store_call_duration_seconds_count{op="tick"} 1`,
		`sluice_store_batch_size_bucket{op="enter",le="100"} 0`,
		`sluice_store_batch_size_bucket{op="enter",le="200"} 1`,
		`sluice_store_batch_size_count{op="tick"} 0`,
		`sluice_open_connections 2`,
		`sluice_connections{kind="new"} 1`,
		`sluice_connections{kind="admitted"} 1`,
		`sluice_connections{kind="proxy"} 0`,
		`sluice_connections_limit 900`,
		`sluice_refused_total{reason="crowded"} 1`,
		`sluice_refused_total{reason="slow_body"} 0`,
		`sluice_config_last_reload_successful 0`,
		`sluice_config_last_reload_success_timestamp_seconds 1.7000000005e+09`,
	} {
		if !strings.Contains(page, "\n"+line+"\n") {
			t.Errorf("missing: %s", line)
		}
	}
	if !strings.Contains(page, `sluice_build_info{goversion="go1.`) || !strings.Contains(page, `version="1.2.3"} 1`) {
		t.Error("build info is missing")
	}
	if t.Failed() {
		for line := range strings.Lines(page) {
			if strings.HasPrefix(line, "sluice_") && !strings.Contains(line, "_bucket") {
				t.Log(line)
			}
		}
	}
}

func TestNoLimitIsInfinite(t *testing.T) {
	m := New("1.2.3", nil)
	for _, none := range []float64{0, -1, math.Inf(1), math.NaN()} {
		m.Room("drop").SetLimits(none, none)
		page := scrape(m)
		for _, line := range []string{`sluice_admission_rate_limit{room="drop"} +Inf`, `sluice_active_limit{room="drop"} +Inf`} {
			if !strings.Contains(page, line) {
				t.Errorf("limit %v: missing %s", none, line)
			}
		}
	}
}

func TestAReloadTakesAwayTheRoomsThatAreGone(t *testing.T) {
	m := New("1.2.3", []string{"old", "drop"})
	m.Room("drop").Joined.Add(5)
	gone := m.Room("old")
	m.SetRooms([]string{"drop", "new"})
	gone.Joined.Add(1)
	gone.SetCounts(1, 1, 1, 1)
	page := scrape(m)
	if strings.Contains(page, `room="old"`) {
		t.Error("the room that is gone still shows")
	}
	for _, line := range []string{`sluice_joined_total{room="drop"} 5`, `sluice_joined_total{room="new"} 0`} {
		if !strings.Contains(page, line) {
			t.Errorf("missing: %s", line)
		}
	}
}

func TestCountingAllocatesNothing(t *testing.T) {
	m := New("1.2.3", []string{"drop"})
	r := m.Room("drop")
	if n := testing.AllocsPerRun(1000, func() {
		m.Request(Pass, 200)
		m.RequestDuration(Pass, .003)
		m.OriginDuration(.003)
		m.OriginError(OriginBroken)
		m.StoreCall(Enter, OK, .001, 100)
		m.Connection(ConnWaiting, 1)
		r.Joined.Add(1)
		r.Wait(20)
		r.Estimate(Within)
		r.SetCounts(1, 2, 3, 4)
	}); n != 0 {
		t.Errorf("counting allocates %v times, want 0", n)
	}
}

func TestManyCountAtOnceWhileSomebodyScrapes(t *testing.T) {
	m := Discard()
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 1000 {
				m.Request(Wait, 429)
				m.RequestDuration(Wait, .001)
				m.Room("drop").Joined.Add(1)
				m.Connection(ConnWaiting, 1)
			}
		})
	}
	wg.Go(func() {
		for range 10 {
			scrape(m)
		}
	})
	wg.Go(func() { m.SetRooms([]string{"drop", "vip"}) })
	wg.Wait()
	page := scrape(m)
	for _, line := range []string{
		`sluice_http_requests_total{code="429",outcome="wait"} 4000`,
		`sluice_http_request_duration_seconds_count{outcome="wait"} 4000`,
		`sluice_open_connections 4000`,
		`sluice_joined_total{room="drop"} 4000`,
	} {
		if !strings.Contains(page, line) {
			t.Errorf("missing: %s", line)
		}
	}
}

func BenchmarkRequest(b *testing.B) {
	m := Discard()
	b.ReportAllocs()
	for b.Loop() {
		m.Request(Pass, 200)
		m.RequestDuration(Pass, .004)
	}
}

func BenchmarkRequestParallel(b *testing.B) {
	m := Discard()
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			m.Request(Pass, 200)
			m.RequestDuration(Pass, .004)
		}
	})
}

// What BenchmarkRequest would be with the library's collectors.
func BenchmarkLibraryHistogram(b *testing.B) {
	h := prometheus.NewHistogram(prometheus.HistogramOpts{Name: "h", Buckets: requestBounds})
	c := prometheus.NewCounter(prometheus.CounterOpts{Name: "c"})
	b.ReportAllocs()
	for b.Loop() {
		c.Inc()
		h.Observe(.004)
	}
}

func BenchmarkLibraryHistogramParallel(b *testing.B) {
	h := prometheus.NewHistogram(prometheus.HistogramOpts{Name: "h", Buckets: requestBounds})
	c := prometheus.NewCounter(prometheus.CounterOpts{Name: "c"})
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			c.Inc()
			h.Observe(.004)
		}
	})
}

func scrape(m *Metrics) string {
	w := httptest.NewRecorder()
	m.Handler().ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	body, _ := io.ReadAll(w.Body)
	return string(body)
}
