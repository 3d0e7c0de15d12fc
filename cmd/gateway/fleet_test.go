package main

import (
	"context"
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
	if out := p.command("fleet", "--gaps", "--gateway", "hq"); !strings.Contains(out, "gantry.barn.point.meter.power  1   3     4") {
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
