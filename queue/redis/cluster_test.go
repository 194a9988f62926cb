package redis_test

import (
	"context"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	client "github.com/redis/go-redis/v9"

	"github.com/sluicegate/sluice/queue"
	"github.com/sluicegate/sluice/queue/queuetest"
	"github.com/sluicegate/sluice/queue/queuetest/proc"
	"github.com/sluicegate/sluice/queue/redis"
)

func TestStoreInACluster(t *testing.T) {
	t.Parallel()
	ring := proc.Cluster(t, 3, false)
	// Every rule, with rooms in all parts of the cluster: no script touches a key of
	// another slot than its room's, or the cluster would refuse it.
	queuetest.Run(t, func(t testing.TB) queuetest.Harness {
		var now atomic.Int64
		now.Store(begin.UnixNano())
		move := func(d time.Duration) { now.Add(int64(d)) }
		prefix := prefix()
		store, err := redis.OpenWith(ring.Address()+"?prefix="+prefix, redis.Options{Now: func() time.Time { return time.Unix(0, now.Load()) }})
		if err != nil {
			t.Fatal(err)
		}
		drop := func(room, pattern string) (n int) {
			for _, s := range ring.Masters {
				n += losing(t, store, s.Client(), prefix).Drop(room, pattern)
			}
			return n
		}
		return queuetest.Harness{Store: closed(t, store), Advance: move, Jump: move, Wipe: func(room string) { drop(room, "*") }, Drop: drop}
	})
}

// moving is a slot of a cluster, the room's, that moves from one server to another.
type moving struct {
	t        *testing.T
	slot     int
	from, to *client.Client
	fromID   string
	toID     string
	toPort   int
}

func newMoving(t *testing.T, ring *proc.Ring) *moving {
	owner, slot := ring.Owner(t, "sluice:{drop}:meta")
	other := ring.Masters[0]
	if owner == other {
		other = ring.Masters[1]
	}
	m := &moving{t: t, slot: slot, from: owner.Client(), to: other.Client(), toPort: other.Port()}
	m.fromID, m.toID = m.cluster(m.from, "myid"), m.cluster(m.to, "myid")
	return m
}

// movingRoom is a room whose slot moves.
type movingRoom struct {
	*room
	*moving
	now time.Time
}

func openMoving(t *testing.T) *movingRoom {
	ring := proc.Cluster(t, 2, false)
	m := &movingRoom{moving: newMoving(t, ring), now: time.Date(2026, 7, 1, 10, 0, 0, 100_000_000, time.UTC)}
	store, err := redis.OpenWith(ring.Address(), redis.Options{Now: func() time.Time { return m.now }})
	if err != nil {
		t.Fatal(err)
	}
	m.room = newRoom(t, store, func(s *queue.Settings) { s.MaxActive = 3 })
	return m
}

func (m *moving) cluster(c *client.Client, args ...any) string {
	m.t.Helper()
	answer, err := c.Do(m.t.Context(), append([]any{"cluster"}, args...)...).Result()
	if err != nil {
		m.t.Fatalf("cluster %v: %v", args, err)
	}
	text, _ := answer.(string)
	return text
}

func (m *movingRoom) pass(d time.Duration) {
	m.now = m.now.Add(d)
	m.tick()
}

// begin has the slot move from now on: keys follow one by one.
func (m *moving) begin() {
	m.cluster(m.to, "setslot", m.slot, "importing", m.fromID)
	m.cluster(m.from, "setslot", m.slot, "migrating", m.toID)
}

func (m *moving) end() {
	m.cluster(m.to, "setslot", m.slot, "node", m.toID)
	m.cluster(m.from, "setslot", m.slot, "node", m.toID)
}

// keys are those of the slot that have yet to move.
func (m *moving) keys() []string {
	m.t.Helper()
	keys, err := m.from.Keys(m.t.Context(), "*").Result()
	if err != nil {
		m.t.Fatal(err)
	}
	// First those which scripts name themselves: a script that began, and then meets
	// one that is gone, would end in the middle of its work.
	slices.Sort(keys)
	slices.SortStableFunc(keys, func(a, b string) int { return strings.Count(b, ":") - strings.Count(a, ":") })
	return keys
}

func (m *moving) move(key string) {
	m.t.Helper()
	if err := m.from.Migrate(m.t.Context(), "127.0.0.1", strconv.Itoa(m.toPort), key, 0, 5*time.Second).Err(); err != nil {
		m.t.Fatal(err)
	}
}

