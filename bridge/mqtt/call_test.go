package mqtt_test

import (
	"context"
	"fmt"
	"runtime"
	"strings"
	"testing"
	"time"

	"gantry/bridge"
	"gantry/bridge/mqtt"
	"gantry/internal/mosquitto"
	"gantry/wamp"
)

// callRules has commands without and with a time.
func callRules() bridge.RulesConfig {
	return bridge.RulesConfig{Call: []bridge.CallConfig{
		{Topic: "cmd/{dev}/{point}", Procedure: "set.{dev}.{point}", Response: "done/{dev}/{point}"},
		{Topic: "timed/{dev}/{point}", Procedure: "set.{dev}.{point}", Args: []string{"v"}, Time: "at", MaxAge: time.Minute, ID: "id", Response: "done/{id}"},
	}}
}

// serve registers gantry.gw.set.lamp.state and tells of its calls: value and caller.
func (w *world) serve() <-chan string {
	w.t.Helper()
	calls := make(chan string, 100)
	opts := wamp.RegisterOptions{DiscloseCaller: true}
	if _, err := w.sess.Register(w.t.Context(), "gantry.gw.set.lamp.state", opts, func(_ context.Context, inv *wamp.Invocation, _ func(wamp.Payload) error) (wamp.Payload, error) {
		args, _ := inv.Payload.GoValues()
		calls <- fmt.Sprint(args[0], " by ", inv.Details.CallerAuthID)
		return wamp.Args(args[0]), nil
	}); err != nil {
		w.t.Fatal(err)
	}
	return calls
}

// outcomes waits until the calls have come to what is wanted.
func (w *world) outcomes(want string) {
	w.t.Helper()
	for deadline := time.Now().Add(patience); ; {
		var out []string
		w.client.Stats().Rules.Calls.Each(func(o string, n uint64) {
			if n > 0 {
				out = append(out, fmt.Sprint(o, " ", n))
			}
		})
		got := strings.Join(out, ", ")
		if got == want {
			return
		}
		if time.Now().After(deadline) {
			w.t.Fatalf("%s, want %s", got, want)
		}
		runtime.Gosched()
	}
}

func called(t *testing.T, calls <-chan string, want string) {
	t.Helper()
	select {
	case got := <-calls:
		if got != want {
			t.Errorf("%s, want %s", got, want)
		}
	case <-time.After(patience):
		t.Fatalf("no call, want %s", want)
	}
}

func timed(value, id string, at time.Time) string {
	return fmt.Sprintf(`{"v":%q,"id":%q,"at":%d}`, value, id, at.UnixMilli())
}

func TestMessagesCall(t *testing.T) {
	t.Parallel()
	b := mosquitto.NewBroker(t)
	w := newWorld(t, mqtt.Config{URL: "tcp://" + b.Addr, RulesConfig: callRules()})
	calls := w.serve()
	w.await(bridge.Online)
	sub := mosquitto.Subscribe(t, b.Addr, "-t", "done/#", "-q", "1")
	pub(t, b, "cmd/lamp/state", "ON")
	called(t, calls, "ON by broker_house")
	sub.Expect(`done/lamp/state 0 1 {"args":["ON"]}`)
	pub(t, b, "timed/lamp/state", timed("OFF", "a", time.Now()))
	called(t, calls, "OFF by broker_house")
	sub.Expect(`done/a 0 1 {"args":["OFF"],"id":"a"}`)
	pub(t, b, "timed/lamp/state", timed("OFF", "a", time.Now()))
	pub(t, b, "timed/lamp/state", timed("OFF", "b", time.Now().Add(-time.Hour)))
	sub.Expect(`done/b 0 1 {"args":["the message is too old, from the future, or without a time"],"error":"gantry.error.expired","id":"b","kwargs":{"max_age_ms":60000}}`)
	pub(t, b, "cmd/fan/state", "1")
	sub.Expect(`done/fan/state 0 1 {"args":["nobody has registered gantry.gw.set.fan.state"],"error":"wamp.error.no_such_procedure"}`)
	w.outcomes("made 2, failed 1, old 1, repeated 1")
}

// TestOldCommandsDoNotCall restarts the broker, which keeps on disk what came while the
// client was away: nothing of that calls, but what is known to be fresh.
func TestOldCommandsDoNotCall(t *testing.T) {
	t.Parallel()
	b := mosquitto.NewBroker(t, "persistence true", "persistence_location "+t.TempDir()+"/", "autosave_on_changes true", "autosave_interval 1")
	w := newWorld(t, mqtt.Config{URL: "tcp://" + b.Addr, Persistent: true, RulesConfig: callRules()})
	calls := w.serve()
	w.await(bridge.Online)
	w.stop()
	pub(t, b, "cmd/lamp/state", "retained", "-r") // is queued as well
	pub(t, b, "cmd/lamp/state", "queued")
	pub(t, b, "timed/lamp/state", timed("retained", "x", time.Now()), "-r")
	pub(t, b, "timed/lamp/state", timed("stale", "y", time.Now().Add(-time.Hour)))
	for i := range 3 { // so that all before is saved
		pub(t, b, "other", fmt.Sprint(i), "-r")
	}
	b.Kill()
	b.Start()
	w.run()
	called(t, calls, "retained by broker_house") // as queued, with a time that is fresh
	w.outcomes("made 1, retained 2, queued 2, old 1")

	// The broker is killed and comes back while the client runs. It may have lost what was
	// acknowledged last, and sends that again.
	before := w.client.Stats().Rules.Calls.Retained
	b.Kill()
	b.Start()
	for deadline := time.Now().Add(patience); w.client.Stats().Rules.Calls.Retained < before+2; runtime.Gosched() {
		if time.Now().After(deadline) {
			t.Fatalf("%+v", w.client.Stats())
		}
	}
	pub(t, b, "timed/lamp/state", timed("fresh", "z", time.Now()))
	called(t, calls, "fresh by broker_house")
	// The answer is on its way, and an end would cut it off.
	for deadline := time.Now().Add(patience); w.client.Stats().Rules.Calls.Made < 2; runtime.Gosched() {
		if time.Now().After(deadline) {
			t.Fatalf("%+v", w.client.Stats())
		}
	}
	w.stop()
	if s := w.client.Stats().Rules.Calls; s.Made != 2 || s.Failed != 0 {
		t.Errorf("%+v", s)
	}
	select {
	case got := <-calls:
		t.Error(got)
	default:
	}
}

func TestBacklog(t *testing.T) {
	t.Parallel()
	at := func(s float64) time.Time { return time.Unix(1000, 0).Add(time.Duration(s * float64(time.Second))) }
	for _, c := range []struct {
		name   string
		heard  float64 // when the last message before was dealt with
		now    float64
		queued bool
	}{
		{"at once", -1, 0.1, true},
		{"a pause at the beginning", 0.1, 4.9, true},
		{"a pause later", 4.5, 5.6, false},
		{"a short pause", 5.5, 6, true},
		{"no message since", -1, 5.1, false},
		{"no pause for a minute", 59.9, 60, false},
	} {
		if got := mqtt.Backlog(at(0))(at(c.heard), at(c.now)); got != c.queued {
			t.Errorf("%s: %v", c.name, got)
		}
	}
	over := mqtt.Backlog(at(0))
	if over(at(0), at(7)) || over(at(7), at(7.1)) {
		t.Error("it is over, and stays so")
	}
	if mqtt.Backlog(time.Unix(0, 0))(at(0), at(0)) {
		t.Error("a broker without a session has kept nothing")
	}
}
