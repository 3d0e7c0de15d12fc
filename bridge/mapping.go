package bridge

import (
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"unicode/utf8"

	"github.com/tidwall/gjson"

	"gantry/wamp"
	"gantry/wamp/serialize"
)

// Message is an MQTT message, in either direction.
type Message struct {
	Topic   string
	Payload []byte
	QoS     byte
	// Retained: kept by the broker from before, or to be kept.
	Retained bool
}

// mapping is a rule that turns messages into readings.
type mapping struct {
	topic     levels
	device    template
	points    []mapped
	constants []constant
	fresh     bool // ignore what was retained
	qos       byte
	json      bool // a point needs the payload as JSON
}

type mapped struct {
	name template
	cfg  PointConfig
	path string
}

type constant struct {
	name  string
	text  template
	value any // nil = text
}

// envelope are the keyword arguments that a reading has by itself.
var envelope = []string{"ts", "q", "why", "unit", "seq", "ep", "clk", "replay"}

func newMap(c *MapConfig, key string) (*mapping, error) {
	m := &mapping{fresh: c.IgnoreRetained, qos: 1}
	var err error
	if m.topic, err = parseLevels(c.Topic); err != nil {
		return nil, bad(key+".topic", `a topic filter with named levels, such as "sensors/{room}/+"`, "%.80q %v", c.Topic, err)
	}
	if m.device, err = m.name(c.Device, key+".device"); err != nil {
		return nil, err
	}
	points, err := c.pointConfigs(key)
	if err != nil {
		return nil, err
	}
	for _, name := range slices.Sorted(maps.Keys(points)) {
		p := mapped{cfg: points[name]}
		at := key
		if c.Points != nil {
			at += ".points." + name
		}
		if err := p.cfg.validate(at); err != nil {
			return nil, err
		}
		if c.Points == nil {
			at += ".point"
		}
		if p.name, err = m.name(name, at); err != nil {
			return nil, err
		}
		p.path = trimRoot(p.cfg.Path)
		m.json = m.json || p.path != ""
		m.points = append(m.points, p)
	}
	if c.QoS != nil {
		if *c.QoS > 1 {
			return nil, bad(key+".qos", "0 or 1", "is %d", *c.QoS)
		}
		m.qos = *c.QoS
	}
	return m, m.addConstants(c, key)
}

// name parses the template of a device's or point's name.
func (m *mapping) name(s, key string) (template, error) {
	t := parseTemplate(s)
	for _, n := range t.names() {
		if !m.topic.has(n) {
			return t, bad(key, "the names of levels of the topic", "the topic has no level {%s}", n)
		}
	}
	literal := true
	for _, p := range t.parts {
		if p.name != "" {
			literal = false
		} else if sanitised(p.literal) != p.literal {
			return t, bad(key, allowedName+" and {level}", "%.80q is not a name", s)
		}
	}
	if literal && !ValidName(s) {
		return t, bad(key, allowedName+" and {level}", "%.80q is not a name", s)
	}
	return t, nil
}

func (m *mapping) addConstants(c *MapConfig, key string) error {
	for _, name := range slices.Sorted(maps.Keys(c.Constants)) {
		at := key + ".constants." + name
		if name == "" || slices.Contains(envelope, name) {
			return bad(at, "any name but "+strings.Join(envelope, ", "), "is a part of every reading")
		}
		k := constant{name: name}
		switch v := c.Constants[name].(type) {
		case string:
			if strings.HasPrefix(v, "\x00") || !utf8.ValidString(v) {
				return bad(at, "UTF-8 that does not begin with NUL", "is no text that every session could receive")
			}
			k.text = parseTemplate(v)
			for _, n := range k.text.names() {
				if !m.topic.has(n) {
					return bad(at, "the names of levels of the topic", "the topic has no level {%s}", n)
				}
			}
		case bool, int64, float64:
			if f, ok := v.(float64); ok && !finite(&f) {
				return bad(at, "a finite number", "is %g", f)
			}
			k.value = v
		default:
			return bad(at, "a text, a number, true or false", "is something else")
		}
		m.constants = append(m.constants, k)
	}
	return nil
}

