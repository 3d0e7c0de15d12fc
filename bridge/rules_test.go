package bridge_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"gantry/bridge"
	"gantry/internal/wallclock"
	"gantry/wamp"
)

func ptr[T any](v T) *T { return &v }

func origin(t testing.TB, max int) *bridge.Origin {
	t.Helper()
	o, err := bridge.NewOrigin(bridge.OriginConfig{
		Gateway: "gw", Epoch: 7, MaxStreams: max,
		Clock: wallclock.New(wallclock.Config{
			System: func() time.Time { return time.UnixMicro(1_700_000_000_000_000) }, Synced: func() bool { return true },
		}),
	})
	if err != nil {
		t.Fatal(err)
	}
	return o
}

// reading is a published reading without what is the same in all of them.
type reading struct {
	topic  wamp.URI
	value  any
	kwargs wamp.Dict
}

func apply(r *bridge.Rules, m bridge.Message) []reading {
	var out []reading
	r.Readings(m, func(topic wamp.URI, p wamp.Payload) {
		args, kwargs := p.GoValues()
		delete(kwargs, "ts")
		delete(kwargs, "clk")
		delete(kwargs, "ep")
		out = append(out, reading{topic, args[0], kwargs})
	})
	return out
}

func TestReadings(t *testing.T) {
	t.Parallel()
	rules, err := bridge.NewRules(bridge.RulesConfig{Map: []bridge.MapConfig{
		{
			Topic: "sensors/{room}/+", Device: "{room}",
			Points: map[string]any{
				"temperature": map[string]any{"path": "$.temp", "unit": "Cel", "scale": 0.1, "offset": int64(-40)},
				"motion":      map[string]any{"path": "pir.list.1", "type": "bool", "optional": true},
			},
			Constants: map[string]any{"site": "barn", "room": "{room}", "floor": int64(2)},
		},
		{Topic: "plain/{dev}/{what}", Device: "wx_{dev}", Point: "{what}", Unit: "hPa", Type: "float", IgnoreRetained: true},
		{Topic: "any/+", Device: "any", Point: "value"},
	}}, origin(t, 0), nil)
	if err != nil {
		t.Fatal(err)
	}
	good := func(seq int64, kwargs wamp.Dict) wamp.Dict {
		if kwargs == nil {
			kwargs = wamp.Dict{}
		}
		if kwargs["q"] == nil {
			kwargs["q"] = "good"
		}
		kwargs["seq"] = seq
		return kwargs
	}
	bad := func(seq int64, why string, kwargs wamp.Dict) wamp.Dict {
		kwargs = good(seq, kwargs)
		kwargs["q"], kwargs["why"] = "bad", why
		return kwargs
	}
	room := func(room string) wamp.Dict { return wamp.Dict{"site": "barn", "room": room, "floor": int64(2)} }
	temp := func(r string) wamp.Dict { d := room(r); d["unit"] = "Cel"; return d }
	hpa := func() wamp.Dict { return wamp.Dict{"unit": "hPa"} }
	const kitchen = "gantry.gw.point.kitchen.temperature"
	for i, c := range []struct {
		topic, payload string
		retained       bool
		want           []reading
	}{
		{"sensors/kitchen/a", `{"temp": 615, "pir": {"list": [0, 1]}}`, false, []reading{
			{"gantry.gw.point.kitchen.motion", true, good(1, room("kitchen"))}, {kitchen, 21.5, good(1, temp("kitchen"))}}},
		{"sensors/kitchen/b", `{"temp": "615"}`, true, []reading{
			{kitchen, 21.5, func() wamp.Dict { d := temp("kitchen"); d["q"], d["why"] = "uncertain", "retained"; return good(2, d) }()}}},
		{"sensors/kitchen/c", `{"temp": "warm"}`, false, []reading{{kitchen, nil, bad(3, "not_number", temp("kitchen"))}}},
		{"sensors/kitchen/c", `{}`, false, []reading{{kitchen, nil, bad(4, "missing", temp("kitchen"))}}},
		{"sensors/kitchen/c", `{"temp": null}`, false, []reading{{kitchen, nil, bad(5, "null", temp("kitchen"))}}},
		{"sensors/kitchen/c", `{"temp": [1]}`, false, []reading{{kitchen, nil, bad(6, "not_scalar", temp("kitchen"))}}},
		{"sensors/kitchen/c", `{"temp": 1e400}`, false, []reading{{kitchen, nil, bad(7, "out_of_range", temp("kitchen"))}}},
		{"sensors/kitchen/c", `{"temp": 21`, false, []reading{
			{"gantry.gw.point.kitchen.motion", nil, bad(2, "malformed", room("kitchen"))}, {kitchen, nil, bad(8, "malformed", temp("kitchen"))}}},
		{"sensors/kitchen/c", ``, false, []reading{
			{"gantry.gw.point.kitchen.motion", nil, bad(3, "empty", room("kitchen"))}, {kitchen, nil, bad(9, "empty", temp("kitchen"))}}},
		{"sensors/Küche 1/a", `{"temp": 615}`, false, []reading{{"gantry.gw.point.k__che_1.temperature", 21.5, good(1, temp("Küche 1"))}}},
		{"sensors/kitchen", `{"temp": 615}`, false, nil},
		{"plain/7/Pressure", "1013.2", false, []reading{{"gantry.gw.point.wx_7.pressure", 1013.2, good(1, hpa())}}},
		{"plain/7/Pressure", " 1013\n", false, []reading{{"gantry.gw.point.wx_7.pressure", 1013.0, good(2, hpa())}}},
		{"plain/7/Pressure", "NaN", false, []reading{{"gantry.gw.point.wx_7.pressure", nil, bad(3, "not_number", hpa())}}},
		{"plain/7/Pressure", "1013", true, nil},
		{"any/x", "ON", false, []reading{{"gantry.gw.point.any.value", "ON", good(1, nil)}}},
		{"any/x", `"ON"`, false, []reading{{"gantry.gw.point.any.value", "ON", good(2, nil)}}},
		{"any/x", "7", false, []reading{{"gantry.gw.point.any.value", int64(7), good(3, nil)}}},
		{"any/x", "true", false, []reading{{"gantry.gw.point.any.value", true, good(4, nil)}}},
		{"any/x", "\x00\xff", false, []reading{{"gantry.gw.point.any.value", []byte("\x00\xff"), good(5, nil)}}},
		{"any/x", "{}", false, []reading{{"gantry.gw.point.any.value", nil, bad(6, "not_scalar", nil)}}},
	} {
		got := apply(rules, bridge.Message{Topic: c.topic, Payload: []byte(c.payload), Retained: c.retained})
		if d := cmp.Diff(c.want, got, cmp.AllowUnexported(reading{})); d != "" {
			t.Errorf("%d: %s %s: %s", i, c.topic, c.payload, d)
		}
	}
	want := bridge.RulesStats{Messages: 20, Readings: 23 - 1, Malformed: 2, Bad: 11, Ignored: 1}
	if got := rules.Stats(); got != want {
		t.Errorf("stats %+v, want %+v", got, want)
	}
}

