package main

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"github.com/sluicegate/sluice/loadtest/judge"
)

// allowance is something that visitors may see because of a fault, and that breaks no
// promise. Whatever else they see does.
type allowance struct {
	kinds string // of faults, as for choose, with blanks between

	// Either a finding of the judges, or requests that fail: for one of these reasons,
	// at one of these steps.
	what    judge.What
	errors  []string
	steps   []string // none: any
	until   time.Duration
	ofBegin bool // until counts from the fault's beginning, not from its end
	// before, where it is not 0: what was found began at most so long before the fault.
	before time.Duration

	// drawn, where it is not 0, is for this allowance what drawnOut is for others.
	drawn time.Duration

	// atOnce: only so many each time; 0: any number.
	atOnce int64
	// newcomers: only as many, each time, as people came while the fault lasted.
	newcomers bool
	// atGate: only of whom the gate that the fault broke answered meanwhile.
	atGate bool
	// onSpot, where it is not 0: only of who was let in on the spot at most so long before.
	onSpot time.Duration
	// with: only if a fault of these kinds lasted meanwhile too.
	with string
	// following: only if a fault of these kinds came before it, and after what the
	// finding began with.
	following string

	why string
}

// visitorTimeout is the longest that a visitor waits for an answer.
const visitorTimeout = 6 * time.Second

var (
	brokenOff = []string{"connection reset by peer", "unexpected EOF", "broken pipe"}
	atShop    = []string{"join", "reload", "replay", "page", "asset", "order", "post"} // steps whose requests may reach the shop
)

const (
	// oneAway are the kinds that keep one gate from the store, allAway those that keep all.
	oneAway = "link-gone link-gone-long link-half-open link-answers link-drip"
	allAway = "gate-power store-kill store-empty store-older store-freeze store-full store-pause store-busy store-readonly store-alone store-locked store-crowded " +
		"link-gone-all link-answers-all"
	storeAway = oneAway + " " + allAway
	// reconnect is how long a gate takes at most until it asks the store again: a call
	// that is not answered, and a pause.
	reconnect = 3 * time.Second
	// heldPoll is how long a poll may be held that is answered in vain.
	heldPoll = 2 * time.Second
	// shownWithin is how long a pass is good for that was given on the spot: half of
	// claim_within, see defaultRoom.
	shownWithin = 2500 * time.Millisecond
	// drawnOut is for how long at most somebody goes on to wait whom others have overtaken
	// because of a fault, while people are let in: a hold, and their turn.
	drawnOut = 10 * time.Second
	// wholeLine is how long it takes until everybody's turn has come.
	wholeLine = 30 * time.Second
	// toldAgain is until when everybody has polled once more and positions tell of it.
	toldAgain = 4 * time.Second
)

