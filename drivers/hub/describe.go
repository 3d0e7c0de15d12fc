package hub

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"gantry/drivers"
	"gantry/drivers/hub/internal/transform"
	"gantry/wamp"
)

// check validates a value that a caller wants to write and returns it in the
// point's type. The error is a *wamp.Error with details, which says what the value is
// for, and what is wrong.
func (s *spec) check(v any, details wamp.Dict) (drivers.Value, error) {
	value, why := transform.Coerce(s.typ, v)
	if why != "" {
		details["type"], details["why"] = s.typ.String(), why
		return nil, invalid(fmt.Sprintf("%s takes a value of type %s", s.id, s.typ), details)
	}
	if text, ok := value.(string); ok && len(s.enum) > 0 && !slices.Contains(s.enum, text) {
		details["value"], details["allowed"] = clip(text, 64), texts(s.enum)
		return nil, wamp.NewError(wamp.ErrURIOutOfRange, fmt.Sprintf("%s takes one of: %s", s.id, abbreviate(s.enum)), details)
	}
	f, ok := transform.Number(value)
	if !ok {
		return value, nil
	}
	if s.min != nil && f < *s.min || s.max != nil && f > *s.max || !s.onStep(f) {
		details["value"] = value
		s.describeRange(details)
		return nil, wamp.NewError(wamp.ErrURIOutOfRange, s.id+" takes "+s.rangeText(), details)
	}
	return value, nil
}

// onStep reports whether f is a whole number of steps away from min, within what
// floating point can tell.
func (s *spec) onStep(f float64) bool {
	if s.step == 0 {
		return true
	}
	if s.min != nil {
		f -= *s.min
	}
	n := f / s.step
	return math.Abs(n-math.Round(n)) <= 1e-6+1e-15*math.Abs(n)
}

func (s *spec) rangeText() string {
	var b strings.Builder
	b.WriteString("a value")
	if s.min != nil {
		fmt.Fprintf(&b, " from %g", *s.min)
	}
	if s.max != nil {
		fmt.Fprintf(&b, " up to %g", *s.max)
	}
	if s.step != 0 {
		fmt.Fprintf(&b, " in steps of %g", s.step)
	}
	return b.String()
}

// describeRange adds min, max, step and enum to d, where there are any.
func (s *spec) describeRange(d wamp.Dict) {
	if s.min != nil {
		d["min"] = *s.min
	}
	if s.max != nil {
		d["max"] = *s.max
	}
	if s.step != 0 {
		d["step"] = s.step
	}
	if len(s.enum) > 0 {
		d["enum"] = texts(s.enum)
	}
}

// describe returns the point for sys.device.describe.
func (s *spec) describe() wamp.Dict {
	access := ""
	if s.readable {
		access = "r"
	}
	if s.writable {
		access += "w"
	}
	d := wamp.Dict{"point": s.id, "type": s.typ.String(), "access": access, "topic": string(s.topic)}
	for k, v := range map[string]string{"label": s.label, "description": s.description, "unit": s.unit, "group": s.group} {
		if v != "" {
			d[k] = v
		}
	}
	for k, v := range map[string]time.Duration{"every_ms": s.every, "max_silence_ms": s.maxSilence, "stale_after_ms": s.staleAfter} {
		if v != 0 {
			d[k] = v.Milliseconds()
		}
	}
	if s.deadband != 0 {
		d["deadband"] = s.deadband
	}
	s.describeRange(d)
	s.describeRules(d)
	return d
}

// describeRules adds what else holds for writes.
func (s *spec) describeRules(d wamp.Dict) {
	for k, v := range map[string]time.Duration{
		"verify_ms": s.verify, "min_interval_ms": s.limits.Every, "max_on_ms": s.limits.MaxOn, "min_off_ms": s.limits.MinOff,
		"safe_after_ms": s.safeAfter,
	} {
		if v != 0 {
			d[k] = v.Milliseconds()
		}
	}
	if s.safe != nil {
		d["safe"] = s.safe
	}
	if len(s.notWith) > 0 {
		d["not_with"] = texts(s.notWith)
	}
}

// texts returns a list of strings as a WAMP list.
func texts(s []string) wamp.List {
	l := make(wamp.List, len(s))
	for i, v := range s {
		l[i] = v
	}
	return l
}

// clip returns at most n bytes of s, as valid UTF-8.
func clip(s string, n int) string {
	if len(s) > n {
		s = s[:n]
	}
	return strings.ToValidUTF8(s, "\uFFFD")
}

// saying returns the text for people of an error that callers get.
func saying(err error) string {
	var e *wamp.Error
	if errors.As(err, &e) {
		if args, _ := e.Payload.GoValues(); len(args) > 0 {
			return fmt.Sprint(args[0])
		}
	}
	return err.Error()
}

// allowed says for people which values may be written.
func (s *spec) allowed() string {
	switch {
	case len(s.enum) > 0:
		return abbreviate(s.enum)
	case s.min != nil || s.max != nil || s.step != 0:
		return s.rangeText()
	}
	return s.typ.String()
}
