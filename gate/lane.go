package gate

import (
	"bytes"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"runtime/debug"
	"strconv"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/valyala/fasthttp"

	"github.com/sluicegate/sluice/gate/door"
	"github.com/sluicegate/sluice/gate/origin"
	"github.com/sluicegate/sluice/gate/peer"
	"github.com/sluicegate/sluice/gate/proxy"
	"github.com/sluicegate/sluice/queue"
)

// In a sale nearly every request is a poll, and every poll is alike: a GET without
// a body, in one piece, answered by three hundred bytes. For these there is a lane:
// they are answered straight from what was read of the connection, and the server
// never sees them. It costs half of what reading, dressing and writing them as any
// request does. The lane takes nothing that is unusual in any way: such a request
// goes to the server as if there were no lane, and is answered alike.

// laneConn is a visitor's connection whose polls are answered in the lane.
type laneConn struct {
	net.Conn
	server  *Server
	door    *door.Conn
	overTLS bool // to us, or to the load balancer that passes its bytes on

	// between says that the server waits for a request and holds no byte of it, so
	// that what is read next begins one. Only the goroutine that serves the
	// connection looks at it.
	between bool
	waits   atomic.Bool  // for a request, until the server has begun with it
	state   atomic.Int32 // laneQuiet and so on

	known knownToken
	page  *[]byte // the body that is being written, nil for none
}

const (
	laneQuiet   = iota
	laneBusy    // a poll is being answered
	laneClosing // and then the connection closes
)

// laneTLSConn is one over TLS, as the server asks for it.
type laneTLSConn struct {
	*laneConn
	tls tlsConn
}

// tlsConn is what the server asks of a connection over TLS.
type tlsConn interface {
	Handshake() error
	ConnectionState() tls.ConnectionState
}

func (c laneTLSConn) Handshake() error                     { return c.tls.Handshake() }
func (c laneTLSConn) ConnectionState() tls.ConnectionState { return c.tls.ConnectionState() }

// laneListener gives every connection its lane.
type laneListener struct {
	net.Listener
	server *Server
}

func (l laneListener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	through := door.Of(conn)
	if t, ok := conn.(tlsConn); ok {
		return laneTLSConn{&laneConn{Conn: l.strict(conn, through), server: l.server, door: through, overTLS: true}, t}, nil
	}
	return &laneConn{Conn: l.strict(&lateConn{Conn: conn}, through), server: l.server, door: through, overTLS: peer.Encrypted(conn)}, nil
}

// strict makes a connection that hands out requests as a whole; the door is told, and
// the deadline moved, when the first byte of one has come.
func (l laneListener) strict(conn net.Conn, through *door.Conn) net.Conn {
	return proxy.Strict(conn, func(first bool) {
		if first { // whose time began as the connection came
			through.Came()
			return
		}
		through.Reading()
		_ = conn.SetReadDeadline(time.Now().Add(l.server.http.ReadTimeout))
	})
}

// lane returns the lane of a connection that the server talks of, nil for none.
func laneOf(conn net.Conn) *laneConn {
	switch c := conn.(type) {
	case *laneConn:
		return c
	case laneTLSConn:
		return c.laneConn
	}
	return nil
}

// mark is told that the server has begun with a request, or is idle again. One that was
// hijacked is another goroutine's already.
func (c *laneConn) mark(state fasthttp.ConnState) {
	c.between = state == fasthttp.StateIdle
	c.written()
	if state == fasthttp.StateActive {
		c.waits.Store(false)
	}
}

// written says that the answer has left.
func (c *laneConn) written() {
	if c.page != nil {
		pageBuffers.Put(c.page)
		c.page = nil
	}
}

// Read reads for the server, and answers polls on the way.
func (c *laneConn) Read(p []byte) (int, error) {
	if !c.between {
		return c.Conn.Read(p)
	}
	c.waits.Store(true)
	for {
		n, err := c.Conn.Read(p)
		if n == 0 || err != nil {
			c.waits.Store(false)
			return n, err
		}
		taken, err := c.server.answerInLane(c, p[:n])
		if err != nil {
			c.waits.Store(false)
			return 0, err
		}
		if !taken {
			return n, nil
		}
	}
}

// Close waits for a poll that is being answered. A server that stops closes whatever
// waits for a request, though one may have arrived: that is left to the door, which looks.
func (c *laneConn) Close() error {
	if c.door != nil && c.waits.Load() {
		return nil
	}
	if c.state.CompareAndSwap(laneBusy, laneClosing) {
		return nil
	}
	return c.Conn.Close()
}

// CloseWrite ends what is sent.
func (c *laneConn) CloseWrite() error { return closeWrite(c.Conn) }

