package main

import (
	"net"
	"strings"
	"testing"
	"time"

	v5 "github.com/eclipse/paho.golang/packets"
)

// TestLossesAreCountedAndLogged has clients of the listener whose messages come to
// nothing, each by another rule.
func TestLossesAreCountedAndLogged(t *testing.T) {
	t.Parallel()
	config := writeFiles(t, map[string]string{"gantry.toml": requestConfig + "[mqtt.homeassistant]\ndevices = [\"*\"]\n"})
	p := startProgram(t, config, t.TempDir())
	p.join() // the rules are there
	nc, err := net.Dial("tcp", p.mqtt)
	if err != nil {
		t.Fatal(err)
	}
	m, code := mqttJoin(t, nc, "noisy", "", "")
	if code != 0 {
		t.Fatalf("CONNACK %#x", code)
	}
	publish := func(topic, text string, retain bool) {
		t.Helper()
		if _, err := (&v5.Publish{Topic: topic, Payload: []byte(text), Retain: retain, Properties: &v5.Properties{}}).WriteTo(m); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := (&v5.Subscribe{PacketID: 1, Subscriptions: []v5.SubOptions{{Topic: "a/#/b"}}, Properties: &v5.Properties{}}).WriteTo(m); err != nil {
		t.Fatal(err)
	}
	publish("weather/roof", "no JSON", false)
	publish("cmd/lamp/level", `{"id":"1"}`, false)
	publish("lamp/done", `{"id":"nobody's"}`, false)
	publish("gantry_gw/nothing/here/set", "ON", false)
	want := map[string]string{
		`gantry_mqtt_filters_refused_total 1`:                             "mqtt topic filter refused",
		`gantry_broker_malformed_total{broker="_mqtt"} 1`:                 "an MQTT message is not the JSON that a rule needs",
		`gantry_broker_calls_total{broker="_mqtt",outcome="malformed"} 1`: "an MQTT message does not call, as it lacks what the call needs",
		`gantry_broker_unclaimed_total{broker="_mqtt"} 1`:                 "an MQTT message answers no call that waits",
		`gantry_hass_commands_total{broker="_mqtt",outcome="unknown"} 1`:  "a command for nothing that is published",
		`gantry_mqtt_dropped_total{why="expired"} 0`:                      "",
		`gantry_mqtt_ended_total{why="no_session"} 0`:                     "",
		`gantry_mqtt_away 0`:                                              "",
		`gantry_mqtt_unseen_total{why="expired"} 0`:                       "",
	}
	for late := time.Now().Add(patience); ; time.Sleep(10 * time.Millisecond) {
		said := get(t, "http"+strings.TrimSuffix(strings.TrimPrefix(p.url, "ws"), "/ws")+"/metrics")
		missing := ""
		for line := range want {
			if !strings.Contains(said, line+"\n") {
				missing = line
			}
		}
		if missing == "" {
			break
		}
		if time.Now().After(late) {
			t.Fatalf("no %s in\n%s", missing, said)
		}
	}
	for _, text := range want {
		p.out.await(t, text)
	}
	p.stop()
}
