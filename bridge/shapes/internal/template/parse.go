package template

import (
	"fmt"
	"slices"
	"strconv"
)

// maxDepth bounds expressions in each other.
const maxDepth = 48

// node is a part of an expression.
type node func(e *env) (any, error)

// parser reads one expression.
type parser struct {
	tokens []token
	pos    int
	depth  int
}

func (p *parser) peek() token {
	if p.pos < len(p.tokens) {
		return p.tokens[p.pos]
	}
	return token{}
}

// take takes the next token if it is one of the signs or words given.
func (p *parser) take(texts ...string) (string, bool) {
	t := p.peek()
	if (t.kind == sign || t.kind == word) && slices.Contains(texts, t.text) {
		p.pos++
		return t.text, true
	}
	return "", false
}

func (p *parser) need(s string) error {
	if _, ok := p.take(s); !ok {
		return p.unexpected("\"" + s + "\"")
	}
	return nil
}

func (p *parser) unexpected(wanted string) error {
	if t := p.peek(); t.kind != end {
		return fmt.Errorf("%.40q where %s is expected", t.text, wanted)
	}
	return fmt.Errorf("it ends where %s is expected", wanted)
}

// parse compiles an expression.
func parse(s string) (node, error) {
	tokens, err := lex(s)
	if err != nil {
		return nil, err
	}
	p := &parser{tokens: tokens}
	n, err := p.expression()
	if err == nil && p.peek().kind != end {
		err = p.unexpected("the end")
	}
	return n, err
}

// expression: or [if or [else expression]].
func (p *parser) expression() (node, error) {
	if p.depth++; p.depth > maxDepth {
		return nil, fmt.Errorf("more than %d expressions in each other", maxDepth)
	}
	defer func() { p.depth-- }()
	yes, err := p.or()
	if err != nil {
		return nil, err
	}
	if _, ok := p.take("if"); !ok {
		return yes, nil
	}
	cond, err := p.or()
	if err != nil {
		return nil, err
	}
	no := node(func(*env) (any, error) { return undefined{"else"}, nil })
	if _, ok := p.take("else"); ok {
		if no, err = p.expression(); err != nil {
			return nil, err
		}
	}
	return func(e *env) (any, error) {
		c, err := cond(e)
		if err != nil {
			return nil, err
		}
		if truth(c) {
			return yes(e)
		}
		return no(e)
	}, nil
}

func (p *parser) or() (node, error) {
	return p.logic(p.and, "or", func(a bool) bool { return a })
}

func (p *parser) and() (node, error) {
	return p.logic(p.not, "and", func(a bool) bool { return !a })
}

// logic is a chain of and, or or: a value that settles it is the result.
func (p *parser) logic(next func() (node, error), op string, settles func(bool) bool) (node, error) {
	left, err := next()
	if err != nil {
		return nil, err
	}
	for {
		if _, ok := p.take(op); !ok {
			return left, nil
		}
		a := left
		b, err := next()
		if err != nil {
			return nil, err
		}
		left = func(e *env) (any, error) {
			v, err := a(e)
			if err != nil || settles(truth(v)) {
				return v, err
			}
			return b(e)
		}
	}
}

func (p *parser) not() (node, error) {
	times := 0
	for {
		if _, ok := p.take("not"); !ok {
			break
		}
		times++
	}
	n, err := p.comparison()
	if err != nil || times == 0 {
		return n, err
	}
	return func(e *env) (any, error) {
		v, err := n(e)
		return truth(v) == (times%2 == 0), err
	}, nil
}

func (p *parser) comparison() (node, error) {
	left, err := p.binary(0)
	if err != nil {
		return nil, err
	}
	for {
		op, ok := p.take("==", "!=", "<", "<=", ">", ">=", "in", "not", "is")
		if !ok {
			return left, nil
		}
		if op == "is" {
			if left, err = p.test(left); err != nil {
				return nil, err
			}
			continue
		}
		if op == "not" {
			if err := p.need("in"); err != nil {
				return nil, err
			}
			op = "not in"
		}
		right, err := p.binary(0)
		if err != nil {
			return nil, err
		}
		left = both(left, right, func(a, b any) (any, error) { return compare(op, a, b) })
	}
}

// both evaluates two nodes and combines their values.
func both(left, right node, f func(a, b any) (any, error)) node {
	return func(e *env) (any, error) {
		a, err := left(e)
		if err != nil {
			return nil, err
		}
		b, err := right(e)
		if err != nil {
			return nil, err
		}
		return f(a, b)
	}
}

