package main

import (
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/target"
	"github.com/chromedp/chromedp"

	"github.com/sluicegate/sluice/gate/token"
)

func browserWaitsAndOrders(t *testing.T, b *browserProgram) {
	s := openBrowserSale(t)
	s.line(15)
	v := b.visitor(t)
	v.open(s.url + "/")
	v.click(`.hero a[href="/drop"]`)
	v.says("position", "16")
	v.says("among", "16 waiting in total")
	v.says("message", "One lamp each, please.")
	v.says("site", strings.TrimPrefix(s.url, "http://"))
	v.notes()
	if n := s.saw("GET /drop"); n != 0 {
		t.Errorf("%d requests of people who wait reached the shop", n)
	}
	ticket, cookie := v.holds(s.url)
	if ticket.Kind != token.Ticket || !cookie.HTTPOnly || cookie.Secure || cookie.SameSite != network.CookieSameSiteLax {
		t.Errorf("the visitor holds %+v in %+v", ticket, cookie)
	}

	s.operate(`{"mode":"auto"}`)
	v.sees("The drop")
	if got := v.js("location.href"); got != s.url+"/drop" {
		t.Errorf("the visitor is at %s", got)
	}
	steps := v.noted()
	least := 17
	for _, p := range steps {
		n, err := strconv.Atoi(p)
		if err != nil || n > least {
			t.Fatalf("positions %v", steps)
		}
		least = n
	}
	if steps = slices.Compact(steps); len(steps) < 3 || steps[0] != "16" {
		t.Errorf("the visitor saw no more than the positions %v", steps)
	}
	pass, _ := v.holds(s.url)
	if pass.Kind != token.Pass || pass.ID != ticket.ID || pass.Place != ticket.Place {
		t.Errorf("the visitor holds %+v, want the pass of %+v", pass, ticket)
	}
	if n := s.saw("GET /drop"); n != 1 {
		t.Errorf("the shop's page was asked for %d times", n)
	}
	v.order("Ada Abara")
	if l := s.shop.Live(); l.Orders != 1 || l.Latest[0].Name != "Ada Abara" {
		t.Errorf("the shop has the orders %+v", l.Latest)
	}
}

func browserByTLS(t *testing.T, b *browserProgram) {
	s := openBrowserSaleByTLS(t)
	s.line(9)
	v := b.visitor(t)
	v.open(s.url + "/drop")
	v.says("position", "10")
	v.notes()
	if got := v.js("location.protocol + isSecureContext"); got != "https:true" {
		t.Errorf("the page was loaded by %s", got)
	}
	ticket, cookie := v.holds(s.url)
	if ticket.Kind != token.Ticket || !cookie.HTTPOnly || !cookie.Secure || cookie.SameSite != network.CookieSameSiteNone {
		t.Errorf("the visitor holds %+v in %+v", ticket, cookie)
	}
	s.operate(`{"mode":"auto"}`)
	v.sees("The drop")
	if got := v.js("location.href"); got != s.url+"/drop" {
		t.Errorf("the visitor is at %s", got)
	}
	if steps := slices.Compact(v.noted()); len(steps) < 2 || steps[0] != "10" {
		t.Errorf("the visitor saw no more than the positions %v", steps)
	}
	pass, cookie := v.holds(s.url)
	if pass.Kind != token.Pass || pass.ID != ticket.ID || !cookie.HTTPOnly || !cookie.Secure || cookie.SameSite != network.CookieSameSiteNone {
		t.Errorf("the visitor holds %+v in %+v, want the pass of %+v", pass, cookie, ticket)
	}
	v.order("Ada Abara")
}

// order buys a lamp, from the page of the drop.
func (v *browserTab) order(name string) {
	v.t.Helper()
	v.click(`a[href="/drop/item/medusa"]`)
	v.sees("Medusa")
	v.do(chromedp.SendKeys("#name", name, chromedp.NodeVisible))
	v.click(`form[action="/drop/order"] button`)
	v.sees("It is yours, " + name + ".")
}

