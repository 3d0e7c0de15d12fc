// Package zigbee2mqtt reads what Zigbee2MQTT says about itself and its devices:
// bridge/devices with their "exposes", states, availability, and answers to
// requests. The bridge itself is a device, whose actions manage the others.
//
// Source: zigbee2mqtt.io, "MQTT topics and messages", "Exposes", "OTA updates";
// aborting an update as in Zigbee2MQTT 2.14 (extension otaUpdate).
package zigbee2mqtt

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

// BridgeID is the ID of the bridge itself.
const BridgeID = "bridge"

// Shape is a shape.Shape.
type Shape struct {
	base, tag string
	devices   map[string]*device // by IEEE address
	names     map[string]*device // by friendly name
	list      []any              // of devices, as the bridge has sent it
	groups    []group
	online    bool
	known     bool // the bridge has appeared
	seq       uint64
	updates   map[string]string // tokens of updates under way, by IEEE address
}

var _ shape.Shape = (*Shape)(nil)

type device struct {
	shape.Device
	*exposed
	friendly string
	scenes   map[string]float64 // of a group, by name
	reached  bool               // by its own availability
	disabled bool
}

// New returns a shape without devices. base is the topic that Zigbee2MQTT uses; tag tells
// the answers to its requests from those to others.
func New(base, tag string) *Shape {
	return &Shape{base: base, tag: tag, devices: map[string]*device{}, names: map[string]*device{}, updates: map[string]string{}}
}

// Filters implements shape.Shape.
func (s *Shape) Filters() []string { return []string{s.base + "/#"} }

// Connected implements shape.Shape. Zigbee2MQTT keeps everything in the broker.
func (s *Shape) Connected() []shape.Message { return nil }

// Receive implements shape.Shape.
func (s *Shape) Receive(m shape.Message, _ time.Time) (out shape.Output) {
	topic, ok := strings.CutPrefix(m.Topic, s.base+"/")
	if !ok {
		return out
	}
	if rest, ok := strings.CutPrefix(topic, "bridge/"); ok {
		out.Mine = true
		s.bridge(&out, &m, rest)
		return out
	}
	if name, ok := strings.CutSuffix(topic, "/availability"); ok {
		if d := s.names[name]; d != nil {
			out.Mine = true
			d.reached = stateOf(m.Payload) == "online"
			s.presence(&out, d)
		}
		return out
	}
	if d := s.names[topic]; d != nil {
		out.Mine = true
		s.state(&out, &m, d)
		return out
	}
	out.Mine = s.commanded(topic)
	return out
}

// commanded reports whether a topic is that of commands to a known device: <name>/set, /get,
// and below.
func (s *Shape) commanded(topic string) bool {
	for _, verb := range []string{"/set", "/get"} {
		if name, rest, ok := strings.Cut(topic, verb); ok && (rest == "" || rest[0] == '/') && s.names[name] != nil {
			return true
		}
	}
	return false
}

// stateOf reads {"state": "online"} and plain online.
func stateOf(b []byte) string {
	if m, ok := shape.Object(b, shape.MaxState); ok {
		return shape.Text(m["state"])
	}
	return string(b[:min(len(b), 16)])
}

func (s *Shape) presence(out *shape.Output, d *device) {
	p := shape.Presence{Device: d.ID, Online: s.online && d.reached && !d.disabled}
	switch {
	case !s.online:
		p.Why = "zigbee2mqtt is offline"
	case d.disabled:
		p.Why = "disabled in zigbee2mqtt"
	case !d.reached:
		p.Why = "zigbee2mqtt cannot reach it"
	}
	out.Presence = append(out.Presence, p)
}

func (s *Shape) state(out *shape.Output, m *shape.Message, d *device) {
	state, ok := shape.Object(m.Payload, shape.MaxState)
	if !ok {
		if len(m.Payload) > 0 {
			out.Refuse(d.ID, shape.Malformed, m.Payload)
		}
		return
	}
	for i := range d.properties {
		p := &d.properties[i]
		raw, there := find(state, p.path)
		// null is what has not been reported yet, "" an action that is over.
		if !there || raw == nil || !p.Readable || p.moment && raw == "" {
			continue
		}
		if p.moment && m.Retained {
			out.Skip(d.ID)
			continue
		}
		v, why := p.value(raw)
		if w, is := v.(string); p.moment && is {
			out.Happen(d.ID, p.ID, w)
			continue
		}
		if why != "" {
			out.EmitBad(d.ID, p.ID, why)
			continue
		}
		out.Emit(m, d.ID, p.ID, v)
	}
	s.progress(out, state, d)
}

