package template

import (
	"fmt"
	"math"
	"regexp"
	"regexp/syntax"
	"strings"
	"time"
)

// maxPattern bounds a regular expression, and maxWidth the width and precision of a
// formatted value.
const (
	maxPattern = 512
	maxWidth   = 64
)

// maxSearch bounds the work of a regular expression, which is the size of its program times that
// of the text. What it finds takes 8 bytes for each of them at most.
const maxSearch = 1 << 20

// pattern compiles a regular expression for a text. Those of Python that RE2 does not have, such as
// back references, are an error.
func pattern(v any, subject string) (*regexp.Regexp, error) {
	s := text(v)
	if len(s) > maxPattern {
		return nil, fmt.Errorf("a regular expression of more than %d bytes", maxPattern)
	}
	tree, err := syntax.Parse(s, syntax.Perl)
	if err != nil {
		return nil, err
	}
	program, err := syntax.Compile(tree.Simplify())
	if err != nil {
		return nil, err
	}
	if len(program.Inst)*(len(subject)+1) > maxSearch {
		return nil, fmt.Errorf("too large a regular expression for a text of %d bytes", len(subject))
	}
	return regexp.Compile(s)
}

// matches reports whether a regular expression fits anywhere, or at the beginning.
func matches(begin bool) function {
	return func(v any, args []any) (any, error) {
		s := text(v)
		re, err := pattern(arg(args, 0), s)
		if err != nil {
			return nil, err
		}
		at := re.FindStringIndex(s)
		return at != nil && (at[0] == 0 || !begin), nil
	}
}

// fits is matches as a test; an expression that is none fits nothing.
func fits(begin bool) func(v any, args []any) bool {
	f := matches(begin)
	return func(v any, args []any) bool {
		ok, err := f(v, args)
		return err == nil && ok == true
	}
}

// group is a reference to a group in a replacement, as Python writes it.
var group = regexp.MustCompile(`\\(\d)`)

func regexReplace(v any, args []any) (any, error) {
	s, to := text(v), text(arg(args, 1))
	re, err := pattern(arg(args, 0), s)
	if err != nil {
		return nil, err
	}
	if len(args) < 2 {
		to = ""
	}
	to = group.ReplaceAllString(strings.ReplaceAll(to, "$", "$$"), "$${$1}")
	var out []byte
	end := 0
	for _, m := range re.FindAllStringSubmatchIndex(s, -1) {
		out = re.ExpandString(append(out, s[end:m[0]]...), to, s, m)
		if end = m[1]; len(out) > maxResult {
			return nil, fmt.Errorf("a text of more than %d bytes", maxResult)
		}
	}
	return string(append(out, s[end:]...)), nil
}

// directive is a % and what follows of it in a format.
var directive = regexp.MustCompile(`%([-+ 0#]*)(\d{0,3})(\.\d{1,3})?([a-zA-Z%])`)

// printf formats values as Python's % does: %s, %d, %f, %x and their like.
func printf(v any, args []any) (any, error) {
	format, used := text(v), 0
	size := len(format)
	var fault error
	out := directive.ReplaceAllStringFunc(format, func(d string) string {
		if d == "%%" || fault != nil {
			return "%"
		}
		m := directive.FindStringSubmatch(d)
		if used >= len(args) || number10(m[2]) > maxWidth || number10(strings.TrimPrefix(m[3], ".")) > maxWidth {
			fault = errArguments
			return ""
		}
		x := args[used]
		used++
		spec := "%" + m[1] + m[2] + m[3]
		f, isNumber := parseNumber(x)
		switch verb := m[4]; {
		case verb == "s":
			s := text(x)
			if size += len(s); size > maxResult {
				fault = fmt.Errorf("a text of more than %d bytes", maxResult)
				return ""
			}
			return fmt.Sprintf(spec+"s", s)
		case !isNumber:
			fault = fmt.Errorf("%.40q is no number", text(x))
		case strings.Contains("di", verb) && math.Abs(f) < 1<<62:
			return fmt.Sprintf(spec+"d", int64(f))
		case strings.Contains("xXo", verb) && math.Abs(f) < 1<<62:
			return fmt.Sprintf(spec+verb, int64(f))
		case strings.Contains("fFeEgG", verb):
			return fmt.Sprintf(spec+verb, f)
		default:
			fault = fmt.Errorf("%q is no format", d)
		}
		return ""
	})
	if fault == nil && used < len(args) {
		fault = errArguments
	}
	return out, fault
}

// number10 reads digits; none are 0.
func number10(s string) (n int) {
	for _, c := range s {
		n = n*10 + int(c-'0')
	}
	return n
}

// instant is a time, given as seconds since 1970 or as a text, in RFC 3339. Always UTC:
// whoever reads the value knows its own zone.
func instant(v any, args []any) (any, error) {
	if f, ok := parseNumber(v); ok && math.Abs(f) < 1<<37 {
		return time.UnixMicro(int64(math.Round(f * 1e6))).UTC().Format(time.RFC3339Nano), nil
	}
	if t, err := time.Parse(time.RFC3339Nano, strings.Replace(text(v), " ", "T", 1)); err == nil {
		return t.UTC().Format(time.RFC3339Nano), nil
	}
	if len(args) > 0 {
		return args[0], nil
	}
	return nil, fmt.Errorf("%.40q is no time", text(v))
}
