package shapes_test

import (
	"testing"

	"gantry/bridge"
	"gantry/bridge/shapes"
)

// Zigbee2MQTT may have another base topic; groups come and go with its list of them,
// whatever comes first.
func TestZigbeeGroupsAtAnotherBaseTopic(t *testing.T) {
	t.Parallel()
	h, err := shapes.New(shapes.Config{Broker: "house", Gateway: "gw", Shapes: []string{bridge.ShapeZigbee2MQTT}, ZigbeeBase: "house/zigbee"}, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	h.Connected(&carrier{})
	if f := h.Filters(); len(f) != 1 || f[0] != "house/zigbee/#" {
		t.Errorf("filters %q", f)
	}
	receive := func(topic, payload string) {
		h.Receive(bridge.Message{Topic: topic, Payload: []byte(payload), Retained: true})
	}
	receive("zigbee2mqtt/bridge/devices", lamp)
	if n := h.Stats().Devices; n != 0 {
		t.Errorf("%d devices of another bridge", n)
	}
	const groups = `[{"id": 1, "friendly_name": "all", "members": [{"ieee_address": "0x1", "endpoint": 1}, {"ieee_address": "0x2"}]}, {"id": 2, "friendly_name": "none", "members": []}]`
	receive("house/zigbee/bridge/groups", groups)
	receive("house/zigbee/bridge/devices", lamp)
	if n := h.Stats().Devices; n != 3 { // the bridge, the lamp, and the group of it
		t.Errorf("%d devices", n)
	}
	receive("house/zigbee/bridge/groups", `[]`)
	if n := h.Stats().Devices; n != 2 {
		t.Errorf("%d devices without groups", n)
	}
	receive("house/zigbee/bridge/groups", groups)
	receive("house/zigbee/bridge/devices", `[]`)
	if n := h.Stats().Devices; n != 1 {
		t.Errorf("%d devices when none is a member", n)
	}
	for _, bad := range []string{`{}`, `[{"id": -1, "friendly_name": "x"}]`, `[{"id": 1}]`, `[7]`} {
		before := h.Stats().Refused
		if receive("house/zigbee/bridge/groups", bad); h.Stats().Refused == before {
			t.Errorf("%s is not refused", bad)
		}
	}
}

func TestZigbeeBaseTopicIsATopic(t *testing.T) {
	t.Parallel()
	for base, ok := range map[string]bool{"": true, "z2m": true, "house/zigbee": true, "a/#": false, "/a": false, "a/": false, "$SYS": false, "+": false} {
		c := bridge.ShapesConfig{Shapes: []string{bridge.ShapeZigbee2MQTT}, Zigbee2MQTT: bridge.Zigbee2MQTTConfig{BaseTopic: base}}
		if err := c.Validate(); (err == nil) != ok {
			t.Errorf("%q: %v", base, err)
		}
	}
	c := bridge.ShapesConfig{Shapes: []string{bridge.ShapeTasmota}, Zigbee2MQTT: bridge.Zigbee2MQTTConfig{BaseTopic: "z2m"}}
	if c.Validate() == nil {
		t.Error("taken without the shape")
	}
}
