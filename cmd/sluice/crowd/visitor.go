package crowd

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// visitor is one simulated person with one browser. One goroutine owns it.
type visitor struct {
	crowd *Crowd
	http  http.Client
	rand  *rand.Rand
	seen  map[string]bool // pictures and styles that the browser has kept
	fails int             // in a row

	// Character.
	patience  time.Duration // walks away after so long in line; 0 means never
	impatient bool          // reloads now and then instead of waiting for the script
	pages     int           // wants to see so many
	orders    bool          // wants to order
	leaves    bool          // tells the gate when done
}

func newVisitor(c *Crowd, r *rand.Rand) *visitor {
	jar, err := cookiejar.New(nil)
	if err != nil {
		panic(fmt.Sprintf("BUG: cookie jar: %v", err))
	}
	v := &visitor{
		crowd: c,
		http:  http.Client{Transport: c.transport, Jar: jar, Timeout: time.Minute},
		rand:  r,
		seen:  make(map[string]bool),
		pages: 2 + r.IntN(3),
	}
	if r.Float64() < .05 {
		v.patience = between(r, 5*time.Second, 40*time.Second)
	}
	v.impatient = r.Float64() < .08
	v.orders = r.Float64() < .6
	v.leaves = r.Float64() < .7
	return v
}

// live is a visit from the first click to the end.
func (v *visitor) live(ctx context.Context) {
	page := v.enter(ctx)
	if page == nil {
		return
	}
	v.crowd.admitted.Add(1)
	v.crowd.inside.Add(1)
	defer v.crowd.inside.Add(-1)
	v.shop(ctx, page)
	if v.leaves {
		v.leave(ctx)
	}
}

// enter opens the gated page, waits as long as it takes, and returns the page; nil
// when the visitor walked away or ctx ended.
func (v *visitor) enter(ctx context.Context) *answer {
	var inLine bool
	stand := func(in bool) {
		if in != inLine {
			inLine = in
			v.crowd.waiting.Add(map[bool]int64{true: 1, false: -1}[in])
		}
	}
	defer stand(false)

	began := time.Now()
	open := true // load the page, rather than ask for the place
	for {
		var wait time.Duration
		if open {
			a, err := v.open(ctx, http.MethodGet, v.crowd.conf.Path, nil)
			switch {
			case err != nil:
				wait = v.complain(ctx, err)
			case a.waiting():
				v.fails = 0
				stand(a.state != "full")
				wait = a.retryAfter()
				open = a.state == "full" || a.state == "none" // no place yet: there is nothing to ask for
			case a.status == http.StatusOK:
				v.fails = 0
				return a
			default:
				wait = v.complain(ctx, fmt.Errorf("GET %s: status %d", v.crowd.conf.Path, a.status))
			}
		} else {
			p, err := v.poll(ctx)
			switch {
			case err != nil:
				wait = v.complain(ctx, err) // the place is kept: ask again
			default:
				v.fails = 0
				wait = p.wait()
				switch p.State {
				case "admitted":
					open, wait = true, 0
				case "none":
					open = true // the ticket is gone: only a reload helps
				case "full":
					stand(false)
					open = true
				default: // waiting, closed, and whatever a later gate says
					stand(true)
				}
			}
		}
		if v.patience > 0 && time.Since(began)+wait > v.patience {
			if sleep(ctx, v.patience-time.Since(began)) {
				v.crowd.abandoned.Add(1) // closes the tab: the gate is not told
			}
			return nil
		}
		if v.impatient && !open && wait > time.Second && v.rand.Float64() < .25 {
			wait = between(v.rand, wait/4, wait)
			open = true
		}
		if !sleep(ctx, wait) {
			return nil
		}
	}
}

// shop looks at pages from the one that the visitor got in by, and may order.
func (v *visitor) shop(ctx context.Context, page *answer) {
	for n := 1; ; n++ {
		v.pictures(ctx, page)
		if !sleep(ctx, v.think()) {
			return
		}
		if f, ok := page.form(); ok && v.orders {
			v.order(ctx, f)
			return
		}
		// Who wants to order looks on until there is a form, but not for ever.
		if n >= v.pages && (!v.orders || n >= v.pages+3) {
			return
		}
		links := page.links(v.crowd.conf.Path)
		to := v.crowd.conf.Path
		if len(links) > 0 {
			to = links[v.rand.IntN(len(links))]
		}
		next := v.load(ctx, http.MethodGet, to, nil)
		if next == nil {
			return
		}
		page = next
	}
}

// order sends the form. A visitor who is told that something is wrong gives up.
func (v *visitor) order(ctx context.Context, f form) {
	page := v.load(ctx, http.MethodPost, f.action, f.fill(v.rand))
	if page == nil || page.status != http.StatusOK {
		return
	}
	v.crowd.ordered.Add(1)
	v.pictures(ctx, page)
	sleep(ctx, v.think())
}

// load is open for somebody inside, who tries a page again a few times and a
// form never, and gives up when asked to wait once more.
func (v *visitor) load(ctx context.Context, method, path string, form url.Values) *answer {
	for range 4 {
		a, err := v.open(ctx, method, path, form)
		if err == nil && a.status >= 500 {
			err = fmt.Errorf("%s %s: status %d", method, path, a.status)
		}
		if err == nil {
			v.fails = 0
			if a.waiting() {
				return nil
			}
			return a
		}
		wait := v.complain(ctx, err)
		if method != http.MethodGet || !sleep(ctx, wait) {
			return nil
		}
	}
	return nil
}

