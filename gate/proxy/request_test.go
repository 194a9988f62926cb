package proxy

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/valyala/fasthttp"

	"github.com/sluicegate/sluice/gate/origin"
)

// Bodies on their way to the origin, and what becomes of them when somebody
// breaks off.

// early makes the gate answer by itself, without reading the body.
func early(g *rig) {
	g.before = func(ctx *fasthttp.RequestCtx) bool {
		ctx.SetStatusCode(429)
		ctx.SetBodyString("wait")
		CloseUnread(ctx)
		return true
	}
}

func TestABodyThatWasNotReadIsNotTheNextRequest(t *testing.T) {
	smuggled := "GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n"
	long := smuggled + strings.Repeat("x", prefetched)
	for name, request := range map[string]string{
		"length":         fmt.Sprintf("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n%s", len(long), long),
		"length, cut":    "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n" + long,
		"chunked":        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n" + fmt.Sprintf("%x\r\n%s\r\n0\r\n\r\n", len(smuggled), smuggled),
		"chunked, after": "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n" + "0\r\n\r\n" + smuggled,
		"GET":            "GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n" + smuggled,
	} {
		t.Run(name, func(t *testing.T) {
			g := start(t, always(ok), early)
			c := g.dial()
			c.send(request)
			c.wantRest("HTTP/1.1 429 Too Many Requests\r\nContent-Length: 4\r\nConnection: close\r\n\r\nwait")
		})
	}
	t.Run("a short body is read and the connection stays", func(t *testing.T) {
		g := start(t, always(ok), early)
		c := g.dial()
		for _, body := range []string{"", "x", strings.Repeat("x", prefetched)} {
			c.send(fmt.Sprintf("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n%s", len(body), body))
			c.wantNext("HTTP/1.1 429 Too Many Requests\r\nContent-Length: 4\r\n\r\nwait")
		}
		c.send("POST / HTTP/1.1\r\nHost: a\r\n\r\n")
		c.wantNext("HTTP/1.1 429 Too Many Requests\r\nContent-Length: 4\r\n\r\nwait")
	})
	t.Run("the answer outruns a body that is still being sent", func(t *testing.T) {
		g := start(t, always(ok), early)
		c := g.dial()
		c.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 700000\r\n\r\n")
		for range 10 {
			c.send(strings.Repeat("x", 70000)) // a reset would show here or below
		}
		c.wantRest("HTTP/1.1 429 Too Many Requests\r\nContent-Length: 4\r\nConnection: close\r\n\r\nwait")
	})
}

func TestAnEarlyAnswerOfTheOriginReachesTheVisitorAndIsTheLast(t *testing.T) {
	for name, head := range map[string]string{
		"length":  "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n",
		"chunked": "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			end := make(chan error, 1)
			g := start(t, func(_ int, c *peerConn) {
				c.head()
				c.send("HTTP/1.1 413 Too Much\r\nContent-Length: 2\r\n\r\nno")
				_, err := c.rest()
				end <- err
			})
			c := g.dial()
			// fasthttp waits for so much before it calls the handler.
			c.send(head + "8000\r\n" + strings.Repeat("x", prefetched))
			c.wantNext("HTTP/1.1 413 Too Much\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno")
			c.wantRest("")
			g.wantErr(nil)
			if err := wait(t, end, "end of the request"); err == nil {
				t.Error("the origin saw an end of the request where it was cut off")
			}
		})
	}
	t.Run("a body may go up while the answer comes down", func(t *testing.T) {
		g := start(t, func(_ int, c *peerConn) {
			c.head()
			c.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
			for range 3 {
				c.wantNext("1\r\n")
				c.send("1\r\n" + c.next(1) + "\r\n")
				c.wantNext("\r\n")
			}
			c.send("0\r\n\r\n")
			c.rest()
		})
		c := g.dial()
		c.send("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
		c.wantNext("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n")
		for _, s := range []string{"a", "b", "c"} {
			c.send("1\r\n" + s + "\r\n")
			c.wantNext("1\r\n" + s + "\r\n")
		}
		c.wantRest("0\r\n\r\n")
	})
}

