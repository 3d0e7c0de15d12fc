package bridge

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/tidwall/gjson"

	"gantry/wamp"
	"gantry/wamp/serialize"
)

// CallConfig is one rule [[call]]: MQTT messages that call a procedure.
type CallConfig struct {
	// Topic and Regex are as in MapConfig. Required: Topic.
	Topic string `toml:"topic"`
	Regex string `toml:"regex"`
	// Procedure is a template: set.DEVICE.POINT, get.DEVICE.POINT or do.DEVICE.ACTION
	// of this gateway, or another URI whose first component has no placeholder and is
	// neither gantry nor wamp. What is filled in is put into the form of a name, as in
	// MapConfig.Device. Required.
	Procedure string `toml:"procedure"`
	// Args and Kwargs are the arguments: each the path of its value in a JSON payload, ""
	// for the payload as a whole, or a template of names of the topic. Without both, the
	// payload is the only argument, or an object {"args":[...],"kwargs":{...}} stands for
	// those, and an empty payload for none.
	Args   []string          `toml:"args"`
	Kwargs map[string]string `toml:"kwargs"`
	// Type converts the first of Args, as PointConfig.Type does.
	Type string `toml:"type"`
	// Values replaces texts of the first of Args: { ON = true, OFF = false }. Any other
	// text is refused.
	Values map[string]any `toml:"values"`
	// Time and TimeFormat are as in MapConfig. A message without a time is refused then.
	Time       string `toml:"time"`
	TimeFormat string `toml:"time_format"`
	// MaxAge is how far the time may be from that of the gateway, either way. It needs
	// Time. 1 s to 24 h, default 30 s.
	MaxAge time.Duration `toml:"max_age"`
	// IgnoreQueued refuses messages without a time that the broker has kept while the
	// client was away, or may have kept. nil = true.
	IgnoreQueued *bool `toml:"ignore_queued"`
	// ID is the path of an identifier of the message. A message with one that was there
	// before is refused, as is one without. "" = none.
	ID string `toml:"id"`
	// Response is the topic of the answers, a template of names of the topic and {id}.
	// "" = none.
	Response string `toml:"response"`
	// Timeout is how long a call may take, and wait for its turn. 1 ms to 1 h, default
	// 10 s.
	Timeout time.Duration `toml:"timeout"`
	// QoS is that of the subscription at an external broker, and of answers. Default 1.
	QoS *uint8 `toml:"qos"`
}

const (
	defaultCallAge     = 30 * time.Second
	defaultCallTimeout = 10 * time.Second
)

// callRule is a valid CallConfig.
type callRule struct {
	at string // where it stands: "call[0]"
	source
	procedure      template
	own            bool // gantry.<gateway>. comes before it
	args           []argument
	kwargs         []argument
	values         map[string]any
	time           *timeField // nil: none
	maxAge         time.Duration
	ignoreQueued   bool
	id             string // path; "": none
	response       template
	timeout        time.Duration
	qos            byte
	whole, answers bool // the payload is the arguments; there is a response
}

// argument is one argument of a call.
type argument struct {
	name  string // of keyword arguments
	text  template
	fixed bool // text is it, with names filled in
	value mapped
}

func newCall(c *CallConfig, key string) (*callRule, error) {
	r := &callRule{at: key, maxAge: c.MaxAge, timeout: c.Timeout, qos: 1, ignoreQueued: c.IgnoreQueued == nil || *c.IgnoreQueued, id: trimRoot(c.ID)}
	var err error
	if r.source, err = newSource(c.Topic, c.Regex, key); err != nil {
		return nil, err
	}
	if err := r.addProcedure(c.Procedure, key+".procedure"); err != nil {
		return nil, err
	}
	if err := r.addArguments(c, key); err != nil {
		return nil, err
	}
	if r.time, err = newTimeField(c.Time, c.TimeFormat, key); err != nil {
		return nil, err
	}
	if r.maxAge == 0 {
		r.maxAge = defaultCallAge
	}
	if r.timeout == 0 {
		r.timeout = defaultCallTimeout
	}
	switch {
	case c.MaxAge != 0 && r.time == nil:
		return nil, bad(key+".max_age", "max_age together with time", "the age of a message is not known without its time")
	case r.maxAge < time.Second || r.maxAge > 24*time.Hour:
		return nil, bad(key+".max_age", "1s to 24h", "is %v", c.MaxAge)
	case r.timeout < time.Millisecond || r.timeout > time.Hour:
		return nil, bad(key+".timeout", "1ms to 1h", "is %v", c.Timeout)
	case checkPath(c.ID) != "" || c.ID != "" && r.id == "":
		return nil, bad(key+".id", allowedPath, "%.80q is no path", c.ID)
	}
	if c.QoS != nil {
		if *c.QoS > 2 {
			return nil, bad(key+".qos", "0, 1 or 2", "is %d", *c.QoS)
		}
		r.qos = *c.QoS
	}
	return r, r.addResponse(c.Response, key+".response")
}

