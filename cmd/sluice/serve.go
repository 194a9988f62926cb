package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/KimMachineGun/automemlimit/memlimit"
	"github.com/redis/go-redis/v9"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/sluicegate/sluice/gate/config"
)

func newServeCommand() *cobra.Command {
	var file string
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Stand in front of a site",
		Long: `Stand in front of a site.

  sluice serve --origin http://127.0.0.1:3000

is enough to start: one room for every path, in memory, 10 visitors a second.
With -c everything comes from a file. Flags win over the environment, which wins
over the file: SLUICE_LISTEN, SLUICE_ADMIN, SLUICE_ORIGIN, SLUICE_STORE,
SLUICE_RATE, SLUICE_MAX_ACTIVE, SLUICE_SECRET.

SIGHUP reads the configuration again; a bad one is refused. SIGTERM and SIGINT
stop: not ready at once, then shutdown.delay, then the requests under way end. A
second signal ends the process at once.`,
		Args: noArguments,
	}
	f := cmd.Flags()
	f.StringVarP(&file, "config", "c", "", "configuration `FILE`; env SLUICE_CONFIG")
	f.String("listen", "", "`ADDR` for visitors (default :8080)")
	f.String("admin", "", "`ADDR` for operators (default 127.0.0.1:9090)")
	f.String("origin", "", "`URL` of the site behind")
	f.String("rate", "", "visitors let in per time, `RATE` as in 600/m, 10/s or none; refused beside a file with rooms (default "+config.DefaultRate+")")
	f.String("max-active", "", "most visitors inside at once, `N` or none; refused beside a file with rooms (default none)")
	f.String("store", "", "where the line lives: memory, or the `URL` of a Redis (default memory)")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		hup := make(chan os.Signal, 1)
		signal.Notify(hup, syscall.SIGHUP) // one that comes too early waits, and ends nothing
		defer signal.Stop(hup)
		load := func() (*config.Config, error) {
			return config.Load(config.Source{File: configFile(file), Flags: givenFlags(f), Env: os.LookupEnv})
		}
		c, err := load()
		if problems := (config.Problems{}); errors.As(err, &problems) {
			return usageError("nothing was started, for the configuration has problems:\n  %s", strings.ReplaceAll(err.Error(), "\n", "\n  "))
		} else if err != nil {
			return exitError{exitUsage, whence(file, err)}
		}
		log := newLogger(c.Log)
		redis.SetLogger(redisLog{log})
		limitMemory(log, memlimit.FromCgroup)
		p, err := newProcess(c, log, load)
		if err != nil {
			return err
		}
		go func() {
			for range hup {
				if cmd.Context().Err() == nil { // not while it stops
					_ = p.reload(cmd.Context()) // logged where it happens
				}
			}
		}()
		endProfile, err := profile()
		if err != nil {
			return err
		}
		// It ends with the work, before what the stop waits for.
		ended := make(chan error, 1)
		isOver := context.AfterFunc(cmd.Context(), func() { ended <- endProfile() })
		err = p.run(cmd.Context())
		if isOver() {
			ended <- endProfile()
		}
		return errors.Join(err, <-ended)
	}
	return cmd
}

// givenFlags are the values of the flags that were given, but for the file's.
func givenFlags(f *pflag.FlagSet) map[string]string {
	given := make(map[string]string)
	f.Visit(func(flag *pflag.Flag) {
		if flag.Name != "config" {
			given[flag.Name] = flag.Value.String()
		}
	})
	return given
}

func newLogger(c config.Log) *slog.Logger {
	options := &slog.HandlerOptions{Level: c.Level}
	if c.Format == "text" {
		return slog.New(slog.NewTextHandler(os.Stderr, options))
	}
	return slog.New(slog.NewJSONHandler(os.Stderr, options))
}

// redisLog takes what the Redis client prints by itself. The gate tells what it
// means for visitors; this is for those who look for the cause.
type redisLog struct{ log *slog.Logger }

func (l redisLog) Printf(ctx context.Context, format string, args ...any) {
	l.log.DebugContext(ctx, fmt.Sprintf(format, args...), "log", "redis")
}

// reload reads the configuration again and applies what can be applied while
// running. A bad one is refused, logged and leaves everything as it was.
func (p *process) reload(context.Context) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	c, err := p.load()
	if err == nil {
		err = p.apply(c)
	}
	p.metrics.ConfigReload(err == nil, time.Now())
	if err != nil {
		p.log.Error("the configuration was not reloaded; the old one stays in force", "error", err)
		return err
	}
	p.config = c
	p.metrics.SetRooms(p.gate.Names())
	p.setAdmin(c)
	p.log.Info("the configuration was reloaded")
	p.tellWarnings(c)
	p.followOrigin(c)
	p.tellRooms(c)
	return nil
}

// apply puts another configuration in force, if a running process can take it.
func (p *process) apply(c *config.Config) error {
	if c.SecretGenerated {
		if !p.config.SecretGenerated {
			return errors.New("the secret is gone, and without it nobody keeps their place")
		}
		c.Secrets = p.config.Secrets
	}
	if what := needsRestart(p.config, c); what != "" {
		return fmt.Errorf("%s changed, which takes a restart", what)
	}
	if _, err := shareFiles(c); err != nil {
		return err // nor would it start
	}
	show, err := p.certs.Prepare(certificates(c))
	if err != nil {
		return err
	}
	if err := p.gate.Apply(c); err != nil {
		return err
	}
	show()
	return nil
}

// needsRestart names what a running process cannot change.
func needsRestart(old, c *config.Config) string {
	switch {
	case !slices.EqualFunc(old.Listen, c.Listen, sameListener):
		return "listen"
	case old.Admin.Listen != c.Admin.Listen:
		return "admin.listen"
	case old.Limits.Header != c.Limits.Header:
		return "limits.header"
	case old.Visitors.MaxConns != c.Visitors.MaxConns:
		return "visitors.max_conns"
	case old.Visitors.Reserve != c.Visitors.Reserve:
		return "visitors.reserve"
	case old.Visitors.HeaderTimeout != c.Visitors.HeaderTimeout:
		return "visitors.header_timeout"
	case old.ProxyProtocol != c.ProxyProtocol:
		return "proxy_protocol"
	case old.Store != c.Store:
		return "store"
	case old.Log != c.Log:
		return "log"
	case old.Origin.MaxConns != c.Origin.MaxConns:
		return "origin.max_conns"
	case old.Origin.Tunnels.Max != c.Origin.Tunnels.Max:
		return "origin.tunnels.max"
	}
	return ""
}

// sameListener compares all but where it is configured.
func sameListener(a, b config.Listener) bool {
	a.Where = b.Where
	return a == b
}
