package summary

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/sluicegate/sluice/loadtest/metric"
)

// Run is what there is to say.
type Run struct {
	Registry   *metric.Registry // finished, so that rates are of the whole run
	Results    []metric.Result  // of the thresholds, in the order of the script
	TrendStats []string         // such as avg and p(99); empty: k6's own
	TimeUnit   string           // s, ms or us; "": what reads best
	Full       bool             // with the metrics that k6 shows only in its full mode
	Color      bool
	// Group names the group in which a metric stands that is none of k6's; nil or
	// "": CUSTOM. Groups stand in the order in which their first metric comes.
	Group func(name string) string

	StdoutTerminal, StderrTerminal bool // for the JSON alone
}

func (r Run) stats() []string {
	if len(r.TrendStats) == 0 {
		return []string{"avg", "min", "med", "max", "p(90)", "p(95)"}
	}
	return r.TrendStats
}

const (
	passed = "✓"
	failed = "✗"
)

// Text returns the summary as people read it.
func Text(r Run) string {
	p := &printer{run: r}
	p.thresholds()
	p.line("  %s", p.paint(bold, "█ TOTAL RESULTS"))
	p.line("")
	p.checks()
	p.metrics()
	return p.out.String()
}

type printer struct {
	run Run
	out strings.Builder
}

const (
	bold  = "1"
	green = "32"
	red   = "31"
	cyan  = "36"
	faint = "2"
)

func (p *printer) paint(code, s string) string {
	if !p.run.Color {
		return s
	}
	return "\x1b[" + code + "m" + s + "\x1b[0m"
}

func (p *printer) mark(ok bool) string {
	if ok {
		return p.paint(green, passed)
	}
	return p.paint(red, failed)
}

func (p *printer) line(format string, args ...any) {
	p.out.WriteString(strings.TrimRight(fmt.Sprintf(format, args...), " "))
	p.out.WriteByte('\n')
}

func (p *printer) thresholds() {
	p.line("")
	if len(p.run.Results) == 0 {
		return
	}
	p.line("  %s", p.paint(bold, "█ THRESHOLDS"))
	p.line("")
	var selectors []string
	for _, res := range p.run.Results {
		if !slices.Contains(selectors, res.Selector) {
			selectors = append(selectors, res.Selector)
		}
	}
	slices.Sort(selectors)
	for _, selector := range selectors {
		p.line("    %s", selector)
		for _, res := range p.run.Results {
			if res.Selector != selector {
				continue
			}
			note := ""
			if res.Samples == 0 {
				note = " (nothing was measured)"
			}
			p.line("    %s '%s' %s=%s%s", p.mark(res.OK), res.Source, res.Name(), p.judged(res), p.paint(faint, note))
		}
		p.line("")
	}
	p.line("")
}

// judged is a threshold's value with its unit.
func (p *printer) judged(res metric.Result) string {
	m := p.run.Registry.Lookup(res.Metric)
	switch {
	case m.Kind == metric.Rate:
		return percent(res.Value)
	case res.Aggregation == "count" && m.Kind == metric.Trend:
		return number(res.Value)
	case res.Aggregation == "rate":
		return p.amount(m.Contains, res.Value) + "/s"
	}
	return p.amount(m.Contains, res.Value)
}

// amount is a number with the unit of what it counts.
func (p *printer) amount(c metric.Contains, v float64) string {
	switch c {
	case metric.Time:
		return Duration(v, p.run.TimeUnit)
	case metric.Data:
		return Bytes(v)
	}
	return number(v)
}

// row is a line of dots: a name, then cells.
type row struct {
	indent int
	name   string
	trend  bool
	cells  []string
}

// table prints rows with their dots and cells in line. Cells of trends and of
// others line up among themselves.
type table struct {
	dots   int
	trend  []int
	others []int
}

func newTable(rows []row) table {
	t := table{dots: 35}
	for _, r := range rows {
		t.dots = max(t.dots, r.indent+utf8.RuneCountInString(r.name)+3)
		widths := &t.others
		if r.trend {
			widths = &t.trend
		}
		for i, c := range r.cells {
			if i == len(*widths) {
				*widths = append(*widths, 0)
			}
			(*widths)[i] = max((*widths)[i], utf8.RuneCountInString(c))
		}
	}
	return t
}

