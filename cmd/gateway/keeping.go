package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"

	"gantry/bridge"
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
			if q.uplink.Confirms(topic) {
				if err := q.outbox.Writable(); err != nil {
					return storageFull(q.name, err)
				}
			}
		}
	}
	for _, l := range g.histories {
		box := l.box.Load()
		if match, _ := wamp.ParseMatch(l.cfg.Match); box == nil || !wamp.URI(l.cfg.Topic).Matches(match, topic) {
			continue
		}
		if err := box.Writable(); err != nil {
			return storageFull("history of "+l.cfg.Topic, err)
		}
	}
	return nil
}

// storageFull says in words without paths what the log says in full.
func storageFull(part string, err error) *wamp.Error {
	why := "the store cannot be written"
	if errors.Is(err, store.ErrFull) {
		why = "the store is full"
	}
	return wamp.NewError(wamp.ErrURIStorageFull, "not published, as it could not be kept: "+why, wamp.Dict{"part": part})
}
