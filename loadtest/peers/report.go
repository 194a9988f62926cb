package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"time"
)

// report is what a run found, and under which circumstances.
type report struct {
	Date     time.Time         `json:"date"`
	Command  string            `json:"command"`
	Machine  string            `json:"machine"`
	Versions map[string]string `json:"versions"`
	Rounds   int               `json:"rounds"`
	During   float64           `json:"duration_seconds"`
	Conns    int               `json:"connections"`
	Clock    string            `json:"clock"`
	Sizes    map[string]int64  `json:"body_bytes"` // by path, of what the floors answer
	Rows     []line            `json:"rows"`
}

// line is a row with what the rounds made of it. Costs are in microseconds of
// processor time for a request.
type line struct {
	Path      string    `json:"path"`
	Server    string    `json:"server"`
	Missing   string    `json:"not_measured,omitempty"` // why
	Cost      spread    `json:"server_microseconds"`
	Store     *spread   `json:"redis_microseconds,omitempty"`
	Sum       *spread   `json:"sum_microseconds,omitempty"`
	PerSecond spread    `json:"requests_per_second"`
	P50       spread    `json:"p50_milliseconds"`
	P99       spread    `json:"p99_milliseconds"`
	ToFloor   *spread   `json:"ratio_to_floor,omitempty"`
	ToNginx   *spread   `json:"ratio_to_nginx,omitempty"`
	Budget    float64   `json:"budget,omitempty"` // most of ToFloor's median
	Kept      *bool     `json:"budget_kept,omitempty"`
	Reconnect int64     `json:"reconnects"`
	Rounds    []figures `json:"rounds,omitempty"`
}

func milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// lines puts the measurements together. missing says of rows why they have none.
func lines(keys []key, measured map[key][]figures, missing map[key]string) []line {
	var out []line
	for _, k := range keys {
		m := measured[k]
		l := line{Path: k.path, Server: k.server, Missing: missing[k], Rounds: m}
		if k.server == sluice {
			l.Budget = budgets[k.path]
		}
		if len(m) == 0 {
			out = append(out, l)
			continue
		}
		l.Cost = over(m, (*figures).server)
		l.PerSecond = over(m, (*figures).perSecond)
		l.P50 = over(m, func(f *figures) float64 { return milliseconds(f.P50) })
		l.P99 = over(m, func(f *figures) float64 { return milliseconds(f.P99) })
		for i := range m {
			l.Reconnect += m[i].Reconnects
		}
		if k.server == sluice {
			store := over(m, (*figures).store)
			sum := over(m, func(f *figures) float64 { return f.server() + f.store() })
			l.Store, l.Sum = &store, &sum
		}
		l.ToFloor = ratioTo(k, key{k.path, bare}, measured)
		l.ToNginx = ratioTo(k, key{k.path, nginx}, measured)
		if l.Budget > 0 && l.ToFloor != nil {
			kept := l.ToFloor.Median <= l.Budget
			l.Kept = &kept
		}
		out = append(out, l)
	}
	return out
}

func ratioTo(k, to key, measured map[key][]figures) *spread {
	if k == to || len(measured[to]) == 0 {
		return nil
	}
	r := ratios(measured[k], k.cost, measured[to], to.cost)
	return &r
}

// broken returns what is wrong with the budgets of the rows, nil when all that
// have one are within. A budget that could not be looked at is not kept.
func broken(lines []line) []string {
	var out []string
	any := false
	for _, l := range lines {
		if l.Budget == 0 {
			continue
		}
		any = true
		switch {
		case l.Missing != "":
			out = append(out, fmt.Sprintf("%s: not measured: %s", l.Path, l.Missing))
		case l.Kept == nil:
			out = append(out, fmt.Sprintf("%s: its floor, %s/%s, was not measured", l.Path, l.Path, bare))
		case !*l.Kept:
			out = append(out, fmt.Sprintf("%s: %.2f x the floor is over the budget of %.2f", l.Path, l.ToFloor.Median, l.Budget))
		}
	}
	if !any {
		out = append(out, "no path with a budget was measured")
	}
	return out
}

// names of the rows in the table.
func (r *report) name(l *line) string {
	size := r.Sizes[l.Path]
	switch l.Server {
	case sluice:
		return map[string]string{
			poll: "**Sluice: a waiting visitor's poll**", newcomer: "**Sluice: a newcomer's waiting page**", pass: "**Sluice: an admitted visitor's request**",
		}[l.Path]
	case bare:
		if l.Path == pass {
			return "bare fasthttp reverse proxy"
		}
		return fmt.Sprintf("bare fasthttp, %d bytes", size)
	case nginx:
		if l.Path == pass {
			return "nginx `proxy_pass`, keep-alive"
		}
		return fmt.Sprintf("nginx `return 200`, %d bytes", size)
	default:
		return "HAProxy, keep-alive"
	}
}

