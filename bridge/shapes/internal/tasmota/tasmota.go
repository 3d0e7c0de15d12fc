// Package tasmota reads what devices with the Tasmota firmware say: their discovery
// messages, results, telemetry and last will.
//
// Source: tasmota.github.io/docs, "MQTT", "Commands", "JSON status responses"; the
// discovery message as in the firmware's xdrv_12_discovery.ino.
package tasmota

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"gantry/bridge/shapes/internal/shape"
	"gantry/drivers"
)

const discovery = "tasmota/discovery/"

// The kinds of relay in "rl".
const (
	plain   = 1
	light   = 2
	shutter = 3
)

// Shape is a shape.Shape.
type Shape struct {
	devices map[string]*device        // by MAC address
	bases   map[string]*device        // by what the topics that they publish to begin with
	early   map[string]map[string]any // sensors of devices whose configuration is yet to come, by MAC address
}

// maxEarly bounds the devices whose sensors are known before their configuration: a broker
// may send what it keeps in any order.
const maxEarly = 64

var _ shape.Shape = (*Shape)(nil)

type device struct {
	shape.Device
	config           map[string]any
	command, stat    string // topics up to the last level
	tele             string
	online, offline  string // payloads of the last will
	states           [2]string
	keys             map[string]string // the keys of RESULT and STATE, by point
	sensors          map[string]sensor
	relays, shutters int
	lights           bool
	reached          bool
}

// New returns a shape without devices.
func New() *Shape {
	return &Shape{devices: map[string]*device{}, bases: map[string]*device{}, early: map[string]map[string]any{}}
}

// Filters implements shape.Shape: the discovery messages, and what the known devices
// publish.
func (s *Shape) Filters() []string {
	out := []string{discovery + "+/config", discovery + "+/sensors"}
	for _, id := range slices.Sorted(maps.Keys(s.devices)) {
		d := s.devices[id]
		out = append(out, d.stat+"+", d.tele+"+")
	}
	slices.Sort(out[2:])
	return slices.Compact(out)
}

// Connected implements shape.Shape.
func (s *Shape) Connected() (ask []shape.Message) {
	for _, id := range slices.Sorted(maps.Keys(s.devices)) {
		ask = append(ask, s.devices[id].ask()...)
	}
	return ask
}

// ask asks for the state and the sensors.
func (d *device) ask() []shape.Message {
	return []shape.Message{d.send("STATUS", "11"), d.send("STATUS", "10")}
}

func (d *device) send(command, payload string) shape.Message {
	return shape.Message{Topic: d.command + command, Payload: []byte(payload)}
}

// Receive implements shape.Shape.
func (s *Shape) Receive(m shape.Message, _ time.Time) (out shape.Output) {
	if rest, ok := strings.CutPrefix(m.Topic, discovery); ok {
		out.Mine = true
		mac, what, _ := strings.Cut(rest, "/")
		s.discover(&out, &m, mac, what)
		return out
	}
	at := strings.LastIndexByte(m.Topic, '/') + 1
	if d := s.bases[m.Topic[:at]]; d != nil {
		out.Mine = true
		d.hear(&out, &m, m.Topic[at:])
	}
	return out
}

func (s *Shape) discover(out *shape.Output, m *shape.Message, mac, what string) {
	old := s.devices[mac]
	if len(m.Payload) == 0 {
		delete(s.early, mac)
		if old != nil && what == "config" {
			s.forget(old)
			out.Vanished, out.Filters = append(out.Vanished, mac), true
		}
		return
	}
	msg, ok := shape.Object(m.Payload, shape.MaxState)
	if !ok || mac == "" || len(mac) > 32 {
		out.Refuse(mac, shape.Malformed, m.Payload)
		return
	}
	switch {
	case what == "sensors" && old == nil:
		if s.early[mac] == nil && len(s.early) >= maxEarly {
			out.Refuse(mac, shape.TooManyDevices, nil)
			return
		}
		s.early[mac] = shape.Dict(msg["sn"])
	case what == "sensors":
		s.sense(out, newDevice(mac, old.config, sensors(shape.Dict(msg["sn"]))), shape.Dict(msg["sn"]))
	case what == "config":
		if old == nil && len(s.devices) >= shape.MaxDevices {
			out.Refuse(mac, shape.TooManyDevices, nil)
			return
		}
		sn := s.early[mac]
		known := sensors(sn)
		if old != nil {
			known = old.sensors
		}
		d := newDevice(mac, msg, known)
		if d == nil {
			out.Refuse(mac, shape.Incomplete, m.Payload)
			return
		}
		delete(s.early, mac)
		s.sense(out, d, sn)
	}
}

