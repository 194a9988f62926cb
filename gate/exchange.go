package gate

import (
	"bytes"
	"fmt"
	"net"
	"net/netip"
	"runtime/debug"
	"sync"
	"time"

	"github.com/valyala/fasthttp"

	"github.com/sluicegate/sluice/gate/door"
	"github.com/sluicegate/sluice/gate/proxy"
	"github.com/sluicegate/sluice/metrics"
)

// exchange is one request and what is found out about it. It is used again, so
// nothing of it may be kept; its byte slices point into the request.
type exchange struct {
	gate *Gate
	site *site
	ctx  *fasthttp.RequestCtx // nil: the answer is given in the lane for polls
	conn net.Conn             // nil: none, in tests
	door *door.Conn           // beneath it; nil: none
	room *room                // nil: none
	hand hand

	method, host, target []byte
	fields               fields
	client               netip.Addr
	trusted              bool // the peer is a proxy that we believe
	https                bool

	outcome metrics.Outcome
	why     string // what is wrong with a request that is refused, "": nothing more is known
	own     bool   // the answer is the gate's, not the origin's
	unsent  bool   // the origin got nothing of the request
	request proxy.Request
	answer  proxy.Answer
	visitor [16]byte
	id      []byte // of requestID; nil before it was asked for
	made    [32]byte
	list    []byte // X-Forwarded-For of a trusted peer
	scratch []byte
	head    proxy.Head
	out     []byte
	lines   string // of the answer's header, beside those set one by one
	started time.Time
	lane    *laneConn   // conn, nil where that is none
	isAlive func() bool // whether the visitor is still there; made once
}

var exchanges = sync.Pool{New: func() any {
	x := new(exchange)
	// A visitor who went away while held should take no slot.
	x.isAlive = func() bool { return !proxy.Gone(x.conn) }
	return x
}}

func (x *exchange) begin(g *Gate, ctx *fasthttp.RequestCtx) {
	x.gate, x.site, x.ctx, x.conn = g, g.site.Load(), ctx, ctx.Conn()
	if x.lane = laneOf(x.conn); x.lane != nil {
		x.door = x.lane.door
	}
	x.started = time.Now()
	x.outcome = metrics.Refuse
}

// end counts the request and gives the exchange back.
func (x *exchange) end() {
	if x.own {
		x.out = proxy.SetDate(x.ctx, httpDate(x.started), x.lines, x.out)
	}
	x.beStrict()
	x.count(x.ctx.Response.StatusCode(), time.Since(x.started))
	x.release()
}

func (x *exchange) count(status int, took time.Duration) {
	x.gate.metrics.Request(x.outcome, status)
	x.gate.metrics.RequestDuration(x.outcome, took.Seconds())
}

// release gives the exchange back, with the buffers it keeps.
func (x *exchange) release() {
	*x = exchange{
		list: x.list[:0], scratch: x.scratch[:0], out: x.out[:0], head: x.head, answer: x.answer, isAlive: x.isAlive,
		fields: fields{cookies: x.fields.cookies[:0]},
	}
	exchanges.Put(x)
}

// recovered answers for a panic, if p is one.
func (x *exchange) recovered(p any) {
	if p == nil {
		return
	}
	x.gate.log.Error("a request ended in a panic", "panic", fmt.Sprint(p), "stack", string(debug.Stack()), "request_id", string(x.requestID()))
	x.answer.Abandon()
	x.broken()
}

// expected is where a request's exchange is kept from Expect to Handle.
type expected struct{}

// begun is what Expect began, nil when that was nothing.
func begun(ctx *fasthttp.RequestCtx) *exchange {
	x, ok := ctx.UserValue(expected{}).(*exchange)
	if ok {
		ctx.RemoveUserValue(expected{})
	}
	return x
}

// Close is called when the visitor was told to send the body and did not: Handle
// never comes to it.
func (x *exchange) Close() error {
	x.answer.Abandon()
	x.release()
	return nil
}

// read finds out what the request says, in one pass over its header.
func (x *exchange) read() {
	h := &x.ctx.Request.Header
	x.method, x.target = h.Method(), h.RequestURI()
	x.head.Read(x.ctx)
	x.fields.takeAll(&x.head)
	x.host = x.fields.host
	remote := remoteAddr(x.ctx.RemoteAddr())
	x.client, x.trusted = x.site.trust.Resolve(remote, x.fields.forwardedFor[:x.fields.forwarded])
	if x.trusted {
		x.door.FavourProxy()
	}
	x.https = x.usesHTTPS(remote)
}

