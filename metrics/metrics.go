// Package metrics holds every number that a gate shows to Prometheus.
//
// Children of a label are resolved when a gate starts, so that counting a
// request looks nothing up, takes no lock and allocates nothing. The names of
// rooms are the only labels that come from outside: never a token, a path or an
// address. Gauges of a room are the store's and the same at every gate (use max
// by (room)); counters are what this gate did or saw (use sum by (room)).
package metrics

import (
	"math"
	"net/http"
	"runtime"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// Outcome is what became of a visitor's request.
type Outcome uint8

const (
	Pass    Outcome = iota // to the origin with a valid pass
	Admit                  // let in by this request
	Wait                   // told to wait, the page and JSON alike
	Closed                 // told that the room is closed, or full
	Ungated                // no room, or an exception: straight to the origin
	Refuse                 // malformed, ambiguous or not allowed
	Error                  // the origin or the gate failed
	outcomes
)

var outcomeNames = [outcomes]string{"pass", "admit", "wait", "closed", "ungated", "refuse", "error"}

// String returns the value of the label.
func (o Outcome) String() string { return outcomeNames[o] }

// Op is an operation of the store.
type Op uint8

const (
	Enter Op = iota
	Renew
	Leave
	Tick
	Overrides // reading the live settings of a room
	Override  // writing them
	ops
)

var opNames = [ops]string{"enter", "renew", "leave", "tick", "overrides", "override"}

// String returns the value of the label.
func (o Op) String() string { return opNames[o] }

// Result is how a call to the store ended.
type Result uint8

const (
	OK          Result = iota
	Conflict           // the store decided against it
	Timeout            // no answer in time; it may have been carried out
	Unavailable        // the store could not be reached
	Failed             // anything else
	results
)

var resultNames = [results]string{"ok", "conflict", "timeout", "unavailable", "failed"}

// String returns the value of the label.
func (r Result) String() string { return resultNames[r] }

// The kinds of OriginError, in the words of package gate/proxy. Its other kinds
// are the visitor's doing.
const (
	OriginConnect = "connect" // no connection could be made
	OriginBusy    = "busy"    // all of max_conns are in use
	OriginTimeout = "timeout" // no answer in time
	OriginBroken  = "broken"  // the origin broke off, or sent what is not HTTP
	OriginOther   = "other"
)

var visitorsDoing = []string{"", "request", "expectation", "too_large", "client_body", "client"}

// Verdict judges the estimate that a visitor was first shown, once they are let in.
type Verdict uint8

const (
	Early  Verdict = iota // let in before its low end
	Within                // as promised
	Late                  // after its high end
	verdicts
)

var verdictNames = [verdicts]string{"early", "within", "late"}

// String returns the value of the label.
func (v Verdict) String() string { return verdictNames[v] }

// ConnKind is whose a visitor's connection is, as far as it has shown.
type ConnKind uint8

const (
	ConnNew      ConnKind = iota // no whole request has come on it
	ConnWaiting                  // somebody's without a pass
	ConnAdmitted                 // it has shown a pass
	ConnProxy                    // a trusted proxy's
	connKinds
)

var connKindNames = [connKinds]string{"new", "waiting", "admitted", "proxy"}

// String returns the value of the label.
func (k ConnKind) String() string { return connKindNames[k] }

// Refusal is why a visitor's request was not answered, or a connection ended, for want
// of room or of patience with it.
type Refusal uint8

const (
	RefusedNoRoom     Refusal = iota // no connection was left; answered 503 unread
	RefusedUnread                    // ended before its first request was whole, for the next connection
	RefusedLate                      // ended because a header took too long while connections were scarce
	RefusedIdle                      // ended between two requests, for others
	RefusedCrowded                   // answered 503: only what is kept for the admitted was left
	RefusedHeader                    // a header took longer than it may
	RefusedBody                      // a body came slower than it may
	RefusedSlowReader                // an answer was taken slower than it may
	RefusedConns                     // too many connections of one address
	RefusedRequests                  // too many requests of one address
	RefusedNewcomers                 // too many newcomers from one address
	RefusedTunnel                    // as many WebSockets were open as may be
	refusals
)

var refusalNames = [refusals]string{
	"no_room", "unread", "late", "idle", "crowded", "slow_header", "slow_body", "slow_reader",
	"address_connections", "address_requests", "address_newcomers", "tunnels",
}

// String returns the value of the label.
func (r Refusal) String() string { return refusalNames[r] }

// Metrics are the collectors of one gate. Methods may be called from any
// goroutine.
type Metrics struct {
	registry *prometheus.Registry

	requests        requests
	requestDuration [outcomes]*histogram
	originDuration  *histogram
	originErrors    map[string]prometheus.Counter
	originRetries   prometheus.Counter
	origins         *origins

	storeUp       prometheus.Gauge
	storeCalls    [ops][results]prometheus.Counter
	storeDuration [ops]*histogram
	storeBatch    [ops]*histogram

	connections            [connKinds]atomic.Int64
	tunnels, opened        atomic.Int64
	refused                [refusals]atomic.Uint64
	connectionsLimit       prometheus.Gauge
	reloadOK, reloadedLast prometheus.Gauge
	tls                    tlsMetrics

	mu    sync.Mutex
	vecs  roomVecs
	rooms map[string]*Room
}

// New returns metrics for a gate of that version with those rooms. They have a
// registry of their own, so that several gates fit into one process.
func New(version string, rooms []string) *Metrics {
	m := &Metrics{
		registry:     prometheus.NewRegistry(),
		originErrors: make(map[string]prometheus.Counter),
		origins:      newOrigins(),
		originRetries: prometheus.NewCounter(prometheus.CounterOpts{Name: "sluice_origin_retries_total",
			Help: "Requests sent on to another server of the origin, as one could not be reached or did not answer."}),
		rooms: make(map[string]*Room),
	}
	m.requests.desc = prometheus.NewDesc("sluice_http_requests_total",
		"Requests answered, by what became of them and status code.", []string{"outcome", "code"}, nil)
	for o, codes := range map[Outcome][]int{
		Pass: {200}, Admit: {200}, Wait: {429}, Closed: {503}, Ungated: {200}, Refuse: {400}, Error: {502, 504},
	} {
		for _, code := range codes {
			m.requests.shown[o][codeIndex(code)] = true // a rate needs the zero before the first one
		}
	}

	took := prometheus.NewDesc("sluice_http_request_duration_seconds",
		"Time from a request's header to the end of its answer's header, time held included, by what became of it.", []string{"outcome"}, nil)
	for o := range outcomes {
		m.requestDuration[o] = newHistogram(took, requestBounds, o.String())
	}
	m.originDuration = newHistogram(prometheus.NewDesc("sluice_origin_request_duration_seconds",
		"Time from sending a request to the origin to the end of its answer's header.", nil, nil), requestBounds)
	originErrors := counterVec("sluice_origin_errors_total", "Requests that the origin did not answer, by kind.", "kind")
	for _, kind := range []string{OriginConnect, OriginBusy, OriginTimeout, OriginBroken, OriginOther} {
		m.originErrors[kind] = originErrors.WithLabelValues(kind)
	}

	m.storeUp = gauge("sluice_store_up", "1 when the last call to the store was answered, else 0.")
	calls := counterVec("sluice_store_calls_total", "Calls to the store, by operation and result.", "op", "result")
	storeTook := prometheus.NewDesc("sluice_store_call_duration_seconds", "Time of a call to the store, by operation.", []string{"op"}, nil)
	storeBatch := prometheus.NewDesc("sluice_store_batch_size", "Visitors in one call to the store, by operation.", []string{"op"}, nil)
	for op := range ops {
		for r := range results {
			m.storeCalls[op][r] = calls.WithLabelValues(op.String(), r.String())
		}
		m.storeDuration[op] = newHistogram(storeTook, storeBounds, op.String())
		m.storeBatch[op] = newHistogram(storeBatch, batchBounds, op.String())
	}

	open := prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "sluice_open_connections", Help: "Visitors' connections open at this gate, tunnels included."},
		func() float64 {
			all := int64(0)
			for k := range m.connections {
				all += m.connections[k].Load()
			}
			return float64(all)
		})
	tunnels := prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "sluice_open_tunnels", Help: "WebSockets open at this gate."},
		func() float64 { return float64(m.tunnels.Load()) })
	opened := prometheus.NewCounterFunc(prometheus.CounterOpts{Name: "sluice_tunnels_total", Help: "WebSockets that this gate has let through to the origin."},
		func() float64 { return float64(m.opened.Load()) })
	kinds := make([]prometheus.Collector, 0, int(connKinds)+int(refusals))
	for k := range connKinds {
		kinds = append(kinds, prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "sluice_connections", Help: "Visitors' connections open at this gate, tunnels included, by whose they are.",
			ConstLabels: prometheus.Labels{"kind": k.String()},
		}, func() float64 { return float64(m.connections[k].Load()) }))
	}
	for r := range refusals {
		kinds = append(kinds, prometheus.NewCounterFunc(prometheus.CounterOpts{
			Name: "sluice_refused_total", Help: "Requests refused and connections ended for want of room or of patience, by reason.",
			ConstLabels: prometheus.Labels{"reason": r.String()},
		}, func() float64 { return float64(m.refused[r].Load()) }))
	}
	m.connectionsLimit = gauge("sluice_connections_limit", "Visitors' connections that this gate lets stand open at once.")
	m.reloadOK = gauge("sluice_config_last_reload_successful", "1 when the last reload of the configuration was applied, else 0.")
	m.reloadedLast = gauge("sluice_config_last_reload_success_timestamp_seconds", "When a configuration was last applied, in seconds since 1970.")

	build := prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "sluice_build_info", Help: "Always 1; the labels say which build this is.",
		ConstLabels: prometheus.Labels{"version": version, "goversion": runtime.Version()},
	})
	build.Set(1)

	m.vecs = newRoomVecs()
	m.registry.MustRegister(
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}), build,
		&m.requests, histograms(m.requestDuration[:]), histograms{m.originDuration}, originErrors, m.originRetries, m.origins,
		m.storeUp, calls, histograms(m.storeDuration[:]), histograms(m.storeBatch[:]),
		open, tunnels, opened, m.connectionsLimit, m.reloadOK, m.reloadedLast,
	)
	m.registry.MustRegister(kinds...)
	m.registry.MustRegister(m.tls.collectors()...)
	m.registry.MustRegister(m.vecs.all()...)
	m.SetRooms(rooms)
	return m
}

