package mqttd_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/eclipse/paho.golang/paho"
	"github.com/eclipse/paho.golang/paho/extensions/rpc"
	"github.com/eclipse/paho.golang/paho/extensions/topicaliases"
	"github.com/eclipse/paho.golang/paho/session"
	"github.com/eclipse/paho.golang/paho/session/state"

	"gantry/bridge/mqttd"
	"gantry/wamp"
)

// pahoFive is Eclipse's client of MQTT 5 with what it has received.
type pahoFive struct {
	*paho.Client
	ack *paho.Connack
	got chan *paho.Publish // capacity 1000, more than there are
}

// pahoFive connects a client whose session is kept for expiry seconds. state is what it knows of
// its session; nil = nothing.
func (w *world) pahoFive(t *testing.T, id string, expiry uint32, state session.SessionManager, edit func(*paho.ClientConfig, *paho.Connect)) *pahoFive {
	t.Helper()
	m := &pahoFive{got: make(chan *paho.Publish, 1000)}
	cfg := paho.ClientConfig{ClientID: id, Conn: w.dial(), Session: state, PacketTimeout: patience, OnPublishReceived: []func(paho.PublishReceived) (bool, error){
		func(p paho.PublishReceived) (bool, error) {
			m.got <- p.Packet
			return true, nil
		},
	}}
	connect := &paho.Connect{ClientID: id, KeepAlive: 30, CleanStart: expiry == 0, Properties: &paho.ConnectProperties{SessionExpiryInterval: &expiry, RequestProblemInfo: true}}
	if edit != nil {
		edit(&cfg, connect)
	}
	m.Client = paho.NewClient(cfg)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	var err error
	if m.ack, err = m.Connect(ctx, connect); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(m.leave)
	return m
}

// leave ends the connection in order and waits for its end. Later calls do nothing.
func (m *pahoFive) leave() {
	_ = m.Disconnect(&paho.Disconnect{}) // fails when it has ended
	<-m.Done()
}

func (m *pahoFive) subscribe(t *testing.T, qos byte, filter string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if a, err := m.Subscribe(ctx, &paho.Subscribe{Subscriptions: []paho.SubscribeOptions{{Topic: filter, QoS: qos}}}); err != nil || a.Reasons[0] != qos {
		t.Fatalf("%v, %v", a, err)
	}
}

func (m *pahoFive) publish(t *testing.T, topic, text string, qos byte) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if r, err := m.Publish(ctx, &paho.Publish{Topic: topic, Payload: []byte(text), QoS: qos}); err != nil || r != nil && r.ReasonCode >= 0x80 {
		t.Fatalf("%v, %v", r, err)
	}
}

// take returns the next message.
func (m *pahoFive) take(t *testing.T) *paho.Publish {
	t.Helper()
	select {
	case p := <-m.got:
		return p
	case <-time.After(patience):
		t.Fatal("no message")
		return nil
	}
}

func (m *pahoFive) expect(t *testing.T, topic, text string) {
	t.Helper()
	if p := m.take(t); p.Topic != topic || string(p.Payload) != text {
		t.Fatalf("got %s %q, want %s %q", p.Topic, p.Payload, topic, text)
	}
}

