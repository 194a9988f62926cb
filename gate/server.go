package gate

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/valyala/fasthttp"

	"github.com/sluicegate/sluice/gate/proxy"
)

// Server takes visitors' connections for a gate.
type Server struct {
	gate *Gate
	http fasthttp.Server

	stopping atomic.Bool

	mu    sync.Mutex
	fresh map[net.Conn]time.Time // since when; they have sent no request yet
}

// Connections is how many visitors' connections this process can have open, by
// its limit on open files: what the origins and everything else need is left over.
func Connections(originConns int) (int, error) {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return 0, fmt.Errorf("read the limit on open files: %w", err)
	}
	const others = 256 // store, admin, log, listeners
	n := int(min(limit.Cur, 1<<20)) - originConns - others
	if n < 256 {
		return 0, fmt.Errorf("the limit of %d open files leaves %d for visitors beside %d for the origin: raise it (ulimit -n) or lower origin.max_conns",
			limit.Cur, max(n, 0), originConns)
	}
	return n, nil
}

// HeldShare is how many of those connections may be held polls.
func HeldShare(connections int) int { return connections / 10 }

// NewServer returns the server of a gate.
func NewServer(g *Gate, connections int) *Server {
	s := &Server{gate: g, fresh: make(map[net.Conn]time.Time)}
	s.http = fasthttp.Server{
		Handler: func(ctx *fasthttp.RequestCtx) {
			if ctx.ConnRequestNum() == 1 {
				s.setFresh(ctx.Conn(), false)
			}
			g.Handle(ctx)
		},
		ExpectHandler: func(ctx *fasthttp.RequestCtx) int {
			s.setFresh(ctx.Conn(), false)
			return g.Expect(ctx)
		},
		Concurrency:     connections,
		CloseOnShutdown: true,
		ErrorHandler:    g.malformed,
		ConnState: func(c net.Conn, state fasthttp.ConnState) {
			if lane := laneOf(c); lane != nil {
				lane.mark(state)
			}
			switch state {
			case fasthttp.StateNew:
				g.metrics.OpenConnections(1)
				s.setFresh(c, true)
			case fasthttp.StateClosed, fasthttp.StateHijacked:
				g.metrics.OpenConnections(-1)
				s.setFresh(c, false)
			}
		},
	}
	proxy.ConfigureServer(&s.http)
	return s
}

// Serve answers on a listener until Shutdown, and returns nil then.
func (s *Server) Serve(l net.Listener) error {
	if err := s.http.Serve(laneListener{newCrowdedListener(l), s}); err != nil && !errors.Is(err, net.ErrClosed) {
		return fmt.Errorf("serve visitors on %s: %w", l.Addr(), err)
	}
	return nil
}

// freshFor is how old a connection is that a stop closes though nothing was sent
// on it: browsers open some before they need them. fasthttp takes these for
// requests under way.
const freshFor = time.Second

func (s *Server) setFresh(c net.Conn, fresh bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if fresh {
		s.fresh[c] = time.Now()
	} else {
		delete(s.fresh, c)
	}
}

func (s *Server) closeFresh() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for c, since := range s.fresh {
		if time.Since(since) > freshFor {
			_ = c.Close()
		}
	}
}

// Shutdown takes no new connections and waits for requests under way until ctx ends.
func (s *Server) Shutdown(ctx context.Context) error {
	s.stopping.Store(true)
	over := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		tick := time.NewTicker(50 * time.Millisecond)
		defer tick.Stop()
		for {
			s.closeFresh()
			select {
			case <-tick.C:
			case <-over:
				return
			}
		}
	})
	defer wg.Wait()
	defer close(over)
	return s.http.ShutdownWithContext(ctx)
}

// malformed answers what fasthttp could not read as a request.
func (g *Gate) malformed(ctx *fasthttp.RequestCtx, err error) {
	x := exchanges.Get().(*exchange)
	x.begin(g, ctx)
	defer x.end()
	status := fasthttp.StatusBadRequest
	var small *fasthttp.ErrSmallBuffer
	var network net.Error
	switch {
	case errors.As(err, &small):
		status = fasthttp.StatusRequestHeaderFieldsTooLarge
	case errors.As(err, &network) && network.Timeout():
		status = fasthttp.StatusRequestTimeout
	}
	x.refuse(status)
}
