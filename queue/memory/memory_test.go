package memory_test

import (
	"sync/atomic"
	"testing"
	"time"

	"github.com/sluicegate/sluice/queue/memory"
	"github.com/sluicegate/sluice/queue/queuetest"
)

// forgetful is a store that may be changed for an empty one, or for an older copy.
type forgetful struct{ *memory.Store }

// open returns an empty store whose clock the test moves.
func open(t testing.TB) queuetest.Harness {
	var now atomic.Int64
	now.Store(time.Date(2026, 7, 1, 9, 59, 59, 123_456_789, time.UTC).UnixNano())
	move := func(d time.Duration) { now.Add(int64(d)) }
	clock := func() time.Time { return time.Unix(0, now.Load()) }
	empty := func() *memory.Store { return memory.New(memory.Options{Now: clock}) }
	store := &forgetful{empty()}
	t.Cleanup(func() {
		if err := store.Close(); err != nil {
			t.Error(err)
		}
	})
	return queuetest.Harness{
		Store: store, Advance: move, Jump: move,
		Wipe: func(string) { store.Store = empty() },
		Copy: func(string) func() {
			kept := store.Copy(clock)
			return func() { store.Store = kept.Copy(clock) }
		},
	}
}

func TestStore(t *testing.T) { queuetest.Run(t, open) }

func TestStateMachine(t *testing.T) { queuetest.StateMachine(t, open) }
