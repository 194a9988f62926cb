package judge

import (
	"cmp"
	"fmt"
	"io"
	"math"
	"slices"
	"time"
)

// Options are what a judge has to know. The zero value judges what needs none of
// it, with a grace of 250 ms.
type Options struct {
	// Grace is how much later somebody must have come to count as later; 0: 250 ms.
	Grace time.Duration
	// Rate and Burst are the room's limits, calls a second and calls at once, the
	// same throughout. Rate 0: not known, and nothing is said of windows.
	Rate  float64
	Burst float64
	// Session is the room's; who vanished from inside holds a slot for as long. 0:
	// not known, and they count as inside until their last answer only.
	Session time.Duration
	// Idle is after how long at least somebody inside who asks nothing may be put out. 0: a
	// session.
	Idle time.Duration
	// Unshown is how long a pass is good for that was given on the spot and not shown
	// since. 0: not known, and as long as a session.
	Unshown time.Duration
	// Early is by how much earlier who was idle may be put out: a store that lost
	// something may have its clock go on at once.
	Early time.Duration
	// MaxActive is the room's. 0: not known, and too many inside are no case.
	MaxActive int64
	// Inexact is by how much of itself a position may be wrong; 0: 6 %, negative:
	// not at all. Positions up to 32 are exact in any case.
	Inexact float64
	// Looser are the times in which the room's limits were looser than these. Where
	// several overlap the loosest of each limit counts.
	Looser []Looser
}

// Looser is a time in which limits were looser than at others. Who was called in it
// must have heard of it by its end: a change back has to have reached everybody.
type Looser struct {
	From, To    int64 // nanoseconds since 1970, by the visitors' clock
	Rate, Burst float64
	MaxActive   int64 // 0: no limit
}

// Unlimited is a rate that is none.
var Unlimited = math.Inf(1)

// looser are the limits of the looser times that an instant is in; false: it is in none.
func (o *Options) looser(at int64) (all Looser, ok bool) {
	for _, l := range o.Looser {
		switch {
		case at < l.From || l.To < at:
		case !ok:
			all, ok = l, true
		default:
			all.Rate, all.Burst = max(all.Rate, l.Rate), max(all.Burst, l.Burst)
			if all.MaxActive > 0 {
				all.MaxActive = max(all.MaxActive, l.MaxActive)
			}
			if l.MaxActive == 0 {
				all.MaxActive = 0
			}
		}
	}
	return all, ok
}

const (
	defaultGrace   = 250 * time.Millisecond
	defaultInexact = .06
	exactTo        = 32 // positions up to here are told exactly

	// known is how long it takes until those who are back are in everybody's
	// positions: marks are sent once a second, snapshots taken a little later.
	known = 3 * time.Second

	// rounding is by how much the age of a position may be too high.
	rounding = 100 * time.Millisecond

	// written is how long after the answer somebody new is in everybody's positions.
	written = 500 * time.Millisecond

	// maxFindings is how many cases of each kind are told.
	maxFindings = 5
)

// Judge gathers logs. It is for one goroutine.
type Judge struct {
	o      Options
	people []person
	index  map[uint64]int32 // visitor of the log that is read -> people
	polls  []poll
	copies []copied
	end    int64 // the latest time of any event
	events int64
}

// person is one visitor.
type person struct {
	number         int   // for findings, from 1
	sent, answered int64 // of the first request; answered 0: never seen
	came           int64 // sent, or that of whoever had the ticket first
	after          int64 // promised by the first answer
	ticket         uint64
	place          int64
	joined         bool // was given a ticket and told to wait
	in             bool
	inSent, inAt   int64 // the answer that let them in
	back           bool  // was absent before that
	inTicket       uint64
	called         int64
	session        uint64
	end            int64 // left or vanished; 0: not yet
	freed          int64 // had the answer to leaving; 0: never told
	vanished, used bool
	walkedAway     bool
	forgotten      int64 // when they were told that they have no place; 0: never
	expelled       int64 // when they were asked to wait again
	expelledAfter  int64 // idle before that; 0: they were not
	from, to       int32 // their polls
}

