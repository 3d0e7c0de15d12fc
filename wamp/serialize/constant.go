package serialize

import "gantry/wamp"

// Constant is a value that many messages contain, such as in a Dict, encoded once for
// all of them. Only Append and AppendValue know it: whoever receives Go values gets
// the Value.
type Constant struct {
	value any
	forms [wamp.FormatCount][]byte
}

// constantDepth is how deep a Constant may nest, and how much of the depth of what
// it is in it takes.
const constantDepth = 8

// NewConstant encodes v, which must not change any more. See AppendValue.
func NewConstant(v any) (*Constant, error) {
	c := &Constant{value: v}
	s := getScratch()
	defer s.free()
	for f := wamp.JSON; f < wamp.FormatCount; f++ {
		w := writer{format: f}
		if err := s.encode(&w, v, constantDepth); err != nil {
			return nil, payloadError(f, err)
		}
		c.forms[f] = w.b
	}
	return c, nil
}

// Value returns the value.
func (c *Constant) Value() any { return c.value }

func (c *Constant) write(w *writer, depth int) error {
	if depth < constantDepth {
		return errDepth
	}
	w.b = append(w.b, c.forms[w.format]...)
	return nil
}
