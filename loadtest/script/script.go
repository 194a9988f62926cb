package script

import (
	"fmt"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/sluicegate/sluice/gate/config/problem"
	"github.com/sluicegate/sluice/loadtest/executor"
	"github.com/sluicegate/sluice/loadtest/metric"
)

// Script is what a rehearsal is to do.
type Script struct {
	File              string
	Scenarios         []Scenario // in the order of the file; at least one
	Thresholds        metric.Thresholds
	Tags              metric.Tags // of every sample
	SummaryTrendStats []string
	SummaryTimeUnit   string   // s, ms, us; "": whatever reads best
	Targets           []string // scheme://host:port of the gates; none: the command's business
	Room              string   // "": not said
	Path              string   // where visitors arrive; "": not said

	places Problems // where each threshold stands
}

// Scenario is a schedule with what its visitors do.
type Scenario struct {
	executor.Scenario
	Exec string            // name of the journey; "": its own, or the script's
	Env  map[string]string // replaced in the journey already
	Tags metric.Tags       // of its samples, the script's among them
	// Journey is what a visitor does, in words that the reader of journeys knows.
	// Its lines and columns are those of the file; it holds no aliases. Its Kind is
	// 0 when the script says nothing about it.
	Journey    yaml.Node
	JourneyKey string // where it stands: journeys.buyer, scenarios.spike.journey
}

// CheckThresholds tells every threshold of which check says that it cannot be
// judged, with where it stands. Its error is Problems.
func (s *Script) CheckThresholds(check func(metric.Threshold) error) error {
	var ps Problems
	for i, t := range s.Thresholds {
		if err := check(t); err != nil {
			p := s.places[i]
			p.Message = err.Error()
			ps = append(ps, p)
		}
	}
	if ps == nil {
		return nil
	}
	return ps
}

// Source is where a script comes from.
type Source struct {
	File string
	Data []byte                      // contents of File; nil: Load reads it
	Env  func(string) (string, bool) // os.LookupEnv; nil: an empty environment
}

// Read reads the file where Data is nil.
func (s *Source) Read() error {
	if s.Data != nil {
		return nil
	}
	data, err := os.ReadFile(s.File)
	if err != nil {
		return fmt.Errorf("read script: %w", err)
	}
	s.Data = data
	return nil
}

// Load reads and checks a script. Its error is Problems when the script is
// wrong, and another one, naming the file, when it could not be read.
func Load(s Source) (*Script, error) {
	if err := s.Read(); err != nil {
		return nil, err
	}
	if s.Env == nil {
		s.Env = func(string) (string, bool) { return "", false }
	}
	l := &loader{file: s.File, env: s.Env, journeys: map[string]*yaml.Node{}}
	l.s = &Script{File: s.File, SummaryTrendStats: []string{"avg", "min", "med", "max", "p(90)", "p(95)"}}
	if root := l.parse(s.Data); root != nil && len(l.problems) == 0 {
		l.root(root)
	}
	if len(l.problems) > 0 {
		return nil, sorted(l.problems)
	}
	return l.s, nil
}

type loader struct {
	file     string
	env      func(string) (string, bool)
	problems Problems
	nodes    int
	s        *Script

	journey  *yaml.Node // of scenarios that name none
	journeys map[string]*yaml.Node
}

var rootKeys = []string{"target", "targets", "room", "path", "journey", "journeys", "scenarios", "vus", "duration", "iterations",
	"stages", "thresholds", "tags", "summaryTrendStats", "summaryTimeUnit"}

var roomName = regexp.MustCompile(`^[a-z0-9-]{1,32}$`)

