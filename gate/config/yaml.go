package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strconv"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"

	"github.com/sluicegate/sluice/gate/config/problem"
)

// reader walks the nodes of a file and gathers what is wrong with them.
type reader struct {
	file     string
	env      func(string) (string, bool)
	problems Problems
	at       map[string]position // of the value of each key that the file has
	bad      map[string]bool     // keys that have a problem
	within   map[string]bool     // keys with something in them that has one
	label    map[string]string   // of keys whose value came from a flag or the environment
	visits   int
}

type position struct{ line, column int }

// maxVisits bounds how many values are read, with every alias counted as what it
// stands for: a small file of aliases of aliases stands for a huge one.
const maxVisits = 200_000

func newReader(file string, env func(string) (string, bool)) *reader {
	return &reader{file: file, env: env, at: map[string]position{}, bad: map[string]bool{}, within: map[string]bool{}, label: map[string]string{}}
}

// add takes down a problem as it is.
func (r *reader) add(p Problem) { r.problems = append(r.problems, p) }

// problem takes down what is wrong with the value of a key, where that stands:
// at the value, at the nearest thing around it, or at the flag or variable.
func (r *reader) problem(key, format string, args ...any) {
	r.mark(key)
	r.add(r.about(key, fmt.Sprintf(format, args...)))
}

// about is a message about the value of a key, with where that stands.
func (r *reader) about(key, message string) Problem {
	p := Problem{Key: key, Message: message}
	if label := r.label[key]; label != "" {
		p.Key = label
	} else if at := r.where(key); at != (position{}) {
		p.File, p.Line, p.Column = r.file, at.line, at.column
	}
	return p
}

// problemAt takes down a problem that does not stand at the key's value.
func (r *reader) problemAt(n *yaml.Node, key, format string, args ...any) {
	r.mark(key)
	r.add(Problem{File: r.file, Line: n.Line, Column: n.Column, Key: key, Message: fmt.Sprintf(format, args...)})
}

func (r *reader) where(key string) position {
	for {
		if at, ok := r.at[key]; ok || key == "" {
			return at
		}
		key = parent(key)
	}
}

// parent of rooms[0].rate is rooms[0], whose parent is rooms, whose parent is
// the file itself, "".
func parent(key string) string { return key[:max(0, strings.LastIndexAny(key, ".["))] }

// mark remembers that a key has a problem.
func (r *reader) mark(key string) {
	r.bad[key] = true
	for key != "" {
		key = parent(key)
		r.within[key] = true
	}
}

// isBad tells whether the key, or anything in it, has a problem.
func (r *reader) isBad(key string) bool { return r.bad[key] || r.within[key] }

// from says that the value of the key is what a flag or a variable says.
func (r *reader) from(key, label string) {
	r.label[key] = label
	delete(r.bad, key)
	delete(r.within, key)
}

// parse returns the file's one document, nil when there is none to walk.
func (r *reader) parse(data []byte) *yaml.Node {
	whole := func(at position, format string, args ...any) *yaml.Node {
		r.add(Problem{File: r.file, Line: at.line, Column: at.column, Message: fmt.Sprintf(format, args...)})
		return nil
	}
	if len(data) > maxFile {
		return whole(position{}, "is larger than 1 MiB")
	}
	data = bytes.TrimPrefix(data, []byte("\uFEFF"))
	if at, what := unreadable(data); what != "" {
		return whole(at, "%s", what)
	}
	doc, err := decode(data)
	switch {
	case errors.Is(err, io.EOF), err == nil && problem.IsNull(doc.Content[0]) && doc.Content[0].Value == "":
		return whole(position{}, "is empty")
	case errors.Is(err, errSecond):
		return whole(position{doc.Line, doc.Column}, "%s", err)
	case err != nil:
		at, message := syntaxError(data, err)
		return whole(at, "%s", message)
	}
	root := doc.Content[0]
	if root.Kind != yaml.MappingNode {
		return whole(position{root.Line, root.Column}, "expected keys such as origin: and rooms:, found %s", problem.KindOf(root))
	}
	return root
}

