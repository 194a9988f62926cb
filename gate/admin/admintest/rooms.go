// Package admintest stands in for a gate behind the admin API, for tests of the
// API and of the commands that use it.
package admintest

import (
	"context"
	"sync"
	"time"

	"github.com/sluicegate/sluice/gate/admin"
	"github.com/sluicegate/sluice/queue"
)

// Rooms are rooms in memory, in the order they were added.
type Rooms struct {
	mu    sync.Mutex
	names []string
	rooms map[string]admin.Room
	err   error
}

// Add adds a room whose snapshot is a second old.
func (r *Rooms) Add(name string, file queue.Settings, counts queue.Snapshot) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.rooms == nil {
		r.rooms = make(map[string]admin.Room)
	}
	r.names = append(r.names, name)
	r.rooms[name] = admin.Room{Name: name, File: file, Settings: file, Snapshot: counts, Age: time.Second}
}

// Edit changes a room.
func (r *Rooms) Edit(name string, edit func(*admin.Room)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	room := r.rooms[name]
	edit(&room)
	r.rooms[name] = room
}

// Fail makes every Change return err until it is nil.
func (r *Rooms) Fail(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.err = err
}

// Names implements admin.Rooms.
func (r *Rooms) Names() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]string(nil), r.names...)
}

// Room implements admin.Rooms.
func (r *Rooms) Room(name string) (admin.Room, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	room, ok := r.rooms[name]
	return room, ok
}

// Change implements admin.Rooms.
func (r *Rooms) Change(_ context.Context, name, by string, patch map[string]any) (admin.Room, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	room, ok := r.rooms[name]
	switch {
	case r.err != nil:
		return admin.Room{}, r.err
	case !ok:
		return admin.Room{}, admin.ErrUnknownRoom
	}
	next, effective, err := queue.ApplyPatch(room.File, room.Overrides, patch, by, time.Now())
	if err != nil {
		return admin.Room{}, err
	}
	room.Overrides, room.Settings = next, effective
	r.rooms[name] = room
	return room, nil
}
