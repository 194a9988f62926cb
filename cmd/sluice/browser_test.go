package main

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/chromedp"

	"github.com/sluicegate/sluice/gate/token"
	"github.com/sluicegate/sluice/queue/queuetest/proc"
)

// TestInABrowser lets people with a real browser visit the demonstration's shop
// through a real gate.
func TestInABrowser(t *testing.T) {
	t.Parallel()
	b := startBrowser(t)
	for _, c := range []struct {
		name string
		test func(*testing.T, *browserProgram)
	}{
		{"a visitor waits, moves up, is let in without touching anything, and orders", browserWaitsAndOrders},
		{"a visitor by https waits, moves up, is let in and orders, with Secure cookies", browserByTLS},
		{"a visitor without JavaScript waits, moves up, is let in and orders", browserWithoutScript},
		{"a visitor with two tabs has one place and one slot", browserTwoTabs},
		{"a visitor who looks at something else is let in meanwhile", browserHiddenTab},
		{"a visitor who comes back from the bank by a form of the bank's site is still in", browserPaysAtTheBank},
		{"a visitor whose session ended while they filled a form in is told the truth", browserFormWhileWaiting},
		{"a visitor without JavaScript whose form was not sent goes on by a GET", browserFormWithoutScript},
		{"a visitor in a frame that gets no cookies is told so and finds a way out", browserInAFrame},
		{"a visitor reads the page in their own language", browserLanguages},
		{"a visitor sees what the operator says and does", browserOperator},
		{"a visitor finds the line full, and joins it when there is room", browserFullLine},
		{"a visitor keeps their place when the gate is restarted", browserGateRestarts},
		{"a visitor goes back and forward", browserBackAndForward},
		{"a page of another origin that is named uses the room, with cookies and without", browserAllowedOrigin},
		{"a page of an origin that is not named learns nothing and takes nothing away", browserForeignOrigin},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel() // they wait most of the time
			c.test(t, b)
		})
	}
}

// browserProgram is one browser, which every visitor starts afresh: nothing of one
// is seen by another.
type browserProgram struct{ ctx context.Context }

func startBrowser(t *testing.T) *browserProgram {
	t.Helper()
	if testing.Short() {
		t.Skip("not tested with -short: what visitors see in chromium")
	}
	options := []chromedp.ExecAllocatorOption{
		chromedp.ExecPath(proc.Need(t, "chromium", "chromium-browser")),
		chromedp.Headless, chromedp.NoSandbox, chromedp.NoFirstRun, chromedp.DisableGPU, chromedp.IgnoreCertErrors,
		chromedp.Flag("host-resolver-rules", "MAP * 127.0.0.1"), // every site is on this machine
		chromedp.Flag("no-proxy-server", true),
		// What browsers do to tabs after five minutes in the background, at once.
		chromedp.Flag("enable-features", "IntensiveWakeUpThrottling:grace_period_seconds/1"),
	}
	for _, f := range []string{
		"disable-quic", "disable-background-networking", "disable-component-update", "disable-sync", "disable-extensions",
		"disable-default-apps", "disable-dev-shm-usage", "disable-prompt-on-repost", "metrics-recording-only",
	} {
		options = append(options, chromedp.Flag(f, true))
	}
	alloc, stop := chromedp.NewExecAllocator(context.Background(), options...)
	t.Cleanup(stop)
	ctx, stop := chromedp.NewContext(alloc)
	t.Cleanup(stop)
	if err := chromedp.Do(ctx); err != nil {
		t.Fatalf("chromium does not start: %v", err)
	}
	return &browserProgram{ctx}
}

// browserPatience is how long a test waits for anything to happen.
const browserPatience = 30 * time.Second

// browserTab is what a visitor looks at.
type browserTab struct {
	t   *testing.T
	ctx context.Context
}

// visitor is somebody new with one tab.
func (b *browserProgram) visitor(t *testing.T) *browserTab {
	t.Helper()
	return newBrowserTab(t, b.ctx, chromedp.WithNewBrowserContext())
}

// another is a tab more of the same visitor, in a window of its own.
func (v *browserTab) another() *browserTab {
	v.t.Helper()
	return newBrowserTab(v.t, v.ctx)
}

// onTop is a tab more of the same visitor, in front of the one they had.
func (v *browserTab) onTop() *browserTab {
	v.t.Helper()
	return newBrowserTab(v.t, v.ctx, chromedp.WithNewWindow(false))
}

func newBrowserTab(t *testing.T, parent context.Context, options ...chromedp.ContextOption) *browserTab {
	t.Helper()
	ctx, stop := chromedp.NewContext(parent, options...)
	t.Cleanup(stop)
	v := &browserTab{t, ctx}
	v.do()
	return v
}

func (v *browserTab) do(steps ...chromedp.Action[chromedp.Void]) {
	v.t.Helper()
	if err := chromedp.Do(v.ctx); err != nil { // what opens a tab for good must not be under a deadline
		v.t.Fatal(err)
	}
	ctx, stop := context.WithTimeout(v.ctx, browserPatience)
	defer stop()
	if err := chromedp.Do(ctx, steps...); err != nil {
		v.t.Fatalf("%v\n%s", err, v.sight())
	}
}

