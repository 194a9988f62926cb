package proxy

import (
	"net/netip"
	"regexp"
	"strings"
	"testing"
)

// crlf writes lines as HTTP does.
func crlf(lines string) string { return strings.ReplaceAll(lines, "\n", "\r\n") }

// forwarding is what visitors and load balancers send, and what the origin gets of
// it. Where the request begins with its line, it is that; else GET / with Host: a.
var forwarding = []struct {
	why     string
	trusted string // X-Forwarded-For of a trusted peer; "-": the peer is a stranger
	proto   string
	sent    string
	got     string // behind the request line and Host: a
}{
	{"the port is the visitor's", "-", "http", "GET / HTTP/1.1\nHost: a:8443\n",
		"GET / HTTP/1.1\nHost: a:8443\nX-Forwarded-For: 203.0.113.7\nX-Forwarded-Proto: http\nX-Forwarded-Host: a:8443\nX-Forwarded-Port: 8443\n"},
	{"or the scheme's", "-", "https", "",
		"X-Forwarded-For: 203.0.113.7\nX-Forwarded-Proto: https\nX-Forwarded-Host: a\nX-Forwarded-Port: 443\n"},
	{"an IPv6 address has colons of its own", "-", "http", "GET / HTTP/1.1\nHost: [2001:db8::80]\n",
		"GET / HTTP/1.1\nHost: [2001:db8::80]\nX-Forwarded-For: 203.0.113.7\nX-Forwarded-Proto: http\nX-Forwarded-Host: [2001:db8::80]\nX-Forwarded-Port: 80\n"},
	{"and a port behind them", "-", "http", "GET / HTTP/1.1\nHost: [2001:db8::80]:81\n",
		"GET / HTTP/1.1\nHost: [2001:db8::80]:81\nX-Forwarded-For: 203.0.113.7\nX-Forwarded-Proto: http\nX-Forwarded-Host: [2001:db8::80]:81\nX-Forwarded-Port: 81\n"},
	{"HTTP/1.0 without a Host", "-", "http", "GET / HTTP/1.0\n",
		"GET / HTTP/1.1\nHost: ORIGIN\nX-Forwarded-For: 203.0.113.7\nX-Forwarded-Proto: http\nX-Forwarded-Port: 80\n"},
	{"a stranger tells nothing about addresses", "-", "http",
		"Forwarded: for=1.1.1.1;proto=https\nX-Forwarded-For: 1.1.1.1\nX-Forwarded-Proto: https\nX-Forwarded-Host: evil\nX-Forwarded-Port: 1\n" +
			"X-Forwarded-Server: x\nX-Forwarded-Prefix: /x\nX-Forwarded: x\nX_FORWARDED_FOR: 1.1.1.1\nX-Real-IP: 1.1.1.1\nTrue-Client-IP: 1.1.1.1\nClient-IP: 1.1.1.1\n" +
			"X-Client-IP: 1.1.1.1\nX-Cluster-Client-IP: 1.1.1.1\nCF-Connecting-IP: 1.1.1.1\nCf-Connecting-IPv6: ::1\nFastly-Client-IP: 1.1.1.1\n" +
			"Fly-Client-IP: 1.1.1.1\nX-Original-Forwarded-For: 1.1.1.1\nX-Envoy-External-Address: 1.1.1.1\nX_Real_IP: 1.1.1.1\nX_Client_IP: 1\n",
		"X-Forwarded-For: 203.0.113.7\nX-Forwarded-Proto: http\nX-Forwarded-Host: a\nX-Forwarded-Port: 80\n"},
	{"a trusted peer does", "1.1.1.1, 10.0.0.2", "https",
		"Forwarded: for=1.1.1.1\nX-Forwarded-For: 1.1.1.1, 10.0.0.2\nX-Forwarded-Proto: http\nX-Forwarded-Host: shop.example\nX-Forwarded-Port: 8443\nX-Real-IP: 1.1.1.1\nX_Real_IP: 9.9.9.9\n",
		"Forwarded: for=1.1.1.1\nX-Real-IP: 1.1.1.1\nX-Forwarded-For: 1.1.1.1, 10.0.0.2, 127.0.0.1\nX-Forwarded-Proto: https\nX-Forwarded-Host: shop.example\nX-Forwarded-Port: 8443\n"},
	{"a trusted peer that tells no port", "1.1.1.1", "https", "X-Forwarded-Host: shop.example\n",
		"X-Forwarded-For: 1.1.1.1, 127.0.0.1\nX-Forwarded-Proto: https\nX-Forwarded-Host: shop.example\nX-Forwarded-Port: 443\n"},
	{"a trusted peer that tells nonsense for a port", "1.1.1.1", "https", "X-Forwarded-Port: 443, 80\n",
		"X-Forwarded-For: 1.1.1.1, 127.0.0.1\nX-Forwarded-Proto: https\nX-Forwarded-Host: a\nX-Forwarded-Port: 443\n"},
	{"a trusted peer that tells nothing", "", "http", "X-Forwarded-Host:\n",
		"X-Forwarded-For: 127.0.0.1\nX-Forwarded-Proto: http\nX-Forwarded-Host: a\nX-Forwarded-Port: 80\n"},

	{"what Connection names is for this hop", "-", "http", "Connection: x-a , X-B\nX-A: 1\nx-b: 1\nX-C: 1\nconnection: keep-alive,x-c\n",
		"X-Forwarded-For: 203.0.113.7\nX-Forwarded-Proto: http\nX-Forwarded-Host: a\nX-Forwarded-Port: 80\n"},
	{"but not what no hop has for itself", "-", "http",
		"Connection: Host, Content-Type, content-length, Cookie, Authorization, Referer, Origin, Sec-Fetch-Site, X-Forwarded-For, Sluice-Room, traceparent\n" +
			"Content-Type: text/plain\nCookie: a=1; sluice-drop=t\nAuthorization: b\nReferer: http://a/\nOrigin: http://a\nSec-Fetch-Site: none\n",
		"Content-Type: text/plain\nCookie: a=1\nAuthorization: b\nReferer: http://a/\nOrigin: http://a\nSec-Fetch-Site: none\n" +
			"X-Forwarded-For: 203.0.113.7\nX-Forwarded-Proto: http\nX-Forwarded-Host: a\nX-Forwarded-Port: 80\n"},
	{"nor what a trusted peer tells", "1.1.1.1", "http", "Connection: X-Forwarded-Port, X-Forwarded-Host, X-Real-IP\nX-Forwarded-Port: 81\nX-Forwarded-Host: b\nX-Real-IP: 1.1.1.1\n",
		"X-Real-IP: 1.1.1.1\nX-Forwarded-For: 1.1.1.1, 127.0.0.1\nX-Forwarded-Proto: http\nX-Forwarded-Host: b\nX-Forwarded-Port: 81\n"},
	{"Proxy is nobody's field", "-", "http", "Proxy: http://evil/\nProxy-Authorization: x\nPROXY-CONNECTION: keep-alive\n",
		"X-Forwarded-For: 203.0.113.7\nX-Forwarded-Proto: http\nX-Forwarded-Host: a\nX-Forwarded-Port: 80\n"},
	{"our own names come from nobody", "1.1.1.1", "http",
		"Sluice-Room: vip\nSLUICE-VISITOR: x\nsluice_room: vip\nSluice-Session: release\nSluice-Token: t\nSluice: x\nSluice-Anything: x\nCookie: sluice-drop=a\nCookie: b=1; SLUICE-drop=c\n",
		"Cookie: b=1\nX-Forwarded-For: 1.1.1.1, 127.0.0.1\nX-Forwarded-Proto: http\nX-Forwarded-Host: a\nX-Forwarded-Port: 80\n"},
}

