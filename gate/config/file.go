package config

import (
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/sluicegate/sluice/gate/route"
	"github.com/sluicegate/sluice/queue"
	"go.yaml.in/yaml/v3"
)

// loader fills a Config from what the reader reads.
type loader struct {
	*reader
	c        *Config
	hasRooms bool // the file has the key
	// given are secrets of the file, named that it says where they are.
	given []secret
	named bool
}

func (l *loader) file(root *yaml.Node) {
	c := l.c
	l.object(root, "", "", []field{
		{"listen", l.listeners},
		{"tls", l.tls},
		{"admin", l.admin},
		{"store", func(n *yaml.Node, key string) {
			if s, ok := l.scalar(n, key, storeForms); ok {
				c.Store = l.store(key, s)
			}
		}},
		{"on_store_loss", l.word(&c.OnStoreLoss, "hold", "admit")},
		{"secret", l.secret},
		{"secret_file", l.secretFile},
		{"trusted_proxies", func(n *yaml.Node, key string) { c.TrustedProxies = l.prefixes(n, key) }},
		{"proxy_protocol", l.flag(&c.ProxyProtocol)},
		{"https", l.word(&c.HTTPS, "auto", "always")},
		{"cors_origins", l.corsOrigins},
		{"hosts", l.hosts},
		{"headers", l.headers},
		{"limits", l.limits},
		{"origin", l.originOf},
		{"visitors", l.visitors},
		{"log", func(n *yaml.Node, key string) {
			level := "info"
			l.object(n, key, "log", []field{
				{"level", l.word(&level, "debug", "info", "warn", "error")},
				{"format", l.word(&c.Log.Format, "json", "text")},
			})
			if err := c.Log.Level.UnmarshalText([]byte(level)); err != nil {
				c.Log.Level = slog.LevelInfo // and word has said so
			}
		}},
		{"shutdown", func(n *yaml.Node, key string) {
			l.object(n, key, "shutdown", []field{
				{"delay", l.span(&c.Shutdown.Delay, 0, 10*time.Minute)},
				{"timeout", l.span(&c.Shutdown.Timeout, time.Second, time.Hour)},
			})
		}},
		{"rooms", l.rooms},
	})
}

func (l *loader) admin(n *yaml.Node, key string) {
	l.object(n, key, "admin", []field{
		{"listen", func(n *yaml.Node, key string) {
			if s, ok := l.scalar(n, key, "an address such as 127.0.0.1:9090"); ok {
				l.c.Admin.Listen = l.adminListen(key, s)
			}
		}},
		{"tokens_file", func(n *yaml.Node, key string) {
			if s, ok := l.scalar(n, key, "the path of a file"); ok && s != "" {
				l.c.Admin.TokensFile = l.local(s)
				l.tokens(key)
			}
		}},
	})
}

func (l *loader) headers(n *yaml.Node, key string) {
	trace := "make"
	l.object(n, key, "headers", []field{
		{"via", l.flag(&l.c.Headers.Via)},
		{"traceparent", l.word(&trace, "make", "pass")},
	})
	l.c.Headers.Trace = trace == "make"
}

// adminListen and store take a value wherever it came from.
func (l *loader) adminListen(key, s string) string {
	if err := checkListen(s); err != nil {
		l.problem(key, "%s", err)
	}
	return s
}

func (l *loader) store(key, s string) string {
	if err := checkStore(s); err != nil {
		l.problem(key, "%s", err)
	}
	return s
}

func (l *loader) corsOrigins(n *yaml.Node, key string) {
	l.list(n, key, "a list of origins", func(n *yaml.Node, key string) {
		s, ok := l.scalar(n, key, "an origin such as https://app.shop.example")
		if !ok {
			return
		}
		err := corsOrigin(s)
		switch {
		case err != nil:
			l.problem(key, "%s", err)
		case slices.Contains(l.c.CORSOrigins, s):
			l.problem(key, "%q is named twice", s)
		default:
			l.c.CORSOrigins = append(l.c.CORSOrigins, s)
		}
	})
}

func (l *loader) hosts(n *yaml.Node, key string) {
	l.list(n, key, "a list of hosts", func(n *yaml.Node, key string) {
		s, ok := l.scalar(n, key, "a host such as shop.example or *.shop.example")
		if !ok {
			return
		}
		_, err := route.NewHosts(s)
		switch {
		case s == "":
			l.problem(key, "is empty")
		case err != nil:
			l.problem(key, "%s", err)
		case slices.ContainsFunc(l.c.Hosts, func(h string) bool { return strings.EqualFold(h, s) }):
			l.problem(key, "%q is named twice", s)
		default:
			l.c.Hosts = append(l.c.Hosts, s)
		}
	})
}