func browserWithoutScript(t *testing.T, b *browserProgram) {
	s := openBrowserSale(t)
	s.line(8)
	v := b.visitor(t)
	v.withoutScript()
	v.open(s.url + "/drop")
	v.says("position", "9")
	ticket, _ := v.holds(s.url)
	s.operate(`{"mode":"auto","rate":"2/s"}`)
	v.until("a better position", browserText("position")+" < 9")
	v.sees("The drop")
	if pass, _ := v.holds(s.url); pass.Kind != token.Pass || pass.ID != ticket.ID {
		t.Errorf("the visitor holds %+v, want the pass of %+v", pass, ticket)
	}
	v.order("Bo-ra Choi")
	if l := s.shop.Live(); l.Orders != 1 {
		t.Errorf("the shop has the orders %+v", l.Latest)
	}
}

func browserTwoTabs(t *testing.T, b *browserProgram) {
	s := openBrowserSale(t)
	s.line(3)
	first := b.visitor(t)
	first.open(s.url + "/drop")
	first.says("position", "4")
	ticket, _ := first.holds(s.url)
	second := first.another()
	second.open(s.url + "/drop/item/nautilus")
	second.says("position", "4")
	second.says("among", "4 waiting in total")
	s.awaitCounts(browserCounts{Waiting: 4})
	if both, _ := second.holds(s.url); both.ID != ticket.ID || both.Place != ticket.Place {
		t.Errorf("the second tab holds %+v, the first %+v", both, ticket)
	}

	s.operate(`{"mode":"auto"}`)
	first.sees("The drop")
	second.sees("Nautilus")
	s.awaitCounts(browserCounts{Active: 4})
	var names []string
	for _, r := range s.requests() {
		names = append(names, r.visitor)
	}
	if len(names) != 2 || names[0] != names[1] || names[0] == "" {
		t.Errorf("the shop knows the two tabs as %q", names)
	}
	second.click(`nav a[href="/drop"]`)
	second.order("Clara Dubois")
}

func browserHiddenTab(t *testing.T, b *browserProgram) {
	s := openBrowserSale(t)
	s.line(4)
	v := b.visitor(t)
	v.open(s.url + "/drop")
	v.says("position", "5")
	v.js(`(function tick() { window.ticks = (window.ticks || 0) + 1; setTimeout(tick, 10) })()`)
	other := v.onTop()
	other.open(s.url + "/")
	v.until("the tab hidden", "document.hidden")
	v.until("timers slowed down", `(function () {
		var now = performance.now(), took = now - window.since;
		if (took < 2000) return false;
		if (took < 3000 && window.ticks - window.was < took / 100) return true;
		window.since = now;
		window.was = window.ticks;
	})()`)
	v.js("performance.clearResourceTimings()")
	v.until("polls as often as ever", `performance.getEntriesByName(location.origin + "/.sluice/rooms/drop").filter(function (e, i, all) {
		return i > 0 && e.startTime - all[i - 1].startTime < 800
	}).length > 2`)
	s.awaitCounts(browserCounts{Waiting: 5})

	began := time.Now()
	s.operate(`{"mode":"auto"}`)
	v.sees("The drop")
	if took := time.Since(began); took > 10*time.Second {
		t.Errorf("let in after %v", took)
	}
	if v.js("document.hidden") != "true" {
		t.Error("the tab came to the front")
	}
	s.awaitCounts(browserCounts{Active: 5})
}

func browserPaysAtTheBank(t *testing.T, b *browserProgram) {
	s := openSecureBrowserSale(t)
	s.line(2)
	v := b.visitor(t)
	v.open(s.url + "/drop")
	v.says("position", "3")
	s.operate(`{"mode":"auto"}`)
	v.sees("The drop")
	pass, cookie := v.holds(s.url)
	if pass.Kind != token.Pass || !cookie.HTTPOnly || !cookie.Secure || cookie.SameSite != network.CookieSameSiteNone {
		t.Errorf("the visitor holds %+v in %+v", pass, cookie)
	}
	v.order("Daan Eriksen")
	s.operate(`{"mode":"hold"}`) // who loses their pass now stays outside
	v.click(`a[href^="` + s.bank + `/pay"]`)
	v.sees("Confirm your payment")
	v.click(`button[value="paid"]`)
	v.until("the shop", "location.href.indexOf("+browserQuote(s.url)+") === 0")
	v.sees("It is yours, Daan Eriksen.")
	v.until("the receipt", `document.querySelector(".receipt .good").textContent === "Paid, thank you"`)
	if !strings.HasPrefix(v.js("location.href"), s.url+"/drop/thanks/") {
		t.Errorf("the visitor is at %s", v.js("location.href"))
	}
	back := slices.IndexFunc(s.requests(), func(r browserRequest) bool { return r.what == "POST /drop/paid" })
	if back < 0 {
		t.Fatal("the payment did not come back")
	}
	if r := s.requests()[back]; r.from != "cross-site" || r.visitor != s.requests()[0].visitor {
		t.Errorf("the payment came back as %+v, after %+v", r, s.requests()[0])
	}
}

