package queue

import (
	"context"
	"errors"
	"time"
)

// ErrUnavailable reports that the store could not be reached, so no decision
// was made. Nobody's place is lost by it: callers choose whether to hold,
// admit or refuse, and send the same items again later.
var ErrUnavailable = errors.New("queue: store unavailable")

// ErrConflict reports that the overrides of a room changed between reading and
// writing them. Read again, decide again.
var ErrConflict = errors.New("queue: overrides changed meanwhile")

// ID names a visitor in a room: 64 random bits, made by the gate before the
// first call and kept through every retry. The session of an admitted visitor
// has the id of their ticket.
type ID uint64

// Time is an instant of room time in microseconds, below 2^53 so that a store
// may keep it in a double. Room time is the one clock of a room: it starts at
// the store's wall clock, never runs backwards and never jumps. Places are of place time
// (Moment), which does not stand over an outage. Zero is unknown.
type Time int64

// Add returns t moved by d, cut to whole microseconds.
func (t Time) Add(d time.Duration) Time { return t + Time(d/time.Microsecond) }

// Sub returns the duration from u to t.
func (t Time) Sub(u Time) time.Duration { return time.Duration(t-u) * time.Microsecond }

// Millis returns t in milliseconds, cut.
func (t Time) Millis() int64 { return int64(t) / 1000 }

// State is where a visitor stands.
type State uint8

const (
	// None: not in the line and not let in; an Arrival without Join that could
	// not be admitted on the spot.
	None State = iota
	// Waiting: in line.
	Waiting
	// Admitted: called or active. The Standing says until when a pass may say so.
	Admitted
	// Full: max_waiting is reached, or the store's memory is; no place was given.
	Full
	// Closed: the room's mode lets nobody join. A visitor in line keeps the place
	// (Standing.Place is set then).
	Closed
	// Used: the ticket was used up by a session that ended, or by leaving. Whoever
	// brought it is a newcomer.
	Used
)

// String returns the word that the visitor API uses.
func (s State) String() string {
	switch s {
	case Waiting:
		return "waiting"
	case Admitted:
		return "admitted"
	case Full:
		return "full"
	case Closed:
		return "closed"
	default:
		return "none"
	}
}

// Arrival is one visitor who asks at a gate.
type Arrival struct {
	ID ID
	// Place is the instant of the visitor's first request: by the gate's estimate
	// of place time for a newcomer, by the ticket otherwise. The store moves a
	// newcomer's place neither later than its own place time (Moment) nor earlier than
	// MaxLate before it; a ticket's place is taken as it is, unless it is later than place
	// time by more than MaxStep, and wins over a later one that the store keeps.
	Place Time
	// Deadline is until when the visitor counts as present: see PresentUntil.
	Deadline Time
	// Newcomer: the id was made for this request and no ticket exists.
	Newcomer bool
	// Again: this id may have reached the store before (a retry). A store may leave out
	// looking up a Newcomer who is not Again, unless the call is Late, or somebody was
	// Again within the last second: it may have been overtaken by its own second try.
	Again bool
	// Join: a newcomer who cannot be admitted on the spot takes a place.
	Join bool
	// Claim: the visitor waits for this answer, takes the slot when called, or is let
	// in on the spot. What is sent after its request was answered does not claim: a
	// presence mark, or a newcomer who was given a place far back.
	Claim bool
}

// MaxLate is the age that a newcomer's request may have when it reaches the
// store; an older place is moved up to it.
const MaxLate = 2 * time.Second

// Standing is the store's answer to one Arrival.
type Standing struct {
	State State
	// Place is the place the store keeps; 0 when there is none. A presence mark of
	// somebody in line (no Newcomer, no Claim) may be answered with its own.
	Place Time
	Rank  int64 // present visitors before this one; -1 unknown. Only for Waiting, where Claim asks
	// Called is when the visitor was called, Until the latest instant that a pass
	// may be valid to. Only for Admitted.
	Called, Until Time
	// Joined: this call gave the place, or let a newcomer in on the spot.
	Joined bool
	// Claimed: this call handed over the slot, or let a newcomer in on the spot.
	Claimed bool
	// Provisional: let in on the spot and not heard of since: the slot is called,
	// not active, and Until ends with the claim.
	Provisional bool
	// Restored: a ticket from before this generation, which the store did not know, was
	// put back at its place. One that is as young as the generation was forgotten (see
	// Tick) or given while the store was away, and not lost.
	Restored bool
}

// Visit is the use of a pass, reported by Renew.
type Visit struct {
	ID     ID
	Place  Time          // by the pass
	Called Time          // by the pass
	Until  Time          // by the pass: what was promised when it was issued
	At     Time          // when the pass was last used
	Extend time.Duration // longer than the session when the origin asked for it; 0: the session
}

// Renewal is the answer to one Visit.
type Renewal struct {
	// Until is the latest instant that a new pass may be valid to.
	Until Time
	// Gone: the visitor left, or max_session is over, or the store knows of no slot and
	// the pass's would be over already: then its ticket is used. The pass is void.
	Gone bool
	// Claimed: this call turned a called visitor, or one in line, into an active one.
	Claimed bool
	// Restored: the store did not know the session and took the pass's word.
	Restored bool
	// Overshoot: this call raised called+active above max_active. Whoever was inside
	// already when it was lowered, the room opened, or something was lost is none, until
	// visitors are called by the limit again.
	Overshoot bool
}

