package http

import (
	"fmt"
	"maps"
	nethttp "net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"gantry/drivers"
	"gantry/drivers/internal/text"
	"gantry/drivers/internal/web"
)

// Config is the driver's part of a device's table.
type Config struct {
	URL string `toml:"url"` // http or https; what all paths are below; not needed for a device that only posts
	web.ClientConfig
	MaxBody   uint32                   `toml:"max_body"`   // bytes of an answer; 256 to 1048576, default 65536; of a post no more than that and than 65536
	KeepAlive *bool                    `toml:"keep_alive"` // false: a connection for each request, for devices that cannot do more
	Requests  map[string]RequestConfig `toml:"request"`
	Hook      *HookConfig              `toml:"hook"`
	Points    map[string]PointConfig   `toml:"point"`
	Actions   map[string]ActionConfig  `toml:"action"`
}

// RequestConfig is a request that polls make.
type RequestConfig struct {
	Method      string      `toml:"method"`       // GET (default), POST
	Path        string      `toml:"path"`         // with query; begins with /
	Body        string      `toml:"body"`         // of POST
	ContentType string      `toml:"content_type"` // default: application/json for a body that begins with { or [, else text/plain
	Parse       text.Config `toml:"parse"`        // how the answer is taken apart; none: all of it is the value
}

// CommandConfig is a request that changes something.
type CommandConfig struct {
	Method      string `toml:"method"`       // POST (default), GET, PUT, PATCH, DELETE
	Path        string `toml:"path"`         // with query; {value}, or {name} of an argument, stands for a value
	Body        string `toml:"body"`         // holds values as well; a text of JSON stands between double quotes
	ContentType string `toml:"content_type"` // as in RequestConfig; in application/x-www-form-urlencoded values are escaped
	Expect      string `toml:"expect"`       // RE2 that the answer must match; any other is a refusal
}

// WriteConfig writes a point.
type WriteConfig struct {
	CommandConfig
	From     string `toml:"from"`     // path in the answer, which is JSON, of the value that is set; absent: the one asked for
	Decimals *uint8 `toml:"decimals"` // digits behind the point of a float; default: as many as it has
}

// ActionConfig describes an action.
type ActionConfig struct {
	CommandConfig
	Description string                    `toml:"description"`
	Args        map[string]text.ArgConfig `toml:"args"`
}

// PointConfig is the driver's part of a point's table.
type PointConfig struct {
	Request string       `toml:"request"` // name of the request that it is read by, or "hook"; needed if there are several
	From    string       `toml:"from"`    // field that holds the value; absent: all of the answer
	Status  bool         `toml:"status"`  // the value is the status of the answer; as a bool, whether it is 2xx
	Type    string       `toml:"type"`    // float (default), int, bool, text
	True    string       `toml:"true"`    // the device's text for true; default 1, and also read: true, on
	False   string       `toml:"false"`   // the device's text for false; default 0, and also read: false, off
	Silent  bool         `toml:"silent"`  // it is only written
	Write   *WriteConfig `toml:"write"`   // how it is written; absent: it is not
}

const (
	defaultMaxBody = 65536
	minMaxBody     = 256
	maxMaxBody     = 1 << 20
	maxDecimals    = 15
	hookName       = "hook"

	typeJSON = "application/json"
	typeForm = "application/x-www-form-urlencoded"
	typeText = "text/plain; charset=utf-8"
)

// plan is a configuration that has been checked and made ready for use.
type plan struct {
	base    string // URL without a slash at its end; "" if nothing is asked
	maxBody int64
	sources []*source // sorted by name; the hook, if there is one, is last
	points  []*point  // sorted by id
	actions []*action // sorted by id
}

// source is what readings come from: a request, or what the device posts.
type source struct {
	name   string
	ask    *command // nil: the device posts
	parse  text.Config
	parser text.Parser // nil if no point has a field
	fields []string    // by slot
	hook   *hookPlan
}

