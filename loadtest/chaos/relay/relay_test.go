package relay

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"os"
	"testing"
	"time"
)

// echo is a server that answers every line with itself.
func echo(t *testing.T) (addr string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				_, _ = io.Copy(c, c)
			}()
		}
	}()
	return l.Addr().String()
}

func open(t *testing.T, dial func(context.Context) (net.Conn, error)) *Relay {
	t.Helper()
	r, err := Listen("127.0.0.1:0", dial)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.Close)
	return r
}

// client is a connection through a relay.
type client struct {
	net.Conn
	in *bufio.Reader
}

func connect(t *testing.T, r *Relay) *client {
	t.Helper()
	c, err := net.Dial("tcp", r.Addr())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return &client{c, bufio.NewReader(c)}
}

// says sends a line and waits for what comes back, for so long.
func (c *client) says(line string, patience time.Duration) (string, error) {
	if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
		return "", err
	}
	if _, err := io.WriteString(c, line+"\n"); err != nil {
		return "", err
	}
	return c.in.ReadString('\n')
}

const (
	patient = 20 * time.Second
	short   = 100 * time.Millisecond
)

func set(t *testing.T, r *Relay, w Weather) {
	t.Helper()
	if err := r.Set(w); err != nil {
		t.Fatal(err)
	}
}

func (c *client) hears(t *testing.T, line string) {
	t.Helper()
	if got, err := c.says(line, patient); err != nil || got != line+"\n" {
		t.Fatalf("said %q, heard %q, %v", line, got, err)
	}
}

func TestRelay(t *testing.T) {
	t.Run("fair weather passes everything on, and the end", func(t *testing.T) {
		c := connect(t, open(t, To(echo(t))))
		c.hears(t, "hello")
		if err := c.Conn.(*net.TCPConn).CloseWrite(); err != nil {
			t.Fatal(err)
		}
		if got, err := io.ReadAll(c.in); err != nil || len(got) != 0 {
			t.Errorf("after the end: %q, %v", got, err)
		}
	})
	t.Run("a cut resets connections, and new ones work", func(t *testing.T) {
		r := open(t, To(echo(t)))
		c := connect(t, r)
		c.hears(t, "hello")
		r.Cut()
		if _, err := c.says("again", patient); err == nil {
			t.Error("an answer over a connection that was cut")
		}
		connect(t, r).hears(t, "hello")
	})
	t.Run("a relay that is gone refuses, and is back at the same address", func(t *testing.T) {
		r := open(t, To(echo(t)))
		set(t, r, Weather{Gone: true})
		if c, err := net.Dial("tcp", r.Addr()); err == nil {
			c.Close()
			t.Error("connected")
		}
		set(t, r, Weather{})
		connect(t, r).hears(t, "hello")
	})
	t.Run("lost answers do not come later either", func(t *testing.T) {
		r := open(t, To(echo(t)))
		c := connect(t, r)
		c.hears(t, "hello")
		set(t, r, Weather{LoseDown: true})
		if got, err := c.says("lost", short); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("heard %q, %v", got, err)
		}
		set(t, r, Weather{})
		if got, err := c.says("still lost", short); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("heard %q, %v", got, err)
		}
		connect(t, r).hears(t, "hello")
	})
	t.Run("delayed answers come late, and not once it is over", func(t *testing.T) {
		r := open(t, To(echo(t)))
		c := connect(t, r)
		set(t, r, Weather{Delay: 50 * time.Millisecond})
		began := time.Now()
		c.hears(t, "hello")
		if took := time.Since(began); took < 100*time.Millisecond {
			t.Errorf("took %v, with 50 ms each way", took)
		}
		set(t, r, Weather{Delay: time.Hour})
		said := make(chan error, 1)
		go func() {
			_, err := c.says("hello", patient)
			said <- err
		}()
		time.AfterFunc(short, func() { _ = r.Set(Weather{}) })
		if err := <-said; err != nil {
			t.Error(err)
		}
	})
	t.Run("a slow line takes its time", func(t *testing.T) {
		r := open(t, To(echo(t)))
		c := connect(t, r)
		set(t, r, Weather{Rate: 100})
		began := time.Now()
		c.hears(t, "a line of twenty bytes")
		if took := time.Since(began); took < 200*time.Millisecond {
			t.Errorf("took %v at 100 bytes a second", took)
		}
	})
	t.Run("who cannot be reached refuses", func(t *testing.T) {
		r := open(t, func(context.Context) (net.Conn, error) { return nil, errors.New("nobody there") })
		conn, err := net.Dial("tcp", r.Addr())
		if err != nil {
			return // reset already
		}
		defer conn.Close()
		c := &client{conn, bufio.NewReader(conn)}
		if _, err := c.says("hello", patient); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("%v", err)
		}
	})
}
