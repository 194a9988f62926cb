package report

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"

	"github.com/sluicegate/sluice/loadtest/metric"
	"github.com/sluicegate/sluice/queue/queuetest/proc"
)

// astray finds what a reader would not see whole: a page that is wider than the
// window, letters outside of their picture or over each other, and letters of charts
// that are too small.
const astray = `(() => {
	const bad = [];
	const wide = document.documentElement.scrollWidth;
	if (wide > innerWidth) bad.push("the page is " + wide + " wide");
	for (const svg of document.querySelectorAll("svg.plot")) {
		const box = svg.getBoundingClientRect();
		if (!box.width) continue;
		let letters = [];
		for (const text of svg.querySelectorAll("text")) {
			const b = text.getBoundingClientRect();
			if (!text.textContent) continue;
			if (b.left < box.left - 1 || b.right > box.right + 1 || b.top < box.top - 1 || b.bottom > box.bottom + 1) bad.push(text.textContent + " is cut off");
			for (const [t, o] of letters) if (b.left < o.right && o.left < b.right && b.top < o.bottom && o.top < b.bottom) bad.push(text.textContent + " is over " + t);
			letters.push([text.textContent, b]);
		}
		const size = parseFloat(getComputedStyle(svg.querySelector("text")).fontSize) * box.width / svg.viewBox.baseVal.width;
		if (size < 10) bad.push("letters of " + size + " pixels");
	}
	return JSON.stringify({bad, shown: [...document.querySelectorAll("svg.plot")].filter(s => s.getBoundingClientRect().width > 0).length, asked: performance.getEntriesByType("resource").map(e => e.name)});
})()`

func TestAPhoneAndADesktopShowAllOfIt(t *testing.T) {
	if testing.Short() {
		t.Skip("not tested with -short: how the report looks in chromium")
	}
	program := proc.Need(t, "chromium", "chromium-browser")
	alloc, stop := chromedp.NewExecAllocator(t.Context(), chromedp.Headless, chromedp.ExecPath(program), chromedp.NoSandbox,
		chromedp.NoFirstRun, chromedp.DisableGPU, chromedp.Flag("disable-background-networking", true),
		chromedp.Flag("disable-component-update", true), chromedp.Flag("disable-sync", true))
	defer stop()
	browser, stop := chromedp.NewContext(alloc)
	defer stop()
	if err := chromedp.Do(browser); err != nil {
		t.Fatalf("chromium does not start: %v", err)
	}
	long := quiet(2*time.Hour - time.Second) // the longest names of times
	long.Name = "a-name-without-any-space-that-is-much-longer-than-a-phone-is-wide.yaml"
	long.Command = "sluice loadtest run --seed 18446744073709551615 --out json=/somewhere/quite/deep/in/a/tree/of/folders/points.json " + long.Name
	long.add("sluice_joined", 10, 12_345_678)
	long.request(10, "join", "waiting", false, 3_599_000)
	long.request(11, "poll", "waiting", true, 123)
	long.Results = []metric.Result{result("http_req_duration{scenario:a-scenario-with-a-long-name,step:join}", "p(99.99)<1000", 3_599_000, false)}
	for name, d := range map[string]Data{"sale": sale(), "nothing": quiet(2 * time.Second), "long": long, "day": quiet(24 * time.Hour)} {
		page, err := HTML(d)
		if err != nil {
			t.Fatal(err)
		}
		file := filepath.Join(t.TempDir(), name+".html")
		if err := os.WriteFile(file, page, 0o600); err != nil {
			t.Fatal(err)
		}
		for _, width := range []int64{320, 360, 704, 705, 1280} {
			ctx, cancel := chromedp.NewContext(browser)
			look := func(script string) (seen struct {
				Bad, Asked []string
				Shown      int
			}) {
				t.Helper()
				answer, err := chromedp.Run(ctx, chromedp.Evaluate[string](script))
				if err != nil {
					t.Fatal(err)
				}
				if err := json.Unmarshal([]byte(answer), &seen); err != nil {
					t.Fatal(err)
				}
				return seen
			}
			if err := chromedp.Do(ctx, chromedp.EmulateViewport(width, 700, func(p1 *emulation.SetDeviceMetricsOverrideParams, _ *emulation.SetTouchEmulationEnabledParams) {
				p1.Mobile = width < 705
			}), chromedp.Navigate("file://"+file)); err != nil {
				t.Fatal(err)
			}
			seen := look(astray)
			if len(seen.Bad) > 0 || seen.Shown != 6 || len(seen.Asked) > 0 {
				t.Errorf("%s, %d pixels wide: %d charts, asked for %q: %q", name, width, seen.Shown, seen.Asked, seen.Bad)
			}
			if seen := look(`for (const t of document.querySelectorAll("svg.plot text")) t.style.fontSize = "40px"; ` + astray); len(seen.Bad) == 0 {
				t.Errorf("%s: letters that do not fit are not noticed", name)
			}
			cancel()
		}
	}
}