func TestWhatTheOriginIsToldOfAVisitor(t *testing.T) {
	got := make(chan string, 1)
	g := start(t, func(_ int, c *peerConn) {
		for h := c.head(); h != ""; h = c.head() {
			got <- h
			c.send(ok)
		}
	})
	for _, f := range forwarding {
		t.Run(f.why, func(t *testing.T) {
			g.request = Request{Client: netip.MustParseAddr("203.0.113.7"), Proto: f.proto}
			if f.trusted != "-" {
				g.request.ForwardedFor = []byte(f.trusted)
			}
			sent, want := f.sent, f.got
			if !strings.HasPrefix(sent, "GET ") {
				sent, want = "GET / HTTP/1.1\nHost: a\n"+sent, "GET / HTTP/1.1\nHost: a\n"+want
			}
			want = strings.Replace(want, "ORIGIN", g.origin, 1)
			c := g.dial()
			c.send(crlf(sent + "\n"))
			if got := wait(t, got, "request"); got != crlf(want+"\n") {
				t.Errorf("the origin got\n%s\nwant\n%s", got, want)
			}
			g.wantErr(nil)
		})
	}
}

// traces are what comes in traceparent, and whether it goes on.
var traces = []struct {
	why, fields string
	passes      bool
}{
	{"none", "", false},
	{"a good one", "traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\n", true},
	{"not sampled", "traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00\n", true},
	{"with its state", "traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\ntracestate: a=1\nTraceState: b=2\n", true},
	{"a state before it", "tracestate: a=1\nTraceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\n", true},
	{"a version to come", "traceparent: 42-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\n", true},
	{"a version to come with more", "traceparent: 42-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-what\n", true},
	{"a version to come with more, unparted", "traceparent: 42-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01what\n", false},
	{"this version with more", "traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-what\n", false},
	{"no such version", "traceparent: ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\n", false},
	{"upper case", "traceparent: 00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01\n", false},
	{"a trace of zeros", "traceparent: 00-00000000000000000000000000000000-b7ad6b7169203331-01\n", false},
	{"a parent of zeros", "traceparent: 00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01\n", false},
	{"too short", "traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-0\n", false},
	{"no digits", "traceparent: 00-0af7651916cd43dd8448eb211c80319x-b7ad6b7169203331-01\n", false},
	{"other borders", "traceparent: 00_0af7651916cd43dd8448eb211c80319c_b7ad6b7169203331_01\n", false},
	{"two in one", "traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01, 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\n", false},
	{"twice", "traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\ntraceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\n", false},
	{"empty", "traceparent:\n", false},
	{"a state alone", "tracestate: a=1\n", false},
	{"a state with nonsense", "traceparent: x\ntracestate: a=1\n", false},
}

