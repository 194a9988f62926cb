package script

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/sluicegate/sluice/gate/config/problem"
)

const (
	maxFile  = 1 << 20 // bytes
	maxNodes = 200_000 // values, each alias counted as what it stands for
)

var yamlLine = regexp.MustCompile(`^yaml: (?:line (\d+): )?`)

// parse returns the file's one mapping with every alias replaced by a copy of
// what it stands for, nil after a problem.
func (l *loader) parse(data []byte) *yaml.Node {
	if len(data) > maxFile {
		l.add(0, 0, "", "is larger than 1 MiB")
		return nil
	}
	doc, err := decode(data)
	switch {
	case errors.Is(err, io.EOF):
		l.add(0, 0, "", "is empty")
		return nil
	case errors.Is(err, errSecond):
		l.add(doc.Line, doc.Column, "", "a second document begins here: a file holds one script")
		return nil
	case err != nil:
		line := 0
		found := yamlLine.FindStringSubmatch(err.Error())
		message := err.Error()
		if found != nil {
			message = strings.TrimPrefix(message, found[0])
			line, _ = strconv.Atoi(found[1])
		}
		l.add(line, min(line, 1), "", "%s", message)
		return nil
	}
	root := doc.Content[0]
	if root.Kind != yaml.MappingNode {
		l.at(root, "", "expected keys such as scenarios: and thresholds:, found %s", problem.KindOf(root))
		return nil
	}
	return l.flatten(root, "")
}

var errSecond = errors.New("a second document")

func decode(data []byte) (doc *yaml.Node, err error) {
	defer func() {
		if p := recover(); p != nil { // the parser's own bugs, which a script must not set off
			err = fmt.Errorf("cannot be read: %v", p)
		}
	}()
	d := yaml.NewDecoder(bytes.NewReader(spaced(data)))
	var first, second yaml.Node
	if err := d.Decode(&first); err != nil {
		return nil, err
	}
	switch err := d.Decode(&second); {
	case err == nil:
		return &second, errSecond
	case !errors.Is(err, io.EOF):
		return nil, err
	}
	return &first, nil
}

// spaced returns JSON with its indenting tabs as spaces, one for one, since YAML
// takes none.
func spaced(data []byte) []byte {
	if start := bytes.TrimLeft(data, " \t\r\n"); len(start) == 0 || start[0] != '{' {
		return data
	}
	out := bytes.Clone(data)
	quoted := false
	for i := 0; i < len(out); i++ {
		switch {
		case out[i] == '"':
			quoted = !quoted
		case quoted && out[i] == '\\':
			i++
		case !quoted && out[i] == '\t':
			out[i] = ' '
		}
	}
	return out
}

// flatten copies a value without its aliases, anchors and comments, and refuses
// what a script has no use for. It is nil when the walk must end.
func (l *loader) flatten(n *yaml.Node, key string) *yaml.Node {
	if l.nodes++; l.nodes > maxNodes {
		if l.nodes == maxNodes+1 {
			l.at(n, key, "the aliases of this file stand for more than %d values", maxNodes)
		}
		return nil
	}
	if n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	if n.Style&yaml.TaggedStyle != 0 && !slices.Contains([]string{"!!str", "!!int", "!!float", "!!bool", "!!seq", "!!map"}, n.ShortTag()) {
		l.at(n, key, "a tag has no meaning here; put a value that begins with ! in quotes")
		return nil
	}
	out := &yaml.Node{Kind: n.Kind, Style: n.Style, Tag: n.Tag, Value: n.Value, Line: n.Line, Column: n.Column}
	if n.Kind != yaml.MappingNode {
		for i, c := range n.Content {
			if c = l.flatten(c, key+"["+strconv.Itoa(i)+"]"); c == nil {
				return nil
			}
			out.Content = append(out.Content, c)
		}
		return out
	}
	seen := map[string]int{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		k, v := n.Content[i], n.Content[i+1]
		name := k.Value
		switch path := join(key, name); {
		case k.Kind != yaml.ScalarNode:
			l.at(k, key, "a key must be a word, not %s", problem.KindOf(k))
		case k.Tag == "!!merge":
			l.at(k, path, "merge keys are not used here: write the keys out, or use an alias for a whole value")
		case seen[name] > 0:
			l.at(k, path, "is given twice, first in line %d", seen[name])
		default:
			seen[name] = k.Line
			if v = l.flatten(v, path); v == nil {
				return nil
			}
			if v.Line == 0 || problem.IsNull(v) && v.Value == "" {
				v.Line, v.Column = k.Line, k.Column // where people look for what is missing
			}
			out.Content = append(out.Content, &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: name, Line: k.Line, Column: k.Column}, v)
		}
	}
	return out
}

// clone copies a flattened value.
func clone(n *yaml.Node) *yaml.Node {
	out := *n
	out.Content = make([]*yaml.Node, len(n.Content))
	for i, c := range n.Content {
		out.Content[i] = clone(c)
	}
	return &out
}

// expand replaces ${NAME} in every value below n. Keys stay as they are.
func (l *loader) expand(n *yaml.Node, key string, env func(string) (string, bool)) {
	switch n.Kind {
	case yaml.MappingNode:
		for i := 0; i+1 < len(n.Content); i += 2 {
			l.expand(n.Content[i+1], join(key, n.Content[i].Value), env)
		}
	case yaml.SequenceNode:
		for i, c := range n.Content {
			l.expand(c, key+"["+strconv.Itoa(i)+"]", env)
		}
	case yaml.ScalarNode:
		if !strings.Contains(n.Value, "$") {
			return
		}
		text, err := replace(n.Value, env)
		if err != nil {
			l.at(n, key, "%s", err)
			n.Value = ""
			n.Tag = bad
			return
		}
		n.Value = text
		if n.Style&(yaml.SingleQuotedStyle|yaml.DoubleQuotedStyle|yaml.LiteralStyle|yaml.FoldedStyle) == 0 {
			n.Tag = "" // a number now, perhaps
		}
	}
}

