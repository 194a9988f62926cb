package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sluicegate/sluice/cmd/sluice/shop"
	"github.com/sluicegate/sluice/gate/cert/certtest"
	"github.com/sluicegate/sluice/gate/config"
	"github.com/sluicegate/sluice/queue/queuetest/proc"
)

const browserSecret = "signs the tokens of visitors with a real browser"

// browserSale is the demonstration's shop behind a gate that holds everybody until
// the operator says otherwise.
type browserSale struct {
	t        *testing.T
	shop     *shop.Shop
	url      string   // as visitors know it
	bank     string   // the bank's site; empty without https
	friends  []string // other origins whose scripts may use the room: of the same site, of another; none without https
	direct   string   // of the gate itself
	operator string
	config   string
	stop     func()
	log      browserLog

	mu   sync.Mutex
	seen []browserRequest
}

// browserRequest is one that reached the shop.
type browserRequest struct {
	what    string // method and path
	visitor string // the gate's name for them
	from    string // Sec-Fetch-Site
}

// browserLog is what a gate writes down.
type browserLog struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *browserLog) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *browserLog) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

func openBrowserSale(t *testing.T) *browserSale {
	t.Helper()
	return newBrowserSale(t, plainHTTP)
}

// openBrowserSaleByTLS is a gate that speaks https itself.
func openBrowserSaleByTLS(t *testing.T) *browserSale {
	t.Helper()
	return newBrowserSale(t, gatesTLS)
}

// openSecureBrowserSale stands behind something that speaks https to visitors, and
// has a bank on another site.
func openSecureBrowserSale(t *testing.T) *browserSale {
	t.Helper()
	return newBrowserSale(t, proxysTLS)
}

// How visitors reach a sale.
const (
	plainHTTP = iota
	gatesTLS  // the gate has the certificate
	proxysTLS // something in front has it
)

func newBrowserSale(t *testing.T, by int) *browserSale {
	t.Helper()
	visitors, operators := proc.FreePort(t), proc.FreePort(t)
	s := &browserSale{
		t:        t,
		url:      fmt.Sprintf("http://shop.test:%d", visitors),
		direct:   fmt.Sprintf("http://127.0.0.1:%d", visitors),
		operator: fmt.Sprintf("http://127.0.0.1:%d", operators),
	}
	plain := fmt.Sprintf(`"127.0.0.1:%d"`, visitors)
	listen := "listen: " + plain
	switch by {
	case gatesTLS:
		port, pair := proc.FreePort(t), certtest.NewCA(t).Write(t.TempDir(), "shop", tomorrow(), "shop.test")
		s.url = fmt.Sprintf("https://shop.test:%d", port)
		listen = fmt.Sprintf(`listen: [%s, {address: "127.0.0.1:%d", tls: true}]
tls: {certificates: [{cert_file: %q, key_file: %q}]}`, plain, port, pair.Cert, pair.Key)
	case proxysTLS:
		s.openTLS()
	}
	c := shop.Config{}
	if s.bank != "" {
		c.PayURL = s.bank + "/pay"
	}
	s.shop = shop.New(c)
	origin := httptest.NewServer(http.HandlerFunc(s.serveShop))
	t.Cleanup(origin.Close)
	s.config = fmt.Sprintf(`
%s
admin: {listen: "127.0.0.1:%d"}
store: memory
secret: %q
trusted_proxies: [127.0.0.1/32]
cors_origins: [%s]
origin: {url: %q}
log: {level: info, format: text}
shutdown: {delay: 0s, timeout: 5s}
rooms:
  - name: drop
    match: [{path: /drop}]
    rate: 3/s
    burst: 1
    mode: hold
    session: 1m
    keep_place: 5m
    poll: {min: 500ms, max: 1s}
    message: "One lamp each, please."
`, listen, operators, browserSecret, strings.Join(s.friends, ", "), origin.URL)
	s.start()
	t.Cleanup(func() {
		s.stop()
		text := s.log.String()
		if strings.Contains(text, "level=ERROR") {
			t.Error("the gate has logged errors")
		}
		if t.Failed() {
			t.Logf("the gate's log:\n%s\nthe shop saw %v", text, s.requests())
		}
	})
	return s
}

// openTLS puts a proxy in front that speaks https for the shop, and serves the
// bank by itself.
func (s *browserSale) openTLS() {
	gate, err := url.Parse(s.direct)
	if err != nil {
		s.t.Fatal(err)
	}
	toGate := &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(gate)
			r.Out.Host = r.In.Host
			r.SetXForwarded()
		},
		ErrorLog: slog.NewLogLogger(slog.DiscardHandler, slog.LevelError),
	}
	front := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.Host, "bank.test:") {
			s.shop.ServeHTTP(w, r)
			return
		}
		if strings.HasPrefix(r.Host, "app.") || strings.HasPrefix(r.Host, "evil.") { // sites of others, with scripts of their own
			fmt.Fprint(w, "<!doctype html><title>elsewhere</title><h1>Elsewhere</h1>")
			return
		}
		toGate.ServeHTTP(w, r)
	}))
	front.Config.ErrorLog = toGate.ErrorLog // a browser does not trust the certificate at first
	front.StartTLS()
	s.t.Cleanup(front.Close)
	_, port, _ := strings.Cut(strings.TrimPrefix(front.URL, "https://"), ":")
	s.url, s.bank = "https://shop.test:"+port, "https://bank.test:"+port
	s.friends = []string{"https://app.shop.test:" + port, "https://app.example.test:" + port}
}

