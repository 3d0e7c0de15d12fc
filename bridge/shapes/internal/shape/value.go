package shape

import (
	"encoding/json"
	"math"
	"strconv"
	"strings"
	"unicode/utf8"

	"gantry/drivers"
)

// Of converts a decoded JSON value, or a text, into a value of type t. why says what
// is wrong with one that is none, as drivers.Reading.Why.
func Of(t drivers.Type, v any) (out drivers.Value, why string) {
	switch t {
	case drivers.Bool:
		return boolean(v)
	case drivers.Text:
		return text(v)
	}
	var f float64
	switch v := v.(type) {
	case nil:
		return nil, "null"
	case float64:
		f = v
	case int64:
		f = float64(v)
	case bool:
		return nil, "not_number"
	case string:
		s := strings.TrimSpace(v)
		var err error
		if f, err = strconv.ParseFloat(s, 64); err != nil {
			if s == "" {
				return nil, "empty"
			}
			return nil, "not_number"
		}
	default:
		return nil, "not_scalar"
	}
	switch {
	case math.IsNaN(f) || math.IsInf(f, 0):
		return nil, "not_a_number"
	case t == drivers.Float:
		return f, ""
	case f != math.Trunc(f):
		return nil, "not_whole"
	case math.Abs(f) > 1<<53:
		return nil, "too_large"
	}
	return int64(f), ""
}

func boolean(v any) (drivers.Value, string) {
	switch v := v.(type) {
	case nil:
		return nil, "null"
	case bool:
		return v, ""
	case float64:
		return v != 0, ""
	case int64:
		return v != 0, ""
	case string:
		switch strings.ToLower(strings.TrimSpace(v)) {
		case "on", "true", "yes", "1", "open", "online":
			return true, ""
		case "off", "false", "no", "0", "closed", "offline":
			return false, ""
		}
		return nil, "not_bool"
	}
	return nil, "not_scalar"
}

func text(v any) (drivers.Value, string) {
	var s string
	switch v := v.(type) {
	case nil:
		return nil, "null"
	case string:
		s = v
	case map[string]any, []any:
		b, err := json.Marshal(v)
		if err != nil {
			return nil, "malformed"
		}
		s = string(b)
	default:
		s = Word(v)
	}
	switch {
	case len(s) > MaxText:
		return nil, "too_large"
	case !utf8.ValidString(s):
		return nil, "not_utf8"
	}
	return s, ""
}

// Word returns a scalar as it is written in a payload: a whole number without a
// decimal point.
func Word(v any) string {
	switch v := v.(type) {
	case nil:
		return ""
	case string:
		return v
	case bool:
		return strconv.FormatBool(v)
	case int64:
		return strconv.FormatInt(v, 10)
	case float64:
		return strconv.FormatFloat(v, 'f', -1, 64)
	}
	b, err := json.Marshal(v)
	if err != nil {
		return ""
	}
	return string(b)
}

// Equal reports whether two values are the same, numbers but for tolerance.
func Equal(a, b drivers.Value, tolerance float64) bool {
	x, xok := number(a)
	y, yok := number(b)
	if xok && yok {
		return math.Abs(x-y) <= tolerance+1e-9*math.Abs(x)
	}
	return a == b
}

func number(v drivers.Value) (float64, bool) {
	switch v := v.(type) {
	case int64:
		return float64(v), true
	case float64:
		return v, true
	}
	return 0, false
}

// Object decodes a JSON object of at most limit bytes.
func Object(b []byte, limit int) (map[string]any, bool) {
	if len(b) > limit {
		return nil, false
	}
	var m map[string]any
	if json.Unmarshal(b, &m) != nil || m == nil {
		return nil, false
	}
	return m, true
}

// JSON encodes what is known to be encodable: texts, finite numbers, and maps and
// lists of them.
func JSON(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		return []byte("null")
	}
	return b
}

// Number returns a pointer to the number that v is, nil if it is none that can be
// a bound.
func Number(v any) *float64 {
	f, ok := v.(float64)
	if !ok || math.IsNaN(f) || math.IsInf(f, 0) {
		return nil
	}
	return &f
}

// Text returns the text that v is, "" for anything else.
func Text(v any) string {
	s, _ := v.(string)
	return s
}

// Dict returns the object that v is, nil for anything else.
func Dict(v any) map[string]any {
	m, _ := v.(map[string]any)
	return m
}

// List returns the list that v is, nil for anything else.
func List(v any) []any {
	l, _ := v.([]any)
	return l
}
