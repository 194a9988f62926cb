// Package stage sets up what is rehearsed and measured against on one machine: real
// gates, built from this module, on a store that they share. They end with the test
// or command that asked for them.
package stage

import (
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
	path := filepath.Join(t.TempDir(), "sluice")
	build := exec.CommandContext(t.Context(), "go", "build", "-trimpath", "-o", path, "github.com/sluicegate/sluice/cmd/sluice")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build sluice: %v\n%s", err, out)
	}
	return path
}

// Config is what all gates have in common.
type Config struct {
	Store  string // address of a Redis; "": each gate has a line of its own, in memory
	Origin string // the shop's address, HOST:PORT
	Room   string // its settings as YAML, a line each: "rate: 50/s\nburst: 10"
	Proxy  string // further settings of the origin as YAML, a line each: "max_conns: 4096"
}

// Gate is a running gate.
type Gate struct {
	URL   string // for visitors, http://127.0.0.1:PORT
	Admin string // address of the admin API
	*proc.Process
}

// Gates starts so many gates and waits until each is ready.
func Gates(t proc.T, sluice string, n int, c Config) []Gate {
	t.Helper()
	var gates []Gate
	for i := range n {
		visitors, admin := "127.0.0.1:"+strconv.Itoa(proc.FreePort(t)), "127.0.0.1:"+strconv.Itoa(proc.FreePort(t))
		file := filepath.Join(t.TempDir(), fmt.Sprintf("gate-%d.yaml", i))
		if err := os.WriteFile(file, []byte(c.yaml(visitors, admin)), 0o600); err != nil {
			t.Fatal(err)
		}
		p := proc.Start(t, func() error { return ready(admin) }, sluice, "serve", "-c", file)
		gates = append(gates, Gate{"http://" + visitors, admin, p})
	}
	return gates
}

func (c Config) yaml(visitors, admin string) string {
	store := "memory"
	if c.Store != "" {
		store = "redis://" + c.Store
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
secret: %q
log: {level: warn, format: text}
shutdown: {delay: 0s, timeout: 5s}
origin:
  url: http://%s
%srooms:
  - name: %s
    match: [{path: %s}]
%s`, visitors, admin, store, Secret, c.Origin, indent(c.Proxy, "  "), Room, Path, indent(c.Room, "    "))
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
