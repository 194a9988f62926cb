package gate

import (
	"log/slog"
	"sync"
	"time"
)

// failures writes what may happen a thousand times a second at most once every
// ten seconds, with the number of the times that were left out.
type failures struct {
	mu      sync.Mutex
	last    time.Time
	dropped int
}

func (f *failures) warn(log *slog.Logger, message string, args ...any) {
	f.mu.Lock()
	now := time.Now()
	if now.Sub(f.last) < 10*time.Second {
		f.dropped++
		f.mu.Unlock()
		return
	}
	dropped := f.dropped
	f.last, f.dropped = now, 0
	f.mu.Unlock()
	log.Warn(message, append(args, "not_logged_since", dropped)...)
}
