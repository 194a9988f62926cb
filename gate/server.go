package gate

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/valyala/fasthttp"

	"github.com/sluicegate/sluice/gate/door"
	"github.com/sluicegate/sluice/gate/proxy"
	"github.com/sluicegate/sluice/metrics"
)

// Server takes visitors' connections for a gate.
type Server struct {
	gate *Gate
	http fasthttp.Server
	door *door.Door

	watch   sync.Once // starts the door's
	watched sync.WaitGroup
	ctx     context.Context
	stop    func()

	farewell atomic.Pointer[farewell] // nil: the gate stays
}

// HeldShare is how many of a server's connections may be held polls.
func HeldShare(connections int) int { return connections / 10 }

// NewServer returns the server of a gate.
func NewServer(g *Gate, limits door.Limits) *Server {
	s := &Server{gate: g, door: door.New(limits, g.metrics, g.answerHeld)}
	s.ctx, s.stop = context.WithCancel(context.Background())
	s.http = fasthttp.Server{
		Handler: func(ctx *fasthttp.RequestCtx) {
			g.Handle(ctx)
			if s.farewell.Load().isLast() && !ctx.Hijacked() { // a tunnel is no answer
				ctx.SetConnectionClose()
			}
		},
		ExpectHandler: g.Expect,
		// The door counts, and a worker may be a moment behind with its last connection:
		// beyond this fasthttp answers 503 in its own words.
		Concurrency:     2*limits.Conns + 1024,
		ReadTimeout:     s.door.Limits().Header,
		ReadBufferSize:  int(g.site.Load().limits.Header),
		CloseOnShutdown: true,
		ErrorHandler:    g.malformed,
		ConnState: func(c net.Conn, state fasthttp.ConnState) {
			lane := laneOf(c)
			if lane == nil {
				return
			}
			switch state {
			case fasthttp.StateActive:
				lane.mark(state)
				lane.door.Reading()
			case fasthttp.StateIdle:
				lane.mark(state)
				lane.door.Idle()
			case fasthttp.StateClosed:
				lane.written()
			}
		},
	}
	proxy.ConfigureServer(&s.http)
	return s
}

// Serve answers on a listener until Shutdown, and returns nil then. It may be called for
// several. Connections come
// through the door first; what else they begin with, such as the PROXY protocol or TLS,
// each of upon takes off, in that order.
func (s *Server) Serve(l net.Listener, upon ...func(net.Listener) net.Listener) error {
	s.watch.Do(func() { s.watched.Go(func() { s.door.Run(s.ctx) }) })
	through := s.door.Listen(l, len(upon) == 0)
	for _, f := range upon {
		through = f(through)
	}
	if err := s.http.Serve(laneListener{through, s}); err != nil && !errors.Is(err, net.ErrClosed) {
		return fmt.Errorf("serve visitors on %s: %w", l.Addr(), err)
	}
	return nil
}

// Narrow has the server take so many connections fewer than its limit.
func (s *Server) Narrow(by int) { s.door.Narrow(by) }

// Farewell has ever more answers end their connection, all of them once d is over:
// visitors who are busy come back by a new one, to a gate that stays. Closing a
// connection that they keep would meet a request under way now and then. Shutdown
// follows.
func (s *Server) Farewell(d time.Duration) { s.farewell.Store(&farewell{time.Now(), d}) }

// farewell is when a gate began to go, and how long it takes.
type farewell struct {
	since time.Time
	takes time.Duration
}

// isLast tells whether an answer is to be its connection's last one.
func (f *farewell) isLast() bool {
	return f != nil && time.Since(f.since) >= time.Duration(rand.Int64N(int64(f.takes)+1))
}

const (
	// unusedFor is how long nothing has come on a connection that a stop ends: none was
	// opened ahead of need, and whoever is busy has asked once more and was told that
	// the connection ends.
	unusedFor = time.Second
	// lastAnswers is how long answers may take to leave that were decided before every
	// one ends its connection.
	lastAnswers = 50 * time.Millisecond
)

// Shutdown takes no new connections and waits for requests under way until ctx ends.
// One that arrives by then on a connection that was kept is answered, too.
func (s *Server) Shutdown(ctx context.Context) error {
	defer s.watched.Wait()
	defer s.stop()
	s.Farewell(0)
	time.Sleep(lastAnswers)
	over := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		tick := time.NewTicker(50 * time.Millisecond)
		defer tick.Stop()
		for {
			s.door.EndUnused(unusedFor)
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
	if x.door.Ending() {
		x.turnAway() // it was the door that had no patience
		return
	}
	status := fasthttp.StatusBadRequest
	var small *fasthttp.ErrSmallBuffer
	var network net.Error
	line, lines, over := proxy.Overlong(ctx)
	switch {
	case over:
		status = x.readOverlong(line, lines)
	case errors.As(err, &small):
		status = fasthttp.StatusRequestHeaderFieldsTooLarge
	case errors.As(err, &network) && network.Timeout():
		status = fasthttp.StatusRequestTimeout
		g.metrics.Refused(metrics.RefusedHeader)
	default:
		x.why = proxy.Refused(ctx)
	}
	x.refuse(status)
}