var begunTrace = regexp.MustCompile(`^traceparent: 00-([0-9a-f]{32})-([0-9a-f]{16})-01\r\n$`)

func TestATraceGoesOnOrBegins(t *testing.T) {
	got := make(chan string, 1)
	g := start(t, func(_ int, c *peerConn) {
		for h := c.head(); h != ""; h = c.head() {
			got <- h
			c.send(ok)
		}
	})
	const id = "4bf92f3577b34da6a3ce929d0e0e4736"
	const before = "GET / HTTP/1.1\r\nHost: a\r\n"
	const after = "X-Forwarded-For: 203.0.113.7\r\nX-Forwarded-Proto: http\r\nX-Forwarded-Host: a\r\nX-Forwarded-Port: 80\r\n"
	c := g.dial()
	for _, tc := range traces {
		for _, make := range []bool{true, false} {
			g.request.Trace, g.request.ID = make, []byte(id)
			if !make {
				g.request.ID = nil
			}
			c.send(before + crlf(tc.fields+"\n"))
			h := wait(t, got, "request")
			c.wantNext(ok)
			g.wantErr(nil)
			want := before + after
			if tc.passes {
				want = before + crlf(tc.fields) + after
			}
			if make {
				want += "X-Request-Id: " + id + "\r\n"
			}
			rest, found := strings.CutPrefix(h, want)
			if !found {
				t.Errorf("%s: the origin got\n%s\nwant\n%s", tc.why, h, want)
				continue
			}
			rest = strings.TrimSuffix(rest, "\r\n")
			switch m := begunTrace.FindStringSubmatch(rest); {
			case tc.passes || !make:
				if rest != "" {
					t.Errorf("%s: the origin got %q too", tc.why, rest)
				}
			case m == nil || m[1] != id || isZero([]byte(m[2])):
				t.Errorf("%s: the origin got %q, want a trace under the request's name", tc.why, rest)
			}
		}
	}
}

func TestRandomNamesAreNotTheSame(t *testing.T) {
	seen := map[string]bool{}
	for range 1000 {
		name := string(AppendRandom(nil, 16))
		if len(name) != 32 || !isLowerHex([]byte(name)) || seen[name] {
			t.Fatalf("%q, %v before", name, seen[name])
		}
		seen[name] = true
	}
}

// FuzzTraceParent: what goes on is of the form, however it came.
func FuzzTraceParent(f *testing.F) {
	for _, tc := range traces {
		f.Add([]byte(strings.TrimSpace(strings.TrimPrefix(tc.fields, "traceparent:"))))
	}
	form := regexp.MustCompile(`^(00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}|([0-9a-e][0-9a-f]|f[0-9a-e])-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}(-(?s:.*))?)$`)
	f.Fuzz(func(t *testing.T, b []byte) {
		s := string(b)
		want := form.MatchString(s) && !strings.HasPrefix(s[2:], "-"+strings.Repeat("0", 32)) && s[36:52] != strings.Repeat("0", 16)
		if want && s[:2] == "00" {
			want = len(s) == 55
		}
		if got := isTraceParent(b); got != want {
			t.Fatalf("%q is a traceparent: %v, want %v", s, got, want)
		}
	})
}

