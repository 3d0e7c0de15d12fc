// Package talker is a device that talks in texts, whatever they come over: its
// messages become readings, writes and actions become commands, and answers are
// found among the messages.
package talker

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"gantry/drivers"
	"gantry/drivers/internal/dialog"
	"gantry/drivers/internal/text"
)

// Device is one device. It is a drivers.Writer and a drivers.Doer, and all of a
// drivers.Driver but Run, which is up to whoever has the connection: it calls Begin.
type Device struct {
	plan      *plan
	now       func() time.Time
	log       *slog.Logger
	suspicion string
	desc      drivers.Description
	values    []text.Field // of the message at hand; only the run's goroutine uses it
	last      atomic.Uint64

	life dialog.Life[*reply]
}

var (
	_ drivers.Writer = (*Device)(nil)
	_ drivers.Doer   = (*Device)(nil)
)

// New checks cfg. Errors are *drivers.ConfigError with keys below the device's table.
func New(cfg Config, env drivers.Env) (*Device, error) {
	p, err := newPlan(&cfg)
	if err != nil {
		return nil, err
	}
	d := &Device{plan: p, now: env.Now, log: env.Log, suspicion: cfg.Suspicion, values: make([]text.Field, len(p.fields))}
	if d.log == nil {
		d.log = slog.New(slog.DiscardHandler)
	}
	if d.now == nil {
		d.now = time.Now
	}
	d.desc.Model = cfg.Model
	for _, pt := range p.points {
		d.desc.Points = append(d.desc.Points, drivers.Point{ID: pt.id, Type: pt.form.Type,
			Readable: pt.slot >= 0, Writable: pt.write != nil})
	}
	for _, a := range p.actions {
		d.desc.Actions = append(d.desc.Actions, a.desc)
	}
	return d, nil
}

// Describe returns the device's points and actions.
func (d *Device) Describe() drivers.Description {
	desc := d.desc
	desc.Points, desc.Actions = slices.Clone(desc.Points), slices.Clone(desc.Actions)
	return desc
}

// Intake takes the messages of one run. One goroutine uses it.
type Intake struct {
	d      *Device
	s      *dialog.Session[*reply]
	link   drivers.Link
	bad    int // pieces of garbage in a row
	warned bool
}

// Begin begins a run whose commands go out by conn.
func (d *Device) Begin(conn dialog.Conn, link drivers.Link) *Intake {
	s := dialog.New[*reply](conn)
	if d.plan.tag != nil {
		s = dialog.NewTagged[*reply](conn)
	}
	return &Intake{d: d, s: s, link: link}
}

// Serve goes through the phases of the run, whose Listen calls Message and Garbage.
func (in *Intake) Serve(ctx context.Context, p dialog.Phases) error {
	return in.d.life.Serve(ctx, in.s, p)
}

// Message takes one message. It is not kept.
func (in *Intake) Message(line []byte) {
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
	if d.plan.tag.answers(line) {
		return
	}
	in.Garbage(why, line)
}

// suspicious is the number of pieces of garbage, and nothing else, after which the
// operator is told.
const suspicious = 10

const sampleBytes = 64

// Garbage counts what is no message.
func (in *Intake) Garbage(why string, sample []byte) {
	sample = sample[:min(len(sample), sampleBytes)]
	in.link.Garbage(why, sample)
	if in.bad++; in.bad >= suspicious && !in.warned {
		in.warned = true
		in.d.log.Warn(in.d.suspicion, "why", why, "sample", fmt.Sprintf("%q", sample))
	}
}

// emit hands over the readings of the message that was parsed into d.values.
func (in *Intake) emit() (why string) {
	why = text.WhyField
	now := in.d.now()
	for _, p := range in.d.plan.points {
		if p.slot < 0 || in.d.values[p.slot].Kind == text.Absent || !p.meant(in.d.values) {
			continue
		}
		why = ""
		in.link.Emit(p.reading(in.d.values, now))
	}
	return why
}

// meant reports whether the message is one of those that speak of p.
func (p *point) meant(values []text.Field) bool {
	for i := range p.when {
		if !p.when[i].holds(values) {
			return false
		}
	}
	return true
}

// reading returns what the message says about p.
func (p *point) reading(values []text.Field, now time.Time) drivers.Reading {
	r := drivers.Reading{Point: p.id, Time: now}
	if r.Value, r.Why = p.form.Read(values[p.slot]); r.Why != "" {
		r.Quality, r.Value = drivers.Bad, nil
		return r
	}
	for i := range p.good {
		if c := &p.good[i]; !c.holds(values) {
			r.Quality, r.Why = drivers.Uncertain, c.name
			return r
		}
	}
	return r
}

// Write implements drivers.Writer: it sends the point's template and waits for the
// acknowledgement, if one is configured. It returns what the acknowledgement says,
// or v.
func (d *Device) Write(ctx context.Context, id string, v drivers.Value) (drivers.Value, error) {
	i := slices.IndexFunc(d.plan.points, func(p *point) bool { return p.id == id })
	if i < 0 || d.plan.points[i].write == nil {
		return nil, fmt.Errorf("write %.64s: no such writable point", id)
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
	said, ok := reply.said()
	if !ok {
		return v, nil
	}
	got, why := p.form.Read(said)
	if why != "" {
		return nil, fmt.Errorf("write %s: %w: %s: %q", id, drivers.ErrNotVerified, why, clip(said.Text))
	}
	return got, nil
}

// Do implements drivers.Doer: it sends the action's template. The result is a map
// with the answer, its result and the named groups of its pattern, or nil if no
// answer is configured.
func (d *Device) Do(ctx context.Context, id string, args map[string]any, _ func(any)) (any, error) {
	i := slices.IndexFunc(d.plan.actions, func(a *action) bool { return a.desc.ID == id })
	if i < 0 {
		return nil, fmt.Errorf("do %.64s: no such action", id)
	}
	a := d.plan.actions[i]
	values, err := a.args.Texts(args)
	if err != nil {
		return nil, fmt.Errorf("do %s: %w", id, err)
	}
	reply, err := d.exchange(ctx, a.cmd, values)
	if err != nil {
		return nil, fmt.Errorf("do %s: %w", id, err)
	}
	if reply == nil {
		return nil, nil
	}
	result := map[string]any{"answer": strings.ToValidUTF8(reply.line, "\uFFFD")}
	if reply.result.Kind != text.Absent {
		result["result"] = strings.ToValidUTF8(reply.result.Text, "\uFFFD")
	}
	if reply.pattern == nil {
		return result, nil
	}
	for _, name := range reply.pattern.SubexpNames() {
		if text, ok := reply.group(name); ok {
			result[name] = strings.ToValidUTF8(text, "\uFFFD")
		}
	}
	return result, nil
}

// clip shortens a device's text for a message.
func clip(s string) string { return s[:min(len(s), sampleBytes)] }
