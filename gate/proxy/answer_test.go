package proxy

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/valyala/fasthttp"
)

// Answers on their way to the visitor.

func TestTheFirstBytesOfASlowAnswerComeAtOnce(t *testing.T) {
	for name, tc := range map[string]struct{ head, first, second, wantHead, wantFirst, wantSecond string }{
		"length": {"Content-Length: 10\r\n", "hello", "world", "Content-Length: 10\r\n", "hello", "world"},
		"chunked": {
			"Transfer-Encoding: chunked\r\n", "5\r\nhello\r\n", "5;x\r\nworld\r\n0\r\nT: x\r\n\r\n",
			"Transfer-Encoding: chunked\r\n", "5\r\nhello\r\n", "5\r\nworld\r\n0\r\n\r\n",
		},
	} {
		t.Run(name, func(t *testing.T) {
			step := make(chan bool)
			g := start(t, func(_ int, c *peerConn) {
				for c.head() != "" {
					c.send("HTTP/1.1 200 OK\r\n" + tc.head + "\r\n")
					<-step
					c.send(tc.first)
					<-step
					c.send(tc.second)
				}
			})
			c := g.dial()
			for range 2 {
				c.send(get)
				c.wantNext("HTTP/1.1 200 OK\r\n" + tc.wantHead + "\r\n")
				step <- true
				c.wantNext(tc.wantFirst)
				step <- true
				c.wantNext(tc.wantSecond)
			}
			if n := len(g.dialled); n != 1 {
				t.Errorf("%d connections to the origin: a stream's was not used again", n)
			}
		})
	}
	t.Run("to the end of the connection", func(t *testing.T) {
		step := make(chan bool)
		g := start(t, func(_ int, c *peerConn) {
			c.head()
			c.send("HTTP/1.1 200 OK\r\n\r\n")
			<-step
			c.send("hello")
			<-step
		})
		c := g.dial()
		for range 2 {
			c.send(get)
			c.wantNext("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
			step <- true
			c.wantNext("5\r\nhello\r\n")
			step <- true
			c.wantNext("0\r\n\r\n")
		}
	})
	t.Run("events, one by one", func(t *testing.T) {
		step := make(chan string)
		g := start(t, func(_ int, c *peerConn) {
			c.head()
			c.send("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
			for event := range step {
				c.send(fmt.Sprintf("%x\r\n%s\r\n", len(event), event))
			}
			c.send("0\r\n\r\n")
		})
		c := g.dial()
		c.send(get)
		c.wantNext("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
		for range 3 {
			step <- "data: x\n\n"
			c.wantNext("9\r\ndata: x\n\n\r\n")
		}
		close(step)
		c.wantNext("0\r\n\r\n")
	})
}

func TestAnOriginThatDiesInMidBodyEndsTheVisitorsConnection(t *testing.T) {
	for name, tc := range map[string]struct {
		answer, visitor string
		old             bool
		reset           bool
	}{
		"length": {
			answer:  "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello",
			visitor: "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello",
		},
		"chunked": {
			answer:  "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
			visitor: "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
		},
		"chunked, in a chunk": {
			answer:  "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nhello",
			visitor: "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
		},
		"chunked, then nonsense": {
			answer:  "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\nInternal Server Error",
			visitor: "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
		},
		"chunked, bare LF": {
			answer:  "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n5\nworld\n0\n\n",
			visitor: "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
		},
		"chunked, HTTP/1.0": {
			answer:  "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
			visitor: "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nhello",
			old:     true, reset: true,
		},
	} {
		t.Run(name, func(t *testing.T) {
			step := make(chan bool)
			g := start(t, func(n int, c *peerConn) {
				c.head()
				if n > 0 {
					c.send(ok)
					return
				}
				c.send(tc.answer)
				<-step
			})
			c := g.dial()
			if tc.old {
				c.send("GET / HTTP/1.0\r\n\r\n")
			} else {
				c.send(get)
			}
			c.wantNext(tc.visitor)
			step <- true
			if got, err := c.rest(); got != "" || (err != nil) != tc.reset {
				t.Errorf("then %q, %v", got, err)
			}
			g.wantErr(nil)
			if err := wait(t, g.failed, "report"); !errors.Is(err, ErrBroken) {
				t.Errorf("reported %v", err)
			}
			c = g.dial()
			c.send(get)
			c.wantNext(ok)
		})
	}
}

func TestASilentOriginIsGivenUp(t *testing.T) {
	t.Run("before the header", func(t *testing.T) {
		g := start(t, func(_ int, c *peerConn) { c.rest() }, func(c *Config) { c.HeaderTimeout = 20 * time.Millisecond })
		c := g.dial()
		c.send(get)
		g.wantErr(ErrTimeout)
		c.wantNext("HTTP/1.1 504 Gateway Timeout\r\nContent-Length: 7\r\n\r\ntimeout")
	})
	t.Run("within the header", func(t *testing.T) {
		g := start(t, func(_ int, c *peerConn) { c.send("HTTP/1.1 200 OK\r\n"); c.rest() }, func(c *Config) { c.HeaderTimeout = 20 * time.Millisecond })
		g.dial().send(get)
		g.wantErr(ErrTimeout)
	})
	t.Run("after a long body was sent", func(t *testing.T) {
		g := start(t, func(_ int, c *peerConn) { c.rest() }, func(c *Config) { c.HeaderTimeout = 20 * time.Millisecond })
		g.dial().send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9000\r\n\r\n" + strings.Repeat("x", 9000))
		g.wantErr(ErrTimeout)
	})
	t.Run("that takes no body", func(t *testing.T) {
		done := make(chan bool)
		g := start(t, func(_ int, c *peerConn) { <-done }, func(c *Config) { c.HeaderTimeout, c.IdleTimeout = 10*time.Millisecond, 50*time.Millisecond })
		defer close(done)
		c := g.dial()
		go io.Copy(c.Conn, io.MultiReader(strings.NewReader("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000000\r\n\r\n"), zeros{}))
		if err := wait(t, g.errs, "an end"); !errors.Is(err, ErrTimeout) || !strings.Contains(err.Error(), "took nothing of the body for 50ms") {
			t.Errorf("given up with %v", err)
		}
	})
	t.Run("but not one that takes it late", func(t *testing.T) {
		late := make(chan struct{})
		g := start(t, func(_ int, c *peerConn) {
			<-late
			c.head()
			c.next(64 << 20)
			c.send(ok)
		}, func(c *Config) { c.ClientTimeout = 500 * time.Millisecond })
		c := g.dial()
		go io.Copy(c.Conn, io.MultiReader(strings.NewReader("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 67108864\r\n\r\n"), io.LimitReader(zeros{}, 64<<20)))
		select {
		case err := <-g.errs:
			t.Errorf("given up with %v", err)
		case <-time.After(time.Second):
		}
		close(late)
		g.wantErr(nil)
		c.wantNext(ok)
	})
	t.Run("in mid-body", func(t *testing.T) {
		g := start(t, func(_ int, c *peerConn) {
			c.head()
			c.send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello")
			c.rest()
		}, func(c *Config) { c.IdleTimeout = 20 * time.Millisecond })
		c := g.dial()
		c.send(get)
		c.wantRest("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello")
		if err := wait(t, g.failed, "report"); !errors.Is(err, ErrTimeout) {
			t.Errorf("reported %v", err)
		}
	})
	t.Run("but a slow one is not: no timeout counts in total", func(t *testing.T) {
		g := start(t, func(_ int, c *peerConn) {
			c.head()
			c.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
			tick := time.NewTicker(10 * time.Millisecond)
			defer tick.Stop()
			for range 70 {
				<-tick.C
				c.send("1\r\nx\r\n")
			}
			c.send("0\r\n\r\n")
		}, func(c *Config) { c.IdleTimeout, c.ClientTimeout = 500*time.Millisecond, 500*time.Millisecond },
			func(g *rig) { g.server.ReadTimeout, g.server.WriteTimeout = 300*time.Millisecond, 300*time.Millisecond })
		c := g.dial()
		c.send(get)
		c.wantNext("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + strings.Repeat("1\r\nx\r\n", 70) + "0\r\n\r\n")
	})
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

func TestAVisitorWhoTakesNothingIsGivenUp(t *testing.T) {
	ended := make(chan error, 1)
	g := start(t, func(_ int, c *peerConn) {
		c.head()
		c.send("HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n")
		_, err := io.Copy(c.Conn, zeros{})
		ended <- err
	}, func(c *Config) { c.ClientTimeout = 50 * time.Millisecond })
	c := g.dial()
	c.send(get)
	c.head()
	if err := wait(t, g.failed, "report"); !errors.Is(err, ErrClient) {
		t.Errorf("reported %v", err)
	}
	if wait(t, ended, "end of the answer") == nil {
		t.Error("the origin could send all of it")
	}
}

func TestAnswersWithoutABody(t *testing.T) {
	for name, tc := range map[string]struct{ method, answer, want string }{
		"HEAD":              {"HEAD", "HTTP/1.1 200 OK\r\nX: 1\r\nContent-Length: 1234\r\nY: 2\r\n\r\n", "HTTP/1.1 200 OK\r\nX: 1\r\nContent-Length: 1234\r\nY: 2\r\n\r\n"},
		"HEAD, chunked":     {"HEAD", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", "HTTP/1.1 200 OK\r\n\r\n"},
		"HEAD, no length":   {"HEAD", "HTTP/1.1 404 None\r\nX: 1\r\n\r\n", "HTTP/1.1 404 None\r\nX: 1\r\n\r\n"},
		"204":               {"GET", "HTTP/1.1 204 No Content\r\nX: 1\r\n\r\n", "HTTP/1.1 204 No Content\r\nX: 1\r\n\r\n"},
		"204 with a length": {"GET", "HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n", "HTTP/1.1 204 No Content\r\n\r\n"},
		"304":               {"GET", "HTTP/1.1 304 Not Modified\r\nETag: \"x\"\r\n\r\n", "HTTP/1.1 304 Not Modified\r\nETag: \"x\"\r\n\r\n"},
		"304 with a length": {"GET", "HTTP/1.1 304 Not Modified\r\nContent-Length: 99\r\nETag: \"x\"\r\n\r\n", "HTTP/1.1 304 Not Modified\r\nContent-Length: 99\r\nETag: \"x\"\r\n\r\n"},
		"206":               {"GET", "HTTP/1.1 206 Partial Content\r\nContent-Range: bytes 0-1/10\r\nContent-Length: 2\r\n\r\nab", "HTTP/1.1 206 Partial Content\r\nContent-Range: bytes 0-1/10\r\nContent-Length: 2\r\n\r\nab"},
		"200, length 0":     {"GET", "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"},
		"interim answers":   {"GET", "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" + ok, ok},
		"bare LF":           {"GET", "HTTP/1.1 200 OK\nX: 1\nContent-Length: 2\n\nok", "HTTP/1.1 200 OK\r\nX: 1\r\nContent-Length: 2\r\n\r\nok"},
		"the length twice":  {"GET", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nok", ok},
	} {
		t.Run(name, func(t *testing.T) {
			g := start(t, always(tc.answer))
			c := g.dial()
			for range 2 {
				c.send(tc.method + " / HTTP/1.1\r\nHost: a\r\n\r\n")
				c.wantNext(tc.want)
				g.wantErr(nil)
			}
			if n := len(g.dialled); n != 1 {
				t.Errorf("%d connections to the origin", n)
			}
		})
	}
}

func TestAnAnswerThatMakesNoSenseIsBroken(t *testing.T) {
	for name, answer := range map[string]string{
		"no header":              "",
		"half a header":          "HTTP/1.1 200 OK\r\nContent-",
		"another protocol":       "SSH-2.0-OpenSSH_9.2\r\n\r\n",
		"version 2":              "HTTP/2.0 200 OK\r\n\r\n",
		"no status":              "HTTP/1.1 OK\r\n\r\n",
		"four digits":            "HTTP/1.1 2000 OK\r\n\r\n",
		"status 099":             "HTTP/1.1 099 OK\r\n\r\n",
		"folded line":            "HTTP/1.1 200 OK\r\nX: a\r\n b\r\nContent-Length: 0\r\n\r\n",
		"split by a bare CR":     "HTTP/1.1 200 OK\r\nX: a\rSet-Cookie: b\r\nContent-Length: 0\r\n\r\n",
		"CR in the reason":       "HTTP/1.1 200 O\rK\r\nContent-Length: 0\r\n\r\n",
		"blank in a name":        "HTTP/1.1 200 OK\r\nX A: b\r\nContent-Length: 0\r\n\r\n",
		"two lengths":            "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nok",
		"length no number":       "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\nok",
		"unknown coding":         "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\nok",
		"coding with HTTP/1.0":   "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
		"unasked 101":            "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n",
		"endless interim":        strings.Repeat("HTTP/1.1 102 Processing\r\n\r\n", 100),
		"header of 70 kilobytes": "HTTP/1.1 200 OK\r\nX: " + strings.Repeat("x", 70000) + "\r\n\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			g := start(t, func(n int, c *peerConn) {
				c.head()
				if n > 0 {
					c.send(ok)
					return
				}
				io.WriteString(c.Conn, answer) // may be cut off
				if name == "no header" || name == "half a header" {
					return
				}
				if got, _ := c.rest(); got != "" {
					t.Errorf("the connection was used again: %q", got)
				}
			}, func(c *Config) { c.Origin.Failures.Count = 1 })
			c := g.dial()
			c.send(get)
			c.wantNext("HTTP/1.1 502 Bad Gateway\r\nContent-Length: 6\r\n\r\nbroken")
			came := name != "no header" && name != "half a header"
			if err := wait(t, g.errs, "an end"); !errors.Is(err, ErrBroken) || errors.Is(err, ErrUnreadable) != came {
				t.Errorf("Forward returned %v", err)
			}
			if out := g.proxy.Ails(); out == came {
				t.Errorf("the server is blamed: %v, and an answer came: %v", out, came)
			}
			c.send(get)
			c.wantNext(ok)
		})
	}
}

func TestALongHeaderOfTheOriginIsTaken(t *testing.T) {
	long := strings.Repeat("x", 60000)
	g := start(t, always("HTTP/1.1 200 OK\r\nX: "+long+"\r\nContent-Length: 2\r\n\r\nok"))
	c := g.dial()
	for range 2 {
		c.send(get)
		c.wantNext("HTTP/1.1 200 OK\r\nX: " + long + "\r\nContent-Length: 2\r\n\r\nok")
	}
}

func TestVisitorsOfHTTP10AreServed(t *testing.T) {
	for name, tc := range map[string]struct {
		answer, request, want string
		stays                 bool
	}{
		"length":             {ok, "GET / HTTP/1.0\r\n\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok", false},
		"length, keep-alive": {ok, "GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: keep-alive\r\n\r\nok", true},
		"chunked": {
			"HTTP/1.1 200 OK\r\nX: 1\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n3\r\nabc\r\n0\r\n\r\n", "GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
			"HTTP/1.1 200 OK\r\nX: 1\r\nSet-Cookie: sluice-a=b\r\nConnection: close\r\n\r\nokabc", false,
		},
	} {
		t.Run(name, func(t *testing.T) {
			seen := make(chan string, 2)
			g := start(t, func(_ int, c *peerConn) {
				for h := c.head(); h != ""; h = c.head() {
					seen <- h
					c.send(tc.answer)
				}
			})
			if name == "chunked" {
				g.after = func(ctx *fasthttp.RequestCtx, _ *Answer) { ctx.Response.Header.Add("Set-Cookie", "sluice-a=b") }
			}
			c := g.dial()
			c.send(tc.request)
			if h := wait(t, seen, "request"); !strings.HasPrefix(h, "GET / HTTP/1.1\r\nHost: 127.0.0.1:") {
				t.Errorf("the origin got %q", h)
			}
			if tc.stays {
				c.wantNext(tc.want)
				c.send(tc.request)
				c.wantNext(tc.want)
				return
			}
			c.wantRest(tc.want)
		})
	}
}

func TestAnswersThatSharedCachesMightKeep(t *testing.T) {
	for name, tc := range map[string]struct {
		method, fields string
		cacheable      bool
		private        string // what leaves after MakePrivate
	}{
		"nothing said":            {"GET", "", true, "Cache-Control: private\r\n"},
		"public":                  {"GET", "cache-control: public, max-age=60, s-maxage=600, immutable\r\n", true, "Cache-Control: private, max-age=60, immutable\r\n"},
		"twice":                   {"GET", "Cache-Control: public\r\nX: 1\r\nCache-Control: max-age=60\r\n", true, "X: 1\r\nCache-Control: private, max-age=60\r\n"},
		"for a CDN alone":         {"GET", "Cache-Control: private\r\nCDN-Cache-Control: max-age=60\r\n", true, "Cache-Control: private\r\n"},
		"Surrogate-Control":       {"GET", "Surrogate-Control: max-age=60\r\n", true, "Cache-Control: private\r\n"},
		"private for one field":   {"GET", "Cache-Control: private=\"x\"\r\n", true, "Cache-Control: private\r\n"},
		"no-cache may be kept":    {"GET", "Cache-Control: no-cache,proxy-revalidate , must-revalidate\r\n", true, "Cache-Control: private, no-cache, must-revalidate\r\n"},
		"private in quotes":       {"GET", "Cache-Control: no-cache=\"a, private, b\", max-age=9\r\n", true, "Cache-Control: private, no-cache=\"a, b\", max-age=9\r\n"},
		"no-store":                {"GET", "cache-control: max-age=0, No-Store\r\n", false, ""},
		"private":                 {"GET", "Cache-Control: private\r\n", false, ""},
		"private, for CDNs, too":  {"GET", "Cache-Control: private\r\nCDN-Cache-Control: no-store\r\n", false, ""},
		"POST":                    {"POST", "", false, ""},
		"POST, public":            {"POST", "Cache-Control: public\r\n", true, "Cache-Control: private\r\n"},
		"nginx's own":             {"GET", "Cache-Control: no-store\r\nX-Accel-Expires: 60\r\n", true, "Cache-Control: private, no-store\r\n"},
		"Akamai's own":            {"GET", "Edge-Control: !no-store, max-age=1h\r\n", true, "Cache-Control: private\r\n"},
		"HEAD":                    {"HEAD", "Cache-Control: public\r\n", true, "Cache-Control: private\r\n"},
		"named in Connection too": {"GET", "Connection: cache-control\r\nCache-Control: public\r\n", true, "Cache-Control: private\r\n"},
	} {
		t.Run(name, func(t *testing.T) {
			g := start(t, always("HTTP/1.1 200 OK\r\n"+tc.fields+"Content-Length: 0\r\n\r\n"))
			g.after = func(ctx *fasthttp.RequestCtx, a *Answer) {
				if a.Cacheable != tc.cacheable {
					t.Errorf("cacheable: %v", a.Cacheable)
				}
				if a.Cacheable {
					MakePrivate(ctx)
				}
			}
			c := g.dial()
			c.send(tc.method + " / HTTP/1.1\r\nHost: a\r\n\r\n")
			switch h := c.head(); {
			case tc.cacheable:
				// The length stands before or behind the fields of the origin.
				want := "HTTP/1.1 200 OK\r\n" + tc.private + "\r\n"
				if got := strings.Replace(h, "Content-Length: 0\r\n", "", 1); got != want {
					t.Errorf("got %q, want %q", got, want)
				}
			case strings.Replace(h, "Content-Length: 0\r\n", "", 1) != "HTTP/1.1 200 OK\r\n"+tc.fields+"\r\n":
				t.Errorf("got %q", h)
			}
		})
	}
	t.Run("a page of a room is nobody else's", func(t *testing.T) {
		for fields, want := range map[string]string{
			"": "Cache-Control: private\r\n",
			"Content-Type: text/html; charset=utf-8\r\nX: 1\r\n":                                       "Content-Type: text/html; charset=utf-8\r\nX: 1\r\nCache-Control: private\r\n",
			"Content-Type: Text/HTML\r\nCache-Control: public, max-age=60\r\nX: 1\r\n":                 "Content-Type: Text/HTML\r\nX: 1\r\nCache-Control: private, max-age=60\r\n",
			"Content-Type: application/xhtml+xml\r\nCDN-Cache-Control: max-age=60\r\n":                 "Content-Type: application/xhtml+xml\r\nCache-Control: private\r\n",
			"Content-Type: text/html\r\nCache-Control: private\r\nX-Accel-Expires: 60\r\n":             "Content-Type: text/html\r\nCache-Control: private\r\n",
			"Content-Type: text/html\r\ncache-control: no-cache\r\n":                                   "Content-Type: text/html\r\nCache-Control: private, no-cache\r\n",
			"Content-Type: text/html\r\ncache-control: no-store\r\n":                                   "",
			"Content-Type: text/html\r\ncache-control: private, max-age=5\r\n":                         "",
			"Content-Type: application/json\r\n":                                                       "Content-Type: application/json\r\nCache-Control: private\r\n",
			"Content-Type: application/json\r\nCache-Control: no-cache\r\n":                            "", // it says how to keep it
			"Content-Type: text/css\r\nCache-Control: public, max-age=31536000, immutable\r\nX: 1\r\n": "", // and this is for everybody
			"Content-Type: text/css\r\nSurrogate-Control: max-age=60\r\n":                              "",
		} {
			if want == "" {
				want = fields
			}
			for _, method := range []string{"GET", "HEAD"} {
				g := start(t, always("HTTP/1.1 200 OK\r\n"+fields+"Content-Length: 0\r\n\r\n"))
				g.request.Room = "drop"
				c := g.dial()
				c.send(method + " / HTTP/1.1\r\nHost: a\r\n\r\n")
				if got := strings.Replace(c.head(), "Content-Length: 0\r\n", "", 1); got != "HTTP/1.1 200 OK\r\n"+want+"\r\n" {
					t.Errorf("%s, %q: got %q, want %q", method, fields, got, want)
				}
			}
		}
		g := start(t, always("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"))
		g.request.Room = "drop"
		c := g.dial()
		c.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n")
		c.wantNext("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
	})
	t.Run("left alone it is as it was sent", func(t *testing.T) {
		g := start(t, always("HTTP/1.1 200 OK\r\ncache-control: public\r\nX: 1\r\nCDN-cache-control: a\r\ncache-control: b\r\nContent-Length: 0\r\n\r\n"))
		c := g.dial()
		c.send(get)
		c.wantNext("HTTP/1.1 200 OK\r\ncache-control: public\r\nX: 1\r\nCDN-cache-control: a\r\ncache-control: b\r\nContent-Length: 0\r\n\r\n")
	})
}

func TestABigBodyGoesThroughWhole(t *testing.T) {
	const size = 3 << 20
	body := strings.Repeat("0123456789abcdef", size/16)
	for name, answer := range map[string]string{
		"length":  fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", size, body),
		"chunked": fmt.Sprintf("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n", size, body),
	} {
		t.Run(name, func(t *testing.T) {
			g := start(t, always(answer))
			c := g.dial()
			for range 2 {
				c.send(get)
				c.head()
				var src io.Reader = c.br
				if name == "chunked" {
					src = &dechunked{c: c}
				}
				got := make([]byte, size)
				if _, err := io.ReadFull(src, got); err != nil || string(got) != body {
					t.Fatalf("another body, %v", err)
				}
				if name == "chunked" {
					if _, err := src.Read(got); err != io.EOF {
						t.Error(err)
					}
				}
			}
			if n := len(g.dialled); n != 1 {
				t.Errorf("%d connections to the origin", n)
			}
		})
	}
}
