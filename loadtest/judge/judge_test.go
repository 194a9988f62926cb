package judge

import (
	"bytes"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"
	"time"
)

// history is what visitors of a test write down. Times are milliseconds; requests
// take ten.
type history struct {
	buf     bytes.Buffer
	log     *Log
	tickets uint64 // theirs have the visitor's number more
}

func newHistory() *history {
	h := &history{tickets: 1000}
	h.log = NewLog(&h.buf)
	return h
}

type someone struct {
	h      *history
	id     uint64
	ticket uint64
}

const took = 10

func (p *someone) write(at int64, e Event) { p.writeSlow(at, took, e) }

func (p *someone) writeSlow(at, took int64, e Event) {
	e.Visitor = p.id
	e.Sent, e.Answered = ms(at), ms(at+took)
	p.h.log.Add(&e)
}

func ms(n int64) int64 { return 1e18 + n*int64(time.Millisecond) }

// joins has somebody told to wait at some time, and to poll every two seconds.
func (h *history) joins(at int64) *someone {
	p := &someone{h: h, id: h.log.Visitor()}
	p.ticket = h.tickets + p.id
	p.write(at, Event{Kind: Joined, Ticket: p.ticket, Place: at * 1000, After: 2e9})
	return p
}

// walksIn has somebody let in on the spot.
func (h *history) walksIn(at, called int64) *someone {
	p := &someone{h: h, id: h.log.Visitor()}
	p.ticket = h.tickets + p.id
	p.in(at, called)
	return p
}

func (p *someone) refused(at, position int64) {
	p.write(at, Event{Kind: Refused, Ticket: p.ticket, Position: position, After: 2e9})
}

func (p *someone) in(at, called int64) {
	p.write(at, Event{Kind: Admitted, Ticket: p.ticket, Called: called, Session: p.ticket})
}

func (p *someone) leaves(at int64)    { p.write(at, Event{Kind: Left}) }
func (p *someone) walksAway(at int64) { p.write(at, Event{Kind: WalkedAway}) }
func (p *someone) vanishes(at int64, used bool) {
	p.write(at-took, Event{Kind: Vanished, Used: used})
}

func (h *history) judge(t *testing.T, o Options) *Verdict {
	t.Helper()
	if err := h.log.Flush(); err != nil {
		t.Fatal(err)
	}
	j := New(o)
	if err := j.Add(bytes.NewReader(h.buf.Bytes())); err != nil {
		t.Fatal(err)
	}
	return j.Verdict()
}

