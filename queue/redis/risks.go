package redis

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/redis/go-redis/v9"
)

// Risk is how a server of the store is set up to lose what it is told, or to let in
// more than it should.
type Risk struct {
	Servers []string // addresses
	Risk    string   // what may become of visitors
	Hint    string   // what to set
	Unknown bool     // the server does not say how it is set up
}

// Risks asks every server that the store lives on, or may live on after a failover,
// how it is set up. It changes nothing. Servers that do not answer are told of in the
// error; what was found at the others is returned all the same.
func (s *Store) Risks(ctx context.Context) ([]Risk, error) {
	var found risks
	var err error
	switch c := s.client.(type) {
	case *redis.ClusterClient:
		err = c.ForEachShard(ctx, func(ctx context.Context, node *redis.Client) error {
			return found.at(ctx, node, false)
		})
	case *redis.Client:
		if s.options != nil && s.options.MasterName != "" {
			err = found.atAll(ctx, s.options)
			break
		}
		err = found.at(ctx, c, false)
	}
	return found.list, err
}

// risks are those found so far, each once.
type risks struct {
	mu   sync.Mutex
	list []Risk
}

func (r *risks) add(server, risk, hint string) { r.put(Risk{[]string{server}, risk, hint, false}) }

func (r *risks) put(one Risk) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for i := range r.list {
		if r.list[i].Risk == one.Risk {
			r.list[i].Servers = append(r.list[i].Servers, one.Servers...)
			slices.Sort(r.list[i].Servers)
			return
		}
	}
	r.list = append(r.list, one)
}

// atAll looks at the master and at the replicas of which a sentinel knows: each may
// be the next.
func (r *risks) atAll(ctx context.Context, o *redis.UniversalOptions) error {
	addrs, err := watched(ctx, o)
	if err != nil {
		return err
	}
	var errs []error
	for _, addr := range addrs {
		one := o.Simple()
		one.Addr = addr
		c := redis.NewClient(one)
		errs = append(errs, r.at(ctx, c, true))
		_ = c.Close()
	}
	return errors.Join(errs...)
}

// watched asks the sentinels, one after the other, which servers they watch.
func watched(ctx context.Context, o *redis.UniversalOptions) ([]string, error) {
	var errs []error
	for _, addr := range o.Addrs {
		one := o.Simple()
		one.Addr, one.Username, one.Password, one.DB = addr, o.SentinelUsername, o.SentinelPassword, 0
		c := redis.NewSentinelClient(one)
		master, err := c.GetMasterAddrByName(ctx, o.MasterName).Result()
		replicas, err2 := c.Replicas(ctx, o.MasterName).Result()
		_ = c.Close()
		if err := errors.Join(err, err2); err != nil {
			errs = append(errs, fmt.Errorf("sentinel %s: %w", addr, err))
			continue
		}
		addrs := []string{net.JoinHostPort(master[0], master[1])}
		for _, replica := range replicas {
			addrs = append(addrs, net.JoinHostPort(replica["ip"], replica["port"]))
		}
		return addrs, nil
	}
	return nil, errors.Join(errs...)
}

// at looks at one server. watched tells that another takes over where it fails.
func (r *risks) at(ctx context.Context, c *redis.Client, watched bool) error {
	server := c.Options().Addr
	info := make(map[string]string)
	for _, section := range []string{"server", "memory", "persistence"} {
		text, err := c.Info(ctx, section).Result()
		if err != nil {
			return fmt.Errorf("%s: %w", server, err)
		}
		for line := range strings.SplitSeq(text, "\r\n") {
			if name, value, ok := strings.Cut(line, ":"); ok {
				info[name] = value
			}
		}
	}
	settings := make(map[string]string)
	var silent error
	for _, name := range []string{"save", "appendonly", "appendfsync", "maxmemory-policy", "min-replicas-to-write", "min-replicas-max-lag"} {
		got, err := c.ConfigGet(ctx, name).Result()
		var said redis.Error
		switch {
		case errors.As(err, &said):
			silent = err
		case err != nil:
			return fmt.Errorf("%s: %w", server, err)
		}
		for name, value := range got {
			settings[name] = value
		}
	}

	if version := info["redis_version"]; isOlder(version, 6, 2) {
		r.add(server, "this is Redis "+version+", which lacks commands that the line needs: nobody is let in", "run 6.2 or later")
	}
	policy := settings["maxmemory-policy"]
	if policy == "" {
		policy = info["maxmemory_policy"]
	}
	if strings.HasPrefix(policy, "allkeys-") { // the line's keys never expire, so volatile-* leaves them alone
		r.add(server, "when its memory is full it throws parts of lines away ("+policy+"): then nobody is let in until visitors have asked again",
			"maxmemory-policy noeviction")
	}
	save, told := settings["save"]
	switch {
	case settings["appendonly"] == "yes" || info["aof_enabled"] == "1":
		if settings["appendfsync"] == "no" {
			r.add(server, "it leaves to its system when the append-only file is written: who came in the last half minute loses their place until they ask again, should the machine fail",
				"appendfsync everysec")
		}
	case save != "":
		r.add(server, "it writes a copy of the line now and then, and no append-only file: after a restart nobody is let in until visitors have asked again",
			"appendonly yes, appendfsync everysec")
	case told && watched:
		r.add(server, "it keeps nothing on disk: should it restart before another takes over, it comes back empty and so do its replicas, and nobody is let in until visitors have asked again",
			"appendonly yes, appendfsync everysec")
	case told:
		r.add(server, "it keeps nothing on disk: after a restart nobody is let in until visitors have asked again, and used tickets are forgotten where no gate remembers them",
			"appendonly yes, appendfsync everysec")
	}
	if least, told := settings["min-replicas-to-write"]; watched && told && (least == "0" || settings["min-replicas-max-lag"] == "0") {
		r.add(server, "it goes on alone when it is cut off from its replicas, of which one takes over: gates on either side let visitors in, and more than max_active may be inside",
			"min-replicas-to-write 1, min-replicas-max-lag 2 to 10, with two replicas or more")
	}
	if silent != nil {
		r.put(Risk{
			Servers: []string{server}, Unknown: true,
			Risk: "it does not say how it is set up (CONFIG GET: " + silent.Error() + ")",
			Hint: "see to it that it has appendonly yes, appendfsync everysec and maxmemory-policy noeviction, or allow CONFIG GET: ACL SETUSER ... +config|get",
		})
	}
	return nil
}

// isOlder compares a version as Redis writes it.
func isOlder(version string, major, minor int) bool {
	a, rest, _ := strings.Cut(version, ".")
	b, _, _ := strings.Cut(rest, ".")
	x, err := strconv.Atoi(a)
	y, err2 := strconv.Atoi(b)
	return err == nil && err2 == nil && (x < major || x == major && y < minor)
}
