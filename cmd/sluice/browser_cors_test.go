package main

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/sluicegate/sluice/gate/token"
)

// fetched is what a script got to know of an answer.
type fetched struct {
	Refused string // by the browser
	Status  int
	State   string
	Token   string
	Retry   string
	Body    string
}

// fetches has a script of the page ask for something.
func (v *browserTab) fetches(url, options string) (f fetched) {
	v.t.Helper()
	v.js(`(function () {
		window.got = "";
		fetch(` + browserQuote(url) + `, ` + options + `).then(async function (r) {
			window.got = JSON.stringify({Status: r.status, State: r.headers.get("Sluice-State") || "", Token: r.headers.get("Sluice-Token") || "",
				Retry: r.headers.get("Retry-After") || "", Body: await r.text()});
		}).catch(function (e) { window.got = JSON.stringify({Refused: e.name}) });
	})()`)
	v.until("an answer of "+url, "window.got")
	if err := json.Unmarshal([]byte(v.js("window.got")), &f); err != nil {
		v.t.Fatal(err)
	}
	return f
}

func browserAllowedOrigin(t *testing.T, b *browserProgram) {
	s := openSecureBrowserSale(t)
	sameSite, crossSite := s.friends[0], s.friends[1]
	api := s.url + "/.sluice/rooms/drop"

	// A page of the same site waits with the cookie that the shop's pages have too.
	v := b.visitor(t)
	v.open(sameSite + "/")
	const cookies = `credentials: "include"`
	if f := v.fetches(api, `{method: "POST", `+cookies+`}`); f.Status != http.StatusOK || f.State != "waiting" || f.Retry == "" || f.Token != "" {
		t.Errorf("who joins from %s gets %+v", sameSite, f)
	}
	ticket, _ := v.holds(s.url)
	if f := v.fetches(s.url+"/drop", `{`+cookies+`}`); f.Status != http.StatusTooManyRequests || f.State != "waiting" || !strings.Contains(f.Body, `"position":1,`) {
		t.Errorf("a fetch of the room from %s gets %+v", sameSite, f)
	}
	order := `{method: "POST", ` + cookies + `, headers: {"Content-Type": "application/json"}, body: "{}"}` // asks for leave first
	if f := v.fetches(s.url+"/drop/nothing", order); f.Status != http.StatusTooManyRequests || !strings.Contains(f.Body, "was not forwarded") {
		t.Errorf("a POST to the room from %s gets %+v", sameSite, f)
	}
	s.awaitCounts(browserCounts{Waiting: 1})

	// A page of another site keeps its token itself, and asks for leave every time.
	w := b.visitor(t)
	w.open(crossSite + "/")
	held := ""
	asks := func(url, method string) fetched {
		t.Helper()
		f := w.fetches(url, `{method: "`+method+`", headers: {"Sluice-Token": "`+held+`"}}`)
		if f.Token != "" {
			held = f.Token
		}
		return f
	}
	if f := asks(api, "POST"); f.State != "waiting" || held == "" {
		t.Errorf("who joins from %s gets %+v", crossSite, f)
	}
	s.awaitCounts(browserCounts{Waiting: 2})

	s.operate(`{"mode":"auto"}`)
	for state := ""; state != "admitted"; {
		state = v.fetches(api, `{`+cookies+`}`).State
	}
	if pass, _ := v.holds(s.url); pass.Kind != token.Pass || pass.ID != ticket.ID {
		t.Errorf("the visitor from %s holds %+v, want the pass of %+v", sameSite, pass, ticket)
	}
	if f := v.fetches(s.url+"/drop", `{`+cookies+`}`); f.Status != http.StatusOK || !strings.Contains(f.Body, "The drop") {
		t.Errorf("with a pass a fetch from %s gets %+v", sameSite, f)
	}
	if f := v.fetches(s.url+"/drop/nothing", order); f.Status != http.StatusNotFound && f.Status != http.StatusMethodNotAllowed {
		t.Errorf("with a pass a POST from %s gets %+v, want the shop's own answer", sameSite, f)
	}
	for state := ""; state != "admitted"; {
		state = asks(api, "GET").State
	}
	if f := asks(s.url+"/drop", "GET"); f.Status != http.StatusOK || !strings.Contains(f.Body, "The drop") {
		t.Errorf("with a pass a fetch from %s gets %+v", crossSite, f)
	}
	if f := asks(api, "DELETE"); f.Status != http.StatusNoContent {
		t.Errorf("leaving from %s gets %+v", crossSite, f)
	}

	// Let in on the spot: the token comes with the shop's own answer.
	held = ""
	for held == "" { // until there is credit
		if f := asks(s.url+"/drop", "GET"); f.Status == http.StatusOK && f.Token == "" {
			t.Fatalf("let in on the spot the script is not shown its pass: %+v", f)
		}
	}
	if f := w.fetches(s.url+"/drop", `{method: "GET"}`); f.Token != "" || f.Status == http.StatusOK && f.State != "" {
		t.Errorf("without its token a script of %s gets %+v", crossSite, f)
	}
}

func browserForeignOrigin(t *testing.T, b *browserProgram) {
	s := openSecureBrowserSale(t)
	foreign := strings.Replace(s.bank, "bank.", "evil.", 1)
	api := s.url + "/.sluice/rooms/drop"
	v := b.visitor(t)
	v.open(s.url + "/drop")
	v.says("position", "1")
	ticket, _ := v.holds(s.url)

	evil := v.another()
	evil.open(foreign + "/")
	for _, url := range []string{api, s.url + "/drop", s.url + "/drop/order"} {
		for _, options := range []string{
			`{credentials: "include"}`, `{}`, `{method: "DELETE", credentials: "include"}`, `{headers: {"Sluice-Token": ""}}`,
			`{method: "POST", credentials: "include", headers: {"Content-Type": "application/json"}, body: "{}"}`,
			`{method: "PUT"}`,
		} {
			if f := evil.fetches(url, options); f.Refused != "TypeError" {
				t.Errorf("a script of %s that asks for %s with %s gets %+v", foreign, url, options, f)
			}
		}
	}
	if f := evil.fetches(api, `{mode: "no-cors", credentials: "include"}`); f.Status != 0 || f.Body != "" || f.State != "" {
		t.Errorf("a script of %s sees %+v of an answer that it may not see", foreign, f)
	}
	if still, _ := v.holds(s.url); still != ticket {
		t.Errorf("the visitor holds %+v, want %+v", still, ticket)
	}
	s.awaitCounts(browserCounts{Waiting: 1})
	if n := len(s.requests()); n > 0 {
		t.Errorf("the shop was asked %v", s.requests())
	}
}
