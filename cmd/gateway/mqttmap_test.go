package main

import (
	"strings"
	"testing"
)

const mqttMapFile = `schema = 1
[[mqtt.map]]
topic = "own/#"
device = "own"
point = "p"
[[mqtt.call]]
topic = "do/{dev}"
procedure = "set.{dev}.state"
[broker.house]
url = "tcp://broker.example"
[[broker.house.map]]
topic = "meters/{id}"
device = "m_{id}"
each = "list.#"
time = "at"
points = { "p{key}" = { path = "w", unit = "W" } }
[[broker.house.map]]
topic = "meters/#"
device = "all"
point = "raw"
ignore_retained = true
[[broker.house.pass]]
topic = "#"
direction = "in"
[broker.far]
url = "tcp://far.example"
[[broker.far.publish]]
event = "point.{dev}.{point}"
topic = "site/{dev}/{point}"
payload = '{"v":{value:json},"t":{ts}}'
`

func TestMQTTMap(t *testing.T) {
	t.Parallel()
	dir := writeFiles(t, map[string]string{"gantry.toml": mqttMapFile})
	for _, c := range []struct {
		args, stdin string
		code        int
		want        []string
	}{
		{"--topic meters/7 --payload - --retained", `{"at":1700000000,"list":[{"w":5},{"w":true}]}`, 0, []string{
			"mqtt map[0]: no: the topic is not covered by own/#\n", `broker.house map[0]: gantry.gw.point.m_7.p0 5 `, "ts=1700000000000000", "unit=W",
			"gantry.gw.point.m_7.p1 null", "q=bad", "why=not_number", "broker.house map[1]: no: it was retained",
			"broker.house pass[0]: meters.7 {"}},
		{"--topic own/x --payload 7 --broker mqtt", "", 0, []string{"mqtt map[0]: gantry.gw.point.own.p 7 "}},
		{"--topic own/x --payload 7 --json", "", 0, []string{`{"events":[{"args":[7],`, `"topic":"gantry.gw.point.own.p"`, `"where":"mqtt"`}},
		{"--topic do/lamp --payload ON --broker mqtt", "", 0, []string{`mqtt call[0]: calls gantry.gw.set.lamp.state ON`}},
		{"--topic do/lamp --payload ON --broker mqtt --retained", "", 1, []string{"mqtt call[0]: no: an MQTT message does not call, as it was retained"}},
		{"--topic gantry/x --payload 7", "", 1, []string{"mqtt map[0]: no", "broker.house pass[0]: no: the URI gantry.x is"}},
		{"--topic gantry/gw/point/tank/level --payload - --broker far", `{"args":[21.5],"kwargs":{"ts":7}}`, 0, []string{`broker.far publish[0]: site/tank/level {"v":21.5,"t":7}`}},
		{"--topic gantry/gw/point/tank/level --payload 21.5 --broker far", "", 1, []string{"broker.far publish[0]: no: the payload is not valid JSON"}},
		{"--topic a/#", "", 2, nil},
		{"--topic a --broker none", "", 2, nil},
	} {
		o, e := newOutput(), newOutput()
		a := newApp(strings.NewReader(c.stdin), o, e, func(string) string { return "" })
		if code := a.main(t.Context(), append([]string{"mqtt", "map", "--config", dir}, strings.Fields(c.args)...)); code != c.code {
			t.Errorf("%s: exit code %d, want %d: %s%s", c.args, code, c.code, o, e)
		}
		for _, w := range c.want {
			if !strings.Contains(o.String(), w) {
				t.Errorf("%s: %s: no %q", c.args, o, w)
			}
		}
	}
}