// TestPahoClientOfVersion5 has Eclipse's client for MQTT 5 do what is new in it.
func TestPahoClientOfVersion5(t *testing.T) {
	t.Parallel()
	for name, run := range map[string]func(t *testing.T, w *world){
		"a session outlives its connection": func(t *testing.T, w *world) {
			known := state.NewInMemory()
			m := w.pahoFive(t, "kept", 100, known, nil)
			if m.ack.SessionPresent {
				t.Error("a session from before")
			}
			m.subscribe(t, 2, "a/+")
			m.leave()
			p := w.pahoFive(t, "p", 0, nil, nil)
			for i := range 10 {
				p.publish(t, "a/b", fmt.Sprint(i), byte(i%2)+1)
			}
			m = w.pahoFive(t, "kept", 100, known, nil)
			if !m.ack.SessionPresent {
				t.Error("no session")
			}
			for i := range 10 {
				m.expect(t, "a/b", fmt.Sprint(i))
			}
		},
		"a session ends with its connection": func(t *testing.T, w *world) {
			m := w.pahoFive(t, "short", 0, nil, nil)
			m.subscribe(t, 1, "a")
			m.leave()
			if m = w.pahoFive(t, "short", 100, nil, nil); m.ack.SessionPresent {
				t.Error("a session")
			}
		},
		"a request is a call": func(t *testing.T, w *world) {
			s := w.session()
			_, err := s.Register(t.Context(), "gw.get.lamp", wamp.RegisterOptions{}, func(context.Context, *wamp.Invocation, func(wamp.Payload) error) (wamp.Payload, error) {
				return wamp.Args("on"), nil
			})
			if err != nil {
				t.Fatal(err)
			}
			m := w.pahoFive(t, "asks", 0, nil, func(c *paho.ClientConfig, _ *paho.Connect) { c.OnPublishReceived = nil })
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			h, err := rpc.NewHandler(ctx, m.Client)
			if err != nil {
				t.Fatal(err)
			}
			for range 20 {
				if p, err := h.Request(ctx, &paho.Publish{Topic: "gw/get/lamp", QoS: 1}); err != nil || string(p.Payload) != "on" {
					t.Fatalf("%v, %v", p, err)
				}
			}
		},
		"a request is answered by another client": func(t *testing.T, w *world) {
			asks := w.pahoFive(t, "asks", 0, nil, func(c *paho.ClientConfig, _ *paho.Connect) { c.OnPublishReceived = nil })
			answers := w.pahoFive(t, "answers", 0, nil, nil)
			answers.subscribe(t, 1, "ask")
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			done := make(chan error, 1)
			go func() {
				q := <-answers.got
				_, err := answers.Publish(ctx, &paho.Publish{Topic: q.Properties.ResponseTopic, QoS: 1, Payload: append([]byte("re: "), q.Payload...),
					Properties: &paho.PublishProperties{CorrelationData: q.Properties.CorrelationData}})
				done <- err
			}()
			h, err := rpc.NewHandler(ctx, asks.Client)
			if err != nil {
				t.Fatal(err)
			}
			p, err := h.Request(ctx, &paho.Publish{Topic: "ask", QoS: 1, Payload: []byte("this")})
			if err != nil || string(p.Payload) != "re: this" {
				t.Errorf("%v, %v", p, err)
			}
			if err := <-done; err != nil {
				t.Error(err)
			}
		},
		"topic aliases": func(t *testing.T, w *world) {
			m := w.pahoFive(t, "m", 0, nil, func(_ *paho.ClientConfig, c *paho.Connect) { c.Properties.TopicAliasMaximum = ptr(uint16(10)) })
			m.subscribe(t, 1, "long/topic/#")
			p := w.pahoFive(t, "p", 0, nil, func(c *paho.ClientConfig, _ *paho.Connect) { c.PublishHook = topicaliases.NewTAHandler(10).PublishHook })
			for i := range 30 { // the handler of aliases takes no more topics than it has aliases
				p.publish(t, fmt.Sprint("long/topic/", i%5), fmt.Sprint(i), 1)
			}
			for i := range 30 {
				// The client leaves it to its user what an alias stands for.
				got := m.take(t)
				if alias := got.Properties.TopicAlias; string(got.Payload) != fmt.Sprint(i) || alias == nil || *alias != uint16(i%5+1) || (got.Topic == "") != (i >= 5) {
					t.Fatalf("message %d: %s %q, alias %v", i, got.Topic, got.Payload, alias)
				}
			}
		},
		"a shared subscription": func(t *testing.T, w *world) {
			var members []*pahoFive
			for i := range 3 {
				m := w.pahoFive(t, fmt.Sprint("m", i), 0, nil, nil)
				m.subscribe(t, 1, "$share/g/jobs/#")
				members = append(members, m)
			}
			p := w.pahoFive(t, "p", 0, nil, nil)
			for i := range 30 {
				p.publish(t, fmt.Sprint("jobs/", i), "x", 1)
			}
			seen := map[string]bool{}
			for _, m := range members {
				for range 10 { // in turn
					seen[m.take(t).Topic] = true
				}
			}
			if len(seen) != 30 {
				t.Errorf("%d of 30 jobs", len(seen))
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			run(t, newWorld(t, mqttd.Config{}, false))
		})
	}
}
