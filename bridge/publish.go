package bridge

import (
	"bytes"
	"slices"
	"strings"

	"gantry/wamp"
	"gantry/wamp/serialize"
)

// PublishConfig is one rule [[publish]]: events that become MQTT messages.
type PublishConfig struct {
	// Event is the URI of the events, in which components may have a name, used in the
	// other keys: point.{dev}.{point}, with gantry.<gateway>. before it where it begins
	// with point, state or alarm. Required.
	Event string `toml:"event"`
	// Topic is the topic to publish to, a template of those names; what is filled in is
	// one level or a part of one. Required.
	Topic string `toml:"topic"`
	// Payload is a template: {x} as text, {x:json} as JSON, where x is value, the event's
	// first argument, one of its keyword arguments (docs/topics.md, section 2), or one
	// of those names. One that begins with { or [ must come out as valid JSON, in whose
	// strings values are escaped. Default "{value}".
	Payload *string `toml:"payload"`
	// Scale and Offset make the value a number, as in PointConfig. An event with null
	// for its value is published with null all the same.
	Scale  *float64 `toml:"scale"`
	Offset float64  `toml:"offset"`
	// QoS is 0, 1 or 2. Default 1.
	QoS *uint8 `toml:"qos"`
	// Retain makes the broker keep the last message of each topic.
	Retain bool `toml:"retain"`
}

// Publisher is a valid PublishConfig. It is safe for concurrent use.
type Publisher struct {
	events         levels // of the topics that stand for the URIs
	topic, payload template
	value          mapped // scale and offset
	json, retain   bool
	qos            byte
}

// published are the keyword arguments that payloads of rules publish may name.
var published = append([]string{"value", "min", "max", "reason", "since"}, envelope...)

// NewPublisher validates the rule key. gateway is the name of this gateway. The error is
// a *ConfigError.
func NewPublisher(c PublishConfig, gateway, key string) (p *Publisher, err error) {
	p = &Publisher{topic: parseTemplate(c.Topic), payload: parseTemplate("{value}"), retain: c.Retain, qos: 1}
	event, exact := eventTopic(c.Event)
	if class, _, _ := strings.Cut(event, "/"); slices.Contains([]string{"point", "state", "alarm"}, class) {
		event = "gantry/" + gateway + "/" + event
	}
	p.events, err = parseLevels(event)
	if err != nil || !exact {
		return nil, bad(key+".event", `a URI of A-Z a-z 0-9 _ - . and %XX whose components may have a name, each its own, of a-z 0-9 _, such as "point.{dev}.{point}"`, "is %.80q", c.Event)
	}
	for _, n := range p.topic.names() {
		if !p.events.has(n) {
			return nil, bad(key+".topic", "the names of components of event", "there is no {%s}", n)
		}
	}
	if err := CheckTopic(p.sample()); err != nil {
		return nil, bad(key+".topic", "a topic name without wildcards", "%.80q %v", c.Topic, err)
	}
	if c.Payload != nil {
		p.payload = parseTemplate(*c.Payload)
	}
	for _, n := range p.payload.names() {
		if !p.events.has(n) && !slices.Contains(published, n) {
			return nil, bad(key+".payload", "the names of components of event, "+strings.Join(published, ", "), "there is no {%s}", n)
		}
	}
	p.json = p.payload.json()
	if _, err := p.payload.fillJSON(p.json, func(string) any { return int64(0) }); err != nil {
		return nil, bad(key+".payload", "JSON once the placeholders are filled in", "is no JSON with 0 in their place")
	}
	p.value.cfg = PointConfig{Scale: c.Scale, Offset: c.Offset}
	if err := p.value.cfg.validate(key); err != nil {
		return nil, err
	}
	if c.QoS != nil {
		if p.qos = *c.QoS; p.qos > 2 {
			return nil, bad(key+".qos", "0, 1 or 2", "is %d", *c.QoS)
		}
	}
	return p, nil
}

// eventTopic returns the topic that stands for a URI of events, with the names of its
// components. exact is false for a URI that no topic has, or whose levels look like names.
func eventTopic(uri string) (topic string, exact bool) {
	components := strings.Split(uri, ".")
	for i, c := range components {
		if _, named := placeholder(c); named {
			continue
		}
		var b []byte
		if b, exact = appendDecoded(nil, c); !exact || bytes.ContainsAny(b, "{}") {
			return "", false
		}
		components[i] = string(b)
	}
	return strings.Join(components, "/"), true
}

// sample is a topic like those that it publishes to.
func (p *Publisher) sample() string {
	s, _ := p.topic.render(func(string) (string, error) { return "x", nil })
	return s
}

// Events covers the topics that stand for the URIs of the events.
func (p *Publisher) Events() Filter { return p.events.filter }

// Feeds returns the topic of a rule, or one of more, that takes messages from where p
// publishes to; "" for none.
func (p *Publisher) Feeds(c *RulesConfig, more []string) string {
	for _, r := range c.Map {
		more = append(more, r.Topic)
	}
	for _, r := range c.Call {
		more = append(more, r.Topic)
	}
	for _, r := range c.Command {
		if r.Response != nil {
			more = append(more, r.Response.Topic)
		}
	}
	for _, topic := range more {
		if overlap(covering(parseTemplate(topic)), covering(p.topic)) {
			return topic
		}
	}
	return ""
}

// Message makes a message of an event, which topic stands for, or says why there is none.
func (p *Publisher) Message(topic string, payload wamp.Payload) (m Message, refused string) {
	if !p.events.filter.Matches(topic) {
		return m, "the topic is not covered by " + p.events.filter.String()
	}
	// The values of components in the gateway may be of any Go type.
	payload, err := serialize.Encode(wamp.JSON, payload)
	if err != nil {
		return m, err.Error()
	}
	args, kwargs, err := serialize.Values(payload)
	if err != nil || len(args) == 0 {
		return m, "the event has no value"
	}
	value := args[0]
	if value != nil {
		if value, refused = p.value.convert(value); refused != "" {
			return m, refused
		}
	}
	vars := p.events.vars(topic)
	m = Message{QoS: p.qos, Retained: p.retain}
	if m.Topic, err = p.topic.render(func(name string) (string, error) { return topicPart(name, vars[name]) }); err == nil {
		err = CheckTopic(m.Topic)
	}
	if err != nil {
		return m, "the topic cannot be filled in: " + err.Error()
	}
	text, err := p.payload.fillJSON(p.json, func(name string) any {
		if v, ok := vars[name]; ok {
			return v
		}
		if name == "value" {
			return value
		}
		return kwargs[name]
	})
	if err != nil {
		return m, err.Error()
	}
	m.Payload = []byte(text)
	if b, binary := value.([]byte); binary && p.payload.text == "{value}" {
		m.Payload = b
	}
	if p.retain && len(m.Payload) == 0 {
		return m, "the payload is empty, which makes the broker forget the topic's last message"
	}
	return m, ""
}
