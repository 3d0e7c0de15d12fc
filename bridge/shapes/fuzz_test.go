package shapes_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"gantry/bridge"
	"gantry/bridge/shapes"
	"gantry/drivers"
	"gantry/drivers/hub"
)

// fuzzShape gives a host an announcement and a report on topics as devices have them.
// Whatever they say, the hub takes the devices that come of it, and no command panics.
func fuzzShape(f *testing.F, shape string, before []bridge.Message, announce, report string) {
	files, _ := filepath.Glob("testdata/" + shape + "/*.json")
	for _, file := range files {
		b, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		var g golden
		if err := json.Unmarshal(b, &g); err != nil {
			f.Fatal(err)
		}
		for i := range g.Messages[1:] {
			f.Add(g.Messages[i].bytes(), g.Messages[i+1].bytes())
		}
	}
	f.Fuzz(func(t *testing.T, first, second []byte) {
		h, err := shapes.New(shapes.Config{Broker: "house", Gateway: "gw", Shapes: []string{shape}}, nil, nil)
		if err != nil {
			t.Fatal(err)
		}
		h.Connected(&carrier{})
		for _, m := range before {
			h.Receive(m)
		}
		for range 2 {
			h.Receive(bridge.Message{Topic: announce, Payload: first, Retained: true})
			h.Receive(bridge.Message{Topic: report, Payload: second})
		}
		for _, c := range h.Candidates() {
			if err := c.Validate(); err != nil {
				t.Error(err)
			}
			d, err := c.New(drivers.Env{Device: c.Name})
			if err != nil {
				t.Fatal(err)
			}
			if err := hub.CheckDevice(hub.Device{Name: c.Name, Driver: d, Config: hub.DeviceConfig{Driver: "x"}}); err != nil {
				t.Errorf("the hub does not take %s: %v", c.ID, err)
			}
		}
		for _, filter := range h.Filters() {
			if _, err := bridge.ParseFilter(filter); err != nil {
				t.Errorf("filter %q: %v", filter, err)
			}
		}
		h.Exercise()
	})
}

func FuzzHomeAssistant(f *testing.F) {
	fuzzShape(f, bridge.ShapeHomeAssistant, nil, "homeassistant/sensor/x/config", "homeassistant/device/y/config")
}

func FuzzHomeAssistantStates(f *testing.F) {
	var before []bridge.Message
	for component, tmpl := range map[string]string{"sensor": "{{ value_json.a | float }}", "light": "{{ value_json.state }}", "event": "{{ value_json | tojson }}", "cover": "{{ value }}"} {
		before = append(before, bridge.Message{Topic: "homeassistant/" + component + "/x/config", Payload: []byte(`{"stat_t": "s", "cmd_t": "c", "bri_stat_t": "s", "bri_val_tpl": "{{ value_json.b }}", "avty_t": "a", "avty_tpl": "{{ value_json.on }}", "val_tpl": "` + tmpl + `"}`)})
	}
	fuzzShape(f, bridge.ShapeHomeAssistant, before, "a", "s")
}

func FuzzZigbee2MQTT(f *testing.F) {
	fuzzShape(f, bridge.ShapeZigbee2MQTT, nil, "zigbee2mqtt/bridge/devices", "zigbee2mqtt/Kitchen plug")
}

func FuzzZigbeeGroups(f *testing.F) {
	before := []bridge.Message{{Topic: "zigbee2mqtt/bridge/devices", Payload: []byte(lamp)}}
	fuzzShape(f, bridge.ShapeZigbee2MQTT, before, "zigbee2mqtt/bridge/groups", "zigbee2mqtt/Living room")
}

func FuzzTasmota(f *testing.F) {
	fuzzShape(f, bridge.ShapeTasmota, nil, "tasmota/discovery/AABBCC/config", "tasmota/discovery/AABBCC/sensors")
}

func FuzzTasmotaStates(f *testing.F) {
	before := []bridge.Message{
		{Topic: "tasmota/discovery/AABBCC/config", Payload: []byte(`{"dn":"x","t":"x","ft":"%prefix%/%topic%/","tp":["cmnd","stat","tele"],"rl":[1,2,3,3],"lt_st":5,"swc":[1]}`)},
		{Topic: "tasmota/discovery/AABBCC/sensors", Payload: []byte(`{"sn":{"ENERGY":{"Power":[1,2]},"BME280":{"Temperature":1.5},"Switch1":"ON"}}`)},
	}
	fuzzShape(f, bridge.ShapeTasmota, before, "stat/x/RESULT", "tele/x/SENSOR")
}

func FuzzShelly(f *testing.F) {
	before := []bridge.Message{{Topic: "shelly-1/online", Payload: []byte("true")}}
	fuzzShape(f, bridge.ShapeShelly, before, "gantry_gw_house/rpc", "shelly-1/events/rpc")
}
