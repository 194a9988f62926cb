package gate

import (
	"cmp"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sluicegate/sluice/gate/config"
	"github.com/sluicegate/sluice/gate/door"
	"github.com/sluicegate/sluice/gate/origin"
	"github.com/sluicegate/sluice/gate/page"
	"github.com/sluicegate/sluice/gate/peer"
	"github.com/sluicegate/sluice/gate/proxy"
	"github.com/sluicegate/sluice/gate/route"
	"github.com/sluicegate/sluice/gate/token"
	"github.com/sluicegate/sluice/metrics"
	"github.com/sluicegate/sluice/queue"
)

var errNotReady = errors.New("not ready: starting or stopping")

// site is what a configuration means for requests. It does not change.
type site struct {
	table   *route.Table
	rooms   []*room
	byName  map[string]*room
	ring    *token.Ring
	trust   *peer.Trust
	origin  config.Origin
	headers config.Headers
	pace    pace
	byAddr  *door.Addresses // nil: nothing is limited by address
	limits  config.Limits
	proxy   *proxy.Proxy
	secure  bool // visitors use https whatever the hop says
	https   toHTTPS
	origins []string     // whose scripts may use gated paths
	hosts   *route.Hosts // that the site has; nil: any
	plain   *page.Page
}

// pace is how slow a visitor may be with a body.
type pace struct {
	whole   time.Duration
	minRate int
}

// room is one room as requests see it.
type room struct {
	name     string
	id       uint32 // stands in tokens
	settings queue.Settings
	line     *queue.Line
	stop     func()

	cookie       []byte // name
	cookieDomain string
	entry        string
	status       int
	use          func(proxy.Tag) // the session of a long transfer goes on

	pages *page.Page // without the operator's message
	mu    sync.Mutex
	look  atomic.Pointer[look]
}

// look is how a room shows itself while the operator's message stays the same.
type look struct {
	message string
	json    []byte // of message
	page    *page.Page
}

func (g *Gate) newSite(c *config.Config) (*site, error) {
	s := &site{byName: make(map[string]*room), secure: c.HTTPS == "always", https: newToHTTPS(&c.TLS), origins: c.CORSOrigins}
	var err error
	if s.ring, err = token.NewRing(c.Secrets); err != nil {
		return nil, err
	}
	for i := range c.Rooms {
		r, err := newRoom(&c.Rooms[i])
		if err != nil {
			return nil, err
		}
		s.rooms = append(s.rooms, r)
		s.byName[r.name] = r
	}
	if s.table, err = route.New(withReserved(c.Routes())); err != nil {
		return nil, err
	}
	if s.hosts, err = newHosts(c); err != nil {
		return nil, err
	}
	if s.plain, err = page.New(page.Config{}); err != nil {
		return nil, err
	}
	s.trust = peer.NewTrust(c.TrustedProxies)
	s.byAddr = g.newAddresses(&c.Visitors.PerAddress)
	s.origin, s.headers, s.limits, s.pace = c.Origin, c.Headers, c.Limits, pace{c.Visitors.BodyTimeout, c.Visitors.MinRate}
	if old := g.site.Load(); old != nil && reflect.DeepEqual(old.origin, s.origin) && old.pace == s.pace {
		s.proxy = old.proxy // its connections and tunnels live on
		return s, nil
	}
	o := &c.Origin
	clientTLS, err := o.TLS.Client()
	if err != nil {
		return nil, err
	}
	s.proxy, err = proxy.New(proxy.Config{
		Origin: origin.Config{
			URLs: o.URLs, Balance: o.Balance, Host: o.Host, TLS: clientTLS, MaxAge: o.Resolve,
			ConnectTimeout: o.ConnectTimeout, KeepAlive: o.KeepAlive,
			MaxConns: o.MaxConns, MaxQueue: cmp.Or(o.Queue.Max, -1), BusyWait: o.Queue.Wait,
			Failures: o.Failures, Check: o.Check, Log: g.log, Retried: g.metrics.OriginRetry,
		},
		HeaderTimeout: o.HeaderTimeout, IdleTimeout: o.IdleTimeout, Host: o.Host,
		BodyTimeout: c.Visitors.BodyTimeout, MinRate: c.Visitors.MinRate,
		Tunnels: g.tunnels, TunnelTimeout: o.Tunnels.IdleTimeout, Tunnel: g.metrics.OpenTunnels,
		Failed: g.failedLate, Date: httpDate,
	})
	return s, err
}

