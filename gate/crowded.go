package gate

import (
	"math/rand/v2"
	"strconv"
	"time"

	"github.com/valyala/fasthttp"

	"github.com/sluicegate/sluice/gate/door"
	"github.com/sluicegate/sluice/gate/page"
	"github.com/sluicegate/sluice/gate/token"
	"github.com/sluicegate/sluice/metrics"
)

// What a request meets where connections are scarce.

// turnedAway answers a request for which there is no room: one without a pass or a
// ticket, while only the reserve is left.
func (x *exchange) turnedAway() bool {
	if x.door.Level() < door.Full || x.hand.isTicket() || x.isFavoured() {
		return false
	}
	x.gate.metrics.Refused(metrics.RefusedCrowded)
	x.turnAway()
	return true
}

func (x *exchange) turnAway() {
	x.outcome, x.unsent = metrics.Refuse, true
	x.retryAfter(5 + rand.IntN(11)) // spread, so that they do not come back as one
	x.say(fasthttp.StatusServiceUnavailable, page.Unavailable, "too many connections are open here; try again in a moment")
	x.ctx.SetConnectionClose()
}

// limited answers a request of an address that took its share already, unless it shows a
// pass: its holder is not to suffer for others of that address. joins says that it would
// take a place.
func (x *exchange) limited(joins bool) bool {
	a := x.site.byAddr
	if a == nil {
		return false
	}
	conn := x.door
	if x.trusted {
		conn = nil // it is the proxy's
	}
	wait, why := a.Request(x.client, joins, conn)
	if wait == 0 || x.showsPass() {
		return false
	}
	x.gate.metrics.Refused(why)
	x.outcome = metrics.Refuse
	x.retryAfter(int((wait + time.Second - 1) / time.Second))
	x.say(fasthttp.StatusTooManyRequests, page.Unavailable, limitedWords[why])
	if why == metrics.RefusedConns {
		x.ctx.SetConnectionClose()
	}
	return true
}

var limitedWords = map[metrics.Refusal]string{
	metrics.RefusedConns:     "too many connections are open from your address; close some, or try again in a moment",
	metrics.RefusedRequests:  "too many requests come from your address; try again in a moment",
	metrics.RefusedNewcomers: "too many people have come from your address just now; try again in a moment",
}

func (x *exchange) retryAfter(seconds int) {
	x.scratch = strconv.AppendInt(x.scratch[:0], int64(seconds), 10)
	x.ctx.Response.Header.SetBytesV("Retry-After", x.scratch)
}

// closeCrowded makes an answer the last one on its connection where others need it more.
// A proxy, too, opens another when it needs one.
func (x *exchange) closeCrowded() {
	if x.door.Level() > door.Calm && !x.isFavoured() {
		x.ctx.SetConnectionClose()
	}
}

// isFavoured tells whether the visitor was let in, as their connection or the request
// shows. Outside of their rooms nobody's passes are looked at otherwise.
func (x *exchange) isFavoured() bool {
	return x.door.Favoured() && !x.trusted || x.showsPass()
}

// showsPass tells whether the request brings a valid pass for any room.
func (x *exchange) showsPass() bool {
	if x.hand.isPass() {
		x.door.Favour(uint64(x.hand.ID))
		return true
	}
	if len(x.fields.cookies) == 0 && !x.fields.hasToken {
		return false
	}
	for _, r := range x.site.rooms {
		if r == x.room { // it would be in hand
			continue
		}
		if id, ok := x.passFor(r); ok {
			x.door.Favour(id)
			return true
		}
	}
	return false
}

func (x *exchange) passFor(r *room) (id uint64, ok bool) {
	look := func(encoded []byte) bool {
		var t token.Token
		if x.site.ring.Verify(encoded, &t) && t.Room == r.id && t.Kind == token.Pass && t.Until > r.line.Time() {
			id, ok = uint64(t.ID), true
		}
		return ok
	}
	if x.fields.hasToken {
		return id, look(x.fields.token)
	}
	tries := 0
	for _, header := range x.fields.cookies {
		token.Find(header, r.cookie, func(value []byte) bool {
			tries++
			return !look(value) && tries < maxTries
		})
		if ok || tries >= maxTries {
			break
		}
	}
	return id, ok
}

// holds tells whether a poll near the front may be held: not where its connection is
// wanted.
func (x *exchange) holds() bool { return x.door.Level() == door.Calm || x.trusted }

// answerHeld answers the polls that are held.
func (g *Gate) answerHeld() {
	for _, r := range g.site.Load().rooms {
		r.line.AnswerHeld()
	}
}
