package proxy

import (
	"net"
	"strings"
	"sync"
	"testing"
	"time"
)

// Several servers of which one is broken: who notices, and who must not.

// another starts a server beside the rig's own and returns its URL, and what came.
func another(t *testing.T, serve func(n int, c *peerConn)) (url string) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	var open []net.Conn
	var done sync.WaitGroup
	done.Go(func() {
		for n := 0; ; n++ {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			mu.Lock()
			open = append(open, c)
			mu.Unlock()
			done.Go(func() { defer c.Close(); serve(n, newPeer(t, c)) })
		}
	})
	t.Cleanup(func() {
		ln.Close()
		mu.Lock()
		for _, c := range open {
			c.Close()
		}
		mu.Unlock()
		done.Wait()
	})
	return "http://" + ln.Addr().String()
}

// readRequest reads a header and a short body.
func readRequest(c *peerConn) string {
	h := c.head()
	switch {
	case strings.Contains(h, "Content-Length: 3\r\n"):
		h += c.next(3)
	case strings.Contains(h, "Transfer-Encoding: chunked\r\n"):
		h += c.next(len("3\r\nabc\r\n0\r\n\r\n"))
	}
	return h
}

func TestABrokenServerBesideAGoodOne(t *testing.T) {
	const (
		fine = "ok" // nobody notices
		bad  = "502"
		late = "504"
		cut  = "cut" // the header came, the body's end does not
	)
	requests := map[string]string{
		"GET":     get,
		"HEAD":    "HEAD / HTTP/1.1\r\nHost: a\r\n\r\n",
		"DELETE":  "DELETE / HTTP/1.1\r\nHost: a\r\n\r\n",
		"PUT":     "PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc",
		"PUT.":    "PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
		"POST":    "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc",
		"PATCH":   "PATCH / HTTP/1.1\r\nHost: a\r\n\r\n",
		"OPTIONS": "OPTIONS / HTTP/1.1\r\nHost: a\r\n\r\n",
	}
	may := []string{"GET", "HEAD", "DELETE", "PUT", "OPTIONS"}
	mayNot := []string{"POST", "PATCH", "PUT."} // the last one's body went by
	for name, tc := range map[string]struct {
		serve       func(n int, c *peerConn) // nil: nobody listens
		safe, other string                   // what becomes of requests that may be sent again, and of others
	}{
		"refuses":                {nil, fine, fine},
		"closes at once":         {func(_ int, c *peerConn) { readRequest(c) }, fine, bad},
		"resets":                 {func(_ int, c *peerConn) { readRequest(c); abort(c.Conn) }, fine, bad},
		"hangs":                  {func(_ int, c *peerConn) { readRequest(c); c.rest() }, fine, late},
		"begins an answer":       {func(_ int, c *peerConn) { readRequest(c); c.send("HTTP/1.1 200 OK\r\nX-Half: ") }, bad, bad},
		"speaks no HTTP":         {func(_ int, c *peerConn) { readRequest(c); c.send("220 smtp ready\r\n\r\n") }, bad, bad},
		"dies after a hint":      {func(_ int, c *peerConn) { readRequest(c); c.send("HTTP/1.1 103 Early Hints\r\n\r\n") }, bad, bad},
		"gives half of the body": {func(_ int, c *peerConn) { readRequest(c); c.send("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf") }, cut, cut},
	} {
		t.Run(name, func(t *testing.T) {
			for i, methods := range [][]string{may, mayNot} {
				want := [...]string{tc.safe, tc.other}[i]
				for _, method := range methods {
					if want == cut && method == "HEAD" {
						continue // has no body to be cut
					}
					if name == "hangs" && !strings.HasPrefix(method, "P") && method != "GET" {
						continue // each takes its time
					}
					t.Run(method, func(t *testing.T) {
						t.Parallel()
						good := make(chan string, 10)
						g := start(t, func(_ int, c *peerConn) {
							for {
								h := readRequest(c)
								if h == "" {
									return
								}
								good <- h
								if strings.HasPrefix(h, "HEAD") {
									c.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n")
								} else {
									c.send(ok)
								}
							}
						}, func(c *Config) {
							c.HeaderTimeout = time.Second
							broken := "http://127.0.0.1:1"
							if tc.serve != nil {
								broken = another(t, tc.serve)
							}
							c.Origin.URLs = append(c.Origin.URLs, broken)
						})
						outcomes := map[string]int{}
						for range 2 { // one of them comes to the broken one first
							c := g.dial()
							c.send(requests[method])
							h := c.head()
							switch {
							case strings.HasPrefix(h, "HTTP/1.1 502"):
								outcomes[bad]++
							case strings.HasPrefix(h, "HTTP/1.1 504"):
								outcomes[late]++
							case strings.Contains(h, "Content-Length: 9"):
								if body, err := c.rest(); body != "half" {
									t.Errorf("%s: half a body came as %q, %v", method, body, err)
								}
								outcomes[cut]++
							case method == "HEAD" && strings.HasPrefix(h, "HTTP/1.1 200 OK") || c.next(2) == "ok":
								outcomes[fine]++
							default:
								t.Errorf("%s: got %q", method, h)
							}
							c.Close()
						}
						switch {
						case want == fine && (outcomes[fine] != 2 || len(good) != 2):
							t.Errorf("%s: %v, and %d requests came to the good one; want it to serve both", method, outcomes, len(good))
						case want != fine && (outcomes[fine] != 1 || outcomes[want] != 1 || len(good) != 1):
							t.Errorf("%s: %v, and %d requests came to the good one; want one %s, and nothing sent twice", method, outcomes, len(good), want)
						}
					})
				}
			}
		})
	}
}