// sense puts a device in the place of the one that was there, and takes what its discovery
// message says of its sensors.
func (s *Shape) sense(out *shape.Output, d *device, sn map[string]any) {
	s.change(out, s.devices[d.ID], d)
	if len(d.sensors) >= shape.MaxPoints {
		out.Refuse(d.ID, shape.TooManyPoints, nil)
	}
	if sn != nil {
		d.telemetry(out, &shape.Message{Retained: true}, sn)
	}
}

// forget takes a device away.
func (s *Shape) forget(d *device) {
	delete(s.devices, d.ID)
	maps.DeleteFunc(s.bases, func(_ string, o *device) bool { return o == d })
}

// change puts a device in the place of another, which may be nil.
func (s *Shape) change(out *shape.Output, old, d *device) {
	if old != nil {
		s.forget(old)
		d.reached = old.reached
	}
	s.devices[d.ID], s.bases[d.stat], s.bases[d.tele] = d, d, d
	if old == nil || old.command != d.command || old.stat != d.stat || old.tele != d.tele {
		out.Filters = true
		out.Send = append(out.Send, d.ask()...)
	}
	if old == nil || !reflect.DeepEqual(old.Device, d.Device) {
		out.Appeared = append(out.Appeared, d.Device)
	}
	if old == nil {
		out.Presence = append(out.Presence, shape.Presence{Device: d.ID, Why: "has not said that it is online"})
	}
}

// newDevice makes a device of a discovery message; nil where its topics are missing.
func newDevice(mac string, c map[string]any, known map[string]sensor) *device {
	d := &device{config: c, keys: map[string]string{}, sensors: known, online: "Online", offline: "Offline", states: [2]string{"OFF", "ON"}}
	if d.sensors == nil {
		d.sensors = map[string]sensor{}
	}
	if !d.topics(c) {
		return nil
	}
	if v := shape.Text(c["onln"]); v != "" {
		d.online = v
	}
	if v := shape.Text(c["ofln"]); v != "" {
		d.offline = v
	}
	for i, v := range shape.List(c["state"]) {
		if w := shape.Text(v); i < 2 && w != "" {
			d.states[i] = w
		}
	}
	d.ID, d.Name, d.Label = mac, shape.Text(c["dn"]), shape.Text(c["dn"])
	if d.Name == "" || d.Name == "Tasmota" { // the name that all of them have at first
		d.Name = shape.Text(c["t"])
	}
	d.Model = strings.TrimSpace(shape.Text(c["md"]) + ", Tasmota " + shape.Text(c["sw"]))
	d.outputs(c)
	for _, p := range places {
		q := p.Point
		q.Readable = true
		d.Points = append(d.Points, q)
	}
	for _, id := range slices.Sorted(maps.Keys(d.sensors)) {
		if _, taken := d.keys[id]; !taken {
			d.Points = append(d.Points, d.sensors[id].Point)
		} else {
			delete(d.sensors, id) // RESULT and STATE say the same
		}
	}
	d.Actions = append(d.Actions, drivers.Action{ID: "restart", Description: "restart the device"},
		drivers.Action{ID: "upgrade", Description: "load the newest firmware from the device's own OTA address"})
	d.Readable = map[string]bool{}
	for _, p := range d.Points {
		if p.Readable {
			d.Readable[p.ID] = true
		}
	}
	return d
}

// topics takes the topics out of "ft", the form of all of them.
func (d *device) topics(c map[string]any) bool {
	form, prefixes := shape.Text(c["ft"]), shape.List(c["tp"])
	if len(prefixes) < 3 || !strings.Contains(form, "%prefix%") || len(form) > 256 {
		return false
	}
	mac := shape.Text(c["mac"])
	fill := strings.NewReplacer("%topic%", shape.Text(c["t"]), "%hostname%", shape.Text(c["hn"]), "%id%", mac[max(0, len(mac)-6):])
	form = fill.Replace(form)
	if !strings.HasSuffix(form, "/") {
		form += "/"
	}
	var all [3]string
	for i := range all {
		all[i] = strings.ReplaceAll(form, "%prefix%", shape.Text(prefixes[i]))
		if all[i] == "" || len(all[i]) > 512 || strings.ContainsAny(all[i], "+#%\x00") {
			return false
		}
	}
	d.command, d.stat, d.tele = all[0], all[1], all[2]
	return true
}

