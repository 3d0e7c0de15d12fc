// Package gpio drives the lines of GPIO chips through the kernel's character device:
// inputs, pulse counters, outputs and soft PWM.
//
// Lines are found by name, on the chip that is named or on all, because chips are
// numbered anew by kernels and boards. Edges are stamped by the kernel. It keeps only
// some of them per line; pulses are counted by its sequence numbers, which count those as
// well that found no room. Edges that come faster than the kernel's interrupt thread
// runs, which is well below a millisecond on an idle board, nobody counts.
//
// Source: include/uapi/linux/gpio.h of the kernel, ABI v2; it takes Linux 5.11.
package gpio

import (
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"gantry/drivers"
)

// Kind is the entry of this package for the list of drivers.
var Kind = drivers.Kind{
	Name:   "gpio",
	Config: func() any { return new(Config) },
	New: func(cfg any, env drivers.Env) (drivers.Driver, error) {
		return New(*cfg.(*Config), env)
	},
}

// Config is the driver's part of a device's table.
type Config struct {
	Chip   string                 `toml:"chip"` // name or label of the chip; default: the one that has a line of that name
	Path   string                 `toml:"path"` // folder of the chips' device files; default "/dev"
	Points map[string]PointConfig `toml:"point"`
}

// PointConfig is the driver's part of a point's table: one line.
type PointConfig struct {
	Line      string           `toml:"line"`       // its name; or
	Number    *uint32          `toml:"number"`     // its number on the chip
	Kind      string           `toml:"kind"`       // input (default), counter, output, pwm
	ActiveLow bool             `toml:"active_low"` // the low level is true
	Bias      string           `toml:"bias"`       // input, counter: up, down, none; default: as it is
	Bounce    drivers.Duration `toml:"bounce"`     // input, counter: how long a contact bounces, at most 1s
	Edge      string           `toml:"edge"`       // counter: rising (default: a pulse begins), falling, both
	Drive     string           `toml:"drive"`      // output, pwm: push_pull (default), open_drain, open_source
	Initial   bool             `toml:"initial"`    // output: state at the first opening
	Frequency float64          `toml:"frequency"`  // pwm: in Hz; default 50
}

// The kinds of points.
const (
	kindInput   = "input"
	kindCounter = "counter"
	kindOutput  = "output"
	kindPWM     = "pwm"
)

const (
	defaultPath      = "/dev"
	defaultFrequency = 50
	minFrequency     = 0.1
	maxFrequency     = 200
	maxBounce        = time.Second
	maxName          = nameSize - 1
)

func bad(key, allowed, format string, args ...any) error {
	return &drivers.ConfigError{Key: key, Text: fmt.Sprintf(format, args...), Allowed: allowed}
}

// choice returns what a key stands for.
func choice[T any](key, name string, of map[string]T, allowed string) (T, error) {
	v, ok := of[name]
	if !ok {
		return v, bad(key, allowed, "%.20q is unknown", name)
	}
	return v, nil
}

// points checks the configuration and returns its points in the order of their names.
func (c *Config) points() ([]*point, error) {
	if c.Path == "" {
		c.Path = defaultPath
	}
	if !filepath.IsAbs(c.Path) {
		return nil, bad("path", "an absolute path", "%.80q is relative", c.Path)
	}
	if len(c.Points) == 0 {
		return nil, bad("point", "a table for each line", "there is none")
	}
	var all []*point
	for _, id := range slices.Sorted(maps.Keys(c.Points)) {
		cfg := c.Points[id]
		p, err := cfg.point(id, c.Chip)
		if err != nil {
			return nil, err
		}
		for _, o := range all {
			if o.line == p.line && o.number == p.number {
				return nil, bad("point."+id, "a line in one point", "the line is that of the point %s", o.id)
			}
		}
		all = append(all, p)
	}
	return all, nil
}

// point checks the table of a point.
func (c *PointConfig) point(id, chip string) (*point, error) {
	key := "point." + id + "."
	p := &point{id: id, kind: c.Kind, line: c.Line, number: -1, initial: c.Initial}
	switch {
	case c.Line == "" && c.Number == nil, c.Line != "" && c.Number != nil:
		return nil, bad(key+"line", "either line, a name such as \"GPIO17\", or number", "names no line, or two")
	case len(c.Line) > maxName:
		return nil, bad(key+"line", fmt.Sprintf("at most %d characters", maxName), "is too long")
	case c.Number != nil && chip == "":
		return nil, bad("chip", "the chip's name or label", "is missing, and the point %s has a number", id)
	case c.Number != nil:
		p.number = int64(*c.Number)
	}
	if p.kind == "" {
		p.kind = kindInput
	}
	if err := c.apply(key, p.kind); err != nil {
		return nil, err
	}
	if err := c.flags(key, p); err != nil {
		return nil, err
	}
	p.bounce = c.Bounce.Std()
	if p.bounce > maxBounce {
		return nil, bad(key+"bounce", "0s to 1s", "is %v", p.bounce)
	}
	if p.kind == kindPWM {
		f := c.Frequency
		if f == 0 {
			f = defaultFrequency
		}
		if !(f >= minFrequency && f <= maxFrequency) {
			return nil, bad(key+"frequency", fmt.Sprintf("%g to %d", minFrequency, maxFrequency), "is %g", f)
		}
		p.period = time.Duration(float64(time.Second) / f)
	}
	return p, nil
}

// apply refuses keys that do not apply to the kind.
func (c *PointConfig) apply(key, kind string) error {
	if _, err := choice(key+"kind", kind, map[string]bool{kindInput: true, kindCounter: true, kindOutput: true, kindPWM: true}, "input, counter, output, pwm"); err != nil {
		return err
	}
	for _, k := range []struct {
		key   string
		set   bool
		kinds []string
	}{
		{"bias", c.Bias != "", []string{kindInput, kindCounter}},
		{"bounce", c.Bounce != 0, []string{kindInput, kindCounter}},
		{"edge", c.Edge != "", []string{kindCounter}},
		{"drive", c.Drive != "", []string{kindOutput, kindPWM}},
		{"initial", c.Initial, []string{kindOutput}},
		{"frequency", c.Frequency != 0, []string{kindPWM}},
	} {
		if k.set && !slices.Contains(k.kinds, kind) {
			return bad(key+k.key, "only with kind "+strings.Join(k.kinds, ", "), "does not apply to kind %s", kind)
		}
	}
	return nil
}

// flags settles how the line is requested.
func (c *PointConfig) flags(key string, p *point) error {
	bias, err := choice(key+"bias", c.Bias, map[string]uint64{"": 0, "up": flagPullUp, "down": flagPullDown, "none": flagNoBias}, "up, down, none")
	if err != nil {
		return err
	}
	drive, err := choice(key+"drive", c.Drive, map[string]uint64{"": 0, "push_pull": 0, "open_drain": flagOpenDrain, "open_source": flagOpenSource}, "push_pull, open_drain, open_source")
	if err != nil {
		return err
	}
	edge, err := choice(key+"edge", c.Edge, map[string]uint64{"": flagRising, "rising": flagRising, "falling": flagFalling, "both": flagRising | flagFalling}, "rising, falling, both")
	if err != nil {
		return err
	}
	switch p.kind {
	case kindInput:
		p.flags = flagInput | flagRising | flagFalling | flagRealtime | bias
	case kindCounter:
		p.flags = flagInput | flagRealtime | edge | bias
	default:
		p.flags = flagOutput | drive
	}
	if c.ActiveLow {
		p.flags |= flagActiveLow
	}
	return nil
}
