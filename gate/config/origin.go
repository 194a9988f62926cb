package config

import (
	"cmp"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/sluicegate/sluice/gate/origin"
	"github.com/sluicegate/sluice/gate/route"
	"github.com/sluicegate/sluice/queue"
	"go.yaml.in/yaml/v3"
)

// Origin is the shop.
type Origin struct {
	URLs           []string // http://host:port, https://host:port or unix:/path, nothing after them; at least one
	Balance        origin.Balance
	Host           string // what the origin gets as Host; "": what the visitor sent
	ConnectTimeout time.Duration
	HeaderTimeout  time.Duration
	IdleTimeout    time.Duration
	KeepAlive      time.Duration
	MaxConns       int
	Queue          Queue
	Tunnels        Tunnels
	Resolve        time.Duration // how old the addresses of a name may become
	Failures       origin.Failures
	Check          *origin.Check // nil: none
	TLS            OriginTLS
}

// Queue is where requests wait for a connection to the origin.
type Queue struct {
	Max  int
	Wait time.Duration
}

// Tunnels are WebSockets, each with a connection to the origin of its own.
type Tunnels struct {
	Max         int           // 0: as many as the open files allow
	IdleTimeout time.Duration // without a byte in either direction
}

func defaultOrigin() Origin {
	return Origin{
		ConnectTimeout: 2 * time.Second, HeaderTimeout: 30 * time.Second, IdleTimeout: 5 * time.Minute, KeepAlive: 8 * time.Second,
		MaxConns: 1024, Queue: Queue{Max: 1024, Wait: 250 * time.Millisecond}, Tunnels: Tunnels{IdleTimeout: time.Hour}, Resolve: 10 * time.Second,
		Failures: origin.Failures{Count: 3, Within: 30 * time.Second, Out: 5 * time.Second, MaxOut: time.Minute},
	}
}

const (
	maxOrigins = 64
	maxConns   = 1_000_000
)

func (l *loader) originOf(n *yaml.Node, key string) {
	o := &l.c.Origin
	balance := "round_robin"
	l.object(n, key, "origin", []field{
		{"url", func(n *yaml.Node, key string) {
			l.some(n, key, "a URL or a list of them", func(n *yaml.Node, key string) {
				if s, ok := l.scalar(n, key, "a URL such as http://127.0.0.1:3000"); ok {
					l.origin(key, s)
				}
			})
		}},
		{"balance", l.word(&balance, "round_robin", "least_conns")},
		{"host", l.host(&o.Host)},
		{"connect_timeout", l.span(&o.ConnectTimeout, 10*time.Millisecond, 5*time.Minute)},
		{"header_timeout", l.span(&o.HeaderTimeout, 10*time.Millisecond, time.Hour)},
		{"idle_timeout", l.span(&o.IdleTimeout, time.Second, 24*time.Hour)},
		{"keep_alive", l.span(&o.KeepAlive, 100*time.Millisecond, time.Hour)},
		{"max_conns", l.number(&o.MaxConns, 1, maxConns, "")},
		{"queue", func(n *yaml.Node, key string) {
			l.object(n, key, "origin.queue", []field{
				{"max", l.number(&o.Queue.Max, 0, maxConns, "")},
				{"wait", l.span(&o.Queue.Wait, time.Millisecond, time.Minute)},
			})
		}},
		{"tunnels", func(n *yaml.Node, key string) {
			l.object(n, key, "origin.tunnels", []field{
				{"max", l.number(&o.Tunnels.Max, 1, maxConns, "auto")},
				{"idle_timeout", l.span(&o.Tunnels.IdleTimeout, time.Second, 7*24*time.Hour)},
			})
		}},
		{"resolve", l.span(&o.Resolve, time.Second, time.Hour)},
		{"failures", l.failures},
		{"check", l.originCheck},
		{"tls", l.originTLS},
	})
	if balance == "least_conns" {
		o.Balance = origin.LeastConns
	}
}

// origin takes the address of a shop wherever it came from.
func (l *loader) origin(key, s string) {
	u, err := originURL(s)
	switch {
	case err != nil:
		l.problem(key, "%s", err)
	case slices.Contains(l.c.Origin.URLs, u):
		l.problem(key, "%q is named twice", s)
	case len(l.c.Origin.URLs) == maxOrigins:
		l.problem(key, "%q is one more than %d: give several addresses one name", s, maxOrigins)
	default:
		l.c.Origin.URLs = append(l.c.Origin.URLs, u)
	}
}