func (r *callRule) addProcedure(text, key string) error {
	const allowed = "set.DEVICE.POINT, get.DEVICE.POINT, do.DEVICE.ACTION, or a URI that begins with neither gantry, wamp nor a placeholder"
	r.procedure = parseTemplate(text)
	if err := r.known(r.procedure, key, false); err != nil {
		return err
	}
	sample, _ := r.procedure.render(func(string) (string, error) { return "x", nil })
	parts := strings.Split(sample, ".")
	first, _, _ := strings.Cut(text, ".")
	r.own = len(parts) == 3 && slices.Contains([]string{"set", "get", "do"}, first)
	for _, p := range parts {
		if r.own && !ValidName(p) {
			return bad(key, allowed, "is %.80q", text)
		}
	}
	if !wamp.URI(sample).Valid(false, wamp.MatchExact) || first != parts[0] || first == "gantry" || first == "wamp" {
		return bad(key, allowed, "is %.80q", text)
	}
	return nil
}

func (r *callRule) addArguments(c *CallConfig, key string) error {
	r.whole = len(c.Args)+len(c.Kwargs) == 0
	add := func(name, text, key string) (argument, error) {
		a := argument{name: name, text: parseTemplate(text)}
		if a.fixed = len(a.text.names()) > 0; a.fixed {
			return a, r.known(a.text, key, false)
		}
		if fault := checkPath(text); fault != "" {
			return a, bad(key, allowedPath+", or names of the topic in braces", "%.80q %s", text, fault)
		}
		a.value.path = trimRoot(text)
		return a, nil
	}
	for i, text := range c.Args {
		a, err := add("", text, at(key+".args", i))
		if err != nil {
			return err
		}
		r.args = append(r.args, a)
	}
	for _, name := range slices.Sorted(maps.Keys(c.Kwargs)) {
		a, err := add(name, c.Kwargs[name], key+".kwargs."+name)
		if err != nil {
			return err
		}
		r.kwargs = append(r.kwargs, a)
	}
	switch {
	case !slices.Contains(types, c.Type):
		return bad(key+".type", allowedTypes, "is %.80q", c.Type)
	case c.Type != "" && len(r.args) == 0:
		return bad(key+".type", "type together with args", "there is no args[0] to convert")
	case c.Values != nil && len(r.args) == 0:
		return bad(key+".values", "values together with args", "there is no args[0] to replace")
	}
	if c.Type != "" {
		r.args[0].value.cfg.Type = c.Type
	}
	r.values = c.Values
	for _, name := range slices.Sorted(maps.Keys(c.Values)) {
		switch v := c.Values[name].(type) {
		case string, bool, int64:
		case float64:
			if !finite(&v) {
				return bad(key+".values."+name, "a finite number", "is %g", v)
			}
		default:
			return bad(key+".values."+name, "a text, a number, true or false", "is something else")
		}
	}
	return nil
}

func (r *callRule) addResponse(text, key string) error {
	if r.response = parseTemplate(text); text == "" {
		return nil
	}
	r.answers = true
	if err := r.known(r.response, key, r.id != ""); err != nil {
		return err
	}
	sample, _ := r.response.render(func(string) (string, error) { return "x", nil })
	if err := CheckTopic(sample); err != nil {
		return bad(key, "a topic name without wildcards", "%.80q %v", text, err)
	}
	return nil
}

// known refuses placeholders that nothing fills. id tells whether {id} is one.
func (r *callRule) known(t template, key string, id bool) error {
	for _, n := range t.names() {
		if !r.variable(n) && (!id || n != idName) {
			return bad(key, "the names of levels of the topic and of groups of regex", "there is no {%s}", n)
		}
	}
	return nil
}

