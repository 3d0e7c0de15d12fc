package mqttd_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/eclipse/paho.mqtt.golang/packets"
	"github.com/google/go-cmp/cmp"

	"gantry/bridge"
	"gantry/bridge/mqttd"
	"gantry/wamp"
	"gantry/wamp/serialize"
)

func TestConnect(t *testing.T) {
	t.Parallel()
	w := newWorld(t, mqttd.Config{}, false)
	for _, c := range []struct {
		name string
		edit func(*packets.ConnectPacket)
		code byte
	}{
		{"3.1.1", nil, packets.Accepted},
		{"3.1", func(p *packets.ConnectPacket) { p.ProtocolName, p.ProtocolVersion = "MQIsdp", 3 }, packets.Accepted},
		{"6", func(p *packets.ConnectPacket) { p.ProtocolVersion = 6 }, packets.ErrRefusedBadProtocolVersion},
		{"3.1.1 of a bridge", func(p *packets.ConnectPacket) { p.ProtocolVersion = 0x84 }, packets.ErrRefusedBadProtocolVersion},
		{"3.1 with another level", func(p *packets.ConnectPacket) { p.ProtocolName = "MQIsdp" }, packets.ErrRefusedBadProtocolVersion},
		{"no id, clean", func(p *packets.ConnectPacket) { p.ClientIdentifier = "" }, packets.Accepted},
		{"no id, not clean", func(p *packets.ConnectPacket) { p.ClientIdentifier, p.CleanSession = "", false }, packets.ErrRefusedIDRejected},
		{"not clean", func(p *packets.ConnectPacket) { p.CleanSession = false }, packets.Accepted},
		{"an endless id", func(p *packets.ConnectPacket) { p.ClientIdentifier = strings.Repeat("x", 257) }, packets.ErrRefusedIDRejected},
	} {
		m := w.mqtt()
		if code := m.connect(c.name, c.edit); code != c.code {
			t.Errorf("%s: CONNACK %d, want %d", c.name, code, c.code)
		}
		if c.code == packets.Accepted {
			m.quiet()
		} else {
			m.ended(c.name)
		}
	}
}

func TestRefusedByTheRouter(t *testing.T) {
	t.Parallel()
	w := newWorld(t, mqttd.Config{Realm: "nowhere"}, false)
	m := w.mqtt()
	if code := m.connect("c", nil); code != packets.ErrRefusedServerUnavailable {
		t.Errorf("CONNACK %d", code)
	}
	m.ended("unknown realm")
}

// TestBrokenProtocol sends what ends a connection at once.
func TestBrokenProtocol(t *testing.T) {
	t.Parallel()
	w := newWorld(t, mqttd.Config{MaxPacket: 1024}, false)
	const connect = "\x10\x0d\x00\x04MQTT\x04\x02\x00\x00\x00\x01c"
	for name, b := range map[string]string{
		"PUBLISH before CONNECT":      "\x30\x05\x00\x01thi",
		"PINGREQ before CONNECT":      "\xc0\x00",
		"another protocol":            "\x10\x0d\x00\x04HTTP\x04\x02\x00\x00\x00\x01c",
		"HTTP":                        "GET / HTTP/1.1\r\n\r\n",
		"CONNECT with reserved flag":  "\x10\x0d\x00\x04MQTT\x04\x03\x00\x00\x00\x01c",
		"CONNECT with flags":          "\x12\x0d\x00\x04MQTT\x04\x02\x00\x00\x00\x01c",
		"a huge CONNECT":              "\x10\xff\xff\xff\x7f",
		"CONNECT with a bomb":         "\x10\x0d\x00\x04MQTT\x04\x02\x00\x00\xff\xffc",
		"!second CONNECT":             connect,
		"!CONNACK":                    "\x20\x02\x00\x00",
		"!SUBACK":                     "\x90\x03\x00\x01\x00",
		"!PINGRESP":                   "\xd0\x00",
		"!PINGREQ with flags":         "\xc1\x00",
		"!PUBLISH to a wildcard":      "\x30\x05\x00\x03a/#",
		"!PUBLISH to nothing":         "\x30\x02\x00\x00",
		"!PUBLISH with NUL":           "\x30\x04\x00\x02a\x00",
		"!PUBLISH not UTF-8":          "\x30\x04\x00\x02a\xff",
		"!PUBLISH at QoS 3":           "\x36\x05\x00\x01t\x00\x01",
		"!PUBLISH with identifier 0":  "\x32\x05\x00\x01t\x00\x00",
		"!a huge PUBLISH":             "\x30\xff\xff\xff\x7f",
		"!just over the limit":        "\x30\x81\x08",
		"!SUBSCRIBE without filters":  "\x82\x02\x00\x01",
		"!SUBSCRIBE with flags 0":     "\x80\x06\x00\x01\x00\x01a\x00",
		"!SUBSCRIBE at QoS 3":         "\x82\x06\x00\x01\x00\x01a\x03",
		"!type 0":                     "\x00\x00",
		"!type 15":                    "\xf0\x00",
		"!a length without end":       "\x30\xff\xff\xff\xff\xff",
		"!DISCONNECT with a body":     "\xe0\x01\x00",
		"!half a packet, then nobody": "\x30\x0a\x00",
	} {
		m := w.mqtt()
		if rest, after := strings.CutPrefix(name, "!"); after {
			if code := m.connect(rest, nil); code != 0 {
				t.Fatalf("CONNACK %d", code)
			}
		}
		m.raw([]byte(b))
		if strings.Contains(name, "nobody") {
			_ = m.conn.Close()
			continue
		}
		m.ended(name)
	}
	if st := w.server.Stats(); st.Malformed < 15 || st.Rejected < 7 {
		t.Errorf("not counted: %+v", st)
	}
}

