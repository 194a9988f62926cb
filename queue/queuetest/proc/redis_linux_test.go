package proc

import (
	"context"
	"net"
	"testing"
)

func TestSentinel(t *testing.T) {
	t.Parallel()
	var ended []string
	t.Run("the replica takes over", func(t *testing.T) {
		w := Sentinel(t, nil)
		ended = append(w.Sentinels, w.Master.Addr, w.Replica.Addr)
		if err := w.Master.Client().Set(t.Context(), "visitor", "ann", 0).Err(); err != nil {
			t.Fatal(err)
		}
		if n, err := w.Master.Client().Wait(t.Context(), 1, 0).Result(); n != 1 || err != nil {
			t.Fatalf("%d replicas have it: %v", n, err)
		}
		w.Master.Kill()
		replica := w.Replica.Client()
		await(t, "the replica is master", func(ctx context.Context) error { return says(replica.Info(ctx, "replication"), "role:master") })
		if got, err := replica.Get(t.Context(), "visitor").Result(); got != "ann" || err != nil {
			t.Errorf("it has %q: %v", got, err)
		}
		w.Master.Again()
		old := w.Master.Client()
		await(t, "who was master follows", func(ctx context.Context) error { return says(old.Info(ctx, "replication"), "role:slave") })
	})
	allEnded(t, ended)
}

func TestCluster(t *testing.T) {
	t.Parallel()
	var ended []string
	t.Run("slots are where they are said to be, and a replica takes over", func(t *testing.T) {
		r := Cluster(t, 3, true)
		for _, s := range append(r.Masters, r.Replicas...) {
			ended = append(ended, s.Addr)
		}
		for _, key := range []string{"a", "b", "c", "d", "e"} {
			owner, _ := r.Owner(t, key)
			if err := owner.Client().Set(t.Context(), key, "", 0).Err(); err != nil {
				t.Errorf("%s: %v", key, err)
			}
		}
		r.Masters[1].Kill()
		replica := r.Replicas[1].Client()
		await(t, "the replica is master", func(ctx context.Context) error {
			return says(replica.ClusterNodes(ctx), "myself,master")
		})
	})
	allEnded(t, ended)
}

func allEnded(t *testing.T, servers []string) {
	for _, addr := range servers {
		if c, err := net.Dial("tcp", addr); err == nil {
			c.Close()
			t.Errorf("%s still answers", addr)
		}
	}
}
