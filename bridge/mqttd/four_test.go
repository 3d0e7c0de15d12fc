package mqttd_test

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/eclipse/paho.mqtt.golang/packets"
)

// join connects with a session that is kept unless clean, and returns whether there was
// one.
func (m *mqtt) join(id string, clean bool) (present bool) {
	m.t.Helper()
	p := packets.NewControlPacket(packets.Connect).(*packets.ConnectPacket)
	p.ProtocolName, p.ProtocolVersion, p.CleanSession, p.ClientIdentifier = "MQTT", 4, clean, id
	m.send(p)
	ack, ok := m.read().(*packets.ConnackPacket)
	if !ok || ack.ReturnCode != 0 {
		m.t.Fatalf("not connected: %v", ack)
	}
	return ack.SessionPresent
}

// bare sends a packet that consists of an identifier.
func (m *mqtt) bare(kind byte, id uint16) {
	m.t.Helper()
	first := kind << 4
	if kind == packets.Pubrel {
		first |= 2
	}
	m.raw([]byte{first, 2, byte(id >> 8), byte(id)})
}

// deliver publishes a message and carries its handshake through.
func (m *mqtt) deliver(topic, payload string, qos byte, retain bool) {
	m.t.Helper()
	const id = 77
	m.publish(topic, payload, qos, retain, id)
	switch qos {
	case 1:
		m.ack(packets.Puback, id)
	case 2:
		m.ack(packets.Pubrec, id)
		m.bare(packets.Pubrel, id)
		m.ack(packets.Pubcomp, id)
	}
}

// take expects a message and carries its handshake through.
func (m *mqtt) take(topic, payload string, qos byte, retained bool) {
	m.t.Helper()
	p := m.expect(topic, payload, qos, retained)
	switch qos {
	case 1:
		m.bare(packets.Puback, p.MessageID)
	case 2:
		m.bare(packets.Pubrec, p.MessageID)
		m.ack(packets.Pubrel, p.MessageID)
		m.bare(packets.Pubcomp, p.MessageID)
	}
}

// two returns a subscriber of filters at a QoS, and a publisher.
func (w *world) two(qos byte, filters ...string) (sub, pub *mqtt) {
	w.t.Helper()
	sub, pub = w.mqtt(), w.mqtt()
	sub.join("sub", true)
	pub.join("pub", true)
	sub.subscribe(1, qos, filters...)
	return sub, pub
}

// ends is a statement that these bytes, behind CONNECT, end the connection.
func ends(name, text string) statement {
	return statement{name, func(t testing.TB, w *world) {
		m := w.mqtt()
		m.join("c", true)
		m.raw([]byte(text))
		m.ended(name)
	}}
}

// refused is a statement that these bytes, in place of CONNECT, end the connection.
func refused(name, text string) statement {
	return statement{name, func(t testing.TB, w *world) {
		m := w.mqtt()
		m.raw([]byte(text))
		m.ended(name)
	}}
}

// matching is a statement that a filter takes the first topics, and not the second.
func matching(name, filter string, yes, no []string) statement {
	return statement{name, func(t testing.TB, w *world) {
		sub, pub := w.two(0, filter)
		for _, topic := range no {
			pub.publish(topic, "no", 0, false, 0)
		}
		for _, topic := range yes {
			pub.publish(topic, "yes", 0, false, 0)
		}
		for _, topic := range yes {
			sub.expect(topic, "yes", 0, false)
		}
		pub.quiet()
		sub.quiet()
	}}
}

