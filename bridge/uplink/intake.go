package uplink

import (
	"context"

	"gantry/wamp"
	"gantry/wamp/serialize"
)

// subscribe begins to store events. leave ends what it has begun.
func (u *Uplink) subscribe(ctx context.Context) (leave func(context.Context), err error) {
	var undo []func(context.Context) error
	leave = func(ctx context.Context) {
		for _, f := range undo {
			// The session may be gone, and the subscriptions with it.
			_ = f(ctx)
		}
	}
	if u.deps.Source != nil {
		return leave, nil
	}
	for _, class := range u.cfg.Forward {
		// What was published before, by devices that started first, is kept by the
		// local router at least in its last value.
		opts := wamp.SubscribeOptions{Match: wamp.MatchPrefix, GetRetained: retained(class)}
		f, err := u.deps.Local.Subscribe(ctx, u.prefix(class), opts, u.storer(ctx, class))
		if err != nil {
			return leave, err
		}
		undo = append(undo, f)
	}
	return leave, nil
}

// storer returns the handler that puts the events of a class into the queue. It
// blocks while the queue has no room; the local router then stops reading from
// those who publish.
func (u *Uplink) storer(ctx context.Context, class string) wamp.EventHandler {
	prefix, confirmed, retain := u.prefix(class), u.cfg.Buffer.confirmed(class), retained(class)
	queue := u.queue(prefix)
	var buf []byte // the handler runs in one goroutine, and the queue copies
	return func(ev *wamp.Event) {
		topic := ev.Details.Topic
		if !prefix.Matches(wamp.MatchPrefix, topic) || TellsQueue(topic) {
			return
		}
		if !u.filter.passes(topic) {
			u.filtered.Add(1)
			return
		}
		r := record{topic: topic, retain: retain, payload: ev.Payload, passthru: ev.Details.Passthru}
		if r.payload.Format() == wamp.NoFormat {
			var err error
			if r.payload, err = serialize.Encode(wamp.CBOR, ev.Payload); err != nil {
				u.unfit.Add(1)
				u.complain("an event cannot be stored", "topic", string(topic), "error", err)
				return
			}
		}
		buf = r.append(buf[:0])
		seq, err := queue.Enqueue(ctx, buf, confirmed)
		if err == nil {
			u.stored.Add(1)
			for _, s := range u.sharers {
				if class == "point" && !s.cfg.NoLive && s.sends(&r) {
					s.lane.put(topic, seq, buf)
				}
			}
		} else if ctx.Err() == nil {
			u.unfit.Add(1)
			u.complain("an event was not stored", "topic", string(topic), "error", err)
		}
	}
}
