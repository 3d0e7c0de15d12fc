package wamptest

import (
	"bytes"
	"fmt"
	"strings"

	"gantry/wamp"
	"gantry/wamp/serialize"
)

// parse reads a document of a test.
func parse(doc string) (any, error) {
	return serialize.ParseValue(wamp.JSON, []byte(doc), serialize.Limits{Depth: 64, Elements: 1 << 20, Bytes: 1 << 26})
}

// fill returns v with the special texts replaced.
func (p *Peer) fill(v any) any {
	switch v := v.(type) {
	case string:
		switch {
		case v == "+":
			p.last++
			return p.last
		case v == "=":
			return p.last
		case strings.HasPrefix(v, "$"):
			x, ok := p.vars[v[1:]]
			if !ok {
				p.t.Fatalf("%s: variable %s is not set", p.Name, v)
			}
			return x
		}
	case wamp.List:
		out := make(wamp.List, len(v))
		for i, x := range v {
			out[i] = p.fill(x)
		}
		return out
	case wamp.Dict:
		out := make(wamp.Dict, len(v))
		for k, x := range v {
			out[k] = p.fill(x)
		}
		return out
	}
	return v
}

// match compares what was received with what a document expects. It returns
// what differs, "" if nothing does, and sets variables.
func (p *Peer) match(want, got any, at string) string {
	differ := func() string {
		return fmt.Sprintf("%s is %s, expected %s", at, show(got), show(want))
	}
	switch want := want.(type) {
	case string:
		switch {
		case want == "*":
			return ""
		case want == "=":
			if got != any(p.last) {
				return fmt.Sprintf("%s is %s, expected request %d", at, show(got), p.last)
			}
			return ""
		case strings.HasPrefix(want, "$"):
			x, ok := p.vars[want[1:]]
			if !ok {
				p.vars[want[1:]] = got
				return ""
			}
			return p.match(literal{x}, got, at)
		}
		if got != any(want) {
			return differ()
		}
	case literal:
		if text(want.v) != text(got) {
			return fmt.Sprintf("%s is %s, expected %s", at, show(got), show(want.v))
		}
	case []byte:
		b, ok := got.([]byte)
		if !ok || !bytes.Equal(b, want) {
			return differ()
		}
	case wamp.List:
		list, ok := got.(wamp.List)
		if !ok {
			return differ()
		}
		open := len(want) > 0 && want[len(want)-1] == any("...")
		if open {
			want = want[:len(want)-1]
		}
		if len(list) < len(want) || !open && len(list) > len(want) {
			return differ()
		}
		for i, w := range want {
			if d := p.match(w, list[i], fmt.Sprintf("%s[%d]", at, i)); d != "" {
				return d
			}
		}
	case wamp.Dict:
		dict, ok := got.(wamp.Dict)
		if !ok {
			return differ()
		}
		_, open := want["..."]
		for k, w := range want {
			if k == "..." {
				continue
			}
			x, ok := dict[k]
			if !ok {
				return fmt.Sprintf("%s has no key %q: %s", at, k, show(got))
			}
			if d := p.match(w, x, at+"."+k); d != "" {
				return d
			}
		}
		for k := range dict {
			if _, ok := want[k]; !ok && !open {
				return fmt.Sprintf("%s has key %q too: %s", at, k, show(got))
			}
		}
	default:
		if got != want {
			return differ()
		}
	}
	return ""
}

// literal is a value without special texts in it.
type literal struct{ v any }

// show writes a value as JSON for a failure, cut where it is long.
func show(v any) string {
	s := text(v)
	if len(s) > 1000 {
		s = s[:1000] + " ..."
	}
	return s
}

// text writes a value as JSON, a lone float told from an integer.
func text(v any) string {
	switch v := v.(type) {
	case float64:
		return fmt.Sprintf("%v (float)", v)
	case wamp.List, wamp.Dict, string, []byte, int64, uint64, bool, nil:
		if b, err := serialize.AppendValue(nil, wamp.JSON, v); err == nil {
			return string(b)
		}
	}
	return fmt.Sprintf("%v", v)
}
