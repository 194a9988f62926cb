package gate

import (
	"errors"
	"math/rand/v2"
	"net/url"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/valyala/fasthttp"

	"github.com/sluicegate/sluice/gate/page"
	"github.com/sluicegate/sluice/gate/proxy"
	"github.com/sluicegate/sluice/metrics"
	"github.com/sluicegate/sluice/queue"
)

// answerWaiting tells a visitor who is not let in where they stand: a person by
// the page, everybody else by JSON.
func (x *exchange) answerWaiting(a *queue.Answer) {
	x.outcome = metrics.Wait
	if a.State == queue.Full || a.State == queue.Closed {
		x.outcome = metrics.Closed
	}
	x.waitingHeader(a)
	x.sendToken()
	if !x.isNavigation() {
		x.ctx.SetStatusCode(fasthttp.StatusTooManyRequests)
		note := ""
		if !x.isGet() {
			note = "the request was not forwarded; send it again once admitted"
		}
		x.json(a, note)
		return
	}
	v := page.View{
		State: page.Waiting, HasPlace: a.Place > 0,
		Position: a.Position, Waiting: a.Waiting,
		PollAfter: a.PollAfter, Age: a.Age,
	}
	if a.Estimated {
		v.Low, v.High = a.Estimate.Low, a.Estimate.High
	}
	switch {
	case a.State == queue.Full:
		v.State = page.Full
	case a.State == queue.Closed:
		v.State = page.Closed
	case !x.isGet():
		v.State = page.NotSent
	}
	if !x.isGet() {
		v.Next = x.next()
	}
	x.ctx.SetStatusCode(x.room.status)
	x.page(x.room.shown().page, &v)
}

// answerNone answers what takes no place: there is nobody who could wait.
func (x *exchange) answerNone() {
	a := queue.Answer{Standing: queue.Standing{State: queue.None}, PollAfter: x.room.line.Later()}
	x.outcome = metrics.Wait
	x.waitingHeader(&a)
	x.ctx.SetStatusCode(fasthttp.StatusTooManyRequests)
	x.json(&a, "")
}

// waitingHeader sets what every answer about a place has.
func (x *exchange) waitingHeader(a *queue.Answer) {
	h := &x.ctx.Response.Header
	h.Set("Sluice-State", a.State.String())
	h.Set("Sluice-Room", x.room.name)
	x.scratch = appendRetryAfter(x.scratch[:0], a)
	h.SetBytesV("Retry-After", x.scratch)
	x.ownHeader()
}

func appendRetryAfter(b []byte, a *queue.Answer) []byte {
	return strconv.AppendInt(b, int64((a.PollAfter+time.Second-1)/time.Second), 10)
}

// ownHeader sets what all of the gate's own answers have, and closes the
// connection where some of the request is still to come.
func (x *exchange) ownHeader() {
	h := &x.ctx.Response.Header
	x.own = true
	h.Set("Cache-Control", "no-store")
	h.Set("CDN-Cache-Control", "no-store")
	x.allowOrigin()
	proxy.CloseUnread(x.ctx)
	x.closeCrowded()
}

// date is the Date field of one second.
type date struct {
	second int64
	text   []byte
}

var lastDate atomic.Pointer[date]

// httpDate writes an instant for a Date field, once a second.
func httpDate(now time.Time) []byte {
	second := now.Unix()
	d := lastDate.Load()
	if d == nil || d.second != second {
		d = &date{second, fasthttp.AppendHTTPDate(nil, now)}
		lastDate.Store(d)
	}
	return d.text
}

// next is where a page goes on to whose request must not be repeated: the page
// that the form stood on, if that is ours, else the room's entry.
func (x *exchange) next() string {
	u, err := url.Parse(string(x.fields.referer))
	if err == nil && u.Host != "" && u.Host == string(x.host) && (u.Scheme == "http" || u.Scheme == "https") {
		return u.RequestURI()
	}
	return x.room.entry
}

