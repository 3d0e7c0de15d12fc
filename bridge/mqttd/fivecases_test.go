package mqttd_test

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"testing"

	v5 "github.com/eclipse/paho.golang/packets"

	"gantry/bridge/mqttd"
	"gantry/wamp"
	"gantry/wamp/serialize"
)

// raw sends bytes.
func (m *five) raw(text string) {
	m.t.Helper()
	if _, err := m.conn.Write([]byte(text)); err != nil {
		m.t.Fatal(err)
	}
}

// deliver publishes a message and carries its handshake through.
func (m *five) deliver(topic, text string, qos byte, edit func(*v5.Publish)) {
	m.t.Helper()
	const id = 77
	m.publish(topic, text, qos, id, edit)
	switch qos {
	case 1:
		expect[v5.Puback](m)
	case 2:
		expect[v5.Pubrec](m)
		m.send(&v5.Pubrel{PacketID: id, Properties: &v5.Properties{}})
		expect[v5.Pubcomp](m)
	}
}

// ack acknowledges a message at QoS 1.
func (m *five) ack(p *v5.Publish) {
	m.t.Helper()
	m.send(&v5.Puback{PacketID: p.PacketID, Properties: &v5.Properties{}})
}

// pair returns a client and a publisher.
func (w *world) pair(edit func(*v5.Connect)) (m, pub *five) {
	w.t.Helper()
	m, pub = w.five(), w.five()
	m.connect("c", edit)
	pub.connect("p", nil)
	return m, pub
}

// violates is a statement that these bytes, behind CONNECT, are answered by DISCONNECT with
// one of the codes.
func violates(name, text string, codes ...byte) statement {
	return statement{name, func(t testing.TB, w *world) {
		m := w.five()
		m.connect("c", nil)
		m.raw(text)
		m.disconnected(codes...)
	}}
}

// lastWill is a will with properties.
func lastWill(delay uint32) func(*v5.Connect) {
	return func(c *v5.Connect) {
		c.CleanStart, c.Properties.SessionExpiryInterval = false, ptr(uint32(100))
		c.WillFlag, c.WillTopic, c.WillMessage, c.WillQOS = true, "will", []byte("x"), 1
		c.WillProperties = &v5.Properties{WillDelayInterval: &delay, User: []v5.User{{Key: "k", Value: "v"}}}
	}
}

// fiveCases are what the statements of MQTT 5 ask of a server, besides those of 3.1.1.
var fiveCases = slices.Concat(connectOfFive, publishOfFive, subscribeOfFive, sessionsOfFive)