// Each row is a history and what a judge makes of it; what is not named is to be
// as if nothing was wrong.
func TestVerdicts(t *testing.T) {
	limits := Options{Rate: 10, Burst: 2, Session: time.Minute, Grace: 50 * time.Millisecond}
	for _, c := range []struct {
		name string
		o    Options
		tell func(h *history)
		want Verdict
	}{
		{"two people are let in in the order in which they came", limits, func(h *history) {
			ann, bob := h.joins(0), h.joins(1000)
			ann.refused(2000, 1)
			ann.in(4000, 4000)
			bob.in(4100, 4100)
			ann.leaves(5000)
			bob.leaves(5000)
		}, Verdict{Visitors: 2, Admitted: 2, InsideMax: 2}},

		{"ann is told to wait after bob, who came later, was let in", limits, func(h *history) {
			ann, bob := h.joins(0), h.joins(1000)
			bob.in(2000, 2000)
			ann.refused(2011, 1)
			ann.in(4000, 4000)
		}, Verdict{Visitors: 2, Admitted: 2, InsideMax: 2, Overtaken: 1, OvertakenPolls: 1}},

		{"bob was let in in vain before ann came, and comes again with the ticket and its place", limits, func(h *history) {
			bob := h.joins(0)
			bob.in(500, 500)
			bob.vanishes(600, false)
			ann := h.joins(1000)
			again := &someone{h: h, id: h.log.Visitor(), ticket: bob.ticket}
			again.write(5000, Event{Kind: Joined, Ticket: bob.ticket, After: 2e9})
			ann.refused(5500, 1)
			again.in(6000, 6000)
			ann.refused(6011, 1)
			ann.in(7000, 7000)
		}, Verdict{Visitors: 3, Admitted: 3, InsideMax: 2}},

		{"ann's poll was on its way when bob was let in, and may be refused", limits, func(h *history) {
			ann, bob := h.joins(0), h.joins(1000)
			bob.in(2000, 2000)
			ann.refused(2010, 1)
			ann.in(4000, 4000)
		}, Verdict{Visitors: 2, Admitted: 2, InsideMax: 2}},

		{"bob came within the grace: nobody can say who was first", limits, func(h *history) {
			ann, bob := h.joins(0), h.joins(took+49)
			bob.in(2000, 2000)
			ann.refused(3000, 1)
			ann.in(4000, 4000)
		}, Verdict{Visitors: 2, Admitted: 2, InsideMax: 2}},

		{"bob came just after the grace", limits, func(h *history) {
			ann, bob := h.joins(0), h.joins(took+50)
			bob.in(2000, 2000)
			ann.refused(3000, 1)
			ann.in(4000, 4000)
		}, Verdict{Visitors: 2, Admitted: 2, InsideMax: 2, Overtaken: 1, OvertakenPolls: 1}},

		{"somebody new is let in on the spot before those in line", limits, func(h *history) {
			ann := h.joins(0)
			h.walksIn(1000, 1000)
			ann.refused(2000, 1)
			ann.refused(4000, 1)
			ann.in(6000, 6000)
		}, Verdict{Visitors: 2, Admitted: 2, OnSpot: 1, InsideMax: 2, Overtaken: 1, OvertakenPolls: 2}},

		{"ann was absent while bob was called, and owes herself the wait", limits, func(h *history) {
			ann, bob := h.joins(0), h.joins(1000)
			bob.in(4000, 4000)
			ann.refused(20_000, 1)
			ann.refused(22_000, 1)
			ann.in(24_000, 24_000)
		}, Verdict{Visitors: 2, Admitted: 2, InsideMax: 2}},

		{"ann polls later than asked, but soon enough to be present", limits, func(h *history) {
			ann, bob := h.joins(0), h.joins(1000)
			bob.in(2000, 2000)
			ann.refused(5900, 1)
			ann.in(7000, 7000)
		}, Verdict{Visitors: 2, Admitted: 2, InsideMax: 2, Overtaken: 1, OvertakenPolls: 1}},

		{"ann was back before dee was called, and is owed", limits, func(h *history) {
			ann, dee := h.joins(0), h.joins(1000)
			for at := int64(3000); at < 21_000; at += 2000 {
				dee.refused(at, 1)
			}
			ann.refused(20_000, 1)
			dee.refused(21_000, 2)
			dee.in(23_000, 23_000)
			ann.refused(24_000, 1)
			ann.in(26_000, 26_000)
		}, Verdict{Visitors: 2, Admitted: 2, InsideMax: 2, Overtaken: 1, OvertakenPolls: 1}},

		{"three are called at once where two may be", limits, func(h *history) {
			h.walksIn(0, 500)
			h.walksIn(0, 500)
			h.walksIn(0, 500)
		}, Verdict{Visitors: 3, Admitted: 3, OnSpot: 3, InsideMax: 3, OvershootWindow: 1}},

		{"a call every 100 ms and a burst of two are exactly what is allowed", limits, func(h *history) {
			h.walksIn(0, 1000)
			for at := int64(1000); at < 2000; at += 100 {
				h.walksIn(0, at)
			}
		}, Verdict{Visitors: 11, Admitted: 11, OnSpot: 11, InsideMax: 11}},

		{"calls come in pairs, with too little in between", limits, func(h *history) {
			for at := int64(1000); at < 2000; at += 150 {
				h.walksIn(0, at)
				h.walksIn(0, at)
			}
		}, Verdict{Visitors: 14, Admitted: 14, OnSpot: 14, InsideMax: 14, OvershootWindow: 3}}, // 14 calls in 900 ms, 11 allowed

		{"two calls earned within the millisecond that a stamp was cut by", Options{Rate: 2000, Burst: 1}, func(h *history) {
			for range 3 {
				h.walksIn(0, 1000)
			}
		}, Verdict{Visitors: 3, Admitted: 3, OnSpot: 3, InsideMax: 3}},

		{"the rate is doubled for a while, and calls come twice as fast", Options{Rate: 10, Burst: 2, Looser: []Looser{{From: ms(1000), To: ms(2000), Rate: 20, Burst: 4}}}, func(h *history) {
			for at := int64(1000); at < 2000; at += 50 {
				h.walksIn(at, at)
			}
		}, Verdict{Visitors: 20, Admitted: 20, OnSpot: 20, InsideMax: 20}},

		{"they go on so when it is over", Options{Rate: 10, Burst: 2, Looser: []Looser{{From: ms(1000), To: ms(1500), Rate: 20, Burst: 4}}}, func(h *history) {
			for at := int64(1000); at < 2000; at += 50 {
				h.walksIn(at, at)
			}
		}, Verdict{Visitors: 20, Admitted: 20, OnSpot: 20, InsideMax: 20, OvershootWindow: 4}}, // 10 calls in the last 450 ms, 6 allowed

		{"who leaves makes room", limits, func(h *history) {
			ann := h.walksIn(0, 1000)
			ann.leaves(1000)
			bob := h.walksIn(990, 2000) // has the answer at the instant at which ann goes
			bob.leaves(3000)
		}, Verdict{Visitors: 2, Admitted: 2, OnSpot: 2, InsideMax: 1}},

		{"who vanishes from inside holds the slot for a session", limits, func(h *history) {
			ann := h.walksIn(0, 1000)
			ann.vanishes(1000, true)
			h.walksIn(60_980, 2000)
		}, Verdict{Visitors: 2, Admitted: 2, OnSpot: 2, InsideMax: 2}},

		{"who never showed the pass does not", limits, func(h *history) {
			ann := h.walksIn(0, 1000)
			ann.vanishes(1000, false)
			h.walksIn(1000, 2000)
		}, Verdict{Visitors: 2, Admitted: 2, OnSpot: 2, InsideMax: 1}},

		{"a position grows and nobody came back", limits, func(h *history) {
			ann := h.joins(10_000)
			ann.refused(12_000, 5)
			ann.refused(14_000, 6)
			ann.in(16_000, 16_000)
		}, Verdict{Visitors: 1, Admitted: 1, InsideMax: 1, PlacesLost: 1}},

		{"a position grows by the one before who came back", limits, func(h *history) {
			bob, ann := h.joins(0), h.joins(100)
			ann.refused(2000, 2)
			ann.refused(4000, 2)
			ann.refused(6000, 2)
			ann.refused(8000, 2)
			ann.refused(10_000, 1)
			bob.refused(11_000, 1)
			ann.refused(12_000, 2)
			bob.in(13_000, 13_000)
			ann.in(14_000, 14_000)
		}, Verdict{Visitors: 2, Admitted: 2, InsideMax: 2}},

		{"a position grows by two and only one came back", limits, func(h *history) {
			bob, ann := h.joins(0), h.joins(100)
			for at := int64(2000); at < 12_000; at += 2000 {
				ann.refused(at, 1)
			}
			bob.refused(11_000, 1)
			ann.refused(12_000, 3)
			bob.in(13_000, 13_000)
			ann.in(14_000, 14_000)
		}, Verdict{Visitors: 2, Admitted: 2, InsideMax: 2, PlacesLost: 1}},

		{"a position grows by the one before who came back and was let in at once", limits, func(h *history) {
			bob, ann := h.joins(0), h.joins(100)
			for at := int64(2000); at < 12_000; at += 2000 {
				ann.refused(at, 1)
			}
			ann.refused(12_000, 2)
			bob.writeSlow(11_900, 1000, Event{Kind: Admitted, Ticket: bob.ticket, Called: 12_500})
			ann.in(14_000, 14_000)
		}, Verdict{Visitors: 2, Admitted: 2, InsideMax: 2}},

		{"a position grows before the one who came back and was let in at once", limits, func(h *history) {
			bob, ann := h.joins(0), h.joins(100)
			for at := int64(2000); at < 12_000; at += 2000 {
				ann.refused(at, 1)
			}
			ann.refused(12_000, 2)
			bob.in(12_500, 12_500)
			ann.in(14_000, 14_000)
		}, Verdict{Visitors: 2, Admitted: 2, InsideMax: 2, PlacesLost: 1}},

		{"who came back stands behind ann, and is no reason for hers to grow", limits, func(h *history) {
			ann, bob := h.joins(0), h.joins(1000)
			for at := int64(2000); at < 12_000; at += 2000 {
				ann.refused(at, 1)
			}
			bob.refused(11_000, 2)
			ann.refused(12_000, 2)
			ann.in(13_000, 13_000)
			bob.in(14_000, 14_000)
		}, Verdict{Visitors: 2, Admitted: 2, InsideMax: 2, PlacesLost: 1}},

		{"far back a position may be six percent off", limits, func(h *history) {
			ann := h.joins(0)
			ann.refused(2000, 1000)
			ann.refused(4000, 1060)
			ann.in(16_000, 16_000)
		}, Verdict{Visitors: 1, Admitted: 1, InsideMax: 1}},

		{"but not seven", limits, func(h *history) {
			ann := h.joins(0)
			ann.refused(2000, 1000)
			ann.refused(4000, 1070)
			ann.in(16_000, 16_000)
		}, Verdict{Visitors: 1, Admitted: 1, InsideMax: 1, PlacesLost: 1}},

		{"a gate that is cut off tells a position of some time ago", limits, func(h *history) {
			ann := h.joins(0)
			ann.refused(2000, 10)
			ann.refused(4000, 5)
			ann.write(6000, Event{Kind: Refused, Ticket: ann.ticket, Position: 10, Age: 3e9, After: 2e9})
			ann.in(8000, 8000)
		}, Verdict{Visitors: 1, Admitted: 1, InsideMax: 1}},

		{"a position grows though it is not as old as the one before", limits, func(h *history) {
			ann := h.joins(0)
			ann.refused(2000, 10)
			ann.refused(4000, 5)
			ann.write(6000, Event{Kind: Refused, Ticket: ann.ticket, Position: 10, Age: 1e9, After: 2e9})
			ann.in(8000, 8000)
		}, Verdict{Visitors: 1, Admitted: 1, InsideMax: 1, PlacesLost: 1}},

		{"a reload gets another ticket", limits, func(h *history) {
			ann := h.joins(0)
			ann.ticket++
			ann.refused(2000, 1)
			ann.ticket--
			ann.in(4000, 4000)
		}, Verdict{Visitors: 1, Admitted: 1, InsideMax: 1, PlacesLost: 1}},

		{"a reload gets a later place", limits, func(h *history) {
			ann := h.joins(5)
			ann.write(2000, Event{Kind: Refused, Ticket: ann.ticket, Place: 6000, After: 2e9})
			ann.in(4000, 4000)
		}, Verdict{Visitors: 1, Admitted: 1, InsideMax: 1, PlacesLost: 1}},

		{"somebody with a place is told that they have none", limits, func(h *history) {
			ann := h.joins(0)
			ann.write(2000, Event{Kind: Forgotten})
		}, Verdict{Visitors: 1, PlacesLost: 1}},

		{"somebody inside is asked to wait again", limits, func(h *history) {
			ann := h.walksIn(0, 1000)
			ann.write(2000, Event{Kind: Expelled, After: int64(time.Second)})
		}, Verdict{Visitors: 1, Admitted: 1, OnSpot: 1, InsideMax: 1, PlacesLost: 1}},

		{"somebody is asked to wait again because their session was over", limits, func(h *history) {
			ann := h.walksIn(0, 1000)
			ann.write(62_000, Event{Kind: Expelled, After: int64(61 * time.Second)})
		}, Verdict{Visitors: 1, Admitted: 1, OnSpot: 1, InsideMax: 1}},

		{"a second tab is the same session", limits, func(h *history) {
			ann := h.joins(0)
			ann.in(1000, 900)
			ann.in(2000, 900)
		}, Verdict{Visitors: 1, Admitted: 1, InsideMax: 1}},

		{"a copy of the ticket is called a second time", limits, func(h *history) {
			ann := h.joins(0)
			ann.in(1000, 900)
			ann.write(2000, Event{Kind: Copied, Ticket: ann.ticket, Called: 1900, Session: ann.ticket})
		}, Verdict{Visitors: 1, Admitted: 1, InsideMax: 1, DoubleAdmissions: 1}},

		{"the shop takes a copy for somebody else", limits, func(h *history) {
			ann := h.joins(0)
			ann.in(1000, 900)
			ann.write(2000, Event{Kind: Copied, Ticket: ann.ticket, Called: 900, Session: 5})
		}, Verdict{Visitors: 1, Admitted: 1, InsideMax: 1, DoubleAdmissions: 1}},

		{"a ticket is let in after it was given back", limits, func(h *history) {
			ann := h.joins(0)
			ann.in(1000, 900)
			ann.leaves(2000)
			ann.write(2010, Event{Kind: Copied, Ticket: ann.ticket, Called: 900, Session: ann.ticket})
		}, Verdict{Visitors: 1, Admitted: 1, InsideMax: 1, DoubleAdmissions: 1}},

		{"a ticket is used while it is being given back", limits, func(h *history) {
			ann := h.joins(0)
			ann.in(1000, 900)
			ann.leaves(2000)
			ann.write(2009, Event{Kind: Copied, Ticket: ann.ticket, Called: 900, Session: ann.ticket})
		}, Verdict{Visitors: 1, Admitted: 1, InsideMax: 1}},

		{"estimates of 4 to 6 seconds, against waits of 3, 5 and 8", limits, func(h *history) {
			for i, waits := range []int64{3, 5, 8} {
				p := h.joins(0)
				p.write(1000, Event{Kind: Refused, Ticket: p.ticket, After: 10e9, Low: 4, High: 6})
				p.write(1500, Event{Kind: Refused, Ticket: p.ticket, After: 10e9, Low: 100, High: 600})
				p.in(1000+waits*1000, 1000*int64(i+1))
			}
		}, Verdict{Visitors: 3, Admitted: 3, InsideMax: 3, Early: 1, Within: 1, Late: 1}},

		{"ann stays and is never let in, bob walks away", limits, func(h *history) {
			h.joins(0)
			h.joins(0).walksAway(5000)
		}, Verdict{Visitors: 2, NotAdmitted: 1, WalkedAway: 1}},

		{"a pass that cannot be read and a room whose limits nobody knows", Options{}, func(h *history) {
			h.walksIn(0, 0)
		}, Verdict{Visitors: 1, Admitted: 1, OnSpot: 1, InsideMax: 1, OvershootWindow: -1, UnknownCalls: 1}},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := newHistory()
			c.tell(h)
			got := h.judge(t, c.o)
			findings := got.Findings
			got.Findings, got.Cases, got.Events = nil, nil, 0
			if g, w := text(got), text(&c.want); g != w {
				t.Errorf("got  %s\nwant %s\nfindings %q", g, w, findings)
			}
			wrong := c.want.Overtaken + max(c.want.OvershootWindow, 0) + c.want.PlacesLost + c.want.DoubleAdmissions + c.want.NotAdmitted
			if (wrong > 0) != (len(findings) > 0) {
				t.Errorf("findings %q", findings)
			}
		})
	}
}