// page writes an HTML answer.
func (x *exchange) page(p *page.Page, v *page.View) {
	v.Lang = p.Lang(x.fields.acceptLanguage)
	x.ctx.Response.Header.SetContentType("text/html; charset=utf-8")
	gzip := acceptsGzip(x.fields.acceptEncoding)
	x.lines = p.Header(v.Lang, gzip)
	body := pageBuffers.Get().(*[]byte)
	if gzip {
		*body = p.AppendGzip((*body)[:0], v)
	} else {
		*body = p.Append((*body)[:0], v)
	}
	x.ctx.Response.SetBodyRaw(*body)
	if x.lane != nil {
		x.lane.page = body
	}
}

// pageBuffers are lent to connections until the page has been written. Those who wait
// are many, and have nothing to send most of the time.
var pageBuffers = sync.Pool{New: func() any { return new([]byte) }}

// json answers with the visitor API's object.
func (x *exchange) json(a *queue.Answer, note string) {
	x.ctx.Response.Header.SetContentType("application/json")
	x.ctx.Response.SwapBody(x.room.appendState(x.ctx.Response.SwapBody(nil)[:0], a, note))
}

// appendState writes the visitor API's object.
func (r *room) appendState(b []byte, a *queue.Answer, note string) []byte {
	b = append(b, `{"room":"`...)
	b = append(b, r.name...)
	b = append(b, `","state":"`...)
	b = append(b, a.State.String()...)
	b = append(b, `","position":`...)
	if a.Position > 0 {
		b = strconv.AppendInt(b, a.Position, 10)
	} else {
		b = append(b, "null"...)
	}
	b = append(b, `,"waiting":`...)
	b = strconv.AppendInt(b, a.Waiting, 10)
	b = append(b, `,"estimate_seconds":`...)
	if a.Estimated {
		b = append(b, `{"low":`...)
		b = strconv.AppendInt(b, a.Estimate.Low, 10)
		b = append(b, `,"high":`...)
		b = strconv.AppendInt(b, a.Estimate.High, 10)
		b = append(b, '}')
	} else {
		b = append(b, "null"...)
	}
	b = append(b, `,"poll_after_seconds":`...)
	b = appendSeconds(b, a.PollAfter, time.Millisecond)
	b = append(b, `,"age_seconds":`...)
	b = appendSeconds(b, a.Age, 100*time.Millisecond)
	b = append(b, `,"message":`...)
	b = append(b, r.shown().json...)
	if a.State == queue.Admitted {
		b = append(b, `,"called":`...)
		b = strconv.AppendInt(b, a.Called.Millis(), 10)
	}
	if note != "" {
		b = append(b, `,"detail":`...)
		b = appendJSONString(b, note)
	}
	return append(b, '}', '\n')
}

// appendSeconds writes a duration in seconds, rounded up to a unit.
func appendSeconds(b []byte, d, unit time.Duration) []byte {
	n := int64((d + unit - 1) / unit)
	per := int64(time.Second / unit)
	b = strconv.AppendInt(b, n/per, 10)
	rest := n % per
	if rest == 0 {
		return b
	}
	b = append(b, '.')
	for per /= 10; rest > 0; per /= 10 {
		b = append(b, byte('0'+rest/per))
		rest %= per
	}
	return b
}

// refuse answers a request that goes no further.
func (x *exchange) refuse(status int) {
	x.outcome = metrics.Refuse
	reason := "the request is malformed, or could be read in more than one way"
	if x.why != "" {
		reason += ": " + x.why
		x.gate.log.Debug("a request was refused", "why", x.why, "peer", x.ctx.RemoteAddr())
	}
	switch status {
	case fasthttp.StatusRequestEntityTooLarge:
		reason = "the request's body is too large"
	case fasthttp.StatusRequestURITooLong:
		reason = "the request's target is too long"
	case fasthttp.StatusRequestHeaderFieldsTooLarge:
		reason = "the request's header is too long or has too many fields"
	case fasthttp.StatusExpectationFailed:
		reason = "the request expects what is not known here; 100-continue is"
	case fasthttp.StatusRequestTimeout:
		reason = "the request came too slowly"
	}
	x.say(status, page.BadRequest, reason)
	x.ctx.SetConnectionClose()
}

