package main

import (
	"context"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"gantry/wamp"
	"gantry/wamp/client"
)

// fleetSays waits until the hub says something of the gateway barn.
func fleetSays(t *testing.T, s *client.Session, what string, ok func(wamp.Dict) bool) {
	t.Helper()
	var got any
	for late := time.Now().Add(patience); time.Now().Before(late); pause(t, 20*time.Millisecond) {
		var err error
		if got, err = answerOf(s.Call(t.Context(), "gantry.hq.sys.fleet.list", wamp.CallOptions{}, wamp.Payload{})); err != nil {
			t.Fatal(err)
		}
		list, _ := got.(wamp.List)
		for _, v := range list {
			if d, _ := v.(wamp.Dict); d["gateway"] == "barn" && ok(d) {
				return
			}
		}
	}
	t.Fatalf("%s: %v", what, got)
}

// TestAHubKnowsItsGateways restarts a hub, in order, and finds what is missing and double
// on both sides of that.
func TestAHubKnowsItsGateways(t *testing.T) {
	t.Parallel()
	config := writeFiles(t, map[string]string{"gantry.toml": "schema = 1\ngateway = { name = \"hq\", hub = true }\nmqtt.listen = \"\"\n"})
	state := t.TempDir()
	send := func(s *client.Session, seqs ...int64) {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		for _, seq := range seqs {
			if err := s.Publish(ctx, "gantry.barn.point.meter.power", wamp.PublishOptions{Acknowledge: true},
				wamp.Values(wamp.List{1.5}, wamp.Dict{"ep": int64(1), "seq": seq, "ts": int64(1_790_000_000_000_000)})); err != nil {
				t.Fatal(err)
			}
		}
	}
	p := startProgram(t, config, state)
	s := p.join()
	send(s, 1, 2, 5, 5)
	fleetSays(t, s, "before", func(d wamp.Dict) bool {
		return d["missing"] == int64(2) && d["doubles"] == int64(1) && d["events"] == int64(4)
	})
	if out := p.command("fleet", "gaps", "--gateway", "hq"); !strings.Contains(out, "gantry.barn.point.meter.power  1   3     4") {
		t.Errorf("gaps:\n%s", out)
	}
	p.stop()
	p = startProgram(t, config, state)
	s = p.join()
	send(s, 5, 6, 8)
	fleetSays(t, s, "after", func(d wamp.Dict) bool {
		return d["missing"] == int64(3) && d["doubles"] == int64(2) && d["streams"] == int64(1)
	})
	if out := p.command("fleet", "--gateway", "hq"); !strings.Contains(out, "barn") {
		t.Errorf("fleet:\n%s", out)
	}
	p.stop()
}

// TestAHubMissesNothingAtItsEnd stops a hub in the middle of a stream, which goes on after
// the last event that was acknowledged.
func TestAHubMissesNothingAtItsEnd(t *testing.T) {
	t.Parallel()
	config := writeFiles(t, map[string]string{"gantry.toml": "schema = 1\ngateway = { name = \"hq\", hub = true }\nmqtt.listen = \"\"\n"})
	state := t.TempDir()
	publish := func(s *client.Session, seq int64) error {
		return s.Publish(t.Context(), "gantry.barn.point.meter.power", wamp.PublishOptions{Acknowledge: true},
			wamp.Values(wamp.List{1.5}, wamp.Dict{"ep": int64(1), "seq": seq, "ts": int64(1_790_000_000_000_000)}))
	}
	p := startProgram(t, config, state)
	s, begun, ended := p.join(), make(chan struct{}), make(chan int64, 1)
	go func() {
		seq := int64(1)
		for publish(s, seq) == nil {
			if seq++; seq == 100 {
				close(begun)
			}
		}
		ended <- seq
	}()
	select {
	case <-begun:
	case <-time.After(patience):
		t.Fatal("nothing is acknowledged")
	}
	p.stop()
	next := <-ended
	p = startProgram(t, config, state)
	s = p.join()
	if err := publish(s, next); err != nil {
		t.Fatal(err)
	}
	fleetSays(t, s, "after", func(d wamp.Dict) bool {
		if d["events"] != int64(0) && d["missing"] != int64(0) {
			t.Fatalf("the stream goes on with %d: %v", next, d)
		}
		return d["events"] != int64(0)
	})
	p.stop()
}