func TestBodiesStreamToTheOrigin(t *testing.T) {
	part := strings.Repeat("p", 20000)
	for name, tc := range map[string]struct{ head, piece, want, end string }{
		"length":    {"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 60000\r\n", part, part, ""},
		"chunked":   {"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n", "4e20;x=y\r\n" + part + "\r\n", part, "0\r\nTrailer-Field: x\r\n\r\n"},
		"multipart": {"POST / HTTP/1.1\r\nHost: a\r\nContent-Type: multipart/form-data; boundary=b\r\nContent-Length: 60000\r\n", part, part, ""},
	} {
		t.Run(name, func(t *testing.T) {
			received := make(chan string)
			chunks := strings.Contains(tc.head, "chunked")
			g := start(t, func(_ int, c *peerConn) {
				for h := c.head(); h != ""; h = c.head() {
					if strings.Contains(h, "railer") {
						t.Errorf("trailers were announced: %q", h)
					}
					var src io.Reader = c.br
					if chunks {
						src = &dechunked{c: c}
					}
					for range 3 {
						b := make([]byte, len(part))
						if _, err := io.ReadFull(src, b); err != nil {
							t.Error(err)
						}
						received <- string(b)
					}
					if chunks {
						if _, err := src.Read(make([]byte, 1)); err != io.EOF {
							t.Errorf("after the last chunk: %v", err)
						}
					}
					c.send(ok)
				}
			})
			c := g.dial()
			for range 2 { // the connections are used again, on both sides
				c.send(tc.head + "\r\n")
				for range 3 {
					// The origin has each piece before the next one is sent.
					c.send(tc.piece)
					if got := wait(t, received, "piece"); got != tc.want {
						t.Errorf("the origin got %d other bytes", len(got))
					}
				}
				c.send(tc.end)
				c.wantNext(ok)
				g.wantErr(nil)
			}
			if n := len(g.dialled); n != 1 {
				t.Errorf("%d connections to the origin", n)
			}
		})
	}
}

// dechunked reads a chunked body, strictly.
type dechunked struct {
	c    *peerConn
	left int
	done bool
}

func (d *dechunked) Read(p []byte) (int, error) {
	if d.done {
		return 0, io.EOF
	}
	if d.left == 0 {
		s, err := d.c.br.ReadString('\n')
		if err != nil {
			return 0, err
		}
		if _, err := fmt.Sscanf(s, "%x\r\n", &d.left); err != nil {
			return 0, fmt.Errorf("chunk %q: %w", s, err)
		}
		if d.left == 0 {
			d.done = true
			d.c.wantNext("\r\n")
			return 0, io.EOF
		}
	}
	n, err := d.c.br.Read(p[:min(len(p), d.left)])
	if d.left -= n; d.left == 0 && err == nil {
		d.c.wantNext("\r\n")
	}
	return n, err
}

func TestACutOrMalformedBodyNeverLooksWholeToTheOrigin(t *testing.T) {
	long := strings.Repeat("x", 20000)
	for name, tc := range map[string]struct {
		request string
		cut     bool
	}{
		"length, cut":                {"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n" + long, true},
		"chunked, cut in a chunk":    {"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab", true},
		"chunked, cut after a chunk": {"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n", true},
		"chunked, cut in a size":     {"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n1", true},
		"chunked, no number":         {"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\nzz\r\n", false},
		"chunked, too long":          {"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nabc\r\n0\r\n\r\n", false},
		"chunked, bare LF":           {"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\nab\n0\n\n", false},
		"chunked, huge size":         {"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffffff\r\n", false},
	} {
		t.Run(name, func(t *testing.T) {
			type end struct {
				body string
				err  error
			}
			ended, begun := make(chan end, 1), make(chan bool, 1)
			g := start(t, func(_ int, c *peerConn) {
				c.head()
				begun <- true
				body, err := c.rest()
				ended <- end{body, err}
			})
			c := g.dial()
			head, body, _ := strings.Cut(tc.request, "\r\n\r\n")
			c.send(head + "\r\n\r\n")
			if strings.Contains(head, "chunked") {
				wait(t, begun, "request") // else it is refused before that
			}
			c.send(body)
			if tc.cut {
				c.Conn.(*net.TCPConn).CloseWrite()
			}
			g.wantErr(ErrClientBody)
			c.wantRest("HTTP/1.1 400 Bad Request\r\nContent-Length: 11\r\nConnection: close\r\n\r\nclient_body")
			e := wait(t, ended, "end of the request")
			if e.err == nil || strings.HasSuffix(e.body, "0\r\n\r\n") {
				t.Errorf("the origin got %.60q and then %v, want a reset", e.body, e.err)
			}
		})
	}
}

