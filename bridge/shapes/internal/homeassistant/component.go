package homeassistant

import (
	"cmp"
	"errors"
	"slices"
	"strings"

	"gantry/bridge/shapes/internal/shape"
	"gantry/bridge/shapes/internal/template"
	"gantry/drivers"
)

func isUndefined(err error) bool { return errors.Is(err, template.ErrUndefined) }

// parts are what an entity is made of.
type parts struct {
	sources []source
	verbs   []verb
}

// components are the kinds of entity that are understood. Source: the pages of
// www.home-assistant.io/integrations named <component>.mqtt.
var components = map[string]func(c *config) parts{
	"sensor": sensor, "binary_sensor": binarySensor, "switch": onOff, "siren": siren, "light": light, "number": number, "select": selection, "text": text, "date": text, "datetime": text, "time": text,
	"button": button, "scene": scene, "cover": cover, "valve": valve, "climate": climate, "water_heater": climate, "fan": fan, "lock": lock, "humidifier": humidifier,
	"event": event, "device_tracker": tracker, "update": update, "alarm_control_panel": alarm, "vacuum": vacuum, "lawn_mower": mower, "device_automation": trigger, "notify": notify,
}

func only(s ...source) parts { return parts{sources: s} }

// numeric are the device classes whose states are no numbers.
var wordy = map[string]bool{"": true, "enum": true, "date": true, "timestamp": true}

func sensor(c *config) parts {
	s := c.source("", drivers.Text, "", "value_template")
	s.Unit = shape.Unit(c.text("unit_of_measurement", ""))
	if s.Unit != "" || c.text("state_class", "") != "" || !wordy[c.text("device_class", "")] {
		s.Type = drivers.Float
	}
	s.Enum = c.words("options")
	s.Writable, s.command = false, ""
	s.expireAfter = c.seconds("expire_after")
	return only(s)
}

func binarySensor(c *config) parts {
	s := c.source("", drivers.Bool, "", "value_template")
	s.binary(c.text("payload_on", "ON"), c.text("payload_off", "OFF"), "", "")
	s.Writable, s.command = false, ""
	s.expireAfter, s.offDelay = c.seconds("expire_after"), c.seconds("off_delay")
	return only(s)
}

// state returns the point that tells whether something is on.
func (c *config) state() source {
	s := c.source("", drivers.Bool, "", "value_template")
	if c.keys["state_value_template"] != nil {
		s.tmpl = c.template("state_value_template")
	}
	on, off := c.text("payload_on", "ON"), c.text("payload_off", "OFF")
	s.binary(c.text("state_on", on), c.text("state_off", off), on, off)
	return s
}

func onOff(c *config) parts { return only(c.state()) }

// siren is a switch whose messages may be objects with a "state", which is how it is told
// as well, where no template says otherwise.
func siren(c *config) parts {
	s := c.state()
	s.within = "state"
	if s.cmdTmpl == nil {
		words := s.words
		s.wrap = func(v drivers.Value) any { return map[string]any{"state": words[v]} }
	}
	return only(s)
}

// ranged gives a point a range.
func (s *source) ranged(unit string, low, high *float64) {
	s.Type, s.Unit, s.Min, s.Max = drivers.Float, unit, low, high
}

func bound(f float64) *float64 { return &f }

func number(c *config) parts {
	s := c.source("", drivers.Float, "", "value_template")
	s.cmdTmpl = c.template("command_template")
	s.ranged(shape.Unit(c.text("unit_of_measurement", "")), c.number("min", 1), c.number("max", 100))
	return only(s)
}

func selection(c *config) parts {
	s := c.source("", drivers.Text, "", "value_template")
	s.Enum = c.words("options")
	return only(s)
}

func text(c *config) parts { return only(c.source("", drivers.Text, "", "value_template")) }

// press returns an action that sends a fixed payload: that of a key, or else the default. A
// key that is null says that there is no such action.
func (c *config) press(suffix, topic, key, otherwise, await string) []verb {
	t, payload := c.topic(topic), c.text(key, otherwise)
	if v, given := c.keys[key]; t == "" || payload == "" || given && v == nil {
		return nil
	}
	return []verb{{suffix: suffix, topic: t, payload: payload, await: await}}
}

