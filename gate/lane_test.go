package gate

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"net"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/valyala/fasthttp"

	"github.com/sluicegate/sluice/gate/door"
	"github.com/sluicegate/sluice/gate/proxy"
	"github.com/sluicegate/sluice/gate/token"
	"github.com/sluicegate/sluice/queue"
)

// scripted is a connection that brings pieces and keeps what is written.
type scripted struct {
	net.Conn
	pieces  []string
	written bytes.Buffer
	onWrite func()
	closed  bool
}

func (s *scripted) Read(p []byte) (int, error) {
	if len(s.pieces) == 0 {
		return 0, io.EOF
	}
	n := copy(p, s.pieces[0])
	s.pieces = s.pieces[1:]
	return n, nil
}

func (s *scripted) Write(p []byte) (int, error) {
	if s.onWrite != nil {
		s.onWrite()
	}
	return s.written.Write(p)
}

func (s *scripted) Close() error                     { s.closed = true; return nil }
func (s *scripted) LocalAddr() net.Addr              { return s.RemoteAddr() }
func (s *scripted) RemoteAddr() net.Addr             { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 9} }
func (s *scripted) SetReadDeadline(time.Time) error  { return nil }
func (s *scripted) SetWriteDeadline(time.Time) error { return nil }

// between returns a connection with a lane whose server waits for a request.
func (g testGate) between(s *Server, pieces ...string) (*laneConn, *scripted) {
	inner := &scripted{pieces: pieces}
	c := &laneConn{Conn: proxy.Strict(inner, nil), server: s}
	c.mark(fasthttp.StateIdle)
	return c, inner
}

func pollOf(ticket string) string {
	return "GET /.sluice/rooms/drop HTTP/1.1\r\nHost: shop.example\r\nConnection: keep-alive\r\nUser-Agent: Mozilla/5.0\r\nAccept: */*\r\n" +
		"Sec-Fetch-Mode: cors\r\nReferer: https://shop.example/drop\r\nAccept-Encoding: gzip, deflate, br\r\nCookie: theme=dark; sluice-drop=" + ticket + "\r\n\r\n"
}

// what of an answer is left to chance, or to the moment.
var (
	pollAfter = regexp.MustCompile(`(?m)"(poll_after|age)_seconds":[0-9.]+|^Retry-After: \d+|^(Date|Content-Length): .*`)
	endOfLine = regexp.MustCompile(`\r\n`)
)

func readAnswer(t testing.TB, r *bufio.Reader) (header []string, body string) {
	t.Helper()
	var a fasthttp.Response
	a.Header.DisableNormalizing()
	if err := a.Read(r); err != nil {
		t.Fatalf("no answer: %v", err)
	}
	lines := endOfLine.Split(pollAfter.ReplaceAllString(a.Header.String(), "*"), -1)
	slices.Sort(lines)
	return lines, pollAfter.ReplaceAllString(string(a.Body()), "*")
}

func TestAPollIsAnsweredInItsLaneAsByTheServer(t *testing.T) {
	g := openTestGate(t, func(s *queue.Settings) { s.Mode = queue.ModeHold })
	ticket := g.join(t)
	g.waitForLadder(t, 1)
	for name, poll := range map[string]string{
		"with a cookie": pollOf(ticket),
		"with a header": strings.Replace(pollOf(""), "Accept: */*", "sluice-token: "+ticket, 1),
	} {
		t.Run(name, func(t *testing.T) {
			c, inner := g.between(NewServer(g.Gate, door.Limits{Conns: 10}), poll)
			if n, err := c.Read(make([]byte, 4096)); n != 0 || err != io.EOF {
				t.Fatalf("the server was handed %d bytes and %v, want the poll answered before the end", n, err)
			}
			g.isAnsweredAlike(t, []byte(poll), &inner.written)
		})
	}
}