// Rules turn messages into readings. They are safe for concurrent use.
type Rules struct {
	origin   *Origin
	maps     []*mapping
	commands []*command
	stats    struct{ messages, readings, malformed, bad, ignored, dropped atomic.Uint64 }
}

// NewRules validates cfg. The error is a *ConfigError.
func NewRules(cfg RulesConfig, origin *Origin) (*Rules, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	if origin == nil {
		return nil, bad("gateway", "an origin", "is missing")
	}
	r := &Rules{origin: origin}
	for i := range cfg.Map {
		m, err := newMap(&cfg.Map[i], "map")
		if err != nil {
			return nil, err
		}
		r.maps = append(r.maps, m)
	}
	for i := range cfg.Command {
		c, err := newCommand(&cfg.Command[i], "command")
		if err != nil {
			return nil, err
		}
		r.commands = append(r.commands, c)
	}
	return r, nil
}

// RulesStats count what rules did since they were made.
type RulesStats struct {
	Messages  uint64 // messages that a rule is for
	Readings  uint64 // readings made of them
	Malformed uint64 // messages that are not the JSON that the rule needs
	Bad       uint64 // readings of quality bad
	Ignored   uint64 // retained messages not wanted
	Dropped   uint64 // readings of topics beyond the limit, or not taken by the session
}

// Stats returns the counts.
func (r *Rules) Stats() RulesStats {
	s := &r.stats
	return RulesStats{
		Messages: s.messages.Load(), Readings: s.readings.Load(), Malformed: s.malformed.Load(),
		Bad: s.bad.Load(), Ignored: s.ignored.Load(), Dropped: s.dropped.Load(),
	}
}

// Readings calls emit for each reading that the rules make of a message: its topic
// and payload, which are emit's. They are to be published with Retain. What a
// payload does not hold is never made up: it gives a reading of quality bad with a
// reason in why: empty, malformed, missing, null, not_scalar, not_number, not_bool,
// not_text, out_of_range.
func (r *Rules) Readings(m Message, emit func(topic wamp.URI, p wamp.Payload)) {
	for _, rule := range r.maps {
		if !rule.topic.filter.Matches(m.Topic) {
			continue
		}
		r.stats.messages.Add(1)
		if m.Retained && rule.fresh {
			r.stats.ignored.Add(1)
			continue
		}
		r.apply(rule, &m, emit)
	}
}

func (r *Rules) apply(rule *mapping, m *Message, emit func(wamp.URI, wamp.Payload)) {
	vars := rule.topic.vars(m.Topic)
	// gjson gives undefined answers for what is not JSON.
	valid := serialize.Valid(wamp.JSON, m.Payload, serialize.Limits{}) == nil
	if rule.json && !valid {
		r.stats.malformed.Add(1)
	}
	device := sanitised(rule.device.fill(vars))
	for i := range rule.points {
		p := &rule.points[i]
		value, why := p.value(m.Payload, valid)
		if why == "missing" && p.cfg.Optional {
			continue
		}
		topic := r.origin.URI("point", device, sanitised(p.name.fill(vars)))
		kwargs, ok := r.origin.Stamp(topic)
		if !ok {
			r.stats.dropped.Add(1)
			continue
		}
		switch {
		case why != "":
			value = nil
			kwargs["q"], kwargs["why"] = "bad", why
			r.stats.bad.Add(1)
		case m.Retained:
			kwargs["q"], kwargs["why"] = "uncertain", "retained"
		default:
			kwargs["q"] = "good"
		}
		if p.cfg.Unit != "" {
			kwargs["unit"] = p.cfg.Unit
		}
		for _, c := range rule.constants {
			if c.value != nil {
				kwargs[c.name] = c.value
			} else {
				kwargs[c.name] = c.text.fill(vars)
			}
		}
		r.stats.readings.Add(1)
		emit(topic, wamp.Values(wamp.List{value}, kwargs))
	}
}

