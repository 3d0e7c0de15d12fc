package line

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"gantry/drivers"
	"gantry/drivers/internal/dialog"
	"gantry/drivers/internal/text"
	"gantry/drivers/serialport"
)

// Driver is one device on one port.
type Driver struct {
	cfg    Config
	plan   *plan
	port   *serialport.Port
	now    func() time.Time
	log    *slog.Logger
	desc   drivers.Description
	values []text.Field // of the line at hand; only Run's goroutine uses it

	life dialog.Life[*reply]
}

var (
	_ drivers.Driver = (*Driver)(nil)
	_ drivers.Writer = (*Driver)(nil)
	_ drivers.Doer   = (*Driver)(nil)
)

// New checks cfg and returns a driver that has not been started. Errors are
// *drivers.ConfigError.
func New(cfg Config, env drivers.Env) (*Driver, error) {
	log := env.Log
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	port, err := serialport.New(cfg.Port, cfg.Line, serialport.Roots{}, log)
	if err != nil {
		return nil, err
	}
	p, err := newPlan(&cfg)
	if err != nil {
		return nil, err
	}
	now := env.Now
	if now == nil {
		now = time.Now
	}
	d := &Driver{cfg: cfg, plan: p, port: port, now: now, log: log, values: make([]text.Field, len(p.fields))}
	d.desc.Model = "line device at " + port.String()
	for _, pt := range p.points {
		d.desc.Points = append(d.desc.Points, drivers.Point{ID: pt.id, Type: pt.form.Type,
			Readable: pt.slot >= 0, Writable: pt.write != nil})
	}
	for _, a := range p.actions {
		d.desc.Actions = append(d.desc.Actions, a.desc)
	}
	return d, nil
}

// Describe returns the points and actions of the configuration.
func (d *Driver) Describe() drivers.Description {
	desc := d.desc
	desc.Points, desc.Actions = slices.Clone(desc.Points), slices.Clone(desc.Actions)
	return desc
}

// Run implements drivers.Driver: it opens the port and turns lines into readings
// until ctx ends or the port is lost.
func (d *Driver) Run(ctx context.Context, link drivers.Link) error {
	err := d.serve(ctx, link)
	if ctx.Err() != nil {
		return nil
	}
	return err
}

func (d *Driver) serve(ctx context.Context, link drivers.Link) error {
	conn, err := d.port.Open(ctx)
	if err != nil {
		return err
	}
	defer func() {
		if err := conn.Close(); err != nil {
			d.log.Warn("port is slow to close", "port", conn.Path(), "err", err)
		}
	}()
	s := dialog.New[*reply](conn)
	in := &intake{d: d, s: s, link: link, r: serialport.NewLineReader(conn, d.cfg.Frame)}
	return d.life.Serve(ctx, s, dialog.Phases{Join: in.r.Join, Listen: in.lines, Settle: d.cfg.Settle.Std(), Up: link.Up})
}

// intake takes the lines of one run.
type intake struct {
	d      *Driver
	s      *dialog.Session[*reply]
	link   drivers.Link
	r      *serialport.LineReader
	bad    int // lines of garbage in a row
	warned bool
}

// suspicious is the number of lines of garbage, and nothing else, after which the
// operator is told.
const suspicious = 10

// lines handles lines until ctx ends or the port is lost.
func (in *intake) lines(ctx context.Context) error {
	for {
		line, err := in.r.Next(ctx)
		var fe *serialport.FrameError
		switch {
		case err == nil:
			in.line(line)
		case errors.As(err, &fe):
			in.garbage(fe.Why, fe.Sample)
		default:
			return err
		}
	}
}

func (in *intake) line(line []byte) {
	d := in.d
	if in.s.Take(line) {
		in.bad = 0
		return
	}
	for _, re := range d.plan.ignore {
		if re.Match(line) {
			return
		}
	}
	why := text.WhyMatch
	if d.plan.parser != nil {
		if why = d.plan.parser.Parse(line, d.values); why == "" {
			why = in.emit()
		}
	}
	if why == "" {
		in.bad = 0
		return
	}
	for _, re := range d.plan.answers {
		if re.Match(line) {
			return // the answer to a command that is not waited for any more
		}
	}
	in.garbage(why, line)
}

