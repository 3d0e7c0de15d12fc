package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"gantry/store"
	"gantry/wamp"
	"gantry/wamp/client"
	"gantry/wamp/router"
	"gantry/wamp/serialize"
	"gantry/wamp/transport"
)

const (
	// lastValuesPeriod is how long the last values of points are only in memory: each
	// is written at most once in that time, which spares the disk.
	lastValuesPeriod = time.Minute
	// lastValuesBatch is how many of them share a call of the table.
	lastValuesBatch = 256
)

// lastValues keeps the last readings of points over a restart (docs/topics.md,
// section 2).
type lastValues struct {
	table   *store.Table
	router  *router.Router
	realm   wamp.URI
	gateway wamp.URI // what its topics begin with
	log     *slog.Logger

	mu    sync.Mutex           // one saves at a time; guards known
	known map[wamp.URI]wamp.ID // what is in the table, by publication; 0 = from before the start
}

// startLastValues publishes the values of the run before, and keeps those of this one
// from then on. It comes before all who subscribe or publish. Uplinks get none of
// them: they have had them.
func (r *run) startLastValues(ctx context.Context) error {
	s, err := r.join(ctx, "last_values", transport.PipeConfig{})
	if err != nil {
		return err
	}
	l := &lastValues{
		table: r.lastTable, router: r.router, realm: r.realm(), gateway: wamp.URI("gantry." + r.cfg.Gateway.Name),
		log: r.log.With("room", "last values"), known: map[wamp.URI]wamp.ID{},
	}
	var uplinks []string
	for _, q := range r.queues {
		uplinks = append(uplinks, "uplink_"+q.name)
	}
	removed, err := r.removedDevices()
	if err != nil {
		return fmt.Errorf("last values: %w", err)
	}
	if err := l.restore(ctx, s, uplinks, removed); err != nil {
		return err
	}
	r.last = l
	r.core.run("last values", l.run)
	return nil
}

// devicesSetting is the setting that holds the names of the configured devices.
const devicesSetting = "last_values.devices"

// removedDevices returns which devices of the run before are not configured any more,
// and notes those that are. Devices that come by themselves are not among them: they
// may come again.
func (r *run) removedDevices() (map[string]bool, error) {
	before, err := r.store.Get(devicesSetting)
	if err != nil {
		return nil, err
	}
	removed := map[string]bool{}
	for name := range strings.FieldsSeq(string(before)) {
		removed[name] = true
	}
	var names []string
	for i := range r.cfg.Devices {
		names = append(names, r.cfg.Devices[i].Name)
		delete(removed, r.cfg.Devices[i].Name)
	}
	now := strings.Join(names, " ")
	if now == string(before) {
		return removed, nil
	}
	err = r.store.Put(devicesSetting, []byte(now))
	if errors.Is(err, store.ErrTooLarge) {
		// Thousands of devices: what is removed stays stale, as that of a lost one.
		err = r.store.Put(devicesSetting, nil)
	}
	return removed, err
}

// device returns whose topic it is.
func (l *lastValues) device(topic wamp.URI) string {
	name, _, _ := strings.Cut(strings.TrimPrefix(string(topic), string(l.prefix())), ".")
	return name
}

func (l *lastValues) prefix() wamp.URI { return l.gateway + ".point." }

