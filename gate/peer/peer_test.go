package peer

import (
	"bytes"
	"fmt"
	"net/netip"
	"strings"
	"testing"
)

func prefixes(list ...string) (p []netip.Prefix) {
	for _, s := range list {
		p = append(p, netip.MustParsePrefix(s))
	}
	return p
}

func TestTheVisitorIsTheFirstAddressFromTheRightThatIsNoProxy(t *testing.T) {
	trust := NewTrust(prefixes("10.0.0.0/8", "2001:db8::/32", "fe80::/10", "::ffff:172.16.0.0/108"))
	for _, c := range []struct {
		why     string
		remote  string
		xff     []string
		client  string
		trusted bool
	}{
		{"nobody in between", "192.0.2.1", nil, "192.0.2.1", false},
		{"a stranger's header is not read", "192.0.2.1", []string{"203.0.113.9"}, "192.0.2.1", false},
		{"a stranger claims to be a proxy", "192.0.2.1", []string{"10.0.0.1"}, "192.0.2.1", false},
		{"one proxy", "10.0.0.1", []string{"203.0.113.9"}, "203.0.113.9", true},
		{"a proxy that says nothing", "10.0.0.1", nil, "10.0.0.1", true},
		{"a proxy that says nothing in a line", "10.0.0.1", []string{""}, "10.0.0.1", true},
		{"two proxies", "10.0.0.1", []string{"203.0.113.9, 10.0.0.2"}, "203.0.113.9", true},
		{"the visitor wrote some of it", "10.0.0.1", []string{"1.1.1.1, 203.0.113.9, 10.0.0.2"}, "203.0.113.9", true},
		{"the visitor wrote a proxy's address", "10.0.0.1", []string{"10.0.0.9, 203.0.113.9"}, "203.0.113.9", true},
		{"two lines are one list", "10.0.0.1", []string{"1.1.1.1", "203.0.113.9", "10.0.0.2"}, "203.0.113.9", true},
		{"lists in lines", "10.0.0.1", []string{"1.1.1.1, 203.0.113.9", "10.0.0.3, 10.0.0.2"}, "203.0.113.9", true},
		{"nothing but proxies", "10.0.0.1", []string{"10.0.0.3, 10.0.0.2"}, "10.0.0.3", true},
		{"no blanks", "10.0.0.1", []string{"1.1.1.1,203.0.113.9,10.0.0.2"}, "203.0.113.9", true},
		{"blanks and tabs", "10.0.0.1", []string{" \t203.0.113.9 \t, 10.0.0.2 "}, "203.0.113.9", true},
		{"empty items", "10.0.0.1", []string{"203.0.113.9,, 10.0.0.2,", ","}, "203.0.113.9", true},
		{"garbage first", "10.0.0.1", []string{"203.0.113.9, unknown"}, "10.0.0.1", true},
		{"garbage behind a proxy", "10.0.0.1", []string{"203.0.113.9, x, 10.0.0.2"}, "10.0.0.2", true},
		{"garbage to the left of the visitor", "10.0.0.1", []string{"';--, 203.0.113.9"}, "203.0.113.9", true},
		{"a port", "10.0.0.1", []string{"203.0.113.9:5123"}, "203.0.113.9", true},
		{"an empty port", "10.0.0.1", []string{"203.0.113.9:"}, "10.0.0.1", true},
		{"a port of letters", "10.0.0.1", []string{"203.0.113.9:http"}, "10.0.0.1", true},
		{"a long port", "10.0.0.1", []string{"203.0.113.9:123456"}, "10.0.0.1", true},
		{"IPv6", "10.0.0.1", []string{"2001:db9::7"}, "2001:db9::7", true},
		{"IPv6 in brackets", "10.0.0.1", []string{"[2001:db9::7]"}, "2001:db9::7", true},
		{"IPv6 with a port", "10.0.0.1", []string{"[2001:db9::7]:5"}, "2001:db9::7", true},
		{"IPv6 with text for a port", "10.0.0.1", []string{"[2001:db9::7]x"}, "10.0.0.1", true},
		{"an open bracket", "10.0.0.1", []string{"[2001:db9::7"}, "10.0.0.1", true},
		{"IPv4 in brackets", "10.0.0.1", []string{"[203.0.113.9]"}, "10.0.0.1", true},
		{"quotes, as in Forwarded", "10.0.0.1", []string{`"[2001:db9::7]:5"`}, "2001:db9::7", true},
		{"IPv4-mapped visitor", "10.0.0.1", []string{"::ffff:203.0.113.9"}, "203.0.113.9", true},
		{"IPv4-mapped proxy in the list", "10.0.0.1", []string{"203.0.113.9, ::ffff:10.0.0.2"}, "203.0.113.9", true},
		{"IPv4-mapped peer", "::ffff:10.0.0.1", []string{"203.0.113.9"}, "203.0.113.9", true},
		{"IPv4-mapped stranger", "::ffff:192.0.2.1", []string{"203.0.113.9"}, "192.0.2.1", false},
		{"IPv4-mapped prefix", "172.16.0.9", []string{"203.0.113.9"}, "203.0.113.9", true},
		{"a zone of the peer", "fe80::1%eth0", []string{"203.0.113.9"}, "203.0.113.9", true},
		{"a zone of a stranger", "fec0::1%eth0", nil, "fec0::1", false},
		{"a zone of the visitor", "10.0.0.1", []string{"fec0::1%eth0"}, "fec0::1", true},
		{"an empty zone", "10.0.0.1", []string{"fec0::1%"}, "10.0.0.1", true},
		{"leading zeros, octal to some", "10.0.0.1", []string{"010.0.0.2"}, "10.0.0.1", true},
		{"a short address", "10.0.0.1", []string{"10.1"}, "10.0.0.1", true},
		{"a name", "10.0.0.1", []string{"localhost"}, "10.0.0.1", true},
		{"a very long item", "10.0.0.1", []string{"203.0.113.9, " + strings.Repeat("1", 9999)}, "10.0.0.1", true},
	} {
		var xff [][]byte
		for _, x := range c.xff {
			xff = append(xff, []byte(x))
		}
		client, trusted := trust.Resolve(netip.MustParseAddr(c.remote), xff)
		if client.String() != c.client || trusted != c.trusted {
			t.Errorf("%s: %s %q is %v %v, want %s %v", c.why, c.remote, c.xff, client, trusted, c.client, c.trusted)
		}
	}
}

