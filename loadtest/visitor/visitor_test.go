package visitor

import (
	"bytes"
	"context"
	"encoding/base64"
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sluicegate/sluice/gate/token"
	"github.com/sluicegate/sluice/loadtest/executor"
	"github.com/sluicegate/sluice/loadtest/judge"
	"github.com/sluicegate/sluice/loadtest/metric"
	"github.com/sluicegate/sluice/queue"
)

// hurried is a journey without time to think.
func hurried() Journey {
	j := Defaults()
	j.Think = Span{}
	return j
}

func (r *rehearsed) events(t *testing.T) (out []judge.Event) {
	t.Helper()
	if err := judge.Read(bytes.NewReader(r.log.Bytes()), func(e *judge.Event) { out = append(out, *e) }); err != nil {
		t.Fatal(err)
	}
	return out
}

func (r *rehearsed) kinds(t *testing.T) (out []judge.Kind) {
	t.Helper()
	for _, e := range r.events(t) {
		out = append(out, e.Kind)
	}
	return out
}

func TestWhoIsLetInOnTheSpotNeverAsksTheWay(t *testing.T) {
	t.Parallel()
	f := newFake(t, func(*question) string { return shop("ann", set("pass")) })
	r := rehearse(t, []string{f.addr}, 1, 0, hurried())
	f.wants(t, page)
	q := f.questions()[0]
	if q.header.Get("Sec-Fetch-Mode") != "navigate" || !strings.HasPrefix(q.header.Get("Accept"), "text/html") || q.cookie != "" {
		t.Errorf("the page was asked for with %v", q.header)
	}
	if !strings.HasPrefix(q.from, "127.") || q.from == "127.0.0.1" {
		t.Errorf("came from %s", q.from)
	}
	if got := r.kinds(t); !slices.Equal(got, []judge.Kind{judge.Admitted, judge.Vanished}) {
		t.Errorf("events %v", got)
	}
	if r.sum(LetIn) != 1 || r.sum(Joined) != 0 || r.sum(LeftShop, "how", "vanished") != 1 || r.sum(metric.HTTPReqs, "step", "join", "status", "200", "state", "shop") != 1 {
		t.Error("counted wrongly")
	}
}

func TestAVisitorWaitsAsThePagesScriptDoes(t *testing.T) {
	t.Parallel()
	f := newFake(t, func(q *question) string {
		switch {
		case q.n == 0:
			return wait("ticket", .6)
		case q.what == api && q.n == 1:
			return stands(5, .5)
		case q.what == api && q.n == 2:
			return response(200, set("renewed"), `{"state":"some new state","position":3,"poll_after_seconds":0.5}`)
		case q.what == api:
			return calls("pass", 77)
		case q.what == bye:
			return gone
		}
		return shop("ann", "")
	})
	j := hurried()
	j.Pages = Loads{Count: 2}
	j.Assets = Loads{Paths: []string{"/drop/a.css"}}
	j.Order = Order{Share: 1, Path: "/drop/order", Body: "item=1", Type: formType}
	j.Leave = 1
	j.Headers = [][2]string{{"X-Event", "drop"}}
	r := rehearse(t, []string{f.addr}, 1, 0, j)
	f.wants(t, page, api, api, api, page, "GET /drop/a.css", page, "GET /drop/a.css", "POST /drop/order", bye)
	var cookies []string
	for i, q := range f.questions() {
		cookies = append(cookies, q.cookie)
		if q.header.Get("X-Event") != "drop" {
			t.Errorf("%s has no header of the script's", q.what)
		}
		if q.conn != 1 {
			t.Errorf("question %d came over connection %d", i, q.conn)
		}
	}
	if want := []string{"", "ticket", "ticket", "renewed", "pass", "pass", "pass", "pass", "pass", "pass"}; !slices.Equal(cookies, want) {
		t.Errorf("cookies %q", cookies)
	}
	for i, least := range []time.Duration{600 * time.Millisecond, 500 * time.Millisecond, 500 * time.Millisecond} {
		if gap := f.questions()[i+1].at.Sub(f.questions()[i].at); gap < least || gap > least+3*time.Second {
			t.Errorf("poll %d came after %v, asked for %v", i, gap, least)
		}
	}
	if q := f.questions()[8]; q.body != "item=1" || q.header.Get("Content-Type") != formType {
		t.Errorf("the order was %q %v", q.body, q.header)
	}
	events := r.events(t)
	if got := r.kinds(t); !slices.Equal(got, []judge.Kind{judge.Joined, judge.Refused, judge.Refused, judge.Admitted, judge.Left}) {
		t.Fatalf("events %v", got)
	}
	if e := events[1]; e.Position != 5 || e.Low != 1 || e.High != 2 || e.After != int64(500*time.Millisecond) {
		t.Errorf("%+v", e)
	}
	if e := events[3]; e.Called != 77 || e.Session != sessionOf([]byte("ann")) {
		t.Errorf("%+v", e)
	}
	if n := r.failed(); n != 0 {
		t.Errorf("%v failed", n)
	}
	for _, c := range []struct {
		tags []string
		n    float64
	}{
		{[]string{"step", "join", "status", "429", "state", "waiting"}, 1},
		{[]string{"step", "poll", "state", "waiting"}, 2}, {[]string{"step", "poll", "state", "admitted"}, 1},
		{[]string{"step", "reload", "state", "shop"}, 1}, {[]string{"step", "page"}, 1}, {[]string{"step", "asset"}, 2},
		{[]string{"step", "order", "scenario", "sale"}, 1}, {[]string{"step", "leave", "status", "204"}, 1},
	} {
		if got := r.sum(metric.HTTPReqs, c.tags...); got != c.n {
			t.Errorf("http_reqs%v is %v, want %v", c.tags, got, c.n)
		}
	}
}

