package main

import (
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"syscall"

	"github.com/sluicegate/sluice/gate/cert"
	"github.com/sluicegate/sluice/gate/config"
	"github.com/sluicegate/sluice/gate/listen"
)

// socket is where visitors arrive.
type socket struct {
	*listen.Listener
	tls bool
}

// openVisitors opens all that visitors arrive at, or nothing.
func (p *process) openVisitors(places []config.Listener) error {
	given := listen.Inherit()
	for _, at := range places {
		opened, err := listen.Open(listen.Config{
			Address: at.Address, ReusePort: at.ReusePort, Mode: at.Mode, Owner: at.Owner,
		}, given)
		if err != nil {
			p.closeVisitors()
			return cannotListen("visitors", at.Address, whereListen(at.Where), err)
		}
		for _, l := range opened {
			p.visitors = append(p.visitors, socket{l, at.TLS})
		}
	}
	if left := given.Left(); len(left) > 0 {
		p.log.Warn("systemd handed over sockets that listen does not name: nobody who arrives there is answered", "names", left)
	}
	return nil
}

func (p *process) closeVisitors() {
	for _, l := range p.visitors {
		l.Close()
	}
}

func (p *process) sockets() []*listen.Listener {
	out := make([]*listen.Listener, len(p.visitors))
	for i, l := range p.visitors {
		out[i] = l.Listener
	}
	return out
}

// certificates are what a configuration says about them.
func certificates(c *config.Config) cert.Config {
	return cert.Config{Files: c.TLS.Certificates, ACME: c.TLS.ACME, MinVersion: c.TLS.MinVersion}
}

// addresses are where visitors arrive, for people.
func (p *process) addresses() string {
	out := make([]string, len(p.visitors))
	for i, l := range p.visitors {
		out[i] = l.String()
		if l.tls {
			out[i] += " (TLS)"
		}
	}
	return strings.Join(out, ", ")
}

// whereListen says where an address was set, or where it can be.
func whereListen(where string) string {
	switch {
	case where == "":
		return "with --listen, SLUICE_LISTEN or listen in the file"
	case strings.HasPrefix(where, "--"), strings.HasPrefix(where, "SLUICE_"):
		return "with " + where
	}
	return "in " + where
}

// cannotListen says whose address could not be had, why, and what to do.
func cannotListen(whose, address, where string, err error) error {
	why, try := err.Error(), "It is set "+where+"."
	var dns *net.DNSError
	var system *os.PathError
	var link *os.LinkError
	path, isUnix := strings.CutPrefix(address, "unix:")
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		why = "another process listens there"
		try = "Stop that one (a gate that is stopping takes a while), or choose another address " + where + "."
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		why = "this machine has no such address"
	case isUnix && errors.Is(err, syscall.EPERM):
		why = "only root may give a file to somebody else"
		try = "Leave out the owner, or name a group that the gate's user is in. " + try
	case isUnix && errors.Is(err, syscall.EACCES):
		why = "permission denied"
		try = "The gate's user must be allowed to write into the folder of " + path + ". " + try
	case isUnix && errors.Is(err, syscall.ENOENT):
		why = "there is no such folder"
	case isUnix && (errors.As(err, &system) || errors.As(err, &link)):
	case errors.Is(err, syscall.EACCES):
		why = "permission denied"
		try = "Ports under 1024 take CAP_NET_BIND_SERVICE; or choose another address " + where + "."
	case errors.As(err, &dns):
		why = fmt.Sprintf("the name %q is not known", dns.Name)
	}
	return hinted{unreachable{fmt.Sprintf("cannot listen for %s at %s: %s", whose, address, why), err}, try}
}
