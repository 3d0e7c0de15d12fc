// Package shelly speaks to Shelly devices of the second generation and later by
// their RPC over MQTT: requests to <prefix>/rpc, answers to the topic of who asked,
// notifications on <prefix>/events/rpc, the status of components on
// <prefix>/status/<component>, and <prefix>/online.
//
// Source: shelly-api-docs.shelly.cloud, Gen2+: "RPC Protocol", "MQTT",
// "Notifications", "Components and Services".
package shelly

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

// Shape is a shape.Shape.
type Shape struct {
	src     string             // where devices answer, without /rpc
	devices map[string]*device // by topic prefix
	seq     uint64
	asked   map[string]string // what a request was for: prefix, by token
}

var _ shape.Shape = (*Shape)(nil)

type device struct {
	shape.Device
	prefix            string
	info              map[string]any
	points            []point
	status            map[string]fields // components with all fields that there have been
	reached, known    bool
	sleeps            bool   // wakes up to report; silence is no loss
	update, updateAsk string // tokens of the update under way, and of its request
}

// New returns a shape without devices. src is the topic below which devices answer;
// nobody else on the broker uses it.
func New(src string) *Shape {
	return &Shape{src: src, devices: map[string]*device{}, asked: map[string]string{}}
}

// Filters implements shape.Shape. A prefix has one or two levels.
func (s *Shape) Filters() []string {
	return []string{s.src + "/rpc", "+/online", "+/+/online", "+/events/rpc", "+/+/events/rpc", "+/status/+", "+/+/status/+"}
}

// Connected implements shape.Shape.
func (s *Shape) Connected() (ask []shape.Message) {
	clear(s.asked)
	for _, prefix := range slices.Sorted(maps.Keys(s.devices)) {
		ask = append(ask, s.ask(prefix)...)
	}
	return ask
}

// ask asks a device who it is and how it is.
func (s *Shape) ask(prefix string) []shape.Message {
	info, token := s.request(prefix, "Shelly.GetDeviceInfo", nil)
	s.note(token, prefix)
	status, token := s.request(prefix, "Shelly.GetStatus", nil)
	s.note(token, prefix)
	return []shape.Message{info, status}
}

// note keeps what a request is for. Devices that do not answer are forgotten some time.
func (s *Shape) note(token, prefix string) {
	if len(s.asked) >= 4*shape.MaxDevices {
		clear(s.asked)
	}
	s.asked[token] = prefix
}

func (s *Shape) request(prefix, method string, params map[string]any) (shape.Message, string) {
	s.seq++
	r := map[string]any{"id": s.seq, "src": s.src, "method": method}
	if params != nil {
		r["params"] = params
	}
	return shape.Message{Topic: prefix + "/rpc", Payload: shape.JSON(r)}, strconv.FormatUint(s.seq, 10)
}

// Receive implements shape.Shape.
func (s *Shape) Receive(m shape.Message, _ time.Time) (out shape.Output) {
	if m.Topic == s.src+"/rpc" {
		if m.Retained {
			out.Skip("")
		} else {
			s.answer(&out, &m)
		}
		return out
	}
	if prefix, ok := strings.CutSuffix(m.Topic, "/online"); ok {
		s.online(&out, &m, prefix)
	} else if prefix, ok := strings.CutSuffix(m.Topic, "/events/rpc"); ok {
		s.notification(&out, &m, prefix)
	} else if prefix, component, ok := strings.Cut(m.Topic, "/status/"); ok {
		if d := s.devices[prefix]; d != nil {
			out.Mine = true
			s.component(&out, &m, d, component)
		}
	}
	return out
}

// component takes the status of one component. What comes before the device is known is
// in the answer to Shelly.GetStatus.
func (s *Shape) component(out *shape.Output, m *shape.Message, d *device, name string) {
	st, ok := shape.Object(m.Payload, shape.MaxState)
	switch {
	case !ok:
		out.Refuse(d.ID, shape.Malformed, m.Payload)
	case d.known:
		s.merge(out, m, d, map[string]any{name: st})
	}
}

// meet returns the device of a prefix, a new one if need be; nil when there are too
// many.
func (s *Shape) meet(out *shape.Output, prefix string) *device {
	d := s.devices[prefix]
	switch {
	case d != nil:
	case len(s.devices) >= shape.MaxDevices || len(prefix) > 128:
		out.Refuse(prefix, shape.TooManyDevices, nil)
	default:
		d = &device{prefix: prefix, status: map[string]fields{}}
		s.devices[prefix] = d
	}
	return d
}

