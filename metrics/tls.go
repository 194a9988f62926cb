package metrics

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// HandshakeResult is how a visitor's TLS handshake ended.
type HandshakeResult uint8

const (
	HandshakeOK            HandshakeResult = iota
	HandshakeTimeout                       // too slow
	HandshakeClosed                        // the visitor went away: probes of a port do
	HandshakeNoTLS                         // what came was no TLS
	HandshakeIncompatible                  // no version, cipher or protocol that both know
	HandshakeRefused                       // the visitor said no, mostly to the certificate
	HandshakeNoCertificate                 // there is none yet for the name
	handshakeResults
)

var handshakeNames = [handshakeResults]string{"ok", "timeout", "closed", "no_tls", "incompatible", "refused", "no_certificate"}

// String returns the value of the label.
func (r HandshakeResult) String() string { return handshakeNames[r] }

// tlsMetrics are those of TLS towards visitors.
type tlsMetrics struct {
	handshakes [handshakeResults]prometheus.Counter
	expiry     *prometheus.GaugeVec
}

func (t *tlsMetrics) collectors() []prometheus.Collector {
	handshakes := counterVec("sluice_tls_handshakes_total", "TLS handshakes with visitors, by how they ended.", "result")
	for r := range handshakeResults {
		t.handshakes[r] = handshakes.WithLabelValues(r.String())
	}
	t.expiry = prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Name: "sluice_tls_certificate_expiry_timestamp_seconds",
		Help: "When a certificate expires, in seconds since 1970, by its first name.",
	}, []string{"certificate"})
	return []prometheus.Collector{handshakes, t.expiry}
}

// Handshake counts a TLS handshake.
func (m *Metrics) Handshake(r HandshakeResult) { m.tls.handshakes[r].Inc() }

// Certificates tells when each certificate expires, by its first name, and forgets
// all others.
func (m *Metrics) Certificates(expiry map[string]time.Time) {
	m.tls.expiry.Reset()
	for name, at := range expiry {
		m.tls.expiry.WithLabelValues(name).Set(float64(at.Unix()))
	}
}
