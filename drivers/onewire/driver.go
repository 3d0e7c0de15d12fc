package onewire

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"gantry/drivers"
)

// scan is the action that lists the sensors that are there.
const scan = "scan"

// Driver is some sensors.
type Driver struct {
	path    string
	bulk    bool
	sensors []sensor
	now     func() time.Time
	log     *slog.Logger
	gate    drivers.Gate
	lost    chan struct{} // capacity 1: all sensors are gone; Run empties it
}

var (
	_ drivers.Driver = (*Driver)(nil)
	_ drivers.Reader = (*Driver)(nil)
	_ drivers.Doer   = (*Driver)(nil)
)

// New checks cfg, or looks which sensors are there, and returns a driver that has not
// been started. Errors are *drivers.ConfigError.
func New(cfg Config, env drivers.Env) (*Driver, error) {
	sensors, err := cfg.sensors()
	if err != nil {
		return nil, err
	}
	d := &Driver{path: cfg.Path, bulk: cfg.Bulk, sensors: sensors, now: env.Now, log: env.Log, lost: make(chan struct{}, 1)}
	if d.now == nil {
		d.now = time.Now
	}
	if d.log == nil {
		d.log = slog.New(slog.DiscardHandler)
	}
	return d, nil
}

// Describe returns a point for each sensor and the action "scan".
func (d *Driver) Describe() drivers.Description {
	desc := drivers.Description{Model: "1-Wire sensors in " + d.path,
		Actions: []drivers.Action{{ID: scan, Description: "lists the temperature sensors that the kernel knows"}}}
	for _, s := range d.sensors {
		desc.Points = append(desc.Points, drivers.Point{ID: s.id, Unit: "Cel", Description: "sensor " + s.name, Readable: true})
	}
	return desc
}

// Run implements drivers.Driver. The device is lost when none of its sensors is there.
func (d *Driver) Run(ctx context.Context, link drivers.Link) error {
	if ctx.Err() != nil {
		return nil
	}
	if _, err := os.Stat(d.path); err != nil {
		return fmt.Errorf("%w: no 1-Wire bus (on a Raspberry Pi, dtoverlay=w1-gpio in config.txt makes one): %v", drivers.ErrOffline, err)
	}
	if !d.present() {
		return d.gone()
	}
	select {
	case <-d.lost:
	default:
	}
	d.setResolutions()
	defer d.gate.Open(ctx)()
	link.Up()
	select {
	case <-ctx.Done():
		return nil
	case <-d.lost:
		return d.gone()
	}
}

func (d *Driver) gone() error {
	return fmt.Errorf("%w: none of its sensors is on the bus; check wiring and pull-up", drivers.ErrOffline)
}

// present reports whether one of the sensors is there; a device without any, which
// only scans, always is.
func (d *Driver) present() bool {
	return len(d.sensors) == 0 || slices.ContainsFunc(d.sensors, func(s sensor) bool {
		_, err := os.Stat(filepath.Join(d.path, s.name))
		return err == nil
	})
}

// setResolutions tells the sensors how many bits to convert to, in their volatile
// memory. A sensor that stays as it is measures as well.
func (d *Driver) setResolutions() {
	for _, s := range d.sensors {
		if s.resolution == 0 {
			continue
		}
		file := filepath.Join(d.path, s.name, "resolution")
		want := strconv.Itoa(int(s.resolution))
		err := os.WriteFile(file, []byte(want+"\n"), 0)
		if err == nil {
			var got string
			if got, err = read(file); err == nil && strings.TrimSpace(got) != want {
				err = fmt.Errorf("the sensor keeps %.8q", strings.TrimSpace(got))
			}
		}
		if err != nil {
			d.log.Warn("resolution is not set", "sensor", s.name, "resolution", want, "err", err)
		}
	}
}

