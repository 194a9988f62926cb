package visitor

import (
	"cmp"
	"fmt"
	"math"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
	"golang.org/x/net/http/httpguts"

	"github.com/sluicegate/sluice/loadtest/script"
)

// Journey is how visitors of a scenario behave. A share is the part of them, from 0
// to 1, that does something; each is drawn on its own, but for bots, who do nothing
// else.
type Journey struct {
	Spread    bool          // every request to any of the targets, not always to one
	KeepAlive bool          // the connection stays open while waiting
	IdleClose time.Duration // else it is closed for waits longer than this

	Pages  Loads   // looked at once inside, the first being the one that the visitor came for
	Assets Loads   // loaded with each page
	Think  Span    // between pages
	Order  Order   // after the pages
	Leave  float64 // tell the gate that they go; the others vanish

	Abandon   Abandon // walk away while waiting
	Reload    Every   // reload the page all the time while waiting
	Tabs      float64 // wait in two tabs
	Impatient Every   // poll by their own interval
	Bots      Bots    // never keep cookies
	Cheats    Cheats  // use copies of their ticket
	Post      Post    // send a form while waiting
	Timeouts  Timeouts
	Headers   [][2]string // sent with every request
}

// Loads are paths, or a number of times to load one.
type Loads struct {
	Count int
	Paths []string
}

// number is how many there are.
func (l Loads) number() int { return max(l.Count, len(l.Paths)) }

// Order is a form that those inside send.
type Order struct {
	Share      float64
	Path       string // "": the scenario's
	Body, Type string
}

// Abandon is who walks away while waiting, and when.
type Abandon struct {
	Share  float64
	After  Span // since they came
	Return struct {
		Share float64 // of those
		After Span    // since they went; within the room's keep_place
	}
}

// Every is something done again and again by some.
type Every struct {
	Share float64
	Every Span
}

// Bots open the page anew each time, without cookies.
type Bots struct {
	Share    float64
	Requests int
	Every    Span
}

// Cheats use copies of their ticket from other connections.
type Cheats struct {
	Share  float64
	Copies int
	Active bool // while they are inside
	Ended  bool // after they left
}

// Post is a form sent once while waiting.
type Post struct {
	Share      float64
	Path       string // "": the scenario's
	Body, Type string
	After      Span // since they came
}

// Timeouts are how long visitors have patience with the network.
type Timeouts struct {
	Connect time.Duration
	Page    time.Duration
	Poll    time.Duration
}

const formType = "application/x-www-form-urlencoded"

// Defaults returns a journey of patient visitors who look at one page and vanish.
func Defaults() Journey {
	j := Journey{
		IdleClose: 3 * time.Second,
		Pages:     Loads{Count: 1},
		Think:     Span{Min: time.Second, Max: 5 * time.Second},
		Order:     Order{Body: "item=1&quantity=1", Type: formType},
		Reload:    Every{Every: Span{Min: time.Second, Max: 3 * time.Second}},
		Impatient: Every{Every: Span{Min: 500 * time.Millisecond, Max: 500 * time.Millisecond}},
		Bots:      Bots{Requests: 10, Every: Span{Min: time.Second, Max: time.Second}},
		Cheats:    Cheats{Copies: 2, Active: true, Ended: true},
		Post:      Post{Body: "item=1&quantity=1", Type: formType, After: Span{Min: time.Second, Max: 5 * time.Second}},
		Timeouts:  Timeouts{Connect: 10 * time.Second, Page: time.Minute, Poll: 20 * time.Second},
	}
	j.Abandon.After = Span{Min: 5 * time.Second, Max: 40 * time.Second}
	j.Abandon.Return.After = Span{Min: 10 * time.Second, Max: time.Minute}
	return j
}

