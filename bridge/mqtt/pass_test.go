package mqtt_test

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"gantry/bridge"
	"gantry/bridge/mqtt"
	"gantry/internal/mosquitto"
	"gantry/wamp"
	"gantry/wamp/serialize"
)

// watch subscribes to everything below prefix. Its lines are "topic retained
// scheme payload", where the scheme is that of payload passthru.
func (w *world) watch(prefix wamp.URI) (lines chan string) {
	w.t.Helper()
	lines = make(chan string, 1000)
	opts := wamp.SubscribeOptions{Match: wamp.MatchPrefix, GetRetained: true}
	if _, err := w.join().Subscribe(w.t.Context(), prefix, opts, func(ev *wamp.Event) {
		b, err := bridge.AppendMQTT(nil, ev.Payload)
		if err != nil {
			w.t.Error(err)
		}
		scheme := "-"
		if p := ev.Details.Passthru; p != nil {
			scheme = p.Scheme
		}
		lines <- fmt.Sprintf("%s %t %s %q", ev.Details.Topic, ev.Details.Retained, scheme, b)
	}); err != nil {
		w.t.Fatal(err)
	}
	return lines
}

func expect(t *testing.T, lines <-chan string, want ...string) {
	t.Helper()
	for _, s := range want {
		select {
		case line := <-lines:
			if line != s {
				t.Fatalf("got %s, want %s", line, s)
			}
		case <-time.After(patience):
			t.Fatalf("no %s", s)
		}
	}
}

// silence expects nothing more: not before what is published last has come.
func silence(t *testing.T, lines <-chan string, last string) {
	t.Helper()
	select {
	case line := <-lines:
		if line != last {
			t.Fatalf("got %s, want %s and nothing before", line, last)
		}
	case <-time.After(patience):
		t.Fatalf("no %s", last)
	}
}

func (w *world) publish(uri wamp.URI, opts wamp.PublishOptions, args ...any) {
	w.t.Helper()
	opts.Acknowledge = true
	if err := w.sess.Publish(w.t.Context(), uri, opts, wamp.Args(args...)); err != nil {
		w.t.Fatal(err)
	}
}

// TestPassCBOR passes CBOR in, as values, and out again as it came.
func TestPassCBOR(t *testing.T) {
	t.Parallel()
	b := mosquitto.NewBroker(t)
	w := newWorld(t, mqtt.Config{URL: "tcp://" + b.Addr, Pass: []mqtt.Pass{{Topic: "in/#", Direction: "in"}, {Topic: "out/#", Direction: "out"}}})
	out := mosquitto.Subscribe(t, b.Addr, "-t", "out/#", "-F", "%t %x")
	lines := make(chan string, 10)
	s := w.join()
	if _, err := s.Subscribe(t.Context(), "in.", wamp.SubscribeOptions{Match: wamp.MatchPrefix}, func(ev *wamp.Event) {
		args, _, err := serialize.Values(ev.Payload)
		lines <- fmt.Sprintf("%s %v %v %t", ev.Details.Topic, args, err, ev.Details.Passthru != nil)
		if err := s.Publish(t.Context(), "out.a", wamp.PublishOptions{Passthru: ev.Details.Passthru}, ev.Payload); err != nil {
			t.Error(err)
		}
	}); err != nil {
		t.Fatal(err)
	}
	w.await(bridge.Online)
	for _, c := range []struct{ message, event, back string }{
		{"\xa1at\x18\x15", "[map[t:21]] <nil> false", "a161741815"},
		{"\xa1at\x18", "[[161 97 116 24]] <nil> true", "a1617418"},
	} {
		mosquitto.Publish(t, b.Addr, strings.NewReader(c.message), "-t", "in/a", "-s", "-q", "1")
		expect(t, lines, "in.a "+c.event)
		out.Expect("out/a " + c.back)
	}
}

