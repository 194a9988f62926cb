package main

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"github.com/sluicegate/sluice/loadtest/origin"
	"github.com/sluicegate/sluice/loadtest/stage"
	"github.com/sluicegate/sluice/queue/queuetest/proc"
)

// How one gate follows another.
const (
	reusePort = "reuse_port" // the new one starts first, and listens beside the old one
	systemd   = "systemd"    // the new one starts when the old one has ended, in a socket that outlives both
)

// site is the gate's address, and what stands behind it.
type site struct {
	sluice, way, file string
	listen            string
	socket            *os.File // of systemd's part
}

// stopped is how long one restart took.
type stopped struct{ stop, start time.Duration }

// openSite starts a shop and a store, and writes the gates' file.
func openSite(t proc.T, sluice, way string, o options) *site {
	t.Helper()
	s := &site{sluice: sluice, way: way, listen: stage.FreeAddress(t), file: filepath.Join(t.TempDir(), "sluice.yaml")}
	shop := serveShop(t)
	listen := fmt.Sprintf("{address: %q, reuse_port: true}", s.listen)
	if way == systemd {
		listen = "systemd"
		l, err := net.Listen("tcp", s.listen)
		if err != nil {
			t.Fatal(err)
		}
		s.socket, err = l.(*net.TCPListener).File()
		l.Close()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { s.socket.Close() })
	}
	store := "memory"
	if !o.memory {
		store = "redis://" + proc.Redis(t)
	}
	text := fmt.Sprintf(`listen: %s
store: %s
secret: %q
log: {level: warn, format: text}
shutdown: {delay: %v, timeout: 20s}
origin: {url: "http://%s"}
rooms:
  - name: %s
    match: [{path: %s}]
    rate: none
    max_active: %d
`, listen, store, stage.Secret, o.delay, shop, stage.Room, stage.Path, insiders)
	if err := os.WriteFile(s.file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return s
}

func serveShop(t proc.T) (address string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	shop := origin.New(origin.Config{PageSize: 1000})
	served := make(chan error, 1)
	go func() { served <- shop.Serve(l) }()
	t.Cleanup(func() {
		_ = shop.Close()
		if err := <-served; err != nil {
			t.Logf("%v", err)
		}
	})
	return l.Addr().String()
}

// gate is a running one.
type gate struct {
	*proc.Process
	admin string
}

// start runs a gate and waits until it is ready.
func (s *site) start(t proc.T) *gate {
	t.Helper()
	g := &gate{admin: stage.FreeAddress(t)}
	command := exec.Command(s.sluice, "serve", "-c", s.file, "--admin", g.admin)
	if s.socket != nil { // LISTEN_PID is the gate's own number
		command = exec.Command("sh", "-c", `LISTEN_PID=$$ LISTEN_FDS=1 exec "$@"`, "sh", s.sluice, "serve", "-c", s.file, "--admin", g.admin)
		command.ExtraFiles = []*os.File{s.socket}
	}
	g.Process = proc.StartCommand(t, g.ready, command)
	return g
}

var operators = &http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}

func (g *gate) ready() error {
	resp, err := operators.Get("http://" + g.admin + "/readyz")
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("/readyz: %s", resp.Status)
	}
	return nil
}

// hold has nobody called any more: polls of those who are next would be held, which is
// not what is looked at here.
func (g *gate) hold(t proc.T) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), "PATCH", "http://"+g.admin+"/api/v1/rooms/"+stage.Room, bytes.NewBufferString(`{"mode": "hold"}`))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/merge-patch+json")
	resp, err := operators.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		t.Fatalf("the room is not held: %s", resp.Status)
	}
}

// stop asks a gate to end as operators do, and waits until it has.
func (g *gate) stop(ctx context.Context) error {
	if err := g.Signal(syscall.SIGTERM); err != nil {
		return err
	}
	select {
	case <-g.Done():
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// follow has another gate take over.
func (s *site) follow(t proc.T, old *gate) (next *gate, took stopped, err error) {
	start := func() {
		began := time.Now()
		next = s.start(t)
		took.start = time.Since(began)
	}
	if s.way == reusePort {
		start()
	}
	began := time.Now()
	if err := old.stop(t.Context()); err != nil {
		return nil, took, err
	}
	took.stop = time.Since(began)
	if s.way == systemd {
		start()
	}
	return next, took, nil
}
