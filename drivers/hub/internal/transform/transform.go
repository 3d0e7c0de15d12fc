// Package transform turns what a driver decodes into what the hub publishes, and
// back for writes: it takes bits out of integers, scales, calibrates, and gives
// names to numbers. It is pure and knows neither devices nor time.
//
// What does not fit a type is refused with a reason in one word, never bent:
// "type", "not_whole", "not_a_number", "too_large", "not_utf8", "unmapped".
package transform

import (
	"cmp"
	"fmt"
	"maps"
	"math"
	"math/bits"
	"slices"
	"strconv"

	"gantry/drivers"
)

// maxTable bounds the entries of a map and the points of a calibration.
const maxTable = 256

// Config says what happens to the values of a point, in this order: mask; then map,
// or scale and offset and then calibrate. The zero value changes nothing.
type Config struct {
	// Mask takes bits out of an int point and shifts them down: 0x00F0 makes
	// 0 to 15. A mask of one bit makes a bool. 0 = all bits.
	Mask uint64
	// Scale and Offset turn the value into the published one: value * Scale +
	// Offset. nil = 1. The value becomes a float, unless that changes nothing.
	Scale  *float64
	Offset float64
	// Calibrate is a table of pairs, the measured value and the true one, the
	// measured ones growing: between them it is linear, beyond them too.
	Calibrate [][]float64
	// Map names the values of an int or bool point: "0" or "false" = "off". The
	// point becomes a text.
	Map map[string]string
}

// Transform is the way of a point's values. It is read-only once made.
type Transform struct {
	raw   drivers.Type // of the driver's values
	mask  uint64       // 0 = all bits
	shift int          // of the mask
	cut   drivers.Type // raw, or what the mask makes of it
	scale scaling
	table []pair
	names map[drivers.Value]string
	codes map[string]drivers.Value
	twice string // a name that two values have; such a map has no way back
}

// pair is one point of a calibration.
type pair struct{ measured, actual float64 }

// New checks cfg for a point whose driver decodes values of type raw. The error is
// a *drivers.ConfigError with the key below the point.
func New(raw drivers.Type, cfg *Config) (*Transform, error) {
	t := &Transform{raw: raw, cut: raw, mask: cfg.Mask, scale: newScaling(cfg.Scale, cfg.Offset)}
	if err := cfg.check(raw); err != nil {
		return nil, err
	}
	if t.mask != 0 {
		t.shift = bits.TrailingZeros64(t.mask)
		if bits.OnesCount64(t.mask) == 1 {
			t.cut = drivers.Bool
		}
	}
	numeric := t.cut == drivers.Float || t.cut == drivers.Int
	switch {
	case !numeric && cfg.Scale != nil:
		return nil, bad("scale", "only on float and int points", "the point's values are %s", t.cut)
	case !numeric && cfg.Offset != 0:
		return nil, bad("offset", "only on float and int points", "the point's values are %s", t.cut)
	case !numeric && cfg.Calibrate != nil:
		return nil, bad("calibrate", "only on float and int points", "the point's values are %s", t.cut)
	}
	for _, p := range cfg.Calibrate {
		t.table = append(t.table, pair{p[0], p[1]})
	}
	return t, t.name(cfg)
}

// check checks what does not depend on the mask.
func (c *Config) check(raw drivers.Type) error {
	for key, f := range map[string]*float64{"scale": c.Scale, "offset": &c.Offset} {
		if f != nil && !finite(*f) {
			return bad(key, "a finite number", "is %g", *f)
		}
	}
	switch {
	case c.Mask != 0 && raw != drivers.Int:
		return bad("mask", "only on int points", "the point's values are %s", raw)
	case c.Scale != nil && *c.Scale == 0:
		return bad("scale", "any number but 0", "is 0")
	case c.Map != nil && (c.Scale != nil || c.Offset != 0 || c.Calibrate != nil):
		return bad("map", "map alone, or scale, offset and calibrate", "stands beside keys for numbers")
	case len(c.Map) > maxTable:
		return bad("map", fmt.Sprintf("up to %d values", maxTable), "has %d", len(c.Map))
	}
	return checkTable(c.Calibrate)
}

