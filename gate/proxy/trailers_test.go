package proxy

import (
	"errors"
	"fmt"
	"strings"
	"testing"
)

// What stands behind chunked bodies.

const readsTrailers = "GET / HTTP/1.1\r\nHost: a\r\nTE: gzip;q=0.5, Trailers\r\nConnection: TE\r\n\r\n"

func TestVisitorsWhoReadTrailersGetTheOrigins(t *testing.T) {
	answer := func(trailers string) string {
		return "HTTP/1.1 200 OK\r\nTrailer: Digest, X-Sum\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n" + trailers + "\r\n"
	}
	for name, tc := range map[string]struct{ request, answer, want string }{
		"all of them":  {readsTrailers, answer("X-SUM: 1 2\r\nDigest:sha\r\nx-sum: \t3\r\n"), answer("X-SUM: 1 2\r\nDigest: sha\r\nx-sum: 3\r\n")},
		"none":         {readsTrailers, answer(""), answer("")},
		"others don't": {get, answer("X-Sum: 1\r\n"), strings.Replace(answer(""), "Trailer: Digest, X-Sum\r\n", "", 1)},
		"not what means something before a body only": {readsTrailers,
			answer("Content-Length: 9\r\nTransfer-Encoding: x\r\nSet-Cookie: a=b\r\nContent-Type: x\r\nConnection: close\r\nCache-Control: public\r\n" +
				"Sluice-Session: release\r\nsluice_x: 1\r\nTrailer: x\r\nLocation: /\r\nHost: b\r\nAuthorization: x\r\nX-Sum: 1\r\nVary: *\r\nX-Forwarded-For: 1.1.1.1\r\n"),
			answer("X-Sum: 1\r\n")},
	} {
		t.Run(name, func(t *testing.T) {
			seen := make(chan string, 2)
			g := start(t, func(_ int, c *peerConn) {
				for h := c.head(); h != ""; h = c.head() {
					seen <- h
					c.send(tc.answer)
				}
			})
			c := g.dial()
			for range 2 {
				c.send(tc.request)
				c.wantNext(tc.want)
				if h := <-seen; strings.Contains(h, "\r\nConnection: TE\r\nTE: trailers\r\n") != (tc.request == readsTrailers) {
					t.Errorf("the origin got %q", h)
				}
			}
			if n := len(g.dialled); n != 1 {
				t.Errorf("%d connections to the origin", n)
			}
		})
	}
	t.Run("HTTP/1.0 knows none", func(t *testing.T) {
		g := start(t, always(answer("X-Sum: 1\r\n")))
		c := g.dial()
		c.send("GET / HTTP/1.0\r\nHost: a\r\nTE: trailers\r\n\r\n")
		c.wantRest("HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nok")
	})
	for name, trailers := range map[string]string{
		"malformed": "X Sum: 1\r\n",
		"split":     "X-Sum: 1\rSet-Cookie: a=b\r\n",
		"folded":    "X-Sum: 1\r\n 2\r\n",
		"endless":   strings.Repeat("X-Sum: 1\r\n", 10000),
	} {
		t.Run(name+" ones end the connection without the last chunk", func(t *testing.T) {
			g := start(t, func(_ int, c *peerConn) {
				c.head()
				c.Write([]byte(answer(trailers))) // may be cut off
			})
			c := g.dial()
			c.send(readsTrailers)
			c.head()
			c.wantRest("2\r\nok\r\n")
			if err := wait(t, g.failed, "report"); !errors.Is(err, ErrBroken) {
				t.Errorf("reported %v", err)
			}
		})
	}
}

