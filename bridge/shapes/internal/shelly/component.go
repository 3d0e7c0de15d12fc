package shelly

import (
	"maps"
	"slices"
	"strconv"
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

// meter are the fields of what measures besides.
const meter = `apower power W float | voltage voltage V float | current current A float | freq frequency Hz float | pf power_factor - float | aenergy.total energy W.h float | ret_aenergy.total energy_returned W.h float | temperature.tC temperature Cel float`

// components are the fields of a component's status, by the part of its key before
// the colon. A field is its path, name, unit and type, - for none, and if it can be set the
// method, its argument, the range, and the method of the device behind. As a text it takes
// less of the program. Source: shelly-api-docs.shelly.cloud, Gen2+, "Components and Services".
var components = parse(`
blutrv: current_C temperature Cel float | target_C target Cel float Call params.target_C 4 30 Trv.SetTarget | pos position % float | battery battery % float | rssi rssi dB{mW} float
boolean: value - - bool Set value
bthomedevice: rssi rssi dB{mW} float | battery battery % float
bthomesensor: value - - float
button:
cct: output - - bool Set on | brightness brightness % float Set brightness 0 100 | ct color_temp K float Set ct 2700 6500 | meter
cover: state - - text | current_pos position % float GoToPosition pos 0 100 | meter
devicepower: battery.V battery_voltage V float | battery.percent battery % float | external.present external - bool
em: a_voltage a_voltage V float | a_current a_current A float | a_act_power a_power W float | a_aprt_power a_apparent_power V.A float | a_pf a_power_factor - float | a_freq a_frequency Hz float | b_voltage b_voltage V float | b_current b_current A float | b_act_power b_power W float | b_aprt_power b_apparent_power V.A float | b_pf b_power_factor - float | b_freq b_frequency Hz float | c_voltage c_voltage V float | c_current c_current A float | c_act_power c_power W float | c_aprt_power c_apparent_power V.A float | c_pf c_power_factor - float | c_freq c_frequency Hz float | n_current n_current A float | total_current current A float | total_act_power power W float | total_aprt_power apparent_power V.A float
em1: act_power power W float | aprt_power apparent_power V.A float | voltage voltage V float | current current A float | pf power_factor - float | freq frequency Hz float
em1data: total_act_energy energy W.h float | total_act_ret_energy energy_returned W.h float
emdata: a_total_act_energy a_energy W.h float | a_total_act_ret_energy a_energy_returned W.h float | b_total_act_energy b_energy W.h float | b_total_act_ret_energy b_energy_returned W.h float | c_total_act_energy c_energy W.h float | c_total_act_ret_energy c_energy_returned W.h float | total_act energy W.h float | total_act_ret energy_returned W.h float
enum: value - - text Set value
flood: alarm - - bool | mute muted - bool
humidity: rh - % float
illuminance: lux - lx float | illumination level - text
input: state - - bool | percent percent % float | counts.total count - float | counts.xtotal count_value - float | xpercent value - float | freq frequency Hz float | xfreq frequency_value - float
light: output - - bool Set on | brightness brightness % float Set brightness 0 100 | meter
number: value - - float Set value
pm1: meter
presence: num_objects objects - float
presencezone: value - - bool | num_objects objects - float
rgb: output - - bool Set on | brightness brightness % float Set brightness 0 100 | rgb rgb - text | meter
rgbw: output - - bool Set on | brightness brightness % float Set brightness 0 100 | rgb rgb - text | white white - float Set white 0 255 | meter
smoke: alarm - - bool | mute muted - bool
switch: output - - bool Set on | meter
sys: uptime uptime s float | ram_free ram_free By float | available_updates.stable.version new_version - text
temperature: tC - Cel float
text: value - - text Set value
thermostat: enable enabled - bool SetConfig config.enable | output output - bool | current_C temperature Cel float | target_C target Cel float SetConfig config.target_C 5 35
voltmeter: voltage - V float | xvoltage value - float
wifi: rssi rssi dB{mW} float | ssid ssid - text
`)

// types are the types in the table.
var types = map[string]drivers.Type{"float": drivers.Float, "bool": drivers.Bool, "text": drivers.Text}

// parse reads the table.
func parse(table string) map[string][]field {
	out := map[string][]field{}
	for line := range strings.Lines(strings.TrimSpace(table)) {
		kind, rest, _ := strings.Cut(strings.TrimSpace(line), ":")
		out[kind] = []field{}
		for _, text := range strings.Split(strings.Replace(rest, " meter", " "+meter, 1), "|") {
			w := strings.Fields(strings.ReplaceAll(text, " -", " \x00"))
			if len(w) < 4 {
				continue
			}
			for len(w) < 9 {
				w = append(w, "")
			}
			f := field{path: w[0], name: strings.Trim(w[1], "\x00"), unit: strings.Trim(w[2], "\x00"), kind: types[w[3]], method: w[4], arg: w[5], remote: w[8]}
			f.min, _ = strconv.ParseFloat(w[6], 64)
			f.max, _ = strconv.ParseFloat(w[7], 64)
			out[kind] = append(out[kind], f)
		}
	}
	return out
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
