package proxy

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/valyala/fasthttp"

	"github.com/sluicegate/sluice/gate/origin"
)

// Config says where the origin is and how long to wait for it. Zero values mean
// the default named beside them.
type Config struct {
	Origin        origin.Config
	HeaderTimeout time.Duration // 30s from the request's end to the answer's header
	IdleTimeout   time.Duration // 5m without a byte from the origin in mid-answer; no limit in total. The longer of the two is for it to take a piece of a body
	ClientTimeout time.Duration // 30s in which a visitor has to send or take some bytes
	TunnelTimeout time.Duration // 1h without a byte in either direction
	Host          string        // what the origin gets as Host; "": what the visitor sent, or else its own name
	Tunnels       *Tunnels      // upgraded connections; nil: NewTunnels(0)
	BodyTimeout   time.Duration // for a whole request body; 0 is no limit
	MinRate       int           // bytes of a body a second, either way, after ClientTimeout; 0 is any

	// Date, when set, writes an instant as HTTP does: answers that came without a Date
	// leave with one (RFC 9110, 6.6.1).
	Date func(time.Time) []byte
	// Tunnel, when set, is told of every tunnel that begins, 1, and that ends, -1.
	Tunnel func(int)
	// Failed, when set, is told what broke after Forward had returned: an answer
	// in mid-body, a tunnel. It is called from several goroutines.
	Failed func(error)
}

// takeTimeout is how long the origin may leave a piece of a body untaken.
func (c *Config) takeTimeout() time.Duration { return max(c.HeaderTimeout, c.IdleTimeout) }

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
	// Continue says that there is no answer yet: the visitor is to be told to send
	// the body, and Forward called again with the same arguments, or Abandon.
	Continue bool

	session []byte
	begun   *exchange // while Continue
}

// Proxy forwards requests. It is safe for concurrent use.
type Proxy struct {
	c       Config
	origins *origin.Group
	period  time.Duration // usePeriod, but for tests
	look    time.Duration // lookPeriod, but for tests
	tunnels *Tunnels
	running sync.WaitGroup // tunnels; added to while tunnels.mu is held and ended is not set
	ended   bool           // guarded by tunnels.mu
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
	if c.Tunnels == nil {
		c.Tunnels = NewTunnels(0)
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
	if c.Tunnels.limit < 0 || c.BodyTimeout < 0 || c.MinRate < 0 {
		errs = append(errs, errors.New("proxy: a limit is negative"))
	}
	origins, err := origin.New(c.Origin)
	if err != nil {
		errs = append(errs, err)
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	p := &Proxy{c: c, period: usePeriod, look: lookPeriod, origins: origins, tunnels: c.Tunnels}
	return p, nil
}

// Forward sends ctx's request to the origin and puts the answer into
// ctx.Response. It returns when the answer's header is there; the body streams
// after the handler has returned. On an error nothing was put into the
// response, and the gate answers by itself: it calls CloseUnread, as some of
// the request's body may stand unread.
//
// Afterwards the gate may add fields and cookies to the response, and MakePrivate.
// It cannot see the origin's other fields there (see the package
// text), and must not call ctx.Response.Reset or SetStatusMessage.
//
// A request is sent a second time only as send says.
//
// Called from ExpectHandler, for a request whose body the visitor holds back,
// Forward asks the origin first: see Answer.Continue.
func (p *Proxy) Forward(ctx *fasthttp.RequestCtx, r *Request, a *Answer) error {
	x := a.begun
	a.Status, a.Session, a.Upgraded, a.Cacheable, a.Continue, a.begun = 0, nil, false, false, false, nil
	var err error
	if x != nil {
		err = x.goOn(ctx, a)
	} else {
		x = exchanges.Get().(*exchange)
		x.p = p
		err = x.forward(ctx, r, a)
	}
	if err != nil {
		x.up.stop()
		x.giveUp()
		x.release()
		return err
	}
	return nil
}

func (x *exchange) forward(ctx *fasthttp.RequestCtx, r *Request, a *Answer) error {
	p, h := x.p, &ctx.Request.Header
	if err := x.req.read(h, strictOf(ctx.Conn())); err != nil {
		return err
	}
	x.req.host = p.c.Host
	body, length := ctx.RequestBodyStream(), h.ContentLength()
	empty := length == 0 || length < -1
	if empty {
		body = nil
	}
	if x.maxBody = r.MaxBody; x.maxBody > 0 && int64(length) > x.maxBody {
		return fmt.Errorf("%w: %d bytes, %d allowed", ErrTooLarge, length, x.maxBody)
	}
	if empty && x.req.opt.upgrade && x.req.upgrWS && h.IsHTTP11() && ctx.IsGet() {
		return x.forwardUpgrade(ctx, r, a)
	}

	whole, err := x.whole(&body, length)
	if err != nil {
		return err
	}
	x.asks = x.req.holdsBack(ctx)
	x.up.announced = x.req.announced(x.up.announced[:0], h.RawHeaders(), length)
	x.client, x.use, x.tag, x.room = ctx.Conn(), r.Use, r.Tag, r.Room != ""
	head, got, err := x.send(ctx, r, body, whole, length)
	if err == errContinue {
		a.Continue, a.begun = true, x
		return nil
	}
	if err != nil {
		return err
	}
	x.hand(ctx, head, &got, a)
	return nil
}

// whole reads a short body: what fasthttp has read already goes out with the
// header. Another one is left to stream.
func (x *exchange) whole(body *io.Reader, length int) ([]byte, error) {
	if *body == nil || length < 0 || length > prefetched {
		return nil, nil
	}
	if cap(x.up.buf) < prefetched {
		x.up.buf = make([]byte, uploadBuffer)
	}
	whole := x.up.buf[:length]
	if _, err := io.ReadFull(*body, whole); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrClientBody, err)
	}
	*body = nil
	return whole, nil
}