func TestPassIn(t *testing.T) {
	t.Parallel()
	b := mosquitto.NewBroker(t)
	pub(t, b, "raw/kept", "1", "-r")
	w := newWorld(t, mqtt.Config{URL: "tcp://" + b.Addr, Pass: []mqtt.Pass{{Topic: "raw/#", Prefix: "house.", Direction: "in"}, {Topic: "gantry/#", Direction: "in"}}})
	lines := w.watch("house.")
	w.await(bridge.Online)
	expect(t, lines, `house.raw.kept false - "1"`)
	for payload, want := range map[string]string{`{"a":[1,2.50]}`: `false - "{\"a\":[1,2.50]}"`, "on": `false - "on"`, "\xff\x00": `false mqtt "\xff\x00"`} {
		pub(t, b, "raw/Living Room/x", payload)
		expect(t, lines, "house.raw.Living%20Room.x "+want)
	}
	// What follows on a topic that is retained is retained, too, and so is its end.
	expect(t, w.watch("house.raw.kept"), `house.raw.kept true - "1"`)
	pub(t, b, "raw/kept", "2", "-r")
	expect(t, lines, `house.raw.kept false - "2"`)
	expect(t, w.watch("house.raw.kept"), `house.raw.kept true - "2"`)
	pub(t, b, "raw/kept", "", "-r")
	expect(t, lines, `house.raw.kept false - ""`)
	pub(t, b, "gantry/gw/point/a/b", "7") // nobody forges readings
	pub(t, b, "raw/last", "0")
	expect(t, lines, `house.raw.last false - "0"`)
	late := w.watch("house.")
	w.publish("house.end", wamp.PublishOptions{}, "end")
	silence(t, late, `house.end false - "end"`)
	w.stop()
	if s := w.client.Stats(); s.PassedIn != 7 || s.NotPassed != 1 {
		t.Errorf("%+v", s)
	}
}

func TestPassOut(t *testing.T) {
	t.Parallel()
	b := mosquitto.NewBroker(t)
	sub := mosquitto.Subscribe(t, b.Addr, "-t", "#", "-q", "2")
	w := newWorldWith(t, mqtt.Config{URL: "tcp://" + b.Addr, Pass: []mqtt.Pass{
		{Topic: "out/#", Prefix: "house.", Direction: "out", QoS: ptr[uint8](2)},
		{Topic: "gantry/gw/state/+/link", Direction: "out", QoS: ptr[uint8](0), Retain: "always"},
	}}, func(d *mqtt.Deps) { // before it runs: as one that is kept, not as a new one
		if err := d.Session.Publish(t.Context(), "house.out.kept", wamp.PublishOptions{Acknowledge: true, Retain: true}, wamp.Args(int64(1))); err != nil {
			t.Fatal(err)
		}
	})
	w.await(bridge.Online)
	for online, kept := false, false; !online || !kept; { // the state that a component of the gateway publishes
		select {
		case line := <-sub.Lines():
			if strings.HasPrefix(line, "gantry/gw/state/broker_house/link 0 0 ") {
				online = strings.Contains(line, `"online"`)
			} else if kept = line == "out/kept 0 2 1"; !kept {
				t.Fatal(line)
			}
		case <-time.After(patience):
			t.Fatal("no state")
		}
	}
	w.publish("house.out.Living%20Room", wamp.PublishOptions{}, "x")
	w.publish("house.other", wamp.PublishOptions{}, "x")
	w.publish("house.out.bin", wamp.PublishOptions{}, []byte{0xff})
	w.publish("house.out.kept", wamp.PublishOptions{Retain: true}, int64(2))
	// As of a client of MQTT 5, with properties.
	five := wamp.Values(wamp.List{"y"}, wamp.Dict{"mqtt": wamp.Dict{"content_type": "text/plain"}})
	if err := w.sess.Publish(t.Context(), "house.out.five", wamp.PublishOptions{Acknowledge: true}, five); err != nil {
		t.Fatal(err)
	}
	sub.Expect("out/Living Room 0 2 x", "out/bin 0 2 \xff", "out/kept 0 2 2", "out/five 0 2 y")
	mosquitto.Subscribe(t, b.Addr, "-t", "out/#", "-q", "1").Expect("out/kept 1 1 2")

	// A broker that has forgotten everything gets the last values again.
	b.Kill()
	w.await(bridge.Offline)
	w.publish("house.out.missed", wamp.PublishOptions{}, "x")
	w.publish("house.out.kept", wamp.PublishOptions{Retain: true}, int64(3))
	b.Start()
	w.await(bridge.Online)
	w.publish("house.out.last", wamp.PublishOptions{Retain: true}, "y")
	again := mosquitto.Subscribe(t, b.Addr, "-t", "out/#", "-q", "1")
	for done := false; !done; {
		select {
		case line := <-again.Lines():
			if strings.Contains(line, "missed") {
				t.Fatal(line)
			}
			done = strings.HasPrefix(line, "out/kept ") && strings.HasSuffix(line, " 3")
		case <-time.After(patience):
			t.Fatal("the last value did not come again")
		}
	}
}

