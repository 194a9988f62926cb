package proxy

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/fasthttp/websocket"
	"github.com/valyala/fasthttp"

	"github.com/sluicegate/sluice/gate/origin"
)

const (
	handshake = "GET /ws HTTP/1.1\r\nHost: shop.example\r\nConnection: keep-alive, Upgrade\r\nUpgrade: WebSocket\r\n" +
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
	switching = "HTTP/1.1 101 Switching Protocols\r\nSec-WebSocket-Accept: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
)

func TestAWebSocketIsTunnelled(t *testing.T) {
	var upgrader = websocket.FastHTTPUpgrader{}
	shop := &fasthttp.Server{
		MaxIdleWorkerDuration: 100 * time.Millisecond,
		NoDefaultDate:         true,
		Handler: func(ctx *fasthttp.RequestCtx) {
			err := upgrader.Upgrade(ctx, func(c *websocket.Conn) {
				for {
					kind, b, err := c.ReadMessage()
					if err != nil {
						return
					}
					if err := c.WriteMessage(kind, b); err != nil {
						return
					}
				}
			})
			if err != nil {
				t.Error(err)
			}
		},
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var serving sync.WaitGroup
	serving.Go(func() { shop.Serve(ln) })
	t.Cleanup(func() { shop.Shutdown(); serving.Wait() })

	g := start(t, always(ok), func(c *Config) { c.Origin.URLs = []string{"http://" + ln.Addr().String()} })
	g.after = func(ctx *fasthttp.RequestCtx, a *Answer) {
		if !a.Upgraded || a.Status != 101 {
			t.Errorf("%+v", *a)
		}
		ctx.Response.Header.Add("Set-Cookie", "sluice-drop=pass")
	}
	c, resp, err := websocket.DefaultDialer.Dial("ws://"+g.addr+"/ws", http.Header{"Cookie": {"sluice-drop=x"}})
	if err != nil {
		t.Fatal(err)
	}
	if got := resp.Header.Get("Set-Cookie"); got != "sluice-drop=pass" {
		t.Errorf("cookie %q", got)
	}
	for _, size := range []int{0, 1, 100, 100_000, 2 << 20} {
		sent := make([]byte, size)
		rand.Read(sent)
		if err := c.WriteMessage(websocket.BinaryMessage, sent); err != nil {
			t.Fatal(err)
		}
		c.SetReadDeadline(time.Now().Add(patience))
		if _, got, err := c.ReadMessage(); err != nil || !bytes.Equal(got, sent) {
			t.Fatalf("%d bytes came back as %d, %v", size, len(got), err)
		}
	}
	c.Close()
}

func TestTheHandshakeHasItsOwnConnection(t *testing.T) {
	seen := make(chan string, 10)
	g := start(t, func(_ int, c *peerConn) {
		h := c.head()
		seen <- h
		if strings.HasPrefix(h, "GET /ws") {
			c.send(switching + "first")
			c.wantRest("pipelined, more")
			c.send("last")
			return
		}
		c.send(ok)
		seen <- c.head()
	})
	plain := g.dial()
	plain.send(get)
	plain.wantNext(ok)
	<-seen
	c := g.dial()
	c.send(handshake + "pipelined")
	if got, want := wait(t, seen, "handshake"), "GET /ws HTTP/1.1\r\nHost: shop.example\r\n"+
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"+
		"X-Forwarded-For: 203.0.113.7\r\nX-Forwarded-Proto: http\r\nX-Forwarded-Host: shop.example\r\nX-Forwarded-Port: 80\r\n\r\n"; got != want {
		t.Errorf("origin got\n%s\nwant\n%s", got, want)
	}
	c.wantNext(switching + "first")
	c.send(", more")
	// Each side may end by itself.
	c.CloseWrite()
	c.wantRest("last")
	if len(g.dialled) != 2 {
		t.Errorf("%d connections", len(g.dialled))
	}
	waitTunnels(g, 0)
	g.until(func(s origin.Status) bool { return s.Idle == 1 && s.Used == 0 })
}

func waitTunnels(g *rig, n int) {
	g.until(func(origin.Status) bool {
		g.proxy.tunnels.mu.Lock()
		defer g.proxy.tunnels.mu.Unlock()
		return len(g.proxy.tunnels.open) == n
	})
}

func TestOtherUpgradesAreNotForwarded(t *testing.T) {
	for name, head := range map[string]string{
		"TLS":                         "GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: TLS/1.2\r\n",
		"websocket, not in a list":    "GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket, TLS/1.2\r\n",
		"websocket without upgrade":   "GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\n",
		"websocket with POST":         "POST / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n",
		"websocket with HTTP/1.0":     "GET / HTTP/1.0\r\nHost: a\r\nConnection: Upgrade, keep-alive\r\nUpgrade: websocket\r\n",
		"websocket of another friend": "GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nUpgrade: TLS/1.2\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			seen := make(chan string, 1)
			g := start(t, func(n int, c *peerConn) {
				seen <- c.head()
				c.send("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n")
				if got, _ := c.rest(); got != "" {
					t.Errorf("used again: %q", got)
				}
			})
			c := g.dial()
			c.send(head + "\r\n")
			if h := strings.ToLower(wait(t, seen, "request")); strings.Contains(h, "upgrade") || strings.Contains(h, "http2") {
				t.Errorf("the origin got %q", h)
			}
			g.wantErr(ErrBroken)
			if h := c.head(); !strings.HasPrefix(h, "HTTP/1.1 502 ") {
				t.Errorf("got %q", h)
			}
		})
	}
}

