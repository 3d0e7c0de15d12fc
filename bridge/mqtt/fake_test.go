package mqtt_test

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/eclipse/paho.mqtt.golang/packets"

	"gantry/bridge"
	"gantry/bridge/mqtt"
	"gantry/wamp"
)

// TestCommandIsNotSentAgain loses the connection between PUBLISH and PUBACK, and
// the broker claims to remember the session afterwards.
func TestCommandIsNotSentAgain(t *testing.T) {
	t.Parallel()
	f := newFake(t)
	w := newWorld(t, mqtt.Config{URL: f.url(), Persistent: true, RulesConfig: rules()})
	sub := f.accept(false)
	f.granted(sub)
	w.await(bridge.Online)
	errs := make(chan error, 1)
	go func() {
		_, err := w.sess.Call(t.Context(), "gantry.gw.set.lamp.state", wamp.CallOptions{}, wamp.Args(true))
		errs <- err
	}()
	if p, ok := f.next().(*packets.PublishPacket); !ok || string(p.Payload) != "ON" {
		t.Fatalf("got %v", p)
	}
	f.cut()
	if err := <-errs; !wamp.IsError(err, wamp.ErrURIOffline) {
		t.Errorf("call: %v", err)
	}
	again := f.accept(true)
	if slices.Sort(sub.Topics); !slices.Equal(again.Topics, sub.Topics) {
		t.Errorf("subscribed to %q, and then to %q", sub.Topics, again.Topics)
	}
	f.granted(again)
	w.await(bridge.Online)
	go func() {
		_, err := w.sess.Call(t.Context(), "gantry.gw.set.lamp.state", wamp.CallOptions{}, wamp.Args(false))
		errs <- err
	}()
	p, ok := f.next().(*packets.PublishPacket)
	if !ok || string(p.Payload) != "OFF" || p.Dup {
		t.Fatalf("got %v", p)
	}
	ack := packets.NewControlPacket(packets.Puback).(*packets.PubackPacket)
	ack.MessageID = p.MessageID
	f.send(ack)
	if err := <-errs; err != nil {
		t.Error(err)
	}
}

func TestCallerDoesNotWaitForEver(t *testing.T) {
	t.Parallel()
	f := newFake(t)
	w := newWorld(t, mqtt.Config{URL: f.url(), RulesConfig: rules()})
	f.granted(f.accept(false))
	w.await(bridge.Online)
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if _, err := w.sess.Call(ctx, "gantry.gw.set.lamp.state", wamp.CallOptions{}, wamp.Args(true)); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("call: %v", err)
	}
	_, err := w.sess.Call(t.Context(), "gantry.gw.set.lamp.state", wamp.CallOptions{Timeout: 100}, wamp.Args(true))
	if !wamp.IsError(err, wamp.ErrURIDevTimeout) && !wamp.IsError(err, wamp.ErrURITimeout) && !wamp.IsError(err, wamp.ErrURICanceled) {
		t.Errorf("call: %v", err)
	}
}

func TestRefusedSubscription(t *testing.T) {
	t.Parallel()
	f := newFake(t)
	w := newWorld(t, mqtt.Config{URL: f.url(), RulesConfig: rules()})
	sub := f.accept(false)
	if !slices.Equal(sub.Topics, []string{"sensors/#"}) {
		t.Errorf("overlapping filters %q", sub.Topics)
	}
	sub.Qoss[0] = 0x80
	f.granted(sub)
	if ev := w.await(bridge.Degraded); ev.kwargs["reason"] != "subscription refused: sensors/#" {
		t.Errorf("%+v", ev)
	}
}

