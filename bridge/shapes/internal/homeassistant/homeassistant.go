// Package homeassistant reads the discovery messages that devices write for Home
// Assistant, for one entity or for a device with all of its entities, and what they
// publish on the topics named there.
//
// Source: www.home-assistant.io/integrations/mqtt, "MQTT discovery".
package homeassistant

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"time"

	"gantry/bridge"
	"gantry/bridge/shapes/internal/shape"
	"gantry/bridge/shapes/internal/template"
	"gantry/drivers"
)

// Prefix is the topic that discovery messages are below.
const Prefix = "homeassistant"

// OwnOrigin is the name under which Gantry announces its own devices, which are not
// to come back as others'.
const OwnOrigin = "Gantry"

// maxEntities bounds the entities of all devices.
const maxEntities = 8192

// Shape is a shape.Shape.
type Shape struct {
	ignore   map[string]bool // origins
	entities map[string]*entity
	devices  map[string]*device
	stale    bool             // topics, wild and reach are to be made anew
	topics   map[string][]use // who reads a topic
	wild     []pattern        // those that read several
	reach    map[string][]*device
	said     map[string]string // the last payloads of availability topics
}

var _ shape.Shape = (*Shape)(nil)

// entity is one entity; id is its discovery topic, and behind a blank the key in the
// message of a device.
type entity struct {
	id, unique, name string
	component        string
	device           *device
	parts
	avail []availability
	mode  string
}

// use is a point that a topic is read for.
type use struct {
	device *device
	source *source
	id     string // of the point
}

// pattern is a topic filter with wildcards.
type pattern struct {
	bridge.Filter
	uses []use
}

type device struct {
	key  string
	info map[string]any
	all  map[string]*entity
	shape.Device
	points  map[string]*source // with what they are called
	actions map[string]*verb
	awaits  map[string]string // the point that an action changes, "" = none
	online  shape.Presence
}

// New returns a shape without devices. What the origins named announce is left to
// others, which know it better.
func New(ignore ...string) *Shape {
	s := &Shape{ignore: map[string]bool{OwnOrigin: true}, entities: map[string]*entity{}, devices: map[string]*device{}, said: map[string]string{}}
	for _, name := range ignore {
		s.ignore[name] = true
	}
	return s
}

// Filters implements shape.Shape: the discovery messages, and all topics that they
// name.
func (s *Shape) Filters() []string {
	s.index()
	named := map[string]bool{}
	for t := range s.topics {
		named[t] = true
	}
	for t := range s.reach {
		named[t] = true
	}
	return append([]string{Prefix + "/+/+/config", Prefix + "/+/+/+/config"}, slices.Sorted(maps.Keys(named))...)
}

// Connected implements shape.Shape: devices that announce themselves when Home
// Assistant starts do so now.
func (s *Shape) Connected() []shape.Message { return nil }

// Receive implements shape.Shape.
func (s *Shape) Receive(m shape.Message, _ time.Time) (out shape.Output) {
	if rest, ok := strings.CutPrefix(m.Topic, Prefix+"/"); ok && strings.HasSuffix(rest, "/config") {
		s.announced(&out, &m, strings.Split(rest, "/"))
		return out
	}
	s.index()
	s.reached(&out, &m)
	s.report(&out, &m)
	return out
}

// announced takes a discovery message.
func (s *Shape) announced(out *shape.Output, m *shape.Message, level []string) {
	touched := map[*device]bool{}
	if len(m.Payload) == 0 {
		s.drop(m.Topic, touched)
		if level[0] == "device" {
			s.dropAll(m.Topic, nil, touched)
		}
		s.settle(out, touched)
		return
	}
	msg, ok := shape.Object(m.Payload, shape.MaxAnnounce)
	if !ok {
		out.Refuse("", "malformed", m.Payload)
		return
	}
	c := newConfig(msg)
	if s.ignore[shape.Text(shape.Dict(c.keys["origin"])["name"])] {
		return
	}
	object := level[len(level)-2]
	if len(level) == 4 {
		object = level[1] + "_" + object
	}
	if level[0] != "device" {
		s.drop(m.Topic, touched)
		s.add(out, c, m.Topic, level[0], object, level[len(level)-2], touched)
		s.settle(out, touched)
		return
	}
	kept := map[string]bool{}
	parts := shape.Dict(c.keys["components"])
	for _, key := range slices.Sorted(maps.Keys(parts)) {
		own := shape.Dict(parts[key])
		merged := maps.Clone(c.keys)
		delete(merged, "components")
		for k, v := range expand(own, abbreviations) {
			merged[k] = v
		}
		if len(own) < 2 { // the platform alone: the entity is gone
			continue
		}
		if base, ok := c.keys["~"]; ok && own["~"] == nil {
			merged["~"] = base
		}
		id := m.Topic + " " + key
		kept[id] = true
		s.drop(id, touched)
		s.add(out, newConfig(merged), id, shape.Text(merged["platform"]), object+"_"+key, key, touched)
	}
	s.dropAll(m.Topic, kept, touched)
	s.settle(out, touched)
}

