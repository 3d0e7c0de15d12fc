package main

import (
	"testing"

	"gantry/bridge"
	"gantry/drivers"
	"gantry/wamp"
	"gantry/wamp/serialize"
)

// TestSampleMessageFitsTheRule feeds the message that people are told to try into
// the rule that it was made for.
func TestSampleMessageFitsTheRule(t *testing.T) {
	t.Parallel()
	for _, rule := range []bridge.MapConfig{
		{Topic: "sensors/{room}/climate", Device: "{room}", Points: map[string]any{
			"t": "env.t", "h": map[string]any{"path": "$.env.h", "type": "int"}, "door": map[string]any{"path": "list.0", "type": "bool"}}},
		{Topic: "a/+/#", Device: "a", Point: "p"},
		{Topic: "a/{b}", Device: "a", Point: "p", Path: "v", Type: "text"},
		{Topic: "a", Device: "a", Point: "p", Type: "bool"},
	} {
		topic, message := sampleMessage([]bridge.MapConfig{rule})
		origin, err := bridge.NewOrigin(bridge.OriginConfig{Gateway: "gw", Epoch: 1})
		if err != nil {
			t.Fatal(err)
		}
		rules, err := bridge.NewRules(bridge.RulesConfig{Map: []bridge.MapConfig{rule}}, origin, nil)
		if err != nil {
			t.Fatal(err)
		}
		readings := 0
		rules.Readings(bridge.Message{Topic: topic, Payload: []byte(message)}, func(at wamp.URI, p wamp.Payload) {
			readings++
			if _, kwargs, err := serialize.Values(p); err != nil || kwargs["q"] != "good" {
				t.Errorf("%s %s: %s %v, %v", topic, message, at, kwargs, err)
			}
		})
		if want := max(1, len(rule.Points)); readings != want {
			t.Errorf("%s %s: %d readings, want %d", topic, message, readings, want)
		}
	}
	involved := bridge.MapConfig{Topic: "a/#", Device: "a", Each: "l.#", Points: map[string]any{"t": "t"}}
	if topic, _ := sampleMessage([]bridge.MapConfig{involved, {Topic: "b", Device: "b", Point: "p"}}); topic != "b" {
		t.Errorf("%q is a sample of a rule that needs more", topic)
	}
	if topic, message := sampleMessage(nil); bridge.CheckTopic(topic) != nil || message == "" {
		t.Errorf("%q %q", topic, message)
	}
}

// TestSampleValuesAreRound wants numbers that people would choose.
func TestSampleValuesAreRound(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		least, most float64
		want        string
	}{{0, 100, "50"}, {0.001, 3600, "2000"}, {20, 22, "21"}, {0.11, 0.14, "0.12"}, {-5, -5, "-5"}} {
		if got := sampleValue(drivers.Point{Type: drivers.Float, Min: &c.least, Max: &c.most}); got != c.want {
			t.Errorf("%g to %g: %s, expected %s", c.least, c.most, got, c.want)
		}
	}
	least, most := 10.0, 2000.0
	if got := sampleValue(drivers.Point{Type: drivers.Int, Min: &least, Max: &most}); got != "1000" {
		t.Errorf("an integer: %s", got)
	}
}
