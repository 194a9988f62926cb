package judge

import (
	"cmp"
	"fmt"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func text(v *Verdict) string { return fmt.Sprintf("%+v", *v) }

// The model judges by going through every pair. It shares with the judge only who
// was absent when, which TestVerdicts holds.
func TestTheJudgeAgreesWithGoingThroughEveryPair(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		h := newHistory()
		o := Options{
			Grace: 50 * time.Millisecond, Rate: float64(rapid.IntRange(1, 2000).Draw(t, "rate")),
			Burst: float64(rapid.IntRange(1, 5).Draw(t, "burst")), Session: time.Second,
		}
		if rapid.Bool().Draw(t, "looser") {
			from := ms(rapid.Int64Range(0, 400).Draw(t, "loose from") * 25)
			o.Looser = []Looser{{
				From: from, To: from + rapid.Int64Range(0, 4e9).Draw(t, "loose for"),
				Rate: o.Rate * float64(rapid.IntRange(1, 4).Draw(t, "looser rate")), Burst: o.Burst + float64(rapid.IntRange(0, 5).Draw(t, "looser burst")),
			}}
		}
		at := func(name string, from int64) int64 { return from + rapid.Int64Range(0, 400).Draw(t, name)*25 }
		for range rapid.IntRange(1, 12).Draw(t, "people") {
			came := at("came", 0)
			var p *someone
			last := came + took
			if rapid.IntRange(0, 3).Draw(t, "spot") == 0 {
				p = h.walksIn(came, 1000+came+rapid.Int64Range(0, 20).Draw(t, "called"))
			} else {
				p = h.joins(came)
				position := rapid.Int64Range(1, 60).Draw(t, "position")
				for range rapid.IntRange(0, 5).Draw(t, "polls") {
					last = at("poll", last)
					position = max(1, position+rapid.Int64Range(-6, 3).Draw(t, "moves"))
					age := max(0, rapid.Int64Range(-20, 20).Draw(t, "age")) * 50
					p.write(last, Event{Kind: Refused, Ticket: p.ticket, Position: position, Age: age * int64(time.Millisecond), After: 2e9})
					last += took
				}
				if rapid.Bool().Draw(t, "in") {
					last = at("in", last)
					p.in(last, 1000+last-rapid.Int64Range(0, 20).Draw(t, "called"))
					last += took
				}
			}
			switch rapid.IntRange(0, 3).Draw(t, "end") {
			case 0:
				p.leaves(at("leaves", last))
			case 1:
				p.vanishes(at("vanishes", last)+took, rapid.Bool().Draw(t, "used"))
			}
		}
		if err := h.log.Flush(); err != nil {
			t.Fatal(err)
		}
		j := New(o)
		if err := j.Add(&h.buf); err != nil {
			t.Fatal(err)
		}
		v := j.Verdict()
		people, polls := j.modelOvertaken()
		if v.Overtaken != people || v.OvertakenPolls != polls {
			t.Fatalf("overtaken %d people at %d polls, by every pair %d at %d", v.Overtaken, v.OvertakenPolls, people, polls)
		}
		if want := j.modelInside(); v.InsideMax != want {
			t.Fatalf("%d inside, at every instant %d", v.InsideMax, want)
		}
		if want := j.modelOvershoot(); v.OvershootWindow != want {
			t.Fatalf("overshoot %d, in every window %d", v.OvershootWindow, want)
		}
		if want := j.modelGrowths(); v.PlacesLost != want {
			t.Fatalf("%d places lost, by every pair %d", v.PlacesLost, want)
		}
	})
}

func (j *Judge) modelOvertaken() (people, polls int64) {
	hit := map[int32]bool{}
	for _, q := range j.polls {
		ann := &j.people[q.who]
		refused := false
		for i := range j.people {
			bob := &j.people[i]
			if !bob.in || bob.sent < ann.answered+int64(j.o.Grace) || bob.inAt >= q.sent {
				continue
			}
			callable := bob.sent
			for _, b := range j.polls {
				if int(b.who) == i && b.answered <= bob.inAt {
					callable = max(callable, b.sent)
				}
			}
			refused = refused || callable >= q.since
		}
		if refused {
			polls++
			hit[q.who] = true
		}
	}
	return int64(len(hit)), polls
}

func (j *Judge) modelInside() (most int64) {
	for i := range j.people {
		now := j.people[i].inAt
		n := int64(0)
		for k := range j.people {
			p := &j.people[k]
			end := p.end
			if p.vanished && p.used {
				end += int64(j.o.Session)
			}
			if p.in && p.inAt <= now && (p.end == 0 || end > now) {
				n++
			}
		}
		if j.people[i].in {
			most = max(most, n)
		}
	}
	return most
}

func (j *Judge) modelOvershoot() (most int64) {
	var in []*person
	for i := range j.people {
		if p := &j.people[i]; p.called > 0 {
			in = append(in, p)
		}
	}
	slices.SortFunc(in, func(a, b *person) int {
		return cmp.Or(cmp.Compare(a.called, b.called), cmp.Compare(a.inTicket, b.inTicket))
	})
	limits := func(p *person) (perMilli, burst float64) {
		if l, ok := j.o.looser(p.inAt); ok {
			return l.Rate / 1000, l.Burst
		}
		return j.o.Rate / 1000, j.o.Burst
	}
	for i := range in {
		_, allowed := limits(in[i])
		for k := i; k < len(in); k++ {
			now, _ := limits(in[k])
			if k > i {
				before, _ := limits(in[k-1])
				allowed += max(now, before) * float64(in[k].called-in[k-1].called)
			}
			most = max(most, int64(k-i+1)-int64(allowed+now+1e-6))
		}
	}
	return most
}

func (j *Judge) modelGrowths() int64 {
	hit := map[int32]bool{}
	for i := 1; i < len(j.polls); i++ {
		was, is := j.polls[i-1], j.polls[i]
		if was.who != is.who {
			continue
		}
		from, until := was.sent, was.answered
		if was.age > 0 {
			from, until = from-was.age, until-was.age+100e6
		}
		if is.sent-is.age < until {
			continue
		}
		ann := &j.people[is.who]
		allowed := int64(0)
		if was.position > exactTo {
			allowed = int64(float64(was.position) * j.o.Inexact)
		}
		mayCount := func(asked, counted int64) bool { return counted >= from && asked <= is.answered }
		for _, b := range j.polls {
			if b.back && j.people[b.who].sent < ann.answered && mayCount(b.sent, b.answered+int64(known)) {
				allowed++
			}
		}
		for _, p := range j.people {
			if p.joined && p.sent < ann.answered && mayCount(p.sent, p.answered+int64(written)) {
				allowed++
			}
			if p.back && p.sent < ann.answered && mayCount(p.inSent, p.inAt+int64(known)) {
				allowed++
			}
		}
		if is.position-was.position > allowed {
			hit[is.who] = true
		}
	}
	return int64(len(hit))
}
