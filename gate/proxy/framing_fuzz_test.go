package proxy

import (
	"bufio"
	"bytes"
	"io"
	"net"
	"net/http"
	"net/http/httputil"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sluicegate/sluice/gate/origin"
)

// What is accepted here means the same to Go's readers, however it comes in pieces.

// pieces is a connection that brings what was sent, so many bytes at a time.
type pieces struct {
	net.Conn
	b    []byte
	size int
}

func (p *pieces) Read(b []byte) (int, error) {
	n := copy(b[:min(len(b), p.size)], p.b)
	if p.b = p.b[n:]; n == 0 {
		return 0, io.EOF
	}
	return n, nil
}

func (p *pieces) SetReadDeadline(time.Time) error { return nil }

// handedOut is what a server reads of a strict connection: heads with what follows
// them, and why it ended.
func handedOut(sent []byte, size int) (read []byte, why error) {
	v := Strict(&pieces{b: bytes.Clone(sent), size: size}, nil).(*strictConn)
	buf := make([]byte, requestHeader)
	for {
		n, err := v.Read(buf)
		if v.refused != nil && bytes.Equal(buf[:n], []byte(nonsense)) {
			return read, v.refused
		}
		read = append(read, buf[:n]...)
		if err == io.EOF {
			return read, nil
		}
		if v.refused != nil {
			return read, v.refused
		}
		if err != nil {
			return read, err
		}
	}
}

func FuzzVisitorsRequestsAreCutApartAsGoReadsThem(f *testing.F) {
	for _, s := range []string{
		get, visit, get + get + get, handshake, "GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", "\r\n" + get,
		"POST http://a:80/b HTTP/1.1\r\nHost: A:80\r\nContent-Length: 3\r\n\r\nabc" + get,
		"OPTIONS http://a HTTP/1.1\r\nHost: a\r\n\r\n" + get,
		"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3;a=\"b\\\"\";c\r\nabc\r\n0\r\nX: y\r\n\r\n" + get,
		"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
		"POST / HTTP/1.0\r\nContent-Length: 003\r\n\r\nabc",
		"GET / HTTP/1.1\r\nHost: [::1]:8080\r\nX: a\r\n b\r\n\r\n",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, sent []byte) {
		read, why := handedOut(sent, len(sent)+1)
		for _, size := range []int{1, 3} {
			again, whyAgain := handedOut(sent, size)
			if !bytes.Equal(read, again) || (why == nil) != (whyAgain == nil) || Reason(why) != Reason(whyAgain) {
				t.Fatalf("at once %q, %v; in pieces of %d %q, %v", read, why, size, again, whyAgain)
			}
		}
		if why != nil {
			return
		}
		// All of it was accepted: Go finds the same requests in what was sent and in
		// what the server gets, and each of them where the strict reading does.
		before, after := bufio.NewReader(bytes.NewReader(sent)), bufio.NewReader(bytes.NewReader(read))
		for {
			if b, _ := before.Peek(2); string(b) == "\r\n" {
				before.Discard(2)
			}
			if _, err := before.Peek(1); err != nil {
				if _, err := after.Peek(1); err == nil {
					t.Fatal("more was handed out than sent")
				}
				return
			}
			a, err := http.ReadRequest(before)
			if err != nil {
				t.Fatalf("Go refuses what was sent: %v", err)
			}
			b, err := http.ReadRequest(after)
			if err != nil {
				t.Fatalf("Go refuses what was handed out: %v", err)
			}
			bodyA, errA := io.ReadAll(a.Body)
			bodyB, errB := io.ReadAll(b.Body)
			if errA != nil || errB != nil || !bytes.Equal(bodyA, bodyB) || a.Method != b.Method || a.Host != b.Host && !strings.EqualFold(a.Host, b.Host) {
				t.Fatalf("sent %s %s %q %v, handed out %s %s %q %v", a.Method, a.Host, bodyA, errA, b.Method, b.Host, bodyB, errB)
			}
			if b.RequestURI[0] != '/' && b.RequestURI != "*" || len(b.Header["Content-Length"])+len(b.TransferEncoding) > 1 {
				t.Fatalf("handed out %q", b.RequestURI)
			}
		}
	})
}