// usesHTTPS tells whether the visitor does, as far as the hop before us shows.
func (x *exchange) usesHTTPS(remote netip.Addr) bool {
	return x.site.secure || x.site.trust.HTTPS(remote, x.fields.forwardedProto, x.lane != nil && x.lane.overTLS)
}

// overLimits is the status for a request that measures more than it may, else 0.
func (x *exchange) overLimits() int {
	switch limits := &x.site.limits; {
	case len(x.target) > int(limits.Target):
		return fasthttp.StatusRequestURITooLong
	case x.fields.count > limits.Fields:
		return fasthttp.StatusRequestHeaderFieldsTooLarge
	}
	return 0
}

// readOverlong reads what came of a header that is too long to be a request: enough
// to answer in the visitor's language, as browsers send cookies last. It returns the
// status to answer with.
func (x *exchange) readOverlong(line, lines []byte) int {
	if len(line) == 0 {
		return fasthttp.StatusRequestURITooLong
	}
	x.method, _, _ = bytes.Cut(line, []byte(" "))
	x.fields.read(lines)
	x.ctx.Response.SkipBody = string(x.method) == "HEAD"
	return fasthttp.StatusRequestHeaderFieldsTooLarge
}

// remoteAddr is who the connection is from. Whoever comes by a unix socket is on
// this machine.
func remoteAddr(a net.Addr) netip.Addr {
	switch a := a.(type) {
	case *net.TCPAddr:
		return a.AddrPort().Addr().Unmap()
	case *net.UnixAddr:
		return loopback
	}
	return netip.Addr{}
}

var loopback = netip.AddrFrom4([4]byte{127, 0, 0, 1})

func (x *exchange) isGet() bool { return string(x.method) == "GET" || string(x.method) == "HEAD" }

// isNavigation tells whether a person looks at the answer. Browsers say so; of
// others, whoever wants HTML is taken for one, unless a script says that it asks.
func (x *exchange) isNavigation() bool {
	f := &x.fields
	if f.fetchMode != nil {
		return string(f.fetchMode) == "navigate"
	}
	form := string(x.method) == "POST" && isForm(f.contentType)
	return (string(x.method) == "GET" || form) && f.wantsHTML() && !f.requestedWith
}

func isForm(contentType []byte) bool {
	kind, _, _ := bytes.Cut(contentType, []byte(";"))
	kind = bytes.TrimSpace(kind)
	for _, form := range [...]string{"application/x-www-form-urlencoded", "multipart/form-data", "text/plain"} {
		if proxy.EqualFold(kind, form) {
			return true
		}
	}
	return false
}

// isPrefetch tells whether the browser asks before anybody wanted to.
func (x *exchange) isPrefetch() bool { return x.fields.prefetch }

// isPreflight tells whether a browser asks for leave to send the real request.
func (x *exchange) isPreflight() bool {
	return string(x.method) == "OPTIONS" && x.fields.origin != nil && x.fields.accessMethod != nil
}

// cookiePrefix begins the names of our cookies; a room's name follows.
var cookiePrefix = []byte("sluice-")

// fields are the header fields that the gate looks at.
type fields struct {
	host, token, fetchMode, contentType, acceptLanguage []byte
	origin, accessMethod, accessHeaders                 []byte
	referer, forwardedProto, forwardedHost, requestID   []byte
	accept, acceptEncoding                              []byte
	cookies                                             [][]byte // the lines that may hold one of ours
	forwardedFor                                        [8][]byte
	forwarded, count                                    int
	requestedWith, prefetch                             bool
	acceptsHTML                                         bool // says another line of Accept
	hasToken                                            bool // also when it is empty: an app that has none yet
	override                                            bool // a framework may take another method for this one
}

// takeAll keeps the fields of a header.
func (f *fields) takeAll(h *proxy.Head) {
	for i := range h.Len() {
		f.take(h.Field(i))
	}
}

// read goes over raw header lines, as far as they came.
func (f *fields) read(raw []byte) {
	for len(raw) > 0 {
		var line []byte
		if end := bytes.IndexByte(raw, '\n'); end >= 0 {
			line, raw = raw[:end], raw[end+1:]
		} else {
			line, raw = raw, nil
		}
		colon := bytes.IndexByte(line, ':')
		if colon <= 0 {
			continue
		}
		f.take(line[:colon], bytes.Trim(line[colon+1:], " \t\r"))
	}
}

