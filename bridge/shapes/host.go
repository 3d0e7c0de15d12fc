package shapes

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"gantry/bridge"
	"gantry/bridge/shapes/internal/homeassistant"
	"gantry/bridge/shapes/internal/shape"
	"gantry/bridge/shapes/internal/shelly"
	"gantry/bridge/shapes/internal/tasmota"
	"gantry/bridge/shapes/internal/zigbee2mqtt"
	"gantry/drivers"
	"gantry/internal/ratelog"
)

// Config is what a host has to know.
type Config struct {
	// Broker names the broker among those of the gateway: 1 to 64 of a-z 0-9 _.
	Broker string
	// Gateway is the gateway's name. Devices answer to topics made of both.
	Gateway string
	// Shapes are some of bridge.Shapes.
	Shapes []string
	// ZigbeeBase is the base topic of Zigbee2MQTT. Default "zigbee2mqtt".
	ZigbeeBase string
}

// quiet is how long nothing may have changed about a device before the hub hears of
// it, and patience how long that may take: devices announce themselves in many
// messages.
const (
	quiet    = 300 * time.Millisecond
	patience = 2 * time.Second
)

// maxAsks bounds the messages that wait to be sent to devices.
const maxAsks = 4096

// Host finds the devices of one broker. Its methods are safe for concurrent use.
type Host struct {
	cfg  Config
	now  func() time.Time
	log  *slog.Logger
	rare *ratelog.Log
	wake chan struct{} // capacity 1; rung when there is something for Run

	mu      sync.Mutex // guards what follows, shapes included
	shapes  map[string]shape.Shape
	things  map[key]*thing
	changed map[key]bool // what Run has to tell the hub
	since   time.Time    // of the first change that it has not been told
	latest  time.Time    // of the last
	alarm   time.Time    // when Run looks at the shapes' times next; zero = not yet known
	asks    []bridge.Message
	filters bool // there may be others than the broker knows
	carrier bridge.Carrier
	lost    string // why there is no carrier

	devices, received, unknown atomic.Uint64
	refused, dropped           counts
}

var (
	_ drivers.Finder = (*Host)(nil)
	_ bridge.Guest   = (*Host)(nil)
)

// key identifies a device of a host.
type key struct{ shape, id string }

// New returns a host without a connection. It starts nothing. nil now = time.Now; a
// nil log discards.
func New(cfg Config, now func() time.Time, log *slog.Logger) (*Host, error) {
	if now == nil {
		now = time.Now
	}
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	if !bridge.ValidName(cfg.Broker) || !bridge.ValidName(cfg.Gateway) {
		return nil, errors.New("shapes: names of broker and gateway are required")
	}
	log = log.With("broker", cfg.Broker)
	h := &Host{
		cfg: cfg, now: now, log: log, rare: ratelog.New(log, time.Minute, now), wake: make(chan struct{}, 1),
		shapes: map[string]shape.Shape{}, things: map[key]*thing{}, changed: map[key]bool{}, lost: "not connected yet",
	}
	tag := "gantry_" + cfg.Gateway + "_" + cfg.Broker
	for _, name := range cfg.Shapes {
		switch name {
		case bridge.ShapeHomeAssistant:
			var others []string
			if slices.Contains(cfg.Shapes, bridge.ShapeZigbee2MQTT) {
				others = append(others, "Zigbee2MQTT")
			}
			h.shapes[name] = homeassistant.New(others...)
		case bridge.ShapeZigbee2MQTT:
			h.shapes[name] = zigbee2mqtt.New(cmp.Or(cfg.ZigbeeBase, bridge.ShapeZigbee2MQTT), tag)
		case bridge.ShapeTasmota:
			h.shapes[name] = tasmota.New()
		case bridge.ShapeShelly:
			h.shapes[name] = shelly.New(tag)
		default:
			return nil, fmt.Errorf("shapes: there is no shape %.40q", name)
		}
	}
	return h, nil
}

// Kinds returns the kinds of the devices that hosts find, for configuration files.
func Kinds() (list []drivers.Kind) {
	for _, name := range bridge.Shapes {
		list = append(list, drivers.FoundKind(name))
	}
	return list
}

// Name returns the name of the broker.
func (h *Host) Name() string { return h.cfg.Broker }

// Filters returns what to subscribe to at once: what Receive is to be given.
func (h *Host) Filters() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.subscriptions()
}

func (h *Host) subscriptions() []string {
	all := map[string]bool{}
	for _, s := range h.shapes {
		for _, f := range s.Filters() {
			all[f] = true
		}
	}
	return slices.Sorted(maps.Keys(all))
}

