package origin

import (
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// Failures says when a server is left alone that does not answer requests.
type Failures struct {
	Count  int           // this many in a row; 3; negative: never
	Within time.Duration // 30s: of each other
	Out    time.Duration // 5s: how long it is left alone first, then twice as long each time
	MaxOut time.Duration // 1m: and at most
}

// health is what is known of a server. Its atomics are read for every request, the
// rest is behind the lock and touched only when something changes.
type health struct {
	out     atomic.Int64 // left alone until then, nanoseconds of the group's; 0: it is not
	down    atomic.Bool  // by its check
	failing atomic.Bool  // there is something for a success to clear
	length  atomic.Int64 // how long it is left alone at present

	mu     sync.Mutex
	recent []time.Time // failures in a row, the oldest first, at most Failures.Count
	back   time.Time   // when it was last well again
	since  time.Time   // told to be unwell since then; zero: it is well
}

func (h *health) outFor() time.Duration { return time.Duration(h.length.Load()) }

// succeeded clears what failed.
func (s *Server) succeeded(now time.Time) {
	s.health.mu.Lock()
	defer s.health.mu.Unlock()
	s.recent = s.recent[:0]
	s.failing.Store(false)
	if s.out.Swap(0) != 0 {
		s.back = now
	}
	s.tell(now, "", nil)
}

// failed notes a failure: of the trial, when the server is out.
func (s *Server) failed(now time.Time, err error, trial bool) {
	f := &s.group.c.Failures
	if f.Count < 0 {
		return
	}
	s.health.mu.Lock()
	defer s.health.mu.Unlock()
	s.failing.Store(true)
	if s.out.Load() != 0 {
		if trial {
			s.leaveAlone(now, min(2*s.outFor(), f.MaxOut))
		}
		return // what was under way when it was put out says nothing new
	}
	if len(s.recent) == f.Count {
		s.recent = slices.Delete(s.recent, 0, 1)
	}
	s.recent = append(s.recent, now)
	if len(s.recent) < f.Count || now.Sub(s.recent[0]) > f.Within {
		return
	}
	s.recent = s.recent[:0]
	length := f.Out
	if !s.back.IsZero() && now.Sub(s.back) < f.MaxOut {
		length = min(2*s.outFor(), f.MaxOut) // it was only just back
	}
	s.leaveAlone(now, length)
	s.tell(now, "requests failed in a row", err)
}

func (s *Server) leaveAlone(now time.Time, length time.Duration) {
	s.length.Store(int64(length))
	s.out.Store(max(s.group.since(now.Add(length)), 1))
}

// checked takes over what the checks say.
func (s *Server) checked(now time.Time, up bool, err error) {
	s.health.mu.Lock()
	defer s.health.mu.Unlock()
	s.down.Store(!up)
	s.tell(now, "its check failed", err)
}

// tell logs a change of health, once, whatever brought it about. The lock is held.
func (s *Server) tell(now time.Time, why string, err error) {
	well := s.isWell()
	if well == s.since.IsZero() {
		return
	}
	args := []any{"origin", s.site.url}
	if s.site.name != "" {
		args = append(args, "address", s.addr)
	}
	log := s.group.c.Log
	if well {
		log.Info("an origin is well again", append(args, "after", now.Sub(s.since).Round(time.Millisecond).String())...)
		s.since = time.Time{}
		return
	}
	s.since = now
	log.Warn("an origin is left alone: "+why, append(args, slog.Any("error", err))...)
}

func (s *Server) isWell() bool { return s.out.Load() == 0 && !s.down.Load() }