// browserAtAForm is somebody with an order form filled in, whose session is over.
func browserAtAForm(t *testing.T, b *browserProgram, s *browserSale) *browserTab {
	t.Helper()
	s.operate(`{"mode":"auto"}`)
	v := b.visitor(t)
	v.open(s.url + "/drop/item/skerry")
	v.sees("Skerry")
	v.do(chromedp.SendKeys("#name", "Elif Kaya", chromedp.NodeVisible))
	s.operate(`{"mode":"hold"}`)
	// Leaving in another tab ends the session as time does.
	other := v.another()
	other.open(s.url + "/")
	other.js(`fetch("/.sluice/rooms/drop", {method: "DELETE"}).then(function (r) { window.left = r.status })`)
	other.until("the session's end", "window.left === 204")
	s.line(1)
	return v
}

func browserFormWhileWaiting(t *testing.T, b *browserProgram) {
	s := openBrowserSale(t)
	v := browserAtAForm(t, b, s)
	v.click(`form[action="/drop/order"] button`)
	v.until("the truth", `document.querySelector(".notsent strong").textContent === "Nothing was sent or ordered."`)
	v.says("position", "2")
	if got := v.js("location.href"); got != s.url+"/drop/order" {
		t.Errorf("the page stands at %s", got)
	}
	s.operate(`{"mode":"auto"}`)
	v.sees("Skerry")
	if got := v.js("location.href"); got != s.url+"/drop/item/skerry" {
		t.Errorf("the visitor came back to %s", got)
	}
	if n := s.saw("POST /drop/order"); n != 0 {
		t.Errorf("the form was sent %d times", n)
	}
	// Now it is sent, once.
	v.do(chromedp.Clear("#name"), chromedp.SendKeys("#name", "Elif Kaya"))
	v.click(`form[action="/drop/order"] button`)
	v.sees("It is yours, Elif Kaya.")
	if l := s.shop.Live(); l.Orders != 1 || s.saw("POST /drop/order") != 1 {
		t.Errorf("%d orders of %d forms", l.Orders, s.saw("POST /drop/order"))
	}
}

func browserFormWithoutScript(t *testing.T, b *browserProgram) {
	s := openBrowserSale(t)
	v := browserAtAForm(t, b, s)
	v.withoutScript()
	v.click(`form[action="/drop/order"] button`)
	v.until("the truth", `document.querySelector(".notsent strong") && document.querySelector(".notsent strong").textContent === "Nothing was sent or ordered."`)
	v.says("position", "2")
	s.operate(`{"mode":"auto"}`)
	v.sees("Skerry")
	if got := v.js("location.href"); got != s.url+"/drop/item/skerry" {
		t.Errorf("the visitor came back to %s", got)
	}
	if n := s.saw("POST /drop/order"); n != 0 {
		t.Errorf("the form was sent %d times", n)
	}
}

