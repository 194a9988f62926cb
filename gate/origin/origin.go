package origin

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// Config says where the servers are. Zero values of all but URLs mean the default
// named beside them.
type Config struct {
	// URLs are http://host:port, https://host:port or unix:/path. A path, query or
	// user is refused: the request-target goes through untouched, and a prefix
	// would have to be glued to it.
	URLs           []string
	Balance        Balance       // RoundRobin
	ConnectTimeout time.Duration // 2s, TLS included
	KeepAlive      time.Duration // 8s: how long a connection may be idle; below the server's own limit
	MaxConns       int           // 1024 connections to each server, tunnels not counted
	MaxQueue       int           // 1024 requests wait for a connection to a server when all are in use; negative: none
	BusyWait       time.Duration // 250ms at most
	MaxAge         time.Duration // 10s: how long the addresses of a name are used unasked
	TLS            *tls.Config   // for https; nil verifies against the system's roots
	Host           string        // what checks name in Host; "": as in the URL
	Failures       Failures
	Check          *Check // nil: servers are not asked how they are

	// Retried, when set, is called for a request that is sent on to another server.
	Retried func()

	Log      *slog.Logger                                                         // nil: nobody listens
	Resolver Resolver                                                             // nil: the system's
	Dial     func(ctx context.Context, network, address string) (net.Conn, error) // nil: net.Dialer's
}

// Group is the servers of one shop. It is safe for concurrent use.
type Group struct {
	c       Config
	began   time.Time
	sites   []*site
	servers atomic.Pointer[[]*Server] // of all sites
	turn    atomic.Uint32

	ctx    context.Context
	cancel context.CancelFunc
	work   sync.WaitGroup
	mu     sync.Mutex // guards changes of the servers
}