func TestStreamsAreBounded(t *testing.T) {
	t.Parallel()
	rules, err := bridge.NewRules(bridge.RulesConfig{Map: []bridge.MapConfig{{Topic: "{d}/x", Device: "{d}", Point: "p"}}}, origin(t, 10), nil)
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for i := range 100 {
		n += len(apply(rules, bridge.Message{Topic: fmt.Sprint("dev", i, "/x"), Payload: []byte("1")}))
	}
	if n != 10 || rules.Stats().Dropped != 90 {
		t.Errorf("%d readings, %+v", n, rules.Stats())
	}
}

func TestRulesConfigErrors(t *testing.T) {
	t.Parallel()
	m := func(edit func(*bridge.MapConfig)) bridge.RulesConfig {
		c := bridge.MapConfig{Topic: "a/{x}", Device: "{x}", Point: "p"}
		edit(&c)
		return bridge.RulesConfig{Map: []bridge.MapConfig{c}}
	}
	cmd := func(edit func(*bridge.CommandConfig)) bridge.RulesConfig {
		c := bridge.CommandConfig{Procedure: "set.lamp.state", Topic: "lamp/set"}
		edit(&c)
		return bridge.RulesConfig{Command: []bridge.CommandConfig{c}}
	}
	points := func(v any) bridge.RulesConfig {
		return m(func(c *bridge.MapConfig) { c.Point, c.Points = "", map[string]any{"p": v} })
	}
	for i, c := range []struct {
		cfg bridge.RulesConfig
		key string
	}{
		{m(func(*bridge.MapConfig) {}), ""},
		{cmd(func(*bridge.CommandConfig) {}), ""},
		{m(func(c *bridge.MapConfig) { c.Topic = "" }), "map[0].topic"},
		{m(func(c *bridge.MapConfig) { c.Topic = "a/{x}/{x}" }), "map[0].topic"},
		{m(func(c *bridge.MapConfig) { c.Topic = "a/b{x}" }), "map[0].topic"},
		{m(func(c *bridge.MapConfig) { c.Topic = "a/#/{x}" }), "map[0].topic"},
		{m(func(c *bridge.MapConfig) { c.Device = "" }), "map[0].device"},
		{m(func(c *bridge.MapConfig) { c.Device = "{y}" }), "map[0].device"},
		{m(func(c *bridge.MapConfig) { c.Device = "A{x}" }), "map[0].device"},
		{m(func(c *bridge.MapConfig) { c.Point = "" }), "map[0].points"},
		{m(func(c *bridge.MapConfig) { c.Point = "Temp" }), "map[0].point"},
		{m(func(c *bridge.MapConfig) { c.Points = map[string]any{"q": "q"} }), "map[0].points"},
		{m(func(c *bridge.MapConfig) { c.Type = "number" }), "map[0].type"},
		{m(func(c *bridge.MapConfig) { c.Scale = ptr(0.0) }), "map[0].scale"},
		{m(func(c *bridge.MapConfig) { c.Scale, c.Type = ptr(2.0), "bool" }), "map[0].type"},
		{m(func(c *bridge.MapConfig) { c.Offset = math.Inf(1) }), "map[0].offset"},
		{m(func(c *bridge.MapConfig) { c.Path = "a.#.b" }), "map[0].path"},
		{m(func(c *bridge.MapConfig) { c.Path = "@reverse" }), "map[0].path"},
		{m(func(c *bridge.MapConfig) { c.Path = "a..b" }), "map[0].path"},
		{m(func(c *bridge.MapConfig) { c.Path = "a|b" }), "map[0].path"},
		{m(func(c *bridge.MapConfig) { c.Path = `a\` }), "map[0].path"},
		{m(func(c *bridge.MapConfig) { c.Path = `$.a\.b.0.c-d e` }), ""},
		{m(func(c *bridge.MapConfig) { c.Constants = map[string]any{"seq": int64(1)} }), "map[0].constants.seq"},
		{m(func(c *bridge.MapConfig) { c.Constants = map[string]any{"r": "{y}"} }), "map[0].constants.r"},
		{m(func(c *bridge.MapConfig) { c.Constants = map[string]any{"r": []any{}} }), "map[0].constants.r"},
		{m(func(c *bridge.MapConfig) { c.Constants = map[string]any{"r": "\x00"} }), "map[0].constants.r"},
		{m(func(c *bridge.MapConfig) { c.QoS = ptr[uint8](3) }), "map[0].qos"},
		{points("t"), ""},
		{points(map[string]any{"path": "t", "scale": int64(2)}), ""},
		{points(1), "map[0].points.p"},
		{points(map[string]any{"pth": "t"}), "map[0].points.p.pth"},
		{points(map[string]any{"path": int64(1)}), "map[0].points.p.path"},
		{points(map[string]any{"scale": "1"}), "map[0].points.p.scale"},
		{points(map[string]any{"path": "t", "type": "x"}), "map[0].points.p.type"},
		{cmd(func(c *bridge.CommandConfig) { c.Procedure = "get.lamp.state" }), "command[0].procedure"},
		{cmd(func(c *bridge.CommandConfig) { c.Procedure = "set.Lamp.state" }), "command[0].procedure"},
		{cmd(func(c *bridge.CommandConfig) { c.Procedure = "set.lamp" }), "command[0].procedure"},
		{cmd(func(c *bridge.CommandConfig) { c.Topic = "lamp/+" }), "command[0].topic"},
		{cmd(func(c *bridge.CommandConfig) { c.Topic = "" }), "command[0].topic"},
		{cmd(func(c *bridge.CommandConfig) { c.Payload = ptr("{other}") }), "command[0].payload"},
		{cmd(func(c *bridge.CommandConfig) { c.Payload = ptr(`{"a":{value}`) }), "command[0].payload"},
		{cmd(func(c *bridge.CommandConfig) { c.Type = "x" }), "command[0].type"},
		{cmd(func(c *bridge.CommandConfig) { c.Min, c.Max = ptr(2.0), ptr(1.0) }), "command[0].min"},
		{cmd(func(c *bridge.CommandConfig) { c.Min, c.Type = ptr(2.0), "bool" }), "command[0].min"},
		{cmd(func(c *bridge.CommandConfig) { c.Enum, c.Type = []string{"a"}, "int" }), "command[0].enum"},
		{cmd(func(c *bridge.CommandConfig) { c.QoS = ptr[uint8](3) }), "command[0].qos"},
		{cmd(func(c *bridge.CommandConfig) { c.Procedure, c.Min = "do.lamp.blink", ptr(1.0) }), "command[0].payload"},
		{bridge.RulesConfig{Command: []bridge.CommandConfig{{Procedure: "do.a.b", Topic: "t"}, {Procedure: "do.a.b", Topic: "u"}}}, "command[1].procedure"},
	} {
		err := c.cfg.Validate()
		var bad *bridge.ConfigError
		if c.key == "" && err != nil || c.key != "" && (!errors.As(err, &bad) || bad.Key != c.key || bad.Allowed == "") {
			t.Errorf("%d: %v, want an error about %q", i, err, c.key)
		}
	}
}

func TestCommands(t *testing.T) {
	t.Parallel()
	rules, err := bridge.NewRules(bridge.RulesConfig{Command: []bridge.CommandConfig{
		{Procedure: "set.lamp.state", Topic: "cmnd/lamp/POWER", Type: "bool", Values: map[string]string{"true": "ON", "false": "OFF"}},
		{Procedure: "set.lamp.level", Topic: "zigbee2mqtt/lamp/set", Payload: ptr(`{"brightness":{value}}`), Type: "int", Min: ptr(0.0), Max: ptr(254.0), QoS: ptr[uint8](0)},
		{Procedure: "set.lamp.mode", Topic: "lamp/mode", Enum: []string{"day", "night"}, Retain: true},
		{Procedure: "set.lamp.text", Topic: "lamp/text", Payload: ptr(`{"text":{value:json}}`)},
		{Procedure: "set.lamp.quoted", Topic: "lamp/text", Payload: ptr(`{"text":"{value}"}`)},
		{Procedure: "do.lamp.blink", Topic: "lamp/{zone}/blink", Payload: ptr(`{"times":{times},"zone":{zone:json}}`)},
		{Procedure: "do.lamp.reset", Topic: "lamp/reset"},
	}}, origin(t, 0), nil)
	if err != nil {
		t.Fatal(err)
	}
	var sent []bridge.Message
	handlers := rules.Handlers(func(_ context.Context, m bridge.Message) error { sent = append(sent, m); return nil })
	if len(handlers) != 7 {
		t.Fatalf("%d handlers", len(handlers))
	}
	for _, c := range []struct {
		procedure string
		args      wamp.List
		kwargs    wamp.Dict
		topic     string
		payload   string
		err       wamp.URI
	}{
		{"set.lamp.state", wamp.List{true}, nil, "cmnd/lamp/POWER", "ON", ""},
		{"set.lamp.state", wamp.List{"true"}, nil, "", "", wamp.ErrURIOutOfRange},
		{"set.lamp.state", wamp.List{}, nil, "", "", wamp.ErrURIInvalidArgument},
		{"set.lamp.state", wamp.List{true, true}, nil, "", "", wamp.ErrURIInvalidArgument},
		{"set.lamp.state", wamp.List{true}, wamp.Dict{"x": int64(1)}, "", "", wamp.ErrURIInvalidArgument},
		{"set.lamp.level", wamp.List{int64(254)}, nil, "zigbee2mqtt/lamp/set", `{"brightness":254}`, ""},
		{"set.lamp.level", wamp.List{100.0}, nil, "zigbee2mqtt/lamp/set", `{"brightness":100}`, ""},
		{"set.lamp.level", wamp.List{int64(255)}, nil, "", "", wamp.ErrURIOutOfRange},
		{"set.lamp.level", wamp.List{1.5}, nil, "", "", wamp.ErrURIOutOfRange},
		{"set.lamp.level", wamp.List{math.NaN()}, nil, "", "", wamp.ErrURIOutOfRange},
		{"set.lamp.level", wamp.List{nil}, nil, "", "", wamp.ErrURIOutOfRange},
		{"set.lamp.level", wamp.List{wamp.List{}}, nil, "", "", wamp.ErrURIOutOfRange},
		{"set.lamp.mode", wamp.List{"night"}, nil, "lamp/mode", "night", ""},
		{"set.lamp.mode", wamp.List{"dusk"}, nil, "", "", wamp.ErrURIOutOfRange},
		{"set.lamp.text", wamp.List{`say "hi"`}, nil, "lamp/text", `{"text":"say \"hi\""}`, ""},
		{"set.lamp.quoted", wamp.List{"hi"}, nil, "lamp/text", `{"text":"hi"}`, ""},
		{"set.lamp.quoted", wamp.List{`"},{"`}, nil, "lamp/text", `{"text":"\"},{\""}`, ""},
		{"do.lamp.blink", nil, wamp.Dict{"zone": "a b", "times": int64(3)}, "lamp/a b/blink", `{"times":3,"zone":"a b"}`, ""},
		{"do.lamp.blink", nil, wamp.Dict{"zone": "a/b", "times": int64(3)}, "", "", wamp.ErrURIOutOfRange},
		{"do.lamp.blink", nil, wamp.Dict{"zone": "#", "times": int64(3)}, "", "", wamp.ErrURIOutOfRange},
		{"do.lamp.blink", nil, wamp.Dict{"zone": "a"}, "", "", wamp.ErrURIInvalidArgument},
		{"do.lamp.blink", nil, wamp.Dict{"zone": "a", "times": int64(3), "x": true}, "", "", wamp.ErrURIInvalidArgument},
		{"do.lamp.reset", nil, nil, "lamp/reset", "", ""},
		{"do.lamp.reset", wamp.List{int64(1)}, nil, "", "", wamp.ErrURIInvalidArgument},
	} {
		sent = nil
		res, err := handlers[wamp.URI("gantry.gw."+c.procedure)](t.Context(), &wamp.Invocation{Payload: wamp.Values(c.args, c.kwargs)}, nil)
		if c.err != "" {
			if !wamp.IsError(err, c.err) || len(sent) > 0 {
				t.Errorf("%s %v %v: %v, %v, want %s", c.procedure, c.args, c.kwargs, sent, err, c.err)
			}
			continue
		}
		if err != nil || len(sent) != 1 || sent[0].Topic != c.topic || string(sent[0].Payload) != c.payload {
			t.Errorf("%s %v %v: %+v, %v", c.procedure, c.args, c.kwargs, sent, err)
			continue
		}
		if sent[0].Retained != (c.procedure == "set.lamp.mode") || sent[0].QoS != map[bool]byte{true: 0, false: 1}[c.procedure == "set.lamp.level"] {
			t.Errorf("%s: %+v", c.procedure, sent[0])
		}
		args, kwargs := res.GoValues()
		if kwargs["verified"] != false || c.args != nil && args[0] != c.args[0] {
			t.Errorf("%s: result %v %v", c.procedure, args, kwargs)
		}
	}
}

func TestOriginErrors(t *testing.T) {
	t.Parallel()
	for _, c := range []bridge.OriginConfig{{}, {Gateway: "G", Epoch: 1}, {Gateway: "g"}, {Gateway: "g", Epoch: 1<<53 + 1}} {
		if _, err := bridge.NewOrigin(c); err == nil {
			t.Errorf("%+v was accepted", c)
		}
	}
}

func TestDisjoint(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"a b":               "a b",
		"a a":               "a",
		"a/# a":             "a/#",
		"a a/#":             "a/#",
		"a/+/c a/b/#":       "a/+/#",
		"a/+/x a/+/y":       "a/+/x a/+/y",
		"a/+/x/# a/+/+/y/#": "a/+/+/#",
		"# $SYS/#":          "# $SYS/#",
		"+/x a/x b/y":       "+/x b/y",
		"a/1 a/2 a/+":       "a/+",
		"x/y/z x/# w":       "x/# w",
		"a/+ +/b c/#":       "+/#",
		"$SYS/a $SYS/+":     "$SYS/+",
		"a/+/# a":           "a/+/# a",
	} {
		if got := disjoint(t, in); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}

func disjoint(t *testing.T, filters string) string {
	var in []bridge.FilterQoS
	for f := range strings.FieldsSeq(filters) {
		p, err := bridge.ParseFilter(f)
		if err != nil {
			t.Skip()
		}
		in = append(in, bridge.FilterQoS{Filter: p})
	}
	var out []string
	for _, f := range bridge.Disjoint(in) {
		out = append(out, f.Filter.String())
	}
	return strings.Join(out, " ")
}

func FuzzDisjoint(f *testing.F) {
	f.Add("a/+/c a/b/# +/x", "a/b/c")
	f.Add("# $SYS/# +", "$SYS/x")
	f.Fuzz(func(t *testing.T, filters, topic string) {
		if len(filters) > 200 || bridge.CheckTopic(topic) != nil {
			return
		}
		out := disjoint(t, filters)
		count := func(filters string) (n int) {
			for s := range strings.FieldsSeq(filters) {
				p, err := bridge.ParseFilter(s)
				if err != nil {
					t.Fatalf("%q made the filter %q: %v", filters, s, err)
				}
				if p.Matches(topic) {
					n++
				}
			}
			return n
		}
		if in, out := count(filters), count(out); out > 1 || in > 0 && out == 0 {
			t.Fatalf("%q: %d match %q, %d of those replacing them", filters, in, topic, out)
		}
	})
}