// drop takes an entity away.
func (s *Shape) drop(id string, touched map[*device]bool) {
	if e := s.entities[id]; e != nil {
		delete(s.entities, id)
		delete(e.device.all, id)
		touched[e.device] = true
	}
}

// dropAll takes the entities of a device's message away, but for those kept.
func (s *Shape) dropAll(topic string, kept map[string]bool, touched map[*device]bool) {
	for id := range s.entities {
		if strings.HasPrefix(id, topic+" ") && !kept[id] {
			s.drop(id, touched)
		}
	}
}

// add adds an entity.
func (s *Shape) add(out *shape.Output, c *config, id, component, fallback, object string, touched map[*device]bool) {
	build := components[component]
	if build == nil {
		out.Refuse("", "component", []byte(component+" "+id))
		return
	}
	e := &entity{id: id, component: component, unique: c.text("unique_id", fallback), parts: build(c)}
	e.avail, e.mode = c.availability()
	if c.err != nil {
		out.Refuse("", clip(c.err.Error(), 200), []byte(id))
		return
	}
	info := shape.Dict(c.keys["device"])
	key := deviceKey(info, e.unique)
	d := s.devices[key]
	if d == nil && len(s.devices) >= shape.MaxDevices || len(s.entities) >= maxEntities {
		out.Refuse("", "too_many_devices", []byte(id))
		return
	}
	if d == nil {
		d = &device{key: key, all: map[string]*entity{}}
		s.devices[key] = d
	}
	if len(info) > len(d.info) || d.info == nil {
		d.info = info
	}
	e.name = entityName(c, component, object, shape.Text(info["name"]))
	e.device = d
	s.entities[id], d.all[id] = e, e
	touched[d] = true
}

func clip(s string, n int) string { return s[:min(len(s), n)] }

// deviceKey returns what identifies a device: its first identifier or connection;
// without, the entity is a device of its own.
func deviceKey(info map[string]any, unique string) string {
	if id := shape.Text(info["identifiers"]); id != "" {
		return clip(id, 100)
	}
	if l := shape.List(info["identifiers"]); len(l) > 0 && shape.Word(scalar(l[0])) != "" {
		return clip(shape.Word(scalar(l[0])), 100)
	}
	if l := shape.List(info["connections"]); len(l) > 0 {
		if pair := shape.List(l[0]); len(pair) == 2 && shape.Text(pair[1]) != "" {
			return clip(shape.Text(pair[1]), 100)
		}
	}
	return clip(unique, 100)
}

// entityName returns what an entity is called within its device.
func entityName(c *config, component, object, device string) string {
	name := c.text("name", "")
	rest, ok := strings.CutPrefix(name, device)
	if ok && device != "" && shape.Name(rest) != "" && shape.Name("x"+rest[:1]) == "x" {
		name = rest // older devices put their own name before it
	}
	if shape.Name(name) != "" {
		return name
	}
	if class := c.text("device_class", ""); class != "" && c.keys["name"] == nil {
		return class
	}
	if shape.Name(object) != "" && component != "device_automation" {
		return object
	}
	return component
}

// settle makes the devices that a message has touched anew.
func (s *Shape) settle(out *shape.Output, touched map[*device]bool) {
	for _, d := range slices.SortedFunc(maps.Keys(touched), func(a, b *device) int { return strings.Compare(a.key, b.key) }) {
		if len(d.all) == 0 {
			delete(s.devices, d.key)
			out.Vanished = append(out.Vanished, d.key)
			continue
		}
		before := d.Device
		d.build()
		if before.ID == "" || !reflect.DeepEqual(before, d.Device) {
			out.Appeared = append(out.Appeared, d.Device)
		}
		if p := s.presence(d); before.ID == "" || p != d.online {
			d.online = p
			out.Presence = append(out.Presence, p)
		}
	}
	if len(touched) > 0 {
		s.stale, out.Filters = true, true
	}
}

