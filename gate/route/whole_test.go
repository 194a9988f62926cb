package route_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sluicegate/sluice/gate"
	"github.com/sluicegate/sluice/gate/config"
	"github.com/sluicegate/sluice/gate/door"
	"github.com/sluicegate/sluice/gate/route"
	"github.com/sluicegate/sluice/queue/memory"
	"github.com/sluicegate/sluice/queue/queuetest/proc"
)

// What follows looks at the whole gate from outside: raw requests on a socket, a
// real nginx behind it.

const marker = "MARKER" // stands in what nobody sees without a pass

// openShops starts the shops of testdata/shops.conf and returns their URLs by name.
func openShops(t *testing.T) map[string]string {
	t.Helper()
	text, err := os.ReadFile("testdata/shops.conf")
	if err != nil {
		t.Fatal(err)
	}
	shops := map[string]string{}
	plain := proc.Nginx(t, func(dir string, port int) string {
		for name, page := range map[string]string{
			"index.html": "a page", "drop/index.html": marker, "drop/item.html": marker, "drop/assets/app.css": "/* for everybody */",
		} {
			file := filepath.Join(dir, "files", name)
			if err := errors.Join(os.MkdirAll(filepath.Dir(file), 0o755), os.WriteFile(file, []byte(page), 0o644)); err != nil {
				t.Fatal(err)
			}
		}
		ports := map[string]int{"plain": port}
		return regexp.MustCompile("@[a-z]+@").ReplaceAllStringFunc(string(text), func(name string) string {
			name = strings.Trim(name, "@")
			if name == "dir" {
				return dir
			}
			if ports[name] == 0 {
				ports[name] = proc.FreePort(t)
			}
			shops[name] = "http://127.0.0.1:" + strconv.Itoa(ports[name])
			return strconv.Itoa(ports[name])
		})
	})
	if shops["plain"] != "http://"+plain {
		t.Fatalf("the plain shop is at %s, not %s", plain, shops["plain"])
	}
	return shops
}

// openGate runs a gate with these rooms and further lines of YAML, and returns where
// it listens.
func openGate(t *testing.T, origin, mode, more string, rooms []route.Room) (addr string) {
	t.Helper()
	var b strings.Builder
	fmt.Fprintf(&b, "origin: {url: %q}\nsecret: 0123456789abcdef0123456789abcdef\n%srooms:\n", origin, more)
	for _, r := range rooms {
		fmt.Fprintf(&b, "  - name: %s\n    rate: none\n    mode: %s\n    match_case: %v\n    cookie_domain: \"\"\n    match:\n", r.Name, mode, !r.IgnoreCase)
		for _, m := range r.Match {
			fmt.Fprintf(&b, "      - path: %q\n", m.Path)
			if m.Host != "" {
				fmt.Fprintf(&b, "        host: %q\n", m.Host)
			}
		}
		for i, e := range r.Except {
			if i == 0 {
				b.WriteString("    except:\n")
			}
			item := []string{}
			if e.Path != "" {
				item = append(item, fmt.Sprintf("path: %q", e.Path))
			}
			if len(e.Methods) > 0 {
				item = append(item, "methods: ["+strings.Join(e.Methods, ", ")+"]")
			}
			if len(e.Sources) > 0 {
				item = append(item, fmt.Sprintf("source: %q", e.Sources[0]))
			}
			if e.Static {
				b.WriteString("      - static\n")
			} else {
				fmt.Fprintf(&b, "      - {%s}\n", strings.Join(item, ", "))
			}
		}
	}
	c, err := config.Load(config.Source{File: "test", Data: []byte(b.String())})
	if err != nil {
		t.Fatalf("%v in\n%s", err, &b)
	}
	g, err := gate.New(c, gate.Options{Store: memory.New(memory.Options{}), MaxHeld: 100})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { _ = g.Run(ctx) })
	s := gate.NewServer(g, door.Limits{Conns: 1000})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	wg.Go(func() { _ = s.Serve(l) })
	t.Cleanup(func() {
		_ = s.Shutdown(ctx)
		cancel()
		_ = g.Close(ctx)
		wg.Wait()
	})
	return l.Addr().String()
}

