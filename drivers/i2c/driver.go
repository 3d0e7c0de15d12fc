package i2c

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"gantry/drivers"
	"gantry/internal/lane"
)

// chip is one kind of chip. Its methods are not called at the same time.
type chip interface {
	// points describes the chip; the answer is always the same.
	points() []drivers.Point
	// start finds out whether it is the right chip, and sets it up.
	start(ctx context.Context, w wire) error
	// read measures; ids says what is wanted, and the readings may have more. They need
	// no time.
	read(ctx context.Context, w wire, ids []string) ([]drivers.Reading, error)
}

// setter is a chip with points that can be written.
type setter interface {
	set(ctx context.Context, w wire, id string, v drivers.Value) (drivers.Value, error)
}

// The reasons why a value is bad or uncertain.
const (
	whyChecksum = "checksum"  // the bytes have been damaged on the wire
	whyClipped  = "clipped"   // at the end of the chip's range
	whySkipped  = "skipped"   // the chip has not measured it
	whyNotReady = "not_ready" // no measurement is finished yet
)

// errChecksum says that bytes have been damaged on the wire.
var errChecksum = errors.New("wrong checksum")

// errWrongChip says that there is another chip.
var errWrongChip = errors.New("another chip answers")

func good(id string, v drivers.Value) drivers.Reading { return drivers.Reading{Point: id, Value: v} }

func badReading(id, why string) drivers.Reading {
	return drivers.Reading{Point: id, Quality: drivers.Bad, Why: why}
}

// pause waits for a chip to measure.
func pause(ctx context.Context, long time.Duration) error {
	timer := time.NewTimer(long)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Driver is one chip on a bus.
type Driver struct {
	cfg   Config
	chip  chip
	buses *Buses
	now   func() time.Time
	gate  drivers.Gate
	lane  lane.Lane  // a request at a time
	lost  chan error // capacity 1: why the chip is lost; Run empties it

	// Set by Run before the gate opens, used inside of it.
	wire wire
	link drivers.Link
}

var (
	_ drivers.Driver = (*Driver)(nil)
	_ drivers.Reader = (*Driver)(nil)
	_ drivers.Writer = (*Driver)(nil)
	_ drivers.Sharer = (*Driver)(nil)
)

// New checks cfg and returns a driver that has not been started. Errors are
// *drivers.ConfigError.
func New(cfg Config, env drivers.Env, buses *Buses) (*Driver, error) {
	c, err := cfg.prepare()
	if err != nil {
		return nil, err
	}
	d := &Driver{cfg: cfg, chip: c, buses: buses, now: env.Now, lost: make(chan error, 1)}
	if d.now == nil {
		d.now = time.Now
	}
	return d, nil
}

// Describe returns the points of the chip.
func (d *Driver) Describe() drivers.Description {
	desc := drivers.Description{Model: fmt.Sprintf("%s at %#x on %s", d.cfg.Chip, d.cfg.Address, d.cfg.Path), Points: d.chip.points()}
	for i := range desc.Points {
		desc.Points[i].Readable = true
	}
	return desc
}

// Wire implements drivers.Sharer: the bus.
func (d *Driver) Wire() string { return d.cfg.Path }

// startTimeout bounds the setting up of a chip.
const startTimeout = 5 * time.Second

// Run implements drivers.Driver: it sets the chip up and serves requests until ctx ends
// or the chip does not answer.
func (d *Driver) Run(ctx context.Context, link drivers.Link) error {
	if ctx.Err() != nil {
		return nil
	}
	bus, release, err := d.buses.attach(d.cfg.Path)
	if err != nil {
		return err
	}
	defer release()
	w := wire{bus, d.cfg.Address}
	starting, cancel := context.WithTimeout(ctx, startTimeout)
	err = d.chip.start(starting, w)
	cancel()
	switch {
	case ctx.Err() != nil:
		return nil
	case errors.Is(err, errChecksum), errors.Is(err, errWrongChip):
		return fmt.Errorf("%w: %s at %#x: %w", drivers.ErrOffline, d.cfg.Chip, d.cfg.Address, err)
	case err != nil:
		return err
	}
	select {
	case <-d.lost:
	default:
	}
	d.wire, d.link = w, link
	defer d.gate.Open(ctx)()
	link.Up()
	select {
	case <-ctx.Done():
		return nil
	case err := <-d.lost:
		return err
	}
}

// enter waits for the chip's turn; leave must be called.
func (d *Driver) enter(ctx context.Context, p lane.Priority) (own context.Context, leave func(), err error) {
	own, out, err := d.gate.Enter(ctx)
	if err != nil {
		return nil, nil, err
	}
	if err := d.lane.Enter(own, lane.Of(own, p)); err != nil {
		out()
		return nil, nil, err
	}
	return own, func() { d.lane.Leave(); out() }, nil
}

// failed notes that the chip does not answer.
func (d *Driver) failed(ctx context.Context, err error) {
	if ctx.Err() != nil || errors.Is(err, lane.ErrBusy) {
		return
	}
	select {
	case d.lost <- err:
	default:
	}
}

// Read implements drivers.Reader.
func (d *Driver) Read(ctx context.Context, ids []string) ([]drivers.Reading, error) {
	points := d.chip.points()
	for _, id := range ids {
		if !slices.ContainsFunc(points, func(p drivers.Point) bool { return p.ID == id }) {
			return nil, fmt.Errorf("read %.64s: no such point", id)
		}
	}
	ctx, leave, err := d.enter(ctx, lane.Poll)
	if err != nil {
		return nil, err
	}
	defer leave()
	all, err := d.chip.read(ctx, d.wire, ids)
	switch {
	case errors.Is(err, errChecksum):
		d.link.Garbage(whyChecksum, []byte(d.cfg.Chip))
		all = nil
		for _, id := range ids {
			all = append(all, badReading(id, whyChecksum))
		}
	case err != nil:
		d.failed(ctx, err)
		return nil, err
	}
	now := d.now()
	readings := slices.DeleteFunc(all, func(r drivers.Reading) bool { return !slices.Contains(ids, r.Point) })
	for i := range readings {
		readings[i].Time = now
	}
	return readings, nil
}

// Write implements drivers.Writer.
func (d *Driver) Write(ctx context.Context, id string, v drivers.Value) (drivers.Value, error) {
	s, ok := d.chip.(setter)
	if !ok {
		return nil, fmt.Errorf("write %.64s: no such writable point", id)
	}
	ctx, leave, err := d.enter(ctx, lane.Write)
	if err != nil {
		return nil, err
	}
	defer leave()
	got, err := s.set(ctx, d.wire, id, v)
	if errors.Is(err, drivers.ErrOffline) || errors.Is(err, drivers.ErrTimeout) {
		d.failed(ctx, err)
	}
	return got, err
}