// build makes the description out of the entities.
func (d *device) build() {
	d.Device = shape.Device{ID: d.key, Name: shape.Text(d.info["name"]), Label: shape.Text(d.info["name"])}
	if d.Name == "" {
		d.Name = d.key
	}
	d.Model = strings.TrimSpace(shape.Text(d.info["manufacturer"]) + " " + shape.Text(d.info["model"]))
	d.points, d.actions, d.awaits = map[string]*source{}, map[string]*verb{}, map[string]string{}
	wanted := map[string]string{}
	for _, e := range d.all {
		wanted[e.unique+" "+e.id] = e.name
	}
	names := shape.Names(wanted)
	triggers := map[string]bool{}
	for _, key := range slices.Sorted(maps.Keys(wanted)) {
		_, id, _ := strings.Cut(key, " ")
		if e := d.all[id]; e != nil {
			d.entity(e, names[key], triggers)
		} else if e := d.byKey(key); e != nil {
			d.entity(e, names[key], triggers)
		}
	}
}

// byKey finds an entity whose unique ID has blanks in it.
func (d *device) byKey(key string) *entity {
	for _, e := range d.all {
		if e.unique+" "+e.id == key {
			return e
		}
	}
	return nil
}

// entity adds the points and actions of an entity called name.
func (d *device) entity(e *entity, name string, triggers map[string]bool) {
	for i := range e.sources {
		s := &e.sources[i]
		if !s.Readable && !s.Writable || len(d.Points) >= shape.MaxPoints {
			continue
		}
		p := s.Point
		p.ID = join(name, s.suffix)
		if e.component == "device_automation" {
			p.ID = "trigger"
			d.trigger(s, triggers)
			continue
		}
		if d.points[p.ID] != nil {
			p.ID = shape.Suffixed(p.ID, e.unique)
		}
		if p.Description == "" {
			p.Description = e.name
		}
		d.points[p.ID] = s
		d.Points = append(d.Points, p)
	}
	for i := range e.verbs {
		v := &e.verbs[i]
		a := v.Action
		a.ID = join(name, v.suffix)
		if d.actions[a.ID] != nil {
			a.ID = shape.Suffixed(a.ID, e.unique)
		}
		if len(d.Actions) >= shape.MaxPoints {
			return
		}
		d.actions[a.ID] = v
		if v.await != "-" && d.points[join(name, v.await)] != nil {
			d.awaits[a.ID] = join(name, v.await)
		}
		d.Actions = append(d.Actions, a)
	}
}

// trigger adds a word to the device's point for its triggers.
func (d *device) trigger(s *source, seen map[string]bool) {
	if len(seen) == 0 {
		d.Points = append(d.Points, drivers.Point{ID: "trigger", Type: drivers.Text, Readable: true, Description: "what was done last"})
	}
	seen[s.Enum[0]] = true
	for i := range d.Points {
		if d.Points[i].ID == "trigger" && len(d.Points[i].Enum) < shape.MaxEnum && !slices.Contains(d.Points[i].Enum, s.Enum[0]) {
			d.Points[i].Enum = append(d.Points[i].Enum, s.Enum[0])
		}
	}
}

func join(name, suffix string) string {
	if suffix == "" {
		return name
	}
	return shape.Name(name[:min(len(name), 63-len(suffix))] + "_" + suffix)
}

// index notes who reads which topic, when that has changed.
func (s *Shape) index() {
	if !s.stale {
		return
	}
	s.stale = false
	s.topics, s.reach = map[string][]use{}, map[string][]*device{}
	for _, key := range slices.Sorted(maps.Keys(s.devices)) {
		d := s.devices[key]
		for _, id := range slices.Sorted(maps.Keys(d.points)) {
			if p := d.points[id]; p.topic != "" {
				s.topics[p.topic] = append(s.topics[p.topic], use{d, p, id})
			}
		}
		for _, id := range slices.Sorted(maps.Keys(d.all)) {
			e := d.all[id]
			if e.component == "device_automation" {
				p := &e.sources[0]
				s.topics[p.topic] = append(s.topics[p.topic], use{d, p, "trigger"})
			}
			for _, a := range e.avail {
				if !slices.Contains(s.reach[a.topic], d) {
					s.reach[a.topic] = append(s.reach[a.topic], d)
				}
			}
		}
	}
	s.wild = nil
	for _, t := range slices.Sorted(maps.Keys(s.topics)) {
		if f, err := bridge.ParseFilter(t); err == nil && strings.ContainsAny(t, "+#") {
			s.wild = append(s.wild, pattern{f, s.topics[t]})
		}
	}
	maps.DeleteFunc(s.said, func(topic, _ string) bool { return s.reach[topic] == nil })
}

// reached takes a message of an availability topic.
func (s *Shape) reached(out *shape.Output, m *shape.Message) {
	devices := s.reach[m.Topic]
	if len(devices) == 0 || len(m.Payload) > shape.MaxText {
		return
	}
	s.said[m.Topic] = string(m.Payload)
	for _, d := range devices {
		if p := s.presence(d); p != d.online {
			d.online = p
			out.Presence = append(out.Presence, p)
		}
	}
}