// answer is what came back, as far as it matters here.
type answer struct {
	status  int
	shops   bool // it is the shop's, not the gate's
	seen    bool // the marker
	cookies []string
	text    string
}

// send sends raw bytes on a connection of their own and reads the answer.
func send(t *testing.T, addr, raw string) answer {
	t.Helper()
	a, err := exchange(t, addr, raw)
	if err != nil {
		t.Fatalf("%q is answered %q, %v", raw, a.text, err)
	}
	return a
}

// shows tells whether a shop shows the marker to who asks it directly, in an answer
// that is well-formed or not.
func shows(t *testing.T, url, raw string) bool {
	t.Helper()
	a, _ := exchange(t, strings.TrimPrefix(url, "http://"), raw)
	return strings.Contains(a.text, marker)
}

func exchange(t *testing.T, addr, raw string) (a answer, err error) {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(c, raw); err != nil {
		t.Fatal(err)
	}
	method, _, _ := strings.Cut(raw, " ")
	var text strings.Builder
	r, err := http.ReadResponse(bufio.NewReader(io.TeeReader(c, &text)), &http.Request{Method: method})
	if err == nil {
		_, err = io.Copy(io.Discard, r.Body)
	}
	a.text = text.String()
	if err != nil {
		return a, err
	}
	a.status = r.StatusCode
	a.shops = r.Header.Get("Server") != "" // the gate does not say what it is
	a.seen = strings.Contains(a.text, marker)
	for _, cookie := range r.Cookies() {
		a.cookies = append(a.cookies, cookie.Name+"="+cookie.Value)
	}
	return a, nil
}

// request writes a variant down as bytes, with further fields.
func request(a *route.Around, fields ...string) string {
	version := "HTTP/1.1"
	if a.Host == "" {
		version = "HTTP/1.0" // which may leave it out
	} else {
		fields = append(fields, "Host: "+a.Host)
	}
	fields = append(fields, "Connection: close")
	return a.Method + " " + a.Target + " " + version + "\r\n" + strings.Join(fields, "\r\n") + "\r\n\r\n"
}

// wellFormed tells whether a variant can get past the checks that come before its
// room is looked for: what they refuse is no way around either.
func wellFormed(a *route.Around) bool {
	path, _, _ := strings.Cut(a.Target, "?")
	switch {
	case !strings.HasPrefix(path, "/") && !(a.Target == "*" && a.Method == "OPTIONS"), strings.ContainsFunc(a.Target, func(c rune) bool { return c <= ' ' || c == 0x7f || c == '#' }):
		return false
	case strings.Contains(escape.ReplaceAllString(path, ""), "%"):
		return false
	}
	return a.Host == "" || properHost.MatchString(a.Host)
}

var (
	escape     = regexp.MustCompile("%[0-9a-fA-F]{2}")
	properHost = regexp.MustCompile(`^([a-zA-Z0-9_-]+(\.[a-zA-Z0-9_-]+)*\.?|\[[0-9a-fA-F:]+\])(:[0-9]+)?$`)
)

func namesHost(rooms []route.Room) bool {
	return slices.ContainsFunc(rooms, func(r route.Room) bool {
		return slices.ContainsFunc(r.Match, func(m route.Match) bool { return m.Host != "" })
	})
}