func browserInAFrame(t *testing.T, b *browserProgram) {
	s := openBrowserSale(t)
	s.line(1)
	paper := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		_, _ = w.Write([]byte(`<!doctype html><link rel="icon" href="data:,"><title>The paper</title>` +
			`<body style="margin:0"><iframe src="` + s.url + `/drop" style="border:0;width:700px;height:600px"></iframe>`))
	}))
	t.Cleanup(paper.Close)
	v := b.visitor(t)
	v.open("http://paper.test:" + paper.URL[strings.LastIndexByte(paper.URL, ':')+1:] + "/")
	frame := v.frame(s.url)
	frame.stands("blocked")
	frame.says("heading", "Your browser blocks cookies")
	frame.says("link", "Open in its own window")
	frame.until("the link in sight", `document.querySelector('[data-sluice="link"]').getBoundingClientRect().height > 0`)
	at := `document.querySelector('[data-sluice="link"]').getBoundingClientRect()`
	x, err := strconv.ParseFloat(frame.js(at+".left"), 64)
	if err != nil {
		t.Fatal(err)
	}
	y, err := strconv.ParseFloat(frame.js(at+".top"), 64)
	if err != nil {
		t.Fatal(err)
	}
	v.do(chromedp.MouseClickXY(x+20, y+20))
	v.until("the whole window", "location.href === "+browserQuote(s.url+"/drop"))
	v.stands("waiting")
	ticket, _ := v.holds(s.url)
	s.operate(`{"mode":"auto"}`)
	v.sees("The drop")
	if pass, _ := v.holds(s.url); pass.ID != ticket.ID {
		t.Errorf("the visitor holds %+v, want the pass of %+v", pass, ticket)
	}
}

// frame is a frame of the tab that shows another site.
func (v *browserTab) frame(url string) *browserTab {
	v.t.Helper()
	deadline := time.NewTimer(20 * time.Second)
	defer deadline.Stop()
	again := time.NewTicker(20 * time.Millisecond)
	defer again.Stop()
	for {
		all, err := chromedp.Targets(v.ctx)
		if err != nil {
			v.t.Fatal(err)
		}
		i := slices.IndexFunc(all, func(i *target.Info) bool { return i.Type == "iframe" && strings.HasPrefix(i.URL, url) })
		if i >= 0 {
			return newBrowserTab(v.t, v.ctx, chromedp.WithTargetID(all[i].TargetID))
		}
		select {
		case <-again.C:
		case <-deadline.C:
			v.t.Fatalf("no frame shows %s", url)
		}
	}
}

func browserLanguages(t *testing.T, b *browserProgram) {
	s := openBrowserSale(t)
	s.line(2)
	for _, c := range []struct{ languages, lang, heading, position, title, ended string }{
		{"en-GB,en;q=0.9,ko;q=0.5", "en", "You’re in line", "Your position", "3 – You’re in line", "You’re not in line"},
		{"ko-KR,ko;q=0.9,en-US;q=0.8", "ko", "순서를 기다리고 있습니다", "나의 대기 순서", "3번째 – 대기 중", "대기 중이 아닙니다"},
		{"fr-FR,fr;q=0.9,ja;q=0.4", "ja", "順番にご案内しています", "お客様の順番", "3番目 – 順番待ち", "順番待ちに登録されていません"},
	} {
		v := b.visitor(t)
		v.speaks(c.languages)
		v.open(s.url + "/drop")
		v.says("position", "3")
		v.says("heading", c.heading)
		v.until("the title", "document.title === "+browserQuote(c.title))
		v.until("the language", "document.documentElement.lang === "+browserQuote(c.lang))
		v.until("the label", `document.querySelector(".position .label").textContent === `+browserQuote(c.position))
		// What the script writes is in the same language.
		s.operate(`{"message":"` + c.lang + `"}`)
		v.says("message", c.lang)
		v.says("heading", c.heading)
		v.js(`fetch("/.sluice/rooms/drop", {method: "DELETE"})`)
		v.stands("ended")
		v.says("heading", c.ended)
		s.awaitCounts(browserCounts{Waiting: 2})
	}
}

func browserOperator(t *testing.T, b *browserProgram) {
	s := openBrowserSale(t)
	s.line(1)
	v := b.visitor(t)
	v.open(s.url + "/drop")
	v.says("position", "2")
	v.says("message", "One lamp each, please.")
	v.js("window.loaded = true")
	s.operate(`{"message":"Back at <b>nine</b>.\nTea is free."}`)
	v.says("message", "Back at <b>nine</b>.\nTea is free.")

	s.operate(`{"mode":"closed"}`)
	v.stands("kept")
	v.says("heading", "The line is on hold")
	late := b.visitor(t)
	late.open(s.url + "/drop")
	late.stands("closed")
	late.says("heading", "The line is closed")
	late.says("message", "Back at <b>nine</b>.\nTea is free.")

	s.operate(`{"mode":"hold","message":null}`)
	v.stands("waiting")
	v.says("position", "2")
	v.says("message", "One lamp each, please.")
	if v.js("window.loaded") != "true" {
		t.Error("the page was loaded anew meanwhile")
	}
	late.offAndOn()
	late.says("position", "3")
	s.operate(`{"mode":"auto"}`)
	v.sees("The drop")
	late.sees("The drop")
}

