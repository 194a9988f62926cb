package proxy

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sluicegate/sluice/gate/origin"
)

// Connections to the origin: made, kept, looked at, given up.

func TestIdleConnectionsThatAreDeadOrNotSilentAreNotUsed(t *testing.T) {
	post := "POST / HTTP/1.1\r\nHost: a\r\n\r\n"
	for name, tc := range map[string]struct {
		after func(c *peerConn) // done by the origin behind its first answer
		again bool              // a second connection is wanted
	}{
		"alive":                     {func(*peerConn) {}, false},
		"closed":                    {func(c *peerConn) { c.Conn.Close() }, true},
		"reset":                     {func(c *peerConn) { abort(c.Conn) }, true},
		"an answer to nothing":      {func(c *peerConn) { c.send("HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison") }, true},
		"a little more of the body": {func(c *peerConn) { c.send("\r\n") }, true},
	} {
		t.Run(name, func(t *testing.T) {
			settled := make(chan bool)
			release := make(chan bool)
			g := start(t, func(n int, c *peerConn) {
				c.head()
				c.send(ok)
				if n == 0 {
					<-release // the first answer is with the visitor
					tc.after(c)
					close(settled)
				}
				for c.head() != "" {
					c.send(ok)
				}
			})
			c := g.dial()
			c.send(post)
			c.wantNext(ok)
			g.wantErr(nil)
			release <- true
			<-settled
			c.send(post) // never sent twice, so it has to be right at once
			c.wantNext(ok)
			g.wantErr(nil)
			if n := len(g.dialled); (n == 2) != tc.again {
				t.Errorf("%d connections", n)
			}
		})
	}
	t.Run("bytes behind the answer itself", func(t *testing.T) {
		g := start(t, func(_ int, c *peerConn) {
			for c.head() != "" {
				c.send(ok + "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison")
			}
		})
		c := g.dial()
		for range 3 {
			c.send(get)
			c.wantNext(ok)
		}
		if n := len(g.dialled); n != 3 {
			t.Errorf("%d connections", n)
		}
	})
	t.Run("asked to close", func(t *testing.T) {
		g := start(t, always("HTTP/1.1 200 OK\r\nConnection: Close\r\nContent-Length: 2\r\n\r\nok"))
		c := g.dial()
		for range 2 {
			c.send(get)
			c.wantNext(ok)
		}
		if n := len(g.dialled); n != 2 {
			t.Errorf("%d connections", n)
		}
	})
	t.Run("HTTP/1.0 closes unless it says otherwise", func(t *testing.T) {
		g := start(t, func(n int, c *peerConn) {
			if c.head(); n == 0 {
				c.send("HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok")
				c.rest()
				return
			}
			c.send("HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\nok")
			c.head()
			c.send(ok)
		})
		c := g.dial()
		for range 3 {
			c.send(get)
			c.wantNext(ok)
		}
		if n := len(g.dialled); n != 2 {
			t.Errorf("%d connections", n)
		}
	})
	t.Run("idle for too long", func(t *testing.T) {
		ended := make(chan bool, 10)
		g := start(t, func(_ int, c *peerConn) {
			for c.head() != "" {
				c.send(ok)
			}
			ended <- true
		}, func(c *Config) { c.Origin.KeepAlive = 20 * time.Millisecond })
		c := g.dial()
		c.send(get)
		c.wantNext(ok)
		wait(t, ended, "end of the idle connection")
	})
	t.Run("a visitor who leaves in mid-answer takes the connection with them", func(t *testing.T) {
		more := make(chan bool)
		g := start(t, func(n int, c *peerConn) {
			c.head()
			if n > 0 {
				c.send(ok)
				return
			}
			c.send("HTTP/1.1 200 OK\r\nContent-Length: 100000000\r\n\r\n")
			for range more {
				io.WriteString(c.Conn, "x") // until the proxy has dropped us
			}
			// Silent now, with most of the body to come.
			if got, _ := c.rest(); got != "" {
				t.Errorf("used again: %q", got)
			}
		})
		c := g.dial()
		c.send(get)
		c.head()
		abort(c.Conn)
		for gone := false; !gone; {
			select {
			case err := <-g.failed:
				if gone = true; !errors.Is(err, ErrClient) {
					t.Errorf("reported %v", err)
				}
			case more <- true:
			}
		}
		close(more)
		c = g.dial()
		c.send(get)
		c.wantNext(ok)
	})
}

