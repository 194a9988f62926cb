package gate

import (
	"bytes"
	"encoding/hex"
	"errors"
	"time"
	"unsafe"

	"github.com/valyala/fasthttp"

	"github.com/sluicegate/sluice/gate/page"
	"github.com/sluicegate/sluice/gate/proxy"
	"github.com/sluicegate/sluice/metrics"
	"github.com/sluicegate/sluice/queue"
)

// forward takes the request to the origin, and the answer back with the token
// that is to be given.
func (x *exchange) forward(outcome metrics.Outcome) {
	x.outcome = outcome
	r := &x.request
	*r = proxy.Request{
		Client: x.client, Proto: "http", ID: x.requestID(), Via: x.site.headers.Via, Trace: x.site.headers.Trace,
		MaxBody: x.site.limits.Body,
	}
	if x.https {
		r.Proto = "https"
	}
	r.Common = outcome == metrics.Ungated && !x.isFavoured()
	if x.trusted {
		r.ForwardedFor = x.forwardedFor()
	}
	if x.room != nil {
		r.Room, r.Visitor = x.room.name, x.visitorName()
		h := &x.hand
		r.Use, r.Tag = x.room.use, proxy.Tag{int64(h.ID), int64(h.Place), int64(h.Called), int64(h.Issued), int64(h.Until)}
	}
	x.send()
}

// send has the request forwarded, in two calls where the visitor holds the body
// back, and sees to the answer.
func (x *exchange) send() {
	sent := time.Now()
	x.request.Now = sent
	err := x.site.proxy.Forward(x.ctx, &x.request, &x.answer)
	if err != nil {
		x.originFailed(err)
		return
	}
	if x.answer.Continue {
		return // to be called again with the body
	}
	x.gate.metrics.OriginDuration(time.Since(sent).Seconds())
	if x.room == nil {
		return
	}
	x.obeyOrigin(x.answer.Session)
	if x.hand.give || x.hand.end {
		if x.answer.Cacheable {
			proxy.MakePrivate(x.ctx)
		}
		x.sendToken()
		if x.hand.byHeader {
			x.exposeToken()
		}
	}
}

// visitorName is what the origin knows the visitor by, the same for as long as
// they are admitted.
func (x *exchange) visitorName() string {
	var id [8]byte
	for i := range id {
		id[i] = byte(x.hand.ID >> (56 - 8*i))
	}
	hex.Encode(x.visitor[:], id[:])
	return unsafe.String(&x.visitor[0], len(x.visitor)) // read before the exchange is used again
}

// forwardedFor is what a trusted peer said of who stands behind it.
func (x *exchange) forwardedFor() []byte {
	x.list = x.list[:0]
	for i, value := range x.fields.forwardedFor[:x.fields.forwarded] {
		if i > 0 {
			x.list = append(x.list, ", "...)
		}
		x.list = append(x.list, value...)
	}
	return x.list
}

// obeyOrigin does what the origin asks for with Sluice-Session.
func (x *exchange) obeyOrigin(wish []byte) {
	if wish == nil {
		return
	}
	h, line := &x.hand, x.room.line
	verb, value, _ := bytes.Cut(wish, []byte("="))
	switch string(verb) {
	case "release":
		if err := line.Leave(h.ID, h.Place, h.Until); err != nil {
			x.gate.log.Warn("a visitor's slot could not be freed; it ends with the session", "room", x.room.name, "error", err)
			return
		}
		h.give, h.end = false, true
	case "extend":
		d, err := queue.ParseSpan(string(value))
		if err != nil || d == 0 {
			x.gate.log.Warn("the origin asked for something unknown", "room", x.room.name, "sluice_session", string(wish))
			return
		}
		d = min(d, queue.MaxExtend)
		until, err := line.Extend(h.ID, h.Place, h.Called, h.Until, d)
		if err != nil {
			x.gate.log.Warn("a session could not be extended", "room", x.room.name, "error", err)
			return
		}
		if until > h.Until {
			h.Until, h.Provisional = until, false
			x.issue(max(d, line.Settings().Session))
		}
	default:
		x.gate.log.Warn("the origin asked for something unknown", "room", x.room.name, "sluice_session", string(wish))
	}
}

// statusLeft is what nobody sees: the visitor went away before there was an answer.
// nginx counts such requests by this code.
const statusLeft = 499

// refuseTunnel answers a handshake for which there is no room.
func (x *exchange) refuseTunnel() {
	x.outcome = metrics.Refuse
	x.gate.metrics.Refused(metrics.RefusedTunnel)
	x.gate.failures.warn(x.gate.log, "a WebSocket was refused: as many are open as may be", "raise", "origin.tunnels.max")
	x.retryAfter(tryAgain())
	x.say(fasthttp.StatusServiceUnavailable, page.Unavailable, "as many WebSockets are open here as may be; what you hold stays good")
	if x.room != nil {
		x.sendToken()
	}
}

// originFailed answers for an origin that did not. What the visitor holds stays
// good, and what they were just given goes out with the answer.
func (x *exchange) originFailed(err error) {
	status, why := fasthttp.StatusBadGateway, "the origin did not answer"
	switch {
	case errors.Is(err, proxy.ErrClientBody) && errors.Is(err, proxy.ErrSlow):
		x.gate.metrics.Refused(metrics.RefusedBody)
		x.refuse(fasthttp.StatusRequestTimeout)
		return
	case errors.Is(err, proxy.ErrRequest), errors.Is(err, proxy.ErrExpectation), errors.Is(err, proxy.ErrClientBody):
		x.why = proxy.Reason(err)
		x.refuse(malformed(err))
		return
	case errors.Is(err, proxy.ErrClient):
		x.ctx.SetStatusCode(statusLeft)
		x.ctx.SetConnectionClose()
		return
	case errors.Is(err, proxy.ErrTooLarge):
		x.refuse(fasthttp.StatusRequestEntityTooLarge)
		return
	case errors.Is(err, proxy.ErrTunnels):
		x.refuseTunnel()
		return
	case errors.Is(err, proxy.ErrConnect):
		why, x.unsent = "the origin cannot be reached, and the request was not sent", true
	case errors.Is(err, proxy.ErrBusy):
		status = fasthttp.StatusServiceUnavailable
		why, x.unsent = "the origin has as many requests as it may have, and this one was not sent", true
	case errors.Is(err, proxy.ErrUnreadable):
		why = proxy.ErrUnreadable.Error()
	case errors.Is(err, proxy.ErrTimeout):
		status, why = fasthttp.StatusGatewayTimeout, "the origin did not answer in time"
	}
	x.outcome = metrics.Error
	x.gate.metrics.OriginError(proxy.Kind(err))
	said := "the origin did not answer"
	if errors.Is(err, proxy.ErrUnreadable) {
		said = why
	}
	if errors.Is(err, proxy.ErrBusy) || errors.Is(err, proxy.ErrUnreadable) || !x.site.proxy.Ails() { // otherwise that was told
		x.gate.failures.warn(x.gate.log, said, "kind", proxy.Kind(err), "error", err, "request_id", string(x.requestID()))
	}
	x.retryAfter(tryAgain())
	x.say(status, page.Unavailable, why+"; what you hold stays good")
	if x.room != nil {
		x.sendToken()
	}
}