// markdown writes the report as it stands in the documents.
func (r *report) markdown(w io.Writer) {
	fmt.Fprintf(w, "`%s`, %s: %d rounds of %gs a row, %d connections.\n", r.Command, r.Date.UTC().Format("2006-01-02 15:04 MST"), r.Rounds, r.During, r.Conns)
	fmt.Fprintf(w, "%s.\n", r.Machine)
	var versions []string
	for _, name := range slices.Sorted(mapKeys(r.Versions)) {
		versions = append(versions, name+" "+r.Versions[name])
	}
	fmt.Fprintf(w, "%s.\n\n", strings.Join(versions, ", "))

	fmt.Fprintln(w, "| path | server | µs a request | Redis µs | requests/s | p50 ms | p99 ms | x floor | x nginx | budget |")
	fmt.Fprintln(w, "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |")
	for i := range r.Rows {
		l := &r.Rows[i]
		if len(l.Rounds) == 0 {
			fmt.Fprintf(w, "| %s | %s | not measured: %s | | | | | | | %s |\n", l.Path, r.name(l), l.Missing, budget(l))
			continue
		}
		store := ""
		if l.Store != nil {
			store = fmt.Sprintf("%.2f", l.Store.Median)
		}
		fmt.Fprintf(w, "| %s | %s | %.2f | %s | %.0f | %.2f | %.2f | %s | %s | %s |\n", l.Path, r.name(l),
			l.Cost.Median, store, l.PerSecond.Median, l.P50.Median, l.P99.Median, l.ToFloor.text(), l.ToNginx.text(), budget(l))
	}
	fmt.Fprintf(w, `
Processor time of the server's processes from /proc (%s), without client and origin, which share the cores. Medians of the rounds;
ratios are taken within a round and given with the least and the most. The ratios are the result: times on a shared machine are not.
Every server of a path is sent the same bytes, a browser's request. A newcomer's ratios count Redis, since the place is written before the
answer; a poll's and an admitted request's do not: they wait for no store call, and the presence mark of a poll is what Redis is shown with.
`, r.Clock)
	var again []string
	for _, l := range r.Rows {
		if l.Reconnect > 0 {
			again = append(again, fmt.Sprintf("%s/%s %d", l.Path, l.Server, l.Reconnect))
		}
	}
	if again != nil {
		fmt.Fprintf(w, "Connections that servers closed and that were opened again: %s.\n", strings.Join(again, ", "))
	}
}

func (s *spread) text() string {
	if s == nil {
		return ""
	}
	return fmt.Sprintf("%.2f (%.2f to %.2f)", s.Median, s.Least, s.Most)
}

func budget(l *line) string {
	switch {
	case l.Budget == 0:
		return ""
	case l.Kept == nil:
		return fmt.Sprintf("%.2f: unknown", l.Budget)
	case *l.Kept:
		return fmt.Sprintf("%.2f: kept", l.Budget)
	default:
		return fmt.Sprintf("%.2f: **not kept**", l.Budget)
	}
}

func (r *report) writeJSON(file string) error {
	text, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(file, append(text, '\n'), 0o644)
}

// machine is what the figures were found on.
func machine() string {
	m := fmt.Sprintf("%d cores", runtime.NumCPU())
	if text, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		for line := range strings.Lines(string(text)) {
			if name, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == "model name" {
				m += ", " + strings.TrimSpace(value)
				break
			}
		}
	}
	if text, err := os.ReadFile("/proc/sys/kernel/osrelease"); err == nil {
		m += ", Linux " + strings.TrimSpace(string(text))
	}
	return m
}

// versions are what the programs say of themselves.
func versions(sluice string) map[string]string {
	v := map[string]string{"Sluice": strings.TrimPrefix(said(sluice, "version"), "sluice ")}
	if out, err := exec.Command("git", "describe", "--tags", "--always", "--dirty").Output(); err == nil {
		v["Sluice"] += " at " + strings.TrimSpace(string(out))
	}
	for name, args := range map[string][]string{"nginx": {"nginx", "-v"}, "HAProxy": {"haproxy", "-v"}, "Redis": {"redis-server", "--version"}} {
		v[name] = "not installed"
		if path := find(args[0]); path != "" {
			v[name] = number(said(path, args[1:]...))
		}
	}
	return v
}

// said is the first line that a program prints, wherever: nginx tells its version
// on stderr.
func said(path string, args ...string) string {
	out, err := exec.Command(path, args...).CombinedOutput()
	if err != nil {
		return err.Error()
	}
	line, _, _ := strings.Cut(strings.TrimSpace(string(out)), "\n")
	return line
}

var versionNumber = regexp.MustCompile(`\d+\.\d+[-+~.\w]*`)

// number is the version in what a program said, or all of it.
func number(line string) string {
	if n := versionNumber.FindString(line); n != "" {
		return n
	}
	return line
}
