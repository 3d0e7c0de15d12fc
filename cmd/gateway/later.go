package main

import (
	"context"
	"crypto/rand"
	"strings"

	"gantry/bridge/later"
	"gantry/store"
	"gantry/wamp"
	"gantry/wamp/router"
	"gantry/wamp/transport"
)

// mapTable is a table of the store as queued commands and the fleet view want it.
type mapTable struct{ *store.Table }

var _ later.Table = mapTable{}

// Apply implements later.Table.
func (t mapTable) Apply(ctx context.Context, changes map[string][]byte) error {
	list := make([]store.Change, 0, len(changes))
	for k, v := range changes {
		list = append(list, store.Change{Key: []byte(k), Value: v})
	}
	return t.Table.Apply(ctx, list)
}

// openJobs opens the table of queued commands, before the store runs.
func (r *run) openJobs() (err error) {
	r.jobs, err = r.store.Table("jobs", store.TableConfig{MaxEntries: 4096, MaxBytes: 32 << 20})
	return err
}

// startLater starts the queued commands.
func (r *run) startLater(ctx context.Context) error {
	s, err := r.join(ctx, "later", transport.PipeConfig{})
	if err != nil {
		return err
	}
	cfg := r.cfg.Later
	cfg.Gateway, cfg.Anonymous = r.cfg.Gateway.Name, r.cfg.Listen.AnonymousRole
	l, err := later.New(cfg, later.Deps{
		Session: s, Table: mapTable{r.jobs}, Allow: r.mayCall,
		Clock: func() later.Moment {
			// In this order: a clock that is set in between is right.
			synced := r.clock.Synced()
			return later.Moment{Wall: r.clock.Now(), Synced: synced, Boot: r.clock.Boot(), Up: r.clock.Up()}
		},
		NewID: func() string { return strings.ToLower(rand.Text()) },
	}, r.log.With("room", "later"))
	if err != nil {
		return err
	}
	r.later.Store(l)
	r.front.run("queued commands", l.Run)
	return awaitReady(ctx, l.Ready())
}

// mayCall reports whether a caller of that role may call procedure now.
func (g *Gateway) mayCall(_ context.Context, authid, authrole string, procedure wamp.URI) (bool, error) {
	if g.allow == nil {
		return true, nil
	}
	return g.allow(router.Identity{AuthID: authid, AuthRole: authrole}, router.ActionCall, procedure, wamp.MatchExact)
}

// laterMetrics writes what became of queued commands.
func (g *Gateway) laterMetrics(m *metrics) {
	l := g.later.Load()
	if l == nil {
		return
	}
	m.family("gantry_later_jobs_total", counter, "Queued commands that have come into a state.")
	for state, n := range l.Counts() {
		m.value(float64(n), "state", string(state))
	}
}
