package main

import "testing"

// TestABrowserStreams has a page use all that pages use: a redirect that sets a cookie,
// uploads, a download, events and a WebSocket.
func TestABrowserStreams(t *testing.T) {
	t.Parallel()
	b := startBrowser(t)
	g := openStreamsGate(t, openStreamsShop(t).url, "")
	v := b.visitor(t)
	v.open(g.visitors + "/drop/hop")
	v.until("the page behind the redirect, with its cookie", `document.querySelector("h1")?.textContent === "basket basket=7"`)
	for _, c := range []struct{ what, script, want string }{
		{"an upload", `fetch("/drop/upload", {method: "PUT", body: new Blob([new Uint8Array(5000000)])}).then(r => r.text())`, "5000000 <nil> "},
		{"a form with a file", `(() => { const f = new FormData(); f.set("f", new Blob(["x".repeat(1000000)]), "f"); ` +
			`return fetch("/drop/upload", {method: "POST", body: f}).then(r => r.text()).then(s => String(parseInt(s) > 1000000)) })()`, "true"},
		{"a download", `fetch("/drop/download?size=5000000").then(r => r.arrayBuffer()).then(b => String(b.byteLength))`, "5000000"},
		{"an upload that the shop refuses", `fetch("/drop/refused", {method: "POST", body: new Blob([new Uint8Array(5000000)])}).then(r => String(r.status))`, "413"},
		{"an upload of somebody who waits", `fetch("/held/upload", {method: "POST", body: new Blob([new Uint8Array(5000000)])}).then(r => String(r.status))`, "429"},
		{"events", `new Promise(done => { const e = new EventSource("/drop/events?every=50ms"); let got = ""; ` +
			`e.onmessage = m => { got += m.data; if (got === "0123") { e.close(); done(got) } } })`, "0123"},
		{"a WebSocket", `new Promise(done => { const s = new WebSocket("ws://" + location.host + "/drop/ws"); const long = "long".repeat(100000); ` +
			`s.onopen = () => s.send(long); s.onmessage = m => { s.close(1000); s.onclose = e => done(String(m.data === long) + e.code) } })`, "true1000"},
	} {
		v.js(`(window.answer = "", ` + c.script + `.then(a => window.answer = a, e => window.answer = "error " + e), 1)`)
		v.until(c.what, `window.answer !== ""`)
		if got := v.js("window.answer"); got != c.want {
			t.Errorf("%s: got %q, want %q", c.what, got, c.want)
		}
	}
}
