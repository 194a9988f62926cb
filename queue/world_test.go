package queue_test

import (
	"context"
	"encoding/binary"
	"fmt"
	"hash/maphash"
	"math/bits"
	"slices"
	"strings"
	"time"

	"github.com/sluicegate/sluice/queue"
	"github.com/sluicegate/sluice/queue/memory"
)

// world is a small room with everybody who has to do with it: the memory store, the
// Lines of some gates without their goroutines, and visitors with what they hold. It
// does one move at a time and can be cloned, so that all orders of moves can be tried.
// What it takes for true it learns from what is asked and answered; see judge_test.go.
type world struct {
	*scope
	now    time.Duration // since the beginning, by all clocks
	store  *memory.Store
	older  *memory.Store // what was saved of it; nil: nothing
	gates  []modelGate
	guests []guest
	late   *lateCall
	torn   [2]bool // the line, the slots: gone by the next call
	anew   bool    // the store was started anew before the next call

	seconds, faults int // that may still pass and happen
	saved           int
	net             fate // of the calls of this move
	bucket          bucket
	strange, blank  bool   // nobody called since a loss; nobody who remembers did
	wrong           string // the promise that was broken
	tell            func(string, ...any)
	before, after   []memory.Visitor // scratch
}

// scope is what a world is made of, and how much may happen in it.
type scope struct {
	name            string
	visitors, gates int
	rate            queue.Rate
	maxActive       int64
	seconds, faults int
	saves           int
	kinds           []deed // of faults
	nets            []fate
	poll            time.Duration // how often visitors are asked to poll; 0: 2 s
	spoil           spoil
	settings        queue.Settings
}

// spoil breaks what gates say, so that the judge has something to find.
type spoil struct {
	call    func(*queue.Call)
	arrival func(*queue.Arrival)
}

type modelGate struct {
	line   *queue.Line
	paused bool // does nothing at all, as by SIGSTOP
	cut    bool // reaches no store
	well   int  // seconds in which it was neither, since the latest loss
}

// guest is a visitor, and what is true of them.
type guest struct {
	joined bool
	here   bool // polls when asked to, uses the pass every second
	home   int  // the gate where
	ticket token
	pass   token
	due    time.Duration // when asked to poll again

	known   queue.Time // until when they are present, by all that any store was told
	until   queue.Time // until when a pass of theirs is good
	used    bool       // came with a pass
	in      bool       // the same, and a store was told
	left    bool
	keepers uint // gates that gave the pass, or took the farewell
	late    bool // the store heard of the first request so late that it moved the place
	lost    bool // something was lost since they were in
}

// token is a ticket or a pass; the zero token is none.
type token struct {
	queue.Pass
	generation uint32
}

// lateCall was sent by a gate that has stopped waiting for the answer.
type lateCall struct {
	gate int
	call queue.Call
	in   []queue.Arrival
	out  []queue.Departure
	tick bool
}

// move is what happens next.
type move struct {
	do   deed
	who  int8
	gate int8
	net  fate
}

type deed uint8

const (
	second deed = iota
	join
	poll
	use
	leave
	away
	tick
	report
	deliver
	resume
	heal
	save
	crash // from here on a fault
	pause
	cut
	wipe
	restore
	tearLine
	tearSlots
)

// fate is what becomes of the calls that a move makes.
type fate uint8

const (
	fine     fate = iota
	onceLost      // the first is carried out, and its answer lost
	allLost       // all are carried out, and all answers lost
	tooLate       // the first arrives when nobody waits for it any more
	unheard       // all is well, but the visitor's connection
)

var (
	names    = []string{"ann", "bob", "cat", "dee"}
	gateName = []string{"A", "B", "C"}
	epoch    = time.Unix(1_800_000_000, 0)
)

func (m move) String() string {
	who, gate := names[max(m.who, 0)], "gate "+gateName[max(m.gate, 0)]
	net := map[fate]string{onceLost: "; the store's answer is lost, once", allLost: "; the store's answers are lost",
		tooLate: "; the call is late, nobody waits for it", unheard: "; " + who + " gets no answer"}[m.net]
	switch m.do {
	case second:
		return "a second passes"
	case join:
		return who + " comes to " + gate + net
	case poll:
		return who + " shows the ticket to " + gate + net
	case use:
		return who + " shows the pass to " + gate + net
	case leave:
		return who + " leaves by " + gate + net
	case away:
		return who + " does nothing from now on"
	case tick:
		return gate + " ticks" + net
	case report:
		return gate + " reports" + net
	case deliver:
		return "the late call arrives"
	case resume:
		return gate + " goes on"
	case heal:
		return gate + " reaches the store again"
	case save:
		return "the store is saved"
	case crash:
		return gate + " is killed and starts anew"
	case pause:
		return gate + " is stopped"
	case cut:
		return gate + " is cut off from the store"
	case wipe:
		return "the store is wiped"
	case restore:
		return "the store is what it was when it was saved"
	case tearLine:
		return "the store loses the line"
	default:
		return "the store loses the slots"
	}
}

