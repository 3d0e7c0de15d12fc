package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"gantry/bridge"
	"gantry/internal/ratelog"
	"gantry/internal/receipts"
	"gantry/store"
	"gantry/wamp"
	"gantry/wamp/transport"
)

// storeHealth knows which parts of the store cannot be written. The state of the
// whole is told on gantry.<gw>.state.gateway_store.link.
type storeHealth struct {
	link *bridge.Link

	mu      sync.Mutex        // guards failing
	failing map[string]string // why, by outbox or table
}

func newStoreHealth() *storeHealth {
	h := &storeHealth{link: bridge.NewLink(nil), failing: map[string]string{}}
	h.link.Set(bridge.Online, "")
	return h
}

// note takes an event of the store.
func (h *storeHealth) note(e store.Event) {
	part := cmp.Or(e.Outbox, e.Table)
	h.mu.Lock()
	defer h.mu.Unlock()
	switch e.Kind {
	case store.Degraded:
		h.failing[part] = fmt.Sprint(e.Err)
	case store.Recovered:
		delete(h.failing, part)
	default:
		return
	}
	if len(h.failing) == 0 {
		h.link.Set(bridge.Online, "")
		return
	}
	// The same one each time, whatever the order in which they fail.
	h.link.Set(bridge.Degraded, h.failing[slices.Min(slices.Collect(maps.Keys(h.failing)))])
}

// degraded reports whether a part of the store cannot be written.
func (h *storeHealth) degraded() bool {
	now, _ := h.link.State()
	return now.State == bridge.Degraded
}

// announceStore tells the realm of the store's state.
func (r *run) announceStore(ctx context.Context, origin *bridge.Origin) error {
	s, err := r.join(ctx, "gateway_store", transport.PipeConfig{})
	if err != nil {
		return err
	}
	r.core.run("state of the store", func(ctx context.Context) error {
		return r.health.link.Announce(ctx, s, origin, origin.URI("state", "gateway_store", "link"), func(err error) {
			r.log.Warn("state of the store not published", "error", err)
		})
	})
	return nil
}

// keeps refuses an acknowledged publication that has to go onto the disk, which
// cannot be written: one of a class that an uplink confirms, or of a history.
func (g *Gateway) keeps(topic wamp.URI) *wamp.Error {
	if kept := g.kept.Load(); kept != nil {
		for _, q := range *kept {
			if !q.uplink.Confirms(topic) {
				continue
			}
			box := q.outbox
			if q.uplink.Urgent(topic) {
				box = q.urgent
			}
			if err := box.Writable(); err != nil {
				return storageFull(q.name, err)
			}
		}
	}
	for _, l := range g.histories {
		box := l.box.Load()
		if box == nil || !l.holds(topic) {
			continue
		}
		err := box.Writable()
		if l.cfg.Confirmed() && (g.receipts.Waiting() >= maxOwed || box.Status().Pending >= maxUnwritten) {
			err = errSlowDisk
		}
		if err != nil {
			return storageFull("history of "+l.cfg.Topic, err)
		}
	}
	return nil
}

const (
	// maxOwed bounds the publications whose answers wait for the disk.
	maxOwed = 1 << 16
	// maxUnwritten bounds what waits for it, in bytes: half of what an outbox takes, so
	// that none of those that have been let in is left out.
	maxUnwritten = 2 << 20
)

var errSlowDisk = errors.New("more comes than the disk takes")

// newReceipts makes what acknowledged publications wait for whose history is confirmed.
// Without such a history it is nil.
func (g *Gateway) newReceipts() {
	if !slices.ContainsFunc(g.histories, func(l *historyLog) bool { return l.cfg.Confirmed() }) {
		return
	}
	rare := ratelog.New(g.log, time.Minute, nil)
	g.receipts = receipts.New(g.confirm, func(err error) {
		rare.Warn("publications stay unacknowledged, as they cannot be stored", "error", err, "hint", "is the disk full?")
	})
}

// settles has a publication answered when its history is on disk.
func (g *Gateway) settles(topic wamp.URI, done func()) bool {
	confirmed := slices.ContainsFunc(g.histories, func(l *historyLog) bool { return l.cfg.Confirmed() && l.holds(topic) })
	if confirmed {
		g.receipts.Then(done)
	}
	return confirmed
}

// confirm returns once the confirmed histories are on disk.
func (g *Gateway) confirm(ctx context.Context) error {
	for _, l := range g.histories {
		if box := l.box.Load(); box != nil && l.cfg.Confirmed() {
			if err := box.Confirm(ctx); err != nil {
				return fmt.Errorf("history of %s: %w", l.cfg.Topic, err)
			}
		}
	}
	return nil
}

// storageFull says in words without paths what the log says in full.
func storageFull(part string, err error) *wamp.Error {
	why := "the store cannot be written"
	switch {
	case errors.Is(err, store.ErrFull):
		why = "the store is full"
	case errors.Is(err, errSlowDisk):
		why = err.Error()
	}
	return wamp.NewError(wamp.ErrURIStorageFull, "not published, as it could not be kept: "+why, wamp.Dict{"part": part})
}
