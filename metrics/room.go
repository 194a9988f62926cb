package metrics

import "github.com/prometheus/client_golang/prometheus"

// Room are the metrics of one room.
type Room struct {
	Joined    Counter // places given, and newcomers let in on the spot
	Admitted  Counter // visitors who took their slot
	Abandoned Counter // places dropped because nobody came back to them
	NoShow    Counter // called visitors who did not come in time
	Restored  Counter // places put back from the visitor's own ticket
	Overshoot Counter // times called and active rose above max_active

	waiting, absent, called, active prometheus.Gauge
	rateLimit, activeLimit          prometheus.Gauge
	lastTick                        prometheus.Gauge
	wait                            prometheus.Observer
	estimates                       [verdicts]prometheus.Counter
}

// Counter only grows. The zero value counts nothing.
type Counter struct{ c prometheus.Counter }

// Add adds n. Nothing is added when n is not above 0.
func (c Counter) Add(n int64) {
	if n > 0 && c.c != nil {
		c.c.Add(float64(n))
	}
}

// SetCounts shows how many visitors stand where, by the last snapshot.
func (r *Room) SetCounts(waiting, absent, called, active int64) {
	r.waiting.Set(float64(waiting))
	r.absent.Set(float64(absent))
	r.called.Set(float64(called))
	r.active.Set(float64(active))
}

// SetLimits shows the limits in force: visitors called per second, and most
// visitors called or active at once. 0 or less, or +Inf, is no limit.
func (r *Room) SetLimits(perSecond, active float64) {
	r.rateLimit.Set(limit(perSecond))
	r.activeLimit.Set(limit(active))
}

// Wait records how long a visitor waited from the place to being let in.
func (r *Room) Wait(seconds float64) { r.wait.Observe(seconds) }

// Estimate counts how the first estimate shown to a visitor turned out.
func (r *Room) Estimate(v Verdict) { r.estimates[v].Inc() }

// LastTick shows when the store last answered a Tick, in seconds since 1970.
func (r *Room) LastTick(unixSeconds float64) { r.lastTick.Set(unixSeconds) }

// roomVecs are the collectors that Rooms are children of.
type roomVecs struct {
	waiting, absent, called, active, rateLimit, activeLimit, lastTick *prometheus.GaugeVec
	joined, admitted, abandoned, noShow, restored, overshoot          *prometheus.CounterVec
	wait                                                              *prometheus.HistogramVec
	estimates                                                         *prometheus.CounterVec
}

func newRoomVecs() roomVecs {
	gauge := func(name, help string) *prometheus.GaugeVec {
		return prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: name, Help: help}, []string{"room"})
	}
	counter := func(name, help string) *prometheus.CounterVec { return counterVec(name, help, "room") }
	return roomVecs{
		waiting:     gauge("sluice_visitors_waiting", "Visitors in line and present."),
		absent:      gauge("sluice_visitors_absent", "Visitors who keep their place but were not seen in time."),
		called:      gauge("sluice_visitors_called", "Visitors let in who have not come for it yet."),
		active:      gauge("sluice_visitors_active", "Visitors inside with a running session."),
		rateLimit:   gauge("sluice_admission_rate_limit", "Most visitors called per second; +Inf when there is no limit."),
		activeLimit: gauge("sluice_active_limit", "Most visitors called or active at once; +Inf when there is no limit."),
		lastTick:    gauge("sluice_last_tick_timestamp_seconds", "When the store last said how the room stands, in seconds since 1970."),
		joined:      counter("sluice_joined_total", "Places given, and newcomers let in on the spot."),
		admitted:    counter("sluice_admitted_total", "Visitors who took their slot."),
		abandoned:   counter("sluice_abandoned_total", "Places dropped because nobody came back to them."),
		noShow:      counter("sluice_no_show_total", "Called visitors who did not come in time."),
		restored:    counter("sluice_restored_total", "Places and sessions put back by tickets and passes that the store had lost."),
		overshoot:   counter("sluice_overshoot_total", "Times the visitors called and active rose above the limit."),
		wait: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "sluice_wait_seconds", Help: "Time from a visitor's place in line to being let in.", Buckets: waitBounds,
		}, []string{"room"}),
		estimates: counterVec("sluice_estimates_total", "Visitors let in, by how the first estimate they were shown turned out.", "room", "result"),
	}
}

func (v *roomVecs) all() []prometheus.Collector {
	return []prometheus.Collector{
		v.waiting, v.absent, v.called, v.active, v.rateLimit, v.activeLimit, v.lastTick,
		v.joined, v.admitted, v.abandoned, v.noShow, v.restored, v.overshoot, v.wait, v.estimates,
	}
}

func (v *roomVecs) room(name string) *Room {
	r := &Room{
		Joined:      Counter{v.joined.WithLabelValues(name)},
		Admitted:    Counter{v.admitted.WithLabelValues(name)},
		Abandoned:   Counter{v.abandoned.WithLabelValues(name)},
		NoShow:      Counter{v.noShow.WithLabelValues(name)},
		Restored:    Counter{v.restored.WithLabelValues(name)},
		Overshoot:   Counter{v.overshoot.WithLabelValues(name)},
		waiting:     v.waiting.WithLabelValues(name),
		absent:      v.absent.WithLabelValues(name),
		called:      v.called.WithLabelValues(name),
		active:      v.active.WithLabelValues(name),
		rateLimit:   v.rateLimit.WithLabelValues(name),
		activeLimit: v.activeLimit.WithLabelValues(name),
		lastTick:    v.lastTick.WithLabelValues(name),
		wait:        v.wait.WithLabelValues(name),
	}
	for i := range verdicts {
		r.estimates[i] = v.estimates.WithLabelValues(name, i.String())
	}
	return r
}

func (v *roomVecs) forget(name string) {
	for _, c := range v.all() {
		c.(interface {
			DeletePartialMatch(prometheus.Labels) int
		}).DeletePartialMatch(prometheus.Labels{"room": name})
	}
}