// answersOfOrigins are headers of answers, and what visitors get; "" is a 502.
var answersOfOrigins = []struct{ why, sent, got string }{
	{"cookies, one by one and as they are", "Set-Cookie: a=1; Path=/\nset-cookie: b=2\nX: 1\nSET-COOKIE: a=1; Path=/\nSet-Cookie: c=\n",
		"Set-Cookie: a=1; Path=/\nset-cookie: b=2\nX: 1\nSET-COOKIE: a=1; Path=/\nSet-Cookie: c=\n"},
	{"ours are the gate's to set", "Set-Cookie: sluice-drop=x; Path=/\nset-cookie:  SLUICE-drop=x\nSet-Cookie: Sluice_x=1\nSet-Cookie: sluiced=1\nSet-Cookie: x=sluice-drop\n" +
		"Sluice-Token: x\nsluice-state: admitted\nSluice_Room: x\n", "Set-Cookie: sluiced=1\nSet-Cookie: x=sluice-drop\n"},
	{"names, order and what stands twice", "x-b: 1\nX-A: 2\nX-B: 3\nx-b: 1\nWarning: 199 - \"x\"\nServer: shop\nDate: x\n",
		"x-b: 1\nX-A: 2\nX-B: 3\nx-b: 1\nWarning: 199 - \"x\"\nServer: shop\nDate: x\n"},
	{"what is told of the request stays", "X-Request-Id: 7\ntraceparent: x\nVia: 1.1 cache\nX-Forwarded-For: x\nForwarded: x\n",
		"X-Request-Id: 7\ntraceparent: x\nVia: 1.1 cache\nX-Forwarded-For: x\nForwarded: x\n"},
	{"hop by hop, named or not", "Keep-Alive: timeout=5\nProxy-Connection: x\nProxy-Authenticate: x\nTE: x\nTrailer: x\nUpgrade: h2c\nConnection: x-a\nX-A: 1\nX-B: 1\n", "X-B: 1\n"},
	{"what no hop has for itself", "Connection: Set-Cookie, Cache-Control, CDN-Cache-Control, Content-Type, Location, Vary, Strict-Transport-Security, X-A\nSet-Cookie: a=1\nCache-Control: private\n" +
		"CDN-Cache-Control: no-store\nContent-Type: text/html\nLocation: /x\nVary: Cookie\nStrict-Transport-Security: max-age=1\nContent-Security-Policy: x\nX-A: 1\n",
		"Set-Cookie: a=1\nCache-Control: private\nCDN-Cache-Control: no-store\nContent-Type: text/html\nLocation: /x\nVary: Cookie\nStrict-Transport-Security: max-age=1\nContent-Security-Policy: x\n"},
	{"bytes above ASCII", "X: caf\xe9 \xed\x95\x9c\n", "X: caf\xe9 \xed\x95\x9c\n"},
	{"tabs and empty values", "X:\ta\tb\t\nY:\n", "X: a\tb\nY: \n"},
	{"CR in a value", "X: a\rSet-Cookie: b=1\n", ""},
	{"CR at its end", "X: a\r\n", ""},
	{"NUL", "X: a\x00b\n", ""},
	{"another control character", "X: a\x1bb\n", ""},
	{"DEL", "X: a\x7fb\n", ""},
	{"a folded line", "X: a\n b\n", ""},
	{"a folded line by a tab", "X: a\n\tSet-Cookie: b=1\n", ""},
	{"a folded line first", " X: a\n", ""},
	{"a blank before the colon", "X : a\n", ""},
	{"a blank in a name", "X A: a\n", ""},
	{"no colon", "X\n", ""},
	{"no name", ": a\n", ""},
	{"a byte above ASCII in a name", "X\xe9: a\n", ""},
	{"CR in a name", "X\rY: a\n", ""},
}

func TestWhatVisitorsGetOfAnAnswersHeader(t *testing.T) {
	for _, a := range answersOfOrigins {
		t.Run(a.why, func(t *testing.T) {
			g := start(t, always("HTTP/1.1 200 OK\r\n"+crlf(a.sent)+"Content-Length: 2\r\n\r\nok"))
			c := g.dial()
			c.send(get)
			if a.got == "" {
				c.wantNext("HTTP/1.1 502 Bad Gateway\r\nContent-Length: 6\r\n\r\nbroken")
				g.wantErr(ErrBroken)
				return
			}
			c.wantNext("HTTP/1.1 200 OK\r\n" + crlf(a.got) + "Content-Length: 2\r\n\r\nok")
		})
	}
	t.Run("lines that end in LF alone", func(t *testing.T) {
		g := start(t, always("HTTP/1.1 200 OK\nX: a\nContent-Length: 2\n\nok"))
		c := g.dial()
		c.send(get)
		c.wantNext("HTTP/1.1 200 OK\r\nX: a\r\nContent-Length: 2\r\n\r\nok")
	})
	for why, status := range map[string]string{
		"CR in the reason": "HTTP/1.1 200 O\rK", "NUL in the reason": "HTTP/1.1 200 O\x00K", "no status": "HTTP/1.1  OK", "HTTP/2": "HTTP/2 200 OK",
	} {
		t.Run(why, func(t *testing.T) {
			g := start(t, always(status+"\r\nContent-Length: 2\r\n\r\nok"))
			g.dial().send(get)
			g.wantErr(ErrBroken)
		})
	}
}
