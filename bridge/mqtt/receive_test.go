package mqtt_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/eclipse/paho.mqtt.golang/packets"

	"gantry/bridge"
	"gantry/bridge/mqtt"
	"gantry/internal/mosquitto"
	"gantry/store"
	"gantry/wamp"
)

// message sends a PUBLISH.
func (f *fake) message(topic, payload string, qos byte, id uint16, dup bool) {
	f.t.Helper()
	p := packets.NewControlPacket(packets.Publish).(*packets.PublishPacket)
	p.TopicName, p.Payload, p.Qos, p.MessageID, p.Dup = topic, []byte(payload), qos, id, dup
	f.send(p)
}

// next returns the next packet that is no ping, which it answers.
func (f *fake) next() packets.ControlPacket {
	f.t.Helper()
	for {
		p := f.read()
		if _, ok := p.(*packets.PingreqPacket); !ok {
			return p
		}
		f.send(packets.NewControlPacket(packets.Pingresp))
	}
}

// puback expects acknowledgements in this order.
func (f *fake) puback(ids ...uint16) {
	f.t.Helper()
	for _, id := range ids {
		if p, ok := f.next().(*packets.PubackPacket); !ok || p.MessageID != id {
			f.t.Fatalf("got %v, want PUBACK %d", p, id)
		}
	}
}

func TestAcknowledgedWhenSettled(t *testing.T) {
	t.Parallel()
	f := newFake(t)
	var asked atomic.Int32
	settled := make(chan error)
	w := newWorldWith(t, mqtt.Config{URL: f.url(), RulesConfig: rules()}, func(d *mqtt.Deps) {
		d.Settle = func(ctx context.Context) error {
			asked.Add(1)
			select {
			case err := <-settled:
				return err
			case <-ctx.Done():
				return ctx.Err()
			}
		}
	})
	f.granted(f.accept(false))
	for id := range uint16(5) {
		f.message("sensors/a/x", `{"t":1}`, 1, id+1, false)
	}
	for range 5 {
		w.readings("a", int64(1), "good", nil)
	}
	if p := f.quiet(100 * time.Millisecond); p != nil {
		t.Fatalf("%v before anything was settled", p)
	}
	settled <- errors.New("the disk is full")
	settled <- nil
	f.puback(1)
	if asked.Load() < 2 {
		t.Error("not asked again")
	}
	settled <- nil // all that had come meanwhile
	f.puback(2, 3, 4, 5)
	w.stop()
}

func TestExactlyOnce(t *testing.T) {
	t.Parallel()
	f := newFake(t)
	w := newWorld(t, mqtt.Config{URL: f.url(), Persistent: true, RulesConfig: rules()})
	f.granted(f.accept(false))
	received := func(id uint16) {
		t.Helper()
		if p, ok := f.next().(*packets.PubrecPacket); !ok || p.MessageID != id {
			t.Fatalf("got %v, want PUBREC %d", p, id)
		}
	}
	release := func(id uint16) {
		t.Helper()
		rel := packets.NewControlPacket(packets.Pubrel).(*packets.PubrelPacket)
		rel.MessageID = id
		f.send(rel)
		if p, ok := f.next().(*packets.PubcompPacket); !ok || p.MessageID != id {
			t.Fatalf("got %v, want PUBCOMP %d", p, id)
		}
	}
	f.message("sensors/a/x", `{"t":1}`, 2, 7, false)
	received(7)
	w.readings("a", int64(1), "good", nil)
	// The broker has not seen the PUBREC.
	f.cut()
	f.granted(f.accept(true))
	f.message("sensors/a/x", `{"t":1}`, 2, 7, true)
	received(7)
	release(7)
	// The identifier is free.
	f.message("sensors/a/x", `{"t":2}`, 2, 7, false)
	received(7)
	w.readings("a", int64(2), "good", nil)
	// A broker that has lost its session means another message by it.
	f.cut()
	f.granted(f.accept(false))
	f.message("sensors/a/x", `{"t":3}`, 2, 7, false)
	received(7)
	w.readings("a", int64(3), "good", nil)
	if s := w.client.Stats(); s.Repeated != 1 || s.Received != 4 {
		t.Errorf("%+v", s)
	}
}

