package bridge_test

import (
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"gantry/bridge"
	"gantry/wamp"
)

// lines writes what the rules make of a message, one reading a line: device.point
// value quality why time.
func lines(t *testing.T, rule bridge.MapConfig, m bridge.Message) []string {
	t.Helper()
	r, err := bridge.NewRules(bridge.RulesConfig{Map: []bridge.MapConfig{rule}}, origin(t, 0), nil)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	r.Readings(m, func(topic wamp.URI, p wamp.Payload) {
		args, kwargs := p.GoValues()
		line := fmt.Sprint(strings.TrimPrefix(string(topic), "gantry.gw.point."), " ", args[0], " ", kwargs["q"])
		if why, ok := kwargs["why"]; ok {
			line += fmt.Sprint(" ", why)
		}
		if ts := kwargs["ts"]; ts != int64(1_700_000_000_000_000) {
			line += fmt.Sprint(" @", ts, " ", kwargs["clk"])
		}
		out = append(out, line)
	})
	return out
}

func TestMaps(t *testing.T) {
	t.Parallel()
	const now = 1_700_000_000
	rule := func(edit func(*bridge.MapConfig)) bridge.MapConfig {
		c := bridge.MapConfig{Topic: "s/#", Device: "d", Points: map[string]any{"t": "t"}}
		edit(&c)
		return c
	}
	regex := rule(func(c *bridge.MapConfig) { c.Regex, c.Device = `^s/(?P<room>[a-z]+)-(?P<no>\d+)$`, "{room}_{no}" })
	each := rule(func(c *bridge.MapConfig) {
		c.Each, c.Fields, c.Device = "sensors.#", map[string]string{"id": "id", "site": "site"}, "{site}_{id}_{key}"
	})
	members := rule(func(c *bridge.MapConfig) { c.Each, c.Device = "*.temps.#", "d{key}" })
	timed := rule(func(c *bridge.MapConfig) { c.Time, c.MaxAge = "at", time.Minute })
	judged := rule(func(c *bridge.MapConfig) {
		c.GoodIf = map[string]any{"state": []any{"ok", int64(1)}}
		c.BadIf = map[string]any{"fault": true}
	})
	physical := rule(func(c *bridge.MapConfig) { c.Unit = "Cel" })
	for _, c := range []struct {
		name     string
		rule     bridge.MapConfig
		topic    string
		payload  string
		retained bool
		want     string
	}{
		{"groups of the expression are names", regex, "s/hall-7", `{"t":1}`, false, "hall_7.t 1 good"},
		{"what the expression does not match is left alone", regex, "s/hall-x", `{"t":1}`, false, ""},
		{"each element of an array is an item", each, "s/x", `{"site":"Barn","sensors":[{"id":"a","t":1},{"id":2,"t":null}]}`, false,
			"barn_a_0.t 1 good|barn_2_1.t <nil> bad null"},
		{"an item without its name is left out", each, "s/x", `{"site":"barn","sensors":[{"t":1},{"id":"b","t":2}]}`, false, "barn_b_1.t 2 good"},
		{"no array where one should be", each, "s/x", `{"sensors":{"id":"a"}}`, false, ""},
		{"no JSON", each, "s/x", `sensors`, false, ""},
		{"members of an object, and the arrays in them", members, "s/x", `{"a":{"temps":[{"t":1},{"t":2}]},"b":{"temps":[{"t":3}]},"c":1}`, false,
			"d0.t 1 good|d1.t 2 good|d0.t 3 good"},
		{"seconds", timed, "s/x", fmt.Sprintf(`{"t":1,"at":%d}`, now-10), false, "d.t 1 good @1699999990000000 guess"},
		{"seconds with a fraction", timed, "s/x", fmt.Sprintf(`{"t":1,"at":%d.25}`, now-10), false, "d.t 1 good @1699999990250000 guess"},
		{"milliseconds", timed, "s/x", fmt.Sprintf(`{"t":1,"at":%d500}`, now-10), false, "d.t 1 good @1699999990500000 guess"},
		{"microseconds", timed, "s/x", fmt.Sprintf(`{"t":1,"at":%d000001}`, now-10), false, "d.t 1 good @1699999990000001 guess"},
		{"ISO 8601", timed, "s/x", `{"t":1,"at":"2023-11-14T22:13:10Z"}`, false, "d.t 1 good @1699999990000000 guess"},
		{"ISO 8601 with a zone", timed, "s/x", `{"t":1,"at":"2023-11-14T23:13:10.5+01:00"}`, false, "d.t 1 good @1699999990500000 guess"},
		{"ISO 8601 without one", timed, "s/x", `{"t":1,"at":"2023-11-14T22:13:10"}`, false, "d.t 1 good @1699999990000000 guess"},
		{"older than it may be", timed, "s/x", fmt.Sprintf(`{"t":1,"at":%d}`, now-61), false, "d.t 1 stale old @1699999939000000 guess"},
		{"no time", timed, "s/x", `{"t":1}`, false, "d.t 1 uncertain no_time"},
		{"a clock that was never set", timed, "s/x", `{"t":1,"at":17}`, false, "d.t 1 uncertain no_time"},
		{"retained, but of known age", timed, "s/x", fmt.Sprintf(`{"t":1,"at":%d}`, now-10), true, "d.t 1 good @1699999990000000 guess"},
		{"retained, and the age unknown", timed, "s/x", `{"t":1}`, true, "d.t 1 uncertain retained"},
		{"as it should be", judged, "s/x", `{"t":1,"state":"ok"}`, false, "d.t 1 good"},
		{"a number as it should be", judged, "s/x", `{"t":1,"state":1.0}`, false, "d.t 1 good"},
		{"not as it should be", judged, "s/x", `{"t":1,"state":"warm"}`, false, "d.t 1 uncertain state"},
		{"not there", judged, "s/x", `{"t":1}`, false, "d.t 1 uncertain state"},
		{"a number in a unit", physical, "s/x", `{"t":-21.5}`, false, "d.t -21.5 good"},
		{"an integer in a unit", physical, "s/x", `{"t":9007199254740993}`, false, "d.t 9007199254740993 good"},
		{"a number in quotes in a unit", physical, "s/x", `{"t":" 21.5"}`, false, "d.t 21.5 good"},
		{"a text in a unit", physical, "s/x", `{"t":"bad"}`, false, "d.t <nil> bad not_number"},
		{"true in a unit", physical, "s/x", `{"t":true}`, false, "d.t <nil> bad not_number"},
		{"a text in a unit that is to be one", rule(func(c *bridge.MapConfig) { c.Unit, c.Type = "Cel", "text" }), "s/x", `{"t":"low"}`, false, "d.t low good"},
		{"faulty", judged, "s/x", `{"t":1,"state":"ok","fault":true}`, false, "d.t <nil> bad fault"},
	} {
		got := strings.Join(lines(t, c.rule, bridge.Message{Topic: c.topic, Payload: []byte(c.payload), Retained: c.retained}), "|")
		if got != c.want {
			t.Errorf("%s: %s:\n%s, want\n%s", c.name, c.payload, got, c.want)
		}
	}
}

