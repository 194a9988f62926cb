package peer

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"hash/crc32"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// patience is how long a test waits for what has to come.
const patience = 20 * time.Second

// signature begins every header of version 2.
const signature = "\r\n\r\n\x00\r\nQUIT\n"

// v2 makes a header of version 2: version and command, family and protocol, and
// what stands behind the length.
func v2(command, family byte, parts ...string) string {
	body := strings.Join(parts, "")
	b := append([]byte(signature), command, family)
	b = binary.BigEndian.AppendUint16(b, uint16(len(body)))
	return string(b) + body
}

func tlv(kind byte, value string) string {
	b := binary.BigEndian.AppendUint16([]byte{kind}, uint16(len(value)))
	return string(b) + value
}

// summed fills in the checksum, which stands as zeros behind its type and length.
func summed(header string) string {
	at := strings.Index(header, "\x03\x00\x04\x00\x00\x00\x00") + 3
	sum := crc32.Checksum([]byte(header), crc32.MakeTable(crc32.Castagnoli))
	return header[:at] + string(binary.BigEndian.AppendUint32(nil, sum)) + header[at+4:]
}

const (
	// 203.0.113.7:51000 to 192.0.2.1:443
	four = "\xcb\x00\x71\x07\xc0\x00\x02\x01\xc7\x38\x01\xbb"
	// [2001:db9::7]:51000 to [2001:db9::1]:443
	six = "\x20\x01\x0d\xb9\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x07" +
		"\x20\x01\x0d\xb9\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01\xc7\x38\x01\xbb"
	proxied, local               = 0x21, 0x20
	tcp4, tcp6, udp4, unixStream = 0x11, 0x21, 0x12, 0x31
)

