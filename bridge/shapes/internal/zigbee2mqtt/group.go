package zigbee2mqtt

import (
	"slices"
	"strconv"

	"gantry/bridge/shapes/internal/shape"
	"gantry/drivers"
)

// group is a Zigbee group: several devices that take one command together.
type group struct {
	id       string // of the device that it is here
	friendly string
	members  []string // IEEE addresses
	scenes   map[string]float64
}

// groupList takes the list of all groups (bridge/groups).
func (s *Shape) groupList(out *shape.Output, m *shape.Message) {
	entries, ok := array(m.Payload)
	if !ok {
		out.Refuse(BridgeID, shape.Malformed, m.Payload)
		return
	}
	s.groups = nil
	for _, x := range entries {
		e := shape.Dict(x)
		id, name := shape.Number(e["id"]), shape.Text(e["friendly_name"])
		if id == nil || *id < 0 || *id > 1<<16 || name == "" || len(name) > 256 || len(s.groups) >= shape.MaxDevices {
			out.Refuse(BridgeID, shape.BadGroup, []byte(name))
			continue
		}
		g := group{id: "group/" + strconv.Itoa(int(*id)), friendly: name, scenes: map[string]float64{}}
		for _, x := range shape.List(e["members"]) {
			if member := shape.Text(shape.Dict(x)["ieee_address"]); member != "" && !slices.Contains(g.members, member) {
				g.members = append(g.members, member)
			}
		}
		for _, x := range shape.List(e["scenes"]) {
			scene := shape.Dict(x)
			n, name := shape.Number(scene["id"]), shape.Text(scene["name"])
			if n == nil || name == "" || len(name) >= shape.MaxText || len(g.scenes) >= shape.MaxEnum {
				out.Refuse(g.id, shape.BadGroup, []byte(name))
				continue
			}
			g.scenes[name] = *n
		}
		s.groups = append(s.groups, g)
	}
	s.settle(out, s.list)
}

// device returns a group as a device: what all of its members can be set to. nil: nothing.
func (g *group) device(members map[string]*device) *device {
	common := &exposed{readable: map[string]bool{}, seen: map[string]bool{}}
	known := 0
	for _, id := range g.members {
		m := members[id]
		if m == nil {
			continue // it has not been announced
		}
		if known++; known == 1 {
			for _, p := range m.properties {
				if p.Readable && p.Writable {
					common.put(p, false)
				}
			}
			common.compounds = slices.Clone(m.compounds)
			continue
		}
		common.keep(m.exposed)
	}
	if len(common.properties) == 0 && len(g.scenes) == 0 {
		return nil
	}
	d := &device{exposed: common, friendly: g.friendly, reached: true}
	d.ID, d.Name, d.Label, d.Model = g.id, g.friendly, g.friendly, "Zigbee group"
	d.describe()
	if len(g.scenes) > 0 {
		d.scenes = g.scenes
		arg := drivers.Point{ID: "scene", Type: drivers.Text}
		for name := range g.scenes {
			arg.Enum = append(arg.Enum, name)
		}
		slices.Sort(arg.Enum)
		d.Actions = append(d.Actions, drivers.Action{ID: recallScene, Description: "recall a scene", Args: []drivers.Point{arg}})
	}
	return d
}

const recallScene = "recall_scene"

// keep drops what another member has not, and narrows ranges and words to what both take.
func (e *exposed) keep(other *exposed) {
	e.properties = slices.DeleteFunc(e.properties, func(p property) bool {
		return !slices.ContainsFunc(other.properties, func(o property) bool { return o.ID == p.ID && o.Type == p.Type && o.Writable })
	})
	for i := range e.properties {
		p := &e.properties[i]
		o := other.properties[slices.IndexFunc(other.properties, func(o property) bool { return o.ID == p.ID })]
		p.Min, p.Max = inner(p.Min, o.Min, func(a, b float64) bool { return a > b }), inner(p.Max, o.Max, func(a, b float64) bool { return a < b })
		p.tolerance = max(p.tolerance, o.tolerance)
		p.Enum = slices.DeleteFunc(slices.Clone(p.Enum), func(w string) bool { return !slices.Contains(o.Enum, w) })
	}
	e.compounds = slices.DeleteFunc(e.compounds, func(c compound) bool {
		return !slices.ContainsFunc(other.compounds, func(o compound) bool { return o.ID == c.ID })
	})
}

// inner returns the bound that is further in; nil is none.
func inner(a, b *float64, further func(a, b float64) bool) *float64 {
	if a == nil || b != nil && further(*b, *a) {
		return b
	}
	return a
}
