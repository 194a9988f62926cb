package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/sluicegate/sluice/gate/config"
	"github.com/sluicegate/sluice/gate/token"
	"github.com/sluicegate/sluice/queue/queuetest/proc"
)

// asSluice makes the test binary be sluice itself.
const asSluice = "SLUICE_TEST_AS_SLUICE"

// environment is what the test binary needs to be sluice, and nothing of the test's.
// Under the race detector it would sleep for a second before it ends.
var environment = []string{asSluice + "=1", "GORACE=atexit_sleep_ms=0"}

func init() {
	if os.Getenv(asSluice) == "1" || os.Args[0] == "sluice" { // as workers of a rehearsal are started
		os.Exit(execute())
	}
}

// secret signs the tokens of every gate under test, so that a test can read them.
const secret = "a secret of the tests that nobody else has"

// readToken returns what a gate signed, or false for anything else.
func readToken(text string) (token.Token, bool) {
	ring, err := token.NewRing([]string{secret})
	if err != nil {
		panic(err)
	}
	var t token.Token
	ok := ring.Verify([]byte(text), &t)
	return t, ok
}

// A browser is one visitor with cookies of their own. Every request goes to one
// of the gates at random. One goroutine owns it.
type browser struct {
	http    *http.Client
	gates   []string // http://host:port
	room    string
	headers http.Header // sent with every request
	cookies []*http.Cookie
}

// reply is a whole answer.
type reply struct {
	status int
	header http.Header
	body   []byte
}

// stand is what the visitor API says.
type stand struct {
	Room      string
	State     string
	Position  *int64
	Waiting   *int64
	Estimate  *struct{ Low, High int64 } `json:"estimate_seconds"`
	PollAfter float64                    `json:"poll_after_seconds"`
	Age       *float64                   `json:"age_seconds"`
	Message   *string
	Called    int64
	Detail    string
}

// wait is when the visitor is asked to ask again.
func (s *stand) wait() time.Duration { return time.Duration(s.PollAfter * float64(time.Second)) }

func (r *reply) stand() (s stand, err error) {
	if got := r.header.Get("Content-Type"); got != "application/json" {
		return s, fmt.Errorf("status %d of type %q, want JSON", r.status, got)
	}
	err = json.Unmarshal(r.body, &s)
	return s, err
}

func (b *browser) cookie(name string) string {
	for _, c := range b.cookies {
		if c.Name == name {
			return c.Value
		}
	}
	return ""
}

// token returns what the visitor holds, nothing if that is no valid token.
func (b *browser) token() token.Token {
	t, _ := readToken(b.cookie("sluice-" + b.room))
	return t
}

func (b *browser) set(c *http.Cookie) {
	b.cookies = slices.DeleteFunc(b.cookies, func(old *http.Cookie) bool { return old.Name == c.Name })
	if c.MaxAge >= 0 {
		b.cookies = append(b.cookies, c)
	}
}

// jar is the Cookie header, without our cookies if bare.
func (b *browser) jar(bare bool) string {
	var pairs []string
	for _, c := range b.cookies {
		if !bare || !strings.HasPrefix(c.Name, "sluice-") {
			pairs = append(pairs, c.Name+"="+c.Value)
		}
	}
	return strings.Join(pairs, "; ")
}

func (b *browser) do(ctx context.Context, method, path string, header http.Header, body string) (*reply, error) {
	gate := b.gates[rand.IntN(len(b.gates))]
	req, err := http.NewRequestWithContext(ctx, method, gate+path, strings.NewReader(body))
	if err != nil {
		return nil, err
	}
	for _, h := range []http.Header{b.headers, header} {
		for name, values := range h {
			if name == "Host" {
				req.Host = values[0]
				continue
			}
			req.Header[name] = values
		}
	}
	if jar := b.jar(false); jar != "" {
		req.Header.Set("Cookie", jar)
	}
	resp, err := b.http.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	r := &reply{status: resp.StatusCode, header: resp.Header}
	if r.body, err = io.ReadAll(resp.Body); err != nil {
		return nil, fmt.Errorf("%s %s: %w", method, path, err)
	}
	for _, c := range resp.Cookies() {
		b.set(c)
	}
	return r, nil
}

