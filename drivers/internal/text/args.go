package text

import (
	"fmt"
	"maps"
	"slices"

	"gantry/drivers"
)

// ArgConfig describes an argument of an action. All arguments must be given.
type ArgConfig struct {
	Type        string   `toml:"type"` // float (default), int, bool, text
	Unit        string   `toml:"unit"`
	Description string   `toml:"description"`
	Min         *float64 `toml:"min"`
	Max         *float64 `toml:"max"`
	Enum        []string `toml:"enum"`
	True        string   `toml:"true"`
	False       string   `toml:"false"`
}

// Args are the arguments of an action made ready for use.
type Args struct {
	Forms  map[string]Form
	Points []drivers.Point // for the action's description, sorted by id
}

// NewArgs checks the arguments that configuration has at key. Errors are
// *drivers.ConfigError.
func NewArgs(key string, cfg map[string]ArgConfig) (Args, error) {
	a := Args{Forms: make(map[string]Form, len(cfg))}
	for _, name := range slices.Sorted(maps.Keys(cfg)) {
		c := cfg[name]
		at := key + "." + name
		if Placeholder.FindString("{"+name+"}") != "{"+name+"}" {
			return a, bad(at, fmt.Sprintf("%.40q is no name", name), "a-z 0-9 _")
		}
		f, err := NewForm(at, c.Type, c.True, c.False, "")
		if err != nil {
			return a, err
		}
		f.Min, f.Max, f.Enum = c.Min, c.Max, c.Enum
		if f.Min != nil && f.Max != nil && *f.Min > *f.Max {
			return a, bad(at+".min", "is greater than max", "a number up to max")
		}
		a.Forms[name] = f
		a.Points = append(a.Points, drivers.Point{ID: name, Type: f.Type, Unit: c.Unit, Description: c.Description,
			Min: c.Min, Max: c.Max, Enum: c.Enum, Writable: true})
	}
	return a, nil
}

// Known returns the names, as NewTemplate takes them.
func (a *Args) Known() map[string]bool {
	known := make(map[string]bool, len(a.Forms))
	for name := range a.Forms {
		known[name] = true
	}
	return known
}

// Texts returns the arguments given as the device wants them, or says which one is
// wrong, missing or too many.
func (a *Args) Texts(given map[string]any) (map[string]string, error) {
	values := make(map[string]string, len(a.Forms))
	for name, f := range a.Forms {
		v, ok := given[name]
		if !ok {
			return nil, fmt.Errorf("argument %s is missing", name)
		}
		s, err := f.Text(v)
		if err != nil {
			return nil, fmt.Errorf("argument %s %w", name, err)
		}
		values[name] = s
	}
	for name := range given {
		if _, ok := a.Forms[name]; !ok {
			return nil, fmt.Errorf("no argument %.40q", name)
		}
	}
	return values, nil
}
