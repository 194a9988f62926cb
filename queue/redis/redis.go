// Package redis keeps lines in Redis, for any number of gates: a server of its
// own, one watched by Sentinel, or a cluster. Each operation of queue.Store is one
// Lua script, so it is one atomic step and one round trip for a whole batch.
//
// Redis 6.2 or later is needed. Scripts use only keys of one hash tag.
package redis

import (
	"context"
	_ "embed"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/sluicegate/sluice/queue"
)

var (
	//go:embed lua/room.lua
	roomLua string
	//go:embed lua/enter.lua
	enterLua string
	//go:embed lua/renew.lua
	renewLua string
	//go:embed lua/leave.lua
	leaveLua string
	//go:embed lua/tick.lua
	tickLua string
	//go:embed lua/override.lua
	overrideLua string

	enterScript    = newScript(roomLua, enterLua)
	renewScript    = newScript(roomLua, renewLua)
	leaveScript    = newScript(roomLua, leaveLua)
	tickScript     = newScript(roomLua, tickLua)
	overrideScript = newScript(overrideLua)
)

// Options of a store. The zero value is right for a gate.
type Options struct {
	// Prefix begins every key; "" means sluice.
	Prefix string
	// Now replaces the server's clock; for tests only.
	Now func() time.Time
}

// Store implements queue.Store.
type Store struct {
	client  redis.UniversalClient
	options *redis.UniversalOptions // nil: the client was made elsewhere
	prefix  string
	now     func() time.Time
	keys    sync.Map // room -> *keys
}

// New returns a store that uses a client, which Close closes.
func New(client redis.UniversalClient, o Options) *Store {
	if o.Prefix == "" {
		o.Prefix = "sluice"
	}
	return &Store{client: client, prefix: o.Prefix, now: o.Now}
}

// Close closes the connections.
func (s *Store) Close() error { return s.client.Close() }

// Enter implements queue.Store.
func (s *Store) Enter(ctx context.Context, c *queue.Call, in []queue.Arrival, out []queue.Standing) ([]queue.Standing, queue.Moment, error) {
	marks := true
	items := make([]byte, 0, arrivalSize*len(in))
	for i := range in {
		marks = marks && isMark(&in[i])
		items = appendArrival(items, &in[i])
	}
	a := s.args(c, 2)
	a.list = append(a.list, items)
	a.number(flags(marks))
	r, err := s.run(ctx, "enter", enterScript, c.Room, a)
	if err != nil {
		return out, queue.Moment{}, err
	}
	return standings(c, in, marks, r[momentFields:], out), moment(r), nil
}

// Renew implements queue.Store.
func (s *Store) Renew(ctx context.Context, c *queue.Call, in []queue.Visit, out []queue.Renewal) ([]queue.Renewal, queue.Moment, error) {
	const fields = 2
	a := s.args(c, 6*len(in))
	for i := range in {
		v := &in[i]
		a.id(v.ID)
		a.number(int64(v.Place))
		a.number(int64(v.Called))
		a.number(int64(v.Until))
		a.number(int64(v.At))
		a.number(v.Extend.Microseconds())
	}
	r, err := s.run(ctx, "renew", renewScript, c.Room, a)
	if err != nil {
		return out, queue.Moment{}, err
	}
	mustHave("renew", r, fields*len(in))
	for row := r[momentFields:]; len(row) > 0; row = row[fields:] {
		out = append(out, queue.Renewal{
			Until:     queue.Time(row[0]),
			Gone:      row[1]&1 != 0,
			Claimed:   row[1]&2 != 0,
			Restored:  row[1]&4 != 0,
			Overshoot: row[1]&8 != 0,
		})
	}
	return out, moment(r), nil
}

// Leave implements queue.Store.
func (s *Store) Leave(ctx context.Context, c *queue.Call, in []queue.Departure, out []queue.Departed) ([]queue.Departed, queue.Moment, error) {
	a := s.args(c, 3*len(in))
	for i := range in {
		v := &in[i]
		a.id(v.ID)
		a.number(int64(v.Place))
		a.number(int64(v.Until))
	}
	r, err := s.run(ctx, "leave", leaveScript, c.Room, a)
	if err != nil {
		return out, queue.Moment{}, err
	}
	mustHave("leave", r, len(in))
	for _, freed := range r[momentFields:] {
		out = append(out, queue.Departed{Slot: freed == 1, Place: freed == 2})
	}
	return out, moment(r), nil
}

