package gate

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sluicegate/sluice/gate/door"
	"github.com/sluicegate/sluice/queue/queuetest/proc"
)

// Requests as bytes, and what becomes of them at a whole gate. They are in
// testdata/framing: "-- " and a name, what is wanted, and the bytes as Go writes
// them, a number and a star before those that come so many times.
//
//	refused [status]            nothing reaches the origin; 400, or the status; closed
//	broken                      the body is wrong: no whole request reaches the origin; 400, closed
//	forwarded METHOD TARGET "body"   exactly that reaches the origin, once

type rawCase struct {
	name   string
	status int  // 0: forwarded
	broken bool // some of the request may reach the origin
	want   asked
	raw    string
}

// asked is a request as an origin understands it.
type asked struct{ method, target, body string }

func readCases(t testing.TB) (cases []rawCase) {
	t.Helper()
	files, err := filepath.Glob("testdata/framing/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatal("no requests", err)
	}
	seen := map[string]bool{}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		group := strings.TrimSuffix(filepath.Base(file), ".txt")
		var c *rawCase
		for i, line := range strings.Split(string(text), "\n") {
			bad := func() { t.Fatalf("%s:%d: what is this: %s", file, i+1, line) }
			switch {
			case line == "" || line[0] == '#':
			case strings.HasPrefix(line, "-- "):
				cases = append(cases, rawCase{name: group + ": " + line[3:], status: -1})
				c = &cases[len(cases)-1]
				if seen[c.name] {
					bad()
				}
				seen[c.name] = true
			case c == nil:
				bad()
			case c.status < 0:
				if !c.readOutcome(line) {
					bad()
				}
			default:
				s, ok := quoted(line)
				if !ok {
					bad()
				}
				c.raw += s
			}
		}
	}
	return cases
}

func (c *rawCase) readOutcome(line string) bool {
	verb, rest, _ := strings.Cut(line, " ")
	c.status = 400
	switch verb {
	case "refused":
		if rest != "" {
			c.status, _ = strconv.Atoi(rest)
		}
		return c.status > 0
	case "broken":
		c.broken = true
		return rest == ""
	case "forwarded":
		c.status = 0
		var body string
		var ok bool
		c.want.method, rest, _ = strings.Cut(rest, " ")
		if c.want.target, body, ok = strings.Cut(rest, " "); !ok {
			return false
		}
		c.want.body, ok = quoted(body)
		return ok
	}
	return false
}

// quoted reads 3*"text".
func quoted(s string) (string, bool) {
	times := 1
	if n, rest, ok := strings.Cut(s, `*"`); ok && n != "" && strings.Trim(n, "0123456789") == "" {
		times, _ = strconv.Atoi(n)
		s = `"` + rest
	}
	s, err := strconv.Unquote(s)
	return strings.Repeat(s, times), err == nil
}

// recorder is an origin that takes the bytes at their word and writes down what it
// was asked. Whatever could be read in two ways it calls doubtful.
type recorder struct {
	net.Listener
	answer string
	conns  sync.WaitGroup

	mu         sync.Mutex
	asked      []asked
	doubtful   []string
	unfinished int
}

func openRecorder(t testing.TB) *recorder {
	r := &recorder{answer: "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"}
	r.listen(t)
	return r
}

func (r *recorder) listen(t testing.TB) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r.Listener = l
	r.conns.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			r.conns.Go(func() {
				defer c.Close()
				r.serve(c, func() { io.WriteString(c, r.answer) })
			})
		}
	})
	t.Cleanup(func() { l.Close(); r.conns.Wait() })
}

// serve reads requests until one does not come whole, and has each answered.
func (r *recorder) serve(from io.Reader, answer func()) {
	br := bufio.NewReader(from)
	for {
		a, err := readAsked(br)
		r.mu.Lock()
		switch {
		case err == nil:
			r.asked = append(r.asked, a)
		case errors.Is(err, errDoubtful):
			r.doubtful = append(r.doubtful, err.Error())
		case err != io.EOF:
			r.unfinished++
		}
		r.mu.Unlock()
		if err != nil {
			return
		}
		answer()
	}
}

