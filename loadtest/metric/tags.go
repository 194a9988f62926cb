package metric

import (
	"fmt"
	"iter"
	"maps"
	"slices"
	"strings"
)

// Tags are names with values, sorted by name. They never change and compare with
// ==. The zero value has none.
type Tags struct {
	s string // name 0x00 value 0x00, repeated
}

// NewTags takes name, value, name, value... Of one name given twice the last
// value counts.
func NewTags(pairs ...string) Tags { return Tags{}.With(pairs...) }

// TagsOf takes them from a map.
func TagsOf(m map[string]string) Tags {
	var b strings.Builder
	for _, name := range slices.Sorted(maps.Keys(m)) {
		if strings.ContainsRune(name, 0) || strings.ContainsRune(m[name], 0) {
			panic(fmt.Sprintf("BUG: metric: a tag %q with a zero byte", name))
		}
		b.WriteString(name)
		b.WriteByte(0)
		b.WriteString(m[name])
		b.WriteByte(0)
	}
	return Tags{b.String()}
}

// With returns the tags with others added, which win over those there are.
func (t Tags) With(pairs ...string) Tags {
	if len(pairs)%2 != 0 {
		panic(fmt.Sprintf("BUG: metric: tag %q has no value", pairs[len(pairs)-1]))
	}
	if len(pairs) == 0 {
		return t
	}
	m := t.Map()
	for i := 0; i < len(pairs); i += 2 {
		m[pairs[i]] = pairs[i+1]
	}
	return TagsOf(m)
}

// All yields names and values in the order of the names.
func (t Tags) All() iter.Seq2[string, string] {
	return func(yield func(string, string) bool) {
		for s := t.s; s != ""; {
			var name, value string
			name, s, _ = strings.Cut(s, "\x00")
			value, s, _ = strings.Cut(s, "\x00")
			if !yield(name, value) {
				return
			}
		}
	}
}

// Map returns a copy as a map, never nil.
func (t Tags) Map() map[string]string { return maps.Collect(t.All()) }

// Get returns the value of a name.
func (t Tags) Get(name string) (string, bool) {
	for n, v := range t.All() {
		if n == name {
			return v, true
		}
	}
	return "", false
}

// Contain tells whether every tag of the selection is among these.
func (t Tags) Contain(selection Tags) bool {
	if t == selection || selection == (Tags{}) {
		return true
	}
	for name, value := range selection.All() {
		if v, ok := t.Get(name); !ok || v != value {
			return false
		}
	}
	return true
}

// String returns them as k6 writes a selection: scenario:spike,step:join.
func (t Tags) String() string {
	var b strings.Builder
	for name, value := range t.All() {
		if b.Len() > 0 {
			b.WriteByte(',')
		}
		b.WriteString(name + ":" + value)
	}
	return b.String()
}

// ParseSelector reads NAME or NAME{tag:value,tag:value}, as thresholds name
// metrics. Values may stand in double quotes; without them they hold no comma.
func ParseSelector(s string) (name string, tags Tags, err error) {
	name, rest, found := strings.Cut(s, "{")
	name = strings.TrimSpace(name)
	if !validName(name) {
		return "", Tags{}, fmt.Errorf("%q is no name of a metric", name)
	}
	if !found {
		return name, Tags{}, nil
	}
	rest, closed := strings.CutSuffix(strings.TrimRight(rest, " "), "}")
	if !closed {
		return "", Tags{}, fmt.Errorf("%q has a { without a } at its end", s)
	}
	m := map[string]string{}
	for {
		rest = strings.TrimLeft(rest, " ")
		tag, after, found := strings.Cut(rest, ":")
		tag = strings.TrimSpace(tag)
		if !found || tag == "" || strings.ContainsAny(tag, `,"{}`) {
			return "", Tags{}, fmt.Errorf("%q: expected tag:value between { and }", s)
		}
		var value string
		more := false
		if after = strings.TrimLeft(after, " "); strings.HasPrefix(after, `"`) {
			var quoted bool
			if value, after, quoted = strings.Cut(after[1:], `"`); !quoted {
				return "", Tags{}, fmt.Errorf("%q: a quote is not closed", s)
			}
			after = strings.TrimLeft(after, " ")
			if after, more = strings.CutPrefix(after, ","); !more && after != "" {
				return "", Tags{}, fmt.Errorf("%q: expected a comma after tag %s", s, tag)
			}
			rest = after
		} else {
			value, rest, more = strings.Cut(after, ",")
			value = strings.TrimSpace(value)
		}
		if strings.ContainsRune(tag+value, 0) {
			return "", Tags{}, fmt.Errorf("%q has a zero byte", s)
		}
		if _, twice := m[tag]; twice {
			return "", Tags{}, fmt.Errorf("%q gives tag %s twice", s, tag)
		}
		m[tag] = value
		if !more {
			return name, TagsOf(m), nil
		}
	}
}

func validName(s string) bool {
	if s == "" || len(s) > 128 {
		return false
	}
	for i, c := range s {
		letter := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c == '_'
		if !letter && (i == 0 || c < '0' || c > '9') {
			return false
		}
	}
	return true
}