// restore publishes what the table has as stale, but for that of removed devices,
// which goes with the next save.
func (l *lastValues) restore(ctx context.Context, s *client.Session, except []string, removed map[string]bool) error {
	opts := wamp.PublishOptions{Retain: true}
	if len(except) > 0 {
		opts.Filter = &wamp.PublishFilter{ExcludeAuthID: except}
	}
	var unreadable int
	err := l.table.Each(func(key, value []byte) error {
		topic := wamp.URI(key)
		l.known[topic] = 0
		p, err := staleReading(value)
		if err != nil || !l.prefix().Matches(wamp.MatchPrefix, topic) {
			unreadable++ // it goes with the next save
			return nil
		}
		if removed[l.device(topic)] {
			return nil
		}
		return s.Publish(ctx, topic, opts, p)
	})
	if unreadable > 0 {
		l.log.Warn("last values not restored", "count", unreadable, "hint", "they are of another gateway name, or damaged")
	}
	if err != nil {
		return fmt.Errorf("last values: %w", err)
	}
	// The answer comes behind all of them.
	if err := s.Publish(ctx, l.gateway+".sys.last_values.restored", wamp.PublishOptions{Acknowledge: true}, wamp.Payload{}); err != nil {
		return fmt.Errorf("last values: %w", err)
	}
	return nil
}

var errReading = errors.New("not a reading")

// staleReading returns the payload of a stored reading as it is after a restart.
func staleReading(b []byte) (wamp.Payload, error) {
	v, err := serialize.ParseValue(wamp.CBOR, b, serialize.Limits{Bytes: len(b)})
	if err != nil {
		return wamp.Payload{}, err
	}
	l, ok := v.(wamp.List)
	if !ok || len(l) != 2 {
		return wamp.Payload{}, errReading
	}
	args, ok1 := l[0].(wamp.List)
	kwargs, ok2 := l[1].(wamp.Dict)
	if !ok1 || !ok2 || kwargs == nil {
		return wamp.Payload{}, errReading
	}
	kwargs["q"], kwargs["why"], kwargs["replay"] = "stale", "restart", true
	return wamp.Values(args, kwargs), nil
}

// run saves now and then until ctx ends. The last save is finish's.
func (l *lastValues) run(ctx context.Context) error {
	tick := time.NewTicker(lastValuesPeriod)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		l.save(ctx)
	}
}

// save makes the table what the router retains, or logs why it is not. What changes
// meanwhile is for the next time.
func (l *lastValues) save(ctx context.Context) {
	if err := l.write(ctx); err != nil && ctx.Err() == nil {
		l.log.Warn("last values not saved", "error", err, "hint", "after a restart older ones will be there; look at the store and its disk")
	}
}

func (l *lastValues) write(ctx context.Context) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	type value struct {
		topic       wamp.URI
		publication wamp.ID
		payload     wamp.Payload
	}
	kept := map[wamp.URI]bool{}
	var fresh []value
	l.router.Retained(l.realm, l.prefix(), func(topic wamp.URI, publication wamp.ID, p wamp.Payload, filtered bool) {
		old, known := l.known[topic]
		// A filtered one may be one of before the start, which nothing has replaced.
		kept[topic] = known && (!filtered || old == 0)
		if !filtered && (!known || old != publication) {
			fresh = append(fresh, value{topic, publication, p})
		}
	})
	var gone [][]byte
	for topic := range l.known {
		if !kept[topic] {
			gone = append(gone, []byte(topic))
		}
	}
	// First, as it makes room.
	if err := l.table.Delete(ctx, gone...); err != nil {
		return err
	}
	for _, key := range gone {
		delete(l.known, wamp.URI(key))
	}
	for batch := range slices.Chunk(fresh, lastValuesBatch) {
		changes := make([]store.Change, 0, len(batch))
		for _, v := range batch {
			if b, err := encodeReading(v.payload); err == nil && len(v.topic) <= store.MaxKey {
				changes = append(changes, store.Change{Key: []byte(v.topic), Value: b})
			}
		}
		if err := l.table.Apply(ctx, changes); err != nil {
			return err
		}
		for _, v := range batch {
			l.known[v.topic] = v.publication
		}
	}
	return nil
}

// encodeReading writes a payload as one CBOR list of arguments and keyword arguments.
func encodeReading(p wamp.Payload) ([]byte, error) {
	args, kwargs, err := serialize.Values(p)
	if err != nil {
		return nil, err
	}
	return serialize.AppendValue(nil, wamp.CBOR, wamp.List{args, kwargs})
}