// Discard returns metrics that work and that nobody reads.
func Discard() *Metrics { return New("", nil) }

// Handler answers a scrape.
func (m *Metrics) Handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{})
}

// Request counts an answered request. Codes outside of 100 to 599 are counted
// under "other".
func (m *Metrics) Request(o Outcome, code int) { m.requests.counts[o][codeIndex(code)].Add(1) }

// RequestDuration records how long a request took until its answer went out.
func (m *Metrics) RequestDuration(o Outcome, seconds float64) { m.requestDuration[o].observe(seconds) }

// OriginDuration records how long the origin took to answer.
func (m *Metrics) OriginDuration(seconds float64) { m.originDuration.observe(seconds) }

// OriginError counts a request that the origin did not answer. What was the
// visitor's doing counts nothing, an unknown kind counts as OriginOther.
func (m *Metrics) OriginError(kind string) {
	c, ok := m.originErrors[kind]
	switch {
	case ok:
		c.Inc()
	case !slices.Contains(visitorsDoing, kind):
		m.originErrors[OriginOther].Inc()
	}
}

// OpenTunnels counts a tunnel that begins, 1, or ends, -1.
func (m *Metrics) OpenTunnels(delta int) {
	m.tunnels.Add(int64(delta))
	if delta > 0 {
		m.opened.Add(int64(delta))
	}
}

