package door

import (
	"errors"
	"io"
	"net"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/sluicegate/sluice/metrics"
)

// visitor is a connection that notes what the door does to it.
type visitor struct {
	net.Conn
	closed, cut atomic.Bool // cut: its reads fail
	said        []byte
}

func (v *visitor) Close() error                       { v.closed.Store(true); return nil }
func (v *visitor) SetDeadline(t time.Time) error      { return v.SetReadDeadline(t) }
func (v *visitor) SetReadDeadline(t time.Time) error  { v.cut.Store(t.Equal(past)); return nil }
func (v *visitor) SetWriteDeadline(t time.Time) error { return nil }
func (v *visitor) Write(b []byte) (int, error)        { v.said = append(v.said, b...); return len(b), nil }

// open is a door for a hundred: crowded from 60 on, full from 80 on.
func open(t *testing.T) *Door {
	d := New(Limits{Conns: 100, Reserve: 20}, metrics.New("test", nil), nil)
	if d.crowded.Load() != 60 || d.full.Load() != 80 || d.brim != 95 {
		t.Fatalf("crowded from %d on, full from %d on, at the brim from %d on", d.crowded.Load(), d.full.Load(), d.brim)
	}
	return d
}

func (d *Door) arrive(t *testing.T, n int) (out []*Conn) {
	t.Helper()
	for range n {
		k := d.take(&visitor{})
		if k == nil {
			t.Fatal("no room")
		}
		out = append(out, k)
	}
	return out
}

func is(k *Conn) *visitor { return k.Conn.(*visitor) }

func (d *Door) wait(ticks int) { d.clock.Add(int64(ticks)) }

const late = int(hurried / tick)

// counted tells whether the books agree with the connections that are open.
func (d *Door) counted(t *testing.T, all []*Conn) {
	t.Helper()
	stand, listed := 0, 0
	for _, k := range all {
		if !is(k).closed.Load() {
			stand++
		}
	}
	for k := d.first; k != nil; k = k.next {
		listed++
	}
	if int(d.count.Load()) != stand || len(d.conns) != stand {
		t.Errorf("%d connections are open, and %d (%d) counted", stand, d.count.Load(), len(d.conns))
	}
	fresh := 0
	for _, k := range d.conns {
		if !k.begun {
			fresh++
		}
	}
	if listed != fresh {
		t.Errorf("%d connections are new, %d in the list", fresh, listed)
	}
}

func TestTheOldestSilentConnectionMakesRoomForTheNext(t *testing.T) {
	d := open(t)
	silent := d.arrive(t, 100)
	silent[0].Begin() // this one sent a request
	next := d.arrive(t, 1)
	for i, k := range silent {
		if got, want := is(k).closed.Load(), i == 1; got != want {
			t.Errorf("connection %d: closed %v, want %v", i, got, want)
		}
	}
	d.counted(t, append(silent, next...))
}

func TestWithoutRoomVisitorsAreToldSo(t *testing.T) {
	d := open(t)
	for _, k := range d.arrive(t, 100) {
		k.Begin() // all of them are being answered
	}
	v := &visitor{}
	if d.take(v) != nil {
		t.Fatal("one more than there is room for was taken")
	}
	l := &listener{door: d, http: true}
	l.refuse(v)
	head, body, _ := strings.Cut(string(v.said), "\r\n\r\n")
	if !strings.HasPrefix(head, "HTTP/1.1 503 ") || !strings.Contains(head, "\r\nRetry-After: 10\r\n") ||
		!strings.Contains(head, "\r\nConnection: close\r\n") || !strings.Contains(body, "try again") || !v.closed.Load() {
		t.Errorf("told %q, closed %v", v.said, v.closed.Load())
	}
	v = &visitor{}
	(&listener{door: d, http: false}).refuse(v)
	if len(v.said) > 0 || !v.closed.Load() {
		t.Errorf("under TLS: told %q, closed %v", v.said, v.closed.Load())
	}
}