func TestTheConnectionIsClosedForALongWaitAndOpenedForThePoll(t *testing.T) {
	t.Parallel()
	for _, keep := range []bool{false, true} {
		f := newFake(t, func(q *question) string {
			if q.n == 0 {
				return wait("ticket", .5)
			}
			return shop("ann", "") // a poll that is answered so is no poll; the third time the page is loaded again
		})
		f.answer = func(q *question) string {
			switch q.what {
			case api:
				return calls("pass", 1)
			default:
				if q.n == 0 {
					return wait("ticket", .5)
				}
				return shop("ann", "")
			}
		}
		j := hurried()
		j.IdleClose, j.KeepAlive = 100*time.Millisecond, keep
		rehearse(t, []string{f.addr}, 1, 0, j)
		f.wants(t, page, api, page)
		if want := map[bool]int{false: 2, true: 1}[keep]; f.connections() != want {
			t.Errorf("%d connections, keep_alive %v", f.connections(), keep)
		}
	}
}

func TestPollsGoToAnyOfTheGatesWhenAsked(t *testing.T) {
	t.Parallel()
	for _, spread := range []bool{false, true} {
		var mu sync.Mutex
		seen := map[int]bool{}
		n := 0
		answer := func(gate int) func(q *question) string {
			return func(q *question) string {
				mu.Lock()
				defer mu.Unlock()
				seen[gate] = true
				n++
				switch {
				case n == 1:
					return wait("ticket", .5)
				case n < 14:
					return stands(3, .5)
				case q.what == api:
					return calls("pass", 1)
				}
				return shop("ann", "")
			}
		}
		a, b := newFake(t, answer(0)), newFake(t, answer(1))
		j := hurried()
		j.Spread = spread
		j.Impatient = Every{1, Span{Min: time.Millisecond, Max: time.Millisecond}}
		rehearse(t, []string{a.addr, b.addr}, 1, 0, j)
		if want := map[bool]int{false: 1, true: 2}[spread]; len(seen) != want {
			t.Errorf("spread %v: %d gates were asked", spread, len(seen))
		}
	}
}

func TestOnlyLoadingThePageJoinsAgain(t *testing.T) {
	t.Parallel()
	f := newFake(t, func(q *question) string {
		switch {
		case q.n == 0:
			return wait("ticket", .5)
		case q.n == 1:
			return state("none")
		case q.n == 2:
			return wait("another", .5)
		case q.what == api:
			return calls("pass", 1)
		}
		return shop("ann", "")
	})
	r := rehearse(t, []string{f.addr}, 1, 0, hurried())
	f.wants(t, page, api, page, api, page)
	if v := r.verdict(t, judge.Options{}); v.PlacesLost != 1 || v.Visitors != 2 || v.Admitted != 1 || v.NotAdmitted != 0 {
		t.Errorf("%+v", v)
	}
}