func newWorld(s *scope) *world {
	set := queue.Defaults()
	set.Rate, set.MaxActive = s.rate, s.maxActive
	poll := max(s.poll, 2*time.Second) // as often as any other: nothing is left to chance
	set.Session, set.ClaimWithin, set.KeepPlace = 6*poll, 2*poll, time.Minute
	set.PollMin, set.PollMax = poll, poll
	s.settings = set
	w := &world{scope: s, seconds: s.seconds, faults: s.faults, gates: make([]modelGate, s.gates), guests: make([]guest, s.visitors)}
	w.store = memory.New(memory.Options{Now: w.clock})
	w.bucket = newBucket(&set)
	for i := range w.gates {
		w.start(i)
	}
	w.now = 10 * time.Second // so that a generation born later has another number
	for i := range w.gates {
		w.gates[i].line.Tick()
	}
	return w
}

func (w *world) clock() time.Time { return epoch.Add(w.now) }

func (w *world) start(gate int) {
	l := queue.NewLine(queue.LineConfig{Room: "drop", Settings: w.settings, Store: &wire{w, gate}, Now: w.clock, Metrics: discard})
	l.SetNear(0)
	w.gates[gate].line = l
	l.Tick()
}

func (w *world) clone() *world {
	c := *w
	c.store = w.store.Copy(c.clock)
	c.gates = slices.Clone(w.gates)
	for i := range c.gates {
		c.gates[i].line = w.gates[i].line.Clone(&wire{&c, i}, c.clock)
	}
	c.guests = slices.Clone(w.guests)
	c.before, c.after = nil, nil
	return &c
}

// moves appends what may happen next.
func (w *world) moves(out []move) []move {
	add := func(do deed, who, gate int) {
		out = append(out, move{do: do, who: int8(who), gate: int8(gate)})
		if do == second || do > report || w.faults == 0 {
			return
		}
		for _, net := range w.nets {
			switch {
			case do == use, do == away, net == unheard && do != join && do != poll, net == allLost && (do == tick || do == leave),
				net == tooLate && (w.late != nil || do == report):
				continue
			}
			out = append(out, move{do, int8(who), int8(gate), net})
		}
	}
	if w.seconds > 0 {
		add(second, -1, -1)
	}
	newcomer := false
	for i := range w.guests {
		g := &w.guests[i]
		for at := range w.gates {
			if w.gates[at].paused {
				continue
			}
			switch {
			case !g.joined:
				if !newcomer {
					add(join, i, at)
				}
				continue
			case g.left:
			case g.pass.ID != 0 && g.pass.Until > w.gates[at].line.Time():
				add(use, i, at)
				add(leave, i, at)
			case g.ticket.ID != 0:
				add(leave, i, at)
			}
			if g.ticket.ID != 0 {
				add(poll, i, at)
			}
		}
		newcomer = newcomer || !g.joined
		if g.here {
			add(away, i, -1)
		}
	}
	for at := range w.gates {
		g := &w.gates[at]
		if g.paused {
			add(resume, -1, at)
			continue
		}
		add(tick, -1, at)
		add(report, -1, at)
		if g.cut {
			add(heal, -1, at)
		}
	}
	if w.late != nil {
		add(deliver, -1, -1)
	}
	for _, kind := range w.kinds {
		if kind == save {
			if w.saved < max(w.scope.saves, 1) && w.faults > 0 {
				add(save, -1, -1)
			}
			continue
		}
		if w.faults == 0 || kind == restore && w.older == nil {
			continue
		}
		switch kind {
		case crash, pause, cut:
			for at := range w.gates {
				if g := &w.gates[at]; !g.paused && !(kind == cut && g.cut) {
					add(kind, -1, at)
				}
			}
		default:
			add(kind, -1, -1)
		}
	}
	return out
}