// bad marks a value about which something was said already.
const bad = "!bad"

var variable = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)

func replace(s string, env func(string) (string, bool)) (string, error) {
	var out strings.Builder
	for {
		before, after, found := strings.Cut(s, "$")
		out.WriteString(before)
		if !found {
			return out.String(), nil
		}
		switch {
		case strings.HasPrefix(after, "$"):
			out.WriteByte('$')
			s = after[1:]
		case strings.HasPrefix(after, "{"):
			name, rest, closed := strings.Cut(after[1:], "}")
			if !closed || !variable.MatchString(name) {
				return "", errors.New("expected the name of a variable between ${ and }; write $${ for the characters themselves")
			}
			value, ok := env(name)
			if !ok {
				return "", fmt.Errorf("neither env nor the environment has %s", name)
			}
			out.WriteString(value)
			s = rest
		default:
			out.WriteByte('$')
			s = after
		}
	}
}

// join makes the path of a key, whose name may be anything.
func join(key, name string) string {
	if len(name) > 80 {
		name = name[:80] + "..."
	}
	if strings.ContainsAny(name, ".[] \t\r\n\"") || name == "" || !strings.ContainsFunc(name, func(r rune) bool { return r > ' ' }) {
		name = strconv.Quote(name)
	}
	if key == "" {
		return name
	}
	return key + "." + name
}

func (l *loader) add(line, column int, key, format string, args ...any) {
	l.problems = append(l.problems, Problem{File: l.file, Line: line, Column: column, Key: key, Message: fmt.Sprintf(format, args...)})
}

func (l *loader) at(n *yaml.Node, key, format string, args ...any) {
	if n.Tag != bad {
		l.add(n.Line, n.Column, key, format, args...)
	}
}

func (l *loader) wrong(n *yaml.Node, key, want string) {
	l.at(n, key, "expected %s, found %s", want, problem.KindOf(n))
}

// each calls f for every key of a mapping.
func (l *loader) each(n *yaml.Node, key, want string, f func(k, v *yaml.Node, key string)) bool {
	if n.Kind != yaml.MappingNode {
		l.wrong(n, key, want)
		return false
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		f(n.Content[i], n.Content[i+1], join(key, n.Content[i].Value))
	}
	return true
}

func (l *loader) text(n *yaml.Node, key, want string) (string, bool) {
	if n.Kind != yaml.ScalarNode || problem.IsNull(n) || n.Tag == bad {
		l.wrong(n, key, want)
		return "", false
	}
	return n.Value, true
}

// whole reads a whole number.
func (l *loader) whole(n *yaml.Node, key string, least, most int64) int64 {
	s, ok := l.text(n, key, "a whole number")
	if !ok {
		return least
	}
	v, err := strconv.ParseInt(s, 10, 64)
	switch {
	case err != nil:
		l.at(n, key, "%q is no whole number", s)
	case v < least:
		l.at(n, key, "%d is too small: at least %d", v, least)
	case v > most:
		l.at(n, key, "%d is too large: at most %d", v, most)
	default:
		return v
	}
	return least
}

func (l *loader) truth(n *yaml.Node, key string) bool {
	s, ok := l.text(n, key, "true or false")
	if ok && s != "true" && s != "false" {
		l.at(n, key, "%q is neither true nor false", s)
	}
	return s == "true"
}

const maxDuration = 10 * 24 * time.Hour

// duration reads 1m30s, 2d, or a number of milliseconds as k6 does.
func (l *loader) duration(n *yaml.Node, key string, least time.Duration) time.Duration {
	s, ok := l.text(n, key, "a duration such as 30s")
	if !ok {
		return max(least, 1)
	}
	d, err := parseDuration(s)
	switch {
	case err != nil:
		l.at(n, key, "%s", err)
	case d < least && least <= 1:
		l.at(n, key, "%s is too short: more than 0 is needed", s)
	case d < least:
		l.at(n, key, "%s is too short: at least %s", s, least)
	case d > maxDuration:
		l.at(n, key, "%s is too long: at most 10d", s)
	default:
		return d
	}
	return max(least, 1)
}

func parseDuration(s string) (time.Duration, error) {
	fail := fmt.Errorf("%q is no duration: write 500ms, 30s, 1m30s, 2h, 1d or a number of milliseconds", s)
	if ms, err := strconv.ParseFloat(s, 64); err == nil {
		if !(ms >= 0 && ms < math.MaxInt64/1e6) {
			return 0, fail
		}
		return time.Duration(ms * 1e6), nil
	}
	var days time.Duration
	rest := s
	if n, after, found := strings.Cut(s, "d"); found {
		v, err := strconv.ParseUint(n, 10, 16)
		if err != nil {
			return 0, fail
		}
		if days, rest = time.Duration(v)*24*time.Hour, after; rest == "" {
			return days, nil
		}
	}
	d, err := time.ParseDuration(rest)
	if err != nil || d < 0 || days+d < 0 {
		return 0, fail
	}
	return days + d, nil
}
