package visitor

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sluicegate/sluice/loadtest/executor"
	"github.com/sluicegate/sluice/loadtest/metric"
)

// read reads one answer from text.
func read(text string, api bool) (*exchange, error) {
	x := &exchange{in: bufio.NewReaderSize(strings.NewReader(text), readBuffer), api: api}
	err := x.read()
	return x, err
}

func TestAnswersAreReadAsTheyAreSent(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, text, body string
		status, cookies  int
		close            bool
	}{
		{"with a length", "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc", "abc", 200, 0, false},
		{"in chunks with extensions and trailers", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3;x=y\r\nabc\r\n2\r\nde\r\n0\r\nA: b\r\n\r\n", "abcde", 200, 0, false},
		{"until the end", "HTTP/1.1 200 OK\r\n\r\nabc", "abc", 200, 0, true},
		{"by an old server", "HTTP/1.0 200 OK\r\nContent-Length: 3\r\n\r\nabc", "abc", 200, 0, true},
		{"that closes", "HTTP/1.1 200 OK\r\ncontent-length: 0\r\nCONNECTION: Close\r\n\r\n", "", 200, 0, true},
		{"without a reason", "HTTP/1.1 404\r\nContent-Length: 0\r\n\r\n", "", 404, 0, false},
		{"after an interim answer", "HTTP/1.1 103 Early Hints\r\nSet-Cookie: a=b\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\na", "a", 200, 0, false},
		{"without a body", "HTTP/1.1 204 No Content\r\nSet-Cookie: a=b\r\nSet-Cookie: c=d\r\n\r\n", "", 204, 2, false},
		{"not modified", "HTTP/1.1 304 Not Modified\r\nContent-Length: 30\r\n\r\n", "", 304, 0, false},
	} {
		x, err := read(c.text, true)
		if err != nil || x.ans.status != c.status || string(x.ans.body) != c.body || len(x.ans.cookies) != c.cookies || x.ans.close != c.close {
			t.Errorf("%s: %v, %+v", c.name, err, x.ans)
		}
		if err == nil && x.ans.in != len(c.text) {
			t.Errorf("%s: counted %d bytes of %d", c.name, x.ans.in, len(c.text))
		}
	}
}

func TestAnswersThatMeanNothingAreErrors(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", readBuffer)
	for _, text := range []string{
		"", "HTTP/1.1 200", "HTTP/2.0 200 OK\r\n\r\n", "hello\r\n\r\n", "HTTP/1.1 abc\r\n\r\n", "HTTP/1.1 099 x\r\n\r\n", "HTTP/1.1 2000 x\r\n\r\n",
		"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nabc",
		"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\n",
		"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\n",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabcd\r\n0\r\n\r\n", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n",
		"HTTP/1.1 200 OK\r\nno header\r\n\r\n", "HTTP/1.1 200 OK\r\n: x\r\n\r\n", "HTTP/1.1 101 Switching Protocols\r\n\r\n",
		"HTTP/1.1 200 OK\r\nA: " + long + "\r\n\r\n",
		"HTTP/1.1 200 OK\r\n" + strings.Repeat("A: "+long[:4000]+"\r\n", 20) + "\r\n",
	} {
		if x, err := read(text, false); err == nil {
			t.Errorf("%.60q was read as %+v", text, x.ans)
		}
	}
}

func FuzzRead(f *testing.F) {
	f.Add("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nSet-Cookie: sluice-drop=x; Max-Age=0\r\n\r\n3;x=y\r\nabc\r\n0\r\nA: b\r\n\r\n")
	f.Add("HTTP/1.1 429 x\r\nContent-Length: 30\r\nSluice-State: waiting\r\nRetry-After: 9\r\n\r\n{\"poll_after_seconds\":1.5,   }")
	f.Fuzz(func(t *testing.T, text string) {
		x, err := read(text, true)
		if err != nil {
			return
		}
		if x.ans.in > len(text) || len(x.ans.body) > len(text) {
			t.Errorf("%d bytes and a body of %d out of %d", x.ans.in, len(x.ans.body), len(text))
		}
		for _, c := range x.ans.cookies {
			_, _ = readCookie(c)
		}
		if p := pagePause(&x.ans); p < 500*time.Millisecond || p > 2*time.Minute {
			t.Errorf("a pause of %v", p)
		}
		// What the standard library refuses may be read, what it reads must be read alike.
		want, err := http.ReadResponse(bufio.NewReader(strings.NewReader(text)), nil)
		if err == nil && x.ans.status >= 200 && want.StatusCode >= 200 && want.StatusCode != x.ans.status {
			t.Errorf("status %d, want %d", x.ans.status, want.StatusCode)
		}
	})
}

