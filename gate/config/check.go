package config

import (
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"slices"
	"strings"

	"github.com/sluicegate/sluice/gate/page"
	"github.com/sluicegate/sluice/gate/route"
	"golang.org/x/net/publicsuffix"
)

// check looks at how the values go together. What has a problem already is left
// out of it, so that one slip is told once.
func (l *loader) check() {
	c := l.c
	l.checkOrigin()
	l.checkTLS()
	// Who may connect to a unix socket is trusted, and systemd's may be one.
	overTCP := slices.ContainsFunc(c.Listen, func(v Listener) bool {
		return !strings.HasPrefix(v.Address, "unix:") && v.Address != "systemd" && !strings.HasPrefix(v.Address, "systemd:")
	})
	if c.ProxyProtocol && overTCP && len(c.TrustedProxies) == 0 && !l.isBad("trusted_proxies") && !l.isBad("listen") {
		l.problem("proxy_protocol", "every connection would be closed, as trusted_proxies names nobody: name the load balancers there")
	}
	for _, v := range c.Listen {
		if !l.isBad("admin.listen") && sameSocket(v.Address, c.Admin.Listen) {
			l.problem("admin.listen", "%q and the visitors' %q cannot both be listened at", c.Admin.Listen, v.Address)
		}
	}
	names := map[string]int{}
	for i := range c.Rooms {
		l.checkRoom(i, names)
	}
	l.checkRoutes()
	l.checkHosts()
	l.checkWide()
}

// checkWide warns of networks that are everybody.
func (l *loader) checkWide() {
	for i, p := range l.c.TrustedProxies {
		if p.Bits() == 0 {
			l.warn(l.item("trusted_proxies", i),
				"%s is everybody: any visitor's X-Forwarded-For and X-Forwarded-Proto are believed, and everybody comes from where they like; name the proxies only", p)
		}
	}
	for i, r := range l.c.Rooms {
		for j, e := range r.Except {
			whole := e.Path == "" || slices.ContainsFunc(r.Match, func(m route.Match) bool {
				return strings.TrimSuffix(m.Path, "/") == strings.TrimSuffix(e.Path, "/")
			})
			if !whole || len(e.Methods) > 0 {
				continue
			}
			for k, p := range e.Sources {
				if p.Bits() == 0 {
					l.warn(l.item(fmt.Sprintf("rooms[%d].except[%d].source", i, j), k),
						"%s is everybody with such an address: none of them waits for the room", p)
				}
			}
		}
	}
}

// item is the key of one of a list's values, which may stand there without a list.
func (l *loader) item(key string, i int) string {
	item := fmt.Sprintf("%s[%d]", key, i)
	if _, given := l.at[item]; given {
		return item
	}
	return key
}

// checkHosts warns of a room that an origin may serve under other names.
func (l *loader) checkHosts() {
	if len(l.c.Hosts) > 0 {
		return
	}
	for i, r := range l.c.Rooms {
		for j, m := range r.Match {
			if m.Host == "" {
				continue
			}
			l.warn(fmt.Sprintf("rooms[%d].match[%d].host", i, j),
				"the room is at this host only: an origin that ignores Host serves its pages under any other name, and nobody waits there; "+
					"list all hosts of the site under hosts, and others are refused")
			return
		}
	}
}

func (l *loader) checkRoom(i int, names map[string]int) {
	room := &l.c.Rooms[i]
	at := fmt.Sprintf("rooms[%d]", i)
	if l.bad[at] { // it is no mapping
		return
	}
	if _, given := l.at[at+".name"]; !given && room.Name == "" {
		l.problem(at+".name", "is missing")
	} else if first, twice := names[room.Name]; twice && !l.isBad(at+".name") {
		l.problem(at+".name", "%q is the name of rooms[%d] too", room.Name, first)
	} else if !l.isBad(at + ".name") {
		names[room.Name] = i
	}
	for _, p := range room.Settings.Check() {
		key := at + "." + p.Key
		// What a problem is about may have one of its own.
		about := []string{key}
		switch p.Key {
		case "burst":
			about = append(about, at+".rate")
		case "poll.min", "poll.max":
			about = []string{at + ".poll"}
		}
		told := false
		for _, k := range about {
			told = told || l.isBad(k)
		}
		if !told {
			l.problem(key, "%s", p.Err)
		}
	}
	l.checkCookieDomain(room, at)
	if key := at + ".page.template"; room.Page.Template != "" && !l.isBad(key) {
		_, err := page.New(page.Config{
			Room: room.Name, Message: room.Settings.Message, Template: room.Page.Template, KeepPlace: room.Settings.KeepPlace,
		})
		if err != nil {
			l.problem(key, "%s", strings.ReplaceAll(err.Error(), "\n", " "))
		}
	}
}

// checkCookieDomain wants one cookie to reach every host of a room, and no host
// of anybody else.
func (l *loader) checkCookieDomain(room *Room, at string) {
	key := at + ".cookie_domain"
	if l.isBad(key) || l.isBad(at+".match") {
		return
	}
	d := room.CookieDomain
	if d == "" {
		if _, given := l.at[key]; given {
			return // host-only, said in so many words
		}
		if common := commonDomain(room.Match); common != "" {
			l.problem(key, `is needed, as match names several hosts: with %s one wait counts for all of them, with "" visitors wait at each`, common)
		}
		return
	}
	_, ip := netip.ParseAddr(d)
	switch {
	case strings.HasPrefix(d, "."):
		l.problem(key, "%q: leave out the first dot", d)
	case ip == nil || strings.ContainsAny(d, ":["):
		l.problem(key, "%q: a cookie has no domain on an address", d)
	case !validHost(d) || strings.HasSuffix(d, "."):
		l.problem(key, "%q is not a domain (write others than ASCII letters as xn--...)", d)
	default:
		if suffix, _ := publicsuffix.PublicSuffix(d); suffix == d {
			l.problem(key, "%q is a public suffix, for which browsers take no cookies", d)
			return
		}
		l.checkCovered(room, key)
	}
}

