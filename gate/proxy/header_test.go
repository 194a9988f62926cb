package proxy

import (
	"bytes"
	"testing"

	"github.com/valyala/fasthttp"
)

func TestOriginAndVisitorGetTheBytesThatWereSent(t *testing.T) {
	got := make(chan string, 1)
	g := start(t, func(_ int, c *peerConn) {
		for h := c.head(); h != ""; h = c.head() {
			got <- h
			c.send("HTTP/1.1 203 Quite Fine\r\n" +
				"x-lower: 1\r\n" +
				"Set-Cookie: b=2; Path=/\r\n" +
				"content-type: text/html\r\n" +
				"X-Twice: one\r\n" +
				"Keep-Alive: timeout=5\r\n" +
				"SERVER: shop\r\n" +
				"X-Named: by connection\r\n" +
				"Connection: keep-alive, x-named\r\n" +
				"Set-Cookie: a=1\r\n" +
				"X-Twice:   two  \r\n" +
				"Content-Length: 5\r\n" +
				"sluice-other: secret\r\n" +
				"Set-Cookie: sluice-drop=forged; Path=/\r\n" +
				"Sluice-Session: release\r\n" +
				"Cache-Control: private\r\n" +
				"Date: Thu, 01 Jan 1970 00:00:00 GMT\r\n" +
				"\r\nhello")
		}
	})
	g.request.Room, g.request.Visitor = "drop", "v1"
	g.request.Via, g.request.ID = true, []byte("r1")
	g.after = func(ctx *fasthttp.RequestCtx, a *Answer) {
		if a.Status != 203 || string(a.Session) != "release" || a.Upgraded || a.Cacheable {
			t.Errorf("answer %+v", *a)
		}
		ctx.Response.Header.Add("Set-Cookie", "sluice-drop=x; Path=/")
	}
	c := g.dial()
	for range 2 {
		c.send("GET /a%2Fb/../c//?q=%7e&&x HTTP/1.1\r\n" +
			"user-AGENT: none\r\n" +
			"Host: shop.example:8080\r\n" +
			"X-Twice: 1\r\n" +
			"Connection: keep-alive, X-Gone, Host, Content-Length\r\n" +
			"x-gone: 1\r\n" +
			"Cookie: z=9; sluice-drop=t; a=\"1\";b=2\r\n" +
			"cookie: sluice-x=1\r\n" +
			"X-Twice: 2\r\n" +
			"Proxy-Connection: keep-alive\r\n" +
			"Keep-Alive: 300\r\n" +
			"TE: trailers\r\n" +
			"Upgrade: TLS/1.2\r\n" +
			"Forwarded: for=1.1.1.1\r\n" +
			"X-Forwarded-For: 1.1.1.1\r\n" +
			"x_forwarded_for: 1.1.1.1\r\n" +
			"X-Forwarded-Proto: https\r\n" +
			"X-Forwarded-Host: evil\r\n" +
			"X-Real-IP: 1.1.1.1\r\n" +
			"X-Request-Id: mine\r\n" +
			"X_Request_ID: mine\r\n" +
			"Via: 1.1 cache\r\n" +
			"Sluice-Room: vip\r\n" +
			"SLUICE_VISITOR: someone\r\n" +
			"sluice-Token: t\r\n" +
			"Sluiced: mine\r\n" +
			"Accept: */*\r\n" +
			"\r\n")
		if got, want := wait(t, got, "request"), "GET /a%2Fb/../c//?q=%7e&&x HTTP/1.1\r\n"+
			"user-AGENT: none\r\n"+
			"Host: shop.example:8080\r\n"+
			"X-Twice: 1\r\n"+
			"Cookie: z=9; a=\"1\";b=2\r\n"+
			"X-Twice: 2\r\n"+
			"Via: 1.1 cache\r\n"+
			"Sluiced: mine\r\n"+
			"Accept: */*\r\n"+
			"Connection: TE\r\n"+
			"TE: trailers\r\n"+
			"X-Forwarded-For: 203.0.113.7\r\n"+
			"X-Forwarded-Proto: http\r\n"+
			"X-Forwarded-Host: shop.example:8080\r\n"+
			"X-Forwarded-Port: 8080\r\n"+
			"Via: 1.1 sluice\r\n"+
			"X-Request-Id: r1\r\n"+
			"Sluice-Room: drop\r\n"+
			"Sluice-Visitor: v1\r\n"+
			"\r\n"; got != want {
			t.Errorf("origin got\n%s\nwant\n%s", got, want)
		}
		c.wantNext("HTTP/1.1 203 Quite Fine\r\n" +
			"x-lower: 1\r\n" +
			"Set-Cookie: b=2; Path=/\r\n" +
			"content-type: text/html\r\n" +
			"X-Twice: one\r\n" +
			"SERVER: shop\r\n" +
			"Set-Cookie: a=1\r\n" +
			"X-Twice: two\r\n" +
			"Cache-Control: private\r\n" +
			"Date: Thu, 01 Jan 1970 00:00:00 GMT\r\n" +
			"Content-Length: 5\r\n" +
			"Set-Cookie: sluice-drop=x; Path=/\r\n" +
			"\r\nhello")
		g.wantErr(nil)
	}
}

