package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/fasthttp/websocket"

	"github.com/sluicegate/sluice/queue/queuetest/proc"
)

// writeConfig writes a configuration for a gate in front of a shop.
func writeConfig(t *testing.T, dir, name, shop, rest string) string {
	t.Helper()
	file := filepath.Join(dir, name)
	text := fmt.Sprintf("secret: %q\norigin: {url: %q}\nshutdown: {delay: 300ms, timeout: 20s}\n%s\n", secret, shop, rest)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// startGateAs starts a gate whose file says where it listens, with a free admin
// listener, as a program runs it.
func startGateAs(t *testing.T, file string, command ...string) *gateProcess {
	t.Helper()
	operators := fmt.Sprintf("127.0.0.1:%d", proc.FreePort(t))
	log, err := os.CreateTemp(t.TempDir(), "log")
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	command = append(command, "serve", "-c", file, "--admin", operators)
	g := &gateProcess{
		t: t, visitors: file, operators: "http://" + operators, file: file, log: log.Name(), done: make(chan struct{}),
		cmd: exec.Command(command[0], command[1:]...),
	}
	g.cmd.Env = append(slices.Clip(environment), "PATH="+os.Getenv("PATH"))
	g.cmd.Stdout, g.cmd.Stderr = log, log
	g.run()
	return g
}

// shopServer answers everything with ok, and WebSockets at /echo with what they say.
func shopServer(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	upgrader := websocket.Upgrader{CheckOrigin: func(*http.Request) bool { return true }}
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/echo" {
			c, err := upgrader.Upgrade(w, r, nil)
			if err == nil {
				defer c.Close()
			}
			for err == nil {
				var kind int
				var message []byte
				if kind, message, err = c.ReadMessage(); err == nil {
					err = c.WriteMessage(kind, message)
				}
			}
			return
		}
		w.Header().Set("strict-transport-security", "max-age=1") // the gate's wins
		w.Header().Set("Proto", r.Header.Get("X-Forwarded-Proto"))
		fmt.Fprint(w, "ok ", r.Method, " ", r.URL.RequestURI())
	})}
	done := make(chan struct{})
	go func() { defer close(done); _ = server.Serve(l) }()
	t.Cleanup(func() { server.Close(); <-done })
	return "http://" + l.Addr().String()
}

const ungatedRoom = "rooms: [{name: drop, match: [{path: /drop}], rate: none}]"

// TestVisitorsNoticeNothingOfARollingRestart has visitors ask without a pause, by
// connections that they keep and by new ones, while gates follow each other.
func TestVisitorsNoticeNothingOfARollingRestart(t *testing.T) {
	t.Parallel()
	program, shop, dir := sluice(t), shopServer(t), t.TempDir()
	at := fmt.Sprintf("127.0.0.1:%d", proc.FreePort(t))
	file := writeConfig(t, dir, "sluice.yaml", shop, fmt.Sprintf("listen: {address: %q, reuse_port: true}\n%s", at, ungatedRoom))
	gate := startGateAs(t, file, program)

	ctx, cancel := context.WithCancel(t.Context())
	var visitors sync.WaitGroup
	var asked atomic.Int64
	for i := range 12 {
		transport := &http.Transport{DisableKeepAlives: i%3 == 0}
		t.Cleanup(transport.CloseIdleConnections)
		client := &http.Client{Transport: transport, Timeout: time.Minute}
		visitors.Go(func() {
			for ctx.Err() == nil {
				// A POST is not repeated by the client: whatever goes wrong is seen.
				resp, err := client.Post("http://"+at+"/x", "text/plain", strings.NewReader("x"))
				if err != nil {
					t.Errorf("after %d requests: %v", asked.Load(), err)
					return
				}
				body, err := io.ReadAll(resp.Body)
				resp.Body.Close()
				if err != nil || resp.StatusCode != 200 || string(body) != "ok POST /x" {
					t.Errorf("answered %d %q, %v", resp.StatusCode, body, err)
					return
				}
				asked.Add(1)
			}
		})
	}
	for range 2 {
		next := startGateAs(t, file, program)
		gate.stop()
		gate = next
	}
	cancel()
	visitors.Wait()
	t.Logf("%d requests", asked.Load())
	gate.stop()
}

func TestSocketsOfSystemdAreServed(t *testing.T) {
	t.Parallel()
	activate := proc.Need(t, "systemd-socket-activate")
	program, shop, dir := sluice(t), shopServer(t), t.TempDir()
	ports := []int{proc.FreePort(t), proc.FreePort(t)}
	file := writeConfig(t, dir, "sluice.yaml", shop, "listen: [\"systemd:web\", \"systemd:more\"]\n"+ungatedRoom)
	address := func(i int) string { return fmt.Sprintf("127.0.0.1:%d", ports[i]) }
	var visitors sync.WaitGroup
	visitors.Go(func() { // the first one has the gate started
		await(t, "somebody comes", func() error {
			c, err := net.Dial("tcp", address(0))
			if err == nil {
				c.Close()
			}
			return err
		})
	})
	defer visitors.Wait()
	gate := startGateAs(t, file, activate, "--fdname=web:more", "--setenv="+asSluice+"=1",
		"--listen="+address(0), "--listen="+address(1), program)
	for i := range ports {
		resp, err := http.Get("http://" + address(i) + "/x")
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != 200 {
			t.Errorf("socket %d answers %d", i, resp.StatusCode)
		}
	}
	gate.signal(syscall.SIGTERM) // not stop, which wants nobody else to print
	<-gate.done
	if code := gate.cmd.ProcessState.ExitCode(); code != 0 {
		t.Errorf("the gate ended with exit code %d", code)
	}
	gate.stopped = true
}