func TestMapConfigErrors(t *testing.T) {
	t.Parallel()
	for key, edit := range map[string]func(*bridge.MapConfig){
		"regex":       func(c *bridge.MapConfig) { c.Regex = "(" },
		"regex ":      func(c *bridge.MapConfig) { c.Regex = "(?P<x>.)" },
		"each":        func(c *bridge.MapConfig) { c.Each = "a.b" },
		"each ":       func(c *bridge.MapConfig) { c.Each = "a..#" },
		"each  ":      func(c *bridge.MapConfig) { c.Each = "a|b.#" },
		"fields.x":    func(c *bridge.MapConfig) { c.Fields = map[string]string{"x": "a"} },
		"fields.X":    func(c *bridge.MapConfig) { c.Fields = map[string]string{"X": "a"} },
		"fields.y":    func(c *bridge.MapConfig) { c.Fields = map[string]string{"y": ""} },
		"time":        func(c *bridge.MapConfig) { c.Time = "a.#" },
		"time_format": func(c *bridge.MapConfig) { c.Time, c.TimeFormat = "a", "ns" },
		"time_format ": func(c *bridge.MapConfig) {
			c.TimeFormat = "s"
		},
		"max_age":    func(c *bridge.MapConfig) { c.MaxAge = time.Second },
		"max_age ":   func(c *bridge.MapConfig) { c.Time, c.MaxAge = "a", -time.Second },
		"good_if.a":  func(c *bridge.MapConfig) { c.GoodIf = map[string]any{"a": map[string]any{}} },
		"bad_if.a..": func(c *bridge.MapConfig) { c.BadIf = map[string]any{"a..": 1} },
		"device":     func(c *bridge.MapConfig) { c.Device = "{key}" },
		"qos":        func(c *bridge.MapConfig) { c.QoS = ptr[uint8](3) },
	} {
		c := bridge.MapConfig{Topic: "a/{x}", Device: "{x}", Point: "p"}
		edit(&c)
		err := (&bridge.RulesConfig{Map: []bridge.MapConfig{c}}).Validate()
		var bad *bridge.ConfigError
		if want := "map[0]." + strings.TrimSpace(key); !errors.As(err, &bad) || bad.Key != want || bad.Allowed == "" {
			t.Errorf("%s: %v", want, err)
		}
	}
}

