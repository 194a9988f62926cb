package shop

import (
	"sync"
	"sync/atomic"
	"time"
)

// history is how many past seconds the back office shows.
const history = 60

// A second is what the shop did within one second.
type second struct {
	Requests int     `json:"requests"`
	Visitors int     `json:"visitors"`
	Slowest  float64 `json:"slowest_seconds"`
}

// meter counts what the shop serves, second by second.
type meter struct {
	busy atomic.Int64 // pages being made now

	mu   sync.Mutex
	at   int64               // the Unix second of now
	now  second              // not over yet
	seen map[string]struct{} // visitors of now
	past [history]second     // the seconds before now; the last is the latest
}

// roll moves on to the second of t. A clock that goes back is taken as standing still.
func (m *meter) roll(t time.Time) {
	at := t.Unix()
	if at <= m.at {
		return
	}
	if at-m.at > history {
		m.past = [history]second{}
	} else {
		for ; m.at < at; m.at++ {
			copy(m.past[:], m.past[1:])
			m.past[history-1] = m.now
			m.now = second{}
		}
	}
	m.at, m.now = at, second{}
	m.seen = make(map[string]struct{})
}

func (m *meter) served(at time.Time, took time.Duration, visitor string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.roll(at)
	if m.seen == nil {
		m.seen = make(map[string]struct{})
	}
	m.seen[visitor] = struct{}{}
	m.now.Requests++
	m.now.Visitors = len(m.seen)
	m.now.Slowest = max(m.now.Slowest, took.Seconds())
}

// read gives the last minute, the latest full second at its end.
func (m *meter) read(at time.Time) [history]second {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.roll(at)
	return m.past
}