// value takes a point's value out of a payload, or says why there is none.
func (p *mapped) value(payload []byte, valid bool) (v any, why string) {
	switch {
	case len(payload) == 0:
		return nil, "empty"
	case valid:
		res := gjson.ParseBytes(payload)
		if p.path != "" {
			res = res.Get(p.path)
		}
		if v, why = scalar(res); why != "" {
			return nil, why
		}
	case p.path != "":
		return nil, "malformed"
	case payload[0] != 0 && utf8.Valid(payload):
		v = string(payload)
	default:
		v = slices.Clone(payload)
	}
	return p.convert(v)
}

// scalar returns the value of a JSON scalar.
func scalar(res gjson.Result) (v any, why string) {
	switch res.Type {
	case gjson.True, gjson.False:
		return res.Type == gjson.True, ""
	case gjson.String:
		if strings.HasPrefix(res.Str, "\x00") {
			return []byte(res.Str), "" // as text, WAMP's JSON would take it for binary in base64
		}
		return res.Str, ""
	case gjson.Number:
		if n, err := strconv.ParseInt(res.Raw, 10, 64); err == nil {
			return n, ""
		}
		f, err := strconv.ParseFloat(res.Raw, 64)
		if err != nil {
			return nil, "out_of_range"
		}
		return f, ""
	case gjson.JSON:
		return nil, "not_scalar"
	}
	if res.Exists() {
		return nil, "null"
	}
	return nil, "missing"
}

// convert applies type, scale and offset.
func (p *mapped) convert(v any) (any, string) {
	kind := p.cfg.Type
	if p.cfg.Scale != nil || p.cfg.Offset != 0 {
		kind = "float"
	}
	switch kind {
	case "float":
		f, ok := number(v)
		if !ok {
			return nil, "not_number"
		}
		if p.cfg.Scale != nil {
			f *= *p.cfg.Scale
		}
		if f += p.cfg.Offset; math.IsInf(f, 0) || math.IsNaN(f) {
			return nil, "out_of_range"
		}
		return f, ""
	case "int":
		if n, ok := v.(int64); ok {
			return n, ""
		}
		if s, ok := v.(string); ok {
			if n, err := strconv.ParseInt(strings.TrimSpace(s), 10, 64); err == nil {
				return n, ""
			}
		}
		f, ok := number(v)
		if !ok {
			return nil, "not_number"
		}
		if f != math.Trunc(f) || math.Abs(f) > 1<<53 {
			return nil, "out_of_range"
		}
		return int64(f), ""
	case "bool":
		return boolean(v)
	case "text":
		switch v := v.(type) {
		case string:
			return v, ""
		case []byte:
			return nil, "not_text"
		}
		return plainText(v), ""
	}
	return v, ""
}

// number reads a finite number.
func number(v any) (float64, bool) {
	switch v := v.(type) {
	case int64:
		return float64(v), true
	case float64:
		return v, true
	case string:
		f, err := strconv.ParseFloat(strings.TrimSpace(v), 64)
		return f, err == nil && !math.IsInf(f, 0) && !math.IsNaN(f)
	}
	return 0, false
}

func boolean(v any) (any, string) {
	switch v := v.(type) {
	case bool:
		return v, ""
	case int64:
		if v == 0 || v == 1 {
			return v == 1, ""
		}
	case string:
		switch strings.ToLower(strings.TrimSpace(v)) {
		case "true", "on", "yes", "1":
			return true, ""
		case "false", "off", "no", "0":
			return false, ""
		}
	}
	return nil, "not_bool"
}

// plainText returns a number or bool as JSON writes it.
func plainText(v any) string {
	switch v := v.(type) {
	case bool:
		return strconv.FormatBool(v)
	case int64:
		return strconv.FormatInt(v, 10)
	case uint64:
		return strconv.FormatUint(v, 10)
	case float64:
		b, _ := serialize.AppendValue(nil, wamp.JSON, v) // finite
		return string(b)
	}
	return ""
}
