// Package relay passes TCP connections on, and breaks them as networks do: it cuts
// them, delays, loses or throttles what goes over them, in one direction or both, and
// is gone for a while. It stands between gates and their store, their shop and their
// visitors when a rehearsal is to show what becomes of those who wait.
package relay

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"
)

// Weather is what happens to connections. The zero value is none: all is passed on
// at once.
type Weather struct {
	// Gone: nobody listens, and connections there were are reset.
	Gone bool
	// LoseUp, LoseDown: what goes up to the server, or comes down from it, is lost, and
	// connections stay open. With both a server looks as if it hung.
	LoseUp, LoseDown bool
	// Delay is how much later everything arrives, each way.
	Delay time.Duration
	// Rate is how many bytes a second arrive on each connection, each way, in small
	// pieces; 0: all at once.
	Rate int
}

// Relay passes connections on to wherever dial leads. Its methods may be called from
// any goroutine.
type Relay struct {
	addr string
	dial func(context.Context) (net.Conn, error)

	ctx  context.Context
	stop context.CancelFunc
	work sync.WaitGroup

	mu       sync.Mutex
	listener net.Listener // nil: gone
	weather  Weather
	changed  chan struct{} // closed when the weather changes
	links    map[*link]struct{}
}

// Listen returns a relay at an address. dial is called for every connection, and ends
// when its context does.
func Listen(addr string, dial func(context.Context) (net.Conn, error)) (*Relay, error) {
	r := &Relay{addr: addr, dial: dial, changed: make(chan struct{}), links: make(map[*link]struct{})}
	r.ctx, r.stop = context.WithCancel(context.Background())
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := r.listen(); err != nil {
		return nil, err
	}
	return r, nil
}

// To is a dial function for a relay that leads to one address.
func To(addr string) func(context.Context) (net.Conn, error) {
	return func(ctx context.Context) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "tcp", addr)
	}
}

// Addr is where the relay listens.
func (r *Relay) Addr() string { return r.addr }

// listen is called with the lock held.
func (r *Relay) listen() error {
	l, err := net.Listen("tcp", r.addr)
	if err != nil {
		return fmt.Errorf("relay: %w", err)
	}
	r.listener, r.addr = l, l.Addr().String()
	r.work.Go(func() { r.accept(l) })
	return nil
}

func (r *Relay) accept(l net.Listener) {
	for {
		conn, err := l.Accept()
		if err != nil {
			if errors.Is(err, net.ErrClosed) {
				return
			}
			time.Sleep(10 * time.Millisecond) // out of files: the next may be luckier
			continue
		}
		r.work.Go(func() { r.serve(conn) })
	}
}

func (r *Relay) serve(down net.Conn) {
	k := &link{relay: r, down: down}
	r.mu.Lock()
	r.links[k] = struct{}{}
	r.mu.Unlock()
	defer func() {
		r.mu.Lock()
		delete(r.links, k)
		r.mu.Unlock()
	}()
	up, err := r.dial(r.ctx)
	if err != nil {
		reset(down)
		return
	}
	if !k.connected(up) { // cut meanwhile
		reset(up)
		return
	}
	k.pass()
}

// Set changes the weather, for connections that there are and those to come. What was
// lost of a connection's bytes is lost for good: nothing more is passed on that way,
// ever, as through a firewall that has forgotten it.
func (r *Relay) Set(w Weather) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.weather = w
	close(r.changed)
	r.changed = make(chan struct{})
	if w.Gone {
		if r.listener != nil {
			r.listener.Close()
			r.listener = nil
		}
		r.cut()
		return nil
	}
	if r.listener == nil {
		return r.listen()
	}
	return nil
}

// Cut resets the connections that there are.
func (r *Relay) Cut() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.cut()
}

func (r *Relay) cut() {
	for k := range r.links {
		k.reset()
	}
}

// Links is how many connections there are.
func (r *Relay) Links() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.links)
}

// Close ends everything and waits for it.
func (r *Relay) Close() {
	r.stop()
	r.mu.Lock()
	if r.listener != nil {
		r.listener.Close()
		r.listener = nil
	}
	r.cut()
	r.mu.Unlock()
	r.work.Wait()
}

func (r *Relay) current() (Weather, <-chan struct{}) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.weather, r.changed
}

// link is one connection: down to who connected, up to whom they wanted.
type link struct {
	relay *Relay
	down  net.Conn

	mu   sync.Mutex
	up   net.Conn // nil: not yet
	over bool     // was reset
}

func (k *link) connected(up net.Conn) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.up = up
	return !k.over
}

// reset ends both sides at once, with RST.
func (k *link) reset() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.over = true
	reset(k.down)
	if k.up != nil {
		reset(k.up)
	}
}

func reset(c net.Conn) {
	if tcp, ok := c.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0)
	}
	c.Close()
}

// pass copies both ways until both have ended.
func (k *link) pass() {
	var both sync.WaitGroup
	both.Go(func() { k.copy(k.up, k.down, func(w *Weather) bool { return w.LoseUp }) })
	both.Go(func() { k.copy(k.down, k.up, func(w *Weather) bool { return w.LoseDown }) })
	both.Wait()
	k.down.Close()
	k.up.Close()
}

// piece is what was read at once, and when.
type piece struct {
	bytes []byte
	at    time.Time
}

// copy passes bytes on until one of the sides ends, which it tells the other.
func (k *link) copy(to, from net.Conn, isLost func(*Weather) bool) {
	pieces := make(chan piece, 256)
	var writer sync.WaitGroup
	writer.Go(func() { k.write(to, pieces, isLost) })
	for {
		buf := make([]byte, 16<<10)
		n, err := from.Read(buf)
		if n > 0 {
			pieces <- piece{buf[:n], time.Now()}
		}
		if err != nil {
			break
		}
	}
	close(pieces)
	writer.Wait()
}

func (k *link) write(to net.Conn, pieces <-chan piece, isLost func(*Weather) bool) {
	lost, failed := false, false
	for p := range pieces {
		for len(p.bytes) > 0 && !failed {
			w, changed := k.relay.current()
			if lost = lost || isLost(&w); lost {
				break // this piece, and all to come
			}
			if left := w.Delay - time.Since(p.at); w.Delay > 0 && left > 0 {
				k.relay.sleep(left, changed)
				continue // it may have changed
			}
			n := len(p.bytes)
			if w.Rate > 0 {
				n = min(n, max(1, w.Rate/20))
			}
			_, err := to.Write(p.bytes[:n])
			if failed = err != nil; failed {
				break
			}
			p.bytes = p.bytes[n:]
			if w.Rate > 0 {
				k.relay.sleep(time.Second*time.Duration(n)/time.Duration(w.Rate), changed)
			}
		}
	}
	if lost || failed {
		return // the end is lost as well
	}
	if tcp, ok := to.(*net.TCPConn); ok {
		_ = tcp.CloseWrite()
	}
}

// sleep ends early when the weather changes or the relay closes.
func (r *Relay) sleep(d time.Duration, changed <-chan struct{}) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-changed:
	case <-r.ctx.Done():
	}
}
