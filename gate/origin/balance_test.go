package origin

import (
	"errors"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

func TestServersTakeTurns(t *testing.T) {
	inWorld(t, func(w *world) {
		w.up(a, b, c)
		w.open(Config{URLs: urls(a, b, c)})
		w.want(w.count(9), map[string]int{a: 3, b: 3, c: 3})
	})
}

func TestTheServerWithTheFewestRequestsUnderWayIsNext(t *testing.T) {
	inWorld(t, func(w *world) {
		w.up(a, b)
		g := w.open(Config{URLs: urls(a, b), Balance: LeastConns})
		held := map[string][]*Conn{}
		take := func() string {
			conn, err := g.Take(time.Now(), new(Round))
			if err != nil {
				t.Fatal(err)
			}
			at := conn.Server().String()
			held[at] = append(held[at], conn)
			return at
		}
		for range 4 {
			take()
		}
		if len(held[a]) != 2 || len(held[b]) != 2 {
			t.Fatalf("%d and %d requests under way, want 2 and 2", len(held[a]), len(held[b]))
		}
		for _, conn := range held[b] {
			conn.Keep(time.Now())
		}
		for range 2 {
			if at := take(); at != b {
				t.Errorf("with two under way at the one and fewer at the other, %s was next", at)
			}
		}
		tunnel, err := g.Dial(time.Now(), new(Round))
		if err != nil {
			t.Fatal(err)
		}
		other := map[string]string{a: b, b: a}[tunnel.Server().String()]
		if at := take(); at != other {
			t.Error("a tunnel does not count as something under way")
		}
		tunnel.Drop()
		for _, s := range g.Status() {
			if s.Tunnels != 0 {
				t.Errorf("%d tunnels are left", s.Tunnels)
			}
		}
	})
}

func TestAServerThatCannotBeReachedIsPassedOver(t *testing.T) {
	inWorld(t, func(w *world) {
		w.up(b)
		w.open(Config{URLs: urls(a, b)})
		for range 10 {
			if at := w.ask(false); at != b {
				t.Fatalf("nothing was sent yet, and the request ended at %q", at)
			}
		}
		w.wantLog([]string{"level=WARN", "an origin is left alone", "http://" + a, "connection refused"})
	})
}

func TestARequestIsTriedAtThreeServersAtMost(t *testing.T) {
	inWorld(t, func(w *world) {
		retries := 0
		w.open(Config{URLs: urls(a, b, c, d), Retried: func() { retries++ }})
		_, err := w.group.Take(time.Now(), new(Round))
		if !errors.Is(err, ErrConnect) || !errors.Is(err, syscall.ECONNREFUSED) {
			t.Errorf("got %v", err)
		}
		n := 0
		for _, times := range w.dialled {
			n += times
		}
		if n != 3 {
			t.Errorf("%d connections were tried, want 3", n)
		}
		if retries != 2 {
			t.Errorf("%d retries are told, want 2", retries)
		}
	})
}

func TestARoundNeverComesToOneServerTwice(t *testing.T) {
	inWorld(t, func(w *world) {
		w.up(a, b)
		g := w.open(Config{URLs: urls(a, b)})
		var r Round
		first, err := g.Take(time.Now(), &r)
		if err != nil {
			t.Fatal(err)
		}
		second, err := g.Take(time.Now(), &r)
		if err != nil {
			t.Fatal(err)
		}
		if first.Server() == second.Server() {
			t.Error("the same server again")
		}
		if _, err := g.Take(time.Now(), &r); !errors.Is(err, ErrNoOther) {
			t.Errorf("both were tried, and Take answers %v", err)
		}
		first.Drop()
		second.Drop()
	})
	t.Run("nor to the only one", func(t *testing.T) {
		inWorld(t, func(w *world) {
			w.up(a)
			g := w.open(Config{URLs: urls(a)})
			var r Round
			conn, err := g.Take(time.Now(), &r)
			if err != nil {
				t.Fatal(err)
			}
			conn.Drop()
			if _, err := g.Take(time.Now(), &r); !errors.Is(err, ErrNoOther) {
				t.Errorf("Take answers %v", err)
			}
		})
	})
}

func TestAServerWithoutAFreeConnectionIsPassedOver(t *testing.T) {
	inWorld(t, func(w *world) {
		w.up(a, b)
		g := w.open(Config{URLs: urls(a, b), MaxConns: 2})
		var held []*Conn
		for range 4 {
			conn, err := g.Take(time.Now(), new(Round))
			if err != nil {
				t.Fatal(err)
			}
			held = append(held, conn)
		}
		// One is free again at b: whoever's turn it is, it goes there.
		for i, conn := range held {
			if conn.Server().String() == b {
				conn.Keep(time.Now())
				held[i] = nil
				break
			}
		}
		for range 3 {
			if at := w.ask(false); at != b {
				t.Errorf("the request waited for %q", at)
			}
		}
		for _, conn := range held {
			if conn != nil {
				conn.Drop()
			}
		}
	})
}

func TestWhoWasNotLetInGoesWhereTheirShareIsNotUsedUp(t *testing.T) {
	inWorld(t, func(w *world) {
		w.up(a, b)
		g := w.open(Config{URLs: urls(a, b), MaxConns: 8, MaxQueue: 1, BusyWait: time.Second})
		take := func(common bool) (*Conn, error) { return g.Take(time.Now(), &Round{Common: common}) }
		held := map[string][]*Conn{}
		for range 14 {
			conn, err := take(true)
			if err != nil {
				t.Fatal(err)
			}
			at := conn.Server().String()
			held[at] = append(held[at], conn)
		}
		if len(held[a]) != 7 || len(held[b]) != 7 {
			t.Fatalf("%d and %d, want all but an eighth of each", len(held[a]), len(held[b]))
		}
		held[b][0].Keep(time.Now())
		for range 3 {
			conn, err := take(true)
			if err != nil || conn.Server().String() != b {
				t.Fatalf("%v, %v", conn, err)
			}
			conn.Keep(time.Now())
		}
		if held[b][0], _ = take(true); held[b][0] == nil {
			t.Fatal("not the last one")
		}
		// Now one at each waits, and no more.
		waited := make(chan error, 2)
		for range 2 {
			go func() { _, err := take(true); waited <- err }()
		}
		synctest.Wait()
		began := time.Now()
		if _, err := take(true); !errors.Is(err, ErrBusy) || time.Since(began) != 0 {
			t.Errorf("after %v: %v", time.Since(began), err)
		}
		for range 2 {
			if err := <-waited; !errors.Is(err, ErrBusy) {
				t.Error(err)
			}
		}
		if conn, err := take(false); err != nil {
			t.Errorf("who was let in gets %v", err)
		} else {
			conn.Drop()
		}
	})
}

func TestWhoWaitsForAConnection(t *testing.T) {
	one := func(w *world, c Config) (g *Group, held *Conn) {
		w.up(a)
		c.URLs, c.MaxConns = urls(a), 1
		g = w.open(c)
		held, err := g.Take(time.Now(), new(Round))
		if err != nil {
			w.t.Fatal(err)
		}
		return g, held
	}
	t.Run("waits no longer than is said", func(t *testing.T) {
		inWorld(t, func(w *world) {
			g, held := one(w, Config{BusyWait: 300 * time.Millisecond})
			began := time.Now()
			if _, err := g.Take(began, new(Round)); !errors.Is(err, ErrBusy) || time.Since(began) != 300*time.Millisecond {
				t.Errorf("after %v: %v", time.Since(began), err)
			}
			held.Drop()
			if s := g.Status()[0]; s.Waiting != 0 || s.Used != 0 {
				t.Errorf("left behind: %+v", s)
			}
		})
	})
	t.Run("is turned away at once where too many wait", func(t *testing.T) {
		inWorld(t, func(w *world) {
			g, held := one(w, Config{MaxQueue: 1})
			go func() {
				if conn, err := g.Take(time.Now(), new(Round)); err == nil {
					conn.Keep(time.Now())
				}
			}()
			for g.Status()[0].Waiting == 0 {
				time.Sleep(time.Millisecond)
			}
			began := time.Now()
			if _, err := g.Take(began, new(Round)); !errors.Is(err, ErrBusy) || time.Since(began) != 0 {
				t.Errorf("after %v: %v", time.Since(began), err)
			}
			held.Keep(time.Now())
		})
	})
	t.Run("does not wait for a server that is taken away", func(t *testing.T) {
		inWorld(t, func(w *world) {
			w.up("10.1.0.1:80", "10.1.0.2:80")
			w.name("shop.internal", "10.1.0.1")
			g := w.open(Config{URLs: []string{"http://shop.internal"}, MaxConns: 1, BusyWait: time.Hour, MaxAge: time.Second})
			held, err := g.Take(time.Now(), new(Round))
			if err != nil {
				t.Fatal(err)
			}
			w.name("shop.internal", "10.1.0.2")
			got := w.ask(false)
			if got != "10.1.0.2:80" {
				t.Errorf("got to %q", got)
			}
			held.Keep(time.Now())
		})
	})
}

func TestTheLastConnectionsAreForVisitorsWhoWereLetIn(t *testing.T) {
	inWorld(t, func(w *world) {
		w.up(a)
		g := w.open(Config{URLs: urls(a), MaxConns: 16})
		var common []*Conn
		for range 14 {
			c, err := g.Take(time.Now(), &Round{Common: true})
			if err != nil {
				t.Fatal(err)
			}
			common = append(common, c)
		}
		if _, err := g.Take(time.Now(), &Round{Common: true}); !errors.Is(err, ErrBusy) {
			t.Errorf("the reserve is given away: %v", err)
		}
		for range 2 {
			c, err := g.Take(time.Now(), new(Round))
			if err != nil {
				t.Fatalf("a visitor who was let in gets none: %v", err)
			}
			defer c.Drop()
		}
		time.AfterFunc(100*time.Millisecond, func() { common[0].Keep(time.Now()) })
		c, err := g.Take(time.Now(), &Round{Common: true})
		if err != nil {
			t.Fatalf("a connection that came free is not given again: %v", err)
		}
		c.Drop()
		for _, c := range common[1:] {
			c.Drop()
		}
		for range 14 { // what ended as a drop came free too
			c, err := g.Take(time.Now(), &Round{Common: true})
			if err != nil {
				t.Fatal(err)
			}
			defer c.Keep(time.Now())
		}
	})
}

func TestIdleConnectionsEndByThemselves(t *testing.T) {
	inWorld(t, func(w *world) {
		w.up(a)
		g := w.open(Config{URLs: urls(a), KeepAlive: 8 * time.Second})
		w.ask(true)
		time.Sleep(7 * time.Second)
		if s := g.Status()[0]; s.Idle != 1 {
			t.Errorf("after 7 s %d are idle", s.Idle)
		}
		time.Sleep(2 * time.Second)
		if s := g.Status()[0]; s.Idle != 0 || w.closed(a) != 1 {
			t.Errorf("after 9 s %d are idle", s.Idle)
		}
	})
}
