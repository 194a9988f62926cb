package main

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
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/sluicegate/sluice/loadtest/chaos/relay"
	"github.com/sluicegate/sluice/loadtest/judge"
	"github.com/sluicegate/sluice/loadtest/stage"
	"github.com/sluicegate/sluice/queue/queuetest/proc"
)

// world is what is broken: gates on one redis-server before one shop. Every connection
// in it goes through a relay of its own, so that it can be broken by itself.
//
//	visitors ──▶ front ──▶ gate ──▶ toShop ──▶ shop
//	                        └─────▶ toStore ─▶ redis-server
//
// Its methods are for the goroutine of its T, but where they say otherwise.
type world struct {
	t      proc.T
	room   room
	sluice string
	gates  []*gate
	store  *store
	shop   *shop

	operator *operator
	looser   []judge.Looser // times in which the room's limits were looser, that are over
	picked   int            // the gate that a fault broke last

	// faked: redis-server runs by a clock of its own, see store.jump.
	faked bool
}

// room is what the gates' room is set to.
type room struct {
	rate      int // a second
	burst     int
	maxActive int
	session   time.Duration
	claim     time.Duration
	pollMin   time.Duration
	pollMax   time.Duration
	more      string // settings as YAML, a line each
}

func (r *room) yaml() string {
	return fmt.Sprintf("rate: %d/s\nburst: %d\nmax_active: %d\nsession: %v\nclaim_within: %v\npoll: {min: %v, max: %v}\n%s",
		r.rate, r.burst, r.maxActive, r.session, r.claim, r.pollMin, r.pollMax, r.more)
}

// gate is one with its relays. It outlives its process.
type gate struct {
	*stage.Gate
	number  int // from 1
	front   *relay.Relay
	toStore *relay.Relay
	toShop  *relay.Relay
	config  stage.Config

	up    atomic.Bool   // takes visitors, by the balancer's last look
	led   atomic.Uint64 // bit n: its front has led to gate n
	races []string      // found in processes that have ended
	ends  bool          // a fault has ended it: its death is no news
	mu    sync.Mutex    // of what follows
	// counts are the counters that are watched, over all processes of this gate.
	counts map[string]*count
	looked time.Time // when they were last read
}

// count is a counter that begins at 0 with each process.
type count struct {
	before, last float64
	rises        []rise
}

// rise is that a counter was higher at one look than at the look before.
type rise struct {
	gate     int
	from, to time.Time // of the two looks
	by       float64
}

// newWorld starts everything and waits until it is ready.
func newWorld(t proc.T, sluice string, n int, r room, faked bool) *world {
	t.Helper()
	w := &world{t: t, room: r, sluice: sluice, faked: faked}
	w.shop = newShop(t)
	w.store = newStore(t, faked)
	for i := range n {
		w.gates = append(w.gates, w.newGate(i+1))
	}
	for _, g := range w.gates {
		g.Start(t)
		g.up.Store(true)
	}
	w.operator = newOperator(w.gates)
	t.Cleanup(w.operator.close)
	ctx, stop := context.WithCancel(context.Background())
	var looking sync.WaitGroup
	for _, g := range w.gates {
		g.front = w.relay("the front", w.balance(g))
		looking.Go(func() { g.look(ctx) })
	}
	t.Cleanup(func() {
		stop()
		looking.Wait()
	})
	return w
}

func (w *world) relay(what string, dial func(context.Context) (net.Conn, error)) *relay.Relay {
	w.t.Helper()
	r, err := relay.Listen(stage.FreeAddress(w.t), dial)
	if err != nil {
		w.t.Fatalf("%s: %v", what, err)
	}
	w.t.Cleanup(r.Close)
	return r
}

func (w *world) newGate(number int) *gate {
	w.t.Helper()
	g := &gate{number: number, Gate: stage.New(w.t, w.sluice), counts: make(map[string]*count)}
	g.toStore = w.relay("a way to the store", w.store.dial)
	g.toShop = w.relay("a way to the shop", relay.To(w.shop.addr))
	g.config = stage.Config{
		Store: g.toStore.Addr(), Origin: g.toShop.Addr(), Room: w.room.yaml(),
		Proxy: "header_timeout: 4s\nfailures: {out: 500ms, max_out: 1s}", Shutdown: "{delay: 1s, timeout: 5s}",
	}
	g.Configure(w.t, g.config)
	return g
}

// balance is what a load balancer does for visitors who come to a gate's front: they
// get this gate, or if it is not ready another.
func (w *world) balance(own *gate) func(context.Context) (net.Conn, error) {
	return func(ctx context.Context) (net.Conn, error) {
		ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
		defer cancel()
		var err error
		for _, ready := range []bool{true, false} { // where none is, any may do
			for i := range w.gates {
				g := w.gates[(own.number-1+i)%len(w.gates)]
				if g.up.Load() != ready {
					continue
				}
				var c net.Conn
				if c, err = relay.To(strings.TrimPrefix(g.URL, "http://"))(ctx); err == nil {
					own.led.Or(1 << g.number)
					return c, nil
				}
			}
		}
		return nil, err
	}
}

