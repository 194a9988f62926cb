package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/fasthttp/websocket"

	"github.com/sluicegate/sluice/queue/queuetest/proc"
)

// Bodies, streams and WebSockets through a gate as it is shipped.

// streamsShop is a shop with much to take and to give.
type streamsShop struct {
	url      string
	upgrader websocket.Upgrader
	left     chan string // requests that ended because whoever asked had gone
}

func openStreamsShop(t testing.TB) *streamsShop {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	shop := &streamsShop{url: "http://" + l.Addr().String(), left: make(chan string, 100)}
	mux := http.NewServeMux()
	mux.HandleFunc("/drop/upload", func(w http.ResponseWriter, r *http.Request) {
		n, err := io.Copy(io.Discard, r.Body)
		fmt.Fprintf(w, "%d %v %s", n, err, r.Trailer.Get("X-Sum"))
	})
	mux.HandleFunc("/drop/refused", func(w http.ResponseWriter, r *http.Request) {
		http.Error(w, "too much for the shop", http.StatusRequestEntityTooLarge)
	})
	mux.HandleFunc("/drop/download", func(w http.ResponseWriter, r *http.Request) {
		size, _ := strconv.ParseInt(r.URL.Query().Get("size"), 10, 64)
		if r.URL.Query().Has("known") {
			w.Header().Set("Content-Length", strconv.FormatInt(size, 10))
		}
		_, _ = io.CopyN(w, endless{}, size)
	})
	mux.HandleFunc("/drop/events", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		every, _ := time.ParseDuration(r.URL.Query().Get("every"))
		tick := time.NewTicker(max(every, time.Millisecond))
		defer tick.Stop()
		for n := 0; ; n++ {
			fmt.Fprintf(w, "data: %d\n\n", n)
			w.(http.Flusher).Flush()
			select {
			case <-tick.C:
			case <-r.Context().Done():
				shop.left <- r.URL.Path
				return
			}
		}
	})
	mux.HandleFunc("/drop/never", func(w http.ResponseWriter, r *http.Request) {
		shop.left <- "begun"
		<-r.Context().Done()
		shop.left <- r.URL.Path
	})
	mux.HandleFunc("/drop/hop", func(w http.ResponseWriter, r *http.Request) {
		http.SetCookie(w, &http.Cookie{Name: "basket", Value: "7", Path: "/"})
		http.Redirect(w, r, "/drop/page", http.StatusSeeOther)
	})
	mux.HandleFunc("/drop/page", func(w http.ResponseWriter, r *http.Request) {
		c, _ := r.Cookie("basket")
		w.Header().Set("Content-Type", "text/html")
		fmt.Fprintf(w, `<!doctype html><h1>basket %v</h1><form method="post" enctype="multipart/form-data" action="/drop/form">`+
			`<input type="file" name="f"><input type="submit"></form>`, c)
	})
	mux.HandleFunc("/drop/ws", shop.echo)
	server := &http.Server{Handler: mux}
	done := make(chan struct{})
	go func() { defer close(done); _ = server.Serve(l) }()
	t.Cleanup(func() { server.Close(); <-done })
	return shop
}

func (s *streamsShop) echo(w http.ResponseWriter, r *http.Request) {
	c, err := s.upgrader.Upgrade(w, r, nil)
	if err != nil {
		return
	}
	defer c.Close()
	for {
		kind, message, err := c.ReadMessage()
		if err != nil {
			return
		}
		if c.WriteMessage(kind, message) != nil {
			return
		}
	}
}

// endless is a file without an end.
type endless struct{}

func (endless) Read(p []byte) (int, error) { return len(p), nil }

const streamsRooms = `
rooms:
  - {name: drop, match: [{path: /drop}], rate: none, mode: open}
  - {name: held, match: [{path: /held}], rate: none, mode: hold}
`

func openStreamsGate(t *testing.T, shop, origin string) *gateProcess {
	t.Helper()
	file := filepath.Join(t.TempDir(), "sluice.yaml")
	text := fmt.Sprintf("secret: %q\norigin: {url: %q%s}\nshutdown: {delay: 100ms, timeout: 20s}\n%s", secret, shop, origin, streamsRooms)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return startGate(t, buildSluice(t), file)
}

