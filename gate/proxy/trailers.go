package proxy

import (
	"bytes"
	"fmt"
)

// Trailers are fields behind a chunked body (RFC 9110, 6.5). Visitors who say that
// they read them (TE: trailers) get the origin's, and the origin gets those that the
// request's Trailer announces: whoever merges them with the header is not to find
// any there that nobody spoke of.

// notBehind are names that mean something only before a body: they say how it is
// framed, coded or cached, where the message goes, who sends it, and on what
// condition. Those that are the gate's to say have a kind of their own, and do not
// stand behind a body either.
var notBehind = map[string]bool{
	"accept-ranges": true, "age": true, "allow": true, "authentication-info": true, "authorization": true,
	"content-encoding": true, "content-language": true, "content-location": true, "content-range": true,
	"content-security-policy": true, "content-type": true, "date": true, "expires": true, "from": true,
	"if-match": true, "if-modified-since": true, "if-none-match": true, "if-range": true, "if-unmodified-since": true,
	"location": true, "max-forwards": true, "origin": true, "pragma": true, "range": true, "referer": true,
	"refresh": true, "retry-after": true, "strict-transport-security": true, "user-agent": true, "vary": true,
	"via": true, "warning": true, "www-authenticate": true,
}

func mayStandBehind(name []byte) bool {
	return kindOf(name) == plain && !notBehind[string(bytes.ToLower(name))]
}

// appendTrailers appends those of the lines, blank line included, that may go on.
// Where announced is not nil, it has to know the name, too.
func appendTrailers(out, lines []byte, fields []field, announced func(name []byte) bool) ([]byte, error) {
	fields, err := scan(fields[:0], lines, 0, true)
	if err != nil {
		return out, err
	}
	for i := range fields {
		f := &fields[i]
		name := lines[f.name:f.colon]
		if !mayStandBehind(name) || announced != nil && !announced(name) {
			continue
		}
		out = append(out, name...)
		out = append(out, ": "...)
		out = append(out, lines[f.value:f.end]...)
		out = append(out, "\r\n"...)
	}
	return out, nil
}

// trailerLine takes a line behind the last chunk of an answer, the blank one too.
func (x *exchange) trailerLine(line []byte) error {
	if x.trailed += len(line) + 2; x.trailed > maxHead {
		return fmt.Errorf("%w: trailers longer than %d bytes", ErrBroken, maxHead)
	}
	if x.trails {
		x.behind = append(append(x.behind, line...), "\r\n"...)
	}
	return nil
}

// appendLast appends the end of a chunked answer, trailers included.
func (x *exchange) appendLast(out []byte) ([]byte, error) {
	out = append(out, "0\r\n"...)
	if len(x.behind) > 0 {
		var err error
		if out, err = appendTrailers(out, x.behind, x.fields, nil); err != nil {
			return nil, fmt.Errorf("%w: trailers: %w", ErrBroken, err)
		}
	}
	return append(out, "\r\n"...), nil
}

// announced is the request's Trailer, where it has a body that such fields may
// stand behind.
func (m *message) announced(list, raw []byte, length int) []byte {
	if length != lengthChunked {
		return list
	}
	for i := range m.fields {
		if f := &m.fields[i]; f.kind == trailer {
			list = append(append(list, raw[f.value:f.end]...), ',')
		}
	}
	return list
}

// trailersUp is the end of a chunked request with the trailers that it announced,
// nil when there are none.
func (x *exchange) trailersUp() []byte {
	list := x.up.announced
	v := strictOf(x.client)
	if len(list) == 0 || v == nil || len(v.chunks.trailers) <= len("\r\n") {
		return nil
	}
	out, err := appendTrailers([]byte("0\r\n"), v.chunks.trailers, nil, func(name []byte) bool {
		return !each(list, func(element []byte) bool { return !bytes.EqualFold(element, name) })
	})
	if err != nil {
		panic("BUG: trailers that the strict reading took: " + err.Error())
	}
	return append(out, "\r\n"...)
}
