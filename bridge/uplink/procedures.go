package uplink

import (
	"context"
	"errors"
	"strings"
	"time"

	"gantry/wamp"
	"gantry/wamp/serialize"
)

// Follow tells which procedures of the chosen classes are registered in the gateway's
// realm, for far worlds that take no patterns: each when it appears, and when it goes. It
// returns when ctx ends or the local router refuses; told runs until then. Procedures that
// are registered by patterns have no names and are left out.
func (c *Commands) Follow(ctx context.Context, told func(procedure wamp.URI, there bool)) error {
	changed := make(chan struct{}, 1) // one is enough; never closed
	for _, topic := range []wamp.URI{"wamp.registration.on_create", "wamp.registration.on_delete"} {
		undo, err := c.local.Subscribe(ctx, topic, wamp.SubscribeOptions{}, func(*wamp.Event) {
			select {
			case changed <- struct{}{}:
			default:
			}
		})
		if err != nil {
			return err
		}
		defer func() {
			late, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
			defer cancel()
			_ = undo(late) // the session may have ended
		}()
	}
	known := map[int64]wamp.URI{} // registrations by id; "" = none of the chosen classes
	for {
		if err := c.look(ctx, known, told); err != nil {
			return err
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// look compares known with what is registered, and tells the difference.
func (c *Commands) look(ctx context.Context, known map[int64]wamp.URI, told func(procedure wamp.URI, there bool)) error {
	var all struct {
		Exact []int64 `json:"exact"`
	}
	p, err := c.local.Call(ctx, "wamp.registration.list", wamp.CallOptions{}, wamp.Payload{})
	if err := errors.Join(err, serialize.Arg(p, 0, &all)); err != nil {
		return err
	}
	there := make(map[int64]bool, len(all.Exact))
	for _, id := range all.Exact {
		there[id] = true
	}
	for id, procedure := range known {
		if there[id] {
			continue
		}
		delete(known, id)
		if procedure != "" {
			told(procedure, false)
		}
	}
	for _, id := range all.Exact {
		if _, old := known[id]; old {
			continue
		}
		var about struct {
			URI string `json:"uri"`
		}
		p, err := c.local.Call(ctx, "wamp.registration.get", wamp.CallOptions{}, wamp.Args(id))
		if errors.Join(err, serialize.Arg(p, 0, &about)) != nil {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			continue // it has gone meanwhile
		}
		known[id] = ""
		if procedure := wamp.URI(strings.Clone(about.URI)); c.allowed(procedure) {
			known[id] = procedure
			told(procedure, true)
		}
	}
	return nil
}