func button(c *config) parts {
	v := c.press("", "command_topic", "payload_press", "PRESS", "-")
	for i := range v {
		v[i].tmpl = c.template("command_template")
	}
	return parts{verbs: v}
}

func scene(c *config) parts {
	return parts{verbs: c.press("", "command_topic", "payload_on", "ON", "-")}
}

func notify(c *config) parts {
	t := c.topic("command_topic")
	v := verb{suffix: "", topic: t, tmpl: c.template("command_template"), payload: "{message}", await: "-"}
	v.Args = []drivers.Point{{ID: "message", Type: drivers.Text}}
	if t == "" {
		return parts{}
	}
	return parts{verbs: []verb{v}}
}

func light(c *config) parts {
	switch c.text("schema", "basic") {
	case "json":
		return lightJSON(c)
	case "template":
		return lightTemplate(c)
	}
	p := only(c.state())
	bri := c.source("brightness", drivers.Float, "brightness_", "brightness_value_template")
	bri.ranged("", bound(0), c.number("brightness_scale", 255))
	ct := c.source("color_temp", drivers.Float, "color_temp_", "color_temp_value_template")
	c.mired(&ct)
	rgb := c.channels("rgb")
	hs := c.source("hs", drivers.Text, "hs_", "hs_value_template")
	hs.Description = "hue,saturation: 0 to 360 degrees and 0 to 100 %"
	xy := c.source("xy", drivers.Text, "xy_", "xy_value_template")
	fx := c.source("effect", drivers.Text, "effect_", "effect_value_template")
	fx.Enum = c.words("effect_list")
	mode := c.source("color_mode", drivers.Text, "color_mode_", "color_mode_value_template")
	p.sources = append(p.sources, bri, ct, rgb, c.channels("rgbw"), c.channels("rgbww"), hs, xy, fx, mode)
	return p
}

// channels is a color given as numbers with commas between, one for each letter of a name.
func (c *config) channels(name string) source {
	s := c.source(name, drivers.Text, name+"_", name+"_value_template")
	s.Description = map[string]string{"rgb": "red,green,blue", "rgbw": "red,green,blue,white", "rgbww": "red,green,blue,cold white,warm white"}[name] + ", each 0 to 255"
	if s.cmdTmpl != nil { // wants red, green and blue by name
		s.Writable, s.command = false, ""
	}
	return s
}

// mired gives a color temperature its unit and range.
func (c *config) mired(s *source) {
	if c.yes("color_temp_kelvin") {
		s.ranged("K", c.number("min_kelvin", 2000), c.number("max_kelvin", 6535))
		return
	}
	s.ranged("MK-1", c.number("min_mireds", 153), c.number("max_mireds", 500))
}

