package gate

import (
	"bytes"
	"net/url"
	"strings"

	"github.com/sluicegate/sluice/gate/route"
)

// isHere tells whether the site has the hosts that the request names.
func (x *exchange) isHere() bool {
	h := x.site.hosts
	return h == nil || h.Has(x.host) && (!x.namesTwoHosts() || h.Has(x.fields.forwardedHost))
}

// namesTwoHosts tells whether a trusted peer says that visitors used another host
// than Host has. The shop is told both, and may go by either.
func (x *exchange) namesTwoHosts() bool {
	return x.trusted && len(x.fields.forwardedHost) > 0 && !bytes.Equal(x.fields.forwardedHost, x.host)
}

// findRoom tells which room the request belongs to. Of two hosts the one counts
// that has a room; where both have one nobody can tell.
func (x *exchange) findRoom() (int, route.Verdict) {
	index, verdict := x.findRoomAt(x.host)
	if !x.namesTwoHosts() {
		return index, verdict
	}
	told, toldVerdict := x.findRoomAt(x.fields.forwardedHost)
	gated := verdict == route.Gated
	switch {
	case verdict == route.Refused || toldVerdict == route.Refused, gated && toldVerdict == route.Gated && told != index:
		return -1, route.Refused
	case gated:
		return index, verdict
	}
	return told, toldVerdict
}

// ambiguity is why nobody can tell the room of a request.
func (x *exchange) ambiguity() string {
	if x.namesTwoHosts() {
		_, one := x.findRoomAt(x.host)
		_, two := x.findRoomAt(x.fields.forwardedHost)
		if one != route.Refused && two != route.Refused {
			return "Host and X-Forwarded-Host name hosts with a room each"
		}
	}
	return route.Why(x.target)
}

// findRoomAt looks at one host. An exception by method holds only where the shop
// takes the request for the method that it has: frameworks obey
// X-HTTP-Method-Override and its like, and _method in the query.
func (x *exchange) findRoomAt(host []byte) (int, route.Verdict) {
	t := x.site.table
	index, verdict := t.Find(x.method, host, x.target, x.client)
	if verdict == route.Excepted && (x.fields.override || overridesMethod(x.target)) {
		return t.Find(noMethod, host, x.target, x.client)
	}
	return index, verdict
}

// noMethod is in no exception's list.
var noMethod = []byte("?")

// overridesMethod tells whether the query has a parameter that is _method to some
// framework. PHP makes an underscore of a dot, a blank and a bracket in names, skips
// blanks before them and ends them at a NUL.
func overridesMethod(target []byte) bool {
	_, query, found := bytes.Cut(target, []byte("?"))
	if !found || !containsFold(query, "ethod") && bytes.IndexByte(query, '%') < 0 {
		return false
	}
	for pair := range bytes.FieldsFuncSeq(query, func(c rune) bool { return c == '&' || c == ';' || c == '?' }) {
		name, _, _ := bytes.Cut(pair, []byte("="))
		plain, err := url.QueryUnescape(string(name))
		plain, _, _ = strings.Cut(strings.TrimLeft(plain, " "), "\x00")
		if err == nil && len(plain) == len("_method") && strings.ContainsRune("_. [", rune(plain[0])) && strings.EqualFold(plain[1:], "method") {
			return true
		}
	}
	return false
}
