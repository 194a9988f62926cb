package main

import (
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/sluicegate/sluice/loadtest/peers/client"
	"github.com/sluicegate/sluice/loadtest/peers/cpu"
	"github.com/sluicegate/sluice/loadtest/stage"
	"github.com/sluicegate/sluice/queue/queuetest/proc"
)

// target is a server under way, ready to be measured.
type target struct {
	load   client.Load
	server int // process group
	store  int // process group of Redis; 0: none
	stop   func()
}

// find returns the path of a program, or "" when it is not installed.
func find(program string) string {
	for _, dir := range []string{"", "/usr/sbin", "/usr/local/sbin", "/sbin"} { // where a plain user's PATH does not lead
		if path, err := exec.LookPath(filepath.Join(dir, program)); err == nil {
			return path
		}
	}
	return ""
}

// answers waits for a server's listener.
func answers(addr string) func() error {
	return func() error {
		c, err := net.DialTimeout("tcp", addr, time.Second)
		if err == nil {
			err = c.Close()
		}
		return err
	}
}

// startBare runs one of the bare programs, which are this one: bare-answer SIZE or
// bare-proxy ORIGIN.
func startBare(t proc.T, what, argument string) (addr string, group int) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	addr = stage.FreeAddress(t)
	return addr, proc.Start(t, answers(addr), self, what, addr, argument).Pid()
}

// startNginx runs nginx with the inside of a server block, as many workers as
// there are processors, and connections that are kept for good.
func startNginx(t proc.T, outside, inside string) (addr string, group int) {
	var pid string
	addr = proc.Nginx(t, func(dir string, port int) string {
		pid = filepath.Join(dir, "nginx.pid")
		return fmt.Sprintf(`worker_processes auto;
events { worker_connections 4096; }
http {
	access_log off;
	keepalive_requests 1000000000;
	client_body_temp_path %[1]s/body; proxy_temp_path %[1]s/proxy; fastcgi_temp_path %[1]s/fastcgi;
	uwsgi_temp_path %[1]s/uwsgi; scgi_temp_path %[1]s/scgi;
	%[2]s
	server { listen 127.0.0.1:%[3]d reuseport; %[4]s }
}`, dir, outside, port, inside)
	})
	text, err := os.ReadFile(pid)
	if err == nil {
		group, err = strconv.Atoi(strings.TrimSpace(string(text)))
	}
	if err != nil {
		t.Fatalf("nginx's pid file: %v", err)
	}
	return addr, group
}

// nginxAnswer is nginx's `return 200` with a body of so many bytes. A word of its
// configuration has less than 4 KiB, so the body is put together from several.
func nginxAnswer(size int) (outside, inside string) {
	const word = 4000
	var o, body strings.Builder
	for i := 0; size > 0; i++ {
		n := min(size, word)
		size -= n
		fmt.Fprintf(&o, "map $host $part%d { default %s; }\n", i, strings.Repeat("x", n))
		fmt.Fprintf(&body, "${part%d}", i)
	}
	return o.String(), fmt.Sprintf(`location / { default_type application/json; return 200 "%s"; }`, body.String())
}

// nginxProxy is proxy_pass over connections that are kept.
func nginxProxy(origin string, connections int) (outside, inside string) {
	return fmt.Sprintf("upstream origin { server %s; keepalive %d; keepalive_requests 1000000000; }", origin, connections),
		`location / { proxy_pass http://origin; proxy_http_version 1.1; proxy_set_header Connection ""; }`
}

func startHAProxy(t proc.T, program, origin string) (addr string, group int) {
	addr = stage.FreeAddress(t)
	file := filepath.Join(t.TempDir(), "haproxy.cfg")
	text := fmt.Sprintf(`global
	maxconn 4096
defaults
	mode http
	timeout connect 2s
	timeout client 30s
	timeout server 30s
	option http-keep-alive
	http-reuse always
frontend visitors
	bind %s
	default_backend shop
backend shop
	server origin %s
`, addr, origin)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return addr, proc.Start(t, answers(addr), program, "-f", file, "-db").Pid()
}

// gateOn is a gate with a Redis of its own.
type gateOn struct {
	addr        string
	gate, redis *proc.Process
}

func (g *gateOn) stop() {
	g.gate.Kill()
	g.redis.Kill()
}

func startGate(t proc.T, binary, origin, room string) *gateOn {
	port := proc.FreePort(t)
	redis := proc.RedisAt(t, port)
	gate := stage.Gates(t, binary, 1, stage.Config{
		Store: net.JoinHostPort("127.0.0.1", strconv.Itoa(port)), Origin: origin, Room: room,
	})[0]
	return &gateOn{hostOf(gate.URL), gate.Process, redis}
}

// rooms are the settings under which each path is what it is: all but poll.max are
// the defaults beside a rate. With it those who joined and do not poll stay present
// for as long as a measurement may last, so that the line stays long.
var rooms = map[string]string{
	poll:     "rate: 60/m\npoll: {max: 10m}",
	newcomer: "rate: 60/m",
	pass:     "rate: none",
}

// scene is everything that is measured, and what it takes.
type scene struct {
	t           proc.T
	binary      string // sluice
	origin      string
	page        int64 // bytes of the origin's answer
	connections int
	began       map[string]*begun // by path
	running     map[key]target    // servers that run all the time
}

// begun is what is known of a path once a gate has answered on it.
type begun struct {
	requests [][]byte    // for all servers but the gate, which knows its own visitors only
	want     client.Want // of the gate
	size     int         // bytes of its answer's body
}

