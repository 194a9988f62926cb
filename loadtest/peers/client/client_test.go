package client

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// server answers requests with what answer returns, in pieces if there are
// several; an empty piece closes the connection. It ends with the test.
type server struct {
	addr string

	mu      sync.Mutex
	more    *sync.Cond // a request came
	conns   int
	seen    map[string]int // by path
	perConn []map[string]int
}

func serve(t *testing.T, answer func(path string, nth int) []string) *server {
	t.Helper()
	if runtime.GOOS != "linux" {
		t.Skip("not tested: the client, which is for Linux")
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &server{addr: l.Addr().String(), seen: map[string]int{}}
	s.more = sync.NewCond(&s.mu)
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			wg.Go(func() {
				defer c.Close()
				s.talk(c, answer)
			})
		}
	})
	t.Cleanup(wg.Wait) // connections end with the client
	t.Cleanup(func() { l.Close() })
	return s
}

func (s *server) talk(c net.Conn, answer func(path string, nth int) []string) {
	s.mu.Lock()
	s.conns++
	mine := map[string]int{}
	s.perConn = append(s.perConn, mine)
	s.mu.Unlock()
	in := bufio.NewReader(c)
	for nth := 0; ; nth++ {
		path := ""
		for {
			line, err := in.ReadString('\n')
			if err != nil {
				return
			}
			if line == "\r\n" {
				break
			}
			if path == "" {
				path = strings.Fields(line)[1]
			}
		}
		s.mu.Lock()
		s.seen[path]++
		mine[path]++
		s.more.Broadcast()
		s.mu.Unlock()
		for _, piece := range answer(path, nth) {
			if piece == "" {
				return
			}
			if _, err := io.WriteString(c, piece); err != nil {
				return
			}
		}
	}
}

func (s *server) total() (n int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, k := range s.seen {
		n += int64(k)
	}
	return n
}

func get(path string) []byte { return []byte("GET " + path + " HTTP/1.1\r\nHost: shop\r\n\r\n") }

const shop = "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nshop"

var wantShop = Want{Status: 200, MinBody: 4, MaxBody: 4}

// heard waits until so many requests came on so many connections each, or until
// it is clear that they do not come.
func (s *server) heard(requests, conns int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	late := false
	defer time.AfterFunc(10*time.Second, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		late = true
		s.more.Broadcast()
	}).Stop()
	for {
		n := 0
		for _, mine := range s.perConn {
			all := 0
			for _, k := range mine {
				all += k
			}
			if all >= requests {
				n++
			}
		}
		if n >= conns || late {
			return
		}
		s.more.Wait()
	}
}

// try runs a load until the server heard enough of it.
func (s *server) try(t *testing.T, l Load, requests, conns int) (Result, error) {
	t.Helper()
	began := false
	return l.Run(t.Context(), 0, time.Millisecond, func() error {
		if began {
			s.heard(requests, conns)
		}
		began = true
		return nil
	})
}

