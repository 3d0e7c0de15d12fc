package line_test

import (
	"errors"
	"testing"
	"time"

	"gantry/drivers"
	"gantry/drivers/line"
	"gantry/drivers/serialport"
)

func TestBadConfigurationNamesTheKey(t *testing.T) {
	t.Parallel()
	number := func(f float64) *float64 { return &f }
	point := func(f func(c *line.Config, p *line.PointConfig)) func(*line.Config) {
		return func(c *line.Config) {
			p := c.Points["led"]
			w := *p.Write
			p.Write = &w
			f(c, &p)
			c.Points["led"] = p
		}
	}
	write := func(f func(w *line.WriteConfig)) func(*line.Config) {
		return point(func(_ *line.Config, p *line.PointConfig) { f(p.Write) })
	}
	action := func(f func(a *line.ActionConfig)) func(*line.Config) {
		return func(c *line.Config) {
			a := c.Actions["interval"]
			f(&a)
			c.Actions["interval"] = a
		}
	}
	arg := func(f func(a *line.ArgConfig)) func(*line.Config) {
		return action(func(a *line.ActionConfig) {
			c := a.Args["ms"]
			f(&c)
			a.Args["ms"] = c
		})
	}
	parse := func(p line.ParseConfig) func(*line.Config) { return func(c *line.Config) { c.Parse = p } }
	seventeen := uint8(17)

	for name, c := range map[string]struct {
		spoil func(*line.Config)
		key   string
	}{
		"no port":                  {func(c *line.Config) { c.Port = serialport.Config{} }, "port"},
		"no such mode":             {func(c *line.Config) { c.Line.Mode = "9N1" }, "line.mode"},
		"no such frame":            {func(c *line.Config) { c.Frame.Kind = "slip" }, "frame.kind"},
		"settling for ever":        {func(c *line.Config) { c.Settle = drivers.Duration(time.Hour) }, "settle"},
		"nothing to read or write": {func(c *line.Config) { c.Points, c.Actions = nil, nil }, "point"},

		"no parser":               {parse(line.ParseConfig{}), "parse"},
		"two parsers":             {parse(line.ParseConfig{JSON: true, CSV: []string{"t"}}), "parse"},
		"broken expression":       {parse(line.ParseConfig{Regex: `(?P<t>`}), "parse.regex"},
		"expression without name": {parse(line.ParseConfig{Regex: `(\d+)`}), "parse.regex"},
		"unknown column":          {parse(line.ParseConfig{CSV: []string{"x", "y"}}), "parse.csv"},
		"two columns of one name": {parse(line.ParseConfig{CSV: []string{"t", "t"}}), "parse.csv"},
		"two characters":          {parse(line.ParseConfig{CSV: []string{"t"}, Comma: ";;"}), "parse.comma"},
		"quote as comma":          {parse(line.ParseConfig{CSV: []string{"t"}, Comma: `"`}), "parse.comma"},
		"comma without csv":       {parse(line.ParseConfig{JSON: true, Comma: ";"}), "parse.comma"},
		"comma twice":             {parse(line.ParseConfig{CSV: []string{"t"}, Decimal: ","}), "parse.decimal"},
		"odd decimal point":       {parse(line.ParseConfig{JSON: true, Decimal: "'"}), "parse.decimal"},
		"broken ignore":           {parse(line.ParseConfig{JSON: true, Ignore: []string{"^#", "("}}), "parse.ignore.1"},
		"condition of a table":    {parse(line.ParseConfig{JSON: true, GoodIf: map[string]any{"s": map[string]any{}}}), "parse.good_if.s"},
		"odd decimal point without readings": {func(c *line.Config) {
			delete(c.Points, "t")
			c.Parse = line.ParseConfig{Decimal: "'"}
		}, "parse.decimal"},

		"neither read nor written":       {point(func(_ *line.Config, p *line.PointConfig) { p.Write = nil }), "point.led"},
		"no such type":                   {point(func(_ *line.Config, p *line.PointConfig) { p.Type = "bytes" }), "point.led.type"},
		"query as path":                  {point(func(_ *line.Config, p *line.PointConfig) { p.From = "a.#(b==1)" }), "point"},
		"path with a gap":                {point(func(_ *line.Config, p *line.PointConfig) { p.From = "a..b" }), "point"},
		"true without false":             {point(func(_ *line.Config, p *line.PointConfig) { p.True = "ON" }), "point.led.true"},
		"true like false":                {point(func(_ *line.Config, p *line.PointConfig) { p.True, p.False = "X", "X" }), "point.led.true"},
		"true of a float":                {point(func(_ *line.Config, p *line.PointConfig) { p.Type, p.True, p.False = "float", "1", "0" }), "point.led.true"},
		"line end in true":               {point(func(_ *line.Config, p *line.PointConfig) { p.True, p.False = "1\n", "0" }), "point.led.true"},
		"condition of what is not read":  {point(func(_ *line.Config, p *line.PointConfig) { p.GoodIf = map[string]any{"s": "ok"} }), "point.led.good_if"},
		"no template":                    {write(func(w *line.WriteConfig) { w.Template = "" }), "point.led.write.template"},
		"template without value":         {write(func(w *line.WriteConfig) { w.Template = "LED\n" }), "point.led.write.template"},
		"template with an unknown value": {write(func(w *line.WriteConfig) { w.Template = "LED {value} {x}\n" }), "point.led.write.template"},
		"broken ack":                     {write(func(w *line.WriteConfig) { w.Ack = "(" }), "point.led.write.ack"},
		"ack with an unknown value":      {write(func(w *line.WriteConfig) { w.Ack = "OK {led}" }), "point.led.write.ack"},
		"ack that the value breaks":      {write(func(w *line.WriteConfig) { w.Ack = "OK (?P<{value}>x)" }), "point.led.write.ack"},
		"nack without ack":               {write(func(w *line.WriteConfig) { w.Ack = "" }), "point.led.write.nack"},
		"no time":                        {write(func(w *line.WriteConfig) { w.Timeout = length(0) }), "point.led.write.timeout"},
		"decimals of a bool":             {write(func(w *line.WriteConfig) { w.Decimals = &seventeen }), "point.led.write.decimals"},
		"too many decimals": {point(func(_ *line.Config, p *line.PointConfig) {
			p.Type, p.Write.Decimals = "float", &seventeen
		}), "point.led.write.decimals"},

		"argument that is not used": {action(func(a *line.ActionConfig) { a.Template = "INTERVAL\n" }), "action.interval.args.ms"},
		"argument that is no name": {action(func(a *line.ActionConfig) {
			a.Args = map[string]line.ArgConfig{"Ms": {}}
		}), "action.interval.args.Ms"},
		"argument of no type":   {arg(func(a *line.ArgConfig) { a.Type = "number" }), "action.interval.args.ms.type"},
		"least above most":      {arg(func(a *line.ArgConfig) { a.Min, a.Max = number(2), number(1) }), "action.interval.args.ms.min"},
		"an action for an hour": {action(func(a *line.ActionConfig) { a.Timeout = length(time.Hour) }), "action.interval.timeout"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cfg := led()
			cfg.Port = serialport.Config{Path: "/dev/null"}
			c.spoil(&cfg)
			_, err := line.New(cfg, drivers.Env{})
			var ce *drivers.ConfigError
			if !errors.As(err, &ce) || ce.Key != c.key || ce.Text == "" || ce.Allowed == "" {
				t.Errorf("error %v, want one about %s that tells what is allowed", err, c.key)
			}
		})
	}
}
