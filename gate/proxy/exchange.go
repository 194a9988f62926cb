package proxy

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/valyala/fasthttp"

	"github.com/sluicegate/sluice/gate/origin"
)

const (
	// usePeriod is how often Request.Use is called while something runs.
	usePeriod = 10 * time.Second
	// lookPeriod is how often who waits for the origin looks whether the visitor
	// still does.
	lookPeriod = 2 * time.Second
)

// framing tells how an answer's body ends.
type framing uint8

const (
	none framing = iota
	sized
	chunked
	untilClose
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
	return &exchange{up: upload{ended: make(chan struct{}, 1)}}
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

var (
	errStatusLine = errors.New("status line")
	errLengths    = errors.New("two lengths")
	errCoding     = errors.New("transfer coding")
	errSwitch     = errors.New("switched protocols unasked")
	errInterim    = errors.New("too many interim answers")
	errContinue   = errors.New("asked to go on")
)

// answer is what an answer's header says, as far as it concerns the proxy.
type answer struct {
	status    int
	reason    int // offset
	reasonEnd int
	opt       options
	websocket bool
	length    int
}

// readAnswer reads headers until a final one, and finds out how its body ends.
// silent says that nothing at all came back. Interim answers are dropped, but for
// the 100 (Continue) that was asked for: it ends the wait with errContinue.
func (x *exchange) readAnswer(head, upgraded bool) (b []byte, a answer, silent bool, err error) {
	for interim := 0; ; interim++ {
		b, got, err := x.c.head()
		for err != nil && isTimeout(err) && x.mayWait() {
			b, got, err = x.c.head()
		}
		if err != nil && Gone(x.client) {
			err = fmt.Errorf("%w before there was an answer", ErrClient)
		}
		if err != nil {
			return nil, a, !got && interim == 0, err
		}
		a, err = x.parse(b, head)
		if err != nil {
			return nil, a, false, unreadable(err)
		}
		switch {
		case a.status == 101:
			if !upgraded || !a.websocket || !a.opt.upgrade {
				return nil, a, false, unreadable(errSwitch)
			}
			return b, a, false, nil
		case a.status >= 200:
			return b, a, false, nil
		case a.status == 100 && x.asks:
			return nil, a, false, errContinue
		case interim == 16:
			return nil, a, false, unreadable(errInterim)
		}
	}
}

func unreadable(why error) error { return fmt.Errorf("%w: %w", ErrUnreadable, why) }

// waitUntil gives the origin time for its answer, by looks at the visitor.
func (x *exchange) waitUntil(now time.Time, limit time.Duration) {
	x.answerBy.Store(now.Add(limit).UnixNano())
	x.c.readWithin(now, min(limit, x.p.look))
}

// mayWait tells whether a read that timed out may be tried again: there is time
// left, and the visitor still waits.
func (x *exchange) mayWait() bool {
	now := time.Now()
	left := time.Duration(x.answerBy.Load() - now.UnixNano())
	if left <= 0 || Gone(x.client) {
		return false
	}
	x.c.link.ReadBy = time.Time{}
	x.c.readWithin(now, min(left, x.p.look))
	return true
}

func (x *exchange) parse(b []byte, head bool) (a answer, err error) {
	// HTTP/1.1 200 reason
	eol := bytes.IndexByte(b, '\n')
	end := eol
	if end > 0 && b[end-1] == '\r' {
		end--
	}
	if end < 12 || string(b[:7]) != "HTTP/1." || b[7] != '0' && b[7] != '1' || b[8] != ' ' || end > 12 && b[12] != ' ' {
		return a, errStatusLine
	}
	code, ok := number(b[9:12])
	if !ok || code < 100 {
		return a, errStatusLine
	}
	a.status, a.reason, a.reasonEnd = code, min(13, end), end
	for _, c := range b[a.reason:end] {
		if !text[c] {
			return a, errStatusLine
		}
	}
	if x.fields, err = scan(x.fields[:0], b, eol+1, false); err != nil {
		return a, err
	}
	a.length = -1
	coded := false
	for i := range x.fields {
		f := &x.fields[i]
		value := b[f.value:f.end]
		switch f.kind {
		case connection:
			a.opt.read(value)
		case upgrade:
			a.websocket = a.websocket || isFold(value, "websocket")
		case length:
			n, ok := number(value)
			if !ok || a.length >= 0 && a.length != n {
				return a, errLengths
			}
			if a.length >= 0 {
				f.kind = hop // the same again
			}
			a.length = n
		case encoding:
			if coded || !isFold(value, "chunked") || b[7] == '0' {
				return a, errCoding
			}
			coded = true
		}
	}
	x.reuse = !a.opt.close && (b[7] == '1' || a.opt.keepAlive)
	x.done, x.inBody, x.left = false, false, 0
	switch {
	case head || a.status < 200 || a.status == 204 || a.status == 304:
		x.framing, x.done = none, true
	case coded:
		x.framing = chunked
		// Two lengths: the coding counts, and the next answer is not trusted.
		x.reuse = x.reuse && a.length < 0
	case a.length >= 0:
		x.framing, x.left = sized, a.length
		x.done = a.length == 0
	default:
		x.framing, x.reuse = untilClose, false
	}
	return a, nil
}

// keep fills in what the visitor gets of the answer's header.
//
// fasthttp would sort the fields, change the spelling of some and keep one of
// several. It writes the reason phrase as it stands, though, and all that was
// set or added after it. So the fields go there, behind the reason, as they
// came. What is left to fasthttp is the length of a body that it writes by
// itself (held).
func (x *exchange) keep(ctx *fasthttp.RequestCtx, b []byte, n *answer, a *Answer, held bool) {
	h := &ctx.Response.Header
	x.trails = x.req.trailers && x.chunks && x.framing == chunked
	cache := x.readCaching(b)
	a.Cacheable = cache.shared(ctx)
	guard := x.room && cache.guarded(ctx)
	out := append(x.out[:0], b[n.reason:n.reasonEnd]...)
	dated := false
	for i := range x.fields {
		f := &x.fields[i]
		switch f.kind {
		case hop, te, connection, upgrade, http2, ours:
			continue
		case encoding:
			if !x.chunks {
				continue
			}
		case trailer:
			if !x.trails {
				continue
			}
		case session:
			a.session = append(a.session[:0], b[f.value:f.end]...)
			a.Session = a.session
			continue
		case length:
			if held || x.framing == chunked || n.status < 200 || n.status == 204 {
				continue
			}
		case cacheControl, targeted:
			if guard {
				continue
			}
			if n.opt.names && removes(x.fields, b, b[f.name:f.colon]) {
				continue
			}
		case setCookie:
			if isOurs(b[f.value:f.end]) {
				continue // nobody but the gate sets them
			}
		default:
			if n.opt.names && removes(x.fields, b, b[f.name:f.colon]) {
				continue
			}
		}
		dated = dated || f.kind == date
		out = append(out, "\r\n"...)
		out = append(out, b[f.name:f.colon]...)
		out = append(out, ": "...)
		out = append(out, b[f.value:f.end]...)
	}
	if !dated && n.status >= 200 && x.p.c.Date != nil {
		out = append(append(out, "\r\nDate: "...), x.p.c.Date(time.Now())...)
	}
	if guard {
		a.Cacheable = false
		out = x.appendPrivate(append(out, "\r\n"...), b)
	}
	if x.chunks && x.framing == untilClose {
		out = append(out, "\r\nTransfer-Encoding: chunked"...)
	}
	if n.status == 101 {
		out = append(out, "\r\nConnection: Upgrade\r\nUpgrade: websocket"...)
	}
	x.out = out
	h.SetStatusCode(n.status)
	setReason(h, out)
	h.SetNoDefaultContentType(true)
	a.Status = n.status
}

var zeroes [4 << 10]byte

// Answers' bodies.

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