func TestConnectionsAreLimited(t *testing.T) {
	t.Run("after a short wait it is busy", func(t *testing.T) {
		answer := make(chan bool)
		g := start(t, func(_ int, c *peerConn) { c.head(); <-answer; c.send(ok); c.rest() },
			func(c *Config) { c.Origin.MaxConns, c.Origin.BusyWait = 1, 10*time.Millisecond })
		first, second := g.dial(), g.dial()
		first.send(get)
		wait(t, g.dialled, "connection")
		second.send(get)
		g.wantErr(ErrBusy)
		second.wantNext("HTTP/1.1 503 Service Unavailable\r\nContent-Length: 4\r\n\r\nbusy")
		answer <- true
		first.wantNext(ok)
		g.wantErr(nil)
	})
	t.Run("who waits gets the one that is given back", func(t *testing.T) {
		answer := make(chan bool)
		g := start(t, func(_ int, c *peerConn) {
			for c.head() != "" {
				<-answer
				c.send(ok)
			}
		}, func(c *Config) { c.Origin.MaxConns, c.Origin.BusyWait = 1, patience })
		a, b := g.dial(), g.dial()
		a.send(get)
		<-g.dialled
		b.send(get)
		waitQueue(g, 1)
		answer <- true
		a.wantNext(ok)
		answer <- true
		b.wantNext(ok)
		if len(g.dialled) != 0 {
			t.Error("one more was made")
		}
	})
	t.Run("or the place of the one that was closed", func(t *testing.T) {
		answer := make(chan bool)
		g := start(t, func(_ int, c *peerConn) {
			c.head()
			<-answer
			c.send("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok")
		}, func(c *Config) { c.Origin.MaxConns, c.Origin.BusyWait = 1, patience })
		a, b := g.dial(), g.dial()
		a.send(get)
		<-g.dialled
		b.send(get)
		waitQueue(g, 1)
		answer <- true
		a.wantNext(ok)
		answer <- true
		b.wantNext(ok)
	})
	t.Run("whatever fails gives its place back", func(t *testing.T) {
		g := start(t, func(n int, c *peerConn) {
			c.head()
			switch n % 4 {
			case 0: // nothing
			case 1:
				c.send("nonsense\r\n\r\n")
			case 2:
				c.send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello")
			case 3:
				c.send("HTTP/1.1 413 No\r\nContent-Length: 0\r\n\r\n")
				c.rest()
			}
		}, func(c *Config) { c.Origin.MaxConns, c.Origin.BusyWait = 1, time.Millisecond })
		for range 3 {
			for n := range 4 {
				c := g.dial()
				if n == 3 {
					c.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 20000\r\n\r\n" + strings.Repeat("x", 10000))
				} else {
					c.send("POST / HTTP/1.1\r\nHost: a\r\n\r\n")
				}
				want := []error{ErrBroken, ErrBroken, nil, nil}[n]
				g.wantErr(want)
				c.CloseWrite()
				c.rest()
				if want == nil {
					waitOpen(g, 0)
				}
			}
		}
	})
}

// waitQueue waits until n requests wait for a connection.
func waitQueue(g *rig, n int) {
	g.until(func(s origin.Status) bool { return s.Waiting == n })
}

func waitOpen(g *rig, n int) { g.until(func(s origin.Status) bool { return s.Idle+s.Used == n }) }

// until looks until the only origin is as wanted.
func (g *rig) until(as func(origin.Status) bool) {
	g.t.Helper()
	deadline := time.After(patience)
	for !as(g.proxy.origins.Status()[0]) {
		select {
		case <-deadline:
			g.t.Fatal("the pool did not get there")
		case <-time.After(time.Millisecond):
		}
	}
}