// curl runs curl and returns what it printed.
func curl(t *testing.T, args ...string) string {
	t.Helper()
	ctx, stop := context.WithTimeout(t.Context(), 10*time.Minute)
	defer stop()
	out, err := exec.CommandContext(ctx, proc.Need(t, "curl"), append([]string{"-sS"}, args...)...).CombinedOutput()
	if err != nil {
		t.Errorf("curl %q: %v", args, err)
	}
	return string(out)
}

// sparse is a file of a size that takes no room.
func sparse(t *testing.T, size int64) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(file, size); err != nil {
		t.Fatal(err)
	}
	return file
}

// judgeBigBodies sends and takes bodies of a size, and holds the gate's memory to 16 MB
// more than it had.
func judgeBigBodies(t *testing.T, size int64) {
	g := openStreamsGate(t, openStreamsShop(t).url, "")
	file, url := sparse(t, size), g.visitors+"/drop/"
	curl(t, "-T", sparse(t, 1<<20), url+"upload") // so that the gate has what any request takes
	curl(t, url+"download?size=1000000")
	status := fmt.Sprintf("/proc/%d/", g.cmd.Process.Pid)
	field := func(name string) int {
		t.Helper()
		for line := range strings.Lines(string(read(t, status+"status"))) {
			var kb int
			if n, _ := fmt.Sscanf(line, name+": %d kB", &kb); n == 1 {
				return kb
			}
		}
		t.Skipf("not tested: memory, which is not told here (no %s)", name)
		return 0
	}
	if err := os.WriteFile(status+"clear_refs", []byte("5"), 0); err != nil {
		t.Skipf("not tested: memory, whose peak cannot be reset here: %v", err)
	}
	before := field("VmRSS")
	for name, args := range map[string][]string{
		"with a length":          {"-T", file},
		"with a length, unasked": {"-T", file, "-H", "Expect:"},
		"in chunks":              {"-T", file, "-H", "Transfer-Encoding: chunked"},
	} {
		if got, want := curl(t, append(args, url+"upload")...), fmt.Sprintf("%d <nil> ", size); got != want {
			t.Errorf("upload %s: the shop says %q, want %q", name, got, want)
		}
	}
	for _, how := range []string{"known&", ""} {
		got := curl(t, "-o", "/dev/null", "-w", "%{http_code} %{size_download}", fmt.Sprintf("%sdownload?%ssize=%d", url, how, size))
		if want := fmt.Sprintf("200 %d", size); got != want {
			t.Errorf("download (%s): curl says %q, want %q", how, got, want)
		}
	}
	if after := field("VmHWM"); after > before+16<<10 {
		t.Errorf("the gate took %d kB at most, %d more than before", after, after-before)
	} else {
		t.Logf("the gate had %d kB and took %d at most", before, after)
	}
}

func TestBigBodiesTakeNoMemory(t *testing.T) {
	t.Parallel()
	judgeBigBodies(t, 64<<20)
}

func TestCurlIsAnsweredBeforeItSends(t *testing.T) {
	t.Parallel()
	g := openStreamsGate(t, openStreamsShop(t).url, "")
	file := sparse(t, 64<<20)
	for name, c := range map[string]struct {
		args []string
		want string
	}{
		"who waits, asked before":       {[]string{"-T", file, g.visitors + "/held/upload"}, "429 0"},
		"what the shop refuses, before": {[]string{"-T", file, g.visitors + "/drop/refused"}, "413 0"},
		"another expectation":           {[]string{"-H", "Expect: more", "-d", "x", g.visitors + "/drop/upload"}, "417 "},
	} {
		got := curl(t, append([]string{"--expect100-timeout", "60", "-o", "/dev/null", "-w", "%{http_code} %{size_upload}"}, c.args...)...)
		if !strings.HasPrefix(got, c.want) {
			t.Errorf("%s: curl says %q, want %q", name, got, c.want)
		}
	}
	// Those who do not ask get the answer all the same.
	for path, want := range map[string]string{"/held/upload": "429", "/drop/refused": "413"} {
		out, _ := exec.Command(proc.Need(t, "curl"), "-sS", "-H", "Expect:", "-T", file, "-o", "/dev/null", "-w", "%{http_code}", g.visitors+path).Output()
		if string(out) != want {
			t.Errorf("%s while sending: curl says %q, want %q", path, out, want)
		}
	}
}