func TestNobodyIsTrustedByDefault(t *testing.T) {
	xff := [][]byte{[]byte("203.0.113.9")}
	for name, trust := range map[string]*Trust{"nil": nil, "zero": {}, "no prefixes": NewTrust(nil), "invalid prefix": NewTrust([]netip.Prefix{{}})} {
		for _, remote := range []string{"127.0.0.1", "::1", "10.0.0.1", "0.0.0.0", "::"} {
			a := netip.MustParseAddr(remote)
			if client, trusted := trust.Resolve(a, xff); trusted || client != a {
				t.Errorf("%s: %s is %v %v", name, remote, client, trusted)
			}
			if trust.HTTPS(a, []byte("https"), false) {
				t.Errorf("%s: %s is believed to be https", name, remote)
			}
		}
	}
	if client, trusted := NewTrust(prefixes("0.0.0.0/0", "::/0")).Resolve(netip.Addr{}, xff); trusted || client.IsValid() {
		t.Errorf("no address at all is %v %v", client, trusted)
	}
}

func TestHTTPSIsOurOwnOrWhatATrustedProxySays(t *testing.T) {
	trust := NewTrust(prefixes("10.0.0.0/8"))
	for _, c := range []struct {
		remote, xfp string
		tls, want   bool
	}{
		{"192.0.2.1", "", false, false},
		{"192.0.2.1", "", true, true},
		{"192.0.2.1", "http", true, true},
		{"192.0.2.1", "https", false, false},
		{"10.0.0.1", "https", false, true},
		{"::ffff:10.0.0.1", "HTTPS", false, true},
		{"10.0.0.1", " https\t", false, true},
		{"10.0.0.1", "http", false, false},
		{"10.0.0.1", "", false, false},
		{"10.0.0.1", "http", true, true},
		{"10.0.0.1", "https, http", false, false},
		{"10.0.0.1", "http,https", false, true},
		{"10.0.0.1", "http, http, https", false, true},
		{"10.0.0.1", "httpsx", false, false},
		{"10.0.0.1", "https,", false, false},
	} {
		if got := trust.HTTPS(netip.MustParseAddr(c.remote), []byte(c.xfp), c.tls); got != c.want {
			t.Errorf("%s %q tls %v: %v, want %v", c.remote, c.xfp, c.tls, got, c.want)
		}
	}
}