// Connected tells that the broker is there and has been subscribed to.
func (h *Host) Connected(c bridge.Carrier) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.carrier, h.lost, h.filters = c, "", true
	h.asks = h.asks[:0]
	for _, name := range slices.Sorted(maps.Keys(h.shapes)) {
		h.ask(h.shapes[name].Connected())
	}
	for _, t := range h.things {
		t.ring()
	}
	h.ring()
}

// Lost tells that the connection has ended. Requests under way end; nothing is kept
// for later.
func (h *Host) Lost(why string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.drop(dropNotConnected, len(h.asks), "questions", len(h.asks))
	h.carrier, h.lost, h.asks = nil, why, nil
	for _, t := range h.things {
		t.fail(fmt.Errorf("the connection to the broker was lost: %w", drivers.ErrOffline))
		t.ring()
	}
}

// Receive takes a message of the broker.
func (h *Host) Receive(m bridge.Message) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.received.Add(1)
	known := false
	for _, name := range slices.Sorted(maps.Keys(h.shapes)) {
		out := h.shapes[name].Receive(shape.Message{Topic: m.Topic, Payload: m.Payload, Retained: m.Retained}, h.now())
		known = known || out.Mine
		h.apply(name, out)
	}
	if !known {
		h.unknown.Add(1)
		h.rare.Often("message of no device that is known", func() []any { return []any{"topic", m.Topic} })
	}
	if next := h.next(); !next.IsZero() && (h.alarm.IsZero() || next.Before(h.alarm)) {
		h.ring()
	}
}

// next returns when something may be over without a message; h.mu is held.
func (h *Host) next() (first time.Time) {
	for _, s := range h.shapes {
		if t, ok := s.(shape.Timed); ok && !t.Next().IsZero() && (first.IsZero() || t.Next().Before(first)) {
			first = t.Next()
		}
	}
	return first
}

// expire carries out what is over by now; h.mu is held.
func (h *Host) expire(now time.Time) {
	for _, name := range slices.Sorted(maps.Keys(h.shapes)) {
		if t, ok := h.shapes[name].(shape.Timed); ok && !t.Next().IsZero() && !now.Before(t.Next()) {
			h.apply(name, t.Expire(now))
		}
	}
}

// apply carries out what a shape has made of a message; h.mu is held.
func (h *Host) apply(name string, out shape.Output) {
	now := h.now()
	for _, id := range out.Vanished {
		k := key{name, id}
		if t := h.things[k]; t != nil {
			t.fail(fmt.Errorf("the device has gone: %w", drivers.ErrOffline))
			delete(h.things, k)
			h.note(k, now)
		}
	}
	for _, d := range out.Appeared {
		k := key{name, d.ID}
		if h.things[k] == nil {
			h.things[k] = newThing(h, name, d.ID)
		}
		h.things[k].describe(d)
		h.note(k, now)
	}
	for _, p := range out.Presence {
		if t := h.things[key{name, p.Device}]; t != nil {
			t.reach(p)
		}
	}
	for i := range out.Readings {
		if t := h.things[key{name, out.Readings[i].Device}]; t != nil {
			r := out.Readings[i]
			if r.Time.IsZero() {
				r.Time = now
			}
			t.hear(r)
		}
	}
	for _, r := range out.Results {
		claimed := false
		for _, t := range h.things {
			claimed = t.answer(r) || claimed
		}
		if !claimed {
			h.drop(dropUnclaimed, 1, "shape", name, "answer", r.Token)
		}
	}
	for _, device := range out.Old {
		h.drop(dropRetained, 1, "shape", name, "device", device)
	}
	for i := range out.Refused {
		r := out.Refused[i]
		h.refuse(name, &r)
		if t := h.things[key{name, r.Device}]; t != nil {
			t.garbage(r)
		}
	}
	h.ask(out.Send)
	h.devices.Store(uint64(len(h.things)))
	if out.Filters {
		h.filters = true
		h.ring()
	}
}

// ask queues messages to devices; h.mu is held.
func (h *Host) ask(list []shape.Message) {
	if h.carrier == nil || len(list) == 0 {
		return
	}
	for _, m := range list {
		if len(h.asks) >= maxAsks {
			h.drop(dropTooMany, 1, "topic", m.Topic, "limit", maxAsks)
			continue
		}
		h.asks = append(h.asks, command(m))
	}
	h.ring()
}

// command is a message as it is sent: at QoS 0, so that no broker keeps it for a
// device that is away.
func command(m shape.Message) bridge.Message {
	return bridge.Message{Topic: m.Topic, Payload: m.Payload}
}

// note marks a device as changed; h.mu is held.
func (h *Host) note(k key, now time.Time) {
	if len(h.changed) == 0 {
		h.since = now
	}
	h.changed[k], h.latest = true, now
	h.ring()
}

func (h *Host) ring() {
	select {
	case h.wake <- struct{}{}:
	default:
	}
}