// host reads a name to be sent as Host, "" for none.
func (l *loader) host(to *string) func(*yaml.Node, string) {
	return func(n *yaml.Node, key string) {
		s, ok := l.scalar(n, key, "a host such as shop.example")
		if !ok {
			return
		}
		if strings.ContainsAny(s, "/") {
			l.problem(key, "%q: want a host only, without scheme and path, such as shop.example", s)
		} else if host, _, err := hostPort(s); err != nil && s != "" {
			l.problem(key, "%q %s", s, err)
		} else if host == "" && s != "" {
			l.problem(key, "%q names no host", s)
		} else {
			*to = s
		}
	}
}

func (l *loader) failures(n *yaml.Node, key string) {
	f := &l.c.Origin.Failures
	l.object(n, key, "origin.failures", []field{
		{"count", l.number(&f.Count, 1, 1000, "none")},
		{"within", l.span(&f.Within, time.Second, time.Hour)},
		{"out", l.span(&f.Out, 100*time.Millisecond, time.Hour)},
		{"max_out", l.span(&f.MaxOut, 100*time.Millisecond, 24*time.Hour)},
	})
	if f.Count == 0 {
		f.Count = -1
	}
	if _, given := l.at[key+".max_out"]; !given {
		f.MaxOut = max(f.MaxOut, f.Out)
	}
	if f.MaxOut < f.Out && !l.isBad(key) {
		l.problem(key+".max_out", "is shorter than out, %s", queue.Span(f.Out))
	}
}

var statuses = regexp.MustCompile(`^([1-5][0-9][0-9])(?:-([1-5][0-9][0-9]))?$`)

func (l *loader) originCheck(n *yaml.Node, key string) {
	c := &origin.Check{
		Method: "GET", Low: 200, High: 399, Interval: 5 * time.Second, Timeout: 2 * time.Second, Up: 2, Down: 3,
	}
	text := func(want string, take func(key, s string)) func(*yaml.Node, string) {
		return func(n *yaml.Node, key string) {
			if s, ok := l.scalar(n, key, want); ok {
				take(key, s)
			}
		}
	}
	if !l.object(n, key, "origin.check", []field{
		{"path", text("a path such as /health", func(key, s string) {
			if s == "" || s[0] != '/' {
				l.problem(key, "%q: a path begins with a slash", s)
			} else if err := checkEntry("/" + strings.TrimLeft(s, "/")); err != nil {
				l.problem(key, "%s", err)
			} else {
				c.Path = escaped(s)
			}
		})},
		{"method", text("a method such as GET", func(key, s string) {
			switch near := nearest(s, route.Methods); {
			case slices.Contains(route.Methods, s):
				c.Method = s
			case near != "":
				l.problem(key, "%q: unknown method; did you mean %s?", s, near)
			default:
				l.problem(key, "%q: want a method such as GET, HEAD or OPTIONS", s)
			}
		})},
		{"host", l.host(&c.Host)},
		{"status", text("a status or a range of them, such as 200-399", func(key, s string) {
			m := statuses.FindStringSubmatch(s)
			if m == nil {
				l.problem(key, "%q: want a status or a range of them, such as 200-399", s)
				return
			}
			c.Low, _ = strconv.Atoi(m[1])
			c.High, _ = strconv.Atoi(cmp.Or(m[2], m[1]))
			switch {
			case c.High < c.Low:
				l.problem(key, "%q is no range: %d is below %d", s, c.High, c.Low)
			case c.Low < 200:
				l.problem(key, "%q: a status below 200 is no final answer", s)
			}
		})},
		{"interval", l.span(&c.Interval, 100*time.Millisecond, time.Hour)},
		{"timeout", l.span(&c.Timeout, 10*time.Millisecond, 5*time.Minute)},
		{"up", l.number(&c.Up, 1, 1000, "")},
		{"down", l.number(&c.Down, 1, 1000, "")},
	}) {
		return
	}
	if _, given := l.at[key+".path"]; !given {
		l.problem(key+".path", "is missing: what to ask for, such as /health")
	}
	l.c.Origin.Check = c
}

// checkOrigin looks at how the origin's values go together.
func (l *loader) checkOrigin() {
	o := &l.c.Origin
	if len(o.URLs) == 0 && !l.isBad("origin") {
		l.problem("origin.url", "the address of the shop is missing; the flag --origin and SLUICE_ORIGIN set it too")
	}
	for _, v := range l.c.Listen {
		for _, u := range o.URLs {
			if !l.isBad("origin.url") && reachesItself(u, v.Address) {
				l.problem("origin.url", "%q is this gate itself, which listens at %q", u, v.Address)
			}
		}
	}
	l.checkOriginTLS()
}

func isHTTPS(u string) bool { return strings.HasPrefix(u, "https://") }
