package proc

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// outcome is a test that records how it ended.
type outcome struct {
	testing.TB
	skipped, failed string
	cleanups        []func()
}

func (o *outcome) Helper()             {}
func (o *outcome) Name() string        { return "TestVisitors" }
func (o *outcome) Logf(string, ...any) {}
func (o *outcome) Cleanup(f func())    { o.cleanups = append(o.cleanups, f) }
func (o *outcome) Skipf(f string, a ...any) {
	o.skipped = fmt.Sprintf(f, a...)
	runtime.Goexit()
}

func (o *outcome) Fatalf(f string, a ...any) {
	o.failed = fmt.Sprintf(f, a...)
	runtime.Goexit()
}

func (o *outcome) Fatal(a ...any) { o.Fatalf("%s", fmt.Sprint(a...)) }

// try runs f as a test of its own, to its end and that of what it started.
func try(t *testing.T, f func(testing.TB)) *outcome {
	o := &outcome{TB: t}
	done := make(chan struct{})
	go func() {
		defer close(done)
		f(o)
	}()
	<-done
	for _, c := range o.cleanups {
		c()
	}
	return o
}

func TestNeed(t *testing.T) {
	missing := func(t testing.TB) { Need(t, "no-such-server", "nor-this-one") }
	t.Run("a missing program skips the test and says what was not tested", func(t *testing.T) {
		t.Setenv("SLUICE_TEST_REQUIRE", "")
		o := try(t, missing)
		if want := "not tested: TestVisitors, because no-such-server is not installed"; o.skipped != want || o.failed != "" {
			t.Errorf("skipped with %q, failed with %q, want skipped with %q", o.skipped, o.failed, want)
		}
	})
	t.Run("a missing program fails the test where it is required", func(t *testing.T) {
		t.Setenv("SLUICE_TEST_REQUIRE", "1")
		o := try(t, missing)
		if !strings.Contains(o.failed, "TestVisitors needs no-such-server") || o.skipped != "" {
			t.Errorf("skipped with %q, failed with %q, want failed", o.skipped, o.failed)
		}
	})
	t.Run("one of several names is enough", func(t *testing.T) {
		var path string
		o := try(t, func(t testing.TB) { path = Need(t, "no-such-server", "go") })
		if o.skipped+o.failed != "" || !strings.HasSuffix(path, "go") {
			t.Errorf("found %q, skipped with %q, failed with %q", path, o.skipped, o.failed)
		}
	})
}

func TestFreePortIsGivenOnce(t *testing.T) {
	seen := map[int]bool{}
	for range 100 {
		p := FreePort(t)
		if seen[p] {
			t.Fatalf("port %d given twice", p)
		}
		seen[p] = true
		l, err := net.Listen("tcp", address(p))
		if err != nil {
			t.Fatal(err)
		}
		l.Close()
	}
}

// ask sends Redis one inline command and returns the first line of the answer.
func ask(t *testing.T, addr, command string) string {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := io.WriteString(c, command+"\r\n"); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(c).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(line)
}

func TestRedis(t *testing.T) {
	var stopped string
	t.Run("each is empty and its own", func(t *testing.T) {
		first, second := Redis(t), Redis(t)
		stopped = first
		if got := ask(t, first, "SET visitor ann"); got != "+OK" {
			t.Errorf("SET answers %q", got)
		}
		if got := ask(t, second, "EXISTS visitor"); got != ":0" {
			t.Errorf("the second has the first one's key: %q", got)
		}
	})
	t.Run("ends with its test", func(t *testing.T) {
		Need(t, "redis-server")
		if c, err := net.Dial("tcp", stopped); err == nil {
			c.Close()
			t.Errorf("%s still answers", stopped)
		}
	})
	t.Run("takes more arguments", func(t *testing.T) {
		addr := RedisWith(t, "--requirepass", "open sesame")
		if got := ask(t, addr, "GET visitor"); !strings.HasPrefix(got, "-NOAUTH") {
			t.Errorf("GET answers %q, want -NOAUTH", got)
		}
	})
	t.Run("is killed, and started again on its port", func(t *testing.T) {
		Need(t, "redis-server")
		port := FreePort(t)
		p := RedisAt(t, port)
		ask(t, address(port), "SET visitor ann")
		p.Kill()
		p.Kill()
		<-p.Done()
		if c, err := net.Dial("tcp", address(port)); err == nil {
			c.Close()
			t.Fatal("still answers")
		}
		again := RedisAt(t, port)
		if got := ask(t, address(port), "EXISTS visitor"); got != ":0" {
			t.Errorf("the key outlived its server: %q", got)
		}
		if again.Pid() == p.Pid() {
			t.Errorf("the same process, %d", p.Pid())
		}
		for _, s := range []os.Signal{syscall.SIGSTOP, syscall.SIGCONT} {
			if err := again.Signal(s); err != nil {
				t.Errorf("%v: %v", s, err)
			}
		}
		if got := ask(t, address(port), "PING"); got != "+PONG" {
			t.Errorf("PING answers %q", got)
		}
	})
	t.Run("a port that another server took is not mistaken for ours", func(t *testing.T) {
		Need(t, "redis-server")
		port := FreePort(t)
		RedisAt(t, port)
		_, err := startRedis(t, port, nil)
		if !errors.Is(err, errPortTaken) {
			t.Fatalf("error is %v, want that the port is taken", err)
		}
		tries := 0
		addr := retry(t, func(free int) (*Process, error) {
			if tries++; tries < attempts {
				free = port
			}
			return startRedis(t, free, nil)
		})
		if addr == address(port) || tries != attempts {
			t.Errorf("runs at %s after %d tries", addr, tries)
		}
	})
	t.Run("says what is wrong when it does not start", func(t *testing.T) {
		Need(t, "redis-server")
		o := try(t, func(t testing.TB) { RedisWith(t, "--no-such-option", "1") })
		if want := "redis-server ended at once: exit status 1"; o.failed != want {
			t.Errorf("failed with %q, want %q", o.failed, want)
		}
	})
}

