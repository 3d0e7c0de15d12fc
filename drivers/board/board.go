// Package board reports how the machine is that the gateway runs on: temperature,
// power supply, load, memory, disk, time. It runs on any Linux; a point whose source
// the machine does not have is bad and unsupported.
//
// Sources: proc(5); Documentation/ABI/testing/sysfs-class-thermal and sysfs-class-hwmon
// of the kernel; for the flags of Raspberry Pis "vcgencmd get_throttled" in Raspberry
// Pi's documentation, which the kernel's firmware driver repeats in sysfs.
package board

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"time"

	"gantry/drivers"
)

// Kind is the entry of this package for the list of drivers.
var Kind = drivers.Kind{
	Name:   "board",
	Config: func() any { return new(Config) },
	New: func(cfg any, env drivers.Env) (drivers.Driver, error) {
		return New(*cfg.(*Config), env)
	},
}

// Config is the driver's part of a device's table.
type Config struct {
	ThermalZone string `toml:"thermal_zone"` // type of the zone, as in sysfs; default: the processor's, or else the first
	Disk        string `toml:"disk"`         // path on the file system that is watched; default "/"
	Proc        string `toml:"proc"`         // where the kernel's files are, for containers; default "/proc"
	Sys         string `toml:"sys"`          // default "/sys"
}

// Driver is the machine.
type Driver struct {
	cfg    Config
	now    func() time.Time
	points []point
	gate   drivers.Gate
}

var (
	_ drivers.Driver = (*Driver)(nil)
	_ drivers.Reader = (*Driver)(nil)
)

// New checks cfg and returns a driver that has not been started. Errors are
// *drivers.ConfigError.
func New(cfg Config, env drivers.Env) (*Driver, error) {
	for _, k := range []struct {
		key   string
		value *string
		def   string
	}{{"disk", &cfg.Disk, "/"}, {"proc", &cfg.Proc, "/proc"}, {"sys", &cfg.Sys, "/sys"}} {
		if *k.value == "" {
			*k.value = k.def
		}
		if !filepath.IsAbs(*k.value) {
			return nil, &drivers.ConfigError{Key: k.key, Text: fmt.Sprintf("%.80q is relative", *k.value), Allowed: "an absolute path"}
		}
	}
	d := &Driver{cfg: cfg, now: env.Now, points: points()}
	if d.now == nil {
		d.now = time.Now
	}
	return d, nil
}

// Describe returns the same points on every machine.
func (d *Driver) Describe() drivers.Description {
	desc := drivers.Description{Model: "the gateway's board"}
	for _, p := range d.points {
		desc.Points = append(desc.Points, p.desc)
	}
	return desc
}

// Run implements drivers.Driver. The machine is always there.
func (d *Driver) Run(ctx context.Context, link drivers.Link) error {
	if ctx.Err() != nil {
		return nil
	}
	defer d.gate.Open(ctx)()
	link.Up()
	<-ctx.Done()
	return nil
}

// Read implements drivers.Reader.
func (d *Driver) Read(ctx context.Context, ids []string) ([]drivers.Reading, error) {
	ctx, leave, err := d.gate.Enter(ctx)
	if err != nil {
		return nil, err
	}
	defer leave()
	readings := make([]drivers.Reading, 0, len(ids))
	for _, id := range ids {
		i := slices.IndexFunc(d.points, func(p point) bool { return p.desc.ID == id })
		if i < 0 {
			return nil, fmt.Errorf("read %.64s: no such point", id)
		}
		r := drivers.Reading{Point: id, Time: d.now()}
		if r.Value, r.Why = d.points[i].probe(&d.cfg); r.Why != "" {
			r.Value, r.Quality = nil, drivers.Bad
		}
		readings = append(readings, r)
	}
	return readings, ctx.Err()
}