func TestOriginsThatCannotBeReached(t *testing.T) {
	gone, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	gone.Close()
	t.Run("the only one", func(t *testing.T) {
		g := start(t, always(ok), func(c *Config) { c.Origin.URLs = []string{"http://" + gone.Addr().String()} })
		c := g.dial()
		c.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc")
		g.wantErr(ErrConnect)
		c.wantNext("HTTP/1.1 502 Bad Gateway\r\nContent-Length: 7\r\n\r\nconnect")
		// The short body was read: the connection goes on.
		c.send(get)
		c.wantNext("HTTP/1.1 502 Bad Gateway\r\nContent-Length: 7\r\n\r\nconnect")
	})
	t.Run("one of two", func(t *testing.T) {
		g := start(t, always(ok), func(c *Config) { c.Origin.URLs = append(c.Origin.URLs, "http://"+gone.Addr().String()) })
		c := g.dial()
		for range 4 {
			c.send("POST / HTTP/1.1\r\nHost: a\r\n\r\n")
			c.wantNext(ok)
		}
	})
}

func TestSeveralOriginsTakeTurns(t *testing.T) {
	serve := func(name string) string {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		var done sync.WaitGroup
		done.Go(func() {
			for {
				c, err := ln.Accept()
				if err != nil {
					return
				}
				done.Go(func() { defer c.Close(); always("HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n"+name)(0, newPeer(t, c)) })
			}
		})
		t.Cleanup(func() { ln.Close(); done.Wait() })
		return "http://" + ln.Addr().String()
	}
	a, b := serve("a"), serve("b")
	g := start(t, always(ok), func(c *Config) { c.Origin.URLs = []string{a, b} })
	c := g.dial()
	seen := map[string]int{}
	for range 10 {
		c.send(get)
		c.head()
		seen[c.next(1)]++
	}
	if seen["a"] != 5 || seen["b"] != 5 {
		t.Errorf("%v", seen)
	}
}

func TestWaysToTheOrigin(t *testing.T) {
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Date", "now")
		io.Copy(w, r.Body)
	})
	try := func(t *testing.T, ln net.Listener, url string, options ...any) *rig {
		if ln != nil {
			s := httptest.NewUnstartedServer(handler)
			s.Listener.Close()
			s.Listener = ln
			s.Start()
			t.Cleanup(s.Close)
		}
		g := start(t, always(ok), append(options, func(c *Config) { c.Origin.URLs = []string{url} })...)
		c := g.dial()
		for _, body := range []string{"ab", strings.Repeat("x", 20000)} {
			c.send("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
			c.send("2\r\n" + body[:2] + "\r\n0\r\n\r\n")
			if h := c.head(); !strings.HasPrefix(h, "HTTP/1.1 200 OK\r\n") || c.next(2) != body[:2] {
				t.Errorf("got %q", h)
			}
		}
		return g
	}
	listen := func(t *testing.T, network, addr string) net.Listener {
		ln, err := net.Listen(network, addr)
		if err != nil {
			t.Skipf("not tested: an origin at %s %s: %v", network, addr, err)
		}
		return ln
	}
	t.Run("IPv6", func(t *testing.T) {
		ln := listen(t, "tcp6", "[::1]:0")
		try(t, ln, "http://"+ln.Addr().String())
	})
	t.Run("by name", func(t *testing.T) {
		ln := listen(t, "tcp4", "127.0.0.1:0")
		_, port, _ := net.SplitHostPort(ln.Addr().String())
		try(t, ln, "http://localhost:"+port)
	})
	t.Run("unix socket", func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "s")
		try(t, listen(t, "unix", path), "unix:"+path)
	})
	t.Run("https", func(t *testing.T) {
		s := httptest.NewTLSServer(handler)
		t.Cleanup(s.Close)
		roots := x509.NewCertPool()
		roots.AddCert(s.Certificate())
		try(t, nil, s.URL, func(c *Config) { c.Origin.TLS = &tls.Config{RootCAs: roots} })
	})
	t.Run("https that cannot be verified", func(t *testing.T) {
		s := httptest.NewUnstartedServer(handler)
		s.Config.ErrorLog = log.New(io.Discard, "", 0)
		s.StartTLS()
		t.Cleanup(s.Close)
		g := start(t, always(ok), func(c *Config) { c.Origin.URLs = []string{s.URL} })
		c := g.dial()
		c.send(get)
		g.wantErr(ErrConnect)
		c.wantNext("HTTP/1.1 502 Bad Gateway\r\nContent-Length: 7\r\n\r\nconnect")
	})
}
