package proxy

import (
	"bufio"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sluicegate/sluice/gate/origin"
)

const (
	// usePeriod is how often Request.Use is called while something runs.
	usePeriod = 10 * time.Second
	// lookPeriod is how often who waits for the origin looks whether the visitor
	// still does.
	lookPeriod = 2 * time.Second
)

// exchange is one request and its answer. It is also the body stream that
// fasthttp writes to the visitor, and goes back to its pool when that is closed.
type exchange struct {
	p     *Proxy
	c     *conn // nil once it was given back
	req   message
	round origin.Round
	// asks: the visitor holds the body back until the origin wants it.
	asks bool

	// answerBy is when the origin must have answered, Unix nanoseconds; 0 while a
	// body is sent: then a read that times out was made to.
	answerBy atomic.Int64

	out []byte // the request as sent, later the answer's header

	// the answer
	fields  []field
	framing framing
	left    int  // sized: what is to come; chunked: of this chunk
	inBody  bool // chunked: a chunk was begun, its CRLF is due
	done    bool // the body was read to its end
	reuse   bool
	chunks  bool // the visitor gets the body in chunks
	trails  bool // and what stands behind them
	trailed int  // bytes of that so far
	behind  []byte
	room    bool // it is for somebody in a room

	// the visitor's side while the body streams
	client  net.Conn
	bw      *bufio.Writer // while WriteTo runs
	use     func(Tag)
	tag     Tag
	usedAt  atomic.Int64 // Unix nanoseconds
	writeBy time.Time
	down    pace
	maxBody int64

	up upload
}

var exchanges = sync.Pool{New: func() any {
	return new(exchange)
}}

// release gives the connection and the exchange back.
func (x *exchange) release() {
	switch {
	case x.c == nil:
	case x.done && x.reuse && x.c.r == x.c.w:
		x.c.keep(time.Now())
	default:
		x.c.drop()
	}
	x.c = nil
	if cap(x.out) > maxHead {
		x.out = nil
	}
	*x = exchange{
		req:    message{fields: x.req.fields[:0]},
		out:    x.out[:0],
		fields: x.fields[:0],
		up:     upload{ended: x.up.ended, buf: x.up.buf},
	}
	exchanges.Put(x)
}

// giveUp resets the connection: half a request must not look like a whole one.
func (x *exchange) giveUp() {
	if x.c != nil {
		x.abandon()
	}
}

// failed reports err. Without a length or chunks only a reset tells the visitor.
func (x *exchange) failed(err error) error {
	if x.framing != sized && !x.chunks {
		abort(x.client)
	}
	if x.p.c.Failed != nil {
		x.p.c.Failed(err)
	}
	return err
}

// Close is called by fasthttp when the answer was written, or cannot be.
func (x *exchange) Close() error {
	x.up.stop()
	if x.up.err != nil {
		x.giveUp()
	}
	if !x.writeBy.IsZero() {
		x.client.SetWriteDeadline(time.Time{})
	}
	x.release()
	return nil
}
