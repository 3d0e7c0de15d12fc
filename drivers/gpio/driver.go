package gpio

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"gantry/drivers"
	"gantry/internal/ioctl"

	"golang.org/x/sync/errgroup"
)

// point is one line.
type point struct {
	id, kind string
	line     string // its name, or
	number   int64  // its number
	flags    uint64
	bounce   time.Duration
	initial  bool
	period   time.Duration // of pwm

	f       *os.File      // the line while Run runs; requests are inside the gate
	count   atomic.Uint64 // counter: edges since the start of the gateway
	duty    atomic.Uint64 // pwm: bits of the float64, in percent
	changed chan struct{} // pwm: capacity 1, duty has changed

	mu    sync.Mutex // guards the rest and orders switches of an output
	on    bool       // output: what it is to be after a pulse, and when the line is opened anew
	pulse uint64     // output: number of the pulse under way, 0 = none
	last  uint64     // number of the last pulse
}

// name names the line for people.
func (p *point) name() string {
	if p.line != "" {
		return p.line
	}
	return fmt.Sprint(p.number)
}

// Driver is some lines.
type Driver struct {
	chip, path string
	ioctl      ioctl.Func
	points     []*point
	pulses     map[string]*point // of each action
	now        func() time.Time
	log        *slog.Logger
	gate       drivers.Gate
	lost       chan error // capacity 1: why the lines are gone; Run empties it
}

var (
	_ drivers.Driver = (*Driver)(nil)
	_ drivers.Reader = (*Driver)(nil)
	_ drivers.Writer = (*Driver)(nil)
	_ drivers.Doer   = (*Driver)(nil)
)

// New checks cfg and returns a driver that has not been started. Errors are
// *drivers.ConfigError.
func New(cfg Config, env drivers.Env) (*Driver, error) { return newDriver(cfg, env, ioctl.Do) }

func newDriver(cfg Config, env drivers.Env, do ioctl.Func) (*Driver, error) {
	points, err := cfg.points()
	if err != nil {
		return nil, err
	}
	d := &Driver{chip: cfg.Chip, path: cfg.Path, ioctl: do, points: points, pulses: map[string]*point{},
		now: env.Now, log: env.Log, lost: make(chan error, 1)}
	if d.now == nil {
		d.now = time.Now
	}
	if d.log == nil {
		d.log = slog.New(slog.DiscardHandler)
	}
	outputs := 0
	for _, p := range points {
		p.on = p.initial
		p.changed = make(chan struct{}, 1)
		if p.kind == kindOutput {
			outputs++
		}
	}
	for _, p := range points {
		switch {
		case p.kind != kindOutput:
		case outputs == 1:
			d.pulses["pulse"] = p
		default:
			d.pulses["pulse_"+p.id] = p
		}
	}
	return d, nil
}

// maxPulse is the longest pulse in seconds.
const maxPulse = 3600.0

// Describe returns a point for each line, and an action "pulse" with the argument
// "seconds" for its output; with several outputs "pulse_ID" for each.
func (d *Driver) Describe() drivers.Description {
	desc := drivers.Description{Model: "GPIO lines"}
	if d.chip != "" {
		desc.Model += " of " + d.chip
	}
	for _, p := range d.points {
		out := p.kind == kindOutput || p.kind == kindPWM
		q := drivers.Point{ID: p.id, Type: drivers.Bool, Readable: true, Writable: out, Description: p.kind + " on line " + p.name()}
		switch p.kind {
		case kindCounter:
			q.Type = drivers.Int
		case kindPWM:
			least, most := 0.0, 100.0
			q.Type, q.Unit, q.Min, q.Max = drivers.Float, "%", &least, &most
		}
		desc.Points = append(desc.Points, q)
		for action, of := range d.pulses {
			if of == p {
				least, most := 0.001, maxPulse
				desc.Actions = append(desc.Actions, drivers.Action{ID: action, Progressive: true,
					Description: "switches " + p.id + " on for a while; when cancelled, off at once",
					Args:        []drivers.Point{{ID: "seconds", Type: drivers.Float, Unit: "s", Writable: true, Min: &least, Max: &most}}})
			}
		}
	}
	return desc
}

