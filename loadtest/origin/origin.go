// Package origin is a shop that serves next to nothing and writes down who came:
// what a rehearsal puts behind the gates, to see whom they let through.
//
// Every path is a page, but for those below Config.Assets and the ones named in
// Config. An answer carries the header Recorded-Visitor with the Sluice-Visitor of
// its request, so that whoever asked learns whom the shop took them for. What was
// recorded is at Config.Stats as JSON; put that path outside of what is gated.
package origin

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"hash/maphash"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/valyala/fasthttp"
)

// RecordedVisitor is the header of answers that tells whom the shop took the
// visitor for.
const RecordedVisitor = "Recorded-Visitor"

// Config says what the shop is like. The zero value answers every path with a
// page of 10,000 bytes at once.
type Config struct {
	Gated     string        // paths that only the admitted may reach begin with it; "": all
	PageSize  int           // bytes; 0: 10,000
	AssetSize int           // bytes; 0: 2,000
	Assets    string        // paths that begin with it are assets; "": "/assets/"
	Think     time.Duration // before every answer but the assets' and the statistics'
	Order     string        // path whose answer to a POST frees the slot (Sluice-Session: release); "": none
	Stats     string        // path of the statistics; "": "/recorded"
}

func (c *Config) defaults() {
	if c.PageSize == 0 {
		c.PageSize = 10_000
	}
	if c.AssetSize == 0 {
		c.AssetSize = 2_000
	}
	if c.Assets == "" {
		c.Assets = "/assets/"
	}
	if c.Stats == "" {
		c.Stats = "/recorded"
	}
}

// Origin is the shop. Its methods may be called from any goroutine.
type Origin struct {
	conf        Config
	page, asset []byte
	now         func() time.Time
	began       time.Time
	server      *fasthttp.Server

	requests   atomic.Int64
	pages      atomic.Int64
	assets     atomic.Int64
	posts      atomic.Int64
	released   atomic.Int64
	unadmitted atomic.Int64
	leaked     atomic.Int64

	seed   maphash.Seed
	shards [64]shard

	mu       sync.Mutex
	seconds  []int64  // requests by second since began
	examples []string // of what should not have come
}

// shard is a part of the visitors, by their hash.
type shard struct {
	mu       sync.Mutex
	visitors map[uint64]stay // by the hash of the name
}

// stay is when a visitor was there, nanoseconds since the origin began.
type stay struct{ first, last int64 }

// New returns a shop that has seen nobody.
func New(c Config) *Origin { return newAt(c, time.Now) }

func newAt(c Config, now func() time.Time) *Origin {
	c.defaults()
	o := &Origin{conf: c, now: now, began: now(), seed: maphash.MakeSeed()}
	o.page = fill("<!doctype html><title>a page</title><p>", c.PageSize)
	o.asset = fill("/* an asset */", c.AssetSize)
	for i := range o.shards {
		o.shards[i].visitors = make(map[uint64]stay)
	}
	o.server = &fasthttp.Server{
		Handler: o.Handle, Name: "recording-origin", NoDefaultDate: true,
		DisableHeaderNamesNormalizing: true, SecureErrorLogMessage: true,
		ReadBufferSize: 16 << 10, CloseOnShutdown: true,
	}
	return o
}

// fill repeats a text up to a length.
func fill(with string, size int) []byte {
	return bytes.Repeat([]byte(with), size/len(with)+1)[:size]
}

// Serve answers on a listener until Close, and returns nil then.
func (o *Origin) Serve(l net.Listener) error {
	if err := o.server.Serve(l); err != nil && !errors.Is(err, net.ErrClosed) {
		return fmt.Errorf("serve the recording origin on %s: %w", l.Addr(), err)
	}
	return nil
}

// Close ends Serve and the connections to it.
func (o *Origin) Close() error { return o.server.Shutdown() }

// Handle answers one request.
func (o *Origin) Handle(ctx *fasthttp.RequestCtx) {
	path := ctx.Path()
	if string(path) == o.conf.Stats {
		o.answerStats(ctx)
		return
	}
	visitor, room, ours := o.inspect(ctx)
	o.record(ctx, path, visitor, room, ours)
	if len(visitor) > 0 {
		ctx.Response.Header.SetBytesV(RecordedVisitor, visitor)
	}
	ctx.Response.Header.Set("Cache-Control", "no-store")
	if strings.HasPrefix(string(path), o.conf.Assets) {
		o.assets.Add(1)
		ctx.SetContentType("text/css")
		ctx.Response.SetBodyRaw(o.asset)
		return
	}
	if o.conf.Think > 0 {
		time.Sleep(o.conf.Think)
	}
	if ctx.IsPost() {
		o.posts.Add(1)
		if string(path) == o.conf.Order {
			o.released.Add(1)
			ctx.Response.Header.Set("Sluice-Session", "release")
		}
	} else {
		o.pages.Add(1)
	}
	ctx.SetContentType("text/html; charset=utf-8")
	ctx.Response.SetBodyRaw(o.page)
}

