package queuetest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/sluicegate/sluice/queue"
)

// StateMachine runs random histories of one room through a store and through a
// model of the contract, and compares every answer: newcomers, polls, marks, second
// tries, replayed tickets, passes, departures, absences, changed settings and gates
// that have not heard of them, clocks that jump, answers that get lost.
//
// A run is a few seconds; -rapid.checks=N makes it as long as one likes, and
// -rapid.seed repeats it.
func StateMachine(t *testing.T, open Open) {
	h := open(t)
	if h.Advance == nil || h.Jump == nil {
		t.Skip("random histories need a clock that can be moved")
	}
	rapid.Check(t, func(rt *rapid.T) {
		m := newMachine(rt, h)
		actions := map[string]func(*rapid.T){
			"newcomers arrive":           m.newcomers,
			"visitors poll":              m.polls,
			"visitors poll again":        m.polls,
			"visitors of old return":     m.strangers,
			"passes are used":            m.uses,
			"visitors leave":             m.departures,
			"a gate ticks":               m.tick,
			"a gate ticks once more":     m.tick,
			"time passes":                m.time,
			"some time passes":           m.time,
			"a while passes, ticked":     m.quiet,
			"the clock jumps":            m.jump,
			"settings change":            m.change,
			"a gate starts":              m.restart,
			"the store loses time":       m.behind,
			"the store loses all":        m.wipe,
			"the store loses a key":      m.loseKey,
			"the store loses one key":    m.loseKey,
			"the store is copied":        m.save,
			"an older copy comes back":   m.restore,
			"two operators do one thing": m.conflict,
		}
		for range 3 {
			rt.Repeat(actions)
		}
		m.tick(rt)
	})
}

// machine is one history.
type machine struct {
	Harness
	room     string
	wall     queue.Time    // the store's clock
	passed   time.Duration // by the gates' clocks, which nobody sets
	model    *model
	settings []*queue.Settings // by version of the overrides
	gates    []*gate
	guests   []*guest
	ids      uint64
	shown    map[queue.ID]position
	copies   []older
}

// gate is one of several that share the store.
type gate struct {
	told       queue.Time
	generation uint32
	place      queue.Time    // place time as it was told
	placed     time.Duration // when
	deaf       bool
	version    int64
	hold       time.Duration
	called     int64 // as it last saw them
	active     int64
	running    time.Duration
}

// says is what a gate says with every call.
func (m *machine) says(g *gate) *queue.Call {
	place := g.place
	if place > 0 {
		place = place.Add(m.passed - g.placed)
	}
	return &queue.Call{
		Room: m.room, Settings: m.settings[g.version], Version: g.version, Told: g.told, Generation: g.generation, Place: place, Deaf: g.deaf,
		Hold: g.hold, Called: g.called, Active: g.active, Running: g.running,
	}
}

// guest is somebody outside, with what they hold.
type guest struct {
	first  queue.Arrival // their first request; the zero Arrival: nobody remembers
	id     queue.ID
	place  queue.Time // of their ticket or pass; 0: they have nothing
	called queue.Time // of their pass
	until  queue.Time // likewise; 0: they have none
}

// older is a copy of the store, and what it knows.
type older struct {
	back  func()
	model *model
}

// position is what a visitor was last shown, by which picture of the line.
type position struct {
	move     int
	position int64
}

var rooms atomic.Int64

