package bridge

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"time"

	"github.com/tidwall/gjson"

	"gantry/internal/wallclock"
	"gantry/wamp"
)

// timeField is where a message says when it was measured, and how.
type timeField struct {
	path   string
	format string
}

const allowedTimes = "s, ms, us, iso, or nothing to tell by its form"

func newTimeField(path, format, key string) (*timeField, error) {
	if path == "" {
		if format != "" {
			return nil, bad(key+".time_format", "time_format together with time", "there is no time")
		}
		return nil, nil
	}
	if text := checkPath(path); text != "" || trimRoot(path) == "" {
		return nil, bad(key+".time", allowedPath, "%.80q is no path", path)
	}
	if !slices.Contains([]string{"", "s", "ms", "us", "iso"}, format) {
		return nil, bad(key+".time_format", allowedTimes, "is %.80q", format)
	}
	return &timeField{trimRoot(path), format}, nil
}

// Times before and after which a clock is not believed: no device measured before
// 2000, and none will be read after 2200.
const (
	firstTime = 946684800
	lastTime  = 7258118400
)

// read returns a time in microseconds. A number without a format is in the unit in
// which it falls between firstTime and lastTime, of which there is at most one.
func (f *timeField) read(res gjson.Result) (us int64, ok bool) {
	if res.Type == gjson.String && (f.format == "iso" || f.format == "") {
		if t, ok := isoTime(res.Str); ok {
			return inTime(float64(t.Unix())*1e6 + float64(t.Nanosecond()/1000))
		}
		if f.format == "iso" {
			return 0, false
		}
	}
	v, why := scalar(res)
	if why != "" || f.format == "iso" {
		return 0, false
	}
	n, ok := number(v)
	if !ok {
		return 0, false
	}
	for _, unit := range []struct {
		name string
		us   float64
	}{{"s", 1e6}, {"ms", 1e3}, {"us", 1}} {
		if f.format == unit.name || f.format == "" {
			if us, ok := inTime(n * unit.us); ok {
				return us, true
			}
		}
	}
	return 0, false
}

func inTime(us float64) (int64, bool) {
	return int64(math.Round(us)), us >= firstTime*1e6 && us <= lastTime*1e6
}

// isoTime reads ISO 8601 as devices write it; without a zone it is UTC.
func isoTime(s string) (time.Time, bool) {
	for _, layout := range []string{time.RFC3339Nano, "2006-01-02T15:04:05", "2006-01-02 15:04:05", "2006-01-02T15:04:05Z0700", "2006-01-02T15:04Z07:00", "2006-01-02T15:04"} {
		if t, err := time.Parse(layout, s); err == nil {
			return t, true
		}
	}
	return time.Time{}, false
}

// condition is one entry of good_if or bad_if.
type condition struct {
	name  string // as it was written
	path  string
	texts []string
}

func conditions(cfg map[string]any, key string) (out []condition, err error) {
	for _, name := range slices.Sorted(maps.Keys(cfg)) {
		at := key + "." + name
		if text := checkPath(name); text != "" || trimRoot(name) == "" {
			return nil, bad(at, allowedPath, "%.80q is no path", name)
		}
		values, ok := cfg[name].([]any)
		if !ok {
			values = []any{cfg[name]}
		}
		c := condition{name: name, path: trimRoot(name)}
		for _, v := range values {
			switch v := v.(type) {
			case string:
				c.texts = append(c.texts, v)
			case bool, int64, float64:
				c.texts = append(c.texts, plainText(v))
			default:
				return nil, bad(at, "a text, a number, true or false, or a list of those", "is something else")
			}
		}
		out = append(out, c)
	}
	return out, nil
}

// holds reports whether the field has one of the texts.
func (c *condition) holds(in *input, item gjson.Result) bool {
	text, ok := scalarText(in.lookup(item, c.path))
	return ok && slices.Contains(c.texts, text)
}

// scalarText returns a JSON text, number or bool as text.
func scalarText(res gjson.Result) (string, bool) {
	v, why := scalar(res)
	if why != "" {
		return "", false
	}
	switch v := v.(type) {
	case string:
		return v, true
	case []byte:
		return "", false
	case float64:
		if v == math.Trunc(v) && math.Abs(v) < 1<<53 {
			return strconv.FormatInt(int64(v), 10), true // 1.0 is 1
		}
	}
	return plainText(v), true
}

