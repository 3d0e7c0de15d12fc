// Package homeassistant reads the discovery messages that devices write for Home
// Assistant, for one entity or for a device with all of its entities, and what they
// publish on the topics named there.
//
// Source: www.home-assistant.io/integrations/mqtt, "MQTT discovery".
package homeassistant

import (
	"maps"
	"slices"
	"strings"
	"time"

	"gantry/bridge"
	"gantry/bridge/shapes/internal/shape"
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
	said     map[string]said // by availability topic
	turn     uint64          // of the last message of such a topic
	next     time.Time       // when something expires, at the latest
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
	left    int               // points and actions that there is no room for
	online  shape.Presence
}

// New returns a shape without devices. What the origins named announce is left to
// others, which know it better.
func New(ignore ...string) *Shape {
	s := &Shape{ignore: map[string]bool{OwnOrigin: true}, entities: map[string]*entity{}, devices: map[string]*device{}, said: map[string]said{}}
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
func (s *Shape) Receive(m shape.Message, now time.Time) (out shape.Output) {
	if rest, ok := strings.CutPrefix(m.Topic, Prefix+"/"); ok && strings.HasSuffix(rest, "/config") {
		out.Mine = true
		s.announced(&out, &m, strings.Split(rest, "/"))
		return out
	}
	s.index()
	s.reached(&out, &m)
	s.report(&out, &m, now)
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
		out.Refuse("", shape.Malformed, m.Payload)
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
		old := s.drop(m.Topic, touched)
		s.add(out, c, old, m.Topic, level[0], object, level[len(level)-2], touched)
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
		old := s.drop(id, touched)
		s.add(out, newConfig(merged), old, id, shape.Text(merged["platform"]), object+"_"+key, key, touched)
	}
	s.dropAll(m.Topic, kept, touched)
	s.settle(out, touched)
}

// drop takes an entity away, and returns it if it was there.
func (s *Shape) drop(id string, touched map[*device]bool) *entity {
	e := s.entities[id]
	if e != nil {
		delete(s.entities, id)
		delete(e.device.all, id)
		touched[e.device] = true
	}
	return e
}

// dropAll takes the entities of a device's message away, but for those kept.
func (s *Shape) dropAll(topic string, kept map[string]bool, touched map[*device]bool) {
	for id := range s.entities {
		if strings.HasPrefix(id, topic+" ") && !kept[id] {
			s.drop(id, touched)
		}
	}
}

// add adds an entity, which may have been there before as old.
func (s *Shape) add(out *shape.Output, c *config, old *entity, id, component, fallback, object string, touched map[*device]bool) {
	build := components[component]
	if build == nil {
		out.Refuse("", shape.BadComponent, []byte(component+" "+id))
		return
	}
	e := &entity{id: id, component: component, unique: c.text("unique_id", fallback), parts: build(c)}
	e.avail, e.mode = c.availability()
	if c.err != nil {
		out.RefuseFor("", shape.BadConfig, clip(c.err.Error(), 200), []byte(id))
		return
	}
	info := shape.Dict(c.keys["device"])
	key := deviceKey(info, e.unique)
	d := s.devices[key]
	if d == nil && len(s.devices) >= shape.MaxDevices || len(s.entities) >= maxEntities {
		out.Refuse("", shape.TooManyDevices, []byte(id))
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
	e.remember(old)
	for _, a := range e.avail {
		s.ask(e, a.topic)
	}
	s.entities[id], d.all[id] = e, e
	touched[d] = true
}

func clip(s string, n int) string { return s[:min(len(s), n)] }