var connectOfFive = []statement{
	{"MQTT-3.2.2-16 a client without an id is given one", func(t testing.TB, w *world) {
		if c := w.five().connect("", nil); c.ReasonCode != 0 || c.Properties.AssignedClientID == "" {
			t.Errorf("%v %v", c, c.Properties)
		}
	}},
	{"MQTT-3.2.0-1 CONNACK is the first, also before what is wrong behind CONNECT", func(t testing.TB, w *world) {
		for range 20 {
			m := w.five()
			m.raw("\x10\x0e\x00\x04MQTT\x05\x02\x00\x00\x00\x00\x01c\xf0\x02\x00\x00")
			expect[v5.Connack](m)
			_ = m.conn.Close()
		}
	}},
	{"MQTT-3.2.2-2 and -3 session present", func(t testing.TB, w *world) {
		for i, want := range []bool{false, true, true} {
			m := w.five()
			if c := m.connect("kept", expiring(100)); c.SessionPresent != want {
				t.Errorf("connection %d: session present %v", i, c.SessionPresent)
			}
		}
		m := w.five()
		if c := m.connect("kept", nil); c.SessionPresent { // MQTT-3.1.2-4
			t.Error("a clean start has a session")
		}
	}},
	{"MQTT-3.1.4-3 a session is taken over", func(t testing.TB, w *world) {
		a := w.five()
		a.connect("same", nil)
		w.five().connect("same", nil)
		a.disconnected(0x8e)
	}},
	{"4.12 an authentication method that the server does not know", func(t testing.TB, w *world) {
		if c := w.five().connect("c", func(c *v5.Connect) { c.Properties.AuthMethod = "x" }); c.ReasonCode != 0x8c {
			t.Errorf("CONNACK %#x", c.ReasonCode)
		}
	}},
	{"MQTT-3.1.2-28 no response information for who does not ask", func(t testing.TB, w *world) {
		if c := w.five().connect("c", nil); c.Properties.ResponseInfo != "" {
			t.Errorf("%v", c.Properties)
		}
	}},
	{"MQTT-3.2.2-21 a shorter keep-alive is told", func(t testing.TB, w *world) {
		c := w.five().connect("c", func(c *v5.Connect) { c.KeepAlive = 60 })
		if k := c.Properties.ServerKeepAlive; k != nil && *k > 60 {
			t.Errorf("%v", c.Properties)
		}
	}},
	{"MQTT-3.1.2-24 and -25 maximum packet size", func(t testing.TB, w *world) {
		m, p := w.pair(func(c *v5.Connect) { c.Properties.MaximumPacketSize = ptr(uint32(64)) })
		m.subscribe(nil, v5.SubOptions{Topic: "a", QoS: 1})
		p.deliver("a", string(make([]byte, 100)), 1, nil)
		p.deliver("a", "small", 1, nil)
		m.message("a", "small", 1)
	}},
	{"3.1.3.2 the properties of a will", func(t testing.TB, w *world) {
		watch, _ := w.pair(nil)
		watch.subscribe(nil, v5.SubOptions{Topic: "will", QoS: 1})
		m := w.five()
		m.connect("mortal", lastWill(0))
		_ = m.conn.Close()
		if p := watch.message("will", "x", 1).Properties; len(p.User) != 1 || p.User[0].Value != "v" || p.WillDelayInterval != nil {
			t.Errorf("%v", p)
		}
	}},
	{"MQTT-3.1.3-9 no will for who is back before its delay", func(t testing.TB, w *world) {
		watch, p := w.pair(nil)
		watch.subscribe(nil, v5.SubOptions{Topic: "#", QoS: 1})
		m := w.five()
		m.connect("mortal", lastWill(3600))
		_ = m.conn.Close()
		m = w.five()
		m.connect("mortal", expiring(100))
		p.deliver("later", "x", 1, nil)
		watch.message("later", "x", 1)
	}},
	{"3.1.3.2.2 the will of a session that ends before its delay", func(t testing.TB, w *world) {
		watch, _ := w.pair(nil)
		watch.subscribe(nil, v5.SubOptions{Topic: "will", QoS: 1})
		m := w.five()
		m.connect("mortal", lastWill(3600))
		_ = m.conn.Close()
		w.five().connect("mortal", nil) // a clean start ends it
		watch.message("will", "x", 1)
	}},
	{"MQTT-3.14.4-3 no will behind DISCONNECT", func(t testing.TB, w *world) {
		watch, p := w.pair(nil)
		watch.subscribe(nil, v5.SubOptions{Topic: "#", QoS: 1})
		m := w.five()
		m.connect("mortal", lastWill(0))
		m.send(&v5.Disconnect{Properties: &v5.Properties{}})
		_, _ = v5.ReadPacket(m.conn)
		p.deliver("later", "x", 1, nil)
		watch.message("later", "x", 1)
	}},
	{"3.14.2.1 DISCONNECT with will", func(t testing.TB, w *world) {
		watch, m := w.five(), w.five()
		watch.connect("watch", nil)
		watch.subscribe(nil, v5.SubOptions{Topic: "will"})
		m.connect("c", func(c *v5.Connect) {
			c.WillFlag, c.WillTopic, c.WillMessage, c.WillProperties = true, "will", []byte("x"), &v5.Properties{}
		})
		m.send(&v5.Disconnect{ReasonCode: 4, Properties: &v5.Properties{}})
		watch.message("will", "x", 0)
	}},
	violates("3.14.2.2.2 DISCONNECT that gives an expiry to a session without one", "\xe0\x07\x00\x05\x11\x00\x00\x00\x64", 0x82),
	violates("4.13.1 a malformed packet is told of", "\xc1\x00", 0x81, 0x82),
	violates("4.13.1 a packet that clients do not send", "\x20\x03\x00\x00\x00", 0x81, 0x82),
	violates("MQTT-3.1.0-2 a second CONNECT", "\x10\x0e\x00\x04MQTT\x05\x02\x00\x00\x00\x00\x01c", 0x82),
	violates("MQTT-3.15.1-1 and 4.12 AUTH without a method", "\xf0\x00", 0x81, 0x82),
}