// TestBadBrokers sends what no broker should. Each connection ends, and the next
// one is served.
func TestBadBrokers(t *testing.T) {
	t.Parallel()
	f := newFake(t)
	w := newWorld(t, mqtt.Config{URL: f.url(), MaxPacket: 1024, RulesConfig: rules()})
	suback := func(codes ...byte) func(*packets.SubscribePacket) {
		return func(sub *packets.SubscribePacket) {
			ack := packets.NewControlPacket(packets.Suback).(*packets.SubackPacket)
			ack.MessageID, ack.ReturnCodes = sub.MessageID, codes
			f.send(ack)
		}
	}
	raw := func(b string) func(*packets.SubscribePacket) {
		return func(sub *packets.SubscribePacket) {
			f.granted(sub)
			f.raw([]byte(b))
		}
	}
	for _, c := range []struct {
		name string
		do   func(*packets.SubscribePacket)
	}{
		{"more return codes than filters", suback(0, 0, 0)},
		{"fewer return codes than filters", suback()},
		{"256 MiB announced", raw("\x30\xff\xff\xff\x7f")},
		{"a length of five bytes", raw("\x30\xff\xff\xff\xff\x7f")},
		{"a topic with wildcards", raw("\x30\x05\x00\x03a/#")},
		{"a topic beyond the end", raw("\x30\x03\x00\x09a")},
		{"quality of service 3", raw("\x36\x06\x00\x01a\x00\x01x")},
		{"packet type 0", raw("\x00\x00")},
		{"a broker that subscribes", raw("\x82\x06\x00\x01\x00\x01a\x00")},
		{"half a packet, and the end", func(sub *packets.SubscribePacket) {
			f.granted(sub)
			f.raw([]byte("\x30\x10\x00\x01a"))
			_ = f.conn.(*net.TCPConn).CloseWrite()
		}},
	} {
		c.do(f.accept(false))
		f.ended(c.name)
	}
	f.granted(f.accept(false))
	w.await(bridge.Online)
	f.raw([]byte("\x30\x0b\x00\x09sensors/a"))
	for ev := w.next(); ev.topic != "gantry.gw.point.any.raw"; ev = w.next() {
	}
}

func TestRefusedConnection(t *testing.T) {
	t.Parallel()
	f := newFake(t)
	w := newWorld(t, mqtt.Config{URL: f.url(), User: "gantry", Password: secret("wrong")})
	var err error
	if f.conn, err = f.ln.Accept(); err != nil {
		t.Fatal(err)
	}
	p, ok := f.read().(*packets.ConnectPacket)
	if !ok || p.Username != "gantry" || string(p.Password) != "wrong" || p.ClientIdentifier != "gantry_gw" || !p.CleanSession || p.Keepalive != 8 {
		t.Errorf("%v", p)
	}
	ack := packets.NewControlPacket(packets.Connack).(*packets.ConnackPacket)
	ack.ReturnCode = packets.ErrRefusedBadUsernameOrPassword
	f.send(ack)
	for ev := w.await(bridge.Offline); !contains(ev.kwargs["reason"], "ser name"); ev = w.await(bridge.Offline) {
	}
}

func TestUnreadableSecret(t *testing.T) {
	t.Parallel()
	w := newWorld(t, mqtt.Config{URL: "tcp://127.0.0.1:1", User: "gantry", Password: secret("")})
	for ev := w.await(bridge.Offline); ev.kwargs["reason"] != "no such secret"; ev = w.await(bridge.Offline) {
	}
}

// TestStopWhileConnecting ends the client while a broker that accepts and says
// nothing holds it up.
func TestStopWhileConnecting(t *testing.T) {
	t.Parallel()
	for _, scheme := range []string{"tcp", "ssl", "ws"} {
		t.Run(scheme, func(t *testing.T) {
			t.Parallel()
			// The handshake of WebSocket takes 4 s of the 5, and a busy machine may take the rest.
			var took time.Duration
			for range 3 {
				if took = stopWhileConnecting(t, scheme); took <= 5*time.Second {
					return
				}
			}
			t.Errorf("the end took %v", took)
		})
	}
}

// stopWhileConnecting returns how long the end of a client takes.
func stopWhileConnecting(t *testing.T, scheme string) time.Duration {
	t.Helper()
	f := newFake(t)
	w := newWorld(t, mqtt.Config{URL: scheme + "://" + f.ln.Addr().String()})
	var err error
	if f.conn, err = f.ln.Accept(); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	w.stop()
	return time.Since(began)
}

// stuck is a session of a realm that takes nothing.
type stuck struct {
	wamp.Session
	asked chan struct{} // capacity 1: a reading is to be published
}

func (s *stuck) Publish(ctx context.Context, topic wamp.URI, _ wamp.PublishOptions, _ wamp.Payload) error {
	if topic == "gantry.gw.point.any.raw" {
		select {
		case s.asked <- struct{}{}:
		default:
		}
		<-ctx.Done()
	}
	return ctx.Err()
}