// Parse reads the settings of a journey, which stands under a key of a script. A
// nil or empty node gives Defaults. The error is script.Problems, all that there
// are, with this file as theirs.
func Parse(n *yaml.Node, file, key string) (Journey, error) {
	j := Defaults()
	if n == nil || n.Kind == 0 {
		return j, nil
	}
	d := decoder{file: file}
	d.mapping(n, key, fields{
		"spread":     d.boolean(&j.Spread),
		"keep_alive": d.boolean(&j.KeepAlive),
		"idle_close": d.duration(&j.IdleClose, 0),
		"pages":      d.loads(&j.Pages),
		"assets":     d.loads(&j.Assets),
		"think":      d.span(&j.Think),
		"order": d.shared(&j.Order.Share, fields{
			"path": d.path(&j.Order.Path), "body": d.text(&j.Order.Body), "type": d.text(&j.Order.Type),
		}),
		"leave": d.share(&j.Leave),
		"abandon": d.shared(&j.Abandon.Share, fields{
			"after": d.span(&j.Abandon.After),
			"return": d.shared(&j.Abandon.Return.Share, fields{
				"after": d.span(&j.Abandon.Return.After),
			}),
		}),
		"reload":    d.shared(&j.Reload.Share, fields{"every": d.span(&j.Reload.Every)}),
		"tabs":      d.shared(&j.Tabs, fields{}),
		"impatient": d.shared(&j.Impatient.Share, fields{"every": d.span(&j.Impatient.Every)}),
		"bots": d.shared(&j.Bots.Share, fields{
			"every": d.span(&j.Bots.Every), "requests": d.count(&j.Bots.Requests, 1),
		}),
		"cheats": d.shared(&j.Cheats.Share, fields{
			"copies": d.count(&j.Cheats.Copies, 1), "when": d.when(&j.Cheats),
		}),
		"post": d.shared(&j.Post.Share, fields{
			"path": d.path(&j.Post.Path), "body": d.text(&j.Post.Body), "type": d.text(&j.Post.Type), "after": d.span(&j.Post.After),
		}),
		"timeouts": d.object(fields{
			"connect": d.duration(&j.Timeouts.Connect, 1),
			"page":    d.duration(&j.Timeouts.Page, 1),
			"poll":    d.duration(&j.Timeouts.Poll, 1),
		}),
		"headers": d.headers(&j.Headers),
	})
	for _, e := range []struct {
		key  string
		span Span
	}{{"reload.every", j.Reload.Every}, {"impatient.every", j.Impatient.Every}, {"bots.every", j.Bots.Every}} {
		if e.span.Min <= 0 {
			d.problem(n, key+"."+e.key, "is 0: nobody does anything without a pause")
		}
	}
	return j, d.err()
}

// decoder takes values out of nodes and gathers what is wrong with them.
type decoder struct {
	file     string
	problems script.Problems
}

type (
	setter func(n *yaml.Node, key string)
	fields map[string]setter
)

func (d *decoder) problem(n *yaml.Node, key, format string, args ...any) {
	d.problems = append(d.problems, script.Problem{
		File: d.file, Line: n.Line, Column: n.Column, Key: key, Message: fmt.Sprintf(format, args...),
	})
}

func (d *decoder) err() error {
	if len(d.problems) == 0 {
		return nil
	}
	slices.SortStableFunc(d.problems, func(a, b script.Problem) int {
		return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
	})
	return d.problems
}

// resolve follows aliases.
func resolve(n *yaml.Node) *yaml.Node {
	for n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	return n
}

func (d *decoder) mapping(n *yaml.Node, key string, fs fields) {
	n = resolve(n)
	if n.Kind == yaml.DocumentNode && len(n.Content) == 1 {
		n = resolve(n.Content[0])
	}
	if n.Kind == yaml.ScalarNode && n.Tag == "!!null" {
		return
	}
	if n.Kind != yaml.MappingNode {
		d.problem(n, key, "want settings, each with a name")
		return
	}
	seen := map[string]bool{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		name := n.Content[i].Value
		set, ok := fs[name]
		switch {
		case !ok:
			var names []string
			for known := range fs {
				names = append(names, known)
			}
			slices.Sort(names)
			d.problem(n.Content[i], key, "unknown setting %q; there are: %s", name, strings.Join(names, ", "))
		case seen[name]:
			d.problem(n.Content[i], key, "%s is given twice", name)
		default:
			set(resolve(n.Content[i+1]), key+"."+name)
		}
		seen[name] = true
	}
}

