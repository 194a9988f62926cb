package main

import (
	"bytes"
	"container/heap"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sluicegate/sluice/gate/token"
	"github.com/sluicegate/sluice/queue"
	"github.com/sluicegate/sluice/queue/queuetest/proc"
)

// A sale is a flash event: so many visitors who come within a few seconds to two
// gates with one store and one shop.
type sale struct {
	visitors  int
	over      time.Duration // they come, evenly
	rate      int           // per second
	burst     int
	maxActive int
	stay      time.Duration // inside, about
	walkAway  float64       // share of visitors who are gone without a word
	program   string        // sluice
}

func TestFlashSale(t *testing.T) {
	s := sale{visitors: 2000, over: 5 * time.Second, rate: 200, burst: 20, maxActive: 300, stay: time.Second}
	switch {
	case underRace(): // the gates too, which slows them down
		t.Parallel()
		s.visitors, s.over, s.rate, s.maxActive = 300, 2*time.Second, 80, 120
		s.program = sluice(t)
	case testing.Short():
		s.visitors, s.rate, s.maxActive = 300, 40, 60
	}
	if s.program == "" {
		s.program = buildSluice(t)
	}
	t.Run("everybody who stays is let in, in order and never over the limits", s.run)
	s.walkAway = .05
	t.Run("visitors who walk away cost the others nothing", s.run)
}

// visit is what one visitor saw, by the clock of the test.
type visit struct {
	number int
	*browser
	walks  walk
	ticket token.Token
	asked  []asked

	letIn    bool
	onSpot   bool      // without a wait
	letInAt  time.Time // the answer was there
	calledAt int64     // room time, milliseconds
	pass     token.Token
	leftAt   time.Time // began to leave
	freedAt  time.Time // the slot was given back; zero: never
	origin   []string  // what the origin should have logged
	gone     bool      // walked away
	err      error
}

// asked is one poll.
type asked struct {
	sent, answered time.Time
	waiting        bool // refused
	position       int64
	after          time.Duration
}

// walk is when a visitor walks away.
type walk int

const (
	stays      walk = iota
	inLine          // the tab is closed between two polls
	inMidPoll       // while a poll is under way
	justCalled      // when told that it is their turn
)

func (s sale) run(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 1))
	shop := openShop(t)
	store := proc.Redis(t)
	file := filepath.Join(t.TempDir(), "sluice.yaml")
	conf := fmt.Sprintf(`
store: redis://%s/0
secret: %q
shutdown: {delay: 100ms, timeout: 20s}
origin: {url: "http://%s"}
rooms:
  - name: drop
    match: [{path: /drop}]
    rate: %d/s
    burst: %d
    max_active: %d
    session: 30s
`, store, secret, shop.addr, s.rate, s.burst, s.maxActive)
	if err := os.WriteFile(file, []byte(conf), 0o600); err != nil {
		t.Fatal(err)
	}
	gates := []*gateProcess{startGate(t, s.program, file), startGate(t, s.program, file)}
	operators := []string{gates[0].operators, gates[1].operators}

	watched := watchCounts(t, operators)
	client := &http.Client{Transport: newTransport(t), Timeout: time.Minute}
	visits := make([]*visit, s.visitors)
	var wg sync.WaitGroup
	began := time.Now()
	for i := range visits {
		v := &visit{number: i, browser: &browser{
			http: client, gates: []string{gates[0].visitors, gates[1].visitors}, room: "drop",
			cookies: []*http.Cookie{{Name: "basket", Value: fmt.Sprint(i)}, {Name: "theme", Value: "dark"}},
		}}
		if r.Float64() < s.walkAway {
			v.walks = walk(1 + r.IntN(3))
		}
		visits[i] = v
		own := rand.New(rand.NewPCG(seed, uint64(i)+2))
		comes := began.Add(s.over * time.Duration(i) / time.Duration(s.visitors))
		wg.Go(func() {
			time.Sleep(time.Until(comes))
			v.err = v.live(shop, own, s.stay)
		})
	}
	wg.Wait()
	t.Logf("all were served after %v", time.Since(began).Round(time.Millisecond))
	most := watched()

	for _, v := range visits {
		if v.err != nil {
			t.Errorf("visitor %d: %v", v.number, v.err)
		}
	}
	if t.Failed() {
		t.FailNow()
	}
	s.judgeAdmission(t, visits)
	s.judgeOrder(t, visits)
	s.judgeLimits(t, visits, most)
	s.judgeTime(t, visits)
	judgePositions(t, visits)
	shop.judge(t, visits)

	sum := func(name string) int { return int(metric(t, name, "drop", operators...)) }
	if got := sum("sluice_joined_total"); got != s.visitors {
		t.Errorf("the gates count %d visitors who joined, want %d", got, s.visitors)
	}
	// Somebody who cut a held poll off may have been let in without knowing it.
	in, unsure := 0, 0
	for _, v := range visits {
		if v.letIn {
			in++
		} else if v.walks == inMidPoll {
			unsure++
		}
	}
	if got := sum("sluice_admitted_total"); got < in || got > in+unsure {
		t.Errorf("the gates count %d visitors who were let in, want %d (and up to %d who cannot know)", got, in, unsure)
	}
	if got := sum("sluice_overshoot_total"); got != 0 {
		t.Errorf("sluice_overshoot_total is %d", got)
	}
	for _, g := range gates {
		g.stop()
	}
}

