package transform

import (
	"bytes"
	"math"
	"slices"
	"unicode/utf8"

	"gantry/drivers"
)

// maxBytes bounds the value of a text or bytes point. Larger ones belong to a
// file transfer, not to a retained topic.
const maxBytes = 64 << 10

// intBound is 2^63, the first float64 above the range of int64.
const intBound = 1 << 63

// Coerce turns v, from a driver or a caller, into the Go type that t stands for:
// integers become floats and whole floats integers, everything else must match.
// Where it does not, why says so in one word.
func Coerce(t drivers.Type, v any) (value drivers.Value, why string) {
	switch t {
	case drivers.Float:
		f, ok := v.(float64)
		switch {
		case ok && finite(f):
			return v, ""
		case ok:
			return nil, "not_a_number"
		}
		return coerceFloat(v)
	case drivers.Int:
		if _, ok := v.(int64); ok {
			return v, ""
		}
		return coerceInt(v)
	case drivers.Bool:
		if _, ok := v.(bool); ok {
			return v, ""
		}
	case drivers.Text:
		if s, ok := v.(string); ok {
			switch {
			case len(s) > maxBytes:
				return nil, "too_large"
			case !utf8.ValidString(s):
				return nil, "not_utf8"
			}
			return v, ""
		}
	case drivers.Bytes:
		if b, ok := v.([]byte); ok {
			if len(b) > maxBytes {
				return nil, "too_large"
			}
			return slices.Clone(b), ""
		}
	}
	return nil, "type"
}

// coerceFloat is the part of Coerce for floats that are not float64 yet.
func coerceFloat(v any) (drivers.Value, string) {
	if u, ok := v.(uint64); ok {
		return float64(u), ""
	}
	if i, ok := integer(v); ok {
		return float64(i), ""
	}
	if f, ok := v.(float32); ok {
		if !finite(float64(f)) {
			return nil, "not_a_number"
		}
		return float64(f), ""
	}
	return nil, "type"
}

// coerceInt is the part of Coerce for integers that are not int64 yet.
func coerceInt(v any) (drivers.Value, string) {
	if i, ok := integer(v); ok {
		return i, ""
	}
	var f float64
	switch v := v.(type) {
	case uint64:
		return nil, "too_large"
	case float64:
		f = v
	case float32:
		f = float64(v)
	default:
		return nil, "type"
	}
	switch {
	case !finite(f):
		return nil, "not_a_number"
	case f != math.Trunc(f):
		return nil, "not_whole"
	case f < -intBound || f >= intBound:
		return nil, "too_large"
	}
	return int64(f), ""
}

// integer returns any Go integer that fits an int64.
func integer(v any) (int64, bool) {
	switch v := v.(type) {
	case int:
		return int64(v), true
	case int8:
		return int64(v), true
	case int16:
		return int64(v), true
	case int32:
		return int64(v), true
	case int64:
		return v, true
	case uint:
		return int64(v), uint64(v) <= math.MaxInt64
	case uint8:
		return int64(v), true
	case uint16:
		return int64(v), true
	case uint32:
		return int64(v), true
	case uint64:
		return int64(v), v <= math.MaxInt64
	}
	return 0, false
}

func finite(f float64) bool { return !math.IsNaN(f) && !math.IsInf(f, 0) }

// Number returns the value of a numeric point as a float64.
func Number(v drivers.Value) (float64, bool) {
	switch v := v.(type) {
	case float64:
		return v, true
	case int64:
		return float64(v), true
	}
	return 0, false
}

// Same reports whether two values of one point are equal.
func Same(a, b drivers.Value) bool {
	ab, ok := a.([]byte)
	if !ok {
		_, ok = b.([]byte)
		return !ok && a == b
	}
	bb, ok := b.([]byte)
	return ok && bytes.Equal(ab, bb)
}

// scaling is value = raw*mul/div + offset. One of mul and div is 1: a scale such
// as 0.1 is kept as a division by 10, which is exact where a multiplication by
// 0.1 is not (234*0.1 is 23.400000000000002).
type scaling struct {
	mul, div, offset float64
	active           bool
}

func newScaling(scale *float64, offset float64) scaling {
	s := scaling{mul: 1, div: 1, offset: offset, active: offset != 0}
	if scale == nil || *scale == 1 {
		return s
	}
	s.active = true
	inverse := 1 / *scale
	if whole := math.Round(inverse); math.Abs(whole) >= 2 && math.Abs(inverse-whole) <= 1e-12*math.Abs(whole) {
		s.div = whole
	} else {
		s.mul = *scale
	}
	return s
}

// apply scales a raw number. The result may be infinite.
func (s scaling) apply(raw float64) float64 { return raw*s.mul/s.div + s.offset }

// invert undoes apply.
func (s scaling) invert(v float64) float64 { return (v - s.offset) / s.mul * s.div }