// What takes long may have been done at any time from its sending to its answer.
func TestSlowAnswersAreInDoubtForTheAccused(t *testing.T) {
	t.Run("who came before and had the answer late may have come into the line late", func(t *testing.T) {
		for _, known := range []int64{1000, 9000} {
			h := newHistory()
			for range 5 {
				p := &someone{h: h, id: h.log.Visitor()}
				p.ticket = h.tickets + p.id
				p.writeSlow(0, known, Event{Kind: Joined, Ticket: p.ticket, Place: 1, After: 2e9})
			}
			ann := h.joins(500)
			ann.refused(3000, 10)
			ann.refused(5000, 15)
			want := int64(0)
			if known < 2000 { // all five were in the first position
				want = 1
			}
			if v := h.judge(t, Options{}); v.PlacesLost != want {
				t.Errorf("with answers after %d ms %d places were lost, want %d: %q", known, v.PlacesLost, want, v.Findings)
			}
		}
	})
	t.Run("whose poll was answered after they counted as absent may be passed over", func(t *testing.T) {
		for _, slow := range []int64{100, 5000} {
			h := newHistory()
			ann := h.joins(0)
			bob := h.joins(1000)
			bob.in(4000, 4000) // while Ann's poll is on its way, or behind it
			ann.writeSlow(2000, slow, Event{Kind: Refused, Ticket: ann.ticket, Position: 1, After: 2e9})
			ann.refused(2000+slow+1950, 1)
			want := int64(1)
			if slow > 4000 {
				want = 0
			}
			if v := h.judge(t, Options{}); v.Overtaken != want {
				t.Errorf("with a poll of %d ms %d were overtaken, want %d: %q", slow, v.Overtaken, want, v.Findings)
			}
		}
	})
}

