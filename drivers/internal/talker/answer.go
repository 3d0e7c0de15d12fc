package talker

import (
	"fmt"
	"regexp"

	"gantry/drivers/internal/text"
	"gantry/drivers/internal/value"
)

// answer is a pattern for an answer, which may contain the values sent.
type answer struct {
	text  string
	fixed *regexp.Regexp // nil if text contains values
	any   *regexp.Regexp // matches whatever the values were
}

// newAnswer returns nil if there is no pattern.
func newAnswer(key, pattern string, known map[string]bool) (*answer, error) {
	if pattern == "" {
		return nil, nil
	}
	for _, m := range text.Placeholder.FindAllString(pattern, -1) {
		name := m[1 : len(m)-1]
		// A number in braces is a repetition.
		if !known[name] && !value.IsInt(name) {
			return nil, bad(key, fmt.Sprintf("{%.40s} stands for nothing", name), text.AllowedNames(known))
		}
	}
	a := &answer{text: pattern}
	general := a.with(func(name string) (string, bool) { return "(?:.*)", known[name] })
	var err error
	if a.any, err = text.Compile(key, general); err != nil {
		return nil, err
	}
	if general == pattern {
		a.fixed = a.any
		return a, nil
	}
	_, err = text.Compile(key, a.with(func(name string) (string, bool) { return "0", known[name] }))
	return a, err
}

func (a *answer) with(value func(name string) (string, bool)) string {
	return text.Placeholder.ReplaceAllStringFunc(a.text, func(m string) string {
		if v, ok := value(m[1 : len(m)-1]); ok {
			return v
		}
		return m
	})
}

// pattern returns the expression for an answer to a command with these values; nil
// if a is.
func (a *answer) pattern(values map[string]string) (*regexp.Regexp, error) {
	switch {
	case a == nil:
		return nil, nil
	case a.fixed != nil:
		return a.fixed, nil
	}
	return regexp.Compile(a.with(func(name string) (string, bool) {
		v, ok := values[name]
		return regexp.QuoteMeta(v), ok
	}))
}