// goOn sends the body that was held back, and takes the answer.
func (x *exchange) goOn(ctx *fasthttp.RequestCtx, a *Answer) error {
	x.asks = false
	body, length := ctx.RequestBodyStream(), ctx.Request.Header.ContentLength()
	whole, err := x.whole(&body, length)
	if err != nil {
		return err
	}
	x.out = append(x.out[:0], whole...)
	head, got, _, err := x.attempt(body, length, ctx.IsHead(), time.Now())
	if err != nil {
		if isOrigins(err) {
			x.c.link.Failed(err)
		}
		return err
	}
	x.c.link.Succeeded()
	x.hand(ctx, head, &got, a)
	return nil
}

// hand gives the answer to the visitor.
func (x *exchange) hand(ctx *fasthttp.RequestCtx, head []byte, got *answer, a *Answer) {
	early := x.asks // it was held back, and is not wanted
	if x.up.running {
		x.up.answered.Store(true)
		early = !x.up.finish()
	}
	if !x.up.running && x.up.err != nil { // before it ended it is the upload's
		early = true
	}
	if early {
		x.reuse = false
	}
	c := x.c
	x.chunks = ctx.Request.Header.IsHTTP11() && (x.framing == chunked || x.framing == untilClose)
	held := !early && x.framing == sized && x.left <= c.w-c.r
	x.keep(ctx, head, got, a, held)

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
}

// send sends the request until a server answers it, and reads the answer's header.
//
// What was sent may be sent again only if nothing came back. Then a kept connection
// may have been closed by a server that was tired of it, and a new one to the same
// server is next; and what broke or hung on a new connection is tried at another
// server. Both take a request that may be repeated (RFC 9110, 9.2.2) and whose body
// is still there, or one of which nothing was taken.
func (x *exchange) send(ctx *fasthttp.RequestCtx, r *Request, body io.Reader, whole []byte, length int) (head []byte, a answer, err error) {
	p, now := x.p, r.Now
	if now.IsZero() {
		now = time.Now()
	}
	x.usedAt.Store(now.UnixNano())
	round := &x.round
	round.Common = r.Common
	round.Safe = body == nil && repeatable(ctx.Request.Header.Method())
	if err := x.connect(p.origins.Take(now, round)); err != nil {
		return nil, a, err
	}
	if (body != nil || x.asks) && x.c.link.Blind() {
		// Nothing is known about the kept connection, and a body goes out once only.
		x.abandon()
		if err := x.connect(p.origins.Again(now, round)); err != nil {
			return nil, a, err
		}
	}
	late, sent := false, false
	for ; ; now = time.Now() {
		x.out = x.req.appendHead(x.out[:0], ctx, r, x.host(), false)
		x.out = append(x.out, whole...)
		var left trace
		head, a, left, err = x.attempt(body, length, ctx.IsHead(), now)
		if err == nil {
			x.c.link.Succeeded()
			return head, a, nil
		}
		if err == errContinue {
			return nil, a, err
		}
		stale := x.c.link.Reused && left != some && !errors.Is(err, ErrTimeout)
		if !stale && isOrigins(err) {
			x.c.link.Failed(err)
		}
		if left == some || left == silence && !round.Safe || late {
			return nil, a, err
		}
		late = errors.Is(err, ErrTimeout) // once: the visitor has waited long enough
		x.abandon()
		again := error(nil)
		if stale {
			again = x.connect(p.origins.Again(now, round))
		}
		if !stale || errors.Is(again, ErrConnect) {
			again = x.connect(p.origins.Take(now, round))
		}
		sent = sent || left != nothing
		if again != nil && !sent && !errors.Is(again, origin.ErrNoOther) {
			err = again
		}
		if again != nil {
			return nil, a, err
		}
	}
}

// host is what the origin gets for a Host that the visitor did not send.
func (x *exchange) host() string { return cmp.Or(x.p.c.Host, x.c.link.Server().Host()) }

// connect takes over what the origins gave.
func (x *exchange) connect(link *origin.Conn, err error) error {
	if err == nil {
		x.c = newConn(link)
	}
	return err
}

// abandon closes a connection that did not answer.
func (x *exchange) abandon() {
	abort(x.c.Conn)
	x.c.drop()
	x.c = nil
}

