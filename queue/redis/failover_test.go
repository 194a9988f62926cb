package redis_test

import (
	"fmt"
	"math/rand/v2"
	"net"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	client "github.com/redis/go-redis/v9"

	"github.com/sluicegate/sluice/queue"
	"github.com/sluicegate/sluice/queue/queuetest/proc"
	"github.com/sluicegate/sluice/queue/redis"
)

func TestAReplicaTakesOverThatHasAll(t *testing.T) {
	t.Parallel()
	servers := proc.Sentinel(t, nil)
	s := openSale(t, servers.Address())
	s.come(60)
	s.awaitLet(10)
	servers.Master.Kill()
	s.come(30)
	s.await("the gates hear the replica", func() bool { return s.losses() >= 2 })
	s.come(10)
	t.Logf("nobody was let in for %s", s.judge())
}

func TestAReplicaTakesOverThatLacksTheLastSecond(t *testing.T) {
	t.Parallel()
	var between *link
	servers := proc.Sentinel(t, func(master string) string {
		between = newLink(t, master)
		return between.Addr()
	})
	s := openSale(t, servers.Address())
	s.come(40)
	s.awaitLet(10)
	between.freeze()
	begin := time.Now()
	for time.Since(begin) < 900*time.Millisecond { // who joins, is let in and leaves is known to the master alone
		s.come(2)
		time.Sleep(50 * time.Millisecond)
	}
	let := len(s.let())
	servers.Master.Kill()
	between.Close()
	if n, err := servers.Replica.Client().ZCard(t.Context(), "sluice:{drop}:waiting").Result(); err != nil || n > 30 {
		t.Fatalf("the replica knows of %d who wait, %v: nothing was lost", n, err)
	}
	if let < 15 {
		t.Fatalf("%d were let in until then: nothing was lost of them", let)
	}
	s.come(20)
	s.await("the gates hear the replica", func() bool { return s.losses() >= 2 })
	s.come(10)
	t.Logf("nobody was let in for %s", s.judge())
}

func TestAMasterHangsIsReplacedAndGoesOn(t *testing.T) {
	t.Parallel()
	servers := proc.Sentinel(t, nil)
	s := openSale(t, servers.Address())
	s.come(40)
	s.awaitLet(10)
	if err := servers.Master.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	s.come(20)
	s.await("the gates hear the replica", func() bool { return s.losses() >= 2 })
	if err := servers.Master.Signal(syscall.SIGCONT); err != nil { // with calls to carry out that were sent before
		t.Fatal(err)
	}
	s.come(10)
	t.Logf("nobody was let in for %s", s.judge())
}

func TestAGateLeavesAServerThatIsNoMasterAnyMore(t *testing.T) {
	t.Parallel()
	old, next := proc.Redis(t), proc.Redis(t)
	service := newLink(t, old) // an address that leads to whoever is master
	s := openSale(t, "redis://"+service.Addr()+"/0")
	master, replica := clientOf(t, old), clientOf(t, next)
	follow(t, replica, old)
	s.come(40)
	s.awaitLet(10)
	if err := replica.Do(t.Context(), "replicaof", "no", "one").Err(); err != nil {
		t.Fatal(err)
	}
	host, port, _ := net.SplitHostPort(next)
	if err := master.Do(t.Context(), "replicaof", host, port).Err(); err != nil {
		t.Fatal(err)
	}
	s.come(10)
	s.await("the gates find that out", func() bool { return s.outages() >= 2 })
	service.lead(next) // while their connections stand
	s.await("the gates hear the new one", func() bool { return s.losses() >= 2 })
	s.come(10)
	t.Logf("nobody was let in for %s", s.judge())
}

// follow has a server get all that another one has.
func follow(t *testing.T, c *client.Client, master string) {
	t.Helper()
	host, port, _ := net.SplitHostPort(master)
	if err := c.Do(t.Context(), "replicaof", host, port).Err(); err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		info, err := c.Info(t.Context(), "replication").Result()
		if strings.Contains(info, "master_link_status:up") {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("the replica does not get its data: %q, %v", info, err)
		}
	}
}

