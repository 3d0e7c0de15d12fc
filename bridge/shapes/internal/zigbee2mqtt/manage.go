package zigbee2mqtt

import (
	"gantry/bridge/shapes/internal/shape"
	"gantry/drivers"
)

// maxPermit is the longest time in seconds that Zigbee lets a network be open for.
const maxPermit = 254

func bound(f float64) *float64 { return &f }

// introduce reports the bridge as a device, once.
func (s *Shape) introduce(out *shape.Output) {
	if s.known {
		return
	}
	s.known = true
	text := func(id, description string) drivers.Point {
		return drivers.Point{ID: id, Type: drivers.Text, Description: description}
	}
	target := text("id", "friendly name or IEEE address")
	d := shape.Device{ID: BridgeID, Name: "zigbee2mqtt", Label: "Zigbee2MQTT"}
	d.Model = "Zigbee2MQTT"
	d.Points = []drivers.Point{
		{ID: "permit_join", Type: drivers.Bool, Readable: true, Writable: true, Description: "new devices may join"},
		{ID: "version", Type: drivers.Text, Readable: true},
	}
	d.Actions = []drivers.Action{
		{ID: "permit_join", Description: "let new devices join", Args: []drivers.Point{
			{ID: "time", Type: drivers.Int, Unit: "s", Min: bound(0), Max: bound(maxPermit), Description: "0 = no longer"},
		}},
		{ID: "rename", Description: "give a device another name", Args: []drivers.Point{text("from", "its name"), text("to", "the new one")}},
		{ID: "remove", Description: "make a device leave the network", Args: []drivers.Point{target, {ID: "force", Type: drivers.Bool, Description: "forget it even if it does not answer"}}},
		{ID: "interview", Description: "ask a device again what it can do", Args: []drivers.Point{target}},
		{ID: "configure", Description: "set up a device's reports again", Args: []drivers.Point{target}},
		{ID: "ota_check", Description: "is there newer firmware for a device", Args: []drivers.Point{target}},
		{ID: "ota_update", Description: "update a device's firmware; takes up to hours", Args: []drivers.Point{target}, Progressive: true},
		{ID: "ota_abort", Description: "stop the update of a device", Args: []drivers.Point{target}},
		{ID: "restart", Description: "restart Zigbee2MQTT"},
	}
	out.Appeared = append(out.Appeared, d)
}

// request returns a command that the bridge answers.
func (s *Shape) request(topic string, payload map[string]any) shape.Command {
	token := s.token()
	payload["transaction"] = token
	return shape.Command{Send: []shape.Message{s.message("bridge/request/"+topic, payload)}, Token: token}
}

// permit opens or closes the network. "value" is what versions before 2 need.
func (s *Shape) permit(open bool, seconds int64) shape.Command {
	if !open {
		seconds = 0
	}
	return s.request("permit_join", map[string]any{"time": seconds, "value": open})
}

// manage carries out an action of the bridge.
func (s *Shape) manage(action string, args map[string]any) (shape.Command, error) {
	id, _ := args["id"].(string)
	topics := map[string]string{
		"interview": "device/interview", "configure": "device/configure",
		"ota_check": "device/ota_update/check", "ota_abort": "device/ota_update/update/abort",
	}
	switch action {
	case "permit_join":
		seconds, _ := args["time"].(int64)
		return s.permit(seconds > 0, seconds), nil
	case "rename":
		return s.request("device/rename", map[string]any{"from": args["from"], "to": args["to"]}), nil
	case "remove":
		return s.request("device/remove", map[string]any{"id": id, "force": args["force"] == true, "block": false}), nil
	case "restart":
		return s.request("restart", map[string]any{}), nil
	case "ota_update":
		c := s.request("device/ota_update/update", map[string]any{"id": id})
		d := s.devices[id]
		if d == nil {
			d = s.names[id]
		}
		if d != nil {
			s.updates[d.ID] = c.Token
		}
		c.Cancel = []shape.Message{s.message("bridge/request/device/ota_update/update/abort", map[string]any{"id": id})}
		return c, nil
	}
	if topic, ok := topics[action]; ok {
		return s.request(topic, map[string]any{"id": id}), nil
	}
	return shape.Command{}, shape.ErrUnknown
}
