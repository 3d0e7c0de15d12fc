package bridge

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"time"
)

// Secret is a password that is kept elsewhere.
type Secret interface {
	// Reveal reads it.
	Reveal() (string, error)
}

// RulesConfig holds the rules between MQTT and a realm. The same rules are for
// messages of an external broker and for those of the gateway's own listener.
type RulesConfig struct {
	// Map turns MQTT messages into readings.
	Map []MapConfig `toml:"map"`
	// Command turns calls into MQTT messages.
	Command []CommandConfig `toml:"command"`
	// Call turns MQTT messages into calls.
	Call []CallConfig `toml:"call"`
}

// MapConfig is one rule [[map]] that turns MQTT messages into readings, published
// on gantry.<gateway>.point.<device>.<point>.
type MapConfig struct {
	// Topic is a topic filter in which levels may have a name, used in the other
	// keys: "sensors/{room}/+". Required.
	Topic string `toml:"topic"`
	// Regex is a regular expression (RE2) that topics covered by Topic must match as
	// well; its named groups are names like those of levels.
	Regex string `toml:"regex"`
	// Each is the path of the items of a JSON payload, each of which is mapped by
	// itself: # stands for every element of an array, * for every member of an object
	// too. {key} is the index or the member's name. Paths of points begin at the item.
	// "" = the message is the only item.
	Each string `toml:"each"`
	// Fields are more names, with the path of the text, number or bool that each
	// stands for: in the item, or else in the message.
	Fields map[string]string `toml:"fields"`
	// Device is the device's name, a template: "wx_{room}". What is filled in is put
	// into the form of a name: lower case, _ for any other character. Required.
	Device string `toml:"device"`
	// Point is the name of the only point, a template; the alternative to Points.
	Point string `toml:"point"`
	// Path is where its value is in a JSON payload, see PointConfig. Absent = the
	// payload as a whole is the value.
	Path string `toml:"path"`
	// Points are the points by name (a template): the path of the value, or a table
	// like PointConfig. What is absent there is taken from this table.
	Points map[string]any `toml:"points"`
	// Unit, Type, Scale and Offset are as in PointConfig.
	Unit   string   `toml:"unit"`
	Type   string   `toml:"type"`
	Scale  *float64 `toml:"scale"`
	Offset float64  `toml:"offset"`
	// Constants are added to the keyword arguments of each reading: texts
	// (templates, filled in as they are), numbers, true or false.
	Constants map[string]any `toml:"constants"`
	// Time is the path of the time of measurement, in the item or else in the message.
	// Without it, or where it cannot be read, it is the time of arrival.
	Time string `toml:"time"`
	// TimeFormat is s, ms or us since 1970, or iso (ISO 8601; without a zone UTC).
	// "" = any of them, told by its form and size.
	TimeFormat string `toml:"time_format"`
	// MaxAge makes readings that are older stale. It needs Time. 0 = any age.
	MaxAge time.Duration `toml:"max_age"`
	// GoodIf has the paths of fields with the value, or the list of values, that each
	// must have: otherwise the quality is uncertain.
	GoodIf map[string]any `toml:"good_if"`
	// BadIf has paths likewise: a field that has one of the values makes the quality
	// bad, and there is no value.
	BadIf map[string]any `toml:"bad_if"`
	// IgnoreRetained drops messages that the broker kept from before. Otherwise
	// they become readings of quality uncertain, since their age is unknown.
	IgnoreRetained bool `toml:"ignore_retained"`
	// QoS is the quality of service to ask an external broker for: 0, 1 or 2.
	// Default 1.
	QoS *uint8 `toml:"qos"`
}

// PointConfig is one point of a rule.
type PointConfig struct {
	// Path leads to the value in a JSON payload: keys and array indexes from 0,
	// separated by dots, a dot or other special character in a key escaped by a
	// backslash. It may begin with "$.". "" = the payload as a whole.
	Path string
	// Unit is the UCUM code of the scaled value.
	Unit string
	// Type converts the value: float, int, bool (also on/off, yes/no, 1/0), text.
	// "" = as it is in the payload; with Unit a number.
	Type string
	// Scale and Offset make the value a number: value*Scale + Offset. Scale absent
	// = 1; never 0.
	Scale  *float64
	Offset float64
	// Optional: messages without this value bring no reading. Otherwise they bring
	// one of quality bad.
	Optional bool
}

// CommandConfig is one rule [[command]]: a procedure whose calls become MQTT
// messages.
type CommandConfig struct {
	// Procedure is set.<device>.<point> or do.<device>.<action>; the name on the
	// wire has gantry.<gateway>. before it. set takes one argument, {value} in the
	// templates; do takes the keyword arguments that the templates name. Required.
	Procedure string `toml:"procedure"`
	// Topic is the topic to publish to, a template; what is filled in is one level
	// or a part of one. Required.
	Topic string `toml:"topic"`
	// Payload is a template: {x} is the argument as text, {x:json} as JSON. A
	// payload that begins with { or [ must come out as valid JSON; in its strings
	// arguments are escaped. Default "{value}" for set, empty for do.
	Payload *string `toml:"payload"`
	// Values replaces texts of the value: { true = "ON", false = "OFF" }. Any other
	// value is refused.
	Values map[string]string `toml:"values"`
	// Type is the type of the value: float, int, bool, text. "" = any of them.
	Type string `toml:"type"`
	// Min and Max bound a number.
	Min *float64 `toml:"min"`
	Max *float64 `toml:"max"`
	// Enum lists the texts that are allowed.
	Enum []string `toml:"enum"`
	// QoS is 0, 1 or 2. Default 1: the call returns when the broker has the
	// message.
	QoS *uint8 `toml:"qos"`
	// Retain makes the broker keep the message. A kept command fires again when the
	// device reconnects, whatever has happened since: leave it off.
	Retain bool `toml:"retain"`
	// Response says how the device answers. nil = it does not: the call returns when the
	// message has been sent.
	Response *ResponseConfig `toml:"response"`
}

