package visitor

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"sync"
	"time"
)

// target is a gate.
type target struct {
	name string // as the script says it
	host string // for the Host header
	addr *net.TCPAddr
	tls  *tls.Config // nil: plain
}

// client is a browser's connection: at most one, opened when needed, and to
// another target only after the one before was closed. One goroutine owns it.
type client struct {
	crowd  *Crowd
	source net.IP // nil: any

	conn   conn // nil: none open; changed by set
	target int  // where it leads
	used   bool // a request went over it before

	unwatch func() bool // nil: the end of time is not looked out for yet
	mu      sync.Mutex  // guards what follows, and conn for whoever does not own it
	over    bool        // time is
}

// conn is what visitors need of a connection.
type conn interface {
	io.ReadWriteCloser
	SetDeadline(time.Time) error
	SetReadDeadline(time.Time) error
	SetWriteDeadline(time.Time) error
}

// past is a deadline that is over.
var past = time.Unix(1, 0)

// watch has the end of ctx break off what is under way. A client has one context all
// its life.
func (c *client) watch(ctx context.Context) {
	if c.unwatch != nil {
		return
	}
	c.unwatch = context.AfterFunc(ctx, func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.over = true
		if c.conn != nil {
			_ = c.conn.SetDeadline(past)
		}
	})
}

// end is the end of a client.
func (c *client) end() {
	c.close()
	if c.unwatch != nil {
		c.unwatch()
	}
}

// close ends the connection, if any.
func (c *client) close() {
	if c.conn == nil {
		return
	}
	c.conn.Close()
	c.set(nil)
	c.crowd.releaseConn()
}

func (c *client) set(conn conn) {
	c.mu.Lock()
	c.conn = conn
	c.mu.Unlock()
}

// setDeadline gives what is under way so much time, none when time is over.
func (c *client) setDeadline(t time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.over {
		t = past
	}
	return c.conn.SetDeadline(t)
}

// timings are how long the parts of a request took, as k6 splits them: a request is
// blocked until it has a connection, which includes connecting and handshaking.
type timings struct {
	began                                                         time.Time // before waiting for a connection
	sent                                                          time.Time // began to be written
	done                                                          time.Time // read to its end
	blocked, connecting, handshaking, sending, waiting, receiving time.Duration
	out, in                                                       int // bytes
}

func (t *timings) duration() time.Duration { return t.sending + t.waiting + t.receiving }

// answer is what came back, as far as visitors care.
type answer struct {
	timings
	status     int
	state      string // Sluice-State; "": the gate said nothing
	retryAfter time.Duration
	recorded   []byte   // Recorded-Visitor
	cookies    [][]byte // values of Set-Cookie; they point into the exchange
	body       []byte   // of what the gate answered; points into the exchange
	close      bool
}

// exchange is what a request works in. It is taken from the pool for the request
// and given back after the answer was read, so that visitors who wait hold none.
type exchange struct {
	in  *bufio.Reader
	out []byte
	raw []byte // header lines that are kept
	ans answer

	once bool // never sent twice, whatever became of the connection
	api  bool // the body is wanted, whoever wrote it
}

var exchanges = sync.Pool{New: func() any {
	return &exchange{in: bufio.NewReaderSize(nil, readBuffer), out: make([]byte, 0, 1024), raw: make([]byte, 0, 512)}
}}

const (
	readBuffer  = 8 << 10
	maxHeader   = 64 << 10
	keptBody    = 64 << 10 // most of a body that the gate wrote
	pooledBytes = 32 << 10
)

func takeExchange() *exchange { return exchanges.Get().(*exchange) }

func (x *exchange) release() {
	x.in.Reset(nil)
	body, cookies := x.ans.body, x.ans.cookies
	if cap(body) > pooledBytes {
		body = nil
	}
	x.ans = answer{body: body[:0], cookies: cookies[:0]}
	x.out, x.raw = x.out[:0], x.raw[:0]
	exchanges.Put(x)
}

// Errors of the protocol.
var (
	errMalformed = errors.New("visitor: malformed answer")
	errTooLong   = errors.New("visitor: the answer's header is too long")
)

// do sends the request in x.out over the client's connection, opened if need be,
// and reads the answer into x.ans. A connection that was used before may have been
// closed by the other side meanwhile; then the request goes out once more over a
// new one, unless a byte of an answer came or it must not be sent twice.
func (c *client) do(ctx context.Context, to int, timeout time.Duration, x *exchange) error {
	c.watch(ctx)
	a := &x.ans
	a.began = time.Now()
	if c.conn != nil && c.target != to {
		c.close()
	}
	for {
		if c.conn == nil {
			if err := c.open(ctx, to, a); err != nil {
				a.done = time.Now()
				return err
			}
		}
		again := c.used
		c.used = true
		err := c.exchange(timeout, x)
		if err == nil {
			if a.close {
				c.close()
			}
			return nil
		}
		c.close()
		if !again || x.once || a.in > 0 || ctx.Err() != nil || isTimeout(err) {
			a.done = time.Now()
			return err
		}
	}
}