// test: is [not] NAME [argument].
func (p *parser) test(left node) (node, error) {
	_, negated := p.take("not")
	t := p.peek()
	if t.kind != word {
		return nil, p.unexpected("a test")
	}
	p.pos++
	f, ok := tests[t.text]
	if !ok {
		return nil, fmt.Errorf("unknown test %.40q", t.text)
	}
	args := []node{}
	if _, ok := p.take("("); ok {
		var err error
		if args, err = p.arguments(); err != nil {
			return nil, err
		}
	}
	return func(e *env) (any, error) {
		v, err := left(e)
		if err != nil {
			return nil, err
		}
		given, err := e.all(args)
		if err != nil {
			return nil, err
		}
		return f(v, given) != negated, nil
	}, nil
}

// levels are the binary operators, from those that bind least.
var levels = [][]string{{"~"}, {"+", "-"}, {"*", "/", "//", "%"}}

func (p *parser) binary(level int) (node, error) {
	if level == len(levels) {
		return p.unary()
	}
	left, err := p.binary(level + 1)
	if err != nil {
		return nil, err
	}
	for {
		op, ok := p.take(levels[level]...)
		if !ok {
			return left, nil
		}
		right, err := p.binary(level + 1)
		if err != nil {
			return nil, err
		}
		left = both(left, right, func(a, b any) (any, error) { return arithmetic(op, a, b) })
	}
}

func (p *parser) unary() (node, error) {
	minus := false
	for {
		op, ok := p.take("-", "+")
		if !ok {
			break
		}
		minus = minus != (op == "-")
	}
	n, err := p.power()
	if err != nil || !minus {
		return n, err
	}
	return func(e *env) (any, error) {
		v, err := n(e)
		if err != nil {
			return nil, err
		}
		return arithmetic("-", int64(0), v)
	}, nil
}

func (p *parser) power() (node, error) {
	left, err := p.postfix()
	if err != nil {
		return nil, err
	}
	if _, ok := p.take("**"); !ok {
		return left, nil
	}
	right, err := p.postfix()
	if err != nil {
		return nil, err
	}
	return both(left, right, func(a, b any) (any, error) { return arithmetic("**", a, b) }), nil
}

// postfix: primary with attributes, indexes, methods and filters.
func (p *parser) postfix() (node, error) {
	n, err := p.primary()
	for err == nil {
		op, ok := p.take(".", "[", "|")
		if !ok {
			return n, nil
		}
		switch op {
		case ".":
			n, err = p.attribute(n)
		case "[":
			n, err = p.item(n)
		default:
			n, err = p.filter(n)
		}
	}
	return nil, err
}

// item: key], or [from]:[to]].
func (p *parser) item(of node) (node, error) {
	from, to := constant(nil), constant(nil)
	_, open := p.take(":")
	if !open {
		key, err := p.expression()
		if err != nil {
			return nil, err
		}
		if _, open = p.take(":"); !open {
			return both(of, key, index), p.need("]")
		}
		from = key
	}
	if _, ok := p.take("]"); !ok {
		var err error
		if to, err = p.expression(); err != nil {
			return nil, err
		}
		if err := p.need("]"); err != nil {
			return nil, err
		}
	}
	ends := both(from, to, func(a, b any) (any, error) { return []any{a, b}, nil })
	return both(of, ends, func(v, at any) (any, error) { return slice(v, at.([]any)[0], at.([]any)[1]) }), nil
}

func (p *parser) attribute(of node) (node, error) {
	t := p.peek()
	if t.kind != word && t.kind != integer {
		return nil, p.unexpected("a name")
	}
	p.pos++
	if _, ok := p.take("("); !ok {
		key := any(t.text)
		if t.kind == integer {
			key, _ = strconv.ParseInt(t.text, 10, 64)
		}
		return func(e *env) (any, error) {
			v, err := of(e)
			if err != nil {
				return nil, err
			}
			return index(v, key)
		}, nil
	}
	f, ok := methods[t.text]
	if !ok {
		return nil, fmt.Errorf("unknown method %.40q", t.text)
	}
	return p.call(of, f)
}

func (p *parser) filter(of node) (node, error) {
	t := p.peek()
	if t.kind != word {
		return nil, p.unexpected("a filter")
	}
	p.pos++
	f, ok := filters[t.text]
	if !ok {
		return nil, fmt.Errorf("unknown filter %.40q", t.text)
	}
	if _, ok := p.take("("); !ok {
		return applied(of, nil, f), nil
	}
	return p.call(of, f)
}

// call reads arguments up to the closing parenthesis.
func (p *parser) call(of node, f function) (node, error) {
	args, err := p.arguments()
	if err != nil {
		return nil, err
	}
	return applied(of, args, f), nil
}

