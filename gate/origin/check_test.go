package origin

import (
	"bufio"
	"fmt"
	"net"
	"net/http"
	"testing"
	"testing/synctest"
	"time"
)

// checked is a server whose answer to checks a test can change.
type checked struct {
	w      *world
	status int // 0: none
	raw    string
	seen   []string // request lines and Host
}

func (s *checked) serve(c net.Conn) {
	r, err := http.ReadRequest(bufio.NewReader(c))
	if err != nil {
		return
	}
	s.w.mu.Lock()
	s.seen = append(s.seen, r.Method+" "+r.RequestURI+" "+r.Host)
	status, raw := s.status, s.raw
	s.w.mu.Unlock()
	switch {
	case raw != "":
		fmt.Fprint(c, raw)
	case status == 0:
		silent(c)
	default:
		fmt.Fprintf(c, "HTTP/1.1 %d x\r\nContent-Length: 2\r\n\r\nok", status)
	}
}

func (s *checked) answer(status int) {
	s.w.mu.Lock()
	defer s.w.mu.Unlock()
	s.status = status
}

func (s *checked) last() (what string, times int) {
	synctest.Wait()
	s.w.mu.Lock()
	defer s.w.mu.Unlock()
	if n := len(s.seen); n > 0 {
		return s.seen[n-1], n
	}
	return "", 0
}

// round is a time in which there is exactly one check, jitter or not, from just
// after the one before.
const every = 8 * time.Second

func (w *world) stand(up, out, down int) {
	w.t.Helper()
	synctest.Wait()
	var s Status
	for _, one := range w.group.Status() {
		s.Up, s.Out, s.Down = s.Up+one.Up, s.Out+one.Out, s.Down+one.Down
	}
	if s.Up != up || s.Out != out || s.Down != down {
		w.t.Errorf("%d servers are well, %d out, %d down; want %d, %d, %d", s.Up, s.Out, s.Down, up, out, down)
	}
}

// after waits until a server was checked so many times more.
func (s *checked) after(times int) {
	_, n := s.last()
	for {
		if _, now := s.last(); now >= n+times {
			return
		}
		time.Sleep(every / 100)
	}
}

func TestAServerIsAskedHowItIs(t *testing.T) {
	inWorld(t, func(w *world) {
		s := &checked{w: w, status: 200}
		w.serve(s.serve, a)
		w.up(b) // takes connections and never answers
		w.open(Config{URLs: urls(a, b), Host: "shop.example", Check: &Check{Path: "/health?full", Interval: every}})
		s.after(1)
		if what, _ := s.last(); what != "GET /health?full shop.example" {
			t.Errorf("it was asked %q", what)
		}
		time.Sleep(2 * time.Second) // the check's timeout: the first answer counts by itself
		w.stand(1, 0, 1)
		w.wantLog([]string{"level=WARN", "an origin is left alone: its check failed", "http://" + b, "no answer within 2s"})
		w.want(w.count(4), map[string]int{a: 4})

		s.answer(500) // a shop that is up for nobody
		s.after(2)
		w.stand(1, 0, 1)
		s.after(1)
		w.stand(0, 0, 2)
		w.wantLog([]string{"left alone", "http://" + a, "status 500, want 200 to 399"})
		w.want(w.count(4), map[string]int{a: 2, b: 2}) // better than nobody

		s.answer(204)
		s.after(1)
		w.stand(0, 0, 2)
		s.after(1)
		w.stand(1, 0, 1)
		w.wantLog([]string{"well again", "http://" + a})
	})
}

func TestOneBadAnswerInBetweenIsNoNews(t *testing.T) {
	inWorld(t, func(w *world) {
		s := &checked{w: w, status: 200}
		w.serve(s.serve, a)
		w.open(Config{URLs: urls(a), Check: &Check{Interval: every}})
		s.after(1)
		for range 5 {
			s.answer(503)
			s.after(2)
			s.answer(200)
			s.after(1)
		}
		w.stand(1, 0, 0)
		w.wantLog()
	})
}

func TestWhatACheckMayAskAndHear(t *testing.T) {
	for name, tc := range map[string]struct {
		check Check
		raw   string
		asked string
		well  bool
	}{
		"a redirect is an answer":      {Check{}, "HTTP/1.1 302 Found\r\nLocation: /login\r\nContent-Length: 0\r\n\r\n", "GET / 10.0.0.1:80", true},
		"HEAD that is not found":       {Check{Method: "HEAD"}, "HTTP/1.1 404 Not Found\r\nContent-Length: 500\r\n\r\n", "HEAD / 10.0.0.1:80", false},
		"unless that is as wanted":     {Check{Method: "HEAD", Low: 200, High: 499}, "HTTP/1.1 404 Not Found\r\nContent-Length: 500\r\n\r\n", "HEAD / 10.0.0.1:80", true},
		"a host of its own":            {Check{Host: "health.local", Method: "OPTIONS", Path: "/x"}, "HTTP/1.1 200 OK\r\n\r\n", "OPTIONS /x health.local", true},
		"only one status":              {Check{Low: 204, High: 204}, "HTTP/1.1 200 OK\r\n\r\n", "GET / 10.0.0.1:80", false},
		"an interim answer before":     {Check{}, "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", "GET / 10.0.0.1:80", true},
		"nothing but interim answers":  {Check{}, "HTTP/1.1 100 Continue\r\n\r\n", "GET / 10.0.0.1:80", false},
		"something that is not HTTP":   {Check{}, "SSH-2.0-OpenSSH_9.2\r\n", "GET / 10.0.0.1:80", false},
		"half an answer":               {Check{}, "HTTP/1.1 200 OK\r\nContent-Le", "GET / 10.0.0.1:80", false},
		"a body that is cut off later": {Check{}, "HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nx", "GET / 10.0.0.1:80", true},
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(w *world) {
				s := &checked{w: w, raw: tc.raw}
				w.serve(s.serve, a)
				tc.check.Interval = every
				w.open(Config{URLs: urls(a), Check: &tc.check})
				s.after(1)
				if what, _ := s.last(); what != tc.asked {
					t.Errorf("it was asked %q, want %q", what, tc.asked)
				}
				if tc.well {
					w.stand(1, 0, 0)
				} else {
					w.stand(0, 0, 1)
				}
			})
		})
	}
}

func TestAnOutageIsToldOnceWhoeverNoticesIt(t *testing.T) {
	inWorld(t, func(w *world) {
		s := &checked{w: w, status: 200}
		w.serve(s.serve, a)
		w.up(b)
		w.serve(s.serve, b)
		w.open(Config{URLs: urls(a, b), Check: &Check{Interval: every}})
		s.after(2)
		w.serve(nil, a)
		w.count(8) // requests notice first
		time.Sleep(4 * every)
		w.stand(1, 0, 1) // and checks later
		w.wantLog([]string{"left alone: requests failed", "http://" + a})

		w.serve(s.serve, a)
		time.Sleep(3 * every)
		w.stand(1, 1, 0) // well for checks; a request still has to show it
		w.wantLog()
		w.count(8)
		w.stand(2, 0, 0)
		w.wantLog([]string{"well again", "http://" + a})
	})
}
