package hub

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"time"

	"gantry/drivers"
)

// Defaults of a device's configuration.
const (
	DefaultEvery         = 10 * time.Second        // polling of drivers that are polled
	DefaultTimeout       = 5 * time.Second         // one request to the driver
	DefaultActionTimeout = 5 * time.Minute         // one action
	DefaultRetryMin      = 200 * time.Millisecond  // shortest wait before a restart
	DefaultRetryMax      = 1500 * time.Millisecond // longest wait before a restart: what is plugged in again is back within 2 s
	DefaultStable        = 10 * time.Second        // up for so long: the next loss starts at RetryMin
	DefaultParkAfter     = 3                       // failed starts until a device on a shared wire is parked
	DefaultParkEvery     = 30 * time.Second        // wait of a parked device
)

// minEvery is the shortest polling interval: faster would only burn the CPU of
// the boards that Gantry runs on.
const minEvery = 5 * time.Millisecond

// maxDuration bounds any length of time in a device's configuration.
const maxDuration = 31 * 24 * time.Hour

// DeviceConfig is what every table [device.NAME] may hold, whatever its driver.
// The driver's own keys stand in the same table and belong to the driver.
type DeviceConfig struct {
	// Driver names the kind of driver.
	Driver string `toml:"driver"`
	// Label is the device's name for people; any text.
	Label string `toml:"label"`
	// Disabled keeps the device in the list without starting it.
	Disabled bool `toml:"disabled"`
	// Every is the interval at which a driver that can be polled is polled.
	// Absent = DefaultEvery, 0 = never.
	Every *drivers.Duration `toml:"every"`
	// Timeout bounds one request to the driver. 0 = DefaultTimeout.
	Timeout drivers.Duration `toml:"timeout"`
	// ActionTimeout bounds one action. 0 = DefaultActionTimeout.
	ActionTimeout drivers.Duration `toml:"action_timeout"`
	// MaxSilence is the default of the points' max_silence.
	MaxSilence drivers.Duration `toml:"max_silence"`
	// StaleAfter is the default of the points' stale_after.
	StaleAfter *drivers.Duration `toml:"stale_after"`
	// Demand polls a point only while somebody is subscribed to it.
	Demand bool `toml:"demand"`
	// Retry says how a lost device is started again.
	Retry RetryConfig `toml:"retry"`
	// Point holds the tables [device.NAME.point.ID].
	Point map[string]PointConfig `toml:"point"`
}

// RetryConfig says how a device that was lost is started again.
type RetryConfig struct {
	// Min and Max bound the wait before the next start; it grows with each
	// failure. 0 = DefaultRetryMin, DefaultRetryMax.
	Min drivers.Duration `toml:"min"`
	Max drivers.Duration `toml:"max"`
	// Stable is how long the device must have been up for its next loss to count
	// as the first one. 0 = DefaultStable.
	Stable drivers.Duration `toml:"stable"`
	// ParkAfter is the number of starts in a row that failed before the device
	// is parked, that is, tried every ParkEvery only. 0 = never. Absent =
	// DefaultParkAfter for a device that shares its wire with others, else never.
	ParkAfter *int `toml:"park_after"`
	// ParkEvery is the wait of a parked device. 0 = DefaultParkEvery.
	ParkEvery drivers.Duration `toml:"park_every"`
}

