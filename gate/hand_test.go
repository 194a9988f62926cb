package gate

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sluicegate/sluice/gate/config"
	"github.com/sluicegate/sluice/gate/token"
	"github.com/sluicegate/sluice/queue"
	"github.com/sluicegate/sluice/queue/memory"
)

// silent is a store that can be made not to answer.
type silent struct {
	queue.Store
	is atomic.Bool
}

func (s *silent) Tick(ctx context.Context, c *queue.Call) (queue.Snapshot, error) {
	if s.is.Load() {
		return queue.Snapshot{}, fmt.Errorf("%w: silent", queue.ErrUnavailable)
	}
	return s.Store.Tick(ctx, c)
}

// TestBrowsersKeepThePassThroughAnOutage: the cookie's age is the browser's, and goes
// on while room time stands.
func TestBrowsersKeepThePassThroughAnOutage(t *testing.T) {
	c, err := config.Load(config.Source{File: "test", Data: []byte(testConfig)})
	if err != nil {
		t.Fatal(err)
	}
	c.Rooms[0].Settings.Session = 6 * time.Second
	store := &silent{Store: memory.New(memory.Options{})}
	gate, err := New(c, Options{Store: store})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); _ = gate.Run(ctx) }()
	defer func() { cancel(); <-done }()
	g := testGate{gate}
	line := g.site.Load().rooms[0].line
	until := func(what string, is func() bool) {
		t.Helper()
		for end := time.Now().Add(30 * time.Second); !is(); time.Sleep(10 * time.Millisecond) {
			if time.Now().After(end) {
				t.Fatalf("never %s", what)
			}
		}
	}
	until("was the store heard", func() bool { return line.Status().Age >= 0 })
	cookie := func(pass string) string {
		r := g.do(t, "GET /.sluice/rooms/drop HTTP/1.1\r\nHost: shop.example\r\nCookie: sluice-drop="+pass+"\r\n\r\n")
		if !strings.Contains(string(r.Body()), `"admitted"`) {
			t.Fatalf("not admitted: %s", r)
		}
		_, given, _ := strings.Cut(string(r.Header.Peek("Set-Cookie")), "sluice-drop=")
		return given
	}
	first := g.join(t) // in on the spot
	pass := ""
	until("was the pass confirmed", func() bool {
		pass, _, _ = strings.Cut(cookie(first), ";")
		return pass != ""
	})
	if again := cookie(pass); again != "" {
		t.Fatalf("a fresh pass is sent again: %s", again)
	}
	store.is.Store(true)
	until("was a quarter over", func() bool { return line.Away() > 2*time.Second })
	if renewed, _, _ := strings.Cut(cookie(pass), ";"); renewed != "" {
		pass = renewed // by a use that the store confirmed just before
	}
	again := cookie(pass)
	if value, rest, _ := strings.Cut(again, ";"); value != pass || !strings.Contains(rest, "Max-Age=6") {
		t.Errorf("while the store is away the browser is given %q, want the same pass for six more seconds", again)
	}
}

func (s *silent) Renew(ctx context.Context, c *queue.Call, in []queue.Visit, out []queue.Renewal) ([]queue.Renewal, queue.Moment, error) {
	if s.is.Load() {
		return out, queue.Moment{}, fmt.Errorf("%w: silent", queue.ErrUnavailable)
	}
	return s.Store.Renew(ctx, c, in, out)
}

// TestAGateWhoseClockIsWrongGoesByTheTicketsOfOthersUntilItHearsTheStore: one that starts
// while the store is away.
func TestAGateWhoseClockIsWrongGoesByTheTicketsOfOthersUntilItHearsTheStore(t *testing.T) {
	for name, wrong := range map[string]time.Duration{"ahead": time.Hour, "behind": -time.Hour} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c, err := config.Load(config.Source{File: "test", Data: []byte(testConfig)})
				if err != nil {
					t.Fatal(err)
				}
				c.Rooms[0].Settings.Mode = queue.ModeHold
				open := func(o Options) testGate {
					gate, err := New(c, o)
					if err != nil {
						t.Fatal(err)
					}
					ctx, cancel := context.WithCancel(context.Background())
					done := make(chan struct{})
					go func() { defer close(done); _ = gate.Run(ctx) }()
					t.Cleanup(func() { cancel(); <-done; _ = gate.Close(context.Background()) })
					return testGate{gate}
				}
				g := open(Options{Store: memory.New(memory.Options{})})
				place := func(ticket string) queue.Time {
					var k token.Token
					if !g.site.Load().ring.Verify([]byte(ticket), &k) {
						t.Fatalf("no ticket: %s", ticket)
					}
					return k.Place
				}
				time.Sleep(time.Second)
				ann := g.join(t)
				away := &silent{Store: memory.New(memory.Options{})}
				away.is.Store(true)
				other := open(Options{Store: away, Now: func() time.Time { return time.Now().Add(wrong) }})
				r := other.do(t, "GET /.sluice/rooms/drop HTTP/1.1\r\nHost: shop.example\r\nCookie: sluice-drop="+ann+"\r\n\r\n")
				if !strings.Contains(string(r.Body()), `"waiting"`) {
					t.Errorf("ann, who has a ticket, is told %s", r.Body())
				}
				time.Sleep(time.Minute)
				bob := other.join(t)
				if behind := place(bob).Sub(place(ann)); behind < time.Minute || behind > time.Minute+time.Second {
					t.Errorf("bob comes a minute after ann, and stands %s behind her", behind)
				}
			})
		})
	}
}