var publishOfFive = []statement{
	violates("2.2.2.2 a property twice", "\x30\x0a\x00\x01t\x04\x01\x00\x01\x00hi", 0x82, 0x81),
	violates("2.2.2.2 a property that is not for the packet", "\x30\x09\x00\x01t\x03\x13\x00\x0ahi", 0x81, 0x82),
	violates("MQTT-1.5.5-1 an integer with more bytes than it needs", "\x30\x07\x00\x01t\x80\x00hi", 0x81, 0x82),
	violates("MQTT-3.3.2-8 a topic alias 0", "\x30\x09\x00\x01t\x03\x23\x00\x00hi", 0x94, 0x82),
	violates("3.3.2.1 neither a topic nor an alias", "\x30\x05\x00\x00\x00hi", 0x82),
	violates("MQTT-3.3.2-14 a response topic with wildcards", "\x30\x0c\x00\x01t\x06\x08\x00\x03a/#hi", 0x82, 0x81),
	violates("MQTT-3.3.4-6 a subscription identifier from a client", "\x30\x08\x00\x01t\x02\x0b\x07hi", 0x82, 0x81),
	violates("MQTT-3.3.2-2 a topic with wildcards", "\x30\x06\x00\x03a/#\x00", 0x81, 0x82, 0x90),
	violates("MQTT-3.3.1-4 QoS 3", "\x36\x06\x00\x01t\x00\x01\x00", 0x81, 0x82),
	violates("MQTT-2.2.1-3 a packet identifier 0", "\x32\x06\x00\x01t\x00\x00\x00", 0x81, 0x82),
	{"MQTT-3.3.2-9 an alias above the maximum", func(t testing.TB, w *world) {
		m := w.five()
		c := m.connect("c", nil)
		if n := c.Properties.TopicAliasMaximum; n != nil && *n == 65535 {
			return // there is none
		}
		m.publish("a", "1", 0, 0, func(p *v5.Publish) { p.Properties.TopicAlias = ptr(uint16(65535)) })
		m.disconnected(0x94, 0x82)
	}},
	{"MQTT-3.3.2-7 and -12 topic aliases of the client", func(t testing.TB, w *world) {
		m, p := w.pair(nil)
		m.subscribe(nil, v5.SubOptions{Topic: "long/#"})
		alias := func(n uint16) func(*v5.Publish) {
			return func(p *v5.Publish) { p.Properties.TopicAlias = &n }
		}
		p.publish("long/topic", "1", 0, 0, alias(3))
		p.publish("", "2", 0, 0, alias(3))
		p.publish("long/other", "3", 0, 0, alias(3))
		p.publish("", "4", 0, 0, alias(3))
		for i, topic := range []string{"long/topic", "long/topic", "long/other", "long/other"} {
			m.message(topic, fmt.Sprint(i+1), 0)
		}
		p.publish("", "5", 0, 0, alias(4)) // stands for nothing
		p.disconnected(0x82, 0x94)
	}},
	{"MQTT-3.3.2-10 topic aliases end with the connection", func(t testing.TB, w *world) {
		alias := func(p *v5.Publish) { p.Properties.TopicAlias = ptr(uint16(3)) }
		m := w.five()
		m.connect("kept", expiring(100))
		m.deliver("topic", "1", 1, alias)
		_ = m.conn.Close()
		m = w.five()
		m.connect("kept", expiring(100))
		m.publish("", "2", 0, 0, alias)
		m.disconnected(0x82, 0x94)
	}},
	{"MQTT-3.3.2-11 no aliases above the maximum of the client", func(t testing.TB, w *world) {
		m, p := w.pair(nil) // 0
		m.subscribe(nil, v5.SubOptions{Topic: "a"})
		for range 3 {
			p.deliver("a", "x", 1, nil)
			if got := m.message("a", "x", 0); got.Properties.TopicAlias != nil {
				t.Errorf("%v", got.Properties)
			}
		}
	}},
	{"MQTT-3.3.2-15 to -20 properties arrive unaltered", func(t testing.TB, w *world) {
		m, p := w.pair(nil)
		m.subscribe(nil, v5.SubOptions{Topic: "a/#"})
		p.publish("a/b", "21.5", 0, 0, func(p *v5.Publish) {
			p.Properties.User = []v5.User{{Key: "k", Value: "1"}, {Key: "k", Value: "2"}}
			p.Properties.ContentType, p.Properties.CorrelationData = "text/plain", []byte{0, 255}
			p.Properties.ResponseTopic, p.Properties.PayloadFormat = "r", ptr(byte(1))
		})
		pr := m.message("a/b", "21.5", 0).Properties
		if len(pr.User) != 2 || pr.User[1].Value != "2" || pr.ContentType != "text/plain" || !bytes.Equal(pr.CorrelationData, []byte{0, 255}) ||
			pr.ResponseTopic != "r" || pr.PayloadFormat == nil || *pr.PayloadFormat != 1 {
			t.Errorf("%v", pr)
		}
	}},
	{"MQTT-3.3.2-6 the rest of the expiry is told", func(t testing.TB, w *world) {
		m, p := w.pair(nil)
		m.subscribe(nil, v5.SubOptions{Topic: "a"})
		p.deliver("a", "x", 1, func(p *v5.Publish) { p.Properties.MessageExpiry = ptr(uint32(1000)) })
		if e := m.message("a", "x", 0).Properties.MessageExpiry; e == nil || *e > 1000 || *e < 900 {
			t.Errorf("expiry %v", e)
		}
	}},
	{"MQTT-3.3.4-9 receive maximum", func(t testing.TB, w *world) {
		m, p := w.pair(func(c *v5.Connect) { c.Properties.ReceiveMaximum = ptr(uint16(2)) })
		m.subscribe(nil, v5.SubOptions{Topic: "a", QoS: 1})
		for range 4 {
			p.deliver("a", "x", 1, nil)
		}
		first := m.message("a", "x", 1)
		m.message("a", "x", 1)
		m.quiet()
		m.ack(first)
		m.message("a", "x", 1)
		m.quiet()
	}},
	{"MQTT-4.3.3 exactly once to the client", func(t testing.TB, w *world) {
		m, p := w.pair(nil)
		m.subscribe(nil, v5.SubOptions{Topic: "a", QoS: 2})
		p.deliver("a", "x", 2, nil)
		m.finish(m.message("a", "x", 2))
		m.quiet()
	}},
	{"4.3.3 PUBREC with an error ends the handshake", func(t testing.TB, w *world) {
		m, p := w.pair(func(c *v5.Connect) { c.Properties.ReceiveMaximum = ptr(uint16(1)) })
		m.subscribe(nil, v5.SubOptions{Topic: "a", QoS: 2})
		p.deliver("a", "1", 2, nil)
		p.deliver("a", "2", 2, nil)
		first := m.message("a", "1", 2)
		m.send(&v5.Pubrec{PacketID: first.PacketID, ReasonCode: 0x99, Properties: &v5.Properties{}})
		m.finish(m.message("a", "2", 2))
		m.quiet()
	}},
	{"3.6.2.1 PUBREC for an unknown identifier", func(t testing.TB, w *world) {
		m := w.five()
		m.connect("c", nil)
		m.send(&v5.Pubrec{PacketID: 999, Properties: &v5.Properties{}})
		if r := expect[v5.Pubrel](m); r.PacketID != 999 || r.ReasonCode != 0x92 {
			t.Errorf("%v", r)
		}
	}},
	{"3.7.2.1 PUBREL for an unknown identifier", func(t testing.TB, w *world) {
		m := w.five()
		m.connect("c", nil)
		m.send(&v5.Pubrel{PacketID: 77, Properties: &v5.Properties{}})
		if a := expect[v5.Pubcomp](m); a.PacketID != 77 || a.ReasonCode != 0x92 {
			t.Errorf("%v", a)
		}
	}},
	{"3.7.2.1 a PUBREL whose PUBCOMP was lost is no error", func(t testing.TB, w *world) {
		m := w.five()
		m.connect("kept", expiring(100))
		m.publish("a", "x", 2, 9, nil)
		expect[v5.Pubrec](m)
		for range 2 {
			m.send(&v5.Pubrel{PacketID: 9, Properties: &v5.Properties{}})
			if a := expect[v5.Pubcomp](m); a.PacketID != 9 || a.ReasonCode != 0 {
				t.Errorf("%v", a)
			}
			_ = m.conn.Close()
			m = w.five()
			m.connect("kept", expiring(100))
		}
	}},
}

