package bridge

import "strings"

// FilterQoS is a topic filter and the quality of service to ask for.
type FilterQoS struct {
	Filter Filter
	QoS    byte
}

// Filters returns what to subscribe to at a broker so that every message that a
// rule is for arrives, and arrives once: brokers send a copy for each of the
// overlapping filters, so those that overlap are replaced by one that covers them.
func (r *Rules) Filters() []FilterQoS {
	var all []FilterQoS
	for _, m := range r.maps {
		all = append(all, FilterQoS{m.topic.filter, m.qos})
	}
	for _, c := range r.commands {
		if c.response != nil {
			all = append(all, FilterQoS{c.response.levels.filter, c.response.qos})
		}
	}
	for _, c := range r.calls {
		all = append(all, FilterQoS{c.topic.filter, c.qos})
	}
	return Disjoint(all)
}

// Disjoint returns filters of which no two match the same topic and that together
// match at least what the given ones match.
func Disjoint(in []FilterQoS) []FilterQoS {
	var out []FilterQoS
	for _, f := range in {
		for i := 0; i < len(out); i++ {
			if !overlap(out[i].Filter.text, f.Filter.text) {
				continue
			}
			text := union(out[i].Filter.text, f.Filter.text)
			f = FilterQoS{Filter{text, patterns(text)}, max(f.QoS, out[i].QoS)}
			out = append(out[:i], out[i+1:]...)
			i = -1 // it has grown: look at all again
		}
		out = append(out, f)
	}
	return out
}

// hidden reports that one filter begins with $ and the other with a wildcard,
// which does not cover such topics (MQTT-4.7.2-1).
func hidden(a, b string) bool {
	return a[0] == '$' && (b[0] == '+' || b[0] == '#') || b[0] == '$' && (a[0] == '+' || a[0] == '#')
}

// overlap reports whether there is a topic that both filters match.
func overlap(a, b string) bool {
	if hidden(a, b) {
		return false
	}
	for {
		al, ar, am := strings.Cut(a, "/")
		bl, br, bm := strings.Cut(b, "/")
		switch {
		case al == "#" || bl == "#":
			return true
		case al != bl && al != "+" && bl != "+":
			return false
		case !am || !bm:
			// The longer one matches its own parent if only # is left of it.
			return am == bm || am && ar == "#" || bm && br == "#"
		}
		a, b = ar, br
	}
}

// union returns a filter that matches whatever a or b match; they overlap.
func union(a, b string) string {
	var out []string
	for {
		al, ar, am := strings.Cut(a, "/")
		bl, br, bm := strings.Cut(b, "/")
		if al == "#" || bl == "#" {
			return strings.Join(append(out, "#"), "/")
		}
		if al != bl {
			al = "+"
		}
		out = append(out, al)
		if !am || !bm {
			if am != bm {
				out = append(out, "#")
			}
			return strings.Join(out, "/")
		}
		a, b = ar, br
	}
}