// fourCases are what the statements of MQTT 3.1.1 ask of a server.
var fourCases = slices.Concat([]statement{
	refused("MQTT-3.1.0-1 the first packet is CONNECT", "\xc0\x00"),
	ends("MQTT-3.1.0-2 there is one CONNECT", "\x10\x0d\x00\x04MQTT\x04\x02\x00\x00\x00\x01c"),
	refused("MQTT-3.1.2-1 the name of the protocol", "\x10\x0d\x00\x04HTTP\x04\x02\x00\x00\x00\x01c"),
	{"MQTT-3.1.2-2 a level that the server does not know", func(t testing.TB, w *world) {
		m := w.mqtt()
		if code := m.connect("c", func(p *packets.ConnectPacket) { p.ProtocolVersion = 6 }); code != 1 {
			t.Errorf("CONNACK %d", code)
		}
		m.ended("the level")
	}},
	refused("MQTT-3.1.2-3 the reserved flag of CONNECT", "\x10\x0d\x00\x04MQTT\x04\x03\x00\x00\x00\x01c"),
	refused("MQTT-3.1.2-14 a will at QoS 3", "\x10\x13\x00\x04MQTT\x04\x1e\x00\x00\x00\x01c\x00\x01w\x00\x01x"),
	refused("MQTT-3.1.2-15 a will to be retained without a will", "\x10\x0d\x00\x04MQTT\x04\x22\x00\x00\x00\x01c"),
	refused("MQTT-3.1.2-22 a password without a user name", "\x10\x10\x00\x04MQTT\x04\x42\x00\x00\x00\x01c\x00\x01p"),
	{"MQTT-3.1.3-6 a client without an id and with a clean session", func(t testing.TB, w *world) {
		m := w.mqtt()
		if code := m.connect("", nil); code != 0 {
			t.Errorf("CONNACK %d", code)
		}
	}},
	{"MQTT-3.1.3-8 a client without an id that wants its session kept", func(t testing.TB, w *world) {
		m := w.mqtt()
		if code := m.connect("", func(p *packets.ConnectPacket) { p.CleanSession = false }); code != 2 {
			t.Errorf("CONNACK %d", code)
		}
		m.ended("no id")
	}},
	{"MQTT-3.1.4-2 a client id is taken over", func(t testing.TB, w *world) {
		a, b := w.mqtt(), w.mqtt()
		a.join("same", true)
		b.join("same", true)
		a.ended("taken over")
		b.quiet()
	}},
	{"MQTT-3.1.2-24 silence beyond one and a half times the keep-alive", func(t testing.TB, w *world) {
		m := w.mqtt()
		m.connect("c", func(p *packets.ConnectPacket) { p.Keepalive = 1 })
		m.ended("silent")
	}},
	{"MQTT-3.2.2-1 to -3 session present", func(t testing.TB, w *world) {
		for i, c := range []struct{ clean, present bool }{{false, false}, {false, true}, {true, false}, {false, false}} {
			m := w.mqtt()
			if present := m.join("kept", c.clean); present != c.present {
				t.Errorf("connection %d: session present %v", i, present)
			}
			m.raw([]byte("\xe0\x00"))
			m.ended("DISCONNECT")
		}
	}},
	{"MQTT-3.12.4-1 PINGREQ is answered", func(t testing.TB, w *world) {
		m := w.mqtt()
		m.join("c", true)
		m.quiet()
	}},
	ends("MQTT-3.14.1-1 DISCONNECT with reserved bits", "\xe1\x00"),
	ends("MQTT-2.2.2-2 PINGREQ with reserved flags", "\xc1\x00"),
	ends("4.8 CONNACK from a client", "\x20\x02\x00\x00"),
	ends("4.8 SUBACK from a client", "\x90\x03\x00\x01\x00"),
	ends("2.2.1 packet type 0", "\x00\x00"),
	ends("2.2.1 packet type 15", "\xf0\x00"),
	ends("2.2.3 a remaining length of five bytes", "\x30\xff\xff\xff\xff\x01"),
}, willsOfFour, publishOfFour, subscribeOfFour, topicsOfFour, sessionsOfFour)

var willsOfFour = []statement{
	{"MQTT-3.1.2-8 the will of a lost connection", func(t testing.TB, w *world) {
		watch, _ := w.two(0, "will/#")
		m := w.mqtt()
		m.connect("lost", withWill)
		_ = m.conn.Close()
		watch.take("will/lost", "gone", 0, false)
	}},
	{"MQTT-3.1.2-10 no will behind DISCONNECT", func(t testing.TB, w *world) {
		watch, pub := w.two(0, "#")
		m := w.mqtt()
		m.connect("polite", withWill)
		m.raw([]byte("\xe0\x00"))
		m.ended("DISCONNECT")
		pub.deliver("later", "x", 1, false)
		watch.take("later", "x", 0, false)
		watch.quiet()
	}},
	{"MQTT-3.1.2-17 a will that is retained", func(t testing.TB, w *world) {
		watch, _ := w.two(1, "will/#")
		m := w.mqtt()
		m.connect("lost", func(p *packets.ConnectPacket) { withWill(p); p.WillRetain = true })
		m.raw([]byte("\xf0\x00"))
		watch.take("will/lost", "gone", 1, false)
		late := w.mqtt()
		late.join("late", true)
		late.subscribeLate("will/#", 1)
		late.take("will/lost", "gone", 1, true)
	}},
}

