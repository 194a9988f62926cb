package main

import (
	"net"
	"sync"
	"time"
)

// A way makes what is at its end far away: bytes arrive some time after they were
// sent, in both directions. Where an answer takes a fraction of a millisecond its
// percentiles tell how busy the machine is; over a way they tell how it is measured.
type way struct {
	listener net.Listener
	to       string
	delay    time.Duration // one way
	wg       sync.WaitGroup

	mu     sync.Mutex
	open   map[net.Conn]struct{}
	closed bool
}

func newWay(l net.Listener, to string, delay time.Duration) *way {
	w := &way{listener: l, to: to, delay: delay, open: map[net.Conn]struct{}{}}
	w.wg.Go(func() {
		for {
			near, err := l.Accept()
			if err != nil {
				return
			}
			w.wg.Go(func() { w.join(near) })
		}
	})
	return w
}

// Addr is where the way begins.
func (w *way) Addr() string { return w.listener.Addr().String() }

// Close cuts every connection and returns when all is over.
func (w *way) Close() {
	w.listener.Close()
	w.mu.Lock()
	w.closed = true
	for c := range w.open {
		c.Close()
	}
	w.mu.Unlock()
	w.wg.Wait()
}

// keep has Close cut a connection; after Close it is cut at once.
func (w *way) keep(c net.Conn) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		c.Close()
	}
	w.open[c] = struct{}{}
}

func (w *way) drop(c net.Conn) {
	c.Close()
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.open, c)
}

func (w *way) join(near net.Conn) {
	w.keep(near)
	defer w.drop(near)
	far, err := net.Dial("tcp", w.to)
	if err != nil {
		return
	}
	w.keep(far)
	defer w.drop(far)
	var back sync.WaitGroup
	back.Go(func() { w.carry(near, far) })
	w.carry(far, near)
	back.Wait()
}

// piece is what was read at once.
type piece struct {
	bytes []byte
	due   time.Time
}

// carry takes bytes over until one side ends, and ends the other as late.
func (w *way) carry(to, from net.Conn) {
	pieces := make(chan piece, 64)
	var reads sync.WaitGroup
	reads.Go(func() {
		defer close(pieces)
		buffer := make([]byte, 16<<10)
		for {
			n, err := from.Read(buffer)
			pieces <- piece{append([]byte(nil), buffer[:n]...), time.Now().Add(w.delay)}
			if err != nil {
				return
			}
		}
	})
	for p := range pieces {
		time.Sleep(time.Until(p.due))
		if _, err := to.Write(p.bytes); err != nil {
			from.Close() // ends the reads; what is on its way is lost
		}
	}
	reads.Wait()
	if c, ok := to.(*net.TCPConn); ok {
		_ = c.CloseWrite()
	}
}
