package main

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sluicegate/sluice/gate"
	"github.com/sluicegate/sluice/gate/admin"
	"github.com/sluicegate/sluice/gate/cert"
	"github.com/sluicegate/sluice/gate/config"
	"github.com/sluicegate/sluice/gate/door"
	"github.com/sluicegate/sluice/gate/listen"
	"github.com/sluicegate/sluice/metrics"
	"github.com/sluicegate/sluice/queue"
	"github.com/sluicegate/sluice/queue/memory"
	"github.com/sluicegate/sluice/queue/redis"
)

// process is a gate with its listeners, from start to stop.
type process struct {
	log     *slog.Logger
	files   door.Files                     // as they were shared at the start
	load    func() (*config.Config, error) // for reloads; nil: there are none
	metrics *metrics.Metrics
	store   queue.Store
	certs   *cert.Keeper
	gate    *gate.Gate

	visitors  []socket
	operators net.Listener
	server    *gate.Server
	admin     *http.Server
	handler   atomic.Pointer[http.Handler]

	mu      sync.Mutex
	config  *config.Config
	missing int // files that the origin needs of the visitors'
}

// newProcess makes everything ready and opens the listeners. Nobody is answered
// before run.
func newProcess(c *config.Config, log *slog.Logger, load func() (*config.Config, error)) (*process, error) {
	p := &process{log: log, load: load, config: c}
	files, err := shareFiles(c)
	if err != nil {
		return nil, err
	}
	conns := visitorConns(c, files)
	if p.store, err = openStore(c.Store); err != nil {
		return nil, exitError{exitUsage, err}
	}
	names := make([]string, len(c.Rooms))
	for i, r := range c.Rooms {
		names[i] = r.Name
	}
	p.metrics = metrics.New(thisBuild().Version, names)
	p.certs = cert.New(log, p.metrics)
	if err := p.certs.Set(certificates(c)); err != nil {
		return nil, exitError{exitUsage, err}
	}
	now, err := clock()
	if err != nil {
		return nil, err
	}
	p.gate, err = gate.New(c, gate.Options{
		Certs: p.certs, Now: now,
		Store: p.store, Metrics: p.metrics, Log: log, MaxHeld: gate.HeldShare(conns), MaxTunnels: files.Tunnels,
	})
	if err != nil {
		return nil, exitError{exitUsage, err}
	}
	p.server = gate.NewServer(p.gate, door.Limits{
		Conns: conns, Reserve: conns * c.Visitors.Reserve / 100, Header: c.Visitors.HeaderTimeout,
	})
	p.setAdmin(c)
	p.admin = admin.Server(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		(*p.handler.Load()).ServeHTTP(w, r)
	}), log)
	if err := p.openVisitors(c.Listen); err != nil {
		return nil, err
	}
	if p.operators, err = net.Listen("tcp", c.Admin.Listen); err != nil {
		p.closeVisitors()
		return nil, cannotListen("operators", c.Admin.Listen, "with --admin, SLUICE_ADMIN or admin.listen in the file", err)
	}
	p.metrics.ConfigReload(true, time.Now())
	p.warn(c)
	p.tellClock()
	p.tellFiles(files)
	p.tellMemory(c, conns)
	files.Visitor = conns
	p.files = files
	return p, nil
}

// shareFiles finds out how many connections visitors can have.
func shareFiles(c *config.Config) (door.Files, error) {
	limit, err := door.RaiseFiles()
	if err != nil {
		return door.Files{}, err
	}
	return door.Share(limit, c.Visitors.MaxConns, originFiles(c), c.Origin.Tunnels.Max)
}

func originFiles(c *config.Config) int { return c.Origin.MaxConns * len(c.Origin.URLs) }

// followOrigin gives the origin the files that it needs when it has more servers than
// the start knew of: by a reload, or because a name leads to several. p.mu is held.
func (p *process) followOrigin(c *config.Config) {
	f := p.files
	servers := max(len(c.Origin.URLs), p.gate.OriginServers())
	f.Origin = servers * c.Origin.MaxConns
	missing := f.Missing()
	p.server.Narrow(missing)
	if missing > p.missing {
		p.log.Warn("the origin has more servers than the start left open files for: visitors get fewer connections",
			"limit", f.Limit, "missing", missing, "visitors", f.Visitor, "servers", servers, "origin", f.Origin, "origin_before", p.files.Origin, "tunnels", f.Tunnels,
			"hint", "raise the limit (LimitNOFILE, ulimit -Hn), or lower origin.max_conns, and restart")
	}
	p.missing = missing
}

// followOriginForever does so until ctx ends.
func (p *process) followOriginForever(ctx context.Context) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		p.mu.Lock()
		p.followOrigin(p.config)
		p.mu.Unlock()
	}
}

// tellFiles writes what the process may have open, and for whom.
func (p *process) tellFiles(f door.Files) {
	tell := p.log.Info
	if f.IsLow() {
		tell = p.log.Warn
	}
	args := []any{"limit", f.Limit, "visitors", f.Visitor, "origin", f.Origin, "tunnels", f.Tunnels}
	if f.IsLow() {
		args = append(args, "hint", "a crowd needs more for visitors: raise the hard limit (LimitNOFILE in the unit, ulimit -Hn, or the container's)")
	}
	tell("open files", args...)
}