func TestAnswersAreCounted(t *testing.T) {
	s := serve(t, func(string, int) []string { return []string{shop} })
	var marks []int64
	l := Load{Addr: s.addr, Connections: 5, Requests: [][]byte{get("/")}, Want: wantShop}
	r, err := l.Run(t.Context(), 0, 10*time.Millisecond, func() error {
		s.heard(10*(1+len(marks)), 5)
		marks = append(marks, s.total())
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(marks) != 2 || marks[0] == 0 {
		t.Fatalf("marks at %v requests, want one at the beginning and one at the end", marks)
	}
	// What the server has been asked between the marks is what was answered, but for
	// what was under way at either mark, and what was asked while the other side of it
	// was being set.
	if all := s.total(); r.Requests < marks[1]-marks[0]-5 || r.Requests > all {
		t.Errorf("%d requests counted, the server got %d between the marks and %d in all", r.Requests, marks[1]-marks[0], all)
	}
	if n := r.Latency.TotalCount(); n != r.Requests {
		t.Errorf("%d latencies for %d requests", n, r.Requests)
	}
	if r.Latency.Min() <= 0 || r.Latency.Max() > int64(time.Minute) {
		t.Errorf("latencies from %d to %d ns", r.Latency.Min(), r.Latency.Max())
	}
	if s.conns != 5 || r.Reconnects != 0 {
		t.Errorf("%d connections, %d opened again, want 5 that are kept", s.conns, r.Reconnects)
	}
}

func TestLatencyIsTheServers(t *testing.T) {
	const held = 30 * time.Millisecond
	s := serve(t, func(string, int) []string {
		timer := time.NewTimer(held)
		defer timer.Stop()
		<-timer.C
		return []string{shop}
	})
	l := Load{Addr: s.addr, Connections: 1, Requests: [][]byte{get("/")}, Want: wantShop}
	r, err := s.try(t, l, 3, 1)
	if err != nil {
		t.Fatal(err)
	}
	if least := time.Duration(r.Latency.Min()); least < held-held/100 { // to three digits
		t.Errorf("answered after %v at the soonest, the server took %v", least, held)
	}
}

func TestEveryRequestIsSentInTurn(t *testing.T) {
	s := serve(t, func(string, int) []string { return []string{shop} })
	var requests [][]byte
	for i := range 6 {
		requests = append(requests, get(fmt.Sprintf("/%d", i)))
	}
	l := Load{Addr: s.addr, Connections: 3, Requests: requests, Want: wantShop}
	if _, err := s.try(t, l, 4, 3); err != nil {
		t.Fatal(err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, mine := range s.perConn {
		var counts []int
		for _, n := range mine {
			counts = append(counts, n)
		}
		if len(counts) != 2 || slices.Max(counts)-slices.Min(counts) > 1 {
			t.Errorf("connection %d sent %v, want two requests in turn", i, mine)
		}
	}
	if len(s.seen) != 6 {
		t.Errorf("sent were %v, want all six", s.seen)
	}
	if got := share(requests[:2], 4, 5); len(got) != 1 || string(got[0]) != string(get("/0")) {
		t.Errorf("the fifth connection has %q of two requests, want the first", got)
	}
}

func TestAnAnswerMayComeInPieces(t *testing.T) {
	pieces := []string{"HT", "TP/1.1 200 OK\r\nContent-Le", "ngth: 8\r\n\r", "\n", "s", "ho", "p.sho"}
	s := serve(t, func(string, int) []string { return pieces })
	want := Want{Status: 200, MinBody: 8, MaxBody: 8, Prefix: "shop."}
	r, err := s.try(t, Load{Addr: s.addr, Connections: 2, Requests: [][]byte{get("/")}, Want: want}, 3, 2)
	if err != nil || r.Requests == 0 {
		t.Errorf("%d answered, %v", r.Requests, err)
	}
	large := strings.Repeat("x", 3*readSizeForTest)
	s = serve(t, func(string, int) []string {
		return []string{fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n", len(large)), large}
	})
	want = Want{Status: 200, MinBody: int64(len(large)), MaxBody: int64(len(large)), Prefix: "xxx"}
	if r, err := s.try(t, Load{Addr: s.addr, Connections: 2, Requests: [][]byte{get("/")}, Want: want}, 3, 2); err != nil || r.Requests == 0 {
		t.Errorf("a large body: %d answered, %v", r.Requests, err)
	}
}

// readSizeForTest is more than is read at once.
const readSizeForTest = 64 << 10

func TestAServerMayCloseWhenItSaysSo(t *testing.T) {
	closing := strings.Replace(shop, "\r\n\r\n", "\r\nConnection: close\r\n\r\n", 1)
	s := serve(t, func(_ string, nth int) []string {
		if nth == 2 {
			return []string{closing, ""}
		}
		return []string{shop}
	})
	r, err := s.try(t, Load{Addr: s.addr, Connections: 2, Requests: [][]byte{get("/")}, Want: wantShop}, 3, 8)
	if err != nil {
		t.Fatal(err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if r.Reconnects == 0 || s.conns < int(r.Reconnects) || r.Requests < 3*(r.Reconnects-2) {
		t.Errorf("%d answered, %d connections opened again, the server counts %d", r.Requests, r.Reconnects, s.conns)
	}
}

func TestAnythingElseEndsTheRun(t *testing.T) {
	for _, c := range []struct {
		name   string
		answer []string
		want   Want
		says   []string
	}{
		{"an error page", []string{"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 4\r\n\r\noops"}, wantShop, []string{"want status 200", "502 Bad Gateway", "oops", "GET / HTTP/1.1"}},
		{"a body that is too short", []string{"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nsho"}, wantShop, []string{"want 4 to 4 bytes", "sho"}},
		{"a body that is too long", []string{"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nshop!"}, wantShop, []string{"want 4 to 4 bytes"}},
		{"a body that is cut off", []string{"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nsh", ""}, wantShop, []string{"2 bytes before the body's end"}},
		{"more than was announced", []string{shop + "HTTP/1.1 200 OK"}, wantShop, []string{"15 bytes came after the body's end"}},
		{"a connection closed without a word", []string{""}, wantShop, []string{"closed the connection without an answer"}},
		{"another body", []string{shop}, Want{Status: 200, MinBody: 4, MaxBody: 4, Prefix: "shed"}, []string{`begins with "shed"`}},
		{"a body shorter than its beginning", []string{shop}, Want{Status: 200, MinBody: 0, MaxBody: 4, Prefix: "shops"}, []string{`begins with "shops"`}},
		{"no cookie", []string{shop}, Want{Status: 200, MinBody: 4, MaxBody: 4, Header: "Set-Cookie"}, []string{"want the field Set-Cookie"}},
		{"a body in chunks", []string{"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nshop\r\n0\r\n\r\n"}, wantShop, []string{"Content-Length"}},
		{"a header without end", []string{"HTTP/1.1 200 OK\r\nX: " + strings.Repeat("x", 2*readSizeForTest)}, wantShop, []string{"header is longer"}},
		{"no HTTP", []string{"-ERR unknown command\r\n\r\n"}, wantShop, []string{"no status line", "-ERR unknown"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := serve(t, func(string, int) []string { return c.answer })
			l := Load{Addr: s.addr, Connections: 3, Requests: [][]byte{get("/")}, Want: c.want}
			_, err := l.Run(t.Context(), 10*time.Second, 10*time.Second, func() error { return nil })
			if err == nil {
				t.Fatal("was measured")
			}
			for _, part := range append(c.says, s.addr) {
				if !strings.Contains(err.Error(), part) {
					t.Errorf("error %q does not say %q", err, part)
				}
			}
		})
	}
}

func TestARunEndsWhenAskedTo(t *testing.T) {
	s := serve(t, func(string, int) []string { return []string{shop} })
	ctx, cancel := context.WithCancel(t.Context())
	l := Load{Addr: s.addr, Connections: 2, Requests: [][]byte{get("/")}, Want: wantShop}
	_, err := l.Run(ctx, 0, time.Minute, func() error { cancel(); return nil })
	if !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
	broken := errors.New("no such process")
	if _, err := l.Run(t.Context(), 0, time.Minute, func() error { return broken }); !errors.Is(err, broken) {
		t.Errorf("a mark that fails: error %v", err)
	}
	l.Addr = "127.0.0.1:1"
	if _, err := s.try(t, l, 0, 0); err == nil || !strings.Contains(err.Error(), "127.0.0.1:1") {
		t.Errorf("nobody listens: error %v", err)
	}
}

func TestHead(t *testing.T) {
	for _, c := range []struct {
		name, text string
		want       head
		bad        bool
	}{
		{name: "all of it", text: "HTTP/1.1 429 Too Many Requests\r\nsEt-cookie: a=b\r\ncontent-LENGTH:  17 \r\nConnection: keep-alive\r\n\r\nbody",
			want: head{size: 97, status: 429, length: 17, found: true}},
		{name: "no reason", text: "HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n", want: head{size: 35, status: 200}},
		{name: "HTTP/1.0 closes", text: "HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n", want: head{size: 38, status: 200, close: true}},
		{name: "HTTP/1.0 that does not", text: "HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 0\r\n\r\n", want: head{size: 62, status: 200}},
		{name: "close", text: "HTTP/1.1 200 OK\r\nConnection: Close\r\nContent-Length: 0\r\n\r\n", want: head{size: 57, status: 200, close: true}},
		{name: "no length", text: "HTTP/1.1 200 OK\r\n\r\n", bad: true},
		{name: "a length that is none", text: "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n", bad: true},
		{name: "a length beyond counting", text: "HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999999\r\n\r\n", bad: true},
		{name: "a status that is none", text: "HTTP/1.1 2x0 OK\r\nContent-Length: 1\r\n\r\n", bad: true},
		{name: "no colon", text: "HTTP/1.1 200 OK\r\nContent-Length 1\r\n\r\n", bad: true},
		{name: "nothing", text: "\r\n\r\n", bad: true},
	} {
		got, err := parseHead([]byte(c.text), "Set-Cookie")
		if (err != nil) != c.bad || !c.bad && got != c.want {
			t.Errorf("%s: %+v, %v, want %+v", c.name, got, err, c.want)
		}
		for i := range len(c.text) - 1 {
			if strings.Contains(c.text[:i], "\r\n\r\n") {
				break
			}
			if _, err := parseHead([]byte(c.text[:i]), ""); !errors.Is(err, errMore) {
				t.Errorf("%s, cut after %d bytes: %v, want errMore", c.name, i, err)
			}
		}
	}
}
