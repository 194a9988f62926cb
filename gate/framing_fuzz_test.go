package gate

import (
	"bufio"
	"bytes"
	"io"
	"log"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"
)

// Whatever the gate forwards of what a visitor sends, everybody reads alike: Go's
// reader of what the visitor sent, one that knows no mercy of what the gate sent, and
// the origin.

// byOrigin marks the origin's answers.
const byOrigin = "X-Origin"

// wiretap passes on what the gate sends to an origin, and writes down what it is.
func wiretap(t testing.TB, origin string) (addr string, heard *recorder) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	heard = new(recorder)
	var all sync.WaitGroup
	t.Cleanup(func() { l.Close(); all.Wait() })
	all.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			all.Go(func() { tap(c, origin, heard) })
		}
	})
	return l.Addr().String(), heard
}

func tap(c net.Conn, origin string, heard *recorder) {
	defer c.Close()
	up, err := net.Dial("tcp", origin)
	if err != nil {
		return
	}
	defer up.Close()
	var both sync.WaitGroup
	defer both.Wait()
	read, written := io.Pipe()
	defer written.Close()
	both.Go(func() {
		heard.serve(read, func() {})
		io.Copy(io.Discard, read)
	})
	both.Go(func() {
		defer c.Close()
		io.Copy(c, up)
	})
	if _, err := io.Copy(io.MultiWriter(written, up), c); err != nil {
		up.(*net.TCPConn).SetLinger(0) // the gate gave up in mid-request, and so do we
	}
	up.Close()
}

// readByGo starts Go's server as an origin.
func readByGo(t testing.TB) (addr string, read *recorder) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	read = new(recorder)
	s := &http.Server{DisableGeneralOptionsHandler: true, ErrorLog: log.New(io.Discard, "", 0), Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err == nil {
			read.mu.Lock()
			read.asked = append(read.asked, asked{r.Method, r.RequestURI, string(body)})
			read.mu.Unlock()
		}
		w.Header().Set(byOrigin, "yes")
		w.Write(nil)
	})}
	var served sync.WaitGroup
	served.Go(func() { s.Serve(l) })
	t.Cleanup(func() { s.Close(); served.Wait() })
	return l.Addr().String(), read
}

// readByRecorder starts a recorder as an origin, to stand behind another.
func readByRecorder(t testing.TB) (addr string, read *recorder) {
	read = &recorder{answer: "HTTP/1.1 200 OK\r\n" + byOrigin + ": yes\r\nContent-Length: 0\r\n\r\n"}
	read.listen(t)
	return read.Addr().String(), read
}

// answered is a final answer on a visitor's connection.
type answered struct {
	status   int
	byOrigin bool
	byNginx  bool // of itself
}

// ask sends what a visitor sends and reads the answers to the end.
func ask(t *testing.T, rig *framingRig, sent []byte) (answers []answered) {
	c := rig.dial(t)
	defer c.Close()
	var sending sync.WaitGroup
	defer sending.Wait()
	sending.Go(func() {
		c.Write(sent)
		c.(*net.TCPConn).CloseWrite()
	})
	requests := bufio.NewReader(bytes.NewReader(sent))
	br := bufio.NewReader(c)
	next := nextRequest(requests)
	for {
		if _, err := br.Peek(1); err == io.EOF {
			return answers
		}
		resp, err := http.ReadResponse(br, next)
		if err != nil {
			if strings.Contains(err.Error(), "reset by peer") {
				return answers // the visitor still sent when it was closed
			}
			t.Fatalf("the visitor got no answer: %v", err)
		}
		if resp.StatusCode < 200 {
			continue
		}
		if _, err := io.Copy(io.Discard, resp.Body); err != nil {
			t.Fatalf("an answer breaks off: %v", err)
		}
		answers = append(answers, answered{resp.StatusCode, resp.Header.Get(byOrigin) != "", resp.Header.Get("Server") != "" && resp.Header.Get(byOrigin) == ""})
		if next != nil {
			io.Copy(io.Discard, next.Body)
			next = nextRequest(requests)
		}
	}
}

// nextRequest reads a request as Go does, nil where that finds none.
func nextRequest(br *bufio.Reader) *http.Request {
	if b, _ := br.Peek(2); string(b) == "\r\n" {
		br.Discard(2)
	}
	r, err := http.ReadRequest(br)
	if err != nil {
		return nil
	}
	return r
}

