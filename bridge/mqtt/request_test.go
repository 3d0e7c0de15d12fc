package mqtt_test

import (
	"encoding/json"
	"testing"

	paho "github.com/eclipse/paho.mqtt.golang"

	"gantry/bridge"
	"gantry/bridge/mqtt"
	"gantry/internal/mosquitto"
	"gantry/wamp"
)

// TestRequest asks a device behind a real broker, which answers by the
// transaction of the request, twice.
func TestRequest(t *testing.T) {
	t.Parallel()
	b := mosquitto.NewBroker(t)
	device := paho.NewClient(paho.NewClientOptions().AddBroker("tcp://" + b.Addr).SetOrderMatters(false))
	for _, step := range []func() paho.Token{device.Connect, func() paho.Token {
		return device.Subscribe("dev/request", 1, func(c paho.Client, m paho.Message) {
			var req map[string]any
			if json.Unmarshal(m.Payload(), &req) != nil {
				return
			}
			for _, more := range []bool{true, false} {
				req["more"], req["data"] = more, map[string]any{"more": more}
				reply, _ := json.Marshal(req)
				c.Publish("dev/response", 1, false, reply).Wait()
			}
		})
	}} {
		if token := step(); token.Wait() && token.Error() != nil {
			t.Fatal(token.Error())
		}
	}
	defer device.Disconnect(100)
	pub(t, b, "dev/response", `{"transaction":"old"}`, "-r")
	w := newWorld(t, mqtt.Config{URL: "tcp://" + b.Addr, RulesConfig: bridge.RulesConfig{Command: []bridge.CommandConfig{{
		Procedure: "do.dev.run", Topic: "dev/request", Payload: ptr(`{"transaction":{id:json}}`),
		Response: &bridge.ResponseConfig{Topic: "dev/response", ID: "transaction", Result: "data", ProgressIf: map[string]any{"more": true}, Timeout: patience},
	}}}})
	w.await(bridge.Online)
	for range 3 {
		progress := 0
		res, err := w.sess.CallProgress(t.Context(), "gantry.gw.do.dev.run", wamp.CallOptions{ReceiveProgress: true}, wamp.Payload{}, func(wamp.Payload) { progress++ })
		if err != nil || progress != 1 {
			t.Fatalf("%v, %d times progress", err, progress)
		}
		if text, err := bridge.AppendMQTT(nil, res); err != nil || string(text) != `{"more":false}` {
			t.Errorf("%s, %v", text, err)
		}
	}
	if s := w.client.Stats(); s.Rules.Ignored != 1 || s.Rules.Unclaimed != 0 || s.Published != 3 {
		t.Errorf("%+v", s)
	}
}