// live is the whole visit: open the page, wait as its script does, look around, go.
func (v *visit) live(shop *pages, r *rand.Rand, stay time.Duration) error {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	entry := fmt.Sprintf("/drop/entry.html?visitor=%d", v.number)
	jar := v.jar(true)
	answer, err := v.open(ctx, entry)
	if err != nil {
		return err
	}
	if answer.status == http.StatusTooManyRequests {
		if err := v.wait(ctx, answer, r); err != nil || v.gone {
			return err
		}
		if answer, err = v.open(ctx, entry); err != nil { // location.reload()
			return err
		}
	} else {
		v.onSpot = true
		v.isIn(time.Now())
	}
	v.note(entry, jar, v.token())
	if err := v.bytes(shop, answer, entry); err != nil {
		return err
	}
	if v.onSpot && v.walks == justCalled {
		v.gone = true
		return nil
	}
	think := func() { time.Sleep(stay/5 + time.Duration(r.Int64N(int64(stay/10)))) }
	for n := range 3 {
		think()
		page := shop.paths[r.IntN(len(shop.paths))]
		if r.IntN(50) == 0 {
			page = "/drop/large.png"
		}
		path := fmt.Sprintf("%s?visitor=%d&page=%d", page, v.number, n)
		jar := v.jar(true)
		answer, err := v.open(ctx, path)
		if err != nil {
			return err
		}
		v.note(path, jar, v.token())
		if err := v.bytes(shop, answer, path); err != nil {
			return err
		}
	}
	think()
	v.leftAt = time.Now()
	if r.IntN(2) == 0 {
		err = v.leave(ctx)
	} else { // the shop gives the slot back
		path := fmt.Sprintf("/drop/thanks.html?visitor=%d", v.number)
		v.note(path, v.jar(true), v.token())
		if answer, err = v.open(ctx, path); err == nil {
			err = v.bytes(shop, answer, path)
		}
	}
	v.freedAt = time.Now()
	if err == nil && v.token() != (token.Token{}) {
		err = errors.New("has left and still holds a token")
	}
	return err
}

