package text

import (
	"encoding/json"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
)

// Placeholder is where a template takes a value. Other braces stand for
// themselves, so that templates can be JSON.
var Placeholder = regexp.MustCompile(`\{[a-z0-9_]+\}`)

// piece is a part of a template: literal text, then the value named, if any.
type piece struct {
	literal string
	name    string
	quoted  bool // the value stands between double quotes
}

// Template is a text with places for values.
type Template []piece

// NewTemplate takes the text that configuration has at key apart. It may hold the
// values named in known, as {name}. Errors are *drivers.ConfigError.
func NewTemplate(key, text string, known map[string]bool) (Template, error) {
	if text == "" {
		return nil, bad(key, "is missing", `a text such as "LED {value}\n"`)
	}
	var t Template
	at := 0
	for _, m := range Placeholder.FindAllStringIndex(text, -1) {
		p := piece{literal: text[at:m[0]], name: text[m[0]+1 : m[1]-1]}
		if !known[p.name] {
			return nil, bad(key, fmt.Sprintf("{%.40s} stands for nothing", p.name), AllowedNames(known))
		}
		p.quoted = strings.HasSuffix(p.literal, `"`) && strings.HasPrefix(text[m[1]:], `"`)
		t = append(t, p)
		at = m[1]
	}
	return append(t, piece{literal: text[at:]}), nil
}

// AllowedNames says in a message which values a text may hold.
func AllowedNames(known map[string]bool) string {
	if len(known) == 0 {
		return "no places for values: there are no args"
	}
	return "{" + strings.Join(slices.Sorted(maps.Keys(known)), "}, {") + "}"
}

// Uses reports whether the text holds the value named.
func (t Template) Uses(name string) bool {
	return slices.ContainsFunc(t, func(p piece) bool { return p.name == name })
}

// Bare reports whether the text holds the value named outside of double quotes.
func (t Template) Bare(name string) bool {
	return slices.ContainsFunc(t, func(p piece) bool { return p.name == name && !p.quoted })
}

// Fill returns the text with the values in it. A value between double quotes is
// escaped as in JSON, so that it cannot end the string.
func (t Template) Fill(values map[string]string) []byte {
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

// FillBy returns the text with the values in it, each as escape makes it.
func (t Template) FillBy(values map[string]string, escape func(string) string) string {
	var b strings.Builder
	for _, p := range t {
		b.WriteString(p.literal)
		if p.name != "" {
			b.WriteString(escape(values[p.name]))
		}
	}
	return b.String()
}