func TestPublishAndSubscribe(t *testing.T) {
	t.Parallel()
	w := newWorld(t, mqttd.Config{}, false)
	m := w.mqtt()
	m.connect("c", nil)
	if codes := m.subscribe(1, 1, "a/+", "b/#", "+/x/#", "bad/#/x", "forbidden/x", "#"); string(codes) != "\x01\x01\x01\x80\x80\x01" {
		t.Errorf("granted % x", codes)
	}
	unsubscribe := packets.NewControlPacket(packets.Unsubscribe).(*packets.UnsubscribePacket)
	unsubscribe.MessageID, unsubscribe.Topics = 2, []string{"#", "never/held"}
	m.send(unsubscribe)
	m.ack(packets.Unsuback, 2)

	// Own messages come back, at the granted QoS, byte for byte.
	for i, payload := range []string{"", "21.5", `{"a": 1}`, `"q"`, "ON", "\x00\xff", " 1 "} {
		m.publish("a/b", payload, 0, false, 0)
		p := m.expect("a/b", payload, 1, false)
		if p.MessageID == 0 || p.Dup {
			t.Errorf("%d: %v", i, p)
		}
		ack := packets.NewControlPacket(packets.Puback).(*packets.PubackPacket)
		ack.MessageID = p.MessageID
		m.send(ack)
	}
	m.publish("b", "parent", 1, false, 7)
	m.expect("b", "parent", 1, false)
	m.ack(packets.Puback, 7)
	m.publish("b/x/y", "twice", 0, false, 0) // two patterns: b. and the empty prefix
	m.expect("b/x/y", "twice", 1, false)
	m.expect("b/x/y", "twice", 1, false)
	m.publish("c/d", "not asked for", 0, false, 0)
	m.publish("$SYS/x/y", "not for a wildcard", 0, false, 0)
	m.quiet()
	// Refused by the router: acknowledged and counted.
	m.publish("forbidden/x", "1", 1, false, 8)
	m.ack(packets.Puback, 8)
	if n := w.server.Stats().Refused; n != 1 {
		t.Errorf("%d refused", n)
	}
}

func TestBytesAreCounted(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, mqttd.Config{}, true)
		m := w.mqtt()
		m.connect("c", nil) // 12 bytes, and the identifier with its length; answered by 4
		m.publish("a", "1", 1, false, 7)
		m.ack(packets.Puback, 7) // 4 bytes
		synctest.Wait()          // a write is counted behind its end, which the reader may outrun
		if st := w.router.Stats("gantry"); st.ReceivedBytes != 15+2+5+1 || st.SentBytes != 8 {
			t.Errorf("%d bytes received, %d sent", st.ReceivedBytes, st.SentBytes)
		}
	})
}