// pictures loads what a page shows and the browser has not kept. Nobody minds
// one that is missing.
func (v *visitor) pictures(ctx context.Context, page *answer) {
	for _, src := range page.pictures() {
		if v.seen[src] {
			continue
		}
		v.seen[src] = true
		a, err := v.do(ctx, http.MethodGet, src, nil, http.Header{
			"Accept":         {"image/avif,image/webp,image/svg+xml,image/*,*/*;q=0.8"},
			"Sec-Fetch-Mode": {"no-cors"}, "Sec-Fetch-Dest": {"image"}, "Sec-Fetch-Site": {"same-origin"},
		})
		if err == nil && a.status >= 500 {
			err = fmt.Errorf("GET %s: status %d", src, a.status)
		}
		if err != nil {
			v.complain(ctx, err)
			return
		}
	}
}

// leave gives the slot back.
func (v *visitor) leave(ctx context.Context) {
	a, err := v.do(ctx, http.MethodDelete, v.room(), nil, script)
	if err == nil && a.status != http.StatusNoContent {
		err = fmt.Errorf("DELETE %s: status %d", v.room(), a.status)
	}
	if err != nil {
		v.complain(ctx, err)
	}
}

// think is how long somebody looks at a page.
func (v *visitor) think() time.Duration {
	return between(v.rand, 1500*time.Millisecond, 6*time.Second)
}

// complain counts an error and says how long to wait before trying again: twice
// as long each time, up to half a minute, and never two visitors alike. What the end of
// ctx broke off is no error.
func (v *visitor) complain(ctx context.Context, err error) time.Duration {
	if ctx.Err() != nil {
		return 0
	}
	v.crowd.errors.Add(1)
	v.crowd.grumble.log(v.crowd.conf.Log, err)
	most := min(500*time.Millisecond<<min(v.fails, 6), 30*time.Second)
	v.fails++
	return between(v.rand, most/2, most)
}

func (v *visitor) room() string { return "/.sluice/rooms/" + v.crowd.conf.Room }

// script are the headers of a request that a page's script makes.
var script = http.Header{
	"Accept":         {"application/json"},
	"Sec-Fetch-Mode": {"cors"}, "Sec-Fetch-Dest": {"empty"}, "Sec-Fetch-Site": {"same-origin"},
}

// status is the visitor API's answer, as far as the crowd cares.
type status struct {
	State     string  `json:"state"`
	PollAfter float64 `json:"poll_after_seconds"`
}

// wait is how long the gate asks to wait; two seconds when it does not say.
func (s status) wait() time.Duration {
	if !(s.PollAfter > 0) || math.IsInf(s.PollAfter, 0) {
		return 2 * time.Second
	}
	return time.Duration(min(s.PollAfter, 3600) * float64(time.Second))
}

func (v *visitor) poll(ctx context.Context) (status, error) {
	var s status
	a, err := v.do(ctx, http.MethodGet, v.room(), nil, script)
	if err != nil {
		return s, err
	}
	if a.status != http.StatusOK {
		return s, fmt.Errorf("GET %s: status %d", v.room(), a.status)
	}
	if err := json.Unmarshal(a.body, &s); err != nil {
		return s, fmt.Errorf("GET %s: %w", v.room(), err)
	}
	if s.State == "" {
		return s, fmt.Errorf("GET %s: answer without a state", v.room())
	}
	return s, nil
}

// open is a navigation.
func (v *visitor) open(ctx context.Context, method, path string, form url.Values) (*answer, error) {
	return v.do(ctx, method, path, form, http.Header{
		"Accept":         {"text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"},
		"Sec-Fetch-Mode": {"navigate"}, "Sec-Fetch-Dest": {"document"}, "Sec-Fetch-Site": {"same-origin"},
		"Sec-Fetch-User": {"?1"}, "Upgrade-Insecure-Requests": {"1"},
	})
}

// maxBody is the most of an answer that is read. Pages of the demo are far smaller.
const maxBody = 4 << 20

func (v *visitor) do(ctx context.Context, method, path string, form url.Values, h http.Header) (*answer, error) {
	var body io.Reader
	if form != nil {
		body = strings.NewReader(form.Encode())
	}
	req, err := http.NewRequestWithContext(ctx, method, strings.TrimSuffix(v.crowd.conf.Gate, "/")+path, body)
	if err != nil {
		return nil, err
	}
	req.Header = h.Clone()
	req.Header.Set("User-Agent", "Mozilla/5.0 (compatible; sluice-demo)")
	req.Header.Set("Accept-Language", "en")
	if form != nil {
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	resp, err := v.http.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	var buf bytes.Buffer
	if _, err := buf.ReadFrom(io.LimitReader(resp.Body, maxBody)); err != nil {
		return nil, fmt.Errorf("%s %s: %w", method, path, err)
	}
	a := &answer{status: resp.StatusCode, state: resp.Header.Get("Sluice-State"), body: buf.Bytes()}
	a.retry, _ = strconv.Atoi(resp.Header.Get("Retry-After")) // 0 when it does not say
	return a, nil
}