// lightJSON is the schema in which one JSON object holds everything.
func lightJSON(c *config) parts {
	modes := c.words("supported_color_modes")
	has := func(names ...string) bool {
		for _, m := range modes {
			for _, n := range names {
				if m == n {
					return true
				}
			}
		}
		return false
	}
	at := func(suffix string, t drivers.Type, path ...string) source {
		s := source{suffix: suffix, Point: drivers.Point{Type: t}, path: path}
		s.topic, s.command = c.topic("state_topic"), c.topic("command_topic")
		s.Readable, s.Writable = s.topic != "", s.command != ""
		s.wrap = func(v drivers.Value) any { return map[string]any{"state": "ON", path[0]: v} }
		return s
	}
	state := at("", drivers.Bool, "state")
	state.binary("ON", "OFF", "ON", "OFF")
	words := state.words
	state.wrap = func(v drivers.Value) any { return map[string]any{"state": words[v]} }
	p := only(state)
	if c.yes("brightness") || has("brightness", "color_temp", "hs", "xy", "rgb", "rgbw", "rgbww", "white") {
		s := at("brightness", drivers.Float, "brightness")
		s.ranged("", bound(0), c.number("brightness_scale", 255))
		p.sources = append(p.sources, s)
	}
	if c.yes("color_temp") || has("color_temp") {
		s := at("color_temp", drivers.Float, "color_temp")
		c.mired(&s)
		p.sources = append(p.sources, s)
	}
	if c.yes("effect") || c.keys["effect_list"] != nil {
		s := at("effect", drivers.Text, "effect")
		s.Enum = c.words("effect_list")
		p.sources = append(p.sources, s)
	}
	for _, m := range []struct {
		modes []string
		keys  string
		unit  [2]string
		max   float64
	}{{[]string{"rgb", "rgbw", "rgbww"}, "rgb", [2]string{}, 255}, {[]string{"xy"}, "xy", [2]string{}, 1}, {[]string{"hs"}, "hs", [2]string{"deg", "%"}, 360}} {
		if !has(m.modes...) && !c.yes(m.keys) {
			continue
		}
		v := verb{suffix: "set_" + m.keys, topic: c.topic("command_topic"), await: "-"}
		for i, k := range strings.Split(m.keys, "") {
			s := at("color_"+k, drivers.Float, "color", k)
			unit := m.unit[min(i, 1)]
			s.ranged(unit, bound(0), bound(m.max))
			if unit == "%" {
				s.Max = bound(100)
			}
			s.Writable, s.command = false, "" // the parts of a color belong together
			p.sources = append(p.sources, s)
			v.Args = append(v.Args, drivers.Point{ID: k, Type: drivers.Float, Unit: unit, Min: s.Min, Max: s.Max})
		}
		if v.topic != "" {
			p.verbs = append(p.verbs, v)
		}
	}
	return p
}

// lightTemplate is the schema in which templates make whole commands, out of what is to be
// changed: state, which is true or false, and with it brightness, color_temp or effect.
func lightTemplate(c *config) parts {
	on, off, topic := c.template("command_on_template"), c.template("command_off_template"), c.topic("command_topic")
	able := on != nil && off != nil && topic != ""
	at := func(suffix string, t drivers.Type) source {
		s := source{suffix: suffix, Point: drivers.Point{Type: t, Writable: able}, command: topic}
		c.reads(&s, "state_topic", cmp.Or(suffix, "state")+"_template")
		s.Readable = s.topic != "" && s.tmpl != nil
		s.render = func(v drivers.Value) (any, error) {
			if f, ok := v.(float64); ok {
				v = int64(f)
			}
			return on.Render(map[string]any{"state": true, suffix: v})
		}
		return s
	}
	state := at("", drivers.Bool)
	state.Readable = state.topic != ""
	state.binary("on", "off", "on", "off")
	state.render = func(v drivers.Value) (any, error) {
		t := off
		if v == true {
			t = on
		}
		return t.Render(map[string]any{"state": v})
	}
	p := only(state)
	if c.keys["brightness_template"] != nil {
		s := at("brightness", drivers.Float)
		s.ranged("", bound(0), bound(255))
		p.sources = append(p.sources, s)
	}
	if c.keys["color_temp_template"] != nil {
		s := at("color_temp", drivers.Float)
		c.mired(&s)
		p.sources = append(p.sources, s)
	}
	if c.keys["effect_list"] != nil {
		s := at("effect", drivers.Text)
		s.Enum = c.words("effect_list")
		p.sources = append(p.sources, s)
	}
	for _, v := range []struct {
		suffix string
		tmpl   *template.Template
	}{{"turn_on", on}, {"turn_off", off}} {
		if v.tmpl != nil && topic != "" {
			p.verbs = append(p.verbs, verb{suffix: v.suffix, topic: topic, tmpl: v.tmpl, variable: "state", payload: v.suffix[len("turn_"):], await: ""})
		}
	}
	return p
}

func cover(c *config) parts { return c.shutter("STOP") }

