package frame

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"gantry/drivers"
	"gantry/drivers/internal/dialog"
)

// Driver is one device on one port or TCP connection. The one that New returns also implements
// drivers.Reader if there is anything to ask for.
type Driver struct {
	cfg  Config
	plan *plan
	link *link
	now  func() time.Time
	log  *slog.Logger
	desc drivers.Description

	life dialog.Life[*answer]
}

// answer is a frame that answers a command.
type answer struct {
	frame   []byte
	refused bool
}

// polled is a Driver whose messages can be asked for.
type polled struct{ *Driver }

var (
	_ drivers.Driver = (*Driver)(nil)
	_ drivers.Writer = (*Driver)(nil)
	_ drivers.Doer   = (*Driver)(nil)
	_ drivers.Reader = polled{}
)

// New checks cfg and returns a driver that has not been started. Errors are
// *drivers.ConfigError.
func New(cfg Config, env drivers.Env) (drivers.Driver, error) {
	log := env.Log
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	l, err := newLink(&cfg, log)
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
	d := &Driver{cfg: cfg, plan: p, link: l, now: now, log: log}
	d.desc.Model = "frame device at " + l.String()
	for _, pt := range p.points {
		desc := drivers.Point{ID: pt.id, Type: pt.typ(), Readable: pt.message != nil, Writable: pt.write != nil}
		if pt.write != nil {
			desc.Min, desc.Max = spanOf(&pt.form)
		}
		d.desc.Points = append(d.desc.Points, desc)
	}
	for _, a := range p.actions {
		d.desc.Actions = append(d.desc.Actions, a.desc)
	}
	if slices.ContainsFunc(p.messages, func(m *message) bool { return m.request != nil && len(m.points) > 0 }) {
		return polled{d}, nil
	}
	return d, nil
}

// Describe returns the points and actions of the configuration.
func (d *Driver) Describe() drivers.Description {
	desc := d.desc
	desc.Points, desc.Actions = slices.Clone(desc.Points), slices.Clone(desc.Actions)
	return desc
}

// Run implements drivers.Driver: it opens the port and turns frames into readings
// until ctx ends or the port is lost.
func (d *Driver) Run(ctx context.Context, link drivers.Link) error {
	err := d.serve(ctx, link)
	if ctx.Err() != nil {
		return nil
	}
	return err
}

func (d *Driver) serve(ctx context.Context, link drivers.Link) error {
	conn, err := d.link.open(ctx)
	if err != nil {
		return err
	}
	defer func() {
		if err := conn.Close(); err != nil {
			d.log.Warn("port is slow to close", "port", d.link.String(), "err", err)
		}
	}()
	w := &wire{conn: conn, echo: d.cfg.Echo}
	s := dialog.New[*answer](w)
	in := &intake{d: d, s: s, link: link, r: newReader(w, d.plan.shape)}
	return d.life.Serve(ctx, s, dialog.Phases{Join: in.r.join, Listen: in.frames, Settle: d.cfg.Settle.Std(), Up: link.Up})
}

// intake takes the frames of one run.
type intake struct {
	d      *Driver
	s      *dialog.Session[*answer]
	link   drivers.Link
	r      *reader
	bad    int // pieces of garbage in a row
	warned bool
}

// suspicious is the number of pieces of garbage, and nothing else, after which the
// operator is told.
const suspicious = 10

// frames handles frames until ctx ends or the port is lost.
func (in *intake) frames(ctx context.Context) error {
	for {
		frame, g, err := in.r.next(ctx)
		if err != nil {
			return err
		}
		if g != nil {
			in.garbage(g.why, g.sample)
		}
		if frame != nil {
			in.frame(frame)
		}
	}
}

func (in *intake) frame(frame []byte) {
	if in.s.Take(frame) {
		in.bad = 0
		return
	}
	i := slices.IndexFunc(in.d.plan.messages, func(m *message) bool { return m.is(frame) })
	switch {
	case i < 0:
		in.garbage(whyMatch, frame)
		return
	case !in.d.plan.messages[i].whole(frame):
		in.garbage(whyShort, frame)
		return
	}
	in.bad = 0
	now := in.d.now()
	for _, p := range in.d.plan.messages[i].points {
		in.link.Emit(p.reading(frame, now))
	}
}

func (in *intake) garbage(why string, sample []byte) {
	sample = sample[:min(len(sample), sampleBytes)]
	in.link.Garbage(why, sample)
	if in.bad++; in.bad >= suspicious && !in.warned {
		in.warned = true
		in.d.log.Warn("device sends only garbage; check baud, mode, frame, checksum and message", "why", why,
			"sample", fmt.Sprintf("% x", sample))
	}
}

// exchange sends a command in its turn and waits for the answer. It is nil if none
// is to come.
func (d *Driver) exchange(ctx context.Context, c *command, values map[string][]byte) ([]byte, error) {
	s, err := d.life.Session()
	if err != nil {
		return nil, err
	}
	out := c.template.fill(values)
	if c.answer == nil {
		_, err := s.Exchange(ctx, out, c.timeout, nil)
		return nil, err
	}
	a, err := s.Exchange(ctx, out, c.timeout, c.match)
	if err != nil {
		return nil, err
	}
	if a.refused {
		return nil, fmt.Errorf("%w: % x", drivers.ErrRefused, a.frame[:min(len(a.frame), sampleBytes)])
	}
	return a.frame, nil
}