func TestACrowdedDoorEndsTheLongestIdleFirstAndNobodyWhoWasLetIn(t *testing.T) {
	d := open(t)
	all := d.arrive(t, 70)
	for i, k := range all {
		k.Begin()
		if i < 10 {
			k.Favour(uint64(i))
		}
		d.wait(1)
		k.Idle()
	}
	d.clear()
	for i, k := range all {
		if got, want := is(k).cut.Load(), i >= 10 && i < 20; got != want {
			t.Errorf("connection %d: ended %v, want %v", i, got, want)
		}
	}
	if d.arrive(t, 1)[0].Level() != Crowded {
		t.Error("71 of 100 are not crowded")
	}
}

func TestARequestThatCameInTimeIsAnsweredThoughItsConnectionWasToEnd(t *testing.T) {
	d := open(t)
	all := d.arrive(t, 70)
	for _, k := range all {
		k.Begin()
		k.Idle()
	}
	d.wait(1)
	d.clear()
	i := slices.IndexFunc(all, (*Conn).Ending)
	if i < 0 {
		t.Fatal("nobody is to leave")
	}
	k := all[i]
	if k.SetReadDeadline(time.Now().Add(time.Hour)); !is(k).cut.Load() {
		t.Error("a connection that is to end was given more time")
	}
	k.Reading()
	k.SetReadDeadline(time.Now().Add(time.Hour))
	if k.Ending() || is(k).cut.Load() {
		t.Error("the request is not read")
	}
}

func TestHeadersHaveToComeSoonWhileItIsCrowded(t *testing.T) {
	for name, crowd := range map[string]int{"calm": 20, "crowded": 70} {
		d := open(t)
		slow := d.arrive(t, 4)
		slow[2].Begin()
		slow[2].Idle()
		slow[2].Reading() // the next header drips as the first did
		slow[3].Begin()
		slow[3].Favour(1)
		slow[3].Reading() // on a visitor's who was let in: the header's own limit has to do
		d.wait(late - 1)
		d.arrive(t, crowd)
		if d.Level() > Calm {
			d.clear()
		}
		for i, k := range slow {
			if k.Ending() {
				t.Errorf("%s: connection %d ends early", name, i)
			}
		}
		d.wait(1)
		if d.Level() > Calm {
			d.clear()
		}
		for i, k := range slow {
			want := i < 3 && name == "crowded"
			if k.Ending() != want || is(k).cut.Load() != want {
				t.Errorf("%s: connection %d ends %v, want %v", name, i, k.Ending(), want)
			}
		}
	}
}

func TestWhoWasLetInMakesRoomLast(t *testing.T) {
	d := open(t)
	all := d.arrive(t, 100)
	for i, k := range all {
		k.Begin()
		k.Favour(uint64(i))
		k.Idle()
	}
	d.wait(int(restless/tick) - 1)
	d.clear()
	if slices.ContainsFunc(all, (*Conn).Ending) {
		t.Error("somebody is put out who has just been answered")
	}
	d.wait(1)
	d.clear()
	out := 0
	for _, k := range all {
		if k.Ending() {
			out++
		}
	}
	if out != 5 {
		t.Errorf("%d connections end at the brim of 95, want 5", out)
	}
}

func TestAPassKeepsNoMoreConnectionsThanABrowserNeeds(t *testing.T) {
	d := open(t)
	all := d.arrive(t, perPass+3)
	favoured := 0
	for _, k := range all {
		k.Begin()
		k.Favour(7)
		if k.Favoured() {
			favoured++
		}
	}
	if favoured != perPass {
		t.Errorf("%d connections are kept for one pass, want %d", favoured, perPass)
	}
	all[0].Close()
	if k := d.arrive(t, 1)[0]; true {
		if k.Favour(7); !k.Favoured() {
			t.Error("a place that came free is not given again")
		}
	}
	for _, k := range slices.Clone(d.conns) {
		k.Close()
	}
	if len(d.passes) != 0 {
		t.Errorf("passes are remembered without connections: %v", d.passes)
	}
}

