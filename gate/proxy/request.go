package proxy

import (
	"bytes"
	"net/netip"
	"time"

	"github.com/valyala/fasthttp"
)

// Request is what the gate knows about a request beyond its bytes.
type Request struct {
	// Now is when the request is forwarded; zero: by the clock.
	Now time.Time
	// Client is the address believed, after trusted proxies were walked.
	Client netip.Addr
	// ForwardedFor is the X-Forwarded-For of a trusted peer, to which the
	// peer's own address is appended. Nil says that the peer is not trusted:
	// whatever it sent about addresses, schemes and hosts is replaced.
	ForwardedFor []byte
	// Proto is "http" or "https", as the visitor used it.
	Proto string
	// ID goes to the origin as X-Request-Id, instead of what the visitor sent; empty
	// sends none. It is the gate's to choose, who writes it to the log too.
	ID []byte
	// Via has the gate named in Via; Trace gives a request that brings no
	// well-formed traceparent one.
	Via, Trace bool
	MaxBody    int64 // bytes of the request's body; 0 is no limit
	// Room and Visitor go to the origin as Sluice-Room and Sluice-Visitor;
	// empty ones are left out.
	Room, Visitor string
	// Common says that the visitor has shown no pass: some of the connections to
	// the origin are kept for those who have.
	Common bool
	// Use, when set, is called about every ten seconds while a body, a stream or
	// a tunnel of this request runs: from other goroutines, after Forward has
	// returned, and never at the same time. It gets Tag, so that one function
	// serves every request: one made for each would be garbage for each.
	Use func(Tag)
	Tag Tag
}

// Tag is what Use is called with, whatever the gate puts there.
type Tag [5]int64

// message is a request's header, taken apart.
type message struct {
	fields []field
	opt    options
	hostAt int // index of Host in fields, -1: none
	traces int // how many traceparents there are
	trace  int // the last one's index in fields
	upgrWS bool
	host   string // instead of the visitor's Host; "": that
	// trailers: the visitor reads them (TE: trailers).
	trailers bool
	// expects: the visitor sends the body when told to (Expect: 100-continue).
	expects bool
}

// Validate says whether the request line and header can mean one thing only.
// The gate calls it before anything else looks at the request and answers 400
// and closes on an error, which wraps ErrRequest; Forward checks again.
//
// fasthttp takes bare LF, folded lines, blanks in names, HTTP/9.9, CONNECT, a
// user in Host, and a length beside a transfer coding. On a Strict connection they
// never reach it, and what is left to do is to compare its reading with the strict
// one; elsewhere the raw lines are read again here.
func Validate(ctx *fasthttp.RequestCtx) error {
	if v := strictOf(ctx.Conn()); v != nil {
		return v.agrees(&ctx.Request.Header)
	}
	x := exchanges.Get().(*exchange)
	err := x.req.read(&ctx.Request.Header, nil)
	exchanges.Put(x)
	return err
}

// read takes a request apart, as the strict reading of its connection has done where
// there is one.
func (m *message) read(h *fasthttp.RequestHeader, v *strictConn) error {
	*m = message{fields: m.fields[:0], hostAt: -1}
	if v != nil {
		m.fields = append(m.fields, v.head.lines...)
		m.expects = v.head.expects
		m.sort(h.RawHeaders())
		return v.agrees(h)
	}

	method, proto, target := h.Method(), h.Protocol(), h.RequestURI()
	means := meaning{http10: string(proto) == "HTTP/1.0", length: lengthNone}
	if !means.http10 && string(proto) != "HTTP/1.1" {
		return errVersion
	}
	for _, c := range method {
		if !token[c] {
			return errMethod
		}
	}
	if string(method) == "CONNECT" {
		return errConnect
	}
	if len(target) == 0 || target[0] != '/' && !(string(target) == "*" && string(method) == "OPTIONS") {
		return errForm
	}
	if err := checkTarget(target); err != nil {
		return err
	}

	raw := h.RawHeaders()
	var err error
	if len(raw) > 0 {
		if m.fields, err = scan(m.fields, raw, 0, true); err != nil {
			return refusal(err.Error())
		}
	}
	for i := range m.fields {
		f := &m.fields[i]
		value := raw[f.value:f.end]
		if err := means.take(f.kind, value); err != nil {
			return err
		}
	}
	if err := means.check(); err != nil {
		return err
	}
	m.expects = means.expects
	m.sort(raw)
	// fasthttp turns "none" into 0 for methods that usually have a body.
	if got := h.ContentLength(); got != means.length && !(means.length == lengthNone && got == 0) {
		return errTwoWays
	}
	if !bytes.Equal(means.host, h.Host()) {
		return errTwoWays
	}
	return means.expectation()
}

// sort notes what the fields say that Forward has to know.
func (m *message) sort(raw []byte) {
	for i := range m.fields {
		f := &m.fields[i]
		switch f.kind {
		case connection:
			m.opt.read(raw[f.value:f.end])
		case upgrade:
			m.upgrWS = EqualFold(raw[f.value:f.end], "websocket")
		case host:
			m.hostAt = i
		case te:
			m.trailers = m.trailers || has(raw[f.value:f.end], "trailers")
		case traceParent:
			m.traces++
			m.trace = i
		}
	}
}

