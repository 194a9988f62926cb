package gate

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sluicegate/sluice/gate/config"
	"github.com/sluicegate/sluice/gate/door"
	"github.com/sluicegate/sluice/queue/memory"
)

// front is a gate in front of a shop that keeps what it is sent, as visitors reach
// it: by sockets.
type front struct {
	*Gate
	addr string
	got  chan string // the shop's requests, up to the blank line

	mu  sync.Mutex
	log bytes.Buffer
}

// Write takes what the gate logs.
func (f *front) Write(b []byte) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.log.Write(b)
}

func (f *front) logged() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.log.String()
}

// shopAnswer is what the shop of a front always says.
const shopAnswer = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"

// openFront opens one whose configuration has more lines. Nothing of the shop is
// gated. At /break the shop hangs up, and at /upload it reads without an answer.
func openFront(t *testing.T, lines string) *front {
	t.Helper()
	f := &front{got: make(chan string, 100)}
	shop, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var shopping sync.WaitGroup
	shopping.Go(func() {
		for {
			c, err := shop.Accept()
			if err != nil {
				return
			}
			shopping.Go(func() {
				defer c.Close()
				f.serve(c)
			})
		}
	})
	t.Cleanup(func() { // after the gate, which has connections to it
		shop.Close()
		shopping.Wait()
	})
	f.open(t, fmt.Sprintf(`
store: memory
origin: {url: "http://%s"}
secret: "0123456789abcdef0123456789abcdef"
rooms: [{name: drop, match: [{path: /drop}], rate: 10/s, mode: hold}]
`, shop.Addr())+lines)
	return f
}

