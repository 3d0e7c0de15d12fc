// Package sim is a device without hardware, for demonstrations and tests: a
// greenhouse with drifting sensors, daylight, a relay and a slow valve. What its
// sensors say depends on the seed and the number of the reading only. Faults can
// be scripted: silence, garbage, a panic, a call that hangs, a lost connection.
package sim

import (
	"fmt"
	"maps"
	"math"
	"regexp"
	"slices"
	"time"

	"gantry/drivers"
)

// Config is the driver's part of a device's table. Without any point the device is
// a greenhouse: temperature, humidity, soil, light, lamp and valve.
type Config struct {
	Seed   int64                  `toml:"seed"`
	Period *drivers.Duration      `toml:"period"` // between two readings of all points; default 1s, 1ms to 1h
	Points map[string]PointConfig `toml:"point"`
	Faults []FaultConfig          `toml:"fault"`
}

// PointConfig is the driver's part of a point's table.
type PointConfig struct {
	Kind   string            `toml:"kind"`   // drift, light, relay, valve
	Base   float64           `toml:"base"`   // drift: middle; light: brightness at noon
	Swing  float64           `toml:"swing"`  // drift: how far it goes up and down
	Noise  float64           `toml:"noise"`  // drift, light: added at random, up to this much each way
	Cycle  *drivers.Duration `toml:"cycle"`  // drift, light: length of one swing or day; default 10m
	Travel *drivers.Duration `toml:"travel"` // valve: from 0 to 100; default 4s
	Start  float64           `toml:"start"`  // valve: position at the start, 0 to 100; relay: on unless 0
}

// FaultConfig is a fault that begins when After rounds of readings are out.
type FaultConfig struct {
	Kind  string            `toml:"kind"`  // silence, garbage, slow, panic, block, lost
	After uint32            `toml:"after"` // rounds of readings, counted over all runs
	For   uint32            `toml:"for"`   // silence, garbage, slow: rounds, 0 for ever; lost: runs that fail at once afterwards
	Delay *drivers.Duration `toml:"delay"` // slow: how late readings and answers are; default 1s
}

const (
	defaultPeriod = time.Second
	defaultCycle  = 10 * time.Minute
	defaultTravel = 4 * time.Second
	defaultDelay  = time.Second
	minPeriod     = time.Millisecond
	maxPeriod     = time.Hour
)

// The kinds of points.
const (
	kindDrift = "drift"
	kindLight = "light"
	kindRelay = "relay"
	kindValve = "valve"
)

// The kinds of faults.
const (
	faultSilence = "silence"
	faultGarbage = "garbage"
	faultSlow    = "slow"
	faultPanic   = "panic"
	faultBlock   = "block"
	faultLost    = "lost"
)

// Kind is the entry of this package for the list of drivers.
var Kind = drivers.Kind{
	Name:   "sim",
	Config: func() any { return new(Config) },
	New: func(cfg any, env drivers.Env) (drivers.Driver, error) {
		return New(*cfg.(*Config), env)
	},
}

// greenhouse is what the device is when nothing else is configured.
func greenhouse() map[string]PointConfig {
	return map[string]PointConfig{
		"temperature": {Kind: kindDrift, Base: 22, Swing: 4, Noise: 0.1},
		"humidity":    {Kind: kindDrift, Base: 60, Swing: 15, Noise: 0.5},
		"soil":        {Kind: kindDrift, Base: 35, Swing: 5, Noise: 0.2},
		"light":       {Kind: kindLight, Base: 20000, Noise: 50},
		"lamp":        {Kind: kindRelay},
		"valve":       {Kind: kindValve},
	}
}

// greenhouseUnits are the UCUM codes of greenhouse.
func greenhouseUnits() map[string]string {
	return map[string]string{"temperature": "Cel", "humidity": "%", "soil": "%", "light": "lx"}
}

var name = regexp.MustCompile(`^[a-z0-9_]+$`)

func bad(key, text, allowed string) error {
	return &drivers.ConfigError{Key: key, Text: text, Allowed: allowed}
}

func (c *Config) validate() error {
	if p := c.Period; p != nil && (p.Std() < minPeriod || p.Std() > maxPeriod) {
		return bad("period", p.String()+" is out of range", fmt.Sprintf("%v to %v", minPeriod, maxPeriod))
	}
	for _, id := range slices.Sorted(maps.Keys(c.Points)) {
		if err := c.Points[id].validate("point." + id); err != nil {
			return err
		}
		if !name.MatchString(id) {
			return bad("point."+id, "is no name", "a-z 0-9 _")
		}
	}
	for i, f := range c.Faults {
		key := fmt.Sprintf("fault.%d", i)
		switch f.Kind {
		case faultSilence, faultGarbage, faultSlow, faultLost:
		case faultPanic, faultBlock:
			if f.For != 0 {
				return bad(key+".for", "does not apply", "kind silence, garbage, slow or lost")
			}
		default:
			return bad(key+".kind", fmt.Sprintf("%.20q is unknown", f.Kind), "silence, garbage, slow, panic, block, lost")
		}
		switch {
		case f.Delay == nil:
		case f.Kind != faultSlow:
			return bad(key+".delay", "does not apply", "kind slow")
		case f.Delay.Std() < time.Millisecond || f.Delay.Std() > maxPeriod:
			return bad(key+".delay", f.Delay.String()+" is out of range", fmt.Sprintf("1ms to %v", maxPeriod))
		}
	}
	return nil
}

func (c PointConfig) validate(key string) error {
	for at, v := range map[string]float64{"base": c.Base, "swing": c.Swing, "noise": c.Noise, "start": c.Start} {
		if math.IsNaN(v) || math.IsInf(v, 0) || math.Abs(v) > 1e12 {
			return bad(key+"."+at, "is out of range", "-1e12 to 1e12")
		}
	}
	for at, d := range map[string]*drivers.Duration{"cycle": c.Cycle, "travel": c.Travel} {
		if d != nil && d.Std() < time.Millisecond {
			return bad(key+"."+at, "is too short", "1ms and more")
		}
	}
	drifts := c.Kind == kindDrift || c.Kind == kindLight
	switch {
	case !drifts && c.Kind != kindRelay && c.Kind != kindValve:
		return bad(key+".kind", fmt.Sprintf("%.20q is unknown", c.Kind), "drift, light, relay, valve")
	case !drifts && (c.Base != 0 || c.Swing != 0 || c.Noise != 0 || c.Cycle != nil):
		return bad(key, "has keys that do not apply to a "+c.Kind, "base, swing, noise and cycle for drift and light")
	case c.Kind != kindValve && c.Travel != nil:
		return bad(key+".travel", "does not apply", `kind = "valve"`)
	case drifts && c.Start != 0:
		return bad(key+".start", "does not apply", "kind relay or valve")
	case c.Kind == kindValve && (c.Start < 0 || c.Start > 100):
		return bad(key+".start", "is out of range", "0 to 100")
	}
	return nil
}