// shutter is what opens and closes; halt is the payload that stops it, "" = nothing does.
func (c *config) shutter(halt string) parts {
	state := c.source("", drivers.Text, "", "value_template")
	state.Writable, state.command = false, ""
	state.values = map[string]drivers.Value{}
	for _, w := range []string{"open", "opening", "closed", "closing", "stopped"} {
		state.values[c.text("state_"+w, w)] = w
	}
	pos := source{suffix: "position", Point: drivers.Point{Type: drivers.Float}}
	c.reads(&pos, "position_topic", "position_template")
	c.writes(&pos, "set_position_topic", "set_position_template")
	pos.ranged("%", c.number("position_closed", 0), c.number("position_open", 100))
	tilt := source{suffix: "tilt", Point: drivers.Point{Type: drivers.Float}}
	c.reads(&tilt, "tilt_status_topic", "tilt_status_template")
	c.writes(&tilt, "tilt_command_topic", "tilt_command_template")
	tilt.ranged("%", c.number("tilt_min", 0), c.number("tilt_max", 100))
	for _, s := range []*source{&pos, &tilt} {
		if *s.Min > *s.Max {
			s.Min, s.Max = s.Max, s.Min
		}
	}
	p := only(state, pos, tilt)
	await := "-"
	if state.Readable {
		await = ""
	}
	p.verbs = append(p.verbs, c.press("open", "command_topic", "payload_open", "OPEN", await)...)
	p.verbs = append(p.verbs, c.press("close", "command_topic", "payload_close", "CLOSE", await)...)
	p.verbs = append(p.verbs, c.press("stop", "command_topic", "payload_stop", halt, "-")...)
	return p
}

func valve(c *config) parts {
	if !c.yes("reports_position") {
		p := c.shutter("")
		p.sources[0].within = "state"
		return p
	}
	s := c.source("position", drivers.Float, "", "value_template")
	s.within = "position"
	s.values = map[string]drivers.Value{c.text("state_opening", "opening"): nil, c.text("state_closing", "closing"): nil}
	s.ranged("%", c.number("position_closed", 0), c.number("position_open", 100))
	return only(s)
}

func climate(c *config) parts {
	unit := "Cel"
	if c.text("temperature_unit", "C") == "F" {
		unit = "[degF]"
	}
	measured := func(suffix, prefix, unit string) source {
		s := source{suffix: suffix, Point: drivers.Point{Type: drivers.Float, Unit: unit}}
		c.reads(&s, prefix+"_topic", prefix+"_template")
		return s
	}
	target := func(suffix, prefix string) source {
		s := c.source(suffix, drivers.Float, prefix, prefix+"state_template")
		s.ranged(unit, c.number("min_temp", 7), c.number("max_temp", 35))
		return s
	}
	choice := func(suffix, prefix, tmpl, list string, otherwise ...string) source {
		s := c.source(suffix, drivers.Text, prefix, tmpl)
		s.Enum = c.words(list, otherwise...)
		return s
	}
	humidity := c.source("target_humidity", drivers.Float, "target_humidity_", "target_humidity_state_template")
	humidity.ranged("%", c.number("min_humidity", 30), c.number("max_humidity", 99))
	action := source{suffix: "action", Point: drivers.Point{Type: drivers.Text}}
	c.reads(&action, "action_topic", "action_template")
	power := source{suffix: "power", Point: drivers.Point{Type: drivers.Bool}}
	c.writes(&power, "power_command_topic", "power_command_template")
	power.binary("", "", c.text("payload_on", "ON"), c.text("payload_off", "OFF"))
	return only(
		measured("temperature", "current_temperature", unit), measured("humidity", "current_humidity", "%"),
		target("target", "temperature_"), target("target_high", "temperature_high_"), target("target_low", "temperature_low_"), humidity,
		choice("mode", "mode_", "mode_state_template", "modes", "auto", "off", "cool", "heat", "dry", "fan_only"),
		choice("fan_mode", "fan_mode_", "fan_mode_state_template", "modes_fan", "auto", "low", "medium", "high"),
		choice("swing_mode", "swing_mode_", "swing_mode_state_template", "swing_modes", "on", "off"),
		choice("preset", "preset_mode_", "preset_mode_value_template", "preset_modes"),
		action, power)
}

