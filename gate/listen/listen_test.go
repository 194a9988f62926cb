package listen

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

func open(t *testing.T, c Config) *Listener {
	t.Helper()
	all, err := Open(c, &Inherited{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { all[0].Close() })
	return all[0]
}

// serve greets everybody with a name, until the listener is closed.
func serve(t *testing.T, l net.Listener, name string) *sync.WaitGroup {
	var all sync.WaitGroup
	all.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			_, _ = io.WriteString(c, name)
			c.Close()
		}
	})
	return &all
}

// visit connects and returns who greets.
func visit(network, address string) (string, error) {
	c, err := net.DialTimeout(network, address, 30*time.Second)
	if err != nil {
		return "", err
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(30 * time.Second))
	greeting, err := io.ReadAll(c)
	if err == nil && len(greeting) == 0 {
		err = io.ErrUnexpectedEOF
	}
	return string(greeting), err
}

func TestNobodyIsRefusedWhileOneGateFollowsAnother(t *testing.T) {
	dir := t.TempDir()
	for name, address := range map[string]string{"TCP": "127.0.0.1:0", "IPv6": "[::1]:0", "unix socket": "unix:" + filepath.Join(dir, "s")} {
		t.Run(name, func(t *testing.T) {
			c := Config{Address: address, ReusePort: true, Mode: 0o600}
			old := open(t, c)
			network, at := old.Addr().Network(), old.Addr().String()
			if network == "tcp" {
				c.Address = at
			}
			var visitors, gates sync.WaitGroup
			ctx, cancel := context.WithCancel(t.Context())
			for range 8 {
				visitors.Go(func() {
					for ctx.Err() == nil {
						if _, err := visit(network, at); err != nil {
							t.Errorf("a visitor: %v", err)
							return
						}
					}
				})
			}
			served := serve(t, old, "old")
			for range 2 {
				next := open(t, c)
				nextServed := serve(t, next, "new")
				Drain(t.Context(), []*Listener{old})
				if err := old.Close(); err != nil {
					t.Error(err)
				}
				served.Wait()
				old, served = next, nextServed
			}
			cancel()
			visitors.Wait()
			if who, err := visit(network, at); err != nil || who != "new" {
				t.Errorf("in the end %q answers, %v", who, err)
			}
			old.Close()
			served.Wait()
			gates.Wait()
		})
	}
}

func TestWhoWaitsInTheQueueIsServedBeforeTheEnd(t *testing.T) {
	for name, address := range map[string]string{"TCP": "127.0.0.1:0", "unix socket": "unix:" + filepath.Join(t.TempDir(), "s")} {
		t.Run(name, func(t *testing.T) {
			l := open(t, Config{Address: address, Mode: 0o600})
			var conns []net.Conn
			for range 20 { // the kernel takes them, though nobody accepts yet
				c, err := net.Dial(l.Addr().Network(), l.Addr().String())
				if err != nil {
					t.Fatal(err)
				}
				defer c.Close()
				conns = append(conns, c)
			}
			drained := make(chan struct{})
			go func() {
				Drain(t.Context(), []*Listener{l})
				close(drained)
			}()
			served := serve(t, l, "x")
			<-drained
			l.Close()
			served.Wait()
			for _, c := range conns {
				if got, err := io.ReadAll(c); err != nil || string(got) != "x" {
					t.Errorf("somebody in the queue gets %q, %v", got, err)
				}
			}
		})
	}
}

func TestAnAddressInUseIsRefused(t *testing.T) {
	for name, address := range map[string]string{"TCP": "127.0.0.1:0", "unix socket": "unix:" + filepath.Join(t.TempDir(), "s")} {
		t.Run(name, func(t *testing.T) {
			l := open(t, Config{Address: address, Mode: 0o600})
			again := strings.TrimPrefix(l.String(), "x")
			if _, err := Open(Config{Address: again, Mode: 0o600}, &Inherited{}); !errors.Is(err, syscall.EADDRINUSE) {
				t.Errorf("a second one gets %v", err)
			}
			if _, err := Open(Config{Address: again, Mode: 0o600, ReusePort: true}, &Inherited{}); l.Addr().Network() == "tcp" && !errors.Is(err, syscall.EADDRINUSE) {
				t.Errorf("one that would share what is not shared gets %v", err)
			}
		})
	}
}

