package external

import (
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"time"

	"gantry/drivers"
	"gantry/drivers/internal/program"
)

// Config is the driver's part of a device's table. Without points and actions the
// program is asked what the device is made of.
type Config struct {
	Command      []string                `toml:"command"`       // program and arguments; absent: it runs elsewhere and logs in by itself
	Dir          string                  `toml:"dir"`           // working directory, relative to the configuration file; default: that file's
	Env          map[string]string       `toml:"env"`           // environment
	Inherit      []string                `toml:"inherit"`       // names of the gateway's own variables that are passed on; default: PATH
	Limits       program.LimitsConfig    `toml:"limits"`        // what it may use at most
	StartTimeout drivers.Duration        `toml:"start_timeout"` // from its start until it serves the device; default 10 s
	Options      map[string]any          `toml:"options"`       // handed to the program as they are
	Points       map[string]PointConfig  `toml:"point"`
	Actions      map[string]ActionConfig `toml:"action"`
}

// PointConfig is the driver's part of a point's table.
type PointConfig struct {
	Type     string `toml:"type"`     // float (default), int, bool, text, bytes
	Writable bool   `toml:"writable"` // the program takes writes of it
	Silent   bool   `toml:"silent"`   // it is only written
}

// ActionConfig describes an action.
type ActionConfig struct {
	Description string               `toml:"description"`
	Progressive bool                 `toml:"progressive"` // it takes its time: it runs beside other requests, and may report progress
	Args        map[string]ArgConfig `toml:"args"`
}

// ArgConfig describes an argument of an action.
type ArgConfig struct {
	Type        string   `toml:"type"` // float (default), int, bool, text, bytes
	Unit        string   `toml:"unit"`
	Description string   `toml:"description"`
	Min         *float64 `toml:"min"`
	Max         *float64 `toml:"max"`
	Enum        []string `toml:"enum"`
}

const defaultStartTimeout = 10 * time.Second

func bad(key, allowed, format string, args ...any) error {
	return &drivers.ConfigError{Key: key, Text: fmt.Sprintf(format, args...), Allowed: allowed}
}

// describe returns what the configuration says of the device.
func (c *Config) describe() (drivers.Description, error) {
	d := drivers.Description{Model: c.model()}
	for _, id := range slices.Sorted(maps.Keys(c.Points)) {
		p := c.Points[id]
		typ, err := typeOf("point."+id, p.Type)
		if err != nil {
			return d, err
		}
		if p.Silent && !p.Writable {
			return d, bad("point."+id+".silent", "only with writable = true", "is neither read nor written")
		}
		d.Points = append(d.Points, drivers.Point{ID: id, Type: typ, Readable: !p.Silent, Writable: p.Writable})
	}
	for _, id := range slices.Sorted(maps.Keys(c.Actions)) {
		a := c.Actions[id]
		desc := drivers.Action{ID: id, Description: a.Description, Progressive: a.Progressive}
		for _, name := range slices.Sorted(maps.Keys(a.Args)) {
			arg := a.Args[name]
			typ, err := typeOf("action."+id+".args."+name, arg.Type)
			if err != nil {
				return d, err
			}
			desc.Args = append(desc.Args, drivers.Point{ID: name, Type: typ, Unit: arg.Unit, Description: arg.Description, Min: arg.Min, Max: arg.Max, Enum: arg.Enum, Writable: true})
		}
		d.Actions = append(d.Actions, desc)
	}
	return d, nil
}

func (c *Config) model() string {
	if len(c.Command) > 0 {
		return "program " + c.Command[0]
	}
	return "external program"
}

func typeOf(key, name string) (drivers.Type, error) {
	if name == "" {
		return drivers.Float, nil
	}
	typ, ok := drivers.ParseType(name)
	if !ok {
		return typ, bad(key+".type", "float, int, bool, text, bytes", "%.20q is no type", name)
	}
	return typ, nil
}

// program returns the program that is run; nil if it runs elsewhere.
func (c *Config) program(env drivers.Env) (*program.Program, error) {
	if c.Command == nil {
		for key, given := range map[string]bool{"dir": c.Dir != "", "env": c.Env != nil, "inherit": c.Inherit != nil, "limits": c.Limits != program.LimitsConfig{}} {
			if given {
				return nil, bad(key, "only with command", "is set without command")
			}
		}
		return nil, nil
	}
	if len(c.Command) == 0 || c.Command[0] == "" {
		return nil, bad("command", `["/usr/bin/program", "argument"]`, "has no program")
	}
	p := &program.Program{Command: slices.Clone(c.Command), Dir: c.Dir}
	if !filepath.IsAbs(p.Dir) {
		p.Dir = filepath.Join(env.Dir, p.Dir)
	}
	p.Command[0] = program.Path(p.Command[0], p.Dir)
	var err error
	if p.Env, err = program.Environment(c.Inherit, c.Env); err != nil {
		return nil, err
	}
	p.Limits, err = c.Limits.Limits("limits")
	return p, err
}
