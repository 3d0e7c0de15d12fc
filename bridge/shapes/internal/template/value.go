package template

import (
	"encoding/json"
	"fmt"
	"math"
	"strconv"
	"strings"
)

// undefined is what a name or key stands for that is not there.
type undefined struct{ name string }

// text returns a value as it is written into a text.
func text(v any) string {
	switch v := v.(type) {
	case undefined:
		return ""
	case nil:
		return "None"
	case string:
		return v
	case bool:
		if v {
			return "True"
		}
		return "False"
	case int64:
		return strconv.FormatInt(v, 10)
	case float64:
		if v == math.Trunc(v) && math.Abs(v) < 1e16 {
			return strconv.FormatFloat(v, 'f', 1, 64)
		}
		return strconv.FormatFloat(v, 'g', -1, 64)
	}
	b, err := json.Marshal(v)
	if err != nil {
		return ""
	}
	return string(b)
}

// truth reports whether a value counts as true.
func truth(v any) bool {
	switch v := v.(type) {
	case undefined, nil:
		return false
	case bool:
		return v
	case int64:
		return v != 0
	case float64:
		return v != 0
	case string:
		return v != ""
	case []any:
		return len(v) > 0
	case map[string]any:
		return len(v) > 0
	}
	return true
}

// number returns a number, as an integer where it is one.
func number(v any) (f float64, whole bool, ok bool) {
	switch v := v.(type) {
	case bool:
		if v {
			return 1, true, true
		}
		return 0, true, true
	case int64:
		return float64(v), true, true
	case float64:
		return v, false, true
	}
	return 0, false, false
}

// fromJSON turns decoded JSON into values: whole numbers become integers.
func fromJSON(v any) any {
	switch v := v.(type) {
	case json.Number:
		if n, err := strconv.ParseInt(v.String(), 10, 64); err == nil {
			return n
		}
		f, err := v.Float64()
		if err != nil {
			return nil
		}
		return f
	case []any:
		for i := range v {
			v[i] = fromJSON(v[i])
		}
	case map[string]any:
		for k := range v {
			v[k] = fromJSON(v[k])
		}
	}
	return v
}

// Decode returns the values of a JSON text, for Vars: integers as int64.
func Decode(b []byte) (any, error) {
	d := json.NewDecoder(strings.NewReader(string(b)))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err != nil {
		return nil, err
	}
	if d.More() {
		return nil, fmt.Errorf("there is more behind the value")
	}
	return fromJSON(v), nil
}

// parseNumber reads a number as float() and int() do.
func parseNumber(v any) (float64, bool) {
	if f, _, ok := number(v); ok {
		return f, true
	}
	s, ok := v.(string)
	if !ok {
		return 0, false
	}
	f, err := strconv.ParseFloat(strings.TrimSpace(s), 64)
	return f, err == nil && !math.IsNaN(f) && !math.IsInf(f, 0)
}

// same reports whether two values are equal: 1 is 1.0 and true.
func same(a, b any) bool {
	x, _, xok := number(a)
	y, _, yok := number(b)
	if xok && yok {
		return x == y
	}
	switch a := a.(type) {
	case undefined:
		_, is := b.(undefined)
		return is
	case []any:
		l, is := b.([]any)
		if !is || len(l) != len(a) {
			return false
		}
		for i := range a {
			if !same(a[i], l[i]) {
				return false
			}
		}
		return true
	case map[string]any:
		m, is := b.(map[string]any)
		return is && text(a) == text(m)
	}
	switch b.(type) {
	case []any, map[string]any:
		return false
	}
	return a == b
}
