package bridge

import (
	"maps"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/tidwall/gjson"

	"gantry/wamp"
)

// Message is an MQTT message, in either direction.
type Message struct {
	Topic   string
	Payload []byte
	QoS     byte
	// Retained: kept by the broker from before, or to be kept.
	Retained bool
	// Queued: kept by the broker while the client was away, or perhaps so.
	Queued bool
	// Again: sent by the broker before, and not acknowledged then (DUP).
	Again bool
}

// mapping is a rule that turns messages into readings.
type mapping struct {
	at string // where it stands: "map[0]"
	source
	each      []string // see walk; nil: the message is the only item
	fields    []mappedField
	device    template
	points    []mapped
	constants []constant
	time      *timeField // nil: none
	maxAge    time.Duration
	good, bad []condition
	fresh     bool // ignore what was retained
	qos       byte
	json      bool // something needs the payload as JSON
}

type mapped struct {
	name template
	cfg  PointConfig
	path string
}

// mappedField is a variable of the templates that comes out of the payload.
type mappedField struct{ name, path string }

type constant struct {
	name  string
	text  template
	value any // nil = text
}

// envelope are the keyword arguments that a reading has by itself.
var envelope = []string{"ts", "q", "why", "unit", "seq", "ep", "clk", "up", "replay"}

func newMap(c *MapConfig, key string) (*mapping, error) {
	m := &mapping{at: key, fresh: c.IgnoreRetained, qos: 1, maxAge: c.MaxAge}
	var err error
	if m.source, err = newSource(c.Topic, c.Regex, key); err != nil {
		return nil, err
	}
	if err := m.addVariables(c, key); err != nil {
		return nil, err
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
		if *c.QoS > 2 {
			return nil, bad(key+".qos", "0, 1 or 2", "is %d", *c.QoS)
		}
		m.qos = *c.QoS
	}
	if err := m.addJudgement(c, key); err != nil {
		return nil, err
	}
	return m, m.addConstants(c, key)
}

// addVariables reads where names come from besides the levels of the topic.
func (m *mapping) addVariables(c *MapConfig, key string) (err error) {
	if c.Each != "" {
		if m.each, err = parseEach(c.Each); err != nil {
			return bad(key+".each", `a path with # for the elements of an array or * for the members of an object, such as "sensors.#"`, "%.80q %v", c.Each, err)
		}
		m.json = true
	}
	for _, name := range slices.Sorted(maps.Keys(c.Fields)) {
		at := key + ".fields." + name
		if !identifier(name) || m.variable(name) {
			return bad(at, "a name of a-z 0-9 _ that no level, group or key has", "is no name, or taken")
		}
		path := c.Fields[name]
		if text := checkPath(path); text != "" || trimRoot(path) == "" {
			return bad(at, allowedPath, "%.80q is no path", path)
		}
		m.fields = append(m.fields, mappedField{name, trimRoot(path)})
		m.json = true
	}
	return nil
}

// variable reports whether templates may name it.
func (m *mapping) variable(name string) bool {
	return m.source.variable(name) ||
		m.each != nil && name == "key" || slices.ContainsFunc(m.fields, func(f mappedField) bool { return f.name == name })
}

// addJudgement reads what decides on time and quality.
func (m *mapping) addJudgement(c *MapConfig, key string) (err error) {
	if m.time, err = newTimeField(c.Time, c.TimeFormat, key); err != nil {
		return err
	}
	switch {
	case c.MaxAge < 0:
		return bad(key+".max_age", "a time such as \"10m\"", "is %v", c.MaxAge)
	case c.MaxAge > 0 && m.time == nil:
		return bad(key+".max_age", "max_age together with time", "the age of a message is not known without its time")
	}
	if m.good, err = conditions(c.GoodIf, key+".good_if"); err != nil {
		return err
	}
	if m.bad, err = conditions(c.BadIf, key+".bad_if"); err != nil {
		return err
	}
	m.json = m.json || m.time != nil || len(m.good)+len(m.bad) > 0
	return nil
}

