package redis_test

import (
	"context"
	"net"
	"sync/atomic"
	"testing"

	"github.com/sluicegate/sluice/loadtest/chaos/relay"
)

// link stands between a server and those who connect to it.
type link struct {
	*testing.T
	*relay.Relay
	to atomic.Value
}

func newLink(t *testing.T, to string) *link {
	l := &link{T: t}
	l.to.Store(to)
	var err error
	l.Relay, err = relay.Listen("127.0.0.1:0", func(ctx context.Context) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "tcp", l.to.Load().(string))
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(l.Close)
	return l
}

// lead has connections from now on go to another server. Those that stand, stay.
func (l *link) lead(to string) { l.to.Store(to) }

// freeze has nothing more reach those who connected.
func (l *link) freeze() {
	l.Helper()
	if err := l.Set(relay.Weather{LoseDown: true}); err != nil {
		l.Fatal(err)
	}
}