// NetConn returns the connection itself.
func (c *laneConn) NetConn() net.Conn { return c.Conn }

// SyscallConn is the socket.
func (c *laneConn) SyscallConn() (syscall.RawConn, error) {
	if sc, ok := origin.Bare(c.Conn).(syscall.Conn); ok {
		return sc.SyscallConn()
	}
	return nil, syscall.EINVAL
}

var laneStart = []byte("GET /.sluice/rooms/")

// answerInLane answers what was read of a connection if it is a poll of somebody
// who waits and if it is complete. An error ends the connection.
func (s *Server) answerInLane(c *laneConn, read []byte) (taken bool, err error) {
	rest, ok := bytes.CutPrefix(read, laneStart)
	if !ok || s.farewell.Load() != nil || c.door.Level() > door.Calm || !c.state.CompareAndSwap(laneQuiet, laneBusy) {
		return false, nil
	}
	x := exchanges.Get().(*exchange)
	defer func() {
		if p := recover(); p != nil {
			s.gate.log.Error("a poll ended in a panic", "panic", fmt.Sprint(p), "stack", string(debug.Stack()))
			err = io.ErrUnexpectedEOF
		}
		x.release()
		if !c.state.CompareAndSwap(laneBusy, laneQuiet) {
			_ = c.Conn.Close()
			err = io.EOF
		}
	}()
	x.gate, x.site, x.conn, x.lane, x.door = s.gate, s.gate.site.Load(), c, c, c.door
	if x.site.byAddr != nil || !x.readPoll(rest) {
		return false, nil
	}
	if s.gate.certs != nil || x.site.https.strict != "" {
		x.https = x.usesHTTPS(remoteAddr(c.RemoteAddr()))
		if !x.https && x.site.https.redirect != 0 && s.gate.certs != nil {
			return false, nil // it is sent on to https
		}
	}
	x.started = time.Now()
	x.takeInHand()
	if !x.hand.isTicket() {
		return false, nil
	}
	a := x.poll()
	x.outcome = outcomeOf(&a)
	if x.hand.give {
		x.https = x.usesHTTPS(remoteAddr(c.RemoteAddr()))
	}
	x.writePoll(&a, c.state.Load() == laneClosing)
	took := time.Since(x.started)
	now := x.started.Add(took)
	_ = c.SetWriteDeadline(now.Add(s.http.WriteTimeout))
	_ = c.SetReadDeadline(now.Add(s.http.IdleTimeout))
	_, err = c.Conn.Write(x.out)
	c.door.Idle()
	x.count(fasthttp.StatusOK, took)
	return true, err
}

// readPoll reads a request from behind laneStart on, and tells whether the lane may
// answer it.
func (x *exchange) readPoll(rest []byte) bool {
	end := bytes.IndexByte(rest, ' ')
	if end < 0 {
		return false
	}
	lines, ok := bytes.CutPrefix(rest[end:], []byte(" HTTP/1.1\r\n"))
	if !ok || len(x.site.origins) > 0 || !x.head.ReadSimple(x.lane.Conn, lines) {
		return false
	}
	if x.room = x.site.byName[string(rest[:end])]; x.room == nil {
		return false
	}
	if x.head.Len() > x.site.limits.Fields {
		return false
	}
	x.fields.takeAll(&x.head)
	return true
}

// writePoll writes the answer as the server would.
func (x *exchange) writePoll(a *queue.Answer, last bool) {
	token, value := x.token()
	body := x.room.appendState(x.list[:0], a, "")
	x.list = body

	b := append(x.out[:0], "HTTP/1.1 200 OK\r\nDate: "...)
	b = append(b, httpDate(x.started)...)
	if x.isStrict() {
		b = append(append(b, "\r\n"...), x.site.https.strict...)
	}
	b = append(b, "\r\nContent-Type: application/json\r\nContent-Length: "...)
	b = strconv.AppendInt(b, int64(len(body)), 10)
	b = append(b, "\r\nSluice-State: "...)
	b = append(b, a.State.String()...)
	b = append(b, "\r\nSluice-Room: "...)
	b = append(b, x.room.name...)
	b = append(b, "\r\nRetry-After: "...)
	b = appendRetryAfter(b, a)
	b = append(b, "\r\nCache-Control: no-store\r\nCDN-Cache-Control: no-store\r\n"...)
	if token != "" {
		b = append(b, token...)
		b = append(b, ": "...)
		b = append(b, value...)
		b = append(b, "\r\n"...)
	}
	if last {
		b = append(b, "Connection: close\r\n"...)
	}
	b = append(b, "\r\n"...)
	x.out = append(b, body...)
}