func TestWhoWalksAwayIsGoneWithoutAWord(t *testing.T) {
	t.Parallel()
	f := newFake(t, func(*question) string { return wait("ticket", 5) })
	j := hurried()
	j.Abandon.Share, j.Abandon.After = 1, Span{Min: 50 * time.Millisecond, Max: 50 * time.Millisecond}
	r := rehearse(t, []string{f.addr}, 1, 0, j)
	f.wants(t, page)
	if v := r.verdict(t, judge.Options{}); v.WalkedAway != 1 || v.NotAdmitted != 0 || r.sum(GaveUp) != 1 {
		t.Errorf("%+v", v)
	}
}

func TestWhoComesBackShowsTheTicket(t *testing.T) {
	t.Parallel()
	f := newFake(t, func(q *question) string {
		if q.n == 0 {
			return wait("ticket", 5)
		}
		return shop("ann", "")
	})
	j := hurried()
	j.Abandon.Share, j.Abandon.After = 1, Span{Min: 50 * time.Millisecond, Max: 50 * time.Millisecond}
	j.Abandon.Return.Share, j.Abandon.Return.After = 1, j.Abandon.After
	r := rehearse(t, []string{f.addr}, 1, 0, j)
	f.wants(t, page, page)
	if f.questions()[1].cookie != "ticket" || f.questions()[1].conn == f.questions()[0].conn {
		t.Errorf("came back with %q over connection %d", f.questions()[1].cookie, f.questions()[1].conn)
	}
	if v := r.verdict(t, judge.Options{}); v.Admitted != 1 || v.WalkedAway != 0 {
		t.Errorf("%+v", v)
	}
}

func TestWhoReloadsAllTheTimeShowsTheTicketEachTime(t *testing.T) {
	t.Parallel()
	f := newFake(t, func(q *question) string {
		if q.n < 4 {
			return wait(map[bool]string{true: "ticket"}[q.n == 0], 20)
		}
		return shop("ann", "")
	})
	j := hurried()
	j.Reload = Every{1, Span{Min: 10 * time.Millisecond, Max: 20 * time.Millisecond}}
	r := rehearse(t, []string{f.addr}, 1, 0, j)
	f.wants(t, page, page, page, page, page)
	for _, q := range f.questions()[1:] {
		if q.cookie != "ticket" {
			t.Errorf("cookie %q", q.cookie)
		}
	}
	if n := r.sum(metric.HTTPReqs, "step", "reload"); n != 4 {
		t.Errorf("%v reloads", n)
	}
	if e := r.events(t)[1]; e.Kind != judge.Refused || e.Position != 7 {
		t.Errorf("%+v", e)
	}
}

func TestTwoTabsWaitWithOneTicket(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	polls := map[int]bool{}
	f := newFake(t, func(q *question) string {
		mu.Lock()
		defer mu.Unlock()
		switch {
		case q.what == page && q.cookie == "":
			return wait("ticket", .5)
		case q.what == page && q.cookie == "ticket":
			return wait("", .5)
		case q.what == api:
			if polls[q.conn] = true; len(polls) < 2 {
				return stands(2, .5)
			}
			return calls("pass", 9)
		case q.what == bye:
			return gone
		}
		return shop("ann", "")
	})
	j := hurried()
	j.Tabs, j.Leave = 1, 1
	j.Think = Span{Min: 700 * time.Millisecond, Max: 700 * time.Millisecond}
	r := rehearse(t, []string{f.addr}, 1, 0, j)
	if f.connections() != 2 || f.questions()[len(f.questions())-1].what != bye {
		t.Errorf("%d connections, asked for %q", f.connections(), f.script())
	}
	v := r.verdict(t, judge.Options{})
	if v.Visitors != 1 || v.Admitted != 1 || v.DoubleAdmissions != 0 || v.PlacesLost != 0 || r.sum(LetIn) != 1 || r.sum(Joined) != 1 || r.sum(LeftShop) != 1 {
		t.Errorf("%+v", v)
	}
}

