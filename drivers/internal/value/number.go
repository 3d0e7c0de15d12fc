package value

import "strings"

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
