package bridge

import (
	"log/slog"
	"sync/atomic"
	"time"

	"gantry/internal/ratelog"
	"gantry/wamp"
)

// Rules turn messages into readings. They are safe for concurrent use.
type Rules struct {
	origin   *Origin
	maps     []*mapping
	commands []*command
	calls    []*callRule
	rare     *ratelog.Log
	stats    struct {
		messages, readings, malformed, bad, ignored, stale, dropped, unclaimed, unanswered atomic.Uint64
		calls                                                                              callCounts
	}
}

// rejectEvery is the least time between two log lines about rejected messages of
// one kind.
const rejectEvery = 10 * time.Second

// NewRules validates cfg. A nil log discards; a message that is rejected is logged
// by topic and rule, one of each kind in a while. The error is a *ConfigError.
func NewRules(cfg RulesConfig, origin *Origin, log *slog.Logger) (*Rules, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	if origin == nil {
		return nil, bad("gateway", "an origin", "is missing")
	}
	r := &Rules{origin: origin}
	if log != nil {
		r.rare = ratelog.New(log, rejectEvery, origin.cfg.Now)
	}
	for i := range cfg.Map {
		m, err := newMap(&cfg.Map[i], at("map", i))
		if err != nil {
			return nil, err
		}
		r.maps = append(r.maps, m)
	}
	for i := range cfg.Command {
		c, err := newCommand(&cfg.Command[i], at("command", i))
		if err != nil {
			return nil, err
		}
		r.commands = append(r.commands, c)
	}
	for i := range cfg.Call {
		c, err := newCall(&cfg.Call[i], at("call", i))
		if err != nil {
			return nil, err
		}
		r.calls = append(r.calls, c)
	}
	return r, nil
}

// RulesStats count what rules did since they were made.
type RulesStats struct {
	Messages  uint64 // messages that a rule is for
	Readings  uint64 // readings made of them
	Malformed uint64 // messages that are not the JSON that the rule needs, or lack what names are made of
	Bad       uint64 // readings of quality bad
	Ignored   uint64 // retained messages not wanted
	Stale     uint64 // messages, or their items, older than max_age, and expired messages
	Unclaimed uint64 // answers that no call waited for
	Dropped   uint64 // readings of topics beyond the limit, or not taken by the session
	// Unanswered are the answers of calls that could not be published.
	Unanswered uint64
	Calls      CallStats
}

// Stats returns the counts.
func (r *Rules) Stats() RulesStats {
	s := &r.stats
	return RulesStats{
		Messages: s.messages.Load(), Readings: s.readings.Load(), Malformed: s.malformed.Load(),
		Bad: s.bad.Load(), Ignored: s.ignored.Load(), Stale: s.stale.Load(), Unclaimed: s.unclaimed.Load(), Dropped: s.dropped.Load(),
		Unanswered: s.unanswered.Load(),
		Calls:      s.calls.stats(),
	}
}

// Readings calls emit for each reading that the rules make of a message: its topic
// and payload, which are emit's. They are to be published with Retain. What a
// payload does not hold is never made up: it gives a reading of quality bad with a
// reason in why (docs/topics.md, section 7).
func (r *Rules) Readings(m Message, emit func(topic wamp.URI, p wamp.Payload)) {
	for _, rule := range r.maps {
		vars, counts, refused := rule.admit(&m)
		if counts {
			r.stats.messages.Add(1)
		}
		switch {
		case refused == "":
			r.apply(rule, &m, vars, emit)
		case counts:
			r.stats.ignored.Add(1)
			r.reject("a retained MQTT message is ignored", rule.at, m.Topic)
		}
	}
}

// reject writes a sample of the messages that come to nothing.
func (r *Rules) reject(text, rule, topic string, more ...any) {
	r.rare.Often(text, func() []any { return append([]any{"topic", topic, "rule", rule}, more...) })
}

// Finding is what one rule makes of a message.
type Finding struct {
	Rule    string // where the rule stands: "map[0]"
	Refused string // why it does not take the message; "" = it does
	// Readings are the topics and payloads of what would be published.
	Readings []Reading
	// Call tells that the reading is a procedure that would be called.
	Call bool
}

// Reading is an event made of a message.
type Reading struct {
	Topic   wamp.URI
	Payload wamp.Payload
}

// Explain tells what each rule would make of a message, in their order, as a dry
// run: it counts like a real one, so it is for rules that serve nothing else.
func (r *Rules) Explain(m Message) []Finding {
	var out []Finding
	for _, rule := range r.maps {
		f := Finding{Rule: rule.at}
		var vars map[string]string
		if vars, _, f.Refused = rule.admit(&m); f.Refused == "" {
			r.apply(rule, &m, vars, func(topic wamp.URI, p wamp.Payload) { f.Readings = append(f.Readings, Reading{topic, p}) })
			if len(f.Readings) == 0 {
				f.Refused = rule.nothing(&m)
			}
		}
		out = append(out, f)
	}
	for _, c := range r.commands {
		if c.response != nil && c.response.levels.filter.Matches(m.Topic) {
			out = append(out, Finding{Rule: c.at, Refused: "it is an answer, and no call of " + c.name() + " waits for it"})
		}
	}
	for _, c := range r.calls {
		f := Finding{Rule: c.at, Call: true}
		var vars map[string]string
		if vars, f.Refused = c.vars(m.Topic); f.Refused == "" {
			w, o, why := r.judge(c, &m, vars, r.origin.cfg.Now())
			if o == callMade {
				f.Readings = []Reading{{w.procedure, w.payload}}
			} else if f.Refused = refusals[o]; why != "" {
				f.Refused += ": " + why
			}
		}
		out = append(out, f)
	}
	return out
}

// nothing says why a message that a rule takes has given no reading.
func (m *mapping) nothing(msg *Message) string {
	switch {
	case m.json && !jsonMessage(msg.Payload):
		return "the payload is not JSON"
	case m.each != nil || len(m.fields) > 0:
		return "the payload has no item, or lacks a field that names are made of"
	}
	return "the payload has none of the optional values"
}