// Tick implements queue.Store.
func (s *Store) Tick(ctx context.Context, c *queue.Call) (queue.Snapshot, error) {
	raw, err := s.send(ctx, tickScript, c.Room, s.args(c, 0)).Slice()
	if err != nil {
		return queue.Snapshot{}, unavailable("tick", c.Room, err)
	}
	if len(raw) != tickFields {
		panic(fmt.Sprintf("BUG: tick answered %d fields, not %d", len(raw), tickFields))
	}
	n := func(i int) int64 { v, _ := raw[i].(int64); return v }
	out := queue.Snapshot{
		Moment:  queue.Moment{Time: queue.Time(n(0)), Generation: uint32(n(1)), Place: queue.Time(n(25))},
		Waiting: n(2), Away: n(3), Called: n(4), Active: n(5),
		Front: queue.Time(n(6)), Calls: n(7), PerHour: n(8), Burst: n(9),
		More: n(10) != 0, NewCalls: n(11), NoShows: n(12), Abandoned: n(13), Ended: n(14),
	}
	if out.Ladder, err = parseLadder(raw[15].(string)); err != nil {
		return out, unavailable("tick", c.Room, err)
	}
	out.Held, out.Barrier = queue.Time(n(18)), queue.Time(n(19))
	if found := queue.Found(n(20)); found != 0 {
		out.Loss = &queue.Loss{Found: found, Waiting: n(21), Slots: n(22), Born: queue.Time(n(23))}
	}
	out.Full = n(24) != 0
	if version := n(16); version != c.Version {
		o, err := overrides(version, raw[17].(string))
		if err != nil {
			return out, unavailable("tick", c.Room, err)
		}
		out.Overrides = &o
	}
	return out, nil
}

const tickFields = 26

// Overrides implements queue.Store.
func (s *Store) Overrides(ctx context.Context, room string) (queue.Overrides, error) {
	r, err := s.client.HMGet(ctx, s.roomKeys(room).overrides[0], "version", "keys").Result()
	lookAgain(ctx, s.client, err)
	if err != nil {
		return queue.Overrides{}, unavailable("overrides of", room, err)
	}
	version, ok := r[0].(string)
	if !ok {
		return queue.Overrides{}, nil
	}
	v, err := strconv.ParseInt(version, 10, 64)
	if err != nil {
		return queue.Overrides{}, unavailable("overrides of", room, err)
	}
	text, _ := r[1].(string)
	o, err := overrides(v, text)
	if err != nil {
		return o, unavailable("overrides of", room, err)
	}
	return o, nil
}

// Override implements queue.Store.
func (s *Store) Override(ctx context.Context, room string, o queue.Overrides) error {
	text, err := json.Marshal(o.Keys)
	if err != nil {
		return fmt.Errorf("override room %q: %w", room, err)
	}
	done, err := overrideScript.run(ctx, s.client, s.roomKeys(room).overrides, []any{o.Version, text}).Int()
	switch {
	case err != nil:
		return unavailable("override", room, err)
	case done == 0:
		return queue.ErrConflict
	}
	return nil
}

func overrides(version int64, text string) (queue.Overrides, error) {
	o := queue.Overrides{Version: version}
	if text == "" {
		return o, nil
	}
	if err := json.Unmarshal([]byte(text), &o.Keys); err != nil {
		return o, fmt.Errorf("stored overrides: %w", err)
	}
	return o, nil
}

// parseLadder reads the latest place given, then the rungs.
func parseLadder(text string) (queue.Ladder, error) {
	var l queue.Ladder
	l.Places = make([]queue.Time, 0, len(text)/17)
	first := true
	for word := range strings.SplitSeq(text, " ") {
		n, err := strconv.ParseInt(word, 10, 64)
		if err != nil {
			return l, fmt.Errorf("stored ladder: %w", err)
		}
		if first {
			l.Last, first = queue.Time(n), false
			continue
		}
		l.Places = append(l.Places, queue.Time(n))
	}
	return l, nil
}