func FuzzChunksAreReadAsGoReadsThem(f *testing.F) {
	for _, s := range []string{
		"3\r\nabc\r\n0\r\n\r\n", "a;b=c\r\n0123456789\r\n00\r\nX: y\r\n\r\nrest", "3 \r\nabc\r\n0\r\n\r\n", "1\r\na\n0\r\n\r\n",
		"ffffffffffffffff\r\n", "0000000000000000001\r\na\r\n0\r\n\r\n", "1\r\na\rX0\r\n\r\n", "0;\"\r\n\"\r\n\r\n", "1;a\rb\r\nx\r\n0\r\n\r\n", "0\r\n\n", "0\r\nX : y\r\n\r\n",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, sent []byte) {
		var k chunks
		used, done, err := k.feed(sent)
		var slow chunks
		at, finished := 0, false
		var late error
		for at < len(sent) && !finished && late == nil {
			var n int
			n, finished, late = slow.feed(sent[at : at+1])
			at += n
		}
		if at != used || finished != done || (late == nil) != (err == nil) {
			t.Fatalf("at once %d, %v, %v; byte by byte %d, %v, %v", used, done, err, at, finished, late)
		}

		// Go leaves the trailers to others; the answer's reader reads to the end.
		strict, strictErr := io.ReadAll(httputil.NewChunkedReader(bytes.NewReader(sent)))
		if done && strictErr != nil {
			t.Fatalf("accepted, and Go says %v", strictErr)
		}
		ours, oursErr := originsBody(sent)
		if done && (oursErr != nil || !bytes.Equal(ours, strict)) {
			t.Fatalf("of a visitor %q is accepted, of an origin %q, %v", strict, ours, oursErr)
		}
		if oursErr == nil && strictErr == nil && !bytes.Equal(ours, strict) {
			t.Fatalf("%q, and Go reads %q", ours, strict)
		}
		if oursErr == nil && strictErr != nil {
			t.Fatalf("%q is accepted, and Go says %v", ours, strictErr)
		}
	})
}

// originsBody reads chunks as those of an answer.
func originsBody(sent []byte) ([]byte, error) {
	x := &exchange{p: &Proxy{c: Config{IdleTimeout: time.Hour}, period: time.Hour, look: time.Hour}, framing: chunked}
	x.c = &conn{Conn: &pieces{b: sent, size: len(sent) + 1}, link: new(origin.Conn), buf: make([]byte, readBuffer)}
	var body []byte
	for {
		b, err := x.next()
		if err == io.EOF {
			return body, nil
		}
		if err != nil {
			return body, err
		}
		body = append(body, b...)
	}
}

