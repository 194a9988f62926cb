package proxy

import (
	"fmt"
	"strings"
	"testing"
)

// Expect: 100-continue. A visitor who holds the body back learns from the origin
// whether to send it.

const goOn = "HTTP/1.1 100 Continue\r\n\r\n"

// held are requests whose visitors wait, as header and body.
var held = map[string]struct{ head, body string }{
	"a short body":     {"POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n", "abc"},
	"a long body":      {"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 50000\r\nExpect: 100-continue\r\n\r\n", strings.Repeat("x", 50000)},
	"chunks":           {"POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nTransfer-Encoding: chunked\r\n\r\n", "3\r\nabc\r\n0\r\n\r\n"},
	"in another case":  {"POST / HTTP/1.1\r\nHost: a\r\nexpect: 100-Continue\r\nContent-Length: 3\r\n\r\n", "abc"},
	"said twice":       {"POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n", "abc"},
	"within one write": {"POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\nabc", ""},
}

func TestABodyIsSentWhenTheOriginWantsIt(t *testing.T) {
	for name, tc := range held {
		t.Run(name, func(t *testing.T) {
			wants := make(chan bool)
			g := start(t, func(_ int, c *peerConn) {
				for h := c.head(); h != ""; h = c.head() {
					if strings.Count(h, "\r\nExpect: 100-continue\r\n") != 1 || strings.Count(strings.ToLower(h), "expect") != 1 {
						t.Errorf("the origin got %q", h)
					}
					<-wants
					c.send("HTTP/1.1 102 Processing\r\n\r\n" + goOn)
					body := tc.body
					if body == "" {
						body = "abc"
					}
					c.wantNext(body)
					c.send("HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" + ok)
				}
			})
			c := g.dial()
			for range 2 { // the connections are used again, on both sides
				c.send(tc.head)
				wants <- true
				c.wantNext(goOn)
				c.send(tc.body)
				c.wantNext(ok)
				g.wantErr(nil)
			}
			if n := len(g.dialled); n != 1 {
				t.Errorf("%d connections to the origin", n)
			}
		})
	}
}

func TestAnOriginThatRefusesTheHeaderIsSparedTheBody(t *testing.T) {
	for name, tc := range held {
		t.Run(name, func(t *testing.T) {
			got := make(chan string, 1)
			g := start(t, func(_ int, c *peerConn) {
				c.head()
				c.send("HTTP/1.1 401 Who?\r\nWWW-Authenticate: Basic\r\nContent-Length: 2\r\n\r\nno")
				body, _ := c.rest()
				got <- body
			})
			c := g.dial()
			c.send(tc.head)
			c.wantRest("HTTP/1.1 401 Who?\r\nWWW-Authenticate: Basic\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno")
			g.wantErr(nil)
			if body := wait(t, got, "end of the request"); body != "" {
				t.Errorf("the origin got %q", body)
			}
			waitOpen(g, 0)
		})
	}
}

func TestAnOriginThatKnowsNoExpectationGetsTheBodyAfterAWhile(t *testing.T) {
	for name, early := range map[string]string{"silent": "", "half of its answer sent": "HTTP/1.1 200"} {
		t.Run(name, func(t *testing.T) {
			g := start(t, func(_ int, c *peerConn) {
				c.head()
				c.send(early)
				c.wantNext("abc")
				c.send(ok[len(early):])
			})
			c := g.dial()
			c.send(held["a short body"].head)
			c.wantNext(goOn)
			c.send("abc")
			c.wantNext(ok)
		})
	}
}

