package proxy

import (
	"bytes"
	"encoding/hex"
	"math/rand/v2"
	"net"
	"net/netip"

	"github.com/valyala/fasthttp"
)

// What the gate says of a request: whom it came from, by which way, and under what
// name others can find it in their logs.

// appendForwarded appends whom the request is from and by which way it came. What
// a trusted peer tells of the host and port that the visitor used is passed on.
func appendForwarded(b []byte, ctx *fasthttp.RequestCtx, r *Request, toldHost, toldPort []byte) []byte {
	b = append(b, "X-Forwarded-For: "...)
	if r.ForwardedFor != nil {
		if len(r.ForwardedFor) > 0 {
			b = append(b, r.ForwardedFor...)
			b = append(b, ", "...)
		}
		b = appendAddr(b, peer(ctx))
	} else {
		b = appendAddr(b, r.Client)
	}
	b = append(b, "\r\n"...)
	b = line(b, "X-Forwarded-Proto", r.Proto)

	h := &ctx.Request.Header
	host := h.Host()
	if len(toldHost) > 0 {
		host = toldHost
	}
	if len(host) > 0 {
		b = append(b, "X-Forwarded-Host: "...)
		b = append(b, host...)
		b = append(b, "\r\n"...)
	}
	b = append(b, "X-Forwarded-Port: "...)
	if isPort(toldPort) {
		b = append(b, toldPort...)
	} else {
		b = appendPort(b, host, r.Proto)
	}
	b = append(b, "\r\n"...)

	if r.Via {
		version := "Via: 1.1 sluice\r\n"
		if !h.IsHTTP11() {
			version = "Via: 1.0 sluice\r\n"
		}
		b = append(b, version...)
	}
	if len(r.ID) > 0 {
		b = append(b, "X-Request-Id: "...)
		b = append(b, r.ID...)
		b = append(b, "\r\n"...)
	}
	return b
}

// appendPort appends the port as the visitor knows it: the one beside the host, or
// else the scheme's own. The port that the gate listens at may be another one.
func appendPort(b, host []byte, proto string) []byte {
	if colon := bytes.LastIndexByte(host, ':'); colon >= 0 && isPort(host[colon+1:]) &&
		(bytes.IndexByte(host, ':') == colon || host[colon-1] == ']') {
		return append(b, host[colon+1:]...)
	}
	if proto == "https" {
		return append(b, "443"...)
	}
	return append(b, "80"...)
}

// isPort reports whether b is a number from 1 to 65535.
func isPort(b []byte) bool {
	if len(b) == 0 || len(b) > 5 || b[0] == '0' {
		return false
	}
	n, ok := number(b)
	return ok && n <= 65535
}

func appendAddr(b []byte, a netip.Addr) []byte {
	if !a.IsValid() {
		return append(b, "unknown"...)
	}
	return a.Unmap().WithZone("").AppendTo(b)
}

func peer(ctx *fasthttp.RequestCtx) netip.Addr {
	switch a := ctx.RemoteAddr().(type) {
	case *net.TCPAddr:
		addr, _ := netip.AddrFromSlice(a.IP)
		return addr
	case *net.UnixAddr: // somebody on this machine
		return netip.AddrFrom4([4]byte{127, 0, 0, 1})
	default:
		addr, _ := netip.AddrFromSlice(ctx.RemoteIP())
		return addr
	}
}

// traceParent is version, trace, parent and flags (https://www.w3.org/TR/trace-context/).
const (
	traceLength = len("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
	traceFlags  = len("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-")
)

// isTraceParent reports whether b is a well-formed traceparent, of this version or
// of one to come.
func isTraceParent(b []byte) bool {
	if len(b) < traceLength || b[2] != '-' || b[35] != '-' || b[52] != '-' ||
		!isLowerHex(b[:2]) || !isLowerHex(b[3:35]) || !isLowerHex(b[36:52]) || !isLowerHex(b[traceFlags:traceLength]) {
		return false
	}
	switch string(b[:2]) {
	case "00":
		if len(b) != traceLength {
			return false
		}
	case "ff":
		return false
	default:
		if len(b) > traceLength && b[traceLength] != '-' {
			return false
		}
	}
	return !isZero(b[3:35]) && !isZero(b[36:52])
}

// appendTraceParent begins a trace, under the request's own name where that is of
// the form. It is marked as one to be kept: the origin's sampler would take the
// contrary for a decision to keep nothing.
func appendTraceParent(b, id []byte) []byte {
	b = append(b, "traceparent: 00-"...)
	if len(id) == 32 && isLowerHex(id) && !isZero(id) {
		b = append(b, id...)
	} else {
		b = AppendRandom(b, 16)
	}
	b = append(b, '-')
	b = AppendRandom(b, 8)
	return append(b, "-01\r\n"...)
}

// AppendRandom appends so many random bytes, a multiple of 8, as hexadecimal digits.
// Nobody can guess them, and they are never all zero.
func AppendRandom(b []byte, n int) []byte {
	for ; n > 0; n -= 8 {
		r := rand.Uint64() | 1
		b = hex.AppendEncode(b, []byte{
			byte(r >> 56), byte(r >> 48), byte(r >> 40), byte(r >> 32), byte(r >> 24), byte(r >> 16), byte(r >> 8), byte(r),
		})
	}
	return b
}

func isLowerHex(b []byte) bool {
	for _, c := range b {
		if (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}

func isZero(b []byte) bool {
	for _, c := range b {
		if c != '0' {
			return false
		}
	}
	return true
}