// subscribeLate subscribes to what is retained, which may come before SUBACK or behind it.
func (m *mqtt) subscribeLate(filter string, qos byte) {
	m.t.Helper()
	p := packets.NewControlPacket(packets.Subscribe).(*packets.SubscribePacket)
	p.MessageID, p.Topics, p.Qoss = 1, []string{filter}, []byte{qos}
	m.send(p)
	var early []packets.ControlPacket
	for {
		got := m.read()
		if _, ok := got.(*packets.SubackPacket); ok {
			m.early = early
			return
		}
		early = append(early, got)
	}
}

var publishOfFour = []statement{
	ends("MQTT-3.3.1-2 DUP at QoS 0", "\x38\x05\x00\x01thi"),
	ends("MQTT-3.3.1-4 QoS 3", "\x36\x05\x00\x01t\x00\x01"),
	ends("MQTT-3.3.2-2 a topic with wildcards", "\x30\x05\x00\x03a/#"),
	ends("MQTT-4.7.3-1 an empty topic", "\x30\x02\x00\x00"),
	ends("MQTT-4.7.3-2 a topic with NUL", "\x30\x04\x00\x02a\x00"),
	ends("MQTT-1.5.3-1 a topic that is not UTF-8", "\x30\x04\x00\x02a\xff"),
	ends("MQTT-1.5.3-1 a topic with a surrogate", "\x30\x05\x00\x03\xed\xa0\x80"),
	ends("MQTT-2.3.1-1 a packet identifier 0", "\x32\x05\x00\x01t\x00\x00"),
	{"MQTT-1.5.3-3 a byte order mark stays", func(t testing.TB, w *world) {
		sub, pub := w.two(0, "#")
		pub.deliver("\ufefft", "x", 0, false)
		sub.take("\ufefft", "x", 0, false)
	}},
	{"MQTT-3.3.1-3 DUP is not passed on", func(t testing.TB, w *world) {
		sub, pub := w.two(1, "t")
		pub.raw([]byte("\x3a\x06\x00\x01t\x00\x07x"))
		if p := sub.expect("t", "x", 1, false); p.Dup {
			t.Error("DUP")
		}
		pub.ack(packets.Puback, 7)
	}},
	{"MQTT-3.3.1-5 and -6 a retained message comes to who subscribes later", func(t testing.TB, w *world) {
		_, pub := w.two(0, "unused")
		pub.deliver("r/1", "one", 1, true)
		pub.deliver("r/1", "two", 1, true)
		late := w.mqtt()
		late.join("late", true)
		late.subscribeLate("r/+", 1)
		late.take("r/1", "two", 1, true) // MQTT-3.3.1-8
		late.quiet()
	}},
	{"MQTT-3.3.1-9 a live message is not retained", func(t testing.TB, w *world) {
		sub, pub := w.two(1, "r/1")
		pub.deliver("r/1", "live", 1, true)
		sub.take("r/1", "live", 1, false)
	}},
	{"MQTT-3.3.1-10 and -11 an empty message removes the retained one", func(t testing.TB, w *world) {
		sub, pub := w.two(1, "r/1")
		pub.deliver("r/1", "one", 1, true)
		sub.take("r/1", "one", 1, false)
		pub.deliver("r/1", "", 1, true)
		sub.take("r/1", "", 1, false)
		late := w.mqtt()
		late.join("late", true)
		late.subscribeLate("r/1", 1)
		late.quiet()
	}},
	{"MQTT-3.3.1-12 a message without RETAIN replaces nothing", func(t testing.TB, w *world) {
		_, pub := w.two(0, "unused")
		pub.deliver("r/1", "kept", 1, true)
		pub.deliver("r/1", "live", 1, false)
		late := w.mqtt()
		late.join("late", true)
		late.subscribeLate("r/1", 1)
		late.take("r/1", "kept", 1, true)
		late.quiet()
	}},
	{"MQTT-4.3.1-1 at most once", func(t testing.TB, w *world) {
		sub, pub := w.two(0, "t")
		pub.deliver("t", "x", 0, false)
		sub.take("t", "x", 0, false)
		pub.quiet()
	}},
	{"MQTT-4.3.2-2 at least once", func(t testing.TB, w *world) {
		sub, pub := w.two(1, "t")
		pub.deliver("t", "x", 1, false)
		sub.take("t", "x", 1, false)
	}},
	{"MQTT-4.3.3-2 exactly once: the same identifier before PUBREL", func(t testing.TB, w *world) {
		sub, pub := w.two(2, "t")
		pub.publish("t", "x", 2, false, 9)
		pub.ack(packets.Pubrec, 9)
		pub.raw([]byte("\x3c\x06\x00\x01t\x00\x09x")) // with DUP
		pub.ack(packets.Pubrec, 9)
		pub.bare(packets.Pubrel, 9)
		pub.ack(packets.Pubcomp, 9)
		sub.take("t", "x", 2, false)
		sub.quiet()
	}},
	{"MQTT-4.3.3-2 exactly once: the identifier is free behind PUBCOMP", func(t testing.TB, w *world) {
		sub, pub := w.two(2, "t")
		for _, text := range []string{"1", "2"} {
			pub.deliver("t", text, 2, false)
			sub.take("t", text, 2, false)
		}
	}},
	{"MQTT-3.6.4-1 every PUBREL is answered", func(t testing.TB, w *world) {
		m := w.mqtt()
		m.join("c", true)
		for range 2 {
			m.bare(packets.Pubrel, 5)
			m.ack(packets.Pubcomp, 5)
		}
	}},
	{"MQTT-4.6.0-5 and -6 messages of a topic come in their order", func(t testing.TB, w *world) {
		for qos := range byte(3) {
			sub, pub := w.two(qos, "t")
			for i := range 30 {
				pub.deliver("t", fmt.Sprint(i), qos, false)
			}
			for i := 0; i < 30; {
				switch p := sub.read().(type) {
				case *packets.PublishPacket:
					if string(p.Payload) != fmt.Sprint(i) || p.Qos != qos {
						t.Fatalf("message %d is %v", i, p)
					}
					if i++; qos > 0 {
						sub.bare([]byte{0, packets.Puback, packets.Pubrec}[qos], p.MessageID)
					}
				case *packets.PubrelPacket:
					sub.bare(packets.Pubcomp, p.MessageID)
				default:
					t.Fatal(p)
				}
			}
			_, _ = sub.conn.Close(), pub.conn.Close()
		}
	}},
}

