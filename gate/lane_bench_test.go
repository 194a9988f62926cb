package gate

import (
	"io"
	"testing"

	"github.com/valyala/fasthttp"

	"github.com/sluicegate/sluice/gate/door"
	"github.com/sluicegate/sluice/queue"
)

// BenchmarkLane is a waiting visitor's poll as it goes through the lane: reading it
// strictly, finding out what to say, and saying it.
func BenchmarkLane(b *testing.B) {
	g := openTestGate(b, func(s *queue.Settings) { s.Mode = queue.ModeHold })
	poll := []string{pollOf(g.join(b))}
	g.waitForLadder(b, 1)
	s := NewServer(g.Gate, door.Limits{Conns: 10})
	c, inner := g.between(s)
	buf := make([]byte, 8192)
	b.ReportAllocs()
	for b.Loop() {
		inner.written.Reset()
		inner.pieces = poll
		c.mark(fasthttp.StateIdle)
		if _, err := c.Read(buf); err != io.EOF {
			b.Fatal(err)
		}
	}
}
