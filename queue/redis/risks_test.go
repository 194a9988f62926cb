package redis_test

import (
	"net"
	"slices"
	"strings"
	"testing"

	"github.com/sluicegate/sluice/queue"
	"github.com/sluicegate/sluice/queue/queuetest/proc"
	"github.com/sluicegate/sluice/queue/redis"
)

// risksOf are those of a store by the hints, which are shorter.
func risksOf(t *testing.T, address string) (risks []redis.Risk, hints []string) {
	t.Helper()
	store, err := redis.Open(address)
	if err != nil {
		t.Fatal(err)
	}
	risks, err = closed(t, store).Risks(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range risks {
		hint, _, _ := strings.Cut(r.Hint, ",")
		hints = append(hints, hint)
	}
	slices.Sort(hints)
	return risks, hints
}

func TestAnOperatorIsToldHowTheStoreMayLoseTheLine(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		args []string
		want []string
	}{
		"nothing on disk": {nil, []string{"appendonly yes"}},
		"copies only":     {[]string{"--save", "3600 1"}, []string{"appendonly yes"}},
		"as it should be": {[]string{"--appendonly", "yes"}, nil},
		"written some day": {[]string{"--appendonly", "yes", "--appendfsync", "no"},
			[]string{"appendfsync everysec"}},
		"evicts what it likes": {[]string{"--appendonly", "yes", "--maxmemory-policy", "allkeys-lru"},
			[]string{"maxmemory-policy noeviction"}},
		"evicts what expires, as nothing of ours does": {[]string{"--appendonly", "yes", "--maxmemory-policy", "volatile-ttl"}, nil},
		"does not say": {[]string{"--rename-command", "CONFIG", ""},
			[]string{"see to it that it has appendonly yes"}},
		"does not say, but so much": {[]string{"--user", "default", "on", "nopass", "~*", "&*", "+@all", "-config", "--maxmemory-policy", "allkeys-lfu", "--appendonly", "yes"},
			[]string{"maxmemory-policy noeviction", "see to it that it has appendonly yes"}},
	} {
		t.Run(name, func(t *testing.T) {
			addr := proc.RedisWith(t, c.args...)
			risks, hints := risksOf(t, "redis://"+addr+"/0")
			if !slices.Equal(hints, c.want) {
				t.Errorf("the risks are %+v, want those with the hints %q", risks, c.want)
			}
			for _, r := range risks {
				if !slices.Equal(r.Servers, []string{addr}) {
					t.Errorf("%+v is not of %s", r, addr)
				}
				if r.Unknown != strings.HasPrefix(r.Hint, "see to it") {
					t.Errorf("%+v", r)
				}
			}
		})
	}
}

func TestEveryServerIsLookedAtThatMayTakeOver(t *testing.T) {
	t.Parallel()
	t.Run("Sentinel", func(t *testing.T) {
		t.Parallel()
		servers := proc.Sentinel(t, nil, "--appendonly", "yes")
		if err := servers.Replica.Client().ConfigSet(t.Context(), "maxmemory-policy", "allkeys-random").Err(); err != nil {
			t.Fatal(err)
		}
		risks, hints := risksOf(t, servers.Address())
		if !slices.Equal(hints, []string{"maxmemory-policy noeviction", "min-replicas-to-write 1"}) {
			t.Fatalf("the risks are %+v", risks)
		}
		for _, r := range risks {
			want := []string{servers.Replica.Addr}
			if strings.HasPrefix(r.Hint, "min-") {
				want = append(want, servers.Master.Addr)
				slices.Sort(want)
			}
			if !slices.Equal(r.Servers, want) {
				t.Errorf("%+v, want it of %v", r, want)
			}
		}
		servers.Replica.Kill()
		store, err := redis.Open(servers.Address())
		if err != nil {
			t.Fatal(err)
		}
		risks, err = closed(t, store).Risks(t.Context())
		if err == nil || !strings.Contains(err.Error(), servers.Replica.Addr) || len(risks) != 1 {
			t.Errorf("with a replica that does not answer: %v and %+v", err, risks)
		}
	})
	t.Run("a cluster", func(t *testing.T) {
		t.Parallel()
		ring := proc.Cluster(t, 3, false, append([]string{"--appendonly", "yes"}, append(allowed(), "+cluster|slots")...)...)
		address := strings.Replace(ring.Address(), "://", "://gate:secret@", 1)
		if err := ring.Masters[2].Client().ConfigSet(t.Context(), "appendonly", "no").Err(); err != nil {
			t.Fatal(err)
		}
		store, err := redis.Open(address)
		if err != nil {
			t.Fatal(err)
		}
		newRoom(t, store, nil).tick()
		risks, _ := risksOf(t, address)
		if len(risks) != 1 || !slices.Equal(risks[0].Servers, []string{ring.Masters[2].Addr}) || !strings.Contains(risks[0].Risk, "nothing on disk") {
			t.Errorf("the risks are %+v, want one of %s", risks, ring.Masters[2].Addr)
		}
	})
	t.Run("a server that is not there", func(t *testing.T) {
		t.Parallel()
		store, err := redis.Open("redis://" + net.JoinHostPort("127.0.0.1", "1") + "/0")
		if err != nil {
			t.Fatal(err)
		}
		if risks, err := closed(t, store).Risks(t.Context()); err == nil || risks != nil {
			t.Errorf("the risks are %v, %v", risks, err)
		}
	})
}

// allowed is a user as docs/operating.md has it; in a cluster they need more.
func allowed() []string {
	return []string{"--user", "gate", "on", ">secret", "~sluice:*", "+@read", "+@write", "+@scripting", "+@connection", "+info", "+time", "+config|get"}
}

func TestWhatAUserOfRedisHasToBeAllowed(t *testing.T) {
	t.Parallel()
	addr := proc.RedisWith(t, append([]string{"--appendonly", "yes"}, allowed()...)...)
	address := "redis://gate:secret@" + addr + "/0"
	if risks, _ := risksOf(t, address); len(risks) > 0 {
		t.Errorf("the risks are %+v", risks)
	}
	store, err := redis.Open(address)
	if err != nil {
		t.Fatal(err)
	}
	r := newRoom(t, store, nil)
	r.call.Version = 1
	if err := r.Override(t.Context(), "drop", queue.Overrides{Version: 1}); err != nil {
		t.Error(err)
	}
	if o, err := r.Overrides(t.Context(), "drop"); err != nil || o.Version != 1 {
		t.Errorf("%+v, %v", o, err)
	}
	r.tick()
	in := r.join(1)
	if in.State != queue.Admitted {
		t.Errorf("%+v", in)
	}
	visit := queue.Visit{ID: 1, Place: in.Place, Called: in.Called, Until: in.Until, At: r.call.Told}
	if out, _, err := r.Renew(t.Context(), &r.call, []queue.Visit{visit}, nil); err != nil || !out[0].Claimed {
		t.Errorf("%+v, %v", out, err)
	}
	if _, _, err := r.Leave(t.Context(), &r.call, []queue.Departure{{ID: 1, Place: in.Place}}, nil); err != nil {
		t.Error(err)
	}
}