func isTimeout(err error) bool {
	var t net.Error
	return errors.As(err, &t) && t.Timeout()
}

// open connects. It waits for its turn when the process may have no more files.
func (c *client) open(ctx context.Context, to int, a *answer) error {
	start := time.Now()
	if err := c.crowd.acquireConn(ctx); err != nil {
		return err
	}
	connect := time.Now()
	t := &c.crowd.targets[to]
	conn, err := c.connect(ctx, t)
	if err == nil {
		a.connecting = time.Since(connect)
		if t.tls != nil {
			conn, err = c.handshake(ctx, conn, t, a)
		}
	}
	if err != nil {
		c.crowd.releaseConn()
		return fmt.Errorf("connect to %s: %w", t.name, err)
	}
	a.blocked = time.Since(start)
	c.set(conn)
	c.target, c.used = to, false
	return nil
}

// connect connects. A machine answers itself at once, so nothing need be able to break
// that off; what could would cost each connection a goroutine.
func (c *client) connect(ctx context.Context, t *target) (conn, error) {
	if c.source != nil {
		return connectHere(c.source, t.addr)
	}
	d := net.Dialer{Timeout: c.crowd.journey.Timeouts.Connect, KeepAlive: -1}
	return d.DialContext(ctx, "tcp", t.addr.String())
}

func (c *client) handshake(ctx context.Context, raw conn, t *target, a *answer) (conn, error) {
	start := time.Now()
	ctx, cancel := context.WithTimeout(ctx, c.crowd.journey.Timeouts.Connect)
	defer cancel()
	conn := tls.Client(addressless{raw}, t.tls)
	if err := conn.HandshakeContext(ctx); err != nil {
		raw.Close()
		return nil, err
	}
	a.handshaking = time.Since(start)
	return conn, nil
}

// exchange writes the request and reads the answer.
func (c *client) exchange(timeout time.Duration, x *exchange) error {
	a := &x.ans
	conn := c.conn
	a.sent = time.Now()
	if err := c.setDeadline(a.sent.Add(timeout)); err != nil {
		return err
	}
	n, err := conn.Write(x.out)
	a.out += n
	if err != nil {
		return err
	}
	written := time.Now()
	a.sending = written.Sub(a.sent)
	x.in.Reset(conn)
	_, err = x.in.Peek(1)
	first := time.Now()
	a.waiting = first.Sub(written) // for nothing, too
	if err != nil {
		return noEOF(err)
	}
	err = x.read()
	a.done = time.Now()
	a.receiving = a.done.Sub(first)
	if err != nil {
		return noEOF(err)
	}
	if x.in.Buffered() > 0 {
		return fmt.Errorf("%w: %d bytes after its end", errMalformed, x.in.Buffered())
	}
	return nil
}

// noEOF makes an end where none should be an error of its own name.
func noEOF(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}

// read reads one answer (RFC 9112), to a request that was not HEAD.
func (x *exchange) read() error {
	a := &x.ans
	for {
		length, chunked, err := x.head()
		if err != nil {
			return err
		}
		switch {
		case a.status == 101:
			return fmt.Errorf("%w: status 101 without being asked", errMalformed)
		case a.status < 200: // an interim answer
			continue
		case a.status == 204 || a.status == 304:
			return nil
		case chunked:
			return x.chunks()
		case length < 0:
			a.close = true
			return x.body(-1)
		default:
			return x.body(length)
		}
	}
}