// take does one move.
func (w *world) take(m move) {
	w.net = m.net
	if m.net != fine || m.do >= crash {
		w.faults--
	}
	switch m.do {
	case second:
		w.second()
	case join:
		w.join(int(m.who), int(m.gate))
	case poll:
		w.poll(int(m.who), int(m.gate))
	case use:
		w.use(int(m.who), int(m.gate))
	case leave:
		w.leave(int(m.who), int(m.gate))
	case away:
		w.guests[m.who].here = false
	case tick:
		w.gates[m.gate].line.Tick()
	case report:
		w.gates[m.gate].line.Report()
	case deliver:
		w.deliver()
	case resume:
		w.gates[m.gate].paused = false
		w.gates[m.gate].line.Tick() // was due long ago
	case heal:
		w.gates[m.gate].cut = false
	case save:
		w.older = w.store.Copy(w.clock)
		w.saved++
	case crash:
		for i := range w.guests {
			w.guests[i].keepers &^= 1 << m.gate
		}
		w.gates[m.gate] = modelGate{}
		w.start(int(m.gate))
	case pause:
		w.gates[m.gate].paused = true
	case cut:
		w.gates[m.gate].cut = true
	case wipe:
		w.store = memory.New(memory.Options{Now: w.clock})
		w.anew, w.torn = false, [2]bool{}
		w.loses()
	case restore:
		w.store = w.older
		w.older, w.anew = nil, true
		w.loses()
	case tearLine, tearSlots:
		w.torn[m.do-tearLine] = true
		w.loses()
	}
	w.net = fine
	w.check()
}

// second lets one pass. Who was asked to, polls; who is inside uses the pass; gates
// report and tick.
func (w *world) second() {
	w.seconds--
	w.now = w.now.Truncate(time.Second) + time.Second
	for i := range w.guests {
		g := &w.guests[i]
		if !g.here || g.left || w.gates[g.home].paused {
			continue
		}
		switch {
		case g.pass.ID != 0 && g.pass.Until > w.gates[g.home].line.Time():
			w.use(i, g.home)
		case g.ticket.ID != 0 && w.now >= g.due:
			w.poll(i, g.home)
		}
	}
	for i := range w.gates {
		if !w.gates[i].paused {
			w.gates[i].line.Report()
			w.gates[i].line.Tick()
		}
		if w.gates[i].paused || w.gates[i].cut {
			w.gates[i].well = 0
		} else {
			w.gates[i].well = min(w.gates[i].well+1, timeToTell)
		}
	}
}

func (w *world) join(who, at int) {
	w.now = max(w.now, w.now.Truncate(time.Second)+time.Duration(who+1)*time.Microsecond)
	g := &w.guests[who]
	*g = guest{joined: true, here: true, home: at}
	l := w.gates[at].line
	var a queue.Answer
	l.Ask(func() { a = l.Join(idOf(who), true) })
	w.keep(who, at, a)
}

func idOf(who int) queue.ID { return queue.ID(who + 1) }

func (w *world) poll(who, at int) {
	g := &w.guests[who]
	l := w.hears(g.ticket, at)
	if !g.in {
		g.here, g.home = true, at
	}
	var a queue.Answer
	l.Ask(func() { a = l.Poll(idOf(who), g.ticket.Place, false, nil) })
	w.keep(who, at, a)
}

// hears has a gate verify a token.
func (w *world) hears(t token, at int) *queue.Line {
	l := w.gates[at].line
	if now, place := l.TimesAt(w.clock()); now < t.Issued || place < t.Place {
		l.HearToken(t.Issued, t.Place, t.generation)
	}
	return l
}

// keep has a visitor keep what they are answered, as a browser does. The ticket is kept
// for good: by another device.
func (w *world) keep(who, at int, a queue.Answer) {
	if w.tell != nil {
		w.tell("%s is told %s", names[who], a.State)
	}
	g := &w.guests[who]
	if w.net == unheard {
		g.here = false
		return
	}
	l := w.gates[at].line
	t := token{queue.Pass{ID: idOf(who), Place: a.Place, Issued: l.Time()}, l.Generation()}
	g.due = w.now + a.PollAfter
	switch {
	case a.State == queue.Admitted:
		t.Called, t.Until, t.Provisional = a.Called, a.Until, a.Provisional
		g.pass = t
		if g.ticket.ID == 0 { // who comes with it too late has a ticket
			t.Until = 0
			g.ticket = t
		}
		g.until = max(g.until, a.Until)
		g.home = at
	case a.Place > 0:
		if g.ticket.ID == 0 {
			g.ticket = t
		}
		w.kept(who, &a)
	case a.State == queue.Used:
		w.kept(who, &a)
		g.here = false
	}
}

