package visitor

import (
	"net"
	"os"
	"syscall"
)

// connectHere connects one address of this machine to another, both of IPv4. It asks
// the kernel for what it takes and no more: net's own way tells both ends' addresses,
// sets options and waits for what is done already, and tens of thousands connect within
// seconds on the very processors that the gates need.
func connectHere(from net.IP, to *net.TCPAddr) (conn, error) {
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_NONBLOCK|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, os.NewSyscallError("socket", err)
	}
	here, there := syscall.SockaddrInet4{}, syscall.SockaddrInet4{Port: to.Port}
	copy(here.Addr[:], from.To4())
	copy(there.Addr[:], to.IP.To4())
	err = os.NewSyscallError("bind", syscall.Bind(fd, &here))
	if err == nil {
		err = os.NewSyscallError("connect", begun(syscall.Connect(fd, &there)))
	}
	if err != nil {
		syscall.Close(fd)
		return nil, err
	}
	c := os.NewFile(uintptr(fd), "connection")
	if err := settle(c, &there); err != nil {
		c.Close()
		return nil, os.NewSyscallError("connect", err)
	}
	return c, nil
}

// begun is the error of a connect that has not even begun.
func begun(err error) error {
	if err == syscall.EINPROGRESS || err == syscall.EINTR {
		return nil
	}
	return err
}

// settle waits until the other side has answered, about seven seconds instead of two
// minutes at most. Between two sockets of one machine it has by now, unless there is no
// room for more.
func settle(c *os.File, there *syscall.SockaddrInet4) error {
	raw, err := c.SyscallConn()
	if err != nil {
		return err
	}
	asked := false
	if e := raw.Write(func(fd uintptr) bool {
		err = syscall.Connect(int(fd), there)
		if err == syscall.EALREADY && !asked {
			asked = true
			_ = syscall.SetsockoptInt(int(fd), syscall.IPPROTO_TCP, syscall.TCP_SYNCNT, 2)
		}
		return err != syscall.EALREADY && err != syscall.EINTR
	}); e != nil {
		return e
	}
	if err == syscall.EISCONN {
		return nil
	}
	return err
}

// addressless is a connection as TLS wants it below, which asks for no address.
type addressless struct{ conn }

func (addressless) LocalAddr() net.Addr  { return nil }
func (addressless) RemoteAddr() net.Addr { return nil }
