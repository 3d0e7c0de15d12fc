package bridge

import (
	"strings"

	"gantry/wamp"
)

// Pattern is what to subscribe to in a realm.
type Pattern struct {
	URI   wamp.URI
	Match wamp.Match
}

// Filter is an MQTT topic filter, ready to match topics and to be turned into
// WAMP subscriptions. The zero value matches nothing.
type Filter struct {
	text     string
	patterns []Pattern
}

// ParseFilter checks a topic filter. The text of the error continues a sentence,
// as that of CheckTopic does.
func ParseFilter(s string) (Filter, error) {
	if err := checkText(s); err != nil {
		return Filter{}, err
	}
	rest, more := s, true
	for more {
		var level string
		level, rest, more = strings.Cut(rest, "/")
		switch {
		case level == "+", level == "#" && !more:
		case strings.Contains(level, "#"):
			return Filter{}, errFilterHash // MQTT-4.7.1-2
		case strings.Contains(level, "+"):
			return Filter{}, errFilterPlus // MQTT-4.7.1-3
		}
	}
	return Filter{text: s, patterns: patterns(s)}, nil
}

// String returns the filter as it was written.
func (f Filter) String() string { return f.text }

// Patterns returns the one or two WAMP patterns whose events, passed through
// Matches, are those of the filter. No event matches both. The slice is shared
// and must not be changed.
//
// A filter without wildcards is an exact topic. "+" is a wildcard pattern's empty
// component. "a/#" is the prefix "a." and the exact topic "a", for a filter covers
// the parent too. WAMP has no pattern with both kinds of wildcard: there the
// pattern is the prefix before the first "+", which covers more than the filter.
func (f Filter) Patterns() []Pattern { return f.patterns }

func patterns(s string) []Pattern {
	if s == "#" {
		return []Pattern{{"", wamp.MatchPrefix}}
	}
	parent, multi := strings.CutSuffix(s, "/#")
	plus := strings.IndexByte(parent, '+')
	switch {
	case !multi && plus < 0:
		return []Pattern{{URIFromTopic(s), wamp.MatchExact}}
	case !multi:
		return []Pattern{{wildcard(s), wamp.MatchWildcard}}
	case plus < 0:
		u := URIFromTopic(parent)
		return []Pattern{{u, wamp.MatchExact}, {u + ".", wamp.MatchPrefix}}
	case plus == 0:
		return []Pattern{{"", wamp.MatchPrefix}}
	}
	// The levels before the first +, which always ends in a separator.
	return []Pattern{{URIFromTopic(parent[:plus-1]) + ".", wamp.MatchPrefix}}
}

func wildcard(s string) wamp.URI {
	var b strings.Builder
	for i, level := range strings.Split(s, "/") {
		if i > 0 {
			b.WriteByte('.')
		}
		if level != "+" {
			appendLevels(&b, level)
		}
	}
	return wamp.URI(b.String())
}

// Matches reports whether the filter covers a topic name (MQTT 3.1.1 section
// 4.7). A wildcard in the first level does not cover names that begin with $.
func (f Filter) Matches(topic string) bool {
	p := f.text
	if p == "" || topic == "" {
		return false
	}
	if topic[0] == '$' && (p[0] == '+' || p[0] == '#') {
		return false // MQTT-4.7.2-1
	}
	for {
		pl, pr, pmore := strings.Cut(p, "/")
		if pl == "#" {
			return true
		}
		tl, tr, tmore := strings.Cut(topic, "/")
		if pl != "+" && pl != tl {
			return false
		}
		if !tmore {
			return !pmore || pr == "#"
		}
		if !pmore {
			return false
		}
		p, topic = pr, tr
	}
}
