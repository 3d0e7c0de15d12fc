package bridge

import (
	"context"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"

	"gantry/wamp"
	"gantry/wamp/serialize"
)

// command is a rule that turns calls into messages.
type command struct {
	at                    string // where it stands: "command[0]"
	class, device, action string // set or do
	topic, payload        template
	args                  []string // placeholders
	cfg                   CommandConfig
	json                  bool // the payload must come out as JSON
	qos                   byte
	response              *response // nil: nobody answers
}

func (c *command) name() string { return c.class + "." + c.device + "." + c.action }

func newCommand(cfg *CommandConfig, key string) (*command, error) {
	c := &command{at: key, cfg: *cfg, qos: 1}
	parts := strings.Split(cfg.Procedure, ".")
	if len(parts) != 3 || parts[0] != "set" && parts[0] != "do" || !ValidName(parts[1]) || !ValidName(parts[2]) {
		return nil, bad(key+".procedure", "set.DEVICE.POINT or do.DEVICE.ACTION", "is %.80q", cfg.Procedure)
	}
	c.class, c.device, c.action = parts[0], parts[1], parts[2]
	c.topic = parseTemplate(cfg.Topic)
	// A level's place is taken by x to see whether the rest is a topic.
	sample, _ := c.topic.render(func(string) (string, error) { return "x", nil })
	if err := CheckTopic(sample); err != nil {
		return nil, bad(key+".topic", "a topic name without wildcards", "%.80q %v", cfg.Topic, err)
	}
	text := ""
	if c.class == "set" {
		text = "{value}"
	}
	if cfg.Payload != nil {
		text = *cfg.Payload
	}
	if len(text) > MaxTopic {
		return nil, bad(key+".payload", "up to 65535 bytes", "is %d bytes long", len(text))
	}
	c.payload = parseTemplate(text)
	c.json = c.payload.json()
	c.args = c.payload.names()
	for _, n := range c.topic.names() {
		if !slices.Contains(c.args, n) {
			c.args = append(c.args, n)
		}
	}
	slices.Sort(c.args)
	if cfg.Response != nil {
		c.args = slices.DeleteFunc(c.args, func(n string) bool { return n == idName })
		var err error
		if c.response, err = newResponse(cfg.Response, c, key+".response"); err != nil {
			return nil, err
		}
	}
	if c.class == "set" && (len(c.args) != 1 || c.args[0] != "value") {
		return nil, bad(key+".payload", "{value} in topic or payload, and no other", "set has one argument, the value")
	}
	return c, c.validate(key)
}

func (c *command) validate(key string) error {
	cfg := &c.cfg
	numeric := cfg.Type == "" || cfg.Type == "float" || cfg.Type == "int"
	switch {
	case !slices.Contains(types, cfg.Type):
		return bad(key+".type", allowedTypes, "is %.80q", cfg.Type)
	case !finite(cfg.Min):
		return bad(key+".min", "a finite number", "is %g", *cfg.Min)
	case !finite(cfg.Max):
		return bad(key+".max", "a finite number", "is %g", *cfg.Max)
	case cfg.Min != nil && cfg.Max != nil && *cfg.Min > *cfg.Max:
		return bad(key+".min", fmt.Sprintf("at most max (%g)", *cfg.Max), "is %g", *cfg.Min)
	case (cfg.Min != nil || cfg.Max != nil) && !numeric:
		return bad(key+".min", "only for numbers", "the type is %s", cfg.Type)
	case len(cfg.Enum) > 0 && cfg.Type != "text" && cfg.Type != "":
		return bad(key+".enum", "only for texts", "the type is %s", cfg.Type)
	case !slices.Contains(c.args, "value") && (cfg.Type != "" || cfg.Min != nil || cfg.Max != nil || cfg.Enum != nil || cfg.Values != nil):
		return bad(key+".payload", "{value} in topic or payload", "there is no value to check")
	}
	if cfg.QoS != nil {
		if *cfg.QoS > 2 {
			return bad(key+".qos", "0, 1 or 2", "is %d", *cfg.QoS)
		}
		c.qos = *cfg.QoS
	}
	if c.json {
		// Text inside a JSON text, a number anywhere else: both must fit.
		if _, err := c.fill(func(string) any { return int64(0) }); err != nil {
			return bad(key+".payload", "JSON once the placeholders are filled in", "is no JSON with 0 in their place")
		}
	}
	return nil
}

