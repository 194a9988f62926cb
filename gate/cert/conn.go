package cert

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"os"
	"syscall"
	"time"

	"github.com/sluicegate/sluice/metrics"
)

// handshakeTime is how long a visitor may take to agree with us.
const handshakeTime = 10 * time.Second

// Listener returns a listener whose connections are TLS. Handshakes are made when the
// server asks for them, each in its own goroutine: who is slow keeps nobody up.
func (k *Keeper) Listener(l net.Listener) net.Listener { return listener{l, k} }

type listener struct {
	net.Listener
	keeper *Keeper
}

func (l listener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &Conn{Conn: tls.Server(c, l.keeper.conf.Load()), metrics: l.keeper.metrics}, nil
}

// Conn is a visitor's connection over TLS.
type Conn struct {
	*tls.Conn
	metrics *metrics.Metrics
	over    bool // there is nothing to read
}

// Handshake agrees with the visitor. After one that failed, or that was all the
// visitor wanted, the connection has ended for whoever reads it.
func (c *Conn) Handshake() error {
	_ = c.Conn.SetDeadline(time.Now().Add(handshakeTime))
	err := c.Conn.Handshake()
	_ = c.Conn.SetDeadline(time.Time{})
	if err != nil {
		c.over = true
		c.metrics.Handshake(kind(err))
		var plain tls.RecordHeaderError
		if errors.As(err, &plain) && plain.Conn != nil && looksLikeHTTP(plain.RecordHeader) {
			_ = plain.Conn.SetWriteDeadline(time.Now().Add(time.Second))
			_, _ = io.WriteString(plain.Conn, plainAnswer)
		}
		return err
	}
	if c.ConnectionState().NegotiatedProtocol == challengeProto {
		c.over = true
		return nil
	}
	c.metrics.Handshake(metrics.HandshakeOK)
	return nil
}

// Read reads what the visitor sent.
func (c *Conn) Read(p []byte) (int, error) {
	if c.over {
		return 0, io.EOF
	}
	return c.Conn.Read(p)
}

const plainAnswer = "HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: 31\r\n\r\n" +
	"this port speaks https, no http"

// looksLikeHTTP tells whether somebody speaks HTTP to a port for TLS.
func looksLikeHTTP(begin [5]byte) bool {
	switch string(begin[:]) {
	case "GET /", "HEAD ", "POST ", "PUT /", "OPTIO":
		return true
	}
	return false
}

// kind says why there was no agreement.
func kind(err error) metrics.HandshakeResult {
	var header tls.RecordHeaderError
	var alert tls.AlertError
	var remote *net.OpError
	var network net.Error
	switch {
	case errors.Is(err, errNoCertificate):
		return metrics.HandshakeNoCertificate
	case errors.As(err, &header):
		return metrics.HandshakeNoTLS
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE), errors.Is(err, net.ErrClosed):
		return metrics.HandshakeClosed
	case errors.Is(err, os.ErrDeadlineExceeded), errors.As(err, &network) && network.Timeout():
		return metrics.HandshakeTimeout
	case errors.As(err, &alert), errors.As(err, &remote) && remote.Op == "remote error":
		return metrics.HandshakeRefused
	}
	return metrics.HandshakeIncompatible
}