func TestAHangingServerCostsOneRequestAtMostTwoWaits(t *testing.T) {
	hang := func(_ int, c *peerConn) { readRequest(c); c.rest() }
	asked := make(chan bool, 10)
	count := func(n int, c *peerConn) { readRequest(c); asked <- true; c.rest() }
	g := start(t, hang, func(c *Config) {
		c.HeaderTimeout = 200 * time.Millisecond
		c.Origin.URLs = []string{another(t, count), another(t, count), another(t, count)}
	})
	c := g.dial()
	c.send(get)
	g.wantErr(ErrTimeout)
	c.wantNext("HTTP/1.1 504 Gateway Timeout\r\n")
	if n := len(asked); n != 2 {
		t.Errorf("%d servers were asked, want 2", n)
	}
}

// Something of it was sent: who gave it up for another server, which could not be
// reached, must not say that it was not.
func TestWhatMayHaveArrivedIsNotToldToBeUnsent(t *testing.T) {
	g := start(t, func(_ int, c *peerConn) { readRequest(c) }, func(c *Config) {
		c.Origin.URLs = append(c.Origin.URLs, "http://127.0.0.1:1")
	})
	for range 2 { // once the one comes first and once the other
		c := g.dial()
		c.send("PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc")
		g.wantErr(ErrBroken)
		c.wantNext("HTTP/1.1 502 Bad Gateway\r\n")
	}
}

func TestAFixedHost(t *testing.T) {
	seen := make(chan string, 1)
	g := start(t, func(_ int, c *peerConn) {
		for {
			h := readRequest(c)
			if h == "" {
				return
			}
			seen <- h
			if strings.Contains(h, "websocket") {
				c.send("HTTP/1.1 400 No\r\nContent-Length: 0\r\n\r\n")
				return
			}
			c.send(ok)
		}
	}, func(c *Config) { c.Host = "shop.internal" })
	for name, request := range map[string]string{
		"HTTP/1.1":  "GET / HTTP/1.1\r\nhost: www.shop.example\r\nAccept: */*\r\n\r\n",
		"HTTP/1.0":  "GET / HTTP/1.0\r\n\r\n",
		"WebSocket": handshake,
	} {
		c := g.dial()
		c.send(request)
		h := wait(t, seen, "request")
		if n := strings.Count(strings.ToLower(h), "\r\nhost: "); n != 1 || !strings.Contains(h, "\r\nHost: shop.internal\r\n") {
			t.Errorf("%s: the origin got %q", name, h)
		}
		if name == "HTTP/1.1" && !strings.Contains(h, "\r\nX-Forwarded-Host: www.shop.example\r\n") {
			t.Errorf("the origin is not told the visitor's host: %q", h)
		}
		c.Close()
	}
}