// poll is a refusal.
type poll struct {
	who            int32
	sent, answered int64
	after          int64
	position, age  int64
	low, high      int64
	ticket         uint64
	place          int64
	since          int64 // present without a gap since then: when the first answer was there
	back           bool  // was absent before
}

// asOf is between when the position was so. One without an age was so when it was told.
func (q *poll) asOf() (from, to int64) {
	if q.age == 0 {
		return q.sent, q.answered
	}
	return q.sent - q.age, q.answered - q.age + int64(rounding)
}

// copied is a further admission of somebody's ticket.
type copied struct {
	who     int32
	sent    int64
	ticket  uint64
	called  int64
	session uint64
}

// New returns a judge who has heard nothing yet.
func New(o Options) *Judge {
	if o.Grace == 0 {
		o.Grace = defaultGrace
	}
	switch {
	case o.Inexact == 0:
		o.Inexact = defaultInexact
	case o.Inexact < 0:
		o.Inexact = 0
	}
	return &Judge{o: o}
}

// Add reads the log of one process. Of a log that was cut off it takes what is
// whole, and returns an error that wraps io.ErrUnexpectedEOF.
func (j *Judge) Add(log io.Reader) error {
	j.index = make(map[uint64]int32)
	err := Read(log, j.hear)
	j.index = nil
	return err
}

// hear takes one event.
func (j *Judge) hear(e *Event) {
	j.events++
	j.end = max(j.end, e.Answered)
	i, ok := j.index[e.Visitor]
	if !ok {
		i = int32(len(j.people))
		j.index[e.Visitor] = i
		j.people = append(j.people, person{number: int(i) + 1})
	}
	p := &j.people[i]
	switch e.Kind {
	case Joined:
		p.joined = true
		p.sent, p.answered, p.after, p.ticket, p.place = e.Sent, e.Answered, e.After, e.Ticket, e.Place
	case Refused:
		j.polls = append(j.polls, poll{
			who: i, sent: e.Sent, answered: e.Answered, after: e.After, position: e.Position, age: e.Age,
			low: e.Low, high: e.High, ticket: e.Ticket, place: e.Place,
		})
	case Admitted:
		if p.in { // another tab
			j.copies = append(j.copies, copied{i, e.Sent, e.Ticket, e.Called, e.Session})
			if p.session == 0 {
				p.session = e.Session
			}
			if p.called == 0 {
				p.called = e.Called
			}
			return
		}
		p.in, p.inSent, p.inAt, p.inTicket, p.called, p.session = true, e.Sent, e.Answered, e.Ticket, e.Called, e.Session
		if p.answered == 0 {
			p.sent, p.answered, p.place = e.Sent, e.Answered, e.Place
		}
	case Copied:
		j.copies = append(j.copies, copied{i, e.Sent, e.Ticket, e.Called, e.Session})
	case Left:
		p.end, p.freed = e.Sent, e.Answered
	case Vanished:
		p.end, p.vanished, p.used = e.Answered, true, e.Used
	case WalkedAway:
		p.walkedAway = true
	case Forgotten:
		p.forgotten = e.Answered
	case Expelled:
		p.expelled, p.expelledAfter = e.Answered, max(e.After, 1)
	}
}

// Verdict is what a judge found.
type Verdict struct {
	Events   int64
	Visitors int64 // who had a place or were let in
	Admitted int64
	OnSpot   int64 // of them, without a wait

	Overtaken        int64 // people
	OvertakenPolls   int64
	OvershootWindow  int64 // most calls beyond what a window allows; -1: limits not known
	InsideMax        int64
	PlacesLost       int64 // people
	DoubleAdmissions int64 // tickets
	Early            int64 // let in sooner than first told
	Within           int64
	Late             int64
	NotAdmitted      int64
	WalkedAway       int64
	UnknownCalls     int64 // let in without a stamp that could be read

	// Findings tells some of the cases, a sentence each, and of each visitor one of a kind.
	Findings []string
	// Cases are all of them, but for what exceeds MaxCases of a kind.
	Cases []Case
}

// What is it that was not kept.
type What string

