//go:build linux

package proxy

import (
	"errors"
	"net"
	"strings"
	"testing"
	"time"
)

// Visitors who go away while the origin has nothing for them: it need not go on.

func TestTheOriginsRequestEndsWhenTheVisitorGoesAway(t *testing.T) {
	stream := "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
	for name, tc := range map[string]struct{ request, answer string }{
		"before the first byte":           {get, ""},
		"with another request behind it":  {get + get, ""},
		"after a body was sent":           {"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc", ""},
		"after a long body was sent":      {"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 20000\r\n\r\n" + strings.Repeat("x", 20000), ""},
		"after chunks were sent":          {"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n", ""},
		"before the end of the header":    {get, stream},
		"before a switch":                 {handshake, ""},
		"in silent events":                {get, stream + "Transfer-Encoding: chunked\r\n\r\n9\r\ndata: x\n\n\r\n"},
		"in silent events, to the end":    {get, stream + "\r\ndata: x\n\n"},
		"in a silent download":            {get, stream + "Content-Length: 99\r\n\r\nx"},
		"in events, with another request": {get + get, stream + "Transfer-Encoding: chunked\r\n\r\n9\r\ndata: x\n\n\r\n"},
	} {
		for how, leave := range map[string]func(net.Conn){
			"closed": func(c net.Conn) { c.Close() },
			"reset":  abort,
		} {
			t.Run(name+", "+how, func(t *testing.T) {
				ended := make(chan bool, 1)
				asked := make(chan bool, 1)
				g := start(t, func(n int, c *peerConn) {
					if n > 0 {
						t.Error("it was sent again")
						return
					}
					c.head()
					c.send(tc.answer)
					asked <- true
					c.rest()
					ended <- true
				}, func(c *Config) { c.HeaderTimeout, c.IdleTimeout = time.Hour, time.Hour })
				g.proxy.look = 5 * time.Millisecond
				c := g.dial()
				c.send(tc.request)
				wait(t, asked, "request")
				if strings.Contains(tc.answer, "\r\n\r\n") {
					g.wantErr(nil)
					c.head()
				}
				leave(c.Conn)
				wait(t, ended, "end of the origin's request")
				if strings.Contains(tc.answer, "\r\n\r\n") {
					if err := wait(t, g.failed, "report"); !errors.Is(err, ErrClient) {
						t.Errorf("reported %v", err)
					}
				} else {
					g.wantErr(ErrClient)
				}
				waitOpen(g, 0)
				waitTunnels(g, 0)
			})
		}
	}
}

func TestAVisitorWhoWaitsIsNotTakenForGone(t *testing.T) {
	g := start(t, func(_ int, c *peerConn) {
		for c.head() != "" {
			time.Sleep(50 * time.Millisecond)
			c.send("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n")
			time.Sleep(50 * time.Millisecond)
			c.send("okok")
		}
	})
	g.proxy.look = time.Millisecond
	c := g.dial()
	c.send(get + get)
	for range 2 {
		c.wantNext("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nokok")
	}
	if n := len(g.dialled); n != 1 {
		t.Errorf("%d connections", n)
	}
}

func TestAnIdleConnectionIsGoodThoughADeadlineHasPassed(t *testing.T) {
	g := start(t, always(ok))
	g.proxy.look = time.Millisecond
	c := g.dial()
	for range 3 {
		c.send(get)
		c.wantNext(ok)
		g.wantErr(nil)
		time.Sleep(20 * time.Millisecond) // of the origin's silence, which nobody waits for
	}
	if n := len(g.dialled); n != 1 {
		t.Errorf("%d connections", n)
	}
}
