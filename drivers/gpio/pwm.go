package gpio

import (
	"context"
	"fmt"
	"math"
	"time"

	"gantry/drivers"
)

// setDuty sets how much of the time the line is active.
func (p *point) setDuty(v drivers.Value) (drivers.Value, error) {
	percent, ok := v.(float64)
	if !ok || !(percent >= 0 && percent <= 100) {
		return nil, fmt.Errorf("write %s: want 0.0 to 100.0, got %v", p.id, v)
	}
	p.duty.Store(math.Float64bits(percent))
	select {
	case p.changed <- struct{}{}:
	default:
	}
	return percent, nil
}

// modulate switches the line on and off until ctx ends, and then off: whoever takes it
// next finds it so. The kernel wakes us late by a fraction of a millisecond, and by more
// on a busy machine: enough for lamps and heaters, and for no servo.
func (d *Driver) modulate(ctx context.Context, p *point) error {
	timer := time.NewTimer(0)
	defer timer.Stop()
	edge, on := time.Now(), false
	for {
		select {
		case <-timer.C:
		case <-p.changed:
			// A duty of 0 or 100 had no timer; another period begins.
			edge, on = time.Now(), false
		case <-ctx.Done():
			// The line may be gone with the chip, and is let go anyway.
			_ = d.set(p, false)
			return nil
		}
		high := time.Duration(math.Float64frombits(p.duty.Load()) / 100 * float64(p.period))
		on = high >= p.period || !on && high > 0
		if err := d.set(p, on); err != nil {
			return err
		}
		switch {
		case high == 0 || high >= p.period:
			timer.Stop()
			continue
		case on:
			edge = edge.Add(high)
		default:
			edge = edge.Add(p.period - high)
		}
		if late := time.Since(edge); late > p.period {
			edge = edge.Add(late)
		}
		timer.Reset(time.Until(edge))
	}
}
