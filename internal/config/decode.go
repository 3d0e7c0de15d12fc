package config

import (
	"cmp"
	"encoding"
	"fmt"
	"math"
	"reflect"
	"slices"
	"strings"
	"time"
)

// decoder fills structs from a document and gathers what does not fit: unknown
// keys and wrong types, each with its line and what is allowed.
type decoder struct {
	doc    *document
	device string // narrows the errors
	errs   Errors
}

func (d *decoder) fail(path []string, text, allowed string) {
	d.errs = append(d.errs, &Error{
		File: d.doc.file, Line: d.doc.line(path), Key: show(path), Text: text, Allowed: allowed, Device: d.device,
	})
}

// table fills the targets, pointers to structs, from t. A key that none of them
// has is an error; one that several have goes to each, and the same holds for
// the tables inside.
func (d *decoder) table(path []string, t map[string]any, targets ...any) {
	vs := make([]reflect.Value, len(targets))
	for i, target := range targets {
		vs[i] = reflect.ValueOf(target).Elem()
	}
	d.tables(path, t, vs)
}

// collect adds the fields of the struct v by the names that their tags give
// them. Embedded structs without a tag count as part of v.
func collect(v reflect.Value, fields map[string][]reflect.Value) {
	t := v.Type()
	for i := range t.NumField() {
		f := t.Field(i)
		name, _, _ := strings.Cut(f.Tag.Get("toml"), ",")
		switch {
		case name == "-":
		case f.Anonymous && name == "" && f.Type.Kind() == reflect.Struct:
			collect(v.Field(i), fields)
		case !f.IsExported():
		default:
			if name == "" {
				name = strings.ToLower(f.Name)
			}
			fields[name] = append(fields[name], v.Field(i))
		}
	}
}

var (
	durationType = reflect.TypeFor[time.Duration]()
	timeType     = reflect.TypeFor[time.Time]()
	secretType   = reflect.TypeFor[Secret]()
)

// value puts the value x of a document into each of vs and reports whether it
// fits. One complaint about a value is enough.
func (d *decoder) value(path []string, x any, vs []reflect.Value) bool {
	targets := make([]reflect.Value, len(vs))
	allTables, allLists := true, true
	for i, v := range vs {
		for ; v.Kind() == reflect.Pointer; v = v.Elem() {
			if v.IsNil() {
				v.Set(reflect.New(v.Type().Elem()))
			}
		}
		targets[i] = v
		allTables = allTables && isTable(v)
		allLists = allLists && v.Kind() == reflect.Slice
	}
	switch x := x.(type) {
	case map[string]any:
		if allTables {
			return d.tables(path, x, targets)
		}
	case []any:
		if allLists {
			return d.lists(path, x, targets)
		}
	}
	for _, v := range targets {
		if !d.single(path, x, v) {
			return false
		}
	}
	return true
}

// isTable reports whether v is filled key by key.
func isTable(v reflect.Value) bool {
	if _, ok := v.Addr().Interface().(encoding.TextUnmarshaler); ok {
		return false
	}
	return v.Kind() == reflect.Struct || v.Kind() == reflect.Map && v.Type().Key().Kind() == reflect.String
}

// tables fills structs and maps from t.
func (d *decoder) tables(path []string, t map[string]any, targets []reflect.Value) bool {
	before := len(d.errs)
	fields := map[string][]reflect.Value{}
	names := sortedKeys(t)
	var store []func()
	for _, v := range targets {
		if v.Kind() == reflect.Struct {
			collect(v, fields)
			continue
		}
		if v.IsNil() {
			v.Set(reflect.MakeMapWithSize(v.Type(), len(t)))
		}
		for _, name := range names {
			e := reflect.New(v.Type().Elem()).Elem()
			fields[name] = append(fields[name], e)
			store = append(store, func() { v.SetMapIndex(reflect.ValueOf(name).Convert(v.Type().Key()), e) })
		}
	}
	for _, name := range names {
		at := append(slices.Clone(path), name)
		if into, known := fields[name]; known {
			d.value(at, t[name], into)
		} else {
			known := sortedKeys(fields)
			d.fail(at, "unknown key"+nearest(name, known), strings.Join(known, ", "))
		}
	}
	for _, f := range store {
		f()
	}
	return len(d.errs) == before
}

// lists fills slices from list.
func (d *decoder) lists(path []string, list []any, targets []reflect.Value) bool {
	before := len(d.errs)
	for _, v := range targets {
		v.Set(reflect.MakeSlice(v.Type(), len(list), len(list)))
	}
	for i, x := range list {
		at := slices.Clone(path)
		at[len(at)-1] += fmt.Sprintf("\x00%d", i)
		elements := make([]reflect.Value, len(targets))
		for j, v := range targets {
			elements[j] = v.Index(i)
		}
		d.value(at, x, elements)
	}
	return len(d.errs) == before
}

