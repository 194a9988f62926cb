package queue

import "time"

// Loss is how a generation of a room began that is not the first: a store found,
// at the beginning of a call, that it is not what it was when the last one ended,
// or not what the calling gate remembers. Whatever does not fit together is dropped
// in that same call, and comes back with visitors' tickets and passes.
//
// Until all visitors have asked again whom any gate told to, nobody is called whose
// place is after the barrier, the last place that is known to have survived. There
// is no credit at first, and slots of those who were inside and have not been heard
// of count against max_active until their sessions are over.
type Loss struct {
	Found          Found
	Born           Time  // when the generation began
	Waiting, Slots int64 // what survived
}

// Found is what showed that something was lost.
type Found uint8

const (
	// FoundNothing: the room was not there.
	FoundNothing Found = iota + 1
	// FoundParts: some of what belongs together was missing.
	FoundParts
	// FoundBehind: the store was behind what it had told a gate.
	FoundBehind
	// FoundRestarted: another server answered, or the same was started anew.
	FoundRestarted
)

// String says what was found.
func (f Found) String() string {
	switch f {
	case FoundNothing:
		return "nothing of the room was left"
	case FoundParts:
		return "a part of the room was missing"
	case FoundBehind:
		return "the store was behind what it had told"
	case FoundRestarted:
		return "the store was started anew, or another took over"
	}
	return "unknown"
}

// NextGeneration is the number of a generation that begins with a loss: later than all
// that the store and the calling gate know of. Another gate may know of one more, whose
// loss was just before this one; the microseconds of the store's clock tell them apart.
func NextGeneration(known uint32, wall int64) uint32 { return known + 1 + uint32(wall%1021) }

const (
	// LeastHold is how long at least visitors behind the barrier are held back after a
	// loss: within it, every gate has told how long it has to be.
	LeastHold = 3 * time.Second
)

// returnWithin is until when visitors have asked again, and the store has heard of
// it, who were told to after a time.
func returnWithin(pollAfter time.Duration) time.Duration {
	return pollAfter + pollAfter/2 + presenceGrace + reportEvery
}

// ReturnWithin is how long visitors of whom nobody knows may take to ask again.
func (s *Settings) ReturnWithin() time.Duration { return returnWithin(s.PollMax) }
