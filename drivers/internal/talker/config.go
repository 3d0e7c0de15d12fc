package talker

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"time"

	"gantry/drivers"
	"gantry/drivers/internal/text"
)

// Config says what messages hold and how commands are sent.
type Config struct {
	Parse   ParseConfig
	Points  map[string]PointConfig
	Actions map[string]ActionConfig
	Reply   ReplyConfig
	// Quoted has texts stand between double quotes in templates, which are JSON.
	Quoted bool
	// Model is what the device is, for people.
	Model string
	// Suspicion is the line of the log when the device sends nothing but garbage.
	Suspicion string
}

// ParseConfig says how a message is taken apart, as text.Config does.
type ParseConfig struct {
	Regex   string         `toml:"regex"`
	JSON    bool           `toml:"json"`
	CSV     []string       `toml:"csv"`
	Comma   string         `toml:"comma"`
	Decimal string         `toml:"decimal"`
	Ignore  []string       `toml:"ignore"`  // RE2; messages that match one are no readings and no garbage
	GoodIf  map[string]any `toml:"good_if"` // as a point's, for all of them
}

func (c *ParseConfig) text() *text.Config {
	return &text.Config{Regex: c.Regex, JSON: c.JSON, CSV: c.CSV, Comma: c.Comma, Decimal: c.Decimal}
}

// PointConfig is the driver's part of a point's table.
type PointConfig struct {
	From   string         `toml:"from"`    // field that holds the value; "" for a point that is only written
	Type   string         `toml:"type"`    // float (default), int, bool, text
	When   map[string]any `toml:"when"`    // field = text or list of texts; other messages say nothing about the point
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
	Description string                    `toml:"description"`
	Template    string                    `toml:"template"` // what is sent; {name} stands for an argument
	Ack         string                    `toml:"ack"`      // as in WriteConfig; its named groups are in the result
	Nack        string                    `toml:"nack"`
	Timeout     *drivers.Duration         `toml:"timeout"`
	Args        map[string]text.ArgConfig `toml:"args"`
}

// ReplyConfig says which message answers which command, where the device tells. The
// fields are paths in JSON.
type ReplyConfig struct {
	ID     string `toml:"id"`     // field that repeats {id} of the template; "": answers are told by ack alone
	Error  string `toml:"error"`  // field that is there, and neither null, false, 0 nor "", in a refusal
	Result string `toml:"result"` // field with the value that a write has set, or the result of an action
}

const (
	defaultTimeout = time.Second
	maxTimeout     = time.Minute
	maxDecimals    = 15
	tagName        = "id"
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
	ignore  []*regexp.Regexp // messages that are neither reading nor garbage
	answers []*regexp.Regexp // answers that may come late
	tag     *tag             // nil if answers do not say what they answer
	quoted  bool
}

// point is a point made ready for use.
type point struct {
	id    string
	form  text.Form
	slot  int // of its field; -1 if it is not read
	when  []condition
	good  []condition
	write *command // nil if it is not written
}

// action is an action made ready for use.
type action struct {
	desc drivers.Action
	args text.Args
	cmd  *command
}

// condition is one entry of good_if or when.
type condition struct {
	name string
	slot int
	want []string
}

func (c *condition) holds(values []text.Field) bool {
	return slices.ContainsFunc(c.want, values[c.slot].Is)
}

// command is something that can be sent.
type command struct {
	template  text.Template
	ack, nack *answer // nil if the device does not answer, or tags its answers
	tagged    bool
	timeout   time.Duration
}

func newPlan(cfg *Config) (*plan, error) {
	p := &plan{quoted: cfg.Quoted}
	var err error
	if p.tag, err = newTag(&cfg.Reply); err != nil {
		return nil, err
	}
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
	if err := p.source(key, pt, &c, parse); err != nil {
		return err
	}
	if w := c.Write; w != nil {
		if w.Decimals != nil && (f.Type != drivers.Float || *w.Decimals > maxDecimals) {
			return bad(key+".write.decimals", "does not apply", fmt.Sprintf("0 to %d, for type float", maxDecimals))
		}
		pt.form.Decimals = w.Decimals
		if pt.write, err = p.command(key+".write", w.Template, w.Ack, w.Nack, w.Timeout, map[string]text.Form{"value": pt.form}); err != nil {
			return err
		}
		if !pt.write.template.Uses("value") {
			return bad(key+".write.template", "does not contain {value}", `a text such as "LED {value}\n"`)
		}
	}
	p.points = append(p.points, pt)
	return nil
}