var subscribeOfFour = []statement{
	ends("MQTT-3.8.1-1 SUBSCRIBE with other flags", "\x80\x06\x00\x01\x00\x01a\x00"),
	ends("MQTT-3.8.3-3 SUBSCRIBE without a filter", "\x82\x02\x00\x01"),
	ends("MQTT-3.8.3-4 SUBSCRIBE at QoS 3", "\x82\x06\x00\x01\x00\x01a\x03"),
	ends("MQTT-3.10.1-1 UNSUBSCRIBE with other flags", "\xa0\x05\x00\x01\x00\x01a"),
	ends("MQTT-3.10.3-2 UNSUBSCRIBE without a filter", "\xa2\x02\x00\x01"),
	ends("MQTT-4.7.3-1 an empty filter", "\x82\x05\x00\x01\x00\x00\x00"),
	{"MQTT-3.8.4-1 to -5 a return code for each filter, in their order", func(t testing.TB, w *world) {
		m := w.mqtt()
		m.join("c", true)
		p := packets.NewControlPacket(packets.Subscribe).(*packets.SubscribePacket)
		p.MessageID, p.Topics, p.Qoss = 9, []string{"a", "b/+", "c/#"}, []byte{2, 0, 1}
		m.send(p)
		if ack, ok := m.read().(*packets.SubackPacket); !ok || ack.MessageID != 9 || !bytes.Equal(ack.ReturnCodes, []byte{2, 0, 1}) {
			t.Errorf("%v", ack)
		}
	}},
	{"MQTT-3.8.4-3 the same filter once more sends what is retained again", func(t testing.TB, w *world) {
		sub, pub := w.two(0, "unused")
		pub.deliver("r", "kept", 1, true)
		for qos := range byte(2) {
			sub.subscribeLate("r", qos)
			sub.take("r", "kept", qos, true)
		}
		pub.deliver("r", "live", 1, false)
		sub.take("r", "live", 1, false)
		sub.quiet() // one subscription
	}},
	{"MQTT-3.8.4-6 the lower QoS of publication and subscription", func(t testing.TB, w *world) {
		sub, pub := w.two(2, "high")
		sub.subscribe(2, 0, "low")
		pub.deliver("low", "x", 2, false)
		sub.take("low", "x", 0, false)
		pub.deliver("high", "x", 0, false)
		sub.take("high", "x", 0, false)
	}},
	{"MQTT-3.10.4-1 to -3 nothing new comes behind UNSUBACK", func(t testing.TB, w *world) {
		sub, pub := w.two(0, "a", "b")
		sub.raw([]byte("\xa2\x05\x00\x03\x00\x01a"))
		sub.ack(packets.Unsuback, 3)
		pub.deliver("a", "no", 1, false)
		pub.deliver("b", "yes", 1, false)
		sub.take("b", "yes", 0, false)
	}},
	{"MQTT-3.10.4-5 UNSUBACK for what was never subscribed to", func(t testing.TB, w *world) {
		m := w.mqtt()
		m.join("c", true)
		m.raw([]byte("\xa2\x0a\x00\x04\x00\x01a\x00\x03b/+"))
		m.ack(packets.Unsuback, 4)
	}},
	{"MQTT-3.3.5-1 two filters for a message, the highest QoS", func(t testing.TB, w *world) {
		sub, pub := w.two(0, "a/+", "end")
		sub.subscribe(2, 2, "a/b")
		pub.deliver("a/b", "x", 2, false)
		pub.deliver("end", "", 1, false)
		best := byte(0)
		for {
			p, ok := sub.read().(*packets.PublishPacket)
			if !ok || p.TopicName == "end" {
				break
			}
			best = max(best, p.Qos)
		}
		if best != 2 {
			t.Errorf("QoS %d", best)
		}
	}},
}