func TestOneCopyForSharedPattern(t *testing.T) {
	t.Parallel()
	w := newWorld(t, mqttd.Config{}, false)
	m := w.mqtt()
	m.connect("c", nil)
	m.subscribe(1, 0, "a/+/x/#", "a/+/+/y/#") // both are the prefix "a."
	m.subscribe(2, 1, "a/+/x/#")
	m.publish("a/b/x/y", "1", 0, false, 0)
	m.expect("a/b/x/y", "1", 1, false)
	m.publish("a/c/z", "1", 0, false, 0)
	m.quiet()
	un := packets.NewControlPacket(packets.Unsubscribe).(*packets.UnsubscribePacket)
	un.MessageID, un.Topics = 3, []string{"a/+/x/#"}
	m.send(un)
	m.ack(packets.Unsuback, 3)
	m.publish("a/b/x/y", "2", 0, false, 0)
	m.expect("a/b/x/y", "2", 0, false)
	m.publish("a/c/x", "3", 0, false, 0)
	m.quiet()
}

func TestExactlyOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t, mqttd.Config{}, false)
	m := w.mqtt()
	m.connect("c", nil)
	m.subscribe(1, 0, "t")
	for range 3 { // the same message, sent again
		m.publish("t", "once", 2, false, 9)
	}
	m.expect("t", "once", 0, false)
	for range 3 {
		m.ack(packets.Pubrec, 9)
	}
	rel := packets.NewControlPacket(packets.Pubrel).(*packets.PubrelPacket)
	rel.MessageID = 9
	m.send(rel)
	m.ack(packets.Pubcomp, 9)
	m.publish("t", "next", 2, false, 9)
	m.expect("t", "next", 0, false)
	m.ack(packets.Pubrec, 9)
}

// TestManyUnreleased sends more messages at QoS 2 than the router can answer
// before the first PUBREL, as a client does that waits for nothing.
func TestManyUnreleased(t *testing.T) {
	t.Parallel()
	w := newWorld(t, mqttd.Config{}, false)
	m := w.mqtt()
	m.connect("c", nil)
	const n = 900
	for id := range uint16(n) {
		m.publish("t", "x", 2, false, id+1)
	}
	for id := range uint16(n) {
		m.ack(packets.Pubrec, id+1)
	}
	rel := packets.NewControlPacket(packets.Pubrel).(*packets.PubrelPacket)
	for id := range uint16(n) {
		rel.MessageID = id + 1
		m.send(rel)
		m.ack(packets.Pubcomp, id+1)
	}
}

func TestRetained(t *testing.T) {
	t.Parallel()
	w := newWorld(t, mqttd.Config{}, false)
	m := w.mqtt()
	m.connect("c", nil)
	m.publish("r/1", "one", 1, true, 1)
	m.ack(packets.Puback, 1)
	m.publish("r/2", "two", 1, true, 2)
	m.ack(packets.Puback, 2)
	m.publish("r/2", "", 1, true, 3) // forgets it
	m.ack(packets.Puback, 3)

	late := w.mqtt()
	late.connect("late", nil)
	p := packets.NewControlPacket(packets.Subscribe).(*packets.SubscribePacket)
	p.MessageID, p.Topics, p.Qoss = 1, []string{"r/+"}, []byte{0}
	late.send(p)
	late.expectWithSuback("r/1", "one", true)
	m.publish("r/1", "live", 1, true, 4)
	m.ack(packets.Puback, 4)
	late.expect("r/1", "live", 0, false)
	late.send(p) // again: the last values again (MQTT-3.8.4-3)
	late.expectWithSuback("r/1", "live", true)
}

// expectWithSuback takes a message and a SUBACK in either order.
func (m *mqtt) expectWithSuback(topic, payload string, retained bool) {
	m.t.Helper()
	for range 2 {
		switch p := m.read().(type) {
		case *packets.SubackPacket:
		case *packets.PublishPacket:
			if p.TopicName != topic || string(p.Payload) != payload || p.Retain != retained {
				m.t.Fatalf("got %v", p)
			}
		default:
			m.t.Fatalf("got %v", p)
		}
	}
}