func TestWhoeverLeavesTakesTheShopsRequestAlong(t *testing.T) {
	t.Parallel()
	shop := openStreamsShop(t)
	g := openStreamsGate(t, shop.url, "")
	for _, path := range []string{"/drop/never", "/drop/events?every=1h"} {
		ctx, leave := context.WithCancel(t.Context())
		req, err := http.NewRequestWithContext(ctx, "GET", g.visitors+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		answered := make(chan error, 1)
		go func() {
			resp, err := http.DefaultTransport.RoundTrip(req)
			if err == nil {
				_, err = io.ReadFull(resp.Body, make([]byte, len("data: 0\n\n")))
			}
			answered <- err
		}()
		if path == "/drop/never" {
			<-shop.left // it has begun
		} else if err := <-answered; err != nil {
			t.Error(err)
		}
		leave()
		select {
		case got := <-shop.left:
			if !strings.HasPrefix(path, got) {
				t.Errorf("%s ended, want %s", got, path)
			}
		case <-time.After(time.Minute):
			t.Errorf("%s did not end", path)
		}
	}
}

// What nginx answers to requests for a file, in parts and otherwise, comes through a
// gate byte for byte, over connections that are kept.
func TestAnswersOfNginxComeAsTheyAre(t *testing.T) {
	t.Parallel()
	nginx := "http://" + proc.Nginx(t, func(dir string, port int) string {
		if err := os.WriteFile(filepath.Join(dir, "file"), []byte(strings.Repeat("0123456789", 5000)), 0o600); err != nil {
			t.Fatal(err)
		}
		return fmt.Sprintf("events {}\nhttp { access_log off; client_body_temp_path %[1]s/b; proxy_temp_path %[1]s/p; fastcgi_temp_path %[1]s/f; uwsgi_temp_path %[1]s/u; scgi_temp_path %[1]s/s;\n"+
			"server { listen 127.0.0.1:%[2]d; root %[1]s; location /nothing { return 204; } location /moved { return 302 /file; } location /empty { return 200; } } }", dir, port)
	})
	g := openStreamsGate(t, nginx, "")
	etag := regexp.MustCompile(`(?m)^ETag: (.*)\r$`).FindStringSubmatch(curl(t, "-I", nginx+"/file"))[1]
	length := regexp.MustCompile(`(?m)^Content-Length: .*\r\n`)
	changing := regexp.MustCompile(`(?m)^(Date|Connection): .*\r\n|\b\d{20}\b`) // the latter between parts
	for name, args := range map[string][]string{
		"whole":              {"/file"},
		"HEAD":               {"-I", "/file"},
		"a range":            {"-r", "10-19", "/file"},
		"the end":            {"-r", "-7", "/file"},
		"two ranges":         {"-r", "0-4,20-29", "/file"},
		"no such range":      {"-r", "900000-", "/file"},
		"not modified":       {"-H", "If-None-Match: " + etag, "/file"},
		"HEAD, not modified": {"-I", "-H", "If-None-Match: " + etag, "/file"},
		"204":                {"/nothing"},
		"HEAD, 204":          {"-I", "/nothing"},
		"302":                {"/moved"},
		"404":                {"/none"},
		"HEAD, 404":          {"-I", "/none"},
		"empty":              {"/empty"},
	} {
		t.Run(name, func(t *testing.T) {
			get := func(at string) string {
				path := args[len(args)-1]
				full := append([]string{"-i", "-H", "Host: shop.example"}, args[:len(args)-1]...)
				return changing.ReplaceAllString(curl(t, append(full, at+path, at+path, at+path)...), "")
			}
			// A short answer's length may stand behind its other fields.
			lengths := func(s string) string {
				return strings.Join(length.FindAllString(s, -1), "") + length.ReplaceAllString(s, "")
			}
			direct, through := lengths(get(nginx)), lengths(get(g.visitors))
			if direct != through {
				t.Errorf("from nginx\n%.1000q\nthrough the gate\n%.1000q", direct, through)
			}
		})
	}
}

// dialTunnel opens a WebSocket.
func dialTunnel(g *gateProcess, path string) (*websocket.Conn, *http.Response, error) {
	d := websocket.Dialer{HandshakeTimeout: time.Minute, NetDial: (&net.Dialer{Timeout: time.Minute}).Dial}
	return d.Dial("ws"+strings.TrimPrefix(g.visitors, "http")+path, nil)
}

func TestTwoThousandWebSocketsAtOnce(t *testing.T) {
	t.Parallel()
	const most = 2000
	shop := openStreamsShop(t)
	g := openStreamsGate(t, shop.url, fmt.Sprintf(", tunnels: {max: %d}", most))

	if _, resp, err := dialTunnel(g, "/held/ws"); err == nil || resp == nil || resp.StatusCode != http.StatusTooManyRequests {
		t.Errorf("without a pass: %v, %v", resp, err)
	}
	conns := make([]*websocket.Conn, most)
	var wg sync.WaitGroup
	for worker := range 20 {
		wg.Go(func() {
			for i := worker; i < most; i += 20 {
				c, resp, err := dialTunnel(g, "/drop/ws")
				if err != nil {
					t.Errorf("tunnel %d: %v, %v", i, err, resp)
					return
				}
				conns[i] = c
			}
		})
	}
	wg.Wait()
	if t.Failed() {
		t.FailNow()
	}
	for i, c := range conns { // each is its owner's
		want := []byte(strconv.Itoa(i))
		if i == 0 {
			want = bytes.Repeat([]byte("large"), 1<<20)
		}
		_ = c.SetReadDeadline(time.Now().Add(time.Minute))
		if err := c.WriteMessage(websocket.TextMessage, want); err != nil {
			t.Fatal(err)
		}
		if _, got, err := c.ReadMessage(); err != nil || !bytes.Equal(got, want) {
			t.Fatalf("tunnel %d: got %.20q, %v", i, got, err)
		}
	}
	counted := func(want int) {
		t.Helper()
		await(t, fmt.Sprintf("%d tunnels are counted", want), func() error {
			if text := scrape(t, g.operators); !strings.Contains(text, fmt.Sprintf("\nsluice_open_tunnels %d\n", want)) {
				return fmt.Errorf("%s", regexp.MustCompile(`(?m)^sluice_open_tunnels.*`).FindString(text))
			}
			return nil
		})
	}
	counted(most)
	_, resp, err := dialTunnel(g, "/drop/ws")
	if err == nil || resp == nil || resp.StatusCode != http.StatusServiceUnavailable || resp.Header.Get("Retry-After") == "" {
		t.Fatalf("one more: %v, %v", resp, err)
	}
	if text, _ := io.ReadAll(resp.Body); !strings.Contains(string(text), "as many WebSockets are open here as may be") {
		t.Errorf("one more is told %q", text)
	}
	if text := scrape(t, g.operators); !strings.Contains(text, `sluice_refused_total{reason="tunnels"} 1`) {
		t.Error("a refused tunnel is not counted")
	}
	conns[1].Close()
	counted(most - 1)

	// A gate that stops says so to everybody, and is gone when they are.
	g.signal(syscall.SIGTERM)
	for i, c := range conns {
		if i == 1 {
			continue
		}
		_ = c.SetReadDeadline(time.Now().Add(time.Minute))
		if _, _, err := c.ReadMessage(); !websocket.IsCloseError(err, websocket.CloseGoingAway) {
			t.Fatalf("tunnel %d: %v, want a close frame, going away", i, err)
		}
		c.Close()
	}
	g.ended()
}
