// Package external makes devices of programs that serve the verbs of a driver, in any
// language: run, describe, read, write and do. How they are reached is the caller's business
// (drivers.Programs). The program is started and supervised here, or runs elsewhere.
//
// What a program says is checked: a value that does not fit its point is a bad reading,
// whatever else it says is counted as garbage.
package external

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"slices"
	"time"
	"unicode/utf8"

	"gantry/drivers"
	"gantry/drivers/internal/program"
	"gantry/drivers/internal/value"
)

// Kind is the entry of this package for the list of drivers.
var Kind = drivers.Kind{
	Name:   "external",
	Config: func() any { return new(Config) },
	New: func(cfg any, env drivers.Env) (drivers.Driver, error) {
		return New(*cfg.(*Config), env)
	},
}

// The verbs that a program serves. Only run is required, and describe where the
// configuration does not say what the device is made of.
const (
	verbRun      = "run"
	verbDescribe = "describe"
	verbRead     = "read"
	verbWrite    = "write"
	verbDo       = "do"
)

// driver is a device that a program serves.
type driver struct {
	cfg     Config
	env     drivers.Env
	desc    drivers.Description
	program *program.Program // nil: it runs elsewhere
	asks    bool             // the program says what the device is made of
	gate    drivers.Gate
	remote  drivers.Remote // while the gate is open
}

var (
	_ drivers.Reader = (*driver)(nil)
	_ drivers.Writer = (*driver)(nil)
	_ drivers.Doer   = (*driver)(nil)
)

// New checks cfg and returns a driver that has not been started. The error is a
// *drivers.ConfigError.
func New(cfg Config, env drivers.Env) (drivers.Driver, error) {
	if env.Log == nil {
		env.Log = slog.New(slog.DiscardHandler)
	}
	if env.Now == nil {
		env.Now = time.Now
	}
	if cfg.StartTimeout == 0 {
		cfg.StartTimeout = drivers.Duration(defaultStartTimeout)
	}
	d := &driver{cfg: cfg, env: env, asks: len(cfg.Points)+len(cfg.Actions) == 0}
	var err error
	if d.desc, err = cfg.describe(); err != nil {
		return nil, err
	}
	d.program, err = cfg.program(env)
	return d, err
}

// Describe returns what the configuration says of the device, or what the program has
// said: nothing before it was asked.
func (d *driver) Describe() drivers.Description {
	desc := d.desc
	desc.Points, desc.Actions = slices.Clone(desc.Points), slices.Clone(desc.Actions)
	return desc
}

// Run implements drivers.Driver: it starts the program, where it is to, and has it
// serve the device until ctx or that ends.
func (d *driver) Run(ctx context.Context, link drivers.Link) error {
	if ctx.Err() != nil {
		return nil
	}
	err := d.attend(ctx, link)
	switch {
	case ctx.Err() != nil:
		return nil
	case errors.Is(err, drivers.ErrOffline):
		return err
	}
	return fmt.Errorf("%w: %w", drivers.ErrOffline, err)
}

// attend serves the device beside its program; when one of both ends, so does the other.
func (d *driver) attend(ctx context.Context, link drivers.Link) error {
	if d.env.Programs == nil {
		return fmt.Errorf("%w: there is no gateway that programs could reach", drivers.ErrOffline)
	}
	if d.program == nil {
		return d.serve(ctx, link)
	}
	env, revoke, err := d.env.Programs.Admit(d.env.Device)
	if err != nil {
		return err
	}
	defer revoke()
	p := *d.program
	p.Env = append(slices.Clone(p.Env), env...)
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	started, ended := make(chan error, 1), make(chan error, 1) // one outcome each
	go func() {
		defer stop()
		ended <- p.Serve(ctx, nil, nil, program.NewComplaints(d.env.Log, d.env.Now), started)
	}()
	if err := <-started; err != nil {
		<-ended
		return program.StartError(d.program.Command[0], err)
	}
	err = d.serve(ctx, link)
	if errors.Is(err, drivers.ErrOffline) {
		// A program that dies leaves the router first; its exit says more.
		select {
		case <-ctx.Done():
		case <-time.After(program.Grace):
		}
	}
	over := ctx.Err() != nil // the program ended first
	stop()
	if exit := <-ended; over {
		err = exit
	}
	return err
}

