package cert

import "time"

// AskEvery is how often the manager is looked at.
func (k *Keeper) AskEvery(d time.Duration) { k.askEvery = d }

// Look reads the files again.
func (k *Keeper) Look(now time.Time) { k.look(now) }
