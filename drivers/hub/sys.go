package hub

import (
	"context"
	"fmt"
	"strings"

	"gantry/drivers"
	"gantry/wamp"
)

// procedure is one registration of the hub.
type procedure struct {
	uri      wamp.URI
	match    wamp.Match
	optional bool             // a refusal is no fault
	about    func() wamp.Dict // describes it for reflection; nil = not described
	serve    func(ctx context.Context, c *call) (wamp.Payload, error)
}

// procedures returns those of one device: what can be read, written and done,
// each under its exact name, so that the router's meta API is the inventory.
func (d *device) procedures() []procedure {
	gw := d.hub.cfg.Gateway
	var list []procedure
	for _, p := range d.points {
		if p.readable {
			list = append(list, procedure{uri: GetProcedure(gw, d.name, p.id), about: p.describe, serve: func(ctx context.Context, c *call) (wamp.Payload, error) { return d.get(ctx, p, c) }})
		}
		if p.writable {
			list = append(list, procedure{uri: SetProcedure(gw, d.name, p.id), about: p.describe, serve: func(ctx context.Context, c *call) (wamp.Payload, error) { return d.set(ctx, p, c) }})
		}
	}
	for i := range d.desc.Actions {
		a := d.actions[d.desc.Actions[i].ID]
		list = append(list, procedure{uri: DoProcedure(gw, d.name, a.desc.ID), about: a.describe, serve: func(ctx context.Context, c *call) (wamp.Payload, error) { return d.do(ctx, a, c) }})
	}
	return list
}

// procedures returns the hub's own: sys.device.*, and the patterns that answer
// for names that nobody has registered, with an error that says what there is.
func (h *Hub) procedures() []procedure {
	list := []procedure{
		{uri: SysProcedure(h.cfg.Gateway, "list"), serve: h.list},
		{uri: SysProcedure(h.cfg.Gateway, "describe"), serve: h.describe},
		{uri: SysProcedure(h.cfg.Gateway, "restart"), serve: h.restart},
		{uri: SysProcedure(h.cfg.Gateway, "keepalive"), serve: h.keepalive},
		{uri: SysProcedure(h.cfg.Gateway, "pending"), serve: h.finds.pending},
		{uri: SysProcedure(h.cfg.Gateway, "accept"), serve: h.finds.accept},
		{uri: SysProcedure(h.cfg.Gateway, "ignore"), serve: h.finds.ignore},
		{uri: SysProcedure(h.cfg.Gateway, "forget"), serve: h.finds.forget},
	}
	for _, class := range []string{"get", "set", "do"} {
		list = append(list, procedure{uri: uri(h.cfg.Gateway, class, "", ""), match: wamp.MatchWildcard, optional: true, serve: h.fallback})
	}
	return list
}

// list serves gantry.<gw>.sys.device.list.
func (h *Hub) list(context.Context, *call) (wamp.Payload, error) {
	all := h.Devices()
	list := make(wamp.List, len(all))
	for i := range all {
		list[i] = all[i].dict()
	}
	return wamp.Args(list), nil
}

// dict returns the status for sys.device.list.
func (s *Status) dict() wamp.Dict {
	c := &s.Counters
	d := wamp.Dict{
		"device": s.Device, "driver": s.Driver, "state": s.State.String(), "since": s.Since.UnixMicro(),
		"points": int64(s.Points), "actions": int64(s.Actions), "latency_us": s.Latency.Microseconds(),
		"counters": wamp.Dict{
			"readings": int64(c.Readings), "published": int64(c.Published), "suppressed": int64(c.Suppressed),
			"dropped": int64(c.Dropped), "garbage": int64(c.Garbage), "errors": int64(c.Errors),
			"restarts": int64(c.Restarts), "panics": int64(c.Panics),
			"polls": int64(c.Polls), "missed": int64(c.Missed), "requests": int64(c.Requests),
		},
	}
	for k, v := range map[string]string{"label": s.Label, "model": s.Model, "wire": s.Wire, "found": s.Found, "reason": s.Reason} {
		if v != "" {
			d[k] = v
		}
	}
	return d
}

