package gate

import (
	"errors"
	"net"
	"os"
	"sync"
	"time"
)

// lateConn is a connection whose deadlines may be moved often at no cost: a later one
// is only noted, and set once the one before it is over. Whoever reads or writes
// sees no difference. A server moves them several times a request, and hardly one of
// them is ever reached.
type lateConn struct {
	net.Conn
	read, write lateDeadline
}

type lateDeadline struct {
	mu     sync.Mutex
	set    time.Time // what the connection knows; zero: none
	wanted time.Time
}

// move sets a deadline, by apply, unless the one that is set comes first.
func (d *lateDeadline) move(t time.Time, apply func(time.Time) error) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.wanted = t
	if !d.set.IsZero() && (t.IsZero() || t.After(d.set)) {
		return nil
	}
	d.set = t
	return apply(t)
}

// over tells whether an error says that the deadline which is set has passed though a
// later one is wanted, which then is set.
func (d *lateDeadline) over(err error, apply func(time.Time) error) bool {
	if !errors.Is(err, os.ErrDeadlineExceeded) {
		return false
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.wanted.Equal(d.set) {
		return false
	}
	d.set = d.wanted
	return apply(d.wanted) == nil
}

func (c *lateConn) SetReadDeadline(t time.Time) error { return c.read.move(t, c.Conn.SetReadDeadline) }
func (c *lateConn) SetWriteDeadline(t time.Time) error {
	return c.write.move(t, c.Conn.SetWriteDeadline)
}

func (c *lateConn) SetDeadline(t time.Time) error {
	return errors.Join(c.SetReadDeadline(t), c.SetWriteDeadline(t))
}

func (c *lateConn) Read(p []byte) (int, error) {
	for {
		n, err := c.Conn.Read(p)
		if n > 0 || err == nil || !c.read.over(err, c.Conn.SetReadDeadline) {
			return n, err
		}
	}
}

func (c *lateConn) Write(p []byte) (int, error) {
	written := 0
	for {
		n, err := c.Conn.Write(p[written:])
		written += n
		if err == nil || !c.write.over(err, c.Conn.SetWriteDeadline) {
			return written, err
		}
	}
}

// CloseWrite ends what is sent.
func (c *lateConn) CloseWrite() error { return closeWrite(c.Conn) }

// NetConn returns the connection itself.
func (c *lateConn) NetConn() net.Conn { return c.Conn }

func closeWrite(conn net.Conn) error {
	if half, ok := conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return conn.Close()
}
