package line

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"time"

	"gantry/drivers"
	"gantry/drivers/internal/text"
	"gantry/drivers/serialport"
)

// Config is the driver's part of a device's table.
type Config struct {
	Port    serialport.Config       `toml:"port"`
	Line    serialport.LineConfig   `toml:"line"`
	Frame   serialport.FrameConfig  `toml:"frame"`
	Parse   ParseConfig             `toml:"parse"`
	Settle  drivers.Duration        `toml:"settle"` // wait after opening, for boards that start anew then; at most 1m
	Points  map[string]PointConfig  `toml:"point"`
	Actions map[string]ActionConfig `toml:"action"`
}

// ParseConfig says how a line is taken apart, as text.Config does.
type ParseConfig struct {
	Regex   string         `toml:"regex"`
	JSON    bool           `toml:"json"`
	CSV     []string       `toml:"csv"`
	Comma   string         `toml:"comma"`
	Decimal string         `toml:"decimal"`
	Ignore  []string       `toml:"ignore"`  // RE2; lines that match one are no readings and no garbage
	GoodIf  map[string]any `toml:"good_if"` // as a point's, for all of them
}

func (c *ParseConfig) text() *text.Config {
	return &text.Config{Regex: c.Regex, JSON: c.JSON, CSV: c.CSV, Comma: c.Comma, Decimal: c.Decimal}
}

// PointConfig is the driver's part of a point's table.
type PointConfig struct {
	From   string         `toml:"from"`    // field that holds the value; "" for a point that is only written
	Type   string         `toml:"type"`    // float (default), int, bool, text
	GoodIf map[string]any `toml:"good_if"` // field = text or list of texts; anything else: quality uncertain
	True   string         `toml:"true"`    // the device's text for true; default 1, and also read: true, on
	False  string         `toml:"false"`   // the device's text for false; default 0, and also read: false, off
	Write  *WriteConfig   `toml:"write"`   // how it is written; absent: it is not
}

// WriteConfig says what is sent and what comes back.
type WriteConfig struct {
	Template string            `toml:"template"` // what is sent, line end included; {value} stands for the value
	Ack      string            `toml:"ack"`      // RE2 of the answer; may hold {value}, and a group named value to read back
	Nack     string            `toml:"nack"`     // RE2 of the refusal; only with Ack
	Timeout  *drivers.Duration `toml:"timeout"`  // for sending and answer together; default 1s
	Decimals *uint8            `toml:"decimals"` // digits behind the point of a float; default: as many as it has
}

// ActionConfig describes an action: a command that is more than setting a point.
type ActionConfig struct {
	Description string               `toml:"description"`
	Template    string               `toml:"template"` // what is sent; {name} stands for an argument
	Ack         string               `toml:"ack"`      // as in WriteConfig; its named groups are in the result
	Nack        string               `toml:"nack"`
	Timeout     *drivers.Duration    `toml:"timeout"`
	Args        map[string]ArgConfig `toml:"args"`
}

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

const (
	defaultTimeout = time.Second
	maxTimeout     = time.Minute
	maxSettle      = time.Minute
	maxDecimals    = 15
)

func bad(key, text, allowed string) error {
	return &drivers.ConfigError{Key: key, Text: text, Allowed: allowed}
}

// plan is a configuration that has been checked and made ready for use.
type plan struct {
	parser  text.Parser      // nil if nothing is read
	fields  []string         // the fields that parser fills, by slot
	points  []*point         // sorted by id
	actions []*action        // sorted by id
	ignore  []*regexp.Regexp // lines that are neither reading nor garbage
	answers []*regexp.Regexp // answers that may come late
}

// point is a point made ready for use.
type point struct {
	id    string
	form  text.Form
	slot  int // of its field; -1 if it is not read
	good  []condition
	write *command // nil if it is not written
}

// action is an action made ready for use.
type action struct {
	id   string
	desc drivers.Action
	args map[string]text.Form
	cmd  *command
}

// condition is one entry of good_if.
type condition struct {
	name string
	slot int
	want []string
}

func newPlan(cfg *Config) (*plan, error) {
	if cfg.Settle.Std() > maxSettle {
		return nil, bad("settle", cfg.Settle.String()+" is too long", "0s to "+maxSettle.String())
	}
	if err := cfg.Frame.Validate(); err != nil {
		return nil, err
	}
	p := &plan{}
	for _, id := range slices.Sorted(maps.Keys(cfg.Points)) {
		if err := p.point(id, cfg.Points[id], &cfg.Parse); err != nil {
			return nil, err
		}
	}
	for _, id := range slices.Sorted(maps.Keys(cfg.Actions)) {
		if err := p.action(id, cfg.Actions[id]); err != nil {
			return nil, err
		}
	}
	if len(p.points)+len(p.actions) == 0 {
		return nil, bad("point", "the device has no points and no actions", "at least one table [device.NAME.point.ID]")
	}
	for i, pattern := range cfg.Parse.Ignore {
		re, err := text.Compile(fmt.Sprintf("parse.ignore.%d", i), pattern)
		if err != nil {
			return nil, err
		}
		p.ignore = append(p.ignore, re)
	}
	var err error
	p.parser, err = text.NewParser(cfg.Parse.text(), p.fields)
	return p, err
}