func (w *world) use(who, at int) {
	g := &w.guests[who]
	l := w.hears(g.pass, at)
	running := g.pass.Until > l.Time()
	until, gone := l.Use(g.pass.Pass)
	switch {
	case gone:
		if running && !g.left {
			w.fail("P6: %s is inside and was sent away", names[who])
		}
		g.pass = token{}
	case running:
		g.used = true
	}
	if until > 0 {
		g.pass.Until, g.pass.Provisional, g.pass.Issued = until, false, l.Time()
		g.pass.generation = l.Generation()
		g.until = max(g.until, until)
	}
}

func (w *world) leave(who, at int) {
	g := &w.guests[who]
	t := g.pass
	if t.ID == 0 {
		t = g.ticket
	}
	l := w.hears(t, at)
	var err error
	l.Ask(func() { err = l.Leave(t.ID, t.Place, t.Until) })
	if err == nil {
		g.left, g.here, g.until = true, false, 0
		g.keepers = 1 << at
		g.lost = false
	}
}

// wire is a gate's way to the store.
type wire struct {
	w    *world
	gate int
}

var (
	errLost = fmt.Errorf("%w: the answer was lost", queue.ErrUnavailable)
	errCut  = fmt.Errorf("%w: cut off", queue.ErrUnavailable)
	errLate = fmt.Errorf("%w: %w", queue.ErrUnavailable, context.DeadlineExceeded)
)

// send carries out a call, or not.
func (n *wire) send(c *queue.Call, in []queue.Arrival, departures []queue.Departure, isTick bool, do func()) error {
	w := n.w
	switch {
	case w.gates[n.gate].cut:
		return errCut
	case w.net == tooLate:
		if w.late == nil {
			w.late = &lateCall{n.gate, *c, slices.Clone(in), slices.Clone(departures), isTick}
		}
		return errLate
	}
	w.carry(n.gate, c, in, do)
	switch w.net {
	case onceLost:
		w.net = fine
		return errLost
	case allLost:
		return errLost
	}
	return nil
}

func (n *wire) Enter(ctx context.Context, c *queue.Call, in []queue.Arrival, out []queue.Standing) ([]queue.Standing, queue.Moment, error) {
	var m queue.Moment
	from := len(out)
	err := n.send(c, in, nil, false, func() {
		out, m, _ = n.w.store.Enter(ctx, n.w.spoilt(c), n.w.spoiltArrivals(in), out)
		n.w.entered(in, out[from:])
	})
	if err == nil {
		n.w.heardEnter(n.gate, in, out[from:])
	}
	return out, m, err
}

func (n *wire) Renew(ctx context.Context, c *queue.Call, in []queue.Visit, out []queue.Renewal) ([]queue.Renewal, queue.Moment, error) {
	var m queue.Moment
	from := len(out)
	err := n.send(c, nil, nil, false, func() {
		out, m, _ = n.w.store.Renew(ctx, n.w.spoilt(c), in, out)
		n.w.renewed(in, out[from:])
	})
	if err == nil {
		n.w.heardRenew(n.gate, in, out[from:])
	}
	return out, m, err
}

func (n *wire) Leave(ctx context.Context, c *queue.Call, in []queue.Departure, out []queue.Departed) ([]queue.Departed, queue.Moment, error) {
	var m queue.Moment
	err := n.send(c, nil, in, false, func() {
		out, m, _ = n.w.store.Leave(ctx, n.w.spoilt(c), in, out)
		n.w.departed(in)
	})
	return out, m, err
}

func (n *wire) Tick(ctx context.Context, c *queue.Call) (s queue.Snapshot, err error) {
	err = n.send(c, nil, nil, true, func() { s, _ = n.w.store.Tick(ctx, n.w.spoilt(c)) })
	return s, err
}

func (n *wire) Overrides(context.Context, string) (queue.Overrides, error) {
	return queue.Overrides{}, nil
}
func (n *wire) Override(context.Context, string, queue.Overrides) error { return nil }
func (n *wire) Close() error                                            { return nil }

// spoilt is what a broken gate says.
func (w *world) spoilt(c *queue.Call) *queue.Call {
	if w.spoil.call == nil {
		return c
	}
	other := *c
	w.spoil.call(&other)
	return &other
}

func (w *world) spoiltArrivals(in []queue.Arrival) []queue.Arrival {
	if w.spoil.arrival == nil {
		return in
	}
	in = slices.Clone(in)
	for i := range in {
		w.spoil.arrival(&in[i])
	}
	return in
}