// What a judge finds.
const (
	Overtook    What = "overtaken"
	TooMany     What = "too many called"
	TooFull     What = "too many inside"
	Forgot      What = "place forgotten"
	Replaced    What = "place replaced"
	Grew        What = "position grew"
	PutOut      What = "put out while inside"
	TwiceIn     What = "let in twice"
	LeftWaiting What = "not let in"
)

// Case is one that was not kept.
type Case struct {
	What    What
	Text    string
	Visitor int // the one concerned, counted in order of appearance from 1; 0: many
	// From and To are between what it shows, nanoseconds since 1970.
	From, To int64
	// Number is by how many it exceeds what is allowed, where that is counted; else 1.
	Number int64
}

// Verdict judges what was heard so far.
func (j *Judge) Verdict() *Verdict {
	v := &Verdict{Events: j.events}
	j.arrange()
	for i := range j.people {
		p := &j.people[i]
		if !p.joined && !p.in {
			continue
		}
		v.Visitors++
		switch {
		case p.in:
			v.Admitted++
			if !p.joined {
				v.OnSpot++
			}
		case p.walkedAway:
			v.WalkedAway++
		case p.forgotten == 0:
			v.NotAdmitted++
			v.find(LeftWaiting, p.number, p.sent, j.end, "visitor %d stayed and was not let in", p.number)
		}
	}
	j.overtaken(v)
	j.calls(v)
	j.inside(v)
	j.lost(v)
	j.doubles(v)
	j.estimates(v)
	return v
}

// MaxCases is how many cases of one kind are kept.
const MaxCases = 4000

// find is of one visitor, findMany of many.
func (v *Verdict) find(what What, visitor int, from, to int64, format string, args ...any) {
	v.add(what, visitor, from, to, 1, format, args...)
}

func (v *Verdict) findMany(what What, from, to, number int64, format string, args ...any) {
	v.add(what, 0, from, to, number, format, args...)
}

func (v *Verdict) add(what What, visitor int, from, to, number int64, format string, args ...any) {
	same, told := 0, make(map[int]bool) // visitor
	for i := range v.Cases {
		if v.Cases[i].What != what {
			continue
		}
		if same++; same >= MaxCases {
			return
		}
		if len(told) <= maxFindings {
			told[v.Cases[i].Visitor] = true
		}
	}
	c := Case{what, fmt.Sprintf(format, args...), visitor, from, to, number}
	if visitor == 0 && same < maxFindings || visitor > 0 && len(told) < maxFindings && !told[visitor] {
		v.Findings = append(v.Findings, c.Text)
	}
	v.Cases = append(v.Cases, c)
}

// arrange puts polls in order, by person and then by time, and finds out who came
// when and was absent when. Who was let in in vain, because the shop did not answer in
// time, comes again as somebody else, with the ticket and its place.
func (j *Judge) arrange() {
	came := make(map[uint64]int64)
	for i := range j.people {
		if p := &j.people[i]; p.answered > 0 {
			ticket := cmp.Or(p.ticket, p.inTicket)
			if first, ok := came[ticket]; !ok || p.sent < first {
				came[ticket] = p.sent
			}
		}
	}
	slices.SortFunc(j.polls, func(a, b poll) int {
		return cmp.Or(cmp.Compare(a.who, b.who), cmp.Compare(a.sent, b.sent), cmp.Compare(a.answered, b.answered))
	})
	for i := range j.people {
		p := &j.people[i]
		p.from, p.to = 0, 0
		p.came = p.sent
		if ticket := cmp.Or(p.ticket, p.inTicket); ticket != 0 && p.answered > 0 {
			p.came = came[ticket]
		}
		p.back = p.joined && p.in && p.inAt > p.answered+presence(p.after)
	}
	for from := 0; from < len(j.polls); {
		p := &j.people[j.polls[from].who]
		to := from
		since, heard := p.answered, p.answered
		deadline := p.answered + presence(p.after)
		for ; to < len(j.polls) && j.polls[to].who == j.polls[from].who; to++ {
			q := &j.polls[to]
			// Written down no later than it was answered, perhaps no sooner either.
			q.back = heard > 0 && q.answered > deadline
			if q.back || heard == 0 {
				since = q.answered
			}
			q.since = since
			heard = max(heard, q.answered)
			deadline = max(deadline, q.answered+presence(q.after))
		}
		p.from, p.to = int32(from), int32(to)
		p.back = p.in && heard > 0 && p.inAt > deadline
		from = to
	}
}