func (s *Shape) online(out *shape.Output, m *shape.Message, prefix string) {
	word := string(m.Payload)
	d := s.devices[prefix]
	out.Mine = d != nil || word == "true"
	switch {
	case word == "true":
		if d = s.meet(out, prefix); d == nil {
			return
		}
		d.reached = true
		out.Send = append(out.Send, s.ask(prefix)...)
	case word == "" && d != nil:
		delete(s.devices, prefix)
		if d.known {
			out.Vanished = append(out.Vanished, d.ID)
		}
		return
	case d == nil:
		return
	case word != "false":
		out.Refuse(d.ID, shape.BadWord, m.Payload)
		return
	default:
		d.reached = false
	}
	s.presence(out, d)
}

func (s *Shape) presence(out *shape.Output, d *device) {
	if !d.known {
		return
	}
	p := shape.Presence{Device: d.ID, Online: d.reached || d.sleeps}
	if !p.Online {
		p.Why = "its connection to the broker is lost"
	}
	out.Presence = append(out.Presence, p)
}

// answer takes the answer to a request.
func (s *Shape) answer(out *shape.Output, m *shape.Message) {
	msg, ok := shape.Object(m.Payload, shape.MaxAnnounce)
	id, _ := msg["id"].(float64)
	if !ok || id < 1 || id > 1<<53 {
		out.Refuse("", shape.Malformed, m.Payload)
		return
	}
	out.Mine = true
	token := strconv.FormatUint(uint64(id), 10)
	result := shape.Dict(msg["result"])
	if prefix, mine := s.asked[token]; mine {
		delete(s.asked, token)
		d := s.devices[prefix]
		switch {
		case d == nil:
			out.Mine = false
			return
		case d.updateAsk != token && result != nil:
			s.learn(out, d, result)
			return
		case d.updateAsk != token:
			out.Refuse(d.ID, shape.Failed, m.Payload)
			return
		case msg["error"] == nil:
			return
		}
		token, d.update = d.update, ""
	}
	r := shape.Result{Token: token, Value: msg["result"]}
	if e := shape.Dict(msg["error"]); e != nil {
		r.Value, r.Err = nil, fmt.Errorf("%.200s (%s): %w", shape.Text(e["message"]), shape.Word(e["code"]), drivers.ErrRefused)
	}
	out.Results = append(out.Results, r)
}

// learn takes what Shelly.GetDeviceInfo or Shelly.GetStatus returned.
func (s *Shape) learn(out *shape.Output, d *device, result map[string]any) {
	if id := shape.Text(result["id"]); id != "" && len(id) <= 64 && result["gen"] != nil {
		first := !d.known
		d.info = result
		s.describe(out, d)
		if first && d.known { // the status came first, and nobody could take it
			m, token := s.request(d.prefix, "Shelly.GetStatus", nil)
			s.note(token, d.prefix)
			out.Send = append(out.Send, m)
		}
		return
	}
	s.merge(out, &shape.Message{}, d, result)
}

// notification takes NotifyStatus, NotifyFullStatus and NotifyEvent.
func (s *Shape) notification(out *shape.Output, m *shape.Message, prefix string) {
	msg, ok := shape.Object(m.Payload, shape.MaxState)
	if !ok {
		out.Refuse(prefix, shape.Malformed, m.Payload)
		return
	}
	params := shape.Dict(msg["params"])
	d := s.devices[prefix]
	out.Mine = d != nil
	switch msg["method"] {
	case "NotifyFullStatus":
		if d = s.meet(out, prefix); d != nil {
			out.Mine = true
			if !d.known && d.info == nil {
				d.info = map[string]any{"id": msg["src"]}
			}
			s.merge(out, m, d, params)
		}
	case "NotifyStatus":
		if d == nil {
			if d = s.meet(out, prefix); d != nil {
				out.Mine = true
				out.Send = append(out.Send, s.ask(prefix)...)
			}
		} else if d.known {
			s.merge(out, m, d, params)
		}
	case "NotifyEvent":
		switch {
		case d == nil || !d.known:
		case m.Retained:
			out.Skip(d.ID)
		default:
			s.events(out, d, shape.List(params["events"]))
		}
	}
}

// merge takes a status, which may be a part of one, and reports it.
func (s *Shape) merge(out *shape.Output, m *shape.Message, d *device, status map[string]any) {
	grown, left := d.note(status)
	if left > 0 {
		out.Refuse(d.ID, shape.TooManyPoints, nil)
	}
	if grown || !d.known {
		s.describe(out, d)
	}
	if !d.known {
		return
	}
	for i := range d.points {
		p := &d.points[i]
		raw, there := find(shape.Dict(status[p.component]), p.path)
		if !there || p.path == "" {
			continue
		}
		kind, _, _ := strings.Cut(p.component, ":")
		v, why := shape.Of(p.Type, raw)
		if f := fault(kind, shape.Dict(status[p.component])); f != "" {
			why = f
		} else if raw == nil && shape.Dict(status[p.component])["errors"] == nil {
			why = drivers.WhyUnsupported // not connected, such as a clamp for the neutral wire
		}
		if why != "" {
			out.EmitBad(d.ID, p.ID, why)
			continue
		}
		out.Emit(m, d.ID, p.ID, v)
	}
}

