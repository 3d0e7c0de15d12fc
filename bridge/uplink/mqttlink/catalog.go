package mqttlink

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"gantry/bridge/uplink"
	"gantry/bridge/uplink/sparkplug"
	"gantry/internal/ratelog"
	"gantry/wamp"
	"gantry/wamp/serialize"
)

// maxCatalog bounds the metrics that are known.
const maxCatalog = 8192

// catalog knows the metrics of all devices with their present values, for birth
// certificates.
type catalog struct {
	prefix wamp.URI // gantry.<gateway>.
	rare   *ratelog.Log
	unborn atomic.Uint64 // values that births lack

	mu        sync.Mutex // guards what follows
	following bool
	latest    map[wamp.URI]wamp.Payload // present values, points and states, as they were published
	known     map[string]map[string]*known
	count     int
	renew     map[string]bool // devices whose metrics have changed since their birth
}

// known is a metric.
type known struct {
	typ  sparkplug.Type
	sent uint64 // time of the newest value that was sent as the present one
}

func newCatalog(prefix wamp.URI, rare *ratelog.Log) *catalog {
	return &catalog{prefix: prefix, rare: rare, latest: map[wamp.URI]wamp.Payload{}, known: map[string]map[string]*known{}, renew: map[string]bool{}}
}

// follow keeps the present values, from the first call on. It returns when those that
// the router has kept are there.
func (k *catalog) follow(ctx context.Context, local wamp.Session) error {
	k.mu.Lock()
	following := k.following
	k.mu.Unlock()
	if following {
		return nil
	}
	for _, class := range []wamp.URI{"point.", "state."} {
		opts := wamp.SubscribeOptions{Match: wamp.MatchPrefix, GetRetained: true}
		if _, err := local.Subscribe(ctx, k.prefix+class, opts, k.note); err != nil {
			return err
		}
	}
	// The answer comes behind the events.
	if err := local.Publish(ctx, k.prefix+"sys.queue.births", wamp.PublishOptions{Acknowledge: true}, wamp.Payload{}); err != nil {
		return err
	}
	k.mu.Lock()
	k.following = true
	k.mu.Unlock()
	return nil
}

func (k *catalog) note(ev *wamp.Event) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if _, there := k.latest[ev.Details.Topic]; !there && len(k.latest) >= maxCatalog {
		k.lack(ev.Details.Topic, errTooMany)
		return
	}
	k.latest[ev.Details.Topic] = ev.Payload.Clone()
}

var errTooMany = fmt.Errorf("there are too many metrics, the limit is %d", maxCatalog)

// lack counts a value that birth certificates do not tell, and logs a sample.
func (k *catalog) lack(topic wamp.URI, why error) {
	k.unborn.Add(1)
	k.rare.Warn("a birth certificate lacks a value", "topic", string(topic), "error", why)
}

// split returns class, device and name of a topic.
func (k *catalog) split(topic wamp.URI) (class, device, name string, err error) {
	rest, ok := strings.CutPrefix(string(topic), string(k.prefix))
	parts := strings.Split(rest, ".")
	if !ok || len(parts) != 3 {
		return "", "", "", fmt.Errorf("%s is no topic of a device", topic)
	}
	return parts[0], parts[1], parts[2], nil
}

// devices returns the devices of which there are metrics.
func (k *catalog) devices() []string {
	k.learn()
	k.mu.Lock()
	defer k.mu.Unlock()
	return slices.Sorted(maps.Keys(k.known))
}

// has reports whether there are metrics of a device.
func (k *catalog) has(device string) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return len(k.known[device]) > 0
}

// learn enters the points whose values have been noted.
func (k *catalog) learn() {
	k.mu.Lock()
	defer k.mu.Unlock()
	for topic, p := range k.latest {
		class, device, name, err := k.split(topic)
		if err != nil || class != "point" {
			continue
		}
		m, err := envelope(p, name)
		if err == nil && k.enter(device, m) == nil {
			err = errTooMany
		}
		if err != nil {
			k.lack(topic, err)
		}
	}
}