func TestStatus(t *testing.T) {
	t.Parallel()
	b := mosquitto.NewBroker(t)
	sub := mosquitto.Subscribe(t, b.Addr, "-t", "gantry/+/status", "-q", "1")
	w := newWorld(t, mqtt.Config{URL: "tcp://" + b.Addr, Status: "gantry/gw/status", RulesConfig: rules()})
	sub.Expect("gantry/gw/status 0 1 online")
	w.stop()
	sub.Expect("gantry/gw/status 0 1 offline")
	mosquitto.Subscribe(t, b.Addr, "-t", "gantry/+/status").Expect("gantry/gw/status 1 0 offline")
}

// TestWill loses the connection without a farewell.
func TestWill(t *testing.T) {
	t.Parallel()
	f := newFake(t)
	_ = newWorld(t, mqtt.Config{URL: f.url(), Status: "st", RulesConfig: rules()})
	_ = f.ln.(interface{ SetDeadline(time.Time) error }).SetDeadline(time.Now().Add(patience))
	var err error
	if f.conn, err = f.ln.Accept(); err != nil {
		t.Fatal(err)
	}
	if p, ok := f.read().(*packets.ConnectPacket); !ok || !p.WillFlag || p.WillTopic != "st" || string(p.WillMessage) != "offline" || p.WillQos != 1 || !p.WillRetain {
		t.Errorf("%v", p)
	}
}

// TestDeafBroker answers pings and delivers nothing any more.
func TestDeafBroker(t *testing.T) {
	t.Parallel()
	f := newFake(t)
	w := newWorld(t, mqtt.Config{URL: f.url(), KeepAlive: 4 * time.Second, Probe: time.Second, RulesConfig: rules()})
	f.granted(f.accept(false))
	w.await(bridge.Online)
	probe := func() *packets.PublishPacket {
		t.Helper()
		p, ok := f.next().(*packets.PublishPacket)
		if !ok || p.TopicName != "gantry/probe/gantry_gw" || p.Retain {
			t.Fatalf("got %v, want a probe", p)
		}
		return p
	}
	sub, ok := f.next().(*packets.SubscribePacket)
	if !ok || sub.Topics[0] != "gantry/probe/gantry_gw" {
		t.Fatalf("got %v", sub)
	}
	f.granted(sub)
	p := probe()
	f.message(p.TopicName, string(p.Payload), 0, 0, false)
	probe() // not returned
	go f.pongs()
	if ev := w.await(bridge.Offline); !contains(ev.kwargs["reason"], "does not deliver") {
		t.Errorf("%+v", ev)
	}
	f.granted(f.accept(false))
	w.await(bridge.Online)
}

// TestNoProbeReturned is a broker that forbids the probe and does not tell.
func TestNoProbeReturned(t *testing.T) {
	t.Parallel()
	f := newFake(t)
	w := newWorld(t, mqtt.Config{URL: f.url(), KeepAlive: 4 * time.Second, Probe: time.Second, RulesConfig: rules()})
	for range 2 { // that many connections are spent on finding out
		f.granted(f.accept(false))
		w.await(bridge.Online)
		f.granted(f.next().(*packets.SubscribePacket))
		f.next()
		go f.pongs()
		w.await(bridge.Offline)
	}
	f.granted(f.accept(false))
	w.await(bridge.Online)
	if p := f.quiet(4 * time.Second); p != nil {
		t.Errorf("%v, although probes do not come back", p)
	}
}