// point is a point made ready for use.
type point struct {
	id     string
	form   text.Form
	source *source // nil if it is not read
	slot   int     // of its field; -1: all of the answer
	status bool
	write  *command // nil if it is not written
	back   text.Parser
}

// action is an action made ready for use.
type action struct {
	desc drivers.Action
	args text.Args
	do   *command
}

// command is a request with places for values.
type command struct {
	method      string
	path, query text.Template
	body        text.Template // nil: none
	contentType string
	expect      *regexp.Regexp // nil: any answer
	poll        bool           // it changes nothing
}

func newPlan(cfg *Config, env drivers.Env) (*plan, error) {
	p := &plan{maxBody: int64(cfg.MaxBody)}
	if p.maxBody == 0 {
		p.maxBody = defaultMaxBody
	}
	if p.maxBody < minMaxBody || p.maxBody > maxMaxBody {
		return nil, bad("max_body", fmt.Sprintf("%d to %d bytes", minMaxBody, maxMaxBody), "%d is out of range", cfg.MaxBody)
	}
	if err := cfg.ClientConfig.Validate(env.Dir); err != nil {
		return nil, err
	}
	if err := p.allSources(cfg); err != nil {
		return nil, err
	}
	asks := p.asks()
	for _, id := range slices.Sorted(maps.Keys(cfg.Points)) {
		if err := p.point(id, cfg.Points[id]); err != nil {
			return nil, err
		}
		asks = asks || cfg.Points[id].Write != nil
	}
	for _, id := range slices.Sorted(maps.Keys(cfg.Actions)) {
		if err := p.action(id, cfg.Actions[id]); err != nil {
			return nil, err
		}
		asks = true
	}
	if len(p.points)+len(p.actions) == 0 {
		return nil, bad("point", "at least one table [device.NAME.point.ID]", "the device has no points and no actions")
	}
	if asks || cfg.URL != "" {
		u, err := web.ParseURL("url", cfg.URL, "http", "https")
		if err != nil {
			return nil, err
		}
		if u.RawQuery != "" {
			return nil, bad("url", "http://HOST[:PORT][/PATH]", "has a query, which belongs into path")
		}
		p.base = strings.TrimRight(u.String(), "/")
	}
	return p, p.parsers()
}

// asks reports whether anything is polled.
func (p *plan) asks() bool {
	return slices.ContainsFunc(p.sources, func(s *source) bool { return s.ask != nil })
}

func (p *plan) allSources(cfg *Config) error {
	for _, name := range slices.Sorted(maps.Keys(cfg.Requests)) {
		c := cfg.Requests[name]
		key := "request." + name
		if name == hookName {
			return bad(key, "another name", `is what the device posts`)
		}
		if c.Method == "" {
			c.Method = nethttp.MethodGet
		}
		ask, err := newCommand(key, CommandConfig{Method: c.Method, Path: c.Path, Body: c.Body, ContentType: c.ContentType},
			[]string{nethttp.MethodGet, nethttp.MethodPost}, nil)
		if err != nil {
			return err
		}
		ask.poll = true
		p.sources = append(p.sources, &source{name: name, ask: ask, parse: c.Parse})
	}
	if cfg.Hook == nil {
		return nil
	}
	h, err := newHookPlan(cfg.Hook)
	if err != nil {
		return err
	}
	p.sources = append(p.sources, &source{name: hookName, parse: cfg.Hook.Parse, hook: h})
	return nil
}

// parsers makes the parsers once all fields are known.
func (p *plan) parsers() (err error) {
	for _, s := range p.sources {
		if s.hook != nil && s.hook.form {
			continue
		}
		if s.parser, err = text.NewParser(&s.parse, s.fields); err != nil {
			return below(s.key(), err)
		}
	}
	return nil
}

func (s *source) key() string {
	if s.hook != nil {
		return hookName
	}
	return "request." + s.name
}