// headers are what a load balancer may send, and what is believed.
var headers = []struct {
	why, header string
	visitor     string // "": it is the peer itself; "-": the connection is closed
	reason      string // what the operator reads then
	encrypted   bool
}{
	{"version 1", "PROXY TCP4 203.0.113.7 192.0.2.1 51000 443\r\n", "203.0.113.7:51000", "", false},
	{"version 1, IPv6", "PROXY TCP6 2001:db9::7 2001:db9::1 51000 443\r\n", "[2001:db9::7]:51000", "", false},
	{"version 1, the longest", "PROXY TCP6 ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 65535\r\n",
		"[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535", "", false},
	{"version 1, nobody known", "PROXY UNKNOWN\r\n", "", "", false},
	{"version 1, nobody known, and more", "PROXY UNKNOWN 2001:db9::7 2001:db9::1 51000 443\r\n", "", "", false},
	{"version 1, LF alone", "PROXY TCP4 203.0.113.7 192.0.2.1 51000 443\n", "-", "malformed", false},
	{"version 1, two blanks", "PROXY TCP4  203.0.113.7 192.0.2.1 51000 443\r\n", "-", "malformed", false},
	{"version 1, a blank at the end", "PROXY TCP4 203.0.113.7 192.0.2.1 51000 443 \r\n", "-", "malformed", false},
	{"version 1, lower case", "proxy TCP4 203.0.113.7 192.0.2.1 51000 443\r\n", "-", "does not begin with a PROXY header", false},
	{"version 1, no such family", "PROXY UDP4 203.0.113.7 192.0.2.1 51000 443\r\n", "-", "malformed", false},
	{"version 1, the other family", "PROXY TCP4 2001:db9::7 2001:db9::1 51000 443\r\n", "-", "malformed", false},
	{"version 1, one address", "PROXY TCP4 203.0.113.7 51000 443\r\n", "-", "malformed", false},
	{"version 1, a name", "PROXY TCP4 visitor gate 51000 443\r\n", "-", "malformed", false},
	{"version 1, octal to some", "PROXY TCP4 010.0.0.7 192.0.2.1 51000 443\r\n", "-", "malformed", false},
	{"version 1, a zone", "PROXY TCP6 fe80::1%eth0 2001:db9::1 51000 443\r\n", "-", "malformed", false},
	{"version 1, a port too high", "PROXY TCP4 203.0.113.7 192.0.2.1 65536 443\r\n", "-", "malformed", false},
	{"version 1, a signed port", "PROXY TCP4 203.0.113.7 192.0.2.1 +1 443\r\n", "-", "malformed", false},
	{"version 1, no port", "PROXY TCP4 203.0.113.7 192.0.2.1\r\n", "-", "malformed", false},
	{"version 1, glued", "PROXYTCP4 203.0.113.7 192.0.2.1 51000 443\r\n", "-", "malformed", false},
	{"version 1, without an end", "PROXY TCP4 " + strings.Repeat("1", 200), "-", "too long", false},
	{"version 1, with a late end", "PROXY UNKNOWN " + strings.Repeat("1", 92) + "\r\n", "-", "too long", false},
	{"version 1, cut off", "PROXY TCP4 203.0", "-", "broke off after 16 bytes", false},

	{"version 2", v2(proxied, tcp4, four), "203.0.113.7:51000", "", false},
	{"version 2, IPv6", v2(proxied, tcp6, six), "[2001:db9::7]:51000", "", false},
	{"version 2, TLVs", v2(proxied, tcp4, four, tlv(0x01, "h2"), tlv(0x04, ""), tlv(0x05, "id"), tlv(0xea, "\x01vpce-1")), "203.0.113.7:51000", "", false},
	{"version 2, an empty TLV at the end", v2(proxied, tcp4, four, tlv(0xe0, "")), "203.0.113.7:51000", "", false},
	{"version 2, 4 KiB of TLVs", v2(proxied, tcp4, four, tlv(0xe0, strings.Repeat("x", 4096-12-3))), "203.0.113.7:51000", "", false},
	{"version 2, more than that", v2(proxied, tcp4, four, tlv(0xe0, strings.Repeat("x", 4096-12-2))), "-", "too long", false},
	{"version 2, as long as can be", v2(proxied, tcp4, four, strings.Repeat("x", 65535-12)), "-", "too long", false},
	{"version 2, a checksum", summed(v2(proxied, tcp4, four, tlv(0x04, "pad"), tlv(0x03, "\x00\x00\x00\x00"), tlv(0xe0, "x"))), "203.0.113.7:51000", "", false},
	{"version 2, a wrong checksum", v2(proxied, tcp4, four, tlv(0x03, "\x00\x00\x00\x00")), "-", "checksum", false},
	{"version 2, a short checksum", v2(proxied, tcp4, four, tlv(0x03, "\x00\x00\x00")), "-", "checksum", false},
	{"version 2, the visitor came by TLS", v2(proxied, tcp4, four, tlv(0x20, "\x01\x00\x00\x00\x00"+tlv(0x21, "TLSv1.3"))), "203.0.113.7:51000", "", true},
	{"version 2, the visitor came without TLS", v2(proxied, tcp4, four, tlv(0x20, "\x06\x00\x00\x00\x00")), "203.0.113.7:51000", "", false},
	{"version 2, of a unix socket", v2(proxied, unixStream, strings.Repeat("\x00", 216)), "", "", false},
	{"version 2, the peer itself", v2(local, 0x00), "", "", false},
	{"version 2, the peer itself, with addresses", v2(local, tcp4, four), "", "", false},
	{"version 2, the peer itself, with TLVs", v2(local, 0x00, tlv(0x04, "x"), tlv(0x03, "\x00\x00\x00\x00")), "", "", false},
	{"version 2, the peer itself, with what does not fit", v2(local, tcp4, "xx"), "", "", false},
	{"version 2, nothing told of a visitor", v2(proxied, 0x00), "-", "malformed", false},
	{"version 2, UDP", v2(proxied, udp4, four), "-", "something else than TCP", false},
	{"version 2, no such command", v2(0x22, tcp4, four), "-", "malformed", false},
	{"version 2, which is 3", v2(0x31, tcp4, four), "-", "malformed", false},
	{"version 2, no such family", v2(proxied, 0x41, four), "-", "malformed", false},
	{"version 2, no such protocol", v2(proxied, 0x13, four), "-", "malformed", false},
	{"version 2, addresses too short", v2(proxied, tcp4, four[:11]), "-", "malformed", false},
	{"version 2, IPv6 too short", v2(proxied, tcp6, four), "-", "malformed", false},
	{"version 2, a TLV longer than the header", v2(proxied, tcp4, four, "\x01\x00\x09x"), "-", "malformed", false},
	{"version 2, half a TLV", v2(proxied, tcp4, four, "\x01\x00"), "-", "malformed", false},
	{"version 2, cut off", v2(proxied, tcp4, four)[:20], "-", "broke off after 20 bytes", false},
	{"version 2, a signature cut off", signature[:7], "-", "broke off after 7 bytes", false},

	{"none at all", "GET / HTTP/1.1\r\nHost: a\r\n\r\n", "-", "does not begin with a PROXY header", false},
	{"TLS", "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", "-", "does not begin with a PROXY header", false},
	{"an empty line first", "\r\nPROXY TCP4 203.0.113.7 192.0.2.1 51000 443\r\n", "-", "does not begin with a PROXY header", false},
	{"nothing", "", "-", "", false},
}

