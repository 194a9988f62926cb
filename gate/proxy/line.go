package proxy

import (
	"bytes"
	"strings"

	"github.com/valyala/fasthttp"
)

// ReplaceLine puts a line, a field's name and value, into an answer in place of those
// lines that have its name. It is called after everything else that makes the
// header, and returns the buffer that it worked in.
func ReplaceLine(ctx *fasthttp.RequestCtx, line string, buf []byte) []byte {
	h := &ctx.Response.Header
	name := line[:strings.IndexByte(line, ':')+1] // with the colon
	rest := h.StatusMessage()
	if len(rest) == 0 {
		rest = append(rest, fasthttp.StatusMessage(h.StatusCode())...)
	}
	buf = buf[:0]
	for more := true; more; {
		var l []byte
		l, rest, more = bytes.Cut(rest, []byte("\r\n"))
		switch {
		case len(buf) == 0: // the reason phrase
			buf = append(buf, l...)
		case len(l) >= len(name) && bytes.EqualFold(l[:len(name)], []byte(name)):
		default:
			buf = append(append(buf, "\r\n"...), l...)
		}
	}
	buf = append(append(buf, "\r\n"...), line...)
	setReason(h, buf)
	return buf
}