// outputs makes points of relays, lights and shutters.
func (d *device) outputs(c map[string]any) {
	names := shape.List(c["fn"])
	options := shape.Dict(c["so"])
	for i, v := range shape.List(c["rl"]) {
		switch kind, _ := v.(float64); kind {
		case plain, light:
			d.relays = i + 1
			d.lights = d.lights || kind == light
		case shutter:
			if i%2 == 0 {
				d.shutters++
			}
		}
	}
	for i, v := range shape.List(c["rl"]) {
		if kind, _ := v.(float64); kind != plain && kind != light {
			continue
		}
		n := strconv.Itoa(i + 1)
		key := "POWER" + n
		if d.relays == 1 && options["26"] != 1.0 {
			key, n = "POWER", ""
		}
		p := drivers.Point{ID: "relay" + n, Type: drivers.Bool, Readable: true, Writable: true}
		if i < len(names) {
			p.Description = shape.Text(names[i])
		}
		d.add(key, p)
	}
	if d.lights {
		d.dimmer(c)
	}
	for i := range d.shutters {
		n := strconv.Itoa(i + 1)
		d.add("ShutterPosition"+n, drivers.Point{ID: "shutter" + n, Type: drivers.Float, Unit: "%", Min: bound(0), Max: bound(100), Readable: true, Writable: true})
		for _, verb := range []string{"open", "close", "stop"} {
			d.Actions = append(d.Actions, drivers.Action{ID: "shutter" + n + "_" + verb})
		}
	}
	for i, v := range shape.List(c["swc"]) {
		if mode, ok := v.(float64); ok && mode >= 0 && i < 32 {
			n := strconv.Itoa(i + 1)
			d.add("Switch"+n, drivers.Point{ID: "switch" + n, Type: drivers.Bool, Readable: true})
		}
	}
}

func (d *device) add(key string, p drivers.Point) {
	d.keys[p.ID] = key
	d.Points = append(d.Points, p)
}

func bound(f float64) *float64 { return &f }

// dimmer makes points of a light, by its number of channels: 1 brightness, 2 cold
// and warm, 3 colors, 4 colors and white, 5 all.
func (d *device) dimmer(c map[string]any) {
	channels, _ := c["lt_st"].(float64)
	percent := drivers.Point{ID: "dimmer", Type: drivers.Float, Unit: "%", Min: bound(0), Max: bound(100), Readable: true, Writable: true}
	d.add("Dimmer", percent)
	if channels == 2 || channels == 5 {
		d.add("CT", drivers.Point{ID: "color_temp", Type: drivers.Float, Unit: "MK-1", Min: bound(153), Max: bound(500), Readable: true, Writable: true})
	}
	if channels >= 3 {
		d.add("HSBColor", drivers.Point{ID: "hsb_color", Type: drivers.Text, Description: "hue, saturation, brightness", Readable: true, Writable: true})
		d.add("Color", drivers.Point{ID: "color", Type: drivers.Text, Description: "channels in hexadecimal", Readable: true, Writable: true})
	}
}

// hear takes a message below stat or tele.
func (d *device) hear(out *shape.Output, m *shape.Message, last string) {
	if last == "LWT" {
		d.reached = string(m.Payload) == d.online
		p := shape.Presence{Device: d.ID, Online: d.reached}
		if !d.reached {
			p.Why = "its connection to the broker is lost"
		}
		out.Presence = append(out.Presence, p)
		if d.reached && !m.Retained {
			out.Send = append(out.Send, d.ask()...)
		}
		return
	}
	msg, ok := shape.Object(m.Payload, shape.MaxState)
	if !ok {
		d.word(out, m, last)
		return
	}
	for key, inner := range map[string]string{"STATUS8": "StatusSNS", "STATUS10": "StatusSNS", "STATUS11": "StatusSTS"} {
		if last != key {
			continue
		}
		if msg = shape.Dict(msg[inner]); msg == nil {
			out.Refuse(d.ID, shape.Malformed, m.Payload)
			return
		}
	}
	switch last {
	case "SENSOR", "STATUS8", "STATUS10":
		d.telemetry(out, m, msg)
	case "RESULT", "STATE", "STATUS11":
		if w := shape.Text(msg["Command"]); last == "RESULT" && (w == "Unknown" || w == "Error") {
			out.Results = append(out.Results, shape.Result{Token: d.ID, Err: fmt.Errorf("the command is %s: %w", strings.ToLower(w), drivers.ErrRefused)})
		}
		d.state(out, m, msg)
	}
}

