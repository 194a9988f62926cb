package gate

import (
	"bytes"

	"github.com/valyala/fasthttp"

	"github.com/sluicegate/sluice/metrics"
	"github.com/sluicegate/sluice/queue"
)

// apiPath is what a request for the visitor API names after /.sluice/.
type apiPath []byte

var apiPrefix = []byte("/.sluice")

// visitorAPI tells whether a request is for the gate itself.
func (x *exchange) visitorAPI() (apiPath, bool) {
	path, _, _ := bytes.Cut(x.target, []byte("?"))
	rest, ok := bytes.CutPrefix(path, apiPrefix)
	if !ok || len(rest) > 0 && rest[0] != '/' {
		return nil, false
	}
	return apiPath(rest), true
}

// answerAPI answers a request for the visitor API. None of it is ever forwarded.
func (g *Gate) answerAPI(x *exchange, path apiPath) {
	if x.isPreflight() {
		x.answerPreflight()
		return
	}
	if string(path) == "/health" {
		x.answerHealth()
		return
	}
	name, ok := bytes.CutPrefix(path, []byte("/rooms/"))
	room := x.site.byName[string(name)]
	if !ok || room == nil {
		x.outcome = metrics.Refuse
		x.ownHeader()
		x.problem(fasthttp.StatusNotFound, "there is no such room")
		return
	}
	x.room = room
	x.takeInHand()
	if x.turnedAway() || !x.hand.isPass() && x.limited(string(x.method) == "POST" && !x.isPrefetch() && !x.hand.isTicket()) {
		return
	}
	var a queue.Answer
	switch string(x.method) {
	case "GET":
		a = x.askState(false)
	case "POST":
		a = x.askState(true)
	case "DELETE":
		x.leave()
		return
	default:
		x.notAllowed("GET, POST, DELETE")
		return
	}
	x.outcome = outcomeOf(&a)
	x.waitingHeader(&a)
	x.sendToken()
	x.ctx.SetStatusCode(fasthttp.StatusOK)
	x.json(&a, "")
}

// askState is where the visitor stands. Only with join does somebody who has
// nothing join the line.
func (x *exchange) askState(join bool) queue.Answer {
	if x.hasPass() {
		h := &x.hand
		return queue.Answer{
			Standing:  queue.Standing{State: queue.Admitted, Place: h.Place, Called: h.Called, Until: h.Until},
			Waiting:   x.room.line.Waiting(),
			PollAfter: x.room.line.Later(),
		}
	}
	if join && !x.isPrefetch() {
		return x.askTurn(true)
	}
	if x.hand.isTicket() {
		return x.poll()
	}
	return x.nothing()
}

func outcomeOf(a *queue.Answer) metrics.Outcome {
	switch a.State {
	case queue.Admitted:
		return metrics.Admit
	case queue.Full, queue.Closed:
		return metrics.Closed
	}
	return metrics.Wait
}

// poll asks for the holder of a ticket, who keeps what comes of it.
func (x *exchange) poll() queue.Answer {
	a := x.room.line.Poll(x.hand.ID, x.hand.Place, x.holds(), x.isAlive)
	if a.State == queue.Used {
		x.hand.drop()
		return x.nothing()
	}
	x.keep(&a)
	return a
}

// nothing is told to somebody who has no place and no pass.
func (x *exchange) nothing() queue.Answer {
	return queue.Answer{
		Standing:  queue.Standing{State: queue.None},
		Waiting:   x.room.line.Waiting(),
		PollAfter: x.room.line.Later(),
	}
}

// leave frees what the visitor holds. It is answered alike whether they held
// anything or not.
func (x *exchange) leave() {
	x.outcome = metrics.Wait
	h := &x.hand
	if h.has {
		if err := x.room.line.Leave(h.ID, h.Place, h.Until); err != nil {
			x.outcome = metrics.Error
			x.ctx.Response.Header.Set("Retry-After", "5")
			x.ownHeader()
			x.problem(fasthttp.StatusServiceUnavailable, "the line did not confirm it; ask again")
			return
		}
	}
	h.end = !h.byHeader && len(x.fields.cookies) > 0
	x.ownHeader()
	x.sendToken()
	x.ctx.SetStatusCode(fasthttp.StatusNoContent)
}

// notAllowed answers a method that the visitor API does not take here.
func (x *exchange) notAllowed(allow string) {
	x.outcome = metrics.Refuse
	x.ctx.Response.Header.Set("Allow", allow)
	x.ownHeader()
	x.problem(fasthttp.StatusMethodNotAllowed, "only these methods are taken here: "+allow)
}

// answerHealth is for load balancers whose probe of the site would join the line.
func (x *exchange) answerHealth() {
	if !x.isGet() {
		x.notAllowed("GET, HEAD")
		return
	}
	x.ownHeader()
	x.outcome = metrics.Ungated
	if err := x.gate.Ready(); err != nil {
		x.problem(fasthttp.StatusServiceUnavailable, err.Error())
		return
	}
	x.ctx.SetStatusCode(fasthttp.StatusOK)
	x.ctx.Response.Header.SetContentType("text/plain; charset=utf-8")
	x.ctx.SetBodyString("ok\n")
}