// gate starts a gate on which a path can be measured, and makes visitors for it.
func (s *scene) gate(path string) (g *gateOn, tokens []string) {
	g = startGate(s.t, s.binary, s.origin, rooms[path])
	ctx := s.t.Context()
	var err error
	switch path {
	case poll:
		tokens, err = tickets(ctx, g.addr, ticketsEach*s.connections)
	case newcomer:
		tokens, err = []string{""}, beginLine(ctx, g.addr)
	case pass:
		tokens, err = passes(ctx, g.addr, s.connections)
	}
	if err != nil {
		s.t.Fatalf("prepare the path %s: %v", path, err)
	}
	return g, tokens
}

// begin learns what a gate answers on a path, so that the floors answer as much.
func (s *scene) begin(path string) *begun {
	if b := s.began[path]; b != nil {
		return b
	}
	g, tokens := s.gate(path)
	defer g.stop()
	b := &begun{requests: requestsOf(path, tokens)}
	var a answer
	var err error
	switch path {
	case poll:
		a, err = ask(s.t.Context(), http.MethodGet, g.addr, apiPath, pollFields, tokens[0])
	case newcomer:
		a, err = ask(s.t.Context(), http.MethodGet, g.addr, stage.Path, pageFields, "")
	}
	if err != nil {
		s.t.Fatal(err)
	}
	b.size = len(a.body)
	n := int64(b.size)
	switch path { // numbers in an answer have more or fewer digits
	case poll:
		b.want = client.Want{Status: http.StatusOK, MinBody: n * 3 / 4, MaxBody: n * 5 / 4, Prefix: `{"room":"` + stage.Room + `","state":"waiting","position":`}
	case newcomer:
		b.want = client.Want{Status: http.StatusTooManyRequests, MinBody: n * 9 / 10, MaxBody: n * 11 / 10, Prefix: "\x1f\x8b", Header: "Set-Cookie"}
	case pass:
		b.want = client.Want{Status: http.StatusOK, MinBody: s.page, MaxBody: s.page}
	}
	s.began[path] = b
	return b
}

// start has a row ready to be measured. Our gate is started anew each time, with a
// line and visitors of its own, so that no round finds it longer than another.
func (s *scene) start(k key) target {
	b := s.begin(k.path)
	if k.server == sluice {
		g, tokens := s.gate(k.path)
		return target{client.Load{Addr: g.addr, Connections: s.connections, Requests: requestsOf(k.path, tokens), Want: b.want},
			g.gate.Pid(), g.redis.Pid(), g.stop}
	}
	if r, ok := s.running[k]; ok {
		return r
	}
	var addr string
	var group int
	size := b.size
	switch {
	case k.server == bare && k.path == pass:
		addr, group = startBare(s.t, "bare-proxy", s.origin)
	case k.server == bare:
		addr, group = startBare(s.t, "bare-answer", strconv.Itoa(size))
	case k.server == nginx && k.path == pass:
		outside, inside := nginxProxy(s.origin, s.connections)
		addr, group = startNginx(s.t, outside, inside)
	case k.server == nginx:
		outside, inside := nginxAnswer(size)
		addr, group = startNginx(s.t, outside, inside)
	case k.server == haproxy:
		addr, group = startHAProxy(s.t, find("haproxy"), s.origin)
	}
	want := client.Want{Status: http.StatusOK, MinBody: int64(size), MaxBody: int64(size)}
	if k.path == pass {
		want = b.want
	}
	r := target{client.Load{Addr: addr, Connections: s.connections, Requests: b.requests, Want: want}, group, 0, func() {}}
	s.running[k] = r
	return r
}

// startOrigin runs a shop that costs little: nginx answering 1 KiB, or where there
// is none the bare program.
func startOrigin(t proc.T) string {
	const size = 1 << 10
	if find("nginx") == "" {
		addr, _ := startBare(t, "bare-answer", strconv.Itoa(size))
		return addr
	}
	addr, _ := startNginx(t, "", fmt.Sprintf(`location / { default_type text/html; return 200 "%s"; }`, strings.Repeat("x", size)))
	return addr
}

// measure measures a row once.
func (s *scene) measure(k key, warm, during time.Duration) (figures, error) {
	r := s.start(k)
	defer r.stop()
	var samples [2][]cpu.Sample // of the server, of the store
	var groups []*cpu.Group
	// Called when warm and in the end. Workers are all there once they have answered.
	read := func() error {
		for i, id := range []int{r.server, r.store} {
			if id == 0 {
				continue
			}
			if len(groups) == i {
				g, err := cpu.Find(id)
				if err != nil {
					return err
				}
				groups = append(groups, g)
			}
			sample, err := groups[i].Read()
			if err != nil {
				return err
			}
			samples[i] = append(samples[i], sample)
		}
		return nil
	}
	result, err := r.load.Run(s.t.Context(), warm, during, read)
	if err != nil {
		return figures{}, err
	}
	f := figures{
		Requests: result.Requests, Elapsed: result.Elapsed, Reconnects: result.Reconnects,
		P50: time.Duration(result.Latency.ValueAtQuantile(50)),
		P99: time.Duration(result.Latency.ValueAtQuantile(99)),
	}
	f.Server, f.Fine = cpu.Used(samples[0][0], samples[0][1])
	if f.Server == 0 && f.Fine {
		return figures{}, fmt.Errorf("%s: %d answers cost no processor time: the wrong processes were read", k, result.Requests)
	}
	if r.store != 0 {
		var fine bool
		f.Store, fine = cpu.Used(samples[1][0], samples[1][1])
		f.Fine = f.Fine && fine
	}
	return f, nil
}