// open opens the gate with a configuration, until the test ends.
func (f *front) open(t *testing.T, text string) {
	t.Helper()
	c, err := config.Load(config.Source{File: "test", Data: []byte(text)})
	if err != nil {
		t.Fatal(err)
	}
	f.Gate, err = New(c, Options{Store: memory.New(memory.Options{}), MaxHeld: 100, Log: slog.New(slog.NewTextHandler(f, nil))})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { _ = f.Run(ctx) })
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	f.addr = l.Addr().String()
	var upon []func(net.Listener) net.Listener
	if c.ProxyProtocol {
		upon = append(upon, f.Proxied)
	}
	server := NewServer(f.Gate, door.Limits{Conns: 100})
	running.Go(func() {
		if err := server.Serve(l, upon...); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(func() {
		end, cancelEnd := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancelEnd()
		if err := server.Shutdown(end); err != nil {
			t.Error(err)
		}
		_ = f.Close(end)
		cancel()
		running.Wait()
	})
}

func (f *front) serve(c net.Conn) {
	r := bufio.NewReader(c)
	for {
		var head strings.Builder
		for line := ""; line != "\r\n"; {
			var err error
			if line, err = r.ReadString('\n'); err != nil {
				return
			}
			head.WriteString(line)
		}
		f.got <- head.String()
		switch {
		case strings.HasPrefix(head.String(), "GET /break"):
			return
		case strings.HasPrefix(head.String(), "POST /upload"):
			_, _ = io.Copy(io.Discard, r)
			return
		}
		if _, err := io.WriteString(c, shopAnswer); err != nil {
			return
		}
	}
}

// ask sends what a visitor sends and returns the answer with its body read.
func (f *front) ask(t *testing.T, raw string) (*http.Response, string) {
	t.Helper()
	c, err := net.Dial("tcp", f.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(20 * time.Second))
	if _, err := io.WriteString(c, raw); err != nil {
		t.Fatal(err)
	}
	r, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	body, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	return r, string(body)
}

// told is what the shop was told in a field, by a request with these fields.
func (f *front) told(t *testing.T, name, fields string) string {
	t.Helper()
	if r, _ := f.ask(t, "GET / HTTP/1.1\r\nHost: shop.example\r\n"+fields+"\r\n"); r.StatusCode != 200 {
		t.Fatalf("status %d", r.StatusCode)
	}
	return field(<-f.got, name)
}

// field is the value of a field that stands once in a header; "" when it does not.
func field(head, name string) string {
	m := regexp.MustCompile(`(?i)\r\n`+name+`: ([^\r]*)\r\n`).FindAllStringSubmatch(strings.ReplaceAll(head, "\r\n", "\r\n\r\n"), -1)
	if len(m) != 1 {
		return ""
	}
	return m[0][1]
}

var madeID = regexp.MustCompile(`^[0-9a-f]{32}$`)

func TestARequestKeepsTheNameThatATrustedProxyGaveIt(t *testing.T) {
	trusting, wary := openFront(t, "trusted_proxies: [127.0.0.1]\n"), openFront(t, "")
	for _, tc := range []struct {
		sent string
		kept bool
	}{
		{"X-Request-Id: 0f6a-77\r\n", true},
		{"x-request-ID: 7d4b1f7e-0e5c-4b8e-9f0e-1c1f0a7f3b11\r\n", true},
		{"X-Request-Id: Root=1-67891233-abcdef012345678912345678\r\n", true},
		{"X-Request-Id: " + strings.Repeat("x", 128) + "\r\n", true},
		{"X-Request-Id: " + strings.Repeat("x", 129) + "\r\n", false},
		{"X-Request-Id: two words\r\n", false},
		{"X-Request-Id: \"quoted\"\r\n", false},
		{"X-Request-Id: caf\xe9\r\n", false},
		{"X-Request-Id: a\r\nX-Request-Id: b\r\n", false},
		{"X-Request-Id:\r\n", false},
		{"X_Request_Id: a\r\n", false},
		{"", false},
	} {
		_, value, _ := strings.Cut(strings.TrimSuffix(tc.sent, "\r\n"), ": ")
		switch got := trusting.told(t, "X-Request-Id", tc.sent); {
		case tc.kept && got != value:
			t.Errorf("of a trusted proxy's %q the shop was told %q", tc.sent, got)
		case !tc.kept && !madeID.MatchString(got):
			t.Errorf("of a trusted proxy's %q the shop was told %q, want a new one", tc.sent, got)
		}
		if got := wary.told(t, "X-Request-Id", tc.sent); !madeID.MatchString(got) {
			t.Errorf("of a visitor's %q the shop was told %q, want a new one", tc.sent, got)
		}
	}
}

func TestTheGateIsNamedAndTracesBeginUnlessTheConfigurationSaysOtherwise(t *testing.T) {
	f := openFront(t, "")
	f.ask(t, "GET / HTTP/1.1\r\nHost: a\r\n\r\n")
	head := <-f.got
	id, trace := field(head, "X-Request-Id"), field(head, "traceparent")
	if field(head, "Via") != "1.1 sluice" || !strings.HasPrefix(trace, "00-"+id+"-") {
		t.Errorf("the shop got\n%s", head)
	}
	quiet := openFront(t, "headers: {via: false, traceparent: pass}\n")
	if got := quiet.told(t, "Via", "Via: 1.0 cache\r\n"); got != "1.0 cache" {
		t.Errorf("Via is %q", got)
	}
	if got := quiet.told(t, "traceparent", ""); got != "" {
		t.Errorf("a trace began: %q", got)
	}
	const trace2 = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	if got := quiet.told(t, "traceparent", "traceparent: "+trace2+"\r\n"); got != trace2 {
		t.Errorf("the trace that came goes on as %q", got)
	}
}

func TestAnAnswerThatCannotBeReadIsSaidToBeSo(t *testing.T) {
	f := openFrontOf(t, "failures: {count: 1}, url: "+listener(t, func(c net.Conn, r *bufio.Reader) {
		_, _ = http.ReadRequest(r)
		_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nX Y: 1\r\nContent-Length: 0\r\n\r\n")
	}))
	r, body := f.ask(t, "GET / HTTP/1.1\r\nHost: a\r\n\r\n")
	if r.StatusCode != 502 || !strings.Contains(body, "the origin's answer cannot be read") {
		t.Errorf("%d, %s", r.StatusCode, body)
	}
	if log := f.logged(); !strings.Contains(log, `msg="the origin's answer cannot be read"`) || !strings.Contains(log, "name with a character") || strings.Contains(log, "left alone") {
		t.Errorf("the log says\n%s", log)
	}
}

func TestAnAnswerThatCameWithoutADateLeavesWithOne(t *testing.T) {
	f := openFront(t, "")
	r, body := f.ask(t, "GET / HTTP/1.1\r\nHost: a\r\n\r\n")
	if at, err := http.ParseTime(r.Header.Get("Date")); err != nil || time.Since(at) > time.Minute || body != "ok" {
		t.Errorf("Date %q, %v, body %q", r.Header.Get("Date"), err, body)
	}
	const then = "Tue, 15 Nov 1994 08:12:31 GMT"
	old := openFrontOf(t, "url: "+listener(t, func(c net.Conn, r *bufio.Reader) {
		_, _ = http.ReadRequest(r)
		_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\ndate: "+then+"\r\nContent-Length: 0\r\n\r\n")
	}))
	if r, _ := old.ask(t, "GET / HTTP/1.1\r\nHost: a\r\n\r\n"); len(r.Header["Date"]) != 1 || r.Header.Get("Date") != then {
		t.Errorf("the shop's own became %q", r.Header["Date"])
	}
}

func TestWhatFailsIsLoggedUnderTheNameThatVisitorAndShopWereTold(t *testing.T) {
	f := openFront(t, "")
	r, _ := f.ask(t, "GET /break HTTP/1.1\r\nHost: a\r\n\r\n")
	id := field(<-f.got, "X-Request-Id")
	if got := r.Header.Get("X-Request-Id"); r.StatusCode != 502 || got != id || !madeID.MatchString(id) {
		t.Errorf("status %d, the visitor was told %q, the shop %q", r.StatusCode, got, id)
	}
	if log := f.logged(); !strings.Contains(log, "request_id="+id) {
		t.Errorf("the log has no %q:\n%s", id, log)
	}
}

// Proxies such as HAProxy append a line of their own.
func TestNobodyHidesBehindALotOfForwardedLines(t *testing.T) {
	f := openFront(t, "trusted_proxies: [127.0.0.1, 10.0.0.0/8]\n")
	for _, lines := range []int{0, 7, 8, 9, 100} {
		got := f.told(t, "X-Forwarded-For", strings.Repeat("X-Forwarded-For: 10.0.0.1\r\n", lines)+"X-Forwarded-For: 203.0.113.7\r\nX-Forwarded-For: 10.0.0.2\r\n")
		if !strings.HasSuffix(got, "203.0.113.7, 10.0.0.2, 127.0.0.1") {
			t.Errorf("behind %d lines the shop is told %q", lines, got)
		}
	}
	// Whose address it is decides: except[].source and limits go by it.
	var x fields
	for range 100 {
		x.take([]byte("x-forwarded-for"), []byte("10.0.0.1"))
	}
	x.take([]byte("x-forwarded-for"), []byte("203.0.113.7"))
	if got := string(x.forwardedFor[x.forwarded-1]); got != "203.0.113.7" {
		t.Errorf("the last line read is %q", got)
	}
}

func TestTheLoadBalancersPROXYHeaderTellsTheShopWhoCame(t *testing.T) {
	f := openFront(t, "proxy_protocol: true\ntrusted_proxies: [127.0.0.1]\n")
	const request = "GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 9.9.9.9\r\nX-Forwarded-Proto: https\r\n\r\n"
	f.ask(t, "PROXY TCP4 203.0.113.7 192.0.2.1 51000 443\r\n"+request)
	if head := <-f.got; field(head, "X-Forwarded-For") != "203.0.113.7" || field(head, "X-Forwarded-Proto") != "http" {
		t.Errorf("the shop got\n%s", head)
	}
	// A proxy behind the load balancer is believed if it is trusted, too.
	f.ask(t, "PROXY TCP4 127.0.0.1 192.0.2.1 51000 443\r\n"+request)
	if head := <-f.got; field(head, "X-Forwarded-For") != "9.9.9.9, 127.0.0.1" || field(head, "X-Forwarded-Proto") != "https" {
		t.Errorf("the shop got\n%s", head)
	}
	// TLS ended at the load balancer, which says so.
	f.ask(t, "\r\n\r\n\x00\r\nQUIT\n\x21\x11\x00\x14\xcb\x00\x71\x07\xc0\x00\x02\x01\xc7\x38\x01\xbb\x20\x00\x05\x01\x00\x00\x00\x00"+request)
	if head := <-f.got; field(head, "X-Forwarded-For") != "203.0.113.7" || field(head, "X-Forwarded-Proto") != "https" {
		t.Errorf("the shop got\n%s", head)
	}
	c, err := net.Dial("tcp", f.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(20 * time.Second))
	io.WriteString(c, request)
	if b, _ := io.ReadAll(c); len(b) > 0 {
		t.Errorf("without a header the answer is %q, want none", b)
	}
	for end := time.Now().Add(20 * time.Second); !strings.Contains(f.logged(), "it does not begin with a PROXY header"); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("nobody is told why; the log is\n%s", f.logged())
		}
	}
}