func TestTheOriginGetsTheTrailersThatARequestAnnounces(t *testing.T) {
	for name, tc := range map[string]struct{ head, body, trailers, wantHead, want string }{
		"announced":         {"Trailer: X-Sum, Digest\r\n", "2\r\nok\r\n", "x-sum: 1 2\r\nDIGEST:3\r\nX-Sum: 4\r\n", "Trailer: X-Sum, Digest\r\n", "x-sum: 1 2\r\nDIGEST: 3\r\nX-Sum: 4\r\n"},
		"in two fields":     {"Trailer: X-Sum\r\ntrailer: Digest\r\n", "2\r\nok\r\n", "X-Sum: 1\r\nDigest: 2\r\n", "Trailer: X-Sum\r\ntrailer: Digest\r\n", "X-Sum: 1\r\nDigest: 2\r\n"},
		"behind nothing":    {"Trailer: X-Sum\r\n", "", "X-Sum: 1\r\n", "Trailer: X-Sum\r\n", "X-Sum: 1\r\n"},
		"announced only":    {"Trailer: X-Sum\r\n", "2\r\nok\r\n", "", "Trailer: X-Sum\r\n", ""},
		"not announced":     {"", "2\r\nok\r\n", "X-Sum: 1\r\n", "", ""},
		"another":           {"Trailer: X-Sum\r\n", "2\r\nok\r\n", "X-Other: 1\r\nX-Sum: 1\r\n", "Trailer: X-Sum\r\n", "X-Sum: 1\r\n"},
		"the gate's to say": {"Trailer: Sluice-Visitor, Client_IP, Via, Transfer_Encoding\r\n", "2\r\nok\r\n", "Sluice-Visitor: 1\r\nClient_IP: 1\r\nVia: x\r\nTransfer_Encoding: x\r\n", "Trailer: Sluice-Visitor, Client_IP, Via, Transfer_Encoding\r\n", ""},
		"a long body":       {"Trailer: X-Sum\r\n", "c350\r\n" + strings.Repeat("x", 50000) + "\r\n", "X-Sum: " + strings.Repeat("y", 5000) + "\r\n", "Trailer: X-Sum\r\n", "X-Sum: " + strings.Repeat("y", 5000) + "\r\n"},
	} {
		t.Run(name, func(t *testing.T) {
			g := start(t, func(_ int, c *peerConn) {
				for h := c.head(); h != ""; h = c.head() {
					if !strings.HasPrefix(h, "PUT / HTTP/1.1\r\nHost: a\r\n"+tc.wantHead+"Transfer-Encoding: chunked\r\n") {
						t.Errorf("the origin got %q", h)
					}
					for c.chunk() > 0 {
					}
					c.wantNext(tc.want + "\r\n")
					c.send(ok)
				}
			})
			c := g.dial()
			for range 2 { // the connections are used again, on both sides
				c.send("PUT / HTTP/1.1\r\nHost: a\r\n" + tc.head + "Transfer-Encoding: chunked\r\n\r\n" + tc.body + "0\r\n")
				for _, b := range []byte(tc.trailers) { // however it comes
					c.send(string(b))
				}
				c.send("\r\n")
				c.wantNext(ok)
				g.wantErr(nil)
			}
			if n := len(g.dialled); n != 1 {
				t.Errorf("%d connections to the origin", n)
			}
		})
	}
	t.Run("none of those that would change what the request means", func(t *testing.T) {
		g := start(t, func(_ int, c *peerConn) {
			c.head()
			if got, err := c.rest(); err == nil || strings.Contains(got, "Content-Length") {
				t.Errorf("the origin got %q, %v", got, err)
			}
		})
		c := g.dial()
		c.send("PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nContent-Length: 5\r\n\r\n")
		g.wantErr(ErrClientBody)
		c.wantNext("HTTP/1.1 400 Bad Request\r\n")
	})
}

// chunk reads a chunk and returns its size; behind the last one stand the trailers.
func (p *peerConn) chunk() (size int) {
	line, err := p.br.ReadString('\n')
	if _, e := fmt.Sscanf(line, "%x\r\n", &size); e != nil || err != nil {
		p.t.Errorf("chunk %q: %v", line, err)
		return 0
	}
	if size > 0 {
		p.next(size)
		p.wantNext("\r\n")
	}
	return size
}
