package line

import (
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"gantry/drivers/internal/text"
	"gantry/drivers/internal/value"
)

// placeholder is where a template takes a value. Other braces stand for
// themselves, so that templates can be JSON.
var placeholder = regexp.MustCompile(`\{[a-z0-9_]+\}`)

// piece is a part of a template: literal text, then the value named, if any.
type piece struct {
	literal string
	name    string
	quoted  bool // the value stands between double quotes
}

// template is a text with places for values.
type template []piece

func newTemplate(key, text string, known map[string]bool) (template, error) {
	if text == "" {
		return nil, bad(key, "is missing", `a text such as "LED {value}\n"`)
	}
	var t template
	at := 0
	for _, m := range placeholder.FindAllStringIndex(text, -1) {
		p := piece{literal: text[at:m[0]], name: text[m[0]+1 : m[1]-1]}
		if !known[p.name] {
			return nil, bad(key, fmt.Sprintf("{%.40s} stands for nothing", p.name), allowedNames(known))
		}
		p.quoted = strings.HasSuffix(p.literal, `"`) && strings.HasPrefix(text[m[1]:], `"`)
		t = append(t, p)
		at = m[1]
	}
	return append(t, piece{literal: text[at:]}), nil
}

func allowedNames(known map[string]bool) string {
	if len(known) == 0 {
		return "no places for values: there are no args"
	}
	names := make([]string, 0, len(known))
	for n := range known {
		names = append(names, "{"+n+"}")
	}
	slices.Sort(names)
	return strings.Join(names, ", ")
}

func (t template) uses(name string) bool {
	return slices.ContainsFunc(t, func(p piece) bool { return p.name == name })
}

// fill returns the text with the values in it. A value between double quotes is
// escaped as in JSON, so that it cannot end the string.
func (t template) fill(values map[string]string) []byte {
	var b []byte
	for _, p := range t {
		b = append(b, p.literal...)
		if p.name == "" {
			continue
		}
		v := values[p.name]
		if p.quoted && strings.ContainsAny(v, `"\`) {
			// Marshalling a string does not fail.
			q, _ := json.Marshal(v)
			v = string(q[1 : len(q)-1])
		}
		b = append(b, v...)
	}
	return b
}

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
	for _, m := range placeholder.FindAllString(pattern, -1) {
		name := m[1 : len(m)-1]
		// A number in braces is a repetition.
		if !known[name] && !value.IsInt(name) {
			return nil, bad(key, fmt.Sprintf("{%.40s} stands for nothing", name), allowedNames(known))
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
	return placeholder.ReplaceAllStringFunc(a.text, func(m string) string {
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

// command is something that can be sent.
type command struct {
	template  template
	ack, nack *answer // nil if the device does not answer
	timeout   time.Duration
}
