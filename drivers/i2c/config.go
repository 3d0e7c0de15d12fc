// Package i2c drives sensors and port expanders on an I2C bus through the kernel's
// device files. A device is one chip; chips on the same bus take turns, transfer by
// transfer, so that one converts while another is read.
//
// Each chip is a file: its sequence of transfers and, apart from it, what its bytes
// mean, with the sections of its data sheet. A chip that does not answer is lost, and
// set up anew when it is back, since it may have been without power.
//
// Source: include/uapi/linux/i2c.h and i2c-dev.h, Documentation/i2c/dev-interface.rst of
// the kernel.
package i2c

import (
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"

	"gantry/drivers"
)

// NewKind returns the entry of this package for the list of drivers. Devices made by the
// same entry share buses, so a program has one.
func NewKind() drivers.Kind {
	buses := NewBuses()
	return drivers.Kind{
		Name:   "i2c",
		Config: func() any { return new(Config) },
		New: func(cfg any, env drivers.Env) (drivers.Driver, error) {
			return New(*cfg.(*Config), env, buses)
		},
		Agree: agree,
	}
}

// Config is the driver's part of a device's table: one chip.
type Config struct {
	Path    string   `toml:"path"`     // device file of the bus; default "/dev/i2c-1"
	Chip    string   `toml:"chip"`     // see chips
	Address uint8    `toml:"address"`  // 7 bits; default: the chip's first one
	Inputs  []string `toml:"inputs"`   // ads1115: what is measured; default a0, a1, a2, a3
	Range   float64  `toml:"range"`    // ads1115: full scale in volts; default 2.048
	Shunt   float64  `toml:"shunt"`    // ina219, ina226: its resistance in ohms; default 0.1
	Outputs []string `toml:"outputs"`  // mcp23017: pins that are outputs; the rest are inputs
	PullUps []string `toml:"pull_ups"` // mcp23017: inputs with a pull-up
}

const defaultPath = "/dev/i2c-1"

// model is a kind of chip: at which addresses it can be, and how it is made from a
// configuration, which it checks.
type model struct {
	addresses []uint8
	keys      []string // of Config that apply, besides path, chip and address
	make      func(*Config) (chip, error)
}

// models returns the chips by their names.
func models() map[string]model {
	all := map[string]model{
		"bme280":   {[]uint8{0x76, 0x77}, nil, func(*Config) (chip, error) { return &bme280{humid: true}, nil }},
		"bmp280":   {[]uint8{0x76, 0x77}, nil, func(*Config) (chip, error) { return &bme280{}, nil }},
		"sht3x":    {[]uint8{0x44, 0x45}, nil, func(*Config) (chip, error) { return sht3x{}, nil }},
		"sht4x":    {[]uint8{0x44, 0x45, 0x46}, nil, func(*Config) (chip, error) { return sht4x{}, nil }},
		"scd4x":    {[]uint8{0x62}, nil, func(*Config) (chip, error) { return scd4x{}, nil }},
		"bh1750":   {[]uint8{0x23, 0x5c}, nil, func(*Config) (chip, error) { return bh1750{}, nil }},
		"ads1115":  {[]uint8{0x48, 0x49, 0x4a, 0x4b}, []string{"inputs", "range"}, newADS1115},
		"ina219":   {nil, []string{"shunt"}, newINA219},
		"ina226":   {nil, []string{"shunt"}, newINA226},
		"mcp23017": {nil, []string{"outputs", "pull_ups"}, newMCP23017},
	}
	for name, from := range map[string]uint8{"ina219": 0x40, "ina226": 0x40, "mcp23017": 0x20} {
		m := all[name]
		n := uint8(16)
		if name == "mcp23017" {
			n = 8
		}
		for i := range n {
			m.addresses = append(m.addresses, from+i)
		}
		all[name] = m
	}
	return all
}

func bad(key, allowed, format string, args ...any) error {
	return &drivers.ConfigError{Key: key, Text: fmt.Sprintf(format, args...), Allowed: allowed}
}

// prepare checks the configuration, fills in its defaults and makes the chip.
func (c *Config) prepare() (chip, error) {
	c.Path = pathOf(c)
	if !filepath.IsAbs(c.Path) {
		return nil, bad("path", "an absolute path", "%.80q is relative", c.Path)
	}
	known := models()
	m, ok := known[c.Chip]
	if !ok {
		return nil, bad("chip", strings.Join(slices.Sorted(maps.Keys(known)), ", "), "%.20q is unknown", c.Chip)
	}
	if c.Address == 0 {
		c.Address = m.addresses[0]
	}
	if !slices.Contains(m.addresses, c.Address) {
		allowed := fmt.Sprintf("% #x", m.addresses)
		return nil, bad("address", strings.ReplaceAll(allowed, " ", ", "), "%#x is none of a %s", c.Address, c.Chip)
	}
	for _, k := range []struct {
		key string
		set bool
	}{
		{"inputs", c.Inputs != nil}, {"range", c.Range != 0}, {"shunt", c.Shunt != 0},
		{"outputs", c.Outputs != nil}, {"pull_ups", c.PullUps != nil},
	} {
		if k.set && !slices.Contains(m.keys, k.key) {
			return nil, bad(k.key, strings.Join(append([]string{"path", "chip", "address"}, m.keys...), ", "), "does not apply to a %s", c.Chip)
		}
	}
	return m.make(c)
}

func pathOf(c *Config) string {
	if c.Path == "" {
		return defaultPath
	}
	return c.Path
}

// names checks a list of names that a key has: each is known, and there once.
func names(key string, list, known []string) error {
	for i, n := range list {
		if !slices.Contains(known, n) || slices.Contains(list[:i], n) {
			return bad(key, strings.Join(known, ", ")+", each once", "%.20q is unknown, or there twice", n)
		}
	}
	return nil
}

// agree refuses devices that are the same chip.
func agree(devices map[string]any) map[string]error {
	type place struct {
		path    string
		address uint8
	}
	taken, wrong := map[place]string{}, map[string]error{}
	for _, name := range slices.Sorted(maps.Keys(devices)) {
		c := *devices[name].(*Config)
		if _, err := c.prepare(); err != nil {
			continue // reported by New
		}
		at := place{c.Path, c.Address}
		if other, ok := taken[at]; ok {
			wrong[name] = bad("address", "a chip in one device", "%#x on %s is that of the device %s", c.Address, c.Path, other)
			continue
		}
		taken[at] = name
	}
	return wrong
}
