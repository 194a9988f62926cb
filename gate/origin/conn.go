package origin

import (
	"net"
	"syscall"
	"time"
)

// Conn is one connection to a server. Who has taken it ends with Keep or Drop, once.
type Conn struct {
	net.Conn
	Reused bool // it has served a request before

	// Deadlines as they are set, for those who move them.
	ReadBy, WriteBy time.Time

	server *Server
	tunnel bool            // none of the pool's
	common bool            // of a request whose share is limited
	trial  bool            // the server was out, and this is to show whether it is back
	raw    syscall.RawConn // nil when there is no file descriptor to look at
	peek   func(fd uintptr)
	quiet  bool // what peek found: nothing to read, and not closed
	idle   time.Time
}

func newConn(s *Server, nc net.Conn) *Conn {
	c := &Conn{Conn: nc, server: s}
	c.watch()
	return c
}

// Server is whom the connection leads to.
func (c *Conn) Server() *Server { return c.server }

// Blind reports that nothing is known about a kept connection: it may be closed.
func (c *Conn) Blind() bool { return c.Reused && c.raw == nil }

// IsTLS tells whether what was written may have left in parts.
func (c *Conn) IsTLS() bool { return c.server.site.tls != nil }

// usable reports whether an idle connection is still open and silent.
func (c *Conn) usable() bool {
	if c.raw == nil {
		return true
	}
	c.quiet = false
	if err := c.raw.Control(c.peek); err != nil { // Read minds deadlines of the past
		return false
	}
	return c.quiet
}

// Keep gives back a connection whose answer was read to its end.
func (c *Conn) Keep(now time.Time) {
	if c.tunnel {
		c.Drop()
		return
	}
	s := c.server
	s.free(c)
	c.idle = now
	s.put(c)
	s.busy.Add(-1)
}

// Drop closes a connection that cannot be used again.
func (c *Conn) Drop() {
	c.Close()
	s := c.server
	s.free(c)
	if c.tunnel {
		s.tunnels.Add(-1)
	} else {
		s.gone()
	}
	s.busy.Add(-1)
}

// Succeeded tells that the server has answered.
func (c *Conn) Succeeded() {
	if c.server.failing.Load() {
		c.server.succeeded(time.Now())
	}
}

// Failed tells that the server has not answered, and why.
func (c *Conn) Failed(err error) { c.server.failed(time.Now(), err, c.trial) }

// Bare returns the connection beneath TLS and whatever else it is wrapped in.
func Bare(nc net.Conn) net.Conn {
	for {
		outer, ok := nc.(interface{ NetConn() net.Conn })
		if !ok {
			return nc
		}
		nc = outer.NetConn()
	}
}
