package metrics

import (
	"strconv"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
)

// Origin is how the servers of one URL of the origin stand.
type Origin struct {
	Up, Out, Down       int // servers: well; left alone for failures; left alone by their check
	Idle, Used, Tunnels int // connections
	Waiting             int // requests that wait for a connection
}

// origins asks for what it shows when it is scraped: requests count nothing for it.
// The label origin is the place in the list of URLs, from 1 on: no address.
type origins struct {
	ask     atomic.Pointer[func() []Origin]
	servers *prometheus.Desc
	conns   *prometheus.Desc
	waiting *prometheus.Desc
}

func newOrigins() *origins {
	return &origins{
		servers: prometheus.NewDesc("sluice_origin_servers",
			"Addresses of an origin, by state: up, out (requests failed in a row) or down (its check failed).", []string{"origin", "state"}, nil),
		conns: prometheus.NewDesc("sluice_origin_connections",
			"Connections to an origin, by state: idle, used or tunnel.", []string{"origin", "state"}, nil),
		waiting: prometheus.NewDesc("sluice_origin_waiting", "Requests that wait for a connection to an origin.", []string{"origin"}, nil),
	}
}

func (o *origins) Describe(out chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{o.servers, o.conns, o.waiting} {
		out <- d
	}
}

func (o *origins) Collect(out chan<- prometheus.Metric) {
	ask := o.ask.Load()
	if ask == nil {
		return
	}
	gauge := func(d *prometheus.Desc, v int, labels ...string) {
		out <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, float64(v), labels...)
	}
	for i, s := range (*ask)() {
		at := strconv.Itoa(i + 1)
		gauge(o.servers, s.Up, at, "up")
		gauge(o.servers, s.Out, at, "out")
		gauge(o.servers, s.Down, at, "down")
		gauge(o.conns, s.Idle, at, "idle")
		gauge(o.conns, s.Used, at, "used")
		gauge(o.conns, s.Tunnels, at, "tunnel")
		gauge(o.waiting, s.Waiting, at)
	}
}

// SetOrigins has ask called whenever somebody looks: how the origins stand, in the
// order of their URLs.
func (m *Metrics) SetOrigins(ask func() []Origin) { m.origins.ask.Store(&ask) }

// OriginRetry counts a request that was sent on to another server.
func (m *Metrics) OriginRetry() { m.originRetries.Inc() }
