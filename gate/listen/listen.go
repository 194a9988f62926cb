package listen

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"strings"
	"sync"
	"syscall"
)

// Config is a place to listen at.
type Config struct {
	Address   string      // host:port, unix:/path, systemd or systemd:NAME
	ReusePort bool        // another process may take over
	Mode      fs.FileMode // of a unix socket's file
	Owner     string      // of that file: user, user:group or :group; "": the process's
}

// Listener is an open socket. It is accepted from as any other; see Drain.
type Listener struct {
	net.Listener
	socket  syscall.RawConn // nil: it cannot be looked at
	sharing bool            // others listen at the address too
	lent    bool            // systemd's, which outlives us

	path string      // of a unix socket
	file os.FileInfo // there; nil: none of ours
	once sync.Once
}

// Open opens a place. One that is systemd's may be several sockets.
func Open(c Config, given *Inherited) ([]*Listener, error) {
	switch {
	case c.Address == "systemd", strings.HasPrefix(c.Address, "systemd:"):
		return given.take(strings.TrimPrefix(strings.TrimPrefix(c.Address, "systemd"), ":"))
	case strings.HasPrefix(c.Address, "unix:"):
		l, err := openUnix(strings.TrimPrefix(c.Address, "unix:"), c)
		return []*Listener{l}, err
	}
	l, err := openTCP(c)
	return []*Listener{l}, err
}

// openTCP listens at host:port. An address of IPv4 is for IPv4 only and one of IPv6
// for IPv6 only, so that both can be had with different options; none is both.
func openTCP(c Config) (*Listener, error) {
	network := "tcp"
	if host, _, err := net.SplitHostPort(c.Address); err == nil {
		if ip, err := netip.ParseAddr(host); err == nil && ip.Is4() {
			network = "tcp4"
		} else if err == nil {
			network = "tcp6"
		}
	}
	// Without TCP's own keep-alive: a silent visitor is left by the server's
	// deadlines, and each new connection is four system calls cheaper.
	lc := net.ListenConfig{KeepAlive: -1}
	lc.SetMultipathTCP(false) // deafen is for plain TCP
	if c.ReusePort {
		lc.Control = func(_, _ string, raw syscall.RawConn) error { return control(raw, reusePort) }
	}
	l, err := lc.Listen(context.Background(), network, c.Address)
	if err != nil {
		return nil, err
	}
	return wrap(l, c.ReusePort)
}

// wrap makes a Listener of what was opened.
func wrap(l net.Listener, sharing bool) (*Listener, error) {
	out := &Listener{Listener: l, sharing: sharing}
	if sc, ok := l.(syscall.Conn); ok {
		raw, err := sc.SyscallConn()
		if err != nil {
			l.Close()
			return nil, err
		}
		out.socket = raw
	}
	return out, nil
}

// control does something with a socket.
func control(raw syscall.RawConn, do func(fd int) error) error {
	var err error
	if e := raw.Control(func(fd uintptr) { err = do(int(fd)) }); e != nil {
		return e
	}
	return err
}

// Close stops listening. What is in the queue of a socket that nobody else has is
// reset: see Drain. A unix socket's file goes, unless it is another's by now.
func (l *Listener) Close() error {
	err := l.Listener.Close()
	l.once.Do(l.removeFile)
	return err
}

// removeFile takes the socket's file away, if it is still the one we made.
func (l *Listener) removeFile() {
	if l.file == nil {
		return
	}
	if now, err := os.Lstat(l.path); err == nil && os.SameFile(now, l.file) {
		_ = os.Remove(l.path)
	}
}

// String is the address, as people write it.
func (l *Listener) String() string {
	if l.Addr().Network() == "unix" {
		return "unix:" + l.Addr().String()
	}
	return l.Addr().String()
}

// errInUse is what a bind of an address in use says, for where we find out ourselves.
func errInUse(path string) error {
	return &net.OpError{Op: "listen", Net: "unix", Addr: &net.UnixAddr{Name: path, Net: "unix"}, Err: os.NewSyscallError("bind", syscall.EADDRINUSE)}
}

var errNotOpen = errors.New("listen: not an open socket that listens")

func notOpen(format string, args ...any) error {
	return fmt.Errorf("%w: %s", errNotOpen, fmt.Sprintf(format, args...))
}