func clientOf(t *testing.T, addr string) *client.Client {
	c := client.NewClient(&client.Options{Addr: addr, MaxRetries: -1, ContextTimeoutEnabled: true, DisableIdentity: true})
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func TestSomebodysLongScriptIsAnOutageAndNoMore(t *testing.T) {
	t.Parallel()
	addr := proc.RedisWith(t, "--busy-reply-threshold", "100")
	s := openSale(t, "redis://"+addr+"/0")
	s.come(40)
	s.awaitLet(10)
	long := client.NewClient(&client.Options{Addr: addr, MaxRetries: -1, ReadTimeout: time.Minute, DisableIdentity: true})
	defer long.Close()
	var busy error
	s.wg.Go(func() {
		busy = long.Eval(t.Context(), `local begun = redis.call('TIME')[1] repeat until redis.call('TIME')[1] - begun >= 3 return 1`, nil).Err()
	})
	s.await("the gates find that out", func() bool { return s.outages() >= 2 })
	s.come(20)
	s.await("it answers again", func() bool { return s.returns() >= 2 })
	s.come(10)
	t.Logf("nobody was let in for %s", s.judge())
	if busy != nil {
		t.Error(busy)
	}
	if s.losses() > 0 {
		t.Error("the gates think that something was lost")
	}
}

func TestAServerThatForgotTheScriptsIsToldThemAgain(t *testing.T) {
	t.Parallel()
	addr := proc.Redis(t)
	s := openSale(t, "redis://"+addr+"/0")
	s.come(20)
	c := clientOf(t, addr)
	for range 10 {
		s.awaitLet(2)
		if err := c.ScriptFlush(t.Context()).Err(); err != nil {
			t.Fatal(err)
		}
		s.come(2)
	}
	s.judge()
	if s.outages()+s.losses() > 0 {
		t.Error("the gates think that the store was away, or lost something")
	}
}

func TestAServerThatLoadsItsDataIsAnOutageAndNoMore(t *testing.T) {
	t.Parallel()
	port, dir := proc.FreePort(t), t.TempDir()
	args := []string{"--dir", dir, "--dbfilename", "dump.rdb", "--save", "3600 1000000"}
	server := proc.RedisAt(t, port, args...)
	addr := net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
	c := clientOf(t, addr)
	if err := c.Eval(t.Context(), `for i = 1, 3000 do redis.call('SET', 'other:' .. i, '') end return 1`, nil).Err(); err != nil {
		t.Fatal(err)
	}
	s := openSale(t, "redis://"+addr+"/0")
	s.come(40)
	s.awaitLet(10)
	if err := server.Signal(syscall.SIGTERM); err != nil { // it saves
		t.Fatal(err)
	}
	<-server.Done()
	loading := func() error {
		err := c.Ping(t.Context()).Err()
		if client.IsLoadingError(err) {
			return nil
		}
		return fmt.Errorf("PING answers %v", err)
	}
	proc.Start(t, loading, proc.Need(t, "redis-server"),
		append(args, "--port", strconv.Itoa(port), "--bind", "127.0.0.1", "--key-load-delay", "1000", "--loading-process-events-interval-bytes", "1024")...)
	s.come(10)
	s.await("the gates hear it again", func() bool { return s.losses() >= 2 })
	s.come(10)
	t.Logf("nobody was let in for %s", s.judge())
}

func TestAMasterOfTheClusterIsKilled(t *testing.T) {
	t.Parallel()
	ring := proc.Cluster(t, 3, true)
	owner, _ := ring.Owner(t, "sluice:{drop}:meta")
	s := openSale(t, ring.Address())
	s.come(40)
	s.awaitLet(10)
	owner.Kill()
	s.come(20)
	s.await("the gates hear the replica", func() bool { return s.losses() >= 2 })
	s.come(10)
	t.Logf("nobody was let in for %s", s.judge())
}

func TestAClusterThatLacksAServerOfOthersIsAnOutageAndNoMore(t *testing.T) {
	t.Parallel()
	ring := proc.Cluster(t, 3, false)
	owner, _ := ring.Owner(t, "sluice:{drop}:meta")
	other := ring.Masters[0]
	if other == owner {
		other = ring.Masters[1]
	}
	s := openSale(t, ring.Address())
	s.come(40)
	s.awaitLet(10)
	other.Kill() // and with it a third of the slots
	s.await("the cluster is down", func() bool { return s.outages() >= 2 })
	if !strings.Contains(s.log.String(), "CLUSTERDOWN") {
		t.Errorf("the log does not say why")
	}
	s.come(20)
	other.Again()
	s.await("it answers again", func() bool { return s.returns() >= 2 })
	s.come(10)
	t.Logf("nobody was let in for %s", s.judge())
	if s.losses() > 0 {
		t.Error("the gates think that something was lost")
	}
}

func TestAServerWithoutMemoryLetsInWhoWaits(t *testing.T) {
	t.Parallel()
	addr := proc.Redis(t)
	c := clientOf(t, addr)
	limit := func(bytes string) {
		t.Helper()
		if err := c.ConfigSet(t.Context(), "maxmemory", bytes).Err(); err != nil {
			t.Fatal(err)
		}
	}
	s := openSale(t, "redis://"+addr+"/0")
	s.come(40)
	s.awaitLet(5)
	limit("1")
	s.await("the gates find that out", func() bool { return strings.Count(s.log.String(), "the store has no memory left") >= 2 })
	for _, gate := range s.gates {
		if a := gate.Join(queue.ID(rand.Uint64()), true); a.State != queue.Full || a.Place != 0 {
			t.Errorf("a newcomer is told %+v, want full", a)
		}
		err := gate.Change(t.Context(), func(_ queue.Settings, stored queue.Overrides) (queue.Overrides, error) {
			stored.Version++
			return stored, nil
		})
		if err != nil {
			t.Errorf("an operator changes a setting: %v", err)
		}
	}
	s.awaitLet(10)
	limit("0")
	s.await("there is room", func() bool { return strings.Count(s.log.String(), "the store has memory again") >= 2 })
	s.come(5)
	s.judge()
	if s.outages()+s.losses() > 0 {
		t.Error("the gates think that the store was away, or lost something")
	}
}

func TestWithoutMemoryWhatWasBegunIsEnded(t *testing.T) {
	t.Parallel()
	addr := proc.Redis(t)
	c := clientOf(t, addr)
	r := newRoom(t, redis.New(clientOf(t, addr), redis.Options{}), func(s *queue.Settings) { s.MaxActive = 2 })
	r.tick()
	in, called := r.join(1), r.call.Told
	r.join(2)
	waits, next := r.join(3), r.join(4)
	if in.State != queue.Admitted || waits.State != queue.Waiting || next.Rank != 1 {
		t.Fatalf("%+v, %+v, %+v", in, waits, next)
	}
	if err := c.ConfigSet(t.Context(), "maxmemory", "1").Err(); err != nil {
		t.Fatal(err)
	}
	if s := r.tick(); !s.Full || s.Waiting != 2 || s.Called != 2 {
		t.Errorf("a tick says %+v", s)
	}
	visit := queue.Visit{ID: 1, Place: in.Place, Called: in.Called, Until: in.Until, At: r.call.Told}
	if out, _, err := r.Renew(t.Context(), &r.call, []queue.Visit{visit}, nil); err != nil || !out[0].Claimed {
		t.Errorf("a pass is used: %+v, %v", out, err)
	}
	if out, _, err := r.Leave(t.Context(), &r.call, []queue.Departure{{ID: 2, Place: called}}, nil); err != nil || !out[0].Slot {
		t.Errorf("somebody leaves: %+v, %v", out, err)
	}
	if s := r.tick(); s.NewCalls != 1 {
		t.Errorf("the next is called: %+v", s)
	}
	batch := []queue.Arrival{
		{ID: 5, Place: r.call.Told, Newcomer: true, Join: true, Claim: true},
		{ID: 3, Place: waits.Place, Claim: true},
		{ID: 4, Place: next.Place},
		{ID: 6, Place: in.Place, Claim: true},
	}
	for i := range batch {
		batch[i].Deadline = r.call.Told.Add(time.Hour)
	}
	out, _, err := r.Enter(t.Context(), &r.call, batch, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []queue.State{queue.Full, queue.Admitted, queue.Waiting, queue.Waiting} {
		if out[i].State != want {
			t.Errorf("visitor %d is told %+v, want %s", batch[i].ID, out[i], want)
		}
	}
	if err := c.ConfigSet(t.Context(), "maxmemory", "0").Err(); err != nil {
		t.Fatal(err)
	}
	if s := r.tick(); s.Full || s.Waiting != 2 || s.Called != 0 || s.Active != 2 || s.Loss != nil {
		t.Errorf("then a tick says %+v", s)
	}
	if got := r.join(5); got.State != queue.Waiting {
		t.Errorf("then the newcomer is told %+v", got)
	}
}