func TestPassBothWays(t *testing.T) {
	t.Parallel()
	one, two := mosquitto.NewBroker(t), mosquitto.NewBroker(t)
	rule := []mqtt.Pass{{Topic: "both/#", Direction: "both"}}
	others := func(d *mqtt.Deps) { d.Others = []string{"broker_house"} }
	sub1, sub2 := mosquitto.Subscribe(t, one.Addr, "-t", "both/#"), mosquitto.Subscribe(t, two.Addr, "-t", "both/#")
	// Two gateways between two brokers: what comes from one must not go round.
	var worlds []*world
	for i := range 2 {
		w := newWorldWith(t, mqtt.Config{URL: "tcp://" + one.Addr, ClientID: fmt.Sprint("gw", i), Pass: rule}, others)
		w.await(bridge.Online)
		w.another(mqtt.Config{URL: "tcp://" + two.Addr, ClientID: fmt.Sprint("gw", i), Pass: rule}, others)
		worlds = append(worlds, w)
	}
	lines := []chan string{worlds[0].watch("both."), worlds[1].watch("both.")}
	worlds[0].publish("both.a", wamp.PublishOptions{}, "x")
	sub1.Expect("both/a 0 0 x")
	sub2.Expect("both/a 0 0 x")
	expect(t, lines[0], `both.a false - "x"`)
	expect(t, lines[1], `both.a false - "x"`, `both.a false - "x"`) // by each of the brokers
	pub(t, one, "both/b", "y")
	sub1.Expect("both/b 0 0 y")
	expect(t, lines[0], `both.b false - "y"`)
	expect(t, lines[1], `both.b false - "y"`)
	pub(t, two, "both/c", "z")
	sub2.Expect("both/c 0 0 z")
	for i := range lines {
		silence(t, lines[i], `both.c false - "z"`)
	}
	for _, w := range worlds {
		w.stop()
	}
	if s := worlds[0].client.Stats(); s.PassedOut != 1 || s.Echoed != 1 || s.PassedIn != 1 {
		t.Errorf("%+v", s)
	}
}

// TestLoopIsBroken lets the same message come by again and again.
func TestLoopIsBroken(t *testing.T) {
	t.Parallel()
	b := mosquitto.NewBroker(t)
	w := newWorld(t, mqtt.Config{URL: "tcp://" + b.Addr, Pass: []mqtt.Pass{{Topic: "both/#", Direction: "out"}}})
	sub := mosquitto.Subscribe(t, b.Addr, "-t", "both/#")
	w.publish("both.first", wamp.PublishOptions{Retain: true}, "x")
	sub.Expect("both/first 0 0 x") // so that events pass by now
	began := time.Now()
	for range 200 {
		w.publish("both.round", wamp.PublishOptions{}, "x")
	}
	w.publish("both.last", wamp.PublishOptions{}, "x")
	n := 0
	for last := false; !last; {
		select {
		case line := <-sub.Lines():
			last = strings.HasPrefix(line, "both/last")
			if strings.HasPrefix(line, "both/round") {
				n++
			}
		case <-time.After(patience):
			t.Fatal("the last one did not pass")
		}
	}
	if seconds := int(time.Since(began)/time.Second) + 2; n == 0 || n > 10*seconds {
		t.Errorf("%d of 200 passed", n)
	}
}

