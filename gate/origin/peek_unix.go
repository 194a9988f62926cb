//go:build unix

package origin

import "syscall"

// watch prepares looking at the socket, once, as a closure for every look
// would be garbage for every request.
func (c *Conn) watch() {
	sc, ok := Bare(c.Conn).(syscall.Conn)
	if !ok {
		return
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return
	}
	c.raw = raw
	var one [1]byte
	c.peek = func(fd uintptr) {
		_, _, err := syscall.Recvfrom(int(fd), one[:], syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
		c.quiet = err == syscall.EAGAIN
	}
}
