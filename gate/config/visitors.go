package config

import (
	"strconv"
	"strings"
	"time"

	"github.com/sluicegate/sluice/queue"
	"go.yaml.in/yaml/v3"
)

// Visitors is how much of the gate visitors may take.
type Visitors struct {
	MaxConns      int           // connections at once; 0: as many as the open files allow
	Reserve       int           // of these, in percent, for those who were let in
	HeaderTimeout time.Duration // for a whole header
	BodyTimeout   time.Duration // for a whole request body; 0: no limit
	MinRate       int           // bytes of a body a second, either way; 0: no limit
	PerAddress    PerAddress
}

// PerAddress is how much of it may be one address's. Addresses with the same prefix
// are one.
type PerAddress struct {
	MaxConns   int        // 0: no limit
	Requests   queue.Rate // without a pass; the zero Rate: no limit
	Newcomers  queue.Rate // who take a place; likewise
	IPv4, IPv6 int        // bits
}

var defaultVisitors = Visitors{
	Reserve: 20, HeaderTimeout: 10 * time.Second, MinRate: 500,
	PerAddress: PerAddress{IPv4: 32, IPv6: 64},
}

func (l *loader) visitors(n *yaml.Node, key string) {
	v := &l.c.Visitors
	l.object(n, key, "visitors", []field{
		{"max_conns", l.number(&v.MaxConns, 1, maxConns, "auto")},
		{"reserve", l.share(&v.Reserve, 5, 80)},
		{"header_timeout", l.span(&v.HeaderTimeout, time.Second, 5*time.Minute)},
		{"body_timeout", l.spanOrNone(&v.BodyTimeout, time.Second, 24*time.Hour)},
		{"min_rate", l.number(&v.MinRate, 1, 1<<20, "none")},
		{"per_address", func(n *yaml.Node, key string) {
			a := &v.PerAddress
			l.object(n, key, "visitors.per_address", []field{
				{"max_conns", l.number(&a.MaxConns, 1, maxConns, "none")},
				{"requests", l.rate(&a.Requests)},
				{"newcomers", l.rate(&a.Newcomers)},
				{"ipv4_prefix", l.number(&a.IPv4, 8, 32, "")},
				{"ipv6_prefix", l.number(&a.IPv6, 16, 128, "")},
			})
		}},
	})
}

// spanOrNone reads a duration for which none may stand, kept as 0.
func (l *loader) spanOrNone(to *time.Duration, low, high time.Duration) func(*yaml.Node, string) {
	return func(n *yaml.Node, key string) {
		s, ok := l.scalar(n, key, wantSpan+", or none")
		if !ok {
			return
		}
		d, err := queue.ParseSpan(s)
		switch {
		case s == "none":
			*to = 0
		case err != nil:
			l.problem(key, "%s, or none", err)
		case d < low || d > high:
			l.problem(key, "%s is not between %s and %s, or none", queue.Span(d), queue.Span(low), queue.Span(high))
		default:
			*to = d
		}
	}
}

// number reads a whole number, or the word, if any, that stands for 0.
func (l *loader) number(to *int, low, high int, word string) func(*yaml.Node, string) {
	or := ""
	if word != "" {
		or = ", or " + word
	}
	return func(n *yaml.Node, key string) {
		s, ok := l.scalar(n, key, "a whole number"+or)
		switch v, err := strconv.Atoi(s); {
		case !ok:
		case word != "" && s == word:
			*to = 0
		case err != nil || v < low || v > high:
			l.problem(key, "%q: want a whole number from %d to %d%s", s, low, high, or)
		default:
			*to = v
		}
	}
}

// share reads a part of something, in percent.
func (l *loader) share(to *int, low, high int) func(*yaml.Node, string) {
	return func(n *yaml.Node, key string) {
		s, ok := l.scalar(n, key, "a share such as 20%")
		if !ok {
			return
		}
		digits, percent := strings.CutSuffix(s, "%")
		if v, err := strconv.Atoi(digits); err != nil || !percent || v < low || v > high {
			l.problem(key, "%q: want a share from %d%% to %d%%", s, low, high)
		} else {
			*to = v
		}
	}
}

// rate reads a limit of so many a time.
func (l *loader) rate(to *queue.Rate) func(*yaml.Node, string) {
	return func(n *yaml.Node, key string) {
		s, ok := l.scalar(n, key, "a rate such as 50/s, or none")
		if !ok {
			return
		}
		r, err := queue.ParseRate(s)
		switch {
		case s == "none":
			*to = queue.Rate{}
		case s == "0", strings.HasPrefix(s, "0/"):
			l.problem(key, "%q would refuse everybody: say none for no limit", s)
		case err != nil:
			l.problem(key, "%s", err)
		default:
			*to = r
		}
	}
}