func TestPassConfig(t *testing.T) {
	t.Parallel()
	for key, edit := range map[string]func(*mqtt.Pass){
		"topic":     func(p *mqtt.Pass) { p.Topic = "a/#/b" },
		"topic ":    func(p *mqtt.Pass) { p.Topic = "a/b" },
		"topic  ":   func(p *mqtt.Pass) { p.Topic = "gantry/+/set/#" },
		"topic   ":  func(p *mqtt.Pass) { p.Topic = "gantry/gw/later/lamp/+" },
		"prefix":    func(p *mqtt.Pass) { p.Prefix = "house" },
		"prefix ":   func(p *mqtt.Pass) { p.Prefix = "gantry.x." },
		"prefix  ":  func(p *mqtt.Pass) { p.Prefix = "." },
		"direction": func(p *mqtt.Pass) { p.Direction = "" },
		"retain":    func(p *mqtt.Pass) { p.Retain = "yes" },
		"qos":       func(p *mqtt.Pass) { p.QoS = ptr[uint8](3) },
	} {
		p := mqtt.Pass{Topic: "b/#", Direction: "in"}
		edit(&p)
		err := mqtt.Config{URL: "tcp://host", Pass: []mqtt.Pass{{Topic: "a/+", Direction: "both"}, p}}.Validate()
		var bad *bridge.ConfigError
		if want := "pass[1]." + strings.TrimSpace(key); !errors.As(err, &bad) || bad.Key != want || bad.Allowed == "" {
			t.Errorf("%s: %v", want, err)
		}
	}
}

// TestCommandsDoNotPass: neither those that the broker has kept, where the rule says so,
// nor the names of procedures, in either direction.
func TestCommandsDoNotPass(t *testing.T) {
	t.Parallel()
	b := mosquitto.NewBroker(t)
	w := newWorld(t, mqtt.Config{URL: "tcp://" + b.Addr, Persistent: true, Pass: []mqtt.Pass{
		{Topic: "cmnd/#", Direction: "in", IgnoreQueued: true, IgnoreRetained: true},
		{Topic: "gantry/#", Direction: "both", Prefix: "far."},
		{Topic: "tele/#", Direction: "in"},
	}})
	lines := w.watch("cmnd.")
	others := w.watch("tele.")
	far := w.watch("far.")
	w.await(bridge.Online)
	sub := mosquitto.Subscribe(t, b.Addr, "-t", "gantry/#", "-q", "1")
	for _, topic := range []wamp.URI{"far.gantry.x.set.lamp.state", "far.gantry.x.point.lamp.state"} {
		if err := w.sess.Publish(t.Context(), topic, wamp.PublishOptions{Acknowledge: true}, wamp.Args("1")); err != nil {
			t.Fatal(err)
		}
	}
	sub.Expect("gantry/x/point/lamp/state 0 1 1")
	expect(t, far, `far.gantry.x.set.lamp.state false - "1"`, `far.gantry.x.point.lamp.state false - "1"`)
	pub(t, b, "gantry/y/do/lamp/blink", "2")
	pub(t, b, "gantry/y/point/lamp/state", "3")
	expect(t, far, `far.gantry.y.point.lamp.state false - "3"`)
	w.stop()
	pub(t, b, "cmnd/lamp/POWER", "ON")
	pub(t, b, "tele/lamp/STATE", "ON")
	w.run()
	expect(t, others, `tele.lamp.STATE false - "ON"`)
	w.stop()
	select {
	case line := <-lines:
		t.Error(line)
	default:
	}
	if s := w.client.Stats(); s.NotPassed != 3 {
		t.Errorf("%+v", s)
	}
}

