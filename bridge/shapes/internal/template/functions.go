package template

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
)

// function is a filter, method or global: of its subject and its arguments.
type function func(v any, args []any) (any, error)

var errArguments = errors.New("wrong arguments")

func arg(args []any, i int) any {
	if i < len(args) {
		return args[i]
	}
	return nil
}

var tests = map[string]func(v any, args []any) bool{
	"defined":   func(v any, _ []any) bool { _, is := v.(undefined); return !is },
	"undefined": func(v any, _ []any) bool { _, is := v.(undefined); return is },
	"none":      func(v any, _ []any) bool { return v == nil },
	"number":    func(v any, _ []any) bool { _, _, ok := number(v); return ok },
	"integer":   func(v any, _ []any) bool { _, ok := v.(int64); return ok },
	"float":     func(v any, _ []any) bool { _, ok := v.(float64); return ok },
	"string":    func(v any, _ []any) bool { _, ok := v.(string); return ok },
	"boolean":   func(v any, _ []any) bool { _, ok := v.(bool); return ok },
	"mapping":   func(v any, _ []any) bool { _, ok := v.(map[string]any); return ok },
	"true":      func(v any, _ []any) bool { return v == true },
	"false":     func(v any, _ []any) bool { return v == false },
	"eq":        func(v any, args []any) bool { return same(v, arg(args, 0)) },
	"match":     fits(true), "search": fits(false),
}

// filters are those after a |; what has a method of the same name is also there.
var filters = map[string]function{
	"int": toInt, "float": toFloat, "round": round, "abs": absolute, "bool": toBool,
	"default": orElse, "d": orElse, "is_defined": defined,
	"lower": textual(strings.ToLower), "upper": textual(strings.ToUpper), "trim": textual(strings.TrimSpace), "capitalize": textual(capital), "title": textual(title),
	"string": textual(func(s string) string { return s }), "replace": replace, "length": length, "count": length,
	"first": func(v any, _ []any) (any, error) { return index(v, int64(0)) },
	"last":  func(v any, _ []any) (any, error) { return index(v, int64(-1)) },
	"join":  join, "split": split, "iif": choose,
	"multiply": func(v any, args []any) (any, error) { return arithmetic("*", v, arg(args, 0)) },
	"add":      func(v any, args []any) (any, error) { return arithmetic("+", v, arg(args, 0)) },
	"tojson":   toJSON, "to_json": toJSON, "from_json": parseJSON,
	"min":         func(v any, _ []any) (any, error) { return extreme(v, nil, "<") },
	"max":         func(v any, _ []any) (any, error) { return extreme(v, nil, ">") },
	"bitwise_and": bitwise(func(a, b int64) int64 { return a & b }), "bitwise_or": bitwise(func(a, b int64) int64 { return a | b }),
	"bitwise_xor": bitwise(func(a, b int64) int64 { return a ^ b }),
	"sum":         sum, "sqrt": squareRoot, "is_number": isNumber, "list": listed, "format": printf,
	"regex_replace": regexReplace, "regex_match": matches(true), "regex_search": matches(false),
	"timestamp_local": instant, "timestamp_utc": instant, "as_datetime": instant,
}

// methods are those of texts and dictionaries.
var methods = map[string]function{
	"lower": textual(strings.ToLower), "upper": textual(strings.ToUpper), "strip": textual(strings.TrimSpace), "capitalize": textual(capital), "title": textual(title),
	"replace": replace, "split": split, "get": get,
	"startswith": affix(strings.HasPrefix), "endswith": affix(strings.HasSuffix),
	"keys": keys, "values": values,
}

var globals = map[string]function{
	"int": toInt, "float": toFloat, "bool": toBool, "iif": choose, "is_number": isNumber, "sqrt": squareRoot, "as_datetime": instant,
	"min": func(v any, args []any) (any, error) { return extreme(v, args, "<") },
	"max": func(v any, args []any) (any, error) { return extreme(v, args, ">") },
}

func isNumber(v any, _ []any) (any, error) {
	_, ok := parseNumber(v)
	return ok, nil
}

