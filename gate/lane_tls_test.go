package gate

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sluicegate/sluice/gate/cert"
	"github.com/sluicegate/sluice/gate/cert/certtest"
	"github.com/sluicegate/sluice/gate/door"
	"github.com/sluicegate/sluice/queue"
)

// openTLSServer serves a gate by TLS, and returns how to connect.
func (g testGate) openTLSServer(t *testing.T) (dial func() *tls.Conn) {
	t.Helper()
	ca := certtest.NewCA(t)
	keeper := cert.New(nil, nil)
	if err := keeper.Set(cert.Config{Files: []cert.Files{ca.Write(t.TempDir(), "shop", time.Now().Add(time.Hour), "shop.example")}}); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := NewServer(g.Gate, door.Limits{Conns: 1000})
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := s.Serve(l, keeper.Listener); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(func() {
		ctx, stop := context.WithTimeout(context.Background(), 20*time.Second)
		defer stop()
		_ = s.Shutdown(ctx)
		wg.Wait()
	})
	return func() *tls.Conn {
		t.Helper()
		c, err := tls.Dial("tcp", l.Addr().String(), &tls.Config{RootCAs: ca.Pool, ServerName: "shop.example"})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		if err := c.SetDeadline(time.Now().Add(time.Minute)); err != nil {
			t.Fatal(err)
		}
		return c
	}
}

// Polls by TLS are answered as the server answers them, one after the other and all
// at once, whole and in records of any size.
func TestPollsByTLSAreAnsweredInTurn(t *testing.T) {
	g := openTestGate(t, func(s *queue.Settings) { s.Mode = queue.ModeHold })
	poll := pollOf(g.join(t))
	g.waitForLadder(t, 1)
	dial := g.openTLSServer(t)
	other := "GET /.sluice/rooms/none HTTP/1.1\r\nHost: shop.example\r\n\r\n" // not the lane's
	leave := "DELETE /.sluice/rooms/none HTTP/1.1\r\nHost: shop.example\r\nContent-Length: " + fmt.Sprint(len(poll)) + "\r\n\r\n" + poll
	for name, writes := range map[string][]string{
		"one after the other":        {poll, poll, poll},
		"all at once":                {poll + poll + poll},
		"among others":               {poll, other, poll + other + poll, other + poll},
		"in the body of another":     {poll, leave, poll + leave + poll},
		"in pieces":                  {poll[:7], poll[7:60], poll[60:] + poll[:30], poll[30:]},
		"byte by byte":               strings.Split(poll+poll, ""),
		"more than a record":         {strings.Repeat(poll, 60)},
		"with an end amid the third": {poll + poll + poll[:len(poll)-1], poll[len(poll)-1:] + other},
	} {
		t.Run(name, func(t *testing.T) {
			c := dial()
			go func() {
				for _, w := range writes {
					if _, err := c.Write([]byte(w)); err != nil {
						t.Errorf("%v", err)
						return
					}
				}
			}()
			r := bufio.NewReader(c)
			raw := strings.Join(writes, "")
			var first string
			for n := 0; raw != ""; n++ {
				want, length := "HTTP/1.1 200 ", len(poll)
				switch {
				case strings.HasPrefix(raw, other):
					want, length = "HTTP/1.1 404 ", len(other)
				case strings.HasPrefix(raw, leave):
					want, length = "HTTP/1.1 404 ", len(leave)
				}
				raw = raw[length:]
				header, body := readAnswer(t, r)
				all := strings.Join(header, "\n") + "\n" + body
				if !strings.Contains(all, want) {
					t.Fatalf("answer %d is\n%s\nwant %s", n, all, want)
				}
				if strings.Contains(want, "200") {
					if first == "" {
						first = all
					}
					if all != first || !strings.Contains(all, `"state":"waiting","position":1,"waiting":1,`) {
						t.Fatalf("answer %d is\n%s\nand the first\n%s", n, all, first)
					}
				}
			}
			if r.Buffered() > 0 {
				t.Errorf("and %d bytes more", r.Buffered())
			}
		})
	}
}