// twice lets one visitor ask a fake for something twice.
func twice(t *testing.T, method string, answer func(q *question) string) (f *fake, first, second error) {
	t.Helper()
	f = newFake(t, answer)
	c, err := New(Config{Targets: []string{f.addr}, Room: "drop", Path: "/drop/", Journey: Defaults(), Metrics: metric.NewRegistry()})
	if err != nil {
		t.Fatal(err)
	}
	v := c.newVisitor(rand.New(rand.NewPCG(1, 1)))
	defer v.client.end()
	_, first = v.ask(t.Context(), stepPage, method, "/drop/", navigation, "", "text/plain")
	_, second = v.ask(t.Context(), stepPage, method, "/drop/", navigation, "", "text/plain")
	if n := len(c.open.free); n > 1 {
		t.Errorf("%d connections are counted as open", n)
	}
	return f, first, second
}

func TestAConnectionThatWasClosedMeanwhileIsOpenedAgain(t *testing.T) {
	t.Parallel()
	cut := func(q *question) string {
		if q.n == 1 {
			return "" // the gate had closed it just then
		}
		return shop("ann", "")
	}
	f, first, second := twice(t, "GET", cut)
	if first != nil || second != nil || f.connections() != 2 {
		t.Errorf("%v, %v, %d connections", first, second, f.connections())
	}
	f, first, second = twice(t, "POST", cut)
	if first != nil || second == nil || len(f.questions()) != 2 {
		t.Errorf("a form was sent again: %v, %v, %q", first, second, f.script())
	}
	_, first, second = twice(t, "GET", func(q *question) string {
		if q.n == 1 {
			q.cut = true
			return "HTTP/1.1 2"
		}
		return shop("ann", "")
	})
	if first != nil || second == nil {
		t.Errorf("an answer that had begun was asked for again: %v, %v", first, second)
	}
}

func TestBytesAfterTheAnswerAreAnError(t *testing.T) {
	t.Parallel()
	if _, first, _ := twice(t, "GET", func(q *question) string { return shop("ann", "") + "x" }); !errors.Is(first, errMalformed) {
		t.Error(first)
	}
}

func TestACloseIsObeyed(t *testing.T) {
	t.Parallel()
	f, first, second := twice(t, "GET", func(q *question) string { return shop("ann", "Connection: close\r\n") })
	if first != nil || second != nil || f.connections() != 2 {
		t.Errorf("%v, %v, %d connections", first, second, f.connections())
	}
}

func TestTheShopsCookiesAreKeptAndTakenBack(t *testing.T) {
	t.Parallel()
	f := newFake(t, func(q *question) string {
		switch q.n {
		case 0:
			return shop("ann", "Set-Cookie: cart=1; Path=/\r\nSet-Cookie: lang=\"ko\"\r\n"+set("pass"))
		case 1:
			return shop("ann", "Set-Cookie: cart=; Max-Age=0\r\nSet-Cookie: lang=en\r\nSet-Cookie: nonsense\r\n")
		}
		return shop("ann", "")
	})
	j := hurried()
	j.Pages = Loads{Count: 3}
	rehearse(t, []string{f.addr}, 1, 0, j)
	var got []string
	for _, q := range f.questions() {
		got = append(got, q.all)
	}
	if want := `["" "sluice-drop=pass; cart=1; lang=\"ko\"" "sluice-drop=pass; lang=en"]`; fmt.Sprintf("%q", got) != want {
		t.Errorf("%q", got)
	}
}

func TestAGateIsVisitedOverTLS(t *testing.T) {
	t.Parallel()
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = w.Write([]byte("a page"))
	}))
	s.TLS = &tls.Config{MinVersion: tls.VersionTLS12}
	s.StartTLS()
	t.Cleanup(s.Close)
	for _, insecure := range []bool{true, false} {
		reg := metric.NewRegistry()
		c, err := New(Config{Targets: []string{s.URL}, Room: "drop", Path: "/", Journey: hurried(), Metrics: reg, InsecureTLS: insecure})
		if err != nil {
			t.Fatal(err)
		}
		v := c.newVisitor(rand.New(rand.NewPCG(1, 1)))
		_, err = v.navigate(t.Context(), stepPage)
		if insecure != (err == nil) {
			t.Errorf("insecure %v: %v", insecure, err)
		}
		if !insecure {
			continue
		}
		of := func(name string) metric.Values { return reg.Lookup(name).Select(metric.Tags{}) }
		blocked, connecting, handshaking := of(metric.HTTPReqBlocked), of(metric.HTTPReqConnecting), of(metric.HTTPReqTLS)
		if handshaking.Samples != 1 || handshaking.Max == 0 {
			t.Errorf("%d handshakes, of %v ms", handshaking.Samples, handshaking.Max)
		}
		if blocked.Max < connecting.Max+handshaking.Max {
			t.Errorf("blocked for %v ms, which are to include %v ms of connecting and %v ms of handshaking", blocked.Max, connecting.Max, handshaking.Max)
		}
		if _, err = v.navigate(t.Context(), stepPage); err != nil {
			t.Error(err)
		}
		if handshaking = of(metric.HTTPReqTLS); handshaking.Samples != 2 || handshaking.Min != 0 {
			t.Errorf("%d handshakes, the shortest of %v ms, after a request that needed none", handshaking.Samples, handshaking.Min)
		}
		v.client.close()
	}
}

