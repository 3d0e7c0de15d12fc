package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// esphome is a board with ESPHome, which announces each of its entities to Home Assistant,
// and obeys: its messages are those of the golden test of the same device.
type esphome struct {
	*simulator
	configs []string // topics of its discovery messages
}

func newESPHome(t *testing.T, addr string) *esphome {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("..", "..", "bridge", "shapes", "testdata", "homeassistant", "esphome_greenhouse.json"))
	if err != nil {
		t.Fatal(err)
	}
	var golden struct {
		Messages []struct {
			Topic    string
			Payload  json.RawMessage
			Retained bool
		}
	}
	if err := json.Unmarshal(b, &golden); err != nil {
		t.Fatal(err)
	}
	e := &esphome{simulator: newSimulator(t, addr, "greenhouse/status", "offline")}
	e.handle("greenhouse/+/+/command", func(topic string, payload []byte) {
		e.publish(strings.TrimSuffix(topic, "command")+"state", true, string(payload))
	})
	for _, m := range golden.Messages {
		text := string(m.Payload)
		_ = json.Unmarshal(m.Payload, &text) // a text stands for itself
		// ESPHome has what it reports retained, unless it is told otherwise.
		e.publish(m.Topic, true, text)
		if strings.HasSuffix(m.Topic, "/config") {
			e.configs = append(e.configs, m.Topic)
		}
	}
	return e
}

// remove takes back what the board has announced.
func (e *esphome) remove() {
	for _, topic := range e.configs {
		e.publish(topic, true, "")
	}
}

// heatPump is a device that announces itself and all of its entities in one message.
// Source: www.home-assistant.io/integrations/mqtt, "Device discovery payload".
type heatPump struct{ *simulator }

const heatPumpTopic = "homeassistant/device/pump7/config"

func newHeatPump(t *testing.T, addr string) *heatPump {
	h := &heatPump{newSimulator(t, addr, "pump7/lwt", "offline")}
	h.handle("pump7/set", func(_ string, payload []byte) {
		h.publish("pump7/state", false, `{"flow": 35.5, "power": "`+string(payload)+`"}`)
	})
	h.publish(heatPumpTopic, true, `{"dev": {"ids": "pump7", "name": "Heat pump", "mf": "Bla electronics", "mdl": "xya"}, "o": {"name": "bla2mqtt", "sw": "2.1"},
 "cmps": {
  "flow": {"p": "sensor", "name": "Flow", "dev_cla": "temperature", "unit_of_meas": "°C", "val_tpl": "{{ value_json.flow }}", "uniq_id": "pump7_flow"},
  "power": {"p": "switch", "name": "Power", "cmd_t": "pump7/set", "val_tpl": "{{ value_json.power }}", "uniq_id": "pump7_power"}},
 "stat_t": "pump7/state", "avty_t": "pump7/lwt"}`)
	h.publish("pump7/lwt", true, "online")
	return h
}
