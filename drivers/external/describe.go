package external

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"reflect"
	"regexp"
	"slices"
	"unicode/utf8"

	"gantry/drivers"
	"gantry/drivers/internal/value"
)

// Bounds of what a program may describe.
const (
	maxDescribed = 1024 // points, and actions
	maxArgs      = 32   // of an action
	maxEnum      = 256
	maxAbout     = 400 // bytes of a text
)

var nameForm = regexp.MustCompile(`^[a-z0-9_]{1,64}$`)

// other asks the program what the device is made of, and returns a driver for that if
// it is not what d describes.
func (d *driver) other(ctx context.Context, remote drivers.Remote) error {
	ctx, cancel := context.WithTimeout(ctx, d.cfg.StartTimeout.Std())
	defer cancel()
	said, err := remote.Call(ctx, verbDescribe, nil, d.about(), nil)
	if err != nil {
		return fmt.Errorf("describe, which a device without points in its file needs: %w", err)
	}
	desc, err := describe(said)
	if err != nil {
		return err
	}
	desc.Model = d.cfg.model()
	if reflect.DeepEqual(desc, d.desc) {
		return nil
	}
	return &drivers.OtherError{Driver: &driver{cfg: d.cfg, env: d.env, desc: desc, program: d.program, asks: true}}
}

// describe returns the description that a dictionary is: {"points": {ID: {...}},
// "actions": {ID: {...}}}, with the keys of configuration.
func describe(v any) (desc drivers.Description, err error) {
	t := told{where: "description", err: &err}
	m := t.dict(v, "points", "actions")
	for _, e := range t.tables(m["points"], "points", maxDescribed) {
		desc.Points = append(desc.Points, e.point("type", "unit", "description", "writable", "silent", "min", "max", "enum"))
	}
	for _, e := range t.tables(m["actions"], "actions", maxDescribed) {
		m := e.dict(e.v, "description", "progressive", "args")
		a := drivers.Action{ID: e.id, Description: e.text(m, "description"), Progressive: e.flag(m, "progressive")}
		for _, arg := range e.tables(m["args"], "args", maxArgs) {
			p := arg.point("type", "unit", "description", "min", "max", "enum")
			p.Readable, p.Writable = false, true
			a.Args = append(a.Args, p)
		}
		desc.Actions = append(desc.Actions, a)
	}
	if err == nil && len(desc.Points)+len(desc.Actions) == 0 {
		err = errors.New("description: the device has no points and no actions")
	}
	if err != nil {
		return drivers.Description{}, err
	}
	return desc, nil
}

// told is a part of what a program says. The first fault is kept.
type told struct {
	where, id string
	v         any
	err       *error
}

func (t *told) fail(format string, args ...any) {
	if *t.err == nil {
		*t.err = fmt.Errorf("%s: %s", t.where, fmt.Sprintf(format, args...))
	}
}

// dict returns v as a dictionary of no other keys; nil is an empty one.
func (t *told) dict(v any, keys ...string) map[string]any {
	m, ok := v.(map[string]any)
	if !ok && v != nil {
		t.fail("is no dictionary")
	}
	for key := range m {
		if !slices.Contains(keys, key) {
			t.fail("%.40q is unknown; allowed: %q", key, keys)
		}
	}
	return m
}

// tables returns the entries of a dictionary of dictionaries, sorted by id.
func (t *told) tables(v any, key string, most int) (all []told) {
	m, ok := v.(map[string]any)
	if !ok && v != nil {
		t.fail("%s is no dictionary", key)
	}
	if len(m) > most {
		t.fail("%d %s; allowed: up to %d", len(m), key, most)
		return nil
	}
	for _, id := range slices.Sorted(maps.Keys(m)) {
		if !nameForm.MatchString(id) {
			t.fail("%s: %.80q is no name; allowed: 1 to 64 of a-z 0-9 _", key, id)
			return nil
		}
		all = append(all, told{where: t.where + "." + key + "." + id, id: id, v: m[id], err: t.err})
	}
	return all
}

func (t *told) point(keys ...string) drivers.Point {
	m := t.dict(t.v, keys...)
	p := drivers.Point{ID: t.id, Unit: t.text(m, "unit"), Description: t.text(m, "description"), Writable: t.flag(m, "writable"), Min: t.number(m, "min"), Max: t.number(m, "max")}
	p.Readable = !t.flag(m, "silent")
	var ok bool
	if name := t.text(m, "type"); name != "" {
		if p.Type, ok = drivers.ParseType(name); !ok {
			t.fail("type %.20q; allowed: float, int, bool, text, bytes", name)
		}
	}
	list, ok := m["enum"].([]any)
	if m["enum"] != nil && !ok || len(list) > maxEnum {
		t.fail("enum is no list of up to %d texts", maxEnum)
		return p
	}
	for _, v := range list {
		p.Enum = append(p.Enum, t.text(map[string]any{"enum": v}, "enum"))
	}
	switch {
	case !p.Readable && !p.Writable:
		t.fail("is neither read nor written")
	case p.Min != nil && p.Max != nil && *p.Min > *p.Max:
		t.fail("min %g is above max %g", *p.Min, *p.Max)
	}
	return p
}

func (t *told) text(m map[string]any, key string) string {
	s, ok := m[key].(string)
	if m[key] != nil && !ok || len(s) > maxAbout || !utf8.ValidString(s) {
		t.fail("%s is no text of up to %d bytes", key, maxAbout)
		return ""
	}
	return s
}

func (t *told) flag(m map[string]any, key string) bool {
	b, ok := m[key].(bool)
	if m[key] != nil && !ok {
		t.fail("%s is not true or false", key)
	}
	return b
}

func (t *told) number(m map[string]any, key string) *float64 {
	if m[key] == nil {
		return nil
	}
	f, ok := value.Float64(m[key])
	if !ok || math.IsNaN(f) || math.IsInf(f, 0) {
		t.fail("%s is no finite number", key)
	}
	return &f
}