func TestNobodySeesWhatIsGatedByAnySpellingOfItsPath(t *testing.T) {
	shops := openShops(t)
	sites := map[string][]*route.Around{} // by their rooms
	var order []string
	for _, a := range route.ReadAround(t) {
		site := fmt.Sprint(a.Rooms)
		if sites[site] == nil {
			order = append(order, site)
		}
		sites[site] = append(sites[site], &a)
	}
	n := 0
	for i, site := range order {
		all := sites[site]
		names := []string{"plain"}
		first := &all[0].Rooms[0]
		if !namesHost(all[0].Rooms) && (first.Match[0].Path == "/drop" || first.Match[0].Path == "/" && len(first.Except) == 0) { // what the others have
			names = []string{"plain", "unmerged", "files", "nocase", "rewriting", "decoding"}
		}
		for _, name := range names {
			t.Run(fmt.Sprintf("site %d, %s", i+1, name), func(t *testing.T) {
				addr := openGate(t, shops[name], "hold", "trusted_proxies: [127.0.0.1]\n", all[0].Rooms)
				around := 0 // spellings by which the shop itself shows what the gate does not
				for _, a := range all {
					n++
					if wellFormed(a) && a.Expect == "refused" && shows(t, shops[name], request(a)) {
						around++
					}
					got := send(t, addr, request(a, "X-Forwarded-For: 192.0.2.7"))
					verdict, _, _ := strings.Cut(a.Expect, " ")
					want := map[string]int{"gated": 429, "refused": 400}[verdict]
					switch {
					case !wellFormed(a) && !got.shops:
					case want > 0 && (got.status != want || got.shops), want == 0 && !got.shops:
						t.Errorf("around.txt:%d: %s %q on %q, which is %s (%s): %.300q", a.Line, a.Method, a.Target, a.Host, a.Expect, a.Why, got.text)
					case got.seen && verdict != "excepted" && !namesHost(a.Rooms):
						t.Errorf("around.txt:%d: %s %q on %q shows what is gated (%s): %.300q", a.Line, a.Method, a.Target, a.Host, a.Why, got.text)
					}
				}
				if t.Logf("%d odd spellings show it at the shop itself", around); i == 0 && around < 5 {
					t.Error("a shop that is this strict shows nothing")
				}
			})
		}
	}
	t.Logf("%d requests", n)
}

func TestNobodySeesWhatIsGatedByWhatElseARequestSays(t *testing.T) {
	shop := openShops(t)["credulous"]
	addr := openGate(t, shop, "hold", "hosts: [shop.example]\n", credulousRooms)
	around := 0
	for _, r := range readRequests(t) {
		if r.expect != "400" && r.expect != "429" && shows(t, shop, r.raw()) {
			around++
		}
		got := send(t, addr, r.raw())
		status := "shop"
		if !got.shops {
			status = strconv.Itoa(got.status)
		}
		if status != r.expect || got.seen {
			t.Errorf("requests.txt:%d: %s %q: want %s (%s), got %s: %.300q", r.number, r.line, r.fields, r.expect, r.why, status, got.text)
		}
	}
	if around < 20 {
		t.Errorf("only %d of what is not gated by its path shows anything at the shop itself", around)
	}
}

