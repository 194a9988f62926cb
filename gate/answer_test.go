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
)

func TestEveryAnswerOfOursSaysWhenItWasMade(t *testing.T) {
	g := openTestGate(t, nil)
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
	for _, line := range []string{
		"GET /.sluice/rooms/drop", "GET /.sluice/rooms/nope", "GET /.sluice/health", "GET /drop/..%2f", "POST /drop",
	} {
		c, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(c, "%s HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\nSec-Purpose: prefetch\r\nConnection: close\r\n\r\n", line)
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
	for _, target := range []string{
		"/%2esluice/rooms/drop", "/.Sluice/rooms/drop", "/.sluice%2frooms/drop", "//.sluice/health", "/x/../.sluice/health",
		"/.sluice;a/health", "/.%73luice/health", "/%252esluice/health",
	} {
		if r := g.do(t, "GET "+target+" HTTP/1.1\r\nHost: a\r\n\r\n"); r.StatusCode() != 400 {
			t.Errorf("%s: %d, want 400", target, r.StatusCode())
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
