package door

import (
	"hash/maphash"
	"net/netip"
	"sync"
	"time"

	"github.com/sluicegate/sluice/metrics"
	"github.com/sluicegate/sluice/queue"
)

// AddressLimits are how much one address may take. Addresses whose first bits are the
// same are one.
type AddressLimits struct {
	Conns      int        // with a request on them; 0: no limit
	Requests   queue.Rate // the zero Rate: no limit
	Newcomers  queue.Rate
	IPv4, IPv6 int // bits
}

// Addresses counts by address in a table of fixed size. What tells nothing any more
// gives way to what does; where all of it does, who has the least to their account is
// forgotten, and nobody is refused for want of room in the table.
type Addresses struct {
	limits              AddressLimits
	requests, newcomers bucket
	began               time.Time
	seed                maphash.Seed
	shards              [addressShards]addressShard
}

const (
	addressShards = 64
	addressSets   = 128
	addressWays   = 8 // entries that one address may stand in
)

type addressShard struct {
	mu   sync.Mutex
	sets [addressSets][addressWays]address
}

type address struct {
	prefix              netip.Addr
	conns               int32
	requests, newcomers int64 // when all that came is worked off, nanoseconds since began
}

// bucket is a rate, as the time that each takes. What is ahead of it by burst is refused
// (the generic cell rate algorithm, ITU-T I.371).
type bucket struct{ each, burst int64 }

// Ten seconds' worth may come at once, and ten at least.
const (
	burstTime = 10 * time.Second
	burstLow  = 10
)

func newBucket(r queue.Rate) bucket {
	if r == (queue.Rate{}) {
		return bucket{}
	}
	each := int64(time.Hour) / r.PerHour()
	return bucket{each, max(int64(burstTime), burstLow*each)}
}

// take counts one, unless it comes too early; then wait is when it would not.
func (b bucket) take(until *int64, now int64) (wait time.Duration) {
	if b.each == 0 {
		return 0
	}
	next := max(*until, now) + b.each
	if ahead := next - now - b.burst; ahead > 0 {
		return time.Duration(ahead)
	}
	*until = next
	return 0
}

// NewAddresses returns an empty table, nil when nothing is limited.
func NewAddresses(l AddressLimits) *Addresses {
	if l.Conns == 0 && l.Requests == (queue.Rate{}) && l.Newcomers == (queue.Rate{}) {
		return nil
	}
	return &Addresses{
		limits: l, requests: newBucket(l.Requests), newcomers: newBucket(l.Newcomers),
		began: time.Now(), seed: maphash.MakeSeed(),
	}
}

// Limits are what the table was made with.
func (a *Addresses) Limits() AddressLimits { return a.limits }

// Request counts a request of an address, of somebody new if it says so, on that
// connection. A wait says that it is too many, and why.
func (a *Addresses) Request(from netip.Addr, newcomer bool, k *Conn) (wait time.Duration, why metrics.Refusal) {
	return a.request(from, newcomer, k, int64(time.Since(a.began)))
}

func (a *Addresses) request(from netip.Addr, newcomer bool, k *Conn, now int64) (wait time.Duration, why metrics.Refusal) {
	prefix := a.prefix(from)
	if !prefix.IsValid() { // a unix socket
		return 0, 0
	}
	s, e := a.entry(prefix, now)
	defer s.mu.Unlock()
	if e == nil {
		return 0, 0
	}
	counts := a.limits.Conns > 0 && k != nil && !k.paid
	if counts && int(e.conns) >= a.limits.Conns {
		return burstTime, metrics.RefusedConns
	}
	if newcomer {
		// Both or neither: what is refused for the other reason cost nothing.
		later := e.newcomers
		if wait := a.newcomers.take(&later, now); wait > 0 {
			return wait, metrics.RefusedNewcomers
		}
		if wait := a.requests.take(&e.requests, now); wait > 0 {
			return wait, metrics.RefusedRequests
		}
		e.newcomers = later
	} else if wait := a.requests.take(&e.requests, now); wait > 0 {
		return wait, metrics.RefusedRequests
	}
	if counts {
		k.paid = true
		if k.door.pay(k, a, prefix) {
			e.conns++
		}
	}
	return 0, 0
}

// left takes a connection off an address's account.
func (a *Addresses) left(prefix netip.Addr) {
	s, e := a.entry(prefix, int64(time.Since(a.began)))
	defer s.mu.Unlock()
	if e != nil && e.conns > 0 {
		e.conns--
	}
}

func (a *Addresses) prefix(from netip.Addr) netip.Addr {
	bits := a.limits.IPv6
	if from.Is4() {
		bits = a.limits.IPv4
	}
	p, err := from.Prefix(bits)
	if err != nil {
		return netip.Addr{}
	}
	return p.Addr()
}

// entry finds an address's account or opens one, and locks its part of the table. There
// is none when every place where it might stand is some address's with connections.
func (a *Addresses) entry(prefix netip.Addr, now int64) (*addressShard, *address) {
	h := maphash.Comparable(a.seed, prefix)
	s := &a.shards[h%addressShards]
	set := &s.sets[h/addressShards%addressSets]
	s.mu.Lock()
	var free *address
	for i := range set {
		e := &set[i]
		if e.prefix == prefix {
			return s, e
		}
		if e.conns == 0 && (free == nil || e.owes(now) < free.owes(now)) {
			free = e
		}
	}
	if free != nil {
		*free = address{prefix: prefix}
	}
	return s, free
}

// owes is how much is on an address's account.
func (e *address) owes(now int64) int64 {
	if !e.prefix.IsValid() {
		return -1
	}
	return max(e.requests-now, 0) + max(e.newcomers-now, 0)
}