// below puts the key of an error below another.
func below(key string, err error) error {
	if ce, ok := err.(*drivers.ConfigError); ok && strings.HasPrefix(ce.Key, "parse") {
		return &drivers.ConfigError{Key: key + "." + ce.Key, Text: ce.Text, Allowed: ce.Allowed}
	}
	return err
}

func (p *plan) point(id string, c PointConfig) error {
	key := "point." + id
	pt := &point{id: id, slot: -1, status: c.Status}
	if !c.Silent {
		if err := p.choose(key, pt, &c); err != nil {
			return err
		}
	}
	decimal := ""
	if pt.source != nil {
		decimal = pt.source.parse.Decimal
	}
	var err error
	if pt.form, err = text.NewForm(key, c.Type, c.True, c.False, decimal); err != nil {
		return err
	}
	switch {
	case c.Silent && c.Write == nil:
		return bad(key+".silent", "a point that is written", "is neither read nor written")
	case c.Silent && (c.From != "" || c.Status || c.Request != ""):
		return bad(key+".silent", "request, from and status of points that are read", "does not go with request, from and status")
	case c.Status && (c.From != "" || pt.form.Type != drivers.Int && pt.form.Type != drivers.Bool || pt.source.hook != nil):
		return bad(key+".status", "type int or bool, a request, and no from", "does not apply")
	}
	if c.Write != nil {
		if err := p.write(key+".write", pt, c.Write); err != nil {
			return err
		}
	}
	p.points = append(p.points, pt)
	return nil
}

// choose sets what a point is read from.
func (p *plan) choose(key string, pt *point, c *PointConfig) error {
	var names []string
	for _, s := range p.sources {
		names = append(names, s.name)
	}
	i := slices.Index(names, c.Request)
	switch {
	case len(names) == 0:
		return bad(key, "a table [device.NAME.request.ID] or [device.NAME.hook]; or silent = true", "there is nothing to read it from")
	case c.Request == "" && len(names) == 1:
		i = 0
	case c.Request == "":
		return bad(key+".request", strings.Join(names, ", "), "is missing")
	case i < 0:
		return bad(key+".request", strings.Join(names, ", "), "%.40q is none", c.Request)
	}
	s := p.sources[i]
	pt.source = s
	if c.From == "" {
		if s.hook != nil && s.hook.form {
			return bad(key+".from", "the name of a field", "is missing")
		}
		return nil
	}
	if pt.slot = slices.Index(s.fields, c.From); pt.slot < 0 {
		pt.slot = len(s.fields)
		s.fields = append(s.fields, c.From)
	}
	return nil
}

// methods are those of commands.
var methods = []string{nethttp.MethodPost, nethttp.MethodGet, nethttp.MethodPut, nethttp.MethodPatch, nethttp.MethodDelete}

func (p *plan) write(key string, pt *point, c *WriteConfig) (err error) {
	if d := c.Decimals; d != nil && (pt.form.Type != drivers.Float || *d > maxDecimals) {
		return bad(key+".decimals", fmt.Sprintf("0 to %d, for type float", maxDecimals), "does not apply")
	}
	pt.form.Decimals = c.Decimals
	if pt.write, err = newCommand(key, c.CommandConfig, methods, map[string]text.Form{"value": pt.form}); err != nil {
		return err
	}
	if c.From == "" {
		return nil
	}
	if pt.back, err = text.NewParser(&text.Config{JSON: true}, []string{c.From}); err != nil {
		return bad(key+".from", `names or indices joined by dots: "env.t", "list.0"`, "%.40q is no path to a JSON field", c.From)
	}
	return nil
}