// renderPayload fills arguments into the template of a payload.
func renderPayload(t template, arg func(name string) any) (string, error) {
	var out strings.Builder
	for _, p := range t.parts {
		text := p.literal
		if p.name != "" {
			var err error
			if text, err = p.fill(arg(p.name)); err != nil {
				return "", err
			}
		}
		out.WriteString(text)
	}
	return out.String(), nil
}

// fill is what stands for a placeholder in a payload. What has no text is JSON, but for
// what is not there. Inside a string of JSON it is escaped, and null is empty.
func (p part) fill(v any) (string, error) {
	text := argumentText(v)
	if p.json || text == "" && v != "" && (v != nil || p.name == "value" && !p.quoted) {
		raw, err := serialize.AppendValue(nil, wamp.JSON, v)
		if err != nil {
			return "", err
		}
		if text = string(raw); p.quoted && text[0] == '"' && !p.json {
			return text[1 : len(text)-1], nil // binary
		}
	}
	if !p.quoted {
		return text, nil
	}
	raw, err := serialize.AppendValue(nil, wamp.JSON, text)
	if err != nil {
		return "", err
	}
	return string(raw[1 : len(raw)-1]), nil
}

// fill renders the payload.
func (c *command) fill(arg func(name string) any) (string, error) {
	return c.payload.fillJSON(c.json, arg)
}

// call is a valid call of a command.
type call struct {
	Message
	value any       // of set, as the caller gave it
	args  wamp.Dict // what was filled in, the identifier of the request included
}

// message turns a call into a message. The error is a *wamp.Error.
func (c *command) message(args wamp.List, kwargs wamp.Dict) (call, error) {
	m := call{Message: Message{QoS: c.qos, Retained: c.cfg.Retain}}
	got := maps.Clone(kwargs)
	if got == nil {
		got = wamp.Dict{}
	}
	if len(args) == 1 && slices.Contains(c.args, "value") {
		if _, twice := got["value"]; !twice {
			got["value"] = args[0]
			args = nil
		}
	}
	if len(args) > 0 || c.class == "set" && len(kwargs) > 0 || len(got) != len(c.args) {
		return m, c.usage()
	}
	for _, name := range c.args {
		v, ok := got[name]
		if !ok {
			return m, c.usage()
		}
		switch f := v.(type) {
		case bool, int64, uint64, string:
		case float64:
			if !finite(&f) {
				return m, refuse(name+" is not finite", wamp.Dict{"argument": name})
			}
		default:
			return m, refuse(name+" is neither text, number, true nor false", wamp.Dict{"argument": name})
		}
	}
	m.value, m.args = got["value"], got
	if c.response != nil {
		got[idName] = newID()
	}
	if _, ok := got["value"]; ok {
		var err error
		if got["value"], err = c.check(m.value); err != nil {
			return m, err
		}
	}
	text, err := c.fill(func(name string) any { return got[name] })
	if err != nil {
		return m, refuse(err.Error(), nil)
	}
	m.Payload = []byte(text)
	if m.Topic, err = c.topic.render(func(name string) (string, error) { return topicPart(name, got[name]) }); err != nil {
		return m, err
	}
	if err := CheckTopic(m.Topic); err != nil {
		return m, refuse("the topic "+err.Error(), nil)
	}
	return m, nil
}

// usage tells a caller which arguments the procedure takes.
func (c *command) usage() error {
	allowed := make(wamp.List, len(c.args))
	for i, n := range c.args {
		allowed[i] = n
	}
	text := c.name() + " takes the arguments listed in allowed"
	if c.class == "set" {
		text = c.name() + " takes one argument, the value"
	}
	return wamp.NewError(wamp.ErrURIInvalidArgument, text, wamp.Dict{"allowed": allowed})
}

