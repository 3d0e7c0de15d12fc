package mqttd_test

import (
	"testing"

	"github.com/eclipse/paho.mqtt.golang/packets"

	"gantry/bridge/mqttd"
	"gantry/wamp"
)

// BenchmarkToWAMP is a PUBLISH at QoS 1 with a subscriber in the router's process.
func BenchmarkToWAMP(b *testing.B) {
	w := newWorld(b, mqttd.Config{}, false)
	s := w.session()
	if _, err := s.Subscribe(b.Context(), "a.b", wamp.SubscribeOptions{}, func(*wamp.Event) {}); err != nil {
		b.Fatal(err)
	}
	m := w.mqtt()
	m.connect("c", nil)
	b.ReportAllocs()
	for b.Loop() {
		m.publish("a/b", "21.5", 1, false, 7)
		m.ack(packets.Puback, 7)
	}
}

// BenchmarkToMQTT is a PUBLISH at QoS 0 that its own client receives.
func BenchmarkToMQTT(b *testing.B) {
	w := newWorld(b, mqttd.Config{}, false)
	m := w.mqtt()
	m.connect("c", nil)
	m.subscribe(1, 0, "a/b")
	b.ReportAllocs()
	for b.Loop() {
		m.publish("a/b", "21.5", 0, false, 0)
		m.expect("a/b", "21.5", 0, false)
	}
}