// run sends one script call.
func (s *Store) run(ctx context.Context, op string, script *script, room string, a *args) ([]int64, error) {
	r, err := s.send(ctx, script, room, a).Int64Slice()
	if err != nil {
		return nil, unavailable(op, room, err)
	}
	if len(r) < momentFields {
		panic(fmt.Sprintf("BUG: %s answered %d fields", op, len(r)))
	}
	return r, nil
}

// send sends one script call. A server that has no memory left says so before it does
// anything; then the script is told, which knows what may be written all the same.
func (s *Store) send(ctx context.Context, script *script, room string, a *args) *redis.Cmd {
	k := s.roomKeys(room)
	now := time.Now().UnixNano()
	if now < k.full.Load() {
		a.list[fullArg] = 1
	}
	r := script.run(ctx, s.client, k.all, a.list)
	if a.list[fullArg] == 0 && isOutOfMemory(r.Err()) {
		k.full.Store(now + int64(fullFor))
		a.list[fullArg] = 1
		r = script.run(ctx, s.client, k.all, a.list)
	}
	return r
}

const (
	fullArg = 22 // of args: ARGV[23]
	// fullFor is how long scripts find out for themselves whether there is memory, since
	// one that begins with freeing some is not refused.
	fullFor = 10 * time.Second
)

// isOutOfMemory: the error begins with OOM, or has it behind where in the script it
// was, before Redis 7.
func isOutOfMemory(err error) bool {
	return redis.IsOOMError(err) || redis.HasErrorPrefix(err, "Error running script") && strings.Contains(err.Error(), "-OOM ")
}

// mustHave checks the shape of an answer.
func mustHave(op string, r []int64, fields int) {
	if len(r) != fields+momentFields {
		panic(fmt.Sprintf("BUG: %s answered %d fields, not %d", op, len(r), fields+momentFields))
	}
}

// momentFields are what every answer begins with, but for a tick's.
const momentFields = 3

func moment(r []int64) queue.Moment {
	return queue.Moment{Time: queue.Time(r[0]), Generation: uint32(r[1]), Place: queue.Time(r[2])}
}

func (s *Store) roomKeys(room string) *keys {
	if k, ok := s.keys.Load(room); ok {
		return k.(*keys)
	}
	k, _ := s.keys.LoadOrStore(room, roomKeys(s.prefix, room))
	return k.(*keys)
}

// args are a script's arguments: the head that room.lua names, then the items.
type args struct{ list []any }

func (a *args) number(n int64) { a.list = append(a.list, n) }

func (a *args) id(id queue.ID) {
	a.list = append(a.list, binary.BigEndian.AppendUint64(nil, uint64(id)))
}

func (s *Store) args(c *queue.Call, items int) *args {
	st := c.Settings
	a := &args{list: make([]any, 0, fullArg+1+items)}
	if s.now != nil {
		a.number(s.now().UnixMicro())
	} else {
		a.list = append(a.list, "")
	}
	for _, n := range [...]int64{
		int64(c.Told), int64(c.Generation), c.Version,
		int64(st.Mode), st.Rate.PerHour(), st.EffectiveBurst(), st.MaxActive, st.MaxWaiting,
		st.Session.Microseconds(), st.MaxSession.Microseconds(),
		st.ClaimWithin.Microseconds(), st.ClaimMargin().Microseconds(),
		st.KeepPlace.Microseconds(), st.UsedFor().Microseconds(),
		c.Hold.Microseconds(), c.Called, c.Active, st.ReturnWithin().Microseconds(), c.Running.Microseconds(),
		int64(fit(c.Place)), flags(c.Deaf),
	} {
		a.number(n)
	}
	a.list = append(a.list, 0)
	return a
}

func flags(bits ...bool) int64 {
	var n int64
	for i, b := range bits {
		if b {
			n |= 1 << i
		}
	}
	return n
}

func unavailable(op, room string, err error) error {
	return fmt.Errorf("%s room %q: %w: %w", op, room, queue.ErrUnavailable, err)
}