// TestAHubSeesAGatewayComeAndGo has a real gateway connect and leave, with a backlog, an
// alarm, and events that come late.
func TestAHubSeesAGatewayComeAndGo(t *testing.T) {
	t.Parallel()
	config := writeFiles(t, map[string]string{"gantry.toml": "schema = 1\ngateway = { name = \"hq\", hub = true }\nmqtt.listen = \"\"\n"})
	state, farState := t.TempDir(), t.TempDir()
	farConfig := writeFiles(t, map[string]string{
		"gantry.toml": "schema = 1\ngateway.name = \"barn\"\nmqtt.listen = \"\"\n[uplink.hq]\nurl = \"rs+unix://" + filepath.Join(state, "gantry.sock") + "\"\n",
	})
	hq := startProgram(t, config, state)
	s := hq.join()
	seen := keep(t, s, "gantry.", wamp.SubscribeOptions{})
	far := startProgram(t, farConfig, farState)
	publish := func(p *program, topic wamp.URI, value any, seq int64) {
		t.Helper()
		if err := p.join().Publish(t.Context(), topic, wamp.PublishOptions{Acknowledge: true},
			wamp.Values(wamp.List{value}, wamp.Dict{"ep": int64(1), "seq": seq, "ts": time.Now().UnixMicro()})); err != nil {
			t.Fatal(err)
		}
	}
	link := func(value string) func(event) bool {
		return func(e event) bool { return e.topic == "gantry.hq.state.fleet_barn.link" && e.value == value }
	}
	seen.await(t, "connection", link("online"))
	seen.await(t, "depth of the queue", func(e event) bool { return e.topic == "gantry.barn.state.uplink_hq.queue" })
	const power = "gantry.barn.point.meter.power"
	publish(far, power, 1.0, 1)
	publish(far, power, 4.0, 4)
	publish(far, "gantry.barn.alarm.tank.full", "raised", 1)
	fleetSays(t, s, "gap and alarm", func(d wamp.Dict) bool {
		return d["connected"] == true && d["missing"] == int64(2) && d["gaps"] == int64(1) && d["alarms"] == int64(1) && d["behind"] != nil
	})
	publish(far, power, 2.0, 2)
	publish(far, power, 3.0, 3)
	fleetSays(t, s, "filled", func(d wamp.Dict) bool {
		return d["missing"] == int64(0) && d["gaps"] == int64(0) && d["late"] == int64(2) && d["doubles"] == int64(0)
	})
	publish(far, power, 9.0, 9)
	// What is still in the queue at the end comes with the next start only.
	seen.await(t, "last event", func(e event) bool { return e.topic == power && e.seq == 9 })
	far.stop()
	seen.await(t, "end of the connection", link("offline"))
	fleetSays(t, s, "offline", func(d wamp.Dict) bool { return d["connected"] == false && d["gaps"] == int64(1) })
	hq.stop()

	hq = startProgram(t, config, state)
	s = hq.join()
	fleetSays(t, s, "after a restart", func(d wamp.Dict) bool {
		return d["connected"] == false && d["gaps"] == int64(1) && d["alarms"] == int64(1) && d["late"] == int64(2) && d["seen"] != int64(0)
	})
	keep(t, s, "gantry.hq.state.", wamp.SubscribeOptions{GetRetained: true}).await(t, "retained state", link("offline"))
	if out := hq.command("fleet", "gaps", "--gateway", "hq"); !strings.Contains(out, power+"  1   5     8") {
		t.Errorf("gaps:\n%s", out)
	}
	if out := hq.command("fleet", "alarms", "--gateway", "hq"); !strings.Contains(out, "gantry.barn.alarm.tank.full  raised") {
		t.Errorf("alarms:\n%s", out)
	}
	far = startProgram(t, farConfig, farState)
	fleetSays(t, s, "connected again", func(d wamp.Dict) bool { return d["connected"] == true && d["gaps"] == int64(1) })
	far.kill()
	fleetSays(t, s, "killed", func(d wamp.Dict) bool { return d["connected"] == false })
	hq.stop()
}
