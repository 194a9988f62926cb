package gate

import (
	"io"
	"net"
	"os"
	"slices"
	"testing"
	"time"
)

// timed is a connection whose deadline is over as often as told.
type timed struct {
	net.Conn
	reads, writes []time.Time
	over          int
	written       []byte
}

func (c *timed) SetReadDeadline(t time.Time) error  { c.reads = append(c.reads, t); return nil }
func (c *timed) SetWriteDeadline(t time.Time) error { c.writes = append(c.writes, t); return nil }

func (c *timed) Read([]byte) (int, error) {
	if c.over > 0 {
		c.over--
		return 0, os.ErrDeadlineExceeded
	}
	return 1, nil
}

// Write takes one byte before its deadline is over.
func (c *timed) Write(p []byte) (int, error) {
	if c.over > 0 {
		c.over--
		c.written = append(c.written, p[0])
		return 1, os.ErrDeadlineExceeded
	}
	c.written = append(c.written, p...)
	return len(p), nil
}

func at(seconds int64) time.Time { return time.Unix(seconds, 0) }

func TestALaterDeadlineIsSetWhenTheOneBeforeIsOver(t *testing.T) {
	inner := &timed{over: 1}
	c := &lateConn{Conn: inner}
	for _, s := range []int64{10, 20, 30} {
		_ = c.SetReadDeadline(at(s))
	}
	if want := []time.Time{at(10)}; !slices.Equal(inner.reads, want) {
		t.Fatalf("set to %v before anything was read, want %v", inner.reads, want)
	}
	if n, err := c.Read(nil); n != 1 || err != nil {
		t.Errorf("read %d, %v, though the last deadline was not over", n, err)
	}
	if want := []time.Time{at(10), at(30)}; !slices.Equal(inner.reads, want) {
		t.Errorf("set to %v, want %v", inner.reads, want)
	}
	inner.over = 1
	if _, err := c.Read(nil); err != os.ErrDeadlineExceeded {
		t.Errorf("%v when the last deadline was over", err)
	}
}

func TestAnEarlierDeadlineIsSetAtOnce(t *testing.T) {
	inner := new(timed)
	c := &lateConn{Conn: inner}
	for _, s := range []int64{30, 40, 20, 35, 10} {
		_ = c.SetReadDeadline(at(s))
	}
	if want := []time.Time{at(30), at(20), at(10)}; !slices.Equal(inner.reads, want) {
		t.Errorf("set to %v, want %v", inner.reads, want)
	}
}

func TestADeadlineThatIsTakenBackEndsNothing(t *testing.T) {
	inner := &timed{over: 1}
	c := &lateConn{Conn: inner}
	_ = c.SetDeadline(at(10))
	_ = c.SetDeadline(time.Time{})
	if n, err := c.Read(nil); n != 1 || err != nil {
		t.Errorf("read %d, %v with no deadline", n, err)
	}
	_ = c.SetReadDeadline(at(5))
	if want := []time.Time{at(10), {}, at(5)}; !slices.Equal(inner.reads, want) {
		t.Errorf("set to %v, want %v", inner.reads, want)
	}
}

func TestAWriteGoesOnWhereItsFirstDeadlineCutIt(t *testing.T) {
	inner := &timed{over: 2}
	c := &lateConn{Conn: inner}
	_ = c.SetWriteDeadline(at(10))
	_ = c.SetWriteDeadline(at(20))
	n, err := io.WriteString(c, "hello")
	if n != 2 || err != os.ErrDeadlineExceeded || string(inner.written) != "he" {
		t.Errorf("wrote %d, %v: %q", n, err, inner.written)
	}
	_ = c.SetWriteDeadline(at(30))
	n, err = io.WriteString(c, "llo")
	if n != 3 || err != nil || string(inner.written) != "hello" {
		t.Errorf("wrote %d, %v: %q", n, err, inner.written)
	}
}
