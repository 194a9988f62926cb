package gate

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/sluicegate/sluice/gate/door"
	"github.com/sluicegate/sluice/queue"
)

func TestEveryAnswerOfOursSaysWhenItWasMadeAndIsNotKept(t *testing.T) {
	g := openTestGateOf(t, testConfig+"    mode: hold\n  - {name: hall, match: [{path: /open}], rate: none}\nhosts: [a]\ncors_origins: [\"https://app.example\"]\n", nil)
	server := NewServer(g.Gate, door.Limits{Conns: 100})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- server.Serve(l) }()
	t.Cleanup(func() {
		if err := server.Shutdown(context.Background()); err != nil {
			t.Error(err)
		}
		<-served
	})
	const html, pre = "Accept: text/html\r\n", "Origin: https://app.example\r\nAccess-Control-Request-Method: GET\r\n"
	for _, r := range []struct {
		line, fields string
		status       int
	}{
		{"GET /.sluice/rooms/drop", "", 200}, {"POST /.sluice/rooms/drop", "", 200}, {"DELETE /.sluice/rooms/drop", "", 204},
		{"GET /.sluice/rooms/nope", "", 404}, {"PUT /.sluice/rooms/drop", "", 405}, {"GET /.sluice/health", "", 503}, // it is not ready
		{"GET /drop", html, 429}, {"POST /drop", html, 429}, {"GET /drop", "", 429}, {"GET /drop", "Sec-Purpose: prefetch\r\n", 429}, {"HEAD /drop", "", 429},
		{"GET /drop/..%2f", "", 400}, {"GET /drop/..%2f", html, 400}, {"GET /drop", "A b: c\r\n", 400}, {"GET /" + strings.Repeat("x", 20_000), "", 414},
		{"GET /drop", "A: " + strings.Repeat("x", 20_000) + "\r\n", 431},
		{"OPTIONS /drop", pre, 204}, {"OPTIONS /drop", strings.Replace(pre, "app", "evil", 1), 403}, {"OPTIONS /.sluice/rooms/drop", pre, 204},
		{"GET /page", "", 502}, {"GET /page", html, 502}, {"GET /open", html, 502}, // the origin answers nobody, and a pass is given
		{"GET //b/page", "Host: b\r\n", 421},
	} {
		line := r.line
		if !strings.Contains(r.fields, "Host:") {
			r.fields += "Host: a\r\n"
		}
		c, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(c, "%s HTTP/1.1\r\n%sContent-Length: 0\r\nConnection: close\r\n\r\n", line, r.fields)
		answer, err := io.ReadAll(c)
		c.Close()
		if err != nil {
			t.Fatal(err)
		}
		_, date, _ := strings.Cut(string(answer), "\r\nDate: ")
		date, _, _ = strings.Cut(date, "\r\n")
		at, err := http.ParseTime(date)
		if err != nil || time.Since(at) > time.Minute || strings.Count(string(answer), "Date:") != 1 {
			t.Errorf("%s: %q, %v, in\n%s", line, date, err, answer)
		}
		status := fmt.Sprintf("HTTP/1.1 %d ", r.status)
		for _, want := range []string{status, "\r\nCache-Control: no-store\r\n", "\r\nCDN-Cache-Control: no-store\r\n"} {
			if strings.Count(string(answer), want) != 1 {
				t.Errorf("%.100s: want %q in\n%.600s", line, want, answer)
			}
		}
	}
}

func TestPreflightsUnderTheVisitorAPIAreAnsweredForEveryPath(t *testing.T) {
	g := openTestGate(t, nil)
	for _, path := range []string{"/.sluice/rooms/drop", "/.sluice/rooms/nope", "/.sluice/health", "/.sluice/", "/drop"} {
		r := g.do(t, "OPTIONS "+path+" HTTP/1.1\r\nHost: a\r\nOrigin: https://app.example\r\nAccess-Control-Request-Method: POST\r\n\r\n")
		if r.StatusCode() != 403 {
			t.Errorf("%s: a script of a foreign origin gets %d, want 403", path, r.StatusCode())
		}
	}
}

func TestNoSpellingOfTheVisitorAPIReachesTheShop(t *testing.T) {
	g := openTestGate(t, nil)
	// Where a room has everything, nothing else is refused for its spelling.
	everywhere := openTestGateOf(t, strings.Replace(testConfig, "/drop}", "/}", 1), func(s *queue.Settings) { s.Mode = queue.ModeOpen })
	for _, target := range []string{
		"/%2esluice/rooms/drop", "/.Sluice/rooms/drop", "/.sluice%2frooms/drop", "//.sluice/health", "/x/../.sluice/health",
		"/.sluice;a/health", "/.%73luice/health", "/%252esluice/health", "/%2f.sluice/health", "/x%2f..%2f.sluice%2fhealth", "/x/%2e%2e/.sluice",
		"/.sluice%5chealth", "/.sluice/a%2fb", "/.sluice/../x", "/.sluice%00/x", "/./.sluice/health", "/%ef%bc%8esluice/health", "/a/..%252f.sluice",
	} {
		for where, g := range map[string]testGate{"beside a room": g, "in a room": everywhere} {
			if r := g.do(t, "GET "+target+" HTTP/1.1\r\nHost: a\r\n\r\n"); r.StatusCode() != 400 && r.StatusCode() != 404 {
				t.Errorf("%s, %s: %d, want it refused", target, where, r.StatusCode())
			}
		}
	}
	for _, target := range []string{"/a%2Fb", "/x/../y", "/sluice%2frooms", "/x%5cy"} { // the origin answers nobody here
		if r := everywhere.do(t, "GET "+target+" HTTP/1.1\r\nHost: a\r\n\r\n"); r.StatusCode() != 502 {
			t.Errorf("%s: %d, want to reach the shop", target, r.StatusCode())
		}
	}
	for _, target := range []string{"/.well-known/x", "/sluice", "/.sluicer"} { // the origin answers nobody here
		if r := g.do(t, "GET "+target+" HTTP/1.1\r\nHost: a\r\n\r\n"); r.StatusCode() != 502 {
			t.Errorf("%s: %d, want to reach the shop", target, r.StatusCode())
		}
	}
}

func TestHealthIsOnlyRead(t *testing.T) {
	g := openTestGate(t, nil)
	r := g.do(t, "POST /.sluice/health HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n")
	if allow := string(r.Header.Peek("Allow")); r.StatusCode() != 405 || allow != "GET, HEAD" {
		t.Errorf("status %d, Allow %q", r.StatusCode(), allow)
	}
}