func (l *loader) root(root *yaml.Node) {
	var scenarios *yaml.Node
	shortcuts := map[string]*yaml.Node{}
	var later []func()
	l.each(root, "", "", func(k, v *yaml.Node, key string) {
		switch k.Value {
		case "scenarios", "journey", "journeys": // each scenario has an environment of its own
		default:
			l.expand(v, key, l.env)
		}
		switch k.Value {
		case "target":
			l.target(v, key)
		case "targets":
			l.list(v, key, "a list of addresses such as http://127.0.0.1:8080", l.target)
		case "room":
			if s, ok := l.text(v, key, "the name of a room"); ok {
				if !roomName.MatchString(s) {
					l.at(v, key, "%q is no name of a room: a to z, 0 to 9 and -, at most 32", s)
				}
				l.s.Room = s
			}
		case "path":
			if s, ok := l.text(v, key, "a path such as /drop"); ok {
				if u, err := url.ParseRequestURI(s); err != nil || !strings.HasPrefix(s, "/") || u.Host != "" || strings.ContainsAny(s, "# \t\r\n") {
					l.at(v, key, "%q is no path such as /drop", s)
				}
				l.s.Path = s
			}
		case "journey":
			l.journey = v
		case "journeys":
			l.each(v, key, "journeys by name", func(k, v *yaml.Node, key string) { l.journeys[k.Value] = v })
		case "scenarios":
			scenarios = v
		case "vus", "duration", "iterations", "stages":
			shortcuts[k.Value] = v
		case "thresholds":
			later = append(later, func() { l.thresholds(v, key) })
		case "tags":
			l.s.Tags = l.tags(v, key)
		case "summaryTrendStats":
			l.s.SummaryTrendStats = nil
			l.list(v, key, `a list such as ["avg", "p(99)"]`, func(v *yaml.Node, key string) {
				if s, ok := l.text(v, key, "avg, min, med, max, count or p(N)"); ok {
					if err := metric.ParseTrendStat(s); err != nil {
						l.at(v, key, "%s", err)
					}
					l.s.SummaryTrendStats = append(l.s.SummaryTrendStats, s)
				}
			})
		case "summaryTimeUnit":
			if s, ok := l.text(v, key, "s, ms or us"); ok && s != "s" && s != "ms" && s != "us" {
				l.at(v, key, "%q is unknown: expected s, ms or us", s)
			} else {
				l.s.SummaryTimeUnit = s
			}
		default:
			l.unknown(k, key, k.Value, rootKeys)
		}
	})
	for _, f := range later {
		f()
	}
	switch {
	case scenarios == nil:
		l.shortcuts(shortcuts)
	case len(shortcuts) > 0:
		for _, name := range []string{"vus", "duration", "iterations", "stages"} {
			if n := shortcuts[name]; n != nil {
				l.at(n, name, "is a shortcut for scripts without scenarios: say it in a scenario")
			}
		}
		fallthrough
	default:
		l.scenarios(scenarios)
	}
	var ids int64
	for i := range l.s.Scenarios {
		s := &l.s.Scenarios[i]
		s.FirstID = ids
		ids += s.Slots()
	}
}

// list reads a list item by item, or one item that stands for a list of it.
func (l *loader) list(n *yaml.Node, key, want string, item func(n *yaml.Node, key string)) {
	if n.Kind != yaml.SequenceNode {
		l.wrong(n, key, want)
		return
	}
	for i, v := range n.Content {
		item(v, fmt.Sprintf("%s[%d]", key, i))
	}
}

func (l *loader) target(n *yaml.Node, key string) {
	s, ok := l.text(n, key, "an address such as http://127.0.0.1:8080")
	if !ok {
		return
	}
	u, err := url.Parse(s)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" || u.User != nil ||
		u.RawQuery != "" || u.Fragment != "" || u.Path != "" && u.Path != "/" {
		l.at(n, key, "%q is no address such as http://127.0.0.1:8080; the path stands in path", s)
		return
	}
	l.s.Targets = append(l.s.Targets, u.Scheme+"://"+u.Host)
}

