package proxy

import (
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"sync"
	"syscall"
	"time"
)

const (
	readBuffer = 16 << 10
	maxHead    = 64 << 10 // an answer's header may be this long
)

// conn is one connection to an origin. It belongs to the pool or to one
// exchange, never to both.
type conn struct {
	net.Conn
	o      *origin
	raw    syscall.RawConn // nil when there is no file descriptor to look at
	peek   func(fd uintptr) bool
	quiet  bool // what peek found: nothing to read, and not closed
	buf    []byte
	small  []byte // what buf was before enlarge
	r, w   int    // buf[r:w] was received and not yet used
	idle   time.Time
	reused bool

	readUntil, writeUntil time.Time // deadlines as they are set
}

func newConn(o *origin, nc net.Conn) *conn {
	c := &conn{Conn: nc, o: o, buf: make([]byte, readBuffer)}
	c.watch()
	return c
}

// usable reports whether an idle connection is still open and silent. Bytes
// that nobody asked for would be taken for the answer to the next request.
func (c *conn) usable() bool {
	if c.raw == nil {
		return true
	}
	c.quiet = false
	if err := c.raw.Read(c.peek); err != nil {
		return false
	}
	return c.quiet
}

// readWithin moves the read deadline to d from now, give or take an eighth:
// moving a timer for every request costs more than it is worth. Never early.
func (c *conn) readWithin(now time.Time, d time.Duration) {
	if move(&c.readUntil, now, d) {
		c.Conn.SetReadDeadline(c.readUntil)
	}
}

func (c *conn) writeWithin(now time.Time, d time.Duration) {
	if move(&c.writeUntil, now, d) {
		c.Conn.SetWriteDeadline(c.writeUntil)
	}
}

func move(until *time.Time, now time.Time, d time.Duration) bool {
	if left := until.Sub(now); left >= d && left <= d+d/8 {
		return false
	}
	*until = now.Add(d + d/8)
	return true
}

// fill reads once, into free space of the buffer.
func (c *conn) fill() error {
	if c.r == c.w {
		c.r, c.w = 0, 0
	} else if c.w == len(c.buf) {
		if c.r == 0 {
			return io.ErrShortBuffer
		}
		c.w = copy(c.buf, c.buf[c.r:c.w])
		c.r = 0
	}
	n, err := c.Conn.Read(c.buf[c.w:])
	c.w += n
	if n > 0 {
		return nil
	}
	if err == nil {
		err = io.ErrNoProgress
	}
	return err
}

// head reads up to the blank line and returns what stands before and with it,
// valid until the next read. got reports whether any byte came.
func (c *conn) head() (b []byte, got bool, err error) {
	seen := 0
	for {
		if n := endOfHead(c.buf[c.r:c.w], seen); n >= 0 {
			b = c.buf[c.r : c.r+n]
			c.r += n
			return b, true, nil
		}
		// The next search begins early enough to see a line end cut in two.
		seen = max(0, c.w-c.r-3)
		if c.w == len(c.buf) && c.r == 0 {
			if len(c.buf) >= maxHead {
				return nil, true, fmt.Errorf("header longer than %d bytes", maxHead)
			}
			c.enlarge()
		}
		if err := c.fill(); err != nil {
			return nil, c.w > c.r, err
		}
	}
}

// enlarge gives the connection a large buffer for the rest of this answer.
func (c *conn) enlarge() {
	large := largeBuffers.Get().(*[maxHead]byte)
	c.w = copy(large[:], c.buf[c.r:c.w])
	c.r = 0
	c.small, c.buf = c.buf, large[:]
}

// shrink gives the large buffer back; what is in it is not needed any more.
func (c *conn) shrink() {
	if c.small == nil {
		return
	}
	largeBuffers.Put((*[maxHead]byte)(c.buf))
	c.buf, c.small, c.r, c.w = c.small, nil, 0, 0
}

var largeBuffers = sync.Pool{New: func() any { return new([maxHead]byte) }}

// endOfHead finds the length of the header in b, blank line included, or -1.
func endOfHead(b []byte, from int) int {
	for {
		i := bytes.IndexByte(b[from:], '\n')
		if i < 0 {
			return -1
		}
		from += i + 1
		rest := b[from:]
		switch {
		case len(rest) > 0 && rest[0] == '\n':
			return from + 1
		case len(rest) > 1 && rest[0] == '\r' && rest[1] == '\n':
			return from + 2
		}
	}
}

// abort closes so that the other side sees a reset, not an end: a body without
// its end must not be taken for whole.
func abort(nc net.Conn) {
	under := bare(nc)
	if l, ok := under.(interface{ SetLinger(int) error }); ok {
		l.SetLinger(0)
	}
	under.Close()
}

// bare returns the connection beneath TLS.
func bare(nc net.Conn) net.Conn {
	if t, ok := nc.(*tls.Conn); ok {
		return t.NetConn()
	}
	return nc
}

