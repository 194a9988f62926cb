package gate

import (
	"bufio"
	"context"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/valyala/fasthttp"

	"github.com/sluicegate/sluice/gate/config"
	"github.com/sluicegate/sluice/queue"
	"github.com/sluicegate/sluice/queue/memory"
)

// testGate is a gate in memory with one room, /drop, whose origin answers nobody.
type testGate struct{ *Gate }

const testConfig = `
store: memory
origin: {url: "http://127.0.0.1:9"}
secret: "0123456789abcdef0123456789abcdef"
rooms:
  - name: drop
    match: [{path: /drop}]
    rate: 10/s
`

func openTestGate(t testing.TB, change func(*queue.Settings)) testGate {
	t.Helper()
	return openTestGateOf(t, testConfig, change)
}

func openTestGateOf(t testing.TB, text string, change func(*queue.Settings)) testGate {
	t.Helper()
	c, err := config.Load(config.Source{File: "test", Data: []byte(text)})
	if err != nil {
		t.Fatal(err)
	}
	if change != nil {
		change(&c.Rooms[0].Settings)
	}
	g, err := New(c, Options{Store: memory.New(memory.Options{}), MaxHeld: 100})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); _ = g.Run(ctx) }()
	t.Cleanup(func() { cancel(); <-done })
	return testGate{g}
}

// request reads a request as the server does.
func (g testGate) request(t testing.TB, raw string) *fasthttp.RequestCtx {
	t.Helper()
	var ctx fasthttp.RequestCtx
	ctx.Init2(&net.TCPConn{}, nil, false)
	ctx.Request.Header.DisableNormalizing()
	ctx.Response.Header.DisableNormalizing()
	if err := ctx.Request.Read(bufio.NewReader(strings.NewReader(raw))); err != nil {
		t.Fatal(err)
	}
	return &ctx
}

// do answers a request and returns the answer.
func (g testGate) do(t testing.TB, raw string) *fasthttp.Response {
	t.Helper()
	ctx := g.request(t, raw)
	g.Handle(ctx)
	return &ctx.Response
}

// join returns the ticket of somebody who joined.
func (g testGate) join(t testing.TB) string {
	t.Helper()
	r := g.do(t, "POST /.sluice/rooms/drop HTTP/1.1\r\nHost: shop.example\r\nContent-Length: 0\r\n\r\n")
	_, ticket, _ := strings.Cut(string(r.Header.Peek("Set-Cookie")), "sluice-drop=")
	ticket, _, _ = strings.Cut(ticket, ";")
	if ticket == "" {
		t.Fatalf("no ticket: %s", r)
	}
	return ticket
}

// waitForLadder waits until so many visitors stand in the gate's snapshot.
func (g testGate) waitForLadder(t testing.TB, waiting int) {
	t.Helper()
	line := g.site.Load().rooms[0].line
	for end := time.Now().Add(10 * time.Second); len(line.Status().Snapshot.Ladder.Places) != waiting; {
		if time.Now().After(end) {
			t.Fatalf("%d visitors never showed in the snapshot", waiting)
		}
		time.Sleep(5 * time.Millisecond)
	}
}