// look is the balancer's eye on a gate. It keeps the gate's counters as well.
func (g *gate) look(ctx context.Context) {
	ticker := time.NewTicker(100 * time.Millisecond)
	defer ticker.Stop()
	for n, silent := 0, 0; ; n++ {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		err := g.get("/readyz", 300*time.Millisecond, io.Discard)
		if errors.Is(err, context.DeadlineExceeded) {
			silent++
		} else {
			silent = 0
		}
		g.up.Store(err == nil || silent == 1 && g.up.Load()) // a busy machine may be late once
		if n%5 == 0 {
			g.read()
		}
	}
}

var client = &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}

// get reads a page of the gate's admin listener.
func (g *gate) get(path string, patience time.Duration, to io.Writer) error {
	return g.ask("GET", path, "", patience, to)
}

func (g *gate) ask(method, path, body string, patience time.Duration, to io.Writer) error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, "http://"+g.Admin+path, strings.NewReader(body))
	if err != nil {
		return err
	}
	if method == "PATCH" {
		req.Header.Set("Content-Type", "application/merge-patch+json")
	}
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode >= 300 {
		text, _ := io.ReadAll(io.LimitReader(resp.Body, 1000))
		return fmt.Errorf("%s %s: %s: %s", method, path, resp.Status, bytes.TrimSpace(text))
	}
	_, err = io.Copy(to, resp.Body)
	return err
}

// watched are the counters that are kept over restarts.
var watched = []string{overshot, "sluice_restored_total", "sluice_no_show_total"}

const overshot = "sluice_overshoot_total"

// read keeps the gate's counters. It may be called from any goroutine.
func (g *gate) read() {
	var page bytes.Buffer
	if g.get("/metrics", time.Second, &page) != nil {
		return
	}
	now := time.Now()
	g.mu.Lock()
	defer g.mu.Unlock()
	defer func() { g.looked = now }()
	for lines := bufio.NewScanner(&page); lines.Scan(); {
		for _, name := range watched {
			rest, ok := strings.CutPrefix(lines.Text(), name+"{")
			if !ok {
				continue
			}
			_, text, _ := strings.Cut(rest, "} ")
			value, err := strconv.ParseFloat(text, 64)
			if err != nil {
				continue
			}
			c := g.counts[name]
			if c == nil {
				c = &count{}
				g.counts[name] = c
			}
			if value < c.last {
				c.before += c.last
				c.last = 0
			}
			if by := value - c.last; by > 0 {
				c.rises = append(c.rises, rise{g.number, g.looked, now, by})
			}
			c.last = value
		}
	}
}

// total is a counter over all gates and their processes. It may be called from any
// goroutine.
func (w *world) total(name string) (sum float64) {
	for _, g := range w.gates {
		g.mu.Lock()
		if c := g.counts[name]; c != nil {
			sum += c.before + c.last
		}
		g.mu.Unlock()
	}
	return sum
}

// rises are those of a counter at all gates, in order of time.
func (w *world) rises(name string) (out []rise) {
	for _, g := range w.gates {
		g.mu.Lock()
		if c := g.counts[name]; c != nil {
			out = append(out, c.rises...)
		}
		g.mu.Unlock()
	}
	slices.SortFunc(out, func(a, b rise) int { return a.to.Compare(b.to) })
	return out
}

// counts is what a gate's API says of the room.
type counts struct {
	Waiting, Absent, Called, Active int64
}

// kill ends the gate without a word.
func (g *gate) kill() {
	g.read()
	g.ends = true
	g.Kill()
}

// stop asks the gate to end and does not wait.
func (g *gate) stop(t proc.T) {
	t.Helper()
	g.read()
	g.ends = true
	if err := g.Signal(syscall.SIGTERM); err != nil {
		t.Fatalf("stop gate %d: %v", g.number, err)
	}
}

// restart starts the gate again, once it has ended.
func (g *gate) restart(t proc.T) {
	t.Helper()
	<-g.Done()
	g.examine()
	g.Start(t)
	g.ends = false
}

// awaitVisitors waits until the balancer sends the gate visitors.
func (g *gate) awaitVisitors(t proc.T) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); !g.up.Load(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("gate %d is not ready again", g.number)
		}
	}
}

// reload has the gate read its configuration again.
func (g *gate) reload(t proc.T, c stage.Config) {
	t.Helper()
	g.config = c
	g.Configure(t, c)
	if err := g.Signal(syscall.SIGHUP); err != nil {
		t.Fatalf("reload gate %d: %v", g.number, err)
	}
}

