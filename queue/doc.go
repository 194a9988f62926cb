// Package queue is the line: who waits, who is called, who is inside. It knows no
// HTTP.
//
// # States of a visitor
//
//	            Enter                Tick               Enter, Renew
//	newcomer ──────────▶ waiting ──────────▶ called ──────────────────▶ active
//	    │   a place       │   ▲                │                          │
//	    │                 │   │ Enter          │ did not come             │ session over
//	    │  not seen in    ▼   │ (seen again)   │                          ▼
//	    │  time, Tick    absent ◀──────────────┘                         gone
//	    │                 │ keep_place over, Tick                         ▲
//	    │                 └────────────────────────────────────────────▶──┤ Leave, from
//	    └── called at once when nobody waits and the limits allow it      │ every state
//
// Positions count waiting visitors only, so nobody stands behind somebody absent.
// Called and active visitors hold a slot; max_active bounds the slots, rate and
// burst how many are called per time (Credit).
//
// # Time
//
// Room time is the only clock of every deadline. The store keeps it: it moves by the
// store's clock but never backwards and never by more than two seconds between two
// calls. Gates carry it on by their own monotonic clocks between two answers.
//
// A place is an instant: when the gate received a visitor's first request, in place
// time, in microseconds. Place time goes with room time, and on over an outage: gates
// carry it on however long that is, and bring it back to the store (Moment.Place).
// Places of any number of gates sort by themselves, travel in signed tickets, and are
// never given anew; so the line outlives what the store remembers of it.
//
// # Who does what
//
// A Store holds the truth and decides: four operations, each one atomic step. A
// Line is a gate's side of one room: it gathers what visitors ask into few calls,
// and answers from a Snapshot whoever is far from the front. Its Ladder tells
// positions without asking; they are exact near the front, at most a thirty-second
// too high further back, and never grow but by earlier visitors coming back.
//
// The stores are packages memory and redis; queuetest holds both to the contract.
package queue