func (l *loader) prefixes(n *yaml.Node, key string) (out []netip.Prefix) {
	l.some(n, key, "a list of addresses and networks", func(n *yaml.Node, key string) {
		s, ok := l.scalar(n, key, "an address or a network")
		if !ok {
			return
		}
		p, err := parsePrefix(s)
		if err != nil {
			l.problem(key, "%s", err)
			return
		}
		out = append(out, p)
	})
	return out
}

// word reads one of a few words.
func (l *loader) word(to *string, words ...string) func(*yaml.Node, string) {
	want := orList(words)
	return func(n *yaml.Node, key string) {
		s, ok := l.scalar(n, key, want)
		if ok && !slices.Contains(words, s) {
			l.problem(key, "%q: want %s", s, want)
		} else if ok {
			*to = s
		}
	}
}

func orList(words []string) string {
	last := len(words) - 1
	return strings.Join(words[:last], ", ") + " or " + words[last]
}

// flag reads true or false.
func (l *loader) flag(to *bool) func(*yaml.Node, string) {
	return func(n *yaml.Node, key string) {
		switch text, ok := l.scalar(n, key, "true or false"); {
		case !ok:
		case text == "true" || text == "True" || text == "TRUE":
			*to = true
		case text == "false" || text == "False" || text == "FALSE":
			*to = false
		default:
			l.problem(key, "%q: want true or false", text)
		}
	}
}

// span reads a duration.
func (l *loader) span(to *time.Duration, low, high time.Duration) func(*yaml.Node, string) {
	return func(n *yaml.Node, key string) {
		s, ok := l.scalar(n, key, wantSpan)
		if !ok {
			return
		}
		d, err := queue.ParseSpan(s)
		switch {
		case err != nil:
			l.problem(key, "%s", err)
		case d < low || d > high:
			l.problem(key, "%s is not between %s and %s", queue.Span(d), queue.Span(low), queue.Span(high))
		default:
			*to = d
		}
	}
}

const wantSpan = "a duration such as 90s or 10m"

func (l *loader) rooms(n *yaml.Node, key string) {
	l.hasRooms = true
	if !l.list(n, key, "a list of rooms", l.room) {
		return
	}
	if len(l.c.Rooms) == 0 {
		l.problem(key, "is empty: leave it out for one room that is every path")
	}
}

func (l *loader) room(n *yaml.Node, key string) {
	room := newRoom()
	s := &room.Settings
	live := func(name, want string) field {
		return field{name, func(n *yaml.Node, key string) {
			if text, ok := l.scalar(n, key, want); ok {
				l.setting(s, key, name, text)
			}
		}}
	}
	whole := func(d *time.Duration) func(*yaml.Node, string) { return l.span(d, 0, math.MaxInt64) } // Check knows the limits
	l.object(n, key, "rooms[]", []field{
		{"name", func(n *yaml.Node, key string) { room.Name = l.roomName(n, key) }},
		{"match", func(n *yaml.Node, key string) { room.Match = l.matches(n, key) }},
		{"except", func(n *yaml.Node, key string) { room.Except = l.excepts(n, key) }},
		{"match_case", l.flag(&room.MatchCase)},
		live("rate", "a rate such as 600/m, or none"),
		live("burst", "a whole number"),
		live("max_active", "a whole number or none"),
		live("max_waiting", "a whole number or none"),
		live("session", wantSpan),
		{"max_session", func(n *yaml.Node, key string) {
			text, ok := l.scalar(n, key, wantSpan+", or none")
			if !ok || text == "none" {
				return
			}
			d, err := queue.ParseSpan(text)
			switch {
			case err != nil:
				l.problem(key, "%s, or none", err)
			case d == 0:
				l.problem(key, "%q would end every session as it begins: say none", text)
			default:
				s.MaxSession = d
			}
		}},
		{"claim_within", whole(&s.ClaimWithin)},
		{"keep_place", whole(&s.KeepPlace)},
		live("mode", "auto, hold, open or closed"),
		{"poll", func(n *yaml.Node, key string) {
			l.object(n, key, "rooms[].poll", []field{{"min", whole(&s.PollMin)}, {"max", whole(&s.PollMax)}})
		}},
		live("message", "text"),
		{"cookie_domain", func(n *yaml.Node, key string) {
			if text, ok := l.scalar(n, key, "a domain"); ok {
				room.CookieDomain = strings.ToLower(text)
			}
		}},
		{"page", func(n *yaml.Node, key string) { l.page(&room.Page, n, key) }},
	})
	l.c.Rooms = append(l.c.Rooms, room)
}

// setting reads a setting that the admin API changes too, and in the same way.
func (l *loader) setting(s *queue.Settings, key, name, text string) {
	err := s.Set(name, text)
	if p := (queue.Problem{}); errors.As(err, &p) {
		err = p.Err
	}
	if err != nil {
		l.problem(key, "%s", err)
	}
}

const maxName = 32

