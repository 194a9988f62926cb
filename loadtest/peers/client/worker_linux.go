package client

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"runtime"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// readSize is the most that is read at once, and the most that a header may have.
const readSize = 64 << 10

// worker is a thread that serves some of the connections.
type worker struct {
	load  *Load
	ctx   context.Context
	epoll int
	conns []*conn
	done  chan struct{}

	counting   atomic.Bool
	requests   int64
	reconnects int64
	latency    *hdrhistogram.Histogram
}

func (w *worker) wait() { <-w.done }

// conn is one connection and the request that is under way on it.
type conn struct {
	file     *os.File
	fd       int
	requests [][]byte
	next     int
	sent     time.Time
	in       []byte
	have     int   // bytes of in
	left     int64 // bytes of the body that are still to come; -1 while the header is read
	close    bool
}

// start opens the connections and sends a first request on each.
func (l *Load) start(ctx context.Context, fail context.CancelCauseFunc) ([]*worker, error) {
	var workers []*worker
	for range min(l.Connections, runtime.NumCPU(), 4) {
		epoll, err := syscall.EpollCreate1(syscall.EPOLL_CLOEXEC)
		if err != nil {
			return nil, fmt.Errorf("client: %w", err)
		}
		workers = append(workers, &worker{
			load: l, ctx: ctx, epoll: epoll, done: make(chan struct{}), latency: newHistogram(),
		})
	}
	for i := range l.Connections {
		w := workers[i%len(workers)]
		c := &conn{requests: share(l.Requests, i, l.Connections), in: make([]byte, readSize)}
		w.conns = append(w.conns, c)
		if err := w.open(c, len(w.conns)-1); err != nil {
			for _, w := range workers {
				w.shut()
			}
			return nil, err
		}
	}
	for _, w := range workers {
		go func() {
			defer close(w.done)
			defer w.shut()
			if err := w.run(); err != nil {
				fail(err)
			}
		}()
	}
	return workers, nil
}

func (w *worker) shut() {
	for _, c := range w.conns {
		if c.file != nil {
			c.file.Close()
		}
	}
	syscall.Close(w.epoll)
}

// open connects. The runtime's own way to wait for connections is not used.
func (w *worker) open(c *conn, index int) error {
	if c.file != nil {
		c.file.Close()
		c.file = nil
	}
	d := net.Dialer{Timeout: patience}
	nc, err := d.DialContext(w.ctx, "tcp", w.load.Addr)
	if err != nil {
		return fmt.Errorf("client: %w", err)
	}
	defer nc.Close()
	if c.file, err = nc.(*net.TCPConn).File(); err != nil {
		return fmt.Errorf("client: %w", err)
	}
	c.fd = int(c.file.Fd())
	if err := syscall.SetNonblock(c.fd, true); err != nil {
		return fmt.Errorf("client: %w", err)
	}
	event := syscall.EpollEvent{Events: syscall.EPOLLIN, Fd: int32(index)}
	if err := syscall.EpollCtl(w.epoll, syscall.EPOLL_CTL_ADD, c.fd, &event); err != nil {
		return fmt.Errorf("client: %w", err)
	}
	return nil
}

func (w *worker) run() error {
	now := time.Now()
	for _, c := range w.conns {
		if err := w.send(c, now); err != nil {
			return err
		}
	}
	looked := now
	events := make([]syscall.EpollEvent, len(w.conns))
	for w.ctx.Err() == nil {
		n, err := syscall.EpollWait(w.epoll, events, 50)
		if err != nil && !errors.Is(err, syscall.EINTR) {
			return fmt.Errorf("client: %w", err)
		}
		for _, e := range events[:max(n, 0)] {
			if err := w.readable(int(e.Fd)); err != nil {
				return err
			}
		}
		if now = time.Now(); now.Sub(looked) < time.Second {
			continue
		}
		looked = now
		for _, c := range w.conns {
			if now.Sub(c.sent) > patience {
				return w.wrong(c, fmt.Errorf("no whole answer within %v", patience))
			}
		}
	}
	return nil
}

// send writes the next request. The socket's buffer is empty, so it takes it whole.
func (w *worker) send(c *conn, now time.Time) error {
	r := c.requests[c.next]
	c.sent, c.have, c.left = now, 0, -1
	n, err := syscall.Write(c.fd, r)
	if err == nil && n < len(r) {
		err = fmt.Errorf("only %d of its %d bytes could be sent at once", n, len(r))
	}
	if err != nil {
		return w.wrong(c, err)
	}
	return nil
}

// readable takes what came on a connection, and goes on with the next request when
// the answer is whole.
func (w *worker) readable(index int) error {
	c := w.conns[index]
	if c.left > 0 {
		c.have = 0 // only its length counts
	}
	n, err := syscall.Read(c.fd, c.in[c.have:])
	switch {
	case errors.Is(err, syscall.EAGAIN), errors.Is(err, syscall.EINTR):
		return nil
	case err != nil:
		return w.wrong(c, err)
	case n == 0:
		if c.left > 0 {
			return w.wrong(c, fmt.Errorf("the server closed the connection %d bytes before the body's end", c.left))
		}
		return w.wrong(c, errors.New("the server closed the connection without an answer, or a word that it would"))
	}
	c.have += n
	if c.left < 0 {
		h, err := parseHead(c.in[:c.have], w.load.Want.Header)
		if err == nil {
			err = w.load.Want.check(&h, c.in[h.size:c.have])
		}
		switch {
		case errors.Is(err, errMore) && c.have < len(c.in):
			return nil
		case errors.Is(err, errMore):
			return w.wrong(c, fmt.Errorf("the header is longer than %d bytes", len(c.in)))
		case err != nil:
			return w.wrong(c, err)
		}
		c.left, c.close = h.length-int64(c.have-h.size), h.close
	} else {
		c.left -= int64(n)
	}
	switch {
	case c.left > 0:
		return nil
	case c.left < 0:
		return w.wrong(c, fmt.Errorf("%d bytes came after the body's end", -c.left))
	}
	now := time.Now()
	if w.counting.Load() {
		w.requests++
		_ = w.latency.RecordValue(int64(now.Sub(c.sent))) // patience bounds it
	}
	c.next = (c.next + 1) % len(c.requests)
	if c.close {
		if err := w.open(c, index); err != nil {
			return err
		}
		if w.counting.Load() {
			w.reconnects++
		}
		now = time.Now()
	}
	return w.send(c, now)
}

// wrong says what is wrong and what came back.
func (w *worker) wrong(c *conn, err error) error {
	const most = 800
	r := c.requests[c.next]
	line := r[:min(len(r), 80)]
	for i, b := range line {
		if b == '\r' {
			line = line[:i]
			break
		}
	}
	return fmt.Errorf("client: %s to %q: %w; what came back: %q", w.load.Addr, line, err, c.in[:min(c.have, most)])
}
