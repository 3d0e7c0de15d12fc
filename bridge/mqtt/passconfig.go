package mqtt

import (
	"fmt"
	"slices"
	"strings"

	"gantry/bridge"
	"gantry/wamp"
)

// Pass is a table [[broker.NAME.pass]]: messages that go through as they are.
type Pass struct {
	// Topic is the filter of the topics at the broker. Required.
	Topic string `toml:"topic"`
	// Prefix comes before the topic's URI in the realm: "" or ending in a dot. It must
	// not begin with gantry or wamp.
	Prefix string `toml:"prefix"`
	// Direction is in (from the broker to the realm), out, or both. Required.
	Direction string `toml:"direction"`
	// QoS is that of the subscription, and of messages to the broker. Default 1.
	QoS *uint8 `toml:"qos"`
	// Retain says which messages are retained on the other side. "as_sent": those that
	// are known to be retained on this side, as they came as such when the connection
	// was made, and what follows on their topics. "always", "never". Default as_sent.
	Retain string `toml:"retain"`
	// IgnoreRetained leaves out what was retained from before the connection was made.
	IgnoreRetained bool `toml:"ignore_retained"`
	// IgnoreQueued leaves out what comes from the broker and may have been kept there
	// while the client was away, as one wants where the topics are commands.
	IgnoreQueued bool `toml:"ignore_queued"`
}

// passage is a valid Pass.
type passage struct {
	Pass
	filter  bridge.Filter
	in, out bool
	qos     byte
}

// passages checks the rules. key is that of their table.
func passages(cfg []Pass, key string) (all []passage, err error) {
	bad := func(i int, k, allowed, format string, args ...any) error {
		return &bridge.ConfigError{Key: fmt.Sprintf("%s[%d].%s", key, i, k), Text: fmt.Sprintf(format, args...), Allowed: allowed}
	}
	for i, c := range cfg {
		p := passage{Pass: c, qos: 1, in: c.Direction != "out", out: c.Direction != "in"}
		if p.filter, err = bridge.ParseFilter(c.Topic); err != nil {
			return nil, bad(i, "topic", "a topic filter", "%.80q %v", c.Topic, err)
		}
		if procedure(c.Topic) {
			return nil, bad(i, "topic", "no names of procedures, which rules call and command are for", "%.80q are procedures", c.Topic)
		}
		prefix := wamp.URI(strings.TrimSuffix(c.Prefix, "."))
		if c.Prefix != "" && (string(prefix) == c.Prefix || !prefix.Valid(false, wamp.MatchExact) || reserved(c.Prefix)) {
			return nil, bad(i, "prefix", `components that end in a dot and do not begin with gantry or wamp, such as "house."`, "is %.80q", c.Prefix)
		}
		if !slices.Contains([]string{"in", "out", "both"}, c.Direction) {
			return nil, bad(i, "direction", "in, out, both", "is %.80q", c.Direction)
		}
		if !slices.Contains([]string{"", "as_sent", "always", "never"}, c.Retain) {
			return nil, bad(i, "retain", "as_sent, always, never", "is %.80q", c.Retain)
		}
		if c.QoS != nil {
			if *c.QoS > 2 {
				return nil, bad(i, "qos", "0, 1 or 2", "is %d", *c.QoS)
			}
			p.qos = *c.QoS
		}
		for _, q := range all {
			if (p.in && q.in || p.out && q.out) && len(bridge.Disjoint([]bridge.FilterQoS{{Filter: p.filter}, {Filter: q.filter}})) < 2 {
				return nil, bad(i, "topic", "filters of which no two cover the same topic in the same direction", "overlaps with %.80q", q.Topic)
			}
		}
		all = append(all, p)
	}
	return all, nil
}

// reserved reports whether a URI is one of those that mean something to the gateway
// or the router.
func reserved(uri string) bool {
	return strings.HasPrefix(uri, "gantry.") || strings.HasPrefix(uri, "wamp.")
}

// procedure reports whether a topic is the name of a procedure of a gateway. A message
// on it is a call to some listeners, hence none passes.
func procedure(topic string) bool {
	levels := strings.SplitN(topic, "/", 4)
	return len(levels) == 4 && levels[0] == "gantry" && slices.Contains([]string{"get", "set", "do", "later", "sys"}, levels[2])
}

// target returns where a message goes in the realm; ok is false for a URI that is too
// long or reserved.
func (p *passage) target(topic string) (uri wamp.URI, ok bool) {
	uri = wamp.URI(p.Prefix) + bridge.URIFromTopic(topic)
	return uri, len(uri) <= wamp.MaxURILength && !reserved(string(uri))
}

// publishers returns the valid rules of Publish.
func (c Config) publishers(gateway string) (all []*bridge.Publisher, err error) {
	in := c.ShapesConfig.Topics()
	for _, p := range c.Pass {
		if p.Direction != "out" {
			in = append(in, p.Topic)
		}
	}
	for i, cfg := range c.Publish {
		key := fmt.Sprintf("publish[%d]", i)
		p, err := bridge.NewPublisher(cfg, gateway, key)
		if err != nil {
			return nil, err
		}
		if topic := p.Feeds(&c.RulesConfig, in); topic != "" {
			return nil, &bridge.ConfigError{Key: key + ".topic", Text: fmt.Sprintf("%.80q is covered by %.80q, and would go round", cfg.Topic, topic), Allowed: "topics that no other rule of the broker takes messages from"}
		}
		all = append(all, p)
	}
	return all, nil
}

// Explain tells what the rules of Pass make of a message from the broker, and those of
// Publish of the event that it would be. It is for a valid configuration.
func (c Config) Explain(m bridge.Message, gateway string) (out []bridge.Finding) {
	all, _ := passages(c.Pass, "pass")
	for i := range all {
		p := &all[i]
		f := bridge.Finding{Rule: fmt.Sprintf("pass[%d]", i)}
		uri, ok := p.target(m.Topic)
		switch {
		case !p.in:
			f.Refused = "it lets events out, and no messages in"
		case !p.filter.Matches(m.Topic):
			f.Refused = "the topic is not covered by " + p.Topic
		case m.Retained && p.IgnoreRetained:
			f.Refused = "it was retained, and the rule ignores those"
		case procedure(m.Topic):
			f.Refused = "it is the name of a procedure, which a rule call is for"
		case !ok:
			f.Refused = "the URI " + string(uri) + " is too long or reserved; a prefix helps against the latter"
		default:
			p, _ := bridge.Publication(m.Payload, nil)
			f.Readings = []bridge.Reading{{Topic: uri, Payload: p}}
		}
		out = append(out, f)
	}
	rules, _ := c.publishers(gateway)
	for i, p := range rules {
		f := bridge.Finding{Rule: fmt.Sprintf("publish[%d]", i)}
		var sent bridge.Message
		if sent, f.Refused = p.Message(m.Topic, bridge.Arguments(bridge.PayloadFromMQTT(m.Payload))); f.Refused == "" {
			f.Readings = []bridge.Reading{{Topic: wamp.URI(sent.Topic), Payload: wamp.Args(string(sent.Payload))}}
		}
		out = append(out, f)
	}
	return out
}
