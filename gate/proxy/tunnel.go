package proxy

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"github.com/valyala/fasthttp"

	"github.com/sluicegate/sluice/gate/origin"
)

// Upgraded connections. fasthttp counts hijacked connections nowhere and does
// not wait for them, so that is done here.

// Tunnels are those of a gate. The proxies that a reload replaces have them in common
// with those that came after.
type Tunnels struct {
	limit int

	mu      sync.Mutex
	open    map[*tunnel]struct{}
	commons int // of the open ones
	closed  bool
	empty   chan struct{} // closed when closed and none is open
}

// NewTunnels allows so many at once; 0: 4096. The last eighth, where there are several,
// is for visitors who were let in.
func NewTunnels(limit int) *Tunnels {
	if limit == 0 {
		limit = 4096
	}
	return &Tunnels{limit: limit, open: map[*tunnel]struct{}{}, empty: make(chan struct{})}
}

// common is how many may be those of visitors who were not let in.
func (s *Tunnels) common() int {
	if s.limit <= 1 {
		return s.limit
	}
	return s.limit - max(s.limit/8, 1)
}

func (s *Tunnels) begin(t *tunnel) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.closed || t.p.ended:
		return fmt.Errorf("%w: shutting down", ErrBusy)
	case len(s.open) >= s.limit:
		return fmt.Errorf("%w: %d are open", ErrTunnels, s.limit)
	case t.common && s.commons >= s.common():
		return fmt.Errorf("%w: %d are open, and the rest is for visitors who were let in", ErrTunnels, s.commons)
	}
	s.open[t] = struct{}{}
	t.p.running.Add(1)
	if t.common {
		s.commons++
	}
	return nil
}

func (s *Tunnels) end(t *tunnel) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := s.open[t]; !ok {
		return
	}
	delete(s.open, t)
	t.p.running.Done()
	if t.common {
		s.commons--
	}
	if s.closed && len(s.open) == 0 {
		close(s.empty)
	}
}

// End lets none begin and asks all to end: each visitor gets a WebSocket close frame,
// "going away", between two frames of the origin. Those that are left when ctx ends
// are closed, and their goroutines waited for.
func (s *Tunnels) End(ctx context.Context) error {
	s.mu.Lock()
	if !s.closed {
		s.closed = true
		if len(s.open) == 0 {
			close(s.empty)
		}
	}
	for t := range s.open {
		t.ask()
	}
	s.mu.Unlock()
	select {
	case <-s.empty:
		return nil
	case <-ctx.Done():
	}
	s.mu.Lock()
	n := len(s.open)
	for t := range s.open {
		t.hangUp()
	}
	s.mu.Unlock()
	<-s.empty
	if n == 0 {
		return nil
	}
	return fmt.Errorf("proxy: %d tunnels closed: %w", n, ctx.Err())
}

// tunnel is one upgraded connection. As the body stream of the 101 it is closed
// by fasthttp even when the handler that runs it is never called.
type tunnel struct {
	p      *Proxy
	client net.Conn
	c      *conn
	use    func(Tag)
	tag    Tag
	common bool         // the visitor has shown no pass
	last   atomic.Int64 // when bytes moved, Unix nanoseconds
	hung   atomic.Bool
	closed atomic.Bool
	asked  atomic.Bool
}

func (t *tunnel) Read([]byte) (int, error) { return 0, io.EOF }

func (t *tunnel) Close() error {
	if t.c != nil && t.closed.CompareAndSwap(false, true) {
		t.c.link.Drop()
		t.p.tell(-1)
	}
	t.p.tunnels.end(t)
	return nil
}

// ask has the visitor told that we are going away. What follows is between the
// visitor and the origin: the visitor answers with a close frame, the origin
// with another, and both close.
func (t *tunnel) ask() {
	t.asked.Store(true)
	if t.c != nil {
		t.c.Conn.SetReadDeadline(past) // copy waits there
	}
}

// goingAway is an unmasked WebSocket close frame of status 1001 (RFC 6455, 5.5.1).
const goingAway = "\x88\x02\x03\xe9"

// frames follows WebSocket frames through a stream of bytes (RFC 6455, 5.2).
type frames struct {
	head [10]byte // of a frame's header, as far as it came
	n    int
	left uint64 // of its payload
}

func (f *frames) between() bool { return f.n == 0 && f.left == 0 }

func (f *frames) feed(b []byte) {
	for len(b) > 0 {
		if f.left > 0 {
			skip := min(f.left, uint64(len(b)))
			f.left -= skip
			b = b[skip:]
			continue
		}
		f.head[f.n] = b[0]
		f.n++
		b = b[1:]
		if f.n < 2 {
			continue
		}
		size, need := uint64(f.head[1]&0x7f), 2
		switch size {
		case 126:
			need, size = 4, uint64(binary.BigEndian.Uint16(f.head[2:]))
		case 127:
			need, size = 10, binary.BigEndian.Uint64(f.head[2:])
		}
		if f.n < need {
			continue
		}
		f.n, f.left = 0, size
		if f.head[1]&0x80 != 0 {
			f.left += 4 // a mask, which servers do not send
		}
	}
}

// hangUp ends both directions from outside.
func (t *tunnel) hangUp() {
	t.hung.Store(true)
	t.client.SetDeadline(past)
	if t.c != nil {
		t.c.SetDeadline(past)
	}
}

