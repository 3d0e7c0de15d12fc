package zigbee2mqtt

import (
	"math"

	"gantry/bridge/shapes/internal/shape"
	"gantry/drivers"
)

// The bits of "access".
const (
	accessState = 1 << iota // found in what the device publishes
	accessSet
	accessGet
)

// maxNesting bounds features in features.
const maxNesting = 4

// property is a point and where its value is in the device's state.
type property struct {
	drivers.Point
	path      []string       // keys, from the outside
	on, off   any            // what true and false are; nil where it is no binary
	words     map[string]any // the values of an enum, by their words
	moment    bool           // a word for what has just happened, such as a button's
	tolerance float64        // of a confirmation
}

// compound is an action that sets a composite: {"color": {"x": 0.3, "y": 0.4}}.
type compound struct {
	drivers.Action
	path     []string
	features []property
	await    []string // points that it changes
}

// exposed collects what a definition exposes.
type exposed struct {
	properties []property
	compounds  []compound
	readable   map[string]bool
	seen       map[string]bool
}

func newExposed(list []any) *exposed {
	e := &exposed{readable: map[string]bool{}, seen: map[string]bool{}}
	e.add(list, nil, 0)
	return e
}

func (e *exposed) add(list []any, path []string, depth int) {
	for _, x := range list {
		f := shape.Dict(x)
		if f == nil || depth > maxNesting || len(e.properties) >= shape.MaxPoints {
			continue
		}
		key := shape.Text(f["property"])
		features := shape.List(f["features"])
		if shape.Text(f["type"]) != "composite" && len(features) > 0 {
			e.add(features, path, depth+1) // light, switch, cover, climate, lock, fan
			continue
		}
		if key == "" {
			continue
		}
		at := append(append([]string(nil), path...), key)
		if features != nil {
			e.composite(f, features, at, depth)
			continue
		}
		e.property(f, at)
	}
}

// composite makes points of what a composite reports and an action of setting it:
// its parts belong together.
func (e *exposed) composite(f map[string]any, features []any, path []string, depth int) {
	inner := &exposed{readable: map[string]bool{}, seen: map[string]bool{}}
	inner.add(features, path, depth+1)
	access := bits(f["access"])
	if access == 0 && len(inner.properties) > 0 { // older versions say it of the features alone
		access = accessState
		if inner.properties[0].Writable {
			access |= accessSet
		}
	}
	c := compound{path: path}
	c.ID = "set_" + shape.Name(shape.Text(f["name"]))
	c.Description = shape.Text(f["description"])
	for _, p := range inner.properties {
		if p.Writable {
			arg := p.Point
			arg.ID = shape.Name(p.path[len(p.path)-1])
			c.Args = append(c.Args, arg)
			c.features = append(c.features, p)
		}
		if access&accessState == 0 || e.seen[p.ID] {
			continue
		}
		p.Writable, p.Readable = false, true
		e.put(p, access&accessGet != 0)
		c.await = append(c.await, p.ID)
	}
	if access&accessSet != 0 && len(c.Args) > 0 && c.ID != "set_" && !e.seen["do "+c.ID] {
		e.seen["do "+c.ID] = true
		e.compounds = append(e.compounds, c)
	}
}

func bits(v any) int {
	f, _ := v.(float64)
	return int(max(0, min(f, 7)))
}

func (e *exposed) property(f map[string]any, path []string) {
	access := bits(f["access"])
	p := property{path: path}
	name := ""
	for _, k := range path {
		name += "_" + k
	}
	p.ID = shape.Name(name)
	if p.ID == "" || e.seen[p.ID] {
		return
	}
	p.Description = shape.Text(f["description"])
	p.Unit = shape.Unit(shape.Text(f["unit"]))
	p.Readable, p.Writable = access&accessState != 0, access&accessSet != 0
	if !p.Readable && !p.Writable {
		return
	}
	switch shape.Text(f["type"]) {
	case "binary":
		p.Type, p.on, p.off = drivers.Bool, scalar(f["value_on"]), scalar(f["value_off"])
	case "numeric":
		p.Type, p.Min, p.Max = drivers.Float, shape.Number(f["value_min"]), shape.Number(f["value_max"])
		p.tolerance = tolerance(&p.Point, f["value_step"])
	case "enum":
		p.Type, p.words = drivers.Text, map[string]any{}
		for _, v := range shape.List(f["values"]) {
			if w := shape.Word(v); w != "" && len(p.Enum) < shape.MaxEnum {
				p.words[w] = v
				p.Enum = append(p.Enum, w)
			}
		}
		p.moment = path[len(path)-1] == "action"
	default: // text, list, and what is yet to come: as JSON
		p.Type = drivers.Text
	}
	e.put(p, access&accessGet != 0)
}

func (e *exposed) put(p property, get bool) {
	e.seen[p.ID] = true
	e.properties = append(e.properties, p)
	if get && p.Readable {
		e.readable[p.ID] = true
	}
}

// scalar returns v unless it is a list or an object, which cannot be compared.
func scalar(v any) any {
	switch v.(type) {
	case string, float64, bool:
		return v
	}
	return nil
}

// tolerance is what devices round by: half a step, or a unit of a wide range.
func tolerance(p *drivers.Point, step any) float64 {
	if s := shape.Number(step); s != nil && *s > 0 {
		return *s / 2
	}
	if p.Min != nil && p.Max != nil && *p.Max-*p.Min >= 50 {
		return 1
	}
	return 0.05
}

// value turns what a device published into the point's value.
func (p *property) value(v any) (drivers.Value, string) {
	switch {
	case p.Type == drivers.Bool && p.on != nil:
		switch v {
		case p.on:
			return true, ""
		case p.off:
			return false, ""
		}
		return nil, "not_bool"
	case p.words != nil:
		return shape.Word(v), ""
	}
	return shape.Of(p.Type, v)
}

// payload is the way back.
func (p *property) payload(v drivers.Value) any {
	switch v := v.(type) {
	case bool:
		if p.on == nil {
			return v
		}
		if v {
			return p.on
		}
		return p.off
	case float64:
		if v == math.Trunc(v) && math.Abs(v) < 1<<53 {
			return int64(v)
		}
	case string:
		if w, ok := p.words[v]; ok {
			return w
		}
	}
	return v
}

// wrap puts a value at a path.
func wrap(path []string, v any) map[string]any {
	for i := len(path) - 1; i > 0; i-- {
		v = map[string]any{path[i]: v}
	}
	return map[string]any{path[0]: v}
}

// find returns what is at a path.
func find(state map[string]any, path []string) (any, bool) {
	for i, k := range path {
		v, ok := state[k]
		if !ok || i == len(path)-1 {
			return v, ok
		}
		if state = shape.Dict(v); state == nil {
			return nil, false
		}
	}
	return nil, false
}