// source sets where a point's value is found.
func (p *plan) source(key string, pt *point, c *PointConfig, parse *ParseConfig) (err error) {
	if c.From == "" {
		for name, m := range map[string]map[string]any{".good_if": c.GoodIf, ".when": c.When} {
			if len(m) > 0 {
				return bad(key+name, "the point is not read", name[1:]+" together with from")
			}
		}
		return nil
	}
	pt.slot = p.field(c.From)
	if pt.good, err = p.conditions("parse.good_if", parse.GoodIf); err != nil {
		return err
	}
	own, err := p.conditions(key+".good_if", c.GoodIf)
	if err != nil {
		return err
	}
	pt.good = append(pt.good, own...)
	pt.when, err = p.conditions(key+".when", c.When)
	return err
}

func (p *plan) action(id string, c ActionConfig) error {
	key := "action." + id
	args, err := text.NewArgs(key+".args", c.Args)
	if err != nil {
		return err
	}
	a := &action{args: args, desc: drivers.Action{ID: id, Description: c.Description, Args: args.Points}}
	if a.cmd, err = p.command(key, c.Template, c.Ack, c.Nack, c.Timeout, args.Forms); err != nil {
		return err
	}
	for name := range args.Forms {
		if !a.cmd.template.Uses(name) {
			return bad(key+".args."+name, "is not used in the template", "{"+name+"} in template")
		}
	}
	p.actions = append(p.actions, a)
	return nil
}

func (p *plan) command(key, tmpl, ack, nack string, timeout *drivers.Duration, forms map[string]text.Form) (*command, error) {
	c := &command{timeout: defaultTimeout}
	if timeout != nil {
		c.timeout = timeout.Std()
	}
	if c.timeout <= 0 || c.timeout > maxTimeout {
		return nil, bad(key+".timeout", c.timeout.String()+" is out of range", "more than 0s, up to "+maxTimeout.String())
	}
	known := map[string]bool{}
	for name := range forms {
		known[name] = true
	}
	if p.tag != nil {
		if known[tagName] {
			return nil, bad(key+".args."+tagName, "is the number of the command, by reply.id", "another name")
		}
		known[tagName] = true
	}
	var err error
	if c.template, err = text.NewTemplate(key+".template", tmpl, known); err != nil {
		return nil, err
	}
	for name, f := range forms {
		if p.quoted && f.Type == drivers.Text && c.template.Bare(name) {
			return nil, bad(key+".template", "{"+name+"} is a text outside of quotes", `"{`+name+`}", between double quotes`)
		}
	}
	c.tagged = p.tag != nil && c.template.Uses(tagName)
	if p.tag != nil && ack != "" && !c.tagged {
		return nil, bad(key+".template", "has no {id} for reply.id", `{id}, or no ack`)
	}
	return c, p.acknowledge(key, c, ack, nack, known)
}

// acknowledge sets how answers to a command look.
func (p *plan) acknowledge(key string, c *command, ack, nack string, known map[string]bool) (err error) {
	if nack != "" && ack == "" {
		return bad(key+".nack", "stands without ack", "both, or ack alone")
	}
	if c.ack, err = newAnswer(key+".ack", ack, known); err != nil {
		return err
	}
	if c.nack, err = newAnswer(key+".nack", nack, known); err != nil {
		return err
	}
	for _, a := range []*answer{c.ack, c.nack} {
		if a != nil {
			p.answers = append(p.answers, a.any)
		}
	}
	return nil
}

// field returns the slot of the field named; it gets one if it has none yet.
func (p *plan) field(name string) int {
	if i := slices.Index(p.fields, name); i >= 0 {
		return i
	}
	p.fields = append(p.fields, name)
	return len(p.fields) - 1
}

func (p *plan) conditions(key string, want map[string]any) ([]condition, error) {
	var all []condition
	for _, name := range slices.Sorted(maps.Keys(want)) {
		c := condition{name: name, slot: p.field(name)}
		list, ok := want[name].([]any)
		if !ok {
			list = []any{want[name]}
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