// refuseTrace answers who asks to see the request as the shop gets it.
func (x *exchange) refuseTrace() {
	x.outcome = metrics.Refuse
	x.say(fasthttp.StatusMethodNotAllowed, page.BadRequest, "TRACE is not answered here")
	x.ctx.Response.Header.Set("Allow", "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS")
}

// refuseHost answers a request for a site that is not here.
func (x *exchange) refuseHost() {
	x.outcome = metrics.Refuse
	x.say(fasthttp.StatusMisdirectedRequest, page.BadRequest, "there is no site of this name here")
}

// malformed is the status for what the proxy found wrong with a request.
func malformed(err error) int {
	if errors.Is(err, proxy.ErrExpectation) {
		return fasthttp.StatusExpectationFailed
	}
	return fasthttp.StatusBadRequest
}

// broken answers after a panic: what was written so far is not to be trusted.
func (x *exchange) broken() {
	x.ctx.Response.Reset()
	x.ctx.Response.ResetBody()
	x.room, x.outcome = nil, metrics.Error
	x.say(fasthttp.StatusInternalServerError, page.Unavailable, "something went wrong here")
	x.ctx.SetConnectionClose()
}

// say writes an answer that is about no place: a plain page for a person, problem
// JSON (RFC 9457) for everybody else.
func (x *exchange) say(status int, state page.State, detail string) {
	x.ownHeader()
	x.ctx.Response.Header.SetBytesV("X-Request-Id", x.requestID())
	x.ctx.SetStatusCode(status)
	if x.isNavigation() {
		v := page.View{
			State: state, Status: status, HasPlace: x.hand.isPass(), Unsent: x.unsent,
			PollAfter: time.Duration(tryAgain()) * time.Second,
		}
		p := x.site.plain
		if x.room != nil {
			p = x.room.shown().page
		}
		if !x.isGet() {
			v.Next = "/"
			if x.room != nil {
				v.Next = x.next()
			}
		}
		x.page(p, &v)
		return
	}
	x.problem(status, detail)
}

// tryAgain is after how many seconds somebody whom the origin failed should ask
// again. It differs, so that they do not come back as one.
func tryAgain() int { return 5 + rand.IntN(6) }

func (x *exchange) problem(status int, detail string) {
	x.ctx.SetStatusCode(status)
	x.ctx.Response.Header.SetContentType("application/problem+json")
	b := x.ctx.Response.SwapBody(nil)[:0]
	b = append(b, `{"status":`...)
	b = strconv.AppendInt(b, int64(status), 10)
	b = append(b, `,"title":`...)
	b = appendJSONString(b, fasthttp.StatusMessage(status))
	b = append(b, `,"detail":`...)
	b = appendJSONString(b, detail)
	b = append(b, '}', '\n')
	x.ctx.Response.SwapBody(b)
}

// appendJSONString writes text as JSON that is safe within HTML, too.
func appendJSONString(b []byte, text string) []byte {
	const hexDigits = "0123456789abcdef"
	b = append(b, '"')
	for _, r := range text {
		switch {
		case r == '"' || r == '\\':
			b = append(b, '\\', byte(r))
		case r == '\n':
			b = append(b, '\\', 'n')
		case r < ' ' || r == '<' || r == '>' || r == '&' || r == 0x7f:
			b = append(b, '\\', 'u', '0', '0', hexDigits[r>>4&15], hexDigits[r&15])
		case r == '\u2028' || r == '\u2029':
			b = append(b, '\\', 'u', '2', '0', '2', hexDigits[r&15])
		default:
			b = append(b, string(r)...)
		}
	}
	return append(b, '"')
}
