package gate

import (
	"context"
	"errors"
	"fmt"
	"net"
	"syscall"

	"github.com/valyala/fasthttp"

	"github.com/sluicegate/sluice/gate/proxy"
)

// Server takes visitors' connections for a gate.
type Server struct {
	gate *Gate
	http fasthttp.Server
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
	s := &Server{gate: g}
	s.http = fasthttp.Server{
		Handler:         g.Handle,
		Concurrency:     connections,
		CloseOnShutdown: true,
		ErrorHandler:    g.malformed,
		ConnState: func(_ net.Conn, state fasthttp.ConnState) {
			switch state {
			case fasthttp.StateNew:
				g.metrics.OpenConnections(1)
			case fasthttp.StateClosed, fasthttp.StateHijacked:
				g.metrics.OpenConnections(-1)
			}
		},
	}
	proxy.ConfigureServer(&s.http)
	return s
}

// Serve answers on a listener until Shutdown, and returns nil then.
func (s *Server) Serve(l net.Listener) error {
	if err := s.http.Serve(l); err != nil && !errors.Is(err, net.ErrClosed) {
		return fmt.Errorf("serve visitors on %s: %w", l.Addr(), err)
	}
	return nil
}

// Shutdown takes no new connections and waits for requests under way until ctx ends.
func (s *Server) Shutdown(ctx context.Context) error { return s.http.ShutdownWithContext(ctx) }

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