// wait polls until it is the visitor's turn, or they walk away.
func (v *visit) wait(ctx context.Context, page *reply, r *rand.Rand) error {
	switch {
	case page.header.Get("Sluice-State") != "waiting" || page.header.Get("Sluice-Room") != "drop":
		return fmt.Errorf("a waiting page with headers %v", page.header)
	case !strings.HasPrefix(page.header.Get("Content-Type"), "text/html"):
		return fmt.Errorf("a waiting page of type %q", page.header.Get("Content-Type"))
	}
	v.ticket = v.token()
	if v.ticket.Kind != token.Ticket {
		return fmt.Errorf("a waiting page with no ticket but %q", v.jar(false))
	}
	after, ok := pagePollAfter(page.body)
	if !ok {
		return fmt.Errorf("a waiting page that does not say when it polls: %s", page.body)
	}
	leaveAfter := 1 + r.IntN(3) // polls, for those who walk away
	for {
		time.Sleep(max(after, 500*time.Millisecond))
		if v.walks == inLine && len(v.asked) >= leaveAfter-1 {
			v.gone = true
			return nil
		}
		ask := ctx
		if v.walks == inMidPoll && len(v.asked) >= leaveAfter-1 {
			var cancel context.CancelFunc
			ask, cancel = context.WithTimeout(ctx, time.Duration(r.Int64N(int64(100*time.Millisecond))))
			defer cancel()
		}
		sent := time.Now()
		_, s, err := v.ask(ask, "GET")
		if ask.Err() != nil {
			v.gone = true
			return nil
		}
		if err != nil {
			return err
		}
		a := asked{sent: sent, answered: time.Now(), waiting: s.State == "waiting", after: s.wait()}
		if s.Position != nil {
			a.position = *s.Position
		}
		v.asked = append(v.asked, a)
		switch s.State {
		case "waiting":
			if t := v.token(); t.ID != v.ticket.ID || t.Place != v.ticket.Place {
				return fmt.Errorf("the place changed from %+v to %+v", v.ticket, t)
			}
		case "admitted":
			v.isIn(a.answered)
			if s.Called != v.calledAt {
				return fmt.Errorf("called at %d by the answer and at %d by the pass", s.Called, v.calledAt)
			}
			v.gone = v.walks == justCalled
			return nil
		default:
			return fmt.Errorf("state %q in line", s.State)
		}
		after = s.wait()
	}
}

// pagePollAfter finds when the page asks for the first time.
func pagePollAfter(page []byte) (time.Duration, bool) {
	_, rest, ok := bytes.Cut(page, []byte(`"poll_after_seconds":`))
	if !ok {
		return 0, false
	}
	var s float64
	if _, err := fmt.Fscanf(bytes.NewReader(rest), "%f", &s); err != nil {
		return 0, false
	}
	return time.Duration(s * float64(time.Second)), true
}

// isIn notes that the visitor holds a pass from now on.
func (v *visit) isIn(at time.Time) {
	v.letIn, v.letInAt = true, at
	v.pass = v.token()
	v.calledAt = v.pass.Called.Millis()
	if v.ticket.Kind == 0 { // on the spot
		v.ticket = v.pass
	}
}

// note keeps what the origin should have logged for a request.
func (v *visit) note(path, jar string, pass token.Token) {
	v.origin = append(v.origin, fmt.Sprintf("GET|%s|%016x|drop|%s|200", path, uint64(pass.ID), jar))
}

// bytes checks an answer that should be the origin's.
func (v *visit) bytes(shop *pages, answer *reply, path string) error {
	if t := v.token(); v.leftAt.IsZero() && (t.Kind != token.Pass || t.ID != v.ticket.ID) {
		return fmt.Errorf("%s: holds %+v, want the pass of %+v", path, t, v.ticket)
	}
	if answer.status != http.StatusOK {
		return fmt.Errorf("%s: status %d with %v", path, answer.status, answer.header)
	}
	path, _, _ = strings.Cut(path, "?")
	if !bytes.Equal(answer.body, shop.bytes[path]) {
		return fmt.Errorf("%s: %d bytes, want %d: not those of the origin", path, len(answer.body), len(shop.bytes[path]))
	}
	want := shop.headers[path].Clone()
	got := answer.header.Clone()
	for _, h := range []http.Header{want, got} {
		h.Del("Date")
		h.Del("Connection")
	}
	ours := func(c string) bool { return strings.HasPrefix(c, "sluice-drop=") }
	want.Set("Cache-Control", "private") // nobody else may be given the page out of a cache
	if len(got["Set-Cookie"]) > 0 {
		got["Set-Cookie"] = slices.DeleteFunc(got["Set-Cookie"], ours)
		if len(got["Set-Cookie"]) == 0 {
			got.Del("Set-Cookie")
		}
	}
	want.Del("Sluice-Session")
	if fmt.Sprint(got) != fmt.Sprint(want) {
		return fmt.Errorf("%s: headers\n%v\nwant the origin's\n%v", path, got, want)
	}
	return nil
}