func TestBotsKeepNoCookie(t *testing.T) {
	t.Parallel()
	f := newFake(t, func(q *question) string {
		if q.n == 2 {
			return shop("bot", set("pass"))
		}
		return wait("ticket", 5)
	})
	j := hurried()
	j.Bots = Bots{1, 3, Span{Min: time.Millisecond, Max: time.Millisecond}}
	r := rehearse(t, []string{f.addr}, 1, 0, j)
	f.wants(t, page, page, page)
	for _, q := range f.questions() {
		if q.all != "" {
			t.Errorf("a bot sent %q", q.all)
		}
	}
	if v := r.verdict(t, judge.Options{}); v.Visitors != 3 || v.WalkedAway != 2 || v.Admitted != 1 || v.NotAdmitted != 0 {
		t.Errorf("%+v", v)
	}
}

// ring signs tickets and passes as a real gate does.
func ring(t *testing.T) *token.Ring {
	r, err := token.NewRing([]string{strings.Repeat("k", 40)})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestATokenIsReadAsTheGateWritesIt(t *testing.T) {
	t.Parallel()
	in := token.Token{Kind: token.Pass, Room: 1, Generation: 2, ID: 1<<63 | 7, Place: 1<<53 - 1, Issued: 4, Until: 5, Called: 123_456_789}
	text := string(ring(t).Append(nil, &in))
	if got, want := readToken(text), (tokenOf{1<<63 | 7, 1<<53 - 1, 123_456}); got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
	raw, _ := base64.RawURLEncoding.DecodeString(text)
	raw[0] = 2
	for _, text := range []string{"", "ticket", text + "A", text[1:], base64.RawURLEncoding.EncodeToString(raw)} {
		if got := readToken(text); got != (tokenOf{}) {
			t.Errorf("%q was read as %+v", text, got)
		}
	}
}

func TestWhoIsLetInToAShopThatHasTroubleIsInside(t *testing.T) {
	t.Parallel()
	keys := ring(t)
	id := func(kind token.Kind, called, until queue.Time) string {
		return string(keys.Append(nil, &token.Token{Kind: kind, ID: 1, Place: 5, Issued: 5, Called: called, Until: until}))
	}
	f := newFake(t, func(q *question) string {
		switch {
		case q.what == bye:
			return gone
		case q.cookie == "":
			return wait(id(token.Ticket, 0, 0), 5)
		case q.n == 1:
			return response(502, set(id(token.Pass, 5000, 1<<40)), "no shop")
		}
		return shop("ann", "")
	})
	j := hurried()
	j.Reload.Share, j.Pages.Count, j.Leave = 1, 2, 1
	j.Reload.Every = Span{Min: 10 * time.Millisecond, Max: 10 * time.Millisecond}
	r := rehearse(t, []string{f.addr}, 1, 0, j)
	f.wants(t, page, page, page, bye)
	if v := r.verdict(t, judge.Options{}); v.Admitted != 1 || v.NotAdmitted != 0 || v.UnknownCalls != 0 {
		t.Errorf("%+v", v)
	}
}

func TestWhoFindsTheirSessionOverCameAgainWhenTheyWereToldSo(t *testing.T) {
	t.Parallel()
	keys := ring(t)
	id := func(kind token.Kind, id queue.ID, called, until queue.Time) string {
		return string(keys.Append(nil, &token.Token{Kind: kind, ID: id, Place: 5, Issued: 5, Called: called, Until: until}))
	}
	f := newFake(t, func(q *question) string {
		switch q.n {
		case 0:
			return wait(id(token.Ticket, 1, 0, 0), .5)
		case 1:
			return calls(id(token.Pass, 1, 5000, 1<<40), 5)
		case 2: // the session was over, and the ticket is used
			return wait(id(token.Ticket, 2, 0, 0), 5)
		}
		return shop("ann", set(id(token.Pass, 2, 9000, 1<<40)))
	})
	r := rehearse(t, []string{f.addr}, 1, 0, hurried())
	f.wants(t, page, api, page, page)
	var events []judge.Event
	if err := judge.Read(bytes.NewReader(r.log.Bytes()), func(e *judge.Event) { events = append(events, *e) }); err != nil {
		t.Fatal(err)
	}
	var kinds []judge.Kind
	for _, e := range events {
		kinds = append(kinds, e.Kind)
	}
	want := []judge.Kind{judge.Joined, judge.Admitted, judge.Expelled, judge.Vanished, judge.Joined, judge.Admitted, judge.Vanished}
	if !slices.Equal(kinds, want) {
		t.Fatalf("%v, want %v", kinds, want)
	}
	out, again := events[2], events[4]
	if again.Ticket != 2 || again.Sent != out.Sent || again.Answered != out.Answered {
		t.Errorf("was told so from %d to %d, and came from %d to %d with ticket %d", out.Sent, out.Answered, again.Sent, again.Answered, again.Ticket)
	}
}

func TestCheatsShowTheirTicketFromElsewhereWhileInsideAndAfterwards(t *testing.T) {
	t.Parallel()
	keys := ring(t)
	id := func(kind token.Kind, id queue.ID, called queue.Time) string {
		x := token.Token{Kind: kind, ID: id, Place: 5, Issued: 5, Called: called}
		if kind == token.Pass {
			x.Until = 1 << 40
		}
		return string(keys.Append(nil, &x))
	}
	ticket, pass := id(token.Ticket, 1, 0), id(token.Pass, 1, 5000)
	for _, c := range []struct {
		name  string
		copy  string // answer to the copies shown afterwards
		wants judge.Verdict
	}{
		{"the copy gets in line as somebody new", wait(id(token.Ticket, 2, 0), 5), judge.Verdict{Visitors: 2, Admitted: 1, WalkedAway: 1}},
		{"the copy is let in on the spot as somebody new", shop("bob", set(id(token.Pass, 2, 9000))), judge.Verdict{Visitors: 2, Admitted: 2, OnSpot: 1}},
		{"the copy is let in by the session that was given back", shop("ann", set(pass)), judge.Verdict{Visitors: 1, Admitted: 1, DoubleAdmissions: 1}},
		{"the copy is called a second time", shop("ann", set(id(token.Pass, 1, 9000))), judge.Verdict{Visitors: 1, Admitted: 1, DoubleAdmissions: 1}},
		{"the copy is turned away", response(403, "", "no"), judge.Verdict{Visitors: 1, Admitted: 1}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			left := false
			f := newFake(t, func(q *question) string {
				switch {
				case q.what == bye:
					left = true
					return gone
				case q.cookie == "":
					return wait(ticket, .5)
				case q.what == api:
					return calls(pass, 5)
				case left:
					return c.copy
				}
				return shop("ann", set(pass))
			})
			j := hurried()
			j.Cheats.Share, j.Cheats.Copies = 1, 1
			r := rehearse(t, []string{f.addr}, 1, 0, j)
			f.wants(t, page, api, page, page, bye, page)
			me := f.questions()[0].from
			if f.questions()[3].cookie != ticket || f.questions()[5].cookie != ticket || f.questions()[3].from == me || f.questions()[5].from == me {
				t.Errorf("the copies came from %s and %s", f.questions()[3].from, f.questions()[5].from)
			}
			v := r.verdict(t, judge.Options{})
			v.Events, v.Findings, v.Cases, v.InsideMax, v.OvershootWindow = 0, nil, nil, 0, 0
			if got, want := fmt.Sprintf("%+v", *v), fmt.Sprintf("%+v", c.wants); got != want {
				t.Errorf("\ngot  %s\nwant %s", got, want)
			}
		})
	}
}

