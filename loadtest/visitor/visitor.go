package visitor

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"strconv"
	"sync"
	"time"

	"github.com/sluicegate/sluice/loadtest/judge"
)

// visitor is one person with one browser. What is in jar may be used by their tabs
// at once; the rest belongs to one goroutine. It is kept small: tens of thousands
// of them wait.
type visitor struct {
	crowd  *Crowd
	rand   *rand.Rand
	id     uint64
	client client
	jar    *jar
	due    time.Time
	ticket tokenOf // the first that they were given
	paper  string  // the same, as it is sent
	tab    bool    // the second tab of somebody

	joined, inside bool
	used           bool      // the shop answered to the pass
	last           time.Time // answer of the last request
	freed          bool      // left, vanished or put out: written down
	unsure         bool      // may have left: no answer came that tells
	fails          int       // polls without an answer, in a row
	refusals       int       // polls refused by something in between, in a row
}

// jar is a browser's cookies.
type jar struct {
	mu    sync.Mutex
	ours  string // value of the room's cookie; "": none
	other []cookie
}

const maxCookies = 20

func (j *jar) token() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.ours
}

// append adds the Cookie header.
func (j *jar) append(b []byte, name string) []byte {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.ours == "" && len(j.other) == 0 {
		return b
	}
	b = append(b, "Cookie: "...)
	if j.ours != "" {
		b = append(b, name...)
		b = append(b, '=')
		b = append(b, j.ours...)
	}
	for i, c := range j.other {
		if i > 0 || j.ours != "" {
			b = append(b, "; "...)
		}
		b = append(b, c.name...)
		b = append(b, '=')
		b = append(b, c.value...)
	}
	return append(b, "\r\n"...)
}