// at is the key of one of several tables.
func at(table string, i int) string { return fmt.Sprintf("%s[%d]", table, i) }

const allowedTypes = "float, int, bool, text"

var types = []string{"", "float", "int", "bool", "text"}

// Validate checks all rules. The error is a *ConfigError.
func (c *RulesConfig) Validate() error {
	for i := range c.Map {
		if _, err := newMap(&c.Map[i], at("map", i)); err != nil {
			return err
		}
	}
	seen := map[string]bool{}
	for i := range c.Command {
		key := at("command", i)
		cmd, err := newCommand(&c.Command[i], key)
		if err != nil {
			return err
		}
		if seen[cmd.name()] {
			return bad(key+".procedure", "each procedure once", "%s is there already", cmd.name())
		}
		seen[cmd.name()] = true
	}
	return c.checkCalls()
}

// pointConfigs returns the points of a rule by name, with what they inherit.
func (c *MapConfig) pointConfigs(key string) (map[string]PointConfig, error) {
	base := PointConfig{Path: c.Path, Unit: c.Unit, Type: c.Type, Scale: c.Scale, Offset: c.Offset}
	switch {
	case c.Point != "" && c.Points != nil:
		return nil, bad(key+".points", "point or points", "both point and points are there")
	case c.Point != "":
		return map[string]PointConfig{c.Point: base}, nil
	case len(c.Points) == 0:
		return nil, bad(key+".points", `point = "NAME" or points = { NAME = "PATH" }`, "is missing")
	case c.Path != "":
		return nil, bad(key+".path", "path only with point", "points have their own paths")
	}
	out := make(map[string]PointConfig, len(c.Points))
	for _, name := range slices.Sorted(maps.Keys(c.Points)) {
		p := base
		switch v := c.Points[name].(type) {
		case string:
			p.Path = v
		case map[string]any:
			if err := p.read(key+".points."+name, v); err != nil {
				return nil, err
			}
		default:
			return nil, bad(key+".points."+name, "the path as a text, or a table", "is neither")
		}
		out[name] = p
	}
	return out, nil
}

// read takes the keys of a table.
func (p *PointConfig) read(key string, t map[string]any) error {
	for _, k := range slices.Sorted(maps.Keys(t)) {
		v := t[k]
		ok := true
		number := func() (f float64) {
			switch v := v.(type) {
			case int64:
				f = float64(v)
			case float64:
				f = v
			default:
				ok = false
			}
			return f
		}
		want := "a number"
		switch k {
		case "path":
			p.Path, ok = v.(string)
			want = "a text"
		case "unit":
			p.Unit, ok = v.(string)
			want = "a text"
		case "type":
			p.Type, ok = v.(string)
			want = allowedTypes
		case "scale":
			f := number()
			p.Scale = &f
		case "offset":
			p.Offset = number()
		case "optional":
			p.Optional, ok = v.(bool)
			want = "true or false"
		default:
			return bad(key+"."+k, "offset, optional, path, scale, type, unit", "unknown key")
		}
		if !ok {
			return bad(key+"."+k, want, "is something else")
		}
	}
	return nil
}

// validate checks one point; key is its rule, as rules inherit.
func (p *PointConfig) validate(key string) error {
	if text := checkPath(p.Path); text != "" {
		return bad(key+".path", allowedPath, "%.80q %s", p.Path, text)
	}
	if !slices.Contains(types, p.Type) {
		return bad(key+".type", allowedTypes, "is %.80q", p.Type)
	}
	if !finite(p.Scale) || p.Scale != nil && *p.Scale == 0 {
		return bad(key+".scale", "any finite number but 0", "is %g", *p.Scale)
	}
	if !finite(&p.Offset) {
		return bad(key+".offset", "a finite number", "is %g", p.Offset)
	}
	if (p.Scale != nil || p.Offset != 0) && p.Type != "" && p.Type != "float" {
		return bad(key+".type", "float, or no scale and offset", "is %q", p.Type)
	}
	return nil
}

func finite(f *float64) bool { return f == nil || !math.IsNaN(*f) && !math.IsInf(*f, 0) }

const allowedPath = `keys and indexes separated by dots, such as "wind.avg" or "list.0.t"`

// checkPath refuses what is more than keys and indexes: the queries, modifiers
// and literals of the path language behind it.
func checkPath(path string) string {
	if path == "" || path == "$" {
		return ""
	}
	s := trimRoot(path)
	if len(s) > 256 {
		return "is longer than 256 bytes"
	}
	start := true
	for i := 0; i < len(s); i++ {
		c := s[i]
		switch {
		case c == '\\':
			if i++; i == len(s) {
				return "ends in a backslash"
			}
			start = false
		case c == '.':
			if start {
				return "has an empty key"
			}
			start = true
		case strings.IndexByte("|#*?@!{}[]()\"'=<>%~^:,", c) >= 0 || c < ' ':
			return fmt.Sprintf("has a %q that is not escaped by a backslash", c)
		default:
			start = false
		}
	}
	if start {
		return "has an empty key"
	}
	return ""
}

// trimRoot takes the "$." of JSON paths away.
func trimRoot(path string) string {
	if path == "$" {
		return ""
	}
	return strings.TrimPrefix(path, "$.")
}
