package token

import "bytes"

// Find calls yield with the value of each cookie called name in a raw Cookie
// header (RFC 6265, section 5.4), in order, until yield returns false. Names are
// compared as they are written. It reads leniently: blanks around names and
// values are dropped, as is a pair of double quotes around a value; what is no
// pair at all is passed over. A semicolon always ends a cookie, quoted or not,
// as in browsers.
//
// value points into header. A header may hold as many cookies of one name as its
// sender likes: a caller to whom a value is costly stops after a few.
func Find(header, name []byte, yield func(value []byte) bool) {
	for len(header) > 0 {
		pair := header
		if i := bytes.IndexByte(header, ';'); i >= 0 {
			pair, header = header[:i], header[i+1:]
		} else {
			header = nil
		}
		i := bytes.IndexByte(pair, '=')
		if i < 0 || !bytes.Equal(trim(pair[:i]), name) {
			continue
		}
		value := trim(pair[i+1:])
		if n := len(value); n >= 2 && value[0] == '"' && value[n-1] == '"' {
			value = value[1 : n-1]
		}
		if !yield(value) {
			return
		}
	}
}

// trim cuts spaces and tabs off both ends.
func trim(b []byte) []byte {
	for len(b) > 0 && (b[0] == ' ' || b[0] == '\t') {
		b = b[1:]
	}
	for len(b) > 0 && (b[len(b)-1] == ' ' || b[len(b)-1] == '\t') {
		b = b[:len(b)-1]
	}
	return b
}
