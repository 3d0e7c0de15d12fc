package hub

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"time"

	"gantry/drivers"
	"gantry/drivers/hub/internal/filter"
	"gantry/drivers/hub/internal/transform"
	"gantry/internal/lane"
	"gantry/wamp"
)

// action is what is fixed about an action of a device.
type action struct {
	desc drivers.Action
	args map[string]*spec
}

// newActions prepares the actions of a description.
func newActions(list []drivers.Action) (map[string]*action, error) {
	if err := checkActions(list); err != nil {
		return nil, err
	}
	actions := make(map[string]*action, len(list))
	for _, desc := range list {
		a := &action{desc: desc, args: make(map[string]*spec, len(desc.Args))}
		for i := range desc.Args {
			arg := &desc.Args[i]
			s, err := newSpec(arg, &DeviceConfig{}, PointConfig{}, false)
			if err != nil {
				return nil, err
			}
			if !ValidName(arg.ID) || a.args[arg.ID] != nil {
				return nil, bad("driver", allowedName+", each once", "the driver describes an argument %.80q of action %s", arg.ID, desc.ID)
			}
			a.args[arg.ID] = s
		}
		actions[desc.ID] = a
	}
	return actions, nil
}

// describe returns the action for sys.device.describe.
func (a *action) describe() wamp.Dict {
	args := make(wamp.List, 0, len(a.desc.Args))
	for i := range a.desc.Args {
		s := a.args[a.desc.Args[i].ID]
		arg := wamp.Dict{"arg": s.id, "type": s.typ.String()}
		if s.unit != "" {
			arg["unit"] = s.unit
		}
		if s.description != "" {
			arg["description"] = s.description
		}
		s.describeRange(arg)
		args = append(args, arg)
	}
	d := wamp.Dict{"action": a.desc.ID, "progressive": a.desc.Progressive, "args": args}
	if a.desc.Description != "" {
		d["description"] = a.desc.Description
	}
	return d
}

// call is one invocation, decoded.
type call struct {
	args     wamp.List
	kwargs   wamp.Dict
	inv      *wamp.Invocation
	progress func(wamp.Payload) error
}

// caller returns who calls.
func (c *call) caller() drivers.Caller {
	by := &c.inv.Details
	who := drivers.Caller{Session: uint64(by.Caller), AuthID: by.CallerAuthID, Role: by.CallerAuthRole}
	if len(by.ForwardFor) > 0 {
		who.ForAuthID, who.ForRole = by.ForwardFor[0].AuthID, by.ForwardFor[0].AuthRole
	}
	return who
}

// get serves gantry.<gw>.get.<dev>.<point>.
func (d *device) get(ctx context.Context, p *point, c *call) (wamp.Payload, error) {
	if len(c.args) > 0 {
		return wamp.Payload{}, invalid("get takes no positional arguments", wamp.Dict{"device": d.name, "point": p.id})
	}
	maxAge := time.Duration(-1)
	for k, v := range c.kwargs {
		ms, why := transform.Coerce(drivers.Int, v)
		if k != "max_age" || why != "" || ms.(int64) < 0 {
			return wamp.Payload{}, invalid("get takes max_age, in whole milliseconds from 0",
				wamp.Dict{"device": d.name, "point": p.id, "argument": clip(k, 64), "allowed": wamp.List{"max_age"}})
		}
		maxAge = time.Duration(min(ms.(int64), math.MaxInt64/int64(time.Millisecond))) * time.Millisecond
	}
	now := d.hub.now()
	d.mu.Lock()
	cached, arrived, some := p.last, p.arrived, p.some
	d.mu.Unlock()
	if some && maxAge >= 0 && now.Sub(arrived) <= maxAge {
		return d.result(p, cached, 0, true), nil
	}
	l, err := d.current()
	if err != nil {
		return wamp.Payload{}, d.answer(err, p.id)
	}
	reader, ok := l.driver.(drivers.Reader)
	if ok {
		var readings []drivers.Reading
		readings, err = d.read(ctx, l, reader, lane.Get, []string{p.id})
		if err == nil {
			return d.fresh(l, p, readings)
		}
		if !errors.Is(err, errors.ErrUnsupported) {
			d.count.errors.Add(1)
			return wamp.Payload{}, d.answer(err, p.id)
		}
	}
	if !some {
		return wamp.Payload{}, wamp.NewError(wamp.ErrURIOffline, p.id+" has not been reported yet",
			wamp.Dict{"device": d.name, "point": p.id, "reason": "no_reading"})
	}
	return d.result(p, cached, 0, true), nil
}