func (p *printer) row(t table, r row) {
	widths := t.others
	if r.trend {
		widths = t.trend
	}
	var cells []string
	for i, c := range r.cells {
		cells = append(cells, p.paint(cyan, c)+strings.Repeat(" ", widths[i]-utf8.RuneCountInString(c)))
	}
	dots := strings.Repeat(".", t.dots-r.indent-utf8.RuneCountInString(r.name))
	p.line("    %s%s%s: %s", strings.Repeat(" ", r.indent), r.name, p.paint(faint, dots), strings.Join(cells, " "))
}

func (p *printer) checks() {
	m := p.run.Registry.Lookup(metric.Checks)
	if m == nil {
		return
	}
	v := m.Select(metric.Tags{})
	if v.Samples == 0 {
		return
	}
	rate := 0.0
	if d := p.run.Registry.Duration().Seconds(); d > 0 {
		rate = float64(v.Samples) / d
	}
	of := func(n int64) string { return fmt.Sprintf("%d out of %d", n, v.Samples) }
	rows := []row{
		{name: "checks_total", cells: []string{number(float64(v.Samples)), number(rate) + "/s"}},
		{name: "checks_succeeded", cells: []string{percent(v.Rate), of(v.Passes)}},
		{name: "checks_failed", cells: []string{percent(float64(v.Fails) / float64(v.Samples)), of(v.Fails)}},
	}
	t := newTable(rows)
	for _, r := range rows {
		p.row(t, r)
	}
	p.line("")
	for _, c := range checksOf(m) {
		p.line("    %s %s", p.mark(c.Fails == 0), c.Name)
		if c.Fails > 0 {
			share := math.Floor(100 * float64(c.Passes) / float64(c.Passes+c.Fails))
			p.line("      ↳  %.0f%% — %s %d / %s %d", share, passed, c.Passes, failed, c.Fails)
		}
	}
	p.line("")
}

type check struct {
	Name          string
	Passes, Fails int64
}