// maxEvents bounds the events of a message.
const maxEvents = 32

// maxComponents bounds the components of a device.
const maxComponents = 128

// note keeps which fields a status has, and reports whether there are new ones, and how many
// components are left out.
func (d *device) note(status map[string]any) (grown bool, left int) {
	for key, v := range status {
		in := shape.Dict(v)
		kind, _, _ := strings.Cut(key, ":")
		if in == nil || components[kind] == nil {
			continue
		}
		if w, ok := in["wakeup_period"].(float64); ok && w > 0 {
			d.sleeps = true
		}
		if d.status[key] == nil {
			if len(d.status) >= maxComponents || len(key) > 64 {
				left++
				continue
			}
			d.status[key], grown = fields{}, true
		}
		for _, f := range components[kind] {
			raw, ok := find(in, f.path)
			if _, there := d.status[key][f.path]; ok && !there && (raw != nil || kind != "input") {
				_, is := raw.(bool)
				d.status[key][f.path], grown = is, true
			}
		}
	}
	return grown, left
}

// describe makes a device of what is known, once there is enough.
func (s *Shape) describe(out *shape.Output, d *device) {
	id := shape.Text(d.info["id"])
	if id == "" || len(d.status) == 0 {
		return
	}
	before := d.Device
	d.points = points(d.status)
	d.Device = shape.Device{ID: d.prefix, Name: d.prefix, Label: shape.Text(d.info["name"]), Readable: map[string]bool{}}
	if d.Label != "" {
		d.Name = d.Label
	}
	d.Model = "Shelly " + shape.Text(d.info["app"])
	if d.info["app"] == nil {
		d.Model = "Shelly " + id
	}
	if model := shape.Text(d.info["model"]); model != "" {
		d.Model += ", " + model
	}
	for i := range d.points {
		p := &d.points[i]
		d.Points = append(d.Points, p.Point)
		if p.path != "" {
			d.Device.Readable[p.ID] = true
		}
	}
	d.actions()
	if d.known && reflect.DeepEqual(before, d.Device) {
		return
	}
	first := !d.known
	d.known = true
	out.Appeared = append(out.Appeared, d.Device)
	if first {
		d.reached = true
		s.presence(out, d)
	}
}

func (d *device) actions() {
	d.Actions = []drivers.Action{
		{ID: "restart", Description: "restart the device"},
		{ID: "check_update", Description: "is there newer firmware"},
		{ID: "update", Description: "update the firmware", Progressive: true, Args: []drivers.Point{{ID: "stage", Type: drivers.Text, Enum: []string{"stable", "beta"}}}},
	}
	for _, key := range slices.Sorted(maps.Keys(d.status)) {
		kind, _, _ := strings.Cut(key, ":")
		var verbs []string
		switch kind {
		case "switch", "light", "cct":
			verbs = []string{"toggle"}
		case "rgb", "rgbw":
			verbs = []string{"toggle", "set_rgb"}
		case "cover":
			verbs = []string{"open", "close", "stop", "calibrate"}
		case "smoke":
			verbs = []string{"mute"}
		}
		for _, v := range verbs {
			a := drivers.Action{ID: shape.Name(key) + "_" + v}
			if v == "set_rgb" {
				a.Args = rgb()
			}
			d.Actions = append(d.Actions, a)
		}
	}
}

// rgb returns the arguments of the action set_rgb.
func rgb() (args []drivers.Point) {
	low, high := 0.0, 255.0
	for _, id := range []string{"red", "green", "blue"} {
		args = append(args, drivers.Point{ID: id, Type: drivers.Int, Min: &low, Max: &high})
	}
	return args
}

// events takes the events of a NotifyEvent.
func (s *Shape) events(out *shape.Output, d *device, list []any) {
	if len(list) > maxEvents {
		out.Refuse(d.ID, shape.TooLarge, nil)
		list = list[:maxEvents]
	}
	for _, x := range list {
		e := shape.Dict(x)
		event, component := shape.Text(e["event"]), shape.Text(e["component"])
		if in := d.status[component]; in != nil && strings.HasSuffix(event, "_push") {
			if _, had := in[pressed]; !had {
				in[pressed] = false
				s.describe(out, d)
			}
		}
		for i := range d.points {
			if p := &d.points[i]; p.path == "" && p.component == component && event != "" && len(event) < 64 {
				out.Happen(d.ID, p.ID, event)
			}
		}
		if component == "sys" {
			d.ota(out, event, e)
		}
	}
}

