package judge

// Kind is what happened.
type Kind uint8

// What happens to a visitor. Each kind uses the fields of Event that it names,
// beside Visitor, Sent and Answered.
const (
	// Joined: told to wait, and given a ticket. Ticket, Place, After.
	Joined Kind = iota + 1
	// Refused: asked with the ticket, by poll or reload, and told to wait. Ticket,
	// Place, Position, Age, After, Low, High.
	Refused
	// Admitted: let in. Who has no Joined before it was let in on the spot. Ticket,
	// Place, Called, Session. A ticket that is used from several places, as copies
	// are, has several.
	Admitted
	// Left: told the gate that they go, or the shop let go of them.
	Left
	// Vanished: went from inside without a word. Answered is when their last request
	// was; Used tells whether any request showed the pass.
	Vanished
	// WalkedAway: gave up waiting and does not come back.
	WalkedAway
	// Forgotten: had a place, asked with the ticket in time, and was told that they
	// have none.
	Forgotten
	// Expelled: was asked to wait although inside. After is how long ago their last
	// request before that one was answered.
	Expelled
	// Copied: a copy of the visitor's ticket was let in, elsewhere or later. Ticket,
	// Place, Called, Session.
	Copied

	lastKind = Copied
)

// Event is something that happened to a visitor. Times are nanoseconds since 1970.
type Event struct {
	Kind     Kind
	Used     bool
	Gate     uint8  // that was asked, from 1; 0: not told, or beyond the 255th
	Visitor  uint64 // as Log.Visitor gave it
	Sent     int64  // the request began to leave
	Answered int64  // the answer was there
	Ticket   uint64 // what makes the ticket itself; 0: cannot be told
	Place    int64  // room time in microseconds; 0: cannot be told
	Position int64  // 0: not told
	Age      int64  // of the position, nanoseconds: how long ago it was so
	After    int64  // when to ask again, nanoseconds
	Low      int64  // estimate in seconds; High 0: not told
	High     int64
	Called   int64  // room time in milliseconds; 0: cannot be told
	Session  uint64 // whom the shop took them for, hashed; 0: cannot be told
}