// serve has the program serve the device until ctx ends or it gives up.
func (d *driver) serve(ctx context.Context, link drivers.Link) error {
	remote, err := d.env.Programs.Connect(ctx, d.env.Device)
	if err != nil {
		return err
	}
	defer remote.Close()
	if err := d.await(ctx, remote); err != nil {
		return err
	}
	if d.asks {
		if err := d.other(ctx, remote); err != nil {
			return err
		}
	}
	d.remote = remote
	defer d.gate.Open(ctx)()
	var ids []any
	for i := range d.desc.Points {
		ids = append(ids, d.desc.Points[i].ID)
	}
	kwargs := d.about()
	kwargs["points"] = ids
	_, err = remote.Call(ctx, verbRun, nil, kwargs, func(v any) { d.take(v, link) })
	if err == nil {
		err = errors.New("the program has ended the run")
	}
	return err
}

// about returns what the program is told of the device.
func (d *driver) about() map[string]any {
	kwargs := map[string]any{"device": d.env.Device}
	if d.cfg.Options != nil {
		kwargs["options"] = d.cfg.Options
	}
	return kwargs
}

// await waits for the program: for one that was started not for ever.
func (d *driver) await(ctx context.Context, remote drivers.Remote) error {
	limit := ctx
	if d.program != nil {
		var cancel context.CancelFunc
		limit, cancel = context.WithTimeout(ctx, d.cfg.StartTimeout.Std())
		defer cancel()
	}
	err := remote.Await(limit, verbRun)
	if err != nil && ctx.Err() == nil && limit.Err() != nil {
		return fmt.Errorf("%w: the program does not serve the device after start_timeout = %s", drivers.ErrOffline, d.cfg.StartTimeout)
	}
	return err
}

const (
	// maxReadings bounds the readings in one message.
	maxReadings = 4096
	sampleBytes = 64
	maxText     = 64 << 10
)

// take deals with a progressive result of run: {"up": true}, or {"readings": [...]}, or
// {"garbage": why, "sample": text}.
func (d *driver) take(v any, link drivers.Link) {
	said, ok := v.(map[string]any)
	switch {
	case !ok:
	case said["up"] == true:
		link.Up()
		return
	case said["readings"] != nil:
		for _, r := range d.readings(said["readings"], link) {
			link.Emit(r)
		}
		return
	case said["garbage"] != nil:
		why, _ := said["garbage"].(string)
		link.Garbage(clip(why), fmt.Appendf(nil, "%.64v", said["sample"]))
		return
	}
	garbage(link, "message", v)
}

func garbage(link drivers.Link, why string, v any) {
	if link != nil {
		b := fmt.Appendf(nil, "%.64v", v)
		link.Garbage(why, b[:min(len(b), sampleBytes)])
	}
}

// readings returns the readings in a list; whatever else is in it is garbage. A nil
// link drops that.
func (d *driver) readings(v any, link drivers.Link) []drivers.Reading {
	list, ok := v.([]any)
	if !ok || len(list) > maxReadings {
		garbage(link, "readings", v)
		return nil
	}
	var all []drivers.Reading
	for _, v := range list {
		if r, why := d.reading(v); why != "" {
			garbage(link, why, v)
		} else {
			all = append(all, r)
		}
	}
	return all
}

// reading returns the reading that a dictionary is.
func (d *driver) reading(v any) (r drivers.Reading, why string) {
	said, ok := v.(map[string]any)
	if !ok {
		return r, "reading"
	}
	id, _ := said["point"].(string)
	i := slices.IndexFunc(d.desc.Points, func(p drivers.Point) bool { return p.ID == id && p.Readable })
	if i < 0 {
		return r, "no_point"
	}
	r = drivers.Reading{Point: id, Time: d.env.Now()}
	if ts, ok := value.Int64(said["ts"]); ok && ts > 0 {
		r.Time = time.UnixMicro(ts)
	}
	switch said["q"] {
	case nil, drivers.Good.String():
	case drivers.Uncertain.String():
		r.Quality = drivers.Uncertain
	case drivers.Bad.String():
		r.Quality = drivers.Bad
	default:
		return r, "quality"
	}
	if r.Quality != drivers.Good {
		r.Why, _ = said["why"].(string)
		if r.Why = clip(r.Why); r.Why == "" {
			r.Why = "unsaid"
		}
	}
	if r.Quality != drivers.Bad {
		if r.Value, ok = fit(d.desc.Points[i].Type, said["value"]); !ok {
			r.Value, r.Quality, r.Why = nil, drivers.Bad, "type"
		}
	}
	return r, ""
}