// Whatever of a visitor's comes back in a header, it ends no line there.
func TestNobodyWritesLinesIntoOurAnswers(t *testing.T) {
	f := openFront(t, "cors_origins: [https://app.example]\ntrusted_proxies: [127.0.0.1]\n")
	for _, ending := range []string{"%0d%0a", "%0D%0A", "%0a", "%E5%98%8A%E5%98%8D", "\\r\\n", "\xe5\x98\x8a\xe5\x98\x8d", "\t", "\r\n", "\n", "\r", "\x00"} {
		evil := "a" + ending + "Set-Cookie:evil=1" + ending + ending + "<evil>"
		for _, request := range []string{
			"GET /drop/" + evil + " HTTP/1.1\r\nHost: a\r\n",
			"GET /.sluice/rooms/" + evil + " HTTP/1.1\r\nHost: a\r\n",
			"GET /drop HTTP/1.1\r\nHost: " + evil + "\r\n",
			"POST /drop HTTP/1.1\r\nHost: a\r\nReferer: http://a/" + evil + "\r\nSec-Fetch-Mode: navigate\r\nContent-Length: 0\r\n",
			"GET /drop HTTP/1.1\r\nHost: a\r\nOrigin: https://app.example" + evil + "\r\n",
			"OPTIONS /drop HTTP/1.1\r\nHost: a\r\nOrigin: https://app.example\r\nAccess-Control-Request-Method: " + evil + "\r\n",
			"OPTIONS /drop HTTP/1.1\r\nHost: a\r\nOrigin: https://app.example\r\nAccess-Control-Request-Method: GET\r\nAccess-Control-Request-Headers: " + evil + "\r\n",
			"GET /drop HTTP/1.1\r\nHost: a\r\nAccept-Language: " + evil + "\r\nSec-Fetch-Mode: navigate\r\n",
			"GET /drop/..%2f HTTP/1.1\r\nHost: a\r\nX-Request-Id: " + evil + "\r\n",
			"GET /drop HTTP/1.1\r\nHost: a\r\nCookie: sluice-drop=" + evil + "\r\n",
			"GET /drop HTTP/1.1\r\nHost: a\r\nSluice-Token: " + evil + "\r\n",
		} {
			answer := f.whole(t, 1<<30, request+"Connection: close\r\n\r\n")
			head, _, found := strings.Cut(answer, "\r\n\r\n")
			if !found || strings.Contains(strings.ReplaceAll(head, "\r\n", ""), "\n") || strings.Contains(strings.ReplaceAll(head, "\r\n", ""), "\r") {
				t.Errorf("%q is answered\n%q", request, answer)
			}
			for _, line := range strings.Split(head, "\r\n")[1:] {
				name, _, colon := strings.Cut(line, ":")
				if !colon || strings.EqualFold(name, "Set-Cookie") && strings.Contains(line, "evil") || strings.Contains(name, "evil") {
					t.Errorf("%q is answered with the line %q", request, line)
				}
			}
		}
	}
}