// match says whether a frame answers the command. A frame that is both counts as a
// refusal.
func (c *command) match(frame []byte) (*answer, bool) {
	refused := c.refusal != nil && c.refusal.is(frame)
	if !refused && !(c.answer.is(frame) && c.answer.whole(frame)) {
		return nil, false
	}
	return &answer{slices.Clone(frame), refused}, true
}

// Read implements drivers.Reader: it asks for the messages that hold the points.
// Points of messages that come by themselves are left out; if there are no others,
// the error is errors.ErrUnsupported.
func (d polled) Read(ctx context.Context, ids []string) ([]drivers.Reading, error) {
	asked := map[*message][]*point{}
	var order []*message
	for _, id := range ids {
		i := slices.IndexFunc(d.plan.points, func(p *point) bool { return p.id == id && p.message != nil })
		if i < 0 {
			return nil, fmt.Errorf("read %s: no such readable point", id)
		}
		p := d.plan.points[i]
		if p.message.request == nil {
			continue
		}
		if asked[p.message] == nil {
			order = append(order, p.message)
		}
		asked[p.message] = append(asked[p.message], p)
	}
	if len(order) == 0 {
		return nil, fmt.Errorf("read: the device sends these by itself: %w", errors.ErrUnsupported)
	}
	var all []drivers.Reading
	var failed error
	answered := false
	for _, m := range order {
		frame, err := d.ask(ctx, m)
		now := d.now()
		switch {
		case err == nil:
			answered = true
		case errors.Is(err, drivers.ErrTimeout) && ctx.Err() == nil:
			failed = fmt.Errorf("read %s: %w", m.id, err)
		default:
			return nil, fmt.Errorf("read %s: %w", m.id, err)
		}
		for _, p := range asked[m] {
			if err != nil {
				all = append(all, drivers.Reading{Point: p.id, Quality: drivers.Bad, Why: "timeout", Time: now})
			} else {
				all = append(all, p.reading(frame, now))
			}
		}
	}
	if !answered {
		return nil, failed
	}
	return all, nil
}

// ask requests a message, again if it does not come.
func (d *Driver) ask(ctx context.Context, m *message) (frame []byte, err error) {
	for range m.retries + 1 {
		frame, err = d.exchange(ctx, m.request, nil)
		if !errors.Is(err, drivers.ErrTimeout) || ctx.Err() != nil {
			return frame, err
		}
	}
	return nil, err
}

// Write implements drivers.Writer: it sends the point's template and waits for the
// answer, if one is configured. It returns what the answer says if it holds the
// point, or v.
func (d *Driver) Write(ctx context.Context, id string, v drivers.Value) (drivers.Value, error) {
	i := slices.IndexFunc(d.plan.points, func(p *point) bool { return p.id == id })
	if i < 0 || d.plan.points[i].write == nil {
		return nil, fmt.Errorf("write %s: no such writable point", id)
	}
	p := d.plan.points[i]
	b, err := encode(&p.form, v)
	if err != nil {
		return nil, fmt.Errorf("write %s: value %w", id, err)
	}
	frame, err := d.exchange(ctx, p.write, map[string][]byte{"value": b})
	if err != nil {
		return nil, fmt.Errorf("write %s: %w", id, err)
	}
	if p.message == nil || p.write.answer != p.message {
		return v, nil
	}
	r := p.reading(frame, time.Time{})
	if r.Quality != drivers.Good {
		return nil, fmt.Errorf("write %s: %w: %s", id, drivers.ErrNotVerified, r.Why)
	}
	return r.Value, nil
}

// Do implements drivers.Doer: it sends the action's template. The result is a map
// with the answer in hexadecimal and the values of its points, or nil if no answer
// is configured.
func (d *Driver) Do(ctx context.Context, id string, args map[string]any, _ func(any)) (any, error) {
	i := slices.IndexFunc(d.plan.actions, func(a *action) bool { return a.id == id })
	if i < 0 {
		return nil, fmt.Errorf("do %s: no such action", id)
	}
	a := d.plan.actions[i]
	values := make(map[string][]byte, len(a.args))
	for name, f := range a.args {
		v, ok := args[name]
		if !ok {
			return nil, fmt.Errorf("do %s: argument %s is missing", id, name)
		}
		b, err := encode(&f, v)
		if err != nil {
			return nil, fmt.Errorf("do %s: argument %s %w", id, name, err)
		}
		values[name] = b
	}
	for name := range args {
		if _, ok := a.args[name]; !ok {
			return nil, fmt.Errorf("do %s: no argument %.40q", id, name)
		}
	}
	frame, err := d.exchange(ctx, a.cmd, values)
	if err != nil {
		return nil, fmt.Errorf("do %s: %w", id, err)
	}
	if a.cmd.answer == nil {
		return nil, nil
	}
	result := map[string]any{"answer": hex.EncodeToString(frame)}
	for _, p := range a.cmd.answer.points {
		result[p.id] = p.reading(frame, time.Time{}).Value
	}
	return result, nil
}
