package door

import (
	"fmt"
	"syscall"
)

// otherFiles are for the store, operators, logs, listeners and what the system opens.
const otherFiles = 256

// fewConns is how many connections a gate should have room for, at least.
const fewConns = 8192

// Files is what a process may do with the files that it may have open.
type Files struct {
	Limit   int // of the process
	Origin  int // connections to origins
	Tunnels int // connections to origins that belong to a tunnel each
	Visitor int // connections of visitors
}

// RaiseFiles raises the process's limit on open files as far as it may, and returns it.
func RaiseFiles() (int, error) {
	var l syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &l); err != nil {
		return 0, fmt.Errorf("read the limit on open files: %w", err)
	}
	if l.Cur < l.Max {
		raised := l
		raised.Cur = raised.Max
		if syscall.Setrlimit(syscall.RLIMIT_NOFILE, &raised) == nil {
			l = raised
		}
	}
	return int(min(l.Cur, 1<<20)), nil
}

// Share divides a limit: conns is how many visitors' connections are wanted and tunnels
// how many of those may be tunnels, 0 as many as there can be; to the origins go so many.
func Share(limit, conns, origin, tunnels int) (Files, error) {
	left := limit - origin - otherFiles
	if tunnels == 0 {
		tunnels = min(max(left, 0)/8, 4096)
	}
	f := Files{Limit: limit, Origin: origin, Tunnels: tunnels, Visitor: conns}
	most := left - f.Tunnels
	switch {
	case most < 256:
		return f, fmt.Errorf("the limit of %d open files leaves %d for visitors beside %d for the origin: raise it (LimitNOFILE, ulimit -Hn) or lower origin.max_conns or origin.tunnels.max",
			limit, max(most, 0), origin)
	case conns > most:
		return f, fmt.Errorf("visitors.max_conns: the limit of %d open files leaves %d for visitors beside %d for the origin, and not %d: raise the limit (LimitNOFILE, ulimit -Hn), lower the number, or leave it out",
			limit, most, origin, conns)
	case conns == 0:
		f.Visitor = most
	}
	return f, nil
}

// Missing is how many files more than the limit are promised.
func (f Files) Missing() int {
	return max(f.Visitor+f.Origin+f.Tunnels+otherFiles-f.Limit, 0)
}

// IsLow tells whether a crowd of usual size will fill the connections.
func (f Files) IsLow() bool { return f.Visitor < fewConns }
