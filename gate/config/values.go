package config

import (
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"regexp"
	"strconv"
	"strings"
)

// parsePrefix reads a network, or an address that stands for itself alone.
func parsePrefix(s string) (netip.Prefix, error) {
	if a, err := netip.ParseAddr(s); err == nil && a.Zone() == "" {
		a = a.Unmap()
		return netip.PrefixFrom(a, a.BitLen()), nil
	}
	p, err := netip.ParsePrefix(s)
	if err != nil {
		return netip.Prefix{}, fmt.Errorf("%q: want an address or a network, such as 10.0.0.0/8 or 2001:db8::/32", s)
	}
	if m := p.Masked(); m != p {
		return netip.Prefix{}, fmt.Errorf("%q has bits set beyond its length: did you mean %s?", s, m)
	}
	if p.Addr().Is4In6() {
		if p.Bits() < 96 {
			return netip.Prefix{}, fmt.Errorf("%q is wider than the IPv4-mapped addresses", s)
		}
		p = netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-96)
	}
	return p, nil
}

// hostPort splits host, host:port, [v6] and [v6]:port, and checks both parts.
// The port is "" where there is none, the host too.
func hostPort(s string) (host, port string, err error) {
	bracketed := strings.HasPrefix(s, "[")
	rest := ""
	if bracketed {
		var closed bool
		if host, rest, closed = strings.Cut(s[1:], "]"); !closed {
			return "", "", errors.New("has a [ without its ]")
		}
		if a, err := netip.ParseAddr(host); err != nil || !a.Is6() || a.Zone() != "" {
			return "", "", errors.New("has no IPv6 address between its brackets")
		}
	} else if i := strings.IndexByte(s, ':'); i >= 0 {
		host, rest = s[:i], s[i:]
		if strings.Count(s, ":") > 1 {
			return "", "", errors.New("has more than one colon: put an IPv6 address in brackets")
		}
	} else {
		host = s
	}
	if !bracketed && host != "" && !validHost(host) {
		return "", "", errors.New("has no valid host name or address")
	}
	switch {
	case rest == "":
	case rest[0] != ':':
		return "", "", errors.New("has something between the ] and the port")
	default:
		port = rest[1:]
		if n, err := strconv.ParseUint(port, 10, 16); err != nil || strconv.FormatUint(n, 10) != port {
			return "", "", errors.New("has no port from 0 to 65535 behind its colon")
		}
	}
	return host, port, nil
}

var label = regexp.MustCompile(`^[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?$`)

// validHost checks a name or an IPv4 address.
func validHost(h string) bool {
	if len(h) > 253 {
		return false
	}
	last := ""
	for last = range strings.SplitSeq(strings.TrimSuffix(h, "."), ".") {
		if !label.MatchString(last) {
			return false
		}
	}
	if strings.Trim(last, "0123456789") == "" { // no name ends so, but a slip in an address does
		a, err := netip.ParseAddr(h)
		return err == nil && a.Is4()
	}
	return true
}

// checkListen checks an address to listen at.
func checkListen(s string) error {
	_, port, err := hostPort(s)
	if !strings.Contains(s, ":") || err == nil && port == "" {
		err = errors.New("has no port")
	}
	if err != nil {
		return fmt.Errorf("%q %w; want host:port or :port, such as :8080", s, err)
	}
	return nil
}

// sameSocket tells whether two valid listen addresses cannot both be had. Those of
// IPv4 and of IPv6 are apart, but for the one of both that has no host.
func sameSocket(a, b string) bool {
	ah, ap, errA := hostPort(a)
	bh, bp, errB := hostPort(b)
	if errA != nil || errB != nil { // a path, or systemd's
		return a == b
	}
	family := func(h string) int {
		switch ip, err := netip.ParseAddr(h); {
		case err != nil: // a name: who knows
			return 0
		case ip.Is4():
			return 4
		}
		return 6
	}
	if fa, fb := family(ah), family(bh); fa != fb && fa != 0 && fb != 0 {
		return false
	}
	every := func(h string) bool { return h == "" || h == "0.0.0.0" || h == "::" }
	return ap == bp && ap != "0" && (every(ah) || every(bh) || strings.EqualFold(ah, bh))
}