// bitwise combines two whole numbers.
func bitwise(f func(a, b int64) int64) function {
	return func(v any, args []any) (any, error) {
		a, aok := parseNumber(v)
		b, bok := parseNumber(arg(args, 0))
		if !aok || !bok || math.Abs(a) >= 1<<62 || math.Abs(b) >= 1<<62 {
			return nil, errArguments
		}
		return f(int64(a), int64(b)), nil
	}
}

func squareRoot(v any, _ []any) (any, error) {
	f, ok := parseNumber(v)
	if !ok || f < 0 {
		return nil, fmt.Errorf("%.40q has no square root", text(v))
	}
	return math.Sqrt(f), nil
}

func sum(v any, _ []any) (any, error) {
	l, ok := v.([]any)
	if !ok {
		return nil, errArguments
	}
	total := any(int64(0))
	for _, x := range l {
		var err error
		if total, err = arithmetic("+", total, x); err != nil {
			return nil, err
		}
	}
	return total, nil
}

// listed is a list as it is, and the letters of a text.
func listed(v any, _ []any) (any, error) {
	switch v := v.(type) {
	case []any:
		return v, nil
	case map[string]any:
		return keys(v, nil)
	case string:
		if len(v) > maxLetters {
			return nil, fmt.Errorf("a list of more than %d letters", maxLetters)
		}
		out := []any{}
		for _, c := range v {
			out = append(out, string(c))
		}
		return out, nil
	}
	return nil, errArguments
}

// maxLetters bounds a text that becomes a list of letters.
const maxLetters = 1024

// keys are those of a dictionary, in the order of the alphabet.
func keys(v any, _ []any) (any, error) {
	m, ok := v.(map[string]any)
	if !ok {
		return nil, errArguments
	}
	out := make([]any, 0, len(m))
	for _, k := range slices.Sorted(maps.Keys(m)) {
		out = append(out, k)
	}
	return out, nil
}

// values are those of a dictionary, in the order of its keys.
func values(v any, _ []any) (any, error) {
	m, ok := v.(map[string]any)
	if !ok {
		return nil, errArguments
	}
	out := make([]any, 0, len(m))
	for _, k := range slices.Sorted(maps.Keys(m)) {
		out = append(out, m[k])
	}
	return out, nil
}

func textual(f func(string) string) function {
	return func(v any, _ []any) (any, error) { return f(text(v)), nil }
}

func affix(f func(s, part string) bool) function {
	return func(v any, args []any) (any, error) { return f(text(v), text(arg(args, 0))), nil }
}

func capital(s string) string {
	if s == "" {
		return s
	}
	return strings.ToUpper(s[:1]) + strings.ToLower(s[1:])
}

func title(s string) string {
	words := strings.Split(s, " ")
	for i := range words {
		words[i] = capital(words[i])
	}
	return strings.Join(words, " ")
}

func toInt(v any, args []any) (any, error) {
	f, ok := parseNumber(v)
	switch {
	case ok && math.Abs(f) < 1<<62:
		return int64(f), nil
	case len(args) > 0:
		return args[0], nil
	}
	return nil, fmt.Errorf("%.40q is no number", text(v))
}

func toFloat(v any, args []any) (any, error) {
	if f, ok := parseNumber(v); ok {
		return f, nil
	}
	if len(args) > 0 {
		return args[0], nil
	}
	return nil, fmt.Errorf("%.40q is no number", text(v))
}

func toBool(v any, args []any) (any, error) {
	switch strings.ToLower(text(v)) {
	case "true", "yes", "on", "enable", "1":
		return true, nil
	case "false", "no", "off", "disable", "0":
		return false, nil
	}
	if len(args) > 0 {
		return args[0], nil
	}
	return nil, fmt.Errorf("%.40q is neither true nor false", text(v))
}