var (
	// navigation are the headers of a browser that opens a page.
	navigation = http.Header{
		"Accept":         {"text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"},
		"Sec-Fetch-Mode": {"navigate"}, "Sec-Fetch-Dest": {"document"}, "Sec-Fetch-Site": {"none"}, "Sec-Fetch-User": {"?1"},
		"Upgrade-Insecure-Requests": {"1"}, "Accept-Language": {"en"}, "Accept-Encoding": {"identity"},
	}
	// script are the headers of the waiting page's own requests.
	script = http.Header{
		"Accept":         {"application/json"},
		"Sec-Fetch-Mode": {"cors"}, "Sec-Fetch-Dest": {"empty"}, "Sec-Fetch-Site": {"same-origin"},
		"Accept-Encoding": {"identity"},
	}
)

// open opens a page, as the address bar does.
func (b *browser) open(ctx context.Context, path string) (*reply, error) {
	return b.do(ctx, "GET", path, navigation, "")
}

// ask is a request of the visitor API.
func (b *browser) ask(ctx context.Context, method string) (*reply, stand, error) {
	r, err := b.do(ctx, method, "/.sluice/rooms/"+b.room, script, "")
	if err != nil {
		return nil, stand{}, err
	}
	if r.status != http.StatusOK {
		return nil, stand{}, fmt.Errorf("%s of the visitor API: status %d: %s", method, r.status, r.body)
	}
	s, err := r.stand()
	return r, s, err
}

// leave gives back what the visitor holds.
func (b *browser) leave(ctx context.Context) error {
	r, err := b.do(ctx, "DELETE", "/.sluice/rooms/"+b.room, script, "")
	if err == nil && r.status != http.StatusNoContent {
		err = fmt.Errorf("DELETE of the visitor API: status %d: %s", r.status, r.body)
	}
	return err
}

// newTransport has a connection for everybody at once.
func newTransport(t testing.TB) *http.Transport {
	transport := &http.Transport{
		DialContext:         (&net.Dialer{Timeout: 10 * time.Second}).DialContext,
		MaxIdleConnsPerHost: 5000,
		DisableCompression:  true,
	}
	t.Cleanup(transport.CloseIdleConnections)
	return transport
}

// gateProcess is a sluice of its own.
type gateProcess struct {
	t                   testing.TB
	visitors, operators string // http://host:port
	file                string // of the configuration
	log                 string // file of what it prints
	cmd                 *exec.Cmd
	done                chan struct{}
	stopped             bool
}

// shipped is sluice as it is shipped, built for the first test that asks.
var shipped struct {
	once sync.Once
	dir  string // removed behind the last test
	err  error
}

func TestMain(m *testing.M) {
	code := m.Run()
	_ = os.RemoveAll(shipped.dir)
	os.Exit(code)
}

// buildSluice builds sluice as it is shipped, without what the test was built with.
func buildSluice(t testing.TB) (program string) {
	t.Helper()
	compiler := proc.Need(t, "go")
	shipped.once.Do(func() {
		if shipped.dir, shipped.err = os.MkdirTemp("", "sluice"); shipped.err != nil {
			return
		}
		if out, err := exec.Command(compiler, "build", "-o", shipped.dir, ".").CombinedOutput(); err != nil {
			shipped.err = fmt.Errorf("go build: %w\n%s", err, out)
		}
	})
	if shipped.err != nil {
		t.Fatal(shipped.err)
	}
	return filepath.Join(shipped.dir, "sluice")
}

// sluice is the test binary, which is sluice too: with the race detector if the
// test has it.
func sluice(t testing.TB) (program string) {
	t.Helper()
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return program
}

// startGate runs a program with a configuration at two free ports.
func startGate(t testing.TB, program, file string) *gateProcess {
	t.Helper()
	return startGateAt(t, program, file, proc.FreePort(t), proc.FreePort(t))
}