func TestLogsOfSeveralProcessesAreJudgedTogether(t *testing.T) {
	one, other := newHistory(), newHistory()
	ann := one.joins(0)
	ann.refused(3000, 1)
	ann.in(4000, 4000)
	other.tickets = 2000
	bob := other.joins(1000) // has the same number as ann
	bob.in(2000, 2000)
	j := New(Options{})
	for _, h := range []*history{one, other} {
		if err := h.log.Flush(); err != nil {
			t.Fatal(err)
		}
		if err := j.Add(&h.buf); err != nil {
			t.Fatal(err)
		}
	}
	if v := j.Verdict(); v.Visitors != 2 || v.Overtaken != 1 {
		t.Errorf("%+v", v)
	}
}

func TestALogThatWasCutOffGivesWhatIsWhole(t *testing.T) {
	h := newHistory()
	h.joins(0)
	h.joins(1)
	if err := h.log.Flush(); err != nil {
		t.Fatal(err)
	}
	whole := h.buf.Bytes()
	for cut := range len(whole) {
		n := 0
		err := Read(bytes.NewReader(whole[:cut]), func(*Event) { n++ })
		switch {
		case cut < len(magic):
			if !errors.Is(err, ErrNotALog) {
				t.Fatalf("%d bytes: %v", cut, err)
			}
		case err == nil && n != 2*(cut-len(magic))/(len(whole)-len(magic)):
			t.Fatalf("%d bytes: %d events, no error", cut, n)
		case err != nil && !errors.Is(err, io.ErrUnexpectedEOF):
			t.Fatalf("%d bytes: %v", cut, err)
		}
	}
	if err := Read(strings.NewReader("{}"), func(*Event) {}); !errors.Is(err, ErrNotALog) {
		t.Error(err)
	}
}

