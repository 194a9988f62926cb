package proxy

import (
	"bytes"
	"errors"
	"net/netip"

	"github.com/valyala/fasthttp"
)

// What a request line and a header must be like to mean one thing only (RFC 9112).

// refusal is why a request is refused. It wraps ErrRequest.
type refusal string

func (r refusal) Error() string { return ErrRequest.Error() + ": " + string(r) }
func (r refusal) Unwrap() error { return ErrRequest }

// Reason is what is wrong with a request that was refused, for whoever sent it, ""
// where err says nothing of that kind. It holds nothing that the visitor sent.
func Reason(err error) string {
	var r refusal
	errors.As(err, &r)
	return string(r)
}

// Refused is the Reason for which the server read nonsense in place of a request,
// "" when it is to blame itself.
func Refused(ctx *fasthttp.RequestCtx) string {
	if v := strictOf(ctx.Conn()); v != nil && v.refused != nil {
		return Reason(v.refused)
	}
	return ""
}

// Overlong reports whether the server was given no request because the header is
// longer than its buffer or has too many fields. Lines are what came of it: the
// request line, empty where not even that fits, and fields.
func Overlong(ctx *fasthttp.RequestCtx) (line, fields []byte, over bool) {
	v := strictOf(ctx.Conn())
	if v == nil || v.refused != errHeadLong && v.refused != errFields {
		return nil, nil, false
	}
	line, fields, _ = bytes.Cut(v.over, []byte("\r\n"))
	return line, fields, true
}

const (
	errMethod    = refusal("method")
	errConnect   = refusal("method CONNECT")
	errVersion   = refusal("neither HTTP/1.1 nor HTTP/1.0")
	errLineEnd   = refusal("request line does not end in CRLF")
	errNoTarget  = refusal("request line without a target")
	errForm      = refusal("target is neither a path nor an http address")
	errTarget    = refusal("target with a character that no target has")
	errEscape    = refusal("target with a percent sign that begins no escape")
	errAuthority = refusal("target names another host than Host")
	errNoHost    = refusal("no Host")
	errHosts     = refusal("more than one Host")
	errHost      = refusal("Host is neither a name nor an address, with or without a port")
	errLength    = refusal("Content-Length is no number")
	errCodings   = refusal("Transfer-Encoding is not chunked")
	errTwoSizes  = refusal("more than one Content-Length or Transfer-Encoding")
	errOldCoding = refusal("Transfer-Encoding with HTTP/1.0")
	errHTTP2     = refusal("upgrade to HTTP/2")
	errFields    = refusal("too many fields")
	errTwoWays   = refusal("the header can be read in two ways")
)

// Lengths of bodies that are no numbers.
const (
	lengthChunked = -1
	lengthNone    = -2 // nothing says that there is one
)

// meaning is what the fields say about where the request ends and whom it is for.
type meaning struct {
	http10 bool
	length int
	sizes  int // fields that tell it
	hosts  int
	host   []byte

	expects bool // 100-continue
	unknown bool // expects something else
}

// take looks at a field.
func (m *meaning) take(k kind, value []byte) error {
	switch k {
	case host:
		if m.hosts++; m.hosts > 1 {
			return errHosts
		}
		if !isHost(value) {
			return errHost
		}
		m.host = value
	case length:
		n, ok := number(value)
		if !ok {
			return errLength
		}
		m.sizes++
		m.length = n
	case encoding:
		if !EqualFold(value, "chunked") {
			return errCodings
		}
		m.sizes++
		m.length = lengthChunked
	case expect:
		if !m.http10 { // which knows nothing of the kind
			m.expects = true
			m.unknown = m.unknown || !EqualFold(value, "100-continue")
		}
	case upgrade:
		if has(value, "h2c") {
			return errHTTP2
		}
	case http2:
		return errHTTP2
	}
	return nil
}

// check looks at what the fields say together.
func (m *meaning) check() error {
	switch {
	case m.sizes > 1:
		return errTwoSizes // the same twice, too: who takes the first, who the last?
	case m.length == lengthChunked && m.http10:
		return errOldCoding
	case m.hosts == 0 && !m.http10:
		return errNoHost
	}
	return nil
}

// expectation is nil where nothing is expected that nobody knows.
func (m *meaning) expectation() error {
	if m.unknown {
		return ErrExpectation
	}
	return nil
}

// requestHead reads a header as it comes, line by line: what is wrong with a line
// is known before the next one is there.
type requestHead struct {
	at        int     // the first line that was not read yet
	lines     []field // offsets from where they begin, first
	first     int
	method    int // its end
	authority int // the end of http://host:port at the front of the target, 0: there is none
	target    int // its end
	options   bool
	meaning
}