func (p *plan) action(id string, c ActionConfig) error {
	key := "action." + id
	args, err := text.NewArgs(key+".args", c.Args)
	if err != nil {
		return err
	}
	a := &action{args: args, desc: drivers.Action{ID: id, Description: c.Description, Args: args.Points}}
	if a.do, err = newCommand(key, c.CommandConfig, methods, args.Forms); err != nil {
		return err
	}
	p.actions = append(p.actions, a)
	return nil
}

// newCommand checks a request that holds the values named, each at least once.
func newCommand(key string, c CommandConfig, methods []string, forms map[string]text.Form) (*command, error) {
	cmd := &command{method: c.Method, contentType: c.ContentType}
	if cmd.method == "" {
		cmd.method = methods[0]
	}
	if !slices.Contains(methods, cmd.method) {
		return nil, bad(key+".method", strings.Join(methods, ", "), "%.20q does not do", c.Method)
	}
	if !strings.HasPrefix(c.Path, "/") || strings.ContainsAny(c.Path, "# \\") || text.HasControl(c.Path) {
		return nil, bad(key+".path", `a path such as "/status?channel=0"`, "%.80q is no path", c.Path)
	}
	known := map[string]bool{}
	for name := range forms {
		known[name] = true
	}
	path, query, _ := strings.Cut(c.Path, "?")
	var err error
	if cmd.path, err = text.NewTemplate(key+".path", path, known); err != nil {
		return nil, err
	}
	if query != "" {
		if cmd.query, err = text.NewTemplate(key+".path", query, known); err != nil {
			return nil, err
		}
	}
	if _, err := url.Parse("http://device" + cmd.path.FillBy(nil, url.PathEscape)); err != nil {
		return nil, bad(key+".path", `a path such as "/status?channel=0"`, "%.80q is no path", c.Path)
	}
	if err := cmd.setBody(key, &c, known, forms); err != nil {
		return nil, err
	}
	for name := range forms {
		if !cmd.path.Uses(name) && !cmd.query.Uses(name) && !cmd.body.Uses(name) {
			return nil, bad(key, "{"+name+"} in path or body", "does not contain {%s}", name)
		}
	}
	if c.Expect != "" {
		cmd.expect, err = text.Compile(key+".expect", c.Expect)
	}
	return cmd, err
}

func (cmd *command) setBody(key string, c *CommandConfig, known map[string]bool, forms map[string]text.Form) (err error) {
	if c.Body == "" {
		if c.ContentType != "" {
			return bad(key+".content_type", "content_type together with body", "stands without body")
		}
		return nil
	}
	if cmd.method == nethttp.MethodGet {
		return bad(key+".body", "POST and others than GET", "does not go with the method GET")
	}
	if cmd.contentType == "" {
		cmd.contentType = typeText
		if c.Body[0] == '{' || c.Body[0] == '[' {
			cmd.contentType = typeJSON
		}
	}
	if text.HasControl(cmd.contentType) {
		return bad(key+".content_type", typeJSON, "has a control character")
	}
	if cmd.body, err = text.NewTemplate(key+".body", c.Body, known); err != nil {
		return err
	}
	for name, f := range forms {
		if cmd.json() && f.Type == drivers.Text && cmd.body.Bare(name) {
			return bad(key+".body", `"{`+name+`}", between double quotes`, "{%s} is a text outside of quotes", name)
		}
	}
	return nil
}

// json reports whether the body is JSON.
func (cmd *command) json() bool {
	media, _, _ := strings.Cut(cmd.contentType, ";")
	return media == typeJSON || strings.HasSuffix(media, "+json")
}

// describe returns the description of the device.
func (p *plan) describe() drivers.Description {
	d := drivers.Description{Model: "web device"}
	if p.base != "" {
		d.Model += " at " + p.base
	}
	for _, pt := range p.points {
		d.Points = append(d.Points, drivers.Point{ID: pt.id, Type: pt.form.Type, Readable: pt.source != nil, Writable: pt.write != nil})
	}
	for _, a := range p.actions {
		d.Actions = append(d.Actions, a.desc)
	}
	return d
}
