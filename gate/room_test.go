package gate

import (
	"net"
	"testing"
)

func TestAnExceptionByMethodIsNoneWhereTheShopMayTakeAnotherMethod(t *testing.T) {
	g := openTestGateOf(t, testConfig+"    mode: hold\n    except: [{path: /drop/hook, methods: [POST]}, {path: /drop/free}]\n", nil)
	const forwarded, waits = 502, 429 // the origin answers nobody
	for _, c := range []struct {
		line, header string
		want         int
	}{
		{"POST /drop/hook", "", forwarded},
		{"POST /drop/hook?payment_method=card&method=x&a=_method&_methods=1&x_method=2", "", forwarded},
		{"POST /drop/hook", "X-HTTP-Method-Override: GET", waits},
		{"POST /drop/hook", "x-http-method-override: post", waits},
		{"POST /drop/hook", "X_HTTP_Method_Override: GET", waits},
		{"POST /drop/hook", "X-HTTP-Method: GET", waits},
		{"POST /drop/hook", "X-Method-Override: GET", waits},
		{"POST /drop/hook?_method=GET", "", waits},
		{"POST /drop/hook?a=b&_METHOD=get", "", waits},
		{"POST /drop/hook?a;_method=get", "", waits},
		{"POST /drop/hook??_method=get", "", waits},
		{"POST /drop/hook?%5fm%65thod=GET", "", waits},
		{"POST /drop/hook?.method=GET", "", waits},
		{"POST /drop/hook?+_method=GET", "", waits},
		{"POST /drop/hook?[method=GET", "", waits},
		{"POST /drop/hook?_method%00x=GET", "", waits},
		{"POST /drop/hook?_method", "", waits},
		// What is excepted whatever its method, or in no room, is nobody's way around.
		{"POST /drop/free?_method=GET", "X-HTTP-Method-Override: GET", forwarded},
		{"POST /elsewhere?_method=GET", "X-HTTP-Method-Override: GET", forwarded},
	} {
		lines := c.line + " HTTP/1.1\r\nHost: a\r\n"
		if c.header != "" {
			lines += c.header + "\r\n"
		}
		if r := g.do(t, lines+"\r\n"); r.StatusCode() != c.want {
			t.Errorf("%s with %q: %d, want %d", c.line, c.header, r.StatusCode(), c.want)
		}
	}
}

func TestHostsThatTheSiteDoesNotHaveAreRefused(t *testing.T) {
	const room = "  - {name: hosted, match: [{host: sale.example, path: /}], rate: none, mode: hold}\n"
	open := openTestGateOf(t, testConfig+room, nil)
	listed := openTestGateOf(t, testConfig+room+"hosts: [Shop.Example, \"*.cdn.example\", \"[2001:db8::1]\"]\n", nil)
	const forwarded, waits, misdirected, malformed = 502, 429, 421, 400 // the origin answers nobody
	for host, want := range map[string]int{
		"shop.example": forwarded, "SHOP.example:8443": forwarded, "shop.example.": forwarded, "a.b.cdn.example": forwarded, "[2001:DB8::1]:80": forwarded,
		"sale.example": waits, "sale.example.:80": waits,
		"cdn.example": misdirected, "www.shop.example": misdirected, "10.0.0.7": misdirected, "[2001:db8:0::1]": misdirected,
		"shop.example..": malformed, "shop.example:x": malformed,
	} {
		request := "GET /page HTTP/1.1\r\nHost: " + host + "\r\n\r\n"
		r := listed.do(t, request)
		if r.StatusCode() != want {
			t.Errorf("%s: %d, want %d", host, r.StatusCode(), want)
		}
		if cache := string(r.Header.Peek("Cache-Control")); want == misdirected && cache != "no-store" {
			t.Errorf("%s: Cache-Control %q", host, cache)
		}
		if want == misdirected {
			if r := open.do(t, request); r.StatusCode() != forwarded && r.StatusCode() != 400 {
				t.Errorf("%s: %d where hosts are not listed", host, r.StatusCode())
			}
		}
	}
	if r := listed.do(t, "GET /page HTTP/1.0\r\n\r\n"); r.StatusCode() != misdirected {
		t.Errorf("no host: %d", r.StatusCode())
	}
	// Load balancers ask by address.
	if r := listed.do(t, "GET /.sluice/health HTTP/1.1\r\nHost: 10.0.0.7\r\n\r\n"); r.StatusCode() != 503 {
		t.Errorf("health: %d", r.StatusCode())
	}
}

func TestTheHostThatATrustedProxyTellsHasItsRoomToo(t *testing.T) {
	const config = `
origin: {url: "http://127.0.0.1:9"}
secret: "0123456789abcdef0123456789abcdef"
trusted_proxies: ["192.0.2.0/24"]
hosts: [shop.example, gate.internal]
rooms:
  - {name: sale, match: [{host: sale.example}], rate: none, mode: hold, except: [{path: /free}]}
  - {name: drop, match: [{host: drop.example}], rate: none, mode: hold}
`
	const forwarded, waits, refused, misdirected = 502, 429, 400, 421 // the origin answers nobody
	g := openTestGateOf(t, config, nil)
	for _, c := range []struct {
		host, told string
		trusted    int
		stranger   int
	}{
		{"shop.example", "", forwarded, forwarded},
		{"sale.example", "", waits, waits},
		{"gate.internal", "sale.example", waits, forwarded},
		{"gate.internal", "SALE.example:443", waits, forwarded},
		{"sale.example", "shop.example", waits, waits}, // passed on from who made it up
		{"sale.example", "sale.example", waits, waits},
		{"sale.example", "drop.example", refused, waits},
		{"sale.example", "shop.example, drop.example", misdirected, waits},
		{"gate.internal", "evil.example", misdirected, forwarded},
		{"evil.example", "shop.example", misdirected, misdirected},
	} {
		request := "GET / HTTP/1.1\r\nHost: " + c.host + "\r\n"
		if c.told != "" {
			request += "X-Forwarded-Host: " + c.told + "\r\n"
		}
		for from, want := range map[string]int{"192.0.2.1": c.trusted, "198.51.100.1": c.stranger} {
			ctx := g.request(t, request+"\r\n")
			ctx.SetRemoteAddr(&net.TCPAddr{IP: net.ParseIP(from), Port: 1})
			if g.Handle(ctx); ctx.Response.StatusCode() != want {
				t.Errorf("%s, told %q by %s: %d, want %d", c.host, c.told, from, ctx.Response.StatusCode(), want)
			}
		}
	}
}
