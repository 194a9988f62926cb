package proxy

import (
	"errors"
	"io"
	"net"
	"sync/atomic"
	"time"
)

// upload sends the visitor's body to the origin, in a goroutine of its own: an
// origin may answer before it has seen all of it.
type upload struct {
	running  bool // the goroutine was started and not yet waited for
	ended    chan struct{}
	stopped  atomic.Bool
	drained  atomic.Bool // the visitor's body was read to its end
	answered atomic.Bool // the origin's header is there

	// valid once ended was received
	err    error // nil: all of it was sent
	source bool  // err came from the visitor's side

	client    net.Conn
	conn      *conn
	buf       []byte
	announced []byte // the request's Trailer
}

// stop ends the goroutine, wherever it waits, and waits for it.
func (u *upload) stop() {
	if !u.running {
		return
	}
	u.stopped.Store(true)
	u.client.SetReadDeadline(past)
	u.conn.Conn.SetWriteDeadline(past)
	u.wait()
}

func (u *upload) wait() {
	<-u.ended
	u.joined()
}

// joined is called when ended was received.
func (u *upload) joined() {
	u.running = false
	u.conn.link.WriteBy, u.conn.link.ReadBy = time.Time{}, time.Time{}
}

// finish reports whether the upload has ended, now that the answer is there.
// Where the last write may still be returning it waits a moment.
func (u *upload) finish() bool {
	if !u.drained.Load() {
		select {
		case <-u.ended:
			u.joined()
			return true
		default:
			return false
		}
	}
	t := time.NewTimer(100 * time.Millisecond)
	defer t.Stop()
	select {
	case <-u.ended:
		u.joined()
		return true
	case <-t.C:
		return false
	}
}

var (
	past       = time.Unix(1, 0)
	errStopped = errors.New("stopped")
)

// Room is left in the buffer for a chunk's length before the data, and for its
// end and the last chunk behind them.
const (
	uploadBuffer = 32 << 10
	uploadRoom   = 10
	uploadTail   = 7
)

func (x *exchange) startUpload(src io.Reader, n int) {
	u := &x.up
	u.client, u.conn, u.running = x.client, x.c, true
	u.err, u.source = nil, false
	u.stopped.Store(false)
	u.drained.Store(false)
	u.answered.Store(false)
	if u.buf == nil {
		u.buf = make([]byte, uploadBuffer)
	}
	if u.ended == nil { // few requests have a body
		u.ended = make(chan struct{}, 1)
	}
	go x.upload(src, n)
}

// upload runs in its own goroutine and ends by sending on ended.
func (x *exchange) upload(src io.Reader, n int) {
	u := &x.up
	u.err, u.source = x.copyUp(src, n)
	switch {
	case u.err == nil:
		// From here on the origin has time for its answer.
		u.client.SetReadDeadline(time.Time{})
		if !u.answered.Load() {
			u.conn.Conn.SetReadDeadline(x.fromNow(x.p.look))
		}
	case u.source && !u.answered.Load():
		// Half a body must not look whole. This wakes who waits for the answer.
		abort(u.conn.Conn)
	case isTimeout(u.err) && !u.stopped.Load():
		u.conn.Conn.SetReadDeadline(past)
	case !u.stopped.Load():
		// The origin reads no more: it has answered, or it is gone.
		u.conn.Conn.SetReadDeadline(x.fromNow(x.p.look))
	}
	u.ended <- struct{}{}
}

// fromNow gives the origin time for its answer to a body, and is when to look at the
// visitor first.
func (x *exchange) fromNow(look time.Duration) time.Time {
	now, limit := time.Now(), x.p.c.HeaderTimeout
	x.answerBy.Store(now.Add(limit).UnixNano())
	return now.Add(min(look, limit))
}

func (x *exchange) copyUp(src io.Reader, n int) (err error, source bool) {
	u := &x.up
	max := x.maxBody
	wait := pace{pause: x.p.c.ClientTimeout, rate: x.p.c.MinRate}
	if d := x.p.c.BodyTimeout; d > 0 {
		wait.until = time.Now().Add(d)
	}
	var readBy time.Time
	var total int64
	for {
		now := time.Now()
		switch set, over := wait.deadline(&readBy, now); {
		case over:
			return wait.slow(), true
		case set:
			u.client.SetReadDeadline(readBy)
		}
		if u.stopped.Load() {
			return errStopped, true
		}
		got, err := src.Read(u.buf[uploadRoom : len(u.buf)-uploadTail])
		total += int64(got)
		read := time.Now()
		wait.waited(read.Sub(now), got)
		end := err == io.EOF
		switch {
		case err != nil && isTimeout(err) && !u.stopped.Load():
			return wait.slow(), true
		case max > 0 && total > max:
			return ErrTooLarge, true
		case end && n >= 0 && total < int64(n):
			return io.ErrUnexpectedEOF, true
		case err != nil && !end:
			// What came with a broken chunk is not passed on.
			return err, true
		}
		if end && n < 0 && !isWhole(x.client) {
			return io.ErrUnexpectedEOF, true
		}
		end = end || total == int64(n)
		if end {
			u.drained.Store(true)
		}
		out := u.buf[uploadRoom : uploadRoom+got]
		var behind []byte
		if n < 0 {
			if end {
				behind = x.trailersUp()
			}
			out = append(chunk(u.buf, got, end && behind == nil), behind...)
		}
		if len(out) > 0 {
			u.conn.writeWithin(read, x.p.c.takeTimeout())
			if u.stopped.Load() {
				return errStopped, true
			}
			if _, err := u.conn.Conn.Write(out); err != nil {
				return err, false
			}
		}
		x.tick()
		if end {
			return nil, false
		}
	}
}

// isWhole tells a chunked body's end from the connection's: fasthttp answers io.EOF
// to both.
func isWhole(client net.Conn) bool {
	v := strictOf(client)
	return v != nil && v.whole()
}

// chunk frames the n bytes that stand in buf behind uploadRoom.
func chunk(buf []byte, n int, end bool) []byte {
	if n == 0 {
		if end {
			return append(buf[:0], "0\r\n\r\n"...)
		}
		return nil
	}
	at := uploadRoom - 2
	buf[at], buf[at+1] = '\r', '\n'
	for m := n; m > 0; m >>= 4 {
		at--
		buf[at] = "0123456789abcdef"[m&15]
	}
	to := uploadRoom + n
	out := append(buf[at:to], "\r\n"...)
	if end {
		out = append(out, "0\r\n\r\n"...)
	}
	return out
}