// take keeps one field. The length of the name is looked at first: it tells most
// names apart.
func (f *fields) take(name, value []byte) {
	f.count++
	switch len(name) {
	case 4:
		if proxy.EqualFold(name, "host") {
			f.host = value
		}
	case 5:
		if proxy.EqualFold(name, "x-moz") {
			f.prefetch = f.prefetch || containsFold(value, "prefetch")
		}
	case 6:
		switch {
		case proxy.EqualFold(name, "cookie"):
			// A proxy that came by HTTP/2 may send a line for every cookie.
			if bytes.Contains(value, cookiePrefix) {
				f.cookies = append(f.cookies, value)
			}
		case proxy.EqualFold(name, "accept"):
			if f.accept != nil {
				f.acceptsHTML = f.acceptsHTML || containsFold(f.accept, "text/html")
			}
			f.accept = value
		case proxy.EqualFold(name, "origin"):
			f.origin = value
		}
	case 7:
		switch {
		case proxy.EqualFold(name, "referer"):
			f.referer = value
		case proxy.EqualFold(name, "purpose"):
			f.prefetch = f.prefetch || containsFold(value, "prefetch")
		}
	case 11:
		if proxy.EqualFold(name, "sec-purpose") {
			f.prefetch = f.prefetch || containsFold(value, "prefetch") || containsFold(value, "prerender")
		}
	case 12:
		switch {
		case proxy.EqualFold(name, "sluice-token"):
			f.token, f.hasToken = value, true
		case proxy.EqualFold(name, "content-type"):
			f.contentType = value
		case proxy.EqualFold(name, "x-request-id"):
			if f.requestID != nil {
				value = []byte{} // two are none
			}
			f.requestID = value
		}
	case 13:
		f.override = f.override || equalDashed(name, "x-http-method")
	case 14:
		if proxy.EqualFold(name, "sec-fetch-mode") {
			f.fetchMode = value
		}
	case 15:
		switch {
		case proxy.EqualFold(name, "accept-encoding"):
			f.acceptEncoding = value
		case proxy.EqualFold(name, "accept-language"):
			f.acceptLanguage = value
		case proxy.EqualFold(name, "x-forwarded-for"):
			// The nearest proxies' lines are the last: those that are too many before
			// them may be anybody's.
			if f.forwarded == len(f.forwardedFor) {
				copy(f.forwardedFor[:], f.forwardedFor[1:])
				f.forwarded--
			}
			f.forwardedFor[f.forwarded] = value
			f.forwarded++
		}
	case 16:
		switch {
		case proxy.EqualFold(name, "x-requested-with"):
			f.requestedWith = true
		case proxy.EqualFold(name, "x-forwarded-host"):
			f.forwardedHost = value
		}
	case 17:
		if proxy.EqualFold(name, "x-forwarded-proto") {
			f.forwardedProto = value
		}
		f.override = f.override || equalDashed(name, "x-method-override")
	case 22:
		f.override = f.override || equalDashed(name, "x-http-method-override")
	case 29:
		if proxy.EqualFold(name, "access-control-request-method") {
			f.accessMethod = value
		}
	case 30:
		if proxy.EqualFold(name, "access-control-request-headers") {
			f.accessHeaders = value
		}
	}
}

// wantsHTML tells whether the answer is to be HTML, as far as what is accepted shows.
func (f *fields) wantsHTML() bool {
	return f.acceptsHTML || containsFold(f.accept, "text/html")
}

// acceptsGzip tells whether a browser takes gzip; a weight of 0 says that it does not.
func acceptsGzip(value []byte) bool {
	for len(value) > 0 {
		var item []byte
		item, value, _ = bytes.Cut(value, []byte(","))
		coding, weight, _ := bytes.Cut(item, []byte(";"))
		if !proxy.EqualFold(bytes.TrimSpace(coding), "gzip") {
			continue
		}
		weight = bytes.TrimSpace(weight)
		return !bytes.HasPrefix(weight, []byte("q=0")) || len(bytes.Trim(weight[3:], ".0")) > 0
	}
	return false
}

// equalDashed is equalFold with _ for -: programs behind CGI and WSGI cannot tell
// them apart.
func equalDashed(b []byte, word string) bool {
	if len(b) != len(word) {
		return false
	}
	for i, c := range b {
		if c == '_' {
			c = '-'
		} else if c >= 'A' && c <= 'Z' {
			c += 'a' - 'A'
		}
		if c != word[i] {
			return false
		}
	}
	return true
}

// containsFold looks for a word in lower case.
func containsFold(b []byte, word string) bool {
	for i := 0; i+len(word) <= len(b); i++ {
		if proxy.EqualFold(b[i:i+len(word)], word) {
			return true
		}
	}
	return false
}
