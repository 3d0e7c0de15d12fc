package mqtt_test

import (
	"bytes"
	"context"
	"errors"
	"net"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/eclipse/paho.mqtt.golang/packets"
	"go.uber.org/goleak"

	"gantry/bridge"
	"gantry/bridge/mqtt"
	"gantry/wamp"
	"gantry/wamp/client"
	"gantry/wamp/router"
	"gantry/wamp/serialize"
	"gantry/wamp/transport"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience is how long a test waits for what has to come.
const patience = time.Minute

// world is a router with a realm and a client of a broker.
type world struct {
	t      testing.TB
	router *router.Router
	ctx    context.Context
	tasks  sync.WaitGroup

	client *mqtt.Client
	sess   *client.Session // the test's own
	events chan event      // of the gateway; capacity for all of a test
	deaf   chan struct{}   // closed by a test that wants no more events: there will be too many
	stop   func()          // ends the client and waits for it
}

// event is what the test sees of one.
type event struct {
	topic  wamp.URI
	value  any
	kwargs wamp.Dict
}

func newWorld(t testing.TB, cfg mqtt.Config) *world {
	t.Helper()
	return newWorldWith(t, cfg, func(*mqtt.Deps) {})
}

// newWorldWith is newWorld with other dependencies of the client.
func newWorldWith(t testing.TB, cfg mqtt.Config, edit func(*mqtt.Deps)) *world {
	t.Helper()
	r, err := router.New(router.Config{Realms: []router.RealmConfig{{Name: "gantry"}}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	w := &world{t: t, router: r, events: make(chan event, 1000), deaf: make(chan struct{})}
	ctx, cancel := context.WithCancel(context.Background())
	w.ctx = ctx
	w.tasks.Go(func() {
		if err := r.Run(ctx); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(func() { cancel(); w.tasks.Wait() })
	w.sess = w.join()
	_, err = w.sess.Subscribe(t.Context(), "gantry.gw.", wamp.SubscribeOptions{Match: wamp.MatchPrefix}, func(ev *wamp.Event) {
		args, kwargs, err := serialize.Values(ev.Payload)
		if err != nil || len(args) != 1 {
			t.Errorf("%s: %v, %v", ev.Details.Topic, args, err)
			return
		}
		select {
		case w.events <- event{ev.Details.Topic, args[0], kwargs}:
		case <-w.deaf:
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	deps := mqtt.Deps{Origin: origin(t), Session: w.joinAs("broker_house"), Events: w.joinAs("broker_house")}
	edit(&deps)
	w.client, err = mqtt.New("house", cfg, deps, nil)
	if err != nil {
		t.Fatal(err)
	}
	w.client.RetryFast()
	w.run()
	return w
}

// another runs a second client in the realm until the end of the test, and waits
// until it is connected.
func (w *world) another(cfg mqtt.Config, edit func(*mqtt.Deps)) {
	w.t.Helper()
	deps := mqtt.Deps{Origin: origin(w.t), Session: w.joinAs("broker_house"), Events: w.joinAs("broker_house")}
	edit(&deps)
	c, err := mqtt.New("barn", cfg, deps, nil)
	if err != nil {
		w.t.Fatal(err)
	}
	c.RetryFast()
	ctx, cancel := context.WithCancel(w.ctx)
	w.tasks.Go(func() {
		if err := c.Run(ctx); err != nil {
			w.t.Error(err)
		}
	})
	w.t.Cleanup(cancel)
	for deadline := time.Now().Add(patience); c.Stats().Link.State != bridge.Online; {
		if time.Now().After(deadline) {
			w.t.Fatalf("%+v", c.Stats())
		}
		runtime.Gosched()
	}
}

func origin(t testing.TB) *bridge.Origin {
	t.Helper()
	o, err := bridge.NewOrigin(bridge.OriginConfig{Gateway: "gw", Epoch: 7})
	if err != nil {
		t.Fatal(err)
	}
	return o
}

// run starts the client.
func (w *world) run() {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- w.client.Run(ctx) }()
	w.stop = sync.OnceFunc(func() {
		w.t.Helper()
		cancel()
		select {
		case err := <-done:
			if err != nil {
				w.t.Error(err)
			}
		case <-time.After(patience):
			w.t.Fatal("the client does not end")
		}
	})
	w.t.Cleanup(w.stop)
}

func (w *world) join() *client.Session { return w.joinAs("") }

// joinAs is join with an authid.
func (w *world) joinAs(authid string) *client.Session {
	w.t.Helper()
	c, p := transport.Pipe(transport.PipeConfig{})
	w.tasks.Go(func() { w.router.Accept(w.ctx, p) })
	s, err := client.Join(w.ctx, c, client.SessionConfig{Realm: "gantry", AuthID: authid})
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { _ = c.Close(); <-s.Done() })
	return s
}

// next returns the next event.
func (w *world) next() event {
	w.t.Helper()
	select {
	case ev := <-w.events:
		return ev
	case <-time.After(patience):
		w.t.Fatalf("no event; %+v", w.client.Stats())
		return event{}
	}
}

// await drops events until the state of the link is one of those.
func (w *world) await(states ...string) event {
	w.t.Helper()
	for {
		ev := w.next()
		if ev.topic != "gantry.gw.state.broker_house.link" {
			continue
		}
		for _, s := range states {
			if ev.value == s {
				return ev
			}
		}
	}
}

// call calls a procedure as soon as it is registered.
func (w *world) call(procedure wamp.URI, opts wamp.CallOptions, args ...any) (wamp.Payload, error) {
	w.t.Helper()
	for deadline := time.Now().Add(patience); ; {
		p, err := w.sess.Call(w.t.Context(), procedure, opts, wamp.Args(args...))
		if !wamp.IsError(err, wamp.ErrURINoSuchProcedure) || time.Now().After(deadline) {
			return p, err
		}
	}
}

// fake is a broker that does what the test says.
type fake struct {
	t    *testing.T
	ln   net.Listener
	conn net.Conn // the one that was accepted last
}

func newFake(t *testing.T) *fake {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	f := &fake{t: t, ln: ln}
	t.Cleanup(func() { _ = ln.Close(); f.cut() })
	return f
}

func (f *fake) url() string { return "tcp://" + f.ln.Addr().String() }

func (f *fake) cut() {
	if f.conn != nil {
		_ = f.conn.Close()
	}
}

// accept takes a connection, and CONNECT and SUBSCRIBE on it.
func (f *fake) accept(sessionPresent bool) *packets.SubscribePacket {
	f.t.Helper()
	f.cut()
	_ = f.ln.(*net.TCPListener).SetDeadline(time.Now().Add(patience))
	var err error
	if f.conn, err = f.ln.Accept(); err != nil {
		f.t.Fatal(err)
	}
	if _, ok := f.read().(*packets.ConnectPacket); !ok {
		f.t.Fatal("no CONNECT")
	}
	ack := packets.NewControlPacket(packets.Connack).(*packets.ConnackPacket)
	ack.SessionPresent = sessionPresent
	f.send(ack)
	sub, ok := f.read().(*packets.SubscribePacket)
	if !ok {
		f.t.Fatal("no SUBSCRIBE")
	}
	return sub
}

// granted answers SUBSCRIBE.
func (f *fake) granted(sub *packets.SubscribePacket) {
	f.t.Helper()
	ack := packets.NewControlPacket(packets.Suback).(*packets.SubackPacket)
	ack.MessageID, ack.ReturnCodes = sub.MessageID, sub.Qoss
	f.send(ack)
}

func (f *fake) send(p packets.ControlPacket) {
	f.t.Helper()
	var b bytes.Buffer
	if err := p.Write(&b); err != nil {
		f.t.Fatal(err)
	}
	f.raw(b.Bytes())
}

func (f *fake) raw(b []byte) {
	f.t.Helper()
	_ = f.conn.SetWriteDeadline(time.Now().Add(patience))
	if _, err := f.conn.Write(b); err != nil {
		f.t.Fatal(err)
	}
}

func (f *fake) read() packets.ControlPacket {
	f.t.Helper()
	_ = f.conn.SetReadDeadline(time.Now().Add(patience))
	p, err := packets.ReadPacket(f.conn)
	if err != nil {
		f.t.Fatalf("read: %v", err)
	}
	return p
}

// ended expects that the client closes the connection.
func (f *fake) ended(name string) {
	f.t.Helper()
	_ = f.conn.SetReadDeadline(time.Now().Add(patience))
	for {
		_, err := packets.ReadPacket(f.conn)
		var late net.Error
		if errors.As(err, &late) && late.Timeout() {
			f.t.Fatalf("%s: the connection is still open", name)
		}
		if err != nil {
			return
		}
	}
}

// quiet returns the next packet that is no ping, nil if none comes for d.
func (f *fake) quiet(d time.Duration) packets.ControlPacket {
	f.t.Helper()
	for end := time.Now().Add(d); ; {
		_ = f.conn.SetReadDeadline(end)
		p, err := packets.ReadPacket(f.conn)
		if err != nil {
			return nil
		}
		if _, ok := p.(*packets.PingreqPacket); !ok {
			return p
		}
		f.send(packets.NewControlPacket(packets.Pingresp))
	}
}

// pongs answers pings, and nothing else, until the connection ends.
func (f *fake) pongs() {
	conn := f.conn
	_ = conn.SetReadDeadline(time.Time{})
	for {
		p, err := packets.ReadPacket(conn)
		if err != nil {
			return
		}
		if _, ok := p.(*packets.PingreqPacket); ok {
			if packets.NewControlPacket(packets.Pingresp).Write(conn) != nil {
				return
			}
		}
	}
}

// secret is a password that is not kept elsewhere.
type secret string

func (s secret) Reveal() (string, error) {
	if s == "" {
		return "", errors.New("no such secret")
	}
	return string(s), nil
}

func ptr[T any](v T) *T { return &v }

// rules are those of most tests.
func rules() bridge.RulesConfig {
	return bridge.RulesConfig{
		Map: []bridge.MapConfig{
			{Topic: "sensors/{room}/+", Device: "{room}", Point: "temperature", Path: "$.t", Unit: "Cel"},
			{Topic: "sensors/#", Device: "any", Point: "raw", Path: "t"},
		},
		Command: []bridge.CommandConfig{
			{Procedure: "set.lamp.state", Topic: "lamp/set", Type: "bool", Values: map[string]string{"true": "ON", "false": "OFF"}},
			{Procedure: "set.lamp.level", Topic: "lamp/level", Type: "int", QoS: ptr[uint8](0)},
			{Procedure: "do.lamp.blink", Topic: "lamp/{zone}/blink", QoS: ptr[uint8](2)},
		},
	}
}

func contains(s any, part string) bool {
	text, _ := s.(string)
	return strings.Contains(text, part)
}