// checksOf returns the checks by name.
func checksOf(m *metric.Metric) []check {
	var names []string
	for _, t := range m.Tags() {
		if name, ok := t.Get("check"); ok && !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	var out []check
	for _, name := range names {
		v := m.Select(metric.NewTags("check", name))
		out = append(out, check{name, v.Passes, v.Fails})
	}
	return out
}

// groups are those of k6, in its order.
const (
	custom    = "CUSTOM"
	http      = "HTTP"
	execution = "EXECUTION"
	network   = "NETWORK"
)

func (r Run) group(name string) string {
	switch {
	case strings.HasPrefix(name, "http_req"):
		return http
	case strings.HasPrefix(name, "iteration"), name == metric.DroppedIterations, name == metric.InterruptedIterations, name == metric.VUs, name == metric.VUsMax:
		return execution
	case name == metric.DataSent, name == metric.DataReceived:
		return network
	}
	if r.Group != nil {
		if g := r.Group(name); g != "" {
			return g
		}
	}
	return custom
}

// hidden are the metrics that only the full summary shows, unless a threshold is
// about them.
var hidden = []string{metric.HTTPReqBlocked, metric.HTTPReqConnecting, metric.HTTPReqTLS, metric.HTTPReqSending, metric.HTTPReqWaiting, metric.HTTPReqReceiving}

// entry is a metric or a selection of it that is to be shown.
type entry struct {
	metric   *metric.Metric
	selector string // as the script wrote it; "": the whole metric
	tags     metric.Tags
	results  []metric.Result
}

// entries returns what was measured or judged: each metric, behind it the
// selections that thresholds make.
func (r Run) entries() []entry {
	var out []entry
	for _, m := range r.Registry.Metrics() {
		e := entry{metric: m}
		var subs []entry
		for _, res := range r.Results {
			if res.Metric != m.Name {
				continue
			}
			if res.Tags == (metric.Tags{}) {
				e.results = append(e.results, res)
				continue
			}
			i := slices.IndexFunc(subs, func(s entry) bool { return s.tags == res.Tags })
			if i < 0 {
				i = len(subs)
				subs = append(subs, entry{metric: m, selector: res.Selector, tags: res.Tags})
			}
			subs[i].results = append(subs[i].results, res)
		}
		if len(e.results) == 0 && len(subs) == 0 && m.Select(metric.Tags{}).Samples == 0 {
			continue
		}
		slices.SortFunc(subs, func(a, b entry) int { return cmp.Compare(a.tags.String(), b.tags.String()) })
		out = append(append(out, e), subs...)
	}
	return out
}

func (p *printer) metrics() {
	groups := []string{http, execution, network}
	rows := map[string][]row{}
	var all []row
	for _, e := range p.run.entries() {
		name := e.metric.Name
		if name == metric.Checks || !p.run.Full && slices.Contains(hidden, name) && len(e.results) == 0 {
			continue
		}
		g := p.run.group(name)
		if !slices.Contains(groups, g) {
			groups = slices.Insert(groups, len(groups)-3, g) // ours before those of k6, as CUSTOM is
		}
		r := row{name: name, trend: e.metric.Kind == metric.Trend, cells: p.cells(e.metric, e.metric.Select(e.tags))}
		if e.tags != (metric.Tags{}) {
			r.indent, r.name = 2, "{ "+e.tags.String()+" }"
		}
		rows[g] = append(rows[g], r)
		all = append(all, r)
	}
	t := newTable(all)
	for _, g := range groups {
		if len(rows[g]) == 0 {
			continue
		}
		p.line("    %s", p.paint(bold, g))
		for _, r := range rows[g] {
			p.row(t, r)
		}
		p.line("")
	}
}

func (p *printer) cells(m *metric.Metric, v metric.Values) []string {
	switch m.Kind {
	case metric.Counter:
		return []string{p.amount(m.Contains, v.Count), p.amount(m.Contains, v.Rate) + "/s"}
	case metric.Gauge:
		return []string{p.amount(m.Contains, v.Value), "min=" + p.amount(m.Contains, v.Min), "max=" + p.amount(m.Contains, v.Max)}
	case metric.Rate:
		return []string{percent(v.Rate), fmt.Sprintf("%d out of %d", v.Passes, v.Samples)}
	}
	var out []string
	for _, stat := range p.run.stats() {
		value, err := v.Stat(stat)
		if err != nil {
			panic("BUG: summary: " + err.Error())
		}
		if stat == "count" {
			out = append(out, "count="+number(value))
			continue
		}
		out = append(out, stat+"="+p.amount(m.Contains, value))
	}
	return out
}

// number has at most six decimals.
func number(v float64) string {
	s := strconv.FormatFloat(v, 'f', 6, 64)
	s = strings.TrimRight(strings.TrimRight(s, "0"), ".")
	if s == "-0" {
		return "0"
	}
	return s
}

// percent is cut off and not rounded, so that only all is 100.00 %.
func percent(share float64) string {
	return fmt.Sprintf("%.2f%%", math.Trunc(share*10000+1e-7)/100)
}

// Duration says how long so many milliseconds are, in the unit s, ms or us, or
// in what reads best: 830µs, 12.5ms, 1.04s, 2m3.5s.
func Duration(ms float64, unit string) string {
	switch unit {
	case "s":
		return fmt.Sprintf("%.2fs", ms/1000)
	case "ms":
		return fmt.Sprintf("%.2fms", ms)
	case "us":
		return fmt.Sprintf("%.2fµs", ms*1000)
	}
	if ms < 0 {
		return "-" + Duration(-ms, unit)
	}
	short := func(v float64) string {
		return strings.TrimRight(strings.TrimRight(strconv.FormatFloat(v, 'f', 2, 64), "0"), ".")
	}
	switch {
	case ms == 0:
		return "0s"
	case ms < 0.001:
		return short(ms*1e6) + "ns"
	case ms < 0.999995:
		return short(ms*1000) + "µs"
	case ms < 999.995:
		return short(ms) + "ms"
	case ms < 59_995:
		return short(ms/1000) + "s"
	}
	return time.Duration(ms * float64(time.Millisecond)).Round(10 * time.Millisecond).String()
}

// Bytes says how many they are in steps of a thousand: 830 B, 4.9 kB, 63 kB.
func Bytes(v float64) string {
	if v < 0 {
		return "-" + Bytes(-v)
	}
	units := []string{"B", "kB", "MB", "GB", "TB", "PB"}
	i := 0
	for v >= 999.5 && i < len(units)-1 {
		v /= 1000
		i++
	}
	if i > 0 && v < 9.95 {
		return fmt.Sprintf("%.1f %s", v, units[i])
	}
	return fmt.Sprintf("%.0f %s", v, units[i])
}
