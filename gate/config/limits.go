package config

import (
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Limits are what requests may measure.
type Limits struct {
	Header int64 // bytes of the request line and all fields
	Fields int
	Target int64 // bytes
	Body   int64 // bytes; 0: no limit
}

var defaultLimits = Limits{Header: 16 << 10, Fields: 128, Target: 8 << 10}

func (l *loader) limits(n *yaml.Node, key string) {
	v := &l.c.Limits
	l.object(n, key, "limits", []field{
		{"header", l.size(&v.Header, 4<<10, 1<<20, "")},
		{"fields", l.number(&v.Fields, 16, 512, "")},
		{"target", l.size(&v.Target, 256, 1<<20, "")},
		{"body", l.size(&v.Body, 1, 1<<50, "none")},
	})
	if v.Target >= v.Header && !l.isBad(key+".target") && !l.isBad(key+".header") {
		l.problem(key+".target", "%s do not fit into the %s of limits.header", sizeText(v.Target), sizeText(v.Header))
	}
}

var sizeUnits = []struct {
	name string
	size int64
}{{"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}, {"B", 1}}

// size reads a number of bytes, or the word, if any, that stands for 0.
func (l *loader) size(to *int64, low, high int64, word string) func(*yaml.Node, string) {
	or := ""
	if word != "" {
		or = ", or " + word
	}
	return func(n *yaml.Node, key string) {
		s, ok := l.scalar(n, key, "a size such as 16KiB"+or)
		if !ok {
			return
		}
		if word != "" && s == word {
			*to = 0
			return
		}
		switch v, ok := parseSize(s); {
		case !ok:
			l.problem(key, "%q: want a whole number of B, KiB, MiB or GiB, such as 16KiB%s", s, or)
		case v < low || v > high:
			l.problem(key, "%s is not between %s and %s%s", s, sizeText(low), sizeText(high), or)
		default:
			*to = v
		}
	}
}

func parseSize(s string) (int64, bool) {
	for _, u := range sizeUnits {
		if digits, found := strings.CutSuffix(s, u.name); found {
			v, err := strconv.ParseUint(digits, 10, 31)
			return int64(v) * u.size, err == nil
		}
	}
	return 0, false
}

// sizeText writes a size in the largest unit of which it is a whole number.
func sizeText(v int64) string {
	u := sizeUnits[len(sizeUnits)-1]
	for _, larger := range sizeUnits {
		if v%larger.size == 0 {
			u = larger
			break
		}
	}
	return strconv.FormatInt(v/u.size, 10) + u.name
}