// TestRealmTakesNothing ends the connection, and then the client, while a reading
// cannot be handed over. Nobody reads from the broker then, so that its end is
// noticed by the ping. What the realm did not take is not acknowledged.
func TestRealmTakesNothing(t *testing.T) {
	t.Parallel()
	f := newFake(t)
	w := newWorld(t, mqtt.Config{URL: "tcp://127.0.0.1:1"})
	w.stop()
	s := &stuck{w.sess, make(chan struct{}, 1)}
	var err error
	w.client, err = mqtt.New("house", mqtt.Config{URL: f.url(), KeepAlive: 2 * time.Second, RulesConfig: rules()}, mqtt.Deps{Origin: origin(t), Session: s}, nil)
	if err != nil {
		t.Fatal(err)
	}
	w.client.RetryFast()
	w.run()
	for range 2 {
		f.granted(f.accept(false))
		for range 50 {
			f.raw([]byte("\x32\x0d\x00\x09sensors/a\x00\x01"))
		}
		select {
		case <-s.asked:
		case <-time.After(patience):
			t.Fatal("nothing was published")
		}
		f.cut()
	}
	f.granted(f.accept(false))
	f.raw([]byte("\x32\x0d\x00\x09sensors/a\x00\x01"))
	<-s.asked
	w.stop()
	if _, ok := f.next().(*packets.DisconnectPacket); !ok {
		t.Error("acknowledged, or no DISCONNECT")
	}
}

func TestConfig(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "empty.pem")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		cfg mqtt.Config
		key string // of the first error
	}{
		{mqtt.Config{URL: "tcp://host"}, ""},
		{mqtt.Config{URL: "unix:///run/broker"}, ""},
		{mqtt.Config{URL: "wss://host/mqtt"}, ""},
		{mqtt.Config{}, "url"},
		{mqtt.Config{URL: "host:1883"}, "url"},
		{mqtt.Config{URL: "http://host"}, "url"},
		{mqtt.Config{URL: "tcp://"}, "url"},
		{mqtt.Config{URL: "tcp://host/path"}, "url"},
		{mqtt.Config{URL: "tcp://u:p@host"}, "url"},
		{mqtt.Config{URL: "unix://run/broker"}, "url"},
		{mqtt.Config{URL: "tcp://host", ClientID: "a\x00"}, "client_id"},
		{mqtt.Config{URL: "tcp://host", Password: secret("x")}, "password"},
		{mqtt.Config{URL: "tcp://host", KeepAlive: time.Millisecond}, "keep_alive"},
		{mqtt.Config{URL: "tcp://host", KeepAlive: -time.Second}, "keep_alive"},
		{mqtt.Config{URL: "tcp://host", MaxPacket: 1}, "max_packet"},
		{mqtt.Config{URL: "tcp://host", TLS: mqtt.TLS{CA: file}}, "tls"},
		{mqtt.Config{URL: "ssl://host", TLS: mqtt.TLS{CA: file}}, "tls.ca"},
		{mqtt.Config{URL: "ssl://host", TLS: mqtt.TLS{CA: "ca.pem"}}, "tls.ca"},
		{mqtt.Config{URL: "ssl://host", TLS: mqtt.TLS{CA: file + "x"}}, "tls.ca"},
		{mqtt.Config{URL: "ssl://host", TLS: mqtt.TLS{Cert: file}}, "tls.key"},
		{mqtt.Config{URL: "ssl://host", TLS: mqtt.TLS{Key: file}}, "tls.cert"},
		{mqtt.Config{URL: "ssl://host", TLS: mqtt.TLS{Cert: file, Key: file}}, "tls.cert"},
		{mqtt.Config{URL: "tcp://host", RulesConfig: bridge.RulesConfig{Map: []bridge.MapConfig{{}}}}, "map[0].topic"},
	} {
		err := c.cfg.Validate()
		var bad *bridge.ConfigError
		if c.key == "" && err != nil || c.key != "" && (!errors.As(err, &bad) || bad.Key != c.key || bad.Allowed == "") {
			t.Errorf("%+v: %v, want an error about %q", c.cfg, err, c.key)
		}
	}
	if _, err := mqtt.New("a b", mqtt.Config{URL: "tcp://host"}, mqtt.Deps{Origin: origin(t), Session: &stuck{}}, nil); err == nil {
		t.Error("a name with a blank was accepted")
	}
}
