package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sluicegate/sluice/gate/token"
)

// header is a header of one or more fields, name and value by turns.
func header(fields ...string) http.Header {
	h := make(http.Header)
	for i := 0; i < len(fields); i += 2 {
		h[fields[i]] = append(h[fields[i]], fields[i+1])
	}
	return h
}

// merged is some header with other fields over it.
func merged(h http.Header, fields ...string) http.Header {
	h = h.Clone()
	for name, values := range header(fields...) {
		h[name] = values
	}
	return h
}

// What requests of all kinds are answered.
func TestRequests(t *testing.T) {
	t.Parallel()
	t.Run("a waiting answer says all there is to say", func(t *testing.T) {
		t.Parallel()
		s := openSite(t, "message: \"soon & <safe>\"\n", "")
		ann := s.visitor()
		r := ann.opens("/drop/")
		wantHeader(t, r, "Content-Type", "text/html; charset=utf-8")
		wantHeader(t, r, "Sluice-State", "waiting")
		wantHeader(t, r, "Sluice-Room", "drop")
		wantHeader(t, r, "Cache-Control", "no-store")
		wantHeader(t, r, "CDN-Cache-Control", "no-store")
		if got := r.header.Get("Retry-After"); !regexp.MustCompile(`^[1-9][0-9]*$`).MatchString(got) {
			t.Errorf("Retry-After is %q", got)
		}
		poll := ann.send("GET", "/.sluice/rooms/drop", script, "")
		wantHeader(t, poll, "Content-Type", "application/json")
		wantHeader(t, poll, "Sluice-State", "waiting")
		wantHeader(t, poll, "Sluice-Room", "drop")
		wantHeader(t, poll, "Cache-Control", "no-store")
		wantHeader(t, poll, "CDN-Cache-Control", "no-store")
		var got map[string]any
		if err := json.Unmarshal(poll.body, &got); err != nil {
			t.Fatal(err)
		}
		for _, key := range []string{"poll_after_seconds", "age_seconds"} {
			if n, ok := got[key].(float64); !ok || n < 0 {
				t.Errorf("%s is %v", key, got[key])
			}
			delete(got, key)
		}
		want := map[string]any{"room": "drop", "state": "waiting", "position": 1.0, "waiting": 1.0, "estimate_seconds": nil, "message": "soon & <safe>"}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("a poll says %v, want %v", got, want)
		}
		// Page and JSON have the status that the room's page has, or 429.
		if r.status != 429 || ann.send("GET", "/drop/stock.json", script, "").status != 429 || poll.status != 200 {
			t.Errorf("statuses %d and %d", r.status, poll.status)
		}
		s.write("page: {status: 503}\n", "")
		if status := s.reload(); status/100 != 2 {
			t.Fatalf("reload: status %d", status)
		}
		if page, json := ann.opens("/drop/").status, ann.send("GET", "/drop/stock.json", script, "").status; page != 503 || json != 429 {
			t.Errorf("with page.status 503 the page has %d and JSON %d", page, json)
		}
	})

	t.Run("a form sent while waiting is not forwarded, and the answer says so", func(t *testing.T) {
		t.Parallel()
		s := openSite(t, "page: {entry: /drop/front}\n", "")
		form := merged(navigation, "Content-Type", "application/x-www-form-urlencoded")
		for referer, next := range map[string]string{
			"":                               "/drop/front",
			s.visitors + "/drop/cart?a=1":    "/drop/cart?a=1",
			"https://elsewhere.example/cart": "/drop/front",
		} {
			ann := s.visitor()
			if referer == "" {
				ann.joins()
			}
			h := form
			if referer != "" {
				h = merged(form, "Referer", referer)
			}
			r := ann.send("POST", "/drop/order", h, "card=4111")
			if r.status != 429 || ann.ticket() == (token.Token{}) {
				t.Errorf("status %d", r.status)
			}
			page := string(r.body)
			if !strings.Contains(page, "Nothing was sent or ordered.") {
				t.Errorf("the page does not say that nothing was sent: %s", page)
			}
			if want := fmt.Sprintf(`"next":%q`, next); !strings.Contains(page, want) {
				t.Errorf("with referer %q the page lacks %s: %s", referer, want, page)
			}
		}
		ann := s.visitor()
		r := ann.send("POST", "/drop/order", merged(script, "Content-Type", "application/json"), `{"n":1}`)
		a, err := r.stand()
		if err != nil || r.status != 429 || a.State != "none" || a.Detail != "the request was not forwarded; send it again once admitted" {
			t.Errorf("a script that posts got status %d, %+v, %v", r.status, a, err)
		}
		ann.joins()
		r = ann.send("PUT", "/drop/order", merged(script, "Content-Type", "application/json"), strings.Repeat("x", 100_000))
		if a, err = r.stand(); err != nil || r.status != 429 || a.State != "waiting" || a.Detail == "" {
			t.Errorf("a script that puts got status %d, %+v, %v", r.status, a, err)
		}
		if asked := s.shop.asked(); len(asked) > 0 {
			t.Errorf("the shop was asked %+v", asked)
		}
	})

	t.Run("what is no navigation takes no place and no cookie", func(t *testing.T) {
		t.Parallel()
		s := openSite(t, "", "")
		for name, ask := range map[string]struct {
			method string
			header http.Header
		}{
			"image":                        {"GET", header("Accept", "image/avif,*/*", "Sec-Fetch-Mode", "no-cors", "Sec-Fetch-Dest", "image")},
			"fetch":                        {"GET", header("Accept", "*/*", "Sec-Fetch-Mode", "cors")},
			"fetch for HTML":               {"GET", header("Accept", "text/html", "Sec-Fetch-Mode", "same-origin")},
			"old browser's image":          {"GET", header("Accept", "image/webp,*/*")},
			"old browser's XHR for HTML":   {"GET", header("Accept", "text/html", "X-Requested-With", "XMLHttpRequest")},
			"HEAD":                         {"HEAD", header("Accept", "text/html")},
			"OPTIONS that is no preflight": {"OPTIONS", header("Accept", "*/*")},
			"command line":                 {"GET", header("Accept", "*/*")},
			"prefetch":                     {"GET", merged(navigation, "Sec-Purpose", "prefetch")},
			"prerender":                    {"GET", merged(navigation, "Sec-Purpose", "prefetch;prerender")},
			"old prefetch":                 {"GET", merged(navigation, "Purpose", "prefetch")},
			"Mozilla's prefetch":           {"GET", merged(navigation, "X-Moz", "prefetch")},
			"upgrade":                      {"GET", header("Connection", "Upgrade", "Upgrade", "websocket", "Sec-WebSocket-Version", "13", "Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==")},
		} {
			v := s.visitor()
			r := v.send(ask.method, "/drop/thing", ask.header, "")
			if r.status != 429 || r.header.Get("Sluice-State") != "none" || r.header.Get("Sluice-Room") != "drop" || len(v.cookies) > 0 || r.header.Get("Sluice-Token") != "" {
				t.Errorf("%s: status %d with %v", name, r.status, r.header)
			}
			if ask.method != "HEAD" {
				if a, err := r.stand(); err != nil || a.State != "none" || a.Position != nil {
					t.Errorf("%s: %s", name, r.body)
				}
			}
		}
		for name, ask := range map[string]struct {
			method string
			header http.Header
		}{
			"navigation":         {"GET", navigation},
			"old browser":        {"GET", header("Accept", "text/html,*/*;q=0.8")},
			"old browser's form": {"POST", header("Accept", "text/html,*/*;q=0.8", "Content-Type", "multipart/form-data; boundary=x")},
			"navigation by POST": {"POST", merged(navigation, "Content-Type", "application/x-www-form-urlencoded")},
			"framed":             {"GET", merged(navigation, "Sec-Fetch-Dest", "iframe")},
		} {
			v := s.visitor()
			if r := v.send(ask.method, "/drop/thing", ask.header, ""); r.status != 429 || r.header.Get("Sluice-State") != "waiting" || v.token().Kind != token.Ticket {
				t.Errorf("%s: status %d with %v", name, r.status, r.header)
			}
		}
		s.counts(counts{Waiting: 5})
		// With nobody waiting and a free slot whoever asks is let in, but for a guess.
		s = openSite(t, "mode: auto\nmax_active: 9\n", "")
		if r := s.visitor().send("GET", "/drop/thing", merged(navigation, "Sec-Purpose", "prefetch"), ""); r.status != 429 || r.header.Get("Sluice-State") != "none" {
			t.Errorf("prefetch: status %d with %v", r.status, r.header)
		}
		fetch := s.visitor()
		if r := fetch.send("GET", "/drop/thing", script, ""); r.status != 200 || fetch.token().Kind != token.Pass {
			t.Errorf("a fetch where there is no line: status %d with %v", r.status, r.header)
		}
		s.counts(counts{Called: 1})
	})

	t.Run("the visitor API joins by POST only", func(t *testing.T) {
		t.Parallel()
		s := openSite(t, "", "")
		ann := s.visitor()
		if a := ann.polls(); a.State != "none" || a.Position != nil || ann.jar(false) != "" {
			t.Errorf("GET with nothing in hand: %+v, holds %q", a, ann.jar(false))
		}
		r, a, err := ann.ask(t.Context(), "POST")
		if err != nil || a.State != "waiting" {
			t.Fatalf("POST: %+v, %v", a, err)
		}
		place := ann.ticket()
		wantHeader(t, r, "Sluice-State", "waiting")
		if _, a, err = ann.ask(t.Context(), "POST"); err != nil || a.State != "waiting" || ann.ticket() != place {
			t.Errorf("POST again: %+v, %v, holds %+v, had %+v", a, err, ann.ticket(), place)
		}
		s.counts(counts{Waiting: 1})
		s.patch(`{"mode": "auto", "max_active": 1}`)
		a = ann.enters()
		if pass := ann.token(); pass.Kind != token.Pass || a.Called != pass.Called.Millis() || a.Called == 0 {
			t.Errorf("admitted with %+v and the pass %+v", a, pass)
		}
		if again := ann.polls(); again.State != "admitted" || again.Called != a.Called {
			t.Errorf("a poll with the pass says %+v", again)
		}
	})

	t.Run("what the visitor API does not know is said as problem JSON", func(t *testing.T) {
		t.Parallel()
		s := openSite(t, "", "")
		v := s.visitor()
		for path, status := range map[string]int{
			"/.sluice/rooms/nope": 404, "/.sluice/rooms/": 404, "/.sluice/rooms": 404, "/.sluice/": 404, "/.sluice": 404,
			"/.sluice/rooms/drop/x": 404, "/.sluice/rooms/DROP": 404, "/.sluice/metrics": 404,
		} {
			r := v.send("GET", path, script, "")
			wantProblem(t, path, r, status)
		}
		for _, method := range []string{"PUT", "PATCH", "HEAD", "OPTIONS", "PROPFIND"} {
			r := v.send(method, "/.sluice/rooms/drop", script, "")
			wantHeader(t, r, "Allow", "GET, POST, DELETE")
			if method == "HEAD" {
				if r.status != 405 {
					t.Errorf("HEAD: status %d", r.status)
				}
				continue
			}
			wantProblem(t, method, r, 405)
		}
		if asked := s.shop.asked(); len(asked) > 0 {
			t.Errorf("the shop was asked %+v", asked)
		}
		// A query is no part of the path, and a path that only looks alike is the shop's.
		if r := v.send("GET", "/.sluice/rooms/drop?x=1", script, ""); r.status != 200 {
			t.Errorf("with a query: status %d", r.status)
		}
		if r := v.send("GET", "/.sluices", script, ""); r.status != 200 || string(r.body) != "shop: GET /.sluices" {
			t.Errorf("/.sluices: status %d: %s", r.status, r.body)
		}
		r := v.send("GET", "/.sluice/health", nil, "")
		if r.status != 200 || string(r.body) != "ok\n" {
			t.Errorf("health: status %d: %s", r.status, r.body)
		}
	})

	t.Run("an app keeps its token itself and gets no cookie", func(t *testing.T) {
		t.Parallel()
		s := openSite(t, "max_active: 5\n", "")
		other := s.visitor()
		other.joins()
		app := s.visitor()
		app.headers = header("Sluice-Token", "")
		send := func(method, path string) *reply {
			t.Helper()
			r := app.send(method, path, script, "")
			if c := r.header["Set-Cookie"]; len(c) > 0 {
				t.Errorf("%s %s gave the cookie %q", method, path, c)
			}
			if given := r.header.Get("Sluice-Token"); given != "" {
				app.headers = header("Sluice-Token", given)
			}
			return r
		}
		held := func() token.Token {
			held, _ := readToken(app.headers.Get("Sluice-Token"))
			return held
		}
		send("POST", "/.sluice/rooms/drop")
		place := held()
		if place.Kind != token.Ticket {
			t.Fatalf("the app holds %+v of %q", place, app.headers)
		}
		// The header wins over any cookie.
		app.cookies = slices.Clone(other.cookies)
		if a, err := send("GET", "/.sluice/rooms/drop").stand(); err != nil || a.Position == nil || *a.Position != 2 {
			t.Errorf("the app stands at %+v, %v", a, err)
		}
		app.cookies = nil
		s.patch(`{"mode": "auto"}`)
		await(t, "the app is let in", func() error {
			a, err := send("GET", "/.sluice/rooms/drop").stand()
			if err == nil && a.State != "admitted" {
				err = fmt.Errorf("%+v", a)
			}
			return err
		})
		if pass := held(); pass.Kind != token.Pass || pass.ID != place.ID {
			t.Errorf("the app holds %+v", pass)
		}
		if r := send("GET", "/drop/stock.json"); r.status != 200 {
			t.Errorf("status %d with a pass", r.status)
		}
		if asked := s.shop.asked(); len(asked) != 1 || asked[0].header.Get("Sluice-Token") != "" {
			t.Errorf("the shop was asked %+v", asked)
		}
		if r := send("DELETE", "/.sluice/rooms/drop"); r.status != 204 {
			t.Errorf("DELETE: status %d", r.status)
		}
	})

	t.Run("cookies have the attributes that the hop allows", func(t *testing.T) {
		t.Parallel()
		https := header("X-Forwarded-Proto", "https")
		for name, c := range map[string]struct {
			room, top string
			header    http.Header
			want      string
		}{
			"http":                       {"", "", nil, "; Path=/; Max-Age=1800; HttpOnly; SameSite=Lax"},
			"https said by a stranger":   {"", "", https, "; Path=/; Max-Age=1800; HttpOnly; SameSite=Lax"},
			"https said by our proxy":    {"", "trusted_proxies: [127.0.0.0/8]", https, "; Path=/; Max-Age=1800; HttpOnly; SameSite=None; Secure"},
			"http said by our proxy":     {"", "trusted_proxies: [127.0.0.0/8]", header("X-Forwarded-Proto", "http"), "; Path=/; Max-Age=1800; HttpOnly; SameSite=Lax"},
			"https always":               {"", "https: always", nil, "; Path=/; Max-Age=1800; HttpOnly; SameSite=None; Secure"},
			"keep_place is its life":     {"keep_place: 2h\n", "", nil, "; Path=/; Max-Age=7200; HttpOnly; SameSite=Lax"},
			"a session is a pass's life": {"mode: auto\nsession: 5m\n", "", nil, "; Path=/; Max-Age=300; HttpOnly; SameSite=Lax"},
		} {
			s := openSite(t, c.room, c.top)
			v := s.visitor()
			v.headers = c.header
			set := v.opens("/drop/").header["Set-Cookie"]
			if len(set) != 1 || set[0] != "sluice-drop="+v.cookie("sluice-drop")+c.want {
				t.Errorf("%s: Set-Cookie %q, want ...%s", name, set, c.want)
			}
			if n := len(v.cookie("sluice-drop")); n >= 120 {
				t.Errorf("%s: a token of %d characters", name, n)
			}
			if v.token().Kind == token.Ticket {
				if set := v.send("GET", "/.sluice/rooms/drop", script, "").header["Set-Cookie"]; len(set) > 0 {
					t.Errorf("%s: a poll sets %q", name, set)
				}
			}
			gone := v.send("DELETE", "/.sluice/rooms/drop", script, "").header["Set-Cookie"]
			life := regexp.MustCompile("Max-Age=[0-9]+").ReplaceAllString(c.want, "Max-Age=0")
			if len(gone) != 1 || gone[0] != "sluice-drop="+life {
				t.Errorf("%s: DELETE sets %q, want sluice-drop=%s", name, gone, life)
			}
		}
	})

	t.Run("an answer with our token is kept by no shared cache", func(t *testing.T) {
		t.Parallel()
		s := openSite(t, "mode: auto\n", "")
		ann := s.visitor()
		r := ann.opens("/drop/cached") // with the pass
		wantHeader(t, r, "Cache-Control", "private, max-age=60")
		await(t, "the pass is confirmed", func() error { // a pass given on the spot is renewed at once
			if r = ann.opens("/drop/cached"); len(r.header["Set-Cookie"]) > 0 {
				return fmt.Errorf("the answer sets %q", r.header["Set-Cookie"])
			}
			return nil
		})
		wantHeader(t, r, "Cache-Control", "public, max-age=60")
	})

	t.Run("what visitors send named sluice- does not reach the shop", func(t *testing.T) {
		t.Parallel()
		s := openSite(t, "mode: auto\n", "")
		bad := []string{"Sluice-Visitor", "Sluice-Room", "sluice-session", "SLUICE-STATE", "Sluice_Visitor", "sLuIcE_rOoM", "Sluice-", "Sluice-Anything"}
		fine := []string{"Sluices-Visitor", "X-Sluice-Visitor"}
		for _, path := range []string{"/drop/", "/elsewhere"} {
			v := s.visitor()
			h := navigation.Clone()
			for _, name := range slices.Concat(bad, fine) {
				h[name] = []string{"forged"}
			}
			v.set(&http.Cookie{Name: "basket", Value: "7"})
			v.set(&http.Cookie{Name: "sluice-other", Value: "x"})
			v.send("GET", path, h, "")
			v.send("GET", path, h, "")
			for i, r := range s.shop.asked() {
				for name, values := range r.header {
					lower := strings.ReplaceAll(strings.ToLower(name), "_", "-")
					if strings.HasPrefix(lower, "sluice-") && slices.Contains(values, "forged") {
						t.Errorf("%s, request %d: the shop got %s: %q", path, i, name, values)
					}
				}
				for _, name := range fine {
					if r.header.Get(name) != "forged" {
						t.Errorf("%s, request %d: the shop did not get %s", path, i, name)
					}
				}
				if path == "/drop/" {
					if got, want := r.header["Sluice-Visitor"], fmt.Sprintf("%016x", uint64(v.token().ID)); !slices.Equal(got, []string{want}) {
						t.Errorf("request %d: Sluice-Visitor %q, want %s", i, got, want)
					}
					if got := r.header["Sluice-Room"]; !slices.Equal(got, []string{"drop"}) {
						t.Errorf("request %d: Sluice-Room %q", i, got)
					}
				} else if r.header["Sluice-Visitor"] != nil || r.header["Sluice-Room"] != nil {
					t.Errorf("an ungated path got %v", r.header)
				}
				if got := r.header["Cookie"]; !slices.Equal(got, []string{"basket=7"}) && !slices.Equal(got, []string{"basket=7; sluice-other=x"}) {
					t.Errorf("%s, request %d: the shop got the cookies %q", path, i, got)
				}
			}
		}
	})

	t.Run("the shop gives slots back and lengthens sessions", func(t *testing.T) {
		t.Parallel()
		s := openSite(t, "mode: auto\nmax_active: 3\nsession: 5m\n", "")
		ann := s.visitor()
		ann.opens("/drop/")
		pass := ann.token()
		r := ann.opens("/drop/bank")
		if got := ann.token(); got.ID != pass.ID || got.Until.Sub(got.Called).Round(10*time.Second) != 20*time.Minute {
			t.Errorf("after extend=20m the pass is %+v", got)
		}
		if r.header.Get("Sluice-Session") != "" || string(r.body) != "shop: GET /drop/bank" {
			t.Errorf("extend came through: %v %s", r.header, r.body)
		}
		if set := r.header["Set-Cookie"]; len(set) != 1 || !strings.Contains(set[0], "; Max-Age=1200; ") {
			t.Errorf("extend sets %q", set)
		}
		s.counts(counts{Active: 1})
		if r := ann.opens("/drop/nonsense"); r.status != 200 || r.header.Get("Sluice-Session") != "" {
			t.Errorf("nonsense came through: %d %v", r.status, r.header)
		}
		r = ann.opens("/drop/thanks")
		if r.status != 200 || r.header.Get("Sluice-Session") != "" || ann.jar(false) != "" {
			t.Errorf("after release: status %d, %v, holds %q", r.status, r.header, ann.jar(false))
		}
		s.counts(counts{})
	})

	t.Run("scripts of the origins that are named may use the site", func(t *testing.T) {
		t.Parallel()
		s := openSite(t, "", "cors_origins: [\"https://app.example\"]")
		cors := func(origin string) http.Header {
			return merged(script, "Origin", origin, "Sec-Fetch-Site", "cross-site")
		}
		preflight := func(origin string) http.Header {
			return merged(cors(origin), "Access-Control-Request-Method", "POST", "Access-Control-Request-Headers", "sluice-token, content-type")
		}
		for _, path := range []string{"/drop/order", "/.sluice/rooms/drop"} {
			r := s.visitor().send("OPTIONS", path, preflight("https://app.example"), "")
			if r.status != 204 {
				t.Errorf("%s: preflight status %d", path, r.status)
			}
			wantHeader(t, r, "Access-Control-Allow-Origin", "https://app.example")
			wantHeader(t, r, "Access-Control-Allow-Credentials", "true")
			wantHeader(t, r, "Access-Control-Allow-Methods", "POST")
			wantHeader(t, r, "Access-Control-Allow-Headers", "sluice-token, content-type")
			wantHeader(t, r, "Vary", "Origin")
			for _, origin := range []string{"https://evil.example", "https://app.example.evil.example", "http://app.example", "null", "HTTPS://APP.EXAMPLE"} {
				if r := s.visitor().send("OPTIONS", path, preflight(origin), ""); r.status != 403 || r.header.Get("Access-Control-Allow-Origin") != "" {
					t.Errorf("%s: preflight of %s: status %d with %v", path, origin, r.status, r.header)
				}
			}
		}
		for _, path := range []string{"/drop/order", "/.sluice/rooms/drop", "/.sluice/rooms/nope"} {
			r := s.visitor().send("POST", path, cors("https://app.example"), "")
			wantHeader(t, r, "Access-Control-Allow-Origin", "https://app.example")
			wantHeader(t, r, "Access-Control-Expose-Headers", "Sluice-State, Sluice-Room, Sluice-Token, Retry-After")
			wantHeader(t, r, "Vary", "Origin")
			r = s.visitor().send("POST", path, cors("https://evil.example"), "")
			wantHeader(t, r, "Access-Control-Allow-Origin", "")
			wantHeader(t, r, "Vary", "Origin")
		}
		if asked := s.shop.asked(); len(asked) > 0 {
			t.Errorf("the shop was asked %+v", asked)
		}
		// The shop answers preflights of its own paths itself.
		if r := s.visitor().send("OPTIONS", "/elsewhere", preflight("https://evil.example"), ""); r.status != 200 || len(s.shop.asked()) != 1 {
			t.Errorf("a preflight of an ungated path: status %d", r.status)
		}
	})

	t.Run("tokens that are no good get a clear answer and change nobody's place", func(t *testing.T) {
		t.Parallel()
		s := openSite(t, "", "")
		ann := s.visitor()
		place := ann.joins()
		good := ann.cookie("sluice-drop")
		ring := func(text string) *token.Ring {
			r, err := token.NewRing([]string{text})
			if err != nil {
				t.Fatal(err)
			}
			return r
		}
		sign := func(change func(*token.Token)) string {
			t := place
			change(&t)
			return string(ring(secret).Append(nil, &t))
		}
		first := sign(func(t *token.Token) { t.Place -= 1_000_000 }) // would be good: only we can sign
		flipped := []byte(first)
		flipped[40] ^= 1
		bad := map[string]string{
			"forged":           string(flipped),
			"signed by others": string(ring("the secret of somebody else, as long").Append(nil, &place)),
			"truncated":        good[:len(good)-4],
			"longer":           good + "AAAA",
			"of another room":  sign(func(t *token.Token) { t.Room = token.RoomID("vip") }),
			"expired":          sign(func(t *token.Token) { t.Issued = t.Issued.Add(-36 * time.Minute) }),
			"a pass expired":   sign(func(t *token.Token) { t.Kind, t.Until = token.Pass, t.Issued-1 }),
			"empty":            "",
			"quoted":           `"x"`,
			"long":             strings.Repeat("x", 8000),
			"of percent signs": strings.Repeat("%", 200),
		}
		n := int64(1)
		for name, text := range bad {
			for _, where := range []http.Header{header("Cookie", "a=b; sluice-drop="+text+"; c=d"), header("Sluice-Token", text)} {
				v := s.visitor()
				v.headers = where
				if a := v.polls(); a.State != "none" {
					t.Errorf("%s: a poll says %+v", name, a)
				}
				r := v.opens("/drop/")
				n++
				given := v.token()
				if where.Get("Cookie") == "" {
					given, _ = readToken(r.header.Get("Sluice-Token"))
				}
				if r.status != 429 || r.header.Get("Sluice-State") != "waiting" || given.Kind != token.Ticket || given.ID == place.ID || given.Place <= place.Place {
					t.Errorf("%s: status %d with %v, holds %+v", name, r.status, r.header, given)
				}
			}
		}
		s.counts(counts{Waiting: n})
		if got := ann.polls(); got.Position == nil || *got.Position != 1 || ann.ticket() != place {
			t.Errorf("ann stands at %+v", got)
		}
		// A cookie that nobody could have of us, and that a browser would still send.
		c, err := net.Dial("tcp", strings.TrimPrefix(s.visitors, "http://"))
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		fmt.Fprintf(c, "GET /drop/ HTTP/1.1\r\nHost: shop.example\r\nCookie: sluice-drop=%s\r\n\r\n", strings.Repeat("x", 20_000))
		if status, err := bufio.NewReader(c).ReadString('\n'); err != nil || !strings.HasPrefix(status, "HTTP/1.1 431 ") {
			t.Errorf("a cookie of 20 kB: %q, %v", status, err)
		}
		many := s.visitor().with(header("Cookie", strings.Repeat("sluice-drop=x; ", 500)+"sluice-drop="+good))
		if r := many.opens("/drop/"); r.status != 429 {
			t.Errorf("500 cookies of our name: status %d", r.status)
		}
		if asked := s.shop.asked(); len(asked) > 0 {
			t.Errorf("the shop was asked %+v", asked)
		}
	})

	t.Run("a secret is rotated in three reloads and nobody notices", func(t *testing.T) {
		t.Parallel()
		const next = "the next secret, which is as long as it must be"
		s := openSite(t, "", "")
		ann := s.visitor()
		place := ann.joins()
		reload := func(secrets ...string) {
			t.Helper()
			list, err := json.Marshal(secrets)
			if err != nil {
				t.Fatal(err)
			}
			s.write("", "secret: "+string(list))
			if status := s.reload(); status/100 != 2 {
				t.Fatalf("reload: status %d", status)
			}
		}
		state := func(v *guest) string { return v.polls().State }
		reload(secret, next)
		if got := ann.joins(); got.ID != place.ID || state(ann) != "waiting" {
			t.Errorf("ann's ticket is %+v, was %+v", got, place)
		}
		reload(next, secret)
		if got := ann.joins(); got.ID != place.ID || state(ann) != "waiting" {
			t.Errorf("ann's ticket is %+v, was %+v", got, place)
		}
		bob := s.visitor()
		bob.opens("/drop/") // signed by the next
		if state(bob) != "waiting" || bob.token() != (token.Token{}) {
			t.Errorf("bob is told %q and holds %+v", state(bob), bob.token())
		}
		reload(next)
		if state(bob) != "waiting" || state(ann) != "none" {
			t.Errorf("with the old secret dropped bob is told %q and ann %q", state(bob), state(ann))
		}
		s.counts(counts{Waiting: 2})
	})
}

func wantHeader(t *testing.T, r *reply, name, want string) {
	t.Helper()
	if got := strings.Join(r.header.Values(name), " | "); got != want {
		t.Errorf("%s is %q, want %q", name, got, want)
	}
}

func wantProblem(t *testing.T, what string, r *reply, status int) {
	t.Helper()
	var p struct {
		Status        int
		Title, Detail string
	}
	if err := json.Unmarshal(r.body, &p); err != nil || r.status != status || p.Status != status || p.Title == "" || p.Detail == "" || r.header.Get("Content-Type") != "application/problem+json" {
		t.Errorf("%s: status %d of type %q: %s; want problem JSON with %d", what, r.status, r.header.Get("Content-Type"), r.body, status)
	}
}
