package serialize

import (
	"encoding/binary"
	"math/bits"
	"unicode/utf8"
)

const (
	errJSONSyntax    = fault("unexpected character")
	errJSONControl   = fault("control character in text")
	errJSONEscape    = fault("bad escape in text")
	errJSONSurrogate = fault("unpaired surrogate in text")
	errJSONNumber    = fault("malformed number")
)

// Masks to look at eight bytes at once.
const (
	lowBits  = 0x0101010101010101
	highBits = 0x8080808080808080
)

// skipSpace returns the index of the first byte from i on that is no white space.
func skipSpace(b []byte, i int) int {
	for i < len(b) && (b[i] == ' ' || b[i] == '\n' || b[i] == '\r' || b[i] == '\t') {
		i++
	}
	return i
}

// special marks, in the high bit of each byte, the first byte of x that needs a
// look inside a JSON text: control characters, quote, backslash, non-ASCII. Marks
// above the first may be wrong (borrows), which is why only the first is used.
func special(x uint64) uint64 {
	quote, escape := x^(lowBits*'"'), x^(lowBits*'\\')
	return ((x - lowBits*0x20) | (quote - lowBits) | (escape - lowBits) | x) & highBits
}

// skipText proves the text that begins at i, behind its opening quote, and
// returns the index behind the closing quote.
func skipText(b []byte, i int) (int, error) {
	for {
		for i+8 <= len(b) {
			if m := special(binary.LittleEndian.Uint64(b[i:])); m != 0 {
				i += bits.TrailingZeros64(m) >> 3
				break
			}
			i += 8
		}
		if i >= len(b) {
			return i, errTruncated
		}
		switch c := b[i]; {
		case c == '"':
			return i + 1, nil
		case c == '\\':
			var err error
			if i, err = skipEscape(b, i+1); err != nil {
				return i, err
			}
		case c < ' ':
			return i, errJSONControl
		case c < utf8.RuneSelf:
			i++
		default:
			for i < len(b) && b[i] >= utf8.RuneSelf {
				r, n := utf8.DecodeRune(b[i:])
				if r == utf8.RuneError && n == 1 {
					return i, errUTF8
				}
				i += n
			}
		}
	}
}

// skipEscape proves the escape whose letter, behind the backslash, is at i. A
// surrogate must come as a pair: half of one has no UTF-8 form.
func skipEscape(b []byte, i int) (int, error) {
	if i >= len(b) {
		return i, errTruncated
	}
	switch b[i] {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		return i + 1, nil
	case 'u':
	default:
		return i, errJSONEscape
	}
	r, ok := hex4(b, i+1)
	if !ok {
		return i, errJSONEscape
	}
	i += 5
	if r < 0xD800 || r > 0xDFFF {
		return i, nil
	}
	if r > 0xDBFF || i+1 >= len(b) || b[i] != '\\' || b[i+1] != 'u' {
		return i, errJSONSurrogate
	}
	if r, ok = hex4(b, i+2); !ok || r < 0xDC00 || r > 0xDFFF {
		return i, errJSONSurrogate
	}
	return i + 6, nil
}

func hex4(b []byte, i int) (rune, bool) {
	if i+4 > len(b) {
		return 0, false
	}
	var r rune
	for _, c := range b[i : i+4] {
		switch {
		case c >= '0' && c <= '9':
			c -= '0'
		case c >= 'a' && c <= 'f':
			c -= 'a' - 10
		case c >= 'A' && c <= 'F':
			c -= 'A' - 10
		default:
			return 0, false
		}
		r = r<<4 | rune(c)
	}
	return r, true
}

func skipDigits(b []byte, i int) int {
	for i < len(b) && b[i]-'0' < 10 {
		i++
	}
	return i
}

// skipNumber proves the number at i and tells whether it is written as an
// integer, without fraction and exponent.
func skipNumber(b []byte, i int) (end int, integer bool, err error) {
	if b[i] == '-' {
		i++
	}
	start := i
	if i = skipDigits(b, i); i == start || b[start] == '0' && i > start+1 {
		return i, false, errJSONNumber
	}
	integer = true
	if i < len(b) && b[i] == '.' {
		integer, start = false, i+1
		if i = skipDigits(b, start); i == start {
			return i, false, errJSONNumber
		}
	}
	if i < len(b) && b[i]|0x20 == 'e' {
		if i++; i < len(b) && (b[i] == '+' || b[i] == '-') {
			i++
		}
		integer, start = false, i
		if i = skipDigits(b, start); i == start {
			return i, false, errJSONNumber
		}
	}
	return i, integer, nil
}

func skipWord(b []byte, i int, word string) (int, error) {
	if len(b)-i < len(word) || string(b[i:i+len(word)]) != word {
		return i, errJSONSyntax
	}
	return i + len(word), nil
}