// PointConfig is what every table [device.NAME.point.ID] may hold, whatever the
// driver. All of it is optional and goes before what the driver says itself.
type PointConfig struct {
	// Label is the point's name for people; any text.
	Label string `toml:"label"`
	// Description says what the point is; any text.
	Description string `toml:"description"`
	// Unit is the UCUM code of the scaled value.
	Unit string `toml:"unit"`
	// Scale and Offset turn the device's raw number into the published one:
	// value = raw*scale + offset. Scale absent = 1; never 0.
	Scale  *float64 `toml:"scale"`
	Offset float64  `toml:"offset"`
	// Deadband suppresses a reading whose value differs by less than this from
	// the last published one. 0 = every reading is published, unless MaxSilence
	// is set: then unchanged ones are not.
	Deadband float64 `toml:"deadband"`
	// MaxSilence is the longest time between two publications while the device
	// is there: an unchanged value is published again. 0 = no such limit.
	MaxSilence drivers.Duration `toml:"max_silence"`
	// StaleAfter is how long the device may say nothing about the point before
	// its value is marked stale. 0 = for ever. Absent = three polling intervals
	// and one timeout for polled points, three times MaxSilence for others.
	StaleAfter *drivers.Duration `toml:"stale_after"`
	// Min, Max and Step restrict what may be written, in scaled units. Step
	// counts from Min, or from 0 without one.
	Min  *float64 `toml:"min"`
	Max  *float64 `toml:"max"`
	Step float64  `toml:"step"`
	// Enum lists the texts that may be written to a text point.
	Enum []string `toml:"enum"`
	// Access takes rights away from a point: "r", "w", "rw". "" = what the
	// driver can do.
	Access string `toml:"access"`
	// Every is the polling interval of this point. Absent = the device's,
	// 0 = never polled.
	Every *drivers.Duration `toml:"every"`
	// Group names points that are polled in one request; points without a group
	// are polled together with those of the same interval.
	Group string `toml:"group"`

	// Mask takes bits out of an integer, Calibrate corrects by a table of pairs
	// [measured, true], Map names values: see transform.Config.
	Mask      uint64            `toml:"mask"`
	Calibrate [][]float64       `toml:"calibrate"`
	Map       map[string]string `toml:"map"`
	// Median, Debounce, Window and Throttle filter in this order, see
	// filter.Config.
	Median   int              `toml:"median"`
	Debounce drivers.Duration `toml:"debounce"`
	Window   WindowConfig     `toml:"window"`
	Throttle drivers.Duration `toml:"throttle"`

	// Verify is how long the device may take, after a write, to report the value
	// written. 0 = it is believed.
	Verify drivers.Duration `toml:"verify"`
	// Limit restricts when the point may be written.
	Limit LimitConfig `toml:"limit"`
	// Safe is what the point is set to when nobody looks after it. nil = it stays
	// as it is.
	Safe *SafeConfig `toml:"safe"`
}

// WindowConfig makes one value of all that come in a time.
type WindowConfig struct {
	// Every is the length of the window. 0 = off.
	Every drivers.Duration `toml:"every"`
	// Of says what its value is: "mean", "min", "max", or "all" for the mean with the
	// other two beside it.
	Of string `toml:"of"`
}

// LimitConfig restricts when a point may be written. A point is on while it is
// true, or a number other than 0.
type LimitConfig struct {
	// Every is the least time between two writes. 0 = any.
	Every drivers.Duration `toml:"every"`
	// MaxOn is the longest time on; then the hub switches it off. 0 = any.
	MaxOn drivers.Duration `toml:"max_on"`
	// MinOff is the least time off before it may be on again. 0 = any.
	MinOff drivers.Duration `toml:"min_off"`
	// NotWith names points that may not be on at the same time, "point" of this
	// device or "device.point": each may be switched on only while the other is
	// known to be off. It holds both ways.
	NotWith []string `toml:"not_with"`
}

// SafeConfig is the value of a point when nobody looks after it: it is written at
// each start of the gateway before anything else, when the gateway stops, and when
// its controller goes quiet.
type SafeConfig struct {
	// Value is the value, in the form that set takes. Required.
	Value any `toml:"value"`
	// After is how long no command and no keepalive may come. 0 = any.
	After drivers.Duration `toml:"after"`
}

// bad is a shorthand for the error of one key.
func bad(key, allowed, format string, args ...any) error {
	return &drivers.ConfigError{Key: key, Text: fmt.Sprintf(format, args...), Allowed: allowed}
}

// Validate checks everything that can be checked without the driver. The error
// is a *drivers.ConfigError.
func (c *DeviceConfig) Validate() error {
	if c.Driver == "" {
		return bad("driver", "the name of a driver", "is missing")
	}
	for _, d := range []struct {
		key string
		v   drivers.Duration
	}{
		{"timeout", c.Timeout},
		{"action_timeout", c.ActionTimeout},
		{"max_silence", c.MaxSilence},
		{"retry.min", c.Retry.Min},
		{"retry.max", c.Retry.Max},
		{"retry.stable", c.Retry.Stable},
		{"retry.park_every", c.Retry.ParkEvery},
	} {
		if err := checkDuration(d.key, &d.v, 0); err != nil {
			return err
		}
	}
	if err := checkDuration("every", c.Every, minEvery); err != nil {
		return err
	}
	if err := checkDuration("stale_after", c.StaleAfter, 0); err != nil {
		return err
	}
	r := c.Retry.withDefaults()
	if r.Min > r.Max {
		return bad("retry.min", "at most retry.max ("+r.Max.String()+")", "is %s", r.Min)
	}
	if n := c.Retry.ParkAfter; n != nil && *n < 0 {
		return bad("retry.park_after", "0 (never) or more", "is %d", *n)
	}
	for _, id := range slices.Sorted(maps.Keys(c.Point)) {
		key := "point." + id
		if !ValidName(id) {
			return bad(key, allowedName, "is not a name")
		}
		p := c.Point[id]
		if err := p.validate(key); err != nil {
			return err
		}
	}
	return nil
}

