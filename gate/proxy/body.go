package proxy

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"strconv"
	"time"
)

// framing tells how an answer's body ends.
type framing uint8

const (
	none framing = iota
	sized
	chunked
	untilClose
)

var zeroes [4 << 10]byte

var (
	errCut   = errors.New("cut off in mid-body")
	errChunk = errors.New("malformed chunk")
)

// next returns some more of the body, valid until the next call, and io.EOF
// after the last of it. It does not read from the network while something is
// buffered.
func (x *exchange) next() ([]byte, error) {
	c := x.c
	for {
		if x.done {
			return nil, io.EOF
		}
		if x.framing == chunked && x.left == 0 {
			if err := x.chunkHead(); err != nil {
				return nil, err
			}
			continue
		}
		if c.r == c.w {
			if err := x.fill(); err != nil {
				if x.framing == untilClose && err == io.EOF {
					x.done = true
					return nil, io.EOF
				}
				return nil, x.broken(err)
			}
		}
		b := c.buf[c.r:c.w]
		if x.framing != untilClose {
			if len(b) > x.left {
				b = b[:x.left]
			}
			x.left -= len(b)
			x.done = x.framing == sized && x.left == 0
		}
		c.r += len(b)
		return b, nil
	}
}

// chunkHead reads up to the data of the next chunk, or over the trailers to the end.
func (x *exchange) chunkHead() error {
	if x.inBody {
		// The CRLF after the data.
		for x.c.w-x.c.r < 2 {
			if err := x.fill(); err != nil {
				return x.broken(err)
			}
		}
		if string(x.c.buf[x.c.r:x.c.r+2]) != "\r\n" {
			return fmt.Errorf("%w: %w", ErrBroken, errChunk)
		}
		x.c.r += 2
		x.inBody = false
	}
	b, err := x.lineOf()
	if err != nil {
		return err
	}
	n, digits := 0, 0
	for digits < len(b) {
		d := unhex(b[digits])
		if d < 0 {
			break
		}
		if digits == 15 {
			return fmt.Errorf("%w: %w", ErrBroken, errChunk)
		}
		n = n<<4 | d
		digits++
	}
	if rest := trim(b[digits:]); digits == 0 || len(rest) > 0 && rest[0] != ';' || !isText(rest) {
		return fmt.Errorf("%w: %w", ErrBroken, errChunk)
	}
	if n > 0 {
		x.left, x.inBody = n, true
		return nil
	}
	for {
		b, err := x.lineOf()
		if err == nil {
			err = x.trailerLine(b)
		}
		if err != nil {
			return err
		}
		if len(b) == 0 {
			x.done = true
			return nil
		}
	}
}

func unhex(c byte) int {
	switch {
	case '0' <= c && c <= '9':
		return int(c - '0')
	case 'a' <= c && c <= 'f':
		return int(c-'a') + 10
	case 'A' <= c && c <= 'F':
		return int(c-'A') + 10
	}
	return -1
}

// lineOf reads a line that ends in CRLF, which is taken off.
func (x *exchange) lineOf() ([]byte, error) {
	for {
		b := x.c.buf[x.c.r:x.c.w]
		if i := bytes.IndexByte(b, '\n'); i >= 0 {
			if i == 0 || b[i-1] != '\r' {
				return nil, fmt.Errorf("%w: %w", ErrBroken, errChunk)
			}
			x.c.r += i + 1
			return b[:i-1], nil
		}
		if err := x.fill(); err != nil {
			return nil, x.broken(err)
		}
	}
}

func (x *exchange) broken(err error) error {
	switch {
	case errors.Is(err, ErrClient):
		return err
	case isTimeout(err):
		return fmt.Errorf("%w: silent in mid-body for %v", ErrTimeout, x.p.c.IdleTimeout)
	case err == io.EOF:
		err = errCut
	}
	return fmt.Errorf("%w: %w", ErrBroken, err)
}