func TestWhoWaitsInVainHasWaited(t *testing.T) {
	t.Parallel()
	over := make(chan struct{})
	f := newFake(t, func(q *question) string {
		<-over
		return ""
	})
	t.Cleanup(func() { close(over) }) // before the fake waits for its answers
	j := hurried()
	j.Timeouts.Page = 50 * time.Millisecond
	reg := metric.NewRegistry()
	c, err := New(Config{Targets: []string{f.addr}, Room: "drop", Path: "/drop/", Journey: j, Metrics: reg})
	if err != nil {
		t.Fatal(err)
	}
	v := c.newVisitor(rand.New(rand.NewPCG(1, 1)))
	if _, err := v.navigate(t.Context(), stepJoin); !isTimeout(err) {
		t.Errorf("%v, want a timeout", err)
	}
	// The deadline counts from when the request began to be sent.
	duration, waiting := reg.Lookup(metric.HTTPReqDuration).Select(metric.Tags{}), reg.Lookup(metric.HTTPReqWaiting).Select(metric.Tags{})
	if duration.Samples != 1 || duration.Max < 50 || waiting.Max == 0 {
		t.Errorf("%d requests took %v ms, of them %v waiting, although nobody answered for 50", duration.Samples, duration.Max, waiting.Max)
	}
}

// waitedFor is a context that tells when somebody looks whether it is over, as one
// does who waits for something else.
type waitedFor struct {
	context.Context
	once  sync.Once
	waits chan struct{}
}

func (c *waitedFor) Done() <-chan struct{} {
	c.once.Do(func() { close(c.waits) })
	return c.Context.Done()
}

func TestWhoFindsNoFreeConnectionWaitsForOne(t *testing.T) {
	t.Parallel()
	f := newFake(t, func(q *question) string { return shop("ann", "") })
	open, err := NewConnections(1)
	if err != nil {
		t.Fatal(err)
	}
	reg := metric.NewRegistry()
	c, err := New(Config{Targets: []string{f.addr}, Room: "drop", Path: "/drop/", Journey: hurried(), Metrics: reg, Open: open})
	if err != nil {
		t.Fatal(err)
	}
	if err := c.acquireConn(t.Context()); err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	ctx := &waitedFor{Context: t.Context(), waits: make(chan struct{})}
	go func() {
		c.Visit(ctx, &executor.VU{Rand: rand.New(rand.NewPCG(1, 1))}, time.Now())
		close(done)
	}()
	<-ctx.waits
	for began := time.Now(); time.Since(began) < 20*time.Millisecond; { // long enough to be seen
	}
	c.releaseConn()
	<-done
	if b := reg.Lookup(metric.HTTPReqBlocked).Select(metric.Tags{}); b.Max < 5 || f.connections() != 1 {
		t.Errorf("blocked for %v ms, %d connections", b.Max, f.connections())
	}
}

func BenchmarkARequestOverAKeptConnection(b *testing.B)     { benchmark(b, false) }
func BenchmarkARequestOverAConnectionOfItsOwn(b *testing.B) { benchmark(b, true) }

// benchmark includes what the fake costs.
func benchmark(b *testing.B, fresh bool) {
	answer := stands(5, 2)
	f := newFake(b, func(q *question) string { return answer })
	f.quiet = true
	c, err := New(Config{Targets: []string{f.addr}, Room: "drop", Path: "/drop/", Journey: Defaults(), Metrics: metric.NewRegistry()})
	if err != nil {
		b.Fatal(err)
	}
	v := c.newVisitor(rand.New(rand.NewPCG(1, 1)))
	v.jar.ours = strings.Repeat("t", 92)
	defer v.client.end()
	b.ReportAllocs()
	for b.Loop() {
		if _, err := v.poll(b.Context()); err != nil {
			b.Fatal(err)
		}
		if fresh {
			v.client.close()
		}
	}
}
