package main

import (
	"fmt"
	"net"
	"sync/atomic"
	"time"

	"github.com/valyala/fasthttp"

	"github.com/sluicegate/sluice/loadtest/origin"
	"github.com/sluicegate/sluice/loadtest/stage"
	"github.com/sluicegate/sluice/queue/queuetest/proc"
)

// orderPath is where an order frees the slot.
const orderPath = stage.Path + "/order"

// shop is a recording origin that can be ill. It records first.
type shop struct {
	addr   string
	origin *origin.Origin
	mood   atomic.Pointer[mood]
}

// mood is what the shop does wrong. The zero value is nothing.
type mood struct {
	status int           // answered to everything; 0: as it should be
	late   time.Duration // before every answer
	reset  bool          // no answer, and the connection is reset
	half   bool          // the first half of every answer, and the connection ends
}

func newShop(t proc.T) *shop {
	t.Helper()
	l, err := net.Listen("tcp", stage.FreeAddress(t))
	if err != nil {
		t.Fatal(err)
	}
	s := &shop{addr: l.Addr().String(), origin: origin.New(origin.Config{Gated: stage.Path, Order: orderPath, PageSize: 2000})}
	s.mood.Store(&mood{})
	server := &fasthttp.Server{
		Handler: s.handle, DisableHeaderNamesNormalizing: true, SecureErrorLogMessage: true,
		ReadBufferSize: 16 << 10, CloseOnShutdown: true, Logger: quiet{},
	}
	served := make(chan struct{})
	go func() {
		defer close(served)
		_ = server.Serve(l)
	}()
	t.Cleanup(func() {
		_ = server.Shutdown()
		<-served
	})
	return s
}

type quiet struct{}

func (quiet) Printf(string, ...any) {}

func (s *shop) handle(ctx *fasthttp.RequestCtx) {
	s.origin.Handle(ctx)
	m := s.mood.Load()
	if m.late > 0 {
		time.Sleep(m.late)
	}
	switch {
	case m.reset:
		if c, ok := ctx.Conn().(*net.TCPConn); ok {
			_ = c.SetLinger(0)
		}
		_ = ctx.Conn().Close()
	case m.half:
		text := ctx.Response.Body()
		fmt.Fprintf(ctx.Conn(), "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: %d\r\n\r\n%s", 1000+len(text), text)
		_ = ctx.Conn().Close()
	case m.status != 0:
		ctx.Response.Reset()
		ctx.SetStatusCode(m.status)
	}
}
