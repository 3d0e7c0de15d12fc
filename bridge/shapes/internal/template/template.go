package template

import (
	"errors"
	"fmt"
	"strings"
)

// MaxSource is the longest template in bytes.
const MaxSource = 8 << 10

// maxResult bounds each text that is made on the way, in bytes.
const maxResult = 64 << 10

// ErrUndefined says that what the template asks for is not in the variables.
var ErrUndefined = errors.New("undefined")

// Template is a compiled template. It does not change and may be shared.
type Template struct {
	parts []part
}

// part is a text, an expression, an assignment, or branches.
type part struct {
	text     string
	expr     node   // nil = text, or branches
	assign   string // the variable that expr is assigned to
	branches []branch
}

// branch is a part of {% if %}; cond nil = else.
type branch struct {
	cond node
	body []part
}

// env is the surroundings of one evaluation.
type env struct{ vars map[string]any }

// all evaluates nodes in their order.
func (e *env) all(nodes []node) ([]any, error) {
	out := make([]any, len(nodes))
	for i, n := range nodes {
		v, err := n(e)
		if err != nil {
			return nil, err
		}
		out[i] = v
	}
	return out, nil
}

// bounded refuses texts that have become too long.
func (e *env) bounded(v any, err error) (any, error) {
	if s, ok := v.(string); ok && len(s) > maxResult {
		return nil, fmt.Errorf("a text of more than %d bytes", maxResult)
	}
	return v, err
}

// maxMade bounds each list or dictionary that is made on the way: the bytes of all texts in it, and
// 8 for each value.
const maxMade = 4 * maxResult

// made refuses a list or dictionary that has become too large: those in it may be the same one many
// times, which as a text is without a bound.
func made(v any) (any, error) {
	if left := weigh(v, maxMade); left < 0 {
		return nil, fmt.Errorf("a list of more than %d bytes", maxMade)
	}
	return v, nil
}

// weigh returns what is left of a bound behind a value, something negative if it is too large.
func weigh(v any, left int) int {
	left -= 8
	switch v := v.(type) {
	case string:
		left -= len(v)
	case []any:
		for i := 0; i < len(v) && left >= 0; i++ {
			left = weigh(v[i], left)
		}
	case map[string]any:
		for k, x := range v {
			if left = weigh(x, left-len(k)); left < 0 {
				break
			}
		}
	}
	return left
}

// Compile reads a template of at most MaxSource bytes.
func Compile(source string) (*Template, error) {
	if len(source) > MaxSource {
		return nil, fmt.Errorf("the template has %d bytes; allowed: up to %d", len(source), MaxSource)
	}
	r := &reader{rest: source}
	parts, stop, err := r.parts(0)
	if err == nil && stop != "" {
		err = fmt.Errorf("{%% %.40s %%} without an if", stop)
	}
	if err != nil {
		return nil, err
	}
	return &Template{parts}, nil
}

// Render evaluates the template. vars are nil, bool, int64, float64, string, and
// lists and maps of them, as Decode returns; they are not changed. A template that
// is one expression and nothing else has that value; otherwise the result is a text.
// The error is ErrUndefined where a lone expression names what is not there.
func (t *Template) Render(vars map[string]any) (any, error) {
	own := make(map[string]any, len(vars)+2)
	for k, v := range vars {
		own[k] = v
	}
	e := &env{own}
	values, err := e.run(t.parts)
	if err != nil {
		return nil, err
	}
	if len(values) == 1 {
		if u, ok := values[0].(undefined); ok {
			return nil, fmt.Errorf("%s is %w", u.name, ErrUndefined)
		}
		return values[0], nil
	}
	var b strings.Builder
	for _, v := range values {
		b.WriteString(text(v))
		if b.Len() > maxResult {
			return nil, fmt.Errorf("a text of more than %d bytes", maxResult)
		}
	}
	return strings.TrimSpace(b.String()), nil
}

// run evaluates parts and returns the values written, blank texts left out.
func (e *env) run(parts []part) ([]any, error) {
	var out []any
	for i := range parts {
		p := &parts[i]
		switch {
		case p.branches != nil:
			values, err := e.choose(p.branches)
			if err != nil {
				return nil, err
			}
			out = append(out, values...)
		case p.expr == nil:
			if strings.TrimSpace(p.text) != "" || len(parts) == 1 {
				out = append(out, p.text)
			}
		default:
			v, err := p.expr(e)
			if err != nil {
				return nil, err
			}
			if p.assign != "" {
				e.vars[p.assign] = v
				continue
			}
			out = append(out, v)
		}
	}
	return out, nil
}