func TestARefusedHandshakeIsAnAnswerLikeOthersAndTheLast(t *testing.T) {
	for name, answer := range map[string]string{
		"length":  "HTTP/1.1 403 No\r\nContent-Length: 2\r\n\r\nno",
		"nothing": "HTTP/1.1 403 No\r\nContent-Length: 0\r\n\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			g := start(t, always(answer))
			c := g.dial()
			c.send(handshake + get)
			want := strings.Replace(answer, "\r\n\r\n", "\r\nConnection: close\r\n\r\n", 1)
			got, _ := c.rest() // what we sent behind may cost us a reset
			if got != want {
				t.Errorf("got  %q\nwant %q", got, want)
			}
			waitTunnels(g, 0)
			waitOpen(g, 0)
		})
	}
	t.Run("switched to something else", func(t *testing.T) {
		g := start(t, always("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n"))
		c := g.dial()
		c.send(handshake)
		g.wantErr(ErrBroken)
		if h := c.head(); !strings.HasPrefix(h, "HTTP/1.1 502 ") {
			t.Errorf("got %q", h)
		}
		waitTunnels(g, 0)
	})
}

// echo upgrades and sends back what comes.
func echo(_ int, c *peerConn) {
	if c.head() == "" {
		return
	}
	c.send(switching)
	buf := make([]byte, 1000)
	for {
		n, err := c.br.Read(buf)
		if err != nil {
			return
		}
		c.send(string(buf[:n]))
	}
}

func (g *rig) tunnel() *peerConn {
	g.t.Helper()
	c := g.dial()
	c.send(handshake)
	c.wantNext(switching)
	c.send("\x81\x04ping")
	c.wantNext("\x81\x04ping")
	return c
}

func TestTunnelsAreLimited(t *testing.T) {
	open := 0
	told := make(chan int, 10)
	g := start(t, echo, func(c *Config) { c.Tunnels = NewTunnels(1); c.Tunnel = func(n int) { told <- n } })
	defer func() {
		for len(told) > 0 {
			open += <-told
		}
		if open < 0 || open > 1 {
			t.Errorf("%d tunnels were told of", open)
		}
	}()
	first := g.tunnel()
	g.wantErr(nil)
	c := g.dial()
	c.send(handshake)
	g.wantErr(ErrTunnels)
	c.wantNext("HTTP/1.1 503 Service Unavailable\r\n")
	first.Close()
	waitTunnels(g, 0)
	g.tunnel()
}

func TestATunnelIsMadeThoughTheServerWantsToClose(t *testing.T) {
	g := start(t, echo)
	g.server.DisableKeepalive = true // as CloseOnShutdown does at the end
	g.tunnel()
}

func TestAPeerOfATunnelMayPauseForAsLongAsItMayBeSilent(t *testing.T) {
	const size = 32 << 20
	g := start(t, func(_ int, c *peerConn) {
		c.head()
		c.send(switching)
		c.send(strings.Repeat("x", size))
		c.rest()
	}, func(c *Config) { c.ClientTimeout = 50 * time.Millisecond })
	c := g.dial()
	c.send(handshake)
	c.wantNext(switching)
	time.Sleep(300 * time.Millisecond) // that it reads nothing for a while is what is tested
	if n, err := io.CopyN(io.Discard, c.br, size); err != nil {
		t.Errorf("hung up after %d bytes: %v", n, err)
	}
	c.Close()
	waitTunnels(g, 0)
}

