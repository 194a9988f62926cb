package proxy

import (
	"bytes"
	"encoding/binary"
	"errors"
)

// kind is what a header field means to the proxy.
type kind uint8

const (
	plain      kind = iota // copied as it stands
	hop                    // of this hop only: dropped
	connection             // dropped, and so is what it names
	te
	trailer
	upgrade
	http2 // HTTP2-Settings, of an upgrade that is not taken part in
	length
	encoding // Transfer-Encoding
	host
	cookie
	setCookie
	expect
	session      // Sluice-Session
	ours         // any other name that begins with sluice
	forwardedFor // X-Forwarded-For
	forwardedHost
	forwardedPort
	forwarded // anything else that tells an address or scheme
	requestID // X-Request-Id
	traceParent
	traceState
	elsewhere // names another path or host than the request line and Host: dropped
	cacheControl
	targeted // CDN-Cache-Control and its like
	contentType
	date
)

// field is one line of a header: offsets into the header's bytes.
type field struct {
	name, colon int // the name is [name:colon]
	value, end  int // the value without surrounding blanks is [value:end]
	kind        kind
}

var (
	errLine     = errors.New("line without an end, a colon or a name")
	errFold     = errors.New("folded line")
	errBareLF   = errors.New("line ends without CR")
	errName     = errors.New("name with a character that no name has")
	errValue    = errors.New("value with a control character")
	errTooManyF = errors.New("too many fields")
)

const maxFields = 512

// token and text tell the bytes of names and values (RFC 9110, 5.1 and 5.5).
// text takes bytes above 127, as they are of no consequence to framing.
var token, text [256]bool

func init() {
	for c := 'a'; c <= 'z'; c++ {
		token[c], token[c-0x20] = true, true
	}
	for c := '0'; c <= '9'; c++ {
		token[c] = true
	}
	for _, c := range "!#$%&'*+-.^_`|~" {
		token[c] = true
	}
	for c := 0x20; c < 256; c++ {
		text[c] = c != 0x7f
	}
	text['\t'] = true
}

// scan splits the field lines of b, which ends after the blank line. With
// strict every line must end in CRLF, as a visitor's must; origins may leave
// the CR out. Folded lines are refused from both.
func scan(fields []field, b []byte, from int, strict bool) ([]field, error) {
	for at := from; ; {
		i := bytes.IndexByte(b[at:], '\n')
		if i < 0 {
			return fields, errLine
		}
		f, err := scanLine(b, at, at+i, strict)
		if err != nil {
			return fields, err
		}
		at += i + 1
		if f.name == f.colon {
			if at != len(b) {
				return fields, errLine
			}
			return fields, nil
		}
		if len(fields) == maxFields {
			return fields, errTooManyF
		}
		fields = append(fields, f)
	}
}

// scanLine takes the line apart that begins at at and whose LF is at lf. A field
// without a name is the blank line.
func scanLine(b []byte, at, lf int, strict bool) (field, error) {
	end := lf
	switch {
	case end > at && b[end-1] == '\r':
		end--
	case strict:
		return field{}, errBareLF
	}
	if end == at {
		return field{name: at, colon: at}, nil
	}
	if b[at] == ' ' || b[at] == '\t' {
		return field{}, errFold
	}
	colon := at
	for colon < end && token[b[colon]] {
		colon++
	}
	if colon == end || colon == at && b[colon] == ':' {
		return field{}, errLine
	}
	if b[colon] != ':' {
		return field{}, errName
	}
	f := field{name: at, colon: colon, value: colon + 1, end: end}
	for f.value < f.end && (b[f.value] == ' ' || b[f.value] == '\t') {
		f.value++
	}
	for f.end > f.value && (b[f.end-1] == ' ' || b[f.end-1] == '\t') {
		f.end--
	}
	if !isText(b[f.value:f.end]) {
		return field{}, errValue
	}
	f.kind = kindOf(b[at:colon])
	return f, nil
}