// skipScalar proves the value at i, which is neither array nor object.
func skipScalar(b []byte, i int) (int, error) {
	switch c := b[i]; {
	case c == '"':
		return skipText(b, i+1)
	case c == '-' || c-'0' < 10:
		end, _, err := skipNumber(b, i)
		return end, err
	case c == 't':
		return skipWord(b, i, "true")
	case c == 'f':
		return skipWord(b, i, "false")
	case c == 'n':
		return skipWord(b, i, "null")
	}
	return i, errJSONSyntax
}

// skipKey proves an object's key at i and the colon behind it.
func skipKey(b []byte, i int) (int, error) {
	i = skipSpace(b, i)
	if i >= len(b) {
		return i, errTruncated
	}
	if b[i] != '"' {
		return i, errKey
	}
	i, err := skipText(b, i+1)
	if err != nil {
		return i, err
	}
	if i = skipSpace(b, i); i >= len(b) || b[i] != ':' {
		return i, errJSONSyntax
	}
	return i + 1, nil
}

// json proves the value at i and returns its end. It is a loop with one bit of
// state per level instead of a recursion, so that depth costs no stack.
func (w *walk) json(b []byte, i int) (int, error) {
	var dicts uint64 // bit per level, innermost lowest: object
	var err error
	depth := 0
	for {
		if i = skipSpace(b, i); i >= len(b) {
			return i, errTruncated
		}
		if c := b[i]; c == '[' || c == '{' {
			if depth == w.depth {
				return i, errDepth
			}
			w.open(depth)
			depth++
			dicts <<= 1
			if c == '{' {
				dicts |= 1
			}
			if i = skipSpace(b, i+1); i >= len(b) {
				return i, errTruncated
			}
			if b[i] != c+2 { // not "]" or "}": there is a first item
				if !w.item(depth - 1) {
					return i, errElements
				}
				if c == '{' {
					if i, err = skipKey(b, i); err != nil {
						return i, err
					}
				}
				continue
			}
		} else if i, err = skipScalar(b, i); err != nil {
			return i, err
		}
		// A value, or an opening bracket whose closing one is at i, is behind us.
		for {
			if depth == 0 {
				return i, nil
			}
			if i = skipSpace(b, i); i >= len(b) {
				return i, errTruncated
			}
			if b[i] == ',' {
				break
			}
			if b[i] != ']'+byte(dicts&1)*('}'-']') {
				return i, errJSONSyntax
			}
			i++
			depth--
			dicts >>= 1
		}
		i++
		if !w.item(depth - 1) {
			return i, errElements
		}
		if dicts&1 == 1 {
			if i, err = skipKey(b, i); err != nil {
				return i, err
			}
		}
	}
}

// unescape appends the text that the proven literal s, without its quotes,
// stands for.
func unescape(dst, s []byte) []byte {
	for i := 0; i < len(s); {
		if s[i] != '\\' {
			j := i + 1
			for j < len(s) && s[j] != '\\' {
				j++
			}
			dst = append(dst, s[i:j]...)
			i = j
			continue
		}
		switch c := s[i+1]; c {
		case 'b':
			dst = append(dst, '\b')
		case 'f':
			dst = append(dst, '\f')
		case 'n':
			dst = append(dst, '\n')
		case 'r':
			dst = append(dst, '\r')
		case 't':
			dst = append(dst, '\t')
		case 'u':
			r, _ := hex4(s, i+2)
			i += 4
			if r >= 0xD800 && r <= 0xDBFF {
				low, _ := hex4(s, i+4)
				r = (r-0xD800)<<10 + (low - 0xDC00) + 0x10000
				i += 6
			}
			dst = utf8.AppendRune(dst, r)
		default:
			dst = append(dst, c)
		}
		i += 2
	}
	return dst
}

// appendQuoted appends s, which is valid UTF-8, as a JSON text.
func appendQuoted(dst []byte, s string) []byte {
	const hexDigits = "0123456789abcdef"
	dst = append(dst, '"')
	start := 0
	for i := 0; i < len(s); i++ {
		c := s[i]
		if c >= ' ' && c != '"' && c != '\\' {
			continue
		}
		dst = append(dst, s[start:i]...)
		switch c {
		case '"', '\\':
			dst = append(dst, '\\', c)
		case '\n':
			dst = append(dst, '\\', 'n')
		case '\r':
			dst = append(dst, '\\', 'r')
		case '\t':
			dst = append(dst, '\\', 't')
		default:
			dst = append(dst, '\\', 'u', '0', '0', hexDigits[c>>4], hexDigits[c&15])
		}
		start = i + 1
	}
	dst = append(dst, s[start:]...)
	return append(dst, '"')
}