// newAddresses keeps the books where the limits stay the same.
func (g *Gate) newAddresses(p *config.PerAddress) *door.Addresses {
	l := door.AddressLimits{Conns: p.MaxConns, Requests: p.Requests, Newcomers: p.Newcomers, IPv4: p.IPv4, IPv6: p.IPv6}
	if old := g.site.Load(); old != nil && old.byAddr != nil && old.byAddr.Limits() == l {
		return old.byAddr
	}
	return door.NewAddresses(l)
}

// failedLate is told what broke after an answer had begun.
func (g *Gate) failedLate(err error) {
	if errors.Is(err, proxy.ErrSlow) {
		g.metrics.Refused(metrics.RefusedSlowReader)
	}
	g.metrics.OriginError(proxy.Kind(err))
}

// newHosts gathers the hosts of a site: those listed and those that rooms name.
func newHosts(c *config.Config) (*route.Hosts, error) {
	if len(c.Hosts) == 0 {
		return nil, nil
	}
	names := slices.Clone(c.Hosts)
	for _, r := range c.Rooms {
		for _, m := range r.Match {
			if m.Host != "" {
				names = append(names, m.Host)
			}
		}
	}
	return route.NewHosts(names...)
}

// withReserved adds a room that nobody is let into: the gate's own paths, so that no
// spelling of them is taken for the site's.
func withReserved(rooms []route.Room) []route.Room {
	own := route.Room{Name: "the gate's own", Match: []route.Match{{Path: string(apiPrefix)}}}
	for _, r := range rooms {
		for _, m := range r.Match {
			reserved := route.Match{Host: m.Host, Path: string(apiPrefix)}
			if !slices.Contains(own.Match, reserved) {
				own.Match = append(own.Match, reserved)
			}
		}
	}
	return append(slices.Clip(rooms), own)
}

func newRoom(c *config.Room) (*room, error) {
	r := &room{
		name: c.Name, id: token.RoomID(c.Name), settings: c.Settings,
		cookie: append(cookiePrefix[:len(cookiePrefix):len(cookiePrefix)], c.Name...), cookieDomain: c.CookieDomain,
		entry: c.Page.Entry, status: c.Page.Status,
	}
	var err error
	r.pages, err = page.New(page.Config{Room: c.Name, Template: c.Page.Template, KeepPlace: c.Settings.KeepPlace})
	if err != nil {
		return nil, fmt.Errorf("room %q: %w", c.Name, err)
	}
	r.use = func(t proxy.Tag) {
		r.line.Use(queue.Pass{
			ID: queue.ID(t[0]), Place: queue.Time(t[1]), Called: queue.Time(t[2]), Issued: queue.Time(t[3]), Until: queue.Time(t[4]),
		})
	}
	return r, nil
}

// shown returns how the room looks with the message in force.
func (r *room) shown() *look {
	message := r.line.Settings().Message
	if l := r.look.Load(); l != nil && l.message == message {
		return l
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	l := &look{message: message, json: appendJSONString(nil, message), page: r.pages}
	if p, err := r.pages.WithMessage(message); err == nil {
		l.page = p
	}
	r.look.Store(l)
	return l
}

// appendCookieTail writes what follows a token in Set-Cookie.
func (r *room) appendCookieTail(b []byte, secure bool, life time.Duration) []byte {
	b = append(b, "; Path=/; Max-Age="...)
	b = strconv.AppendInt(b, int64(life/time.Second), 10)
	b = append(b, "; HttpOnly"...)
	if r.cookieDomain != "" {
		b = append(b, "; Domain="...)
		b = append(b, r.cookieDomain...)
	}
	if secure {
		return append(b, "; SameSite=None; Secure"...)
	}
	return append(b, "; SameSite=Lax"...)
}
