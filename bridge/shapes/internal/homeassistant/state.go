package homeassistant

import (
	"maps"
	"slices"
	"strings"
	"time"

	"gantry/bridge"
	"gantry/bridge/shapes/internal/shape"
	"gantry/bridge/shapes/internal/template"
	"gantry/drivers"
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
	maps.DeleteFunc(s.said, func(topic string, _ said) bool { return s.reach[topic] == nil })
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
func (s *Shape) report(out *shape.Output, m *shape.Message, now time.Time) {
	uses := s.topics[m.Topic]
	for i := range s.wild {
		if s.wild[i].Matches(m.Topic) {
			uses = append(slices.Clip(uses), s.wild[i].uses...)
		}
	}
	if len(uses) == 0 {
		return
	}
	out.Mine = true
	if len(m.Payload) > shape.MaxState {
		out.Refuse(uses[0].device.key, shape.TooLarge, m.Payload)
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
			out.Skip(u.device.key)
			continue
		}
		v, why, there := u.source.value(m.Payload, once)
		switch {
		case u.id == "trigger" && (why != "" || v != u.source.Enum[0]):
		case u.source.moment && there && why == "":
			if u.source.of.available() {
				out.Happen(u.device.key, u.id, shape.Word(v))
			}
		case why != "":
			s.note(out, u, drivers.Reading{Quality: drivers.Bad, Why: why, Time: now}, now)
		case there:
			r := drivers.Reading{Value: v, Time: now}
			if m.Retained {
				r.Quality, r.Why = drivers.Uncertain, "retained"
			}
			s.note(out, u, r, now)
		}
	}
}

// memory is what is known of a point.
type memory struct {
	last    drivers.Reading // the newest, without the point's name
	shown   bool            // readings have been emitted
	hidden  bool            // since then it has been told to be unavailable
	held    bool            // last has not been emitted, as the entity was not available
	expires time.Time       // when last is too old; zero = never
	off     time.Time       // when it ends to be true by itself; zero = never
}

// named returns the newest reading as one of a point.
func (m *memory) named(id string) drivers.Reading {
	r := m.last
	r.Point = id
	return r
}

// remember takes over what was known of the points of an entity that is announced again.
func (e *entity) remember(old *entity) {
	for i := range e.sources {
		src := &e.sources[i]
		src.of = e
		if old == nil {
			continue
		}
		for j := range old.sources {
			if o := &old.sources[j]; o.suffix == src.suffix && o.Type == src.Type {
				src.memory = o.memory
			}
		}
	}
}

// note takes a new reading of a point.
func (s *Shape) note(out *shape.Output, u use, r drivers.Reading, now time.Time) {
	src := u.source
	src.last = r
	if r.Quality != drivers.Bad {
		src.expires, src.off = s.alarm(src.expireAfter, now), time.Time{}
		if r.Value == true {
			src.off = s.alarm(src.offDelay, now)
		}
	}
	if src.held = !src.of.available(); src.held {
		return
	}
	src.shown, src.hidden = true, false
	out.Readings = append(out.Readings, shape.Reading{Device: u.device.key, Reading: src.named(u.id)})
}

// alarm returns when a time is over, and has Next know; 0 = never.
func (s *Shape) alarm(d time.Duration, now time.Time) time.Time {
	if d == 0 {
		return time.Time{}
	}
	at := now.Add(d)
	if s.next.IsZero() || at.Before(s.next) {
		s.next = at
	}
	return at
}

// Next implements shape.Timed.
func (s *Shape) Next() time.Time { return s.next }

// Expire implements shape.Timed: what was not reported in time is bad (expire_after), and
// what nobody says is over is so after a while (off_delay).
func (s *Shape) Expire(now time.Time) (out shape.Output) {
	s.next = time.Time{}
	for _, key := range slices.Sorted(maps.Keys(s.devices)) {
		d := s.devices[key]
		for _, id := range slices.Sorted(maps.Keys(d.points)) {
			src := d.points[id]
			if due(src.off, now) {
				expires := src.expires // it has not reported
				s.note(&out, use{d, src, id}, drivers.Reading{Value: false, Time: now}, now)
				src.expires = expires
			}
			if due(src.expires, now) {
				src.expires, src.off = time.Time{}, time.Time{}
				s.note(&out, use{d, src, id}, drivers.Reading{Quality: drivers.Bad, Why: "expired", Time: now}, now)
			}
			for _, at := range []time.Time{src.off, src.expires} {
				if !at.IsZero() && (s.next.IsZero() || at.Before(s.next)) {
					s.next = at
				}
			}
		}
	}
	return out
}

func due(at, now time.Time) bool { return !at.IsZero() && !now.Before(at) }
