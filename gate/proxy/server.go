package proxy

import (
	"bufio"
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/valyala/fasthttp"
)

const (
	// requestHeader is the most that a request line and header may have where the
	// server does not say.
	requestHeader = 16 << 10
	// answerBuffer holds a waiting page with its header.
	answerBuffer = 16 << 10

	// prefetched is how much of a body with a length fasthttp has read before it
	// calls the handler. Reading that much never waits.
	prefetched = 8 << 10
)

// ConfigureServer sets what the proxy needs of the server that calls it, and
// what keeps fasthttp from inventing things. Timeouts, a logger and ReadBufferSize,
// which a header has to fit into, are set only where there are none, and so is ErrorHandler. The gate sets Concurrency, Handler
// and ExpectHandler. The latter does what Handler would, and returns 100 where
// Answer.Continue asks for it, else the status of the answer.
func ConfigureServer(s *fasthttp.Server) {
	// Names as they were sent, and no field that nobody sent.
	s.DisableHeaderNamesNormalizing = true
	s.NoDefaultServerHeader = true
	s.NoDefaultDate = true
	s.NoDefaultContentType = true
	s.Name = ""

	// Bodies stream, multipart ones too.
	s.StreamRequestBody = true
	s.DisablePreParseMultipartForm = true
	if s.ReadBufferSize == 0 {
		s.ReadBufferSize = requestHeader
	}

	// A waiting page leaves in one write.
	if s.WriteBufferSize < answerBuffer {
		s.WriteBufferSize = answerBuffer
	}

	// No cookies in logs.
	s.SecureErrorLogMessage = true
	if s.Logger == nil {
		s.Logger = silent{}
	}

	// Who holds a body back is told to go on by fasthttp, before the handler is
	// called, unless the gate's ExpectHandler says otherwise. A refusal closes, as
	// the body may be under way; with ContinueHandler it would be read as the next
	// request.
	s.HeaderReceived = spellExpect
	s.ContinueHandler = nil
	s.KeepHijackedConns = false

	if s.ErrorHandler == nil {
		s.ErrorHandler = refused
	}

	// ReadTimeout is for the header and what is read ahead of a body; bodies move
	// their own deadlines, in both directions.
	for _, t := range []*time.Duration{&s.ReadTimeout, &s.WriteTimeout} {
		if *t == 0 {
			*t = 30 * time.Second
		}
	}
	if s.IdleTimeout == 0 {
		s.IdleTimeout = 75 * time.Second
	}
	// ReduceMemoryUsage stays as it is: with StreamRequestBody it frees the
	// write buffer only, and costs a lookup for every request.
}

// refused answers what fasthttp could not read. Its own handler resets the
// response, and with that the settings against invented fields.
func refused(ctx *fasthttp.RequestCtx, err error) {
	status := fasthttp.StatusBadRequest
	var small *fasthttp.ErrSmallBuffer
	switch {
	case errors.As(err, &small):
		status = fasthttp.StatusRequestHeaderFieldsTooLarge
	case isTimeout(err):
		status = fasthttp.StatusRequestTimeout
	}
	ctx.SetStatusCode(status)
	ctx.SetContentType("text/plain; charset=utf-8")
	ctx.SetBodyString(fasthttp.StatusMessage(status))
}

type silent struct{}

func (silent) Printf(string, ...any) {}

// CloseUnread is called with every answer of the gate's own to a request that
// may have a body: what was not read of it would be parsed as the next request.
// A short body is read, as it is in memory already; with any other the
// connection closes after the answer. It is harmless without a body and after a
// Forward that failed. It may be called before or after the answer is made.
func CloseUnread(ctx *fasthttp.RequestCtx) {
	body, n := ctx.RequestBodyStream(), ctx.Request.Header.ContentLength()
	if n == 0 || n < -1 {
		return
	}
	if body == nil { // held back, and some send it without being told
		closeAfter(ctx)
		return
	}
	if n > 0 && n <= prefetched {
		if _, err := io.Copy(io.Discard, body); err == nil {
			return
		}
	}
	closeAfter(ctx)
}

// lingering bounds the goroutines that closeAfter leaves behind.
var lingering atomic.Int32

const (
	maxLingering = 1024
	lingerTime   = 5 * time.Second
	lingerBytes  = 64 << 20 // some look for an answer only now and then while they send
)

// closeAfter makes the answer the connection's last one. A socket that is
// closed while the visitor still sends is reset, and the reset may overtake the
// answer: so the answer is written, our side closed, and what comes is thrown
// away for a moment.
func closeAfter(ctx *fasthttp.RequestCtx) {
	ctx.SetConnectionClose()
	if ctx.Hijacked() || ctx.Conn() == nil {
		return
	}
	if lingering.Load() >= maxLingering {
		return
	}
	ctx.HijackSetNoResponse(true)
	ctx.Hijack(func(c net.Conn) {
		lingering.Add(1)
		defer lingering.Add(-1)
		linger(ctx, c)
	})
}

var lingerWriters = sync.Pool{New: func() any { return bufio.NewWriter(nil) }}

func linger(ctx *fasthttp.RequestCtx, hijacked net.Conn) {
	nc := ctx.Conn()
	nc.SetWriteDeadline(time.Now().Add(30 * time.Second))
	w := lingerWriters.Get().(*bufio.Writer)
	w.Reset(nc)
	err := ctx.Response.Write(w)
	if err == nil {
		err = w.Flush()
	}
	w.Reset(nil)
	lingerWriters.Put(w)
	half, ok := nc.(interface{ CloseWrite() error })
	if err != nil || !ok || half.CloseWrite() != nil {
		return
	}
	if v := strictOf(nc); v != nil {
		v.raw()
	}
	drain(nc, hijacked)
}

// drain throws away for a moment what comes.
func drain(nc net.Conn, from io.Reader) {
	nc.SetReadDeadline(time.Now().Add(lingerTime))
	io.CopyN(io.Discard, from, lingerBytes)
}

// SetDate says when an answer of the gate's own was made, with the date as HTTP
// writes it, and adds field lines as they are, which cost less so than one by one.
// The status must have been set. fasthttp takes no Date where it is told to invent
// none, so that the origin's goes through as it is. buf is used and returned.
func SetDate(ctx *fasthttp.RequestCtx, date []byte, lines string, buf []byte) []byte {
	h := &ctx.Response.Header
	buf = append(buf[:0], fasthttp.StatusMessage(h.StatusCode())...)
	buf = append(buf, "\r\nDate: "...)
	buf = append(buf, date...)
	if lines != "" {
		buf = append(buf, "\r\n"...)
		buf = append(buf, lines...)
	}
	setReason(h, buf)
	return buf
}

// setReason puts whole lines behind the status code, the reason phrase first. They
// must be known to be well-formed: fasthttp would make blanks of the line ends, so
// they are put in after it has looked; looking for them in zeros takes no time.
func setReason(h *fasthttp.ResponseHeader, lines []byte) {
	if len(lines) <= len(zeroes) {
		h.SetStatusMessage(zeroes[:len(lines)])
	} else {
		h.SetStatusMessage(lines)
	}
	copy(h.StatusMessage(), lines)
}