func (d *decoder) object(fs fields) setter {
	return func(n *yaml.Node, key string) { d.mapping(n, key, fs) }
}

// shared is an object with a share, which may stand alone for the object.
func (d *decoder) shared(share *float64, fs fields) setter {
	fs["share"] = d.share(share)
	return func(n *yaml.Node, key string) {
		if n.Kind == yaml.ScalarNode {
			d.share(share)(n, key)
			return
		}
		d.mapping(n, key, fs)
		for i := 0; i+1 < len(n.Content); i += 2 {
			if n.Content[i].Value == "share" {
				return
			}
		}
		if n.Kind == yaml.MappingNode {
			d.problem(n, key, "has no share: nobody would do it")
		}
	}
}

func (d *decoder) scalar(n *yaml.Node, key, want string) (string, bool) {
	if n.Kind != yaml.ScalarNode || n.Tag == "!!null" {
		d.problem(n, key, "want %s", want)
		return "", false
	}
	return n.Value, true
}

func (d *decoder) share(out *float64) setter {
	return func(n *yaml.Node, key string) {
		const want = "a share from 0 to 1, or from 0% to 100%"
		text, ok := d.scalar(n, key, want)
		if !ok {
			return
		}
		number, percent := strings.CutSuffix(text, "%")
		x, err := strconv.ParseFloat(strings.TrimSpace(number), 64)
		if percent {
			x /= 100
		}
		if err != nil || !(x >= 0 && x <= 1) {
			d.problem(n, key, "%q is not %s", text, want)
			return
		}
		*out = x
	}
}

func (d *decoder) boolean(out *bool) setter {
	return func(n *yaml.Node, key string) {
		if n.Kind != yaml.ScalarNode || n.Tag != "!!bool" {
			d.problem(n, key, "want true or false")
			return
		}
		*out = n.Value == "true" || n.Value == "True" || n.Value == "TRUE"
	}
}

func (d *decoder) count(out *int, least int) setter {
	return func(n *yaml.Node, key string) {
		text, ok := d.scalar(n, key, "a whole number")
		if !ok {
			return
		}
		x, err := strconv.Atoi(text)
		if err != nil || x < least || x > math.MaxInt32 {
			d.problem(n, key, "%q is not a whole number from %d", text, least)
			return
		}
		*out = x
	}
}

func (d *decoder) text(out *string) setter {
	return func(n *yaml.Node, key string) {
		if text, ok := d.scalar(n, key, "a text"); ok {
			*out = text
		}
	}
}

func (d *decoder) path(out *string) setter {
	return func(n *yaml.Node, key string) {
		text, ok := d.scalar(n, key, "a path")
		if !ok {
			return
		}
		if err := checkPath(text); err != nil {
			d.problem(n, key, "%v", err)
			return
		}
		*out = text
	}
}

// checkPath tells whether a text can stand in a request line.
func checkPath(path string) error {
	if !strings.HasPrefix(path, "/") {
		return fmt.Errorf("%q is not a path: it does not begin with /", path)
	}
	for _, c := range []byte(path) {
		if c <= ' ' || c >= 0x7f || c == '#' {
			return fmt.Errorf("%q cannot stand in a request: percent-encode %q", path, c)
		}
	}
	return nil
}