// badFilter is a statement that a filter is none: SUBACK 0x80, or the connection ends.
func badFilter(name, filter string) statement {
	return statement{name, func(t testing.TB, w *world) {
		m := w.mqtt()
		m.join("c", true)
		p := packets.NewControlPacket(packets.Subscribe).(*packets.SubscribePacket)
		p.MessageID, p.Topics, p.Qoss = 1, []string{filter}, []byte{0}
		m.send(p)
		_ = m.conn.SetReadDeadline(time.Now().Add(m.patience))
		got, err := packets.ReadPacket(m.conn)
		if ack, ok := got.(*packets.SubackPacket); err == nil && (!ok || !bytes.Equal(ack.ReturnCodes, []byte{0x80})) {
			t.Errorf("%v", got)
		}
	}}
}

var topicsOfFour = []statement{
	badFilter("MQTT-4.7.1-2 # that is not the last", "a/#/b"),
	badFilter("MQTT-4.7.1-2 # that is not a whole level", "a#"),
	badFilter("MQTT-4.7.1-3 + that is not a whole level", "a+/b"),
	matching("4.7.1.2 # takes its parent and all levels below", "sport/tennis/#",
		[]string{"sport/tennis", "sport/tennis/ranking", "sport/tennis/a/b/c", "sport/tennis/"}, []string{"sport", "sport/tennisx", "Sport/tennis"}),
	matching("4.7.1.2 # alone takes everything", "#", []string{"a", "/a", "a/b/c", "/"}, nil),
	matching("4.7.1.3 + takes one level", "sport/+/player", []string{"sport/tennis/player", "sport//player"},
		[]string{"sport/player", "sport/a/b/player", "sport/tennis/player/1"}),
	matching("4.7.1.3 + and the level above", "sport/+", []string{"sport/", "sport/x"}, []string{"sport", "sport/x/y"}),
	matching("4.7.1.3 +/+ takes an empty level", "+/+", []string{"/finance", "a/b", "/"}, []string{"finance", "a/b/c"}),
	matching("4.7.1.3 + and # together", "+/tennis/#", []string{"sport/tennis", "/tennis/x"}, []string{"tennis", "a/b/tennis"}),
	matching("MQTT-4.7.2-1 a filter that begins with a wildcard takes no $ topics", "#", []string{"a"}, []string{"$mine/x"}),
	matching("MQTT-4.7.2-1 + at the beginning takes no $ topics", "+/x", []string{"a/x"}, []string{"$mine/x"}),
	matching("4.7.3 topics are case-sensitive, and hold blanks", "Accounts payable", []string{"Accounts payable"}, []string{"ACCOUNTS payable", "Accounts"}),
	matching("4.7.3 / at the beginning and at the end makes another topic", "a/b", []string{"a/b"}, []string{"/a/b", "a/b/", "a//b"}),
	matching("MQTT-4.7.3-4 nothing is normalised", "\u00e4", []string{"\u00e4"}, []string{"a\u0308", "A\u0308"}),
	matching("MQTT-4.7.3-3 a topic of 250 levels, and one of 1000 bytes", "deep/#", []string{"deep" + strings.Repeat("/x", 250), "deep/" + strings.Repeat("x", 995)}, nil),
	matching("MQTT-4.7.3-3 a topic of 2000 bytes", "long/#", []string{"long/" + strings.Repeat("x", 1995)}, nil),
}