// allowances are all that there are.
var allowances = []allowance{
	{
		kinds: "gate-kill gate-clock", errors: brokenOff, until: 2 * time.Second, ofBegin: true,
		why: "a killed gate's connections are reset, which is heard later where they are slow; visitors come again, to another",
	},
	{
		kinds: "gate-kill-all gate-power", errors: brokenOff, until: time.Second,
		why: "no gate is there; visitors come again",
	},
	{
		kinds: "gate-files", errors: append([]string{"timeout"}, brokenOff...), until: visitorTimeout + time.Second,
		why: "a gate without files takes no connections, and closes some; visitors come again, to another",
	},
	{
		kinds: "gate-files", errors: []string{"status 502"}, steps: atShop, until: time.Second,
		why: "nor does it open any to the shop; the page keeps the pass",
	},
	{
		kinds: "gate-files", errors: []string{"status 503"}, until: time.Second,
		why: "where it can, it says so; the page asks again",
	},
	{
		kinds: "gate-freeze gate-freeze-long", errors: []string{"timeout"}, until: visitorTimeout + time.Second,
		why: "a gate that hangs does not answer; visitors come again, to another",
	},
	{
		kinds: "front-cut", errors: brokenOff, until: time.Second, ofBegin: true,
		why: "the connections are the visitors' own",
	},
	{
		kinds: "front-gone", errors: append([]string{"connection refused"}, brokenOff...), until: time.Second,
		why: "the connections are the visitors' own",
	},
	{
		kinds: "front-answers front-half-open front-slow", errors: []string{"timeout"}, until: visitorTimeout + time.Second,
		why: "the connections are the visitors' own",
	},
	{
		kinds: "front-answers front-half-open front-slow", errors: brokenOff, with: "gate-stop gate-update gate-clock", until: visitorTimeout + time.Second,
		why: "a gate that is stopped waits for some seconds only for what is under way",
	},
	{
		kinds: oneAway, what: judge.Overtook, atGate: true, until: reconnect + heldPoll,
		why: "a gate that cannot ask the store lets nobody in, while others go on; those who come to another gate are let in",
	},
	{
		kinds: allAway, what: judge.Overtook, until: reconnect + heldPoll,
		why: "while the store is away nobody is let in, whoever was before",
	},
	{
		kinds: oneAway, what: judge.Grew, until: reconnect + toldAgain,
		why: "to the others those who wait at the gate are absent after a while, and they come back with it",
	},
	{
		kinds: "gate-freeze gate-freeze-long", what: judge.Grew, until: heldPoll + toldAgain,
		why: "who polled last at the gate is absent after a while, the sooner where it had yet to tell the store, and comes back with it",
	},
	{
		kinds: "store-moved store-older store-kill", what: judge.Grew, until: reconnect + toldAgain + heldPoll,
		why: "in an older copy of the line stand those who were called since, and those are missing who came back; they count when they are heard of",
	},
	{
		kinds: "key-called key-active key-since", what: judge.Grew, atOnce: usualBurst, until: reconnect + toldAgain,
		why: "slots are dropped together; those who were called and had not come yet stand at their places again",
	},
	{
		kinds: storeAway, what: judge.Grew, newcomers: true, until: reconnect + toldAgain,
		why: "the store hears of those who came while it was away when they first poll",
	},
	{
		kinds: storeAway + " link-cut store-clients store-moved", errors: []string{"status 503"}, steps: []string{"leave"}, until: reconnect,
		why: "to leave is to tell the store: while it is away the gate says so, and the slot is free when the session is over",
	},
	{
		kinds: "shop-gone shop-resets", errors: []string{"status 502", "status 503"}, steps: atShop, until: visitorTimeout,
		why: "the shop does not answer; the page keeps the pass, and may be under way for long to those who are far",
	},
	{
		kinds: "shop-silent", errors: []string{"status 504", "status 503", "timeout"}, steps: atShop, until: visitorTimeout + time.Second,
		why: "the shop does not answer; the page keeps the pass",
	},
	{
		kinds: "shop-halves", errors: brokenOff, steps: atShop, until: time.Second,
		why: "what was sent of an answer cannot be taken back",
	},
	{
		kinds: "gate-power", what: judge.Overtook, until: 2 * time.Second,
		why: "where nothing is remembered the first newcomer is let in; with the first older ticket the line is held",
	},
	{
		kinds: "store-flush store-flush-slowly store-empty store-evicts store-kill store-older store-moved gate-power",
		what:  judge.PutOut, onSpot: shownWithin, until: shownWithin,
		why: "room time goes on at once where nothing was left; a pass given on the spot just before is good for little more until the second request replaces it, and its holder keeps the place",
	},
	{
		kinds: oneAway, what: judge.PutOut, onSpot: drawnOut, until: reconnect,
		why: "who was let in on the spot, and showed the pass to the cut-off gate alone, has a place to the others, and keeps it",
	},
	{
		kinds: "gate-freeze gate-freeze-long", what: judge.PutOut, onSpot: drawnOut, until: visitorTimeout,
		why: "a gate that hung reads late that somebody shows the pass of the spot, which is good for a moment; the place is kept",
	},
	{
		kinds: "gate-freeze gate-freeze-long", errors: []string{"status 504"}, steps: atShop, until: time.Second,
		why: "a gate that hung hears too late what the shop answered meanwhile; the page keeps the pass",
	},
	{
		kinds: storeAway, what: judge.PutOut, before: time.Nanosecond, until: reconnect,
		why: "a session that was about to be over, and was used at one gate while the store could not be told, is over for the others",
	},
	{
		kinds: "front-far", errors: brokenOff, steps: []string{"order", "post"}, until: time.Second,
		why: "a form that is under way when the gate ends an idle connection is not sent twice",
	},
	{
		kinds: "gate-power", what: counted, with: "limit-active", until: defaultRoom().session,
		why: "nothing is left that knows who was inside; where max_active was lowered meanwhile they are too many when they are heard of",
	},
	{
		kinds: "gate-power", what: judge.TooFull, until: defaultRoom().session,
		why: "nothing is left that knows of those who were inside and never came again; the judges keep their slots for a session",
	},
	{
		kinds: "store-flush store-flush-slowly store-empty store-evicts store-kill store-older store-moved gate-power key-called key-active key-since key-meta",
		what:  judge.Overtook, before: heldPoll, until: 0,
		why: "who was called and had not come yet stands in line again; others who were called with them had come",
	},
	{
		kinds: "limit-open", what: judge.Overtook, until: 2 * time.Second, drawn: wholeLine,
		why: "in an open room people are let in as they ask, and who does not ask just then waits for the turn; gates hear of a change within a second of each other",
	},
	{
		kinds: "shop-500", errors: []string{"status 500"}, steps: atShop, until: time.Second,
		why: "this is the shop's answer",
	},
	{
		kinds: "store-flush store-flush-slowly store-empty store-older store-moved store-evicts gate-power key-meta key-used key-left", what: judge.TwiceIn, following: "gate-clock gate-kill gate-kill-all gate-power gate-stop gate-update", until: time.Minute,
		why: "that a ticket was used was known to the store, which lost it, and to the gate that gave the pass, which was restarted",
	},
}

