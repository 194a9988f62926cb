package gate

import (
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/sluicegate/sluice/gate/config"
	"github.com/sluicegate/sluice/gate/token"
	"github.com/sluicegate/sluice/queue"
)

// pass is a cookie of a visitor who was let in.
func (g testGate) pass() string {
	s := g.site.Load()
	r := s.rooms[0]
	now := r.line.Time()
	return "sluice-drop=" + string(s.ring.Append(nil, &token.Token{
		Kind: token.Pass, Room: r.id, ID: 7, Place: now, Issued: now, Called: now, Until: now.Add(10 * time.Minute),
	}))
}

func (g testGate) limit(t *testing.T, perAddress string) {
	t.Helper()
	c, err := config.Load(config.Source{File: "test", Data: []byte(testConfig + "visitors: {per_address: {" + perAddress + "}}\n")})
	if err != nil {
		t.Fatal(err)
	}
	c.Rooms[0].Settings.Mode = queue.ModeHold
	if err := g.Apply(c); err != nil {
		t.Fatal(err)
	}
}

func TestAnAddressOverItsLimitIsToldAndWhoWasLetInIsNot(t *testing.T) {
	g := openTestGate(t, func(s *queue.Settings) { s.Mode = queue.ModeHold })
	g.limit(t, "requests: 1/m")
	poll := "GET /.sluice/rooms/drop HTTP/1.1\r\nHost: shop.example\r\n\r\n"
	for i := range 10 {
		if r := g.do(t, poll); r.StatusCode() != 200 {
			t.Fatalf("request %d: %s", i, r)
		}
	}
	for what, request := range map[string]string{
		"poll":   poll,
		"page":   "GET /drop HTTP/1.1\r\nHost: shop.example\r\nAccept: text/html\r\n\r\n",
		"join":   "POST /.sluice/rooms/drop HTTP/1.1\r\nHost: shop.example\r\nContent-Length: 0\r\n\r\n",
		"beside": "GET /elsewhere HTTP/1.1\r\nHost: shop.example\r\n\r\n",
	} {
		r := g.do(t, request)
		after, _ := strconv.Atoi(string(r.Header.Peek("Retry-After")))
		if r.StatusCode() != 429 || after < 1 || after > 60 || len(r.Header.Peek("Set-Cookie")) > 0 {
			t.Errorf("%s: %s", what, r)
		}
		if what != "page" && !strings.Contains(string(r.Body()), "too many requests come from your address") {
			t.Errorf("%s is told %q", what, r.Body())
		}
	}
	for _, path := range []string{"/drop", "/elsewhere"} {
		// The shop of this gate is closed.
		if r := g.do(t, "GET "+path+" HTTP/1.1\r\nHost: shop.example\r\nCookie: "+g.pass()+"\r\n\r\n"); r.StatusCode() != 502 {
			t.Errorf("%s with a pass: %s", path, r)
		}
	}
	if r := g.do(t, "GET /.sluice/health HTTP/1.1\r\nHost: shop.example\r\n\r\n"); r.StatusCode() == 429 {
		t.Error("the load balancer is told to ask less")
	}
}

func TestNewcomersOverTheLimitOfTheirAddressTakeNoPlace(t *testing.T) {
	g := openTestGate(t, func(s *queue.Settings) { s.Mode = queue.ModeHold })
	ticket := g.join(t)
	g.limit(t, "newcomers: 1/m")
	for range 10 {
		g.join(t)
	}
	r := g.do(t, "POST /.sluice/rooms/drop HTTP/1.1\r\nHost: shop.example\r\nContent-Length: 0\r\n\r\n")
	if r.StatusCode() != 429 || len(r.Header.Peek("Set-Cookie")) > 0 || len(r.Header.Peek("Retry-After")) == 0 {
		t.Errorf("the eleventh: %s", r)
	}
	r = g.do(t, "GET /.sluice/rooms/drop HTTP/1.1\r\nHost: shop.example\r\nCookie: sluice-drop="+ticket+"\r\n\r\n")
	if r.StatusCode() != 200 {
		t.Errorf("who waits is refused: %s", r)
	}
}
