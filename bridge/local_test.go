package bridge_test

import (
	"context"
	"testing"
	"time"

	"go.uber.org/goleak"

	"gantry/bridge"
	"gantry/wamp"
	"gantry/wamp/client"
	"gantry/wamp/router"
	"gantry/wamp/transport"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// realm runs a router and returns what joins it.
func realm(t *testing.T) (join func() *client.Session) {
	t.Helper()
	r, err := router.New(router.Config{Realms: []router.RealmConfig{{Name: "gantry"}}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- r.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return func() *client.Session {
		c, p := transport.Pipe(transport.PipeConfig{})
		gone := make(chan struct{})
		go func() { r.Accept(ctx, p); close(gone) }()
		s, err := client.Join(ctx, c, client.SessionConfig{Realm: "gantry"})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Close(); <-gone; <-s.Done() })
		return s
	}
}

func TestLocal(t *testing.T) {
	t.Parallel()
	join := realm(t)
	watch, device := join(), join()
	events := make(chan *wamp.Event, 64)
	subscribe := func(topic wamp.URI) {
		t.Helper()
		if _, err := watch.Subscribe(t.Context(), topic, wamp.SubscribeOptions{Match: wamp.MatchPrefix}, func(ev *wamp.Event) { events <- ev }); err != nil {
			t.Fatal(err)
		}
	}
	next := func() *wamp.Event {
		t.Helper()
		select {
		case ev := <-events:
			return ev
		case <-time.After(time.Minute):
			t.Fatal("no event")
			return nil
		}
	}
	subscribe("gantry.gw.point.")
	publish := func(topic, payload string) {
		t.Helper()
		opts := wamp.PublishOptions{Acknowledge: true, Retain: true}
		if err := device.Publish(t.Context(), bridge.URIFromTopic(topic), opts, bridge.PayloadFromMQTT([]byte(payload))); err != nil {
			t.Fatal(err)
		}
	}
	publish("sensors/cellar/1", `{"t": 12}`) // before anybody maps it

	local, err := bridge.NewLocal(bridge.RulesConfig{
		Map: []bridge.MapConfig{
			{Topic: "sensors/{room}/+", Device: "{room}", Points: map[string]any{"temp": "t"}},
			{Topic: "sensors/#", Device: "all", Point: "raw", Path: "t"},
			{Topic: "#", Device: "everything", Point: "raw", Path: "t"},
		},
		Command: []bridge.CommandConfig{{Procedure: "set.lamp.state", Topic: "lamp 1/set", Type: "bool"}},
	}, origin(t, 0), join(), nil)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- local.Run(ctx) }()

	// Each rule once for a message, although three patterns bring it.
	expect := func(value any, q string) {
		t.Helper()
		seen := map[wamp.URI]bool{}
		for range 3 {
			ev := next()
			args, kwargs := ev.Payload.GoValues()
			if args[0] != value || kwargs["q"] != q || seen[ev.Details.Topic] {
				t.Fatalf("%s: %v %v", ev.Details.Topic, args, kwargs)
			}
			seen[ev.Details.Topic] = true
		}
	}
	expect(int64(12), "uncertain")
	publish("sensors/kitchen/1", `{"t": 21.5}`)
	expect(21.5, "good")

	subscribe("lamp%201.")
	<-local.Ready()
	res, err := watch.Call(t.Context(), "gantry.gw.set.lamp.state", wamp.CallOptions{}, wamp.Args(true))
	if err != nil {
		t.Fatal(err)
	}
	if _, kwargs := res.GoValues(); kwargs["verified"] != false {
		t.Errorf("result %v", kwargs)
	}
	if ev := next(); ev.Details.Topic != "lamp%201.set" {
		t.Errorf("got %v", ev)
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if _, err := watch.Call(t.Context(), "gantry.gw.set.lamp.state", wamp.CallOptions{}, wamp.Args(true)); !wamp.IsError(err, wamp.ErrURINoSuchProcedure) {
		t.Errorf("still registered: %v", err)
	}
}
