package gate

import "testing"

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