// TestWhoIsBusyAtAGateThatIsCutOffKeepsThePass: for the other gates the session is long
// over, and so is the pass once its gate learns how late it is.
func TestWhoIsBusyAtAGateThatIsCutOffKeepsThePass(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, err := config.Load(config.Source{File: "test", Data: []byte(testConfig)})
		if err != nil {
			t.Fatal(err)
		}
		c.Rooms[0].Settings.Session = 30 * time.Second
		lines := memory.New(memory.Options{})
		link := &silent{Store: lines}
		var gates []testGate
		for _, store := range []queue.Store{link, lines} { // the other keeps room time going
			gate, err := New(c, Options{Store: store})
			if err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithCancel(context.Background())
			done := make(chan struct{})
			go func() { defer close(done); _ = gate.Run(ctx) }()
			defer func() { cancel(); <-done; _ = gate.Close(t.Context()) }()
			gates = append(gates, testGate{gate})
		}
		g := gates[0]
		time.Sleep(time.Second)
		pass := g.join(t)
		use := func(when string) {
			t.Helper()
			for range 30 {
				time.Sleep(3 * time.Second)
				r := g.do(t, "GET /.sluice/rooms/drop HTTP/1.1\r\nHost: shop.example\r\nCookie: sluice-drop="+pass+"\r\n\r\n")
				if !strings.Contains(string(r.Body()), `"admitted"`) {
					t.Fatalf("%s: %s", when, r.Body())
				}
				if _, given, ok := strings.Cut(string(r.Header.Peek("Set-Cookie")), "sluice-drop="); ok {
					pass, _, _ = strings.Cut(given, ";")
				}
			}
		}
		use("before")
		link.is.Store(true)
		use("while the gate is cut off")
		link.is.Store(false)
		use("afterwards")
	})
}

// TestAPassIsFoundAmongAnyNumberOfCookieLines: HTTP/2 splits cookies, and not every
// proxy joins them again.
func TestAPassIsFoundAmongAnyNumberOfCookieLines(t *testing.T) {
	g := openTestGate(t, func(s *queue.Settings) { s.Mode = queue.ModeHold })
	s := g.site.Load()
	now := s.rooms[0].line.Time()
	pass := s.ring.Append(nil, &token.Token{
		Kind: token.Pass, Room: s.rooms[0].id, ID: 7, Place: now, Issued: now, Called: now, Until: now.Add(10 * time.Minute),
	})
	others := make([]string, 60)
	for i := range others {
		others[i] = fmt.Sprintf("Cookie: sluice-room%d=x\r\nCookie: a%d=b\r\n", i, i)
	}
	for name, lines := range map[string]string{
		"the first":                "Cookie: sluice-drop=" + string(pass) + "\r\n" + strings.Repeat("Cookie: a=b\r\n", 120),
		"the last":                 strings.Repeat("Cookie: a=b\r\n", 120) + "Cookie: sluice-drop=" + string(pass) + "\r\n",
		"the last of many of ours": strings.Join(others, "") + "Cookie: sluice-drop=" + string(pass) + "\r\n",
	} {
		if r := g.do(t, "GET /drop HTTP/1.1\r\nHost: shop.example\r\n"+lines+"\r\n"); r.StatusCode() != 502 { // the origin answers nobody
			t.Errorf("%s: %d, want the pass to count", name, r.StatusCode())
		}
	}
	if r := g.do(t, "GET /drop HTTP/1.1\r\nHost: shop.example\r\n"+others[0]+"\r\n"); r.StatusCode() != 429 {
		t.Errorf("without a pass: %d", r.StatusCode())
	}
}
