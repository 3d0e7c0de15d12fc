package hub

import (
	"context"
	"slices"
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

// release takes back that duties are being fulfilled, and has keepRules look for
// the next.
func (d *device) release(list []duty) {
	d.mu.Lock()
	for _, it := range list {
		it.p.owed = false
	}
	d.mu.Unlock()
	d.rules.ring()
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
			d.conclude(l, list, d.fulfil(l.ctx, l, lane.Write, list))
			continue
		}
		wait := idleWait
		if !next.IsZero() {
			wait = min(wait, next.Sub(d.hub.now()))
		}
		timer.Reset(max(wait, time.Millisecond))
	}
}

// done is a duty that has been fulfilled.
type done struct {
	duty
	raw    drivers.Value // what was written
	orders uint64        // of the point, at that time
}

// fulfil writes, one after the other, and returns what has been written. It does
// not wait for verification: the next point must not wait for the one before.
func (d *device) fulfil(ctx context.Context, l *life, turn lane.Priority, list []duty) (written []done) {
	for _, it := range list {
		start := d.hub.now()
		raw, back, err := d.write(ctx, l, turn, it.p, it.value)
		d.account(ctx, it, start, err)
		if err != nil {
			continue
		}
		d.mu.Lock()
		written = append(written, done{it, raw, it.p.orders})
		d.mu.Unlock()
		d.deliver(ctx, drivers.Reading{Point: it.p.id, Value: back}, true)
	}
	return written
}

// account notes the outcome of a duty.
func (d *device) account(ctx context.Context, it duty, start time.Time, err error) {
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
	}
}

// conclude releases duties; those that have been fulfilled and want it once the
// device has confirmed them.
func (d *device) conclude(l *life, list []duty, written []done) {
	for _, it := range written {
		if it.p.verify == 0 || !l.begin() {
			continue
		}
		list = slices.DeleteFunc(list, func(o duty) bool { return o.p == it.p })
		go func() {
			defer l.requests.Done()
			d.confirm(l.ctx, l, it)
			d.release([]duty{it.duty})
		}()
	}
	d.release(list)
}

// confirm waits until the device reports what has been written. What it does not
// report is written again, unless somebody has commanded the point since.
func (d *device) confirm(ctx context.Context, l *life, it done) {
	start := d.hub.now()
	if _, err := d.readBack(ctx, l, it.p, it.raw); err != nil && ctx.Err() == nil && d.unchanged(it) {
		d.account(ctx, it.duty, start, err)
	}
}

// unchanged reports whether nobody has commanded the point since.
func (d *device) unchanged(it done) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return it.p.orders == it.orders
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
		written := d.fulfil(l.ctx, l, beside, list)
		for _, in := range lanes {
			in.Leave()
		}
		d.conclude(l, list, written)
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
