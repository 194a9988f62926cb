package config

import (
	"fmt"
	"io/fs"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Listener is a place where visitors arrive.
type Listener struct {
	// Address is host:port, unix:/path, or systemd or systemd:NAME for sockets that
	// a socket unit hands over.
	Address   string
	TLS       bool
	ReusePort bool        // another process may take over, or share the address
	Mode      fs.FileMode // of a unix socket's file
	Owner     string      // of that file: user, user:group or :group; "": the process's
	Where     string      // it is configured: file:line:column, a flag or a variable; "": nowhere, it is the default
}

const (
	defaultMode = 0o660

	// maxListenPath leaves room for the name under which a socket is made before it
	// takes its place.
	maxListenPath = maxSocketPath - 9

	wantListen = "an address such as :8080"
)

// listeners reads one listener or a list of them.
func (l *loader) listeners(n *yaml.Node, key string) {
	l.c.Listen = nil
	target := n
	if n.Kind == yaml.AliasNode {
		target = n.Alias
	}
	if target.Kind == yaml.MappingNode {
		l.listener(n, key)
		return
	}
	if l.some(n, key, wantListen+", or a list of them", l.listener) && len(l.c.Listen) == 0 && !l.isBad(key) {
		l.problem(key, "is empty: name where visitors arrive")
	}
}

// listener reads an address, alone or with what else there is to say of it.
func (l *loader) listener(n *yaml.Node, key string) {
	v := Listener{Mode: defaultMode}
	target := n
	if n.Kind == yaml.AliasNode {
		target = n.Alias
	}
	if target.Kind == yaml.ScalarNode {
		if s, ok := l.scalar(n, key, wantListen); ok {
			l.addListener(v, key, s)
		}
		return
	}
	s, named := "", false
	ok := l.object(n, key, "listen[]", []field{
		{"address", func(n *yaml.Node, key string) {
			named = true
			s, _ = l.scalar(n, key, wantListen)
		}},
		{"tls", l.flag(&v.TLS)},
		{"reuse_port", l.flag(&v.ReusePort)},
		{"mode", func(n *yaml.Node, key string) {
			if text, ok := l.scalar(n, key, `a mode such as "0660"`); ok {
				m, err := strconv.ParseUint(text, 8, 32)
				if err != nil || m == 0 || m > 0o777 {
					l.problem(key, `%q: want the permissions in octal, such as "0660"`, text)
				}
				v.Mode = fs.FileMode(m)
			}
		}},
		{"owner", func(n *yaml.Node, key string) {
			if text, ok := l.scalar(n, key, "user, user:group or :group"); ok {
				if user, group, found := strings.Cut(text, ":"); text == "" || found && group == "" || strings.Contains(group, ":") {
					l.problem(key, "%q: want user, user:group or :group", text)
				} else if user+group == "" {
					l.problem(key, "names nobody")
				}
				v.Owner = text
			}
		}},
	})
	if !ok {
		return
	}
	if !named {
		l.problem(key+".address", "is missing: where visitors arrive, such as :8080")
		return
	}
	if l.isBad(key) {
		return
	}
	for _, name := range []string{"mode", "owner"} {
		if _, given := l.at[key+"."+name]; given && !strings.HasPrefix(s, "unix:") {
			l.problem(key+"."+name, "is for unix sockets: %q has no file", s)
		}
	}
	if v.ReusePort && (s == "systemd" || strings.HasPrefix(s, "systemd:")) {
		l.problem(key+".reuse_port", "has no effect: the socket is systemd's (ReusePort= of its unit), and outlives the gate")
	}
	l.addListener(v, key, s)
}

// addListener takes an address wherever it came from.
func (l *loader) addListener(v Listener, key, address string) {
	at := key
	if _, given := l.at[key+".address"]; given && l.label[key] == "" {
		at = key + ".address"
	}
	if err := checkListener(address); err != nil {
		l.problem(at, "%s", err)
		return
	}
	if path, ok := strings.CutPrefix(address, "unix:"); ok && l.label[key] == "" {
		address = "unix:" + l.local(path)
	}
	if path, ok := strings.CutPrefix(address, "unix:"); ok && len(path) > maxListenPath {
		l.problem(at, "%q: the path of a socket has at most %d bytes", address, maxListenPath)
		return
	}
	v.Address = address
	if v.Where = l.label[key]; v.Where == "" {
		p := l.where(at)
		v.Where = fmt.Sprintf("%s:%d:%d", l.reader.file, p.line, p.column)
	}
	for _, other := range l.c.Listen {
		if sameSocket(other.Address, address) {
			l.problem(at, "%q and %q cannot both be listened at", address, other.Address)
			return
		}
	}
	l.c.Listen = append(l.c.Listen, v)
}

// checkListener checks where visitors are to arrive.
func checkListener(s string) error {
	switch kind, rest, found := strings.Cut(s, ":"); {
	case s == "systemd":
		return nil
	case kind == "systemd":
		if rest == "" || len(rest) > 255 || strings.ContainsAny(rest, ": \t") {
			return fmt.Errorf("%q: want systemd:NAME, with the FileDescriptorName= of a socket unit", s)
		}
		return nil
	case kind == "unix" && found:
		if rest == "" || strings.HasSuffix(rest, "/") || strings.ContainsAny(rest, "\x00@") {
			return fmt.Errorf("%q: want unix:/path/of/the.socket", s)
		}
		return nil
	}
	return checkListen(s)
}
