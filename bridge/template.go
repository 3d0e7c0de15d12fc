package bridge

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
)

// template is a text with placeholders {name} or {name:json}. Any other brace is
// a brace.
type template struct {
	text  string
	parts []part
}

// part is a literal text or, with a name, a placeholder.
type part struct {
	literal string
	name    string
	json    bool
	quoted  bool // inside a string, if the template is that of JSON
}

func parseTemplate(s string) template {
	t := template{text: s}
	literal := 0
	for i := 0; i < len(s); i++ {
		if s[i] != '{' {
			continue
		}
		end := strings.IndexByte(s[i:], '}')
		if end < 0 {
			break
		}
		name, form, found := strings.Cut(s[i+1:i+end], ":")
		if !identifier(name) || found && form != "json" {
			continue
		}
		if i > literal {
			t.parts = append(t.parts, part{literal: s[literal:i]})
		}
		t.parts = append(t.parts, part{name: name, json: found})
		literal = i + end + 1
		i = literal - 1
	}
	if literal < len(s) {
		t.parts = append(t.parts, part{literal: s[literal:]})
	}
	if t.json() {
		t.quote()
	}
	return t
}

// quote finds the placeholders inside strings of JSON.
func (t template) quote() {
	quoted, escaped := false, false
	for i := range t.parts {
		t.parts[i].quoted = quoted
		for _, c := range []byte(t.parts[i].literal) {
			if c == '"' && !escaped {
				quoted = !quoted
			}
			escaped = c == '\\' && !escaped
		}
	}
}

func identifier(s string) bool {
	for i := range len(s) {
		if c := s[i]; (c < 'a' || c > 'z') && c != '_' && (i == 0 || c < '0' || c > '9') {
			return false
		}
	}
	return s != ""
}

// placeholder returns the name of a text that is nothing but {name}.
func placeholder(s string) (name string, ok bool) {
	name, ok = strings.CutPrefix(s, "{")
	name, closed := strings.CutSuffix(name, "}")
	return name, ok && closed && identifier(name)
}

// names returns the placeholders, each once.
func (t template) names() []string {
	var names []string
	seen := map[string]bool{}
	for _, p := range t.parts {
		if p.name != "" && !seen[p.name] {
			seen[p.name] = true
			names = append(names, p.name)
		}
	}
	return names
}

// render fills the placeholders in.
func (t template) render(value func(name string) (string, error)) (string, error) {
	var b strings.Builder
	for _, p := range t.parts {
		if p.name == "" {
			b.WriteString(p.literal)
			continue
		}
		s, err := value(p.name)
		if err != nil {
			return "", err
		}
		b.WriteString(s)
	}
	return b.String(), nil
}

// fill is render with the texts of variables that are known to be there.
func (t template) fill(vars map[string]string) string {
	s, _ := t.render(func(name string) (string, error) { return vars[name], nil })
	return s
}

// json reports whether the text must come out as JSON: it begins like an object or array.
func (t template) json() bool {
	return strings.HasPrefix(t.text, "[") || strings.HasPrefix(t.text, "{") && (len(t.parts) == 0 || t.parts[0].name == "")
}

// fillJSON is renderPayload, for a text that must be JSON if valid is true.
func (t template) fillJSON(valid bool, arg func(name string) any) (string, error) {
	s, err := renderPayload(t, arg)
	if err == nil && valid && !(json.Valid([]byte(s)) && t.whole(arg)) {
		err = errors.New("the payload is not valid JSON with this value")
	}
	return s, err
}

// whole reports whether the texts outside of strings are values of JSON, or lists of
// them: others could end what they stand in and add keys.
func (t template) whole(arg func(name string) any) bool {
	for _, p := range t.parts {
		if p.name == "" || p.json || p.quoted {
			continue
		}
		if text, ok := arg(p.name).(string); ok && !json.Valid([]byte("["+text+"]")) {
			return false
		}
	}
	return true
}

// levels is a topic filter some of whose levels have a name: sensors/{room}/+.
type levels struct {
	filter Filter
	names  map[int]string // by position of the level
}

func parseLevels(s string) (levels, error) {
	l := levels{names: map[int]string{}}
	parts := strings.Split(s, "/")
	seen := map[string]bool{}
	for i, p := range parts {
		name, named := placeholder(p)
		if !named {
			if t := parseTemplate(p); len(t.names()) > 0 {
				return l, errors.New("has a placeholder that does not fill its level")
			}
			continue
		}
		if seen[name] {
			return l, fmt.Errorf("has the placeholder {%s} twice", name)
		}
		seen[name] = true
		l.names[i] = name
		parts[i] = "+"
	}
	var err error
	l.filter, err = ParseFilter(strings.Join(parts, "/"))
	return l, err
}

// has reports whether a level is called name.
func (l levels) has(name string) bool {
	for _, n := range l.names {
		if n == name {
			return true
		}
	}
	return false
}

// vars returns the named levels of a topic that the filter matches.
func (l levels) vars(topic string) map[string]string {
	if len(l.names) == 0 {
		return nil
	}
	vars := make(map[string]string, len(l.names))
	for i, level := range strings.Split(topic, "/") {
		if name, ok := l.names[i]; ok {
			vars[name] = level
		}
	}
	return vars
}