// Run implements drivers.Driver: it takes the lines, emits the level of each input and
// then its edges, and lets the lines go. Outputs are as they were last set, or as
// configured at the first time.
func (d *Driver) Run(ctx context.Context, link drivers.Link) error {
	if ctx.Err() != nil {
		return nil
	}
	defer d.close()
	if err := d.open(); err != nil {
		return err
	}
	select {
	case <-d.lost:
	default:
	}
	defer d.gate.Open(ctx)()
	link.Up()
	g, gctx := errgroup.WithContext(ctx)
	for _, p := range d.points {
		switch p.kind {
		case kindInput, kindCounter:
			g.Go(func() error {
				return drivers.Contain(func() error { return d.watch(gctx, p, link) })
			})
		case kindPWM:
			g.Go(func() error {
				return drivers.Contain(func() error { return d.modulate(gctx, p) })
			})
		}
	}
	g.Go(func() error {
		var err error
		select {
		case <-gctx.Done():
		case err = <-d.lost:
		}
		for _, p := range d.points {
			// Ends pending reads; a line without a poller has none.
			_ = p.f.SetReadDeadline(time.Unix(1, 0))
		}
		return err
	})
	err := g.Wait()
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// open finds and takes all lines.
func (d *Driver) open() error {
	chips, err := openChips(d.ioctl, d.path, d.chip)
	if err != nil {
		return err
	}
	defer closeChips(chips)
	if len(chips) == 0 {
		return fmt.Errorf("%w: no GPIO chip %sin %s", drivers.ErrOffline, strings.TrimLeft(d.chip+" ", " "), d.path)
	}
	for _, p := range d.points {
		c, info, err := find(chips, p)
		if err != nil {
			return err
		}
		if p.f, err = c.request(info, p); err != nil {
			return err
		}
	}
	return nil
}

func (d *Driver) close() {
	for _, p := range d.points {
		if p.f != nil {
			p.f.Close()
			p.f = nil
		}
	}
}

// watch emits the level of an input and its edges, or counts those of a counter.
func (d *Driver) watch(ctx context.Context, p *point, link drivers.Link) error {
	if p.kind == kindInput {
		on, err := d.level(p)
		if err != nil {
			return err
		}
		link.Emit(drivers.Reading{Point: p.id, Value: on, Time: d.now()})
	}
	buf := make([]byte, 16*eventSize)
	var seq uint32
	for ctx.Err() == nil {
		n, err := p.f.Read(buf)
		if err != nil {
			if ctx.Err() != nil || errors.Is(err, os.ErrDeadlineExceeded) {
				return nil
			}
			return gone(p, err)
		}
		for _, e := range decodeEvents(buf[:n]) {
			passed := e.LineSeqno - seq
			seq = e.LineSeqno
			if p.kind == kindCounter {
				p.count.Add(uint64(passed))
				continue
			}
			if passed > 1 {
				link.Garbage("overrun", fmt.Appendf(nil, "%d edges lost", passed-1))
			}
			link.Emit(drivers.Reading{Point: p.id, Value: e.ID == eventRising, Time: time.Unix(0, int64(e.Nanoseconds))})
		}
	}
	return nil
}

func gone(p *point, err error) error {
	return fmt.Errorf("%w: line %s: %v", drivers.ErrOffline, p.name(), err)
}

// lose ends the run.
func (d *Driver) lose(err error) {
	select {
	case d.lost <- err:
	default:
	}
}

func (d *Driver) level(p *point) (bool, error) {
	v := lineValues{Mask: 1}
	if err := ioctl.On(d.ioctl, p.f, getValues, &v); err != nil {
		return false, gone(p, err)
	}
	return v.Bits&1 == 1, nil
}

func (d *Driver) set(p *point, on bool) error {
	v := lineValues{Mask: 1}
	if on {
		v.Bits = 1
	}
	if err := ioctl.On(d.ioctl, p.f, setValues, &v); err != nil {
		return gone(p, err)
	}
	return nil
}

func (d *Driver) find(id string) *point {
	i := slices.IndexFunc(d.points, func(p *point) bool { return p.id == id })
	if i < 0 {
		return nil
	}
	return d.points[i]
}

// Read implements drivers.Reader: levels as the kernel sees them, of outputs as well.
func (d *Driver) Read(ctx context.Context, ids []string) ([]drivers.Reading, error) {
	_, leave, err := d.gate.Enter(ctx)
	if err != nil {
		return nil, err
	}
	defer leave()
	readings := make([]drivers.Reading, 0, len(ids))
	for _, id := range ids {
		p := d.find(id)
		if p == nil {
			return nil, fmt.Errorf("read %.64s: no such point", id)
		}
		r := drivers.Reading{Point: id, Time: d.now()}
		switch p.kind {
		case kindCounter:
			r.Value = int64(p.count.Load())
		case kindPWM:
			r.Value = math.Float64frombits(p.duty.Load())
		default:
			on, err := d.level(p)
			if err != nil {
				d.lose(err)
				return nil, err
			}
			r.Value = on
		}
		readings = append(readings, r)
	}
	return readings, nil
}

// Write implements drivers.Writer. An output that is written during a pulse is not
// switched off at its end.
func (d *Driver) Write(ctx context.Context, id string, v drivers.Value) (drivers.Value, error) {
	_, leave, err := d.gate.Enter(ctx)
	if err != nil {
		return nil, err
	}
	defer leave()
	p := d.find(id)
	if p == nil || p.kind != kindOutput && p.kind != kindPWM {
		return nil, fmt.Errorf("write %.64s: no such writable point", id)
	}
	if p.kind == kindPWM {
		return p.setDuty(v)
	}
	on, ok := v.(bool)
	if !ok {
		return nil, fmt.Errorf("write %s: want true or false, got %T", id, v)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.pulse = 0
	if err := d.set(p, on); err != nil {
		d.lose(err)
		return nil, err
	}
	p.on = on
	return on, nil
}

// Do implements drivers.Doer: a pulse.
func (d *Driver) Do(ctx context.Context, action string, args map[string]any, _ func(any)) (any, error) {
	p, ok := d.pulses[action]
	if !ok {
		return nil, fmt.Errorf("do %.64s: no such action", action)
	}
	seconds, ok := args["seconds"].(float64)
	if !ok || len(args) != 1 || !(seconds > 0 && seconds <= maxPulse) {
		return nil, fmt.Errorf("do %s: want seconds, a number up to %g, alone", action, maxPulse)
	}
	ctx, leave, err := d.gate.Enter(ctx)
	if err != nil {
		return nil, err
	}
	defer leave()
	number, err := d.beginPulse(p)
	if err != nil {
		return nil, fmt.Errorf("do %s: %w", action, err)
	}
	timer := time.NewTimer(time.Duration(seconds * float64(time.Second)))
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
	if err := d.endPulse(p, number); err != nil {
		return nil, fmt.Errorf("do %s: %w", action, err)
	}
	return nil, ctx.Err()
}

// beginPulse switches an output on and returns the number of the pulse.
func (d *Driver) beginPulse(p *point) (uint64, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.pulse != 0 {
		return 0, fmt.Errorf("%w: a pulse is under way", drivers.ErrBusy)
	}
	if err := d.set(p, true); err != nil {
		d.lose(err)
		return 0, err
	}
	p.last++
	p.pulse, p.on = p.last, false
	return p.pulse, nil
}

// endPulse switches it off, unless it has been written meanwhile.
func (d *Driver) endPulse(p *point, number uint64) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.pulse != number {
		return nil
	}
	p.pulse = 0
	err := d.set(p, false)
	if err != nil {
		d.lose(err)
	}
	return err
}
