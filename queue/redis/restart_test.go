package redis_test

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"

	client "github.com/redis/go-redis/v9"

	"github.com/sluicegate/sluice/queue"
	"github.com/sluicegate/sluice/queue/queuetest/proc"
	"github.com/sluicegate/sluice/queue/redis"
)

// restarted is a redis-server on one port that is stopped and started again.
type restarted struct {
	t    *testing.T
	port int
	dir  string
	p    *proc.Process
	db   *client.Client
	*room
}

func openRestarted(t *testing.T) *restarted {
	t.Helper()
	r := &restarted{t: t, port: proc.FreePort(t), dir: t.TempDir()}
	r.start()
	r.db = client.NewClient(&client.Options{Addr: net.JoinHostPort("127.0.0.1", strconv.Itoa(r.port)), MaxRetries: -1})
	r.room = newRoom(t, redis.New(r.db, redis.Options{}), func(s *queue.Settings) { s.MaxActive = 1 })
	return r
}

func (r *restarted) start() {
	r.p = proc.RedisAt(r.t, r.port, "--dir", r.dir, "--dbfilename", "dump.rdb")
}

// restart ends the server without a last word, and starts it on a copy of its data.
func (r *restarted) restart(dump []byte) {
	r.t.Helper()
	if err := r.p.Signal(syscall.SIGKILL); err != nil {
		r.t.Fatal(err)
	}
	<-r.p.Done()
	file := filepath.Join(r.dir, "dump.rdb")
	err := os.Remove(file)
	if dump != nil {
		err = os.WriteFile(file, dump, 0o600)
	}
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		r.t.Fatal(err)
	}
	r.start()
}

func (r *restarted) save() []byte {
	r.t.Helper()
	err := r.db.Save(context.Background()).Err()
	dump, err2 := os.ReadFile(filepath.Join(r.dir, "dump.rdb"))
	if err := errors.Join(err, err2); err != nil {
		r.t.Fatal(err)
	}
	return dump
}

func TestARedisThatIsStartedAnewIsNoticedAtTheFirstCall(t *testing.T) {
	r := openRestarted(t)
	first := r.tick().Generation
	in := r.enter(queue.Arrival{ID: 1, Place: r.call.Told, Newcomer: true, Join: true, Claim: true})
	if in.State != queue.Admitted {
		t.Fatalf("the first newcomer: %+v", in)
	}
	ann := r.enter(queue.Arrival{ID: 2, Place: r.call.Told, Newcomer: true, Join: true, Claim: true})
	r.tick()

	// With all that it knew: the line and the slots are kept, newcomers wait a moment.
	r.restart(r.save())
	s := r.tick()
	if s.Generation <= first || s.Loss == nil || s.Loss.Found != queue.FoundRestarted || s.Loss.Waiting != 1 || s.Loss.Slots != 1 {
		t.Fatalf("after a restart with its data: generation %d after %d, %+v", s.Generation, first, s.Loss)
	}
	if s.Held <= s.Time || s.Barrier != ann.Place {
		t.Errorf("held until %d behind %d, want the last place %d to be the barrier", s.Held, s.Barrier, ann.Place)
	}
	second := s.Generation
	if s := r.tick(); s.Generation != second || s.Loss != nil {
		t.Errorf("noticed again: generation %d, %+v", s.Generation, s.Loss)
	}

	// From an older copy.
	old := r.save()
	bob := r.enter(queue.Arrival{ID: 3, Place: r.call.Told, Newcomer: true, Join: true, Claim: true})
	if bob.State != queue.Waiting {
		t.Fatalf("bob: %+v", bob)
	}
	r.restart(old)
	s = r.tick()
	if s.Generation <= second || s.Loss == nil || s.Loss.Found != queue.FoundBehind || s.Waiting != 1 {
		t.Fatalf("after a restart from an older copy: generation %d after %d, %d wait, %+v", s.Generation, second, s.Waiting, s.Loss)
	}
	if got := r.enter(queue.Arrival{ID: 3, Place: bob.Place, Claim: true}); !got.Restored || got.Place != bob.Place || got.Rank != 1 {
		t.Errorf("bob comes back: %+v, his place was %d", got, bob.Place)
	}
	r.tick()

	// Empty.
	third := s.Generation
	r.restart(nil)
	s = r.tick()
	if s.Generation <= third || s.Loss == nil || s.Loss.Found != queue.FoundNothing || s.Held.Sub(s.Time) != r.call.Hold {
		t.Fatalf("after a restart without its data: generation %d, held until %d, %+v", s.Generation, s.Held, s.Loss)
	}
	if got := r.enter(queue.Arrival{ID: 4, Place: r.call.Told, Newcomer: true, Join: true, Claim: true}); got.State != queue.Waiting {
		t.Errorf("a newcomer is not behind those who have yet to come back: %+v", got)
	}
	if got := r.enter(queue.Arrival{ID: 2, Place: ann.Place, Claim: true}); !got.Restored || got.Place != ann.Place || got.Rank != 0 {
		t.Errorf("ann comes back: %+v, her place was %d", got, ann.Place)
	}
}

func TestALineOfABuildThatKnewNoPlaceTimeGoesOn(t *testing.T) {
	r := openRestarted(t)
	r.set.Mode = queue.ModeHold
	r.tick()
	r.call.Place = r.call.Told.Add(time.Hour) // an outage was so long
	ann := r.join(1)
	before := r.tick()
	if ahead := before.Place.Sub(before.Time); ahead < 59*time.Minute {
		t.Fatalf("place time is %s ahead of room time", ahead)
	}
	if err := r.db.HDel(t.Context(), "sluice:{drop}:meta", "shift", "born_place").Err(); err != nil {
		t.Fatal(err)
	}
	r.call.Place = 0
	s := r.tick()
	if s.Generation != before.Generation || s.Place != s.Time {
		t.Errorf("generation %d after %d, and place time is %s ahead of room time", s.Generation, before.Generation, s.Place.Sub(s.Time))
	}
	r.call.Place = before.Place.Add(time.Second) // as soon as a gate is heard that knows it
	if s := r.tick(); s.Place != r.call.Place {
		t.Errorf("place time is %s off", s.Place.Sub(r.call.Place))
	}
	if got := r.poll(1, ann.Place); got.Place != ann.Place || got.State != queue.Waiting {
		t.Errorf("ann: %+v, her place was %d", got, ann.Place)
	}
}