// number reads a length: digits only, below 2^62.
func number(b []byte) (int, bool) {
	if len(b) == 0 || len(b) > 18 {
		return 0, false
	}
	n := 0
	for _, c := range b {
		if c < '0' || c > '9' {
			return 0, false
		}
		n = n*10 + int(c-'0')
	}
	return n, true
}

// appendHead appends what the origin gets: the visitor's line and fields in
// their order, less what is for us or for this hop, and ours after them.
func (m *message) appendHead(b []byte, ctx *fasthttp.RequestCtx, r *Request, originHost string, tunnel bool) []byte {
	h := &ctx.Request.Header
	raw := h.RawHeaders()
	b = append(b, h.Method()...)
	b = append(b, ' ')
	b = append(b, h.RequestURI()...)
	b = append(b, " HTTP/1.1\r\n"...)
	if m.hostAt < 0 {
		b = line(b, "Host", originHost)
	}
	trusted := r.ForwardedFor != nil
	traced := m.traces == 1 && isTraceParent(raw[m.fields[m.trace].value:m.fields[m.trace].end])
	var toldHost, toldPort []byte // by a trusted peer
	for i := range m.fields {
		f := &m.fields[i]
		switch f.kind {
		case hop, te, connection, upgrade, http2, encoding, expect, session, ours, elsewhere, forwardedFor, requestID:
			continue
		case trailer:
			if h.ContentLength() != lengthChunked {
				continue
			}
		case forwardedHost:
			toldHost = raw[f.value:f.end]
			continue
		case forwardedPort:
			toldPort = raw[f.value:f.end]
			continue
		case traceParent, traceState:
			if !traced {
				continue
			}
		case forwarded:
			// The scheme is the gate's to say, and nobody's with an underscore.
			name := raw[f.name:f.colon]
			if !trusted || is(name, "x-forwarded-proto") || bytes.IndexByte(name, '_') >= 0 {
				continue
			}
		case cookie:
			b = appendCookie(b, raw[f.name:f.colon], raw[f.value:f.end])
			continue
		case host:
			if m.host != "" {
				b = line(b, "Host", m.host)
				continue
			}
		case length: // never, whatever Connection names
		default:
			if m.opt.names && removes(m.fields, raw, raw[f.name:f.colon]) {
				continue
			}
		}
		b = append(b, raw[f.name:f.colon]...)
		b = append(b, ": "...)
		b = append(b, raw[f.value:f.end]...)
		b = append(b, "\r\n"...)
	}
	if h.ContentLength() == -1 {
		b = append(b, "Transfer-Encoding: chunked\r\n"...)
	}
	if m.holdsBack(ctx) {
		b = append(b, "Expect: 100-continue\r\n"...)
	}
	switch {
	case tunnel:
		b = append(b, "Connection: Upgrade\r\nUpgrade: websocket\r\n"...)
	case m.trailers && h.IsHTTP11():
		b = append(b, "Connection: TE\r\nTE: trailers\r\n"...)
	}
	if !trusted {
		toldHost, toldPort = nil, nil
	}
	b = appendForwarded(b, ctx, r, toldHost, toldPort)
	if r.Trace && !traced {
		b = appendTraceParent(b, r.ID)
	}
	if r.Room != "" {
		b = line(b, "Sluice-Room", r.Room)
	}
	if r.Visitor != "" {
		b = line(b, "Sluice-Visitor", r.Visitor)
	}
	return append(b, "\r\n"...)
}

func line(b []byte, name, value string) []byte {
	b = append(b, name...)
	b = append(b, ": "...)
	b = append(b, value...)
	return append(b, "\r\n"...)
}

// appendCookie appends a Cookie line without the cookies that are ours. What
// stays, stays byte for byte; a line with nothing left goes.
func appendCookie(b, name, value []byte) []byte {
	start := len(b)
	b = append(b, name...)
	b = append(b, ": "...)
	from := len(b)
	for rest := value; len(rest) > 0; {
		pair := rest
		if i := bytes.IndexByte(rest, ';'); i >= 0 {
			pair = rest[:i+1] // with its semicolon
		}
		rest = rest[len(pair):]
		if !isOurs(pair) {
			if len(b) == from {
				pair = trimLeft(pair) // what stood before it is gone
			}
			b = append(b, pair...)
		}
	}
	if n := len(value); n > 0 && value[n-1] != ';' {
		// The last one may be gone and have left the separator before it.
		b = bytes.TrimRight(b, "; \t")
		if len(b) < from {
			return b[:start]
		}
	}
	if len(bytes.Trim(b[from:], "; \t")) == 0 {
		return b[:start]
	}
	return append(b, "\r\n"...)
}

func trimLeft(b []byte) []byte {
	for len(b) > 0 && (b[0] == ' ' || b[0] == '\t') {
		b = b[1:]
	}
	return b
}

func isOurs(pair []byte) bool {
	pair = trimLeft(pair)
	return len(pair) >= 7 && EqualFold(pair[:6], "sluice") && (pair[6] == '-' || pair[6] == '_')
}
