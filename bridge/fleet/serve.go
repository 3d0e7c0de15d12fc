package fleet

import (
	"context"
	"errors"

	"gantry/wamp"
	"gantry/wamp/client"
)

// procedure returns gantry.<hub>.sys.fleet.<verb>.
func (f *Fleet) procedure(verb string) wamp.URI {
	return wamp.URI("gantry." + f.origin.Gateway() + ".sys.fleet." + verb)
}

// serve registers the procedures list, gaps and alarms.
func (f *Fleet) serve(ctx context.Context) error {
	var errs []error
	for verb, list := range map[string]func() wamp.List{"list": f.list, "gaps": f.gaps, "alarms": f.alarms} {
		_, err := client.Register(ctx, f.sess, f.procedure(verb), func(context.Context, struct{}) (wamp.List, error) { return list(), nil })
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

func (f *Fleet) list() wamp.List {
	out := wamp.List{}
	for _, g := range f.Gateways() {
		d := wamp.Dict{
			"gateway": g.Name, "connected": g.Connected, "since": g.Since, "seen": g.Seen, "newest": g.Newest, "replay": g.Replay,
			"events": int64(g.Events), "streams": int64(g.Streams), "missing": int64(g.Missing - g.Late), "late": int64(g.Late),
			"doubles": int64(g.Doubles), "gaps": int64(g.Gaps), "alarms": int64(g.Alarms),
		}
		if g.Depth >= 0 {
			d["behind"] = g.Depth
		}
		if s, known := g.behind(); known {
			d["behind_s"] = s
		}
		out = append(out, d)
	}
	return out
}

// behind is how old what comes next is, in seconds: as the gateway says, or else by
// what came last out of its queue.
func (g *Gateway) behind() (seconds float64, known bool) {
	switch {
	case g.Age >= 0:
		return float64(g.Age/1000) / 1000, true
	case g.Depth == 0:
		return 0, true
	case g.Replay && g.Newest > 0 && g.Seen >= g.Newest:
		return float64((g.Seen-g.Newest)/1000) / 1000, true
	}
	return 0, false
}

func (f *Fleet) gaps() wamp.List {
	f.mu.Lock()
	all := f.view.Gaps()
	f.mu.Unlock()
	out := make(wamp.List, len(all))
	for i := range all {
		out[i] = all[i].dict()
	}
	return out
}

func (g *Gap) dict() wamp.Dict {
	return wamp.Dict{
		"topic": g.Topic, "kind": g.Kind, "ep": int64(g.Epoch), "from": int64(g.From), "to": int64(g.To), "at": g.At, "uncertain": g.Uncertain,
	}
}

func (f *Fleet) alarms() wamp.List {
	f.mu.Lock()
	all := f.view.Alarms()
	f.mu.Unlock()
	out := make(wamp.List, len(all))
	for i, a := range all {
		out[i] = wamp.Dict{"topic": a.Topic, "state": a.State, "at": a.At, "ts": a.Measured}
	}
	return out
}