func TestWhileASlotMovesNothingIsDoneByHalf(t *testing.T) {
	t.Parallel()
	m := openMoving(t)
	m.tick()
	if in := m.join(1); in.State != queue.Admitted {
		t.Fatalf("who is inside: %+v", in)
	}
	called := m.call.Told
	visit := queue.Visit{ID: 1, Place: called, Called: called, Until: called.Add(time.Minute), At: called}
	renew := func() ([]queue.Renewal, error) {
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		out, moment, err := m.Renew(ctx, &m.call, []queue.Visit{visit}, nil)
		if err == nil {
			m.heard(moment)
		}
		return out, err
	}
	if _, err := renew(); err != nil {
		t.Fatal(err)
	}
	m.join(2)
	if _, _, err := m.Leave(t.Context(), &m.call, []queue.Departure{{ID: 2, Place: called}}, nil); err != nil {
		t.Fatal(err)
	}
	m.set.Mode = queue.ModeHold
	m.join(3)
	m.set.Mode = queue.ModeAuto
	m.tick() // calls the third
	m.set.Mode = queue.ModeHold
	soon := m.call.Told.Add(time.Millisecond)
	gone := m.enter(queue.Arrival{ID: 4, Place: m.call.Told, Newcomer: true, Join: true, Claim: true, Deadline: soon})
	m.enter(queue.Arrival{ID: 4, Place: gone.Place, Claim: true, Deadline: soon})
	m.pass(time.Second)
	m.pass(time.Second) // the fourth is absent
	stay := m.join(5)
	m.enter(queue.Arrival{ID: 6, Place: m.call.Told, Newcomer: true, Join: true, Claim: true, Deadline: m.call.Told.Add(800 * time.Millisecond)})
	m.pass(100 * time.Millisecond) // the sixth may be absent before this second is over
	if err := m.Override(t.Context(), "drop", queue.Overrides{Version: 1}); err != nil {
		t.Fatal(err)
	}
	m.call.Version = 1
	before := m.tick()

	m.begin()
	keys := m.keys()
	for _, name := range []string{"agenda", "agenda:", "soon", "away", "called", "active", "since", "left", "used", "used:", "ladder", "overrides", "waiting", "present", "meta"} {
		if !slices.ContainsFunc(keys, func(k string) bool { return strings.HasPrefix(k, "sluice:{drop}:"+name) }) {
			t.Fatalf("there is no %s among %q: nothing is shown by this test", name, keys)
		}
	}
	for _, key := range append([]string{""}, keys...) {
		if key != "" {
			m.move(key)
		}
		calls := map[string]func(context.Context) error{
			"tick": func(ctx context.Context) error { _, err := m.Tick(ctx, &m.call); return err },
			"enter": func(ctx context.Context) error {
				a := queue.Arrival{ID: 7, Place: m.call.Told, Deadline: m.call.Told.Add(time.Hour), Newcomer: true, Join: true, Claim: true}
				_, _, err := m.Enter(ctx, &m.call, []queue.Arrival{a}, nil)
				return err
			},
			"renew": func(context.Context) error { _, err := renew(); return err },
			"leave": func(ctx context.Context) error {
				_, _, err := m.Leave(ctx, &m.call, []queue.Departure{{ID: 5, Place: stay.Place}}, nil)
				return err
			},
		}
		for name, call := range calls {
			ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
			if err := call(ctx); err == nil || strings.Contains(err.Error(), "script") {
				t.Errorf("after %q has moved %s says %v, want it not to begin", key, name, err)
			}
			cancel()
		}
	}
	m.end()

	s := m.tick()
	if s.Waiting != before.Waiting || s.Away != before.Away || s.Called != before.Called || s.Active != before.Active {
		t.Errorf("after the move: %+v, before: %+v", s, before)
	}
	if s.Loss == nil || s.Loss.Found != queue.FoundRestarted || s.Barrier == 0 || s.Generation <= before.Generation {
		t.Errorf("the other server is taken for a loss of more than nothing: %+v, %+v", s, s.Loss)
	}
	if got := m.poll(5, stay.Place); got.State != queue.Waiting || got.Place != stay.Place || got.Restored {
		t.Errorf("who stood there before: %+v", got)
	}
	if r, err := renew(); err != nil || r[0].Gone || r[0].Restored || r[0].Overshoot {
		t.Errorf("who is inside is told %+v, %v", r, err)
	}
	if again := m.tick(); again.Loss != nil || again.Generation != s.Generation {
		t.Errorf("noticed again: %+v", again.Loss)
	}
}

func TestACallThatMeetsAMoveIsAnsweredOnceItIsOver(t *testing.T) {
	t.Parallel()
	m := openMoving(t)
	m.tick()
	ann := m.join(1)
	m.begin()
	for _, key := range m.keys() {
		m.move(key)
	}
	over := time.AfterFunc(100*time.Millisecond, m.end)
	defer over.Stop()
	if got := m.poll(1, ann.Place); got.State != queue.Admitted { // fails where an error is answered
		t.Errorf("ann is told %+v", got)
	}
}

func TestASlotMovesWhileACrowdComes(t *testing.T) {
	t.Parallel()
	ring := proc.Cluster(t, 2, false)
	s := openSale(t, ring.Address())
	s.come(40)
	s.awaitLet(10)
	m := newMoving(t, ring)
	m.begin()
	s.wg.Go(func() { s.come(20) })
	for keys := m.keys(); len(keys) > 0; keys = m.keys() {
		m.move(keys[0])
		time.Sleep(20 * time.Millisecond)
	}
	m.end()
	s.await("the gates hear the other server", func() bool { return s.losses() >= 2 })
	s.come(10)
	t.Logf("nobody was let in for %s", s.judge())
}