func (l *loader) roomName(n *yaml.Node, key string) string {
	name, ok := l.scalar(n, key, "a name")
	if !ok {
		return ""
	}
	if name == "" || len(name) > maxName || strings.Trim(name, "abcdefghijklmnopqrstuvwxyz0123456789-") != "" {
		l.problem(key, "%q: a name has 1 to %d of a-z, 0-9 and -: it stands in cookies, keys and labels", name, maxName)
	}
	return name
}

func (l *loader) matches(n *yaml.Node, key string) (out []route.Match) {
	l.list(n, key, "a list such as [{path: /drop}]", func(n *yaml.Node, key string) {
		var m route.Match
		read := func(to *string, want string) func(*yaml.Node, string) {
			return func(n *yaml.Node, key string) {
				if s, ok := l.scalar(n, key, want); ok {
					if *to = s; s == "" {
						l.problem(key, "is empty: leave it out for every %s", key[strings.LastIndexByte(key, '.')+1:])
					}
				}
			}
		}
		if l.object(n, key, "rooms[].match[]", []field{
			{"host", read(&m.Host, "a host")},
			{"path", read(&m.Path, "a path")},
		}) && m == (route.Match{}) && !l.isBad(key) {
			l.problem(key, "names neither host nor path; say path: / for everything")
		}
		out = append(out, m)
	})
	return out
}

func (l *loader) excepts(n *yaml.Node, key string) (out []route.Except) {
	l.list(n, key, "a list such as [{path: /drop/assets}]", func(n *yaml.Node, key string) {
		if isText(n) {
			if !l.isStatic(n, key) {
				out = append(out, route.Except{})
				return
			}
			if slices.ContainsFunc(out, func(o route.Except) bool { return o.Static }) {
				l.problem(key, "static is named twice")
			}
			out = append(out, route.Except{Static: true})
			return
		}
		var e route.Except
		l.object(n, key, "rooms[].except[]", []field{
			{"path", func(n *yaml.Node, key string) {
				var ok bool
				if e.Path, ok = l.scalar(n, key, "a path"); ok && e.Path == "" {
					l.problem(key, "is empty: leave it out for every path")
				}
			}},
			{"methods", func(n *yaml.Node, key string) {
				l.some(n, key, "a list of methods", func(n *yaml.Node, key string) {
					if m, ok := l.scalar(n, key, "a method"); ok && slices.Contains(e.Methods, m) {
						l.problem(key, "%q is named twice", m)
					} else if ok {
						e.Methods = append(e.Methods, m)
					}
				})
				if len(e.Methods) == 0 && !l.isBad(key) {
					l.problem(key, "is empty: leave it out for every method")
				}
			}},
			{"source", func(n *yaml.Node, key string) {
				e.Sources = l.prefixes(n, key)
				if len(e.Sources) == 0 && !l.isBad(key) {
					l.problem(key, "is empty: leave it out for every source")
				}
			}},
		})
		out = append(out, e)
	})
	return out
}

// isStatic reads the one exception that ships under a name.
func (l *loader) isStatic(n *yaml.Node, key string) bool {
	const want = "static, or a mapping of path, methods, source"
	text, ok := l.scalar(n, key, want)
	if ok && text != "static" {
		l.problem(key, "%q: want %s", text, want)
	}
	return ok && text == "static"
}

func (l *loader) page(p *Page, n *yaml.Node, key string) {
	l.object(n, key, "rooms[].page", []field{
		{"status", func(n *yaml.Node, key string) {
			text, ok := l.scalar(n, key, "a status")
			if !ok {
				return
			}
			switch text {
			case "200", "202", "429", "503":
				p.Status, _ = strconv.Atoi(text)
			default:
				l.problem(key, "%q: want 200, 202, 429 or 503", text)
			}
		}},
		{"template", func(n *yaml.Node, key string) {
			text, ok := l.scalar(n, key, "the path of a file")
			if !ok || text == "" {
				return
			}
			p.Template = l.local(text)
			if data, err := readRegular(p.Template); err != nil {
				l.problem(key, "%s", err)
			} else if len(data) > maxFile {
				l.problem(key, "%s is larger than 1 MiB", p.Template)
			}
		}},
		{"entry", func(n *yaml.Node, key string) {
			if text, ok := l.scalar(n, key, "a path"); ok && text != "" {
				if err := checkEntry(text); err != nil {
					l.problem(key, "%s", err)
				}
				p.Entry = text
			}
		}},
	})
}

// checkEntry checks a path that browsers are sent to.
func checkEntry(s string) error {
	switch {
	case s[0] != '/', strings.HasPrefix(s, "//"):
		return fmt.Errorf("%q must be a path of this site, starting with one slash", s)
	case len(s) > 2000:
		return errors.New("is longer than 2000 bytes")
	}
	for _, c := range s {
		if c <= ' ' || c == 0x7f || c == '\\' || c == '"' || c == '<' || c == '>' {
			return fmt.Errorf("%q has the character %q, which must be percent-encoded", s, c)
		}
	}
	return nil
}
