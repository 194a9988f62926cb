package origin

import (
	"context"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

const shop = "http://shop.internal:3000"

func TestEveryAddressOfANameIsUsed(t *testing.T) {
	inWorld(t, func(w *world) {
		w.name("shop.internal", "10.1.0.1", "10.1.0.2", "10.1.0.1", "::ffff:10.1.0.3")
		w.up("10.1.0.1:3000", "10.1.0.2:3000", "10.1.0.3:3000")
		w.open(Config{URLs: []string{shop}})
		w.want(w.count(9), map[string]int{"10.1.0.1:3000": 3, "10.1.0.2:3000": 3, "10.1.0.3:3000": 3})
	})
	t.Run("and one of them that fails is left alone", func(t *testing.T) {
		inWorld(t, func(w *world) {
			w.name("shop.internal", "10.1.0.1", "10.1.0.2")
			w.up("10.1.0.1:3000", "10.1.0.2:3000")
			w.open(Config{URLs: []string{shop}})
			w.count(6, "10.1.0.1:3000")
			w.wantLog([]string{"left alone", shop, "address=10.1.0.1:3000"})
			w.want(w.count(4), map[string]int{"10.1.0.2:3000": 4})
		})
	})
}

func TestAChangeOfAddressesIsPickedUp(t *testing.T) {
	const one, two, three = "10.1.0.1:3000", "10.1.0.2:3000", "10.1.0.3:3000"
	inWorld(t, func(w *world) {
		w.name("shop.internal", "10.1.0.1", "10.1.0.2")
		w.up(one, two, three)
		g := w.open(Config{URLs: []string{shop}, MaxAge: 10 * time.Second, KeepAlive: time.Hour})
		w.count(4)
		var underWay *Conn // with a long download
		for underWay == nil || underWay.Server().String() != one {
			var err error
			if underWay, err = g.Take(time.Now(), new(Round)); err != nil {
				t.Fatal(err)
			}
			if underWay.Server().String() != one {
				underWay.Keep(time.Now())
			}
		}
		w.count(4) // so that an idle one is there, too
		was := w.dialled[two]
		w.name("shop.internal", "10.1.0.2", "10.1.0.3")
		w.want(w.count(4), map[string]int{one: 2, two: 2})

		time.Sleep(11 * time.Second)
		w.want(w.count(4), map[string]int{two: 2, three: 2})
		w.wantLog([]string{"level=INFO", "the addresses of an origin changed", shop, two, three})
		if w.dialled[two] != was {
			t.Error("the server that stayed lost its connections")
		}
		if n := w.closed(one); n != w.dialled[one]-1 {
			t.Errorf("of %d connections to the server that went %d are closed, want all but the one in use", w.dialled[one], n)
		}
		underWay.Keep(time.Now())
		if n := w.closed(one); n != w.dialled[one] {
			t.Error("the connection that was in use is kept")
		}
	})
}

func TestANameThatIsNotFound(t *testing.T) {
	t.Run("any more: its addresses stay in use", func(t *testing.T) {
		inWorld(t, func(w *world) {
			w.name("shop.internal", "10.1.0.1")
			w.up("10.1.0.1:3000")
			w.open(Config{URLs: []string{shop}})
			w.count(2)
			w.name("shop.internal")
			time.Sleep(time.Hour)
			w.want(w.count(4), map[string]int{"10.1.0.1:3000": 4})
			w.wantLog([]string{"level=WARN", "the name of an origin is not found", shop, "no such host"})
			w.name("shop.internal", "10.1.0.2")
			w.up("10.1.0.2:3000")
			time.Sleep(11 * time.Second)
			w.want(w.count(4), map[string]int{"10.1.0.2:3000": 4})
			w.wantLog([]string{"found again"}, []string{"addresses of an origin changed"})
		})
	})
	t.Run("yet: found soon after it is there", func(t *testing.T) {
		inWorld(t, func(w *world) {
			w.up("10.1.0.1:3000")
			g := w.open(Config{URLs: []string{shop}})
			_, err := g.Take(time.Now(), new(Round))
			if err == nil || !strings.Contains(err.Error(), "no such host") {
				t.Errorf("got %v", err)
			}
			w.name("shop.internal", "10.1.0.1")
			time.Sleep(2 * time.Second)
			w.want(w.count(4), map[string]int{"10.1.0.1:3000": 4})
		})
	})
	t.Run("in time: a request waits no longer than for a connection", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			g, err := New(Config{URLs: []string{shop}, Resolver: hanging{}})
			if err != nil {
				t.Fatal(err)
			}
			began := time.Now()
			if _, err := g.Take(began, new(Round)); err == nil || time.Since(began) != 2*time.Second {
				t.Errorf("after %v: %v", time.Since(began), err)
			}
			g.Close()
		})
	})
	t.Run("beside one that is: nobody waits", func(t *testing.T) {
		inWorld(t, func(w *world) {
			w.up(a)
			w.open(Config{URLs: []string{shop, "http://" + a}})
			began := time.Now()
			w.want(w.count(4), map[string]int{a: 4})
			if time.Since(began) != 0 {
				t.Errorf("it took %v", time.Since(began))
			}
		})
	})
}

type hanging struct{}

func (hanging) LookupNetIP(ctx context.Context, _, _ string) ([]netip.Addr, error) {
	<-ctx.Done()
	return nil, ctx.Err()
}

func TestANameWithAddressesOfBothFamilies(t *testing.T) {
	const four, six = "127.0.0.1:3000", "[::1]:3000"
	t.Run("is used by the one that can be reached", func(t *testing.T) {
		for _, listens := range []string{four, six} {
			inWorld(t, func(w *world) {
				w.name("shop.internal", "::1", "127.0.0.1")
				w.up(listens)
				w.open(Config{URLs: []string{shop}})
				w.want(w.count(4), map[string]int{listens: 4})
				w.stand(1, 0, 0)
				w.wantLog()
			})
		}
	})
	t.Run("and by the other when that one is gone", func(t *testing.T) {
		inWorld(t, func(w *world) {
			w.name("shop.internal", "::1", "127.0.0.1")
			w.up(six)
			w.open(Config{URLs: []string{shop}})
			w.count(1)
			w.down(six)
			w.up(four)
			for range 4 {
				if c, err := w.group.Take(time.Now(), new(Round)); err == nil {
					c.Failed(ErrConnect) // it was kept, and is dead
					c.Drop()
				}
			}
			time.Sleep(11 * time.Second)
			w.want(w.count(4), map[string]int{four: 4})
		})
	})
}