func round(v any, args []any) (any, error) {
	f, ok := parseNumber(v)
	if !ok {
		if len(args) > 2 {
			return args[2], nil
		}
		return nil, fmt.Errorf("%.40q is no number", text(v))
	}
	digits, _, _ := number(arg(args, 0))
	if math.Abs(digits) > 15 {
		return nil, errArguments
	}
	f *= math.Pow(10, digits)
	switch text(arg(args, 1)) {
	case "ceil":
		f = math.Ceil(f)
	case "floor":
		f = math.Floor(f)
	case "half":
		f = math.RoundToEven(f*2) / 2
	default:
		f = math.RoundToEven(f)
	}
	f /= math.Pow(10, digits)
	if digits <= 0 && len(args) > 0 && math.Abs(f) < 1<<62 && text(arg(args, 1)) != "half" {
		return int64(f), nil
	}
	return f, nil
}

func absolute(v any, _ []any) (any, error) {
	if n, ok := v.(int64); ok && n >= 0 {
		return n, nil
	}
	if f, _, ok := number(v); ok && f >= 0 {
		return v, nil
	}
	return arithmetic("-", int64(0), v)
}

func orElse(v any, args []any) (any, error) {
	if _, is := v.(undefined); is || truth(arg(args, 1)) && !truth(v) {
		if len(args) == 0 {
			return "", nil
		}
		return args[0], nil
	}
	return v, nil
}

// defined is Home Assistant's is_defined: the message as a whole says nothing when
// it does not have this.
func defined(v any, _ []any) (any, error) {
	if u, is := v.(undefined); is {
		return nil, fmt.Errorf("%s is %w", u.name, ErrUndefined)
	}
	return v, nil
}

func choose(v any, args []any) (any, error) {
	yes, no := any(true), any(false)
	if len(args) > 0 {
		yes = args[0]
	}
	if len(args) > 1 {
		no = args[1]
	}
	if truth(v) {
		return yes, nil
	}
	return no, nil
}

func replace(v any, args []any) (any, error) {
	s, from, to := text(v), text(arg(args, 0)), text(arg(args, 1))
	if len(args) < 2 {
		return nil, errArguments
	}
	if len(s)+(strings.Count(s, from)+1)*len(to) > maxResult {
		return nil, fmt.Errorf("a text of more than %d bytes", maxResult)
	}
	return strings.ReplaceAll(s, from, to), nil
}

func split(v any, args []any) (any, error) {
	var parts []string
	if sep := text(arg(args, 0)); len(args) > 0 && sep != "" {
		parts = strings.Split(text(v), sep)
	} else {
		parts = strings.Fields(text(v))
	}
	out := make([]any, len(parts))
	for i, s := range parts {
		out[i] = s
	}
	return out, nil
}

func join(v any, args []any) (any, error) {
	l, ok := v.([]any)
	if !ok {
		return nil, errArguments
	}
	sep := ""
	if len(args) > 0 {
		sep = text(args[0])
	}
	var b strings.Builder
	for i, x := range l {
		if i > 0 {
			b.WriteString(sep)
		}
		b.WriteString(text(x))
		if b.Len() > maxResult {
			return nil, fmt.Errorf("a text of more than %d bytes", maxResult)
		}
	}
	return b.String(), nil
}

func length(v any, _ []any) (any, error) {
	switch v := v.(type) {
	case string:
		return int64(len([]rune(v))), nil
	case []any:
		return int64(len(v)), nil
	case map[string]any:
		return int64(len(v)), nil
	}
	return int64(0), nil
}

func get(v any, args []any) (any, error) {
	m, ok := v.(map[string]any)
	if !ok || len(args) == 0 {
		return nil, errArguments
	}
	if x, ok := m[text(args[0])]; ok {
		return x, nil
	}
	return arg(args, 1), nil
}

func toJSON(v any, _ []any) (any, error) {
	b, err := json.Marshal(v)
	return string(b), err
}

func parseJSON(v any, _ []any) (any, error) { return Decode([]byte(text(v))) }

func extreme(v any, args []any, op string) (any, error) {
	l, ok := v.([]any)
	if !ok {
		l = append([]any{v}, args...)
	}
	if len(l) == 0 {
		return nil, errArguments
	}
	best := l[0]
	for _, x := range l[1:] {
		better, err := compare(op, x, best)
		if err != nil {
			return nil, err
		}
		if better == true {
			best = x
		}
	}
	return best, nil
}