func withWill(p *packets.ConnectPacket) {
	p.WillFlag, p.WillTopic, p.WillMessage, p.WillQos = true, "will/"+p.ClientIdentifier, []byte("gone"), 1
}

func TestWill(t *testing.T) {
	t.Parallel()
	w := newWorld(t, mqttd.Config{}, false)
	watch := w.mqtt()
	watch.connect("watch", nil)
	watch.subscribe(1, 0, "will/#")

	for name, end := range map[string]func(m *mqtt){
		"closed":    func(m *mqtt) { _ = m.conn.Close() },
		"malformed": func(m *mqtt) { m.raw([]byte("\xf0\x00")) },
		"takenover": func(*mqtt) { w.mqtt().connect("takenover", nil) },
	} {
		m := w.mqtt()
		m.connect(name, withWill)
		end(m)
		watch.expect("will/"+name, "gone", 0, false)
	}

	m := w.mqtt()
	m.connect("polite", withWill)
	m.raw([]byte("\xe0\x00"))
	m.ended("after DISCONNECT")
	watch.quiet()
}

func TestTakeOver(t *testing.T) {
	t.Parallel()
	w := newWorld(t, mqttd.Config{}, false)
	watch := w.mqtt()
	watch.connect("watch", nil)
	watch.subscribe(1, 0, "#")
	first := w.mqtt()
	first.connect("same", withWill)
	second := w.mqtt()
	if code := second.connect("same", nil); code != 0 {
		t.Fatalf("CONNACK %d", code)
	}
	second.publish("birth", "here", 0, false, 0)
	watch.expect("will/same", "gone", 0, false) // before anything of the second
	watch.expect("birth", "here", 0, false)
	first.ended("taken over")
	second.quiet()
	if n := w.server.Stats().TakenOver; n != 1 {
		t.Errorf("%d taken over", n)
	}
}

func TestSilentClients(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, mqttd.Config{}, true)
		start := time.Now()
		m := w.mqtt()
		m.raw([]byte("\x10\x0d\x00\x04MQ")) // and no more
		_, _ = packets.ReadPacket(m.conn)
		if d := time.Since(start); d != 5*time.Second {
			t.Errorf("half a CONNECT: closed after %v", d)
		}

		m = w.mqtt()
		m.connect("c", func(p *packets.ConnectPacket) { p.Keepalive = 10 })
		time.Sleep(14 * time.Second)
		m.quiet() // a ping in time
		start = time.Now()
		_ = m.conn.SetReadDeadline(time.Time{})
		if _, err := packets.ReadPacket(m.conn); err == nil {
			t.Error("still there")
		}
		if d := time.Since(start); d != 15*time.Second {
			t.Errorf("closed after %v of silence", d)
		}

		m = w.mqtt()
		m.connect("d", nil) // no keep-alive
		time.Sleep(24 * time.Hour)
		m.quiet()
		start = time.Now()
		m.raw([]byte("\x30\x64\x00")) // the rest never comes
		_ = m.conn.SetReadDeadline(time.Time{})
		_, _ = packets.ReadPacket(m.conn)
		if d := time.Since(start); d != 30*time.Second {
			t.Errorf("half a PUBLISH: closed after %v", d)
		}
		if st := w.server.Stats(); st.KeepAlive != 2 {
			t.Errorf("%+v", st)
		}
		synctest.Wait()
	})
}

