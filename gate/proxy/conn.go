package proxy

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	"github.com/sluicegate/sluice/gate/origin"
)

const (
	readBuffer = 16 << 10
	maxHead    = 64 << 10 // an answer's header may be this long
)

// conn is a connection to the origin while an exchange has it, with what was
// received on it. Idle connections have no buffer.
type conn struct {
	net.Conn
	link  *origin.Conn
	buf   []byte
	small []byte // what buf was before enlarge
	r, w  int    // buf[r:w] was received and not yet used
}

var conns = sync.Pool{New: func() any { return &conn{buf: make([]byte, readBuffer)} }}

func newConn(link *origin.Conn) *conn {
	c := conns.Get().(*conn)
	c.Conn, c.link = link.Conn, link
	return c
}

// keep gives back a connection whose answer was read to its end.
func (c *conn) keep(now time.Time) {
	link := c.link
	c.free()
	link.Keep(now)
}

// drop closes a connection that cannot be used again.
func (c *conn) drop() {
	link := c.link
	c.free()
	link.Drop()
}

func (c *conn) free() {
	c.shrink()
	*c = conn{buf: c.buf}
	conns.Put(c)
}

// readWithin moves the read deadline to d from now, give or take an eighth:
// moving a timer for every request costs more than it is worth. Never early.
func (c *conn) readWithin(now time.Time, d time.Duration) {
	if move(&c.link.ReadBy, now, d) {
		c.Conn.SetReadDeadline(c.link.ReadBy)
	}
}

func (c *conn) writeWithin(now time.Time, d time.Duration) {
	if move(&c.link.WriteBy, now, d) {
		c.Conn.SetWriteDeadline(c.link.WriteBy)
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
				return nil, true, fmt.Errorf("%w: header longer than %d bytes", ErrUnreadable, maxHead)
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
	under := origin.Bare(nc)
	if l, ok := under.(interface{ SetLinger(int) error }); ok {
		l.SetLinger(0)
	}
	under.Close()
}