func TestAnEventIsReadAsItWasWritten(t *testing.T) {
	events := []Event{
		{Kind: Joined, Visitor: 1, Sent: 5, Answered: 9, Ticket: 1 << 63, Place: 1<<53 - 1, After: 1},
		{Kind: Refused, Visitor: 1 << 40, Sent: 7, Answered: 8, Ticket: 3, Place: 4, Position: 5, Age: 9, After: 6, Low: 7, High: 8},
		{Kind: Admitted, Visitor: 2, Sent: 1e18, Answered: 1e18 + 5, Ticket: 1, Place: 2, Called: 3, Session: 1<<64 - 1},
		{Kind: Copied, Visitor: 2, Sent: 1, Answered: 2, Ticket: 1, Place: 2, Called: 3, Session: 4},
		{Kind: Left, Visitor: 3, Sent: 2, Answered: 3},
		{Kind: Vanished, Visitor: 3, Sent: 2, Answered: 3, Used: true},
		{Kind: WalkedAway, Visitor: 3, Sent: 2, Answered: 3},
		{Kind: Forgotten, Visitor: 3, Sent: 2, Answered: 3},
		{Kind: Expelled, Visitor: 3, Sent: 2, Answered: 3, After: 77},
	}
	var buf bytes.Buffer
	l := NewLog(&buf)
	for i := range events {
		l.Add(&events[i])
	}
	if err := l.Flush(); err != nil {
		t.Fatal(err)
	}
	var got []Event
	if err := Read(&buf, func(e *Event) { got = append(got, *e) }); err != nil || !slices.Equal(got, events) {
		t.Errorf("%v\n%+v\n%+v", err, got, events)
	}
}

