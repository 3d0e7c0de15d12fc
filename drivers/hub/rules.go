package hub

import (
	"context"
	"sync"
	"time"

	"gantry/drivers"
	"gantry/drivers/hub/internal/transform"
	"gantry/internal/lane"
	"gantry/wamp"
)

// What the hub itself writes, without being asked: safe values, and "off" where a
// point has been on for too long.

// rulesRetry is how long after a failure the hub tries again to write by itself.
const rulesRetry = time.Second

// exitTime bounds the writing of safe values at the end.
const exitTime = time.Second

// isSafe reports whether v is the point's safe value.
func (p *point) isSafe(v drivers.Value) bool { return transform.Same(v, p.safe) }

// duty is a write that the hub owes a point.
type duty struct {
	p     *point
	value drivers.Value
	why   string // "safe" or "max_on"; the verb in the audit log
}

// duties returns the writes that are due and when to ask again, zero for not
// before another event.
func (d *device) duties(now time.Time) (list []duty, next time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, p := range d.points {
		if p.owed {
			continue // whoever fulfils it asks again
		}
		it, at := p.duty(now)
		if it.p != nil {
			p.owed = true
			list = append(list, it)
			continue
		}
		next = earlier(next, at)
	}
	return list, next
}

// duty returns what is due, or when something will be.
func (p *point) duty(now time.Time) (it duty, next time.Time) {
	if p.dead != nil {
		pending := p.dead.Pending(now)
		if next = p.dead.Due(); pending && !next.After(now) {
			return duty{p, p.safe, "safe"}, next
		}
	}
	off := p.guard.Due()
	if !off.IsZero() && !off.After(now) {
		return duty{p, p.off(), "max_on"}, off
	}
	return duty{}, earlier(next, off)
}

// release takes back that duties are being fulfilled.
func (d *device) release(list []duty) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, it := range list {
		it.p.owed = false
	}
}

// earlier returns the earlier of two times; zero is never.
func earlier(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}

// keepRules writes what is due until ctx ends.
func (d *device) keepRules(ctx context.Context) {
	timer := time.NewTimer(idleWait)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-d.rules:
		case <-timer.C:
		}
		// Without a life, the next one asks by itself.
		l, err := d.current()
		if err != nil {
			continue
		}
		list, next := d.duties(d.hub.now())
		if len(list) > 0 {
			d.fulfil(l.ctx, l, lane.Write, list)
			d.release(list)
			d.rules.ring()
			continue
		}
		wait := idleWait
		if !next.IsZero() {
			wait = min(wait, next.Sub(d.hub.now()))
		}
		timer.Reset(max(wait, time.Millisecond))
	}
}

// fulfil writes, one after the other.
func (d *device) fulfil(ctx context.Context, l *life, turn lane.Priority, list []duty) {
	for _, it := range list {
		start := d.hub.now()
		back, err := d.write(ctx, l, turn, it.p, it.value)
		now := d.hub.now()
		d.mu.Lock()
		switch {
		case err != nil && it.why == "safe":
			it.p.dead.Failed(now.Add(rulesRetry))
		case err != nil:
			it.p.guard.Retry(now.Add(rulesRetry))
		case it.p.dead != nil && it.p.isSafe(it.value):
			it.p.dead.Applied()
		}
		d.mu.Unlock()
		own := &call{args: wamp.List{it.value}, inv: &wamp.Invocation{Details: wamp.InvocationDetails{CallerAuthRole: "gateway"}}}
		d.audit(it.why, it.p.id, own, start, err)
		if err != nil {
			d.count.errors.Add(1)
			d.log.Warn("point not set", "point", it.p.id, "why", it.why, "error", err)
			d.trouble(ctx, it.why+"_failed")
			continue
		}
		d.deliver(ctx, drivers.Reading{Point: it.p.id, Value: back}, true)
	}
}

// securely has safe values that are due written before all other requests of a
// life that has just come up.
func (d *device) securely(l *life) {
	list, _ := d.duties(d.hub.now())
	if len(list) == 0 {
		return
	}
	// Nobody else can have entered yet.
	lanes := []*lane.Lane{&l.lane}
	if l.ahead != &l.lane {
		lanes = append(lanes, l.ahead)
	}
	for _, in := range lanes {
		if in.Enter(l.ctx, lane.Write) != nil {
			d.release(list)
			return
		}
	}
	if !l.begin() {
		d.release(list)
		return
	}
	go func() {
		defer l.requests.Done()
		// keepRules writes them again where this fails.
		d.fulfil(l.ctx, l, beside, list)
		d.release(list)
		for _, in := range lanes {
			in.Leave()
		}
		d.rules.ring()
	}()
}

// secure writes the safe values of points that may have others, because the device
// stops being looked after.
func (d *device) secure(l *life) {
	if !l.isUp.Load() {
		return
	}
	ctx, cancel := context.WithTimeout(l.ctx, exitTime)
	defer cancel()
	var all sync.WaitGroup
	d.mu.Lock()
	for _, p := range d.points {
		if p.dead != nil && !p.dead.Safe() {
			all.Go(func() { d.fulfil(ctx, l, lane.Write, []duty{{p, p.safe, "safe"}}) })
		}
	}
	d.mu.Unlock()
	all.Wait()
}
