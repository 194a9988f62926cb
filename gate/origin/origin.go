package origin

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"
	"sync/atomic"
	"time"
)

// Config says where the servers are. Zero values of all but URLs mean the default
// named beside them.
type Config struct {
	// URLs are the servers, taken in turn: http://host:port, https://host:port or
	// unix:/path. A path, query or user is refused: the request-target goes
	// through untouched, and a prefix would have to be glued to it.
	URLs           []string
	ConnectTimeout time.Duration // 2s, TLS included
	KeepAlive      time.Duration // 8s: how long a connection may be idle; below the server's own limit
	MaxConns       int           // 1024 connections to each, upgraded ones not counted
	BusyWait       time.Duration // 250ms: wait for a connection when all are in use
	TLS            *tls.Config   // for https; nil verifies against the system's roots
}

// Group is the servers of one shop. It is safe for concurrent use.
type Group struct {
	servers []*Server
	turn    atomic.Uint32
}

// New checks c and returns its servers. It does not connect.
func New(c Config) (*Group, error) {
	set := func(d *time.Duration, to time.Duration) {
		if *d == 0 {
			*d = to
		}
	}
	set(&c.ConnectTimeout, 2*time.Second)
	set(&c.KeepAlive, 8*time.Second)
	set(&c.BusyWait, 250*time.Millisecond)
	if c.MaxConns == 0 {
		c.MaxConns = 1024
	}
	var errs []error
	if c.ConnectTimeout < 0 || c.KeepAlive < 0 || c.BusyWait < 0 || c.MaxConns < 0 {
		errs = append(errs, errors.New("origin: a time or limit is negative"))
	}
	if len(c.URLs) == 0 {
		errs = append(errs, errors.New("origin: no URL"))
	}
	g := new(Group)
	for _, u := range c.URLs {
		s, err := newServer(u, &c)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		g.servers = append(g.servers, s)
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	return g, nil
}

func newServer(raw string, c *Config) (*Server, error) {
	s := &Server{
		network: "tcp",
		dialer:  net.Dialer{Timeout: c.ConnectTimeout},
		max:     c.MaxConns, wait: c.BusyWait, keep: c.KeepAlive,
	}
	if path, ok := strings.CutPrefix(raw, "unix:"); ok {
		path = strings.TrimPrefix(path, "//")
		if !strings.HasPrefix(path, "/") {
			return nil, fmt.Errorf("origin %q: the socket's path must begin with /", raw)
		}
		s.network, s.addr, s.host = "unix", path, "localhost"
		return s, nil
	}
	u, err := url.Parse(raw)
	if err != nil {
		return nil, fmt.Errorf("origin: %w", err)
	}
	switch {
	case u.Scheme != "http" && u.Scheme != "https":
		return nil, fmt.Errorf("origin %q: want http://, https:// or unix:/", raw)
	case u.Hostname() == "":
		return nil, fmt.Errorf("origin %q: no host", raw)
	case u.User != nil:
		return nil, fmt.Errorf("origin %q: a user is not supported", u.Redacted())
	case u.Path != "" && u.Path != "/" || u.RawQuery != "" || u.ForceQuery || u.Fragment != "":
		return nil, fmt.Errorf("origin %q: a path or query is not supported", raw)
	}
	port := u.Port()
	if port == "" {
		port = "80"
	}
	if u.Scheme == "https" {
		if u.Port() == "" {
			port = "443"
		}
		s.tls = &tls.Config{}
		if c.TLS != nil {
			s.tls = c.TLS.Clone()
		}
		if s.tls.ServerName == "" {
			s.tls.ServerName = u.Hostname()
		}
		s.tls.NextProtos = []string{"http/1.1"}
	}
	s.host, s.addr = u.Host, net.JoinHostPort(u.Hostname(), port)
	return s, nil
}

// pick returns the server whose turn it is, or the i-th after it.
func (g *Group) pick(i int) *Server {
	if len(g.servers) == 1 {
		return g.servers[0]
	}
	return g.servers[(int(g.turn.Load())+i)%len(g.servers)]
}

// Take returns a connection to the server whose turn it is, a new one if fresh.
// Others are tried when it cannot be reached: nothing was sent yet.
func (g *Group) Take(now time.Time, fresh bool) (*Conn, error) {
	return g.first(func(s *Server) (*Conn, error) { return s.take(now, fresh) })
}

// Dial returns a new connection that is none of the pool's and not counted there,
// for upgrades: an answer of 101 in the pool would be somebody's tunnel under the
// next request.
func (g *Group) Dial() (*Conn, error) {
	return g.first(func(s *Server) (*Conn, error) { return s.dial(false) })
}

func (g *Group) first(take func(*Server) (*Conn, error)) (c *Conn, err error) {
	if len(g.servers) > 1 {
		g.turn.Add(1)
	}
	for i := range g.servers {
		c, err = take(g.pick(i))
		if !errors.Is(err, ErrConnect) {
			break
		}
	}
	return c, err
}

// Close closes what is idle, and everything else when it is given back.
func (g *Group) Close() {
	for _, s := range g.servers {
		s.close()
	}
}

// Status is how a server stands.
type Status struct {
	Idle, Used int // connections; upgraded ones are not counted
	Waiting    int // requests that wait for a connection
}

// Status returns how the servers stand, in the order of their URLs.
func (g *Group) Status() []Status {
	out := make([]Status, len(g.servers))
	for i, s := range g.servers {
		s.mu.Lock()
		out[i] = Status{Idle: len(s.idle), Used: s.open - len(s.idle), Waiting: len(s.queue)}
		s.mu.Unlock()
	}
	return out
}