// isFor tells whether the allowance is for faults of a kind.
func isFor(list, kind string) bool {
	return slices.ContainsFunc(strings.Fields(list), func(p string) bool { return matches(p, kind) })
}

// lasting findings begin because of a fault and are seen whenever they are looked for.
var lasting = []judge.What{judge.TooFull, judge.TwiceIn, judge.Overtook}

// covers tells whether something that showed between two instants may be because of
// a fault.
func (e *evidence) covers(a *allowance, f *fault, from, to time.Time) bool {
	if !isFor(a.kinds, f.name) || f.began.IsZero() || to.Before(f.began) {
		return false
	}
	if a.before > 0 && from.Before(f.began.Add(-a.before)) {
		return false
	}
	end := f.ended
	if a.ofBegin {
		end = f.began
	}
	seen := to
	if slices.Contains(lasting, a.what) {
		seen = from
	}
	passed := seen.Sub(end)
	if a.what == judge.Grew {
		passed = e.moving(end, seen) // positions stand while nobody is let in
	}
	if !end.IsZero() && passed > a.until {
		return false
	}
	if !end.IsZero() && a.what == judge.Overtook && e.moving(end.Add(a.until), to) > cmp.Or(a.drawn, drawnOut) {
		return false
	}
	if a.with != "" && !slices.ContainsFunc(e.faults, func(g *fault) bool {
		return isFor(a.with, g.name) && !g.began.IsZero() && g.began.Before(to) && (g.ended.IsZero() || g.ended.After(f.began))
	}) {
		return false
	}
	if a.following == "" {
		return true
	}
	return slices.ContainsFunc(e.faults, func(g *fault) bool {
		return isFor(a.following, g.name) && g.began.After(from) && g.began.Before(f.ended)
	})
}

// explain returns the fault that something may be because of, nil if none. The visitor is
// whom it is about, 0 where that is nobody in particular.
func (e *evidence) explain(from, to time.Time, number int64, visitor int, fits func(*allowance) bool) *fault {
	for _, f := range e.faults {
		for i := range allowances {
			a := &allowances[i]
			if !fits(a) || !e.covers(a, f, from, to) || a.newcomers && number > e.newcomers(f) || a.atOnce > 0 && number > a.atOnce || a.atGate && !e.met(f, visitor) ||
				a.onSpot > 0 && !e.onSpot(visitor, to.Add(-a.onSpot)) {
				continue
			}
			return f
		}
	}
	return nil
}