// isText reports whether b has no control character but tabs. Eight bytes are
// looked at together: none below 0x20 and none 0x7f. The subtractions may raise
// a false alarm behind a true one only, and then every byte is looked at.
func isText(b []byte) bool {
	const ones, high = 0x0101010101010101, 0x8080808080808080
	for len(b) >= 8 {
		w := binary.LittleEndian.Uint64(b)
		del := w ^ 0x7f*ones
		if ((w-0x20*ones)&^w|(del-ones)&^del)&high != 0 {
			for _, c := range b[:8] {
				if !text[c] {
					return false
				}
			}
		}
		b = b[8:]
	}
	for _, c := range b {
		if !text[c] {
			return false
		}
	}
	return true
}

// is reports whether name is lower, which is written in lower case, in any
// case. Names hold token characters only, so setting one bit is enough.
func is(name []byte, lower string) bool {
	if len(name) != len(lower) {
		return false
	}
	for i := range lower {
		if name[i]|0x20 != lower[i] {
			return false
		}
	}
	return true
}

// like is is, with _ for -: programs behind CGI and WSGI cannot tell them apart.
func like(name []byte, lower string) bool {
	if len(name) != len(lower) {
		return false
	}
	for i := range lower {
		c := name[i] | 0x20
		if name[i] == '_' {
			c = '-'
		}
		if c != lower[i] {
			return false
		}
	}
	return true
}

func kindOf(name []byte) kind {
	switch name[0] | 0x20 {
	case 'c':
		switch len(name) {
		case 6:
			if is(name, "cookie") {
				return cookie
			}
		case 9:
			if like(name, "client-ip") {
				return forwarded
			}
		case 10:
			if is(name, "connection") {
				return connection
			}
		case 12:
			if is(name, "content-type") {
				return contentType
			}
		case 13:
			if is(name, "cache-control") {
				return cacheControl
			}
		case 14:
			if is(name, "content-length") {
				return length
			}
			if like(name, "content-length") {
				return hop // Content_Length: a second length to a CGI program
			}
		case 16:
			if like(name, "cf-connecting-ip") {
				return forwarded
			}
		case 18:
			if like(name, "cf-connecting-ipv6") {
				return forwarded
			}
		}
	case 'd':
		if is(name, "date") {
			return date
		}
	case 'e':
		if is(name, "expect") {
			return expect
		}
		if is(name, "edge-control") {
			return targeted
		}
	case 'f':
		switch len(name) {
		case 9:
			if is(name, "forwarded") {
				return forwarded
			}
		case 13:
			if like(name, "fly-client-ip") {
				return forwarded
			}
		case 16:
			if like(name, "fastly-client-ip") {
				return forwarded
			}
		}
	case 'h':
		if is(name, "host") {
			return host
		}
		if is(name, "http2-settings") {
			return http2
		}
	case 'k':
		if is(name, "keep-alive") {
			return hop
		}
	case 'p':
		if is(name, "proxy") {
			return hop // CGI programs take HTTP_PROXY for their own setting
		}
		if len(name) >= 16 && (is(name, "proxy-connection") || is(name, "proxy-authenticate") || is(name, "proxy-authorization")) {
			return hop
		}
	case 's':
		if len(name) >= 6 && is(name[:6], "sluice") && (len(name) == 6 || name[6] == '-' || name[6] == '_') {
			if is(name, "sluice-session") {
				return session
			}
			return ours
		}
		if is(name, "set-cookie") {
			return setCookie
		}
	case 't':
		switch len(name) {
		case 2:
			if is(name, "te") {
				return te
			}
		case 7:
			if is(name, "trailer") {
				return trailer
			}
		case 10:
			if is(name, "tracestate") {
				return traceState
			}
		case 11:
			if is(name, "traceparent") {
				return traceParent
			}
		case 14:
			if like(name, "true-client-ip") {
				return forwarded
			}
		case 17:
			if is(name, "transfer-encoding") {
				return encoding
			}
			if like(name, "transfer-encoding") {
				return hop
			}
		}
	case 'u':
		if is(name, "upgrade") {
			return upgrade
		}
	case 'x':
		if len(name) >= 11 && like(name[:11], "x-forwarded") {
			if is(name, "x-forwarded-for") {
				return forwardedFor
			}
			if is(name, "x-forwarded-host") {
				return forwardedHost
			}
			if is(name, "x-forwarded-port") {
				return forwardedPort
			}
			return forwarded
		}
		switch len(name) {
		case 6:
			if like(name, "x-host") {
				return elsewhere
			}
		case 9:
			if like(name, "x-real-ip") {
				return forwarded
			}
		case 11:
			if like(name, "x-client-ip") {
				return forwarded
			}
		case 12:
			if like(name, "x-request-id") {
				return requestID
			}
		case 13:
			if like(name, "x-rewrite-url") || like(name, "x-rewrite-uri") {
				return elsewhere
			}
		case 14:
			if like(name, "x-original-url") || like(name, "x-original-uri") || like(name, "x-override-url") {
				return elsewhere
			}
		case 15:
			if like(name, "x-original-host") {
				return forwarded
			}
			if is(name, "x-accel-expires") {
				return targeted
			}
		case 19:
			if like(name, "x-cluster-client-ip") {
				return forwarded
			}
		case 20:
			if like(name, "x-http-host-override") {
				return elsewhere
			}
		case 24:
			if like(name, "x-original-forwarded-for") {
				return forwarded
			}
			if like(name, "x-envoy-external-address") {
				return forwarded
			}
		}
	}
	if len(name) > 14 && is(name[len(name)-14:], "-cache-control") || is(name, "surrogate-control") {
		return targeted
	}
	return plain
}

