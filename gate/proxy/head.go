package proxy

import (
	"net"

	"github.com/valyala/fasthttp"
)

// Head is the header of a request, taken apart.
type Head struct {
	raw    []byte
	fields []field
}

// Read takes the header of a request that Validate has found to be well-formed. It may
// be used until the request has ended.
func (h *Head) Read(ctx *fasthttp.RequestCtx) {
	h.raw = ctx.Request.Header.RawHeaders()
	if v := strictOf(ctx.Conn()); v != nil {
		h.fields = append(h.fields[:0], v.head.lines...)
	} else {
		h.fields, _ = scan(h.fields[:0], h.raw, 0, true)
	}
}

// ReadSimple takes the field lines of the header that was read of conn last, blank line
// included, and tells whether the request asks for an answer and for nothing else: it has
// no body and one Host, and wants nothing of the connection but that it stays. Whatever
// else it may be is for the server to read.
func (h *Head) ReadSimple(conn net.Conn, raw []byte) bool {
	v, ok := conn.(*strictConn)
	if !ok || v.refused != nil || !v.whole() || v.head.length != lengthNone || v.head.hosts != 1 {
		return false
	}
	for i := range v.head.lines {
		f := &v.head.lines[i]
		switch f.kind {
		case length, encoding, upgrade, expect, hop, te, trailer:
			return false
		case connection:
			if !EqualFold(raw[f.value:f.end], "keep-alive") {
				return false
			}
		}
	}
	h.raw, h.fields = raw, append(h.fields[:0], v.head.lines...)
	return true
}

// Len is how many fields there are.
func (h *Head) Len() int { return len(h.fields) }

// Field returns one, in the order they were sent.
func (h *Head) Field(i int) (name, value []byte) {
	f := &h.fields[i]
	return h.raw[f.name:f.colon], h.raw[f.value:f.end]
}
