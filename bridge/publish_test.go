package bridge_test

import (
	"errors"
	"strings"
	"testing"

	"gantry/bridge"
	"gantry/wamp"
	"gantry/wamp/serialize"
)

func publisher(t testing.TB, c bridge.PublishConfig) *bridge.Publisher {
	t.Helper()
	p, err := bridge.NewPublisher(c, "gw", "publish[0]")
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestPublisher(t *testing.T) {
	t.Parallel()
	rule := func(edit func(*bridge.PublishConfig)) bridge.PublishConfig {
		c := bridge.PublishConfig{Event: "point.{dev}.{point}", Topic: "site/{dev}/{point}"}
		edit(&c)
		return c
	}
	plain := rule(func(*bridge.PublishConfig) {})
	object := rule(func(c *bridge.PublishConfig) {
		c.Payload, c.Scale, c.Offset, c.QoS, c.Retain = ptr(`{"v":{value:json},"t":{ts},"u":{unit:json},"n":"{dev}-{point}","why":"{why}"}`), ptr(0.001), 1, ptr[uint8](2), true
	})
	good := wamp.Dict{"ts": int64(7), "unit": "W", "q": "good"}
	for _, c := range []struct {
		name    string
		rule    bridge.PublishConfig
		topic   string
		value   any
		kwargs  wamp.Dict
		want    string
		refused string
	}{
		{"a number", plain, "gantry/gw/point/tank/level", 21.5, good, "site/tank/level 21.5 1 false", ""},
		{"a text", plain, "gantry/gw/point/tank/level", "on", good, "site/tank/level on 1 false", ""},
		{"null", plain, "gantry/gw/point/tank/level", nil, good, "site/tank/level null 1 false", ""},
		{"an object", plain, "gantry/gw/point/tank/level", wamp.Dict{"a": 1}, good, `site/tank/level {"a":1} 1 false`, ""},
		{"another gateway's", plain, "gantry/other/point/tank/level", 1, good, "", "is not covered"},
		{"scaled", object, "gantry/gw/point/m/p", int64(1500), good, `site/m/p {"v":2.5,"t":7,"u":"W","n":"m-p","why":""} 2 true`, ""},
		{"bad", object, "gantry/gw/point/m/p", nil, wamp.Dict{"ts": int64(7), "why": "offline"}, `site/m/p {"v":null,"t":7,"u":null,"n":"m-p","why":"offline"} 2 true`, ""},
		{"no number", object, "gantry/gw/point/m/p", "warm", good, "", "not_number"},
		{"no time", object, "gantry/gw/point/m/p", 1, nil, "", "not valid JSON"},
		{"any URI", rule(func(c *bridge.PublishConfig) { c.Event, c.Topic = "house.{x}", "far/x-{x}" }), "house/Room 1", true, nil, "far/x-Room 1 true 1 false", ""},
	} {
		m, refused := publisher(t, c.rule).Message(c.topic, wamp.Values(wamp.List{c.value}, c.kwargs))
		if c.refused != "" {
			if !strings.Contains(refused, c.refused) {
				t.Errorf("%s: refused %q", c.name, refused)
			}
			continue
		}
		flags := map[bool]string{true: " true", false: " false"}[m.Retained]
		if got := m.Topic + " " + string(m.Payload) + " " + string('0'+m.QoS) + flags; got != c.want || refused != "" {
			t.Errorf("%s: %s %s, want %s", c.name, got, refused, c.want)
		}
	}
	if _, refused := publisher(t, plain).Message("gantry/gw/point/a/b", wamp.Payload{}); refused == "" {
		t.Error("an event without a value is published")
	}
}

func TestPublishConfigErrors(t *testing.T) {
	t.Parallel()
	for key, edit := range map[string]func(*bridge.PublishConfig){
		"event":    func(c *bridge.PublishConfig) { c.Event = "" },
		"event ":   func(c *bridge.PublishConfig) { c.Event = "point.+.x" },
		"event  ":  func(c *bridge.PublishConfig) { c.Event = "point.{a}.{a}" },
		"event   ": func(c *bridge.PublishConfig) { c.Event = "point/{a}" },
		"topic":    func(c *bridge.PublishConfig) { c.Topic = "" },
		"topic ":   func(c *bridge.PublishConfig) { c.Topic = "a/#" },
		"topic  ":  func(c *bridge.PublishConfig) { c.Topic = "a/{value}" },
		"payload":  func(c *bridge.PublishConfig) { c.Payload = ptr("{x}") },
		"payload ": func(c *bridge.PublishConfig) { c.Payload = ptr(`{"v":{value}`) },
		"scale":    func(c *bridge.PublishConfig) { c.Scale = ptr(0.0) },
		"qos":      func(c *bridge.PublishConfig) { c.QoS = ptr[uint8](3) },
	} {
		c := bridge.PublishConfig{Event: "point.{dev}.{point}", Topic: "site/{dev}/{point}"}
		edit(&c)
		_, err := bridge.NewPublisher(c, "gw", "publish[0]")
		var bad *bridge.ConfigError
		if want := "publish[0]." + strings.TrimSpace(key); !errors.As(err, &bad) || bad.Key != want || bad.Allowed == "" {
			t.Errorf("%s: %v", want, err)
		}
	}
}

// FuzzPublisher makes messages of any event: they have topics, and JSON where the rule
// says so.
func FuzzPublisher(f *testing.F) {
	f.Add("gantry/gw/point/a/b", []byte(`[21.5]`), []byte(`{"ts":7}`))
	f.Add("gantry/gw/point/a#/+", []byte(`["\u0000AQ==",2]`), []byte(`{"ts":"x","unit":{}}`))
	f.Fuzz(func(t *testing.T, topic string, args, kwargs []byte) {
		p := publisher(t, bridge.PublishConfig{Event: "point.{dev}.{point}", Topic: "s/{dev}/x{point}", Payload: ptr(`{"v":{value},"s":"{unit}","j":{ts:json}}`), Offset: 1})
		m, refused := p.Message(topic, wamp.RawPayload(wamp.JSON, args, kwargs))
		if refused != "" {
			return
		}
		if err := bridge.CheckTopic(m.Topic); err != nil || strings.Count(m.Topic, "/") != 2 {
			t.Fatalf("topic %q: %v", m.Topic, err)
		}
		if err := serialize.Valid(wamp.JSON, m.Payload, serialize.Limits{}); err != nil {
			t.Fatalf("payload %q: %v", m.Payload, err)
		}
	})
}
