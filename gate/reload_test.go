package gate

import (
	"bufio"
	"context"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/sluicegate/sluice/gate/config"
)

func TestAWebSocketOutlivesAReloadAndIsToldOfTheStop(t *testing.T) {
	const switching = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
	url := listener(t, func(c net.Conn, r *bufio.Reader) {
		for line := ""; line != "\r\n"; {
			var err error
			if line, err = r.ReadString('\n'); err != nil {
				return
			}
		}
		_, _ = io.WriteString(c, switching)
		_, _ = io.Copy(c, r)
	})
	text := func(origin string) string {
		return "store: memory\nsecret: 0123456789abcdef0123456789abcdef\nrooms: [{name: drop, match: [{path: /drop}], rate: 1/s}]\norigin: {" + origin + "}\n"
	}
	f := &front{}
	f.open(t, text("url: "+url))
	c, err := net.Dial("tcp", f.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(time.Minute))
	_, _ = io.WriteString(c, "GET /ws HTTP/1.1\r\nHost: shop.example\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"+
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n")
	r := bufio.NewReader(c)
	for line := ""; line != "\r\n"; {
		if line, err = r.ReadString('\n'); err != nil {
			t.Fatal(err)
		}
	}
	next, err := config.Load(config.Source{File: "test", Data: []byte(text("url: http://127.0.0.1:1"))})
	if err == nil {
		err = f.Apply(next)
	}
	if err != nil {
		t.Fatal(err)
	}
	comes := func(want string) {
		t.Helper()
		got := make([]byte, len(want))
		if _, err := io.ReadFull(r, got); err != nil || string(got) != want {
			t.Fatalf("got %q, %v; want %q", got, err, want)
		}
	}
	_, _ = io.WriteString(c, "\x81\x02hi")
	comes("\x81\x02hi")
	if n := f.metric(t, `sluice_origin_connections{origin="2",state="tunnel"}`); n != 1 {
		t.Errorf("%v tunnels to the origin that is gone from the list, want 1", n)
	}
	if n := f.metric(t, "sluice_open_tunnels"); n != 1 {
		t.Errorf("%v open tunnels, want 1", n)
	}

	ended := make(chan error, 1)
	go func() { ended <- f.Close(context.Background()) }()
	comes("\x88\x02\x03\xe9")
	c.Close()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if err := f.Apply(next); err == nil || !strings.Contains(err.Error(), "stopping") {
		t.Errorf("a reload during the stop: %v", err)
	}
}
