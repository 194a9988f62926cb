package origin

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"time"
)

// Check is a request of the gate's own that asks a server how it is.
type Check struct {
	Path     string        // "/"
	Method   string        // GET: many shops answer 404 to HEAD
	Host     string        // "": Config.Host, else as in the URL
	Low      int           // 200: statuses from Low
	High     int           // 399: to High mean that the server is well
	Interval time.Duration // 5s
	Timeout  time.Duration // 2s
	Up       int           // 2 good answers in a row end that a server is left alone
	Down     int           // 3 bad ones in a row begin it; the first answer counts by itself
}

func (c *Check) defaults() {
	or(&c.Path, "/")
	or(&c.Method, "GET")
	or(&c.Low, 200)
	or(&c.High, 399)
	or(&c.Interval, 5*time.Second)
	or(&c.Timeout, 2*time.Second)
	or(&c.Up, 2)
	or(&c.Down, 3)
}

// maxCheckBody is how much of an answer is read, so that a small page does not end
// in a reset, which the server would log.
const maxCheckBody = 64 << 10

// check asks the server again and again until ctx ends.
func (s *Server) check(ctx context.Context) {
	c := s.group.c.Check
	good, bad := 0, 0
	for first := true; ; first = false {
		err := s.ask(ctx, c)
		if ctx.Err() != nil {
			return
		}
		if err == nil {
			good, bad = good+1, 0
		} else {
			good, bad = 0, bad+1
		}
		switch isDown := s.down.Load(); {
		case !isDown && (bad >= c.Down || first && bad > 0):
			s.checked(time.Now(), false, err)
		case isDown && good >= c.Up:
			s.checked(time.Now(), true, nil)
		}
		// Not all gates at the same moment.
		if !pause(ctx, c.Interval-c.Interval/16+rand.N(c.Interval/8+1)) {
			return
		}
	}
}

// ask sends one check and judges its answer.
func (s *Server) ask(ctx context.Context, c *Check) error {
	ctx, cancel := context.WithTimeout(ctx, c.Timeout)
	defer cancel()
	nc, err := s.connect(ctx)
	if err != nil {
		return err
	}
	defer nc.Close()
	stop := context.AfterFunc(ctx, func() { nc.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	host := c.Host
	or(&host, s.group.c.Host)
	or(&host, s.site.host)
	_, err = fmt.Fprintf(nc, "%s %s HTTP/1.1\r\nHost: %s\r\nUser-Agent: sluice-check\r\nAccept: */*\r\nConnection: close\r\n\r\n", c.Method, c.Path, host)
	if err != nil {
		return s.inTime(ctx, c, err)
	}
	br := bufio.NewReader(nc)
	for range 16 {
		r, err := http.ReadResponse(br, &http.Request{Method: c.Method})
		if err != nil {
			return s.inTime(ctx, c, err)
		}
		if r.StatusCode < 200 {
			continue
		}
		_, _ = io.CopyN(io.Discard, r.Body, maxCheckBody)
		if r.StatusCode < c.Low || r.StatusCode > c.High {
			return fmt.Errorf("%s %s: status %d, want %d to %d", c.Method, c.Path, r.StatusCode, c.Low, c.High)
		}
		return nil
	}
	return fmt.Errorf("%s %s: too many interim answers", c.Method, c.Path)
}

func (s *Server) inTime(ctx context.Context, c *Check, err error) error {
	if ctx.Err() != nil {
		return fmt.Errorf("%s %s: no answer within %v", c.Method, c.Path, c.Timeout)
	}
	return fmt.Errorf("%s %s: %w", c.Method, c.Path, err)
}

// pause waits, and reports whether ctx goes on.
func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}