func (e *env) choose(branches []branch) ([]any, error) {
	for _, b := range branches {
		if b.cond != nil {
			v, err := b.cond(e)
			if err != nil {
				return nil, err
			}
			if !truth(v) {
				continue
			}
		}
		return e.run(b.body)
	}
	return nil, nil
}

// reader takes a template apart.
type reader struct{ rest string }

// parts reads up to the end, or to a statement that ends or continues an if, which
// it returns.
func (r *reader) parts(depth int) (out []part, stop string, err error) {
	if depth > maxDepth {
		return nil, "", fmt.Errorf("more than %d conditions in each other", maxDepth)
	}
	for r.rest != "" {
		i := strings.IndexByte(r.rest, '{')
		if i < 0 || i+1 == len(r.rest) {
			break
		}
		opening := r.rest[i : i+2]
		closing := map[string]string{"{{": "}}", "{%": "%}", "{#": "#}"}[opening]
		if closing == "" {
			out = append(out, part{text: r.rest[:i+1]})
			r.rest = r.rest[i+1:]
			continue
		}
		if i > 0 {
			out = append(out, part{text: r.rest[:i]})
		}
		inside, err := r.inside(i+2, closing)
		if err != nil {
			return nil, "", err
		}
		switch opening {
		case "{{":
			n, err := parse(inside)
			if err != nil {
				return nil, "", err
			}
			out = append(out, part{expr: n})
		case "{%":
			p, stop, err := r.statement(inside, depth)
			if err != nil || stop != "" {
				return out, stop, err
			}
			out = append(out, p)
		}
	}
	if r.rest != "" {
		out = append(out, part{text: r.rest})
		r.rest = ""
	}
	return out, "", nil
}

// inside returns what is between the brackets and goes on behind them. Brackets in
// quotation marks are text.
func (r *reader) inside(from int, closing string) (string, error) {
	quote, open := byte(0), 0
	for i := from; i+1 < len(r.rest); i++ {
		c := r.rest[i]
		switch {
		case quote != 0 && c == '\\':
			i++
		case quote != 0:
			if c == quote {
				quote = 0
			}
		case closing != "#}" && (c == '\'' || c == '"'):
			quote = c
		case closing == "}}" && c == '{':
			open++
		case closing == "}}" && c == '}' && open > 0:
			open--
		case r.rest[i:i+2] == closing:
			s := r.rest[from:i]
			r.rest = r.rest[i+2:]
			return strings.TrimSuffix(strings.TrimPrefix(s, "-"), "-"), nil
		}
	}
	return "", fmt.Errorf("%s is missing", closing)
}

// statement reads what a {% %} begins.
func (r *reader) statement(s string, depth int) (part, string, error) {
	s = strings.TrimSpace(s)
	head, rest, _ := strings.Cut(s, " ")
	switch head {
	case "elif", "else", "endif":
		return part{}, s, nil
	case "set":
		name, value, ok := strings.Cut(rest, "=")
		name = strings.TrimSpace(name)
		if !ok || name == "" || !letter(name[0]) || span(name, func(c byte) bool { return letter(c) || digit(c) }) != len(name) {
			return part{}, "", fmt.Errorf("{%% set %%} of one name is allowed")
		}
		n, err := parse(value)
		return part{expr: n, assign: name}, "", err
	case "if":
		return r.condition(rest, depth)
	}
	return part{}, "", fmt.Errorf("unknown statement %.40q", head)
}

func (r *reader) condition(cond string, depth int) (part, string, error) {
	var p part
	for {
		b := branch{}
		var err error
		if cond != "" {
			if b.cond, err = parse(cond); err != nil {
				return p, "", err
			}
		}
		var stop string
		if b.body, stop, err = r.parts(depth + 1); err != nil {
			return p, "", err
		}
		p.branches = append(p.branches, b)
		head, rest, _ := strings.Cut(stop, " ")
		switch {
		case head == "endif":
			return p, "", nil
		case head == "elif" && b.cond != nil && rest != "":
			cond = rest
		case head == "else" && b.cond != nil:
			cond = ""
		default:
			return p, "", fmt.Errorf("{%% endif %%} is missing")
		}
	}
}
