package homeassistant

import (
	"gantry/bridge/shapes/internal/shape"
	"gantry/bridge/shapes/internal/template"
)

// availability is one topic that tells whether an entity can be reached.
type availability struct {
	topic   string
	tmpl    *template.Template
	on, off string
}

func (c *config) availability() (out []availability, mode string) {
	mode = c.text("availability_mode", "latest")
	list := shape.List(c.keys["availability"])
	if c.topic("availability_topic") != "" {
		list = []any{map[string]any{"topic": c.keys["availability_topic"], "value_template": c.keys["availability_template"],
			"payload_available": c.keys["payload_available"], "payload_not_available": c.keys["payload_not_available"]}}
	}
	for _, x := range list {
		one := &config{keys: shape.Dict(x)}
		a := availability{one.topic("topic"), one.template("value_template"), one.text("payload_available", "online"), one.text("payload_not_available", "offline")}
		if one.err != nil {
			c.fail("availability", "%v", one.err)
		}
		if a.topic != "" {
			out = append(out, a)
		}
	}
	return out, mode
}

// reached takes a message of an availability topic.
func (s *Shape) reached(out *shape.Output, m *shape.Message) {
	devices := s.reach[m.Topic]
	if len(devices) == 0 || len(m.Payload) > shape.MaxText {
		return
	}
	s.said[m.Topic] = string(m.Payload)
	for _, d := range devices {
		if p := s.presence(d); p != d.online {
			d.online = p
			out.Presence = append(out.Presence, p)
		}
	}
}

// presence reports whether a device can be reached: whether one of its entities can.
func (s *Shape) presence(d *device) shape.Presence {
	asked := false
	for _, e := range d.all {
		if len(e.avail) == 0 {
			continue
		}
		asked = true
		if s.available(e) {
			return shape.Presence{Device: d.key, Online: true}
		}
	}
	if !asked {
		return shape.Presence{Device: d.key, Online: true}
	}
	return shape.Presence{Device: d.key, Why: "it has not said that it is available"}
}

// available combines the availability topics of an entity by its mode. "latest" is
// taken as "all": which of several spoke last is not known after a reconnect.
func (s *Shape) available(e *entity) bool {
	for _, a := range e.avail {
		yes := s.holds(a)
		if yes && e.mode == "any" {
			return true
		}
		if !yes && e.mode != "any" {
			return false
		}
	}
	return e.mode != "any"
}

func (s *Shape) holds(a availability) bool {
	payload, ok := s.said[a.topic]
	if !ok {
		return false
	}
	if a.tmpl == nil {
		return payload == a.on
	}
	v, err := a.tmpl.Render(variables([]byte(payload)))
	return err == nil && (word(v) == a.on || shape.Word(scalar(v)) == a.on)
}