// everybodyReadsAlike compares what was sent with what was heard and read of it.
// What nginx refuses by itself it does not pass on.
func everybodyReadsAlike(t *testing.T, rig *framingRig, sent []byte, heard, read *recorder) {
	answers := ask(t, rig, sent)
	var overheard []asked
	var doubtful []string
	late := func(wanted func() bool) {
		for end := time.Now().Add(5 * time.Second); !wanted() && time.Now().Before(end); {
			time.Sleep(time.Millisecond)
		}
	}
	count := 0
	for _, a := range answers {
		if a.byOrigin || a.byNginx {
			count++
		}
	}
	late(func() bool { heard.mu.Lock(); defer heard.mu.Unlock(); return len(heard.asked) >= count })
	overheard, doubtful, _ = heard.take()
	got, doubtfulThere, _ := read.take()
	if len(doubtful)+len(doubtfulThere) > 0 {
		t.Fatalf("doubtful: %q %q", doubtful, doubtfulThere)
	}

	requests := bufio.NewReader(bytes.NewReader(sent))
	for i, a := range answers {
		r := nextRequest(requests)
		if r == nil {
			if a.byOrigin {
				t.Fatalf("answer %d is the origin's, to what Go does not read as a request", i)
			}
			break
		}
		body, err := io.ReadAll(r.Body)
		meant := asked{r.Method, originForm(r), string(body)}
		if a.byNginx && (a.status == 400 || a.status == 405 || a.status == 501) && first(overheard) == meant {
			overheard = overheard[1:]
			continue
		}
		if !a.byOrigin {
			if err != nil {
				break
			}
			continue
		}
		if err != nil {
			t.Fatalf("answer %d is the origin's, to a body that Go cannot read: %v", i, err)
		}
		if len(overheard) == 0 || len(got) == 0 || overheard[0] != meant || got[0] != meant {
			t.Fatalf("request %d: sent %q, forwarded %q, read %q", i, meant, first(overheard), first(got))
		}
		overheard, got = overheard[1:], got[1:]
	}
	// The visitor may have gone before an answer came.
	if len(got) > len(overheard) {
		t.Fatalf("the origin read %q, of which the gate sent %q", got, overheard)
	}
}

func first(a []asked) asked {
	if len(a) == 0 {
		return asked{}
	}
	return a[0]
}

// originForm is the target as the gate has to forward it.
func originForm(r *http.Request) string {
	target := r.RequestURI
	if target[0] == '/' || target == "*" {
		return target
	}
	_, rest, _ := strings.Cut(target, "://")
	i := strings.IndexAny(rest, "/?")
	switch {
	case i < 0 && r.Method == "OPTIONS":
		return "*"
	case i < 0:
		return "/"
	case rest[i] == '?':
		return "/" + rest[i:]
	}
	return rest[i:]
}

func addCases(f *testing.F) {
	for _, c := range readCases(f) {
		if len(c.raw) < 1000 {
			f.Add([]byte(c.raw))
			f.Add([]byte(before + c.raw + after))
		}
	}
	f.Add([]byte("POST /a HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\nabc" + after))
	f.Add([]byte("HEAD /a HTTP/1.1\r\nHost: a\r\n\r\n" + after))
	f.Add([]byte("POST /drop HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n" + after))
}

func FuzzGoReadsWhatTheGateForwardsAsItWasMeant(f *testing.F) {
	addCases(f)
	origin, read := readByGo(f)
	addr, heard := wiretap(f, origin)
	rig := openFramingRig(f, addr)
	f.Fuzz(func(t *testing.T, sent []byte) {
		everybodyReadsAlike(t, rig, sent, heard, read)
	})
}

func FuzzNginxReadsWhatTheGateForwardsAsItWasMeant(f *testing.F) {
	addCases(f)
	origin, read := readByRecorder(f)
	addr, heard := wiretap(f, nginxBefore(f, origin))
	rig := openFramingRig(f, addr)
	f.Fuzz(func(t *testing.T, sent []byte) {
		everybodyReadsAlike(t, rig, sent, heard, read)
	})
}
