package serialize

import (
	"bytes"
	"math"
	"reflect"

	"gantry/wamp"
)

// assign decodes a Go value: nothing is encoded on the way between types that say
// the same.
func assign(v, into any) error {
	if direct(v, into) {
		return nil
	}
	b, err := AppendValue(nil, wamp.CBOR, v)
	if err != nil {
		return err
	}
	return decodeInto(wamp.CBOR, b, into)
}

// direct gives v to the variable that into points to, if it can be done without
// encoding, and reports whether it was.
func direct(v, into any) bool {
	switch into := into.(type) {
	case *any:
		x, ok := plain(v, DefaultDepth)
		if ok {
			*into = x
		}
		return ok
	case *wamp.List:
		if list, ok := v.(wamp.List); ok {
			x, ok := plainList(list, DefaultDepth)
			*into = x
			return ok
		}
	case *wamp.Dict:
		if dict, ok := v.(wamp.Dict); ok {
			x, ok := plainDict(dict, DefaultDepth)
			*into = x
			return ok
		}
	}
	to := reflect.ValueOf(into)
	if v == nil || to.Kind() != reflect.Pointer || to.IsNil() {
		return false
	}
	return convert(reflect.ValueOf(v), to.Elem())
}

// convert sets to to a value of its own type, or to an integer that fits.
func convert(from, to reflect.Value) bool {
	switch {
	case from.Type() == to.Type():
		to.Set(from)
	case from.Type().PkgPath() != "" || to.Type().PkgPath() != "":
		return false // a type with a name may have a form of its own
	case from.CanInt() && to.CanInt() && !to.OverflowInt(from.Int()):
		to.SetInt(from.Int())
	case from.CanInt() && to.CanUint() && from.Int() >= 0 && !to.OverflowUint(uint64(from.Int())):
		to.SetUint(uint64(from.Int()))
	case from.CanInt() && to.CanFloat():
		to.SetFloat(float64(from.Int()))
	default:
		return false
	}
	return true
}

// plain returns v as ParseValue would, sharing nothing with it; ok is false where
// that takes encoding.
func plain(v any, depth int) (x any, ok bool) {
	switch v := v.(type) {
	case nil, bool, int64, float64, string:
		return v, true
	case float32:
		return float64(v), true
	case uint64:
		if v > math.MaxInt64 {
			return v, true
		}
		return int64(v), true
	case []byte:
		if v == nil {
			return nil, true
		}
		return bytes.Clone(v), true
	case wamp.List:
		return plainList(v, depth)
	case wamp.Dict:
		return plainDict(v, depth)
	}
	n := reflect.ValueOf(v)
	switch {
	case n.Type().PkgPath() != "":
		return nil, false
	case n.CanInt():
		return n.Int(), true
	case n.CanUint():
		return plain(n.Uint(), depth)
	}
	return nil, false
}

func plainList(v wamp.List, depth int) (wamp.List, bool) {
	if depth == 0 {
		return nil, false // as a list that contains itself is
	}
	list := make(wamp.List, len(v))
	for i := range v {
		var ok bool
		if list[i], ok = plain(v[i], depth-1); !ok {
			return nil, false
		}
	}
	return list, true
}

func plainDict(v wamp.Dict, depth int) (wamp.Dict, bool) {
	if depth == 0 {
		return nil, false
	}
	dict := make(wamp.Dict, len(v))
	for k := range v {
		var ok bool
		if dict[k], ok = plain(v[k], depth-1); !ok {
			return nil, false
		}
	}
	return dict, true
}

// scalarInto decodes a raw scalar into the commonest types, without the detour that
// all others take, and reports whether it could.
func scalarInto(f wamp.Format, v []byte, into any) bool {
	switch into.(type) {
	case *bool, *int, *int64, *uint64, *float64, *string:
	default:
		return false
	}
	s := getScratch()
	defer s.free()
	r, err := s.read(f, v, maxDepth, maxValues)
	if err != nil {
		return false
	}
	t, err := r.next(false)
	s.buf = r.buf
	return err == nil && t.into(into)
}

// into sets what into points to if the token is of its type, or an integer that
// fits.
func (t *token) into(into any) bool {
	negative := t.kind == kindInt && int64(t.n) < 0
	integer := t.kind == kindInt || t.kind == kindUint
	signed := integer && (negative || t.n <= math.MaxInt64)
	switch into := into.(type) {
	case *bool:
		*into = t.kind == kindTrue
		return *into || t.kind == kindFalse
	case *string:
		if t.kind == kindText {
			*into = string(t.raw)
			return true
		}
	case *float64:
		switch {
		case t.kind == kindFloat64:
			*into = math.Float64frombits(t.n)
			return true
		case t.kind == kindFloat32:
			*into = float64(math.Float32frombits(uint32(t.n)))
			return true
		case signed:
			*into = float64(int64(t.n))
			return true
		}
	case *int64:
		if signed {
			*into = int64(t.n)
			return true
		}
	case *int:
		if n := int(int64(t.n)); signed && int64(n) == int64(t.n) {
			*into = n
			return true
		}
	case *uint64:
		if integer && !negative {
			*into = t.n
			return true
		}
	}
	return false
}