// origin is one server with its connections. The newest idle connection is used
// first, so that the others can end.
type origin struct {
	network, addr string
	host          string      // for requests that name none
	tls           *tls.Config // nil for http
	dialer        net.Dialer
	max           int
	wait          time.Duration
	keep          time.Duration // how long a connection may be idle

	mu     sync.Mutex
	idle   []*conn // oldest first
	open   int     // idle and in use
	queue  []chan *conn
	sweep  *time.Timer
	closed bool
}

// get returns a connection, an idle one unless fresh is wanted. It waits a
// little when all are in use.
func (o *origin) get(now time.Time, fresh bool) (*conn, error) {
	o.mu.Lock()
	for !fresh && len(o.idle) > 0 {
		c := o.pop()
		if now.Sub(c.idle) < o.keep {
			o.mu.Unlock()
			if c.usable() {
				c.reused = true
				return c, nil
			}
			c.Close()
			o.mu.Lock()
			o.lost()
			continue
		}
		c.Close()
		o.lost()
	}
	if o.open >= o.max && len(o.idle) > 0 {
		o.pop().Close()
		o.lost()
	}
	if o.closed {
		o.mu.Unlock()
		return nil, fmt.Errorf("%w: shut down", ErrBusy)
	}
	if o.open < o.max {
		o.open++
		o.mu.Unlock()
		return o.dial()
	}
	turn := make(chan *conn, 1)
	o.queue = append(o.queue, turn)
	o.mu.Unlock()

	timer := time.NewTimer(o.wait)
	defer timer.Stop()
	var c *conn
	select {
	case c = <-turn:
	case <-timer.C:
		o.mu.Lock()
		for i, q := range o.queue {
			if q == turn {
				o.queue = append(o.queue[:i], o.queue[i+1:]...)
				o.mu.Unlock()
				return nil, fmt.Errorf("%w: %d connections to %s in use", ErrBusy, o.max, o.addr)
			}
		}
		o.mu.Unlock()
		c = <-turn // it was our turn after all
	}
	if c != nil {
		c.reused = true
		if !fresh {
			return c, nil
		}
		c.Close()
	}
	return o.dial() // the place of the one that closed is ours
}

func (o *origin) pop() *conn {
	n := len(o.idle) - 1
	c := o.idle[n]
	o.idle[n] = nil
	o.idle = o.idle[:n]
	return c
}

// dial takes a place that was counted already, and gives it back on an error.
func (o *origin) dial() (*conn, error) {
	c, err := o.connect()
	if err != nil {
		o.gone()
		return nil, err
	}
	return c, nil
}

func (o *origin) connect() (*conn, error) {
	ctx, cancel := context.WithTimeout(context.Background(), o.dialer.Timeout)
	defer cancel()
	nc, err := o.dialer.DialContext(ctx, o.network, o.addr)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrConnect, err)
	}
	if o.tls != nil {
		t := tls.Client(nc, o.tls)
		if err := t.HandshakeContext(ctx); err != nil {
			nc.Close()
			return nil, fmt.Errorf("%w: %s: %w", ErrConnect, o.addr, err)
		}
		nc = t
	}
	return newConn(o, nc), nil
}

// put gives back a connection whose answer was read to its end.
func (o *origin) put(c *conn, now time.Time) {
	c.shrink()
	c.r, c.w = 0, 0
	c.idle = now
	o.mu.Lock()
	defer o.mu.Unlock()
	switch {
	case o.closed:
		c.Close()
		o.lost()
	case len(o.queue) > 0:
		turn := o.queue[0]
		o.queue = o.queue[:copy(o.queue, o.queue[1:])]
		turn <- c
	default:
		o.idle = append(o.idle, c)
		if o.sweep == nil {
			o.sweep = time.AfterFunc(o.keep, o.closeIdle)
		}
	}
}

// drop closes a connection that cannot be used again.
func (o *origin) drop(c *conn) {
	c.shrink()
	c.Close()
	o.gone()
}

func (o *origin) gone() {
	o.mu.Lock()
	o.lost()
	o.mu.Unlock()
}

// lost takes one connection off the count, or hands its place to who waits.
func (o *origin) lost() {
	if len(o.queue) > 0 && !o.closed {
		turn := o.queue[0]
		o.queue = o.queue[:copy(o.queue, o.queue[1:])]
		turn <- nil
		return
	}
	o.open--
}

// closeIdle closes what was idle too long. Its timer runs only while something is idle.
func (o *origin) closeIdle() {
	o.mu.Lock()
	defer o.mu.Unlock()
	now := time.Now()
	n := 0
	for n < len(o.idle) && now.Sub(o.idle[n].idle) >= o.keep {
		o.idle[n].Close()
		o.open--
		n++
	}
	kept := copy(o.idle, o.idle[n:])
	clear(o.idle[kept:])
	o.idle = o.idle[:kept]
	if kept == 0 || o.closed {
		o.sweep = nil
		return
	}
	o.sweep.Reset(max(o.keep-now.Sub(o.idle[0].idle), time.Millisecond))
}

// close closes what is idle and lets nothing be kept any more.
func (o *origin) close() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.closed = true
	if o.sweep != nil {
		o.sweep.Stop()
		o.sweep = nil
	}
	for _, c := range o.idle {
		c.Close()
		o.open--
	}
	o.idle = nil
}