func TestNginx(t *testing.T) {
	conf := func(dir string, port int) string {
		return `
worker_processes 2;
events { worker_connections 64; }
http {
	access_log off;
	client_body_temp_path ` + dir + `/body; proxy_temp_path ` + dir + `/proxy; fastcgi_temp_path ` + dir + `/fastcgi;
	uwsgi_temp_path ` + dir + `/uwsgi; scgi_temp_path ` + dir + `/scgi;
	server { listen 127.0.0.1:` + strconv.Itoa(port) + `; location / { return 200 "shop"; } }
}`
	}
	var stopped string
	t.Run("serves what it was told", func(t *testing.T) {
		stopped = Nginx(t, conf)
		resp, err := http.Get("http://" + stopped)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		if body, err := io.ReadAll(resp.Body); err != nil || string(body) != "shop" {
			t.Errorf("answers %q, %v", body, err)
		}
	})
	t.Run("ends with its test, workers too", func(t *testing.T) {
		Need(t, "nginx")
		if c, err := net.Dial("tcp", stopped); err == nil {
			c.Close()
			t.Errorf("%s still answers", stopped)
		}
	})
	t.Run("says what is wrong when it does not start", func(t *testing.T) {
		Need(t, "nginx")
		o := try(t, func(t testing.TB) { Nginx(t, func(string, int) string { return "nonsense;" }) })
		if want := "nginx ended at once: exit status 1"; o.failed != want {
			t.Errorf("failed with %q, want %q", o.failed, want)
		}
	})
}

func TestStart(t *testing.T) {
	sh := Need(t, "sh")
	t.Run("waits until ready", func(t *testing.T) {
		asked := 0
		Start(t, func() error {
			if asked++; asked < 3 {
				return errors.New("not yet")
			}
			return nil
		}, sh, "-c", "exec tail -f /dev/null")
		if asked != 3 {
			t.Errorf("asked %d times, want 3", asked)
		}
	})
	t.Run("leaves nothing behind", func(t *testing.T) {
		pipe := filepath.Join(t.TempDir(), "pipe")
		if err := syscall.Mkfifo(pipe, 0o600); err != nil {
			t.Fatal(err)
		}
		for _, end := range []string{"", "trap '' TERM; "} {
			var held *os.File
			o := try(t, func(t testing.TB) {
				Start(t, func() (err error) {
					held, err = os.Open(pipe) // returns once the child has opened it too
					return err
				}, sh, "-c", end+"(exec >"+pipe+"; tail -f /dev/null) & wait")
			})
			if o.failed != "" {
				t.Fatal(o.failed)
			}
			if _, err := held.Read(make([]byte, 1)); err != io.EOF {
				t.Errorf("reading what the child held open: %v, want EOF", err)
			}
			held.Close()
		}
	})
	t.Run("fails when there is nothing to run", func(t *testing.T) {
		o := try(t, func(t testing.TB) { Start(t, func() error { return nil }, "/no/such/program") })
		if !strings.Contains(o.failed, "/no/such/program") {
			t.Errorf("failed with %q", o.failed)
		}
	})
}
