package proxy

import (
	"bufio"
	"context"
	"errors"
	"flag"
	"io"
	"net"
	"net/netip"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/valyala/fasthttp"
	"go.uber.org/goleak"

	"github.com/sluicegate/sluice/gate/cert"
	"github.com/sluicegate/sluice/gate/origin"
)

func TestMain(m *testing.M) {
	flag.Parse()
	if flag.Lookup("test.bench").Value.String() != "" {
		os.Exit(m.Run()) // fasthttp's client, which is compared with, leaves goroutines behind
	}
	goleak.VerifyTestMain(m)
}

// patience is how long a test waits for what has to come.
const patience = 10 * time.Second

// rig is a gate with nothing but the proxy in it, and an origin that does on
// every connection what the test says.
type rig struct {
	t       testing.TB
	addr    string
	origin  string
	proxy   *Proxy
	server  *fasthttp.Server
	request Request                                       // given to Forward
	after   func(ctx *fasthttp.RequestCtx, a *Answer)     // called when Forward succeeded
	before  func(ctx *fasthttp.RequestCtx) (handled bool) // instead of Forward
	errs    chan error                                    // what Forward returned, nil too
	failed  chan error                                    // Config.Failed
	tls     *cert.Keeper                                  // nil: visitors come without
	dialled chan net.Conn                                 // every connection the origin got
}

// start runs a gate in front of an origin that calls serve for every connection.
func start(t testing.TB, serve func(n int, c *peerConn), options ...any) *rig {
	t.Helper()
	g := &rig{
		t: t, errs: make(chan error, 1000), failed: make(chan error, 1000), dialled: make(chan net.Conn, 1000),
		request: Request{Client: netip.MustParseAddr("203.0.113.7"), Proto: "http"},
	}
	shop, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	g.origin = shop.Addr().String()
	var served sync.WaitGroup
	served.Go(func() {
		for n := 0; ; n++ {
			c, err := shop.Accept()
			if err != nil {
				return
			}
			g.dialled <- c
			served.Go(func() {
				defer c.Close()
				serve(n, newPeer(t, c))
			})
		}
	})

	c := Config{Origin: origin.Config{URLs: []string{"http://" + shop.Addr().String()}}, Failed: func(err error) { g.failed <- err }}
	g.server = &fasthttp.Server{MaxIdleWorkerDuration: 100 * time.Millisecond} // its cleaner sleeps that long at the end
	for _, o := range options {
		switch o := o.(type) {
		case func(*Config):
			o(&c)
		case func(*rig):
			o(g)
		}
	}
	if g.proxy, err = New(c); err != nil {
		t.Fatal(err)
	}
	ConfigureServer(g.server)
	g.server.Handler = g.handle
	g.server.ExpectHandler = func(ctx *fasthttp.RequestCtx) int {
		if g.handle(ctx); ctx.UserValue("begun") != nil {
			return 100
		}
		return ctx.Response.StatusCode()
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	g.addr = ln.Addr().String()
	if g.tls != nil {
		ln = g.tls.Listener(ln)
	}
	var serving sync.WaitGroup
	serving.Go(func() { g.server.Serve(strictListener{ln}) })
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		ln.Close() // it may not have come to serve yet
		g.server.ShutdownWithContext(ctx)
		serving.Wait()
		now, cancelNow := context.WithCancel(context.Background())
		cancelNow()
		g.proxy.Shutdown(now)
		shop.Close()
		for len(g.dialled) > 0 {
			(<-g.dialled).Close()
		}
		served.Wait()
	})
	return g
}

// strictListener takes connections as the gate does.
type strictListener struct{ net.Listener }

func (l strictListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return Strict(c, nil), nil
}

