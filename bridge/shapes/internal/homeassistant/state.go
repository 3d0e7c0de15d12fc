package homeassistant

import (
	"maps"
	"slices"
	"strings"

	"gantry/bridge"
	"gantry/bridge/shapes/internal/shape"
	"gantry/bridge/shapes/internal/template"
)

// index notes who reads which topic, when that has changed.
func (s *Shape) index() {
	if !s.stale {
		return
	}
	s.stale = false
	s.topics, s.reach = map[string][]use{}, map[string][]*device{}
	for _, key := range slices.Sorted(maps.Keys(s.devices)) {
		d := s.devices[key]
		for _, id := range slices.Sorted(maps.Keys(d.points)) {
			if p := d.points[id]; p.topic != "" {
				s.topics[p.topic] = append(s.topics[p.topic], use{d, p, id})
			}
		}
		for _, id := range slices.Sorted(maps.Keys(d.all)) {
			e := d.all[id]
			if e.component == "device_automation" {
				p := &e.sources[0]
				s.topics[p.topic] = append(s.topics[p.topic], use{d, p, "trigger"})
			}
			for _, a := range e.avail {
				if !slices.Contains(s.reach[a.topic], d) {
					s.reach[a.topic] = append(s.reach[a.topic], d)
				}
			}
		}
	}
	s.wild = nil
	for _, t := range slices.Sorted(maps.Keys(s.topics)) {
		if f, err := bridge.ParseFilter(t); err == nil && strings.ContainsAny(t, "+#") {
			s.wild = append(s.wild, pattern{f, s.topics[t]})
		}
	}
	maps.DeleteFunc(s.said, func(topic, _ string) bool { return s.reach[topic] == nil })
}

// variables are those of a template that reads a payload.
func variables(payload []byte) map[string]any {
	vars := map[string]any{"value": string(payload)}
	if v, err := template.Decode(payload); err == nil {
		vars["value_json"] = v
	}
	return vars
}

// report takes a message of a state topic.
func (s *Shape) report(out *shape.Output, m *shape.Message) {
	uses := s.topics[m.Topic]
	for i := range s.wild {
		if s.wild[i].Matches(m.Topic) {
			uses = append(slices.Clip(uses), s.wild[i].uses...)
		}
	}
	if len(uses) == 0 {
		return
	}
	if len(m.Payload) > shape.MaxState {
		out.Refuse(uses[0].device.key, "too_large", m.Payload)
		return
	}
	var vars map[string]any
	once := func() map[string]any {
		if vars == nil {
			vars = variables(m.Payload)
		}
		return vars
	}
	for _, u := range uses {
		if u.source.moment && m.Retained {
			continue
		}
		v, why, there := u.source.value(m.Payload, once)
		switch {
		case u.id == "trigger" && (why != "" || v != u.source.Enum[0]):
		case u.source.moment && there && why == "":
			out.Happen(u.device.key, u.id, shape.Word(v))
		case why != "":
			out.EmitBad(u.device.key, u.id, why)
		case there:
			out.Emit(m, u.device.key, u.id, v)
		}
	}
}
