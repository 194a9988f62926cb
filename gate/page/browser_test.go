package page

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
)

// answer is one of the visitor API's, or a failure.
type answer struct {
	Room      string    `json:"room"`
	State     string    `json:"state"`
	Position  *int64    `json:"position"`
	Waiting   int64     `json:"waiting"`
	Estimate  *waitSpan `json:"estimate_seconds"`
	PollAfter float64   `json:"poll_after_seconds"`
	Age       float64   `json:"age_seconds"`
	Message   string    `json:"message"`

	status int // other than 200: this and no body
	cut    bool
}

type waitSpan struct {
	Low  int64 `json:"low"`
	High int64 `json:"high"`
}

func inLine(position int64) answer {
	return answer{State: "waiting", Position: &position, Waiting: 5000, Estimate: &waitSpan{110, 160}}
}

// shop is a gate as the page sees one: /drop is behind the room, the API
// answers what the test says.
type shop struct {
	*httptest.Server
	page *Page

	mu       sync.Mutex
	view     View
	api      answer
	policy   string
	loads    int      // waiting pages given out
	polls    int      // questions to the API
	admitted bool     // the shop itself answers
	visits   []string // requests for pages, with their method
}

func (s *shop) set(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f()
}

func (s *shop) get(n *int) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return *n
}

func (s *shop) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case r.URL.Path == "/.sluice/rooms/drop":
		s.polls++
		a := s.api
		if a.cut {
			panic(http.ErrAbortHandler)
		}
		if a.status != 0 {
			w.WriteHeader(a.status)
			return
		}
		a.Room = "drop"
		if a.PollAfter == 0 {
			a.PollAfter = 0.5
		}
		if a.State == "admitted" {
			s.admitted = true
		}
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Cache-Control", "no-store")
		json.NewEncoder(w).Encode(a)
	case strings.HasPrefix(r.URL.Path, "/form"):
		w.Header().Set("Content-Type", "text/html")
		fmt.Fprint(w, `<link rel="icon" href="data:,"><form method="post" action="/drop"><button>buy</button></form>`)
	case strings.HasPrefix(r.URL.Path, "/drop"):
		s.visits = append(s.visits, r.Method+" "+r.URL.Path)
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		w.Header().Set("Cache-Control", "no-store")
		if s.admitted {
			fmt.Fprint(w, `<link rel="icon" href="data:,"><title>the shop</title><p id="shop">`+r.Method+`</p>`)
			return
		}
		s.loads++
		w.Header().Set("Content-Security-Policy", s.policy)
		w.Header().Set("Content-Encoding", "gzip")
		w.WriteHeader(http.StatusTooManyRequests)
		w.Write(s.page.AppendGzip(nil, &s.view))
	default:
		s.visits = append(s.visits, "astray "+r.URL.Path)
		w.WriteHeader(http.StatusNotFound)
	}
}

type visitor struct {
	t   *testing.T
	ctx context.Context
}

func (v visitor) do(steps ...chromedp.Action[chromedp.Void]) {
	v.t.Helper()
	if err := chromedp.Do(v.ctx, steps...); err != nil {
		v.t.Fatal(err)
	}
}

func (v visitor) js(expression string) {
	v.t.Helper()
	v.do(chromedp.Evaluate[chromedp.Void](expression))
}

// until waits for a JavaScript condition, over reloads of the page.
func (v visitor) until(what, condition string) {
	v.t.Helper()
	ctx, cancel := context.WithTimeout(v.ctx, 25*time.Second)
	defer cancel()
	for {
		_, err := chromedp.Run(ctx, chromedp.Poll[chromedp.Void](condition, chromedp.WithPollingInterval(20*time.Millisecond)))
		if err == nil {
			return
		}
		if ctx.Err() != nil {
			text, _ := chromedp.Run(v.ctx, chromedp.Evaluate[string]("document.documentElement.outerHTML.replace(/<(style|script)[^]*?<\\/\\1>/g, '')"))
			v.t.Fatalf("never came: %s\n%s", what, text)
		}
		// Otherwise the page was left while we looked at it.
	}
}

func text(name string) string {
	return `document.querySelector('[data-sluice="` + name + `"]').textContent`
}

func moments(name string) string { return `document.documentElement.dataset.moment === "` + name + `"` }