// fresh publishes the readings that a get brought and returns its result.
func (d *device) fresh(l *life, p *point, readings []drivers.Reading) (wamp.Payload, error) {
	var result filter.Sample
	found := false
	for _, r := range readings {
		s, _ := d.deliver(l.ctx, r, false)
		if r.Point == p.id {
			result, found = s, true
		}
	}
	if !found {
		return wamp.Payload{}, d.answer(fmt.Errorf("no answer for %s: %w", p.id, drivers.ErrTimeout), p.id)
	}
	return d.result(p, result, 0, false), nil
}

// result returns the payload that answers get and set. seq is that of the event
// with the same content, 0 for none.
func (d *device) result(p *point, s filter.Sample, seq int64, cached bool) wamp.Payload {
	kwargs := p.envelope(&s, d.hub, 7)
	if seq != 0 {
		kwargs["seq"] = seq
		kwargs["ep"] = d.hub.epoch
	}
	if cached {
		kwargs["cached"] = true
	}
	return wamp.Values(wamp.List{s.Value}, kwargs)
}

// set serves gantry.<gw>.set.<dev>.<point>.
func (d *device) set(ctx context.Context, p *point, c *call) (payload wamp.Payload, err error) {
	defer func(start time.Time) { d.audit("set", p.id, c, start, err) }(d.hub.now())
	if !p.writable {
		return wamp.Payload{}, wamp.NewError(wamp.ErrURIReadOnly, p.id+" cannot be written",
			wamp.Dict{"device": d.name, "point": p.id, "access": "r"})
	}
	if len(c.args) != 1 || len(c.kwargs) > 0 {
		return wamp.Payload{}, invalid("set takes one argument, the value", wamp.Dict{"device": d.name, "point": p.id, "type": p.typ.String()})
	}
	value, err := p.check(c.args[0], wamp.Dict{"device": d.name, "point": p.id})
	if err != nil {
		return wamp.Payload{}, err
	}
	s, seq, err := d.command(drivers.WithCaller(ctx, c.caller()), p, value)
	if err != nil {
		return wamp.Payload{}, err
	}
	return d.result(p, s, seq, false), nil
}

// do serves gantry.<gw>.do.<dev>.<action>.
func (d *device) do(ctx context.Context, a *action, c *call) (payload wamp.Payload, err error) {
	defer func(start time.Time) { d.audit("do", a.desc.ID, c, start, err) }(d.hub.now())
	args, err := a.check(d.name, c)
	if err != nil {
		return wamp.Payload{}, err
	}
	l, err := d.current()
	if err != nil {
		return wamp.Payload{}, d.answer(err, "")
	}
	doer, ok := l.driver.(drivers.Doer)
	if !ok {
		return wamp.Payload{}, d.answer(fmt.Errorf("driver has no actions: %w", drivers.ErrRefused), "")
	}
	priority := lane.Write
	if a.desc.Progressive {
		// It takes its time: it runs beside the other requests, but alone among
		// its like.
		priority = beside
		select {
		case l.acting <- struct{}{}:
		default:
			return wamp.Payload{}, d.answer(fmt.Errorf("another action runs: %w", drivers.ErrBusy), "")
		}
	}
	var out any
	err = l.request(drivers.WithCaller(ctx, c.caller()), priority, orDefault(d.cfg.ActionTimeout, DefaultActionTimeout), func(ctx context.Context) (err error) {
		if priority == beside {
			defer func() { <-l.acting }()
		}
		out, err = doer.Do(ctx, a.desc.ID, args, func(v any) {
			if ctx.Err() == nil {
				// A caller who did not ask for progress gets none.
				_ = c.progress(wamp.Args(v))
			}
		})
		return err
	})
	if err != nil {
		d.count.errors.Add(1)
		return wamp.Payload{}, d.answer(err, "")
	}
	if out == nil {
		return wamp.Payload{}, nil
	}
	return wamp.Args(out), nil
}