func (v *browserTab) open(url string) {
	v.t.Helper()
	v.do(chromedp.Navigate(url))
}

// click presses what a selector names, as soon as it can be seen.
func (v *browserTab) click(selector string) {
	v.t.Helper()
	v.do(chromedp.Click(selector, chromedp.NodeVisible))
}

// js is the value of an expression in the tab.
func (v *browserTab) js(expression string) string {
	v.t.Helper()
	ctx, stop := context.WithTimeout(v.ctx, browserPatience)
	defer stop()
	s, err := chromedp.Run(ctx, chromedp.Evaluate[string]("String("+expression+")"))
	if err != nil {
		v.t.Fatalf("%s: %v", expression, err)
	}
	return s
}

// until waits for a condition over whatever pages come by. It asks from outside:
// the timers of a page that nobody looks at stand nearly still.
func (v *browserTab) until(what, condition string) {
	v.t.Helper()
	ctx, stop := context.WithTimeout(v.ctx, browserPatience)
	defer stop()
	again := time.NewTicker(20 * time.Millisecond)
	defer again.Stop()
	for {
		// An error is a page that was left while we looked at it.
		if ok, err := chromedp.Run(ctx, chromedp.Evaluate[bool]("!!("+condition+")")); err == nil && ok {
			return
		}
		select {
		case <-again.C:
		case <-ctx.Done():
			v.t.Fatalf("never came: %s\n%s", what, v.sight())
		}
	}
}

// sight is what the visitor has before them, for when something went wrong.
func (v *browserTab) sight() string {
	ctx, stop := context.WithTimeout(v.ctx, 5*time.Second)
	defer stop()
	text, err := chromedp.Run(ctx, chromedp.Evaluate[string](
		`location.href + "\n" + document.documentElement.outerHTML.replace(/<(style|script|svg)[^]*?<\/\1>/g, "")`))
	if err != nil {
		return err.Error()
	}
	return text
}

// says waits for a text of the waiting page, by its name there.
func (v *browserTab) says(name, text string) {
	v.t.Helper()
	v.until(name+": "+text, browserText(name)+" === "+browserQuote(text))
}

// stands waits for the waiting page to be at one of its moments.
func (v *browserTab) stands(moment string) {
	v.t.Helper()
	v.until("the page at the moment "+moment, `document.documentElement.dataset.moment === "`+moment+`"`)
}

// sees waits for a heading of the shop.
func (v *browserTab) sees(heading string) {
	v.t.Helper()
	v.until("the heading "+heading, `!document.documentElement.dataset.moment && document.querySelector("h1") && document.querySelector("h1").textContent === `+browserQuote(heading))
}

// notes writes down every position that the page shows from now on, over reloads.
func (v *browserTab) notes() {
	v.t.Helper()
	v.js(`(function () {
		var at = document.querySelector('[data-sluice="position"]');
		function note() { sessionStorage.setItem("positions", (sessionStorage.getItem("positions") || "") + at.textContent + " ") }
		note();
		new MutationObserver(note).observe(at, {childList: true, characterData: true, subtree: true});
	})()`)
}

func (v *browserTab) noted() []string {
	v.t.Helper()
	return strings.Fields(v.js(`sessionStorage.getItem("positions") || ""`))
}

func (v *browserTab) withoutScript() {
	v.t.Helper()
	if _, err := chromedp.Call(v.ctx, emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: true}); err != nil {
		v.t.Fatal(err)
	}
}

func (v *browserTab) speaks(languages string) {
	v.t.Helper()
	headers := network.Headers{"Accept-Language": languages}
	if _, err := chromedp.Call(v.ctx, network.SetExtraHTTPHeaders, network.SetExtraHTTPHeadersParams{Headers: headers}); err != nil {
		v.t.Fatal(err)
	}
}

// holds returns the token that the visitor's browser keeps for a site, and its cookie.
func (v *browserTab) holds(url string) (token.Token, *network.Cookie) {
	v.t.Helper()
	all, err := chromedp.Call(v.ctx, network.GetCookies, network.GetCookiesParams{URLs: []string{url}})
	if err != nil {
		v.t.Fatal(err)
	}
	ring, err := token.NewRing([]string{browserSecret})
	if err != nil {
		v.t.Fatal(err)
	}
	var t token.Token
	for _, c := range all.Cookies {
		if c.Name == "sluice-drop" && ring.Verify([]byte(c.Value), &t) {
			return t, c
		}
	}
	v.t.Fatalf("the visitor holds no token but %v", all.Cookies)
	return t, nil
}

func browserText(name string) string {
	return `document.querySelector('[data-sluice="` + name + `"]').textContent`
}

func browserQuote(text string) string {
	b, err := json.Marshal(text)
	if err != nil {
		panic(fmt.Sprintf("BUG: %v", err))
	}
	return string(b)
}
