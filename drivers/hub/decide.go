package hub

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"gantry/wamp"
)

// dict describes a candidate, or one that is ignored and not there.
func (f *finds) dict(key string) wamp.Dict {
	kind, id, _ := strings.Cut(key, ":")
	d := wamp.Dict{"candidate": key, "kind": kind, "id": id, "state": f.state(key), "present": false}
	if name := f.accepted[key]; name != "" {
		d["device"] = name
	}
	c := f.list[key]
	if c == nil {
		return d
	}
	d["present"], d["name"], d["source"], d["since"] = !c.gone, c.Name, c.source.Name, f.hub.clock.Stamp(c.since).TS
	for k, v := range map[string]string{"model": c.Model, "description": c.Description, "why": c.why} {
		if v != "" {
			d[k] = clip(v, 400)
		}
	}
	return d
}

// pending serves gantry.<gw>.sys.device.pending.
func (f *finds) pending(ctx context.Context, c *call) (wamp.Payload, error) {
	all := false
	for k, v := range c.kwargs {
		is, ok := v.(bool)
		if k != "all" || !ok {
			return wamp.Payload{}, invalid("pending takes all, true or false", wamp.Dict{"argument": clip(k, 64), "allowed": wamp.List{"all"}})
		}
		all = is
	}
	if len(c.args) > 0 {
		return wamp.Payload{}, invalid("pending takes no positional arguments", nil)
	}
	leave, err := f.enter(ctx)
	if err != nil {
		return wamp.Payload{}, err
	}
	defer leave()
	keys := maps.Clone(f.ignored)
	for key := range f.list {
		keys[key] = true
	}
	list := wamp.List{}
	for _, key := range slices.Sorted(maps.Keys(keys)) {
		if all || f.state(key) == pending {
			list = append(list, f.dict(key))
		}
	}
	return wamp.Args(list), nil
}

// keyOf returns the only positional argument, the key of a candidate.
func keyOf(c *call, kwargs ...string) (string, error) {
	for k := range c.kwargs {
		if !slices.Contains(kwargs, k) {
			return "", invalid("there is no such argument", wamp.Dict{"argument": clip(k, 64), "allowed": texts(kwargs)})
		}
	}
	if len(c.args) == 1 {
		if key, ok := c.args[0].(string); ok {
			return key, nil
		}
	}
	return "", invalid("takes one argument, a candidate as sys.device.pending lists it", nil)
}

// unknown is the answer for a key that nobody has.
func (f *finds) unknown(key string) error {
	return wamp.NewError(wamp.ErrURIInvalidArgument, fmt.Sprintf("there is no candidate %.140q", key),
		wamp.Dict{"candidate": clip(key, 140), "allowed": texts(slices.Sorted(maps.Keys(f.list)))})
}

// decide serializes a decision, serves it and writes its audit line.
func (f *finds) decide(ctx context.Context, verb string, c *call, serve func(key string) (wamp.Payload, error), kwargs ...string) (payload wamp.Payload, err error) {
	key, err := keyOf(c, kwargs...)
	if err != nil {
		return wamp.Payload{}, err
	}
	leave, err := f.enter(ctx)
	if err != nil {
		return wamp.Payload{}, err
	}
	defer leave()
	start := f.hub.now()
	payload, err = serve(key)
	f.hub.auditLine(verb, f.accepted[key], clip(key, 140), c, start, err)
	return payload, err
}

