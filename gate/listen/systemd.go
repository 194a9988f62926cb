package listen

import (
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"
)

// Inherited are the sockets that systemd opened for this process (sd_listen_fds(3)).
type Inherited struct {
	sockets []inherited
	names   []string // of all there were, for messages
}

type inherited struct {
	fd   int
	name string // FileDescriptorName= of the unit
}

// firstSocket is the descriptor of the first one.
const firstSocket = 3

// Inherit returns what systemd handed over, and hides it from processes that this
// one starts. Without any it returns an empty set.
func Inherit() *Inherited {
	in := &Inherited{}
	defer func() {
		for _, name := range []string{"LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"} {
			_ = os.Unsetenv(name)
		}
	}()
	n, err := strconv.Atoi(os.Getenv("LISTEN_FDS"))
	if pid := os.Getenv("LISTEN_PID"); err != nil || n <= 0 || pid != strconv.Itoa(os.Getpid()) {
		return in
	}
	names := strings.Split(os.Getenv("LISTEN_FDNAMES"), ":")
	for i := range n {
		s := inherited{fd: firstSocket + i}
		if i < len(names) {
			s.name = names[i]
		}
		syscall.CloseOnExec(s.fd)
		in.sockets = append(in.sockets, s)
		if !slices.Contains(in.names, s.name) {
			in.names = append(in.names, s.name)
		}
	}
	return in
}

// Left names the sockets that nobody took.
func (in *Inherited) Left() []string {
	var names []string
	for _, s := range in.sockets {
		names = append(names, s.name)
	}
	return names
}

// take opens the sockets of a name, "" all that are left.
func (in *Inherited) take(name string) ([]*Listener, error) {
	var out []*Listener
	var errs []error
	in.sockets = slices.DeleteFunc(in.sockets, func(s inherited) bool {
		if name != "" && s.name != name {
			return false
		}
		file := os.NewFile(uintptr(s.fd), s.name)
		l, err := net.FileListener(file) // of its own descriptor
		file.Close()
		if err != nil {
			errs = append(errs, notOpen("systemd's %q is no stream socket that listens (ListenStream=, Accept=no): %v", s.name, err))
			return true
		}
		if u, ok := l.(*net.UnixListener); ok {
			u.SetUnlinkOnClose(false)
		}
		w, err := wrap(l, false)
		if err != nil {
			errs = append(errs, err)
			return true
		}
		w.lent = true
		out = append(out, w)
		return true
	})
	if err := errors.Join(errs...); err != nil {
		for _, l := range out {
			l.Close()
		}
		return nil, err
	}
	switch {
	case len(out) > 0:
		return out, nil
	case len(in.names) == 0:
		return nil, notOpen("systemd handed over none: was the gate started by its socket unit?")
	case name == "":
		return nil, notOpen("all that systemd handed over are taken")
	}
	return nil, fmt.Errorf("%w named %q among those of systemd: %s (FileDescriptorName= in the socket unit)", errNotOpen, name, strings.Join(in.names, ", "))
}
