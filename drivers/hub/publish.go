package hub

import (
	"context"

	"gantry/drivers"
	"gantry/drivers/hub/internal/filter"
	"gantry/wamp"
)

// take takes the token; false when ctx ended first.
func (d *device) take(ctx context.Context) bool {
	select {
	case d.token <- struct{}{}:
		return true
	default:
	}
	select {
	case d.token <- struct{}{}:
		return true
	case <-ctx.Done():
		return false
	}
}

func (d *device) give() { <-d.token }

// deliver takes one reading from the driver. force publishes it even if it is
// unchanged or the point is write-only, and past the filters. It returns what the
// reading says, before the filters, and the seq it was published with, 0 if it was
// not.
func (d *device) deliver(ctx context.Context, r drivers.Reading, force bool) (filter.Sample, int64) {
	d.count.readings.Add(1)
	p := d.byID[r.Point]
	if p == nil {
		d.count.garbage.Add(1)
		d.trouble(ctx, "unknown_point")
		return filter.Sample{Quality: drivers.Bad, Why: "unknown_point"}, 0
	}
	if !p.readable && !force {
		d.count.suppressed.Add(1)
		return filter.Sample{Quality: drivers.Bad, Why: "write_only"}, 0
	}
	now := d.hub.now()
	s := p.clean(&r, now, d.hub.clock)
	if unusable(&s) {
		d.trouble(ctx, "bad_reading")
	}
	if !d.take(ctx) {
		return s, 0
	}
	defer d.give()
	if ctx.Err() != nil {
		// The device may have been reported lost while this reading waited: it
		// must not come after that.
		return s, 0
	}
	d.mu.Lock()
	p.hear(r.Value)
	out, publish := p.arrive(s, now, force)
	waits, due := p.filter.Next(), p.guard.Due()
	d.mu.Unlock()
	if !waits.IsZero() {
		d.wakeBy(waits)
	}
	if !due.IsZero() {
		d.rules.ring()
	}
	if !publish {
		d.count.suppressed.Add(1)
		return s, 0
	}
	seq := d.publish(ctx, p, out, wamp.PublishOptions{Retain: true})
	if seq == 0 {
		d.wake()
	}
	return s, seq
}

// publish sends one sample; the caller holds the token. It returns the event's
// seq, 0 if it was not sent. A seq is used up even then: a hole tells the
// receiver that something is missing, a second use would tell a lie.
func (d *device) publish(ctx context.Context, p *point, s filter.Sample, opts wamp.PublishOptions) int64 {
	seq := int64(p.stream.Add(1))
	kwargs := p.envelope(&s, d.hub, 7)
	kwargs["seq"] = seq
	kwargs["ep"] = d.hub.epoch
	err := d.hub.sess.Publish(ctx, p.topic, opts, wamp.Values(wamp.List{s.Value}, kwargs))
	d.mu.Lock()
	p.published(s, d.hub.now(), err == nil)
	d.mu.Unlock()
	if err != nil {
		d.count.dropped.Add(1)
		return 0
	}
	d.count.published.Add(1)
	return seq
}

// age publishes every point once as stale. The router forgets the points that
// keep denies; a nil keep denies none.
func (d *device) age(ctx context.Context, why string, keep func(string) bool) {
	for _, p := range d.points {
		if !d.take(ctx) {
			return
		}
		opts := wamp.PublishOptions{Retain: true}
		if keep != nil && !keep(p.id) {
			opts = wamp.PublishOptions{Unretain: true}
		}
		d.mu.Lock()
		publish := p.age(why, d.hub.now()) || p.some && opts.Unretain
		s := p.last
		d.mu.Unlock()
		if publish {
			d.publish(ctx, p, s, opts)
		}
		d.give()
	}
}
