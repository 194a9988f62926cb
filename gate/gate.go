package gate

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/valyala/fasthttp"

	"github.com/sluicegate/sluice/gate/config"
	"github.com/sluicegate/sluice/gate/proxy"
	"github.com/sluicegate/sluice/gate/route"
	"github.com/sluicegate/sluice/metrics"
	"github.com/sluicegate/sluice/queue"
)

// Gate answers visitors. Its handler is Handle; Run keeps its rooms going.
type Gate struct {
	store   queue.Store
	metrics *metrics.Metrics
	log     *slog.Logger
	now     func() time.Time
	maxHeld int
	tunnels *proxy.Tunnels
	certs   Certificates // nil: there are none

	site     atomic.Pointer[site] // what the configuration says, swapped as a whole
	ready    atomic.Bool
	failures failures

	mu    sync.Mutex // guards changes of the configuration, and what follows
	rooms map[string]*room
	ctx   context.Context // of Run; nil before
	lines sync.WaitGroup

	replaced []*site        // by reloads, with requests or tunnels under way
	retiring sync.WaitGroup // they are
	stop     chan struct{}  // closed with closed
	closed   bool           // by Close
}

// Options are what a gate works with beside its configuration.
type Options struct {
	Store   queue.Store
	Metrics *metrics.Metrics // nil: nobody counts
	Log     *slog.Logger     // nil: nobody listens
	MaxHeld int              // most polls held at once
	Now     func() time.Time // what rooms go by; nil: time.Now
	Certs   Certificates     // nil: visitors use TLS nowhere
	// MaxTunnels is how many tunnels there may be at once; 0: 4096.
	MaxTunnels int
}

// New returns a gate for a configuration. It admits nobody before Run.
func New(c *config.Config, o Options) (*Gate, error) {
	if o.Metrics == nil {
		o.Metrics = metrics.Discard()
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	g := &Gate{store: o.Store, metrics: o.Metrics, log: o.Log, now: o.Now, maxHeld: o.MaxHeld, tunnels: proxy.NewTunnels(o.MaxTunnels), certs: o.Certs, rooms: make(map[string]*room), stop: make(chan struct{})}
	if err := g.Apply(c); err != nil {
		return nil, err
	}
	g.metrics.SetOrigins(g.origins)
	return g, nil
}

// Handle answers one request.
func (g *Gate) Handle(ctx *fasthttp.RequestCtx) {
	x := begun(ctx)
	if x == nil {
		x = exchanges.Get().(*exchange)
		x.begin(g, ctx)
		x.door.Begin()
	}
	defer func() {
		x.recovered(recover())
		x.end()
	}()
	if x.answer.Continue {
		x.send()
		return
	}
	g.decide(x)
}

// Expect answers a request whose body the visitor holds back until told to go on.
// 100 says that they are told so, and that Handle goes on with it; any other status
// is that of the answer.
func (g *Gate) Expect(ctx *fasthttp.RequestCtx) (status int) {
	x := exchanges.Get().(*exchange)
	x.begin(g, ctx)
	x.door.Begin()
	defer func() {
		x.recovered(recover())
		if x.answer.Continue {
			ctx.SetUserValue(expected{}, x)
			status = fasthttp.StatusContinue
			return
		}
		x.end()
		status = ctx.Response.StatusCode()
	}()
	g.decide(x)
	return 0
}

// decide is what a request meets, in this order. Every step that answers returns.
func (g *Gate) decide(x *exchange) {
	if err := proxy.Validate(x.ctx); err != nil {
		x.why = proxy.Reason(err)
		x.refuse(malformed(err)) // two parties could read it differently
		return
	}
	x.read()
	if string(x.method) == "TRACE" {
		x.refuseTrace() // it would show what is added for the shop alone
		return
	}
	if status := x.overLimits(); status != 0 {
		x.refuse(status)
		return
	}
	if x.plainly() {
		return // it is to be made by https
	}
	if api, ok := x.visitorAPI(); ok {
		g.answerAPI(x, api)
		return
	}
	if !x.isHere() {
		x.refuseHost() // the shop may serve under any name what has a line under its own
		return
	}
	index, verdict := x.findRoom()
	switch verdict {
	case route.Refused:
		x.why = x.ambiguity()
		x.refuse(fasthttp.StatusBadRequest) // nobody can tell which room it means
		return
	case route.Ungated, route.Excepted:
		if !x.turnedAway() && !x.limited(false) {
			x.forward(metrics.Ungated)
			x.closeCrowded()
		}
		return
	}
	if index == len(x.site.rooms) {
		x.why = "the path is one of the gate's own in some spelling"
		x.refuse(fasthttp.StatusBadRequest) // and would reach the shop
		return
	}
	x.room = x.site.rooms[index]
	if x.isPreflight() {
		x.answerPreflight() // browsers send it without cookies, so it could never pass
		return
	}
	x.takeInHand()
	if x.hasPass() {
		x.forward(metrics.Pass)
		return
	}
	if x.turnedAway() || x.limited(x.isNavigation() && !x.isPrefetch() && !x.hand.isTicket()) {
		return
	}
	if x.isPrefetch() {
		x.answerNone() // nobody asked for it, so it takes no place and no turn
		return
	}
	a := x.askTurn(x.isNavigation())
	if a.State == queue.Admitted {
		x.forward(metrics.Admit)
		return
	}
	x.answerWaiting(&a)
}

// askTurn asks the line for the holder of a ticket, or for somebody who has
// nothing; with join the latter take a place. What they are given to keep is put
// into their hand.
func (x *exchange) askTurn(join bool) queue.Answer {
	var a queue.Answer
	if x.hand.isTicket() {
		a = x.room.line.Poll(x.hand.ID, x.hand.Place, x.holds(), x.isAlive)
	}
	if !x.hand.isTicket() || a.State == queue.Used {
		x.hand.drop()
		id := queue.ID(rand.Uint64())
		a = x.room.line.Join(id, join)
		x.hand.ID = id
	}
	x.keep(&a)
	return a
}

// Apply puts a configuration in force. Rooms that it keeps keep their lines. On an
// error everything stays as it was.
func (g *Gate) Apply(c *config.Config) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed {
		return errNotReady
	}
	old := g.site.Load()
	s, err := g.newSite(c)
	if err != nil {
		return err
	}
	kept := make(map[string]*room)
	for _, r := range s.rooms {
		kept[r.name] = r
		if was := g.rooms[r.name]; was != nil {
			r.line, r.stop = was.line, was.stop
			r.line.SetFile(r.settings)
			r.line.SetAdmit(c.OnStoreLoss == "admit")
			continue
		}
		r.line = queue.NewLine(queue.LineConfig{
			Room: r.name, Settings: r.settings, Store: g.store, Metrics: g.metrics, Log: g.log, Now: g.now, MaxHeld: g.maxHeld, Admit: c.OnStoreLoss == "admit",
		})
		g.startLine(r)
	}
	for name, was := range g.rooms {
		if kept[name] == nil && was.stop != nil {
			was.stop()
		}
	}
	g.rooms = kept
	g.site.Store(s)
	if old != nil && old.proxy != s.proxy {
		g.replaced = append(g.replaced, old)
		g.retiring.Go(func() { g.retire(old) })
	}
	return nil
}