// named returns the device that the only argument names.
func (h *Hub) named(c *call) (*device, error) {
	if len(c.args) == 1 && len(c.kwargs) == 0 {
		if name, ok := c.args[0].(string); ok {
			if d := h.device(name); d != nil {
				return d, nil
			}
			return nil, h.noDevice(wamp.ErrURIInvalidArgument, name)
		}
	}
	return nil, invalid("takes one argument, the name of a device", wamp.Dict{"allowed": texts(h.names())})
}

func (h *Hub) noDevice(code wamp.URI, name string) error {
	return wamp.NewError(code, fmt.Sprintf("there is no device %.64q", name),
		wamp.Dict{"device": clip(name, 64), "allowed": texts(h.names())})
}

// describe serves gantry.<gw>.sys.device.describe.
func (h *Hub) describe(_ context.Context, c *call) (wamp.Payload, error) {
	d, err := h.named(c)
	if err != nil {
		return wamp.Payload{}, err
	}
	s := d.status()
	out := s.dict()
	points := make(wamp.List, len(d.points))
	d.mu.Lock()
	for i, p := range d.points {
		desc := p.describe()
		if p.some {
			last := p.envelope(&p.last, h, 6)
			last["value"] = p.last.Value
			desc["last"] = last
		}
		points[i] = desc
	}
	if d.lastGarbage != "" {
		out["last_garbage"] = d.lastGarbage
	}
	d.mu.Unlock()
	actions := make(wamp.List, len(d.desc.Actions))
	for i := range actions {
		actions[i] = d.actions[d.desc.Actions[i].ID].describe()
	}
	out["points"], out["actions"] = points, actions
	return wamp.Args(out), nil
}

// restart serves gantry.<gw>.sys.device.restart.
func (h *Hub) restart(_ context.Context, c *call) (payload wamp.Payload, err error) {
	d, err := h.named(c)
	if err != nil {
		return wamp.Payload{}, err
	}
	defer d.audit("restart", "", c, h.now(), nil)
	d.restart()
	return wamp.Args(d.name), nil
}

// keepalive serves gantry.<gw>.sys.device.keepalive: the controller of a device is
// there, so its points need no safe values.
func (h *Hub) keepalive(_ context.Context, c *call) (wamp.Payload, error) {
	d, err := h.named(c)
	if err != nil {
		return wamp.Payload{}, err
	}
	now := h.now()
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, p := range d.points {
		if p.dead != nil {
			p.dead.Fed(now)
		}
	}
	return wamp.Args(d.name), nil
}

// fallback serves the pattern registrations of get, set and do.
func (h *Hub) fallback(ctx context.Context, c *call) (wamp.Payload, error) {
	procedure := string(c.inv.Details.Procedure)
	part := strings.Split(procedure, ".")
	if len(part) != 5 {
		return wamp.Payload{}, wamp.NewError(wamp.ErrURINoSuchProcedure, "there is no procedure "+clip(procedure, 200), nil)
	}
	class, name, id := part[2], part[3], part[4]
	d := h.device(name)
	if d == nil {
		return wamp.Payload{}, h.noDevice(wamp.ErrURINoSuchProcedure, name)
	}
	if d.found != "" && len(d.points)+len(d.actions) == 0 {
		return wamp.Payload{}, d.answer(drivers.ErrOffline, "")
	}
	kind, allowed := "point", d.ids(class)
	if class == "do" {
		kind = "action"
		if a := d.actions[id]; a != nil {
			return d.do(ctx, a, c)
		}
	} else if p := d.byID[id]; p != nil {
		switch {
		case class == "set":
			return d.set(ctx, p, c)
		case p.readable:
			return d.get(ctx, p, c)
		}
	}
	return wamp.Payload{}, wamp.NewError(wamp.ErrURINoSuchProcedure,
		fmt.Sprintf("%s of %s: there is no %s %.64q", class, name, kind, id),
		wamp.Dict{"device": name, kind: clip(id, 64), "allowed": texts(allowed)})
}

// ids returns the names that a class of procedures has for the device.
func (d *device) ids(class string) []string {
	var list []string
	if class == "do" {
		for i := range d.desc.Actions {
			list = append(list, d.desc.Actions[i].ID)
		}
		return list
	}
	for _, p := range d.points {
		if class == "get" && p.readable || class == "set" && p.writable {
			list = append(list, p.id)
		}
	}
	return list
}
