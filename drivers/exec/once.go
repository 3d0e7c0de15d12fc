package exec

import (
	"context"
	"fmt"
	"os/exec"
	"slices"
	"strings"
	"time"

	"gantry/drivers"
	"gantry/drivers/internal/program"
	"gantry/drivers/internal/text"
	"gantry/internal/ratelog"
)

// once is a device whose program runs once for each request.
type once struct {
	plan *plan
	now  func() time.Time
	log  *ratelog.Log
	desc drivers.Description
	gate drivers.Gate
}

// once also is a drivers.Reader if it has a command for polls.
type polled struct{ *once }

var (
	_ drivers.Writer = (*once)(nil)
	_ drivers.Doer   = (*once)(nil)
	_ drivers.Reader = polled{}
)

// whyExit is the reason for no value: an exit code that configuration does not know.
const whyExit = "exit_code"

// complaints is how often the log says that a program fails.
const complaints = time.Minute

func newOnce(p *plan, env drivers.Env) drivers.Driver {
	d := &once{plan: p, now: env.Now, log: ratelog.New(env.Log, complaints, env.Now), desc: p.describe("programs")}
	if p.command != nil {
		d.desc.Model = "program " + p.command[0]
		return polled{d}
	}
	return d
}

// Describe returns the points and actions of the configuration.
func (d *once) Describe() drivers.Description {
	desc := d.desc
	desc.Points, desc.Actions = slices.Clone(desc.Points), slices.Clone(desc.Actions)
	return desc
}

// Run implements drivers.Driver: the device is up while its program is there.
func (d *once) Run(ctx context.Context, link drivers.Link) error {
	if ctx.Err() != nil {
		return nil
	}
	if c := d.plan.command; c != nil {
		if _, err := exec.LookPath(c[0]); err != nil {
			return program.StartError(c[0], err)
		}
	}
	defer d.gate.Open(ctx)()
	link.Up()
	<-ctx.Done()
	return nil
}

// Read implements drivers.Reader: it runs the command once for all points.
func (d polled) Read(ctx context.Context, ids []string) ([]drivers.Reading, error) {
	ctx, leave, err := d.gate.Enter(ctx)
	if err != nil {
		return nil, program.Over(err)
	}
	defer leave()
	var points []*point
	for _, id := range ids {
		i := slices.IndexFunc(d.plan.points, func(p *point) bool { return p.id == id && p.readable })
		if i < 0 {
			return nil, fmt.Errorf("read %.64s: no such readable point", id)
		}
		points = append(points, d.plan.points[i])
	}
	r, err := d.plan.run(ctx, d.plan.command)
	if err != nil {
		return nil, fmt.Errorf("read: %w", err)
	}
	return d.readings(points, r), nil
}

// readings returns what a run says about points.
func (d *once) readings(points []*point, r *result) []drivers.Reading {
	why := d.plan.why(r.code)
	if why != "" {
		d.log.Warn("program fails", "code", r.code, "why", why, "stderr", r.errs)
	}
	fields := make([]text.Field, d.plan.fields)
	if why == "" && d.plan.parser != nil {
		why = d.plan.parser.Parse(r.out, fields)
	}
	now := d.now()
	all := make([]drivers.Reading, 0, len(points))
	for _, p := range points {
		reading := drivers.Reading{Point: p.id, Time: now}
		switch {
		case p.code && p.form.Type == drivers.Bool:
			reading.Value = r.code == 0
		case p.code:
			reading.Value = int64(r.code)
		case why != "":
			reading.Why = why
		case p.slot < 0:
			reading.Value, reading.Why = p.form.Read(text.Field{Kind: text.Words, Text: strings.TrimSpace(string(r.out))})
		case fields[p.slot].Kind == text.Absent:
			reading.Why = text.WhyField
		default:
			reading.Value, reading.Why = p.form.Read(fields[p.slot])
		}
		if reading.Why != "" {
			reading.Value, reading.Quality = nil, drivers.Bad
		}
		all = append(all, reading)
	}
	return all
}

// why returns the reason for which an exit code leaves no value, "" if it does not.
func (p *plan) why(code int) string {
	switch why, ok := p.exit[code]; {
	case !ok:
		return whyExit
	case why == "ok":
		return ""
	default:
		return why
	}
}

// do runs a command that changes something.
func (d *once) do(ctx context.Context, c command, values map[string]string) (*result, error) {
	ctx, leave, err := d.gate.Enter(ctx)
	if err != nil {
		return nil, program.Over(err)
	}
	defer leave()
	r, err := d.plan.run(ctx, c.fill(values))
	if err != nil {
		return nil, err
	}
	if why := d.plan.why(r.code); why != "" {
		return nil, fmt.Errorf("%w: %s, exit code %d: %s", drivers.ErrRefused, why, r.code, r.errs)
	}
	return r, nil
}

// Write implements drivers.Writer: it runs the point's command.
func (d *once) Write(ctx context.Context, id string, v drivers.Value) (drivers.Value, error) {
	i := slices.IndexFunc(d.plan.points, func(p *point) bool { return p.id == id && p.writable })
	if i < 0 {
		return nil, fmt.Errorf("write %.64s: no such writable point", id)
	}
	p := d.plan.points[i]
	s, err := p.form.Text(v)
	if err != nil {
		return nil, fmt.Errorf("write %s: value %w", id, err)
	}
	if _, err := d.do(ctx, p.write, map[string]string{"value": s}); err != nil {
		return nil, fmt.Errorf("write %s: %w", id, err)
	}
	return v, nil
}

// Do implements drivers.Doer: it runs the action's command. The result is what the
// program prints.
func (d *once) Do(ctx context.Context, id string, args map[string]any, _ func(any)) (any, error) {
	i := slices.IndexFunc(d.plan.actions, func(a *action) bool { return a.desc.ID == id })
	if i < 0 {
		return nil, fmt.Errorf("do %.64s: no such action", id)
	}
	a := d.plan.actions[i]
	values, err := a.args.Texts(args)
	if err != nil {
		return nil, fmt.Errorf("do %s: %w", id, err)
	}
	r, err := d.do(ctx, a.command, values)
	if err != nil {
		return nil, fmt.Errorf("do %s: %w", id, err)
	}
	return map[string]any{"output": strings.ToValidUTF8(strings.TrimSpace(string(r.out)), "\uFFFD")}, nil
}
