package listen

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/user"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// openUnix listens at a path. The socket is made under another name and takes its
// place once it has its mode and owner: nobody finds it half made, and one whose
// process died, or with ReusePort one still in use, is replaced at once.
func openUnix(path string, c Config) (*Listener, error) {
	uid, gid, err := owner(c.Owner)
	if err != nil {
		return nil, err
	}
	switch info, err := os.Lstat(path); {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return nil, err
	case info.Mode().Type() != fs.ModeSocket:
		return nil, fmt.Errorf("%s is there already and is no socket", path)
	case !c.ReusePort && answers(path):
		return nil, errInUse(path)
	}
	making := path + "." + strconv.Itoa(os.Getpid())
	_ = os.Remove(making) // of a process that had our number and died
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: making, Net: "unix"})
	if err != nil {
		return nil, err
	}
	l.SetUnlinkOnClose(false)
	out, err := wrap(named{l, path}, c.ReusePort)
	if err == nil {
		err = out.settle(making, path, c.Mode, uid, gid)
	}
	if err != nil {
		l.Close()
		_ = os.Remove(making)
		return nil, err
	}
	return out, nil
}

// settle gives the socket's file its owner, its mode and its name.
func (l *Listener) settle(making, path string, mode fs.FileMode, uid, gid int) error {
	if uid >= 0 || gid >= 0 {
		if err := os.Chown(making, uid, gid); err != nil {
			return err
		}
	}
	if err := os.Chmod(making, mode); err != nil {
		return err
	}
	info, err := os.Lstat(making)
	if err != nil {
		return err
	}
	if err := os.Rename(making, path); err != nil {
		return err
	}
	l.path, l.file = path, info
	return nil
}

// named is a listener under the name that visitors know it by.
type named struct {
	*net.UnixListener
	path string
}

func (n named) Addr() net.Addr { return &net.UnixAddr{Name: n.path, Net: "unix"} }

// answers tells whether a process listens at a socket.
func answers(path string) bool {
	c, err := net.DialTimeout("unix", path, time.Second)
	if err == nil {
		c.Close()
	}
	return err == nil || !errors.Is(err, syscall.ECONNREFUSED) && !errors.Is(err, fs.ErrNotExist)
}

// owner finds the ids of user, user:group or :group; -1 leaves one as it is. A user
// alone brings no group.
func owner(s string) (uid, gid int, err error) {
	uid, gid = -1, -1
	name, group, _ := strings.Cut(s, ":")
	if name != "" {
		if uid, err = strconv.Atoi(name); err != nil {
			u, err := user.Lookup(name)
			if err != nil {
				return -1, -1, fmt.Errorf("there is no user %q", name)
			}
			uid, _ = strconv.Atoi(u.Uid)
		}
	}
	if group != "" {
		if gid, err = strconv.Atoi(group); err != nil {
			g, err := user.LookupGroup(group)
			if err != nil {
				return -1, -1, fmt.Errorf("there is no group %q", group)
			}
			gid, _ = strconv.Atoi(g.Gid)
		}
	}
	return uid, gid, nil
}