// originURL checks the address of a shop and returns it without a last slash.
func originURL(s string) (string, error) {
	if path, ok := strings.CutPrefix(s, "unix:"); ok {
		path = "/" + strings.TrimLeft(path, "/")
		if !strings.HasPrefix(s, "unix:/") || path == "/" || len(path) > maxSocketPath || strings.ContainsRune(path, 0) {
			return "", fmt.Errorf("%q: want unix:/path, at most %d bytes of it", s, maxSocketPath)
		}
		return "unix:" + path, nil
	}
	scheme, rest, found := strings.Cut(s, "://")
	if strings.Contains(s, "@") {
		return "", errors.New("must carry no user name or password") // and neither must this message
	}
	if scheme = strings.ToLower(scheme); !found || scheme != "http" && scheme != "https" {
		return "", fmt.Errorf("%q: want http://host:port, https://host:port or unix:/path", s)
	}
	rest = strings.TrimSuffix(rest, "/")
	if strings.ContainsAny(rest, `/?#\`) {
		return "", fmt.Errorf("%q has something behind the host: every request keeps its own path and query", s)
	}
	host, port, err := hostPort(rest)
	switch {
	case err != nil:
		return "", fmt.Errorf("%q %w", s, err)
	case host == "":
		return "", fmt.Errorf("%q names no host", s)
	case port == "0" || strings.HasSuffix(rest, ":"):
		return "", fmt.Errorf("%q has no port behind its colon", s)
	}
	return scheme + "://" + rest, nil
}

// maxSocketPath is what the kernel takes.
const maxSocketPath = 107

// reachesItself tells whether an origin is the gate's own listener.
func reachesItself(origin, listen string) bool {
	scheme, rest, found := strings.Cut(origin, "://")
	if !found { // a socket of this machine
		return origin == listen
	}
	host, port, _ := hostPort(rest)
	if port == "" {
		port = map[string]string{"http": "80", "https": "443"}[scheme]
	}
	on, at, err := hostPort(listen)
	if err != nil || port != at {
		return false
	}
	here := func(h string) bool {
		a, err := netip.ParseAddr(h)
		return strings.EqualFold(h, "localhost") || err == nil && (a.IsLoopback() || a.IsUnspecified())
	}
	return strings.EqualFold(host, on) || here(host) && (on == "" || here(on))
}

var scheme = regexp.MustCompile(`^[a-z][a-z0-9+.-]*$`)

// corsOrigin checks an origin as browsers send it in the header of that name.
func corsOrigin(s string) error {
	bad := func(why string) error { return fmt.Errorf("%q %s", s, why) }
	if strings.Contains(s, "*") {
		return bad("has a star: name each origin whose scripts may use the rooms")
	}
	if s == "null" {
		return bad("is what every sandboxed page sends")
	}
	sch, rest, found := strings.Cut(s, "://")
	if !found || !scheme.MatchString(strings.ToLower(sch)) {
		return bad("is no origin: want scheme://host, such as https://app.shop.example")
	}
	if strings.ContainsAny(rest, `/?#\@`) {
		return bad("has more than scheme, host and port, and would never be equal to what a browser sends")
	}
	host, port, err := hostPort(rest)
	switch {
	case err != nil:
		return fmt.Errorf("%q %w", s, err)
	case host == "":
		return bad("names no host")
	case s != strings.ToLower(s):
		return bad("has capital letters, which browsers do not send: write " + strings.ToLower(s))
	case sch == "http" && port == "80", sch == "https" && port == "443", strings.HasSuffix(rest, ":"):
		return bad("has a port that browsers leave out: write " + sch + "://" + strings.TrimRight(rest, ":0123456789"))
	}
	return nil
}

