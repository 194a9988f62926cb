package gate

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/http"
	"testing"
	"time"

	"github.com/sluicegate/sluice/gate/door"
)

// The server learns of a form of a few bytes only once all of it is there.
func TestAFormWhoseBodyIsOnItsWayIsAnsweredThoughTheGateStops(t *testing.T) {
	g := openTestGate(t, nil)
	server := NewServer(g.Gate, door.Limits{Conns: 10})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- server.Serve(l) }()
	dial := func() net.Conn {
		c, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		c.SetDeadline(time.Now().Add(patience))
		return c
	}
	unused, form := dial(), dial()
	const head = "POST /page HTTP/1.1\r\nHost: shop.example\r\nContent-Length: 5\r\n\r\n"
	if _, err := io.WriteString(form, head); err != nil {
		t.Fatal(err)
	}
	// A stop refuses who has not been taken yet: whoever came before this one has been.
	// The header is read long before the second is over for which a connection may be unused.
	last := dial()
	if _, err := io.WriteString(last, "GET /.sluice/health HTTP/1.1\r\nHost: shop.example\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	if _, err := http.ReadResponse(bufio.NewReader(last), nil); err != nil {
		t.Fatal(err)
	}
	stopped := make(chan error, 1)
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		stopped <- server.Shutdown(ctx)
	}()
	// Who opened a connection and sends nothing is not waited for.
	if _, err := unused.Read(make([]byte, 1)); err != io.EOF {
		t.Errorf("a connection that is not used: %v", err)
	}
	if _, err := io.WriteString(form, "a=1&b"); err != nil {
		t.Fatal(err)
	}
	r, err := http.ReadResponse(bufio.NewReader(form), nil)
	if err != nil || r.StatusCode != 502 || !r.Close { // the origin answers nobody
		t.Errorf("answered with %v, %v", r, err)
	}
	if err := <-stopped; err != nil {
		t.Error(err)
	}
	if err := <-served; err != nil {
		t.Error(err)
	}
}