func TestInABrowser(t *testing.T) {
	program, err := exec.LookPath("chromium")
	if err != nil {
		t.Skip("not tested: what the page's script does, since chromium is not installed")
	}
	if testing.Short() {
		t.Skip("not tested with -short: what the page's script does in chromium")
	}
	alloc, stop := chromedp.NewExecAllocator(t.Context(), chromedp.Headless, chromedp.ExecPath(program), chromedp.NoSandbox,
		chromedp.NoFirstRun, chromedp.DisableGPU, chromedp.Flag("disable-quic", true), chromedp.Flag("disable-background-networking", true),
		chromedp.Flag("disable-component-update", true), chromedp.Flag("disable-sync", true))
	defer stop()
	browser, stop := chromedp.NewContext(alloc)
	defer stop()
	if err := chromedp.Do(browser); err != nil {
		t.Fatalf("chromium does not start: %v", err)
	}
	open := func(t *testing.T, path string, view View, first answer) (*shop, visitor) {
		s := &shop{page: newPage(t, Config{Message: "one pair each"}), view: view, api: first, policy: policy}
		s.Server = httptest.NewServer(s)
		t.Cleanup(s.Close)
		ctx, cancel := chromedp.NewContext(browser, chromedp.WithNewBrowserContext())
		t.Cleanup(cancel)
		v := visitor{t, ctx}
		v.do(chromedp.Navigate(s.URL + path))
		return s, v
	}
	soon := View{Position: 5000, Waiting: 5000, Low: 500, High: 700, PollAfter: 300 * time.Millisecond}

	t.Run("a visitor moves up, is next, and is let in", func(t *testing.T) {
		s, v := open(t, "/drop?size=9#top", soon, inLine(1234))
		v.until("position", text("position")+` === "1,234"`)
		v.until("estimate", text("estimate")+` === "1 to 3 minutes"`)
		v.until("title", `document.title === "1,234 – You’re in line"`)
		v.until("water that has risen", `document.getElementById("water").getAttribute("aria-valuenow") === "75"`)
		s.set(func() { s.api = inLine(1) })
		v.until("next", moments("next"))
		v.until("said to screen readers", text("live")+`.indexOf("You’re next.") === 0`)
		s.set(func() { s.api = answer{State: "admitted"} })
		v.until("the shop", `document.getElementById("shop")`)
		v.until("the address they came for", `location.search + location.hash === "?size=9#top"`)
		s.set(func() {
			if got := strings.Join(s.visits, ", "); got != "GET /drop, GET /drop" {
				t.Errorf("requests %s", got)
			}
		})
	})

	t.Run("a visitor whose connection is lost is told so, and goes on when it is back", func(t *testing.T) {
		s, v := open(t, "/drop", soon, inLine(50))
		v.until("position", text("position")+` === "50"`)
		s.set(func() { s.api = answer{cut: true} })
		v.until("what to do", text("alert")+`.indexOf("No connection at the moment. Your place is kept") === 0`)
		v.until("the position that was known", text("position")+` === "50"`)
		s.set(func() { s.api = inLine(40) })
		v.js(`dispatchEvent(new Event("online"))`)
		v.until("position", text("position")+` === "40"`)
		v.until("no more trouble", text("alert")+` === ""`)
	})

	t.Run("a visitor does not notice an error of the gate that is gone at the next poll", func(t *testing.T) {
		s, v := open(t, "/drop", soon, answer{status: 503})
		v.until("the first poll", `performance.getEntriesByName(location.origin + "/.sluice/rooms/drop").length > 0`)
		s.set(func() { s.api = inLine(40) })
		v.until("position", text("position")+` === "40"`)
		v.until("nothing was said", text("alert")+` === ""`)
	})

	t.Run("a visitor whose browser blocks cookies is told so and offered a way out", func(t *testing.T) {
		_, v := open(t, "/drop", soon, answer{State: "none"})
		v.until("the reason", moments("blocked"))
		v.until("the way out", text("link")+` === "Open in its own window" && document.querySelector("a").target === "_top"`)
	})

	t.Run("a visitor who left in another tab is not put back into line unasked", func(t *testing.T) {
		s, v := open(t, "/drop", soon, inLine(40))
		v.until("position", text("position")+` === "40"`)
		s.set(func() { s.api = answer{State: "none"} })
		v.until("the end", moments("ended"))
		s.set(func() { s.api = inLine(900) })
		v.do(chromedp.Click(`[data-sluice="link"]`))
		v.until("the new place", text("position")+` === "900"`)
		if n := s.get(&s.loads); n != 2 {
			t.Errorf("%d pages, want 2", n)
		}
	})

	t.Run("a visitor sees the room close and open again, and new words of the operator", func(t *testing.T) {
		s, v := open(t, "/drop", soon, inLine(40))
		v.until("position", text("position")+` === "40"`)
		closed := inLine(40)
		closed.State, closed.Message = "closed", "<b>back at 9</b>"
		s.set(func() { s.api = closed })
		v.until("on hold", moments("kept"))
		v.until("the message, as text", text("message")+` === "<b>back at 9</b>"`)
		s.set(func() { s.api = inLine(39) })
		v.until("in line", moments("waiting"))
		unheard := inLine(38)
		unheard.State = "on the moon"
		s.set(func() { s.api = unheard })
		v.until("in line, in a state that we do not know", text("position")+` === "38" && `+moments("waiting"))
	})

	t.Run("a form is never sent twice", func(t *testing.T) {
		view := soon
		view.State, view.Next = NotSent, "/drop/cart"
		s, v := open(t, "/form", view, inLine(40))
		v.do(chromedp.Click("button"))
		v.until("the truth", `document.querySelector(".notsent").textContent.indexOf("Nothing was sent or ordered.") === 0`)
		v.until("position", text("position")+` === "40"`)
		s.set(func() { s.api = answer{State: "admitted"} })
		v.until("the shop", `document.getElementById("shop") && document.getElementById("shop").textContent === "GET"`)
		s.set(func() {
			if got := strings.Join(s.visits, ", "); got != "POST /drop, GET /drop/cart" {
				t.Errorf("requests %s", got)
			}
		})
	})

	t.Run("a visitor who looks again and again asks no more than once in two seconds", func(t *testing.T) {
		slow := inLine(40)
		slow.PollAfter = 60
		view := soon
		view.PollAfter = time.Minute
		s, v := open(t, "/drop", view, slow)
		v.js(`window.t0 = Date.now(); window.flap = setInterval(function () {
			document.dispatchEvent(new Event("visibilitychange")); dispatchEvent(new Event("online"))}, 20)`)
		v.until("five seconds", `Date.now() - window.t0 > 5000 && (clearInterval(window.flap), true)`)
		if n := s.get(&s.polls); n < 1 || n > 3 {
			t.Errorf("%d polls in five seconds, want 1 to 3", n)
		}
	})

	t.Run("a page that may not start a worker polls all the same", func(t *testing.T) {
		s := &shop{page: newPage(t, Config{}), view: soon, api: inLine(7)}
		s.policy = strings.Replace(policy, "worker-src blob:; child-src blob:;", "worker-src 'none';", 1)
		s.Server = httptest.NewServer(s)
		t.Cleanup(s.Close)
		ctx, cancel := chromedp.NewContext(browser, chromedp.WithNewBrowserContext())
		t.Cleanup(cancel)
		v := visitor{t, ctx}
		v.do(chromedp.Navigate(s.URL + "/drop"))
		v.until("position", text("position")+` === "7"`)
		if n := s.get(&s.polls); n < 1 {
			t.Error("no poll")
		}
	})

	t.Run("a visitor is back by themselves when the site answers again", func(t *testing.T) {
		s, v := open(t, "/drop", View{State: Unavailable, HasPlace: true, Status: 502, PollAfter: 200 * time.Millisecond}, answer{})
		v.until("access is kept", text("lead")+`.indexOf("You still have access.") === 0`)
		s.set(func() { s.admitted = true })
		v.until("the shop", `document.getElementById("shop")`)
		if n := s.get(&s.polls); n != 0 {
			t.Errorf("%d polls, want none", n)
		}
	})

	t.Run("the script words every wait as the page does", func(t *testing.T) {
		_, v := open(t, "/drop", soon, inLine(1))
		_, source, _ := strings.Cut(script, "function put(")
		source, _, ok := strings.Cut(source, "var told")
		if !ok {
			t.Fatal("page.js is not as this test expects it")
		}
		var waits []waitSpan
		rnd := rand.New(rand.NewPCG(1, 2))
		for high := int64(0); high < 100_000; high += 1 + high/200 {
			waits = append(waits, waitSpan{high, high}, waitSpan{0, high}, waitSpan{rnd.Int64N(high + 1), high})
		}
		list, err := json.Marshal(waits)
		if err != nil {
			t.Fatal(err)
		}
		for l := range words {
			w := &words[l]
			got, err := chromedp.Run(v.ctx, chromedp.Evaluate[[]string](fmt.Sprintf(
				`(function (words, list) { function put(%s; return list.map(function (e) { return estimate(e) + "; " + ago(e.low) + "; " + number(e.high * e.high) }) })(%s, %s)`,
				source, w.json(), list)))
			if err != nil {
				t.Fatal(err)
			}
			for i, e := range waits {
				want := w.appendEstimate(nil, e.Low, e.High)
				want = w.appendAgo(append(want, "; "...), e.Low)
				want = appendNumber(append(want, "; "...), e.High*e.High)
				if got[i] != string(want) {
					t.Fatalf("%d to %d seconds is %q for the script, %q for the page", e.Low, e.High, got[i], want)
				}
			}
		}
	})
}