var sessionsOfFour = []statement{
	{"MQTT-3.1.2-5 a kept session gets what it missed at QoS 1 and 2", func(t testing.TB, w *world) {
		_, pub := w.two(0, "unused")
		m := w.mqtt()
		m.join("kept", false)
		m.subscribe(1, 1, "one")
		m.subscribe(2, 2, "two")
		m.raw([]byte("\xe0\x00"))
		m.ended("DISCONNECT")
		for i := range 5 {
			pub.deliver("one", fmt.Sprint(i), 1, false)
		}
		pub.deliver("two", "x", 2, false)
		m = w.mqtt()
		if !m.join("kept", false) {
			t.Fatal("the session is gone")
		}
		for i := range 5 {
			m.take("one", fmt.Sprint(i), 1, false)
		}
		m.take("two", "x", 2, false)
		pub.deliver("one", "live", 1, false)
		m.take("one", "live", 1, false)
		m.quiet()
	}},
	{"MQTT-3.1.2-6 a clean session has nothing of the one before", func(t testing.TB, w *world) {
		_, pub := w.two(0, "unused")
		m := w.mqtt()
		m.join("kept", false)
		m.subscribe(1, 1, "one")
		_ = m.conn.Close()
		pub.deliver("one", "missed", 1, false)
		m = w.mqtt()
		m.join("kept", true)
		pub.deliver("one", "live", 1, false)
		m.quiet()
	}},
	{"MQTT-4.4.0-1 what was not acknowledged is sent again, with DUP and its identifier", func(t testing.TB, w *world) {
		_, pub := w.two(0, "unused")
		m := w.mqtt()
		m.join("kept", false)
		m.subscribe(1, 1, "one")
		m.subscribe(2, 2, "two", "three")
		pub.deliver("one", "x", 1, false)
		one := m.expect("one", "x", 1, false)
		pub.deliver("two", "y", 2, false)
		two := m.expect("two", "y", 2, false)
		pub.deliver("three", "z", 2, false)
		three := m.expect("three", "z", 2, false)
		m.bare(packets.Pubrec, three.MessageID)
		m.ack(packets.Pubrel, three.MessageID)
		_ = m.conn.Close()
		m = w.mqtt()
		m.join("kept", false)
		if p := m.expect("one", "x", 1, false); !p.Dup || p.MessageID != one.MessageID {
			t.Errorf("%v", p)
		}
		if p := m.expect("two", "y", 2, false); !p.Dup || p.MessageID != two.MessageID {
			t.Errorf("%v", p)
		}
		m.ack(packets.Pubrel, three.MessageID)
		m.bare(packets.Pubcomp, three.MessageID)
		m.bare(packets.Puback, one.MessageID)
		m.bare(packets.Pubrec, two.MessageID)
		m.ack(packets.Pubrel, two.MessageID)
		m.bare(packets.Pubcomp, two.MessageID)
		m.quiet()
	}},
	{"MQTT-4.3.3-2 exactly once over a reconnect", func(t testing.TB, w *world) {
		sub, _ := w.two(2, "t")
		m := w.mqtt()
		m.join("kept", false)
		m.publish("t", "x", 2, false, 9)
		m.ack(packets.Pubrec, 9)
		_ = m.conn.Close()
		m = w.mqtt()
		m.join("kept", false)
		m.raw([]byte("\x3c\x06\x00\x01t\x00\x09x"))
		m.ack(packets.Pubrec, 9)
		m.bare(packets.Pubrel, 9)
		m.ack(packets.Pubcomp, 9)
		sub.take("t", "x", 2, false)
		sub.quiet()
	}},
}