func TestTheBooksAreRightHoweverConnectionsComeAndGo(t *testing.T) {
	d := open(t)
	var mu sync.Mutex
	var all []*Conn
	var wg sync.WaitGroup
	for w := range 8 {
		wg.Go(func() {
			for i := range 300 {
				k := d.take(&visitor{})
				if k == nil {
					continue
				}
				mu.Lock()
				all = append(all, k)
				mu.Unlock()
				if (i+w)%3 > 0 {
					k.Begin()
					if (i+w)%4 == 0 {
						k.Favour(uint64(i % 5))
					}
					k.Idle()
				}
				if (i+w)%5 > 1 {
					k.Close()
					k.Close()
				}
			}
		})
	}
	wg.Go(func() {
		for range 200 {
			d.wait(1)
			d.clear()
			d.spare()
		}
	})
	wg.Wait()
	d.counted(t, all)
	for _, k := range all {
		k.Close()
	}
	d.counted(t, all)
}

func TestTheConnectionBeneathIsFound(t *testing.T) {
	d := open(t)
	k := d.arrive(t, 1)[0]
	if Of(k) != k || Of(wrapped{wrapped{k}}) != k {
		t.Error("not found")
	}
	if Of(&visitor{}) != nil || Of(nil) != nil {
		t.Error("found where there is none")
	}
	var none *Conn
	none.Begin()
	none.Reading()
	none.Idle()
	none.Favour(1)
	none.FavourProxy()
	if none.Favoured() || none.Ending() || none.Level() != Calm {
		t.Error("a connection of no door is treated as one")
	}
}

type wrapped struct{ net.Conn }

func (w wrapped) NetConn() net.Conn { return w.Conn }

func TestWhoNeedsFilesElsewhereNarrowsTheDoor(t *testing.T) {
	d := open(t) // for 100
	d.arrive(t, 60)
	d.Narrow(30) // 14 of the 70 for those who were let in
	if d.Level() != Full || d.crowded.Load() != 42 || d.brim != 67 {
		t.Errorf("level %v, crowded from %d on, at the brim from %d on", d.Level(), d.crowded.Load(), d.brim)
	}
	d.arrive(t, 10)
	first := d.first
	d.arrive(t, 1)
	if n := d.count.Load(); n != 70 || first.at >= 0 {
		t.Errorf("%d are in, want 70, and the oldest out", n)
	}
	d.Narrow(1000)
	if d.most != 25 {
		t.Errorf("%d may come in, want a quarter", d.most)
	}
	d.Narrow(0)
	if d.most != 100 || d.crowded.Load() != 60 || d.Level() != Crowded {
		t.Errorf("when nobody needs them %d may come in, crowded from %d on", d.most, d.crowded.Load())
	}
}

func TestFilesAreDivided(t *testing.T) {
	for _, c := range []struct {
		what                 string
		limit, conns, origin int
		visitor              int    // wanted
		err                  string // or this
	}{
		{"as many as there are", 20_000, 0, 1024, 16_380, ""},
		{"no more than asked for", 20_000, 5000, 1024, 5000, ""},
		{"a million", 1 << 20, 0, 1024, 1<<20 - 1024 - 256 - 4096, ""},
		{"more than there are", 20_000, 16_381, 1024, 0, "visitors.max_conns: the limit of 20000 open files leaves 16380 for visitors beside 1024 for the origin, and not 16381"},
		{"nothing left", 1024, 0, 1024, 0, "the limit of 1024 open files leaves 0 for visitors beside 1024 for the origin: raise it"},
	} {
		f, err := Share(c.limit, c.conns, c.origin, 0)
		switch {
		case c.err != "":
			if err == nil || !strings.Contains(err.Error(), c.err) {
				t.Errorf("%s: %v, want %q", c.what, err, c.err)
			}
		case err != nil || f.Visitor != c.visitor:
			t.Errorf("%s: %+v, %v, want %d", c.what, f, err, c.visitor)
		case f.Visitor+f.Tunnels+f.Origin+otherFiles > f.Limit:
			t.Errorf("%s: %+v is more than there is", c.what, f)
		}
	}
}

func TestTheLimitOnFilesIsRaised(t *testing.T) {
	var was, now syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &was); err != nil {
		t.Fatal(err)
	}
	defer syscall.Setrlimit(syscall.RLIMIT_NOFILE, &was)
	low := was
	low.Cur = was.Max / 2
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &low); err != nil {
		t.Fatal(err)
	}
	n, err := RaiseFiles()
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &now); err != nil {
		t.Fatal(err)
	}
	if now.Cur != was.Max || n != int(min(was.Max, 1<<20)) {
		t.Errorf("the limit is %d, told as %d, want %d", now.Cur, n, was.Max)
	}
}