// isAnsweredAlike compares an answer of the lane with the server's.
func (g testGate) isAnsweredAlike(t *testing.T, raw []byte, answer *bytes.Buffer) {
	t.Helper()
	var ctx fasthttp.RequestCtx
	ctx.Init2(&net.TCPConn{}, nil, false)
	ctx.Request.Header.DisableNormalizing()
	ctx.Response.Header.DisableNormalizing()
	r := bufio.NewReader(bytes.NewReader(raw))
	if err := ctx.Request.Read(r); err != nil {
		t.Fatalf("the server cannot read it: %v", err)
	}
	if _, err := r.ReadByte(); !errors.Is(err, io.EOF) {
		t.Fatal("the server reads another request behind it")
	}
	g.Handle(&ctx)
	var whole bytes.Buffer
	w := bufio.NewWriter(&whole)
	_ = ctx.Response.Write(w)
	_ = w.Flush()
	wantHeader, wantBody := readAnswer(t, bufio.NewReader(&whole))
	header, body := readAnswer(t, bufio.NewReader(answer))
	if strings.Join(header, "\n") != strings.Join(wantHeader, "\n") || body != wantBody {
		t.Errorf("in the lane:\n%s\n%s\nby the server:\n%s\n%s", strings.Join(header, "\n"), body, strings.Join(wantHeader, "\n"), wantBody)
	}
}

// anyName are certificates for every host.
type anyName struct{}

func (anyName) Covers(string) bool                        { return true }
func (anyName) Challenge(_, _ string) (int, []byte, bool) { return 0, nil, false }

func TestAPollThatIsToBeMadeByHTTPSIsSentOnByTheServer(t *testing.T) {
	g := openTestGate(t, func(s *queue.Settings) { s.Mode = queue.ModeHold })
	poll := pollOf(g.join(t))
	g.waitForLadder(t, 1)
	g.certs = anyName{}
	s := NewServer(g.Gate, door.Limits{Conns: 10})
	site := g.site.Load()
	plain := func(overTLS bool) (handed int, answer *bytes.Buffer) {
		c, inner := g.between(s, poll)
		c.overTLS = overTLS
		n, err := c.Read(make([]byte, 4096))
		if err != nil && err != io.EOF {
			t.Fatal(err)
		}
		return n, &inner.written
	}
	if n, answer := plain(false); n > 0 || answer.Len() == 0 {
		t.Error("the lane left a poll to the server where nobody is sent on")
	}
	site.https.redirect = 308
	if n, answer := plain(false); n != len(poll) || answer.Len() > 0 {
		t.Errorf("the lane answered %q, and the server redirects", answer)
	}
	if r := g.do(t, poll); r.StatusCode() != 308 {
		t.Errorf("the server answered %d", r.StatusCode())
	}
	if n, answer := plain(true); n > 0 || !strings.HasPrefix(answer.String(), "HTTP/1.1 200 OK\r\n") {
		t.Errorf("a poll by TLS is answered %q", answer)
	}
	site.https.strict = "Strict-Transport-Security: max-age=60"
	if _, answer := plain(true); !strings.Contains(answer.String(), "\r\nStrict-Transport-Security: max-age=60\r\n") {
		t.Errorf("without what keeps browsers at https: %s", answer)
	}
	site.secure = true // so that the server, which is given no connection here, sees https too
	_, answer := plain(true)
	g.isAnsweredAlike(t, []byte(poll), answer)
}

func TestALaneAnswersEveryPollOfAConnection(t *testing.T) {
	g := openTestGate(t, func(s *queue.Settings) { s.Mode = queue.ModeHold })
	poll := pollOf(g.join(t))
	g.waitForLadder(t, 1)
	const other = "GET / HTTP/1.1\r\nHost: shop.example\r\n\r\n"
	c, inner := g.between(NewServer(g.Gate, door.Limits{Conns: 10}), poll, poll+poll, poll, other)
	p := make([]byte, 4096)
	if n, err := c.Read(p); err != nil || string(p[:n]) != other {
		t.Fatalf("the server got %q and %v", p[:n], err)
	}
	if n := strings.Count(inner.written.String(), "HTTP/1.1 200 OK\r\n"); n != 4 {
		t.Errorf("%d answers to four polls", n)
	}
}