// progress reports how far an update is.
func (s *Shape) progress(out *shape.Output, state map[string]any, d *device) {
	u := shape.Dict(state["update"])
	token, ok := s.updates[d.ID]
	if !ok || shape.Text(u["state"]) != "updating" {
		return
	}
	step := map[string]any{}
	for from, to := range map[string]string{"progress": "percent", "remaining": "remaining_s"} {
		if n := shape.Number(u[from]); n != nil {
			step[to] = *n
		}
	}
	out.Results = append(out.Results, shape.Result{Token: token, Progress: step})
}

// bridge takes the messages of the bridge itself.
func (s *Shape) bridge(out *shape.Output, m *shape.Message, topic string) {
	switch {
	case topic == "state":
		s.introduce(out)
		s.online = stateOf(m.Payload) == "online"
		b := shape.Presence{Device: BridgeID, Online: s.online}
		if !s.online {
			b.Why = "zigbee2mqtt is offline"
		}
		out.Presence = append(out.Presence, b)
		for _, id := range slices.Sorted(maps.Keys(s.devices)) {
			s.presence(out, s.devices[id])
		}
	case topic == "info":
		s.introduce(out)
		s.info(out, m)
	case topic == "devices":
		s.deviceList(out, m)
	case topic == "groups":
		s.groupList(out, m)
	case strings.HasPrefix(topic, "response/") && m.Retained:
		out.Skip(BridgeID)
	case strings.HasPrefix(topic, "response/"):
		s.response(out, m)
	}
}

func (s *Shape) info(out *shape.Output, m *shape.Message) {
	info, ok := shape.Object(m.Payload, shape.MaxAnnounce)
	if !ok {
		out.Refuse(BridgeID, shape.Malformed, m.Payload)
		return
	}
	if open, ok := info["permit_join"].(bool); ok {
		out.Emit(m, BridgeID, "permit_join", open)
	}
	if v := shape.Text(info["version"]); v != "" && len(v) < shape.MaxText {
		out.Emit(m, BridgeID, "version", v)
	}
}

func (s *Shape) response(out *shape.Output, m *shape.Message) {
	r, ok := shape.Object(m.Payload, shape.MaxAnnounce)
	token := shape.Text(r["transaction"])
	switch {
	case !ok:
		out.Refuse(BridgeID, shape.Malformed, m.Payload)
		return
	case !strings.HasPrefix(token, s.tag+"-"): // others ask, too
		return
	}
	res := shape.Result{Token: token, Value: r["data"]}
	if shape.Text(r["status"]) != "ok" {
		res.Value, res.Err = nil, fmt.Errorf("%.200s: %w", shape.Text(r["error"]), drivers.ErrRefused)
	}
	maps.DeleteFunc(s.updates, func(_, t string) bool { return t == token })
	out.Results = append(out.Results, res)
}

// array reads a JSON array.
func array(b []byte) ([]any, bool) {
	o, ok := shape.Object(append(append([]byte(`{"l":`), b...), '}'), shape.MaxAnnounce)
	if !ok {
		return nil, false
	}
	l, ok := o["l"].([]any)
	return l, ok
}

// deviceList takes the list of all devices.
func (s *Shape) deviceList(out *shape.Output, m *shape.Message) {
	entries, ok := array(m.Payload)
	if !ok {
		out.Refuse("", shape.Malformed, m.Payload)
		return
	}
	s.introduce(out)
	s.settle(out, entries)
	for _, x := range entries {
		e := shape.Dict(x)
		switch d := s.devices[shape.Text(e["ieee_address"])]; {
		case lacks(e) && e["type"] != "Coordinator":
			out.Refuse(BridgeID, shape.Incomplete, []byte(shape.Text(e["friendly_name"])))
		case d != nil && len(d.properties) >= shape.MaxPoints:
			out.Refuse(d.ID, shape.TooManyPoints, nil)
		}
	}
}

// settle makes all devices anew, of what the bridge has said of devices and groups.
func (s *Shape) settle(out *shape.Output, entries []any) {
	before := s.devices
	s.list = entries
	s.devices, s.names = map[string]*device{}, map[string]*device{}
	for _, e := range entries {
		s.add(out, before, newDevice(shape.Dict(e)))
	}
	members := maps.Clone(s.devices)
	for i := range s.groups {
		s.add(out, before, s.groups[i].device(members))
	}
	for _, id := range slices.Sorted(maps.Keys(before)) {
		if s.devices[id] == nil {
			out.Vanished = append(out.Vanished, id)
			delete(s.updates, id)
		}
	}
}