func TestAFormIsPostedWhileWaiting(t *testing.T) {
	t.Parallel()
	f := newFake(t, func(q *question) string {
		switch {
		case q.n == 0:
			return wait("ticket", .6)
		case q.what == "POST /drop/cart":
			return wait("", .5)
		case q.what == api:
			return calls("pass", 1)
		}
		return shop("ann", "")
	})
	j := hurried()
	j.Post = Post{1, "/drop/cart", "item=2", formType, Span{Min: 50 * time.Millisecond, Max: 50 * time.Millisecond}}
	rehearse(t, []string{f.addr}, 1, 0, j)
	f.wants(t, page, "POST /drop/cart", api, page)
	if q := f.questions()[1]; q.body != "item=2" || q.cookie != "ticket" || q.header.Get("Sec-Fetch-Mode") != "navigate" {
		t.Errorf("%+v", q)
	}
}

func TestAShopThatFreesTheSlotIsUnderstood(t *testing.T) {
	t.Parallel()
	f := newFake(t, func(q *question) string {
		if strings.HasPrefix(q.what, "POST") {
			return shop("ann", "Set-Cookie: sluice-drop=; Path=/; Max-Age=0\r\n")
		}
		return shop("ann", set("pass"))
	})
	j := hurried()
	j.Order.Share, j.Leave = 1, 1
	r := rehearse(t, []string{f.addr}, 1, 0, j)
	f.wants(t, page, "POST /drop/")
	if got := r.kinds(t); !slices.Equal(got, []judge.Kind{judge.Admitted, judge.Left}) || r.sum(LeftShop, "how", "released") != 1 {
		t.Errorf("events %v", got)
	}
}

