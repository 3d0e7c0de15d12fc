package http

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	nethttp "net/http"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"gantry/drivers"
	"gantry/drivers/internal/text"
)

// Driver is one device.
type Driver struct {
	cfg  Config
	plan *plan
	env  drivers.Env
	desc drivers.Description
	gate drivers.Gate
	dev  atomic.Pointer[device] // of the present run; nil if nothing is asked
}

// polled is a Driver that also is a drivers.Reader, since it has requests.
type polled struct{ *Driver }

var (
	_ drivers.Writer = (*Driver)(nil)
	_ drivers.Doer   = (*Driver)(nil)
	_ drivers.Reader = polled{}
)

// New checks cfg and returns a driver that has not been started. Errors are
// *drivers.ConfigError.
func New(cfg Config, env drivers.Env) (drivers.Driver, error) {
	if env.Log == nil {
		env.Log = slog.New(slog.DiscardHandler)
	}
	if env.Now == nil {
		env.Now = time.Now
	}
	p, err := newPlan(&cfg, env)
	if err != nil {
		return nil, err
	}
	d := &Driver{cfg: cfg, plan: p, env: env, desc: p.describe()}
	if p.asks() {
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

// Run implements drivers.Driver. A device that is polled is up once it has answered a
// request, whatever the answer, and lost when it leaves several unanswered; one that
// posts is up once it has done so.
func (d *Driver) Run(ctx context.Context, link drivers.Link) error {
	if ctx.Err() != nil {
		return nil
	}
	err := d.serve(ctx, link)
	if ctx.Err() != nil {
		return nil
	}
	return err
}

func (d *Driver) serve(ctx context.Context, link drivers.Link) error {
	var lost <-chan struct{}
	var fault <-chan error
	if d.plan.base != "" {
		dev, release, err := d.open()
		if err != nil {
			return err
		}
		defer release()
		if err := d.probe(ctx, dev); err != nil {
			return err
		}
		d.dev.Store(dev)
		defer d.dev.Store(nil)
		lost = dev.lost
	}
	defer d.gate.Open(ctx)()
	if s := d.plan.hook(); s != nil {
		var leave func()
		var err error
		if fault, leave, err = d.receive(s, link); err != nil {
			return err
		}
		defer leave()
	}
	if d.plan.base != "" { // otherwise it is up when it posts
		link.Up()
	}
	select {
	case <-ctx.Done():
		return nil
	case err := <-fault:
		return err
	case <-lost:
		return fmt.Errorf("%w: it has not answered %d requests in a row", drivers.ErrOffline, maxLosses)
	}
}

// open makes the other side of requests; release frees its connections.
func (d *Driver) open() (dev *device, release func(), err error) {
	header, err := d.cfg.Headers()
	if err != nil {
		return nil, nil, err
	}
	secure, err := d.cfg.TLS(d.env.Dir)
	if err != nil {
		return nil, nil, err
	}
	t := &nethttp.Transport{
		DialContext: (&net.Dialer{KeepAlive: -1}).DialContext, TLSClientConfig: secure,
		DisableKeepAlives:   d.cfg.KeepAlive != nil && !*d.cfg.KeepAlive,
		MaxIdleConnsPerHost: 1, IdleConnTimeout: time.Minute, MaxResponseHeaderBytes: maxHeader,
	}
	return newDevice(d.plan, header, t, d.env.Now), t.CloseIdleConnections, nil
}

// probeTimeout is how long the device may take to answer first.
const probeTimeout = 5 * time.Second

// probe makes the first request that polls make, if there is one.
func (d *Driver) probe(ctx context.Context, dev *device) error {
	i := slices.IndexFunc(d.plan.sources, func(s *source) bool { return s.ask != nil })
	if i < 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	_, err := dev.ask(ctx, d.plan.sources[i].ask, nil)
	if dev.reached() {
		return nil // how polls fare is the hub's to see
	}
	return err
}

// reached reports whether the device has answered the last request.
func (d *device) reached() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.losses == 0
}

// hook returns the source that the device posts to; nil without.
func (p *plan) hook() *source {
	if n := len(p.sources); n > 0 && p.sources[n-1].hook != nil {
		return p.sources[n-1]
	}
	return nil
}

// Read implements drivers.Reader: each request is made once for all points that are
// read by it. Of points that the device posts there is nothing to ask for.
func (d polled) Read(ctx context.Context, ids []string) ([]drivers.Reading, error) {
	ctx, leave, err := d.gate.Enter(ctx)
	if err != nil {
		return nil, over(err)
	}
	defer leave()
	wanted := map[*source][]*point{}
	for _, id := range ids {
		i := slices.IndexFunc(d.plan.points, func(p *point) bool { return p.id == id && p.source != nil })
		if i < 0 {
			return nil, fmt.Errorf("read %.64s: no such readable point", id)
		}
		p := d.plan.points[i]
		wanted[p.source] = append(wanted[p.source], p)
	}
	dev := d.dev.Load()
	if dev == nil {
		return nil, drivers.ErrOffline
	}
	var all []drivers.Reading
	var failed error
	asked, good := 0, 0
	for _, s := range d.plan.sources {
		if s.ask == nil || wanted[s] == nil {
			continue
		}
		asked++
		a, err := dev.ask(ctx, s.ask, nil)
		if err != nil && failed == nil {
			failed = fmt.Errorf("request %s: %w", s.name, err)
		}
		readings, any := s.readings(wanted[s], a, err, d.env.Now())
		all = append(all, readings...)
		if any {
			good++
		}
	}
	switch {
	case asked == 0:
		return nil, errors.ErrUnsupported
	case good == 0:
		return nil, over(failed)
	}
	return all, nil
}

// readings returns what an answer, or the error in its place, says about points. ok is
// false if that is nothing at all.
func (s *source) readings(points []*point, a answer, err error, now time.Time) (all []drivers.Reading, ok bool) {
	var fields []text.Field
	why := ""
	if err == nil {
		fields, why = s.take(a)
	}
	for _, p := range points {
		if err != nil && (!p.status || a.status == 0) {
			all = append(all, drivers.Reading{Point: p.id, Time: now, Quality: drivers.Bad, Why: drivers.Why(err)})
			continue
		}
		ok = true
		all = append(all, p.reading(a, fields, why, now))
	}
	return all, ok
}

// over returns the error of one whose time was over.
func over(err error) error {
	if errors.Is(err, context.DeadlineExceeded) && !errors.Is(err, drivers.ErrTimeout) {
		return fmt.Errorf("%w: %w", drivers.ErrTimeout, err)
	}
	return err
}

// command makes a request that changes something.
func (d *Driver) command(ctx context.Context, c *command, values map[string]string) (answer, error) {
	ctx, leave, err := d.gate.Enter(ctx)
	if err != nil {
		return answer{}, over(err)
	}
	defer leave()
	dev := d.dev.Load()
	if dev == nil {
		return answer{}, drivers.ErrOffline
	}
	a, err := dev.ask(ctx, c, values)
	return a, over(err)
}

// Write implements drivers.Writer. It returns the value that the answer says to be
// set, if configuration says where, or v.
func (d *Driver) Write(ctx context.Context, id string, v drivers.Value) (drivers.Value, error) {
	i := slices.IndexFunc(d.plan.points, func(p *point) bool { return p.id == id && p.write != nil })
	if i < 0 {
		return nil, fmt.Errorf("write %.64s: no such writable point", id)
	}
	p := d.plan.points[i]
	s, err := p.form.Text(v)
	if err != nil {
		return nil, fmt.Errorf("write %s: value %w", id, err)
	}
	a, err := d.command(ctx, p.write, map[string]string{"value": s})
	if err != nil {
		return nil, fmt.Errorf("write %s: %w", id, err)
	}
	if p.back == nil {
		return v, nil
	}
	fields := make([]text.Field, 1)
	why := p.back.Parse(a.body, fields)
	if why == "" && fields[0].Kind == text.Absent {
		why = text.WhyField
	}
	var got drivers.Value
	if why == "" {
		got, why = p.form.Read(fields[0])
	}
	if why != "" {
		return nil, fmt.Errorf("write %s: %w: %s: %s", id, drivers.ErrNotVerified, why, clip(a.body))
	}
	return got, nil
}

// Do implements drivers.Doer. The result is a map with the status and the body of the
// answer, and the named groups of expect.
func (d *Driver) Do(ctx context.Context, id string, args map[string]any, _ func(any)) (any, error) {
	i := slices.IndexFunc(d.plan.actions, func(a *action) bool { return a.desc.ID == id })
	if i < 0 {
		return nil, fmt.Errorf("do %.64s: no such action", id)
	}
	act := d.plan.actions[i]
	values, err := act.args.Texts(args)
	if err != nil {
		return nil, fmt.Errorf("do %s: %w", id, err)
	}
	a, err := d.command(ctx, act.do, values)
	if err != nil {
		return nil, fmt.Errorf("do %s: %w", id, err)
	}
	result := map[string]any{"status": int64(a.status), "answer": strings.ToValidUTF8(string(a.body), "\uFFFD")}
	if act.do.expect == nil {
		return result, nil
	}
	m := act.do.expect.FindSubmatch(a.body)
	for i, name := range act.do.expect.SubexpNames() {
		if name != "" && m[i] != nil {
			result[name] = strings.ToValidUTF8(string(m[i]), "\uFFFD")
		}
	}
	return result, nil
}