func (l *loader) tags(n *yaml.Node, key string) metric.Tags {
	m := map[string]string{}
	l.each(n, key, "tags with values", func(k, v *yaml.Node, key string) {
		s, ok := l.text(v, key, "a value")
		switch {
		case !ok:
		case strings.ContainsAny(k.Value, "{}:,\"\x00") || k.Value == "" || strings.ContainsRune(s, 0):
			l.at(k, key, "%q cannot be the name of a tag", k.Value)
		default:
			m[k.Value] = s
		}
	})
	return metric.TagsOf(m)
}

func (l *loader) thresholds(n *yaml.Node, key string) {
	l.each(n, key, `metrics with lists such as ["p(99)<500"]`, func(k, v *yaml.Node, key string) {
		name, tags, err := metric.ParseSelector(k.Value)
		if err != nil {
			l.at(k, key, "%s", err)
		}
		one := func(n *yaml.Node, key string) {
			t := metric.Threshold{Selector: k.Value, Metric: name, Tags: tags}
			place := Problem{File: l.file, Line: n.Line, Column: n.Column, Key: key}
			expression := func(n *yaml.Node, key string) {
				s, ok := l.text(n, key, "an expression such as p(99)<500")
				if !ok {
					return
				}
				if t.Expression, err = metric.ParseExpression(s); err != nil {
					l.at(n, key, "%s", err)
				}
			}
			if n.Kind == yaml.MappingNode {
				said := false
				l.each(n, key, "", func(k, v *yaml.Node, key string) {
					switch k.Value {
					case "threshold":
						said = true
						place.Line, place.Column, place.Key = v.Line, v.Column, key
						expression(v, key)
					case "abortOnFail":
						t.AbortOnFail = l.truth(v, key)
					case "delayAbortEval":
						t.DelayAbortEval = l.duration(v, key, 0)
					default:
						l.unknown(k, key, k.Value, []string{"threshold", "abortOnFail", "delayAbortEval"})
					}
				})
				if !said {
					l.at(n, key, "has no threshold: expected an expression such as p(99)<500")
				}
			} else {
				expression(n, key)
			}
			l.s.Thresholds = append(l.s.Thresholds, t)
			l.s.places = append(l.s.places, place)
		}
		if v.Kind == yaml.ScalarNode && !problem.IsNull(v) {
			one(v, key)
			return
		}
		l.list(v, key, `a list such as ["p(99)<500"]`, one)
	})
}

// shortcuts makes the one scenario of a script that names none.
func (l *loader) shortcuts(given map[string]*yaml.Node) {
	s := Scenario{Scenario: executor.Scenario{Name: "default", GracefulStop: 30 * time.Second}, Tags: l.s.Tags}
	if n := given["duration"]; n != nil && given["stages"] != nil {
		l.at(n, "duration", "cannot stand beside stages: either of them says how long it takes")
	}
	if n := given["iterations"]; n != nil && given["stages"] != nil {
		l.at(n, "iterations", "cannot stand beside stages")
	}
	vus := int64(1)
	if n := given["vus"]; n != nil {
		vus = l.whole(n, "vus", 1, maxVUs)
	}
	switch {
	case given["stages"] != nil:
		s.Kind, s.StartVUs, s.GracefulRampDown = executor.RampingVUs, vus, 30*time.Second
		s.Stages = l.stages(given["stages"], "stages", maxVUs)
	case given["iterations"] != nil:
		n := given["iterations"]
		s.Kind, s.VUs, s.MaxDuration = executor.SharedIterations, vus, 10*time.Minute
		s.Iterations = l.whole(n, "iterations", 1, maxIterations)
		if d := given["duration"]; d != nil {
			s.MaxDuration = l.duration(d, "duration", 1)
		}
		l.enough(n, "iterations", &s)
	case given["duration"] != nil:
		s.Kind, s.VUs = executor.ConstantVUs, vus
		s.Duration = l.duration(given["duration"], "duration", 1)
	case given["vus"] != nil:
		l.at(given["vus"], "vus", "needs a duration, or iterations, beside it")
		s.Kind = executor.ConstantVUs
	default:
		s.Kind, s.VUs, s.Iterations, s.MaxDuration = executor.PerVUIterations, 1, 1, 10*time.Minute
	}
	l.give(&s, l.journey, "journey", l.env)
	l.s.Scenarios = []Scenario{s}
}

