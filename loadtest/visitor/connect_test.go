package visitor

import (
	"errors"
	"net"
	"syscall"
	"testing"
)

func TestWhoComesWhereNoGateIsFindsThatOut(t *testing.T) {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	if _, err := connectHere(net.IPv4(127, 1, 2, 3), l.Addr().(*net.TCPAddr)); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("connected with error %v, want refused", err)
	}
}

func TestAVisitorComesFromTheirOwnAddress(t *testing.T) {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	mine, err := connectHere(net.IPv4(127, 1, 2, 3), l.Addr().(*net.TCPAddr))
	if err != nil {
		t.Fatal(err)
	}
	defer mine.Close()
	theirs, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer theirs.Close()
	if from := theirs.RemoteAddr().(*net.TCPAddr).IP.String(); from != "127.1.2.3" {
		t.Errorf("the visitor came from %s", from)
	}
}
