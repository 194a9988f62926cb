package gate

import "github.com/sluicegate/sluice/gate/proxy"

// requestID is the name under which others can find this request in their logs: a
// trusted peer's X-Request-Id if it is well-formed, else a new one. A visitor's is
// not taken: it would stand in the shop's logs and ours as theirs to choose.
func (x *exchange) requestID() []byte {
	if x.id == nil {
		if x.trusted && isRequestID(x.fields.requestID) {
			x.id = x.fields.requestID
		} else {
			x.id = proxy.AppendRandom(x.made[:0], 16)
		}
	}
	return x.id
}

// isRequestID takes what is in use for such names: UUIDs, hexadecimal digits,
// Base64, and what load balancers make of addresses and times.
func isRequestID(b []byte) bool {
	if len(b) == 0 || len(b) > 128 {
		return false
	}
	for _, c := range b {
		switch {
		case '0' <= c && c <= '9', 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z':
		case c == '-', c == '_', c == '.', c == ':', c == '=', c == '+', c == '/', c == '~', c == '@', c == ',':
		default:
			return false
		}
	}
	return true
}