// presence is how long after an answer somebody counts as present: what they were
// asked to wait, half of that, and three seconds; a little less, since the gate
// counted from before it answered.
func presence(after int64) int64 {
	return after + after/2 + int64(3*time.Second-100*time.Millisecond)
}

// overtaken finds people refused at a poll that was sent after somebody had the
// answer that let them in who had sent their first request a grace after these had
// the answer to theirs, and was called after these were last back.
//
// The polls are gone through from the latest `since` to the earliest, and with
// them, in the order of when they were called at the earliest, those let in are
// put into a tree by when they came. The tree tells the earliest answer that let
// anybody in who came at some time or later.
func (j *Judge) overtaken(v *Verdict) {
	type letIn struct{ came, callable, at int64 }
	var in []letIn
	for i := range j.people {
		p := &j.people[i]
		if !p.in {
			continue
		}
		l := letIn{p.came, p.sent, p.inAt}
		for _, q := range j.polls[p.from:p.to] { // not yet called when a refused poll was sent
			if q.answered <= p.inAt {
				l.callable = max(l.callable, q.sent)
			}
		}
		in = append(in, l)
	}
	came := make([]int64, len(in))
	for i, l := range in {
		came[i] = l.came
	}
	slices.Sort(came)
	slices.SortFunc(in, func(a, b letIn) int { return cmp.Compare(b.callable, a.callable) })
	order := make([]int32, len(j.polls))
	for i := range order {
		order[i] = int32(i)
	}
	slices.SortFunc(order, func(a, b int32) int { return cmp.Compare(j.polls[b].since, j.polls[a].since) })

	earliest := newLeast(len(in))
	next := 0
	hit := make(map[int32]bool)
	for _, i := range order {
		q := &j.polls[i]
		p := &j.people[q.who]
		if p.answered == 0 {
			continue
		}
		for ; next < len(in) && in[next].callable >= q.since; next++ {
			at, _ := slices.BinarySearch(came, in[next].came)
			earliest.put(len(came)-1-at, in[next].at) // latest first: the tree answers for prefixes
		}
		later, _ := slices.BinarySearch(came, p.answered+int64(j.o.Grace))
		at := earliest.upTo(len(came) - 1 - later)
		if at >= q.sent {
			continue
		}
		v.OvertakenPolls++
		if !hit[q.who] {
			hit[q.who] = true
			v.Overtaken++
		}
		if v.OvertakenPolls > MaxCases {
			continue
		}
		v.find(Overtook, p.number, at, q.answered, "visitor %d was told to wait at a poll sent %v after somebody was let in who came more than %v later",
			p.number, time.Duration(q.sent-at).Round(time.Millisecond), j.o.Grace)
	}
}

// least is a Fenwick tree of minima: the least value at places up to one.
type least []int64

func newLeast(n int) least {
	l := make(least, n+1)
	for i := range l {
		l[i] = math.MaxInt64
	}
	return l
}

func (l least) put(i int, value int64) {
	for i++; i < len(l); i += i & -i {
		l[i] = min(l[i], value)
	}
}

func (l least) upTo(i int) int64 {
	out := int64(math.MaxInt64)
	for i++; i > 0; i -= i & -i {
		out = min(out, l[i])
	}
	return out
}