// check validates the keyword arguments of an action of the device.
func (a *action) check(device string, c *call) (map[string]any, error) {
	allowed := slices.Sorted(maps.Keys(a.args))
	if len(c.args) > 0 {
		return nil, invalid(a.desc.ID+" takes keyword arguments only", wamp.Dict{"device": device, "allowed": texts(allowed)})
	}
	args := make(map[string]any, len(c.kwargs))
	for k, v := range c.kwargs {
		s := a.args[k]
		if s == nil {
			return nil, invalid(fmt.Sprintf("%s takes no argument %.64q", a.desc.ID, k),
				wamp.Dict{"device": device, "argument": clip(k, 64), "allowed": texts(allowed)})
		}
		value, err := s.check(v, wamp.Dict{"device": device, "argument": k})
		if err != nil {
			return nil, err
		}
		args[k] = value
	}
	return args, nil
}

// answer turns the error of a driver or of a context into what callers get.
func (d *device) answer(err error, point string) error {
	details := wamp.Dict{"device": d.name}
	if point != "" {
		details["point"] = point
	}
	var own *wamp.Error
	uri := wamp.ErrURIRuntimeError
	switch {
	case errors.As(err, &own):
		return own
	case errors.Is(err, lane.ErrBusy), errors.Is(err, drivers.ErrBusy):
		uri = wamp.ErrURIBusy
	case errors.Is(err, drivers.ErrOffline):
		uri = wamp.ErrURIOffline
		d.mu.Lock()
		details["state"] = d.link.state.String()
		details["since"] = d.hub.clock.Stamp(d.link.since).TS
		if d.link.reason != "" {
			details["reason"] = d.link.reason
		}
		d.mu.Unlock()
	case errors.Is(err, drivers.ErrTimeout), errors.Is(err, context.DeadlineExceeded):
		uri = wamp.ErrURIDevTimeout
	case errors.Is(err, drivers.ErrNotVerified):
		uri = wamp.ErrURINotVerified
	case errors.Is(err, drivers.ErrRefused):
		uri = ErrURIRefused
	case errors.Is(err, context.Canceled):
		uri = wamp.ErrURICanceled
	}
	return wamp.NewError(uri, d.name+": "+clip(err.Error(), 200), details)
}

// invalid is the answer to arguments that are not those of the procedure.
func invalid(text string, details wamp.Dict) error {
	return wamp.NewError(wamp.ErrURIInvalidArgument, text, details)
}

// audit writes the line of one command to the device.
func (d *device) audit(verb, name string, c *call, start time.Time, err error) {
	d.hub.auditLine(verb, d.name, name, c, start, err)
}

// auditLine writes the line of one command: who, what, with which outcome.
func (h *Hub) auditLine(verb, device, name string, c *call, start time.Time, err error) {
	outcome := "done"
	var e *wamp.Error
	if errors.As(err, &e) {
		outcome = string(e.URI)
	} else if err != nil {
		outcome = "failed"
	}
	by := c.caller()
	line := []any{"verb", verb, "device", device, "name", name,
		"args", clip(fmt.Sprint(c.args), 64), "kwargs", clip(fmt.Sprint(c.kwargs), 128),
		"caller", by.Session, "authid", by.AuthID, "authrole", by.Role,
		"outcome", outcome, "took_us", h.now().Sub(start).Microseconds()}
	if by.ForAuthID != "" || by.ForRole != "" {
		line = append(line, "for_authid", clip(by.ForAuthID, 128), "for_authrole", clip(by.ForRole, 128))
	}
	h.audit.Info("command", line...)
}