// New checks c and returns its servers. It looks up names and begins checks, and
// connects for nothing else. Close ends it.
func New(c Config) (*Group, error) {
	or(&c.ConnectTimeout, 2*time.Second)
	or(&c.KeepAlive, 8*time.Second)
	or(&c.BusyWait, 250*time.Millisecond)
	or(&c.MaxAge, 10*time.Second)
	or(&c.MaxConns, 1024)
	or(&c.MaxQueue, 1024)
	or(&c.Failures.Count, 3)
	or(&c.Failures.Within, 30*time.Second)
	or(&c.Failures.Out, 5*time.Second)
	or(&c.Failures.MaxOut, max(time.Minute, c.Failures.Out))
	or(&c.Log, slog.New(slog.DiscardHandler))
	if c.Check != nil {
		check := *c.Check
		check.defaults()
		c.Check = &check
	}
	if c.Resolver == nil {
		c.Resolver = net.DefaultResolver
	}
	if c.Dial == nil {
		c.Dial = new(net.Dialer).DialContext
	}
	var errs []error
	if min(c.ConnectTimeout, c.KeepAlive, c.BusyWait, c.MaxAge, time.Duration(c.MaxConns),
		c.Failures.Within, c.Failures.Out, c.Failures.MaxOut-c.Failures.Out) < 0 {
		errs = append(errs, errors.New("origin: a time or limit is negative"))
	}
	if len(c.URLs) == 0 {
		errs = append(errs, errors.New("origin: no URL"))
	}
	g := &Group{c: c, began: time.Now()}
	for _, u := range c.URLs {
		st, err := g.newSite(u)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		g.sites = append(g.sites, st)
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	g.ctx, g.cancel = context.WithCancel(context.Background())
	g.mu.Lock()
	defer g.mu.Unlock()
	g.publish()
	for _, st := range g.sites {
		if st.name != "" {
			g.work.Go(func() { st.follow(g.ctx) })
		}
		for _, s := range st.servers {
			g.startChecks(s)
		}
	}
	return g, nil
}

func or[T comparable](v *T, to T) {
	var zero T
	if *v == zero {
		*v = to
	}
}

// publish puts the sites' servers in force. g.mu is held.
func (g *Group) publish() {
	var all []*Server
	for _, st := range g.sites {
		all = append(all, st.servers...)
	}
	g.servers.Store(&all)
}

// startChecks begins to ask a server how it is. g.mu is held.
func (g *Group) startChecks(s *Server) {
	if g.c.Check == nil || s.unwatch != nil {
		return
	}
	ctx, cancel := context.WithCancel(g.ctx)
	s.unwatch = cancel
	g.work.Go(func() { s.check(ctx) })
}

// since is an instant in nanoseconds of the group.
func (g *Group) since(t time.Time) int64 { return int64(t.Sub(g.began)) }

// Take returns a connection to a server that the round has not tried, and tries
// another when it cannot be reached, as nothing was sent yet. A round's first server
// may be one that is left alone, when all are; later ones are not. ErrNoOther says
// that there is none.
func (g *Group) Take(now time.Time, r *Round) (*Conn, error) {
	return g.search(now, r, func(s *Server) (*Conn, error) { return s.take(now, false, r.Common) })
}

// Again returns a new connection to the server that the round tried last, whose
// kept connection had come to its end.
func (g *Group) Again(now time.Time, r *Round) (*Conn, error) {
	s := r.tried[r.n-1]
	c, err := s.take(now, true, r.Common)
	switch {
	case err == nil:
		c.trial = r.trial
	case errors.Is(err, ErrConnect) && !errors.Is(err, errRetired):
		s.failed(now, err, r.trial)
	}
	return c, err
}

// Dial returns a new connection that is none of the pool's and not counted there,
// for upgrades: an answer of 101 in the pool would be somebody's tunnel under the
// next request.
func (g *Group) Dial(now time.Time, r *Round) (*Conn, error) {
	return g.search(now, r, (*Server).dialTunnel)
}

func (g *Group) search(now time.Time, r *Round, take func(*Server) (*Conn, error)) (*Conn, error) {
	first := r.n == 0
	for err := error(nil); ; {
		s := g.pick(r, now, first)
		if s == nil && r.n == 0 {
			if err := g.await(); err != nil {
				return nil, err
			}
			if s = g.pick(r, now, true); s == nil {
				return nil, fmt.Errorf("%w: there is none", ErrConnect)
			}
		}
		if s == nil {
			if err == nil {
				err = ErrNoOther
			}
			return nil, err
		}
		if r.n > 1 && g.c.Retried != nil {
			g.c.Retried()
		}
		var c *Conn
		c, err = take(s)
		switch {
		case err == nil:
			c.trial = r.trial
			return c, nil
		case g.ctx.Err() != nil:
			return nil, fmt.Errorf("%w: shut down", ErrBusy)
		case errors.Is(err, errRetired):
		case errors.Is(err, ErrConnect):
			s.failed(time.Now(), err, r.trial)
		default:
			return nil, err
		}
	}
}

// await waits until names were looked up, when there is no server yet.
func (g *Group) await() error {
	late := time.NewTimer(g.c.ConnectTimeout)
	defer late.Stop()
	var first error
	for _, st := range g.sites {
		select {
		case <-st.looked:
		case <-late.C:
			return fmt.Errorf("%w: lookup %s: no answer within %v", ErrConnect, st.name, g.c.ConnectTimeout)
		case <-g.ctx.Done():
			return fmt.Errorf("%w: shut down", ErrBusy)
		}
		g.mu.Lock()
		some, err := len(st.servers) > 0, st.err
		g.mu.Unlock()
		if some {
			return nil
		}
		or(&first, err)
	}
	return first
}

// Close ends lookups and checks, and closes what is idle; what is in use closes when
// it is given back.
func (g *Group) Close() {
	g.mu.Lock()
	g.cancel()
	for _, s := range *g.servers.Load() {
		s.close()
	}
	g.mu.Unlock()
	g.work.Wait()
}

// Status is how the servers of one URL stand.
type Status struct {
	Up, Out, Down int // servers: well; left alone for failures; for checks
	Idle, Used    int // connections; tunnels are not counted
	Tunnels       int
	Waiting       int // requests that wait for a connection
}

// Status returns how the servers stand, in the order of their URLs.
func (g *Group) Status() []Status {
	g.mu.Lock()
	defer g.mu.Unlock()
	out := make([]Status, len(g.sites))
	for i, st := range g.sites {
		for _, s := range st.servers {
			s.addTo(&out[i])
		}
	}
	return out
}

func (s *Server) addTo(t *Status) {
	switch {
	case s.down.Load():
		t.Down++
	case s.out.Load() != 0:
		t.Out++
	default:
		t.Up++
	}
	t.Tunnels += int(s.tunnels.Load())
	s.mu.Lock()
	defer s.mu.Unlock()
	t.Idle += len(s.idle)
	t.Used += s.open - len(s.idle)
	t.Waiting += len(s.queue)
}

// Ails tells whether a server is left alone.
func (g *Group) Ails() bool {
	for _, s := range *g.servers.Load() {
		if !s.isWell() {
			return true
		}
	}
	return false
}
