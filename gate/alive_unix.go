//go:build unix

package gate

import "syscall"

// alive tells whether the visitor's connection still stands, as far as this
// machine knows: a visitor who went away while held should take no slot.
func (x *exchange) alive() bool {
	sc, ok := bare(x.conn).(syscall.Conn)
	if !ok {
		return true
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return true
	}
	alive := true
	err = raw.Read(func(fd uintptr) bool {
		var one [1]byte
		n, _, err := syscall.Recvfrom(int(fd), one[:], syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
		alive = n > 0 || err == syscall.EAGAIN
		return true
	})
	return alive && err == nil
}
