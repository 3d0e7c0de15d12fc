package mqttd_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	v5 "github.com/eclipse/paho.golang/packets"

	"gantry/bridge/mqttd"
	"gantry/wamp"
	"gantry/wamp/serialize"
)

// five is a client of MQTT 5 that sends and expects bare packets.
type five struct {
	t    testing.TB
	conn net.Conn
}

func (w *world) five() *five {
	m := &five{w.t, w.dial()}
	w.t.Cleanup(func() { _ = m.conn.Close() })
	return m
}

func (m *five) send(p io.WriterTo) {
	m.t.Helper()
	_ = m.conn.SetWriteDeadline(time.Now().Add(5 * time.Second))
	if _, err := p.WriteTo(m.conn); err != nil {
		m.t.Fatal(err)
	}
}

// read returns the content of the next packet.
func (m *five) read() any {
	m.t.Helper()
	_ = m.conn.SetReadDeadline(time.Now().Add(5 * time.Second))
	p, err := v5.ReadPacket(m.conn)
	if err != nil {
		m.t.Fatalf("read: %v", err)
	}
	if p.Type == v5.PUBREL && p.Flags != 2 {
		m.t.Fatal("PUBREL with wrong flags")
	}
	return p.Content
}

// expect returns the next packet, which has to be a T.
func expect[T any](m *five) *T {
	m.t.Helper()
	got := m.read()
	p, ok := got.(*T)
	if !ok {
		m.t.Fatalf("got %T %v, want %T", got, got, p)
	}
	return p
}

func (m *five) connect(id string, edit func(*v5.Connect)) *v5.Connack {
	m.t.Helper()
	c := &v5.Connect{ProtocolName: "MQTT", ProtocolVersion: 5, CleanStart: true, ClientID: id, Properties: &v5.Properties{}}
	if edit != nil {
		edit(c)
	}
	m.send(c)
	return expect[v5.Connack](m)
}

func (m *five) subscribe(edit func(*v5.Subscribe), filters ...v5.SubOptions) []byte {
	m.t.Helper()
	s := &v5.Subscribe{PacketID: 1, Subscriptions: filters, Properties: &v5.Properties{}}
	if edit != nil {
		edit(s)
	}
	m.send(s)
	return expect[v5.Suback](m).Reasons
}

func (m *five) publish(topic, text string, qos byte, id uint16, edit func(*v5.Publish)) {
	m.t.Helper()
	p := &v5.Publish{Topic: topic, Payload: []byte(text), QoS: qos, PacketID: id, Properties: &v5.Properties{}}
	if edit != nil {
		edit(p)
	}
	m.send(p)
}

// message expects a PUBLISH.
func (m *five) message(topic, text string, qos byte) *v5.Publish {
	m.t.Helper()
	p := expect[v5.Publish](m)
	if p.Topic != topic || string(p.Payload) != text || p.QoS != qos {
		m.t.Fatalf("got %v, want topic %q payload %q qos %d", p, topic, text, qos)
	}
	return p
}

func (m *five) quiet() {
	m.t.Helper()
	m.send(&v5.Pingreq{})
	expect[v5.Pingresp](m)
}

func (m *five) disconnected(code byte) {
	m.t.Helper()
	if d := expect[v5.Disconnect](m); d.ReasonCode != code {
		m.t.Errorf("DISCONNECT %#x, want %#x", d.ReasonCode, code)
	}
	if _, err := v5.ReadPacket(m.conn); err == nil {
		m.t.Error("still connected")
	}
}

func ptr[T any](v T) *T { return &v }

// expiring keeps the session for n seconds.
func expiring(n uint32) func(*v5.Connect) {
	return func(c *v5.Connect) { c.CleanStart, c.Properties.SessionExpiryInterval = false, &n }
}