func TestAnEndOfOneSideEndsTheOther(t *testing.T) {
	t.Run("origin resets", func(t *testing.T) {
		g := start(t, func(_ int, c *peerConn) { c.head(); c.send(switching); c.next(1); abort(c.Conn) })
		c := g.dial()
		c.send(handshake)
		c.wantNext(switching)
		c.send("x")
		if got, _ := c.rest(); got != "" {
			t.Errorf("got %q", got)
		}
		waitTunnels(g, 0)
	})
	t.Run("visitor resets", func(t *testing.T) {
		ended := make(chan bool, 1)
		g := start(t, func(n int, c *peerConn) { echo(n, c); ended <- true })
		abort(g.tunnel().Conn)
		wait(t, ended, "end at the origin")
		waitTunnels(g, 0)
	})
	t.Run("nobody says anything", func(t *testing.T) {
		g := start(t, echo, func(c *Config) { c.TunnelTimeout = 30 * time.Millisecond })
		c := g.tunnel()
		if got, _ := c.rest(); got != "" {
			t.Errorf("got %q", got)
		}
		waitTunnels(g, 0)
	})
}

func TestShutdownWaitsForTunnelsAndThenClosesThem(t *testing.T) {
	t.Run("asks between two frames", func(t *testing.T) {
		more, closed := make(chan bool), make(chan string, 1)
		g := start(t, func(_ int, c *peerConn) {
			c.head()
			c.send(switching + "\x81\x05he")
			<-more
			c.send("llo")
			got, _ := c.rest()
			closed <- got
			c.send("\x88\x02\x03\xe9") // answers the visitor's
		})
		c := g.dial()
		c.send(handshake)
		c.wantNext(switching + "\x81\x05he")
		done := make(chan error, 1)
		go func() { done <- g.proxy.Shutdown(context.Background()) }()
		waitAsked(g)
		more <- true
		c.wantNext("llo" + goingAway)
		c.send("\x88\x82\x00\x00\x00\x00\x03\xe9")
		c.CloseWrite()
		c.wantRest("")
		if got := wait(t, closed, "end at the origin"); got != "\x88\x82\x00\x00\x00\x00\x03\xe9" {
			t.Errorf("the origin got %q", got)
		}
		if err := wait(t, done, "shutdown"); err != nil {
			t.Error(err)
		}
	})
	t.Run("asks at once where nothing is under way", func(t *testing.T) {
		g := start(t, func(_ int, c *peerConn) { c.head(); c.send(switching); c.rest() })
		c := g.dial()
		c.send(handshake)
		c.wantNext(switching)
		done := make(chan error, 1)
		go func() { done <- g.proxy.Shutdown(context.Background()) }()
		c.wantNext(goingAway)
		c.Close()
		if err := wait(t, done, "shutdown"); err != nil {
			t.Error(err)
		}
	})
	t.Run("waits", func(t *testing.T) {
		g := start(t, echo)
		c := g.tunnel()
		g.wantErr(nil)
		done := make(chan error, 1)
		go func() { done <- g.proxy.Shutdown(context.Background()) }()
		g.until(func(origin.Status) bool {
			g.proxy.tunnels.mu.Lock()
			defer g.proxy.tunnels.mu.Unlock()
			return g.proxy.tunnels.closed
		})
		other := g.dial()
		other.send(handshake)
		g.wantErr(ErrBusy)
		c.send("\x81\x02hi") // echoed, but the visitor gets no more
		c.wantNext(goingAway)
		c.Close()
		if err := wait(t, done, "shutdown"); err != nil {
			t.Error(err)
		}
	})
	t.Run("closes", func(t *testing.T) {
		g := start(t, echo)
		c := g.tunnel()
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		if err := g.proxy.Shutdown(ctx); !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
		if got, err := c.rest(); err != nil || got != "" && got != goingAway {
			t.Errorf("got %q, %v", got, err)
		}
		if err := g.proxy.Shutdown(ctx); err != nil {
			t.Errorf("a second time: %v", err)
		}
	})
	t.Run("and leaves no idle connections", func(t *testing.T) {
		ended := make(chan bool, 1)
		g := start(t, func(n int, c *peerConn) { always(ok)(n, c); ended <- true })
		c := g.dial()
		c.send(get)
		c.wantNext(ok)
		g.wantErr(nil)
		g.proxy.Shutdown(context.Background())
		wait(t, ended, "end of the idle connection")
		c.send(get)
		g.wantErr(ErrBusy)
	})
}

// waitAsked waits until the only tunnel was asked to end.
func waitAsked(g *rig) {
	g.until(func(origin.Status) bool {
		g.proxy.tunnels.mu.Lock()
		defer g.proxy.tunnels.mu.Unlock()
		for t := range g.proxy.tunnels.open {
			return t.asked.Load()
		}
		return false
	})
}