func TestAFullDiskIsTold(t *testing.T) {
	l := NewLog(broken{})
	for range 10_000 {
		l.Add(&Event{Kind: Left, Visitor: 1, Sent: 1, Answered: 2})
	}
	if err := l.Flush(); !errors.Is(err, errBroken) {
		t.Error(err)
	}
}

type broken struct{}

var errBroken = errors.New("no space left")

func (broken) Write([]byte) (int, error) { return 0, errBroken }

func FuzzRead(f *testing.F) {
	h := newHistory()
	h.joins(0).refused(5, 3)
	h.walksIn(3, 4).leaves(9)
	if err := h.log.Flush(); err != nil {
		f.Fatal(err)
	}
	f.Add(h.buf.Bytes())
	f.Fuzz(func(t *testing.T, data []byte) {
		j := New(Options{Rate: 10, Burst: 2})
		_ = j.Add(bytes.NewReader(data))
		_ = j.Verdict()
	})
}

func BenchmarkAdd(b *testing.B) {
	l := NewLog(io.Discard)
	e := Event{Kind: Refused, Visitor: 70_000, Sent: 1e18, Answered: 1e18 + 1e6, Ticket: 1 << 60, Place: 1 << 50, Position: 40_000, After: 20e9, Low: 100, High: 200}
	b.ReportAllocs()
	for b.Loop() {
		l.Add(&e)
	}
}

