package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
	"github.com/valyala/fasthttp"

	"github.com/sluicegate/sluice/loadtest/stage"
	"github.com/sluicegate/sluice/queue/queuetest/proc"
)

const (
	insiders = 200 // visitors who were let in
	waiters  = 400 // who wait
	patience = time.Minute
)

// result is what visitors noticed.
type result struct {
	way      string
	sent     int
	elapsed  time.Duration
	took     *hdrhistogram.Histogram // from due to answered, nanoseconds
	failures map[string]int
	opened   int // connections
	single   int // of them, for one newcomer each
	ended    int // by the gate, between two requests
	stops    []stopped
}

// crowd sends requests at an even pace.
type crowd struct {
	address string
	inside  []*visitor
	waiting []*visitor
	began   time.Time
	each    time.Duration // between two requests
	until   int64         // how many there are
	next    atomic.Int64

	mu sync.Mutex
	result
}

// visitor is who shows a token.
type visitor struct{ token atomic.Pointer[string] }

func run(t proc.T, sluice, way string, o options) *result {
	t.Helper()
	s := openSite(t, sluice, way, o)
	g := s.start(t)
	c := &crowd{address: s.listen, each: time.Second / time.Duration(o.rate), until: int64(o.length.Seconds() * float64(o.rate))}
	c.result = result{way: way, took: hdrhistogram.New(1, int64(5*time.Minute), 3), failures: make(map[string]int)}
	c.gather(t)
	g.hold(t)

	c.began = time.Now()
	var all sync.WaitGroup
	for range o.connections {
		all.Go(func() { c.work(t.Context()) })
	}
	for i := range o.restarts {
		select {
		case <-time.After(time.Until(c.began.Add(o.length * time.Duration(i+1) / time.Duration(o.restarts+1)))):
		case <-t.Context().Done():
		}
		next, took, err := s.follow(t, g)
		if err != nil {
			t.Fatalf("restart %d: %v", i+1, err)
		}
		g = next
		c.stops = append(c.stops, took)
	}
	all.Wait()
	c.elapsed = time.Since(c.began)
	if err := t.Context().Err(); err != nil {
		t.Fatal(err)
	}
	return &c.result
}

// gather lets some in and has others wait.
func (c *crowd) gather(t proc.T) {
	t.Helper()
	k := &conn{crowd: c}
	defer k.close()
	for len(c.inside) < insiders {
		v := &visitor{}
		if a, err := k.ask(page("GET", nil, v)); err != nil || a.status != fasthttp.StatusOK || a.token == "" {
			t.Fatalf("visitor %d is not let in: status %d, %v", len(c.inside), a.status, err)
		} else {
			v.token.Store(&a.token)
		}
		c.inside = append(c.inside, v)
	}
	provisional := slices.Clone(c.inside)
	for len(provisional) > 0 { // their passes are made good soon after they are used
		provisional = slices.DeleteFunc(provisional, func(v *visitor) bool {
			a, err := k.ask(page("GET", nil, v))
			if err != nil || a.status != fasthttp.StatusOK {
				t.Fatalf("a pass is not honoured: status %d, %v", a.status, err)
			}
			if a.token != "" {
				v.token.Store(&a.token)
			}
			return a.token != ""
		})
	}
	for len(c.waiting) < waiters {
		v := &visitor{}
		a, err := k.ask(page("GET", nil, v))
		if err != nil || a.status != fasthttp.StatusTooManyRequests || a.token == "" {
			t.Fatalf("visitor %d does not wait: status %d, %v", len(c.waiting), a.status, err)
		}
		v.token.Store(&a.token)
		c.waiting = append(c.waiting, v)
	}
}

// work sends what is due over one connection, and looks at what comes back.
func (c *crowd) work(ctx context.Context) {
	k := &conn{crowd: c}
	defer k.close()
	for ctx.Err() == nil {
		n := c.next.Add(1) - 1
		if n >= c.until {
			return
		}
		due := c.began.Add(time.Duration(n) * c.each)
		time.Sleep(time.Until(due))
		what, err := c.send(k)
		c.mu.Lock()
		c.sent++
		_ = c.took.RecordValue(int64(time.Since(due)))
		if err != nil {
			c.failures[what+": "+reason(err)]++
		}
		c.mu.Unlock()
	}
}

// send sends one request of a crowd and tells what it was.
func (c *crowd) send(k *conn) (what string, err error) {
	pick := func(from []*visitor) *visitor { return from[rand.IntN(len(from))] }
	switch n := rand.IntN(100); {
	case n < 45:
		v := pick(c.inside)
		return "page", c.try(k, page("GET", nil, v), v, fasthttp.StatusOK, "")
	case n < 55:
		return "form", c.try(k, page("POST", form, pick(c.inside)), nil, fasthttp.StatusOK, "")
	case n < 90:
		v := pick(c.waiting)
		return "poll", c.try(k, poll(v), v, fasthttp.StatusOK, "waiting")
	case n < 95:
		return "newcomer", c.try(k, page("GET", nil, &visitor{}), nil, fasthttp.StatusTooManyRequests, "waiting")
	}
	one := &conn{crowd: c, single: true}
	defer one.close()
	return "newcomer by a new connection", c.try(one, page("GET", nil, &visitor{}), nil, fasthttp.StatusTooManyRequests, "waiting")
}

