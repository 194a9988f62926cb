package shop

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

func ask(h http.Handler, method, path string, header ...string) *http.Response {
	r := httptest.NewRequest(method, path, nil)
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	rec := httptest.NewRecorder()
	h.ServeHTTP(rec, r)
	return rec.Result()
}

func send(h http.Handler, path string, form url.Values) *http.Response {
	r := httptest.NewRequest(http.MethodPost, path, strings.NewReader(form.Encode()))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	rec := httptest.NewRecorder()
	h.ServeHTTP(rec, r)
	return rec.Result()
}

func text(t *testing.T, r *http.Response) string {
	t.Helper()
	b, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// filled is an order form as a buyer sends it; pairs replace its fields.
func filled(pairs ...string) url.Values {
	f := url.Values{
		"item": {"skerry"}, "token": {"a-token-of-a-form-1"}, "name": {"Ada Park"}, "quantity": {"1"}, "colour": {"amber"},
	}
	for i := 0; i < len(pairs); i += 2 {
		f.Set(pairs[i], pairs[i+1])
	}
	return f
}

func TestEveryPageAnswersGetAndHeadAlike(t *testing.T) {
	s := New(Config{})
	order := send(s, "/drop/order", filled()).Header.Get("Location")
	paths := []string{"/", "/drop", order, "/pay?order=x", "/office", "/healthz", "/nowhere", "/drop/item/nothing", "/drop/live", "/office/live"}
	for _, l := range lamps {
		paths = append(paths, "/drop/item/"+l.ID)
	}
	for name := range s.files {
		paths = append(paths, "/assets/"+name, "/drop/assets/"+name)
	}
	token := regexp.MustCompile(`name="token" value="[^"]+"`)
	for _, path := range paths {
		get, head := ask(s, "GET", path), ask(s, "HEAD", path)
		body := text(t, get)
		want := http.StatusOK
		if strings.Contains(path, "no") && strings.HasSuffix(path, "where") || strings.HasSuffix(path, "nothing") {
			want = http.StatusNotFound
		}
		if get.StatusCode != want || head.StatusCode != want {
			t.Errorf("%s: GET %d, HEAD %d, want %d", path, get.StatusCode, head.StatusCode, want)
		}
		if got := get.Header.Get("Content-Length"); got != strconv.Itoa(len(body)) {
			t.Errorf("%s: Content-Length %q for %d bytes", path, got, len(body))
		}
		if b := text(t, head); b != "" {
			t.Errorf("%s: HEAD has a body of %d bytes", path, len(b))
		}
		if path != "/drop/live" && path != "/office/live" && fmt.Sprint(get.Header) != fmt.Sprint(head.Header) {
			t.Errorf("%s: GET and HEAD differ:\n%v\n%v", path, get.Header, head.Header)
		}
		cache := get.Header.Get("Cache-Control")
		switch kind, _, _ := strings.Cut(get.Header.Get("Content-Type"), ";"); kind {
		case "text/html":
			if !strings.Contains(cache, "no-cache") {
				t.Errorf("%s: page with Cache-Control %q", path, cache)
			}
			if strings.Contains(token.ReplaceAllString(body, ""), "<no value>") {
				t.Errorf("%s: a value is missing", path)
			}
		case "image/svg+xml", "text/css", "text/javascript":
			if !strings.Contains(cache, "max-age") || get.Header.Get("ETag") == "" {
				t.Errorf("%s: Cache-Control %q, ETag %q", path, cache, get.Header.Get("ETag"))
			}
		case "application/json", "text/plain":
			if cache != "no-store" {
				t.Errorf("%s: Cache-Control %q", path, cache)
			}
		default:
			t.Errorf("%s: Content-Type %q", path, kind)
		}
	}
}

func TestPagesAskOnlyTheShopItself(t *testing.T) {
	s := New(Config{})
	address := regexp.MustCompile(`(?:src|href|action)="([^"]*)"`)
	for _, page := range []string{"/", "/drop", "/drop/item/medusa", "/office"} {
		for _, m := range address.FindAllStringSubmatch(text(t, ask(s, "GET", page)), -1) {
			to := m[1]
			if strings.HasPrefix(to, "#") {
				continue
			}
			r := ask(s, "GET", to)
			if r.StatusCode != http.StatusOK && r.StatusCode != http.StatusMethodNotAllowed {
				t.Errorf("%s leads to %s, which answers %d", page, to, r.StatusCode)
			}
		}
	}
	for name, a := range s.files {
		plain := bytes.ReplaceAll(a.body, []byte("http://www.w3.org/2000/svg"), nil)
		if bytes.Contains(plain, []byte("http:")) || bytes.Contains(plain, []byte("https:")) {
			t.Errorf("%s asks for something elsewhere", name)
		}
		if strings.HasSuffix(name, ".svg") {
			d := xml.NewDecoder(bytes.NewReader(a.body))
			for {
				if _, err := d.Token(); errors.Is(err, io.EOF) {
					break
				} else if err != nil {
					t.Errorf("%s: %v", name, err)
					break
				}
			}
		}
	}
}

func TestPicturesAreRevalidated(t *testing.T) {
	s := New(Config{})
	first := ask(s, "GET", "/drop/assets/medusa-coral.svg")
	tag := first.Header.Get("ETag")
	again := ask(s, "GET", "/drop/assets/medusa-coral.svg", "If-None-Match", tag)
	if again.StatusCode != http.StatusNotModified || text(t, again) != "" || again.Header.Get("ETag") != tag {
		t.Errorf("with its tag: %d, ETag %q", again.StatusCode, again.Header.Get("ETag"))
	}
	if r := ask(s, "GET", "/drop/assets/medusa-coral.svg", "If-None-Match", `"other"`); r.StatusCode != http.StatusOK {
		t.Errorf("with another tag: %d", r.StatusCode)
	}
	part := ask(s, "GET", "/assets/harbour.svg", "Range", "bytes=10-19")
	if part.StatusCode != http.StatusPartialContent || len(text(t, part)) != 10 {
		t.Errorf("a range: %d", part.StatusCode)
	}
	if ask(s, "GET", "/drop/assets/medusa-dusk.svg").Header.Get("ETag") == tag {
		t.Error("two colours share a tag")
	}
}

func TestWrongMethodsAreToldWhatIsAllowed(t *testing.T) {
	s := New(Config{})
	for _, c := range []struct {
		method, path, allow string
		status              int
	}{
		{"POST", "/drop", "GET, HEAD, OPTIONS", 405},
		{"DELETE", "/", "GET, HEAD, OPTIONS", 405},
		{"GET", "/drop/order", "POST, OPTIONS", 405},
		{"GET", "/drop/paid", "POST, OPTIONS", 405},
		{"OPTIONS", "/drop/order", "POST, OPTIONS", 204},
	} {
		r := ask(s, c.method, c.path)
		if r.StatusCode != c.status || r.Header.Get("Allow") != c.allow {
			t.Errorf("%s %s: %d, Allow %q", c.method, c.path, r.StatusCode, r.Header.Get("Allow"))
		}
	}
}

func TestAnOrderIsThankedForAndPaid(t *testing.T) {
	s := New(Config{PayURL: "http://bank.example/pay"})
	placed := send(s, "/drop/order", filled("name", " Jos\u00e9 <b>Ito</b> ", "quantity", "3"))
	to := placed.Header.Get("Location")
	if placed.StatusCode != http.StatusSeeOther || !strings.HasPrefix(to, "/drop/thanks/") {
		t.Fatalf("order: %d to %q", placed.StatusCode, to)
	}
	id := strings.TrimPrefix(to, "/drop/thanks/")
	thanks := text(t, ask(s, "GET", to))
	for _, want := range []string{"José &lt;b&gt;Ito&lt;/b&gt;.", "3 pieces of Skerry", "£444", "Open", "http://bank.example/pay?order=" + id + "&amp;return=http%3A%2F%2Fexample.com%2Fdrop%2Fpaid"} {
		if !strings.Contains(thanks, want) {
			t.Errorf("the thanks do not say %q:\n%s", want, thanks)
		}
	}
	bill := text(t, ask(s, "GET", "/pay?order="+id+"&return=http://example.com/drop/paid"))
	if !strings.Contains(bill, `action="http://example.com/drop/paid"`) {
		t.Errorf("the bill does not lead back:\n%s", bill)
	}
	for _, back := range []string{"javascript:alert(1)", "http://evil.example/phish", "//evil.example/x", "ftp://example.com/drop/paid"} {
		if r := ask(s, "GET", "/pay?order="+id+"&return="+url.QueryEscape(back)); r.StatusCode != http.StatusBadRequest {
			t.Errorf("a bill that leads to %s: %d", back, r.StatusCode)
		}
	}
	for _, c := range []struct{ result, shows string }{{"cancelled", "Open"}, {"paid", "Paid"}, {"paid", "Paid"}, {"cancelled", "Paid"}} {
		r := send(s, "/drop/paid", url.Values{"order": {id}, "result": {c.result}})
		if r.StatusCode != http.StatusSeeOther || r.Header.Get("Location") != to {
			t.Errorf("%s: %d to %q", c.result, r.StatusCode, r.Header.Get("Location"))
		}
		if !strings.Contains(text(t, ask(s, "GET", to)), c.shows) {
			t.Errorf("after %s the order does not show %q", c.result, c.shows)
		}
	}
	if r := send(s, "/drop/paid", url.Values{"order": {"NOSUCH"}}); r.StatusCode != http.StatusNotFound {
		t.Errorf("payment of an unknown order: %d", r.StatusCode)
	}
}

func TestAWrongFormIsShownAgainAndOrdersNothing(t *testing.T) {
	for _, c := range []struct {
		why    string
		form   url.Values
		status int
		says   string
	}{
		{"no name", filled("name", "  "), 422, "whom the parcel is for"},
		{"a long name", filled("name", strings.Repeat("é", 61)), 422, "60 letters"},
		{"a line break in the name", filled("name", "a\nb"), 422, "on a label"},
		{"bytes that are no text", filled("name", "\xff"), 422, "on a label"},
		{"none", filled("quantity", "0"), 422, "choose how many"},
		{"words for a number", filled("quantity", "two"), 422, "choose how many"},
		{"too many", filled("quantity", "5"), 422, "4 to a household"},
		{"a colour it is not made in", filled("colour", "coral"), 422, "choose a colour"},
		{"no token", filled("token", ""), 422, "press the button again"},
		{"no lamp", filled("item", "anchor"), 422, "Which lamp?"},
		{"more than are left", filled("quantity", "3"), 409, "Only 2 left"},
		{"a form without end", filled("name", strings.Repeat("x", 20<<10)), 413, "did not arrive whole"},
	} {
		t.Run(c.why, func(t *testing.T) {
			s := New(Config{Stock: 2 * len(lamps)})
			r := send(s, "/drop/order", c.form)
			body := text(t, r)
			if r.StatusCode != c.status || !strings.Contains(body, c.says) {
				t.Errorf("%d, want %d and %q:\n%s", r.StatusCode, c.status, c.says, body)
			}
			if l := s.Live(); l.Orders != 0 || l.Stock != 2*len(lamps) {
				t.Errorf("%d orders, %d left", l.Orders, l.Stock)
			}
		})
	}
	s := New(Config{})
	body := text(t, send(s, "/drop/order", filled("name", "Ada Park", "quantity", "9", "colour", "dusk")))
	for _, kept := range []string{`value="Ada Park"`, `value="dusk" checked`} {
		if !strings.Contains(body, kept) {
			t.Errorf("what was written is lost: no %s in\n%s", kept, body)
		}
	}
}

func TestTheEditionIsNeverOversold(t *testing.T) {
	s := New(Config{Stock: 30 * len(lamps)})
	statuses := make(chan int, 200)
	var buyers sync.WaitGroup
	for i := range 200 {
		buyers.Go(func() {
			statuses <- send(s, "/drop/order", filled("token", fmt.Sprintf("a-token-number-%04d", i), "quantity", strconv.Itoa(1+i%3))).StatusCode
		})
	}
	buyers.Wait()
	close(statuses)
	got := map[int]int{}
	for status := range statuses {
		got[status]++
	}
	if got[303]+got[409] != 200 || got[409] == 0 {
		t.Errorf("answers: %v", got)
	}
	l := s.Live()
	if l.Orders != got[303] {
		t.Errorf("%d orders, %d buyers were thanked", l.Orders, got[303])
	}
	pieces := 0
	orders, _ := s.books.latest(1000)
	for _, o := range orders {
		pieces += o.Pieces
	}
	if left := l.Lamps[0].Left; left != 0 || pieces != 30 {
		t.Errorf("sold %d of 30, %d left", pieces, left)
	}
	if page := text(t, ask(s, "GET", "/drop/item/skerry")); !strings.Contains(page, "sold out") || strings.Contains(page, "<form") {
		t.Errorf("the page of a lamp that is sold out:\n%s", page)
	}
	if r := send(s, "/drop/order", filled("token", "one-more-token-here")); r.StatusCode != 409 || !strings.Contains(text(t, r), "last one went") {
		t.Errorf("an order after the last: %d", r.StatusCode)
	}
}

func TestPressingTwiceOrdersOnce(t *testing.T) {
	s := New(Config{Stock: len(lamps)})
	to := make(chan string, 50)
	var presses sync.WaitGroup
	for range 50 {
		presses.Go(func() { to <- send(s, "/drop/order", filled()).Header.Get("Location") })
	}
	presses.Wait()
	close(to)
	first := <-to
	for other := range to {
		if other != first {
			t.Errorf("one form led to %q and %q", first, other)
		}
	}
	if l := s.Live(); l.Orders != 1 || l.Lamps[0].Left != 0 || first == "" {
		t.Errorf("%d orders, %d left", l.Orders, l.Lamps[0].Left)
	}
}

func TestASoldOutShopSaysSoUntilItIsRestocked(t *testing.T) {
	s := New(Config{Stock: len(lamps)})
	for i, l := range lamps {
		if r := send(s, "/drop/order", filled("item", l.ID, "colour", l.Colours[0].ID, "token", fmt.Sprintf("a-token-number-%04d", i))); r.StatusCode != 303 {
			t.Fatalf("%s: %d", l.ID, r.StatusCode)
		}
	}
	if page := text(t, ask(s, "GET", "/drop")); !strings.Contains(page, "The edition is sold out") {
		t.Errorf("the list:\n%s", page)
	}
	if r := send(s, "/office/restock", nil); r.StatusCode != 303 {
		t.Errorf("restock: %d", r.StatusCode)
	}
	if l := s.Live(); l.Stock != len(lamps) || l.Orders != len(lamps) {
		t.Errorf("after restocking %d are left of %d, %d orders", l.Stock, len(lamps), l.Orders)
	}
}

func TestBooksOfALongDemoStaySmall(t *testing.T) {
	var b books
	b.open(2400)
	for round := range 4 {
		for i := range 1200 {
			l := lamps[i%len(lamps)]
			if _, _, err := b.place(fmt.Sprintf("%d-%d", round, i), order{Lamp: l, Pieces: 1, Colour: l.Colours[0]}); err != nil {
				t.Fatal(err)
			}
		}
		b.restock()
	}
	if len(b.orders) > 1000 || len(b.byID) > 1000 || len(b.byToken) > 1000 {
		t.Errorf("%d orders, %d ids, %d tokens are kept", len(b.orders), len(b.byID), len(b.byToken))
	}
	if _, n := b.latest(1); n != 4800 {
		t.Errorf("the latest order has number %d, want 4800", n)
	}
}

func TestBeyondItsCapacityTheShopGetsSlower(t *testing.T) {
	for _, c := range []struct{ busy, capacity, want int }{
		{1, 10, 100}, {10, 10, 100}, {20, 10, 200}, {55, 10, 550}, {500, 0, 100},
	} {
		if got := pace(100*time.Millisecond, c.busy, c.capacity); got != time.Duration(c.want)*time.Millisecond {
			t.Errorf("%d pages at once, capacity %d: %v, want %d ms", c.busy, c.capacity, got, c.want)
		}
	}
	synctest.Test(t, func(t *testing.T) {
		s := New(Config{Think: 100 * time.Millisecond, Capacity: 10})
		time.Sleep(500 * time.Millisecond) // to the middle of a second of the meter
		var visitors sync.WaitGroup
		for i := range 40 {
			visitors.Go(func() { ask(s, "GET", "/drop", "Sluice-Visitor", strconv.Itoa(i%8)) })
		}
		synctest.Wait()
		if busy := s.Live().Busy; busy != 40 {
			t.Errorf("%d pages are being made, want 40", busy)
		}
		visitors.Wait()
		time.Sleep(time.Second)
		l := s.Live()
		if l.Requests != 40 || l.Visitors != 8 || l.Slowest < .399 || l.Slowest > .401 || l.Busy != 0 {
			t.Errorf("%d requests of %d visitors, slowest %v s, busy %d", l.Requests, l.Visitors, l.Slowest, l.Busy)
		}
		time.Sleep(2 * time.Minute)
		if l := s.Live(); l.Requests != 0 || l.History != ([history]second{}) {
			t.Errorf("a minute later: %+v", l.History)
		}
	})
}

func TestLiveNumbersAreJSON(t *testing.T) {
	at := time.Date(2026, 10, 31, 17, 0, 0, 0, time.UTC)
	s := New(Config{Stock: 12, Capacity: 5, Now: func() time.Time { return at }})
	ask(s, "GET", "/drop", "Sluice-Visitor", "ann")
	ask(s, "GET", "/drop", "Sluice-Visitor", "bob")
	send(s, "/drop/order", filled())
	at = at.Add(time.Second)
	var got map[string]any
	if err := json.Unmarshal([]byte(text(t, ask(s, "GET", "/drop/live"))), &got); err != nil {
		t.Fatal(err)
	}
	for key, want := range map[string]any{
		"at": "2026-10-31T17:00:01Z", "visitors": 3.0, "requests_per_second": 3.0, "slowest_seconds": 0.0,
		"busy": 0.0, "capacity": 5.0, "stock": 11.0, "edition": 12.0, "orders": 1.0,
	} {
		if got[key] != want {
			t.Errorf("%s is %v, want %v", key, got[key], want)
		}
	}
	if n := len(got["history"].([]any)); n != 60 {
		t.Errorf("history of %d seconds", n)
	}
	if !strings.Contains(text(t, ask(s, "GET", "/office")), "Ada Park") {
		t.Error("the back office does not show the order")
	}
}