// take returns what was asked since it was called last.
func (r *recorder) take() (asked []asked, doubtful []string, unfinished int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	asked, doubtful, unfinished = r.asked, r.doubtful, r.unfinished
	r.asked, r.doubtful, r.unfinished = nil, nil, 0
	return
}

var errDoubtful = errors.New("doubtful")

// readAsked reads a request and knows no mercy. io.EOF says that there is none.
func readAsked(br *bufio.Reader) (a asked, err error) {
	doubt := func(line string) (asked, error) { return a, fmt.Errorf("%w: %.200q", errDoubtful, line) }
	line := func() (string, error) {
		s, err := br.ReadString('\n')
		if err != nil {
			if s != "" {
				err = io.ErrUnexpectedEOF
			}
			return "", err
		}
		text, ok := strings.CutSuffix(s, "\r\n")
		if !ok || strings.ContainsAny(text, "\r\n\x00\x7f") {
			return "", fmt.Errorf("%w: %q", errDoubtful, s)
		}
		return text, nil
	}
	first, err := line()
	if err != nil {
		return a, err
	}
	parts := strings.Split(first, " ")
	if len(parts) != 3 || parts[2] != "HTTP/1.1" || !strings.HasPrefix(parts[1], "/") && parts[1] != "*" {
		return doubt(first)
	}
	a.method, a.target = parts[0], parts[1]
	hosts, length, chunks := 0, -1, false
	for {
		l, err := line()
		if err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		if err != nil {
			return a, err
		}
		if l == "" {
			break
		}
		name, value, ok := strings.Cut(l, ": ")
		if !ok || name == "" || strings.ContainsAny(name, " \t:") || strings.TrimSpace(value) != value && strings.Trim(value, " \t") != value {
			if !strings.HasSuffix(l, ": ") {
				return doubt(l)
			}
		}
		switch strings.ReplaceAll(strings.ToLower(name), "_", "-") {
		case "host":
			if hosts++; hosts > 1 || value == "" {
				return doubt(l)
			}
		case "content-length":
			if length, err = strconv.Atoi(value); err != nil || chunks || length < 0 || a.body != "" {
				return doubt(l)
			}
			a.body = "seen"
		case "transfer-encoding":
			if chunks || length >= 0 || value != "chunked" {
				return doubt(l)
			}
			chunks = true
		case "upgrade":
			return doubt(l)
		}
	}
	if hosts != 1 {
		return doubt(first + " without Host")
	}
	var body strings.Builder
	switch {
	case chunks:
		for {
			l, err := line()
			if err != nil {
				return a, cutOff(err)
			}
			n, err := strconv.ParseUint(l, 16, 40)
			if err != nil {
				return doubt(l)
			}
			if _, err := io.CopyN(&body, br, int64(n)); err != nil {
				return a, io.ErrUnexpectedEOF
			}
			end, err := line()
			if err != nil {
				return a, cutOff(err)
			}
			if end != "" {
				return doubt(end)
			}
			if n == 0 {
				break
			}
		}
	case length > 0:
		if _, err := io.CopyN(&body, br, int64(length)); err != nil {
			return a, io.ErrUnexpectedEOF
		}
	}
	a.body = body.String()
	return a, nil
}

func cutOff(err error) error {
	if errors.Is(err, errDoubtful) {
		return err
	}
	return io.ErrUnexpectedEOF
}

// framingRig is a whole gate, on a socket and on pipes, before an origin.
type framingRig struct {
	addr  string
	pipes *pipeListener
}

// openFramingRig opens a gate before an origin at an address.
func openFramingRig(t testing.TB, origin string) *framingRig {
	t.Helper()
	g := openTestGateOf(t, strings.Replace(testConfig, "127.0.0.1:9", origin, 1), nil)
	server := NewServer(g.Gate, door.Limits{Conns: 1000})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	rig := &framingRig{addr: l.Addr().String(), pipes: &pipeListener{conns: make(chan net.Conn), closed: make(chan struct{})}}
	var served sync.WaitGroup
	for _, l := range []net.Listener{l, rig.pipes} {
		served.Go(func() {
			if err := server.Serve(l); err != nil {
				t.Error(err)
			}
		})
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := server.Shutdown(ctx); err != nil {
			t.Error(err)
		}
		served.Wait()
		g.Close(ctx)
	})
	return rig
}

