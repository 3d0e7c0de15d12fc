package config

import (
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
// has is an error; one that several have goes to each.
func (d *decoder) table(path []string, t map[string]any, targets ...any) {
	fields := map[string][]reflect.Value{}
	for _, target := range targets {
		collect(reflect.ValueOf(target).Elem(), fields)
	}
	d.fields(path, t, fields)
}

func (d *decoder) fields(path []string, t map[string]any, fields map[string][]reflect.Value) {
	for _, name := range sortedKeys(t) {
		at := append(slices.Clone(path), name)
		into, known := fields[name]
		if !known {
			d.fail(at, "unknown key"+nearest(name, sortedKeys(fields)), strings.Join(sortedKeys(fields), ", "))
			continue
		}
		for _, v := range into {
			if !d.value(at, t[name], v) {
				break // one complaint about a key is enough
			}
		}
	}
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
)

// value puts the value x of a document into v and reports whether it fits.
func (d *decoder) value(path []string, x any, v reflect.Value) bool {
	if v.Kind() == reflect.Pointer {
		p := reflect.New(v.Type().Elem())
		if !d.value(path, x, p.Elem()) {
			return false
		}
		v.Set(p)
		return true
	}
	if u, ok := v.Addr().Interface().(encoding.TextUnmarshaler); ok && v.Type() != timeType {
		return d.text(path, x, u)
	}
	switch v.Kind() {
	case reflect.Struct:
		return d.structure(path, x, v)
	case reflect.Map:
		return d.mapping(path, x, v)
	case reflect.Slice, reflect.Array:
		return d.list(path, x, v)
	case reflect.Interface:
		if reflect.TypeOf(x).AssignableTo(v.Type()) {
			v.Set(reflect.ValueOf(x))
			return true
		}
		return d.mismatch(path, x, v)
	}
	return d.scalar(path, x, v)
}

func (d *decoder) text(path []string, x any, u encoding.TextUnmarshaler) bool {
	s, ok := x.(string)
	if !ok {
		d.fail(path, "is "+kindOf(x), "a text in quotes")
		return false
	}
	if err := u.UnmarshalText([]byte(s)); err != nil {
		key := asKeyError(err)
		d.fail(path, key.Text, key.Allowed)
		return false
	}
	return true
}

func (d *decoder) structure(path []string, x any, v reflect.Value) bool {
	if v.Type() == timeType {
		if t, ok := x.(time.Time); ok {
			v.Set(reflect.ValueOf(t))
			return true
		}
		return d.mismatch(path, x, v)
	}
	t, ok := x.(map[string]any)
	if !ok {
		return d.mismatch(path, x, v)
	}
	before := len(d.errs)
	fields := map[string][]reflect.Value{}
	collect(v, fields)
	d.fields(path, t, fields)
	return len(d.errs) == before
}

func (d *decoder) mapping(path []string, x any, v reflect.Value) bool {
	t, ok := x.(map[string]any)
	if !ok || v.Type().Key().Kind() != reflect.String {
		return d.mismatch(path, x, v)
	}
	before := len(d.errs)
	if v.IsNil() {
		v.Set(reflect.MakeMapWithSize(v.Type(), len(t)))
	}
	for _, name := range sortedKeys(t) {
		e := reflect.New(v.Type().Elem()).Elem()
		if d.value(append(slices.Clone(path), name), t[name], e) {
			v.SetMapIndex(reflect.ValueOf(name).Convert(v.Type().Key()), e)
		}
	}
	return len(d.errs) == before
}

func (d *decoder) list(path []string, x any, v reflect.Value) bool {
	list, ok := x.([]any)
	if !ok {
		return d.mismatch(path, x, v)
	}
	if v.Kind() == reflect.Array && len(list) != v.Len() {
		d.fail(path, fmt.Sprintf("has %d elements", len(list)), fmt.Sprintf("%d elements", v.Len()))
		return false
	}
	before := len(d.errs)
	out := v
	if v.Kind() == reflect.Slice {
		out = reflect.MakeSlice(v.Type(), len(list), len(list))
	}
	for i, e := range list {
		at := slices.Clone(path)
		at[len(at)-1] += fmt.Sprintf("\x00%d", i)
		d.value(at, e, out.Index(i))
	}
	v.Set(out)
	return len(d.errs) == before
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