const (
	maxVUs        = 10_000_000
	maxRate       = 1_000_000_000
	maxIterations = 1_000_000_000_000
)

// options are the keys that only some executors have.
var options = map[executor.Kind][]string{
	executor.ConstantVUs:         {"vus", "duration"},
	executor.RampingVUs:          {"startVUs", "stages", "gracefulRampDown"},
	executor.ConstantArrivalRate: {"rate", "timeUnit", "duration", "preAllocatedVUs", "maxVUs"},
	executor.RampingArrivalRate:  {"startRate", "timeUnit", "stages", "preAllocatedVUs", "maxVUs"},
	executor.PerVUIterations:     {"vus", "iterations", "maxDuration"},
	executor.SharedIterations:    {"vus", "iterations", "maxDuration"},
}

// required are those of them without a default.
var required = map[executor.Kind][]string{
	executor.ConstantVUs:         {"duration"},
	executor.RampingVUs:          {"stages"},
	executor.ConstantArrivalRate: {"rate", "duration", "preAllocatedVUs"},
	executor.RampingArrivalRate:  {"stages", "preAllocatedVUs"},
}

var common = []string{"executor", "startTime", "gracefulStop", "exec", "journey", "env", "tags"}

func (l *loader) scenarios(n *yaml.Node) {
	const want = "scenarios by name"
	if ok := l.each(n, "scenarios", want, l.scenario); ok && len(n.Content) == 0 {
		l.at(n, "scenarios", "has none: name one, or leave it out")
	}
}

var scenarioName = regexp.MustCompile(`^[0-9A-Za-z_-]{1,64}$`)

func (l *loader) scenario(name, n *yaml.Node, key string) {
	if !scenarioName.MatchString(name.Value) {
		l.at(name, key, "a scenario's name has letters, digits, _ and -, at most 64")
	}
	given := map[string]*yaml.Node{}
	keys := map[string]*yaml.Node{}
	if !l.each(n, key, "a mapping with an executor", func(k, v *yaml.Node, _ string) { given[k.Value], keys[k.Value] = v, k }) {
		return
	}
	s := Scenario{Scenario: executor.Scenario{Name: name.Value, GracefulStop: 30 * time.Second}, Tags: l.s.Tags}
	env := l.env
	if v := given["env"]; v != nil {
		l.expand(v, join(key, "env"), l.env)
		s.Env = map[string]string{}
		l.each(v, join(key, "env"), "variables with values", func(k, v *yaml.Node, key string) {
			if text, ok := l.text(v, key, "a value"); ok {
				s.Env[k.Value] = text
			}
		})
		env = func(name string) (string, bool) {
			if v, ok := s.Env[name]; ok {
				return v, true
			}
			return l.env(name)
		}
	}
	for name, v := range given {
		if name != "env" && name != "journey" {
			l.expand(v, join(key, name), env)
		}
	}
	l.kind(&s, n, key, given, keys)
	if v := given["startTime"]; v != nil {
		s.StartTime = l.duration(v, join(key, "startTime"), 0)
	}
	if v := given["gracefulStop"]; v != nil {
		s.GracefulStop = l.duration(v, join(key, "gracefulStop"), 0)
	}
	if v := given["tags"]; v != nil {
		for name, value := range l.tags(v, join(key, "tags")).All() {
			s.Tags = s.Tags.With(name, value)
		}
	}
	switch exec, own := given["exec"], given["journey"]; {
	case exec != nil:
		path := join(key, "exec")
		s.Exec, _ = l.text(exec, path, "the name of a journey")
		journey := l.journeys[s.Exec]
		switch {
		case journey == nil:
			l.at(exec, path, "no journey is named %q", s.Exec)
		case own != nil:
			l.at(exec, path, "cannot stand beside a journey of its own")
		default:
			l.give(&s, journey, join("journeys", s.Exec), env)
		}
	case own != nil:
		l.give(&s, own, join(key, "journey"), env)
	default:
		l.give(&s, l.journey, "journey", env)
	}
	l.s.Scenarios = append(l.s.Scenarios, s)
}

