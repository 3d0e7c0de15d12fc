package homeassistant

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"gantry/bridge"
	"gantry/bridge/shapes/internal/shape"
	"gantry/bridge/shapes/internal/template"
	"gantry/drivers"
)

// config is the discovery message of one entity, with whole words for keys. The
// first fault of what is read from it is kept.
type config struct {
	keys map[string]any
	err  error
}

// newConfig expands abbreviations and the base topic "~".
func newConfig(msg map[string]any) *config {
	keys := expand(msg, abbreviations)
	base, _ := keys["~"].(string)
	for k, v := range keys {
		if s, ok := v.(string); ok && (k == "topic" || strings.HasSuffix(k, "_topic")) {
			keys[k] = rooted(s, base)
		}
	}
	if dev := shape.Dict(keys["device"]); dev != nil {
		keys["device"] = expand(dev, ofDevice)
	}
	var list []any
	for _, a := range shape.List(keys["availability"]) {
		if a := shape.Dict(a); a != nil && len(list) < 16 {
			a = expand(a, abbreviations)
			a["topic"] = rooted(shape.Text(a["topic"]), base)
			list = append(list, a)
		}
	}
	if one := shape.Dict(keys["availability"]); one != nil {
		one = expand(one, abbreviations)
		one["topic"] = rooted(shape.Text(one["topic"]), base)
		list = append(list, one)
	}
	keys["availability"] = list
	return &config{keys: keys}
}

// rooted puts the base topic in the place of a ~ at either end.
func rooted(topic, base string) string {
	switch {
	case base == "":
		return topic
	case strings.HasPrefix(topic, "~"):
		return base + topic[1:]
	case strings.HasSuffix(topic, "~"):
		return topic[:len(topic)-1] + base
	}
	return topic
}

func (c *config) fail(key, format string, args ...any) {
	if c.err == nil {
		c.err = fmt.Errorf("%s: %s", key, fmt.Sprintf(format, args...))
	}
}

// text returns a text, or a number or truth value as one, and otherwise the default.
func (c *config) text(key, otherwise string) string {
	switch v := c.keys[key].(type) {
	case string:
		return v
	case bool, float64:
		return word(v)
	}
	return otherwise
}

// topic returns a topic name; "" if there is none.
func (c *config) topic(key string) string {
	t, _ := c.keys[key].(string)
	if len(t) > 512 || strings.ContainsAny(t, "+#\x00") {
		c.fail(key, "%.80q is no topic", t)
		return ""
	}
	return t
}

// filter returns a topic name or filter: what is read may come from several topics.
func (c *config) filter(key string) string {
	t, _ := c.keys[key].(string)
	if t == "" {
		return ""
	}
	if _, err := bridge.ParseFilter(t); err != nil || len(t) > 512 || strings.Trim(t, "+#/") == "" {
		c.fail(key, "%.80q is no topic", t)
		return ""
	}
	return t
}

// template returns a template; nil if there is none.
func (c *config) template(key string) *template.Template {
	s, _ := c.keys[key].(string)
	if s == "" {
		return nil
	}
	t, err := template.Compile(s)
	if err != nil {
		c.fail(key, "%v", err)
	}
	return t
}

// number returns a pointer to a number, or to the default.
func (c *config) number(key string, otherwise float64) *float64 {
	if s := shape.Text(c.keys[key]); s != "" {
		if v, why := shape.Of(drivers.Float, s); why == "" {
			f := v.(float64)
			return &f
		}
	}
	if f := shape.Number(c.keys[key]); f != nil {
		return f
	}
	return &otherwise
}

// maxSeconds is the longest time that an entity may name: a year.
const maxSeconds = 366 * 24 * 3600

// seconds returns a time; 0 = none.
func (c *config) seconds(key string) time.Duration {
	n := *c.number(key, 0)
	if !(n > 0) {
		return 0
	}
	return time.Duration(min(n, maxSeconds) * float64(time.Second))
}

// words returns a list of texts, or the default.
func (c *config) words(key string, otherwise ...string) []string {
	l, ok := c.keys[key].([]any)
	if !ok {
		return otherwise
	}
	var out []string
	for _, v := range l {
		if s := shape.Word(v); s != "" && len(out) < shape.MaxEnum && len(s) < 256 && !slices.Contains(out, s) {
			out = append(out, s)
		}
	}
	return out
}

func (c *config) yes(key string) bool { return c.keys[key] == true }

// word is a value as Home Assistant compares it with a payload.
func word(v any) string {
	switch v {
	case true:
		return "True"
	case false:
		return "False"
	}
	return shape.Word(scalar(v))
}

func scalar(v any) any {
	switch v := v.(type) {
	case int64:
		return float64(v)
	}
	return v
}

