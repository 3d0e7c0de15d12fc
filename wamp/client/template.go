package client

import (
	"fmt"
	"strconv"
	"strings"

	"gantry/wamp"
)

// Template is a URI with named parts, such as
//
//	com.shop.<product:int>.update
//	com.shop.<department>.<rest:suffix>
//
// A part <name> or <name:string> stands for one component of any text, <name:int>
// for one that is a decimal integer, and <name:suffix>, which ends a template, for
// all components that follow, at least one. A template is what a handler subscribes
// to or registers (Pattern), what it reads a URI with (Parse), and what a publisher
// or caller makes URIs with (Build).
type Template struct {
	text       string
	components []component
	pattern    wamp.URI
	match      wamp.Match
	parts      int
}

type component struct {
	literal string // "" = a part
	name    string
	kind    partKind
}

type partKind uint8

const (
	partString partKind = iota
	partInt
	partSuffix
)

var partKinds = map[string]partKind{"string": partString, "int": partInt, "suffix": partSuffix}

// Part is a part of a URI.
type Part struct {
	Name  string
	Text  string
	Int   int64 // of an int part
	IsInt bool
}

// ParseTemplate reads a template. The error says what is wrong with it.
func ParseTemplate(s string) (*Template, error) {
	t := &Template{text: s}
	fail := func(what string) (*Template, error) {
		return nil, fmt.Errorf("template %q: %s", s, what)
	}
	var pattern []string
	suffix := false
	for text := range strings.SplitSeq(s, ".") {
		if suffix {
			return fail("a suffix ends a template")
		}
		c, ok := parseComponent(text)
		switch {
		case !ok:
			return fail(fmt.Sprintf("%q is neither a component of a URI nor <name>, <name:string>, <name:int> or <name:suffix>", text))
		case c.literal == "" && t.has(c.name):
			return fail("two parts are called " + c.name)
		}
		suffix = c.literal == "" && c.kind == partSuffix
		if c.literal == "" {
			t.parts++
		}
		t.components = append(t.components, c)
		pattern = append(pattern, c.literal)
	}
	t.pattern = wamp.URI(strings.Join(pattern, "."))
	switch {
	case suffix && t.parts > 1:
		return fail("WAMP has no pattern with both a suffix and other parts")
	case suffix:
		t.match = wamp.MatchPrefix
	case t.parts > 0:
		t.match = wamp.MatchWildcard
	}
	if !t.pattern.Valid(false, t.match) {
		return fail("it is not a valid URI")
	}
	return t, nil
}

func parseComponent(text string) (c component, ok bool) {
	inner, found := strings.CutPrefix(text, "<")
	if !found {
		c.literal = text
		return c, text != "" && !strings.ContainsAny(text, "<>")
	}
	inner, found = strings.CutSuffix(inner, ">")
	name, kind, typed := strings.Cut(inner, ":")
	c.name = name
	ok = found && name != "" && !strings.ContainsAny(inner, "<>")
	if ok && typed {
		c.kind, ok = partKinds[kind]
	}
	return c, ok
}

func (t *Template) has(name string) bool {
	for _, c := range t.components {
		if c.literal == "" && c.name == name {
			return true
		}
	}
	return false
}

// String returns the template as it was written.
func (t *Template) String() string { return t.text }

// Pattern returns what to subscribe to or to register: exact for a template
// without parts, prefix for one with a suffix, and wildcard for any other.
func (t *Template) Pattern() (wamp.URI, wamp.Match) { return t.pattern, t.match }

// Parse reads the parts of a URI, in the template's order; ok is false when the
// template does not fit it.
func (t *Template) Parse(uri wamp.URI) (parts []Part, ok bool) {
	if t.parts == 0 {
		return nil, string(uri) == t.text
	}
	if len(uri) > wamp.MaxURILength {
		return nil, false
	}
	parts = make([]Part, 0, t.parts)
	rest, more := string(uri), true
	for _, c := range t.components {
		if !more {
			return nil, false
		}
		if c.literal == "" && c.kind == partSuffix {
			if !wamp.URI(rest).Valid(false, wamp.MatchExact) {
				return nil, false
			}
			return append(parts, Part{Name: c.name, Text: rest}), true
		}
		var text string
		text, rest, more = strings.Cut(rest, ".")
		if c.literal != "" {
			if text != c.literal {
				return nil, false
			}
			continue
		}
		p := Part{Name: c.name, Text: text}
		if !fits(c.kind, &p) {
			return nil, false
		}
		parts = append(parts, p)
	}
	return parts, !more
}

// fits checks the text of a part, and reads it if it is a number. There is one text
// for each number, so that a URI is what Build makes of its parts.
func fits(kind partKind, p *Part) bool {
	if !wamp.URI(p.Text).Valid(false, wamp.MatchExact) || kind != partSuffix && strings.Contains(p.Text, ".") {
		return false
	}
	if kind == partInt {
		n, err := strconv.ParseInt(p.Text, 10, 64)
		if err != nil || strconv.FormatInt(n, 10) != p.Text {
			return false
		}
		p.Int, p.IsInt = n, true
	}
	return true
}

// Build makes a URI of values for the parts, in the template's order: texts, and
// integers for int parts.
func (t *Template) Build(values ...any) (wamp.URI, error) {
	if len(values) != t.parts {
		return "", fmt.Errorf("template %s: %d values for %d parts", t.text, len(values), t.parts)
	}
	var b strings.Builder
	for i, c := range t.components {
		if i > 0 {
			b.WriteByte('.')
		}
		if c.literal != "" {
			b.WriteString(c.literal)
			continue
		}
		p := Part{Text: fmt.Sprint(values[0])}
		if !fits(c.kind, &p) {
			return "", fmt.Errorf("template %s: <%s> cannot be %q", t.text, c.name, p.Text)
		}
		b.WriteString(p.Text)
		values = values[1:]
	}
	uri := wamp.URI(b.String())
	if len(uri) > wamp.MaxURILength {
		return "", fmt.Errorf("template %s: the URI is longer than %d bytes", t.text, wamp.MaxURILength)
	}
	return uri, nil
}

// isTemplate reports whether a URI is a template with parts: "<" begins one, which
// no URI that Gantry's router or others in use give a meaning to contains.
func isTemplate(uri wamp.URI) bool { return strings.Contains(string(uri), "<") }
