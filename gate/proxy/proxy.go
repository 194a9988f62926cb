package proxy

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/valyala/fasthttp"

	"github.com/sluicegate/sluice/gate/origin"
)

// Config says where the origin is and how long to wait for it. Zero values mean
// the default named beside them.
type Config struct {
	Origin        origin.Config
	HeaderTimeout time.Duration // 30s from the request's end to the answer's header
	IdleTimeout   time.Duration // 5m without a byte from the origin in mid-body; no limit in total
	ClientTimeout time.Duration // 30s in which a visitor has to send or take some bytes
	TunnelTimeout time.Duration // 1h without a byte in either direction
	MaxTunnels    int           // 4096 upgraded connections
	MaxBody       int64         // bytes of a request's body; 0 is no limit

	// Failed, when set, is told what broke after Forward had returned: an answer
	// in mid-body, a tunnel. It is called from several goroutines.
	Failed func(error)
}

// Answer is what the gate needs to know about the origin's answer.
type Answer struct {
	Status int
	// Session is the value of Sluice-Session, which the visitor does not get; nil
	// when there was none. Valid until this Answer is used again.
	Session []byte
	// Upgraded says that a tunnel runs once the handler returns.
	Upgraded bool
	// Cacheable says that a shared cache might keep the answer: call MakePrivate
	// before a cookie is added to it.
	Cacheable bool

	session []byte
}

// Proxy forwards requests. It is safe for concurrent use.
type Proxy struct {
	c       Config
	origins *origin.Group
	period  time.Duration // usePeriod, but for tests
	tunnels tunnels
}

