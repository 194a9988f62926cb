package crowd

import (
	"context"
	"fmt"
	"iter"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/sluicegate/sluice/cmd/sluice/shop"
)

// door is a gate as visitors see it: one line, one visitor let in per interval.
type door struct {
	t      *testing.T
	shop   http.Handler
	every  time.Duration
	hold   bool                                          // keeps the next to be called for two seconds, as a gate does
	before func(http.ResponseWriter, *http.Request) bool // answers instead; may be nil
	state  string                                        // told to those who wait; empty means waiting

	mu      sync.Mutex
	began   time.Time
	line    []string             // tickets in order of place
	due     map[string]time.Time // when a ticket was asked to poll again
	passes  map[string]bool
	joined  int
	polls   int
	reloads int
	left    int
	early   int // polls before they were due
	most    int // most in line at once
}

func newDoor(t *testing.T, every time.Duration) *door {
	return &door{
		t: t, shop: shop.New(shop.Config{Think: 20 * time.Millisecond, Capacity: 20}), every: every,
		began: time.Now(), due: make(map[string]time.Time), passes: make(map[string]bool),
	}
}

// token is the cookie of the room, which is given a new value with every answer.
func token(r *http.Request) string {
	c, err := r.Cookie("sluice-drop")
	if err != nil {
		return ""
	}
	id, _, _ := strings.Cut(c.Value, ".")
	return id
}

// admit lets in whoever's turn has come.
func (d *door) admit() {
	for len(d.line) > 0 && time.Since(d.began) >= time.Duration(len(d.passes)+1)*d.every {
		d.passes[d.line[0]] = true
		d.line = d.line[1:]
	}
}

const pollAfter = 3200 * time.Millisecond

func (d *door) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if d.before != nil && d.before(w, r) {
		return
	}
	id := token(r)
	cookie := func(id string) {
		http.SetCookie(w, &http.Cookie{Name: "sluice-drop", Value: fmt.Sprintf("%s.%d", id, time.Now().UnixNano()), Path: "/", HttpOnly: true})
	}
	state := func() (string, int) {
		d.mu.Lock()
		defer d.mu.Unlock()
		d.admit()
		i := slices.Index(d.line, id)
		switch {
		case d.passes[id]:
			return "admitted", 0
		case i < 0:
			return "none", 0
		case d.state != "":
			return d.state, i + 1
		}
		return "waiting", i + 1
	}
	if strings.HasPrefix(r.URL.Path, "/.sluice/rooms/drop") {
		if r.Header.Get("Accept") != "application/json" {
			d.t.Errorf("%s %s asks for %q", r.Method, r.URL.Path, r.Header.Get("Accept"))
		}
		if r.Method == http.MethodDelete {
			d.mu.Lock()
			d.left++
			d.mu.Unlock()
			w.WriteHeader(http.StatusNoContent)
			return
		}
		d.mu.Lock()
		d.polls++
		if time.Now().Before(d.due[id]) {
			d.early++
		}
		d.mu.Unlock()
		s, position := state()
		if d.hold && position == 1 {
			sleep(r.Context(), 2*time.Second)
			s, position = state()
		}
		if id != "" {
			cookie(id)
		}
		after := pollAfter
		if d.hold && position < 3 {
			after = 100 * time.Millisecond
		}
		d.mu.Lock()
		d.due[id] = time.Now().Add(after)
		d.mu.Unlock()
		fmt.Fprintf(w, `{"room":"drop","state":%q,"position":%d,"waiting":9,"estimate_seconds":null,"poll_after_seconds":%.1f,"age_seconds":0.1,"message":""}`, s, position, after.Seconds())
		return
	}
	if !strings.HasPrefix(r.URL.Path, "/drop") {
		d.shop.ServeHTTP(w, r)
		return
	}
	s, _ := state()
	if s == "admitted" {
		cookie(id)
		d.shop.ServeHTTP(w, r)
		return
	}
	if r.Header.Get("Sec-Fetch-Mode") != "navigate" || !strings.Contains(r.Header.Get("Accept"), "text/html") {
		w.Header().Set("Sluice-State", "none")
		w.WriteHeader(http.StatusTooManyRequests)
		return
	}
	d.mu.Lock()
	if s == "none" {
		d.joined++
		id = fmt.Sprint("t", d.joined)
		d.line = append(d.line, id)
		d.most = max(d.most, len(d.line))
	} else {
		d.reloads++
	}
	d.due[id] = time.Now().Add(4 * time.Second)
	d.mu.Unlock()
	cookie(id)
	w.Header().Set("Sluice-State", "waiting")
	w.Header().Set("Retry-After", "4")
	w.WriteHeader(http.StatusTooManyRequests)
}