// inspect reads what the gate says of a request, and finds what should have stayed
// with it: our cookies, and headers named sluice-* that a visitor made up.
func (o *Origin) inspect(ctx *fasthttp.RequestCtx) (visitor, room []byte, ours string) {
	visitors, rooms := 0, 0
	for key, value := range ctx.Request.Header.All() {
		switch {
		case string(key) == "Sluice-Visitor":
			visitor = value
			visitors++
		case string(key) == "Sluice-Room":
			room = value
			rooms++
		case len(key) >= 7 && strings.EqualFold(string(key[:6]), "sluice") && (key[6] == '-' || key[6] == '_'):
			ours = "header " + string(key)
		case strings.EqualFold(string(key), "Cookie"):
			if hasOurCookie(value) {
				ours = "one of our cookies"
			}
		}
	}
	if visitors > 1 || rooms > 1 {
		ours = "Sluice-Visitor or Sluice-Room twice"
	}
	return visitor, room, ours
}

func hasOurCookie(header []byte) bool {
	for pair := range bytes.SplitSeq(header, []byte(";")) {
		if bytes.HasPrefix(bytes.TrimLeft(pair, " \t"), []byte("sluice-")) {
			return true
		}
	}
	return false
}

func (o *Origin) record(ctx *fasthttp.RequestCtx, path, visitor, room []byte, ours string) {
	o.requests.Add(1)
	at := o.now().Sub(o.began)
	gated := strings.HasPrefix(string(path), o.conf.Gated)
	unadmitted := gated && (len(visitor) == 0 || len(room) == 0)
	if unadmitted {
		o.unadmitted.Add(1)
	}
	if ours != "" {
		o.leaked.Add(1)
	}
	if len(visitor) > 0 {
		hash := maphash.Bytes(o.seed, visitor)
		s := &o.shards[hash%uint64(len(o.shards))]
		s.mu.Lock()
		v, ok := s.visitors[hash]
		if !ok {
			v.first = int64(at)
		}
		v.last = max(v.last, int64(at))
		s.visitors[hash] = v
		s.mu.Unlock()
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	second := int(at / time.Second)
	for len(o.seconds) <= second && second < maxSeconds {
		o.seconds = append(o.seconds, 0)
	}
	o.seconds[min(second, maxSeconds-1)]++
	if (unadmitted || ours != "") && len(o.examples) < maxExamples {
		what := "without Sluice-Visitor and Sluice-Room"
		if ours != "" {
			what = "with " + ours
		}
		o.examples = append(o.examples, fmt.Sprintf("%s %s %s", ctx.Method(), ctx.RequestURI(), what))
	}
}

const (
	maxExamples = 10
	maxSeconds  = 24 * 3600
)

// Stats is what the shop recorded.
type Stats struct {
	Requests   int64    `json:"requests"`
	Pages      int64    `json:"pages"`
	Assets     int64    `json:"assets"`
	Posts      int64    `json:"posts"`
	Released   int64    `json:"released"`     // orders whose answer freed the slot
	Visitors   int64    `json:"visitors"`     // distinct values of Sluice-Visitor
	MostAtOnce int64    `json:"most_at_once"` // of them, each from their first to their last request
	Unadmitted int64    `json:"unadmitted"`   // gated requests without Sluice-Visitor or Sluice-Room
	Leaked     int64    `json:"leaked"`       // requests with our cookies, or headers that visitors made up
	Examples   []string `json:"examples"`     // of those two
	PerSecond  []int64  `json:"per_second"`   // requests, from the start
}

// Plus is what two shops recorded together, where nobody went to both. MostAtOnce
// is then a bound.
func (s Stats) Plus(t Stats) Stats {
	s.Requests += t.Requests
	s.Pages += t.Pages
	s.Assets += t.Assets
	s.Posts += t.Posts
	s.Released += t.Released
	s.Visitors += t.Visitors
	s.MostAtOnce += t.MostAtOnce
	s.Unadmitted += t.Unadmitted
	s.Leaked += t.Leaked
	s.Examples = slices.Concat(s.Examples, t.Examples)
	long, short := s.PerSecond, t.PerSecond
	if len(long) < len(short) {
		long, short = short, long
	}
	s.PerSecond = slices.Clone(long)
	for i, n := range short {
		s.PerSecond[i] += n
	}
	return s
}

// Stats returns what was recorded so far.
func (o *Origin) Stats() Stats {
	s := Stats{
		Requests: o.requests.Load(), Pages: o.pages.Load(), Assets: o.assets.Load(), Posts: o.posts.Load(),
		Released: o.released.Load(), Unadmitted: o.unadmitted.Load(), Leaked: o.leaked.Load(),
	}
	var came, went []int64
	for i := range o.shards {
		sh := &o.shards[i]
		sh.mu.Lock()
		for _, v := range sh.visitors {
			came, went = append(came, v.first), append(went, v.last)
		}
		sh.mu.Unlock()
	}
	s.Visitors = int64(len(came))
	slices.Sort(came)
	slices.Sort(went)
	gone := 0
	for i, at := range came {
		for went[gone] < at {
			gone++
		}
		s.MostAtOnce = max(s.MostAtOnce, int64(i+1-gone))
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	s.Examples = append([]string{}, o.examples...)
	s.PerSecond = append([]int64{}, o.seconds...)
	return s
}

func (o *Origin) answerStats(ctx *fasthttp.RequestCtx) {
	b, err := json.Marshal(o.Stats())
	if err != nil {
		panic("BUG: origin: " + err.Error())
	}
	ctx.SetContentType("application/json")
	ctx.Response.Header.Set("Cache-Control", "no-store")
	ctx.SetBody(b)
}
