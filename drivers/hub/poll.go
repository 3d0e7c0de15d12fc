package hub

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"gantry/drivers"
	"gantry/internal/lane"
)

// firstPoll is the latest moment of a group's first poll after the device came
// up: soon, but not all devices of a gateway at once.
const firstPoll = 100 * time.Millisecond

// jitterPart is the part of an interval by which a poll may be late at random, so
// that devices whose polls meet do not meet for ever.
const jitterPart = 50

// pollKey identifies points that are polled in one request.
type pollKey struct {
	group string
	every time.Duration
}

// pollGroups returns the points that are polled together.
func (d *device) pollGroups() map[pollKey][]string {
	groups := make(map[pollKey][]string)
	for _, p := range d.points {
		if p.every > 0 {
			k := pollKey{group: p.group, every: p.every}
			groups[k] = append(groups[k], p.id)
		}
	}
	for _, ids := range groups {
		slices.Sort(ids)
	}
	return groups
}

// poll starts the polling of a life: one goroutine per group, counted in wg.
func (d *device) poll(l *life, wg *sync.WaitGroup) {
	reader, ok := l.driver.(drivers.Reader)
	if !ok {
		return
	}
	for k, ids := range d.pollGroups() {
		wg.Go(func() { d.pollGroup(l, reader, k.every, ids) })
	}
}

// pollGroup polls points at a fixed rate until the life ends. Polls that would
// overlap are left out, not made up for.
func (d *device) pollGroup(l *life, reader drivers.Reader, every time.Duration, ids []string) {
	slot := time.Now().Add(d.jitter(min(every/10, firstPoll)))
	timer := time.NewTimer(time.Until(slot))
	defer timer.Stop()
	for {
		select {
		case <-timer.C:
		case <-l.ctx.Done():
			return
		}
		wanted, slept := d.awaitDemand(l.ctx, ids)
		if wanted == nil || !d.pollOnce(l, reader, wanted) {
			return
		}
		if slept {
			slot = time.Now()
		}
		slot = slot.Add(every)
		if late := time.Since(slot); late > 0 {
			slot = slot.Add(late.Truncate(every) + every)
			d.count.missed.Add(uint64(late/every) + 1)
		}
		timer.Reset(time.Until(slot) + d.jitter(every/jitterPart))
	}
}

// jitter returns a random time below most.
func (d *device) jitter(most time.Duration) time.Duration {
	return time.Duration(d.hub.random() * float64(most))
}

// pollOnce reads the points and publishes what came; false when the driver
// cannot be polled.
func (d *device) pollOnce(l *life, reader drivers.Reader, ids []string) bool {
	d.count.polls.Add(1)
	readings, err := d.read(l.ctx, l, reader, lane.Poll, ids)
	switch {
	case err == nil:
	case l.ctx.Err() != nil:
		return false
	case errors.Is(err, errors.ErrUnsupported):
		d.unpolled(ids)
		return false
	case errors.Is(err, lane.ErrBusy):
		// Somebody else had the device for all the time: no news is no bad news.
		d.count.missed.Add(1)
		return true
	default:
		d.count.errors.Add(1)
		why := drivers.Why(err)
		d.trouble(l.ctx, why)
		for _, id := range ids {
			d.deliver(l.ctx, drivers.Reading{Point: id, Quality: drivers.Bad, Why: why}, false)
		}
		return true
	}
	for _, r := range readings {
		d.deliver(l.ctx, r, false)
	}
	return true
}

// unpolled takes back the default of stale_after that counted on polling.
func (d *device) unpolled(ids []string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, id := range ids {
		if p := d.byID[id]; p.staleByPoll {
			p.patience = 3 * p.maxSilence
		}
	}
}

// read asks the driver for points.
func (d *device) read(ctx context.Context, l *life, reader drivers.Reader, priority lane.Priority, ids []string) ([]drivers.Reading, error) {
	var readings []drivers.Reading
	err := l.request(ctx, priority, orDefault(d.cfg.Timeout, DefaultTimeout), func(ctx context.Context) (err error) {
		readings, err = reader.Read(ctx, ids)
		return err
	})
	if err != nil {
		return nil, err
	}
	return readings, nil
}
