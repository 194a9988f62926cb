package gate

import (
	"crypto/subtle"
	"time"

	"github.com/sluicegate/sluice/gate/token"
	"github.com/sluicegate/sluice/queue"
)

// hand is what a visitor brought, and what they are given instead.
type hand struct {
	token.Token
	has      bool
	byHeader bool // an app that keeps the token itself and gets no cookie
	give     bool // the token is new and goes out with the answer
	end      bool // the visitor left: the cookie is taken back
	life     time.Duration
}

func (h *hand) isTicket() bool { return h.has && h.Kind == token.Ticket }
func (h *hand) isPass() bool   { return h.has && h.Kind == token.Pass }
func (h *hand) drop()          { h.Token, h.has, h.give = token.Token{}, false, false }

// takeInHand reads the best valid token of the request: the header's, or else of
// all cookies with our name a pass before a ticket and the earliest place.
func (x *exchange) takeInHand() {
	now, place := x.room.line.TimesAt(x.roomNow())
	if x.fields.hasToken {
		x.hand.byHeader = true
		x.consider(x.fields.token, now, place)
		return
	}
	tries := 0
	for _, header := range x.fields.cookies {
		token.Find(header, x.room.cookie, func(value []byte) bool {
			x.consider(value, now, place)
			tries++
			return tries < maxTries
		})
		if tries >= maxTries {
			return
		}
	}
}

// roomNow is when the request came, by the clock that rooms go by.
func (x *exchange) roomNow() time.Time {
	if x.gate.now != nil {
		return x.gate.now()
	}
	return x.started
}

// maxTries bounds how many cookies of one name are verified.
const maxTries = 8

// consider keeps a token if it is valid and better than the one in hand.
func (x *exchange) consider(encoded []byte, now, place queue.Time) {
	var t token.Token
	if !x.verify(encoded, &t) || t.Room != x.room.id {
		return
	}
	line := x.room.line
	if now < t.Issued || place < t.Place {
		line.HearToken(t.Issued, t.Place, t.Generation)
		now = line.Time()
	}
	life := queue.TicketLife(line.Settings().KeepPlace)
	switch {
	case t.Kind == token.Pass && (t.Until > now || line.Stays(t.ID)):
	case (t.Kind == token.Ticket || t.Provisional) && t.Issued.Add(life) >= now:
		t.Kind = token.Ticket // a pass that nobody came with in time is a ticket
	default:
		return
	}
	h := &x.hand
	if !h.has || t.Kind > h.Kind || t.Kind == h.Kind && t.Place < h.Place {
		h.Token, h.has = t, true
	}
}

// knownToken is a token that was found to be valid: a browser brings the same one
// with request after request.
type knownToken struct {
	ring    *token.Ring // nil: none is known
	encoded [token.EncodedSize]byte
	token.Token
}

// verify is the ring's, which need not look at what came by this connection just
// before.
func (x *exchange) verify(encoded []byte, t *token.Token) bool {
	ring := x.site.ring
	if x.lane == nil {
		return ring.Verify(encoded, t)
	}
	// A proxy's connection brings many visitors', who are to learn nothing by the
	// time that this takes.
	k := &x.lane.known
	if k.ring == ring && subtle.ConstantTimeCompare(encoded, k.encoded[:]) == 1 {
		*t = k.Token
		return true
	}
	if !ring.Verify(encoded, t) {
		return false
	}
	k.ring, k.Token = ring, *t
	copy(k.encoded[:], encoded)
	return true
}

// hasPass tells whether the visitor is admitted. The store need not answer for that: it is
// asked only of a pass that is half over, for a new one.
func (x *exchange) hasPass() bool {
	h := &x.hand
	if !h.isPass() {
		return false
	}
	renewed, gone := x.room.line.UseAt(x.roomNow(), queue.Pass{
		ID: h.ID, Place: h.Place, Called: h.Called, Issued: h.Issued, Until: h.Until, Provisional: h.Provisional,
	})
	if gone {
		h.drop()
		return false
	}
	x.door.Favour(uint64(h.ID))
	if renewed > 0 {
		h.Until, h.Provisional = renewed, false
		x.issue(x.room.line.Settings().Session)
	} else if session := x.room.line.Settings().Session; !h.byHeader && x.room.line.Away() > session/4 {
		// The pass does not age now, but its cookie does in the browser.
		h.give, h.life = true, session
	}
	return true
}

// keep puts into the visitor's hand what an answer of the line gives them.
func (x *exchange) keep(a *queue.Answer) {
	h := &x.hand
	set := x.room.line.Settings()
	switch {
	case a.State == queue.Admitted:
		x.door.Favour(uint64(h.ID))
		if a.Claimed {
			x.room.line.JudgeEstimate(int64(h.Low), int64(h.High), &a.Standing)
		}
		h.Kind, h.Provisional = token.Pass, a.Provisional
		h.Place, h.Called, h.Until = a.Place, a.Called, a.Until
		h.Low, h.High = 0, 0
		x.issue(set.Session)
	case a.Place > 0: // waiting, or the room is closed and the place is kept
		fresh := !h.has
		old := h.has && x.room.line.Time().Sub(h.Issued) > set.KeepPlace/6
		h.Kind, h.Provisional, h.Until, h.Called = token.Ticket, false, 0, 0
		h.Place = a.Place
		if fresh || old {
			x.promise(a)
			x.issue(set.KeepPlace)
		}
	}
}

// promise notes the first estimate that a visitor is told, to judge it by.
func (x *exchange) promise(a *queue.Answer) {
	if !a.Estimated || x.hand.High > 0 {
		return
	}
	_, now := x.room.line.TimesAt(x.roomNow())
	waited := int64(now.Sub(a.Place) / time.Second)
	const most = 1<<16 - 1
	x.hand.Low = uint16(min(max(waited, 0)+a.Estimate.Low, most))
	x.hand.High = uint16(min(max(waited, 0)+a.Estimate.High, most))
}

// issue has the token in hand sent with the answer.
func (x *exchange) issue(life time.Duration) {
	h := &x.hand
	h.Room = x.room.id
	h.Generation = x.room.line.Generation()
	h.Issued = x.room.line.Time()
	h.has, h.give, h.life = true, true, life
}

// sendToken puts the token that is to be given, if any, into the answer.
func (x *exchange) sendToken() {
	name, value := x.token()
	switch {
	case name == "":
	case x.hand.byHeader:
		x.ctx.Response.Header.SetBytesV(name, value)
	default:
		x.ctx.Response.Header.AddBytesV(name, value)
	}
}

// token is the field with the token that is to be given, or with the end of the
// cookie that is to be taken back; no name says that there is none.
func (x *exchange) token() (name string, value []byte) {
	h := &x.hand
	if !h.give && (!h.end || h.byHeader) {
		return "", nil
	}
	out := x.scratch[:0]
	if h.byHeader {
		x.scratch = x.site.ring.Append(out, &h.Token)
		return "Sluice-Token", x.scratch
	}
	out = append(out, x.room.cookie...)
	out = append(out, '=')
	if h.give {
		out = x.site.ring.Append(out, &h.Token)
	} else {
		h.life = 0
	}
	x.scratch = x.room.appendCookieTail(out, x.https, h.life)
	return "Set-Cookie", x.scratch
}
