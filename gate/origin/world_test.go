package origin

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// world is a network without sockets, for time that a test makes pass.
type world struct {
	t     *testing.T
	group *Group
	log   logBuffer // one line a record, without time

	mu      sync.Mutex
	answers map[string]func(net.Conn) // by address; none: the connection is refused
	dialled map[string]int
	names   map[string][]netip.Addr
	lookups int
	conns   []net.Conn
	ended   map[string]int // connections that we closed, by address
}

// closed is how many connections to a server have ended.
func (w *world) closed(address string) int {
	synctest.Wait()
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.ended[address]
}

type logBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logBuffer) take() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	defer l.b.Reset()
	return l.b.String()
}

// inWorld runs a test in a bubble where servers are what the test says.
func inWorld(t *testing.T, f func(w *world)) {
	synctest.Test(t, func(t *testing.T) {
		w := &world{
			t: t, answers: map[string]func(net.Conn){}, dialled: map[string]int{},
			names: map[string][]netip.Addr{}, ended: map[string]int{},
		}
		f(w)
		if w.group != nil {
			w.group.Close()
		}
		for _, c := range w.conns {
			c.Close() // what the test still holds
		}
	})
}

// open makes the group; change may fill in more.
func (w *world) open(c Config) *Group {
	w.t.Helper()
	c.Dial, c.Resolver = w.dial, w
	c.Log = slog.New(slog.NewTextHandler(&w.log, &slog.HandlerOptions{
		ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
			if a.Key == slog.TimeKey {
				return slog.Attr{}
			}
			return a
		},
	}))
	g, err := New(c)
	if err != nil {
		w.t.Fatal(err)
	}
	w.group = g
	return g
}

func (w *world) dial(ctx context.Context, network, address string) (net.Conn, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.dialled[address]++
	serve := w.answers[address]
	if serve == nil {
		return nil, &net.OpError{Op: "dial", Net: network, Err: syscall.ECONNREFUSED}
	}
	ours, theirs := net.Pipe()
	w.conns = append(w.conns, theirs)
	go func() {
		serve(theirs)
		theirs.Close()
		w.mu.Lock()
		w.ended[address]++
		w.mu.Unlock()
	}()
	return ours, nil
}

func (w *world) LookupNetIP(_ context.Context, _, host string) ([]netip.Addr, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.lookups++
	if addrs := w.names[host]; addrs != nil {
		return addrs, nil
	}
	return nil, &net.DNSError{Err: "no such host", Name: host, IsNotFound: true}
}

// open until closed by us: a server that takes connections and says nothing.
func silent(c net.Conn) {
	var b [1]byte
	for {
		if _, err := c.Read(b[:]); err != nil {
			return
		}
	}
}

func (w *world) up(addresses ...string)   { w.serve(silent, addresses...) }
func (w *world) down(addresses ...string) { w.serve(nil, addresses...) }

func (w *world) serve(f func(net.Conn), addresses ...string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, a := range addresses {
		w.answers[a] = f
	}
}

func (w *world) name(host string, addresses ...string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.names[host] = nil
	for _, a := range addresses {
		w.names[host] = append(w.names[host], netip.MustParseAddr(a))
	}
}

// ask is one request: it returns the server that it got to, "" for none. A server
// named in failing breaks every request.
func (w *world) ask(safe bool, failing ...string) string {
	w.t.Helper()
	r := Round{Safe: safe}
	c, err := w.group.Take(time.Now(), &r)
	if err != nil {
		if !errors.Is(err, ErrConnect) && !errors.Is(err, ErrBusy) {
			w.t.Errorf("Take: %v", err)
		}
		return ""
	}
	at := c.Server().String()
	for _, f := range failing {
		if f == at {
			c.Failed(errors.New("it broke off"))
			c.Drop()
			return at
		}
	}
	c.Succeeded()
	c.Keep(time.Now())
	return at
}

// count asks n times and counts by server.
func (w *world) count(n int, failing ...string) map[string]int {
	w.t.Helper()
	got := map[string]int{}
	for range n {
		got[w.ask(true, failing...)]++
	}
	return got
}

func (w *world) want(got map[string]int, want map[string]int) {
	w.t.Helper()
	for at := range got {
		if got[at] != want[at] {
			w.t.Errorf("%d requests came to %q, want %d", got[at], at, want[at])
		}
	}
	for at := range want {
		if got[at] == 0 && want[at] > 0 {
			w.t.Errorf("no request came to %q, want %d", at, want[at])
		}
	}
}

// wantLog compares what was logged since the last look, line by line; a wanted line
// names what has to stand in it.
func (w *world) wantLog(want ...[]string) {
	w.t.Helper()
	synctest.Wait()
	var got []string
	if text := strings.TrimSpace(w.log.take()); text != "" {
		got = strings.Split(text, "\n")
	}
	if len(got) != len(want) {
		w.t.Errorf("%d lines were logged, want %d:\n%s", len(got), len(want), strings.Join(got, "\n"))
		return
	}
	for i, parts := range want {
		for _, part := range parts {
			if !strings.Contains(got[i], part) {
				w.t.Errorf("logged %q, want %q in it", got[i], part)
			}
		}
	}
}

const (
	a = "10.0.0.1:80"
	b = "10.0.0.2:80"
	c = "10.0.0.3:80"
	d = "10.0.0.4:80"
)

func urls(addresses ...string) []string {
	var out []string
	for _, at := range addresses {
		out = append(out, "http://"+at)
	}
	return out
}
