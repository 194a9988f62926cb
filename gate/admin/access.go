package admin

import (
	"crypto/sha256"
	"crypto/subtle"
	"net"
	"net/http"
	"net/netip"
	"strings"
)

// IsLoopback reports whether a listen address can be reached from this machine
// only. An address without a host listens everywhere.
func IsLoopback(listen string) bool {
	host, _, err := net.SplitHostPort(listen)
	return err == nil && isLocal(host)
}

func isLocal(host string) bool {
	if strings.EqualFold(host, "localhost") {
		return true
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.Unmap().IsLoopback()
}

// foreign tells why a request on loopback may come from a web page that runs in
// the browser of somebody on this machine; "" when it does not. A page whose
// name was pointed at loopback (DNS rebinding) shows that name as Host; one that
// sends without reading (CSRF) shows its own origin.
func foreign(r *http.Request) string {
	host := r.Host
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	} else {
		host = strings.TrimSuffix(strings.TrimPrefix(host, "["), "]")
	}
	if !isLocal(host) {
		return "the listener is on loopback and answers to localhost only, not to the host " + quote(r.Host)
	}
	for _, origin := range r.Header.Values("Origin") {
		if !strings.EqualFold(origin, "http://"+r.Host) {
			return "the listener is on loopback and refuses pages of another origin: " + quote(origin)
		}
	}
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		for _, site := range r.Header.Values("Sec-Fetch-Site") {
			if site != "same-origin" && site != "none" {
				return "the listener is on loopback and refuses pages of another site"
			}
		}
	}
	return ""
}

// actor is who asks.
type actor struct {
	name     string
	operator bool
}

// who tells who asks, or the problem that refuses them.
func (h *handler) who(r *http.Request) (actor, problem) {
	credentials := r.Header.Values("Authorization")
	switch {
	case h.Loopback && (len(credentials) == 0 || len(h.Tokens) == 0):
		return actor{"loopback", true}, problem{}
	case len(h.Tokens) == 0:
		return actor{}, problem{
			Status: http.StatusForbidden,
			Detail: "the API is shut: the listener is not on loopback and there are no tokens; set admin.tokens_file, or listen on 127.0.0.1",
		}
	case len(credentials) == 0:
		return actor{}, problem{Status: http.StatusUnauthorized, Detail: "a token is needed: Authorization: Bearer TOKEN"}
	}
	if scheme, token, _ := strings.Cut(credentials[0], " "); len(credentials) == 1 && strings.EqualFold(scheme, "Bearer") {
		// Every token is compared, and to its end: the time tells nothing.
		hash := sha256.Sum256([]byte(strings.TrimSpace(token)))
		found := -1
		for i := range h.Tokens {
			if subtle.ConstantTimeCompare(hash[:], h.Tokens[i].Hash[:]) == 1 {
				found = i
			}
		}
		if found >= 0 {
			return actor{h.Tokens[found].Name, h.Tokens[found].Role == "operator"}, problem{}
		}
	}
	return actor{}, problem{Status: http.StatusUnauthorized, Detail: "the token is not one of this gate's"}
}