// calls finds the window with the most calls beyond what rate and burst allow.
func (j *Judge) calls(v *Verdict) {
	type call struct {
		at     int64
		ticket uint64
		who    int32
		told   int64 // when it was known of
	}
	var calls []call
	for i := range j.people {
		switch p := &j.people[i]; {
		case p.in && p.called > 0:
			calls = append(calls, call{p.called, p.inTicket, int32(i), p.inAt})
		case p.in:
			v.UnknownCalls++
		}
	}
	for _, c := range j.copies {
		if c.called > 0 {
			calls = append(calls, call{c.called, c.ticket, c.who, c.sent})
		}
	}
	slices.SortFunc(calls, func(a, b call) int {
		return cmp.Or(cmp.Compare(a.at, b.at), cmp.Compare(a.ticket, b.ticket), cmp.Compare(a.who, b.who))
	})
	calls = slices.CompactFunc(calls, func(a, b call) bool { // one call, seen twice
		return a.at == b.at && a.ticket == b.ticket && (a.ticket != 0 || a.who == b.who)
	})
	v.OvershootWindow = -1
	if j.o.Rate <= 0 {
		return
	}
	stamps, limits := make([]int64, len(calls)), make([]limit, len(calls))
	for i, c := range calls {
		stamps[i], limits[i] = c.at, limit{j.o.Rate / 1000, j.o.Burst}
		if l, ok := j.o.looser(c.told); ok {
			limits[i] = limit{l.Rate / 1000, l.Burst}
		}
	}
	over, from, to := overshoot(stamps, limits)
	v.OvershootWindow = over
	if over > 0 {
		v.findMany(TooMany, calls[from].told, calls[to].told, over, "%d visitors were called within %d ms, %d more than %g/s and a burst of %g allow",
			to-from+1, stamps[to]-stamps[from], over, j.o.Rate, j.o.Burst)
	}
}

// limit is what was in force at a call.
type limit struct{ perMilli, burst float64 }

// overshoot returns by how many the calls of any window exceed what rate and burst
// allow, and the first and the last call of the worst window; 0 if none does. Stamps
// are sorted milliseconds that were cut, so that a window may have been a millisecond
// longer than it looks. Between two calls the looser of their rates was earned.
//
// It fills a bucket backwards: the excess of the windows that end with a call is
// that of the call before, less what was earned in between, or less what the burst
// allows in a window that only begins, and one.
func overshoot(stamps []int64, limits []limit) (over int64, from, to int) {
	level, first := 0., 0 // the worst window that ends at the call before
	worst := 0.
	for i, t := range stamps {
		now := limits[i]
		if i > 0 {
			level -= earned(t-stamps[i-1], max(limits[i-1].perMilli, now.perMilli))
		}
		if i == 0 || level <= -now.burst {
			level, first = -now.burst, i
		}
		level++
		if excess := level - now.perMilli; excess > worst+1e-9 {
			worst, from, to = excess, first, i
		}
	}
	if worst <= 1e-6 { // of rounding
		return 0, 0, 0
	}
	return int64(math.Ceil(worst - 1e-6)), from, to
}

// earned is how many may be called in so many milliseconds.
func earned(millis int64, perMilli float64) float64 {
	if math.IsInf(perMilli, 1) {
		return perMilli // even in none
	}
	return float64(millis) * perMilli
}

// inside counts the people who were surely inside at one time.
func (j *Judge) inside(v *Verdict) {
	var starts, ends []int64
	for i := range j.people {
		p := &j.people[i]
		if !p.in {
			continue
		}
		starts = append(starts, p.inAt)
		switch {
		case p.end == 0:
			ends = append(ends, math.MaxInt64)
		case p.vanished && p.used:
			ends = append(ends, max(p.end, p.inAt)+int64(j.o.Session))
		default:
			ends = append(ends, max(p.end, p.inAt))
		}
	}
	slices.Sort(starts)
	slices.Sort(ends)
	gone := 0
	full := Case{What: TooFull} // as long as there are too many; From 0: there are not
	for i, at := range starts {
		for gone < len(ends) && ends[gone] <= at {
			gone++
			if full.From > 0 && int64(i-gone) <= j.o.MaxActive {
				full.To = ends[gone-1]
				v.tooFull(&full, j.o.MaxActive)
			}
		}
		n := int64(i + 1 - gone)
		v.InsideMax = max(v.InsideMax, n)
		most := j.o.MaxActive
		if l, ok := j.o.looser(at); ok && most > 0 {
			most = cmp.Or(l.MaxActive, n)
		}
		if beyond := n - most; most > 0 && beyond > 0 {
			full.From, full.To = cmp.Or(full.From, at), at
			full.Number = max(full.Number, beyond)
		}
	}
	if full.From > 0 {
		v.tooFull(&full, j.o.MaxActive)
	}
}