// take keeps what an answer sets, and tells whether it took our cookie back.
func (j *jar) take(headers [][]byte, name string) (back bool) {
	if len(headers) == 0 {
		return false
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	for _, h := range headers {
		c, ok := readCookie(h)
		if !ok {
			continue
		}
		if c.name == name {
			j.ours = c.value
			if c.gone {
				j.ours, back = "", true
			}
			continue
		}
		kept := j.other[:0]
		for _, o := range j.other {
			if o.name != c.name {
				kept = append(kept, o)
			}
		}
		j.other = kept
		if !c.gone && len(j.other) < maxCookies {
			j.other = append(j.other, c)
		}
	}
	return back
}

func (c *Crowd) newVisitor(r *rand.Rand) *visitor {
	v := &visitor{crowd: c, rand: r, jar: &jar{}}
	v.client = client{crowd: c, source: c.newSource(r)}
	if len(c.targets) > 1 {
		v.client.target = r.IntN(len(c.targets))
	}
	if c.log != nil {
		v.id = c.log.Visitor()
	}
	return v
}

// write notes an event.
func (v *visitor) write(e judge.Event) {
	if v.crowd.log == nil {
		return
	}
	if e.Visitor == 0 {
		e.Visitor = v.id
	}
	v.crowd.log.Add(&e)
}

// reply is what of an answer outlives its exchange.
type reply struct {
	status   int
	state    string // what the gate said; fromShop when it let the request through
	after    time.Duration
	stand    stand
	position int64 // of a page
	age      time.Duration
	session  uint64
	token    tokenOf // of the cookie that came with it; zero: none, or it cannot be read
	back     bool    // our cookie was taken back
	gate     uint8   // as events tell it
	sent     time.Time
	done     time.Time
}

func (r *reply) times(e judge.Event) judge.Event {
	e.Sent, e.Answered, e.Gate = r.sent.UnixNano(), r.done.UnixNano(), r.gate
	return e
}

// waits tells whether the gate answered instead of the shop.
func (r *reply) waits() bool { return r.state != fromShop && r.state != admitted }

const (
	navigation = "Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8\r\n" +
		"Sec-Fetch-Mode: navigate\r\nSec-Fetch-Dest: document\r\nSec-Fetch-Site: same-origin\r\n" +
		"Upgrade-Insecure-Requests: 1\r\n"
	byScript = "Accept: application/json\r\nSec-Fetch-Mode: cors\r\nSec-Fetch-Dest: empty\r\nSec-Fetch-Site: same-origin\r\n"
	picture  = "Accept: image/avif,image/webp,*/*;q=0.8\r\nSec-Fetch-Mode: no-cors\r\nSec-Fetch-Dest: image\r\nSec-Fetch-Site: same-origin\r\n"
	common   = "Accept-Encoding: gzip, deflate\r\nAccept-Language: en\r\n"
)

// sessionOf hashes names that the shop knows visitors by, alike in every process.
func sessionOf(name []byte) uint64 {
	if len(name) == 0 {
		return 0
	}
	h := uint64(14695981039346656037) // FNV-1a
	for _, c := range name {
		h = (h ^ uint64(c)) * 1099511628211
	}
	return max(h, 1)
}

// ask sends a request and reads, measures and understands the answer. An error is
// one of the network or of what came back; it was counted.
func (v *visitor) ask(ctx context.Context, s step, method, path, headers, body, kind string) (reply, error) {
	c := v.crowd
	x := takeExchange()
	defer x.release()
	to := v.client.target
	if c.journey.Spread && len(c.targets) > 1 {
		to = v.rand.IntN(len(c.targets))
	}
	b := append(x.out[:0], method...)
	b = append(b, ' ')
	b = append(b, path...)
	b = append(b, " HTTP/1.1\r\nHost: "...)
	b = append(b, c.targets[to].host...)
	b = append(b, "\r\n"...)
	b = append(b, headers...)
	b = append(b, common...)
	b = append(b, c.extra...)
	b = v.jar.append(b, c.cookie)
	if method == "POST" {
		b = append(b, "Content-Type: "...)
		b = append(b, kind...)
		b = append(b, "\r\nContent-Length: "...)
		b = strconv.AppendInt(b, int64(len(body)), 10)
		b = append(b, "\r\n"...)
	}
	b = append(b, "\r\n"...)
	b = append(b, body...)
	x.out = b
	timeout := c.journey.Timeouts.Page
	if s == stepPoll || s == stepLeave {
		timeout = c.journey.Timeouts.Poll
	}
	x.once, x.api = method == "POST", s == stepPoll
	err := v.client.do(ctx, to, timeout, x)
	a := &x.ans
	if err != nil {
		if ctx.Err() == nil { // what the end of time broke off is nobody's failure
			a.status = 0
			c.gauges.request(s, a, "", c.complain(s, err))
		}
		return reply{sent: a.sent, done: a.done}, err
	}
	r, err := v.understand(s, a)
	if to < math.MaxUint8 {
		r.gate = uint8(to + 1)
	}
	why := ""
	if err != nil {
		why = c.complain(s, err)
	}
	c.gauges.request(s, a, r.state, why)
	v.last = r.done
	return r, err
}

// understand takes out of an answer what visitors care for. An answer that nobody
// should get is an error.
func (v *visitor) understand(s step, a *answer) (r reply, err error) {
	r = reply{status: a.status, state: a.state, sent: a.sent, done: a.done, session: sessionOf(a.recorded)}
	if len(a.cookies) > 0 {
		r.back = v.jar.take(a.cookies, v.crowd.cookie)
		for _, h := range a.cookies {
			if c, ok := readCookie(h); ok && c.name == v.crowd.cookie && !c.gone {
				r.token = readToken(c.value)
			}
		}
	}
	api := s == stepPoll
	switch {
	case s == stepLeave:
		if a.status != 204 {
			return r, fmt.Errorf("status %d", a.status)
		}
		r.state = ""
	case api && a.status == 200:
		if r.stand, err = readStand(a.body); err != nil {
			return r, err
		}
		r.state = r.stand.State
		r.after, r.age = pause(r.stand.PollAfter), age(r.stand.Age)
	case api:
		r.after = a.retryAfter
		return r, fmt.Errorf("status %d", a.status)
	case a.state != "" && a.state != admitted || a.status == 429 && a.state == "":
		if r.state == "" {
			r.state = waiting
		}
		r.after = pagePause(a)
		if n, ok := number(a.body, `"position":`); ok {
			r.position = int64(n)
		}
		if x, ok := number(a.body, `"age_seconds":`); ok {
			r.age = age(x)
		}
	case a.status >= 400:
		r.after = a.retryAfter
		r.state = fromShop
		return r, fmt.Errorf("status %d", a.status)
	default:
		r.state = fromShop
	}
	return r, nil
}

func (v *visitor) navigate(ctx context.Context, s step) (reply, error) {
	return v.ask(ctx, s, "GET", v.crowd.path, navigation, "", "")
}

func (v *visitor) poll(ctx context.Context) (reply, error) {
	return v.ask(ctx, stepPoll, "GET", "/.sluice/rooms/"+v.crowd.room, byScript, "", "")
}

// sleep waits, with the connection closed where the wait is long, and tells whether
// time is left.
func (v *visitor) sleep(ctx context.Context, d time.Duration) bool {
	if d > v.crowd.journey.IdleClose && !v.crowd.journey.KeepAlive {
		v.client.close()
	}
	return sleep(ctx, d)
}

func sleep(ctx context.Context, d time.Duration) bool {
	if d <= 0 {
		return ctx.Err() == nil
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return ctx.Err() == nil
	case <-ctx.Done():
		return false
	}
}

// broken is how long the page's script waits after a poll that failed.
func (v *visitor) broken(after time.Duration) time.Duration {
	v.fails++
	d := min(30*time.Second, time.Second<<min(v.fails, 6))
	if after > 0 {
		d = max(d, min(after, time.Minute))
	}
	return time.Duration(float64(d) * (.5 + v.rand.Float64()))
}

func (v *visitor) chance(share float64) bool { return share > 0 && v.rand.Float64() < share }

// visit is the journey from the first request to the end.
func (v *visitor) visit(ctx context.Context, due time.Time) {
	v.due = due
	j := &v.crowd.journey
	// Drawn at once and always, so that one knob does not change who turns another.
	plan := plan{
		abandons: v.chance(j.Abandon.Share), returns: v.chance(j.Abandon.Return.Share),
		reloads: v.chance(j.Reload.Share), tabs: v.chance(j.Tabs), impatient: v.chance(j.Impatient.Share),
		cheats: v.chance(j.Cheats.Share), posts: v.chance(j.Post.Share),
	}
	tabCtx, closeTabs := ctx, func() {}
	if plan.tabs {
		tabCtx, closeTabs = context.WithCancel(ctx)
	}
	var tabs sync.WaitGroup
	in := v.enter(ctx, &plan, func() {
		tab := &visitor{
			crowd: v.crowd, rand: rand.New(rand.NewPCG(v.rand.Uint64(), v.rand.Uint64())), id: v.id, jar: v.jar, due: due,
			ticket: v.ticket, tab: true, joined: true,
		}
		tab.client = client{crowd: v.crowd, source: v.client.source, target: v.client.target}
		tabs.Go(func() {
			defer tab.client.end()
			tab.enter(tabCtx, &planOfTab, nil)
		})
	})
	if in {
		if plan.cheats && j.Cheats.Active {
			v.cheat(ctx)
		}
		v.shop(ctx, plan.cheats && j.Cheats.Ended, func() { closeTabs(); tabs.Wait() })
		if plan.cheats && j.Cheats.Ended {
			v.cheat(ctx)
		}
	}
	closeTabs()
	tabs.Wait()
}

// plan is what a visitor is going to do while they wait.
type plan struct{ abandons, returns, reloads, tabs, impatient, cheats, posts bool }

var planOfTab = plan{}

// enter opens the page, waits as long as it takes, and tells whether the visitor
// came in. openTab is called once there is a ticket, if they use two.
func (v *visitor) enter(ctx context.Context, p *plan, openTab func()) bool {
	j := &v.crowd.journey
	var polls, reloads, posts, abandons time.Time // when next; zero: never
	now := time.Now()
	reloads = now // opens the page
	if p.abandons {
		abandons = now.Add(j.Abandon.After.Draw(v.rand))
	}
	if p.posts {
		posts = now.Add(j.Post.After.Draw(v.rand))
	}
	first := true
	for {
		at, do := earliest(polls, reloads, posts, abandons)
		if !v.sleep(ctx, time.Until(at)) {
			return false
		}
		var r reply
		var err error
		switch do {
		case doPoll:
			v.crowd.gauges.late.Time(time.Since(at))
			polls = time.Time{}
			r, err = v.poll(ctx)
		case doReload:
			reloads, polls = time.Time{}, time.Time{}
			s := stepReload
			if first && !v.tab {
				s = stepJoin
			}
			r, err = v.navigate(ctx, s)
			if p.reloads {
				reloads = time.Now().Add(j.Reload.Every.Draw(v.rand))
			}
		case doPost:
			posts = time.Time{}
			if v.jar.token() == "" {
				continue
			}
			r, err = v.ask(ctx, stepPost, "POST", j.Post.Path, navigation, j.Post.Body, j.Post.Type)
		case doAbandon:
			if !p.returns {
				if v.joined {
					v.crowd.gauges.gaveUp.Add(1)
				}
				t := time.Now().UnixNano()
				v.write(judge.Event{Kind: judge.WalkedAway, Sent: t, Answered: t})
				return false
			}
			p.returns, abandons, polls = false, time.Time{}, time.Time{}
			reloads = time.Now().Add(j.Abandon.Return.After.Draw(v.rand))
			v.client.close()
			if posts.Before(reloads) {
				posts = time.Time{}
			}
			continue
		}
		if ctx.Err() != nil && err != nil {
			return false
		}
		if err != nil && r.state == fromShop && r.token.called > 0 {
			return v.come(ctx, &r) // let in, to a shop that has trouble
		}
		if err != nil {
			wait := v.broken(r.after)
			if do == doReload || first {
				reloads = time.Now().Add(wait) // the browser's own page: people try again
				continue
			}
			if r.status >= 400 && r.status < 500 && r.status != 408 && r.status != 429 {
				if v.refusals++; v.refusals >= 3 {
					v.refusals = 0
					reloads = time.Now()
					continue
				}
			}
			if polls.IsZero() {
				polls = time.Now().Add(wait)
			}
			continue
		}
		v.fails, v.refusals = 0, 0
		if first {
			first = false
			if !v.tab {
				v.crowd.gauges.join.Time(since(v.due, r.done))
			}
		}
		if !r.waits() {
			if v.come(ctx, &r) {
				return true
			}
			if ctx.Err() != nil {
				return false
			}
			polls, reloads = time.Time{}, time.Now().Add(10*time.Second) // as the page puts off what led back to it
			continue
		}
		had := v.joined
		v.told(&r, do)
		if !had && v.joined && p.tabs && openTab != nil {
			openTab()
		}
		wait := r.after
		switch r.state {
		case none:
			if do == doPoll { // only loading the page joins
				polls, reloads = time.Time{}, time.Now().Add(wait)
				continue
			}
		case full, closed:
			if !v.joined {
				wait = max(wait, 10*time.Second+time.Duration(v.rand.Int64N(int64(5*time.Second))))
			}
		}
		if p.impatient {
			wait = j.Impatient.Every.Draw(v.rand)
		}
		polls = r.done.Add(wait)
	}
}

type deed uint8

const (
	doPoll deed = iota
	doReload
	doPost
	doAbandon
)

// earliest returns what is to be done next.
func earliest(at ...time.Time) (time.Time, deed) {
	best := -1
	for i, t := range at {
		if !t.IsZero() && (best < 0 || t.Before(at[best])) {
			best = i
		}
	}
	if best < 0 {
		panic("BUG: visitor: nothing to do next")
	}
	return at[best], deed(best)
}

// told takes in an answer by which the visitor has to wait.
func (v *visitor) told(r *reply, do deed) {
	if r.state == none {
		if v.joined && !v.freed {
			v.joined = false
			v.write(r.times(judge.Event{Kind: judge.Forgotten}))
			v.another()
		}
		return
	}
	if !v.joined {
		if v.jar.token() == "" {
			return // full, or closed: no place is given
		}
		v.joined = true
		v.paper = v.jar.token()
		v.ticket = readToken(v.paper)
		v.crowd.gauges.joined.Add(1)
		v.write(r.times(judge.Event{Kind: judge.Joined, Ticket: v.ticket.id, Place: v.ticket.place, After: int64(r.after)}))
		return
	}
	if r.state != waiting {
		return
	}
	e := judge.Event{Kind: judge.Refused, After: int64(r.after), Position: r.position, Age: int64(r.age)}
	if do == doPoll {
		e.Position = r.stand.position()
		e.Low, e.High = r.stand.estimate()
	}
	t := r.token
	if t.id == 0 {
		t = v.ticket
	}
	e.Ticket, e.Place = t.id, t.place
	v.write(r.times(e))
}

// another makes the visitor somebody new to the judges, because what they had is
// gone.
func (v *visitor) another() {
	v.ticket, v.paper = tokenOf{}, ""
	if v.crowd.log != nil {
		v.id = v.crowd.log.Visitor()
	}
	v.due = time.Now()
}

// come goes in: by the answer itself if it is the shop's, else by loading the page
// again with the pass. It returns false if the page still says to wait.
func (v *visitor) come(ctx context.Context, r *reply) bool {
	t := r.token
	if t.id == 0 {
		t = readToken(v.jar.token())
	}
	e := r.times(judge.Event{Kind: judge.Admitted, Ticket: t.id, Place: t.place, Called: t.called, Session: r.session})
	if r.stand.Called > 0 {
		e.Called = r.stand.Called
	}
	g := v.crowd.gauges
	if !v.tab && !v.inside {
		g.letIn.Add(1)
		g.wait.Time(since(v.due, r.done))
	}
	v.inside = true
	if r.state == fromShop {
		v.write(e)
		return true
	}
	for try := 0; ; try++ {
		page, err := v.navigate(ctx, stepReload)
		if err != nil {
			if ctx.Err() == nil && try < 5 && sleep(ctx, v.broken(page.after)) {
				continue
			}
			v.write(e)
			v.vanish()
			return ctx.Err() == nil
		}
		e.Session = page.session
		v.write(e)
		g.check("a pass is honoured", !page.waits())
		if !page.waits() {
			v.fails = 0
			v.used = true
			return true
		}
		v.write(page.times(judge.Event{Kind: judge.Expelled, After: int64(page.sent.Sub(r.done))}))
		if !v.tab { // what comes now is another visit
			v.write(r.times(judge.Event{Kind: judge.Vanished}))
			v.inside, v.joined = false, false
			v.another()
			v.told(&page, doReload)
		}
		return false
	}
}

// shop looks at pages from the one that the visitor came in by, may order, and
// goes. A cheat who uses the ticket afterwards leaves properly. closeTabs is called
// before the slot may be given back.
func (v *visitor) shop(ctx context.Context, leaves bool, closeTabs func()) {
	j := &v.crowd.journey
	leaves = v.chance(j.Leave) || leaves
	orders := v.chance(j.Order.Share)
	for n := range j.Pages.number() {
		if n > 0 {
			path := v.crowd.path
			if len(j.Pages.Paths) > 0 {
				path = j.Pages.Paths[n]
			}
			if !v.load(ctx, stepPage, path, navigation) {
				return
			}
		}
		for i := range j.Assets.number() {
			path := "/assets/" + strconv.Itoa(i) + ".css"
			if len(j.Assets.Paths) > 0 {
				path = j.Assets.Paths[i]
			}
			if !v.load(ctx, stepAsset, path, picture) {
				return
			}
		}
		if !v.sleep(ctx, j.Think.Draw(v.rand)) {
			v.vanish()
			return
		}
	}
	if orders {
		closeTabs() // the shop may free the slot
		last := v.last
		r, err := v.ask(ctx, stepOrder, "POST", j.Order.Path, navigation, j.Order.Body, j.Order.Type)
		switch {
		case err != nil:
			v.unsure = true
		case r.waits():
			v.last = last
			v.expelled(&r)
			return
		case r.back: // the shop freed the slot
			v.used, v.freed = true, true
			v.crowd.gauges.released.Add(1)
			v.write(r.times(judge.Event{Kind: judge.Left}))
			return
		default:
			v.used = true
		}
	}
	if !leaves || ctx.Err() != nil {
		v.vanish()
		return
	}
	closeTabs()
	r, err := v.ask(ctx, stepLeave, "DELETE", "/.sluice/rooms/"+v.crowd.room, byScript, "", "")
	if err != nil {
		v.unsure = true
		v.vanish()
		return
	}
	v.freed = true
	v.crowd.gauges.left.Add(1)
	v.write(r.times(judge.Event{Kind: judge.Left}))
}

// load loads something of the shop's, again if the network fails, and tells whether
// the visitor is still inside.
func (v *visitor) load(ctx context.Context, s step, path, headers string) bool {
	last := v.last
	for try := 0; ; try++ {
		r, err := v.ask(ctx, s, "GET", path, headers, "", "")
		switch {
		case err == nil && r.waits():
			v.last = last
			v.expelled(&r)
			return false
		case err == nil:
			v.used, v.fails = true, 0
			return true
		case r.status >= 400 && r.status < 500: // the shop has no such page
			v.used = true
			return true
		case try == 3 || !sleep(ctx, v.broken(r.after)):
			v.vanish()
			return false
		}
	}
}

// expelled ends a visit by an answer that says to wait.
func (v *visitor) expelled(r *reply) {
	v.crowd.gauges.check("a pass is honoured", false)
	v.freed = true
	v.crowd.gauges.put.Add(1)
	v.write(r.times(judge.Event{Kind: judge.Expelled, After: int64(r.sent.Sub(v.last))}))
	t := v.last.UnixNano()
	v.write(judge.Event{Kind: judge.Vanished, Sent: t, Answered: t})
}

// vanish ends a visit without a word.
func (v *visitor) vanish() {
	if v.freed || v.tab {
		return
	}
	v.freed = true
	v.crowd.gauges.vanished.Add(1)
	t := v.last.UnixNano()
	v.write(judge.Event{Kind: judge.Vanished, Used: v.used && !v.unsure, Sent: t, Answered: t})
}

// cheat opens the page from other connections with copies of the ticket that the
// visitor waited with.
func (v *visitor) cheat(ctx context.Context) {
	if v.paper == "" {
		return // let in on the spot: never had one
	}
	for range v.crowd.journey.Cheats.Copies {
		if ctx.Err() != nil {
			return
		}
		thief := &visitor{crowd: v.crowd, rand: v.rand, id: v.id, jar: &jar{ours: v.paper}}
		thief.client = client{crowd: v.crowd, source: v.crowd.newSource(v.rand), target: v.client.target}
		r, err := thief.navigate(ctx, stepReplay)
		thief.client.end()
		if err != nil {
			continue
		}
		t := readToken(thief.jar.token())
		if t.id == v.ticket.id { // or neither can be read
			if !r.waits() {
				v.write(r.times(judge.Event{Kind: judge.Copied, Ticket: t.id, Place: t.place, Called: t.called, Session: r.session}))
			}
			continue
		}
		thief.stranger(&r, t) // who came with a used ticket is somebody new
	}
}

// stranger writes down somebody who came, and was gone at once.
func (v *visitor) stranger(r *reply, t tokenOf) {
	if v.crowd.log == nil {
		return
	}
	id := v.crowd.log.Visitor()
	e := judge.Event{Visitor: id, Ticket: t.id, Place: t.place, Called: t.called, Session: r.session, After: int64(r.after)}
	end := judge.Event{Visitor: id}
	switch {
	case !r.waits():
		e.Kind, end.Kind = judge.Admitted, judge.Vanished
	case t.id != 0 || v.jar.token() != "":
		e.Kind, end.Kind = judge.Joined, judge.WalkedAway
	default:
		return
	}
	v.write(r.times(e))
	end = r.times(end)
	end.Sent = end.Answered
	v.write(end)
}

// bot opens the page again and again and keeps no cookie.
func (c *Crowd) bot(ctx context.Context, r *rand.Rand, due time.Time) {
	b := visitor{crowd: c, rand: r, jar: &jar{}}
	b.client = client{crowd: c, source: c.newSource(r), target: r.IntN(len(c.targets))}
	defer b.client.end()
	for n := range c.journey.Bots.Requests {
		if n > 0 && !b.sleep(ctx, c.journey.Bots.Every.Draw(r)) {
			return
		}
		s := stepReload
		if n == 0 {
			s = stepJoin
		}
		answer, err := b.navigate(ctx, s)
		if err == nil {
			if n == 0 {
				c.gauges.join.Time(since(due, answer.done))
			}
			b.stranger(&answer, readToken(b.jar.token()))
		}
		b.jar.ours, b.jar.other = "", nil
	}
}