// startLine lets a room's line go, once Run was called. g.mu is held.
func (g *Gate) startLine(r *room) {
	if g.ctx == nil {
		return
	}
	ctx, stop := context.WithCancel(g.ctx)
	r.stop = stop
	g.lines.Go(func() { _ = r.line.Run(ctx) })
}

// Run keeps the rooms going until ctx ends, and what they gathered last is sent.
func (g *Gate) Run(ctx context.Context) error {
	g.mu.Lock()
	g.ctx = ctx
	for _, r := range g.rooms {
		g.startLine(r)
	}
	g.mu.Unlock()
	<-ctx.Done()
	g.lines.Wait()
	return ctx.Err()
}

// SetReady says whether load balancers should send visitors here.
func (g *Gate) SetReady(ready bool) { g.ready.Store(ready) }

// Ready returns nil when visitors may come, else why not.
func (g *Gate) Ready() error {
	if !g.ready.Load() {
		return errNotReady
	}
	return nil
}

// EndTunnels asks tunnels to end, those of replaced configurations too, and lets none
// begin; those still open when ctx ends are cut.
func (g *Gate) EndTunnels(ctx context.Context) error { return g.tunnels.End(ctx) }

// Close ends tunnels and connections to the origin; those still in use when ctx
// ends are cut.
func (g *Gate) Close(ctx context.Context) error {
	g.mu.Lock()
	if !g.closed {
		g.closed = true
		close(g.stop)
	}
	g.mu.Unlock()
	err := g.site.Load().proxy.Shutdown(ctx)
	g.retiring.Wait()
	return err
}

// retire lets a replaced configuration go: requests that began under it reach its
// origin in the meantime, and its tunnels stay until they end or the gate does.
func (g *Gate) retire(old *site) {
	late := time.NewTimer(lateForward)
	defer late.Stop()
	select {
	case <-late.C:
	case <-g.stop:
	}
	old.proxy.Retire()
	g.mu.Lock()
	defer g.mu.Unlock()
	g.replaced = slices.DeleteFunc(g.replaced, func(s *site) bool { return s == old })
}

// lateForward is how long after a reload a request that began before it may still
// be forwarded: longer than a poll is held.
const lateForward = 10 * time.Second
