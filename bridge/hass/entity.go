package hass

import (
	"encoding/json"
	"fmt"
	"math"
	"strconv"
	"strings"
	"unicode/utf8"

	"gantry/wamp"
)

// units are what Home Assistant writes for UCUM codes, and the device class that goes
// without saying.
var units = map[string]struct{ name, class string }{
	"Cel": {"°C", "temperature"}, "[degF]": {"°F", "temperature"}, "K": {"K", "temperature"},
	"W": {"W", "power"}, "kW": {"kW", "power"}, "MW": {"MW", "power"}, "V": {"V", "voltage"}, "mV": {"mV", "voltage"}, "A": {"A", "current"}, "mA": {"mA", "current"},
	"V.A": {"VA", "apparent_power"}, "V.A{reactive}": {"var", "reactive_power"}, "Hz": {"Hz", "frequency"},
	"W.h": {"Wh", "energy"}, "kW.h": {"kWh", "energy"}, "MW.h": {"MWh", "energy"},
	"Pa": {"Pa", "pressure"}, "hPa": {"hPa", "pressure"}, "kPa": {"kPa", "pressure"}, "bar": {"bar", "pressure"}, "mbar": {"mbar", "pressure"}, "[psi]": {"psi", "pressure"},
	"lx": {"lx", "illuminance"}, "%": {"%", ""}, "deg": {"°", ""}, "[ppm]": {"ppm", ""}, "[ppb]": {"ppb", ""}, "ug/m3": {"µg/m³", ""}, "dB{mW}": {"dBm", "signal_strength"},
	"m/s": {"m/s", "speed"}, "km/h": {"km/h", "speed"}, "m3": {"m³", ""}, "L": {"L", ""}, "m3/h": {"m³/h", "volume_flow_rate"}, "L/min": {"L/min", "volume_flow_rate"},
	"mm": {"mm", "distance"}, "cm": {"cm", "distance"}, "m": {"m", "distance"}, "km": {"km", "distance"}, "kg": {"kg", "weight"}, "g": {"g", "weight"},
	"s": {"s", "duration"}, "min": {"min", "duration"}, "h": {"h", "duration"}, "d": {"d", "duration"}, "ms": {"ms", "duration"}, "By": {"B", "data_size"}, "W/m2": {"W/m²", "irradiance"},
}

// unit returns what Home Assistant writes for a UCUM code, and the device class.
func unit(code string) (name, class string) {
	if u, ok := units[code]; ok {
		return u.name, u.class
	}
	return strings.Trim(code, "{}[]"), ""
}

// entity is a point or an action as Home Assistant sees it.
type entity struct {
	platform string
	typ      string // of the point's values
}

// text returns a text of a dictionary.
func text(d wamp.Dict, key string) string {
	s, _ := d[key].(string)
	return s
}

// component makes the component of a point; nil for what Home Assistant has nothing
// like.
func component(p wamp.Dict, topic string) (wamp.Dict, entity) {
	id, typ, access := text(p, "point"), text(p, "type"), text(p, "access")
	words, _ := p["enum"].(wamp.List)
	name := text(p, "label")
	if name == "" {
		name = strings.ReplaceAll(id, "_", " ")
	}
	c := wamp.Dict{"name": name}
	writable := strings.Contains(access, "w")
	e := entity{typ: typ}
	unitName, class := unit(text(p, "unit"))
	switch {
	case typ == "bool":
		e.platform = "binary_sensor"
		if writable {
			e.platform = "switch"
		}
	case typ == "bytes":
		return nil, e
	case typ == "text" && writable && len(words) > 0:
		e.platform, c["options"] = "select", words
	case typ == "text" && writable:
		e.platform = "text"
	case typ == "text" && len(words) > 0:
		e.platform, c["device_class"], c["options"] = "sensor", "enum", words
	case typ == "text":
		e.platform = "sensor"
	case writable:
		e.platform = "number"
		numberOf(c, p, typ)
	default:
		e.platform, c["state_class"] = "sensor", "measurement"
		if class == "energy" {
			c["state_class"] = "total_increasing"
		}
	}
	if typ == "float" || typ == "int" {
		if unitName != "" {
			c["unit_of_measurement"] = unitName
		}
		if class != "" {
			c["device_class"] = class
		}
	}
	c["platform"] = e.platform
	if strings.Contains(access, "r") {
		c["state_topic"] = topic
	} else if e.platform == "binary_sensor" || e.platform == "sensor" {
		return nil, e
	}
	if writable {
		c["command_topic"] = topic + "/set"
	}
	return c, e
}

