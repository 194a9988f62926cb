package proxy

import (
	"bytes"
	"errors"
	"io"
	"net"
	"sync/atomic"
	"syscall"

	"github.com/valyala/fasthttp"

	"github.com/sluicegate/sluice/gate/origin"
)

// The visitor's side is read twice: by fasthttp, which takes much that two parties
// may understand in two ways, and before it by what is here, which takes nothing of
// the kind. A visitor's connection is cut into requests by the strict reading, and
// fasthttp is handed one at a time: the header as a whole, then the body, and
// nothing of what follows before it asks for the next request. A request that the
// strict reading refuses never reaches it: it reads nonsense in its place, and
// answers 400.

// Strict makes a visitor's connection strict. The server has to find it in the
// connection it is given, by NetConn where something else wraps it. It learns of a
// header only once that is whole, and of a request with a short body even later; so begun,
// where it is not nil, is called when the first request has begun, and when a later one
// has whose header is not whole: to move the deadline.
func Strict(nc net.Conn, begun func(first bool)) net.Conn {
	return &strictConn{Conn: nc, begun: begun}
}

// strictConn is a visitor's connection. One goroutine at a time reads from it.
type strictConn struct {
	net.Conn
	begun func(first bool)

	phase    phase
	again    bool // a request came before
	head     requestHead
	left     int // of a body with a length
	chunks   chunks
	held     []byte // what came behind a request; held[at:] is still to be read
	at       int
	fromHeld bool // the last bytes received were held

	refused error       // why this request, the last one, is no request
	over    []byte      // of one that is too long: the lines that are whole
	lingers atomic.Bool // to be closed with patience
}

// phase is what comes next.
type phase uint8

const (
	inHead phase = iota
	inSized
	inChunks
	inRaw // whatever comes: a tunnel, or the rest of what nobody reads
	ended // nothing any more
)

// nonsense is what the server reads instead of a request that is refused.
const nonsense = "\x00\r\n\r\n"

var (
	errBlankLines = refusal("more than one empty line before the request line")
	errHeadLong   = refusal("request line and header are too long")
)

func (v *strictConn) Read(p []byte) (int, error) {
	switch v.phase {
	case inHead:
		return v.readHead(p)
	case inSized:
		n, err := v.receive(p[:min(len(p), v.left)])
		if v.left -= n; v.left == 0 {
			v.phase = inHead
		}
		return n, cut(err)
	case inChunks:
		n, err := v.receive(p)
		used := v.readChunks(p[:n])
		if v.refused != nil {
			err = v.refused
		}
		return used, cut(err)
	case inRaw:
		return v.receive(p)
	}
	return 0, v.refused
}

// cut tells the end of the connection from the end of a request.
func cut(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}

func (v *strictConn) receive(p []byte) (int, error) {
	if v.fromHeld = v.at < len(v.held); v.fromHeld {
		n := copy(p, v.held[v.at:])
		v.at += n
		return n, nil
	}
	v.held, v.at = nil, 0
	return v.Conn.Read(p)
}

// hold keeps the end of what was received last for the next request.
func (v *strictConn) hold(b []byte) {
	switch {
	case len(b) == 0:
	case v.fromHeld:
		v.at -= len(b)
	default:
		v.held, v.at = append([]byte(nil), b...), 0
	}
}

// readHead reads until a header is whole, with what of its body came with it. An
// empty line before it is dropped (RFC 9112, 2.2): some clients send one behind a
// form.
func (v *strictConn) readHead(p []byte) (n int, err error) {
	v.head = requestHead{lines: v.head.lines[:0], meaning: meaning{length: lengthNone}}
	for blank, told := false, false; ; {
		var m int
		m, err = v.receive(p[n:])
		n += m
		for n > 0 && (p[0] == '\n' || p[0] == '\r' && (n > 1 || blank)) {
			if blank || p[0] == '\n' || p[1] != '\n' {
				return v.refuse(p, errBlankLines), nil
			}
			blank = true
			n = copy(p, p[2:n])
		}
		if n > 0 && !v.again && !told && v.begun != nil {
			told = true
			v.begun(true)
		}
		if n > 0 && p[0] != '\r' {
			done, refused := v.head.read(p[:n])
			switch {
			case refused != nil:
				if refused == errFields {
					v.over = bytes.Clone(p[:v.head.at])
				}
				return v.refuse(p, refused), nil
			case done:
				return v.begin(p, n), nil
			case n == len(p):
				v.over = bytes.Clone(p[:v.head.at])
				v.end(errHeadLong) // the server finds out by itself
				return n, nil
			case v.again && !told && v.begun != nil:
				told = true
				v.begun(false)
			}
		}
		if err != nil {
			if n > 0 {
				err = cut(err)
			}
			return n, err
		}
	}
}

