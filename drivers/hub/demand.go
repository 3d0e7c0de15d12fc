package hub

import (
	"context"
	"errors"
	"time"

	"gantry/drivers"
	"gantry/wamp"
)

// demandPause is the shortest time between two looks at who is subscribed: many
// subscriptions that come at once are one change.
const demandPause = 100 * time.Millisecond

// demandRetry is how long after a failure the hub looks again.
const demandRetry = 5 * time.Second

// watchDemand finds out which points of devices with demand somebody is subscribed
// to, until ctx ends. The router tells when that may have changed.
func (h *Hub) watchDemand(ctx context.Context) {
	listening := false
	pause := time.NewTimer(0)
	defer pause.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-h.demand:
		}
		select {
		case <-ctx.Done():
			return
		case <-pause.C:
		}
		wait := demandPause
		if points := h.onDemand(); len(points) > 0 {
			if !listening {
				listening = h.listenDemand(ctx) == nil
			}
			if !h.lookDemand(ctx, points) || !listening {
				wait = demandRetry
				h.demand.ring()
			}
		}
		pause.Reset(wait)
	}
}

// demanded is a point that is polled on demand.
type demanded struct {
	d *device
	p *point
}

// onDemand returns the points that are polled on demand.
func (h *Hub) onDemand() []demanded {
	h.mu.Lock()
	defer h.mu.Unlock()
	var list []demanded
	for _, d := range h.devices {
		for _, p := range d.points {
			if d.cfg.Demand && p.every > 0 {
				list = append(list, demanded{d, p})
			}
		}
	}
	return list
}

// listenDemand subscribes to what the router says about subscriptions.
func (h *Hub) listenDemand(ctx context.Context) error {
	for _, topic := range []wamp.URI{"wamp.subscription.on_create", "wamp.subscription.on_delete"} {
		if _, err := h.sess.Subscribe(ctx, topic, wamp.SubscribeOptions{}, func(*wamp.Event) { h.demand.ring() }); err != nil {
			h.log.Warn("router does not tell who subscribes, devices with demand are looked after every 5 s", "error", err)
			return err
		}
	}
	return nil
}

// lookDemand asks the router who is subscribed to each of the points. It reports
// whether it has learned that of all. A router that refuses to say is taken to have
// subscribers.
func (h *Hub) lookDemand(ctx context.Context, points []demanded) bool {
	for _, it := range points {
		reply, err := h.sess.Call(ctx, "wamp.subscription.match", wamp.CallOptions{}, wamp.Args(string(it.p.topic)))
		var refused *wamp.Error
		if err != nil && !errors.As(err, &refused) {
			return false
		}
		wanted := refused != nil
		if err == nil {
			args, _, err := h.decode(reply)
			if err != nil {
				return false
			}
			if len(args) > 0 {
				ids, _ := args[0].(wamp.List)
				wanted = len(ids) > 0
			}
		}
		it.d.demand(ctx, it.p, wanted)
	}
	return true
}

// demand notes whether somebody wants a point. When nobody does any more, its value
// is not going to be kept up to date: subscribers to come are told so.
func (d *device) demand(ctx context.Context, p *point, wanted bool) {
	d.mu.Lock()
	changed := p.wanted != wanted
	p.wanted = wanted
	if changed && d.woken != nil {
		close(d.woken)
		d.woken = nil
	}
	d.mu.Unlock()
	if !changed || wanted || !d.take(ctx) {
		return
	}
	defer d.give()
	d.mu.Lock()
	publish := p.age("not_polled", d.hub.now())
	s := p.last
	d.mu.Unlock()
	if publish {
		d.publish(ctx, p, s, wamp.PublishOptions{Retain: true})
	}
}

// awaitDemand returns those of the points that somebody wants. It waits until there
// are some; slept tells that it had to. nil when ctx ended first.
func (d *device) awaitDemand(ctx context.Context, ids []string) (wanted []string, slept bool) {
	if !d.cfg.Demand {
		return ids, false
	}
	for {
		d.mu.Lock()
		for _, id := range ids {
			if d.byID[id].wanted {
				wanted = append(wanted, id)
			}
		}
		if d.woken == nil {
			d.woken = make(chan struct{})
		}
		woken := d.woken
		d.mu.Unlock()
		if len(wanted) > 0 {
			return wanted, slept
		}
		slept = true
		select {
		case <-woken:
		case <-ctx.Done():
			return nil, slept
		}
	}
}

// checkDemand checks that a device which is to be polled on demand can be polled.
func checkDemand(cfg *DeviceConfig, driver drivers.Driver) error {
	if _, polled := driver.(drivers.Reader); cfg.Demand && !polled {
		return bad("demand", "only for drivers that are polled", "the driver %s is not", cfg.Driver)
	}
	return nil
}
