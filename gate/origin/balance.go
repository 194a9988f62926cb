package origin

import "time"

// Balance is how a server is chosen among those that are well.
type Balance uint8

const (
	RoundRobin Balance = iota // in turn
	LeastConns                // the one with the fewest requests and tunnels under way; of equals in turn
)

// maxTries is at how many servers one request may fail.
const maxTries = 3

// Round is the search of one request for a server that answers it. The zero value
// has tried none.
type Round struct {
	// Safe says that the request may be sent again to another server: then it may
	// be the one that finds out whether a server that failed is back.
	Safe bool
	// Common says that the request is nobody's who was let in. The last eighth of a
	// server's connections is not for it.
	Common bool

	tried [maxTries]*Server
	n     int
	trial bool // the last one was out, and this is to show whether it is back
}

func (r *Round) has(s *Server) bool {
	for _, t := range r.tried[:r.n] {
		if t == s {
			return true
		}
	}
	return false
}

func (r *Round) try(s *Server, trial bool) *Server {
	r.tried[r.n], r.trial = s, trial
	r.n++
	return s
}

// How much a server is to be preferred, the best first.
const (
	free    = iota
	full    // all its connections are in use
	shunned // it failed, or its check did
	none
)

// pick chooses a server that the round has not tried, and notes it as tried; nil
// when there is none. What it takes is atomic: nobody waits for anybody.
func (g *Group) pick(r *Round, now time.Time, evenShunned bool) *Server {
	list := *g.servers.Load()
	if len(list) == 0 || r.n == maxTries {
		return nil
	}
	if len(list) == 1 {
		if r.has(list[0]) {
			return nil
		}
		return r.try(list[0], false)
	}
	at := g.since(now)
	start := int(g.turn.Add(1) % uint32(len(list)))
	for {
		var s *Server
		best, least, until := none, int32(0), int64(0)
		for i := range list {
			c := list[(start+i)%len(list)]
			if r.has(c) {
				continue
			}
			rank, out := c.rank(at, r)
			busy := c.busy.Load()
			if rank > best || rank == best && (g.c.Balance == RoundRobin || busy >= least) {
				continue
			}
			s, best, least, until = c, rank, busy, out
			if best == free && g.c.Balance == RoundRobin {
				break
			}
		}
		if best == none || best == shunned && !evenShunned {
			return nil
		}
		trial := best != shunned && until != 0
		if trial && !s.out.CompareAndSwap(until, at+int64(s.outFor())) {
			continue // another request took the trial
		}
		return r.try(s, trial)
	}
}

// rank tells how a server stands, and until when it is out, 0 when it is not.
func (s *Server) rank(at int64, r *Round) (rank int, until int64) {
	if s.down.Load() {
		return shunned, 0
	}
	if until = s.out.Load(); until != 0 {
		due := until
		if !r.Safe {
			due += int64(spare)
		}
		if at < due {
			return shunned, until
		}
	}
	if int(s.busy.Load()-s.tunnels.Load()) >= s.group.c.MaxConns || r.Common && len(s.commons) == cap(s.commons) {
		return full, until
	}
	return free, until
}

// spare is how much longer a server stays out for requests that cannot be sent
// again: somebody else's may find out in that time whether it is back.
const spare = 5 * time.Second