// give hands a scenario its journey, with its own environment in it.
func (l *loader) give(s *Scenario, n *yaml.Node, key string, env func(string) (string, bool)) {
	if n == nil {
		return
	}
	n = clone(n)
	before := len(l.problems)
	l.expand(n, key, env)
	found := l.problems[before:]
	l.problems = l.problems[:before]
	for _, p := range found {
		if !slices.Contains(l.problems, p) { // said already of another scenario with this journey
			l.problems = append(l.problems, p)
		}
	}
	s.Journey, s.JourneyKey = *n, key
}

// kind reads the executor and the options that go with it.
func (l *loader) kind(s *Scenario, n *yaml.Node, key string, given, keys map[string]*yaml.Node) {
	path := join(key, "executor")
	names := make([]string, len(executor.Kinds))
	for i, k := range executor.Kinds {
		names[i] = string(k)
	}
	v := given["executor"]
	if v == nil {
		l.at(n, key, "has no executor: expected one of %s", strings.Join(names, ", "))
		return
	}
	text, ok := l.text(v, path, "an executor")
	if !ok {
		return
	}
	s.Kind = executor.Kind(text)
	if options[s.Kind] == nil {
		l.at(v, path, "no executor is named %q: expected one of %s", text, strings.Join(names, ", "))
		return
	}
	allowed := slices.Concat(common, options[s.Kind])
	for i := 0; i+1 < len(n.Content); i += 2 {
		if k := n.Content[i]; !slices.Contains(allowed, k.Value) {
			l.misplaced(k, join(key, k.Value), s.Kind, allowed)
		}
	}
	for _, name := range required[s.Kind] {
		if given[name] == nil {
			l.at(keys["executor"], key, "%s needs %s", s.Kind, name)
		}
	}
	whole := func(name string, otherwise, least, most int64) int64 {
		if v := given[name]; v != nil && slices.Contains(allowed, name) {
			return l.whole(v, join(key, name), least, most)
		}
		return otherwise
	}
	duration := func(name string, otherwise, least time.Duration) time.Duration {
		if v := given[name]; v != nil && slices.Contains(allowed, name) {
			return l.duration(v, join(key, name), least)
		}
		return otherwise
	}
	most := int64(maxVUs)
	switch s.Kind {
	case executor.ConstantVUs:
		s.VUs = whole("vus", 1, 1, maxVUs)
		s.Duration = duration("duration", 1, 1)
	case executor.PerVUIterations, executor.SharedIterations:
		s.VUs = whole("vus", 1, 1, maxVUs)
		s.Iterations = whole("iterations", 1, 1, maxIterations)
		s.MaxDuration = duration("maxDuration", 10*time.Minute, 1)
		if v := given["iterations"]; v != nil {
			l.enough(v, join(key, "iterations"), s)
		} else if v := given["vus"]; v != nil {
			l.enough(v, join(key, "vus"), s)
		}
	case executor.RampingVUs:
		s.StartVUs = whole("startVUs", 1, 0, maxVUs)
		s.GracefulRampDown = duration("gracefulRampDown", 30*time.Second, 0)
	case executor.ConstantArrivalRate, executor.RampingArrivalRate:
		most = maxRate
		s.TimeUnit = duration("timeUnit", time.Second, time.Millisecond)
		s.PreAllocatedVUs = whole("preAllocatedVUs", 0, 0, maxVUs)
		s.MaxVUs = whole("maxVUs", s.PreAllocatedVUs, 1, maxVUs)
		if v := given["maxVUs"]; v != nil && s.MaxVUs < s.PreAllocatedVUs {
			l.at(v, join(key, "maxVUs"), "%d is fewer than preAllocatedVUs, %d", s.MaxVUs, s.PreAllocatedVUs)
		}
		if v := given["preAllocatedVUs"]; v != nil && s.MaxVUs < 1 {
			l.at(v, join(key, "preAllocatedVUs"), "without maxVUs it must be at least 1")
		}
		if s.Kind == executor.ConstantArrivalRate {
			s.Rate = whole("rate", 1, 1, maxRate)
			s.Duration = duration("duration", 1, 1)
		} else {
			s.StartRate = whole("startRate", 0, 0, maxRate)
		}
	}
	if v := given["stages"]; v != nil && slices.Contains(allowed, "stages") {
		path := join(key, "stages")
		before := len(l.problems)
		s.Stages = l.stages(v, path, most)
		if len(l.problems) > before || len(s.Stages) == 0 {
			return
		}
		if s.Kind == executor.RampingVUs && s.Slots() == 0 {
			l.at(v, path, "there is never a virtual user")
		}
		if s.Kind == executor.RampingArrivalRate && executor.NewArrivals(&s.Scenario).Total() == 0 {
			l.at(v, path, "no iteration is ever due")
		}
	}
}