// opened is a connection that came through a door, and the visitor's end of it.
func (d *Door) opened(t *testing.T) (k *Conn, visitor net.Conn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	visitor, err = net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	nc, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	k = d.take(nc)
	t.Cleanup(func() { visitor.Close(); k.Close() })
	return k, visitor
}

func TestAStopEndsWhatIsUnusedAndReadsWhatHasArrived(t *testing.T) {
	const age = time.Second
	for _, c := range []struct {
		name   string
		before func(*Conn) // what the connection has done
		sent   bool        // a request has come and was not read yet
		wait   int         // ticks
		ends   bool
	}{
		{"idle for long", func(k *Conn) { k.Begin(); k.Idle() }, false, 11, true},
		{"idle for a moment", func(k *Conn) { k.Begin(); k.Idle() }, false, 5, false},
		{"idle for long, and the next request has arrived", func(k *Conn) { k.Begin(); k.Idle() }, true, 11, false},
		{"busy for long", func(k *Conn) { k.Begin() }, false, 11, false},
		{"half a request", func(k *Conn) { k.Begin(); k.Idle(); k.Reading() }, false, 11, false},
		{"never used", func(*Conn) {}, false, 11, true},
		{"opened a moment ago", func(*Conn) {}, false, 5, false},
		{"never used until now", func(*Conn) {}, true, 11, false},
		{"half of a first request", (*Conn).Came, false, 11, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := open(t)
			k, visitor := d.opened(t)
			c.before(k)
			const request = "GET / HTTP/1.1\r\n"
			if c.sent {
				k.sends(t, visitor, request)
			}
			d.wait(c.wait)
			d.EndUnused(age)
			if !c.sent && !c.ends {
				if _, err := io.WriteString(visitor, request); err != nil {
					t.Fatal(err)
				}
			}
			b := make([]byte, 100)
			n, err := k.Read(b)
			if c.ends && err == nil || !c.ends && (err != nil || string(b[:n]) != request) {
				t.Errorf("read %q, %v", b[:n], err)
			}
		})
	}
}

// sends has the visitor send something, which arrives.
func (k *Conn) sends(t *testing.T, visitor io.Writer, what string) {
	t.Helper()
	if _, err := io.WriteString(visitor, what); err != nil {
		t.Fatal(err)
	}
	for !hasArrived(k.Conn) {
		runtime.Gosched()
	}
}

func TestWhatCameInTimeIsReadByAGateThatIsLate(t *testing.T) {
	d := open(t)
	k, visitor := d.opened(t)
	read := func() (string, error) {
		_ = k.SetReadDeadline(time.Now().Add(-time.Minute))
		b := make([]byte, 100)
		n, err := k.Read(b)
		return string(b[:n]), err
	}
	k.sends(t, visitor, "GET / HTTP/1.1\r\n")
	if got, err := read(); err != nil || got != "GET / HTTP/1.1\r\n" {
		t.Errorf("read %q, %v", got, err)
	}
	k.sends(t, visitor, "Drip: d")
	if got, err := read(); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("who sends drop by drop is given time for %q, %v", got, err)
	}
	k.Begin()
	if got, err := read(); err != nil || got != "Drip: d" {
		t.Errorf("read %q, %v of another request", got, err)
	}
	if _, err := read(); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("%v where nothing came", err)
	}
}

func TestACrowdedDoorKeepsTheRequestsItDidNotComeToRead(t *testing.T) {
	d := open(t)
	k, visitor := d.opened(t)
	silent, _ := d.opened(t)
	d.arrive(t, 70)
	d.wait(late + 1)
	k.sends(t, visitor, "GET / HTTP/1.1\r\n")
	d.clear()
	if k.Ending() {
		t.Error("it ends a connection whose request has arrived")
	}
	if !silent.Ending() {
		t.Error("it keeps one on which nothing has come")
	}
}