// FuzzItems feeds any JSON to a rule with items, times and conditions.
func FuzzItems(f *testing.F) {
	f.Add("a.#", `{"a":[{"v":1,"at":1700000000,"id":"x"}]}`)
	f.Add("*", `{"a":{"v":1,"at":"2023-11-14T22:13:10Z","id":1e300}}`)
	f.Add("#.#", `[[{"v":"\u0000","at":-1e308,"id":true}],{"0":[]}]`)
	f.Fuzz(func(t *testing.T, each, payload string) {
		cfg := bridge.RulesConfig{Map: []bridge.MapConfig{{
			Topic: "#", Device: "{id}_{key}", Each: each, Fields: map[string]string{"id": "id"}, Time: "at", MaxAge: time.Hour,
			Points: map[string]any{"v": "v"}, GoodIf: map[string]any{"v": int64(1)}, BadIf: map[string]any{"v": "x"},
		}}}
		r, err := bridge.NewRules(cfg, origin(t, 0), nil)
		if err != nil {
			return
		}
		r.Readings(bridge.Message{Topic: "a", Payload: []byte(payload)}, func(uri wamp.URI, p wamp.Payload) {
			parts := strings.Split(string(uri), ".")
			if len(parts) != 5 || !bridge.ValidName(parts[3]) {
				t.Fatalf("topic %q", uri)
			}
			if _, kwargs := p.GoValues(); kwargs["ts"].(int64) < 1 {
				t.Fatalf("%v", kwargs)
			}
		})
	})
}

func TestExplain(t *testing.T) {
	t.Parallel()
	rules, err := bridge.NewRules(bridge.RulesConfig{Map: []bridge.MapConfig{
		{Topic: "a/{x}", Device: "{x}", Point: "p", Path: "t"},
		{Topic: "b/#", Device: "b", Point: "p"},
		{Topic: "a/#", Device: "a", Point: "p", IgnoreRetained: true},
		{Topic: "a/#", Regex: "^a/z", Device: "a", Point: "p"},
		{Topic: "a/#", Each: "l.#", Device: "a", Point: "p", Path: "v"},
	}}, origin(t, 0), nil)
	if err != nil {
		t.Fatal(err)
	}
	for i, f := range rules.Explain(bridge.Message{Topic: "a/1", Payload: []byte(`{"t":1}`), Retained: true}) {
		refused := []string{"", "not covered by b/#", "retained", "regular expression", "no item"}[i]
		if f.Rule != fmt.Sprintf("map[%d]", i) || !strings.Contains(f.Refused, refused) || (refused == "") != (len(f.Readings) == 1) {
			t.Errorf("%+v", f)
		}
	}
}

// TestRejectedMessagesAreLogged wants one line for many messages of a kind.
func TestRejectedMessagesAreLogged(t *testing.T) {
	t.Parallel()
	var log strings.Builder
	rules, err := bridge.NewRules(bridge.RulesConfig{Map: []bridge.MapConfig{{Topic: "a/#", Device: "a", Point: "p", Path: "v"}}},
		origin(t, 0), slog.New(slog.NewTextHandler(&log, nil)))
	if err != nil {
		t.Fatal(err)
	}
	for range 1000 {
		apply(rules, bridge.Message{Topic: "a/secret", Payload: []byte("no JSON")})
	}
	if n := strings.Count(log.String(), "not the JSON"); n != 1 || !strings.Contains(log.String(), "rule=map[0]") || strings.Contains(log.String(), "no JSON") {
		t.Errorf("%d lines: %s", n, log.String())
	}
}
