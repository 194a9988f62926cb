// Package proc lets tests, and commands that measure, work with real programs: it finds redis-server, nginx
// and the like, runs them in a folder of the test's own on a free port of
// 127.0.0.1, waits until they answer, and ends them with the test. For commands see
// Main.
//
// A program that is not installed skips the test, which says what was not tested.
// Where the environment variable SLUICE_TEST_REQUIRE is 1, as under `make test`,
// it fails the test instead.
package proc

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

const (
	startTime = 20 * time.Second // longest that a program may take until it answers
	stopTime  = time.Second      // and to end when asked to, before it is killed
	attempts  = 5                // starts of one program, each on another port
	tailSize  = 8 << 10          // bytes of a program's output that a failure shows
)

// Need returns the path of program, or of the first other name that is
// installed. Without any the test is skipped, or fails under SLUICE_TEST_REQUIRE=1.
func Need(t T, program string, others ...string) string {
	t.Helper()
	for _, name := range append([]string{program}, others...) {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
		// Servers live where a plain user's PATH does not lead.
		for _, dir := range []string{"/usr/sbin", "/usr/local/sbin", "/sbin"} {
			if path, err := exec.LookPath(filepath.Join(dir, name)); err == nil {
				return path
			}
		}
	}
	if os.Getenv("SLUICE_TEST_REQUIRE") == "1" {
		t.Fatalf("%s needs %s, which is not installed, and SLUICE_TEST_REQUIRE=1 allows no skip", t.Name(), program)
	}
	t.Skipf("not tested: %s, because %s is not installed", t.Name(), program)
	return ""
}

var handedOut struct {
	sync.Mutex
	ports map[int]bool
}

// FreePort returns a port of 127.0.0.1 that nobody listens on, and that this
// process was not given before. It lies under the range from which the kernel
// takes ports for outgoing connections (32768 on, on Linux), so that a server can
// be stopped and started again on it.
func FreePort(t T) int {
	t.Helper()
	handedOut.Lock()
	defer handedOut.Unlock()
	if handedOut.ports == nil {
		handedOut.ports = map[int]bool{}
	}
	var err error
	for range 1000 {
		port := 20000 + rand.IntN(12000)
		if handedOut.ports[port] {
			continue
		}
		var l net.Listener
		if l, err = net.Listen("tcp", address(port)); err != nil {
			continue
		}
		l.Close()
		handedOut.ports[port] = true
		return port
	}
	t.Fatalf("no free port: %v", err)
	return 0
}

// Redis starts a redis-server that keeps nothing on disk and returns its address.
func Redis(t T) (addr string) {
	t.Helper()
	return RedisWith(t)
}

// RedisWith is Redis with more arguments, as on the command line: "--maxmemory",
// "10mb".
func RedisWith(t T, extra ...string) (addr string) {
	t.Helper()
	return retry(t, func(port int) (*Process, error) { return startRedis(t, port, extra) })
}

// RedisAt starts a redis-server on the given port, for tests that stop one and
// start it again. See RedisWith.
func RedisAt(t T, port int, extra ...string) *Process {
	t.Helper()
	p, err := startRedis(t, port, extra)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func startRedis(t T, port int, extra []string) (*Process, error) {
	t.Helper()
	path := Need(t, "redis-server")
	args := append([]string{
		"--bind", "127.0.0.1", "--port", strconv.Itoa(port), "--dir", t.TempDir(),
		"--save", "", "--appendonly", "no",
	}, extra...)
	return start(t, func(p *Process) error {
		// Another test's server may have taken the port a moment ago and answer there.
		if !bytes.Contains(p.Output(), []byte("Ready to accept connections")) {
			return errors.New("it does not say that it is ready")
		}
		return ping(address(port))
	}, path, args...)
}

// ping asks a Redis for any answer but "still loading".
func ping(addr string) error {
	c, err := net.DialTimeout("tcp", addr, time.Second)
	if err != nil {
		return err
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(time.Second)); err != nil {
		return err
	}
	if _, err := c.Write([]byte("PING\r\n")); err != nil {
		return err
	}
	line, err := bufio.NewReader(c).ReadString('\n')
	if err == nil && strings.HasPrefix(line, "-LOADING") {
		err = errors.New(strings.TrimSpace(line))
	}
	return err
}

// Nginx starts an nginx with the configuration that conf makes for a folder, the
// test's own, and a port of 127.0.0.1 to listen on; it returns the address. The
// directives daemon, pid, error_log and user are set already. What nginx writes
// while it works (client_body_temp_path and the like) belongs in dir.
func Nginx(t T, conf func(dir string, port int) string) (addr string) {
	t.Helper()
	path := Need(t, "nginx")
	return retry(t, func(port int) (*Process, error) {
		dir := t.TempDir()
		file, pid := filepath.Join(dir, "nginx.conf"), filepath.Join(dir, "nginx.pid")
		if err := os.WriteFile(file, []byte(conf(dir, port)), 0o600); err != nil {
			return nil, err
		}
		globals := "daemon off; error_log stderr; pid " + pid + ";"
		if os.Geteuid() == 0 {
			globals += " user root;" // the folder is closed to everybody else
		}
		return start(t, func(*Process) error {
			// The file appears once nginx itself listens.
			if text, err := os.ReadFile(pid); err != nil || len(text) == 0 {
				return errors.New("it has written no pid file")
			}
			c, err := net.DialTimeout("tcp", address(port), time.Second)
			if err == nil {
				err = c.Close()
			}
			return err
		}, path, "-p", dir, "-c", file, "-e", "stderr", "-g", globals)
	})
}

// retry starts a server, on another port when the one before was taken meanwhile.
func retry(t T, start func(port int) (*Process, error)) (addr string) {
	t.Helper()
	var err error
	for range attempts {
		port := FreePort(t)
		if _, err = start(port); err == nil {
			return address(port)
		}
		if !errors.Is(err, errPortTaken) {
			break
		}
	}
	t.Fatal(err)
	return ""
}

func address(port int) string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(port)) }