func (g *rig) handle(ctx *fasthttp.RequestCtx) {
	if g.before != nil && g.before(ctx) {
		return
	}
	r := g.request
	var a Answer
	if begun, ok := ctx.UserValue("begun").(*begun); ok {
		a = begun.Answer
		ctx.RemoveUserValue("begun")
	}
	err := g.proxy.Forward(ctx, &r, &a)
	if a.Continue {
		ctx.SetUserValue("begun", &begun{a})
		return
	}
	g.errs <- err
	if err == nil {
		if g.after != nil {
			g.after(ctx, &a)
		}
		return
	}
	status := map[string]int{"request": 400, "expectation": 417, "client_body": 400, "too_large": 413, "busy": 503, "tunnels": 503, "timeout": 504}[Kind(err)]
	if status == 0 {
		status = 502
	}
	ctx.SetStatusCode(status)
	ctx.SetBodyString(Kind(err))
	if status == 400 || Kind(err) == "client" {
		ctx.SetConnectionClose()
	}
	CloseUnread(ctx)
}

// begun is a request whose body is awaited.
type begun struct{ Answer }

func (b *begun) Close() error { b.Abandon(); return nil }

// peerConn is either end as the test plays it.
type peerConn struct {
	net.Conn
	t  testing.TB
	br *bufio.Reader
}

func newPeer(t testing.TB, c net.Conn) *peerConn {
	c.SetDeadline(time.Now().Add(patience))
	return &peerConn{Conn: c, t: t, br: bufio.NewReader(c)}
}

// dial connects as a visitor.
func (g *rig) dial() *peerConn {
	g.t.Helper()
	c, err := net.Dial("tcp", g.addr)
	if err != nil {
		g.t.Fatal(err)
	}
	g.t.Cleanup(func() { c.Close() })
	return newPeer(g.t, c)
}

func (p *peerConn) send(s string) {
	if _, err := io.WriteString(p.Conn, s); err != nil {
		p.t.Errorf("sending %.40q: %v", s, err)
	}
}

// head reads through the blank line; "" at the end of the connection.
func (p *peerConn) head() string {
	var b strings.Builder
	for {
		s, err := p.br.ReadString('\n')
		b.WriteString(s)
		if err != nil {
			if b.Len() > 0 {
				p.t.Errorf("header cut off: %q: %v", b.String(), err)
			}
			return b.String()
		}
		if s == "\r\n" {
			return b.String()
		}
	}
}

// next reads n bytes.
func (p *peerConn) next(n int) string {
	b := make([]byte, n)
	got, err := io.ReadFull(p.br, b)
	if err != nil {
		p.t.Errorf("got %q, then %v, want %d bytes", b[:got], err, n)
	}
	return string(b[:got])
}

// rest reads to the end and says how it came: nil is an orderly end.
func (p *peerConn) rest() (string, error) {
	b, err := io.ReadAll(p.br)
	return string(b), err
}

func (p *peerConn) wantNext(want string) {
	p.t.Helper()
	if got := p.next(len(want)); got != want {
		p.t.Errorf("got  %q\nwant %q", got, want)
	}
}

func (p *peerConn) wantRest(want string) {
	p.t.Helper()
	got, err := p.rest()
	if err != nil {
		p.t.Errorf("after %q: %v", got, err)
	}
	if got != want {
		p.t.Errorf("got  %q\nwant %q", got, want)
	}
}

func (g *rig) wantErr(want error) {
	g.t.Helper()
	select {
	case err := <-g.errs:
		if !errors.Is(err, want) {
			g.t.Errorf("Forward returned %v, want %v", err, want)
		}
	case <-time.After(patience):
		g.t.Errorf("Forward did not return")
	}
}

// always answers every request without a body in the same way.
func always(answer string) func(int, *peerConn) {
	return func(_ int, c *peerConn) {
		for c.head() != "" {
			c.send(answer)
		}
	}
}

const (
	get = "GET / HTTP/1.1\r\nHost: shop.example\r\n\r\n"
	ok  = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
)

func wait[T any](t testing.TB, c <-chan T, what string) (v T) {
	t.Helper()
	select {
	case v = <-c:
	case <-time.After(patience):
		t.Fatalf("%s did not happen", what)
	}
	return v
}
