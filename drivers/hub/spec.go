package hub

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"time"

	"gantry/drivers"
	"gantry/wamp"
)

// maxPoints bounds the points and the actions of one device.
const maxPoints = 4096

// spec is what is fixed about a point: the driver's description with the
// configuration laid over it.
type spec struct {
	id, label, description, unit string
	topic                        wamp.URI
	raw                          drivers.Type // of the driver's values
	typ                          drivers.Type // of the published values
	scale                        scaling
	deadband                     float64
	maxSilence                   time.Duration // 0 = no limit
	staleAfter                   time.Duration // 0 = never
	staleByPoll                  bool          // staleAfter is the default of a polled point
	every                        time.Duration // polling interval, 0 = not polled
	group                        string
	min, max                     *float64 // in scaled units, nil = unbounded
	step                         float64  // 0 = any
	enum                         []string // nil = any
	readable, writable           bool
}

// newSpecs lays the configuration over the driver's description. polled tells
// that the driver can be polled. The error is a *drivers.ConfigError.
func newSpecs(gateway, device string, cfg *DeviceConfig, desc *drivers.Description, polled bool) ([]*spec, error) {
	if len(desc.Points) > maxPoints || len(desc.Actions) > maxPoints {
		return nil, bad("driver", fmt.Sprintf("at most %d of each", maxPoints), "makes %d points and %d actions", len(desc.Points), len(desc.Actions))
	}
	specs := make([]*spec, 0, len(desc.Points))
	known := make(map[string]bool, len(desc.Points))
	for i := range desc.Points {
		p := &desc.Points[i]
		if !ValidName(p.ID) || known[p.ID] {
			return nil, bad("point."+p.ID, allowedName+", each once", "the driver describes a point with this name")
		}
		known[p.ID] = true
		s, err := newSpec(p, cfg, cfg.Point[p.ID], polled)
		if err != nil {
			return nil, err
		}
		s.topic = PointTopic(gateway, device, p.ID)
		specs = append(specs, s)
	}
	for _, id := range slices.Sorted(maps.Keys(cfg.Point)) {
		if !known[id] {
			return nil, bad("point."+id, abbreviate(slices.Sorted(maps.Keys(known))), "the driver has no such point")
		}
	}
	return specs, nil
}

// checkActions checks the names in a description's actions.
func checkActions(actions []drivers.Action) error {
	known := make(map[string]bool, len(actions))
	for i := range actions {
		id := actions[i].ID
		if !ValidName(id) || known[id] {
			return bad("driver", allowedName+", each once", "the driver describes an action %.80q", id)
		}
		known[id] = true
	}
	return nil
}

// abbreviate joins at most a dozen names.
func abbreviate(names []string) string {
	if len(names) > 12 {
		return strings.Join(names[:12], ", ") + ", ..."
	}
	return strings.Join(names, ", ")
}

func newSpec(d *drivers.Point, dc *DeviceConfig, pc PointConfig, polled bool) (*spec, error) {
	s := &spec{
		id: d.ID, label: pc.Label, description: pc.Description, unit: pc.Unit,
		raw: d.Type, typ: d.Type,
		scale:      pointScaling(d, &pc),
		deadband:   pc.Deadband,
		maxSilence: orDefault(pc.MaxSilence, time.Duration(dc.MaxSilence)),
		group:      pc.Group,
		step:       pc.Step,
		readable:   d.Readable, writable: d.Writable,
	}
	if s.description == "" {
		s.description = d.Description
	}
	if s.unit == "" {
		s.unit = d.Unit
	}
	key := "point." + d.ID + "."
	if err := s.restrict(key, pc.Access); err != nil {
		return nil, err
	}
	numeric := d.Type == drivers.Float || d.Type == drivers.Int
	if !numeric {
		for _, k := range []struct {
			key string
			set bool
		}{
			{"scale", pc.Scale != nil},
			{"offset", pc.Offset != 0},
			{"deadband", pc.Deadband != 0},
			{"min", pc.Min != nil},
			{"max", pc.Max != nil},
			{"step", pc.Step != 0},
		} {
			if k.set {
				return nil, bad(key+k.key, "only on float and int points", "the point's values are %s", d.Type)
			}
		}
	}
	if s.scale.active {
		s.typ = drivers.Float
	}
	if err := s.bound(key, d, &pc); err != nil {
		return nil, err
	}
	s.schedule(dc, &pc, polled)
	return s, nil
}