func TestSlowClients(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, mqttd.Config{QueueBytes: 4096, InFlight: 3}, true)
		s := w.session()
		publish := func(n int) {
			for range n {
				if err := s.Publish(t.Context(), "t", wamp.PublishOptions{Acknowledge: true}, wamp.Args(strings.Repeat("x", 100))); err != nil {
					t.Fatal(err)
				}
			}
		}
		// QoS 0: what does not fit is dropped and counted, the client stays.
		lossy := w.mqtt()
		lossy.connect("lossy", nil)
		lossy.subscribe(1, 0, "t")
		publish(100)
		if n := w.router.Stats("gantry").Dropped; n < 50 || n > 70 {
			t.Errorf("%d of 100 dropped", n)
		}
		for i := range 100 - int(w.router.Stats("gantry").Dropped) {
			if _, ok := lossy.read().(*packets.PublishPacket); !ok {
				t.Fatalf("message %d", i)
			}
		}
		lossy.quiet()
		lossy.raw([]byte("\xe0\x00"))

		// QoS 1: three in flight, the rest waits; too much ends the connection.
		m := w.mqtt()
		m.connect("careful", nil)
		m.subscribe(1, 1, "t")
		publish(10)
		var ids []uint16
		for range 3 {
			ids = append(ids, m.read().(*packets.PublishPacket).MessageID)
		}
		m.quiet()
		for _, id := range ids {
			ack := packets.NewControlPacket(packets.Puback).(*packets.PubackPacket)
			ack.MessageID = id
			m.send(ack)
			m.read()
		}
		m.quiet()
		publish(100)
		m.ended("behind at QoS 1")
		if n := w.server.Stats().Slow; n != 1 {
			t.Errorf("%d slow", n)
		}

		// A client that reads nothing is not read from, and cut off in the end.
		deaf := w.mqtt()
		deaf.connect("deaf", nil)
		start := time.Now()
		_ = deaf.conn.SetWriteDeadline(time.Time{})
		for err := error(nil); err == nil; {
			_, err = deaf.conn.Write([]byte{packets.Pingreq << 4, 0})
		}
		if d := time.Since(start); d > 11*time.Second {
			t.Errorf("cut off after %v", d)
		}
	})
}

func TestLimits(t *testing.T) {
	t.Parallel()
	w := newWorld(t, mqttd.Config{MaxConnections: 2, MaxFilters: 3}, false)
	m := w.mqtt()
	m.connect("c", nil)
	if codes := m.subscribe(1, 0, "a", "b", "b", "c", "d"); string(codes) != "\x00\x00\x00\x80\x80" && string(codes) != "\x00\x00\x00\x00\x80" {
		t.Errorf("granted % x", codes)
	}
	other := w.mqtt()
	other.connect("d", nil)
	w.mqtt().ended("one too many")
	if st := w.server.Stats(); st.OverLimit != 1 || st.Open != 2 {
		t.Errorf("%+v", st)
	}
}

func TestWAMPSessionsSeeTheSame(t *testing.T) {
	t.Parallel()
	w := newWorld(t, mqttd.Config{}, false)
	s := w.session()
	events := make(chan *wamp.Event, 16)
	_, err := s.Subscribe(t.Context(), "sensors..temp", wamp.SubscribeOptions{Match: wamp.MatchWildcard}, func(ev *wamp.Event) { events <- ev })
	if err != nil {
		t.Fatal(err)
	}
	m := w.mqtt()
	m.connect("c", nil)
	m.publish("sensors/room 1/temp", "21.5", 1, false, 1)
	m.ack(packets.Puback, 1)
	ev := <-events
	got, err := bridge.AppendMQTT(nil, ev.Payload)
	if ev.Details.Topic != "sensors.room%201.temp" || string(got) != "21.5" || err != nil {
		t.Errorf("%v %q %v", ev, got, err)
	}
	m.subscribe(2, 0, "gantry/gw/point/#")
	err = s.Publish(t.Context(), "gantry.gw.point.dev.temp", wamp.PublishOptions{Acknowledge: true},
		wamp.Values(wamp.List{21.5}, wamp.Dict{"q": "good"}))
	if err != nil {
		t.Fatal(err)
	}
	m.expect("gantry/gw/point/dev/temp", `{"args":[21.5],"kwargs":{"q":"good"}}`, 0, false)
}