// verdict is the time and quality of an item.
type verdict struct {
	us     int64 // 0: that of its arrival
	q, why string
}

func (v verdict) write(kwargs wamp.Dict) {
	kwargs["q"] = v.q
	if v.why != "" {
		kwargs["why"] = v.why
	}
	if v.us != 0 {
		// Whether the sender's clock is right is not known here.
		kwargs["ts"], kwargs["clk"] = v.us, "guess"
		delete(kwargs, "up")
	}
}

// judge decides on time and quality: what is known to be bad, then its age, then
// what raises doubts. While the clock is not set nothing is too old.
func (m *mapping) judge(in *input, item gjson.Result, clock *wallclock.Clock) (v verdict) {
	v.q = "good"
	doubt := ""
	switch {
	case m.time != nil:
		us, ok := m.time.read(in.lookup(item, m.time.path))
		switch {
		case !ok:
			doubt = "no_time"
		case m.maxAge > 0 && clock.Synced() && clock.Now().UnixMicro()-us > m.maxAge.Microseconds():
			v.us, v.q, v.why = us, "stale", "old"
		default:
			v.us = us
		}
		if in.retained && (!ok || m.maxAge == 0) {
			doubt = "retained"
		}
	case in.retained:
		doubt = "retained"
	}
	for i := range m.bad {
		if m.bad[i].holds(in, item) {
			v.q, v.why = "bad", m.bad[i].name
			return v
		}
	}
	if v.q != "good" {
		return v
	}
	if doubt != "" {
		v.q, v.why = "uncertain", doubt
		return v
	}
	for i := range m.good {
		if !m.good[i].holds(in, item) {
			v.q, v.why = "uncertain", m.good[i].name
			break
		}
	}
	return v
}

// parseEach splits a path at its wildcards, each of which is a part of its own:
// "a.b.#.c" is "a.b", "#", "c".
func parseEach(s string) (parts []string, err error) {
	var literal []byte
	flush := func() error {
		if len(literal) == 0 {
			return nil
		}
		if text := checkPath(string(literal)); text != "" {
			return fmt.Errorf("%s", text)
		}
		parts, literal = append(parts, string(literal)), nil
		return nil
	}
	wild := false
	for _, key := range splitPath(trimRoot(s)) {
		if key == "#" || key == "*" {
			if err := flush(); err != nil {
				return nil, err
			}
			parts, wild = append(parts, key), true
			continue
		}
		if key == "" {
			return nil, fmt.Errorf("has an empty key")
		}
		if len(literal) > 0 {
			literal = append(literal, '.')
		}
		literal = append(literal, key...)
	}
	if !wild {
		return nil, fmt.Errorf("has no wildcard")
	}
	return parts, flush()
}

// splitPath splits at the dots that no backslash escapes.
func splitPath(s string) (keys []string) {
	start := 0
	for i := 0; i < len(s); i++ {
		switch s[i] {
		case '\\':
			i++
		case '.':
			keys = append(keys, s[start:i])
			start = i + 1
		}
	}
	return append(keys, s[start:])
}

// walk calls f for every item that a path of parseEach leads to, with the index or
// member name that its last wildcard stands for.
func walk(at gjson.Result, path []string, key string, f func(key string, item gjson.Result)) {
	if len(path) == 0 {
		f(key, at)
		return
	}
	switch part, rest := path[0], path[1:]; {
	case part == "#" && at.IsArray(), part == "*" && at.IsArray():
		i := 0
		at.ForEach(func(_, item gjson.Result) bool {
			walk(item, rest, strconv.Itoa(i), f)
			i++
			return true
		})
	case part == "*" && at.IsObject():
		at.ForEach(func(name, item gjson.Result) bool {
			walk(item, rest, name.String(), f)
			return true
		})
	case part != "#" && part != "*":
		if next := at.Get(part); next.Exists() {
			walk(next, rest, key, f)
		}
	}
}