func startGateAt(t testing.TB, program, file string, visitors, operators int) *gateProcess {
	t.Helper()
	address := func(port int) string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(port)) }
	log, err := os.CreateTemp(t.TempDir(), "log")
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	g := &gateProcess{
		t: t, visitors: "http://" + address(visitors), operators: "http://" + address(operators),
		file: file, log: log.Name(), done: make(chan struct{}),
		cmd: exec.Command(program, "serve", "-c", file, "--listen", address(visitors), "--admin", address(operators)),
	}
	g.cmd.Env = environment
	g.cmd.Stdout, g.cmd.Stderr = log, log
	g.run()
	return g
}

// run starts the gate and waits until it is ready.
func (g *gateProcess) run() {
	t := g.t
	t.Helper()
	if err := g.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		_ = g.cmd.Wait() // the exit code tells
		close(g.done)
	}()
	t.Cleanup(func() {
		if !g.stopped {
			_ = g.cmd.Process.Kill()
			<-g.done
		}
		if t.Failed() {
			text := g.printed()
			t.Logf("the gate at %s printed:\n%s", g.visitors, text[max(0, len(text)-4000):])
		}
	})
	await(t, "the gate is ready", func() error {
		select {
		case <-g.done:
			t.Fatalf("the gate ended at once: %s\n%s", g.cmd.ProcessState, g.printed())
		default:
		}
		return ready(g.operators)
	})
}

func (g *gateProcess) printed() string {
	text, err := os.ReadFile(g.log)
	if err != nil {
		return err.Error()
	}
	return string(text)
}

func (g *gateProcess) signal(s os.Signal) {
	g.t.Helper()
	if err := g.cmd.Process.Signal(s); err != nil {
		g.t.Fatal(err)
	}
}

// ended waits for the end of a gate that was asked to stop, which is a good one.
func (g *gateProcess) ended() {
	g.t.Helper()
	patience := time.NewTimer(time.Minute)
	defer patience.Stop()
	select {
	case <-g.done:
	case <-patience.C:
		g.t.Fatal("the gate does not stop")
	}
	g.stopped = true
	if code := g.cmd.ProcessState.ExitCode(); code != 0 {
		g.t.Errorf("the gate at %s ended with exit code %d", g.visitors, code)
	}
	for line := range strings.Lines(g.printed()) {
		var entry struct{ Level string }
		if err := json.Unmarshal([]byte(line), &entry); err != nil || entry.Level == "ERROR" {
			g.t.Errorf("the gate at %s printed: %s", g.visitors, line)
		}
	}
}

func (g *gateProcess) stop() {
	g.t.Helper()
	g.signal(syscall.SIGTERM)
	g.ended()
}

func ready(operators string) error {
	resp, err := http.Get(operators + "/readyz")
	if err != nil {
		return err
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("status %d", resp.StatusCode)
	}
	return nil
}