// proxiedRig is a listener behind a load balancer that the test plays.
type proxiedRig struct {
	net.Listener
	mu      sync.Mutex
	refused []string
}

func openProxied(t *testing.T, network, address string, trusted ...string) *proxiedRig {
	t.Helper()
	l, err := net.Listen(network, address)
	if err != nil {
		t.Fatal(err)
	}
	trust := NewTrust(prefixes(trusted...))
	r := &proxiedRig{}
	r.Listener = Proxied(l, func() *Trust { return trust }, func(_ net.Addr, why error) {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.refused = append(r.refused, why.Error())
	})
	t.Cleanup(func() { r.Close() })
	return r
}

func (r *proxiedRig) reasons() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return strings.Join(r.refused, "\n")
}

// call connects, sends what it is given in pieces, and ends its side.
func (r *proxiedRig) call(t *testing.T, pieces ...string) net.Conn {
	t.Helper()
	c, err := net.Dial(r.Addr().Network(), r.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(patience))
	for _, piece := range pieces {
		if _, err := io.WriteString(c, piece); err != nil {
			return c // it is closed already
		}
	}
	c.(interface{ CloseWrite() error }).CloseWrite()
	return c
}

// isClosed waits until the other side closes without a byte.
func isClosed(t *testing.T, c net.Conn) {
	t.Helper()
	if b, err := io.ReadAll(c); len(b) > 0 || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("got %q and %v, want the connection closed", b, err)
	}
}

func TestVisitorsAreWhoTheLoadBalancerSaysTheyAre(t *testing.T) {
	for _, h := range headers {
		t.Run(h.why, func(t *testing.T) {
			r := openProxied(t, "tcp", "127.0.0.1:0", "127.0.0.0/8")
			if h.visitor == "-" {
				c := r.call(t, h.header)
				go func() {
					if conn, err := r.Accept(); err == nil {
						t.Errorf("it is taken for %s", conn.RemoteAddr())
						conn.Close()
					}
				}()
				isClosed(t, c)
				r.Close()
				if got := r.reasons(); !strings.Contains(got, h.reason) || (got == "") != (h.reason == "") {
					t.Errorf("the reason given is %q, want %q in it", got, h.reason)
				}
				return
			}
			for _, pieces := range [][]string{{h.header + "hello"}, {h.header, "hello"}, strings.Split(h.header+"hello", "")} {
				if len(pieces) > 1000 {
					continue
				}
				c := r.call(t, pieces...)
				conn, err := r.Accept()
				if err != nil {
					t.Fatal(err)
				}
				want := h.visitor
				if want == "" {
					want = c.LocalAddr().String()
				}
				if got := conn.RemoteAddr().String(); got != want || Encrypted(conn) != h.encrypted {
					t.Errorf("the visitor is %s, encrypted %v, want %s, %v", got, Encrypted(conn), want, h.encrypted)
				}
				if b, err := io.ReadAll(conn); string(b) != "hello" || err != nil {
					t.Errorf("behind the header came %q, %v, want hello", b, err)
				}
				conn.Close()
			}
			if got := r.reasons(); got != "" {
				t.Errorf("somebody was refused: %s", got)
			}
		})
	}
}

func TestStrangersWithAHeaderAreClosed(t *testing.T) {
	r := openProxied(t, "tcp", "127.0.0.1:0", "10.0.0.0/8")
	c := r.call(t, "PROXY TCP4 10.0.0.1 192.0.2.1 51000 443\r\n")
	go func() {
		if conn, err := r.Accept(); err == nil {
			t.Errorf("it is taken for %s", conn.RemoteAddr())
		}
	}()
	isClosed(t, c)
	r.Close()
	if got, want := r.reasons(), "trusted_proxies does not name the peer"; got != want {
		t.Errorf("the reason given is %q, want %q", got, want)
	}
}