func (d *decoder) duration(out *time.Duration, least time.Duration) setter {
	return func(n *yaml.Node, key string) {
		text, ok := d.scalar(n, key, `a duration, as "1.5s" or "200ms"`)
		if !ok {
			return
		}
		if _, err := strconv.ParseFloat(text, 64); err == nil {
			text += "ms" // as in the rest of the script
		}
		x, err := time.ParseDuration(text)
		if err != nil || x < least || x > 24*time.Hour {
			d.problem(n, key, "%q is not a duration from %v to 24h, as \"1.5s\" or \"200ms\"", text, least)
			return
		}
		*out = x
	}
}

func (d *decoder) span(out *Span) setter {
	return func(n *yaml.Node, key string) {
		if n.Kind != yaml.MappingNode {
			before := len(d.problems)
			var x time.Duration
			d.duration(&x, 0)(n, key)
			if len(d.problems) == before {
				*out = Span{Min: x, Max: x}
			} else {
				d.problems[len(d.problems)-1].Message += ", nor {min: 1s, max: 3s}"
			}
			return
		}
		s := Span{Min: -1, Max: -1}
		before := len(d.problems)
		d.mapping(n, key, fields{
			"min": d.duration(&s.Min, 0), "max": d.duration(&s.Max, 0),
			"distribution": func(n *yaml.Node, key string) {
				text, _ := d.scalar(n, key, "a name")
				i := slices.Index(distributions, text)
				if i < 0 {
					d.problem(n, key, "%q is none of %s", text, strings.Join(distributions, ", "))
					return
				}
				s.Distribution = Distribution(i)
			},
		})
		switch {
		case len(d.problems) > before:
		case s.Min < 0 || s.Max < 0:
			d.problem(n, key, "want min and max")
		case s.Min > s.Max:
			d.problem(n, key, "min %v is above max %v", s.Min, s.Max)
		default:
			*out = s
		}
	}
}

func (d *decoder) loads(out *Loads) setter {
	return func(n *yaml.Node, key string) {
		if n.Kind != yaml.SequenceNode {
			*out = Loads{}
			d.count(&out.Count, 0)(n, key)
			return
		}
		*out = Loads{Paths: make([]string, len(n.Content))}
		for i, item := range n.Content {
			d.path(&out.Paths[i])(resolve(item), fmt.Sprintf("%s[%d]", key, i))
		}
	}
}

func (d *decoder) when(out *Cheats) setter {
	return func(n *yaml.Node, key string) {
		text, ok := d.scalar(n, key, "active, ended or both")
		switch {
		case !ok:
		case text == "active" || text == "ended" || text == "both":
			out.Active, out.Ended = text != "ended", text != "active"
		default:
			d.problem(n, key, "%q is none of active, ended, both", text)
		}
	}
}

// own are headers that a visitor writes by themselves.
var own = []string{"Host", "Connection", "Cookie", "Content-Length", "Transfer-Encoding", "Content-Type",
	"Accept", "Accept-Encoding", "Sec-Fetch-Mode", "Sec-Fetch-Dest", "Sec-Fetch-Site", "Expect", "Upgrade"}

func (d *decoder) headers(out *[][2]string) setter {
	return func(n *yaml.Node, key string) {
		if n.Kind != yaml.MappingNode {
			d.problem(n, key, "want names with values")
			return
		}
		*out = nil
		for i := 0; i+1 < len(n.Content); i += 2 {
			name, value := n.Content[i].Value, resolve(n.Content[i+1])
			switch {
			case !httpguts.ValidHeaderFieldName(name):
				d.problem(n.Content[i], key, "%q is no name of a header", name)
			case value.Kind != yaml.ScalarNode || !httpguts.ValidHeaderFieldValue(value.Value):
				d.problem(value, key+"."+name, "is no value of a header")
			case slices.Contains(own, http.CanonicalHeaderKey(name)):
				d.problem(n.Content[i], key, "%s is written by the visitors themselves", name)
			default:
				*out = append(*out, [2]string{name, value.Value})
			}
		}
	}
}
