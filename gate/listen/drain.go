package listen

import (
	"context"
	"sync"
	"time"
)

const (
	// handshakeTime is how long a connection that had begun may take until it
	// stands. It is less than the second after which the first packet of one that
	// finds nobody is sent again, by then to somebody else.
	handshakeTime = 500 * time.Millisecond

	emptyCheck = 2 * time.Millisecond // between looks at the queue
)

// Drain readies listeners for their end, while they are accepted from: it returns
// when nobody waits in the kernel's queues, or when ctx ends. Of an address that is
// shared with other processes, newcomers are left to those from now on.
func Drain(ctx context.Context, all []*Listener) {
	var wg sync.WaitGroup
	for _, l := range all {
		wg.Go(func() { l.drain(ctx) })
	}
	wg.Wait()
}

func (l *Listener) drain(ctx context.Context) {
	if l.socket == nil || l.lent { // who waits in systemd's queue is the next gate's
		return
	}
	if l.sharing && (l.path != "" || !migrates() && control(l.socket, deafen) == nil) && !sleep(ctx, handshakeTime) {
		return
	}
	for {
		waiting := false
		if err := control(l.socket, func(fd int) (err error) { waiting, err = readable(fd); return err }); err != nil || !waiting {
			return
		}
		if !sleep(ctx, emptyCheck) {
			return
		}
	}
}

// sleep waits, and tells whether ctx let it.
func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
