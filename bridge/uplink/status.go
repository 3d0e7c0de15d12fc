package uplink

import (
	"context"

	"gantry/bridge"
	"gantry/wamp"
	"gantry/wamp/client"
)

// StatusProcedure returns the procedure that ServeStatus registers.
func StatusProcedure(gateway string) wamp.URI {
	return wamp.URI("gantry." + gateway + ".sys.queue.status")
}

// Status returns the state of the uplink as the procedure reports it: what the
// queue counts (appended, committed, acknowledged, bytes, dropped ...; the last two and
// their like with those of the urgent queue; none of the numbers counts that stand for
// what a crash may have cost) and
//
//	connected, since    state of the link, and when it changed (microseconds UTC)
//	reason              why it is not connected
//	depth               events that wait: appended - acknowledged, the urgent ones included
//	urgent              of those, the ones that go past the others
//	dead_letters        events that were refused for good
//	stored, sent        events since the start, into the queue and acknowledged
//	replayed            of those sent, the ones older than the connection
//	live                newest values that went past the queue
//	filtered            events that the filters left out
//	connections         connections made
//	refused, unfit      refusals by the far router; events that could not be stored
//	lost                events lost from the queue, as the far side was told
func (u *Uplink) Status() wamp.Dict {
	now, _ := u.link.State()
	d := wamp.Dict{
		"connected": now.State == bridge.Online, "since": now.Since.UnixMicro(),
		"stored": u.stored.Load(), "sent": u.sent.Load(), "replayed": u.replayed.Load(),
		"live": u.live.Load(), "filtered": u.filtered.Load(), "connections": u.connections.Load(),
		"refused": u.refused.Load(), "unfit": u.unfit.Load(), "lost": u.lost.Load(),
	}
	if now.State != bridge.Online {
		d["reason"] = now.Reason
	}
	c := events(u.deps.Queue)
	depth, urgent := c["appended"]-c["acknowledged"], uint64(0)
	if u.deps.Urgent != nil {
		more := events(u.deps.Urgent)
		urgent = more["appended"] - more["acknowledged"]
		for _, k := range []string{"bytes", "pending", "files", "dropped", "rejected"} {
			c[k] += more[k]
		}
		c["failing"] = max(c["failing"], more["failing"])
	}
	for k, v := range c {
		d[k] = v
	}
	d["depth"], d["urgent"] = depth+urgent, urgent
	dead := u.deps.DeadLetters.Counters()
	d["dead_letters"] = dead["appended"] - dead["acknowledged"]
	return d
}

// events returns the counters of a queue without the numbers that stand for what crashes
// may have cost; the cursor is not above the end.
func events(q Queue) map[string]uint64 {
	c := q.Counters()
	all, waiting := c["crashes"], c["crashes_waiting"]
	delete(c, "crashes")
	delete(c, "crashes_waiting")
	c["appended"] -= all
	// Whatever a crash has cost is settled when the queue is opened.
	c["committed"] -= all
	c["acknowledged"] = min(c["acknowledged"]-min(all-waiting, c["acknowledged"]), c["appended"])
	return c
}

// ServeStatus registers gantry.<gateway>.sys.queue.status, which tells what has
// been stored for good and what the far routers have acknowledged. Its result is
// one dict, name of the uplink -> Status; with a name as the argument it is that
// uplink's Status. The returned function takes the procedure back.
func ServeStatus(ctx context.Context, local wamp.Session, gateway string, uplinks []*Uplink) (func(context.Context) error, error) {
	type question struct {
		Name *string `wamp:"0,optional"`
	}
	return client.Register(ctx, local, StatusProcedure(gateway), func(_ context.Context, q question) (wamp.Dict, error) {
		all := wamp.Dict{}
		for _, u := range uplinks {
			if q.Name != nil && *q.Name == u.name {
				return u.Status(), nil
			}
			all[u.name] = u.Status()
		}
		if q.Name != nil {
			return nil, wamp.NewError(wamp.ErrURIInvalidArgument, "no uplink of that name", nil)
		}
		return all, nil
	})
}