func TestTheGateDecidesBeforeABodyIsAskedFor(t *testing.T) {
	for name, tc := range held {
		t.Run(name, func(t *testing.T) {
			g := start(t, func(int, *peerConn) { t.Error("the origin was called") }, early)
			c := g.dial()
			c.send(tc.head)
			c.wantRest("HTTP/1.1 429 Too Many Requests\r\nContent-Length: 4\r\nConnection: close\r\n\r\nwait")
		})
	}
	t.Run("a body sent all the same is not the next request, and costs nobody the answer", func(t *testing.T) {
		g := start(t, func(int, *peerConn) { t.Error("the origin was called") }, early)
		c := g.dial()
		c.send("POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 700000\r\n\r\n" + get)
		for range 10 {
			c.send(strings.Repeat("x", 70000))
		}
		c.wantRest("HTTP/1.1 429 Too Many Requests\r\nContent-Length: 4\r\nConnection: close\r\n\r\nwait")
	})
	t.Run("too large", func(t *testing.T) {
		g := start(t, func(int, *peerConn) { t.Error("the origin was called") }, func(g *rig) { g.request.MaxBody = 10000 })
		c := g.dial()
		c.send(held["a long body"].head)
		c.wantRest("HTTP/1.1 413 Request Entity Too Large\r\nContent-Length: 9\r\nConnection: close\r\n\r\ntoo_large")
	})
	t.Run("an upgrade with a body is none", func(t *testing.T) {
		g := start(t, func(_ int, c *peerConn) {
			if h := c.head(); strings.Contains(h, "Upgrade") {
				t.Errorf("the origin got %q", h)
			}
			c.send(ok)
		})
		c := g.dial()
		c.send(strings.Replace(handshake, "\r\n\r\n", "\r\nExpect: 100-continue\r\nContent-Length: 9\r\n\r\n", 1))
		c.wantRest(strings.Replace(ok, "\r\n\r\n", "\r\nConnection: close\r\n\r\n", 1))
	})
}

func TestAVisitorWhoIsToldToGoOnAndLeavesTakesTheRequestAlong(t *testing.T) {
	for name, tc := range held {
		if tc.body == "" {
			continue
		}
		t.Run(name, func(t *testing.T) {
			got := make(chan error, 1)
			g := start(t, func(_ int, c *peerConn) {
				c.head()
				c.send(goOn)
				_, err := c.rest()
				got <- err
			})
			c := g.dial()
			c.send(tc.head)
			c.wantNext(goOn)
			c.Close()
			if wait(t, got, "end of the request") == nil {
				t.Error("the origin saw an end of the request where it was cut off")
			}
			waitOpen(g, 0)
		})
	}
}

func TestWhatElseIsExpected(t *testing.T) {
	for value, body := range map[string]bool{"101-nothing": true, "100-continue, more": true, "": true, "more": false} {
		t.Run(fmt.Sprintf("%q is refused", value), func(t *testing.T) {
			g := start(t, func(int, *peerConn) { t.Error("the origin was called") })
			request := "GET / HTTP/1.1\r\nHost: a\r\nExpect: " + value + "\r\n"
			if body {
				request += "Content-Length: 9\r\n"
			}
			c := g.dial()
			c.send(request + "\r\n")
			c.wantNext("HTTP/1.1 417 Expectation Failed\r\n")
			g.wantErr(ErrExpectation)
		})
	}
	t.Run("a malformed request is refused before that", func(t *testing.T) {
		g := start(t, func(int, *peerConn) { t.Error("the origin was called") })
		c := g.dial()
		c.send("POST / HTTP/9.9\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 35\r\n\r\n")
		c.wantRest("HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: 11\r\nConnection: close\r\n\r\nBad Request")
	})
	t.Run("nothing where there is no body", func(t *testing.T) {
		g := start(t, func(_ int, c *peerConn) {
			if h := c.head(); strings.Contains(h, "xpect") {
				t.Errorf("the origin got %q", h)
			}
			c.send(ok)
		})
		c := g.dial()
		c.send("GET / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\n\r\n")
		c.wantNext("HTTP/1.1 200 OK\r\n") // and no 100 before it
	})
	t.Run("HTTP/1.0 expects nothing, whatever it says", func(t *testing.T) {
		for _, value := range []string{"100-continue", "more"} {
			g := start(t, func(_ int, c *peerConn) {
				if h := c.head(); strings.Contains(h, "xpect") {
					t.Errorf("the origin got %q", h)
				}
				c.wantNext("abc")
				c.send(ok)
			})
			c := g.dial()
			c.send("POST / HTTP/1.0\r\nHost: a\r\nExpect: " + value + "\r\nContent-Length: 3\r\n\r\nabc")
			c.wantNext("HTTP/1.1 200 OK\r\n")
		}
	})
	t.Run("one behind another waits for its turn", func(t *testing.T) {
		g := start(t, func(_ int, c *peerConn) {
			c.head()
			c.send(ok)
			c.head()
			c.send(goOn)
			c.wantNext("abc")
			c.send(ok)
		})
		c := g.dial()
		c.send(get + held["a short body"].head)
		c.wantNext(ok + goOn)
		c.send("abc")
		c.wantNext(ok)
	})
}
