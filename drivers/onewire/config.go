// Package onewire drives the temperature sensors on a 1-Wire bus that the kernel's
// driver w1_therm serves: DS18S20, DS1822, DS18B20, DS1825 (and MAX31850) and DS28EA00.
// A device is some sensors, on one bus or several.
//
// The kernel answers a sensor that is silent, or whose checksum is wrong, with an empty
// file, and a conversion takes up to 750 ms in which the read of the file does not
// return. Several files are read at the same time: the kernel leaves the bus to others
// while a sensor with a supply of its own converts.
//
// Sources: Documentation/ABI/testing/sysfs-driver-w1_therm and
// Documentation/w1/slaves/w1_therm.rst of the kernel; DS18B20 data sheet 19-7487 Rev 6,
// "Measuring Temperature" (power-on value), "CRC Generation".
package onewire

import (
	"fmt"
	"maps"
	"path/filepath"
	"regexp"
	"slices"

	"gantry/drivers"
)

// Kind is the entry of this package for the list of drivers.
var Kind = drivers.Kind{
	Name:   "onewire",
	Config: func() any { return new(Config) },
	New: func(cfg any, env drivers.Env) (drivers.Driver, error) {
		return New(*cfg.(*Config), env)
	},
}

// Config is the driver's part of a device's table. Without any point the device has
// those sensors that the kernel knows when the configuration is loaded, named by their
// numbers: 28_0316a2794cff.
type Config struct {
	Path   string                 `toml:"path"` // the kernel's folder of sensors; default "/sys/bus/w1/devices"
	Bulk   bool                   `toml:"bulk"` // one conversion for all sensors of a bus when all points are polled together
	Points map[string]PointConfig `toml:"point"`
}

// PointConfig is the driver's part of a point's table: one sensor.
type PointConfig struct {
	Sensor     string `toml:"sensor"`     // the name of its folder: "28-0316a2794cff"
	Resolution uint8  `toml:"resolution"` // 9 to 12 bits; default: as it is
}

const (
	defaultPath = "/sys/bus/w1/devices"
	maxSensors  = 100 // a read each at the same time
)

// sensorName is a family code that w1_therm serves and the 48-bit number.
var sensorName = regexp.MustCompile(`^(10|22|28|3b|42)-[0-9a-f]{12}$`)

func bad(key, allowed, format string, args ...any) error {
	return &drivers.ConfigError{Key: key, Text: fmt.Sprintf(format, args...), Allowed: allowed}
}

// sensor is a point and where it is measured.
type sensor struct {
	id, name   string
	resolution uint8 // 0 = as it is
}

// sensors returns the sensors of the configuration, or those that are there; in the
// order of their points.
func (c *Config) sensors() ([]sensor, error) {
	if c.Path == "" {
		c.Path = defaultPath
	}
	if !filepath.IsAbs(c.Path) {
		return nil, bad("path", "an absolute path", "%.80q is relative", c.Path)
	}
	if len(c.Points) > maxSensors {
		return nil, bad("point", fmt.Sprintf("at most %d", maxSensors), "there are %d", len(c.Points))
	}
	var all []sensor
	if len(c.Points) == 0 {
		for _, name := range discover(c.Path) {
			all = append(all, sensor{id: name[:2] + "_" + name[3:], name: name})
		}
		return all[:min(len(all), maxSensors)], nil
	}
	for _, id := range slices.Sorted(maps.Keys(c.Points)) {
		p := c.Points[id]
		if !sensorName.MatchString(p.Sensor) {
			return nil, bad("point."+id+".sensor", "the name of a folder in "+c.Path+" with the family 10, 22, 28, 3b or 42, such as \"28-0316a2794cff\"", "is %.40q", p.Sensor)
		}
		if slices.ContainsFunc(all, func(s sensor) bool { return s.name == p.Sensor }) {
			return nil, bad("point."+id+".sensor", "a sensor in one point", "%s is that of another point", p.Sensor)
		}
		if p.Resolution != 0 && (p.Resolution < 9 || p.Resolution > 12) {
			return nil, bad("point."+id+".resolution", "9 to 12", "is %d", p.Resolution)
		}
		all = append(all, sensor{id: id, name: p.Sensor, resolution: p.Resolution})
	}
	return all, nil
}

// discover returns the names of the sensors that the kernel knows, sorted.
func discover(path string) []string {
	dirs, err := filepath.Glob(filepath.Join(path, "*-*"))
	if err != nil {
		return nil
	}
	var names []string
	for _, dir := range dirs {
		if name := filepath.Base(dir); sensorName.MatchString(name) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}
