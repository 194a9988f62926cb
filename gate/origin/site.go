package origin

import (
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"time"
)

// site is one URL, and the servers that it stands for at present.
type site struct {
	group   *Group
	url     string
	host    string      // for requests that name none
	name    string      // to look up; "": there is one address, for good
	port    string      // of name
	tls     *tls.Config // nil for http
	servers []*Server   // guarded by Group.mu

	looked chan struct{} // closed when the name was looked up for the first time
	err    error         // why it was not found; guarded by Group.mu
}

// newSite takes a URL apart: http://host:port, https://host:port or unix:/path.
func (g *Group) newSite(raw string) (*site, error) {
	st := &site{group: g, url: raw, looked: make(chan struct{})}
	if path, ok := strings.CutPrefix(raw, "unix:"); ok {
		path = strings.TrimPrefix(path, "//")
		if !strings.HasPrefix(path, "/") {
			return nil, fmt.Errorf("origin %q: the socket's path must begin with /", raw)
		}
		st.host = "localhost"
		st.servers = []*Server{newServer(st, "unix", path)}
		close(st.looked)
		return st, nil
	}
	u, err := url.Parse(raw)
	if err != nil {
		return nil, fmt.Errorf("origin: %w", err)
	}
	switch {
	case u.Scheme != "http" && u.Scheme != "https":
		return nil, fmt.Errorf("origin %q: want http://, https:// or unix:/", raw)
	case u.Hostname() == "":
		return nil, fmt.Errorf("origin %q: no host", raw)
	case u.User != nil:
		return nil, fmt.Errorf("origin %q: a user is not supported", u.Redacted())
	case u.Path != "" && u.Path != "/" || u.RawQuery != "" || u.ForceQuery || u.Fragment != "":
		return nil, fmt.Errorf("origin %q: a path or query is not supported", raw)
	}
	st.host = u.Host
	st.port = "80"
	if u.Scheme == "https" {
		st.port = "443"
		st.tls = &tls.Config{}
		if g.c.TLS != nil {
			st.tls = g.c.TLS.Clone()
		}
		or(&st.tls.ServerName, u.Hostname())
		st.tls.NextProtos = []string{"http/1.1"}
		st.tls.ClientSessionCache = tls.NewLRUClientSessionCache(0)
	}
	if u.Port() != "" {
		st.port = u.Port()
	}
	if _, err := netip.ParseAddr(u.Hostname()); err == nil {
		st.servers = []*Server{newServer(st, "tcp", net.JoinHostPort(u.Hostname(), st.port))}
		close(st.looked)
		return st, nil
	}
	st.name = u.Hostname()
	return st, nil
}

// Resolver looks names up, as net.Resolver does.
type Resolver interface {
	LookupNetIP(ctx context.Context, network, host string) ([]netip.Addr, error)
}

const (
	maxAddresses = 64          // of one name
	lookupTime   = time.Minute // longest that a lookup may take
	againAfter   = time.Second // when a name was looked up in vain
)

// follow looks the name up again and again until ctx ends.
func (st *site) follow(ctx context.Context) {
	g := st.group
	lost := false // told that the name is not to be found
	for first := true; ; first = false {
		addrs, err := st.lookUp(ctx)
		if ctx.Err() != nil {
			return
		}
		switch {
		case err == nil:
			if lost {
				g.c.Log.Info("the name of an origin is found again", "origin", st.url)
			}
			lost = false
			st.become(addrs)
		case !lost:
			lost = true
			g.mu.Lock()
			st.err = fmt.Errorf("%w: %w", ErrConnect, err)
			g.mu.Unlock()
			g.c.Log.Warn("the name of an origin is not found; the addresses from before, if any, stay in use",
				"origin", st.url, slog.Any("error", err))
		}
		if first {
			close(st.looked)
		}
		wait := g.c.MaxAge
		if err != nil {
			wait = min(wait, againAfter)
		}
		if !pause(ctx, wait) {
			return
		}
	}
}

func (st *site) lookUp(ctx context.Context) ([]netip.Addr, error) {
	ctx, cancel := context.WithTimeout(ctx, lookupTime)
	defer cancel()
	addrs, err := st.group.c.Resolver.LookupNetIP(ctx, "ip", st.name)
	if err != nil {
		return nil, err
	}
	var out []netip.Addr
	for _, a := range addrs {
		if a = a.Unmap(); !slices.Contains(out, a) && len(out) < maxAddresses {
			out = append(out, a)
		}
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("lookup %s: no address", st.name)
	}
	return st.oneFamily(ctx, out), nil
}

// oneFamily keeps the addresses of one family where a name has both. Often they
// lead to one and the same server, and it may listen on one of them only, as with
// localhost: then the other would look like a server that is always broken. The
// family in use stays while one of its servers is well; otherwise the first address
// that can be reached decides.
func (st *site) oneFamily(ctx context.Context, addrs []netip.Addr) []netip.Addr {
	isV4 := func(a netip.Addr) bool { return a.Is4() }
	if slices.IndexFunc(addrs, isV4) < 0 || !slices.ContainsFunc(addrs, netip.Addr.Is6) {
		return addrs
	}
	only := func(v4 bool) []netip.Addr {
		return slices.DeleteFunc(slices.Clone(addrs), func(a netip.Addr) bool { return a.Is4() != v4 })
	}
	g := st.group
	g.mu.Lock()
	servers := st.servers
	g.mu.Unlock()
	for _, s := range servers {
		if a, ok := s.ip(); ok && s.isWell() && slices.Contains(addrs, a) {
			return only(a.Is4())
		}
	}
	for _, a := range addrs {
		dial, cancel := context.WithTimeout(ctx, g.c.ConnectTimeout)
		nc, err := g.c.Dial(dial, "tcp", net.JoinHostPort(a.String(), st.port))
		cancel()
		if err == nil {
			nc.Close()
			return only(a.Is4())
		}
	}
	return addrs
}

// become makes those addresses the site's servers. Servers that stay keep their
// connections and what is known of them; those that go are used no more.
func (st *site) become(addrs []netip.Addr) {
	g := st.group
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.ctx.Err() != nil {
		return
	}
	old := st.servers
	st.servers = nil
	for _, a := range addrs {
		at := net.JoinHostPort(a.String(), st.port)
		if i := slices.IndexFunc(old, func(s *Server) bool { return s.addr == at }); i >= 0 {
			st.servers = append(st.servers, old[i])
			continue
		}
		st.servers = append(st.servers, newServer(st, "tcp", at))
	}
	g.publish() // before the old ones are closed: who waited there goes on to the new ones
	for _, s := range old {
		if !slices.Contains(st.servers, s) {
			s.close()
		}
	}
	if old != nil && !slices.Equal(old, st.servers) {
		g.c.Log.Info("the addresses of an origin changed", "origin", st.url, "addresses", fmt.Sprint(st.servers))
	}
	for _, s := range st.servers {
		g.startChecks(s)
	}
}