func newMachine(t *rapid.T, h Harness) *machine {
	m := &machine{Harness: h, room: fmt.Sprint("history-", rooms.Add(1)), model: newModel(), shown: make(map[queue.ID]position)}
	// Every history begins at the same time of the clock, so that it can be repeated.
	_, now, err := h.Store.Leave(context.Background(), &queue.Call{Room: m.room + "-clock", Settings: m.draw(t, queue.Defaults())}, []queue.Departure{{ID: 1}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	m.wall = now.Time
	const offset = 59_123_456
	m.move(time.Duration((now.Time/hourly+1)*hourly+offset-now.Time) * time.Microsecond)

	s := queue.Defaults()
	s.ClaimWithin = rapid.SampledFrom([]time.Duration{5 * time.Second, 8 * time.Second, 30 * time.Second, 2 * time.Minute}).Draw(t, "claim_within")
	s.KeepPlace = rapid.SampledFrom([]time.Duration{time.Minute, 30 * time.Minute}).Draw(t, "keep_place")
	m.settings = []*queue.Settings{m.draw(t, s)}
	g := gate{}
	if rapid.IntRange(0, 3).Draw(t, "the room was lost") == 3 {
		g.told = m.wall + queue.Time(rapid.Int64Range(-60_000_000, 60_000_000).Draw(t, "told by"))
		g.generation = 4
	}
	for range 3 {
		g := g
		g.running = time.Duration(rapid.Int64Range(0, 60_000_000).Draw(t, "running")) * time.Microsecond
		g.hold = rapid.SampledFrom([]time.Duration{0, time.Second, 10 * time.Second, time.Minute}).Draw(t, "hold")
		m.gates = append(m.gates, &g)
	}
	return m
}

const hourly = 3600 * 1_000_000

// draw changes the limits of s.
func (m *machine) draw(t *rapid.T, s queue.Settings) *queue.Settings {
	s.Rate = rapid.SampledFrom([]queue.Rate{queue.NoRate, {N: 1, Per: queue.PerHour}, {N: 7, Per: queue.PerMinute}, {N: 1, Per: queue.PerSecond}, {N: 9, Per: queue.PerSecond}, {N: 1001, Per: queue.PerMinute}}).Draw(t, "rate")
	s.Burst = 0
	if s.Rate != queue.NoRate {
		s.Burst = rapid.SampledFrom([]int64{0, 1, 2, 7}).Draw(t, "burst")
	}
	s.MaxActive = rapid.SampledFrom([]int64{0, 1, 2, 5, 20}).Draw(t, "max_active")
	s.MaxWaiting = rapid.SampledFrom([]int64{0, 0, 3}).Draw(t, "max_waiting")
	s.Session = rapid.SampledFrom([]time.Duration{10 * time.Second, 25 * time.Second, 10 * time.Minute}).Draw(t, "session")
	s.MaxSession = rapid.SampledFrom([]time.Duration{0, 0, 10 * time.Second, 45 * time.Second}).Draw(t, "max_session")
	s.Mode = rapid.SampledFrom([]queue.Mode{queue.ModeAuto, queue.ModeAuto, queue.ModeAuto, queue.ModeAuto, queue.ModeHold, queue.ModeOpen, queue.ModeClosed}).Draw(t, "mode")
	return &s
}

func (m *machine) move(d time.Duration) {
	m.Advance(d)
	m.wall = m.wall.Add(d)
	m.passed += d
}

// at is the room time that a call by this gate will meet.
func (m *machine) at(c *queue.Call) queue.Time { return m.moment(c).Time }

func (m *machine) moment(c *queue.Call) queue.Moment {
	preview := *m.model
	preview.begin(m.wall, c)
	return preview.moment()
}

// gate picks one and what it says.
func (m *machine) gate(t *rapid.T) (*gate, *queue.Call) {
	g := m.gates[rapid.IntRange(0, len(m.gates)-1).Draw(t, "gate")]
	return g, m.says(g)
}

// carry runs an operation; now and then its answer is lost and it is sent again.
func (m *machine) carry(t *rapid.T, op func(g *gate, c *queue.Call, heard, again bool)) {
	g, c := m.gate(t)
	if rapid.IntRange(0, 5).Draw(t, "answer is lost") < 5 {
		op(g, c, true, false)
		return
	}
	op(g, c, false, false)
	other, oc := m.gate(t)
	before := m.standing()
	op(other, oc, true, true)
	if other == g && !reflect.DeepEqual(before, m.standing()) {
		t.Fatalf("sent twice, the operation did something twice:\nbefore %v\nafter  %v", before, m.standing())
	}
}

// standing is where everybody is.
func (m *machine) standing() map[queue.ID]string {
	all := make(map[queue.ID]string)
	for id, p := range m.model.people {
		all[id] = fmt.Sprint(p.is, p.place, p.called)
	}
	return all
}

func (m *machine) heard(t *rapid.T, g *gate, heard bool, got, want queue.Moment) {
	if got != want {
		t.Fatalf("the store answers at %+v, want %+v", got, want)
	}
	if heard {
		g.told, g.generation = max(g.told, got.Time), got.Generation
		g.place, g.placed, g.deaf = max(got.Place, m.says(g).Place), m.passed, false
	}
}

func (m *machine) newID() queue.ID {
	m.ids++
	// Big and small, with zero bytes and without.
	return queue.ID(m.ids * 0x9e37_79b9_7f4a_7c15 &^ (0xff << (8 * (m.ids % 9))))
}

func (m *machine) enter(t *rapid.T, g *gate, c *queue.Call, heard bool, in []queue.Arrival) {
	knows := m.model.begin(m.wall, c)
	got, moment, err := m.Store.Enter(context.Background(), c, in, nil)
	if err != nil {
		t.Fatal(err)
	}
	m.heard(t, g, heard, moment, m.model.moment())
	if len(got) != len(in) {
		t.Fatalf("%d answers to %d visitors", len(got), len(in))
	}
	for i, a := range in {
		waiting := len(m.model.line())
		want := m.model.enter(c, a, knows)
		s := got[i]
		t.Logf("%d: %+v: %s", m.model.moves, a, says(s))
		if s != want {
			t.Fatalf("item %d, %+v:\n got %+v\nwant %+v", i, a, s, want)
		}
		if s.Joined && s.Claimed && c.Settings.Mode == queue.ModeAuto {
			if waiting > 0 {
				t.Fatalf("%x was let in on the spot while %d waited", a.ID, waiting)
			}
			m.count(t, s.Called.Millis(), 1)
		}
		if heard {
			m.told(a, s)
		}
		if s.Rank >= 0 && len(in) == 1 {
			m.shown[a.ID] = position{m.model.moves, queue.RungAtOrAfter(s.Rank) + 1}
		}
	}
	m.model.end()
}

// told notes what a visitor was given.
func (m *machine) told(a queue.Arrival, s queue.Standing) {
	for _, v := range m.guests {
		if v.id != a.ID {
			continue
		}
		if s.Place != 0 {
			v.place = s.Place
		}
		if s.State == queue.Admitted {
			v.called, v.until = s.Called, max(v.until, s.Until)
		}
	}
}

func (m *machine) deadline(t *rapid.T, c *queue.Call) queue.Time {
	return m.at(c).Add(rapid.SampledFrom([]time.Duration{time.Hour, 20 * time.Second, 6 * time.Second, time.Second, time.Microsecond, 0, -time.Second}).Draw(t, "present for"))
}

func (m *machine) newcomers(t *rapid.T) {
	n := rapid.IntRange(1, 4).Draw(t, "newcomers")
	if rapid.IntRange(0, 19).Draw(t, "crowd") == 19 {
		n = rapid.IntRange(5, 150).Draw(t, "newcomers in the crowd")
	}
	var in []queue.Arrival
	m.carry(t, func(g *gate, c *queue.Call, heard, again bool) {
		if !again {
			shape := 0
			for range n {
				if len(in) < 4 {
					shape = rapid.IntRange(0, 9).Draw(t, "how they ask")
				}
				age := time.Duration(0)
				if len(in) < 4 {
					age = rapid.SampledFrom([]time.Duration{0, time.Microsecond, 3 * time.Microsecond, time.Millisecond, time.Second, 3 * time.Second, -time.Second}).Draw(t, "asked before")
				}
				if !heard && (age < 0 || age > queue.MaxLate) {
					age = 0 // the second try must ask for the place that the first was given
				}
				a := queue.Arrival{ID: m.newID(), Place: m.moment(c).Place.Add(-age), Newcomer: true, Again: shape == 9, Join: shape != 8, Claim: shape != 7}
				if len(in) < 4 {
					a.Deadline = m.deadline(t, c)
				} else {
					a.Deadline = in[3].Deadline
				}
				in = append(in, a)
				m.guests = append(m.guests, &guest{first: a, id: a.ID})
			}
		}
		for i := range in {
			in[i].Again = in[i].Again || again
		}
		m.enter(t, g, c, heard, in)
	})
}

// pick returns some guests, perhaps one of them twice.
func (m *machine) pick(t *rapid.T) (some []*guest) {
	if len(m.guests) == 0 {
		t.Skip("nobody came yet")
	}
	for range rapid.IntRange(1, 5).Draw(t, "how many") {
		some = append(some, m.guests[len(m.guests)-1-rapid.IntRange(0, len(m.guests)-1).Draw(t, "who, counted from the newest")])
	}
	return some
}

// forgotten tells whether a store may have forgotten that an id was used or left.
func (m *machine) forgotten(id queue.ID, now queue.Time) bool {
	used, wasUsed := m.model.used[id]
	left, wasLeft := m.model.left[id]
	return wasUsed && now >= used || wasLeft && now >= left
}

func (m *machine) polls(t *rapid.T) {
	some := m.pick(t)
	var in []queue.Arrival
	m.carry(t, func(g *gate, c *queue.Call, heard, again bool) {
		at := m.moment(c)
		now := at.Place
		if !again {
			for _, v := range some {
				a := queue.Arrival{ID: v.id, Place: v.place, Deadline: m.deadline(t, c), Claim: rapid.IntRange(0, 3).Draw(t, "claims") > 0}
				if v.first.ID != 0 && (v.place == 0 || rapid.IntRange(0, 5).Draw(t, "second try") == 5) {
					a.Place, a.Newcomer, a.Again, a.Join = v.first.Place, true, true, v.first.Join
				}
				if a.Newcomer && v.place != 0 && v.place != a.Place {
					continue // a gate that was told the place does not ask again
				}
				if late := a.Place > now || a.Place < now.Add(-queue.MaxLate); a.Newcomer && late &&
					(!heard || slices.ContainsFunc(in, func(b queue.Arrival) bool { return a.ID == b.ID })) {
					continue // it would not know the place that it was moved to
				}
				if a.ID == 0 || m.forgotten(v.id, at.Time) || !a.Newcomer && (a.Place == 0 || a.Place > now) {
					continue
				}
				in = append(in, a)
			}
			if len(in) == 0 {
				t.Skip("nobody has anything to show")
			}
		}
		m.enter(t, g, c, heard, in)
	})
}

// strangers are visitors with tickets and passes of which the store knows nothing.
func (m *machine) strangers(t *rapid.T) {
	_, c := m.gate(t)
	now := m.at(c)
	place := m.moment(c).Place.Add(-rapid.SampledFrom([]time.Duration{0, time.Microsecond, time.Second, 30 * time.Second, time.Hour}).Draw(t, "place from before"))
	v := &guest{id: m.newID(), place: place}
	if rapid.Bool().Draw(t, "with a pass") {
		v.called = max(now.Add(-time.Hour), now.Add(-rapid.SampledFrom([]time.Duration{0, 5 * time.Second, 40 * time.Second}).Draw(t, "called before")))
		v.until = now.Add(rapid.SampledFrom([]time.Duration{time.Second, 30 * time.Second, 50 * time.Second}).Draw(t, "good for"))
	}
	m.guests = append(m.guests, v)
}

func (m *machine) uses(t *rapid.T) {
	some := m.pick(t)
	var in []queue.Visit
	m.carry(t, func(g *gate, c *queue.Call, heard, again bool) {
		now := m.at(c)
		if !again {
			for _, v := range some {
				at := now.Add(-rapid.SampledFrom([]time.Duration{0, time.Second, 20 * time.Second, -time.Second}).Draw(t, "used before"))
				if v.until == 0 || at > v.until || v.called > now || m.forgotten(v.id, now) {
					continue
				}
				in = append(in, queue.Visit{ID: v.id, Place: v.place, Called: v.called, Until: v.until, At: at,
					Extend: rapid.SampledFrom([]time.Duration{0, 0, 15 * time.Second, time.Minute}).Draw(t, "extended by")})
			}
			if len(in) == 0 {
				t.Skip("nobody has a pass")
			}
		}
		m.model.fall(c, m.model.begin(m.wall, c))
		got, moment, err := m.Store.Renew(context.Background(), c, in, nil)
		if err != nil {
			t.Fatal(err)
		}
		m.heard(t, g, heard, moment, m.model.moment())
		for i, v := range in {
			want := m.model.renew(c, v)
			t.Logf("%d: %+v: %+v", m.model.moves, v, got[i])
			if got[i] != want {
				t.Fatalf("item %d, %+v:\n got %+v\nwant %+v", i, v, got[i], want)
			}
			for _, w := range m.guests {
				if heard && w.id == v.ID {
					w.until = max(w.until, want.Until)
				}
			}
		}
		m.model.end()
	})
}

func (m *machine) departures(t *rapid.T) {
	some := m.pick(t)
	var in []queue.Departure
	m.carry(t, func(g *gate, c *queue.Call, heard, again bool) {
		if !again {
			for _, v := range some[:1+len(some)/3] {
				if v.place == 0 {
					continue
				}
				in = append(in, queue.Departure{ID: v.id, Place: v.place, Until: v.until})
			}
			if len(in) == 0 {
				t.Skip("nobody can leave")
			}
		}
		m.model.begin(m.wall, c)
		got, moment, err := m.Store.Leave(context.Background(), c, in, nil)
		if err != nil {
			t.Fatal(err)
		}
		m.heard(t, g, heard, moment, m.model.moment())
		for i, d := range in {
			want := m.model.leave(c, d)
			t.Logf("%d: %+v: %+v", m.model.moves, d, got[i])
			if got[i] != want {
				t.Fatalf("item %d, %+v:\n got %+v\nwant %+v", i, d, got[i], want)
			}
		}
		m.model.end()
	})
}

func (m *machine) tick(t *rapid.T) {
	m.carry(t, func(g *gate, c *queue.Call, heard, again bool) { m.tickBy(t, g, c, heard) })
}

func (m *machine) tickBy(t *rapid.T, g *gate, c *queue.Call, heard bool) {
	got, err := m.Store.Tick(context.Background(), c)
	if err != nil {
		t.Fatal(err)
	}
	if m.model.torn != nil {
		m.kept(t, m.model.torn, got)
	}
	knows := m.model.begin(m.wall, c)
	if l := got.Loss; m.model.loose && l != nil && l.Found == queue.FoundParts &&
		(m.model.loss.Found != l.Found || got.Generation != m.model.generation) {
		gone := &torn{key: "a part of a key"}
		m.kept(t, gone, got)
		m.model.lose(c, queue.FoundParts, m.model.before, gone)
		m.model.sure = false
		m.strange()
	}
	if m.model.sure {
		t.Fatal("the tick does not notice that used tickets of a minute are gone")
	}
	m.heard(t, g, heard, got.Moment, m.model.moment())
	if heard {
		defer func() { g.called, g.active = got.Called, got.Active }()
	}
	want, justCalled := m.model.tick(c, knows)
	m.model.end()
	t.Logf("%d: tick: %+v", m.model.moves, got)

	if (got.Overrides != nil) != (m.model.version != c.Version) || got.Overrides != nil && got.Overrides.Version != m.model.version {
		t.Fatalf("a gate with version %d is told of overrides %+v, the latest are version %d", c.Version, got.Overrides, m.model.version)
	}
	if heard && got.Overrides != nil && rapid.IntRange(0, 2).Draw(t, "the gate takes them over") > 0 {
		if got.Overrides.Version > g.version {
			g.version = got.Overrides.Version
		} else {
			m.bring(t, g.version)
		}
	}
	plain := got
	plain.Ladder, plain.Overrides = queue.Ladder{}, nil
	if !reflect.DeepEqual(plain, want) {
		t.Fatalf("the tick tells\n     %+v\nwant %+v", plain, want)
	}

	// First come, first served; nobody absent is called.
	for _, p := range justCalled {
		for _, w := range m.model.line() {
			if w.place < p.place || w.place == p.place && w.id < p.id {
				t.Fatalf("%x was called before %x, who is present and came earlier", p.id, w.id)
			}
		}
		if p.deadline <= m.model.now {
			t.Fatalf("%x was called though absent", p.id)
		}
	}
	for _, p := range m.model.those(called) {
		if p.deadline > p.called.Add(c.Settings.ClaimWithin+time.Millisecond) {
			t.Fatalf("the slot of %x waits for longer than claim_within", p.id)
		}
	}
	// Never over the limit.
	if got.NewCalls > 0 && c.Settings.MaxActive > 0 && got.Called+got.Active > c.Settings.MaxActive {
		t.Fatalf("%d called and %d active after calling %d, at most %d are allowed", got.Called, got.Active, got.NewCalls, c.Settings.MaxActive)
	}
	m.count(t, got.Time.Millis(), got.NewCalls)
	m.ladder(t, got.Ladder)
}

// count notes calls and checks every window that ends with them.
func (m *machine) count(t *rapid.T, at, n int64) {
	l := &m.model.limit
	for range n {
		m.model.stamps = append(m.model.stamps, at)
	}
	if l.perHour < 0 || n == 0 {
		return
	}
	stamps := m.model.stamps
	for i, from := range stamps {
		if calls := int64(len(stamps) - i); calls*hour > l.burst*hour+l.perHour*(at-from) {
			t.Fatalf("%d were called in %d ms, at a rate of %d an hour and a burst of %d", calls, at-from, l.perHour, l.burst)
		}
	}
}

// ladder finds the picture of the line that a ladder shows, and holds what it shows
// to everybody against what they were shown before.
func (m *machine) ladder(t *rapid.T, l queue.Ladder) {
	var picture *ladder
	for i := len(m.model.pictures) - 1; i >= 0; i-- {
		p := &m.model.pictures[i]
		if p.at+200_000 <= m.model.now && i < len(m.model.pictures)-1 {
			break
		}
		if p.last == l.Last && slices.Equal(p.places, l.Places) {
			picture = p
			break
		}
	}
	if picture == nil {
		t.Fatalf("the ladder %+v shows the line as it never was in the last 200 ms; now it is %+v", l, m.model.pictures[len(m.model.pictures)-1])
	}
	newest := picture == &m.model.pictures[len(m.model.pictures)-1]
	for rank, p := range m.model.line() {
		pos := l.Position(p.place)
		if pos == 0 {
			if newest {
				t.Fatalf("%x waits and is on no ladder", p.id)
			}
			continue
		}
		if newest && rank < 64 {
			first := rank // who came in the same microsecond share a position
			for first > 0 && m.model.line()[first-1].place == p.place {
				first--
			}
			if pos != int64(first+1) {
				t.Fatalf("%x has position %d, %d stand before", p.id, pos, first)
			}
		}
		m.shows(t, p.id, p.place, picture.move, pos)
	}
}

// shows checks that the position on a ladder is behind what was shown before, by a
// ladder or for a rank, only when somebody earlier came back.
func (m *machine) shows(t *rapid.T, id queue.ID, place queue.Time, move int, pos int64) {
	before, ok := m.shown[id]
	if ok && move < before.move {
		return // an older picture
	}
	if ok && pos > before.position {
		back := slices.ContainsFunc(m.model.joins, func(j join) bool {
			// Where a ladder has no rung for everybody, somebody who comes back behind
			// a visitor corrects the guess for them, too.
			return j.move > before.move && (j.place <= place || pos > 64 && !j.last)
		})
		if !back {
			t.Fatalf("the position of %x grew from %d to %d and nobody earlier came", id, before.position, pos)
		}
	}
	m.shown[id] = position{move, pos}
}

func (m *machine) time(t *rapid.T) {
	m.move(rapid.SampledFrom([]time.Duration{time.Microsecond, 300 * time.Microsecond, time.Millisecond, 60 * time.Millisecond, 199_999 * time.Microsecond,
		200 * time.Millisecond, time.Second, 2 * time.Second, 5 * time.Second, 9_999_999 * time.Microsecond, 10 * time.Second, time.Minute}).Draw(t, "passes"))
}

func (m *machine) quiet(t *rapid.T) {
	step := rapid.SampledFrom([]time.Duration{2 * time.Second, time.Second, 100 * time.Millisecond, 17 * time.Millisecond}).Draw(t, "steps")
	for range rapid.IntRange(1, 25).Draw(t, "how many") {
		m.move(step)
		g := m.gates[0]
		m.tickBy(t, g, m.says(g), true)
	}
}

func (m *machine) jump(t *rapid.T) {
	d := rapid.SampledFrom([]time.Duration{-time.Second, time.Second, -time.Hour, time.Hour, -time.Microsecond}).Draw(t, "jump")
	m.Jump(d)
	m.wall = m.wall.Add(d)
}

func (m *machine) change(t *rapid.T) {
	version := int64(len(m.settings))
	m.bring(t, version-1)
	m.settings = append(m.settings, m.draw(t, *m.settings[0]))
	if err := m.Store.Override(context.Background(), m.room, queue.Overrides{Version: version, Keys: map[string]queue.Override{"mode": {Value: json.RawMessage(`"auto"`)}}}); err != nil {
		t.Fatal(err)
	}
	m.model.version = version
	g, _ := m.gate(t)
	g.version = version
}

// restart puts another gate in the place of one, which has heard nothing, or only
// what a token says.
func (m *machine) restart(t *rapid.T) {
	g, _ := m.gate(t)
	*g = gate{hold: time.Second, deaf: true}
	if m.model.started && rapid.IntRange(0, 3).Draw(t, "verified a token") == 3 {
		later := queue.Time(rapid.Int64Range(-1000, 15_000_000).Draw(t, "of how much later"))
		g.told, g.place, g.placed = m.model.now+later, m.model.placed+later, m.passed
	}
}

func (m *machine) conflict(t *rapid.T) {
	version := rapid.SampledFrom([]int64{m.model.version, m.model.version - 1, m.model.version + 2}).Draw(t, "version")
	if err := m.Store.Override(context.Background(), m.room, queue.Overrides{Version: version}); !errors.Is(err, queue.ErrConflict) {
		t.Fatalf("version %d after version %d: %v, want ErrConflict", version, m.model.version, err)
	}
}

// behind has a gate know more than the store does: that took over from another, which
// had told more than it passed on.
func (m *machine) behind(t *rapid.T) {
	if !m.model.started || rapid.IntRange(0, 3).Draw(t, "really") > 0 {
		t.Skip("not now")
	}
	g, _ := m.gate(t)
	g.generation = m.model.generation
	later := queue.Time(rapid.SampledFrom([]int64{1, 1_000_000, 2_000_000, 2_000_001, 60_000_000}).Draw(t, "of how much later"))
	g.told, g.place, g.placed = m.model.now+later, m.model.placed+later, m.passed
}

// bring gives the store the overrides that gates know and it does not.
func (m *machine) bring(t *rapid.T, version int64) {
	for v := m.model.version + 1; v <= version; v++ {
		if err := m.Store.Override(context.Background(), m.room, queue.Overrides{Version: v}); err != nil {
			t.Fatal(err)
		}
		m.model.version = v
	}
}

// wipe takes everything that the store knows. Settings come back as gates bring them.
func (m *machine) wipe(t *rapid.T) {
	if m.Wipe == nil || rapid.IntRange(0, 3).Draw(t, "really") > 0 {
		t.Skip("not now")
	}
	m.Wipe(m.room)
	m.become(newModel())
}

// become is for a store that knows something else from now on.
func (m *machine) become(other *model) {
	old := m.model
	other.wasThen = old
	if old.wasThen != nil { // and no call in between
		other.wasThen = old.wasThen
	}
	if !other.started {
		other.limit, other.limits, other.wall = old.limit, old.limits, old.wall
	}
	other.moves = old.moves
	m.model = other
	m.strange()
}

// strange is for what a loss does to those outside.
func (m *machine) strange() {
	m.shown = make(map[queue.ID]position)
	for _, v := range m.guests {
		if v.place != 0 { // who has a ticket shows that, and is no newcomer any more
			v.first = queue.Arrival{}
		}
	}
}

// save keeps a copy of all that the store knows.
func (m *machine) save(t *rapid.T) {
	if m.Copy == nil || !m.model.started || len(m.copies) == 3 {
		t.Skip("not now")
	}
	m.copies = append(m.copies, older{m.Copy(m.room), m.model.copy()})
}

// restore puts one of them back. What was written since is lost.
func (m *machine) restore(t *rapid.T) {
	if len(m.copies) == 0 || rapid.IntRange(0, 1).Draw(t, "really") > 0 {
		t.Skip("not now")
	}
	c := m.copies[rapid.IntRange(0, len(m.copies)-1).Draw(t, "which copy")]
	c.back()
	m.become(c.model.copy())
	if m.Anew != nil && rapid.Bool().Draw(t, "by another server") {
		m.Anew(m.room)
		m.model.anew = true
	}
}

// loseKey takes one key of the room, as an operator or an eviction does.
func (m *machine) loseKey(t *rapid.T) {
	if m.Keys == nil || !m.model.started || rapid.IntRange(0, 2).Draw(t, "really") > 0 {
		t.Skip("not now")
	}
	keys := m.Keys(m.room)
	kinds := make(map[string][]string)
	for _, key := range keys {
		name, _, part := strings.Cut(key, ":")
		if part {
			name += ":"
		}
		kinds[name] = append(kinds[name], key)
	}
	if len(kinds) == 0 {
		t.Skip("there is none")
	}
	kind := rapid.SampledFrom(slices.Sorted(maps.Keys(kinds))).Draw(t, "kind of key")
	key := rapid.SampledFrom(kinds[kind]).Draw(t, "key")
	if m.Drop(m.room, key) != 1 {
		t.Fatalf("there is no %s", key)
	}
	m.model.forget(key)
	switch kind {
	case "ladder", "overrides":
		return
	case "agenda:": // noticed when its time comes
		m.model.loose = true
		return
	case "used:": // by the next tick
		m.model.loose, m.model.sure = true, true
		return
	default:
		// Numbers, settings and parts do not tell that there was somebody.
		last := !slices.ContainsFunc(keys, func(k string) bool { return k != key && k != "ladder" && k != "overrides" && !strings.Contains(k, ":") })
		m.model.torn = &torn{key: key, last: last}
		m.model.sure = false // it is one loss now
		m.strange()
	}
	generation := m.model.generation
	m.tick(t)
	if m.model.generation == generation {
		t.Fatalf("nobody noticed that %s is gone", key)
	}
}

// kept is what a store kept of what belonged to a key that it lost, by what it tells:
// all that is whole.
func (m *machine) kept(t *rapid.T, gone *torn, got queue.Snapshot) {
	l := got.Loss
	if l == nil {
		t.Fatalf("the loss of %s is not told", gone.key)
	}
	waiting, slots := m.model.count(inLine), m.model.count(called)+m.model.count(active)
	gone.line, gone.slots = l.Waiting == waiting, l.Slots == slots
	if waiting == 0 {
		gone.line = got.Barrier > 0
	}
	if !gone.line && l.Waiting != 0 || !gone.slots && l.Slots != 0 {
		t.Fatalf("without %s %d of %d are in line and %d of %d have slots: a part of what belongs together", gone.key, l.Waiting, waiting, l.Slots, slots)
	}
	switch gone.key {
	case "waiting", "present", "agenda":
		if waiting > 0 && gone.line {
			t.Fatalf("the line is kept without %s", gone.key)
		}
	case "called", "active", "since":
		if slots > 0 && gone.slots {
			t.Fatalf("the slots are kept without %s", gone.key)
		}
		if waiting > 0 && !gone.line && !m.model.loose {
			t.Fatalf("the line is dropped with %s", gone.key)
		}
		return
	}
	if slots > 0 && !gone.slots {
		t.Fatalf("the slots are dropped with %s", gone.key)
	}
}
