package main

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"github.com/sluicegate/sluice/queue/queuetest/proc"
)

// A gate with so few files that some hosts can use them up.
const (
	floodFiles = 1400
	floodHosts = 2000 // connections that hostile clients try to have open
	floodMost  = 945  // that the gate gives to visitors of those files: an eighth is for tunnels, 320 are for others
)

// attack is one way to take more than one's share.
type attack struct {
	name  string
	begin string
	drip  string // sent now and then
	reads bool
}

var attacks = []attack{
	{name: "says nothing"},
	{name: "drips a header", begin: "GET / HTTP/1.1\r\nHost: shop.example\r\n", drip: "X-A: b\r\n"},
	{name: "drips the next header", begin: "GET /.sluice/health HTTP/1.1\r\nHost: shop.example\r\n\r\nGET /", drip: "a", reads: true},
	{name: "joins, and keeps the connection", begin: "POST /.sluice/rooms/drop HTTP/1.1\r\nHost: shop.example\r\nContent-Length: 0\r\n\r\n", reads: true},
	{name: "asks again and again, and reads nothing",
		begin: strings.Repeat("GET /drop HTTP/1.1\r\nHost: shop.example\r\nAccept: text/html\r\n\r\n", 20),
		drip:  "GET /drop HTTP/1.1\r\nHost: shop.example\r\nAccept: text/html\r\n\r\n"},
	{name: "drips a body", begin: "POST /open HTTP/1.1\r\nHost: shop.example\r\nContent-Length: 1000000\r\n\r\n" + strings.Repeat("x", 9000), drip: "x"},
	{name: "takes a large file and reads nothing of it", begin: "GET /open/large HTTP/1.1\r\nHost: shop.example\r\n\r\n"},
	{name: "sends fields without end", begin: "GET / HTTP/1.1\r\nHost: shop.example\r\n" + strings.Repeat("a: b\r\n", 2500), drip: "a: b\r\n"},
}

func TestFlood(t *testing.T) {
	large := make([]byte, 64<<20)
	shop := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/open/large" {
			_, _ = w.Write(large)
			return
		}
		_, _ = io.Copy(io.Discard, r.Body)
		_, _ = io.WriteString(w, "hello")
	}))
	defer shop.Close()
	store := proc.Redis(t)
	dir := t.TempDir()
	file := filepath.Join(dir, "sluice.yaml")
	conf := fmt.Sprintf(`
secret: %q
store: redis://%s/0
shutdown: {delay: 0s, timeout: 1s}
origin: {url: %q, max_conns: 64}
rooms: [{name: drop, match: [{path: /drop}], rate: 1/s, burst: 1, session: 1h}]
`, secret, store, shop.URL)
	if err := os.WriteFile(file, []byte(conf), 0o600); err != nil {
		t.Fatal(err)
	}
	g := startGate(t, under(t, fmt.Sprintf("ulimit -n %d", floodFiles)), file)
	if !strings.Contains(g.printed(), fmt.Sprintf(`"limit":%d,"visitors":%d,`, floodFiles, floodMost)) || !strings.Contains(g.printed(), "LimitNOFILE") {
		t.Errorf("the gate does not tell that it has few files:\n%s", g.printed())
	}

	// Somebody is let in before the flood.
	host := strings.TrimPrefix(g.visitors, "http://")
	kept := &http.Client{Transport: newTransport(t), Timeout: time.Minute}
	ann := &browser{http: kept, gates: []string{g.visitors}, room: "drop"}
	if page, err := ann.open(t.Context(), "/drop"); err != nil || page.status != http.StatusOK {
		t.Fatalf("nobody is let in: %+v, %v", page, err)
	}

	f := &flood{host: host}
	f.begin(t)
	// Ann goes on until the gate has had to do all that it can.
	missing := []string{"unread", "idle", "crowded"}
	deadline := time.Now().Add(4 * time.Minute)
	for i := 0; i < 50 || len(missing) > 0; i++ {
		if len(missing) > 0 && time.Now().After(deadline) {
			t.Fatalf("after %d requests nobody was refused as %q", i, missing)
		}
		path := [...]string{"/drop", "/open"}[i%2]
		if i%4 > 1 {
			// A phone that changed networks: a new connection.
			kept.Transport.(*http.Transport).CloseIdleConnections()
		}
		page, err := ann.open(t.Context(), path)
		if err != nil || page.status != http.StatusOK {
			t.Errorf("request %d of who was let in, for %s: %+v, %v", i, path, page, err)
		}
		if i%10 > 0 {
			time.Sleep(5 * time.Millisecond) // she is a person
			continue
		}
		if n := gauge(t, g, "sluice_open_connections"); n > floodMost {
			t.Errorf("%v connections are open, %d may be", n, floodMost)
		}
		missing = slices.DeleteFunc(missing, func(reason string) bool {
			return gauge(t, g, `sluice_refused_total{reason="`+reason+`"}`) > 0
		})
	}
	if n := countFiles(t, g); n > floodFiles-100 {
		t.Errorf("%d files of %d are open: nothing is left for the store", n, floodFiles)
	}
	// However full the house, there are files for new connections to store and shop.
	redis := goredis.NewClient(&goredis.Options{Addr: store})
	defer redis.Close()
	if n, err := redis.ClientKillByFilter(t.Context(), "TYPE", "normal", "SKIPME", "yes").Result(); err != nil || n == 0 {
		t.Errorf("%d connections to the store were cut: %v", n, err)
	}
	shop.CloseClientConnections()
	cut := float64(time.Now().UnixMilli()) / 1000
	await(t, "the store is heard again", func() error {
		if heard := gauge(t, g, `sluice_last_tick_timestamp_seconds{room="drop"}`); heard <= cut {
			return fmt.Errorf("last heard %v s before its connections were cut", cut-heard)
		}
		return nil
	})
	for range 10 {
		if page, err := ann.open(t.Context(), "/drop"); err != nil || page.status != http.StatusOK {
			t.Errorf("who was let in is told, when the shop has cut its connections: %+v, %v", page, err)
		}
	}
	peak := peakMemory(t, g)
	t.Logf("the gate grew to %d MiB; %d connections were opened", peak>>20, f.opened.Load())
	if peak > 160<<20 && !underRace() {
		t.Error("that is too much")
	}
	f.end()

	// When they are gone everybody is welcome again.
	await(t, "the flood is over", func() error {
		bob := &browser{http: &http.Client{Transport: newTransport(t), Timeout: time.Minute}, gates: []string{g.visitors}, room: "drop"}
		page, err := bob.open(t.Context(), "/drop")
		if err != nil || page.status != http.StatusOK && page.status != http.StatusTooManyRequests {
			return fmt.Errorf("%+v, %v", page, err)
		}
		if n := gauge(t, g, "sluice_open_connections"); n > 200 {
			return fmt.Errorf("%v connections are open", n)
		}
		return nil
	})
	for _, bad := range []string{"too many open files", "panic"} {
		if strings.Contains(g.printed(), bad) {
			t.Errorf("the gate logged %q", bad)
		}
	}
}