// pointScaling is the configuration's, or the driver's where it says nothing.
func pointScaling(d *drivers.Point, pc *PointConfig) scaling {
	switch {
	case pc.Scale != nil || pc.Offset != 0:
		return newScaling(pc.Scale, pc.Offset)
	case d.Scale != 0:
		return newScaling(&d.Scale, d.Offset)
	}
	return newScaling(nil, d.Offset)
}

// restrict applies the access key.
func (s *spec) restrict(key, access string) error {
	if strings.Contains(access, "r") && !s.readable {
		return bad(key+"access", `"w"`, "is %q but the device's point cannot be read", access)
	}
	if strings.Contains(access, "w") && !s.writable {
		return bad(key+"access", `"r"`, "is %q but the device's point cannot be written", access)
	}
	if access != "" {
		s.readable = strings.Contains(access, "r")
		s.writable = strings.Contains(access, "w")
	}
	return nil
}

// bound intersects what may be written according to the driver, in raw units,
// with the configuration, in scaled ones.
func (s *spec) bound(key string, d *drivers.Point, pc *PointConfig) error {
	low, high := d.Min, d.Max
	if s.scale.active {
		low, high = s.scaledBound(low), s.scaledBound(high)
		if s.scale.mul < 0 || s.scale.div < 0 {
			low, high = high, low
		}
	}
	s.min, s.max = low, high
	if pc.Min != nil && (low == nil || *pc.Min > *low) {
		s.min = pc.Min
	}
	if pc.Max != nil && (high == nil || *pc.Max < *high) {
		s.max = pc.Max
	}
	if s.min != nil && s.max != nil && *s.min > *s.max {
		return bad(key+"min", fmt.Sprintf("at most %g", *s.max), "with what the device allows, nothing is left from %g to %g", *s.min, *s.max)
	}
	s.enum = slices.Clone(d.Enum)
	if len(pc.Enum) == 0 {
		return nil
	}
	if d.Type != drivers.Text {
		return bad(key+"enum", "only on text points", "the point's values are %s", d.Type)
	}
	for _, e := range pc.Enum {
		if len(d.Enum) > 0 && !slices.Contains(d.Enum, e) {
			return bad(key+"enum", abbreviate(d.Enum), "the device does not take %.80q", e)
		}
	}
	s.enum = slices.Clone(pc.Enum)
	return nil
}

func (s *spec) scaledBound(raw *float64) *float64 {
	if raw == nil {
		return nil
	}
	v := s.scale.apply(*raw)
	return &v
}

// schedule settles how often the point is polled and when it is stale.
func (s *spec) schedule(dc *DeviceConfig, pc *PointConfig, polled bool) {
	if polled && s.readable {
		s.every = DefaultEvery
		if dc.Every != nil {
			s.every = time.Duration(*dc.Every)
		}
		if pc.Every != nil {
			s.every = time.Duration(*pc.Every)
		}
	}
	after := pc.StaleAfter
	if after == nil {
		after = dc.StaleAfter
	}
	switch {
	case after != nil:
		s.staleAfter = time.Duration(*after)
	case s.every > 0:
		s.staleByPoll = true
		s.staleAfter = 3*s.every + orDefault(dc.Timeout, DefaultTimeout)
	default:
		s.staleAfter = 3 * s.maxSilence
	}
}

// check validates a value that a caller wants to write and returns it in the
// point's type. The error is a *wamp.Error.
func (s *spec) check(v any) (drivers.Value, error) {
	value, why := coerce(s.typ, v)
	if why != "" {
		return nil, wamp.NewError(wamp.ErrURIInvalidArgument,
			fmt.Sprintf("%s takes a value of type %s", s.id, s.typ),
			wamp.Dict{"point": s.id, "type": s.typ.String(), "why": why})
	}
	if text, ok := value.(string); ok && len(s.enum) > 0 && !slices.Contains(s.enum, text) {
		return nil, wamp.NewError(wamp.ErrURIOutOfRange,
			fmt.Sprintf("%s takes one of: %s", s.id, abbreviate(s.enum)),
			wamp.Dict{"point": s.id, "value": clip(text, 64), "allowed": texts(s.enum)})
	}
	f, ok := number(value)
	if !ok {
		return value, nil
	}
	if s.min != nil && f < *s.min || s.max != nil && f > *s.max || !s.onStep(f) {
		details := wamp.Dict{"point": s.id, "value": value}
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
	return d
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
