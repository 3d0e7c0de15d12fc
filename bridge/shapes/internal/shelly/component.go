package shelly

import (
	"maps"
	"slices"
	"strings"

	"gantry/bridge/shapes/internal/shape"
	"gantry/drivers"
)

// field is a value in the status of a component.
type field struct {
	path     string // keys separated by dots
	name     string // "" = the component's own
	unit     string
	kind     drivers.Type
	method   string // that sets it; "" = read only
	arg      string // of the method
	remote   string // method of the device behind this one, which method passes on; "" = none
	min, max float64
}

var (
	on     = field{path: "output", kind: drivers.Bool, method: "Set", arg: "on"}
	meter  = []field{{path: "apower", name: "power", unit: "W"}, {path: "voltage", name: "voltage", unit: "V"}, {path: "current", name: "current", unit: "A"}, {path: "freq", name: "frequency", unit: "Hz"}, {path: "pf", name: "power_factor"}, {path: "aenergy.total", name: "energy", unit: "W.h"}, {path: "ret_aenergy.total", name: "energy_returned", unit: "W.h"}, {path: "temperature.tC", name: "temperature", unit: "Cel"}}
	dimmed = field{path: "brightness", name: "brightness", unit: "%", method: "Set", arg: "brightness", max: 100}
	white  = field{path: "white", name: "white", method: "Set", arg: "white", max: 255}
	color  = field{path: "rgb", name: "rgb", kind: drivers.Text}
	virtue = []field{{path: "value", kind: drivers.Float}}
)

// components are the fields of a component's status, by the part of its key before
// the colon. Source: shelly-api-docs.shelly.cloud, Gen2+, "Components and Services".
var components = map[string][]field{
	"switch": append([]field{on}, meter...),
	"light":  append([]field{on, dimmed}, meter...),
	"rgb":    append([]field{on, dimmed, color}, meter...),
	"rgbw":   append([]field{on, dimmed, color, white}, meter...),
	"cct":    append([]field{on, dimmed, {path: "ct", name: "color_temp", unit: "K", method: "Set", arg: "ct", min: 2700, max: 6500}}, meter...),
	"cover":  append([]field{{path: "state", kind: drivers.Text}, {path: "current_pos", name: "position", unit: "%", method: "GoToPosition", arg: "pos", max: 100}}, meter...),
	"input":  {{path: "state", kind: drivers.Bool}, {path: "percent", name: "percent", unit: "%"}, {path: "counts.total", name: "count"}, {path: "counts.xtotal", name: "count_value"}, {path: "xpercent", name: "value"}, {path: "freq", name: "frequency", unit: "Hz"}, {path: "xfreq", name: "frequency_value"}},
	"pm1":    meter,
	"em": {{path: "a_voltage", name: "a_voltage", unit: "V"}, {path: "a_current", name: "a_current", unit: "A"}, {path: "a_act_power", name: "a_power", unit: "W"}, {path: "a_aprt_power", name: "a_apparent_power", unit: "V.A"}, {path: "a_pf", name: "a_power_factor"}, {path: "a_freq", name: "a_frequency", unit: "Hz"},
		{path: "b_voltage", name: "b_voltage", unit: "V"}, {path: "b_current", name: "b_current", unit: "A"}, {path: "b_act_power", name: "b_power", unit: "W"}, {path: "b_aprt_power", name: "b_apparent_power", unit: "V.A"}, {path: "b_pf", name: "b_power_factor"}, {path: "b_freq", name: "b_frequency", unit: "Hz"},
		{path: "c_voltage", name: "c_voltage", unit: "V"}, {path: "c_current", name: "c_current", unit: "A"}, {path: "c_act_power", name: "c_power", unit: "W"}, {path: "c_aprt_power", name: "c_apparent_power", unit: "V.A"}, {path: "c_pf", name: "c_power_factor"}, {path: "c_freq", name: "c_frequency", unit: "Hz"},
		{path: "n_current", name: "n_current", unit: "A"}, {path: "total_current", name: "current", unit: "A"}, {path: "total_act_power", name: "power", unit: "W"}, {path: "total_aprt_power", name: "apparent_power", unit: "V.A"}},
	"emdata": {{path: "a_total_act_energy", name: "a_energy", unit: "W.h"}, {path: "a_total_act_ret_energy", name: "a_energy_returned", unit: "W.h"}, {path: "b_total_act_energy", name: "b_energy", unit: "W.h"}, {path: "b_total_act_ret_energy", name: "b_energy_returned", unit: "W.h"},
		{path: "c_total_act_energy", name: "c_energy", unit: "W.h"}, {path: "c_total_act_ret_energy", name: "c_energy_returned", unit: "W.h"}, {path: "total_act", name: "energy", unit: "W.h"}, {path: "total_act_ret", name: "energy_returned", unit: "W.h"}},
	"em1":         {{path: "act_power", name: "power", unit: "W"}, {path: "aprt_power", name: "apparent_power", unit: "V.A"}, {path: "voltage", name: "voltage", unit: "V"}, {path: "current", name: "current", unit: "A"}, {path: "pf", name: "power_factor"}, {path: "freq", name: "frequency", unit: "Hz"}},
	"em1data":     {{path: "total_act_energy", name: "energy", unit: "W.h"}, {path: "total_act_ret_energy", name: "energy_returned", unit: "W.h"}},
	"temperature": {{path: "tC", unit: "Cel"}},
	"humidity":    {{path: "rh", unit: "%"}},
	"voltmeter":   {{path: "voltage", unit: "V"}, {path: "xvoltage", name: "value"}},
	"illuminance": {{path: "lux", unit: "lx"}, {path: "illumination", name: "level", kind: drivers.Text}},
	"smoke":       {{path: "alarm", kind: drivers.Bool}, {path: "mute", name: "muted", kind: drivers.Bool}},
	"flood":       {{path: "alarm", kind: drivers.Bool}, {path: "mute", name: "muted", kind: drivers.Bool}},
	"devicepower": {{path: "battery.V", name: "battery_voltage", unit: "V"}, {path: "battery.percent", name: "battery", unit: "%"}, {path: "external.present", name: "external", kind: drivers.Bool}},
	"thermostat": {{path: "enable", name: "enabled", kind: drivers.Bool, method: "SetConfig", arg: "config.enable"}, {path: "output", name: "output", kind: drivers.Bool}, {path: "current_C", name: "temperature", unit: "Cel"},
		{path: "target_C", name: "target", unit: "Cel", method: "SetConfig", arg: "config.target_C", min: 5, max: 35}},
	"blutrv": {{path: "current_C", name: "temperature", unit: "Cel"}, {path: "target_C", name: "target", unit: "Cel", method: "Call", remote: "Trv.SetTarget", arg: "params.target_C", min: 4, max: 30},
		{path: "pos", name: "position", unit: "%"}, {path: "battery", name: "battery", unit: "%"}, {path: "rssi", name: "rssi", unit: "dB{mW}"}},
	"presence":     {{path: "num_objects", name: "objects"}},
	"presencezone": {{path: "value", kind: drivers.Bool}, {path: "num_objects", name: "objects"}},
	"button":       {},
	"boolean":      {{path: "value", kind: drivers.Bool, method: "Set", arg: "value"}},
	"number":       {{path: "value", method: "Set", arg: "value"}},
	"text":         {{path: "value", kind: drivers.Text, method: "Set", arg: "value"}},
	"enum":         {{path: "value", kind: drivers.Text, method: "Set", arg: "value"}},
	"bthomesensor": virtue,
	"bthomedevice": {{path: "rssi", name: "rssi", unit: "dB{mW}"}, {path: "battery", name: "battery", unit: "%"}},
	"sys":          {{path: "uptime", name: "uptime", unit: "s"}, {path: "ram_free", name: "ram_free", unit: "By"}, {path: "available_updates.stable.version", name: "new_version", kind: drivers.Text}},
	"wifi":         {{path: "rssi", name: "rssi", unit: "dB{mW}"}, {path: "ssid", name: "ssid", kind: drivers.Text}},
}

