package redis_test

import (
	"io"
	"net"
	"sync"
	"testing"
)

// relay stands between a server and those who connect to it. What it has taken and
// not yet passed on when it ends is lost.
type relay struct {
	net.Listener

	mu     sync.Mutex
	to     string
	conns  []net.Conn
	frozen bool
	done   chan struct{}
}

func newRelay(t *testing.T, to string) *relay {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r := &relay{Listener: l, to: to, done: make(chan struct{})}
	var running sync.WaitGroup
	running.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			running.Go(func() { r.pass(c) })
		}
	})
	t.Cleanup(func() {
		r.end()
		running.Wait()
	})
	return r
}

func (r *relay) addr() string { return r.Listener.Addr().String() }

// lead has connections from now on go to another server. Those that stand, stay.
func (r *relay) lead(to string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.to = to
}

// freeze has nothing more reach those who connected.
func (r *relay) freeze() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.frozen = true
}

// end cuts all connections, and takes no more.
func (r *relay) end() {
	r.mu.Lock()
	defer r.mu.Unlock()
	select {
	case <-r.done:
		return
	default:
	}
	close(r.done)
	_ = r.Listener.Close()
	for _, c := range r.conns {
		_ = c.Close()
	}
}

func (r *relay) keep(c net.Conn) {
	r.mu.Lock()
	defer r.mu.Unlock()
	select {
	case <-r.done:
		_ = c.Close()
	default:
		r.conns = append(r.conns, c)
	}
}

func (r *relay) pass(client net.Conn) {
	defer client.Close()
	r.keep(client)
	r.mu.Lock()
	to := r.to
	r.mu.Unlock()
	server, err := net.Dial("tcp", to)
	if err != nil {
		return
	}
	defer server.Close()
	r.keep(server)
	go func() {
		_, _ = io.Copy(server, client)
		_ = server.Close()
	}()
	b := make([]byte, 64<<10)
	for {
		n, err := server.Read(b)
		if err != nil {
			return
		}
		r.mu.Lock()
		frozen := r.frozen
		r.mu.Unlock()
		if frozen {
			<-r.done
			return
		}
		if _, err := client.Write(b[:n]); err != nil {
			return
		}
	}
}
