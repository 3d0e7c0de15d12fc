package main

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"gantry/internal/avrhil"
	"gantry/internal/mosquitto"
	"gantry/wamp"
	"gantry/wamp/interop"
	"gantry/wamp/serialize"
)

// TestWholeProgram runs everything that a user has: a microcontroller on a serial
// port, an MQTT sensor, a gateway, a second gateway above it, and an application
// in Python.
func TestWholeProgram(t *testing.T) {
	t.Parallel()
	mosquitto.Need(t, "mosquitto_pub", "mosquitto-clients")
	interop.NeedAutobahn(t)
	house := mosquitto.NewBroker(t)
	board := avrhil.Start(t, avrhil.Options{})

	hq := startProgram(t, writeFiles(t, map[string]string{"gantry.toml": "schema = 1\ngateway.name = \"hq\"\nmqtt.listen = \"\"\n"}), t.TempDir())
	above := hq.join()
	arrived := keep(t, above, "gantry.field.", wamp.SubscribeOptions{GetRetained: true})

	// The device file is the one that users start from, with this board's port.
	node, err := os.ReadFile(filepath.Join("..", "..", "examples", "serial", "devices.d", "node.toml"))
	if err != nil {
		t.Fatal(err)
	}
	device := regexp.MustCompile(`(?m)^port = .*$`).ReplaceAllString(string(node), fmt.Sprintf("port = { path = %q }\nretry = { max = \"300ms\" }", board.Path()))
	device = regexp.MustCompile(`(?m)^settle = .*$`).ReplaceAllString(device, `settle = "0s"`)
	field := startProgram(t, writeFiles(t, map[string]string{
		"devices.d/node.toml": device,
		"gantry.toml": fmt.Sprintf(`schema = 1
gateway.name = "field"
[mqtt]
listen = "127.0.0.1:0"
[[mqtt.map]]
topic = "sensors/{room}/climate"
device = "{room}"
points = { temperature = { path = "env.t", unit = "Cel", scale = 0.1 }, door = { path = "door", optional = true } }
[broker.house]
url = "tcp://%s"
[[broker.house.map]]
topic = "tele/{plug}/SENSOR"
device = "{plug}"
points = { power = { path = "ENERGY.Power", unit = "W" } }
[[broker.house.command]]
procedure = "set.plug1.relay"
topic = "cmnd/plug1/POWER"
type = "bool"
values = { true = "ON", false = "OFF" }
[uplink.hq]
url = %q
`, house.Addr, hq.url)}), t.TempDir())

	python := interop.StartAutobahn(t, field.url, "gantry", "json")
	python.OK(map[string]any{"op": "subscribe", "topic": "gantry..point..", "match": "wildcard", "retained": true})
	python.OK(map[string]any{"op": "subscribe", "topic": "gantry..state..link", "match": "wildcard", "retained": true})
	point := func(topic string, value any) map[string]any {
		t.Helper()
		return python.Until(fmt.Sprintf("%s = %v", topic, value), func(m map[string]any) bool {
			args, _ := m["args"].([]any)
			return m["event"] == "event" && m["topic"] == topic && len(args) == 1 && (value == nil || args[0] == value)
		})
	}

	// Up from the serial device and from the MQTT sensor.
	point("gantry.field.state.node.link", "online")
	got := point("gantry.field.point.node.temperature", nil)
	kwargs, _ := got["kwargs"].(map[string]any)
	celsius, _ := got["args"].([]any)[0].(float64)
	if celsius < -40 || celsius > 60 || kwargs["unit"] != "Cel" || kwargs["q"] != "good" || kwargs["ep"] != 1.0 {
		t.Errorf("temperature of the node: %v", got)
	}
	mosquitto.Publish(t, field.mqtt, nil, "-q", "1", "-t", "sensors/hall/climate", "-m", `{"env": {"t": 215}, "door": true}`)
	point("gantry.field.point.hall.temperature", 21.5)
	point("gantry.field.point.hall.door", true)
	for _, e := range []event{
		{topic: "gantry.field.point.hall.temperature", value: 21.5}, {topic: "gantry.field.state.node.link", value: "online"},
	} {
		arrived.await(t, e.topic+" at the second gateway", func(a event) bool { return a.topic == e.topic && a.value == e.value })
	}

	// Down to the pin: from Python, and from an application at the second gateway.
	set := func(on any) map[string]any {
		t.Helper()
		return python.Do(map[string]any{"op": "call", "procedure": "gantry.field.set.node.led", "args": []any{on}})
	}
	if r := set(true); r["error"] != nil {
		t.Errorf("set: %v", r)
	}
	board.WaitLED(true)
	point("gantry.field.point.node.led", true)
	if r := set(7); r["error"] != "wamp.error.invalid_argument" {
		t.Errorf("set to a number: %v", r)
	}
	// The procedures are registered there as soon as the uplink is up.
	arrived.await(t, "uplink at the second gateway", func(e event) bool { return e.topic == "gantry.field.state.uplink_hq.link" && e.value == "online" })
	p, err := above.Call(t.Context(), "gantry.field.set.node.led", wamp.CallOptions{}, wamp.Args(false))
	if err != nil {
		t.Fatal(err)
	}
	args, _, err := serialize.Values(p)
	if err != nil || len(args) != 1 || args[0] != false {
		t.Errorf("set from above: %v, %v", args, err)
	}
	board.WaitLED(false)
	arrived.await(t, "the LED going out, at the second gateway", func(e event) bool {
		return e.topic == "gantry.field.point.node.led" && e.value == false && e.seq > 1
	})

	// Over the broker of the house, both ways.
	point("gantry.field.state.broker_house.link", "online")
	mosquitto.Publish(t, house.Addr, nil, "-q", "1", "-t", "tele/plug1/SENSOR", "-m", `{"ENERGY": {"Power": 60.5}}`)
	point("gantry.field.point.plug1.power", 60.5)
	relay := mosquitto.Subscribe(t, house.Addr, "-q", "1", "-t", "cmnd/#")
	if r := python.Do(map[string]any{"op": "call", "procedure": "gantry.field.set.plug1.relay", "args": []any{true}}); r["error"] != nil {
		t.Errorf("set of the plug: %v", r)
	}
	relay.Expect("cmnd/plug1/POWER 0 1 ON")

	// The command line sees and does the same.
	if table := field.command("devices"); !strings.Contains(table, "node") || !strings.Contains(table, "online") {
		t.Errorf("devices:\n%s", table)
	}
	if out := field.command("call", "gantry.field.do.node.blink", "times=3"); out != "" && !strings.Contains(out, "3") {
		t.Errorf("blink: %q", out)
	}

	// A cable that is pulled and put back.
	board.Unplug()
	point("gantry.field.state.node.link", "offline")
	if r := set(true); r["error"] != "gantry.error.offline" {
		t.Errorf("set while unplugged: %v", r)
	}
	board.Replug()
	point("gantry.field.state.node.link", "online")
	if r := set(true); r["error"] != nil {
		t.Errorf("set after replug: %v", r)
	}
	board.WaitLED(true)
	python.Leave()

	field.stop()
	hq.stop()
	streams := map[string]int64{}
	for _, e := range arrived.all() {
		if e.seq == 0 {
			continue // of the uplink itself, which is no device
		}
		if e.seq != streams[e.topic]+1 {
			t.Errorf("%s: number %d after %d", e.topic, e.seq, streams[e.topic])
		}
		streams[e.topic] = e.seq
	}
	if len(streams) < 5 {
		t.Errorf("streams at the second gateway: %v", streams)
	}
}
