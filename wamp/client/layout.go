package client

import (
	"errors"
	"fmt"
	"reflect"
	"strconv"
	"strings"
	"sync"

	"gantry/wamp"
	"gantry/wamp/serialize"
)

// layout is how the values of a Go type lie in a payload. See the package
// documentation, "Values".
type layout struct {
	typ    reflect.Type // a pointer's element
	kind   layoutKind
	ptr    bool // the values are pointers to typ
	fields []field
	args   int // positional arguments that have a field of their own
	rest   int // the field of all others; -1 = none
}

type layoutKind uint8

const (
	plain  layoutKind = iota // the only positional argument
	whole                    // a wamp.Payload
	empty                    // struct{}: no arguments
	tagged                   // a struct, field by field
)

type field struct {
	index    int    // in the struct
	arg      int    // positional argument; -1 = none
	key      string // keyword argument; "" = none
	part     string // part of the URI's template; "" = none
	rest     bool   // all other keyword arguments
	optional bool
}

const (
	restArgs   = "*"
	restKwargs = "**"
)

var (
	payloadType = reflect.TypeFor[wamp.Payload]()
	emptyType   = reflect.TypeFor[struct{}]()
)

// layouts keeps the layouts that a session has needed: to read the tags of a struct
// takes longer than to lay it out.
type layouts struct{ known sync.Map } // reflect.Type -> layout

// of returns the layout of t.
func (c *layouts) of(t reflect.Type) (layout, error) {
	if k := t.Kind(); c == nil || k != reflect.Struct && k != reflect.Pointer {
		return layoutOf(t)
	}
	if l, ok := c.known.Load(t); ok {
		return *l.(*layout), nil
	}
	l, err := layoutOf(t)
	if err == nil {
		c.known.Store(t, &l)
	}
	return l, err
}

// layoutsOf returns those of a session; nil, which keeps none, for one that is not
// this package's.
func layoutsOf(s wamp.Session) *layouts {
	switch s := s.(type) {
	case *Session:
		return &s.layouts
	case *Client:
		return &s.layouts
	}
	return nil
}

// layoutOf returns the layout of t, or what is wrong with its tags.
func layoutOf(t reflect.Type) (layout, error) {
	l := layout{typ: t, rest: -1}
	switch {
	case t == payloadType:
		l.kind = whole
		return l, nil
	case t == emptyType:
		l.kind = empty
		return l, nil
	case t.Kind() == reflect.Pointer && t.Elem().Kind() == reflect.Struct:
		t, l.ptr = t.Elem(), true
	}
	if t.Kind() != reflect.Struct {
		return l, nil
	}
	for i := range t.NumField() {
		tag, ok := t.Field(i).Tag.Lookup("wamp")
		if !ok {
			continue
		}
		if err := l.add(t.Field(i), i, tag); err != nil {
			return l, fmt.Errorf("%s.%s: tag %q: %w", t, t.Field(i).Name, tag, err)
		}
	}
	if len(l.fields) == 0 {
		l.ptr = false
		return l, nil
	}
	l.typ, l.kind = t, tagged
	for i := range l.args {
		if l.positional(i) == nil {
			return l, fmt.Errorf("%s: no field has the tag for argument %d", t, i)
		}
	}
	return l, nil
}

func (l *layout) positional(i int) *field {
	for j := range l.fields {
		if l.fields[j].arg == i {
			return &l.fields[j]
		}
	}
	return nil
}

// add enters a field.
func (l *layout) add(sf reflect.StructField, index int, tag string) error {
	name, option, _ := strings.Cut(tag, ",")
	f := field{index: index, arg: -1, optional: option == "optional"}
	n, number := strconv.Atoi(name)
	switch {
	case !sf.IsExported():
		return errors.New("the field is not exported")
	case option != "" && !f.optional:
		return errors.New(`the only option is "optional"`)
	case name == restArgs:
		if sf.Type.Kind() != reflect.Slice || l.rest >= 0 {
			return errors.New("one slice takes the other positional arguments")
		}
		l.rest = index
		f.arg = -2
	case name == restKwargs:
		if sf.Type != reflect.TypeFor[wamp.Dict]() {
			return errors.New("a wamp.Dict takes the other keyword arguments")
		}
		f.rest = true
	case strings.HasPrefix(name, "<") && strings.HasSuffix(name, ">") && len(name) > 2:
		f.part = name[1 : len(name)-1]
	case number == nil && n >= 0 && n < 64:
		f.arg = n
		l.args = max(l.args, n+1)
	case name == "":
		return errors.New("the argument has no name")
	default:
		f.key = name
	}
	for _, other := range l.fields {
		if f.key == other.key && f.part == other.part && f.arg == other.arg && f.rest == other.rest {
			return errors.New("there is another field for it")
		}
	}
	l.fields = append(l.fields, f)
	return nil
}