// await asks again and again until ask finds what it looks for.
func await(t testing.TB, what string, ask func() error) {
	t.Helper()
	deadline := time.Now().Add(30 * time.Second)
	for {
		err := ask()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain until %s: %v", what, err)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// counts are the numbers of a room that the operators' API shows.
type counts struct{ Waiting, Absent, Called, Active int64 }

func getJSON(url string, out any) error {
	resp, err := http.Get(url)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("GET %s: status %d", url, resp.StatusCode)
	}
	return json.NewDecoder(resp.Body).Decode(out)
}

func roomCounts(operators, room string) (counts, error) {
	var a struct{ Counts *counts }
	if err := getJSON(operators+"/api/v1/rooms/"+room, &a); err != nil {
		return counts{}, err
	}
	if a.Counts == nil {
		return counts{}, errors.New("the gate has not heard its store yet")
	}
	return *a.Counts, nil
}

// scrape returns the metrics of a gate.
func scrape(t testing.TB, operators string) string {
	t.Helper()
	resp, err := http.Get(operators + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// metric sums the samples of a metric, of the given room, over gates.
func metric(t testing.TB, name, room string, operators ...string) float64 {
	t.Helper()
	sum, found := 0.0, false
	for _, o := range operators {
		for line := range strings.Lines(scrape(t, o)) {
			sample, value, ok := strings.Cut(strings.TrimSpace(line), "} ")
			if !ok || !strings.HasPrefix(sample, name+"{") || !strings.Contains(sample, `room="`+room+`"`) {
				continue
			}
			n, err := strconv.ParseFloat(value, 64)
			if err != nil {
				t.Fatalf("%s: %v", line, err)
			}
			sum, found = sum+n, true
		}
	}
	if !found {
		t.Errorf("there is no metric %s of room %s", name, room)
	}
	return sum
}

// patch changes the live settings of a room.
func patch(t testing.TB, operators, room, body string) {
	t.Helper()
	req, err := http.NewRequest("PATCH", operators+"/api/v1/rooms/"+room, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/merge-patch+json")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(resp.Body)
		t.Fatalf("PATCH %s: status %d: %s", body, resp.StatusCode, text)
	}
}

// site is a gate in the test's own process, with one room of which the test says
// what it needs, and a shop that remembers what it was asked.
type site struct {
	t                   testing.TB
	shop                *recorder
	visitors, operators string // http://host:port
	file                string // of the configuration
	process             *process
	transport           *http.Transport
	stop                func() // and wait until all is over
}

// openSite starts a gate. room are further lines of the room drop, which protects
// /drop and holds everybody back unless they say something else; top are lines
// before the rooms. Both are YAML.
func openSite(t testing.TB, room, top string) *site {
	t.Helper()
	s := &site{t: t, shop: openRecorder(t), file: filepath.Join(t.TempDir(), "sluice.yaml"), transport: newTransport(t)}
	s.write(room, top)
	s.start()
	return s
}

// write writes the configuration file.
func (s *site) write(room, top string) {
	s.t.Helper()
	var b strings.Builder
	fmt.Fprintf(&b, "listen: 127.0.0.1:0\nadmin: {listen: 127.0.0.1:0}\norigin: {url: %q}\n", s.shop.url)
	if !strings.Contains(top, "shutdown:") {
		b.WriteString("shutdown: {delay: 0s, timeout: 10s}\n")
	}
	if !strings.Contains(top, "secret:") {
		fmt.Fprintf(&b, "secret: %q\n", secret)
	}
	b.WriteString(top + "\nrooms:\n  - name: drop\n    match: [{path: /drop}]\n")
	if !strings.Contains(room, "rate:") {
		b.WriteString("    rate: none\n")
	}
	if !strings.Contains(room, "mode:") {
		b.WriteString("    mode: hold\n")
	}
	for line := range strings.Lines(room) {
		b.WriteString("    " + line)
	}
	if err := os.WriteFile(s.file, []byte(b.String()), 0o600); err != nil {
		s.t.Fatal(err)
	}
}

func (s *site) start() {
	s.t.Helper()
	load := func() (*config.Config, error) { return config.Load(config.Source{File: s.file}) }
	c, err := load()
	if err != nil {
		s.t.Fatal(err)
	}
	p, err := newProcess(c, slog.New(slog.NewTextHandler(s.t.Output(), &slog.HandlerOptions{Level: slog.LevelWarn})), load)
	if err != nil {
		s.t.Fatal(err)
	}
	s.process = p
	s.visitors, s.operators = "http://"+p.visitors[0].Addr().String(), "http://"+p.operators.Addr().String()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- p.run(ctx) }()
	s.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			s.t.Errorf("the gate ended with %v", err)
		}
	})
	s.t.Cleanup(s.stop)
	await(s.t, "the gate knows its room", func() error {
		_, err := roomCounts(s.operators, "drop")
		return err
	})
}

// visitor is somebody with an empty browser.
func (s *site) visitor() *guest {
	return &guest{s.t, &browser{
		http:  &http.Client{Transport: s.transport, Timeout: time.Minute, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }},
		gates: []string{s.visitors}, room: "drop",
	}}
}

// patch changes the live settings of the room.
func (s *site) patch(body string) {
	s.t.Helper()
	patch(s.t, s.operators, "drop", body)
}

// counts waits until the room has these counts.
func (s *site) counts(want counts) {
	s.t.Helper()
	await(s.t, fmt.Sprintf("the room counts %+v", want), func() error {
		got, err := roomCounts(s.operators, "drop")
		if err == nil && got != want {
			err = fmt.Errorf("got %+v", got)
		}
		return err
	})
}

