package mqttd_test

import (
	"net"
	"testing"

	"gantry/internal/mosquitto"
)

// besides says for which statements Mosquitto answers otherwise than this listener, and
// why; see docs/mqtt-conformance.md. What is ours alone is not asked of it.
var besides = map[string]string{
	"MQTT-3.2.2-23 response information":             "Mosquitto has none, which the specification leaves open",
	"MQTT-3.8.3-4 no local of a shared subscription": "Mosquitto takes it",
	"3.9.3 reason codes of SUBACK":                   "Mosquitto ends the connection for a filter that is none",
	"3.4.2.1 reason codes of PUBACK and PUBREC":      "the rules are this router's; Mosquitto says success to a PUBREL for nothing",
	"MQTT-3.1.4-3 a session is taken over":           "Mosquitto may close without a DISCONNECT",
	"MQTT-3.3.4-9 receive maximum":                   "Mosquitto was seen to send above it when it raises the QoS",
	"MQTT-4.3.3 exactly once to the client":          "Mosquitto says success to a PUBREC for nothing",
	"MQTT-3.3.2-7 to -12 topic aliases":              "Mosquitto sends no aliases",
}

// TestMosquittoBeside has Mosquitto answer the same packets, so that what the cases
// expect is not only our own reading of the specification.
func TestMosquittoBeside(t *testing.T) {
	t.Parallel()
	mosquitto.Need(t, "mosquitto", "mosquitto")
	for _, c := range fiveCases {
		t.Run(c.name, func(t *testing.T) {
			if why := besides[c.name]; why != "" {
				t.Skip(why)
			}
			b := mosquitto.NewBroker(t, "upgrade_outgoing_qos true")
			c.run(t, &world{t: t, dial: func() net.Conn {
				nc, err := net.Dial("tcp", b.Addr)
				if err != nil {
					t.Fatal(err)
				}
				return nc
			}})
		})
	}
}