// TestPublishRules has events become messages by rules: those from before the connection, and
// as they come, but none whose topic is the name of a procedure.
func TestPublishRules(t *testing.T) {
	t.Parallel()
	b := mosquitto.NewBroker(t)
	sub := mosquitto.Subscribe(t, b.Addr, "-t", "#", "-q", "2")
	w := newWorldWith(t, mqtt.Config{URL: "tcp://" + b.Addr, Publish: []bridge.PublishConfig{
		{Event: "point.{dev}.{point}", Topic: "site/{dev}/{point}", Payload: ptr(`{"v":{value:json},"u":{unit:json}}`), Scale: ptr(0.5), QoS: ptr[uint8](2), Retain: true},
		{Event: "evil.{x}", Topic: "gantry/gw/set/{x}/on"},
	}}, func(d *mqtt.Deps) {
		if err := d.Session.Publish(t.Context(), "gantry.gw.point.tank.level", wamp.PublishOptions{Acknowledge: true, Retain: true},
			wamp.Values(wamp.List{int64(3)}, wamp.Dict{"unit": "m"})); err != nil {
			t.Fatal(err)
		}
	})
	w.await(bridge.Online)
	sub.Expect(`site/tank/level 0 2 {"v":1.5,"u":"m"}`)
	w.publish("evil.lamp", wamp.PublishOptions{}, true)
	w.publish("gantry.gw.point.tank.name", wamp.PublishOptions{}, "no number")
	w.publish("gantry.gw.point.tank.level", wamp.PublishOptions{}, nil)
	sub.Expect(`site/tank/level 0 2 {"v":null,"u":null}`)
	mosquitto.Subscribe(t, b.Addr, "-t", "site/#", "-q", "1").Expect(`site/tank/level 1 1 {"v":null,"u":null}`)
	if st := w.client.Stats(); st.NotPassed != 2 {
		t.Errorf("%d did not pass", st.NotPassed)
	}
}

// TestPublishRulesTakeOwnEvents has the same broker's messages become readings and those
// messages again, as they come, and neither by way of a rule pass.
func TestPublishRulesTakeOwnEvents(t *testing.T) {
	t.Parallel()
	b := mosquitto.NewBroker(t)
	sub := mosquitto.Subscribe(t, b.Addr, "-t", "site/#", "-t", "gantry/gw/point/#")
	w := newWorldWith(t, mqtt.Config{
		URL:         "tcp://" + b.Addr,
		Pass:        []mqtt.Pass{{Topic: "gantry/gw/point/#", Direction: "out"}, {Topic: "raw/#", Direction: "in"}},
		Publish:     []bridge.PublishConfig{{Event: "point.{dev}.{point}", Topic: "site/{dev}/{point}"}, {Event: "raw.{x}", Topic: "site/raw/{x}"}},
		RulesConfig: bridge.RulesConfig{Map: []bridge.MapConfig{{Topic: "in/{dev}", Device: "{dev}", Point: "p"}}},
	}, func(d *mqtt.Deps) { d.Others = []string{"broker_house"} })
	w.await(bridge.Online)
	w.publish("gantry.gw.point.first.p", wamp.PublishOptions{Retain: true}, 0)
	for range 2 { // both rules are in force
		select {
		case <-sub.Lines():
		case <-time.After(patience):
			t.Fatal("the first event does not go out")
		}
	}
	for i := range 3 {
		pub(t, b, "in/tank", fmt.Sprint(i))
		pub(t, b, "raw/x", fmt.Sprint(i))
		sub.Expect(fmt.Sprintf("site/tank/p 0 0 %d", i))
	}
}

// TestPublishRulesOfOneEvent has each of several rules for the same events publish a last
// value once.
func TestPublishRulesOfOneEvent(t *testing.T) {
	t.Parallel()
	b := mosquitto.NewBroker(t)
	sub := mosquitto.Subscribe(t, b.Addr, "-t", "site/#")
	cfg := mqtt.Config{URL: "tcp://" + b.Addr}
	for i := range 3 {
		cfg.Publish = append(cfg.Publish, bridge.PublishConfig{Event: "point.{dev}.{point}", Topic: fmt.Sprintf("site/%d/{dev}", i)})
	}
	w := newWorldWith(t, cfg, func(d *mqtt.Deps) {
		if err := d.Session.Publish(t.Context(), "gantry.gw.point.tank.level", wamp.PublishOptions{Acknowledge: true, Retain: true}, wamp.Args(3)); err != nil {
			t.Fatal(err)
		}
	})
	w.await(bridge.Online)
	sub.Expect("site/0/tank 0 0 3", "site/1/tank 0 0 3", "site/2/tank 0 0 3")
	w.publish("gantry.gw.point.end.level", wamp.PublishOptions{}, 4)
	sub.Expect("site/0/end 0 0 4", "site/1/end 0 0 4", "site/2/end 0 0 4")
}

