package exec

import (
	"fmt"
	"log/slog"
	"maps"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"gantry/drivers"
	"gantry/drivers/internal/program"
	"gantry/drivers/internal/text"
	"gantry/internal/launch"
)

// Config is the driver's part of a device's table.
type Config struct {
	Mode      string                  `toml:"mode"`       // once (default): a command for each request; child: it runs all the time
	Command   []string                `toml:"command"`    // program and arguments; once: what polls run
	Dir       string                  `toml:"dir"`        // working directory, relative to the configuration file; default: that file's
	Env       map[string]string       `toml:"env"`        // environment
	Inherit   []string                `toml:"inherit"`    // names of the gateway's own variables that are passed on; default: PATH
	Limits    *program.LimitsConfig   `toml:"limits"`     // what it may use at most; default: what the gateway may
	MaxOutput uint32                  `toml:"max_output"` // bytes that it may print, as child in a line; 64 to 1048576, default 65536
	Exit      map[string]string       `toml:"exit"`       // once: exit code = "ok", or the reason why there is no value
	Parse     text.Config             `toml:"parse"`      // once: how what it prints is taken apart
	Points    map[string]PointConfig  `toml:"point"`
	Actions   map[string]ActionConfig `toml:"action"`
}

// PointConfig is the driver's part of a point's table.
type PointConfig struct {
	From     string       `toml:"from"`     // once: field that holds the value; absent: all that is printed
	Code     bool         `toml:"code"`     // once: the value is the exit code; as a bool, whether it is 0
	Type     string       `toml:"type"`     // float (default), int, bool, text
	True     string       `toml:"true"`     // the program's text for true; default 1, and also read: true, on
	False    string       `toml:"false"`    // the program's text for false; default 0, and also read: false, off
	Writable bool         `toml:"writable"` // child: the program takes writes of it
	Silent   bool         `toml:"silent"`   // it is only written
	Write    *WriteConfig `toml:"write"`    // once: how it is written; absent: it is not
}

// WriteConfig is a command that writes a point.
type WriteConfig struct {
	Command  []string `toml:"command"`  // {value} stands for the value
	Decimals *uint8   `toml:"decimals"` // digits behind the point of a float; default: as many as it has
}

// ActionConfig describes an action.
type ActionConfig struct {
	Description string                    `toml:"description"`
	Command     []string                  `toml:"command"` // once: {name} stands for an argument
	Args        map[string]text.ArgConfig `toml:"args"`
}

const (
	modeOnce         = "once"
	modeChild        = "child"
	defaultMaxOutput = 65536
	minMaxOutput     = 64
	maxMaxOutput     = 1 << 20
	maxDecimals      = 15
)

// plan is a configuration that has been checked and made ready for use.
type plan struct {
	command   command // nil if nothing is polled
	dir       string
	env       []string
	limits    *launch.Limits // nil = none
	maxOutput int
	exit      map[int]string
	parser    text.Parser // nil if no point has a field
	fields    int
	points    []*point  // sorted by id
	actions   []*action // sorted by id
}

// point is a point made ready for use.
type point struct {
	id       string
	form     text.Form
	slot     int // of its field; -1: all that is printed
	code     bool
	readable bool
	writable bool
	write    command // once
}

// action is an action made ready for use.
type action struct {
	desc    drivers.Action
	args    text.Args
	command command // once
}

// command is a program and its arguments, with places for values.
type command []string

func newPlan(cfg *Config, env drivers.Env) (*plan, error) {
	p := &plan{maxOutput: int(cfg.MaxOutput), exit: map[int]string{0: "ok"}}
	child := cfg.Mode == modeChild
	if !child && cfg.Mode != "" && cfg.Mode != modeOnce {
		return nil, bad("mode", "once, child", "%.20q is unknown", cfg.Mode)
	}
	if p.maxOutput == 0 {
		p.maxOutput = defaultMaxOutput
	}
	if p.maxOutput < minMaxOutput || p.maxOutput > maxMaxOutput {
		return nil, bad("max_output", fmt.Sprintf("%d to %d bytes", minMaxOutput, maxMaxOutput), "%d is out of range", cfg.MaxOutput)
	}
	p.dir = cfg.Dir
	if !filepath.IsAbs(p.dir) {
		p.dir = filepath.Join(env.Dir, p.dir)
	}
	var err error
	if p.env, err = program.Environment(cfg.Inherit, cfg.Env); err != nil {
		return nil, err
	}
	if cfg.Limits != nil {
		if p.limits, err = cfg.Limits.Limits("limits"); err != nil {
			return nil, err
		}
	}
	if child && (len(cfg.Exit) > 0 || cfg.Parse.Regex != "" || cfg.Parse.JSON || len(cfg.Parse.CSV) > 0) {
		return nil, bad("mode", `exit and parse only with mode = "once"`, "does not go with exit and parse")
	}
	for code, why := range cfg.Exit {
		n, err := strconv.ParseUint(code, 10, 8)
		if err != nil || why == "" {
			return nil, bad("exit."+code, `a code from 0 to 255 = "ok", or a reason`, "is no exit code, or has no reason")
		}
		p.exit[int(n)] = why
	}
	if err := p.all(cfg, child); err != nil {
		return nil, err
	}
	if len(cfg.Command) == 0 {
		if child || slices.ContainsFunc(p.points, func(p *point) bool { return p.readable }) {
			return nil, bad("command", `["/usr/bin/program", "argument"]`, "is missing")
		}
		return p, nil
	}
	p.command, err = newCommand("command", cfg.Command, p.dir, nil)
	return p, err
}