func TestFramesAreFollowedHoweverTheyAreCut(t *testing.T) {
	var stream []byte
	ends := map[int]bool{0: true}
	for _, size := range []int{0, 1, 125, 126, 127, 65535, 65536, 70000} {
		switch {
		case size < 126:
			stream = append(stream, 0x82, byte(size))
		case size < 1<<16:
			stream = append(stream, 0x82, 126, byte(size>>8), byte(size))
		default:
			stream = append(stream, 0x82, 127, 0, 0, 0, 0, 0, byte(size>>16), byte(size>>8), byte(size))
		}
		stream = append(stream, bytes.Repeat([]byte{0x81}, size)...)
		ends[len(stream)] = true
	}
	for _, piece := range []int{1, 2, 3, 7, 1000, len(stream)} {
		var f frames
		for at := 0; at < len(stream); {
			next := min(at+piece, len(stream))
			f.feed(stream[at:next])
			at = next
			if f.between() != ends[at] {
				t.Fatalf("pieces of %d: at %d between frames: %v", piece, at, f.between())
			}
		}
	}
}

func TestAPanicInATunnelIsReported(t *testing.T) {
	g := start(t, always(ok))
	func() {
		defer g.proxy.caught()
		panic("oops")
	}()
	if err := wait(t, g.failed, "report"); !strings.Contains(err.Error(), "oops") {
		t.Error(err)
	}
}

func TestWhateverRunsCountsAsUseOfTheSession(t *testing.T) {
	for name, tc := range map[string]struct {
		request string
		serve   func(c *peerConn, done <-chan bool)
	}{
		"a silent stream": {get, func(c *peerConn, done <-chan bool) {
			c.head()
			c.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
			<-done
			c.send("0\r\n\r\n")
		}},
		"a silent tunnel": {handshake, func(c *peerConn, done <-chan bool) { c.head(); c.send(switching); <-done }},
		"an upload": {"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n" + strings.Repeat("1\r\nx\r\n", 50000) + "0\r\n\r\n",
			func(c *peerConn, done <-chan bool) {
				c.head()
				go c.rest()
				<-done
				c.send(ok)
			}},
	} {
		t.Run(name, func(t *testing.T) {
			used, done := make(chan bool, 1000), make(chan bool)
			g := start(t, func(_ int, c *peerConn) { tc.serve(c, done) })
			g.proxy.period = 2 * time.Millisecond
			g.request.Use = func(Tag) {
				select {
				case used <- true:
				default:
				}
			}
			c := g.dial()
			c.send(tc.request)
			for range 3 {
				wait(t, used, "use")
			}
			close(done)
		})
	}
}

func TestTheLastTunnelsAreForVisitorsWhoWereLetIn(t *testing.T) {
	g := start(t, echo, func(c *Config) { c.Tunnels = NewTunnels(2) })
	g.request.Common = true
	first := g.tunnel()
	g.wantErr(nil)
	c := g.dial()
	c.send(handshake)
	g.wantErr(ErrTunnels)
	c.wantNext("HTTP/1.1 503 Service Unavailable\r\n")
	g.request.Common = false
	g.tunnel()
	g.wantErr(nil)
	first.Close()
	waitTunnels(g, 1)
	g.request.Common = true
	g.tunnel()
	g.wantErr(nil)
	for limit, want := range map[int]int{1: 1, 2: 1, 7: 6, 8: 7, 64: 56, 4096: 3584} {
		if got := NewTunnels(limit).common(); got != want {
			t.Errorf("of %d tunnels %d are anybody's, want %d", limit, got, want)
		}
	}
}

func TestTheTunnelsOfAReplacedProxyLiveOn(t *testing.T) {
	all := NewTunnels(1)
	old := start(t, echo, func(c *Config) { c.Tunnels = all })
	next := start(t, echo, func(c *Config) { c.Tunnels = all })
	c := old.tunnel()
	old.wantErr(nil)
	gone := make(chan error, 1)
	go func() { old.proxy.Retire(); gone <- nil }()
	old.until(func(origin.Status) bool {
		all.mu.Lock()
		defer all.mu.Unlock()
		return old.proxy.ended
	})
	c.send("\x81\x02hi")
	c.wantNext("\x81\x02hi")
	select {
	case <-gone:
		t.Error("the old proxy was let go with a tunnel")
	default:
	}
	// The limit is one for both.
	other := next.dial()
	other.send(handshake)
	next.wantErr(ErrTunnels)
	// And a stop of the new one reaches it.
	done := make(chan error, 1)
	go func() { done <- next.proxy.Shutdown(context.Background()) }()
	c.wantNext(goingAway)
	c.Close()
	if err := wait(t, done, "shutdown"); err != nil {
		t.Error(err)
	}
	wait(t, gone, "end of the old proxy")
}