func fan(c *config) parts {
	speed := c.source("speed", drivers.Float, "percentage_", "percentage_value_template")
	speed.ranged("", bound(0), c.number("speed_range_max", 100))
	speed.Description = "0 = off, up to the highest speed"
	swing := c.source("oscillation", drivers.Bool, "oscillation_", "oscillation_value_template")
	on, off := c.text("payload_oscillation_on", "oscillate_on"), c.text("payload_oscillation_off", "oscillate_off")
	swing.binary(on, off, on, off)
	dir := c.source("direction", drivers.Text, "direction_", "direction_value_template")
	dir.Enum = []string{"forward", "reverse"}
	preset := c.source("preset", drivers.Text, "preset_mode_", "preset_mode_value_template")
	preset.Enum = c.words("preset_modes")
	return only(c.state(), speed, swing, dir, preset)
}

func lock(c *config) parts {
	s := c.source("", drivers.Text, "", "value_template")
	lockWord, unlockWord := c.text("payload_lock", "LOCK"), c.text("payload_unlock", "UNLOCK")
	s.values, s.words = map[string]drivers.Value{}, map[drivers.Value]string{"locked": lockWord, "unlocked": unlockWord}
	for _, w := range []string{"locked", "unlocked", "locking", "unlocking", "jammed"} {
		s.values[c.text("state_"+w, strings.ToUpper(w))] = w
	}
	s.Enum = []string{"locked", "unlocked"}
	if c.keys["code_format"] != nil { // a code that nobody here knows
		s.Writable, s.command = false, ""
	}
	return parts{sources: []source{s}, verbs: c.press("open", "command_topic", "payload_open", "", "-")}
}

func humidifier(c *config) parts {
	target := c.source("target_humidity", drivers.Float, "target_humidity_", "target_humidity_state_template")
	target.ranged("%", c.number("min_humidity", 0), c.number("max_humidity", 100))
	mode := c.source("mode", drivers.Text, "mode_", "mode_state_template")
	mode.Enum = c.words("modes")
	now := source{suffix: "humidity", Point: drivers.Point{Type: drivers.Float, Unit: "%"}}
	c.reads(&now, "current_humidity_topic", "current_humidity_template")
	action := source{suffix: "action", Point: drivers.Point{Type: drivers.Text}}
	c.reads(&action, "action_topic", "action_template")
	return only(c.state(), target, mode, now, action)
}

func event(c *config) parts {
	s := source{Point: drivers.Point{Type: drivers.Text}, moment: true}
	c.reads(&s, "state_topic", "value_template")
	if s.tmpl == nil {
		s.path = []string{"event_type"}
	} else { // it makes a JSON text, whose event_type counts
		s.tmpl, _ = template.Compile("{{ (" + inner(c.text("value_template", "")) + " | from_json).event_type }}")
	}
	s.Enum = c.words("event_types")
	return only(s)
}

// inner returns the only expression of a template, or a text that never fits.
func inner(t string) string {
	t = strings.TrimSpace(t)
	if strings.HasPrefix(t, "{{") && strings.HasSuffix(t, "}}") && strings.Count(t, "{{") == 1 {
		return "(" + t[2:len(t)-2] + ")"
	}
	return "'{}'"
}

func tracker(c *config) parts {
	s := c.source("", drivers.Text, "", "value_template")
	s.values = map[string]drivers.Value{c.text("payload_home", "home"): "home", c.text("payload_not_home", "not_home"): "not_home"}
	p := only(s)
	for _, k := range []struct{ key, unit string }{{"latitude", "deg"}, {"longitude", "deg"}, {"gps_accuracy", "m"}} {
		a := source{suffix: k.key, Point: drivers.Point{Type: drivers.Float, Unit: k.unit}, path: []string{k.key}}
		a.topic = c.topic("json_attributes_topic")
		a.Readable = a.topic != ""
		p.sources = append(p.sources, a)
	}
	return p
}

