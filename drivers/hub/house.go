package hub

import (
	"context"
	"time"

	"gantry/drivers"
	"gantry/wamp"
)

// Waits of a device's housekeeping.
const (
	idleWait  = 30 * time.Second // with nothing to do
	dirtyWait = time.Second      // before a failed publication is tried again
)

// bell wakes one goroutine: one slot, more rings than one are one.
type bell chan struct{}

func (b bell) ring() {
	select {
	case b <- struct{}{}:
	default:
	}
}

// wake makes the housekeeping look again soon. Not at once: while the session is
// down, every reading wakes it.
func (d *device) wake() { d.wakeBy(d.hub.now().Add(dirtyWait)) }

// wakeBy makes the housekeeping look again at that time.
func (d *device) wakeBy(at time.Time) {
	d.mu.Lock()
	sooner := d.wakeAt.IsZero() || at.Before(d.wakeAt)
	if sooner {
		d.wakeAt = at
	}
	d.mu.Unlock()
	if sooner {
		d.kick.ring()
	}
}

// nap returns for how long the housekeeping may sleep, at most the time given.
func (d *device) nap(wait time.Duration) time.Duration {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.wakeAt.IsZero() {
		return wait
	}
	return min(wait, d.wakeAt.Sub(d.hub.now()))
}

// forgotten makes everything known be published again: the router that kept it
// may be another one now.
func (d *device) forgotten() {
	d.mu.Lock()
	d.linkSent = linkState{}
	for _, p := range d.points {
		p.dirty = p.some
	}
	d.mu.Unlock()
	d.wake()
}

// keepHouse publishes what the passing of time asks for: what filters have held
// back, unchanged values after max_silence, stale ones, what could not be sent
// before, and recovery.
func (d *device) keepHouse(ctx context.Context) {
	timer := time.NewTimer(d.pause)
	defer timer.Stop()
	at := time.Now().Add(d.pause)
	for {
		select {
		case <-ctx.Done():
			return
		case <-d.kick:
			if wait := d.nap(time.Until(at)); wait < time.Until(at) {
				at = time.Now().Add(wait)
				timer.Reset(wait)
			}
			continue
		case <-timer.C:
		}
		d.mu.Lock()
		d.wakeAt = time.Time{}
		d.mu.Unlock()
		wait, silent := d.sweep(ctx)
		if silent {
			d.trouble(ctx, "silent")
		}
		now := d.hub.now()
		if next := d.recover(ctx, now); !next.IsZero() {
			wait = min(wait, next.Sub(now))
		}
		if !d.publishLink(ctx, false) {
			wait = min(wait, dirtyWait)
		}
		wait = max(d.nap(wait), time.Millisecond)
		at = time.Now().Add(wait)
		timer.Reset(wait)
	}
}

// sweep looks at every point once. It returns when to look again and whether a
// point has fallen silent.
func (d *device) sweep(ctx context.Context) (wait time.Duration, silent bool) {
	wait = d.pause
	for _, p := range d.points {
		if !d.take(ctx) {
			return wait, silent
		}
		now := d.hub.now()
		d.mu.Lock()
		up := d.life != nil && d.life.isUp.Load()
		publish, next := p.dirty, time.Time{}
		if up {
			was := p.last.Quality
			publish, next = p.due(now)
			silent = silent || was != drivers.Stale && p.last.Quality == drivers.Stale
		}
		s := p.last
		d.mu.Unlock()
		if publish && d.publish(ctx, p, s, wamp.PublishOptions{Retain: true}) == 0 {
			next = now.Add(dirtyWait)
		}
		d.give()
		if !next.IsZero() {
			wait = min(wait, next.Sub(now))
		}
	}
	return wait, silent
}

// quietest returns the longest sleep of the housekeeping: as long as the
// shortest time that any point sets, so that no deadline which begins during a
// sleep is overslept.
func quietest(points []*point) time.Duration {
	pause := idleWait
	for _, p := range points {
		for _, v := range [...]time.Duration{p.maxSilence, p.staleAfter} {
			if v > 0 {
				pause = min(pause, v)
			}
		}
	}
	return max(pause, time.Millisecond)
}