var subscribeOfFive = []statement{
	violates("3.8.2.1.2 a subscription identifier 0", "\x82\x09\x00\x01\x02\x0b\x00\x00\x01a\x00", 0x82, 0x81),
	violates("MQTT-3.8.3-5 reserved subscription options", "\x82\x07\x00\x01\x00\x00\x01a\xc0", 0x81, 0x82),
	violates("3.8.3.1 retain handling 3", "\x82\x07\x00\x01\x00\x00\x01a\x30", 0x82, 0x81),
	violates("MQTT-3.8.3-4 no local of a shared subscription", "\x82\x10\x00\x01\x00\x00\x0a$share/g/a\x04", 0x82),
	violates("MQTT-3.8.3-2 SUBSCRIBE without a filter", "\x82\x03\x00\x01\x00", 0x82, 0x81),
	violates("MQTT-3.10.3-2 UNSUBSCRIBE without a filter", "\xa2\x03\x00\x01\x00", 0x82, 0x81),
	{"MQTT-3.3.4-3 subscription identifiers", func(t testing.TB, w *world) {
		m, p := w.pair(nil)
		m.subscribe(func(s *v5.Subscribe) { s.Properties.SubscriptionIdentifier = ptr(7) }, v5.SubOptions{Topic: "a/+", QoS: 1})
		p.deliver("a/b", "x", 1, nil)
		if id := m.message("a/b", "x", 1).Properties.SubscriptionIdentifier; id == nil || *id != 7 {
			t.Errorf("%v", id)
		}
	}},
	{"MQTT-3.8.3-3 no local", func(t testing.TB, w *world) {
		m, other := w.pair(nil)
		m.subscribe(nil, v5.SubOptions{Topic: "a", NoLocal: true})
		m.publish("a", "own", 1, 5, nil)
		expect[v5.Puback](m)
		other.publish("a", "other", 0, 0, nil)
		m.message("a", "other", 0)
	}},
	{"MQTT-3.3.1-12 and -13 retain as published", func(t testing.TB, w *world) {
		m, p := w.pair(nil)
		m.subscribe(nil, v5.SubOptions{Topic: "a", RetainAsPublished: true}, v5.SubOptions{Topic: "b"})
		for topic, want := range map[string]bool{"a": true, "b": false} {
			p.publish(topic, "x", 0, 0, func(p *v5.Publish) { p.Retain = true })
			if p := m.message(topic, "x", 0); p.Retain != want {
				t.Errorf("%s: retain %v", topic, p.Retain)
			}
		}
	}},
	{"MQTT-3.3.1-9 to -11 retain handling", func(t testing.TB, w *world) {
		m := w.five()
		m.connect("c", nil)
		m.publish("a", "kept", 1, 1, func(p *v5.Publish) { p.Retain = true })
		expect[v5.Puback](m)
		m.subscribe(nil, v5.SubOptions{Topic: "a", RetainHandling: 2})
		m.quiet()
		m.subscribe(nil, v5.SubOptions{Topic: "a", RetainHandling: 1})
		m.quiet() // it is not new
		m.subscribe(nil, v5.SubOptions{Topic: "a", RetainHandling: 0})
		m.message("a", "kept", 0)
		m.send(&v5.Unsubscribe{PacketID: 3, Topics: []string{"a"}, Properties: &v5.Properties{}})
		expect[v5.Unsuback](m)
		m.subscribe(nil, v5.SubOptions{Topic: "a", RetainHandling: 1})
		m.message("a", "kept", 0)
	}},
	{"3.11.3 reason codes of UNSUBACK", func(t testing.TB, w *world) {
		m := w.five()
		m.connect("c", nil)
		m.subscribe(nil, v5.SubOptions{Topic: "a"})
		m.send(&v5.Unsubscribe{PacketID: 3, Topics: []string{"a", "b"}, Properties: &v5.Properties{}})
		if u := expect[v5.Unsuback](m); !bytes.Equal(u.Reasons, []byte{0, 0x11}) {
			t.Errorf("% x", u.Reasons)
		}
	}},
	{"3.9.3 reason codes of SUBACK", func(t testing.TB, w *world) {
		m := w.five()
		m.connect("c", nil)
		got := m.subscribe(nil, v5.SubOptions{Topic: "a", QoS: 2}, v5.SubOptions{Topic: "b/#/c"}, v5.SubOptions{Topic: "d", QoS: 1})
		if !bytes.Equal(got, []byte{2, 0x8f, 1}) {
			t.Errorf("% x", got)
		}
	}},
	{"MQTT-4.8.2-1 and -2 shared subscriptions that are none", func(t testing.TB, w *world) {
		m := w.five()
		m.connect("c", nil)
		got := m.subscribe(nil, v5.SubOptions{Topic: "$share/a"}, v5.SubOptions{Topic: "$share//a"}, v5.SubOptions{Topic: "$share/+/a"}, v5.SubOptions{Topic: "$share/g/"})
		if !bytes.Equal(got, []byte{0x8f, 0x8f, 0x8f, 0x8f}) {
			t.Errorf("% x", got)
		}
	}},
	{"4.8.2 each message of a shared subscription goes to one", func(t testing.TB, w *world) {
		a, b, p := w.five(), w.five(), w.five()
		a.connect("a", nil)
		b.connect("b", nil)
		p.connect("p", nil)
		a.subscribe(nil, v5.SubOptions{Topic: "$share/g/job/#"}, v5.SubOptions{Topic: "end"})
		b.subscribe(nil, v5.SubOptions{Topic: "$share/g/job/#"}, v5.SubOptions{Topic: "end"})
		for i := range 10 {
			p.deliver("job/1", fmt.Sprint(i), 1, nil)
		}
		p.deliver("end", "", 1, nil)
		var all []string
		for _, m := range []*five{a, b} {
			for got := expect[v5.Publish](m); got.Topic != "end"; got = expect[v5.Publish](m) {
				all = append(all, string(got.Payload))
			}
		}
		if slices.Sort(all); len(all) != 10 || len(slices.Compact(all)) != 10 {
			t.Errorf("%v", all)
		}
	}},
	{"4.8.2 two groups and a client of its own get the same message", func(t testing.TB, w *world) {
		p := w.five()
		p.connect("p", nil)
		var members []*five
		for i, filter := range []string{"$share/g/t", "$share/h/t", "t"} {
			m := w.five()
			m.connect(fmt.Sprint("m", i), nil)
			m.subscribe(nil, v5.SubOptions{Topic: filter, QoS: 1})
			members = append(members, m)
		}
		p.deliver("t", "x", 1, nil)
		for _, m := range members {
			m.message("t", "x", 1)
			m.quiet()
		}
	}},
	{"3.3.1.3 a shared subscription gets no retained messages", func(t testing.TB, w *world) {
		m, p := w.pair(nil)
		p.deliver("t", "kept", 1, func(p *v5.Publish) { p.Retain = true })
		m.subscribe(nil, v5.SubOptions{Topic: "$share/g/t", QoS: 1})
		m.quiet()
	}},
}

