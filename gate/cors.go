package gate

import (
	"bytes"

	"github.com/valyala/fasthttp"

	"github.com/sluicegate/sluice/metrics"
)

// allowOrigin lets scripts of the configured origins read an answer of the gate.
func (x *exchange) allowOrigin() {
	if len(x.site.origins) == 0 {
		return
	}
	h := &x.ctx.Response.Header
	h.Add("Vary", "Origin")
	if !x.originAllowed() {
		return
	}
	h.SetBytesV("Access-Control-Allow-Origin", x.fields.origin)
	h.Set("Access-Control-Allow-Credentials", "true")
	h.Set("Access-Control-Expose-Headers", exposed)
}

const exposed = "Sluice-State, Sluice-Room, Sluice-Token, Retry-After"

// exposeToken lets such a script find its token in an answer of the shop, which
// says by itself whether the script may read it at all.
func (x *exchange) exposeToken() {
	if x.originAllowed() {
		x.ctx.Response.Header.Add("Access-Control-Expose-Headers", exposed)
	}
}

func (x *exchange) originAllowed() bool {
	for _, o := range x.site.origins {
		if string(x.fields.origin) == o {
			return true
		}
	}
	return false
}

// answerPreflight answers for the origin and for the gate alike.
func (x *exchange) answerPreflight() {
	x.outcome = metrics.Refuse
	x.ownHeader()
	if !x.originAllowed() {
		x.problem(fasthttp.StatusForbidden, "scripts of this origin may not use this site")
		return
	}
	x.outcome = metrics.Ungated
	h := &x.ctx.Response.Header
	h.SetBytesV("Access-Control-Allow-Methods", x.fields.accessMethod)
	if len(x.fields.accessHeaders) > 0 {
		h.SetBytesV("Access-Control-Allow-Headers", bytes.Clone(x.fields.accessHeaders))
	}
	h.Set("Access-Control-Max-Age", "600")
	x.ctx.SetStatusCode(fasthttp.StatusNoContent)
}
