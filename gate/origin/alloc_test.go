//go:build !race

package origin

import (
	"context"
	"net"
	"testing"
	"time"
)

func TestTakingAKeptConnectionAllocatesNothing(t *testing.T) {
	for _, balance := range []Balance{RoundRobin, LeastConns} {
		g, err := New(Config{
			URLs: urls(a, b, c), Balance: balance, KeepAlive: time.Hour,
			Dial: func(context.Context, string, string) (net.Conn, error) { ours, _ := net.Pipe(); return ours, nil },
		})
		if err != nil {
			t.Fatal(err)
		}
		var r Round
		if n := testing.AllocsPerRun(1000, func() {
			r = Round{Safe: true}
			now := time.Now()
			conn, err := g.Take(now, &r)
			if err != nil {
				t.Fatal(err)
			}
			conn.Succeeded()
			conn.Keep(now)
		}); n != 0 {
			t.Errorf("balance %d: %v allocations a request, want 0", balance, n)
		}
		g.Close()
	}
}
