package template

import (
	"fmt"
	"strings"
)

// kind is the kind of a token.
type kind uint8

const (
	end kind = iota
	word
	integer
	float
	quoted
	sign
)

type token struct {
	kind kind
	text string // of quoted: what it stands for
}

// signs are the operators, the longer ones first.
var signs = []string{"**", "//", "==", "!=", "<=", ">=", "<", ">", "+", "-", "*", "/", "%", "~", "|", "(", ")", "[", "]", "{", "}", ",", ":", ".", "="}

// lex takes an expression apart.
func lex(s string) ([]token, error) {
	var out []token
	for i := 0; i < len(s); {
		c := s[i]
		switch {
		case c == ' ' || c == '\t' || c == '\n' || c == '\r':
			i++
		case letter(c):
			n := span(s[i:], func(c byte) bool { return letter(c) || digit(c) })
			out = append(out, token{word, s[i : i+n]})
			i += n
		case digit(c):
			t, n := numeral(s[i:])
			out = append(out, t)
			i += n
		case c == '\'' || c == '"':
			t, n, err := quotation(s[i:])
			if err != nil {
				return nil, err
			}
			out = append(out, token{quoted, t})
			i += n
		default:
			op := ""
			for _, o := range signs {
				if strings.HasPrefix(s[i:], o) {
					op = o
					break
				}
			}
			if op == "" {
				return nil, fmt.Errorf("unexpected character %q", c)
			}
			out = append(out, token{sign, op})
			i += len(op)
		}
	}
	return out, nil
}

func letter(c byte) bool { return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c == '_' }
func digit(c byte) bool  { return c >= '0' && c <= '9' }

func span(s string, in func(byte) bool) int {
	n := 0
	for n < len(s) && in(s[n]) {
		n++
	}
	return n
}

func numeral(s string) (token, int) {
	n := span(s, digit)
	k := integer
	if n+1 < len(s) && s[n] == '.' && digit(s[n+1]) {
		k = float
		n += 1 + span(s[n+1:], digit)
	}
	if n < len(s) && (s[n] == 'e' || s[n] == 'E') {
		m := n + 1
		if m < len(s) && (s[m] == '+' || s[m] == '-') {
			m++
		}
		if d := span(s[m:], digit); d > 0 {
			k, n = float, m+d
		}
	}
	return token{k, s[:n]}, n
}

func quotation(s string) (string, int, error) {
	var b strings.Builder
	for i := 1; i < len(s); i++ {
		switch c := s[i]; {
		case c == s[0]:
			return b.String(), i + 1, nil
		case c == '\\' && i+1 < len(s):
			i++
			switch s[i] {
			case 'n':
				b.WriteByte('\n')
			case 't':
				b.WriteByte('\t')
			case '\\', '\'', '"':
				b.WriteByte(s[i])
			default:
				b.WriteByte('\\')
				b.WriteByte(s[i])
			}
		default:
			b.WriteByte(c)
		}
	}
	return "", 0, fmt.Errorf("a text is not closed")
}
