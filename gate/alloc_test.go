//go:build !race

package gate

import (
	"io"
	"testing"
	"time"

	"github.com/valyala/fasthttp"

	"github.com/sluicegate/sluice/gate/door"
	"github.com/sluicegate/sluice/gate/token"
	"github.com/sluicegate/sluice/queue"
)

// What most requests of an event do makes no garbage.

const browserFields = "Accept: text/html,*/*;q=0.8\r\nAccept-Encoding: gzip, deflate, br\r\nAccept-Language: en-GB,en;q=0.9\r\n" +
	"User-Agent: Mozilla/5.0\r\nSec-Fetch-Mode: cors\r\n"

func TestAWaitingVisitorsPollAllocatesNothing(t *testing.T) {
	g := openTestGate(t, func(s *queue.Settings) { s.Mode = queue.ModeHold })
	ticket := g.join(t)
	g.waitForLadder(t, 1)
	ctx := g.request(t, "GET /.sluice/rooms/drop HTTP/1.1\r\nHost: shop.example\r\nCookie: theme=dark; sluice-drop="+ticket+"; lang=en\r\n"+browserFields+"\r\n")
	if n := testing.AllocsPerRun(1000, func() {
		ctx.Response.Reset()
		g.Handle(ctx)
		if ctx.Response.StatusCode() != 200 {
			t.Fatalf("status %d", ctx.Response.StatusCode())
		}
	}); n != 0 {
		t.Errorf("a poll allocates %v times, want 0", n)
	}
}

func TestAPollInItsLaneAllocatesNothing(t *testing.T) {
	g := openTestGate(t, func(s *queue.Settings) { s.Mode = queue.ModeHold })
	poll := []string{pollOf(g.join(t))}
	g.waitForLadder(t, 1)
	s := NewServer(g.Gate, door.Limits{Conns: 10})
	c, inner := g.between(s)
	buf := make([]byte, 8192)
	if n := testing.AllocsPerRun(1000, func() {
		inner.written.Reset()
		inner.pieces = poll
		if n, err := c.Read(buf); n != 0 || err != io.EOF || inner.written.Len() == 0 {
			t.Fatalf("%d bytes and %v were left to the server, %d written", n, err, inner.written.Len())
		}
		c.mark(fasthttp.StateIdle)
	}); n != 0 {
		t.Errorf("a poll allocates %v times, want 0", n)
	}
}

func TestAPollAllocatesNothingWhereAddressesAreLimited(t *testing.T) {
	g := openTestGate(t, func(s *queue.Settings) { s.Mode = queue.ModeHold })
	ticket := g.join(t)
	g.waitForLadder(t, 1)
	g.limit(t, "requests: 1000000/s, newcomers: 1/s, max_conns: 10")
	ctx := g.request(t, "GET /.sluice/rooms/drop HTTP/1.1\r\nHost: shop.example\r\nCookie: sluice-drop="+ticket+"\r\n"+browserFields+"\r\n")
	if n := testing.AllocsPerRun(1000, func() {
		ctx.Response.Reset()
		g.Handle(ctx)
		if ctx.Response.StatusCode() != 200 {
			t.Fatalf("status %d", ctx.Response.StatusCode())
		}
	}); n != 0 {
		t.Errorf("a poll allocates %v times, want 0", n)
	}
}

func TestFindingAValidPassAllocatesNothing(t *testing.T) {
	g := openTestGate(t, nil)
	s := g.site.Load()
	room := s.rooms[0]
	now := room.line.Time()
	pass := s.ring.Append(nil, &token.Token{
		Kind: token.Pass, Room: room.id, ID: 7, Place: now, Issued: now, Called: now, Until: now.Add(10 * time.Minute),
	})
	ctx := g.request(t, "GET /drop HTTP/1.1\r\nHost: shop.example\r\nCookie: theme=dark; sluice-drop="+string(pass)+"\r\n"+browserFields+"\r\n")
	if n := testing.AllocsPerRun(1000, func() {
		x := exchanges.Get().(*exchange)
		x.begin(g.Gate, ctx)
		x.read()
		index, _ := x.site.table.Find(x.method, x.host, x.target, x.client)
		x.room = x.site.rooms[index]
		x.takeInHand()
		if !x.hasPass() {
			t.Fatal("valid pass refused")
		}
		x.end()
	}); n != 0 {
		t.Errorf("a valid pass allocates %v times per request, want 0", n)
	}
}