func (s *browserSale) serveShop(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	s.seen = append(s.seen, browserRequest{r.Method + " " + r.URL.Path, r.Header.Get("Sluice-Visitor"), r.Header.Get("Sec-Fetch-Site")})
	s.mu.Unlock()
	if o := r.Header.Get("Origin"); strings.HasPrefix(o, "https://app.") { // the shop has friends, too
		w.Header().Set("Access-Control-Allow-Origin", o)
		w.Header().Set("Access-Control-Allow-Credentials", "true")
	}
	s.shop.ServeHTTP(w, r)
}

// requests are those that reached the shop's pages.
func (s *browserSale) requests() []browserRequest {
	s.mu.Lock()
	defer s.mu.Unlock()
	var pages []browserRequest
	for _, r := range s.seen {
		if !strings.Contains(r.what, "/assets/") {
			pages = append(pages, r)
		}
	}
	return pages
}

// saw is how many requests reached the shop under a name.
func (s *browserSale) saw(what string) (n int) {
	for _, r := range s.requests() {
		if r.what == what {
			n++
		}
	}
	return n
}

// start runs a gate, at the addresses of the one before.
func (s *browserSale) start() {
	s.t.Helper()
	c, err := config.Load(config.Source{File: "sale", Data: []byte(s.config)})
	if err != nil {
		s.t.Fatal(err)
	}
	p, err := newProcess(c, slog.New(slog.NewTextHandler(&s.log, nil)), nil)
	if err != nil {
		s.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := p.run(ctx); err != nil {
			s.t.Errorf("the gate ended with %v", err)
		}
	}()
	s.stop = func() {
		cancel()
		<-done
	}
}

// operate changes the room as an operator does.
func (s *browserSale) operate(change string) {
	s.t.Helper()
	req, err := http.NewRequest(http.MethodPatch, s.operator+"/api/v1/rooms/drop", strings.NewReader(change))
	if err != nil {
		s.t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/merge-patch+json")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		s.t.Fatal(err)
	}
	defer resp.Body.Close()
	if text, err := io.ReadAll(resp.Body); err != nil || resp.StatusCode != http.StatusOK {
		s.t.Fatalf("PATCH %s: status %d, %v: %s", change, resp.StatusCode, err, text)
	}
}

type browserCounts struct{ Waiting, Absent, Called, Active int64 }

// awaitCounts waits until the operator reads these numbers.
func (s *browserSale) awaitCounts(want browserCounts) {
	s.t.Helper()
	deadline := time.NewTimer(20 * time.Second)
	defer deadline.Stop()
	again := time.NewTicker(20 * time.Millisecond)
	defer again.Stop()
	for {
		got := s.counts()
		if got == want {
			return
		}
		select {
		case <-again.C:
		case <-deadline.C:
			s.t.Fatalf("the operator reads %+v, want %+v", got, want)
		}
	}
}

func (s *browserSale) counts() browserCounts {
	s.t.Helper()
	var room struct{ Counts browserCounts }
	resp, err := http.Get(s.operator + "/api/v1/rooms/drop")
	if err != nil {
		s.t.Fatal(err)
	}
	defer resp.Body.Close()
	if err := json.NewDecoder(resp.Body).Decode(&room); err != nil {
		s.t.Fatal(err)
	}
	return room.Counts
}

// line puts people into line who wait as the page's script would, through whatever
// befalls the gate. They stay inside once they are in.
func (s *browserSale) line(n int) {
	s.t.Helper()
	ctx, stop := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	transport := &http.Transport{MaxIdleConnsPerHost: n}
	s.t.Cleanup(func() {
		stop()
		wg.Wait()
		transport.CloseIdleConnections()
	})
	for range n {
		jar, err := cookiejar.New(nil)
		if err != nil {
			s.t.Fatal(err)
		}
		client := &http.Client{Transport: transport, Jar: jar}
		state, wait, err := s.ask(ctx, client, http.MethodPost)
		if err != nil || state != "waiting" {
			s.t.Fatalf("somebody who joins the line finds it %q, %v", state, err)
		}
		wg.Go(func() {
			for state != "admitted" {
				select {
				case <-ctx.Done():
					return
				case <-time.After(wait):
				}
				if now, after, err := s.ask(ctx, client, http.MethodGet); err == nil {
					state, wait = now, after
				}
			}
		})
	}
}

func (s *browserSale) ask(ctx context.Context, client *http.Client, method string) (state string, wait time.Duration, err error) {
	// Over http, whatever the visitors with a browser use: cookies are by host.
	req, err := http.NewRequestWithContext(ctx, method, s.direct+"/.sluice/rooms/drop", nil)
	if err != nil {
		return "", 0, err
	}
	resp, err := client.Do(req)
	if err != nil {
		return "", 0, err
	}
	defer resp.Body.Close()
	var a struct {
		State     string
		PollAfter float64 `json:"poll_after_seconds"`
	}
	err = json.NewDecoder(resp.Body).Decode(&a)
	return a.State, time.Duration(a.PollAfter * float64(time.Second)), err
}