func TestALaneLeavesWhatIsUnusualToTheServer(t *testing.T) {
	g := openTestGate(t, func(s *queue.Settings) { s.Mode = queue.ModeHold })
	ticket := g.join(t)
	g.waitForLadder(t, 1)
	s := g.site.Load()
	now := s.rooms[0].line.Time()
	pass := string(s.ring.Append(nil, &token.Token{
		Kind: token.Pass, Room: s.rooms[0].id, ID: 7, Place: now, Issued: now, Called: now, Until: now.Add(10 * time.Minute),
	}))
	poll := pollOf(ticket)
	with := func(field string) string {
		return strings.Replace(poll, "Accept: */*\r\n", field+"\r\n", 1)
	}
	const refused = "\x00\r\n\r\n" // stands for a request that can be read in two ways
	for name, piece := range map[string]string{
		"a body":                   with("Content-Length: 5") + "hello",
		"a body to come":           with("Content-Length: 5"),
		"a length of nothing":      with("Content-Length: 0"),
		"chunks":                   with("Transfer-Encoding: chunked"),
		"an expectation":           with("Expect: 100-continue"),
		"an upgrade":               with("Upgrade: websocket"),
		"a connection that closes": strings.Replace(poll, "keep-alive", "close", 1),
		"fields of this hop":       strings.Replace(poll, "keep-alive", "keep-alive, X", 1),
		"HTTP/1.0":                 strings.Replace(poll, "HTTP/1.1", "HTTP/1.0", 1),
		"a query":                  strings.Replace(poll, "/drop ", "/drop?a ", 1),
		"another method":           strings.Replace(poll, "GET", "PUT", 1),
		"a join":                   strings.Replace(poll, "GET", "POST", 1),
		"another room":             strings.Replace(poll, "rooms/drop", "rooms/dro", 1),
		"another path":             strings.Replace(poll, "rooms/drop", "rooms/drop/", 1),
		"two Hosts":                with("Host: shop.example"),
		"no Host":                  strings.Replace(poll, "Host: shop.example\r\n", "", 1),
		"a Host with a user":       strings.Replace(poll, "Host: shop", "Host: me@shop", 1),
		"a folded line":            with("Accept:\r\n */*"),
		"a bare LF":                with("Accept: */*\nX: y"),
		"a bare CR":                with("Accept: */*\rX: y"),
		"a space before a colon":   with("Accept : */*"),
		"a NUL":                    with("Accept: \x00"),
		"no ticket":                strings.Replace(poll, ticket, "", 1),
		"a forged ticket":          strings.Replace(poll, ticket, ticket[:20]+strings.Map(func(r rune) rune { return map[bool]rune{true: 'B', false: 'A'}[r == 'A'] }, ticket[20:]), 1),
		"a pass":                   strings.Replace(poll, ticket, pass, 1),
	} {
		t.Run(name, func(t *testing.T) {
			if piece == poll {
				t.Fatal("this is no other request than a poll")
			}
			c, inner := g.between(NewServer(g.Gate, door.Limits{Conns: 10}), piece)
			p := make([]byte, 4096)
			n, err := c.Read(p)
			if err != nil || string(p[:n]) != piece && string(p[:n]) != refused {
				t.Errorf("the server got %q and %v, want all of it, or what it answers with 400", p[:n], err)
			}
			if inner.written.Len() > 0 {
				t.Errorf("the lane answered %q", inner.written.String())
			}
		})
	}
}