func FuzzAnswersAreNeverForwardedAmbiguously(f *testing.F) {
	for _, s := range []string{
		ok, served(10, false), served(10, true),
		"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison",
		"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nabc",
		"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nab",
		"HTTP/1.1 200 OK\r\nContent-Length: 2, 2\r\n\r\nab",
		"HTTP/1.1 200 OK\r\nContent-Length: +2\r\n\r\nab",
		"HTTP/1.1 200 OK\r\nX: a\r\n b\r\nContent-Length: 2\r\n\r\nab",
		"HTTP/1.1 200 OK\r\nX: a\rSet-Cookie: b\r\nContent-Length: 2\r\n\r\nab",
		"HTTP/1.1 200 O\rK\r\nContent-Length: 2\r\n\r\nab",
		"HTTP/1.1 200 OK\nContent-Length: 2\n\nab",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabcX\r\n0\r\n\r\n",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3 ;a\rb\r\nabc\r\n0\r\n\r\n",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\nabc\n0\n\n",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
		"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
		"HTTP/1.0 200 OK\r\n\r\nto the end",
		"HTTP/1.1 204 No\r\nContent-Length: 2\r\n\r\nab",
		"HTTP/1.1 304 No\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
		"HTTP/1.1 103 Hints\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\nHTTP/1.1 200 OK\r\n\r\n",
		"HTTP/1.1 101 Switching\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
		"HTTP/1.1 200 OK\r\nConnection: content-length\r\nContent-Length: 2\r\n\r\nab",
	} {
		f.Add([]byte(s))
	}
	// The first request is answered by what is tried, every other one as is known.
	const known = "HTTP/1.1 200 OK\r\nX-Known: yes\r\nContent-Length: 5\r\n\r\nknown"
	var tried atomic.Pointer[[]byte]
	g := start(f, func(_ int, c *peerConn) {
		for {
			r, err := http.ReadRequest(c.br)
			switch {
			case err != nil:
				return
			case r.URL.Path == "/known":
				c.Conn.Write([]byte(known))
			default:
				c.Conn.Write(*tried.Load())
				return // or it might wait for more
			}
		}
	})
	stop := make(chan bool)
	var reading sync.WaitGroup
	f.Cleanup(func() { close(stop); reading.Wait() })
	reading.Go(func() {
		for {
			select {
			case <-g.errs:
			case <-g.failed:
			case <-g.dialled:
			case <-stop:
				return
			}
		}
	})
	f.Fuzz(func(t *testing.T, sent []byte) {
		tried.Store(&sent)
		c, err := net.Dial("tcp", g.addr)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		c.SetDeadline(time.Now().Add(patience))
		io.WriteString(c, "GET /tried HTTP/1.1\r\nHost: a\r\n\r\nGET /known HTTP/1.1\r\nHost: a\r\n\r\n")
		var got bytes.Buffer
		br := bufio.NewReader(io.TeeReader(c, &got))
		resp, err := http.ReadResponse(br, nil)
		if err != nil {
			t.Fatalf("no answer: %v\n%q", err, got.Bytes())
		}
		wellFormed(t, got.Bytes())
		body, err := io.ReadAll(resp.Body)
		if err != nil {
			// It broke off: nothing may follow.
			if rest, _ := io.ReadAll(br); len(rest) > 0 {
				t.Fatalf("behind an answer that broke off came %q", rest)
			}
			return
		}
		if resp.StatusCode != 502 {
			sameAsGo(t, sent, resp, body)
		}
		if resp.Close {
			if rest, _ := io.ReadAll(br); len(rest) > 0 {
				t.Fatalf("behind the last answer came %q", rest)
			}
			return
		}
		next, err := http.ReadResponse(br, nil)
		if err != nil {
			t.Fatalf("no second answer: %v\n%q", err, got.Bytes())
		}
		if body, err := io.ReadAll(next.Body); err != nil || next.Header.Get("X-Known") != "yes" || string(body) != "known" {
			t.Fatalf("the second answer is %d %q, %v\n%q", next.StatusCode, body, err, got.Bytes())
		}
	})
}

// sameAsGo compares an answer with what Go reads of the origin's bytes, where it
// reads any.
func sameAsGo(t *testing.T, sent []byte, resp *http.Response, body []byte) {
	br := bufio.NewReader(bytes.NewReader(sent))
	for {
		direct, err := http.ReadResponse(br, nil)
		if err != nil {
			return
		}
		if direct.StatusCode < 200 {
			continue
		}
		want, err := io.ReadAll(direct.Body)
		if err == nil && (direct.StatusCode != resp.StatusCode || !bytes.Equal(want, body)) {
			t.Fatalf("forwarded %d %q, Go reads %d %q", resp.StatusCode, body, direct.StatusCode, want)
		}
		return
	}
}

// wellFormed looks at the header of an answer as it was received.
func wellFormed(t *testing.T, got []byte) {
	head, _, whole := bytes.Cut(got, []byte("\r\n\r\n"))
	if !whole {
		t.Fatalf("a header without an end: %q", got)
	}
	sizes := 0
	for i, line := range strings.Split(string(head), "\r\n") {
		if strings.ContainsAny(line, "\r\n\x00\x7f") {
			t.Fatalf("line %q", line)
		}
		if i == 0 {
			continue
		}
		name, value, ok := strings.Cut(line, ":")
		if !ok || name == "" || strings.ContainsAny(name, " \t") {
			t.Fatalf("line %q", line)
		}
		switch strings.ToLower(name) {
		case "content-length":
			if _, ok := number([]byte(strings.TrimSpace(value))); !ok {
				t.Fatalf("line %q", line)
			}
			sizes++
		case "transfer-encoding":
			if !strings.EqualFold(strings.TrimSpace(value), "chunked") {
				t.Fatalf("line %q", line)
			}
			sizes++
		}
	}
	if sizes > 1 {
		t.Fatalf("more than one length: %q", head)
	}
}