func TestAUnixSocketsPeerIsTrusted(t *testing.T) {
	r := openProxied(t, "unix", filepath.Join(t.TempDir(), "s"))
	r.call(t, "PROXY TCP4 203.0.113.7 192.0.2.1 51000 443\r\n")
	conn, err := r.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if got := conn.RemoteAddr().String(); got != "203.0.113.7:51000" {
		t.Errorf("the visitor is %s", got)
	}
}

func TestWhoIsSlowToSayWhoTheyAreKeepsNobodyUp(t *testing.T) {
	r := openProxied(t, "tcp", "127.0.0.1:0", "127.0.0.0/8")
	var slow []net.Conn
	for range 50 {
		c, err := net.Dial("tcp", r.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		slow = append(slow, c)
	}
	r.call(t, "PROXY TCP4 203.0.113.7 192.0.2.1 51000 443\r\n")
	conn, err := r.Accept()
	if err != nil {
		t.Fatal(err)
	}
	conn.Close()
	r.Close()
	for _, c := range slow {
		c.SetDeadline(time.Now().Add(patience))
		isClosed(t, c)
	}
	if got := r.reasons(); got != "" {
		t.Errorf("a stop is no reason to complain: %s", got)
	}
}

func TestTheHeaderComesBeforeTLS(t *testing.T) {
	r := openProxied(t, "tcp", "127.0.0.1:0", "127.0.0.0/8")
	shop := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		io.WriteString(w, q.RemoteAddr)
	}))
	shop.Listener.Close()
	shop.Listener = r
	shop.StartTLS()
	defer shop.Close()
	transport := shop.Client().Transport.(*http.Transport)
	transport.DialContext = func(context.Context, string, string) (net.Conn, error) {
		c, err := net.Dial("tcp", r.Addr().String())
		if err == nil {
			_, err = io.WriteString(c, v2(proxied, tcp6, six))
		}
		return c, err
	}
	answer, err := shop.Client().Get(shop.URL)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	if b, err := io.ReadAll(answer.Body); string(b) != "[2001:db9::7]:51000" || err != nil {
		t.Errorf("the visitor is %q, %v", b, err)
	}
}

func TestAProxiedConnectionCanWhatItsSocketCan(t *testing.T) {
	r := openProxied(t, "tcp", "127.0.0.1:0", "127.0.0.0/8")
	c := r.call(t, "PROXY UNKNOWN\r\n")
	nc, err := r.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	conn := nc.(*proxiedConn)
	if raw, err := conn.SyscallConn(); err != nil || raw == nil {
		t.Errorf("SyscallConn: %v", err)
	}
	if err := conn.SetKeepAliveConfig(net.KeepAliveConfig{Enable: true}); err != nil {
		t.Error(err)
	}
	if _, ok := conn.NetConn().(*net.TCPConn); !ok {
		t.Errorf("NetConn is %T", conn.NetConn())
	}
	if err := conn.CloseWrite(); err != nil {
		t.Error(err)
	}
	isClosed(t, c)
	if err := conn.SetLinger(0); err != nil {
		t.Error(err)
	}
}

// FuzzPreface: whatever comes, the header ends where it says, is read no further,
// and gives a visitor with an address or none at all.
func FuzzPreface(f *testing.F) {
	for _, h := range headers {
		f.Add([]byte(h.header + "GET / HTTP/1.1\r\n"))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		header, rest, err := readPreface(bytes.NewReader(b))
		if err != nil {
			return
		}
		if string(header)+string(rest) != string(b[:len(header)+len(rest)]) {
			t.Fatalf("%q is split into %q and %q", b, header, rest)
		}
		p, err := parsePreface(header)
		if err != nil {
			return
		}
		if p.visitor != nil && !p.visitor.AddrPort().Addr().IsValid() {
			t.Fatalf("%s gives an address that is none", hex.EncodeToString(header))
		}
		for n := range header {
			if _, _, err := readPreface(bytes.NewReader(header[:n])); err == nil {
				t.Fatalf("%q is taken for a whole header", header[:n])
			}
		}
	})
}