// trace is what a request that failed may have left with the origin.
type trace uint8

const (
	some    trace = iota // it was read, or answered in part
	silence              // nobody knows: it was sent, and nothing came back
	nothing              // not a byte of it left
)

// attempt sends the request once and reads the answer's header.
func (x *exchange) attempt(body io.Reader, length int, head bool, now time.Time) (b []byte, a answer, left trace, err error) {
	c, limit := x.c, x.p.c.HeaderTimeout
	c.writeWithin(now, limit)
	switch {
	case x.asks:
		x.waitUntil(now, min(continueWait, limit))
	case body == nil:
		x.waitUntil(now, limit)
	default:
		// The origin's time begins when the body is sent.
		x.answerBy.Store(0)
		c.Conn.SetReadDeadline(time.Time{})
		c.link.ReadBy = time.Time{}
	}
	if len(x.out) > 0 {
		if n, err := c.Conn.Write(x.out); err != nil {
			if n == 0 && !c.link.IsTLS() {
				return nil, a, nothing, x.failure(err)
			}
			if body != nil {
				return nil, a, some, x.failure(err)
			}
			return nil, a, silence, x.failure(err)
		}
	}
	if body != nil {
		x.startUpload(body, length)
	}
	b, a, silent, err := x.readAnswer(head, false)
	if err == nil {
		return b, a, some, nil
	}
	if err == errContinue || x.asks && isTimeout(err) {
		c.link.ReadBy = time.Time{}
		return nil, a, some, errContinue
	}
	if x.up.running {
		// Whatever the reason, what the visitor did wrong is told first.
		x.up.stop()
		if u := &x.up; u.source && u.err != errStopped {
			if u.err == ErrTooLarge {
				return nil, a, some, fmt.Errorf("%w: more than %d bytes", ErrTooLarge, x.maxBody)
			}
			return nil, a, some, fmt.Errorf("%w: %w", ErrClientBody, u.err)
		}
		if u := &x.up; !u.source && isTimeout(u.err) {
			return nil, a, some, fmt.Errorf("%w: %s: took nothing of the body for %v", ErrTimeout, c.link.Server(), x.p.c.takeTimeout())
		}
	}
	if silent && body == nil && !errors.Is(err, ErrClient) {
		left = silence
	}
	return nil, a, left, x.failure(err)
}

// isOrigins tells whether a failure is the server's: neither the visitor's, nor that of a
// page which every server would give alike.
func isOrigins(err error) bool {
	return (errors.Is(err, ErrTimeout) || errors.Is(err, ErrBroken)) && !errors.Is(err, ErrUnreadable)
}

func (x *exchange) failure(err error) error {
	if errors.Is(err, ErrClient) {
		return err
	}
	if isTimeout(err) {
		return fmt.Errorf("%w: %s: no answer within %v", ErrTimeout, x.c.link.Server(), x.p.c.HeaderTimeout)
	}
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return fmt.Errorf("%w: %s: %w", ErrBroken, x.c.link.Server(), err)
}

// repeatable are the methods that may be sent twice (RFC 9110, 9.2.2).
func repeatable(method []byte) bool {
	switch string(method) {
	case "GET", "HEAD", "OPTIONS", "PUT", "DELETE":
		return true
	}
	return false
}

// stream hands the body to fasthttp, which calls WriteTo and Close. It would
// write HTTP/1.1 chunks to anybody, of 4 KiB and each by itself, and gather a
// body with a length until it has a bufferful. So it is told that the length is
// 0 and need not be mentioned; the fields that tell are among the origin's.
func (x *exchange) stream(ctx *fasthttp.RequestCtx) {
	x.down = pace{pause: x.p.c.ClientTimeout, rate: x.p.c.MinRate}
	ctx.Response.SetBodyStream(x, 0)
	ctx.Response.Header.Del("Content-Length")
	if !x.chunks && (x.framing == chunked || x.framing == untilClose) {
		ctx.SetConnectionClose() // HTTP/1.0 knows no other end
	}
}

// Origins returns how the origin's servers stand, in the order of their URLs.
func (p *Proxy) Origins() []origin.Status { return p.origins.Status() }

// Ails tells whether a server of the origin is left alone, which was logged.
func (p *Proxy) Ails() bool { return p.origins.Ails() }

// Retire lets nothing new begin, closes what is idle, and returns when the last tunnel
// has ended by itself or by Tunnels.End. Call it when a proxy was replaced.
func (p *Proxy) Retire() {
	p.tunnels.mu.Lock()
	p.ended = true
	p.tunnels.mu.Unlock()
	p.origins.Close()
	p.running.Wait()
}

// Shutdown lets nothing new begin and ends the tunnels, those of the proxies too that
// have them in common with this one: see Tunnels.End. Call it after the server has
// stopped, or beside it: tunnels are none of its business.
func (p *Proxy) Shutdown(ctx context.Context) error {
	err := p.tunnels.End(ctx)
	p.Retire()
	return err
}
