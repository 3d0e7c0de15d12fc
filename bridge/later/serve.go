package later

import (
	"context"
	"fmt"
	"strings"
	"time"

	"gantry/bridge"
	"gantry/wamp"
	"gantry/wamp/serialize"
)

// procedure is one registration.
type procedure struct {
	uri   wamp.URI
	match wamp.Match
	serve wamp.InvocationHandler
}

func (l *Later) procedures() []procedure {
	sys := func(verb string) wamp.URI { return wamp.URI("gantry." + l.cfg.Gateway + ".sys.job." + verb) }
	return []procedure{
		// Of every gateway: those that are away, too.
		{"gantry..later..", wamp.MatchWildcard, l.add},
		{sys("list"), wamp.MatchExact, l.list},
		{sys("get"), wamp.MatchExact, l.get},
		{sys("cancel"), wamp.MatchExact, l.cancel},
	}
}

func isSet(p wamp.URI) bool { return strings.Split(string(p), ".")[2] == "set" }

// linkOf takes gantry.<gw>.state.<dev>.link apart.
func linkOf(topic wamp.URI) (gateway, device string, ok bool) {
	p := strings.Split(string(topic), ".")
	if len(p) != 5 || p[2] != "state" {
		return "", "", false
	}
	return p[1], p[3], true
}

func invalid(why, text string, more wamp.Dict) error {
	d := wamp.Dict{"why": why}
	for k, v := range more {
		d[k] = v
	}
	return wamp.NewError(wamp.ErrURIInvalidArgument, text, d)
}

// add serves gantry.<gw>.later.<dev>.<verb>.
func (l *Later) add(ctx context.Context, inv *wamp.Invocation, _ func(wamp.Payload) error) (wamp.Payload, error) {
	args, kwargs, err := serialize.Values(inv.Payload)
	if err != nil {
		return wamp.Payload{}, invalid("undecodable", "arguments cannot be decoded", nil)
	}
	j, err := l.target(inv.Details.Procedure, args)
	if err != nil {
		return wamp.Payload{}, err
	}
	replace, err := l.options(&j, kwargs)
	if err != nil {
		return wamp.Payload{}, err
	}
	j.ID, j.AuthID, j.AuthRole = l.deps.NewID(), inv.Details.CallerAuthID, inv.Details.CallerAuthRole
	if err := l.permit(ctx, inv, j.Procedure); err != nil {
		return wamp.Payload{}, err
	}
	var id string
	asked := l.do(ctx, func(q *Queue) {
		var changes []Job
		if id, changes, err = q.Add(j, replace); err == nil && len(changes) > 0 {
			err = l.commit(ctx, q, changes...)
		}
		if cur, ok := q.Get(id); err == nil && ok {
			j = cur
		}
	})
	if asked != nil || err != nil {
		if asked != nil {
			err = asked
		}
		return wamp.Payload{}, err
	}
	return wamp.Values(wamp.List{j.ID}, wamp.Dict{"state": string(j.State), "gateway": l.cfg.Gateway}), nil
}

// permit asks whether the caller may call procedure.
func (l *Later) permit(ctx context.Context, inv *wamp.Invocation, procedure wamp.URI) error {
	ok, err := l.deps.Allow(ctx, inv.Details.CallerAuthID, inv.Details.CallerAuthRole, procedure)
	switch {
	case err != nil:
		return wamp.NewError(wamp.ErrURIAuthorizationFailed, "whether you may call "+string(procedure)+" cannot be found out", nil)
	case !ok:
		return wamp.NewError(wamp.ErrURINotAuthorized, "you may not call "+string(procedure), wamp.Dict{"procedure": string(procedure)})
	}
	return nil
}

// target makes the job of a name and its arguments: [point, value] of set, [action]
// or [action, arguments] of do.
func (l *Later) target(asked wamp.URI, args wamp.List) (j Job, err error) {
	p := strings.Split(string(asked), ".")
	if len(p) != 5 || !bridge.ValidName(p[1]) || !bridge.ValidName(p[3]) || p[4] != "set" && p[4] != "do" {
		return j, wamp.NewError(wamp.ErrURINoSuchProcedure, "no such command", wamp.Dict{"allowed": wamp.List{"gantry.<gw>.later.<dev>.set", "gantry.<gw>.later.<dev>.do"}})
	}
	var name string
	if len(args) > 0 {
		name, _ = args[0].(string)
	}
	if !bridge.ValidName(name) {
		return j, invalid("name", "the first argument is the name of a point or an action", wamp.Dict{"argument": int64(0), "allowed": "1 to 64 of a-z 0-9 _"})
	}
	rest, with := args[1:], wamp.Dict(nil)
	switch {
	case p[4] == "set" && len(rest) != 1:
		return j, invalid("arguments", "takes a point and its value", nil)
	case p[4] == "do" && len(rest) == 1:
		var ok bool
		if with, ok = rest[0].(wamp.Dict); !ok {
			return j, invalid("arguments", "the arguments of an action are a dictionary", wamp.Dict{"argument": int64(1)})
		}
		rest = nil
	case p[4] == "do" && len(rest) > 1:
		return j, invalid("arguments", "takes an action and a dictionary of its arguments", nil)
	}
	j.Procedure = wamp.URI(strings.Join([]string{p[0], p[1], p[4], p[3], name}, "."))
	if j.Payload, err = pack(rest, with); err != nil {
		return j, invalid("arguments", clip(err.Error()), nil)
	}
	if len(j.Payload) > l.cfg.MaxBytes {
		return j, wamp.NewError(wamp.ErrURILimit, "the arguments are too large", wamp.Dict{"bytes": int64(len(j.Payload)), "max": int64(l.cfg.MaxBytes)})
	}
	return j, nil
}

