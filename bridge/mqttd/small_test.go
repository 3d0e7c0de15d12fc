package mqttd_test

import (
	"fmt"
	"strings"
	"testing"

	v5 "github.com/eclipse/paho.golang/packets"

	"gantry/bridge/mqttd"
)

// small has a client take packets of n bytes at most.
func small(n uint32) func(*v5.Connect) {
	return func(c *v5.Connect) {
		expiring(1000)(c)
		c.Properties.MaximumPacketSize = &n
	}
}

// TestNothingLargerThanTheClientTakes has clients that take little (MQTT-3.1.2-24, -25).
func TestNothingLargerThanTheClientTakes(t *testing.T) {
	t.Parallel()
	many := make([]v5.SubOptions, 43)
	for i := range many {
		many[i].Topic = fmt.Sprint("t/", i)
	}
	for name, run := range map[string]func(t *testing.T, w *world){
		"less than CONNACK needs": func(t *testing.T, w *world) {
			if c := w.five().connect("c", small(47)); c.ReasonCode != 0x83 {
				t.Errorf("CONNACK %#x", c.ReasonCode)
			}
			m := w.five()
			c := &v5.Connect{ProtocolName: "MQTT", ProtocolVersion: 5, CleanStart: true, ClientID: "c", Properties: &v5.Properties{MaximumPacketSize: ptr(uint32(4))}}
			m.send(c)
			if p, err := v5.ReadPacket(m.conn); err == nil {
				t.Errorf("got %v", p)
			}
		},
		"CONNACK without what is optional": func(t *testing.T, w *world) {
			c := w.five().connect("", func(c *v5.Connect) {
				small(48)(c)
				c.Properties.RequestResponseInfo, c.Properties.SessionExpiryInterval, c.KeepAlive = ptr(byte(1)), ptr(^uint32(0)), 60
			})
			if c.ReasonCode != 0 || c.Properties.AssignedClientID == "" || c.Properties.ResponseInfo != "" {
				t.Errorf("%v %v", c, c.Properties)
			}
		},
		"SUBACK": func(t *testing.T, w *world) {
			m := w.five()
			m.connect("c", small(48))
			if n := len(m.subscribe(nil, many...)); n != len(many) { // 48 bytes
				t.Errorf("%d codes", n)
			}
			m.send(&v5.Subscribe{PacketID: 2, Subscriptions: append(many, v5.SubOptions{Topic: "more"}), Properties: &v5.Properties{}})
			m.disconnected(0x95)
		},
		"UNSUBACK": func(t *testing.T, w *world) {
			m := w.five()
			m.connect("c", small(48))
			m.send(&v5.Unsubscribe{PacketID: 2, Topics: strings.Split(strings.Repeat("a ", 43)+"a", " "), Properties: &v5.Properties{}})
			m.disconnected(0x95)
		},
		"a message that is too large by its expiry": func(t *testing.T, w *world) {
			m, p := w.pair(small(48))
			m.subscribe(nil, v5.SubOptions{Topic: "a", QoS: 1}, v5.SubOptions{Topic: "b"})
			lasting := func(p *v5.Publish) { p.Properties.MessageExpiry = ptr(uint32(100)) }
			for _, topic := range []string{"a", "b"} { // 2 + 3 + 2 (QoS 1) + 1 + text
				p.deliver(topic, strings.Repeat("x", 38), 1, lasting)
				p.deliver(topic, strings.Repeat("y", 30), 1, lasting)
				if got := expect[v5.Publish](m); got.Payload[0] != 'y' {
					t.Errorf("%v", got)
				}
			}
			if n := w.server.Stats().Oversize; n != 2 {
				t.Errorf("%d too large", n)
			}
		},
		"a message that would be by its alias": func(t *testing.T, w *world) {
			m, p := w.pair(func(c *v5.Connect) { small(48)(c); c.Properties.TopicAliasMaximum = ptr(uint16(3)) })
			m.subscribe(nil, v5.SubOptions{Topic: "a"})
			p.deliver("a", strings.Repeat("x", 42), 1, nil) // 48 bytes
			p.deliver("a", strings.Repeat("y", 39), 1, nil) // 48 with an alias
			if a := m.message("a", strings.Repeat("x", 42), 0).Properties.TopicAlias; a != nil {
				t.Errorf("alias %d", *a)
			}
			if a := m.message("a", strings.Repeat("y", 39), 0).Properties.TopicAlias; a == nil {
				t.Error("no alias")
			}
		},
		"what waits for a client that takes less than before": func(t *testing.T, w *world) {
			m, p := w.pair(small(1000))
			m.subscribe(nil, v5.SubOptions{Topic: "a", QoS: 1}, v5.SubOptions{Topic: "b", QoS: 2})
			for _, topic := range []string{"a", "b"} {
				p.deliver(topic, strings.Repeat("x", 100), 1, nil)
				expect[v5.Publish](m) // and is not acknowledged
			}
			_ = m.conn.Close()
			for w.server.Stats().Away == 0 {
				p.quiet()
			}
			p.deliver("a", strings.Repeat("z", 100), 1, nil)
			p.deliver("a", "small", 1, nil)
			m = w.five()
			m.connect("c", small(48))
			m.message("a", "small", 1)
			m.quiet()
			if st := w.server.Stats(); st.Oversize != 3 {
				t.Errorf("%+v", st)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			run(t, newWorld(t, mqttd.Config{}, false))
		})
	}
}
