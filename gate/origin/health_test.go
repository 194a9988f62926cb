package origin

import (
	"testing"
	"time"
)

func TestAServerThatFailsInARowIsLeftAlone(t *testing.T) {
	inWorld(t, func(w *world) {
		w.up(a, b)
		w.open(Config{URLs: urls(a, b)})
		w.want(w.count(6, a), map[string]int{a: 3, b: 3})
		w.wantLog([]string{"level=WARN", "an origin is left alone: requests failed in a row", "http://" + a, "it broke off"})
		w.want(w.count(10, a), map[string]int{b: 10})

		// After 5 s one request finds out, and no second one meanwhile.
		time.Sleep(5 * time.Second)
		w.want(w.count(10, a), map[string]int{a: 1, b: 9})
		// Then after 10 s, and after 20.
		time.Sleep(9 * time.Second)
		w.want(w.count(10, a), map[string]int{b: 10})
		time.Sleep(time.Second)
		w.want(w.count(10, a), map[string]int{a: 1, b: 9})
		time.Sleep(19 * time.Second)
		w.want(w.count(10, a), map[string]int{b: 10})
		time.Sleep(time.Second)
		w.want(w.count(10, a), map[string]int{a: 1, b: 9})
		w.wantLog()

		// It answers again: it is back at once.
		time.Sleep(40 * time.Second)
		w.want(w.count(10), map[string]int{a: 5, b: 5})
		w.wantLog([]string{"level=INFO", "an origin is well again", "http://" + a, "after=1m15s"})
	})
}

func TestItIsNeverLeftAloneForLongerThanIsSaid(t *testing.T) {
	inWorld(t, func(w *world) {
		w.up(a, b)
		w.open(Config{URLs: urls(a, b), Failures: Failures{Count: 1, Out: time.Second, MaxOut: 3 * time.Second}})
		w.count(2, a)
		for i, out := range []time.Duration{1, 2, 3, 3, 3} {
			time.Sleep(out*time.Second - time.Millisecond)
			w.want(w.count(2, a), map[string]int{b: 2})
			time.Sleep(time.Millisecond)
			if got := w.count(2, a); got[a] != 1 {
				t.Errorf("trial %d did not take place after %v s", i+1, out)
			}
		}
	})
}

func TestOneThatFailsAsSoonAsItIsBackIsLeftAloneForLonger(t *testing.T) {
	inWorld(t, func(w *world) {
		w.up(a, b)
		w.open(Config{URLs: urls(a, b), Failures: Failures{Count: 1}})
		w.count(2, a)
		time.Sleep(5 * time.Second)
		w.count(2)    // back
		w.count(2, a) // and out, now for 10 s
		time.Sleep(9 * time.Second)
		w.want(w.count(4, a), map[string]int{b: 4})
		time.Sleep(time.Second)
		w.want(w.count(4), map[string]int{a: 2, b: 2})
		// Long after that it begins anew.
		time.Sleep(2 * time.Minute)
		w.count(2, a)
		time.Sleep(5 * time.Second)
		w.want(w.count(4), map[string]int{a: 2, b: 2})
	})
}

func TestFailuresThatAreNoRowDoNotCount(t *testing.T) {
	inWorld(t, func(w *world) {
		w.up(a, b)
		w.open(Config{URLs: urls(a, b)})
		for range 10 { // an answer in between
			w.count(4, a)
			w.count(2)
		}
		w.wantLog()
		for range 10 { // three within 30 s never
			w.count(2, a)
			time.Sleep(16 * time.Second)
		}
		w.wantLog()
		w.want(w.count(4), map[string]int{a: 2, b: 2})
	})
}

func TestWhenAllAreLeftAloneTheyAreTriedAllTheSame(t *testing.T) {
	inWorld(t, func(w *world) {
		w.up(a, b)
		w.open(Config{URLs: urls(a, b)})
		w.count(6, a, b)
		w.wantLog([]string{"left alone"}, []string{"left alone"})
		w.want(w.count(10, a, b), map[string]int{a: 5, b: 5})
		w.wantLog()
		// One of them has come back: whoever meets it first brings it back for all.
		w.count(2, a)
		w.wantLog([]string{"well again", b})
		w.want(w.count(4, a), map[string]int{b: 4})
	})
}

func TestWhatCannotBeSentAgainIsNotRiskedAtAServerThatFailed(t *testing.T) {
	inWorld(t, func(w *world) {
		w.up(a, b)
		w.open(Config{URLs: urls(a, b)})
		w.count(6, a)
		time.Sleep(5 * time.Second)
		for range 10 {
			if at := w.ask(false); at != b {
				t.Fatalf("a purchase tried out %q", at)
			}
		}
		// Where nothing else ever comes, it has to.
		time.Sleep(5 * time.Second)
		seen := map[string]int{}
		for range 10 {
			seen[w.ask(false)]++
		}
		w.want(seen, map[string]int{a: 5, b: 5})
	})
}

func TestATrialThatNobodyHearsOfIsFollowedByAnother(t *testing.T) {
	inWorld(t, func(w *world) {
		w.up(a, b)
		g := w.open(Config{URLs: urls(a, b)})
		w.count(6, a)
		time.Sleep(5 * time.Second)
		var lost *Conn
		for lost == nil || lost.Server().String() != a {
			var err error
			if lost, err = g.Take(time.Now(), &Round{Safe: true}); err != nil {
				t.Fatal(err)
			}
			defer lost.Drop() // the visitor went away
		}
		w.want(w.count(4), map[string]int{b: 4})
		time.Sleep(5 * time.Second)
		w.want(w.count(4), map[string]int{a: 2, b: 2})
	})
}

func TestStragglersDoNotProlongAnything(t *testing.T) {
	inWorld(t, func(w *world) {
		w.up(a, b)
		g := w.open(Config{URLs: urls(a, b)})
		var slow []*Conn
		for range 20 {
			conn, err := g.Take(time.Now(), &Round{Safe: true})
			if err != nil {
				t.Fatal(err)
			}
			slow = append(slow, conn)
		}
		for _, conn := range slow {
			if conn.Server().String() == a {
				conn.Failed(ErrConnect)
			}
			conn.Drop()
		}
		time.Sleep(5 * time.Second)
		w.want(w.count(4), map[string]int{a: 2, b: 2})
	})
}

func TestFailuresMayCountForNothing(t *testing.T) {
	inWorld(t, func(w *world) {
		w.up(a, b)
		w.open(Config{URLs: urls(a, b), Failures: Failures{Count: -1}})
		w.want(w.count(20, a), map[string]int{a: 10, b: 10})
		w.wantLog()
	})
}

func TestTheOnlyServerIsAlwaysAsked(t *testing.T) {
	inWorld(t, func(w *world) {
		w.up(a)
		w.open(Config{URLs: urls(a)})
		w.want(w.count(10, a), map[string]int{a: 10})
		w.wantLog([]string{"left alone"})
		if s := w.group.Status()[0]; s.Out != 1 || s.Up != 0 {
			t.Errorf("it stands as %+v", s)
		}
		w.want(w.count(10), map[string]int{a: 10})
		w.wantLog([]string{"well again"})
	})
}
