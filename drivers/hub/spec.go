package hub

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"gantry/drivers"
	"gantry/drivers/hub/internal/filter"
	"gantry/drivers/hub/internal/guard"
	"gantry/drivers/hub/internal/transform"
	"gantry/wamp"
)

// maxPoints bounds the points and the actions of one device.
const maxPoints = 4096

// spec is what is fixed about a point: the driver's description with the
// configuration laid over it.
type spec struct {
	id, label, description, unit string
	topic                        wamp.URI
	typ                          drivers.Type // of the published values
	way                          *transform.Transform
	filter                       filter.Config
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
	verify                       time.Duration // 0 = writes are believed
	limits                       guard.Limits
	notWith                      []string      // "device.point"
	safe                         drivers.Value // nil = none
	safeAfter                    time.Duration // 0 = a quiet controller is no reason
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
			return nil, below("point."+p.ID, err)
		}
		s.topic = PointTopic(gateway, device, p.ID)
		specs = append(specs, s)
	}
	if err := qualify(device, specs); err != nil {
		return nil, err
	}
	for _, id := range slices.Sorted(maps.Keys(cfg.Point)) {
		if !known[id] {
			return nil, bad("point."+id, abbreviate(slices.Sorted(maps.Keys(known))), "the driver has no such point")
		}
	}
	return specs, nil
}