// reload sends the file to the gate again.
func (s *site) reload() int {
	s.t.Helper()
	resp, err := http.Post(s.operators+"/api/v1/reload", "", nil)
	if err != nil {
		s.t.Fatal(err)
	}
	resp.Body.Close()
	return resp.StatusCode
}

// guest is a browser whose requests end the test when they get no answer.
type guest struct {
	t testing.TB
	*browser
}

// copy is another browser with the same cookies.
func (g *guest) copy() *guest {
	b := *g.browser
	b.cookies = slices.Clone(b.cookies)
	return &guest{g.t, &b}
}

func (g *guest) with(header http.Header) *guest {
	b := g.copy()
	b.headers = header
	return b
}

func (g *guest) send(method, path string, header http.Header, body string) *reply {
	g.t.Helper()
	r, err := g.do(context.Background(), method, path, header, body)
	if err != nil {
		g.t.Fatal(err)
	}
	return r
}

// opens opens a page.
func (g *guest) opens(path string) *reply {
	g.t.Helper()
	return g.send("GET", path, navigation, "")
}

// joins opens the page, has to wait, and holds a ticket then.
func (g *guest) joins() token.Token {
	g.t.Helper()
	r := g.opens("/drop/")
	if r.status != http.StatusTooManyRequests || r.header.Get("Sluice-State") != "waiting" {
		g.t.Fatalf("a newcomer got status %d, state %q, want to wait", r.status, r.header.Get("Sluice-State"))
	}
	return g.ticket()
}

func (g *guest) ticket() token.Token {
	g.t.Helper()
	t := g.token()
	if t.Kind != token.Ticket {
		g.t.Fatalf("holds %+v of %q, want a ticket", t, g.jar(false))
	}
	return t
}

func (g *guest) polls() stand {
	g.t.Helper()
	_, s, err := g.ask(context.Background(), "GET")
	if err != nil {
		g.t.Fatal(err)
	}
	return s
}

// enters polls until it is the visitor's turn.
func (g *guest) enters() stand {
	g.t.Helper()
	var s stand
	await(g.t, "the visitor's turn has come", func() error {
		if s = g.polls(); s.State != "admitted" {
			return fmt.Errorf("state %q", s.State)
		}
		return nil
	})
	return s
}

func (g *guest) leaves() {
	g.t.Helper()
	if err := g.leave(context.Background()); err != nil {
		g.t.Fatal(err)
	}
}

// recorder is a shop that remembers what it was asked.
type recorder struct {
	url string

	mu   sync.Mutex
	seen []seen

	slow    chan struct{} // requests of /drop/slow wait for its end
	release func()        // ends it
}

// seen is a request as the shop got it.
type seen struct {
	method, uri, body string
	header            http.Header
}

func openRecorder(t testing.TB) *recorder {
	rec := &recorder{slow: make(chan struct{})}
	rec.release = sync.OnceFunc(func() { close(rec.slow) })
	server := httptest.NewServer(rec)
	t.Cleanup(server.Close)
	t.Cleanup(rec.release)
	rec.url = server.URL
	return rec
}

func (rec *recorder) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return // the visitor went away
	}
	rec.mu.Lock()
	rec.seen = append(rec.seen, seen{r.Method, r.RequestURI, string(body), r.Header.Clone()})
	rec.mu.Unlock()
	switch r.URL.Path {
	case "/drop/thanks":
		w.Header().Set("Sluice-Session", "release")
	case "/drop/bank":
		w.Header().Set("Sluice-Session", "extend=20m")
	case "/drop/nonsense":
		w.Header().Set("Sluice-Session", "extend=for ever")
	case "/drop/cached":
		w.Header().Set("Cache-Control", "public, max-age=60")
	case "/drop/slow":
		<-rec.slow
	}
	if page, says := shownToCaches[r.URL.Path]; says {
		for name, value := range page {
			w.Header().Set(name, value)
		}
		fmt.Fprintf(w, "shown to %q", r.Header.Get("Sluice-Visitor"))
		return
	}
	fmt.Fprintf(w, "shop: %s %s", r.Method, r.RequestURI)
}

// asked returns the requests since the last time.
func (rec *recorder) asked() []seen {
	rec.mu.Lock()
	defer rec.mu.Unlock()
	all := rec.seen
	rec.seen = nil
	return all
}
