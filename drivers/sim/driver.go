package sim

import (
	"context"
	"fmt"
	"hash/fnv"
	"maps"
	"math"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"gantry/drivers"
)

// Driver is one simulated device.
type Driver struct {
	cfg    Config
	period time.Duration
	now    func() time.Time
	desc   drivers.Description
	ids    []string          // of the points, sorted
	moves  map[string]string // point of each action

	mu      sync.Mutex // guards the rest
	round   uint32     // rounds of readings so far, over all runs
	lost    uint32     // runs that still fail at once
	running bool
	blocked bool
	delay   time.Duration // of answers, while it is slow
	relays  map[string]bool
	valves  map[string]*valve
}

var (
	_ drivers.Driver = (*Driver)(nil)
	_ drivers.Writer = (*Driver)(nil)
	_ drivers.Doer   = (*Driver)(nil)
)

// New checks cfg and returns a device that has not been started. Errors are
// *drivers.ConfigError.
func New(cfg Config, env drivers.Env) (*Driver, error) {
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	units := map[string]string{}
	if len(cfg.Points) == 0 {
		cfg.Points, units = greenhouse(), greenhouseUnits()
	}
	d := &Driver{cfg: cfg, period: orDefault(cfg.Period, defaultPeriod), now: env.Now,
		ids: slices.Sorted(maps.Keys(cfg.Points)), moves: map[string]string{},
		relays: map[string]bool{}, valves: map[string]*valve{}}
	if d.now == nil {
		d.now = time.Now
	}
	d.desc.Model = "simulated greenhouse"
	for _, id := range d.ids {
		d.add(id, cfg.Points[id], units[id])
	}
	for id := range d.valves {
		action := "move"
		if len(d.valves) > 1 {
			action = "move_" + id
		}
		d.moves[action] = id
	}
	least, most := 0.0, 100.0
	for _, action := range slices.Sorted(maps.Keys(d.moves)) {
		d.desc.Actions = append(d.desc.Actions, drivers.Action{ID: action, Progressive: true,
			Description: "moves " + d.moves[action] + " and reports its position on the way; when cancelled, it stops where it is",
			Args:        []drivers.Point{{ID: "to", Type: drivers.Float, Unit: "%", Writable: true, Min: &least, Max: &most}}})
	}
	return d, nil
}

func (d *Driver) add(id string, cfg PointConfig, unit string) {
	p := drivers.Point{ID: id, Unit: unit, Readable: true}
	switch cfg.Kind {
	case kindRelay:
		p.Type, p.Writable = drivers.Bool, true
		d.relays[id] = cfg.Start != 0
	case kindValve:
		least, most := 0.0, 100.0
		p.Unit, p.Writable, p.Min, p.Max = "%", true, &least, &most
		d.valves[id] = newValve(cfg.Start, orDefault(cfg.Travel, defaultTravel))
	}
	d.desc.Points = append(d.desc.Points, p)
}

func orDefault(d *drivers.Duration, def time.Duration) time.Duration {
	if d == nil {
		return def
	}
	return d.Std()
}

// Describe returns the points of the configuration, and an action "move" with the
// argument "to" for its valve; with several valves "move_ID" for each.
func (d *Driver) Describe() drivers.Description {
	desc := d.desc
	desc.Points, desc.Actions = slices.Clone(desc.Points), slices.Clone(desc.Actions)
	return desc
}

// Run implements drivers.Driver: it emits a round of readings at once and then one
// every period.
func (d *Driver) Run(ctx context.Context, link drivers.Link) error {
	if err := d.start(); err != nil {
		return err
	}
	defer d.stop()
	link.Up()
	tick := time.NewTicker(d.period)
	defer tick.Stop()
	for ctx.Err() == nil {
		if err := d.emit(ctx, link); err != nil {
			return err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
		}
	}
	return nil
}

func (d *Driver) start() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.lost > 0 {
		d.lost--
		return fmt.Errorf("%w: simulated", drivers.ErrOffline)
	}
	d.running = true
	return nil
}

func (d *Driver) stop() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.running, d.blocked, d.delay = false, false, 0
}