// examine looks for races in what the gate's process has printed.
func (g *gate) examine() {
	text := g.Output()
	if i := bytes.Index(text, []byte("DATA RACE")); i >= 0 {
		g.races = append(g.races, fmt.Sprintf("gate %d: %.4000s", g.number, text[i:]))
	}
}

// died tells of gates that ended without being told to.
func (w *world) died() (out []string) {
	for _, g := range w.gates {
		select {
		case <-g.Done():
			if !g.ends {
				out = append(out, fmt.Sprintf("gate %d ended by itself:\n%s", g.number, g.Output()))
			}
		default:
		}
	}
	return out
}

// store is the redis-server.
type store struct {
	t     proc.T
	port  atomic.Int64
	dir   string
	clock *wrongClock // nil: the machine's
	*proc.Process
	db *redis.Client // past the relays
}

func newStore(t proc.T, faked bool) *store {
	t.Helper()
	s := &store{t: t, dir: t.TempDir()}
	s.port.Store(int64(proc.FreePort(t)))
	if faked {
		s.clock = newWrongClock(t)
	}
	s.start()
	s.db = redis.NewClient(&redis.Options{
		Dialer:     func(ctx context.Context, _, _ string) (net.Conn, error) { return s.dial(ctx) },
		MaxRetries: -1, ReadTimeout: 10 * time.Second,
	})
	t.Cleanup(func() { _ = s.db.Close() })
	return s
}

// addr and dial may be called from any goroutine.
func (s *store) addr() string {
	return net.JoinHostPort("127.0.0.1", strconv.FormatInt(s.port.Load(), 10))
}

func (s *store) dial(ctx context.Context) (net.Conn, error) { return relay.To(s.addr())(ctx) }

// start runs it on what its folder holds. It writes every change down.
func (s *store) start(more ...string) {
	s.t.Helper()
	s.Process = s.server(int(s.port.Load()), s.dir, more...)
}

func (s *store) server(port int, dir string, more ...string) *proc.Process {
	s.t.Helper()
	args := append([]string{"--dir", dir, "--appendonly", "yes", "--enable-debug-command", "local"}, more...)
	if s.clock == nil {
		return proc.RedisAt(s.t, port, args...)
	}
	args = append([]string{"--bind", "127.0.0.1", "--port", strconv.Itoa(port), "--save", ""}, args...)
	command := exec.Command(proc.Need(s.t, "redis-server"), args...)
	command.Env = s.clock.environment()
	return proc.StartCommand(s.t, func() error {
		addr := net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
		if err := listens(addr); err != nil { // a client would log it
			return err
		}
		c := redis.NewClient(&redis.Options{Addr: addr, MaxRetries: -1, DialerRetries: 1})
		defer c.Close()
		return c.Ping(context.Background()).Err()
	}, command)
}

func listens(addr string) error {
	c, err := net.Dial("tcp", addr)
	if err == nil {
		err = c.Close()
	}
	return err
}

// do runs a command past the relays.
func (s *store) do(args ...any) error {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := s.db.Do(ctx, args...).Err(); err != nil && !errors.Is(err, redis.Nil) {
		return fmt.Errorf("%v: %w", args[0], err)
	}
	return nil
}

// must is do for what has to work.
func (s *store) must(args ...any) {
	s.t.Helper()
	if err := s.do(args...); err != nil {
		s.t.Fatal(err)
	}
}

// key is the name of one of the room's keys.
func key(name string) string { return "sluice:{" + stage.Room + "}:" + name }

// dump returns a copy of all it holds now.
func (s *store) dump() []byte {
	s.t.Helper()
	s.must("SAVE")
	dump, err := os.ReadFile(filepath.Join(s.dir, "dump.rdb"))
	if err != nil {
		s.t.Fatal(err)
	}
	return dump
}

// wipe removes what its folder holds, and leaves a copy there if there is one. The
// server has to have ended.
func (s *store) wipe(dump []byte) {
	s.t.Helper()
	err := errors.Join(os.RemoveAll(filepath.Join(s.dir, "appendonlydir")), os.RemoveAll(filepath.Join(s.dir, "dump.rdb")))
	if dump != nil {
		err = errors.Join(err, os.WriteFile(filepath.Join(s.dir, "dump.rdb"), dump, 0o600))
	}
	if err != nil {
		s.t.Fatal(err)
	}
}

// startFrom runs it on a copy. A server that is to read a log of changes, which is
// not there, would not look at the copy.
func (s *store) startFrom(dump []byte) {
	s.t.Helper()
	s.wipe(dump)
	s.start("--appendonly", "no")
	s.must("CONFIG", "SET", "appendonly", "yes")
}