func TestResolveAllocatesNothing(t *testing.T) {
	trust := NewTrust(prefixes("10.0.0.0/8"))
	for _, c := range []struct{ remote, xff string }{
		{"192.0.2.1", "203.0.113.9"},
		{"::ffff:192.0.2.1", "garbage"},
		{"fe80::1%eth0", "garbage"},
		{"10.0.0.1", "1.1.1.1, 203.0.113.9:80, 10.0.0.2"},
		{"10.0.0.1", "[2001:db8::1]:80, 10.0.0.2"},
		{"10.0.0.1", "fe80::1%eth0"},
	} {
		remote, xff := netip.MustParseAddr(c.remote), [][]byte{[]byte(c.xff)}
		if n := testing.AllocsPerRun(100, func() {
			trust.Resolve(remote, xff)
			trust.HTTPS(remote, []byte("https"), false)
		}); n != 0 {
			t.Errorf("%s %q allocates %v times, want 0", c.remote, c.xff, n)
		}
	}
}

// FuzzTheVisitorIsNeverWhoTheyClaimToBe puts whatever a visitor can send before
// what the proxies append: it must not change the answer.
func FuzzTheVisitorIsNeverWhoTheyClaimToBe(f *testing.F) {
	for _, s := range []string{"", ",", "10.0.0.1", "1.1.1.1:80, [::1]", "fe80::1%x", `"`, "::ffff:1.2.3.4", "\x00"} {
		f.Add([]byte(s), s)
	}
	trust := NewTrust(prefixes("10.0.0.0/8", "::1/128"))
	proxy, visitor := netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("203.0.113.9")
	f.Fuzz(func(t *testing.T, sent []byte, item string) {
		for _, xff := range [][][]byte{
			{bytes.Join([][]byte{sent, []byte("203.0.113.9, 10.0.0.2")}, []byte(","))},
			{sent, []byte("203.0.113.9:99"), []byte("[::1]:1")},
		} {
			if client, trusted := trust.Resolve(proxy, xff); client != visitor || !trusted {
				t.Fatalf("%q is %v %v", xff, client, trusted)
			}
		}
		if client, trusted := trust.Resolve(visitor, [][]byte{sent}); client != visitor || trusted {
			t.Fatalf("%q from a stranger is %v %v", sent, client, trusted)
		}
		client, _ := trust.Resolve(proxy, [][]byte{[]byte(item)})
		if !client.IsValid() || client.Is4In6() || client.Zone() != "" {
			t.Fatalf("%q is %v", item, client)
		}
		if client != proxy && !strings.Contains(item, ",") {
			again, _ := trust.Resolve(proxy, [][]byte{fmt.Appendf(nil, "%v", netip.AddrPortFrom(client, 1))})
			if again != client {
				t.Fatalf("%q is %v with a port, %v without", item, again, client)
			}
		}
	})
}

func BenchmarkResolve(b *testing.B) {
	trust := NewTrust(prefixes("10.0.0.0/8", "2001:db8::/32"))
	xff := [][]byte{[]byte("1.1.1.1, 203.0.113.9, 10.0.0.2")}
	for _, remote := range []string{"192.0.2.1", "10.0.0.1"} {
		b.Run(remote, func(b *testing.B) {
			a := netip.MustParseAddr(remote)
			b.ReportAllocs()
			for b.Loop() {
				trust.Resolve(a, xff)
			}
		})
	}
}