// Departure is a visitor who leaves. Until is the pass's, 0 for a ticket.
type Departure struct {
	ID    ID
	Place Time
	Until Time
}

// Departed is the answer to one Departure: what it freed.
type Departed struct {
	Slot  bool // a called or active slot
	Place bool // a place in line, present or absent
}

// Call is what a gate says about itself and the room with every operation.
type Call struct {
	Room     string
	Settings *Settings // with the overrides applied
	// Version is that of the overrides in Settings. A store that has newer ones
	// calls nobody and admits nobody on this call's word.
	Version int64
	// Told is the highest room time that this gate has been told, by the store or
	// by a token it verified; Generation the newest generation, likewise.
	Told       Time
	Generation uint32
	// Place is how far place time is by what this gate was told of it, carried on since.
	// Deaf: it has only started, and was told by tokens, so that it may be later; or by
	// nobody, and it is 0.
	Place Time
	Deaf  bool
	// Hold is how long it may take from now until all visitors have asked again whom
	// this gate told to. Called and Active are the most that it lately saw. A store
	// that lost what it knew goes by them: see Loss.
	Hold           time.Duration
	Called, Active int64
	// Running is how long the gate has run: of tickets that were given since, nobody
	// else knows more.
	Running time.Duration
}

// LateCall is how far room time is ahead of what the gate had been told when its
// call has been under way for long: a store that hung carries out what had been sent
// to it once it goes on, in any order, and what was sent again may be first.
const LateCall = time.Second

// Late tells whether a call that is carried out at an instant may have been
// overtaken by a later one.
func (c *Call) Late(now Time) bool { return now.Sub(c.Told) > LateCall }

// Moment is when an operation took place.
type Moment struct {
	Time       Time
	Generation uint32
	// Place is place time: what orders the line. Room time stands over an outage, and
	// place time does not, so that those who come meanwhile have their places before
	// those who come afterwards. It moves with room time, or as far as the calling gate
	// knows it to be (Call.Place); where that is Deaf, with the store's clock, however
	// long the call before was ago.
	Place Time
}

// Snapshot is the state of a room after a Tick.
type Snapshot struct {
	Moment
	Waiting, Away, Called, Active int64
	// Ladder reads positions off places; see Ladder.
	Ladder Ladder
	// Front is the latest place called so far; everybody before it was called or
	// was absent. 0: nobody yet.
	Front Time
	// Calls counts the visitors called in this generation.
	Calls int64
	// PerHour and Burst are the limits in force, -1 when there is no rate.
	PerHour, Burst int64
	// Overrides are set when the store has others than the call's Version.
	Overrides *Overrides
	// Held is until when nobody is called, or let in on the spot, whose place is after
	// Barrier: after a loss, so that those who have not come back yet are not
	// overtaken. 0: nobody is held back.
	Held, Barrier Time
	// Loss is set when this generation is not the one that the Call told of.
	Loss *Loss
	// Full: the store has no memory for newcomers, who are told Full. Whoever waits or is
	// inside goes on, so that there is room again.
	Full bool
	// More: a bound on the work of one call was reached; tick again at once.
	More bool
	// What this very call did.
	NewCalls, NoShows, Abandoned, Ended int64
}

// Store is where lines live. Every operation is one atomic step for the whole
// batch, takes time bounded by the batch's size (and, for Tick, by a constant),
// may be called from any number of gates at once, and may be repeated: sending
// the same items again changes nothing but deadlines. Each item is decided for
// itself; out has one answer per item, in order, and is appended to and returned.
//
// An error wraps ErrUnavailable when nothing is known to have happened; the
// operation may still have been carried out, so callers repeat it with the same
// ids. Operations block until answered or ctx ends.
type Store interface {
	// Enter gives a newcomer a place, or lets them in when nobody waits and the
	// limits allow it; marks a known visitor present; hands a called one the slot;
	// puts an unknown ticket back at its place. What the store knows of an id wins
	// over what the Arrival says.
	Enter(ctx context.Context, c *Call, in []Arrival, out []Standing) ([]Standing, Moment, error)

	// Renew keeps sessions alive. A called visitor's slot, and an id still in line,
	// become active; an unknown id with a valid pass is registered again.
	Renew(ctx context.Context, c *Call, in []Visit, out []Renewal) ([]Renewal, Moment, error)

	// Leave frees slots and places now. Their tickets are used up.
	Leave(ctx context.Context, c *Call, in []Departure, out []Departed) ([]Departed, Moment, error)

	// Tick ends sessions and calls whose time is over, moves visitors who were not
	// seen in time out of the line, calls as many present ones as rate, burst and
	// max_active allow, in order of place, and tells how things stand. Credit is
	// counted in room time, so that ten gates ticking call no more than one.
	//
	// Who is moved out keeps the place for keep_place, but for those of whom nothing
	// was heard since they came: they are forgotten. Their places stand in their
	// tickets, and programs that take no cookies would fill the store with theirs. Nor
	// are more kept than MaxWaiting, if there is one: who is away longest is forgotten.
	Tick(ctx context.Context, c *Call) (Snapshot, error)

	// Overrides returns the live settings of a room.
	Overrides(ctx context.Context, room string) (Overrides, error)

	// Override replaces the live settings of a room if their version is still
	// o.Version-1, and fails with ErrConflict otherwise.
	Override(ctx context.Context, room string, o Overrides) error

	// Close frees what the store holds. No call may be under way.
	Close() error
}
