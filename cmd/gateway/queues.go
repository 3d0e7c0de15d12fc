package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"gantry/bridge/mqtt"
	"gantry/bridge/uplink"
	"gantry/store"
	"gantry/wamp"
	"gantry/wamp/client"
)

var (
	_ uplink.Queue       = tap{}
	_ uplink.DeadLetters = (*store.Outbox)(nil)
	_ mqtt.Parking       = (*store.Outbox)(nil)
)

const (
	// deadLetterBytes bounds what a far router has refused for good.
	deadLetterBytes = 4 << 20
	// parkedBytes bounds the messages of a broker that the realm refuses.
	parkedBytes = 1 << 20
	// urgentShare is the part of an uplink's bound that its urgent events have beside
	// it, urgentBytes the least.
	urgentShare = 16
	urgentBytes = 1 << 20
)

// onFull turns the words of the configuration into the store's policies.
var onFull = map[string]store.Policy{"drop-oldest": store.DropOldest, "reject-new": store.RejectNew}

// queued is an uplink with its queues and its session.
type queued struct {
	name   string
	source *queued // whose outboxes these are; nil for its own
	// outbox has the events and urgent those that go past them; dead is its own.
	outbox, urgent, dead *store.Outbox
	session              *client.Session // nil until it has been started
	commands             *uplink.Commands
	uplink               *uplink.Uplink
	unborn               func() uint64 // values that births of Sparkplug have lacked; nil: there are no births
}

// tap is an outbox as one of its readers has it.
type tap struct {
	*store.Reader
	outbox *store.Outbox
}

// ID implements uplink.Queue.
func (t tap) ID() string { return t.outbox.ID() }

// Enqueue implements uplink.Queue.
func (t tap) Enqueue(ctx context.Context, record []byte, urgent bool) (uint64, error) {
	return t.outbox.Enqueue(ctx, record, urgent)
}

// tap returns an outbox as the uplink reads it. The one that it belongs to is the
// reader without a name.
func (q *queued) tap(o *store.Outbox) tap {
	if q.source == nil {
		return tap{o.Reader(""), o}
	}
	return tap{o.Reader(q.name), o}
}

// outboxes opens the queues of every uplink. The store commits to those only that
// are open when it starts.
func (r *run) outboxes() error {
	own := map[string]*queued{}
	var shared []*queued
	readers := map[string][]string{}
	for _, name := range slices.Sorted(maps.Keys(r.cfg.Uplinks)) {
		q := &queued{name: name}
		if source := r.cfg.Uplinks[name].Queue; source != "" {
			readers[source] = append(readers[source], name)
			shared = append(shared, q)
		} else {
			own[name] = q
			r.queues = append(r.queues, q)
		}
	}
	for _, q := range r.queues {
		if err := r.openQueue(q, readers[q.name]); err != nil {
			return err
		}
	}
	for _, q := range shared {
		q.source = own[r.cfg.Uplinks[q.name].Queue]
		q.outbox, q.urgent = q.source.outbox, q.source.urgent
	}
	r.queues = append(r.queues, shared...)
	for _, q := range r.queues {
		var err error
		if q.dead, err = r.store.Outbox(q.name+"-dead", store.OutboxConfig{MaxBytes: deadLetterBytes}); err != nil {
			return err
		}
	}
	r.parked = map[string]*store.Outbox{}
	for name := range r.cfg.Brokers {
		var err error
		if r.parked[name], err = r.store.Outbox("broker-"+name+"-parked", store.OutboxConfig{MaxBytes: parkedBytes}); err != nil {
			return err
		}
	}
	return nil
}

// openQueue opens the two outboxes of an uplink, which others read, too.
func (r *run) openQueue(q *queued, readers []string) (err error) {
	b := r.cfg.Uplinks[q.name].WithDefaults().Buffer
	cfg := store.OutboxConfig{MaxBytes: b.MaxBytes, MaxAge: b.MaxAge, OnFull: onFull[b.OnFull], WearSaver: b.WearSaver, Readers: readers}
	if q.outbox, err = r.store.Outbox(q.name, cfg); err != nil {
		return err
	}
	cfg.MaxBytes, cfg.Over = max(b.MaxBytes/urgentShare, urgentBytes), q.outbox
	q.urgent, err = r.store.Outbox(q.name+uplink.UrgentLane, cfg)
	return err
}

// settle returns once the events that the router has taken are in the queue of each
// uplink, and on disk where their class is confirmed. The answer to a publication
// comes behind them, as for flush.
func (g *Gateway) settle(ctx context.Context) error {
	kept := g.kept.Load()
	if kept == nil {
		return nil
	}
	topic := wamp.URI("gantry." + g.cfg.Gateway.Name + ".sys.queue.settle")
	for _, q := range *kept {
		if q.source != nil {
			continue
		}
		if err := q.session.Publish(ctx, topic, wamp.PublishOptions{Acknowledge: true}, wamp.Payload{}); err != nil {
			return fmt.Errorf("outbox %s: %w", q.name, err)
		}
		if err := errors.Join(q.outbox.Confirm(ctx), q.urgent.Confirm(ctx)); err != nil {
			return err
		}
	}
	return nil
}

// flush brings to disk what has been published for the uplinks. The answer to a
// publication comes behind the events that are still on their way to an uplink,
// and its session hands them over one by one: with the answer all of them are in
// the queue.
func (r *run) flush(ctx context.Context) error {
	var errs []error
	for _, q := range r.queues {
		if q.uplink == nil {
			continue
		}
		topic := wamp.URI("gantry." + r.cfg.Gateway.Name + ".sys.queue.flush")
		if err := q.session.Publish(ctx, topic, wamp.PublishOptions{Acknowledge: true}, wamp.Payload{}); err != nil {
			errs = append(errs, fmt.Errorf("outbox %s: %w", q.name, err))
		}
		for _, o := range []*store.Outbox{q.outbox, q.urgent, q.dead} {
			errs = append(errs, o.Flush(ctx))
		}
	}
	for _, h := range r.histories {
		errs = append(errs, h.flush(ctx))
	}
	if r.once != nil {
		errs = append(errs, r.once.finish(ctx))
	}
	if r.last != nil {
		r.last.save(ctx)
	}
	r.saveClock()
	return errors.Join(errs...)
}