func TestInFlight(t *testing.T) {
	t.Parallel()
	f := newFake(t)
	w := newWorld(t, mqtt.Config{URL: f.url(), InFlight: 1, RulesConfig: rules()})
	f.granted(f.accept(false))
	w.await(bridge.Online)
	errs := make(chan error, 2)
	for range 2 {
		go func() {
			_, err := w.call("gantry.gw.set.lamp.state", wamp.CallOptions{}, true)
			errs <- err
		}()
	}
	first, ok := f.next().(*packets.PublishPacket)
	if !ok {
		t.Fatal("no PUBLISH")
	}
	if p := f.quiet(200 * time.Millisecond); p != nil {
		t.Fatalf("%v while one is in flight", p)
	}
	for _, p := range []*packets.PublishPacket{first, nil} {
		if p == nil {
			p = f.next().(*packets.PublishPacket)
		}
		ack := packets.NewControlPacket(packets.Puback).(*packets.PubackPacket)
		ack.MessageID = p.MessageID
		f.send(ack)
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
}

// picky is a session of a realm that refuses some readings for good.
type picky struct {
	wamp.Session
	tries atomic.Int32
}

func (s *picky) Publish(ctx context.Context, topic wamp.URI, opts wamp.PublishOptions, p wamp.Payload) error {
	if topic == "gantry.gw.point.poison.temperature" {
		s.tries.Add(1)
		return wamp.NewError(wamp.ErrURINotAuthorized, "no", nil)
	}
	return s.Session.Publish(ctx, topic, opts, p)
}

// outbox returns a real queue of at most so many bytes.
func outbox(t testing.TB, max int64) *store.Outbox {
	t.Helper()
	s, err := store.Open(store.Config{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	o, err := s.Outbox("parked", store.OutboxConfig{MaxBytes: max})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := errors.Join(<-done, s.Close()); err != nil {
			t.Error(err)
		}
	})
	return o
}

func TestPoisonIsParked(t *testing.T) {
	t.Parallel()
	f := newFake(t)
	s := &picky{}
	w := newWorldWith(t, mqtt.Config{URL: f.url(), RulesConfig: rules()}, func(d *mqtt.Deps) {
		s.Session = d.Session
		d.Session, d.Parked = s, outbox(t, 1<<20)
	})
	f.granted(f.accept(false))
	f.message("sensors/poison/x", `{"t":1}`, 1, 1, false)
	f.message("sensors/a/x", `{"t":2}`, 1, 2, false)
	f.puback(1, 2)
	if n := s.tries.Load(); n != 5 {
		t.Errorf("%d tries", n)
	}
	if err := mqtt.ServeParked(t.Context(), w.join(), "gw", []*mqtt.Client{w.client}); err != nil {
		t.Fatal(err)
	}
	list := func() wamp.List {
		t.Helper()
		p, err := w.sess.Call(t.Context(), "gantry.gw.sys.mqtt.parked", wamp.CallOptions{}, wamp.Payload{})
		if err != nil {
			t.Fatal(err)
		}
		args, _ := p.GoValues()
		return args[0].(wamp.List)
	}
	l := list()
	if len(l) != 1 {
		t.Fatalf("%v", l)
	}
	m := l[0].(wamp.Dict)
	if m["broker"] != "house" || m["topic"] != "sensors/poison/x" || string(m["payload"].([]byte)) != `{"t":1}` || !contains(m["reason"], "not_authorized") {
		t.Errorf("%v", m)
	}
	if _, err := w.sess.Call(t.Context(), "gantry.gw.sys.mqtt.drop", wamp.CallOptions{}, wamp.Values(nil, wamp.Dict{"broker": "house", "up_to": m["seq"]})); err != nil {
		t.Fatal(err)
	}
	if l := list(); len(l) != 0 {
		t.Errorf("%v is still there", l)
	}
	if _, err := w.sess.Call(t.Context(), "gantry.gw.sys.mqtt.drop", wamp.CallOptions{}, wamp.Values(nil, wamp.Dict{"broker": "x", "up_to": m["seq"]})); !wamp.IsError(err, wamp.ErrURIInvalidArgument) {
		t.Error(err)
	}
	if s := w.client.Stats(); s.Parked != 1 {
		t.Errorf("%+v", s)
	}
}