// services are the RPC names of components that do not just begin with a capital.
var services = map[string]string{"rgb": "RGB", "rgbw": "RGBW", "cct": "CCT", "em": "EM", "em1": "EM1", "pm1": "PM1", "blutrv": "BluTRV"}

func service(kind string) string {
	if s, ok := services[kind]; ok {
		return s
	}
	return strings.ToUpper(kind[:1]) + kind[1:]
}

// sensors are the components whose errors say that what they measure is not to be
// believed. The errors of others tell of what they switch.
var sensors = map[string]bool{"temperature": true, "humidity": true, "voltmeter": true, "illuminance": true}

// fault returns why a component's values are not to be believed, "" if they are.
func fault(kind string, status map[string]any) string {
	list := shape.List(status["errors"])
	if !sensors[kind] || len(list) == 0 {
		return ""
	}
	if why := shape.Name(shape.Text(list[0])); why != "" {
		return why
	}
	return "error"
}

// pressed is the path under which it is noted that a component has had events.
const pressed = "(event)"

// buttons are the components that have had no event yet and are known to have them.
var buttons = map[string]bool{"input": true, "button": true}

// point is a point of a device and its field.
type point struct {
	drivers.Point
	field
	component string // its key, such as switch:0
}

// fields are the paths that a component has had values at, and whether those are
// true or false.
type fields map[string]bool

// points returns the points of components, those first whose key comes first. A
// field that is not there makes no point.
func points(status map[string]fields) []point {
	var out []point
	seen := map[string]bool{}
	for _, key := range slices.Sorted(maps.Keys(status)) {
		kind, _, _ := strings.Cut(key, ":")
		for _, f := range components[kind] {
			boolean, ok := status[key][f.path]
			if !ok || len(out) >= shape.MaxPoints {
				continue
			}
			name := key
			if f.name != "" {
				name += "_" + f.name
			}
			p := point{drivers.Point{ID: shape.Name(name), Type: f.kind, Unit: f.unit, Readable: true, Writable: f.method != ""}, f, key}
			if kind == "bthomesensor" && boolean {
				p.Type = drivers.Bool
			}
			if f.max != 0 && p.Writable {
				p.Min, p.Max = &f.min, &f.max
			}
			if p.ID != "" && !seen[p.ID] {
				seen[p.ID] = true
				out = append(out, p)
			}
		}
		if _, has := status[key][pressed]; (has || buttons[kind]) && !seen[shape.Name(key+"_event")] {
			id := shape.Name(key + "_event")
			seen[id] = true
			out = append(out, point{drivers.Point{ID: id, Type: drivers.Text, Readable: true, Description: "what was done last: single_push, double_push, long_push ..."}, field{}, key})
		}
	}
	return out
}

// find returns what is at a path of keys.
func find(in map[string]any, path string) (any, bool) {
	key, rest, more := strings.Cut(path, ".")
	v, ok := in[key]
	if !ok || !more {
		return v, ok
	}
	return find(shape.Dict(v), rest)
}