// unreadable finds what YAML cannot hold. The parser would not say where it is.
func unreadable(data []byte) (position, string) {
	at := position{1, 1}
	for i := 0; i < len(data); {
		c, n := utf8.DecodeRune(data[i:])
		switch {
		case c == utf8.RuneError && n == 1:
			return at, "is not UTF-8"
		case c == '\n' || c == '\r' && !bytes.HasPrefix(data[i:], []byte("\r\n")):
			at = position{at.line + 1, 1}
			i += n
			continue
		case c < ' ' && c != '\t' && c != '\r', c >= 0x7f && c <= 0x9f && c != 0x85, c == '\uFEFF', c == '\uFFFE', c == '\uFFFF':
			return at, fmt.Sprintf("has the character %U, which YAML does not allow", c)
		}
		at.column++
		i += n
	}
	return position{}, ""
}

var errSecond = errors.New("a second document begins here: a file holds one configuration")

// decode returns the document, or with errSecond the one that is too much.
func decode(data []byte) (doc *yaml.Node, err error) {
	defer func() {
		if e := recover(); e != nil { // the parser's own bugs, on which an operator's file must not end the gate
			err = fmt.Errorf("cannot be read as YAML: %v", e)
		}
	}()
	d := yaml.NewDecoder(bytes.NewReader(data))
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

var (
	yamlLine = regexp.MustCompile(`^yaml: (?:line (\d+): )?`)
	anchor   = regexp.MustCompile(`^unknown anchor '.*' referenced$`)
)

// exactWork bounds how many bytes are parsed, over all beginnings of a file, to
// find the line of a syntax error.
const exactWork = 2 << 20

// syntaxError turns the parser's error into a position and words. The line that
// the parser names is that of the block around, sometimes the one before it; the
// first line with which the file can no longer be read is of more use.
func syntaxError(data []byte, err error) (position, string) {
	found := yamlLine.FindStringSubmatch(err.Error())
	if found == nil { // decode's own words
		return position{}, err.Error()
	}
	message := strings.TrimPrefix(err.Error(), found[0])
	if anchor.MatchString(message) {
		// Not with its name, which may be a secret that begins with a star.
		message = "an alias names no anchor; put a value that begins with * in quotes"
	}
	var at position
	at.line, _ = strconv.Atoi(found[1])
	ends := lineEnds(data)
	work := 0
	for n := len(ends) - 1; ; n-- {
		if n == 0 {
			at.line = 1
			break
		}
		beginning := data[:ends[n-1]]
		if work += len(beginning); work > exactWork {
			break
		}
		if _, err := decode(beginning); err == nil || errors.Is(err, io.EOF) || errors.Is(err, errSecond) {
			at.line = n + 1
			break
		}
	}
	if line, column := tabIndent(data); line > 0 && (at.line == 0 || line <= at.line+1) {
		return position{line, column}, "a tab cannot indent YAML: use spaces"
	}
	return at, message
}

// lineEnds returns the offset behind each line.
func lineEnds(data []byte) []int {
	var ends []int
	for i, c := range data {
		if c == '\n' || c == '\r' && (i+1 == len(data) || data[i+1] != '\n') {
			ends = append(ends, i+1)
		}
	}
	if len(ends) == 0 || ends[len(ends)-1] < len(data) {
		ends = append(ends, len(data))
	}
	return ends
}

// tabIndent finds the first tab that indents something.
func tabIndent(data []byte) (line, column int) {
	start := 0
	for i, end := range lineEnds(data) {
		text := bytes.TrimRight(data[start:end], " \t\r\n")
		indent := text[:len(text)-len(bytes.TrimLeft(text, " \t"))]
		if at := bytes.IndexByte(indent, '\t'); at >= 0 && text[len(indent)] != '#' {
			return i + 1, at + 1
		}
		start = end
	}
	return 0, 0
}

// standing remembers where a key's value is, and follows an alias. It is false
// when the walk must end.
func (r *reader) standing(n *yaml.Node, key string) (*yaml.Node, bool) {
	r.visits++
	if r.visits > maxVisits {
		if r.visits == maxVisits+1 {
			r.problemAt(n, key, "the aliases of this file stand for more than %d values", maxVisits)
		}
		return n, false
	}
	if n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	r.at[key] = position{n.Line, n.Column}
	if n.Style&yaml.TaggedStyle != 0 {
		switch n.ShortTag() {
		case "!!str", "!!int", "!!float", "!!bool", "!!seq", "!!map":
		default:
			r.problem(key, "a tag has no meaning here; put a value that begins with ! in quotes")
			return n, false
		}
	}
	return n, true
}

// wrong says that a value is of another kind than expected.
func (r *reader) wrong(n *yaml.Node, key, want string) {
	r.problem(key, "expected %s, found %s", want, problem.KindOf(n))
}

// field is a key of a mapping and who reads its value.
type field struct {
	name string
	read func(n *yaml.Node, key string)
}

// object reads a mapping with no other keys than those of fields.
func (r *reader) object(n *yaml.Node, key, section string, fields []field) bool {
	n, ok := r.standing(n, key)
	if !ok {
		return false
	}
	if n.Kind != yaml.MappingNode {
		names := make([]string, len(fields))
		for i, f := range fields {
			names[i] = f.name
		}
		r.wrong(n, key, "a mapping of "+strings.Join(names, ", "))
		return false
	}
	seen := map[string]int{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		k, v := n.Content[i], n.Content[i+1]
		if k.Kind != yaml.ScalarNode {
			r.problemAt(k, key, "a key must be a word, not %s", problem.KindOf(k))
			continue
		}
		name := k.Value
		path := join(key, name)
		if line, twice := seen[name]; twice {
			r.problemAt(k, path, "is given twice, first in line %d", line)
			continue
		}
		seen[name] = k.Line
		found := false
		for _, f := range fields {
			if f.name == name {
				found = true
				if problem.IsNull(v) && v.Value == "" && v.Style == 0 {
					v.Line, v.Column = k.Line, k.Column // where people look for what is missing
				}
				f.read(v, path)
			}
		}
		if !found {
			r.problemAt(k, path, "%s", unknown(section, name, k.Tag == "!!merge", fields))
		}
	}
	return true
}

// join makes the path of a key, whose name may be anything when it is unknown.
func join(key, name string) string {
	for i, c := range name {
		if i > 60 || !(c == '_' || c == '-' || c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z') {
			name = strconv.Quote(string([]rune(name)[:min(60, utf8.RuneCountInString(name))]))
			break
		}
	}
	if key == "" {
		return name
	}
	return key + "." + name
}

// list reads a list item by item.
func (r *reader) list(n *yaml.Node, key, want string, item func(n *yaml.Node, key string)) bool {
	n, ok := r.standing(n, key)
	if !ok {
		return false
	}
	if n.Kind != yaml.SequenceNode {
		r.wrong(n, key, want)
		return false
	}
	for i, v := range n.Content {
		if problem.IsNull(v) && v.Value == "" && v.Style == 0 && v.Line == 0 {
			v.Line, v.Column = n.Line, n.Column
		}
		item(v, key+"["+strconv.Itoa(i)+"]")
		if r.visits > maxVisits {
			return false
		}
	}
	return true
}

// isText tells whether a value is no mapping, no list and not nothing.
func isText(n *yaml.Node) bool {
	if n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	return n.Kind == yaml.ScalarNode && !problem.IsNull(n)
}

// some reads a list, or one item that stands for a list of it.
func (r *reader) some(n *yaml.Node, key, want string, item func(n *yaml.Node, key string)) bool {
	if isText(n) {
		item(n, key)
		return true
	}
	return r.list(n, key, want, item)
}

// scalar reads a plain value as the text that it is written as, with ${NAME}
// replaced.
func (r *reader) scalar(n *yaml.Node, key, want string) (string, bool) {
	n, ok := r.standing(n, key)
	if !ok {
		return "", false
	}
	if n.Kind != yaml.ScalarNode || problem.IsNull(n) {
		r.wrong(n, key, want)
		return "", false
	}
	text, err := expand(n.Value, r.env)
	if err != nil {
		r.problem(key, "%s", err)
		return "", false
	}
	return text, true
}

var variable = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)

// expand replaces ${NAME} and $$. Its error tells every variable that is not set.
func expand(s string, env func(string) (string, bool)) (string, error) {
	var out strings.Builder
	var unset []string
	for {
		before, after, found := strings.Cut(s, "$")
		out.WriteString(before)
		switch {
		case !found:
			if len(unset) > 0 {
				return "", fmt.Errorf("the environment has no %s", strings.Join(unset, " and no "))
			}
			return out.String(), nil
		case strings.HasPrefix(after, "$"):
			out.WriteByte('$')
			s = after[1:]
		case strings.HasPrefix(after, "{"):
			name, rest, closed := strings.Cut(after[1:], "}")
			if !closed {
				return "", errors.New("${ has no }: write $${ for the characters themselves")
			}
			if !variable.MatchString(name) {
				return "", errors.New("between ${ and } only the name of a variable can stand, without a default: write $${ for the characters themselves")
			}
			value, ok := env(name)
			if !ok {
				unset = append(unset, name)
			}
			out.WriteString(value)
			s = rest
		default:
			out.WriteByte('$')
			s = after
		}
	}
}