func TestNothingIsInvented(t *testing.T) {
	got := make(chan string, 1)
	g := start(t, func(_ int, c *peerConn) {
		got <- c.head()
		c.next(3)
		c.send("HTTP/1.1 200 \r\nContent-Length: 2\r\n\r\nok")
	})
	c := g.dial()
	c.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc")
	if got, want := wait(t, got, "request"), "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n"+
		"X-Forwarded-For: 203.0.113.7\r\nX-Forwarded-Proto: http\r\nX-Forwarded-Host: a\r\nX-Forwarded-Port: 80\r\n\r\n"; got != want {
		t.Errorf("origin got\n%s\nwant\n%s", got, want)
	}
	c.wantNext("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
}

func TestTrustedPeersForwardingFieldsAreKept(t *testing.T) {
	got := make(chan string, 1)
	g := start(t, func(_ int, c *peerConn) {
		got <- c.head()
		c.send(ok)
	})
	g.request.ForwardedFor, g.request.Proto = []byte("203.0.113.7, 10.0.0.2"), "https"
	c := g.dial()
	c.send("GET / HTTP/1.1\r\nHost: inner\r\nX-Forwarded-For: 203.0.113.7, 10.0.0.2\r\nX-Forwarded-Host: shop.example\r\n" +
		"X-Forwarded-Proto: http\r\nX-Forwarded-Port: 8443\r\nX_Forwarded_Host: evil\r\n\r\n")
	if got, want := wait(t, got, "request"), "GET / HTTP/1.1\r\nHost: inner\r\n"+
		"X-Forwarded-For: 203.0.113.7, 10.0.0.2, 127.0.0.1\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Host: shop.example\r\nX-Forwarded-Port: 8443\r\n\r\n"; got != want {
		t.Errorf("origin got\n%s\nwant\n%s", got, want)
	}
	c.wantNext(ok)
}

func TestFieldsOfOneHopGoUnnamedToo(t *testing.T) {
	hops := "Keep-Alive: timeout=5\r\nProxy-Connection: keep-alive\r\nProxy-Authenticate: x\r\nProxy-Authorization: x\r\n" +
		"TE: gzip\r\nTrailer: X\r\nUpgrade: TLS/1.2\r\nContent_Length: 5\r\nTransfer_Encoding: chunked\r\n"
	got := make(chan string, 1)
	g := start(t, func(_ int, c *peerConn) {
		got <- c.head()
		c.send("HTTP/1.1 200 OK\r\n" + hops + "Content-Length: 0\r\n\r\n")
	})
	c := g.dial()
	c.send("GET / HTTP/1.1\r\nHost: a\r\n" + hops + "\r\n")
	if got, want := wait(t, got, "request"), "GET / HTTP/1.1\r\nHost: a\r\n"+
		"X-Forwarded-For: 203.0.113.7\r\nX-Forwarded-Proto: http\r\nX-Forwarded-Host: a\r\nX-Forwarded-Port: 80\r\n\r\n"; got != want {
		t.Errorf("origin got\n%s\nwant\n%s", got, want)
	}
	c.wantNext("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
}

func TestFieldsThatNameAnotherPathOrHostDoNotReachTheOrigin(t *testing.T) {
	const elsewhere = "X-Original-URL: /drop\r\nX-Rewrite-URL: /drop\r\nx_rewrite_url: /drop\r\nX-ORIGINAL_URL: /drop\r\nX-Original-URI: /drop\r\n" +
		"X-Rewrite-URI: /drop\r\nX-Override-URL: /drop\r\nX-Host: b\r\nX-HTTP-Host-Override: b\r\n"
	for _, trusted := range []bool{false, true} {
		got := make(chan string, 1)
		g := start(t, func(_ int, c *peerConn) {
			got <- c.head()
			c.send(ok)
		})
		want := "GET / HTTP/1.1\r\nHost: a\r\nX-Original: /x\r\nX-Rewrite-URLs: /x\r\n"
		if trusted {
			g.request.ForwardedFor = []byte{}
			want += "X-Original-Host: b\r\nX-Forwarded-For: 127.0.0.1\r\n"
		} else {
			want += "X-Forwarded-For: 203.0.113.7\r\n"
		}
		want += "X-Forwarded-Proto: http\r\nX-Forwarded-Host: a\r\nX-Forwarded-Port: 80\r\n\r\n"
		c := g.dial()
		c.send("GET / HTTP/1.1\r\nHost: a\r\n" + elsewhere + "X-Original: /x\r\nX-Rewrite-URLs: /x\r\nX-Original-Host: b\r\n\r\n")
		if got := wait(t, got, "request"); got != want {
			t.Errorf("trusted %v: origin got\n%s\nwant\n%s", trusted, got, want)
		}
		c.wantNext(ok)
	}
}

func TestControlCharactersAreSeenWhereverTheyStand(t *testing.T) {
	for n := range 20 {
		for at := range n {
			for c := range 256 {
				b := bytes.Repeat([]byte{0x80}, n)
				if at > 0 {
					b[at-1] = 0x21
				}
				b[at] = byte(c)
				if want := c == '\t' || c >= 0x20 && c != 0x7f; isText(b) != want {
					t.Fatalf("%q is text: %v", b, !want)
				}
			}
		}
	}
}