// RoundTrip serves without a network, so that time can be simulated.
func (d *door) RoundTrip(r *http.Request) (*http.Response, error) {
	rec := httptest.NewRecorder()
	if r.Body == nil {
		r.Body = http.NoBody
	}
	d.ServeHTTP(rec, r)
	if err := r.Context().Err(); err != nil {
		return nil, err
	}
	return rec.Result(), nil
}

// once is a schedule of a single wave.
func once(visitors int) func(uint64) iter.Seq[Wave] {
	return func(uint64) iter.Seq[Wave] {
		return slices.Values([]Wave{{Length: 6 * time.Second, Visitors: visitors}})
	}
}

func sent(d *door, c Config) *Crowd {
	c.Gate, c.Room, c.Path = "http://gate.example", "drop", "/drop"
	crowd := New(c)
	crowd.transport = d
	return crowd
}

// consistent checks what must hold once everybody has gone.
func consistent(t *testing.T, s Stats) {
	t.Helper()
	if s.Waiting != 0 || s.Shopping != 0 {
		t.Errorf("after the end %d wait and %d shop", s.Waiting, s.Shopping)
	}
	if s.Left != s.Arrived {
		t.Errorf("%d arrived and %d left", s.Arrived, s.Left)
	}
}

func TestACrowdWaitsIsLetInShopsAndGoes(t *testing.T) {
	for _, hold := range []bool{false, true} {
		t.Run(fmt.Sprintf("held polls %v", hold), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				d := newDoor(t, 200*time.Millisecond)
				d.hold = hold
				c := sent(d, Config{Seed: 3, Waves: once(200)})
				if err := c.Run(t.Context()); err != nil {
					t.Fatal(err)
				}
				s := c.Stats()
				consistent(t, s)
				if s.Arrived != 200 || d.joined != 200 {
					t.Errorf("%d arrived, %d joined, want 200", s.Arrived, d.joined)
				}
				if s.Errors != 0 {
					t.Errorf("%d errors", s.Errors)
				}
				if s.Admitted+s.Abandoned != s.Arrived {
					t.Errorf("%d let in and %d walked away, of %d", s.Admitted, s.Abandoned, s.Arrived)
				}
				if s.Abandoned < 2 || s.Abandoned > 20 {
					t.Errorf("%d of 200 walked away, want about 5 %%", s.Abandoned)
				}
				if s.Ordered < 80 || s.Ordered > 150 {
					t.Errorf("%d of 200 ordered", s.Ordered)
				}
				if got := d.shop.(*shop.Shop).Live().Orders; int64(got) != s.Ordered {
					t.Errorf("the shop has %d orders, the crowd says %d", got, s.Ordered)
				}
				if d.left < 100 || d.left >= 200 {
					t.Errorf("%d told the gate that they leave", d.left)
				}
				if d.reloads == 0 {
					t.Error("nobody reloaded")
				}
				if d.early != 0 {
					t.Errorf("%d of %d polls came before they were due", d.early, d.polls)
				}
			})
		})
	}
}

func TestAtMostMaxVisitorsArePresent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDoor(t, time.Second)
		c := sent(d, Config{Waves: once(100), MaxVisitors: 30})
		if err := c.Run(t.Context()); err != nil {
			t.Fatal(err)
		}
		s := c.Stats()
		consistent(t, s)
		if d.most > 30 {
			t.Errorf("%d stood in line", d.most)
		}
		if s.Skipped == 0 || s.Arrived+s.Skipped != 100 {
			t.Errorf("%d arrived, %d skipped, want 100 in all", s.Arrived, s.Skipped)
		}
	})
}

