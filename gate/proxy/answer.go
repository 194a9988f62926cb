package proxy

import (
	"bytes"
	"errors"
	"fmt"
	"time"

	"github.com/valyala/fasthttp"
)

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
			a.websocket = a.websocket || EqualFold(value, "websocket")
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
			if coded || !EqualFold(value, "chunked") || b[7] == '0' {
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