// options reads the keywords.
func (l *Later) options(j *Job, kwargs wamp.Dict) (replace bool, err error) {
	now := l.deps.Clock()
	j.Created = now.Wall.UnixMicro()
	for k, v := range kwargs {
		ok := true
		switch k {
		case "key":
			j.Key, ok = v.(string)
			ok = ok && j.Key != "" && len(j.Key) <= 64
		case "replace":
			replace, ok = v.(bool)
		case "again":
			j.Again, ok = v.(bool)
		case "ttl_ms", "expires":
			ok = kwargs["ttl_ms"] == nil || kwargs["expires"] == nil
			if ok {
				j.Expires, err = l.instant(now, k, v)
			}
		case "delay_ms", "not_before":
			ok = kwargs["delay_ms"] == nil || kwargs["not_before"] == nil
			if ok {
				j.NotBefore, err = l.instant(now, k, v)
			}
		default:
			ok = false
		}
		if err != nil {
			return false, err
		}
		if !ok {
			return false, invalid("keyword", fmt.Sprintf("keyword %.40q is not as it should be", k), wamp.Dict{"argument": clip(k), "allowed": wamp.List{
				"key: 1 to 64 bytes", "ttl_ms or expires", "delay_ms or not_before", "replace: bool", "again: bool"}})
		}
	}
	switch {
	case j.Expires == (Instant{}):
		return false, invalid("expires", "a queued command needs ttl_ms or expires", nil)
	case now.expired(j.Expires) != no:
		return false, wamp.NewError(wamp.ErrURIExpired, "the command has expired already", nil)
	case j.NotBefore != (Instant{}) && j.NotBefore.Up >= j.Expires.Up:
		return false, invalid("not_before", "the command expires before it may be called", nil)
	}
	return replace, nil
}

// instant reads milliseconds from now, or microseconds UTC.
func (l *Later) instant(now Moment, key string, v any) (Instant, error) {
	n, ok := v.(int64)
	d := time.Duration(0)
	switch {
	case !ok || n < 0:
		return Instant{}, invalid("type", key+" is no whole number from 0", wamp.Dict{"argument": key})
	case strings.HasSuffix(key, "_ms"):
		if n <= l.cfg.MaxAge.Milliseconds() {
			d = time.Duration(n) * time.Millisecond
		} else {
			d = l.cfg.MaxAge + 1
		}
	case !now.Synced:
		return Instant{}, invalid("clock_not_set", "the gateway's clock is not set: "+key+" means nothing to it; use ttl_ms or delay_ms", wamp.Dict{"argument": key})
	default:
		d = time.UnixMicro(n).Sub(now.Wall)
	}
	if d > l.cfg.MaxAge {
		return Instant{}, wamp.NewError(wamp.ErrURIOutOfRange, key+" is too far away", wamp.Dict{"argument": key, "max_ms": l.cfg.MaxAge.Milliseconds()})
	}
	i := now.In(d)
	if key == "expires" || key == "not_before" {
		i.Wall = n
	}
	return i, nil
}

// list serves gantry.<gw>.sys.job.list: the jobs whose procedures the caller may call.
func (l *Later) list(ctx context.Context, inv *wamp.Invocation, _ func(wamp.Payload) error) (wamp.Payload, error) {
	var all []Job
	if err := l.do(ctx, func(q *Queue) { all = q.All() }); err != nil {
		return wamp.Payload{}, err
	}
	out := wamp.List{}
	for i := range all {
		if l.permit(ctx, inv, all[i].Procedure) == nil {
			out = append(out, all[i].show())
		}
	}
	return wamp.Args(out), nil
}

// named returns the job that the only argument names.
func (l *Later) named(ctx context.Context, inv *wamp.Invocation) (j Job, err error) {
	args, _, err := serialize.Values(inv.Payload)
	var id string
	if err == nil && len(args) == 1 {
		id, _ = args[0].(string)
	}
	found := false
	if err := l.do(ctx, func(q *Queue) { j, found = q.Get(id) }); err != nil {
		return j, err
	}
	if !found || l.permit(ctx, inv, j.Procedure) != nil {
		return j, invalid("job", fmt.Sprintf("there is no job %.64q", id), nil)
	}
	return j, nil
}

// get serves gantry.<gw>.sys.job.get.
func (l *Later) get(ctx context.Context, inv *wamp.Invocation, _ func(wamp.Payload) error) (wamp.Payload, error) {
	j, err := l.named(ctx, inv)
	if err != nil {
		return wamp.Payload{}, err
	}
	d := j.show()
	if args, kwargs, err := unpack(j.Payload); err == nil {
		d["args"], d["kwargs"] = args, kwargs
	}
	return wamp.Args(d), nil
}

// cancel serves gantry.<gw>.sys.job.cancel.
func (l *Later) cancel(ctx context.Context, inv *wamp.Invocation, _ func(wamp.Payload) error) (wamp.Payload, error) {
	j, err := l.named(ctx, inv)
	if err != nil {
		return wamp.Payload{}, err
	}
	asked := l.do(ctx, func(q *Queue) {
		var c Job
		if c, err = q.Cancel(j.ID, l.deps.Clock().Wall); err == nil {
			err = l.commit(ctx, q, c)
		}
	})
	if asked != nil {
		err = asked
	}
	return wamp.Args(j.ID), err
}
