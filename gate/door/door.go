package door

import (
	"context"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sluicegate/sluice/metrics"
)

// Level is how crowded a door is.
type Level uint8

const (
	Calm    Level = iota
	Crowded       // what can be ended ends
	Full          // only the reserve is left
)

// Limits are how many connections a door lets stand open.
type Limits struct {
	Conns   int           // at once
	Reserve int           // of these, for visitors who were let in; 0: a fifth
	Header  time.Duration // from connecting to the end of the first header; 0: 10s
}

const (
	// tick is the clock's step, and how often a crowded door is looked over.
	tick = 100 * time.Millisecond

	// hurried is the time for a header while the door is crowded.
	hurried = 3 * time.Second

	// perPass is how many connections are kept for one pass: a browser opens six to a
	// host, and a pass that has more is shown by more than one visitor.
	perPass = 32

	// restless is how long a connection has been idle, at least, that is ended though its
	// visitor was let in, where nothing else is left.
	restless = 5 * time.Second
)

// Door counts a server's connections, of all its listeners together.
type Door struct {
	limits  Limits
	most    int          // guarded by mu, as brim: what Narrow leaves of limits.Conns
	brim    int          // from so many on, as the next two
	crowded atomic.Int64 // written with mu held, as full
	full    atomic.Int64
	metrics *metrics.Metrics
	hurry   func()

	clock atomic.Int64 // in ticks; its steps are as long as the machine lets them be
	count atomic.Int64

	mu     sync.Mutex
	conns  []*Conn
	first  *Conn // fresh ones, the oldest first
	last   *Conn
	passes map[uint64]int // connections favoured by the pass they showed
}

// New returns a door. Hurry, if any, is called when it gets crowded: whatever is kept
// waiting should be answered.
func New(l Limits, m *metrics.Metrics, hurry func()) *Door {
	if l.Reserve == 0 {
		l.Reserve = l.Conns / 5
	}
	if l.Header == 0 {
		l.Header = 10 * time.Second
	}
	d := &Door{limits: l, metrics: m, hurry: hurry, passes: make(map[uint64]int)}
	d.share(l.Conns)
	return d
}

// share divides so many connections. Nobody else uses d, or d.mu is held.
func (d *Door) share(conns int) {
	reserve := d.limits.Reserve * conns / d.limits.Conns
	full := conns - reserve
	d.most, d.brim = conns, conns-reserve/4
	d.full.Store(int64(full))
	d.crowded.Store(int64(full * 3 / 4))
	d.metrics.ConnectionsLimit(conns)
}

// Narrow has the door let in so many fewer than its limit, for the process needs their
// files elsewhere, but never fewer than a quarter of it. Those who are in stay; a
// crowded door ends what it may.
func (d *Door) Narrow(by int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if conns := max(d.limits.Conns-by, (d.limits.Conns+3)/4); conns != d.most {
		d.share(conns)
	}
}

// Limits are what the door was made with, and what was left out of it filled in.
func (d *Door) Limits() Limits { return d.limits }

// Level is how crowded the door is.
func (d *Door) Level() Level {
	switch n := d.count.Load(); {
	case n < d.crowded.Load():
		return Calm
	case n < d.full.Load():
		return Crowded
	}
	return Full
}

// Run looks after the door until ctx ends.
func (d *Door) Run(ctx context.Context) {
	t := time.NewTicker(tick)
	defer t.Stop()
	was := Calm
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
		d.clock.Add(1)
		level := d.Level()
		if level > Calm {
			if was == Calm && d.hurry != nil {
				d.hurry()
			}
			d.clear()
		}
		was = level
	}
}

// take lets a connection in, nil when there is no room for it.
func (d *Door) take(nc net.Conn) *Conn {
	k := &Conn{Conn: nc, door: d}
	k.set(fresh)
	var out *Conn
	d.mu.Lock()
	if len(d.conns) >= d.most {
		if out = d.first; out == nil {
			d.mu.Unlock()
			d.metrics.Refused(metrics.RefusedNoRoom)
			return nil
		}
		d.forget(out)
	}
	k.at = len(d.conns)
	d.conns = append(d.conns, k)
	d.enlist(k)
	d.count.Store(int64(len(d.conns)))
	d.metrics.Connection(metrics.ConnNew, 1)
	d.mu.Unlock()
	if out != nil {
		out.expel()
	}
	return k
}

// spare ends the oldest connection on which nothing whole has come, for its file.
func (d *Door) spare() {
	d.mu.Lock()
	out := d.first
	if out != nil {
		d.forget(out)
	}
	d.mu.Unlock()
	if out != nil {
		out.expel()
	}
}

func (k *Conn) expel() {
	k.set(leaving)
	k.door.metrics.Refused(metrics.RefusedUnread)
	_ = k.Close()
}

// forget takes a connection off the books. d.mu is held.
func (d *Door) forget(k *Conn) {
	if k.at < 0 {
		return
	}
	d.delist(k)
	end := len(d.conns) - 1
	d.conns[k.at] = d.conns[end]
	d.conns[k.at].at = k.at
	d.conns[end] = nil
	d.conns = d.conns[:end]
	k.at = -1
	d.count.Store(int64(end))
	d.metrics.Connection(k.kind, -1)
	if k.kind == metrics.ConnAdmitted {
		if d.passes[k.pass]--; d.passes[k.pass] == 0 {
			delete(d.passes, k.pass)
		}
	}
}