func TestSomebodyInsideWhoIsAskedToWaitIsSeen(t *testing.T) {
	t.Parallel()
	f := newFake(t, func(q *question) string {
		if q.n == 0 {
			return shop("ann", set("pass"))
		}
		return wait("", 5)
	})
	j := hurried()
	j.Pages = Loads{Count: 3}
	r := rehearse(t, []string{f.addr}, 1, 0, j)
	f.wants(t, page, page)
	if v := r.verdict(t, judge.Options{Session: time.Minute}); v.PlacesLost != 1 || r.sum(LeftShop, "how", "expelled") != 1 {
		t.Errorf("%+v", v)
	}
}

func TestWhoIsTurnedAwayHasNoPlaceAndAsksLessOften(t *testing.T) {
	t.Parallel()
	f := newFake(t, func(q *question) string {
		return response(429, "Sluice-State: full\r\nRetry-After: 1\r\n", "full")
	})
	j := hurried()
	j.Abandon.Share, j.Abandon.After = 1, Span{Min: 2 * time.Second, Max: 2 * time.Second}
	r := rehearse(t, []string{f.addr}, 1, 0, j)
	f.wants(t, page)
	if v := r.verdict(t, judge.Options{}); v.Visitors != 0 || r.sum(Joined) != 0 || r.sum(metric.HTTPReqs, "state", "full") != 1 {
		t.Errorf("%+v", v)
	}
}

func TestAGateThatIsGoneIsAFailureAndIsAskedAgain(t *testing.T) {
	t.Parallel()
	f := newFake(t, func(q *question) string {
		switch q.n {
		case 0:
			return wait("ticket", .5)
		case 1:
			return ""
		case 2:
			return calls("pass", 3)
		}
		return shop("ann", "")
	})
	j := hurried()
	j.IdleClose = 0 // a new connection each time, so that nothing is tried twice
	r := rehearse(t, []string{f.addr}, 1, 0, j)
	f.wants(t, page, api, api, page)
	if r.failed() != 1 || r.sum(metric.HTTPReqs, "step", "poll", "status", "0") != 1 {
		t.Errorf("%v failed", r.failed())
	}
	if e := r.crowd.Errors(); len(e) != 1 || e["poll: unexpected EOF"] != 1 {
		t.Errorf("%v", e)
	}
	if gap := f.questions()[2].at.Sub(f.questions()[1].at); gap < time.Second {
		t.Errorf("asked again after %v", gap)
	}
}

func TestJoiningIsTimedFromWhenAVisitorWasDue(t *testing.T) {
	t.Parallel()
	f := newFake(t, func(*question) string { return shop("ann", "") })
	reg := metric.NewRegistry()
	c, err := New(Config{Targets: []string{f.addr}, Room: "drop", Path: "/drop/", Journey: hurried(), Metrics: reg})
	if err != nil {
		t.Fatal(err)
	}
	c.Visit(t.Context(), &executor.VU{Rand: rand.New(rand.NewPCG(1, 1))}, time.Now().Add(-5*time.Second))
	join, request := reg.Lookup(JoinDuration).Select(metric.Tags{}), reg.Lookup(metric.HTTPReqDuration).Select(metric.Tags{})
	if join.Min < 5000 || request.Max > 4000 || join.Samples != 1 {
		t.Errorf("join_duration %v ms, http_req_duration %v ms", join.Min, request.Max)
	}
}

