package homeassistant

import (
	"cmp"
	"maps"
	"slices"

	"gantry/bridge/shapes/internal/shape"
	"gantry/bridge/shapes/internal/template"
	"gantry/drivers"
)

// availability is one topic that tells whether an entity can be reached.
type availability struct {
	topic   string
	tmpl    *template.Template
	on, off string

	is   bool   // it has said so
	turn uint64 // when, of Shape.turn; 0 = it has not said anything
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
		a := availability{topic: one.topic("topic"), tmpl: one.template("value_template"), on: one.text("payload_available", "online"), off: one.text("payload_not_available", "offline")}
		if one.err != nil {
			c.fail("availability", "%v", one.err)
		}
		if a.topic != "" {
			out = append(out, a)
		}
	}
	return out, mode
}

// said is what a topic has said last.
type said struct {
	payload string
	turn    uint64 // of Shape.turn
}

// reached takes a message of an availability topic.
func (s *Shape) reached(out *shape.Output, m *shape.Message) {
	devices := s.reach[m.Topic]
	if len(devices) == 0 {
		return
	}
	out.Mine = true
	if len(m.Payload) > shape.MaxText {
		out.Refuse(devices[0].key, shape.TooLarge, m.Payload)
		return
	}
	s.turn++
	s.said[m.Topic] = said{string(m.Payload), s.turn}
	for _, d := range devices {
		refused := ""
		for _, e := range d.all {
			if why := s.ask(e, m.Topic); why != "" {
				refused = why
			}
		}
		if refused != "" {
			out.Refuse(d.key, refused, m.Payload)
		}
		if p := presence(d); p != d.online {
			d.online = p
			out.Presence = append(out.Presence, p)
		}
		d.reveal(out)
	}
}

// ask has an entity know what a topic of its availability has said, and returns why that
// cannot be understood.
func (s *Shape) ask(e *entity, topic string) (refused string) {
	word, ok := s.said[topic]
	if !ok {
		return ""
	}
	for i := range e.avail {
		if a := &e.avail[i]; a.topic == topic {
			refused = cmp.Or(a.hear(word), refused)
		}
	}
	return refused
}

// hear takes a payload; one that is neither of the two words changes nothing.
func (a *availability) hear(w said) (refused string) {
	is := func(word string) bool { return w.payload == word }
	if a.tmpl != nil {
		v, err := a.tmpl.Render(variables([]byte(w.payload)))
		if err != nil {
			return shape.BadTemplate
		}
		text := word(v)
		is = func(word string) bool { return text == word || shape.Word(scalar(v)) == word }
	}
	switch {
	case is(a.on):
		a.is, a.turn = true, w.turn
	case is(a.off):
		a.is, a.turn = false, w.turn
	default:
		return shape.BadWord
	}
	return ""
}

// available combines the availability topics of an entity by its mode: all of them, any
// of them, or the one that spoke last.
func (e *entity) available() bool {
	all, some, latest := true, len(e.avail) == 0, availability{is: len(e.avail) == 0}
	for _, a := range e.avail {
		all, some = all && a.is, some || a.is
		if a.turn > latest.turn {
			latest = a
		}
	}
	switch e.mode {
	case "all":
		return all
	case "any":
		return some
	}
	return latest.is
}

// presence reports whether a device can be reached: whether one of its entities can.
func presence(d *device) shape.Presence {
	asked := false
	for _, e := range d.all {
		if len(e.avail) == 0 {
			continue
		}
		asked = true
		if e.available() {
			return shape.Presence{Device: d.key, Online: true}
		}
	}
	if !asked {
		return shape.Presence{Device: d.key, Online: true}
	}
	return shape.Presence{Device: d.key, Why: "it has not said that it is available"}
}

// reveal makes the points of a device that is there bad while their entity is not available,
// and brings back what was known of them, or has come meanwhile, when it is.
func (d *device) reveal(out *shape.Output) {
	if !d.online.Online {
		return
	}
	for _, id := range slices.Sorted(maps.Keys(d.points)) {
		src := d.points[id]
		switch is := src.of.available(); {
		case !is && src.shown && !src.hidden:
			src.hidden = true
			out.EmitBad(d.key, id, "unavailable")
		case is && src.held:
			src.held, src.hidden, src.shown = false, false, true
			out.Readings = append(out.Readings, shape.Reading{Device: d.key, Reading: src.named(id)})
		case is && src.hidden:
			src.hidden = false
			r := src.named(id)
			if r.Quality == drivers.Good {
				r.Quality, r.Why = drivers.Uncertain, "earlier"
			}
			out.Readings = append(out.Readings, shape.Reading{Device: d.key, Reading: r})
		}
	}
}
