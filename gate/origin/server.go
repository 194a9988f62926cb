package origin

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"
)

var (
	// ErrBusy: all connections are in use.
	ErrBusy = errors.New("origin at its connection limit")
	// ErrConnect: no connection could be made; nothing was sent.
	ErrConnect = errors.New("origin unreachable")
)

// Server is one server with its connections. The newest idle connection is used
// first, so that the others can end.
type Server struct {
	network, addr string
	host          string      // for requests that name none
	tls           *tls.Config // nil for http
	dialer        net.Dialer
	max           int
	wait          time.Duration
	keep          time.Duration // how long a connection may be idle

	mu     sync.Mutex
	idle   []*Conn // oldest first
	open   int     // idle and in use
	queue  []chan *Conn
	sweep  *time.Timer
	closed bool
}

// Host is the name of the server as its URL has it.
func (s *Server) Host() string { return s.host }

// String is the server's address.
func (s *Server) String() string { return s.addr }

// take returns a connection, an idle one unless fresh is wanted. It waits a
// little when all are in use.
func (s *Server) take(now time.Time, fresh bool) (*Conn, error) {
	s.mu.Lock()
	for !fresh && len(s.idle) > 0 {
		c := s.pop()
		if now.Sub(c.idle) < s.keep {
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
	if s.open >= s.max && len(s.idle) > 0 {
		s.pop().Close()
		s.lost()
	}
	if s.closed {
		s.mu.Unlock()
		return nil, fmt.Errorf("%w: shut down", ErrBusy)
	}
	if s.open < s.max {
		s.open++
		s.mu.Unlock()
		return s.dialPlace()
	}
	turn := make(chan *Conn, 1)
	s.queue = append(s.queue, turn)
	s.mu.Unlock()

	timer := time.NewTimer(s.wait)
	defer timer.Stop()
	var c *Conn
	select {
	case c = <-turn:
	case <-timer.C:
		s.mu.Lock()
		for i, q := range s.queue {
			if q == turn {
				s.queue = append(s.queue[:i], s.queue[i+1:]...)
				s.mu.Unlock()
				return nil, fmt.Errorf("%w: %d connections to %s in use", ErrBusy, s.max, s.addr)
			}
		}
		s.mu.Unlock()
		c = <-turn // it was our turn after all
	}
	if c != nil {
		c.Reused = true
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
	c, err := s.dial(true)
	if err != nil {
		s.gone()
	}
	return c, err
}

func (s *Server) dial(pooled bool) (*Conn, error) {
	ctx, cancel := context.WithTimeout(context.Background(), s.dialer.Timeout)
	defer cancel()
	nc, err := s.dialer.DialContext(ctx, s.network, s.addr)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrConnect, err)
	}
	if s.tls != nil {
		t := tls.Client(nc, s.tls)
		if err := t.HandshakeContext(ctx); err != nil {
			nc.Close()
			return nil, fmt.Errorf("%w: %s: %w", ErrConnect, s.addr, err)
		}
		nc = t
	}
	return newConn(s, nc, pooled), nil
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
		turn := s.queue[0]
		s.queue = s.queue[:copy(s.queue, s.queue[1:])]
		turn <- c
	default:
		s.idle = append(s.idle, c)
		if s.sweep == nil {
			s.sweep = time.AfterFunc(s.keep, s.closeIdle)
		}
	}
}

func (s *Server) gone() {
	s.mu.Lock()
	s.lost()
	s.mu.Unlock()
}

// lost takes one connection off the count, or hands its place to who waits.
func (s *Server) lost() {
	if len(s.queue) > 0 && !s.closed {
		turn := s.queue[0]
		s.queue = s.queue[:copy(s.queue, s.queue[1:])]
		turn <- nil
		return
	}
	s.open--
}

// closeIdle closes what was idle too long. Its timer runs only while something is idle.
func (s *Server) closeIdle() {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	n := 0
	for n < len(s.idle) && now.Sub(s.idle[n].idle) >= s.keep {
		s.idle[n].Close()
		s.open--
		n++
	}
	kept := copy(s.idle, s.idle[n:])
	clear(s.idle[kept:])
	s.idle = s.idle[:kept]
	if kept == 0 || s.closed {
		s.sweep = nil
		return
	}
	s.sweep.Reset(max(s.keep-now.Sub(s.idle[0].idle), time.Millisecond))
}

// close closes what is idle and lets nothing be kept any more.
func (s *Server) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	if s.sweep != nil {
		s.sweep.Stop()
		s.sweep = nil
	}
	for _, c := range s.idle {
		c.Close()
		s.open--
	}
	s.idle = nil
}