// fill waits for more of the body, for at most the idle timeout, and tells the
// session about it meanwhile. The visitor gets what there is before that.
func (x *exchange) fill() error {
	if x.bw != nil && x.bw.Buffered() > 0 {
		now := time.Now()
		err := x.writeWithin(now)
		if err == nil {
			err = x.bw.Flush()
		}
		if err != nil {
			return x.notTaken(err)
		}
		x.down.waited(time.Since(now), 0)
	}
	if x.left > len(x.c.buf) && x.c.r == x.c.w && x.c.small == nil {
		x.c.enlarge()
	}
	idle := x.p.c.IdleTimeout
	for began := time.Now(); ; {
		now := time.Now()
		d := idle - now.Sub(began)
		if d <= 0 {
			return errIdle
		}
		x.c.readWithin(now, min(d, x.p.period, x.p.look))
		err := x.c.fill()
		x.tick()
		if err == nil || !isTimeout(err) {
			return err
		}
		if Gone(x.client) {
			return fmt.Errorf("%w in mid-answer", ErrClient)
		}
		x.c.link.ReadBy = time.Time{}
	}
}

var errIdle = fmt.Errorf("idle: %w", errTimedOut{})

type errTimedOut struct{}

func (errTimedOut) Error() string   { return "timed out" }
func (errTimedOut) Timeout() bool   { return true }
func (errTimedOut) Temporary() bool { return true }

func (x *exchange) tick() {
	if x.use == nil {
		return
	}
	// The body may be going up while the answer comes down.
	now, at := time.Now().UnixNano(), x.usedAt.Load()
	if now-at >= int64(x.p.period-x.p.period/8) && x.usedAt.CompareAndSwap(at, now) {
		x.use(x.tag)
	}
}

// WriteTo writes the body to the visitor as it comes: whatever was received is
// flushed before there is anything to wait for. It frames the body by itself
// and answers 0, the length that fasthttp was told.
func (x *exchange) WriteTo(w io.Writer) (int64, error) {
	bw := w.(*bufio.Writer)
	x.bw = bw
	defer func() { x.bw = nil }()
	for {
		b, err := x.next()
		if err == io.EOF {
			break
		}
		if err != nil {
			bw.Flush() // what came before it broke
			return 0, x.failed(err)
		}
		now := time.Now()
		if err = x.writeWithin(now); err != nil {
			return 0, x.failed(x.notTaken(err))
		}
		if x.chunks {
			x.out = append(strconv.AppendUint(x.out[:0], uint64(len(b)), 16), '\r', '\n')
			bw.Write(x.out)
		}
		_, err = bw.Write(b)
		if x.chunks {
			_, err = bw.WriteString("\r\n")
		}
		if err != nil {
			return 0, x.failed(x.notTaken(err))
		}
		x.down.waited(time.Since(now), len(b))
	}
	if x.chunks {
		last, err := x.appendLast(x.out[:0])
		if err != nil {
			bw.Flush()
			return 0, x.failed(err)
		}
		if _, err := bw.Write(last); err != nil {
			return 0, x.failed(x.notTaken(err))
		}
	}
	return 0, nil
}

// writeWithin gives the visitor time to take what is written next, if any is left.
func (x *exchange) writeWithin(now time.Time) error {
	set, over := x.down.deadline(&x.writeBy, now)
	if over {
		return x.down.slow()
	}
	if set {
		x.client.SetWriteDeadline(x.writeBy)
	}
	return nil
}

// notTaken is why the visitor did not get the rest. What a slow one has not taken yet
// is not kept for them by the kernel either.
func (x *exchange) notTaken(err error) error {
	if isTimeout(err) {
		err = x.down.slow()
	}
	if errors.Is(err, ErrSlow) {
		abort(x.client)
	}
	return fmt.Errorf("%w: %w", ErrClient, err)
}

// SupportsBodyWriteTo tells fasthttp to use WriteTo.
func (x *exchange) SupportsBodyWriteTo() bool { return true }

// Read is there for io.Reader's sake.
func (x *exchange) Read([]byte) (int, error) { return 0, io.EOF }