func TestIPv4AndIPv6AreListenedAtApart(t *testing.T) {
	four := open(t, Config{Address: "0.0.0.0:0"})
	_, port, _ := net.SplitHostPort(four.Addr().String())
	six := open(t, Config{Address: "[::]:" + port})
	served4, served6 := serve(t, four, "four"), serve(t, six, "six")
	for address, want := range map[string]string{"127.0.0.1:" + port: "four", "[::1]:" + port: "six"} {
		if got, err := visit("tcp", address); err != nil || got != want {
			t.Errorf("at %s %q answers, %v", address, got, err)
		}
	}
	four.Close()
	six.Close()
	served4.Wait()
	served6.Wait()
}

func TestASocketOfADeadProcessIsReplaced(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	dead, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	dead.SetUnlinkOnClose(false)
	dead.Close()
	l := open(t, Config{Address: "unix:" + path, Mode: 0o640})
	served := serve(t, l, "x")
	if got, err := visit("unix", path); got != "x" {
		t.Errorf("%q answers, %v", got, err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o640 {
		t.Errorf("the file is %v, %v", info.Mode(), err)
	}
	l.Close()
	served.Wait()
	if left, _ := os.ReadDir(filepath.Dir(path)); len(left) > 0 {
		t.Errorf("%v is left", left)
	}
}

func TestAGateThatWasFollowedLeavesTheFileToTheNext(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	c := Config{Address: "unix:" + path, Mode: 0o600, ReusePort: true}
	old := open(t, c)
	next := open(t, c)
	old.Close()
	served := serve(t, next, "next")
	if got, err := visit("unix", path); got != "next" {
		t.Errorf("%q answers, %v", got, err)
	}
	next.Close()
	served.Wait()
	if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the file is left: %v", err)
	}
}

func TestWhatIsNoSocketIsLeftAlone(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	if err := os.WriteFile(path, []byte("letters"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(Config{Address: "unix:" + path, Mode: 0o600}, &Inherited{}); err == nil || !strings.Contains(err.Error(), "is no socket") {
		t.Errorf("got %v", err)
	}
	if text, _ := os.ReadFile(path); string(text) != "letters" {
		t.Error("the file is not what it was")
	}
}

func TestAnOwnerIsAUserAGroupOrBoth(t *testing.T) {
	for in, want := range map[string][2]int{
		"": {-1, -1}, "root": {0, -1}, "root:root": {0, 0}, ":root": {-1, 0}, "12:34": {12, 34}, ":7": {-1, 7},
	} {
		if uid, gid, err := owner(in); err != nil || uid != want[0] || gid != want[1] {
			t.Errorf("%q is %d, %d, %v", in, uid, gid, err)
		}
	}
	for _, in := range []string{"no-such-user", ":no-such-group"} {
		if _, _, err := owner(in); err == nil {
			t.Errorf("%q is somebody", in)
		}
	}
}

func TestSocketsOfAnotherProcessAreNotTaken(t *testing.T) {
	for _, pid := range []string{"", "1", "x"} {
		t.Setenv("LISTEN_PID", pid)
		t.Setenv("LISTEN_FDS", "1")
		if in := Inherit(); len(in.sockets) > 0 {
			t.Errorf("LISTEN_PID=%q: %v", pid, in.sockets)
		}
		if os.Getenv("LISTEN_FDS") != "" {
			t.Error("whoever is started from here thinks the sockets are for them")
		}
	}
	if _, err := Open(Config{Address: "systemd:http"}, Inherit()); err == nil || !strings.Contains(err.Error(), "handed over none") {
		t.Errorf("got %v", err)
	}
}