func TestABodyAboveTheLimitIsRefused(t *testing.T) {
	limit := func(g *rig) { g.request.MaxBody = 10000 }
	t.Run("by its length, before anything is sent", func(t *testing.T) {
		g := start(t, always(ok), limit)
		c := g.dial()
		c.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10001\r\n\r\n" + strings.Repeat("x", 9000))
		g.wantErr(ErrTooLarge)
		c.wantNext("HTTP/1.1 413 Request Entity Too Large\r\nContent-Length: 9\r\nConnection: close\r\n\r\ntoo_large")
		if len(g.dialled) > 0 {
			t.Error("the origin was called")
		}
	})
	t.Run("by counting chunks", func(t *testing.T) {
		end := make(chan error, 1)
		g := start(t, func(_ int, c *peerConn) {
			c.head()
			_, err := c.rest()
			end <- err
		}, limit)
		c := g.dial()
		c.send("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
		c.send("2710\r\n" + strings.Repeat("x", 10000) + "\r\n1\r\nx\r\n")
		g.wantErr(ErrTooLarge)
		c.wantNext("HTTP/1.1 413 Request Entity Too Large\r\nContent-Length: 9\r\nConnection: close\r\n\r\ntoo_large")
		if wait(t, end, "end of the request") == nil {
			t.Error("the origin saw an end")
		}
	})
}

func TestAmbiguousRequestsAreRefused(t *testing.T) {
	long := strings.Repeat("x", 20)
	for name, request := range map[string]string{
		"blank in a name":            "GET / HTTP/1.1\r\nHost: a\r\nX A: b\r\n\r\n",
		"blank before the colon":     "GET / HTTP/1.1\r\nHost: a\r\nX-A : b\r\n\r\n",
		"no name":                    "GET / HTTP/1.1\r\nHost: a\r\n: b\r\n\r\n",
		"no colon":                   "GET / HTTP/1.1\r\nHost: a\r\nxyz\r\n\r\n",
		"folded line":                "GET / HTTP/1.1\r\nHost: a\r\nX-A: b\r\n c\r\n\r\n",
		"folded by a tab":            "GET / HTTP/1.1\r\nHost: a\r\nX-A: b\r\n\tc\r\n\r\n",
		"NUL in a value":             "GET / HTTP/1.1\r\nHost: a\r\nX-A: b\x00c\r\n\r\n",
		"bare CR in a value":         "GET / HTTP/1.1\r\nHost: a\r\nX-A: b\rc\r\n\r\n",
		"HTTP/2.0":                   "GET / HTTP/2.0\r\nHost: a\r\n\r\n",
		"HTTP/9.9":                   "GET / HTTP/9.9\r\nHost: a\r\n\r\n",
		"HTTP/1.2":                   "GET / HTTP/1.2\r\nHost: a\r\n\r\n",
		"CONNECT to a path":          "CONNECT / HTTP/1.1\r\nHost: a\r\n\r\n",
		"CONNECT to a host":          "CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n",
		"absolute target":            "GET http://b/ HTTP/1.1\r\nHost: a\r\n\r\n",
		"target * without OPTIONS":   "GET * HTTP/1.1\r\nHost: a\r\n\r\n",
		"no host":                    "GET / HTTP/1.1\r\n\r\n",
		"empty host":                 "GET / HTTP/1.1\r\nHost:\r\n\r\n",
		"user in host":               "GET / HTTP/1.1\r\nHost: u@evil\r\n\r\n",
		"path in host":               "GET / HTTP/1.1\r\nHost: a/b\r\n\r\n",
		"blank in host":              "GET / HTTP/1.1\r\nHost: a b\r\n\r\n",
		"two hosts":                  "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
		"list of hosts":              "GET / HTTP/1.1\r\nHost: a, b\r\n\r\n",
		"bare LF before a coding":    "POST / HTTP/1.1\r\nHost: a\r\nX: y\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
		"bare LF at the end":         "GET / HTTP/1.1\r\nHost: a\n\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
		"bare LF throughout":         "GET / HTTP/1.1\nHost: a\n\n\r\n\r\n",
		"length and coding":          "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
		"coding and length":          "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
		"two lengths":                "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd",
		"list of lengths":            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3, 3\r\n\r\nabc",
		"signed length":              "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +3\r\n\r\nabc",
		"hexadecimal length":         "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0x3\r\n\r\nabc",
		"empty length":               "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: \r\n\r\nabc",
		"coding identity":            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: identity\r\n\r\n",
		"coding identity, length":    "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: identity\r\nContent-Length: 3\r\n\r\nabc",
		"coding gzip, chunked":       "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
		"two codings":                "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
		"coding with a vertical tab": "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: \vchunked\r\n\r\n0\r\n\r\n",
		"coding with HTTP/1.0":       "POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
		"length, then a blank":       "POST / HTTP/1.1\r\nHost: a\r\nContent-Length : 3\r\n\r\n" + long,
		"control in the target":      "GET /a\x01b HTTP/1.1\r\nHost: a\r\n\r\n",
		"blank in the target":        "GET /a b HTTP/1.1\r\nHost: a\r\n\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			g := start(t, func(int, *peerConn) {})
			c := g.dial()
			c.send(request)
			c.CloseWrite()
			got, _ := c.rest()
			if !strings.HasPrefix(got, "HTTP/1.1 400 ") || !strings.Contains(got, "\r\nConnection: close\r\n") || strings.Count(got, "HTTP/1.1") != 1 {
				t.Errorf("got %q, want one 400 and a close", got)
			}
			select {
			case c := <-g.dialled:
				c.Close()
				t.Error("the origin was called")
			default:
			}
		})
	}
}

