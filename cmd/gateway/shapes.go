package main

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync/atomic"
	"time"

	"gantry/bridge"
	"gantry/bridge/hass"
	"gantry/bridge/shapes"
	"gantry/drivers/hub"
	"gantry/wamp/transport"
)

// ownListener is the name of the gateway's own MQTT listener among its brokers, which
// cannot be configured for another.
const ownListener = "_mqtt"

// maxShaped is how many devices may announce themselves at one broker.
const maxShaped = 2048

// hosts find the devices that announce themselves over MQTT, by the broker's name.
type hosts map[string]*shapes.Host

// newHosts makes the hosts of all brokers, as sources of devices for the hub.
func (g *Gateway) newHosts() error {
	g.hosts = hosts{}
	add := func(name, source string, cfg *bridge.ShapesConfig) error {
		if len(cfg.Shapes) == 0 {
			return nil
		}
		h, err := shapes.New(shapes.Config{Broker: name, Gateway: g.cfg.Gateway.Name, Shapes: cfg.Shapes, ZigbeeBase: cfg.Zigbee2MQTT.Base()}, time.Now, g.log.With("room", "shapes"))
		if err != nil {
			return fmt.Errorf("%s: %w", source, err)
		}
		g.hosts[name] = h
		src := hub.Source{Name: source, Finder: h, Config: hub.SourceConfig{Accept: hub.AcceptNone, Max: maxShaped}}
		if cfg.AcceptAll() {
			src.Config.Accept = hub.AcceptAll
		}
		g.sources = append(g.sources, src)
		return nil
	}
	for _, name := range slices.Sorted(maps.Keys(g.cfg.Brokers)) {
		cfg := g.cfg.Brokers[name].ShapesConfig
		if err := add(name, "broker_"+name, &cfg); err != nil {
			return err
		}
	}
	if g.cfg.MQTT.Listen == "" {
		return nil
	}
	return add(ownListener, "mqtt", &g.cfg.MQTT.ShapesConfig)
}

// startLocalHost joins the guests of the gateway's own listener to the realm.
func (r *run) startLocalHost(ctx context.Context) error {
	if r.cfg.MQTT.Listen == "" {
		return nil
	}
	var guests []bridge.Guest
	if h := r.hosts[ownListener]; h != nil {
		guests = append(guests, h)
	}
	if pub, err := r.startHass(ctx, ownListener, "", r.cfg.MQTT.HomeAssistant); err != nil {
		return err
	} else if pub != nil {
		guests = append(guests, pub)
	}
	for i, g := range guests {
		s, err := r.join(ctx, fmt.Sprintf("mqtt_guest_%d", i), transport.PipeConfig{})
		if err != nil {
			return err
		}
		realm := bridge.NewRealm(g, s, r.log.With("room", "mqtt guest"))
		add(&r.Gateway.guests, realm)
		r.front.run("guest of the mqtt listener", realm.Run)
		if err := awaitReady(ctx, realm.Ready()); err != nil {
			return err
		}
	}
	return nil
}

// startHass starts what shows devices to Home Assistant at a broker; nil if nothing
// is to be shown.
func (r *run) startHass(ctx context.Context, broker, status string, cfg bridge.HomeAssistantConfig) (*hass.Publisher, error) {
	if len(cfg.Devices) == 0 {
		return nil, nil
	}
	cfg = cfg.WithDefaults()
	// Commands are called, and audited, in its name.
	s, err := r.join(ctx, "homeassistant_"+broker, transport.PipeConfig{})
	if err != nil {
		return nil, err
	}
	pub := hass.New(hass.Config{Gateway: r.cfg.Gateway.Name, Broker: broker, Prefix: cfg.Prefix, Devices: cfg.Devices, Status: status}, s, r.log.With("room", "hass"))
	add(&r.Gateway.shown, pub)
	r.front.run("home assistant at "+broker, pub.Run)
	return pub, nil
}

// add appends to a list that is read at any time, and written while the gateway starts.
func add[T any](list *atomic.Pointer[[]T], v T) {
	var all []T
	if old := list.Load(); old != nil {
		all = slices.Clone(*old)
	}
	all = append(all, v)
	list.Store(&all)
}

// hassMetrics writes what the publishers to Home Assistant count.
func (g *Gateway) hassMetrics(m *metrics) {
	shown := g.shown.Load()
	if shown == nil {
		return
	}
	m.family("gantry_hass_published_total", counter, "Messages to Home Assistant that the broker has taken.")
	for _, p := range *shown {
		m.value(float64(p.Stats().Published), "broker", p.Broker())
	}
	m.family("gantry_hass_dropped_total", counter, "Messages to Home Assistant that were not sent.")
	for _, p := range *shown {
		s := p.Stats()
		for _, c := range []why{{"too_many", s.TooMany}, {"undecodable", s.Undecodable}, {"topic", s.BadTopic}, {"old", s.Old}, {"not_sent", s.Unsent}, {"no_entity", s.NoEntity}} {
			m.value(float64(c.n), "broker", p.Broker(), "why", c.reason)
		}
	}
	m.family("gantry_hass_commands_total", counter, "Commands of Home Assistant, by what has become of them.")
	for _, p := range *shown {
		s := p.Stats()
		for _, c := range []why{{"made", s.Made}, {"failed", s.Failed}, {"retained", s.Retained}, {"busy", s.Busy}, {"unknown", s.Unknown}} {
			m.value(float64(c.n), "broker", p.Broker(), "outcome", c.reason)
		}
	}
}

// shapeMetrics writes what the hosts count.
func (g *Gateway) shapeMetrics(m *metrics) {
	if guests := g.guests.Load(); guests != nil {
		var expired, unmappable uint64
		for _, r := range *guests {
			s := r.Stats()
			expired, unmappable = expired+s.Expired, unmappable+s.Unmappable
		}
		byWhy(m, "gantry_mqtt_unseen_total", "Messages at the own listener that shapes and Home Assistant do not get.", []why{{"expired", expired}, {"unmappable", unmappable}})
	}
	for _, f := range []struct {
		name, kind, help string
		of               func(s shapes.Stats) uint64
	}{
		{"gantry_shapes_devices", gauge, "Devices that announce themselves at the broker.", func(s shapes.Stats) uint64 { return s.Devices }},
		{"gantry_shapes_received_total", counter, "Messages looked at for devices.", func(s shapes.Stats) uint64 { return s.Received }},
		{"gantry_shapes_unknown_total", counter, "Messages of no device that is known.", func(s shapes.Stats) uint64 { return s.Unknown }},
	} {
		if len(g.hosts) == 0 {
			return
		}
		m.family(f.name, f.kind, f.help)
		for _, name := range slices.Sorted(maps.Keys(g.hosts)) {
			m.value(float64(f.of(g.hosts[name].Stats())), "broker", name)
		}
	}
	for _, f := range []struct {
		name, help string
		of         func(s shapes.Stats) map[string]uint64
	}{
		{"gantry_shapes_refused_total", "Messages, or parts of them, that were not understood.", func(s shapes.Stats) map[string]uint64 { return s.RefusedFor }},
		{"gantry_shapes_dropped_total", "Questions to devices, and their readings, events and answers, that were dropped.", func(s shapes.Stats) map[string]uint64 { return s.DroppedFor }},
	} {
		m.family(f.name, counter, f.help)
		for _, name := range slices.Sorted(maps.Keys(g.hosts)) {
			by := f.of(g.hosts[name].Stats())
			for _, why := range slices.Sorted(maps.Keys(by)) {
				m.value(float64(by[why]), "broker", name, "why", why)
			}
		}
	}
}