// tooFull tells of a time in which there were too many inside, which is over.
func (v *Verdict) tooFull(c *Case, most int64) {
	v.findMany(c.What, c.From, c.To, c.Number, "%d people were inside at once, where %d are allowed", most+c.Number, most)
	*c = Case{What: c.What}
}

// lost finds people who did not keep what they had.
func (j *Judge) lost(v *Verdict) {
	hit := make(map[int32]bool)
	number := int64(1)
	lose := func(who int32, what What, from, to int64, format string, args ...any) {
		if !hit[who] {
			hit[who] = true
			v.PlacesLost++
		}
		v.add(what, j.people[who].number, from, to, number, "visitor %d "+format, append([]any{j.people[who].number}, args...)...)
	}
	for i := range j.people {
		p, who := &j.people[i], int32(i)
		if p.forgotten > 0 {
			lose(who, Forgot, j.lastHeard(p), p.forgotten, "asked in time and was told that they have no place")
		}
		good := cmp.Or(j.o.Idle, j.o.Session)
		if j.o.Unshown > 0 && !p.joined && p.vanished && !p.used {
			good = j.o.Unshown
		}
		if p.expelledAfter > 0 && (good == 0 || p.expelledAfter < int64(good-j.o.Early)) {
			lose(who, PutOut, p.expelled-p.expelledAfter, p.expelled, "was inside and was asked to wait again, %v after their last request", time.Duration(p.expelledAfter).Round(time.Millisecond))
		}
		if p.in && p.ticket != 0 && p.inTicket != 0 && p.ticket != p.inTicket {
			lose(who, Replaced, j.lastHeard(p), p.inAt, "was let in with another ticket than they came with")
		}
		heard, ticket, place := p.answered, p.ticket, p.place
		for _, q := range j.polls[p.from:p.to] {
			if ticket != 0 && q.ticket != 0 && q.ticket != ticket {
				lose(who, Replaced, heard, q.answered, "was given another ticket")
			} else if place != 0 && q.place != 0 && q.place != place {
				lose(who, Replaced, heard, q.answered, "was given another place, %v later", time.Duration(q.place-place)*time.Microsecond)
			}
			heard, ticket, place = q.answered, cmp.Or(q.ticket, ticket), cmp.Or(q.place, place)
		}
	}
	for _, g := range j.growths() {
		was, is := &j.polls[g.before], &j.polls[g.after]
		number = is.position - was.position - g.back - g.inexact
		lose(is.who, Grew, was.sent, is.answered, "stood at position %d and %v later at %d, and %d before them came back",
			was.position, time.Duration(is.answered-was.answered).Round(time.Millisecond), is.position, g.back)
	}
}

// lastHeard is when somebody last heard that they have a place.
func (j *Judge) lastHeard(p *person) int64 {
	if p.to > p.from {
		return j.polls[p.to-1].answered
	}
	return p.answered
}

// growth is a position that grew by more than those who came back.
type growth struct {
	before, after int // polls
	back, inexact int64
}