func (p *plan) point(id string, c PointConfig, parse *ParseConfig) error {
	key := "point." + id
	if c.From == "" && c.Write == nil {
		return bad(key, "is neither read nor written", `from = "FIELD", write = { template = "..." }, or both`)
	}
	f, err := text.NewForm(key, c.Type, c.True, c.False, parse.Decimal)
	if err != nil {
		return err
	}
	pt := &point{id: id, form: f, slot: -1}
	if c.From != "" {
		pt.slot = p.field(c.From)
		if pt.good, err = p.conditions("parse.good_if", parse.GoodIf); err != nil {
			return err
		}
		own, err := p.conditions(key+".good_if", c.GoodIf)
		if err != nil {
			return err
		}
		pt.good = append(pt.good, own...)
	} else if len(c.GoodIf) > 0 {
		return bad(key+".good_if", "the point is not read", "good_if together with from")
	}
	if w := c.Write; w != nil {
		if w.Decimals != nil && (f.Type != drivers.Float || *w.Decimals > maxDecimals) {
			return bad(key+".write.decimals", "does not apply", fmt.Sprintf("0 to %d, for type float", maxDecimals))
		}
		pt.form.Decimals = w.Decimals
		known := map[string]bool{"value": true}
		if pt.write, err = p.command(key+".write", w.Template, w.Ack, w.Nack, w.Timeout, known); err != nil {
			return err
		}
		if !pt.write.template.uses("value") {
			return bad(key+".write.template", "does not contain {value}", `a text such as "LED {value}\n"`)
		}
	}
	p.points = append(p.points, pt)
	return nil
}

func (p *plan) action(id string, c ActionConfig) error {
	key := "action." + id
	a := &action{id: id, args: make(map[string]text.Form, len(c.Args)),
		desc: drivers.Action{ID: id, Description: c.Description}}
	known := make(map[string]bool, len(c.Args))
	for _, name := range slices.Sorted(maps.Keys(c.Args)) {
		arg := c.Args[name]
		at := key + ".args." + name
		if !placeholder.MatchString("{" + name + "}") {
			return bad(at, fmt.Sprintf("%.40q is no name", name), "a-z 0-9 _")
		}
		f, err := text.NewForm(at, arg.Type, arg.True, arg.False, "")
		if err != nil {
			return err
		}
		f.Min, f.Max, f.Enum = arg.Min, arg.Max, arg.Enum
		if f.Min != nil && f.Max != nil && *f.Min > *f.Max {
			return bad(at+".min", "is greater than max", "a number up to max")
		}
		known[name] = true
		a.args[name] = f
		a.desc.Args = append(a.desc.Args, drivers.Point{ID: name, Type: f.Type, Unit: arg.Unit,
			Description: arg.Description, Min: arg.Min, Max: arg.Max, Enum: arg.Enum, Writable: true})
	}
	var err error
	if a.cmd, err = p.command(key, c.Template, c.Ack, c.Nack, c.Timeout, known); err != nil {
		return err
	}
	for name := range known {
		if !a.cmd.template.uses(name) {
			return bad(key+".args."+name, "is not used in the template", "{"+name+"} in template")
		}
	}
	p.actions = append(p.actions, a)
	return nil
}

func (p *plan) command(key, tmpl, ack, nack string, timeout *drivers.Duration, known map[string]bool) (*command, error) {
	c := &command{timeout: defaultTimeout}
	if timeout != nil {
		c.timeout = timeout.Std()
	}
	if c.timeout <= 0 || c.timeout > maxTimeout {
		return nil, bad(key+".timeout", c.timeout.String()+" is out of range", "more than 0s, up to "+maxTimeout.String())
	}
	var err error
	if c.template, err = newTemplate(key+".template", tmpl, known); err != nil {
		return nil, err
	}
	if nack != "" && ack == "" {
		return nil, bad(key+".nack", "stands without ack", "both, or ack alone")
	}
	if c.ack, err = newAnswer(key+".ack", ack, known); err != nil {
		return nil, err
	}
	if c.nack, err = newAnswer(key+".nack", nack, known); err != nil {
		return nil, err
	}
	for _, a := range []*answer{c.ack, c.nack} {
		if a != nil {
			p.answers = append(p.answers, a.any)
		}
	}
	return c, nil
}

// field returns the slot of the field named; it gets one if it has none yet.
func (p *plan) field(name string) int {
	if i := slices.Index(p.fields, name); i >= 0 {
		return i
	}
	p.fields = append(p.fields, name)
	return len(p.fields) - 1
}

func (p *plan) conditions(key string, goodIf map[string]any) ([]condition, error) {
	var all []condition
	for _, name := range slices.Sorted(maps.Keys(goodIf)) {
		c := condition{name: name, slot: p.field(name)}
		list, ok := goodIf[name].([]any)
		if !ok {
			list = []any{goodIf[name]}
		}
		for _, v := range list {
			switch v := v.(type) {
			case string:
				c.want = append(c.want, v)
			case bool:
				c.want = append(c.want, strconv.FormatBool(v))
			case int64:
				c.want = append(c.want, strconv.FormatInt(v, 10))
			case float64:
				c.want = append(c.want, strconv.FormatFloat(v, 'f', -1, 64))
			default:
				return nil, bad(key+"."+name, "is no text", `a text or a list of texts: { flag = "ST" }`)
			}
		}
		all = append(all, c)
	}
	return all, nil
}
