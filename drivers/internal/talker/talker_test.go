package talker_test

import (
	"context"
	"encoding/json"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"gantry/drivers"
	"gantry/drivers/drivertest"
	"gantry/drivers/internal/dialog"
	"gantry/drivers/internal/talker"
	"gantry/drivers/internal/text"
)

// wire is a connection whose other side is a function.
type wire func(p []byte)

func (w wire) Write(_ context.Context, p []byte) error { w(p); return nil }
func (w wire) DropOutput()                             {}

var tagged = talker.Config{
	Parse: talker.ParseConfig{JSON: true},
	Points: map[string]talker.PointConfig{
		"in":  {From: "v", When: map[string]any{"room": "in"}},
		"out": {From: "v", When: map[string]any{"room": []any{"out", "yard"}}},
		"set": {Write: &talker.WriteConfig{Template: `{"n":{id},"set":{value}}`}},
	},
	Actions: map[string]talker.ActionConfig{
		"go": {Template: `{"n":"{id}","go":"{to}"}`, Args: map[string]text.ArgConfig{"to": {Type: "text"}}},
	},
	Reply:  talker.ReplyConfig{ID: "n", Error: "err", Result: "res"},
	Quoted: true,
}

// run has a device of cfg talk to answer until the test ends.
func run(t *testing.T, cfg talker.Config, answer func(in *talker.Intake, p []byte)) (*talker.Device, *talker.Intake, *drivertest.Link) {
	t.Helper()
	d, err := talker.New(cfg, drivers.Env{})
	if err != nil {
		t.Fatal(err)
	}
	link := &drivertest.Link{}
	var in *talker.Intake
	in = d.Begin(wire(func(p []byte) { answer(in, p) }), link)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	listen := func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }
	go func() {
		done <- in.Serve(ctx, dialog.Phases{Join: func(context.Context) error { return nil }, Listen: listen, Up: link.Up})
	}()
	t.Cleanup(func() { cancel(); <-done })
	link.WaitUp(t, 1)
	return d, in, link
}

func TestMessagesSpeakOfPointsTheyAreMeantFor(t *testing.T) {
	t.Parallel()
	_, in, link := run(t, tagged, func(*talker.Intake, []byte) {})
	for _, m := range []string{`{"room":"in","v":1}`, `{"room":"yard","v":2}`, `{"room":"cellar","v":3}`, `{"v":4}`, `{"n":7,"res":5}`} {
		in.Message([]byte(m))
	}
	got := link.Readings()
	if len(got) != 2 || got[0].Point != "in" || got[0].Value != 1.0 || got[1].Point != "out" || got[1].Value != 2.0 {
		t.Errorf("%+v", got)
	}
	if g := link.AllGarbage(); len(g) != 2 || g[0].Why != text.WhyField { // an answer that comes late is none
		t.Errorf("%+v", g)
	}
}

func TestAnswersAreToldByTheirNumber(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var late string
		d, in, _ := run(t, tagged, func(in *talker.Intake, p []byte) {
			var q struct {
				N   any
				Set float64
				Go  string
			}
			if err := json.Unmarshal(p, &q); err != nil {
				t.Errorf("%s: %v", p, err)
			}
			n, _ := json.Marshal(q.N)
			in.Message([]byte(`{"n":99,"res":13}`)) // of somebody else
			switch {
			case q.Set == 1:
				in.Message([]byte(`{"n":` + string(n) + `,"res":1.5}`))
			case q.Set == 2:
				in.Message([]byte(`{"n":` + string(n) + `,"err":"too hot"}`))
			case q.Set == 3:
				late = `{"n":` + string(n) + `,"res":3}`
			case q.Go == `home"`:
				in.Message([]byte(`{"n":` + string(n) + `,"res":"there"}`))
			}
		})
		if got, err := d.Write(t.Context(), "set", 1.0); got != 1.5 || err != nil {
			t.Errorf("%v, %v", got, err)
		}
		if _, err := d.Write(t.Context(), "set", 2.0); !errors.Is(err, drivers.ErrRefused) {
			t.Errorf("%v", err)
		}
		if _, err := d.Write(t.Context(), "set", 3.0); !errors.Is(err, drivers.ErrTimeout) {
			t.Errorf("%v", err)
		}
		begin := time.Now()
		if got, err := d.Do(t.Context(), "go", map[string]any{"to": `home"`}, nil); err != nil || got.(map[string]any)["result"] != "there" {
			t.Errorf("%v, %v", got, err)
		}
		if waited := time.Since(begin); waited > 0 {
			t.Errorf("it waited %v for an answer that nobody can take for its own", waited)
		}
		in.Message([]byte(late))
	})
}

func TestConfigurationOfAnswers(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		key   string
		spoil func(c *talker.Config)
	}{
		{"reply.id", func(c *talker.Config) { c.Reply.ID = "" }},
		{"point", func(c *talker.Config) { c.Reply.ID = "a..b" }},
		{"point.p.write.template", func(c *talker.Config) {
			c.Points = map[string]talker.PointConfig{"p": {Type: "text", Write: &talker.WriteConfig{Template: `{"n":{id},"v":{value}}`}}}
		}},
		{"point.p.write.template", func(c *talker.Config) {
			c.Points = map[string]talker.PointConfig{"p": {Write: &talker.WriteConfig{Template: `{"v":{value}}`, Ack: "ok"}}}
		}},
		{"point.p.when", func(c *talker.Config) {
			c.Points = map[string]talker.PointConfig{"p": {When: map[string]any{"a": "b"}, Write: &talker.WriteConfig{Template: `{"n":{id},"v":{value}}`}}}
		}},
		{"action.a.args.id", func(c *talker.Config) {
			c.Actions = map[string]talker.ActionConfig{"a": {Template: "{id}", Args: map[string]text.ArgConfig{"id": {}}}}
		}},
	} {
		c := tagged
		tt.spoil(&c)
		_, err := talker.New(c, drivers.Env{})
		var ce *drivers.ConfigError
		if !errors.As(err, &ce) || ce.Key != tt.key || ce.Allowed == "" {
			t.Errorf("%s: %v", tt.key, err)
		}
	}
}