// forwardUpgrade sends the handshake on a connection of its own, which never
// sees the pool: an answer of 101 there would be somebody's tunnel under the
// next request.
func (x *exchange) forwardUpgrade(ctx *fasthttp.RequestCtx, r *Request, a *Answer) error {
	p := x.p
	t := &tunnel{p: p, client: ctx.Conn(), use: r.Use, tag: r.Tag, common: r.Common}
	if err := p.tunnels.begin(t); err != nil {
		return err
	}
	done := false
	defer func() {
		if !done {
			p.tunnels.end(t)
		}
	}()

	now := time.Now()
	if err := x.connect(p.origins.Dial(now, &x.round)); err != nil {
		return err
	}
	x.client, x.use, x.tag, x.room = ctx.Conn(), r.Use, r.Tag, r.Room != ""
	x.usedAt.Store(now.UnixNano())
	x.c.writeWithin(now, p.c.HeaderTimeout)
	x.waitUntil(now, p.c.HeaderTimeout)
	x.out = x.req.appendHead(x.out[:0], ctx, r, x.host(), true)
	if _, err := x.c.Write(x.out); err != nil {
		return x.handshakeFailed(err)
	}
	head, got, _, err := x.readAnswer(false, true)
	if err != nil {
		return x.handshakeFailed(err)
	}
	x.c.link.Succeeded()
	x.chunks = x.framing == chunked || x.framing == untilClose
	x.keep(ctx, head, &got, a, false)
	if got.status != 101 {
		// What the visitor may have sent behind the handshake is no request.
		x.reuse = false
		ctx.SetConnectionClose()
		x.stream(ctx)
		return nil
	}

	done = true
	a.Upgraded = true
	if v := strictOf(ctx.Conn()); v != nil {
		v.raw()
	}
	p.tunnels.mu.Lock() // Shutdown may be looking
	t.c, x.c = x.c, nil
	p.tunnels.mu.Unlock()
	x.release()
	p.tell(1)
	ctx.Response.SetBodyStream(t, 0)
	ctx.HijackSetNoResponse(true)
	ctx.Hijack(func(c net.Conn) { t.run(ctx, c) })
	return nil
}

func (x *exchange) handshakeFailed(err error) error {
	err = x.failure(err)
	if isOrigins(err) {
		x.c.link.Failed(err)
	}
	return err
}

// run writes the 101 and copies until both sides have ended. fasthttp closes
// the visitor's connection afterwards.
func (t *tunnel) run(ctx *fasthttp.RequestCtx, hijacked net.Conn) {
	defer t.p.caught()
	// With CloseOnShutdown or the like fasthttp has put a close beside the upgrade.
	ctx.Response.Header.ResetConnectionClose()
	now := time.Now()
	t.last.Store(now.UnixNano())
	if c, ok := origin.Bare(t.client).(interface {
		SetKeepAliveConfig(net.KeepAliveConfig) error
	}); ok {
		_ = c.SetKeepAliveConfig(net.KeepAliveConfig{Enable: true}) // may be silent for hours
	}
	t.client.SetWriteDeadline(now.Add(t.p.c.ClientTimeout))
	out := ctx.Response.Header.Header()
	out = append(out, t.c.buf[t.c.r:t.c.w]...)
	if _, err := t.client.Write(out); err != nil {
		return
	}

	var f frames
	f.feed(t.c.buf[t.c.r:t.c.w])
	down := make(chan struct{})
	go func() {
		defer close(down)
		defer t.p.caught()
		t.copy(t.client, t.c.Conn, t.c.Conn, &f)
	}()
	// The hijacked connection gives what fasthttp had buffered first.
	t.copy(t.c.Conn, t.client, hijacked, nil)
	<-down
}

// copy moves bytes until src ends, and passes the end on. On the way to the
// visitor f follows the frames.
func (t *tunnel) copy(dst, src net.Conn, from io.Reader, f *frames) {
	buf := make([]byte, 8<<10)
	idle := t.p.c.TunnelTimeout
	step := min(t.p.period, idle)
	used := time.Now()
	said := false // the visitor was told that we go away, and gets nothing more
	for !t.hung.Load() {
		now := time.Now()
		src.SetReadDeadline(now.Add(step))
		if t.hung.Load() {
			break // it was set before our deadline
		}
		if f != nil && !said && t.asked.Load() && f.between() {
			said = true
			dst.SetWriteDeadline(now.Add(t.p.c.ClientTimeout))
			if _, err := io.WriteString(dst, goingAway); err != nil {
				break
			}
		}
		n, err := from.Read(buf)
		now = time.Now()
		if n > 0 && !said {
			if f != nil {
				f.feed(buf[:n])
			}
			t.last.Store(now.UnixNano())
			dst.SetWriteDeadline(now.Add(idle))
			if t.hung.Load() {
				break
			}
			if _, err := dst.Write(buf[:n]); err != nil {
				t.hangUp()
				return
			}
		}
		if f != nil && t.use != nil && now.Sub(used) >= step-step/8 {
			used = now
			t.use(t.tag)
		}
		switch {
		case err == nil:
		case err == io.EOF:
			if c, ok := dst.(interface{ CloseWrite() error }); ok {
				c.CloseWrite()
				return
			}
			t.hangUp()
			return
		case isTimeout(err) && now.UnixNano()-t.last.Load() < int64(idle):
		default:
			t.hangUp()
			return
		}
	}
	t.hangUp()
}

// tell says that a tunnel has begun or ended.
func (p *Proxy) tell(n int) {
	if p.c.Tunnel != nil {
		p.c.Tunnel(n)
	}
}

// caught keeps a panic in a goroutine that the gate cannot guard from ending the process.
func (p *Proxy) caught() {
	if p.c.Failed == nil {
		return
	}
	if v := recover(); v != nil {
		p.c.Failed(fmt.Errorf("proxy: panic: %v\n%s", v, debug.Stack()))
	}
}
