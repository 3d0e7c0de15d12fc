package bridge

import (
	"math"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/tidwall/gjson"

	"gantry/wamp"
	"gantry/wamp/serialize"
)

// value takes a point's value out of an item of a message, or says why there is
// none.
func (p *mapped) value(in *input, item gjson.Result) (v any, why string) {
	switch {
	case len(in.payload) == 0:
		return nil, "empty"
	case in.valid:
		if p.path != "" {
			item = item.Get(p.path)
		}
		if v, why = scalar(item); why != "" {
			return nil, why
		}
	case p.path != "":
		return nil, "malformed"
	case in.payload[0] != 0 && utf8.Valid(in.payload):
		v = string(in.payload)
	default:
		v = slices.Clone(in.payload)
	}
	return p.convert(v)
}

// scalar returns the value of a JSON scalar.
func scalar(res gjson.Result) (v any, why string) {
	switch res.Type {
	case gjson.True, gjson.False:
		return res.Type == gjson.True, ""
	case gjson.String:
		if strings.HasPrefix(res.Str, "\x00") {
			return []byte(res.Str), "" // as text, WAMP's JSON would take it for binary in base64
		}
		return res.Str, ""
	case gjson.Number:
		if n, err := strconv.ParseInt(res.Raw, 10, 64); err == nil {
			return n, ""
		}
		f, err := strconv.ParseFloat(res.Raw, 64)
		if err != nil {
			return nil, "out_of_range"
		}
		return f, ""
	case gjson.JSON:
		return nil, "not_scalar"
	}
	if res.Exists() {
		return nil, "null"
	}
	return nil, "missing"
}

// convert applies type, scale and offset. What has a unit and no type is a number.
func (p *mapped) convert(v any) (any, string) {
	kind := p.cfg.Type
	_, whole := v.(int64)
	if p.cfg.Scale != nil || p.cfg.Offset != 0 || kind == "" && p.cfg.Unit != "" && !whole {
		kind = "float"
	}
	switch kind {
	case "float":
		f, ok := number(v)
		if !ok {
			return nil, "not_number"
		}
		if p.cfg.Scale != nil {
			f *= *p.cfg.Scale
		}
		if f += p.cfg.Offset; math.IsInf(f, 0) || math.IsNaN(f) {
			return nil, "out_of_range"
		}
		return f, ""
	case "int":
		if n, ok := v.(int64); ok {
			return n, ""
		}
		if s, ok := v.(string); ok {
			if n, err := strconv.ParseInt(strings.TrimSpace(s), 10, 64); err == nil {
				return n, ""
			}
		}
		f, ok := number(v)
		if !ok {
			return nil, "not_number"
		}
		if f != math.Trunc(f) || math.Abs(f) > 1<<53 {
			return nil, "out_of_range"
		}
		return int64(f), ""
	case "bool":
		return boolean(v)
	case "text":
		switch v := v.(type) {
		case string:
			return v, ""
		case []byte:
			return nil, "not_text"
		}
		return plainText(v), ""
	}
	return v, ""
}

// number reads a finite number.
func number(v any) (float64, bool) {
	switch v := v.(type) {
	case int64:
		return float64(v), true
	case float64:
		return v, true
	case string:
		f, err := strconv.ParseFloat(strings.TrimSpace(v), 64)
		return f, err == nil && !math.IsInf(f, 0) && !math.IsNaN(f)
	}
	return 0, false
}

func boolean(v any) (any, string) {
	switch v := v.(type) {
	case bool:
		return v, ""
	case int64:
		if v == 0 || v == 1 {
			return v == 1, ""
		}
	case string:
		switch strings.ToLower(strings.TrimSpace(v)) {
		case "true", "on", "yes", "1":
			return true, ""
		case "false", "off", "no", "0":
			return false, ""
		}
	}
	return nil, "not_bool"
}

// plainText returns a number or bool as JSON writes it.
func plainText(v any) string {
	switch v := v.(type) {
	case bool:
		return strconv.FormatBool(v)
	case int64:
		return strconv.FormatInt(v, 10)
	case uint64:
		return strconv.FormatUint(v, 10)
	case float64:
		b, _ := serialize.AppendValue(nil, wamp.JSON, v) // finite
		return string(b)
	}
	return ""
}

// jsonMessage reports whether a payload is JSON, within the limits of a message.
func jsonMessage(b []byte) bool { return serialize.Valid(wamp.JSON, b, serialize.Limits{}) == nil }