// A case says between what it showed, so that it can be held against what happened
// at that time.
func TestCasesSayWhen(t *testing.T) {
	h := newHistory()
	ann, bob, cat := h.joins(0), h.joins(1000), h.joins(1500)
	bob.in(2000, 2000)
	ann.refused(2011, 1)
	cat.in(2500, 2500)
	bob.leaves(3000)
	ann.in(4000, 4000)
	cat.write(5000, Event{Kind: Expelled, After: ms(5000) - ms(2510)})
	v := h.judge(t, Options{MaxActive: 1, Session: time.Minute})
	type when struct {
		What     What
		From, To int64
		Number   int64
	}
	var got []when
	for _, c := range v.Cases {
		got = append(got, when{c.What, c.From, c.To, c.Number})
	}
	want := []when{
		{Overtook, ms(2010), ms(2021), 1}, // from when bob was in, to ann's answer
		{TooFull, ms(2510), ms(3000), 1},
		{TooFull, ms(4010), ms(4010), 1},
		{PutOut, ms(2520), ms(5010), 1},
	}
	if !slices.Equal(got, want) {
		t.Errorf("got  %+v\nwant %+v\n%q", got, want, v.Findings)
	}
}

func TestWhoCameWhileTheRoomWasOpenCountsAfterwards(t *testing.T) {
	h := newHistory()
	for range 30 {
		h.walksIn(1100, 1100)
	}
	h.walksIn(1600, 1600)
	v := h.judge(t, Options{Rate: 10, Burst: 2, MaxActive: 5, Looser: []Looser{{From: ms(1000), To: ms(1500), Rate: Unlimited}}})
	want := []Case{{What: TooFull, Text: "31 people were inside at once, where 5 are allowed", From: ms(1610), To: ms(1610), Number: 26}}
	if !slices.Equal(v.Cases, want) {
		t.Errorf("%+v", v.Cases)
	}
}

