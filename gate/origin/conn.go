package origin

import (
	"crypto/tls"
	"net"
	"syscall"
	"time"
)

// Conn is one connection to a server. Who has taken it ends with Keep or Drop.
type Conn struct {
	net.Conn
	Reused bool // it has served a request before

	// Deadlines as they are set, for those who move them.
	ReadBy, WriteBy time.Time

	server *Server
	pooled bool
	raw    syscall.RawConn // nil when there is no file descriptor to look at
	peek   func(fd uintptr) bool
	quiet  bool // what peek found: nothing to read, and not closed
	idle   time.Time
}

func newConn(s *Server, nc net.Conn, pooled bool) *Conn {
	c := &Conn{Conn: nc, server: s, pooled: pooled}
	c.watch()
	return c
}

// Server is whom the connection leads to.
func (c *Conn) Server() *Server { return c.server }

// Blind reports that nothing is known about a kept connection: it may be closed.
func (c *Conn) Blind() bool { return c.Reused && c.raw == nil }

// usable reports whether an idle connection is still open and silent.
func (c *Conn) usable() bool {
	if c.raw == nil {
		return true
	}
	c.quiet = false
	if err := c.raw.Read(c.peek); err != nil {
		return false
	}
	return c.quiet
}

// Keep gives back a connection whose answer was read to its end.
func (c *Conn) Keep(now time.Time) {
	if !c.pooled {
		c.Close()
		return
	}
	c.idle = now
	c.server.put(c)
}

// Drop closes a connection that cannot be used again.
func (c *Conn) Drop() {
	c.Close()
	if c.pooled {
		c.server.gone()
	}
}

// bare returns the connection beneath TLS.
func bare(nc net.Conn) net.Conn {
	if t, ok := nc.(*tls.Conn); ok {
		return t.NetConn()
	}
	return nc
}
