package redis

import "sync/atomic"

// keys are the names of everything the store keeps, of one room: one hash tag a
// room, so that all of a call's keys lie in one slot of a cluster. What each holds
// is written at the head of lua/room.lua, in the same order.
type keys struct {
	full      atomic.Int64 // until when scripts look whether there is memory left, by this machine's clock
	all       []string
	overrides []string
}

func roomKeys(prefix, room string) *keys {
	base := prefix + ":{" + room + "}:"
	k := &keys{}
	for _, name := range []string{
		"meta", "waiting", "present",
		"agenda", // and agenda:<slice>, named by the scripts
		"soon", "away", "called", "active", "since", "left",
		"used", // and used:<minute>, likewise
		"ladder", "overrides",
		"never", // there, see lua/room.lua
	} {
		k.all = append(k.all, base+name)
	}
	k.overrides = []string{base + "overrides"}
	return k
}