// accept serves gantry.<gw>.sys.device.accept: the candidate becomes a device.
func (f *finds) accept(ctx context.Context, c *call) (wamp.Payload, error) {
	return f.decide(ctx, "accept", c, func(key string) (wamp.Payload, error) {
		found := f.list[key]
		if found == nil {
			return wamp.Payload{}, f.unknown(key)
		}
		name := found.Name
		if given, is := c.kwargs["name"]; is {
			name, _ = given.(string)
		}
		if !ValidName(name) {
			return wamp.Payload{}, invalid(fmt.Sprintf("%.80q cannot name a device; say name", name), wamp.Dict{"argument": "name", "allowed": allowedName})
		}
		if is := f.accepted[key]; is != "" {
			return wamp.Payload{}, invalid(fmt.Sprintf("%s is device %s already; forget it first", key, is), wamp.Dict{"candidate": key, "device": is})
		}
		if f.hub.device(name) != nil {
			return wamp.Payload{}, invalid(fmt.Sprintf("there is a device %s already; say another name", name), wamp.Dict{"argument": "name", "device": name})
		}
		if err := f.adopt(found, name); err != nil {
			return wamp.Payload{}, wamp.NewError(wamp.ErrURIBadConfig, clip(err.Error(), 1000), wamp.Dict{"candidate": key, "device": name})
		}
		return wamp.Args(name), nil
	}, "name")
}

// adopt makes a device of a candidate, and keeps that.
func (f *finds) adopt(c *candidate, name string) error {
	dev, err := f.build(c, name, DeviceConfig{Driver: c.Kind})
	if err == nil {
		err = CheckDevice(dev)
	}
	if err != nil {
		return err
	}
	key := c.Key()
	if f.ignored[key] {
		if err := f.keepIgnored(key, false); err != nil {
			return err
		}
	}
	about := strings.Trim(c.Model+": "+c.Description, ": ")
	if err := f.decisions.Accept(Acceptance{Device: name, Kind: c.Kind, ID: c.ID, About: about}); err != nil {
		return err
	}
	return f.admit(c, name)
}

// keepIgnored keeps that a candidate is ignored, or not any more.
func (f *finds) keepIgnored(key string, is bool) error {
	next := maps.Clone(f.ignored)
	delete(next, key)
	if is {
		next[key] = true
	}
	if err := f.decisions.Ignore(slices.Sorted(maps.Keys(next))); err != nil {
		return err
	}
	f.ignored = next
	return nil
}

// ignore serves gantry.<gw>.sys.device.ignore: nobody wants to hear of the candidate.
func (f *finds) ignore(ctx context.Context, c *call) (wamp.Payload, error) {
	return f.decide(ctx, "ignore", c, func(key string) (wamp.Payload, error) {
		found, name := f.list[key], f.accepted[key]
		switch {
		case found == nil && !f.ignored[key]:
			return wamp.Payload{}, f.unknown(key)
		case name != "" && !found.bySelf:
			return wamp.Payload{}, invalid(fmt.Sprintf("%s is device %s; forget it first", key, name), wamp.Dict{"candidate": key, "device": name})
		}
		if err := f.keepIgnored(key, true); err != nil {
			return wamp.Payload{}, wamp.NewError(wamp.ErrURIBadConfig, clip(err.Error(), 1000), wamp.Dict{"candidate": key})
		}
		if name != "" {
			f.remove(key)
			found.bySelf = false
		}
		return wamp.Args(key), nil
	})
}

// forget serves gantry.<gw>.sys.device.forget: what was decided about the candidate
// is undone.
func (f *finds) forget(ctx context.Context, c *call) (wamp.Payload, error) {
	return f.decide(ctx, "forget", c, func(key string) (wamp.Payload, error) {
		found, name := f.list[key], f.accepted[key]
		var err error
		switch {
		case f.ignored[key]:
			err = f.keepIgnored(key, false)
		case name == "":
			return wamp.Payload{}, wamp.NewError(wamp.ErrURIInvalidArgument, fmt.Sprintf("nothing has been decided about %.140q", key), wamp.Dict{"candidate": clip(key, 140)})
		case found != nil && found.bySelf:
			return wamp.Payload{}, invalid(key+" is accepted by the configuration; ignore it instead", wamp.Dict{"candidate": key, "device": name})
		default:
			if err = f.decisions.Forget(name); err == nil {
				f.remove(key)
			}
		}
		if err != nil {
			return wamp.Payload{}, wamp.NewError(wamp.ErrURIBadConfig, clip(err.Error(), 1000), wamp.Dict{"candidate": key})
		}
		if f.list[key] != nil && found.source.Config.Accept == AcceptAll {
			f.acceptBySelf(found)
		}
		return wamp.Args(key), nil
	})
}