var sessionsOfFive = []statement{
	{"MQTT-4.1.0-1 and 4.4.0-1 a kept session gets what it missed", func(t testing.TB, w *world) {
		m, p := w.five(), w.five()
		m.connect("kept", expiring(100))
		m.subscribe(nil, v5.SubOptions{Topic: "a", QoS: 2})
		p.connect("p", nil)
		p.deliver("a", "first", 2, nil)
		first := m.message("a", "first", 2)
		_ = m.conn.Close()
		p.deliver("a", "second", 2, nil)
		m = w.five()
		m.connect("kept", expiring(100))
		if again := m.message("a", "first", 2); !again.Duplicate || again.PacketID != first.PacketID { // MQTT-3.3.1-1
			t.Errorf("%v", again)
		}
		second := m.message("a", "second", 2)
		m.send(&v5.Pubrec{PacketID: second.PacketID, Properties: &v5.Properties{}})
		expect[v5.Pubrel](m)
		_ = m.conn.Close()
		m = w.five()
		m.connect("kept", expiring(100))
		m.message("a", "first", 2)
		if r := expect[v5.Pubrel](m); r.PacketID != second.PacketID {
			t.Errorf("%v", r)
		}
	}},
	{"3.1.2.11.2 a session without expiry ends with its connection", func(t testing.TB, w *world) {
		m := w.five()
		m.connect("c", func(c *v5.Connect) { c.CleanStart = false })
		m.send(&v5.Disconnect{Properties: &v5.Properties{}})
		_, _ = v5.ReadPacket(m.conn)
		m = w.five()
		if c := m.connect("c", expiring(100)); c.SessionPresent {
			t.Error("a session")
		}
	}},
	{"3.14.2.2.2 DISCONNECT sets the expiry of the session", func(t testing.TB, w *world) {
		m := w.five()
		m.connect("kept", expiring(100))
		m.send(&v5.Disconnect{Properties: &v5.Properties{SessionExpiryInterval: ptr(uint32(0))}})
		_, _ = v5.ReadPacket(m.conn)
		m = w.five()
		if c := m.connect("kept", expiring(100)); c.SessionPresent {
			t.Error("a session")
		}
	}},
	{"4.1 subscriptions with their options and identifiers are part of the session", func(t testing.TB, w *world) {
		m, p := w.five(), w.five()
		m.connect("kept", expiring(100))
		p.connect("p", nil)
		m.subscribe(func(s *v5.Subscribe) { s.Properties.SubscriptionIdentifier = ptr(7) }, v5.SubOptions{Topic: "a", QoS: 1, NoLocal: true, RetainAsPublished: true})
		_ = m.conn.Close()
		m = w.five()
		m.connect("kept", expiring(100))
		m.deliver("a", "own", 1, nil)
		p.deliver("a", "x", 1, func(p *v5.Publish) { p.Retain = true })
		got := m.message("a", "x", 1)
		if id := got.Properties.SubscriptionIdentifier; id == nil || *id != 7 || !got.Retain {
			t.Errorf("%v %v", got, got.Properties)
		}
	}},
}