// numberOf adds the range that Home Assistant insists on.
func numberOf(c, p wamp.Dict, typ string) {
	low, high, step := -1e6, 1e6, 0.001
	if typ == "int" {
		step = 1
	}
	for key, to := range map[string]*float64{"min": &low, "max": &high, "step": &step} {
		switch v := p[key].(type) {
		case float64:
			*to = v
		case int64:
			*to = float64(v)
		}
	}
	c["min"], c["max"], c["step"], c["mode"] = low, max(high, low+step), step, "box"
}

// state writes a value as Home Assistant reads it. What is not known is None.
func state(v any, quality string) string {
	if quality == "bad" {
		return "None"
	}
	switch v := v.(type) {
	case bool:
		if v {
			return "ON"
		}
		return "OFF"
	case string:
		return clip(v, 255) // a state has no more
	case int64:
		return strconv.FormatInt(v, 10)
	case uint64:
		return strconv.FormatUint(v, 10)
	case float64:
		return strconv.FormatFloat(v, 'g', -1, 64)
	}
	return "None"
}

func clip(s string, n int) string {
	if len(s) > n {
		s = s[:n]
	}
	return strings.ToValidUTF8(s, "")
}

// value reads a command.
func (e entity) value(payload []byte) (any, error) {
	s := string(payload)
	switch e.typ {
	case "bool":
		switch s {
		case "ON":
			return true, nil
		case "OFF":
			return false, nil
		}
		return nil, fmt.Errorf("%.40q is neither ON nor OFF", s)
	case "float", "int":
		f, err := strconv.ParseFloat(s, 64)
		if err != nil || math.IsNaN(f) || math.IsInf(f, 0) {
			return nil, fmt.Errorf("%.40q is no number", s)
		}
		return f, nil
	}
	if len(s) > 4096 || !utf8.ValidString(s) {
		return nil, fmt.Errorf("a text of %d bytes", len(s))
	}
	return s, nil
}

// maxComponents bounds the entities of one device.
const maxComponents = 256

// discovery makes the discovery message of a device from what sys.device.describe
// says, and the entities by point.
func (p *Publisher) discovery(d wamp.Dict) ([]byte, map[string]entity) {
	name := text(d, "device")
	label := text(d, "label")
	if label == "" {
		label = name
	}
	id := p.id(name)
	components := wamp.Dict{}
	entities := map[string]entity{}
	points, _ := d["points"].(wamp.List)
	for _, x := range points {
		point, _ := x.(wamp.Dict)
		c, e := component(point, p.topic(name, text(point, "point")))
		if c == nil {
			continue
		}
		if len(components) >= maxComponents {
			p.lose(&p.noEntity, "a point is not shown: the device has too many", "device", name, "point", text(point, "point"), "limit", maxComponents)
			continue
		}
		c["unique_id"] = id + "_" + text(point, "point")
		components[text(point, "point")] = c
		entities[text(point, "point")] = e
	}
	actions, _ := d["actions"].(wamp.List)
	for _, x := range actions {
		action, _ := x.(wamp.Dict)
		args, _ := action["args"].(wamp.List)
		if len(args) > 0 {
			continue // Home Assistant's buttons have no arguments
		}
		verb := text(action, "action")
		if len(components) >= maxComponents {
			p.lose(&p.noEntity, "an action is not shown: the device has too many", "device", name, "action", verb, "limit", maxComponents)
			continue
		}
		components["do_"+verb] = wamp.Dict{"platform": "button", "name": strings.ReplaceAll(verb, "_", " "), "unique_id": id + "_do_" + verb, "command_topic": p.topic(name, verb) + "/do"}
		entities["do "+verb] = entity{platform: "button"}
	}
	device := wamp.Dict{"identifiers": wamp.List{id}, "name": label, "manufacturer": "Gantry"}
	if model := text(d, "model"); model != "" {
		device["model"] = clip(model, 200)
	}
	available := wamp.List{wamp.Dict{"topic": p.topic(name, "availability")}}
	if p.cfg.Status != "" {
		available = append(available, wamp.Dict{"topic": p.cfg.Status})
	}
	b, err := json.Marshal(wamp.Dict{
		"device": device, "components": components, "availability": available, "availability_mode": "all",
		"origin": wamp.Dict{"name": Origin},
	})
	if err != nil {
		return nil, nil
	}
	return b, entities
}
