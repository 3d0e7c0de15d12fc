package shapes_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"

	"gantry/bridge"
	"gantry/bridge/shapes"
	"gantry/drivers"
)

const (
	plug      = `{"ip":"","dn":"Plug","t":"plug","mac":"AA","ft":"%prefix%/%topic%/","tp":["cmnd","stat","tele"],"rl":[1]}`
	pump      = `{"src":"pump","method":"NotifyFullStatus","params":{"switch:0":{"output":true}}}`
	button    = `[{"ieee_address":"0x1","friendly_name":"button","definition":{"exposes":[{"type":"enum","name":"action","property":"action","access":1,"values":["single"]}]}}]`
	reachable = `{"state_topic":"door/s","unique_id":"door","availability_topic":"door/a"}`
	ringing   = `{"topic":"bell/e","automation_type":"trigger","type":"press","subtype":"one","payload":"press","device":{"identifiers":"bell"}}`
)

// TestEveryRefusalHasAReason has each shape take messages that come to nothing.
func TestEveryRefusalHasAReason(t *testing.T) {
	t.Parallel()
	in := func(topic, payload string) bridge.Message {
		return bridge.Message{Topic: topic, Payload: []byte(payload)}
	}
	kept := func(topic, payload string) bridge.Message {
		return bridge.Message{Topic: topic, Payload: []byte(payload), Retained: true}
	}
	many := strings.Repeat(`{"component":"sys","event":"x"},`, 32) + `{}`
	for name, c := range map[string]struct {
		shape, why string
		messages   []bridge.Message // the last is the one
	}{
		"an announcement that is no JSON":       {"tasmota", "malformed", []bridge.Message{in("tasmota/discovery/AA/config", "{")}},
		"an announcement without topics":        {"tasmota", "incomplete", []bridge.Message{in("tasmota/discovery/AA/config", `{"dn":"x"}`)}},
		"a status without what it is for":       {"tasmota", "malformed", []bridge.Message{in("tasmota/discovery/AA/config", plug), in("stat/plug/STATUS10", `{}`)}},
		"a result that is no JSON":              {"tasmota", "malformed", []bridge.Message{in("tasmota/discovery/AA/config", plug), in("stat/plug/RESULT", "x")}},
		"a status of a component, no JSON":      {"shelly", "malformed", []bridge.Message{in("pump/events/rpc", pump), in("pump/status/switch:0", "on")}},
		"a word that is no presence":            {"shelly", "word", []bridge.Message{in("pump/events/rpc", pump), in("pump/online", "maybe")}},
		"a device that does not say what it is": {"shelly", "error", []bridge.Message{in("pump/online", "true"), in("gantry_gw_house/rpc", `{"id":1,"error":{"code":404,"message":"no"}}`)}},
		"too many events":                       {"shelly", "too_large", []bridge.Message{in("pump/events/rpc", pump), in("pump/events/rpc", `{"method":"NotifyEvent","params":{"events":[`+many+`]}}`)}},
		"too many components":                   {"shelly", "too_many_points", []bridge.Message{in("pump/events/rpc", fullStatus(200))}},
		"a device that cannot do anything":      {"zigbee2mqtt", "incomplete", []bridge.Message{in("zigbee2mqtt/bridge/devices", `[{"ieee_address":"0x1","friendly_name":"x","definition":null}]`)}},
		"a device twice":                        {"zigbee2mqtt", "malformed", []bridge.Message{in("zigbee2mqtt/bridge/devices", "["+button[1:len(button)-1]+","+button[1:])}},
		"a state that is no JSON":               {"zigbee2mqtt", "malformed", []bridge.Message{in("zigbee2mqtt/bridge/devices", button), in("zigbee2mqtt/button", "on")}},
		"an answer that is no JSON":             {"zigbee2mqtt", "malformed", []bridge.Message{in("zigbee2mqtt/bridge/response/x", "on")}},
		"a scene without a name":                {"zigbee2mqtt", "group", []bridge.Message{in("zigbee2mqtt/bridge/groups", `[{"id":1,"friendly_name":"g","scenes":[{"id":1}]}]`)}},
		"a component that is no value":          {"homeassistant", "component", []bridge.Message{in("homeassistant/camera/x/config", `{"topic":"x"}`)}},
		"a template beyond the subset":          {"homeassistant", "config", []bridge.Message{in("homeassistant/sensor/x/config", `{"state_topic":"x","value_template":"{{ states('x') }}"}`)}},
		"a word that is no availability":        {"homeassistant", "word", []bridge.Message{in("homeassistant/binary_sensor/door/config", reachable), in("door/a", "perhaps")}},
		"an availability that is too long":      {"homeassistant", "too_large", []bridge.Message{in("homeassistant/binary_sensor/door/config", reachable), in("door/a", strings.Repeat("x", 5000))}},
		"!an event that the broker has kept":    {"homeassistant", "retained", []bridge.Message{in("homeassistant/device_automation/bell/config", ringing), kept("bell/e", "press")}},
		"!a button's last event":                {"zigbee2mqtt", "retained", []bridge.Message{in("zigbee2mqtt/bridge/devices", button), kept("zigbee2mqtt/button", `{"action":"single"}`)}},
		"!an event of a Shelly, kept":           {"shelly", "retained", []bridge.Message{in("pump/events/rpc", pump), kept("pump/events/rpc", `{"method":"NotifyEvent","params":{"events":[]}}`)}},
		"!an answer that was kept":              {"shelly", "retained", []bridge.Message{kept("gantry_gw_house/rpc", `{"id":1}`)}},
		"!an event of a device that is not run": {"zigbee2mqtt", "not_running", []bridge.Message{in("zigbee2mqtt/bridge/devices", button), in("zigbee2mqtt/button", `{"action":"single"}`)}},
		"!an answer that nobody waits for":      {"zigbee2mqtt", "unclaimed", []bridge.Message{in("zigbee2mqtt/bridge/response/x", `{"transaction":"gantry_gw_house-9","status":"ok"}`)}},
		"?a topic of nobody":                    {"shelly", "message of no device that is known", []bridge.Message{in("lamp/status/x", "{}")}},
		"?another bridge's device":              {"zigbee2mqtt", "message of no device that is known", []bridge.Message{in("zigbee2mqtt/nobody", "{}")}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var lines bytes.Buffer
			h, err := shapes.New(shapes.Config{Broker: "house", Gateway: "gw", Shapes: []string{c.shape}}, nil, slog.New(slog.NewTextHandler(&lines, nil)))
			if err != nil {
				t.Fatal(err)
			}
			h.Connected(&carrier{})
			last := len(c.messages) - 1
			for _, m := range c.messages[:last] {
				h.Receive(m)
			}
			if st := h.Stats(); st.Refused+st.Dropped+st.Unknown != 0 {
				t.Fatalf("before: %+v", st)
			}
			h.Receive(c.messages[last])
			st := h.Stats()
			count := st.RefusedFor[c.why]
			switch name[0] {
			case '!':
				count = st.DroppedFor[c.why]
			case '?':
				count = st.Unknown
			}
			if count != 1 || st.Refused+st.Dropped+st.Unknown != 1 {
				t.Errorf("%+v", st)
			}
			if strings.Count(lines.String(), c.why+`" `) != 1 { // the end of the text
				t.Errorf("log: %s", &lines)
			}
		})
	}
}

