package mqttd_test

import (
	"cmp"
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
)

// five is a client of MQTT 5 that sends and expects bare packets.
type five struct {
	t        testing.TB
	conn     net.Conn
	patience time.Duration
}

func (w *world) five() *five {
	m := &five{w.t, w.dial(), cmp.Or(w.patience, patience)}
	w.t.Cleanup(func() { _ = m.conn.Close() })
	return m
}

func (m *five) send(p io.WriterTo) {
	m.t.Helper()
	_ = m.conn.SetWriteDeadline(time.Now().Add(patience))
	if _, err := p.WriteTo(m.conn); err != nil {
		m.t.Fatal(err)
	}
}

// read returns the content of the next packet.
func (m *five) read() any {
	m.t.Helper()
	_ = m.conn.SetReadDeadline(time.Now().Add(m.patience))
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

// disconnected expects DISCONNECT with one of the codes, and the end of the connection.
func (m *five) disconnected(codes ...byte) {
	m.t.Helper()
	if d := expect[v5.Disconnect](m); !slices.Contains(codes, d.ReasonCode) {
		m.t.Errorf("DISCONNECT %#x, want % #x", d.ReasonCode, codes)
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
			synctest.Wait() // the first one is being written, alone
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
		// The first was being sent, and the other with it unless the first went alone.
		expect[v5.Publish](m)
		last := m.read()
		if p, ok := last.(*v5.Publish); ok && p.PacketID == 2 {
			last = m.read()
		}
		if d, ok := last.(*v5.Disconnect); !ok || d.ReasonCode != 0x97 {
			t.Errorf("got %v, want DISCONNECT 0x97", last)
		}
		if _, err := v5.ReadPacket(m.conn); err == nil {
			t.Error("still connected")
		}

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