// single puts x, which is no table for a struct and no array for a slice, into v.
func (d *decoder) single(path []string, x any, v reflect.Value) bool {
	if _, isTime := x.(time.Time); isTime && v.Type() == timeType {
		v.Set(reflect.ValueOf(x))
		return true
	}
	if u, ok := v.Addr().Interface().(encoding.TextUnmarshaler); ok && v.Type() != timeType {
		return d.text(path, x, u)
	}
	if v.Kind() == reflect.Interface && v.NumMethod() > 0 && secretType.Implements(v.Type()) {
		// A room that takes a secret says so by the method that it needs.
		var s Secret
		if !d.text(path, x, &s) {
			return false
		}
		v.Set(reflect.ValueOf(s))
		return true
	}
	if v.Kind() == reflect.Interface && reflect.TypeOf(x).AssignableTo(v.Type()) {
		v.Set(reflect.ValueOf(x))
		return true
	}
	if t, ok := x.(map[string]any); ok && isTable(v) {
		return d.tables(path, t, []reflect.Value{v})
	}
	if list, ok := x.([]any); ok && v.Kind() == reflect.Slice {
		return d.lists(path, list, []reflect.Value{v})
	}
	return d.scalar(path, x, v)
}

func (d *decoder) text(path []string, x any, u encoding.TextUnmarshaler) bool {
	s, ok := x.(string)
	if !ok {
		may := allowed(reflect.TypeFor[string]())
		if err := u.UnmarshalText([]byte{0}); err != nil { // no form has this; the refusal says which has it
			may = cmp.Or(asKeyError(err).Allowed, may)
		}
		d.fail(path, "is "+kindOf(x), may)
		return false
	}
	if err := u.UnmarshalText([]byte(s)); err != nil {
		key := asKeyError(err)
		d.fail(path, key.Text, key.Allowed)
		return false
	}
	return true
}

func (d *decoder) scalar(path []string, x any, v reflect.Value) bool {
	switch x := x.(type) {
	case bool:
		if v.Kind() == reflect.Bool {
			v.SetBool(x)
			return true
		}
	case string:
		if v.Type() == durationType {
			n, err := time.ParseDuration(x)
			if err != nil {
				d.fail(path, fmt.Sprintf("%q is no duration", x), allowed(v.Type()))
				return false
			}
			v.SetInt(int64(n))
			return true
		}
		if v.Kind() == reflect.String {
			v.SetString(x)
			return true
		}
	case int64:
		switch {
		case v.Type() == durationType:
		case v.CanInt() && !v.OverflowInt(x):
			v.SetInt(x)
			return true
		case v.CanUint() && x >= 0 && !v.OverflowUint(uint64(x)):
			v.SetUint(uint64(x))
			return true
		case v.CanFloat():
			v.SetFloat(float64(x))
			return true
		case v.CanInt() || v.CanUint():
			d.fail(path, fmt.Sprintf("%d is out of range", x), allowed(v.Type()))
			return false
		}
	case float64:
		if v.CanFloat() {
			if math.IsNaN(x) || math.IsInf(x, 0) {
				d.fail(path, "is not finite", allowed(v.Type()))
				return false
			}
			v.SetFloat(x)
			return true
		}
	}
	return d.mismatch(path, x, v)
}

func (d *decoder) mismatch(path []string, x any, v reflect.Value) bool {
	d.fail(path, "is "+kindOf(x), allowed(v.Type()))
	return false
}

// kindOf names the type of a value for people.
func kindOf(x any) string {
	switch x.(type) {
	case bool:
		return "true or false"
	case string:
		return "a text"
	case int64:
		return "an integer"
	case float64:
		return "a number"
	case map[string]any:
		return "a table"
	case []any:
		return "an array"
	}
	return "a date or time"
}

// allowed names what fits a type.
func allowed(t reflect.Type) string {
	switch {
	case t == durationType:
		return `a duration such as "500ms", "30s" or "24h"`
	case t == timeType:
		return "a date and time such as 2030-01-31T12:00:00Z"
	}
	switch t.Kind() {
	case reflect.Bool:
		return "true or false, without quotes"
	case reflect.String:
		return "a text in quotes"
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		if t.Bits() < 64 {
			limit := int64(1) << (t.Bits() - 1)
			return fmt.Sprintf("an integer from %d to %d", -limit, limit-1)
		}
		return "an integer"
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64, reflect.Uintptr:
		if t.Bits() < 64 {
			return fmt.Sprintf("an integer from 0 to %d", uint64(1)<<t.Bits()-1)
		}
		return "an integer, 0 or above"
	case reflect.Float32, reflect.Float64:
		return "a number"
	case reflect.Struct, reflect.Map:
		return "a table"
	case reflect.Slice, reflect.Array:
		return "an array"
	case reflect.Pointer:
		return allowed(t.Elem())
	}
	return t.String()
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

// nearest proposes the known key that was probably meant.
func nearest(name string, known []string) string {
	best, distance := "", 3
	for _, k := range known {
		if n := edits(name, k); n < distance && n < len(k) {
			best, distance = k, n
		}
	}
	if best == "" {
		return ""
	}
	return ", did you mean " + best + "?"
}

// edits returns the Levenshtein distance of two keys.
func edits(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost++
			}
			diagonal = row[j+1]
			row[j+1] = min(cost, row[j]+1, diagonal+1)
		}
	}
	return row[len(b)]
}

// Decode fills into, a pointer to a struct with TOML tags, from the text of a file
// as strictly as configuration is read. An error names line, key and what is
// allowed.
func Decode(file string, text []byte, into any) error {
	doc, err := parse(file, text)
	if err != nil {
		return err
	}
	d := decoder{doc: doc}
	d.table(nil, doc.root, into)
	if len(d.errs) > 0 {
		return d.errs
	}
	return nil
}