const sampleBytes = 64

func (in *intake) garbage(why string, sample []byte) {
	in.link.Garbage(why, sample[:min(len(sample), sampleBytes)])
	if in.bad++; in.bad >= suspicious && !in.warned {
		in.warned = true
		in.d.log.Warn("device sends only garbage; check baud, mode and parse", "why", why,
			"sample", fmt.Sprintf("%q", sample[:min(len(sample), sampleBytes)]))
	}
}

// emit hands over the readings of the line that was parsed into d.values.
func (in *intake) emit() (why string) {
	why = text.WhyField
	now := in.d.now()
	for _, p := range in.d.plan.points {
		if p.slot < 0 || in.d.values[p.slot].Kind == text.Absent {
			continue
		}
		why = ""
		in.link.Emit(p.reading(in.d.values, now))
	}
	return why
}

// reading returns what the line says about p.
func (p *point) reading(values []text.Field, now time.Time) drivers.Reading {
	r := drivers.Reading{Point: p.id, Time: now}
	if r.Value, r.Why = p.form.Read(values[p.slot]); r.Why != "" {
		r.Quality, r.Value = drivers.Bad, nil
		return r
	}
	for i := range p.good {
		c := &p.good[i]
		if !slices.ContainsFunc(c.want, values[c.slot].Is) {
			r.Quality, r.Why = drivers.Uncertain, c.name
			return r
		}
	}
	return r
}

// Write implements drivers.Writer: it sends the point's template and waits for the
// acknowledgement, if one is configured. It returns what the acknowledgement's
// group "value" says, or v.
func (d *Driver) Write(ctx context.Context, id string, v drivers.Value) (drivers.Value, error) {
	i := slices.IndexFunc(d.plan.points, func(p *point) bool { return p.id == id })
	if i < 0 || d.plan.points[i].write == nil {
		return nil, fmt.Errorf("write %s: no such writable point", id)
	}
	p := d.plan.points[i]
	sent, err := p.form.Text(v)
	if err != nil {
		return nil, fmt.Errorf("write %s: value %w", id, err)
	}
	reply, err := d.exchange(ctx, p.write, map[string]string{"value": sent})
	if err != nil {
		return nil, fmt.Errorf("write %s: %w", id, err)
	}
	said, ok := reply.group("value")
	if !ok {
		return v, nil
	}
	got, why := p.form.Read(text.Field{Kind: text.Words, Text: said})
	if why != "" {
		return nil, fmt.Errorf("write %s: %w: %s: %q", id, drivers.ErrNotVerified, why, clip(said))
	}
	return got, nil
}

// Do implements drivers.Doer: it sends the action's template. The result is a map
// with the answer and the named groups of its pattern, or nil if no answer is
// configured.
func (d *Driver) Do(ctx context.Context, id string, args map[string]any, _ func(any)) (any, error) {
	i := slices.IndexFunc(d.plan.actions, func(a *action) bool { return a.id == id })
	if i < 0 {
		return nil, fmt.Errorf("do %s: no such action", id)
	}
	a := d.plan.actions[i]
	values := make(map[string]string, len(a.args))
	for name, f := range a.args {
		v, ok := args[name]
		if !ok {
			return nil, fmt.Errorf("do %s: argument %s is missing", id, name)
		}
		text, err := f.Text(v)
		if err != nil {
			return nil, fmt.Errorf("do %s: argument %s %w", id, name, err)
		}
		values[name] = text
	}
	for name := range args {
		if _, ok := a.args[name]; !ok {
			return nil, fmt.Errorf("do %s: no argument %.40q", id, name)
		}
	}
	reply, err := d.exchange(ctx, a.cmd, values)
	if err != nil {
		return nil, fmt.Errorf("do %s: %w", id, err)
	}
	if reply == nil {
		return nil, nil
	}
	result := map[string]any{"answer": strings.ToValidUTF8(reply.line, "\uFFFD")}
	for _, name := range reply.pattern.SubexpNames() {
		if text, ok := reply.group(name); ok {
			result[name] = strings.ToValidUTF8(text, "\uFFFD")
		}
	}
	return result, nil
}

// clip shortens a device's text for a message.
func clip(s string) string { return s[:min(len(s), sampleBytes)] }