// qualify gives the points in not_with their full names, and checks those of the
// device itself; others may come and go.
func qualify(device string, specs []*spec) error {
	for _, s := range specs {
		names := make([]string, 0, len(s.notWith))
		for _, name := range s.notWith {
			if !strings.Contains(name, ".") {
				name = device + "." + name
			}
			id, own := strings.CutPrefix(name, device+".")
			if own && (id == s.id || !slices.ContainsFunc(specs, func(o *spec) bool { return o.id == id && o.switches() })) {
				return bad("point."+s.id+".limit.not_with", "another bool, float or int point of the device, or \"device.point\"", "there is no other such point %.64q", id)
			}
			names = append(names, name)
		}
		s.notWith = names
	}
	return nil
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

// below adds the table that the key of err is in.
func below(table string, err error) error {
	var c *drivers.ConfigError
	if errors.As(err, &c) {
		return &drivers.ConfigError{Key: table + "." + c.Key, Text: c.Text, Allowed: c.Allowed}
	}
	return err
}

// newSpec lays the configuration over one point. The keys of its errors are below
// the point.
func newSpec(d *drivers.Point, dc *DeviceConfig, pc PointConfig, polled bool) (*spec, error) {
	s := &spec{
		id: d.ID, label: pc.Label, description: pc.Description, unit: pc.Unit,
		deadband:   pc.Deadband,
		maxSilence: orDefault(pc.MaxSilence, time.Duration(dc.MaxSilence)),
		group:      pc.Group,
		step:       pc.Step,
		readable:   d.Readable, writable: d.Writable,
		filter: filter.Config{
			Median: pc.Median, Debounce: pc.Debounce.Std(), Window: pc.Window.Every.Std(), Of: pc.Window.Of, Throttle: pc.Throttle.Std(),
		},
	}
	if s.description == "" {
		s.description = d.Description
	}
	if s.unit == "" {
		s.unit = d.Unit
	}
	if err := s.restrict(pc.Access); err != nil {
		return nil, err
	}
	if err := s.transform(d, &pc); err != nil {
		return nil, err
	}
	if err := s.filter.Validate(s.typ); err != nil {
		return nil, err
	}
	if err := s.bound(d, &pc); err != nil {
		return nil, err
	}
	s.schedule(dc, &pc, polled)
	return s, s.protect(&pc, polled)
}

// transform settles the way of the values. The configuration goes before what the
// driver says.
func (s *spec) transform(d *drivers.Point, pc *PointConfig) error {
	cfg := transform.Config{Mask: pc.Mask, Scale: pc.Scale, Offset: pc.Offset, Calibrate: pc.Calibrate, Map: pc.Map}
	if pc.Scale == nil && pc.Offset == 0 && pc.Map == nil {
		cfg.Offset = d.Offset
		if d.Scale != 0 {
			cfg.Scale = &d.Scale
		}
	}
	way, err := transform.New(d.Type, &cfg)
	if err != nil {
		return err
	}
	s.way, s.typ = way, way.Type()
	if s.writable {
		if err := way.CheckUndo(); err != nil {
			return err
		}
	}
	if s.numeric() {
		return nil
	}
	for _, k := range []struct {
		key string
		set bool
	}{
		{"deadband", pc.Deadband != 0},
		{"min", pc.Min != nil},
		{"max", pc.Max != nil},
		{"step", pc.Step != 0},
	} {
		if k.set {
			return bad(k.key, "only on float and int points", "the point's values are %s", s.typ)
		}
	}
	return nil
}

func (s *spec) numeric() bool { return s.typ == drivers.Float || s.typ == drivers.Int }

// switches reports whether the point can be said to be on and off.
func (s *spec) switches() bool { return s.numeric() || s.typ == drivers.Bool }

// restrict applies the access key.
func (s *spec) restrict(access string) error {
	if strings.Contains(access, "r") && !s.readable {
		return bad("access", `"w"`, "is %q but the device's point cannot be read", access)
	}
	if strings.Contains(access, "w") && !s.writable {
		return bad("access", `"r"`, "is %q but the device's point cannot be written", access)
	}
	if access != "" {
		s.readable = strings.Contains(access, "r")
		s.writable = strings.Contains(access, "w")
	}
	return nil
}

// bound intersects what may be written according to the driver, in raw units,
// with the configuration, in published ones.
func (s *spec) bound(d *drivers.Point, pc *PointConfig) error {
	low, high := s.way.Bounds(d.Min, d.Max)
	s.min, s.max = low, high
	if pc.Min != nil && (low == nil || *pc.Min > *low) {
		s.min = pc.Min
	}
	if pc.Max != nil && (high == nil || *pc.Max < *high) {
		s.max = pc.Max
	}
	if s.min != nil && s.max != nil && *s.min > *s.max {
		return bad("min", fmt.Sprintf("at most %g", *s.max), "with what the device allows, nothing is left from %g to %g", *s.min, *s.max)
	}
	s.enum = s.way.Texts()
	if s.enum == nil {
		s.enum = slices.Clone(d.Enum)
	}
	if len(pc.Enum) == 0 {
		return nil
	}
	if s.typ != drivers.Text {
		return bad("enum", "only on text points", "the point's values are %s", s.typ)
	}
	for _, e := range pc.Enum {
		if len(s.enum) > 0 && !slices.Contains(s.enum, e) {
			return bad("enum", abbreviate(s.enum), "the device does not take %.80q", e)
		}
	}
	s.enum = slices.Clone(pc.Enum)
	return nil
}

// protect settles the rules of writing. polled tells that the driver can be asked.
func (s *spec) protect(pc *PointConfig, polled bool) error {
	s.verify = pc.Verify.Std()
	s.limits = guard.Limits{Every: pc.Limit.Every.Std(), MaxOn: pc.Limit.MaxOn.Std(), MinOff: pc.Limit.MinOff.Std()}
	s.notWith = pc.Limit.NotWith
	for _, k := range []struct {
		key         string
		set, onOnly bool
	}{
		{"verify", s.verify != 0, false},
		{"safe", pc.Safe != nil, false},
		{"limit.every", s.limits.Every != 0, false},
		{"limit.max_on", s.limits.MaxOn != 0, true},
		{"limit.min_off", s.limits.MinOff != 0, true},
		{"limit.not_with", s.notWith != nil, true},
	} {
		switch {
		case k.set && !s.writable:
			return bad(k.key, "only on points that can be written", "the point cannot be written")
		case k.set && k.onOnly && !s.switches():
			return bad(k.key, "only on bool, float and int points", "the point's values are %s", s.typ)
		}
	}
	switch {
	case s.verify != 0 && !s.readable:
		return bad("verify", "only on points that can be read", "the point cannot be read")
	case s.writable && s.way.Masked() && !(polled && s.readable):
		return bad("mask", `access = "r", or a device that can be asked for its values`, "the bits outside the mask are not known when the point is written")
	}
	if s.limits.MaxOn != 0 {
		if _, err := s.check(s.off(), wamp.Dict{}); err != nil {
			return bad("limit.max_on", "a range that includes 0", "the point cannot be switched off: %s", saying(err))
		}
	}
	if pc.Safe == nil {
		return nil
	}
	safe, err := s.check(pc.Safe.Value, wamp.Dict{})
	if err != nil {
		return bad("safe.value", s.allowed(), "%s", saying(err))
	}
	s.safe, s.safeAfter = safe, pc.Safe.After.Std()
	return nil
}

// off is the value of a point that is switched off.
func (s *spec) off() drivers.Value {
	switch s.typ {
	case drivers.Bool:
		return false
	case drivers.Int:
		return int64(0)
	}
	return 0.0
}

// isOn reports whether a value of a bool or numeric point is on.
func isOn(v drivers.Value) bool {
	on, is := v.(bool)
	f, _ := transform.Number(v)
	return is && on || f != 0
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