func TestEverybodyIsGoneWhenTheRunEnds(t *testing.T) {
	for _, after := range []time.Duration{0, 3 * time.Second, 50 * time.Second, 3 * time.Minute} {
		synctest.Test(t, func(t *testing.T) {
			d := newDoor(t, 700*time.Millisecond)
			d.hold = true
			c := sent(d, Config{Seed: 5}) // the endless schedule
			ctx, cancel := context.WithTimeout(t.Context(), after)
			defer cancel()
			if err := c.Run(ctx); err != nil {
				t.Fatal(err)
			}
			s := c.Stats()
			consistent(t, s)
			if s.Errors != 0 {
				t.Errorf("after %v: the end itself was counted as %d errors", after, s.Errors)
			}
		})
	}
}

func TestABrokenGateIsTriedAgainWithBackOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDoor(t, 10*time.Millisecond)
		began := time.Now()
		tries := 0
		d.before = func(w http.ResponseWriter, r *http.Request) bool {
			if at := time.Since(began); at > 2*time.Minute && (at < 10*time.Minute || at > 12*time.Minute) {
				return false
			}
			d.mu.Lock()
			tries++
			d.mu.Unlock()
			http.Error(w, "no", http.StatusServiceUnavailable)
			return true
		}
		c := sent(d, Config{Waves: once(50)})
		if err := c.Run(t.Context()); err != nil {
			t.Fatal(err)
		}
		s := c.Stats()
		consistent(t, s)
		if s.Errors == 0 || s.Errors != int64(tries) {
			t.Errorf("%d errors counted, want %d", s.Errors, tries)
		}
		if tries > 50*20 {
			t.Errorf("50 visitors tried %d times in two minutes", tries)
		}
		if s.Admitted+s.Abandoned != 50 {
			t.Errorf("%d of 50 got in, %d walked away", s.Admitted, s.Abandoned)
		}
	})
}

func TestAnUnknownStateIsWaiting(t *testing.T) {
	for _, state := range []string{"closed", "snoozing"} {
		synctest.Test(t, func(t *testing.T) {
			d := newDoor(t, 5*time.Second)
			d.state = state
			c := sent(d, Config{Waves: once(10)})
			if err := c.Run(t.Context()); err != nil {
				t.Fatal(err)
			}
			s := c.Stats()
			consistent(t, s)
			if s.Errors != 0 || d.joined != 10 || s.Admitted+s.Abandoned != 10 {
				t.Errorf("state %q: %d joined, %+v", state, d.joined, s)
			}
		})
	}
}

func TestALostTicketAndAFullRoomMeanJoiningAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDoor(t, 300*time.Millisecond)
		began := time.Now()
		wiped := false
		d.before = func(w http.ResponseWriter, r *http.Request) bool {
			at := time.Since(began)
			if at < 10*time.Second && r.URL.Path == "/drop" {
				w.Header().Set("Sluice-State", "full")
				w.Header().Set("Retry-After", "3")
				w.WriteHeader(http.StatusTooManyRequests)
				return true
			}
			if d.mu.Lock(); at > 14*time.Second && !wiped {
				wiped = true
				d.line = nil
			}
			d.mu.Unlock()
			return false
		}
		c := sent(d, Config{Waves: once(60)})
		if err := c.Run(t.Context()); err != nil {
			t.Fatal(err)
		}
		s := c.Stats()
		consistent(t, s)
		if !wiped || d.joined <= 60 || s.Errors != 0 || s.Admitted+s.Abandoned != 60 {
			t.Errorf("%d joined, %+v", d.joined, s)
		}
	})
}

func TestOverRealConnections(t *testing.T) {
	defer goleak.VerifyNone(t)
	d := newDoor(t, time.Nanosecond)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var mu sync.Mutex
	served := 0
	d.before = func(w http.ResponseWriter, r *http.Request) bool {
		if r.URL.Path == "/drop" {
			mu.Lock()
			defer mu.Unlock()
			if served++; served == 8 {
				cancel()
			}
			d.shop.ServeHTTP(w, r)
			return true
		}
		return false
	}
	server := httptest.NewServer(d)
	defer server.Close()
	c := New(Config{Gate: server.URL + "/", Room: "drop", Path: "/drop", Waves: func(uint64) iter.Seq[Wave] {
		return slices.Values([]Wave{{Visitors: 8}})
	}})
	if err := c.Run(ctx); err != nil {
		t.Fatal(err)
	}
	consistent(t, c.Stats())
	if served != 8 {
		t.Errorf("%d of 8 were served", served)
	}
}