// StoreUp tells whether the store answers.
func (m *Metrics) StoreUp(up bool) { m.storeUp.Set(truth(up)) }

// StoreCall records one call to the store. Batch is how many visitors it was
// about, 0 for an operation that has none.
func (m *Metrics) StoreCall(op Op, r Result, seconds float64, batch int) {
	m.storeCalls[op][r].Inc()
	m.storeDuration[op].observe(seconds)
	if batch > 0 {
		m.storeBatch[op].observe(float64(batch))
	}
}

// Connection adds delta to the open connections of a kind.
func (m *Metrics) Connection(k ConnKind, delta int) { m.connections[k].Add(int64(delta)) }

// ConnectionsLimit tells how many may be open at once.
func (m *Metrics) ConnectionsLimit(n int) { m.connectionsLimit.Set(float64(n)) }

// Refused counts what was not answered, or ended, for that reason.
func (m *Metrics) Refused(r Refusal) { m.refused[r].Add(1) }

// ConfigReload records that a configuration was applied, or refused, at that
// time. The first one counts too.
func (m *Metrics) ConfigReload(ok bool, at time.Time) {
	m.reloadOK.Set(truth(ok))
	if ok {
		m.reloadedLast.Set(float64(at.UnixMilli()) / 1000)
	}
}

