package door

import (
	"errors"
	"fmt"
	"net"
	"sync"
	"syscall"
	"time"
)

// acceptors is how many goroutines take connections. On a machine with more to do
// than it can, a goroutine has its turn only once in a while. A single one then lets
// the kernel's queue of new connections overflow, and whoever is dropped from it tries
// again a second later, then three, then seven.
const acceptors = 8

// acceptPause is between attempts while the process has no file left for a
// connection, which is none of the door's doing: it counts what it lets in.
const acceptPause = 10 * time.Millisecond

// listener takes connections through a door, by several goroutines, for a server that
// does so by one.
type listener struct {
	net.Listener
	door     *Door
	http     bool
	accepted chan *Conn
	failed   error // why there are no more; to be read once accepted is closed
}

// Listen returns a listener whose connections are [Conn] of the door. Http says that
// visitors speak HTTP right upon them, so that they can be told when there is no room;
// otherwise, as under TLS, they find the connection closed.
func (d *Door) Listen(l net.Listener, http bool) net.Listener {
	c := &listener{Listener: l, door: d, http: http, accepted: make(chan *Conn, acceptors)}
	var all sync.WaitGroup
	var once sync.Once
	for range acceptors {
		all.Go(func() {
			err := c.acceptAll()
			once.Do(func() { c.failed = err })
		})
	}
	go func() { // ends when the listener is closed
		all.Wait()
		close(c.accepted)
	}()
	return c
}

func (c *listener) acceptAll() error {
	for {
		conn, err := c.Listener.Accept()
		switch {
		case err == nil:
			if k := c.door.take(conn); k != nil {
				c.accepted <- k
			} else {
				c.refuse(conn)
			}
		case errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE):
			c.door.spare()
			time.Sleep(acceptPause)
		case errors.Is(err, syscall.ECONNABORTED):
		default:
			return err
		}
	}
}

// Accept returns the next connection, in no order. Those that were taken before the
// listener was closed are given out after it.
func (c *listener) Accept() (net.Conn, error) {
	conn, ok := <-c.accepted
	if !ok {
		return nil, c.failed
	}
	return conn, nil
}

// noRoom is short enough for the buffer of any new socket.
const noRoom = `{"status":503,"title":"Service Unavailable","detail":"too many connections are open here; try again in a moment"}` + "\n"

var noRoomAnswer = fmt.Appendf(nil, "HTTP/1.1 503 Service Unavailable\r\nRetry-After: 10\r\nConnection: close\r\n"+
	"Cache-Control: no-store\r\nCDN-Cache-Control: no-store\r\nContent-Type: application/problem+json\r\nContent-Length: %d\r\n\r\n%s",
	len(noRoom), noRoom)

// refuse ends a connection unread.
func (c *listener) refuse(conn net.Conn) {
	if c.http {
		_ = conn.SetWriteDeadline(time.Now().Add(acceptPause))
		_, _ = conn.Write(noRoomAnswer)
	}
	_ = conn.Close()
}
