package route

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
)

// hostPattern checks a host of the configuration and returns it as requests'
// hosts are compared: lower case.
func hostPattern(h string) (string, error) {
	if h == "" {
		return "", nil
	}
	bad := func(why string) error { return fmt.Errorf("host %q %s", h, why) }
	if h == "*" {
		return "", bad("is every host: leave it out")
	}
	if strings.Contains(h, "/") {
		return "", bad("must be a name only, without scheme or path")
	}
	if strings.HasPrefix(h, "[") || strings.Count(h, ":") > 1 {
		a, err := netip.ParseAddr(strings.TrimSuffix(strings.TrimPrefix(h, "["), "]"))
		if err != nil || a.Zone() != "" || !a.Is6() {
			return "", bad("is no IPv6 address, and ports do not take part")
		}
		return "[" + a.String() + "]", nil
	}
	if strings.Contains(h, ":") {
		return "", bad("has a port, which does not take part")
	}
	name := strings.TrimPrefix(h, "*.")
	if strings.Contains(name, "*") {
		return "", bad(`may have a star only as its first label, as in "*.shop.example"`)
	}
	if len(name) > maxHost {
		return "", bad("is too long")
	}
	for label := range strings.SplitSeq(name, ".") {
		if label == "" {
			return "", bad("has an empty label")
		}
	}
	for _, c := range []byte(name) {
		if c >= 0x80 {
			return "", bad("must be written in ASCII (xn--...)")
		}
		if !hostByte[c] {
			return "", bad(fmt.Sprintf("has the character %q", c))
		}
	}
	return strings.ToLower(h), nil
}

// Hosts is a set of hosts, exact ones and "*.shop.example", spelled as in a Match.
type Hosts struct{ table Table }

// NewHosts makes the set. Its error is about the first pattern that is none.
func NewHosts(patterns ...string) (*Hosts, error) {
	h := &Hosts{Table{exact: map[string]*site{}, wild: map[string]*site{}, anywhere: &site{}, hosted: &site{}}}
	for _, p := range patterns {
		host, err := hostPattern(p)
		switch {
		case err != nil:
			return nil, err
		case host == "":
			return nil, errors.New("host is empty")
		case strings.HasPrefix(host, "*."):
			h.table.wild[host[2:]] = h.table.hosted
		default:
			h.table.exact[host] = h.table.hosted
		}
	}
	return h, nil
}

// Has tells whether the raw value of a Host field names one of them, whatever its
// case, port and root dot. One that could be read in two ways does not.
func (h *Hosts) Has(host []byte) bool {
	s, odd := h.table.site(host)
	return !odd && s == h.table.hosted
}

const maxHost = 253

var hostByte = func() (ok [256]bool) {
	for _, c := range []byte("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.") {
		ok[c] = true
	}
	return
}()

// hostRank orders patterns: exact, then wildcards by length, then none.
func hostRank(pattern string) int {
	switch {
	case pattern == "":
		return 0
	case strings.HasPrefix(pattern, "*."):
		return len(pattern)
	}
	return maxHost + 100
}

// covers tells whether all of b's hosts are among a's.
func covers(a, b string) bool {
	if a == "" || a == b {
		return true
	}
	return strings.HasPrefix(a, "*.") && strings.HasSuffix(b, a[1:])
}

// site finds what applies on a host. Odd is a host that origins may read in
// different ways, or none at all; only rooms that name no host can be told then.
func (t *Table) site(host []byte) (s *site, odd bool) {
	if t.hosted == nil {
		return t.anywhere, false
	}
	var buf [maxHost]byte
	name := host
	if len(host) > 0 && host[0] == '[' {
		end := 1
		for end < len(host) && host[end] != ']' {
			c := lower[host[end]]
			if end >= len(buf)-1 || !(c >= '0' && c <= '9' || c >= 'a' && c <= 'f' || c == ':' || c == '.') {
				return t.anywhere, true
			}
			buf[end] = c
			end++
		}
		if end == len(host) || !port(host[end+1:]) {
			return t.anywhere, true
		}
		buf[0], buf[end] = '[', ']'
		if s := t.exact[string(buf[:end+1])]; s != nil {
			return s, false
		}
		return t.anywhere, t.v6 // perhaps one of ours, spelled differently
	}
	n := 0
	for i, c := range name {
		if c == ':' {
			if !port(name[i:]) {
				return t.anywhere, true
			}
			break
		}
		if !hostByte[c] || i >= len(buf) {
			return t.anywhere, true
		}
		buf[i] = lower[c]
		n++
	}
	if n > 0 && buf[n-1] == '.' {
		n--
	}
	if n == 0 || buf[0] == '.' || buf[n-1] == '.' {
		return t.anywhere, true
	}
	if s := t.exact[string(buf[:n])]; s != nil {
		return s, false
	}
	if len(t.wild) > 0 {
		for i := 1; i < n; i++ {
			if buf[i] == '.' {
				if buf[i-1] == '.' {
					return t.anywhere, true
				}
				if s := t.wild[string(buf[i+1:n])]; s != nil {
					return s, false
				}
			}
		}
	}
	return t.anywhere, false
}

// port tells whether b is empty or a colon and at most five digits.
func port(b []byte) bool {
	if len(b) == 0 {
		return true
	}
	if b[0] != ':' || len(b) > 6 {
		return false
	}
	for _, c := range b[1:] {
		if c < '0' || c > '9' {
			return false
		}
	}
	return true
}