func (p *peerConn) CloseWrite() { p.Conn.(*net.TCPConn).CloseWrite() }

func TestLogsHoldNothingOfTheRequest(t *testing.T) {
	var mu sync.Mutex
	var logged bytes.Buffer
	g := start(t, always(ok), func(g *rig) {
		g.server.LogAllErrors = true
		g.server.Logger = logFunc(func(format string, args ...any) {
			mu.Lock()
			defer mu.Unlock()
			fmt.Fprintf(&logged, format, args...)
		})
	})
	c := g.dial()
	c.send("GET / HTTP/1.1\r\nHost: a\r\nCookie: sluice-drop=secret\r\nbroken\r\n\r\n")
	c.rest()
	// The line is written before the connection closes.
	mu.Lock()
	defer mu.Unlock()
	if logged.Len() == 0 || strings.Contains(logged.String(), "secret") {
		t.Errorf("logged %q", logged.String())
	}
}

type logFunc func(string, ...any)

func (f logFunc) Printf(format string, args ...any) { f(format, args...) }

func TestHeadersAreLimited(t *testing.T) {
	big := strings.Repeat("c", 15000)
	g := start(t, func(_ int, c *peerConn) {
		for h := c.head(); h != ""; h = c.head() {
			c.send(fmt.Sprintf("HTTP/1.1 200 OK\r\nX-Length: %d\r\nContent-Length: 0\r\n\r\n", strings.Count(h, "c")))
		}
	})
	c := g.dial()
	c.send("GET / HTTP/1.1\r\nHost: a\r\nX: " + big + "\r\n\r\n")
	c.wantNext("HTTP/1.1 200 OK\r\nX-Length: 15000\r\nContent-Length: 0\r\n\r\n")
	c.send("GET / HTTP/1.1\r\nHost: a\r\nX: " + big + big + "\r\n\r\n")
	if h := c.head(); !strings.HasPrefix(h, "HTTP/1.1 431 ") {
		t.Errorf("got %q", h)
	}
}

func TestCookiesOfOursGoAndOthersStayAsTheyAre(t *testing.T) {
	for value, want := range map[string]string{
		"a=1":                                  "a=1",
		"a=1; b=2":                             "a=1; b=2",
		"sluice-drop=t":                        "",
		"Sluice-Drop=t":                        "",
		"sluice_drop=t":                        "",
		"sluice-drop=t; sluice-b=u":            "",
		"sluice-drop=t; a=1":                   "a=1",
		"a=1; sluice-drop=t":                   "a=1",
		"a=1; sluice-drop=t; b=2":              "a=1; b=2",
		"b=2;a=1;sluice-drop=t;b=3":            "b=2;a=1;b=3",
		"a=1;  sluice-drop=t;  b=2":            "a=1;  b=2",
		"a=\"x y\"; b=; c; =d; sluice=1":       "a=\"x y\"; b=; c; =d; sluice=1",
		"a=sluice-drop; xsluice-drop=1; A=é":   "a=sluice-drop; xsluice-drop=1; A=é",
		"a=1;":                                 "a=1;",
		"a=1; a=1; a=2":                        "a=1; a=1; a=2",
		"sluice-a=1; b=2; sluice-c=3; sluice-": "b=2",
	} {
		if want != "" {
			want = "cOOkie: " + want + "\r\n"
		}
		if got := string(appendCookie([]byte("x"), []byte("cOOkie"), []byte(value))); got != "x"+want {
			t.Errorf("%q: got %q, want %q", value, got, want)
		}
	}
}