// decode reads a payload into the value that into, a pointer, points to; parts are
// the parts of the URI. strict refuses positional arguments that have no place.
func (l *layout) decode(p wamp.Payload, parts []Part, into any, strict bool) error {
	if l.kind == whole {
		*into.(*wamp.Payload) = p
		return nil
	}
	n := serialize.Len(p)
	if places := l.places(); strict && places >= 0 && n > places {
		return &MismatchError{What: "arguments", Expected: strconv.Itoa(places), Cause: fmt.Sprintf("there are %d", n)}
	}
	switch l.kind {
	case empty:
		return nil
	case plain:
		if n == 0 && nilable(l.typ) {
			return nil
		}
		if err := serialize.Arg(p, 0, into); err != nil {
			return mismatch("argument 0", l.typ, err)
		}
		return nil
	}
	v := reflect.ValueOf(into).Elem()
	if l.ptr {
		v.Set(reflect.New(l.typ))
		v = v.Elem()
	}
	for i := range l.fields {
		if err := l.fields[i].decode(p, n, parts, v.Field(l.fields[i].index)); err != nil {
			return err
		}
	}
	if l.rest >= 0 {
		return l.decodeRest(p, n, v.Field(l.rest))
	}
	return nil
}

// places returns how many positional arguments there is place for; -1 = any number.
func (l *layout) places() int {
	switch {
	case l.kind == plain:
		return 1
	case l.rest >= 0:
		return -1
	}
	return l.args
}

// nilable reports whether a type has a value that stands for none.
func nilable(t reflect.Type) bool {
	switch t.Kind() {
	case reflect.Pointer, reflect.Interface, reflect.Map, reflect.Slice:
		return true
	}
	return false
}

func (l *layout) decodeRest(p wamp.Payload, n int, v reflect.Value) error {
	rest := reflect.MakeSlice(v.Type(), max(n-l.args, 0), max(n-l.args, 0))
	for i := range rest.Len() {
		if err := serialize.Arg(p, l.args+i, rest.Index(i).Addr().Interface()); err != nil {
			return mismatch(fmt.Sprintf("argument %d", l.args+i), v.Type().Elem(), err)
		}
	}
	v.Set(rest)
	return nil
}

// decode reads one field; n is the number of positional arguments.
func (f *field) decode(p wamp.Payload, n int, parts []Part, v reflect.Value) error {
	switch {
	case f.part != "":
		return f.decodePart(parts, v)
	case f.rest:
		_, dict, err := serialize.Values(p)
		if err != nil {
			return mismatch("keyword arguments", v.Type(), err)
		}
		v.Set(reflect.ValueOf(dict))
	case f.arg >= n && f.optional:
	case f.arg >= 0:
		if err := serialize.Arg(p, f.arg, v.Addr().Interface()); err != nil {
			return mismatch(fmt.Sprintf("argument %d", f.arg), v.Type(), err)
		}
	case f.key != "":
		what := "keyword argument " + f.key
		found, err := serialize.Kwarg(p, f.key, v.Addr().Interface())
		switch {
		case err != nil:
			return mismatch(what, v.Type(), err)
		case !found && !f.optional:
			return &MismatchError{What: what, Expected: v.Type().String(), Cause: "missing"}
		}
	}
	return nil
}

func (f *field) decodePart(parts []Part, v reflect.Value) error {
	for _, part := range parts {
		if part.Name != f.part {
			continue
		}
		switch {
		case v.Kind() == reflect.String:
			v.SetString(part.Text)
			return nil
		case v.CanInt() && part.IsInt && !v.OverflowInt(part.Int):
			v.SetInt(part.Int)
			return nil
		}
		return &MismatchError{What: "part <" + f.part + "> of the URI", Expected: v.Type().String(), Cause: strconv.Quote(part.Text)}
	}
	return &MismatchError{What: "part <" + f.part + "> of the URI", Expected: v.Type().String(), Cause: "the template does not have it"}
}