// all checks points, their fields, and actions.
func (p *plan) all(cfg *Config, child bool) error {
	var fields []string
	for _, id := range slices.Sorted(maps.Keys(cfg.Points)) {
		c := cfg.Points[id]
		key := "point." + id
		f, err := text.NewForm(key, c.Type, c.True, c.False, cfg.Parse.Decimal)
		if err != nil {
			return err
		}
		pt := &point{id: id, form: f, slot: -1, code: c.Code, readable: !c.Silent, writable: c.Writable || c.Write != nil}
		switch {
		case child && (c.From != "" || c.Code || c.Write != nil):
			return bad(key, `type, true, false, writable and silent; the others only with mode = "once"`, "has from, code or write")
		case !child && c.Writable:
			return bad(key+".writable", `write = { command = [...] }`, "does not apply to mode once")
		case c.Code && (c.From != "" || f.Type != drivers.Int && f.Type != drivers.Bool):
			return bad(key+".code", "type int or bool, without from", "does not go with this type, or with from")
		case c.Silent && !pt.writable:
			return bad(key+".silent", "a point that is written", "is neither read nor written")
		}
		if c.From != "" {
			if pt.slot = slices.Index(fields, c.From); pt.slot < 0 {
				pt.slot = len(fields)
				fields = append(fields, c.From)
			}
		}
		if c.Write != nil {
			if d := c.Write.Decimals; d != nil && (f.Type != drivers.Float || *d > maxDecimals) {
				return bad(key+".write.decimals", fmt.Sprintf("0 to %d, for type float", maxDecimals), "does not apply")
			}
			pt.form.Decimals = c.Write.Decimals
			if pt.write, err = newCommand(key+".write.command", c.Write.Command, p.dir, []string{"value"}); err != nil {
				return err
			}
		}
		p.points = append(p.points, pt)
	}
	for _, id := range slices.Sorted(maps.Keys(cfg.Actions)) {
		if err := p.action(id, cfg.Actions[id], child); err != nil {
			return err
		}
	}
	if len(p.points)+len(p.actions) == 0 {
		return bad("point", "at least one table [device.NAME.point.ID]", "the device has no points and no actions")
	}
	var err error
	p.fields = len(fields)
	p.parser, err = text.NewParser(&cfg.Parse, fields)
	return err
}

func (p *plan) action(id string, c ActionConfig, child bool) error {
	key := "action." + id
	args, err := text.NewArgs(key+".args", c.Args)
	if err != nil {
		return err
	}
	a := &action{args: args, desc: drivers.Action{ID: id, Description: c.Description, Args: args.Points, Progressive: child}}
	switch {
	case child && len(c.Command) > 0:
		return bad(key+".command", `only with mode = "once"`, "does not apply: the program is told")
	case !child:
		a.command, err = newCommand(key+".command", c.Command, p.dir, slices.Sorted(maps.Keys(c.Args)))
	}
	p.actions = append(p.actions, a)
	return err
}

// newCommand checks a command, whose arguments hold the values named, each at least
// once. A program with a slash is relative to dir; others are looked for in PATH.
func newCommand(key string, words []string, dir string, names []string) (command, error) {
	if len(words) == 0 || words[0] == "" {
		return nil, bad(key, `["/usr/bin/program", "argument"]`, "is missing")
	}
	if text.Placeholder.MatchString(words[0]) {
		return nil, bad(key, "values in arguments only", "has a value as its program")
	}
	used := map[string]bool{}
	for _, w := range words {
		if strings.ContainsRune(w, 0) {
			return nil, bad(key, "texts without NUL", "has a NUL character")
		}
		for _, m := range text.Placeholder.FindAllString(w, -1) {
			name := m[1 : len(m)-1]
			if len(names) > 0 && !slices.Contains(names, name) {
				return nil, bad(key, "{"+strings.Join(names, "}, {")+"}", "%.40s stands for nothing", m)
			}
			used[name] = true
		}
	}
	for _, name := range names {
		if !used[name] {
			return nil, bad(key, "{"+name+"} in an argument", "does not contain {%s}", name)
		}
	}
	c := slices.Clone(words)
	c[0] = program.Path(c[0], dir)
	return c, nil
}

// fill returns the command with values in its arguments.
func (c command) fill(values map[string]string) command {
	out := slices.Clone(c)
	for i, w := range out[1:] {
		out[i+1] = text.Placeholder.ReplaceAllStringFunc(w, func(m string) string {
			if v, ok := values[m[1:len(m)-1]]; ok {
				return v
			}
			return m
		})
	}
	return out
}

// describe returns the description of the device.
func (p *plan) describe(model string) drivers.Description {
	d := drivers.Description{Model: model}
	for _, pt := range p.points {
		d.Points = append(d.Points, drivers.Point{ID: pt.id, Type: pt.form.Type, Readable: pt.readable, Writable: pt.writable})
	}
	for _, a := range p.actions {
		d.Actions = append(d.Actions, a.desc)
	}
	return d
}

// New checks cfg and returns a driver that has not been started. Errors are
// *drivers.ConfigError.
func New(cfg Config, env drivers.Env) (drivers.Driver, error) {
	if env.Log == nil {
		env.Log = slog.New(slog.DiscardHandler)
	}
	if env.Now == nil {
		env.Now = time.Now
	}
	p, err := newPlan(&cfg, env)
	if err != nil {
		return nil, err
	}
	if cfg.Mode == modeChild {
		return newChild(p, env), nil
	}
	return newOnce(p, env), nil
}
