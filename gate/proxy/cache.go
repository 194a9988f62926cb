package proxy

import (
	"bytes"

	"github.com/valyala/fasthttp"
)

// caching is what an answer tells shared caches (RFC 9111, 3; RFC 9213).
type caching struct {
	said     bool // it has a Cache-Control
	forbids  bool // which does not let them keep it
	targeted bool // a field for caches of some kind, which overrules that, lets them
	html     bool
}

func (x *exchange) readCaching(b []byte) (c caching) {
	for i := range x.fields {
		f := &x.fields[i]
		value := b[f.value:f.end]
		switch f.kind {
		case cacheControl:
			c.said = true
			c.forbids = c.forbids || forbidsSharing(value)
		case targeted:
			c.targeted = c.targeted || !forbidsSharing(value)
		case contentType:
			c.html = isHTML(value)
		}
	}
	return c
}

// forbidsSharing tells whether a list of directives keeps shared caches out. When in
// doubt it does not: no-cache, too, lets them store, and commas in quotes are not
// looked at.
func forbidsSharing(value []byte) bool {
	return bytes.IndexByte(value, '"') < 0 && (has(value, "no-store") || has(value, "private"))
}

func isHTML(value []byte) bool {
	kind, _, _ := bytes.Cut(value, []byte(";"))
	kind = trim(kind)
	return EqualFold(kind, "text/html") || EqualFold(kind, "application/xhtml+xml")
}

// shared tells whether a shared cache might keep the answer. Answers to other
// methods than GET and HEAD are kept where they say so.
func (c *caching) shared(ctx *fasthttp.RequestCtx) bool {
	read := ctx.IsGet() || ctx.IsHead()
	return c.targeted || !c.forbids && (read || c.said)
}

// guarded tells whether an answer for somebody in a room must become private. A
// shared cache asks nobody for a pass: pages are for those who were let in, whatever
// they say of caches, and all else is where it does not say that it is for everybody.
func (c *caching) guarded(ctx *fasthttp.RequestCtx) bool {
	return c.shared(ctx) && (c.html || !c.said && !c.targeted)
}

// appendPrivate appends the Cache-Control of a private answer: the origin's, less
// what it lets shared caches do. Browsers may do as before.
func (x *exchange) appendPrivate(out, b []byte) []byte {
	out = append(out, "Cache-Control: private"...)
	for i := range x.fields {
		if f := &x.fields[i]; f.kind == cacheControl {
			out = appendDirectives(out, b[f.value:f.end])
		}
	}
	return out
}

func appendDirectives(out, value []byte) []byte {
	for len(value) > 0 {
		var element []byte
		element, value, _ = bytes.Cut(value, []byte(","))
		element = trim(element)
		name, _, _ := bytes.Cut(element, []byte("="))
		if len(name) == 0 || EqualFold(name, "public") || EqualFold(name, "private") || EqualFold(name, "s-maxage") || EqualFold(name, "proxy-revalidate") {
			continue
		}
		out = append(append(out, ", "...), element...)
	}
	return out
}

// MakePrivate turns an answer that is Cacheable into one that no shared cache
// keeps. The gate calls it before it adds a cookie or token.
func MakePrivate(ctx *fasthttp.RequestCtx) {
	h := &ctx.Response.Header
	lines := bytes.Split(h.StatusMessage(), []byte("\r\n"))
	private := []byte("\r\nCache-Control: private")
	var kept []byte
	for i, l := range lines {
		if i == 0 {
			kept = append(kept, l...) // the reason phrase
			continue
		}
		name, value, _ := bytes.Cut(l, []byte(":"))
		switch kindOf(name) {
		case cacheControl:
			private = appendDirectives(private, value)
		case targeted:
		default:
			kept = append(append(kept, "\r\n"...), l...)
		}
	}
	setReason(h, append(kept, private...))
}