// mismatch returns err, which is from the serializer, as a MismatchError.
func mismatch(what string, expected reflect.Type, err error) error {
	cause := err.Error()
	var e *wamp.Error
	if errors.As(err, &e) {
		cause = strings.TrimPrefix(e.Text, what+": ")
	}
	return &MismatchError{What: what, Expected: expected.String(), Cause: cause}
}

// encode lays a value out.
func (l *layout) encode(v any) wamp.Payload {
	switch l.kind {
	case whole:
		return v.(wamp.Payload)
	case empty:
		return wamp.Payload{}
	case plain:
		return wamp.Args(v)
	}
	sv := reflect.ValueOf(v)
	if l.ptr {
		if sv.IsNil() {
			return wamp.Payload{}
		}
		sv = sv.Elem()
	}
	var args wamp.List
	var kwargs wamp.Dict
	if l.args > 0 {
		args = make(wamp.List, l.args)
	}
	sent := 0
	for _, f := range l.fields {
		x := sv.Field(f.index)
		switch {
		case f.arg >= 0:
			args[f.arg] = x.Interface()
			if !f.optional || !x.IsZero() {
				sent = max(sent, f.arg+1)
			}
		case f.key != "" && !(f.optional && x.IsZero()):
			kwargs = with(kwargs, f.key, x.Interface())
		case f.rest:
			for k, v := range x.Interface().(wamp.Dict) {
				kwargs = with(kwargs, k, v)
			}
		}
	}
	if l.rest >= 0 {
		sent = l.args
		for i, rest := 0, sv.Field(l.rest); i < rest.Len(); i++ {
			args = append(args, rest.Index(i).Interface())
			sent++
		}
	}
	return wamp.Values(args[:sent], kwargs)
}

func with(d wamp.Dict, key string, v any) wamp.Dict {
	if d == nil {
		d = wamp.Dict{}
	}
	d[key] = v
	return d
}

// build fills a template with the fields that are parts of it.
func (l *layout) build(t *Template, v any) (wamp.URI, error) {
	sv := reflect.Indirect(reflect.ValueOf(v))
	var values []any
	for _, c := range t.components {
		for _, f := range l.fields {
			if c.literal == "" && f.part == c.name {
				values = append(values, sv.Field(f.index).Interface())
			}
		}
	}
	return t.Build(values...)
}

// encodeError lays an error out: its text is argument 0 unless a field is.
func (l *layout) encodeError(err error) wamp.Payload {
	if l.kind != tagged {
		return wamp.Args(err.Error())
	}
	p := l.encode(err)
	if l.positional(0) != nil {
		return p
	}
	_, kwargs := p.GoValues()
	return wamp.Values(wamp.List{err.Error()}, kwargs)
}

// decodeError reads an error.
func (l *layout) decodeError(p wamp.Payload, into any) error {
	switch {
	case l.kind == tagged:
		return l.decode(p, nil, into, false)
	case l.typ.Kind() == reflect.Pointer:
		reflect.ValueOf(into).Elem().Set(reflect.New(l.typ.Elem()))
	case l.typ.Kind() == reflect.String && serialize.Len(p) > 0:
		return serialize.Arg(p, 0, into)
	}
	return nil
}

// lay lays out arguments for a topic or procedure: one that has a layout of its own
// (a wamp.Payload, a struct with tags, struct{}) is all of them, any others are
// positional. A template is filled with the parts of such a struct.
func (c *layouts) lay(uri wamp.URI, args []any) (wamp.URI, wamp.Payload, error) {
	if len(args) == 1 && args[0] != nil {
		switch v := args[0].(type) {
		case wamp.Payload:
			return uri, v, nil
		case string, int, float64, bool, []byte:
			return uri, wamp.Values(args, nil), nil
		}
		l, err := c.of(reflect.TypeOf(args[0]))
		if err != nil {
			return uri, wamp.Payload{}, err
		}
		if l.kind == tagged && isTemplate(uri) {
			t, err := ParseTemplate(string(uri))
			if err != nil {
				return uri, wamp.Payload{}, err
			}
			if uri, err = l.build(t, args[0]); err != nil {
				return uri, wamp.Payload{}, err
			}
		}
		return uri, l.encode(args[0]), nil
	}
	return uri, wamp.Values(args, nil), nil
}
