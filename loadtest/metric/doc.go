// Package metric gathers what a rehearsal measures: counters, gauges, rates and
// trends under k6's names, tagged, cheap enough for a million samples a second
// on two cores, and mergeable over the processes that share a run.
//
// A caller resolves a series once and adds to it:
//
//	requests := reg.New(metric.HTTPReqs, metric.Counter, metric.Default)
//	joins := requests.With(metric.NewTags("step", "join", "scenario", "spike"))
//	joins.Add(1)
//
// What is read back is a selection: [Metric.Select] merges every series whose
// tags contain the given ones, as k6's http_reqs{step:join} does. Trends are
// HdrHistograms with three significant digits in thousandths (microseconds where
// the unit is the millisecond), so that those of several processes are merged
// and never averaged; smallest, largest and sum are exact.
//
// [Metric.Timeline] cuts the same samples into seconds since the run's start,
// for charts. [Registry.Export] and [Registry.Merge] carry everything between
// processes. [Thresholds] are k6's expressions over all of it.
package metric

// Names that k6 gives to what every run measures. Times are in milliseconds.
const (
	HTTPReqs          = "http_reqs"           // Counter: requests sent
	HTTPReqDuration   = "http_req_duration"   // Trend: sending + waiting + receiving
	HTTPReqBlocked    = "http_req_blocked"    // Trend: until there is a connection
	HTTPReqConnecting = "http_req_connecting" // Trend: setting up the TCP connection
	HTTPReqTLS        = "http_req_tls_handshaking"
	HTTPReqSending    = "http_req_sending"   // Trend
	HTTPReqWaiting    = "http_req_waiting"   // Trend: until the first byte of the answer
	HTTPReqReceiving  = "http_req_receiving" // Trend
	HTTPReqFailed     = "http_req_failed"    // Rate: non-zero is a failed request
	Iterations        = "iterations"         // Counter: journeys brought to their end
	IterationDuration = "iteration_duration" // Trend
	DroppedIterations = "dropped_iterations" // Counter: intended, never started
	VUs               = "vus"                // Gauge: virtual users at work
	VUsMax            = "vus_max"            // Gauge: virtual users there are
	Checks            = "checks"             // Rate: passed checks, tagged check:NAME
	DataSent          = "data_sent"          // Counter: bytes
	DataReceived      = "data_received"      // Counter: bytes
)

// Names of our own.
const (
	// IterationLateness is a Trend: how long after its intended instant an
	// iteration of an open model began.
	IterationLateness = "iteration_lateness"
	// InterruptedIterations is a Counter of the iterations that a graceful stop
	// or an interrupt cut off.
	InterruptedIterations = "interrupted_iterations"
)

// Builtin creates every metric named above, so that a threshold or a summary
// finds it even when nothing was measured. The rest of a registry is its
// caller's.
func Builtin(r *Registry) {
	for _, m := range []struct {
		name     string
		kind     Kind
		contains Contains
	}{
		{HTTPReqs, Counter, Default}, {HTTPReqFailed, Rate, Default},
		{HTTPReqDuration, Trend, Time}, {HTTPReqBlocked, Trend, Time}, {HTTPReqConnecting, Trend, Time},
		{HTTPReqTLS, Trend, Time}, {HTTPReqSending, Trend, Time}, {HTTPReqWaiting, Trend, Time}, {HTTPReqReceiving, Trend, Time},
		{Iterations, Counter, Default}, {IterationDuration, Trend, Time}, {IterationLateness, Trend, Time},
		{DroppedIterations, Counter, Default}, {InterruptedIterations, Counter, Default},
		{VUs, Gauge, Default}, {VUsMax, Gauge, Default}, {Checks, Rate, Default},
		{DataSent, Counter, Data}, {DataReceived, Counter, Data},
	} {
		r.New(m.name, m.kind, m.contains)
	}
}