func checkTable(table [][]float64) error {
	if table != nil && (len(table) < 2 || len(table) > maxTable) {
		return bad("calibrate", fmt.Sprintf("2 to %d pairs", maxTable), "has %d", len(table))
	}
	for i, p := range table {
		const allowed = "pairs [measured, true] of finite numbers, the measured ones growing"
		switch {
		case len(p) != 2 || !finite(p[0]) || !finite(p[1]):
			return bad("calibrate", allowed, "entry %d is %g", i+1, p)
		case i > 0 && p[0] <= table[i-1][0]:
			return bad("calibrate", allowed, "entry %d does not lie above the one before", i+1)
		}
	}
	return nil
}

// name prepares the map.
func (t *Transform) name(cfg *Config) error {
	if cfg.Map == nil {
		return nil
	}
	t.names, t.codes = make(map[drivers.Value]string, len(cfg.Map)), make(map[string]drivers.Value, len(cfg.Map))
	for _, key := range slices.Sorted(maps.Keys(cfg.Map)) {
		var code drivers.Value
		var err error
		switch t.cut {
		case drivers.Int:
			code, err = strconv.ParseInt(key, 0, 64)
			if err != nil {
				return bad("map", `whole numbers: "0", "17", "0x1F"`, "%.40q is no value of an int point", key)
			}
		case drivers.Bool:
			code = key == "true"
			if key != "true" && key != "false" {
				return bad("map", `"true", "false"`, "%.40q is no value of a bool point", key)
			}
		default:
			return bad("map", "only on int and bool points", "the point's values are %s", t.cut)
		}
		text := cfg.Map[key]
		if _, why := Coerce(drivers.Text, text); why != "" {
			return bad("map", "texts of up to 64 KiB", "the text of %.40q is not usable: %s", key, why)
		}
		if _, twice := t.names[code]; twice {
			return bad("map", "each value once", "%.40q is there in another form as well", key)
		}
		if _, twice := t.codes[text]; twice {
			t.twice = text
		}
		t.names[code], t.codes[text] = text, code
	}
	if len(t.names) == 0 {
		return bad("map", "at least one value", "is empty")
	}
	return nil
}

// Type is the type of the published values.
func (t *Transform) Type() drivers.Type {
	switch {
	case t.names != nil:
		return drivers.Text
	case t.scale.active, t.table != nil:
		return drivers.Float
	}
	return t.cut
}

// Texts returns the names of a map, sorted; nil without one.
func (t *Transform) Texts() []string {
	if t.codes == nil {
		return nil
	}
	return slices.Sorted(maps.Keys(t.codes))
}

// Masked reports whether a point's values are only a part of the driver's: Undo
// needs the rest.
func (t *Transform) Masked() bool { return t.mask != 0 }

// CheckUndo reports why values cannot be turned back, which a point that is written
// needs. The error is a *drivers.ConfigError.
func (t *Transform) CheckUndo() error {
	if t.twice != "" {
		return bad("map", "each text once on a point that is written", "%.40q stands for several values", t.twice)
	}
	for i := 2; i < len(t.table); i++ {
		if (t.table[i].actual > t.table[i-1].actual) != (t.table[1].actual > t.table[0].actual) {
			return bad("calibrate", "on a point that is written, true values that only grow or only fall", "entry %d turns round", i+1)
		}
	}
	for i := 1; i < len(t.table); i++ {
		if t.table[i].actual == t.table[i-1].actual {
			return bad("calibrate", "on a point that is written, true values that only grow or only fall", "entry %d repeats a true value", i+1)
		}
	}
	return nil
}

// Apply turns what the driver decoded into the published value. Where it cannot,
// why says so in one word.
func (t *Transform) Apply(raw any) (v drivers.Value, why string) {
	if v, why = Coerce(t.raw, raw); why != "" {
		return nil, why
	}
	if t.mask != 0 {
		v = t.part(v)
	}
	if t.names != nil {
		text, known := t.names[v]
		if !known {
			return nil, "unmapped"
		}
		return text, ""
	}
	if !t.scale.active && t.table == nil {
		return v, ""
	}
	f, ok := Number(v)
	if !ok {
		return nil, "type"
	}
	if f = t.curve(t.scale.apply(f)); !finite(f) {
		return nil, "not_a_number"
	}
	return f, ""
}

// Undo turns a published value, of type Type, into what the driver writes; a raw
// integer is the nearest one. present is what the driver has now: it brings the
// bits outside the mask and is not looked at without one.
func (t *Transform) Undo(v, present drivers.Value) (raw drivers.Value, why string) {
	switch {
	case t.codes != nil:
		text, _ := v.(string)
		code, known := t.codes[text]
		if !known {
			return nil, "unmapped"
		}
		v = code
	case t.scale.active || t.table != nil:
		f, ok := Number(v)
		if !ok {
			return nil, "type"
		}
		f = t.scale.invert(t.uncurve(f))
		if t.raw == drivers.Int {
			f = math.Round(f)
		}
		v = f
	}
	if t.mask != 0 {
		return t.insert(v, present)
	}
	return Coerce(t.raw, v)
}

