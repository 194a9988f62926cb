package memory

import (
	"container/heap"

	"github.com/sluicegate/sluice/queue"
)

// agenda is a heap of ids by instant.
type agenda struct{ items entries }

type entry struct {
	at queue.Time
	id queue.ID
}

func (a *agenda) push(at queue.Time, id queue.ID) { heap.Push(&a.items, entry{at, id}) }

// popBefore takes out the earliest entry that is not after t.
func (a *agenda) popBefore(t queue.Time) (id queue.ID, at queue.Time, ok bool) {
	if len(a.items) == 0 || a.items[0].at > t {
		return 0, 0, false
	}
	e := heap.Pop(&a.items).(entry)
	return e.id, e.at, true
}

type entries []entry

func (e entries) Len() int           { return len(e) }
func (e entries) Less(i, j int) bool { return e[i].at < e[j].at }
func (e entries) Swap(i, j int)      { e[i], e[j] = e[j], e[i] }
func (e *entries) Push(x any)        { *e = append(*e, x.(entry)) }
func (e *entries) Pop() any {
	old := *e
	last := old[len(old)-1]
	*e = old[:len(old)-1]
	return last
}