func TestWhatAConnectionBroughtBeforeMakesNoTokenValid(t *testing.T) {
	g := openTestGate(t, func(s *queue.Settings) { s.Mode = queue.ModeHold })
	first, second := g.join(t), g.join(t)
	g.waitForLadder(t, 2)
	s := NewServer(g.Gate, door.Limits{Conns: 10})
	c, inner := g.between(s)
	says := func(ticket string) string {
		t.Helper()
		inner.written.Reset()
		inner.pieces = []string{pollOf(ticket)}
		c.mark(fasthttp.StateIdle)
		n, err := c.Read(make([]byte, 4096))
		if err != nil && err != io.EOF {
			t.Fatal(err)
		}
		if n > 0 {
			return "left to the server"
		}
		return string(regexp.MustCompile(`"position":\d+`).Find(inner.written.Bytes()))
	}
	for range 2 { // as by a proxy's connection
		for i, ticket := range []string{first, first, second, second} {
			if got, want := says(ticket), `"position":`+strconv.Itoa(1+i/2); got != want {
				t.Errorf("the holder of ticket %d is told %s, want %s", 1+i/2, got, want)
			}
		}
	}
	last := map[bool]string{true: "B", false: "A"}[strings.HasSuffix(second, "A")]
	forged := second[:len(second)-1] + last
	if got := says(forged); got != "left to the server" {
		t.Errorf("a forged ticket behind the true one: %s", got)
	}
	says(second)
	keys := *g.site.Load()
	ring, err := token.NewRing([]string{"other keys, by a reload, of thirty-two bytes"})
	if err != nil {
		t.Fatal(err)
	}
	keys.ring = ring
	g.site.Store(&keys)
	if got := says(second); got != "left to the server" {
		t.Errorf("a ticket by a key that is not in force any more: %s", got)
	}
}

func TestALaneWaitsForTheWholeOfARequest(t *testing.T) {
	g := openTestGate(t, func(s *queue.Settings) { s.Mode = queue.ModeHold })
	poll := pollOf(g.join(t))
	g.waitForLadder(t, 1)
	for name, piece := range map[string]string{
		"half a request": poll[:len(poll)-3],
		"no last line":   poll[:len(poll)-2],
	} {
		c, inner := g.between(NewServer(g.Gate, door.Limits{Conns: 10}), piece)
		if _, err := c.Read(make([]byte, 4096)); err != io.ErrUnexpectedEOF || inner.written.Len() > 0 {
			t.Errorf("%s: answered %q, %v", name, inner.written.String(), err)
		}
		c, inner = g.between(NewServer(g.Gate, door.Limits{Conns: 10}), piece, poll[len(piece):])
		if _, err := c.Read(make([]byte, 4096)); err != io.EOF || inner.written.Len() == 0 {
			t.Errorf("%s, and then the rest: answered %q, %v", name, inner.written.String(), err)
		}
	}
}

func TestNothingWithinARequestIsTakenForAPoll(t *testing.T) {
	g := openTestGate(t, func(s *queue.Settings) { s.Mode = queue.ModeHold })
	poll := pollOf(g.join(t))
	g.waitForLadder(t, 1)
	// The body of a leave is a poll: each piece comes alone, and nothing answers it.
	inner := &scripted{pieces: []string{
		poll, // the server's
		poll, // the lane's
		"DELETE /.sluice/rooms/none HTTP/1.1\r\nHost: shop.example\r\nContent-Length: " + strconv.Itoa(len(poll)) + "\r\n\r\n",
		poll,
		"GET /.sluice/health HTTP/1.1\r\nHost: shop.example\r\nConnection: close\r\n\r\n",
	}}
	s := NewServer(g.Gate, door.Limits{Conns: 10})
	c := &laneConn{Conn: proxy.Strict(inner, nil), server: s}
	var inLane []bool
	inner.onWrite = func() { inLane = append(inLane, c.state.Load() == laneBusy) }
	if err := s.http.ServeConn(c); err != nil {
		t.Fatal(err)
	}
	if want := []bool{false, true, false, false}; !slices.Equal(inLane, want) {
		t.Errorf("answered in the lane: %v, want %v", inLane, want)
	}
	r := bufio.NewReader(&inner.written)
	for i, status := range []string{"200", "200", "404", "503"} { // nobody said that the gate is ready
		header, _ := readAnswer(t, r)
		if !strings.Contains(strings.Join(header, "\n"), "HTTP/1.1 "+status) {
			t.Errorf("answer %d: %q, want %s", i, header, status)
		}
	}
	if rest, err := io.ReadAll(r); err != nil || len(rest) > 0 {
		t.Errorf("and then %q, %v", rest, err)
	}
}