// part takes the bits of the mask out of v.
func (t *Transform) part(v drivers.Value) drivers.Value {
	n, _ := v.(int64)
	field := (uint64(n) & t.mask) >> t.shift
	if t.cut == drivers.Bool {
		return field != 0
	}
	return int64(field)
}

// insert puts v into the bits of the mask; the others are those of present.
func (t *Transform) insert(v, present drivers.Value) (drivers.Value, string) {
	if on, is := v.(bool); is {
		v = int64(0)
		if on {
			v = int64(1)
		}
	}
	v, why := Coerce(drivers.Int, v)
	if why != "" {
		return nil, why
	}
	rest, why := Coerce(drivers.Int, present)
	if why != "" {
		return nil, why
	}
	n := v.(int64)
	field := uint64(n) << t.shift
	if n < 0 || field>>t.shift != uint64(n) || field&^t.mask != 0 {
		return nil, "too_large"
	}
	return int64(uint64(rest.(int64))&^t.mask | field), ""
}

// Equal reports whether two of the driver's values say the same about the point:
// outside the mask they may differ, and floats only have to agree as float32, since
// most devices keep them so.
func (t *Transform) Equal(a, b drivers.Value) bool {
	a, why := Coerce(t.raw, a)
	if why != "" {
		return false
	}
	if b, why = Coerce(t.raw, b); why != "" {
		return false
	}
	switch {
	case t.mask != 0:
		return Same(t.part(a), t.part(b))
	case t.raw == drivers.Float:
		x, _ := Number(a)
		y, _ := Number(b)
		return float32(x) == float32(y) || math.Abs(x-y) <= 1e-6*math.Max(math.Abs(x), math.Abs(y))
	}
	return Same(a, b)
}

// Bounds turns the range of the driver's values into that of the published ones.
// nil is unbounded, on both sides of a point whose values are no numbers.
func (t *Transform) Bounds(low, high *float64) (least, most *float64) {
	if t.Type() != drivers.Float && t.Type() != drivers.Int {
		return nil, nil
	}
	if t.mask != 0 {
		zero, full := 0.0, float64(t.mask>>t.shift)
		low, high = &zero, &full
	}
	low, high = t.bound(low), t.bound(high)
	if t.falling() {
		low, high = high, low
	}
	return low, high
}

func (t *Transform) bound(raw *float64) *float64 {
	if raw == nil {
		return nil
	}
	v := *raw
	if t.scale.active || t.table != nil {
		v = t.curve(t.scale.apply(v))
	}
	return &v
}

// falling reports whether greater raw values make smaller published ones.
func (t *Transform) falling() bool {
	down := t.scale.mul < 0 || t.scale.div < 0
	if n := len(t.table); n > 0 && t.table[n-1].actual < t.table[0].actual {
		down = !down
	}
	return down
}

// curve applies the calibration.
func (t *Transform) curve(v float64) float64 {
	if t.table == nil {
		return v
	}
	i, _ := slices.BinarySearchFunc(t.table, v, func(p pair, v float64) int { return cmp.Compare(p.measured, v) })
	i = min(max(i, 1), len(t.table)-1)
	a, b := t.table[i-1], t.table[i]
	return a.actual + (v-a.measured)/(b.measured-a.measured)*(b.actual-a.actual)
}

// uncurve undoes curve; CheckUndo has passed.
func (t *Transform) uncurve(v float64) float64 {
	if t.table == nil {
		return v
	}
	sign := 1.0
	if t.table[1].actual < t.table[0].actual {
		sign = -1
	}
	i, _ := slices.BinarySearchFunc(t.table, v, func(p pair, v float64) int { return cmp.Compare(sign*p.actual, sign*v) })
	i = min(max(i, 1), len(t.table)-1)
	a, b := t.table[i-1], t.table[i]
	return a.measured + (v-a.actual)/(b.actual-a.actual)*(b.measured-a.measured)
}

func bad(key, allowed, format string, args ...any) error {
	return &drivers.ConfigError{Key: key, Text: fmt.Sprintf(format, args...), Allowed: allowed}
}
