package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/sluicegate/sluice/loadtest/k6"
	"github.com/sluicegate/sluice/loadtest/origin"
	"github.com/sluicegate/sluice/loadtest/stage"
	"github.com/sluicegate/sluice/queue"
	"github.com/sluicegate/sluice/queue/queuetest/proc"
)

// version is the k6 that the scripts were written for.
const version = "v1.8.1"

const module = "go.k6.io/k6@" + version

// findK6 returns the path of k6 and what it calls itself.
func findK6(t proc.T, o *options) (path, name string) {
	t.Helper()
	path, err := lookK6(t, o)
	if err != nil {
		t.Fatal(err)
	}
	said, err := exec.CommandContext(t.Context(), path, "version").Output()
	if err != nil {
		t.Fatalf("%s version: %v", path, err)
	}
	name, _, _ = strings.Cut(strings.TrimSpace(string(said)), "\n")
	if !strings.HasPrefix(name, "k6") {
		t.Fatalf("%s does not look like k6: its version is %q", path, name)
	}
	name, _, _ = strings.Cut(name, " (")
	return path, name
}

func lookK6(t proc.T, o *options) (string, error) {
	t.Helper()
	if o.k6 != "" {
		path, err := exec.LookPath(o.k6)
		if err != nil {
			return "", fmt.Errorf("--k6: %w", err)
		}
		return path, nil
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		cache = os.TempDir()
	}
	ours := filepath.Join(cache, "sluice-k6")
	places := []string{"k6"}
	if out, err := exec.CommandContext(t.Context(), "go", "env", "GOPATH").Output(); err == nil {
		for _, dir := range filepath.SplitList(strings.TrimSpace(string(out))) {
			places = append(places, filepath.Join(dir, "bin", "k6"))
		}
	}
	places = append(places, filepath.Join(ours, "k6"))
	for _, p := range places {
		if path, err := exec.LookPath(p); err == nil {
			return path, nil
		}
	}
	if !o.install {
		return "", fmt.Errorf("k6 is not installed: neither in PATH nor as %s; say --k6 PATH, or --install, or run: go install %s",
			strings.Join(places[1:], " nor as "), module)
	}
	t.Logf("installing %s into %s, which takes minutes", module, ours)
	c := exec.CommandContext(t.Context(), "go", "install", module)
	c.Dir = t.TempDir() // outside of this module, whose go.mod is none of k6's business
	c.Env = append(os.Environ(), "GOBIN="+ours, "GOFLAGS=-mod=mod", "GOWORK=off")
	if said, err := c.CombinedOutput(); err != nil {
		return "", fmt.Errorf("go install %s: %w\n%s", module, err, said)
	}
	return filepath.Join(ours, "k6"), nil
}

// bench is what runs are done with.
type bench struct {
	t          proc.T
	o          *options
	k6, sluice string
	dir        string // with the scripts in it
}