// deliver carries out the call for which nobody waits.
func (w *world) deliver() {
	l := w.late
	w.late = nil
	ctx := context.Background()
	w.carry(l.gate, &l.call, l.in, func() {
		switch {
		case l.tick:
			_, _ = w.store.Tick(ctx, &l.call)
		case l.out != nil:
			_, _, _ = w.store.Leave(ctx, &l.call, l.out, nil)
			w.departed(l.out)
		case l.in != nil:
			out, _, _ := w.store.Enter(ctx, &l.call, l.in, nil)
			w.entered(l.in, out)
		}
	})
}

// carry has the store do one call, and looks at what it did.
func (w *world) carry(at int, c *queue.Call, in []queue.Arrival, do func()) {
	if w.anew || w.torn != [2]bool{} {
		w.store.Lose(c, w.torn[0], w.torn[1])
		w.anew, w.torn = false, [2]bool{}
	}
	w.before = w.store.Visitors("drop", w.before[:0])
	w.meets(c)
	do()
	w.after = w.store.Visitors("drop", w.after[:0])
	w.judge(at, in)
}

// key is the same for worlds that differ in nothing that matters: in when they began,
// in how far apart places are, in which gate is called A.
func (w *world) key(seed maphash.Seed) uint64 {
	at := w.store.Moment("drop").Time
	if at == 0 {
		at = queue.Time(w.clock().UnixMicro())
	}
	var places []queue.Time
	var b []byte
	number := func(n int64) { b = binary.AppendVarint(b, n) }
	instant := func(t queue.Time) {
		if t == 0 {
			number(-1 << 40)
			return
		}
		number(max(int64(t-at), -30_000_000))
	}
	machine := func(t time.Time) { number(max(t.Sub(epoch).Microseconds()-w.now.Microseconds(), -30_000_000)) }
	collect := func(t queue.Time) { places = append(places, t) }
	nothing, never, no := func(queue.Time) {}, func(time.Time) {}, func(int64) {}
	stores := []*memory.Store{w.store}
	if w.older != nil {
		stores = append(stores, w.older)
	}
	for _, s := range stores {
		s.Note("drop", nothing, collect, no)
	}
	for i := range w.gates {
		w.gates[i].line.Note(nothing, collect, never, no)
	}
	for i := range w.guests {
		collect(w.guests[i].ticket.Place)
	}
	slices.Sort(places)
	places = slices.Compact(places)
	place := func(t queue.Time) {
		i, _ := slices.BinarySearch(places, t)
		number(int64(i))
	}
	flag := func(set ...bool) {
		for _, s := range set {
			number(int64(bits.OnesCount8(map[bool]uint8{true: 1}[s])))
		}
	}
	for _, s := range stores {
		s.Note("drop", instant, place, number)
	}
	number(int64(w.now % time.Second))
	number(int64(w.seconds)<<16 | int64(w.faults)<<8 | int64(w.saved))
	flag(w.torn[0], w.torn[1], w.anew, w.strange, w.blank)
	number(w.bucket.units)
	for i := range w.guests {
		g := &w.guests[i]
		flag(g.joined, g.here, g.late, g.used, g.in, g.left, g.lost, g.pass.Provisional)
		number(int64(g.home))
		place(g.ticket.Place)
		number(int64(max(g.due-w.now, -time.Second)))
		for _, t := range []queue.Time{g.known, g.until, g.pass.Until, g.pass.Issued, g.pass.Called} {
			instant(t)
		}
		number(int64(g.pass.generation)<<32 | int64(g.ticket.generation))
		number(int64(g.keepers))
	}
	for i := range w.gates {
		number(int64(w.gates[i].well))
		flag(w.gates[i].paused, w.gates[i].cut)
		w.gates[i].line.Note(instant, place, machine, number)
	}
	if l := w.late; l != nil {
		number(int64(l.gate))
		instant(l.call.Told)
		number(int64(l.call.Generation))
		number(int64(l.call.Hold))
		number(l.call.Called)
		number(l.call.Active)
		flag(l.tick)
		for _, a := range l.in {
			number(int64(a.ID))
			instant(a.Place)
			instant(a.Deadline)
			flag(a.Newcomer, a.Again, a.Claim)
		}
		for _, d := range l.out {
			number(int64(d.ID))
			instant(d.Until)
		}
	}
	return maphash.Bytes(seed, b)
}

// picture shows who stands where, for a trace.
func (w *world) picture() string {
	var b strings.Builder
	for _, v := range w.store.Visitors("drop", nil) {
		fmt.Fprintf(&b, " %s %s for %v", names[v.ID-1], v.State, v.Deadline.Sub(w.store.Moment("drop").Time).Round(time.Millisecond))
	}
	return b.String()
}
