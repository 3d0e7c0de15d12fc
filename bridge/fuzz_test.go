package bridge_test

import (
	"context"
	"math"
	"slices"
	"strings"
	"testing"

	"gantry/bridge"
	"gantry/wamp"
	"gantry/wamp/serialize"
)

// reasons are all that a reading of quality bad may give (docs/topics.md).
var reasons = []string{"empty", "malformed", "missing", "null", "not_scalar", "not_number", "not_bool", "not_text", "out_of_range"}

// FuzzRules feeds any message to rules of every type: each reading has the form
// of one, and can be carried by every serializer.
func FuzzRules(f *testing.F) {
	for _, payload := range []string{
		`{"t": 21.5}`, `{"t": "on"}`, `{"t": 1e400}`, `{"t": -0}`, `{"t": "\u0000AA"}`, `{"t": [1]}`, `{"t":`, "21", "ON", "", "\x00\xff", "NaN",
		`{"t": 9223372036854775808}`, `{"a.b": {"0": true}}`, `[{"t": 1}]`, `{"t": 1, "t": 2}`,
	} {
		f.Add("sensors/Küche 1/x", payload, false)
	}
	f.Add("sensors//", "1", true)
	f.Fuzz(func(t *testing.T, topic, payload string, retained bool) {
		if bridge.CheckTopic(topic) != nil {
			return
		}
		var maps []bridge.MapConfig
		for _, typ := range []string{"", "float", "int", "bool", "text"} {
			maps = append(maps,
				bridge.MapConfig{Topic: "sensors/{room}/#", Device: "{room}", Point: "p", Path: "$.t", Type: typ, Constants: map[string]any{"room": "{room}"}},
				bridge.MapConfig{Topic: "#", Device: "whole", Point: "p", Type: typ, IgnoreRetained: true})
		}
		maps = append(maps, bridge.MapConfig{Topic: "#", Device: "scaled", Scale: ptr(1e300), Offset: 1, Points: map[string]any{
			"a": `a\.b.0`, "b": map[string]any{"path": "0.t", "optional": true, "unit": "Cel"},
		}})
		rules, err := bridge.NewRules(bridge.RulesConfig{Map: maps}, origin(t, 0), nil)
		if err != nil {
			t.Fatal(err)
		}
		rules.Readings(bridge.Message{Topic: topic, Payload: []byte(payload), Retained: retained}, func(uri wamp.URI, p wamp.Payload) {
			checkReading(t, uri, p, retained)
		})
	})
}

func checkReading(t *testing.T, uri wamp.URI, p wamp.Payload, retained bool) {
	t.Helper()
	parts := strings.Split(string(uri), ".")
	if len(parts) != 5 || parts[0]+parts[1]+parts[2] != "gantrygwpoint" || !bridge.ValidName(parts[3]) || !bridge.ValidName(parts[4]) {
		t.Fatalf("topic %q", uri)
	}
	args, kwargs := p.GoValues()
	if len(args) != 1 {
		t.Fatalf("args %v", args)
	}
	switch v := args[0].(type) {
	case nil, bool, int64, string, []byte:
	case float64:
		if math.IsNaN(v) || math.IsInf(v, 0) {
			t.Fatalf("value %v", v)
		}
	default:
		t.Fatalf("value %T", v)
	}
	why, _ := kwargs["why"].(string)
	switch q := kwargs["q"]; {
	case q == "good" && why == "" && !retained && args[0] != nil:
	case q == "uncertain" && why == "retained" && retained && args[0] != nil:
	case q == "bad" && args[0] == nil && slices.Contains(reasons, why):
	default:
		t.Fatalf("%v, quality %v because of %q", args[0], q, why)
	}
	for _, key := range []string{"ts", "seq", "ep"} {
		if n, ok := kwargs[key].(int64); !ok || n < 1 {
			t.Fatalf("%s is %v", key, kwargs[key])
		}
	}
	if clk := kwargs["clk"]; clk != "sync" && clk != "guess" {
		t.Fatalf("clk is %v", clk)
	}
	for _, format := range []wamp.Format{wamp.JSON, wamp.MsgPack, wamp.CBOR} {
		if _, err := serialize.Encode(format, p); err != nil {
			t.Fatalf("%v %v towards %v: %v", args, kwargs, format, err)
		}
	}
}

// FuzzCommands feeds any text and number to commands: what is sent has a topic,
// and is JSON where the rule says so.
func FuzzCommands(f *testing.F) {
	f.Add("night", int64(3), 1.5)
	f.Add(`"},{"`, int64(-1), math.Inf(1))
	f.Add("a/b\x00", int64(math.MaxInt64), math.NaN())
	rules := bridge.RulesConfig{Command: []bridge.CommandConfig{
		{Procedure: "do.d.json", Topic: "d/{s}/x", Payload: ptr(`{"s":{s:json},"q":"{s}","n":{n},"f":[{f}]}`)},
		{Procedure: "do.d.text", Topic: "d/{n}{f}", Payload: ptr("{s} {n:json} {f}")},
		{Procedure: "set.d.s", Topic: "{value}"},
	}}
	f.Fuzz(func(t *testing.T, s string, n int64, x float64) {
		r, err := bridge.NewRules(rules, origin(t, 0), nil)
		if err != nil {
			t.Fatal(err)
		}
		handlers := r.Handlers(func(_ context.Context, m bridge.Message) error {
			if err := bridge.CheckTopic(m.Topic); err != nil || strings.Count(m.Topic, "/") > 2 {
				t.Fatalf("topic %q %v", m.Topic, err)
			}
			if strings.HasSuffix(m.Topic, "/x") && serialize.Valid(wamp.JSON, m.Payload, serialize.Limits{}) != nil {
				t.Fatalf("payload %q", m.Payload)
			}
			return nil
		})
		dict := wamp.Dict{"s": s, "n": n, "f": x}
		for uri, p := range map[wamp.URI]wamp.Payload{
			"gantry.gw.do.d.json": wamp.Values(nil, dict), "gantry.gw.do.d.text": wamp.Values(nil, dict),
			"gantry.gw.set.d.s": wamp.Args(s),
		} {
			_, err := handlers[uri](t.Context(), &wamp.Invocation{Payload: p}, nil)
			if err != nil && !wamp.IsError(err, wamp.ErrURIOutOfRange) && !wamp.IsError(err, wamp.ErrURIInvalidArgument) {
				t.Fatalf("%s: %v", uri, err)
			}
		}
	})
}