// ota reports the course of an update.
func (d *device) ota(out *shape.Output, event string, e map[string]any) {
	if d.update == "" {
		return
	}
	r := shape.Result{Token: d.update}
	switch event {
	case "ota_begin":
		r.Progress = map[string]any{"percent": 0.0}
	case "ota_progress":
		n := shape.Number(e["progress_percent"])
		if n == nil {
			return
		}
		r.Progress = map[string]any{"percent": *n}
	case "ota_success":
		r.Value, d.update = "updated", ""
	case "ota_error":
		r.Err, d.update = fmt.Errorf("%.200s: %w", shape.Text(e["msg"]), drivers.ErrRefused), ""
	default:
		return
	}
	out.Results = append(out.Results, r)
}

// device returns a device by its ID.
func (s *Shape) device(id string) (*device, error) {
	if d := s.devices[id]; d != nil && d.known {
		return d, nil
	}
	return nil, shape.ErrUnknown
}

// Read implements shape.Shape.
func (s *Shape) Read(id string, points []string) (shape.Command, error) {
	d, err := s.device(id)
	if err != nil {
		return shape.Command{}, err
	}
	m, token := s.request(d.prefix, "Shelly.GetStatus", nil)
	s.note(token, d.prefix)
	return shape.Command{Send: []shape.Message{m}, Await: points}, nil
}

// params returns the parameters of a request to a component.
func params(component string) map[string]any {
	p := map[string]any{}
	if _, n, ok := strings.Cut(component, ":"); ok {
		if id, err := strconv.ParseInt(n, 10, 32); err == nil {
			p["id"] = id
		}
	}
	return p
}

// Write implements shape.Shape.
func (s *Shape) Write(id, name string, v drivers.Value) (shape.Command, error) {
	d, err := s.device(id)
	if err != nil {
		return shape.Command{}, err
	}
	for i := range d.points {
		p := &d.points[i]
		if p.ID != name || p.method == "" {
			continue
		}
		args := params(p.component)
		in, key := args, p.arg
		if outer, inner, ok := strings.Cut(key, "."); ok {
			in, key = map[string]any{"id": args["id"]}, inner
			args[outer] = in
			if p.remote != "" { // the device behind has one component, 0
				args["method"], in["id"] = p.remote, 0
			}
		}
		in[key] = v
		kind, _, _ := strings.Cut(p.component, ":")
		m, token := s.request(d.prefix, service(kind)+"."+p.method, args)
		c := shape.Command{Send: []shape.Message{m}, Token: token, Await: []string{name}, Want: v, Tolerance: 0.5}
		if p.arg == "pos" { // a cover reports its position while it moves
			c.Tolerance = 2
		}
		return c, nil
	}
	return shape.Command{}, shape.ErrUnknown
}

// Do implements shape.Shape.
func (s *Shape) Do(id, action string, args map[string]any) (shape.Command, error) {
	d, err := s.device(id)
	if err != nil {
		return shape.Command{}, err
	}
	simple := map[string]string{"restart": "Shelly.Reboot", "check_update": "Shelly.CheckForUpdate"}
	if method, ok := simple[action]; ok {
		m, token := s.request(d.prefix, method, nil)
		return shape.Command{Send: []shape.Message{m}, Token: token}, nil
	}
	if action == "update" {
		stage, _ := args["stage"].(string)
		if stage == "" {
			stage = "stable"
		}
		m, token := s.request(d.prefix, "Shelly.Update", map[string]any{"stage": stage})
		s.note(token, d.prefix) // its answer comes before the update
		d.update, d.updateAsk = "update/"+d.prefix, token
		return shape.Command{Send: []shape.Message{m}, Token: d.update}, nil
	}
	for _, component := range slices.Sorted(maps.Keys(d.status)) {
		verb, ok := strings.CutPrefix(action, shape.Name(component)+"_")
		if !ok {
			continue
		}
		kind, _, _ := strings.Cut(component, ":")
		p := params(component)
		if verb == "set_rgb" {
			if len(args) < 3 {
				return shape.Command{}, fmt.Errorf("a color is red, green and blue: %w", drivers.ErrRefused)
			}
			verb, p["rgb"] = "set", []any{args["red"], args["green"], args["blue"]}
		}
		m, token := s.request(d.prefix, service(kind)+"."+strings.ToUpper(verb[:1])+verb[1:], p)
		return shape.Command{Send: []shape.Message{m}, Token: token}, nil
	}
	return shape.Command{}, shape.ErrUnknown
}