// head reads the status line and the header.
func (x *exchange) head() (length int64, chunked bool, err error) {
	a := &x.ans
	line, err := x.line()
	if err != nil {
		return 0, false, err
	}
	if len(line) < 12 || string(line[:7]) != "HTTP/1." || line[8] != ' ' || len(line) > 12 && line[12] != ' ' {
		return 0, false, fmt.Errorf("%w: %.40q is no status line", errMalformed, line)
	}
	a.status, err = strconv.Atoi(string(line[9:12]))
	if err != nil || a.status < 100 {
		return 0, false, fmt.Errorf("%w: status %q", errMalformed, line[9:12])
	}
	a.close = line[7] == '0'
	a.state, a.retryAfter, a.recorded, a.cookies = "", 0, nil, a.cookies[:0]
	x.raw = x.raw[:0]
	length = -1
	for size := 0; ; {
		line, err := x.line()
		if err != nil {
			return 0, false, err
		}
		if len(line) == 0 {
			return length, chunked, nil
		}
		if size += len(line); size > maxHeader {
			return 0, false, errTooLong
		}
		name, value, ok := bytes.Cut(line, []byte{':'})
		if !ok || len(name) == 0 {
			return 0, false, fmt.Errorf("%w: %.40q is no header line", errMalformed, line)
		}
		value = bytes.Trim(value, " \t")
		switch {
		case is(name, "content-length"):
			n, err := strconv.ParseInt(string(value), 10, 64)
			if err != nil || n < 0 || length >= 0 && length != n {
				return 0, false, fmt.Errorf("%w: Content-Length %q", errMalformed, value)
			}
			length = n
		case is(name, "transfer-encoding"):
			if !is(value, "chunked") {
				return 0, false, fmt.Errorf("%w: Transfer-Encoding %q", errMalformed, value)
			}
			chunked = true
		case is(name, "connection"):
			a.close = a.close || is(value, "close")
		case is(name, "set-cookie"):
			a.cookies = append(a.cookies, x.keep(value))
		case is(name, "sluice-state"):
			a.state = stateName(value)
		case is(name, "recorded-visitor"):
			a.recorded = x.keep(value)
		case is(name, "retry-after"):
			if n, err := strconv.Atoi(string(value)); err == nil && n > 0 {
				a.retryAfter = time.Duration(min(n, 3600)) * time.Second
			}
		}
	}
}

// keep copies a value out of the reader's buffer.
func (x *exchange) keep(value []byte) []byte {
	at := len(x.raw)
	x.raw = append(x.raw, value...)
	return x.raw[at:len(x.raw):len(x.raw)]
}

func is(name []byte, lower string) bool {
	if len(name) != len(lower) {
		return false
	}
	for i, c := range name {
		if c >= 'A' && c <= 'Z' {
			c += 'a' - 'A'
		}
		if c != lower[i] {
			return false
		}
	}
	return true
}

// line returns a line without its end. It is good until the next read.
func (x *exchange) line() ([]byte, error) {
	line, err := x.in.ReadSlice('\n')
	x.ans.in += len(line)
	if err != nil {
		if err == bufio.ErrBufferFull {
			err = errTooLong
		}
		return nil, err
	}
	line = line[:len(line)-1]
	if n := len(line); n > 0 && line[n-1] == '\r' {
		line = line[:n-1]
	}
	return line, nil
}

// body reads so many bytes, or with -1 until the end of the connection. What the
// gate wrote is kept, what the shop wrote is not.
func (x *exchange) body(n int64) error {
	a := &x.ans
	keep := (a.state != "" || x.api) && (n < 0 || int64(len(a.body))+n <= keptBody)
	if n < 0 {
		for {
			if _, err := x.in.Peek(1); err == io.EOF {
				return nil
			} else if err != nil {
				return err
			}
			piece, _ := x.in.Peek(x.in.Buffered())
			if keep && len(a.body)+len(piece) <= keptBody {
				a.body = append(a.body, piece...)
			}
			d, _ := x.in.Discard(len(piece))
			a.in += d
		}
	}
	for n > 0 {
		if _, err := x.in.Peek(1); err != nil {
			return noEOF(err)
		}
		piece, _ := x.in.Peek(int(min(n, int64(x.in.Buffered()))))
		if keep {
			a.body = append(a.body, piece...)
		}
		d, _ := x.in.Discard(len(piece))
		a.in += d
		n -= int64(d)
	}
	return nil
}

func (x *exchange) chunks() error {
	for {
		line, err := x.line()
		if err != nil {
			return noEOF(err)
		}
		digits, _, _ := bytes.Cut(line, []byte{';'})
		size, err := strconv.ParseInt(string(bytes.TrimRight(digits, " \t")), 16, 64)
		if err != nil || size < 0 {
			return fmt.Errorf("%w: chunk of size %.20q", errMalformed, line)
		}
		if size == 0 {
			break
		}
		if err := x.body(size); err != nil {
			return err
		}
		if line, err = x.line(); err != nil {
			return noEOF(err)
		} else if len(line) != 0 {
			return fmt.Errorf("%w: %.20q after a chunk", errMalformed, line)
		}
	}
	for { // trailers
		line, err := x.line()
		if err != nil {
			return noEOF(err)
		}
		if len(line) == 0 {
			return nil
		}
	}
}