// watchCounts notes the most called and active that the gates tell of, until it is
// told to stop.
func watchCounts(t *testing.T, operators []string) (stop func() int64) {
	ctx, cancel := context.WithCancel(context.Background())
	var mu sync.Mutex
	var most int64
	var wg sync.WaitGroup
	for _, o := range operators {
		wg.Go(func() {
			tick := time.NewTicker(25 * time.Millisecond)
			defer tick.Stop()
			for ctx.Err() == nil {
				if c, err := roomCounts(o, "drop"); err == nil {
					mu.Lock()
					most = max(most, c.Called+c.Active)
					mu.Unlock()
				}
				select {
				case <-tick.C:
				case <-ctx.Done():
				}
			}
		})
	}
	t.Cleanup(cancel)
	return func() int64 {
		cancel()
		wg.Wait()
		return most
	}
}

func (s sale) judgeAdmission(t *testing.T, visits []*visit) {
	t.Helper()
	for _, v := range visits {
		if !v.letIn && !v.gone {
			t.Errorf("visitor %d stayed and was not let in", v.number)
		}
	}
}

// judgeOrder finds polls that were refused although somebody with a later place
// had been let in before the poll was sent.
func (s sale) judgeOrder(t *testing.T, visits []*visit) {
	t.Helper()
	const apart = 50 * time.Millisecond
	var in []*visit
	for _, v := range visits {
		if v.letIn {
			in = append(in, v)
		}
	}
	slices.SortFunc(in, func(a, b *visit) int { return a.letInAt.Compare(b.letInAt) })
	latest := make([]*visit, len(in)) // who of those let in so far has the latest place
	for i, v := range in {
		latest[i] = v
		if i > 0 && latest[i-1].ticket.Place > v.ticket.Place {
			latest[i] = latest[i-1]
		}
	}
	polls, overtaken := 0, 0
	for _, v := range visits {
		for _, a := range v.asked {
			polls++
			if !a.waiting {
				continue
			}
			n, _ := slices.BinarySearchFunc(in, a.sent, func(v *visit, sent time.Time) int { return v.letInAt.Compare(sent) })
			if n == 0 || latest[n-1].ticket.Place < v.ticket.Place.Add(apart) {
				continue
			}
			if overtaken++; overtaken <= 5 {
				by := latest[n-1]
				t.Errorf("visitor %d was refused at a poll sent %v after visitor %d had been let in, who came %v later",
					v.number, a.sent.Sub(by.letInAt), by.number, by.ticket.Place.Sub(v.ticket.Place))
			}
		}
	}
	if overtaken > 5 {
		t.Errorf("%d of %d polls were refused so", overtaken, polls)
	}
	t.Logf("%d polls", polls)
}

// judgeLimits holds the calls to rate and burst, and those inside to the cap.
func (s sale) judgeLimits(t *testing.T, visits []*visit, most int64) {
	t.Helper()
	var calls []int64
	type step struct {
		at time.Time
		by int
	}
	var steps []step
	for _, v := range visits {
		if !v.letIn {
			continue
		}
		calls = append(calls, v.calledAt)
		steps = append(steps, step{v.letInAt, 1})
		if end := v.leftAt; !end.IsZero() {
			steps = append(steps, step{end, -1})
		} else { // the pass is good for as long as a session
			steps = append(steps, step{v.letInAt.Add(v.pass.Until.Sub(v.pass.Called)), -1})
		}
	}
	slices.Sort(calls)
	if i, j, ok := tooMany(calls, s.rate, s.burst); ok {
		t.Errorf("%d visitors were called within %d ms, more than %d/s and a burst of %d", j-i+1, calls[j]-calls[i], s.rate, s.burst)
	}
	slices.SortFunc(steps, func(a, b step) int { return a.at.Compare(b.at) })
	inside, mostInside := 0, 0
	for _, p := range steps {
		inside += p.by
		mostInside = max(mostInside, inside)
	}
	if mostInside > s.maxActive {
		t.Errorf("%d visitors were inside at once, of %d allowed", mostInside, s.maxActive)
	}
	if most > int64(s.maxActive) {
		t.Errorf("the gates told of %d called and active, of %d allowed", most, s.maxActive)
	}
	t.Logf("most inside at once %d, most called and active %d of %d", mostInside, most, s.maxActive)
}