// fiveCases are what the statements of the specification ask of a server, each as a scenario.
var fiveCases = []struct {
	name string
	run  func(t *testing.T, w *world)
}{
	{"MQTT-3.2.2-16 a client without an id is given one", func(t *testing.T, w *world) {
		if c := w.five().connect("", nil); c.ReasonCode != 0 || c.Properties.AssignedClientID == "" {
			t.Errorf("%v %v", c, c.Properties)
		}
	}},
	{"MQTT-3.2.2-2 and -3 session present", func(t *testing.T, w *world) {
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
	{"MQTT-3.1.4-3 a session is taken over", func(t *testing.T, w *world) {
		a := w.five()
		a.connect("same", nil)
		w.five().connect("same", nil)
		a.disconnected(0x8e)
	}},
	{"4.12 extended authentication is refused", func(t *testing.T, w *world) {
		if c := w.five().connect("c", func(c *v5.Connect) { c.Properties.AuthMethod = "x" }); c.ReasonCode != 0x8c {
			t.Errorf("CONNACK %#x", c.ReasonCode)
		}
	}},
	{"MQTT-3.2.2-23 response information", func(t *testing.T, w *world) {
		c := w.five().connect("c", func(c *v5.Connect) { c.Properties.RequestResponseInfo = ptr(byte(1)) })
		if c.Properties.ResponseInfo != "reply/c" {
			t.Errorf("%v", c.Properties)
		}
	}},
	{"MQTT-3.3.4-3 subscription identifiers", func(t *testing.T, w *world) {
		m := w.five()
		m.connect("c", nil)
		m.subscribe(func(s *v5.Subscribe) { s.Properties.SubscriptionIdentifier = ptr(7) }, v5.SubOptions{Topic: "a/+", QoS: 1})
		m.publish("a/b", "x", 0, 0, nil)
		if p := m.message("a/b", "x", 1); *p.Properties.SubscriptionIdentifier != 7 {
			t.Errorf("%v", p.Properties)
		}
	}},
	{"MQTT-3.8.3-3 no local", func(t *testing.T, w *world) {
		m, other := w.five(), w.five()
		m.connect("c", nil)
		other.connect("d", nil)
		m.subscribe(nil, v5.SubOptions{Topic: "a", NoLocal: true})
		m.publish("a", "own", 1, 5, nil)
		expect[v5.Puback](m)
		other.publish("a", "other", 0, 0, nil)
		m.message("a", "other", 0)
	}},
	{"MQTT-3.8.3-4 no local of a shared subscription", func(t *testing.T, w *world) {
		m := w.five()
		m.connect("c", nil)
		m.send(&v5.Subscribe{PacketID: 1, Subscriptions: []v5.SubOptions{{Topic: "$share/g/a", NoLocal: true}}, Properties: &v5.Properties{}})
		m.disconnected(0x82)
	}},
	{"MQTT-3.3.1-12 and -13 retain as published", func(t *testing.T, w *world) {
		m := w.five()
		m.connect("c", nil)
		m.subscribe(nil, v5.SubOptions{Topic: "a", RetainAsPublished: true}, v5.SubOptions{Topic: "b"})
		for topic, want := range map[string]bool{"a": true, "b": false} {
			m.publish(topic, "x", 0, 0, func(p *v5.Publish) { p.Retain = true })
			if p := m.message(topic, "x", 0); p.Retain != want {
				t.Errorf("%s: retain %v", topic, p.Retain)
			}
		}
	}},
	{"MQTT-3.3.1-9 to -11 retain handling", func(t *testing.T, w *world) {
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
	{"3.11.3 reason codes of UNSUBACK", func(t *testing.T, w *world) {
		m := w.five()
		m.connect("c", nil)
		m.subscribe(nil, v5.SubOptions{Topic: "a"})
		m.send(&v5.Unsubscribe{PacketID: 3, Topics: []string{"a", "b"}, Properties: &v5.Properties{}})
		if u := expect[v5.Unsuback](m); !bytes.Equal(u.Reasons, []byte{0, 0x11}) {
			t.Errorf("% x", u.Reasons)
		}
	}},
	{"3.9.3 reason codes of SUBACK", func(t *testing.T, w *world) {
		m := w.five()
		m.connect("c", nil)
		got := m.subscribe(nil, v5.SubOptions{Topic: "a", QoS: 2}, v5.SubOptions{Topic: "b/#/c"}, v5.SubOptions{Topic: "forbidden/x"}, v5.SubOptions{Topic: "$share/a"})
		if !bytes.Equal(got, []byte{2, 0x8f, 0x87, 0x8f}) {
			t.Errorf("% x", got)
		}
	}},
	{"3.4.2.1 reason codes of PUBACK and PUBREC", func(t *testing.T, w *world) {
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
	{"3.7.2.1 a PUBREL whose PUBCOMP was lost", func(t *testing.T, w *world) {
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
	{"MQTT-3.3.2-7 to -12 topic aliases", func(t *testing.T, w *world) {
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
	{"MQTT-3.3.2-9 an alias above the maximum", func(t *testing.T, w *world) {
		m := w.five()
		m.connect("c", nil)
		m.publish("a", "1", 0, 0, func(p *v5.Publish) { p.Properties.TopicAlias = ptr(uint16(60000)) })
		m.disconnected(0x94)
	}},
	{"MQTT-3.3.4-9 receive maximum", func(t *testing.T, w *world) {
		m := w.five()
		m.connect("c", func(c *v5.Connect) { c.Properties.ReceiveMaximum = ptr(uint16(2)) })
		m.subscribe(nil, v5.SubOptions{Topic: "a", QoS: 1})
		for range 4 {
			m.publish("a", "x", 0, 0, nil)
		}
		first := m.message("a", "x", 1)
		m.message("a", "x", 1)
		m.quiet()
		m.send(&v5.Puback{PacketID: first.PacketID, Properties: &v5.Properties{}})
		m.message("a", "x", 1)
		m.quiet()
	}},
	{"MQTT-3.1.2-24 and -25 maximum packet size", func(t *testing.T, w *world) {
		m := w.five()
		m.connect("c", func(c *v5.Connect) { c.Properties.MaximumPacketSize = ptr(uint32(64)) })
		m.subscribe(nil, v5.SubOptions{Topic: "a", QoS: 1})
		m.publish("a", string(make([]byte, 100)), 0, 0, nil)
		m.publish("a", "small", 0, 0, nil)
		m.message("a", "small", 1)
	}},
	{"MQTT-3.3.2-15 to -20 properties arrive unaltered", func(t *testing.T, w *world) {
		m := w.five()
		m.connect("c", nil)
		m.subscribe(nil, v5.SubOptions{Topic: "a/#"})
		m.publish("a/b", "21.5", 0, 0, func(p *v5.Publish) {
			p.Properties.User = []v5.User{{Key: "k", Value: "1"}, {Key: "k", Value: "2"}}
			p.Properties.ContentType, p.Properties.CorrelationData = "text/plain", []byte{0, 255}
			p.Properties.ResponseTopic, p.Properties.PayloadFormat = "r", ptr(byte(1))
		})
		pr := m.message("a/b", "21.5", 0).Properties
		if len(pr.User) != 2 || pr.User[1].Value != "2" || pr.ContentType != "text/plain" || !bytes.Equal(pr.CorrelationData, []byte{0, 255}) ||
			pr.ResponseTopic != "r" || *pr.PayloadFormat != 1 {
			t.Errorf("%v", pr)
		}
	}},
	{"MQTT-4.3.3 exactly once to the client", func(t *testing.T, w *world) {
		m := w.five()
		m.connect("c", nil)
		m.subscribe(nil, v5.SubOptions{Topic: "a", QoS: 2})
		m.publish("a", "x", 0, 0, nil)
		p := m.message("a", "x", 2)
		m.send(&v5.Pubrec{PacketID: p.PacketID, Properties: &v5.Properties{}})
		if r := expect[v5.Pubrel](m); r.PacketID != p.PacketID || r.ReasonCode != 0 {
			t.Errorf("%v", r)
		}
		m.send(&v5.Pubcomp{PacketID: p.PacketID, Properties: &v5.Properties{}})
		m.quiet()
		m.send(&v5.Pubrec{PacketID: 999, Properties: &v5.Properties{}})
		if r := expect[v5.Pubrel](m); r.ReasonCode != 0x92 {
			t.Errorf("%v", r)
		}
	}},
	{"MQTT-4.8.2 each message of a shared subscription goes to one", func(t *testing.T, w *world) {
		a, b, p := w.five(), w.five(), w.five()
		a.connect("a", nil)
		b.connect("b", nil)
		p.connect("p", nil)
		a.subscribe(nil, v5.SubOptions{Topic: "$share/g/job/#"})
		b.subscribe(nil, v5.SubOptions{Topic: "$share/g/job/#"})
		for i := range 10 {
			p.publish("job/1", fmt.Sprint(i), 1, uint16(i+1), nil)
			expect[v5.Puback](p)
		}
		var all []string
		for _, m := range []*five{a, b} {
			n := 0
			for m.send(&v5.Pingreq{}); ; n++ {
				got, ok := m.read().(*v5.Publish)
				if !ok {
					break
				}
				all = append(all, string(got.Payload))
			}
			if n != 5 {
				t.Errorf("%d of 10", n)
			}
		}
		if slices.Sort(all); len(slices.Compact(all)) != 10 {
			t.Errorf("%v", all)
		}
	}},
	{"MQTT-4.1.0-1 and 4.4.0-1 a kept session gets what it missed", func(t *testing.T, w *world) {
		m, p := w.five(), w.five()
		m.connect("kept", expiring(100))
		m.subscribe(nil, v5.SubOptions{Topic: "a", QoS: 2})
		p.connect("p", nil)
		p.publish("a", "first", 1, 1, nil)
		expect[v5.Puback](p)
		first := m.message("a", "first", 2)
		_ = m.conn.Close()
		p.publish("a", "second", 1, 2, nil)
		expect[v5.Puback](p)
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
	{"MQTT-3.14.4 DISCONNECT with will", func(t *testing.T, w *world) {
		watch, m := w.five(), w.five()
		watch.connect("watch", nil)
		watch.subscribe(nil, v5.SubOptions{Topic: "will"})
		m.connect("c", func(c *v5.Connect) {
			c.WillFlag, c.WillTopic, c.WillMessage, c.WillProperties = true, "will", []byte("x"), &v5.Properties{}
		})
		m.send(&v5.Disconnect{ReasonCode: 4, Properties: &v5.Properties{}})
		watch.message("will", "x", 0)
	}},
	{"a request of MQTT is a call", func(t *testing.T, w *world) {
		if w.router == nil {
			t.Skip("of a WAMP router alone")
		}
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
		m.subscribe(nil, v5.SubOptions{Topic: "gw/nothing"})
		ask("gw/nothing", "to another client")
		if p := m.message("gw/nothing", "to another client", 0); p.Properties.ResponseTopic != "reply/c" {
			t.Errorf("%v", p.Properties)
		}
	}},
}

func TestStatementsOfVersion5(t *testing.T) {
	t.Parallel()
	for _, c := range fiveCases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			c.run(t, newWorld(t, mqttd.Config{}, false))
		})
	}
}

func TestExpiry(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, mqttd.Config{KeepAlive: time.Hour}, true)
		m, p := w.five(), w.five()
		ack := m.connect("kept", expiring(100))
		if ack.Properties.ServerKeepAlive == nil || *ack.Properties.ServerKeepAlive != 3600 { // MQTT-3.2.2-21
			t.Errorf("%v", ack.Properties)
		}
		m.subscribe(nil, v5.SubOptions{Topic: "#", QoS: 1})
		_ = m.conn.Close()
		synctest.Wait()
		p.connect("p", func(c *v5.Connect) {
			c.WillFlag, c.WillTopic, c.WillMessage = true, "will", []byte("late")
			c.WillProperties = &v5.Properties{WillDelayInterval: ptr(uint32(5))}
			c.Properties.SessionExpiryInterval = ptr(uint32(50))
		})
		p.publish("a", "short", 1, 1, func(p *v5.Publish) { p.Properties.MessageExpiry = ptr(uint32(10)) })
		expect[v5.Puback](p)
		p.publish("a", "long", 1, 2, func(p *v5.Publish) { p.Properties.MessageExpiry = ptr(uint32(60)) })
		expect[v5.Puback](p)
		_ = p.conn.Close()
		time.Sleep(20 * time.Second)
		m = w.five()
		m.connect("kept", expiring(100))
		if got := m.message("a", "long", 1); *got.Properties.MessageExpiry != 40 { // MQTT-3.3.2-5, -6
			t.Errorf("%v", got.Properties)
		}
		m.message("will", "late", 1) // 3.1.3.2.2
		_ = m.conn.Close()
		time.Sleep(101 * time.Second)
		m = w.five()
		if c := m.connect("kept", expiring(100)); c.SessionPresent { // MQTT-3.1.2-23
			t.Error("an expired session is there")
		}
		_ = m.conn.Close()
	})
}

// memoryTable is a Table that a killed server leaves to the next one.
type memoryTable struct {
	mu      sync.Mutex
	entries map[string][]byte
}

func (m *memoryTable) Each(fn func(key, value []byte) error) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	keys := make([]string, 0, len(m.entries))
	for k := range m.entries {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	for _, k := range keys {
		if err := fn([]byte(k), m.entries[k]); err != nil {
			return err
		}
	}
	return nil
}

func (m *memoryTable) Apply(_ context.Context, changes []mqttd.Change) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, c := range changes {
		if c.Value == nil {
			delete(m.entries, string(c.Key))
		} else {
			m.entries[string(c.Key)] = c.Value
		}
	}
	return nil
}

// copy is what is on the disk of a machine at a moment.
func (m *memoryTable) copy() *memoryTable {
	m.mu.Lock()
	defer m.mu.Unlock()
	out := &memoryTable{entries: map[string][]byte{}}
	for k, v := range m.entries {
		out.entries[k] = v
	}
	return out
}

func TestSessionsAreThereAfterACrash(t *testing.T) {
	t.Parallel()
	disk := &memoryTable{entries: map[string][]byte{}}
	w := newWorldOn(t, mqttd.Config{InFlight: 2}, disk)
	m, p := w.five(), w.five()
	m.connect("kept", expiring(1000))
	m.subscribe(func(s *v5.Subscribe) { s.Properties.SubscriptionIdentifier = ptr(9) }, v5.SubOptions{Topic: "a/#", QoS: 2})
	p.connect("p", expiring(1000))
	for i := range 5 {
		p.publish("a/x", fmt.Sprint(i), 2, uint16(i+1), nil)
		expect[v5.Pubrec](p)
	}
	first := m.message("a/x", "0", 2)
	m.send(&v5.Pubrec{PacketID: first.PacketID, Properties: &v5.Properties{}})
	second := m.message("a/x", "1", 2)
	expect[v5.Pubrel](m)

	crashed := disk.copy()
	w = newWorldOn(t, mqttd.Config{InFlight: 2}, crashed)
	m, p = w.five(), w.five()
	if c := m.connect("kept", expiring(1000)); !c.SessionPresent {
		t.Fatal("the session is gone")
	}
	if r := expect[v5.Pubrel](m); r.PacketID != first.PacketID {
		t.Errorf("%v", r)
	}
	again := m.message("a/x", "1", 2)
	if again.PacketID != second.PacketID || !again.Duplicate || *again.Properties.SubscriptionIdentifier != 9 {
		t.Errorf("%v", again)
	}
	p.connect("p", expiring(1000))
	p.publish("a/x", "4", 2, 5, func(p *v5.Publish) { p.Duplicate = true }) // its PUBREC may have been lost
	expect[v5.Pubrec](p)
	m.finish(again)
	for i := 2; i < 5; i++ {
		m.finish(m.message("a/x", fmt.Sprint(i), 2))
	}
	m.send(&v5.Pubcomp{PacketID: first.PacketID, Properties: &v5.Properties{}})
	m.quiet()
}

// finish carries the handshake of a message at QoS 2 through.
func (m *five) finish(p *v5.Publish) {
	m.t.Helper()
	m.send(&v5.Pubrec{PacketID: p.PacketID, Properties: &v5.Properties{}})
	if r := expect[v5.Pubrel](m); r.PacketID != p.PacketID {
		m.t.Errorf("%v", r)
	}
	m.send(&v5.Pubcomp{PacketID: p.PacketID, Properties: &v5.Properties{}})
}

// A kept session whose client is away holds queue_bytes; what does not fit is counted.
func TestFullKeptSession(t *testing.T) {
	t.Parallel()
	w := newWorld(t, mqttd.Config{QueueBytes: 1024}, false)
	m, p := w.five(), w.five()
	m.connect("kept", expiring(1000))
	m.subscribe(nil, v5.SubOptions{Topic: "a", QoS: 1})
	m.send(&v5.Disconnect{Properties: &v5.Properties{}})
	if _, err := v5.ReadPacket(m.conn); err == nil {
		t.Fatal("still connected")
	}
	p.connect("p", nil)
	for i := range 20 {
		p.publish("a", fmt.Sprintf("%0100d", i), 1, uint16(i+1), nil)
		expect[v5.Puback](p)
	}
	m = w.five()
	m.connect("kept", expiring(1000))
	full := w.server.Stats().Full
	for i := range 20 - int(full) {
		m.message("a", fmt.Sprintf("%0100d", i), 1)
	}
	m.quiet()
	if full < 10 || full > 15 || w.server.Stats().Slow != 0 {
		t.Errorf("%+v", w.server.Stats())
	}
}

// Publishers wait for a client that is behind at QoS 1, but not for good: then it is
// told why it goes, and counted.
func TestBehindAtQoS1(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, mqttd.Config{QueueBytes: 4096, InFlight: 2}, true)
		m, p := w.five(), w.five()
		m.connect("behind", nil)
		m.subscribe(nil, v5.SubOptions{Topic: "a", QoS: 1})
		p.connect("p", nil)
		publish := func(id int) {
			p.publish("a", fmt.Sprintf("%0200d", id), 1, uint16(id), nil)
			expect[v5.Puback](p)
		}
		start, id := time.Now(), 1
		for ; time.Since(start) == 0; id++ {
			publish(id)
		}
		if d := time.Since(start); d != 2*time.Second || id < 8 || id > 14 {
			t.Errorf("held for %v by message %d", d, id)
		}
		for ; w.server.Stats().Slow == 0 && id < 40; id++ {
			publish(id)
		}
		if d := time.Since(start); d != 2*time.Second {
			t.Errorf("held again: %v", d)
		}
		expect[v5.Publish](m) // was being sent; the other one is not
		m.disconnected(0x97)

		// One that catches up in time loses nothing and stays.
		m = w.five()
		m.connect("brave", nil)
		m.subscribe(nil, v5.SubOptions{Topic: "a", QoS: 1})
		done := make(chan struct{})
		go func() {
			defer close(done)
			for n := range 60 {
				got := expect[v5.Publish](m)
				if n%10 == 0 {
					time.Sleep(100 * time.Millisecond)
				}
				m.send(&v5.Puback{PacketID: got.PacketID, Properties: &v5.Properties{}})
			}
		}()
		for n := range 60 {
			publish(n + 100)
		}
		<-done
		m.quiet()
		if st := w.server.Stats(); st.Slow != 1 {
			t.Errorf("%+v", st)
		}
		_ = p.conn.Close()
		_ = m.conn.Close()
	})
}

// brokenTable is a disk on which there is no room.
type brokenTable struct {
	memoryTable
	full atomic.Bool
}

func (b *brokenTable) Apply(ctx context.Context, changes []mqttd.Change) error {
	if b.full.Load() {
		return errors.New("no room")
	}
	return b.memoryTable.Apply(ctx, changes)
}

// On a full disk publishers are refused where a kept session waits for the message; the
// others are not held up.
func TestFullDisk(t *testing.T) {
	t.Parallel()
	disk := &brokenTable{memoryTable: memoryTable{entries: map[string][]byte{}}}
	w := newWorldOn(t, mqttd.Config{}, disk)
	kept, p, old := w.five(), w.five(), w.mqtt()
	kept.connect("kept", expiring(1000))
	kept.subscribe(nil, v5.SubOptions{Topic: "kept", QoS: 1})
	p.connect("p", nil)
	p.publish("kept", "before", 1, 1, nil)
	if a := expect[v5.Puback](p); a.ReasonCode > 0x10 {
		t.Errorf("%v", a)
	}
	disk.full.Store(true)
	p.publish("kept", "waits", 1, 2, nil)
	if a := expect[v5.Puback](p); a.ReasonCode != 0x97 {
		t.Errorf("%v", a)
	}
	p.publish("kept", "twice", 2, 3, nil)
	if a := expect[v5.Pubrec](p); a.ReasonCode != 0x97 {
		t.Errorf("%v", a)
	}
	p.publish("other", "passes", 1, 4, nil)
	if a := expect[v5.Puback](p); a.ReasonCode > 0x10 {
		t.Errorf("%v", a)
	}
	old.connect("old", nil)
	old.publish("kept", "x", 1, false, 1)
	old.ended("refused in 3.1.1")
	disk.full.Store(false)
	for code := byte(0x97); code == 0x97; {
		p.publish("kept", "after", 1, 5, nil)
		code = expect[v5.Puback](p).ReasonCode
	}
	if n := w.server.Stats().Unstored; n < 3 {
		t.Errorf("%d unstored", n)
	}
}