// covering returns a filter of all topics that a template may become.
func covering(t template) string {
	parts := strings.Split(t.text, "/")
	for i, p := range parts {
		if len(parseTemplate(p).names()) > 0 {
			parts[i] = "+"
		}
	}
	return strings.Join(parts, "/")
}

// checkCalls validates the rules [[call]] and refuses those that would feed
// themselves: by their answers, or by what commands send.
func (c *RulesConfig) checkCalls() error {
	var rules []*callRule
	for i := range c.Call {
		r, err := newCall(&c.Call[i], at("call", i))
		if err != nil {
			return err
		}
		rules = append(rules, r)
	}
	for _, r := range rules {
		filter := r.topic.filter.text
		for _, other := range rules {
			if other.answers && overlap(filter, covering(other.response)) {
				return bad(other.at+".response", "a topic that no rule call is for", "%.80q is called by %s, and would go round", other.response.text, r.at)
			}
		}
		for i := range c.Command {
			if topic := parseTemplate(c.Command[i].Topic); overlap(filter, covering(topic)) {
				return bad(r.at+".topic", "topics to which no rule command publishes", "%.80q covers that of command[%d], and would go round", filter, i)
			}
		}
	}
	return nil
}

// wanted is a call that a message asks for.
type wanted struct {
	rule      *callRule
	procedure wamp.URI
	payload   wamp.Payload
	id        string
	vars      map[string]string
	stamp     time.Time // when it was asked for; zero: not told
}

// read takes a message apart. The topic is one that the rule is for, and vars are its
// names. why tells what is wrong with the message.
func (r *callRule) read(m *Message, vars map[string]string, origin *Origin) (w wanted, why string) {
	in := input{payload: m.Payload, valid: jsonMessage(m.Payload)}
	if in.valid {
		in.root = gjson.ParseBytes(m.Payload)
	}
	w = wanted{rule: r, vars: vars}
	name := r.procedure.render
	text, _ := name(func(n string) (string, error) { return sanitised(vars[n]), nil })
	if w.procedure = wamp.URI(text); r.own {
		w.procedure = wamp.URI("gantry."+origin.Gateway()+".") + w.procedure
	}
	if len(w.procedure) > wamp.MaxURILength {
		return w, "the name of the procedure is too long"
	}
	if r.id != "" {
		var ok bool
		if w.id, ok = scalarText(in.lookup(in.root, r.id)); !ok || w.id == "" {
			return w, "it has no identifier"
		}
	}
	if r.time != nil {
		if us, ok := r.time.read(in.lookup(in.root, r.time.path)); ok {
			w.stamp = time.UnixMicro(us)
		}
	}
	if r.whole {
		w.payload = Arguments(PayloadFromMQTT(m.Payload))
		return w, ""
	}
	args, kwargs := make(wamp.List, len(r.args)), make(wamp.Dict, len(r.kwargs))
	for i := range r.args {
		if args[i], why = r.args[i].read(&in, vars); why != "" {
			return w, fmt.Sprintf("args[%d] is %s", i, why)
		}
	}
	if r.values != nil {
		word, isText := args[0].(string)
		if !isText {
			word = plainText(args[0])
		}
		v, ok := r.values[word]
		if !ok {
			return w, "args[0] is none of values"
		}
		args[0] = v
	}
	for i := range r.kwargs {
		a := &r.kwargs[i]
		if kwargs[a.name], why = a.read(&in, vars); why != "" {
			return w, a.name + " is " + why
		}
	}
	w.payload = wamp.Values(args, kwargs)
	return w, ""
}

// read returns the argument, or why there is none.
func (a *argument) read(in *input, vars map[string]string) (v any, why string) {
	if a.fixed {
		return a.value.convert(a.text.fill(vars))
	}
	v, why = a.value.value(in, in.root)
	if why != "not_scalar" || a.value.cfg.Type != "" {
		return v, why
	}
	item := in.root
	if a.value.path != "" {
		item = item.Get(a.value.path)
	}
	args, _, err := serialize.Values(PayloadFromMQTT([]byte(item.Raw)))
	if err != nil || len(args) != 1 {
		return nil, "malformed"
	}
	return args[0], ""
}