// validate checks one point; key is its table.
func (p *PointConfig) validate(key string) error {
	key += "."
	for _, f := range []struct {
		key string
		v   *float64
	}{{"deadband", &p.Deadband}, {"min", p.Min}, {"max", p.Max}, {"step", &p.Step}} {
		if f.v != nil && (math.IsNaN(*f.v) || math.IsInf(*f.v, 0)) {
			return bad(key+f.key, "a finite number", "is %g", *f.v)
		}
	}
	switch {
	case p.Deadband < 0:
		return bad(key+"deadband", "0 or more", "is %g", p.Deadband)
	case p.Step < 0:
		return bad(key+"step", "0 or more", "is %g", p.Step)
	case p.Min != nil && p.Max != nil && *p.Min > *p.Max:
		return bad(key+"min", fmt.Sprintf("at most max (%g)", *p.Max), "is %g", *p.Min)
	case p.Access != "" && p.Access != "r" && p.Access != "w" && p.Access != "rw":
		return bad(key+"access", `"r", "w", "rw"`, "is %.16q", p.Access)
	case p.Group != "" && !ValidName(p.Group):
		return bad(key+"group", allowedName, "%.80q is not a name", p.Group)
	}
	for _, d := range []struct {
		key string
		v   *drivers.Duration
	}{
		{"max_silence", &p.MaxSilence},
		{"stale_after", p.StaleAfter},
		{"debounce", &p.Debounce},
		{"window.every", &p.Window.Every},
		{"throttle", &p.Throttle},
		{"verify", &p.Verify},
		{"limit.every", &p.Limit.Every},
		{"limit.max_on", &p.Limit.MaxOn},
		{"limit.min_off", &p.Limit.MinOff},
	} {
		if err := checkDuration(key+d.key, d.v, 0); err != nil {
			return err
		}
	}
	if p.Safe != nil {
		if p.Safe.Value == nil {
			return bad(key+"safe.value", "a value of the point", "is missing")
		}
		if err := checkDuration(key+"safe.after", &p.Safe.After, 0); err != nil {
			return err
		}
	}
	for _, name := range p.Limit.NotWith {
		device, id, two := strings.Cut(name, ".")
		if !ValidName(device) || two && !ValidName(id) {
			return bad(key+"limit.not_with", `"point" or "device.point"`, "%.140q is no name of a point", name)
		}
	}
	return checkDuration(key+"every", p.Every, minEvery)
}

// checkDuration accepts nil, 0, and least to maxDuration.
func checkDuration(key string, d *drivers.Duration, least time.Duration) error {
	if d == nil || *d == 0 {
		return nil
	}
	if v := time.Duration(*d); v < least || v < 0 || v > maxDuration {
		return bad(key, fmt.Sprintf("0, or %s to %s", max(least, 1), maxDuration), "is %s", v)
	}
	return nil
}

// withDefaults returns r with every field set but ParkAfter.
func (r RetryConfig) withDefaults() RetryConfig {
	or := func(d *drivers.Duration, v time.Duration) {
		if *d == 0 {
			*d = drivers.Duration(v)
		}
	}
	or(&r.Min, DefaultRetryMin)
	or(&r.Max, max(DefaultRetryMax, time.Duration(r.Min)))
	or(&r.Stable, DefaultStable)
	or(&r.ParkEvery, DefaultParkEvery)
	return r
}

// orDefault returns d, or def where d is 0.
func orDefault(d drivers.Duration, def time.Duration) time.Duration {
	if d == 0 {
		return def
	}
	return time.Duration(d)
}