// each calls f for every element of a comma-separated list until f answers false.
func each(list []byte, f func(element []byte) bool) bool {
	for len(list) > 0 {
		element := list
		if i := bytes.IndexByte(list, ','); i >= 0 {
			element, list = list[:i], list[i+1:]
		} else {
			list = nil
		}
		element = trim(element)
		if len(element) > 0 && !f(element) {
			return false
		}
	}
	return true
}

func trim(b []byte) []byte {
	for len(b) > 0 && (b[0] == ' ' || b[0] == '\t') {
		b = b[1:]
	}
	for len(b) > 0 && (b[len(b)-1] == ' ' || b[len(b)-1] == '\t') {
		b = b[:len(b)-1]
	}
	return b
}

// EqualFold compares ASCII with a word in lower case, without case.
func EqualFold(b []byte, lower string) bool {
	if len(b) != len(lower) {
		return false
	}
	for i := range lower {
		c := b[i]
		if 'A' <= c && c <= 'Z' {
			c |= 0x20
		}
		if c != lower[i] {
			return false
		}
	}
	return true
}

// has reports whether list holds the element lower, in any case.
func has(list []byte, lower string) bool {
	return !each(list, func(element []byte) bool { return !EqualFold(element, lower) })
}

// options is what a message's Connection fields say.
type options struct {
	close, keepAlive, upgrade bool
	names                     bool // names fields, too, which have to go
}

func (o *options) read(value []byte) {
	each(value, func(element []byte) bool {
		switch {
		case EqualFold(element, "close"):
			o.close = true
		case EqualFold(element, "keep-alive"):
			o.keepAlive = true
		case EqualFold(element, "upgrade"):
			o.upgrade = true
		default:
			o.names = true
		}
		return true
	})
}

// removes reports whether one of the Connection fields of b names name, so that it
// is for this hop only. Fields that no hop has for itself stay whatever is named
// (RFC 9110, 7.6.1): who could take the cookies, the length or what is forbidden to
// caches out of somebody else's message would change what it says.
func removes(fields []field, b, name []byte) bool {
	if isEndToEnd(name) {
		return false
	}
	for i := range fields {
		f := &fields[i]
		if f.kind == connection && !each(b[f.value:f.end], func(element []byte) bool { return !bytes.EqualFold(element, name) }) {
			return true
		}
	}
	return false
}

// endToEnd are such fields, beside those that begin with Content- and Sec-.
var endToEnd = []string{
	"host", "cookie", "authorization", "origin", "referer", "traceparent", "tracestate", "x-requested-with",
	"set-cookie", "cache-control", "vary", "location", "www-authenticate", "strict-transport-security", "x-frame-options",
}

func isEndToEnd(name []byte) bool {
	if len(name) > 8 && is(name[:8], "content-") || len(name) > 4 && is(name[:4], "sec-") {
		return true
	}
	switch kindOf(name) {
	case forwardedFor, forwardedHost, forwardedPort, forwarded, targeted:
		return true
	}
	for _, lower := range endToEnd {
		if is(name, lower) {
			return true
		}
	}
	return false
}
