package bridge

import (
	"regexp"
	"slices"
)

// source is the messages that a rule is for, by their topics.
type source struct {
	topic   levels
	pattern *regexp.Regexp // nil: none
}

// newSource reads the keys topic and regex of the rule key.
func newSource(topic, regex, key string) (s source, err error) {
	if s.topic, err = parseLevels(topic); err != nil {
		return s, bad(key+".topic", `a topic filter with named levels, such as "sensors/{room}/+"`, "%.80q %v", topic, err)
	}
	if regex == "" {
		return s, nil
	}
	if s.pattern, err = regexp.Compile(regex); err != nil {
		return s, bad(key+".regex", "a regular expression (RE2)", "%.80q: %v", regex, err)
	}
	for _, n := range s.pattern.SubexpNames()[1:] {
		if n != "" && (!identifier(n) || s.topic.has(n)) {
			return s, bad(key+".regex", "groups called like (?P<room>...), a-z 0-9 _, and not like a level of the topic", "has the group %.80q", n)
		}
	}
	return s, nil
}

// variable reports whether a level or a group is called name.
func (s *source) variable(name string) bool {
	return s.topic.has(name) || s.pattern != nil && slices.Contains(s.pattern.SubexpNames(), name)
}

// vars returns what the names stand for in a topic, or why the rule is not for it.
func (s *source) vars(topic string) (vars map[string]string, refused string) {
	if !s.topic.filter.Matches(topic) {
		return nil, "the topic is not covered by " + s.topic.filter.String()
	}
	vars = s.topic.vars(topic)
	if s.pattern == nil {
		return vars, ""
	}
	groups := s.pattern.FindStringSubmatch(topic)
	if groups == nil {
		return nil, "the topic does not match the regular expression"
	}
	if vars == nil {
		vars = map[string]string{}
	}
	for i, n := range s.pattern.SubexpNames() {
		if n != "" {
			vars[n] = groups[i]
		}
	}
	return vars, ""
}