var form = bytes.Repeat([]byte("item=1&quantity=1&"), 50)

// try sends a request and holds the answer to what it should be.
func (c *crowd) try(k *conn, request []byte, v *visitor, status int, state string) error {
	a, err := k.ask(request)
	switch {
	case err != nil:
		return err
	case a.status != status || a.state != state:
		return fmt.Errorf("status %d, state %q", a.status, a.state)
	}
	if v != nil && a.token != "" {
		v.token.Store(&a.token)
	}
	return nil
}

func page(method string, body []byte, v *visitor) []byte {
	b := request(method, stage.Path, "Accept: text/html\r\nSec-Fetch-Mode: navigate\r\nAccept-Encoding: gzip", v)
	if body != nil {
		b = fmt.Appendf(b, "Content-Type: application/x-www-form-urlencoded\r\nContent-Length: %d\r\n", len(body))
	}
	return append(append(b, "\r\n"...), body...)
}

func poll(v *visitor) []byte {
	b := request("GET", "/.sluice/rooms/"+stage.Room, "Accept: application/json\r\nSec-Fetch-Mode: cors", v)
	return append(b, "\r\n"...)
}

func request(method, path, fields string, v *visitor) []byte {
	b := fmt.Appendf(nil, "%s %s HTTP/1.1\r\nHost: shop.example\r\nUser-Agent: restart\r\n%s\r\n", method, path, fields)
	if token := v.token.Load(); token != nil {
		b = fmt.Appendf(b, "Cookie: sid=7f3a; sluice-%s=%s\r\n", stage.Room, *token)
	}
	return b
}

// conn is a browser's connection, opened when it is needed.
type conn struct {
	crowd  *crowd
	single bool
	net    net.Conn
	in     *bufio.Reader
}

type answer struct {
	status int
	state  string
	token  string // that came with it; "": none
}

// ask sends a request once. A connection that the gate has ended since the last
// answer is replaced before anything is sent.
func (k *conn) ask(request []byte) (answer, error) {
	if k.net != nil && !k.isOpen() {
		k.close()
		k.crowd.mu.Lock()
		k.crowd.ended++
		k.crowd.mu.Unlock()
	}
	if k.net == nil {
		if err := k.open(); err != nil {
			return answer{}, err
		}
	}
	a, last, err := k.exchange(request)
	if err != nil || last {
		k.close()
	}
	return a, err
}

func (k *conn) open() (err error) {
	if k.net, err = net.DialTimeout("tcp", k.crowd.address, patience); err != nil {
		k.net = nil
		return err
	}
	k.in = bufio.NewReader(k.net)
	k.crowd.mu.Lock()
	defer k.crowd.mu.Unlock()
	k.crowd.opened++
	if k.single {
		k.crowd.single++
	}
	return nil
}

func (k *conn) close() {
	if k.net != nil {
		k.net.Close()
		k.net = nil
	}
}

// isOpen tells whether nothing has come since the last answer, neither an end nor
// what nobody asked for.
func (k *conn) isOpen() bool {
	raw, err := k.net.(*net.TCPConn).SyscallConn()
	if err != nil {
		return false
	}
	open := false
	err = raw.Read(func(fd uintptr) bool {
		var b [1]byte
		_, _, err := syscall.Recvfrom(int(fd), b[:], syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
		open = errors.Is(err, syscall.EAGAIN)
		return true
	})
	return err == nil && open
}

// exchange sends a request and reads the answer; last says that the gate ends the
// connection with it.
func (k *conn) exchange(request []byte) (a answer, last bool, err error) {
	if err := k.net.SetDeadline(time.Now().Add(patience)); err != nil {
		return a, true, err
	}
	if _, err := k.net.Write(request); err != nil {
		return a, true, fmt.Errorf("sending: %w", err)
	}
	r := fasthttp.AcquireResponse()
	defer fasthttp.ReleaseResponse(r)
	if err := r.ReadLimitBody(k.in, 1<<20); err != nil {
		return a, true, fmt.Errorf("no answer: %w", err)
	}
	a.status, a.state = r.StatusCode(), string(r.Header.Peek("Sluice-State"))
	for _, c := range r.Header.PeekAll("Set-Cookie") {
		value, ok := strings.CutPrefix(string(c), "sluice-"+stage.Room+"=")
		if ok {
			a.token, _, _ = strings.Cut(value, ";")
		}
	}
	return a, r.ConnectionClose(), nil
}

// reason is an error without addresses, so that equal ones are told once.
func reason(err error) string {
	var number syscall.Errno
	switch {
	case errors.As(err, &number):
		return number.Error()
	case errors.Is(err, os.ErrDeadlineExceeded):
		return "nothing came in time"
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return "the connection ended before the answer"
	}
	return err.Error()
}