// presence reports whether a device can be reached: whether one of its entities can.
func (s *Shape) presence(d *device) shape.Presence {
	asked := false
	for _, e := range d.all {
		if len(e.avail) == 0 {
			continue
		}
		asked = true
		if s.available(e) {
			return shape.Presence{Device: d.key, Online: true}
		}
	}
	if !asked {
		return shape.Presence{Device: d.key, Online: true}
	}
	return shape.Presence{Device: d.key, Why: "it has not said that it is available"}
}

// available combines the availability topics of an entity by its mode. "latest" is
// taken as "all": which of several spoke last is not known after a reconnect.
func (s *Shape) available(e *entity) bool {
	for _, a := range e.avail {
		yes := s.holds(a)
		if yes && e.mode == "any" {
			return true
		}
		if !yes && e.mode != "any" {
			return false
		}
	}
	return e.mode != "any"
}

func (s *Shape) holds(a availability) bool {
	payload, ok := s.said[a.topic]
	if !ok {
		return false
	}
	if a.tmpl == nil {
		return payload == a.on
	}
	v, err := a.tmpl.Render(variables([]byte(payload)))
	return err == nil && (word(v) == a.on || shape.Word(scalar(v)) == a.on)
}

// variables are those of a template that reads a payload.
func variables(payload []byte) map[string]any {
	vars := map[string]any{"value": string(payload)}
	if v, err := template.Decode(payload); err == nil {
		vars["value_json"] = v
	}
	return vars
}

// report takes a message of a state topic.
func (s *Shape) report(out *shape.Output, m *shape.Message) {
	uses := s.topics[m.Topic]
	for i := range s.wild {
		if s.wild[i].Matches(m.Topic) {
			uses = append(slices.Clip(uses), s.wild[i].uses...)
		}
	}
	if len(uses) == 0 {
		return
	}
	if len(m.Payload) > shape.MaxState {
		out.Refuse(uses[0].device.key, "too_large", m.Payload)
		return
	}
	var vars map[string]any
	once := func() map[string]any {
		if vars == nil {
			vars = variables(m.Payload)
		}
		return vars
	}
	for _, u := range uses {
		if u.source.moment && m.Retained {
			continue
		}
		v, why, there := u.source.value(m.Payload, once)
		switch {
		case u.id == "trigger" && (why != "" || v != u.source.Enum[0]):
		case u.source.moment && there && why == "":
			out.Happen(u.device.key, u.id, shape.Word(v))
		case why != "":
			out.EmitBad(u.device.key, u.id, why)
		case there:
			out.Emit(m, u.device.key, u.id, v)
		}
	}
}

// Read implements shape.Shape. Nobody can be asked.
func (s *Shape) Read(string, []string) (shape.Command, error) {
	return shape.Command{}, shape.ErrUnknown
}

// Write implements shape.Shape.
func (s *Shape) Write(id, point string, v drivers.Value) (shape.Command, error) {
	d := s.devices[id]
	if d == nil || d.points[point] == nil || !d.points[point].Writable {
		return shape.Command{}, shape.ErrUnknown
	}
	p := d.points[point]
	payload, err := p.payload(v)
	if err != nil {
		return shape.Command{}, fmt.Errorf("%w: %w", err, drivers.ErrRefused)
	}
	c := shape.Command{Send: []shape.Message{{Topic: p.command, Payload: payload}}}
	if p.Readable {
		c.Await, c.Want = []string{point}, v
		if p.Min != nil && p.Max != nil {
			c.Tolerance = (*p.Max - *p.Min) / 200
		}
	}
	return c, nil
}

// Do implements shape.Shape.
func (s *Shape) Do(id, action string, args map[string]any) (shape.Command, error) {
	d := s.devices[id]
	if d == nil || d.actions[action] == nil {
		return shape.Command{}, shape.ErrUnknown
	}
	v := d.actions[action]
	payload := []byte(v.payload)
	switch {
	case v.tmpl != nil:
		given := any(v.payload)
		if message, ok := args["message"]; ok {
			given = message
		}
		out, err := v.tmpl.Render(map[string]any{"value": given})
		if err != nil {
			return shape.Command{}, fmt.Errorf("its command template: %w: %w", err, drivers.ErrRefused)
		}
		payload = []byte(shape.Word(scalar(out)))
	case v.payload == "{message}":
		payload = []byte(shape.Text(args["message"]))
	case v.payload == "":
		payload = shape.JSON(map[string]any{"state": "ON", "color": args})
	}
	c := shape.Command{Send: []shape.Message{{Topic: v.topic, Payload: payload}}}
	if point := d.awaits[action]; point != "" {
		c.Await = []string{point}
	}
	return c, nil
}
