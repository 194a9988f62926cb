package listen

import (
	"os"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

func reusePort(fd int) error {
	return os.NewSyscallError("setsockopt SO_REUSEPORT", unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEPORT, 1))
}

// migrates tells whether the kernel gives the queue of a socket that closes to
// another one of the same address (since 5.14, where the administrator says so).
func migrates() bool {
	text, err := os.ReadFile("/proc/sys/net/ipv4/tcp_migrate_req")
	return err == nil && strings.TrimSpace(string(text)) == "1"
}

// deafen has a TCP socket that listens drop the first packet of every new
// connection: SYN without ACK, read from the flags in byte 13 of the TCP header,
// with which what a filter sees begins. The visitor's machine sends another a second
// later, and if this socket is closed by then it reaches another process. Whoever
// had their SYN answered before goes on.
func deafen(fd int) error {
	const (
		flags  = 13
		syn    = 0x02
		synAck = 0x12
	)
	program := []unix.SockFilter{
		{Code: unix.BPF_LD | unix.BPF_B | unix.BPF_ABS, K: flags},
		{Code: unix.BPF_ALU | unix.BPF_AND | unix.BPF_K, K: synAck},
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: syn, Jt: 0, Jf: 1},
		{Code: unix.BPF_RET | unix.BPF_K, K: 0},
		{Code: unix.BPF_RET | unix.BPF_K, K: 0xffffffff},
	}
	filter := unix.SockFprog{Len: uint16(len(program)), Filter: (*unix.SockFilter)(unsafe.Pointer(&program[0]))}
	return unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &filter)
}

// readable tells whether somebody waits in a listening socket's queue.
func readable(fd int) (bool, error) {
	fds := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
	n, err := unix.Poll(fds, 0)
	if err == unix.EINTR {
		return true, nil // look again
	}
	return n > 0 && fds[0].Revents&unix.POLLIN != 0, err
}
