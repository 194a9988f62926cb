package gate

import (
	"context"
	"time"

	"github.com/sluicegate/sluice/gate/admin"
	"github.com/sluicegate/sluice/metrics"
	"github.com/sluicegate/sluice/queue"
)

// Names implements admin.Rooms.
func (g *Gate) Names() []string {
	var names []string
	for _, r := range g.site.Load().rooms {
		names = append(names, r.name)
	}
	return names
}

// Room implements admin.Rooms.
func (g *Gate) Room(name string) (admin.Room, bool) {
	r := g.site.Load().byName[name]
	if r == nil {
		return admin.Room{}, false
	}
	s := r.line.Status()
	return admin.Room{
		Name: name, Settings: s.Settings, File: s.File, Overrides: s.Overrides, Snapshot: s.Snapshot, Age: s.Age,
	}, true
}

// Change implements admin.Rooms.
func (g *Gate) Change(ctx context.Context, name, by string, patch map[string]any) (admin.Room, error) {
	r := g.site.Load().byName[name]
	if r == nil {
		return admin.Room{}, admin.ErrUnknownRoom
	}
	err := r.line.Change(ctx, func(file queue.Settings, stored queue.Overrides) (queue.Overrides, error) {
		next, _, err := queue.ApplyPatch(file, stored, patch, by, time.Now().UTC())
		return next, err
	})
	if err != nil {
		return admin.Room{}, err
	}
	room, _ := g.Room(name)
	return room, nil
}

// origins is what metrics show of the origin.
func (g *Gate) origins() (all []metrics.Origin) {
	for _, s := range g.site.Load().proxy.Origins() {
		all = append(all, metrics.Origin{
			Up: s.Up, Out: s.Out, Down: s.Down, Idle: s.Idle, Used: s.Used, Tunnels: s.Tunnels, Waiting: s.Waiting,
		})
	}
	return all
}