func TestWhoIsIdleForLongEnoughMayBePutOut(t *testing.T) {
	for _, row := range []struct{ idle, lost int64 }{{4000, 1}, {6000, 0}} {
		h := newHistory()
		ann := h.walksIn(0, 0)
		ann.write(10+row.idle, Event{Kind: Expelled, After: ms(row.idle) - ms(0)})
		if v := h.judge(t, Options{Session: time.Minute, Idle: 5 * time.Second}); v.PlacesLost != row.lost {
			t.Errorf("after %d ms: %d lost, want %d", row.idle, v.PlacesLost, row.lost)
		}
	}
}

func TestEverythingThatHappensToOneVisitorIsACase(t *testing.T) {
	h := newHistory()
	ann := h.joins(0)
	ann.refused(2000, 5)
	ann.refused(4000, 9) // grew
	ann.refused(6000, 9)
	ann.refused(8000, 20) // grew again
	ann.ticket++
	ann.refused(10000, 20) // and was replaced
	ann.refused(12000, 20)
	v := h.judge(t, Options{})
	var got []What
	for _, c := range v.Cases {
		got = append(got, c.What)
	}
	if want := []What{LeftWaiting, Replaced, Grew, Grew}; !slices.Equal(got, want) || v.PlacesLost != 1 {
		t.Errorf("%v, %d lost", got, v.PlacesLost)
	}
}

func TestWhereLooserTimesOverlapTheLoosestLimitCounts(t *testing.T) {
	h := newHistory()
	for range 30 {
		h.walksIn(1100, 1100)
	}
	doubled := Looser{From: ms(0), To: ms(3000), Rate: 20, Burst: 4, MaxActive: 5}
	open := Looser{From: ms(1000), To: ms(1500), Rate: Unlimited}
	for _, looser := range [][]Looser{{doubled, open}, {open, doubled}} {
		if v := h.judge(t, Options{Rate: 10, Burst: 2, MaxActive: 5, Looser: looser}); len(v.Cases) > 0 {
			t.Errorf("%+v", v.Cases)
		}
	}
	if v := h.judge(t, Options{Rate: 10, Burst: 2, MaxActive: 5, Looser: []Looser{doubled}}); len(v.Cases) != 2 {
		t.Errorf("%+v", v.Cases)
	}
}

func TestAPassGivenOnTheSpotIsGoodForLessUntilItIsShown(t *testing.T) {
	for _, row := range []struct {
		what  string
		idle  time.Duration
		used  bool
		waits bool // before being let in
		lost  int64
	}{
		{"not shown in time", 3 * time.Second, false, false, 0},
		{"put out while it was good", 2 * time.Second, false, false, 1},
		{"shown before", 3 * time.Second, true, false, 1},
		{"given after a wait, which is a session", 3 * time.Second, false, true, 1},
	} {
		h := newHistory()
		var ann *someone
		if row.waits {
			ann = h.joins(0)
			ann.in(1000, 1000)
		} else {
			ann = h.walksIn(1000, 1000)
		}
		ann.write(9000, Event{Kind: Expelled, After: int64(row.idle)})
		ann.vanishes(1000, row.used)
		if v := h.judge(t, Options{Session: time.Minute, Unshown: 3 * time.Second, Early: 500 * time.Millisecond}); v.PlacesLost != row.lost {
			t.Errorf("%s: %d lost, want %d: %q", row.what, v.PlacesLost, row.lost, v.Findings)
		}
	}
}
