package homeassistant

import (
	"maps"
	"reflect"
	"slices"
	"strings"

	"gantry/bridge/shapes/internal/shape"
	"gantry/drivers"
)

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
		if d.build(); d.left > 0 {
			out.Refuse(d.key, shape.TooManyPoints, nil)
		}
		if before.ID == "" || !reflect.DeepEqual(before, d.Device) {
			out.Appeared = append(out.Appeared, d.Device)
		}
		if p := presence(d); before.ID == "" || p != d.online {
			d.online = p
			out.Presence = append(out.Presence, p)
		}
		d.reveal(out)
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
	d.left, d.points, d.actions, d.awaits = 0, map[string]*source{}, map[string]*verb{}, map[string]string{}
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
		if !s.Readable && !s.Writable {
			continue
		}
		if len(d.Points) >= shape.MaxPoints {
			d.left++
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
			d.left++
			continue
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
