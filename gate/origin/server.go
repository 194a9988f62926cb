package origin

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

var (
	// ErrBusy: all connections are in use.
	ErrBusy = errors.New("origin at its connection limit")
	// ErrConnect: no connection could be made; nothing was sent.
	ErrConnect = errors.New("origin unreachable")
	// ErrNoOther: there is no other server that the request could be sent to.
	ErrNoOther = errors.New("no other origin")

	errRetired = fmt.Errorf("%w: the server is not used any more", ErrConnect)
)

// Server is one server with its connections. The newest idle connection is used
// first, so that the others can end.
type Server struct {
	group         *Group
	site          *site
	network, addr string
	health

	busy    atomic.Int32 // requests and tunnels that have a connection, or wait for one
	tunnels atomic.Int32
	common  atomic.Int32  // common requests that wait for their share
	commons chan struct{} // one for each connection that a common request has, or waits for

	mu      sync.Mutex
	idle    []*Conn // oldest first
	open    int     // idle and in use
	queue   []chan *Conn
	sweep   *time.Timer
	closed  bool
	unwatch context.CancelFunc // ends the checks; nil: there are none
}

func newServer(st *site, network, addr string) *Server {
	most := st.group.c.MaxConns
	return &Server{group: st.group, site: st, network: network, addr: addr, commons: make(chan struct{}, most-most/8)}
}

// Host is the name of the server as its URL has it.
func (s *Server) Host() string { return s.site.host }

// String is the server's address.
func (s *Server) String() string { return s.addr }

// ip is the server's address, if it has one.
func (s *Server) ip() (netip.Addr, bool) {
	a, err := netip.ParseAddrPort(s.addr)
	return a.Addr().Unmap(), err == nil
}

// take returns a connection, an idle one unless fresh is wanted. It waits a
// little when all are in use.
func (s *Server) take(now time.Time, fresh, common bool) (*Conn, error) {
	if common && !s.share() {
		return nil, fmt.Errorf("%w: %d connections to %s in use, and the rest is for visitors who were let in", ErrBusy, cap(s.commons), s)
	}
	s.busy.Add(1)
	c, err := s.find(now, fresh)
	if err != nil {
		s.busy.Add(-1)
		if common {
			<-s.commons
		}
		return nil, err
	}
	c.common = common
	return c, nil
}

// share waits a little for one of the connections that common requests may have.
func (s *Server) share() bool {
	select {
	case s.commons <- struct{}{}:
		return true
	default:
	}
	defer s.common.Add(-1)
	if int(s.common.Add(1)) > s.group.c.MaxQueue {
		return false
	}
	timer := time.NewTimer(s.group.c.BusyWait)
	defer timer.Stop()
	select {
	case s.commons <- struct{}{}:
		return true
	case <-timer.C:
		return false
	}
}

// free gives back what a common request had of its share.
func (s *Server) free(c *Conn) {
	if c.common {
		c.common = false
		<-s.commons
	}
}

func (s *Server) find(now time.Time, fresh bool) (*Conn, error) {
	conf := &s.group.c
	s.mu.Lock()
	for !fresh && len(s.idle) > 0 {
		c := s.pop()
		if now.Sub(c.idle) < conf.KeepAlive {
			s.mu.Unlock()
			if c.usable() {
				c.Reused = true
				return c, nil
			}
			c.Close()
			s.mu.Lock()
			s.lost()
			continue
		}
		c.Close()
		s.lost()
	}
	if s.open >= conf.MaxConns && len(s.idle) > 0 {
		s.pop().Close()
		s.lost()
	}
	if s.closed {
		s.mu.Unlock()
		return nil, errRetired
	}
	if s.open < conf.MaxConns {
		s.open++
		s.mu.Unlock()
		return s.dialPlace()
	}
	if len(s.queue) >= conf.MaxQueue {
		s.mu.Unlock()
		return nil, fmt.Errorf("%w: %d connections to %s in use, %d requests wait", ErrBusy, conf.MaxConns, s, conf.MaxQueue)
	}
	turn := make(chan *Conn, 1)
	s.queue = append(s.queue, turn)
	s.mu.Unlock()

	timer := time.NewTimer(conf.BusyWait)
	defer timer.Stop()
	var c *Conn
	given := false
	select {
	case c, given = <-turn:
	case <-timer.C:
		s.mu.Lock()
		i := slices.Index(s.queue, turn)
		if i >= 0 {
			s.queue = slices.Delete(s.queue, i, i+1)
		}
		s.mu.Unlock()
		if i >= 0 {
			return nil, fmt.Errorf("%w: %d connections to %s in use", ErrBusy, conf.MaxConns, s)
		}
		c, given = <-turn // it was our turn after all
	}
	if !given {
		return nil, errRetired
	}
	if c != nil {
		c.Reused, c.trial = true, false
		if !fresh {
			return c, nil
		}
		c.Close()
	}
	return s.dialPlace() // the place of the one that closed is ours
}