// errPortTaken is what start wraps when the program said so and ended.
var errPortTaken = errors.New("address already in use")

// Process is a program under way. It ends with the test that started it.
type Process struct {
	cmd  *exec.Cmd
	log  string        // file of what it prints
	done chan struct{} // closed when it has ended and was waited for
	kill sync.Once
}

// Start runs a program and waits until ready returns nil, asking again and again.
// The test fails when the program ends before that or is not ready in time.
func Start(t T, ready func() error, path string, args ...string) *Process {
	t.Helper()
	p, err := start(t, func(*Process) error { return ready() }, path, args...)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// StartCommand is Start for a program that needs more than arguments: open files, an
// environment. What it prints is kept.
func StartCommand(t T, ready func() error, cmd *exec.Cmd) *Process {
	t.Helper()
	p, err := startCommand(t, func(*Process) error { return ready() }, cmd)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func start(t T, ready func(*Process) error, path string, args ...string) (*Process, error) {
	t.Helper()
	return startCommand(t, ready, exec.Command(path, args...))
}

func startCommand(t T, ready func(*Process) error, cmd *exec.Cmd) (*Process, error) {
	t.Helper()
	name := filepath.Base(cmd.Path)
	log, err := os.Create(filepath.Join(t.TempDir(), name+".log"))
	if err != nil {
		return nil, err
	}
	defer log.Close() // the program has its own
	p := &Process{cmd: cmd, log: log.Name(), done: make(chan struct{})}
	p.cmd.Stdout, p.cmd.Stderr = log, log
	setGroup(p.cmd)
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	go func() {
		_ = p.cmd.Wait() // a killed program is no news, and why another ended is in its output
		close(p.done)
	}()
	t.Cleanup(func() {
		p.stop()
		if t.Failed() {
			t.Logf("%s printed:\n%s", name, p.tail())
		}
	})

	deadline := time.NewTimer(startTime)
	defer deadline.Stop()
	again := time.NewTicker(5 * time.Millisecond)
	defer again.Stop()
	for {
		notReady := ready(p)
		if notReady == nil && !p.ended() {
			return p, nil
		}
		select {
		case <-again.C:
		case <-p.done:
			err := fmt.Errorf("%s ended at once: %s", name, p.cmd.ProcessState)
			if bytes.Contains(bytes.ToLower(p.Output()), []byte("address already in use")) {
				err = fmt.Errorf("%w: %w", err, errPortTaken)
			}
			return nil, err
		case <-deadline.C:
			p.Kill()
			return nil, fmt.Errorf("%s is not ready after %v: %w", name, startTime, notReady)
		}
	}
}

func (p *Process) ended() bool {
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}

// stop asks the program to end, so that it takes its workers along and waits for
// them, and kills it when it does not.
func (p *Process) stop() {
	if p.Signal(syscall.SIGTERM) == nil {
		patience := time.NewTimer(stopTime)
		defer patience.Stop()
		select {
		case <-p.done:
		case <-patience.C:
		}
	}
	p.Kill()
}

// Kill ends the program and all it started without a chance to say goodbye, and
// waits until it is gone. Killing twice is fine.
func (p *Process) Kill() {
	// What it started may be left when it has ended itself.
	p.kill.Do(func() { killGroup(p.cmd) })
	<-p.done
}

// Signal sends the program a signal: syscall.SIGSTOP lets it hang, SIGCONT go on.
func (p *Process) Signal(s os.Signal) error { return p.cmd.Process.Signal(s) }

// Pid returns the program's process id.
func (p *Process) Pid() int { return p.cmd.Process.Pid }

// Done returns a channel that is closed when the program has ended.
func (p *Process) Done() <-chan struct{} { return p.done }

// Output returns what the program has printed so far.
func (p *Process) Output() []byte {
	text, err := os.ReadFile(p.log)
	if err != nil {
		return []byte(err.Error())
	}
	return text
}

func (p *Process) tail() []byte {
	text := p.Output()
	return text[max(0, len(text)-tailSize):]
}