// fullStatus is that of a Shelly with n switches.
func fullStatus(n int) string {
	var all []string
	for i := range n {
		all = append(all, fmt.Sprintf(`"switch:%d":{"output":true}`, i))
	}
	return `{"src":"pump","method":"NotifyFullStatus","params":{` + strings.Join(all, ",") + `}}`
}

// describes reports whether a device has a point.
func describes(t *testing.T, c drivers.Candidate, point string) bool {
	t.Helper()
	d, err := c.New(drivers.Env{Device: c.Name})
	if err != nil {
		t.Fatal(err)
	}
	return slices.ContainsFunc(d.Describe().Points, func(p drivers.Point) bool { return p.ID == point })
}

// deafCarrier takes nothing.
type deafCarrier struct{ carrier }

func (*deafCarrier) Send(context.Context, bridge.Message) error { return errors.New("no") }

// TestQuestionsThatAreNotAsked loses the connection while questions wait.
func TestQuestionsThatAreNotAsked(t *testing.T) {
	t.Parallel()
	h, err := shapes.New(shapes.Config{Broker: "house", Gateway: "gw", Shapes: []string{"tasmota"}}, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	h.Connected(&deafCarrier{})
	h.Receive(bridge.Message{Topic: "tasmota/discovery/AA/config", Payload: []byte(plug)})
	h.Lost("gone")
	if st := h.Stats(); st.DroppedFor["not_connected"] != 2 {
		t.Errorf("%+v", st)
	}
}

// TestSensorsBeforeTheDevice has the broker send what it keeps in an order of its own.
func TestSensorsBeforeTheDevice(t *testing.T) {
	t.Parallel()
	h, err := shapes.New(shapes.Config{Broker: "house", Gateway: "gw", Shapes: []string{"tasmota"}}, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	kept := func(topic, payload string) {
		h.Receive(bridge.Message{Topic: topic, Payload: []byte(payload), Retained: true})
	}
	kept("tasmota/discovery/AA/sensors", `{"sn":{"AM2301":{"Temperature":21.5}}}`)
	kept("tasmota/discovery/AA/config", plug)
	all := h.Candidates()
	if len(all) != 1 || !describes(t, all[0], "am2301_temperature") {
		t.Errorf("%v", all)
	}
	for i := range 65 {
		kept(fmt.Sprintf("tasmota/discovery/%d/sensors", i), `{"sn":{}}`)
	}
	if st := h.Stats(); st.RefusedFor["too_many_devices"] != 1 || st.Refused != 1 {
		t.Errorf("%+v", st)
	}
}
