package visitor

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"net"
	"net/url"
	"regexp"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/sluicegate/sluice/loadtest/executor"
	"github.com/sluicegate/sluice/loadtest/judge"
	"github.com/sluicegate/sluice/loadtest/metric"
)

// Config says where a scenario's visitors go, and what is written down of it.
type Config struct {
	Targets  []string // addresses of the gates, as http://127.0.0.1:8080
	Room     string
	Path     string // what they come for, gated by the room
	Journey  Journey
	Scenario string      // tag of everything measured
	Tags     metric.Tags // beside it

	Metrics *metric.Registry
	Log     *judge.Log   // nil: nothing is judged
	Open    *Connections // shared by the scenarios of a process; nil: as many as its file limit allows

	// InsecureTLS: certificates are not verified, as for a rehearsal with a gate's own.
	InsecureTLS bool
}

// Crowd is the visitors of a scenario. Its methods may be called from any goroutine.
type Crowd struct {
	journey Journey
	targets []target
	room    string // cookie's and API's
	path    string
	cookie  string
	gauges  *gauges
	log     *judge.Log
	open    *Connections
	extra   string // header lines of the script

	mu     sync.Mutex
	errors map[string]int64
}

var roomName = regexp.MustCompile(`^[a-z0-9-]{1,32}$`)

// New returns the crowd of a scenario, or every problem with its configuration at
// once. It resolves the targets' names.
func New(c Config) (*Crowd, error) {
	var errs []error
	fail := func(format string, args ...any) { errs = append(errs, fmt.Errorf("visitor: "+format, args...)) }
	crowd := &Crowd{
		journey: c.Journey, room: c.Room, path: c.Path, cookie: "sluice-" + c.Room,
		log: c.Log, open: c.Open, errors: make(map[string]int64),
	}
	if !roomName.MatchString(c.Room) {
		fail("%q is no name of a room: 1 to 32 of a-z, 0-9 and -", c.Room)
	}
	if err := checkPath(c.Path); err != nil {
		fail("path: %w", err)
	}
	if c.Metrics == nil {
		fail("no registry of metrics")
	}
	if len(c.Targets) == 0 {
		fail("no target")
	}
	for _, text := range c.Targets {
		t, err := newTarget(text, c.InsecureTLS)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		crowd.targets = append(crowd.targets, t)
	}
	if crowd.open == nil {
		var err error
		if crowd.open, err = NewConnections(0); err != nil {
			errs = append(errs, err)
		}
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	for _, p := range []*string{&crowd.journey.Order.Path, &crowd.journey.Post.Path} {
		*p = cmp.Or(*p, c.Path)
	}
	var b strings.Builder
	agent := "User-Agent: Mozilla/5.0 (compatible; sluice-loadtest)\r\n"
	for _, h := range c.Journey.Headers {
		if strings.EqualFold(h[0], "User-Agent") {
			agent = ""
		}
		b.WriteString(h[0] + ": " + h[1] + "\r\n")
	}
	crowd.extra = agent + b.String()
	crowd.gauges = newGauges(c.Metrics, c.Tags.With("scenario", c.Scenario))
	return crowd, nil
}

func newTarget(text string, insecure bool) (target, error) {
	u, err := url.Parse(text)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.User != nil ||
		strings.TrimSuffix(u.Path, "/") != "" || u.RawQuery != "" || u.Fragment != "" {
		return target{}, fmt.Errorf("visitor: target %q: want http://HOST:PORT or https://HOST:PORT, and nothing after it", text)
	}
	port := cmp.Or(u.Port(), map[string]string{"http": "80", "https": "443"}[u.Scheme])
	addr, err := net.ResolveTCPAddr("tcp", net.JoinHostPort(u.Hostname(), port))
	if err != nil {
		return target{}, fmt.Errorf("visitor: target %q: %w", text, err)
	}
	t := target{name: text, host: u.Host, addr: addr}
	if u.Scheme == "https" {
		t.tls = &tls.Config{
			ServerName: u.Hostname(), InsecureSkipVerify: insecure,
			NextProtos: []string{"http/1.1"}, ClientSessionCache: tls.NewLRUClientSessionCache(1024),
		}
	}
	return t, nil
}

// Visit is one visitor's journey, an executor.Iteration: they were due at intended,
// and it ends when they are gone, or soon after ctx does.
func (c *Crowd) Visit(ctx context.Context, vu *executor.VU, intended time.Time) {
	growStack()
	r := vu.Rand
	if r.Float64() < c.journey.Bots.Share {
		c.bot(ctx, r, intended)
		return
	}
	v := c.newVisitor(r)
	defer v.client.end()
	v.visit(ctx, intended)
}

// growStack gives its goroutine at once, while little has to be moved, the stack that a
// visitor needs. It would double it call by call otherwise, each time with all frames.
//
//go:noinline
func growStack() {
	var frame [6 << 10]byte
	runtime.KeepAlive(&frame)
}

// Errors tells what went wrong with requests, and how often.
func (c *Crowd) Errors() map[string]int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return maps.Clone(c.errors)
}

// maxErrors is how many different errors are told apart.
const maxErrors = 50

// complain counts an error by what it is, without addresses, and returns that.
func (c *Crowd) complain(s step, err error) string {
	what := err.Error()
	var op *net.OpError
	var number syscall.Errno
	switch {
	case isTimeout(err):
		what = "timeout"
	case errors.As(err, &number):
		what = number.Error()
	case errors.As(err, &op):
		what = op.Err.Error()
	}
	of := s.String() + ": "
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, known := c.errors[of+what]; !known && len(c.errors) >= maxErrors {
		of, what = "", "something else"
	}
	c.errors[of+what]++
	return what
}

// newSource draws an address for a visitor where the targets are this machine: each
// address has 28,000 ports of its own. nil leaves the choice to the system.
func (c *Crowd) newSource(r *rand.Rand) net.IP {
	for i := range c.targets {
		ip := c.targets[i].addr.IP.To4()
		if ip == nil || !ip.IsLoopback() {
			return nil
		}
	}
	return net.IPv4(127, byte(1+r.IntN(254)), byte(r.IntN(256)), byte(1+r.IntN(254))).To4()
}

// Connections bounds how many connections a process has open at once.
type Connections struct{ free chan struct{} }

// reserve are files that are not for visitors: logs, listeners, the harness's own.
const reserve = 512

// NewConnections allows so many; 0: as many as the limit on open files does, less a
// reserve.
func NewConnections(most int) (*Connections, error) {
	if most <= 0 {
		var limit syscall.Rlimit
		if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
			return nil, fmt.Errorf("visitor: read the limit on open files: %w", err)
		}
		most = int(min(limit.Cur, 1<<20)) - reserve
		if most < 16 {
			return nil, fmt.Errorf("visitor: the limit of %d open files leaves nothing beside a reserve of %d: raise it (ulimit -n)", limit.Cur, reserve)
		}
	}
	return &Connections{free: make(chan struct{}, most)}, nil
}

func (c *Crowd) acquireConn(ctx context.Context) error {
	select {
	case c.open.free <- struct{}{}:
		return nil
	default:
	}
	select {
	case c.open.free <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (c *Crowd) releaseConn() { <-c.open.free }