// Room returns the metrics of a room, made when there are none. It takes a
// lock: ask once, when a configuration is applied.
func (m *Metrics) Room(name string) *Room {
	m.mu.Lock()
	defer m.mu.Unlock()
	r, ok := m.rooms[name]
	if !ok {
		r = m.vecs.room(name)
		m.rooms[name] = r
	}
	return r
}

// SetRooms makes the metrics of those rooms and takes away those of all others.
// A Room kept from before goes on counting where nobody sees it.
func (m *Metrics) SetRooms(names []string) {
	m.mu.Lock()
	for name := range m.rooms {
		if !slices.Contains(names, name) {
			m.vecs.forget(name)
			delete(m.rooms, name)
		}
	}
	m.mu.Unlock()
	for _, name := range names {
		m.Room(name)
	}
}

// requests counts by outcome and code in a plain table: there are few enough
// pairs to hold them all.
type requests struct {
	desc   *prometheus.Desc
	counts [outcomes][501]atomic.Uint64
	shown  [outcomes][501]bool // even when 0
}

// codeIndex returns where a code is counted; 0 is every code out of the range.
func codeIndex(code int) int {
	if i := code - 99; i > 0 && i <= 500 {
		return i
	}
	return 0
}

func (r *requests) Describe(out chan<- *prometheus.Desc) { out <- r.desc }

func (r *requests) Collect(out chan<- prometheus.Metric) {
	for o := range outcomes {
		for i := range r.counts[o] {
			n := r.counts[o][i].Load()
			if n == 0 && !r.shown[o][i] {
				continue
			}
			code := "other"
			if i > 0 {
				code = strconv.Itoa(i + 99)
			}
			out <- prometheus.MustNewConstMetric(r.desc, prometheus.CounterValue, float64(n), o.String(), code)
		}
	}
}

func counterVec(name, help string, labels ...string) *prometheus.CounterVec {
	return prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, labels)
}

func gauge(name, help string) prometheus.Gauge {
	return prometheus.NewGauge(prometheus.GaugeOpts{Name: name, Help: help})
}

func truth(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

// limit is what a gauge of a limit shows: +Inf when there is none.
func limit(v float64) float64 {
	if v <= 0 || math.IsNaN(v) {
		return math.Inf(1)
	}
	return v
}
