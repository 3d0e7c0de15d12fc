package natslink

import (
	"strings"

	"gantry/wamp"
)

const upperHex = "0123456789ABCDEF"

// literal reports whether c stands for itself in a subject: * and > are wildcards,
// white space and controls end one in the protocol, and % begins what is escaped.
func literal(c byte) bool { return c > ' ' && c != 0x7f && c != '*' && c != '>' && c != '%' }

// subject returns the subject that stands for a URI: the same text, with the characters
// that a subject cannot hold as %XX. Different URIs have different subjects.
func subject(u wamp.URI) string {
	escapes := 0
	for i := range len(u) {
		if !literal(u[i]) {
			escapes++
		}
	}
	if escapes == 0 {
		return string(u)
	}
	var b strings.Builder
	b.Grow(len(u) + 2*escapes)
	for i := range len(u) {
		if c := u[i]; literal(c) {
			b.WriteByte(c)
		} else {
			b.WriteByte('%')
			b.WriteByte(upperHex[c>>4])
			b.WriteByte(upperHex[c&15])
		}
	}
	return b.String()
}

// uri undoes subject; ok is false for a subject that subject does not make.
func uri(s string) (u wamp.URI, ok bool) {
	if !strings.Contains(s, "%") {
		return wamp.URI(s), true
	}
	b := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		c := s[i]
		if c == '%' {
			if i+2 >= len(s) {
				return "", false
			}
			hi, lo := strings.IndexByte(upperHex, s[i+1]), strings.IndexByte(upperHex, s[i+2])
			if hi < 0 || lo < 0 {
				return "", false
			}
			if c = byte(hi<<4 | lo); literal(c) {
				return "", false
			}
			i += 2
		}
		b = append(b, c)
	}
	return wamp.URI(b), true
}