func applied(of node, args []node, f function) node {
	return func(e *env) (any, error) {
		v, err := of(e)
		if err != nil {
			return nil, err
		}
		given, err := e.all(args)
		if err != nil {
			return nil, err
		}
		return e.bounded(f(v, given))
	}
}

// arguments reads what follows an opening parenthesis. The name of a keyword
// argument is dropped: the functions have few arguments, in a known order.
func (p *parser) arguments() ([]node, error) {
	var out []node
	for {
		if _, ok := p.take(")"); ok {
			return out, nil
		}
		if len(out) > 0 {
			if err := p.need(","); err != nil {
				return nil, err
			}
		}
		if p.pos+1 < len(p.tokens) && p.tokens[p.pos].kind == word && p.tokens[p.pos+1] == (token{sign, "="}) {
			p.pos += 2
		}
		n, err := p.expression()
		if err != nil {
			return nil, err
		}
		out = append(out, n)
	}
}

func constant(v any) node { return func(*env) (any, error) { return v, nil } }

func (p *parser) primary() (node, error) {
	t := p.peek()
	p.pos++
	switch t.kind {
	case integer:
		n, err := strconv.ParseInt(t.text, 10, 64)
		if err != nil {
			return nil, fmt.Errorf("the number %.40s is too large", t.text)
		}
		return constant(n), nil
	case float:
		f, err := strconv.ParseFloat(t.text, 64)
		if err != nil {
			return nil, fmt.Errorf("the number %.40s is too large", t.text)
		}
		return constant(f), nil
	case quoted:
		return constant(t.text), nil
	case word:
		return p.named(t.text)
	case sign:
		switch t.text {
		case "(":
			return p.group()
		case "[":
			return p.list("]")
		case "{":
			return p.dict()
		}
	}
	p.pos--
	return nil, p.unexpected("a value")
}

// group: (expression), or a tuple.
func (p *parser) group() (node, error) {
	n, err := p.expression()
	if err != nil {
		return nil, err
	}
	if _, ok := p.take(","); ok {
		rest, err := p.list(")")
		if err != nil {
			return nil, err
		}
		return both(n, rest, func(a, b any) (any, error) { return made(append([]any{a}, b.([]any)...)) }), nil
	}
	return n, p.need(")")
}

func (p *parser) list(closing string) (node, error) {
	var items []node
	for {
		if _, ok := p.take(closing); ok {
			return func(e *env) (any, error) {
				l, err := e.all(items)
				if err != nil {
					return nil, err
				}
				return made(l)
			}, nil
		}
		if len(items) > 0 {
			if err := p.need(","); err != nil {
				return nil, err
			}
			if _, ok := p.take(closing); ok {
				p.pos--
				continue
			}
		}
		n, err := p.expression()
		if err != nil {
			return nil, err
		}
		items = append(items, n)
	}
}

func (p *parser) dict() (node, error) {
	var keys, values []node
	for {
		if _, ok := p.take("}"); ok {
			break
		}
		if len(keys) > 0 {
			if err := p.need(","); err != nil {
				return nil, err
			}
			if _, ok := p.take("}"); ok {
				break
			}
		}
		k, err := p.expression()
		if err != nil {
			return nil, err
		}
		if err := p.need(":"); err != nil {
			return nil, err
		}
		v, err := p.expression()
		if err != nil {
			return nil, err
		}
		keys, values = append(keys, k), append(values, v)
	}
	return func(e *env) (any, error) {
		ks, err := e.all(keys)
		if err != nil {
			return nil, err
		}
		vs, err := e.all(values)
		if err != nil {
			return nil, err
		}
		m := make(map[string]any, len(ks))
		for i, k := range ks {
			m[text(k)] = vs[i]
		}
		return made(m)
	}, nil
}

func (p *parser) named(name string) (node, error) {
	switch name {
	case "true", "True":
		return constant(true), nil
	case "false", "False":
		return constant(false), nil
	case "none", "None", "null":
		return constant(nil), nil
	case "not", "and", "or", "in", "is", "if", "else":
		p.pos--
		return nil, p.unexpected("a value")
	}
	if _, ok := p.take("("); ok {
		f, known := globals[name]
		if !known {
			return nil, fmt.Errorf("unknown function %.40q", name)
		}
		args, err := p.arguments()
		if err != nil {
			return nil, err
		}
		if len(args) == 0 {
			return nil, fmt.Errorf("%s() takes arguments", name)
		}
		return applied(args[0], args[1:], f), nil
	}
	return func(e *env) (any, error) {
		if v, ok := e.vars[name]; ok {
			return v, nil
		}
		return undefined{name}, nil
	}, nil
}