// userinfo is what may stand before the @ of a URL as it is (RFC 3986, 3.2.1).
var userinfo = regexp.MustCompile(`^[A-Za-z0-9._~!$&'()*+,;=:%-]*$`)

var storePrefix = regexp.MustCompile(`^[A-Za-z0-9_.:-]{1,64}$`)

const storeForms = "memory, redis://host:port/db, rediss://host:port/db, redis+sentinel://host,host/master/db or redis+cluster://host,host"

// checkStore checks where lines are to live. No message holds any part of a URL:
// where a password is not encoded nobody knows where it ends.
func checkStore(s string) error {
	if s == "memory" {
		return nil
	}
	kind, rest, found := strings.Cut(s, "://")
	switch kind {
	case "redis", "rediss", "redis+sentinel", "redis+cluster":
	default:
		found = false
	}
	if !found {
		return errors.New("want " + storeForms)
	}
	if strings.ContainsAny(rest, "# \t\r\n\\") {
		return errors.New("has a character that must be percent-encoded in a URL")
	}
	rest, query, _ := strings.Cut(rest, "?")
	authority, path, _ := strings.Cut(rest, "/")
	if strings.Contains(path, "@") || strings.Contains(query, "@") {
		return errors.New("has an @ behind the host: percent-encode the password")
	}
	if at := strings.LastIndexByte(authority, '@'); at >= 0 {
		user, password, _ := strings.Cut(authority[:at], ":")
		for _, part := range []string{user, password} {
			if _, err := url.PathUnescape(part); err != nil || !userinfo.MatchString(part) {
				return errors.New("has a user name or password that is not percent-encoded")
			}
		}
		authority = authority[at+1:]
	}
	hosts := strings.Split(authority, ",")
	if len(hosts) > 1 && (kind == "redis" || kind == "rediss") {
		return errors.New("names several hosts: that takes redis+sentinel:// or redis+cluster://")
	}
	for i, h := range hosts {
		host, port, err := hostPort(h)
		switch {
		case err != nil:
			return fmt.Errorf("host %d %w", i+1, err)
		case host == "":
			return fmt.Errorf("host %d has no name", i+1)
		case port == "0" || strings.HasSuffix(h, ":"):
			return fmt.Errorf("host %d has no port behind its colon", i+1)
		}
	}
	switch db := path; kind {
	case "redis+cluster":
		if path != "" {
			return errors.New("a cluster has no numbered databases: leave out what follows the hosts")
		}
	case "redis+sentinel":
		var master string
		if master, db, _ = strings.Cut(path, "/"); master == "" {
			return errors.New("does not name the master: redis+sentinel://host,host/master")
		}
		if !storePrefix.MatchString(master) {
			return errors.New("has a master name with characters that Sentinel does not allow")
		}
		fallthrough
	default:
		if n, err := strconv.ParseUint(db, 10, 16); db != "" && (err != nil || strconv.FormatUint(n, 10) != db) {
			return errors.New("the database is not a number")
		}
	}
	seen := false
	for pair := range strings.SplitSeq(query, "&") {
		name, value, _ := strings.Cut(pair, "=")
		switch {
		case pair == "" && query == "":
		case name != "prefix":
			return errors.New("knows no other parameter than ?prefix=")
		case seen:
			return errors.New("has two prefixes")
		case !storePrefix.MatchString(value):
			return errors.New("the prefix may have letters, digits and _ . : -, at most 64")
		default:
			seen = true
		}
	}
	return nil
}

// hiddenStore is a store's URL without its password.
func hiddenStore(s string) string {
	kind, rest, found := strings.Cut(s, "://")
	at := strings.LastIndexByte(rest, '@')
	if !found || at < 0 {
		return s
	}
	user, _, _ := strings.Cut(rest[:at], ":")
	return kind + "://" + user + ":***" + rest[at:]
}