// warn tells what a configuration leaves open that its operator may not expect.
func (p *process) warn(c *config.Config) {
	if c.SecretGenerated {
		p.log.Warn("no secret is configured: one was made at random, and a restart loses the line. Set secret or SLUICE_SECRET.")
	}
	if !admin.IsLoopback(c.Admin.Listen) && len(c.Admin.Tokens) == 0 {
		p.log.Warn("the admin API is shut, for its listener is not on loopback and there are no tokens. Set admin.tokens_file, or listen on 127.0.0.1.",
			"admin.listen", c.Admin.Listen)
	}
	p.tellWarnings(c)
}

func (p *process) tellWarnings(c *config.Config) {
	for _, w := range c.Warnings {
		p.log.Warn("the configuration leaves something open", "warning", w.Error())
	}
}

// tellRooms writes what every room protects, and its limits without live changes.
func (p *process) tellRooms(c *config.Config) {
	for _, r := range c.Rooms {
		var match []string
		for _, m := range r.Match {
			match = append(match, m.Host+cmp.Or(m.Path, "/"))
		}
		s := &r.Settings
		p.log.Info("a room", "room", r.Name, "match", match, "mode", s.Mode.String(), "rate", s.Rate.String(),
			"burst", s.Get("burst"), "max_active", s.Get("max_active"))
	}
}

// setAdmin puts the operators' handler of a configuration in force.
func (p *process) setAdmin(c *config.Config) {
	tokens := make([]admin.Token, len(c.Admin.Tokens))
	for i, t := range c.Admin.Tokens {
		tokens[i] = admin.Token{Name: t.Name, Role: t.Role, Hash: t.Hash}
	}
	conf := admin.Config{
		Rooms: p.gate, Metrics: p.metrics.Handler(), Ready: p.gate.Ready,
		Tokens: tokens, Loopback: admin.IsLoopback(c.Admin.Listen),
		Audit: p.log.With("log", "audit"), Log: p.log,
	}
	if p.load != nil {
		conf.Reload = p.reload
	}
	h := admin.New(conf)
	p.handler.Store(&h)
}

func openStore(address string) (queue.Store, error) {
	if address == "memory" {
		return memory.New(memory.Options{}), nil
	}
	return redis.Open(address)
}

// run serves until ctx ends, then stops in this order: not ready, so that load
// balancers send nobody more; who stands in the queues of the sockets is taken in;
// no new connections, and those under way finish, and so do tunnels, when told; the
// line, which sends what it gathered; the operators' listener; the store. A listener
// that fails stops the rest.
func (p *process) run(ctx context.Context) error {
	p.mu.Lock()
	c := p.config
	p.mu.Unlock()
	failed := make(chan error, len(p.visitors)+1)
	for _, l := range p.visitors {
		var upon []func(net.Listener) net.Listener
		if c.ProxyProtocol {
			upon = append(upon, p.gate.Proxied)
		}
		if l.tls {
			upon = append(upon, p.certs.Listener)
		}
		go func() { failed <- p.server.Serve(l.Listener, upon...) }()
	}
	go func() {
		err := p.admin.Serve(p.operators)
		if errors.Is(err, http.ErrServerClosed) {
			err = nil
		}
		failed <- err
	}()
	certsCtx, stopCerts := context.WithCancel(context.WithoutCancel(ctx))
	certs := make(chan struct{})
	go func() {
		p.certs.Run(certsCtx)
		close(certs)
	}()
	defer func() {
		stopCerts()
		<-certs
	}()
	lineCtx, stopLine := context.WithCancel(context.WithoutCancel(ctx))
	defer stopLine()
	line := make(chan struct{})
	go func() {
		_ = p.gate.Run(lineCtx)
		close(line)
	}()
	risks := make(chan struct{})
	go func() {
		p.tellRisks(lineCtx)
		close(risks)
	}()
	p.log.Info("sluice is open", "version", thisBuild().Version,
		"visitors", p.addresses(), "operators", p.operators.Addr().String(),
		"origin", c.Origin.URLs, "store", c.Redacted().Store)
	p.tellRooms(c)
	p.gate.SetReady(true)
	files, stopFiles := context.WithCancel(ctx)
	var looking sync.WaitGroup
	looking.Go(func() { p.followOriginForever(files) })
	defer looking.Wait()
	defer stopFiles()

	var err error
	select {
	case <-ctx.Done():
	case err = <-failed:
	}
	p.mu.Lock()
	shutdown := p.config.Shutdown
	p.mu.Unlock()
	p.gate.SetReady(false)
	p.log.Info("stopping", "delay", queue.Span(shutdown.Delay), "timeout", queue.Span(shutdown.Timeout), "hint", "a second signal ends it at once")
	if err == nil {
		p.server.Farewell(shutdown.Delay)
		time.Sleep(shutdown.Delay)
	}
	end, cancel := context.WithTimeout(context.Background(), shutdown.Timeout)
	defer cancel()
	listen.Drain(end, p.sockets())
	tunnels := make(chan error, 1)
	go func() { tunnels <- p.gate.EndTunnels(end) }()
	if e := p.server.Shutdown(end); e != nil {
		p.log.Warn("requests were cut off at the deadline", "error", e)
	}
	if e := <-tunnels; e != nil {
		p.log.Warn("tunnels were cut off at the deadline", "error", e)
	}
	_ = p.gate.Close(end)
	stopLine()
	<-line
	<-risks
	_ = p.admin.Shutdown(end)
	if e := p.store.Close(); e != nil {
		p.log.Warn("the store did not close", "error", e)
	}
	p.log.Info("stopped")
	return err
}