// enough refuses more users than there are iterations to share.
func (l *loader) enough(n *yaml.Node, key string, s *Scenario) {
	if s.Kind == executor.SharedIterations && s.Iterations < s.VUs {
		l.at(n, key, "%d iterations are too few to share among %d VUs", s.Iterations, s.VUs)
	}
}

func (l *loader) stages(n *yaml.Node, key string, most int64) []executor.Stage {
	var out []executor.Stage
	var sum time.Duration
	l.list(n, key, "a list of {duration, target}", func(n *yaml.Node, key string) {
		var st executor.Stage
		said := map[string]bool{}
		if !l.each(n, key, "{duration, target}", func(k, v *yaml.Node, key string) {
			said[k.Value] = true
			switch k.Value {
			case "duration":
				st.Duration = l.duration(v, key, 0)
			case "target":
				st.Target = l.whole(v, key, 0, most)
			default:
				l.unknown(k, key, k.Value, []string{"duration", "target"})
			}
		}) {
			return
		}
		for _, name := range []string{"duration", "target"} {
			if !said[name] {
				l.at(n, key, "has no %s", name)
			}
		}
		sum += st.Duration
		if sum > maxDuration {
			l.at(n, key, "the stages together are too long: at most 10d")
			sum = 0
		}
		out = append(out, st)
	})
	if n.Kind == yaml.SequenceNode && len(n.Content) == 0 {
		l.at(n, key, "has no stage")
	}
	return out
}

// misplaced says where a key belongs that this executor does not have.
func (l *loader) misplaced(k *yaml.Node, key string, kind executor.Kind, allowed []string) {
	var homes []string
	for _, other := range executor.Kinds {
		if slices.Contains(options[other], k.Value) {
			homes = append(homes, string(other))
		}
	}
	if homes != nil {
		l.at(k, key, "%s has no %s; it is of %s", kind, k.Value, strings.Join(homes, ", "))
		return
	}
	l.unknown(k, key, k.Value, allowed)
}

func (l *loader) unknown(k *yaml.Node, key, name string, known []string) {
	for _, n := range known {
		if plain(n) == plain(name) {
			l.at(k, key, "unknown key; did you mean %s?", n)
			return
		}
	}
	l.at(k, key, "unknown key; known here: %s", strings.Join(known, ", "))
}

// plain is a name as people may misspell it: max_vus for maxVUs.
func plain(s string) string {
	return strings.TrimSuffix(strings.NewReplacer("_", "", "-", "").Replace(strings.ToLower(s)), "s")
}
