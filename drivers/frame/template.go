package frame

import (
	"bytes"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
)

// placeholder is where a template takes a value.
var placeholder = regexp.MustCompile(`\{[a-z0-9_]+\}`)

// What templates take besides values.
const (
	nameChecksum = "checksum"
	nameLength   = "length"
)

// piece is a part of a template: literal bytes, then the value named, if any.
type piece struct {
	literal Bytes
	name    string
}

// template is what is sent, with places for values, length and checksum.
type template struct {
	pieces []piece
	shape  *shape
	plain  bool // sent as it stands: no escapes, no end marker
}

// newTemplate parses a template. sizes has the values that it may take, and how many
// bytes they have.
func newTemplate(key, text string, plain bool, s *shape, sizes map[string]int) (*template, error) {
	const allowed = `pairs of hexadecimal digits and places for values: "FF 01 {value} {checksum}"`
	if strings.TrimSpace(text) == "" {
		return nil, bad(key, allowed, "is missing")
	}
	t := &template{shape: s, plain: plain}
	seen := map[string]bool{}
	at := 0
	for _, m := range append(placeholder.FindAllStringIndex(text, -1), []int{len(text), len(text)}) {
		var p piece
		if err := p.literal.UnmarshalText([]byte(text[at:m[0]])); err != nil {
			return nil, bad(key, allowed, "%.40q are no bytes", text[at:m[0]])
		}
		if m[0] < m[1] {
			p.name = text[m[0]+1 : m[1]-1]
			_, known := sizes[p.name]
			known = known || p.name == nameChecksum && s.sum != nil || p.name == nameLength && s.kind == kindLength
			if !known || seen[p.name] {
				return nil, bad(key, allowedNames(s, sizes), "{%.40s} stands for nothing, or is there twice", p.name)
			}
			seen[p.name] = true
		}
		t.pieces = append(t.pieces, p)
		at = m[1]
	}
	for name := range sizes {
		if !seen[name] {
			return nil, bad(key, "{"+name+"} in it", "does not contain {%s}", name)
		}
	}
	return t, t.try(key, sizes)
}

func allowedNames(s *shape, sizes map[string]int) string {
	names := slices.Sorted(maps.Keys(sizes))
	if s.sum != nil {
		names = append(names, nameChecksum)
	}
	if s.kind == kindLength {
		names = append(names, nameLength)
	}
	if len(names) == 0 {
		return "bytes alone"
	}
	return "each once: {" + strings.Join(names, "}, {") + "}"
}

// try builds the frame with values of zero and checks that it is one.
func (t *template) try(key string, sizes map[string]int) error {
	values := map[string][]byte{}
	for name, n := range sizes {
		values[name] = make([]byte, n)
	}
	body, places := t.body(values)
	if !t.plain && !bytes.HasPrefix(body, t.shape.start) {
		return bad(key, fmt.Sprintf("the start marker % X first, or plain = true", t.shape.start), "has no start marker")
	}
	if !t.plain && len(body)+len(t.shape.end) > t.shape.max {
		return bad(key, fmt.Sprintf("up to frame.max = %d bytes", t.shape.max), "is too long")
	}
	at, is := places[nameChecksum]
	if !is {
		return nil
	}
	if _, want, ok := t.shape.sum.of(body); !ok || want != at {
		return bad(key, "{checksum} where [checksum] says", "has its checksum at %d of %d bytes", at, len(body))
	}
	return nil
}

// body returns the frame without length, checksum and end, and the places of the
// values in it.
func (t *template) body(values map[string][]byte) ([]byte, map[string]int) {
	var b []byte
	places := map[string]int{}
	for _, p := range t.pieces {
		b = append(b, p.literal...)
		places[p.name] = len(b)
		switch p.name {
		case "":
		case nameChecksum:
			b = append(b, make([]byte, t.shape.sum.size())...)
		case nameLength:
			b = append(b, make([]byte, t.shape.lenSize)...)
		default:
			b = append(b, values[p.name]...)
		}
	}
	return b, places
}

// fill returns what is sent.
func (t *template) fill(values map[string][]byte) []byte {
	s := t.shape
	b, places := t.body(values)
	if at, ok := places[nameLength]; ok {
		n := len(b) - s.lenAdd
		if !t.plain {
			n += len(s.end)
		}
		for i := range s.lenSize {
			shift := 8 * (s.lenSize - 1 - i)
			if s.little {
				shift = 8 * i
			}
			b[at+i] = byte(n >> shift)
		}
	}
	if at, ok := places[nameChecksum]; ok {
		if wire, _, ok := s.sum.of(b); ok {
			copy(b[at:], wire)
		}
	}
	if t.plain {
		return b
	}
	if s.escape != nil {
		n := len(s.start)
		b = s.escape.do(bytes.Clone(b[:n]), b[n:], s.start, s.end)
	}
	return append(b, s.end...)
}