// New checks c and returns a proxy. It does not connect. Shutdown frees what it holds.
func New(c Config) (*Proxy, error) {
	set := func(d *time.Duration, to time.Duration) {
		if *d == 0 {
			*d = to
		}
	}
	set(&c.HeaderTimeout, 30*time.Second)
	set(&c.IdleTimeout, 5*time.Minute)
	set(&c.ClientTimeout, 30*time.Second)
	set(&c.TunnelTimeout, time.Hour)
	if c.MaxTunnels == 0 {
		c.MaxTunnels = 4096
	}
	var errs []error
	for _, d := range []struct {
		name string
		d    time.Duration
	}{
		{"header timeout", c.HeaderTimeout}, {"idle timeout", c.IdleTimeout},
		{"client timeout", c.ClientTimeout}, {"tunnel timeout", c.TunnelTimeout},
	} {
		if d.d < 0 {
			errs = append(errs, fmt.Errorf("proxy: %s %v is negative", d.name, d.d))
		}
	}
	if c.MaxTunnels < 0 || c.MaxBody < 0 {
		errs = append(errs, errors.New("proxy: a limit is negative"))
	}
	origins, err := origin.New(c.Origin)
	if err != nil {
		errs = append(errs, err)
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	p := &Proxy{c: c, period: usePeriod, origins: origins}
	p.tunnels.init(c.MaxTunnels)
	return p, nil
}

// Forward sends ctx's request to the origin and puts the answer into
// ctx.Response. It returns when the answer's header is there; the body streams
// after the handler has returned. On an error nothing was put into the
// response, and the gate answers by itself: it calls CloseUnread, as some of
// the request's body may stand unread.
//
// Afterwards the gate may add fields and cookies to the response, and replace
// Cache-Control. It cannot see the origin's other fields there (see the package
// text), and must not call ctx.Response.Reset or SetStatusMessage.
//
// A request without a body whose method is idempotent is sent a second time, on
// a new connection, when a kept one turns out to be dead before the first byte
// of an answer. Nothing else is ever sent twice.
func (p *Proxy) Forward(ctx *fasthttp.RequestCtx, r *Request, a *Answer) error {
	a.Status, a.Session, a.Upgraded, a.Cacheable = 0, nil, false, false
	x := exchanges.Get().(*exchange)
	x.p = p
	if err := x.forward(ctx, r, a); err != nil {
		x.up.stop()
		x.giveUp()
		x.release()
		return err
	}
	return nil
}

func (x *exchange) forward(ctx *fasthttp.RequestCtx, r *Request, a *Answer) error {
	p, h := x.p, &ctx.Request.Header
	if err := x.req.read(h); err != nil {
		return err
	}
	body, length := ctx.RequestBodyStream(), h.ContentLength()
	if length == 0 || length < -1 {
		body = nil
	}
	if p.c.MaxBody > 0 && int64(length) > p.c.MaxBody {
		return fmt.Errorf("%w: %d bytes, %d allowed", ErrTooLarge, length, p.c.MaxBody)
	}
	if body == nil && x.req.opt.upgrade && x.req.upgrWS && h.IsHTTP11() && ctx.IsGet() {
		return x.forwardUpgrade(ctx, r, a)
	}

	// What fasthttp has read already goes out with the header.
	var whole []byte
	if body != nil && length > 0 && length <= prefetched {
		if cap(x.up.buf) < prefetched {
			x.up.buf = make([]byte, uploadBuffer)
		}
		whole = x.up.buf[:length]
		if _, err := io.ReadFull(body, whole); err != nil {
			return fmt.Errorf("%w: %w", ErrClientBody, err)
		}
		body = nil
	}

	now := time.Now()
	c, err := p.connect(x, now, false)
	if err != nil {
		return err
	}
	x.out = x.req.appendHead(x.out[:0], ctx, r, c.link.Server().Host(), false)
	x.out = append(x.out, whole...)
	x.client, x.overTLS, x.use, x.tag = ctx.Conn(), ctx.IsTLS(), r.Use, r.Tag
	x.usedAt.Store(now.UnixNano())

	once := body != nil || whole != nil || !repeatable(h.Method())
	if body != nil && c.link.Blind() {
		// Nothing is known about the kept connection, and a body goes out once only.
		c.drop()
		x.c = nil
		if c, err = p.connect(x, now, true); err != nil {
			return err
		}
	}
	var head []byte
	var got answer
	for {
		var stale bool
		head, got, stale, err = x.attempt(body, length, ctx.IsHead(), now)
		if err == nil {
			break
		}
		if !stale || once || !c.link.Reused {
			return err
		}
		c.drop()
		x.c = nil
		if c, err = p.connect(x, now, true); err != nil {
			return err
		}
	}

	early := false
	if x.up.running {
		x.up.answered.Store(true)
		early = !x.up.finish()
	}
	if x.up.err != nil {
		early = true
	}
	if early {
		x.reuse = false
	}
	if !early && x.last {
		ctx.SetConnectionClose()
	}
	x.chunks = h.IsHTTP11() && (x.framing == chunked || x.framing == untilClose)
	held := !early && x.framing == sized && x.left <= c.w-c.r
	x.keep(ctx, head, &got, a, held)

	switch {
	case early:
		// The rest of the body is not read by anybody: the answer is the last one.
		x.stream(ctx)
		closeAfter(ctx)
	case held:
		// All of it is here. The connection is free before the visitor has it.
		ctx.Response.SetBody(c.buf[c.r : c.r+x.left])
		c.r += x.left
		x.done = true
		x.release()
	case x.framing == none:
		x.release()
	default:
		x.stream(ctx)
	}
	return nil
}

// connect takes a connection to the origin.
func (p *Proxy) connect(x *exchange, now time.Time, fresh bool) (*conn, error) {
	link, err := p.origins.Take(now, fresh)
	if err != nil {
		return nil, err
	}
	x.c = newConn(link)
	return x.c, nil
}

// attempt sends the request once and reads the answer's header.
func (x *exchange) attempt(body io.Reader, length int, head bool, now time.Time) (b []byte, a answer, stale bool, err error) {
	c, limit := x.c, x.p.c.HeaderTimeout
	c.writeWithin(now, limit)
	if body == nil {
		c.readWithin(now, limit)
	} else {
		// The origin's time begins when the body is sent.
		c.Conn.SetReadDeadline(time.Time{})
		c.link.ReadBy = time.Time{}
	}
	if _, err := c.Conn.Write(x.out); err != nil {
		return nil, a, !isTimeout(err), x.failure(err)
	}
	if body != nil {
		x.startUpload(body, length)
	}
	b, a, stale, err = x.readAnswer(head, false)
	if err == nil {
		return b, a, false, nil
	}
	if x.up.running {
		// Whatever the reason, what the visitor did wrong is told first.
		x.up.stop()
		if u := &x.up; u.source && u.err != errStopped {
			if u.err == ErrTooLarge {
				return nil, a, false, fmt.Errorf("%w: more than %d bytes", ErrTooLarge, x.p.c.MaxBody)
			}
			return nil, a, false, fmt.Errorf("%w: %w", ErrClientBody, u.err)
		}
	}
	return nil, a, stale, x.failure(err)
}

func (x *exchange) failure(err error) error {
	if isTimeout(err) {
		return fmt.Errorf("%w: %s: no answer within %v", ErrTimeout, x.c.link.Server(), x.p.c.HeaderTimeout)
	}
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return fmt.Errorf("%w: %s: %w", ErrBroken, x.c.link.Server(), err)
}

// repeatable are the methods that may be sent twice.
func repeatable(method []byte) bool {
	switch string(method) {
	case "GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE":
		return true
	}
	return false
}

// stream hands the body to fasthttp, which calls WriteTo and Close. It would
// write HTTP/1.1 chunks to anybody, of 4 KiB and each by itself, and gather a
// body with a length until it has a bufferful. So it is told that the length is
// 0 and need not be mentioned; the fields that tell are among the origin's.
func (x *exchange) stream(ctx *fasthttp.RequestCtx) {
	ctx.Response.SetBodyStream(x, 0)
	ctx.Response.Header.Del("Content-Length")
	if !x.chunks && (x.framing == chunked || x.framing == untilClose) {
		ctx.SetConnectionClose() // HTTP/1.0 knows no other end
	}
}

// Shutdown lets nothing new begin and asks tunnels to end: each visitor gets a
// WebSocket close frame, "going away", between two frames of the origin. Those
// that are left when ctx ends are closed, and their goroutines waited for. Call
// it after the server has stopped, or beside it: tunnels are none of its business.
func (p *Proxy) Shutdown(ctx context.Context) error {
	err := p.tunnels.shutdown(ctx)
	p.origins.Close()
	return err
}