// fit returns v as a value of a type, if it is one.
func fit(typ drivers.Type, v any) (drivers.Value, bool) {
	switch typ {
	case drivers.Float:
		f, ok := value.Float64(v)
		return f, ok && !math.IsNaN(f) && !math.IsInf(f, 0)
	case drivers.Int:
		n, ok := value.Int64(v)
		return n, ok
	case drivers.Bool:
		b, ok := v.(bool)
		return b, ok
	case drivers.Text:
		s, ok := v.(string)
		return s, ok && len(s) <= maxText && utf8.ValidString(s)
	}
	b, ok := v.([]byte)
	return b, ok && len(b) <= maxText
}

func clip(s string) string { return s[:min(len(s), sampleBytes)] }

// ask calls a verb while the driver runs.
func (d *driver) ask(ctx context.Context, verb string, args []any, kwargs map[string]any, progress func(any)) (any, error) {
	ctx, leave, err := d.gate.Enter(ctx)
	if err != nil {
		return nil, program.Over(err)
	}
	defer leave()
	got, err := d.remote.Call(ctx, verb, args, kwargs, progress)
	if err != nil && ctx.Err() != nil {
		return nil, program.Over(ctx.Err())
	}
	return got, err
}

// Read implements drivers.Reader: read(points) returns a list of readings. A point that
// is missing in it is bad.
func (d *driver) Read(ctx context.Context, ids []string) ([]drivers.Reading, error) {
	list := make([]any, len(ids))
	for i, id := range ids {
		if !slices.ContainsFunc(d.desc.Points, func(p drivers.Point) bool { return p.ID == id && p.Readable }) {
			return nil, fmt.Errorf("read %.64s: no such readable point", id)
		}
		list[i] = id
	}
	got, err := d.ask(ctx, verbRead, []any{list}, nil, nil)
	if err != nil {
		return nil, fmt.Errorf("read: %w", err)
	}
	all := slices.DeleteFunc(d.readings(got, nil), func(r drivers.Reading) bool { return !slices.Contains(ids, r.Point) })
	for _, id := range ids {
		if !slices.ContainsFunc(all, func(r drivers.Reading) bool { return r.Point == id }) {
			all = append(all, drivers.Reading{Point: id, Quality: drivers.Bad, Why: "no_answer", Time: d.env.Now()})
		}
	}
	return all, nil
}

// Write implements drivers.Writer: write(point, value) returns what is set, or nothing
// for the value itself.
func (d *driver) Write(ctx context.Context, id string, v drivers.Value) (drivers.Value, error) {
	i := slices.IndexFunc(d.desc.Points, func(p drivers.Point) bool { return p.ID == id && p.Writable })
	if i < 0 {
		return nil, fmt.Errorf("write %.64s: no such writable point", id)
	}
	got, err := d.ask(ctx, verbWrite, []any{id, v}, by(ctx), nil)
	if err != nil {
		return nil, fmt.Errorf("write %s: %w", id, err)
	}
	if got == nil {
		return v, nil
	}
	back, ok := fit(d.desc.Points[i].Type, got)
	if !ok {
		return nil, fmt.Errorf("write %s: %w: the program returns no %s", id, drivers.ErrNotVerified, d.desc.Points[i].Type)
	}
	return back, nil
}

// Do implements drivers.Doer: do(action, args) returns the action's result.
func (d *driver) Do(ctx context.Context, id string, args map[string]any, progress func(any)) (any, error) {
	if !slices.ContainsFunc(d.desc.Actions, func(a drivers.Action) bool { return a.ID == id }) {
		return nil, fmt.Errorf("do %.64s: no such action", id)
	}
	if args == nil {
		args = map[string]any{}
	}
	got, err := d.ask(ctx, verbDo, []any{id, args}, by(ctx), progress)
	if err != nil {
		return nil, fmt.Errorf("do %s: %w", id, err)
	}
	return got, nil
}

// by tells the program who asks.
func by(ctx context.Context) map[string]any {
	c := drivers.CallerOf(ctx)
	if c == (drivers.Caller{}) {
		return nil
	}
	who := map[string]any{"session": int64(c.Session), "authid": c.AuthID, "authrole": c.Role}
	if c.ForAuthID != "" || c.ForRole != "" {
		who["for_authid"], who["for_authrole"] = c.ForAuthID, c.ForRole
	}
	return map[string]any{"caller": who}
}
