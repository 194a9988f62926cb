package route

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// newPrefix checks a path of the configuration.
func newPrefix(path string, ignoreCase bool) (*prefix, error) {
	bad := func(format string, args ...any) error {
		return fmt.Errorf("path %q "+format, append([]any{path}, args...)...)
	}
	p := &prefix{ignoreCase: ignoreCase}
	if path == "" || path == "/" {
		return p, nil
	}
	if path[0] != '/' {
		return nil, bad("must start with a slash")
	}
	if !utf8.ValidString(path) {
		return nil, bad("is not UTF-8")
	}
	for _, c := range path {
		switch {
		case c == '%':
			return nil, bad("has a percent sign: write it decoded")
		case c == '?':
			return nil, bad("has a query, which does not take part")
		case c == '*':
			return nil, bad("has a star: a path is a prefix by itself")
		case strings.ContainsRune(`#;\`, c) || unicode.IsControl(c) || c == utf8.RuneError:
			return nil, bad("has the character %q, which origins read in different ways", c)
		}
	}
	p.path = strings.TrimSuffix(path, "/")
	segments := strings.Split(p.path[1:], "/")
	for _, s := range segments {
		switch {
		case s == "":
			return nil, bad("has an empty segment")
		case s == "." || s == "..":
			return nil, bad("has a dot segment")
		case strings.HasSuffix(s, ".") || strings.TrimSpace(s) != s:
			return nil, bad("has the segment %q: some origins drop a dot or space at its border", s)
		}
	}
	if len(p.path) > 1024 {
		return nil, bad("is too long")
	}
	buf := make([]byte, 2*long)
	sk := skeletonOf([]byte(p.path), buf[:long], buf[long:], false, false)
	text := strings.ReplaceAll(string(sk.b), string(rune(gone)), "")
	if sk.loose || sk.cut || sk.params || strings.Count(text, "/") != len(segments) || strings.Contains(text, string(rune(stop))) {
		return nil, bad("has a character that origins read in different ways")
	}
	p.segments = strings.Split(text[1:], "/")
	for i, s := range p.segments {
		p.segments[i] = strings.TrimRight(s, ". ")
		if p.segments[i] == "" {
			return nil, errors.New("has a segment of characters that nobody sees")
		}
	}
	p.skeleton = "/" + strings.Join(p.segments, "/")
	for _, c := range p.path {
		p.lower = append(p.lower, unicode.ToLower(c))
	}
	return p, nil
}

// plain tells whether a path lies under the prefix when it is percent-decoded
// once, and whether characters were encoded that no client needs to encode.
func (p *prefix) plain(path []byte) (under, needless bool) {
	if p.ignoreCase {
		return p.plainFold(path)
	}
	i := 0
	for j := range len(p.path) {
		if i >= len(path) {
			return false, false
		}
		c, n := decodeOne(path[i:])
		if c != p.path[j] || n > 1 && c == '/' {
			return false, false
		}
		needless = needless || n > 1 && unreserved(c)
		i += n
	}
	return i == len(path) || path[i] == '/', needless
}

func (p *prefix) plainFold(path []byte) (under, needless bool) {
	i := 0
	for _, want := range p.lower {
		var r [utf8.UTFMax]byte
		k := 0
		for k < len(r) && i < len(path) && (k == 0 || !utf8.FullRune(r[:k])) {
			c, n := decodeOne(path[i:])
			if n > 1 && c == '/' {
				return false, false
			}
			needless = needless || n > 1 && unreserved(c)
			r[k] = c
			i += n
			k++
		}
		if got, n := utf8.DecodeRune(r[:k]); k == 0 || n != k || unicode.ToLower(got) != want {
			return false, false
		}
	}
	return i == len(path) || path[i] == '/', needless
}

// decodeOne takes a byte, or %XX, off the front.
func decodeOne(b []byte) (c byte, n int) {
	if b[0] == '%' && len(b) > 2 && isHex(b[1]) && isHex(b[2]) {
		return unhex(b[1])<<4 | unhex(b[2]), 3
	}
	return b[0], 1
}

func unreserved(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-' || c == '.' || c == '_' || c == '~'
}

func isHex(c byte) bool { return hexValue[c] != 0 }
func unhex(c byte) byte { return hexValue[c] - 1 }

// hexValue is a digit's value and one, or zero.
var hexValue = func() (v [256]byte) {
	for i, c := range []byte("0123456789abcdef") {
		v[c] = byte(i + 1)
		v[bytes.ToUpper([]byte{c})[0]] = byte(i + 1)
	}
	return
}()

// forbidden tells whether a path holds what is refused in every room: a slash
// or backslash encoded, a backslash, a dot segment, a control byte, a space.
func forbidden(path []byte) bool {
	dots, only := 0, true // of the segment so far
	for i := 0; i < len(path); {
		c, n := decodeOne(path[i:])
		switch {
		case c == '/' && n == 1:
			if only && (dots == 1 || dots == 2) {
				return true
			}
			dots, only = 0, true
		case c == '/', c == '\\', c < ' ', c == 0x7f, c == ' ' && n == 1:
			return true
		case c == '.':
			dots++
		default:
			only = false
		}
		i += n
	}
	return only && (dots == 1 || dots == 2)
}

// Marks in a skeleton. No path of a room can hold them.
const (
	stop = 0x01 // some origins skip it, some end the path there
	gone = 0x02 // some origins skip it
)

// vague is what may be left of a segment that is nothing, or dots.
const vague = ". %\x01\x02"

// skeleton is what all readings of a path have in common; see the package doc.
type skeleton struct {
	b      []byte // "/a/b", no empty segments
	climbs bool   // something in it may be "..": readings may leave any segment
	loose  bool   // any subsequence of the segments may be a reading
	params bool   // a parameter was dropped
	doubt  bool   // there is overlong UTF-8
	cut    bool   // it did not fit: anything may be a reading
}

// skeletonOf boils a path down, as it is on the wire or in a configuration. The
// result lies in b; a is used on the way. Overlong UTF-8 is decoded, or skipped
// as strict decoders may: whether there is any is in doubt.
func skeletonOf(path, a, b []byte, wire, strict bool) skeleton {
	if len(path) > len(a) {
		return skeleton{cut: true}
	}
	w := writer{strict: strict, cut: wire && mixed(path)}
	w.reset()
	w.path(b, decodeAll(a[:0], path, wire))
	for round := 0; w.again && !w.cut; round++ {
		// A look-alike of the percent sign: what it encodes comes to light in
		// another round, where the first one's borders are no longer known.
		if round == 3 {
			w.cut = true
			break
		}
		src := decodeAll(a[:0], b[:w.n], false)
		w.reset()
		w.loose = true
		w.path(b, src)
	}
	return skeleton{b[:w.n], w.climbs, w.loose || w.climbs, w.params, w.doubt, w.cut || w.segments > maxSegments && (w.loose || w.climbs)}
}

// maxSegments bounds the work on paths that may climb.
const maxSegments = 64

// under tells whether any reading may lie under the segments.
func (s *skeleton) under(segments []string) bool {
	if s.cut {
		return true
	}
	rest := s.b
	for _, want := range segments {
		for {
			if len(rest) == 0 {
				return false
			}
			rest = rest[1:]
			end := bytes.IndexByte(rest, '/')
			if end < 0 {
				end = len(rest)
			}
			same := sameSegment(rest[:end], want)
			rest = rest[end:]
			if same {
				break
			}
			if !s.loose {
				return false
			}
		}
	}
	return true
}

// sameSegment tells whether a segment may be read as one of a room's path. What
// room paths cannot hold is skipped; a stop may also be a space or the end.
func sameSegment(got []byte, want string) bool {
	i := 0      // of want
	spared := 0 // stops since the last character, any of which may be a space
	for _, c := range got {
		switch {
		case c == gone || c == '%':
		case c == stop:
			if i == len(want) {
				return true
			}
			spared++
		case i == len(want) && (c == '.' || c == ' '): // dropped at the end
		default:
			for i < len(want) && want[i] == ' ' && c != ' ' && spared > 0 {
				i++
				spared--
			}
			if i == len(want) || want[i] != c {
				return false
			}
			i++
			if c != ' ' {
				spared = 0
			}
		}
	}
	return i == len(want)
}

// decodeAll percent-decodes until nothing is left to decode: %252e is a dot. A
// decoded slash becomes a backslash, for not everybody takes it for a border,
// and a raw space a stop, for it may end the request line's target.
func decodeAll(dst, src []byte, wire bool) []byte {
	last := -6 // percent sign in dst
	for _, c := range src {
		switch {
		case c == '%':
			last = len(dst)
		case c == ' ' && wire:
			c = stop
		}
		dst = append(dst, c)
		for n := len(dst); n-last <= 6 && isHex(dst[n-1]); n = len(dst) {
			var r rune
			switch {
			case last == n-3 && isHex(dst[n-2]):
				r = rune(unhex(dst[n-2]))<<4 | rune(unhex(dst[n-1]))
				if r == '/' {
					r = '\\'
				}
				dst = append(dst[:last], byte(r))
			case last == n-6 && dst[n-5]|0x20 == 'u' && isHex(dst[n-4]) && isHex(dst[n-3]) && isHex(dst[n-2]):
				r = rune(unhex(dst[n-4]))<<12 | rune(unhex(dst[n-3]))<<8 | rune(unhex(dst[n-2]))<<4 | rune(unhex(dst[n-1]))
				if r == '/' {
					r = '\\'
				}
				dst = utf8.AppendRune(dst[:last], r)
			default:
				r = -1
			}
			if r < 0 {
				break
			}
			if r != '%' { // what was decoded may end another encoding
				last = bytes.LastIndexByte(dst[max(len(dst)-6, 0):], '%')
				if last >= 0 {
					last += max(len(dst)-6, 0)
				} else {
					last = -6
				}
			}
		}
	}
	return dst
}

// writer makes a skeleton of decoded bytes. What it writes to is handed to
// every method: kept in a field it would move to the heap.
type writer struct {
	n        int // bytes written
	start    int // of the current segment
	dots     int // in the current segment
	lead     int // borders before the first segment
	segments int
	only     bool // the current segment is dots, spaces and marks so far
	open     bool // the current segment has begun
	param    bool // after a ';'
	params   bool // there was one
	percent  bool // a parameter has a percent sign
	again    bool
	strict   bool
	doubt    bool
	climbs   bool
	loose    bool
	cut      bool
}

func (w *writer) reset() {
	*w = writer{only: true, strict: w.strict, doubt: w.doubt, climbs: w.climbs, loose: w.loose, params: w.params, cut: w.cut}
}

func (w *writer) path(out, src []byte) {
	var before, is int // 1: no character, 2: something that may be skipped
	for i := 0; i < len(src) && !w.cut; before = is {
		is = 0
		c := src[i]
		if c < utf8.RuneSelf {
			if kind[c] == plain && w.open && !w.param && w.n < len(out) {
				out[w.n] = lower[c]
				w.n++
				w.only = false
			} else {
				w.ascii(out, c)
				if c < ' ' || c == 0x7f {
					is = 2
				}
			}
			i++
		} else {
			r, n := decodeLenient(src[i:])
			i += n
			switch {
			case r < 0:
				is = 1
				w.skip(out)
			case n != utf8.RuneLen(r) && w.strict:
				is = 1
				w.skip(out)
			case r < utf8.RuneSelf:
				w.doubt = true
				if r == '/' {
					r = '\\'
				}
				w.folded(out, byte(r))
			default:
				w.doubt = w.doubt || n != utf8.RuneLen(r)
				if f := fold(r); f != "" && f[0] <= gone {
					is = 2
				}
				w.rune(out, r)
			}
		}
		// Skipped from amid a character it leaves a whole one: see mixed.
		w.cut = w.cut || before+is == 3
	}
	w.border(out)
}

func (w *writer) rune(out []byte, r rune) {
	var buf [utf8.UTFMax]byte
	switch {
	case r >= hangul && r < hangulEnd: // L, V and perhaps T, as NFD has it
		r -= hangul
		w.high(out, buf[:utf8.EncodeRune(buf[:], 0x1100+r/588)])
		w.high(out, buf[:utf8.EncodeRune(buf[:], 0x1161+r%588/28)])
		if r %= 28; r > 0 {
			w.high(out, buf[:utf8.EncodeRune(buf[:], 0x11a7+r)])
		}
	default:
		folded := fold(r)
		if folded == "" {
			w.high(out, buf[:utf8.EncodeRune(buf[:], r)])
			return
		}
		for i := range len(folded) {
			if c := folded[i]; c == gone {
				w.skip(out)
			} else if c < utf8.RuneSelf {
				w.folded(out, c)
			} else {
				w.put(out, c)
			}
		}
	}
}

// folded is ascii for a byte that was none before: it may be part of an
// encoding that nobody could see yet.
func (w *writer) folded(out []byte, c byte) {
	w.cut = w.cut || w.param && (w.percent || c == '%') // its borders are lost
	w.again = w.again || c == '%' || bytes.IndexByte(out[max(w.start, w.n-5):w.n], '%') >= 0
	w.ascii(out, c)
}

func (w *writer) high(out, b []byte) {
	for _, c := range b {
		w.put(out, c)
	}
}

func (w *writer) ascii(out []byte, c byte) {
	switch {
	case c == '/':
		w.border(out)
	case c == '\\' || c == '#' || c == '?':
		// A border to some, the path's end to some, and part of a parameter's
		// value to others, which then goes on.
		w.loose = w.loose || w.param
		w.border(out)
	case w.param:
		w.percent = w.percent || c == '%'
		w.cut = w.cut || w.percent && (c < ' ' || c == 0x7f) // see broken
	case c == ';':
		w.param, w.params = true, true
	case c == '$' && w.stream(out):
		w.only = len(bytes.Trim(out[w.start+1:w.n], vague)) == 0
		w.param, w.params = true, true
	case c == ' ' || c == '+':
		if !w.only || w.dots > 0 {
			w.put(out, ' ')
		}
	case c < ' ' || c == 0x7f:
		w.climbs = w.climbs || w.only && w.dots > 1
		w.put(out, stop)
	default:
		w.put(out, lower[c])
	}
}

// skip marks what is skipped by some.
func (w *writer) skip(out []byte) {
	w.cut = w.cut || w.param && w.percent // see broken
	w.put(out, gone)
}

// stream takes "::" off the segment: after it, '$' names an NTFS stream of the
// same file.
func (w *writer) stream(out []byte) bool {
	colons := 0
	for i := w.n - 1; i > w.start; i-- {
		switch out[i] {
		case stop, gone, '%':
		case ':':
			if colons++; colons == 2 {
				w.n = i
				return true
			}
		default:
			return false
		}
	}
	return false
}

// put adds to the current segment.
func (w *writer) put(out []byte, c byte) {
	if w.param {
		return
	}
	if w.n+2 > len(out) {
		w.cut = true
		return
	}
	if !w.open {
		w.open = true
		out[w.n] = '/'
		w.n++
	}
	switch c {
	case '.':
		w.dots++
	case ' ', stop, gone, '%':
	default:
		w.only = false
	}
	out[w.n] = c
	w.n++
}

// border ends the current segment.
func (w *writer) border(out []byte) {
	switch {
	case w.only:
		w.climbs = w.climbs || w.dots > 1
		w.n = w.start
	default:
		w.segments++
		w.cut = w.cut || broken(out[w.start:w.n])
	}
	if w.n == 0 {
		w.lead++
		w.loose = w.loose || w.lead > 1 // "//host/path" to a URL parser
	}
	w.start, w.dots, w.only, w.open, w.param = w.n, 0, true, false, false
}

// broken tells whether marks stand within what would be an encoding without
// them: who skips first and then decodes reads something else there.
func broken(segment []byte) bool {
	for {
		i := bytes.IndexByte(segment, '%')
		if i < 0 {
			return false
		}
		segment = segment[i+1:]
		marks, digits := 0, 0
		for _, c := range segment {
			if c == stop || c == gone {
				marks++
			} else if isHex(c) || c == 'u' {
				digits++
			} else {
				break
			}
			if marks > 0 && digits > 1 {
				return true
			}
		}
	}
}

// mixed tells whether a byte that is no UTF-8 stands raw beside encoded bytes
// beyond ASCII: who skips first and then decodes reads another character there.
// No client writes half of a character this way and half of it that way.
func mixed(path []byte) bool {
	for i := 0; i < len(path); i++ {
		if path[i] < utf8.RuneSelf {
			continue
		}
		if r, n := utf8.DecodeRune(path[i:]); r != utf8.RuneError || n > 1 {
			i += n - 1
			continue
		}
		if next, ok := bytes.CutPrefix(path[i+1:], []byte("%")); ok {
			for bytes.HasPrefix(next, []byte("25")) {
				next = next[2:]
			}
			if highEscape(next) {
				return true
			}
		}
		if i >= 3 && highEscape(path[i-2:i]) {
			last := path[:i-2]
			for bytes.HasSuffix(last, []byte("25")) {
				last = last[:len(last)-2]
			}
			if bytes.HasSuffix(last, []byte("%")) {
				return true
			}
		}
	}
	return false
}

// highEscape tells whether b begins with the digits of a byte beyond ASCII.
func highEscape(b []byte) bool {
	return len(b) > 1 && isHex(b[0]) && unhex(b[0]) > 7 && isHex(b[1])
}

// decodeLenient takes a rune off the front, overlong ones too, which
// utf8.DecodeRune refuses. It is negative where there is none.
func decodeLenient(b []byte) (r rune, n int) {
	if r, n := utf8.DecodeRune(b); r != utf8.RuneError || n > 1 {
		return r, n
	}
	tail := func(i int) rune {
		if i < len(b) && b[i]&0xc0 == 0x80 {
			return rune(b[i] & 0x3f)
		}
		return -1
	}
	t1, t2, t3 := tail(1), tail(2), tail(3)
	switch c := b[0]; {
	case c == 0xc0 || c == 0xc1:
		if t1 >= 0 {
			return rune(c&1)<<6 | t1, 2
		}
	case c == 0xe0:
		if t1 >= 0 && t2 >= 0 {
			return t1<<6 | t2, 3
		}
	case c == 0xf0:
		if t1 >= 0 && t2 >= 0 && t3 >= 0 {
			return t1<<12 | t2<<6 | t3, 4
		}
	}
	return -1, 1
}