func TestNothingIsSentTwiceButWhatMayBe(t *testing.T) {
	read := func(c *peerConn) string {
		h := c.head()
		if strings.Contains(h, "Content-Length: 1\r\n") {
			h += c.next(1)
		}
		return h
	}
	// The origin answers the first request of a connection and dies at the second.
	dies := func(requests chan<- string, last func(c *peerConn)) func(int, *peerConn) {
		return func(_ int, c *peerConn) {
			requests <- read(c)
			c.send(ok)
			if h := read(c); h != "" {
				requests <- h
				last(c)
			}
		}
	}
	closes := func(*peerConn) {}
	for name, tc := range map[string]struct {
		request string
		last    func(c *peerConn)
		twice   bool
	}{
		"GET":                            {get, closes, true},
		"DELETE without a body":          {"DELETE / HTTP/1.1\r\nHost: a\r\n\r\n", closes, true},
		"POST":                           {"POST / HTTP/1.1\r\nHost: a\r\n\r\n", closes, false},
		"PATCH":                          {"PATCH / HTTP/1.1\r\nHost: a\r\n\r\n", closes, false},
		"PUT with a short body":          {"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nx", closes, true},
		"PUT with a body that streamed":  {"PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", closes, false},
		"POST with a short body":         {"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nx", closes, false},
		"GET, after the first byte":      {get, func(c *peerConn) { c.send("H") }, false},
		"GET, after an interim answer":   {get, func(c *peerConn) { c.send("HTTP/1.1 103 Early Hints\r\n\r\n") }, false},
		"GET, reset":                     {get, func(c *peerConn) { abort(c.Conn) }, true},
		"GET, nonsense for a first byte": {get, func(c *peerConn) { c.send("nonsense\r\n\r\n") }, false},
	} {
		t.Run(name, func(t *testing.T) {
			requests := make(chan string, 10)
			g := start(t, dies(requests, tc.last))
			c := g.dial()
			c.send(get)
			c.wantNext(ok)
			g.wantErr(nil)
			c.send(tc.request)
			want := 2
			if tc.twice {
				c.wantNext(ok)
				g.wantErr(nil)
				want = 3
			} else {
				g.wantErr(ErrBroken)
				c.wantNext("HTTP/1.1 502 Bad Gateway\r\n")
			}
			if n := len(requests); n != want {
				t.Errorf("the origin got %d requests, want %d", n, want)
			}
		})
	}
	t.Run("two attempts and no more", func(t *testing.T) {
		requests := make(chan string, 10)
		g := start(t, func(n int, c *peerConn) {
			requests <- c.head()
			if n == 0 {
				c.send(ok)
				requests <- c.head()
			}
		})
		c := g.dial()
		c.send(get)
		c.wantNext(ok)
		g.wantErr(nil)
		c.send(get)
		g.wantErr(ErrBroken)
		if n := len(requests); n != 3 {
			t.Errorf("the origin got %d requests, want 3", n)
		}
	})
	t.Run("a first connection is not tried again", func(t *testing.T) {
		requests := make(chan string, 10)
		g := start(t, func(_ int, c *peerConn) { requests <- c.head() })
		c := g.dial()
		c.send(get)
		g.wantErr(ErrBroken)
		if n := len(requests); n != 1 {
			t.Errorf("the origin got %d requests, want 1", n)
		}
	})
}

func TestErrorsHaveTheirKinds(t *testing.T) {
	known := map[string]bool{}
	for _, k := range Kinds {
		known[k] = true
	}
	for _, err := range []error{ErrRequest, ErrTooLarge, ErrClientBody, ErrBusy, ErrTunnels, ErrConnect, ErrTimeout, ErrBroken, ErrClient, io.EOF} {
		k := Kind(fmt.Errorf("outer: %w", err))
		if !known[k] || (k == "other") != (err == io.EOF) {
			t.Errorf("%v is %q", err, k)
		}
	}
	if Kind(nil) != "" {
		t.Error("nil has a kind")
	}
}

func TestBadConfigurationIsRefusedWithEveryReason(t *testing.T) {
	_, err := New(Config{Origin: origin.Config{URLs: []string{"http://a/b", "ftp://a", "http://", "https://u:secret@a", "http://a?x", "unix:a", "http://a b"}}, HeaderTimeout: -time.Second})
	if err == nil {
		t.Fatal("accepted")
	}
	if n := strings.Count(err.Error(), "\n") + 1; n != 8 || strings.Contains(err.Error(), "secret") {
		t.Errorf("%d reasons: %v", n, err)
	}
	if _, err := New(Config{}); err == nil {
		t.Error("accepted no origin")
	}
	if errors.Is(err, ErrConnect) {
		t.Error("configuration is no connection error")
	}
}
