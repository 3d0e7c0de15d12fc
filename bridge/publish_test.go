package bridge_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"slices"
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
	inQuotes := func(payload string) bridge.PublishConfig {
		return rule(func(c *bridge.PublishConfig) { c.Payload = &payload })
	}
	quoted, bare := inQuotes(`{"v":"{value}","cmd":"off"}`), inQuotes(`{"v":[{value}]}`)
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
		{"a text in quotes", quoted, "gantry/gw/point/m/p", `x","cmd":"on","z":"1`, nil, `site/m/p {"v":"x\",\"cmd\":\"on\",\"z\":\"1","cmd":"off"} 1 false`, ""},
		{"a quotation", quoted, "gantry/gw/point/m/p", `say "hi" \o/`, nil, `site/m/p {"v":"say \"hi\" \\o/","cmd":"off"} 1 false`, ""},
		{"null in quotes", quoted, "gantry/gw/point/m/p", nil, nil, `site/m/p {"v":"","cmd":"off"} 1 false`, ""},
		{"a number in quotes", quoted, "gantry/gw/point/m/p", 21.5, nil, `site/m/p {"v":"21.5","cmd":"off"} 1 false`, ""},
		{"an object in quotes", quoted, "gantry/gw/point/m/p", wamp.Dict{"a": 1}, nil, `site/m/p {"v":"{\"a\":1}","cmd":"off"} 1 false`, ""},
		{"binary in quotes", quoted, "gantry/gw/point/m/p", []byte{1, 2}, nil, `site/m/p {"v":"\u0000AQI=","cmd":"off"} 1 false`, ""},
		{"JSON in quotes", inQuotes(`{"a\"":"{value:json}"}`), "gantry/gw/point/m/p", wamp.List{",", ":"}, nil, `site/m/p {"a\"":"[\",\",\":\"]"} 1 false`, ""},
		{"a text that is a number", bare, "gantry/gw/point/m/p", "5", nil, `site/m/p {"v":[5]} 1 false`, ""},
		{"a text that is a list", bare, "gantry/gw/point/m/p", "255,0,0", nil, `site/m/p {"v":[255,0,0]} 1 false`, ""},
		{"a text with keys", bare, "gantry/gw/point/m/p", `1],"cmd":["on"`, nil, "", "not valid JSON"},
		{"an empty text", plain, "gantry/gw/point/a/b", "", nil, "site/a/b  1 false", ""},
		{"an empty text to retain", rule(func(c *bridge.PublishConfig) { c.Retain = true }), "gantry/gw/point/a/b", "", nil, "", "empty"},
		{"binary", plain, "gantry/gw/point/a/b", []byte{0, 255}, nil, "site/a/b \x00\xff 1 false", ""},
		{"binary as JSON", inQuotes("{value:json}"), "gantry/gw/point/m/p", []byte{1, 2}, nil, `site/m/p "\u0000AQI=" 1 false`, ""},
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
	if got := publisher(t, rule(func(c *bridge.PublishConfig) { c.Event = "zigbee2mqtt.Living%20Room.temp%2E1.%.{dev}.{point}" })).Events().String(); got != "zigbee2mqtt/Living Room/temp.1//+/+" {
		t.Errorf("the events are %q", got)
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
		"event 1":  func(c *bridge.PublishConfig) { c.Event = "point.{Dev}.{point}" },
		"event 2":  func(c *bridge.PublishConfig) { c.Event = "a.%7Bdev%7D.{point}" },
		"event 3":  func(c *bridge.PublishConfig) { c.Event = "a..{dev}.{point}" },
		"event 4":  func(c *bridge.PublishConfig) { c.Event = "a b.{dev}.{point}" },
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
		if want := "publish[0]." + strings.TrimRight(key, " 1234"); !errors.As(err, &bad) || bad.Key != want || bad.Allowed == "" {
			t.Errorf("%s: %v", want, err)
		}
	}
}

// FuzzPublisher makes messages of any event: they have topics, and JSON with the keys of
// the rule where it says so.
func FuzzPublisher(f *testing.F) {
	f.Add("gantry/gw/point/a/b", []byte(`[21.5]`), []byte(`{"ts":7}`))
	f.Add("gantry/gw/point/a#/+", []byte(`["\u0000AQ==",2]`), []byte(`{"ts":"x","unit":{}}`))
	f.Add("gantry/gw/point/a/b", []byte(`["1,\"cmd\":1"]`), []byte(`{"ts":7,"unit":"x\",\"cmd\":\"on"}`))
	f.Add("gantry/gw/point/a/b", []byte(`[[",",":"]]`), []byte(`{"ts":7,"unit":["\\"]}`))
	f.Fuzz(func(t *testing.T, topic string, args, kwargs []byte) {
		p := publisher(t, bridge.PublishConfig{Event: "point.{dev}.{point}", Topic: "s/{dev}/x{point}", Payload: ptr(`{"v":{value},"s":"{unit}","j":{ts:json},"q":"{value:json}-{dev}"}`)})
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
		if got := keys(t, m.Payload); !slices.Equal(got, []string{"v", "s", "j", "q"}) {
			t.Fatalf("payload %q has the keys %q", m.Payload, got)
		}
	})
}

// keys are those of a JSON object, in its order.
func keys(t *testing.T, object []byte) (keys []string) {
	d := json.NewDecoder(bytes.NewReader(object))
	_, err := d.Token()
	for err == nil && d.More() {
		var key json.Token
		if key, err = d.Token(); err == nil {
			keys = append(keys, key.(string))
			err = d.Decode(new(json.RawMessage))
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	return keys
}