// name parses the template of a device's or point's name.
func (m *mapping) name(s, key string) (template, error) {
	t := parseTemplate(s)
	if err := m.known(t, key); err != nil {
		return t, err
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

// known refuses placeholders that nothing fills.
func (m *mapping) known(t template, key string) error {
	for _, n := range t.names() {
		if !m.variable(n) {
			return bad(key, "the names of levels of the topic, groups of regex, fields, and key with each", "there is no {%s}", n)
		}
	}
	return nil
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
			if err := m.known(k.text, at); err != nil {
				return err
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

// admit returns the variables that a message's topic gives, or why the rule does
// not take the message. counts tells whether it is a message for the rule at all.
func (m *mapping) admit(msg *Message) (vars map[string]string, counts bool, refused string) {
	if vars, refused = m.source.vars(msg.Topic); refused != "" {
		return nil, false, refused
	}
	if msg.Retained && m.fresh {
		return nil, true, "it was retained, and the rule ignores those"
	}
	return vars, true, ""
}

// input is a message that a rule is being applied to.
type input struct {
	payload  []byte
	valid    bool         // the payload is JSON
	root     gjson.Result // of valid JSON
	retained bool
}

// lookup finds path in an item, or else in the message as a whole.
func (in *input) lookup(item gjson.Result, path string) gjson.Result {
	if !in.valid {
		return gjson.Result{}
	}
	if res := item.Get(path); res.Exists() {
		return res
	}
	return in.root.Get(path)
}

func (r *Rules) apply(rule *mapping, m *Message, vars map[string]string, emit func(wamp.URI, wamp.Payload)) {
	// gjson gives undefined answers for what is not JSON.
	in := input{payload: m.Payload, retained: m.Retained, valid: jsonMessage(m.Payload)}
	if in.valid {
		in.root = gjson.ParseBytes(m.Payload)
	}
	if rule.json && !in.valid {
		r.stats.malformed.Add(1)
		r.reject("an MQTT message is not the JSON that a rule needs", rule.at, m.Topic)
	}
	if rule.each == nil {
		r.item(rule, m, &in, in.root, vars, emit)
		return
	}
	found := false
	if in.valid {
		walk(in.root, rule.each, "", func(key string, item gjson.Result) {
			found = true
			mine := maps.Clone(vars)
			if mine == nil {
				mine = map[string]string{}
			}
			mine["key"] = key
			r.item(rule, m, &in, item, mine, emit)
		})
	}
	if in.valid && !found {
		r.stats.malformed.Add(1)
		r.reject("an MQTT message has nothing where a rule looks for its items", rule.at, m.Topic)
	}
}

// item makes the readings of one item.
func (r *Rules) item(rule *mapping, m *Message, in *input, item gjson.Result, vars map[string]string, emit func(wamp.URI, wamp.Payload)) {
	if len(rule.fields) > 0 {
		filled, missing := rule.fill(in, item, vars)
		if missing != "" {
			if in.valid {
				r.stats.malformed.Add(1)
				r.reject("an MQTT message lacks a field that names are made of", rule.at, m.Topic, "field", missing)
			}
			return
		}
		vars = filled
	}
	verdict := rule.judge(in, item, r.origin.cfg.Clock)
	if verdict.q == "stale" {
		r.stats.stale.Add(1)
	}
	device := sanitised(rule.device.fill(vars))
	for i := range rule.points {
		p := &rule.points[i]
		value, why := p.value(in, item)
		if why == "missing" && p.cfg.Optional {
			continue
		}
		topic := r.origin.URI("point", device, sanitised(p.name.fill(vars)))
		kwargs, ok := r.origin.Stamp(topic)
		if !ok {
			r.stats.dropped.Add(1)
			r.reject("a reading is dropped, as there are too many topics of readings", rule.at, m.Topic, "reading", string(topic))
			continue
		}
		verdict.write(kwargs)
		if why != "" {
			kwargs["q"], kwargs["why"] = "bad", why
			r.reject("an MQTT message gives a reading of quality bad", rule.at, m.Topic, "reading", string(topic), "why", why)
		}
		if kwargs["q"] == "bad" {
			value = nil
			r.stats.bad.Add(1)
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

// fill returns vars with the fields of an item, or the name of one that is missing.
func (m *mapping) fill(in *input, item gjson.Result, vars map[string]string) (_ map[string]string, missing string) {
	vars = maps.Clone(vars)
	if vars == nil {
		vars = map[string]string{}
	}
	for _, f := range m.fields {
		text, ok := scalarText(in.lookup(item, f.path))
		if !ok {
			return nil, f.name
		}
		vars[f.name] = text
	}
	return vars, ""
}