// begin hands out the header at the front of p, and what came of the body.
func (v *strictConn) begin(p []byte, n int) int {
	v.again = true
	end := v.head.at
	if v.head.authority > 0 {
		saved := v.head.toOriginForm(p[:n])
		end, n = end-saved, n-saved
	}
	came, used := p[end:n], 0
	switch {
	case v.head.length > 0:
		used = min(len(came), v.head.length)
		if v.left = v.head.length - used; v.left > 0 {
			v.phase = inSized
		}
		v.hold(came[used:])
	case v.head.length == lengthChunked:
		v.phase, v.chunks = inChunks, chunks{}
		used = v.readChunks(came)
	default:
		v.hold(came)
	}
	return end + used
}

// readChunks follows the chunks in b, and tells how much of it is the body's.
func (v *strictConn) readChunks(b []byte) int {
	used, done, err := v.chunks.feed(b)
	switch {
	case err != nil:
		v.end(refusal(err.Error()))
	case done:
		v.phase = inHead
		v.hold(b[used:])
	}
	return used
}

// end lets nothing more be read.
func (v *strictConn) end(why error) {
	v.phase, v.refused = ended, why
	v.lingers.Store(true)
}

func (v *strictConn) refuse(p []byte, why error) int {
	v.end(why)
	return copy(p, nonsense)
}

// raw hands out whatever comes from now on.
func (v *strictConn) raw() {
	v.phase = inRaw
	v.lingers.Store(false)
}

// whole reports whether the body has been received to its end.
func (v *strictConn) whole() bool { return v.phase == inHead }

// agrees compares how fasthttp has read the request with the strict reading.
func (v *strictConn) agrees(h *fasthttp.RequestHeader) error {
	if v.refused != nil {
		return v.refused
	}
	fields := len(h.RawHeaders())
	if fields == 0 {
		fields = len("\r\n")
	}
	length := h.ContentLength()
	if length == 0 && v.head.length == lengthNone {
		length = lengthNone // fasthttp does so for methods that usually have a body
	}
	if len(h.Method())+len(h.RequestURI())+len("  HTTP/1.1\r\n")+fields != v.head.at || length != v.head.length {
		return errTwoWays
	}
	return v.head.expectation()
}

// Close closes a connection whose last request was refused as closeAfter does: the
// visitor may still be sending.
func (v *strictConn) Close() error {
	if !v.lingers.Load() || lingering.Add(1) > maxLingering {
		if v.lingers.Load() {
			lingering.Add(-1)
		}
		return v.Conn.Close()
	}
	if v.CloseWrite() != nil {
		lingering.Add(-1)
		return v.Conn.Close()
	}
	go func() {
		defer lingering.Add(-1)
		drain(v.Conn, v.Conn)
		v.Conn.Close()
	}()
	return nil
}

// NetConn returns the connection beneath.
func (v *strictConn) NetConn() net.Conn { return v.Conn }

// CloseWrite ends what is sent.
func (v *strictConn) CloseWrite() error {
	if c, ok := v.Conn.(interface{ CloseWrite() error }); ok {
		return c.CloseWrite()
	}
	return errors.ErrUnsupported
}

// SyscallConn is the socket's.
func (v *strictConn) SyscallConn() (syscall.RawConn, error) {
	if c, ok := origin.Bare(v.Conn).(syscall.Conn); ok {
		return c.SyscallConn()
	}
	return nil, errors.ErrUnsupported
}

// strictOf finds the strict connection in what the server calls one, nil when
// there is none.
func strictOf(nc net.Conn) *strictConn {
	for {
		switch c := nc.(type) {
		case *strictConn:
			return c
		case interface{ NetConn() net.Conn }:
			nc = c.NetConn()
		default:
			return nil
		}
	}
}