func refuse(text string, details wamp.Dict) error {
	return wamp.NewError(wamp.ErrURIOutOfRange, text, details)
}

// check validates the value and returns what stands for it in the message.
func (c *command) check(v any) (any, error) {
	cfg := &c.cfg
	details := wamp.Dict{"value": v}
	f, numeric := float(v)
	text, isText := v.(string)
	_, isBool := v.(bool)
	if cfg.Type != "" {
		details["type"] = cfg.Type
	}
	switch cfg.Type {
	case "float":
		if !numeric {
			return nil, refuse("the value is not a number", details)
		}
	case "int":
		if !numeric || f != math.Trunc(f) {
			return nil, refuse("the value is not an integer", details)
		}
		if _, isFloat := v.(float64); isFloat && math.Abs(f) <= 1<<53 {
			v = int64(f)
		}
	case "bool":
		if !isBool {
			return nil, refuse("the value is neither true nor false", details)
		}
	case "text":
		if !isText {
			return nil, refuse("the value is not a text", details)
		}
	}
	if cfg.Min != nil || cfg.Max != nil {
		low, high := math.Inf(-1), math.Inf(1)
		if cfg.Min != nil {
			low = *cfg.Min
			details["min"] = low
		}
		if cfg.Max != nil {
			high = *cfg.Max
			details["max"] = high
		}
		if !numeric || f < low || f > high {
			return nil, refuse("the value is out of range", details)
		}
	}
	if len(cfg.Enum) > 0 && (!isText || !slices.Contains(cfg.Enum, text)) {
		details["allowed"] = list(cfg.Enum)
		return nil, refuse("the value is none of those allowed", details)
	}
	if cfg.Values != nil {
		if !isText {
			text = plainText(v)
		}
		out, ok := cfg.Values[text]
		if !ok {
			details["allowed"] = list(slices.Sorted(maps.Keys(cfg.Values)))
			return nil, refuse("the value is none of those allowed", details)
		}
		return out, nil
	}
	return v, nil
}

func float(v any) (float64, bool) {
	switch v := v.(type) {
	case int64:
		return float64(v), true
	case uint64:
		return float64(v), true
	case float64:
		return v, true
	}
	return 0, false
}

func list(texts []string) wamp.List {
	l := make(wamp.List, len(texts))
	for i, s := range texts {
		l[i] = s
	}
	return l
}

// Handlers returns the procedures of the rules with what serves them. A valid call
// is handed to publish as a message; its error is the caller's, a *wamp.Error with
// the URI that fits. The result is the value that was sent, with the keyword
// argument verified = false: MQTT does not tell what the device made of it. A command
// with a response returns what the device answers, see Answer.
func (r *Rules) Handlers(publish func(ctx context.Context, m Message) error) map[wamp.URI]wamp.InvocationHandler {
	handlers := make(map[wamp.URI]wamp.InvocationHandler, len(r.commands))
	for _, c := range r.commands {
		handlers[r.origin.URI(c.class, c.device, c.action)] = func(ctx context.Context, inv *wamp.Invocation, progress func(wamp.Payload) error) (wamp.Payload, error) {
			args, kwargs, err := serialize.Values(inv.Payload)
			if err != nil {
				return wamp.Payload{}, wamp.NewError(wamp.ErrURIInvalidArgument, err.Error(), nil)
			}
			m, err := c.message(args, kwargs)
			if err != nil {
				return wamp.Payload{}, err
			}
			if c.response != nil {
				return c.ask(ctx, m.Message, m.args, publish, progress)
			}
			if err := publish(ctx, m.Message); err != nil {
				return wamp.Payload{}, err
			}
			result := wamp.Values(nil, wamp.Dict{"verified": false})
			if c.class == "set" {
				result = wamp.Values(wamp.List{m.value}, wamp.Dict{"verified": false})
			}
			return result, nil
		}
	}
	return handlers
}
