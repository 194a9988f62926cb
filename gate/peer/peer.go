// Package peer tells the gate who a visitor is and whether they came by https,
// when load balancers stand in between.
//
// Anybody can write X-Forwarded-For, so it is believed as far as addresses
// that the operator trusts have written it, and nobody is trusted by default.
// Every proxy appends the address it was called from: the list is read from
// the right, and the first address that is not trusted is the visitor's.
package peer

import (
	"bytes"
	"net/netip"
	"unsafe"

	"github.com/gaissmai/bart"
)

// Trust is a set of proxies. It is immutable; nil trusts nobody.
type Trust struct {
	proxies bart.Lite
}

// NewTrust trusts the addresses in prefixes. IPv4-mapped prefixes stand for the
// IPv4 ones; invalid prefixes are left out.
func NewTrust(prefixes []netip.Prefix) *Trust {
	t := &Trust{}
	for _, p := range prefixes {
		if !p.IsValid() {
			continue
		}
		if p.Addr().Is4In6() && p.Bits() >= 96 {
			p = netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-96)
		}
		t.proxies.Insert(p.Masked())
	}
	return t
}

// trusts expects an address as bare returns it.
func (t *Trust) trusts(a netip.Addr) bool {
	return t != nil && t.proxies.Contains(a)
}

// bare is an address without IPv4 mapping and zone: the way it is compared.
func bare(a netip.Addr) netip.Addr { return a.Unmap().WithZone("") }

// Resolve returns the visitor's address and whether the peer is trusted.
//
// Remote is the TCP peer. Each of xff is a header line's value; together they
// are one list in the order received. When the whole list is trusted its first
// address is the visitor's. What is no address ends the walk at the last good
// one: it was written by a trusted proxy, but who stood before it is unknown.
// Empty list elements do not count.
//
// The address returned is never IPv4-mapped and has no zone. Nothing is
// allocated unless a trusted proxy sends garbage.
func (t *Trust) Resolve(remote netip.Addr, xff [][]byte) (client netip.Addr, trusted bool) {
	client = bare(remote)
	if !t.trusts(client) {
		return client, false
	}
	for i := len(xff) - 1; i >= 0; i-- {
		line := xff[i]
		for more := true; more; {
			var item []byte
			comma := bytes.LastIndexByte(line, ',')
			item, more = bytes.Trim(line[comma+1:], " \t"), comma >= 0
			if more {
				line = line[:comma]
			}
			if len(item) == 0 {
				continue
			}
			a, ok := parse(item)
			if !ok {
				return client, true
			}
			client = a
			if !t.trusts(client) {
				return client, true
			}
		}
	}
	return client, true
}

// HTTPS tells whether the visitor's connection is encrypted: by our own TLS, or
// as a trusted proxy says in X-Forwarded-Proto. Of a list the last item counts,
// which the nearest proxy wrote.
func (t *Trust) HTTPS(remote netip.Addr, xfp []byte, tls bool) bool {
	if tls {
		return true
	}
	if len(xfp) == 0 || !t.trusts(bare(remote)) {
		return false
	}
	last := bytes.Trim(xfp[bytes.LastIndexByte(xfp, ',')+1:], " \t")
	return bytes.EqualFold(last, []byte("https"))
}

// parse reads 1.2.3.4, 1.2.3.4:5, ::1, [::1], [::1]:5, quoted or not.
func parse(b []byte) (netip.Addr, bool) {
	if n := len(b); n >= 2 && b[0] == '"' && b[n-1] == '"' {
		b = b[1 : n-1]
	}
	if len(b) == 0 || len(b) > 80 {
		return netip.Addr{}, false
	}
	switch colon := bytes.LastIndexByte(b, ':'); {
	case b[0] == '[':
		end := bytes.IndexByte(b, ']')
		if end < 0 || !port(b[end+1:]) {
			return netip.Addr{}, false
		}
		b = b[1:end]
		if bytes.IndexByte(b, ':') < 0 {
			return netip.Addr{}, false
		}
	case colon >= 0 && bytes.IndexByte(b, ':') == colon:
		if !port(b[colon:]) {
			return netip.Addr{}, false
		}
		b = b[:colon]
	}
	if zone := bytes.IndexByte(b, '%'); zone >= 0 {
		if zone == len(b)-1 || bytes.IndexByte(b, ':') < 0 {
			return netip.Addr{}, false
		}
		b = b[:zone]
	}
	// An address without a zone keeps nothing of the text, so the text need not
	// be copied. The error would, and is dropped.
	a, err := netip.ParseAddr(unsafe.String(unsafe.SliceData(b), len(b)))
	if err != nil {
		return netip.Addr{}, false
	}
	return bare(a), true
}

// port tells whether b is nothing, or a colon and one to five digits.
func port(b []byte) bool {
	if len(b) == 0 {
		return true
	}
	if b[0] != ':' || len(b) < 2 || len(b) > 6 {
		return false
	}
	for _, c := range b[1:] {
		if c < '0' || c > '9' {
			return false
		}
	}
	return true
}