// Read implements drivers.Reader. The sensors are read at the same time. It returns
// when ctx ends, although a read of the kernel's files cannot be called off; Run
// waits for it.
func (d *Driver) Read(ctx context.Context, ids []string) ([]drivers.Reading, error) {
	var wanted []sensor
	for _, id := range ids {
		i := slices.IndexFunc(d.sensors, func(s sensor) bool { return s.id == id })
		if i < 0 {
			return nil, fmt.Errorf("read %.64s: no such point", id)
		}
		wanted = append(wanted, d.sensors[i])
	}
	ctx, leave, err := d.gate.Enter(ctx)
	if err != nil {
		return nil, err
	}
	var readings []drivers.Reading
	done := make(chan error, 1) // sent once readings are there
	go func() {
		defer leave()
		done <- drivers.Contain(func() (err error) {
			readings, err = d.readAll(wanted)
			return err
		})
	}()
	select {
	case err = <-done:
	case <-ctx.Done():
		select {
		case err = <-done: // it was leave that has ended ctx
		default:
			return nil, ctx.Err()
		}
	}
	if err != nil {
		return nil, err
	}
	if !d.present() {
		select {
		case d.lost <- struct{}{}:
		default:
		}
	}
	return readings, nil
}

// readAll reads sensors, all at the same time. The error is a *drivers.PanicError.
func (d *Driver) readAll(wanted []sensor) ([]drivers.Reading, error) {
	if d.bulk && len(wanted) > 1 && len(wanted) == len(d.sensors) {
		d.convertAll()
	}
	readings := make([]drivers.Reading, len(wanted))
	var g errgroup.Group
	for i, s := range wanted {
		g.Go(func() error {
			return drivers.Contain(func() error { readings[i] = d.readOne(s); return nil })
		})
	}
	return readings, g.Wait()
}

// convertAll lets all sensors of each bus convert at the same time; the kernel returns
// when they have. A bus that will not is read sensor by sensor.
func (d *Driver) convertAll() {
	var buses []string
	for _, s := range d.sensors {
		// The folder is a link into that of the bus.
		dir, err := filepath.EvalSymlinks(filepath.Join(d.path, s.name))
		if bus := filepath.Dir(dir); err == nil && !slices.Contains(buses, bus) {
			buses = append(buses, bus)
		}
	}
	var wg sync.WaitGroup
	for _, bus := range buses {
		wg.Go(func() {
			if err := trigger(filepath.Join(bus, "therm_bulk_read")); err != nil {
				d.log.Debug("bulk conversion refused", "bus", filepath.Base(bus), "err", err)
			}
		})
	}
	wg.Wait()
}

func trigger(file string) error {
	f, err := os.OpenFile(file, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	// The kernel compares the length with that of "trigger" and its NUL.
	_, err = f.WriteString("trigger\n")
	return err
}

func (d *Driver) readOne(s sensor) drivers.Reading {
	dir, family := filepath.Join(d.path, s.name), s.name[:2]
	r := drivers.Reading{Point: s.id}
	text, err := read(filepath.Join(dir, "w1_slave"))
	dec := decode
	if errors.Is(err, fs.ErrNotExist) {
		text, err = read(filepath.Join(dir, "temperature"))
		dec = decodeMilli
	}
	switch {
	case errors.Is(err, fs.ErrNotExist):
		r.Quality, r.Why = drivers.Bad, whyOffline
	case err != nil:
		r.Quality, r.Why = drivers.Bad, whySilent
	default:
		r.Value, r.Quality, r.Why = dec(family, text)
	}
	r.Time = d.now()
	return r
}

// maxFile bounds what is read of a file.
const maxFile = 4096

func read(file string) (string, error) {
	f, err := os.Open(file)
	if err != nil {
		return "", err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxFile))
	return string(b), err
}

// Do implements drivers.Doer: "scan" returns the names of the sensors that are there.
func (d *Driver) Do(ctx context.Context, action string, args map[string]any, _ func(any)) (any, error) {
	if action != scan {
		return nil, fmt.Errorf("do %.64s: no such action", action)
	}
	if len(args) > 0 {
		return nil, fmt.Errorf("do %s: takes no arguments", scan)
	}
	_, leave, err := d.gate.Enter(ctx)
	if err != nil {
		return nil, err
	}
	defer leave()
	names := []any{}
	for _, name := range discover(d.path) {
		names = append(names, name)
	}
	return map[string]any{"sensors": names}, nil
}
