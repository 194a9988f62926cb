package proxy

import (
	"errors"
	"io"
	"strings"
	"testing"
	"time"
)

func TestAPhonesUploadSurvivesAndADripDoesNot(t *testing.T) {
	const second = time.Second
	for _, c := range []struct {
		what  string
		every time.Duration // between two pieces
		bytes int           // in each
		until time.Duration // in total; 0: no limit
		stall time.Duration // once, in the middle
		ok    bool
	}{
		{"a phone with two bars", second, 4000, 0, 0, true},
		{"a phone in a tunnel for a while", second, 4000, 0, 29 * second, true},
		{"a phone that is gone", second, 4000, 0, 30 * second, false},
		{"the slowest that is allowed", 2 * second, 1000, 0, 0, true},
		{"just under it", 2 * second, 990, 0, 0, false},
		{"a byte now and then", 29 * second, 1, 0, 0, false},
		{"a byte in every second", second, 1, 0, 0, false},
		{"fast, but longer than a body may take", second, 1 << 20, 1000 * second, 0, false},
	} {
		start := time.Unix(1_700_000_000, 0)
		now := start
		p := pace{pause: 30 * second, rate: 500}
		if c.until > 0 {
			p.until = start.Add(c.until)
		}
		ok := true
		for i := range 5000 {
			wait := c.every
			if i == 50 {
				wait += c.stall
			}
			if left := p.left(now); left < wait {
				ok = false
				break
			}
			now = now.Add(wait)
			p.waited(wait, c.bytes)
		}
		if ok != c.ok {
			t.Errorf("%s: goes on %v, want %v; after %v", c.what, ok, c.ok, now.Sub(start))
		}
	}
}

func TestWhoWasFastForAnHourMayNotDripForTheNext(t *testing.T) {
	p := pace{pause: 30 * time.Second, rate: 500}
	for range 3600 {
		p.waited(time.Second, 1<<20)
	}
	dripped := time.Duration(0)
	for p.left(time.Time{}) > 0 {
		p.waited(10*time.Second, 1)
		dripped += 10 * time.Second
	}
	if dripped > 2*time.Minute {
		t.Errorf("a drip goes on for %v", dripped)
	}
}

func TestWithoutARateOnlyThePauseCounts(t *testing.T) {
	p := pace{pause: 30 * time.Second}
	for range 1000 {
		p.waited(29*time.Second, 1)
	}
	if left := p.left(time.Now()); left != p.pause {
		t.Errorf("left %v, want %v", left, p.pause)
	}
}

func TestAnUploadThatDripsIsEndedAndTheOriginSeesNoEnd(t *testing.T) {
	broken := make(chan error, 1)
	g := start(t, func(_ int, c *peerConn) {
		c.head()
		_, err := io.Copy(io.Discard, c.br)
		broken <- err
	}, func(c *Config) { c.ClientTimeout, c.MinRate = 200*time.Millisecond, 1<<20 })
	c := g.dial()
	c.send("POST / HTTP/1.1\r\nHost: shop.example\r\nContent-Length: 1000000\r\n\r\n" + strings.Repeat("x", 9<<10))
	gone := make(chan struct{})
	go func() {
		defer close(gone)
		for { // every byte comes well before the pause is over
			if _, err := io.WriteString(c.Conn, "x"); err != nil {
				return
			}
			time.Sleep(10 * time.Millisecond)
		}
	}()
	select {
	case err := <-g.errs:
		if !errors.Is(err, ErrClientBody) || !errors.Is(err, ErrSlow) {
			t.Errorf("Forward returned %v", err)
		}
	case <-time.After(patience):
		t.Error("the drip goes on")
	}
	if err := wait(t, broken, "the end of the origin's connection"); err == nil {
		t.Error("the origin saw an orderly end of half a body")
	}
	c.Close()
	wait(t, gone, "the end of the visitor")
}

func TestAVisitorWhoTakesAnAnswerInDripsFreesTheOrigin(t *testing.T) {
	freed := make(chan struct{}, 1)
	g := start(t, func(_ int, c *peerConn) {
		c.head()
		c.send("HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n")
		piece := strings.Repeat("x", 64<<10)
		for {
			if _, err := io.WriteString(c.Conn, piece); err != nil {
				freed <- struct{}{}
				return
			}
		}
	}, func(c *Config) { c.ClientTimeout, c.MinRate = 300*time.Millisecond, 1<<30 })
	c := g.dial()
	c.send(get)
	gone := make(chan struct{})
	go func() {
		defer close(gone)
		for {
			if _, err := io.CopyN(io.Discard, c.Conn, 4<<10); err != nil {
				return
			}
			time.Sleep(10 * time.Millisecond)
		}
	}()
	err := wait(t, g.failed, "the end of the answer")
	if !errors.Is(err, ErrClient) || !errors.Is(err, ErrSlow) {
		t.Errorf("failed with %v", err)
	}
	wait(t, freed, "the end of the origin's connection")
	c.Close()
	wait(t, gone, "the end of the visitor")
}
