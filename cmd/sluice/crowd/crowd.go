// Package crowd is the crowd of `sluice demo`: simulated visitors who come in
// waves, over real HTTP, and do at a gate what browsers do. They open a gated
// page, wait as the waiting page's script would, are let in, look around, order,
// and go, or lose patience on the way.
//
// A crowd sees a gate from outside only and knows no more of a shop than links,
// pictures and forms.
package crowd

import (
	"context"
	"iter"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// Config says where a crowd goes and how it behaves.
type Config struct {
	Gate string // base URL, such as http://127.0.0.1:8080
	Room string // the room that guards Path
	Path string // the gated page that everybody wants

	// Waves tells when visitors arrive; nil means the waves of this package.
	// It must give them in order of Start.
	Waves func(seed uint64) iter.Seq[Wave]

	Seed        uint64       // crowds of one seed arrive and decide alike
	MaxVisitors int          // most present at once; who arrives beyond is skipped; 0 means 400
	Log         *slog.Logger // nil means silence
}

// Stats are the numbers of a crowd. Waiting and Shopping are how many do so now, the
// others count since the start.
type Stats struct {
	Arrived   int64 // came to the gate
	Skipped   int64 // did not set out, because MaxVisitors were present
	Waiting   int64 // in line now
	Admitted  int64 // got in
	Shopping  int64 // inside now
	Ordered   int64 // ordered something
	Abandoned int64 // of Left, those who walked away while waiting
	Left      int64 // gone, whatever the reason
	Errors    int64 // requests that failed or got an answer that makes no sense
}

// maxConns bounds the connections to the gate. A visitor next to be called may
// hold one for two seconds, so it is not far below the crowd's size.
const maxConns = 256

// Crowd is made by New and runs once.
type Crowd struct {
	conf      Config
	transport http.RoundTripper
	closeIdle func()
	grumble   grumble

	present                                     atomic.Int64
	arrived, skipped, waiting, admitted, inside atomic.Int64
	ordered, abandoned, left, errors            atomic.Int64
}

// New makes a crowd that stays at home until Run.
func New(c Config) *Crowd {
	if c.Waves == nil {
		c.Waves = Waves
	}
	if c.MaxVisitors <= 0 {
		c.MaxVisitors = 400
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	t := &http.Transport{
		MaxConnsPerHost:       maxConns,
		MaxIdleConnsPerHost:   maxConns,
		MaxIdleConns:          maxConns,
		IdleConnTimeout:       5 * time.Second,
		ResponseHeaderTimeout: 30 * time.Second,
		DisableCompression:    true,
	}
	return &Crowd{conf: c, transport: t, closeIdle: t.CloseIdleConnections}
}

// Stats may be called at any time.
func (c *Crowd) Stats() Stats {
	return Stats{
		Arrived: c.arrived.Load(), Skipped: c.skipped.Load(), Waiting: c.waiting.Load(),
		Admitted: c.admitted.Load(), Shopping: c.inside.Load(), Ordered: c.ordered.Load(),
		Abandoned: c.abandoned.Load(), Left: c.left.Load(), Errors: c.errors.Load(),
	}
}

// Run sends visitors until ctx ends, or until the last of a finite schedule has
// gone. It returns once everybody has, with no error for the end of ctx.
func (c *Crowd) Run(ctx context.Context) error {
	var present sync.WaitGroup
	defer c.closeIdle()
	defer present.Wait()

	began := time.Now()
	n := uint64(0)
	for w := range c.conf.Waves(c.conf.Seed) {
		if !sleep(ctx, w.Start-time.Since(began)) {
			return nil
		}
		c.conf.Log.Debug("wave", "visitors", w.Visitors, "within", w.Length)
		for at := range w.arrivals(c.conf.Seed) {
			if !sleep(ctx, at-time.Since(began)) {
				return nil
			}
			n++
			if c.present.Load() >= int64(c.conf.MaxVisitors) {
				c.skipped.Add(1)
				continue
			}
			c.present.Add(1)
			c.arrived.Add(1)
			v := c.visitor(n)
			present.Go(func() {
				defer c.left.Add(1)
				defer c.present.Add(-1)
				v.live(ctx)
			})
		}
	}
	return nil
}

// visitor makes the n-th one, whose character depends on the seed and n alone.
func (c *Crowd) visitor(n uint64) *visitor {
	return newVisitor(c, rand.New(rand.NewPCG(c.conf.Seed, n)))
}

// sleep waits for d and reports whether ctx still runs.
func sleep(ctx context.Context, d time.Duration) bool {
	if d <= 0 {
		return ctx.Err() == nil
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// grumble logs the first of many complaints and, ten seconds later at the
// earliest, the next one with how many were dropped in between.
type grumble struct {
	mu      sync.Mutex
	last    time.Time
	dropped int
}

func (g *grumble) log(l *slog.Logger, err error) {
	if dropped, ok := g.turn(time.Now()); ok {
		l.Warn("a visitor's request went wrong", "error", err, "dropped", dropped)
	}
}

func (g *grumble) turn(now time.Time) (dropped int, ok bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if !g.last.IsZero() && now.Sub(g.last) < 10*time.Second {
		g.dropped++
		return 0, false
	}
	dropped, g.dropped, g.last = g.dropped, 0, now
	return dropped, true
}