func TestAConnectionClosesAfterThePollThatIsBeingAnswered(t *testing.T) {
	g := openTestGate(t, func(s *queue.Settings) { s.Mode = queue.ModeHold })
	poll := pollOf(g.join(t))
	g.waitForLadder(t, 1)
	c, inner := g.between(NewServer(g.Gate, door.Limits{Conns: 10}), poll, poll)
	inner.onWrite = func() {
		if err := c.Close(); err != nil || inner.closed {
			t.Errorf("closed %v with %v while the answer was under way", inner.closed, err)
		}
	}
	if n, err := c.Read(make([]byte, 4096)); n != 0 || err != io.EOF {
		t.Errorf("the server was handed %d bytes and %v", n, err)
	}
	if !inner.closed {
		t.Error("the connection stayed open")
	}
	if n := strings.Count(inner.written.String(), "HTTP/1.1 200 OK\r\n"); n != 1 {
		t.Errorf("%d answers", n)
	}
}

func TestAServerThatStopsTakesItsPollsItself(t *testing.T) {
	g := openTestGate(t, func(s *queue.Settings) { s.Mode = queue.ModeHold })
	poll := pollOf(g.join(t))
	g.waitForLadder(t, 1)
	s := NewServer(g.Gate, door.Limits{Conns: 10})
	if err := s.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	c, _ := g.between(s, poll)
	if n, err := c.Read(make([]byte, 4096)); n != len(poll) || err != nil {
		t.Errorf("the server got %d bytes and %v, want the poll", n, err)
	}
}

func TestTheCallOfAVisitorIsTakenInTheLane(t *testing.T) {
	g := openTestGate(t, func(s *queue.Settings) { s.Mode = queue.ModeHold })
	poll := pollOf(g.join(t))
	g.waitForLadder(t, 1)
	s := NewServer(g.Gate, door.Limits{Conns: 10})
	line := g.site.Load().rooms[0].line
	g.site.Load().secure = true
	open := *line.Settings()
	open.Mode = queue.ModeAuto
	line.SetFile(open)
	for end := time.Now().Add(20 * time.Second); ; {
		c, inner := g.between(s, poll)
		if _, err := c.Read(make([]byte, 4096)); err != io.EOF {
			t.Fatal(err)
		}
		answer := inner.written.String()
		if strings.Contains(answer, `"state":"admitted"`) {
			if !strings.Contains(answer, "\r\nSluice-State: admitted\r\n") || !strings.Contains(answer, "\r\nSet-Cookie: sluice-drop=") || !strings.Contains(answer, "; Secure\r\n") {
				t.Errorf("let in without a pass: %s", answer)
			}
			return
		}
		if time.Now().After(end) {
			t.Fatalf("never let in: %s", answer)
		}
	}
}

// FuzzLane: whatever a lane answers, the server answers alike.
func FuzzLane(f *testing.F) {
	g := openTestGate(f, func(s *queue.Settings) { s.Mode = queue.ModeHold })
	ticket := g.join(f)
	g.waitForLadder(f, 1)
	s := NewServer(g.Gate, door.Limits{Conns: 10})
	poll := pollOf(ticket)
	for _, seed := range []string{
		poll, poll + poll, strings.Replace(poll, "Accept: */*", "Sluice-Token: "+ticket, 1), strings.Replace(poll, "Accept: */*", "Sluice-Token:", 1),
		strings.Replace(poll, "Cookie: ", "Cookie: sluice-drop=x; ", 1), strings.Replace(poll, "Cookie: ", "Cookie: a=b\r\ncookie: ", 1),
		strings.Replace(poll, "Accept: */*", "Content-Length: 0", 1), strings.ReplaceAll(poll, "\r\n", "\n"),
	} {
		f.Add([]byte(strings.ReplaceAll(seed, ticket, "TICKET")))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		raw = bytes.ReplaceAll(raw, []byte("TICKET"), []byte(ticket))
		if len(raw) > 8000 {
			return
		}
		c, inner := g.between(s, string(raw))
		p := make([]byte, 8192)
		n, err := c.Read(p)
		if bytes.Equal(p[:n], raw) && inner.written.Len() > 0 {
			t.Fatalf("answered, and handed to the server: %v", err)
		}
		if n == 0 && bytes.Count(inner.written.Bytes(), []byte("HTTP/1.1 200 OK")) == 1 {
			g.isAnsweredAlike(t, raw, &inner.written)
		}
	})
}