// offAndOn is a phone that loses its network for a moment.
func (v *browserTab) offAndOn() {
	v.t.Helper()
	for _, offline := range []bool{true, false} {
		if _, err := chromedp.Call(v.ctx, network.OverrideNetworkState, network.OverrideNetworkStateParams{
			Offline: offline, DownloadThroughput: -1, UploadThroughput: -1,
		}); err != nil {
			v.t.Fatal(err)
		}
		v.until("the network's change", "navigator.onLine === "+strconv.FormatBool(!offline))
	}
}

func browserFullLine(t *testing.T, b *browserProgram) {
	s := openBrowserSale(t)
	s.line(2)
	s.operate(`{"max_waiting":2}`)
	v := b.visitor(t)
	v.open(s.url + "/drop")
	v.stands("full")
	v.says("heading", "The line is full")
	s.awaitCounts(browserCounts{Waiting: 2})
	s.operate(`{"max_waiting":null}`)
	v.offAndOn()
	v.says("position", "3")
	began := time.Now()
	s.operate(`{"mode":"auto"}`)
	v.sees("The drop")
	if took := time.Since(began); took > 7*time.Second { // that the page was loaded to join puts nothing off
		t.Errorf("let in after %v", took)
	}
}

func browserGateRestarts(t *testing.T, b *browserProgram) {
	s := openBrowserSale(t)
	s.line(3)
	v := b.visitor(t)
	v.open(s.url + "/drop")
	v.says("position", "4")
	v.js("window.loaded = true")
	ticket, _ := v.holds(s.url)
	s.stop()
	v.until("what to do", browserText("alert")+`.indexOf("No connection at the moment. Your place is kept") === 0`)
	v.says("position", "4")
	s.start()
	v.until("no more trouble", browserText("alert")+` === ""`)
	v.says("live", "You’re connected again.")
	v.says("position", "4")
	if v.js("window.loaded") != "true" {
		t.Error("the page was loaded anew meanwhile")
	}
	s.operate(`{"mode":"auto"}`)
	v.sees("The drop")
	if pass, _ := v.holds(s.url); pass.ID != ticket.ID || pass.Place != ticket.Place {
		t.Errorf("the visitor holds %+v, want the pass of %+v", pass, ticket)
	}
	s.awaitCounts(browserCounts{Active: 4})
}

func browserBackAndForward(t *testing.T, b *browserProgram) {
	s := openBrowserSale(t)
	s.line(1)
	v := b.visitor(t)
	v.open(s.url + "/")
	v.click(`.hero a[href="/drop"]`)
	v.says("position", "2")
	ticket, _ := v.holds(s.url)
	front := "Lamps for the hours after\u00a0sunset"
	v.js("history.back()")
	v.sees(front)
	v.js("history.forward()")
	v.says("position", "2")
	if again, _ := v.holds(s.url); again.ID != ticket.ID || again.Place != ticket.Place {
		t.Errorf("the visitor holds %+v, want %+v", again, ticket)
	}
	s.awaitCounts(browserCounts{Waiting: 2})
	s.operate(`{"mode":"auto"}`)
	v.sees("The drop")
	s.operate(`{"mode":"hold"}`) // who loses their pass now stays outside

	v.click(`a[href="/drop/item/medusa"]`)
	v.sees("Medusa")
	v.js("history.back()")
	v.sees("The drop")
	v.js("history.back()")
	v.sees(front)
	v.js("history.forward()")
	v.sees("The drop")
	v.js("history.forward()")
	v.sees("Medusa")
	v.js("window.old = true, location.reload()")
	v.until("the page anew", "!window.old")
	v.sees("Medusa")
	s.awaitCounts(browserCounts{Active: 2})
}