// TestCBOR publishes CBOR: MQTT clients get it as it was, now and retained, and sessions
// the value, and what a session says is CBOR is.
func TestCBOR(t *testing.T) {
	t.Parallel()
	const message = "\xa1\x61t\xfa\x41\xac\x00\x00" // {"t": 21.5} with 4 bytes of float
	w := newWorld(t, mqttd.Config{}, false)
	s := w.session()
	events := make(chan *wamp.Event, 16)
	if _, err := s.Subscribe(t.Context(), "s.cbor", wamp.SubscribeOptions{}, func(ev *wamp.Event) { events <- ev }); err != nil {
		t.Fatal(err)
	}
	m := w.mqtt()
	m.connect("c", nil)
	m.subscribe(1, 0, "s/#")
	m.publish("s/cbor", message, 1, true, 2)
	m.expect("s/cbor", message, 0, false)
	m.ack(packets.Puback, 2)
	ev := <-events
	args, kwargs, err := serialize.Values(ev.Payload)
	if d := cmp.Diff([]any{wamp.List{wamp.Dict{"t": 21.5}}, wamp.Dict{"mqtt": wamp.Dict{"cbor": true}}}, []any{args, kwargs}); d != "" || err != nil || ev.Details.Passthru != nil {
		t.Errorf("%s %v %v", d, err, ev.Details.Passthru)
	}
	later := w.mqtt()
	later.connect("later", nil)
	later.subscribe(1, 0, "s/#")
	later.expect("s/cbor", message, 0, true)
	if err := s.Publish(t.Context(), "s.own", wamp.PublishOptions{Acknowledge: true}, wamp.Values(args, kwargs)); err != nil {
		t.Fatal(err)
	}
	m.expect("s/own", "\xa1\x61t\xfb\x40\x35\x80\x00\x00\x00\x00\x00", 0, false)
}

func TestConfig(t *testing.T) {
	t.Parallel()
	for key, cfg := range map[string]mqttd.Config{
		"realm":           {Realm: "a b"},
		"max_connections": {MaxConnections: -1},
		"max_packet":      {MaxPacket: 1},
		"queue_bytes":     {QueueBytes: 1},
		"in_flight":       {InFlight: 100_000},
		"max_filters":     {MaxFilters: -1},
		"connect_timeout": {ConnectTimeout: 1},
		"write_timeout":   {WriteTimeout: time.Hour},
	} {
		_, err := mqttd.New(cfg, nil, nil, nil, nil, nil)
		var bad *bridge.ConfigError
		if !errors.As(err, &bad) || bad.Key != key || bad.Allowed == "" {
			t.Errorf("%s: %v", key, err)
		}
	}
	if _, err := mqttd.New(mqttd.Config{}, nil, nil, nil, nil, nil); err != nil {
		t.Error(err)
	}
}

func TestForeignPayloadsAreMarked(t *testing.T) {
	t.Parallel()
	w := newWorld(t, mqttd.Config{}, false)
	s := w.session()
	events := make(chan *wamp.Event, 2)
	if _, err := s.Subscribe(t.Context(), "raw", wamp.SubscribeOptions{}, func(ev *wamp.Event) { events <- ev }); err != nil {
		t.Fatal(err)
	}
	m := w.mqtt()
	m.connect("c", nil)
	m.publish("raw", "21.5", 0, false, 0)
	m.publish("raw", "\x00\xff", 0, false, 0)
	if ev := <-events; ev.Details.Passthru != nil {
		t.Errorf("a number came as %+v", ev.Details.Passthru)
	}
	ev := <-events
	args, _, err := serialize.Values(ev.Payload)
	if err != nil || len(args) != 1 || string(args[0].([]byte)) != "\x00\xff" || ev.Details.Passthru == nil || ev.Details.Passthru.Scheme != "mqtt" {
		t.Errorf("binary came as %v, %+v, %v", args, ev.Details.Passthru, err)
	}
}

// What goes up is in its queue before the publisher may forget it.
func TestAcknowledgedWhenSettled(t *testing.T) {
	t.Parallel()
	asked, answers := make(chan struct{}), make(chan error)
	w := newWorldWith(t, mqttd.Config{}, nil, false, nil, func(ctx context.Context) error {
		select {
		case asked <- struct{}{}:
		case <-ctx.Done():
			return ctx.Err()
		}
		return <-answers
	})
	m := w.mqtt()
	m.connect("c", nil)
	m.publish("a", "x", 1, false, 1)
	<-asked
	m.quiet()
	answers <- errors.New("no room")
	<-asked
	m.quiet()
	m.publish("a", "y", 2, false, 2)
	m.quiet()
	answers <- nil
	m.ack(packets.Puback, 1)
	<-asked
	m.quiet()
	answers <- nil
	m.ack(packets.Pubrec, 2)
}
