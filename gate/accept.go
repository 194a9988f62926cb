package gate

import (
	"errors"
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
// connection.
const acceptPause = 10 * time.Millisecond

// crowdedListener takes connections by several goroutines, for a server that does so
// by one.
type crowdedListener struct {
	net.Listener
	accepted chan net.Conn
	failed   error // why there are no more; to be read once accepted is closed
}

func newCrowdedListener(l net.Listener) *crowdedListener {
	c := &crowdedListener{Listener: l, accepted: make(chan net.Conn, acceptors)}
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

func (c *crowdedListener) acceptAll() error {
	for {
		conn, err := c.Listener.Accept()
		switch {
		case err == nil:
			c.accepted <- conn
		case errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE) || errors.Is(err, syscall.ECONNABORTED):
			time.Sleep(acceptPause)
		default:
			return err
		}
	}
}

// Accept returns the next connection, in no order.
func (c *crowdedListener) Accept() (net.Conn, error) {
	conn, ok := <-c.accepted
	if !ok {
		return nil, c.failed
	}
	return conn, nil
}

// Close takes no more connections, and ends those that nobody took yet.
func (c *crowdedListener) Close() error {
	err := c.Listener.Close()
	for conn := range c.accepted {
		_ = conn.Close()
	}
	return err
}