// under returns a program that is a gate under some limit.
func under(t *testing.T, limit string) string {
	t.Helper()
	program := filepath.Join(t.TempDir(), "limited")
	script := fmt.Sprintf("#!/bin/sh\n%s && exec '%s' \"$@\"\n", limit, sluice(t))
	if err := os.WriteFile(program, []byte(script), 0o700); err != nil {
		t.Fatal(err)
	}
	return program
}

// flood opens connections and opens them again when they are closed.
type flood struct {
	host   string
	opened atomic.Int64
	stop   chan struct{}
	all    sync.WaitGroup
}

func (f *flood) begin(t *testing.T) {
	f.stop = make(chan struct{})
	for i := range floodHosts {
		a := attacks[0] // every other one
		if i%2 > 0 {
			a = attacks[i/2%len(attacks)]
		}
		// Of several addresses, as ports are few.
		from := &net.TCPAddr{IP: net.IPv4(127, 0, 1, byte(1+i%20))}
		f.all.Go(func() {
			for wait := time.Duration(i) * time.Millisecond / 4; ; wait = 500 * time.Millisecond {
				select {
				case <-f.stop:
					return
				case <-time.After(wait):
				}
				f.attack(a, from)
			}
		})
	}
	t.Cleanup(f.end)
}

func (f *flood) attack(a attack, from net.Addr) {
	d := net.Dialer{LocalAddr: from, Timeout: 5 * time.Second}
	c, err := d.Dial("tcp", f.host)
	if err != nil {
		return
	}
	f.opened.Add(1)
	defer c.Close()
	closed := make(chan struct{})
	if a.reads {
		go func() {
			defer close(closed)
			_, _ = io.Copy(io.Discard, c)
		}()
		defer func() { c.Close(); <-closed }()
	}
	say := a.begin
	for {
		_ = c.SetWriteDeadline(time.Now().Add(time.Second))
		if _, err := io.WriteString(c, say); err != nil && !os.IsTimeout(err) {
			return
		}
		say = a.drip
		if say == "" && !a.reads { // whether it is closed shows by reading only
			_ = c.SetReadDeadline(time.Now().Add(500 * time.Millisecond))
			if a.begin == "" {
				var one [1]byte
				if _, err := c.Read(one[:]); err != nil && !os.IsTimeout(err) {
					return
				}
			}
		}
		select {
		case <-f.stop:
			return
		case <-closed:
			return
		case <-time.After(500 * time.Millisecond):
		}
	}
}

func (f *flood) end() {
	select {
	case <-f.stop:
	default:
		close(f.stop)
	}
	f.all.Wait()
}

// gauge is the value of a metric without labels, or with those given.
func gauge(t testing.TB, g *gateProcess, name string) float64 {
	t.Helper()
	for line := range strings.Lines(scrape(t, g.operators)) {
		if rest, ok := strings.CutPrefix(line, name+" "); ok {
			v, err := strconv.ParseFloat(strings.TrimSpace(rest), 64)
			if err != nil {
				t.Fatal(err)
			}
			return v
		}
	}
	t.Fatalf("no %s", name)
	return 0
}

var highWater = regexp.MustCompile(`VmHWM:\s+(\d+) kB`)

// peakMemory is the most that a gate had of the machine's memory, in bytes.
func peakMemory(t testing.TB, g *gateProcess) int64 {
	t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", g.cmd.Process.Pid))
	if err != nil {
		t.Fatalf("memory cannot be judged, which is not told here: %v", err)
	}
	m := highWater.FindSubmatch(status)
	if m == nil {
		t.Fatal("no VmHWM")
	}
	kb, _ := strconv.ParseInt(string(m[1]), 10, 64)
	return kb << 10
}

// underRace tells whether the race detector is in the program, which multiplies what it
// takes.
func underRace() bool {
	info, _ := debug.ReadBuildInfo()
	return info != nil && slices.Contains(info.Settings, debug.BuildSetting{Key: "-race", Value: "true"})
}

func countFiles(t testing.TB, g *gateProcess) int {
	t.Helper()
	files, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", g.cmd.Process.Pid))
	if err != nil {
		t.Fatalf("files cannot be judged, which are not told here: %v", err)
	}
	return len(files)
}
