package door

import (
	"errors"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/sluicegate/sluice/metrics"
)

// queueOf is a listener whose connections and errors are given.
type queueOf struct {
	net.Listener
	next   chan any
	closed chan struct{}
	waits  atomic.Int64
}

func (q *queueOf) Accept() (net.Conn, error) {
	q.waits.Add(1)
	defer q.waits.Add(-1)
	select {
	case x := <-q.next:
		if err, bad := x.(error); bad {
			return nil, err
		}
		return x.(net.Conn), nil
	case <-q.closed:
		return nil, net.ErrClosed
	}
}

func (q *queueOf) Close() error {
	close(q.closed)
	return nil
}

// endedConn is a connection that knows whether it was closed.
type endedConn struct {
	net.Conn
	closed atomic.Bool
}

func (e *endedConn) Close() error {
	e.closed.Store(true)
	return nil
}

func TestConnectionsAreTakenWhileTheServerIsBusy(t *testing.T) {
	q := &queueOf{next: make(chan any), closed: make(chan struct{})}
	l := New(Limits{Conns: 100}, metrics.Discard(), nil).Listen(q, true)
	// Nobody calls Accept, and the kernel's queue is emptied all the same.
	waiting := make(map[net.Conn]bool)
	for range 2 * acceptors {
		c := &endedConn{}
		waiting[c] = true
		q.next <- c
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	// Whoever was taken is served, though the server ends.
	for range 2 * acceptors {
		c, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		taken := c.(*Conn).Conn
		if !waiting[taken] || taken.(*endedConn).closed.Load() {
			t.Errorf("waited: %v, closed: %v", waiting[taken], taken.(*endedConn).closed.Load())
		}
		delete(waiting, taken)
	}
	if _, err := l.Accept(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("after the end: %v", err)
	}
}

func TestAServerOutOfFilesGoesOnTakingConnections(t *testing.T) {
	q := &queueOf{next: make(chan any), closed: make(chan struct{})}
	l := New(Limits{Conns: 100}, metrics.Discard(), nil).Listen(q, true)
	defer l.Close()
	var wg sync.WaitGroup
	wg.Go(func() {
		for range 3 * acceptors {
			q.next <- error(&net.OpError{Op: "accept", Err: syscall.EMFILE})
		}
		q.next <- &endedConn{}
	})
	if _, err := l.Accept(); err != nil {
		t.Errorf("a moment without files ends the server: %v", err)
	}
	wg.Wait()
}