// ownCases are what the specification leaves to the server, or to its rules.
var ownCases = []statement{
	{"response information", func(t testing.TB, w *world) { // MQTT-3.2.2-23
		c := w.five().connect("c", func(c *v5.Connect) { c.Properties.RequestResponseInfo = ptr(byte(1)) })
		if c.Properties.ResponseInfo != "reply/c" {
			t.Errorf("%v", c.Properties)
		}
	}},
	{"SUBSCRIBE without a right", func(t testing.TB, w *world) {
		m := w.five()
		m.connect("c", nil)
		got := m.subscribe(nil, v5.SubOptions{Topic: "a", QoS: 2}, v5.SubOptions{Topic: "b/#/c"}, v5.SubOptions{Topic: "forbidden/x"}, v5.SubOptions{Topic: "$share/a"})
		if !bytes.Equal(got, []byte{2, 0x8f, 0x87, 0x8f}) {
			t.Errorf("% x", got)
		}
	}},
	{"PUBLISH without a right", func(t testing.TB, w *world) {
		m := w.five()
		m.connect("c", nil)
		m.publish("forbidden/x", "1", 1, 8, nil)
		if a := expect[v5.Puback](m); a.PacketID != 8 || a.ReasonCode != 0x87 {
			t.Errorf("%v", a)
		}
		m.publish("forbidden/x", "1", 2, 9, nil)
		if a := expect[v5.Pubrec](m); a.PacketID != 9 || a.ReasonCode != 0x87 {
			t.Errorf("%v", a)
		}
		m.send(&v5.Pubrel{PacketID: 77, Properties: &v5.Properties{}})
		if a := expect[v5.Pubcomp](m); a.ReasonCode != 0x92 {
			t.Errorf("%v", a)
		}
	}},
	{"topic aliases to the client", func(t testing.TB, w *world) {
		m := w.five()
		ack := m.connect("c", func(c *v5.Connect) { c.Properties.TopicAliasMaximum = ptr(uint16(1)) })
		if *ack.Properties.TopicAliasMaximum == 0 {
			t.Fatal("no aliases")
		}
		m.subscribe(nil, v5.SubOptions{Topic: "long/#"})
		m.publish("long/topic", "1", 0, 0, func(p *v5.Publish) { p.Properties.TopicAlias = ptr(uint16(3)) })
		m.publish("", "2", 0, 0, func(p *v5.Publish) { p.Properties.TopicAlias = ptr(uint16(3)) })
		if p := m.message("long/topic", "1", 0); *p.Properties.TopicAlias != 1 {
			t.Errorf("%v", p.Properties)
		}
		if p := m.message("", "2", 0); *p.Properties.TopicAlias != 1 {
			t.Errorf("%v", p.Properties)
		}
		m.publish("long/other", "3", 0, 0, nil) // no alias is left
		m.message("long/other", "3", 0)
		m.publish("", "4", 0, 0, func(p *v5.Publish) { p.Properties.TopicAlias = ptr(uint16(4)) })
		m.disconnected(0x82)
	}},
	{"an alias above the maximum", func(t testing.TB, w *world) {
		m := w.five()
		m.connect("c", nil)
		m.publish("a", "1", 0, 0, func(p *v5.Publish) { p.Properties.TopicAlias = ptr(uint16(60000)) })
		m.disconnected(0x94)
	}},
	{"the QoS of a subscription", func(t testing.TB, w *world) {
		m := w.five()
		m.connect("c", nil)
		m.subscribe(nil, v5.SubOptions{Topic: "a", QoS: 2})
		m.publish("a", "x", 0, 0, nil)
		m.finish(m.message("a", "x", 2))
		m.quiet()
	}},
	{"a shared subscription serves its members in turn", func(t testing.TB, w *world) {
		a, b, p := w.five(), w.five(), w.five()
		a.connect("a", nil)
		b.connect("b", nil)
		p.connect("p", nil)
		a.subscribe(nil, v5.SubOptions{Topic: "$share/g/job/#"})
		b.subscribe(nil, v5.SubOptions{Topic: "$share/g/job/#"})
		for i := range 10 {
			p.deliver("job/1", fmt.Sprint(i), 1, nil)
		}
		for _, m := range []*five{a, b} {
			for range 5 {
				expect[v5.Publish](m)
			}
			m.quiet()
		}
	}},
	{"a request is a call", func(t testing.TB, w *world) {
		s := w.session()
		_, err := s.Register(t.Context(), "gw.set.lamp", wamp.RegisterOptions{}, func(_ context.Context, inv *wamp.Invocation, _ func(wamp.Payload) error) (wamp.Payload, error) {
			if args, _, _ := serialize.Values(inv.Payload); fmt.Sprint(args) == "[13]" {
				return wamp.Payload{}, wamp.NewError("gantry.error.out_of_range", "no", nil)
			}
			return wamp.Args("done"), nil
		})
		if err != nil {
			t.Fatal(err)
		}
		m := w.five()
		m.connect("c", nil)
		m.subscribe(nil, v5.SubOptions{Topic: "reply/c"})
		ask := func(topic, text string) {
			m.publish(topic, text, 0, 0, func(p *v5.Publish) {
				p.Properties.ResponseTopic, p.Properties.CorrelationData = "reply/c", []byte("7")
			})
		}
		ask("gw/set/lamp", "12")
		if p := m.message("reply/c", "done", 0); string(p.Properties.CorrelationData) != "7" {
			t.Errorf("%v", p.Properties)
		}
		ask("gw/set/lamp", "13")
		if p := expect[v5.Publish](m); len(p.Properties.User) != 1 || p.Properties.User[0].Value != "gantry.error.out_of_range" {
			t.Errorf("%v %v", p, p.Properties)
		}
		ask("gw/set/lamp", "\xa1\x64args\x81\x0d") // {"args": [13]} in CBOR
		if p := expect[v5.Publish](m); len(p.Properties.User) != 1 {
			t.Errorf("%v %v", p, p.Properties)
		}
		m.subscribe(nil, v5.SubOptions{Topic: "gw/nothing"})
		ask("gw/nothing", "to another client")
		if p := m.message("gw/nothing", "to another client", 0); p.Properties.ResponseTopic != "reply/c" {
			t.Errorf("%v", p.Properties)
		}
	}},
}

func TestOwnOfVersion5(t *testing.T) {
	t.Parallel()
	for _, c := range ownCases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			c.run(t, newWorld(t, mqttd.Config{}, false))
		})
	}
}