// tooMany finds a window, from one call to another, with more calls than a rate
// per second and a burst allow. The stamps are cut to milliseconds, so that the
// window may be one longer.
func tooMany(calls []int64, rate, burst int) (from, to int, found bool) {
	// calls in i..j: j-i+1 > rate*(t[j]-t[i]+1)/1000 + burst, so keep the i with the
	// least i - rate*t[i]/1000.
	best := 0
	for j, t := range calls {
		level := func(i int) float64 { return float64(i) - float64(rate)*float64(calls[i]-calls[0])/1000 }
		if level(j) < level(best) {
			best = j
		}
		allowed := float64(rate)*float64(t-calls[best]+1)/1000 + float64(burst)
		if float64(j-best+1) > allowed {
			return best, j, true
		}
	}
	return 0, 0, false
}

// judgeTime compares how long the calls took with the least that rate, burst and
// cap allow for these visitors, who came when they came and stayed as they stayed.
func (s sale) judgeTime(t *testing.T, visits []*visit) {
	t.Helper()
	const slack = 1.10
	var in []*visit
	for _, v := range visits {
		if v.letIn {
			in = append(in, v)
		}
	}
	slices.SortFunc(in, func(a, b *visit) int { return int(a.ticket.Place - b.ticket.Place) })
	var first, last, ideal, began queue.Time
	credit, at := float64(s.burst), queue.Time(0)
	var slots ends
	for i, v := range in {
		called := v.pass.Called
		if i == 0 {
			first, last, began, at = called, called, v.ticket.Place, v.ticket.Place
		}
		first, last = min(first, called), max(last, called)
		now := max(at, v.ticket.Place)
		if len(slots) == s.maxActive {
			now = max(now, heap.Pop(&slots).(queue.Time))
		}
		credit = min(credit+float64(s.rate)*now.Sub(at).Seconds(), float64(s.burst))
		if credit < 1 {
			wait := time.Duration((1 - credit) / float64(s.rate) * float64(time.Second))
			now, credit = now.Add(wait), 1
		}
		credit--
		at = now
		stay := v.freedAt.Sub(v.letInAt)
		if v.freedAt.IsZero() {
			stay = v.pass.Until.Sub(called) + queue.SlotMargin
		}
		heap.Push(&slots, now.Add(stay))
		ideal = now
	}
	took, least := last.Sub(first), ideal.Sub(began)
	stayed, leavers := time.Duration(0), 0
	for _, v := range in {
		if !v.freedAt.IsZero() {
			stayed, leavers = stayed+v.freedAt.Sub(v.letInAt), leavers+1
		}
	}
	stayed /= time.Duration(leavers)
	t.Logf("visitors stayed for %v", stayed.Round(time.Millisecond))
	t.Logf("called %d within %v; the limits allow %v (%.3f)", len(in), took.Round(time.Millisecond), least.Round(time.Millisecond), took.Seconds()/least.Seconds())
	switch {
	case underRace():
		t.Log("not tested: how long the sale took, under the race detector")
	case stayed > s.stay*5/4: // pages took long, so everything did
		t.Log("not tested: how long the sale took, because this machine is too busy with other things")
	case took.Seconds() > least.Seconds()*slack:
		t.Errorf("the calls took %v, more than a tenth longer than %v", took, least)
	}
}

// ends is a heap of instants.
type ends []queue.Time

func (e ends) Len() int           { return len(e) }
func (e ends) Less(i, j int) bool { return e[i] < e[j] }
func (e ends) Swap(i, j int)      { e[i], e[j] = e[j], e[i] }
func (e *ends) Push(x any)        { *e = append(*e, x.(queue.Time)) }
func (e *ends) Pop() any {
	old := *e
	x := old[len(old)-1]
	*e = old[:len(old)-1]
	return x
}

// judgePositions finds positions that grew.
func judgePositions(t *testing.T, visits []*visit) {
	t.Helper()
	grew := 0
	for _, v := range visits {
		least := int64(1 << 60)
		for _, a := range v.asked {
			if !a.waiting || a.position == 0 {
				continue
			}
			if a.position > least {
				if grew++; grew <= 5 {
					t.Errorf("visitor %d moved from position %d to %d", v.number, least, a.position)
				}
			}
			least = min(least, a.position)
		}
	}
}

// pages is an nginx with pages of known bytes.
type pages struct {
	addr    string
	dir     string
	bytes   map[string][]byte
	headers map[string]http.Header // of nginx's own answers
	paths   []string               // to look at, but for a large one
}