// growths compares every position with the one before. Those who came back, or into
// the line at a place before, may have done so at any time from when they asked
// until they were known. They are counted by offline queries: people in the order in
// which they came, and trees over when they asked and when they were known.
func (j *Judge) growths() []growth {
	type query struct {
		growth
		who      int32
		from, to int64
	}
	var queries []query
	for i := 1; i < len(j.polls); i++ {
		was, is := &j.polls[i-1], &j.polls[i]
		if was.who != is.who || was.position <= 0 || is.position <= 0 || was.answered > is.sent {
			continue // another person, or two tabs at one time
		}
		asOf, _ := is.asOf()
		from, until := was.asOf()
		if asOf < until {
			continue // older numbers, as those of a gate that is cut off
		}
		allowed := int64(0)
		if was.position > exactTo {
			allowed = int64(float64(was.position) * j.o.Inexact)
		}
		if is.position-was.position <= allowed {
			continue
		}
		queries = append(queries, query{growth{before: i - 1, after: i, inexact: allowed}, is.who, from, is.answered})
	}
	if len(queries) == 0 {
		return nil
	}
	type comeback struct{ came, asked, known int64 }
	var backs []comeback
	for i := range j.polls {
		q := &j.polls[i]
		if q.back {
			backs = append(backs, comeback{j.people[q.who].came, q.sent, q.answered + int64(known)})
		}
	}
	// Who came at the same time may have the place before and be written down after.
	for i := range j.people {
		p := &j.people[i]
		if p.joined {
			backs = append(backs, comeback{p.came, p.sent, p.answered + int64(written)})
		}
		if p.back {
			backs = append(backs, comeback{p.came, p.inSent, p.inAt + int64(known)})
		}
	}
	var asked, heard []int64
	for _, b := range backs {
		asked, heard = append(asked, b.asked), append(heard, b.known)
	}
	slices.Sort(asked)
	slices.Sort(heard)
	slices.SortFunc(backs, func(a, b comeback) int { return cmp.Compare(a.came, b.came) })
	slices.SortFunc(queries, func(a, b query) int {
		return cmp.Compare(j.people[a.who].answered, j.people[b.who].answered)
	})
	askedBefore, knownBefore := make(sums, len(backs)+1), make(sums, len(backs)+1)
	next := 0
	var out []growth
	for _, q := range queries {
		for ; next < len(backs) && backs[next].came < j.people[q.who].answered; next++ {
			at, _ := slices.BinarySearch(asked, backs[next].asked)
			askedBefore.add(at)
			at, _ = slices.BinarySearch(heard, backs[next].known)
			knownBefore.add(at)
		}
		to, _ := slices.BinarySearch(asked, q.to+1)
		from, _ := slices.BinarySearch(heard, q.from)
		q.back = askedBefore.below(to) - knownBefore.below(from)
		if j.polls[q.after].position-j.polls[q.before].position > q.inexact+q.back {
			out = append(out, q.growth)
		}
	}
	slices.SortFunc(out, func(a, b growth) int { return cmp.Compare(a.after, b.after) })
	return out
}

// sums is a Fenwick tree of counts.
type sums []int64

func (s sums) add(i int) {
	for i++; i < len(s); i += i & -i {
		s[i]++
	}
}

// below returns how many were added at places before i.
func (s sums) below(i int) (n int64) {
	for ; i > 0; i -= i & -i {
		n += s[i]
	}
	return n
}

// doubles finds tickets that were let in as two sessions, or once they had left.
func (j *Judge) doubles(v *Verdict) {
	hit := make(map[int32]bool)
	for _, c := range j.copies {
		p := &j.people[c.who]
		if c.ticket != 0 && p.inTicket != 0 && c.ticket != p.inTicket {
			continue // somebody new, who shows in the other judgements
		}
		why := ""
		switch {
		case !p.in:
			continue
		case c.called != 0 && p.called != 0 && c.called != p.called:
			why = fmt.Sprintf("was called twice, %d ms apart", c.called-p.called)
		case c.session != 0 && p.session != 0 && c.session != p.session:
			why = "was let in as two visitors"
		case p.freed > 0 && c.sent >= p.freed:
			why = fmt.Sprintf("was let in %v after it was given back", time.Duration(c.sent-p.freed).Round(time.Millisecond))
		default:
			continue
		}
		if !hit[c.who] {
			hit[c.who] = true
			v.DoubleAdmissions++
		}
		v.find(TwiceIn, p.number, p.inSent, c.sent, "the ticket of visitor %d %s", p.number, why)
	}
}

// estimates compares the first estimate that somebody was told with how long it
// took from then, in whole seconds. Who was absent meanwhile is left out.
func (j *Judge) estimates(v *Verdict) {
	for i := range j.people {
		p := &j.people[i]
		if !p.in {
			continue
		}
		var first *poll
		for k := p.from; k < p.to; k++ {
			q := &j.polls[k]
			if q.back {
				first = nil
				break
			}
			if first == nil && q.high > 0 {
				first = q
			}
		}
		if first == nil {
			continue
		}
		switch waited := (p.inAt - first.answered) / int64(time.Second); {
		case waited < first.low:
			v.Early++
		case waited > first.high:
			v.Late++
		default:
			v.Within++
		}
	}
}
