// Package floor is the platform's floor: what fasthttp costs when it does next to
// nothing. A gate on the same library cannot cost less than these, so its own cost
// is told as a ratio to theirs.
package floor

import (
	"bytes"
	"fmt"

	"github.com/valyala/fasthttp"
)

// Answer answers every request with so many bytes, until it fails.
func Answer(addr string, size int) error {
	body := bytes.Repeat([]byte{'x'}, size)
	return serve(addr, func(ctx *fasthttp.RequestCtx) { ctx.Response.SetBodyRaw(body) })
}

// Proxy hands every request on to the origin, over connections that are kept,
// without the fields that are for one hop only (RFC 9110, section 7.6.1), until it
// fails.
func Proxy(addr, origin string) error {
	client := &fasthttp.HostClient{Addr: origin, MaxConns: 1024}
	return serve(addr, func(ctx *fasthttp.RequestCtx) {
		for _, name := range hopByHop {
			ctx.Request.Header.Del(name)
		}
		if err := client.Do(&ctx.Request, &ctx.Response); err != nil {
			ctx.Error(fmt.Sprintf("forward: %v", err), fasthttp.StatusBadGateway)
			return
		}
		for _, name := range hopByHop {
			ctx.Response.Header.Del(name)
		}
	})
}

// hopByHop leaves out Transfer-Encoding, which fasthttp looks after.
var hopByHop = []string{"Connection", "Proxy-Connection", "Keep-Alive", "TE", "Upgrade"}

func serve(addr string, handle fasthttp.RequestHandler) error {
	return (&fasthttp.Server{Handler: handle}).ListenAndServe(addr)
}
