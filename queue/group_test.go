package queue

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
)

// sent is what a group sent, and when.
type sent struct {
	at    time.Duration
	items []int
}

// post is a group whose batches take a time each, and are answered with their
// items doubled.
type post struct {
	group[int, int]
	begin time.Time
	takes time.Duration
	fails func(batch int) error

	mu      sync.Mutex
	batches []sent
	stop    func() // and wait until it has
}

func newPost() *post {
	p := &post{begin: time.Now()}
	p.init(func(in []int, out []int) ([]int, error) {
		p.mu.Lock()
		n := len(p.batches)
		p.batches = append(p.batches, sent{time.Since(p.begin), slices.Clone(in)})
		p.mu.Unlock()
		time.Sleep(p.takes)
		if p.fails != nil {
			if err := p.fails(n); err != nil {
				return out, err
			}
		}
		for _, i := range in {
			out = append(out, 2*i)
		}
		return out, nil
	})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { p.run(ctx); close(done) }()
	p.stop = func() { cancel(); <-done }
	return p
}

// crowd has visitors from..to ask, after a time that depends on each, and returns
// when all were answered.
func (p *post) crowd(t *testing.T, from, to int, after func(i int) time.Duration) (errs []error) {
	var wg sync.WaitGroup
	errs = make([]error, to-from)
	for i := from; i < to; i++ {
		wg.Go(func() {
			if after != nil {
				time.Sleep(after(i))
			}
			got, err := p.ask(i)
			if err == nil && got != 2*i {
				t.Errorf("visitor %d got the answer of %d", i, got/2)
			}
			errs[i-from] = err
		})
	}
	wg.Wait()
	return errs
}

func (p *post) sizes() (sizes []int) {
	for _, b := range p.batches {
		sizes = append(sizes, len(b.items))
	}
	return sizes
}

func TestVisitorsWhoAskWithinAMillisecondGoTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPost()
		defer p.stop()
		synctest.Wait()
		p.crowd(t, 0, 100, func(i int) time.Duration { return time.Duration(i) * 9 * time.Microsecond })
		if len(p.batches) != 1 || p.batches[0].at != time.Millisecond {
			t.Fatalf("visitors who asked within 0.9 ms were sent %v", p.batches)
		}
		if !slices.IsSorted(p.batches[0].items) {
			t.Error("they were not sent in the order in which they asked")
		}
		p.crowd(t, 0, 1, nil)
		if got := p.batches[1].at; got != 2*time.Millisecond {
			t.Errorf("somebody alone was sent after %s, want 1ms", got-time.Millisecond)
		}
	})
}

func TestAFullGroupGoesAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPost()
		defer p.stop()
		synctest.Wait()
		p.crowd(t, 0, 600, nil)
		if got := p.sizes(); got[0] < 256 || p.batches[0].at != 0 {
			t.Errorf("of 600 visitors %d went after %s", got[0], p.batches[0].at)
		}
	})
}

func TestNoGroupIsLargerThanTheStoreShouldHave(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPost()
		p.takes = 50 * time.Millisecond
		defer p.stop()
		p.crowd(t, 0, 5001, func(i int) time.Duration { return time.Duration(min(i, 1)) * 10 * time.Millisecond })
		if got := p.sizes(); !slices.Equal(got, []int{1, 2048, 2048, 904}) {
			t.Errorf("5000 visitors who gathered went in groups of %d", got)
		}
	})
}

func TestWhileACallIsUnderWayVisitorsGather(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPost()
		p.takes = 50 * time.Millisecond
		defer p.stop()
		p.crowd(t, 0, 200, func(i int) time.Duration { return time.Duration(i) * 200 * time.Microsecond })
		if got := p.sizes(); len(got) != 2 || got[0] > 6 || got[0]+got[1] != 200 {
			t.Errorf("while the store took 50 ms, groups of %d went", got)
		}
	})
}

func TestAnErrorReachesEverybodyOfTheGroupAndNobodyElse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPost()
		defer p.stop()
		broken := errors.New("broken")
		p.fails = func(batch int) error {
			if batch == 1 {
				return broken
			}
			return nil
		}
		for batch := range 3 {
			for i, err := range p.crowd(t, 10*batch, 10*batch+10, nil) {
				if (err != nil) != (batch == 1) || err != nil && !errors.Is(err, broken) {
					t.Errorf("visitor %d of group %d got the error %v", i, batch, err)
				}
			}
		}
	})
}

func TestAStopAnswersEverybody(t *testing.T) {
	defer goleak.VerifyNone(t)
	for stopAt := time.Duration(0); stopAt < 40*time.Millisecond; stopAt += 777 * time.Microsecond {
		synctest.Test(t, func(t *testing.T) {
			p := newPost()
			p.takes = 7 * time.Millisecond
			stopped := make(chan struct{})
			go func() {
				time.Sleep(stopAt)
				p.stop()
				close(stopped)
			}()
			errs := p.crowd(t, 0, 1000, func(i int) time.Duration { return time.Duration(i%30) * time.Millisecond })
			<-stopped
			answered, refused := 0, 0
			for _, err := range errs {
				switch {
				case err == nil:
					answered++
				case errors.Is(err, ErrUnavailable):
					refused++
				default:
					t.Errorf("a visitor got the error %v", err)
				}
			}
			n := 0
			for _, b := range p.batches {
				n += len(b.items)
			}
			if n != answered || answered+refused != 1000 {
				t.Errorf("stopped after %s: %d visitors sent, %d answered, %d refused", stopAt, n, answered, refused)
			}
			if _, err := p.ask(1); !errors.Is(err, ErrUnavailable) {
				t.Errorf("after the stop a visitor got the error %v", err)
			}
		})
	}
}

func TestAStopComesToAnEndThoughVisitorsKeepAsking(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPost()
		p.takes = 5 * time.Millisecond
		var visitors sync.WaitGroup
		for i := range 200 {
			visitors.Go(func() {
				for {
					time.Sleep(rand.N(20 * time.Millisecond)) // somebody is always waiting
					if _, err := p.ask(i); err != nil {
						return
					}
				}
			})
		}
		time.Sleep(time.Second)
		before := time.Now()
		p.stop()
		if took := time.Since(before); took > time.Second {
			t.Errorf("the stop took %s", took)
		}
		visitors.Wait()
	})
}

func TestManyAskWhileAGroupStops(t *testing.T) { // on real time, for the race detector
	defer goleak.VerifyNone(t)
	for range 20 {
		p := newPost()
		var visitors sync.WaitGroup
		for i := range 50 {
			visitors.Go(func() {
				for {
					got, err := p.ask(i)
					if err != nil {
						return
					}
					if got != 2*i {
						t.Errorf("visitor %d got the answer of %d", i, got/2)
					}
				}
			})
		}
		p.crowd(t, 100, 400, nil)
		p.stop()
		visitors.Wait()
	}
}