// plusOne is a guest that takes each message on zz/x for a reading, as a shape does where a
// discovery message names that topic.
type plusOne struct{ sess wamp.Session }

func (plusOne) Filters() []string        { return []string{"zz/x"} }
func (plusOne) Connected(bridge.Carrier) {}
func (plusOne) Lost(string)              {}
func (g plusOne) Receive(m bridge.Message) {
	n, err := strconv.ParseFloat(string(m.Payload), 64)
	if err == nil && m.Topic == "zz/x" {
		_ = g.sess.Publish(context.Background(), "gantry.gw.point.dev.p", wamp.PublishOptions{}, wamp.Args(n))
	}
}

// TestPublishRulesDoNotFeedGuests has the broker send back what a rule publishes.
func TestPublishRulesDoNotFeedGuests(t *testing.T) {
	t.Parallel()
	b := mosquitto.NewBroker(t)
	sub := mosquitto.Subscribe(t, b.Addr, "-t", "zz/#")
	guest := &plusOne{}
	w := newWorldWith(t, mqtt.Config{URL: "tcp://" + b.Addr, Publish: []bridge.PublishConfig{{Event: "point.dev.p", Topic: "zz/x", Offset: 1, Retain: true}, {Event: "on", Topic: "zz/on"}}},
		func(d *mqtt.Deps) { guest.sess, d.Guests = d.Session, []bridge.Guest{guest} })
	w.await(bridge.Online)
	w.publish("on", wamp.PublishOptions{Retain: true}, true)
	sub.Expect("zz/on 0 0 true") // the rules are in force
	for _, n := range []int{1, 100, 1} {
		pub(t, b, "zz/x", fmt.Sprint(n))
		sub.Expect(fmt.Sprintf("zz/x 0 0 %d", n), fmt.Sprintf("zz/x 0 0 %d.0", n+1))
	}
	if s := w.client.Stats(); s.Echoed < 2 { // the last may still be on its way
		t.Errorf("%+v", s)
	}
}

func TestPublishRulesDoNotFeedOthers(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]mqtt.Config{
		"map":  {RulesConfig: bridge.RulesConfig{Map: []bridge.MapConfig{{Topic: "site/{x}/#", Device: "{x}", Point: "p"}}}},
		"call": {RulesConfig: bridge.RulesConfig{Call: []bridge.CallConfig{{Topic: "site/a/+", Procedure: "set.a.b"}}}},
		"answers": {RulesConfig: bridge.RulesConfig{Command: []bridge.CommandConfig{
			{Procedure: "do.a.b", Topic: "x", Response: &bridge.ResponseConfig{Topic: "site/+/done"}}}}},
		"pass": {Pass: []mqtt.Pass{{Topic: "#", Direction: "in"}}},
		"zigbee2mqtt": {ShapesConfig: bridge.ShapesConfig{Shapes: []string{"zigbee2mqtt"}, Zigbee2MQTT: bridge.Zigbee2MQTTConfig{BaseTopic: "site/z"}},
			Publish: []bridge.PublishConfig{{Event: "point.{dev}.{point}", Topic: "site/z/{dev}/set"}}},
	} {
		c.URL = "tcp://broker.example"
		if err := c.Validate(); err != nil {
			t.Fatal(name, err)
		}
		c.Publish = []bridge.PublishConfig{{Event: "point.{dev}.{point}", Topic: "site/{dev}/{point}"}}
		var bad *bridge.ConfigError
		if err := c.Validate(); !errors.As(err, &bad) || bad.Key != "publish[0].topic" {
			t.Errorf("%s: %v", name, err)
		}
	}
}
