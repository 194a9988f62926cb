package proxy

import (
	"net"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/sluicegate/sluice/gate/origin"
)

// Gone tells whether the other side of a connection has closed it, as far as this
// machine knows. Who has only ended sending counts as gone, too, as with nginx:
// hardly anybody does that, and the two look alike. What was received and not yet
// read does not hide it.
func Gone(nc net.Conn) bool {
	sc, ok := origin.Bare(nc).(syscall.Conn)
	if !ok {
		return false
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return false
	}
	gone := false
	err = raw.Control(func(fd uintptr) {
		p := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLRDHUP}}
		n, err := unix.Poll(p, 0)
		gone = err == nil && n > 0
	})
	return gone || err != nil
}
