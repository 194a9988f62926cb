package gate

import (
	"context"
	"slices"
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

// OriginServers is how many servers the origin has: each address of each URL.
func (g *Gate) OriginServers() (n int) {
	for _, s := range g.site.Load().proxy.Origins() {
		n += s.Up + s.Out + s.Down
	}
	return n
}

// origins is what metrics show of the origin. What is under way to a URL that a reload
// took out of the list stands behind the list until it has ended.
func (g *Gate) origins() []metrics.Origin {
	g.mu.Lock()
	replaced := slices.Clone(g.replaced)
	now := g.site.Load()
	g.mu.Unlock()
	urls := slices.Clone(now.origin.URLs)
	all := make([]metrics.Origin, len(urls))
	for i, s := range now.proxy.Origins() {
		all[i] = metrics.Origin{Up: s.Up, Out: s.Out, Down: s.Down, Idle: s.Idle, Used: s.Used, Tunnels: s.Tunnels, Waiting: s.Waiting}
	}
	for _, old := range replaced {
		for i, s := range old.proxy.Origins() {
			if s.Idle+s.Used+s.Tunnels+s.Waiting == 0 {
				continue
			}
			at := slices.Index(urls, old.origin.URLs[i])
			if at < 0 {
				at = len(urls)
				urls, all = append(urls, old.origin.URLs[i]), append(all, metrics.Origin{})
			}
			o := &all[at]
			o.Idle, o.Used, o.Tunnels, o.Waiting = o.Idle+s.Idle, o.Used+s.Used, o.Tunnels+s.Tunnels, o.Waiting+s.Waiting
		}
	}
	return all
}
