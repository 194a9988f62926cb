// Package stage sets up what is rehearsed and measured against on one machine: real
// gates, built from this module, on a store that they share. They end with the test
// or command that asked for them.
package stage

import (
	"cmp"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/sluicegate/sluice/queue/queuetest/proc"
)

// Room is the name of the room that gates have, and Path what it gates.
const (
	Room = "drop"
	Path = "/drop"
)

// Secret is what the gates sign with. It protects nothing: they listen on loopback.
const Secret = "a rehearsal's secret, known to everybody"

// Sluice builds the command and returns its path. It is built as it ships: without
// the race detector, with the profile that guides the compiler where there is one.
func Sluice(t proc.T) string {
	t.Helper()
	return build(t, "CGO_ENABLED=0", "-trimpath")
}

// RacingSluice is Sluice with the race detector, whose findings a gate writes to its
// log.
func RacingSluice(t proc.T) string {
	t.Helper()
	return build(t, "CGO_ENABLED=1", "-race")
}

func build(t proc.T, env string, flags ...string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "sluice")
	args := append([]string{"build", "-o", path}, flags...)
	build := exec.CommandContext(t.Context(), "go", append(args, "github.com/sluicegate/sluice/cmd/sluice")...)
	build.Env = append(os.Environ(), env)
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build sluice: %v\n%s", err, out)
	}
	return path
}

// Config is what a gate is told. Gates that share a store have all of it in common.
type Config struct {
	Store    string   // address of a Redis, HOST:PORT or a URL; "": each gate has a line of its own, in memory
	Origin   string   // the shop's address, HOST:PORT
	Room     string   // its settings as YAML, a line each: "rate: 50/s\nburst: 10"
	Proxy    string   // further settings of the origin as YAML, a line each: "max_conns: 4096"
	Top      string   // further settings of the gate, likewise: "on_store_loss: admit"
	Secrets  []string // none: Secret
	Shutdown string   // "": {delay: 0s, timeout: 5s}
}

// Gate is a gate on this machine, with addresses of its own that outlive its process.
type Gate struct {
	URL   string // for visitors, http://127.0.0.1:PORT
	Admin string // address of the admin API
	*proc.Process

	// Environment is added to that of the process, at its next start: "NAME=VALUE".
	Environment []string

	sluice, file string
}

// Gates starts so many gates and waits until each is ready.
func Gates(t proc.T, sluice string, n int, c Config) []*Gate {
	t.Helper()
	var gates []*Gate
	for range n {
		g := New(t, sluice)
		g.Configure(t, c)
		g.Start(t)
		gates = append(gates, g)
	}
	return gates
}

// New returns a gate that was not started yet, and is to be configured before.
func New(t proc.T, sluice string) *Gate {
	t.Helper()
	return &Gate{
		URL: "http://" + FreeAddress(t), Admin: FreeAddress(t),
		sluice: sluice, file: filepath.Join(t.TempDir(), "sluice.yaml"),
	}
}

// Configure writes the gate's file, which counts from its next start or reload on.
func (g *Gate) Configure(t proc.T, c Config) {
	t.Helper()
	if err := os.WriteFile(g.file, []byte(c.yaml(strings.TrimPrefix(g.URL, "http://"), g.Admin)), 0o600); err != nil {
		t.Fatal(err)
	}
}

// Start runs the gate, again if it has ended, and waits until it is ready.
func (g *Gate) Start(t proc.T) {
	t.Helper()
	command := exec.Command(g.sluice, "serve", "-c", g.file)
	command.Env = append(os.Environ(), g.Environment...)
	g.Process = proc.StartCommand(t, g.Ready, command)
}

// Ready asks the gate whether it takes visitors, and returns why not.
func (g *Gate) Ready() error { return ready(g.Admin) }

func (c Config) yaml(visitors, admin string) string {
	store := c.Store
	switch {
	case store == "":
		store = "memory"
	case !strings.Contains(store, "://"):
		store = "redis://" + store
	}
	secrets := c.Secrets
	if len(secrets) == 0 {
		secrets = []string{Secret}
	}
	indent := func(lines, by string) string {
		var b strings.Builder
		for line := range strings.Lines(lines) {
			b.WriteString(by + strings.TrimRight(line, "\n") + "\n")
		}
		return b.String()
	}
	return fmt.Sprintf(`listen: %s
admin: {listen: %s}
store: %s
secret: %s
log: {level: warn, format: text}
shutdown: %s
%sorigin:
  url: http://%s
%srooms:
  - name: %s
    match: [{path: %s}]
%s`, visitors, admin, store, list(secrets), cmp.Or(c.Shutdown, "{delay: 0s, timeout: 5s}"), indent(c.Top, ""),
		c.Origin, indent(c.Proxy, "  "), Room, Path, indent(c.Room, "    "))
}

// list is texts as a list of YAML.
func list(texts []string) string {
	quoted := make([]string, len(texts))
	for i, text := range texts {
		quoted[i] = strconv.Quote(text)
	}
	return "[" + strings.Join(quoted, ", ") + "]"
}

var client = &http.Client{Timeout: time.Second, Transport: &http.Transport{DisableKeepAlives: true}}

func ready(admin string) error {
	resp, err := client.Get("http://" + admin + "/readyz")
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return errors.New(resp.Status)
	}
	return nil
}

// FreeAddress returns an address of loopback that nobody listens on, for an origin.
func FreeAddress(t proc.T) string {
	return net.JoinHostPort("127.0.0.1", strconv.Itoa(proc.FreePort(t)))
}