// word takes a payload that is no JSON: stat/POWER1 and stat/UPGRADE.
func (d *device) word(out *shape.Output, m *shape.Message, last string) {
	switch {
	case strings.HasPrefix(last, "POWER"):
		d.state(out, m, map[string]any{last: string(m.Payload)})
	case last == "UPGRADE":
		r := shape.Result{Token: d.ID + "/upgrade", Value: string(m.Payload[:min(len(m.Payload), 200)])}
		if !strings.HasPrefix(string(m.Payload), "Successful") {
			r.Value, r.Err = nil, fmt.Errorf("%s: %w", r.Value, drivers.ErrRefused)
		}
		out.Results = append(out.Results, r)
	case last == "RESULT" || last == "STATE" || last == "SENSOR":
		out.Refuse(d.ID, shape.Malformed, m.Payload)
	}
}

// state takes the keys of RESULT and STATE.
func (d *device) state(out *shape.Output, m *shape.Message, msg map[string]any) {
	for _, p := range d.Points {
		if key, ok := d.keys[p.ID]; ok {
			raw, there := msg[key]
			switch in := shape.Dict(raw); {
			case strings.HasPrefix(key, "ShutterPosition"):
				if pos, ok := find(msg, []string{"Shutter" + key[len("ShutterPosition"):], "Position"}); ok {
					raw, there = pos, true
				}
			case strings.HasPrefix(key, "Switch") && in != nil:
				raw, there = in["Action"]
			}
			if there {
				d.emit(out, m, p, raw)
			}
		}
	}
	for _, p := range places {
		if raw, ok := find(msg, p.path); ok {
			d.emit(out, m, p.Point, raw)
		}
	}
}

// telemetry takes the keys of SENSOR.
func (d *device) telemetry(out *shape.Output, m *shape.Message, msg map[string]any) {
	for _, id := range slices.Sorted(maps.Keys(d.sensors)) {
		s := d.sensors[id]
		if raw, ok := find(msg, s.path); ok {
			d.emit(out, m, s.Point, raw)
		}
	}
	d.state(out, m, msg)
}

func (d *device) emit(out *shape.Output, m *shape.Message, p drivers.Point, raw any) {
	switch w := shape.Text(raw); {
	case p.Type == drivers.Bool && w == d.states[1]:
		raw = true
	case p.Type == drivers.Bool && w == d.states[0]:
		raw = false
	}
	v, why := shape.Of(p.Type, raw)
	if why != "" {
		out.EmitBad(d.ID, p.ID, why)
		return
	}
	out.Emit(m, d.ID, p.ID, v)
}

// Read implements shape.Shape.
func (s *Shape) Read(id string, points []string) (shape.Command, error) {
	d := s.devices[id]
	if d == nil {
		return shape.Command{}, shape.ErrUnknown
	}
	return shape.Command{Send: d.ask(), Await: points}, nil
}

// Write implements shape.Shape.
func (s *Shape) Write(id, point string, v drivers.Value) (shape.Command, error) {
	d := s.devices[id]
	if d == nil || d.keys[point] == "" {
		return shape.Command{}, shape.ErrUnknown
	}
	word := shape.Word(v)
	if on, is := v.(bool); is {
		word = d.states[0]
		if on {
			word = d.states[1]
		}
	}
	c := shape.Command{Send: []shape.Message{d.send(d.keys[point], word)}, Await: []string{point}, Want: v, Tolerance: 0.5, Token: d.ID}
	if strings.Contains(d.keys[point], "Color") { // reported in another form
		c.Want = nil
	}
	return c, nil
}

// Do implements shape.Shape.
func (s *Shape) Do(id, action string, _ map[string]any) (shape.Command, error) {
	d := s.devices[id]
	if d == nil {
		return shape.Command{}, shape.ErrUnknown
	}
	switch action {
	case "restart":
		return shape.Command{Send: []shape.Message{d.send("Restart", "1")}}, nil
	case "upgrade":
		return shape.Command{Send: []shape.Message{d.send("Upgrade", "1")}, Token: d.ID + "/upgrade"}, nil
	}
	name, verb, ok := strings.Cut(action, "_")
	n, isShutter := strings.CutPrefix(name, "shutter")
	command := map[string]string{"open": "ShutterOpen", "close": "ShutterClose", "stop": "ShutterStop"}[verb]
	if !ok || !isShutter || command == "" {
		return shape.Command{}, shape.ErrUnknown
	}
	return shape.Command{Send: []shape.Message{d.send(command+n, "")}, Await: []string{name}, Token: d.ID}, nil
}
