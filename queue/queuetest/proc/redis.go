package proc

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
)

// Server is a redis-server of several that work together. It can be killed and
// started again.
type Server struct {
	*Process
	Addr string

	t    T
	args []string
}

// Again starts a server that has ended, with the data that it left.
func (s *Server) Again() {
	s.t.Helper()
	s.Process = RedisAt(s.t, s.Port(), s.args...)
}

// Port returns where the server listens.
func (s *Server) Port() int {
	_, text, _ := net.SplitHostPort(s.Addr)
	port, _ := strconv.Atoi(text)
	return port
}

// Client returns a client of this very server, which ends with the test. It tries
// nothing twice.
func (s *Server) Client() *redis.Client { return clientOf(s.t, s.Addr) }

func clientOf(t T, addr string) *redis.Client {
	c := redis.NewClient(&redis.Options{Addr: addr, MaxRetries: -1, DialerRetries: 1, ContextTimeoutEnabled: true, DisableIdentity: true})
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// startServer starts a redis-server; args makes its arguments, and is asked again
// when a port was taken meanwhile. What it keeps is in a folder of its own.
func startServer(t T, args func() []string) *Server {
	t.Helper()
	s := &Server{t: t}
	dir := t.TempDir()
	s.Addr = retry(t, func(port int) (p *Process, err error) {
		s.args = append([]string{"--dir", dir}, args()...)
		s.Process, err = startRedis(t, port, s.args)
		return s.Process, err
	})
	return s
}

// Watched is a master and a replica, watched by three sentinels that hold a server
// for dead which has not answered for two seconds.
type Watched struct {
	Name            string // of the master
	Master, Replica *Server
	Sentinels       []string // addresses
}

// Address is the store's as a configuration writes it.
func (w *Watched) Address() string {
	return "redis+sentinel://" + strings.Join(w.Sentinels, ",") + "/" + w.Name + "/0"
}

// Sentinel starts a master, a replica that gets its data through the address that
// through makes of the master's (nil: from the master itself), and three sentinels.
func Sentinel(t T, through func(master string) string, extra ...string) *Watched {
	t.Helper()
	Need(t, "redis-sentinel")
	quick := func() []string { return append([]string{"--repl-diskless-sync-delay", "0"}, extra...) }
	w := &Watched{Name: "sale", Master: startServer(t, quick)}
	source := w.Master.Addr
	if through != nil {
		source = through(source)
	}
	host, port, _ := net.SplitHostPort(source)
	w.Replica = startServer(t, func() []string { return append(quick(), "--replicaof", host+" "+port) })
	await(t, "the replica has the master's data", func(ctx context.Context) error {
		return says(w.Replica.Client().Info(ctx, "replication"), "master_link_status:up")
	})
	for range 3 {
		w.Sentinels = append(w.Sentinels, startSentinel(t, w.Name, w.Master.Port()))
	}
	for _, addr := range w.Sentinels {
		c := clientOf(t, addr)
		await(t, "the sentinels know each other and the replica", func(ctx context.Context) error {
			return says(c.Info(ctx, "sentinel"), "status=ok,address="+w.Master.Addr+",slaves=1,sentinels=3")
		})
	}
	return w
}

func startSentinel(t T, name string, master int) (addr string) {
	t.Helper()
	path := Need(t, "redis-sentinel")
	addr = retry(t, func(port int) (*Process, error) {
		dir := t.TempDir()
		file := filepath.Join(dir, "sentinel.conf") // it writes there what it learns
		conf := fmt.Sprintf("bind 127.0.0.1\nport %d\ndir %s\n"+
			"sentinel monitor %s 127.0.0.1 %d 2\nsentinel down-after-milliseconds %s 2000\nsentinel failover-timeout %s 4000\n",
			port, dir, name, master, name, name)
		if err := os.WriteFile(file, []byte(conf), 0o600); err != nil {
			return nil, err
		}
		return start(t, func(*Process) error { return ping(address(port)) }, path, file)
	})
	// They find each other in a moment instead of seconds, where they can be told to.
	_ = clientOf(t, addr).Do(t.Context(), "sentinel", "debug",
		"info-period", "300", "publish-period", "200", "ping-period", "200", "ask-period", "200").Err()
	return addr
}

// Ring is a Redis Cluster: masters that share the slots evenly, in order.
type Ring struct {
	Masters  []*Server
	Replicas []*Server // one for each master, or none
}

// Address is the store's as a configuration writes it.
func (r *Ring) Address() string {
	var hosts []string
	for _, s := range r.Masters {
		hosts = append(hosts, s.Addr)
	}
	return "redis+cluster://" + strings.Join(hosts, ",")
}

// Owner returns the master that was given a key's slot at the start, and the slot.
func (r *Ring) Owner(t T, key string) (*Server, int) {
	t.Helper()
	slot, err := r.Masters[0].Client().ClusterKeySlot(t.Context(), key).Result()
	if err != nil {
		t.Fatal(err)
	}
	return r.Masters[int(slot)*len(r.Masters)/slots], int(slot)
}

const slots = 16384

// Cluster starts so many masters, each with a replica if replicas says so. A server
// that has not answered for two seconds is dead.
func Cluster(t T, masters int, replicas bool, extra ...string) *Ring {
	t.Helper()
	node := func() *Server {
		return startServer(t, func() []string {
			return append([]string{
				"--cluster-enabled", "yes", "--cluster-node-timeout", "2000", "--cluster-port", strconv.Itoa(FreePort(t)),
				"--cluster-replica-validity-factor", "0", "--repl-diskless-sync-delay", "0",
			}, extra...)
		})
	}
	do := func(s *Server, args ...any) string {
		t.Helper()
		answer, err := s.Client().Do(t.Context(), append([]any{"cluster"}, args...)...).Result()
		if err != nil {
			t.Fatalf("cluster %v: %v", args, err)
		}
		return fmt.Sprint(answer)
	}
	r := &Ring{}
	for i := range masters {
		s := node()
		r.Masters = append(r.Masters, s)
		do(s, "set-config-epoch", i+1)
		// By the same division as Owner's.
		do(s, "addslotsrange", (i*slots+masters-1)/masters, ((i+1)*slots+masters-1)/masters-1)
	}
	if replicas {
		for range r.Masters {
			r.Replicas = append(r.Replicas, node())
		}
	}
	all := append(append([]*Server(nil), r.Masters...), r.Replicas...)
	for _, s := range all[1:] {
		bus, err := s.Client().ConfigGet(t.Context(), "cluster-port").Result()
		if err != nil {
			t.Fatal(err)
		}
		do(all[0], "meet", "127.0.0.1", s.Port(), bus["cluster-port"])
	}
	each := func(what string, check func(ctx context.Context, c *redis.Client) error) {
		t.Helper()
		for _, s := range all {
			c := s.Client()
			await(t, what, func(ctx context.Context) error { return check(ctx, c) })
		}
	}
	each("the servers know each other", func(ctx context.Context, c *redis.Client) error {
		return says(c.ClusterInfo(ctx), "cluster_state:ok", fmt.Sprintf("cluster_known_nodes:%d\r", len(all)))
	})
	for i, s := range r.Replicas {
		do(s, "replicate", do(r.Masters[i], "myid"))
	}
	for i, s := range r.Replicas {
		c, id := s.Client(), do(r.Masters[i], "myid")
		await(t, "the replicas have the masters' data", func(ctx context.Context) error {
			return says(c.Info(ctx, "replication"), "master_link_status:up")
		})
		// Who is dead is voted on by servers that know whose replica it is.
		each("all know whose replica it is", func(ctx context.Context, c *redis.Client) error {
			return says(c.ClusterNodes(ctx), "slave "+id)
		})
	}
	return r
}

// says wants an answer to have some words in it.
func says(answer *redis.StringCmd, words ...string) error {
	text, err := answer.Result()
	for _, w := range words {
		if err == nil && !strings.Contains(text, w) {
			err = fmt.Errorf("no %q in %q", w, text)
		}
	}
	return err
}

// await asks again and again until check returns nil.
func await(t T, what string, check func(ctx context.Context) error) {
	t.Helper()
	deadline := time.Now().Add(startTime)
	for {
		err := check(t.Context())
		switch {
		case err == nil:
			return
		case time.Now().After(deadline) || errors.Is(err, context.Canceled):
			t.Fatalf("not so after %v: %s: %v", startTime, what, err)
		}
		time.Sleep(5 * time.Millisecond)
	}
}