// index returns an item of a list or text, or the value of a key.
func index(of, key any) (any, error) {
	n, _, numeric := number(key)
	at := func(length int) (int, bool) {
		i := int(max(min(n, 1<<30), -1<<30))
		if i < 0 {
			i += length
		}
		return i, numeric && i >= 0 && i < length
	}
	switch v := of.(type) {
	case map[string]any:
		if x, ok := v[text(key)]; ok {
			return x, nil
		}
	case []any:
		if i, ok := at(len(v)); ok {
			return v[i], nil
		}
	case string:
		if i, ok := at(len(v)); ok {
			return v[i : i+1], nil
		}
	case undefined:
		return nil, fmt.Errorf("%s is %w", v.name, ErrUndefined)
	}
	return undefined{text(key)}, nil
}

// slice returns the items of a list or text from one place up to another; nil = the end.
func slice(of, from, to any) (any, error) {
	length := 0
	s, isText := of.(string)
	l, isList := of.([]any)
	switch {
	case isText:
		length = len(s)
	case isList:
		length = len(l)
	default:
		return nil, fmt.Errorf("%.40q is neither a text nor a list", text(of))
	}
	at := func(v any, otherwise int) int {
		f, _, ok := number(v)
		if !ok {
			return otherwise
		}
		i := int(max(min(f, 1<<30), -1<<30))
		if i < 0 {
			i += length
		}
		return max(min(i, length), 0)
	}
	i, j := at(from, 0), at(to, length)
	j = max(i, j)
	if isText {
		return strings.ToValidUTF8(s[i:j], ""), nil
	}
	return l[i:j:j], nil
}

func compare(op string, a, b any) (any, error) {
	switch op {
	case "==":
		return same(a, b), nil
	case "!=":
		return !same(a, b), nil
	case "in", "not in":
		return contains(b, a) == (op == "in"), nil
	}
	var order int
	x, _, xok := number(a)
	y, _, yok := number(b)
	s, sok := a.(string)
	t, tok := b.(string)
	switch {
	case xok && yok && x < y, sok && tok && s < t:
		order = -1
	case xok && yok && x > y, sok && tok && s > t:
		order = 1
	case xok && yok, sok && tok:
	default:
		return nil, fmt.Errorf("%.20q and %.20q cannot be compared", text(a), text(b))
	}
	switch op {
	case "<":
		return order < 0, nil
	case "<=":
		return order <= 0, nil
	case ">":
		return order > 0, nil
	}
	return order >= 0, nil
}

func contains(in, v any) bool {
	switch in := in.(type) {
	case []any:
		for _, x := range in {
			if same(x, v) {
				return true
			}
		}
	case map[string]any:
		_, ok := in[text(v)]
		return ok
	case string:
		return strings.Contains(in, text(v))
	}
	return false
}

func arithmetic(op string, a, b any) (any, error) {
	if op == "~" {
		s := text(a) + text(b)
		if len(s) > maxResult {
			return nil, fmt.Errorf("a text of more than %d bytes", maxResult)
		}
		return s, nil
	}
	if s, ok := a.(string); ok && op == "+" {
		if _, ok := b.(string); ok {
			return arithmetic("~", s, b)
		}
	} else if ok && op == "%" {
		if l, ok := b.([]any); ok {
			return printf(s, l)
		}
		return printf(s, []any{b})
	}
	x, xi, xok := number(a)
	y, yi, yok := number(b)
	if !xok || !yok {
		return nil, fmt.Errorf("%.20q %s %.20q: not numbers", text(a), op, text(b))
	}
	var f float64
	whole := xi && yi
	switch op {
	case "+":
		f = x + y
	case "-":
		f = x - y
	case "*":
		f = x * y
	case "**":
		f = math.Pow(x, y)
		whole = whole && y >= 0
	default:
		if y == 0 {
			return nil, errors.New("division by zero")
		}
		switch op {
		case "/":
			f, whole = x/y, false
		case "//":
			f = math.Floor(x / y)
		case "%":
			f = x - y*math.Floor(x/y)
		}
	}
	switch {
	case math.IsNaN(f) || math.IsInf(f, 0):
		return nil, errors.New("the number is too large")
	case whole && math.Abs(f) < 1<<53:
		return int64(f), nil
	}
	return f, nil
}