// emit hands over one round of readings, or plays the fault of this round.
func (d *Driver) emit(ctx context.Context, link drivers.Link) error {
	d.mu.Lock()
	n := d.round
	d.round++
	d.delay = 0
	d.mu.Unlock()
	for _, f := range d.cfg.Faults {
		if n < f.After {
			continue
		}
		lasts := f.For == 0 || n-f.After < f.For
		switch {
		case f.Kind == faultSilence && lasts:
			return nil
		case f.Kind == faultGarbage && lasts:
			link.Garbage("simulated", []byte("\x00\xff simulated garbage"))
			return nil
		case f.Kind == faultSlow && lasts:
			if !d.slow(ctx, orDefault(f.Delay, defaultDelay)) {
				return nil
			}
		case n != f.After:
		case f.Kind == faultPanic:
			panic("simulated panic")
		case f.Kind == faultBlock:
			d.block()
			<-ctx.Done()
			return nil
		case f.Kind == faultLost:
			return d.lose(f.For)
		}
	}
	now := d.now()
	for _, id := range d.ids {
		link.Emit(drivers.Reading{Point: id, Value: d.value(id, n), Time: now})
	}
	return nil
}

// slow makes answers late from now on and waits as long for readings; false when
// ctx has ended.
func (d *Driver) slow(ctx context.Context, delay time.Duration) bool {
	d.mu.Lock()
	d.delay = delay
	d.mu.Unlock()
	return pause(ctx, delay)
}

// pause waits; false when ctx ended first.
func pause(ctx context.Context, long time.Duration) bool {
	timer := time.NewTimer(long)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

func (d *Driver) block() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.blocked = true
}

func (d *Driver) lose(runs uint32) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.lost = runs
	return fmt.Errorf("%w: simulated", drivers.ErrOffline)
}

// value returns the point's value in round n.
func (d *Driver) value(id string, n uint32) drivers.Value {
	cfg := d.cfg.Points[id]
	d.mu.Lock()
	defer d.mu.Unlock()
	if v := d.valves[id]; v != nil {
		return v.position()
	}
	if on, ok := d.relays[id]; ok {
		return on
	}
	return cfg.at(d.cfg.Seed, id, n, d.period)
}

// at returns what a sensor says in round n: a sine whose phase depends on seed and
// id, and noise that depends on the round too, to two decimals.
func (c PointConfig) at(seed int64, id string, n uint32, period time.Duration) float64 {
	h := fnv.New64a()
	h.Write([]byte(id))
	key := h.Sum64()
	phase := rand.New(rand.NewPCG(uint64(seed), key)).Float64()
	noise := c.Noise * (2*rand.New(rand.NewPCG(uint64(seed)^uint64(n)<<20, key)).Float64() - 1)
	turns := float64(n)*float64(period)/float64(orDefault(c.Cycle, defaultCycle)) + phase
	wave := math.Sin(2 * math.Pi * turns)
	v := c.Base + c.Swing*wave + noise
	if c.Kind == kindLight {
		// Half of the time it is night.
		v = max(0, c.Base*wave+noise)
	}
	return math.Round(v*100) / 100
}

// Write implements drivers.Writer: it switches a relay, or moves a valve and waits
// until it is there.
func (d *Driver) Write(ctx context.Context, id string, value drivers.Value) (drivers.Value, error) {
	if err := d.enter(ctx); err != nil {
		return nil, err
	}
	d.mu.Lock()
	_, isRelay := d.relays[id]
	v := d.valves[id]
	d.mu.Unlock()
	switch {
	case isRelay:
		on, ok := value.(bool)
		if !ok {
			return nil, fmt.Errorf("write %s: want true or false, got %T", id, value)
		}
		d.mu.Lock()
		defer d.mu.Unlock()
		d.relays[id] = on
		return on, nil
	case v != nil:
		return d.move(ctx, v, value, func(any) {})
	}
	return nil, fmt.Errorf("write %s: no such writable point", id)
}

// Do implements drivers.Doer: the action moves a valve and reports
// {"position": percent} on the way and as the result.
func (d *Driver) Do(ctx context.Context, action string, args map[string]any, progress func(any)) (any, error) {
	if err := d.enter(ctx); err != nil {
		return nil, err
	}
	id, ok := d.moves[action]
	if !ok {
		return nil, fmt.Errorf("do %s: no such action", action)
	}
	for name := range args {
		if name != "to" {
			return nil, fmt.Errorf("do %s: no argument %.40q", action, name)
		}
	}
	got, err := d.move(ctx, d.valves[id], args["to"], progress)
	if err != nil {
		return nil, err
	}
	return map[string]any{"position": got}, nil
}

// enter refuses what comes while the device does not run, and holds what comes
// while it hangs or is slow.
func (d *Driver) enter(ctx context.Context) error {
	d.mu.Lock()
	running, blocked, delay := d.running, d.blocked, d.delay
	d.mu.Unlock()
	switch {
	case !running:
		return drivers.ErrOffline
	case blocked:
		<-ctx.Done()
	case delay > 0:
		pause(ctx, delay)
	}
	return ctx.Err()
}
