package mqtt_test

import (
	"strings"
	"testing"

	"gantry/bridge"
	"gantry/bridge/mqtt"
	"gantry/internal/mosquitto"
	"gantry/wamp"
)

// pub publishes one message and waits until the broker has it.
func pub(t *testing.T, b *mosquitto.Broker, topic, payload string, more ...string) {
	t.Helper()
	from := "-s"
	if payload == "" {
		from = "-n"
	}
	mosquitto.Publish(t, b.Addr, strings.NewReader(payload), append([]string{"-t", topic, from, "-q", "1"}, more...)...)
}

// readings expects the readings of both rules for one message of a room.
func (w *world) readings(room string, value any, q string, why any) {
	w.t.Helper()
	left := map[wamp.URI]bool{wamp.URI("gantry.gw.point." + room + ".temperature"): true, "gantry.gw.point.any.raw": true}
	for len(left) > 0 {
		ev := w.next()
		if !strings.HasPrefix(string(ev.topic), "gantry.gw.point.") {
			continue
		}
		if !left[ev.topic] || ev.value != value || ev.kwargs["q"] != q || ev.kwargs["why"] != why || ev.kwargs["ep"] != int64(7) {
			w.t.Fatalf("%+v, want %v, quality %s because of %v", ev, value, q, why)
		}
		delete(left, ev.topic)
	}
}

func TestMessagesBecomeReadings(t *testing.T) {
	t.Parallel()
	b := mosquitto.NewBroker(t)
	pub(t, b, "sensors/cellar/a", `{"t": 12}`, "-r")
	w := newWorld(t, mqtt.Config{URL: "tcp://" + b.Addr, RulesConfig: rules()})
	w.readings("cellar", int64(12), "uncertain", "retained")
	pub(t, b, "sensors/kitchen/a", `{"t": 21.5}`)
	w.readings("kitchen", 21.5, "good", nil)
	pub(t, b, "sensors/kitchen/a", `{"t": 2`)
	w.readings("kitchen", nil, "bad", "malformed")
	pub(t, b, "sensors/kitchen/a", ``)
	w.readings("kitchen", nil, "bad", "empty")
	pub(t, b, "sensors/kitchen/a", "\xff\x00")
	w.readings("kitchen", nil, "bad", "malformed")
	pub(t, b, "other/kitchen/a", `{"t": 1}`)
	pub(t, b, "sensors/kitchen/a", `{"t": 22}`)
	w.readings("kitchen", int64(22), "good", nil)
	w.stop()
	s := w.client.Stats()
	if s.Received != 6 || s.Dropped != 0 || s.Connections != 1 || s.Rules.Readings != 12 || s.Rules.Bad != 6 || s.Rules.Malformed != 6 {
		t.Errorf("%+v", s)
	}
}

func TestCallsBecomeMessages(t *testing.T) {
	t.Parallel()
	b := mosquitto.NewBroker(t)
	w := newWorld(t, mqtt.Config{URL: "mqtt://" + b.Addr, RulesConfig: rules()})
	w.await(bridge.Online)
	sub := mosquitto.Subscribe(t, b.Addr, "-t", "lamp/#", "-q", "2")
	for _, c := range []struct {
		procedure wamp.URI
		args      wamp.List
		kwargs    wamp.Dict
		line      string
		err       wamp.URI
	}{
		{"set.lamp.state", wamp.List{true}, nil, "lamp/set 0 1 ON", ""},
		{"set.lamp.state", wamp.List{"true"}, nil, "", wamp.ErrURIOutOfRange},
		{"set.lamp.level", wamp.List{int64(7)}, nil, "lamp/level 0 0 7", ""},
		{"do.lamp.blink", nil, wamp.Dict{"zone": "a b"}, "lamp/a b/blink 0 2 ", ""},
		{"do.lamp.blink", nil, wamp.Dict{"zone": "a/b"}, "", wamp.ErrURIOutOfRange},
	} {
		p, err := w.sess.Call(t.Context(), "gantry.gw."+c.procedure, wamp.CallOptions{}, wamp.Values(c.args, c.kwargs))
		if c.err != "" {
			if !wamp.IsError(err, c.err) {
				t.Errorf("%s %v: %v, want %s", c.procedure, c.args, err, c.err)
			}
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		if _, kwargs := p.GoValues(); kwargs["verified"] != false {
			t.Errorf("%s: %v", c.procedure, kwargs)
		}
		sub.Expect(c.line)
	}
	w.stop()
	if s := w.client.Stats(); s.Published != 3 || s.Refused != 0 {
		t.Errorf("%+v", s)
	}
}

// TestBrokerIsRestarted kills the broker, which forgets everything.
func TestBrokerIsRestarted(t *testing.T) {
	t.Parallel()
	for name, persistent := range map[string]bool{"clean session": false, "persistent session": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := mosquitto.NewBroker(t)
			w := newWorld(t, mqtt.Config{URL: "tcp://" + b.Addr, Persistent: persistent, RulesConfig: rules()})
			first := w.await(bridge.Online)
			for round := range 2 {
				pub(t, b, "sensors/kitchen/a", `{"t": 21.5}`)
				w.readings("kitchen", 21.5, "good", nil)

				b.Kill()
				if ev := w.await(bridge.Offline); ev.kwargs["reason"] == nil || ev.kwargs["since"].(int64) < first.kwargs["since"].(int64) || ev.kwargs["seq"] == nil {
					t.Errorf("round %d: %+v", round, ev)
				}
				_, err := w.call("gantry.gw.set.lamp.state", wamp.CallOptions{}, true)
				if !wamp.IsError(err, wamp.ErrURIOffline) {
					t.Errorf("round %d: call while the broker is away: %v", round, err)
				}
				b.Start()
				w.await(bridge.Online)
				// The refused command does not come after all.
				sub := mosquitto.Subscribe(t, b.Addr, "-t", "lamp/#", "-q", "1")
				if _, err := w.call("gantry.gw.set.lamp.state", wamp.CallOptions{}, false); err != nil {
					t.Fatal(err)
				}
				sub.Expect("lamp/set 0 1 OFF")
			}
			pub(t, b, "sensors/kitchen/a", `{"t": 22}`)
			w.readings("kitchen", int64(22), "good", nil)
			w.stop()
			if s := w.client.Stats(); s.Connections != 3 || s.Refused != 2 || s.Published != 2 {
				t.Errorf("%+v", s)
			}
		})
	}
}

// TestPersistentSession stops the client, not the broker.
func TestPersistentSession(t *testing.T) {
	t.Parallel()
	b := mosquitto.NewBroker(t)
	w := newWorld(t, mqtt.Config{URL: "tcp://" + b.Addr, Persistent: true, RulesConfig: rules()})
	w.await(bridge.Online)
	w.stop()
	pub(t, b, "sensors/kitchen/a", `{"t": 1}`)
	w.run()
	w.readings("kitchen", int64(1), "good", nil)
}