// patience is how long a test waits for what has to come.
const patience = 30 * time.Second

func (r *framingRig) dial(t testing.TB) net.Conn {
	c, err := net.Dial("tcp", r.addr)
	if err != nil {
		t.Fatal(err)
	}
	c.SetDeadline(time.Now().Add(patience))
	return c
}

// pipeListener hands out connections on which every write is a read of its own.
type pipeListener struct {
	conns  chan net.Conn
	once   sync.Once
	closed chan struct{}
}

func (l *pipeListener) dial() net.Conn {
	ours, theirs := net.Pipe()
	ours.SetDeadline(time.Now().Add(patience))
	l.conns <- theirs
	return ours
}

func (l *pipeListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *pipeListener) Close() error   { l.once.Do(func() { close(l.closed) }); return nil }
func (l *pipeListener) Addr() net.Addr { return &net.UnixAddr{Name: "pipe", Net: "pipe"} }

// exchangeRaw sends pieces on a connection and reads answers, as many as wanted or
// until the end. It reports their statuses, and whether the gate closed.
func exchangeRaw(t testing.TB, c net.Conn, pieces []string, answers int) (statuses []int, closed bool) {
	t.Helper()
	var sending sync.WaitGroup
	sending.Go(func() {
		for _, p := range pieces {
			if _, err := io.WriteString(c, p); err != nil {
				return // it is closed before all was read, and may be
			}
		}
	})
	defer sending.Wait()
	defer c.Close()
	br := bufio.NewReader(c)
	for len(statuses) < answers {
		resp, err := http.ReadResponse(br, nil)
		if err != nil {
			var timeout net.Error
			if errors.As(err, &timeout) && timeout.Timeout() {
				t.Errorf("the gate says nothing: %v", err)
			}
			return statuses, true
		}
		_, err = io.Copy(io.Discard, resp.Body)
		if err != nil {
			t.Errorf("the answer breaks off: %v", err)
		}
		statuses = append(statuses, resp.StatusCode)
		if resp.Close {
			if _, err := br.ReadByte(); err == nil {
				t.Error("more behind the last answer")
			}
			return statuses, true
		}
	}
	return statuses, false
}

const (
	before = "GET /before HTTP/1.1\r\nHost: shop.example\r\n\r\n"
	after  = "GET /after HTTP/1.1\r\nHost: shop.example\r\n\r\n"
)

// try sends a case one way and compares what came of it. Lead and tail say which
// requests stand around it on the connection.
func (c *rawCase) try(t testing.TB, conn net.Conn, origin *recorder, how string, pieces []string, lead, tail bool) {
	t.Helper()
	var want []asked
	var wantStatuses []int
	add := func(a asked) { want, wantStatuses = append(want, a), append(wantStatuses, 200) }
	if lead {
		add(asked{"GET", "/before", ""})
	}
	lasts := c.status != 0
	if c.status == 0 {
		add(c.want)
		lasts = strings.Contains(c.raw, " HTTP/1.0\r\n")
	} else {
		wantStatuses = append(wantStatuses, c.status)
	}
	if tail && !lasts {
		add(asked{"GET", "/after", ""})
	}
	statuses, closed := exchangeRaw(t, conn, pieces, len(wantStatuses))
	if fmt.Sprint(statuses) != fmt.Sprint(wantStatuses) || closed != lasts {
		t.Errorf("%s, %s: answered %v, closed %v, want %v, %v", c.name, how, statuses, closed, wantStatuses, lasts)
	}
	got, doubtful, unfinished := origin.take()
	if len(doubtful) > 0 {
		t.Errorf("%s, %s: the origin got what is doubtful: %q", c.name, how, doubtful)
	}
	if unfinished > 0 && !c.broken {
		t.Errorf("%s, %s: the origin got %d unfinished requests", c.name, how, unfinished)
	}
	if fmt.Sprintf("%.300q", got) != fmt.Sprintf("%.300q", want) {
		t.Errorf("%s, %s: the origin got %.300q, want %.300q", c.name, how, got, want)
	}
}

