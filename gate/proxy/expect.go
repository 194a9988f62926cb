package proxy

import (
	"bytes"
	"time"

	"github.com/valyala/fasthttp"
)

// Expect: 100-continue (RFC 9110, 10.1.1): the visitor holds the body back until
// told to go on, or told something else. fasthttp says "go on" by itself unless
// the gate, asked before, decides otherwise; so the gate decides, and asks the
// origin, within ExpectHandler. The origin's 100 or final answer is the visitor's.

// continueWait is how long an origin may think about a header alone before the
// body is sent all the same: many have never heard of 100 (Continue).
const continueWait = time.Second

// prefetchTime is for what is read ahead of a body, from its header on. A phone may be
// slow; and nothing of the origin's is kept waiting.
const prefetchTime = 45 * time.Second

// spellExpect has fasthttp see the expectation of a request with a body, which it
// looks for in one spelling only, and no expectation of HTTP/1.0, which has none.
// What it says is judged by Validate.
func spellExpect(h *fasthttp.RequestHeader) fasthttp.RequestConfig {
	if n := h.ContentLength(); n <= 0 && n != -1 && h.IsHTTP11() {
		return fasthttp.RequestConfig{} // most requests
	}
	if string(h.Protocol()) == "HTTP/1.0" {
		h.Del("Expect")
		return fasthttp.RequestConfig{ReadTimeout: prefetchTime}
	}
	for raw := h.RawHeaders(); len(raw) > 0; {
		var line []byte
		line, raw, _ = bytes.Cut(raw, []byte("\n"))
		if len(line) > len("expect:") && line[6] == ':' && is(line[:6], "expect") {
			h.Set("Expect", "100-continue")
			break
		}
	}
	return fasthttp.RequestConfig{ReadTimeout: prefetchTime}
}

// holdsBack tells whether the visitor still waits to be told to send the body.
func (m *message) holdsBack(ctx *fasthttp.RequestCtx) bool {
	n := ctx.Request.Header.ContentLength()
	return m.expects && (n > 0 || n == -1) && ctx.RequestBodyStream() == nil
}

// Abandon gives up what Forward began and was not called again to finish.
func (a *Answer) Abandon() {
	x := a.begun
	if x == nil {
		return
	}
	a.begun, a.Continue = nil, false
	x.giveUp()
	x.release()
}