func TestAVisitEndsSoonAfterItsTimeIsUp(t *testing.T) {
	t.Parallel()
	silence := make(chan struct{})
	asked := make(chan struct{}, 10)
	f := newFake(t, func(q *question) string {
		asked <- struct{}{}
		<-silence
		return ""
	})
	t.Cleanup(func() { close(silence) })
	reg := metric.NewRegistry()
	c, err := New(Config{Targets: []string{f.addr}, Room: "drop", Path: "/drop/", Journey: hurried(), Metrics: reg})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		c.Visit(ctx, &executor.VU{Rand: rand.New(rand.NewPCG(1, 1))}, time.Now())
		close(done)
	}()
	<-asked
	cancel()
	select {
	case <-done:
	case <-time.After(10 * time.Second):
		t.Fatal("the visit goes on")
	}
	if n := reg.Lookup(metric.HTTPReqs).Select(metric.Tags{}).Sum; n != 0 {
		t.Errorf("%v requests counted, the one that was broken off among them", n)
	}
	if n := len(c.open.free); n != 0 {
		t.Errorf("%d connections are still counted as open", n)
	}
}

func TestEveryProblemOfACrowdIsToldAtOnce(t *testing.T) {
	t.Parallel()
	_, err := New(Config{Targets: []string{"http://127.0.0.1:80/x", "ftp://a", "http://u@h"}, Room: "Drop", Path: "drop"})
	want := `visitor: "Drop" is no name of a room: 1 to 32 of a-z, 0-9 and -
visitor: path: "drop" is not a path: it does not begin with /
visitor: no registry of metrics
visitor: target "http://127.0.0.1:80/x": want http://HOST:PORT or https://HOST:PORT, and nothing after it
visitor: target "ftp://a": want http://HOST:PORT or https://HOST:PORT, and nothing after it
visitor: target "http://u@h": want http://HOST:PORT or https://HOST:PORT, and nothing after it`
	if err == nil || err.Error() != want {
		t.Errorf("\ngot  %v\nwant %s", err, want)
	}
}

// A waiting visitor may cost 30 kB.
func TestFiveThousandWaitingVisitorsAreSmall(t *testing.T) {
	const n, most = 5000, 30_000
	keys := ring(t)
	ticket := string(keys.Append(nil, &token.Token{Kind: token.Ticket, ID: 1, Place: 1, Issued: 1}))
	var polled sync.WaitGroup
	polled.Add(n)
	f := newFake(t, func(q *question) string {
		if q.what == api {
			polled.Done()
			return stands(1000, 120)
		}
		return wait(ticket, .5)
	})
	f.quiet = true
	reg := metric.NewRegistry()
	c, err := New(Config{
		Targets: []string{f.addr}, Room: "drop", Path: "/drop/", Journey: Defaults(), Scenario: "sale", Metrics: reg,
		Log: judge.NewLog(new(bytes.Buffer)),
	})
	if err != nil {
		t.Fatal(err)
	}
	used := func() uint64 {
		runtime.GC()
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapInuse + m.StackInuse
	}
	before := used()
	ctx, cancel := context.WithCancel(t.Context())
	var all sync.WaitGroup
	gate := make(chan struct{}, 100) // come a hundred at a time
	for i := range n {
		gate <- struct{}{}
		all.Go(func() {
			vu := &executor.VU{ID: int64(i), Rand: rand.New(rand.NewPCG(1, uint64(i)))}
			time.AfterFunc(0, func() { <-gate })
			c.Visit(ctx, vu, time.Now())
		})
	}
	polled.Wait()
	for len(c.open.free) > 0 { // until the last has closed the connection
		runtime.Gosched()
	}
	after := used()
	per := (int64(after) - int64(before)) / n
	t.Logf("%d bytes for each of %d waiting visitors", per, n)
	if per > most {
		t.Errorf("%d bytes for each waiting visitor, %d are allowed", per, most)
	}
	cancel()
	all.Wait()
	if failed := reg.Lookup(metric.HTTPReqFailed).Select(metric.Tags{}); failed.Passes != 0 {
		t.Errorf("%d requests failed: %v", failed.Passes, c.Errors())
	}
}