func newBench(t proc.T, o *options, k6path string) *bench {
	t.Helper()
	b := &bench{t: t, o: o, k6: k6path, sluice: stage.Sluice(t), dir: t.TempDir()}
	entries, err := fs.ReadDir(k6.Scripts, ".")
	for _, e := range entries {
		var text []byte
		if text, err = k6.Scripts.ReadFile(e.Name()); err == nil {
			err = os.WriteFile(filepath.Join(b.dir, e.Name()), text, 0o600)
		}
		if err != nil {
			break
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	// A script that either refuses is told before anything runs.
	settings := b.settings("http://127.0.0.1:1", "")
	for _, c := range []*exec.Cmd{
		exec.CommandContext(t.Context(), b.k6, append([]string{"inspect", "--execution-requirements"}, append(variables(settings), b.file("compare.js"))...)...),
		exec.CommandContext(t.Context(), b.sluice, "loadtest", "inspect", b.file("compare.yaml")),
	} {
		c.Env = environment(settings)
		if said, err := c.CombinedOutput(); err != nil {
			t.Fatalf("%s inspect: %v\n%s", filepath.Base(c.Path), err, said)
		}
	}
	return b
}

func (b *bench) file(name string) string { return filepath.Join(b.dir, name) }

// settings are what the scripts take from the environment.
func (b *bench) settings(target, summary string) []string {
	vus := strconv.Itoa(b.o.visitors() + b.o.rate) // nobody is dropped, whatever the gate does
	return []string{
		"TARGET=" + target, "ROOM=" + stage.Room, "PAGE=" + stage.Path, "PAGES=2", "THINK_MIN=1", "THINK_MAX=2", "LEAVE=1",
		"RATE=" + strconv.Itoa(b.o.rate), "DURATION=" + b.o.duration.String(), "VUS=" + vus,
		"GRACEFUL_STOP=" + b.graceful().String(), "SUMMARY=" + summary,
	}
}

func (b *bench) graceful() time.Duration { return b.o.drain() + time.Minute }

// variables are settings as arguments for k6.
func variables(settings []string) (args []string) {
	for _, s := range settings {
		args = append(args, "-e", s)
	}
	return args
}

// environment is the process's with the settings, and without what would change
// how k6 behaves.
func environment(settings []string) []string {
	env := slices.DeleteFunc(os.Environ(), func(s string) bool { return strings.HasPrefix(s, "K6_") })
	return append(env, settings...)
}

func (b *bench) k6run(ctx context.Context, settings []string, _ string) *exec.Cmd {
	args := append([]string{"run", "--quiet", "--no-color", "--no-usage-report", "--address", ""}, variables(settings)...)
	return exec.CommandContext(ctx, b.k6, append(args, b.file("compare.js"))...)
}

func (b *bench) ours(ctx context.Context, settings []string, summary string) *exec.Cmd {
	return exec.CommandContext(ctx, b.sluice, "loadtest", "run", b.file("compare.yaml"),
		"--seed", strconv.FormatUint(b.o.seed, 10), "--summary-export", summary)
}

// run sets a target up, has the harness run against it, and takes it down again.
func (b *bench) run(name string, command func(ctx context.Context, settings []string, summary string) *exec.Cmd) measured {
	b.t.Helper()
	s := &scope{T: b.t}
	defer s.end() // a Fatal of what is called here passes by, too
	target := b.target(s)

	summary := filepath.Join(s.TempDir(), "summary.json")
	settings := b.settings(target, summary)
	// k6 takes some time to make its users, before anything begins.
	ctx, cancel := context.WithTimeout(b.t.Context(), b.o.duration+b.graceful()+2*time.Minute)
	defer cancel()
	c := command(ctx, settings, summary)
	c.Env = environment(settings)
	var said bytes.Buffer
	c.Stdout, c.Stderr = &said, &said
	c.Cancel = func() error { return c.Process.Signal(os.Interrupt) }
	c.WaitDelay = 10 * time.Second
	before := machineTicks()
	if err := c.Run(); err != nil {
		switch {
		case b.t.Context().Err() != nil:
			b.t.Fatal("interrupted")
		case ctx.Err() != nil:
			err = errors.New("it did not end in time")
		}
		b.t.Fatalf("%s: %v\n%s", name, err, said.Bytes())
	}
	data, err := os.ReadFile(summary)
	if err != nil {
		b.t.Fatalf("%s: %v\n%s", name, err, said.Bytes())
	}
	m, err := read(data)
	if err != nil {
		b.t.Fatalf("%s: %v\n%s", name, err, said.Bytes())
	}
	m.busy = machineTicks().since(before)
	m.cpu = c.ProcessState.UserTime() + c.ProcessState.SystemTime()
	return m
}

// target is a shop, a gate before it, and the way there. It returns the address.
func (b *bench) target(s *scope) string {
	s.Helper()
	shop := origin.New(origin.Config{Gated: stage.Path, Think: b.o.shop})
	l := listen(s)
	served := make(chan error, 1)
	go func() { served <- shop.Serve(l) }()
	s.Cleanup(func() {
		if err := errors.Join(shop.Close(), <-served); err != nil {
			s.Logf("the shop: %v", err)
		}
	})
	gate := stage.Gates(s, b.sluice, 1, stage.Config{
		Origin: l.Addr().String(),
		Room:   b.room(),
		Proxy:  "max_conns: 4096",
	})[0]
	if b.o.distance == 0 {
		return gate.URL
	}
	way := newWay(listen(s), strings.TrimPrefix(gate.URL, "http://"), b.o.distance/2)
	s.Cleanup(way.Close)
	return "http://" + way.Addr()
}

// room has a small burst, so that next to nobody is let in on the spot: a p95 that
// stands where two kinds of answers meet jumps from one to the other.
func (b *bench) room() string {
	burst := ""
	if rate, err := queue.ParseRate(b.o.roomRate); err == nil && rate != queue.NoRate {
		burst = "\nburst: " + strconv.FormatInt(max(1, rate.PerHour()/3600/5), 10) // a fifth of a second's worth
	}
	return "rate: " + b.o.roomRate + burst + "\nmax_active: none\npoll: {min: 1s, max: 5s}\nsession: 1m"
}

func listen(t proc.T) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// scope is a T for part of a command, whose programs end before it does.
type scope struct {
	proc.T
	cleanups []func()
}

func (s *scope) Cleanup(f func()) { s.cleanups = append(s.cleanups, f) }

func (s *scope) end() {
	for _, f := range slices.Backward(s.cleanups) {
		f()
	}
	s.cleanups = nil
}
