package serialize

import (
	"math"
	"strings"

	"gantry/wamp"
)

// maxValues bounds the elements that Values decodes from one payload, over and
// above the limits of the decoder that let it in.
const maxValues = 1 << 20

// ParseValue decodes one value of format f, with nothing behind it: nil, bool,
// int64, uint64 (only above the range of int64), float64, string, []byte,
// wamp.List or wamp.Dict, which share nothing with b. A JSON integer outside of 64
// bits is a float64. Of a duplicate map key the last one counts. The error is a
// *SyntaxError.
func ParseValue(f wamp.Format, b []byte, lim Limits) (any, error) {
	if err := known(f); err != nil {
		return nil, err
	}
	lim = lim.withDefaults()
	if len(b) > lim.Bytes {
		return nil, syntaxError(f, lim.Bytes, errSize)
	}
	return parse(f, b, lim.Depth, lim.Elements, false)
}

// parse is ParseValue without a limit in bytes; unique refuses duplicate keys.
func parse(f wamp.Format, b []byte, depth, elements int, unique bool) (any, error) {
	s := getScratch()
	defer s.free()
	r, err := s.read(f, b, depth, elements)
	if err != nil {
		return nil, err
	}
	v, err := build(&r, unique)
	s.buf = r.buf
	if err != nil {
		return nil, syntaxError(f, r.i, err)
	}
	return v, nil
}

// build makes the value that r is at. Its recursion is as deep as the walk
// allowed; sizes are proven to be there, so memory can be reserved.
func build(r *reader, unique bool) (any, error) {
	t, err := r.next(false)
	if err != nil {
		return nil, err
	}
	switch t.kind {
	case kindList:
		list := make(wamp.List, t.n)
		for i := range list {
			if list[i], err = build(r, unique); err != nil {
				return nil, err
			}
		}
		return list, nil
	case kindDict:
		return buildDict(r, t.n, unique)
	}
	return scalar(&t), nil
}

func buildDict(r *reader, n uint64, unique bool) (any, error) {
	dict := make(wamp.Dict, n)
	for range n {
		t, err := r.next(true)
		if err != nil {
			return nil, err
		}
		key := ownKey(t.text())
		if dict[key], err = build(r, unique); err != nil {
			return nil, err
		}
	}
	if unique && uint64(len(dict)) != n {
		return nil, errDuplicate
	}
	return dict, nil
}

// ownKey returns a copy of a key. Those of every HELLO need no memory.
func ownKey(key string) string {
	switch key {
	case "agent":
		return "agent"
	case "authid":
		return "authid"
	case "authmethods":
		return "authmethods"
	case "callee":
		return "callee"
	case "caller":
		return "caller"
	case "features":
		return "features"
	case "publisher":
		return "publisher"
	case "roles":
		return "roles"
	case "subscriber":
		return "subscriber"
	}
	return strings.Clone(key)
}

// scalar returns the Go value of a token that is no container.
func scalar(t *token) any {
	switch t.kind {
	case kindFalse:
		return false
	case kindTrue:
		return true
	case kindUint:
		if t.n > math.MaxInt64 {
			return t.n
		}
		return int64(t.n)
	case kindInt:
		return int64(t.n)
	case kindFloat32:
		return float64(math.Float32frombits(uint32(t.n)))
	case kindFloat64:
		return math.Float64frombits(t.n)
	case kindText:
		return string(t.raw)
	case kindBytes:
		return append([]byte{}, t.raw...)
	}
	return nil
}

// Values decodes a payload to Go values, as ParseValue does; those of a payload
// that is not raw are returned as they are. It refuses more than 2^20 elements.
func Values(p wamp.Payload) (wamp.List, wamp.Dict, error) {
	f := p.Format()
	if f == wamp.NoFormat {
		args, kwargs := p.GoValues()
		return args, kwargs, nil
	}
	if err := known(f); err != nil {
		return nil, nil, err
	}
	rawArgs, rawKwargs := p.Raw()
	var args wamp.List
	var kwargs wamp.Dict
	if rawArgs != nil {
		v, err := parse(f, rawArgs, maxDepth, maxValues, false)
		if err != nil {
			return nil, nil, err
		}
		list, ok := v.(wamp.List)
		if !ok {
			return nil, nil, syntaxError(f, 0, fault("arguments are not a list"))
		}
		args = list
	}
	if rawKwargs != nil {
		v, err := parse(f, rawKwargs, maxDepth, maxValues, false)
		if err != nil {
			return nil, nil, err
		}
		dict, ok := v.(wamp.Dict)
		if !ok {
			return nil, nil, syntaxError(f, 0, fault("keyword arguments are not a dict"))
		}
		kwargs = dict
	}
	return args, kwargs, nil
}
