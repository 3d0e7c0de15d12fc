package sim

import (
	"context"
	"errors"
	"fmt"
	"math"
	"time"

	"gantry/drivers"
)

// valve moves at a constant speed. Driver.mu guards it.
type valve struct {
	speed    float64 // percent a second
	from, to float64 // percent
	begun    time.Time
	busy     bool // somebody moves it
}

func newValve(at float64, travel time.Duration) *valve {
	return &valve{speed: 100 / travel.Seconds(), from: at, to: at, begun: time.Now()}
}

// position returns where the valve is now, in percent to one decimal.
func (v *valve) position() float64 {
	way := v.speed * time.Since(v.begun).Seconds()
	at := v.to
	if math.Abs(v.to-v.from) > way {
		at = v.from + math.Copysign(way, v.to-v.from)
	}
	return math.Round(at*10) / 10
}

// arrival returns how long it takes until the valve is where it shall be.
func (v *valve) arrival() time.Duration {
	whole := time.Duration(math.Abs(v.to-v.from) / v.speed * float64(time.Second))
	return whole - time.Since(v.begun)
}

func (v *valve) head(to float64) {
	v.from, v.to, v.begun = v.position(), to, time.Now()
}

// progressEvery is the interval of progress reports.
const progressEvery = 200 * time.Millisecond

// move moves v and returns where it is then. When ctx ends first, the valve stops.
func (d *Driver) move(ctx context.Context, v *valve, value any, progress func(any)) (drivers.Value, error) {
	to, ok := value.(float64)
	if n, isInt := value.(int64); isInt {
		to, ok = float64(n), true
	}
	if !ok || !(to >= 0 && to <= 100) {
		return nil, fmt.Errorf("want a number from 0 to 100 as position, got %v", value)
	}
	left, err := d.depart(v, to)
	if err != nil {
		return nil, err
	}
	arrived := time.NewTimer(left)
	defer arrived.Stop()
	report := time.NewTicker(progressEvery)
	defer report.Stop()
	for {
		select {
		case <-arrived.C:
			return d.halt(v, to), nil
		case <-ctx.Done():
			at := d.halt(v, math.NaN())
			if errors.Is(ctx.Err(), context.DeadlineExceeded) {
				return nil, fmt.Errorf("%w: stopped at %v %%", drivers.ErrTimeout, at)
			}
			return nil, ctx.Err()
		case <-report.C:
			d.mu.Lock()
			at := v.position()
			d.mu.Unlock()
			progress(map[string]any{"position": at})
		}
	}
}

func (d *Driver) depart(v *valve, to float64) (time.Duration, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if v.busy {
		return 0, fmt.Errorf("%w: it is moving", drivers.ErrBusy)
	}
	v.busy = true
	v.head(to)
	return v.arrival(), nil
}

// halt ends a movement at the position given, or, for NaN, where the valve is.
func (d *Driver) halt(v *valve, at float64) float64 {
	d.mu.Lock()
	defer d.mu.Unlock()
	if math.IsNaN(at) {
		at = v.position()
	}
	v.from, v.to, v.busy = at, at, false
	return at
}