// checkCovered tells in one problem which matches a cookie does not reach.
func (l *loader) checkCovered(room *Room, key string) {
	var first string
	var more []string
	for j, m := range room.Match {
		host := strings.TrimPrefix(strings.ToLower(m.Host), "*.")
		switch {
		case host == room.CookieDomain || strings.HasSuffix(host, "."+room.CookieDomain):
		case first != "":
			more = append(more, fmt.Sprintf("match[%d]", j))
		case host == "":
			first = fmt.Sprintf("match[%d], which is every host", j)
		default:
			first = fmt.Sprintf("the host %q of match[%d]", m.Host, j)
		}
	}
	switch {
	case len(more) > 0:
		l.problem(key, "%q does not cover %s, nor %s", room.CookieDomain, first, strings.Join(more, ", "))
	case first != "":
		l.problem(key, "%q does not cover %s", room.CookieDomain, first)
	}
}

// commonDomain is the narrowest domain whose cookies reach all hosts of a room
// that names several; "" when it names one, or when there is no such domain.
func commonDomain(matches []route.Match) string {
	hosts := map[string]bool{}
	common, several := "", false
	for i, m := range matches {
		if m.Host == "" {
			return ""
		}
		host := strings.ToLower(m.Host)
		hosts[host] = true
		name := strings.TrimPrefix(host, "*.")
		several = several || name != host || len(hosts) > 1
		if i == 0 {
			common = name
		}
		for common != "" && name != common && !strings.HasSuffix(name, "."+common) {
			_, common, _ = strings.Cut(common, ".")
		}
	}
	if _, err := netip.ParseAddr(common); err == nil || !several || common == "" {
		return ""
	}
	if _, err := publicsuffix.EffectiveTLDPlusOne(common); err != nil {
		return "" // common is a public suffix
	}
	return common
}

// checkRoutes compiles the rooms' table for what only that can see, and fills in
// the entries.
func (l *loader) checkRoutes() {
	rooms := l.c.Routes()
	table, err := route.New(rooms)
	problems := slices.DeleteFunc(routeProblems(err), func(p route.Problem) bool {
		room, item := routeKeys(p)
		return l.bad[room] || l.isBad(item) || p.Except >= 0 && l.isBad(room+".match")
	})
	for _, p := range problems {
		_, key := routeKeys(p)
		if _, given := l.at[key]; !given && p.Field == "match" {
			p.Err = errors.New("is missing: what belongs to the room, such as [{path: /drop}]")
		} else if p.Field != "" && p.Field != "match" {
			key += "." + p.Field
		}
		l.problem(key, "%s", p.Err)
	}
	for i := range l.c.Rooms {
		l.checkEntry(i, rooms[i], table)
	}
}

// routeKeys are the keys of the room and of the item that a problem is about.
func routeKeys(p route.Problem) (room, item string) {
	room = fmt.Sprintf("rooms[%d]", p.Room)
	switch {
	case p.Match >= 0:
		return room, fmt.Sprintf("%s.match[%d]", room, p.Match)
	case p.Except >= 0:
		return room, fmt.Sprintf("%s.except[%d]", room, p.Except)
	}
	return room, room + ".match"
}

// routeProblems takes apart what route.New joined.
func routeProblems(err error) (out []route.Problem) {
	if err == nil {
		return nil
	}
	all := []error{err}
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		all = joined.Unwrap()
	}
	for _, err := range all {
		var p route.Problem
		if !errors.As(err, &p) {
			panic("BUG: config: a route error that is no route.Problem: " + err.Error())
		}
		out = append(out, p)
	}
	return out
}

// checkEntry checks that a room's entry leads into the room: by the table of all
// rooms, or by the room's own where another room has a problem.
func (l *loader) checkEntry(i int, own route.Room, table *route.Table) {
	room := &l.c.Rooms[i]
	at := fmt.Sprintf("rooms[%d]", i)
	if l.bad[at] || len(room.Match) == 0 || l.isBad(at+".match") {
		return
	}
	if room.Page.Entry == "" {
		path := room.Match[0].Path
		if path == "" {
			path = "/"
		}
		room.Page.Entry = (&url.URL{Path: path}).EscapedPath()
		return
	}
	key := at + ".page.entry"
	if l.isBad(key) {
		return
	}
	room.Page.Entry = escaped(room.Page.Entry)
	target, _, _ := strings.Cut(room.Page.Entry, "#")
	if table == nil {
		own.Except = nil
		var err error
		if table, err = route.New([]route.Room{own}); err != nil {
			return // told already
		}
		i = 0
	}
	for _, m := range room.Match {
		// A name of the match; where it takes any, one that no other room has.
		host := strings.Replace(m.Host, "*", "any", 1)
		if host == "" {
			host = "host.invalid"
		}
		if in, verdict := table.Find([]byte("GET"), []byte(host), []byte(target), netip.Addr{}); in == i &&
			(verdict == route.Gated || verdict == route.Excepted) {
			return
		}
	}
	l.problem(key, "%q is outside of the room's match", room.Page.Entry)
}

// escaped percent-encodes what is not ASCII.
func escaped(s string) string {
	var b strings.Builder
	for _, c := range []byte(s) {
		if c < 0x80 {
			b.WriteByte(c)
		} else {
			fmt.Fprintf(&b, "%%%02X", c)
		}
	}
	return b.String()
}