func (s *Server) pop() *Conn {
	n := len(s.idle) - 1
	c := s.idle[n]
	s.idle[n] = nil
	s.idle = s.idle[:n]
	return c
}

// dialPlace takes a place that was counted already, and gives it back on an error.
func (s *Server) dialPlace() (*Conn, error) {
	c, err := s.dial()
	if err != nil {
		s.gone()
	}
	return c, err
}

func (s *Server) dial() (*Conn, error) {
	ctx, cancel := context.WithTimeout(s.group.ctx, s.group.c.ConnectTimeout)
	defer cancel()
	nc, err := s.connect(ctx)
	if err != nil {
		return nil, err
	}
	return newConn(s, nc), nil
}

// dialTunnel returns a connection that is none of the pool's.
func (s *Server) dialTunnel() (*Conn, error) {
	c, err := s.dial()
	if err == nil {
		c.tunnel = true
		s.busy.Add(1)
		s.tunnels.Add(1)
	}
	return c, err
}

func (s *Server) connect(ctx context.Context) (net.Conn, error) {
	nc, err := s.group.c.Dial(ctx, s.network, s.addr)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrConnect, err)
	}
	if s.site.tls != nil {
		t := tls.Client(nc, s.site.tls)
		if err := t.HandshakeContext(ctx); err != nil {
			nc.Close()
			return nil, fmt.Errorf("%w: %s: %w", ErrConnect, s, err)
		}
		nc = t
	}
	return nc, nil
}

// put takes a connection back.
func (s *Server) put(c *Conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.closed:
		c.Close()
		s.lost()
	case len(s.queue) > 0:
		s.next() <- c
	default:
		s.idle = append(s.idle, c)
		if s.sweep == nil {
			s.sweep = time.AfterFunc(s.group.c.KeepAlive, s.closeIdle)
		}
	}
}

// next takes who waits longest out of the queue.
func (s *Server) next() chan *Conn {
	turn := s.queue[0]
	s.queue = slices.Delete(s.queue, 0, 1)
	return turn
}

func (s *Server) gone() {
	s.mu.Lock()
	s.lost()
	s.mu.Unlock()
}

// lost takes one connection off the count, or hands its place to who waits.
func (s *Server) lost() {
	if len(s.queue) > 0 {
		s.next() <- nil
		return
	}
	s.open--
}

// closeIdle closes what was idle too long. Its timer runs only while something is idle.
func (s *Server) closeIdle() {
	keep := s.group.c.KeepAlive
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	n := 0
	for n < len(s.idle) && now.Sub(s.idle[n].idle) >= keep {
		s.idle[n].Close()
		s.open--
		n++
	}
	s.idle = slices.Delete(s.idle, 0, n)
	if len(s.idle) == 0 || s.closed {
		s.sweep = nil
		return
	}
	s.sweep.Reset(max(keep-now.Sub(s.idle[0].idle), time.Millisecond))
}

// close closes what is idle, and lets nothing be kept and nobody wait any more.
func (s *Server) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	if s.unwatch != nil {
		s.unwatch()
	}
	if s.sweep != nil {
		s.sweep.Stop()
		s.sweep = nil
	}
	for _, c := range s.idle {
		c.Close()
		s.open--
	}
	s.idle = nil
	for _, turn := range s.queue {
		close(turn)
	}
	s.queue = nil
}