// source is one point: where its value comes from, and how it is set.
type source struct {
	drivers.Point
	suffix string // after the name of the entity; "" = that alone

	topic  string
	tmpl   *template.Template
	path   []string                 // keys into a JSON payload, instead of tmpl
	within string                   // key of a JSON payload that has the value, if it is an object
	values map[string]drivers.Value // what payloads stand for, nil = nothing; a nil map = what they say
	moment bool                     // something that happens: what was kept does not count

	command string
	cmdTmpl *template.Template
	words   map[drivers.Value]string           // the way back
	wrap    func(v drivers.Value) any          // makes the JSON payload
	render  func(v drivers.Value) (any, error) // makes the payload, in the place of all other ways

	expireAfter, offDelay time.Duration // 0 = never

	of *entity
	memory
}

// verb is one action.
type verb struct {
	drivers.Action
	suffix   string
	topic    string
	payload  string
	tmpl     *template.Template
	variable string // what tmpl calls the payload; "" = value
	await    string // suffix of the point that it changes, "-" = none
}

// reads sets where the value of a point comes from.
func (c *config) reads(s *source, topic, tmpl string) {
	s.topic, s.tmpl = c.filter(topic), c.template(tmpl)
	s.Readable = s.topic != ""
}

// writes sets how a point is set.
func (c *config) writes(s *source, topic, tmpl string) {
	s.command, s.cmdTmpl = c.topic(topic), c.template(tmpl)
	s.Writable = s.command != ""
}

// source returns a point that is read and set by keys named alike:
// <name>state_topic, <name>command_topic.
func (c *config) source(suffix string, t drivers.Type, prefix, tmpl string) source {
	s := source{suffix: suffix, Point: drivers.Point{Type: t}}
	c.reads(&s, prefix+"state_topic", tmpl)
	c.writes(&s, prefix+"command_topic", prefix+"command_template")
	return s
}

// binary makes a point true and false.
func (s *source) binary(on, off, cmdOn, cmdOff string) {
	s.Type = drivers.Bool
	s.values = map[string]drivers.Value{off: false, on: true}
	s.words = map[drivers.Value]string{false: cmdOff, true: cmdOn}
}

// value turns a payload into the point's value. there is false where the message
// does not concern the point.
func (s *source) value(payload []byte, vars func() map[string]any) (v drivers.Value, why string, there bool) {
	var raw any = string(payload)
	switch {
	case s.tmpl != nil:
		var err error
		if raw, err = s.tmpl.Render(vars()); err != nil {
			return nil, "template", !isUndefined(err)
		}
		if raw == "" {
			return nil, "", false
		}
	case s.path != nil:
		raw = vars()["value_json"]
		for _, k := range s.path {
			in, ok := raw.(map[string]any)
			if raw, there = in[k]; !ok || !there {
				return nil, "", false
			}
		}
	}
	if in := s.object(raw); in != nil {
		if raw, there = in[s.within]; !there {
			return nil, "", false
		}
	}
	if w := word(raw); raw == nil || s.Type != drivers.Text && (w == "None" || w == "unknown" || w == "unavailable") {
		return nil, "null", true
	} else if s.values != nil {
		for _, k := range slices.Sorted(maps.Keys(s.values)) {
			if k == w || strings.EqualFold(k, w) && strings.EqualFold(w, "true") || strings.EqualFold(k, w) && strings.EqualFold(w, "false") {
				return s.values[k], "", s.values[k] != nil
			}
		}
		if s.Type == drivers.Bool {
			return nil, "unmapped", true
		}
	}
	v, why = shape.Of(s.Type, raw)
	return v, why, true
}

// object returns what a value may be within, nil if it is not an object.
func (s *source) object(raw any) map[string]any {
	if s.within == "" {
		return nil
	}
	if text, ok := raw.(string); ok && strings.HasPrefix(strings.TrimSpace(text), "{") {
		raw, _ = template.Decode([]byte(text))
	}
	return shape.Dict(raw)
}

// payload returns what sets the point.
func (s *source) payload(v drivers.Value) ([]byte, error) {
	if s.render != nil {
		out, err := s.render(v)
		if err != nil {
			return nil, fmt.Errorf("its command template: %w", err)
		}
		return []byte(shape.Word(scalar(out))), nil
	}
	if s.wrap != nil {
		return shape.JSON(s.wrap(v)), nil
	}
	text, mapped := s.words[v]
	if !mapped {
		text = shape.Word(v)
	}
	if s.cmdTmpl == nil {
		return []byte(text), nil
	}
	var given any = v
	if mapped {
		given = text
	}
	if f, ok := v.(float64); ok && f == float64(int64(f)) {
		given = int64(f)
	}
	out, err := s.cmdTmpl.Render(map[string]any{"value": given})
	if err != nil {
		return nil, fmt.Errorf("its command template: %w", err)
	}
	return []byte(shape.Word(scalar(out))), nil
}
