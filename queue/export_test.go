package queue

// Remembered is how many sessions a gate keeps in mind: those used of late, and
// those that are over while a pass for them may still be about.
func (l *Line) Remembered() (used, gone int) {
	l.visits.mu.Lock()
	defer l.visits.mu.Unlock()
	return len(l.visits.known), len(l.visits.gone)
}

// Held is how many polls are held.
func (l *Line) Held() int {
	l.held.mu.Lock()
	defer l.held.mu.Unlock()
	return len(l.held.set)
}