func update(c *config) parts {
	at := func(suffix string, t drivers.Type, key string) source {
		s := source{suffix: suffix, Point: drivers.Point{Type: t}}
		c.reads(&s, "state_topic", "value_template")
		if s.tmpl == nil {
			s.path = []string{key}
		}
		return s
	}
	installed, latest := at("installed", drivers.Text, "installed_version"), at("latest", drivers.Text, "latest_version")
	if installed.path != nil {
		installed.path, installed.within = nil, "installed_version"
	}
	p := only(installed)
	if c.topic("latest_version_topic") != "" {
		c.reads(&latest, "latest_version_topic", "latest_version_template")
		latest.path = nil
		p.sources = append(p.sources, latest)
	} else if installed.tmpl == nil {
		busy, percent := at("in_progress", drivers.Bool, "in_progress"), at("progress", drivers.Float, "update_percentage")
		percent.Unit = "%"
		p.sources = append(p.sources, latest, busy, percent)
	}
	p.verbs = c.press("install", "command_topic", "payload_install", "", "-")
	return p
}

// alarmFeatures are what an alarm panel can do, if it does not say so, besides disarm.
var alarmFeatures = []string{"arm_home", "arm_away", "arm_night", "arm_vacation", "arm_custom_bypass", "trigger"}

func alarm(c *config) parts {
	s := c.source("", drivers.Text, "", "value_template")
	s.Writable, s.command = false, ""
	p := only(s)
	if c.keys["code"] != nil {
		return p // a code that nobody here knows
	}
	features := c.words("supported_features", alarmFeatures...)
	for _, m := range append([]string{"disarm"}, alarmFeatures...) {
		if m == "disarm" || slices.Contains(features, m) {
			p.verbs = append(p.verbs, c.press(m, "command_topic", "payload_"+m, strings.ToUpper(m), "")...)
		}
	}
	for i := range p.verbs {
		p.verbs[i].tmpl, p.verbs[i].variable = c.template("command_template"), "action"
	}
	return p
}

// vacuumFeatures are what a vacuum can do, if it does not say so. Source: home-assistant/core,
// homeassistant/components/mqtt/vacuum.py, DEFAULT_SERVICES.
var vacuumFeatures = []string{"start", "stop", "return_home", "battery", "status", "clean_spot"}

func vacuum(c *config) parts {
	features := c.words("supported_features", vacuumFeatures...)
	at := func(suffix string, t drivers.Type, unit, key string) source {
		s := source{suffix: suffix, Point: drivers.Point{Type: t, Unit: unit}, path: []string{key}}
		s.topic = c.topic("state_topic")
		s.Readable = s.topic != ""
		return s
	}
	p := only(at("", drivers.Text, "", "state"))
	if slices.Contains(features, "battery") {
		p.sources = append(p.sources, at("battery", drivers.Float, "%", "battery_level"))
	}
	if slices.Contains(features, "fan_speed") {
		speed := at("fan_speed", drivers.Text, "", "fan_speed")
		speed.Enum = c.words("fan_speed_list")
		c.writes(&speed, "set_fan_speed_topic", "")
		p.sources = append(p.sources, speed)
	}
	for _, m := range []string{"start", "pause", "stop", "return_to_base", "locate", "clean_spot"} {
		if slices.Contains(features, strings.Replace(m, "to_base", "home", 1)) {
			p.verbs = append(p.verbs, c.press(m, "command_topic", "payload_"+m, m, "-")...)
		}
	}
	return p
}

func mower(c *config) parts {
	s := source{Point: drivers.Point{Type: drivers.Text}}
	c.reads(&s, "activity_state_topic", "activity_value_template")
	p := only(s)
	for _, m := range []string{"start_mowing", "pause", "dock"} {
		v := c.press(m, m+"_command_topic", "", m, "")
		for i := range v {
			v[i].tmpl = c.template(m + "_command_template")
		}
		p.verbs = append(p.verbs, v...)
	}
	return p
}

// trigger is a button or the like of which only the pressing is announced.
func trigger(c *config) parts {
	s := source{suffix: "trigger", Point: drivers.Point{Type: drivers.Text}, moment: true}
	c.reads(&s, "topic", "value_template")
	name := strings.Trim(c.text("subtype", "")+" "+c.text("type", ""), " ")
	s.values = map[string]drivers.Value{c.text("payload", ""): name}
	s.Enum = []string{name}
	return only(s)
}