func openShop(t *testing.T) *pages {
	t.Helper()
	s := &pages{bytes: make(map[string][]byte), headers: make(map[string]http.Header)}
	r := rand.New(rand.NewPCG(1, 2))
	for name, size := range map[string]int{
		"entry.html": 2000, "thanks.html": 300, "empty.css": 0, "one.txt": 1, "small.html": 4095, "middle.js": 16_385, "large.png": 300_000,
	} {
		b := make([]byte, size)
		for i := range b {
			b[i] = byte(r.Uint32())
		}
		s.bytes["/drop/"+name] = b
		if name != "entry.html" && name != "thanks.html" && name != "large.png" {
			s.paths = append(s.paths, "/drop/"+name)
		}
	}
	slices.Sort(s.paths)
	s.addr = proc.Nginx(t, func(dir string, port int) string {
		s.dir = dir
		for path, body := range s.bytes {
			file := filepath.Join(dir, "pages", path)
			if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(file, body, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		return fmt.Sprintf(`
worker_processes 1;
events { worker_connections 4096; }
http {
	log_format seen '$request_method|$request_uri|$http_sluice_visitor|$http_sluice_room|$http_cookie|$status';
	access_log %[1]s/access.log seen;
	client_body_temp_path %[1]s/body; proxy_temp_path %[1]s/proxy; fastcgi_temp_path %[1]s/fastcgi;
	uwsgi_temp_path %[1]s/uwsgi; scgi_temp_path %[1]s/scgi;
	types { text/html html; text/css css; text/plain txt; application/javascript js; image/png png; }
	charset utf-8;
	keepalive_requests 100000;
	server {
		listen 127.0.0.1:%[2]d backlog=4096;
		root %[1]s/pages;
		add_header X-Shop first;
		add_header X-Shop "second, with a comma";
		add_header Link "</drop/empty.css>; rel=preload";
		add_header Set-Cookie "theme=dark; Path=/";
		add_header Set-Cookie "lang=ko; Path=/; HttpOnly";
		location /drop/ { }
		location /drop/thanks.html { add_header Sluice-Session release; add_header X-Shop thanks; }
	}
}
`, dir, port)
	})
	for path, body := range s.bytes {
		b := &browser{http: &http.Client{Transport: newTransport(t)}, gates: []string{"http://" + s.addr}}
		answer, err := b.open(t.Context(), path)
		if err != nil || answer.status != http.StatusOK || !bytes.Equal(answer.body, body) {
			t.Fatalf("the shop itself answers %s with %+v, %v", path, answer, err)
		}
		s.headers[path] = answer.header
	}
	await(t, "the shop has logged its own answers", func() error { return s.logged(len(s.bytes)) })
	if err := os.Truncate(s.log(), 0); err != nil {
		t.Fatal(err)
	}
	return s
}

func (s *pages) log() string { return filepath.Join(s.dir, "access.log") }

// logged tells whether so many requests are in the log, which nginx writes when
// the visitor has the answer already.
func (s *pages) logged(n int) error {
	text, err := os.ReadFile(s.log())
	if err == nil && bytes.Count(text, []byte("\n")) < n {
		err = fmt.Errorf("%d of %d", bytes.Count(text, []byte("\n")), n)
	}
	return err
}

// judge holds what reached the shop against what those let in have asked for.
func (s *pages) judge(t *testing.T, visits []*visit) {
	t.Helper()
	want := make(map[string]int)
	n := 0
	for _, v := range visits {
		for _, line := range v.origin {
			want[line]++
			n++
		}
	}
	await(t, "the shop has logged every request", func() error { return s.logged(n) })
	text, err := os.ReadFile(s.log())
	if err != nil {
		t.Fatal(err)
	}
	wrong := 0
	complain := func(format string, args ...any) {
		if wrong++; wrong <= 10 {
			t.Errorf(format, args...)
		}
	}
	for line := range strings.Lines(string(text)) {
		line = strings.TrimSuffix(line, "\n")
		if want[line]--; want[line] < 0 {
			complain("the shop was asked for what nobody who was let in asked for: %s", line)
		}
	}
	for line, n := range want {
		if n > 0 {
			complain("the shop was not asked for: %s", line)
		}
	}
	t.Logf("%d requests reached the shop", n)
}