// offline reports whether a device is known to be away.
func (k *catalog) offline(device string) bool {
	k.mu.Lock()
	p, ok := k.latest[k.prefix+"state."+wamp.URI(device)+".link"]
	k.mu.Unlock()
	if !ok {
		return false
	}
	args, _, err := serialize.Values(p)
	return err == nil && len(args) == 1 && (args[0] == "offline" || args[0] == "parked")
}

// born returns all metrics of a device with their present values.
func (k *catalog) born(device string) (all []sparkplug.Metric) {
	k.mu.Lock()
	defer k.mu.Unlock()
	delete(k.renew, device)
	for _, name := range slices.Sorted(maps.Keys(k.known[device])) {
		m := sparkplug.Metric{Name: name}
		if p, ok := k.latest[k.prefix+"point."+wamp.URI(device+"."+name)]; ok {
			if now, err := envelope(p, name); err == nil {
				m = now
			}
		}
		about := k.known[device][name]
		m.Value, m.Type = as(about.typ, m.Value), about.typ
		about.sent = max(about.sent, m.Time)
		all = append(all, m)
	}
	return all
}

// changed reports whether a device needs a new birth certificate.
func (k *catalog) changed(device string) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.renew[device]
}

// metric returns the device of an event and its metric, nil for the state of the
// device. What is older than a value that was sent as the present one is history.
func (k *catalog) metric(e *uplink.Event) (string, *sparkplug.Metric, error) {
	class, device, name, err := k.split(e.Topic)
	if err != nil {
		return "", nil, err
	}
	if class == "state" {
		return device, nil, nil
	}
	if class == "alarm" {
		name = "alarm/" + name
	}
	m, err := envelope(e.Payload, name)
	if err != nil {
		return "", nil, err
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	about := k.enter(device, m)
	if about == nil {
		return "", nil, fmt.Errorf("%s: %w", e.Topic, errTooMany)
	}
	m.Value, m.Type = as(about.typ, m.Value), about.typ
	m.Historical = e.Replay || m.Time < about.sent
	if !m.Historical {
		about.sent = m.Time
	}
	return device, &m, nil
}

// enter notes a metric, or that its type has become another; nil if there are too
// many. mu is held.
func (k *catalog) enter(device string, m sparkplug.Metric) *known {
	about := k.known[device][m.Name]
	if about == nil {
		if k.count >= maxCatalog {
			return nil
		}
		k.count++
		if k.known[device] == nil {
			k.known[device] = map[string]*known{}
		}
		about = &known{typ: m.Type}
		k.known[device][m.Name] = about
		k.renew[device] = true
	}
	if m.Value != nil && as(about.typ, m.Value) == nil {
		about.typ = m.Type
		k.renew[device] = true
	}
	return about
}

// as returns a value as one of the type, nil if it is none. An integer is a number
// of type Double, too.
func as(t sparkplug.Type, v any) any {
	switch own, _ := sparkplug.TypeOf(v); {
	case own == t:
		return v
	case t == sparkplug.Double && own == sparkplug.Int64:
		return float64(v.(int64))
	case t == sparkplug.Double && own == sparkplug.UInt64:
		return float64(v.(uint64))
	}
	return nil
}

// envelope makes a metric of an event: of a reading with its time, quality and unit.
func envelope(p wamp.Payload, name string) (m sparkplug.Metric, err error) {
	args, kwargs, err := serialize.Values(p)
	if err != nil {
		return m, err
	}
	if len(args) != 1 {
		return m, fmt.Errorf("an event with %d values", len(args))
	}
	m = sparkplug.Metric{Name: name, Value: args[0], Type: sparkplug.Double}
	if args[0] != nil {
		var ok bool
		if m.Type, ok = sparkplug.TypeOf(args[0]); !ok {
			return m, fmt.Errorf("a value of type %T", args[0])
		}
	}
	if us, ok := kwargs["ts"].(int64); ok && us > 0 {
		m.Time = uint64(us / 1000)
	}
	m.Unit, _ = kwargs["unit"].(string)
	if q, ok := kwargs["q"].(string); ok {
		quality := map[string]int32{"good": sparkplug.Good, "uncertain": sparkplug.Good, "stale": sparkplug.Stale}[q]
		m.Quality = &quality
	}
	return m, nil
}