// With a pass everything arrives that is not refused, and as it was sent.
func TestWhoHasAPassAndWhoNeedsNoneArriveByteForByte(t *testing.T) {
	origin, got := openRecorder(t)
	var rooms []route.Room
	var addr, cookie string
	for _, a := range append(route.ReadAround(t), oddPaths()...) {
		if fmt.Sprint(a.Rooms) != fmt.Sprint(rooms) {
			rooms, cookie = a.Rooms, ""
			addr = openGate(t, origin, "open", "", rooms)
		}
		if !wellFormed(&a) || a.Expect == "refused" {
			continue
		}
		if cookie == "" && !namesHost(rooms) {
			path := rooms[0].Match[0].Path
			first := send(t, addr, request(&route.Around{Method: "GET", Host: "shop.example", Target: strings.ReplaceAll(path, " ", "%20")}))
			if <-got; len(first.cookies) != 1 || !first.seen {
				t.Fatalf("%s with the doors open: %q", path, first.text)
			}
			cookie = "Cookie: a=1; " + first.cookies[0]
		}
		fields := []string{"X-Odd:  a  b ", "accept: text/html"}
		if cookie != "" {
			fields = append(fields, cookie)
		}
		answer := send(t, addr, request(&a, fields...))
		if !answer.seen {
			t.Errorf("around.txt:%d: %s %q on %q (%s): %.300q", a.Line, a.Method, a.Target, a.Host, a.Why, answer.text)
			continue
		}
		head := <-got
		if want := a.Method + " " + a.Target + " HTTP/1.1\r\n"; !strings.HasPrefix(head, want) {
			t.Errorf("around.txt:%d: the shop was asked %q, want %q", a.Line, head, want)
		}
		if !strings.Contains(head, "\r\nX-Odd: a  b\r\naccept: text/html\r\n") || strings.Contains(head, "sluice-") {
			t.Errorf("around.txt:%d: the shop got %q", a.Line, head)
		}
	}
	if len(got) > 0 {
		t.Errorf("the shop was asked %q besides", <-got)
	}
}

// oddPaths are what shops have and people send, in a room and outside of any.
func oddPaths() (all []route.Around) {
	rooms := []route.Room{{Name: "drop", Match: []route.Match{{Path: "/drop"}}}}
	for _, below := range []string{
		"/%ED%95%9C%EC%A0%95%ED%8C%90", "/%ed%95%9c%ec%a0%95%ed%8c%90/%EC%8B%A0%EB%B0%9C.html", "/\xed\x95\x9c\xec\xa0\x95", "/%C7%D1%C1%A4", "/%E9%99%90%E5%AE%9A",
		"/a%20b", "/a+b", "/a%2Bb", "/100%25", "/%7Euser", "/~user", "/a,b;c=d", "/a:b@c", "/(x)", "/'x'", "/*", "/!$&", "/x=y", "/%5Bx%5D", "/[x]", "/{x}", "/|", "/^", "/`", "/\"x\"", "/<x>",
		"?", "?&", "??", "?a=b&&c", "?a=%00", "?q=%ED%95%9C+%2B+%20", "?url=https://a.example/../b//c", "?a=/../x", "?%", "?a=" + strings.Repeat("b", 8000), "?" + strings.Repeat("a=1&", 2000),
		"/" + strings.Repeat("a", 4000), "/" + strings.Repeat("a/", 1000), "/", "//", "/x//y", "/x/", "/index.php/x", "/x.html", "/.hidden", "/x..y", "/-", "/_",
	} {
		for _, method := range []string{"GET", "POST", "PROPFIND"} {
			all = append(all, route.Around{Rooms: rooms, Host: "shop.example", Method: method, Target: "/drop" + below, Expect: "gated", Why: "in the room"},
				route.Around{Rooms: rooms, Host: "shop.example:8080", Method: method, Target: "/page" + below, Expect: "ungated", Why: "elsewhere"})
		}
	}
	return all
}

// openRecorder is a shop that shows the marker to everybody, and tells the heads of
// the requests that it got.
func openRecorder(t *testing.T) (url string, heads <-chan string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	got := make(chan string, 10)
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			wg.Go(func() {
				defer c.Close()
				br := bufio.NewReader(c)
				for {
					var head bytes.Buffer
					for !bytes.HasSuffix(head.Bytes(), []byte("\r\n\r\n")) {
						line, err := br.ReadBytes('\n')
						if err != nil {
							return
						}
						head.Write(line)
					}
					got <- head.String()
					if _, err := io.WriteString(c, "HTTP/1.1 200 OK\r\nX: "+marker+"\r\nContent-Length: 0\r\n\r\n"); err != nil {
						return
					}
				}
			})
		}
	})
	t.Cleanup(func() { // after the gates', which were begun later
		l.Close()
		wg.Wait()
	})
	return "http://" + l.Addr().String(), got
}