// add adds a device, unless it is none. before are those that there were.
func (s *Shape) add(out *shape.Output, before map[string]*device, d *device) {
	switch {
	case d == nil:
		return
	case s.devices[d.ID] != nil: // twice in a list
		out.Refuse(d.ID, shape.Malformed, []byte(d.friendly))
		return
	case len(s.devices) >= shape.MaxDevices:
		out.Refuse(d.ID, shape.TooManyDevices, nil)
		return
	}
	s.devices[d.ID], s.names[d.friendly] = d, d
	old := before[d.ID]
	if old != nil && old.friendly == d.friendly {
		d.reached = old.reached
	}
	if old == nil || !reflect.DeepEqual(old.Device, d.Device) {
		out.Appeared = append(out.Appeared, d.Device)
	}
	if old == nil || old.disabled != d.disabled || old.reached != d.reached {
		s.presence(out, d)
	}
}

// lacks reports whether an entry of the list lacks what a device needs: its names, and what it
// can do.
func lacks(e map[string]any) bool {
	id, name := shape.Text(e["ieee_address"]), shape.Text(e["friendly_name"])
	return shape.Dict(e["definition"]) == nil || id == "" || len(id) > 32 || name == "" || len(name) > 256
}

// newDevice returns nil for what is no device that says what it can do.
func newDevice(e map[string]any) *device {
	if lacks(e) || e["type"] == "Coordinator" {
		return nil
	}
	def := shape.Dict(e["definition"])
	id, name := shape.Text(e["ieee_address"]), shape.Text(e["friendly_name"])
	d := &device{exposed: newExposed(shape.List(def["exposes"])), friendly: name, reached: true}
	d.disabled, _ = e["disabled"].(bool)
	d.ID, d.Name, d.Label = id, name, name
	d.Model = strings.TrimSpace(shape.Text(def["vendor"]) + " " + shape.Text(def["model"]))
	if t := shape.Text(def["description"]); t != "" {
		d.Model += ", " + t
	}
	d.describe()
	return d
}

// describe makes points and actions of what is exposed.
func (d *device) describe() {
	for i := range d.properties {
		d.Points = append(d.Points, d.properties[i].Point)
	}
	for i := range d.compounds {
		d.Actions = append(d.Actions, d.compounds[i].Action)
	}
	d.Device.Readable = d.exposed.readable
}

// token returns a new one.
func (s *Shape) token() string {
	s.seq++
	return s.tag + "-" + strconv.FormatUint(s.seq, 10)
}

func (s *Shape) message(topic string, payload map[string]any) shape.Message {
	return shape.Message{Topic: s.base + "/" + topic, Payload: shape.JSON(payload)}
}

// Read implements shape.Shape.
func (s *Shape) Read(id string, points []string) (shape.Command, error) {
	d := s.devices[id]
	if d == nil {
		return shape.Command{}, shape.ErrUnknown
	}
	ask := map[string]any{}
	for i := range d.properties {
		if p := &d.properties[i]; slices.Contains(points, p.ID) {
			ask[p.path[0]] = ""
		}
	}
	return shape.Command{Send: []shape.Message{s.message(d.friendly+"/get", ask)}, Await: points}, nil
}

// Write implements shape.Shape.
func (s *Shape) Write(id, point string, v drivers.Value) (shape.Command, error) {
	if id == BridgeID && point == "permit_join" {
		return s.permit(v == true, maxPermit), nil
	}
	d := s.devices[id]
	if d == nil {
		return shape.Command{}, shape.ErrUnknown
	}
	for i := range d.properties {
		p := &d.properties[i]
		if p.ID != point {
			continue
		}
		c := shape.Command{Send: []shape.Message{s.message(d.friendly+"/set", wrap(p.path, p.payload(v)))}}
		if p.Readable && v != "STOP" { // a cover that was stopped reports OPEN or CLOSE
			c.Await, c.Want, c.Tolerance = []string{point}, v, p.tolerance
		}
		return c, nil
	}
	return shape.Command{}, shape.ErrUnknown
}

// Do implements shape.Shape.
func (s *Shape) Do(id, action string, args map[string]any) (shape.Command, error) {
	if id == BridgeID {
		return s.manage(action, args)
	}
	d := s.devices[id]
	if d == nil {
		return shape.Command{}, shape.ErrUnknown
	}
	if action == recallScene && d.scenes != nil {
		name, _ := args["scene"].(string)
		n, ok := d.scenes[name]
		if !ok {
			return shape.Command{}, shape.ErrUnknown
		}
		return shape.Command{Send: []shape.Message{s.message(d.friendly+"/set", map[string]any{"scene_recall": n})}}, nil
	}
	for _, c := range d.compounds {
		if c.ID != action {
			continue
		}
		value := map[string]any{}
		for i := range c.features {
			if v, ok := args[c.Args[i].ID]; ok {
				p := &c.features[i]
				value[p.path[len(p.path)-1]] = p.payload(v)
			}
		}
		return shape.Command{Send: []shape.Message{s.message(d.friendly+"/set", wrap(c.path, value))}, Await: c.await}, nil
	}
	return shape.Command{}, shape.ErrUnknown
}
