package value

import (
	"encoding/json"
	"math"
	"strings"
)

// IsFloat reports whether s is a decimal number: sign, digits with or without a
// point, exponent. strconv alone would take hexadecimal, underscores, inf and nan.
func IsFloat(s string) bool {
	s = unsign(s)
	whole, rest := digits(s)
	fraction := 0
	if strings.HasPrefix(rest, ".") {
		fraction, rest = digits(rest[1:])
	}
	if whole+fraction == 0 {
		return false
	}
	if rest != "" && (rest[0] == 'e' || rest[0] == 'E') {
		n, after := digits(unsign(rest[1:]))
		return n > 0 && after == ""
	}
	return rest == ""
}

// IsInt reports whether s is an integer: sign, digits.
func IsInt(s string) bool {
	n, rest := digits(unsign(s))
	return n > 0 && rest == ""
}

// unsign returns s without its sign.
func unsign(s string) string {
	if s != "" && (s[0] == '+' || s[0] == '-') {
		return s[1:]
	}
	return s
}

func digits(s string) (n int, rest string) {
	for n < len(s) && s[n] >= '0' && s[n] <= '9' {
		n++
	}
	return n, s[n:]
}

// Float64 returns the number that v, a value from a caller, is.
func Float64(v any) (float64, bool) {
	switch v := v.(type) {
	case float64:
		return v, true
	case float32:
		return float64(v), true
	case json.Number:
		n, err := v.Float64()
		return n, err == nil
	}
	n, ok := Int64(v)
	return float64(n), ok
}

// Int64 returns the integer that v, a value from a caller, is: also a float without
// fraction, since JSON has one kind of number.
func Int64(v any) (int64, bool) {
	switch v := v.(type) {
	case int64:
		return v, true
	case int:
		return int64(v), true
	case int32:
		return int64(v), true
	case uint64:
		return int64(v), v <= math.MaxInt64
	case float64:
		// JSON has one kind of number. Beyond 2^53 neighbours are not told apart.
		return int64(v), v == math.Trunc(v) && math.Abs(v) <= 1<<53
	case json.Number:
		n, err := v.Int64()
		return n, err == nil
	}
	return 0, false
}