// remove takes an ended connection off the books, and tells on whose account it was.
func (d *Door) remove(k *Conn) (*Addresses, netip.Addr) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.forget(k)
	k.closed = true
	return k.payer, k.prefix
}

// pay puts a connection on an address's account, unless it has ended or is on one.
func (d *Door) pay(k *Conn, a *Addresses, prefix netip.Addr) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if k.closed || k.payer != nil {
		return false
	}
	k.payer, k.prefix = a, prefix
	return true
}

func (d *Door) enlist(k *Conn) {
	k.listed, k.prev = true, d.last
	if d.last == nil {
		d.first = k
	} else {
		d.last.next = k
	}
	d.last = k
}

func (d *Door) delist(k *Conn) {
	if !k.listed {
		return
	}
	if k.prev == nil {
		d.first = k.next
	} else {
		k.prev.next = k.next
	}
	if k.next == nil {
		d.last = k.prev
	} else {
		k.next.prev = k.prev
	}
	k.listed, k.prev, k.next = false, nil, nil
}

// begin is for a connection's first whole header.
func (d *Door) begin(k *Conn) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.delist(k)
	d.become(k, metrics.ConnWaiting)
}

func (d *Door) setKind(k *Conn, kind metrics.ConnKind) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.become(k, kind)
}

// become changes the kind that a connection is counted as. d.mu is held.
func (d *Door) become(k *Conn, kind metrics.ConnKind) {
	if k.at < 0 { // ended in the meantime
		return
	}
	d.metrics.Connection(k.kind, -1)
	d.metrics.Connection(kind, 1)
	k.kind = kind
}

func (d *Door) favour(k *Conn, pass uint64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if k.at < 0 || d.passes[pass] >= perPass {
		return
	}
	d.passes[pass]++
	k.pass = pass
	d.become(k, metrics.ConnAdmitted)
	k.favoured.Store(true)
}

// clear ends what may be ended of a crowded door's connections: those whose header is
// late, and so many of those between two requests as make it calm.
func (d *Door) clear() {
	now := d.clock.Load()
	var late, surplus, rest []*Conn
	d.mu.Lock()
	for k := d.first; k != nil; k = k.next {
		_, since := k.load()
		if now-since < int64(hurried/tick) {
			break
		}
		late = append(late, k)
	}
	for _, k := range d.conns {
		if k.favoured.Load() {
			continue
		}
		if s, since := k.load(); s == reading && now-since >= int64(hurried/tick) {
			late = append(late, k)
		}
	}
	open := len(d.conns)
	surplus = d.longestIdle(open-int(d.crowded.Load()), now, 0, false)
	if open > d.brim {
		rest = d.longestIdle(open-d.brim-len(surplus), now, int64(restless/tick), true)
	}
	d.mu.Unlock()
	for _, k := range late {
		if hasArrived(k.Conn) { // it is the gate that is late
			continue
		}
		if k.doing.CompareAndSwap(k.word(fresh), uint64(leaving)) || k.doing.CompareAndSwap(k.word(reading), uint64(leaving)) {
			d.metrics.Refused(metrics.RefusedLate)
			k.end()
		}
	}
	for _, k := range append(surplus, rest...) {
		if k.part() {
			d.metrics.Refused(metrics.RefusedIdle)
		}
	}
}

// word is what doing holds if the connection is in that state.
func (k *Conn) word(s state) uint64 {
	_, since := k.load()
	return uint64(since)<<stateBits | uint64(s)
}

// longestIdle returns up to n connections between two requests, the longest idle for
// at least so many ticks, favoured ones or the others. d.mu is held.
func (d *Door) longestIdle(n int, now, atLeast int64, favoured bool) []*Conn {
	if n <= 0 {
		return nil
	}
	const ages = 1024 // ticks; what is older counts as that
	var by [ages + 1]int
	age := func(k *Conn) int64 {
		if s, since := k.load(); s == idle && k.favoured.Load() == favoured && now-since >= atLeast {
			return min(now-since, ages)
		}
		return -1
	}
	for _, k := range d.conns {
		if a := age(k); a >= 0 {
			by[a]++
		}
	}
	oldest, found := ages+1, 0
	for oldest > 0 && found < n {
		oldest--
		found += by[oldest]
	}
	var out []*Conn
	for _, k := range d.conns {
		if len(out) == n {
			break
		}
		if a := age(k); a >= 0 && a >= int64(oldest) {
			out = append(out, k)
		}
	}
	return out
}

// EndUnused ends connections on which nothing has come for so long, between two
// requests or before the first one: browsers open some before they need them. It is
// for a server that stops, once every answer ends its connection.
func (d *Door) EndUnused(age time.Duration) {
	now := d.clock.Load()
	var unused, between []*Conn
	d.mu.Lock()
	for _, k := range d.conns {
		switch s, since := k.load(); {
		case now-since <= int64(age/tick):
		case s == idle:
			between = append(between, k)
		case s == fresh && !k.came.Load():
			unused = append(unused, k)
		}
	}
	d.mu.Unlock()
	for _, k := range between {
		k.part()
	}
	for _, k := range unused {
		if !hasArrived(k.Conn) {
			_ = k.Close()
		}
	}
}