func TestRequestsThatCanBeReadInTwoWaysGoNowhere(t *testing.T) {
	cases := readCases(t)
	if len(cases) < 250 {
		t.Errorf("only %d requests", len(cases))
	}
	var origin *recorder
	t.Cleanup(func() { // everything has ended by then
		if got, doubtful, _ := origin.take(); len(got)+len(doubtful) > 0 {
			t.Errorf("later the origin got %q %q", got, doubtful)
		}
	})
	origin = openRecorder(t)
	rig := openFramingRig(t, origin.Addr().String())
	// What breaks in mid-body comes last: its rest may reach the origin late.
	slices.SortStableFunc(cases, func(a, b rawCase) int {
		switch {
		case a.broken == b.broken:
			return 0
		case b.broken:
			return -1
		}
		return 1
	})
	for i := range cases {
		c := &cases[i]
		c.try(t, rig.dial(t), origin, "at once", []string{c.raw}, false, false)
		c.try(t, rig.dial(t), origin, "behind another", []string{before + c.raw}, true, false)
		if !strings.HasSuffix(c.name, ": HTTP/0.9") && !strings.HasSuffix(c.name, "the first bytes of TLS") || c.status != 0 {
			c.try(t, rig.dial(t), origin, "with another behind it", []string{c.raw + after}, false, true)
		}
		c.try(t, rig.dial(t), origin, "between two others", []string{before + c.raw + after}, true, true)
		if len(c.raw) > 1000 {
			half := len(c.raw) / 2
			c.try(t, rig.pipes.dial(), origin, "in two halves", []string{c.raw[:half], c.raw[half:]}, false, false)
			continue
		}
		c.try(t, rig.pipes.dial(), origin, "byte by byte, between two others", strings.Split(before+c.raw+after, ""), true, true)
		// Every case is cut at other places, and all of them together everywhere.
		for at := 1 + i%7; at < len(c.raw); at += 7 {
			c.try(t, rig.pipes.dial(), origin, fmt.Sprintf("cut at %d", at), []string{c.raw[:at], c.raw[at:]}, false, false)
		}
	}
}

func TestTheReasonOfARefusalIsTold(t *testing.T) {
	rig := openFramingRig(t, "127.0.0.1:9")
	c := rig.dial(t)
	defer c.Close()
	io.WriteString(c, "GET / HTTP/1.1\r\nHost: a\r\nX : y\r\n\r\n")
	answer, err := io.ReadAll(c)
	if err != nil || !bytes.Contains(answer, []byte("could be read in more than one way: name with a character that no name has")) {
		t.Errorf("%v, got %s", err, answer)
	}
}

// nginxBefore starts an nginx that passes on what it reads to an origin.
func nginxBefore(t proc.T, origin string) string {
	return proc.Nginx(t, func(dir string, port int) string {
		return fmt.Sprintf(`
worker_processes 1;
events { worker_connections 512; }
http {
	access_log off;
	client_body_temp_path %[1]s/body; proxy_temp_path %[1]s/proxy; fastcgi_temp_path %[1]s/f; uwsgi_temp_path %[1]s/u; scgi_temp_path %[1]s/s;
	large_client_header_buffers 4 32k;
	client_header_buffer_size 32k;
	client_max_body_size 0;
	merge_slashes off;
	server {
		listen 127.0.0.1:%[2]d;
		location / {
			proxy_pass http://%[3]s;
			proxy_http_version 1.1;
			proxy_set_header Host $http_host;
			proxy_set_header Connection "";
		}
	}
}`, dir, port, origin)
	})
}

func TestNginxReadsWhatTheGateForwardsAsItWasMeant(t *testing.T) {
	origin := openRecorder(t)
	rig := openFramingRig(t, nginxBefore(t, origin.Addr().String()))
	for _, c := range readCases(t) {
		if c.want.target == "*" {
			continue // not tested: nginx takes no star but answers 400
		}
		c.try(t, rig.dial(t), origin, "to nginx", []string{before + c.raw + after}, true, true)
	}
}