// read goes on with b, which holds the header from its beginning. Done says that
// the blank line was read; at is behind it.
func (h *requestHead) read(b []byte) (done bool, err error) {
	if h.at == 0 && !token[b[0]] {
		return false, errMethod // whatever it is, it need not be waited for
	}
	for {
		i := bytes.IndexByte(b[h.at:], '\n')
		if i < 0 {
			return false, nil
		}
		end := h.at + i
		if h.at == 0 {
			if err := h.requestLine(b[:end]); err != nil {
				return false, err
			}
			h.at = end + 1
			h.first = h.at
			continue
		}
		f, err := scanLine(b, h.at, end, true)
		if err != nil {
			return false, refusal(err.Error())
		}
		h.at = end + 1
		if f.name == f.colon { // the blank line
			if h.authority > 0 && !h.agree(b) {
				return false, errAuthority
			}
			h.host = nil // b is not ours to keep
			return true, h.check()
		}
		if len(h.lines) == maxFields {
			return false, errFields
		}
		// b may be read again with more in it, but stands where it stood.
		if err := h.take(f.kind, b[f.value:f.end]); err != nil {
			return false, err
		}
		h.lines = append(h.lines, field{f.name - h.first, f.colon - h.first, f.value - h.first, f.end - h.first, f.kind})
	}
}

// requestLine reads a request line without its LF.
func (h *requestHead) requestLine(line []byte) error {
	n := len(line) - 1
	if n < 0 || line[n] != '\r' {
		return errLineEnd
	}
	line = line[:n]
	for h.method < len(line) && token[line[h.method]] {
		h.method++
	}
	if h.method == 0 || h.method == len(line) || line[h.method] != ' ' {
		return errMethod
	}
	h.target = h.method + 1 + bytes.IndexByte(line[h.method+1:], ' ')
	if h.target == h.method {
		return errVersion // HTTP/0.9 has none
	}
	target := line[h.method+1 : h.target]
	if len(target) == 0 {
		return errNoTarget
	}
	switch string(line[h.target+1:]) {
	case "HTTP/1.1":
	case "HTTP/1.0":
		h.http10 = true
	default:
		return errVersion
	}
	method := line[:h.method]
	h.options = string(method) == "OPTIONS"
	if string(method) == "CONNECT" {
		return errConnect
	}
	if target[0] != '/' && !(h.options && string(target) == "*") {
		n := authorityEnd(target)
		if n == 0 {
			return errForm
		}
		h.authority = h.method + 1 + n
		target = target[n:]
	}
	return checkTarget(target)
}

// checkTarget refuses what no path and query may hold. What they mean is looked at
// where a room is found for them.
func checkTarget(target []byte) error {
	query := false
	for i, c := range target {
		switch {
		case c <= ' ' || c == 0x7f || c == '#':
			return errTarget // a fragment is never sent; some cut it off
		case c == '?':
			query = true
		case c == '%' && !query && (len(target)-i < 3 || unhex(target[i+1]) < 0 || unhex(target[i+2]) < 0):
			return errEscape
		}
	}
	return nil
}

// authorityEnd finds the end of "http://host:port" at the front of target; 0 says
// that there is none.
func authorityEnd(target []byte) int {
	n := 0
	for _, scheme := range [...]string{"http://", "https://"} {
		if len(target) > len(scheme) && EqualFold(target[:len(scheme)], scheme) {
			n = len(scheme)
		}
	}
	if n == 0 {
		return 0
	}
	end := n
	for end < len(target) && target[end] != '/' && target[end] != '?' {
		end++
	}
	if end == n {
		return 0
	}
	return end
}

// agree reports whether an absolute target names the host that Host names. It is
// called with the whole header.
func (h *requestHead) agree(b []byte) bool {
	target := b[h.method+1 : h.authority]
	_, authority, _ := bytes.Cut(target, []byte("//"))
	return h.hosts == 1 && bytes.EqualFold(authority, h.host)
}

// toOriginForm takes "http://host" out of the request line (RFC 9112, 3.2.2) and
// tells by how much the header became shorter.
func (h *requestHead) toOriginForm(b []byte) (saved int) {
	from := h.authority
	if from == h.target || b[from] == '?' {
		from-- // an empty path
		b[from] = '/'
		if h.options && h.authority == h.target {
			b[from] = '*' // RFC 9112, 3.2.4
		}
	}
	saved = from - (h.method + 1)
	copy(b[h.method+1:], b[from:])
	h.at -= saved
	h.target -= saved
	h.authority = 0
	return saved
}

// isHost takes a name or an address with or without a port: no user, no path, no
// blanks, nothing encoded, no empty label or port.
func isHost(b []byte) bool {
	name, port := b, []byte("80")
	if len(b) > 0 && b[0] == '[' {
		end := bytes.IndexByte(b, ']')
		if end < 0 {
			return false
		}
		a, err := netip.ParseAddr(string(b[1:end]))
		if err != nil || !a.Is6() || a.Zone() != "" {
			return false
		}
		if rest := b[end+1:]; len(rest) > 0 {
			return rest[0] == ':' && isPort(rest[1:])
		}
		return true
	}
	if i := bytes.IndexByte(b, ':'); i >= 0 {
		name, port = b[:i], b[i+1:]
	}
	label := 0
	for i, c := range name {
		switch {
		case 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '-' || c == '_':
			label++
		case c == '.' && label > 0:
			label = 0
		default:
			return false
		}
		if i > maxHost {
			return false
		}
	}
	return len(name) > 0 && isPort(port)
}

const maxHost = 254 // of a name, with a dot at its end
