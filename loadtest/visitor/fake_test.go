package visitor

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"sync"
	"testing"
	"time"
)

// A fake is a gate that answers as a test tells it.
type fake struct {
	t      testing.TB
	addr   string
	answer func(q *question) string // the whole answer, as it is sent; "": the connection is cut

	turn  sync.Mutex // held while the test answers
	mu    sync.Mutex
	asked []*question
	conns int
	open  map[net.Conn]bool
	quiet bool // questions are not kept
}

// question is a request that arrived.
type question struct {
	n      int    // how many came before, to this fake
	what   string // method and path
	cookie string // value of the room's
	all    string // the whole Cookie header
	from   string // address without the port
	conn   int    // number of the connection
	nth    int    // request on it, from 0
	header http.Header
	body   string
	at     time.Time
	cut    bool // for the test to set: the connection is cut after the answer
}

func newFake(t testing.TB, answer func(q *question) string) *fake {
	f := &fake{t: t, answer: answer, open: make(map[net.Conn]bool)}
	l := listen(t)
	f.addr = "http://" + l.Addr().String()
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			f.mu.Lock()
			f.conns++
			n := f.conns
			f.open[c] = true
			f.mu.Unlock()
			wg.Go(func() {
				f.serve(c, n)
				c.Close()
				f.mu.Lock()
				delete(f.open, c)
				f.mu.Unlock()
			})
		}
	})
	t.Cleanup(func() {
		l.Close()
		f.mu.Lock()
		for c := range f.open {
			c.Close()
		}
		f.mu.Unlock()
		wg.Wait()
	})
	return f
}

func (f *fake) serve(c net.Conn, number int) {
	in := bufio.NewReaderSize(c, 1024)
	for nth := 0; ; nth++ {
		r, err := http.ReadRequest(in)
		if err != nil {
			return
		}
		body, _ := io.ReadAll(r.Body)
		host, _, _ := net.SplitHostPort(c.RemoteAddr().String())
		q := &question{
			what: r.Method + " " + r.RequestURI, from: host, conn: number, nth: nth, header: r.Header, body: string(body), at: time.Now(),
			all: r.Header.Get("Cookie"),
		}
		if k, err := r.Cookie("sluice-drop"); err == nil {
			q.cookie = k.Value
		}
		f.mu.Lock()
		q.n = len(f.asked)
		if !f.quiet {
			f.asked = append(f.asked, q)
		}
		f.mu.Unlock()
		answer := f.reply(q)
		if answer == "" {
			return
		}
		if _, err := io.WriteString(c, answer); err != nil || q.cut {
			return
		}
	}
}

// reply lets the test answer one question at a time.
func (f *fake) reply(q *question) string {
	f.turn.Lock()
	defer f.turn.Unlock()
	return f.answer(q)
}

// script returns what was asked for, in order.
func (f *fake) script() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	var out []string
	for _, q := range f.asked {
		out = append(out, q.what)
	}
	return out
}

// questions returns what came, in order, once it has been answered.
func (f *fake) questions() []*question {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.asked)
}

// connections returns how many were opened.
func (f *fake) connections() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.conns
}

func (f *fake) wants(t *testing.T, want ...string) {
	t.Helper()
	if got := f.script(); !slices.Equal(got, want) {
		t.Errorf("asked for\n%q, want\n%q", got, want)
	}
}

const (
	page = "GET /drop/"
	api  = "GET /.sluice/rooms/drop"
	bye  = "DELETE /.sluice/rooms/drop"
)

func response(status int, header, body string) string {
	return fmt.Sprintf("HTTP/1.1 %d %s\r\nContent-Length: %d\r\n%s\r\n%s", status, http.StatusText(status), len(body), header, body)
}

func set(token string) string { return "Set-Cookie: sluice-drop=" + token + "; Path=/; HttpOnly\r\n" }

// wait is the waiting page.
func wait(token string, seconds float64) string {
	h := "Sluice-State: waiting\r\nRetry-After: 9\r\n"
	if token != "" {
		h += set(token)
	}
	return response(429, h, fmt.Sprintf(`...{"view":{"position":7,"poll_after_seconds":%g}}...`, seconds))
}

// stands is the visitor API's answer to who waits.
func stands(position int, seconds float64) string {
	return response(200, "Sluice-State: waiting\r\n",
		fmt.Sprintf(`{"room":"drop","state":"waiting","position":%d,"estimate_seconds":{"low":1,"high":2},"poll_after_seconds":%g}`, position, seconds))
}

// calls is the visitor API's answer to who is let in.
func calls(pass string, called int) string {
	return response(200, "Sluice-State: admitted\r\n"+set(pass), fmt.Sprintf(`{"room":"drop","state":"admitted","poll_after_seconds":2,"called":%d}`, called))
}

func state(name string) string {
	return response(200, "Sluice-State: "+name+"\r\n", fmt.Sprintf(`{"room":"drop","state":%q,"poll_after_seconds":0.5}`, name))
}

// shop is the origin's answer.
func shop(visitor, header string) string {
	return response(200, "Recorded-Visitor: "+visitor+"\r\n"+header, "<p>a page")
}

const gone = "HTTP/1.1 204 No Content\r\n\r\n"
